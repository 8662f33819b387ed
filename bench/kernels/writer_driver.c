/* The recorder's files behind plain loops: every track gets one piece a step, as from a media thread with blocks of 200 ms; and the same bytes by bare
   pwrite(2) and memcpy. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "writer.h"

#define API __attribute__((visibility("default")))
#define SAMPLES 1600

static uint64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void give(struct writer *w, const uint32_t *place, uint8_t track, uint8_t kind, uint32_t step, const uint8_t *pcm) {
    struct writer_block *b = writer_take(w);
    b->recording = place[0], b->generation = place[1];
    b->track = track, b->kind = kind;
    b->samples = kind == WRITER_PCM ? SAMPLES : 0, b->used = (uint16_t)(2 * b->samples);
    b->position = (int64_t)step * SAMPLES;
    if (kind == WRITER_PCM) memcpy(b->bytes, pcm, 2 * SAMPLES);
    writer_give(w, b);
}

/* Recordings of two legs: `fds` has leg, leg, merged of each; without merged, two. told: ns of the producer, ns and CPU ns of the writer, writes, bytes.
   0, or -1 where the files could not be begun or memory ran out. */
API int drive_writer(const int32_t *fds, uint32_t recordings, uint32_t steps, uint32_t merged, const uint8_t *pcm, uint64_t *told) {
    const uint32_t blocks = 2 * recordings + 64, outputs = merged ? 3 : 2;
    const size_t bytes = (writer_bytes(blocks, recordings) + 63) / 64 * 64;
    const int wake = eventfd(0, EFD_NONBLOCK), events = eventfd(0, EFD_NONBLOCK);
    uint32_t *places = malloc(recordings * 2 * sizeof *places), failed = 0;
    void *memory = aligned_alloc(64, bytes);
    if (!places || !memory) return -1;
    memset(memory, 0, bytes);
    struct writer *w = writer_init(memory, blocks, recordings, wake, events, NULL);
    for (uint32_t i = 0; i < recordings; i++) {
        struct writer_plan plan = {8000, outputs, {{0}}};
        for (uint32_t k = 0; k < outputs; k++)
            plan.output[k] = (struct writer_output_plan){fds[i * outputs + k], WRITER_WAV_PCM16, k == 2 ? 2 : 1, {k == 2 ? 0 : (uint8_t)k, 1}, 0};
        failed |= writer_open(w, &plan, &places[2 * i], &places[2 * i + 1]) != 0;
    }
    writer_round(w, 1);
    struct writer_counts before, after;
    writer_count(w, &before);
    memset(told, 0, 5 * sizeof *told);
    for (uint32_t step = 0; step <= steps && !failed; step++) {
        const uint64_t begin = now(CLOCK_MONOTONIC);
        for (uint32_t i = 0; i < recordings; i++)
            for (uint8_t track = 0; track < (step < steps ? 2 : 1); track++)
                give(w, &places[2 * i], track, step < steps ? WRITER_PCM : WRITER_END, step, pcm + (track ? 2 * SAMPLES : 0));
        const uint64_t given = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
        while (writer_waiting(w)) writer_round(w, (int64_t)step * 200000000 + 2);
        told[0] += given - begin, told[1] += now(CLOCK_MONOTONIC) - given, told[2] += now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    }
    writer_count(w, &after);
    told[3] = after.writes - before.writes, told[4] = after.bytes - before.bytes;
    free(memory);
    free(places);
    close(wake);
    close(events);
    return failed ? -1 : 0;
}

/* ns for the same bytes appended to the same files, one pwrite each: what the kernel takes for them without a header or a merge. */
API uint64_t drive_pwrite(const int32_t *fds, uint32_t recordings, uint32_t steps, uint32_t merged, const uint8_t *pcm) {
    const uint32_t outputs = merged ? 3 : 2;
    const uint64_t begin = now(CLOCK_MONOTONIC);
    for (uint32_t step = 0; step < steps; step++)
        for (uint32_t i = 0; i < recordings * outputs; i++) {
            const size_t size = i % outputs == 2 ? 4 * SAMPLES : 2 * SAMPLES;
            if (pwrite(fds[i], pcm, size, (off_t)(80 + step * size)) != (ssize_t)size) return 0;
        }
    return now(CLOCK_MONOTONIC) - begin;
}

/* ns for the same bytes copied once in memory, to fresh places. */
API uint64_t drive_copy(uint8_t *target, size_t room, uint64_t pieces, const uint8_t *pcm) {
    const uint64_t begin = now(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < pieces; i++) memcpy(target + i * 2 * SAMPLES % (room - 2 * SAMPLES), pcm, 2 * SAMPLES);
    return now(CLOCK_MONOTONIC) - begin;
}

/* Loops over the kernels of the receive path for benchmarks, and the least that any program must do for the same packets. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jitter.h"
#include "rtp_packet.h"

#define BATCH 64
#define AHEAD 8

/* One packet that comes: as bench_jitter.py writes them. */
struct event {
    int64_t arrival_ns;
    uint64_t extended;
    uint32_t timestamp, stream;
};

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* Packets of `length` bytes, `stride` apart. `told`: packets, sums of sequence numbers and of timestamps. Nanoseconds. */
uint64_t drive_read(const uint8_t *bytes, uint64_t count, uint32_t stride, uint32_t length, uint64_t told[3]) {
    const uint8_t *places[BATCH];
    uint32_t lengths[BATCH];
    struct rtp_packet packets[BATCH];
    int8_t status[BATCH];
    uint64_t begin = now_ns();
    told[0] = told[1] = told[2] = 0;
    for (uint64_t at = 0; at + BATCH <= count; at += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) places[i] = bytes + (at + i) * stride, lengths[i] = length;
        told[0] += rtp_packet_read_batch(places, lengths, BATCH, packets, status);
        for (uint32_t i = 0; i < BATCH; i++) {
            told[1] += packets[i].sequence;
            told[2] += packets[i].timestamp;
        }
    }
    return now_ns() - begin;
}

/* Heads of packets, as of one stream. Nanoseconds. */
uint64_t drive_heads(uint8_t *bytes, uint64_t count, uint32_t stride) {
    uint8_t *places[BATCH];
    uint64_t begin = now_ns();
    for (uint64_t at = 0; at + BATCH <= count; at += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) places[i] = bytes + (at + i) * stride;
        rtp_packet_head_batch(places, BATCH, 8, (uint16_t)at, (uint32_t)at * 160, 160, 0xDEADBEEF);
    }
    return now_ns() - begin;
}

/* The limit of both: one line of each packet is touched. */
uint64_t drive_touch(uint8_t *bytes, uint64_t count, uint32_t stride, int write, uint64_t told[1]) {
    uint64_t begin = now_ns(), sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        __builtin_prefetch(bytes + (i + AHEAD < count ? i + AHEAD : i) * stride, 1);
        uint64_t *line = (uint64_t *)(bytes + i * stride);
        if (write) line[0] = i;
        else sum += line[0];
    }
    told[0] = sum;
    return now_ns() - begin;
}

size_t drive_event_size(void) { return sizeof(struct event); }

/* Runs events of many streams through their buffers. `told`: released, given up, refused, 1 where an order was wrong. Nanoseconds. */
uint64_t drive_jitter(const struct event *events, uint64_t count, uint32_t streams, uint32_t mode, uint32_t delay_min_ms, uint32_t delay_max_ms, uint64_t told[4]) {
    const struct jitter_settings settings = {(uint8_t)mode, (uint16_t)delay_min_ms, (uint16_t)delay_max_ms, 8000};
    struct jitter *buffers = aligned_alloc(64, (sizeof *buffers * streams + 63) / 64 * 64);
    struct jitter_slot(*slots)[JITTER_SLOTS] = aligned_alloc(64, sizeof *slots * streams);
    uint64_t *last = calloc(streams, sizeof *last);
    struct jitter_out out;
    for (uint32_t i = 0; i < streams; i++) jitter_start(&buffers[i], &settings, slots[i]);
    memset(told, 0, 4 * sizeof *told);
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        const struct event *ahead = &events[i + AHEAD < count ? i + AHEAD : i], *e = &events[i];
        jitter_fetch(&buffers[ahead->stream], slots[ahead->stream], (uint16_t)ahead->extended);
        struct jitter *j = &buffers[e->stream];
        if (jitter_is_next(j, e->extended)) {
            jitter_pass(j, e->extended);
            told[3] |= e->extended <= last[e->stream];
            last[e->stream] = e->extended;
            told[0]++;
            continue;
        }
        told[2] += jitter_put(j, e->extended, e->timestamp, 0, e->arrival_ns, (uint32_t)i) != JITTER_KEPT;
        for (int found; (found = jitter_take(j, e->arrival_ns, &out)) != JITTER_NOTHING;) {
            if (found == JITTER_LOST) {
                told[1] += out.lost;
                continue;
            }
            told[3] |= out.extended <= last[e->stream];
            last[e->stream] = out.extended;
            told[0]++;
        }
    }
    uint64_t taken = now_ns() - begin;
    for (uint32_t s = 0; s < streams; s++)
        while (jitter_take(&buffers[s], INT64_MAX, &out)) {
            told[1] += out.lost;
            told[0] += out.lost == 0;
        }
    free(buffers);
    free(last);
    free(slots);
    return taken;
}

/* The limit: for each packet, one line of what is known of its stream and one of its slot are read and written. */
uint64_t drive_lines(const struct event *events, uint64_t count, uint32_t streams, uint64_t told[1]) {
    const size_t of_stream = 64 + JITTER_SLOTS * sizeof(struct jitter_slot);
    uint8_t *memory = aligned_alloc(64, of_stream * streams);
    memset(memory, 0, of_stream * streams);
    uint64_t begin = now_ns(), sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        const struct event *ahead = &events[i + AHEAD < count ? i + AHEAD : i], *e = &events[i];
        uint8_t *next = memory + ahead->stream * of_stream;
        __builtin_prefetch(next, 1);
        __builtin_prefetch(next + 64 + ahead->extended % JITTER_SLOTS * sizeof(struct jitter_slot), 1);
        uint64_t *known = (uint64_t *)(memory + e->stream * of_stream);
        uint64_t *slot = (uint64_t *)(memory + e->stream * of_stream + 64 + e->extended % JITTER_SLOTS * sizeof(struct jitter_slot));
        sum += *slot;
        *slot = e->extended;
        *known += sum;
    }
    told[0] = sum;
    uint64_t taken = now_ns() - begin;
    free(memory);
    return taken;
}

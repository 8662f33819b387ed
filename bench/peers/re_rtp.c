/* Times libre's RTP headers and its jitter buffer: `re_rtp FILE REPEAT read|write|jitter STREAMS`. FILE holds packets of 172 bytes, 192 apart, or events of
   bench/kernels/jitter_driver.c. Prints: packets (or released), sum of sequence numbers (or 1 where an order was wrong), sum of timestamps, nanoseconds of the
   fastest pass. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/types.h>

#include <re.h>

#define STRIDE 192
#define LENGTH 172
#define FRAMES_MIN 3
#define FRAMES_MAX 20

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

static uint64_t read_heads(uint8_t *bytes, size_t count, uint64_t told[3]) {
    uint64_t begin = now_ns();
    for (size_t at = 0; at + STRIDE <= count; at += STRIDE) {
        struct mbuf buffer = {.buf = bytes + at, .size = LENGTH, .pos = 0, .end = LENGTH};
        struct rtp_header header;
        if (rtp_hdr_decode(&header, &buffer)) continue;
        told[0]++;
        told[1] += header.seq;
        told[2] += header.ts;
    }
    return now_ns() - begin;
}

static uint64_t write_heads(uint8_t *bytes, size_t count, uint64_t told[3]) {
    struct rtp_header header = {.ver = RTP_VERSION, .pt = 8, .ssrc = 0xDEADBEEF};
    uint64_t begin = now_ns();
    for (size_t at = 0; at + STRIDE <= count; at += STRIDE) {
        struct mbuf buffer = {.buf = bytes + at, .size = LENGTH, .pos = 0, .end = 0};
        header.seq++;
        header.ts += 160;
        told[0] += rtp_hdr_encode(&buffer, &header) == 0;
    }
    return now_ns() - begin;
}

/* As many gets as puts: libre's buffer gives a packet when it holds more than its least number. */
static uint64_t order(const struct event *events, size_t count, uint32_t streams, uint64_t told[3]) {
    struct jbuf **buffers = calloc(streams, sizeof *buffers);
    uint64_t *last = calloc(streams, sizeof *last);
    void *memory = mem_alloc(16, NULL);
    for (uint32_t i = 0; i < streams; i++)
        if (jbuf_alloc(&buffers[i], FRAMES_MIN, FRAMES_MAX)) exit(1);
    uint64_t begin = now_ns();
    for (size_t i = 0; i < count; i++) {
        const struct event *e = &events[i];
        struct rtp_header header = {.ver = RTP_VERSION, .seq = (uint16_t)e->extended, .ts = e->timestamp, .ssrc = 1}, found;
        void *given;
        (void)jbuf_put(buffers[e->stream], &header, memory);
        if (jbuf_get(buffers[e->stream], &found, &given)) continue;
        mem_deref(given);
        told[0]++;
        told[1] |= (uint16_t)(found.seq - 1 - last[e->stream]) > 32767 && last[e->stream];
        last[e->stream] = found.seq;
    }
    uint64_t taken = now_ns() - begin;
    for (uint32_t i = 0; i < streams; i++) mem_deref(buffers[i]);
    free(buffers);
    free(last);
    mem_deref(memory);
    return taken;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    FILE *file = fopen(argv[1], "rb");
    if (!file || fseek(file, 0, SEEK_END)) return 1;
    size_t count = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(count);
    if (!bytes || fread(bytes, 1, count, file) != count) return 1;
    uint64_t best = UINT64_MAX, told[3] = {0};
    for (int repeat = atoi(argv[2]); repeat > 0; repeat--) {
        memset(told, 0, sizeof told);
        uint64_t taken = argv[3][0] == 'r'   ? read_heads(bytes, count, told)
                         : argv[3][0] == 'w' ? write_heads(bytes, count, told)
                                             : order((const struct event *)bytes, count / sizeof(struct event), (uint32_t)atoi(argv[4]), told);
        if (taken < best) best = taken;
    }
    printf("%llu %llu %llu %llu\n", (unsigned long long)told[0], (unsigned long long)told[1], (unsigned long long)told[2], (unsigned long long)best);
    return 0;
}

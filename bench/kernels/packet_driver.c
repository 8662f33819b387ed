/* Loops over the packet and RTP kernels for benchmarks, so that no Python object is made for a packet. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "packet.h"
#include "rtp.h"

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* File bytes to decapsulated packets. `told`: records, packets decoded, payload bytes. Returns nanoseconds. */
uint64_t drive_walk(const uint8_t *source, size_t count, uint64_t told[3]) {
    struct capture *capture = calloc(1, sizeof *capture);
    struct problems problems = {{0}, {0}};
    struct capture_record record;
    struct packet packet;
    uint64_t begin = now_ns();
    told[0] = told[1] = told[2] = 0;
    if (capture_open(capture, source, count)) { free(capture); return 0; }
    while (capture_next(capture, source, count, &record, &problems) == 0) {
        told[0]++;
        if (link_decode(&record, &packet, &problems)) continue;
        told[1]++;
        told[2] += packet.payload_length;
    }
    uint64_t taken = now_ns() - begin;
    free(capture);
    return taken;
}

/* Decodes the UDP packets that are RTP into `target` (room for `capacity`); returns how many there are. */
uint64_t drive_collect(const uint8_t *source, size_t count, struct packet *target, uint64_t capacity) {
    struct capture *capture = calloc(1, sizeof *capture);
    struct problems problems = {{0}, {0}};
    struct capture_record record;
    struct packet packet;
    uint64_t found = 0;
    if (capture_open(capture, source, count)) { free(capture); return 0; }
    while (capture_next(capture, source, count, &record, &problems) == 0) {
        if (link_decode(&record, &packet, &problems) || packet.protocol != IP_UDP) continue;
        if (rtp_classify(packet.payload, packet.payload_length) != RTP_CLASS_RTP) continue;
        if (found < capacity) target[found] = packet;
        found++;
    }
    free(capture);
    return found;
}

size_t drive_packet_size(void) { return sizeof(struct packet); }

/* Headers of collected packets. `told`: packets, sums of sequence numbers and of timestamps. Nanoseconds. */
uint64_t drive_headers(const struct packet *packets, uint64_t count, uint64_t told[3]) {
    struct rtp_header header;
    uint64_t begin = now_ns();
    told[0] = told[1] = told[2] = 0;
    for (uint64_t at = 0; at < count; at++) {
        const struct packet *p = &packets[at];
        if (rtp_parse(p->payload, p->payload_length, p->wire_length, &header)) continue;
        told[0]++;
        told[1] += header.sequence;
        told[2] += header.timestamp;
    }
    return now_ns() - begin;
}

/* Collected packets into streams with loss, jitter and quality. `told`: streams, packets. Nanoseconds. */
uint64_t drive_streams(const struct packet *packets, uint64_t count, uint32_t capacity, uint64_t told[2]) {
    uint32_t bucket_count = 1;
    while (bucket_count < capacity * RTP_BUCKETS_PER_STREAM) bucket_count *= 2;
    struct rtp_table table = {0};
    table.capacity = capacity;
    table.bucket_count = bucket_count;
    table.candidate_count = RTP_CANDIDATES;
    table.streams = calloc(capacity, sizeof *table.streams);
    table.buckets = calloc(bucket_count, sizeof *table.buckets);
    table.candidates = calloc(RTP_CANDIDATES, sizeof *table.candidates);
    uint64_t begin = now_ns();
    for (uint64_t at = 0; at < count; at++) (void)rtp_push(&table, &packets[at], 1);
    rtp_finish(&table);
    uint64_t taken = now_ns() - begin;
    told[0] = table.count;
    told[1] = 0;
    for (uint32_t row = 0; row < table.count; row++) told[1] += table.streams[row].packets;
    free(table.streams);
    free(table.buckets);
    free(table.candidates);
    return taken;
}

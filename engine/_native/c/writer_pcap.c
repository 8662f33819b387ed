/* Captures: pcap with nanoseconds, link type Ethernet, records as the producer made them. */
#include "writer_private.h"

#include <string.h>

#define SNAP_LENGTH 65535
#define NS_PER_S 1000000000

static void put_words(uint8_t *target, const uint32_t *words, size_t count) { memcpy(target, words, 4 * count); }

int writer_pcap_start(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    const uint32_t words[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, SNAP_LENGTH, 1};
    uint8_t header[24];
    (void)s;
    put_words(header, words, 6);
    const int error = writer_put(w, out, header, sizeof header, 0);
    if (!error) out->file_end = sizeof header;
    return error;
}

/* Records of a block in the file's form; their bytes. A record that is not whole ends it. */
static size_t records_copy(const struct writer_block *b, uint8_t *target, int64_t *records) {
    uint8_t *p = target;
    *records = 0;
    for (uint32_t at = 0; at + 11u <= b->used;) {
        int64_t time_ns;
        uint16_t length;
        memcpy(&time_ns, b->bytes + at, 8);
        memcpy(&length, b->bytes + at + 8, 2);
        if (at + 11u + length > b->used || time_ns < 0 || time_ns / NS_PER_S > UINT32_MAX) break;
        put_words(p, (const uint32_t[]){(uint32_t)(time_ns / NS_PER_S), (uint32_t)(time_ns % NS_PER_S), length, length}, 4);
        memcpy(p + 16, b->bytes + at + 11, length);
        p += 16 + length, at += 11u + length;
        ++*records;
    }
    return (size_t)(p - target);
}

void writer_pcap_take(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    for (uint32_t i = s->first_block; i != WRITER_NONE; i = w->next[i]) {
        const struct writer_block *b = &w->block[i];
        int64_t records;
        if (b->kind != WRITER_PACKETS) continue;
        const size_t bytes = records_copy(b, w->scratch, &records);
        int error = writer_waits(w, out);
        if (!error && !out->file_end) error = writer_pcap_start(w, s, out);
        if (!error) error = writer_put(w, out, w->scratch, bytes, out->file_end);
        if (!error) {
            out->file_end += (int64_t)bytes, out->end += records;
            writer_accept(w, s, out);
            continue;
        }
        if (!writer_waits(w, out)) {
            w->disk.truncate(w->disk.context, out->fd, out->file_end); /* else half a record stays, and the next one is written over it */
            writer_refuse(w, s, out, error);
        }
        out->lost += records;
    }
}

/* Opus in Ogg (RFC 7845, RFC 3533): packets as they came, one page for what a round brings, at most a second each. Where packets are missing there are packets of
   silence, so that a player's time is the recording's. Pages are only appended; the last one is marked at the end. */
#include "writer_private.h"

#include <errno.h>
#include <string.h>

#define SEGMENTS_MAX 255
#define PAGE_BYTES_MAX (27 + SEGMENTS_MAX + SEGMENTS_MAX * 255)
#define TICK 120 /* samples of the shortest packet, 2.5 ms */

enum { FLAG_FIRST = 2, FLAG_LAST = 4 };

/* ---- pages ---- */

/* CRC-32 with polynomial 0x04c11db7, neither reflected nor inverted (RFC 3533 section 6), four bits a step. */
static uint32_t checksum(uint32_t crc, const uint8_t *bytes, size_t count) {
    static const uint32_t steps[16] = {0x00000000, 0x04c11db7, 0x09823b6e, 0x0d4326d9, 0x130476dc, 0x17c56b6b, 0x1a864db2, 0x1e475005,
                                       0x2608edb8, 0x22c9f00f, 0x2f8ad6d6, 0x2b4bcb61, 0x350c9b64, 0x31cd86d3, 0x3c8ea00a, 0x384fbdbd};
    for (size_t i = 0; i < count; i++) {
        crc = crc << 4 ^ steps[crc >> 28 ^ bytes[i] >> 4];
        crc = crc << 4 ^ steps[crc >> 28 ^ (bytes[i] & 15)];
    }
    return crc;
}

/* Pages that are made in scratch and not in the file yet. `state` becomes the output's when they are. */
struct pages {
    struct writer *w;
    struct writer_output *out;
    struct writer_ogg state;
    size_t used;               /* bytes of whole pages */
    uint32_t segments, body;   /* of the one that is open */
    int64_t page_granule;      /* where it began */
    uint8_t lacing[SEGMENTS_MAX];
    int error;
};

static void pages_begin(struct pages *p, struct writer *w, struct writer_output *out) {
    memset(p, 0, sizeof *p);
    p->w = w, p->out = out, p->state = out->ogg;
    p->page_granule = out->ogg.granule;
}

static void pages_write(struct pages *p) {
    struct writer_output *out = p->out;
    if (!p->used || p->error) return;
    p->error = writer_put(p->w, out, p->w->scratch, p->used, out->file_end);
    if (p->error) {
        p->w->disk.truncate(p->w->disk.context, out->fd, out->file_end); /* else half a page stays, and the next ones are written over it */
    } else {
        out->file_end += (int64_t)p->used;
        out->ogg = p->state;
    }
    p->used = 0;
}

static void page_end(struct pages *p, uint8_t flags) {
    uint8_t *page = p->w->scratch + p->used;
    const uint32_t bytes = 27 + p->segments + p->body;
    const uint64_t granule = (uint64_t)p->state.granule;
    if (!p->segments || p->error) return;
    memcpy(page, "OggS\0", 5);
    page[5] = flags;
    memcpy(page + 6, &granule, 8);
    memcpy(page + 14, &p->out->serial, 4);
    memcpy(page + 18, &p->state.sequence, 4);
    memset(page + 22, 0, 4);
    page[26] = (uint8_t)p->segments;
    memcpy(page + 27, p->lacing, p->segments);
    memmove(page + 27 + p->segments, page + 27 + SEGMENTS_MAX, p->body);
    const uint32_t crc = checksum(0, page, bytes);
    memcpy(page + 22, &crc, 4);
    p->state.sequence++;
    p->state.last_page = p->out->file_end + (int64_t)p->used, p->state.last_page_bytes = bytes;
    p->used += bytes;
    p->segments = p->body = 0;
    p->page_granule = p->state.granule;
    if (p->used + PAGE_BYTES_MAX > WRITER_SCRATCH_BYTES) pages_write(p);
}

static void packet_add(struct pages *p, const uint8_t *bytes, uint32_t length, uint32_t samples) {
    const uint32_t segments = length / 255 + 1;
    if (p->segments + segments > SEGMENTS_MAX || p->state.granule + samples - p->page_granule > WRITER_OPUS_RATE_HZ) page_end(p, 0);
    if (p->error) return;
    memcpy(p->w->scratch + p->used + 27 + SEGMENTS_MAX + p->body, bytes, length);
    memset(p->lacing + p->segments, 255, segments - 1);
    p->segments += segments;
    p->lacing[p->segments - 1] = (uint8_t)(length % 255);
    p->body += length;
    p->state.granule += samples;
}

/* ---- silence ---- */

/* Packets that decode to zeros (RFC 6716: CELT, full band, mono, with the silence symbol), the longest that fit; up to 2.5 ms are left over. */
static void silence_add(struct pages *p, int64_t until) {
    static const struct { uint32_t samples, length; uint8_t bytes[14]; } packets[] = {
        {5760, 14, {0xfb, 6, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe}},
        {960, 3, {0xf8, 0xff, 0xfe}}, {480, 3, {0xf0, 0xff, 0xfe}}, {240, 3, {0xe8, 0xff, 0xfe}}, {TICK, 3, {0xe0, 0xff, 0xfe}}};
    for (uint32_t i = 0; i < sizeof packets / sizeof *packets; i++)
        while (!p->error && until - p->state.granule >= packets[i].samples) packet_add(p, packets[i].bytes, packets[i].length, packets[i].samples);
}

/* ---- the file ---- */

static const char vendor[] = "Trunkline";

int writer_ogg_start(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    uint8_t head[19] = "OpusHead\1", tags[8 + 4 + sizeof vendor - 1 + 4] = "OpusTags";
    const uint32_t vendor_length = sizeof vendor - 1;
    struct pages p;
    pages_begin(&p, w, out);
    head[9] = out->channels; /* pre-skip 0: sample 0 of the file is sample 0 of the timeline; gain 0, mapping family 0 */
    memcpy(head + 12, &s->rate_hz, 4);
    memcpy(tags + 8, &vendor_length, 4);
    memcpy(tags + 12, vendor, vendor_length);
    packet_add(&p, head, sizeof head, 0);
    page_end(&p, FLAG_FIRST);
    packet_add(&p, tags, sizeof tags, 0);
    page_end(&p, 0);
    pages_write(&p);
    return p.error;
}

struct packet { const uint8_t *bytes; uint32_t length, samples; };

/* The packet at `at`, which moves behind it; 0: none. */
static int packet_next(const struct writer_block *b, uint32_t *at, struct packet *packet) {
    uint16_t length;
    if (*at + 6 > b->used) return 0;
    memcpy(&length, b->bytes + *at, 2);
    memcpy(&packet->samples, b->bytes + *at + 2, 4);
    if (*at + 6 + length > b->used) return 0;
    packet->bytes = b->bytes + *at + 6, packet->length = length;
    *at += 6u + length;
    return 1;
}

int64_t writer_ogg_samples(const struct writer_block *b) {
    struct packet packet;
    uint32_t at = 0;
    int64_t samples = 0;
    while (packet_next(b, &at, &packet)) {
        if (!packet.length || packet.samples < TICK || packet.samples > 5760) return STATUS_MALFORMED; /* RFC 6716 section 3.2.5 */
        samples += packet.samples;
    }
    return at == b->used ? samples : STATUS_MALFORMED;
}

static int is_ours(const struct writer_output *out, const struct writer_block *b) { return b->kind == WRITER_OPUS && out->channel_of[b->track] != 0xff; }

static void block_add(struct pages *p, const struct writer_block *b) {
    struct packet packet;
    uint32_t at = 0;
    int64_t position = b->position;
    silence_add(p, position);
    for (; packet_next(b, &at, &packet); position += packet.samples) {
        if (position + packet.samples / 2 >= p->state.granule) packet_add(p, packet.bytes, packet.length, packet.samples);
        else p->out->late += packet.samples;
    }
}

void writer_ogg_take(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    const int64_t before = out->ogg.granule;
    int64_t given = 0;
    struct pages p;
    for (uint32_t i = s->first_block; i != WRITER_NONE; i = w->next[i])
        if (is_ours(out, &w->block[i])) given += writer_ogg_samples(&w->block[i]);
    if (!given) return;
    if (writer_waits(w, out)) {
        out->lost += given;
        return;
    }
    int error = out->file_end ? 0 : writer_ogg_start(w, s, out);
    pages_begin(&p, w, out);
    for (uint32_t i = s->first_block; i != WRITER_NONE && !error; i = w->next[i])
        if (is_ours(out, &w->block[i])) block_add(&p, &w->block[i]);
    if (!error) {
        page_end(&p, 0);
        pages_write(&p);
        error = p.error;
    }
    if (!error) {
        writer_accept(w, s, out);
        return;
    }
    writer_refuse(w, s, out, error);
    out->lost += given > out->ogg.granule - before ? given - (out->ogg.granule - before) : 0;
}

/* The last page, as it is in the file, with the mark and its new checksum. */
static int last_page_mark(struct writer *w, struct writer_output *out) {
    uint8_t *page = w->scratch;
    const uint32_t bytes = out->ogg.last_page_bytes, none = 0;
    const ptrdiff_t got = w->disk.read(w->disk.context, out->fd, page, bytes, out->ogg.last_page);
    if (got != (ptrdiff_t)bytes) return got < 0 ? errno : EIO;
    page[5] |= FLAG_LAST;
    memcpy(page + 22, &none, 4);
    const uint32_t crc = checksum(0, page, bytes);
    memcpy(page + 22, &crc, 4);
    return writer_put(w, out, page, 27, out->ogg.last_page);
}

void writer_ogg_close(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    static const uint8_t shortest[] = {0xe0, 0xff, 0xfe};
    const int64_t until = s->end * WRITER_OPUS_RATE_HZ / s->rate_hz;
    struct pages p;
    int error = out->file_end ? 0 : writer_ogg_start(w, s, out);
    pages_begin(&p, w, out);
    if (!error) {
        silence_add(&p, until);
        if (p.state.granule < until) { /* the last packet is cut to the samples that are wanted (RFC 7845 section 4.4) */
            packet_add(&p, shortest, sizeof shortest, TICK);
            p.state.granule = until;
        } else if (p.state.sequence == 2 && !p.segments) {
            packet_add(&p, shortest, sizeof shortest, TICK);
        }
        page_end(&p, 0);
        pages_write(&p);
        error = p.error ? p.error : last_page_mark(w, out);
    }
    if (error) writer_refuse(w, s, out, error);
    else writer_accept(w, s, out);
}

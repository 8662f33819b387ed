/* pcap and saved HEP streams, and the choice between the capture formats (pcapng: capture_blocks.c).
   pcap has no sync marker. A place is believed to start a record when a chain of plausible records starts
   there; the same test finds the way back after damage and the places where a file is split over workers. */
#include "capture_blocks.h"
#include "hep.h"
#include "octets.h"

#define PCAP_HEADER 24
#define MAGIC_MICRO 0xa1b2c3d4u
#define MAGIC_NANO 0xa1b23c4du
#define MAGIC_MODIFIED 0xa1b2cd34u /* 24-byte record headers */
#define LINK_HEP 65535
#define YEAR_S (366u * 86400u)
#define PREFETCH_RECORDS 16

struct pcap_header { uint32_t seconds, fraction, captured, original; };

static int hep_magic(const uint8_t *p) { return !memcmp(p, "HEP3", 4) || !memcmp(p, "EEP1", 4); }

/* Byte order and kind of a pcap magic: 0 when it is none. */
static uint32_t pcap_magic(const uint8_t *source, uint8_t *big) {
    for (int order = 0; order < 2; order++) {
        const uint32_t magic = load_u32(source, order);
        if (magic == MAGIC_MICRO || magic == MAGIC_NANO || magic == MAGIC_MODIFIED) {
            *big = (uint8_t)order;
            return magic;
        }
    }
    return 0;
}

static void pcap_open(struct capture *c, const uint8_t *source, uint32_t magic, uint8_t big) {
    struct capture_interface *interface = c->interfaces;
    c->format = CAPTURE_PCAP;
    c->swapped = big;
    c->record_header = magic == MAGIC_MODIFIED ? 24 : 16;
    c->interface_count = 1;
    memset(interface, 0, sizeof *interface);
    c->old_lengths = load_u16(source + 4, big) == 2 && load_u16(source + 6, big) <= 3;
    interface->snap_length = load_u32(source + 16, big);
    const uint32_t network = load_u32(source + 20, big);
    interface->link_type = (uint16_t)network;
    /* The upper bits say how many 16-bit words of frame check sequence follow each packet. */
    if (network & 0x04000000u) interface->fcs_length = (uint8_t)((network >> 28) * 2);
    interface->ticks_per_second = magic == MAGIC_NANO ? NANOSECONDS : 1000000;
}

int capture_open(struct capture *c, const uint8_t *source, size_t count) {
    uint8_t big = 0;
    memset(c, 0, sizeof *c);
    if (count < 4) return STATUS_UNSUPPORTED;
    const uint32_t magic = pcap_magic(source, &big);
    if (magic) {
        c->format = CAPTURE_PCAP;
        c->record_header = 16;
        if (count < PCAP_HEADER) return 0; /* capture_next says that the file ends */
        pcap_open(c, source, magic, big);
        c->position = PCAP_HEADER;
        return 0;
    }
    if (hep_magic(source)) {
        c->format = CAPTURE_HEP;
        c->interface_count = 1;
        c->interfaces[0].link_type = LINK_HEP;
        return 0;
    }
    return block_open(c, source, count);
}

void record_finish(struct capture *c, struct capture_record *record, uint8_t fcs_length,
                   struct problems *problems) {
    record->number = ++c->number;
    if (TL_UNLIKELY(record->time_ns < c->last_time_ns) && c->number > 1 &&
        (uint64_t)c->last_time_ns - (uint64_t)record->time_ns > NANOSECONDS)
        problem_note(problems, PROBLEM_TIME_BACKWARDS, record->offset);
    c->last_time_ns = record->time_ns;
    if (TL_UNLIKELY(fcs_length != 0)) {
        record->original = record->original > fcs_length ? record->original - fcs_length : 0;
        if (record->captured > record->original) record->captured = record->original;
    }
}

/* ---- pcap records ---- */

TL_INLINE uint32_t pcap_limit(const struct capture *c) {
    const uint32_t snap = c->interfaces[0].snap_length;
    return snap > RECORD_LIMIT && snap <= BLOCK_LIMIT ? snap : RECORD_LIMIT;
}

TL_INLINE void pcap_header(const struct capture *c, const uint8_t *p, struct pcap_header *h) {
    if (TL_LIKELY(!c->swapped)) {
        h->seconds = load_le32(p);
        h->fraction = load_le32(p + 4);
        h->captured = load_le32(p + 8);
        h->original = load_le32(p + 12);
    } else {
        h->seconds = load_be32(p);
        h->fraction = load_be32(p + 4);
        h->captured = load_be32(p + 8);
        h->original = load_be32(p + 12);
    }
    if (TL_UNLIKELY(c->old_lengths) && h->captured > h->original) { /* before version 2.4 */
        const uint32_t captured = h->captured;
        h->captured = h->original;
        h->original = captured;
    }
}

/* Ethernet frames carry a type that exists, which payload bytes rarely do. */
static int plausible_link(const struct capture *c, const uint8_t *p, uint32_t captured) {
    if (c->interfaces[0].link_type != 1 || captured < 14) return 1;
    const uint16_t type = load_be16(p + 12);
    return type <= 1500 || (type >= 0x0600 && (type & 0xff00) != 0x2000);
}

/* Readable, but not as a capturing program writes it: times apart by a year, lengths the wrong way round. */
TL_INLINE int pcap_odd(const struct capture *c, const struct pcap_header *h) {
    const int64_t apart_ns = (int64_t)h->seconds * NANOSECONDS - c->last_time_ns;
    return (h->captured > h->original) | (h->fraction >= c->interfaces[0].ticks_per_second) |
           ((uint64_t)(apart_ns + (int64_t)YEAR_S * NANOSECONDS) > 2ull * YEAR_S * NANOSECONDS);
}

/* Could a record start at `at`? Returns where the next one would, 0 when not. `first_s` is the time of the
   file's first record: a capture is not years long. */
static uint64_t pcap_plausible(const struct capture *c, const uint8_t *source, size_t count, uint64_t at,
                               uint32_t first_s) {
    struct pcap_header h;
    if (count - at < c->record_header) return 0;
    pcap_header(c, source + at, &h);
    if (h.captured > pcap_limit(c) || h.captured > h.original || h.original > BLOCK_LIMIT) return 0;
    if (h.fraction >= c->interfaces[0].ticks_per_second || h.original == 0) return 0;
    if (h.seconds < first_s && first_s - h.seconds > 86400) return 0;
    if (h.seconds > first_s && h.seconds - first_s > 5 * YEAR_S) return 0;
    if (h.captured > count - at - c->record_header) return 0;
    if (!plausible_link(c, source + at + c->record_header, h.captured)) return 0;
    return at + c->record_header + h.captured;
}

static uint32_t pcap_first_second(const struct capture *c, const uint8_t *source, size_t count) {
    return count >= PCAP_HEADER + 4 ? load_u32(source + PCAP_HEADER, c->swapped) : 0;
}

/* Eight records prove a place, unless all of them are small enough to lie in one packet's payload (a capture
   carried by a capture): then the chain goes on until it spans more than any packet. */
static int pcap_chain(const struct capture *c, const uint8_t *source, size_t count, uint64_t at,
                      uint32_t first_s) {
    const uint64_t start = at;
    for (int records = 0; records < 4 * CHAIN_LENGTH * CHAIN_LENGTH; records++) {
        if (at == count) return records > 0;
        if (records >= CHAIN_LENGTH && at - start > 65536) return 1;
        at = pcap_plausible(c, source, count, at, first_s);
        if (!at) return 0;
    }
    return 1;
}

/* First believable place in [from, until), `count` when there is none. */
static uint64_t pcap_search(const struct capture *c, const uint8_t *source, size_t count, uint64_t from,
                            uint64_t until) {
    const uint32_t first_s = pcap_first_second(c, source, count);
    for (uint64_t at = from; at < until && count - at >= c->record_header; at++) {
        if (TL_LIKELY(!pcap_plausible(c, source, count, at, first_s))) continue;
        if (pcap_chain(c, source, count, at, first_s)) return at;
    }
    return count;
}

/* The record that covers `from` ends at a boundary. Looking for the outermost one first keeps a capture that
   is the payload of a packet from passing for the file itself. */
static uint64_t pcap_boundary(const struct capture *c, const uint8_t *source, size_t count, uint64_t from) {
    if (from <= PCAP_HEADER) return PCAP_HEADER;
    const uint32_t first_s = pcap_first_second(c, source, count);
    const uint64_t reach = pcap_limit(c) + c->record_header;
    uint64_t at = from - PCAP_HEADER > reach ? from - reach : PCAP_HEADER;
    for (; at < from; at++) {
        const uint64_t end = pcap_plausible(c, source, count, at, first_s);
        if (TL_LIKELY(end < from)) continue;
        if (end == count || pcap_chain(c, source, count, end, first_s)) return end;
    }
    return pcap_search(c, source, count, from, count);
}

static int only_zeros(const uint8_t *p, size_t count) {
    while (count && !*p) p++, count--;
    return count == 0;
}

/* The place of `position` holds no whole record: a second file behind the first, damage, or the end.
   Returns 1 when reading can go on. */
static int pcap_recover(struct capture *c, const uint8_t *source, size_t count, int plausible,
                        struct problems *problems) {
    const uint64_t at = c->position, left = count - at;
    if (left < c->record_header) {
        c->position = count;
        const int padding = left >= 4 && only_zeros(source + at, left);
        if (left) problem_note(problems, padding ? PROBLEM_TRAILING_BYTES : PROBLEM_RECORD_TRUNCATED, at);
        return 0;
    }
    const uint64_t found = pcap_search(c, source, count, at + 1, count);
    c->position = found;
    if (found < count) problem_note(problems, PROBLEM_RECORD_LENGTH, at);
    else problem_note(problems, plausible ? PROBLEM_RECORD_TRUNCATED : PROBLEM_TRAILING_BYTES, at);
    return found < count;
}

/* A header that reads oddly may stand behind a damaged length: then a chain starts inside the record. */
static int pcap_swallows(struct capture *c, const uint8_t *source, size_t count, uint32_t size,
                         struct problems *problems) {
    const uint64_t at = c->position;
    const uint64_t found = pcap_search(c, source, count, at + 1, at + size);
    if (found == count) return 0;
    problem_note(problems, PROBLEM_RECORD_LENGTH, at);
    c->position = found;
    return 1;
}

/* A file header where a record should be: captures written one behind the other. */
static int pcap_joined(struct capture *c, const uint8_t *source, size_t count) {
    uint8_t big = 0;
    const uint64_t at = c->position;
    if (count - at < PCAP_HEADER) return 0;
    const uint32_t magic = pcap_magic(source + at, &big);
    if (!magic || load_u16(source + at + 4, big) != 2 || load_u16(source + at + 6, big) > 4) return 0;
    pcap_open(c, source + at, magic, big);
    c->position = at + PCAP_HEADER;
    return 1;
}

static int pcap_next(struct capture *c, const uint8_t *source, size_t count, struct capture_record *record,
                     struct problems *problems) {
    struct pcap_header h;
    for (;;) {
        const uint64_t at = c->position, left = count - at;
        if (TL_UNLIKELY(left < c->record_header)) {
            pcap_recover(c, source, count, 0, problems);
            return STATUS_END;
        }
        pcap_header(c, source + at, &h);
        const uint32_t size = c->record_header + h.captured;
        if (TL_UNLIKELY((h.seconds | h.captured) == 0 && (h.fraction | h.original) == 0)) {
            if (!pcap_recover(c, source, count, 0, problems)) return STATUS_END;
            continue;
        }
        const int empty = h.captured == 0 || h.captured > h.original;
        if (TL_UNLIKELY(empty) && pcap_joined(c, source, count)) continue;
        if (TL_LIKELY(h.captured <= pcap_limit(c) && size <= left)) {
            const int odd = pcap_odd(c, &h) && c->number;
            if (TL_UNLIKELY(odd) && pcap_swallows(c, source, count, size, problems)) continue;
            c->position = at + size;
            /* Records are much alike in size: a guess at where later headers lie, two cache lines of them. */
            const uint64_t ahead = at + (uint64_t)size * PREFETCH_RECORDS;
            if (TL_LIKELY(ahead + 64 < count)) {
                __builtin_prefetch(source + ahead);
                __builtin_prefetch(source + ahead + 62);
            }
            record->bytes = source + at + c->record_header;
            record->offset = at;
            break;
        }
        if (!pcap_recover(c, source, count, h.captured <= pcap_limit(c), problems)) return STATUS_END;
    }
    const uint64_t tick_ns = c->interfaces[0].ticks_per_second == NANOSECONDS ? 1 : 1000;
    record->time_ns = (int64_t)h.seconds * NANOSECONDS + (int64_t)(h.fraction * tick_ns);
    record->captured = h.captured;
    record->original = h.original < h.captured ? h.captured : h.original;
    record->link_type = c->interfaces[0].link_type;
    record->interface = 0;
    record_finish(c, record, c->interfaces[0].fcs_length, problems);
    return 0;
}

/* ---- HEP packets one behind the other ---- */

static uint64_t hep_following(const uint8_t *source, size_t count, uint64_t at) {
    if (count - at < 6 || !hep_magic(source + at)) return 0;
    const uint16_t length = load_be16(source + at + 4);
    return length < 6 || length > count - at ? 0 : at + length;
}

static uint64_t hep_search(const uint8_t *source, size_t count, uint64_t from) {
    for (uint64_t at = from; at < count; at++) {
        const uint8_t *p = memchr(source + at, 'P', count - at); /* the third letter of both magics */
        if (!p) return count;
        at = (uint64_t)(p - source);
        if (at < from + 2) continue;
        uint64_t next = hep_following(source, count, at - 2);
        for (int packets = 1; packets < CHAIN_LENGTH && next && next < count; packets++)
            next = hep_following(source, count, next);
        if (next) return at - 2;
    }
    return count;
}

static int hep_next(struct capture *c, const uint8_t *source, size_t count, struct capture_record *record,
                    struct problems *problems) {
    while (c->position < count) {
        const uint64_t at = c->position, next = hep_following(source, count, at);
        if (!next) {
            const uint64_t found = hep_search(source, count, at + 1);
            const int cut = found == count && count - at >= 4 && hep_magic(source + at);
            problem_note(problems, cut ? PROBLEM_RECORD_TRUNCATED
                                       : found < count ? PROBLEM_RECORD_LENGTH : PROBLEM_TRAILING_BYTES, at);
            c->position = found;
            continue;
        }
        c->position = next;
        record->bytes = source + at;
        record->offset = at;
        record->captured = record->original = (uint32_t)(next - at);
        record->link_type = LINK_HEP;
        record->interface = 0;
        record->time_ns = hep_time(source + at, (size_t)(next - at), c->last_time_ns);
        record_finish(c, record, 0, problems);
        return 0;
    }
    return STATUS_END;
}

/* ---- any format ---- */

int capture_next(struct capture *c, const uint8_t *source, size_t count, struct capture_record *record,
                 struct problems *problems) {
    if (TL_UNLIKELY(c->position > count)) return STATUS_END;
    if (TL_LIKELY(c->format == CAPTURE_PCAP)) {
        if (TL_UNLIKELY(c->interface_count == 0)) { /* the file header itself is cut */
            if (c->position < count) problem_note(problems, PROBLEM_RECORD_TRUNCATED, 0);
            c->position = count;
            return STATUS_END;
        }
        return pcap_next(c, source, count, record, problems);
    }
    if (c->format == CAPTURE_PCAPNG) return block_next(c, source, count, record, problems);
    if (c->format == CAPTURE_HEP) return hep_next(c, source, count, record, problems);
    return STATUS_END;
}

uint64_t capture_boundary(const struct capture *c, const uint8_t *source, size_t count, uint64_t from) {
    if (from >= count) return count;
    switch (c->format) {
    case CAPTURE_PCAP:
        return c->interface_count ? pcap_boundary(c, source, count, from) : count;
    case CAPTURE_PCAPNG: return block_search(source, count, from, c->swapped);
    case CAPTURE_HEP: return hep_search(source, count, from);
    default: return count;
    }
}

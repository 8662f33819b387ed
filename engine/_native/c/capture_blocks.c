/* pcapng (draft-ietf-opsawg-pcapng): sections, interfaces, packets, secrets; the rest is stepped over. */
#include "capture_blocks.h"
#include "octets.h"

enum block_type {
    BLOCK_INTERFACE = 1, BLOCK_PACKET = 2, BLOCK_SIMPLE = 3, BLOCK_NAMES = 4, BLOCK_STATISTICS = 5,
    BLOCK_ENHANCED = 6, BLOCK_JOURNAL = 9, BLOCK_SECRETS = 10, BLOCK_CUSTOM = 0x0bad,
    BLOCK_CUSTOM_PRIVATE = 0x40000bad, BLOCK_SECTION = 0x0a0d0d0a
};
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define SECRETS_TLS 0x544c534bu
#define NO_TIME_NS 0

/* One block whose lengths were checked: `body` has `body_length` bytes. */
struct block { uint64_t offset; const uint8_t *body; uint32_t type, body_length; };

static int section_order(const uint8_t *p, uint8_t *big) {
    *big = load_be32(p) == BYTE_ORDER_MAGIC;
    return *big || load_le32(p) == BYTE_ORDER_MAGIC;
}

int block_open(struct capture *c, const uint8_t *source, size_t count) {
    if (load_le32(source) != BLOCK_SECTION) return STATUS_UNSUPPORTED;
    if (count >= 12 && !section_order(source + 8, &c->swapped)) return STATUS_UNSUPPORTED;
    c->format = CAPTURE_PCAPNG;
    return 0;
}

/* ---- where blocks start ---- */

static int known_type(uint32_t type) {
    return (type >= BLOCK_INTERFACE && type <= BLOCK_SECRETS) || type == BLOCK_SECTION ||
           type == BLOCK_CUSTOM || type == BLOCK_CUSTOM_PRIVATE;
}

/* Where the block behind the one at `at` starts: 0 when none starts at `at`. */
static uint64_t block_following(const uint8_t *source, size_t count, uint64_t at, int *big) {
    if (count - at < 12) return 0;
    uint8_t order = (uint8_t)*big;
    const int section = load_le32(source + at) == BLOCK_SECTION;
    if (section && (count - at < 28 || !section_order(source + at + 8, &order))) return 0;
    const uint32_t length = load_u32(source + at + 4, order);
    if (!known_type(load_u32(source + at, order))) return 0;
    if (length < 12 || length & 3 || length > count - at) return 0;
    if (load_u32(source + at + length - 4, order) != length) return 0;
    *big = order;
    return at + length;
}

uint64_t block_search(const uint8_t *source, size_t count, uint64_t from, int big) {
    for (uint64_t at = from; count - at >= 12; at++) {
        int order = big;
        uint64_t next = block_following(source, count, at, &order);
        for (int blocks = 1; next && next < count && blocks < CHAIN_LENGTH; blocks++)
            next = block_following(source, count, next, &order);
        if (next) return at;
    }
    return count;
}

/* ---- options ---- */

/* Steps over options. Returns 1 with the next one, 0 at the end. */
static int option_next(const struct capture *c, const struct block *b, uint32_t *at, uint16_t *code,
                       const uint8_t **value, uint16_t *length, struct problems *problems) {
    if (*at > b->body_length || b->body_length - *at < 4) return 0;
    *code = load_u16(b->body + *at, c->swapped);
    *length = load_u16(b->body + *at + 2, c->swapped);
    if (*code == 0) return 0;
    const uint32_t padded = (*length + 3u) & ~3u;
    if (padded > b->body_length - *at - 4) {
        problem_note(problems, PROBLEM_OPTION_LENGTH, b->offset);
        return 0;
    }
    *value = b->body + *at + 4;
    *at += 4 + padded;
    return 1;
}

/* Ticks a second of an if_tsresol byte, 0 when it is beyond 64 bits. */
static uint64_t resolution(uint8_t code) {
    if (code & 0x80) return (code & 0x7f) < 64 ? 1ull << (code & 0x7f) : 0;
    uint64_t ticks = 1;
    if (code > 19) return 0;
    for (uint8_t i = 0; i < code; i++) ticks *= 10;
    return ticks;
}

static void interface_option(struct capture_interface *interface, uint16_t code, const uint8_t *value,
                             uint16_t length, int big, uint64_t offset, struct problems *problems) {
    if (code == 9 && length >= 1) {
        const uint64_t ticks = resolution(value[0]);
        if (ticks) interface->ticks_per_second = ticks;
        else problem_note(problems, PROBLEM_OPTION_LENGTH, offset);
    } else if (code == 13 && length >= 1) interface->fcs_length = value[0];
    else if (code == 14 && length >= 8) interface->offset_s = (int64_t)load_u64(value, big);
}

static void take_interface(struct capture *c, const struct block *b, struct problems *problems) {
    const uint8_t *value;
    uint16_t code, length;
    uint32_t at = 8;
    if (b->body_length < 8) {
        problem_note(problems, PROBLEM_BLOCK_LENGTH, b->offset);
        return;
    }
    const uint32_t row = c->interface_count;
    if (c->interface_count < UINT32_MAX) c->interface_count++;
    if (row >= CAPTURE_INTERFACES) return; /* its packets are counted as INTERFACE_UNKNOWN */
    struct capture_interface *interface = c->interfaces + row;
    memset(interface, 0, sizeof *interface);
    interface->link_type = load_u16(b->body, c->swapped);
    interface->snap_length = load_u32(b->body + 4, c->swapped);
    interface->ticks_per_second = 1000000;
    while (option_next(c, b, &at, &code, &value, &length, problems)) {
        if (code == 1) c->comment_count++;
        else interface_option(interface, code, value, length, c->swapped, b->offset, problems);
    }
}

static void take_statistics(struct capture *c, const struct block *b, struct problems *problems) {
    const uint8_t *value;
    uint16_t code, length;
    uint32_t at = 12;
    if (b->body_length < 12) return;
    const uint32_t row = load_u32(b->body, c->swapped);
    if (row >= c->interface_count || row >= CAPTURE_INTERFACES) return;
    uint64_t drops = 0;
    while (option_next(c, b, &at, &code, &value, &length, problems)) {
        const int dropped = code == 5 || code == 7; /* isb_ifdrop, isb_osdrop */
        if (dropped && length == 8) drops += load_u64(value, c->swapped);
        else if (code == 1) c->comment_count++;
    }
    c->interfaces[row].drops = drops; /* counters since the start: the last block holds the sum */
}

static void take_secrets(struct capture *c, const struct block *b, const uint8_t *source,
                         struct problems *problems) {
    if (b->body_length < 8 || load_u32(b->body + 4, c->swapped) > b->body_length - 8) {
        problem_note(problems, PROBLEM_BLOCK_LENGTH, b->offset);
        return;
    }
    if (c->secrets_length || load_u32(b->body, c->swapped) != SECRETS_TLS) return;
    c->secrets_offset = (uint64_t)(b->body + 8 - source);
    c->secrets_length = load_u32(b->body + 4, c->swapped);
}

/* ---- packets ---- */

/* Ticks of an interface as nanoseconds since 1970, held inside 64 bits. */
static int64_t tick_time(const struct capture_interface *interface, uint64_t ticks) {
    const uint64_t rate = interface->ticks_per_second;
    if (TL_LIKELY(interface->offset_s == 0)) {
        if (rate == 1000000 && ticks < INT64_MAX / 1000) return (int64_t)(ticks * 1000);
        if (rate == NANOSECONDS && ticks <= INT64_MAX) return (int64_t)ticks;
    }
    const __int128 fraction = (__int128)(ticks % rate) * NANOSECONDS / rate;
    const __int128 exact = ((__int128)(ticks / rate) + interface->offset_s) * NANOSECONDS + fraction;
    if (exact > INT64_MAX) return INT64_MAX;
    return exact < INT64_MIN ? INT64_MIN : (int64_t)exact;
}

struct packet_fields { uint64_t ticks; uint32_t interface, captured, original, start; int timed; };

static void read_fields(const struct capture *c, const struct block *b, struct packet_fields *f) {
    const int big = c->swapped;
    f->timed = b->type != BLOCK_SIMPLE;
    if (b->type == BLOCK_SIMPLE) {
        f->interface = 0;
        f->ticks = 0;
        f->start = 4;
        f->original = load_u32(b->body, big);
        /* The packet is cut at the interface's snap length; the rest of the body is padding. */
        f->captured = f->original;
        const uint32_t snap = c->interface_count ? c->interfaces[0].snap_length : 0;
        if (snap && f->captured > snap) f->captured = snap;
        if (f->captured > b->body_length - 4) f->captured = b->body_length - 4;
        return;
    }
    f->interface = b->type == BLOCK_ENHANCED ? load_u32(b->body, big) : load_u16(b->body, big);
    f->ticks = (uint64_t)load_u32(b->body + 4, big) << 32 | load_u32(b->body + 8, big);
    f->captured = load_u32(b->body + 12, big);
    f->original = load_u32(b->body + 16, big);
    f->start = 20;
}

static void count_comments(struct capture *c, const struct block *b, uint32_t at, struct problems *problems) {
    const uint8_t *value;
    uint16_t code, length;
    while (option_next(c, b, &at, &code, &value, &length, problems)) c->comment_count += code == 1;
}

/* Returns 1 with a record, 0 when the block holds none that can be read. */
static int take_packet(struct capture *c, const struct block *b, struct capture_record *record,
                       struct problems *problems) {
    struct packet_fields f;
    if (b->body_length < (b->type == BLOCK_SIMPLE ? 4u : 20u)) {
        problem_note(problems, PROBLEM_BLOCK_LENGTH, b->offset);
        return 0;
    }
    read_fields(c, b, &f);
    if (f.captured > b->body_length - f.start) {
        problem_note(problems, PROBLEM_BLOCK_LENGTH, b->offset);
        return 0;
    }
    if (f.interface >= c->interface_count || f.interface >= CAPTURE_INTERFACES) {
        problem_note(problems, PROBLEM_INTERFACE_UNKNOWN, b->offset);
        return 0;
    }
    const struct capture_interface *interface = c->interfaces + f.interface;
    const uint32_t end = f.start + ((f.captured + 3) & ~3u);
    if (TL_UNLIKELY(b->type == BLOCK_ENHANCED && end < b->body_length)) count_comments(c, b, end, problems);
    record->bytes = b->body + f.start;
    record->offset = b->offset;
    record->captured = f.captured;
    record->original = f.original < f.captured ? f.captured : f.original;
    record->link_type = interface->link_type;
    record->interface = (uint16_t)f.interface;
    record->time_ns = f.timed ? tick_time(interface, f.ticks) : c->number ? c->last_time_ns : NO_TIME_NS;
    record_finish(c, record, interface->fcs_length, problems);
    return 1;
}

/* ---- the walk ---- */

/* Lengths that make no sense: goes on at the next chain of blocks. Returns 0, no block. */
static int block_recover(struct capture *c, const uint8_t *source, size_t count, int overrun,
                          struct problems *problems) {
    const uint64_t at = c->position;
    c->position = block_search(source, count, at + 1, c->swapped);
    const int cut = overrun && c->position == count;
    problem_note(problems, cut ? PROBLEM_RECORD_TRUNCATED : PROBLEM_BLOCK_LENGTH, at);
    return 0;
}

/* Reads the block at the position and steps behind it. Returns 1 with `b`, 0 when it was damaged. */
static int block_read(struct capture *c, const uint8_t *source, size_t count, struct block *b,
                      struct problems *problems) {
    const uint64_t at = c->position, left = count - at;
    if (left < 12) {
        size_t zeros = 0;
        while (zeros < left && !source[at + zeros]) zeros++;
        problem_note(problems, zeros == left ? PROBLEM_TRAILING_BYTES : PROBLEM_RECORD_TRUNCATED, at);
        c->position = count;
        return 0;
    }
    const int section = load_le32(source + at) == BLOCK_SECTION;
    uint8_t big = c->swapped;
    if (section && !section_order(source + at + 8, &big)) return block_recover(c, source, count, 0, problems);
    const uint32_t length = load_u32(source + at + 4, big);
    if (length < (section ? 28u : 12u) || length & 3 || length > left)
        return block_recover(c, source, count, length > left, problems);
    if (TL_UNLIKELY(load_u32(source + at + length - 4, big) != length)) {
        int order = big;
        if (at + length != count && !block_following(source, count, at + length, &order))
            return block_recover(c, source, count, 0, problems);
        problem_note(problems, PROBLEM_BLOCK_LENGTH, at); /* the leading length leads to a block: believed */
    }
    c->swapped = big;
    b->offset = at;
    b->type = load_u32(source + at, big);
    b->body = source + at + 8;
    b->body_length = length - 12;
    c->position = at + length;
    return 1;
}

static void take_section(struct capture *c, const struct block *b, struct problems *problems) {
    const uint8_t *value;
    uint16_t code, length;
    uint32_t at = 16;
    c->interface_count = 0; /* interface numbers start anew (§4.1) */
    while (option_next(c, b, &at, &code, &value, &length, problems)) c->comment_count += code == 1;
}

int block_next(struct capture *c, const uint8_t *source, size_t count, struct capture_record *record,
               struct problems *problems) {
    struct block b;
    while (c->position < count) {
        if (!block_read(c, source, count, &b, problems)) continue;
        switch (b.type) {
        case BLOCK_ENHANCED: case BLOCK_SIMPLE: case BLOCK_PACKET:
            if (TL_LIKELY(take_packet(c, &b, record, problems))) {
                const uint64_t ahead = c->position + 4ull * (c->position - b.offset);
                __builtin_prefetch(source + (ahead < count ? ahead : c->position - 4));
                return 0;
            }
            break;
        case BLOCK_SECTION: take_section(c, &b, problems); break;
        case BLOCK_INTERFACE: take_interface(c, &b, problems); break;
        case BLOCK_STATISTICS: take_statistics(c, &b, problems); break;
        case BLOCK_SECRETS: take_secrets(c, &b, source, problems); break;
        default:
            if (!known_type(b.type)) problem_note(problems, PROBLEM_BLOCK_UNKNOWN, b.offset);
        }
    }
    return STATUS_END;
}

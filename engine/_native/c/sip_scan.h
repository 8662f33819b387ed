/* Inside of the SIP tokenizer: what the structural pass hands to the walk over lines, and the name
   lookup both the walk and sip_header_id use. Not for other kernels. */
#ifndef TRUNKLINE_SIP_SCAN_H
#define TRUNKLINE_SIP_SCAN_H

#include "sip.h"
#include "sip_header_slots.h"

#include <string.h>

/* ---- words ---- */

#define SIP_ONES 0x0101010101010101u
#define SIP_FOLD (0x20 * SIP_ONES)

TL_INLINE uint64_t sip_load(const uint8_t *source) {
    uint64_t word;
    memcpy(&word, source, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

TL_INLINE uint32_t sip_load32(const uint8_t *source) {
    uint32_t word;
    memcpy(&word, source, 4);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    return word;
}

/* Bit 7 of each byte of the result: set where the byte of `word` is zero. Exact, no borrow. */
TL_INLINE uint64_t sip_zero_bytes(uint64_t word) {
    const uint64_t low = 0x7f * SIP_ONES;
    return ~(((word & low) + low) | word | low);
}

/* Number of the lowest set bit, 64 where there is none. */
TL_INLINE uint32_t sip_lowest(uint64_t bits) { return bits ? (uint32_t)__builtin_ctzll(bits) : 64; }

extern const uint8_t sip_space_bytes[256]; /* 1 for SP and HT */

TL_INLINE int sip_is_space(uint8_t c) { return c == ' ' || c == '\t'; }

/* White space around a value: SP, HT and, where a fold is cut at, CR and LF. */
TL_INLINE int sip_is_white(uint8_t c) {
    return c <= 32 && (1ull << 32 | 1ull << '\t' | 1ull << '\r' | 1ull << '\n') >> c & 1;
}

extern const uint8_t sip_token_bytes[256]; /* 1 for the token characters of RFC 3261 §25.1 */

TL_INLINE int sip_is_token(const uint8_t *source, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!sip_token_bytes[source[i]]) return 0;
    return count > 0;
}

/* ---- names ---- */

/* A known name as a line begins with it, colon included, and the bits that must agree: all but case. */
struct sip_entry { char text[32], mask[32]; } __attribute__((aligned(64)));

extern const struct sip_entry sip_entries[SIP_HEADER_COUNT];
extern const uint8_t sip_slots[1 << SIP_SLOT_BITS];
extern const uint64_t sip_compact_headers[SIP_HEADER_WORDS]; /* bit an id: it has a compact form */
extern const uint64_t sip_quoted_headers[SIP_HEADER_WORDS];  /* bit an id: its grammar has a quoted-string */
#define SIP_NAME_LONGEST 30

TL_INLINE int sip_has_bit(const uint64_t *bits, uint8_t id) { return bits[id >> 6] >> (id & 63) & 1; }

/* The first eight bytes of a name, those behind its length zero. Loads eight. */
TL_INLINE uint64_t sip_name_head(const uint8_t *name, uint32_t length) {
    const uint64_t head = sip_load(name);
    return length < 8 ? head & (((uint64_t)1 << 8 * length) - 1) : head;
}

/* The id that a name of 2 to SIP_NAME_LONGEST bytes must have if it is a known one: one perfect hash
   (tests/oracle/sip_slots.py). `head` is sip_name_head. Loads the byte in front of the name and the colon
   behind it. */
TL_INLINE uint8_t sip_candidate(uint64_t head, const uint8_t *name, uint32_t length) {
    const uint64_t last = sip_load32(name + length - 3) | (uint32_t)SIP_FOLD;
    const uint64_t key = (head | SIP_FOLD) + (last << 21) + ((uint64_t)length << 57);
    return sip_slots[key * SIP_SLOT_FACTOR >> (64 - SIP_SLOT_BITS)];
}

/* ---- the structural pass ---- */

/* One bit a byte of 64. `unusual`: not 0x20..0x7e, so CR, LF and HT too. */
struct sip_block { uint64_t line_feed, carriage_return, unusual, quote; };

#define SIP_BLOCKS 16 /* blocks in one round */

struct sip_lines {
    uint32_t base;   /* offset of the first block of the round */
    uint32_t blocks; /* blocks of the round */
    uint32_t count;  /* line ends found */
    uint32_t quoted; /* a '"' was seen in this round */
    uint16_t ends[SIP_BLOCKS * 64 + 64]; /* LF, counted from `base`; slack for stores without a branch */
    uint64_t quotes[SIP_BLOCKS];
};

struct sip_walk {
    const uint8_t *source;
    uint32_t count, capacity;
    struct sip_message *message;
    struct sip_header *headers;
    uint32_t position;      /* next byte the structural pass reads */
    uint32_t line_start;
    uint32_t bare_line_feed; /* first LF without CR, or UINT32_MAX */
    uint32_t refused;       /* rows that found no room */
    uint8_t after_return, after_feed; /* the byte before `position` is CR, is LF */
    uint8_t quoted;         /* a '"' was seen in any round */
    uint8_t started;        /* the start line is through */
    uint8_t ended;          /* the empty line (or the body) was found */
    uint8_t folded;         /* the open header has gone over a fold */
    uint8_t indexed, length_seen;
    uint64_t odd;           /* non-zero: a byte was seen that may be a defect */
    struct sip_lines lines;
};

TL_INLINE void sip_defect(struct sip_message *m, uint32_t flag, uint32_t offset) {
    m->flags |= flag;
    if (offset < m->fault_offset) m->fault_offset = offset;
}

/* Start line [start, end), without its line end. Returns 0, or STATUS_MALFORMED. */
int sip_start_line(struct sip_walk *w, uint32_t start, uint32_t end);
/* Indexes the rows kept, once, and reads the Content-Length among them; and one that found no room. */
void sip_rows_index(struct sip_walk *w);
void sip_length_note(struct sip_walk *w, uint32_t offset, uint32_t length);

/* Walks start line and headers: fills rows, presence and flags, and body_offset. Returns 0,
   STATUS_MALFORMED, or STATUS_INCOMPLETE where the bytes end before the start line does. */
typedef int sip_walk_run(struct sip_walk *w, int framing);
sip_walk_run *sip_walk_chosen(void);

#endif

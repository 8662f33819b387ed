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

/* One line of the header table. The name stands behind eight zero bytes, so that the eight bytes that
   end a shorter one can be loaded too. */
struct sip_entry {
    char text[40];
    uint8_t length, compact; /* compact: its letter, or 0 */
} __attribute__((aligned(64)));

extern const struct sip_entry sip_entries[SIP_HEADER_COUNT];
extern const uint8_t sip_slots[1 << SIP_SLOT_BITS];
extern const uint64_t sip_compact_headers[SIP_HEADER_WORDS]; /* bit an id: it has a compact form */
extern const uint64_t sip_quoted_headers[SIP_HEADER_WORDS]; /* bit an id: its grammar has a quoted-string */
#define SIP_NAME_LONGEST 31

/* Bits where `word` is not `name` in any case. Letters are what has bit 6 in a known name. */
TL_INLINE uint64_t sip_differs(uint64_t word, uint64_t known) {
    return (word ^ known) & ~((known & 0x40 * SIP_ONES) >> 1);
}

/* Id of a name of 1 to SIP_NAME_LONGEST bytes. Loads eight bytes from `name` on and the eight that end
   with it: the caller makes sure both lie in its buffer. */
TL_INLINE uint8_t sip_match(const uint8_t *name, uint32_t length) {
    const uint32_t shift = length < 8 ? 64 - 8 * length : 0;
    const uint64_t first = sip_load(name) & ~(uint64_t)0 >> shift;
    const uint64_t last = sip_load(name + length - 8) >> shift;
    const uint64_t head = first | SIP_FOLD;
    const uint64_t key = (last | SIP_FOLD) + (head << 29 | head >> 35) + length * SIP_SLOT_LENGTH;
    const uint8_t id = sip_slots[key * SIP_SLOT_FACTOR >> (64 - SIP_SLOT_BITS)];
    const struct sip_entry *entry = &sip_entries[id];
    if (TL_UNLIKELY(length == 1)) return (name[0] | 0x20) == entry->compact ? id : SIP_HEADER_OTHER;
    const uint8_t *known = (const uint8_t *)entry->text + 8;
    uint64_t difference = sip_differs(last, sip_load(known + length - 8) >> shift);
    difference |= sip_differs(first, sip_load(known)); /* zeros on both sides behind a short name */
    if (TL_UNLIKELY(length > 16)) {
        difference |= sip_differs(sip_load(name + 8), sip_load(known + 8));
        if (length > 24) difference |= sip_differs(sip_load(name + 16), sip_load(known + 16));
    }
    return !difference && entry->length == length ? id : SIP_HEADER_OTHER;
}

/* ---- the structural pass ---- */

/* One bit a byte of 64. `odd` holds what is neither CR, LF nor 0x20..0x7e; HT is odd too. */
struct sip_block { uint64_t line_feed, carriage_return, odd, quote; };

typedef void sip_classify(const uint8_t *source, size_t blocks, struct sip_block *target);

#define SIP_GROUP 4   /* blocks classified in one go */
#define SIP_BLOCKS 16 /* blocks in one round of lines */

struct sip_lines {
    uint32_t base;   /* offset of the first block of the round */
    uint32_t count;  /* line ends found */
    uint32_t quoted; /* a '"' was seen in this round */
    uint32_t ends[SIP_BLOCKS * 64 + 8]; /* offsets of LF; some slack for stores without a branch */
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
    uint8_t after_return, after_feeds; /* the byte before `position` is CR; LF bits of the two before it */
    uint8_t ended;          /* the empty line (or the body) was found */
    uint8_t folded;         /* the open header has gone over a fold */
    uint8_t lengths_noted, length_seen;
    uint64_t odd;
    struct sip_lines lines;
};

TL_INLINE void sip_defect(struct sip_message *m, uint32_t flag, uint32_t offset) {
    m->flags |= flag;
    if (offset < m->fault_offset) m->fault_offset = offset;
}

/* Start line [start, end), without its line end. Returns 0, or STATUS_MALFORMED. (sip.c) */
int sip_start_line(struct sip_walk *w, uint32_t start, uint32_t end);
/* Takes the Content-Length rows kept so far, and one that found no room. (sip.c) */
void sip_lengths_kept(struct sip_walk *w);
void sip_length_note(struct sip_walk *w, uint32_t offset, uint32_t length);

/* Walks start line and headers: fills rows, presence and flags, and body_offset. Returns 0,
   STATUS_MALFORMED, or STATUS_INCOMPLETE where the bytes end before the start line does. */
typedef int sip_walk_run(struct sip_walk *w, int framing);
sip_walk_run *sip_walk_chosen(void);

#endif

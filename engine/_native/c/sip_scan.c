/* The structural pass and the walk over its line ends. 64 bytes at a time become four bit masks; line
   ends are flattened into offsets; then every line is named by its first bytes. One copy of the walk is
   compiled for each instruction set, around the classifier of that set. */
#include "sip_scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- 64 bytes to masks ---- */

/* Bit 7 of each byte of the result: set where the byte of `word` is zero. Exact, no borrow. */
TL_INLINE uint64_t zero_bytes(uint64_t word) {
    const uint64_t low = 0x7f * SIP_ONES;
    return ~(((word & low) + low) | word | low);
}

TL_INLINE uint64_t gather_bits(uint64_t high_bits) { return (high_bits >> 7) * 0x0102040810204080u >> 56; }

static void classify_scalar(const uint8_t *source, size_t blocks, struct sip_block *target) {
    for (size_t b = 0; b < blocks; b++) {
        struct sip_block block = {0, 0, 0, 0};
        for (unsigned i = 0; i < 64; i += 8) {
            const uint64_t word = sip_load(source + 64 * b + i);
            const uint64_t high = 0x80 * SIP_ONES, low = word & ~high;
            const uint64_t feed = zero_bytes(word ^ '\n' * SIP_ONES);
            const uint64_t back = zero_bytes(word ^ '\r' * SIP_ONES);
            const uint64_t printable = (low + 0x60 * SIP_ONES) & ~zero_bytes(word ^ 0x7f * SIP_ONES) & ~word;
            block.line_feed |= gather_bits(feed) << i;
            block.carriage_return |= gather_bits(back) << i;
            block.odd |= gather_bits(~printable & high & ~feed & ~back) << i;
            block.quote |= gather_bits(zero_bytes(word ^ '"' * SIP_ONES)) << i;
        }
        target[b] = block;
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,lzcnt,popcnt")))

AVX2 static inline uint64_t mask_avx2(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

AVX2 static void classify_avx2(const uint8_t *source, size_t blocks, struct sip_block *target) {
    const __m256i feed = _mm256_set1_epi8('\n'), back = _mm256_set1_epi8('\r'), mark = _mm256_set1_epi8('"');
    /* +0x60 puts 0x20..0x7e at -128..-34 and all else above. */
    const __m256i turn = _mm256_set1_epi8(0x60), last = _mm256_set1_epi8(-34);
    for (size_t b = 0; b < blocks; b++) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(source + 64 * b));
        const __m256i y = _mm256_loadu_si256((const __m256i *)(source + 64 * b + 32));
        const uint64_t lf = mask_avx2(_mm256_cmpeq_epi8(x, feed), _mm256_cmpeq_epi8(y, feed));
        const uint64_t cr = mask_avx2(_mm256_cmpeq_epi8(x, back), _mm256_cmpeq_epi8(y, back));
        target[b].line_feed = lf;
        target[b].carriage_return = cr;
        target[b].odd = mask_avx2(_mm256_cmpgt_epi8(_mm256_add_epi8(x, turn), last),
                                  _mm256_cmpgt_epi8(_mm256_add_epi8(y, turn), last)) & ~(lf | cr);
        target[b].quote = mask_avx2(_mm256_cmpeq_epi8(x, mark), _mm256_cmpeq_epi8(y, mark));
    }
}

AVX512 static void classify_avx512(const uint8_t *source, size_t blocks, struct sip_block *target) {
    const __m512i feed = _mm512_set1_epi8('\n'), back = _mm512_set1_epi8('\r'), mark = _mm512_set1_epi8('"');
    const __m512i turn = _mm512_set1_epi8(0x60), last = _mm512_set1_epi8(-34);
    for (size_t b = 0; b < blocks; b++) {
        const __m512i x = _mm512_loadu_si512(source + 64 * b);
        const uint64_t lf = _mm512_cmpeq_epi8_mask(x, feed), cr = _mm512_cmpeq_epi8_mask(x, back);
        target[b].line_feed = lf;
        target[b].carriage_return = cr;
        target[b].odd = _mm512_cmpgt_epi8_mask(_mm512_add_epi8(x, turn), last) & ~(lf | cr);
        target[b].quote = _mm512_cmpeq_epi8_mask(x, mark);
    }
}
#endif

/* ---- masks to line ends ---- */

TL_INLINE uint32_t lowest(uint64_t bits) { return bits ? (uint32_t)__builtin_ctzll(bits) : 64; }

/* The last blocks of the bytes. The 1 to 63 bytes behind the last whole block are classified as the
   end of an overlapping block, or from a copy where the message is shorter than a block. */
static void classify_tail(const struct sip_walk *w, sip_classify *classify, struct sip_block *target) {
    const uint32_t left = w->count - w->position, whole = left / 64, rest = left % 64;
    const uint8_t *source = w->source + w->position;
    classify(source, whole, target);
    if (!rest) return;
    struct sip_block *block = &target[whole];
    uint32_t shift = 0;
    if (w->count >= 64) {
        shift = 64 - rest;
        classify(w->source + w->count - 64, 1, block);
    } else {
        uint8_t copy[64];
        memset(copy, ' ', sizeof copy);
        memcpy(copy, source, rest);
        classify(copy, 1, block);
    }
    block->line_feed >>= shift;
    block->carriage_return >>= shift;
    block->odd >>= shift;
    block->quote >>= shift;
}

/* Offsets of the set bits. Most blocks hold one or two line ends: four are stored without a branch. */
TL_INLINE uint32_t flatten(uint32_t *target, uint64_t bits, uint32_t base) {
    const uint32_t count = (uint32_t)__builtin_popcountll(bits);
    for (int i = 0; i < 4; i++) {
        target[i] = base + lowest(bits);
        bits &= bits - 1;
    }
    for (uint32_t i = 4; TL_UNLIKELY(i < count); i++) {
        target[i] = base + lowest(bits);
        bits &= bits - 1;
    }
    return count;
}

/* What one block hands to the next: whether its last byte was CR, and its two last LF bits. */
struct carry { uint64_t after_return, feeds; };

/* LF of the empty line in a block where two LF stand close, or 0: LF behind LF, or behind LF CR. */
TL_INLINE uint64_t empty_line(uint64_t lf, uint64_t after_cr, const struct carry *carry) {
    return lf & ((lf << 1 | carry->feeds >> 1) | ((lf << 2 | carry->feeds) & after_cr));
}

/* The part of a block that only some messages have: the empty line, and line ends that are not CRLF.
   Returns the bits of the block that belong to the headers. */
static uint64_t block_special(struct sip_walk *w, const struct sip_block *block, uint64_t after_cr,
                              const struct carry *carry, uint32_t base) {
    const uint64_t lf = block->line_feed, empty = empty_line(lf, after_cr, carry);
    const uint64_t keep = empty ? empty ^ (empty - 1) : ~(uint64_t)0;
    if (empty) w->ended = 1;
    const uint64_t bare = lf & ~after_cr & keep;
    if (bare && w->bare_line_feed == UINT32_MAX) w->bare_line_feed = base + lowest(bare);
    w->odd |= after_cr & ~lf & keep;
    return keep;
}

/* Takes one block of the round: up to and with the LF of the empty line, if it is in there. */
TL_INLINE void block_take(struct sip_walk *w, const struct sip_block *block, struct carry *carry,
                          uint32_t number, uint32_t base, uint32_t *count, uint64_t *odd, uint64_t *quoted) {
    const uint64_t lf = block->line_feed;
    const uint64_t after_cr = block->carriage_return << 1 | carry->after_return;
    const uint64_t close = lf & ((lf << 1 | carry->feeds >> 1) | (lf << 2 | carry->feeds));
    uint64_t keep = ~(uint64_t)0;
    if (TL_UNLIKELY((close | (after_cr ^ lf)) != 0)) keep = block_special(w, block, after_cr, carry, base);
    carry->after_return = block->carriage_return >> 63;
    carry->feeds = lf >> 62;
    *odd |= block->odd & keep;
    const uint64_t quote = block->quote & keep;
    *quoted |= quote;
    w->lines.quotes[number] = quote;
    *count += flatten(w->lines.ends + *count, lf & keep, base);
}

/* One round: the line ends of up to SIP_BLOCKS blocks from `position` on. */
TL_INLINE void lines_find(struct sip_walk *w, sip_classify *classify) {
    struct sip_block blocks[SIP_GROUP];
    struct carry carry = {w->after_return, w->after_feeds};
    uint64_t odd = 0, quoted = 0;
    uint32_t count = 0;
    w->lines.base = w->position;
    for (uint32_t group = 0; group < SIP_BLOCKS && w->position < w->count && !w->ended; group += SIP_GROUP) {
        const uint32_t left = w->count - w->position, base = w->position;
        uint32_t taken = SIP_GROUP;
        if (TL_LIKELY(left >= SIP_GROUP * 64)) {
            classify(w->source + base, SIP_GROUP, blocks);
            w->position += SIP_GROUP * 64;
        } else {
            classify_tail(w, classify, blocks);
            taken = (left + 63) / 64;
            w->position = w->count;
        }
        for (uint32_t i = 0; i < taken && !w->ended; i++)
            block_take(w, &blocks[i], &carry, group + i, base + 64 * i, &count, &odd, &quoted);
    }
    w->after_return = (uint8_t)carry.after_return;
    w->after_feeds = (uint8_t)carry.feeds;
    w->odd |= odd;
    w->lines.quoted = quoted != 0;
    w->lines.count = count;
}

/* ---- lines to headers ---- */

/* A name that is none of the known ones as it stands: white space before the colon (RFC 3261 §7.3.1),
   stray CRs in front, bytes that are no token, or no colon. Returns its id. */
static uint8_t name_repair(struct sip_walk *w, struct sip_header *row, uint32_t start, uint32_t length,
                           int colon) {
    const uint8_t *source = w->source;
    while (length && source[start] == '\r') start++, length--;
    row->name_offset = start;
    row->name_length = 0;
    if (!colon) {
        row->flags |= SIP_HEADER_BAD_NAME;
        sip_defect(w->message, SIP_BAD_HEADER_LINE, start);
        return SIP_HEADER_OTHER;
    }
    const uint32_t whole = length;
    while (length && sip_is_white(source[start + length - 1])) length--;
    row->name_length = (uint16_t)(length < UINT16_MAX ? length : UINT16_MAX);
    if (length < whole) {
        row->flags |= SIP_HEADER_SPACED;
        sip_defect(w->message, SIP_SPACE_BEFORE_COLON, start + length);
    }
    if (!sip_is_token(source + start, length)) {
        row->flags |= SIP_HEADER_BAD_NAME;
        sip_defect(w->message, SIP_BAD_HEADER_LINE, start);
        return SIP_HEADER_OTHER;
    }
    return sip_header_id(source + start, length);
}

/* Is a quoted-string in [from, to) never closed (RFC 3261 §25.1)? */
static int quote_open(const uint8_t *source, uint32_t from, uint32_t to) {
    int open = 0;
    for (uint32_t i = from; i < to; i++) {
        if (source[i] == '"') open = !open;
        else if (open && source[i] == '\\') i++;
    }
    return open;
}

/* The same from the quote masks. A '"' behind an odd run of backslashes is escaped; no run reaches over
   the '"' before it, so every byte is looked at twice at most. */
static int quote_open_masked(const struct sip_walk *w, uint32_t from, uint32_t to) {
    const struct sip_lines *lines = &w->lines;
    const uint32_t low = from - lines->base, high = to - 1 - lines->base;
    uint64_t mask = ~(uint64_t)0 << low % 64;
    int open = 0;
    for (uint32_t block = low / 64; block <= high / 64; block++, mask = ~(uint64_t)0) {
        if (block == high / 64) mask &= ~(uint64_t)0 >> (63 - high % 64);
        for (uint64_t bits = lines->quotes[block] & mask; bits; bits &= bits - 1) {
            const uint8_t *at = w->source + lines->base + block * 64 + lowest(bits);
            uint32_t slashes = 0;
            while (open && at[-1 - (ptrdiff_t)slashes] == '\\') slashes++;
            open = open ? slashes & 1 : 1;
        }
    }
    return open;
}

static void quotes_check(struct sip_walk *w, uint32_t from, uint32_t to) {
    const struct sip_lines *lines = &w->lines;
    if (from >= to) return;
    const int inside = from >= lines->base && to - lines->base <= SIP_BLOCKS * 64;
    if (inside ? quote_open_masked(w, from, to) : quote_open(w->source, from, to))
        sip_defect(w->message, SIP_QUOTE_UNBALANCED, from);
}

TL_INLINE int has_bit(const uint64_t *bits, uint8_t id) { return bits[id >> 6] >> (id & 63) & 1; }

/* Presence, first row and repeats of a kept row. No branch: whether a header repeats is hard to foresee. */
TL_INLINE void row_count(struct sip_message *m, uint8_t id, uint32_t row) {
    uint64_t *present = &m->present[id >> 6];
    const uint16_t had = (uint16_t)-(*present >> (id & 63) & 1); /* all ones, or 0 and the old values count not */
    *present |= (uint64_t)1 << (id & 63);
    m->first[id] = (uint16_t)((m->first[id] & had) | (row & (uint16_t)~had));
    m->repeats[id] = (uint16_t)((m->repeats[id] & had) + 1);
}

static void row_refuse(struct sip_walk *w, const struct sip_header *row, uint32_t line) {
    sip_defect(w->message, SIP_TOO_MANY_HEADERS, line);
    w->refused++;
    sip_lengths_kept(w);
    if (row->id == SIP_HEADER_CONTENT_LENGTH) sip_length_note(w, row->value_offset, row->value_length);
}

/* A line that ends the headers though it is not the empty line: only CRs, or the first line of a
   session description whose blank line got lost. */
static int line_ends_headers(struct sip_walk *w, uint32_t start, uint32_t length) {
    struct sip_message *m = w->message;
    const uint8_t *line = w->source + start;
    uint32_t rest = length;
    while (rest && line[rest - 1] == '\r') rest--;
    if (!rest) m->body_offset = start + length + (start + length < w->count);
    else if (rest == 3 && !memcmp(line, "v=0", 3)) {
        m->body_offset = start;
        sip_defect(m, SIP_NO_BLANK_LINE, start);
    } else return 0;
    w->ended = 1;
    return 1;
}

/* One header of any kind from `start` to its LF (or the end of the bytes) at `end`. Returns 0 where the
   headers end. */
static __attribute__((noinline)) int line_take(struct sip_walk *w, uint32_t start, uint32_t end) {
    struct sip_message *m = w->message;
    const uint8_t *source = w->source;
    const uint8_t *found = memchr(source + start, ':', end - start);
    const uint32_t colon = found ? (uint32_t)(found - source) - start : end - start;
    const int known = colon - 1 < SIP_NAME_LONGEST && colon < end - start && start >= 8 &&
                      w->count - start >= 8; /* what sip_match may load */
    struct sip_header spare, *row = m->header_count < w->capacity ? &w->headers[m->header_count] : &spare;
    row->flags = w->folded ? SIP_HEADER_FOLDED : 0;
    row->id = known ? sip_match(source + start, colon) : SIP_HEADER_OTHER;
    row->name_offset = start;
    row->name_length = (uint16_t)colon;
    uint32_t from = start + colon + 1, to = end;
    if (TL_UNLIKELY(!row->id)) {
        const int has_colon = colon < end - start;
        if (!has_colon && line_ends_headers(w, start, end - start)) return 0;
        row->id = name_repair(w, row, start, has_colon ? colon : end - start, has_colon);
        if (!has_colon) from = row->name_offset;
    }
    while (from < to && sip_is_white(source[from])) from++;
    while (to > from && sip_is_white(source[to - 1])) to--;
    row->value_offset = from;
    row->value_length = to - from;
    if (from == to) row->flags |= SIP_HEADER_EMPTY;
    if (TL_UNLIKELY(w->folded)) m->flags |= SIP_FOLDED;
    w->folded = 0;
    const uint8_t id = row->id;
    if (row->name_length == 1 && id) {
        row->flags |= SIP_HEADER_COMPACT;
        m->flags |= SIP_COMPACT;
    } else if (sip_entries[id].compact) m->flags |= SIP_LONG;
    if (w->lines.quoted && has_bit(sip_quoted_headers, id)) quotes_check(w, from, to);
    if (TL_LIKELY(row != &spare)) {
        row_count(m, id, m->header_count);
        m->header_count++;
    } else row_refuse(w, row, start);
    return 1;
}

/* Index of the first ':' in the 32 bytes from `start` on, or 32 where there is none. `anchor` is at most
   `start` and 32 bytes in front of the end of the message. */
TL_INLINE uint32_t colon_find(const uint8_t *source, uint32_t start, uint32_t anchor, const int wide) {
#if defined(__x86_64__)
    if (wide) {
        const __m128i colon = _mm_set1_epi8(':');
        const __m128i x = _mm_loadu_si128((const __m128i *)(source + anchor));
        const __m128i y = _mm_loadu_si128((const __m128i *)(source + anchor + 16));
        const uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, colon)) |
                              (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(y, colon)) << 16;
        return lowest(bits >> (start - anchor));
    }
#endif
    (void)wide;
    const uint32_t have = anchor + 32 - start;
    uint32_t i = 0;
    for (; i + 8 <= have; i += 8) {
        const uint64_t found = zero_bytes(sip_load(source + start + i) ^ ':' * SIP_ONES);
        if (found) return i + lowest(found) / 8;
    }
    while (i < have && source[start + i] != ':') i++;
    return i < have ? i : 32;
}

/* The lines of a round. Every test in the loop is for something rare; what is rare goes through
   line_take. Returns 0 where the headers end before the empty line. */
TL_INLINE int round_take(struct sip_walk *w, uint32_t first, uint32_t lines, const int wide) {
    const uint8_t *const source = w->source;
    const uint32_t *const ends = w->lines.ends;
    struct sip_message *const m = w->message;
    const uint32_t count = w->count, capacity = w->capacity, quoted = w->lines.quoted;
    const uint32_t anchor = count < 32 ? 0 : count - 32;
    uint32_t start = w->line_start, kept = m->header_count;
    int whole = !w->folded && start >= 8; /* sip_match loads eight bytes in front of a name's end */
    for (uint32_t i = first; i < lines; i++) {
        const uint32_t end = ends[i];
        const uint8_t next = end + 1 < count ? source[end + 1] : 0;
        if (TL_UNLIKELY(sip_is_space(next))) {
            w->folded = 1; /* RFC 3261 §7.3.1: the header goes on */
            whole = 0;
            continue;
        }
        if (TL_LIKELY(whole && start + 8 <= count && count >= 32)) {
            const uint32_t length = colon_find(source, start, start < anchor ? start : anchor, wide);
            uint32_t from = start + length + 1, to = end;
            if (TL_LIKELY(length - 2 < SIP_NAME_LONGEST - 1 && from <= end && kept < capacity)) {
                const uint8_t id = sip_match(source + start, length);
                from += source[from] == ' ';
                to -= source[to - 1] == '\r';
                if (TL_LIKELY(id && source[from] > ' ' && source[to - 1] > ' ')) {
                    struct sip_header *row = &w->headers[kept];
                    row->name_offset = start;
                    row->value_offset = from;
                    row->value_length = to - from;
                    row->name_length = (uint16_t)length;
                    row->id = id;
                    row->flags = 0;
                    row_count(m, id, kept++);
                    if (quoted && has_bit(sip_quoted_headers, id)) quotes_check(w, from, to);
                    start = end + 1;
                    continue;
                }
            }
        }
        m->header_count = kept;
        if (!line_take(w, start, end)) return 0;
        kept = m->header_count;
        start = end + 1;
        whole = start >= 8;
    }
    m->header_count = kept;
    w->line_start = start;
    return 1;
}

/* Bytes ran out before the start line did: may more bytes make one? */
static int start_open(const struct sip_walk *w) {
    uint32_t at = w->message->start_offset;
    for (; at < w->count && sip_token_bytes[w->source[at]]; at++) {}
    return at == w->count || sip_is_white(w->source[at]) || w->source[at] == '/' ? STATUS_INCOMPLETE
                                                                                 : STATUS_MALFORMED;
}

static int start_take(struct sip_walk *w, uint32_t end) {
    uint32_t trimmed = end;
    while (trimmed > w->line_start && w->source[trimmed - 1] == '\r') trimmed--;
    const int result = sip_start_line(w, w->line_start, trimmed);
    w->line_start = end < w->count ? end + 1 : end;
    return result;
}

TL_INLINE int walk(struct sip_walk *w, int framing, sip_classify *classify, const int wide) {
    int started = 0, result;
    do {
        lines_find(w, classify);
        const uint32_t count = w->lines.count, ended = w->ended;
        uint32_t i = 0;
        if (!started && count) {
            if ((result = start_take(w, w->lines.ends[i++])) < 0) return result;
            started = 1;
        }
        if (!round_take(w, i, count - ended, wide)) return 0;
        if (ended) {
            w->message->body_offset = w->lines.ends[count - 1] + 1;
            return 0;
        }
    } while (w->position < w->count);
    if (framing == SIP_STREAM) return started ? 0 : start_open(w);
    w->odd |= w->after_return; /* a last CR without its LF */
    if (!started && (result = start_take(w, w->count)) < 0) return result;
    if (w->line_start < w->count && !line_take(w, w->line_start, w->count)) return 0;
    w->message->body_offset = w->count;
    sip_defect(w->message, SIP_NO_BLANK_LINE, w->count);
    return 0;
}

/* ---- which one runs ---- */

static int walk_scalar(struct sip_walk *w, int framing) { return walk(w, framing, classify_scalar, 0); }

#if defined(__x86_64__)
AVX2 static int walk_avx2(struct sip_walk *w, int framing) { return walk(w, framing, classify_avx2, 1); }
AVX512 static int walk_avx512(struct sip_walk *w, int framing) {
    return walk(w, framing, classify_avx512, 1);
}
#endif

struct implementation {
    const char *name;
    sip_walk_run *run;
};

/* Fastest first; the scalar one is last and always there. */
static const struct implementation IMPLEMENTATIONS[] = {
#if defined(__x86_64__)
    {"avx512", walk_avx512},
    {"avx2", walk_avx2},
#endif
    {"scalar", walk_scalar},
};
#define IMPLEMENTATION_COUNT (sizeof IMPLEMENTATIONS / sizeof IMPLEMENTATIONS[0])

static const struct implementation *chosen; /* set once; every writer writes what the machine allows */

static int runs_here(const struct implementation *candidate) {
#if defined(__x86_64__)
    if (candidate->run == walk_avx512)
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("bmi2");
    if (candidate->run == walk_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#endif
    return candidate->run == walk_scalar;
}

static const struct implementation *current(void) {
    const struct implementation *found = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (TL_LIKELY(found != NULL)) return found;
    found = IMPLEMENTATIONS;
    while (!runs_here(found)) found++;
    __atomic_store_n(&chosen, found, __ATOMIC_RELAXED);
    return found;
}

sip_walk_run *sip_walk_chosen(void) { return current()->run; }

const char *sip_implementation(void) { return current()->name; }

int sip_force(const char *name) {
    for (size_t i = 0; i < IMPLEMENTATION_COUNT; i++)
        if (!strcmp(IMPLEMENTATIONS[i].name, name) && runs_here(&IMPLEMENTATIONS[i])) {
            __atomic_store_n(&chosen, &IMPLEMENTATIONS[i], __ATOMIC_RELAXED);
            return 0;
        }
    return -1;
}

/* What is the same for every instruction set, what differs between them, and which one runs. 64 bytes at a
   time become four bit masks; line ends are flattened into offsets; every line is named by its first bytes
   (sip_walk.h). This file has the primitives of each set, and the walk's rare paths. */
#include "sip_scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

const uint8_t sip_space_bytes[256] = {[' '] = 1, ['\t'] = 1};

/* ---- scalar ---- */

TL_INLINE uint64_t gather_bits(uint64_t high_bits) { return (high_bits >> 7) * 0x0102040810204080u >> 56; }

TL_INLINE void block_read_scalar(const uint8_t *source, struct sip_block *target) {
    struct sip_block block = {0, 0, 0, 0};
    for (unsigned i = 0; i < 64; i += 8) {
        const uint64_t word = sip_load(source + i), high = 0x80 * SIP_ONES, low = word & ~high;
        const uint64_t feed = sip_zero_bytes(word ^ '\n' * SIP_ONES);
        const uint64_t back = sip_zero_bytes(word ^ '\r' * SIP_ONES);
        const uint64_t usual = (low + 0x60 * SIP_ONES) & ~(low + SIP_ONES) & ~word; /* 0x20..0x7e */
        block.line_feed |= gather_bits(feed) << i;
        block.carriage_return |= gather_bits(back) << i;
        block.unusual |= gather_bits(~usual & high) << i;
        block.quote |= gather_bits(sip_zero_bytes(word ^ '"' * SIP_ONES)) << i;
    }
    *target = block;
}

TL_INLINE uint32_t ends_write_scalar(uint16_t *target, uint64_t bits, uint32_t base) {
    uint32_t count = 0;
    for (; bits; bits &= bits - 1) target[count++] = (uint16_t)(base + sip_lowest(bits));
    return count;
}

TL_INLINE uint32_t colon_index_scalar(const uint8_t *line) {
    for (uint32_t i = 0; i < 32; i += 8) {
        const uint64_t found = sip_zero_bytes(sip_load(line + i) ^ ':' * SIP_ONES);
        if (found) return i + sip_lowest(found) / 8;
    }
    return 32;
}

TL_INLINE uint64_t name_head_scalar(const uint8_t *line, uint32_t length) {
    return sip_name_head(line, length);
}

TL_INLINE int line_named_scalar(const uint8_t *line, const struct sip_entry *entry) {
    uint64_t difference = 0;
    for (unsigned i = 0; i < 32; i += 8)
        difference |= (sip_load(line + i) ^ sip_load((const uint8_t *)entry->text + i)) &
                      sip_load((const uint8_t *)entry->mask + i);
    return !difference;
}

#if defined(__x86_64__)

/* ---- AVX2 ---- */

#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define AVX2_INLINE AVX2 static inline __attribute__((always_inline))

AVX2_INLINE uint64_t mask_avx2(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

AVX2_INLINE uint64_t equal_avx2(__m256i low, __m256i high, char c) {
    const __m256i wanted = _mm256_set1_epi8(c);
    return mask_avx2(_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted));
}

AVX2_INLINE void block_read_avx2(const uint8_t *source, struct sip_block *block) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)source);
    const __m256i y = _mm256_loadu_si256((const __m256i *)(source + 32));
    /* +0x60 puts 0x20..0x7e at -128..-34 and all else above. */
    const __m256i turn = _mm256_set1_epi8(0x60), last = _mm256_set1_epi8(-34);
    block->line_feed = equal_avx2(x, y, '\n');
    block->carriage_return = equal_avx2(x, y, '\r');
    block->quote = equal_avx2(x, y, '"');
    block->unusual = mask_avx2(_mm256_cmpgt_epi8(_mm256_add_epi8(x, turn), last),
                               _mm256_cmpgt_epi8(_mm256_add_epi8(y, turn), last));
}

/* Most blocks hold one or two line ends: three are stored without a branch. */
AVX2_INLINE uint32_t ends_write_avx2(uint16_t *target, uint64_t bits, uint32_t base) {
    const uint32_t count = (uint32_t)_mm_popcnt_u64(bits);
    for (uint32_t i = 0; i < 3; i++, bits = _blsr_u64(bits)) target[i] = (uint16_t)(base + _tzcnt_u64(bits));
    for (uint32_t i = 3; TL_UNLIKELY(i < count); i++, bits = _blsr_u64(bits))
        target[i] = (uint16_t)(base + _tzcnt_u64(bits));
    return count;
}

AVX2_INLINE uint32_t colon_index_avx2(const uint8_t *line) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)line);
    return _tzcnt_u32((uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, _mm256_set1_epi8(':'))));
}

AVX2_INLINE uint64_t name_head_avx2(const uint8_t *line, uint32_t length) {
    return _bzhi_u64(sip_load(line), 8 * length);
}

AVX2_INLINE int line_named_avx2(const uint8_t *line, const struct sip_entry *entry) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)line);
    const __m256i text = _mm256_load_si256((const __m256i *)entry->text);
    return _mm256_testz_si256(_mm256_xor_si256(x, text), _mm256_load_si256((const __m256i *)entry->mask));
}

/* ---- AVX-512 with VBMI2 (byte compress) ---- */

#define AVX512 \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt")))
#define AVX512_INLINE AVX512 static inline __attribute__((always_inline))

AVX512_INLINE void block_read_avx512(const uint8_t *source, struct sip_block *block) {
    const __m512i x = _mm512_loadu_si512(source), turned = _mm512_add_epi8(x, _mm512_set1_epi8(0x60));
    block->line_feed = _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8('\n'));
    block->carriage_return = _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8('\r'));
    block->quote = _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8('"'));
    block->unusual = _mm512_cmpgt_epi8_mask(turned, _mm512_set1_epi8(-34));
}

AVX512_INLINE uint32_t ends_write_avx512(uint16_t *target, uint64_t bits, uint32_t base) {
    static const uint8_t numbers[64] __attribute__((aligned(64))) = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const uint32_t count = (uint32_t)_mm_popcnt_u64(bits);
    const __m512i packed = _mm512_maskz_compress_epi8(bits, _mm512_load_si512(numbers));
    const __m512i from = _mm512_set1_epi16((short)base);
    const __m256i low = _mm256_add_epi16(_mm256_cvtepu8_epi16(_mm512_castsi512_si128(packed)),
                                         _mm512_castsi512_si256(from));
    _mm256_storeu_si256((__m256i *)target, low);
    if (TL_UNLIKELY(count > 16)) {
        const __m512i first = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(packed));
        const __m512i second = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(packed, 1));
        _mm512_storeu_si512(target, _mm512_add_epi16(first, from));
        _mm512_storeu_si512(target + 32, _mm512_add_epi16(second, from));
    }
    return count;
}

AVX512_INLINE uint32_t colon_index_avx512(const uint8_t *line) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)line);
    return _tzcnt_u32(_mm256_cmpeq_epi8_mask(x, _mm256_set1_epi8(':')));
}

AVX512_INLINE uint64_t name_head_avx512(const uint8_t *line, uint32_t length) {
    return name_head_avx2(line, length);
}

AVX512_INLINE int line_named_avx512(const uint8_t *line, const struct sip_entry *entry) {
    return line_named_avx2(line, entry);
}
#endif

/* ---- rare parts of the structural pass ---- */

/* What the structural pass keeps in registers: what the last byte was, what was seen, line ends written. */
struct pass {
    uint64_t after_return, after_feed, odd, quoted;
    uint32_t ends;
};

TL_INLINE uint64_t after_return(const struct sip_block *block, const struct pass *p) {
    return block->carriage_return << 1 | p->after_return;
}

TL_INLINE uint64_t after_feed(const struct sip_block *block, const struct pass *p) {
    return block->line_feed << 1 | p->after_feed;
}

/* Is an LF followed by CR or LF, or a line end not CRLF? */
TL_INLINE int block_is_special(const struct sip_block *block, const struct pass *p) {
    const uint64_t breaks = block->line_feed | block->carriage_return;
    return ((after_feed(block, p) & breaks) | (after_return(block, p) ^ block->line_feed)) != 0;
}

/* Looks for the empty line and notes line ends that are not CRLF. Returns the bits in front of the empty
   line. The masks come by value: written and read back as a struct they would stall on store forwarding. */
static __attribute__((noinline)) uint64_t block_special(struct sip_walk *w, uint64_t lf, uint64_t cr,
                                                        uint64_t after_cr, uint64_t after_lf, uint32_t base) {
    uint64_t keep = ~(uint64_t)0, bare = lf & ~after_cr;
    for (uint64_t bits = after_lf & (lf | cr); bits; bits &= bits - 1) {
        const uint32_t i = sip_lowest(bits), at = base + i, returned = cr >> i & 1;
        if (returned && (at + 1 >= w->count || w->source[at + 1] != '\n')) continue;
        keep = ((uint64_t)1 << i) - 1;
        bare &= keep | (uint64_t)1 << i;
        w->ended = 1;
        w->message->body_offset = at + 1 + returned;
        break;
    }
    if (bare && w->bare_line_feed == UINT32_MAX) w->bare_line_feed = base + sip_lowest(bare);
    w->odd |= after_cr & ~lf & keep;
    return keep;
}

/* ---- rare lines ---- */

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
            const uint8_t *at = w->source + lines->base + block * 64 + sip_lowest(bits);
            uint32_t slashes = 0;
            while (open && at[-1 - (ptrdiff_t)slashes] == '\\') slashes++;
            open = open ? slashes & 1 : 1;
        }
    }
    return open;
}

/* Offset of the first '"' of the round at `from` or behind it, UINT32_MAX where there is none. */
static uint32_t quote_next(const struct sip_walk *w, uint32_t from) {
    const struct sip_lines *lines = &w->lines;
    const uint32_t start = from > lines->base ? from - lines->base : 0;
    uint64_t mask = ~(uint64_t)0 << start % 64;
    for (uint32_t block = start / 64; block < lines->blocks; block++, mask = ~(uint64_t)0) {
        const uint64_t bits = lines->quotes[block] & mask;
        if (bits) return lines->base + 64 * block + sip_lowest(bits);
    }
    return UINT32_MAX;
}

/* Where the next line with a '"' is. Of a line that began in an earlier round only its start is known. */
static uint32_t quote_first(const struct sip_walk *w) {
    return w->line_start < w->lines.base && w->quoted ? w->line_start : quote_next(w, w->line_start);
}

/* Checks a value in whose line a '"' stands. Returns where the next one stands behind `end`. */
static uint32_t quotes_check(struct sip_walk *w, uint8_t id, size_t from, size_t to, size_t end) {
    const struct sip_lines *lines = &w->lines;
    if (from < to && sip_has_bit(sip_quoted_headers, id)) {
        const int inside = from >= lines->base && to - lines->base <= 64 * lines->blocks;
        if (inside ? quote_open_masked(w, from, to) : quote_open(w->source, from, to))
            sip_defect(w->message, SIP_QUOTE_UNBALANCED, from);
    }
    return quote_next(w, end);
}

static void row_refuse(struct sip_walk *w, const struct sip_header *row, uint32_t line) {
    sip_defect(w->message, SIP_TOO_MANY_HEADERS, line);
    w->refused++;
    sip_rows_index(w);
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
    const int has_colon = colon < end - start;
    struct sip_header spare, *row = m->header_count < w->capacity ? &w->headers[m->header_count] : &spare;
    row->flags = w->folded ? SIP_HEADER_FOLDED : 0;
    row->id = has_colon ? sip_header_id(source + start, colon) : SIP_HEADER_OTHER;
    row->name_offset = start;
    row->name_length = (uint16_t)(colon < UINT16_MAX ? colon : UINT16_MAX);
    uint32_t from = start + colon + 1, to = end;
    if (!row->id && !(has_colon && sip_is_token(source + start, colon))) {
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
    } else if (sip_has_bit(sip_compact_headers, id)) m->flags |= SIP_LONG;
    if (sip_has_bit(sip_quoted_headers, id) && quote_open(source, from, to))
        sip_defect(m, SIP_QUOTE_UNBALANCED, from);
    if (TL_LIKELY(row != &spare)) m->header_count++;
    else row_refuse(w, row, start);
    return 1;
}

/* Lines one by one: where rows run out, and where the bytes end with a line. */
static int lines_take_slowly(struct sip_walk *w, uint32_t first, uint32_t last) {
    for (uint32_t i = first; i < last; i++) {
        const uint32_t end = w->lines.base + w->lines.ends[i];
        if (end + 1 < w->count && sip_is_space(w->source[end + 1])) {
            w->folded = 1;
            continue;
        }
        if (!line_take(w, w->line_start, end)) return 0;
        w->line_start = end + 1;
    }
    return 1;
}

/* The last 32 bytes of the message with zeros behind, for a line that starts `skip` bytes into them. */
TL_INLINE const uint8_t *tail_copy(uint8_t tail[72], const uint8_t *source, uint32_t skip) {
    memcpy(tail + 8, source, 32);
    memset(tail + 40, 0, 32);
    return tail + 8 + skip;
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

/* Bytes ran out before the empty line came. */
static int walk_open(struct sip_walk *w, int framing) {
    int result;
    if (framing == SIP_STREAM) return w->started ? 0 : start_open(w);
    w->odd |= w->after_return; /* a last CR without its LF */
    if (!w->started && (result = start_take(w, w->count)) < 0) return result;
    if (w->line_start < w->count && !line_take(w, w->line_start, w->count)) return 0;
    w->message->body_offset = w->count;
    sip_defect(w->message, SIP_NO_BLANK_LINE, w->count);
    return 0;
}

/* ---- which one runs ---- */

#define TARGET
#define TARGET_INLINE TL_INLINE
#define ISA(name) name##_scalar
#include "sip_walk.h"
#undef TARGET
#undef TARGET_INLINE
#undef ISA

#if defined(__x86_64__)
#define TARGET AVX2
#define TARGET_INLINE AVX2_INLINE
#define ISA(name) name##_avx2
#include "sip_walk.h"
#undef TARGET
#undef TARGET_INLINE
#undef ISA

#define TARGET AVX512
#define TARGET_INLINE AVX512_INLINE
#define ISA(name) name##_avx512
#include "sip_walk.h"
#undef TARGET
#undef TARGET_INLINE
#undef ISA
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
               __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi2");
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

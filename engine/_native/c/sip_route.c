/* Finding and hashing Call-IDs (sip_route.h). LFs are found 64 bytes at a time; of each line only the first bytes
   are looked at, and the rest of it only where they may begin a Call-ID or end the headers. */
#include "sip_route.h"

#include "sip_scan.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* ---- line ends ---- */

TL_INLINE uint64_t feeds_scalar(const uint8_t *source) {
    uint64_t feeds = 0;
    for (unsigned i = 0; i < 64; i += 8) {
        const uint64_t found = sip_zero_bytes(sip_load(source + i) ^ '\n' * SIP_ONES);
        feeds |= ((found >> 7) * 0x0102040810204080u >> 56) << i;
    }
    return feeds;
}

#if defined(__SSE2__)
TL_INLINE uint64_t feeds_16(const uint8_t *source) {
    const __m128i x = _mm_loadu_si128((const __m128i *)source);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8('\n')));
}

TL_INLINE uint64_t feeds_vector(const uint8_t *source) {
    return feeds_16(source) | feeds_16(source + 16) << 16 | feeds_16(source + 32) << 32 | feeds_16(source + 48) << 48;
}
#else
#define feeds_vector feeds_scalar
#endif

/* ---- lines ---- */

enum line { LINE_OTHER, LINE_CALL_ID, LINE_LAST };

/* Does a header end with the LF at `at`, so that no fold follows? */
TL_INLINE int ends_here(const uint8_t *source, uint32_t count, uint32_t at) {
    return at + 1 >= count || !sip_is_space(source[at + 1]);
}

/* Offset of the LF that ends the header that `at` stands in, or `count`. */
static uint32_t header_end(const uint8_t *source, uint32_t count, uint32_t at) {
    while (at < count) {
        const uint8_t *feed = memchr(source + at, '\n', count - at);
        if (!feed) return count;
        at = (uint32_t)(feed - source);
        if (ends_here(source, count, at)) return at;
        at++;
    }
    return count;
}

/* Bytes of the name Call-ID that stand at `at`, 0 where none does. */
TL_INLINE uint32_t name_length(const uint8_t *source, uint32_t count, uint32_t at) {
    if (count - at >= 7 && source[at + 4] == '-') {
        const uint32_t call = sip_load32(source + at) | 0x20202020u, id = source[at + 5] | source[at + 6] << 8 | 0x2020;
        if (call == 0x6c6c6163u && id == 0x6469) return 7;
    }
    return at < count && (source[at] | 0x20) == 'i';
}

/* A header that starts at `start`: is it Call-ID, and what is its value? Or are the headers over, though no empty
   line stands here: with a line of CRs alone, or the first one of a session description whose empty line got lost
   (line_ends_headers in sip_scan.c)? */
static __attribute__((noinline)) enum line line_read(const uint8_t *source, uint32_t count, uint32_t start,
                                                     struct sip_span *value) {
    uint32_t at = start;
    while (at < count && source[at] == '\r') at++;
    if (at == count) return LINE_LAST;
    if (source[at] == '\n') return ends_here(source, count, at) ? LINE_LAST : LINE_OTHER;
    if (at == start && source[at] == 'v') {
        for (at += 3; at < count && source[at] == '\r'; at++) {}
        return at == count || (source[at] == '\n' && ends_here(source, count, at)) ? LINE_LAST : LINE_OTHER;
    }
    const uint32_t length = name_length(source, count, at);
    if (!length) return LINE_OTHER;
    for (at += length; at < count && sip_is_white(source[at]); at++)
        if (source[at] == '\n' && ends_here(source, count, at)) return LINE_OTHER;
    if (at == count || source[at] != ':') return LINE_OTHER;
    uint32_t from = at + 1, to = header_end(source, count, from);
    while (from < to && sip_is_white(source[from])) from++;
    while (to > from && sip_is_white(source[to - 1])) to--;
    *value = (struct sip_span){from, to - from};
    return LINE_CALL_ID;
}

/* The same by a glance: most lines begin with another letter. */
TL_INLINE enum line line_take(const uint8_t *source, uint32_t count, uint32_t start, struct sip_span *value) {
    if (count - start < 2) return LINE_LAST; /* too short to be of use */
    const uint8_t second = source[start + 1];
    switch (source[start]) {
    case '\n': return LINE_LAST;
    case '\r': return second == '\n' ? LINE_LAST : line_read(source, count, start, value);
    case 'c': case 'C':
        return (second | 0x20) == 'a' ? line_read(source, count, start, value) : LINE_OTHER;
    case 'i': case 'I':
        return second == ':' || sip_is_white(second) ? line_read(source, count, start, value) : LINE_OTHER;
    case 'v': /* and not one of the many Vias */
        return second == '=' && count - start > 2 && source[start + 2] == '0' ? line_read(source, count, start, value)
                                                                              : LINE_OTHER;
    default: return LINE_OTHER;
    }
}

TL_INLINE int find(const uint8_t *source, size_t bytes, struct sip_span *value, const int scalar) {
    const uint32_t count = bytes > UINT32_MAX - 128 ? UINT32_MAX - 128 : (uint32_t)bytes; /* as sip_scan clips */
    uint32_t base = 0;
    while (base < count && (source[base] == '\r' || source[base] == '\n')) base++;
    for (; base < count; base += 64) {
        const uint32_t left = count - base;
        uint8_t tail[64] = {0};
        const uint8_t *block = source + base;
        if (TL_UNLIKELY(left < 64)) block = memcpy(tail, block, left);
        for (uint64_t feeds = scalar ? feeds_scalar(block) : feeds_vector(block); feeds; feeds &= feeds - 1) {
            const enum line found = line_take(source, count, base + sip_lowest(feeds) + 1, value);
            if (found != LINE_OTHER) return found == LINE_CALL_ID;
        }
    }
    return 0;
}

int sip_call_id_find(const uint8_t *source, size_t count, struct sip_span *value) {
    return find(source, count, value, 0);
}

int sip_call_id_find_scalar(const uint8_t *source, size_t count, struct sip_span *value) {
    return find(source, count, value, 1);
}

/* ---- SipHash-2-4 (Aumasson and Bernstein, 2012) ---- */

struct siphash { uint64_t a, b, c, d; };

TL_INLINE uint64_t turned(uint64_t word, unsigned by) { return word << by | word >> (64 - by); }

TL_INLINE void rounds(struct siphash *s, int number) {
    while (number--) {
        s->a += s->b;
        s->c += s->d;
        s->b = turned(s->b, 13) ^ s->a;
        s->d = turned(s->d, 16) ^ s->c;
        s->a = turned(s->a, 32) + s->d;
        s->c += s->b;
        s->d = turned(s->d, 21) ^ s->a;
        s->b = turned(s->b, 17) ^ s->c;
        s->c = turned(s->c, 32);
    }
}

TL_INLINE void absorb(struct siphash *s, uint64_t word) {
    s->d ^= word;
    rounds(s, 2);
    s->a ^= word;
}

TL_INLINE uint64_t finish(struct siphash *s, uint64_t rest, size_t total) {
    absorb(s, rest | (uint64_t)total << 56);
    s->c ^= 0xff;
    rounds(s, 4);
    return s->a ^ s->b ^ s->c ^ s->d;
}

TL_INLINE struct siphash begin(const uint8_t *key) {
    const uint64_t low = sip_load(key), high = sip_load(key + 8);
    return (struct siphash){low ^ 0x736f6d6570736575u, high ^ 0x646f72616e646f6du, low ^ 0x6c7967656e657261u,
                            high ^ 0x7465646279746573u};
}

/* Bytes one by one, for values with folds. */
struct stream { struct siphash state; uint64_t word; size_t total; };

static void put(struct stream *s, uint8_t byte) {
    s->word |= (uint64_t)byte << 8 * (s->total % 8);
    if (++s->total % 8) return;
    absorb(&s->state, s->word);
    s->word = 0;
}

static __attribute__((noinline)) uint64_t hash_unfolded(const uint8_t *value, size_t count, const uint8_t *key) {
    struct stream s = {begin(key), 0, 0};
    size_t at = 0;
    while (at < count) {
        size_t end = at; /* of the white space that may lead over a fold */
        while (end < count && sip_is_space(value[end])) end++;
        while (end < count && value[end] == '\r') end++;
        if (end + 1 < count && value[end] == '\n' && sip_is_space(value[end + 1])) {
            put(&s, ' ');
            for (at = end + 1; at < count && sip_is_space(value[at]);) at++;
            continue;
        }
        if (end == at) end++;
        while (at < end) put(&s, value[at++]);
    }
    return finish(&s.state, s.word, s.total);
}

uint64_t sip_call_id_hash(const uint8_t *value, size_t count, const uint8_t key[SIP_ROUTE_KEY_BYTES]) {
    if (TL_UNLIKELY(count && memchr(value, '\n', count))) return hash_unfolded(value, count, key);
    struct siphash s = begin(key);
    size_t at = 0;
    for (; at + 8 <= count; at += 8) absorb(&s, sip_load(value + at));
    uint8_t rest[8] = {0};
    if (at < count) memcpy(rest, value + at, count - at);
    return finish(&s, sip_load(rest), count);
}

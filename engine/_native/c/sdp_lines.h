/* What the three SDP sources share: the state of one description being read, words and numbers.
   Not for other kernels. */
#ifndef TRUNKLINE_SDP_LINES_H
#define TRUNKLINE_SDP_LINES_H

#include "sdp.h"

#include <string.h>

#if defined(__x86_64__) && !defined(SDP_SCALAR)
#include <emmintrin.h>
#endif

#define SDP_ONES 0x0101010101010101u
#define SDP_BUNDLE_MAX 128 /* mids kept of a=group:BUNDLE lines; bounds the search a media line does */
#define SDP_NO_ROW 255     /* a payload type of the m= line that found no room in `formats` */

enum sdp_seen { SDP_SEEN_PTIME = 1, SDP_SEEN_MAXPTIME = 2, SDP_SEEN_AS = 4, SDP_SEEN_CONNECTION = 8 };

/* What may stand at session level or at a media line, of the level being read. */
struct sdp_level {
    struct address connection;
    const uint8_t *host, *host_end; /* of the first c= line */
    uint64_t fingerprint_hash;
    uint32_t flags;                 /* enum sdp_flag */
    uint16_t traits;                /* enum sdp_trait */
    uint8_t direction, setup, seen; /* seen: enum sdp_seen */
};

struct sdp_reader {
    const uint8_t *base, *start, *end; /* spans count from `base`; loads stay in [start, end) */
    struct sdp_session *session;
    struct sdp_media *rows, *media; /* media: NULL at session level and for lines beyond the capacity */
    size_t capacity;
    struct sdp_level level, outer;  /* outer: the session's, once a media line has begun */
    const uint8_t *origin, *origin_end; /* the first o= line with its line end, NULL before it */
    const uint8_t *origin_host, *origin_host_end;
    uint64_t listed[2];             /* bit a payload type: it stands on the m= line */
    uint32_t valid, types;          /* lines with a known type; bit a letter of the session level */
    int8_t rank;                    /* of the line before, see RFC 8866 section 5 */
    uint8_t in_media, carries_rtp, blank;
    uint8_t bundle_count;
    uint8_t row_of[128];            /* row of `formats`; only where `listed` has the bit */
    struct sip_span bundle[SDP_BUNDLE_MAX];
};

/* ---- words ---- */

struct sdp_word { const uint8_t *from, *to; };

TL_INLINE int sdp_is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

/* Bit i: byte i of 32 is neither SP nor HT. */
TL_INLINE uint32_t sdp_text_bits(const uint8_t *source) {
#if defined(__x86_64__) && !defined(SDP_SCALAR)
    const __m128i space = _mm_set1_epi8(' '), tab = _mm_set1_epi8('\t'); /* SSE2 is part of x86-64 */
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)source);
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(source + 16));
    const __m128i low_blank = _mm_or_si128(_mm_cmpeq_epi8(low, space), _mm_cmpeq_epi8(low, tab));
    const __m128i high_blank = _mm_or_si128(_mm_cmpeq_epi8(high, space), _mm_cmpeq_epi8(high, tab));
    return ~((uint32_t)_mm_movemask_epi8(low_blank) | (uint32_t)_mm_movemask_epi8(high_blank) << 16);
#else
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= (uint32_t)!sdp_is_blank(source[i]) << i;
    return bits;
#endif
}

/* Bit i: byte i of 32 is `c`. */
TL_INLINE uint32_t sdp_byte_bits(const uint8_t *source, char c) {
#if defined(__x86_64__) && !defined(SDP_SCALAR)
    const __m128i wanted = _mm_set1_epi8(c);
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)source);
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(source + 16));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(low, wanted)) |
           (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(high, wanted)) << 16;
#else
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= (uint32_t)(source[i] == (uint8_t)c) << i;
    return bits;
#endif
}

/* Steps through the words of a line. `text`: bits of the 32 bytes at `window` that are still to come. */
struct sdp_words { const uint8_t *window, *stop; uint32_t text; };

/* sdp_text_bits of the bytes in [window, stop), for windows near the end of the body. */
uint32_t sdp_text_bits_near_end(const struct sdp_reader *r, const uint8_t *window, const uint8_t *stop);

TL_INLINE void sdp_words_fill(const struct sdp_reader *r, struct sdp_words *w) {
    const size_t left = (size_t)(w->stop - w->window);
    if (TL_UNLIKELY(r->end - w->window < 32)) w->text = sdp_text_bits_near_end(r, w->window, w->stop);
    else w->text = sdp_text_bits(w->window) & (left < 32 ? ((uint32_t)1 << left) - 1 : ~(uint32_t)0);
}

TL_INLINE struct sdp_words sdp_words_of(const struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_words w = {at, stop, 0};
    sdp_words_fill(r, &w);
    return w;
}

/* Goes on in the next 32 bytes: the word that begins there, or what it needs behind `from`. */
struct sdp_word sdp_next_far(const struct sdp_reader *r, struct sdp_words *w, const uint8_t *from);

/* The next word; empty at the end. */
TL_INLINE struct sdp_word sdp_next(const struct sdp_reader *r, struct sdp_words *w) {
    if (!w->text) {
        if (TL_LIKELY(w->stop - w->window <= 32)) return (struct sdp_word){w->stop, w->stop};
        return sdp_next_far(r, w, NULL);
    }
    const unsigned at = (unsigned)__builtin_ctz(w->text);
    const uint64_t behind = (uint64_t)w->text + ((uint64_t)1 << at); /* carries through the word */
    const unsigned end = (unsigned)__builtin_ctzll(behind);
    if (TL_UNLIKELY(end >= 32)) return sdp_next_far(r, w, w->window + at);
    w->text = (uint32_t)behind & w->text;
    return (struct sdp_word){w->window + at, w->window + end};
}

/* First byte behind the words taken so far that is no blank, or `stop`. */
TL_INLINE const uint8_t *sdp_rest(const struct sdp_words *w) {
    if (w->text) return w->window + __builtin_ctz(w->text);
    const uint8_t *at = w->stop - w->window > 32 ? w->window + 32 : w->stop;
    while (at < w->stop && sdp_is_blank(*at)) at++;
    return at;
}

TL_INLINE size_t sdp_length(struct sdp_word word) { return (size_t)(word.to - word.from); }

TL_INLINE struct sip_span sdp_span(const struct sdp_reader *r, const uint8_t *from, const uint8_t *to) {
    return (struct sip_span){(uint32_t)(from - r->base), (uint32_t)(to - from)};
}

/* ---- numbers and names ---- */

TL_INLINE uint64_t sdp_load(const uint8_t *source) {
    uint64_t word;
    memcpy(&word, source, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* One to eight digits that end at `to`, where eight bytes are loaded; -1 when another byte is among them. */
TL_INLINE int64_t sdp_digits(const uint8_t *to, size_t length) {
    const uint64_t kept = ~(uint64_t)0 << (64 - 8 * length);
    uint64_t word = (sdp_load(to - 8) & kept) | (0x30 * SDP_ONES & ~kept);
    const uint64_t high = word & 0xf0 * SDP_ONES, higher = (word + 0x06 * SDP_ONES) & 0xf0 * SDP_ONES;
    if ((high | higher >> 4) != 0x33 * SDP_ONES) return -1; /* '0' to '9' keep their high half with 6 added */
    word = (word & 0x0f * SDP_ONES) * 2561 >> 8;            /* pairs of digits, then fours, then all */
    word = (word & 0x00ff00ff00ff00ffu) * 6553601 >> 16;
    return (int64_t)((word & 0x0000ffff0000ffffu) * 42949672960001u >> 32);
}

/* sdp_decimal of any length. */
int64_t sdp_decimal_long(const struct sdp_reader *r, const uint8_t *from, const uint8_t *to);

/* Unsigned decimal that is the whole word, saturating at INT64_MAX; -1 when it is none. */
TL_INLINE int64_t sdp_decimal(const struct sdp_reader *r, const uint8_t *from, const uint8_t *to) {
    const size_t length = (size_t)(to - from);
    if (TL_UNLIKELY(length - 1 > 7 || to - r->start < 8)) return sdp_decimal_long(r, from, to);
    return sdp_digits(to, length);
}

/* 'A'..'Z' to lower case in all eight bytes, the others left alone. */
TL_INLINE uint64_t sdp_lower(uint64_t word) {
    const uint64_t low = word & 0x7f * SDP_ONES;
    const uint64_t from_a = low + (0x80 - 'A') * SDP_ONES, behind_z = low + (0x7f - 'Z') * SDP_ONES;
    return word | ((from_a & ~behind_z & ~word & 0x80 * SDP_ONES) >> 2);
}

/* The first eight bytes of [at, stop) up to `fill`, the rest of them `fill`: since a name never holds the
   byte that ends it, equal keys of up to seven bytes are equal names. `*length` is at most 8. */
TL_INLINE uint64_t sdp_key(const struct sdp_reader *r, const uint8_t *at, const uint8_t *stop, uint8_t fill,
                           uint32_t *length) {
    uint64_t word = 0;
    if (TL_LIKELY(r->end - at >= 8)) word = sdp_load(at);
    else {
        for (int i = 0; i < r->end - at; i++) word |= (uint64_t)at[i] << 8 * i;
    }
    const uint64_t filled = fill * SDP_ONES, other = word ^ filled;
    uint64_t hit = (other - SDP_ONES) & ~other & 0x80 * SDP_ONES; /* its lowest bit is exact */
    if (stop - at < 8) hit |= 0x80ull << 8 * (stop - at);
    if (!hit) {
        *length = 8;
        return word;
    }
    *length = (uint32_t)__builtin_ctzll(hit) / 8;
    const uint64_t behind = ~(uint64_t)0 << 8 * *length;
    return (word & ~behind) | (filled & behind);
}

#define SDP_KEY(a, b, c, d, e, f, g, h) \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 | \
     (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)

/* Equal in any case; `text` is in lower case. */
int sdp_equals(const uint8_t *from, const uint8_t *to, const char *text);

/* ---- sdp_codecs.c ---- */

struct sdp_static { uint32_t clock_rate_hz; uint8_t codec, channels; };
#define SDP_STATIC_COUNT 35
/* RFC 3551 tables 4 and 5; clock 0 where a number is not assigned. */
extern const struct sdp_static sdp_static_types[SDP_STATIC_COUNT];

/* enum sdp_codec of an encoding name in any case. */
uint8_t sdp_codec_of(const struct sdp_reader *r, const uint8_t *from, const uint8_t *to);

/* ---- sdp_media.c ---- */

void sdp_media_begin(struct sdp_reader *r, const uint8_t *line, const uint8_t *stop);
void sdp_media_end(struct sdp_reader *r, const uint8_t *end);
void sdp_bandwidth(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop);
void sdp_rtpmap(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop);
void sdp_fmtp(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop);

/* ---- sdp_attributes.c: the value behind "a=" ---- */

void sdp_attribute(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop);

#endif

/* G.722 at 64 kbit/s. Block names (UPPOL2, FILTEZ, LOGSCL, ...) are those of ITU-T G.722 clause 6.2; arithmetic saturates where it says so.

   A chunk is filtered as a whole, before encoding or after decoding; between, the two bands run side by side, sample by sample, so that the processor has
   two independent chains of work. */
#include "g722.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define TAPS 12   /* of each phase */
#define CHUNK 160 /* octets a pass: one frame of 20 ms */

/* Table 11: the filter, one phase; the other is its mirror. */
static const int16_t QMF[TAPS] = {3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11};
/* Outputs of the inverse quantizers: 6 bits, 4 bits (the predictor's, which survives mode 3), 2 bits. */
static const int16_t QM6[64] = {
    -136,   -136,   -136,   -136,   -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
    -7192,  -6576,  -6000,  -5456,  -4944,  -4464,  -4008,  -3576,  -3168,  -2776,  -2400,  -2032,  -1688,  -1360, -1040, -728,
    24808,  21904,  19008,  16704,  14984,  13512,  12280,  11192,  10232,  9360,   8576,   7856,   7192,   6576,  6000,  5456,
    4944,   4464,   4008,   3576,   3168,   2776,   2400,   2032,   1688,   1360,   1040,   728,    432,    136,   -432,  -136};
static const int16_t QM4[16] = {0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0};
static const int16_t QM2[4] = {-7408, -1616, 7408, 1616};
/* WL and WH by code: what a difference of that size adds to the logarithmic scale. */
static const int16_t WL4[16] = {-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60};
static const int16_t WH2[4] = {798, -214, 798, -214};
/* 2048 * 2 ** (k / 32) */
static const int16_t ILB[32] = {2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
                                2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008};
/* Decision levels of the 6 bit quantizer times 16, so that the upper half of a 16 bit product is (level * det) >> 12; the last two are never reached. */
#define LEVELS 32
static const uint16_t Q6[LEVELS] __attribute__((aligned(16))) = {
    35 * 16,   72 * 16,   110 * 16,  150 * 16,  190 * 16,  233 * 16,  276 * 16,  323 * 16,  370 * 16,  422 * 16,  473 * 16,
    530 * 16,  587 * 16,  650 * 16,  714 * 16,  786 * 16,  858 * 16,  940 * 16,  1023 * 16, 1121 * 16, 1219 * 16, 1339 * 16,
    1458 * 16, 1612 * 16, 1765 * 16, 1980 * 16, 2195 * 16, 2557 * 16, 2919 * 16, 2919 * 16, 2919 * 16, 2919 * 16};
#define LEVELS_USED 29

TL_INLINE int32_t clamp(int32_t value, int32_t low, int32_t high) { return value < low ? low : value > high ? high : value; }
TL_INLINE int32_t saturated(int32_t value) { return clamp(value, -32768, 32767); }

/* SCALEL, SCALEH: the linear scale of a logarithmic one; the low band's is 2048 (two octaves) higher in this table. */
TL_INLINE int32_t linear_scale(int32_t nb) { return (ILB[nb >> 6 & 31] << 1 >> (11 - (nb >> 11))) << 2; }

/* LOGSCL, LOGSCH */
TL_INLINE void scale_low(struct g722_band *band, uint32_t code4) {
    band->nb = clamp((band->nb * 127 >> 7) + WL4[code4], 0, 18432);
    band->det = linear_scale(band->nb + 4096);
}
TL_INLINE void scale_high(struct g722_band *band, uint32_t code2) {
    band->nb = clamp((band->nb * 127 >> 7) + WH2[code2], 0, 22528);
    band->det = linear_scale(band->nb);
}

/* UPZERO and FILTEZ: the six zeros move towards the sign of the difference, and predict again. Additions saturate in the order of the Recommendation. */
#if defined(__SSE2__)
TL_INLINE int32_t zeros(struct g722_band *band, int32_t difference) {
    __m128i b = (__m128i)band->b, d = (__m128i)band->d;
    __m128i step = _mm_srli_si128(_mm_set1_epi16(difference ? 128 : 0), 4);
    __m128i opposite = _mm_srai_epi16(_mm_xor_si128(d, _mm_set1_epi16((int16_t)difference)), 15);
    b = _mm_add_epi16(b, _mm_mulhi_epi16(b, _mm_set1_epi16(-256))); /* * 255 / 256, rounded down */
    b = _mm_adds_epi16(b, _mm_sub_epi16(_mm_xor_si128(step, opposite), opposite));
    d = _mm_insert_epi16(_mm_slli_si128(d, 2), difference, 0);
    band->b = (g722_eight)b;
    band->d = (g722_eight)d;
    /* (b * 2 d) >> 15; 2 d cannot saturate: differences stay under 10,228. Lanes 6 and 7 hold older differences, but b is 0 there. */
    __m128i w = _mm_or_si128(_mm_slli_epi16(_mm_mulhi_epi16(b, d), 2), _mm_srli_epi16(_mm_mullo_epi16(b, d), 14));
    __m128i sum = _mm_adds_epi16(_mm_srli_si128(w, 10), _mm_srli_si128(w, 8));
    sum = _mm_adds_epi16(sum, _mm_srli_si128(w, 6));
    sum = _mm_adds_epi16(sum, _mm_srli_si128(w, 4));
    sum = _mm_adds_epi16(sum, _mm_srli_si128(w, 2));
    return (int16_t)_mm_cvtsi128_si32(_mm_adds_epi16(sum, w));
}
#else
TL_INLINE int32_t zeros(struct g722_band *band, int32_t difference) {
    int32_t sum = 0, step = difference ? 128 : 0;
    for (int k = 5; k >= 0; k--) {
        int32_t b = (band->b[k] * 255 >> 8) + ((band->d[k] ^ difference) < 0 ? -step : step);
        band->b[k] = (int16_t)saturated(b);
        band->d[k] = k ? band->d[k - 1] : (int16_t)difference;
        sum = saturated(sum + (band->b[k] * 2 * band->d[k] >> 15));
    }
    return sum;
}
#endif

/* BLOCK 4: from the quantized difference to the next prediction (RECONS, PARREC, UPPOL1, UPPOL2, UPZERO, FILTEP, FILTEZ, PREDIC). */
TL_INLINE void predict(struct g722_band *band, int32_t difference) {
    int32_t reconstructed = saturated(band->s + difference), p = (band->sz + difference) >> 31;
    int32_t as_before = p == band->p1, four_a1 = saturated(band->a1 * 4);
    int32_t a2 = (band->a2 * 127 >> 7) + (clamp(as_before ? -four_a1 : four_a1, -32768, 32767) >> 7) + (p == band->p2 ? 128 : -128);
    a2 = clamp(a2, -12288, 12288);
    int32_t limit = 15360 - a2;
    int32_t a1 = clamp((band->a1 * 255 >> 8) + (as_before ? 192 : -192), -limit, limit);
    band->p2 = band->p1;
    band->p1 = p;
    band->a1 = a1;
    band->a2 = a2;
    band->r2 = band->r1;
    band->r1 = saturated(2 * reconstructed);
    band->sz = zeros(band, difference);
    band->s = saturated(saturated((a1 * band->r1 >> 15) + (a2 * band->r2 >> 15)) + band->sz);
}

/* Sum of a phase's last 12 values, each times the filter's coefficient; `mirrored` takes these from the end. The results are 32 bit, not yet shifted. */
#if defined(__SSE2__)
TL_INLINE __m128i filter_four(const int16_t *values, int mirrored) { /* outputs 0, 2, 4, 6 after `values` */
    __m128i sum = _mm_setzero_si128();
    for (int k = 0; k < TAPS; k += 2) {
        int16_t first = mirrored ? QMF[TAPS - 1 - k] : QMF[k], second = mirrored ? QMF[TAPS - 2 - k] : QMF[k + 1];
        __m128i pair = _mm_set1_epi32((int32_t)((uint32_t)(uint16_t)second << 16 | (uint16_t)first));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_loadu_si128((const __m128i *)(const void *)(values + k)), pair));
    }
    return sum;
}
/* Eight outputs; reads 20 values. */
TL_INLINE void filter_eight(const int16_t *values, int mirrored, __m128i *low, __m128i *high) {
    __m128i even = filter_four(values, mirrored), odd = filter_four(values + 1, mirrored);
    *low = _mm_unpacklo_epi32(even, odd);
    *high = _mm_unpackhi_epi32(even, odd);
}
#endif
TL_INLINE int32_t filter_one(const int16_t *values, int mirrored) {
    int32_t sum = 0;
    for (int k = 0; k < TAPS; k++) sum += values[k] * (mirrored ? QMF[TAPS - 1 - k] : QMF[k]);
    return sum;
}

#define SLACK 9
/* Two phases of a chunk with the filter's memory before them; the slack is read by the widest load, never used. */
struct phases {
    int16_t first[TAPS - 1 + CHUNK + SLACK], second[TAPS - 1 + CHUNK + SLACK];
};

static void phases_begin(const struct g722 *g, struct phases *p) {
    memcpy(p->first, g->delay[0], (TAPS - 1) * sizeof *p->first);
    memcpy(p->second, g->delay[1], (TAPS - 1) * sizeof *p->second);
}

static void close_slack(struct phases *p, uint32_t count) {
    memset(p->first + TAPS - 1 + count, 0, SLACK * sizeof *p->first);
    memset(p->second + TAPS - 1 + count, 0, SLACK * sizeof *p->second);
}

static void phases_end(struct g722 *g, const struct phases *p, uint32_t count) {
    memcpy(g->delay[0], p->first + count, (TAPS - 1) * sizeof *p->first);
    memcpy(g->delay[1], p->second + count, (TAPS - 1) * sizeof *p->second);
}

/* QMF of the decoder: sums and differences of the bands to samples. */
static void join(const struct phases *p, int16_t *pcm, uint32_t count) {
    uint32_t n = 0;
#if defined(__SSE2__)
    for (; n + 8 <= count; n += 8) {
        __m128i sum_low, sum_high, difference_low, difference_high;
        filter_eight(p->first + n, 0, &sum_low, &sum_high);
        filter_eight(p->second + n, 1, &difference_low, &difference_high);
        __m128i odd = _mm_packs_epi32(_mm_srai_epi32(sum_low, 11), _mm_srai_epi32(sum_high, 11));
        __m128i even = _mm_packs_epi32(_mm_srai_epi32(difference_low, 11), _mm_srai_epi32(difference_high, 11));
        _mm_storeu_si128((__m128i *)(void *)(pcm + 2 * n), _mm_unpacklo_epi16(even, odd));
        _mm_storeu_si128((__m128i *)(void *)(pcm + 2 * n + 8), _mm_unpackhi_epi16(even, odd));
    }
#endif
    for (; n < count; n++) {
        pcm[2 * n] = (int16_t)saturated(filter_one(p->second + n, 1) >> 11);
        pcm[2 * n + 1] = (int16_t)saturated(filter_one(p->first + n, 0) >> 11);
    }
}

/* QMF of the encoder: samples to the bands, limited to 15 bits. */
static void split(const struct phases *p, int16_t *low, int16_t *high, uint32_t count) {
    uint32_t n = 0;
#if defined(__SSE2__)
    const __m128i least = _mm_set1_epi16(-16384), most = _mm_set1_epi16(16383);
    for (; n + 8 <= count; n += 8) {
        __m128i odd_low, odd_high, even_low, even_high;
        filter_eight(p->first + n, 0, &odd_low, &odd_high);
        filter_eight(p->second + n, 1, &even_low, &even_high);
        __m128i sum = _mm_packs_epi32(_mm_srai_epi32(_mm_add_epi32(even_low, odd_low), 14), _mm_srai_epi32(_mm_add_epi32(even_high, odd_high), 14));
        __m128i rest = _mm_packs_epi32(_mm_srai_epi32(_mm_sub_epi32(even_low, odd_low), 14), _mm_srai_epi32(_mm_sub_epi32(even_high, odd_high), 14));
        _mm_storeu_si128((__m128i *)(void *)(low + n), _mm_min_epi16(_mm_max_epi16(sum, least), most));
        _mm_storeu_si128((__m128i *)(void *)(high + n), _mm_min_epi16(_mm_max_epi16(rest, least), most));
    }
#endif
    for (; n < count; n++) {
        int32_t odd = filter_one(p->first + n, 0), even = filter_one(p->second + n, 1);
        low[n] = (int16_t)clamp((even + odd) >> 14, -16384, 16383);
        high[n] = (int16_t)clamp((even - odd) >> 14, -16384, 16383);
    }
}

static void start(struct g722 *g) {
    memset(g, 0, sizeof *g);
    g->low.det = 32;
    g->high.det = 8;
}

void g722_decoder_start(struct g722 *g) { start(g); }
void g722_encoder_start(struct g722 *g) { start(g); }

static void decode_chunk(struct g722 *g, const uint8_t *octets, int16_t *pcm, uint32_t count) {
    struct phases p;
    struct g722_band low_band = g->low, high_band = g->high;
    phases_begin(g, &p);
    for (uint32_t n = 0; n < count; n++) {
        uint32_t six = octets[n] & 63, two = octets[n] >> 6;
        int32_t low = low_band.det * QM4[six >> 2] >> 15, fine = low_band.det * QM6[six] >> 15, high = high_band.det * QM2[two] >> 15;
        int32_t low_out = clamp(low_band.s + fine, -16384, 16383), high_out = clamp(high_band.s + high, -16384, 16383);
        p.first[TAPS - 1 + n] = (int16_t)(low_out + high_out);
        p.second[TAPS - 1 + n] = (int16_t)(low_out - high_out);
        scale_low(&low_band, six >> 2);
        scale_high(&high_band, two);
        predict(&low_band, low);
        predict(&high_band, high);
    }
    g->low = low_band;
    g->high = high_band;
    close_slack(&p, count);
    join(&p, pcm, count);
    phases_end(g, &p, count);
}

void g722_decode(struct g722 *g, const uint8_t *octets, int16_t *pcm, uint32_t count) {
    for (uint32_t done = 0; done < count; done += CHUNK) decode_chunk(g, octets + done, pcm + 2 * done, count - done < CHUNK ? count - done : CHUNK);
}

/* QUANTL: how many decision levels the error reaches. */
TL_INLINE uint32_t levels_reached(int32_t size, int32_t det) {
#if defined(__SSE2__)
    const __m128i *levels = (const __m128i *)(const void *)Q6;
    __m128i scale = _mm_set1_epi16((int16_t)det), error = _mm_set1_epi16((int16_t)size);
    __m128i above0 = _mm_cmpgt_epi16(_mm_mulhi_epu16(levels[0], scale), error), above1 = _mm_cmpgt_epi16(_mm_mulhi_epu16(levels[1], scale), error);
    __m128i above2 = _mm_cmpgt_epi16(_mm_mulhi_epu16(levels[2], scale), error), above3 = _mm_cmpgt_epi16(_mm_mulhi_epu16(levels[3], scale), error);
    uint32_t above = (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(above0, above1));
    above |= (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(above2, above3)) << 16;
    return (uint32_t)__builtin_ctz(above | 1u << LEVELS_USED);
#else
    uint32_t count = 0;
    for (; count < LEVELS_USED && size >= (int32_t)((uint32_t)Q6[count] * (uint32_t)det >> 16); count++) {}
    return count;
#endif
}

TL_INLINE uint32_t encode_low(struct g722_band *band, int32_t sample) {
    int32_t error = saturated(sample - band->s), is_negative = error < 0;
    uint32_t reached = levels_reached(error ^ error >> 31, band->det); /* -(error + 1) where negative */
    uint32_t code = is_negative ? (reached < 2 ? 63 - reached : 33 - reached) : 61 - reached;
    int32_t difference = band->det * QM4[code >> 2] >> 15;
    scale_low(band, code >> 2);
    predict(band, difference);
    return code;
}

TL_INLINE uint32_t encode_high(struct g722_band *band, int32_t sample) {
    int32_t error = saturated(sample - band->s), is_outer = (error ^ error >> 31) >= (564 * band->det >> 12);
    uint32_t code = (error < 0 ? 1u : 3u) - (uint32_t)is_outer;
    int32_t difference = band->det * QM2[code] >> 15;
    scale_high(band, code);
    predict(band, difference);
    return code;
}

static void encode_chunk(struct g722 *g, const int16_t *pcm, uint8_t *octets, uint32_t count) {
    int16_t low[CHUNK], high[CHUNK];
    struct phases p;
    phases_begin(g, &p);
    for (uint32_t n = 0; n < count; n++) {
        p.first[TAPS - 1 + n] = pcm[2 * n];
        p.second[TAPS - 1 + n] = pcm[2 * n + 1];
    }
    close_slack(&p, count);
    split(&p, low, high, count);
    phases_end(g, &p, count);
    struct g722_band low_band = g->low, high_band = g->high;
    for (uint32_t n = 0; n < count; n++)
        octets[n] = (uint8_t)(encode_high(&high_band, high[n]) << 6 | encode_low(&low_band, low[n]));
    g->low = low_band;
    g->high = high_band;
}

void g722_encode(struct g722 *g, const int16_t *pcm, uint8_t *octets, uint32_t count) {
    for (uint32_t done = 0; done < count; done += CHUNK) encode_chunk(g, pcm + 2 * done, octets + done, count - done < CHUNK ? count - done : CHUNK);
}

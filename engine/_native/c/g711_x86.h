/* G.711 with AVX2 and AVX-512: included by g711.c alone.

   Both laws are one code with other constants. A byte is a sign (set: not negative), three bits of segment and four of mantissa, turned over by
   G711_FLIP. A magnitude v (biased by 33 for u-law, so that no segment is linear) has its segment in its highest bit and its mantissa in the four
   bits below. */

/* A block that no cache holds is stored past the caches, as memcpy does: 0, or from which sample on (1 to 64), where the target is aligned. */
#define PAST_CACHES_SAMPLES ((size_t)16 << 20)
TL_INLINE size_t past_caches(size_t samples, const void *target, size_t size) {
    return samples < PAST_CACHES_SAMPLES ? 0 : (64 - ((uintptr_t)target & 63)) / size;
}

/* Half a page ahead: the processor's own look-ahead ends with the page. May be behind the end of the block. */
TL_INLINE void fetch_ahead(const void *at) { _mm_prefetch((const char *)((uintptr_t)at + 2048), _MM_HINT_T0); }

/* ---- AVX2 ---- */

/* 32 bytes to two times 16 samples. A magnitude is (mantissa * 2 + bias of the segment) << segment. */
AUDIO_AVX2_INLINE void decode32_avx2(enum g711_law law, __m256i bytes, __m256i samples[2]) {
    const int ulaw = law == G711_ULAW;
    const __m256i factors = ulaw ? _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0)
                                 : _mm256_setr_epi8(1, 1, 2, 4, 8, 16, 32, 64, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 4, 8, 16, 32, 64, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i biases = ulaw ? _mm256_set1_epi8(0x21)
                                : _mm256_setr_epi8(1, 33, 33, 33, 33, 33, 33, 33, 0, 0, 0, 0, 0, 0, 0, 0, 1, 33, 33, 33, 33, 33, 33, 33, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi8(1);
    /* Halves of the register are unpacked apart: turned beforehand, so that they come out in order. */
    const __m256i turned = _mm256_xor_si256(_mm256_permute4x64_epi64(bytes, 0xd8), _mm256_set1_epi8((char)g711_flip(law)));
    const __m256i segment = _mm256_and_si256(_mm256_srli_epi16(turned, 4), _mm256_set1_epi8(7));
    const __m256i mantissa = _mm256_slli_epi16(_mm256_and_si256(turned, _mm256_set1_epi8(15)), 1);
    const __m256i bias = ulaw ? biases : _mm256_shuffle_epi8(biases, segment);
    const __m256i steps = _mm256_or_si256(mantissa, bias), factor = _mm256_shuffle_epi8(factors, segment);
    const __m256i low = _mm256_mullo_epi16(_mm256_unpacklo_epi8(steps, zero), _mm256_unpacklo_epi8(factor, zero));
    const __m256i high = _mm256_mullo_epi16(_mm256_unpackhi_epi8(steps, zero), _mm256_unpackhi_epi8(factor, zero));
    const __m256i less = _mm256_set1_epi16(ulaw ? 132 : 0);
    samples[0] = _mm256_sub_epi16(_mm256_slli_epi16(low, ulaw ? 2 : 3), less);
    samples[1] = _mm256_sub_epi16(_mm256_slli_epi16(high, ulaw ? 2 : 3), less);
    samples[0] = _mm256_sign_epi16(samples[0], _mm256_unpacklo_epi8(one, turned));
    samples[1] = _mm256_sign_epi16(samples[1], _mm256_unpackhi_epi8(one, turned));
}

AUDIO_AVX2_INLINE void decode_avx2(enum g711_law law, const uint8_t *bytes, int16_t *pcm, size_t samples) {
    const size_t begin = past_caches(samples, pcm, sizeof *pcm);
    __m256i found[2];
    size_t at = 0;
    if (begin) {
        decode_scalar(law, bytes, pcm, begin);
        for (at = begin; at + 32 <= samples; at += 32) {
            decode32_avx2(law, _mm256_loadu_si256((const __m256i *)(bytes + at)), found);
            fetch_ahead(bytes + at);
            _mm256_stream_si256((__m256i *)(pcm + at), found[0]);
            _mm256_stream_si256((__m256i *)(pcm + at + 16), found[1]);
        }
        _mm_sfence();
    }
    for (; at + 32 <= samples; at += 32) {
        decode32_avx2(law, _mm256_loadu_si256((const __m256i *)(bytes + at)), found);
        _mm256_storeu_si256((__m256i *)(pcm + at), found[0]);
        _mm256_storeu_si256((__m256i *)(pcm + at + 16), found[1]);
    }
    decode_scalar(law, bytes + at, pcm + at, samples - at);
}

/* 16 samples to codes of 7 bits in words: exponent and first four bits of the fraction of the magnitude as a float. */
AUDIO_AVX2_INLINE __m256i encode16_avx2(enum g711_law law, __m256i samples) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i v;
    if (law == G711_ULAW) {
        v = _mm256_add_epi16(_mm256_abs_epi16(_mm256_srai_epi16(samples, 2)), _mm256_set1_epi16(33));
        v = _mm256_min_epi16(v, _mm256_set1_epi16(8191));
    } else v = _mm256_xor_si256(_mm256_srai_epi16(samples, 3), _mm256_srai_epi16(samples, 15));
    const __m256 low = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(v, zero)), high = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(v, zero));
    const __m256i bits = _mm256_packs_epi32(_mm256_srli_epi32(_mm256_castps_si256(low), 19), _mm256_srli_epi32(_mm256_castps_si256(high), 19));
    if (law == G711_ULAW) return _mm256_sub_epi16(bits, _mm256_set1_epi16(132 << 4));
    const __m256i linear = _mm256_min_epi16(_mm256_srli_epi16(v, 1), _mm256_set1_epi16(15));
    return _mm256_max_epi16(_mm256_sub_epi16(bits, _mm256_set1_epi16(131 << 4)), linear);
}

AUDIO_AVX2_INLINE __m256i encode32_avx2(enum g711_law law, const int16_t *pcm) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)pcm), y = _mm256_loadu_si256((const __m256i *)(pcm + 16));
    const __m256i codes = _mm256_packus_epi16(encode16_avx2(law, x), encode16_avx2(law, y));
    const __m256i negative = _mm256_and_si256(_mm256_packs_epi16(x, y), _mm256_set1_epi8(-128));
    const __m256i made = _mm256_xor_si256(_mm256_xor_si256(codes, _mm256_set1_epi8((char)g711_flip(law))), negative);
    return _mm256_permute4x64_epi64(made, 0xd8);
}

AUDIO_AVX2_INLINE void encode_avx2(enum g711_law law, const int16_t *pcm, uint8_t *bytes, size_t samples) {
    const size_t begin = past_caches(samples, bytes, sizeof *bytes);
    size_t at = 0;
    if (begin) {
        encode_scalar(law, pcm, bytes, begin);
        for (at = begin; at + 32 <= samples; at += 32) {
            fetch_ahead(pcm + at);
            _mm256_stream_si256((__m256i *)(bytes + at), encode32_avx2(law, pcm + at));
        }
        _mm_sfence();
    }
    for (; at + 32 <= samples; at += 32) _mm256_storeu_si256((__m256i *)(bytes + at), encode32_avx2(law, pcm + at));
    encode_scalar(law, pcm + at, bytes + at, samples - at);
}

AUDIO_TARGET_AVX2 static void decode_ulaw_avx2(const uint8_t *bytes, int16_t *pcm, size_t samples) { decode_avx2(G711_ULAW, bytes, pcm, samples); }
AUDIO_TARGET_AVX2 static void decode_alaw_avx2(const uint8_t *bytes, int16_t *pcm, size_t samples) { decode_avx2(G711_ALAW, bytes, pcm, samples); }
AUDIO_TARGET_AVX2 static void encode_ulaw_avx2(const int16_t *pcm, uint8_t *bytes, size_t samples) { encode_avx2(G711_ULAW, pcm, bytes, samples); }
AUDIO_TARGET_AVX2 static void encode_alaw_avx2(const int16_t *pcm, uint8_t *bytes, size_t samples) { encode_avx2(G711_ALAW, pcm, bytes, samples); }
AUDIO_TARGET_AVX2 static void widen_avx2(const int16_t *pcm, float *target, size_t samples) { widen(pcm, target, samples); }

/* ---- AVX-512: tables of 128 bytes in two registers ---- */

#define SIXTEEN(f, i) \
    f(i), f(i + 1), f(i + 2), f(i + 3), f(i + 4), f(i + 5), f(i + 6), f(i + 7), f(i + 8), f(i + 9), f(i + 10), f(i + 11), f(i + 12), f(i + 13), \
        f(i + 14), f(i + 15)
#define TABLE128(f) \
    {SIXTEEN(f, 0), SIXTEEN(f, 16), SIXTEEN(f, 32), SIXTEEN(f, 48), SIXTEEN(f, 64), SIXTEEN(f, 80), SIXTEEN(f, 96), SIXTEEN(f, 112)}

/* Magnitudes by the low seven bits of a byte. */
#define ULAW_SEGMENT(i) (((i) ^ 0x7f) >> 4)
#define ULAW_VALUE(i) ((((((i) ^ 0x7f) & 15) * 8 + 132) << ULAW_SEGMENT(i)) - 132)
#define ALAW_SEGMENT(i) (((i) ^ 0x55) >> 4)
#define ALAW_LINEAR(i) ((((i) ^ 0x55) & 15) * 16 + 8)
#define ALAW_VALUE(i) (ALAW_SEGMENT(i) ? (ALAW_LINEAR(i) + 256) << (ALAW_SEGMENT(i) + !ALAW_SEGMENT(i) - 1) : ALAW_LINEAR(i))
#define ULAW_LOW(i) (ULAW_VALUE(i) & 255)
#define ULAW_HIGH(i) (ULAW_VALUE(i) >> 8)
#define ALAW_LOW(i) (ALAW_VALUE(i) & 255)
#define ALAW_HIGH(i) (ALAW_VALUE(i) >> 8)
/* By a magnitude without its low bits (u-law 6, A-law 5) the segment is the number of bits left. */
#define BITS(i) (((i) >= 64) + ((i) >= 32) + ((i) >= 16) + ((i) >= 8) + ((i) >= 4) + ((i) >= 2) + ((i) >= 1))
#define ULAW_SHIFT(i) (BITS(i) + 1)
#define ULAW_BASE(i) ((BITS(i) * 16 - 16) & 255)
#define ALAW_SHIFT(i) (BITS(i) + !BITS(i))
#define ALAW_BASE(i) (ALAW_SHIFT(i) * 16 - 16)

typedef uint8_t table128[128] __attribute__((aligned(64)));
static const struct {
    table128 low, high, shift, base;
} TABLES[2] = {
    {TABLE128(ULAW_LOW), TABLE128(ULAW_HIGH), TABLE128(ULAW_SHIFT), TABLE128(ULAW_BASE)},
    {TABLE128(ALAW_LOW), TABLE128(ALAW_HIGH), TABLE128(ALAW_SHIFT), TABLE128(ALAW_BASE)},
};

/* Mask of the first of 64 bytes or 32 words. */
TL_INLINE uint64_t first_bits(size_t count) { return count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1; }

/* 64 bytes to two times 32 samples. */
AUDIO_AVX512_INLINE void decode64_avx512(const __m512i low[2], const __m512i high[2], __m512i bytes, __m512i samples[2]) {
    const __m512i zero = _mm512_setzero_si512();
    const uint64_t negative = ~_mm512_movepi8_mask(bytes);
    /* Unpacked apart by quarters: turned beforehand, so that they come out in order. */
    const __m512i turned = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), bytes);
    const __m512i lows = _mm512_permutex2var_epi8(low[0], turned, low[1]), highs = _mm512_permutex2var_epi8(high[0], turned, high[1]);
    const __m512i first = _mm512_unpacklo_epi8(lows, highs), second = _mm512_unpackhi_epi8(lows, highs);
    samples[0] = _mm512_mask_sub_epi16(first, (__mmask32)negative, zero, first);
    samples[1] = _mm512_mask_sub_epi16(second, (__mmask32)(negative >> 32), zero, second);
}

AUDIO_AVX512_INLINE void decode_avx512(enum g711_law law, const uint8_t *bytes, int16_t *pcm, size_t samples) {
    const __m512i low[2] = {_mm512_load_si512(TABLES[law].low), _mm512_load_si512(TABLES[law].low + 64)};
    const __m512i high[2] = {_mm512_load_si512(TABLES[law].high), _mm512_load_si512(TABLES[law].high + 64)};
    const size_t begin = past_caches(samples, pcm, sizeof *pcm);
    __m512i found[2];
    size_t at = 0;
    if (begin) {
        decode_scalar(law, bytes, pcm, begin);
        for (at = begin; at + 64 <= samples; at += 64) {
            decode64_avx512(low, high, _mm512_loadu_si512(bytes + at), found);
            fetch_ahead(bytes + at);
            _mm512_stream_si512((__m512i *)(pcm + at), found[0]);
            _mm512_stream_si512((__m512i *)(pcm + at + 32), found[1]);
        }
        _mm_sfence();
    }
    for (; at + 64 <= samples; at += 64) {
        decode64_avx512(low, high, _mm512_loadu_si512(bytes + at), found);
        _mm512_storeu_si512(pcm + at, found[0]);
        _mm512_storeu_si512(pcm + at + 32, found[1]);
    }
    if (at == samples) return;
    const uint64_t valid = first_bits(samples - at);
    decode64_avx512(low, high, _mm512_maskz_loadu_epi8(valid, bytes + at), found);
    _mm512_mask_storeu_epi16(pcm + at, (__mmask32)valid, found[0]);
    if (valid >> 32) _mm512_mask_storeu_epi16(pcm + at + 32, (__mmask32)(valid >> 32), found[1]);
}

/* 32 samples to codes of 7 bits in the low bytes of words. */
AUDIO_AVX512_INLINE __m512i encode32_avx512(enum g711_law law, __m512i samples, const __m512i shifts[2], const __m512i bases[2]) {
    __m512i v;
    if (law == G711_ULAW) {
        v = _mm512_add_epi16(_mm512_abs_epi16(_mm512_srai_epi16(samples, 2)), _mm512_set1_epi16(33));
        v = _mm512_min_epi16(v, _mm512_set1_epi16(8191));
    } else v = _mm512_xor_si512(_mm512_srai_epi16(samples, 3), _mm512_srai_epi16(samples, 15));
    const __m512i place = _mm512_srli_epi16(v, law == G711_ULAW ? 6 : 5);
    const __m512i shift = _mm512_maskz_permutex2var_epi8(0x5555555555555555u, shifts[0], place, shifts[1]);
    return _mm512_add_epi8(_mm512_srlv_epi16(v, shift), _mm512_permutex2var_epi8(bases[0], place, bases[1]));
}

#define WORD_LOW(i) (uint8_t)(2 * (i)) /* where a word's bytes are, of two registers' words */
#define WORD_HIGH(i) (uint8_t)(2 * (i) + 1)
static const table128 WORD_BYTES[2] = {TABLE128(WORD_LOW), TABLE128(WORD_HIGH)};

struct encoder512 {
    __m512i shift[2], base[2], low, high, flip;
};

AUDIO_AVX512_INLINE __m512i encode64_avx512(enum g711_law law, const struct encoder512 *e, __m512i x, __m512i y) {
    const __m512i first = encode32_avx512(law, x, e->shift, e->base), second = encode32_avx512(law, y, e->shift, e->base);
    const __m512i codes = _mm512_permutex2var_epi8(first, e->low, second), highs = _mm512_permutex2var_epi8(x, e->high, y);
    /* codes ^ flip ^ (highs & 0x80) */
    return _mm512_xor_si512(_mm512_xor_si512(codes, e->flip), _mm512_and_si512(highs, _mm512_set1_epi8(-128)));
}

AUDIO_AVX512_INLINE void encode_avx512(enum g711_law law, const int16_t *pcm, uint8_t *bytes, size_t samples) {
    const struct encoder512 e = {
        {_mm512_load_si512(TABLES[law].shift), _mm512_load_si512(TABLES[law].shift + 64)},
        {_mm512_load_si512(TABLES[law].base), _mm512_load_si512(TABLES[law].base + 64)},
        _mm512_load_si512(WORD_BYTES[0]), _mm512_load_si512(WORD_BYTES[1]), _mm512_set1_epi8((char)g711_flip(law))};
    const size_t begin = past_caches(samples, bytes, sizeof *bytes);
    size_t at = 0;
    if (begin) {
        encode_scalar(law, pcm, bytes, begin);
        for (at = begin; at + 64 <= samples; at += 64) {
            const __m512i x = _mm512_loadu_si512(pcm + at), y = _mm512_loadu_si512(pcm + at + 32);
            fetch_ahead(pcm + at);
            fetch_ahead(pcm + at + 32);
            _mm512_stream_si512((__m512i *)(bytes + at), encode64_avx512(law, &e, x, y));
        }
        _mm_sfence();
    }
    for (; at + 64 <= samples; at += 64) {
        const __m512i x = _mm512_loadu_si512(pcm + at), y = _mm512_loadu_si512(pcm + at + 32);
        _mm512_storeu_si512(bytes + at, encode64_avx512(law, &e, x, y));
    }
    if (at == samples) return;
    const uint64_t valid = first_bits(samples - at);
    const __m512i x = _mm512_maskz_loadu_epi16((__mmask32)valid, pcm + at);
    const __m512i y = valid >> 32 ? _mm512_maskz_loadu_epi16((__mmask32)(valid >> 32), pcm + at + 32) : _mm512_setzero_si512();
    _mm512_mask_storeu_epi8(bytes + at, valid, encode64_avx512(law, &e, x, y));
}

AUDIO_TARGET_AVX512 static void decode_ulaw_avx512(const uint8_t *bytes, int16_t *pcm, size_t samples) { decode_avx512(G711_ULAW, bytes, pcm, samples); }
AUDIO_TARGET_AVX512 static void decode_alaw_avx512(const uint8_t *bytes, int16_t *pcm, size_t samples) { decode_avx512(G711_ALAW, bytes, pcm, samples); }
AUDIO_TARGET_AVX512 static void encode_ulaw_avx512(const int16_t *pcm, uint8_t *bytes, size_t samples) { encode_avx512(G711_ULAW, pcm, bytes, samples); }
AUDIO_TARGET_AVX512 static void encode_alaw_avx512(const int16_t *pcm, uint8_t *bytes, size_t samples) { encode_avx512(G711_ALAW, pcm, bytes, samples); }
AUDIO_TARGET_AVX512 static void widen_avx512(const int16_t *pcm, float *target, size_t samples) { widen(pcm, target, samples); }

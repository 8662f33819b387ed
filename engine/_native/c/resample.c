/* Polyphase filters. With up/down = L/M the input is taken in groups of M samples, each of which makes L. Sample m of every group is a stream of its
   own, and output p of every group a sum over the streams of plain convolutions: so both sides of each product lie next to each other in memory,
   whatever the ratio, and vectors go along the outputs. All of it is whole numbers, so every way gives the same bits, and so does any division
   of a stream into blocks. */
#include "resample.h"

#include <string.h>

#include "audio_way.h"

struct resample_filter {
    uint8_t up, down;
    uint16_t taps, delay;    /* a stream; samples at the output rate */
    const int16_t *taps_of;  /* [output][stream][taps / 2]{2 high halves, 2 low halves} */
};

#include "resample_filters.h"

_Static_assert(RESAMPLE_HISTORY_NEEDED <= RESAMPLE_HISTORY, "the history is too short for the filters");

#define RESAMPLE_RATIO_MAX 6
#define RESAMPLE_BLOCK 256u /* groups at a time */
#define RESAMPLE_STEP 32u   /* outputs at a time: what is behind the last one is computed and thrown away */
#define RUNS_MAX 5
#define RESAMPLE_ROW (RESAMPLE_WIDTH_MAX + RESAMPLE_BLOCK + 30)
#define FILTER_COUNT (sizeof FILTERS / sizeof FILTERS[0])
#define SCALE_BITS 14 /* of a high half: 1 is 1 << 14 */

/* high * 2^LOW_BITS + low, to the nearest, halves up. */
TL_INLINE int16_t sample_of(int32_t high, int32_t low) {
    const int32_t value = (high + (low >> RESAMPLE_LOW_BITS) + (1 << (SCALE_BITS - 1))) >> SCALE_BITS;
    return (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
}

static void sums_scalar(const struct resample_filter *f, const int16_t *taps, const int16_t *rows, uint32_t count, int16_t *made) {
    for (uint32_t at = 0; at < count; at += 32) {
        int32_t high[32] = {0}, low[32] = {0};
        const int16_t *tap = taps;
        for (uint32_t m = 0; m < f->down; m++) {
            const int16_t *x = rows + m * RESAMPLE_ROW + at;
            for (uint32_t s = 0; s < f->taps; s += 2, tap += 4, x += 2)
                for (uint32_t i = 0; i < 32; i++) {
                    high[i] += x[i] * tap[0] + x[i + 1] * tap[1];
                    low[i] += x[i] * tap[2] + x[i + 1] * tap[3];
                }
        }
        for (uint32_t i = 0; i < 32; i++) made[at + i] = sample_of(high[i], low[i]);
    }
}

#define RESAMPLE_WAY(name) name##_scalar
#define RESAMPLE_TARGET
#define RESAMPLE_INLINE TL_INLINE
#include "resample_walk.h"
#undef RESAMPLE_WAY
#undef RESAMPLE_TARGET
#undef RESAMPLE_INLINE

#if defined(__x86_64__)
TL_INLINE int32_t pair_of(const int16_t *taps) {
    int32_t pair;
    memcpy(&pair, taps, sizeof pair);
    return pair;
}

/* Outputs with even numbers and with odd ones: each 32 bits of input are the two samples that a pair of taps goes over. */
AUDIO_AVX2_INLINE __m256i finish_avx2(__m256i high, __m256i low) {
    const __m256i whole = _mm256_add_epi32(_mm256_add_epi32(high, _mm256_srai_epi32(low, RESAMPLE_LOW_BITS)), _mm256_set1_epi32(1 << (SCALE_BITS - 1)));
    return _mm256_srai_epi32(whole, SCALE_BITS);
}

AUDIO_TARGET_AVX2 static void sums_avx2(const struct resample_filter *f, const int16_t *taps, const int16_t *rows, uint32_t count, int16_t *made) {
    for (uint32_t at = 0; at < count; at += 32) {
        __m256i high[4], low[4]; /* even, odd, and of the 16 outputs behind */
        for (int i = 0; i < 4; i++) high[i] = low[i] = _mm256_setzero_si256();
        const int16_t *tap = taps;
        for (uint32_t m = 0; m < f->down; m++) {
            const int16_t *x = rows + m * RESAMPLE_ROW + at;
            for (uint32_t s = 0; s < f->taps; s += 2, tap += 4, x += 2) {
                const __m256i h = _mm256_set1_epi32(pair_of(tap)), l = _mm256_set1_epi32(pair_of(tap + 2));
                for (int i = 0; i < 4; i++) {
                    const __m256i in = _mm256_loadu_si256((const __m256i *)(x + i % 2 + i / 2 * 16));
                    high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(in, h));
                    low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(in, l));
                }
            }
        }
        for (int i = 0; i < 4; i += 2) {
            const __m256i even = finish_avx2(high[i], low[i]), odd = finish_avx2(high[i + 1], low[i + 1]);
            const __m256i packed = _mm256_packs_epi32(even, odd); /* in each half: 4 even, 4 odd */
            const __m256i order = _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
            _mm256_storeu_si256((__m256i *)(made + at + i * 8), _mm256_shuffle_epi8(packed, order));
        }
    }
}

AUDIO_AVX512_INLINE __m512i finish_avx512(__m512i high, __m512i low) {
    const __m512i whole = _mm512_add_epi32(_mm512_add_epi32(high, _mm512_srai_epi32(low, RESAMPLE_LOW_BITS)), _mm512_set1_epi32(1 << (SCALE_BITS - 1)));
    return _mm512_srai_epi32(whole, SCALE_BITS);
}

AUDIO_AVX512_INLINE void store32_avx512(__m512i even_high, __m512i even_low, __m512i odd_high, __m512i odd_low, int16_t *made) {
    const __m512i packed = _mm512_packs_epi32(finish_avx512(even_high, even_low), finish_avx512(odd_high, odd_low)); /* by quarters: 4 even, 4 odd */
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    _mm512_storeu_si512(made, _mm512_shuffle_epi8(packed, order));
}

/* As _mm512_dpwssd_epi32, of which GCC 12 and 13 keep the old sum in another register at every turn. */
AUDIO_AVX512_INLINE void dot_add(__m512i *sum, __m512i x, __m512i taps) { __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(taps)); }

/* 32 times `runs` outputs: the more at once, the fewer times the taps are read. */
AUDIO_AVX512_INLINE void sums32_avx512(const struct resample_filter *f, const int16_t *tap, const int16_t *rows, const int runs, int16_t *made) {
    __m512i even_high[RUNS_MAX], even_low[RUNS_MAX], odd_high[RUNS_MAX], odd_low[RUNS_MAX];
    for (int i = 0; i < runs; i++) even_high[i] = even_low[i] = odd_high[i] = odd_low[i] = _mm512_setzero_si512();
    for (uint32_t m = 0; m < f->down; m++) {
        const int16_t *x = rows + m * RESAMPLE_ROW;
        for (uint32_t s = 0; s < f->taps; s += 2, tap += 4, x += 2) {
            const __m512i high = _mm512_set1_epi32(pair_of(tap)), low = _mm512_set1_epi32(pair_of(tap + 2));
#pragma GCC unroll 8
            for (int i = 0; i < runs; i++) {
                const __m512i even = _mm512_loadu_si512(x + 32 * i), odd = _mm512_loadu_si512(x + 32 * i + 1);
                dot_add(&even_high[i], even, high);
                dot_add(&even_low[i], even, low);
                dot_add(&odd_high[i], odd, high);
                dot_add(&odd_low[i], odd, low);
            }
        }
    }
    for (int i = 0; i < runs; i++) store32_avx512(even_high[i], even_low[i], odd_high[i], odd_low[i], made + 32 * i);
}

AUDIO_TARGET_AVX512 static void sums_avx512(const struct resample_filter *f, const int16_t *taps, const int16_t *rows, uint32_t count, int16_t *made) {
    uint32_t left = (count + 31) / 32; /* 160 samples, a frame at 8 kHz, are one turn of 5 */
    while (left) {
        const uint32_t runs = left >= 5 ? 5 : left == 4 ? 2 : left;
        if (runs == 5) sums32_avx512(f, taps, rows, 5, made);
        else if (runs == 3) sums32_avx512(f, taps, rows, 3, made);
        else if (runs == 2) sums32_avx512(f, taps, rows, 2, made);
        else sums32_avx512(f, taps, rows, 1, made);
        rows += 32 * runs;
        made += 32 * runs;
        left -= runs;
    }
}

#define RESAMPLE_WAY(name) name##_avx2
#define RESAMPLE_TARGET AUDIO_TARGET_AVX2
#define RESAMPLE_INLINE AUDIO_AVX2_INLINE
#include "resample_walk.h"
#undef RESAMPLE_WAY
#undef RESAMPLE_TARGET
#undef RESAMPLE_INLINE

#define RESAMPLE_WAY(name) name##_avx512
#define RESAMPLE_TARGET AUDIO_TARGET_AVX512
#define RESAMPLE_INLINE AUDIO_AVX512_INLINE
#include "resample_walk.h"
#endif

typedef void block_run(const struct resample_filter *f, int16_t *rows, const int16_t *in, uint32_t count, int16_t *out);
static block_run *const WAYS[AUDIO_LEVELS] = {
    [AUDIO_SCALAR] = block_scalar,
#if defined(__x86_64__)
    [AUDIO_AVX2] = block_avx2,
    [AUDIO_AVX512] = block_avx512,
#endif
};

static int rate_known(uint32_t hz) { return hz == 8000 || hz == 16000 || hz == 24000 || hz == 32000 || hz == 48000; }

int resample_start(struct resample *r, uint32_t from_hz, uint32_t to_hz) {
    memset(r, 0, sizeof *r);
    r->from_hz = from_hz;
    r->to_hz = to_hz;
    r->up = r->down = 1;
    if (!rate_known(from_hz) || !rate_known(to_hz)) return STATUS_UNSUPPORTED;
    for (size_t i = 0; i < FILTER_COUNT && from_hz != to_hz; i++)
        if (from_hz * FILTERS[i].up == to_hz * FILTERS[i].down) {
            r->up = FILTERS[i].up;
            r->down = FILTERS[i].down;
            r->taps = FILTERS[i].taps;
            r->filter = &FILTERS[i];
        }
    return 0;
}

uint32_t resample_room(const struct resample *r, uint32_t samples) {
    if (!r->filter) return samples;
    const uint64_t room = ((uint64_t)samples + r->held) / r->down * r->up;
    return room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
}

uint32_t resample_delay(const struct resample *r) { return r->filter ? ((const struct resample_filter *)r->filter)->delay : 0; }

/* Whole groups through the filter, a block at a time. `rows` begin with the histories and keep them. */
static void groups_run(const struct resample_filter *f, int16_t *rows, const int16_t *in, uint32_t count, int16_t *out) {
    block_run *const run = WAYS[audio_level()];
    while (count) {
        const uint32_t now = count < RESAMPLE_BLOCK ? count : RESAMPLE_BLOCK;
        run(f, rows, in, now, out);
        for (uint32_t m = 0; m < f->down; m++)
            memmove(rows + m * RESAMPLE_ROW, rows + m * RESAMPLE_ROW + now, (f->taps - 1u) * sizeof *rows);
        in += now * f->down;
        out += now * f->up;
        count -= now;
    }
}

int resample_run(struct resample *r, const int16_t *in, uint32_t samples, int16_t *out, uint32_t room) {
    const struct resample_filter *f = r->filter;
    const uint32_t needed = resample_room(r, samples);
    if (needed > room || needed > INT32_MAX) return STATUS_TOO_SMALL;
    if (!f) {
        if (samples) memcpy(out, in, samples * sizeof *in);
        return (int)samples;
    }
    int16_t *const waiting = r->history + r->down * (r->taps - 1);
    if (!needed) {
        if (samples) memcpy(waiting + r->held, in, samples * sizeof *in);
        r->held += samples;
        return 0;
    }
    int16_t rows[RESAMPLE_RATIO_MAX * RESAMPLE_ROW];
    for (uint32_t m = 0; m < r->down; m++) memcpy(rows + m * RESAMPLE_ROW, r->history + m * (r->taps - 1), (r->taps - 1) * sizeof *rows);
    if (r->held) { /* the group that began before */
        const uint32_t missing = r->down - r->held;
        memcpy(waiting + r->held, in, missing * sizeof *in);
        groups_run(f, rows, waiting, 1, out);
        in += missing;
        samples -= missing;
        out += r->up;
    }
    groups_run(f, rows, in, samples / r->down, out);
    r->held = samples % r->down;
    for (uint32_t m = 0; m < r->down; m++) memcpy(r->history + m * (r->taps - 1), rows + m * RESAMPLE_ROW, (r->taps - 1) * sizeof *rows);
    if (r->held) memcpy(waiting, in + samples - r->held, r->held * sizeof *in);
    return (int)needed;
}

/* Sums, gains and levels: mix_walk.h, once for each set of instructions. */
#include "mix.h"

#include <math.h>

#include "audio_way.h"

#define MIX_BITS 12 /* of a gain: 1 is 1 << 12 */
#define MIX_HALF (1 << (MIX_BITS - 1))
#define SLOPE_BITS 15
#define SLOPE_BLOCK 256u
#define MEASURE_BLOCK 32768u /* sums of halves of squares stay in 32 bits */
#define OVERLOAD 32767.0     /* 0 dBov is a square wave of this (RFC 6464 4, appendix A) */

TL_INLINE int16_t saturated(int32_t value) { return (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value); }

#define MIX_WAY(name) name##_scalar
#define MIX_TARGET
#include "mix_walk.h"
#undef MIX_WAY
#undef MIX_TARGET

#if defined(__x86_64__)
#define MIX_WAY(name) name##_avx2
#define MIX_TARGET AUDIO_TARGET_AVX2
#include "mix_walk.h"
#undef MIX_WAY
#undef MIX_TARGET

#define MIX_WAY(name) name##_avx512
#define MIX_TARGET AUDIO_TARGET_AVX512
#include "mix_walk.h"
#endif

static const struct {
    void (*add)(int32_t *restrict sum, const int16_t *restrict pcm, size_t samples);
    void (*out)(const int32_t *restrict sum, int16_t *restrict out, size_t samples);
    void (*out_others)(const int32_t *restrict sum, const int16_t *own, int16_t *out, size_t samples);
    void (*gain)(int16_t *pcm, size_t samples, int32_t gain);
    void (*slope)(int16_t *pcm, uint32_t samples, int32_t from, int32_t step);
    void (*measure)(const int16_t *pcm, uint32_t samples, struct mix_level *level);
} WAYS[AUDIO_LEVELS] = {
    [AUDIO_SCALAR] = {add_scalar, out_scalar, out_others_scalar, gain_scalar, slope_scalar, measure_scalar},
#if defined(__x86_64__)
    [AUDIO_AVX2] = {add_avx2, out_avx2, out_others_avx2, gain_avx2, slope_avx2, measure_avx2},
    [AUDIO_AVX512] = {add_avx512, out_avx512, out_others_avx512, gain_avx512, slope_avx512, measure_avx512},
#endif
};

void mix_add(int32_t *sum, const int16_t *pcm, size_t samples) { WAYS[audio_level()].add(sum, pcm, samples); }

void mix_out(const int32_t *sum, const int16_t *own, int16_t *out, size_t samples) {
    if (own) WAYS[audio_level()].out_others(sum, own, out, samples);
    else WAYS[audio_level()].out(sum, out, samples);
}

static int32_t gain_bounded(uint32_t gain_4096) { return (int32_t)(gain_4096 < UINT16_MAX ? gain_4096 : UINT16_MAX); }

void mix_gain(int16_t *pcm, size_t samples, uint32_t gain_4096) { WAYS[audio_level()].gain(pcm, samples, gain_bounded(gain_4096)); }

void mix_fade(int16_t *pcm, size_t samples, uint32_t from_4096, uint32_t to_4096) {
    const enum audio_level level = audio_level();
    const int32_t from = gain_bounded(from_4096), to = gain_bounded(to_4096);
    for (size_t at = 0; at < samples; at += SLOPE_BLOCK) { /* each begins anew, so that steps cut off do not add up */
        const uint32_t count = samples - at < SLOPE_BLOCK ? (uint32_t)(samples - at) : SLOPE_BLOCK;
        const double step = (double)(to - from) * (1 << SLOPE_BITS) / (double)samples;
        WAYS[level].slope(pcm + at, count, (int32_t)((double)from * (1 << SLOPE_BITS) + step * (double)at), (int32_t)step);
    }
}

void mix_measure(const int16_t *pcm, size_t samples, struct mix_level *level) {
    const enum audio_level way = audio_level();
    for (size_t at = 0; at < samples; at += MEASURE_BLOCK)
        WAYS[way].measure(pcm + at, samples - at < MEASURE_BLOCK ? (uint32_t)(samples - at) : MEASURE_BLOCK, level);
}

uint8_t mix_dbov(const struct mix_level *level, uint64_t samples) {
    if (!samples || !level->squares) return 127;
    const double below = -10.0 * log10((double)level->squares / (double)samples / (OVERLOAD * OVERLOAD));
    return (uint8_t)(below <= 0 ? 0 : below >= 127 ? 127 : (int)(below + 0.5));
}

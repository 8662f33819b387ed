/* PCM arithmetic: sums of legs, gain, levels. */
#ifndef TRUNKLINE_MIX_H
#define TRUNKLINE_MIX_H

#include "status.h"

/* sum[i] += pcm[i] */
void mix_add(int32_t *sum, const int16_t *pcm, size_t samples);
/* out[i] = saturated(sum[i] - own[i]); own may be NULL: what a leg hears is all of the others. `own` may be `out`. */
void mix_out(const int32_t *sum, const int16_t *own, int16_t *out, size_t samples);
/* In place, to the nearest and saturated; gain in 1/4096 (0..65535; more is 65535). */
void mix_gain(int16_t *pcm, size_t samples, uint32_t gain_4096);
/* From one gain to another, linear over the samples (to 1/4096): no click. `to` is for the sample behind the last. */
void mix_fade(int16_t *pcm, size_t samples, uint32_t from_4096, uint32_t to_4096);

struct mix_level { uint64_t squares; int32_t peak; uint32_t clipped; };
void mix_measure(const int16_t *pcm, size_t samples, struct mix_level *level); /* adds to `level` */
/* dBov of a level over so many samples as RFC 6464 has it, 0..127 (127: silence). */
uint8_t mix_dbov(const struct mix_level *level, uint64_t samples);

#endif

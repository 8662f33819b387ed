/* PCM arithmetic for one set of instructions: included by mix.c for each, with MIX_WAY (suffix) and MIX_TARGET set. Plain loops, which the compiler
   makes vectors of that set of. */

MIX_TARGET static void MIX_WAY(add)(int32_t *restrict sum, const int16_t *restrict pcm, size_t samples) {
    for (size_t i = 0; i < samples; i++) sum[i] = (int32_t)((uint32_t)sum[i] + (uint32_t)pcm[i]);
}

MIX_TARGET static void MIX_WAY(out)(const int32_t *restrict sum, int16_t *restrict out, size_t samples) {
    for (size_t i = 0; i < samples; i++) out[i] = saturated(sum[i]);
}

/* `own` and `out` may be the same samples. */
MIX_TARGET static void MIX_WAY(out_others)(const int32_t *restrict sum, const int16_t *own, int16_t *out, size_t samples) {
#pragma GCC ivdep
    for (size_t i = 0; i < samples; i++) out[i] = saturated((int32_t)((uint32_t)sum[i] - (uint32_t)own[i]));
}

MIX_TARGET static void MIX_WAY(gain)(int16_t *pcm, size_t samples, int32_t gain) {
    for (size_t i = 0; i < samples; i++) pcm[i] = saturated((pcm[i] * gain + MIX_HALF) >> MIX_BITS);
}

/* The gain is `from` at the first sample and moves by `step` at each, both in 1/2^15 of a unit. */
MIX_TARGET static void MIX_WAY(slope)(int16_t *pcm, uint32_t samples, int32_t from, int32_t step) {
    for (uint32_t i = 0; i < samples; i++) {
        const int32_t gain = (from + (int32_t)i * step) >> SLOPE_BITS;
        pcm[i] = saturated((pcm[i] * gain + MIX_HALF) >> MIX_BITS);
    }
}

/* At most MEASURE_BLOCK samples. */
MIX_TARGET static void MIX_WAY(measure)(const int16_t *pcm, uint32_t samples, struct mix_level *level) {
    uint32_t low = 0, high = 0, clipped = 0;
    int32_t largest = 0, smallest = 0;
    for (uint32_t i = 0; i < samples; i++) {
        const int32_t sample = pcm[i];
        const uint32_t square = (uint32_t)(sample * sample);
        low += square & 0xffff;
        high += square >> 16;
        clipped += (uint32_t)(sample == INT16_MAX) + (uint32_t)(sample == INT16_MIN);
        largest = sample > largest ? sample : largest;
        smallest = sample < smallest ? sample : smallest;
    }
    level->squares += low + ((uint64_t)high << 16);
    level->clipped += clipped;
    if (largest > level->peak) level->peak = largest;
    if (-smallest > level->peak) level->peak = -smallest;
}

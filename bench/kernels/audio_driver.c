/* Loops over the audio kernels, and over what bounds them: memcpy, multiply-adds in registers. Each returns
   nanoseconds of the processor, so that what else runs does not count. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "g711.h"
#include "mix.h"
#include "resample.h"

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* Frames of u-law to samples and back to bytes. */
uint64_t drive_g711(const uint8_t *bytes, int16_t *pcm, uint8_t *again, uint32_t frames, uint32_t samples, uint32_t rounds) {
    const uint8_t **from = malloc(frames * sizeof *from);
    int16_t **middle = malloc(frames * sizeof *middle);
    uint8_t **to = malloc(frames * sizeof *to);
    for (uint32_t i = 0; i < frames; i++) from[i] = bytes + (size_t)i * samples, middle[i] = pcm + (size_t)i * samples, to[i] = again + (size_t)i * samples;
    const uint64_t begin = now_ns();
    for (uint32_t round = 0; round < rounds; round++) {
        g711_decode_batch(G711_ULAW, from, middle, frames, samples);
        g711_encode_batch(G711_ULAW, (const int16_t *const *)middle, to, frames, samples);
    }
    const uint64_t taken = now_ns() - begin;
    free(from);
    free(middle);
    free(to);
    return taken;
}

/* The same by tables of 256 samples and 65,536 bytes, as C programs have it. */
uint64_t drive_tables(const uint8_t *bytes, int16_t *pcm, uint8_t *again, uint32_t frames, uint32_t samples, uint32_t rounds) {
    static int16_t decoded[256];
    static uint8_t encoded[65536];
    for (uint32_t i = 0; i < 65536; i++) {
        const int16_t sample = (int16_t)(uint16_t)i;
        g711_encode(G711_ULAW, &sample, &encoded[i], 1);
        if (i < 256) g711_decode(G711_ULAW, &(uint8_t){(uint8_t)i}, &decoded[i], 1);
    }
    const uint64_t begin = now_ns();
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t frame = 0; frame < frames; frame++) {
            const size_t at = (size_t)frame * samples;
            for (uint32_t i = 0; i < samples; i++) pcm[at + i] = decoded[bytes[at + i]];
            for (uint32_t i = 0; i < samples; i++) again[at + i] = encoded[(uint16_t)pcm[at + i]];
            __asm__ volatile("" ::: "memory");
        }
    return now_ns() - begin;
}

/* One long block, decoded and encoded; `told`: nanoseconds of each. */
uint64_t drive_g711_long(const uint8_t *bytes, int16_t *pcm, uint8_t *again, uint64_t samples, uint64_t told[2]) {
    const uint64_t begin = now_ns();
    g711_decode(G711_ULAW, bytes, pcm, samples);
    told[0] = now_ns() - begin;
    g711_encode(G711_ULAW, pcm, again, samples);
    told[1] = now_ns() - begin - told[0];
    return told[0] + told[1];
}

/* memcpy in blocks. */
uint64_t drive_copy(const uint8_t *from, uint8_t *to, uint64_t block, uint64_t blocks, uint32_t rounds) {
    const uint64_t begin = now_ns();
    for (uint32_t round = 0; round < rounds; round++)
        for (uint64_t i = 0; i < blocks; i++) {
            memcpy(to + i * block, from + i * block, block);
            __asm__ volatile("" ::: "memory");
        }
    return now_ns() - begin;
}

/* Every leg hears all of the others: legs of `samples` after one another. */
uint64_t drive_mix(const int16_t *legs, int16_t *heard, uint32_t count, uint32_t samples, uint32_t rounds) {
    int32_t *sum = malloc(samples * sizeof *sum);
    const uint64_t begin = now_ns();
    for (uint32_t round = 0; round < rounds; round++) {
        memset(sum, 0, samples * sizeof *sum);
        for (uint32_t i = 0; i < count; i++) mix_add(sum, legs + (size_t)i * samples, samples);
        for (uint32_t i = 0; i < count; i++) mix_out(sum, legs + (size_t)i * samples, heard + (size_t)i * samples, samples);
    }
    const uint64_t taken = now_ns() - begin;
    free(sum);
    return taken;
}

/* A frame of each stream in turn, each stream with a state of its own. The last round's samples stay in `out`. */
uint64_t drive_resample(const int16_t *in, int16_t *out, uint32_t from_hz, uint32_t to_hz, uint32_t streams, uint32_t samples, uint32_t rounds) {
    struct resample *states = malloc(streams * sizeof *states);
    for (uint32_t i = 0; i < streams; i++) resample_start(&states[i], from_hz, to_hz);
    const uint32_t room = resample_room(&states[0], samples);
    const uint64_t begin = now_ns();
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < streams; i++) resample_run(&states[i], in + (size_t)i * samples, samples, out + (size_t)i * room, room);
    const uint64_t taken = now_ns() - begin;
    free(states);
    return taken;
}

/* Multiply-adds of 32-bit floats with nothing read or written: `rounds` times 64 vectors of `lanes`. */
#define FMA_LOOP(bytes)                                                                                 \
    typedef float vector __attribute__((vector_size(bytes)));                                           \
    vector sums[8], factor = {0}, one = {0};                                                            \
    for (int i = 0; i < 8; i++) sums[i] = (vector){0} + (float)i;                                       \
    factor += 0.999f;                                                                                   \
    one += 0.001f;                                                                                      \
    for (uint64_t round = 0; round < rounds; round++)                                                   \
        for (int turn = 0; turn < 8; turn++)                                                            \
            for (int i = 0; i < 8; i++) sums[i] = sums[i] * factor + one;                               \
    for (int i = 1; i < 8; i++) sums[0] += sums[i];                                                     \
    *sink = sums[0][0];

#if defined(__x86_64__)
__attribute__((target("avx512f,prefer-vector-width=512"))) static void fma_avx512(uint64_t rounds, float *sink) { FMA_LOOP(64) }
__attribute__((target("avx2,fma"))) static void fma_avx2(uint64_t rounds, float *sink) { FMA_LOOP(32) }
#endif
static void fma_plain(uint64_t rounds, float *sink) { FMA_LOOP(16) }

uint64_t drive_fma(uint64_t rounds, uint32_t *lanes) {
    void (*run)(uint64_t, float *) = fma_plain;
    volatile float kept;
    float sink;
    *lanes = 4;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) run = fma_avx512, *lanes = 16;
    else if (__builtin_cpu_supports("fma")) run = fma_avx2, *lanes = 8;
#endif
    const uint64_t begin = now_ns();
    run(rounds, &sink);
    kept = sink;
    (void)kept;
    return now_ns() - begin;
}

/* The laws as plain arithmetic, which compilers make vectors of, and which way runs. Wider ones are in g711_x86.h.

   Encoding is as the field does it (Sun's g711, Python's audioop): a sample's low two bits (u-law) or three (A-law) are cut off by an arithmetic
   shift, so that a negative one goes down, and the rest is coded as ITU-T G.711 has it. */
#include "g711.h"

#include <stdlib.h>
#include <string.h>

#include "audio_way.h"

/* Bits turned over on the wire: all for u-law, every other one and the sign for A-law. It is the code of the smallest positive sample. */
TL_INLINE unsigned g711_flip(enum g711_law law) { return law == G711_ULAW ? G711_ULAW_SILENCE : G711_ALAW_SILENCE; }

TL_INLINE float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

TL_INLINE uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* A segment and its mantissa are the exponent of a float and the first bits of its fraction: 1.mmmm1 times 2^(segment + 7). */
TL_INLINE void decode_scalar(enum g711_law law, const uint8_t *bytes, int16_t *pcm, size_t samples) {
    for (size_t i = 0; i < samples; i++) {
        const int32_t code = bytes[i] ^ (int32_t)g711_flip(law), seven = code & 0x7f;
        int32_t value = (int32_t)float_of_bits(((uint32_t)seven << 19) + (134u << 23) + (1u << 18));
        if (law == G711_ULAW) value -= 132;
        else value = seven < 16 ? seven * 16 + 8 : value;
        const int32_t negative = -(code >> 7);
        pcm[i] = (int16_t)((value ^ negative) - negative);
    }
}

TL_INLINE void encode_scalar(enum g711_law law, const int16_t *pcm, uint8_t *bytes, size_t samples) {
    for (size_t i = 0; i < samples; i++) {
        const int32_t sample = pcm[i], negative = sample >> 15;
        int32_t code;
        if (law == G711_ULAW) {
            const int32_t v = (((sample >> 2) ^ negative) - negative) + 33; /* the bias makes every segment logarithmic */
            code = (int32_t)(bits_of_float((float)(v < 8191 ? v : 8191)) >> 19) - (132 << 4);
        } else {
            const int32_t v = (sample >> 3) ^ negative, linear = v >> 1 < 15 ? v >> 1 : 15;
            code = (int32_t)(bits_of_float((float)v) >> 19) - (131 << 4);
            code = code > linear ? code : linear; /* the first segment is linear */
        }
        bytes[i] = (uint8_t)(code ^ (int32_t)g711_flip(law) ^ (negative & 0x80));
    }
}

TL_INLINE void widen(const int16_t *pcm, float *target, size_t samples) {
    for (size_t i = 0; i < samples; i++) target[i] = (float)pcm[i] * (1.0f / 32768.0f);
}

static void decode_ulaw_scalar(const uint8_t *bytes, int16_t *pcm, size_t samples) { decode_scalar(G711_ULAW, bytes, pcm, samples); }
static void decode_alaw_scalar(const uint8_t *bytes, int16_t *pcm, size_t samples) { decode_scalar(G711_ALAW, bytes, pcm, samples); }
static void encode_ulaw_scalar(const int16_t *pcm, uint8_t *bytes, size_t samples) { encode_scalar(G711_ULAW, pcm, bytes, samples); }
static void encode_alaw_scalar(const int16_t *pcm, uint8_t *bytes, size_t samples) { encode_scalar(G711_ALAW, pcm, bytes, samples); }
static void widen_scalar(const int16_t *pcm, float *target, size_t samples) { widen(pcm, target, samples); }

#if defined(__x86_64__)
#include "g711_x86.h"
#endif

/* ---- which one runs ---- */

typedef void decode_run(const uint8_t *bytes, int16_t *pcm, size_t samples);
typedef void encode_run(const int16_t *pcm, uint8_t *bytes, size_t samples);

static const struct {
    const char *name;
    decode_run *decode[2];
    encode_run *encode[2];
    void (*widen)(const int16_t *pcm, float *target, size_t samples);
} WAYS[] = {
    [AUDIO_SCALAR] = {"scalar", {decode_ulaw_scalar, decode_alaw_scalar}, {encode_ulaw_scalar, encode_alaw_scalar}, widen_scalar},
#if defined(__x86_64__)
    [AUDIO_AVX2] = {"avx2", {decode_ulaw_avx2, decode_alaw_avx2}, {encode_ulaw_avx2, encode_alaw_avx2}, widen_avx2},
    [AUDIO_AVX512] = {"avx512", {decode_ulaw_avx512, decode_alaw_avx512}, {encode_ulaw_avx512, encode_alaw_avx512}, widen_avx512},
#endif
};
#define WAY_COUNT (sizeof WAYS / sizeof WAYS[0])

static int chosen = -1; /* set once; every writer writes what the machine allows */

static int runs_here(size_t level) {
#if defined(__x86_64__)
    if (level == AUDIO_AVX2) return __builtin_cpu_supports("avx2");
    if (level == AUDIO_AVX512)
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
               __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2");
#endif
    return level == AUDIO_SCALAR;
}

int audio_choose(const char *name) {
    for (size_t level = 0; level < WAY_COUNT; level++)
        if (!strcmp(WAYS[level].name, name) && runs_here(level)) {
            __atomic_store_n(&chosen, (int)level, __ATOMIC_RELAXED);
            return 0;
        }
    return STATUS_UNSUPPORTED;
}

/* The one that TRUNKLINE_AUDIO_WAY names, which every extension that links this file reads; else the best. */
static __attribute__((noinline)) int choose_first(void) {
    const char *wanted = getenv("TRUNKLINE_AUDIO_WAY");
    if (!wanted || audio_choose(wanted)) {
        size_t level = WAY_COUNT - 1;
        while (!runs_here(level)) level--;
        __atomic_store_n(&chosen, (int)level, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&chosen, __ATOMIC_RELAXED);
}

enum audio_level audio_level(void) {
    const int level = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    return (enum audio_level)(TL_LIKELY(level >= 0) ? level : choose_first());
}

const char *audio_way(void) { return WAYS[audio_level()].name; }

uint32_t audio_ways(const char **names, uint32_t room) {
    uint32_t count = 0;
    for (size_t level = 0; level < WAY_COUNT && count < room; level++)
        if (runs_here(level)) names[count++] = WAYS[level].name;
    return count;
}

/* ---- what others call ---- */

void g711_decode(enum g711_law law, const uint8_t *bytes, int16_t *pcm, size_t samples) { WAYS[audio_level()].decode[law](bytes, pcm, samples); }

void g711_encode(enum g711_law law, const int16_t *pcm, uint8_t *bytes, size_t samples) { WAYS[audio_level()].encode[law](pcm, bytes, samples); }

void g711_decode_float(enum g711_law law, const uint8_t *bytes, float *pcm, size_t samples) {
    const enum audio_level level = audio_level();
    int16_t block[512]; /* stays in the first cache */
    for (size_t at = 0; at < samples; at += 512) {
        const size_t count = samples - at < 512 ? samples - at : 512;
        WAYS[level].decode[law](bytes + at, block, count);
        WAYS[level].widen(block, pcm + at, count);
    }
}

void g711_decode_batch(enum g711_law law, const uint8_t *const *frames, int16_t *const *pcm, uint32_t frame_count, uint32_t samples) {
    decode_run *const run = WAYS[audio_level()].decode[law];
    for (uint32_t i = 0; i < frame_count; i++) run(frames[i], pcm[i], samples);
}

void g711_encode_batch(enum g711_law law, const int16_t *const *pcm, uint8_t *const *frames, uint32_t frame_count, uint32_t samples) {
    encode_run *const run = WAYS[audio_level()].encode[law];
    for (uint32_t i = 0; i < frame_count; i++) run(pcm[i], frames[i], samples);
}

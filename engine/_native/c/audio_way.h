/* Private to the audio kernels: which set of instructions they use. g711.c keeps the choice (audio_choose) for all of them. */
#ifndef TRUNKLINE_AUDIO_WAY_H
#define TRUNKLINE_AUDIO_WAY_H

#include "status.h"

/* Scalar is plain C, of which the compiler makes what the machine's baseline allows. avx512 has byte permutes and dot products too (VBMI, VNNI). */
enum audio_level { AUDIO_SCALAR, AUDIO_AVX2, AUDIO_AVX512, AUDIO_LEVELS };

enum audio_level audio_level(void);

#if defined(__x86_64__)
#include <immintrin.h>
#define AUDIO_TARGET_AVX2 __attribute__((target("avx2")))
#if defined(__clang__)
#define AUDIO_WIDE
#else
#define AUDIO_WIDE ",prefer-vector-width=512" /* GCC would make vectors of 256 bits of plain loops */
#endif
#define AUDIO_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni,avx2,bmi2" AUDIO_WIDE)))
#define AUDIO_AVX2_INLINE AUDIO_TARGET_AVX2 static inline __attribute__((always_inline))
#define AUDIO_AVX512_INLINE AUDIO_TARGET_AVX512 static inline __attribute__((always_inline))
#endif

#endif

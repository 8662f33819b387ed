/* G.711 (ITU-T G.711), in batches as wide as the processor allows; every way gives the same bytes as the scalar one. */
#ifndef TRUNKLINE_G711_H
#define TRUNKLINE_G711_H

#include "status.h"

enum g711_law { G711_ULAW = 0, G711_ALAW = 1 };

void g711_decode(enum g711_law law, const uint8_t *bytes, int16_t *pcm, size_t samples);
void g711_encode(enum g711_law law, const int16_t *pcm, uint8_t *bytes, size_t samples);
/* To floats of -1..1, what models read. */
void g711_decode_float(enum g711_law law, const uint8_t *bytes, float *pcm, size_t samples);
/* Many frames at once, each of `samples`: frames[i] to pcm[i]. */
void g711_decode_batch(enum g711_law law, const uint8_t *const *frames, int16_t *const *pcm, uint32_t frame_count, uint32_t samples);
void g711_encode_batch(enum g711_law law, const int16_t *const *pcm, uint8_t *const *frames, uint32_t frame_count, uint32_t samples);
#define G711_ULAW_SILENCE 0xff
#define G711_ALAW_SILENCE 0xd5

/* The ways this processor has, best last, "scalar" first; and the one in use. Returns STATUS_UNSUPPORTED for a name that is not among them. */
uint32_t audio_ways(const char **names, uint32_t room);
const char *audio_way(void);
int audio_choose(const char *name);

#endif

/* Sample rates among 8, 16, 24, 32 and 48 kHz by polyphase filters over whole ratios: state per stream, any block length, exact long-run count. */
#ifndef TRUNKLINE_RESAMPLE_H
#define TRUNKLINE_RESAMPLE_H

#include "status.h"

#define RESAMPLE_HISTORY 480

struct resample {
    uint32_t from_hz, to_hz, up, down;
    uint32_t taps;                  /* on each of `down` streams that the input is dealt out to */
    uint32_t held;                  /* samples in that make no whole group of `down` yet: behind the history */
    const void *filter;             /* a constant table of resample_filters.h; NULL: equal rates */
    int16_t history[RESAMPLE_HISTORY]; /* the last taps - 1 samples of each stream */
};
/* 0, or STATUS_UNSUPPORTED for rates it does not know. Equal rates copy. */
int resample_start(struct resample *r, uint32_t from_hz, uint32_t to_hz);
/* Most samples that `samples` in can give: exactly what they will give. */
uint32_t resample_room(const struct resample *r, uint32_t samples);
/* Returns samples written, or STATUS_TOO_SMALL where room is less than resample_room says. `out` and `in` do not overlap. */
int resample_run(struct resample *r, const int16_t *in, uint32_t samples, int16_t *out, uint32_t room);
/* Samples that what goes in now comes out later by, at the output rate. */
uint32_t resample_delay(const struct resample *r);

#endif

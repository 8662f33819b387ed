/* Comfort noise (RFC 3389): noise of the level and colour a SID payload says, and SID payloads of silence. */
#ifndef TRUNKLINE_COMFORT_NOISE_H
#define TRUNKLINE_COMFORT_NOISE_H

#include "status.h"

#define COMFORT_NOISE_ORDER 12
#define COMFORT_NOISE_BYTES (1 + COMFORT_NOISE_ORDER) /* of our own SID payloads, at most */

struct comfort_noise {
    float predictor[COMFORT_NOISE_ORDER], past[COMFORT_NOISE_ORDER]; /* of the all-pole filter; newest first */
    float amplitude, target;        /* of what goes into the filter; moves from one to the other within some milliseconds */
    uint64_t random;
    uint8_t order;
    uint8_t known;                  /* a SID came */
};
void comfort_noise_start(struct comfort_noise *c, uint64_t seed);
/* A SID payload: level in -dBov, then reflection coefficients; more than 12 are passed over. STATUS_MALFORMED when empty. */
int comfort_noise_take(struct comfort_noise *c, const uint8_t *payload, uint32_t length);
/* Noise; silence where no SID came. */
void comfort_noise_make(struct comfort_noise *c, int16_t *pcm, uint32_t samples);
/* A SID payload for a block of background noise. Returns bytes (1..13) or STATUS_TOO_SMALL. */
int comfort_noise_measure(const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room);

/* DTX: whether a block is to be sent. 1 send it, 0 nothing, 2 send a SID (begin of silence, and every 400 ms while the level moves). Speech is what is
   9 dB above the noise, and 200 ms after it; the noise is learned from the quietest blocks and is never above -35 dBov. */
struct dtx {
    float noise_floor, last_sid_dbov; /* dBov */
    uint32_t hang_samples, since_sid, rate_hz;
    uint8_t in_silence;
};
void dtx_start(struct dtx *d, uint32_t rate_hz);
int dtx_decide(struct dtx *d, const int16_t *pcm, uint32_t samples);

#endif

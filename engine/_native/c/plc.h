/* What is heard instead of lost packets: the last pitch period again, fading (after the idea of ITU-T G.711 Appendix I), and joints without a click at
   both ends. For codecs that have nothing of their own. Nothing is delayed: as many samples come out as go in. */
#ifndef TRUNKLINE_PLC_H
#define TRUNKLINE_PLC_H

#include "status.h"

#define PLC_HISTORY 1692 /* 35 ms at 48 kHz: the longest period, and the window in which it is looked for */
#define PLC_NARROW 282   /* the same at 8 kHz */

struct plc {
    int16_t *history;               /* lent; what came and what was made up, before fading: a ring, in line while there is a loss */
    uint32_t rate_hz, kept;         /* kept: samples that this rate needs */
    uint32_t period;                /* of the pitch, in samples; found when a loss begins */
    uint32_t lost_samples;          /* made up since the last good ones */
    uint32_t oldest;                /* place in the ring: where the next good samples go */
    float jump;                     /* from what precedes the repeated period to the end of the good samples */
};
/* Samples of history that a rate needs: PLC_NARROW at 8 kHz, PLC_HISTORY at most. */
uint32_t plc_room(uint32_t rate_hz);
/* `history` has as many, and is zeroed. */
void plc_start(struct plc *p, uint32_t rate_hz, int16_t *history);
/* Good samples: remembered; their begin is joined in place where some were made up before. */
void plc_good(struct plc *p, int16_t *pcm, uint32_t samples);
/* Makes up samples: full for 10 ms, then fading to silence at 60 ms. */
void plc_lost(struct plc *p, int16_t *pcm, uint32_t samples);

#endif

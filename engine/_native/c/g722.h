/* G.722 at 64 kbit/s (ITU-T G.722 mode 1): two bands of ADPCM, 6 and 2 bits, behind a quadrature mirror filter. Bit-exact with the Recommendation. */
#ifndef TRUNKLINE_G722_H
#define TRUNKLINE_G722_H

#include "status.h"

/* One band: the adaptive predictor of two poles and six zeros, and the scale of the quantizer. Names as in the Recommendation, without L or H. */
typedef int16_t g722_eight __attribute__((vector_size(16)));
struct g722_band {
    g722_eight b, d;           /* zero section: coefficients and the last differences, newest first; lanes 6 and 7 of b are 0 */
    int32_t a1, a2, r1, r2;    /* pole section; r is twice the reconstructed signal, saturated */
    int32_t p1, p2;            /* -1 where the partly reconstructed signal was negative */
    int32_t s, sz;             /* prediction, and its zero section */
    int32_t nb, det;           /* scale: logarithmic and linear */
};

struct g722 {
    struct g722_band low, high;
    int16_t delay[2][12];      /* of the filter: 11 of each phase, oldest first */
};

void g722_decoder_start(struct g722 *g);
void g722_encoder_start(struct g722 *g);
/* `count` octets to 2 * count samples at 16 kHz, and back. */
void g722_decode(struct g722 *g, const uint8_t *octets, int16_t *pcm, uint32_t count);
void g722_encode(struct g722 *g, const int16_t *pcm, uint8_t *octets, uint32_t count);

#endif

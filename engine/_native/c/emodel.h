/* The E-model: from loss, delay and codec to R and MOS (ITU-T G.107, G.107.1, G.107.2, G.113 App. I). */
#ifndef TRUNKLINE_EMODEL_H
#define TRUNKLINE_EMODEL_H

#include "status.h"

enum emodel_band { EMODEL_NARROW = 0, EMODEL_WIDE, EMODEL_FULL };
enum emodel_source {
    EMODEL_NONE = 0, /* not audio */
    EMODEL_LISTED,   /* a published value, or the practice of other tools where ITU has none */
    EMODEL_STAND_IN  /* the value of a codec like it */
};
struct emodel_codec { float ie, bpl, look_ahead_ms; uint8_t band, source; };

/* Impairment of an enum sdp_codec. Unknown audio is rated as
   G.711 with concealment. Returns enum emodel_source. */
int emodel_of_codec(int codec, struct emodel_codec *target);
/* Ie,eff: loss in percent (discards included), BurstR >= 1
   (G.107 eq. 7-29). On the scale of the codec's band. */
double emodel_ie_effective(const struct emodel_codec *codec, double loss_percent, double burst_ratio);
/* Idd of the one-way delay in ms, echo cancelled (G.107 eq. 7-27). Narrow-band scale. */
double emodel_delay_impairment(double delay_ms);
/* R on the 0..100 scale: the wide- and full-band ones are divided by 1.29 and 1.48 so that they compare. */
double emodel_rating(const struct emodel_codec *codec, double loss_percent, double burst_ratio,
                     double delay_ms);
/* MOS of a 0..100 R, 1 to 4.5 (G.107 Annex B). */
double emodel_mos(double rating);
/* The effective-latency formula of many dashboards, for comparison only. */
double emodel_mos_simple(double one_way_ms, double jitter_ms, double loss_percent);

#endif

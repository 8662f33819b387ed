/* ITU-T G.107 with its default parameters (Ro - Is = 93.2), G.107.1 for wide band, G.107.2 for full band. */
#include "emodel.h"

#include <math.h>

#include "sdp.h"

#define G711_PLC_BPL 25.1f

static const struct { uint8_t codec; struct emodel_codec value; } listed[] = {
    {SDP_CODEC_PCMU, {0, G711_PLC_BPL, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_PCMA, {0, G711_PLC_BPL, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_L16, {0, G711_PLC_BPL, 0, EMODEL_NARROW, EMODEL_STAND_IN}},
    {SDP_CODEC_G729, {11, 19.0f, 5, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_G723, {15, 16.1f, 7.5f, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_AMR, {5, 10, 5, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_GSM_EFR, {5, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_GSM, {20, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_GSM_HR, {23, 10, 4.4f, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_G726_40, {2, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_G726_32, {7, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_AAL2_G726_32, {7, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_G721, {7, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_G726_24, {25, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_G726_16, {50, 10, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_G728, {7, 17, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_ILBC, {11, 20, 0, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_SPEEX, {10, 15, 10, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_SILK, {10, 15, 5, EMODEL_NARROW, EMODEL_LISTED}},
    {SDP_CODEC_DVI4, {7, 10, 0, EMODEL_NARROW, EMODEL_STAND_IN}},  /* 32 kbit/s ADPCM: as G.726-32 */
    {SDP_CODEC_QCELP, {20, 10, 0, EMODEL_NARROW, EMODEL_STAND_IN}}, /* as GSM full rate */
    {SDP_CODEC_LPC, {50, 10, 0, EMODEL_NARROW, EMODEL_STAND_IN}},   /* no better than G.726-16 */
    {SDP_CODEC_G722, {13, 10, 1.5f, EMODEL_WIDE, EMODEL_LISTED}},
    {SDP_CODEC_AMR_WB, {13, 10, 5, EMODEL_WIDE, EMODEL_LISTED}}, /* 12.65 kbit/s, the mode in common use */
    {SDP_CODEC_G7221, {13, 10, 20, EMODEL_WIDE, EMODEL_LISTED}},
    {SDP_CODEC_EVS, {8, 10, 12, EMODEL_WIDE, EMODEL_STAND_IN}},
    {SDP_CODEC_ISAC, {13, 10, 3, EMODEL_WIDE, EMODEL_STAND_IN}},
    {SDP_CODEC_OPUS, {10.2f, 4.3f, 6.5f, EMODEL_FULL, EMODEL_LISTED}}, /* practice; there is no ITU value */
    {SDP_CODEC_OTHER, {0, G711_PLC_BPL, 0, EMODEL_NARROW, EMODEL_STAND_IN}},
    {SDP_CODEC_RED, {0, G711_PLC_BPL, 0, EMODEL_NARROW, EMODEL_STAND_IN}}};

int emodel_of_codec(int codec, struct emodel_codec *target) {
    for (size_t k = 0; k < sizeof listed / sizeof *listed; k++)
        if (listed[k].codec == codec) {
            *target = listed[k].value;
            return target->source;
        }
    *target = (struct emodel_codec){0};
    return EMODEL_NONE;
}

double emodel_ie_effective(const struct emodel_codec *codec, double loss_percent, double burst_ratio) {
    if (!(loss_percent > 0)) return codec->ie;
    if (loss_percent > 100) loss_percent = 100;
    if (!(burst_ratio > 1)) burst_ratio = 1;
    const double most = codec->band == EMODEL_FULL ? 132.0 : 95.0;
    return codec->ie + (most - codec->ie) * loss_percent / (loss_percent / burst_ratio + codec->bpl);
}

double emodel_delay_impairment(double delay_ms) {
    if (!(delay_ms > 100)) return 0;
    const double x = log2(delay_ms / 100);
    return 25.0 * (pow(1 + pow(x, 6), 1.0 / 6) - 3 * pow(1 + pow(x / 3, 6), 1.0 / 6) + 2);
}

double emodel_rating(const struct emodel_codec *codec, double loss_percent, double burst_ratio,
                     double delay_ms) {
    const double ie = emodel_ie_effective(codec, loss_percent, burst_ratio);
    const double idd = emodel_delay_impairment(delay_ms);
    double rating = 93.2 - ie - idd;
    if (codec->band == EMODEL_WIDE) rating = (129.0 - ie - idd) / 1.29;
    if (codec->band == EMODEL_FULL) rating = (148.0 - ie - 1.48 * idd) / 1.48;
    return rating < 0 ? 0 : rating > 100 ? 100 : rating;
}

double emodel_mos(double rating) {
    if (!(rating > 0)) return 1.0;
    if (rating >= 100) return 4.5;
    const double mos = 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6;
    return mos < 1 ? 1.0 : mos; /* the polynomial dips below 1 for small R */
}

double emodel_mos_simple(double one_way_ms, double jitter_ms, double loss_percent) {
    const double latency = one_way_ms + 2 * jitter_ms + 10;
    const double r = latency < 160 ? 93.2 - latency / 40 : 93.2 - (latency - 120) / 10;
    return emodel_mos(r - 2.5 * loss_percent);
}

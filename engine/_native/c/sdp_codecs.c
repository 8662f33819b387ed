/* Encoding names and static payload types (RFC 3551 section 6, RFC 4855). */
#include "sdp_lines.h"

static const struct { const char *name; uint32_t clock_rate_hz; } codecs[SDP_CODEC_COUNT] = {
    {"", 0},
#define X(symbol, name, clock, pt) {name, clock},
    SDP_CODECS(X)
#undef X
};

const char *sdp_codec_name(int codec) {
    return codec > 0 && codec < SDP_CODEC_COUNT ? codecs[codec].name : "";
}

uint32_t sdp_codec_clock_hz(int codec) {
    return codec > 0 && codec < SDP_CODEC_COUNT ? codecs[codec].clock_rate_hz : 0;
}

const struct sdp_static sdp_static_types[SDP_STATIC_COUNT] = {
    [0] = {8000, SDP_CODEC_PCMU, 1}, [2] = {8000, SDP_CODEC_G721, 1}, [3] = {8000, SDP_CODEC_GSM, 1},
    [4] = {8000, SDP_CODEC_G723, 1}, [5] = {8000, SDP_CODEC_DVI4, 1}, [6] = {16000, SDP_CODEC_DVI4, 1},
    [7] = {8000, SDP_CODEC_LPC, 1}, [8] = {8000, SDP_CODEC_PCMA, 1}, [9] = {8000, SDP_CODEC_G722, 1},
    [10] = {44100, SDP_CODEC_L16, 2}, [11] = {44100, SDP_CODEC_L16, 1}, [12] = {8000, SDP_CODEC_QCELP, 1},
    [13] = {8000, SDP_CODEC_CN, 1}, [14] = {90000, SDP_CODEC_MPA, 1}, [15] = {8000, SDP_CODEC_G728, 1},
    [16] = {11025, SDP_CODEC_DVI4, 1}, [17] = {22050, SDP_CODEC_DVI4, 1}, [18] = {8000, SDP_CODEC_G729, 1},
    [19] = {8000, SDP_CODEC_CN, 1}, /* reserved: comfort noise of drafts before RFC 3389 */
    [25] = {90000, SDP_CODEC_OTHER, 1}, [26] = {90000, SDP_CODEC_OTHER, 1},
    [28] = {90000, SDP_CODEC_OTHER, 1},
    [31] = {90000, SDP_CODEC_H261, 1}, [32] = {90000, SDP_CODEC_OTHER, 1}, [33] = {90000, SDP_CODEC_OTHER, 1},
    [34] = {90000, SDP_CODEC_H263, 1}};

/* "AAL2-G726-<kbit/s>" (RFC 3551 section 4.5.4). */
static uint8_t aal2_codec(const uint8_t *from, const uint8_t *to) {
    if (to - from != 12 || from[8] != '6' || from[9] != '-') return SDP_CODEC_OTHER;
    if (from[10] == '1' && from[11] == '6') return SDP_CODEC_AAL2_G726_16;
    if (from[10] == '2' && from[11] == '4') return SDP_CODEC_AAL2_G726_24;
    if (from[10] == '3' && from[11] == '2') return SDP_CODEC_AAL2_G726_32;
    return from[10] == '4' && from[11] == '0' ? SDP_CODEC_AAL2_G726_40 : SDP_CODEC_OTHER;
}

#define NAME(a, b, c, d, e, f, g, h) case SDP_KEY(a, b, c, d, e, f, g, h)

/* Names of at least eight letters. `lowered` is the first eight. */
static uint8_t long_codec(uint64_t lowered, const uint8_t *from, const uint8_t *to) {
    switch (lowered) {
    NAME('t', 'e', 'l', 'e', 'p', 'h', 'o', 'n'): /* in most descriptions: the end as one word too */
        if (to - from != 15) return SDP_CODEC_OTHER;
        return sdp_lower(sdp_load(to - 8)) == SDP_KEY('n', 'e', '-', 'e', 'v', 'e', 'n', 't')
                   ? SDP_CODEC_TELEPHONE_EVENT : SDP_CODEC_OTHER;
    NAME('a', 'a', 'l', '2', '-', 'g', '7', '2'): return aal2_codec(from, to);
    NAME('g', 's', 'm', '-', 'h', 'r', '-', '0'): 
        return to - from == 9 && from[8] == '8' ? SDP_CODEC_GSM_HR : SDP_CODEC_OTHER;
    default: return SDP_CODEC_OTHER;
    }
}

uint8_t sdp_codec_of(const struct sdp_reader *r, const uint8_t *from, const uint8_t *to) {
    uint32_t length;
    const uint64_t lowered = sdp_lower(sdp_key(r, from, to, '/', &length));
    if (length == 8) return long_codec(lowered, from, to);
    switch (lowered) {
    NAME('p', 'c', 'm', 'u', '/', '/', '/', '/'): return SDP_CODEC_PCMU;
    NAME('p', 'c', 'm', 'a', '/', '/', '/', '/'): return SDP_CODEC_PCMA;
    NAME('g', '7', '2', '2', '/', '/', '/', '/'): return SDP_CODEC_G722;
    NAME('g', '7', '2', '9', 'a', '/', '/', '/'): /* annexes A and B share the payload format */
    NAME('g', '7', '2', '9', 'b', '/', '/', '/'):
    NAME('g', '7', '2', '9', 'a', 'b', '/', '/'):
    NAME('g', '7', '2', '9', '/', '/', '/', '/'): return SDP_CODEC_G729;
    NAME('g', '7', '2', '3', '/', '/', '/', '/'): return SDP_CODEC_G723;
    NAME('g', 's', 'm', '/', '/', '/', '/', '/'): return SDP_CODEC_GSM;
    NAME('i', 'l', 'b', 'c', '/', '/', '/', '/'): return SDP_CODEC_ILBC;
    NAME('o', 'p', 'u', 's', '/', '/', '/', '/'): return SDP_CODEC_OPUS;
    NAME('a', 'm', 'r', '/', '/', '/', '/', '/'): return SDP_CODEC_AMR;
    NAME('a', 'm', 'r', '-', 'w', 'b', '/', '/'): return SDP_CODEC_AMR_WB;
    NAME('e', 'v', 's', '/', '/', '/', '/', '/'): return SDP_CODEC_EVS;
    NAME('s', 'p', 'e', 'e', 'x', '/', '/', '/'): return SDP_CODEC_SPEEX;
    NAME('g', '7', '2', '6', '-', '1', '6', '/'): return SDP_CODEC_G726_16;
    NAME('g', '7', '2', '6', '-', '2', '4', '/'): return SDP_CODEC_G726_24;
    NAME('g', '7', '2', '6', '-', '3', '2', '/'): return SDP_CODEC_G726_32;
    NAME('g', '7', '2', '6', '-', '4', '0', '/'): return SDP_CODEC_G726_40;
    NAME('g', '7', '2', '1', '/', '/', '/', '/'): return SDP_CODEC_G721;
    NAME('g', '7', '2', '8', '/', '/', '/', '/'): return SDP_CODEC_G728;
    NAME('l', '1', '6', '/', '/', '/', '/', '/'): return SDP_CODEC_L16;
    NAME('d', 'v', 'i', '4', '/', '/', '/', '/'): return SDP_CODEC_DVI4;
    NAME('l', 'p', 'c', '/', '/', '/', '/', '/'): return SDP_CODEC_LPC;
    NAME('g', 's', 'm', '-', 'e', 'f', 'r', '/'): return SDP_CODEC_GSM_EFR;
    NAME('s', 'i', 'l', 'k', '/', '/', '/', '/'): return SDP_CODEC_SILK;
    NAME('g', '7', '2', '2', '1', '/', '/', '/'): return SDP_CODEC_G7221;
    NAME('i', 's', 'a', 'c', '/', '/', '/', '/'): return SDP_CODEC_ISAC;
    NAME('c', 'n', '/', '/', '/', '/', '/', '/'): return SDP_CODEC_CN;
    NAME('r', 'e', 'd', '/', '/', '/', '/', '/'): return SDP_CODEC_RED;
    NAME('h', '2', '6', '4', '/', '/', '/', '/'): return SDP_CODEC_H264;
    NAME('h', '2', '6', '5', '/', '/', '/', '/'): return SDP_CODEC_H265;
    NAME('v', 'p', '8', '/', '/', '/', '/', '/'): return SDP_CODEC_VP8;
    NAME('v', 'p', '9', '/', '/', '/', '/', '/'): return SDP_CODEC_VP9;
    NAME('a', 'v', '1', '/', '/', '/', '/', '/'): return SDP_CODEC_AV1;
    NAME('h', '2', '6', '3', '/', '/', '/', '/'): return SDP_CODEC_H263;
    NAME('h', '2', '6', '1', '/', '/', '/', '/'): return SDP_CODEC_H261;
    NAME('r', 't', 'x', '/', '/', '/', '/', '/'): return SDP_CODEC_RTX;
    NAME('u', 'l', 'p', 'f', 'e', 'c', '/', '/'): return SDP_CODEC_ULPFEC;
    NAME('q', 'c', 'e', 'l', 'p', '/', '/', '/'): return SDP_CODEC_QCELP;
    NAME('m', 'p', 'a', '/', '/', '/', '/', '/'): return SDP_CODEC_MPA;
    NAME('t', '3', '8', '/', '/', '/', '/', '/'): return SDP_CODEC_T38;
    default: return SDP_CODEC_OTHER;
    }
}

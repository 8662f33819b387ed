/* What PCMU and PCMA share (RFC 3551 4.5.14): 8 kHz, one channel, a byte a sample, no state. */
#ifndef TRUNKLINE_CODEC_G711_H
#define TRUNKLINE_CODEC_G711_H

#include "codec.h"
#include "g711.h"

TL_INLINE int codec_g711_start(uint32_t sample_rate_hz, uint8_t channels) { return sample_rate_hz == 8000 && channels == 1 ? 0 : STATUS_UNSUPPORTED; }

TL_INLINE int codec_g711_samples(uint32_t length) { return length && length <= INT32_MAX ? (int)length : STATUS_MALFORMED; }

TL_INLINE int codec_g711_decode(enum g711_law law, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples) {
    const int samples = codec_g711_samples(length);
    if (samples < 0) return samples;
    if (length > room_samples) return STATUS_TOO_SMALL;
    g711_decode(law, payload, pcm, length);
    return samples;
}

TL_INLINE int codec_g711_encode(enum g711_law law, const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room_bytes) {
    if (!samples || samples > INT32_MAX) return STATUS_UNSUPPORTED;
    if (samples > room_bytes) return STATUS_TOO_SMALL;
    g711_encode(law, pcm, payload, samples);
    return (int)samples;
}

#endif

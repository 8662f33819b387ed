/* What PCMU and PCMA share (RFC 3551 4.5.14): 8 kHz, one channel, a byte a sample, no state. */
#ifndef TRUNKLINE_CODEC_G711_H
#define TRUNKLINE_CODEC_G711_H

#include "codec.h"
#include "g711.h"

TL_INLINE int codec_g711_start(uint32_t sample_rate_hz, uint8_t channels) { return sample_rate_hz == 8000 && channels == 1 ? 0 : STATUS_UNSUPPORTED; }

TL_INLINE int codec_g711_samples(uint32_t length) { return length && length <= INT32_MAX ? (int)length : STATUS_MALFORMED; }

static inline int codec_g711_decoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels) {
    (void)state;
    return codec_g711_start(sample_rate_hz, channels);
}

static inline int codec_g711_encoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels, uint32_t bit_rate) {
    (void)state, (void)bit_rate;
    return codec_g711_start(sample_rate_hz, channels);
}

static inline int codec_g711_samples_of(const uint8_t *payload, uint32_t length, uint32_t sample_rate_hz, uint8_t channels) {
    (void)payload, (void)sample_rate_hz, (void)channels;
    return codec_g711_samples(length);
}

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

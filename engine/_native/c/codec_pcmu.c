/* PCMU: G.711 u-law over RTP. */
#include "codec_g711.h"

static int decoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels) {
    (void)state;
    return codec_g711_start(sample_rate_hz, channels);
}

static int encoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels, uint32_t bit_rate) {
    (void)state, (void)bit_rate;
    return codec_g711_start(sample_rate_hz, channels);
}

static int decode(void *state, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples) {
    (void)state;
    return codec_g711_decode(G711_ULAW, payload, length, pcm, room_samples);
}

static int conceal(void *state, const uint8_t *next, uint32_t next_length, int16_t *pcm, uint32_t samples) {
    (void)state, (void)next, (void)next_length, (void)pcm, (void)samples;
    return STATUS_UNSUPPORTED;
}

static int samples_of(const uint8_t *payload, uint32_t length, uint32_t sample_rate_hz, uint8_t channels) {
    (void)payload, (void)sample_rate_hz, (void)channels;
    return codec_g711_samples(length);
}

static int encode(void *state, const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room_bytes) {
    (void)state;
    return codec_g711_encode(G711_ULAW, pcm, samples, payload, room_bytes);
}

const struct codec codec_pcmu = {
    .name = "PCMU",
    .clock_rate_hz = 8000,
    .sample_rate_hz = 8000,
    .static_payload_type = 0,
    .channels_max = 1,
    .is_lossless_by_sample = 1,
    .decoder_start = decoder_start,
    .encoder_start = encoder_start,
    .decode = decode,
    .conceal = conceal,
    .samples = samples_of,
    .encode = encode,
};

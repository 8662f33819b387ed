/* PCMU: G.711 u-law over RTP. */
#include "codec_g711.h"

static int decode(void *state, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples) {
    (void)state;
    return codec_g711_decode(G711_ULAW, payload, length, pcm, room_samples);
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
    .decoder_start = codec_g711_decoder_start,
    .encoder_start = codec_g711_encoder_start,
    .decode = decode,
    .samples = codec_g711_samples_of,
    .encode = encode,
};

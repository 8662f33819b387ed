/* G.722 as a codec of the media plane: RFC 3551 4.5.2. RTP's clock is 8000, samples come at 16000. */
#include "codec.h"
#include "g722.h"

#define SAMPLE_RATE_HZ 16000

static int is_ours(uint32_t sample_rate_hz, uint8_t channels) { return sample_rate_hz == SAMPLE_RATE_HZ && channels == 1; }

static int decoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels) {
    if (!is_ours(sample_rate_hz, channels)) return STATUS_UNSUPPORTED;
    g722_decoder_start(state);
    return 0;
}

static int encoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels, uint32_t bit_rate) {
    if (!is_ours(sample_rate_hz, channels) || (bit_rate && bit_rate != 64000)) return STATUS_UNSUPPORTED;
    g722_encoder_start(state);
    return 0;
}

static int decode(void *state, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples) {
    if (!length) return STATUS_MALFORMED;
    if (length > room_samples / 2) return STATUS_TOO_SMALL;
    g722_decode(state, payload, pcm, length);
    return (int)(2 * length);
}

static int count_samples(const uint8_t *payload, uint32_t length, uint32_t sample_rate_hz, uint8_t channels) {
    (void)payload;
    if (!length || length > INT32_MAX / 2 || !is_ours(sample_rate_hz, channels)) return STATUS_MALFORMED;
    return (int)(2 * length);
}

static int encode(void *state, const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room_bytes) {
    if (!samples || samples % 2 || samples > INT32_MAX) return STATUS_UNSUPPORTED;
    if (room_bytes < samples / 2) return STATUS_TOO_SMALL;
    g722_encode(state, pcm, payload, samples / 2);
    return (int)(samples / 2);
}

const struct codec codec_g722 = {
    .name = "G722",
    .clock_rate_hz = 8000,
    .sample_rate_hz = SAMPLE_RATE_HZ,
    .static_payload_type = 9,
    .channels_max = 1,
    .decoder_bytes = sizeof(struct g722),
    .encoder_bytes = sizeof(struct g722),
    .decoder_start = decoder_start,
    .encoder_start = encoder_start,
    .decode = decode,
    .samples = count_samples,
    .encode = encode,
};

/* L16 (RFC 3551 4.5.11): samples of 16 bits in network byte order, channels interleaved, at the rate that rtpmap gives. */
#include "codec.h"

#include <string.h>

#define CHANNELS_MAX 2

struct l16 {
    uint8_t channels;
};

static int start(void *state, uint32_t sample_rate_hz, uint8_t channels) {
    if (!sample_rate_hz || !channels || channels > CHANNELS_MAX) return STATUS_UNSUPPORTED;
    ((struct l16 *)state)->channels = channels;
    return 0;
}

static int encoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels, uint32_t bit_rate) {
    (void)bit_rate;
    return start(state, sample_rate_hz, channels);
}

/* Between the machine's order and the network's, either way; neither has to be aligned. */
static void swap(const void *restrict from, void *restrict to, size_t words) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint8_t *source = from;
    uint8_t *target = to;
    for (size_t i = 0; i < words; i++) {
        uint16_t word;
        memcpy(&word, source + 2 * i, 2);
        word = (uint16_t)(word << 8 | word >> 8);
        memcpy(target + 2 * i, &word, 2);
    }
#else
    memcpy(to, from, 2 * words);
#endif
}

static int samples_of(const uint8_t *payload, uint32_t length, uint32_t sample_rate_hz, uint8_t channels) {
    (void)payload, (void)sample_rate_hz;
    if (!channels || !length || length > INT32_MAX || length % (2u * channels)) return STATUS_MALFORMED;
    return (int)(length / (2u * channels));
}

static int decode(void *state, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples) {
    const int samples = samples_of(payload, length, 0, ((struct l16 *)state)->channels);
    if (samples < 0) return samples;
    if ((uint32_t)samples > room_samples) return STATUS_TOO_SMALL;
    swap(payload, pcm, length / 2);
    return samples;
}

static int encode(void *state, const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room_bytes) {
    const uint64_t bytes = 2 * (uint64_t)samples * ((struct l16 *)state)->channels;
    if (!bytes || bytes > INT32_MAX) return STATUS_UNSUPPORTED;
    if (bytes > room_bytes) return STATUS_TOO_SMALL;
    swap(pcm, payload, bytes / 2);
    return (int)bytes;
}

const struct codec codec_l16 = {
    .name = "L16",
    .static_payload_type = 255, /* 10 and 11 are for 44100 Hz alone */
    .channels_max = CHANNELS_MAX,
    .is_lossless_by_sample = 1,
    .decoder_bytes = sizeof(struct l16),
    .encoder_bytes = sizeof(struct l16),
    .decoder_start = start,
    .encoder_start = encoder_start,
    .decode = decode,
    .samples = samples_of,
    .encode = encode,
};

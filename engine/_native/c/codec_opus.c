/* Opus (RFC 6716, RTP: RFC 7587) by libopus, whose functions are given by address: nothing is linked, and where the library is missing all else works. */
#include "codec.h"

#include <string.h>

/* Room for two channels, and some more for what later versions need: 1.3.1 has 26,996 and 48,484, 1.6.1 27,236 and 48,684. */
#define DECODER_BYTES 32768
#define ENCODER_BYTES 57344
#define HEAD_BYTES CODEC_STATE_ALIGN
#define PACKET_MS_MAX 120

/* From opus_defines.h: these numbers are libopus's interface. */
enum { OPUS_BUFFER_TOO_SMALL = -2, OPUS_UNIMPLEMENTED = -5 };
enum { OPUS_APPLICATION_VOIP = 2048, OPUS_SIGNAL_VOICE = 3001 };
enum {
    OPUS_SET_BITRATE = 4002, OPUS_SET_COMPLEXITY = 4010, OPUS_SET_INBAND_FEC = 4012, OPUS_SET_PACKET_LOSS_PERC = 4014, OPUS_SET_DTX = 4016,
    OPUS_SET_SIGNAL = 4024
};

struct head {
    uint32_t sample_rate_hz;
    uint8_t channels;
};

static struct opus_functions opus; /* set once, before the first state is made */
static int is_bound;

int codec_opus_bind(const struct opus_functions *functions) {
    const struct opus_functions *f = functions;
    if (!f->decoder_get_size || !f->decoder_init || !f->decode || !f->encoder_get_size || !f->encoder_init || !f->encode || !f->encoder_ctl ||
        !f->packet_get_nb_samples)
        return STATUS_UNSUPPORTED;
    if (f->decoder_get_size(2) > DECODER_BYTES - HEAD_BYTES || f->encoder_get_size(2) > ENCODER_BYTES - HEAD_BYTES) return STATUS_UNSUPPORTED;
    if (__atomic_load_n(&is_bound, __ATOMIC_ACQUIRE)) return 0;
    opus = *f;
    __atomic_store_n(&is_bound, 1, __ATOMIC_RELEASE);
    return 0;
}

static void *inner(void *state) { return (uint8_t *)state + HEAD_BYTES; }

static int begin(void *state, uint32_t sample_rate_hz, uint8_t channels) {
    struct head head = {sample_rate_hz, channels};
    if (!__atomic_load_n(&is_bound, __ATOMIC_ACQUIRE)) return STATUS_UNSUPPORTED;
    memcpy(state, &head, sizeof head);
    return 0;
}

static int decoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels) {
    if (channels < 1 || channels > 2 || begin(state, sample_rate_hz, channels)) return STATUS_UNSUPPORTED;
    return opus.decoder_init(inner(state), (int32_t)sample_rate_hz, channels) ? STATUS_UNSUPPORTED : 0;
}

int codec_opus_set(void *encoder_state, const struct opus_settings *s) {
    void *encoder = inner(encoder_state);
    if (s->bit_rate < 6000 || s->bit_rate > 510000 || s->complexity > 10 || s->loss_percent > 100) return STATUS_UNSUPPORTED;
    int failed = opus.encoder_ctl(encoder, OPUS_SET_BITRATE, (int)s->bit_rate);
    failed |= opus.encoder_ctl(encoder, OPUS_SET_COMPLEXITY, (int)s->complexity);
    failed |= opus.encoder_ctl(encoder, OPUS_SET_INBAND_FEC, s->has_fec ? 1 : 0);
    failed |= opus.encoder_ctl(encoder, OPUS_SET_PACKET_LOSS_PERC, (int)s->loss_percent);
    failed |= opus.encoder_ctl(encoder, OPUS_SET_DTX, s->has_dtx ? 1 : 0);
    return failed ? STATUS_UNSUPPORTED : 0;
}

static int encoder_start(void *state, uint32_t sample_rate_hz, uint8_t channels, uint32_t bit_rate) {
    struct opus_settings settings = OPUS_SETTINGS_USUAL;
    settings.bit_rate = bit_rate ? bit_rate : settings.bit_rate * channels;
    if (channels < 1 || channels > 2 || begin(state, sample_rate_hz, channels)) return STATUS_UNSUPPORTED;
    if (opus.encoder_init(inner(state), (int32_t)sample_rate_hz, channels, OPUS_APPLICATION_VOIP)) return STATUS_UNSUPPORTED;
    if (opus.encoder_ctl(inner(state), OPUS_SET_SIGNAL, OPUS_SIGNAL_VOICE)) return STATUS_UNSUPPORTED;
    return codec_opus_set(state, &settings);
}

/* libopus's errors as ours. */
static int told(int result) {
    if (result >= 0) return result;
    return result == OPUS_BUFFER_TOO_SMALL ? STATUS_TOO_SMALL : result == OPUS_UNIMPLEMENTED ? STATUS_UNSUPPORTED : STATUS_MALFORMED;
}

static int count_samples(const uint8_t *payload, uint32_t length, uint32_t sample_rate_hz, uint8_t channels) {
    (void)channels;
    if (!length || length > INT32_MAX || !__atomic_load_n(&is_bound, __ATOMIC_ACQUIRE)) return STATUS_MALFORMED;
    int samples = opus.packet_get_nb_samples(payload, (int32_t)length, (int32_t)sample_rate_hz);
    return samples ? told(samples) : STATUS_MALFORMED; /* a packet of no frames: libopus counts it before it refuses it */
}

static int decode(void *state, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples) {
    struct head head;
    memcpy(&head, state, sizeof head);
    int samples = count_samples(payload, length, head.sample_rate_hz, head.channels);
    if (samples < 0) return samples;
    if ((uint32_t)samples > room_samples) return STATUS_TOO_SMALL;
    return told(opus.decode(inner(state), payload, (int32_t)length, pcm, samples, 0));
}

/* FEC needs the packet right behind the hole; of a longer hole libopus makes up the beginning. Without the packet, or without FEC in it, all is made up. */
static int conceal(void *state, const uint8_t *next, uint32_t next_length, int16_t *pcm, uint32_t samples) {
    struct head head;
    memcpy(&head, state, sizeof head);
    uint32_t quantum = head.sample_rate_hz / 400; /* 2.5 ms */
    if (!samples || samples % quantum || samples > PACKET_MS_MAX * (head.sample_rate_hz / 1000)) return STATUS_UNSUPPORTED;
    if (next && next_length) {
        int behind = count_samples(next, next_length, head.sample_rate_hz, head.channels);
        if (behind > 0 && (uint32_t)behind <= samples) {
            int made = opus.decode(inner(state), next, (int32_t)next_length, pcm, (int)samples, 1);
            if (made == (int)samples) return made;
        }
    }
    return told(opus.decode(inner(state), NULL, 0, pcm, (int)samples, 0));
}

static int encode(void *state, const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room_bytes) {
    struct head head;
    memcpy(&head, state, sizeof head);
    if (samples > PACKET_MS_MAX * (head.sample_rate_hz / 1000)) return STATUS_UNSUPPORTED;
    if (!room_bytes) return STATUS_TOO_SMALL;
    int bytes = opus.encode(inner(state), pcm, (int)samples, payload, room_bytes > INT32_MAX ? INT32_MAX : (int32_t)room_bytes);
    return bytes < 0 && bytes != OPUS_BUFFER_TOO_SMALL ? STATUS_UNSUPPORTED : told(bytes);
}

const struct codec codec_opus = {
    .name = "opus",
    .clock_rate_hz = 48000,
    .sample_rate_hz = 48000,
    .static_payload_type = 255,
    .channels_max = 2,
    .decoder_bytes = DECODER_BYTES,
    .encoder_bytes = ENCODER_BYTES,
    .decoder_start = decoder_start,
    .encoder_start = encoder_start,
    .decode = decode,
    .conceal = conceal,
    .samples = count_samples,
    .encode = encode,
};

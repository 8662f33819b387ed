/* What a codec is to the media plane: a row of functions over state that the caller lends. Each codec is one file codec_<name>.c that defines one
   `const struct codec`; codecs.c lists them. PCM is signed 16 bit in the machine's order, interleaved where there is more than one channel. */
#ifndef TRUNKLINE_CODEC_H
#define TRUNKLINE_CODEC_H

#include "status.h"

#define CODEC_FRAME_SAMPLES_MAX 5760 /* 120 ms at 48 kHz; room that a decode call must be given, per channel */
#define CODEC_STATE_ALIGN 64

struct codec {
    const char *name;              /* as in rtpmap, upper or lower case as the registration has it */
    uint32_t clock_rate_hz;        /* of RTP timestamps; 0: given by rtpmap (L16) */
    uint32_t sample_rate_hz;       /* of PCM; 0: as the clock */
    uint8_t static_payload_type;   /* RFC 3551; 255: none */
    uint8_t channels_max;
    uint8_t is_lossless_by_sample; /* a payload byte or word is a sample: any length can be decoded */
    uint32_t decoder_bytes, encoder_bytes; /* of state, to be lent aligned to CODEC_STATE_ALIGN; 0: none */
    /* 0, or STATUS_UNSUPPORTED. `sample_rate_hz` is what the caller wants of PCM; a codec with one rate only refuses others. */
    int (*decoder_start)(void *state, uint32_t sample_rate_hz, uint8_t channels);
    int (*encoder_start)(void *state, uint32_t sample_rate_hz, uint8_t channels, uint32_t bit_rate);
    /* Samples a channel, or STATUS_MALFORMED, STATUS_TOO_SMALL. An empty payload is STATUS_MALFORMED. */
    int (*decode)(void *state, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples);
    /* Makes up `samples` that were lost, from the codec's own state; `next` with its length is the packet behind the hole where it is there already (in-band
       FEC), else NULL. Samples, or STATUS_UNSUPPORTED: plc.c does it. NULL: plc.c always does. */
    int (*conceal)(void *state, const uint8_t *next, uint32_t next_length, int16_t *pcm, uint32_t samples);
    /* Samples a channel that a payload will decode to, without decoding it; STATUS_MALFORMED. */
    int (*samples)(const uint8_t *payload, uint32_t length, uint32_t sample_rate_hz, uint8_t channels);
    /* Bytes, or STATUS_TOO_SMALL, or STATUS_UNSUPPORTED for a number of samples that makes no frame. */
    int (*encode)(void *state, const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room_bytes);
    void (*decoder_end)(void *state); /* NULL: nothing to give back */
    void (*encoder_end)(void *state);
};

extern const struct codec codec_pcmu, codec_pcma, codec_l16, codec_g722, codec_opus;

/* All of them, by number; and by name without case, -1 where there is none. */
extern const struct codec *const codecs[];
extern const uint32_t codec_count;
int codec_by_name(const char *name, uint32_t length);

/* Functions of libopus, found in the library that opuslib has loaded; the addresses are set once, before the first state is made. decoder_bytes and
   encoder_bytes above are enough for two channels. Returns 0, or STATUS_UNSUPPORTED when one is missing or its states are larger. */
struct opus_functions {
    int (*decoder_get_size)(int channels);
    int (*decoder_init)(void *state, int32_t rate, int channels);
    int (*decode)(void *state, const uint8_t *data, int32_t length, int16_t *pcm, int frame_size, int decode_fec);
    int (*encoder_get_size)(int channels);
    int (*encoder_init)(void *state, int32_t rate, int channels, int application);
    int32_t (*encode)(void *state, const int16_t *pcm, int frame_size, uint8_t *data, int32_t room);
    int (*encoder_ctl)(void *state, int request, ...);
    int (*packet_get_nb_samples)(const uint8_t *packet, int32_t length, int32_t rate);
};
int codec_opus_bind(const struct opus_functions *functions);

/* How an Opus encoder works; encoder_start takes the usual ones, and `bit_rate` where it is not 0. */
struct opus_settings {
    uint32_t bit_rate;    /* bit/s, 6,000 to 510,000 */
    uint8_t complexity;   /* 0 to 10 */
    uint8_t has_fec;      /* in-band FEC; libopus spends bits on it where loss_percent is not 0 */
    uint8_t loss_percent; /* what the far end loses, 0 to 100 */
    uint8_t has_dtx;      /* frames of silence become payloads of 1 or 2 bytes, which need not be sent */
};
/* A channel's: wide band voice at 24 kbit/s; nothing is spent on losses until RTCP tells of some. */
#define OPUS_SETTINGS_USUAL {.bit_rate = 24000, .complexity = 5}
/* At any time between frames, by the thread that encodes. 0 or STATUS_UNSUPPORTED. */
int codec_opus_set(void *encoder_state, const struct opus_settings *settings);

#endif

/* Codecs, concealment and the DTMF reader behind plain loops, and other libraries' functions behind loops of the same form. Nanoseconds of the processor. */
#include <string.h>
#include <time.h>

#include "codec.h"
#include "comfort_noise.h"
#include "plc.h"
#include "tones.h"

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* Payloads one behind another, `count` of them with their lengths; every frame has `samples`. */
struct frames {
    uint8_t *payloads;
    uint32_t *lengths;
    int16_t *pcm;
    uint32_t count, samples, room;
};

uint64_t drive_decode(uint32_t number, void *state, const struct frames *f) {
    const struct codec *codec = codecs[number];
    const uint8_t *payload = f->payloads;
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < f->count; payload += f->lengths[n++])
        if (codec->decode(state, payload, f->lengths[n], f->pcm + (size_t)n * f->samples, f->samples) != (int)f->samples) return 0;
    return now_ns() - begin;
}

uint64_t drive_encode(uint32_t number, void *state, const struct frames *f) {
    const struct codec *codec = codecs[number];
    uint8_t *payload = f->payloads;
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < f->count; payload += f->lengths[n++]) {
        int bytes = codec->encode(state, f->pcm + (size_t)n * f->samples, f->samples, payload, f->room);
        if (bytes <= 0) return 0;
        f->lengths[n] = (uint32_t)bytes;
    }
    return now_ns() - begin;
}

int drive_start(uint32_t number, void *state, uint32_t rate_hz, int encodes) {
    return encodes ? codecs[number]->encoder_start(state, rate_hz, 1, 0) : codecs[number]->decoder_start(state, rate_hz, 1);
}

/* libopus itself. */
uint64_t drive_opus_decode(int (*decode)(void *, const uint8_t *, int32_t, int16_t *, int, int), void *state, const struct frames *f) {
    const uint8_t *payload = f->payloads;
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < f->count; payload += f->lengths[n++])
        decode(state, payload, (int32_t)f->lengths[n], f->pcm + (size_t)n * f->samples, (int)f->samples, 0);
    return now_ns() - begin;
}

uint64_t drive_opus_encode(int32_t (*encode)(void *, const int16_t *, int, uint8_t *, int32_t), void *state, const struct frames *f) {
    uint8_t *payload = f->payloads;
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < f->count; payload += f->lengths[n++])
        f->lengths[n] = (uint32_t)encode(state, f->pcm + (size_t)n * f->samples, (int)f->samples, payload, (int32_t)f->room);
    return now_ns() - begin;
}

/* spandsp's G.722, both ways of the same form: state, output, input, length of the input. */
uint64_t drive_foreign(int (*run)(void *, void *, const void *, int), void *state, const struct frames *f, int encodes) {
    uint8_t *payload = f->payloads;
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < f->count; payload += f->lengths[n++]) {
        int16_t *pcm = f->pcm + (size_t)n * f->samples;
        if (encodes) run(state, payload, pcm, (int)f->samples);
        else run(state, pcm, payload, (int)f->lengths[n]);
    }
    return now_ns() - begin;
}

/* Every other frame is lost. */
uint64_t drive_conceal(int16_t *pcm, uint32_t count, uint32_t samples, uint32_t rate_hz) {
    static struct plc plc;
    static int16_t history[PLC_HISTORY];
    plc_start(&plc, rate_hz, history);
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < count; n++) (n % 2 ? plc_lost : plc_good)(&plc, pcm + (size_t)n * samples, samples);
    return now_ns() - begin;
}

uint64_t drive_foreign_conceal(int (*good)(void *, int16_t *, int), int (*lost)(void *, int16_t *, int), void *state, int16_t *pcm, uint32_t count, uint32_t samples) {
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < count; n++) (n % 2 ? lost : good)(state, pcm + (size_t)n * samples, (int)samples);
    return now_ns() - begin;
}

/* Digits that began, into `digits`. */
uint64_t drive_digits(const int16_t *pcm, uint32_t count, uint32_t samples, uint32_t rate_hz, char *digits, uint32_t room) {
    struct dtmf_reader reader;
    struct dtmf_found found[8];
    uint32_t made = 0;
    if (dtmf_reader_start(&reader, rate_hz)) return 0;
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < count; n++) {
        uint32_t news = dtmf_reader_take(&reader, pcm + (size_t)n * samples, samples, found, 8);
        for (uint32_t k = 0; k < news; k++)
            if (!found[k].ended && made + 1 < room) digits[made++] = found[k].digit;
    }
    uint64_t taken = now_ns() - begin;
    digits[made] = 0;
    return taken;
}

uint64_t drive_foreign_digits(int (*take)(void *, const int16_t *, int), void *state, const int16_t *pcm, uint32_t count, uint32_t samples) {
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < count; n++) take(state, pcm + (size_t)n * samples, (int)samples);
    return now_ns() - begin;
}

uint64_t drive_noise(const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t count, uint32_t samples) {
    struct comfort_noise noise;
    comfort_noise_start(&noise, 1);
    comfort_noise_take(&noise, payload, length);
    uint64_t begin = now_ns();
    for (uint32_t n = 0; n < count; n++) comfort_noise_make(&noise, pcm, samples);
    return now_ns() - begin;
}

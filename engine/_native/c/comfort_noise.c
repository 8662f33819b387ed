/* Comfort noise and the decision when to send it. Reflection coefficients have the sign of G.711 Appendix II: noise with more low frequencies has a
   negative first one, below 127 as an octet. */
#include "comfort_noise.h"

#include <math.h>
#include <string.h>

#define OVERLOAD 32768.0f      /* RMS of 0 dBov: a square wave of full scale (RFC 3389 3.1) */
#define LEVEL_SILENT 127
#define REFLECTION_MAX 0.99f   /* an octet of 255 would be above 1, and the filter would never come to rest */
#define LEFT_MIN 1e-4f         /* of the power, by the prediction: 40 dB; with more the filter's single precision would not do */
#define SHRINK 0.97f
#define STEP (258.0f / 32768.0f)
#define RANDOM_RMS 37837.227f  /* of the sum of four numbers of -32768 .. 32767 */
#define RUNAWAY 1e7f           /* no filter of the sort above gets there */
#define SILENT 1e-9f           /* amplitude under which no sample leaves 0 */
#define MOVE (1.0f / 128.0f)   /* how fast the amplitude follows: 16 ms at 8 kHz */

void comfort_noise_start(struct comfort_noise *c, uint64_t seed) {
    memset(c, 0, sizeof *c);
    c->random = seed ? seed : 0x9E3779B97F4A7C15u;
}

/* From reflection coefficients to those of A(z) = 1 + sum a z^-i; returns the share of power that the prediction leaves. */
static float to_predictor(const float *reflection, uint32_t order, float *predictor) {
    float left = 1.0f;
    for (uint32_t m = 0; m < order; m++) {
        float k = reflection[m];
        for (uint32_t i = 0; i < m / 2; i++) {
            float low = predictor[i], high = predictor[m - 1 - i];
            predictor[i] = low + k * high;
            predictor[m - 1 - i] = high + k * low;
        }
        if (m % 2) predictor[m / 2] *= 1.0f + k;
        predictor[m] = k;
        left *= 1.0f - k * k;
    }
    return left;
}

int comfort_noise_take(struct comfort_noise *c, const uint8_t *payload, uint32_t length) {
    float reflection[COMFORT_NOISE_ORDER];
    if (!length) return STATUS_MALFORMED;
    uint32_t order = length - 1 < COMFORT_NOISE_ORDER ? length - 1 : COMFORT_NOISE_ORDER;
    for (uint32_t i = 0; i < order; i++) {
        float k = STEP * (float)(payload[1 + i] - 127);
        reflection[i] = k > REFLECTION_MAX ? REFLECTION_MAX : k < -REFLECTION_MAX ? -REFLECTION_MAX : k;
    }
    float left = to_predictor(reflection, order, c->predictor), level = (float)(payload[0] & 127);
    while (left < LEFT_MIN) {
        for (uint32_t i = 0; i < order; i++) reflection[i] *= SHRINK;
        left = to_predictor(reflection, order, c->predictor);
    }
    c->target = level < LEVEL_SILENT ? OVERLOAD * powf(10.0f, -level / 20.0f) * sqrtf(left) / RANDOM_RMS : 0.0f;
    if (!c->known) c->amplitude = c->target;
    if (order != c->order) memset(c->past, 0, sizeof c->past);
    c->order = (uint8_t)order;
    c->known = 1;
    return 0;
}

/* xorshift64*, its upper and lower bits as four numbers: their sum is nearly normal. */
static float next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    x *= 0x2545F4914F6CDD1Du;
    return (float)((int32_t)(int16_t)x + (int16_t)(x >> 16) + (int16_t)(x >> 32) + (int16_t)(x >> 48));
}

static float stepped(struct comfort_noise *c, float value) {
    for (uint32_t i = c->order; i-- > 0;) {
        value -= c->predictor[i] * c->past[i];
        if (i) c->past[i] = c->past[i - 1];
    }
    c->past[0] = value;
    if (TL_UNLIKELY(!(fabsf(value) < RUNAWAY))) {
        memset(c->past, 0, sizeof c->past);
        value = 0;
    }
    return value;
}

void comfort_noise_make(struct comfort_noise *c, int16_t *pcm, uint32_t samples) {
    if (!c->known || (c->target <= 0 && c->amplitude < SILENT)) { /* and a filter at rest holds no numbers that are slow to compute with */
        memset(c->past, 0, sizeof c->past);
        if (samples) memset(pcm, 0, samples * sizeof *pcm);
        return;
    }
    for (uint32_t n = 0; n < samples; n++) {
        c->amplitude += (c->target - c->amplitude) * MOVE;
        float value = stepped(c, c->amplitude * next_random(&c->random));
        value += value < 0 ? -0.5f : 0.5f;
        pcm[n] = value >= 32767.0f ? 32767 : value <= -32768.0f ? -32768 : (int16_t)value;
    }
}

/* Mean square of a block, in 64 bit: exact for every length that fits in memory. */
static double mean_square(const int16_t *pcm, uint32_t samples) {
    uint64_t sum = 0;
    for (uint32_t n = 0; n < samples; n++) sum += (uint64_t)((int64_t)pcm[n] * pcm[n]);
    return samples ? (double)sum / samples : 0.0;
}

static float dbov(double square) { return square > 0 ? (float)(10.0 * log10(square) - 20.0 * log10(OVERLOAD)) : -(float)LEVEL_SILENT; }

/* Levinson and Durbin: reflection coefficients of an autocorrelation. */
static void reflections(const double *correlation, uint32_t order, float *reflection) {
    double predictor[COMFORT_NOISE_ORDER] = {0}, error = correlation[0];
    for (uint32_t m = 0; m < order; m++) {
        double sum = correlation[m + 1];
        for (uint32_t i = 0; i < m; i++) sum += predictor[i] * correlation[m - i];
        double k = error > 0 ? -sum / error : 0, before[COMFORT_NOISE_ORDER];
        memcpy(before, predictor, sizeof before);
        for (uint32_t i = 0; i < m; i++) predictor[i] = before[i] + k * before[m - 1 - i];
        predictor[m] = k;
        error *= 1 - k * k;
        reflection[m] = (float)k;
    }
}

int comfort_noise_measure(const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room) {
    float reflection[COMFORT_NOISE_ORDER], level = -dbov(mean_square(pcm, samples));
    double correlation[COMFORT_NOISE_ORDER + 1];
    if (!room) return STATUS_TOO_SMALL;
    payload[0] = level >= LEVEL_SILENT ? LEVEL_SILENT : level <= 0 ? 0 : (uint8_t)(level + 0.5f);
    uint32_t order = room - 1 < COMFORT_NOISE_ORDER ? room - 1 : COMFORT_NOISE_ORDER;
    if (payload[0] == LEVEL_SILENT || samples <= COMFORT_NOISE_ORDER) return 1;
    for (uint32_t lag = 0; lag <= order; lag++) {
        int64_t sum = 0;
        for (uint32_t n = lag; n < samples; n++) sum += (int32_t)pcm[n] * pcm[n - lag];
        correlation[lag] = (double)sum;
    }
    correlation[0] *= 1.0001; /* a floor 40 dB down: a pure tone has no reflections within range otherwise */
    reflections(correlation, order, reflection);
    for (uint32_t i = 0; i < order; i++) {
        float number = reflection[i] / STEP + 127.5f;
        payload[1 + i] = number < 0 ? 0 : number > 254 ? 254 : (uint8_t)number;
    }
    return (int)(1 + order);
}

#define FLOOR_BEGIN_DBOV -70.0f
#define FLOOR_MAX_DBOV -35.0f
#define FLOOR_RISE_DB_S 6.0f
#define SPEECH_DB 9.0f
#define SID_DB 2.0f
#define HANG_MS 200u
#define SID_MS 400u

void dtx_start(struct dtx *d, uint32_t rate_hz) {
    memset(d, 0, sizeof *d);
    d->rate_hz = rate_hz ? rate_hz : 8000;
    d->noise_floor = FLOOR_BEGIN_DBOV;
    d->hang_samples = (uint32_t)((uint64_t)d->rate_hz * HANG_MS / 1000);
}

/* Quickly down to a quieter block, slowly up. */
static void learn(struct dtx *d, float level, uint32_t samples) {
    if (level < d->noise_floor) {
        d->noise_floor += (level - d->noise_floor) * 0.25f;
    } else {
        float risen = d->noise_floor + FLOOR_RISE_DB_S * (float)samples / (float)d->rate_hz;
        d->noise_floor = risen < level ? risen : level;
    }
    if (d->noise_floor > FLOOR_MAX_DBOV) d->noise_floor = FLOOR_MAX_DBOV;
}

int dtx_decide(struct dtx *d, const int16_t *pcm, uint32_t samples) {
    float level = dbov(mean_square(pcm, samples));
    learn(d, level, samples);
    if (level > d->noise_floor + SPEECH_DB) {
        d->hang_samples = (uint32_t)((uint64_t)d->rate_hz * HANG_MS / 1000);
        d->in_silence = 0;
        return 1;
    }
    if (d->hang_samples) {
        d->hang_samples -= samples < d->hang_samples ? samples : d->hang_samples;
        return 1;
    }
    uint32_t wait = (uint32_t)((uint64_t)d->rate_hz * SID_MS / 1000);
    d->since_sid = d->since_sid > UINT32_MAX - samples ? UINT32_MAX : d->since_sid + samples;
    if (d->in_silence && (d->since_sid < wait || fabsf(level - d->last_sid_dbov) < SID_DB)) return 0;
    d->in_silence = 1;
    d->since_sid = 0;
    d->last_sid_dbov = level;
    return 2;
}

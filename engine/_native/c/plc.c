/* Packet loss concealment by pitch. */
#include "plc.h"

#include <math.h>
#include <string.h>

#define SEARCH_RATE_HZ_MAX 48000
#define COARSE_RATE_HZ 8000
#define COARSE_LAG_MIN 40  /* 5 ms: 200 Hz; higher voices are found by a multiple of their period */
#define COARSE_LAG_MAX 120 /* 15 ms: 66 Hz */
#define COARSE_WINDOW 160  /* 20 ms */
#define KEPT_COARSE (COARSE_LAG_MAX + COARSE_WINDOW + 2) /* the finer search goes one coarse sample further */
#define VOICED 0.4f        /* less alike than this at every lag, and it is noise: the longest period then, which is heard least as a tone */
#define FULL_MS 10
#define SILENT_MS 60
#define JOIN_MS 3u         /* and 2 ms more for each 10 ms lost, up to 10 ms */
#define JOIN_MS_MAX 10u

/* How many samples make one of about 8 kHz; above 48 kHz no more, as the history is no longer. */
static uint32_t coarse_factor(uint32_t rate_hz) {
    if (rate_hz > SEARCH_RATE_HZ_MAX) rate_hz = SEARCH_RATE_HZ_MAX;
    return rate_hz < COARSE_RATE_HZ ? 1 : rate_hz / COARSE_RATE_HZ;
}

uint32_t plc_room(uint32_t rate_hz) { return KEPT_COARSE * coarse_factor(rate_hz); }

_Static_assert(KEPT_COARSE == PLC_NARROW && KEPT_COARSE * (SEARCH_RATE_HZ_MAX / COARSE_RATE_HZ) == PLC_HISTORY, "room for every rate");

void plc_start(struct plc *p, uint32_t rate_hz, int16_t *history) {
    memset(p, 0, sizeof *p);
    p->rate_hz = rate_hz ? rate_hz : COARSE_RATE_HZ;
    p->kept = plc_room(p->rate_hz);
    p->history = history;
    memset(history, 0, p->kept * sizeof *history);
}

/* Good samples go around: nothing is moved for them. */
static void remember_good(struct plc *p, const int16_t *pcm, uint32_t samples) {
    if (samples > p->kept) {
        pcm += samples - p->kept;
        samples = p->kept;
    }
    uint32_t room = p->kept - p->oldest, first = samples < room ? samples : room;
    memcpy(p->history + p->oldest, pcm, first * sizeof *pcm);
    memcpy(p->history, pcm + first, (samples - first) * sizeof *pcm);
    p->oldest = samples < room ? p->oldest + samples : samples - room;
}

static void put_in_line(struct plc *p) {
    int16_t begin[PLC_HISTORY];
    memcpy(begin, p->history, p->oldest * sizeof *begin);
    memmove(p->history, p->history + p->oldest, (p->kept - p->oldest) * sizeof *begin);
    memcpy(p->history + p->kept - p->oldest, begin, p->oldest * sizeof *begin);
    p->oldest = 0;
}

/* Of no more than a period, in line. */
static void remember_made(struct plc *p, const int16_t *pcm, uint32_t samples) {
    memmove(p->history, p->history + samples, (p->kept - samples) * sizeof *pcm);
    memcpy(p->history + p->kept - samples, pcm, samples * sizeof *pcm);
}

typedef float four __attribute__((vector_size(16)));
TL_INLINE four load(const float *values) {
    four loaded;
    memcpy(&loaded, values, sizeof loaded);
    return loaded;
}

/* Sum of products of `window` values, a multiple of eight. */
static float product(const float *first, const float *second, uint32_t window) {
    four even = {0}, odd = {0};
    for (uint32_t n = 0; n < window; n += 8) {
        even += load(first + n) * load(second + n);
        odd += load(first + n + 4) * load(second + n + 4);
    }
    even += odd;
    return even[0] + even[1] + even[2] + even[3];
}

/* The lag from `first` to `last` at which the last `window` values are most like those before; `likeness` is the normalized correlation there. */
static uint32_t best_lag(const float *end, uint32_t window, uint32_t first, uint32_t last, float *likeness) {
    const float *now = end - window;
    float best_score = 0, own = product(now, now, window), energy = 0;
    uint32_t best = last;
    for (uint32_t lag = first; lag <= last; lag++) {
        const float *before = now - lag;
        if ((lag - first) % 16) energy += before[0] * before[0] - before[window] * before[window];
        else energy = product(before, before, window); /* anew now and then, so that no error grows */
        float alike = product(now, before, window), score = alike > 0 && energy > 0 ? alike * alike / energy : 0;
        if (score > best_score) {
            best_score = score;
            best = lag;
        }
    }
    *likeness = own > 0 ? sqrtf(best_score / own) : 0;
    return best;
}

/* Coarse at about 8 kHz, then fine around it. */
static uint32_t find_period(const struct plc *p) {
    float signal[PLC_HISTORY], coarse[COARSE_LAG_MAX + COARSE_WINDOW], likeness;
    const uint32_t count = COARSE_LAG_MAX + COARSE_WINDOW, factor = coarse_factor(p->rate_hz), window = COARSE_WINDOW * factor;
    const float *end = signal + p->kept;
    for (uint32_t n = 0; n < p->kept; n++) signal[n] = p->history[n];
    for (uint32_t n = 0; n < count; n++) {
        const float *source = end - (count - n) * factor;
        coarse[n] = 0;
        for (uint32_t k = 0; k < factor; k++) coarse[n] += source[k];
    }
    uint32_t lag = best_lag(coarse + count, COARSE_WINDOW, COARSE_LAG_MIN, COARSE_LAG_MAX, &likeness);
    if (likeness < VOICED) return COARSE_LAG_MAX * factor;
    return factor > 1 ? best_lag(end, window, (lag - 1) * factor, (lag + 1) * factor, &likeness) : lag;
}

static int16_t rounded(float value) {
    value += value < 0 ? -0.5f : 0.5f;
    return value >= 32767.0f ? 32767 : value <= -32768.0f ? -32768 : (int16_t)value;
}

/* The period's last quarter becomes, little by little, what stood before the period, so that it can follow itself without a step. */
static void close_period(struct plc *p) {
    uint32_t quarter = p->period / 4;
    int16_t *tail = p->history + p->kept - quarter;
    const int16_t *before = tail - p->period;
    for (uint32_t n = 0; n < quarter; n++) {
        float weight = (float)(n + 1) / (float)(quarter + 1);
        tail[n] = rounded(tail[n] * (1 - weight) + before[n] * weight);
    }
}

static void begin_loss(struct plc *p) {
    put_in_line(p);
    p->period = find_period(p);
    p->jump = (float)(p->history[p->kept - 1] - p->history[p->kept - 1 - p->period]);
    close_period(p);
}

/* Sample `n` after the end of the history. */
TL_INLINE int16_t repeated(const struct plc *p, uint32_t n) { return p->history[p->kept - p->period + n % p->period]; }

/* The same as it is heard: without a step where the good samples end; what that takes dies away in an eighth of the period. */
TL_INLINE float continued(const struct plc *p, uint32_t n) {
    uint32_t since = p->lost_samples + n, eighth = p->period / 8;
    return since < eighth ? repeated(p, n) + p->jump * (float)(eighth - since) / (float)eighth : repeated(p, n);
}

/* Of the sample that comes `lost` after the last good one. */
TL_INLINE float gain(const struct plc *p, uint32_t lost) {
    float full = (float)p->rate_hz * (FULL_MS / 1000.0f), silent = (float)p->rate_hz * (SILENT_MS / 1000.0f);
    float value = (silent - (float)lost) / (silent - full);
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

void plc_lost(struct plc *p, int16_t *pcm, uint32_t samples) {
    int16_t made[PLC_HISTORY];
    const uint32_t silent_from = (uint32_t)((uint64_t)p->rate_hz * SILENT_MS / 1000);
    if (!p->lost_samples && samples) begin_loss(p);
    while (samples && p->lost_samples < silent_from) {
        uint32_t left = silent_from - p->lost_samples, count = samples < left ? samples : left;
        if (count > p->period) count = p->period; /* what is repeated has to be in the history */
        for (uint32_t n = 0; n < count; n++) {
            made[n] = repeated(p, n);
            pcm[n] = rounded(continued(p, n) * gain(p, p->lost_samples + n));
        }
        remember_made(p, made, count);
        p->lost_samples += count;
        pcm += count;
        samples -= count;
    }
    if (samples) memset(pcm, 0, samples * sizeof *pcm);
}

void plc_good(struct plc *p, int16_t *pcm, uint32_t samples) {
    if (!samples) return;
    if (p->lost_samples) {
        uint32_t lost_ms = (uint32_t)((uint64_t)p->lost_samples * 1000 / p->rate_hz), join_ms = JOIN_MS + lost_ms * 2 / 10;
        uint32_t count = (uint32_t)((uint64_t)p->rate_hz * (join_ms < JOIN_MS_MAX ? join_ms : JOIN_MS_MAX) / 1000);
        count = count < samples ? count : samples;
        for (uint32_t n = 0; n < count; n++) {
            float weight = (float)(n + 1) / (float)(count + 1);
            pcm[n] = rounded(pcm[n] * weight + continued(p, n) * gain(p, p->lost_samples + n) * (1 - weight));
        }
        p->lost_samples = 0;
    }
    remember_good(p, pcm, samples);
}

/* Tones made. */
#include "tones.h"

#include <math.h>
#include <string.h>

#define RAMP_MS 2
#define TURN 6.283185307179586
#define BLOCK 160 /* the oscillators turn by multiplication, and are set anew from their exact phase after so many samples */

void tone_start(struct tone *t, uint32_t rate_hz, double first_hz, double second_hz, double level_dbov, uint32_t duration_ms) {
    const double frequencies[2] = {first_hz, second_hz};
    memset(t, 0, sizeof *t);
    if (!rate_hz) return;
    uint64_t length = (uint64_t)rate_hz * duration_ms / 1000;
    t->length = t->left = length < UINT32_MAX ? (uint32_t)length : UINT32_MAX;
    t->ramp = rate_hz / 1000 * RAMP_MS;
    if (t->ramp > t->length / 2) t->ramp = t->length / 2;
    for (int k = 0; k < 2; k++) {
        if (!(frequencies[k] > 0 && frequencies[k] < rate_hz / 2.0)) continue;
        t->step[k] = TURN * frequencies[k] / rate_hz;
        t->amplitude[k] = (float)(32768.0 * sqrt(2.0) * pow(10.0, level_dbov / 20.0));
    }
}

int tone_start_digit(struct tone *t, uint32_t rate_hz, char digit, double level_dbov, uint32_t duration_ms) {
    static const double ROWS_HZ[4] = {697, 770, 852, 941}, COLUMNS_HZ[4] = {1209, 1336, 1477, 1633};
    static const char DIGITS[] = "123A456B789C*0#D";
    const char upper = digit >= 'a' && digit <= 'd' ? (char)(digit - 32) : digit, *found = upper ? strchr(DIGITS, upper) : NULL;
    if (!found) return STATUS_UNSUPPORTED;
    tone_start(t, rate_hz, ROWS_HZ[(found - DIGITS) / 4], COLUMNS_HZ[(found - DIGITS) % 4], level_dbov, duration_ms);
    return 0;
}

/* Of sample `place` of the tone: a raised cosine at both ends. */
static float ramp(const struct tone *t, uint32_t place) {
    uint32_t edge = place < t->length - 1 - place ? place : t->length - 1 - place;
    return edge < t->ramp ? 0.5f - 0.5f * cosf(3.14159265f * ((float)edge + 0.5f) / (float)t->ramp) : 1.0f;
}

static void add_block(struct tone *t, int16_t *pcm, uint32_t samples) {
    float sum[BLOCK] = {0};
    for (int k = 0; k < 2; k++) {
        if (!(t->amplitude[k] > 0)) continue;
        double sine = sin(t->phase[k]), cosine = cos(t->phase[k]), turn_sine = sin(t->step[k]), turn_cosine = cos(t->step[k]);
        for (uint32_t n = 0; n < samples; n++) {
            sum[n] += t->amplitude[k] * (float)sine;
            double next = sine * turn_cosine + cosine * turn_sine;
            cosine = cosine * turn_cosine - sine * turn_sine;
            sine = next;
        }
        t->phase[k] = fmod(t->phase[k] + t->step[k] * samples, TURN);
    }
    for (uint32_t n = 0; n < samples; n++) {
        float value = sum[n] * ramp(t, t->length - t->left + n) + (float)pcm[n];
        value += value < 0 ? -0.5f : 0.5f;
        pcm[n] = value >= 32767.0f ? 32767 : value <= -32768.0f ? -32768 : (int16_t)value;
    }
    t->left -= samples;
}

uint32_t tone_add(struct tone *t, int16_t *pcm, uint32_t samples) {
    uint32_t added = samples < t->left ? samples : t->left;
    for (uint32_t done = 0; done < added; done += BLOCK) add_block(t, pcm + done, added - done < BLOCK ? added - done : BLOCK);
    return added;
}

/* DTMF in audio. Samples are brought down to 8 kHz; Goertzel filters give the spectrum at eight frequencies of each hop of 5 ms, and the last three hops
   make one window. How far a tone turns from hop to hop tells its frequency much finer than the window's 67 Hz, so a tone that is 3.5 % off is refused
   though its energy is still there, and the loss of one that is 1.5 % off is made good. A digit is four windows in a row that all agree. */
#include "tones.h"

#include <math.h>
#include <string.h>

#define READER_RATE_HZ 8000
#define WINDOW (DTMF_HOP * DTMF_HOPS)
#define HITS_NEEDED 4       /* windows: 40 ms of tone make 5 or more, 23 ms make 3 at most */
#define MISSES_TO_END 6     /* a break of 10 ms makes 5 at most, a pause of 40 ms 9 or more */
#define SHARE_NEEDED 0.88f  /* of the window's energy in the two tones: 15 dB of noise leave 0.97, speech has its harmonics */
#define STEADY 0.5f         /* weakest window of a digit over its strongest: the first may be filled to 0.88 only, speech swells */
#define LEVEL_NEEDED 16440.0f /* mean square of each tone: -42 dBm0, 6 dB under what has to be heard */
#define TWIST_LOW 0.089f     /* column over row: -10.5 dB .. 6.5 dB, as noise and the window add up to 2.5 dB to the -8 .. 4 that are promised */
#define TWIST_HIGH 4.47f
#define NEIGHBOUR 3.5f      /* a tone is 5.4 dB above all others of its group: one that is 1.5 % off spreads that far under a stronger one of the other */
#define KEPT_MIN 0.4f /* of a tone that is beside its frequency; more is not made good */
#define DEVIATION_WINDOW 0.032f /* of the frequency, in one window; */
#define DEVIATION_DIGIT 0.022f  /* and over all windows of the digit */

static const char DIGITS[] = "123A456B789C*0#D";
static const float FREQUENCY_HZ[8] = {697, 770, 852, 941, 1209, 1336, 1477, 1633};
/* For w = 2 pi f / 8000, rows and columns: 2 cos w; cos and sin of w, of 20 w and of 40 w, the turn of a hop. */
typedef float four __attribute__((vector_size(16)));
static const four TWO_COSINE[2] = {{1.707737809f, 1.645281036f, 1.568686984f, 1.478204568f}, {1.164104023f, 0.996370211f, 0.798618389f, 0.568532707f}};
static const four COSINE[2] = {{0.853868905f, 0.822640518f, 0.784343492f, 0.739102284f}, {0.582052012f, 0.498185105f, 0.399309195f, 0.284266353f}};
static const four SINE[2] = {{0.520488130f, 0.568561851f, 0.620326758f, 0.673593211f}, {0.813151558f, 0.867070701f, 0.916816321f, 0.958745347f}};
static const four HALF_COSINE[2] = {{-0.047106451f, 0.891006524f, 0.684547106f, -0.600420225f}, {0.990023658f, -0.535826795f, -0.353474844f, 0.868631514f}};
static const four HALF_SINE[2] = {{-0.998889875f, -0.453990500f, 0.728968627f, 0.799684658f}, {0.140901232f, 0.844327926f, -0.935444031f, 0.495458668f}};
static const float HOP_COSINE[8] = {-0.995561965f, 0.587785252f, -0.062790520f, -0.278991106f, 0.960293686f, -0.425779292f, -0.750111070f, 0.509041416f};
static const float HOP_SINE[8] = {0.094108313f, -0.809016994f, 0.998026728f, -0.960293686f, 0.278991106f, -0.904827052f, 0.661311865f, 0.860742027f};

struct complex_number { float real, imaginary; };
/* first + second turned back by one hop */
TL_INLINE struct complex_number add_back(struct complex_number first, struct complex_number second, int k) {
    return (struct complex_number){first.real + second.real * HOP_COSINE[k] + second.imaginary * HOP_SINE[k],
                                   first.imaginary + second.imaginary * HOP_COSINE[k] - second.real * HOP_SINE[k]};
}

int dtmf_reader_start(struct dtmf_reader *d, uint32_t rate_hz) {
    memset(d, 0, sizeof *d);
    if (rate_hz != 8000 && rate_hz != 16000 && rate_hz != 24000 && rate_hz != 32000 && rate_hz != 48000) return STATUS_UNSUPPORTED;
    d->rate_hz = rate_hz;
    d->ratio = rate_hz / READER_RATE_HZ;
    return 0;
}

static float energy_of(const float *samples) {
    four sum = {0}, values;
    for (int n = 0; n < DTMF_HOP; n += 4) {
        memcpy(&values, samples + n, sizeof values);
        sum += values * values;
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

/* The spectrum of a full hop at four frequencies; phases refer to its end. Both halves run side by side, as each step of a filter waits for the last. */
static void transform_group(const float *samples, int group, float *real, float *imaginary) {
    const four turn = TWO_COSINE[group];
    four first = {0}, first_before = {0}, second = {0}, second_before = {0};
    for (int n = 0; n < DTMF_HOP / 2; n++) {
        four first_next = samples[n] - first_before + turn * first, second_next = samples[n + DTMF_HOP / 2] - second_before + turn * second;
        first_before = first;
        second_before = second;
        first = first_next;
        second = second_next;
    }
    first -= COSINE[group] * first_before;
    first_before *= SINE[group];
    second += HALF_COSINE[group] * first - HALF_SINE[group] * first_before - COSINE[group] * second_before;
    second_before = SINE[group] * second_before + HALF_COSINE[group] * first_before + HALF_SINE[group] * first;
    memcpy(real, &second, sizeof second);
    memcpy(imaginary, &second_before, sizeof second_before);
}

/* A hop too quiet to be part of a digit is taken as silence. */
static void transform(const float *samples, struct dtmf_spectrum *spectrum) {
    memset(spectrum, 0, sizeof *spectrum);
    spectrum->energy = energy_of(samples);
    if (spectrum->energy < LEVEL_NEEDED * DTMF_HOP * 0.02f) return;
    transform_group(samples, 0, spectrum->real, spectrum->imaginary);
    transform_group(samples, 1, spectrum->real + 4, spectrum->imaginary + 4);
}

/* One tone in the window: its mean square, and how far it turned in a hop beyond its nominal frequency. */
struct heard { float power; struct complex_number turn; };

static struct heard listen(const struct dtmf_reader *d, int k) {
    struct complex_number hop[DTMF_HOPS];
    for (int i = 0; i < DTMF_HOPS; i++) hop[i] = (struct complex_number){d->hops[i].real[k], d->hops[i].imaginary[k]};
    struct complex_number early = add_back(hop[0], hop[1], k), late = add_back(hop[1], hop[2], k), whole = add_back(hop[0], late, k);
    late = (struct complex_number){late.real * HOP_COSINE[k] + late.imaginary * HOP_SINE[k], late.imaginary * HOP_COSINE[k] - late.real * HOP_SINE[k]};
    return (struct heard){(whole.real * whole.real + whole.imaginary * whole.imaginary) * 2.0f / (WINDOW * WINDOW),
                          {late.real * early.real + late.imaginary * early.imaginary, late.imaginary * early.real - late.real * early.imaginary}};
}

/* How far from its nominal frequency a tone is, in Hz. */
static float deviation_hz(float turn_real, float turn_imaginary) {
    return atan2f(turn_imaginary, turn_real) * (READER_RATE_HZ / (6.28318531f * DTMF_HOP));
}

/* Makes good what the window takes from a tone beside its nominal frequency; 0 for one that is too far away. */
static float corrected(const struct heard *tone, int k) {
    float off = deviation_hz(tone->turn.real, tone->turn.imaginary);
    if (fabsf(off) > DEVIATION_WINDOW * FREQUENCY_HZ[k]) return 0;
    float angle = off * (3.14159265f * WINDOW / READER_RATE_HZ), kept = fabsf(angle) > 0.01f ? sinf(angle) / angle : 1.0f;
    return tone->power / (kept * kept > KEPT_MIN ? kept * kept : KEPT_MIN);
}

/* The strongest of a group of four, -1 where none stands out. */
static int strongest(const struct heard *tones) {
    int best = 0;
    for (int k = 1; k < 4; k++)
        if (tones[k].power > tones[best].power) best = k;
    for (int k = 0; k < 4; k++)
        if (k != best && tones[k].power * NEIGHBOUR > tones[best].power) return -1;
    return best;
}

/* The digit of a window, 1..16, or 0; how its row and column turn, and the mean square of both. */
struct window { struct complex_number turns[2]; float power; };
static uint8_t window_digit(const struct dtmf_reader *d, struct window *window) {
    struct heard tones[8];
    float energy = d->hops[0].energy + d->hops[1].energy + d->hops[2].energy;
    if (energy < 2 * LEVEL_NEEDED * WINDOW) return 0;
    for (int k = 0; k < 8; k++) tones[k] = listen(d, k);
    int row = strongest(tones), column = strongest(tones + 4);
    if (row < 0 || column < 0) return 0;
    float low = corrected(&tones[row], row), high = corrected(&tones[4 + column], 4 + column);
    if (low < LEVEL_NEEDED || high < LEVEL_NEEDED || high < low * TWIST_LOW || high > low * TWIST_HIGH) return 0;
    if ((low + high) * WINDOW < energy * SHARE_NEEDED) return 0;
    *window = (struct window){{tones[row].turn, tones[4 + column].turn}, low + high};
    return (uint8_t)(1 + 4 * row + column);
}

/* Windows of one digit in a row, and what their tones turned together. */
static void follow(struct dtmf_reader *d, uint8_t digit, const struct window *window) {
    if (!digit || digit != d->candidate) {
        d->candidate = digit;
        d->hits = 0;
        d->candidate_begin = d->position - (uint64_t)WINDOW * d->ratio;
        memset(d->turn_real, 0, sizeof d->turn_real);
        memset(d->turn_imaginary, 0, sizeof d->turn_imaginary);
    }
    if (!digit) return;
    if (!d->hits) d->weakest = d->strongest = window->power;
    if (window->power < d->weakest) d->weakest = window->power;
    if (window->power > d->strongest) d->strongest = window->power;
    d->hits += d->hits < UINT8_MAX;
    for (int k = 0; k < 2; k++) {
        d->turn_real[k] += window->turns[k].real;
        d->turn_imaginary[k] += window->turns[k].imaginary;
    }
}

static int is_certain(const struct dtmf_reader *d) {
    if (d->hits < HITS_NEEDED || d->weakest < d->strongest * STEADY) return 0;
    const float row_hz = FREQUENCY_HZ[(d->candidate - 1) / 4], column_hz = FREQUENCY_HZ[4 + (d->candidate - 1) % 4];
    return fabsf(deviation_hz(d->turn_real[0], d->turn_imaginary[0])) < DEVIATION_DIGIT * row_hz &&
           fabsf(deviation_hz(d->turn_real[1], d->turn_imaginary[1])) < DEVIATION_DIGIT * column_hz;
}

static void end_digit(struct dtmf_reader *d, struct dtmf_found *found) {
    *found = (struct dtmf_found){DIGITS[d->digit - 1], 1, (uint32_t)((d->digit_end - d->digit_begin) * 1000 / d->rate_hz), d->digit_end};
    d->digit = 0;
}

/* What a full hop changes: at most an end and a beginning. */
static uint32_t take_hop(struct dtmf_reader *d, struct dtmf_found *found) {
    struct window window;
    uint32_t count = 0;
    memmove(d->hops, d->hops + 1, (DTMF_HOPS - 1) * sizeof *d->hops);
    transform(d->pending, &d->hops[DTMF_HOPS - 1]);
    d->filled = 0;
    uint8_t digit = window_digit(d, &window);
    follow(d, digit, &window);
    if (d->digit && digit == d->digit) {
        d->misses = 0;
        d->digit_end = d->position;
    } else if (d->digit && ++d->misses >= MISSES_TO_END) {
        end_digit(d, &found[count++]);
    }
    if (digit && digit != d->digit && is_certain(d)) {
        if (d->digit) end_digit(d, &found[count++]);
        d->digit = digit;
        d->misses = 0;
        d->digit_begin = d->candidate_begin;
        d->digit_end = d->position;
        found[count++] = (struct dtmf_found){DIGITS[digit - 1], 0, 0, d->digit_begin};
    }
    return count;
}

/* As many samples as fill the hop, or all; returns how many. */
static uint32_t fill(struct dtmf_reader *d, const int16_t *pcm, uint32_t samples) {
    uint32_t taken = 0;
    if (d->ratio == 1) {
        taken = samples < DTMF_HOP - d->filled ? samples : DTMF_HOP - d->filled;
        for (uint32_t n = 0; n < taken; n++) d->pending[d->filled + n] = pcm[n];
        d->filled += taken;
        return taken;
    }
    const float share = 1.0f / (float)d->ratio;
    while (taken < samples && d->filled < DTMF_HOP) {
        d->sum += pcm[taken++];
        if (++d->summed < d->ratio) continue;
        d->pending[d->filled++] = (float)d->sum * share;
        d->sum = 0;
        d->summed = 0;
    }
    return taken;
}

uint32_t dtmf_reader_take(struct dtmf_reader *d, const int16_t *pcm, uint32_t samples, struct dtmf_found *found, uint32_t room) {
    struct dtmf_found fresh[2];
    uint32_t count = 0;
    while (samples) {
        uint32_t taken = fill(d, pcm, samples);
        pcm += taken;
        samples -= taken;
        d->position += taken;
        if (d->filled < DTMF_HOP) break;
        uint32_t made = take_hop(d, fresh);
        for (uint32_t k = 0; k < made && count < room; k++) found[count++] = fresh[k];
    }
    return count;
}

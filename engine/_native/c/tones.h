/* Tones in audio: DTMF heard (ITU-T Q.23, Q.24) and tones made. */
#ifndef TRUNKLINE_TONES_H
#define TRUNKLINE_TONES_H

#include "status.h"

#define DTMF_HOP 40   /* samples at 8 kHz: 5 ms */
#define DTMF_HOPS 3   /* of a window: 15 ms */

struct dtmf_spectrum { float real[8], imaginary[8], energy; }; /* of one hop: four rows, then four columns */
struct dtmf_reader {
    struct dtmf_spectrum hops[DTMF_HOPS];  /* the last ones, newest last */
    float pending[DTMF_HOP];               /* samples at 8 kHz of the hop that is not full */
    int32_t sum;                           /* of the samples that make the next of these */
    uint32_t rate_hz, ratio, filled, summed;
    float turn_real[2], turn_imaginary[2]; /* of the candidate's tones from hop to hop, summed over its windows: their frequencies */
    float weakest, strongest;              /* of its windows */
    uint8_t digit, candidate;              /* 1..16, 0: none */
    uint8_t hits, misses;                  /* windows of the candidate; windows since the digit was last heard */
    uint64_t position;                     /* samples seen */
    uint64_t candidate_begin, digit_begin, digit_end;
};
/* 8, 16, 24, 32 or 48 kHz; STATUS_UNSUPPORTED. */
int dtmf_reader_start(struct dtmf_reader *d, uint32_t rate_hz);
/* A digit began or ended. `position` is where, in samples from the start of the reader; `duration_ms` is 0 until it ended. */
struct dtmf_found { char digit; uint8_t ended; uint32_t duration_ms; uint64_t position; };
/* Looks at samples; digits need 40 ms, a twist between -8 and +4 dB, a level of -36 dBm0, frequencies within 1.5 % and no speech (harmonics, other energy).
   Breaks of up to 10 ms are bridged, pauses of 40 ms end a digit. Writes what began and what ended, at most `room`, and returns how many; there are never
   more than 2 + samples / (10 ms). Linear. */
uint32_t dtmf_reader_take(struct dtmf_reader *d, const int16_t *pcm, uint32_t samples, struct dtmf_found *found, uint32_t room);

struct tone { double phase[2], step[2]; float amplitude[2]; uint32_t left, ramp, length; };
/* Up to two frequencies, 0 for none; level in dBov (0 .. -60) each; ramps of 2 ms at both ends. */
void tone_start(struct tone *t, uint32_t rate_hz, double first_hz, double second_hz, double level_dbov, uint32_t duration_ms);
int tone_start_digit(struct tone *t, uint32_t rate_hz, char digit, double level_dbov, uint32_t duration_ms); /* STATUS_UNSUPPORTED */
/* Adds to pcm, saturated; returns samples until it was over. */
uint32_t tone_add(struct tone *t, int16_t *pcm, uint32_t samples);

#endif

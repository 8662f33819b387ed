/* The speexdsp resampler over a file: speex_resample FILE FROM_HZ TO_HZ QUALITY SAMPLES ROUNDS. The file is cut into frames of SAMPLES, each a stream
   with a state of its own; prints the nanoseconds of the processor of the fastest round. With SAMPLES 0 the file is one stream, and is replaced by what came of it. */
#include <speex/speex_resampler.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

int main(int count, char **given) {
    if (count != 7) return 2;
    const uint32_t from_hz = (uint32_t)atoi(given[2]), to_hz = (uint32_t)atoi(given[3]);
    FILE *file = fopen(given[1], "r+b");
    if (!file || fseek(file, 0, SEEK_END)) return 1;
    const uint32_t total = (uint32_t)(ftell(file) / 2), samples = atoi(given[5]) ? (uint32_t)atoi(given[5]) : total, streams = total / samples;
    const uint32_t room = (uint32_t)((uint64_t)samples * to_hz / from_hz) + 16;
    int16_t *in = malloc(total * sizeof *in + 2), *out = malloc((size_t)streams * room * sizeof *out);
    SpeexResamplerState **states = malloc(streams * sizeof *states);
    rewind(file);
    if (fread(in, 2, total, file) != total) return 1;
    for (uint32_t i = 0; i < streams; i++) states[i] = speex_resampler_init(1, from_hz, to_hz, atoi(given[4]), NULL);
    uint64_t best = UINT64_MAX;
    uint32_t made = 0;
    for (int round = 0; round < atoi(given[6]); round++) {
        const uint64_t begin = now_ns();
        for (uint32_t i = 0; i < streams; i++) {
            uint32_t taken = samples;
            made = room;
            speex_resampler_process_int(states[i], 0, in + (size_t)i * samples, &taken, out + (size_t)i * room, &made);
        }
        const uint64_t spent = now_ns() - begin;
        if (spent < best) best = spent;
    }
    if (samples == total) {
        file = freopen(given[1], "wb", file);
        if (!file || fwrite(out, 2, made, file) != made) return 1;
    }
    fclose(file);
    printf("%llu\n", (unsigned long long)best);
    return 0;
}

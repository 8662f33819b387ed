/* A loop over the SDP kernel for benchmarks, so that no Python object is made for a description. */
#include <time.h>

#include "sdp.h"

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* Scans `count` descriptions. `told`: scanned, media lines, formats. Returns nanoseconds. */
uint64_t drive_descriptions(const uint8_t *source, const uint64_t *offsets, const uint64_t *lengths, uint64_t count,
                            uint64_t told[3]) {
    struct sdp_session session;
    static struct sdp_media media[16];
    uint64_t begin = now_ns();
    told[0] = told[1] = told[2] = 0;
    for (uint64_t at = 0; at < count; at++) {
        const struct sip_span body = {0, (uint32_t)lengths[at]};
        ptrdiff_t found = sdp_scan(source + offsets[at], body, &session, media, 16);
        if (found < 0) continue;
        told[0]++;
        told[1] += (uint64_t)found;
        for (ptrdiff_t row = 0; row < found; row++) told[2] += media[row].format_total;
    }
    return now_ns() - begin;
}

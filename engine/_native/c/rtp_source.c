/* Sequence numbers and jitter of one sender (RFC 3550 A.1, A.3, A.8). */
#include "rtp_source.h"

#include <string.h>

#define NO_SEQUENCE UINT32_MAX

void rtp_source_start(struct rtp_source *s, uint32_t ssrc, uint32_t clock_rate_hz) {
    memset(s, 0, sizeof *s);
    s->ssrc = ssrc;
    s->clock_rate_hz = clock_rate_hz;
    s->bad_sequence = NO_SEQUENCE;
}

/* A.8 as a difference of two packets (§6.4.1): arrival is not rounded to clock units, and neither timestamps nor times need a common zero. */
static void take_time(struct rtp_source *s, uint32_t timestamp, int64_t arrival_ns) {
    if (TL_LIKELY(s->timed)) {
        const int32_t step = (int32_t)(timestamp - s->timed_timestamp);
        if (TL_UNLIKELY(!step)) return;
        const double rate = s->clock_rate_hz;
        const double arrived = (double)(int64_t)((uint64_t)arrival_ns - (uint64_t)s->timed_ns) * (rate * 1e-9);
        const double difference = __builtin_fabs(arrived - (double)step);
        if (TL_LIKELY(difference <= rate * RTP_SOURCE_OFFSET_S)) {
            s->jitter += (difference - s->jitter) * (1.0 / 16);
            if (s->jitter > s->jitter_max) s->jitter_max = s->jitter;
        }
    }
    s->timed = s->clock_rate_hz != 0;
    s->timed_ns = arrival_ns;
    s->timed_timestamp = timestamp;
}

static void begin(struct rtp_source *s, uint16_t sequence, uint32_t timestamp, int64_t arrival_ns) {
    s->begun = 1;
    s->base = s->extended_highest = 65536u + (uint64_t)sequence;
    s->first_ns = arrival_ns;
    s->first_timestamp = timestamp;
}

/* The stray before this packet was the first of the new run. A whole cycle stays free, so that packets from before that first one lie above
   the old run too. */
static void restart(struct rtp_source *s, uint16_t sequence) {
    s->expected_before += s->extended_highest - s->base + 1;
    s->extended_highest = ((s->extended_highest >> 16) + 2) * 65536u + sequence;
    s->base = s->extended_highest - 1;
    s->received++;
    s->payload_bytes += s->stray_bytes;
    s->strays--;
    s->restarts++;
    s->timed = 0;
}

int rtp_source_take(struct rtp_source *s, uint16_t sequence, uint32_t timestamp, uint32_t payload_bytes, int64_t arrival_ns, uint64_t *extended) {
    int verdict = RTP_SOURCE_VALID;
    const int repeated = s->begun && sequence == (uint16_t)s->extended_highest;
    const uint16_t ahead = (uint16_t)(sequence - (uint16_t)s->extended_highest);
    if (TL_UNLIKELY(!s->begun)) {
        begin(s, sequence, timestamp, arrival_ns);
        *extended = s->extended_highest;
    } else if (TL_LIKELY(ahead < RTP_SOURCE_DROPOUT_MAX)) {
        *extended = s->extended_highest += ahead;
    } else if (ahead > 65536u - RTP_SOURCE_MISORDER_MAX) {
        *extended = s->extended_highest - (65536u - ahead);
    } else if (sequence == s->bad_sequence) {
        restart(s, sequence);
        *extended = s->extended_highest;
        verdict = RTP_SOURCE_RESTART;
    } else {
        s->bad_sequence = (uint16_t)(sequence + 1);
        s->stray_bytes = payload_bytes;
        s->strays++;
        *extended = 0;
        return RTP_SOURCE_STRAY;
    }
    s->bad_sequence = NO_SEQUENCE;
    s->received++;
    s->payload_bytes += payload_bytes;
    s->last_ns = arrival_ns;
    s->last_timestamp = timestamp;
    if (*extended == s->extended_highest && !repeated) take_time(s, timestamp, arrival_ns); /* what came before, or late, says nothing of the spacing now */
    return verdict;
}

void rtp_source_clock(struct rtp_source *s, uint32_t clock_rate_hz) {
    if (clock_rate_hz == s->clock_rate_hz) return;
    s->jitter_max = s->clock_rate_hz ? s->jitter_max * clock_rate_hz / s->clock_rate_hz : 0;
    s->jitter = 0;
    s->timed = 0;
    s->clock_rate_hz = clock_rate_hz;
}

uint64_t rtp_source_expected(const struct rtp_source *s) {
    return s->begun ? s->expected_before + s->extended_highest - s->base + 1 : 0;
}

int64_t rtp_source_lost(const struct rtp_source *s) { return (int64_t)(rtp_source_expected(s) - s->received); }

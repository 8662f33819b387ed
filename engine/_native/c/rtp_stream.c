/* One RTP packet into its stream: sequence numbers, arrival against RTP time, what the windows collect
   (RFC 3550 §6.4.1, A.1, A.8; RFC 3611 §4.7.2). */
#include <math.h>

#include "rtp_stream.h"

#define LATE_RUN_MAX 10           /* discards in a row after which a simulated buffer starts anew */
#define TALKSPURT_NS 200000000ll  /* silence before a marker that lets a buffer start anew */
#define JUMP_SLACK_MS 100.0
#define CLOCK_FIRST_ESTIMATE 32   /* packets */

enum arrival { ARRIVAL_FIRST, ARRIVAL_NEXT, ARRIVAL_AHEAD /* with a hole */, ARRIVAL_RESTART,
               ARRIVAL_LATE, ARRIVAL_DUPLICATE, ARRIVAL_STRAY };

/* ---- losses, in the order of sequence numbers ---- */

void stream_close_burst(struct rtp_stream *s) {
    if (s->open_lost > 1) { /* an isolated loss belongs to the gap (RFC 3611 §4.7.2) */
        s->bursts++;
        s->burst_lost += s->open_lost;
        s->burst_length += s->open_length;
    }
    s->open_lost = s->open_length = 0;
}

static void close_loss_run(struct rtp_stream *s) {
    s->loss_runs++;
    if (s->loss_run > s->loss_run_max) s->loss_run_max = s->loss_run;
    if (s->loss_run >= 5) s->loss_runs_long++;
    s->loss_run = 0;
}

void stream_settle_received(struct rtp_stream *s) {
    if (s->loss_run) close_loss_run(s);
    s->settled++;
    s->received_run++;
}

void stream_settle_lost(struct rtp_stream *s, uint64_t count) {
    if (!count) return;
    const uint32_t n = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    if (s->open_lost && s->received_run < RTP_GMIN) {
        s->open_length += s->received_run + n;
    } else {
        stream_close_burst(s);
        s->open_length = n;
    }
    s->open_lost += n;
    s->received_run = 0;
    s->loss_run += n;
    s->settled += n;
}

TL_INLINE int window_bit(const struct rtp_stream *s, uint32_t place) {
    return (int)(s->window[place >> 6] >> (place & 63) & 1);
}

static void settle_places(struct rtp_stream *s, uint32_t oldest, uint32_t count) {
    for (uint32_t k = 0; k < count; k++) {
        if (window_bit(s, oldest - k)) stream_settle_received(s);
        else stream_settle_lost(s, 1);
    }
}

void stream_settle_window(struct rtp_stream *s) {
    const uint64_t span = s->highest - s->base + 1;
    const uint32_t open = span < RTP_WINDOW ? (uint32_t)span : RTP_WINDOW;
    if (s->received) settle_places(s, open - 1, open);
    s->window[0] = s->window[1] = 0;
}

/* Moves the window on by `step` sequence numbers; what leaves it is settled. */
static void window_advance(struct rtp_stream *s, uint32_t step) {
    const uint64_t span = s->highest - s->base + 1;
    const uint32_t open = span < RTP_WINDOW ? (uint32_t)span : RTP_WINDOW;
    if (open + step > RTP_WINDOW) {
        const uint32_t leaving = step >= RTP_WINDOW ? open : open + step - RTP_WINDOW;
        settle_places(s, open - 1, leaving);
    }
    if (step >= RTP_WINDOW) {
        stream_settle_lost(s, step - RTP_WINDOW);
        s->window[0] = 1;
        s->window[1] = 0;
    } else if (step >= 64) {
        s->window[1] = step == 64 ? s->window[0] : s->window[0] << (step - 64);
        s->window[0] = 1;
    } else {
        s->window[1] = s->window[1] << step | s->window[0] >> (64 - step);
        s->window[0] = s->window[0] << step | 1;
    }
    s->highest += step;
}

static enum arrival restart_or_stray(struct rtp_stream *s, uint16_t sequence) {
    if (!(s->state & RTP_STRAY_OPEN) || s->stray_next != sequence) {
        s->state |= RTP_STRAY_OPEN;
        s->stray_next = (uint16_t)(sequence + 1);
        s->strays++;
        return ARRIVAL_STRAY;
    }
    /* two in sequence: the sender began anew; the first of them counts after all */
    if ((int16_t)(sequence - (uint16_t)s->highest) > 0) s->jumps_forward++;
    else s->jumps_back++;
    stream_settle_window(s);
    s->expected_before += s->highest - s->base + 1;
    s->base = 65536u + (uint64_t)sequence - 1;
    s->highest = s->base + 1;
    s->window[0] = 3;
    s->received += 2;
    s->strays--;
    s->restarts++;
    s->state = (uint8_t)((s->state & ~(RTP_STRAY_OPEN | RTP_MEASURING)) | RTP_TIMING_BROKEN);
    return ARRIVAL_RESTART;
}

static enum arrival sequence_odd(struct rtp_stream *s, uint16_t sequence, uint32_t ahead) {
    if (ahead >= RTP_MAX_DROPOUT && ahead <= 65536 - RTP_MAX_MISORDER) return restart_or_stray(s, sequence);
    s->state &= (uint8_t)~RTP_STRAY_OPEN;
    if (ahead > 0 && ahead < RTP_MAX_DROPOUT) {
        if (ahead > 100) s->jumps_forward++;
        if (ahead > 1) s->window_runs++;
        window_advance(s, ahead);
        s->received++;
        return ahead == 1 ? ARRIVAL_NEXT : ARRIVAL_AHEAD;
    }
    const uint32_t behind = (65536 - ahead) & 0xFFFF;
    if (window_bit(s, behind)) {
        s->duplicates++;
        return ARRIVAL_DUPLICATE;
    }
    if (s->highest - s->base < behind) s->base = s->highest - behind; /* older than the first seen */
    s->window[behind >> 6] |= 1ull << (behind & 63);
    s->received++;
    s->reordered++;
    return ARRIVAL_LATE;
}

TL_INLINE enum arrival sequence_take(struct rtp_stream *s, uint16_t sequence) {
    const uint32_t ahead = (uint16_t)(sequence - (uint16_t)s->highest);
    if (TL_LIKELY(ahead == 1 && !(s->state & RTP_STRAY_OPEN) && s->highest - s->base >= RTP_WINDOW - 1 &&
                  s->window[1] >> 63 && !s->loss_run)) {
        s->window[1] = s->window[1] << 1 | s->window[0] >> 63;
        s->window[0] = s->window[0] << 1 | 1;
        s->highest++;
        s->settled++;
        s->received_run++;
        s->received++;
        return ARRIVAL_NEXT;
    }
    return sequence_odd(s, sequence, ahead);
}

/* ---- seconds and ten-second windows ---- */

void stream_close_window(struct rtp_stream *s, int whole) {
    const uint64_t all = stream_expected(s), expected = all - s->window_expected;
    const uint32_t received = s->received - s->window_received;
    if (expected && (whole || !s->worst_seen)) {
        const uint64_t lost = expected > received ? expected - received : 0;
        double percent = 100.0 * (double)(lost + s->window_discarded) / (double)expected;
        if (percent > 100.0) percent = 100.0;
        if (!s->worst_seen || percent > s->worst_loss_percent) {
            const double run = s->window_runs && lost ? (double)lost / s->window_runs : 1.0;
            const double ratio = run * (1.0 - percent / 100.0);
            s->worst_seen = 1;
            s->worst_loss_percent = (float)percent;
            s->worst_burst_ratio = ratio > 1.0 ? (float)ratio : 1.0f;
            s->worst_start_ns = (int64_t)((uint64_t)s->first_time_ns +
                                          (uint64_t)s->window_second * RTP_WORST_WINDOW_S * RTP_SECOND_NS);
        }
    }
    s->window_expected = all;
    s->window_received = s->received;
    s->window_runs = s->window_discarded = 0;
}

void stream_close_second(struct rtp_stream *s, int64_t time_ns) {
    if (s->state & RTP_ENVELOPE) {
        const double x = s->second, y = s->envelope_ms;
        s->drift_sum[0] += x;
        s->drift_sum[1] += y;
        s->drift_sum[2] += x * x;
        s->drift_sum[3] += x * y;
        s->drift_points++;
        s->drift_last_s = s->second;
        s->buffers[2].anchor_ms = s->envelope_ms;
        s->state &= (uint8_t)~RTP_ENVELOPE;
    }
    const int64_t elapsed = since(time_ns, s->first_time_ns);
    if (elapsed < 0) return;
    const uint64_t second = (uint64_t)elapsed / RTP_SECOND_NS;
    const uint32_t now = second > UINT32_MAX ? UINT32_MAX : (uint32_t)second;
    if (now / RTP_WORST_WINDOW_S != s->window_second) {
        stream_close_window(s, 1);
        s->window_second = now / RTP_WORST_WINDOW_S;
    }
    s->second = now;
    s->tick_ns = (int64_t)((uint64_t)s->first_time_ns + (second + 1) * RTP_SECOND_NS);
}

/* ---- arrival against RTP time ---- */

static void step_note(struct rtp_stream *s, uint32_t step) {
    uint32_t place = RTP_STEPS, once = RTP_STEPS;
    for (uint32_t k = 0; k < RTP_STEPS; k++) {
        if (s->steps[k].count == 0 || s->steps[k].value == step) { place = k; break; }
        if (s->steps[k].count == 1) once = k;
    }
    if (place == RTP_STEPS) { /* no room: a step seen once makes way, so that a late habit is still found */
        s->step_other++;
        if (once == RTP_STEPS) return;
        place = once;
        s->steps[place].count = 0;
    }
    s->steps[place].value = step;
    s->steps[place].count++;
    if (place != s->step_index && s->steps[place].count > s->steps[s->step_index].count)
        s->step_index = (uint8_t)place;
    s->ptime_ms = (float)(s->steps[s->step_index].value * s->ms_per_tick);
}

void stream_estimate_clock(struct rtp_stream *s) {
    static const uint32_t rates[] = {8000, 16000, 24000, 32000, 44100, 48000, 90000};
    struct rtp_payload *payload = &s->payloads[s->payload_index];
    if (!(s->state & RTP_MEASURING) || payload->clock_rate_hz || payload->payload_type == RTP_NO_PAYLOAD_TYPE)
        return;
    const double elapsed = (double)since(s->last_time_ns, s->steady_time_ns) * 1e-9;
    const double ticks = (double)(int32_t)(s->last_timestamp - s->steady_timestamp);
    if (elapsed < 0.2 || ticks <= 0) return;
    const double measured = ticks / elapsed;
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        if (fabs(measured / rates[k] - 1.0) > 0.045) continue;
        payload->clock_rate_hz = rates[k];
        s->flags |= RTP_CLOCK_ESTIMATED;
        s->state &= (uint8_t)~(RTP_STEADY | RTP_MEASURING);
        payload_apply(s);
        return;
    }
}

static void measure_clock(struct rtp_stream *s, const struct packet *p, const struct rtp_header *h) {
    if (!(s->state & RTP_MEASURING)) {
        s->state |= RTP_MEASURING;
        s->steady_time_ns = p->time_ns;
        s->steady_timestamp = h->timestamp;
        return;
    }
    const uint32_t n = s->payloads[s->payload_index].packets;
    if (n >= CLOCK_FIRST_ESTIMATE && (n & (n - 1)) == 0) stream_estimate_clock(s);
}

static void gap_note(struct rtp_stream *s, int64_t delta, double step_ms, int announced_pause, int timed) {
    const double delta_ms = (double)delta * 1e-6;
    /* silence suppression: nothing missing, and RTP time went on with the clock on the wall */
    if (announced_pause && (!timed || fabs(step_ms - delta_ms) <= 0.1 * delta_ms + 60.0)) {
        s->pauses++;
        return;
    }
    s->gaps++;
    if (delta > s->gap_max_ns) {
        s->gap_max_ns = delta;
        s->gap_start_ns = s->last_time_ns;
    }
}

TL_INLINE void buffer_take(struct rtp_stream *s, struct rtp_buffer *b, float skew, float depth,
                           int adaptive) {
    if (TL_UNLIKELY(skew - b->anchor_ms > depth)) {
        b->discarded++;
        if (adaptive) s->window_discarded++;
        if (++b->late_run >= LATE_RUN_MAX) {
            b->anchor_ms = skew;
            b->late_run = 0;
        }
        return;
    }
    b->late_run = 0;
    if (skew < b->anchor_ms - (adaptive ? 0.0f : depth)) b->anchor_ms = skew;
}

static void skew_take(struct rtp_stream *s, int64_t time_ns, int talkspurt) {
    const float skew = (float)((double)since(time_ns, s->first_time_ns) * 1e-6 - s->media_ms);
    if (TL_UNLIKELY(!(s->state & RTP_ANCHORED) || talkspurt)) {
        if (!(s->state & RTP_ANCHORED)) {
            s->skew_min_ms = s->skew_max_ms = s->buffers[2].anchor_ms = skew;
            s->state |= RTP_ANCHORED;
        }
        s->buffers[0].anchor_ms = s->buffers[1].anchor_ms = skew;
    }
    if (skew < s->skew_min_ms) s->skew_min_ms = skew;
    if (skew > s->skew_max_ms) s->skew_max_ms = skew;
    if (!(s->state & RTP_ENVELOPE) || skew < s->envelope_ms) {
        s->envelope_ms = skew;
        s->state |= RTP_ENVELOPE;
    }
    float target = 4.0f * (float)s->steady_jitter_ms;
    if (target < 40.0f) target = 40.0f;
    if (target > 500.0f) target = 500.0f;
    buffer_take(s, &s->buffers[0], skew, 50.0f, 0);
    buffer_take(s, &s->buffers[1], skew, 200.0f, 0);
    buffer_take(s, &s->buffers[2], skew, target, 1);
}

TL_INLINE void jitter_take(struct rtp_stream *s, double difference) {
    s->jitter_ms += (difference - s->jitter_ms) * (1.0 / 16);
    s->jitter_sum_ms += s->jitter_ms;
    s->jitter_count++;
    if ((float)s->jitter_ms > s->jitter_max_ms) s->jitter_max_ms = (float)s->jitter_ms;
}

/* The variant: media packets only, measured from the media
   packet before; markers and jumps only set the mark. */
TL_INLINE void steady_take(struct rtp_stream *s, int64_t time_ns, uint32_t timestamp, int measure) {
    if (measure && (s->state & RTP_STEADY)) {
        const double ms = (double)since(time_ns, s->steady_time_ns) * 1e-6;
        const double step = (int32_t)(timestamp - s->steady_timestamp) * s->ms_per_tick;
        s->steady_jitter_ms += (fabs(ms - step) - s->steady_jitter_ms) * (1.0 / 16);
        s->steady_jitter_sum_ms += s->steady_jitter_ms;
        s->steady_jitter_count++;
        if ((float)s->steady_jitter_ms > s->steady_jitter_max_ms)
            s->steady_jitter_max_ms = (float)s->steady_jitter_ms;
    }
    s->state |= RTP_STEADY;
    s->steady_time_ns = time_ns;
    s->steady_timestamp = timestamp;
}

/* A step between two media packets of one payload type, next to each other in sequence and in arrival, no
   marker. Returns 1 when the timestamp jumped. */
TL_INLINE int step_take(struct rtp_stream *s, int32_t ticks, double delta_ms, double step_ms) {
    s->deltas++;
    if (s->ptime_ms > 0 && delta_ms > 3.0 * s->ptime_ms) s->late_deltas++;
    const struct rtp_count *mode = &s->steps[s->step_index];
    if (TL_LIKELY(mode->count && (uint32_t)ticks == mode->value)) {
        s->steps[s->step_index].count++;
        return 0;
    }
    if (s->ptime_ms > 0 && s->payloads[s->payload_index].clock_rate_hz != 90000 &&
        (ticks < 0 || step_ms > 2.0 * delta_ms + JUMP_SLACK_MS)) {
        s->timestamp_jumps++;
        return 1;
    }
    if (ticks > 0) step_note(s, (uint32_t)ticks); /* several packets of one video frame share a timestamp */
    return 0;
}

/* Arrival time of an accepted packet that is no duplicate. `before` is the kind of the packet before. */
TL_INLINE void time_take(struct rtp_stream *s, const struct packet *p, const struct rtp_header *h,
                         enum arrival arrival, int switched, uint8_t before) {
    const int64_t delta = since(p->time_ns, s->last_time_ns);
    const int32_t ticks = (int32_t)(h->timestamp - s->last_timestamp);
    const double delta_ms = (double)delta * 1e-6, step_ms = ticks * s->ms_per_tick;
    const int timed = s->ms_per_tick > 0 && !(s->state & RTP_TIMING_BROKEN);
    const int contiguous = arrival == ARRIVAL_NEXT && (s->state & RTP_IN_ORDER);
    const int media = s->kind == RTP_KIND_MEDIA;
    int jumped = 0;
    if (delta > s->delta_max_ns) s->delta_max_ns = delta;
    if (TL_UNLIKELY(delta > RTP_GAP_NS))
        gap_note(s, delta, step_ms, contiguous && (h->marker || before == RTP_KIND_COMFORT_NOISE), timed);
    if (contiguous && media && !switched && !h->marker) jumped = step_take(s, ticks, delta_ms, step_ms);
    if (timed) jitter_take(s, fabs(delta_ms - step_ms));
    s->media_ms += timed && !jumped ? step_ms : delta_ms;
    if (media) {
        if (s->ms_per_tick > 0) {
            steady_take(s, p->time_ns, h->timestamp, !h->marker && !jumped && timed);
            skew_take(s, p->time_ns, h->marker && delta > TALKSPURT_NS);
        } else {
            measure_clock(s, p, h);
        }
    }
}

/* ---- the packet ---- */

void stream_begin(struct rtp_stream *s, int64_t time_ns, const struct rtp_header *h) {
    s->first_time_ns = s->last_time_ns = time_ns;
    s->first_timestamp = s->last_timestamp = h->timestamp;
    s->first_sequence = h->sequence;
    s->base = s->highest = 65536u + (uint64_t)h->sequence;
    s->tick_ns = (int64_t)((uint64_t)time_ns + RTP_SECOND_NS);
    s->payload_type = s->event_payload_type = RTP_NO_PAYLOAD_TYPE;
    s->state = RTP_TIMING_BROKEN;
    s->payloads[RTP_PAYLOADS - 1].payload_type = RTP_NO_PAYLOAD_TYPE;
}

static void note_marks(struct rtp_stream *s, const struct packet *p) {
    if (p->dscp != s->dscp) s->dscp_changes++;
    if (p->ttl != s->ttl) s->ttl_changes++;
    s->dscp = p->dscp;
    s->ttl = p->ttl;
}

static void note_header(struct rtp_stream *s, const struct rtp_header *h) {
    if (h->extension_profile) s->flags |= RTP_EXTENSION_SEEN;
    if (h->csrc_count) s->flags |= RTP_CSRC_SEEN;
    if (h->padding) s->flags |= RTP_PADDING_SEEN;
}

TL_INLINE void content_take(struct rtp_stream *s, const struct rtp_header *h, enum arrival arrival,
                            const uint8_t *content, uint32_t available) {
    if (s->kind == RTP_KIND_MEDIA) {
        const uint16_t size = h->payload_length > UINT16_MAX ? UINT16_MAX : (uint16_t)h->payload_length;
        if (TL_LIKELY(s->size_count && s->sizes[s->size_index] == size)) s->size_counts[s->size_index]++;
        else payload_size(s, size);
        if (s->law && available == h->payload_length) payload_inspect(s, content, available);
    } else if (s->kind == RTP_KIND_COMFORT_NOISE) {
        s->comfort_noise++;
    } else {
        s->event_packets++;
        if (available >= 4 && arrival != ARRIVAL_LATE) payload_event(s, h, content);
    }
}

void stream_take(struct rtp_stream *s, const struct packet *p, const struct rtp_header *h,
                 const uint8_t *content, uint32_t available) {
    if (TL_UNLIKELY(p->flags & PACKET_DUPLICATE) && s->packets) {
        s->mirrored++;
        return;
    }
    if (TL_UNLIKELY(p->time_ns >= s->tick_ns)) stream_close_second(s, p->time_ns);
    enum arrival arrival = ARRIVAL_FIRST;
    if (TL_LIKELY(s->packets++)) {
        arrival = sequence_take(s, h->sequence);
    } else {
        s->window[0] = 1;
        s->received = 1;
    }
    s->bytes += h->payload_length;
    if (TL_UNLIKELY(h->marker)) s->markers++;
    if (TL_UNLIKELY(p->dscp != s->dscp || p->ttl != s->ttl)) note_marks(s, p);
    if (TL_UNLIKELY(h->extension_profile | h->csrc_count | h->padding)) note_header(s, h);
    s->last_number = p->number;
    if (TL_UNLIKELY(arrival >= ARRIVAL_DUPLICATE)) return; /* neither says anything about time or payload */
    const uint8_t before = s->kind;
    const int switched = h->payload_type != s->payload_type;
    if (TL_UNLIKELY(switched)) payload_switch(s, h, content, available);
    s->payloads[s->payload_index].packets++;
    time_take(s, p, h, arrival, switched, before);
    content_take(s, h, arrival, content, available);
    s->last_time_ns = p->time_ns;
    s->last_timestamp = h->timestamp;
    const int keep = s->state & ~(RTP_IN_ORDER | RTP_TIMING_BROKEN);
    s->state = (uint8_t)(keep | (arrival == ARRIVAL_LATE ? 0 : RTP_IN_ORDER));
}

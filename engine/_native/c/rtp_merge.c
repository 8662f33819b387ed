/* Two parts of one stream from a split file become one. Counts of packets, losses, events and reports are
   exact as long as no packet crosses the cut out of order; jitter is exact too, for it is affine in its start
   value. */
#include <math.h>

#include "rtp_stream.h"

TL_INLINE void add16(uint16_t *a, uint16_t b) {
    *a = (uint32_t)*a + b > UINT16_MAX ? UINT16_MAX : (uint16_t)(*a + b);
}

struct joint { double ms, step_ms; int timed; /* the step across the cut can be measured */ };

static struct joint joint_of(const struct rtp_stream *a, const struct rtp_stream *b) {
    struct joint j = {0};
    const struct rtp_payload *first = &b->payloads[0];
    j.ms = (double)since(b->first_time_ns, a->last_time_ns) * 1e-6;
    j.timed = a->ms_per_tick > 0 && first->clock_rate_hz == a->payloads[a->payload_index].clock_rate_hz;
    j.step_ms = (int32_t)(b->first_timestamp - a->last_timestamp) * a->ms_per_tick;
    return j;
}

/* J after n more steps is (15/16)^n of what it began with, on top of what it would be from 0. */
static void join_jitter(double *jitter, double *sum, uint32_t *count, float *most, double later,
                        double later_sum, uint32_t later_count, float later_most, int timed,
                        double difference) {
    if (timed) {
        *jitter += (difference - *jitter) / 16;
        *sum += *jitter;
        ++*count;
        if ((float)*jitter > *most) *most = (float)*jitter;
    }
    const double fade = pow(15.0 / 16, later_count);
    *sum += later_sum + *jitter * 15.0 * (1 - fade);
    *jitter = later + *jitter * fade;
    *count += later_count;
    if (later_most > *most) *most = later_most;
}

static void join_time(struct rtp_stream *a, const struct rtp_stream *b, const struct joint *j) {
    const double difference = fabs(j->ms - j->step_ms);
    join_jitter(&a->jitter_ms, &a->jitter_sum_ms, &a->jitter_count, &a->jitter_max_ms, b->jitter_ms,
                b->jitter_sum_ms, b->jitter_count, b->jitter_max_ms, j->timed, difference);
    const int steady = j->timed && a->kind == RTP_KIND_MEDIA && a->state & RTP_STEADY &&
                       b->state & RTP_STEADY && b->payloads[0].payload_type == a->payload_type;
    join_jitter(&a->steady_jitter_ms, &a->steady_jitter_sum_ms, &a->steady_jitter_count,
                &a->steady_jitter_max_ms, b->steady_jitter_ms, b->steady_jitter_sum_ms,
                b->steady_jitter_count, b->steady_jitter_max_ms, steady, difference);
    const int64_t delta = since(b->first_time_ns, a->last_time_ns);
    if (delta > a->delta_max_ns) a->delta_max_ns = delta;
    if (b->delta_max_ns > a->delta_max_ns) a->delta_max_ns = b->delta_max_ns;
    if (delta > RTP_GAP_NS) {
        a->gaps++;
        if (delta > a->gap_max_ns) { a->gap_max_ns = delta; a->gap_start_ns = a->last_time_ns; }
    }
    if (b->gap_max_ns > a->gap_max_ns) { a->gap_max_ns = b->gap_max_ns; a->gap_start_ns = b->gap_start_ns; }
    a->gaps += b->gaps;
    a->pauses += b->pauses;
    a->deltas += b->deltas;
    a->late_deltas += b->late_deltas;
    a->timestamp_jumps += b->timestamp_jumps;
}

/* Skews of the later part are against its own first packet:
   moved by what lies between the two first packets. */
static void join_skew(struct rtp_stream *a, const struct rtp_stream *b, const struct joint *j) {
    stream_close_second(a, a->last_time_ns); /* its running second becomes a point of the envelope */
    const double apart_ms = (double)since(b->first_time_ns, a->first_time_ns) * 1e-6;
    const double media = a->media_ms + (j->timed ? j->step_ms : j->ms);
    const double x = apart_ms * 1e-3, y = apart_ms - media, n = b->drift_points;
    a->drift_sum[0] += b->drift_sum[0] + n * x;
    a->drift_sum[1] += b->drift_sum[1] + n * y;
    a->drift_sum[2] += b->drift_sum[2] + 2 * x * b->drift_sum[0] + n * x * x;
    a->drift_sum[3] += b->drift_sum[3] + y * b->drift_sum[0] + x * b->drift_sum[1] + n * x * y;
    a->drift_points += b->drift_points;
    const uint32_t seconds = apart_ms > 0 && x < 4e9 ? (uint32_t)x : 0;
    if (b->drift_points) a->drift_last_s = b->drift_last_s + seconds;
    const int before = a->state & RTP_ANCHORED;
    if (b->state & RTP_ANCHORED) {
        const float least = b->skew_min_ms + (float)y, most = b->skew_max_ms + (float)y;
        if (!before || least < a->skew_min_ms) a->skew_min_ms = least;
        if (!before || most > a->skew_max_ms) a->skew_max_ms = most;
        a->envelope_ms = b->envelope_ms + (float)y;
    }
    for (int k = 0; k < 3; k++) {
        a->buffers[k].discarded += b->buffers[k].discarded;
        if (!(b->state & RTP_ANCHORED)) continue;
        a->buffers[k].late_run = b->buffers[k].late_run;
        a->buffers[k].anchor_ms = b->buffers[k].anchor_ms + (float)y;
    }
    a->media_ms = media + b->media_ms;
    a->second = b->second + seconds;
    a->tick_ns = b->tick_ns;
}

/* What was lost on the cut itself; the sequence numbers both parts cover, as expected by the whole. */
static uint64_t join_sequences(struct rtp_stream *a, const struct rtp_stream *b) {
    const uint16_t begin = b->restarts ? b->first_sequence : (uint16_t)b->base;
    const uint32_t ahead = (uint16_t)(begin - (uint16_t)a->highest);
    uint64_t expected = stream_expected(a);
    stream_settle_window(a);
    if (ahead > 0 && ahead < RTP_MAX_DROPOUT) {
        stream_settle_lost(a, ahead - 1);
        expected += ahead - 1;
        if (ahead > 100) a->jumps_forward++;
    } else if (ahead == 0 || ahead > 65536 - RTP_MAX_MISORDER) { /* out of order across the cut */
        const uint32_t shared = ((65536 - ahead) & 0xFFFF) + 1;
        expected -= shared < expected ? shared : expected;
        a->reordered++;
    } else {
        a->restarts++;
        if ((int16_t)(begin - (uint16_t)a->highest) > 0) a->jumps_forward++;
        else a->jumps_back++;
    }
    return expected;
}

static void join_runs(struct rtp_stream *a, const struct rtp_stream *b) {
    const int clean = !b->loss_runs && !b->loss_run && !b->open_lost;
    if (a->loss_run) { /* the later part begins with a packet that came */
        a->loss_runs++;
        if (a->loss_run > a->loss_run_max) a->loss_run_max = a->loss_run;
        if (a->loss_run >= 5) a->loss_runs_long++;
    }
    a->loss_run = b->loss_run;
    if (clean) {
        a->received_run += b->received_run;
    } else {
        stream_close_burst(a);
        a->open_lost = b->open_lost;
        a->open_length = b->open_length;
        a->received_run = b->received_run;
    }
    a->settled += b->settled;
    a->loss_runs += b->loss_runs;
    a->loss_runs_long += b->loss_runs_long;
    if (b->loss_run_max > a->loss_run_max) a->loss_run_max = b->loss_run_max;
    a->bursts += b->bursts;
    a->burst_lost += b->burst_lost;
    a->burst_length += b->burst_length;
}

static void join_losses(struct rtp_stream *a, const struct rtp_stream *b) {
    const uint64_t expected = join_sequences(a, b);
    join_runs(a, b);
    if (b->worst_seen && (!a->worst_seen || b->worst_loss_percent > a->worst_loss_percent)) {
        a->worst_seen = 1;
        a->worst_loss_percent = b->worst_loss_percent;
        a->worst_burst_ratio = b->worst_burst_ratio;
        a->worst_start_ns = b->worst_start_ns;
    }
    a->window_expected = b->window_expected + expected;
    a->window_received = b->window_received + a->received;
    a->window_runs = b->window_runs;
    a->window_discarded = b->window_discarded;
    a->window_second = a->second / RTP_WORST_WINDOW_S;
    a->expected_before = expected + b->expected_before;
    a->highest = b->highest;
    a->base = b->base;
    memcpy(a->window, b->window, sizeof a->window);
    a->received += b->received;
}

static void join_payloads(struct rtp_stream *a, const struct rtp_stream *b) {
    if (a->payload_type != b->payloads[0].payload_type) a->payload_type_changes++;
    a->payload_type_changes += b->payload_type_changes;
    for (uint32_t k = 0; k < b->payload_seen; k++) {
        const struct rtp_payload *p = &b->payloads[k];
        uint32_t place = 0;
        while (place < a->payload_seen && a->payloads[place].payload_type != p->payload_type) place++;
        if (place == a->payload_seen) {
            if (a->payload_seen == RTP_PAYLOADS - 1) {
                a->payloads[RTP_PAYLOADS - 1].packets += p->packets;
                continue;
            }
            uint32_t described = place; /* one that was described and not seen gives way, its own first */
            while (described < a->payload_used && a->payloads[described].payload_type != p->payload_type)
                described++;
            if (described == a->payload_used) {
                if (a->payload_used < RTP_PAYLOADS - 1) a->payload_used++;
                else described = place;
            }
            a->payloads[described] = a->payloads[place];
            a->payloads[place] = *p;
            a->payloads[place].packets = 0;
            a->payload_seen++;
        }
        a->payloads[place].packets += p->packets;
    }
    a->payloads[RTP_PAYLOADS - 1].packets += b->payloads[RTP_PAYLOADS - 1].packets;
    a->payload_types[0] |= b->payload_types[0];
    a->payload_types[1] |= b->payload_types[1];
    a->payload_index = RTP_PAYLOADS - 1;
    for (uint32_t k = 0; k < a->payload_seen; k++)
        if (a->payloads[k].payload_type == b->payload_type) a->payload_index = (uint8_t)k;
    a->payload_type = b->payload_type;
    a->kind = b->kind;
    a->law = b->law;
    a->ms_per_tick = b->ms_per_tick;
}

static void join_histograms(struct rtp_stream *a, const struct rtp_stream *b) {
    for (uint32_t k = 0; k < RTP_STEPS && b->steps[k].count; k++) {
        uint32_t place = 0;
        while (place < RTP_STEPS && a->steps[place].count && a->steps[place].value != b->steps[k].value)
            place++;
        if (place == RTP_STEPS) { a->step_other += b->steps[k].count; continue; }
        a->steps[place].value = b->steps[k].value;
        a->steps[place].count += b->steps[k].count;
        if (a->steps[place].count > a->steps[a->step_index].count) a->step_index = (uint8_t)place;
    }
    a->step_other += b->step_other;
    a->ptime_ms = (float)(a->steps[a->step_index].value * a->ms_per_tick);
    if (b->size_count) {
        if (!a->size_count || b->size_min < a->size_min) a->size_min = b->size_min;
        if (b->size_max > a->size_max) a->size_max = b->size_max;
    }
    for (uint32_t k = 0; k < b->size_count; k++) {
        uint32_t place = 0;
        while (place < a->size_count && a->sizes[place] != b->sizes[k]) place++;
        if (place == RTP_SIZES) continue;
        if (place == a->size_count) {
            a->size_count++;
            a->sizes[place] = b->sizes[k];
            a->size_counts[place] = 0;
        }
        a->size_counts[place] += b->size_counts[k];
    }
}

static void join_events(struct rtp_stream *a, const struct rtp_stream *b) {
    /* one event on both sides of the cut: judged whole when
       nothing follows it, else only by its later part */
    const uint32_t skip =
        a->state & RTP_EVENT_OPEN && b->events && a->event_timestamp == b->first_event_timestamp;
    const uint32_t skip_digit = skip && a->event_code < 16;
    if (skip && b->events == 1) {
        if (b->event_duration < a->event_duration) a->event_marks |= 1;
        const uint32_t ends = (uint32_t)a->event_ends + b->event_ends;
        a->event_ends = ends > UINT8_MAX ? UINT8_MAX : (uint8_t)ends;
        a->event_marks |= b->event_marks;
        a->event_duration = b->event_duration;
    } else if (b->events) {
        if (!skip) payload_close_event(a);
        a->state = (uint8_t)((a->state & ~RTP_EVENT_OPEN) | (b->state & RTP_EVENT_OPEN));
        a->event_timestamp = b->event_timestamp;
        a->event_code = b->event_code;
        a->event_ends = b->event_ends;
        a->event_marks = b->event_marks;
        a->event_duration = b->event_duration;
        a->event_ms_per_tick = b->event_ms_per_tick;
    }
    if (!a->events) a->first_event_timestamp = b->first_event_timestamp;
    a->events += b->events - skip;
    a->event_packets += b->event_packets;
    for (uint32_t k = skip_digit; k < b->digit_count && a->digit_count < 32; k++) {
        const uint64_t digit = b->digits[k >> 4] >> ((k & 15) * 4) & 15;
        a->digits[a->digit_count >> 4] |= digit << ((a->digit_count & 15) * 4);
        a->digit_count++;
    }
    if (b->event_payload_type != RTP_NO_PAYLOAD_TYPE) a->event_payload_type = b->event_payload_type;
    add16(&a->event_flaws, b->event_flaws);
    add16(&a->event_no_end, b->event_no_end);
    add16(&a->event_few_ends, b->event_few_ends);
    add16(&a->event_shrinking, b->event_shrinking);
    add16(&a->event_zero, b->event_zero);
    add16(&a->event_short, b->event_short);
    add16(&a->event_split, b->event_split);
}

static void join_counts(struct rtp_stream *a, const struct rtp_stream *b) {
    a->packets += b->packets;
    a->bytes += b->bytes;
    a->mirrored += b->mirrored;
    a->duplicates += b->duplicates;
    a->reordered += b->reordered;
    a->strays += b->strays;
    a->restarts += b->restarts;
    a->jumps_forward += b->jumps_forward;
    a->jumps_back += b->jumps_back;
    a->markers += b->markers;
    a->comfort_noise += b->comfort_noise;
    a->dscp_changes += b->dscp_changes + (a->dscp != b->first_dscp);
    a->ttl_changes += b->ttl_changes + (a->ttl != b->first_ttl);
    a->dscp = b->dscp;
    a->ttl = b->ttl;
    a->level_squares += b->level_squares;
    a->level_samples += b->level_samples;
    a->clipped_samples += b->clipped_samples;
    a->silent_packets += b->silent_packets;
    a->inspected_packets += b->inspected_packets;
    if (b->level_peak > a->level_peak) a->level_peak = b->level_peak;
}

static void join_rtcp(struct rtp_stream *a, const struct rtp_stream *b) {
    if (!a->rtcp_packets) a->rtcp_first_ns = b->rtcp_first_ns;
    if (b->rtcp_packets) a->rtcp_last_ns = b->rtcp_last_ns;
    if (!a->reports) a->report_first_ns = b->report_first_ns;
    if (b->sr_count) {
        a->sr_time_ns[1] = b->sr_count > 1 ? b->sr_time_ns[1] : a->sr_time_ns[0];
        a->sr_middle[1] = b->sr_count > 1 ? b->sr_middle[1] : a->sr_middle[0];
        a->sr_time_ns[0] = b->sr_time_ns[0];
        a->sr_middle[0] = b->sr_middle[0];
        a->sr_ntp = b->sr_ntp;
        a->sr_rtp_timestamp = b->sr_rtp_timestamp;
        a->sr_packet_count = b->sr_packet_count;
        a->sr_octet_count = b->sr_octet_count;
    }
    if (b->reports) {
        a->report_last_ns = b->report_last_ns;
        a->report_fraction = b->report_fraction;
        a->report_lost = b->report_lost;
        a->report_jitter = b->report_jitter;
        const int all = b->report_lossy_run == b->reports;
        a->report_lossy_run = (uint16_t)(b->report_lossy_run + (all ? a->report_lossy_run : 0));
    }
    if (b->report_fraction_max > a->report_fraction_max) a->report_fraction_max = b->report_fraction_max;
    if (b->report_jitter_max > a->report_jitter_max) a->report_jitter_max = b->report_jitter_max;
    if (b->report_lossy_run_max > a->report_lossy_run_max) a->report_lossy_run_max = b->report_lossy_run_max;
    if (a->report_lossy_run > a->report_lossy_run_max) a->report_lossy_run_max = a->report_lossy_run;
    if (b->rrtr_middle) { a->rrtr_middle = b->rrtr_middle; a->rrtr_time_ns = b->rrtr_time_ns; }
    if (b->rtt_known) { a->rtt_known = 1; a->rtt_ms = b->rtt_ms; }
    if (b->rtt_max_ms > a->rtt_max_ms) a->rtt_max_ms = b->rtt_max_ms;
    a->rtcp_packets += b->rtcp_packets;
    a->sr_count += b->sr_count;
    a->rr_count += b->rr_count;
    a->xr_count += b->xr_count;
    a->reports += b->reports;
    if (!b->xr_seen) return;
    a->xr_seen = 1;
    a->xr_loss = b->xr_loss;
    a->xr_discard = b->xr_discard;
    a->xr_r_factor = b->xr_r_factor;
    a->xr_mos_lq = b->xr_mos_lq;
    a->xr_mos_cq = b->xr_mos_cq;
    a->xr_rtt_ms = b->xr_rtt_ms;
    a->xr_end_system_ms = b->xr_end_system_ms;
}

void rtp_merge(struct rtp_stream *first, struct rtp_stream *second) {
    join_rtcp(first, second);
    if (!second->packets) return;
    const struct joint joint = joint_of(first, second);
    join_time(first, second, &joint);
    join_skew(first, second, &joint);
    join_losses(first, second);
    join_counts(first, second);
    join_payloads(first, second);
    join_histograms(first, second);
    join_events(first, second);
    first->flags |= second->flags;
    first->last_time_ns = second->last_time_ns;
    first->last_timestamp = second->last_timestamp;
    first->last_number = second->last_number;
    first->stray_next = second->stray_next;
    first->size_index = 0;
    if (second->state & RTP_STEADY) {
        first->steady_time_ns = second->steady_time_ns;
        first->steady_timestamp = second->steady_timestamp;
    }
    first->state =
        (uint8_t)(second->state & ~RTP_EVENT_OPEN) | (first->state & (RTP_EVENT_OPEN | RTP_ANCHORED));
}

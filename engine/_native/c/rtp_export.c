/* Finished streams to columns. */
#include <math.h>

#include "emodel.h"
#include "rtp_stream.h"

static double mean(double sum, double count) { return count > 0 ? sum / count : 0.0; }

/* Clock of the stream's media; of its first payload type when it has none. */
static uint32_t clock_of(const struct rtp_stream *s) {
    return s->payloads[s->main_payload < RTP_PAYLOADS ? s->main_payload : 0].clock_rate_hz;
}

#define PUT(column, value) c->column[row] = (value)
#define PUT_FLOAT(column, value) c->column[row] = (float)(value)

static void export_identity(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    PUT(call, RTP_NO_STREAM);
    PUT(media_line, RTP_NO_STREAM);
    PUT(sender_media_line, RTP_NO_STREAM);
    PUT(reverse_stream, s->reverse);
    PUT(source_endpoint, RTP_NO_STREAM);
    PUT(target_endpoint, RTP_NO_STREAM);
    PUT(from_caller, 0);
    PUT(ssrc, s->ssrc);
    PUT(flags, s->flags);
    PUT(flow_tag, s->flow_tag);
    PUT(file_offset, s->file_offset);
    PUT(first_frame, s->first_number);
    PUT(last_frame, s->last_number);
    PUT(first_time_ns, s->first_time_ns);
    PUT(last_time_ns, s->last_time_ns);
    PUT(duration_s, (double)since(s->last_time_ns, s->first_time_ns) * 1e-9);
    PUT(previous_stream, s->previous_source);
    PUT(previous_ssrc_stream, s->previous_on_tuple);
    PUT(previous_target_stream, s->previous_on_target);
    PUT(ssrc_changes, s->ssrc_changes);
}

static void export_counts(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    const uint64_t expected = stream_expected(s), lost = expected - s->received;
    PUT(packets, s->packets);
    PUT(payload_bytes, s->bytes);
    PUT(expected, expected);
    PUT(lost, lost);
    PUT_FLOAT(loss_percent, percent((double)lost, (double)expected));
    PUT(duplicates, s->duplicates);
    PUT_FLOAT(duplicate_percent, percent(s->duplicates, s->packets));
    PUT(reordered, s->reordered);
    PUT_FLOAT(reordered_percent, percent(s->reordered, s->packets));
    PUT(mirrored, s->mirrored);
    PUT(strays, s->strays);
    PUT(restarts, s->restarts);
    PUT(jumps_forward, s->jumps_forward);
    PUT(jumps_back, s->jumps_back);
    PUT(loss_run_max, s->loss_run_max);
    PUT(loss_runs, s->loss_runs);
    PUT(loss_runs_long, s->loss_runs_long);
    const double in_gaps = (double)expected - s->burst_length;
    const double burst = mean(s->burst_length, s->bursts), gap = in_gaps / (s->bursts + 1.0);
    const double clock = clock_of(s), ptime = clock > 0 ? s->steps[s->step_index].value * 1000.0 / clock : 0;
    PUT(bursts, s->bursts);
    PUT_FLOAT(burst_density_percent, percent(s->burst_lost, s->burst_length));
    PUT_FLOAT(burst_length_packets, burst);
    PUT_FLOAT(burst_duration_ms, burst * ptime);
    PUT_FLOAT(gap_density_percent, percent((double)lost - s->burst_lost, in_gaps));
    PUT_FLOAT(gap_length_packets, gap);
    PUT_FLOAT(gap_duration_ms, gap * ptime);
    PUT(burst_ratio, s->burst_ratio);
}

/* Least-squares slope of the lower envelope: ms a second are 1000 ppm. */
static double drift_ppm(const struct rtp_stream *s) {
    const double n = s->drift_points, x = s->drift_sum[0], y = s->drift_sum[1];
    const double spread = n * s->drift_sum[2] - x * x;
    return s->drift_points < 3 || spread <= 0 ? 0.0 : (n * s->drift_sum[3] - x * y) / spread * 1000.0;
}

static void export_time(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    PUT_FLOAT(jitter_ms, s->jitter_ms);
    PUT(jitter_max_ms, s->jitter_max_ms);
    PUT_FLOAT(jitter_mean_ms, mean(s->jitter_sum_ms, s->jitter_count));
    PUT_FLOAT(steady_jitter_ms, s->steady_jitter_ms);
    PUT(steady_jitter_max_ms, s->steady_jitter_max_ms);
    PUT_FLOAT(steady_jitter_mean_ms, mean(s->steady_jitter_sum_ms, s->steady_jitter_count));
    const double span_ms = (double)since(s->last_time_ns, s->first_time_ns) * 1e-6;
    PUT_FLOAT(delta_max_ms, (double)s->delta_max_ns * 1e-6);
    PUT_FLOAT(delta_mean_ms, mean(span_ms, s->received - 1.0));
    PUT(deltas, s->deltas);
    PUT(late_deltas, s->late_deltas);
    PUT_FLOAT(late_delta_percent, percent(s->late_deltas, s->deltas));
    PUT(gaps, s->gaps);
    PUT_FLOAT(gap_max_ms, (double)s->gap_max_ns * 1e-6);
    PUT(gap_start_ns, s->gap_start_ns);
    PUT(pauses, s->pauses);
    PUT(timestamp_jumps, s->timestamp_jumps);
    const uint32_t step = s->steps[s->step_index].value, clock = clock_of(s);
    double off = s->step_other, all = s->step_other;
    for (uint32_t k = 0; k < RTP_STEPS; k++) {
        all += s->steps[k].count;
        if (k != s->step_index) off += s->steps[k].count;
    }
    PUT_FLOAT(ptime_ms, clock ? step * 1000.0 / clock : 0);
    PUT(timestamp_step, step);
    PUT_FLOAT(ptime_off_percent, percent(off, all));
    PUT_FLOAT(drift_ppm, drift_ppm(s));
    PUT_FLOAT(drift_span_s, s->drift_points < 3 ? 0 : s->drift_last_s);
    PUT(skew_min_ms, s->skew_min_ms);
    PUT(skew_max_ms, s->skew_max_ms);
}

static void export_payload_types(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    static const struct rtp_payload none = {0, 0, RTP_NO_PAYLOAD_TYPE, 0, 0, 0};
    const struct rtp_payload *main = s->main_payload < RTP_PAYLOADS ? &s->payloads[s->main_payload] : &none;
    const struct rtp_payload *four[4];
    for (uint32_t k = 0; k < 4; k++) four[k] = k < s->payload_seen ? &s->payloads[k] : &none;
    PUT(payload_type, main->payload_type);
    PUT(codec, main->codec);
    PUT(clock_rate_hz, clock_of(s));
    uint32_t distinct = 0;
    for (int word = 0; word < 2; word++)
        for (uint64_t left = s->payload_types[word]; left; left &= left - 1) distinct++;
    PUT(payload_type_count, (uint8_t)distinct);
    PUT(payload_types_low, s->payload_types[0]);
    PUT(payload_types_high, s->payload_types[1]);
    PUT(payload_type_1, four[0]->payload_type);
    PUT(payload_type_2, four[1]->payload_type);
    PUT(payload_type_3, four[2]->payload_type);
    PUT(payload_type_4, four[3]->payload_type);
    PUT(payload_type_1_packets, four[0]->packets);
    PUT(payload_type_2_packets, four[1]->packets);
    PUT(payload_type_3_packets, four[2]->packets);
    PUT(payload_type_4_packets, four[3]->packets);
    PUT(payload_type_changes, s->payload_type_changes);
}

static void export_payload(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    PUT(markers, s->markers);
    PUT_FLOAT(marker_percent, percent(s->markers, s->packets));
    uint32_t mode = 0;
    for (uint32_t k = 1; k < s->size_count; k++)
        if (s->size_counts[k] > s->size_counts[mode]) mode = k;
    PUT(payload_size_min, s->size_min);
    PUT(payload_size_max, s->size_max);
    PUT(payload_size_mode, s->sizes[mode]);
    PUT(payload_sizes, s->size_count);
    const double span_ms = (double)since(s->last_time_ns, s->first_time_ns) * 1e-6;
    PUT_FLOAT(bit_rate_kbps, mean((double)s->bytes * 8, span_ms));
    PUT(comfort_noise_packets, s->comfort_noise);
    PUT(first_dscp, s->first_dscp);
    PUT(last_dscp, s->dscp);
    PUT(dscp_changes, s->dscp_changes);
    PUT(first_ttl, s->first_ttl);
    PUT(last_ttl, s->ttl);
    PUT(ttl_changes, s->ttl_changes);
    PUT(events, s->events);
    PUT(event_packets, s->event_packets);
    PUT(event_payload_type, s->event_payload_type);
    PUT(digit_count, s->digit_count);
    PUT(digits_low, s->digits[0]);
    PUT(digits_high, s->digits[1]);
    PUT(event_flaws, s->event_flaws);
    PUT(event_no_end, s->event_no_end);
    PUT(event_few_ends, s->event_few_ends);
    PUT(event_shrinking, s->event_shrinking);
    PUT(event_zero, s->event_zero);
    PUT(event_short, s->event_short);
    PUT(event_split, s->event_split);
}

/* Level against 16-bit full scale; silence reads -127 (RFC 6464 §3). */
static float dbov(double amplitude) {
    const double level = amplitude > 0 ? 20 * log10(amplitude / 32768) : -127;
    return level < -127 ? -127.0f : (float)level;
}

static void export_quality(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    PUT(inspected_packets, s->inspected_packets);
    PUT(silent_packets, s->silent_packets);
    PUT_FLOAT(silent_percent, percent(s->silent_packets, s->inspected_packets));
    PUT(level_samples, s->level_samples);
    PUT(level_mean_dbov, dbov(sqrt(mean((double)s->level_squares, s->level_samples))));
    PUT(level_peak_dbov, dbov(s->level_peak));
    PUT_FLOAT(clipped_percent, percent(s->clipped_samples, s->level_samples));
    PUT(discarded_fixed_50, s->buffers[0].discarded);
    PUT(discarded_fixed_200, s->buffers[1].discarded);
    PUT(discarded_adaptive, s->buffers[2].discarded);
    PUT_FLOAT(discard_percent, percent(s->buffers[2].discarded, (double)stream_expected(s)));
    PUT(r_lq, s->r_lq);
    PUT_FLOAT(mos_lq, s->mos_known ? emodel_mos(s->r_lq) : 0);
    PUT(r_cq, s->r_cq);
    PUT_FLOAT(mos_cq, s->mos_known && s->rtt_sides ? emodel_mos(s->r_cq) : 0);
    PUT(mos_fixed_50, s->mos_fixed_50);
    PUT(mos_fixed_200, s->mos_fixed_200);
    PUT(mos_worst_10s, s->mos_worst);
    PUT(worst_10s_start_ns, s->worst_start_ns);
    PUT(worst_10s_loss_percent, s->worst_loss_percent);
    const double expected = (double)stream_expected(s), loss = percent(expected - s->received, expected);
    const double jitter = mean(s->steady_jitter_sum_ms, s->steady_jitter_count);
    PUT_FLOAT(mos_simple, s->mos_known ? emodel_mos_simple(s->whole_rtt_ms / 2, jitter, loss) : 0);
    PUT(ie_effective, s->ie_effective);
    PUT(mos_known, s->mos_known);
}

static void export_rtcp(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    const uint32_t clock = clock_of(s);
    const double span_s = (double)since(s->rtcp_last_ns, s->rtcp_first_ns) * 1e-9;
    PUT(rtcp_packets, s->rtcp_packets);
    PUT(sr_count, s->sr_count);
    PUT(rr_count, s->rr_count);
    PUT(xr_count, s->xr_count);
    PUT(rtcp_first_ns, s->rtcp_first_ns);
    PUT(rtcp_last_ns, s->rtcp_last_ns);
    PUT_FLOAT(rtcp_interval_s, mean(span_s, s->rtcp_packets - 1.0));
    PUT(sr_packet_count, s->sr_packet_count);
    PUT(sr_octet_count, s->sr_octet_count);
    PUT(sr_ntp, s->sr_ntp);
    PUT(sr_rtp_timestamp, s->sr_rtp_timestamp);
    PUT(sr_time_ns, s->sr_time_ns[0]);
    PUT(reports, s->reports);
    PUT(report_first_ns, s->report_first_ns);
    PUT(report_last_ns, s->report_last_ns);
    PUT_FLOAT(report_loss_percent, s->report_fraction * (100.0 / 256));
    PUT_FLOAT(report_loss_max_percent, s->report_fraction_max * (100.0 / 256));
    PUT(report_lossy_run_max, s->report_lossy_run_max);
    PUT(report_lost, s->report_lost);
    PUT_FLOAT(report_jitter_ms, clock ? s->report_jitter * 1000.0 / clock : 0);
    PUT_FLOAT(report_jitter_max_ms, clock ? s->report_jitter_max * 1000.0 / clock : 0);
    PUT(rtt_ms, s->whole_rtt_ms);
    PUT(rtt_max_ms, s->whole_rtt_max_ms);
    PUT(rtt_sides, s->rtt_sides);
    PUT(xr_seen, s->xr_seen);
    PUT_FLOAT(xr_loss_percent, s->xr_loss * (100.0 / 256));
    PUT_FLOAT(xr_discard_percent, s->xr_discard * (100.0 / 256));
    PUT_FLOAT(xr_r_factor,
              s->xr_r_factor <= 100 ? s->xr_r_factor : 0); /* 127: unavailable (RFC 3611 §4.7.5) */
    PUT_FLOAT(xr_mos_lq, s->xr_mos_lq >= 10 && s->xr_mos_lq <= 50 ? s->xr_mos_lq * 0.1 : 0);
    PUT_FLOAT(xr_mos_cq, s->xr_mos_cq >= 10 && s->xr_mos_cq <= 50 ? s->xr_mos_cq * 0.1 : 0);
    PUT(xr_rtt_ms, s->xr_rtt_ms);
    PUT(xr_end_system_ms, s->xr_end_system_ms);
}

void rtp_export(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row) {
    export_identity(s, c, row);
    export_counts(s, c, row);
    export_time(s, c, row);
    export_payload_types(s, c, row);
    export_payload(s, c, row);
    export_quality(s, c, row);
    export_rtcp(s, c, row);
}

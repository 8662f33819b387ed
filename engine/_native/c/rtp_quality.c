/* The end of RTP streams: what is open is settled, streams
   are judged against each other, quality is rated. */
#include <math.h>

#include "emodel.h"
#include "rtp_stream.h"

#define OVERLAP_NS 1000000000ll /* two streams at one time, not one after the other */

/* ---- one stream ---- */

static uint8_t most_used_media(const struct rtp_stream *s) {
    uint8_t best = RTP_PAYLOADS;
    for (uint8_t k = 0; k < s->payload_seen; k++) {
        const struct rtp_payload *p = &s->payloads[k];
        if (p->codec == SDP_CODEC_CN || p->codec == SDP_CODEC_TELEPHONE_EVENT) continue;
        if (best == RTP_PAYLOADS || p->packets > s->payloads[best].packets) best = k;
    }
    return best;
}

static uint16_t size_mode(const struct rtp_stream *s) {
    uint32_t best = 0;
    for (uint32_t k = 1; k < s->size_count; k++)
        if (s->size_counts[k] > s->size_counts[best]) best = k;
    return s->sizes[best];
}

/* Payload bytes that a step of the RTP clock takes in codecs of constant rate; 0 for others. */
static uint32_t frame_bytes(const struct rtp_stream *s, uint8_t codec) {
    const uint32_t ticks = s->steps[s->step_index].value;
    switch (codec) {
    case SDP_CODEC_PCMU: case SDP_CODEC_PCMA: case SDP_CODEC_G722: return ticks;
    case SDP_CODEC_G729: return ticks / 8;
    case SDP_CODEC_GSM: return ticks / 160 * 33;
    case SDP_CODEC_G726_32: case SDP_CODEC_AAL2_G726_32: case SDP_CODEC_G721: return ticks / 2;
    default: return 0;
    }
}

/* SRTP adds an authentication tag of 4, 10 or 16 bytes behind the payload (RFC 3711 §4.2, RFC 7714 §13.1). */
static void judge_encryption(struct rtp_stream *s) {
    if (s->main_payload == RTP_PAYLOADS || !s->steps[s->step_index].count) return;
    const uint32_t frame = frame_bytes(s, s->payloads[s->main_payload].codec), size = size_mode(s);
    if (frame && (size == frame + 4 || size == frame + 10 || size == frame + 16)) s->flags |= RTP_SRTP_LIKELY;
}

static void finish_stream(struct rtp_stream *s) {
    if (s->kind == RTP_KIND_MEDIA && s->ms_per_tick <= 0) stream_estimate_clock(s);
    stream_close_second(s, s->last_time_ns);
    stream_close_window(s, 0);
    stream_settle_window(s);
    stream_close_burst(s);
    payload_close_event(s);
    s->main_payload = most_used_media(s);
    judge_encryption(s);
    const double lost = (double)(stream_expected(s) - s->received);
    const double run = s->loss_runs ? lost / s->loss_runs : 1;
    const double ratio = run * (1 - lost / (double)stream_expected(s));
    s->burst_ratio = ratio > 1 ? (float)ratio : 1.0f;
    s->flags |= RTP_FINISHED;
}

/* ---- streams against each other ---- */

static void judge_tuple(struct rtp_table *t, struct rtp_stream *s) {
    if (s->previous_on_tuple == RTP_NO_STREAM) return;
    struct rtp_stream *before = &t->streams[s->previous_on_tuple];
    s->ssrc_changes = before->ssrc_changes;
    if (before->last_time_ns > s->first_time_ns) {
        s->flags |= RTP_MULTIPLEXED;
        before->flags |= RTP_MULTIPLEXED;
    } else {
        s->flags |= RTP_SSRC_CHANGED;
        count16(&s->ssrc_changes);
    }
}

/* Seen before and behind a NAT: the same packets, a source apart. */
static int same_packets(const struct rtp_stream *a, const struct rtp_stream *b) {
    const int64_t apart = since(a->first_time_ns, b->first_time_ns);
    const uint16_t sequences = (uint16_t)(a->first_sequence - b->first_sequence);
    return apart < OVERLAP_NS && apart > -OVERLAP_NS && (sequences < 64 || sequences > 65536 - 64) &&
           (a->first_timestamp == b->first_timestamp) == (sequences == 0) &&
           a->highest - b->highest + 64 < 128;
}

static void judge_source(struct rtp_table *t, struct rtp_stream *s) {
    if (s->previous_source == RTP_NO_STREAM) return;
    struct rtp_stream *before = &t->streams[s->previous_source];
    const int overlap = since(before->last_time_ns, s->first_time_ns) > OVERLAP_NS;
    if (same_packets(s, before)) {
        s->flags |= RTP_TAP_COPY;
    } else if (overlap) {
        s->flags |= RTP_SSRC_COLLISION;
        before->flags |= RTP_SSRC_COLLISION;
    } else {
        s->flags |= RTP_SOURCE_CHANGED;
        if ((uint16_t)(s->first_sequence - (uint16_t)before->highest) < RTP_MAX_DROPOUT)
            s->flags |= RTP_SEQUENCE_CONTINUED;
    }
}

static void judge_target(struct rtp_table *t, struct rtp_stream *s) {
    const uint32_t row = s->previous_on_target;
    if (row == RTP_NO_STREAM) return;
    struct rtp_stream *before = &t->streams[row];
    const int same_source = before->source_port == s->source_port &&
                            before->source_ip[0] == s->source_ip[0] &&
                            before->source_ip[1] == s->source_ip[1];
    if (same_source) {
        s->previous_on_target = RTP_NO_STREAM;
    } else if (before->ssrc != s->ssrc && since(before->last_time_ns, s->first_time_ns) > OVERLAP_NS) {
        s->flags |= RTP_SECOND_SOURCE;
        before->flags |= RTP_SECOND_SOURCE;
    }
}

static void find_reverse(struct rtp_table *t, struct rtp_stream *s) {
    struct rtp_lookup l;
    memcpy(l.source_ip, s->target_ip, 16);
    memcpy(l.target_ip, s->source_ip, 16);
    l.flow_tag = s->flow_tag;
    l.ssrc = 0;
    l.source_port = s->target_port;
    l.target_port = s->source_port;
    s->reverse = index_find(t, RTP_KEY_TUPLE, &l);
}

/* From the capture point to either end: both halves make the round trip. */
static void join_round_trip(const struct rtp_table *t, struct rtp_stream *s) {
    s->whole_rtt_ms = s->rtt_known ? s->rtt_ms : 0;
    s->whole_rtt_max_ms = s->rtt_known ? s->rtt_max_ms : 0;
    s->rtt_sides = s->rtt_known;
    if (s->reverse == RTP_NO_STREAM || !t->streams[s->reverse].rtt_known) return;
    s->whole_rtt_ms += t->streams[s->reverse].rtt_ms;
    s->whole_rtt_max_ms += t->streams[s->reverse].rtt_max_ms;
    s->rtt_sides++;
}

/* ---- quality ---- */

static void rate(struct rtp_stream *s) {
    if (s->main_payload == RTP_PAYLOADS) return;
    const struct rtp_payload *payload = &s->payloads[s->main_payload];
    struct emodel_codec codec;
    if (payload->clock_rate_hz == 90000 || !emodel_of_codec(payload->codec, &codec)) return;
    s->mos_known = codec.source;
    const double expected = (double)stream_expected(s), lost = expected - s->received, ratio = s->burst_ratio;
    const double adaptive = percent(lost + s->buffers[2].discarded, expected);
    s->ie_effective = (float)emodel_ie_effective(&codec, adaptive, ratio);
    s->r_lq = (float)emodel_rating(&codec, adaptive, ratio, 0);
    s->mos_fixed_50 =
        (float)emodel_mos(emodel_rating(&codec, percent(lost + s->buffers[0].discarded, expected), ratio, 0));
    s->mos_fixed_200 =
        (float)emodel_mos(emodel_rating(&codec, percent(lost + s->buffers[1].discarded, expected), ratio, 0));
    s->mos_worst = (float)emodel_mos(emodel_rating(&codec, s->worst_loss_percent, s->worst_burst_ratio, 0));
    const double jitter = s->steady_jitter_count ? s->steady_jitter_sum_ms / s->steady_jitter_count : 0;
    if (!s->rtt_sides) return; /* without a round trip no conversational quality is claimed */
    const double buffer = 4 * jitter < 40 ? 40 : 4 * jitter > 500 ? 500 : 4 * jitter;
    const double delay = s->whole_rtt_ms / 2 + buffer + s->ptime_ms + codec.look_ahead_ms;
    s->r_cq = (float)emodel_rating(&codec, adaptive, ratio, delay);
}

void rtp_finish(struct rtp_table *t) {
    for (uint32_t row = 0; row < t->count; row++)
        if (!(t->streams[row].flags & RTP_FINISHED)) finish_stream(&t->streams[row]);
    for (uint32_t row = 0; row < t->count; row++) {
        struct rtp_stream *s = &t->streams[row];
        judge_tuple(t, s);
        judge_source(t, s);
        judge_target(t, s);
        find_reverse(t, s);
    }
    for (uint32_t row = 0; row < t->count; row++) {
        join_round_trip(t, &t->streams[row]);
        rate(&t->streams[row]);
    }
}

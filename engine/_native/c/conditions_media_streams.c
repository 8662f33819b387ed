/* Media: thresholds on the columns of a stream (rule page 3.2), and fax over T.38. `value` is in hundredths where the unit is a
   percentage, in milliseconds, ppm or packets elsewhere. */
#include "conditions_media.h"

#define BIT(codec) (1ull << SDP_CODEC_##codec)
#define COMPRESSED (BIT(G729) | BIT(G723) | BIT(GSM) | BIT(AMR) | BIT(AMR_WB) | BIT(OPUS) | BIT(ILBC) | BIT(SPEEX) | BIT(EVS))
#define CONSTANT_RATE (BIT(PCMU) | BIT(PCMA) | BIT(G722) | BIT(G729) | BIT(GSM) | BIT(G726_32) | BIT(L16))

static int64_t hundredths(float percent) { return (int64_t)(percent * 100.0f + 0.5f); }

/* ---- losses ---- */

static void losses(struct trace *t, uint32_t row, uint32_t call) {
    const struct streams_table *s = &t->streams;
    if (s->expected[row] < 100) return;
    const float loss = s->loss_percent[row];
    /* the capture's own loss: the receiver reports far less than is missing here */
    if (loss > 5.0f && s->reports[row] > 1 && s->report_loss_max_percent[row] < 1.0f) {
        sight_once(t, C_LOSS_CAPTURE, call, row, NONE, 0, hundredths(loss));
        return;
    }
    if (loss > 1.0f) sight(t, C_LOSS, call, row, NONE, loss > 20.0f ? 3 : loss > 5.0f ? 2 : 1, hundredths(loss));
    if ((s->burst_density_percent[row] > 20.0f && s->burst_length_packets[row] >= 3.0f && s->bursts[row] && s->lost[row] > 5) || s->loss_runs_long[row] >= 3)
        sight(t, C_LOSS_BURST, call, row, NONE, (int)(s->loss_runs_long[row] > 65535 ? 65535 : s->loss_runs_long[row]), s->loss_run_max[row]);
}

static void reports(struct trace *t, uint32_t row, uint32_t call) {
    const struct streams_table *s = &t->streams;
    if (s->report_lossy_run_max[row] >= 2) sight(t, C_LOSS_REMOTE, call, row, NONE, 0, hundredths(s->report_loss_max_percent[row]));
    const uint32_t back = s->reverse_stream[row];
    if (s->duration_s[row] > 30.0 && back != NONE && s->duration_s[back] > 30.0) {
        if (!s->rtcp_packets[row] && !s->rtcp_packets[back]) {
            const uint32_t line = s->media_line[row];
            const int promised = line != NONE && t->media_lines.traits[line] & (SDP_RTCP | SDP_RTCP_MUX);
            if (row < back) sight(t, C_RTCP_MISSING, call, row, back, promised, (int64_t)s->duration_s[row]);
        } else if (!s->sr_count[row] && s->sr_count[back]) sight(t, C_RTCP_ONE_WAY, call, row, back, 1, s->sr_count[back]);
    }
    /* the other side reports, and never about this stream */
    if (back != NONE && s->rtcp_packets[back] >= 2 && !s->reports[row] && s->duration_s[row] > 10.0 &&
        s->rtcp_last_ns[back] - s->rtcp_first_ns[back] > 10000000000ll) {
        sight(t, C_RTCP_RR_ZERO_RECEIVED, call, row, back, 0, s->rtcp_packets[back]);
        sight(t, C_RTCP_ONE_WAY, call, row, back, 2, s->rtcp_packets[back]);
    }
    if (s->rtcp_packets[row] >= 3 && (s->rtcp_interval_s[row] > 10.0f || s->rtcp_interval_s[row] < 1.0f))
        sight(t, C_RTCP_INTERVAL, call, row, NONE, 0, (int64_t)(s->rtcp_interval_s[row] * 1000));
}

/* ---- time ---- */

static void timing(struct trace *t, uint32_t row, uint32_t call) {
    const struct streams_table *s = &t->streams;
    if (s->packets[row] < 50 || t->no_time) return;
    const float mean = s->steady_jitter_mean_ms[row], most = s->steady_jitter_max_ms[row];
    if (mean > 20.0f || most > 100.0f) sight(t, C_JITTER, call, row, NONE, mean > 50.0f || most > 100.0f ? 2 : 1, (int64_t)(mean * 1000));
    if (s->deltas[row] > 100 && s->late_delta_percent[row] > 1.0f) sight(t, C_JITTER_BURST, call, row, NONE, 0, hundredths(s->late_delta_percent[row]));
    if (s->gaps[row] && s->gap_max_ms[row] > 500.0f && !(call != NONE && t->calls.flags[call] & CALL_HELD))
        sight(t, C_RTP_GAP, call, row, NONE, (int)(s->gaps[row] > 65535 ? 65535 : s->gaps[row]), (int64_t)s->gap_max_ms[row]);
    if (s->timestamp_jumps[row]) sight(t, C_TIMESTAMP_JUMP, call, row, NONE, 0, s->timestamp_jumps[row]);
    const float drift = s->drift_ppm[row] < 0 ? -s->drift_ppm[row] : s->drift_ppm[row];
    if (s->drift_span_s[row] >= 60.0f && drift > 100.0f) sight(t, C_CLOCK_DRIFT, call, row, NONE, drift > 300.0f, (int64_t)s->drift_ppm[row]);
}

static void sequence(struct trace *t, uint32_t row, uint32_t call) {
    const struct streams_table *s = &t->streams;
    if (s->packets[row] < 50) return;
    if (s->reordered_percent[row] > 1.0f) sight(t, C_OUT_OF_ORDER, call, row, NONE, s->reordered_percent[row] > 5.0f, hundredths(s->reordered_percent[row]));
    if (s->duplicate_percent[row] > 1.0f) sight(t, C_DUPLICATE_RTP, call, row, NONE, 0, hundredths(s->duplicate_percent[row]));
    if (s->jumps_forward[row] || s->jumps_back[row] || s->restarts[row])
        sight(t, C_SEQ_JUMP, call, row, NONE, (int)(s->restarts[row] > 65535 ? 65535 : s->restarts[row]), s->jumps_forward[row] + s->jumps_back[row] + s->restarts[row]);
    if (s->marker_percent[row] > 50.0f && s->codec[row] && !(1ull << s->codec[row] & (BIT(H264) | BIT(VP8) | BIT(VP9) | BIT(H265) | BIT(H263) | BIT(H261) | BIT(AV1))))
        sight(t, C_MARKER_FLOOD, call, row, NONE, 0, hundredths(s->marker_percent[row]));
}

static void sources(struct trace *t, uint32_t row, uint32_t call) {
    const struct streams_table *s = &t->streams;
    const uint32_t flags = s->flags[row];
    if (flags & RTP_SOURCE_CHANGED) sight(t, C_RTP_SOURCE_CHANGED, call, row, s->previous_stream[row], 0, s->packets[row]);
    if (flags & RTP_SSRC_COLLISION) sight(t, C_SSRC_COLLISION, call, row, s->previous_stream[row], 0, s->ssrc[row]);
    if (flags & RTP_SSRC_CHANGED) sight(t, C_SSRC_CHANGE, call, row, s->previous_ssrc_stream[row], s->ssrc_changes[row], s->ssrc[row]);
}

/* ---- quality and content ---- */

static void quality(struct trace *t, uint32_t row, uint32_t call) {
    const struct streams_table *s = &t->streams;
    if (s->mos_known[row] && s->packets[row] >= 100) {
        const float worst = s->mos_worst_10s[row], whole = s->mos_lq[row];
        if ((worst > 0 && worst < 3.1f) || (whole > 0 && whole < 3.1f)) sight(t, C_MOS_LOW, call, row, NONE, 2, (int64_t)((worst > 0 ? worst : whole) * 100));
        else if (whole > 0 && whole < 3.6f) sight(t, C_MOS_LOW, call, row, NONE, 1, (int64_t)(whole * 100));
    }
    const float delay = s->rtt_ms[row] / 2 + (s->ptime_ms[row] > 0 ? s->ptime_ms[row] : 20.0f) + 2 * s->steady_jitter_mean_ms[row];
    if (s->rtt_ms[row] > 0 && delay > 150.0f) sight(t, C_DELAY_HIGH, call, row, NONE, delay > 400.0f, (int64_t)delay);
    if (s->inspected_packets[row] >= 100 && s->silent_percent[row] > 80.0f && s->duration_s[row] > 3.0)
        sight(t, C_ONE_WAY_SILENCE, call, row, NONE, 0, hundredths(s->silent_percent[row]));
    if (s->level_samples[row] < 8000 || s->silent_percent[row] > 80.0f) return;
    if (s->clipped_percent[row] > 0.1f || s->level_mean_dbov[row] > -10.0f)
        sight(t, C_LEVEL_CLIPPING, call, row, NONE, (int)(s->clipped_percent[row] * 100), (int64_t)s->level_mean_dbov[row]);
    if (s->level_mean_dbov[row] < -35.0f && s->level_mean_dbov[row] > -90.0f) sight(t, C_LEVEL_LOW, call, row, NONE, 0, (int64_t)s->level_mean_dbov[row]);
}

static void packetisation(struct trace *t, uint32_t row, uint32_t call) {
    const struct streams_table *s = &t->streams;
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t line = s->media_line[row], back = s->reverse_stream[row];
    const float measured = s->ptime_ms[row];
    if (s->packets[row] < 50 || measured <= 0) return;
    const int video = line != NONE && l->media[line] != SDP_AUDIO;
    if (video) return;
    if (line != NONE && s->mos_known[row]) {
        const uint16_t wanted = l->ptime_ms[line] ? l->ptime_ms[line] : l->codec[line] == SDP_CODEC_G723 || l->codec[line] == SDP_CODEC_ILBC ? 30 : 20;
        const float off = measured > wanted ? measured - wanted : wanted - measured;
        if (off >= 1.0f && s->ptime_off_percent[row] < 90.0f) sight(t, C_PTIME_MISMATCH, call, row, line, wanted, (int64_t)measured);
    }
    if (back != NONE && row < back && s->packets[back] >= 50 && s->ptime_ms[back] > 0 && (int)s->ptime_ms[back] != (int)measured)
        sight(t, C_PTIME_ASYMMETRIC, call, row, back, (int)s->ptime_ms[back], (int64_t)measured);
    if (s->codec[row] && 1ull << s->codec[row] & CONSTANT_RATE && s->payload_sizes[row] > 2)
        sight(t, C_PACKET_SIZE_VARIABLE, call, row, NONE, s->payload_sizes[row], s->payload_size_max[row]);
    if (s->comfort_noise_packets[row] && line != NONE && l->comfort_noise[line] == 255)
        sight(t, C_CN_UNNEGOTIATED, call, row, line, 0, s->comfort_noise_packets[row]);
    if (s->first_dscp[row] != 46 && s->packets[row] >= 100) sight_once(t, C_DSCP_UNMARKED, call, row, NONE, 2, s->first_dscp[row]);
    else if (s->dscp_changes[row]) sight_once(t, C_DSCP_UNMARKED, call, row, NONE, 3, s->last_dscp[row]);
}

/* Lip-sync from sender reports: how much later than its NTP time each kind arrives (RFC 3550 §6.4.1). */
static void lip_sync(struct trace *t, const struct call_view *c) {
    const struct streams_table *s = &t->streams;
    int64_t offset[2] = {0, 0};
    uint32_t rows[2] = {NONE, NONE};
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t row = c->streams[i], line = s->media_line[row];
        if (line == NONE || !s->sr_ntp[row] || s->from_caller[row] != s->from_caller[c->streams[0]]) continue;
        const int video = t->media_lines.media[line] == SDP_VIDEO;
        if (!video && t->media_lines.media[line] != SDP_AUDIO) continue;
        const int64_t ntp_ns = (int64_t)((s->sr_ntp[row] >> 32) * 1000000000ull + ((s->sr_ntp[row] & 0xffffffffu) * 1000000000ull >> 32));
        offset[video] = s->sr_time_ns[row] - ntp_ns;
        rows[video] = row;
    }
    if (rows[0] == NONE || rows[1] == NONE) return;
    const int64_t skew_ms = (offset[1] - offset[0]) / 1000000;
    if (skew_ms > 200 || skew_ms < -200) sight_once(t, C_VIDEO_AUDIO_SKEW, c->call, rows[1], rows[0], 0, skew_ms);
}

/* A recorded leg that misses packets which the call itself had. */
static void recording_gap(struct trace *t, const struct call_view *c) {
    const struct streams_table *s = &t->streams;
    float worst = 0;
    uint32_t chosen = NONE;
    for (uint32_t i = 0; i < c->stream_count; i++)
        if (s->expected[c->streams[i]] > 100 && s->loss_percent[c->streams[i]] > worst) { worst = s->loss_percent[c->streams[i]]; chosen = c->streams[i]; }
    if (chosen == NONE || worst <= 1.0f) return;
    const uint32_t group = t->calls.group[c->call];
    for (uint32_t call = group, looked = 0; call < t->calls.head.count && looked < 64; call++, looked++) {
        if (t->calls.group[call] != group || call == c->call || t->calls.flags[call] & CALL_SIPREC) continue;
        for (uint32_t i = 0; i < t->calls.stream_count[call]; i++) {
            const uint32_t row = t->call_streams[t->calls.first_stream[call] + i];
            if (s->expected[row] > 100 && s->loss_percent[row] < worst - 1.0f) {
                sight_once(t, C_RECORDING_LEG_GAP, c->call, chosen, row, 0, hundredths(worst));
                return;
            }
        }
    }
}

void media_streams_of_call(struct trace *t, const struct call_view *c) {
    if (c->stream_count > 1) lip_sync(t, c);
    if (t->calls.flags[c->call] & CALL_SIPREC) recording_gap(t, c);
}

void media_trace(struct trace *t) {
    for (uint32_t row = 0; row < t->streams.head.count && !t->failed; row++) {
        const uint32_t call = t->streams.call[row];
        losses(t, row, call);
        reports(t, row, call);
        timing(t, row, call);
        sequence(t, row, call);
        sources(t, row, call);
        quality(t, row, call);
        packetisation(t, row, call);
    }
}

/* ---- T.38 ---- */

/* Value text of a=<name>:<value> in a section; zero length when absent. */
static struct sip_span attribute(const uint8_t *text, struct sip_span section, const char *name) {
    const uint32_t length = (uint32_t)strlen(name), end = section.offset + section.length;
    for (uint32_t at = section.offset; at < end;) {
        const uint8_t *lf = memchr(text + at, '\n', end - at);
        uint32_t stop = lf ? (uint32_t)(lf - text) : end;
        const uint32_t next = stop + 1;
        if (stop > at && text[stop - 1] == '\r') stop--;
        if (stop - at > length + 2 && text[at] == 'a' && text[at + 1] == '=' && !strncasecmp((const char *)text + at + 2, name, length)) {
            const uint32_t from = at + 2 + length + (text[at + 2 + length] == ':');
            return (struct sip_span){from, stop - from};
        }
        at = next;
    }
    return (struct sip_span){0, 0};
}

void t38_parameters(struct trace *t, const struct call_view *c, uint32_t offer, uint32_t answer) {
    static const char *const names[] = {"T38FaxVersion", "T38FaxRateManagement", "T38FaxUdpEC", "T38MaxBitRate"};
    const struct media_lines_table *l = &t->media_lines;
    uint32_t a_length, b_length;
    const uint8_t *a = trace_text(t, l->message[offer], &a_length), *b = trace_text(t, l->message[answer], &b_length);
    const struct sip_span x = {l->section_offset[offer], l->section_length[offer]}, y = {l->section_offset[answer], l->section_length[answer]};
    if ((uint64_t)x.offset + x.length > a_length || (uint64_t)y.offset + y.length > b_length) return;
    for (int i = 0; i < 4; i++) {
        const struct sip_span p = attribute(a, x, names[i]), q = attribute(b, y, names[i]);
        /* the answer may lower version and rate, but not change management or error correction */
        if (!p.length || !q.length || i == 0 || i == 3) {
            int64_t m, n;
            if (i == 3 && p.length && q.length && sip_number(a, p, &m) && sip_number(b, q, &n) && n > m) sight_once(t, C_T38_PARAMS, c->call, l->message[answer], l->message[offer], i, n);
            if (i == 0 && p.length && q.length && sip_number(a, p, &m) && sip_number(b, q, &n) && n > m) sight_once(t, C_T38_PARAMS, c->call, l->message[answer], l->message[offer], i, n);
            continue;
        }
        if (p.length != q.length || strncasecmp((const char *)a + p.offset, (const char *)b + q.offset, p.length))
            sight_once(t, C_T38_PARAMS, c->call, l->message[answer], l->message[offer], i, 0);
    }
}

/* First event at or behind a time: events come in order of arrival. */
static uint32_t first_event(const struct events_table *e, int64_t time_ns) {
    uint32_t low = 0, high = e->head.count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (e->time_ns[middle] < time_ns) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* UDPTL datagrams to the accepted image lines: none at all, or holes in their sequence numbers (T.38 §9.1). */
void udptl_packets(struct trace *t, const struct call_view *c, uint32_t accepted_row) {
    const struct events_table *e = &t->events;
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t answer = t->messages.media_line[accepted_row];
    if (answer == NONE || l->media[answer] != SDP_IMAGE) return;
    const uint32_t offer = l->counterpart[answer];
    const uint32_t ends[2] = {l->endpoint[answer], offer == NONE ? NONE : l->endpoint[offer]};
    const uint32_t from = first_event(e, t->messages.time_ns[accepted_row]);
    const int64_t until = (t->calls.release_ns[c->call] > 0 ? t->calls.release_ns[c->call] : t->calls.end_ns[c->call] + 600000000000ll) + 5000000000ll;
    uint32_t seen = 0;
    for (int side = 0; side < 2; side++) {
        uint32_t count = 0, lost = 0, example = NONE;
        int32_t last = -1;
        for (uint32_t row = from; row < e->head.count && e->time_ns[row] <= until; row++) {
            if (e->kind[row] != EVENT_UDPTL || e->target[row] != ends[side] || ends[side] == NONE) continue;
            const int32_t number = (int32_t)(e->value[row] & 0xffff);
            if (last >= 0 && number > last + 1 && number - last < 100) lost += (uint32_t)(number - last - 1);
            if (number > last || last - number > 60000) last = number;
            if (!count++) example = row;
        }
        seen += count;
        if (count > 50 && lost * 100 > count + lost) sight_once(t, C_T38_LOSS, c->call, accepted_row, example, side, (int64_t)lost * 10000 / (count + lost));
    }
    const int64_t now = t->messages.time_ns[accepted_row];
    if (!seen && call_absence_holds(t, c->call, now, 5000) && (t->calls.release_ns[c->call] < 0 || t->calls.release_ns[c->call] - now > 3000000000ll))
        sight_once(t, C_T38_NO_UDPTL, c->call, accepted_row, NONE, 0, l->port[answer]);
}

/* RTCP to the streams it speaks of: the sender's own by SSRC and direction, reported ones against it. */
#include "rtcp.h"

#include "rtp_stream.h"

struct rtcp_reader { struct rtp_table *t; const struct packet *p; uint32_t sender; int found, muxed; };

int rtcp_walk(const uint8_t *payload, uint32_t count) {
    uint32_t offset = 0;
    int packets = 0;
    while (offset < count) {
        if (count - offset < 4) return STATUS_MALFORMED;
        const uint8_t *head = payload + offset;
        const uint32_t length = ((uint32_t)load16(head + 2) + 1) * 4;
        if (head[0] >> 6 != 2 || head[1] < 192 || head[1] > 223 || length > count - offset)
            return STATUS_MALFORMED;
        if (head[0] & 0x20) { /* padding: in the last packet only, a multiple of four (RFC 3550 §6.4.1) */
            const uint8_t padding = head[length - 1];
            if (offset + length != count || padding == 0 || padding > length - 4) return STATUS_MALFORMED;
        }
        offset += length;
        packets++;
    }
    return packets ? packets : STATUS_MALFORMED;
}

/* The stream of an SSRC that flows with the packet, or against it: on its ports (RFC 5761), on the ports
   below (RFC 3550 §11), or between its hosts. */
static struct rtp_stream *stream_of(struct rtcp_reader *r, uint32_t ssrc, int against) {
    struct rtp_lookup l;
    lookup_of_packet(&l, r->p, ssrc);
    if (against) {
        memcpy(l.source_ip, r->p->target.ip, 16);
        memcpy(l.target_ip, r->p->source.ip, 16);
        l.source_port = r->p->target.port;
        l.target_port = r->p->source.port;
    }
    uint32_t row = index_find(r->t, RTP_KEY_STREAM, &l);
    if (row != RTP_NO_STREAM) {
        r->muxed = 1;
    } else {
        l.source_port--;
        l.target_port--;
        row = index_find(r->t, RTP_KEY_STREAM, &l);
        if (row == RTP_NO_STREAM) row = index_find(r->t, RTP_KEY_PAIR, &l);
    }
    if (row == RTP_NO_STREAM || r->t->streams[row].flags & RTP_FINISHED) return NULL;
    if (r->muxed) r->t->streams[row].flags |= RTP_RTCP_MUX_SEEN;
    r->found++;
    return &r->t->streams[row];
}

/* Round trip from the capture point to the reporter: A - LSR - DLSR with A and LSR as the capture saw them
   (RFC 3550 §6.4.1). */
static float round_trip(int64_t now_ns, int64_t then_ns, uint32_t delay) {
    const double ms = (double)since(now_ns, then_ns) * 1e-6 - (double)delay * (1000.0 / 65536);
    return ms > 0 ? (float)ms : 0.0f;
}

static void note_round_trip(struct rtp_stream *s, float ms) {
    s->rtt_ms = ms;
    s->rtt_known = 1;
    if (ms > s->rtt_max_ms) s->rtt_max_ms = ms;
}

static void take_report(struct rtcp_reader *r, const uint8_t *block) {
    struct rtp_stream *s = stream_of(r, load32(block), 1);
    if (!s) return;
    const uint8_t fraction = block[4];
    const uint32_t lost = load32(block + 4) & 0xFFFFFF, jitter = load32(block + 12);
    const uint32_t last_sr = load32(block + 16), delay = load32(block + 20);
    if (!s->reports++) s->report_first_ns = r->p->time_ns;
    s->report_last_ns = r->p->time_ns;
    s->report_fraction = fraction;
    if (fraction > s->report_fraction_max) s->report_fraction_max = fraction;
    if (fraction > RTCP_LOSSY_FRACTION) count16(&s->report_lossy_run);
    else s->report_lossy_run = 0;
    if (s->report_lossy_run > s->report_lossy_run_max) s->report_lossy_run_max = s->report_lossy_run;
    s->report_lost = (int32_t)(lost << 8) >> 8; /* 24 bits with a sign */
    s->report_jitter = jitter;
    if (jitter > s->report_jitter_max) s->report_jitter_max = jitter;
    if (!last_sr) return;
    for (int k = 0; k < 2; k++)
        if (s->sr_count > (uint32_t)k && s->sr_middle[k] == last_sr) {
            note_round_trip(s, round_trip(r->p->time_ns, s->sr_time_ns[k], delay));
            return;
        }
}

static void take_sender_report(struct rtcp_reader *r, struct rtp_stream *s, const uint8_t *body) {
    s->sr_middle[1] = s->sr_middle[0];
    s->sr_time_ns[1] = s->sr_time_ns[0];
    s->sr_ntp = (uint64_t)load32(body) << 32 | load32(body + 4);
    s->sr_middle[0] = (uint32_t)(s->sr_ntp >> 16);
    s->sr_time_ns[0] = r->p->time_ns;
    s->sr_rtp_timestamp = load32(body + 8);
    s->sr_packet_count = load32(body + 12);
    s->sr_octet_count = load32(body + 16);
    s->sr_count++;
}

/* One compound is credited once to its sender. */
static struct rtp_stream *take_sender(struct rtcp_reader *r, uint32_t ssrc) {
    struct rtp_stream *s = stream_of(r, ssrc, 0);
    if (!s || r->sender) return s;
    r->sender = 1;
    if (!s->rtcp_packets++) s->rtcp_first_ns = r->p->time_ns;
    s->rtcp_last_ns = r->p->time_ns;
    return s;
}

static void take_reports(struct rtcp_reader *r, const uint8_t *packet, uint32_t length) {
    const int sr = packet[1] == RTCP_SR;
    const uint32_t head = sr ? 28 : 8, reports = packet[0] & 31;
    if (length < head) return;
    struct rtp_stream *s = take_sender(r, load32(packet + 4));
    if (s && sr) take_sender_report(r, s, packet + 8);
    if (s && !sr) s->rr_count++;
    for (uint32_t k = 0; k < reports && head + (k + 1) * 24 <= length; k++)
        take_report(r, packet + head + k * 24);
}

static void take_bye(struct rtcp_reader *r, const uint8_t *packet, uint32_t length) {
    const uint32_t sources = packet[0] & 31;
    for (uint32_t k = 0; k < sources && 8 + k * 4 <= length; k++) {
        struct rtp_stream *s = stream_of(r, load32(packet + 4 + k * 4), 0);
        if (s) s->flags |= RTP_BYE_SEEN;
    }
}

/* RFC 3611 §4.7. */
static void take_voip_metrics(struct rtcp_reader *r, const uint8_t *block) {
    struct rtp_stream *s = stream_of(r, load32(block + 4), 1);
    if (!s) return;
    s->xr_seen = 1;
    s->xr_loss = block[8];
    s->xr_discard = block[9];
    s->xr_rtt_ms = load16(block + 16);
    s->xr_end_system_ms = load16(block + 18);
    s->xr_r_factor = block[24];
    s->xr_mos_lq = block[26];
    s->xr_mos_cq = block[27];
}

/* RFC 3611 §4.5: round trips for receivers that send no SR.
   The time is from the capture point to the answerer. */
static void take_dlrr(struct rtcp_reader *r, const uint8_t *block, uint32_t length) {
    for (uint32_t at = 4; at + 12 <= length; at += 12) {
        struct rtp_stream *s = stream_of(r, load32(block + at), 1);
        const uint32_t last = load32(block + at + 4);
        if (s && last && s->rrtr_middle == last)
            note_round_trip(s, round_trip(r->p->time_ns, s->rrtr_time_ns, load32(block + at + 8)));
    }
}

static void take_extended(struct rtcp_reader *r, const uint8_t *packet, uint32_t length) {
    struct rtp_stream *s = take_sender(r, load32(packet + 4));
    if (s) s->xr_count++;
    uint32_t at = 8;
    while (at + 4 <= length) {
        const uint8_t *block = packet + at;
        const uint32_t size = ((uint32_t)load16(block + 2) + 1) * 4;
        if (size > length - at) return;
        if (block[0] == RTCP_XR_VOIP_METRICS && size >= 36) take_voip_metrics(r, block);
        if (block[0] == RTCP_XR_DLRR) take_dlrr(r, block, size);
        if (block[0] == RTCP_XR_RRTR && size >= 12 && s) {
            s->rrtr_middle = load32(block + 4) << 16 | load32(block + 8) >> 16;
            s->rrtr_time_ns = r->p->time_ns;
        }
        at += size;
    }
}

int rtcp_push(struct rtp_table *t, const struct packet *p) {
    const uint32_t count = p->payload_length;
    if (count < 8 || p->payload[0] >> 6 != 2 || p->payload[1] < 192 || p->payload[1] > 223)
        return STATUS_MALFORMED;
    const int walked = rtcp_walk(p->payload, count), snapped = p->wire_length > count;
    if (p->flags & PACKET_DUPLICATE) return 0;
    t->rtcp_packets++;
    struct rtcp_reader r = {t, p, 0, 0, 0};
    if (walked < 0 && !snapped) { /* SRTCP leaves only the first eight bytes readable (RFC 3711 §3.4) */
        t->rtcp_malformed++;
        if (p->payload[1] == RTCP_SR || p->payload[1] == RTCP_RR) take_sender(&r, load32(p->payload + 4));
        return r.found ? r.found : STATUS_MALFORMED;
    }
    const int reduced = p->payload[1] != RTCP_SR && p->payload[1] != RTCP_RR; /* RFC 5506 §3.1 */
    for (uint32_t at = 0; at + 8 <= count;) {
        const uint8_t *packet = p->payload + at;
        const uint32_t length = ((uint32_t)load16(packet + 2) + 1) * 4;
        if (length > count - at) break; /* cut by the capture */
        if (length >= 8) {
            if (packet[1] == RTCP_SR || packet[1] == RTCP_RR) take_reports(&r, packet, length);
            else if (packet[1] == RTCP_BYE) take_bye(&r, packet, length);
            else if (packet[1] == RTCP_XR) take_extended(&r, packet, length);
            else if (reduced && at == 0) {
                struct rtp_stream *s = take_sender(&r, load32(packet + 4));
                if (s) s->flags |= RTP_RTCP_REDUCED;
            }
        }
        at += length;
    }
    if (!r.found) t->rtcp_unmatched++;
    return r.found;
}

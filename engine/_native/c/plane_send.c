/* The media plane's way out: what a stream says in each packet time, and the sending of it. */
#define _GNU_SOURCE
#include <string.h>

#include "plane.h"

#define FADE_MS 5
#define OPEN_FIRST_NS 1000000000   /* between packets that open the way to us, until something came on it */
#define OPEN_NS 15000000000        /* and then (RFC 6263 8) */
#define DYNAMIC_FIRST 96

/* ---- what leaves ---- */

static uint32_t length_of(const struct sockaddr_storage *to) { return to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6); }

/* Room for one packet of a stream; NULL where it has nobody to send to. */
uint8_t *plane_out_room(struct plane *p, struct plane_stream *s, int control, struct plane_out **out) {
    const struct sockaddr_storage *to = control ? &s->remote_control : &s->remote;
    if (!to->ss_family || s->port == PLANE_NONE || p->ports[s->port].state != 1) return NULL;
    if (p->out_count == PLANE_BATCH) plane_send(p);
    struct plane_port *port = &p->ports[s->port];
    struct plane_out *o = &p->out[p->out_count];
    o->stream = plane_index(p, s);
    o->fd = control && !s->rtcp_mux && port->control_fd >= 0 ? port->control_fd : port->fd;
    o->control = (uint8_t)control;
    o->to = *to;
    o->to_length = length_of(to);
    o->length = 0;
    *out = o;
    return o->bytes;
}

static void keep(struct plane *p, struct plane_out *o, uint32_t length) {
    o->length = (uint16_t)length;
    p->out_count++;
}

static void protect(struct plane *p, int control) {
    struct srtp_span spans[PLANE_BATCH];
    uint32_t of[PLANE_BATCH], wanted = 0;
    for (uint32_t i = 0; i < p->out_count; i++) {
        struct plane_out *o = &p->out[i];
        struct plane_stream *s = &p->streams[o->stream];
        if (o->control != control || !o->length || !s->send_srtp) continue;
        spans[wanted] = (struct srtp_span){.context = s->send_srtp, .bytes = o->bytes, .length = o->length, .room = PLANE_PACKET_BYTES, .status = SRTP_CRYPTO};
        of[wanted++] = i;
    }
    if (!wanted) return;
    if (p->srtp) (control ? p->srtp->protect_control : p->srtp->protect)(spans, wanted);
    for (uint32_t k = 0; k < wanted; k++) { /* what could not be protected does not leave */
        p->out[of[k]].length = spans[k].status == SRTP_OK ? (uint16_t)spans[k].length : 0;
        if (spans[k].status != SRTP_OK) p->streams[p->out[of[k]].stream].counts.not_sent++;
    }
}

static void count_sent(struct plane *p, struct plane_out *o, int sent, int64_t now_ns) {
    struct plane_stream *s = &p->streams[o->stream];
    if (!sent) {
        s->counts.not_sent++;
        return;
    }
    if (o->control) {
        s->counts.control_sent++;
        return;
    }
    s->counts.sent++;
    s->counts.sent_bytes += o->length;
    if (s->capture.kind && s->port != PLANE_NONE) plane_capture(p, s, &p->ports[s->port].local, &o->to, o->bytes, o->length, now_ns);
}

void plane_send(struct plane *p) {
    if (!p->out_count) return;
    struct mmsghdr messages[PLANE_BATCH];
    struct iovec spans[PLANE_BATCH];
    uint32_t of[PLANE_BATCH];
    protect(p, 0);
    protect(p, 1);
    int64_t now_ns = plane_clock_ns(p);
    for (uint32_t i = 0; i < p->out_count;) {
        int fd = p->out[i].fd;
        uint32_t count = 0;
        for (; i < p->out_count && p->out[i].fd == fd; i++) {
            struct plane_out *o = &p->out[i];
            if (!o->length) continue;
            spans[count] = (struct iovec){o->bytes, o->length};
            memset(&messages[count].msg_hdr, 0, sizeof messages[count].msg_hdr);
            messages[count].msg_hdr.msg_iov = &spans[count];
            messages[count].msg_hdr.msg_iovlen = 1;
            messages[count].msg_hdr.msg_name = &o->to;
            messages[count].msg_hdr.msg_namelen = o->to_length;
            of[count++] = i;
        }
        /* One that cannot be sent (a full socket, an address out of reach) is passed over, the others are not held back by it. */
        for (uint32_t at = 0; at < count;) {
            int sent = count - at == 1 ? (int)(sendto(fd, spans[at].iov_base, spans[at].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL, messages[at].msg_hdr.msg_name,
                                                      messages[at].msg_hdr.msg_namelen) >= 0)
                                       : sendmmsg(fd, messages + at, count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            p->send_calls++;
            uint32_t done = sent > 0 ? (uint32_t)sent : 0;
            for (uint32_t k = 0; k < done; k++) count_sent(p, &p->out[of[at + k]], 1, now_ns);
            at += done;
            if (sent <= 0) count_sent(p, &p->out[of[at++]], 0, now_ns);
        }
    }
    p->out_count = 0;
}

/* ---- clips ---- */

static void drop_clip(struct plane *p, struct plane_stream *s) {
    struct plane_clip *clip = s->clips;
    s->clips = clip->next;
    if (!s->clips) s->last_clip = NULL;
    plane_give_back(p, &clip->done);
}

/* Samples of the clips; those that are behind the end are silent. Returns how many there were. */
static uint32_t play(struct plane *p, struct plane_stream *s, int16_t *pcm, uint32_t samples) {
    uint32_t made = 0;
    while (made < samples && s->clips) {
        struct plane_clip *clip = s->clips;
        uint32_t left = clip->samples - clip->played, now = samples - made < left ? samples - made : left;
        memcpy(pcm + made, clip->pcm + clip->played, now * sizeof *pcm);
        clip->played += now;
        made += now;
        if (clip->played < clip->samples) break;
        if (clip->loops && clip->samples) clip->played = 0;
        else drop_clip(p, s);
    }
    memset(pcm + made, 0, (samples - made) * sizeof *pcm);
    return made;
}

/* What was not played goes; the next milliseconds of it fade out, so that nothing clicks. */
void plane_flush_clips(struct plane *p, struct plane_stream *s) {
    if (!s->clips) return;
    s->tail_played = 0;
    s->tail_samples = 0;
    if (s->clips->played && s->send_sample_rate_hz) {
        uint32_t fade = s->send_sample_rate_hz * FADE_MS / 1000, left = s->clips->samples - s->clips->played;
        if (fade > sizeof s->side->tail / sizeof *s->side->tail) fade = sizeof s->side->tail / sizeof *s->side->tail;
        if (fade > left) fade = left;
        memcpy(s->side->tail, s->clips->pcm + s->clips->played, fade * sizeof *s->side->tail);
        mix_fade(s->side->tail, fade, 4096, 0);
        s->tail_samples = fade;
    }
    while (s->clips) {
        s->clips->flushed = 1;
        drop_clip(p, s);
    }
}

/* ---- one packet time ---- */

static void head(struct plane_stream *s, uint8_t *bytes, uint8_t payload_type, int marker, uint32_t timestamp) {
    rtp_packet_head(bytes, payload_type, marker, s->sequence++, timestamp, s->ssrc);
}

static void sent(struct plane_stream *s, uint32_t payload_bytes, uint32_t timestamp, int64_t now_ns) {
    s->sent.packets++;
    s->sent.octets += payload_bytes;
    s->sent.last_timestamp = timestamp;
    s->sent.last_ns = now_ns;
}

static void send_payload(struct plane *p, struct plane_stream *s, uint8_t payload_type, const uint8_t *payload, uint32_t length, int marker, uint32_t timestamp,
                         int64_t now_ns) {
    struct plane_out *o;
    uint8_t *bytes = plane_out_room(p, s, 0, &o);
    if (!bytes || length > PLANE_PACKET_BYTES - RTP_PACKET_HEADER_BYTES - SRTP_TRAILER_MAX) return;
    head(s, bytes, payload_type, marker, timestamp);
    memcpy(bytes + RTP_PACKET_HEADER_BYTES, payload, length);
    sent(s, length, s->timestamp, now_ns); /* an event has the time of its begin; what reports say is the time of now */
    keep(p, o, RTP_PACKET_HEADER_BYTES + length);
}

static void send_samples(struct plane *p, struct plane_stream *s, int16_t *pcm, int64_t now_ns) {
    if (s->gain_4096 != 4096) mix_gain(pcm, s->step_samples, s->gain_4096);
    if (s->noise_payload_type != 255) {
        int wanted = dtx_decide(&s->side->dtx, pcm, s->step_samples);
        if (wanted != 1) {
            uint8_t sid[COMFORT_NOISE_ORDER + 1];
            int length = wanted == 2 ? comfort_noise_measure(pcm, s->step_samples, sid, sizeof sid) : 0;
            if (length > 0) send_payload(p, s, s->noise_payload_type, sid, (uint32_t)length, 0, s->timestamp, now_ns);
            s->marker = 1;
            return;
        }
    }
    struct plane_out *o;
    uint8_t *bytes = plane_out_room(p, s, 0, &o);
    if (!bytes) return;
    uint32_t room = PLANE_PACKET_BYTES - RTP_PACKET_HEADER_BYTES - SRTP_TRAILER_MAX;
    if (s->send_channels == 2)
        for (uint32_t i = s->step_samples; i-- > 0;) pcm[2 * i] = pcm[2 * i + 1] = pcm[i];
    int length = codecs[s->send_codec]->encode(s->encoder, pcm, s->step_samples, bytes + RTP_PACKET_HEADER_BYTES, room);
    if (length <= 0) {
        s->counts.not_sent += length < 0;
        return;
    }
    head(s, bytes, s->send_payload_type, s->marker, s->timestamp);
    s->marker = 0;
    sent(s, (uint32_t)length, s->timestamp, now_ns);
    keep(p, o, RTP_PACKET_HEADER_BYTES + (uint32_t)length);
}

/* Digits come before speech. Returns 1 when they have this packet time. */
static int send_digits(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    if (s->event_payload_type == 255 || !s->began_sending || !telephone_event_is_busy(&s->side->digits)) return 0;
    struct telephone_event_packet packet;
    int what = telephone_event_next(&s->side->digits, s->timestamp, s->ptime_ms, &packet);
    if (what == 1) send_payload(p, s, s->event_payload_type, packet.payload, sizeof packet.payload, packet.marker, packet.timestamp, now_ns);
    if (what) s->marker = 1;
    return what != 0;
}

static void forward_clock(struct plane_stream *s) { s->timestamp += (uint32_t)((uint64_t)s->send_clock_rate_hz * s->ptime_ms / 1000); }

static void note_lateness(struct plane_stream *s, int64_t now_ns) {
    int64_t late_ns = now_ns - s->next_step_ns;
    if (late_ns > s->counts.send_late_max_ns) s->counts.send_late_max_ns = late_ns;
}

/* NATs, and those who send to where they hear from, wait for a packet of ours also where we only listen: one of a payload type that nobody agreed to says nothing. */
static void open_way(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    uint8_t unused = 127;
    struct plane_out *o;
    s->next_open_ns = now_ns + (s->counts.last_ns ? OPEN_NS : OPEN_FIRST_NS);
    while (unused >= DYNAMIC_FIRST && s->payload_index[unused] != 255) unused--;
    uint8_t *bytes = unused < DYNAMIC_FIRST ? NULL : plane_out_room(p, s, 0, &o);
    if (!bytes) return;
    head(s, bytes, unused, 0, s->timestamp);
    keep(p, o, RTP_PACKET_HEADER_BYTES);
}

void plane_step(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    if (s->opens && now_ns >= s->next_open_ns) open_way(p, s, now_ns);
    if (s->rtcp && now_ns >= s->session.next_ns) plane_report(p, s, now_ns, 0);
    if (!s->sends || s->mix != PLANE_NONE || s->relayed) return;
    int16_t pcm[PLANE_STEP_SAMPLES * 2];
    note_lateness(s, now_ns);
    if (!send_digits(p, s, now_ns)) {
        uint32_t fade = s->tail_samples - s->tail_played;
        if (fade > s->step_samples) fade = s->step_samples;
        int had = s->clips != NULL;
        memcpy(pcm, s->side->tail + s->tail_played, fade * sizeof *pcm);
        s->tail_played += fade;
        uint32_t made = fade + play(p, s, pcm + fade, s->step_samples - fade);
        if (had && !s->clips) plane_event_of(p, PLANE_PLAYED_OUT, s, 0, 0, now_ns);
        if (made || s->idle_sends) send_samples(p, s, pcm, now_ns);
        else s->marker = 1;
    }
    forward_clock(s);
}

/* ---- mixes ---- */

/* A mix goes on in steps of 20 ms, and so do its legs. */
void plane_mix_step(struct plane *p, struct plane_mix *m, int64_t now_ns) {
    if (!m->next_ns || now_ns - m->next_ns > 1000000000) m->next_ns = now_ns;
    while (m->next_ns <= now_ns) {
        m->next_ns += 20000000;
        uint32_t samples = m->rate_hz / 50;
        memset(m->sum, 0, samples * sizeof *m->sum);
        for (uint32_t i = 0; i < m->legs; i++) {
            struct plane_stream *s = &p->streams[m->leg[i]];
            int16_t *own = m->own + (size_t)i * PLANE_STEP_SAMPLES / 3;
            m->underruns += plane_fifo_take(s, own, samples) < samples;
            if (!s->fifo_primed) memset(own, 0, samples * sizeof *own);
            mix_add(m->sum, own, samples);
        }
        for (uint32_t i = 0; i < m->legs; i++) {
            struct plane_stream *s = &p->streams[m->leg[i]];
            if (!s->sends) continue;
            int16_t out[PLANE_STEP_SAMPLES * 2], clip[PLANE_STEP_SAMPLES];
            if (send_digits(p, s, now_ns)) {
                forward_clock(s);
                continue;
            }
            mix_out(m->sum, m->own + (size_t)i * PLANE_STEP_SAMPLES / 3, out, samples);
            if (s->send_sample_rate_hz != m->rate_hz) {
                int made = resample_run(&s->side->mix_out, out, samples, p->resampled, (uint32_t)(sizeof p->resampled / sizeof *p->resampled));
                uint32_t there = made < 0 ? 0 : (uint32_t)made;
                memcpy(out, p->resampled, (there < s->step_samples ? there : s->step_samples) * sizeof *out);
                if (there < s->step_samples) memset(out + there, 0, (s->step_samples - there) * sizeof *out);
            }
            if (s->clips && play(p, s, clip, s->step_samples)) { /* a prompt over the others */
                int32_t both[PLANE_STEP_SAMPLES];
                memset(both, 0, s->step_samples * sizeof *both);
                mix_add(both, out, s->step_samples);
                mix_add(both, clip, s->step_samples);
                mix_out(both, NULL, out, s->step_samples);
                if (!s->clips) plane_event_of(p, PLANE_PLAYED_OUT, s, 0, 0, now_ns);
            }
            send_samples(p, s, out, now_ns);
            forward_clock(s);
        }
    }
}

/* ---- relay ---- */

/* Sends a packet on as it is, but for the payload type where both ends number it differently. */
void plane_relay(struct plane *p, struct plane_stream *to, const struct rtp_packet *packet, const uint8_t *bytes, uint32_t length, int64_t now_ns) {
    struct plane_out *o;
    if (length + SRTP_TRAILER_MAX > PLANE_PACKET_BYTES) {
        to->counts.not_sent++;
        return;
    }
    uint8_t *room = plane_out_room(p, to, 0, &o);
    if (!room) return;
    memcpy(room, bytes, length);
    uint8_t mapped = to->relay_map[packet->payload_type];
    if (mapped != 255) room[1] = (uint8_t)((room[1] & 0x80) | mapped);
    to->sent.ssrc = packet->ssrc;
    sent(to, packet->payload_length, packet->timestamp, now_ns);
    keep(p, o, length);
}

/* ---- RTCP ---- */

static uint8_t of_256(uint64_t part, uint64_t whole) { return whole ? (uint8_t)(part >= whole ? 255 : part * 256 / whole) : 0; }

/* What VoIP metrics say (RFC 3611 §4.7): what was lost, and what came too late; 127 is "not measured". */
static struct rtcp_quality quality_of(const struct plane_stream *s) {
    uint64_t expected = rtp_source_expected(&s->source);
    uint32_t delay_ms = (uint32_t)(s->jitter.delay_ns / 1000000);
    return (struct rtcp_quality){.loss = of_256(s->counts.lost, expected), .discard = of_256(s->counts.late, expected), .r_factor = 127, .mos_lq = 127, .mos_cq = 127,
                                 .delay_ms = (uint16_t)(delay_ms + s->ptime_ms), .jitter_delay_ms = (uint16_t)delay_ms,
                                 .jitter_delay_max_ms = s->jitter.settings.delay_max_ms};
}

void plane_report(struct plane *p, struct plane_stream *s, int64_t now_ns, int bye) {
    struct plane_out *o;
    struct rtp_source *remote = s->source_known ? &s->source : NULL;
    uint8_t *bytes = plane_out_room(p, s, 1, &o);
    if (!bytes) {
        s->session.next_ns = now_ns + 5000000000;
        return;
    }
    int64_t wall_ns = now_ns + p->wall_offset_ns;
    uint32_t room = PLANE_PACKET_BYTES - SRTP_TRAILER_MAX;
    struct rtcp_quality quality = {0};
    if (s->rtcp_xr && remote) quality = quality_of(s);
    int length = bye ? rtcp_session_bye(&s->session, &s->sent, remote, now_ns, wall_ns, bytes, room)
                     : rtcp_session_report(&s->session, &s->sent, remote, s->rtcp_xr && remote ? &quality : NULL, now_ns, wall_ns, bytes, room);
    if (length > 0) keep(p, o, (uint32_t)length);
}

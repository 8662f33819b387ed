/* Media: RTP streams against what was agreed, and on their own (rule page 3.2). What is a threshold on a stream's column is in
   conditions_media_streams.c. */
#include "conditions_media.h"

int media_talked(const struct trace *t, uint32_t call, int64_t least_ms) {
    const struct calls_table *c = &t->calls;
    if (c->answer_row[call] == NONE || c->flags[call] & (CALL_NO_TIME | CALL_SNAPPED | CALL_ONE_SIDED | CALL_PARTIAL_START)) return 0;
    const int64_t end = c->release_ns[call] > 0 ? c->release_ns[call] : c->end_ns[call] > t->last_time_ns ? c->end_ns[call] : t->last_time_ns;
    return end - c->answer_ns[call] > least_ms * 1000000;
}

/* When the talk ended: BYE, or the end of the capture. */
static int64_t talk_end_ns(const struct trace *t, uint32_t call) {
    return t->calls.release_ns[call] > 0 ? t->calls.release_ns[call] : t->last_time_ns;
}

static int both_ways(const struct media_lines_table *l, uint32_t offer, uint32_t answer) {
    return l->direction[offer] == SDP_SENDRECV && l->direction[answer] == SDP_SENDRECV && l->port[answer] && l->port[offer] &&
           l->address_kind[offer] != ADDRESS_UNSPECIFIED && l->address_kind[answer] != ADDRESS_UNSPECIFIED;
}

struct sides { uint32_t row[3]; int64_t first_ns[3], last_ns[3]; uint64_t packets[3]; };

static void gather(const struct trace *t, const struct call_view *c, struct sides *d) {
    const struct streams_table *s = &t->streams;
    memset(d, 0, sizeof *d);
    d->row[1] = d->row[2] = NONE;
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t row = c->streams[i];
        const uint8_t side = s->from_caller[row];
        if (side != 1 && side != 2) continue;
        if (d->row[side] == NONE || s->first_time_ns[row] < d->first_ns[side]) d->first_ns[side] = s->first_time_ns[row];
        if (s->last_time_ns[row] > d->last_ns[side]) d->last_ns[side] = s->last_time_ns[row];
        if (d->row[side] == NONE || s->packets[row] > s->packets[d->row[side]]) d->row[side] = row;
        d->packets[side] += s->packets[row];
    }
}

static int talked_with(const struct trace *t, uint32_t call) {
    /* absence of media means something only where the capture holds media at all */
    return t->rtp_packets > 0 && media_talked(t, call, 3000);
}

/* Whether any leg of the group carries RTP: then this leg's media is anchored or captured elsewhere. */
static int group_has_rtp(const struct trace *t, uint32_t call) {
    const uint32_t group = t->calls.group[call];
    if (t->calls.flags[group] & CALL_HAS_RTP) return 1;
    for (uint32_t other = group, looked = 0; other < t->calls.head.count && looked < 64; other++, looked++)
        if (t->calls.group[other] == group && t->calls.flags[other] & CALL_HAS_RTP) return 1;
    return 0;
}

static void silent_calls(struct trace *t, const struct call_view *c, const struct sides *d) {
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t call = c->call, offer = t->calls.offer_line[call], answer = t->calls.answer_line[call], row = t->calls.answer_row[call];
    if (offer == NONE || answer == NONE || l->media[answer] != SDP_AUDIO) return;
    const int64_t talk_ms = (talk_end_ns(t, call) - t->calls.answer_ns[call]) / 1000000;
    const uint8_t a = l->direction[offer], b = l->direction[answer];
    const int held = t->calls.flags[call] & CALL_HELD;
    if (!held && l->port[answer] && (a == SDP_SENDONLY || a == SDP_RECVONLY || b == SDP_SENDONLY || b == SDP_RECVONLY || b == SDP_INACTIVE) &&
        !(t->calls.flags[call] & CALL_SIPREC))
        sight_once(t, C_ONE_WAY_BY_SDP, call, l->message[answer], l->message[offer], a, b);
    if (!both_ways(l, offer, answer) || !talked_with(t, call) || held) return;
    if (d->row[1] == NONE && d->row[2] == NONE) {
        if (!group_has_rtp(t, call)) sight_once(t, C_NO_RTP, call, row, NONE, 0, talk_ms);
        return;
    }
    for (int side = 1; side <= 2; side++) {
        if (d->row[side] == NONE || d->row[3 - side] != NONE) continue;
        const int64_t ran_ms = (d->last_ns[side] - d->first_ns[side]) / 1000000;
        if (ran_ms * 10 >= talk_ms * 8) sight_once(t, C_ONE_WAY_AUDIO, call, row, d->row[side], side, talk_ms);
    }
}

static void start_and_end(struct trace *t, const struct call_view *c, const struct sides *d) {
    const uint32_t call = c->call;
    if (!media_talked(t, call, 2000)) return;
    const int64_t answered = t->calls.answer_ns[call], released = t->calls.release_ns[call];
    const int64_t acknowledged = t->calls.ack_row[call] != NONE ? t->messages.time_ns[t->calls.ack_row[call]] : answered;
    for (int side = 1; side <= 2; side++) {
        if (d->row[side] == NONE) continue;
        const int64_t late_ms = (d->first_ns[side] - (acknowledged > answered ? acknowledged : answered)) / 1000000;
        if (late_ms > 1000) sight_once(t, C_RTP_LATE_START, call, d->row[side], t->calls.answer_row[call], side, late_ms);
        if (released <= 0) continue;
        const int64_t early_ms = (released - d->last_ns[side]) / 1000000;
        if (early_ms > 5000 && d->first_ns[side] < released && !(t->calls.flags[call] & CALL_HELD))
            sight_once(t, C_RTP_STOPS_EARLY, call, d->row[side], t->calls.bye_row[call], side, early_ms);
        const int64_t after_ms = (d->last_ns[side] - released) / 1000000;
        if (after_ms > 2000) sight_once(t, C_RTP_AFTER_BYE, call, d->row[side], t->calls.bye_row[call], side, after_ms);
    }
}

/* Streams against the addresses that descriptions named. */
static void addresses(struct trace *t, const struct call_view *c) {
    const struct streams_table *s = &t->streams;
    const struct media_lines_table *l = &t->media_lines;
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t row = c->streams[i], line = s->media_line[row], sender = s->sender_media_line[row];
        if (s->packets[row] < 10) continue;
        const uint32_t source = s->source_endpoint[row], target = s->target_endpoint[row];
        if (target != NONE && source != NONE && address_is_private(t->endpoints.kind[target]) && t->endpoints.kind[source] == ADDRESS_PUBLIC)
            sight_once(t, C_RTP_TO_PRIVATE, c->call, row, NONE, 0, s->packets[row]);
        if (line != NONE && sender == NONE) {
            /* the receiver is known, so the sender's own description is the counterpart */
            const uint32_t own = l->counterpart[line];
            if (own == NONE || !l->port[own] || l->endpoint[own] == NONE || l->traits[own] & SDP_ICE) continue;
            if (host_of(t, l->endpoint[own]) != host_of(t, source))
                sight_once(t, C_RTP_SOURCE_MISMATCH, c->call, row, own, 1, s->packets[row]);
            else if (l->endpoint[own] != source) sight_once(t, C_RTP_ASYMMETRIC_PORT, c->call, row, own, 0, l->port[own]);
        } else if (line == NONE && sender != NONE) {
            const uint32_t wanted = l->counterpart[sender];
            if (wanted != NONE && l->port[wanted] && !(l->traits[wanted] & SDP_ICE) && l->endpoint[wanted] != target)
                sight_once(t, C_RTP_WRONG_DESTINATION, c->call, row, wanted, 0, s->packets[row]);
        }
    }
}

/* ---- DTMF ---- */

static uint32_t info_digits(const struct trace *t, const struct call_view *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        const uint8_t kind = t->messages.content_kind[c->rows[i]];
        if (kind == CONTENT_DTMF_RELAY || kind == CONTENT_DTMF) return c->rows[i];
    }
    return NONE;
}

static void digits(struct trace *t, const struct call_view *c) {
    const struct media_lines_table *l = &t->media_lines;
    const struct streams_table *s = &t->streams;
    const uint32_t offer = t->calls.offer_line[c->call], answer = t->calls.answer_line[c->call];
    if (offer == NONE || answer == NONE || l->media[answer] != SDP_AUDIO || !l->port[answer]) return;
    const uint32_t row = l->message[answer], other = l->message[offer], info = info_digits(t, c);
    const uint8_t a = l->telephone_event[offer], b = l->telephone_event[answer];
    if (a == 255 && b == 255 && info == NONE && l->codec[answer] && t->calls.answer_row[c->call] != NONE)
        sight_once(t, C_DTMF_NOT_NEGOTIATED, c->call, row, other, 0, 0);
    else if ((a == 255) != (b == 255) && info == NONE && t->calls.answer_row[c->call] != NONE && a != 255)
        sight_once(t, C_DTMF_NOT_NEGOTIATED, c->call, row, other, 1, a);
    if (a != 255 && b != 255) {
        if (a != b) sight_once(t, C_DTMF_PT_DIFFERS, c->call, row, other, a, b);
        if (info != NONE) sight_once(t, C_DTMF_MODE_MISMATCH, c->call, info, row, 2, b);
        const uint32_t clock = l->clock_rate_hz[answer];
        if (l->event_clock_hz[answer] && clock && l->event_clock_hz[answer] != clock)
            sight_once(t, C_DTMF_CLOCK_MISMATCH, c->call, row, other, (int)(clock / 100), l->event_clock_hz[answer]);
    }
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t stream = c->streams[i], line = s->media_line[stream];
        if (s->event_flaws[stream]) sight_once(t, C_DTMF_MALFORMED, c->call, stream, NONE, (int)s->events[stream], s->event_flaws[stream]);
        if (!s->events[stream] || line == NONE) continue;
        if (l->telephone_event[line] != s->event_payload_type[stream])
            sight_once(t, C_DTMF_MODE_MISMATCH, c->call, row, stream, 1, s->event_payload_type[stream]);
        else if (info != NONE) sight_once(t, C_DTMF_MODE_MISMATCH, c->call, info, row, 3, s->events[stream]);
    }
}

/* ---- fax ---- */

static void fax(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct media_lines_table *l = &t->media_lines;
    uint32_t offers[2] = {0, 0}, flips = 0, accepted = NONE;
    uint8_t last_media = 0;
    for (uint32_t i = 0; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i, request = x->first[at];
        if (x->method[at] != SIP_METHOD_INVITE || request == NONE) continue;
        const uint32_t line = t->messages.media_line[request];
        uint32_t image = NONE;
        for (uint32_t k = 0; line != NONE && k < t->messages.media_count[request]; k++)
            if (l->media[line + k] == SDP_IMAGE && l->port[line + k]) image = line + k;
        if (line != NONE) {
            const uint8_t media = image == NONE ? SDP_AUDIO : SDP_IMAGE;
            flips += last_media && media != last_media;
            last_media = media;
        }
        if (image == NONE || !(x->flags[at] & TRANSACTION_IN_DIALOG)) continue;
        offers[t->messages.from_tag_hash[request] == t->messages.from_tag_hash[c->rows[0]] ? 0 : 1]++;
        const uint16_t status = x->status[at];
        const uint64_t compressed = 1ull << SDP_CODEC_G729 | 1ull << SDP_CODEC_G723 | 1ull << SDP_CODEC_GSM | 1ull << SDP_CODEC_OPUS |
                                    1ull << SDP_CODEC_ILBC | 1ull << SDP_CODEC_AMR;
        if (status >= 300 && compressed >> t->calls.codec[c->call] & 1)
            sight_once(t, C_FAX_OVER_COMPRESSED, c->call, request, x->final[at], t->calls.codec[c->call], status);
        if (status == 488 || status == 415 || status == 606) {
            const int64_t to_bye = t->calls.release_ns[c->call] > 0 && x->final[at] != NONE ? t->calls.release_ns[c->call] - t->messages.time_ns[x->final[at]] : -1;
            sight_once(t, C_T38_REJECTED, c->call, x->final[at], request, status, to_bye >= 0 && to_bye < 5000000000ll);
        } else if (status / 100 == 2) accepted = x->final[at];
        if (l->counterpart[image] != NONE) t38_parameters(t, c, image, l->counterpart[image]);
    }
    if ((offers[0] && offers[1]) || flips > 3) sight_once(t, C_T38_LOOP, c->call, c->rows[c->count - 1], NONE, (int)(offers[0] + offers[1]), flips);
    if (accepted != NONE && t->rtp_packets) udptl_packets(t, c, accepted);
}

void media_message(struct trace *t, const struct message_view *v) {
    if (TL_LIKELY(!v->session)) {
        if (TL_UNLIKELY(t->messages.dscp[v->row] != 255 && v->message->method == SIP_METHOD_INVITE && !v->to.tag.length && t->messages.transport[v->row] == SIP_UDP)) {
            const uint8_t dscp = t->messages.dscp[v->row];
            if (dscp && dscp != 24 && dscp != 26 && dscp != 40 && dscp != 46) sight_once(t, C_DSCP_UNMARKED, v->call, v->row, NONE, 1, dscp);
        }
        return;
    }
    for (uint32_t i = 0; i < v->session->media_count; i++) {
        const struct sdp_media *s = &v->media[i];
        const uint32_t line = t->messages.media_line[v->row] + i;
        if (s->media != SDP_AUDIO) continue;
        const uint16_t ptime = s->ptime_ms;
        const uint8_t codec = t->media_lines.codec[line];
        const uint16_t frame = codec == SDP_CODEC_G723 ? 30 : codec == SDP_CODEC_ILBC || codec == SDP_CODEC_GSM ? 10 : codec == SDP_CODEC_G729 ? 10 : 1;
        if (ptime && ((ptime != 10 && ptime != 20 && ptime != 30 && ptime != 40 && ptime != 60) || ptime % frame))
            sight_once(t, C_PTIME_NONSTANDARD, v->call, v->row, line, codec, ptime);
        if (t->media_lines.comfort_noise[line] == 13 && t->media_lines.clock_rate_hz[line] > 8000)
            sight_once(t, C_CN_CLOCK_MISMATCH, v->call, v->row, line, codec, t->media_lines.clock_rate_hz[line]);
    }
}

void media_call(struct trace *t, const struct call_view *c) {
    struct sides d;
    if (t->calls.kind[c->call] != CALL_INVITE || !c->count) return;
    gather(t, c, &d);
    silent_calls(t, c, &d);
    digits(t, c);
    if (t->calls.flags[c->call] & CALL_T38 || c->transaction_count > 2) fax(t, c);
    if (!c->stream_count) return;
    start_and_end(t, c, &d);
    addresses(t, c);
    media_streams_of_call(t, c);
}

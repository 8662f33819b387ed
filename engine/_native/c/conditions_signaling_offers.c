/* Signaling conditions of offers and answers: where descriptions stand, reliable provisionals, hold, re-
   INVITEs (RFC 3264, RFC 3262, RFC 6337). */
#include "conditions_signaling.h"

/* ---- one INVITE's descriptions ---- */

struct early { uint32_t described, plain_183, ringing, plain_ringing; int reliable; };

/* What its provisional responses said. */
static void gather_early(const struct trace *t, const struct call_view *c, uint32_t at, struct early *e) {
    const struct messages_table *m = &t->messages;
    *e = (struct early){NONE, NONE, NONE, NONE, 0};
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        if (m->transaction[row] != at || m->status[row] <= 100 || m->status[row] >= 200) continue;
        const int described = (m->flags[row] & MESSAGE_SDP) != 0;
        if (described) {
            e->described = row;
            e->reliable |= (m->flags[row] & MESSAGE_REQUIRE_100REL) != 0;
        } else if (m->status[row] == 183 && e->plain_183 == NONE) {
            e->plain_183 = row;
        }
        if (m->status[row] != 180) continue;
        e->ringing = row;
        if (!described && e->described != NONE && m->to_tag_hash[e->described] == m->to_tag_hash[row])
            e->plain_ringing = row;
    }
}

static void check_early(struct trace *t, const struct call_view *c, uint32_t at, const struct early *e,
                        const struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t final = x->final[at];
    if (!(x->flags[at] & TRANSACTION_OFFER)) return;
    if (e->plain_183 != NONE && e->described == NONE && e->ringing == NONE)
        sight_once(t, C_EARLY_MEDIA_NO_SDP, c->call, e->plain_183, x->first[at], 183, 0);
    if (e->plain_ringing != NONE)
        sight_once(t, C_RINGBACK_CONFLICT, c->call, e->plain_ringing, e->described, 180, 0);
    if (e->described == NONE || e->reliable || final == NONE || !is_final_ok(x->status[at])) return;
    if (!(m->flags[final] & MESSAGE_SDP) || m->to_tag_hash[final] != m->to_tag_hash[e->described]) return;
    const uint32_t before = m->media_line[e->described], after = m->media_line[final];
    if (before == NONE || after == NONE || d->dialog_methods & METHOD_BIT(SIP_METHOD_UPDATE)) return;
    if (l->body_hash[before] != l->body_hash[after])
        sight_once(t, C_SDP_DIFFERS_18X_2XX, c->call, final, e->described, m->status[e->described], 0);
}

static void check_places(struct trace *t, const struct call_view *c, uint32_t at, const struct early *e) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t final = x->final[at], ack = x->ack[at];
    if (final == NONE || !is_final_ok(x->status[at]) || x->first[at] == NONE) return;
    const int answered = (m->flags[final] & MESSAGE_SDP) != 0;
    if (x->flags[at] & TRANSACTION_OFFER) {
        if (!answered && !e->reliable && !signaling_lost_body(t, final))
            sight_once(t, C_ANSWER_MISSING, c->call, final, x->first[at], e->described != NONE,
                       m->content_kind[final]);
        if (ack != NONE && m->flags[ack] & MESSAGE_SDP)
            sight_once(t, C_OFFER_IN_ANSWER_SLOT, c->call, ack, x->first[at], 0, 0);
        /* a description without any m-line has no row of its own to be compared */
        if (answered && !m->media_count[final] && m->media_count[x->first[at]])
            sight_once(t, C_ANSWER_MLINE_COUNT, c->call, final, x->first[at], 0,
                       m->media_count[x->first[at]]);
    } else if (answered && !e->reliable && ack != NONE && !(m->flags[ack] & MESSAGE_SDP) &&
               !signaling_lost_body(t, ack)) {
        sight_once(t, C_LATE_OFFER_NO_ANSWER, c->call, ack, final, 0, 0);
    }
}

static void check_exchange(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t ringing = x->ringing[at], final = x->final[at];
    struct early e = {NONE, NONE, NONE, NONE, 0};
    const int unusual = final != NONE && is_final_ok(x->status[at]) &&
                        (!(m->flags[final] & MESSAGE_SDP) || !(x->flags[at] & TRANSACTION_OFFER));
    /* two descriptions are the usual offer and answer: only a third can be early media */
    if (ringing != NONE && (m->status[ringing] == 183 || d->described > 2 || unusual)) {
        if (!digest_scan(d)) return;
        gather_early(t, c, at, &e);
        check_early(t, c, at, &e, d);
    }
    check_places(t, c, at, &e);
}

/* ---- an answer against its offer ---- */

static void check_answer(struct trace *t, const struct call_view *c, uint32_t row) {
    const struct messages_table *m = &t->messages;
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t answer = m->media_line[row];
    const uint32_t offer = answer == NONE || l->role[answer] != 2 ? NONE : l->counterpart[answer];
    if (offer == NONE) return;
    const uint32_t asked = l->message[offer];
    if (l->line_count[answer] != l->line_count[offer]) {
        sight_once(t, C_ANSWER_MLINE_COUNT, c->call, row, asked, l->line_count[answer], l->line_count[offer]);
        return;
    }
    uint32_t lines = m->media_count[row] < m->media_count[asked] ? m->media_count[row] :
        m->media_count[asked];
    for (uint32_t k = 0; k < lines; k++) {
        const uint32_t a = answer + k, o = offer + k;
        if (l->media[a] != l->media[o] && l->media[a] && l->media[o]) {
            sight_once(t, C_ANSWER_MLINE_COUNT, c->call, row, asked, l->line_count[answer], -1 - (int64_t)k);
            return;
        }
        if (!l->port[a] || !l->port[o] || l->media[o] != SDP_AUDIO) continue;
        const uint8_t asks = l->direction[o], gets = l->direction[a];
        if ((asks == SDP_SENDONLY && (gets == SDP_SENDRECV || gets == SDP_SENDONLY)) ||
            (asks == SDP_INACTIVE && gets != SDP_INACTIVE))
            sight_once(t, C_HOLD_WRONG_ANSWER, c->call, row, asked, asks << 4 | gets, k);
    }
}

/* Held by the last exchange of a re-INVITE or UPDATE, and released so (RFC 3264 §8.4). */
static void check_held(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    const struct media_lines_table *l = &t->media_lines;
    const struct messages_table *m = &t->messages;
    const uint32_t offer = k->offer_line[c->call], answer = k->answer_line[c->call], bye =
        k->bye_row[c->call];
    if (offer == NONE || bye == NONE || t->no_time) return;
    const uint32_t row = l->message[offer];
    if (m->status[row] || !(m->flags[row] & MESSAGE_IN_DIALOG)) return;
    const uint8_t way = l->direction[offer];
    const int held = way == SDP_SENDONLY || way == SDP_INACTIVE || l->direction[answer] == SDP_INACTIVE ||
                     (l->address_kind[offer] == ADDRESS_UNSPECIFIED && !(l->traits[offer] & SDP_ICE));
    if (held) sight_once(t, C_HOLD_NOT_RESUMED, c->call, row, bye, way, ms_between(t, row, bye));
}

/* ---- reliable provisional responses (RFC 3262) ---- */

#define PENDING 16

struct pending { uint32_t row, transaction, to_tag; int32_t rseq; uint16_t repeats; uint8_t acknowledged; };

static void take_reliable(struct trace *t, const struct call_view *c, struct pending *list, uint32_t *used,
                          uint32_t row) {
    const struct messages_table *m = &t->messages;
    const struct pending *before = NULL;
    for (uint32_t i = 0; i < *used; i++) {
        struct pending *p = &list[i];
        if (p->transaction != m->transaction[row] || p->to_tag != m->to_tag_hash[row]) continue;
        if (p->rseq == m->rseq[row]) {
            if (p->repeats < UINT16_MAX) p->repeats++;
            return;
        }
        before = p;
    }
    if (before && m->rseq[row] != before->rseq + 1)
        sight_once(t, C_REL1XX_OUT_OF_ORDER, c->call, row, before->row, m->status[row],
                   (int64_t)m->rseq[row] - before->rseq);
    if (*used < PENDING)
        list[(*used)++] =
            (struct pending){row, m->transaction[row], m->to_tag_hash[row], m->rseq[row], 0, 0};
}

/* RAck is RSeq, CSeq number and method of what it acknowledges. */
static void take_prack(struct trace *t, const struct call_view *c, struct pending *list, uint32_t used,
                       uint32_t row) {
    const struct messages_table *m = &t->messages;
    uint32_t invite = NONE;
    for (uint32_t i = 0; i < used; i++) {
        if (list[i].rseq != m->rseq[row] || list[i].to_tag != m->to_tag_hash[row]) continue;
        list[i].acknowledged = 1;
        invite = list[i].transaction;
    }
    if (used == PENDING || call_has(t, c->call, C_PRACK_RACK_MISMATCH)) return;
    struct reread r;
    if (!signaling_reread(t, row, &r)) return;
    if (!sip_has(&r.message, SIP_HEADER_RACK)) {
        sight_once(t, C_PRACK_RACK_MISMATCH, c->call, row, NONE, 2, 0);
        return;
    }
    if (invite == NONE) {
        if (used) sight_once(t, C_PRACK_RACK_MISMATCH, c->call, row, list[used - 1].row, 1,
                             list[used - 1].rseq);
        return;
    }
    const struct sip_header *h = &r.headers[r.message.first[SIP_HEADER_RACK]];
    struct sip_span rest = {h->value_offset, h->value_length}, method;
    while (rest.length && r.text[rest.offset] > ' ') { rest.offset++; rest.length--; } /* over the RSeq */
    int64_t cseq = 0;
    if (!sip_cseq_parse(r.text, rest, &cseq, &method) || cseq != t->transactions.cseq[invite] ||
        method.length != 6 ||
        memcmp(r.text + method.offset, "INVITE", 6))
        sight_once(t, C_PRACK_RACK_MISMATCH, c->call, row, list[used - 1].row, 4,
                   t->transactions.cseq[invite]);
}

static void check_reliable(struct trace *t, const struct call_view *c) {
    const struct messages_table *m = &t->messages;
    struct pending list[PENDING];
    uint32_t used = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        if (!m->status[row]) {
            if (m->method[row] == SIP_METHOD_PRACK) take_prack(t, c, list, used, row);
        } else if (m->status[row] > 100 && m->status[row] < 200 && m->rseq[row] >= 0 &&
                   m->flags[row] & MESSAGE_REQUIRE_100REL && m->transaction[row] != NONE) {
            take_reliable(t, c, list, &used, row);
        }
    }
    if (!signaling_visible(t, c->call)) return;
    for (uint32_t i = 0; i < used; i++) {
        const struct pending *p = &list[i];
        const uint32_t final = t->transactions.final[p->transaction];
        if (p->acknowledged) continue;
        /* a final response that follows at once makes the PRACK pointless */
        const int waited = final == NONE || ms_between(t, p->row, final) > 4000;
        if (p->repeats || (waited && call_absence_holds(t, c->call, m->time_ns[p->row], TIMER_B_MS)))
            sight_once(t, C_PRACK_MISSING, c->call, p->row, NONE, m->status[p->row], p->repeats);
    }
}

/* ---- changes again and again ---- */

#define LOOP_CHANGES 7

static void check_loop(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t end = c->first_transaction + c->transaction_count;
    int64_t times[LOOP_CHANGES];
    uint64_t body[2] = {0, 0};
    uint32_t count = 0, hop_a = NONE, hop_b = NONE, tag = 0, begun = NONE;
    if (t->no_time) return;
    for (uint32_t at = c->first_transaction; at < end; at++) {
        const uint32_t row = x->first[at];
        if (row == NONE || (x->method[at] != SIP_METHOD_INVITE && x->method[at] !=
                            SIP_METHOD_UPDATE)) continue;
        if (!(x->flags[at] & TRANSACTION_OFFER) || m->media_line[row] == NONE) continue;
        const uint32_t a = host_of(t, x->source[at]), b = host_of(t, x->target[at]);
        if (hop_a == NONE) { hop_a = a; hop_b = b; tag = m->from_tag_hash[row]; }
        if (!((a == hop_a && b == hop_b) || (a == hop_b && b == hop_a))) continue;
        const int side = m->from_tag_hash[row] != tag;
        const uint64_t hash = t->media_lines.body_hash[m->media_line[row]];
        const int changed = hash != body[side];
        body[side] = hash;
        if (!changed || !(x->flags[at] & TRANSACTION_IN_DIALOG)) continue;
        if (begun == NONE) begun = row;
        const int64_t since = count >= LOOP_CHANGES - 1 ? times[(count + 1) % LOOP_CHANGES] : INT64_MIN;
        times[count++ % LOOP_CHANGES] = m->time_ns[row];
        if (since != INT64_MIN && m->time_ns[row] - since <= 30000000000ll) {
            sight_once(t, C_REINVITE_LOOP, c->call, begun, row, (int)(count < 65535 ? count : 65535),
                       (m->time_ns[row] - since) / 1000000);
            return;
        }
    }
}

void signaling_offers(struct trace *t, const struct call_view *c, struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t end = c->first_transaction + c->transaction_count;
    if (!(d->flags & MESSAGE_SNAPPED))
        for (uint32_t at = c->first_transaction; at < end; at++)
            if (x->method[at] == SIP_METHOD_INVITE && x->first[at] != NONE) check_exchange(t, c, at, d);
    if (d->described > 1)
        for (uint32_t i = 0; i < c->count; i++)
            if (t->messages.flags[c->rows[i]] & MESSAGE_SDP) check_answer(t, c, c->rows[i]);
    if (d->reliable || d->methods & METHOD_BIT(SIP_METHOD_PRACK)) check_reliable(t, c);
    if (d->dialog_methods & (METHOD_BIT(SIP_METHOD_INVITE) | METHOD_BIT(SIP_METHOD_UPDATE))) {
        check_held(t, c);
        if (d->described > LOOP_CHANGES) check_loop(t, c);
    }
}

/* Signaling conditions of one transaction: answers that never come, come late, or come again (RFC 3261
   §17). */
#include "conditions_signaling.h"

/* Nothing at all came back. One send over UDP that is not repeated means that its sender did get an answer
   the capture lacks, so it proves nothing (RFC 3261 §17.1.1.2). */
static int is_unanswered(const struct trace *t, const struct call_view *c, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t first = x->first[at];
    if (!signaling_visible(t, c->call)) return 0;
    if (x->requests[at] < 2 && !(x->flags[at] & TRANSACTION_RELIABLE)) return 0;
    return ms_between(t, first, x->last[at]) >= TIMER_B_SENDS_MS ||
           call_absence_holds(t, c->call, t->messages.time_ns[first], TIMER_B_MS);
}

/* Sends of the INVITE before its first response. */
static uint32_t sends_before(const struct trace *t, const struct call_view *c, uint32_t at) {
    const struct messages_table *m = &t->messages;
    uint32_t sends = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        if (m->transaction[row] != at || m->method[row] == SIP_METHOD_ACK) continue;
        if (m->status[row]) break;
        sends++;
    }
    return sends;
}

static void check_first_response(struct trace *t, const struct call_view *c, uint32_t at, uint32_t reply,
                                 struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    if (x->requests[at] > 1 && digest_scan(d)) {
        const uint32_t sends = sends_before(t, c, at);
        if (sends > 1)
            sight_once(t, C_INVITE_RETRANSMITTED, c->call, x->first[at], reply, 0, sends);
    }
    if (t->no_time) return;
    const int64_t ms = ms_between(t, x->first[at], reply);
    if (ms <= 200) return;
    if (m->transport[reply] == SIP_UDP && m->status[reply] != 100) /* RFC 3261 §17.2.1: within 200 ms */
        sight_once(t, C_NO_100_TRYING, c->call, x->first[at], reply, m->status[reply], ms);
    if (ms > 1000 && m->status[reply] < 200)
        sight_once(t, C_SLOW_TRYING, c->call, x->first[at], reply, m->status[reply], ms);
}

/* RFC 3261 §9: CANCEL follows a provisional response and is followed by a 487. */
static void check_cancel(struct trace *t, const struct call_view *c, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t cancel = x->cancel[at], final = x->final[at], early = x->provisional[at];
    const uint32_t own = m->transaction[cancel];
    if (final != NONE && is_final_ok(x->status[at]) && (t->no_time || m->time_ns[final] >=
                                                        m->time_ns[cancel]))
        sight_once(t, C_CANCEL_RACE_2XX, c->call, final, cancel, x->status[at], 0);
    if (final == NONE && own != NONE && is_final_ok(x->status[own]) &&
        call_absence_holds(t, c->call, m->time_ns[cancel], TIMER_B_MS))
        sight_once(t, C_CANCEL_NO_487, c->call, cancel, x->first[at], x->status[own],
                   (t->last_time_ns - m->time_ns[cancel]) / 1000000);
    const int answered = final != NONE || early != NONE || (own != NONE && x->final[own] != NONE);
    if (t->no_time || !answered || x->first[at] == NONE) return;
    const int early_enough = early != NONE && m->time_ns[early] <= m->time_ns[cancel];
    const int over = final != NONE && m->time_ns[final] <= m->time_ns[cancel];
    if (!early_enough && !over)
        sight_once(t, C_CANCEL_BEFORE_1XX, c->call, cancel, x->first[at], 0, ms_between(t, x->first[at],
                                                                                        cancel));
}

/* RFC 3261 §16.8 timer C, and the INVITE's own Expires (§13.2.1). */
static void check_pending(struct trace *t, const struct call_view *c, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t first = x->first[at], final = x->final[at];
    const int64_t expires_ms = (int64_t)m->expires_s[first] * 1000;
    if (final == NONE && x->provisional[at] != NONE && x->cancel[at] == NONE) {
        const int64_t window = expires_ms > TIMER_C_MS ? expires_ms : TIMER_C_MS;
        const uint32_t early = x->ringing[at] != NONE ? x->ringing[at] : x->provisional[at];
        if (call_absence_holds(t, c->call, m->time_ns[early], window))
            sight_once(t, C_NO_FINAL_RESPONSE, c->call, first, early, m->status[early],
                       (t->last_time_ns - m->time_ns[first]) / 1000000);
    }
    if (expires_ms <= 0 || !signaling_visible(t, c->call)) return;
    const int late = final != NONE ? ms_between(t, first, final) > expires_ms + 2000
                                   : call_absence_holds(t, c->call, m->time_ns[first], expires_ms + 2000);
    if (late) sight_once(t, C_EXPIRES_ELAPSED, c->call, first, final, x->status[at], expires_ms / 1000);
}

/* Copies of one final response: other To tags are other answers. */
static uint32_t copies_of_final(const struct trace *t, const struct call_view *c, uint32_t at,
                                struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    if (!(x->flags[at] & TRANSACTION_FORKED)) return x->finals[at];
    if (!digest_scan(d)) return 0;
    uint32_t copies = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        copies += m->transaction[row] == at && m->status[row] == x->status[at] &&
                  m->to_tag_hash[row] == m->to_tag_hash[x->final[at]];
    }
    return copies;
}

/* Different To tags with a 2xx to one INVITE (RFC 3261 §13.2.2.4). */
static void check_forked_answers(struct trace *t, const struct call_view *c, uint32_t at,
                                 struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    uint32_t tags[8], count = 0, other = NONE;
    if (!digest_scan(d)) return;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        if (m->transaction[row] != at || !is_final_ok(m->status[row])) continue;
        uint32_t k = 0;
        while (k < count && tags[k] != m->to_tag_hash[row]) k++;
        if (k < count || count == 8) continue;
        tags[count++] = m->to_tag_hash[row];
        if (count == 2) other = row;
    }
    if (count > 1) sight_once(t, C_FORKING_MULTI_2XX, c->call, x->final[at], other, x->status[at], count);
}

static void check_invite(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t first = x->first[at], final = x->final[at];
    const uint32_t reply = x->provisional[at] != NONE ? x->provisional[at] : final;
    const int initial = !(x->flags[at] & TRANSACTION_IN_DIALOG);
    if (reply == NONE) {
        if (is_unanswered(t, c, at))
            sight_once(t, C_INVITE_TIMEOUT, c->call, first, x->last[at], x->requests[at],
                       ms_between(t, first, x->last[at]));
    } else if (initial) {
        check_first_response(t, c, at, reply, d);
    }
    if (x->cancel[at] != NONE) check_cancel(t, c, at);
    if (final == NONE || m->expires_s[first] > 0) check_pending(t, c, at);
    if (initial && !(m->flags[first] & (MESSAGE_SDP | MESSAGE_SNAPPED)) && !signaling_lost_body(t, first))
        sight_once(t, C_LATE_OFFER, c->call, first, final, x->status[at], 0);
    if (final != NONE && is_final_ok(x->status[at])) {
        if (x->ack[at] == NONE || x->finals[at] > 1 || d->stray_acks) signaling_acknowledged(t, c, at, d);
        if (x->flags[at] & TRANSACTION_FORKED) check_forked_answers(t, c, at, d);
    }
}

static void check_other(struct trace *t, const struct call_view *c, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const uint8_t method = t->messages.method[x->first[at]];
    if (!method)
        sight_once(t, C_UNKNOWN_METHOD, c->call, x->first[at], x->final[at], x->status[at], 0);
    if (x->final[at] != NONE || x->provisional[at] != NONE || method == SIP_METHOD_CANCEL) return;
    if (!is_unanswered(t, c, at)) return;
    const int condition = method == SIP_METHOD_BYE ? C_BYE_UNANSWERED : C_NON_INVITE_TIMEOUT;
    sight_once(t, condition, c->call, x->first[at], x->last[at], x->requests[at],
               ms_between(t, x->first[at], x->last[at]));
}

/* A 2xx to INVITE or UPDATE starts the session timer anew, or ends it (RFC 4028 §7.2). */
static void follow_timer(const struct trace *t, uint32_t at, struct call_digest *d) {
    const uint32_t final = t->transactions.final[at];
    const int32_t expires = t->messages.session_expires_s[final];
    if (expires > 0) d->timer_row = final;
    else if (expires < 0) d->timer_row = NONE;
}

void signaling_transaction(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const uint8_t method = x->method[at];
    const uint16_t status = x->status[at];
    if (x->first[at] != NONE) {
        if (method == SIP_METHOD_INVITE) check_invite(t, c, at, d);
        else if (!method || !status) check_other(t, c, at);
    }
    if (is_final_ok(status)) {
        if (method == SIP_METHOD_INVITE || method == SIP_METHOD_UPDATE) follow_timer(t, at, d);
    } else if (status) {
        signaling_failure(t, c, at, d);
    }
    if (x->finals[at] > 2 && !call_has(t, c->call, C_MISSING_ACK) && !call_has(t, c->call, C_ACK_MISROUTED)) {
        const uint32_t copies = copies_of_final(t, c, at, d);
        if (copies > 2)
            sight_once(t, C_RESPONSE_RETRANSMITTED, c->call, x->final[at], x->last_final[at], status, copies);
    }
}

/* ---- a call's own times ---- */

/* BYE about 30 s after one direction's last packet: a watchdog for media let go. */
static void check_media_timeout(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    const struct streams_table *s = &t->streams;
    int64_t last[3] = {0, 0, 0};
    if (!c->stream_count || k->answer_row[c->call] == NONE || k->flags[c->call] & CALL_HELD) return;
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t stream = c->streams[i];
        int64_t *side = &last[s->from_caller[stream] < 3 ? s->from_caller[stream] : 0];
        if (s->last_time_ns[stream] > *side) *side = s->last_time_ns[stream];
    }
    const uint32_t bye = k->bye_row[c->call];
    for (int side = 0; side < 3; side++) {
        const int64_t silent = (t->messages.time_ns[bye] - last[side]) / 1000000;
        if (last[side] && silent >= 28000 && silent <= 31000)
            sight_once(t, C_DROP_30S_RTP_TIMEOUT, c->call, bye, NONE, side, silent);
    }
}

void signaling_timing(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    const uint32_t call = c->call;
    if (k->early_tags[call] > 3)
        sight_once(t, C_EARLY_DIALOGS_MANY, call, k->progress_row[call], NONE, 0, k->early_tags[call]);
    if (k->flags[call] & CALL_NO_TIME) return;
    if (k->pdd_ms[call] > 4000) {
        const uint32_t reply = k->progress_row[call] != NONE ? k->progress_row[call] : k->answer_row[call];
        if (reply != NONE) /* a failure that is late has other names */
            sight_once(t, C_SLOW_PDD, call, k->invite_row[call], reply, t->messages.status[reply],
                       k->pdd_ms[call]);
    }
    if (k->ack_ms[call] > 2000)
        sight_once(t, C_SLOW_ANSWER_PROCESSING, call, k->answer_row[call], k->ack_row[call], 0,
                   k->ack_ms[call]);
    if (k->ring_ms[call] > 60000)
        sight_once(t, C_LONG_RING, call, k->progress_row[call], k->final_row[call], k->final_status[call],
                   k->ring_ms[call]);
    const int64_t talk = k->talk_ms[call];
    if (talk >= 0 && talk < 6000 && !(k->flags[call] & CALL_RELEASE_GUESSED) && k->bye_row[call] != NONE)
        sight_once(t, talk <= 1000 ? C_ZERO_DURATION_ANSWER : C_SHORT_CALL, call, k->answer_row[call],
                   k->bye_row[call], k->released_by[call], talk);
    if (k->bye_row[call] != NONE) check_media_timeout(t, c);
    if (k->answer_row[call] == NONE || k->bye_row[call] != NONE) return;
    int64_t alive = k->end_ns[call];
    for (uint32_t i = 0; i < c->stream_count; i++)
        if (t->streams.last_time_ns[c->streams[i]] > alive) alive = t->streams.last_time_ns[c->streams[i]];
    int64_t window = (int64_t)t->messages.session_expires_s[k->answer_row[call]] * 2000;
    if (window < 14400000) window = 14400000; /* 4 h (RFC 4028 §1: dialogs whose BYE was lost) */
    if (call_absence_holds(t, call, alive, window))
        sight_once(t, C_ZOMBIE_DIALOG, call, k->answer_row[call], NONE, 0,
                   (t->last_time_ns - alive) / 1000000);
}

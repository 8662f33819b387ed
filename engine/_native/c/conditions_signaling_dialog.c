/* Signaling conditions of a dialog: its ACK, its numbers and tags, its session timer, its subscriptions. */
#include "conditions_signaling.h"


/* ---- ACK of a 2xx (RFC 3261 §13.2.2.4, §13.3.1.4) ---- */

enum { ACK_GOOD = 0, ACK_ABSENT, ACK_OTHER_CSEQ, ACK_OTHER_TAG, ACK_OTHER_HOST };

/* The best ACK behind a 2xx at its hop; *row is an ACK that went wrong. */
static int find_ack(const struct trace *t, const struct call_view *c, uint32_t at, uint32_t *row) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t final = x->final[at], server = host_of(t, x->target[at]);
    int found = ACK_ABSENT;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t ack = c->rows[i];
        if (m->status[ack] || m->method[ack] != SIP_METHOD_ACK ||
            m->time_ns[ack] < m->time_ns[final]) continue;
        if (m->cseq[ack] != x->cseq[at]) {
            if (m->transaction[ack] != NONE || m->from_tag_hash[ack] != m->from_tag_hash[final]) continue;
            found = ACK_OTHER_CSEQ;
        } else if (m->to_tag_hash[ack] != m->to_tag_hash[final] && !(x->flags[at] & TRANSACTION_FORKED)) {
            found = ACK_OTHER_TAG;
        } else if (host_of(t, m->target[ack]) == server) {
            return ACK_GOOD;
        } else {
            found = ACK_OTHER_HOST;
        }
        *row = ack;
    }
    return found;
}

void signaling_acknowledged(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t final = x->final[at], call = c->call, bye = t->calls.bye_row[call];
    uint32_t ack = NONE;
    if (!signaling_visible(t, call) || !digest_scan(d)) return;
    const int found = find_ack(t, c, at, &ack);
    if (found == ACK_GOOD) return;
    const int again = x->finals[at] > 1;
    /* an ACK that takes the direct way past a proxy is right, unless the 2xx keeps coming */
    if (found != ACK_ABSENT && (found != ACK_OTHER_HOST || again)) {
        sight_once(t, C_ACK_MISROUTED, call, ack, final, found, x->finals[at]);
    } else if (again) {
        const int given_up = bye != NONE && ms_between(t, final, bye) >= 3000;
        if (given_up || call_absence_holds(t, call, m->time_ns[final], TIMER_B_SENDS_MS))
            sight_once(t, C_MISSING_ACK, call, final, x->last_final[at], x->finals[at],
                       ms_between(t, final, x->last_final[at]));
    }
    const int64_t talk = t->calls.talk_ms[call];
    if (found != ACK_OTHER_HOST && talk >= 30000 && talk <= 34000 && t->calls.answer_row[call] == final)
        sight_once(t, C_DROP_AT_32S, call, bye != NONE ? bye : final, final, x->finals[at], talk);
}

/* ---- CSeq and tags of requests inside the dialog (RFC 3261 §12.2) ---- */

#define WAYS 12 /* directions of a call that are told apart; more of them are not checked */
#define TAGS 8

struct way { uint32_t from_tag, to_tag, source, target, cseq, row; };

/* The last number of a direction: an in-dialog one, else that of the INVITE that began it. */
static struct way *way_of(struct way *ways, uint32_t *used, const struct trace *t, uint32_t row,
                          uint32_t to_tag) {
    const struct messages_table *m = &t->messages;
    for (uint32_t i = 0; i < *used; i++)
        if (ways[i].from_tag == m->from_tag_hash[row] && ways[i].to_tag == to_tag &&
            ways[i].source == m->source[row] && ways[i].target == m->target[row])
            return &ways[i];
    if (*used == WAYS) return NULL;
    ways[*used] = (struct way){m->from_tag_hash[row], to_tag, m->source[row], m->target[row], 0, NONE};
    return &ways[(*used)++];
}

static void check_number(struct trace *t, uint32_t call, struct way *way, uint32_t row) {
    const uint32_t cseq = t->messages.cseq[row];
    if (way->row != NONE && cseq <= way->cseq) {
        sight_once(t, C_CSEQ_REGRESSION, call, row, way->row, 0, (int64_t)cseq - (int64_t)way->cseq);
        return;
    }
    if (way->row != NONE && cseq - way->cseq > 1)
        sight_once(t, C_CSEQ_GAP, call, row, way->row, 0, (int64_t)cseq - (int64_t)way->cseq);
    way->cseq = cseq;
    way->row = row;
}

static void check_numbers(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    struct way ways[WAYS];
    uint32_t used = 0;
    const uint32_t end = c->first_transaction + c->transaction_count;
    for (uint32_t at = c->first_transaction; at < end; at++) {
        const uint32_t row = x->first[at];
        if (row == NONE || x->method[at] == SIP_METHOD_CANCEL || t->messages.cseq[row] !=
            x->cseq[at]) continue;
        if (!(x->flags[at] & TRANSACTION_IN_DIALOG)) {
            if (x->method[at] != SIP_METHOD_INVITE && x->method[at] != SIP_METHOD_SUBSCRIBE) continue;
            struct way *way = way_of(ways, &used, t, row, 0);
            if (way && (way->row == NONE || x->cseq[at] > way->cseq)) { way->cseq = x->cseq[at]; way->row =
                row; }
            continue;
        }
        struct way *way = way_of(ways, &used, t, row, t->messages.to_tag_hash[row]);
        if (!way) return;
        if (way->row == NONE) { /* the dialog's first request of this side goes on from the INVITE's number */
            const struct way *begun = way_of(ways, &used, t, row, 0);
            if (!begun) return;
            way->cseq = begun->cseq;
            way->row = begun->row;
        }
        check_number(t, c->call, way, row);
    }
}

/* Collects a tag; 0 when there is no more room. */
static int add_tag(uint32_t *tags, uint32_t *count, uint32_t tag) {
    for (uint32_t i = 0; i < *count; i++)
        if (tags[i] == tag) return 1;
    if (*count == TAGS) return 0;
    tags[(*count)++] = tag;
    return 1;
}
static int has_tag(const uint32_t *tags, uint32_t count, uint32_t tag) {
    for (uint32_t i = 0; i < count; i++)
        if (tags[i] == tag) return 1;
    return 0;
}

enum { TAG_OF_ANSWER = 1, TAG_OF_REQUEST, TAG_OF_RESPONSE };

/* One branch, one early dialog, and a 2xx with another tag: somebody between changed it (RFC 3261 §12.1). */
static void check_answer_tag(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    const uint32_t early = k->progress_row[c->call], answer = k->answer_row[c->call];
    if (early == NONE || answer == NONE || k->early_tags[c->call] != 1 || k->answer_tags[c->call] !=
        1) return;
    const struct messages_table *m = &t->messages;
    if (!m->to_tag_hash[early] || !m->to_tag_hash[answer] || m->to_tag_hash[early] ==
        m->to_tag_hash[answer]) return;
    if (m->transaction[early] != m->transaction[answer] || m->status[early] == 181 ||
        k->hops[c->call] > 1) return;
    sight_once(t, C_TAG_CHANGED, c->call, answer, early, TAG_OF_ANSWER, 0);
}

static void check_tags(struct trace *t, const struct call_view *c) {
    const struct messages_table *m = &t->messages;
    const struct transactions_table *x = &t->transactions;
    uint32_t tags[TAGS], count = 0;
    if (t->calls.flags[c->call] & CALL_PARTIAL_START || t->calls.answer_row[c->call] == NONE) return;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        const uint8_t method = m->method[row];
        if (m->status[row]) {
            const uint32_t at = m->transaction[row];
            if (m->status[row] <= 100 || at == NONE || !m->to_tag_hash[row]) continue;
            if (!(x->flags[at] & TRANSACTION_IN_DIALOG)) {
                if (!add_tag(tags, &count, m->to_tag_hash[row])) return;
            } else if (is_final_ok(m->status[row]) && x->first[at] != NONE && method != SIP_METHOD_CANCEL &&
                       m->to_tag_hash[row] != m->to_tag_hash[x->first[at]]) {
                sight_once(t, C_TAG_CHANGED, c->call, row, x->first[at], TAG_OF_RESPONSE, 0);
            }
        } else if (!(m->flags[row] & MESSAGE_IN_DIALOG)) {
            if (m->from_tag_hash[row] && !add_tag(tags, &count, m->from_tag_hash[row])) return;
        } else if (method == SIP_METHOD_INVITE || method == SIP_METHOD_BYE || method == SIP_METHOD_UPDATE ||
                   method == SIP_METHOD_INFO || method == SIP_METHOD_PRACK) {
            if (!has_tag(tags, count, m->from_tag_hash[row]) || !has_tag(tags, count, m->to_tag_hash[row]))
                sight_once(t, C_TAG_CHANGED, c->call, row, t->calls.answer_row[c->call], TAG_OF_REQUEST, 0);
        }
    }
}

/* ---- session timer (RFC 4028) ---- */

static void check_timer(struct trace *t, const struct call_view *c, const struct call_digest *d) {
    const struct messages_table *m = &t->messages;
    const uint32_t set = d->timer_row, bye = t->calls.bye_row[c->call];
    const int64_t expires_ms = (int64_t)m->session_expires_s[set] * 1000, begun = m->time_ns[set];
    if (!signaling_visible(t, c->call)) return;
    if (bye != NONE) {
        const int64_t passed = ms_between(t, set, bye);
        /* §10: BYE comes the smaller of 32 s and a third of the interval before the end */
        const int64_t early = expires_ms / 3 < 32000 ? expires_ms / 3 : 32000;
        if (passed >= expires_ms - early && passed <= expires_ms + 32000)
            sight_once(t, C_DROP_AT_SESSION_TIMER, c->call, bye, set, m->session_expires_s[set], passed);
        if (passed > expires_ms * 55 / 100 && m->refresher[set])
            sight_once(t, C_SESSION_TIMER_REFRESH_MISSING, c->call, set, bye, m->refresher[set], passed);
    } else if (m->refresher[set] && call_absence_holds(t, c->call, begun, expires_ms * 55 / 100)) {
        sight_once(t, C_SESSION_TIMER_REFRESH_MISSING, c->call, set, NONE, m->refresher[set],
                   (t->last_time_ns - begun) / 1000000);
    }
}

/* Refreshes without a new description, by both ends: each believes that it is the refresher (RFC 4028 §9). */
static void check_refreshers(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t end = c->first_transaction + c->transaction_count;
    uint32_t seen[2] = {NONE, NONE}, tag = 0;
    for (uint32_t at = c->first_transaction; at < end; at++) {
        const uint32_t row = x->first[at];
        if (row == NONE || x->method[at] != SIP_METHOD_UPDATE || x->flags[at] & TRANSACTION_OFFER) continue;
        if (m->session_expires_s[row] < 0 || !is_final_ok(x->status[at])) continue;
        if (!tag) tag = m->from_tag_hash[row];
        seen[m->from_tag_hash[row] != tag] = row;
    }
    if (seen[0] != NONE && seen[1] != NONE)
        sight_once(t, C_SESSION_REFRESHER_CONFLICT, c->call, seen[1], seen[0], 2,
                   m->session_expires_s[seen[1]]);
}

void signaling_dialog(struct trace *t, const struct call_view *c, struct call_digest *d) {
    check_numbers(t, c);
    check_answer_tag(t, c);
    check_tags(t, c);
    if (d->timer_row != NONE) {
        check_timer(t, c, d);
        if (d->dialog_methods & METHOD_BIT(SIP_METHOD_UPDATE)) check_refreshers(t, c);
    }
}

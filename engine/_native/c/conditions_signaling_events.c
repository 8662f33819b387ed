/* Signaling conditions of transfers and subscriptions (RFC 3515, RFC 6665). */
#include "conditions_signaling.h"
#include "mime.h"

/* Status of a message/sipfrag body, 0 when there is none (RFC 3515 §2.4.5). */
static int fragment_status(const struct trace *t, uint32_t row) {
    uint32_t length;
    if (t->messages.content_kind[row] != CONTENT_SIPFRAG) return 0;
    const uint8_t *text = trace_text(t, row, &length);
    uint32_t at = t->messages.body_offset[row];
    while (at < length && (text[at] == '\r' || text[at] == '\n')) at++;
    if (length < at || length - at < 11 || memcmp(text + at, "SIP/2.0 ", 8)) return 0;
    const uint8_t *digits = text + at + 8;
    for (int i = 0; i < 3; i++)
        if (digits[i] < '0' || digits[i] > '9') return 0;
    return (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0';
}

struct notified { uint32_t last, succeeded; };

static void read_notifies(struct trace *t, const struct call_view *c, struct notified *n) {
    const struct messages_table *m = &t->messages;
    n->last = n->succeeded = NONE;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        if (m->status[row] || m->method[row] != SIP_METHOD_NOTIFY) continue;
        n->last = row;
        const int status = fragment_status(t, row);
        if (status >= 300) sight_once(t, C_REFER_FAILED, c->call, row, NONE, status, 1);
        else if (status >= 200) n->succeeded = row;
    }
}

static int declines_subscription(const struct trace *t, uint32_t row) {
    struct reread r;
    if (!signaling_reread(t, row, &r) || !sip_has(&r.message, SIP_HEADER_REFER_SUB)) return 0;
    const struct sip_header *h = &r.headers[r.message.first[SIP_HEADER_REFER_SUB]];
    return h->value_length >= 5 && (r.text[h->value_offset] | 32) == 'f';
}

static void check_refers(struct trace *t, const struct call_view *c, const struct notified *n) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t end = c->first_transaction + c->transaction_count;
    uint32_t looked = 0;
    for (uint32_t at = c->first_transaction; at < end && looked < 16; at++) {
        const uint32_t row = x->first[at], final = x->final[at];
        if (x->method[at] != SIP_METHOD_REFER || row == NONE || !is_final_ok(x->status[at])) continue;
        if (n->last != NONE && m->time_ns[n->last] >= m->time_ns[row]) continue;
        if (!call_absence_holds(t, c->call, m->time_ns[final], TIMER_B_MS)) continue;
        looked++;
        if (declines_subscription(t, row) || declines_subscription(t, final)) continue; /* RFC 4488 */
        sight_once(t, C_REFER_NO_NOTIFY, c->call, row, final, x->status[at],
                   (t->last_time_ns - m->time_ns[final]) / 1000000);
    }
    if (n->succeeded != NONE && t->calls.bye_row[c->call] == NONE && t->calls.kind[c->call] == CALL_INVITE &&
        call_absence_holds(t, c->call, m->time_ns[n->succeeded], TIMER_B_MS))
        sight_once(t, C_REFER_NO_BYE, c->call, n->succeeded, NONE, 0,
                   (t->last_time_ns - m->time_ns[n->succeeded]) / 1000000);
}

/* Subscription-State: terminated in one of the last notifications. */
static int was_terminated(const struct trace *t, const struct call_view *c) {
    const struct messages_table *m = &t->messages;
    uint32_t looked = 0;
    for (uint32_t i = c->count; i-- > 0 && looked < 3;) {
        const uint32_t row = c->rows[i];
        if (m->status[row] || m->method[row] != SIP_METHOD_NOTIFY) continue;
        looked++;
        if (signaling_lists(t, row, SIP_HEADER_SUBSCRIPTION_STATE, "terminated")) return 1;
    }
    return 0;
}

/* RFC 6665 §4.2.1.1: a response may shorten what the request asked for. */
static int32_t granted_s(const struct trace *t, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const int32_t granted = t->messages.expires_s[x->final[at]];
    return granted >= 0 || x->first[at] == NONE ? granted : t->messages.expires_s[x->first[at]];
}

static void check_subscriptions(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t end = c->first_transaction + c->transaction_count, bye = t->calls.bye_row[c->call];
    uint32_t last = NONE; /* SUBSCRIBE that was granted last */
    int over = 0;
    for (uint32_t at = c->first_transaction; at < end; at++) {
        if (x->method[at] == SIP_METHOD_SUBSCRIBE && x->first[at] != NONE) {
            over = m->expires_s[x->first[at]] == 0;
            if (x->final[at] != NONE && is_final_ok(x->status[at])) last = at;
            else if (last != NONE && x->final[at] == NONE) last = NONE; /* its answer may have been missed */
        } else if (x->method[at] == SIP_METHOD_NOTIFY && (x->status[at] == 481 || x->status[at] == 408)) {
            const int ended = bye != NONE && x->first[at] != NONE && m->time_ns[x->first[at]] >=
                m->time_ns[bye];
            if (!over && !ended)
                sight_once(t, C_SUBSCRIPTION_LOST, c->call, x->final[at], x->first[at], x->status[at], 0);
        }
    }
    if (last == NONE || over) return;
    const int32_t granted = granted_s(t, last);
    if (granted <= 0 || !call_absence_holds(t, c->call, m->time_ns[x->final[last]],
                                            (int64_t)granted * 1100)) return;
    if (!was_terminated(t, c))
        sight_once(t, C_SUBSCRIPTION_LOST, c->call, x->final[last], x->first[last], 0, granted);
}

void signaling_events(struct trace *t, const struct call_view *c, struct call_digest *d) {
    if (d->methods & (METHOD_BIT(SIP_METHOD_REFER) | METHOD_BIT(SIP_METHOD_NOTIFY))) {
        struct notified n;
        read_notifies(t, c, &n);
        if (d->methods & METHOD_BIT(SIP_METHOD_REFER)) check_refers(t, c, &n);
    }
    if (d->methods & (METHOD_BIT(SIP_METHOD_SUBSCRIBE) | METHOD_BIT(SIP_METHOD_NOTIFY)))
        check_subscriptions(t, c);
}

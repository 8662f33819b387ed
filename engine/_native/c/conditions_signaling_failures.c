/* Signaling conditions of one final response of 300 and above: each code where its rule is (RFC 3261 §21). */
#include "conditions_signaling.h"

/* RFC 4028 §6, §7.3: the next INVITE asks for at least Min-SE. */
static void check_interval(struct trace *t, const struct call_view *c, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t end = c->first_transaction + c->transaction_count, final = x->final[at];
    const int32_t least = m->min_se_s[final];
    const int32_t before = x->first[at] == NONE ? -1 : m->session_expires_s[x->first[at]];
    int later_success = 0;
    for (uint32_t k = at + 1; k < end && k < at + 64; k++) {
        if (x->method[k] != x->method[at] || x->first[k] == NONE) continue;
        later_success |= is_final_ok(x->status[k]);
        const int32_t asked = m->session_expires_s[x->first[k]];
        if (asked >= 0 ? asked >= least && asked > before : is_final_ok(x->status[k]))
            return;
    }
    if (t->no_time || call_absence_holds(t, c->call, m->time_ns[final], 2000))
        sight_once(t, C_SESSION_TIMER_422, c->call, final, x->first[at], later_success, least);
}

/* Set aside by both ends at once: the loser of a glare tries again within 4 s (RFC 3261 §14.1). */
static void check_glare(const struct trace *t, const struct call_view *c, uint32_t at,
                        struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t end = c->first_transaction + c->transaction_count, final = x->final[at];
    if (d->glares++ == 0) d->first_glare = final;
    for (uint32_t k = at + 1; k < end && k < at + 32; k++)
        if (x->first[k] != NONE && x->source[k] == x->source[at] && x->flags[k] & TRANSACTION_IN_DIALOG &&
            (x->method[k] == SIP_METHOD_INVITE || x->method[k] == SIP_METHOD_UPDATE ||
             x->method[k] == SIP_METHOD_BYE))
            return;
    if (call_absence_holds(t, c->call, t->messages.time_ns[final], 4500)) d->glare_without_retry = 1;
}

/* 3xx: how often, and whether a Contact leads to a Request-URI that was tried before (RFC 3261 §8.1.3.4). */
static void check_redirect(const struct trace *t, const struct call_view *c, uint32_t at,
                           struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t contact = m->contact_hash[x->final[at]];
    if (d->redirects++ == 0) d->first_redirect = x->final[at];
    if (!contact || d->redirects > 16) return;
    for (uint32_t k = c->first_transaction; k <= at && k < c->first_transaction + 64; k++)
        if (x->method[k] == SIP_METHOD_INVITE && x->first[k] != NONE &&
            m->request_uri_hash[x->first[k]] == contact)
            d->redirect_again = 1;
}

/* 405 or 501 to an UPDATE that the same end had allowed (RFC 3311 §5.1). */
static void check_update(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    if (call_has(t, c->call, C_UPDATE_NOT_SUPPORTED) || !digest_scan(d)) return;
    uint32_t looked = 0;
    for (uint32_t i = 0; i < c->count && looked < 4; i++) {
        const uint32_t row = c->rows[i];
        if (m->source[row] != x->target[at] || row == x->final[at]) continue;
        if (m->method[row] != SIP_METHOD_INVITE && m->method[row] != SIP_METHOD_UPDATE) continue;
        looked++;
        if (!signaling_lists(t, row, SIP_HEADER_ALLOW, "UPDATE")) continue;
        sight_once(t, C_UPDATE_NOT_SUPPORTED, c->call, x->final[at], row, x->status[at], 0);
        return;
    }
}

/* 481 by what was asked. True when a rule has it. */
static int check_unknown_dialog(struct trace *t, const struct call_view *c, uint32_t at, uint8_t method) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t final = x->final[at], bye = t->calls.bye_row[c->call];
    switch (method) {
    case SIP_METHOD_CANCEL: {
        /* its own INVITE may have been over by then: nothing left to cancel */
        const uint32_t end = c->first_transaction + c->transaction_count;
        for (uint32_t k = c->first_transaction; k < end && k < c->first_transaction + 64; k++)
            if (x->cancel[k] == x->first[at] && x->first[at] != NONE && x->final[k] != NONE &&
                m->time_ns[x->final[k]] <= m->time_ns[x->first[at]])
                return 1;
        sight_once(t, C_CANCEL_NO_MATCH_481, c->call, final, x->first[at], 481, 0);
        return 1;
    }
    case SIP_METHOD_PRACK:
        sight_once(t, C_PRACK_RACK_MISMATCH, c->call, final, x->first[at], 3, 481);
        return 1;
    case SIP_METHOD_INVITE: case SIP_METHOD_UPDATE: case SIP_METHOD_INFO: case SIP_METHOD_REFER:
        if (!(x->flags[at] & TRANSACTION_IN_DIALOG)) return 0;
        if (t->calls.answer_row[c->call] == NONE && !(t->calls.flags[c->call] & CALL_PARTIAL_START)) return 0;
        if (bye == NONE || x->first[at] == NONE || m->time_ns[x->first[at]] < m->time_ns[bye])
            sight_once(t, C_IN_DIALOG_481, c->call, final, x->first[at], 481, 0);
        return 1;
    default: return 0;
    }
}

/* BYE answered 481 or 408, but not when both ends said BYE at once (RFC 3261 §15.1.2). */
static void check_bye(struct trace *t, const struct call_view *c, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t end = c->first_transaction + c->transaction_count, asked = x->first[at];
    if (x->status[at] != 481 && x->status[at] != 408) return;
    for (uint32_t k = c->first_transaction; k < end && k < c->first_transaction + 256; k++)
        if (x->method[k] == SIP_METHOD_BYE && k != at && x->first[k] != NONE && asked != NONE &&
            t->messages.from_tag_hash[x->first[k]] != t->messages.from_tag_hash[asked])
            return;
    sight_once(t, C_BYE_481, c->call, x->final[at], asked, x->status[at], 0);
}

static int offers_hold(const struct trace *t, uint32_t row) {
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t first = t->messages.media_line[row];
    for (uint32_t k = 0; first != NONE && k < t->messages.media_count[row]; k++) {
        if (!l->port[first + k] || l->media[first + k] != SDP_AUDIO) continue;
        if (l->direction[first + k] == SDP_SENDONLY || l->direction[first + k] == SDP_INACTIVE ||
            (l->address_kind[first + k] == ADDRESS_UNSPECIFIED && !(l->traits[first + k] & SDP_ICE)))
            return 1;
    }
    return 0;
}

/* A change of a running session that was refused (RFC 3261 §14.1). True when the code is told by its rule. */
static int check_change(struct trace *t, const struct call_view *c, uint32_t at, uint16_t status) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t final = x->final[at], asked = x->first[at];
    if (status == 500 && t->messages.retry_after_s[final] >= 0 && x->method[at] == SIP_METHOD_INVITE) {
        sight_once(t, C_REINVITE_500_PENDING, c->call, final, asked, 500, t->messages.retry_after_s[final]);
        return 1;
    }
    if (status == 401 || status == 407 || status == 491 || status == 422 || status == 487) return 1;
    if (asked != NONE && status >= 400 && offers_hold(t, asked))
        sight_once(t, C_HOLD_REJECTED, c->call, final, asked, status, 0);
    if (x->method[at] != SIP_METHOD_INVITE || status == 481) return 0;
    sight_once(t, C_REINVITE_REJECTED, c->call, final, asked, status, 0);
    return 1;
}

/* What is left: no rule of its own. Challenges, refusals of a REGISTER and of a keep-alive OPTIONS belong
   elsewhere. */
static void check_rest(struct trace *t, const struct call_view *c, uint32_t at, uint8_t method,
                       uint16_t status) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t final = x->final[at];
    const int in_dialog = x->flags[at] & TRANSACTION_IN_DIALOG;
    if (method == SIP_METHOD_REGISTER || method == SIP_METHOD_CANCEL || method == SIP_METHOD_ACK) return;
    if (status >= 600) {
        sight_once(t, C_RESPONSE_6XX, c->call, final, x->first[at], status, method);
    } else if (status >= 500) {
        if (method == SIP_METHOD_INVITE && !in_dialog)
            sight_once(t, C_RESPONSE_5XX, c->call, final, x->first[at], status, method);
    } else if (status >= 400 && method != SIP_METHOD_OPTIONS && method != SIP_METHOD_BYE) {
        sight_once(t, C_RESPONSE_4XX, c->call, final, x->first[at], status, method);
    }
}

void signaling_failure(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint16_t status = x->status[at];
    const uint8_t method = x->method[at];
    const uint32_t final = x->final[at], asked = x->first[at];
    const int changes = method == SIP_METHOD_INVITE || method == SIP_METHOD_UPDATE;
    int told = status == 401 || status == 407 || status == 423;
    if (status == 503 && m->retry_after_s[final] >= 0)
        sight_once(t, C_OVERLOAD_503, c->call, final, asked, 1, m->retry_after_s[final]);
    if (method == SIP_METHOD_REFER && !told)
        sight_once(t, C_REFER_FAILED, c->call, final, asked, status, 0);
    if (asked != NONE && m->flags[asked] & MESSAGE_REPLACES && (status == 481 || status == 603) &&
        method == SIP_METHOD_INVITE) {
        sight_once(t, C_REPLACES_481, c->call, final, asked, status, 0);
        told = 1;
    }
    if (method == SIP_METHOD_BYE) check_bye(t, c, at);
    if (method == SIP_METHOD_NOTIFY) return; /* subscription-lost looks at it */
    if (status == 481) told |= check_unknown_dialog(t, c, at, method);
    else if (status == 421) { sight_once(t, C_EXT_REQUIRED_421, c->call, final, asked, status, 0); told = 1; }
    else if (status == 422) { check_interval(t, c, at); told = 1; }
    else if (status == 489) { sight_once(t, C_SUBSCRIBE_489, c->call, final, asked, status, 0); told = 1; }
    else if (status == 491) { check_glare(t, c, at, d); told = 1; }
    else if ((status == 405 || status == 501) && method == SIP_METHOD_UPDATE) check_update(t, c, at, d);
    else if (status < 400) { if (method == SIP_METHOD_INVITE) check_redirect(t, c, at, d); told = 1; }
    else if (status == 487 || status == 488) told = 1; /* the caller's own CANCEL; the codec rules */
    if (changes && x->flags[at] & TRANSACTION_IN_DIALOG) told |= check_change(t, c, at, status);
    if (!told && method != SIP_METHOD_REFER) check_rest(t, c, at, method, status);
}

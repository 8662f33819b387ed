/* Signaling conditions: the message hook, and the order in which a call's rules run. */
#include "conditions_signaling.h"

/* ---- a message ---- */

/* RFC 3261 §8.1.1.5: the method of CSeq is that of the request. */
static void check_cseq_method(struct trace *t, const struct message_view *v) {
    const struct sip_span a = v->message->method_name, b = v->cseq_method;
    if (v->cseq < 0 || !b.length) return; /* no CSeq to compare: another rule's */
    if (a.length == b.length && !memcmp(v->text + a.offset, v->text + b.offset, a.length)) return;
    sight_once(t, C_CSEQ_METHOD_MISMATCH, v->call, v->row, NONE, 0, v->cseq);
}

static void check_session_timer(struct trace *t, const struct message_view *v) {
    const struct messages_table *m = &t->messages;
    const int32_t expires = m->session_expires_s[v->row], least = m->min_se_s[v->row];
    if (expires >= 0 && expires < 90)
        sight_once(t, C_SESSION_EXPIRES_TOO_SMALL, v->call, v->row, NONE, 1, expires);
    else if (least >= 0 && least < 90)
        sight_once(t, C_SESSION_EXPIRES_TOO_SMALL, v->call, v->row, NONE, 2, least);
    /* RFC 4028 §9: a 2xx with Session-Expires says who refreshes */
    if (expires >= 0 && is_final_ok(m->status[v->row]) && !m->refresher[v->row])
        sight_once(t, C_SESSION_REFRESHER_CONFLICT, v->call, v->row, NONE, 1, expires);
}

/* Finds a lower-case word in a span, any case. */
static int span_has(const uint8_t *base, struct sip_span span, const char *word) {
    const uint32_t length = (uint32_t)strlen(word);
    for (uint32_t i = 0; length && span.length >= length && i <= span.length - length; i++) {
        uint32_t k = 0;
        while (k < length && (base[span.offset + i + k] | 32) == (uint8_t)word[k]) k++;
        if (k == length) return 1;
    }
    return 0;
}

/* Products write "RTP Timeout" or MEDIA_TIMEOUT as the text of a release (RFC 3326 leaves the words free). */
static void check_media_timeout(struct trace *t, const struct message_view *v) {
    uint32_t cursor = 0;
    struct sip_span value;
    while (view_next(v, SIP_HEADER_REASON, &cursor, &value)) {
        if (value.length > 200) value.length = 200;
        if (!span_has(v->text, value, "timeout")) continue;
        if (span_has(v->text, value, "rtp") || span_has(v->text, value, "media"))
            sight_once(t, C_DROP_30S_RTP_TIMEOUT, v->call, v->row, NONE, 4, 0);
    }
}

static void check_reason(struct trace *t, const struct message_view *v) {
    const int cause = t->messages.q850_cause[v->row];
    const uint16_t status = v->message->status;
    if (v->message->method == SIP_METHOD_BYE) check_media_timeout(t, v);
    const int ends = status ? status >= 300 : v->message->method == SIP_METHOD_BYE ||
                                                  v->message->method == SIP_METHOD_CANCEL;
    if (!ends || cause < 0 || (cause >= 16 && cause <= 19) || cause == 21 || cause == 31) return;
    sight_once(t, C_Q850_ABNORMAL, v->call, v->row, NONE, cause, status);
}

/* Hold as RFC 2543 had it: c=0.0.0.0 inside a dialog (RFC 3264 §8.4). Trickle ICE writes it too, with port
   9. */
static void check_old_hold(struct trace *t, const struct message_view *v) {
    for (uint32_t k = 0; k < v->session->media_count; k++) {
        const struct sdp_media *media = &v->media[k];
        if (media->connection.kind != ADDRESS_UNSPECIFIED || media->connection.port == 9) continue;
        if (!media->connection.port || media->traits & SDP_ICE) continue;
        sight_once(t, C_HOLD_RFC2543, v->call, v->row, NONE, (int)k, media->direction);
        return;
    }
}

void signaling_message(struct trace *t, const struct message_view *v) {
    const struct messages_table *m = &t->messages;
    const struct sip_message *p = v->message;
    const uint32_t row = v->row;
    if (p->is_response) {
        if (TL_UNLIKELY(p->status > 100 && p->status < 700 && !m->to_tag_hash[row] && sip_has(p,
                                                                                              SIP_HEADER_TO)))
            sight_once(t, C_TO_TAG_MISSING, v->call, row, NONE, p->status, 0);
    } else if (TL_UNLIKELY(m->cseq_method[row] != p->method || !p->method)) {
        check_cseq_method(t, v);
    }
    if (TL_UNLIKELY(sip_has(p, SIP_HEADER_SESSION_EXPIRES) || sip_has(p, SIP_HEADER_MIN_SE)))
        check_session_timer(t, v);
    if (TL_UNLIKELY(sip_has(p, SIP_HEADER_REASON))) check_reason(t, v);
    if (TL_UNLIKELY(m->warning_code[row] >= 300 && m->warning_code[row] < 400))
        sight_once(t, C_WARNING_HEADER, v->call, row, NONE, m->warning_code[row], p->status);
    if (TL_UNLIKELY(v->session && m->flags[row] & MESSAGE_IN_DIALOG)) check_old_hold(t, v);
}

/* ---- texts read again ---- */

int signaling_reread(const struct trace *t, uint32_t row, struct reread *r) {
    uint32_t length;
    r->text = trace_text(t, row, &length);
    return sip_scan(r->text, length, SIP_DATAGRAM, &r->message, r->headers,
                    sizeof r->headers / sizeof *r->headers) > 0;
}

static int same_folded(const uint8_t *text, size_t length, const char *token) {
    for (size_t i = 0; i < length; i++) {
        const uint8_t a = text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 32 : text[i];
        const uint8_t b = (uint8_t)(token[i] >= 'A' && token[i] <= 'Z' ? token[i] | 32 : token[i]);
        if (!b || a != b) return 0;
    }
    return token[length] == 0;
}

int signaling_lists(const struct trace *t, uint32_t row, int header, const char *token) {
    struct reread r;
    if (!signaling_reread(t, row, &r) || !sip_has(&r.message, header)) return 0;
    for (uint32_t i = r.message.first[header]; i < r.message.header_count; i++) {
        if (r.headers[i].id != header) continue;
        const struct sip_span value = {r.headers[i].value_offset, r.headers[i].value_length};
        struct sip_span element;
        uint32_t cursor = 0;
        while (sip_list_next(r.text, value, &cursor, &element)) {
            uint32_t length = 0; /* without parameters */
            const uint8_t *text = r.text + element.offset;
            while (length < element.length && text[length] != ';' && text[length] != ' ') length++;
            if (same_folded(text, length, token)) return 1;
        }
    }
    return 0;
}

/* ---- a call ---- */

static void digest_call(const struct trace *t, const struct call_view *c, struct call_digest *d) {
    const struct messages_table *m = &t->messages;
    memset(d, 0, sizeof *d);
    d->scans = 12;
    d->first_glare = d->first_redirect = d->timer_row = NONE;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i], flags = m->flags[row];
        d->flags |= flags;
        d->described += (flags & MESSAGE_SDP) != 0;
        if (m->status[row]) {
            d->reliable += m->status[row] < 200 && flags & MESSAGE_REQUIRE_100REL;
            continue;
        }
        const uint32_t bit = METHOD_BIT(m->method[row]);
        d->methods |= bit;
        if (flags & MESSAGE_IN_DIALOG) d->dialog_methods |= bit;
        d->stray_acks += m->method[row] == SIP_METHOD_ACK && m->transaction[row] == NONE;
    }
}

/* Several 491 or none that was tried again (RFC 3261 §14.1); 3xx that led on and on, or back. */
static void sum_up(struct trace *t, const struct call_view *c, const struct call_digest *d) {
    if (d->glares)
        sight_once(t, C_GLARE_491, c->call, d->first_glare, NONE, (int)d->glare_without_retry, d->glares);
    if (d->redirects)
        sight_once(t, C_REDIRECT, c->call, d->first_redirect, NONE, (int)d->redirect_again, d->redirects);
}

void signaling_call(struct trace *t, const struct call_view *c) {
    struct call_digest d;
    digest_call(t, c, &d);
    const uint32_t end = c->first_transaction + c->transaction_count;
    for (uint32_t at = c->first_transaction; at < end; at++) signaling_transaction(t, c, at, &d);
    if (t->calls.kind[c->call] == CALL_INVITE) signaling_timing(t, c);
    if (d.dialog_methods) signaling_dialog(t, c, &d);
    const uint32_t eventful =
        METHOD_BIT(SIP_METHOD_REFER) | METHOD_BIT(SIP_METHOD_SUBSCRIBE) | METHOD_BIT(SIP_METHOD_NOTIFY);
    if (d.methods & eventful) signaling_events(t, c, &d);
    if (d.described || d.reliable || d.methods & METHOD_BIT(SIP_METHOD_PRACK)) signaling_offers(t, c, &d);
    sum_up(t, c, &d);
}

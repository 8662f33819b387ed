/* Compliance: what single messages get wrong by the letter of the RFCs (rule page 3.5). */
#include <string.h>

#include "trace.h"

#define ROW_ONLY(condition) sight_once(t, condition, v->call, v->row, NONE, 0, 0)

/* `code` names the first header that is missing: 1 Via, 2 From, 3 To, 4 Call-ID, 5 CSeq, 6 Max-Forwards. */
static void mandatory_headers(struct trace *t, const struct message_view *v) {
    static const int ids[] = {SIP_HEADER_VIA, SIP_HEADER_FROM, SIP_HEADER_TO, SIP_HEADER_CALL_ID, SIP_HEADER_CSEQ,
                              SIP_HEADER_MAX_FORWARDS};
    const int wanted = v->message->is_response ? 5 : 6;
    int first = 0, missing = 0;
    for (int i = 0; i < wanted; i++)
        if (!sip_has(v->message, ids[i])) {
            missing |= 1 << i;
            if (!first) first = i + 1;
        }
    if (first) sight_once(t, C_MISSING_MANDATORY_HEADER, v->call, v->row, NONE, first, missing);
}

static void contact_and_tags(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    const uint8_t method = t->messages.method[v->row];
    if (!sip_has(p, SIP_HEADER_CONTACT)) {
        const int needs = p->is_response ? p->status / 100 == 2 && (method == SIP_METHOD_INVITE || method == SIP_METHOD_SUBSCRIBE)
                                         : method == SIP_METHOD_INVITE || method == SIP_METHOD_REFER || method == SIP_METHOD_SUBSCRIBE;
        if (needs) sight_once(t, C_MISSING_CONTACT, v->call, v->row, NONE, p->status, method);
    }
    if (sip_has(p, SIP_HEADER_FROM) && !v->from.tag.length) ROW_ONLY(C_FROM_TAG_MISSING);
    if (p->is_response || v->via.flags & SIP_VIA_MALFORMED) return;
    if (!(v->via.flags & SIP_VIA_COOKIE)) ROW_ONLY(C_BRANCH_COOKIE_MISSING);
    else if (v->via.branch.length == 7) ROW_ONLY(C_BRANCH_EMPTY);
}

static void single_headers(struct trace *t, const struct message_view *v) {
    static const int ids[] = {SIP_HEADER_CALL_ID, SIP_HEADER_CSEQ, SIP_HEADER_FROM, SIP_HEADER_TO,
                              SIP_HEADER_MAX_FORWARDS, SIP_HEADER_CONTENT_LENGTH, SIP_HEADER_CONTENT_TYPE};
    const struct sip_message *p = v->message;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (sip_has(p, ids[i]) && p->repeats[ids[i]] > 1)
            sight_once(t, C_DUPLICATE_SINGLE_HEADER, v->call, v->row, NONE, ids[i], p->repeats[ids[i]]);
}

static int over_stream(const struct trace *t, const struct message_view *v) {
    const uint8_t transport = t->messages.transport[v->row];
    return transport == SIP_TCP || transport == SIP_TLS;
}

/* `code` 1: fewer body bytes than promised, 2: more; `value` is the difference in bytes. */
static void body_length(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    const uint32_t flags = p->flags;
    if (flags & SIP_LENGTH_MISSING) {
        if (over_stream(t, v)) ROW_ONLY(C_CONTENT_LENGTH_MISSING_TCP);
    } else if (!(t->messages.flags[v->row] & MESSAGE_SNAPPED)) {
        if (flags & SIP_BODY_SHORT)
            sight_once(t, C_CONTENT_LENGTH_MISMATCH, v->call, v->row, NONE, 1, p->content_length - p->body_length);
        else if (flags & SIP_BODY_LONG)
            sight_once(t, C_CONTENT_LENGTH_MISMATCH, v->call, v->row, NONE, 2,
                       (int64_t)v->length - p->body_offset - p->content_length);
        else if (flags & SIP_LENGTH_INVALID) sight_once(t, C_CONTENT_LENGTH_MISMATCH, v->call, v->row, NONE, 3, 0);
    }
}

static void uri_faults(struct trace *t, const struct message_view *v) {
    enum { BAD = SIP_URI_BAD_CHARACTER | SIP_URI_UNBRACKETED_V6 | SIP_URI_PORT_BAD | SIP_URI_BAD_ESCAPE };
    int where = 0, why = 0;
    if (!v->message->is_response && v->message->flags & SIP_URI_SPACES) { where = 1; why = SIP_URI_BAD_CHARACTER; }
    else if (!v->message->is_response && v->request_uri.flags & BAD) { where = 1; why = v->request_uri.flags & BAD; }
    else if (v->from.parsed.flags & BAD) { where = 2; why = v->from.parsed.flags & BAD; }
    else if (v->to.parsed.flags & BAD) { where = 3; why = v->to.parsed.flags & BAD; }
    else if (v->contact.parsed.flags & BAD) { where = 4; why = v->contact.parsed.flags & BAD; }
    else if (v->contact.flags & (SIP_ADDRESS_BARE_QUERY | SIP_ADDRESS_UNBALANCED)) where = 4;
    else if ((v->from.flags | v->to.flags) & SIP_ADDRESS_UNBALANCED) where = v->from.flags & SIP_ADDRESS_UNBALANCED ? 2 : 3;
    if (where) sight_once(t, C_URI_INVALID, v->call, v->row, NONE, where, why);
    if ((v->from.flags | v->to.flags | v->contact.flags) & SIP_ADDRESS_DISPLAY_UNQUOTED)
        sight_once(t, C_DISPLAY_NAME_UNQUOTED, v->call, v->row, NONE,
                   v->from.flags & SIP_ADDRESS_DISPLAY_UNQUOTED ? 2 : v->to.flags & SIP_ADDRESS_DISPLAY_UNQUOTED ? 3 : 4, 0);
}

static void numbers(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    if (sip_has(p, SIP_HEADER_CSEQ) && (v->cseq < 0 || v->cseq > INT32_MAX))
        sight_once(t, C_CSEQ_OUT_OF_RANGE, v->call, v->row, NONE, 0, v->cseq);
    const int hops = t->messages.max_forwards[v->row];
    if (!p->is_response && hops > 100) sight_once(t, C_MAX_FORWARDS_RANGE, v->call, v->row, NONE, 0, hops);
    else if (!p->is_response && hops < 0 && sip_has(p, SIP_HEADER_MAX_FORWARDS))
        sight_once(t, C_MAX_FORWARDS_RANGE, v->call, v->row, NONE, 1, hops);
    if (p->flags & SIP_VERSION_BAD || (p->is_response && p->status == 505)) ROW_ONLY(C_VERSION_NOT_2);
    if (p->flags & (SIP_STATUS_RANGE | SIP_STATUS_BAD))
        sight_once(t, C_STATUS_CODE_RANGE, v->call, v->row, NONE, p->status, p->status);
}

/* RFC 1123 date in GMT: "Sat, 13 Nov 2010 23:29:00 GMT", 29 characters. */
static int date_is_rfc1123(const uint8_t *s, uint32_t n) {
    static const char days[] = "MonTueWedThuFriSatSun", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char shape[] = "aaa, dd aaa dddd dd:dd:dd GMT";
    if (n != 29) return 0;
    for (int i = 0; i < 29; i++) {
        const uint8_t c = s[i];
        if (shape[i] == 'd' ? c < '0' || c > '9' : shape[i] == 'a' ? (c | 32) < 'a' || (c | 32) > 'z' : c != (uint8_t)shape[i])
            return 0;
    }
    int day = 0, month = 0;
    for (int i = 0; i < 21; i += 3) day |= !memcmp(s, days + i, 3);
    for (int i = 0; i < 36; i += 3) month |= !memcmp(s + 8, months + i, 3);
    return day && month;
}

static void rare_headers(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    const uint8_t method = t->messages.method[v->row];
    if (sip_has(p, SIP_HEADER_DATE)) {
        const struct sip_span date = view_header(v, SIP_HEADER_DATE);
        if (!date_is_rfc1123(v->text + date.offset, date.length)) ROW_ONLY(C_DATE_INVALID);
    }
    if (p->is_response) {
        if (p->status == 405 && !sip_has(p, SIP_HEADER_ALLOW)) ROW_ONLY(C_ALLOW_MISSING_405);
        if (p->status == 420 && !sip_has(p, SIP_HEADER_UNSUPPORTED)) ROW_ONLY(C_UNSUPPORTED_MISSING_420);
        if ((p->status == 401 && !sip_has(p, SIP_HEADER_WWW_AUTHENTICATE)) ||
            (p->status == 407 && !sip_has(p, SIP_HEADER_PROXY_AUTHENTICATE)))
            sight_once(t, C_CHALLENGE_MISSING, v->call, v->row, NONE, p->status, 0);
        const int reliable = (t->messages.flags[v->row] & MESSAGE_REQUIRE_100REL) != 0;
        if (p->status > 100 && p->status < 200 && sip_has(p, SIP_HEADER_RSEQ) != reliable)
            sight_once(t, C_RSEQ_WITHOUT_REQUIRE, v->call, v->row, NONE, reliable, 0);
    } else if (method == SIP_METHOD_SUBSCRIBE || method == SIP_METHOD_NOTIFY) {
        if (!sip_has(p, SIP_HEADER_EVENT)) sight_once(t, C_EVENT_MISSING, v->call, v->row, NONE, 1, method);
        else if (method == SIP_METHOD_NOTIFY && !sip_has(p, SIP_HEADER_SUBSCRIPTION_STATE))
            sight_once(t, C_EVENT_MISSING, v->call, v->row, NONE, 2, method);
    }
}

static void text_form(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    const uint32_t flags = p->flags;
    /* text logs normalise line ends: only what came off a wire can be blamed */
    if (flags & SIP_BARE_LF && !(t->messages.flags[v->row] & (MESSAGE_NO_TIME | MESSAGE_ADDRESS_INFERRED)) &&
        t->messages.dscp[v->row] != 255)
        ROW_ONLY(C_BARE_LF);
    if (flags & SIP_FOLDED) ROW_ONLY(C_HEADER_FOLDING);
    if ((flags & (SIP_COMPACT | SIP_LONG)) == (SIP_COMPACT | SIP_LONG)) ROW_ONLY(C_COMPACT_MIXED);
    if (flags & SIP_NON_UTF8) ROW_ONLY(C_REASON_PHRASE_ENCODING);
    if (p->body_length && !sip_has(p, SIP_HEADER_CONTENT_TYPE)) ROW_ONLY(C_CONTENT_TYPE_MISSING);
    if (v->mime_flags) sight_once(t, C_MULTIPART_BROKEN, v->call, v->row, NONE, 0, v->mime_flags);
}

/* ---- SDP ---- */

static void description_faults(struct trace *t, const struct message_view *v) {
    enum { SYNTAX = SDP_BAD_LINE | SDP_NO_VERSION | SDP_NO_ORIGIN | SDP_NO_SESSION_NAME | SDP_NO_TIME | SDP_WRONG_ORDER |
                    SDP_BAD_MEDIA | SDP_BAD_CONNECTION | SDP_NO_CONNECTION | SDP_PORT_BAD | SDP_BAD_ORIGIN };
    uint32_t flags = v->session->flags;
    for (uint32_t i = 0; i < v->session->media_count; i++) {
        /* a refused line needs no address (RFC 3264 §6) */
        uint32_t own = v->media[i].flags;
        if (!v->media[i].connection.port) own &= ~(uint32_t)SDP_NO_CONNECTION;
        flags |= own;
    }
    if (flags & SYNTAX) sight_once(t, C_SDP_SYNTAX, v->call, v->row, NONE, 0, flags & SYNTAX);
    if (flags & SDP_EMPTY_SESSION_NAME) ROW_ONLY(C_SDP_SESSION_NAME_EMPTY);
    if (flags & (SDP_DIRECTION_REPEATED | SDP_PTIME_REPEATED))
        sight_once(t, C_SDP_DUPLICATE_ATTR, v->call, v->row, NONE, flags & SDP_PTIME_REPEATED ? 2 : 1, 0);
    uint8_t families = 0;
    for (uint32_t i = 0; i < v->session->media_count; i++)
        if (v->media[i].connection.family) families |= v->media[i].connection.family == 4 ? 1 : 2;
    const uint8_t signalling = v->source.family == 4 ? 1 : v->source.family == 6 ? 2 : families;
    if (families == 3 || (families && !(families & signalling)))
        sight_once(t, C_SDP_IPV6_IPV4_MIX, v->call, v->row, NONE, families, signalling);
}

/* ---- numbers and identity ---- */

static int is_digits(const uint8_t *s, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9') return 0;
    return n > 0;
}

static void number_format(struct trace *t, const struct message_view *v) {
    const struct sip_uri *uris[] = {&v->request_uri, &v->to.parsed, &v->from.parsed};
    for (int i = 0; i < 3; i++) {
        const struct sip_uri *u = uris[i];
        const uint8_t *user = v->text + u->user.offset;
        if (u->scheme_id == SIP_SCHEME_TEL) {
            const struct sip_span number = u->user.length ? u->user : u->host;
            user = v->text + number.offset;
            if (number.length && user[0] != '+' && !(u->flags & SIP_URI_PHONE_CONTEXT))
                sight_once(t, C_TEL_NO_CONTEXT, v->call, v->row, NONE, i + 1, 0);
            if (number.length > 1 && user[0] == '+' && number.length - 1 > 15 && is_digits(user + 1, number.length - 1))
                sight_once(t, C_E164_FORMAT, v->call, v->row, NONE, 2, number.length - 1);
        } else if (u->user.length) {
            const int plus = user[0] == '+';
            const int digits = is_digits(user + plus, u->user.length - (uint32_t)plus);
            if (u->flags & SIP_URI_USER_PHONE && !plus) sight_once(t, C_E164_FORMAT, v->call, v->row, NONE, 1, u->user.length);
            else if (plus && digits && u->user.length - 1 > 15)
                sight_once(t, C_E164_FORMAT, v->call, v->row, NONE, 2, u->user.length - 1);
        }
    }
}

static int contains(const uint8_t *s, uint32_t n, const char *word) {
    const uint32_t length = (uint32_t)strlen(word);
    for (uint32_t i = 0; i + length <= n; i++) {
        uint32_t k = 0;
        while (k < length && (s[i + k] | 32) == (uint8_t)word[k]) k++;
        if (k == length) return 1;
    }
    return 0;
}

static void identity_headers(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    if (sip_has(p, SIP_HEADER_P_ASSERTED_IDENTITY)) {
        uint32_t cursor = 0, values = 0, sip = 0, tel = 0;
        struct sip_span value, element;
        while (view_next(v, SIP_HEADER_P_ASSERTED_IDENTITY, &cursor, &value)) {
            uint32_t step = 0;
            while (values < 100 && sip_list_next(v->text, value, &step, &element)) {
                struct sip_address identity;
                sip_address_parse(v->text, element, &identity);
                values++;
                if (identity.parsed.scheme_id == SIP_SCHEME_TEL) tel++;
                else sip++;
            }
        }
        if (values > 2 || sip > 1 || tel > 1) sight_once(t, C_PAI_INVALID, v->call, v->row, NONE, 0, values);
    }
    if (sip_has(p, SIP_HEADER_PRIVACY)) {
        const struct sip_span privacy = view_header(v, SIP_HEADER_PRIVACY);
        const uint8_t *s = v->text + privacy.offset;
        const int user = contains(s, privacy.length, "user"), id = contains(s, privacy.length, "id");
        const int anonymous = contains(v->text + v->from.uri.offset, v->from.uri.length, "anonymous");
        const int visible = sip_has(p, SIP_HEADER_P_ASSERTED_IDENTITY) && t->messages.source[v->row] != NONE &&
                            v->source.kind == ADDRESS_PUBLIC && v->target.kind == ADDRESS_PUBLIC;
        if (user && !anonymous) sight_once(t, C_PRIVACY_VIOLATION, v->call, v->row, NONE, 1, 0);
        else if (id && visible) sight_once(t, C_PRIVACY_VIOLATION, v->call, v->row, NONE, 2, 0);
    }
}

static const char *const EMERGENCY_NUMBERS[] = {"112", "911", "999", "000", "110", "118", "119"};

static int is_emergency(const struct message_view *v) {
    const struct sip_uri *u = &v->request_uri;
    const struct sip_span uri = v->message->request_uri;
    if (u->scheme_id == SIP_SCHEME_URN) return contains(v->text + uri.offset, uri.length, "service:sos");
    if (u->user.length != 3) return 0;
    for (size_t i = 0; i < 3; i++) /* the three that are emergency numbers in most plans */
        if (!memcmp(v->text + u->user.offset, EMERGENCY_NUMBERS[i], 3)) return 1;
    return 0;
}

static void initial_invite(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    number_format(t, v);
    if (sip_has(p, SIP_HEADER_P_ASSERTED_IDENTITY) || sip_has(p, SIP_HEADER_PRIVACY)) identity_headers(t, v);
    if (!sip_has(p, SIP_HEADER_P_ASSERTED_IDENTITY) && !sip_has(p, SIP_HEADER_REMOTE_PARTY_ID) &&
        contains(v->text + v->from.uri.offset, v->from.uri.length, "anonymous"))
        ROW_ONLY(C_ANONYMOUS_NO_PAI);
    if (is_emergency(v)) {
        t->calls.flags[v->call] |= CALL_EMERGENCY;
        if (!sip_has(p, SIP_HEADER_GEOLOCATION)) ROW_ONLY(C_EMERGENCY_NO_LOCATION);
    }
    if (sip_has(p, SIP_HEADER_IDENTITY) || v->contact.parsed.user.length) sight_once(t, C_RETENTION_PII, v->call, v->row, NONE, 0, 0);
    for (uint32_t i = 0; i < v->part_count; i++)
        if (v->parts[i].kind == CONTENT_RS_METADATA) t->calls.flags[v->call] |= CALL_SIPREC;
    /* a cause in the Request-URI says that the call was forwarded (RFC 4458) */
    const int forwarded = contains(v->text + p->request_uri.offset, p->request_uri.length, ";cause=");
    if (forwarded && !sip_has(p, SIP_HEADER_DIVERSION) && !sip_has(p, SIP_HEADER_HISTORY_INFO)) ROW_ONLY(C_DIVERSION_MISSING);
}

void compliance_message(struct trace *t, const struct message_view *v) {
    mandatory_headers(t, v);
    contact_and_tags(t, v);
    single_headers(t, v);
    if (v->message->flags & (SIP_BODY_SHORT | SIP_BODY_LONG | SIP_LENGTH_INVALID | SIP_LENGTH_MISSING)) body_length(t, v);
    text_form(t, v);
    uri_faults(t, v);
    numbers(t, v);
    rare_headers(t, v);
    if (v->session) description_faults(t, v);
    if (!v->message->is_response && v->message->method == SIP_METHOD_INVITE && !v->to.tag.length) initial_invite(t, v);
}

/* ---- over the messages of a call ---- */

/* One branch, two different requests: another Request-URI or CSeq under it (ACK and CANCEL share it lawfully). */
static void branch_reuse(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t count = c->transaction_count < 64 ? c->transaction_count : 64;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t a = c->first_transaction + i, first = x->first[a];
        if (first == NONE || x->method[a] == SIP_METHOD_CANCEL || !(m->flags[first] & MESSAGE_COOKIE)) continue;
        for (uint32_t k = i + 1; k < count; k++) {
            const uint32_t b = c->first_transaction + k, second = x->first[b];
            if (second == NONE || x->method[b] == SIP_METHOD_CANCEL || x->method[b] == SIP_METHOD_ACK) continue;
            if (m->branch_hash[first] == m->branch_hash[second] && x->source[a] == x->source[b] && x->cseq[a] != x->cseq[b]) {
                sight_once(t, C_BRANCH_REUSED, c->call, second, first, 0, 0);
                return;
            }
        }
    }
}

/* The o= line must move when the description does (RFC 3264 §8), a sender at a time. */
static void origin_versions(struct trace *t, const struct call_view *c) {
    const struct media_lines_table *l = &t->media_lines;
    const struct messages_table *m = &t->messages;
    struct { uint32_t endpoint, row, line; } last[4];
    uint32_t used = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i], line = m->media_line[row];
        if (line == NONE || m->retransmission_of[row] != NONE) continue;
        uint32_t k = 0;
        const uint32_t who = m->source[row];
        while (k < used && last[k].endpoint != who) k++;
        if (k < used) {
            const uint32_t before = last[k].line;
            const int changed = l->body_hash[line] != l->body_hash[before];
            /* different responders of a fork have different tags, hence different sessions */
            const int same_dialog = m->to_tag_hash[row] == m->to_tag_hash[last[k].row] || !m->status[row];
            if (l->origin_hash[line] != l->origin_hash[before]) {
                if (same_dialog && changed && m->status[row] == m->status[last[k].row] && m->status[row])
                    sight_once(t, C_SDP_ORIGIN_VERSION, c->call, row, last[k].row, 2, 0);
            } else if (changed && l->origin_version[line] == l->origin_version[before] && same_dialog)
                sight_once(t, C_SDP_ORIGIN_VERSION, c->call, row, last[k].row, 1, l->origin_version[line]);
            last[k].row = row;
            last[k].line = line;
        } else if (used < 4) {
            last[used].endpoint = who;
            last[used].row = row;
            last[used++].line = line;
        }
    }
}

/* Which option tags a header row list holds, as bits of a small table. */
static uint32_t option_tags(const struct trace *t, uint32_t row, int id) {
    static const char *const tags[] = {"100rel", "timer", "replaces", "precondition", "path", "outbound", "gruu",
                                       "norefersub", "histinfo", "sec-agree", "tdialog", "from-change", "siprec"};
    struct sip_message p;
    struct sip_header headers[128];
    uint32_t length, found = 0;
    const uint8_t *text = trace_text(t, row, &length);
    if (sip_scan(text, length, SIP_DATAGRAM, &p, headers, 128) < 0 || !sip_has(&p, id)) return 0;
    for (uint32_t i = p.first[id]; i < p.header_count; i++) {
        if (headers[i].id != id) continue;
        const struct sip_span value = {headers[i].value_offset, headers[i].value_length};
        struct sip_span element;
        uint32_t step = 0;
        while (sip_list_next(text, value, &step, &element))
            for (uint32_t k = 0; k < sizeof tags / sizeof *tags; k++)
                if (element.length == strlen(tags[k]) && !memcmp(text + element.offset, tags[k], element.length)) found |= 1u << k;
    }
    return found;
}

/* The responder requires what the caller never said it supports. */
static void required_options(struct trace *t, const struct call_view *c) {
    const uint32_t invite = t->calls.invite_row[c->call];
    const struct messages_table *m = &t->messages;
    if (invite == NONE) return;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        const int required = m->status[row] > 100 && m->status[row] < 300 && m->method[row] == SIP_METHOD_INVITE &&
                             m->flags[row] & (MESSAGE_REQUIRE_100REL | MESSAGE_REQUIRE_TIMER);
        if (!required || m->transaction[row] == NONE) continue;
        const uint32_t request = t->transactions.first[m->transaction[row]];
        if (request == NONE) continue;
        const uint32_t supports = option_tags(t, request, SIP_HEADER_SUPPORTED) | option_tags(t, request, SIP_HEADER_REQUIRE);
        const uint32_t missing = option_tags(t, row, SIP_HEADER_REQUIRE) & ~supports;
        if (missing) { sight_once(t, C_SUPPORTED_REQUIRED_CONFLICT, c->call, row, request, 0, missing); return; }
    }
}

static void ack_require(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    for (uint32_t i = 0; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i, ack = x->ack[at];
        if (x->method[at] != SIP_METHOD_INVITE || ack == NONE || x->first[at] == NONE) continue;
        if (!(t->messages.flags[ack] & (MESSAGE_REQUIRE_100REL | MESSAGE_REQUIRE_TIMER))) continue;
        if (option_tags(t, ack, SIP_HEADER_REQUIRE) & ~option_tags(t, x->first[at], SIP_HEADER_REQUIRE))
            sight_once(t, C_ACK_WITH_REQUIRE, c->call, ack, x->first[at], 0, 0);
    }
}

static void recording_notice(struct trace *t, const struct call_view *c) {
    if (!(t->calls.flags[c->call] & CALL_SIPREC)) return;
    const uint32_t group = t->calls.group[c->call];
    for (uint32_t call = group; call < t->calls.head.count && call < group + 16; call++) {
        if (t->calls.group[call] != group || t->calls.flags[call] & CALL_SIPREC) continue;
        const uint32_t line = t->calls.answer_line[call], offer = t->calls.offer_line[call];
        if (line == NONE || offer == NONE) continue;
        if (!((t->media_lines.traits[line] | t->media_lines.traits[offer]) & SDP_RECORD)) {
            sight_once(t, C_CALL_RECORDING_UNANNOUNCED, c->call, t->calls.invite_row[c->call], t->calls.invite_row[call], 0, 0);
            return;
        }
    }
}

void compliance_call(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    if (c->transaction_count > 1) branch_reuse(t, c);
    if (k->kind[c->call] != CALL_INVITE) return;
    origin_versions(t, c);
    required_options(t, c);
    ack_require(t, c);
    if (k->flags[c->call] & CALL_SIPREC) recording_notice(t, c);
    if (k->flags[c->call] & CALL_EMERGENCY && k->final_status[c->call] >= 400 && k->final_status[c->call] != 401 &&
        k->final_status[c->call] != 407 && k->final_status[c->call] != 487)
        sight_once(t, C_EMERGENCY_FAILED, c->call, k->final_row[c->call], k->invite_row[c->call], k->final_status[c->call], 0);
    if (k->hops[c->call] > 1 && k->invite_row[c->call] != NONE && !k->correlation_hash[c->call]) {
        uint32_t length;
        struct sip_message p;
        struct sip_header headers[128];
        const uint8_t *text = trace_text(t, k->invite_row[c->call], &length);
        if (sip_scan(text, length, SIP_DATAGRAM, &p, headers, 128) >= 0 && !sip_has(&p, SIP_HEADER_SESSION_ID))
            sight_once(t, C_SESSION_ID_MISSING, c->call, k->invite_row[c->call], NONE, 0, k->hops[c->call]);
    }
}

/* A trunk on which most calls assert an identity, and the ones that do not. */
void compliance_trace(struct trace *t) {
    const uint32_t hosts = t->endpoints.head.count, calls = t->calls.head.count;
    const struct messages_table *m = &t->messages;
    uint32_t *with = t->lender->lend((size_t)hosts * 2 * sizeof *with + 8);
    if (!with) return;
    uint32_t *without = with + hosts;
    for (int round = 0; round < 2; round++)
        for (uint32_t call = 0; call < calls; call++) {
            const uint32_t row = t->calls.invite_row[call];
            if (row == NONE || m->target[row] == NONE || m->source[row] == NONE) continue;
            const uint32_t host = host_of(t, m->source[row]);
            const int asserted = (m->flags[row] & MESSAGE_ASSERTED) != 0;
            if (round == 0) {
                if (asserted) with[host]++;
                else without[host]++;
            } else if (!asserted && with[host] >= 3 && with[host] > without[host])
                sight(t, C_PAI_MISSING, call, row, NONE, 0, with[host]);
        }
    t->lender->take_back(with);
}

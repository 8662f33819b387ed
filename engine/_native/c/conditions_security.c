/* Security: media and signalling in clear, attacks, fraud, STIR (rule page 3.4). TLS and DTLS handshakes and PASSporT contents
   are read in Python: they are few and need a certificate library. */
#include <string.h>

#include "trace.h"

/* ---- single messages ---- */

static int has_word(const uint8_t *s, uint32_t n, const char *word) {
    const uint32_t length = (uint32_t)strlen(word);
    for (uint32_t i = 0; i + length <= n; i++) {
        uint32_t k = 0;
        while (k < length && (s[i + k] | 32) == (uint8_t)(word[k] | 32)) k++;
        if (k == length) return 1;
    }
    return 0;
}

static int span_has(const struct message_view *v, struct sip_span span, const char *word) {
    return has_word(v->text + span.offset, span.length < 256 ? span.length : 256, word);
}

static int in_clear(const struct trace *t, const struct message_view *v) {
    const uint8_t transport = t->messages.transport[v->row];
    return transport == SIP_UDP || transport == SIP_TCP || transport == SIP_WS;
}

/* Keys and profiles of one description. */
static void media_keys(struct trace *t, const struct message_view *v) {
    enum { STRONG = ~(1 << SDP_AES_CM_128_SHA1_32 | 1 << SDP_NULL_SHA1_80 | 1 << SDP_CRYPTO_UNKNOWN | 1 << SDP_CRYPTO_UNENCRYPTED) };
    for (uint32_t i = 0; i < v->session->media_count; i++) {
        const struct sdp_media *s = &v->media[i];
        const uint32_t line = t->messages.media_line[v->row] + i;
        if (!s->connection.port) continue;
        if (s->crypto_count) {
            if (in_clear(t, v)) sight_once(t, C_SRTP_CRYPTO_IN_CLEAR, v->call, v->row, line, t->messages.transport[v->row], s->crypto_count);
            if (!(s->crypto_suites & STRONG) || s->crypto_suites & 1 << SDP_CRYPTO_UNENCRYPTED)
                sight_once(t, C_SRTP_SUITE_WEAK, v->call, v->row, line, s->crypto_suites >> SDP_CRYPTO_UNENCRYPTED & 1, s->crypto_suites);
        }
        const int dtls = s->proto == SDP_UDP_TLS_RTP_SAVP || s->proto == SDP_UDP_TLS_RTP_SAVPF;
        if (dtls && (!(s->traits & SDP_FINGERPRINT) || s->setup == SDP_SETUP_NONE))
            sight_once(t, C_DTLS_FINGERPRINT_MISSING, v->call, v->row, line, s->traits & SDP_FINGERPRINT ? 2 : 1, 0);
    }
}

static void cleartext(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    if (!p->is_response) {
        if (v->request_uri.scheme_id == SIP_SCHEME_SIPS || v->contact.parsed.scheme_id == SIP_SCHEME_SIPS)
            sight_once(t, C_SIPS_BROKEN, v->call, v->row, NONE, t->messages.transport[v->row], v->request_uri.scheme_id == SIP_SCHEME_SIPS);
        if (v->source.kind == ADDRESS_PUBLIC && v->target.kind == ADDRESS_PUBLIC)
            sight_once(t, C_SIGNALING_CLEARTEXT, v->call, v->row, NONE, t->messages.transport[v->row], 0);
    }
    if (t->messages.target[v->row] != NONE && t->endpoints.flags[t->messages.target[v->row]] & ENDPOINT_TLS)
        sight_once(t, C_TLS_PLAIN_ON_TLS_PORT, v->call, v->row, NONE, v->target.port, 0);
    else if (v->target.port == 5061 && (t->messages.transport[v->row] == SIP_TCP) && !p->is_response)
        sight_once(t, C_TLS_PLAIN_ON_TLS_PORT, v->call, v->row, NONE, v->target.port, 0);
}

static void credentials(struct trace *t, const struct message_view *v) {
    static const int ids[] = {SIP_HEADER_AUTHORIZATION, SIP_HEADER_PROXY_AUTHORIZATION, SIP_HEADER_WWW_AUTHENTICATE, SIP_HEADER_PROXY_AUTHENTICATE};
    int md5_only = 0, seen = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t cursor = 0;
        struct sip_span value, algorithm;
        while (view_next(v, ids[i], &cursor, &value)) {
            if (value.length > 5 && has_word(v->text + value.offset, 6, "basic ")) sight_once(t, C_AUTH_CLEARTEXT_BASIC, v->call, v->row, NONE, 1, ids[i]);
            if (i < 2) continue;
            const int sha = sip_param_find(v->text, value, ',', "algorithm", &algorithm) && algorithm.length > 2 && (v->text[algorithm.offset] | 32) == 's';
            md5_only = seen ? md5_only && !sha : !sha;
            seen = 1;
        }
    }
    if (seen && md5_only) sight_once(t, C_AUTH_DIGEST_MD5, v->call, v->row, NONE, v->message->status, 0);
}

/* Tools whose only use is attack, by what they write. The list is data: word, then where (0 User-Agent, 1 From). */
static const struct { const char *word; uint8_t where, monitor; } SCANNERS[] = {
    {"friendly-scanner", 0, 0}, {"sipvicious", 0, 0}, {"sipcli", 0, 0}, {"vaxsipuseragent", 0, 0}, {"sundayddr", 0, 0}, {"sip-scan", 0, 0},
    {"smap", 0, 0}, {"pplsip", 0, 0}, {"iwar", 0, 0}, {"siparmyknife", 0, 0}, {"sipsak", 0, 1}, {"sipvicious", 1, 0}, {"100@1.1.1.1", 1, 0}};

static uint8_t scanner_in(const uint8_t *text, uint32_t length, uint8_t where) {
    for (size_t i = 0; i < sizeof SCANNERS / sizeof *SCANNERS; i++)
        if (SCANNERS[i].where == where && has_word(text, length < 256 ? length : 256, SCANNERS[i].word)) return (uint8_t)(i + 2);
    return 1;
}

/* A product token is judged once, however often it comes. */
static void scanners(struct trace *t, const struct message_view *v) {
    const uint32_t agent = t->messages.user_agent[v->row];
    uint8_t verdict = 1;
    if (agent != NONE) {
        if (!t->strings.verdict[agent]) t->strings.verdict[agent] = scanner_in(t->arena + t->strings.offset[agent], t->strings.length[agent], 0);
        verdict = t->strings.verdict[agent];
    }
    const struct sip_span display = v->from.display, host = v->from.parsed.host;
    const int odd_host = host.length == 7 && !memcmp(v->text + host.offset, "1.1.1.1", 7);
    if (verdict == 1 && (odd_host || (display.length >= 10 && (v->text[display.offset] | 32) == 's'))) {
        const struct sip_span from = view_header(v, SIP_HEADER_FROM);
        verdict = scanner_in(v->text + from.offset, from.length, 1);
    }
    if (verdict > 1) sight_once(t, C_SCANNER_UA, v->call, v->row, NONE, SCANNERS[verdict - 2].monitor, verdict - 2);
}

static void leaks(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    if (v->target.kind == ADDRESS_PUBLIC && v->source.kind == ADDRESS_PUBLIC) {
        const int via = address_is_private(v->via.sent_by.kind), contact = address_is_private(v->contact.parsed.address.kind);
        if (via || contact) sight_once(t, C_INTERNAL_ADDRESS_LEAK, v->call, v->row, NONE, via ? 1 : 2, 0);
        if (sip_has(p, SIP_HEADER_P_ASSERTED_IDENTITY) && sip_has(p, SIP_HEADER_PRIVACY) && span_has(v, view_header(v, SIP_HEADER_PRIVACY), "id"))
            sight_once(t, C_SENSITIVE_HEADER_LEAK, v->call, v->row, NONE, 1, 0);
    }
    for (uint32_t i = 0; sip_has(p, SIP_HEADER_OTHER) && i < p->header_count; i++) {
        const struct sip_header *h = &v->headers[i];
        if (h->id == SIP_HEADER_OTHER && h->name_length > 7 && has_word(v->text + h->name_offset, h->name_length, "passw"))
            sight_once(t, C_AUTH_CLEARTEXT_BASIC, v->call, v->row, NONE, 2, i);
    }
    if (v->from.parsed.password.length || v->request_uri.password.length || v->contact.parsed.password.length)
        sight_once(t, C_AUTH_CLEARTEXT_BASIC, v->call, v->row, NONE, 3, 0);
}

/* Marks of broken or hostile generators: counted a source in the trace hook, `value` is the defect word. */
static void malformed(struct trace *t, const struct message_view *v) {
    enum { BROKEN = SIP_CONTROL_BYTE | SIP_LENGTH_INVALID | SIP_LENGTH_CONFLICT | SIP_BAD_HEADER_LINE | SIP_VERSION_BAD |
                    SIP_STATUS_RANGE | SIP_STATUS_BAD | SIP_METHOD_BAD | SIP_TOO_MANY_HEADERS | SIP_QUOTE_UNBALANCED | SIP_URI_SPACES };
    if (v->message->flags & BROKEN) sight(t, C_MALFORMED_FUZZ, v->call, v->row, NONE, 0, v->message->flags & BROKEN);
}

static void stir(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    const uint16_t status = p->status;
    if (p->is_response) {
        if (status == 428) sight_once(t, C_STIR_IDENTITY_MISSING, v->call, v->row, NONE, status, 0);
        if (status == 403 && span_has(v, p->reason, "stale date")) sight_once(t, C_STIR_STALE, v->call, v->row, NONE, status, 0);
        if (status == 436) sight_once(t, C_STIR_CERT, v->call, v->row, NONE, status, 0);
        if (status == 437) sight_once(t, C_STIR_CERT, v->call, v->row, NONE, status, 0);
        if (status == 438) sight_once(t, C_STIR_BAD_PASSPORT, v->call, v->row, NONE, status, 0);
        return;
    }
    const struct sip_span from = view_header(v, SIP_HEADER_FROM), asserted = view_header(v, SIP_HEADER_P_ASSERTED_IDENTITY);
    if ((span_has(v, from, "verstat=") || span_has(v, asserted, "verstat=")) && !sip_has(p, SIP_HEADER_IDENTITY))
        sight_once(t, C_VERSTAT_UNTRUSTED, v->call, v->row, NONE, 0, 0);
    /* Contents are judged in Python; this only says which INVITEs carry one */
    if (sip_has(p, SIP_HEADER_IDENTITY) && !v->to.tag.length) sight_once(t, C_STIR_ATTEST, v->call, v->row, NONE, 0, 0);
}

void security_message(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    if (v->session) media_keys(t, v);
    if (in_clear(t, v)) cleartext(t, v);
    if (sip_has(p, SIP_HEADER_AUTHORIZATION) || sip_has(p, SIP_HEADER_PROXY_AUTHORIZATION) || p->status == 401 || p->status == 407)
        credentials(t, v);
    if (!p->is_response) scanners(t, v);
    leaks(t, v);
    malformed(t, v);
    if (p->is_response ? p->status == 403 || (p->status >= 428 && p->status <= 438) : p->method == SIP_METHOD_INVITE) stir(t, v);
}

/* ---- one call ---- */

static int speaks_srtp(const struct media_lines_table *l, uint32_t line) {
    const uint8_t proto = l->proto[line];
    return l->crypto_count[line] || l->traits[line] & SDP_FINGERPRINT || proto == SDP_RTP_SAVP || proto == SDP_RTP_SAVPF ||
           proto == SDP_UDP_TLS_RTP_SAVP || proto == SDP_UDP_TLS_RTP_SAVPF;
}

static void agreed_media(struct trace *t, const struct call_view *c) {
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t offer = t->calls.offer_line[c->call], answer = t->calls.answer_line[c->call];
    if (offer == NONE || answer == NONE || !l->port[answer] || l->media[answer] != SDP_AUDIO) return;
    const uint32_t row = l->message[answer], other = l->message[offer];
    const int offered = speaks_srtp(l, offer), answered = speaks_srtp(l, answer);
    if (!answered && !offered && t->calls.answer_row[c->call] != NONE) {
        const uint8_t transport = t->messages.transport[row];
        sight_once(t, C_SRTP_NOT_USED, c->call, row, other, transport == SIP_TLS || transport == SIP_WSS, 0);
    }
    const int only_srtp = l->proto[offer] == SDP_RTP_SAVP || l->proto[offer] == SDP_RTP_SAVPF || l->proto[offer] == SDP_UDP_TLS_RTP_SAVPF;
    if (offered && !answered) sight_once(t, C_SRTP_DOWNGRADE, c->call, row, other, only_srtp, 0);
    if (l->crypto_key_hash[offer] && l->crypto_key_hash[offer] == l->crypto_key_hash[answer]) sight_once(t, C_SRTP_KEY_REUSE, c->call, row, other, 1, 0);
    const uint8_t a = l->setup[offer], b = l->setup[answer];
    if (l->traits[offer] & l->traits[answer] & SDP_FINGERPRINT && a && b &&
        (b == SDP_ACTPASS || (a == SDP_ACTIVE && b == SDP_ACTIVE) || (a == SDP_PASSIVE && b == SDP_PASSIVE)))
        sight_once(t, C_DTLS_SETUP_CONFLICT, c->call, row, other, b, a);
}

/* Two sources of RTP to one port during a call (RTP injection), and a sender that answers to the wrong one (bleed). */
static void strange_media(struct trace *t, const struct call_view *c) {
    const struct streams_table *s = &t->streams;
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t row = c->streams[i], before = s->previous_target_stream[row];
        if (!(s->flags[row] & RTP_SECOND_SOURCE) || before == NONE || s->packets[row] < 5) continue;
        if (host_of(t, s->source_endpoint[row]) == host_of(t, s->source_endpoint[before])) continue;
        /* the stranger is the one that no description announced */
        const int announced = s->sender_media_line[row] != NONE, other = s->sender_media_line[before] != NONE;
        if (announced && other) continue;
        const uint32_t stranger = announced ? before : row;
        sight_once(t, C_RTP_INJECTION, c->call, stranger, stranger == row ? before : row, 0, s->packets[stranger]);
        for (uint32_t k = 0; k < c->stream_count; k++)
            if (s->target_endpoint[c->streams[k]] == s->source_endpoint[stranger])
                sight_once(t, C_RTP_BLEED, c->call, c->streams[k], stranger, 0, s->packets[c->streams[k]]);
    }
}

/* A transfer or redirection that a stranger asked for and that leads abroad. */
static void fraudulent_transfer(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    for (uint32_t i = 0; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i, request = x->first[at];
        const int transfer = x->method[at] == SIP_METHOD_REFER && x->status[at] / 100 == 2;
        const int redirect = x->status[at] / 100 == 3 && x->method[at] == SIP_METHOD_INVITE;
        if ((!transfer && !redirect) || request == NONE) continue;
        const uint32_t row = transfer ? request : x->final[at];
        struct sip_message p;
        struct sip_header headers[96];
        uint32_t length;
        const uint8_t *text = trace_text(t, row, &length);
        const int id = transfer ? SIP_HEADER_REFER_TO : SIP_HEADER_CONTACT;
        if (sip_scan(text, length, SIP_DATAGRAM, &p, headers, 96) < 0 || !sip_has(&p, id)) continue;
        const struct sip_header *h = &headers[p.first[id]];
        struct sip_address target;
        sip_address_parse(text, (struct sip_span){h->value_offset, h->value_length}, &target);
        const uint8_t *user = text + target.parsed.user.offset;
        const uint32_t n = target.parsed.user.length;
        const int abroad = n > 7 && ((user[0] == '0' && user[1] == '0') || (user[0] == '0' && user[1] == '1' && user[2] == '1'));
        const uint32_t source = t->messages.source[row];
        if (abroad && source != NONE && t->endpoints.kind[source] == ADDRESS_PUBLIC)
            sight_once(t, C_REFER_FRAUD, c->call, row, NONE, redirect, 0);
    }
}

void security_call(struct trace *t, const struct call_view *c) {
    if (t->calls.kind[c->call] != CALL_INVITE) return;
    agreed_media(t, c);
    if (c->stream_count > 1) strange_media(t, c);
    fraudulent_transfer(t, c);
}

/* ---- sources over the whole trace ---- */

struct attacker {
    uint32_t requests, refused, users, failures, accepted, invites, quick_cancels, example, failed_example, malformed;
    uint32_t user_ring[16];
    int64_t second, first_failure_ns;
    uint32_t in_second, worst_second, worst_row;
    uint32_t abroad, abroad_example, streak;
};

static void count_user(struct attacker *a, uint32_t user) {
    for (uint32_t i = 0; i < 16; i++)
        if (a->user_ring[i] == user) return;
    a->user_ring[a->users++ & 15] = user;
}

/* Country codes and prefixes that satellite, shared-cost and premium services use: dialled behind +, 00 or 011. */
static int high_risk(const uint8_t *digits, uint32_t n) {
    static const char *const prefixes[] = {"881", "882", "883", "870", "979", "808", "247", "290", "500", "670", "675", "677", "682", "960"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (n > 6 && !memcmp(digits, prefixes[i], 3)) return i < 5 ? 2 : 1;
    return 0;
}

/* The number dialled without its international prefix; *n 0 when it is no international one. */
static const uint8_t *international(const struct trace *t, uint32_t row, uint32_t *n) {
    uint32_t length;
    const uint8_t *text = trace_text(t, row, &length);
    *n = 0;
    /* the Request-URI stands between the first two spaces of a request that was scanned before */
    const uint8_t *space = memchr(text, ' ', length);
    if (!space) return NULL;
    const uint32_t from = (uint32_t)(space + 1 - text);
    const uint8_t *behind = memchr(text + from, ' ', length - from);
    if (!behind) return NULL;
    struct sip_uri uri;
    sip_uri_parse(text, (struct sip_span){from, (uint32_t)(behind - text) - from}, &uri);
    const uint8_t *s = text + uri.user.offset;
    uint32_t skip = 0;
    const uint32_t count = uri.user.length;
    if (count > 8 && s[0] == '+') skip = 1;
    else if (count > 9 && s[0] == '0' && s[1] == '0') skip = s[2] == '0' ? 3 : 2;
    else if (count > 10 && !memcmp(s, "011", 3)) skip = 3;
    else if (count > 11 && !memcmp(s, "9011", 4)) skip = 4;
    if (!skip) return NULL;
    *n = count - skip;
    return s + skip;
}

static void count_requests(struct trace *t, struct attacker *all) {
    const struct messages_table *m = &t->messages;
    for (uint32_t row = 0; row < m->head.count; row++) {
        if (m->status[row] || m->flags[row] & (MESSAGE_MIRRORED | MESSAGE_RETRANSMISSION)) continue;
        const uint32_t host = host_of(t, m->source[row]);
        if (host == NONE) continue;
        struct attacker *a = &all[host];
        a->requests++;
        const int64_t second = m->time_ns[row] / 1000000000;
        if (second != a->second) { a->second = second; a->in_second = 0; }
        if (++a->in_second > a->worst_second) { a->worst_second = a->in_second; a->worst_row = row; }
    }
}

static void count_calls(struct trace *t, struct attacker *all) {
    const struct calls_table *c = &t->calls;
    for (uint32_t call = 0; call < c->head.count; call++) {
        const uint32_t host = host_of(t, c->caller[call]), row = c->invite_row[call];
        if (host == NONE) continue;
        struct attacker *a = &all[host];
        const uint16_t status = c->final_status[call];
        const uint32_t first = t->call_messages[c->first_message[call]];
        const uint32_t user = c->kind[call] == CALL_REGISTER ? t->messages.to_user_hash[first] : c->to_user_hash[call] ? c->to_user_hash[call] : t->messages.request_uri_hash[first];
        count_user(a, user);
        if (status >= 400 || c->outcome[call] == OUTCOME_NO_RESPONSE) { a->refused++; a->example = call; }
        if (row == NONE) continue;
        a->invites++;
        if (c->outcome[call] == OUTCOME_CANCELLED && c->ring_ms[call] >= 0 && c->ring_ms[call] < 3000) a->quick_cancels++;
        uint32_t n;
        const uint8_t *digits = c->answer_row[call] != NONE ? international(t, row, &n) : NULL;
        if (digits && high_risk(digits, n)) {
            if (!a->abroad++) a->abroad_example = call;
        }
    }
}

/* Failed digest attempts: credentials that met a new challenge or 403. */
static void count_failures(struct trace *t, struct attacker *all) {
    const struct transactions_table *x = &t->transactions;
    for (uint32_t at = 0; at < x->head.count; at++) {
        const uint32_t host = host_of(t, x->source[at]), request = x->first[at];
        if (host == NONE || request == NONE || !(x->flags[at] & TRANSACTION_CREDENTIALS)) continue;
        struct attacker *a = &all[host];
        const uint16_t status = x->status[at];
        if (status == 401 || status == 407 || status == 403) {
            const int64_t now = t->messages.time_ns[request];
            if (!a->streak || now - a->first_failure_ns > 300000000000ll) { a->first_failure_ns = now; a->streak = 0; }
            a->streak++;
            if (a->streak > a->failures) { a->failures = a->streak; a->failed_example = request; }
        } else if (status / 100 == 2) {
            if (a->failures >= 5 && !a->accepted)
                sight(t, C_ACCOUNT_COMPROMISED, t->messages.call[request], x->final[at], a->failed_example, status, a->failures);
            a->accepted++;
            a->streak = 0;
        }
    }
}

static void judge_sources(struct trace *t) {
    const uint32_t hosts = t->endpoints.head.count;
    struct attacker *all = t->lender->lend(((size_t)hosts + 1) * sizeof *all);
    if (!all) return;
    if (!t->no_time) count_requests(t, all);
    count_calls(t, all);
    count_failures(t, all);
    const struct sightings_table *s = &t->sightings;
    for (uint32_t i = 0; i < s->head.count; i++) {
        if (s->condition[i] != C_MALFORMED_FUZZ) continue;
        const uint32_t host = host_of(t, t->messages.source[s->row[i]]);
        if (host != NONE) all[host].malformed++;
    }
    for (uint32_t host = 0; host < hosts; host++) {
        const struct attacker *a = &all[host];
        const uint32_t call = a->example;
        if (a->users >= 10 && a->refused * 10 >= (a->invites > a->requests ? a->invites : a->users) * 8 && a->refused >= 10)
            sight(t, C_SCANNER_PATTERN, call, t->call_messages[t->calls.first_message[call]], host, (int)(a->users > 65535 ? 65535 : a->users), a->refused);
        if (a->failures >= 10) sight(t, C_BRUTE_FORCE, t->messages.call[a->failed_example], a->failed_example, host, 0, a->failures);
        if (a->worst_second > 50)
            sight(t, C_INVITE_FLOOD, t->messages.call[a->worst_row], a->worst_row, host, a->worst_second > 500, a->worst_second);
        if (a->invites >= 10 && a->quick_cancels * 2 > a->invites && a->users >= 10)
            sight(t, C_WANGIRI_PATTERN, call, t->call_messages[t->calls.first_message[call]], host, 0, a->quick_cancels);
        if (a->abroad) {
            const uint32_t fraud = a->abroad_example;
            sight(t, C_TOLL_FRAUD_PATTERN, fraud, t->calls.invite_row[fraud], host, 1, a->abroad);
        }
    }
    t->lender->take_back(all);
}

/* One number dialled with several prefixes by one source: 00, 011, 9011, +, 900... Keyed by source and last nine digits. */
struct dialled { uint64_t key; uint32_t variants, call; uint8_t lengths[8]; };

static void prefix_hunting(struct trace *t) {
    const struct calls_table *c = &t->calls;
    uint32_t size = 64;
    while (size < c->head.count * 2 && size < 1u << 24) size *= 2;
    struct dialled *all = t->lender->lend((size_t)size * sizeof *all);
    if (!all) return;
    for (uint32_t call = 0, used = 0; call < c->head.count && used < size / 2; call++) {
        const uint32_t row = c->invite_row[call], host = host_of(t, c->caller[call]);
        if (row == NONE || host == NONE || c->final_status[call] < 400) continue;
        uint32_t length;
        const uint8_t *text = trace_text(t, row, &length);
        const uint8_t *colon = memchr(text, ':', length < 32 ? length : 32), *at = memchr(text, '@', length < 128 ? length : 128);
        if (!colon || !at || at - colon < 11) continue;
        const uint64_t key = (sip_hash(at - 9, 9, t->hash_seed) ^ (uint64_t)host << 20) | 1;
        uint32_t place = (uint32_t)(key >> 30) & (size - 1);
        while (all[place].key && all[place].key != key) place = (place + 1) & (size - 1);
        struct dialled *d = &all[place];
        if (!d->key) { d->key = key; used++; }
        const uint8_t digits = (uint8_t)(at - colon > 255 ? 255 : at - colon);
        uint32_t k = 0;
        while (k < d->variants && k < 8 && d->lengths[k] != digits) k++;
        if (k == d->variants && k < 8) { d->lengths[k] = digits; d->variants++; d->call = call; }
        if (d->variants == 4) sight_once(t, C_TOLL_FRAUD_PATTERN, call, row, host, 2, d->variants);
    }
    t->lender->take_back(all);
}

/* A request that a public source got through without ever being challenged, at a server that challenges others. */
static void unchallenged(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t hosts = t->endpoints.head.count;
    uint8_t *challenges = t->lender->lend((size_t)hosts + 1);
    if (!challenges) return;
    for (uint32_t at = 0; at < x->head.count; at++)
        if (x->flags[at] & TRANSACTION_CHALLENGED && x->target[at] != NONE) challenges[host_of(t, x->target[at])] = 1;
    for (uint32_t call = 0; call < t->calls.head.count; call++) {
        const uint32_t first = t->call_messages[t->calls.first_message[call]], target = t->calls.callee[call], source = t->calls.caller[call];
        if (target == NONE || source == NONE || t->endpoints.kind[source] != ADDRESS_PUBLIC || t->messages.flags[first] & MESSAGE_ADDRESS_INFERRED) continue;
        const int registered = t->calls.kind[call] == CALL_REGISTER && t->calls.final_status[call] / 100 == 2;
        if (!registered || t->calls.flags[call] & CALL_PARTIAL_START) continue;
        if (t->messages.flags[first] & MESSAGE_CREDENTIALS || t->calls.transaction_count[call] > 1) continue;
        sight_once(t, C_AUTH_NO_CHALLENGE, call, t->calls.final_row[call], first, 1, challenges[host_of(t, target)]);
    }
    t->lender->take_back(challenges);
}

/* An inline key of one call found in another. */
static void reused_keys(struct trace *t) {
    const struct media_lines_table *l = &t->media_lines;
    uint32_t keyed = 0, size = 64;
    for (uint32_t line = 0; line < l->head.count; line++) keyed += l->crypto_key_hash[line] != 0;
    if (keyed < 2) return;
    while (size < keyed * 2) size *= 2;
    uint32_t *lines = t->lender->lend((size_t)size * sizeof *lines);
    if (!lines) return;
    for (uint32_t line = 0; line < l->head.count; line++) {
        if (!l->crypto_key_hash[line]) continue;
        uint32_t place = l->crypto_key_hash[line] & (size - 1);
        while (lines[place] && l->crypto_key_hash[lines[place] - 1] != l->crypto_key_hash[line]) place = (place + 1) & (size - 1);
        const uint32_t before = lines[place] ? lines[place] - 1 : NONE;
        if (before == NONE) lines[place] = line + 1;
        else if (l->call[before] != l->call[line] && t->calls.group[l->call[before]] != t->calls.group[l->call[line]])
            sight_once(t, C_SRTP_KEY_REUSE, l->call[line], l->message[line], l->message[before], 2, 0);
    }
    t->lender->take_back(lines);
}

/* Our own domain in From, from a source that never registered nor was answered as one of ours. */
static void spoofed(struct trace *t) {
    const struct calls_table *c = &t->calls;
    const struct messages_table *m = &t->messages;
    for (uint32_t call = 0; call < c->head.count; call++) {
        const uint32_t row = c->invite_row[call];
        if (row == NONE || c->caller[call] == NONE || c->callee[call] == NONE || m->flags[row] & MESSAGE_ADDRESS_INFERRED) continue;
        if (t->endpoints.kind[c->caller[call]] != ADDRESS_PUBLIC || c->answer_row[call] != NONE || c->final_status[call] < 400) continue;
        uint32_t length;
        const uint8_t *text = trace_text(t, row, &length);
        struct sip_message p;
        struct sip_header headers[64];
        if (sip_scan(text, length, SIP_DATAGRAM, &p, headers, 64) < 0 || !sip_has(&p, SIP_HEADER_FROM)) continue;
        const struct sip_header *h = &headers[p.first[SIP_HEADER_FROM]];
        struct sip_address from;
        struct sip_uri uri;
        sip_address_parse(text, (struct sip_span){h->value_offset, h->value_length}, &from);
        sip_uri_parse(text, p.request_uri, &uri);
        const int same = from.parsed.host.length == uri.host.length && uri.host.length &&
                         !memcmp(text + from.parsed.host.offset, text + uri.host.offset, uri.host.length);
        const int at_server = uri.address.family && t->endpoints.ip_low[c->callee[call]] && from.parsed.address.family &&
                              !memcmp(from.parsed.address.ip, uri.address.ip, 16);
        if (same && (at_server || c->final_status[call] == 403 || c->final_status[call] == 401 || c->final_status[call] == 407))
            sight_once(t, C_SPOOFED_INVITE, call, row, c->final_row[call], c->final_status[call], 0);
    }
}

/* A nonce taken again with the same count and client nonce is found by whole header equality: same digest, other request. */
struct seen_digest { uint64_t key; uint32_t row; };

static void reused_nonces(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    uint32_t used = 0, size = 64;
    for (uint32_t at = 0; at < x->head.count; at++) used += (x->flags[at] & TRANSACTION_CREDENTIALS) && x->status[at] / 100 == 2;
    if (used < 2) return;
    while (size < used * 2) size *= 2;
    struct seen_digest *all = t->lender->lend((size_t)size * sizeof *all);
    if (!all) return;
    for (uint32_t at = 0; at < x->head.count; at++) {
        const uint32_t row = x->first[at];
        if (!(x->flags[at] & TRANSACTION_CREDENTIALS) || x->status[at] / 100 != 2 || row == NONE) continue;
        uint32_t length;
        const uint8_t *text = trace_text(t, row, &length);
        struct sip_message p;
        struct sip_header headers[96];
        if (sip_scan(text, length, SIP_DATAGRAM, &p, headers, 96) < 0) continue;
        const int id = sip_has(&p, SIP_HEADER_AUTHORIZATION) ? SIP_HEADER_AUTHORIZATION : SIP_HEADER_PROXY_AUTHORIZATION;
        if (!sip_has(&p, id)) continue;
        const struct sip_header *h = &headers[p.first[id]];
        struct sip_span nonce, nc, cnonce;
        const struct sip_span value = {h->value_offset, h->value_length};
        if (!sip_param_find(text, value, ',', "cnonce", &cnonce) || !sip_param_find(text, value, ',', "nc", &nc)) continue;
        /* the nonce may be the header's first parameter, behind the scheme's space */
        if (!sip_param_find(text, value, ',', "nonce", &nonce)) continue;
        uint64_t key = sip_hash(text + nonce.offset, nonce.length, 1);
        key = sip_hash(text + nc.offset, nc.length, key);
        key = sip_hash(text + cnonce.offset, cnonce.length, key) | 1;
        uint32_t place = (uint32_t)(key >> 32) & (size - 1);
        while (all[place].key && all[place].key != key) place = (place + 1) & (size - 1);
        const uint32_t before = all[place].key ? all[place].row : NONE;
        if (before == NONE) all[place] = (struct seen_digest){key, row};
        else if (t->messages.cseq[before] != t->messages.cseq[row] || t->messages.call[before] != t->messages.call[row])
            sight_once(t, C_AUTH_NONCE_REUSE, t->messages.call[row], row, before, 0, 0);
    }
    t->lender->take_back(all);
}

/* Trunks on which most INVITEs are signed, and the ones that are not. */
static void unsigned_calls(struct trace *t) {
    const uint32_t hosts = t->endpoints.head.count;
    const struct messages_table *m = &t->messages;
    uint32_t *signed_calls = t->lender->lend(((size_t)hosts + 1) * 2 * sizeof *signed_calls);
    if (!signed_calls) return;
    uint32_t *other_calls = signed_calls + hosts + 1;
    for (int round = 0; round < 2; round++)
        for (uint32_t call = 0; call < t->calls.head.count; call++) {
            const uint32_t row = t->calls.invite_row[call], host = host_of(t, t->calls.caller[call]);
            if (row == NONE || host == NONE) continue;
            const int is_signed = (m->flags[row] & MESSAGE_IDENTITY) != 0;
            if (!round) {
                if (is_signed) signed_calls[host]++;
                else other_calls[host]++;
            } else if (!is_signed && signed_calls[host] >= 3 && signed_calls[host] > other_calls[host])
                sight_once(t, C_STIR_IDENTITY_MISSING, call, row, NONE, 0, signed_calls[host]);
        }
    t->lender->take_back(signed_calls);
}

void security_trace(struct trace *t) {
    if (!t->messages.head.count) return;
    judge_sources(t);
    prefix_hunting(t);
    unchallenged(t);
    reused_keys(t);
    spoofed(t);
    reused_nonces(t);
    if (t->condition_count[C_STIR_ATTEST]) unsigned_calls(t);
}

/* Authentication and registration: challenges, credentials, bindings (rule page 3.7). */
#include <string.h>

#include "trace.h"

/* ---- what a challenge or credentials header says ---- */

struct digest {
    struct sip_span scheme, realm, nonce, username, uri, algorithm, qop, nc, cnonce, response;
    uint64_t realm_hash, nonce_hash, uri_hash;
    int64_t nonce_count;
    uint8_t strong; /* SHA-256 or SHA-512-256 */
};

static int equals(const uint8_t *text, struct sip_span span, const char *word) {
    const size_t length = strlen(word);
    if (span.length != length) return 0;
    for (size_t i = 0; i < length; i++)
        if ((text[span.offset + i] | 32) != (uint8_t)(word[i] | 32)) return 0;
    return 1;
}

static int64_t hexadecimal(const uint8_t *text, struct sip_span span) {
    int64_t value = 0;
    if (!span.length || span.length > 8) return -1;
    for (uint32_t i = 0; i < span.length; i++) {
        const uint8_t c = text[span.offset + i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static void parse_digest(const struct trace *t, const uint8_t *text, struct sip_span value, struct digest *d) {
    memset(d, 0, sizeof *d);
    uint32_t n = 0;
    while (n < value.length && text[value.offset + n] != ' ' && text[value.offset + n] != '\t') n++;
    d->scheme = (struct sip_span){value.offset, n};
    const struct sip_span list = {value.offset + n, value.length - n};
    sip_param_find(text, list, ',', "realm", &d->realm);
    sip_param_find(text, list, ',', "nonce", &d->nonce);
    sip_param_find(text, list, ',', "username", &d->username);
    sip_param_find(text, list, ',', "uri", &d->uri);
    sip_param_find(text, list, ',', "algorithm", &d->algorithm);
    sip_param_find(text, list, ',', "qop", &d->qop);
    sip_param_find(text, list, ',', "nc", &d->nc);
    sip_param_find(text, list, ',', "cnonce", &d->cnonce);
    sip_param_find(text, list, ',', "response", &d->response);
    if (d->realm.length) d->realm_hash = sip_hash_folded(text + d->realm.offset, d->realm.length, t->hash_seed);
    if (d->nonce.length) d->nonce_hash = sip_hash(text + d->nonce.offset, d->nonce.length, t->hash_seed);
    if (d->uri.length) d->uri_hash = sip_hash(text + d->uri.offset, d->uri.length, t->hash_seed);
    d->nonce_count = hexadecimal(text, d->nc);
    d->strong = d->algorithm.length > 2 && (text[d->algorithm.offset] | 32) == 's';
}

struct parsed { const uint8_t *text; struct sip_message message; struct sip_header headers[96]; };

static int parse_row(const struct trace *t, uint32_t row, struct parsed *p) {
    uint32_t length;
    if (row == NONE) return 0;
    p->text = trace_text(t, row, &length);
    return sip_scan(p->text, length, SIP_DATAGRAM, &p->message, p->headers, 96) >= 0;
}

static struct sip_span first_value(const struct parsed *p, int id) {
    if (!sip_has(&p->message, id)) return (struct sip_span){0, 0};
    const struct sip_header *h = &p->headers[p->message.first[id]];
    return (struct sip_span){h->value_offset, h->value_length};
}

/* ---- single messages ---- */

static void challenge_faults(struct trace *t, const struct message_view *v) {
    const int id = v->message->status == 401 ? SIP_HEADER_WWW_AUTHENTICATE : SIP_HEADER_PROXY_AUTHENTICATE;
    const struct sip_span value = view_header(v, id);
    struct digest d;
    if (!value.length) return;
    parse_digest(t, v->text, value, &d);
    if (equals(v->text, d.scheme, "Digest") && !d.qop.length) sight_once(t, C_AUTH_QOP_MISSING, v->call, v->row, NONE, 1, 0);
}

static void register_message(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    const uint32_t row = v->row;
    if (t->messages.flags[row] & MESSAGE_CONTACT_STAR && t->messages.expires_s[row] != 0)
        sight_once(t, C_REGISTER_WILDCARD_ERROR, v->call, row, NONE, 0, t->messages.expires_s[row]);
    if (p->is_response) return;
    const struct sip_span a = v->from.parsed.user, b = v->to.parsed.user;
    const struct sip_span h = v->from.parsed.host, k = v->to.parsed.host;
    if (a.length && b.length && (a.length != b.length || memcmp(v->text + a.offset, v->text + b.offset, a.length) ||
                                 (h.length == k.length && memcmp(v->text + h.offset, v->text + k.offset, h.length))))
        sight_once(t, C_REGISTER_THIRD_PARTY, v->call, row, NONE, 0, 0);
}

void auth_message(struct trace *t, const struct message_view *v) {
    const uint16_t status = v->message->status;
    if (status == 401 || status == 407) challenge_faults(t, v);
    if (t->messages.method[v->row] == SIP_METHOD_REGISTER) register_message(t, v);
    if (status == 439 || (status == 421 && t->messages.method[v->row] == SIP_METHOD_REGISTER))
        sight_once(t, C_OUTBOUND_421_439, v->call, v->row, NONE, status, 0);
}

/* ---- one challenged transaction and the one that answers it ---- */

static uint32_t retry_of(const struct trace *t, const struct call_view *c, uint32_t at) {
    const uint32_t end = c->first_transaction + c->transaction_count;
    for (uint32_t next = at + 1; next < end && next < at + 32; next++)
        if (t->transactions.retry_of[next] == at) return next;
    return NONE;
}

static void compare_digests(struct trace *t, const struct call_view *c, uint32_t at, uint32_t next) {
    const struct transactions_table *x = &t->transactions;
    struct parsed challenge, answer;
    if (!parse_row(t, x->final[at], &challenge) || !parse_row(t, x->first[next], &answer)) return;
    const int www = x->status[at] == 401;
    const int asked = www ? SIP_HEADER_WWW_AUTHENTICATE : SIP_HEADER_PROXY_AUTHENTICATE;
    const int given = www ? SIP_HEADER_AUTHORIZATION : SIP_HEADER_PROXY_AUTHORIZATION;
    const int other = www ? SIP_HEADER_PROXY_AUTHORIZATION : SIP_HEADER_AUTHORIZATION;
    const uint32_t request = x->first[next], reply = x->final[at];
    const int refused = x->status[next] >= 400;
    if (!sip_has(&answer.message, given)) {
        if (sip_has(&answer.message, other) && (!parse_row(t, x->first[at], &challenge) || !sip_has(&challenge.message, other)))
            sight_once(t, C_AUTH_HEADER_WRONG_TYPE, c->call, request, reply, x->status[at], 0);
        return;
    }
    struct digest d, a;
    parse_digest(t, challenge.text, first_value(&challenge, asked), &d);
    parse_digest(t, answer.text, first_value(&answer, given), &a);
    const int many = challenge.message.repeats[asked] > 1 || answer.message.repeats[given] > 1;
    if (d.realm_hash && a.realm_hash && d.realm_hash != a.realm_hash && !many)
        sight_once(t, C_AUTH_REALM_MISMATCH, c->call, request, reply, x->status[at], 0);
    const struct sip_span uri = answer.message.request_uri;
    if (refused && a.uri.length && (a.uri.length != uri.length || memcmp(answer.text + a.uri.offset, answer.text + uri.offset, uri.length)))
        sight_once(t, C_AUTH_URI_MISMATCH, c->call, request, x->final[next], x->status[next], 0);
    if (d.strong && !many && a.response.length && !a.strong)
        sight_once(t, C_AUTH_ALGORITHM_UNSUPPORTED, c->call, request, reply, 2, 0);
    if (t->messages.cseq[request] <= t->messages.cseq[x->first[at] == NONE ? request : x->first[at]] && x->first[at] != NONE && x->first[at] != request)
        sight_once(t, C_AUTH_CSEQ_NOT_INCREMENTED, c->call, request, x->first[at], 0, t->messages.cseq[request]);
}

/* The same nonce used again must count up (RFC 7616 §3.4). */
static void nonce_counts(struct trace *t, const struct call_view *c) {
    const struct messages_table *m = &t->messages;
    uint64_t nonce = 0;
    int64_t count = -1;
    uint32_t before = NONE, looked = 0;
    for (uint32_t i = 0; i < c->count && looked < 64; i++) {
        const uint32_t row = c->rows[i];
        struct parsed p;
        if (m->status[row] || !(m->flags[row] & MESSAGE_CREDENTIALS) || m->retransmission_of[row] != NONE) continue;
        /* an ACK and a CANCEL repeat the credentials of their INVITE (RFC 3261 §22.1) */
        if (m->method[row] == SIP_METHOD_ACK || m->method[row] == SIP_METHOD_CANCEL) continue;
        looked++;
        if (!parse_row(t, row, &p)) continue;
        const int id = sip_has(&p.message, SIP_HEADER_AUTHORIZATION) ? SIP_HEADER_AUTHORIZATION : SIP_HEADER_PROXY_AUTHORIZATION;
        struct digest d;
        parse_digest(t, p.text, first_value(&p, id), &d);
        if (before != NONE && d.nonce_hash == nonce && d.nonce_count >= 0 && d.nonce_count <= count &&
            m->cseq[row] != m->cseq[before] && m->source[row] == m->source[before])
            sight_once(t, C_AUTH_QOP_MISSING, c->call, row, before, 2, d.nonce_count);
        if (d.nonce_hash && (d.nonce_hash != nonce || d.nonce_count > count)) { nonce = d.nonce_hash; count = d.nonce_count; before = row; }
    }
}

static void offered_algorithms(struct trace *t, const struct call_view *c, uint32_t at) {
    struct parsed p;
    if (!parse_row(t, t->transactions.final[at], &p)) return;
    const int id = t->transactions.status[at] == 401 ? SIP_HEADER_WWW_AUTHENTICATE : SIP_HEADER_PROXY_AUTHENTICATE;
    if (!sip_has(&p.message, id) || p.message.repeats[id] > 1) return;
    struct digest d;
    parse_digest(t, p.text, first_value(&p, id), &d);
    if (d.strong) sight_once(t, C_AUTH_ALGORITHM_UNSUPPORTED, c->call, t->transactions.final[at], NONE, 1, 0);
}

/* Challenge after challenge: who repeats, with what, and how it ends. */
static void challenges(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t end = c->first_transaction + c->transaction_count;
    uint32_t refused_again = 0, stale = 0, last = NONE, success = 0;
    for (uint32_t at = c->first_transaction; at < end && at < c->first_transaction + 256; at++) {
        const uint16_t status = x->status[at];
        const int credentials = x->flags[at] & TRANSACTION_CREDENTIALS;
        if (credentials && status / 100 == 2) success = 1;
        if (!(x->flags[at] & TRANSACTION_CHALLENGED) || x->first[at] == NONE) {
            if (credentials && status == 403 && x->method[at] != SIP_METHOD_BYE)
                sight_once(t, C_AUTH_WRONG_CREDENTIALS, c->call, x->final[at], x->first[at], status, 0);
            if (credentials && (status == 404 || (status == 403 && x->retry_of[at] == NONE)) && !(x->flags[at] & TRANSACTION_IN_DIALOG))
                sight_once(t, C_AUTH_USERNAME_UNKNOWN, c->call, x->final[at], x->first[at], status, 0);
            continue;
        }
        const int is_stale = (t->messages.flags[x->final[at]] & MESSAGE_STALE) != 0;
        stale += (uint32_t)is_stale;
        last = x->final[at];
        if (credentials && !is_stale && x->retry_of[at] != NONE) {
            refused_again++;
            sight_once(t, C_AUTH_WRONG_CREDENTIALS, c->call, x->final[at], x->first[at], status, 0);
        }
        const uint32_t next = retry_of(t, c, at);
        if (next != NONE) compare_digests(t, c, at, next);
        else if (!credentials && call_absence_holds(t, c->call, t->messages.time_ns[x->final[at]], 4000) && !(x->flags[at] & TRANSACTION_IN_DIALOG)) {
            sight_once(t, C_AUTH_NO_CREDENTIALS, c->call, x->final[at], x->first[at], status, 0);
            offered_algorithms(t, c, at);
        }
        if (x->flags[at] & TRANSACTION_IN_DIALOG && next == NONE && (x->method[at] == SIP_METHOD_BYE || x->method[at] == SIP_METHOD_INVITE))
            sight_once(t, C_AUTH_ACK_BYE_CHALLENGED, c->call, x->final[at], x->first[at], status, x->method[at]);
    }
    if (refused_again >= 2 && last != NONE) sight_once(t, C_AUTH_LOOP, c->call, last, NONE, (int)success, refused_again + 1);
    if (stale >= 3 && last != NONE) sight_once(t, C_AUTH_STALE_LOOP, c->call, last, NONE, 0, stale);
}

/* ---- one registration ---- */

/* Does the 200 list the Contact that was registered? Compared by user and host: ports may be rewritten behind NAT. */
static int lists_contact(const struct parsed *request, const struct parsed *reply) {
    struct sip_address wanted, listed;
    sip_address_parse(request->text, first_value(request, SIP_HEADER_CONTACT), &wanted);
    const struct sip_span user = wanted.parsed.user;
    for (uint32_t i = 0, seen = 0; i < reply->message.header_count; i++) {
        if (reply->headers[i].id != SIP_HEADER_CONTACT) continue;
        const struct sip_span value = {reply->headers[i].value_offset, reply->headers[i].value_length};
        struct sip_span element;
        uint32_t step = 0;
        while (seen++ < 64 && sip_list_next(reply->text, value, &step, &element)) {
            sip_address_parse(reply->text, element, &listed);
            if (listed.parsed.user.length == user.length &&
                !memcmp(reply->text + listed.parsed.user.offset, request->text + user.offset, user.length))
                return 1;
        }
    }
    return 0;
}

/* Seconds that a 2xx to REGISTER granted: the Contact's own expires, else the Expires header; -1 unknown. */
static int64_t granted_s(const struct trace *t, uint32_t final, const struct parsed *reply) {
    struct sip_address contact;
    struct sip_span expires;
    int64_t seconds;
    sip_address_parse(reply->text, first_value(reply, SIP_HEADER_CONTACT), &contact);
    if (sip_param_find(reply->text, contact.parameters, ';', "expires", &expires) && sip_number(reply->text, expires, &seconds))
        return seconds;
    return t->messages.expires_s[final];
}

static void granted_binding(struct trace *t, const struct call_view *c, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t request = x->first[at], final = x->final[at];
    struct parsed asked, reply;
    if (request == NONE || m->flags[request] & MESSAGE_CONTACT_STAR || !m->contact_count[request]) return;
    if (m->expires_s[request] == 0 || !parse_row(t, request, &asked) || !parse_row(t, final, &reply)) return;
    struct sip_address contact;
    struct sip_span expires;
    sip_address_parse(asked.text, first_value(&asked, SIP_HEADER_CONTACT), &contact);
    int64_t wanted = m->expires_s[request];
    if (sip_param_find(asked.text, contact.parameters, ';', "expires", &expires)) sip_number(asked.text, expires, &wanted);
    if (wanted == 0) return;
    if (!sip_has(&reply.message, SIP_HEADER_CONTACT) || !lists_contact(&asked, &reply))
        sight_once(t, C_REGISTER_CONTACT_MISMATCH, c->call, final, request, 0, m->contact_count[final]);
    if (m->contact_count[final] > 1) sight_once(t, C_REGISTER_MULTI_CONTACT, c->call, final, request, 0, m->contact_count[final]);
    const int64_t seconds = granted_s(t, final, &reply);
    if (seconds > 0 && seconds < 60) sight_once(t, C_REGISTER_EXPIRES_SHORT, c->call, final, request, 0, seconds);
    const int natted = address_is_private(m->contact_kind[request]) && m->source[request] != NONE &&
                       t->endpoints.kind[m->source[request]] == ADDRESS_PUBLIC;
    if (seconds > 3600 && natted && m->transport[request] == SIP_UDP)
        sight_once(t, C_REGISTER_EXPIRES_LONG_NAT, c->call, final, request, 0, seconds);
    if (sip_has(&asked.message, SIP_HEADER_PATH) && !sip_has(&reply.message, SIP_HEADER_PATH))
        sight_once(t, C_PATH_LOST, c->call, final, request, 0, 0);
}

static void registration(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t end = c->first_transaction + c->transaction_count;
    for (uint32_t at = c->first_transaction; at < end && at < c->first_transaction + 256; at++) {
        if (x->method[at] != SIP_METHOD_REGISTER || x->first[at] == NONE) continue;
        const uint16_t status = x->status[at];
        if (status / 100 == 2) granted_binding(t, c, at);
        else if (status >= 300 && status != 423 && !(status == 401 || status == 407))
            sight_once(t, C_REGISTER_FAILED, c->call, x->final[at], x->first[at], status, 0);
        else if (status == 423 && retry_of(t, c, at) == NONE && call_absence_holds(t, c->call, t->messages.time_ns[x->final[at]], 4000))
            sight_once(t, C_REGISTER_423, c->call, x->final[at], x->first[at], status, t->messages.expires_s[x->first[at]]);
        if (!status && x->provisional[at] == NONE && call_absence_holds(t, c->call, t->messages.time_ns[x->first[at]], 32000))
            sight_once(t, C_REGISTER_TIMEOUT, c->call, x->first[at], NONE, 0, x->requests[at]);
    }
}

void auth_call(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    int challenged = 0, credentials = 0;
    const uint32_t end = c->first_transaction + c->transaction_count;
    for (uint32_t at = c->first_transaction; at < end; at++) {
        challenged |= x->flags[at] & TRANSACTION_CHALLENGED;
        credentials |= x->flags[at] & TRANSACTION_CREDENTIALS;
    }
    if (challenged || credentials) challenges(t, c);
    if (credentials && c->transaction_count > 1) nonce_counts(t, c);
    if (t->calls.kind[c->call] == CALL_REGISTER) registration(t, c);
}

/* ---- accounts over the whole trace ---- */

/* One account (To user at a registrar host): its life over all its REGISTERs, kept in one open-addressing table. */
struct account {
    uint64_t key;
    uint32_t last, cycles, unregistered;  /* message row of the last accepted REGISTER; register/unregister changes */
    int64_t first_change_ns, expires_ns;
    uint32_t failures, accepted;
};

static struct account *account_of(struct account *all, uint32_t mask, uint64_t key) {
    uint32_t place = (uint32_t)(key ^ key >> 32) & mask;
    while (all[place].key && all[place].key != key) place = (place + 1) & mask;
    if (!all[place].key) {
        all[place].key = key;
        all[place].last = NONE;
        all[place].first_change_ns = -1;
    }
    return &all[place];
}

static void follow_registration(struct trace *t, struct account *account, uint32_t at) {
    enum { HOUR_S = 3600 };
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t request = x->first[at], final = x->final[at];
    const int64_t now = m->time_ns[request];
    if (x->status[at] / 100 != 2) return;
    account->accepted++;
    int64_t seconds = m->expires_s[final] >= 0 ? m->expires_s[final] : m->expires_s[request];
    if (m->contact_count[final]) {
        struct parsed reply;
        if (parse_row(t, final, &reply)) seconds = granted_s(t, final, &reply);
    }
    const int leaves = m->expires_s[request] == 0 || (m->flags[request] & MESSAGE_CONTACT_STAR);
    if (account->last != NONE && account->expires_ns > 0 && now > account->expires_ns + (account->expires_ns - m->time_ns[account->last]) / 10 && !account->unregistered)
        sight(t, C_REGISTER_NOT_REFRESHED, m->call[request], request, account->last, 0, (now - account->expires_ns) / 1000000000);
    if (leaves != (int)account->unregistered) {
        if (account->first_change_ns < 0 || now - account->first_change_ns > HOUR_S * 1000000000ll) { account->first_change_ns = now; account->cycles = 0; }
        account->cycles += (uint32_t)leaves;
        if (account->cycles == 6) sight(t, C_REGISTER_FLAP, m->call[request], request, NONE, 0, account->cycles);
    }
    account->unregistered = (uint32_t)leaves;
    account->last = request;
    account->expires_ns = seconds > 0 && !leaves ? now + seconds * 1000000000 : 0;
}

/* REGISTERs a second against the median second: a storm is five times as many, and at least 20. */
static void storms(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    const int64_t span = (t->last_time_ns - t->first_time_ns) / 1000000000 + 1;
    if (t->no_time || span < 10 || span > 1 << 22) return;
    uint32_t *seconds = t->lender->lend((size_t)span * sizeof *seconds), *example = t->lender->lend((size_t)span * sizeof *example);
    uint32_t histogram[257] = {0};
    if (seconds && example) {
        uint64_t total = 0;
        for (uint32_t at = 0; at < x->head.count; at++) {
            if (x->method[at] != SIP_METHOD_REGISTER || x->first[at] == NONE) continue;
            const int64_t second = (t->messages.time_ns[x->first[at]] - t->first_time_ns) / 1000000000;
            if (second < 0 || second >= span) continue;
            if (!seconds[second]++) example[second] = x->first[at];
            total++;
        }
        for (int64_t s = 0; s < span; s++) histogram[seconds[s] > 256 ? 256 : seconds[s]]++;
        uint32_t median = 0;
        for (int64_t below = 0; median < 256 && (below += histogram[median]) * 2 < span; median++) {}
        const uint32_t limit = median * 5 < 20 ? 20 : median * 5;
        int64_t worst = 0;
        for (int64_t s = 1; s < span; s++)
            if (seconds[s] > seconds[worst]) worst = s;
        if (total && seconds[worst] > limit)
            sight(t, C_REGISTER_STORM, t->messages.call[example[worst]], example[worst], NONE, (int)median, seconds[worst]);
    }
    if (seconds) t->lender->take_back(seconds);
    if (example) t->lender->take_back(example);
}

/* A source refused under one identity and accepted under another; a trunk that is suddenly refused. */
struct source_state { uint32_t accepted, refused, accepted_user, refused_user, challenged; };

static void identified_sources(struct trace *t) {
    const struct calls_table *c = &t->calls;
    const struct messages_table *m = &t->messages;
    const uint32_t hosts = t->endpoints.head.count;
    struct source_state *all = t->lender->lend(((size_t)hosts + 1) * sizeof *all);
    if (!all) return;
    for (uint32_t call = 0; call < c->head.count; call++) {
        const uint32_t host = host_of(t, c->caller[call]);
        if (host == NONE || (c->kind[call] != CALL_INVITE && c->kind[call] != CALL_REGISTER) || !c->final_status[call]) continue;
        struct source_state *s = &all[host];
        const uint32_t at = c->first_transaction[call];
        const int was_challenged = c->transaction_count[call] && t->transactions.flags[at] & TRANSACTION_CHALLENGED;
        if (was_challenged) s->challenged++;
        const uint16_t status = c->final_status[call];
        if (status / 100 == 2 || c->outcome[call] == OUTCOME_BUSY || c->outcome[call] == OUTCOME_CANCELLED) {
            if (!s->accepted++) s->accepted_user = c->from_user_hash[call];
        } else if (status == 403 || (status == 404 && c->kind[call] == CALL_REGISTER) || (status == 401 && !was_challenged)) {
            if (s->accepted && c->from_user_hash[call] != s->accepted_user)
                sight_once(t, C_ENDPOINT_NOT_IDENTIFIED, call, c->final_row[call], NONE, status, s->accepted);
            else if (s->accepted >= 3 && !s->challenged && c->kind[call] == CALL_INVITE)
                sight_once(t, C_IP_AUTH_FAILED, call, c->final_row[call], NONE, status, s->accepted);
            s->refused++;
        }
    }
    (void)m;
    t->lender->take_back(all);
}

/* A Service-Route that later requests of the same source do not use (RFC 3608 §6.1). */
static void service_routes(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    uint32_t looked = 0;
    for (uint32_t at = 0; at < x->head.count && looked < 1000; at++) {
        if (x->method[at] != SIP_METHOD_REGISTER || x->status[at] / 100 != 2 || x->final[at] == NONE || x->first[at] == NONE) continue;
        struct parsed p;
        looked++;
        if (!parse_row(t, x->final[at], &p) || !sip_has(&p.message, SIP_HEADER_SERVICE_ROUTE)) continue;
        const uint32_t source = x->source[at];
        for (uint32_t call = t->messages.call[x->first[at]]; call < t->calls.head.count && call < t->messages.call[x->first[at]] + 1000; call++) {
            const uint32_t invite = t->calls.invite_row[call];
            if (invite == NONE || t->messages.source[invite] != source) continue;
            if (!t->messages.route_count[invite]) sight_once(t, C_SERVICE_ROUTE_IGNORED, call, invite, x->final[at], 0, 0);
            break;
        }
    }
}

void auth_trace(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    uint32_t registers = 0;
    for (uint32_t at = 0; at < x->head.count; at++) registers += x->method[at] == SIP_METHOD_REGISTER;
    if (t->calls.head.count > 1) identified_sources(t);
    if (!registers) return;
    storms(t);
    service_routes(t);
    uint32_t size = 64;
    while (size < registers * 2) size *= 2;
    struct account *all = t->lender->lend((size_t)size * sizeof *all);
    if (!all || t->no_time) { if (all) t->lender->take_back(all); return; }
    for (uint32_t row = 0; row < t->messages.head.count; row++) { /* in order of time: transactions lie by call */
        const uint32_t at = t->messages.transaction[row];
        if (at == NONE || x->first[at] != row || x->method[at] != SIP_METHOD_REGISTER || x->final[at] == NONE) continue;
        const uint32_t request = row, user = t->messages.to_user_hash[request];
        const uint64_t key = ((uint64_t)user << 32 | t->messages.contact_hash[request]) * 0x9E3779B97F4A7C15ull | 1;
        if (user) follow_registration(t, account_of(all, size - 1, key), at);
    }
    t->lender->take_back(all);
}

/* Routing: loops, record-routing, numbers that do not route, peers that fail (rule page 3.8). */
#include <string.h>

#include "trace.h"

/* ---- single messages ---- */

/* Every value of Route and Record-Route: strict routers and unreachable addresses. */
static void route_values(struct trace *t, const struct message_view *v, int id) {
    uint32_t cursor = 0, seen = 0;
    struct sip_span value, element;
    while (view_next(v, id, &cursor, &value)) {
        uint32_t step = 0;
        while (seen < 70 && sip_list_next(v->text, value, &step, &element)) {
            struct sip_address route;
            if (!element.length) continue;
            sip_address_parse(v->text, element, &route);
            if (!(route.parsed.flags & SIP_URI_LR)) sight_once(t, C_ROUTE_NOT_LOOSE, v->call, v->row, NONE, id, 0);
            if (id == SIP_HEADER_RECORD_ROUTE && seen == 0 && address_is_private(route.parsed.address.kind) &&
                v->target.kind == ADDRESS_PUBLIC && !v->message->is_response)
                sight_once(t, C_RECORD_ROUTE_PRIVATE, v->call, v->row, NONE, 0, 0);
            seen++;
        }
    }
}

static int phrase_has(const struct message_view *v, const char *word) {
    const struct sip_span reason = v->message->reason;
    const uint32_t length = (uint32_t)strlen(word);
    const uint8_t *s = v->text + reason.offset;
    for (uint32_t i = 0; i + length <= reason.length && i < 200; i++) {
        uint32_t k = 0;
        while (k < length && (s[i + k] | 32) == (uint8_t)word[k]) k++;
        if (k == length) return 1;
    }
    return 0;
}

/* Status and Q.850 cause that contradict each other (RFC 3398 §8.2.6, RFC 6432). */
static int contradicts(uint16_t status, int cause) {
    static const struct { uint16_t status; int16_t causes[8]; } mapped[] = {
        {404, {1, 2, 3, 5, 22, 28, 0}}, {410, {22, 1, 0}}, {480, {18, 19, 20, 31, 16, 27, 3, 0}}, {484, {28, 1, 0}},
        {486, {17, 34, 0}}, {503, {34, 38, 41, 42, 27, 44, 47, 58}}, {600, {17, 0}}, {603, {21, 16, 0}}};
    for (size_t i = 0; i < sizeof mapped / sizeof *mapped; i++) {
        if (mapped[i].status != status) continue;
        for (int k = 0; k < 8 && mapped[i].causes[k]; k++)
            if (mapped[i].causes[k] == cause) return 0;
        return cause != 127 && cause != 31;
    }
    return 0;
}

static int among(int value, const int16_t *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (list[i] == value) return 1;
    return 0;
}

static void refusals(struct trace *t, const struct message_view *v) {
    static const int16_t UNALLOCATED[] = {1, 22, 28}, NO_ROUTE[] = {2, 3}, FULL[] = {34, 38, 41, 42, 47};
    const uint16_t status = v->message->status;
    const int cause = t->messages.q850_cause[v->row];
    const uint32_t row = v->row;
    if (status == 483) sight_once(t, C_MAX_FORWARDS_EXCEEDED, v->call, row, NONE, status, 0);
    if (status == 482) sight_once(t, C_MERGED_REQUEST_482, v->call, row, NONE, status, 0);
    if (t->messages.method[row] != SIP_METHOD_INVITE || status < 400) return;
    if (cause >= 0 && contradicts(status, cause)) sight_once(t, C_CAUSE_NOT_MAPPED, v->call, row, NONE, status, cause);
    if (among(cause, NO_ROUTE, 2) || phrase_has(v, "no route")) sight_once(t, C_NO_ROUTE, v->call, row, NONE, status, cause);
    else if (among(cause, FULL, 5) && (status == 503 || status == 480 || status == 500))
        sight_once(t, C_CONGESTION, v->call, row, NONE, status, cause);
    else if (status == 404 || status == 410 || status == 484 || status == 604 || among(cause, UNALLOCATED, 3))
        sight_once(t, C_UNALLOCATED_NUMBER, v->call, row, NONE, status, cause);
    if (status == 603 || status == 607 || status == 608 || (status == 403 && !sip_has(v->message, SIP_HEADER_WWW_AUTHENTICATE)) || cause == 21)
        sight_once(t, C_CALL_REJECTED, v->call, row, NONE, status, cause);
    if (status == 433) sight_once(t, C_PRIVACY_ROUTE_433, v->call, row, NONE, status, 0);
    if (phrase_has(v, "relay") || phrase_has(v, "domain") || phrase_has(v, "not served"))
        sight_once(t, C_DOMAIN_MISMATCH, v->call, row, NONE, status, 0);
}

void routing_message(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    const int hops = t->messages.max_forwards[v->row];
    if (sip_has(p, SIP_HEADER_ROUTE)) route_values(t, v, SIP_HEADER_ROUTE);
    if (sip_has(p, SIP_HEADER_RECORD_ROUTE)) route_values(t, v, SIP_HEADER_RECORD_ROUTE);
    if (p->is_response) {
        if (p->status >= 400) refusals(t, v);
    } else if (hops >= 0 && hops <= 5) sight_once(t, C_MAX_FORWARDS_LOW, v->call, v->row, NONE, 0, hops);
}

/* ---- one call ---- */

/* The same INVITE at one hop again: with the same Request-URI a loop, with another a spiral (RFC 3261 §16.3). */
static void loops(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t end = c->first_transaction + (c->transaction_count < 48 ? c->transaction_count : 48);
    uint32_t passes = 0;
    for (uint32_t a = c->first_transaction; a < end; a++) {
        const uint32_t first = x->first[a];
        if (first == NONE || x->method[a] != SIP_METHOD_INVITE || x->flags[a] & TRANSACTION_IN_DIALOG) continue;
        for (uint32_t b = a + 1; b < end; b++) {
            const uint32_t again = x->first[b];
            if (again == NONE || x->method[b] != SIP_METHOD_INVITE || x->cseq[a] != x->cseq[b]) continue;
            if (m->target[first] != m->target[again] || m->from_tag_hash[first] != m->from_tag_hash[again]) continue;
            if (m->branch_hash[first] == m->branch_hash[again]) continue;
            /* a retry on another branch by the same client has as many Vias; a loop has gathered more */
            if (m->via_count[again] <= m->via_count[first]) continue;
            passes++;
            if (m->request_uri_hash[first] == m->request_uri_hash[again])
                sight_once(t, C_LOOP_DETECTED, c->call, again, first, 0, m->via_count[again]);
            else sight_once(t, C_SPIRAL, c->call, again, first, 0, m->via_count[again]);
        }
    }
    if (passes >= 3 && call_has(t, c->call, C_MAX_FORWARDS_EXCEEDED))
        sight(t, C_MAX_FORWARDS_EXCEEDED, c->call, c->rows[0], NONE, 1, passes);
}

/* Max-Forwards must fall by one a hop (RFC 3261 §16.6): two hops of one INVITE with the same value. */
static void undecremented(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t end = c->first_transaction + (c->transaction_count < 16 ? c->transaction_count : 16);
    for (uint32_t a = c->first_transaction; a + 1 < end; a++) {
        const uint32_t first = x->first[a];
        if (first == NONE || x->method[a] != SIP_METHOD_INVITE || m->max_forwards[first] < 0) continue;
        for (uint32_t b = a + 1; b < end; b++) {
            const uint32_t next = x->first[b];
            if (next == NONE || x->method[b] != SIP_METHOD_INVITE || x->cseq[b] != x->cseq[a]) continue;
            if (host_of(t, x->source[b]) != host_of(t, x->target[a]) || m->via_count[next] <= m->via_count[first]) continue;
            if (m->max_forwards[next] >= m->max_forwards[first]) {
                sight_once(t, C_MAX_FORWARDS_LOW, c->call, next, first, 1, m->max_forwards[next]);
                return;
            }
        }
    }
}

struct parsed_row { const uint8_t *text; struct sip_message message; struct sip_header headers[96]; };

static int parse_row(const struct trace *t, uint32_t row, struct parsed_row *p) {
    uint32_t length;
    p->text = trace_text(t, row, &length);
    return sip_scan(p->text, length, SIP_DATAGRAM, &p->message, p->headers, 96) >= 0;
}

/* Hashes of the URIs of every value of a routing header, in order; at most 16. */
static uint32_t uri_hashes(const struct trace *t, const struct parsed_row *p, int id, uint64_t hashes[16]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->message.header_count && n < 16; i++) {
        if (p->headers[i].id != id) continue;
        const struct sip_span value = {p->headers[i].value_offset, p->headers[i].value_length};
        struct sip_span element;
        uint32_t step = 0;
        while (n < 16 && sip_list_next(p->text, value, &step, &element)) {
            struct sip_address route;
            sip_address_parse(p->text, element, &route);
            hashes[n++] = sip_hash_folded(p->text + route.parsed.host.offset, route.parsed.host.length, t->hash_seed) + route.parsed.port;
        }
    }
    return n;
}

/* In-dialog requests against the dialog's route set (RFC 3261 §12.1.2, 12.2.1.1): the caller's is the 2xx's Record-Route
   reversed. Only the caller's side at its first hop is judged: elsewhere proxies have taken their own entries off. */
static void route_set(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    const struct messages_table *m = &t->messages;
    const uint32_t answer = k->answer_row[c->call], invite = k->invite_row[c->call];
    if (answer == NONE || invite == NONE || m->target[answer] != m->source[invite]) return;
    struct parsed_row reply, request;
    if (!parse_row(t, answer, &reply)) return;
    uint64_t recorded[16], routed[16];
    const uint32_t n = uri_hashes(t, &reply, SIP_HEADER_RECORD_ROUTE, recorded);
    if (!n) return;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        if (m->status[row] || !(m->flags[row] & MESSAGE_IN_DIALOG) || m->source[row] != m->source[invite]) continue;
        if (m->method[row] == SIP_METHOD_CANCEL || m->from_tag_hash[row] != m->from_tag_hash[invite]) continue;
        if (m->method[row] == SIP_METHOD_ACK && m->branch_hash[row] == m->branch_hash[invite]) continue;
        if (m->to_tag_hash[row] != m->to_tag_hash[answer] || !parse_row(t, row, &request)) continue;
        const uint32_t used = uri_hashes(t, &request, SIP_HEADER_ROUTE, routed);
        uint32_t reversed = 0, straight = 0;
        for (uint32_t j = 0; j < n && j < used; j++) {
            reversed += routed[j] == recorded[n - 1 - j];
            straight += routed[j] == recorded[j];
        }
        if (used == n && reversed == n) continue;
        if (n > 1 && used == n && straight == n) sight_once(t, C_RECORD_ROUTE_ORDER, c->call, row, answer, 0, n);
        else sight_once(t, C_ROUTE_SET_CHANGED, c->call, row, answer, (int)used, n);
        return;
    }
}

/* In-dialog requests from the caller must go to the Contact of the answer (RFC 3261 §12.2.1.1). */
static void remote_target(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    const struct messages_table *m = &t->messages;
    const uint32_t answer = k->answer_row[c->call], invite = k->invite_row[c->call];
    if (answer == NONE || invite == NONE || !m->contact_hash[answer] || m->target[answer] != m->source[invite]) return;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        const uint8_t method = m->method[row];
        if (m->status[row] || !(m->flags[row] & MESSAGE_IN_DIALOG) || m->source[row] != m->source[invite]) continue;
        if (method != SIP_METHOD_ACK && method != SIP_METHOD_BYE && method != SIP_METHOD_INVITE && method != SIP_METHOD_UPDATE) continue;
        if (m->time_ns[row] < m->time_ns[answer] || m->branch_hash[row] == m->branch_hash[invite]) continue;
        if (m->to_tag_hash[row] != m->to_tag_hash[answer] || m->from_tag_hash[row] != m->from_tag_hash[invite]) continue;
        if (m->request_uri_hash[row] == m->contact_hash[answer]) continue;
        struct parsed_row reply, request;
        if (!parse_row(t, answer, &reply) || !parse_row(t, row, &request) || !sip_has(&reply.message, SIP_HEADER_CONTACT)) return;
        const struct sip_header *h = &reply.headers[reply.message.first[SIP_HEADER_CONTACT]];
        struct sip_address contact;
        struct sip_uri uri;
        sip_address_parse(reply.text, (struct sip_span){h->value_offset, h->value_length}, &contact);
        sip_uri_parse(request.text, request.message.request_uri, &uri);
        const int same_host = uri.host.length == contact.parsed.host.length &&
                              !memcmp(request.text + uri.host.offset, reply.text + contact.parsed.host.offset, uri.host.length);
        const uint16_t port = uri.port ? uri.port : 5060, wanted = contact.parsed.port ? contact.parsed.port : 5060;
        if (!same_host || port != wanted) sight_once(t, C_REQUEST_URI_NOT_CONTACT, c->call, row, answer, method, 0);
        else if (uri.transport != contact.parsed.transport && uri.transport && t->calls.bye_row[c->call] == row)
            sight_once(t, C_TRANSPORT_SWITCH, c->call, row, answer, uri.transport, 0);
        return;
    }
}

/* A proxy forwarded the INVITE without Record-Route and the BYE went past it. */
static void unrecorded_proxy(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t invite = t->calls.invite_row[c->call], bye = t->calls.bye_row[c->call];
    if (invite == NONE || t->calls.answer_row[c->call] == NONE) return;
    for (uint32_t i = 1; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i, forwarded = x->first[at];
        if (forwarded == NONE || x->method[at] != SIP_METHOD_INVITE || m->cseq[forwarded] != m->cseq[invite]) continue;
        const uint32_t proxy = host_of(t, m->source[forwarded]);
        if (proxy != host_of(t, m->target[invite]) || m->via_count[forwarded] <= m->via_count[invite]) continue;
        if (m->record_route_count[forwarded] > m->record_route_count[invite]) return;
        const int bypassed = bye != NONE && host_of(t, m->source[bye]) != proxy && host_of(t, m->target[bye]) != proxy;
        const uint32_t goodbye = bye == NONE ? NONE : m->transaction[bye];
        const int failed = goodbye != NONE && x->status[goodbye] / 100 != 2 && call_absence_holds(t, c->call, m->time_ns[bye], 32000);
        if (bypassed) sight_once(t, C_RECORD_ROUTE_MISSING, c->call, bye, forwarded, failed, proxy);
        return;
    }
}

/* 481 to an in-dialog request that reached another host than the one that answered. */
static void wrong_node(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t answer = t->calls.answer_row[c->call];
    if (answer == NONE) return;
    const uint32_t owner = host_of(t, t->messages.source[answer]);
    for (uint32_t i = 0; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i;
        if (x->status[at] != 481 || !(x->flags[at] & TRANSACTION_IN_DIALOG) || x->first[at] == NONE) continue;
        if (host_of(t, x->source[at]) != host_of(t, t->messages.target[answer])) continue;
        const uint32_t target = host_of(t, x->target[at]);
        if (target != owner && target != NONE) sight_once(t, C_IN_DIALOG_WRONG_NODE, c->call, x->final[at], answer, 481, owner);
    }
}

/* Serial attempts at several targets: fail-over after silence or 503, and storms of it. */
static void fan_out(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t end = c->first_transaction + (c->transaction_count < 64 ? c->transaction_count : 64);
    uint32_t targets[16], last[16], n = 0;
    for (uint32_t at = c->first_transaction; at < end; at++) {
        if (x->method[at] != SIP_METHOD_INVITE || x->flags[at] & TRANSACTION_IN_DIALOG || x->first[at] == NONE) continue;
        const uint32_t target = host_of(t, x->target[at]);
        for (uint32_t k = 0; k < n; k++) {
            const uint32_t before = last[k];
            if (targets[k] == target || x->source[before] != x->source[at]) continue;
            const uint16_t status = x->status[before];
            const int silent = !status && x->provisional[before] == NONE;
            if ((status == 503 || status == 408 || silent) && k + 1 == n)
                sight_once(t, C_DNS_FAILOVER, c->call, x->first[at], x->first[before], status, target);
        }
        uint32_t k = 0;
        while (k < n && targets[k] != target) k++;
        if (k < 16) { targets[k] = target; last[k] = at; if (k == n) n++; }
    }
    if (n > 5) sight_once(t, C_ROUTE_RETRY_STORM, c->call, t->calls.invite_row[c->call], NONE, (int)n, t->calls.pdd_ms[c->call]);
}

/* A redirection to a target that was tried already (RFC 3261 §8.1.3.4). */
static void redirected_again(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    for (uint32_t i = 0; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i;
        if (x->status[at] / 100 != 3 || x->final[at] == NONE || !m->contact_hash[x->final[at]]) continue;
        for (uint32_t k = 0; k <= i; k++) {
            const uint32_t tried = x->first[c->first_transaction + k];
            if (tried != NONE && m->request_uri_hash[tried] == m->contact_hash[x->final[at]] && x->method[at] == SIP_METHOD_INVITE) {
                sight_once(t, C_REDIRECT_LOOP, c->call, x->final[at], tried, x->status[at], 0);
                return;
            }
        }
        if (i > 64) return;
    }
}

static void answered_elsewhere(struct trace *t, const struct call_view *c) {
    const struct messages_table *m = &t->messages;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i], at = m->transaction[row];
        if (!m->status[row] || at == NONE || t->transactions.first[at] == NONE || m->flags[row] & MESSAGE_ADDRESS_INFERRED) continue;
        const uint32_t asked = host_of(t, t->transactions.target[at]), answered = host_of(t, m->source[row]);
        if (asked != answered && host_of(t, m->target[row]) == host_of(t, t->transactions.source[at])) {
            sight_once(t, C_PEER_ASYMMETRY, c->call, row, t->transactions.first[at], 0, asked);
            return;
        }
    }
}

/* A preloaded Route on the initial INVITE that was refused. */
static void preloaded(struct trace *t, const struct call_view *c) {
    const uint32_t invite = t->calls.invite_row[c->call], final = t->calls.final_row[c->call];
    const uint16_t status = t->calls.final_status[c->call];
    if (t->messages.route_count[invite] && final != NONE && (status == 403 || status == 404) && t->calls.hops[c->call] <= 1)
        sight_once(t, C_PRELOADED_ROUTE_REJECTED, c->call, final, invite, status, t->messages.route_count[invite]);
}

void routing_call(struct trace *t, const struct call_view *c) {
    const struct calls_table *k = &t->calls;
    if (k->kind[c->call] != CALL_INVITE) return;
    if (k->invite_row[c->call] != NONE) preloaded(t, c);
    answered_elsewhere(t, c);
    if (k->final_status[c->call] >= 400 && k->final_status[c->call] != 401 && k->final_status[c->call] != 407 &&
        k->final_status[c->call] != 487 && k->hops[c->call] > 1 && k->final_row[c->call] != NONE)
        sight_once(t, C_EARLY_REJECT_BY_HOP, c->call, k->final_row[c->call], k->invite_row[c->call], k->final_status[c->call], k->hops[c->call]);
    if (c->transaction_count > 1) {
        loops(t, c);
        undecremented(t, c);
        unrecorded_proxy(t, c);
        wrong_node(t, c);
        fan_out(t, c);
    }
    if (k->outcome[c->call] == OUTCOME_REDIRECTED || c->transaction_count > 1) redirected_again(t, c);
    if (k->answer_row[c->call] == NONE) return;
    if (t->messages.record_route_count[k->answer_row[c->call]]) route_set(t, c);
    remote_target(t, c);
}

/* ---- the whole trace ---- */

/* The port that an address was sent to refused (ICMP), while the same host speaks SIP elsewhere. */
static void wrong_ports(struct trace *t) {
    const struct events_table *e = &t->events;
    for (uint32_t row = 0; row < e->head.count; row++) {
        if (e->kind[row] != EVENT_ICMP && e->kind[row] != EVENT_TCP_REFUSED) continue;
        const uint32_t target = e->target[row];
        if (target == NONE || t->endpoints.port[target] != 5060) continue;
        const uint32_t host = host_of(t, target);
        const uint32_t endpoints = t->endpoints.head.count < 4096 ? t->endpoints.head.count : 4096;
        for (uint32_t other = 0; other < endpoints; other++)
            if (t->endpoints.host[other] == host && other != target && t->endpoints.messages_sent[other] && t->endpoints.port[other]) {
                sight(t, C_SRV_WRONG_PORT, NONE, row, other, t->endpoints.port[other], 0);
                break;
            }
    }
}

/* One peer takes +E.164 and refuses national forms, or the other way round. Bit 0: plus accepted, 1: plus refused,
   2: national accepted, 3: national refused. */
static void dialled_formats(struct trace *t) {
    const uint32_t hosts = t->endpoints.head.count;
    uint8_t *seen = t->lender->lend((size_t)hosts + 1);
    uint32_t *refused = t->lender->lend(((size_t)hosts + 1) * sizeof *refused);
    if (seen && refused) {
        for (uint32_t call = 0; call < t->calls.head.count; call++) {
            const uint32_t row = t->calls.invite_row[call], host = host_of(t, t->calls.callee[call]);
            const uint16_t status = t->calls.final_status[call];
            if (row == NONE || host == NONE || !status) continue;
            const int bad = status == 404 || status == 484 || status == 400 || status == 604;
            if (!bad && status / 100 != 2) continue;
            uint32_t length;
            const uint8_t *text = trace_text(t, row, &length);
            const uint8_t *colon = memchr(text, ':', length < 64 ? length : 64);
            if (!colon || colon + 3 >= text + length) continue;
            const int plus = colon[1] == '+';
            if (!plus && (colon[1] < '0' || colon[1] > '9')) continue;
            const uint8_t bit = (uint8_t)(1 << ((plus ? 0 : 2) + bad));
            seen[host] |= bit;
            if (bad) refused[host] = call + 1;
        }
        for (uint32_t host = 0; host < hosts; host++) {
            const int national_refused = (seen[host] & 9) == 9 && !(seen[host] & 6);
            const int plus_refused = (seen[host] & 6) == 6 && !(seen[host] & 9);
            if (!national_refused && !plus_refused) continue;
            const uint32_t call = refused[host] - 1;
            sight(t, C_DIALLED_FORMAT_REJECTED, call, t->calls.final_row[call], t->calls.invite_row[call], plus_refused, host);
        }
    }
    if (seen) t->lender->take_back(seen);
    if (refused) t->lender->take_back(refused);
}

struct peer_counts { uint32_t attempts, answered, effective, busy, example, failed; };

/* Ratios of ITU-T E.411, E.425 and RFC 6076 §4.6 by the host that was called. `value` is in hundredths of a percent. */
static void peer_ratios(struct trace *t) {
    enum { ATTEMPTS_MIN = 50 };
    const uint32_t hosts = t->endpoints.head.count;
    struct peer_counts *peers = t->lender->lend(((size_t)hosts + 1) * sizeof *peers);
    if (!peers) return;
    for (uint32_t call = 0; call < t->calls.head.count; call++) {
        const uint32_t host = host_of(t, t->calls.callee[call]);
        const uint16_t status = t->calls.final_status[call];
        if (t->calls.kind[call] != CALL_INVITE || host == NONE || t->calls.outcome[call] == OUTCOME_PENDING) continue;
        if (t->calls.flags[call] & (CALL_PARTIAL_START | CALL_PARTIAL_END | CALL_ONE_SIDED)) continue;
        if (status / 100 == 3 || status == 401 || status == 402 || status == 407) continue;
        struct peer_counts *p = &peers[host];
        const int answered = t->calls.answer_row[call] != NONE;
        const int user = status == 480 || status == 486 || status == 404 || status == 484 || status == 600 || status == 603 ||
                         status == 604 || (status == 487 && t->calls.progress_row[call] != NONE);
        p->attempts++;
        p->answered += (uint32_t)answered;
        p->effective += (uint32_t)(answered || user);
        p->busy += status == 486;
        if (!answered && !p->failed++) p->example = call;
    }
    for (uint32_t host = 0; host < hosts; host++) {
        const struct peer_counts *p = &peers[host];
        if (p->attempts < ATTEMPTS_MIN || !p->failed) continue;
        const uint32_t row = t->calls.invite_row[p->example];
        const int64_t ser = (int64_t)p->answered * 10000 / p->attempts, ner = (int64_t)p->effective * 10000 / p->attempts;
        if (ser < 4500) sight(t, C_ASR_LOW, p->example, row, host, (int)(p->attempts > 65535 ? 65535 : p->attempts), ser);
        if (ner < 9000) sight(t, C_NER_LOW, p->example, row, host, (int)(p->attempts > 65535 ? 65535 : p->attempts), ner);
        if (p->busy * 10 > p->attempts * 4)
            sight(t, C_BUSY_BURST, p->example, row, host, (int)(p->attempts > 65535 ? 65535 : p->attempts), (int64_t)p->busy * 10000 / p->attempts);
    }
    t->lender->take_back(peers);
}

void routing_trace(struct trace *t) {
    if (t->events.head.count) wrong_ports(t);
    if (t->calls.head.count < 2) return;
    dialled_formats(t);
    peer_ratios(t);
}

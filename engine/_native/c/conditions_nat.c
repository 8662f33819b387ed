/* NAT and reachability: addresses that cannot be reached, ALGs, ICE (rule page 3.6). */
#include <string.h>

#include "trace.h"

static int is_public(uint8_t kind) { return kind == ADDRESS_PUBLIC; }

static int same_host(const struct address *a, const struct address *b) {
    return a->family && a->family == b->family && !memcmp(a->ip, b->ip, 16);
}

/* ---- single messages ---- */

/* The Via of a request against the packet that brought it (RFC 3261 §18.2.1, RFC 3581 §4). `code` 1: rport asked for. */
static void via_against_source(struct trace *t, const struct message_view *v) {
    const struct address *sent_by = &v->via.sent_by;
    if (v->via.flags & SIP_VIA_MALFORMED || !v->source.family || !sent_by->family) return;
    const uint16_t port = sent_by->port ? sent_by->port : 5060;
    const int moved = !same_host(sent_by, &v->source) ||
                      (t->messages.transport[v->row] == SIP_UDP && port != v->source.port && v->source.port);
    if (!moved) return;
    const int rport = (v->via.flags & SIP_VIA_RPORT) != 0;
    if (!same_host(sent_by, &v->source) || !rport)
        sight_once(t, C_NAT_VIA_MISMATCH, v->call, v->row, NONE, rport, sent_by->port);
}

/* Contact of a dialog-forming message against the source it came from. */
static void contact_address(struct trace *t, const struct message_view *v) {
    const uint8_t kind = v->contact.parsed.address.kind, source = v->source.kind;
    const uint8_t method = t->messages.method[v->row];
    const int forms = method == SIP_METHOD_INVITE || method == SIP_METHOD_REGISTER || method == SIP_METHOD_SUBSCRIBE ||
                      method == SIP_METHOD_REFER || method == SIP_METHOD_UPDATE;
    if (!forms || (method == SIP_METHOD_REGISTER && v->message->is_response)) return;
    if (kind == ADDRESS_LINK_LOCAL) sight_once(t, C_LINK_LOCAL_ADDRESS, v->call, v->row, NONE, 1, 0);
    if ((kind == ADDRESS_LOOPBACK || kind == ADDRESS_UNSPECIFIED) && v->source.family && v->source.kind != ADDRESS_LOOPBACK)
        sight_once(t, C_LOOPBACK_IN_SDP, v->call, v->row, NONE, 1, 0);
    if ((kind == ADDRESS_PRIVATE || kind == ADDRESS_CGNAT) && is_public(source))
        sight_once(t, C_NAT_CONTACT_PRIVATE, v->call, v->row, NONE, 0, 0);
    if (kind == ADDRESS_INVALID) {
        const struct sip_span host = v->contact.parsed.host;
        if (host.length > 8 && !memcmp(v->text + host.offset + host.length - 8, ".invalid", 8))
            sight_once(t, C_WS_ORIGIN_ADDRESS, v->call, v->row, NONE, t->messages.transport[v->row], 0);
    }
}

/* How many different hosts one sender names for itself: Via, Contact, SDP and the packet's source. */
static void named_hosts(struct trace *t, const struct message_view *v) {
    const struct address *all[4] = {&v->via.sent_by, &v->contact.parsed.address, &v->source, NULL};
    if (v->session && v->session->media_count) all[3] = &v->media[0].connection;
    const struct address *distinct[4];
    int n = 0, private = 0, public = 0;
    for (int i = 0; i < 4; i++) {
        if (!all[i] || !all[i]->family || all[i]->kind == ADDRESS_UNSPECIFIED) continue;
        int k = 0;
        while (k < n && !same_host(distinct[k], all[i])) k++;
        if (k < n) continue;
        distinct[n++] = all[i];
        private += address_is_private(all[i]->kind);
        public += is_public(all[i]->kind);
    }
    if (n >= 3 && private && public) sight_once(t, C_NAT_DOUBLE, v->call, v->row, NONE, n, 0);
}

/* Marks of a SIP ALG. `code` 1: only the SDP was rewritten, 2: only the Via, 3: body length. */
static void alg_marks(struct trace *t, const struct message_view *v) {
    const struct address *sent_by = &v->via.sent_by, *contact = &v->contact.parsed.address;
    if (!is_public(v->source.kind)) return;
    const int contact_private = address_is_private(contact->kind), via_private = address_is_private(sent_by->kind);
    const int direct = t->messages.via_count[v->row] == 1;
    int mark = 0;
    if (v->session && v->session->media_count && direct) {
        const struct address *media = &v->media[0].connection;
        const int origin_private = address_is_private(v->session->origin_address.kind);
        if (same_host(media, &v->source) && origin_private && (contact_private || via_private)) mark = 1;
    }
    if (!mark && direct && same_host(sent_by, &v->source) && contact_private) mark = 2;
    if (!mark && direct && via_private && same_host(contact, &v->source)) {
        /* one header rewritten and one not: what only a middlebox does */
        sight_once(t, C_SIP_ALG_SPLIT_REWRITE, v->call, v->row, NONE, 1, 0);
        return;
    }
    if (!mark && v->message->flags & SIP_BODY_SHORT && (contact_private || via_private)) mark = 3;
    if (!mark) return;
    sight_once(t, C_SIP_ALG_DETECTED, v->call, v->row, NONE, mark, 0);
    if (mark < 3) sight_once(t, C_SIP_ALG_SPLIT_REWRITE, v->call, v->row, NONE, mark + 1, 0);
}

/* Whether the message's ends lie in the Internet. Where the input gives no addresses, what the message names speaks for them. */
static int crosses_internet(const struct message_view *v) {
    if (v->source.family || v->target.family) return is_public(v->source.kind) || is_public(v->target.kind);
    const uint8_t via = v->via.received_from.family ? v->via.received_from.kind : v->via.sent_by.kind;
    const uint8_t uri = v->message->is_response ? ADDRESS_NONE : v->request_uri.address.kind;
    return is_public(via) || via == ADDRESS_NAME || is_public(uri) || uri == ADDRESS_NAME;
}

static void media_addresses(struct trace *t, const struct message_view *v) {
    const int internet = crosses_internet(v);
    for (uint32_t i = 0; i < v->session->media_count; i++) {
        const struct sdp_media *s = &v->media[i];
        const uint8_t kind = s->connection.kind;
        const uint32_t line = t->messages.media_line[v->row] + i;
        if (!s->connection.port) continue;
        const int relayed = s->traits & SDP_ICE && s->candidates & (SDP_SRFLX | SDP_RELAY | SDP_HOST_PUBLIC);
        if ((kind == ADDRESS_PRIVATE || kind == ADDRESS_CGNAT) && !relayed && internet)
            sight_once(t, C_NAT_SDP_PRIVATE, v->call, line, v->row, v->source.kind, s->connection.port);
        if (kind == ADDRESS_CGNAT) sight_once(t, C_CGNAT_ADDRESS, v->call, v->row, line, 2, 0);
        if (kind == ADDRESS_LINK_LOCAL) sight_once(t, C_LINK_LOCAL_ADDRESS, v->call, v->row, line, 2, 0);
        if (kind == ADDRESS_LOOPBACK && v->source.kind != ADDRESS_LOOPBACK && (v->source.family || internet))
            sight_once(t, C_LOOPBACK_IN_SDP, v->call, v->row, line, 2, 0);
        /* the old hold is 0.0.0.0 with an inactive or absent direction in a re-INVITE (RFC 3264 §8.4) */
        if (kind == ADDRESS_UNSPECIFIED && !v->to.tag.length && !(s->traits & SDP_ICE) && v->source.kind != ADDRESS_LOOPBACK && v->source.family)
            sight_once(t, C_LOOPBACK_IN_SDP, v->call, v->row, line, 3, 0);
        if (kind == ADDRESS_NAME) sight_once(t, C_HOSTNAME_IN_SDP, v->call, v->row, line, 0, 0);
        if (s->connection.family == 6 && v->source.family == 4 && v->target.family == 4 && !(s->traits & (SDP_ICE | SDP_ALTC)))
            sight_once(t, C_IPV6_IN_IPV4_PEER, v->call, v->row, line, 0, 0);
        if (s->traits & SDP_ICE && s->candidates && !(s->candidates & (SDP_SRFLX | SDP_RELAY | SDP_PRFLX | SDP_HOST_PUBLIC | SDP_MDNS)) &&
            !(s->traits & SDP_ICE_LITE))
            sight_once(t, C_ICE_NO_SRFLX, v->call, v->row, line, 0, s->candidate_count);
        if (s->candidates && !(s->candidates & (SDP_HOST | SDP_SRFLX | SDP_PRFLX)) && s->candidates & SDP_RELAY)
            sight_once(t, C_ICE_RELAY_ONLY, v->call, v->row, line, 0, s->candidate_count);
        if (s->traits & SDP_ICE_MISMATCH) sight_once(t, C_ICE_FAILED, v->call, v->row, line, 1, 0);
    }
}

void nat_message(struct trace *t, const struct message_view *v) {
    const struct sip_message *p = v->message;
    if (v->source.kind == ADDRESS_CGNAT) sight_once(t, C_CGNAT_ADDRESS, v->call, v->row, NONE, 1, 0);
    if (!p->is_response) via_against_source(t, v);
    if (v->contact.uri.length && v->source.family) contact_address(t, v);
    if (v->session) media_addresses(t, v);
    if (!p->is_response && v->source.kind == ADDRESS_PUBLIC) {
        named_hosts(t, v);
        alg_marks(t, v);
    }
}

/* ---- one call ---- */

/* Responses must go back where the request came from: received and rport (RFC 3261 §18.2.2, RFC 3581 §4). */
static void response_routes(struct trace *t, const struct call_view *c) {
    const struct messages_table *m = &t->messages;
    const struct transactions_table *x = &t->transactions;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i], at = m->transaction[row];
        if (!m->status[row] || at == NONE || x->first[at] == NONE || m->flags[row] & MESSAGE_ADDRESS_INFERRED) continue;
        const uint32_t request = x->first[at];
        if (host_of(t, m->target[row]) != host_of(t, m->source[request]) && !(m->flags[request] & MESSAGE_RPORT)) continue;
        /* seen at the server's own hop only: further along other elements have put their Vias on top */
        if (host_of(t, m->source[row]) != host_of(t, m->target[request]) || m->via_count[row] != m->via_count[request]) continue;
        if (!(m->flags[request] & MESSAGE_VIA_MATCHES_SOURCE) && m->via_kind[request] != ADDRESS_NAME &&
            m->via_kind[request] != ADDRESS_NONE && !(m->flags[row] & MESSAGE_RECEIVED) && m->via_kind[request] != ADDRESS_INVALID)
            sight_once(t, C_NAT_RECEIVED_MISSING, c->call, row, request, 0, 0);
        if (m->flags[request] & MESSAGE_RPORT && m->transport[request] == SIP_UDP && m->target[row] != m->source[request])
            sight_once(t, C_NAT_RESPONSE_MISROUTED, c->call, row, request, 0, 0);
    }
}

/* Source port of one side changes within the dialog (UDP). */
static void port_changes(struct trace *t, const struct call_view *c) {
    const struct messages_table *m = &t->messages;
    const uint32_t opening = c->rows[0];
    uint32_t known[2] = {NONE, NONE};
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i];
        if (m->status[row] || m->transport[row] != SIP_UDP || m->flags[row] & MESSAGE_ADDRESS_INFERRED || m->via_count[row] != 1) continue;
        const int side = m->from_tag_hash[row] == m->from_tag_hash[opening] ? 0 : 1;
        const uint32_t source = m->source[row];
        if (known[side] != NONE && source != known[side] && host_of(t, source) == host_of(t, known[side]) && m->cseq_method[row] != SIP_METHOD_ACK) {
            sight_once(t, C_NAT_PORT_CHANGE, c->call, row, opening, 0, t->endpoints.port[known[side]]);
            return;
        }
        if (known[side] == NONE) known[side] = source;
    }
}

/* The two descriptions that were agreed, line by line: ICE, rtcp-mux, BUNDLE, hairpins. */
static void agreed_lines(struct trace *t, const struct call_view *c) {
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t offer = t->calls.offer_line[c->call], answer = t->calls.answer_line[c->call];
    if (offer == NONE || answer == NONE || !l->port[answer]) return;
    const uint16_t a = l->traits[offer], b = l->traits[answer];
    const uint32_t row = l->message[answer], other = l->message[offer];
    if (l->candidate_count[offer] && !l->candidate_count[answer] && !(b & SDP_ICE)) sight_once(t, C_ICE_MISSING_PEER, c->call, row, other, 0, l->candidate_count[offer]);
    if (a & b & SDP_ICE_LITE) sight_once(t, C_ICE_LITE_BOTH, c->call, row, other, 0, 0);
    if (a & SDP_RTCP_MUX && !(b & SDP_RTCP_MUX))
        sight_once(t, C_RTCP_MUX_MISMATCH, c->call, row, other, a & SDP_RTCP_MUX_ONLY ? 1 : 0, 0);
    if (a & SDP_BUNDLED && (!(b & SDP_BUNDLED) ? l->line_count[answer] > 1 : !(b & SDP_MID)))
        sight_once(t, C_BUNDLE_MISMATCH, c->call, row, other, 0, 0);
    const uint32_t to = l->endpoint[answer], from = l->endpoint[offer];
    if (to != NONE && from != NONE && host_of(t, to) == host_of(t, from) && t->endpoints.kind[to] == ADDRESS_PUBLIC && l->port[offer] != l->port[answer]) {
        const uint32_t invite = t->calls.invite_row[c->call];
        /* the callee's own host here too: then it is one machine, not a hairpin */
        if (invite != NONE && (t->messages.via_kind[invite] == ADDRESS_PRIVATE || t->messages.contact_kind[invite] == ADDRESS_PRIVATE))
            sight_once(t, C_NAT_HAIRPIN, c->call, row, other, 0, 0);
    }
}

/* RTP of the two directions: one that could only begin when the other had opened the way; RTCP that is let through one
   way only. */
static void pinholes(struct trace *t, const struct call_view *c) {
    const struct streams_table *s = &t->streams;
    uint32_t out = NONE, in = NONE;
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t row = c->streams[i];
        if (s->from_caller[row] == 1 && (out == NONE || s->first_time_ns[row] < s->first_time_ns[out])) out = row;
        if (s->from_caller[row] == 2 && (in == NONE || s->first_time_ns[row] < s->first_time_ns[in])) in = row;
    }
    if (out == NONE || in == NONE) return;
    const int64_t answered = t->calls.answer_ns[c->call];
    const uint32_t invite = t->calls.invite_row[c->call];
    const int natted = invite != NONE && (address_is_private(t->messages.contact_kind[invite]) || address_is_private(t->messages.via_kind[invite])) &&
                       t->messages.source[invite] != NONE && t->endpoints.kind[t->messages.source[invite]] == ADDRESS_PUBLIC;
    if (natted && answered > 0 && s->first_time_ns[in] > answered + 2000000000ll && s->first_time_ns[in] > s->first_time_ns[out] &&
        s->first_time_ns[in] - s->first_time_ns[out] < 500000000ll)
        sight_once(t, C_NAT_MEDIA_PINHOLE, c->call, in, out, 1, (s->first_time_ns[in] - answered) / 1000000);
    if (s->duration_s[out] > 15 && s->duration_s[in] > 15 && (s->rtcp_packets[out] == 0) != (s->rtcp_packets[in] == 0))
        sight_once(t, C_NAT_RTCP_BLOCKED, c->call, s->rtcp_packets[out] ? in : out, s->rtcp_packets[out] ? out : in, 0, s->rtcp_packets[out] + s->rtcp_packets[in]);
}

/* Only one stream, from behind a NAT outward, and nothing ever comes back until a re-INVITE: the way was never open. */
static void closed_pinhole(struct trace *t, const struct call_view *c) {
    if (c->stream_count != 1 || t->calls.answer_row[c->call] == NONE) return;
    const uint32_t row = c->streams[0], line = t->streams.media_line[row];
    if (t->streams.from_caller[row] != 1 || line == NONE || t->streams.duration_s[row] < 3) return;
    const uint32_t offer = t->calls.offer_line[c->call];
    if (offer == NONE || !address_is_private(t->media_lines.address_kind[offer])) return;
    const uint32_t source = t->streams.source_endpoint[row];
    if (source != NONE && t->endpoints.kind[source] == ADDRESS_PUBLIC)
        sight_once(t, C_NAT_MEDIA_PINHOLE, c->call, row, NONE, 2, (int64_t)(t->streams.duration_s[row] * 1000));
}

/* Checks were sent and never answered, although both sides spoke ICE; no RTP came of it. */
static void websocket_failures(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    if (!call_has(t, c->call, C_WS_ORIGIN_ADDRESS)) return;
    for (uint32_t i = 0; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i;
        if (!(x->flags[at] & TRANSACTION_IN_DIALOG) || x->first[at] == NONE) continue;
        const int silent = !x->status[at] && call_absence_holds(t, c->call, t->messages.time_ns[x->first[at]], 32000);
        if (silent || x->status[at] == 478 || x->status[at] == 404 || x->status[at] == 408) {
            sight(t, C_WS_ORIGIN_ADDRESS, c->call, x->first[at], NONE, 255, x->status[at]);
            return;
        }
    }
}

void nat_call(struct trace *t, const struct call_view *c) {
    if (!c->count) return;
    response_routes(t, c);
    if (c->count > 2) port_changes(t, c);
    if (t->calls.kind[c->call] != CALL_INVITE) return;
    if (t->calls.answer_line[c->call] != NONE) agreed_lines(t, c);
    if (c->stream_count > 1) pinholes(t, c);
    else closed_pinhole(t, c);
    websocket_failures(t, c);
}

/* ---- the whole trace ---- */

enum { STUN_BINDING = 0x0001, STUN_SUCCESS = 0x0101, STUN_ERROR = 0x0111, TURN_ALLOCATE_ERROR = 0x0113, TURN_CREATE_ERROR = 0x0118,
       TURN_REFRESH_ERROR = 0x0114, TURN_BIND_ERROR = 0x0119 };

struct stun_pair { uint64_t key; uint32_t event, requests, successes, errors, turn_errors; int64_t first_ns, last_ns; };

static struct stun_pair *pair_of(struct stun_pair *all, uint32_t mask, uint64_t a, uint64_t b) {
    const uint64_t low = a < b ? a : b, high = a < b ? b : a;
    const uint64_t key = (low << 32 | high) + 1;
    uint32_t place = (uint32_t)((key * 0x9E3779B97F4A7C15ull) >> 40) & mask;
    while (all[place].key && all[place].key != key) place = (place + 1) & mask;
    all[place].key = key;
    return &all[place];
}

static uint32_t call_of_endpoint(const struct trace *t, uint32_t endpoint) {
    const uint32_t line = endpoint == NONE ? NONE : t->endpoints.announced[endpoint];
    return line == NONE ? NONE : t->media_lines.call[line];
}

/* STUN by address pair: `value` of an event is the message type, for errors the error code in the upper half. */
static void stun_results(struct trace *t) {
    const struct events_table *e = &t->events;
    uint32_t events = 0, size = 64;
    for (uint32_t row = 0; row < e->head.count; row++) events += e->kind[row] == EVENT_STUN;
    if (!events) return;
    while (size < events * 2) size *= 2;
    struct stun_pair *all = t->lender->lend((size_t)size * sizeof *all);
    if (!all) return;
    for (uint32_t row = 0; row < e->head.count; row++) {
        if (e->kind[row] != EVENT_STUN) continue;
        struct stun_pair *p = pair_of(all, size - 1, e->source[row], e->target[row]);
        const uint32_t type = e->value[row] & 0xffff, error = e->value[row] >> 16;
        if (!p->requests && !p->successes) { p->event = row; p->first_ns = e->time_ns[row]; }
        p->last_ns = e->time_ns[row];
        if ((type & 0x0110) == 0) p->requests++;
        else if ((type & 0x0110) == 0x0100) p->successes++;
        else {
            p->errors++;
            if (error == 487) sight(t, C_ICE_ROLE_CONFLICT, call_of_endpoint(t, e->target[row]), row, NONE, 487, 0);
            if (type != STUN_ERROR && (error == 0 || error == 401 || error == 438 || error == 441 || error == 486)) p->turn_errors++;
        }
    }
    for (uint32_t i = 0; i < size; i++) {
        const struct stun_pair *p = &all[i];
        if (!p->key) continue;
        const uint32_t call = call_of_endpoint(t, e->target[p->event]) != NONE ? call_of_endpoint(t, e->target[p->event]) : call_of_endpoint(t, e->source[p->event]);
        if (p->turn_errors >= 3 && p->turn_errors > p->successes) sight(t, C_TURN_AUTH_FAIL, call, p->event, NONE, 0, p->turn_errors);
        const int64_t span = p->last_ns - p->first_ns;
        if (p->requests >= 3 && !p->successes && !p->errors && t->last_time_ns - p->first_ns > 2000000000ll) {
            if (call != NONE && !(t->calls.flags[call] & CALL_HAS_RTP) && (span > 5000000000ll || p->requests >= 7))
                sight_once(t, C_ICE_FAILED, call, t->calls.answer_row[call] != NONE ? t->calls.answer_row[call] : t->calls.invite_row[call], p->event, 2, p->requests);
            sight(t, C_STUN_BLOCKED, call, p->event, NONE, 0, p->requests);
        }
    }
    t->lender->take_back(all);
}

/* A registered contact: when it registered last, whether an inbound request to it timed out since. */
struct binding { uint32_t registered, timed_out, kept_alive; int64_t registered_ns, last_ns; };

static void bindings(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint32_t endpoints = t->endpoints.head.count;
    struct binding *all = t->lender->lend(((size_t)endpoints + 1) * sizeof *all);
    if (!all) return;
    for (uint32_t i = 0; i < endpoints; i++) all[i].registered = all[i].timed_out = NONE;
    for (uint32_t row = 0; row < m->head.count; row++) { /* in order of time: transactions lie by call */
        const uint32_t at = m->transaction[row], request = row;
        if (at == NONE || x->first[at] != row) continue;
        if (x->method[at] == SIP_METHOD_REGISTER) {
            if (x->status[at] / 100 != 2 || x->source[at] == NONE) continue;
            struct binding *b = &all[x->source[at]];
            if (b->registered != NONE && b->timed_out != NONE && m->time_ns[b->timed_out] > b->registered_ns + 30000000000ll)
                sight(t, C_NAT_BINDING_EXPIRED, m->call[b->timed_out], b->timed_out, request, 0, (m->time_ns[b->timed_out] - b->registered_ns) / 1000000000);
            const int natted = address_is_private(m->contact_kind[request]) && t->endpoints.kind[x->source[at]] == ADDRESS_PUBLIC;
            const int64_t limit = x->flags[at] & TRANSACTION_RELIABLE ? 600 : 60;
            if (natted && b->registered != NONE && m->time_ns[request] - b->last_ns > limit * 1000000000 && !b->kept_alive)
                sight(t, C_NAT_KEEPALIVE_ABSENT, m->call[request], request, b->registered, 0, (m->time_ns[request] - b->last_ns) / 1000000000);
            b->registered = request;
            b->timed_out = NONE;
            b->registered_ns = b->last_ns = m->time_ns[request];
            b->kept_alive = 0;
            continue;
        }
        if (x->source[at] != NONE && all[x->source[at]].registered != NONE) all[x->source[at]].last_ns = m->time_ns[request];
        if (x->target[at] != NONE && all[x->target[at]].registered != NONE) {
            if (x->status[at]) all[x->target[at]].last_ns = m->time_ns[request];
            else if (x->requests[at] >= 3 && x->provisional[at] == NONE) all[x->target[at]].timed_out = request;
        }
    }
    t->lender->take_back(all);
}

/* A host that registers from one port after the other: short UDP bindings. Keyed by account and host. */
struct registrant { uint64_t key; uint32_t port, row; };

static void registration_ports(struct trace *t, uint32_t registers) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    uint32_t size = 64;
    while (size < registers * 2) size *= 2;
    struct registrant *all = t->lender->lend((size_t)size * sizeof *all);
    if (!all) return;
    for (uint32_t row = 0; row < m->head.count; row++) {
        const uint32_t at = m->transaction[row];
        if (at == NONE || x->first[at] != row || x->method[at] != SIP_METHOD_REGISTER || x->status[at] / 100 != 2 || m->source[row] == NONE || m->transport[row] != SIP_UDP) continue;
        const uint64_t key = ((uint64_t)m->to_user_hash[row] << 32 | host_of(t, m->source[row])) + 1;
        uint32_t place = (uint32_t)((key * 0x9E3779B97F4A7C15ull) >> 40) & (size - 1);
        while (all[place].key && all[place].key != key) place = (place + 1) & (size - 1);
        const uint32_t port = t->endpoints.port[m->source[row]];
        if (all[place].key && all[place].port != port && m->contact_hash[row] == m->contact_hash[all[place].row])
            sight_once(t, C_NAT_PORT_CHANGE, m->call[row], row, all[place].row, 1, all[place].port);
        all[place] = (struct registrant){key, port, row};
    }
    t->lender->take_back(all);
}

void nat_trace(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    if (t->events.head.count) stun_results(t);
    uint32_t registers = 0;
    for (uint32_t at = 0; at < x->head.count; at++) registers += x->method[at] == SIP_METHOD_REGISTER;
    if (!registers || t->no_time) return;
    bindings(t);
    registration_ports(t, registers);
}

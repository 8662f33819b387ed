/* General facts of a trace: sizes, repeats, what else was on the wire (rule page 3.9). What is one number over whole
   columns is selected in Python; here is what only the pass knows. */
#include <string.h>

#include "trace.h"

enum { UDP_SAFE_BYTES = 1300, MESSAGE_LIMIT_BYTES = 65535 };

void general_message(struct trace *t, const struct message_view *v) {
    const uint32_t flags = t->messages.flags[v->row];
    if (TL_UNLIKELY(v->length > UDP_SAFE_BYTES)) {
        if (flags & MESSAGE_LONG) sight_once(t, C_UDP_LARGE, v->call, v->row, NONE, 0, v->length);
        if (v->length > MESSAGE_LIMIT_BYTES) sight_once(t, C_MESSAGE_TOO_LARGE, v->call, v->row, NONE, 0, v->length);
    }
    if (TL_UNLIKELY(v->message->status == 513)) sight_once(t, C_MESSAGE_TOO_LARGE, v->call, v->row, NONE, 513, v->length);
    if (TL_UNLIKELY(flags & MESSAGE_REASSEMBLED) && t->messages.transport[v->row] == SIP_UDP)
        sight_once(t, C_UDP_FRAGMENTED, v->call, v->row, NONE, 0, v->length);
    if (TL_UNLIKELY(flags & MESSAGE_SNAPPED)) sight_once(t, C_CAPTURE_TRUNCATED, v->call, v->row, NONE, 0, v->length);
}

void general_call(struct trace *t, const struct call_view *c) {
    if (t->calls.flags[c->call] & CALL_ONE_SIDED && c->count)
        sight_once(t, C_CAPTURE_ONE_SIDED, c->call, c->rows[0], NONE, 0, c->count);
}

/* ---- one peer's repeats ---- */

static void retransmission_ratio(struct trace *t) {
    enum { MESSAGES_MIN = 50 };
    const struct messages_table *m = &t->messages;
    const uint32_t hosts = t->endpoints.head.count;
    if (m->head.count < MESSAGES_MIN) return;
    uint32_t *sent = t->lender->lend((size_t)hosts * 3 * sizeof *sent + 8);
    if (!sent) return;
    uint32_t *repeated = sent + hosts, *example = repeated + hosts;
    for (uint32_t row = 0; row < m->head.count; row++) {
        const uint32_t host = host_of(t, m->source[row]);
        if (host == NONE || m->flags[row] & MESSAGE_MIRRORED) continue;
        sent[host]++;
        if (!(m->flags[row] & MESSAGE_RETRANSMISSION)) continue;
        if (!repeated[host]++) example[host] = row;
    }
    for (uint32_t host = 0; host < hosts; host++)
        if (sent[host] >= MESSAGES_MIN && (uint64_t)repeated[host] * 50 > sent[host])
            sight(t, C_RETRANSMISSION_RATIO, m->call[example[host]], example[host], host, 0,
                  (int64_t)((uint64_t)repeated[host] * 10000 / sent[host]));
    t->lender->take_back(sent);
}

/* ---- failures that come in a bunch ---- */

/* Failures of one status code: at least 10 in five minutes and more than five times the rate of the rest. */
static void failure_clusters(struct trace *t) {
    enum { CODES = 700, WINDOW_S = 300, LEAST = 10 };
    const struct calls_table *c = &t->calls;
    if (t->no_time || t->first_time_ns > t->last_time_ns) return;
    const int64_t span_s = (t->last_time_ns - t->first_time_ns) / 1000000000;
    if (span_s < 2 * WINDOW_S) return;
    const uint64_t windows = (uint64_t)span_s / WINDOW_S + 1;
    if (windows > 1u << 20) return;
    uint32_t *totals = t->lender->lend(CODES * sizeof *totals);
    uint32_t *counts = t->lender->lend(windows * sizeof *counts);
    uint32_t *example = t->lender->lend(windows * sizeof *example);
    if (totals && counts && example) {
        for (uint32_t call = 0; call < c->head.count; call++)
            if (c->kind[call] == CALL_INVITE && c->final_status[call] >= 400 && c->final_status[call] < CODES)
                totals[c->final_status[call]]++;
        for (int code = 400; code < CODES; code++) {
            if (totals[code] < LEAST || code == 401 || code == 407 || code == 487 || code == 486) continue;
            memset(counts, 0, windows * sizeof *counts);
            uint64_t best = 0;
            for (uint32_t call = 0; call < c->head.count; call++) {
                if (c->kind[call] != CALL_INVITE || c->final_status[call] != code) continue;
                const uint64_t window = (uint64_t)((c->start_ns[call] - t->first_time_ns) / 1000000000) / WINDOW_S;
                if (window >= windows) continue;
                if (!counts[window]++) example[window] = call;
                if (counts[window] > counts[best]) best = window;
            }
            const uint64_t others = totals[code] - counts[best];
            if (counts[best] >= LEAST && counts[best] > 5 * (others / (windows - 1) + 1))
                sight(t, C_TIME_OF_FAILURE_CLUSTER, example[best], c->final_row[example[best]], NONE, code, counts[best]);
        }
    }
    if (totals) t->lender->take_back(totals);
    if (counts) t->lender->take_back(counts);
    if (example) t->lender->take_back(example);
}

/* ---- one peer, different habits ---- */

/* A caller host whose answered calls agree on different codecs, or whose calls come over different transports. */
static void inconsistent_peers(struct trace *t) {
    enum { CALLS_MIN = 5 };
    const struct calls_table *c = &t->calls;
    const uint32_t hosts = t->endpoints.head.count;
    uint64_t *codecs = t->lender->lend((size_t)hosts * (sizeof *codecs + 3 * sizeof(uint32_t)) + 8);
    if (!codecs) return;
    uint32_t *calls = (uint32_t *)(codecs + hosts), *example = calls + hosts, *transports = example + hosts;
    for (uint32_t call = 0; call < c->head.count; call++) {
        const uint32_t host = host_of(t, c->callee[call]), row = c->invite_row[call];
        if (host == NONE || row == NONE) continue;
        calls[host]++;
        if (c->codec[call]) codecs[host] |= 1ull << c->codec[call];
        transports[host] |= 1u << t->messages.transport[row];
        example[host] = call;
    }
    for (uint32_t host = 0; host < hosts; host++) {
        const int kinds = __builtin_popcountll(codecs[host]), ways = __builtin_popcount(transports[host]);
        if (calls[host] >= CALLS_MIN && (kinds > 2 || ways > 1))
            sight(t, C_CONFIG_INCONSISTENT, example[host], c->invite_row[example[host]], host, ways, (int64_t)codecs[host]);
    }
    t->lender->take_back(codecs);
}

/* Events that say what else used SIP's ports, one sighting a kind and endpoint pair. */
static void other_traffic(struct trace *t) {
    const struct events_table *e = &t->events;
    for (uint32_t row = 0; row < e->head.count; row++) {
        const uint8_t kind = e->kind[row];
        if (kind == EVENT_TLS) sight_once(t, C_ENCRYPTED_SIGNALLING, NONE, row, NONE, kind, e->value[row]);
        const uint32_t target = e->target[row];
        const uint16_t port = target == NONE ? 0 : t->endpoints.port[target];
        if (port != 5060 && port != 5080) continue;
        if (kind == EVENT_STUN || kind == EVENT_OTHER || kind == EVENT_DTLS)
            sight(t, C_NON_SIP_ON_PORT, NONE, row, NONE, kind, e->value[row]);
    }
}

static void orphan_streams(struct trace *t) {
    for (uint32_t row = 0; row < t->streams.head.count; row++)
        if (t->streams.call[row] == NONE) sight(t, C_ORPHAN_RTP, NONE, row, NONE, t->streams.payload_type[row], t->streams.packets[row]);
}

void general_trace(struct trace *t) {
    retransmission_ratio(t);
    failure_clusters(t);
    inconsistent_peers(t);
    other_traffic(t);
    orphan_streams(t);
}

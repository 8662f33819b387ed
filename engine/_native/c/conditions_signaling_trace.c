/* Signaling conditions across calls: peers that stop answering, overload, connections. Linear in rows:
   hashed or sorted with memory that is lent for the time of the call. */
#include "conditions_signaling.h"

/* ---- a map from a pair of hosts to what is known of it ---- */

#define MARKS 5

struct peer_state {
    uint64_t key;              /* 0 free */
    int64_t times[MARKS];      /* ring of the last events */
    int64_t until_ns;          /* Retry-After of the last 503 runs to here */
    uint32_t row, other, call; /* what the sighting names */
    uint32_t count;            /* events so far */
    uint32_t run, longest;     /* failures in a row */
    uint8_t known, up;         /* last known state */
    uint8_t sighted;
};
struct peers { struct peer_state *slots; uint32_t mask; };

static int peers_init(struct peers *p, const struct trace *t, uint32_t most) {
    uint32_t size = 64;
    if (most > 1u << 20) most = 1u << 20; /* pairs of hosts, not messages: further ones go without */
    while (size < most * 2) size *= 2;
    p->slots = t->lender->lend((size_t)size * sizeof *p->slots);
    p->mask = size - 1;
    return p->slots ? 0 : STATUS_TOO_SMALL;
}

/* The state of a pair, made when it is new; NULL when the map is full. */
static struct peer_state *peers_find(struct peers *p, uint32_t from, uint32_t to) {
    const uint64_t key = ((uint64_t)from << 32 | to) + 1;
    if (!key || from == NONE) return NULL; /* 0 is a free slot */
    const uint64_t h = key * 0x9E3779B97F4A7C15ull;
    uint32_t place = (uint32_t)(h >> 32) & p->mask;
    for (uint32_t step = 0; step < 64; step++, place = (place + 1) & p->mask) {
        struct peer_state *s = &p->slots[place];
        if (s->key == key) return s;
        if (s->key) continue;
        s->key = key;
        s->row = s->other = s->call = NONE;
        return s;
    }
    return NULL;
}

/* ---- OPTIONS ---- */

/* 1 up, 0 down, -1 not to be told (RFC 3261 §11: any answer but a server failure says that the peer
   lives). */
static int options_state(const struct trace *t, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const uint16_t status = x->status[at];
    if (status) return status / 100 == 5 && status != 501 && status != 505 ? 0 : 1;
    const uint32_t first = x->first[at], host = host_of(t, x->target[at]);
    if (first == NONE || t->no_time || x->target[at] == NONE || host == NONE) return -1;
    if (t->messages.time_ns[first] + (int64_t)TIMER_B_MS * 1000000 > t->last_time_ns) return -1;
    /* one send, and nothing ever from there: only half of the traffic may have been captured */
    if (x->requests[at] < 2 && !(x->flags[at] & TRANSACTION_RELIABLE) &&
        !t->endpoints.messages_sent[x->target[at]])
        return -1;
    return x->provisional[at] != NONE;
}

static void take_options(struct trace *t, struct peers *peers, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const int up = options_state(t, at);
    if (up < 0 || x->first[at] == NONE) return;
    struct peer_state *s = peers_find(peers, host_of(t, x->source[at]), host_of(t, x->target[at]));
    if (!s) return;
    const int64_t now = t->messages.time_ns[x->first[at]];
    if (!up) {
        if (s->run == 0 && s->longest < 3) { s->row = x->first[at]; s->other = x->final[at]; s->call =
            x->call[at]; }
        if (++s->run > s->longest) s->longest = s->run;
    } else {
        s->run = 0;
    }
    if (s->known && s->up != up) {
        const int64_t since = s->times[(s->count + MARKS - 3) % MARKS]; /* three changes ago */
        s->times[s->count++ % MARKS] = now;
        if (s->count > 3 && now - since <= 3600000000000ll && !s->sighted && !t->no_time) {
            s->sighted = 1;
            sight(t, C_OPTIONS_FLAP, x->call[at], x->first[at], NONE, 0, s->count);
        }
    }
    s->known = 1;
    s->up = (uint8_t)up;
}

static void check_options(struct trace *t, uint32_t options) {
    struct peers peers;
    if (peers_init(&peers, t, options)) return;
    for (uint32_t at = 0; at < t->transactions.head.count; at++)
        if (t->transactions.method[at] == SIP_METHOD_OPTIONS &&
            !(t->transactions.flags[at] & TRANSACTION_IN_DIALOG))
            take_options(t, &peers, at);
    for (uint32_t i = 0; i <= peers.mask; i++) {
        const struct peer_state *s = &peers.slots[i];
        if (s->key && s->longest >= 3)
            sight(t, C_OPTIONS_DOWN, s->call, s->row, s->other, s->other == NONE ? 0 :
                  t->messages.status[s->other],
                  s->longest);
    }
    t->lender->take_back(peers.slots);
}

/* ---- 503 ---- */

static void take_unavailable(struct trace *t, struct peers *peers, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t final = x->final[at];
    const int64_t now = t->messages.time_ns[final];
    struct peer_state *all = peers_find(peers, host_of(t, x->target[at]), NONE);
    struct peer_state *pair = peers_find(peers, host_of(t, x->source[at]), host_of(t, x->target[at]));
    if (!all || !pair) return;
    all->times[all->count++ % MARKS] = now;
    const int64_t oldest = all->times[all->count % MARKS]; /* four before this one, once five were seen */
    if (all->count == 1) all->row = final;
    if (all->count >= MARKS && !all->sighted && !t->no_time && now - oldest <= 60000000000ll && now >=
        oldest) {
        all->sighted = 1;
        sight(t, C_OVERLOAD_503, x->call[at], all->row, final, 2, all->count);
    }
    if (t->messages.retry_after_s[final] > 0) {
        pair->until_ns = now + (int64_t)t->messages.retry_after_s[final] * 1000000000;
        pair->times[0] = now;
        pair->row = final;
    }
}

/* A new INVITE to the peer before its Retry-After ran out (RFC 3261 §20.33, §21.5.4). */
static void take_attempt(struct trace *t, struct peers *peers, uint32_t at) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t first = x->first[at];
    const struct peer_state *s = peers_find(peers, host_of(t, x->source[at]), host_of(t, x->target[at]));
    if (!s || !s->until_ns || t->no_time) return;
    const int64_t now = t->messages.time_ns[first];
    if (now > s->times[0] && now < s->until_ns)
        sight_once(t, C_RETRY_IGNORED, x->call[at], first, s->row, t->messages.retry_after_s[s->row],
                   (now - s->times[0]) / 1000000);
}

static void check_unavailable(struct trace *t, uint32_t unavailable) {
    const struct transactions_table *x = &t->transactions;
    struct peers peers;
    if (peers_init(&peers, t, unavailable * 2)) return;
    const int retry = t->condition_count[C_OVERLOAD_503] > 0;
    for (uint32_t at = 0; at < x->head.count; at++) {
        if (retry && x->method[at] == SIP_METHOD_INVITE && x->first[at] != NONE &&
            !(x->flags[at] & TRANSACTION_IN_DIALOG))
            take_attempt(t, &peers, at);
        if (x->status[at] == 503) take_unavailable(t, &peers, at);
    }
    t->lender->take_back(peers.slots);
}

/* ---- connections ---- */

static int is_sip_port(const struct trace *t, uint32_t endpoint) {
    if (endpoint == NONE) return 0;
    const uint16_t port = t->endpoints.port[endpoint];
    return (port >= 5060 && port <= 5090) || t->endpoints.flags[endpoint] & (ENDPOINT_SIP | ENDPOINT_TLS);
}

/* The event is the server's RST, or the client's SYN that nobody answered: the server is the end with a SIP port. */
static void take_refusal(struct trace *t, uint32_t event) {
    const struct events_table *e = &t->events;
    const uint32_t ends[2] = {e->source[event], e->target[event]};
    for (int i = 0; i < 2; i++)
        if (is_sip_port(t, ends[i])) {
            sight(t, C_TCP_REFUSED, NONE, event, NONE, i, t->endpoints.port[ends[i]]);
            return;
        }
}

/* A quoted packet that was SIP, or RTP to an announced port of a call that was still up. */
static void take_icmp(struct trace *t, uint32_t event) {
    const struct events_table *e = &t->events;
    const uint32_t target = e->target[event], type = e->value[event] >> 8;
    if (target == NONE || (type != 3 && type != 1) || t->endpoints.port[target] == 0) return;
    const uint32_t line = t->endpoints.announced[target];
    if (line == NONE) {
        if (is_sip_port(t, target)) sight(t, C_ICMP_UNREACHABLE, NONE, event, NONE, 1, e->value[event]);
        return;
    }
    const uint32_t call = t->media_lines.call[line];
    const int64_t released = t->calls.release_ns[call];
    /* the socket was closed with the call */
    if (released >= 0 && e->time_ns[event] >= released - 1000000000) return;
    sight_once(t, C_ICMP_UNREACHABLE, call, event, NONE, 2, e->value[event]);
}

/* RFC 5626 §4.4.1: a ping (CRLF CRLF) over a connection is answered within 10 s. */
static void take_ping(struct trace *t, struct peers *peers, uint32_t event) {
    const struct events_table *e = &t->events;
    const int ping = e->kind[event] == EVENT_PING;
    struct peer_state *s = peers_find(peers, ping ? e->source[event] : e->target[event],
                                      ping ? e->target[event] : e->source[event]);
    if (!s) return;
    if (!ping) { s->row = NONE; return; }
    if (s->row == NONE) { s->row = event; s->until_ns = e->time_ns[event]; }
}

static void check_pings(struct trace *t, struct peers *peers) {
    for (uint32_t i = 0; i <= peers->mask; i++) {
        const struct peer_state *s = &peers->slots[i];
        if (s->key && s->row != NONE && t->last_time_ns - s->until_ns >= 10000000000ll)
            sight(t, C_KEEPALIVE_NO_PONG, NONE, s->row, NONE, 0, (t->last_time_ns - s->until_ns) / 1000000);
    }
}

/* ---- connections that end under a dialog ---- */

struct ending { uint64_t pair; int64_t time_ns; uint32_t event; };

static uint64_t unordered_pair(uint32_t a, uint32_t b) {
    return a < b ? (uint64_t)a << 32 | b : (uint64_t)b << 32 | a;
}
static int ends_before(const struct ending *a, const struct ending *b) {
    return a->pair != b->pair ? a->pair < b->pair : a->time_ns < b->time_ns;
}
static void sift(struct ending *list, uint32_t root, uint32_t count) {
    for (uint32_t child; (child = root * 2 + 1) < count; root = child) {
        if (child + 1 < count && ends_before(&list[child], &list[child + 1])) child++;
        if (!ends_before(&list[root], &list[child])) return;
        const struct ending swap = list[root];
        list[root] = list[child];
        list[child] = swap;
    }
}
static void sort_endings(struct ending *list, uint32_t count) {
    for (uint32_t i = count / 2; i-- > 0;) sift(list, i, count);
    for (uint32_t i = count; i-- > 1;) {
        const struct ending swap = list[0];
        list[0] = list[i];
        list[i] = swap;
        sift(list, 0, i);
    }
}
/* First ending of a pair at or behind a time; NULL when there is none. */
static const struct ending *ending_after(const struct ending *list, uint32_t count, uint64_t pair,
                                         int64_t time_ns) {
    const struct ending wanted = {pair, time_ns, 0};
    uint32_t low = 0, high = count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (ends_before(&list[middle], &wanted)) low = middle + 1;
        else high = middle;
    }
    return low < count && list[low].pair == pair ? &list[low] : NULL;
}

/* Confirmed, not released, nothing said on any connection since: the next request has no way (RFC 3261
   §18.4). */
static void check_connection(struct trace *t, uint32_t call, const struct ending *list, uint32_t count,
                             uint32_t opened) {
    const struct calls_table *k = &t->calls;
    const struct messages_table *m = &t->messages;
    const uint32_t answer = k->answer_row[call];
    if (k->kind[call] != CALL_INVITE || !(k->flags[call] & CALL_CONFIRMED) || k->bye_row[call] !=
        NONE) return;
    if (m->transport[answer] == SIP_UDP || m->source[answer] == NONE || m->target[answer] == NONE) return;
    const uint64_t pair = unordered_pair(m->source[answer], m->target[answer]);
    const struct ending *end = ending_after(list, count, pair, k->answer_ns[call]);
    if (!end || k->end_ns[call] > end->time_ns || !call_absence_holds(t, call, end->time_ns,
                                                                      TIMER_B_MS)) return;
    const uint64_t hosts = unordered_pair(host_of(t, m->source[answer]), host_of(t, m->target[answer]));
    /* openings stand behind the endings, keyed by hosts */
    if (ending_after(list + count, opened, hosts, end->time_ns)) return;
    sight_once(t, C_TCP_CLOSED_MID_DIALOG, call, end->event, answer, t->events.kind[end->event],
               (end->time_ns - k->answer_ns[call]) / 1000000);
}

static void check_endings(struct trace *t, uint32_t closed, uint32_t opened) {
    const struct events_table *e = &t->events;
    struct ending *list = t->lender->lend(((size_t)closed + opened) * sizeof *list);
    if (!list) return;
    uint32_t ends = 0, begins = 0;
    for (uint32_t i = 0; i < e->head.count; i++) {
        const uint32_t a = e->source[i], b = e->target[i];
        if (a == NONE || b == NONE) continue;
        if ((e->kind[i] == EVENT_TCP_CLOSED || e->kind[i] == EVENT_TCP_RESET) && ends < closed)
            list[ends++] = (struct ending){unordered_pair(a, b), e->time_ns[i], i};
        else if (e->kind[i] == EVENT_TCP_OPENED && begins < opened)
            list[closed + begins++] = (struct ending){unordered_pair(host_of(t, a), host_of(t, b)),
                e->time_ns[i], i};
    }
    if (ends < closed && begins) memmove(list + ends, list + closed, (size_t)begins * sizeof *list);
    sort_endings(list, ends);
    sort_endings(list + ends, begins);
    for (uint32_t call = 0; call < t->calls.head.count; call++) check_connection(t, call, list, ends, begins);
    t->lender->take_back(list);
}

static void check_events(struct trace *t) {
    const struct events_table *e = &t->events;
    uint32_t kinds[EVENT_KIND_COUNT] = {0};
    for (uint32_t i = 0; i < e->head.count; i++)
        if (e->kind[i] < EVENT_KIND_COUNT) kinds[e->kind[i]]++;
    if (kinds[EVENT_TCP_REFUSED] || kinds[EVENT_ICMP])
        for (uint32_t i = 0; i < e->head.count; i++) {
            if (e->kind[i] == EVENT_TCP_REFUSED) take_refusal(t, i);
            else if (e->kind[i] == EVENT_ICMP) take_icmp(t, i);
        }
    struct peers peers;
    if (kinds[EVENT_PING] && !t->no_time && !peers_init(&peers, t, kinds[EVENT_PING] + kinds[EVENT_PONG])) {
        for (uint32_t i = 0; i < e->head.count; i++)
            if ((e->kind[i] == EVENT_PING || e->kind[i] == EVENT_PONG) && e->transport[i] != SIP_UDP)
                take_ping(t, &peers, i);
        check_pings(t, &peers);
        t->lender->take_back(peers.slots);
    }
    const uint32_t closed = kinds[EVENT_TCP_CLOSED] + kinds[EVENT_TCP_RESET];
    if (closed && !t->no_time) check_endings(t, closed, kinds[EVENT_TCP_OPENED]);
}

void signaling_trace(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    uint32_t options = 0, unavailable = 0;
    for (uint32_t at = 0; at < x->head.count; at++) {
        options += x->method[at] == SIP_METHOD_OPTIONS;
        unavailable += x->status[at] == 503;
    }
    if (options > 2) check_options(t, options);
    if (unavailable) check_unavailable(t, unavailable);
    if (t->events.head.count) check_events(t);
}

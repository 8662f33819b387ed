/* TCP connections of a capture: which there are, how they open and end, and who gets their bytes. Memory
   is lent once; the connection unused longest gives way to a new one. */
#include "tcp_flow.h"

#define FLAG_FIN 1
#define FLAG_SYN 2
#define FLAG_RST 4
#define FLAG_ACK 16
#define CHAIN_LIMIT 32
#define NO_ANSWER_NS 3000000000ull /* a SYN unanswered for this long was refused silently (RFC 6298 §2) */

/* ---- memory ---- */

static size_t rounded(size_t size) { return (size + 63) & ~(size_t)63; }

static uint32_t bucket_count(uint32_t connections) {
    uint32_t count = 16;
    while (count < connections && count < 1u << 30) count *= 2;
    return count;
}

size_t tcp_size(uint32_t connections, uint32_t buffers) {
    if (connections == 0) connections = 1;
    return 64 + rounded(sizeof(struct tcp)) + rounded(bucket_count(connections) * sizeof(uint32_t)) +
           rounded((size_t)connections * sizeof(struct connection)) + (size_t)buffers * sizeof(struct buffer);
}

struct tcp *tcp_init(void *memory, size_t size, uint32_t connections, uint32_t buffers) {
    if (connections == 0) connections = 1;
    if (size < tcp_size(connections, buffers)) return NULL;
    uint8_t *at = (uint8_t *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    struct tcp *t = (struct tcp *)at;
    t->seed = (uint64_t)(uintptr_t)memory * 0x9e3779b97f4a7c15ull; /* places of rows, never results */
    t->last_ns = INT64_MIN;
    t->connection_count = connections;
    t->buffer_count = buffers;
    t->bucket_mask = bucket_count(connections) - 1;
    at += rounded(sizeof *t);
    t->buckets = (uint32_t *)at;
    memset(t->buckets, 0xff, (t->bucket_mask + 1u) * sizeof(uint32_t));
    at += rounded((t->bucket_mask + 1u) * sizeof(uint32_t));
    t->connections = (struct connection *)at;
    t->buffers = (struct buffer *)(at + rounded((size_t)connections * sizeof(struct connection)));
    t->oldest_connection = t->newest_connection = t->oldest_buffer = t->newest_buffer = NONE_ROW;
    t->free_connection = t->free_buffer = NONE_ROW;
    for (uint32_t row = connections; row-- > 0; t->free_connection = row) {
        t->connections[row].used = 0;
        t->connections[row].newer = t->free_connection;
    }
    for (uint32_t row = buffers; row-- > 0; t->free_buffer = row) t->buffers[row].newer = t->free_buffer;
    return t;
}

/* ---- flows ---- */

void flow_event(struct flow *w, enum tcp_event event) {
    struct packet p = w->base;
    p.payload_length = p.wire_length = 0;
    w->sink(w->context, event, &p, w->c->transport);
}

struct flow flow_beside(const struct flow *w, struct connection *c, unsigned direction) {
    const struct direction *d = c->directions + direction;
    struct flow other = {.t = w->t, .c = c, .d = c->directions + direction, .sink = w->sink,
                         .context = w->context, .problems = w->problems};
    struct packet *p = &other.base;
    p->time_ns = d->last_ns;
    p->file_offset = d->last_offset;
    p->number = d->last_number;
    p->flags = d->last_flags;
    p->tunnels = d->last_tunnels;
    p->vlan = d->last_vlan;
    p->dscp = d->last_dscp;
    p->ttl = d->last_ttl;
    p->flow_tag = c->flow_tag;
    p->protocol = IP_TCP;
    p->source = c->ends[direction];
    p->target = c->ends[1 - direction];
    p->payload = (const uint8_t *)"";
    return other;
}

static void remember_last(struct direction *d, const struct packet *p) {
    d->last_ns = p->time_ns;
    d->last_offset = p->file_offset;
    d->last_number = p->number;
    d->last_flags = p->flags & (uint16_t)~PACKET_SNAPPED;
    d->last_tunnels = p->tunnels;
    d->last_vlan = p->vlan;
    d->last_dscp = p->dscp;
    d->last_ttl = p->ttl;
}

/* ---- connections ---- */

static void list_remove(struct tcp *t, uint32_t row) {
    struct connection *c = t->connections + row;
    if (c->older == NONE_ROW) t->oldest_connection = c->newer;
    else t->connections[c->older].newer = c->newer;
    if (c->newer == NONE_ROW) t->newest_connection = c->older;
    else t->connections[c->newer].older = c->older;
}

static void list_append(struct tcp *t, uint32_t row) {
    struct connection *c = t->connections + row;
    c->newer = NONE_ROW;
    c->older = t->newest_connection;
    if (t->newest_connection == NONE_ROW) t->oldest_connection = row;
    else t->connections[t->newest_connection].newer = row;
    t->newest_connection = row;
}

/* Hands out what both directions hold. */
static void connection_flush(struct flow *w, struct connection *c) {
    for (unsigned i = 0; i < 2; i++) {
        struct flow side = flow_beside(w, c, i);
        order_flush(&side);
    }
}

static void note_unanswered(struct flow *w, struct connection *c) {
    if (c->opener > 1 || c->opened || c->closed || c->reset) return;
    const uint64_t waited = w->t->last_ns > c->syn_ns ? (uint64_t)w->t->last_ns - (uint64_t)c->syn_ns : 0;
    if (c->syn_count < 2 && waited < NO_ANSWER_NS) return; /* the capture may just end here */
    if (c->directions[1 - c->opener].synchronised) return;
    struct flow side = flow_beside(w, c, c->opener);
    side.base.tcp_flags = FLAG_SYN;
    flow_event(&side, TCP_REFUSED);
}

static void connection_drop(struct flow *w, uint32_t row, int crowded) {
    struct tcp *t = w->t;
    struct connection *c = t->connections + row;
    if (crowded && !c->closed && !c->reset) flow_note(w, PROBLEM_TCP_OVERFLOW);
    connection_flush(w, c);
    note_unanswered(w, c);
    uint32_t *link = t->buckets + (c->hash & t->bucket_mask);
    while (*link != row) link = &t->connections[*link].next_in_bucket;
    *link = c->next_in_bucket;
    list_remove(t, row);
    c->used = 0;
    c->newer = t->free_connection;
    t->free_connection = row;
}

static uint64_t mixed(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0xd6e8feb86659fd93ull;
    return h ^ h >> 32;
}

static int end_order(const struct address *a, const struct address *b) {
    const int order = memcmp(a->ip, b->ip, 16);
    return order ? order : (int)a->port - (int)b->port;
}

static uint64_t connection_hash(const struct tcp *t, const struct address *a, const struct address *b,
                                uint64_t tag) {
    uint64_t words[4], h = t->seed;
    memcpy(words, a->ip, 16);
    memcpy(words + 2, b->ip, 16);
    for (int i = 0; i < 4; i++) h = mixed(h, words[i]);
    return mixed(mixed(h, tag), (uint64_t)a->port << 16 | b->port);
}

static void connection_clear(struct connection *c) {
    memset(c->directions, 0, sizeof c->directions);
    for (int i = 0; i < 2; i++) {
        c->directions[i].buffer = c->directions[i].joined = NONE_ROW;
        c->directions[i].framing.content_length = -1;
    }
    c->syn_ns = 0;
    c->transport = SIP_TCP;
    c->opener = 2;
    c->syn_count = c->opened = c->closed = c->reset = c->announced = 0;
}

static struct connection *connection_find(struct flow *w, const struct packet *p, int swapped) {
    struct tcp *t = w->t;
    const struct address *a = swapped ? &p->target : &p->source, *b = swapped ? &p->source : &p->target;
    const uint64_t hash = connection_hash(t, a, b, p->flow_tag);
    uint32_t row = t->buckets[hash & t->bucket_mask];
    for (int steps = 0; row != NONE_ROW; row = t->connections[row].next_in_bucket) {
        struct connection *c = t->connections + row;
        if (c->hash == hash && c->flow_tag == p->flow_tag && !end_order(a, c->ends) &&
            !end_order(b, c->ends + 1)) {
            list_remove(t, row);
            list_append(t, row);
            return c;
        }
        if (++steps == CHAIN_LIMIT) { /* a flood aimed at one bucket costs its own rows */
            connection_drop(w, row, 1);
            break;
        }
    }
    if (t->free_connection == NONE_ROW) connection_drop(w, t->oldest_connection, 1);
    row = t->free_connection;
    struct connection *c = t->connections + row;
    t->free_connection = c->newer;
    connection_clear(c);
    c->ends[0] = *a;
    c->ends[1] = *b;
    c->flow_tag = p->flow_tag;
    c->hash = hash;
    c->used = 1;
    c->next_in_bucket = t->buckets[hash & t->bucket_mask];
    t->buckets[hash & t->bucket_mask] = row;
    list_append(t, row);
    return c;
}

/* ---- opening and ending ---- */

/* A SYN that does not repeat the one before opens the ports anew. */
static void restart_if_new(struct flow *w, const struct packet *p, unsigned direction) {
    struct connection *c = w->c;
    const struct direction *d = w->d;
    if (d->syn_seen && d->initial_sequence == p->tcp_sequence) return;
    if (!d->synchronised && !(p->tcp_flags & FLAG_ACK) && !c->directions[1 - direction].synchronised) return;
    if (p->tcp_flags & FLAG_ACK) { /* the answer belongs to the SYN seen on the other side */
        if (!d->synchronised || d->next == p->tcp_sequence + 1) return;
        if (c->opener == 1 - direction && !c->opened) return;
    }
    connection_flush(w, c);
    connection_clear(c);
}

static void take_syn(struct flow *w, const struct packet *p, unsigned direction) {
    struct connection *c = w->c;
    struct direction *d = w->d;
    restart_if_new(w, p, direction);
    if (!d->syn_seen) {
        d->syn_seen = d->synchronised = 1;
        d->initial_sequence = p->tcp_sequence;
        d->next = p->tcp_sequence + 1;
    }
    if (!(p->tcp_flags & FLAG_ACK)) {
        if (c->syn_count == 0) c->syn_ns = p->time_ns;
        if (c->syn_count < 255) c->syn_count++;
        c->opener = (uint8_t)direction;
    } else if (!c->opened) {
        c->opened = 1;
        flow_event(w, TCP_OPENED);
    }
}

static void take_reset(struct flow *w) {
    struct connection *c = w->c;
    const unsigned direction = (unsigned)(w->d - c->directions);
    const int refused = c->opener == 1 - direction && !c->opened && !c->directions[direction].synchronised;
    connection_flush(w, c);
    if (c->reset) return;
    c->reset = 1;
    flow_event(w, refused ? TCP_REFUSED : TCP_RESET);
}

static void take_end(struct flow *w) {
    struct connection *c = w->c;
    w->d->finished = 1;
    if (!c->closed) {
        c->closed = 1;
        flow_event(w, TCP_CLOSED);
    }
    if (c->directions[0].finished && c->directions[1].finished) connection_flush(w, c);
}

static void take_acknowledgement(struct flow *w, const struct packet *p, unsigned direction) {
    struct direction *other = w->c->directions + (1 - direction);
    if (!other->acknowledgement_seen || (int32_t)(p->tcp_acknowledgement - other->acknowledged) > 0)
        other->acknowledged = p->tcp_acknowledgement;
    other->acknowledgement_seen = 1;
    if (other->buffer == NONE_ROW) return;
    struct flow side = flow_beside(w, w->c, 1 - direction);
    order_acknowledged(&side);
}

/* ---- entries ---- */

void tcp_push(struct tcp *t, const struct packet *p, tcp_sink sink, void *context,
              struct problems *problems) {
    const int swapped = end_order(&p->source, &p->target) > 0;
    const unsigned direction = swapped ? 1 : 0;
    struct flow w = {.t = t, .base = *p, .sink = sink, .context = context, .problems = problems};
    w.base.flags &= (uint16_t)~PACKET_SNAPPED; /* says so of a segment; a message may still be whole */
    if (p->time_ns > t->last_ns) t->last_ns = p->time_ns;
    w.c = connection_find(&w, p, swapped);
    w.d = w.c->directions + direction;
    const uint32_t data_sequence = p->tcp_sequence + (p->tcp_flags & FLAG_SYN ? 1u : 0u);
    if (p->tcp_flags & FLAG_SYN) take_syn(&w, p, direction);
    remember_last(w.d, p);
    if (p->tcp_flags & FLAG_ACK) take_acknowledgement(&w, p, direction);
    if (p->payload_length && !(p->tcp_flags & FLAG_RST))
        order_push(&w, data_sequence, p->payload, p->payload_length);
    if (p->tcp_flags & FLAG_RST) take_reset(&w);
    else if (p->tcp_flags & FLAG_FIN) take_end(&w);
}

void tcp_finish(struct tcp *t, tcp_sink sink, void *context, struct problems *problems) {
    struct flow w = {.t = t, .sink = sink, .context = context, .problems = problems};
    while (t->oldest_connection != NONE_ROW) connection_drop(&w, t->oldest_connection, 0);
}

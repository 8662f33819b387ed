/* Parts of a capture: reading one, and joining it to the whole (absorb.h).

   What a part may keep for itself is what no earlier packet changes: the rows of a SIP datagram and what the message hooks
   sight in it, for those look at that message alone. Everything else is an entry in its log. Absorbing walks log and rows
   in the order of the file: rows are appended with their numbers moved, entries are given to the passes of the whole, which
   then has read exactly what one thread would have read. RTP of a known stream is only counted there and played later, by
   several threads, because streams do not touch one another. */
#include "absorb.h"

#include "ingest.h"
#include "octets.h"
#include "row_index.h"
#include "rtp_stream.h"

#define BLOCK_SIMPLE 3            /* a pcapng packet that takes its time from the one before */
#define APART_MAX_NS 25920000000000000ll /* 300 days: within it a record's time is believed (capture.c: pcap_odd) */
#define PLAY_AHEAD 12             /* entries whose payload is fetched ahead */
/* What a record is likely to be like, where one is looked for. */
#define LIKELY_BYTES 65600u
#define LIKELY_SECONDS (366 * 86400)
#define LIKELY_RECORDS 12

enum entry_kind { ENTRY_RTP, ENTRY_RTCP, ENTRY_PACKET /* flow is a row of packets */, ENTRY_DONE };

struct part_entry {
    int64_t time_ns;
    uint64_t offset;              /* of the record */
    uint32_t number;              /* of the record in its part */
    uint32_t flow;
    uint32_t payload;             /* from `offset` */
    uint32_t payload_length, wire_length;
    uint32_t messages;            /* rows the part had when it came */
    uint8_t kind, dscp, ttl;
};

/* One source, target and SSRC. */
struct part_flow {
    uint64_t flow_tag;
    struct address source, target;
    uint32_t ssrc;
    uint32_t stream;              /* row in the whole's RTP table, NONE while there is none */
    uint32_t lines;               /* media lines of the whole when `image` was last settled */
    uint8_t image;                /* its target was announced for T.38 */
};

/* `problems`: bit a kind the part had met before it. */
struct part_packet { struct packet packet; uint64_t problems; };
_Static_assert(PROBLEM_COUNT <= 64, "a bit a problem");

struct part {
    struct capture capture;       /* behind the last record read */
    uint64_t start;               /* of the first record */
    uint64_t first_offset;
    int64_t first_time_ns;
    struct part_entry *entries;
    struct part_flow *flows;
    struct part_packet *packets;
    uint32_t *flow_slots;         /* row + 1, 0 free */
    uint32_t entry_count, entry_capacity, flow_count, flow_capacity, packet_count, packet_capacity, flow_slot_count;
    uint32_t last_flow[2];        /* row + 1 of the two flows seen last */
    uint32_t played;              /* entries whose RTP is with its streams */
};

/* ---- memory ---- */

/* An array with room for one more element: itself, or a copy of twice the size; NULL when memory ended. */
static void *with_room(const struct lender *lender, void *array, uint32_t count, uint32_t *capacity, size_t size) {
    if (TL_LIKELY(count < *capacity)) return array;
    if (*capacity >= 1u << 30) return NULL;
    const uint32_t larger = *capacity ? *capacity * 2 : 1024;
    void *moved = lender->lend((size_t)larger * size);
    if (!moved) return NULL;
    if (array) {
        memcpy(moved, array, (size_t)count * size);
        lender->take_back(array);
    }
    *capacity = larger;
    return moved;
}

int part_init(struct trace *t) {
    t->part = t->lender->lend(sizeof *t->part);
    return t->part ? 0 : STATUS_TOO_SMALL;
}

void part_release(struct trace *t) {
    struct part *part = t->part;
    if (!part) return;
    void *const blocks[] = {part->entries, part->flows, part->packets, part->flow_slots, part};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) t->lender->take_back(blocks[i]);
    t->part = NULL;
}

static void clear_rows(int table, struct table *head) {
    const struct column *columns;
    const size_t count = table_columns(table, &columns);
    uint8_t **pointers = (uint8_t **)(void *)(head + 1);
    for (size_t i = 0; head->count && i < count; i++) memset(pointers[i], 0, (size_t)head->count * columns[i].size);
    head->count = 0;
}

static void clear_index(struct row_index *index) {
    memset(index->slots, 0, (size_t)index->size * sizeof *index->slots);
    index->used = 0;
}

/* Empty again, in the memory it has. */
static void part_clear(struct trace *t) {
    struct part *part = t->part;
    if (t->calls.head.count)
        memset(t->call_conditions, 0, (size_t)t->calls.head.count * CONDITION_WORDS * sizeof *t->call_conditions);
    clear_rows(TABLE_messages, &t->messages.head);
    clear_rows(TABLE_calls, &t->calls.head);
    clear_rows(TABLE_media_lines, &t->media_lines.head);
    clear_rows(TABLE_endpoints, &t->endpoints.head);
    clear_rows(TABLE_strings, &t->strings.head);
    clear_rows(TABLE_sightings, &t->sightings.head);
    clear_index(&t->call_index);
    clear_index(&t->endpoint_index);
    clear_index(&t->string_index);
    memset(t->condition_count, 0, sizeof t->condition_count);
    memset(&t->problems, 0, sizeof t->problems);
    memset(t->tunnel_packets, 0, sizeof t->tunnel_packets);
    t->arena_length = 0;
    t->packets = t->sip_packets = t->other_packets = t->linked_headers = 0;
    t->first_time_ns = INT64_MAX;
    t->last_time_ns = INT64_MIN;
    t->has_image = 0;
    if (part->flow_slots) memset(part->flow_slots, 0, (size_t)part->flow_slot_count * sizeof *part->flow_slots);
    part->entry_count = part->flow_count = part->packet_count = part->played = 0;
    part->last_flow[0] = part->last_flow[1] = 0;
}

/* ---- the log ---- */

TL_INLINE uint64_t mixed(uint64_t a, uint64_t b) {
    const uint64_t h = (a ^ b) * 0x9E3779B97F4A7C15ull;
    return h ^ h >> 29;
}

TL_INLINE uint64_t host_hash(uint64_t seed, const struct address *a) {
    uint64_t words[2];
    memcpy(words, a->ip, 16);
    return mixed(seed ^ words[0] ^ words[0] << 31, words[1]);
}

static uint64_t flow_hash(uint64_t seed, const struct address *source, const struct address *target, uint64_t tag, uint32_t ssrc) {
    const uint64_t ends = (uint64_t)ssrc << 32 | (uint64_t)source->port << 16 | target->port;
    return mixed(host_hash(seed, source) * 3 ^ host_hash(~seed, target), mixed(seed ^ tag, ends));
}

TL_INLINE int same_host(const struct address *a, const struct address *b) {
    uint64_t x[2], y[2];
    memcpy(x, a->ip, 16);
    memcpy(y, b->ip, 16);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

TL_INLINE int same_flow(const struct part_flow *f, const struct packet *p, uint32_t ssrc) {
    return f->ssrc == ssrc && f->target.port == p->target.port && f->source.port == p->source.port &&
           same_host(&f->target, &p->target) && same_host(&f->source, &p->source) && f->flow_tag == p->flow_tag;
}

static void flow_put(struct part *part, uint64_t hash, uint32_t row) {
    const uint32_t mask = part->flow_slot_count - 1;
    uint32_t place = (uint32_t)(hash ^ hash >> 32) & mask;
    while (part->flow_slots[place]) place = (place + 1) & mask;
    part->flow_slots[place] = row + 1;
}

static int flow_slots_reserve(struct trace *t) {
    struct part *part = t->part;
    if (TL_LIKELY(part->flow_count * 2 < part->flow_slot_count)) return 0;
    const uint32_t size = part->flow_slot_count ? part->flow_slot_count * 2 : 2048;
    uint32_t *slots = t->lender->lend((size_t)size * sizeof *slots);
    if (!slots) return STATUS_TOO_SMALL;
    if (part->flow_slots) t->lender->take_back(part->flow_slots);
    part->flow_slots = slots;
    part->flow_slot_count = size;
    for (uint32_t row = 0; row < part->flow_count; row++) {
        const struct part_flow *f = &part->flows[row];
        flow_put(part, flow_hash(t->hash_seed, &f->source, &f->target, f->flow_tag, f->ssrc), row);
    }
    return 0;
}

static uint32_t flow_add(struct trace *t, const struct packet *p, uint32_t ssrc, uint64_t hash) {
    struct part *part = t->part;
    struct part_flow *flows = with_room(t->lender, part->flows, part->flow_count, &part->flow_capacity, sizeof *flows);
    if (!flows) { t->failed = 1; return NONE; }
    part->flows = flows;
    const uint32_t row = part->flow_count++;
    flows[row] = (struct part_flow){.flow_tag = p->flow_tag, .source = p->source, .target = p->target, .ssrc = ssrc,
                                    .stream = NONE, .lines = NONE};
    flow_put(part, hash, row);
    return row;
}

static uint32_t flow_of(struct trace *t, const struct packet *p, uint32_t ssrc) {
    struct part *part = t->part;
    for (int k = 0; k < 2; k++)
        if (part->last_flow[k] && same_flow(&part->flows[part->last_flow[k] - 1], p, ssrc)) return part->last_flow[k] - 1;
    if (flow_slots_reserve(t)) { t->failed = 1; return NONE; }
    const uint64_t hash = flow_hash(t->hash_seed, &p->source, &p->target, p->flow_tag, ssrc);
    const uint32_t mask = part->flow_slot_count - 1;
    uint32_t row = NONE, place = (uint32_t)(hash ^ hash >> 32) & mask;
    for (uint32_t slot; row == NONE && (slot = part->flow_slots[place]) != 0; place = (place + 1) & mask)
        if (same_flow(&part->flows[slot - 1], p, ssrc)) row = slot - 1;
    if (row == NONE) row = flow_add(t, p, ssrc, hash);
    part->last_flow[1] = part->last_flow[0];
    part->last_flow[0] = row + 1; /* NONE + 1 is none */
    return row;
}

static void log_entry(struct trace *t, const struct packet *p, uint8_t kind, uint32_t flow) {
    struct part *part = t->part;
    struct part_entry *entries = with_room(t->lender, part->entries, part->entry_count, &part->entry_capacity, sizeof *entries);
    if (!entries || flow == NONE) { t->failed = 1; return; }
    part->entries = entries;
    entries[part->entry_count++] = (struct part_entry){
        .time_ns = p->time_ns, .offset = p->file_offset, .number = p->number, .flow = flow,
        .payload = (uint32_t)(p->payload - (t->text + p->file_offset)), .payload_length = p->payload_length,
        .wire_length = p->wire_length, .messages = t->messages.head.count, .kind = kind, .dscp = p->dscp, .ttl = p->ttl};
}

/* A packet for the whole, as it is. */
static void log_packet(struct trace *t, const struct packet *p) {
    struct part *part = t->part;
    struct part_packet *packets = with_room(t->lender, part->packets, part->packet_count, &part->packet_capacity, sizeof *packets);
    if (!packets) { t->failed = 1; return; }
    part->packets = packets;
    struct part_packet *kept = &packets[part->packet_count];
    kept->packet = *p;
    kept->problems = 0;
    for (int kind = 0; kind < PROBLEM_COUNT; kind++) kept->problems |= (uint64_t)(t->problems.count[kind] != 0) << kind;
    log_entry(t, p, ENTRY_PACKET, part->packet_count++);
}

/* A message whose ends are addresses. Names would be told apart by what came before. */
static void take_sip(struct trace *t, const struct packet *p, uint8_t transport) {
    if (!p->source.family || !p->target.family) { log_packet(t, p); return; }
    const int64_t row = ingest_message(t, p, transport);
    if (row < 0) return;
    struct calls_table *c = &t->calls;
    const uint32_t call = t->messages.call[row];
    /* `group` belongs to the second pass; in a part it says which message (+ 1) told the call's correlation */
    if (c->correlation_hash[call] && !c->group[call]) c->group[call] = (uint32_t)row + 1;
}

static int is_datagram(const struct packet *p) { return p->protocol == IP_UDP || p->protocol == IP_SCTP; }

static void take_rtp(struct trace *t, const struct packet *p) {
    log_entry(t, p, ENTRY_RTP, flow_of(t, p, load_be32(p->payload + 8)));
}

void part_take(struct trace *t, const struct packet *p) {
    const int datagram = is_datagram(p);
    if (p->flags & (PACKET_FRAGMENT | PACKET_ICMP_QUOTE)) { log_packet(t, p); return; }
    if (!datagram && p->protocol == IP_TCP && p->flags & PACKET_HEP) { take_sip(t, p, SIP_TCP); return; }
    switch (datagram ? datagram_kind(t, p) : DATAGRAM_OTHER) {
    case DATAGRAM_EMPTY: return;
    case DATAGRAM_SIP: take_sip(t, p, SIP_UDP); return;
    case DATAGRAM_RTP: take_rtp(t, p); return;
    case DATAGRAM_RTCP: log_entry(t, p, ENTRY_RTCP, flow_of(t, p, 0)); return;
    case DATAGRAM_UDPTL: /* by what the part knows; the whole may find that it is none */
        if (rtp_classify(p->payload, p->payload_length) == RTP_CLASS_RTP) take_rtp(t, p);
        else log_packet(t, p);
        return;
    default: log_packet(t, p);
    }
}

/* ---- reading a stretch ---- */

int split_open(struct capture *capture, struct capture *scout, const uint8_t *source, size_t count) {
    struct problems ignored = {0};
    struct capture_record record;
    if (capture_open(capture, source, count) || (capture->format != CAPTURE_PCAP && capture->format != CAPTURE_PCAPNG))
        return STATUS_UNSUPPORTED;
    *scout = *capture;
    return capture_next(scout, source, count, &record, &ignored) ? STATUS_UNSUPPORTED : 0;
}

int trace_read_until(struct trace *t, struct capture *capture, const uint8_t *source, size_t count, uint64_t until) {
    struct capture_record record;
    while (capture->position < until && !t->failed) {
        if (capture_next(capture, source, count, &record, &t->problems) != 0) break;
        ingest_record(t, &record);
    }
    return t->failed ? STATUS_TOO_SMALL : 0;
}

/* Where the record behind the one at `at` would begin, 0 when none is likely to begin at `at`. */
static uint64_t likely_record(const struct capture *scout, const uint8_t *source, size_t count, uint64_t at) {
    if (count - at < scout->record_header) return 0;
    const uint8_t *p = source + at;
    const uint32_t captured = load_u32(p + 8, scout->swapped), original = load_u32(p + 12, scout->swapped);
    if (captured - 1 >= LIKELY_BYTES || captured > original || original > LIKELY_BYTES) return 0;
    if (load_u32(p + 4, scout->swapped) >= scout->interfaces[0].ticks_per_second) return 0;
    const int64_t apart_s = (int64_t)load_u32(p, scout->swapped) - scout->last_time_ns / 1000000000;
    if (apart_s > LIKELY_SECONDS || apart_s < -LIKELY_SECONDS) return 0;
    return captured > count - at - scout->record_header ? 0 : at + scout->record_header + captured;
}

/* Where records seem to begin, at or a little behind `from`. The search of capture_boundary is safer and takes a millisecond;
   here a wrong guess costs no more than that: the part does not fit and is read again. */
static uint64_t likely_boundary(const struct capture *scout, const uint8_t *source, size_t count, uint64_t from) {
    const uint64_t end = count - from < LIKELY_BYTES ? count : from + LIKELY_BYTES;
    for (uint64_t at = from; scout->format == CAPTURE_PCAP && at < end; at++) {
        uint64_t next = likely_record(scout, source, count, at);
        for (int records = 1; next && next < count && records < LIKELY_RECORDS; records++)
            next = likely_record(scout, source, count, next);
        if (TL_UNLIKELY(next != 0)) return at;
    }
    return capture_boundary(scout, source, count, from);
}

int part_read(struct trace *t, const struct capture *scout, const uint8_t *source, size_t count, uint64_t first, uint64_t until) {
    struct part *part = t->part;
    struct capture *c = &part->capture;
    struct capture_record record;
    part_clear(t);
    *c = *scout;
    c->position = part->start = likely_boundary(scout, source, count, first);
    c->number = 0;
    c->last_time_ns = 0;
    c->comment_count = 0;
    if (c->position >= until || capture_next(c, source, count, &record, &t->problems) != 0) return 0;
    part->first_offset = record.offset;
    part->first_time_ns = record.time_ns;
    if (c->format == CAPTURE_PCAPNG && load_u32(source + record.offset, c->swapped) == BLOCK_SIMPLE) {
        part->start = UINT64_MAX; /* its time is not known here: it fits nowhere */
        return 0;
    }
    ingest_record(t, &record);
    return trace_read_until(t, c, source, count, until);
}

/* ---- joining ---- */

/* `calls`, `endpoints`, `strings`: row + 1 in the whole by row of the part, 0 while it was not needed. */
struct join {
    struct trace *whole, *part;
    uint32_t number;                     /* records before the part */
    uint32_t messages, lines, sightings; /* rows taken so far */
    uint32_t *calls, *endpoints, *strings;
    uint64_t problems;                   /* bit a kind that was taken */
    int conflict;
};

static uint64_t call_row_hash(const struct trace *t, uint32_t row) { return t->calls.call_id_hash[row]; }

static int conditions_reserve(struct trace *t) {
    if (t->calls.head.count < t->call_conditions_capacity) return 0;
    const size_t words = (size_t)t->calls.head.capacity * CONDITION_WORDS;
    uint64_t *larger = t->lender->lend(words * sizeof *larger);
    if (!larger) return STATUS_TOO_SMALL;
    if (t->call_conditions) {
        memcpy(larger, t->call_conditions, (size_t)t->call_conditions_capacity * CONDITION_WORDS * sizeof *larger);
        t->lender->take_back(t->call_conditions);
    }
    t->call_conditions = larger;
    t->call_conditions_capacity = t->calls.head.capacity;
    return 0;
}

/* The whole's row of a call of the part; a new one is that of message `row`, which is the part's first of it. */
static uint32_t call_row(struct join *j, uint32_t call, uint32_t row, uint64_t text_offset) {
    struct trace *t = j->whole;
    const struct calls_table *from = &j->part->calls;
    struct calls_table *c = &t->calls;
    if (j->calls[call]) return j->calls[call] - 1;
    const uint64_t hash = from->call_id_hash[call];
    const uint32_t length = from->call_id_length[call];
    struct row_index *index = &t->call_index;
    if (row_index_reserve(index, t->lender, call_row_hash, t)) { t->failed = 1; return NONE; }
    uint32_t place = row_index_home(index, hash);
    for (uint32_t slot; (slot = index->slots[place]) != 0; place = (place + 1) & (index->size - 1))
        if (c->call_id_hash[slot - 1] == hash && c->call_id_length[slot - 1] == length) {
            j->calls[call] = slot;
            return slot - 1;
        }
    if (table_reserve(t->lender, TABLE_calls, &c->head, 1) || conditions_reserve(t)) { t->failed = 1; return NONE; }
    const uint32_t added = c->head.count++;
    c->call_id_hash[added] = hash;
    c->call_id_length[added] = length;
    c->call_id_store[added] = from->call_id_store[call];
    c->call_id_offset[added] = text_offset + (from->call_id_offset[call] - j->part->messages.text_offset[row]);
    index->slots[place] = added + 1;
    index->used++;
    j->calls[call] = added + 1;
    return added;
}

static struct address address_of(const struct endpoints_table *e, uint32_t row) {
    struct address a = {.port = e->port[row], .family = e->family[row], .kind = e->kind[row]};
    for (int i = 0; i < 8; i++) {
        a.ip[i] = (uint8_t)(e->ip_high[row] >> (56 - 8 * i));
        a.ip[8 + i] = (uint8_t)(e->ip_low[row] >> (56 - 8 * i));
    }
    return a;
}

static uint32_t endpoint_row(struct join *j, uint32_t endpoint) {
    if (endpoint == NONE) return NONE;
    if (!j->endpoints[endpoint]) {
        const struct address address = address_of(&j->part->endpoints, endpoint);
        j->endpoints[endpoint] = trace_endpoint(j->whole, &address) + 1; /* NONE + 1 is none */
    }
    return j->endpoints[endpoint] - 1;
}

static uint32_t string_row(struct join *j, uint32_t string) {
    const struct strings_table *from = &j->part->strings;
    if (string == NONE) return NONE;
    if (j->strings[string]) {
        j->whole->strings.count[j->strings[string] - 1]++;
    } else {
        const uint32_t row = trace_string(j->whole, j->part->arena + from->offset[string], from->length[string]);
        if (row == NONE) return NONE;
        j->strings[string] = row + 1;
        if (!j->whole->strings.verdict[row]) j->whole->strings.verdict[row] = from->verdict[string];
    }
    return j->strings[string] - 1;
}

static int copy_rows(const struct lender *lender, int table, struct table *target, const struct table *source, uint32_t from,
                     uint32_t count) {
    if (table_reserve(lender, table, target, count)) return STATUS_TOO_SMALL;
    const struct column *columns;
    const size_t width = table_columns(table, &columns);
    uint8_t *const *to = (uint8_t *const *)(const void *)(target + 1), *const *at = (uint8_t *const *)(const void *)(source + 1);
    for (size_t i = 0; i < width; i++) {
        const size_t size = columns[i].size;
        memcpy(to[i] + target->count * size, at[i] + from * size, count * size);
    }
    target->count += count;
    return 0;
}

static int announced_for_image(struct trace *t, const struct address *target) {
    const uint32_t line = trace_announced(t, target);
    return line != NONE && t->media_lines.media[line] == SDP_IMAGE;
}

/* Lines of a message that was just copied. */
static void join_lines(struct join *j, uint32_t row, uint32_t call, uint32_t line) {
    struct trace *t = j->whole;
    struct media_lines_table *l = &t->media_lines;
    for (const uint32_t end = line + t->messages.media_count[row]; line < end; line++) {
        const uint32_t endpoint = endpoint_row(j, l->endpoint[line]);
        l->message[line] = row;
        l->call[line] = call;
        l->endpoint[line] = endpoint;
        if (endpoint != NONE && l->port[line]) t->endpoints.announced[endpoint] = line;
        if (l->media[line] == SDP_IMAGE) t->has_image = 1;
    }
}

static void join_ends(struct join *j, uint32_t row) {
    struct messages_table *m = &j->whole->messages;
    struct endpoints_table *e = &j->whole->endpoints;
    const uint32_t source = m->source[row] = endpoint_row(j, m->source[row]);
    const uint32_t target = m->target[row] = endpoint_row(j, m->target[row]);
    if (source == NONE || target == NONE) { j->whole->failed = 1; return; }
    e->messages_sent[source]++;
    e->messages_received[target]++;
    e->flags[source] |= ENDPOINT_SIP;
    e->flags[target] |= ENDPOINT_SIP;
    if (m->user_agent[row] != NONE && m->via_count[row] <= 1) e->user_agent[source] = m->user_agent[row];
    /* the hooks would have seen that TLS is spoken there */
    if (e->flags[target] & ENDPOINT_TLS) j->conflict = 1;
}

/* Message `from` of the part, copied to `row`: what names other rows is moved. */
static void join_message(struct join *j, uint32_t from, uint32_t row, uint32_t line_shift) {
    struct trace *t = j->whole;
    struct messages_table *m = &t->messages;
    const struct messages_table *own = &j->part->messages;
    if (TL_UNLIKELY(t->has_image)) {
        const struct address target = address_of(&j->part->endpoints, own->target[from]);
        if (announced_for_image(t, &target)) j->conflict = 1; /* it would have been taken for UDPTL */
    }
    if (!own->store[from]) {
        m->text_offset[row] = trace_keep(t, j->part->arena + own->text_offset[from], own->text_length[from]);
        if (t->failed) return;
    }
    const uint32_t call = call_row(j, own->call[from], from, m->text_offset[row]);
    if (call == NONE) return;
    m->call[row] = call;
    t->calls.message_count[call]++;
    if (j->part->calls.group[own->call[from]] == from + 1 && !t->calls.correlation_hash[call])
        t->calls.correlation_hash[call] = j->part->calls.correlation_hash[own->call[from]];
    m->frame_number[row] += j->number;
    m->user_agent[row] = string_row(j, own->user_agent[from]);
    if (own->media_line[from] != NONE) {
        m->media_line[row] = own->media_line[from] + line_shift;
        join_lines(j, row, call, m->media_line[row]);
    }
    join_ends(j, row);
}

/* Message hooks sight a message and name one of its lines beside it; this one has it the other way round. */
static int names_line_first(uint16_t condition) { return condition == C_NAT_SDP_PRIVATE; }

/* Sightings of messages before `until`, which all belong to the rows that were copied last. */
static void join_sightings(struct join *j, uint32_t until, uint32_t message_shift, uint32_t line_shift) {
    struct trace *t = j->whole;
    const struct sightings_table *from = &j->part->sightings;
    struct sightings_table *s = &t->sightings;
    for (; j->sightings < from->head.count; j->sightings++) {
        const uint32_t k = j->sightings;
        const uint16_t condition = from->condition[k] & (uint16_t)~SIGHTED_ONCE;
        const int turned = names_line_first(condition);
        if ((turned ? from->other[k] : from->row[k]) >= until) return;
        const uint32_t call = j->calls[from->call[k]] - 1;
        uint64_t *word = &t->call_conditions[(size_t)call * CONDITION_WORDS + (condition >> 6)];
        const uint64_t bit = 1ull << (condition & 63);
        if (from->condition[k] & SIGHTED_ONCE && *word & bit) continue;
        *word |= bit;
        if (table_reserve(t->lender, TABLE_sightings, &s->head, 1)) { t->failed = 1; return; }
        const uint32_t at = s->head.count++;
        s->condition[at] = condition;
        s->call[at] = call;
        s->row[at] = from->row[k] + (turned ? line_shift : message_shift);
        s->other[at] = from->other[k] == NONE ? NONE : from->other[k] + (turned ? message_shift : line_shift);
        s->code[at] = from->code[k];
        s->value[at] = from->value[k];
    }
}

/* Appends the part's messages before `until`. */
static void join_messages(struct join *j, uint32_t until) {
    struct trace *t = j->whole;
    const struct media_lines_table *lines = &j->part->media_lines;
    const uint32_t first = j->messages, row = t->messages.head.count, line = t->media_lines.head.count, first_line = j->lines;
    if (until <= first || t->failed) return;
    uint32_t end = first_line;
    while (end < lines->head.count && lines->message[end] < until) end++;
    if (copy_rows(t->lender, TABLE_messages, &t->messages.head, &j->part->messages.head, first, until - first) ||
        (end > first_line && copy_rows(t->lender, TABLE_media_lines, &t->media_lines.head, &lines->head, first_line, end - first_line))) {
        t->failed = 1;
        return;
    }
    for (uint32_t from = first; from < until && !t->failed; from++) join_message(j, from, row + (from - first), line - first_line);
    if (!t->failed) join_sightings(j, until, row - first, line - first_line);
    j->messages = until;
    j->lines = end;
}

/* ---- the log, in its order ---- */

static struct packet packet_of(const struct trace *t, const struct part *part, const struct part_entry *e) {
    const struct part_flow *f = &part->flows[e->flow];
    return (struct packet){.time_ns = e->time_ns, .file_offset = e->offset, .payload = t->text + e->offset + e->payload,
                           .payload_length = e->payload_length, .wire_length = e->wire_length, .number = e->number,
                           .source = f->source, .target = f->target, .flow_tag = f->flow_tag, .protocol = IP_UDP,
                           .dscp = e->dscp, .ttl = e->ttl};
}

static void join_problems(struct join *j, uint64_t met) {
    const struct problems *from = &j->part->problems;
    struct problems *to = &j->whole->problems;
    for (uint64_t left = met & ~j->problems; left; left &= left - 1) {
        const int kind = __builtin_ctzll(left);
        if (!to->count[kind]) to->first_offset[kind] = from->first_offset[kind];
        to->count[kind] += from->count[kind];
    }
    j->problems |= met;
}

static uint64_t problems_met(const struct problems *p) {
    uint64_t met = 0;
    for (int kind = 0; kind < PROBLEM_COUNT; kind++) met |= (uint64_t)(p->count[kind] != 0) << kind;
    return met;
}

/* Whether an RTP packet only adds to a stream that is known; else it takes the way through the passes. */
static int known_stream(struct join *j, struct part_entry *e) {
    struct trace *t = j->whole;
    struct part_flow *f = &j->part->part->flows[e->flow];
    if (f->stream == NONE) {
        const struct packet p = packet_of(t, j->part->part, e);
        f->stream = t->rtp.count ? rtp_find(&t->rtp, &p, f->ssrc) : NONE;
        if (f->stream == NONE) return 0;
    }
    if (TL_UNLIKELY(t->has_image | j->part->has_image)) {
        join_messages(j, e->messages);
        if (f->lines != t->media_lines.head.count) {
            f->image = (uint8_t)announced_for_image(t, &f->target);
            f->lines = t->media_lines.head.count;
        }
        if (f->image) return 0;
    }
    t->rtp_packets++;
    t->rtp.packets++;
    return 1;
}

static void play(const struct trace *whole, const struct part *part, uint32_t end, uint32_t share, uint32_t shares) {
    const uint8_t *text = whole->text;
    for (uint32_t i = part->played; i < end; i++) {
        const struct part_entry *e = &part->entries[i];
        if (e->kind != ENTRY_RTP) continue;
        const uint32_t row = part->flows[e->flow].stream;
        if (row % shares != share) continue;
        if (TL_LIKELY(i + PLAY_AHEAD < end)) {
            const struct part_entry *ahead = e + PLAY_AHEAD;
            __builtin_prefetch(text + ahead->offset + (ahead->kind == ENTRY_PACKET ? 0 : ahead->payload));
        }
        struct rtp_header h;
        const struct packet p = {.time_ns = e->time_ns, .number = e->number, .dscp = e->dscp, .ttl = e->ttl};
        const uint8_t *payload = text + e->offset + e->payload;
        if (rtp_parse(payload, e->payload_length, e->wire_length, &h)) continue;
        const uint32_t here = e->payload_length - h.payload_offset;
        stream_take(&whole->rtp.streams[row], &p, &h, payload + h.payload_offset, here < h.payload_length ? here : h.payload_length);
    }
}

void trace_play(const struct trace *whole, const struct trace *part, uint32_t share, uint32_t shares) {
    play(whole, part->part, part->part->entry_count, share, shares);
}

static void join_entry(struct join *j, uint32_t place) {
    struct trace *t = j->whole;
    struct part *part = j->part->part;
    struct part_entry *e = &part->entries[place];
    e->number += j->number;
    if (e->kind == ENTRY_RTP && TL_LIKELY(known_stream(j, e))) return;
    join_messages(j, e->messages);
    if (t->failed) return;
    struct packet p;
    if (e->kind == ENTRY_PACKET) {
        join_problems(j, part->packets[e->flow].problems);
        p = part->packets[e->flow].packet;
        p.number = e->number;
        if (p.flags & PACKET_FRAGMENT && is_datagram(&p)) { /* may turn out to be RTP: its stream must be up to date */
            play(t, part, place, 0, 1);
            part->played = place;
        }
    } else {
        p = packet_of(t, part, e);
    }
    e->kind = ENTRY_DONE;
    ingest_packet(t, &p);
}

static void join_totals(struct join *j) {
    struct trace *t = j->whole;
    const struct trace *from = j->part;
    t->packets += from->packets;
    t->sip_packets += from->sip_packets;
    t->other_packets += from->other_packets;
    t->linked_headers += from->linked_headers;
    for (size_t i = 0; i < sizeof t->tunnel_packets / sizeof *t->tunnel_packets; i++) t->tunnel_packets[i] += from->tunnel_packets[i];
    for (int i = 0; i < CONDITION_COUNT; i++) t->condition_count[i] += from->condition_count[i];
    if (from->first_time_ns < t->first_time_ns) t->first_time_ns = from->first_time_ns;
    if (from->last_time_ns > t->last_time_ns) t->last_time_ns = from->last_time_ns;
    for (uint32_t call = 0; call < from->calls.head.count; call++) t->calls.flags[j->calls[call] - 1] |= from->calls.flags[call];
    for (uint32_t row = 0; row < from->strings.head.count; row++)
        if (j->strings[row] && !t->strings.verdict[j->strings[row] - 1])
            t->strings.verdict[j->strings[row] - 1] = from->strings.verdict[row];
    join_problems(j, problems_met(&from->problems));
}

/* ---- does it fit? ---- */

static int same_interfaces(const struct capture *a, const struct capture *b) {
    if (a->format != b->format || a->swapped != b->swapped || a->record_header != b->record_header ||
        a->old_lengths != b->old_lengths || a->interface_count != b->interface_count) return 0;
    for (uint32_t i = 0; i < a->interface_count && i < CAPTURE_INTERFACES; i++) {
        const struct capture_interface *x = &a->interfaces[i], *y = &b->interfaces[i];
        if (x->snap_length != y->snap_length || x->link_type != y->link_type || x->fcs_length != y->fcs_length ||
            x->ticks_per_second != y->ticks_per_second || x->offset_s != y->offset_s) return 0;
    }
    return 1;
}

static int fits(const struct capture *c, const struct capture *scout, const struct part *part) {
    if (c->position != part->start || !same_interfaces(c, scout)) return 0;
    const uint64_t apart = (uint64_t)part->first_time_ns - (uint64_t)c->last_time_ns + (uint64_t)APART_MAX_NS;
    return !part->capture.number || !c->number || apart <= 2 * (uint64_t)APART_MAX_NS;
}

/* The check of the clock that the part's first record could not have (capture.c: record_finish). */
static void check_clock(struct trace *t, const struct capture *c, const struct part *part) {
    if (!part->capture.number || !c->number || part->first_time_ns >= c->last_time_ns) return;
    if ((uint64_t)c->last_time_ns - (uint64_t)part->first_time_ns > 1000000000u)
        problem_note(&t->problems, PROBLEM_TIME_BACKWARDS, part->first_offset);
}

static void advance(struct capture *c, const struct capture *behind) {
    const struct capture before = *c;
    *c = *behind;
    c->number += before.number;
    c->comment_count += before.comment_count;
    if (!behind->number) c->last_time_ns = before.last_time_ns;
    if (!before.secrets_length) return;
    c->secrets_offset = before.secrets_offset;
    c->secrets_length = before.secrets_length;
}

int trace_absorb(struct trace *whole, struct capture *capture, const struct capture *scout, struct trace *other) {
    struct part *part = other->part;
    if (!fits(capture, scout, part)) return 0;
    const size_t calls = other->calls.head.count, endpoints = other->endpoints.head.count, strings = other->strings.head.count;
    uint32_t *maps = whole->lender->lend((calls + endpoints + strings) * sizeof *maps);
    if (!maps) { whole->failed = 1; return STATUS_TOO_SMALL; }
    struct join j = {.whole = whole, .part = other, .number = capture->number,
                     .calls = maps, .endpoints = maps + calls, .strings = maps + calls + endpoints};
    check_clock(whole, capture, part);
    for (uint32_t i = 0; i < part->entry_count && !whole->failed && !j.conflict; i++) join_entry(&j, i);
    if (!j.conflict) join_messages(&j, other->messages.head.count);
    if (!whole->failed && !j.conflict) join_totals(&j);
    whole->lender->take_back(maps);
    if (whole->failed) return STATUS_TOO_SMALL;
    if (j.conflict) return STATUS_UNSUPPORTED;
    advance(capture, &part->capture);
    return 1;
}

/* Legs of one call found across Call-IDs, and RTP streams tied to the calls that announced them. */
#include "assemble.h"

/* ---- legs ---- */

static uint32_t group_root(struct trace *t, uint32_t call) {
    uint32_t *group = t->calls.group;
    while (group[call] != call) {
        group[call] = group[group[call]]; /* halving keeps paths short */
        call = group[call];
    }
    return call;
}

static void unite(struct trace *t, uint32_t a, uint32_t b, uint8_t reason) {
    const uint32_t left = group_root(t, a), right = group_root(t, b);
    if (!t->calls.group_reason[a]) t->calls.group_reason[a] = reason;
    if (!t->calls.group_reason[b]) t->calls.group_reason[b] = reason;
    if (left == right) return;
    /* the earlier leg leads */
    if (t->calls.start_ns[left] <= t->calls.start_ns[right]) t->calls.group[right] = left;
    else t->calls.group[left] = right;
}

static uint32_t find_call(const struct trace *t, const uint8_t *id, uint32_t length) {
    if (!length) return NONE;
    const uint64_t hash = sip_hash(id, length, t->hash_seed);
    const struct row_index *index = &t->call_index;
    uint32_t place = (uint32_t)(hash >> 32 ^ hash) & (index->size - 1);
    for (uint32_t slot; (slot = index->slots[place]) != 0; place = (place + 1) & (index->size - 1))
        if (t->calls.call_id_hash[slot - 1] == hash && t->calls.call_id_length[slot - 1] == length) return slot - 1;
    return NONE;
}

static const uint8_t *call_id_text(const struct trace *t, uint32_t call, uint32_t *length) {
    const struct calls_table *c = &t->calls;
    *length = c->call_id_length[call];
    return (c->call_id_store[call] ? t->stores[c->call_id_store[call]] : t->arena) + c->call_id_offset[call];
}

/* "abc_b2b-1", "abc-0", "abc_pbx-2" and "abc@host" written with another host: length of what two legs share. */
static uint32_t stem_length(const uint8_t *id, uint32_t length) {
    uint32_t n = length;
    while (n && id[n - 1] >= '0' && id[n - 1] <= '9') n--;
    if (n == length || n < 8 || id[n - 1] != '-') return 0;
    n--;
    if (n > 4 && !memcmp(id + n - 4, "_b2b", 4)) return n - 4;
    if (n > 4 && !memcmp(id + n - 4, "_pbx", 4)) return n - 4;
    return n;
}

/* X-Call-ID and X-CID name the other leg outright. */
static void unite_by_header(struct trace *t, uint32_t call) {
    const uint32_t row = t->calls.invite_row[call];
    if (row == NONE) return;
    uint32_t length;
    const uint8_t *text = trace_text(t, row, &length);
    if (sip_scan(text, length, SIP_DATAGRAM, &t->message, t->headers, HEADERS_MAX) < 0) return;
    static const int ids[] = {SIP_HEADER_X_CALL_ID, SIP_HEADER_X_CID, SIP_HEADER_IN_REPLY_TO};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (!sip_has(&t->message, ids[i])) continue;
        const struct sip_header *h = &t->headers[t->message.first[ids[i]]];
        const uint32_t other = find_call(t, text + h->value_offset, h->value_length);
        if (other != NONE && other != call) unite(t, call, other, GROUP_HEADER);
    }
}

static int same_leg_set(struct trace *t, struct scratch *s, uint32_t call, uint64_t key, uint8_t reason, int64_t window_ns) {
    uint32_t *seen = scratch_find(s, key);
    if (*seen == NONE || (window_ns && t->calls.start_ns[call] - t->calls.start_ns[*seen] > window_ns)) {
        *seen = call;
        return 0;
    }
    unite(t, *seen, call, reason);
    return 1;
}

static uint64_t key_of(uint64_t a, uint64_t b) {
    uint64_t h = (a + 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull ^ b * 0x94D049BB133111EBull;
    return h ^ h >> 29;
}

/* A B2BUA's second leg: it starts at the host that the first was sent to, within 5 s and before the first is
   answered, for the same number. */
static int unite_by_numbers(struct trace *t) {
    const uint32_t calls = t->calls.head.count;
    struct calls_table *c = &t->calls;
    struct scratch s;
    if (scratch_init(&s, t->lender, calls * 2)) return STATUS_TOO_SMALL;
    scratch_begin(&s, calls * 2);
    for (uint32_t call = 0; call < calls; call++) {
        if (c->kind[call] != CALL_INVITE || c->caller[call] == NONE || c->callee[call] == NONE || !c->to_user_hash[call])
            continue;
        const uint32_t from = host_of(t, c->caller[call]), to = host_of(t, c->callee[call]);
        const uint32_t *lead = scratch_find(&s, key_of(c->to_user_hash[call], from));
        if (*lead != NONE && *lead != call) {
            const uint32_t first = *lead;
            const int64_t later = c->start_ns[call] - c->start_ns[first];
            const int before_answer = c->answer_ns[first] < 0 || c->start_ns[call] <= c->answer_ns[first];
            if (later >= 0 && later < 5000000000ll && before_answer && !t->no_time && from != to)
                unite(t, first, call, GROUP_NUMBERS);
        }
        *scratch_find(&s, key_of(c->to_user_hash[call], to)) = call;
    }
    t->lender->take_back(s.slots);
    return 0;
}

int trace_correlate(struct trace *t) {
    const uint32_t calls = t->calls.head.count;
    struct calls_table *c = &t->calls;
    if (calls < 2) return 0;
    struct scratch s;
    if (scratch_init(&s, t->lender, calls * 2)) return STATUS_TOO_SMALL;
    scratch_begin(&s, calls * 2);
    for (uint32_t call = 0; call < calls; call++) {
        if (c->correlation_hash[call]) same_leg_set(t, &s, call, key_of(c->correlation_hash[call], 1), GROUP_HEADER, 0);
        uint32_t length;
        const uint8_t *id = call_id_text(t, call, &length);
        const uint32_t stem = length > 8 ? stem_length(id, length) : 0;
        if (stem >= 8) {
            const uint32_t other = find_call(t, id, stem);
            if (other != NONE && other != call) unite(t, other, call, GROUP_CALL_ID_SUFFIX);
            else if (length > stem + 1 && id[stem] == '_')
                same_leg_set(t, &s, call, key_of(sip_hash(id, stem, t->hash_seed), 2), GROUP_CALL_ID_SUFFIX, 0);
        }
        if (t->linked_headers) unite_by_header(t, call); /* costs a scan: not for archives without such headers */
    }
    t->lender->take_back(s.slots);
    const int status = unite_by_numbers(t);
    for (uint32_t call = 0; call < calls; call++) c->group[call] = group_root(t, call);
    return status;
}

/* ---- streams ---- */

/* 1 when the media line's author is the caller's side: media sent to it flows from the callee. */
static int author_is_caller(const struct trace *t, uint32_t line) {
    const struct messages_table *m = &t->messages;
    const uint32_t row = t->media_lines.message[line], opening = t->calls.invite_row[t->media_lines.call[line]];
    const uint32_t first = opening != NONE ? opening : t->call_messages[t->calls.first_message[t->media_lines.call[line]]];
    const int same_tag = m->from_tag_hash[row] == m->from_tag_hash[first];
    return m->status[row] ? !same_tag : same_tag;
}

/* The stream's m-lines: at its birth, or what the whole trace knows when the description came later. */
static void tie_stream(struct trace *t, uint32_t row, const struct rtp_stream *s) {
    struct streams_table *x = &t->streams;
    struct address source, target;
    memset(&source, 0, sizeof source);
    memset(&target, 0, sizeof target);
    memcpy(source.ip, s->source_ip, 16);
    memcpy(target.ip, s->target_ip, 16);
    source.port = s->source_port;
    target.port = s->target_port;
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    source.family = memcmp(source.ip, mapped, 12) ? 6 : 4;
    target.family = memcmp(target.ip, mapped, 12) ? 6 : 4;
    source.kind = address_classify(source.ip, source.family);
    target.kind = address_classify(target.ip, target.family);
    uint32_t line = row < t->stream_line_capacity ? t->stream_lines[row].receiver : NONE;
    uint32_t sender = row < t->stream_line_capacity ? t->stream_lines[row].sender : NONE;
    if (line == NONE && sender == NONE) {
        line = trace_announced(t, &target);
        sender = trace_announced(t, &source);
    }
    x->source_endpoint[row] = trace_endpoint(t, &source);
    x->target_endpoint[row] = trace_endpoint(t, &target);
    /* ends in two calls: the receiver's description decides */
    if (line != NONE && sender != NONE && t->media_lines.call[line] != t->media_lines.call[sender]) {
        const uint32_t other = t->media_lines.call[sender];
        if (t->calls.group[other] != t->calls.group[t->media_lines.call[line]]) sender = NONE;
    }
    x->media_line[row] = line;
    x->sender_media_line[row] = sender;
    const uint32_t chosen = line != NONE ? line : sender;
    if (chosen == NONE) return;
    x->call[row] = t->media_lines.call[chosen];
    const int to_caller = line != NONE ? author_is_caller(t, line) : !author_is_caller(t, sender);
    x->from_caller[row] = to_caller ? 2 : 1;
}

static int group_streams(struct trace *t) {
    struct streams_table *x = &t->streams;
    const uint32_t calls = t->calls.head.count;
    t->call_streams = t->lender->lend(((size_t)x->head.count + 1) * sizeof(uint32_t));
    uint32_t *next = t->lender->lend(((size_t)calls + 1) * sizeof(uint32_t));
    if (!t->call_streams || !next) {
        if (next) t->lender->take_back(next);
        return STATUS_TOO_SMALL;
    }
    for (uint32_t row = 0; row < x->head.count; row++)
        if (x->call[row] != NONE) t->calls.stream_count[x->call[row]]++;
    uint32_t at = 0;
    for (uint32_t call = 0; call < calls; call++) {
        t->calls.first_stream[call] = next[call] = at;
        at += t->calls.stream_count[call];
        if (t->calls.stream_count[call]) t->calls.flags[call] |= CALL_HAS_RTP;
    }
    for (uint32_t row = 0; row < x->head.count; row++)
        if (x->call[row] != NONE) t->call_streams[next[x->call[row]]++] = row;
    t->lender->take_back(next);
    return 0;
}

int trace_link_streams(struct trace *t) {
    const uint32_t count = t->rtp.count;
    if (count) rtp_finish(&t->rtp);
    if (table_reserve(t->lender, TABLE_streams, &t->streams.head, count + 1)) return STATUS_TOO_SMALL;
    const struct stream_columns *columns = (const struct stream_columns *)(const void *)(&t->streams.head + 1);
    t->streams.head.count = count;
    for (uint32_t row = 0; row < count; row++) {
        rtp_export(&t->rtp.streams[row], columns, row);
        tie_stream(t, row, &t->rtp.streams[row]);
    }
    /* what the kernel kept a stream in is not needed behind its row */
    if (t->rtp.streams) t->lender->take_back(t->rtp.streams);
    if (t->rtp.buckets) t->lender->take_back(t->rtp.buckets);
    if (t->rtp.candidates) t->lender->take_back(t->rtp.candidates);
    t->rtp.streams = NULL;
    t->rtp.buckets = NULL;
    t->rtp.candidates = NULL;
    t->rtp.count = t->rtp.capacity = t->rtp.bucket_count = t->rtp.candidate_count = 0;
    return group_streams(t);
}

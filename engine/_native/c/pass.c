/* The first pass: one framed message becomes a row, its call, its media lines; rules see it while it is warm. */
#include "row_index.h"
#include "trace.h"

#define MEMORY_ENDED ((int64_t)STATUS_TOO_SMALL)

/* ---- rows made on demand ---- */

static uint64_t endpoint_hash(const struct trace *t, uint64_t high, uint64_t low, uint16_t port) {
    uint64_t h = (low ^ t->hash_seed) * 0x9E3779B97F4A7C15ull;
    h ^= h >> 29;
    h = (h + high + port) * 0xBF58476D1CE4E5B9ull;
    return h ^ h >> 32;
}
static uint64_t endpoint_row_hash(const struct trace *t, uint32_t row) {
    const struct endpoints_table *e = &t->endpoints;
    return endpoint_hash(t, e->ip_high[row], e->ip_low[row], e->port[row]);
}
static uint64_t string_row_hash(const struct trace *t, uint32_t row) { return t->strings.hash[row]; }
static uint64_t call_row_hash(const struct trace *t, uint32_t row) { return t->calls.call_id_hash[row]; }

static uint64_t load_be64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | p[i];
    return v;
}

static uint32_t endpoint_add(struct trace *t, uint64_t high, uint64_t low, uint16_t port, uint8_t family,
                             uint8_t kind, uint32_t host, uint32_t place) {
    struct endpoints_table *e = &t->endpoints;
    if (table_reserve(t->lender, TABLE_endpoints, &e->head, 1)) { t->failed = 1; return NONE; }
    const uint32_t row = e->head.count++;
    e->ip_high[row] = high;
    e->ip_low[row] = low;
    e->port[row] = port;
    e->family[row] = family;
    e->kind[row] = kind;
    e->host[row] = host == NONE ? row : host;
    e->name[row] = e->user_agent[row] = e->announced[row] = NONE;
    t->endpoint_index.slots[place] = row + 1;
    t->endpoint_index.used++;
    return row;
}

static uint32_t endpoint_find(struct trace *t, uint64_t high, uint64_t low, uint16_t port, uint8_t family,
                              uint8_t kind, uint32_t host) {
    struct row_index *index = &t->endpoint_index;
    if (row_index_reserve(index, t->lender, endpoint_row_hash, t)) { t->failed = 1; return NONE; }
    uint32_t place = row_index_home(index, endpoint_hash(t, high, low, port));
    const struct endpoints_table *e = &t->endpoints;
    for (uint32_t slot; (slot = index->slots[place]) != 0; place = (place + 1) & (index->size - 1))
        if (e->ip_low[slot - 1] == low && e->port[slot - 1] == port && e->ip_high[slot - 1] == high)
            return slot - 1;
    return endpoint_add(t, high, low, port, family, kind, host, place);
}

uint32_t trace_endpoint(struct trace *t, const struct address *address) {
    if (address->family == 0) return NONE;
    const uint64_t high = load_be64(address->ip), low = load_be64(address->ip + 8);
    const uint32_t first = t->endpoints.head.count;
    const uint32_t row = endpoint_find(t, high, low, address->port, address->family, address->kind, NONE);
    if (row == NONE || row < first || address->port == 0) return row;
    const uint32_t host = endpoint_find(t, high, low, 0, address->family, address->kind, NONE);
    t->endpoints.host[row] = host == NONE ? row : host;
    return row;
}

uint32_t trace_announced(struct trace *t, const struct address *address) {
    if (!t->media_lines.head.count || !address->family) return NONE;
    const uint64_t high = load_be64(address->ip), low = load_be64(address->ip + 8);
    const struct row_index *index = &t->endpoint_index;
    const struct endpoints_table *e = &t->endpoints;
    uint32_t place = row_index_home(index, endpoint_hash(t, high, low, address->port));
    for (uint32_t slot; (slot = index->slots[place]) != 0; place = (place + 1) & (index->size - 1))
        if (e->ip_low[slot - 1] == low && e->port[slot - 1] == address->port && e->ip_high[slot - 1] == high)
            return e->announced[slot - 1];
    return NONE;
}

/* An endpoint known only by a name: the name's hash stands where the address would, under a prefix no
   address has. */
static uint32_t endpoint_of_name(struct trace *t, const uint8_t *name, uint32_t length, uint16_t port) {
    if (!length) return NONE;
    const uint64_t hash = sip_hash_folded(name, length, t->hash_seed);
    const uint32_t first = t->endpoints.head.count;
    uint32_t row = endpoint_find(t, UINT64_MAX, hash, port, 0, ADDRESS_NAME, NONE);
    if (row == NONE || row < first) return row;
    const uint32_t text = trace_string(t, name, length);
    t->endpoints.name[row] = text;
    if (port) {
        const uint32_t count = t->endpoints.head.count;
        const uint32_t host = endpoint_find(t, UINT64_MAX, hash, 0, 0, ADDRESS_NAME, NONE);
        if (host != NONE && host >= count) t->endpoints.name[host] = text;
        t->endpoints.host[row] = host == NONE ? row : host;
    }
    return row;
}

uint64_t trace_keep(struct trace *t, const uint8_t *text, size_t length) {
    if (t->arena_capacity - t->arena_length < length + 64) {
        uint64_t capacity = t->arena_capacity ? t->arena_capacity * 2 : 1 << 16;
        while (capacity - t->arena_length < length + 64) capacity *= 2;
        uint8_t *larger = t->lender->lend(capacity);
        if (!larger) { t->failed = 1; return UINT64_MAX; }
        if (t->arena_length) memcpy(larger, t->arena, t->arena_length);
        if (t->arena) t->lender->take_back(t->arena);
        t->arena = larger;
        t->arena_capacity = capacity;
    }
    const uint64_t at = t->arena_length;
    if (length) memcpy(t->arena + at, text, length);
    t->arena_length += length;
    return at;
}

uint32_t trace_string(struct trace *t, const uint8_t *text, size_t length) {
    if (length > 512) length = 512;
    const uint64_t hash = sip_hash(text, length, t->hash_seed);
    struct row_index *index = &t->string_index;
    if (row_index_reserve(index, t->lender, string_row_hash, t)) { t->failed = 1; return NONE; }
    struct strings_table *s = &t->strings;
    uint32_t place = row_index_home(index, hash);
    for (uint32_t slot; (slot = index->slots[place]) != 0; place = (place + 1) & (index->size - 1))
        if (s->hash[slot - 1] == hash && s->length[slot - 1] == length) {
            s->count[slot - 1]++;
            return slot - 1;
        }
    if (table_reserve(t->lender, TABLE_strings, &s->head, 1)) { t->failed = 1; return NONE; }
    const uint64_t offset = trace_keep(t, text, length);
    if (offset == UINT64_MAX) return NONE;
    const uint32_t row = s->head.count++;
    s->offset[row] = offset;
    s->length[row] = (uint32_t)length;
    s->count[row] = 1;
    s->hash[row] = hash;
    index->slots[place] = row + 1;
    index->used++;
    return row;
}

static int conditions_reserve(struct trace *t) {
    if (t->calls.head.count < t->call_conditions_capacity) return 0;
    const uint32_t capacity = t->calls.head.capacity;
    uint64_t *larger = t->lender->lend((size_t)capacity * CONDITION_WORDS * sizeof(uint64_t));
    if (!larger) return STATUS_TOO_SMALL;
    if (t->call_conditions) {
        memcpy(larger, t->call_conditions, (size_t)t->call_conditions_capacity * CONDITION_WORDS * sizeof(uint64_t));
        t->lender->take_back(t->call_conditions);
    }
    t->call_conditions = larger;
    t->call_conditions_capacity = capacity;
    return 0;
}

/* The call of a Call-ID. The hash is seeded per run and 64 bits wide, so equal hash and length is taken for equal
   text. */
static uint32_t call_find(struct trace *t, const uint8_t *call_id, uint32_t length, uint16_t store, uint64_t offset) {
    const uint64_t hash = sip_hash(call_id, length, t->hash_seed);
    struct row_index *index = &t->call_index;
    if (row_index_reserve(index, t->lender, call_row_hash, t)) { t->failed = 1; return NONE; }
    struct calls_table *c = &t->calls;
    uint32_t place = row_index_home(index, hash);
    for (uint32_t slot; (slot = index->slots[place]) != 0; place = (place + 1) & (index->size - 1))
        if (c->call_id_hash[slot - 1] == hash && c->call_id_length[slot - 1] == length) return slot - 1;
    if (table_reserve(t->lender, TABLE_calls, &c->head, 1) || conditions_reserve(t)) { t->failed = 1; return NONE; }
    const uint32_t row = c->head.count++;
    c->call_id_hash[row] = hash;
    c->call_id_length[row] = length;
    c->call_id_store[row] = store;
    c->call_id_offset[row] = offset;
    index->slots[place] = row + 1;
    index->used++;
    return row;
}

const uint8_t *trace_text(const struct trace *t, uint32_t row, uint32_t *length) {
    const struct messages_table *m = &t->messages;
    *length = m->text_length[row];
    const uint8_t *base = m->store[row] ? t->stores[m->store[row]] : t->arena;
    return base + m->text_offset[row];
}

/* ---- one message ---- */

static uint32_t hash32(const struct trace *t, const uint8_t *text, struct sip_span span) {
    if (!span.length) return 0;
    const uint32_t h = (uint32_t)sip_hash(text + span.offset, span.length, t->hash_seed);
    return h ? h : 1;
}

static int32_t number_of(const struct message_view *v, int id) {
    const struct sip_span value = view_header(v, id);
    int64_t number;
    if (!value.length || !sip_number(v->text, value, &number)) return -1;
    return number > INT32_MAX ? INT32_MAX : (int32_t)number;
}

static uint8_t clipped(uint32_t n) { return n > 255 ? 255 : (uint8_t)n; }

/* Values of a comma-joined header over all its rows. */
static uint32_t count_values(const struct message_view *v, int id) {
    if (!sip_has(v->message, id)) return 0;
    uint32_t total = 0, cursor = 0;
    struct sip_span value, element;
    while (view_next(v, id, &cursor, &value)) {
        if (!memchr(v->text + value.offset, ',', value.length)) { total++; continue; }
        uint32_t step = 0;
        while (total < 70000 && sip_list_next(v->text, value, &step, &element)) total++;
    }
    return total;
}

static int is_gap(uint8_t c) { return c == ' ' || c == ',' || c == '\t' || c == '\r' || c == '\n'; }

/* Flags of the option tags that a Require or Supported header lists (RFC 3262, 4028, 3891). */
enum option_tag { OPTION_100REL = 1, OPTION_TIMER = 2, OPTION_REPLACES = 4 };
static int option_tags(const struct message_view *v, int id) {
    uint32_t cursor = 0;
    struct sip_span value;
    int found = 0;
    while (view_next(v, id, &cursor, &value)) {
        const uint8_t *text = v->text + value.offset;
        for (uint32_t at = 0; at < value.length;) {
            while (at < value.length && is_gap(text[at])) at++;
            const uint32_t from = at;
            while (at < value.length && !is_gap(text[at])) at++;
            if (at - from == 6 && !memcmp(text + from, "100rel", 6)) found |= OPTION_100REL;
            else if (at - from == 5 && !memcmp(text + from, "timer", 5)) found |= OPTION_TIMER;
            else if (at - from == 8 && !memcmp(text + from, "replaces", 8)) found |= OPTION_REPLACES;
        }
    }
    return found;
}

static void fill_reason(struct trace *t, const struct message_view *v) {
    uint32_t cursor = 0;
    struct sip_span value, cause, element;
    while (view_next(v, SIP_HEADER_REASON, &cursor, &value)) {
        uint32_t step = 0;
        while (sip_list_next(v->text, value, &step, &element)) {
            if (element.length < 5 || (v->text[element.offset] | 32) != 'q') continue;
            int64_t number;
            if (sip_param_find(v->text, element, ';', "cause", &cause) && sip_number(v->text, cause, &number) &&
                number >= 0 && number < 1000)
                t->messages.q850_cause[v->row] = (int16_t)number;
            return;
        }
    }
}

static uint32_t correlation_of(struct trace *t, const struct message_view *v) {
    static const int ids[] = {SIP_HEADER_CISCO_GUID, SIP_HEADER_GLOBAL_SESSION_ID, SIP_HEADER_AV_GLOBAL_SESSION_ID,
                              SIP_HEADER_X_GENESYS_CALLUUID};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (sip_has(v->message, ids[i])) return hash32(t, v->text, view_header(v, ids[i]));
    if (sip_has(v->message, SIP_HEADER_P_CHARGING_VECTOR)) {
        struct sip_span icid;
        if (sip_param_find(v->text, view_header(v, SIP_HEADER_P_CHARGING_VECTOR), ';', "icid-value", &icid))
            return hash32(t, v->text, icid);
    }
    return 0;
}

static void fill_timer(struct trace *t, const struct message_view *v) {
    struct sip_span refresher;
    t->messages.session_expires_s[v->row] = number_of(v, SIP_HEADER_SESSION_EXPIRES);
    const struct sip_span value = view_header(v, SIP_HEADER_SESSION_EXPIRES);
    if (sip_param_find(v->text, value, ';', "refresher", &refresher) && refresher.length == 3)
        t->messages.refresher[v->row] = (v->text[refresher.offset + 2] | 32) == 'c' ? 1 : 2;
}

/* Headers that most messages do not have: one look at the presence words decides. */
static void fill_rare(struct trace *t, const struct message_view *v) {
    struct messages_table *m = &t->messages;
    const struct sip_message *p = v->message;
    const uint32_t row = v->row;
    int64_t number;
    if (sip_has(p, SIP_HEADER_SESSION_EXPIRES)) fill_timer(t, v);
    if (sip_has(p, SIP_HEADER_MIN_SE)) m->min_se_s[row] = number_of(v, SIP_HEADER_MIN_SE);
    if (sip_has(p, SIP_HEADER_EXPIRES)) m->expires_s[row] = number_of(v, SIP_HEADER_EXPIRES);
    if (sip_has(p, SIP_HEADER_RETRY_AFTER)) m->retry_after_s[row] = number_of(v, SIP_HEADER_RETRY_AFTER);
    if (sip_has(p, SIP_HEADER_RSEQ)) m->rseq[row] = number_of(v, SIP_HEADER_RSEQ);
    if (sip_has(p, SIP_HEADER_RACK)) m->rseq[row] = number_of(v, SIP_HEADER_RACK);
    if (sip_has(p, SIP_HEADER_REASON)) fill_reason(t, v);
    if (sip_has(p, SIP_HEADER_WARNING) && sip_number(v->text, view_header(v, SIP_HEADER_WARNING), &number))
        m->warning_code[row] = number > 999 ? 999 : (uint16_t)number;
    if (sip_has(p, SIP_HEADER_REQUIRE)) {
        const int tags = option_tags(v, SIP_HEADER_REQUIRE);
        if (tags & OPTION_100REL) m->flags[row] |= MESSAGE_REQUIRE_100REL;
        if (tags & OPTION_TIMER) m->flags[row] |= MESSAGE_REQUIRE_TIMER;
    }
    if (sip_has(p, SIP_HEADER_SUPPORTED)) {
        const int tags = option_tags(v, SIP_HEADER_SUPPORTED);
        if (tags & OPTION_100REL) m->flags[row] |= MESSAGE_SUPPORTS_100REL;
        if (tags & OPTION_TIMER) m->flags[row] |= MESSAGE_SUPPORTS_TIMER;
        if (tags & OPTION_REPLACES) m->flags[row] |= MESSAGE_SUPPORTS_REPLACES;
    }
    if (sip_has(p, SIP_HEADER_AUTHORIZATION) || sip_has(p, SIP_HEADER_PROXY_AUTHORIZATION))
        m->flags[row] |= MESSAGE_CREDENTIALS;
    if (sip_has(p, SIP_HEADER_X_CALL_ID) || sip_has(p, SIP_HEADER_X_CID) || sip_has(p, SIP_HEADER_IN_REPLY_TO))
        t->linked_headers++;
    if (sip_has(p, SIP_HEADER_IDENTITY)) m->flags[row] |= MESSAGE_IDENTITY;
    if (sip_has(p, SIP_HEADER_P_ASSERTED_IDENTITY)) m->flags[row] |= MESSAGE_ASSERTED;
    if (sip_has(p, SIP_HEADER_REPLACES)) m->flags[row] |= MESSAGE_REPLACES;
    if (sip_has(p, SIP_HEADER_WWW_AUTHENTICATE) || sip_has(p, SIP_HEADER_PROXY_AUTHENTICATE)) {
        struct sip_span stale;
        const int id = sip_has(p, SIP_HEADER_WWW_AUTHENTICATE) ? SIP_HEADER_WWW_AUTHENTICATE
                                                               : SIP_HEADER_PROXY_AUTHENTICATE;
        if (sip_param_find(v->text, view_header(v, id), ',', "stale", &stale) && stale.length &&
            (v->text[stale.offset] | 32) == 't')
            m->flags[row] |= MESSAGE_STALE;
    }
    if (sip_has(p, SIP_HEADER_ROUTE)) m->route_count[row] = clipped(count_values(v, SIP_HEADER_ROUTE));
    if (sip_has(p, SIP_HEADER_RECORD_ROUTE))
        m->record_route_count[row] = clipped(count_values(v, SIP_HEADER_RECORD_ROUTE));
}

static int same_host(const struct address *a, const struct address *b) {
    return a->family && a->family == b->family && !memcmp(a->ip, b->ip, 16);
}

/* What every message has: tags, Via, CSeq, Contact, the start line. */
static void fill_common(struct trace *t, struct message_view *v, const struct framed *f) {
    struct messages_table *m = &t->messages;
    const struct sip_message *p = v->message;
    const uint32_t row = v->row;
    uint32_t flags = f->message_flags;

    const struct sip_span via = view_header(v, SIP_HEADER_VIA);
    v->via.flags = SIP_VIA_MALFORMED;
    if (via.length) {
        uint32_t step = 0;
        struct sip_span top = via;
        if (memchr(v->text + via.offset, ',', via.length)) sip_list_next(v->text, via, &step, &top);
        sip_via_parse(v->text, top, &v->via);
        m->via_count[row] = clipped(p->repeats[SIP_HEADER_VIA] == 1 && !step ? 1 : count_values(v, SIP_HEADER_VIA));
        m->branch_hash[row] = hash32(t, v->text, v->via.branch);
        m->via_kind[row] = v->via.sent_by.kind;
        if (v->via.flags & SIP_VIA_RPORT) flags |= MESSAGE_RPORT;
        if (v->via.flags & SIP_VIA_RECEIVED) flags |= MESSAGE_RECEIVED;
        if (v->via.flags & SIP_VIA_COOKIE) flags |= MESSAGE_COOKIE;
        if (!p->is_response && same_host(&v->via.sent_by, &f->source)) flags |= MESSAGE_VIA_MATCHES_SOURCE;
    }
    const struct sip_span from = view_header(v, SIP_HEADER_FROM), to = view_header(v, SIP_HEADER_TO);
    if (from.length) sip_address_parse(v->text, from, &v->from);
    if (to.length) sip_address_parse(v->text, to, &v->to);
    m->from_tag_hash[row] = hash32(t, v->text, v->from.tag);
    m->to_tag_hash[row] = hash32(t, v->text, v->to.tag);
    m->from_user_hash[row] = hash32(t, v->text, v->from.parsed.user);
    m->to_user_hash[row] = hash32(t, v->text, v->to.parsed.user);
    if (!p->is_response && v->to.tag.length) flags |= MESSAGE_IN_DIALOG;

    if (sip_has(p, SIP_HEADER_CONTACT)) {
        struct sip_span contact = view_header(v, SIP_HEADER_CONTACT), first = contact;
        uint32_t step = 0;
        if (memchr(v->text + contact.offset, ',', contact.length)) sip_list_next(v->text, contact, &step, &first);
        if (first.length) sip_address_parse(v->text, first, &v->contact);
        m->contact_count[row] =
            clipped(p->repeats[SIP_HEADER_CONTACT] == 1 && !step ? 1 : count_values(v, SIP_HEADER_CONTACT));
        m->contact_kind[row] = v->contact.parsed.address.kind;
        m->contact_hash[row] = hash32(t, v->text, v->contact.uri);
        if (v->contact.flags & SIP_ADDRESS_STAR) flags |= MESSAGE_CONTACT_STAR;
    }
    if (!sip_cseq_parse(v->text, view_header(v, SIP_HEADER_CSEQ), &v->cseq, &v->cseq_method)) {
        v->cseq = -1;
        v->cseq_method.length = 0;
    }
    m->cseq[row] = v->cseq < 0 ? 0 : v->cseq > UINT32_MAX ? UINT32_MAX : (uint32_t)v->cseq;
    m->cseq_method[row] = sip_method_id(v->text + v->cseq_method.offset, v->cseq_method.length);
    m->method[row] = p->is_response ? m->cseq_method[row] : p->method;
    m->status[row] = p->status;
    if (!p->is_response) {
        sip_uri_parse(v->text, p->request_uri, &v->request_uri);
        m->request_uri_hash[row] = hash32(t, v->text, p->request_uri);
        m->request_uri_kind[row] = v->request_uri.address.kind;
    }
    m->max_forwards[row] = -1;
    if (sip_has(p, SIP_HEADER_MAX_FORWARDS)) {
        const int32_t hops = number_of(v, SIP_HEADER_MAX_FORWARDS);
        m->max_forwards[row] = hops > INT16_MAX ? INT16_MAX : (int16_t)hops;
    }
    const int product = sip_has(p, SIP_HEADER_USER_AGENT) ? SIP_HEADER_USER_AGENT : SIP_HEADER_SERVER;
    const struct sip_span agent = view_header(v, product);
    m->user_agent[row] = agent.length ? trace_string(t, v->text + agent.offset, agent.length) : NONE;
    m->flags[row] |= flags;
}

/* ---- SDP rows ---- */

#define NOT_SPEECH (1ull << SDP_CODEC_TELEPHONE_EVENT | 1ull << SDP_CODEC_CN | 1ull << SDP_CODEC_RED | \
                    1ull << SDP_CODEC_RTX | 1ull << SDP_CODEC_ULPFEC)

static void fill_formats(struct media_lines_table *l, uint32_t row, const struct sdp_media *s) {
    l->payload_type[row] = l->telephone_event[row] = l->comfort_noise[row] = 255;
    for (int i = 0; i < s->format_count; i++) {
        const struct sdp_format *f = &s->formats[i];
        if (f->payload_type < 64) l->payload_types_low[row] |= 1ull << f->payload_type;
        else l->payload_types_high[row] |= 1ull << (f->payload_type & 63);
        if (f->codec == SDP_CODEC_TELEPHONE_EVENT) {
            if (l->telephone_event[row] == 255) {
                l->telephone_event[row] = f->payload_type;
                l->event_clock_hz[row] = f->clock_rate_hz;
            }
        } else if (f->codec == SDP_CODEC_CN) {
            if (l->comfort_noise[row] == 255) l->comfort_noise[row] = f->payload_type;
        } else if (l->payload_type[row] == 255 && !(NOT_SPEECH >> f->codec & 1)) {
            l->payload_type[row] = f->payload_type;
            l->codec[row] = f->codec;
            l->clock_rate_hz[row] = f->clock_rate_hz;
        }
    }
}

static void fill_media_line(struct trace *t, const struct message_view *v, uint32_t row, uint32_t line,
                            const struct sdp_media *s) {
    struct media_lines_table *l = &t->media_lines;
    const struct sdp_session *d = &t->session;
    l->message[row] = v->row;
    l->call[row] = v->call;
    l->counterpart[row] = NONE;
    l->endpoint[row] = trace_endpoint(t, &s->connection);
    if (l->endpoint[row] != NONE && s->connection.port) t->endpoints.announced[l->endpoint[row]] = row;
    l->section_offset[row] = s->section.offset;
    l->section_length[row] = s->section.length;
    l->codecs[row] = s->codecs;
    l->formats_hash[row] = s->codecs_hash;
    l->body_hash[row] = d->body_hash;
    l->origin_hash[row] = (uint32_t)d->origin_hash;
    l->origin_version[row] = (uint32_t)d->version;
    l->crypto_key_hash[row] = (uint32_t)(s->crypto_key_hash ^ s->crypto_key_hash >> 32);
    l->fingerprint_hash[row] = (uint32_t)(s->fingerprint_hash ^ s->fingerprint_hash >> 32);
    l->defects[row] = s->flags | d->flags;
    l->bandwidth_kbps[row] = s->bandwidth_kbps;
    l->traits[row] = s->traits;
    l->port[row] = s->connection.port;
    l->ptime_ms[row] = s->ptime_ms;
    l->maxptime_ms[row] = s->maxptime_ms;
    l->rtcp_port[row] = s->rtcp_port;
    l->crypto_suites[row] = s->crypto_suites;
    l->candidate_count[row] = s->candidate_count;
    l->format_total[row] = s->format_total;
    l->line[row] = clipped(line);
    l->line_count[row] = clipped(d->media_total);
    l->media[row] = s->media;
    if (s->media == SDP_IMAGE) t->has_image = 1;
    l->proto[row] = s->proto;
    l->direction[row] = s->direction;
    l->setup[row] = s->setup;
    l->address_kind[row] = s->connection.kind;
    l->origin_kind[row] = d->origin_address.kind;
    l->family[row] = s->connection.family;
    l->candidates[row] = s->candidates;
    l->crypto_count[row] = s->crypto_count;
    fill_formats(l, row, s);
}

static void fill_sdp(struct trace *t, struct message_view *v, struct sip_span body) {
    const ptrdiff_t count = sdp_scan(v->text, body, &t->session, t->media, MEDIA_MAX);
    if (count < 0) return;
    v->session = &t->session;
    v->media = t->media;
    t->messages.flags[v->row] |= MESSAGE_SDP;
    if (table_reserve(t->lender, TABLE_media_lines, &t->media_lines.head, (uint32_t)count)) {
        t->failed = 1;
        return;
    }
    const uint32_t first = t->media_lines.head.count;
    t->media_lines.head.count += (uint32_t)count;
    if (count) t->messages.media_line[v->row] = first;
    t->messages.media_count[v->row] = (uint8_t)count;
    for (uint32_t i = 0; i < (uint32_t)count; i++) fill_media_line(t, v, first + i, i, &t->media[i]);
}

static void fill_body(struct trace *t, struct message_view *v) {
    const struct sip_message *p = v->message;
    struct sip_span body = {p->body_offset, p->body_length};
    const struct sip_span type = view_header(v, SIP_HEADER_CONTENT_TYPE);
    uint8_t kind = type.length ? mime_kind(v->text, type) : CONTENT_NONE;
    /* A logger that lost the Content-Type still shows what it was. */
    if (!type.length && body.length > 4 && !memcmp(v->text + body.offset, "v=0", 3)) kind = CONTENT_SDP;
    if (kind == CONTENT_MULTIPART) {
        const ptrdiff_t count = mime_split(v->text, type, body, t->parts, 16, &v->mime_flags);
        v->parts = t->parts;
        v->part_count = count > 0 ? (uint32_t)count : 0;
        for (uint32_t i = 0; i < v->part_count; i++)
            if (t->parts[i].kind == CONTENT_SDP) {
                kind = CONTENT_SDP;
                body = t->parts[i].body;
                break;
            }
    }
    t->messages.content_kind[v->row] = kind;
    if (kind == CONTENT_SDP && body.length) fill_sdp(t, v, body);
}

/* ---- addresses that the input does not give ---- */

static uint32_t endpoint_of_host(struct trace *t, const uint8_t *base, struct sip_span host, const struct address *address,
                                 uint16_t port) {
    struct address with_port = *address;
    with_port.port = port ? port : 5060;
    return address->family ? trace_endpoint(t, &with_port)
                           : endpoint_of_name(t, base + host.offset, host.length, with_port.port);
}

/* Requests: from the top Via to the first Route or the Request-URI. Responses are settled when their request is
   known (assemble.c). */
static void infer_addresses(struct trace *t, const struct message_view *v) {
    struct messages_table *m = &t->messages;
    const uint32_t row = v->row;
    const struct sip_via *via = &v->via;
    const uint32_t sent_by = via->flags & SIP_VIA_MALFORMED
                                 ? NONE
                                 : endpoint_of_host(t, v->text, via->host, &via->sent_by, via->sent_by.port);
    m->flags[row] |= MESSAGE_ADDRESS_INFERRED;
    if (v->message->is_response) {
        if (m->target[row] == NONE) m->target[row] = sent_by;
        return;
    }
    if (m->source[row] == NONE) m->source[row] = sent_by;
    if (m->target[row] != NONE) return;
    const struct sip_uri *uri = &v->request_uri;
    struct sip_address route;
    if (sip_has(v->message, SIP_HEADER_ROUTE)) {
        struct sip_span first = view_header(v, SIP_HEADER_ROUTE), value = first;
        uint32_t step = 0;
        sip_list_next(v->text, value, &step, &first);
        sip_address_parse(v->text, first, &route);
        if (route.parsed.host.length) uri = &route.parsed;
    }
    m->target[row] = endpoint_of_host(t, v->text, uri->host, &uri->address, uri->port);
}

static void fill_endpoints(struct trace *t, const struct message_view *v, const struct framed *f) {
    struct messages_table *m = &t->messages;
    const uint32_t row = v->row;
    m->source[row] = f->source.family ? trace_endpoint(t, &f->source)
                                      : endpoint_of_name(t, f->source_name, f->source_name_length, f->source.port);
    m->target[row] = f->target.family ? trace_endpoint(t, &f->target)
                                      : endpoint_of_name(t, f->target_name, f->target_name_length, f->target.port);
    if (m->source[row] == NONE || m->target[row] == NONE) infer_addresses(t, v);
    struct endpoints_table *e = &t->endpoints;
    if (m->source[row] != NONE) {
        e->messages_sent[m->source[row]]++;
        e->flags[m->source[row]] |= ENDPOINT_SIP;
        if (m->user_agent[row] != NONE && m->via_count[row] <= 1) e->user_agent[m->source[row]] = m->user_agent[row];
    }
    if (m->target[row] != NONE) {
        e->messages_received[m->target[row]]++;
        e->flags[m->target[row]] |= ENDPOINT_SIP;
    }
}

static void blank_row(struct messages_table *m, uint32_t row) {
    m->transaction[row] = m->media_line[row] = m->retransmission_of[row] = NONE;
    m->expires_s[row] = m->session_expires_s[row] = m->min_se_s[row] = m->retry_after_s[row] = m->rseq[row] = -1;
    m->q850_cause[row] = -1;
}

static void note_times(struct trace *t, int64_t time_ns) {
    if (time_ns < t->first_time_ns) t->first_time_ns = time_ns;
    if (time_ns > t->last_time_ns) t->last_time_ns = time_ns;
}

static int64_t row_begin(struct trace *t, const struct framed *f) {
    struct messages_table *m = &t->messages;
    if (table_reserve(t->lender, TABLE_messages, &m->head, 1)) { t->failed = 1; return MEMORY_ENDED; }
    const uint32_t row = m->head.count;
    uint64_t offset = f->in_store ? (uint64_t)(f->text - t->text) : trace_keep(t, f->text, f->length);
    if (offset == UINT64_MAX) return MEMORY_ENDED;
    blank_row(m, row);
    m->text_offset[row] = offset;
    m->text_length[row] = (uint32_t)f->length;
    m->store[row] = f->in_store ? t->file : 0;
    m->file[row] = t->file;
    m->frame_number[row] = f->number;
    m->time_ns[row] = f->has_time ? f->time_ns : (int64_t)row;
    m->flags[row] = f->has_time ? 0 : MESSAGE_NO_TIME;
    m->direction[row] = f->direction;
    m->dscp[row] = f->dscp;
    m->ttl[row] = f->ttl;
    m->ip_id[row] = f->ip_id;
    if (!f->has_time) t->no_time = 1;
    note_times(t, m->time_ns[row]);
    return row;
}

static uint8_t transport_of(const struct message_view *v, const struct framed *f) {
    if (f->transport) return f->transport;
    return v->via.flags & SIP_VIA_MALFORMED ? SIP_TRANSPORT_NONE : v->via.transport;
}

/* Runs every category's message hook. */
static void sight_message(struct trace *t, const struct message_view *v) {
#define X(category) category##_message(t, v);
    CONDITION_CATEGORIES(X)
#undef X
}

int64_t trace_message(struct trace *t, const struct framed *f) {
    struct sip_message *p = &t->message;
    if (f->length > UINT32_MAX / 2 ||
        sip_scan(f->text, f->length, SIP_DATAGRAM, p, t->headers, HEADERS_MAX) < 0) {
        problem_note(&t->problems, PROBLEM_MESSAGE_MALFORMED, f->offset);
        return STATUS_MALFORMED;
    }
    const int64_t begun = row_begin(t, f);
    if (begun < 0) return begun;
    const uint32_t row = (uint32_t)begun;
    struct messages_table *m = &t->messages;

    struct message_view v;
    memset(&v, 0, sizeof v);
    v.text = f->text; /* the caller's bytes stand still; the arena may move */
    v.length = (uint32_t)f->length;
    v.row = row;
    v.message = p;
    v.headers = t->headers;
    v.source = f->source;
    v.target = f->target;

    const struct sip_span call_id = view_header(&v, SIP_HEADER_CALL_ID);
    v.call = call_find(t, v.text + call_id.offset, call_id.length, m->store[row], m->text_offset[row] + call_id.offset);
    if (v.call == NONE) return MEMORY_ENDED;
    m->call[row] = v.call;
    t->calls.message_count[v.call]++;
    m->body_offset[row] = p->body_offset;
    m->defects[row] = p->flags;
    m->head.count = row + 1;

    fill_common(t, &v, f);
    fill_rare(t, &v);
    m->transport[row] = transport_of(&v, f);
    if (m->transport[row] == SIP_UDP && f->length > 1300) m->flags[row] |= MESSAGE_LONG;
    const uint32_t correlation = f->correlation_hash ? (uint32_t)f->correlation_hash | 1 : correlation_of(t, &v);
    if (correlation && !t->calls.correlation_hash[v.call]) t->calls.correlation_hash[v.call] = correlation;
    if (p->body_length) fill_body(t, &v);
    fill_endpoints(t, &v, f);
    t->sip_packets++;
    if (t->failed) return MEMORY_ENDED; /* rows that the hooks rely on may be missing */
    sight_message(t, &v);
    return t->failed ? MEMORY_ENDED : row;
}

/* Packets to the passes: what a transport payload is, and who takes it. */
#include "absorb.h"
#include "assemble.h"
#include "ingest.h"
#include "row_index.h"

#define TCP_CONNECTIONS 4096
#define TCP_BUFFERS 128
#define FRAGMENT_DATAGRAMS 256

static uint64_t seed_or_default(uint64_t seed) { return seed ? seed : 0x2545F4914F6CDD1Dull; }

int trace_init(struct trace *t, const struct lender *lender, uint64_t seed, uint64_t expected_bytes) {
    memset(t, 0, sizeof *t);
    t->lender = lender;
    t->hash_seed = seed_or_default(seed);
    t->first_time_ns = INT64_MAX;
    t->last_time_ns = INT64_MIN;
    uint64_t messages = expected_bytes / 500 + 16;
    if (messages > 1u << 24) messages = 1u << 24;
    if (table_reserve(lender, TABLE_messages, &t->messages.head, (uint32_t)messages)) return STATUS_TOO_SMALL;
    if (row_index_init(&t->call_index, lender, messages / 6)) return STATUS_TOO_SMALL;
    if (row_index_init(&t->endpoint_index, lender, 128)) return STATUS_TOO_SMALL;
    if (row_index_init(&t->string_index, lender, 64)) return STATUS_TOO_SMALL;
    return 0;
}

void trace_release(struct trace *t) {
    const struct lender *lender = t->lender;
    if (!lender) return;
    struct table *const heads[] = {&t->messages.head, &t->transactions.head, &t->calls.head, &t->media_lines.head,
                                   &t->endpoints.head, &t->strings.head, &t->sightings.head, &t->events.head,
                                   &t->streams.head};
    tls_finish(t);
    part_release(t);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) table_release(lender, heads[i]);
    void *const blocks[] = {t->call_index.slots, t->endpoint_index.slots, t->string_index.slots, t->call_messages,
                            t->call_streams, t->call_conditions, t->arena, (void *)t->stores, t->fragments_memory, t->tcp_memory,
                            t->rtp.streams, t->rtp.buckets, t->rtp.candidates, t->stream_lines,
                            t->host_codecs};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i]) lender->take_back(blocks[i]);
    memset(t, 0, sizeof *t);
}

/* ---- events ---- */

uint32_t trace_event(struct trace *t, const struct packet *p, uint8_t kind, uint8_t transport, uint32_t value) {
    struct events_table *e = &t->events;
    if (table_reserve(t->lender, TABLE_events, &e->head, 1)) { t->failed = 1; return NONE; }
    const uint32_t row = e->head.count++;
    e->time_ns[row] = p->time_ns;
    e->source[row] = trace_endpoint(t, &p->source);
    e->target[row] = trace_endpoint(t, &p->target);
    e->frame_number[row] = p->number;
    e->value[row] = value;
    e->file[row] = t->file;
    e->kind[row] = kind;
    e->transport[row] = transport;
    return row;
}

static void flag_source(struct trace *t, const struct packet *p, uint32_t flag) {
    const uint32_t row = trace_endpoint(t, &p->source);
    if (row != NONE) t->endpoints.flags[row] |= flag;
}

/* ---- messages ---- */

int64_t ingest_message(struct trace *t, const struct packet *p, uint8_t transport) {
    const uint8_t *end = t->text + t->text_count;
    const struct framed f = {
        .text = p->payload, .length = p->payload_length, .time_ns = p->time_ns, .number = p->number,
        .offset = p->file_offset, .source = p->source, .target = p->target, .transport = transport,
        .dscp = p->dscp, .ttl = p->ttl, .has_time = 1, .ip_id = (uint16_t)p->fragment_id,
        .in_store = p->payload >= t->text && p->payload + p->payload_length <= end,
        .message_flags = (p->flags & PACKET_SNAPPED ? MESSAGE_SNAPPED : 0u) |
                         (p->flags & PACKET_REASSEMBLED ? MESSAGE_REASSEMBLED : 0u) |
                         (p->tunnels & ~(TUNNEL_VLAN | TUNNEL_HEP) ? MESSAGE_TUNNELLED : 0u)};
    return trace_message(t, &f);
}

static void from_stream(void *context, enum tcp_event event, const struct packet *p, uint8_t transport) {
    struct trace *t = context;
    static const uint8_t kinds[] = {[TCP_OPENED] = EVENT_TCP_OPENED, [TCP_CLOSED] = EVENT_TCP_CLOSED,
                                    [TCP_RESET] = EVENT_TCP_RESET, [TCP_REFUSED] = EVENT_TCP_REFUSED,
                                    [TCP_KEEPALIVE_PING] = EVENT_PING, [TCP_KEEPALIVE_PONG] = EVENT_PONG,
                                    [TCP_TLS] = EVENT_TLS, [TCP_OTHER] = EVENT_OTHER};
    if (event == TCP_MESSAGE) { ingest_message(t, p, transport ? transport : SIP_TCP); return; }
    if (event == TCP_TLS) {
        problem_note(&t->problems, PROBLEM_ENCRYPTED, p->file_offset);
        flag_source(t, p, ENDPOINT_TLS);
    }
    trace_event(t, p, kinds[event], SIP_TCP, p->payload_length);
}

/* ---- RTP ---- */

static int make_rtp_room(struct trace *t) {
    if (!rtp_table_full(&t->rtp)) return 0;
    struct rtp_table *r = &t->rtp;
    const uint32_t capacity = r->capacity ? r->capacity * 2 : 16, buckets = capacity * RTP_BUCKETS_PER_STREAM;
    struct rtp_stream *streams = t->lender->lend((size_t)capacity * sizeof *streams);
    uint32_t *index = t->lender->lend((size_t)buckets * sizeof *index);
    if (!streams || !index) {
        if (streams) t->lender->take_back(streams);
        if (index) t->lender->take_back(index);
        t->failed = 1;
        return STATUS_TOO_SMALL;
    }
    struct rtp_stream *before = r->streams;
    uint32_t *before_index = r->buckets;
    if (before) memcpy(streams, before, (size_t)r->count * sizeof *streams);
    r->streams = streams;
    r->capacity = capacity;
    rtp_rehash(r, index, buckets);
    if (before) t->lender->take_back(before);
    if (before_index) t->lender->take_back(before_index);
    if (!r->candidates) {
        r->candidates = t->lender->lend(RTP_CANDIDATES * sizeof *r->candidates);
        r->candidate_count = r->candidates ? RTP_CANDIDATES : 0;
        r->seed = t->hash_seed;
    }
    return 0;
}

/* Which m-line a new stream serves is settled at its birth: ports are used again by later calls. */
static int note_stream_line(struct trace *t, uint32_t stream, uint32_t line, uint32_t sender_line) {
    if (stream >= t->stream_line_capacity) {
        const uint32_t capacity = t->rtp.capacity;
        struct stream_line *larger = t->lender->lend((size_t)capacity * sizeof *larger);
        if (!larger) { t->failed = 1; return STATUS_TOO_SMALL; }
        if (t->stream_lines) {
            memcpy(larger, t->stream_lines, (size_t)t->stream_line_capacity * sizeof *larger);
            t->lender->take_back(t->stream_lines);
        }
        t->stream_lines = larger;
        t->stream_line_capacity = capacity;
    }
    t->stream_lines[stream] = (struct stream_line){line, sender_line};
    return 0;
}

/* Mapping of the receiver's m-line: payload types that only its text knows. */
static void describe_stream(struct trace *t, struct rtp_stream *s, uint32_t line) {
    const uint32_t message = t->media_lines.message[line];
    uint32_t length;
    const uint8_t *text = trace_text(t, message, &length);
    const struct sip_span section = {t->media_lines.section_offset[line], t->media_lines.section_length[line]};
    if ((uint64_t)section.offset + section.length > length || !section.length) return;
    if (sdp_scan(text, section, &t->session, t->media, 1) < 1) return;
    for (int i = 0; i < t->media[0].format_count; i++) {
        const struct sdp_format *f = &t->media[0].formats[i];
        rtp_describe(s, f->payload_type, f->codec, f->clock_rate_hz);
    }
}

static void take_rtp(struct trace *t, const struct packet *p) {
    if (make_rtp_room(t)) return;
    /* a packet of a flow that is known needs no look at the announcements */
    int32_t row = t->rtp.count ? rtp_push(&t->rtp, p, 0) : STATUS_INCOMPLETE;
    uint32_t line = NONE, sender = NONE;
    if (row < 0 || t->rtp.created) {
        line = trace_announced(t, &p->target);
        sender = trace_announced(t, &p->source);
        if (row < 0 && (line != NONE || sender != NONE)) row = rtp_push(&t->rtp, p, 1);
        else if (row < 0 && !t->rtp.count) row = rtp_push(&t->rtp, p, 0);
    }
    if (row == STATUS_MALFORMED || row == STATUS_TOO_SMALL) { t->other_packets++; return; }
    t->rtp_packets++;
    if (row < 0 || !t->rtp.created) return;
    if (note_stream_line(t, (uint32_t)row, line, sender)) return;
    const uint32_t mapping = line != NONE ? line : sender;
    if (mapping != NONE) describe_stream(t, &t->rtp.streams[row], mapping);
}

static void take_rtcp(struct trace *t, const struct packet *p) {
    t->rtcp_packets++;
    if (t->rtp.count) rtcp_push(&t->rtp, p);
}

/* ---- datagrams ---- */

static uint32_t big_endian_16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }

/* Message type in the low half; of an error response its code in the high half (RFC 8489 §14.8). */
static uint32_t stun_value(const uint8_t *s, uint32_t n) {
    if (n < 2) return 0;
    const uint32_t type = big_endian_16(s);
    if ((type & 0x0110) != 0x0110) return type;
    for (uint32_t at = 20, attributes = 0; at + 8 <= n && attributes < 32; attributes++) {
        const uint32_t length = big_endian_16(s + at + 2);
        if (big_endian_16(s + at) == 0x0009 && length >= 4) return type | ((s[at + 6] & 7u) * 100 + s[at + 7]) << 16;
        at += 4 + ((length + 3) & ~3u);
    }
    return type;
}

static void take_other(struct trace *t, const struct packet *p, int class) {
    const uint8_t *s = p->payload;
    const uint32_t n = p->payload_length;
    t->other_packets++;
    if (class == RTP_CLASS_STUN) {
        flag_source(t, p, ENDPOINT_STUN);
        trace_event(t, p, EVENT_STUN, SIP_UDP, stun_value(s, n));
    } else if (class == RTP_CLASS_DTLS) {
        flag_source(t, p, ENDPOINT_DTLS);
        tls_take_datagram(t, p);
    } else if (p->target.port == 5060 || p->source.port == 5060) {
        trace_event(t, p, EVENT_OTHER, SIP_UDP, n);
    }
}

enum datagram_kind datagram_kind(struct trace *t, const struct packet *p) {
    const uint32_t n = p->payload_length;
    if (!n) return DATAGRAM_EMPTY;
    const uint8_t first = p->payload[0];
    if (p->flags & PACKET_HEP && p->hep_protocol && p->hep_protocol != 1)
        return p->hep_protocol == 5 ? DATAGRAM_HEP_REPORT : DATAGRAM_HEP_OTHER;
    if (TL_UNLIKELY(t->has_image)) { /* UDPTL has no mark: its first byte is a sequence number's (T.38 §9.1) */
        const uint32_t line = trace_announced(t, &p->target);
        if (line != NONE && t->media_lines.media[line] == SDP_IMAGE) return DATAGRAM_UDPTL;
    }
    if (first >= 128 && first < 192) {
        const int class = rtp_classify(p->payload, n);
        return class == RTP_CLASS_RTP ? DATAGRAM_RTP : class == RTP_CLASS_RTCP ? DATAGRAM_RTCP : DATAGRAM_OTHER;
    }
    if (first == '\r' || first == '\n' || first == 0) {
        uint32_t blank = 0;
        while (blank < n && (p->payload[blank] == '\r' || p->payload[blank] == '\n' || p->payload[blank] == 0)) blank++;
        if (blank == n) return DATAGRAM_BLANK;
    }
    return sip_sniff(p->payload, n) ? DATAGRAM_SIP : DATAGRAM_OTHER;
}

static void take_datagram(struct trace *t, const struct packet *p) {
    const uint32_t n = p->payload_length;
    switch (datagram_kind(t, p)) {
    case DATAGRAM_EMPTY: return;
    case DATAGRAM_HEP_REPORT: t->rtcp_packets++; return;
    case DATAGRAM_HEP_OTHER: t->other_packets++; return;
    case DATAGRAM_UDPTL:
        trace_event(t, p, EVENT_UDPTL, SIP_UDP, n >= 2 ? big_endian_16(p->payload) : 0);
        t->other_packets++;
        return;
    case DATAGRAM_RTP: take_rtp(t, p); return;
    case DATAGRAM_RTCP: take_rtcp(t, p); return;
    case DATAGRAM_BLANK:
        trace_event(t, p, EVENT_PING, SIP_UDP, n);
        t->other_packets++;
        return;
    case DATAGRAM_SIP: ingest_message(t, p, SIP_UDP); return;
    default: take_other(t, p, rtp_classify(p->payload, n));
    }
}

void ingest_packet(struct trace *t, const struct packet *p) {
    struct packet whole;
    if (TL_UNLIKELY(t->part != NULL)) { part_take(t, p); return; }
    if (p->flags & PACKET_FRAGMENT) {
        if (!t->fragments) {
            const size_t size = fragments_size(FRAGMENT_DATAGRAMS);
            void *memory = t->lender->lend(size);
            if (!memory) { t->failed = 1; return; }
            t->fragments_memory = memory;
            t->fragments = fragments_init(memory, size, FRAGMENT_DATAGRAMS);
        }
        if (!fragments_push(t->fragments, p, &whole, &t->problems)) return;
        p = &whole;
    }
    if (p->flags & PACKET_ICMP_QUOTE) {
        trace_event(t, p, EVENT_ICMP, SIP_TRANSPORT_NONE, (uint32_t)p->icmp_type << 8 | p->icmp_code);
        return;
    }
    if (p->protocol == IP_UDP || p->protocol == IP_SCTP) { take_datagram(t, p); return; }
    if (p->protocol != IP_TCP) { t->other_packets++; return; }
    if (p->flags & PACKET_HEP) { ingest_message(t, p, SIP_TCP); return; }
    if (!t->tcp) {
        const size_t size = tcp_size(TCP_CONNECTIONS, TCP_BUFFERS);
        void *memory = t->lender->lend(size);
        if (!memory) { t->failed = 1; return; }
        t->tcp_memory = memory;
        t->tcp = tcp_init(memory, size, TCP_CONNECTIONS, TCP_BUFFERS);
    }
    tls_take_segment(t, p);
    tcp_push(t->tcp, p, from_stream, t, &t->problems);
}

void ingest_record(struct trace *t, const struct capture_record *record) {
    struct packet p;
    t->packets++;
    if (link_decode(record, &p, &t->problems) != 0) { t->other_packets++; return; }
    if (TL_UNLIKELY(p.tunnels))
        for (int bit = 0; bit < 14; bit++) t->tunnel_packets[bit] += p.tunnels >> bit & 1;
    if (p.time_ns < t->first_time_ns) t->first_time_ns = p.time_ns;
    if (p.time_ns > t->last_time_ns) t->last_time_ns = p.time_ns;
    ingest_packet(t, &p);
}

ptrdiff_t trace_capture(struct trace *t, struct capture *capture, const uint8_t *source, size_t count, uint64_t packets) {
    uint64_t read = 0;
    struct capture_record record;
    while (read < packets && !t->failed) {
        if (capture_next(capture, source, count, &record, &t->problems) != 0) break;
        read++;
        ingest_record(t, &record);
    }
    return t->failed ? STATUS_TOO_SMALL : (ptrdiff_t)read;
}

void trace_capture_end(struct trace *t) {
    if (t->fragments) fragments_finish(t->fragments, &t->problems);
    if (t->tcp) tcp_finish(t->tcp, from_stream, t, &t->problems);
    tls_finish(t);
    if (t->fragments_memory) t->lender->take_back(t->fragments_memory);
    if (t->tcp_memory) t->lender->take_back(t->tcp_memory);
    t->fragments = NULL;
    t->tcp = NULL;
    t->fragments_memory = t->tcp_memory = NULL;
}

int trace_packet_bytes(struct trace *t, const uint8_t *source, size_t count, int64_t time_ns, uint16_t link_type, uint64_t offset) {
    struct capture_record record;
    memset(&record, 0, sizeof record);
    record.time_ns = time_ns;
    record.offset = offset;
    record.bytes = source;
    record.captured = record.original = (uint32_t)count;
    record.number = (uint32_t)++t->packets;
    record.link_type = link_type;
    struct packet p;
    if (link_decode(&record, &p, &t->problems) != 0) return STATUS_MALFORMED;
    if (p.time_ns < t->first_time_ns) t->first_time_ns = p.time_ns;
    if (p.time_ns > t->last_time_ns) t->last_time_ns = p.time_ns;
    ingest_packet(t, &p);
    return t->failed ? STATUS_TOO_SMALL : 0;
}

/* ---- the end ---- */

/* What a host is known to speak, from its own descriptions. */
static void gather_codecs(struct trace *t) {
    t->host_codecs = t->lender->lend(((size_t)t->endpoints.head.count + 1) * sizeof *t->host_codecs);
    if (!t->host_codecs) { t->failed = 1; return; }
    for (uint32_t line = 0; line < t->media_lines.head.count; line++) {
        const uint32_t host = host_of(t, t->messages.source[t->media_lines.message[line]]);
        if (host != NONE && t->media_lines.media[line] == SDP_AUDIO) t->host_codecs[host] |= t->media_lines.codecs[line];
    }
}

static void sight_calls(struct trace *t) {
    uint32_t *rows = t->lender->lend((size_t)CALL_MESSAGES_MAX * sizeof *rows);
    if (!rows) { t->failed = 1; return; }
    for (uint32_t call = 0; call < t->calls.head.count && !t->failed; call++) {
        const uint32_t *all = t->call_messages + t->calls.first_message[call];
        uint32_t total = t->calls.message_count[call], count = 0;
        if (total > CALL_MESSAGES_MAX) total = CALL_MESSAGES_MAX;
        for (uint32_t i = 0; i < total; i++)
            if (!(t->messages.flags[all[i]] & MESSAGE_MIRRORED)) rows[count++] = all[i];
        const struct call_view view = {call, rows, count, t->calls.first_transaction[call], t->calls.transaction_count[call],
                                       t->call_streams + t->calls.first_stream[call], t->calls.stream_count[call]};
#define X(category) category##_call(t, &view);
        CONDITION_CATEGORIES(X)
#undef X
    }
    t->lender->take_back(rows);
}

int trace_finish(struct trace *t) {
    trace_capture_end(t); /* hex dumps in text leave reassembly open */
    if (t->first_time_ns > t->last_time_ns) t->first_time_ns = t->last_time_ns = 0;
    int status = trace_assemble(t);
    if (!status) status = trace_correlate(t);
    if (!status) status = trace_link_streams(t);
    if (status) return status;
    gather_codecs(t);
    sight_calls(t);
    if (t->host_codecs) t->lender->take_back(t->host_codecs);
    t->host_codecs = NULL;
#define X(category) if (!t->failed) category##_trace(t);
    CONDITION_CATEGORIES(X)
#undef X
    return t->failed ? STATUS_TOO_SMALL : 0;
}

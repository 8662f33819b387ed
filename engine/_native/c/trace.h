/* A trace being read: every table, the indexes over them, and what a rule's native half may see. */
#ifndef TRUNKLINE_TRACE_H
#define TRUNKLINE_TRACE_H

#include "mime.h"
#include "packet.h"
#include "rtp.h"
#include "sdp.h"
#include "sip.h"
#include "tables.h"

#define HEADERS_MAX 512      /* rows of one message; the rest are counted (SIP_TOO_MANY_HEADERS) */
#define MEDIA_MAX 32         /* m-lines of one message that become rows */

/* Open addressing over row numbers: slot holds row + 1, 0 is free. Keys live in the rows. */
struct row_index { uint32_t *slots; uint32_t size; /* power of two */ uint32_t used; };

struct trace {
    /* tables, in the order of enum table_id */
    struct messages_table messages;
    struct transactions_table transactions;
    struct calls_table calls;
    struct media_lines_table media_lines;
    struct endpoints_table endpoints;
    struct strings_table strings;
    struct sightings_table sightings;
    struct events_table events;
    struct streams_table streams;

    const struct lender *lender;
    struct row_index call_index, endpoint_index, string_index;
    uint32_t *call_messages;     /* message rows by call, each call's in time order; after trace_finish */
    uint32_t *call_streams;      /* stream rows by call; after trace_finish */
    uint64_t *host_codecs;       /* by host row: every codec its descriptions ever named; during the call hooks */
    uint64_t *call_conditions;   /* CONDITION_WORDS words a call: which conditions it has */
    uint32_t call_conditions_capacity;
    uint64_t condition_count[CONDITION_COUNT]; /* sightings, also those that were not kept */

    uint8_t *arena;              /* bytes that lie in no input: reassembled, decoded, interned */
    uint64_t arena_length, arena_capacity;
    const uint8_t **stores;      /* text of input k at [k]; [0] is unused (the arena) */
    uint32_t store_capacity;
    uint64_t hash_seed;

    struct problems problems;
    struct rtp_table rtp;
    struct stream_line { uint32_t receiver, sender; } *stream_lines; /* media_lines rows by RTP stream, at its birth */
    uint32_t stream_line_capacity;
    struct fragments *fragments;
    struct tcp *tcp;
    void *fragments_memory, *tcp_memory; /* what the lender gave; the two above lie inside, aligned */
    struct tls_flights *tls_flights;
    struct part *part;           /* of a trace that reads a stretch for another (absorb.h), else NULL */

    uint64_t packets, bytes, rtp_packets, rtcp_packets, sip_packets, other_packets, mirrored_packets;
    uint64_t tunnel_packets[16]; /* by bit of enum packet_tunnel */
    int64_t first_time_ns, last_time_ns;
    uint64_t linked_headers;     /* messages with X-Call-ID, X-CID or In-Reply-To */
    uint8_t has_image;           /* a description asked for T.38: its ports take no RTP */
    uint8_t no_time;             /* messages have no clock */
    uint8_t failed;              /* the lender had no more memory */
    uint16_t file;               /* input being read, from 1 */
    const uint8_t *text;         /* of the input being read */
    uint64_t text_count;

    struct sip_message message;  /* scratch of the message being read */
    struct sip_header headers[HEADERS_MAX];
    struct sdp_session session;
    struct sdp_media media[MEDIA_MAX];
    struct mime_part parts[16];
};

/* ---- what a rule's native half sees of one message, while its bytes are at hand ---- */
struct message_view {
    const uint8_t *text;               /* base of every span below */
    uint32_t length;
    uint32_t row, call;
    const struct sip_message *message; /* start line, flags, presence, first row of each header id */
    const struct sip_header *headers;
    const struct sdp_session *session; /* NULL without SDP */
    const struct sdp_media *media;     /* session->media_count rows; row k is media_lines row media_line + k */
    const struct mime_part *parts;     /* part_count rows when the body is multipart */
    uint32_t part_count, mime_flags;
    struct sip_via via;                /* the top one; flags SIP_VIA_MALFORMED when there is none */
    struct sip_address from, to, contact; /* parsed; zero-length uri when absent */
    struct sip_uri request_uri;        /* of requests */
    struct address source, target;     /* of the packet */
    int64_t cseq;                      /* -1 malformed or absent */
    struct sip_span cseq_method;
};

/* Value span of the first header of an id, zero length when absent. */
TL_INLINE struct sip_span view_header(const struct message_view *v, int id) {
    struct sip_span none = {0, 0};
    if (!sip_has(v->message, id)) return none;
    const struct sip_header *h = &v->headers[v->message->first[id]];
    return (struct sip_span){h->value_offset, h->value_length};
}
/* Steps over every header row of an id: start with *cursor = 0; returns 1 and the value, or 0. */
TL_INLINE int view_next(const struct message_view *v, int id, uint32_t *cursor, struct sip_span *value) {
    if (!sip_has(v->message, id)) return 0;
    for (uint32_t i = *cursor ? *cursor : v->message->first[id]; i < v->message->header_count; i++)
        if (v->headers[i].id == id) {
            value->offset = v->headers[i].value_offset;
            value->length = v->headers[i].value_length;
            *cursor = i + 1;
            return 1;
        }
    return 0;
}

/* ---- what it sees of one call, when everything is read ---- */
struct call_view {
    uint32_t call;
    const uint32_t *rows;         /* message rows in time order, mirror copies left out */
    uint32_t count;
    uint32_t first_transaction, transaction_count; /* rows in transactions, in order of their first message */
    const uint32_t *streams;      /* stream rows of the call */
    uint32_t stream_count;
};

/* Notes a sighting. `sight` keeps every one; `sight_once` only the first of a condition a call (the rest are
   counted). call may be NONE (then both keep all). `code` and `value` are what the rule wants to say. */
void sight(struct trace *t, int condition, uint32_t call, uint32_t row, uint32_t other, int code, int64_t value);
void sight_once(struct trace *t, int condition, uint32_t call, uint32_t row, uint32_t other, int code, int64_t value);
/* True when the call already has the condition. */
TL_INLINE int call_has(const struct trace *t, uint32_t call, int condition) {
    return (int)(t->call_conditions[(size_t)call * CONDITION_WORDS + (size_t)(condition >> 6)] >> (condition & 63) & 1);
}

/* Guards of absence rules: the whole window [from, from + window_ms] must lie in the capture, both directions be
   seen, and there be a clock. */
TL_INLINE int call_absence_holds(const struct trace *t, uint32_t call, int64_t from_ns, int64_t window_ms) {
    if (t->calls.flags[call] & (CALL_NO_TIME | CALL_ONE_SIDED | CALL_SNAPPED)) return 0;
    return from_ns + window_ms * 1000000 <= t->last_time_ns;
}
TL_INLINE int64_t ms_between(const struct trace *t, uint32_t earlier_row, uint32_t later_row) {
    return (t->messages.time_ns[later_row] - t->messages.time_ns[earlier_row]) / 1000000;
}
TL_INLINE uint32_t host_of(const struct trace *t, uint32_t endpoint) {
    return endpoint == NONE ? NONE : t->endpoints.host[endpoint];
}

/* ---- the rules' native halves: conditions_<category>.c defines these ---- */
/* A message hook looks at its message, its media lines and its user agent, and at nothing that other messages left: files
   are read in parts (absorb.h). It sights its own row, with one of its lines beside it. */
#define CONDITION_CATEGORIES(X) X(signaling) X(media) X(codec) X(security) X(compliance) X(nat) X(auth) X(routing) X(general)
/* once a message, in arrival order, while its text is at hand (t->messages row is filled already) */
/* once a call, after transactions, offers/answers and streams are linked */
/* once a trace, after every call: cross-call conditions */
#define X(category) \
    void category##_message(struct trace *t, const struct message_view *v); \
    void category##_call(struct trace *t, const struct call_view *c); \
    void category##_trace(struct trace *t);
CONDITION_CATEGORIES(X)
#undef X

/* ---- reading ---- */
int trace_init(struct trace *t, const struct lender *lender, uint64_t seed, uint64_t expected_bytes);
void trace_release(struct trace *t);
/* Reads a whole capture (pcap, pcapng, HEP stream) mapped at `source`; `*position` is where to go on, so the caller
   may stop between calls (progress). At most `packets` records. Returns records read, 0 at the end, or a status. */
ptrdiff_t trace_capture(struct trace *t, struct capture *capture, const uint8_t *source, size_t count, uint64_t packets);
void trace_capture_end(struct trace *t); /* flushes reassembly at the end of an input */
/* Adds one framed message. `in_store`: 1 when `text` lies inside the input being read, else it is copied to the arena. */
struct framed { const uint8_t *text; size_t length; int64_t time_ns; uint32_t number; uint64_t offset;
                struct address source, target; const uint8_t *source_name, *target_name;
                uint32_t source_name_length, target_name_length; uint64_t correlation_hash;
                uint8_t transport, direction, dscp, ttl, in_store, has_time; uint16_t ip_id;
                uint32_t message_flags /* enum message_flag to begin with */; };
/* Row of the message, or STATUS_MALFORMED (counted), or STATUS_TOO_SMALL when memory ended. */
int64_t trace_message(struct trace *t, const struct framed *framed);
/* One link-layer packet outside a capture file (hex dumps); its bytes are not kept. 0 or a status. */
int trace_packet_bytes(struct trace *t, const uint8_t *source, size_t count, int64_t time_ns, uint16_t link_type,
                       uint64_t offset);
/* Sorts, pairs, links, runs the call and trace hooks. */
int trace_finish(struct trace *t);

/* Rows made on demand; NONE when memory ended. */
uint32_t trace_endpoint(struct trace *t, const struct address *address);
uint32_t trace_string(struct trace *t, const uint8_t *text, size_t length);
/* The media_lines row that announced an address and port last, NONE when none did. Makes no rows. */
uint32_t trace_announced(struct trace *t, const struct address *address);
/* Copies bytes to the arena; returns the offset or UINT64_MAX. */
uint64_t trace_keep(struct trace *t, const uint8_t *text, size_t length);
/* Text of a message row. */
const uint8_t *trace_text(const struct trace *t, uint32_t row, uint32_t *length);

#endif

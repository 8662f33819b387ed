/* TCP: what its three parts share. tcp.c keeps connections, tcp_order.c puts bytes in order, tcp_frame.c
   finds messages in them. */
#ifndef TRUNKLINE_TCP_FLOW_H
#define TRUNKLINE_TCP_FLOW_H

#include "octets.h"
#include "packet.h"

#define BUFFER_BYTES 65536u
#define RANGES 16          /* islands of early bytes a direction may hold */
#define WAITING_SEGMENTS 64 /* early segments after which a hole is given up */
#define SEEN_SEGMENTS 4    /* delivered segments remembered for comparison with retransmissions */
#define NONE_ROW UINT32_MAX

enum stream_mode { STREAM_UNKNOWN, STREAM_SIP, STREAM_RESYNC, STREAM_HTTP, STREAM_WEBSOCKET, STREAM_HUNT,
                   STREAM_HEP, STREAM_TLS, STREAM_OTHER };

/* How far the message in front was looked at; offsets count from its first byte. */
struct framing {
    uint32_t searched;     /* no line end before this */
    uint32_t line;         /* start of the line being read */
    uint32_t total;        /* length of the message once its headers are complete, 0 before */
    int64_t content_length; /* -1 absent or unusable */
    uint8_t started;       /* the start line is one */
    uint8_t length_seen;   /* a Content-Length stands: the first one counts */
    uint8_t length_open;   /* its value is on the next, folded line */
};

struct range { uint32_t start, end, number; int64_t time_ns; uint64_t file_offset; };

struct buffer {
    uint32_t owner;        /* connection row * 2 + direction */
    uint32_t older, newer; /* by last use; `newer` also chains the free ones */
    uint32_t start, end;   /* bytes in order */
    uint32_t range_count, waiting;
    struct range ranges[RANGES]; /* behind `end`, ascending, apart from one another */
    uint8_t bytes[BUFFER_BYTES];
};

struct seen_segment { uint32_t sequence, length; uint64_t hash; };

struct direction {
    uint32_t next;         /* sequence number of the next byte in order */
    uint32_t acknowledged; /* by the other side */
    uint32_t astray_sequence; /* of the last segment far from `next` */
    uint32_t buffer, joined; /* buffer rows: bytes in order; a WebSocket message in pieces */
    uint64_t skip;         /* bytes to pass over: the rest of something that is not kept */
    uint32_t hunted;       /* bytes passed over before anything was recognised */
    struct framing framing;
    struct seen_segment seen[SEEN_SEGMENTS];
    int64_t last_ns;
    uint64_t last_offset;
    uint32_t last_number, initial_sequence;
    uint16_t last_flags, last_tunnels, last_vlan;
    uint8_t last_dscp, last_ttl;
    uint8_t mode;          /* enum stream_mode */
    uint8_t late;          /* bytes were lost: reading goes on in the middle of something */
    uint8_t synchronised, syn_seen, acknowledgement_seen, finished, astray, seen_next;
    uint8_t joining;       /* inside a WebSocket message in pieces: 1 kept, 2 dropped */
};

struct connection {
    struct address ends[2]; /* the lower one first; direction i comes from ends[i] */
    uint64_t flow_tag, hash;
    uint32_t next_in_bucket, older, newer;
    int64_t syn_ns;
    struct direction directions[2];
    uint8_t used, transport, opener /* direction of the SYN, 2 when not seen */, syn_count;
    uint8_t opened, closed, reset, announced;
};

struct tcp {
    uint64_t seed;
    int64_t last_ns;
    uint32_t connection_count, buffer_count, bucket_mask;
    uint32_t free_connection, oldest_connection, newest_connection;
    uint32_t free_buffer, oldest_buffer, newest_buffer;
    uint32_t *buckets;
    struct connection *connections;
    struct buffer *buffers;
    uint8_t unmasked[BUFFER_BYTES];
};

/* One direction at work: who gets events, and the segment they are attributed to. */
struct flow {
    struct tcp *t;
    struct connection *c;
    struct direction *d;
    struct packet base;
    tcp_sink sink;
    void *context;
    struct problems *problems;
};

TL_INLINE void flow_note(const struct flow *w, enum problem kind) {
    problem_note(w->problems, kind, w->base.file_offset);
}
void flow_event(struct flow *w, enum tcp_event event);
/* The same sink, another direction: its events are attributed to its own last segment. */
struct flow flow_beside(const struct flow *w, struct connection *c, unsigned direction);

/* ---- tcp_order.c ---- */
struct buffer *buffer_lend(struct flow *w);
void buffer_release(struct tcp *t, uint32_t row);
/* Takes a segment's bytes in, wherever they belong. */
void order_push(struct flow *w, uint32_t sequence, const uint8_t *bytes, size_t count);
/* Gives up a hole when the other side acknowledged behind it. */
void order_acknowledged(struct flow *w);
/* Hands out everything that is held, holes or not. */
void order_flush(struct flow *w);

/* ---- tcp_frame.c ---- */
/* Takes messages from the front of bytes that are in order. Returns the bytes that are done with. */
size_t stream_feed(struct flow *w, const uint8_t *bytes, size_t count);
/* The bytes at the front will never be whole: `missing` ones follow them. Hands out what is useful. */
void stream_abandon(struct flow *w, const uint8_t *bytes, size_t count, uint64_t missing);

#endif

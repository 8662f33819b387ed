/* What the RTP kernels share: bits of a stream's state, the settling of losses, the index keys. */
#ifndef TRUNKLINE_RTP_STREAM_H
#define TRUNKLINE_RTP_STREAM_H

#include <string.h>

#include "rtp.h"
#include "sdp.h"

#define RTP_MAX_DROPOUT 3000  /* RFC 3550 A.1 */
#define RTP_MAX_MISORDER 100
#define RTP_WINDOW 128        /* sequence numbers whose fate is open; more than MAX_MISORDER */
#define RTP_GMIN 16           /* RFC 3611 §4.7.2 */
#define RTP_SECOND_NS 1000000000ll
#define RTP_GAP_NS 500000000ll
#define RTP_WORST_WINDOW_S 10

/* bits of rtp_stream.state */
enum rtp_state {
    RTP_IN_ORDER = 1,      /* the last arrival is `highest` */
    RTP_STRAY_OPEN = 2,    /* the last arrival was a stray */
    RTP_STEADY = 4,        /* steady_* hold a packet */
    RTP_ENVELOPE = 8,      /* envelope_ms holds a skew of the running second */
    RTP_EVENT_OPEN = 16,
    RTP_TIMING_BROKEN = 32, /* the next step crosses clocks or an epoch: no difference is taken */
    RTP_ANCHORED = 64,     /* the simulated buffers have begun */
    RTP_MEASURING = 128    /* steady_* hold where the clock's measurement began */
};

TL_INLINE uint16_t load16(const uint8_t *b) { return (uint16_t)(b[0] << 8 | b[1]); }
TL_INLINE uint32_t load32(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}
/* Capture clocks may be anything: differences wrap instead of overflowing. */
TL_INLINE int64_t since(int64_t later, int64_t earlier) {
    return (int64_t)((uint64_t)later - (uint64_t)earlier);
}
TL_INLINE double percent(double part, double whole) { return whole > 0 ? 100.0 * part / whole : 0.0; }
TL_INLINE void count16(uint16_t *count) { if (*count != UINT16_MAX) ++*count; }

TL_INLINE uint64_t stream_expected(const struct rtp_stream *s) {
    return s->expected_before + (s->packets ? s->highest - s->base + 1 : 0);
}

/* Takes one packet of the stream. `content` holds `available` bytes of its payload; 0 when they are gone. */
void stream_take(struct rtp_stream *s, const struct packet *p, const struct rtp_header *header,
                 const uint8_t *content, uint32_t available);
/* Begins a stream that has its key. */
void stream_begin(struct rtp_stream *s, int64_t time_ns, const struct rtp_header *header);
void stream_settle_lost(struct rtp_stream *s, uint64_t count);
void stream_settle_received(struct rtp_stream *s);
/* Settles the whole window: the end of an epoch or of the stream. */
void stream_settle_window(struct rtp_stream *s);
void stream_close_burst(struct rtp_stream *s);
void stream_close_second(struct rtp_stream *s, int64_t time_ns);
void stream_close_window(struct rtp_stream *s, int whole);
void stream_estimate_clock(struct rtp_stream *s);
/* Payload kinds (rtp_payload.c). */
void payload_switch(struct rtp_stream *s, const struct rtp_header *header, const uint8_t *content,
                    uint32_t available);
void payload_event(struct rtp_stream *s, const struct rtp_header *header, const uint8_t *content);
void payload_close_event(struct rtp_stream *s);
void payload_inspect(struct rtp_stream *s, const uint8_t *content, uint32_t count);
void payload_size(struct rtp_stream *s, uint32_t size);
void payload_apply(struct rtp_stream *s); /* takes clock, kind and law from the current payload type */
uint32_t payload_static_clock_hz(uint8_t payload_type, uint8_t *codec);

/* ---- the index: five keys a stream in one open-addressing table ---- */
enum rtp_key { RTP_KEY_STREAM = 0, /* all of it */
               RTP_KEY_TUPLE,      /* 5-tuple and tag: the newest SSRC */
               RTP_KEY_SOURCE,     /* target, SSRC, tag: the newest source */
               RTP_KEY_TARGET,     /* target, tag: the newest stream */
               RTP_KEY_PAIR };     /* both hosts, SSRC, tag, no ports: for RTCP */
struct rtp_lookup {
    uint64_t source_ip[2], target_ip[2], flow_tag;
    uint32_t ssrc;
    uint16_t source_port, target_port;
};
uint32_t index_find(const struct rtp_table *t, enum rtp_key key, const struct rtp_lookup *l);
TL_INLINE void lookup_of_packet(struct rtp_lookup *l, const struct packet *p, uint32_t ssrc) {
    memcpy(l->source_ip, p->source.ip, 16);
    memcpy(l->target_ip, p->target.ip, 16);
    l->flow_tag = p->flow_tag;
    l->ssrc = ssrc;
    l->source_port = p->source.port;
    l->target_port = p->target.port;
}

#endif

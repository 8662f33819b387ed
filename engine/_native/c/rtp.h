/* RTP and RTCP streams of a trace: what every packet leaves behind, and what follows from it at the end
   (RFC 3550, 3551, 3611, 4733, 5761, 7983). One state a (source, target, flow tag, SSRC), in memory the
   caller lends; a pushed packet is read once and never kept. */
#ifndef TRUNKLINE_RTP_H
#define TRUNKLINE_RTP_H

#include "packet.h"
#include "status.h"
#include "stream_columns.h"

#define RTP_HEADER_LENGTH 12
#define RTP_NO_STREAM UINT32_MAX
#define RTP_NO_PAYLOAD_TYPE 255
#define RTP_BUCKETS_PER_STREAM 16 /* advised: bucket_count >= this times capacity */
#define RTP_CANDIDATES 4096       /* advised candidate_count */
#define RTP_PAYLOADS 6            /* payload types with their own mapping, a stream */
#define RTP_STEPS 6               /* distinct timestamp steps counted, a stream */
#define RTP_SIZES 8               /* distinct payload sizes counted, a stream */

/* ---- what the first bytes of a UDP payload are (RFC 7983 §7, RFC 5761 §4, T.38 §9) ---- */
enum rtp_class { RTP_CLASS_OTHER = 0, RTP_CLASS_RTP, RTP_CLASS_RTCP, RTP_CLASS_STUN, RTP_CLASS_DTLS,
                 RTP_CLASS_UDPTL /* a guess: T.38 has no mark */, RTP_CLASS_TURN_CHANNEL };
int rtp_classify(const uint8_t *payload, uint32_t count);

struct rtp_header {
    uint32_t timestamp, ssrc;
    uint32_t payload_offset, payload_length; /* padding left out; bytes on the wire, maybe not all captured */
    uint16_t sequence;
    uint8_t payload_type, marker;
    uint16_t extension_profile;              /* 0 when there is no extension */
    uint8_t csrc_count, padding;
};
/* Reads a fixed header, its CSRC list, extension and padding (RFC 3550 §5.1, 5.3.1). `wire` >= `count` is the length
   on the wire. 0, or STATUS_MALFORMED when the payload is no RTP. */
int rtp_parse(const uint8_t *payload, uint32_t count, uint32_t wire, struct rtp_header *header);

/* ---- one stream ---- */
enum rtp_flag {
    RTP_ANNOUNCED = 1 << 0,        /* `expected` was 1 when it began */
    RTP_SSRC_CHANGED = 1 << 1,     /* another SSRC was on this 5-tuple before, and ended */
    RTP_MULTIPLEXED = 1 << 2,      /* another SSRC is on this 5-tuple at the same time */
    RTP_SOURCE_CHANGED = 1 << 3,   /* same SSRC, same target, before from another source that then ended */
    RTP_SSRC_COLLISION = 1 << 4,   /* same SSRC, same target, two sources at one time */
    RTP_SECOND_SOURCE = 1 << 5,    /* another source sends to the same target port at the same time */
    RTP_SRTP_LIKELY = 1 << 6,      /* payload sizes are a codec frame and an SRTP tag */
    RTP_CLOCK_ESTIMATED = 1 << 7,  /* clock rate was measured, not announced */
    RTP_BYE_SEEN = 1 << 8,         /* RTCP BYE for this SSRC */
    RTP_EXTENSION_SEEN = 1 << 9, RTP_CSRC_SEEN = 1 << 10, RTP_PADDING_SEEN = 1 << 11,
    RTP_RTCP_MUX_SEEN = 1 << 12,   /* RTCP on the RTP port */
    RTP_SEQUENCE_CONTINUED = 1 << 13, /* with RTP_SOURCE_CHANGED: sequence numbers went on */
    RTP_RTCP_REDUCED = 1 << 14,    /* reduced-size RTCP (RFC 5506) seen */
    RTP_FINISHED = 1u << 31
};

struct rtp_payload { uint32_t clock_rate_hz, packets; uint8_t payload_type, codec /* enum sdp_codec */, described, spare; };
struct rtp_count { uint32_t value, count; };
struct rtp_buffer { float anchor_ms; uint32_t discarded; uint32_t late_run; }; /* one simulated jitter buffer */

struct rtp_stream {
    /* the key */
    uint64_t source_ip[2], target_ip[2]; /* as in struct address, native loads of the bytes */
    uint64_t flow_tag;
    uint32_t ssrc;
    uint16_t source_port, target_port;
    int64_t last_time_ns;
    uint32_t last_timestamp;
    uint32_t flags;                /* enum rtp_flag */
    /* every packet touches these */
    uint64_t highest, base;        /* extended sequence numbers of this epoch */
    uint64_t window[2];            /* bit k: highest - k arrived */
    uint64_t bytes;                /* payload */
    double ms_per_tick;            /* of the payload type of the last packet; 0 while not known */
    double media_ms;               /* RTP time since the first packet, jumps taken out */
    double jitter_ms, steady_jitter_ms;
    double jitter_sum_ms, steady_jitter_sum_ms;
    double skew_second_ms;         /* least (arrival - RTP time) of the running second */
    int64_t steady_time_ns;
    uint32_t steady_timestamp;
    uint32_t packets, received;    /* all; without duplicates and strays */
    uint32_t jitter_count, steady_jitter_count;
    uint32_t second;               /* running second since the first packet */
    uint32_t received_run;         /* settled packets received since the last loss */
    float jitter_max_ms, steady_jitter_max_ms;
    float ptime_ms;                /* running mode of the timestamp step */
    struct rtp_buffer buffers[3];  /* 50 ms, 200 ms, adaptive up to 500 ms */
    uint16_t stray_next;           /* RFC 3550 A.1 bad_seq */
    uint8_t stray_open, payload_index, step_index, size_index, dscp, ttl;
    uint8_t payload_type, last_was_pause /* CN */, has_steady, address_family;
    struct rtp_count steps[RTP_STEPS];
    struct rtp_count sizes[RTP_SIZES];
    struct rtp_payload payloads[RTP_PAYLOADS];
    uint8_t payload_count /* seen */, payload_described, has_envelope, seconds_open;
    /* the rest is touched now and then */
    uint32_t step_other, size_other;
    uint64_t file_offset;          /* of the first packet's record */
    int64_t first_time_ns, delta_max_ns, gap_max_ns, gap_start_ns, gap_end_ns;
    uint64_t expected_before;      /* of epochs that ended in a restart */
    uint64_t payload_types[2];
    double drift_sum[5];           /* n, x, y, xx, xy of the lower envelope: s and ms */
    float skew_min_ms, skew_max_ms, first_skew_ms;
    uint32_t first_number, last_number; /* record numbers */
    uint32_t mirrored, duplicates, reordered, strays, restarts, jumps_forward, jumps_back;
    uint32_t markers, comfort_noise, payload_type_changes, timestamp_jumps, late_deltas, deltas, gaps, pauses;
    uint32_t dscp_changes, ttl_changes, extensions;
    uint16_t first_sequence; uint8_t first_dscp, first_ttl;
    uint32_t first_timestamp;
    /* losses in settled order (RFC 3611 §4.7.2) */
    uint32_t loss_run, loss_run_max, loss_runs, loss_runs_long /* >= 5 */;
    uint32_t burst_open_lost, burst_open_length, bursts, burst_lost, burst_length, gap_lost;
    uint32_t settled;              /* packets whose fate is settled */
    /* running and worst 10 s window */
    int64_t window_start_ns, worst_start_ns;
    uint64_t window_expected;
    uint32_t window_received, window_runs, window_discarded, holes;
    float worst_loss_percent, worst_burst_ratio;
    /* telephone-event (RFC 4733 §2.5) */
    uint64_t digits[2];            /* digit k in the nibble k: 0-9, 10 '*', 11 '#', 12-15 A-D */
    uint32_t event_timestamp, events, event_packets;
    uint32_t event_no_end, event_few_ends, event_shrinking, event_zero, event_short, event_split;
    int64_t event_time_ns;
    uint16_t event_duration; uint8_t event_code, event_ends, event_open, event_payload_type, event_flaws, digit_count;
    /* G.711 payloads */
    uint64_t level_square_sum;     /* of 13- or 14-bit samples scaled to 16 bits, >> 8 */
    uint32_t level_samples, clipped_samples, silent_packets, inspected_packets;
    uint16_t level_peak, spare;
    /* RTCP (RFC 3550 §6.4, RFC 3611) */
    int64_t rtcp_first_ns, rtcp_last_ns, report_first_ns, report_last_ns;
    int64_t sr_time_ns[2], rrtr_time_ns, sr_rtp_time_ns;
    uint64_t sr_ntp;
    uint32_t sr_middle[2], rrtr_middle, sr_rtp_timestamp;
    uint32_t rtcp_packets, sr_count, rr_count, xr_count, reports, sr_packet_count, sr_octet_count;
    uint32_t report_lossy_run, report_lossy_run_max;
    int32_t report_lost;
    float report_jitter_ms, report_jitter_max_ms, rtt_ms, rtt_max_ms, dlrr_rtt_ms;
    uint8_t report_fraction, report_fraction_max, xr_loss, xr_discard, xr_r_factor, xr_mos_lq, xr_mos_cq, xr_seen;
    uint16_t xr_rtt_ms, xr_end_system_ms;
    uint8_t rtt_sides, mos_known; uint16_t ssrc_changes;
    /* links, filled at creation and judged by rtp_finish */
    uint32_t previous_on_tuple, previous_source, previous_on_target, reverse;
    /* derived by rtp_finish */
    float r_lq, r_cq, mos_lq, mos_cq, mos_fixed_50, mos_fixed_200, mos_worst, mos_simple, burst_ratio, ie_effective;
};
_Static_assert(sizeof(struct rtp_stream) <= 1536, "a stream stays small");

/* First packet of a flow nobody announced: a stream needs two in sequence (RFC 3550 A.1). */
struct rtp_candidate { uint64_t hash; int64_t time_ns; uint64_t file_offset; struct rtp_header header;
                       uint32_t number; uint8_t dscp, ttl, head[8], used, spare; };

struct rtp_table {
    struct rtp_stream *streams;  /* lent, zeroed; rows move with the caller's memcpy of `count` rows */
    uint32_t count, capacity;
    uint32_t *buckets;           /* lent, zeroed; filled by rtp_rehash and rtp_push */
    uint32_t bucket_count;       /* power of two */
    struct rtp_candidate *candidates; /* lent, zeroed. NULL: flows nobody announced are not taken (STATUS_TOO_SMALL) */
    uint32_t candidate_count;    /* power of two */
    uint32_t last[2];            /* rows of the last two streams, + 1 */
    uint64_t seed;               /* of the hash; any value, before the first push */
    uint8_t created;             /* out: the last rtp_push made the row it returned */
    uint64_t packets, rtcp_packets, rtcp_malformed, rtcp_unmatched;
};

/* True when the next rtp_push may need a new row: lend more, then rtp_rehash. */
int rtp_table_full(const struct rtp_table *t);
/* Takes new zeroed buckets and fills them from `streams`. */
void rtp_rehash(struct rtp_table *t, uint32_t *buckets, uint32_t bucket_count);

/* Takes one UDP payload. `expected`: SDP announced its source or target, so one packet is enough.
   Returns the row (t->created says whether it is new), STATUS_INCOMPLETE for the first packet of a flow on probation
   (it is added when the second comes), STATUS_MALFORMED when the payload is no RTP, STATUS_TOO_SMALL without room. */
int32_t rtp_push(struct rtp_table *t, const struct packet *p, int expected);
/* Row of the stream a packet belongs to, without taking it; RTP_NO_STREAM when there is none. */
uint32_t rtp_find(const struct rtp_table *t, const struct packet *p, uint32_t ssrc);
/* Maps a payload type from SDP; may come after packets did. Numbers already in ms stay as they are. */
void rtp_describe(struct rtp_stream *s, uint8_t payload_type, uint8_t codec, uint32_t clock_rate_hz);

/* Takes one compound or reduced-size RTCP packet (RFC 3550 §6, 5506, 5761, 3611) and credits the streams it names.
   Returns how many it found, or STATUS_MALFORMED. */
int rtcp_push(struct rtp_table *t, const struct packet *p);

/* Settles what is open and derives what needs the whole stream. Linear; once. A rtp_push behind it starts nothing new
   in streams that are finished (STATUS_END). */
void rtp_finish(struct rtp_table *t);

/* Appends the state of the same stream from the next part of a split file. Both not finished; `second` is used up.
   Rows of links (previous_*) in `second` are forgotten. */
void rtp_merge(struct rtp_stream *first, struct rtp_stream *second);

/* Writes a finished stream into a row. Columns that the caller fills (stream_columns.h) get NONE or 0 first;
   `reverse_stream` gets the latest stream on the mirrored 5-tuple. */
void rtp_export(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row);

#endif

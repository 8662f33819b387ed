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
/* Reads a fixed header, its CSRC list, extension and padding (RFC 3550 §5.1, 5.3.1). `wire` >= `count` is the
   length on the wire. 0, or STATUS_MALFORMED when the payload is no RTP. */
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
    RTP_TAP_COPY = 1 << 15,        /* the same packets as previous_stream, seen on another side of a NAT */
    RTP_FINISHED = 1 << 16
};

struct rtp_payload { uint32_t clock_rate_hz, packets;
                     uint8_t payload_type, codec /* enum sdp_codec */, described, spare; };
struct rtp_count { uint32_t value, count; };
/* One simulated jitter buffer: what would have come too late to be played. */
struct rtp_buffer { float anchor_ms; uint32_t discarded, late_run; };
enum rtp_kind { RTP_KIND_MEDIA = 0, RTP_KIND_COMFORT_NOISE, RTP_KIND_EVENT };

struct rtp_stream {
    /* the key */
    uint64_t source_ip[2], target_ip[2]; /* the 16 bytes as in struct address, loaded natively */
    uint64_t flow_tag;
    uint32_t ssrc;
    uint16_t source_port, target_port;
    int64_t last_time_ns;
    uint32_t last_timestamp;
    uint8_t payload_type, kind /* enum rtp_kind */, law /* 1 PCMU, 2 PCMA, 0 other */, dscp;
    /* every packet touches these */
    uint64_t highest, base;        /* extended sequence numbers of this epoch */
    uint64_t window[2];            /* bit k: highest - k arrived */
    uint64_t bytes;                /* payload */
    double ms_per_tick;            /* of the last packet's payload type; 0 while not known */
    double media_ms;               /* RTP time since the first packet, jumps taken out */
    double jitter_ms, jitter_sum_ms;
    double steady_jitter_ms, steady_jitter_sum_ms;
    int64_t steady_time_ns;        /* last packet of the steady variant; while the clock is not known: */
    uint32_t steady_timestamp;     /* where its measurement began */
    uint32_t packets, received;    /* all; without duplicates and strays */
    uint32_t jitter_count, steady_jitter_count;
    uint32_t received_run;         /* settled packets received since the last loss */
    uint32_t settled;              /* packets whose fate is settled */
    float jitter_max_ms, steady_jitter_max_ms;
    float ptime_ms;                /* running mode of the timestamp step */
    float envelope_ms, skew_min_ms, skew_max_ms; /* arrival - RTP time: least of the second; of all */
    int64_t tick_ns;               /* when the running second ends */
    int64_t first_time_ns, delta_max_ns;
    struct rtp_buffer buffers[3];  /* 50 ms, 200 ms, adaptive up to 500 ms */
    uint32_t deltas, last_number;  /* record numbers */
    uint32_t inspected_packets;    /* G.711 payloads */
    uint8_t ttl, state /* bits of rtp_stream.h */, payload_index, step_index, size_index, size_count;
    uint16_t size_min, size_max;
    struct rtp_count steps[RTP_STEPS];
    uint32_t size_counts[RTP_SIZES];
    uint16_t sizes[RTP_SIZES];
    uint32_t step_other;
    struct rtp_payload payloads[RTP_PAYLOADS]; /* seen ones in order, described ones; the last: others */
    uint8_t payload_seen, payload_used;
    uint16_t stray_next;           /* RFC 3550 A.1 bad_seq */
    /* the rest is touched now and then */
    uint32_t flags;                /* enum rtp_flag */
    uint64_t file_offset;          /* of the first packet's record */
    int64_t gap_max_ns, gap_start_ns;
    uint64_t expected_before;      /* of epochs that ended in a restart */
    uint64_t payload_types[2];
    double drift_sum[4];           /* x, y, xx, xy of the lower envelope, s and ms */
    uint32_t drift_points, drift_last_s, second;
    uint32_t first_number, late_deltas;
    uint32_t mirrored, duplicates, reordered, strays, restarts, jumps_forward, jumps_back;
    uint32_t markers, comfort_noise, payload_type_changes, timestamp_jumps, gaps, pauses;
    uint32_t dscp_changes, ttl_changes;
    uint32_t first_timestamp, first_event_timestamp;
    uint16_t first_sequence; uint8_t first_dscp, first_ttl;
    /* losses in settled order (RFC 3611 §4.7.2) */
    uint32_t loss_run, loss_run_max, loss_runs, loss_runs_long /* >= 5 */;
    uint32_t open_lost, open_length /* of the burst not yet closed */, bursts, burst_lost, burst_length;
    /* running and worst 10 s */
    uint64_t window_expected;
    int64_t worst_start_ns;
    uint32_t window_received, window_runs, window_discarded, window_second, worst_seen;
    float worst_loss_percent, worst_burst_ratio;
    /* telephone-event (RFC 4733 §2.5) */
    uint64_t digits[2];            /* digit k in nibble k: 0-9, 10 '*', 11 '#', 12-15 A-D */
    uint32_t event_timestamp, events, event_packets;
    float event_ms_per_tick;
    uint16_t event_flaws, event_no_end, event_few_ends, event_shrinking, event_zero, event_short, event_split;
    uint16_t event_duration;
    uint8_t event_code, event_ends, event_marks, event_payload_type, digit_count, spare;
    /* G.711 payloads */
    uint64_t level_squares;        /* of samples scaled to 16 bits */
    uint32_t level_samples, clipped_samples, silent_packets;
    uint16_t level_peak, ssrc_changes;
    /* RTCP (RFC 3550 §6.4, RFC 3611) */
    int64_t rtcp_first_ns, rtcp_last_ns, report_first_ns, report_last_ns, sr_time_ns[2], rrtr_time_ns;
    uint64_t sr_ntp;
    uint32_t sr_middle[2], rrtr_middle, sr_rtp_timestamp, sr_packet_count, sr_octet_count;
    uint32_t rtcp_packets, sr_count, rr_count, xr_count, reports, report_jitter, report_jitter_max;
    uint16_t report_lossy_run, report_lossy_run_max;
    int32_t report_lost;
    float rtt_ms, rtt_max_ms;      /* from the capture point to the receiver and back */
    uint8_t report_fraction, report_fraction_max;
    uint8_t xr_seen, xr_loss, xr_discard, xr_r_factor, xr_mos_lq, xr_mos_cq;
    uint16_t xr_rtt_ms, xr_end_system_ms;
    /* rows, set at creation and judged by rtp_finish */
    uint32_t previous_on_tuple, previous_source, previous_on_target, reverse;
    /* derived by rtp_finish */
    float whole_rtt_ms, whole_rtt_max_ms, r_lq, r_cq, mos_fixed_50, mos_fixed_200, mos_worst, ie_effective;
    float burst_ratio;             /* G.107 BurstR */
    uint8_t rtt_known, rtt_sides, mos_known, main_payload /* in payloads */;
};
_Static_assert(sizeof(struct rtp_stream) <= 1024, "a stream stays small");

/* First packet of a flow nobody announced: a stream needs two in sequence (RFC 3550 A.1). */
struct rtp_candidate { uint64_t hash; int64_t time_ns; uint64_t file_offset; struct rtp_header header;
                       uint32_t number; uint8_t dscp, ttl, head[8], used, spare; };

struct rtp_table {
    struct rtp_stream *streams;  /* lent, zeroed; rows move with the caller's memcpy of `count` rows */
    uint32_t count, capacity;
    uint32_t *buckets;           /* lent, zeroed; filled by rtp_rehash and rtp_push */
    uint32_t bucket_count;       /* power of two */
    struct rtp_candidate *candidates; /* lent, zeroed. NULL: only announced flows are taken */
    uint32_t candidate_count;    /* power of two */
    uint32_t last[2], last_ssrc[2]; /* rows of the last two streams, + 1 */
    uint64_t seed;               /* of the hash; any value, before the first push */
    uint8_t created;             /* out: the last rtp_push made the row it returned */
    uint64_t packets, rtcp_packets, rtcp_malformed, rtcp_unmatched;
};

/* True when the next rtp_push may need a new row: lend more, then rtp_rehash. */
int rtp_table_full(const struct rtp_table *t);
/* Takes new zeroed buckets and fills them from `streams`. */
void rtp_rehash(struct rtp_table *t, uint32_t *buckets, uint32_t bucket_count);

/* Takes one UDP payload. `expected`: SDP announced its source or target, so one packet is enough.
   Returns the row (t->created says whether it is new), STATUS_INCOMPLETE for the first packet of a flow on
   probation (it is added when the second comes), STATUS_MALFORMED when the payload is no RTP,
   STATUS_TOO_SMALL without room, STATUS_END when the stream is finished. */
int32_t rtp_push(struct rtp_table *t, const struct packet *p, int expected);
/* Row of the stream a packet belongs to, without taking it; RTP_NO_STREAM when there is none. */
uint32_t rtp_find(const struct rtp_table *t, const struct packet *p, uint32_t ssrc);
/* Maps a payload type from SDP; may come after packets did. Numbers already in ms stay as they are. */
void rtp_describe(struct rtp_stream *s, uint8_t payload_type, uint8_t codec, uint32_t clock_rate_hz);

/* Takes one compound or reduced-size RTCP packet (RFC 3550 §6, 5506, 5761, 3611) and credits the streams it
   names. Returns how many it found, or STATUS_MALFORMED. */
int rtcp_push(struct rtp_table *t, const struct packet *p);

/* Settles what is open and derives what needs the whole stream. Linear; once, before the first rtp_export. */
void rtp_finish(struct rtp_table *t);

/* Appends the state of the same stream from the next part of a split file. Neither is finished; `second` is
   used up and its links (previous_*) are forgotten. */
void rtp_merge(struct rtp_stream *first, struct rtp_stream *second);

/* Writes a finished stream into a row. Columns that the caller fills (stream_columns.h) get NONE or 0 first;
   `reverse_stream` gets the latest stream on the mirrored 5-tuple. */
void rtp_export(const struct rtp_stream *s, const struct stream_columns *c, uint32_t row);

#endif

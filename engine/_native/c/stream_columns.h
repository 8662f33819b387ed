/* One row an RTP stream: every column with its unit in its name. */
#ifndef TRUNKLINE_STREAM_COLUMNS_H
#define TRUNKLINE_STREAM_COLUMNS_H

#include <stdint.h>

/* X(type, name). Types are the C99 fixed-width integers, float and double. NONE is UINT32_MAX. */
#define STREAM_COLUMNS(X) \
    /* filled by the caller after rtp_export */ \
    X(uint32_t, call)                       /* row in calls, NONE */ \
    X(uint32_t, media_line)                 /* row in media_lines of the receiver's m-line, NONE */ \
    X(uint32_t, sender_media_line)          /* of the sender's m-line, NONE */ \
    X(uint32_t, reverse_stream)             /* row of the other direction, NONE */ \
    X(uint32_t, source_endpoint)            /* rows in endpoints */ \
    X(uint32_t, target_endpoint) \
    X(uint8_t, from_caller)                 /* 1 caller to callee, 2 callee to caller, 0 not known */ \
    /* identity */ \
    X(uint32_t, ssrc) \
    X(uint32_t, flags)                      /* enum rtp_flag */ \
    X(uint64_t, flow_tag) \
    X(uint64_t, file_offset)                /* of the first packet's record */ \
    X(uint32_t, first_frame)                /* record numbers in the capture */ \
    X(uint32_t, last_frame) \
    X(int64_t, first_time_ns) \
    X(int64_t, last_time_ns) \
    X(double, duration_s) \
    X(uint32_t, previous_stream)            /* same SSRC and target, other source, before; NONE */ \
    X(uint32_t, previous_ssrc_stream)       /* same 5-tuple, other SSRC, before; NONE */ \
    X(uint32_t, previous_target_stream)     /* same target, other source, before; NONE */ \
    X(uint16_t, ssrc_changes)               /* on this 5-tuple so far */ \
    /* counts */ \
    X(uint32_t, packets) \
    X(uint64_t, payload_bytes) \
    X(uint64_t, expected)                   /* extended highest - base + 1, summed over restarts */ \
    X(uint64_t, lost) \
    X(float, loss_percent) \
    X(uint32_t, duplicates) \
    X(float, duplicate_percent) \
    X(uint32_t, reordered)                  /* came behind a higher sequence number */ \
    X(float, reordered_percent) \
    X(uint32_t, mirrored)                   /* copies made by the mirror port, in no other count */ \
    X(uint32_t, strays)                     /* sequence far off, not followed by the next (RFC 3550 A.1) */ \
    X(uint32_t, restarts)                   /* sequence began anew */ \
    X(uint32_t, jumps_forward)              /* sequence steps > 100 */ \
    X(uint32_t, jumps_back)                 /* sequence steps < -100 */ \
    X(uint32_t, loss_run_max)               /* packets lost in a row */ \
    X(uint32_t, loss_runs) \
    X(uint32_t, loss_runs_long)             /* of >= 5 packets */ \
    X(uint32_t, bursts)                     /* RFC 3611 4.7.2, Gmin 16; of losses, discards apart */ \
    X(float, burst_density_percent) \
    X(float, burst_length_packets)          /* mean */ \
    X(float, burst_duration_ms)             /* mean; 0 when the packet time is not known */ \
    X(float, gap_density_percent) \
    X(float, gap_length_packets)            /* mean */ \
    X(float, gap_duration_ms)               /* mean */ \
    X(float, burst_ratio)                   /* G.107 BurstR */ \
    /* time */ \
    X(float, jitter_ms)                     /* RFC 3550 6.4.1, at the end; duplicates left out */ \
    X(float, jitter_max_ms) \
    X(float, jitter_mean_ms) \
    X(float, steady_jitter_ms)              /* without marker, CN, event and jump packets */ \
    X(float, steady_jitter_max_ms) \
    X(float, steady_jitter_mean_ms) \
    X(float, delta_max_ms)                  /* between arrivals */ \
    X(float, delta_mean_ms) \
    X(uint32_t, deltas)                     /* in sequence, no marker: what late_deltas are a part of */ \
    X(uint32_t, late_deltas)                /* of them > 3 packet times */ \
    X(float, late_delta_percent) \
    X(uint32_t, gaps)                       /* no packet for > 500 ms, silence suppression left out */ \
    X(float, gap_max_ms)                    /* longest such gap */ \
    X(int64_t, gap_start_ns)                /* its last packet before, 0 without a gap */ \
    X(uint32_t, pauses)                     /* gaps > 500 ms that are silence suppression */ \
    X(uint32_t, timestamp_jumps)            /* without marker */ \
    X(float, ptime_ms)                      /* mode of the timestamp step, 0 not known */ \
    X(uint32_t, timestamp_step)             /* the same in ticks */ \
    X(float, ptime_off_percent)             /* steps that are not the mode */ \
    X(float, drift_ppm)                     /* of the sender's clock; positive: it is slow */ \
    X(float, drift_span_s)                  /* time the slope was measured over, 0 none */ \
    X(float, skew_min_ms)                   /* arrival - RTP time, against the first packet */ \
    X(float, skew_max_ms) \
    /* payload */ \
    X(uint8_t, payload_type)                /* most used, events and CN left out; 255 none */ \
    X(uint8_t, codec)                       /* enum sdp_codec of it, 0 not known */ \
    X(uint32_t, clock_rate_hz)              /* 0 not known */ \
    X(uint8_t, payload_type_count)          /* distinct */ \
    X(uint64_t, payload_types_low)          /* bit a payload type 0..63 */ \
    X(uint64_t, payload_types_high)         /* 64..127 */ \
    X(uint8_t, payload_type_1)              /* the first four in order of sight; 255 none */ \
    X(uint8_t, payload_type_2) \
    X(uint8_t, payload_type_3) \
    X(uint8_t, payload_type_4) \
    X(uint32_t, payload_type_1_packets) \
    X(uint32_t, payload_type_2_packets) \
    X(uint32_t, payload_type_3_packets) \
    X(uint32_t, payload_type_4_packets) \
    X(uint32_t, payload_type_changes) \
    X(uint32_t, markers) \
    X(float, marker_percent) \
    X(uint16_t, payload_size_min)           /* bytes; events and CN left out */ \
    X(uint16_t, payload_size_max) \
    X(uint16_t, payload_size_mode) \
    X(uint8_t, payload_sizes)               /* distinct, at most 8 counted */ \
    X(float, bit_rate_kbps)                 /* payload, over the duration */ \
    X(uint32_t, comfort_noise_packets) \
    X(uint8_t, first_dscp) \
    X(uint8_t, last_dscp) \
    X(uint32_t, dscp_changes) \
    X(uint8_t, first_ttl) \
    X(uint8_t, last_ttl) \
    X(uint32_t, ttl_changes) \
    /* telephone-event */ \
    X(uint32_t, events) \
    X(uint32_t, event_packets) \
    X(uint8_t, event_payload_type)          /* 255 none */ \
    X(uint8_t, digit_count)                 /* in digits_*, at most 32 */ \
    X(uint64_t, digits_low)                 /* digit k in nibble k: 0-9, 10 '*', 11 '#', 12-15 A-D */ \
    X(uint64_t, digits_high)                /* digits 16..31 */ \
    X(uint32_t, event_flaws)                /* events with any of the flaws below */ \
    X(uint32_t, event_no_end) \
    X(uint32_t, event_few_ends)             /* 1 or 2 end packets */ \
    X(uint32_t, event_shrinking)            /* duration decreased */ \
    X(uint32_t, event_zero)                 /* duration 0 at the end */ \
    X(uint32_t, event_short)                /* < 40 ms */ \
    X(uint32_t, event_split)                /* new timestamp inside one event */ \
    /* G.711 content */ \
    X(uint32_t, inspected_packets)          /* looked at for silence */ \
    X(uint32_t, silent_packets)             /* all one value */ \
    X(float, silent_percent) \
    X(uint32_t, level_samples)              /* decoded, every 8th packet */ \
    X(float, level_mean_dbov)               /* RMS; -127 digital silence or not measured */ \
    X(float, level_peak_dbov) \
    X(float, clipped_percent)               /* samples at full scale */ \
    /* jitter-buffer simulation, E-model */ \
    X(uint32_t, discarded_fixed_50) \
    X(uint32_t, discarded_fixed_200) \
    X(uint32_t, discarded_adaptive) \
    X(float, discard_percent)               /* adaptive, of expected */ \
    X(float, r_lq)                          /* G.107 R without delay; 0 when no audio codec is known */ \
    X(float, mos_lq)                        /* 1..4.5; 0 not known */ \
    X(float, r_cq)                          /* with delay; 0 without a round trip */ \
    X(float, mos_cq) \
    X(float, mos_fixed_50)                  /* MOS-LQ behind a fixed 50 ms buffer */ \
    X(float, mos_fixed_200) \
    X(float, mos_worst_10s)                 /* MOS-LQ of the worst 10 s */ \
    X(int64_t, worst_10s_start_ns)          /* 0 none */ \
    X(float, worst_10s_loss_percent)        /* lost and discarded */ \
    X(float, mos_simple)                    /* effective-latency formula, for comparison only */ \
    X(float, ie_effective) \
    X(uint8_t, mos_known)                   /* 1 codec known, 2 a stand-in was used, 0 no MOS */ \
    /* RTCP of this stream's sender */ \
    X(uint32_t, rtcp_packets) \
    X(uint32_t, sr_count) \
    X(uint32_t, rr_count)                   /* RR packets sent by this SSRC */ \
    X(uint32_t, xr_count) \
    X(int64_t, rtcp_first_ns)               /* 0 none */ \
    X(int64_t, rtcp_last_ns) \
    X(float, rtcp_interval_s)               /* mean */ \
    X(uint32_t, sr_packet_count)            /* as last said by the sender */ \
    X(uint32_t, sr_octet_count) \
    X(uint64_t, sr_ntp)                     /* last SR: NTP 32.32 and its RTP timestamp */ \
    X(uint32_t, sr_rtp_timestamp) \
    X(int64_t, sr_time_ns)                  /* when the capture saw it */ \
    /* RTCP reports of the receiver about this stream */ \
    X(uint32_t, reports) \
    X(int64_t, report_first_ns) \
    X(int64_t, report_last_ns) \
    X(float, report_loss_percent)           /* last fraction lost */ \
    X(float, report_loss_max_percent) \
    X(uint32_t, report_lossy_run_max)       /* reports in a row with fraction > 13/256 */ \
    X(int32_t, report_lost)                 /* cumulative, signed 24 bit */ \
    X(float, report_jitter_ms) \
    X(float, report_jitter_max_ms) \
    X(float, rtt_ms)                        /* both halves when both were seen, else the one; 0 none */ \
    X(float, rtt_max_ms) \
    X(uint8_t, rtt_sides)                   /* 0, 1 (capture point to one end), 2 (end to end) */ \
    X(uint8_t, xr_seen)                     /* a VoIP metrics block came */ \
    X(float, xr_loss_percent) \
    X(float, xr_discard_percent) \
    X(float, xr_r_factor)                   /* 0 unavailable */ \
    X(float, xr_mos_lq) \
    X(float, xr_mos_cq) \
    X(uint16_t, xr_rtt_ms) \
    X(uint16_t, xr_end_system_ms)

#define STREAM_COLUMN_POINTER(type, name) type *name;
struct stream_columns { STREAM_COLUMNS(STREAM_COLUMN_POINTER) };
#undef STREAM_COLUMN_POINTER

#endif

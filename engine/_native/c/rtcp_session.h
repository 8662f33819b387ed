/* RTCP of one RTP session with one local sender and a few remote ones: SR, RR, SDES, BYE and XR, written and read (RFC 3550 §6, 3611, 5506,
   5761), with the interval of §6.3 and A.7. Time and randomness are passed in. */
#ifndef TRUNKLINE_RTCP_SESSION_H
#define TRUNKLINE_RTCP_SESSION_H

#include "rtp_source.h"
#include "status.h"

#define RTCP_CNAME_MAX 64
#define RTCP_PACKET_MAX 512 /* bytes that rtcp_session_report and rtcp_session_bye need at most */
#define RTCP_REASON_MAX 255 /* bytes of a BYE's reason */
#define RTCP_MARKS 8        /* reports of ours that an answer may speak of */
#define RTCP_INTERVAL_NS 5000000000 /* §6.2: the least. A session of a few members never comes near its 5 % of bandwidth with it */
#define RTCP_RTT_MAX_MS 60000 /* a longer round trip is a false report */

/* What we sent, counted by the sender. `last_ns`: when the packet with `last_timestamp` was sent. */
struct rtcp_sent { uint32_t ssrc, packets, octets; uint32_t last_timestamp; int64_t last_ns; uint32_t clock_rate_hz; };

/* The middle 32 bits of an NTP time that we sent in an SR or RRTR, and when. */
struct rtcp_mark { uint32_t middle; int64_t sent_ns; };

struct rtcp_session {
    char cname[RTCP_CNAME_MAX];
    uint8_t cname_length;
    uint8_t begun, said_bye, heard_bye, reduced /* RFC 5506 allowed: a packet need not begin with SR or RR */;
    uint8_t voip_metrics;       /* send XR VoIP metrics */
    int64_t next_ns, last_sent_ns, last_heard_ns, interval_ns;
    uint64_t random;            /* of a small generator, seeded by the caller */
    /* of the last SR of the other end */
    uint64_t sr_ntp;
    uint32_t sr_timestamp, sr_packets, sr_octets, sr_ssrc;
    int64_t sr_arrival_ns;
    /* of the other end's reports about us */
    uint32_t their_fraction /* of 256 */, their_highest, their_jitter /* clock units */;
    int32_t their_lost;
    int64_t their_report_ns;
    double rtt_ms, rtt_max_ms;  /* -1: not known */
    /* of XR VoIP metrics heard (RFC 3611 §4.7): 127 and 255 not known, as there */
    uint8_t xr_loss, xr_discard, xr_r_factor, xr_mos_lq, xr_mos_cq, xr_seen;
    uint64_t rrtr_ntp;
    int64_t rrtr_arrival_ns;
    uint32_t heard, malformed, foreign /* SSRC not of this session */;
    uint32_t collisions;        /* packets of others under our SSRC */
    uint32_t rrtr_ssrc;
    /* private to rtcp_session.c from here */
    uint8_t rrtr_waits;         /* an RRTR is to be answered */
    uint8_t mark_next, mark_count; /* `marks` is a ring */
    uint32_t packets_before[2]; /* rtcp_sent.packets at the last report and at the one before */
    struct rtcp_mark marks[RTCP_MARKS];
};

/* Begins anew: the first report is due after about half an interval (§6.2). A longer CNAME is cut. Then the caller may set `reduced` and
   `voip_metrics`. `wall_ns`: nanoseconds since 1970 that belong to `now_ns`, wherever both occur: NTP times are made of it. */
void rtcp_session_start(struct rtcp_session *r, const char *cname, uint32_t cname_length, int64_t now_ns, uint64_t seed);

enum rtcp_news { RTCP_NEWS_SR = 1, RTCP_NEWS_REPORT = 2, RTCP_NEWS_BYE = 4, RTCP_NEWS_XR = 8,
                 RTCP_NEWS_COLLISION = 16 /* another one, or a loop, sends under our SSRC (§8.2) */ };
/* Takes a compound or, where `reduced` is set, a reduced-size packet. Only what names `remote->ssrc` (of the other end's sender; NULL while none
   is known) or is about `local_ssrc` changes anything. While none is known anybody is heard, but nobody's SR or BYE is. A packet with nothing
   for us only counts as `foreign`. A BYE is told and changes nothing else. Returns bits of enum rtcp_news, or STATUS_MALFORMED (nothing was
   changed but that counter): every length, count and block must fit, also in parts that are not for us. */
int rtcp_session_take(struct rtcp_session *r, const uint8_t *bytes, uint32_t length, uint32_t local_ssrc, const struct rtp_source *remote, int64_t now_ns);

/* What quality to tell in XR VoIP metrics (RFC 3611 §4.7.2 to 4.7.7, in its own units; 127: R and MOS not known). `delay_ms` is the end system
   delay, the jitter delays are the buffer's nominal and greatest one. NULL where that is not wanted. */
struct rtcp_quality { uint8_t loss, discard, r_factor, mos_lq, mos_cq; uint16_t delay_ms, jitter_delay_ms, jitter_delay_max_ms; };

/* Writes the compound packet that is due: SR where something was sent since the last but one, else RR; SDES; XR: metrics where `voip_metrics` is
   set and `quality` given, RRTR in an RR, and DLRR once for each RRTR heard. There is a report block where something came since the last report
   (§6.4). Sets next_ns. Returns its length, STATUS_TOO_SMALL (nothing was changed), or STATUS_END after a BYE. `remote` may be NULL. Moves the
   `_prior` counts of `remote` on. */
int rtcp_session_report(struct rtcp_session *r, const struct rtcp_sent *sent, struct rtp_source *remote, const struct rtcp_quality *quality,
                        int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room);

/* Writes a report and BYE (§6.6), due at once: §6.3.7 holds back only in sessions of 50 and more. Returns STATUS_END, with nothing to send, after
   a BYE and where neither RTP nor RTCP was ever sent. After a BYE `next_ns` is INT64_MAX. */
int rtcp_session_bye(struct rtcp_session *r, const struct rtcp_sent *sent, struct rtp_source *remote, int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room);
/* The same with a reason; what is longer than RTCP_REASON_MAX bytes is cut. */
int rtcp_session_bye_because(struct rtcp_session *r, const struct rtcp_sent *sent, struct rtp_source *remote, const char *reason, uint32_t reason_length,
                             int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room);

/* Nanoseconds since 1970 of an RTP timestamp by the last SR of the other end (alignment of legs); INT64_MIN: no SR yet, one without a time, or
   no clock. The timestamp lies within 2^31 ticks of the SR's. NTP seconds below 2^31 are those after 2036 (RFC 4330 §3). */
int64_t rtcp_session_wall_ns(const struct rtcp_session *r, uint32_t timestamp, uint32_t clock_rate_hz);

#endif

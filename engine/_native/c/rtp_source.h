/* One sender of RTP as its receiver sees it: extended sequence numbers, validity, loss and jitter (RFC 3550 §6.4.1, A.1, A.3, A.8). */
#ifndef TRUNKLINE_RTP_SOURCE_H
#define TRUNKLINE_RTP_SOURCE_H

#include "status.h"

struct rtp_source {
    uint32_t ssrc, clock_rate_hz;
    uint64_t extended_highest;  /* cycles in the upper bits; starts at 65536 + first sequence, so that what came before the first has a number */
    uint64_t base;
    uint64_t received;          /* valid ones, duplicates included, as A.3 has it */
    uint64_t payload_bytes;
    uint32_t bad_sequence;      /* A.1: UINT32_MAX none */
    uint8_t begun;
    uint32_t restarts, strays;
    int64_t first_ns, last_ns;
    uint32_t first_timestamp, last_timestamp;
    double jitter;              /* of A.8, in clock units of now */
    double jitter_max;          /* the same; brought over when the clock changes */
    uint64_t expected_prior, received_prior; /* at the last report */
    uint64_t expected_before;   /* of runs that ended in a restart */
    /* private to rtp_source.c from here */
    uint32_t stray_bytes;       /* payload of the packet that bad_sequence would follow */
    uint32_t timed_timestamp;   /* of the packet that the next one's time is compared with, */
    int64_t timed_ns;           /* and when that came */
    uint8_t timed;              /* there is one */
};

#define RTP_SOURCE_DROPOUT_MAX 3000u /* A.1: MAX_DROPOUT */
#define RTP_SOURCE_MISORDER_MAX 100u /* A.1: MAX_MISORDER */
/* Two packets whose arrival and timestamp disagree by more than this are no jitter but a new offset: a hold, or timestamps that jump. */
#define RTP_SOURCE_OFFSET_S 2

void rtp_source_start(struct rtp_source *s, uint32_t ssrc, uint32_t clock_rate_hz);

enum rtp_source_verdict {
    RTP_SOURCE_VALID = 0,
    RTP_SOURCE_RESTART = 1,  /* a new run of sequence numbers begins with this packet */
    RTP_SOURCE_STRAY = 2     /* far from what is expected: not counted unless the next one follows it (then both are) */
};
/* Takes the header of a packet. *extended is its place in the run, 0 for a stray. Jumps of less than 3,000 ahead and 100 back are borne (A.1);
   the extended numbers of a new run lie above all of the old one. A valid packet between a stray and its follower forgets the stray. A packet
   with the timestamp of the one before it has no part in the jitter: it tells nothing of the way (telephone-events, and their repeated ends). */
int rtp_source_take(struct rtp_source *s, uint16_t sequence, uint32_t timestamp, uint32_t payload_bytes, int64_t arrival_ns, uint64_t *extended);

/* The clock of the payload type changed (RFC 7160): jitter begins anew. Nothing happens where it is the same clock. */
void rtp_source_clock(struct rtp_source *s, uint32_t clock_rate_hz);

uint64_t rtp_source_expected(const struct rtp_source *s);
int64_t rtp_source_lost(const struct rtp_source *s); /* A.3; may be negative: duplicates, and packets from before the first */

#endif

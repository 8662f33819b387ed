/* Where a packet's samples lie on the timeline of a stream: by RTP timestamps, never by the order or the moment of arrival. Says what to put in front of them
   so that the count of samples is true: what was lost, what was silent, what was on hold. One a stream; time is passed in.

   Whatever the timestamps say, the position never gets further than 1 s (and the packet at hand) beyond the wall clock: who invents time cannot make files grow. */
#ifndef TRUNKLINE_TIMELINE_H
#define TRUNKLINE_TIMELINE_H

#include "status.h"

struct timeline {
    uint32_t clock_rate_hz, sample_rate_hz;
    int64_t origin_ns;              /* of sample 0 */
    int64_t position;               /* samples that were said to be written: the next one's number */
    uint8_t begun;
    uint8_t renew, quiet;           /* private: what comes next begins anew; timeline_quiet was said */
    uint32_t ssrc, anchor_timestamp;
    int64_t anchor_position, anchor_ns;
    uint32_t last_timestamp;
    int64_t last_ns;
    int64_t last_end_timestamp;     /* 64-bit clock units behind the last packet; they begin at anchor_timestamp */
    uint64_t lost_samples /* concealed, or silent for a loss */, silent_samples, skipped_samples, late_packets;
    uint32_t anchors;               /* 1 with the first packet; one more each time it is begun anew: another SSRC, or timestamps that cannot go on */
    double drift_ppm;               /* sender's clock against ours over 30 s and more, positive: it is fast; 0 while not known */
    int64_t inserted_samples, dropped_samples; /* against drift */
    /* private from here */
    uint32_t last_samples;
    uint32_t lag_run;               /* packets in a row that came for a time that is over */
    int64_t lag_target, lag_wall;   /* of the first of them */
    int64_t correction;             /* samples to be put in (or left out, below 0) at the next silence */
    int64_t window_begin_ns, window_lead; /* of this window: the most that the sender was ahead of our clock, in samples */
    uint32_t window_packets, windows;
    int64_t last_lead, slope_lead, slope_ns, last_window_ns;
    int64_t corrected;              /* of the slope: since slope_ns */
};

/* `origin_ns`: the moment sample 0 belongs to; a stream that begins later is padded in front. Rates of 0 are taken as 8,000, more than 1 MHz as that. */
void timeline_start(struct timeline *t, int64_t origin_ns, uint32_t clock_rate_hz, uint32_t sample_rate_hz);

/* In this order: conceal, then silence, then the packet's own samples without the first `skip`. */
struct timeline_step { uint32_t conceal, silence, skip; uint8_t anchored /* begun here, or begun anew */, drop /* nothing of the packet is written; skip is all of it */; };

/* A packet in order, of `samples` at the sample rate; `lost` packets in a row were given up right before it. Loss is to be concealed for 200 ms at most, more
   and pauses without loss (DTX) are silence, as long as the clock allows: who calls timeline_idle meanwhile gets it in pieces. Position moves on by
   conceal + silence + samples - skip. A packet without samples is dropped and changes nothing. */
void timeline_place(struct timeline *t, uint32_t ssrc, uint32_t timestamp, uint32_t samples, uint32_t lost, int64_t arrival_ns, struct timeline_step *step);

/* Nothing came for `slack_ms`: how much silence to write so that the timeline is not further than that behind `now_ns`; 0: none yet. Position moves on by it.
   What then comes for that time is late and dropped, unless it goes on from where the stream was, at its pace for 40 ms (hold with timestamps that stood still): then it
   is anchored again. At most 1 s in one call. */
uint32_t timeline_idle(struct timeline *t, int64_t now_ns, uint32_t slack_ms);

/* The clock rate changed with the payload type (position goes on). */
void timeline_clock(struct timeline *t, uint32_t clock_rate_hz);

/* What comes next is placed by its moment, as the first packet was, unless its timestamp says the same within 100 ms: behind a hold, where nobody knows what became of
   the timestamps. */
void timeline_renew(struct timeline *t);

/* The packet placed next is quiet: samples may be put in or left out there against drift. Without this that is done only in pauses of the sender. */
void timeline_quiet(struct timeline *t);

#endif

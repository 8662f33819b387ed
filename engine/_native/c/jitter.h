/* A jitter buffer: packets go in as they come and come out in order, when they are due. It keeps no bytes, only the caller's handles. An
   array indexed by sequence number, no lists, no allocation, the same few lines of memory for every packet. Time is passed in. */
#ifndef TRUNKLINE_JITTER_H
#define TRUNKLINE_JITTER_H

#include "status.h"

#define JITTER_SLOTS 64 /* power of two; packets of 20 ms: 1.28 s */
#define JITTER_NO_HANDLE UINT32_MAX

enum jitter_mode {
    JITTER_NONE = 0,  /* order only: what is next goes at once, a hole is waited for up to `delay_max_ms` */
    JITTER_FIXED,     /* each packet `delay_min_ms` behind its place on the sender's clock */
    JITTER_ADAPTIVE   /* the same, with a delay between both bounds that follows the lateness seen; it grows at once and shrinks slowly,
                         at the begin of talk spurts (marker, or a jump of the timestamp) */
};

struct jitter_settings { uint8_t mode; uint16_t delay_min_ms, delay_max_ms; uint32_t clock_rate_hz; };

/* Which packet a slot holds follows from its index: all that is held lies within JITTER_SLOTS of `next`. */
struct jitter_slot { int64_t due_ns; uint32_t handle, timestamp; };

/* `settings` may be written to between calls (another clock, another mode): what is held already keeps its time. */
struct jitter {
    uint64_t next;                 /* extended sequence number that is to come out */
    uint64_t highest;
    uint64_t taken, released;
    uint64_t occupied;             /* private: a bit a slot */
    uint64_t history;              /* private: bit k: packet next-1-k came out */
    uint32_t held;                 /* slots in use */
    uint8_t begun;
    uint8_t anchored, lowered;     /* private: the anchor is set; `next` may still go down, for nothing has come out */
    struct jitter_settings settings, settings_now; /* the latter private: those that delay_ns and the anchor belong to */
    int64_t anchor_ns;             /* arrival that the anchor timestamp would have with no delay at all */
    uint32_t anchor_timestamp;
    uint32_t last_timestamp, last_step; /* private: of `highest`, and its distance from the one before */
    int64_t delay_ns;              /* of now */
    /* private to jitter.c from here; counters may be read */
    int64_t window_end_ns, lateness_min_ns, lateness_max_ns, lateness_peak_ns;
    int64_t tail_due_ns;           /* of the last held */
    uint64_t run_out_to;           /* what lies below is not waited for: JITTER_FULL was said */
    double ns_per_unit;
    uint64_t lost, late, duplicate, overflowed, restarts;
    struct jitter_slot *slots;     /* JITTER_SLOTS of the caller's; those that are free have never to be looked at */
};

/* Zeroes it and sets it up, with JITTER_SLOTS to hold packets in, which lie elsewhere: a stream in order needs none of them. A clock rate of 0 is taken as 8,000; a delay_max_ms below delay_min_ms as that. */
void jitter_start(struct jitter *j, const struct jitter_settings *settings, struct jitter_slot *slots);

enum jitter_verdict { JITTER_KEPT = 0, JITTER_LATE = 1, JITTER_DUPLICATE = 2, JITTER_FULL = 3 };
/* Takes a packet by its extended sequence number (rtp_source.h). Unless the verdict is JITTER_KEPT the handle stays the caller's. A packet that
   is further ahead than there are slots makes the buffer give up what it waits for: it answers JITTER_FULL once, `jitter_take` then runs through what is
   too far behind, and put again it is kept. No packet is held longer than the delay, or than delay_max_ms with JITTER_NONE, whatever its timestamp. */
int jitter_put(struct jitter *j, uint64_t extended, uint32_t timestamp, int marker, int64_t arrival_ns, uint32_t handle);

enum jitter_found { JITTER_NOTHING = 0, JITTER_PACKET = 1, JITTER_LOST = 2 };
struct jitter_out { uint64_t extended; uint32_t handle, timestamp; uint32_t lost; /* with JITTER_LOST: how many in a row are given up, from `extended` on */ };
/* What is due at `now_ns`; call it until it says JITTER_NOTHING. */
int jitter_take(struct jitter *j, int64_t now_ns, struct jitter_out *out);

/* When something will be due (INT64_MIN: it is already), INT64_MAX: nothing is held. */
int64_t jitter_due_ns(const struct jitter *j);

/* Whether a packet with this number would come out at once, so that it need not be put: in order, mode JITTER_NONE, nothing held. The caller
   then says jitter_pass instead of put and take. */
TL_INLINE int jitter_is_next(const struct jitter *j, uint64_t extended) {
    return j->begun && j->settings.mode == JITTER_NONE && !j->held && extended == j->next;
}
TL_INLINE void jitter_pass(struct jitter *j, uint64_t extended) {
    j->next = extended + 1;
    j->highest = extended;
    j->history = j->history << 1 | 1;
    j->lowered = 0;
    j->taken++;
    j->released++;
}

/* Fetches what jitter_put and jitter_take will touch for a packet: worth it a few packets ahead, when the buffers of many streams take turns. `slots` are the buffer's:
   to read where they are would wait for what is fetched here. */
TL_INLINE void jitter_fetch(const struct jitter *j, const struct jitter_slot *slots, uint16_t sequence) {
    const char *at = (const char *)j;
    __builtin_prefetch(at, 1);
    __builtin_prefetch(at + 64, 1);
    __builtin_prefetch(at + 128, 1);
    __builtin_prefetch(at + 192, 1);
    __builtin_prefetch(&slots[sequence % JITTER_SLOTS], 1);
}

/* Gives back all that is held, in order, one handle a call; JITTER_NO_HANDLE at the end. For the end of a stream and for a new SSRC or run of numbers
   (then jitter_start follows). */
uint32_t jitter_drain(struct jitter *j);

#endif

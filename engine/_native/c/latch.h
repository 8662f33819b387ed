/* Whom a stream listens to, and sends to: the rules of symmetric RTP against packets from anybody (RFC 4961; RTP Bleed). Addresses are IPv6, or IPv4 mapped
   into it. */
#ifndef TRUNKLINE_LATCH_H
#define TRUNKLINE_LATCH_H

#include "status.h"

struct latch_address { uint8_t ip[16]; uint16_t port; };

enum latch_policy {
    LATCH_STRICT = 0,   /* only the signalled address and port */
    LATCH_HOST = 1,     /* the signalled address, any port: recording clients. `current` stays the signalled one */
    LATCH_LEARN = 2,    /* behind NAT: learnt within `learn_ms` of the start, then kept. The signalled host may begin later too */
    LATCH_ANY = 3       /* first valid source; for tests and closed networks */
};
enum latch_verdict { LATCH_PASS = 0, LATCH_DROP = 1, LATCH_HELD = 2 /* not decided: at most 5 packets are let through as candidates */, LATCH_MOVED = 3 /* passes, and the
    address to send to is a new one */ };

#define LATCH_CANDIDATES 4
struct latch_candidate { struct latch_address address; uint32_t ssrc; uint16_t next_sequence; uint8_t run, rank; int64_t since_ns, last_ns; };
struct latch {
    uint8_t policy, latched, signalled_known, candidates;
    uint16_t learn_ms;
    int64_t start_ns, last_ns;      /* last_ns: a packet passed */
    struct latch_address signalled, current; /* current: where to send to; the signalled one until another is learnt */
    uint32_t ssrc; uint16_t last_sequence;   /* of the last packet that passed */
    struct latch_candidate seen[LATCH_CANDIDATES];
    uint32_t let_through;
    uint64_t dropped, moved;
    uint8_t rank;                   /* private: of `current`, while latched */
};
/* `signalled` NULL: not known yet; then LATCH_STRICT and LATCH_HOST let nobody in. */
void latch_start(struct latch *l, enum latch_policy policy, const struct latch_address *signalled, uint16_t learn_ms, int64_t now_ns);
/* A new offer or answer. Another address: learning begins anew. The same one (a refresh): what is latched stays, and may within `learn_ms` be followed to a
   better source, or to any once it has been silent for 1 s. */
void latch_signalled(struct latch *l, const struct latch_address *signalled, int64_t now_ns);
/* Judges an RTP packet that is well formed, of a negotiated payload type (and authentic, with SRTP: `authentic` 1, which counts as proof at once).
   A candidate needs 4 packets in sequence with one SSRC over 22 ms or more; the signalled host is preferred, then its /24 or /64, then others: within
   `learn_ms` a better one takes over from what was latched before. Moves later only after 3 s of silence, with the same SSRC going on. */
int latch_judge(struct latch *l, const struct latch_address *from, uint32_t ssrc, uint16_t sequence, int authentic, int64_t now_ns);

#endif

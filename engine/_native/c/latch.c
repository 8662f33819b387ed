/* Which source a stream is latched to. Only what qualifies changes anything; a flood of others costs a few compares a packet. */
#include "latch.h"

#include <string.h>

#define NS_PER_MS 1000000
#define LET_THROUGH_MAX 5
#define RUN_MIN 4
#define RUN_NS (22 * (int64_t)NS_PER_MS)
#define YIELD_NS (250 * (int64_t)NS_PER_MS)       /* how long a proven one waits for one who ranks better */
#define CANDIDATE_NS (500 * (int64_t)NS_PER_MS)   /* one that is silent for so long gives up its place */
#define MOVE_SILENCE_NS (3000 * (int64_t)NS_PER_MS)
#define RELEARN_SILENCE_NS (1000 * (int64_t)NS_PER_MS)
/* How far a sequence number may have gone on: MAX_DROPOUT of RFC 3550 A.1, and a packet for each 10 ms of silence. */
#define DROPOUT_MAX 3000
#define PACKET_NS (10 * (int64_t)NS_PER_MS)

enum rank { RANK_EXACT = 0, RANK_HOST, RANK_NET, RANK_OTHER };

static int same_host(const struct latch_address *a, const struct latch_address *b) { return memcmp(a->ip, b->ip, 16) == 0; }
static int same(const struct latch_address *a, const struct latch_address *b) { return a->port == b->port && same_host(a, b); }

/* Bytes of an address that name its network: a /24 of IPv4, a /64 of IPv6. */
static size_t net_bytes(const struct latch_address *a) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(a->ip, mapped, 12) ? 8 : 15;
}

static uint8_t rank_of(const struct latch *l, const struct latch_address *from) {
    if (!l->signalled_known) return RANK_OTHER;
    if (same_host(from, &l->signalled)) return from->port == l->signalled.port ? RANK_EXACT : RANK_HOST;
    return memcmp(from->ip, l->signalled.ip, net_bytes(&l->signalled)) ? RANK_OTHER : RANK_NET;
}

void latch_start(struct latch *l, enum latch_policy policy, const struct latch_address *signalled, uint16_t learn_ms, int64_t now_ns) {
    memset(l, 0, sizeof *l);
    l->policy = (uint8_t)policy;
    l->learn_ms = learn_ms;
    latch_signalled(l, signalled, now_ns);
}

void latch_signalled(struct latch *l, const struct latch_address *signalled, int64_t now_ns) {
    const int known = signalled != NULL;
    const int changed = known != l->signalled_known || (known && !same(signalled, &l->signalled));
    l->start_ns = now_ns;
    l->candidates = 0;
    if (!changed) return;
    l->signalled_known = (uint8_t)known;
    if (known) l->signalled = l->current = *signalled;
    l->latched = 0;
    l->let_through = 0;
}

/* ---- candidates ---- */

/* The place of a source that is not a candidate yet: a free one, that of one who is silent, that of another port of its host which has not got on, or that of
   one who ranks lower. NULL: there is none. So one host, however many ports it sends from, holds up nobody else. */
static struct latch_candidate *place_for(struct latch *l, const struct latch_address *from, uint8_t rank, int64_t now_ns) {
    struct latch_candidate *worst = NULL;
    for (int i = 0; i < l->candidates; i++) {
        struct latch_candidate *c = &l->seen[i];
        if (c->run <= 1 && same_host(&c->address, from)) return c;
    }
    if (l->candidates < LATCH_CANDIDATES) return &l->seen[l->candidates++];
    for (int i = 0; i < LATCH_CANDIDATES; i++) {
        struct latch_candidate *c = &l->seen[i];
        if (now_ns - c->last_ns > CANDIDATE_NS) return c;
        if (c->rank > rank && (!worst || c->rank > worst->rank || (c->rank == worst->rank && c->run < worst->run))) worst = c;
    }
    return worst;
}

/* Counts a packet for its source. NULL: there is no place for it. */
static struct latch_candidate *candidate(struct latch *l, const struct latch_address *from, uint32_t ssrc, uint16_t sequence, int64_t now_ns) {
    struct latch_candidate *c = NULL;
    for (int i = 0; i < l->candidates && !c; i++)
        if (same(&l->seen[i].address, from)) c = &l->seen[i];
    const int goes_on = c && c->ssrc == ssrc && c->next_sequence == sequence;
    if (!goes_on) {
        const uint8_t rank = rank_of(l, from);
        if (!c) c = place_for(l, from, rank, now_ns);
        if (!c) return NULL;
        *c = (struct latch_candidate){.address = *from, .ssrc = ssrc, .rank = rank, .since_ns = now_ns};
    }
    if (c->run < UINT8_MAX) c->run++;
    c->next_sequence = (uint16_t)(sequence + 1);
    c->last_ns = now_ns;
    return c;
}

static int proven(const struct latch_candidate *c, int authentic, int64_t now_ns) {
    return authentic || (c->run >= RUN_MIN && now_ns - c->since_ns >= RUN_NS);
}

/* Whether one who ranks better is on his way: then a worse one waits for him a while. */
static int better_coming(const struct latch *l, const struct latch_candidate *c, int64_t now_ns) {
    if (now_ns - c->since_ns >= YIELD_NS) return 0;
    for (int i = 0; i < l->candidates; i++)
        if (l->seen[i].rank < c->rank && now_ns - l->seen[i].last_ns < CANDIDATE_NS) return 1;
    return 0;
}

/* ---- verdicts ---- */

static int drop(struct latch *l) {
    l->dropped++;
    return LATCH_DROP;
}

static int pass(struct latch *l, uint32_t ssrc, uint16_t sequence, int64_t now_ns) {
    l->last_ns = now_ns;
    l->ssrc = ssrc;
    l->last_sequence = sequence;
    return LATCH_PASS;
}

static int latch_to(struct latch *l, const struct latch_address *from, uint32_t ssrc, uint16_t sequence, int64_t now_ns) {
    const int moved = !same(&l->current, from);
    l->latched = 1;
    l->rank = rank_of(l, from);
    l->current = *from;
    l->candidates = 0;
    pass(l, ssrc, sequence, now_ns);
    l->moved += (uint64_t)moved;
    return moved ? LATCH_MOVED : LATCH_PASS;
}

static int let_through(struct latch *l) {
    if (l->let_through >= LET_THROUGH_MAX) return drop(l);
    l->let_through++;
    return LATCH_HELD;
}

static int learns(const struct latch *l, int64_t now_ns) { return now_ns - l->start_ns <= (int64_t)l->learn_ms * NS_PER_MS; }

/* Nothing is latched yet, and the policy learns. */
static int learn(struct latch *l, const struct latch_address *from, uint32_t ssrc, uint16_t sequence, int authentic, int64_t now_ns) {
    if (!authentic && !learns(l, now_ns) && rank_of(l, from) > RANK_HOST) return drop(l);
    const struct latch_candidate *c = candidate(l, from, ssrc, sequence, now_ns);
    if (!c) return drop(l);
    if (authentic || (proven(c, 0, now_ns) && !better_coming(l, c, now_ns))) return latch_to(l, from, ssrc, sequence, now_ns);
    return better_coming(l, c, now_ns) ? drop(l) : let_through(l);
}

/* Another source than the one that is latched. */
static int other(struct latch *l, const struct latch_address *from, uint32_t ssrc, uint16_t sequence, int authentic, int64_t now_ns) {
    const int64_t silence_ns = now_ns - l->last_ns;
    const uint16_t ahead = (uint16_t)(sequence - l->last_sequence);
    const int rebound = silence_ns >= MOVE_SILENCE_NS && ssrc == l->ssrc && ahead > 0 && ahead < 0x8000 && ahead <= DROPOUT_MAX + silence_ns / PACKET_NS;
    const int learnt = l->policy == LATCH_LEARN && learns(l, now_ns) && (rank_of(l, from) < l->rank || silence_ns >= RELEARN_SILENCE_NS);
    if (!rebound && !learnt) return drop(l);
    const struct latch_candidate *c = candidate(l, from, ssrc, sequence, now_ns);
    if (c && proven(c, authentic, now_ns)) return latch_to(l, from, ssrc, sequence, now_ns);
    return drop(l);
}

int latch_judge(struct latch *l, const struct latch_address *from, uint32_t ssrc, uint16_t sequence, int authentic, int64_t now_ns) {
    if (l->policy <= LATCH_HOST) {
        if (!l->signalled_known || !(l->policy == LATCH_HOST ? same_host(from, &l->signalled) : same(from, &l->signalled))) return drop(l);
        l->latched = 1;
        return pass(l, ssrc, sequence, now_ns);
    }
    if (!l->latched) {
        if (l->policy == LATCH_ANY) return latch_to(l, from, ssrc, sequence, now_ns);
        return learn(l, from, ssrc, sequence, authentic, now_ns);
    }
    if (TL_LIKELY(same(from, &l->current))) return pass(l, ssrc, sequence, now_ns);
    return other(l, from, ssrc, sequence, authentic, now_ns);
}

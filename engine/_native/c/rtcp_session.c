/* RTCP of one session: what is due is written, what comes is checked as a whole and then taken (RFC 3550 §6, A.2, A.3, A.7; 3611; 5506). */
#include "rtcp_session.h"

#include "octets.h"

enum { SR = 200, RR = 201, SDES = 202, BYE = 203, APP = 204, RTPFB = 205, PSFB = 206, XR = 207 };
enum { XR_RRTR = 4, XR_DLRR = 5, XR_VOIP_METRICS = 7 };
enum { SR_BYTES = 28, RR_BYTES = 8, BLOCK_BYTES = 24, RRTR_BYTES = 12, DLRR_ITEM_BYTES = 12, VOIP_METRICS_BYTES = 36 };
enum { CNAME = 1, NACK = 1, RPSI = 3 };
enum { XR_UNKNOWN = 127, XR_G_MIN = 16 };
#define NS_PER_S INT64_C(1000000000)
#define NTP_1970_S UINT64_C(2208988800)

/* ---- times ---- */

TL_INLINE int64_t since(int64_t now_ns, int64_t then_ns) { return (int64_t)((uint64_t)now_ns - (uint64_t)then_ns); }
TL_INLINE int64_t after(int64_t now_ns, int64_t wait_ns) { return (int64_t)((uint64_t)now_ns + (uint64_t)wait_ns); }

static uint64_t ntp_of(int64_t wall_ns) {
    const uint64_t ns = (uint64_t)wall_ns + NTP_1970_S * NS_PER_S;
    return ns / NS_PER_S << 32 | (ns % NS_PER_S << 32) / NS_PER_S;
}

/* A time span as 16.16 seconds, saturated. */
static uint32_t short_ntp_of(int64_t ns) {
    if (ns <= 0) return 0;
    if (ns >= 65536 * NS_PER_S) return UINT32_MAX;
    return (uint32_t)((uint64_t)ns * 65536 / NS_PER_S);
}

/* The RTP timestamp of this moment, by that of the last packet. */
static uint32_t timestamp_at(const struct rtcp_sent *sent, int64_t now_ns) {
    const int64_t ns = since(now_ns, sent->last_ns);
    const uint64_t whole = (uint64_t)(ns / NS_PER_S) * sent->clock_rate_hz;
    const int64_t rest = ns % NS_PER_S * (int64_t)sent->clock_rate_hz / NS_PER_S;
    return (uint32_t)(sent->last_timestamp + whole + (uint64_t)rest);
}

/* §6.3.1 and A.7: half to one and a half, and what makes up for the timer's reconsideration. The generator is splitmix64. */
static int64_t random_interval(struct rtcp_session *r, int64_t interval_ns) {
    uint64_t x = r->random += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
    return (int64_t)((double)interval_ns * (0.5 + (double)(x >> 11) * 0x1p-53) / (2.718281828459045 - 1.5));
}

void rtcp_session_start(struct rtcp_session *r, const char *cname, uint32_t cname_length, int64_t now_ns, uint64_t seed) {
    memset(r, 0, sizeof *r);
    r->cname_length = (uint8_t)(cname_length < RTCP_CNAME_MAX ? cname_length : RTCP_CNAME_MAX);
    if (r->cname_length) memcpy(r->cname, cname, r->cname_length);
    r->random = seed;
    r->rtt_ms = r->rtt_max_ms = -1;
    r->xr_loss = r->xr_discard = 255;
    r->xr_r_factor = r->xr_mos_lq = r->xr_mos_cq = XR_UNKNOWN;
    r->interval_ns = random_interval(r, RTCP_INTERVAL_NS / 2);
    r->next_ns = after(now_ns, r->interval_ns);
}

/* ---- checked ---- */

/* One packet of a compound: `length` has its head and not its padding. */
struct part { const uint8_t *bytes; uint32_t length; uint8_t type, count; };

/* Steps to the next packet. 1, 0 at the end, or STATUS_MALFORMED. */
static int next_part(const uint8_t *bytes, uint32_t length, uint32_t *at, struct part *p) {
    const uint32_t left = length - *at;
    if (!left) return 0;
    if (left < 4) return STATUS_MALFORMED;
    const uint8_t *head = bytes + *at;
    const uint32_t size = ((uint32_t)load_be16(head + 2) + 1) * 4;
    if (head[0] >> 6 != 2 || head[1] < 192 || head[1] > 223 || size > left) return STATUS_MALFORMED;
    uint32_t padding = 0;
    if (head[0] & 0x20) { /* only the last one has it (§6.4.1) */
        padding = head[size - 1];
        if (size != left || !padding || padding % 4 || padding > size - 4) return STATUS_MALFORMED;
    }
    *p = (struct part){head, size - padding, head[1], head[0] & 31};
    *at += size;
    return 1;
}

/* §6.5: the place behind a chunk that begins at `at`, 0 where it does not fit. */
static uint32_t chunk_end(const struct part *p, uint32_t at) {
    if (p->length - at < 4) return 0;
    for (at += 4; at < p->length;) {
        if (!p->bytes[at]) return (at & ~3u) + 4;
        if (p->length - at < 2 || p->length - at - 2 < p->bytes[at + 1]) return 0;
        at += 2u + p->bytes[at + 1];
    }
    return 0;
}

static int sdes_fits(const struct part *p) {
    uint32_t at = 4;
    for (uint32_t k = 0; k < p->count; k++)
        if (!(at = chunk_end(p, at))) return 0;
    return 1;
}

static int bye_fits(const struct part *p) {
    const uint32_t sources = 4 + 4u * p->count;
    return p->length >= sources && (p->length == sources || p->length - sources - 1 >= p->bytes[sources]);
}

/* RFC 4585 §6.2.1 and 6.3.3; what other kinds hold is not read. */
static int feedback_fits(const struct part *p) {
    if (p->length < 12) return 0;
    if (p->type == RTPFB && p->count == NACK) return p->length >= 16;
    if (p->type == PSFB && p->count == RPSI) return p->length >= 16 && p->bytes[12] <= (p->length - 14) * 8;
    return 1;
}

static uint32_t xr_block_bytes(const uint8_t *block) { return ((uint32_t)load_be16(block + 2) + 1) * 4; }

static int xr_fits(const struct part *p) {
    if (p->length < 8) return 0;
    for (uint32_t at = 8, size; at < p->length; at += size) {
        const uint8_t *block = p->bytes + at;
        size = xr_block_bytes(block);
        if (size > p->length - at) return 0;
        if (block[0] == XR_RRTR && size != RRTR_BYTES) return 0;
        if (block[0] == XR_DLRR && (size - 4) % DLRR_ITEM_BYTES) return 0;
        if (block[0] == XR_VOIP_METRICS && size != VOIP_METRICS_BYTES) return 0;
    }
    return 1;
}

static int part_fits(const struct part *p) {
    switch (p->type) {
    case SR: return p->length >= SR_BYTES + BLOCK_BYTES * (uint32_t)p->count;
    case RR: return p->length >= RR_BYTES + BLOCK_BYTES * (uint32_t)p->count;
    case SDES: return sdes_fits(p);
    case BYE: return bye_fits(p);
    case APP: return p->length >= 12;
    case RTPFB: case PSFB: return feedback_fits(p);
    case XR: return xr_fits(p);
    default: return 1;
    }
}

static int compound_fits(const uint8_t *bytes, uint32_t length, int reduced) {
    if (length < 8 || (!reduced && bytes[1] != SR && bytes[1] != RR)) return 0; /* A.2, RFC 5506 §3.4.2 */
    struct part p;
    uint32_t at = 0;
    int more;
    while ((more = next_part(bytes, length, &at, &p)) > 0)
        if (!part_fits(&p)) return 0;
    return more == 0;
}

/* ---- taken ---- */

struct taking { struct rtcp_session *r; const struct rtp_source *remote; uint32_t local_ssrc; int64_t now_ns; int news, ours; };

/* Who speaks here. Whether what it says is to be read: not under our own name. */
static int take_speaker(struct taking *t, uint32_t ssrc) {
    if (ssrc == t->local_ssrc) {
        t->news |= RTCP_NEWS_COLLISION;
        return 0;
    }
    if (!t->remote || ssrc == t->remote->ssrc) t->ours = 1;
    return 1;
}

static int is_remote(const struct taking *t, uint32_t ssrc) { return t->remote && ssrc == t->remote->ssrc; }

/* §6.4.1: now - LSR - DLSR, with the moment in which we sent what is answered by our own clock, which does not jump. An LSR that we never
   sent says nothing. */
static void take_round_trip(struct taking *t, uint32_t middle, uint32_t delay) {
    struct rtcp_session *r = t->r;
    if (!middle) return;
    for (uint32_t k = 1; k <= r->mark_count; k++) {
        const struct rtcp_mark *mark = &r->marks[(r->mark_next + RTCP_MARKS - k) % RTCP_MARKS];
        if (mark->middle != middle) continue;
        const double ms = (double)since(t->now_ns, mark->sent_ns) * 1e-6 - (double)delay * (1000.0 / 65536);
        if (!(ms >= 0 && ms <= RTCP_RTT_MAX_MS)) return;
        r->rtt_ms = ms;
        if (ms > r->rtt_max_ms) r->rtt_max_ms = ms;
        return;
    }
}

static void take_blocks(struct taking *t, const uint8_t *block, uint32_t count) {
    for (; count; count--, block += BLOCK_BYTES) {
        if (load_be32(block) != t->local_ssrc) continue;
        struct rtcp_session *r = t->r;
        const uint32_t lost = load_be32(block + 4) & 0xFFFFFF;
        r->their_fraction = block[4];
        r->their_lost = lost & 0x800000 ? (int32_t)lost - 0x1000000 : (int32_t)lost;
        r->their_highest = load_be32(block + 8);
        r->their_jitter = load_be32(block + 12);
        r->their_report_ns = t->now_ns;
        take_round_trip(t, load_be32(block + 16), load_be32(block + 20));
        t->news |= RTCP_NEWS_REPORT;
        t->ours = 1;
    }
}

static void take_report(struct taking *t, const struct part *p) {
    const uint32_t ssrc = load_be32(p->bytes + 4);
    if (!take_speaker(t, ssrc)) return;
    if (p->type == SR && is_remote(t, ssrc)) {
        struct rtcp_session *r = t->r;
        r->sr_ssrc = ssrc;
        r->sr_ntp = (uint64_t)load_be32(p->bytes + 8) << 32 | load_be32(p->bytes + 12);
        r->sr_timestamp = load_be32(p->bytes + 16);
        r->sr_packets = load_be32(p->bytes + 20);
        r->sr_octets = load_be32(p->bytes + 24);
        r->sr_arrival_ns = t->now_ns;
        t->news |= RTCP_NEWS_SR;
    }
    take_blocks(t, p->bytes + (p->type == SR ? SR_BYTES : RR_BYTES), p->count);
}

static void take_descriptions(struct taking *t, const struct part *p) {
    uint32_t at = 4;
    for (uint32_t k = 0; k < p->count; k++, at = chunk_end(p, at)) take_speaker(t, load_be32(p->bytes + at));
}

static void take_bye(struct taking *t, const struct part *p) {
    for (uint32_t k = 0; k < p->count; k++) {
        const uint32_t ssrc = load_be32(p->bytes + 4 + 4 * k);
        if (!take_speaker(t, ssrc) || !is_remote(t, ssrc)) continue;
        t->r->heard_bye = 1;
        t->news |= RTCP_NEWS_BYE;
    }
}

static void take_voip_metrics(struct taking *t, const uint8_t *block) {
    if (load_be32(block + 4) != t->local_ssrc) return;
    struct rtcp_session *r = t->r;
    r->xr_loss = block[8];
    r->xr_discard = block[9];
    r->xr_r_factor = block[24];
    r->xr_mos_lq = block[26];
    r->xr_mos_cq = block[27];
    r->xr_seen = 1;
    t->news |= RTCP_NEWS_XR;
    t->ours = 1;
}

static void take_dlrr(struct taking *t, const uint8_t *block, uint32_t size) {
    for (uint32_t at = 4; at < size; at += DLRR_ITEM_BYTES) {
        if (load_be32(block + at) != t->local_ssrc) continue;
        take_round_trip(t, load_be32(block + at + 4), load_be32(block + at + 8));
        t->news |= RTCP_NEWS_XR;
        t->ours = 1;
    }
}

static void take_rrtr(struct taking *t, const uint8_t *block, uint32_t ssrc) {
    if (t->remote && ssrc != t->remote->ssrc) return;
    struct rtcp_session *r = t->r;
    r->rrtr_ssrc = ssrc;
    r->rrtr_ntp = (uint64_t)load_be32(block + 4) << 32 | load_be32(block + 8);
    r->rrtr_arrival_ns = t->now_ns;
    r->rrtr_waits = 1;
    t->news |= RTCP_NEWS_XR;
}

static void take_extended(struct taking *t, const struct part *p) {
    const uint32_t ssrc = load_be32(p->bytes + 4);
    if (!take_speaker(t, ssrc)) return;
    for (uint32_t at = 8, size; at < p->length; at += size) {
        const uint8_t *block = p->bytes + at;
        size = xr_block_bytes(block);
        if (block[0] == XR_VOIP_METRICS) take_voip_metrics(t, block);
        else if (block[0] == XR_DLRR) take_dlrr(t, block, size);
        else if (block[0] == XR_RRTR) take_rrtr(t, block, ssrc);
    }
}

static void take_part(struct taking *t, const struct part *p) {
    switch (p->type) {
    case SR: case RR: take_report(t, p); break;
    case SDES: take_descriptions(t, p); break;
    case BYE: take_bye(t, p); break;
    case APP: case RTPFB: case PSFB: take_speaker(t, load_be32(p->bytes + 4)); break;
    case XR: take_extended(t, p); break;
    default: break;
    }
}

int rtcp_session_take(struct rtcp_session *r, const uint8_t *bytes, uint32_t length, uint32_t local_ssrc, const struct rtp_source *remote, int64_t now_ns) {
    if (!compound_fits(bytes, length, r->reduced)) {
        r->malformed++;
        return STATUS_MALFORMED;
    }
    struct taking t = {r, remote, local_ssrc, now_ns, 0, 0};
    struct part p;
    for (uint32_t at = 0; next_part(bytes, length, &at, &p) > 0;) take_part(&t, &p);
    if (t.ours) {
        r->heard++;
        r->last_heard_ns = now_ns;
    }
    if (t.news & RTCP_NEWS_COLLISION) r->collisions++;
    else if (!t.ours) r->foreign++;
    return t.news;
}

/* ---- written ---- */

static uint8_t *put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *put32(uint8_t *at, uint32_t value) { return put16(put16(at, value >> 16), value & 0xFFFF); }
static uint8_t *put64(uint8_t *at, uint64_t value) { return put32(put32(at, (uint32_t)(value >> 32)), (uint32_t)value); }

static uint8_t *put_head(uint8_t *at, uint32_t count, uint32_t type, uint32_t bytes) {
    *at++ = (uint8_t)(0x80 | count);
    *at++ = (uint8_t)type;
    return put16(at, bytes / 4 - 1);
}

TL_INLINE uint32_t whole_words(uint32_t bytes) { return (bytes + 3) & ~3u; }

/* What a compound will have; decided before its first byte is written. */
struct plan {
    const struct rtcp_quality *quality; /* NULL: no metrics */
    int64_t now_ns;
    uint64_t ntp;
    uint32_t sr_bytes /* SR or RR */, sdes_bytes, xr_bytes, bye_bytes;
    uint8_t sr, block, rrtr, dlrr;
};

static void plan_report(struct plan *plan, const struct rtcp_session *r, const struct rtcp_sent *sent, const struct rtp_source *remote, int64_t now_ns, int64_t wall_ns) {
    *plan = (struct plan){.now_ns = now_ns, .ntp = ntp_of(wall_ns)};
    plan->sr = sent->packets != r->packets_before[1];
    plan->block = remote && remote->received != remote->received_prior;
    plan->sr_bytes = (plan->sr ? SR_BYTES : RR_BYTES) + (plan->block ? BLOCK_BYTES : 0);
    plan->sdes_bytes = 4 + whole_words(4 + 2 + r->cname_length + 1);
}

static void plan_extended(struct plan *plan, const struct rtcp_session *r, const struct rtp_source *remote, const struct rtcp_quality *quality) {
    plan->rrtr = !plan->sr;
    plan->dlrr = r->rrtr_waits;
    if (r->voip_metrics && remote && remote->begun) plan->quality = quality;
    const uint32_t blocks = (plan->rrtr ? RRTR_BYTES : 0) + (plan->dlrr ? 4 + DLRR_ITEM_BYTES : 0) + (plan->quality ? VOIP_METRICS_BYTES : 0);
    if (blocks) plan->xr_bytes = 8 + blocks;
}

/* A.3. Something came since the last report, so that not all can be lost and the fraction stays below 256. */
static uint8_t fraction_lost(struct rtp_source *remote) {
    const uint64_t expected = rtp_source_expected(remote);
    const int64_t expected_since = (int64_t)(expected - remote->expected_prior);
    const int64_t lost = expected_since - (int64_t)(remote->received - remote->received_prior);
    remote->expected_prior = expected;
    remote->received_prior = remote->received;
    if (expected_since <= 0 || lost <= 0) return 0;
    return (uint8_t)(lost * 256 / expected_since);
}

static uint8_t *put_block(uint8_t *at, const struct rtcp_session *r, struct rtp_source *remote, int64_t now_ns) {
    int64_t lost = rtp_source_lost(remote);
    lost = lost > 0x7FFFFF ? 0x7FFFFF : lost < -0x800000 ? -0x800000 : lost;
    at = put32(at, remote->ssrc);
    at = put32(at, (uint32_t)fraction_lost(remote) << 24 | ((uint32_t)lost & 0xFFFFFF));
    at = put32(at, (uint32_t)(remote->extended_highest - 65536)); /* where cycles count from 0 */
    at = put32(at, remote->jitter < 4294967295.0 ? (uint32_t)remote->jitter : UINT32_MAX);
    const uint32_t middle = r->sr_ssrc == remote->ssrc ? (uint32_t)(r->sr_ntp >> 16) : 0;
    at = put32(at, middle);
    return put32(at, middle ? short_ntp_of(since(now_ns, r->sr_arrival_ns)) : 0);
}

static uint8_t *put_report(uint8_t *at, const struct plan *plan, const struct rtcp_session *r, const struct rtcp_sent *sent, struct rtp_source *remote) {
    at = put32(put_head(at, plan->block, plan->sr ? SR : RR, plan->sr_bytes), sent->ssrc);
    if (plan->sr) {
        at = put32(put64(at, plan->ntp), timestamp_at(sent, plan->now_ns));
        at = put32(put32(at, sent->packets), sent->octets);
    }
    return plan->block ? put_block(at, r, remote, plan->now_ns) : at;
}

static uint8_t *put_description(uint8_t *at, const struct plan *plan, const struct rtcp_session *r, uint32_t ssrc) {
    uint8_t *end = at + plan->sdes_bytes;
    at = put32(put_head(at, 1, SDES, plan->sdes_bytes), ssrc);
    *at++ = CNAME;
    *at++ = r->cname_length;
    memcpy(at, r->cname, r->cname_length);
    at += r->cname_length;
    memset(at, 0, (size_t)(end - at));
    return end;
}

static uint32_t ms_of(int64_t ns) {
    const int64_t ms = ns / 1000000;
    return (uint32_t)(ms < 0 ? 0 : ms > 65535 ? 65535 : ms);
}

/* RFC 3611 §4.7. Bursts are not told apart: all is one gap, which has every loss. */
static uint8_t *put_voip_metrics(uint8_t *at, const struct rtcp_session *r, const struct rtp_source *remote, const struct rtcp_quality *q, int64_t now_ns) {
    const uint32_t gap = (uint32_t)q->loss + q->discard;
    *at++ = XR_VOIP_METRICS;
    *at++ = 0;
    at = put32(put16(at, VOIP_METRICS_BYTES / 4 - 1), remote->ssrc);
    *at++ = q->loss;
    *at++ = q->discard;
    *at++ = 0;
    *at++ = (uint8_t)(gap < 255 ? gap : 255);
    at = put16(put16(at, 0), ms_of(since(now_ns, remote->first_ns)));
    at = put16(at, r->rtt_ms > 0 ? (uint32_t)(r->rtt_ms + 0.5) : 0); /* at most RTCP_RTT_MAX_MS */
    at = put16(at, q->delay_ms);
    *at++ = XR_UNKNOWN; /* signal level */
    *at++ = XR_UNKNOWN; /* noise level */
    *at++ = XR_UNKNOWN; /* residual echo return loss */
    *at++ = XR_G_MIN;
    *at++ = q->r_factor;
    *at++ = XR_UNKNOWN; /* external R factor */
    *at++ = q->mos_lq;
    *at++ = q->mos_cq;
    *at++ = 0; /* RX config: not told */
    *at++ = 0;
    at = put16(at, q->jitter_delay_ms);
    at = put16(at, q->jitter_delay_max_ms);
    return put16(at, q->jitter_delay_max_ms);
}

static uint8_t *put_extended(uint8_t *at, const struct plan *plan, const struct rtcp_session *r, uint32_t ssrc, const struct rtp_source *remote) {
    at = put32(put_head(at, 0, XR, plan->xr_bytes), ssrc);
    if (plan->rrtr) at = put64(put32(at, (uint32_t)XR_RRTR << 24 | (RRTR_BYTES / 4 - 1)), plan->ntp);
    if (plan->dlrr) {
        at = put32(put32(at, (uint32_t)XR_DLRR << 24 | DLRR_ITEM_BYTES / 4), r->rrtr_ssrc);
        at = put32(at, (uint32_t)(r->rrtr_ntp >> 16));
        at = put32(at, short_ntp_of(since(plan->now_ns, r->rrtr_arrival_ns)));
    }
    return plan->quality ? put_voip_metrics(at, r, remote, plan->quality, plan->now_ns) : at;
}

static void note_written(struct rtcp_session *r, const struct plan *plan, const struct rtcp_sent *sent) {
    r->packets_before[1] = r->packets_before[0];
    r->packets_before[0] = sent->packets;
    r->last_sent_ns = plan->now_ns;
    r->begun = 1;
    if (plan->dlrr) r->rrtr_waits = 0;
    if (!plan->sr && !plan->rrtr) return;
    r->marks[r->mark_next] = (struct rtcp_mark){(uint32_t)(plan->ntp >> 16), plan->now_ns};
    r->mark_next = (uint8_t)((r->mark_next + 1) % RTCP_MARKS);
    if (r->mark_count < RTCP_MARKS) r->mark_count++;
}

int rtcp_session_report(struct rtcp_session *r, const struct rtcp_sent *sent, struct rtp_source *remote, const struct rtcp_quality *quality,
                        int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room) {
    struct plan plan;
    if (r->said_bye) return STATUS_END;
    plan_report(&plan, r, sent, remote, now_ns, wall_ns);
    plan_extended(&plan, r, remote, quality);
    const uint32_t length = plan.sr_bytes + plan.sdes_bytes + plan.xr_bytes;
    if (length > room) return STATUS_TOO_SMALL;
    uint8_t *at = put_report(bytes, &plan, r, sent, remote);
    at = put_description(at, &plan, r, sent->ssrc);
    if (plan.xr_bytes) put_extended(at, &plan, r, sent->ssrc, remote);
    note_written(r, &plan, sent);
    r->interval_ns = random_interval(r, RTCP_INTERVAL_NS);
    r->next_ns = after(now_ns, r->interval_ns);
    return (int)length;
}

int rtcp_session_bye_because(struct rtcp_session *r, const struct rtcp_sent *sent, struct rtp_source *remote, const char *reason, uint32_t reason_length,
                             int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room) {
    struct plan plan;
    if (r->said_bye || (!r->begun && !sent->packets)) return STATUS_END;
    if (reason_length > RTCP_REASON_MAX) reason_length = RTCP_REASON_MAX;
    plan_report(&plan, r, sent, remote, now_ns, wall_ns);
    plan.bye_bytes = 8 + (reason_length ? whole_words(1 + reason_length) : 0);
    const uint32_t length = plan.sr_bytes + plan.sdes_bytes + plan.bye_bytes;
    if (length > room) return STATUS_TOO_SMALL;
    uint8_t *at = put_report(bytes, &plan, r, sent, remote);
    at = put_description(at, &plan, r, sent->ssrc);
    at = put32(put_head(at, 1, BYE, plan.bye_bytes), sent->ssrc);
    if (reason_length) {
        *at++ = (uint8_t)reason_length;
        memcpy(at, reason, reason_length);
        memset(at + reason_length, 0, plan.bye_bytes - 9 - reason_length);
    }
    note_written(r, &plan, sent);
    r->said_bye = 1;
    r->next_ns = INT64_MAX;
    return (int)length;
}

int rtcp_session_bye(struct rtcp_session *r, const struct rtcp_sent *sent, struct rtp_source *remote, int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room) {
    return rtcp_session_bye_because(r, sent, remote, NULL, 0, now_ns, wall_ns, bytes, room);
}

/* ---- time of the other end ---- */

int64_t rtcp_session_wall_ns(const struct rtcp_session *r, uint32_t timestamp, uint32_t clock_rate_hz) {
    if (!r->sr_ntp || !clock_rate_hz) return INT64_MIN;
    const uint64_t seconds = (r->sr_ntp >> 32) + (r->sr_ntp >> 63 ? 0 : UINT64_C(1) << 32) - NTP_1970_S;
    const uint64_t part_ns = ((r->sr_ntp & UINT32_MAX) * NS_PER_S + (UINT64_C(1) << 31)) >> 32;
    const int64_t ticks = (int32_t)(timestamp - r->sr_timestamp);
    return (int64_t)(seconds * NS_PER_S + part_ns) + ticks * NS_PER_S / (int64_t)clock_rate_hz;
}

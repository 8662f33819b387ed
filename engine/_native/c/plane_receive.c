/* The media plane's way in: datagrams of a port, in batches, to packets in order. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>

#include "plane.h"

#define BATCHES_A_ROUND 2
#define PORT_BATCH 8                  /* datagrams at once of a port with one stream, when more than one waited */
#define TOKENS_A_PACKET 1000
#define BURST_TOKENS 256000          /* packets that may come at once behind a stall of five seconds */
#define SEVERAL (PLANE_NONE - 1)      /* of a key: more streams than one are signalled like that */
#define SSRC_QUIET_NS 200000000

/* ---- addresses ---- */

static void address_of(const struct sockaddr_storage *from, struct latch_address *address) {
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)from;
        memset(address->ip, 0, 10);
        address->ip[10] = address->ip[11] = 0xff;
        memcpy(address->ip + 12, &four->sin_addr, 4);
        address->port = ntohs(four->sin_port);
    } else {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;
        memcpy(address->ip, &six->sin6_addr, 16);
        address->port = ntohs(six->sin6_port);
    }
}

/* Follows a source that has moved. */
static void send_to(struct plane_stream *s, const struct sockaddr_storage *from) {
    if (s->remote.ss_family && s->remote.ss_family != from->ss_family) return;
    s->remote = *from;
    if (!s->rtcp_mux) return;
    s->remote_control = *from;
}

/* ---- streams of a shared port ---- */

static uint64_t key_hash(const struct plane *p, uint32_t local, const struct latch_address *a, uint32_t ssrc) {
    uint64_t high, low;
    memcpy(&high, a->ip, 8);
    memcpy(&low, a->ip + 8, 8);
    uint64_t h = (p->seed ^ high) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32 ^ low) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 29 ^ ((uint64_t)a->port << 48 | (uint64_t)local << 32 | ssrc)) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static struct plane_key *key_find(const struct plane *p, uint64_t hash) {
    for (uint32_t at = (uint32_t)hash & p->key_mask, steps = 0; steps <= p->key_mask; steps++, at = (at + 1) & p->key_mask) {
        if (!p->keys[at].used) return NULL;
        if (p->keys[at].hash == hash) return &p->keys[at];
    }
    return NULL;
}

static void key_put(struct plane *p, uint64_t hash, uint32_t stream) {
    struct plane_key *k = key_find(p, hash);
    for (uint32_t at = (uint32_t)hash & p->key_mask, steps = 0; !k && steps <= p->key_mask; steps++, at = (at + 1) & p->key_mask)
        if (!p->keys[at].used) k = &p->keys[at];
    if (k) *k = (struct plane_key){hash, stream, 1}; /* a table as full as can be: searched for each time */
}

/* Takes one key out and closes the gap behind it, so that no search ends too soon. */
static void key_out(struct plane *p, uint32_t at) {
    uint32_t hole = at;
    for (uint32_t next = (at + 1) & p->key_mask; p->keys[next].used; next = (next + 1) & p->key_mask) {
        uint32_t home = (uint32_t)p->keys[next].hash & p->key_mask;
        if (((next - home) & p->key_mask) >= ((next - hole) & p->key_mask)) {
            p->keys[hole] = p->keys[next];
            hole = next;
        }
    }
    p->keys[hole].used = 0;
}

/* Where a stream is signalled to come from, it is found without a search: alone there, or by its SSRC where that is signalled too. */
void plane_key_signalled(struct plane *p, uint32_t stream) {
    struct plane_stream *s = &p->streams[stream];
    if (!s->latch.signalled_known) return;
    uint64_t hash = key_hash(p, s->port, &s->latch.signalled, s->signalled_ssrc);
    struct plane_key *k = key_find(p, hash);
    key_put(p, hash, k && k->stream != stream ? SEVERAL : stream);
}

void plane_key_forget(struct plane *p, uint32_t stream) {
    struct plane_stream *s = &p->streams[stream];
    if (s->port == PLANE_NONE || !p->ports[s->port].shared) return;
    s->keyed = 0;
    const struct latch_address *addresses[2] = {&s->latch.signalled, &s->latch.current};
    const uint32_t ssrcs[3] = {0, s->source_known ? s->source.ssrc : 0, s->signalled_ssrc};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3; k++) {
            struct plane_key *found = key_find(p, key_hash(p, s->port, addresses[i], ssrcs[k]));
            if (found && found->stream == stream) key_out(p, (uint32_t)(found - p->keys));
        }
}

/* How well a stream fits a source that no key knows: 0 not at all. */
static int fits(const struct plane_stream *s, const struct latch_address *from, uint32_t ssrc, int64_t now_ns) {
    int same_host = s->latch.signalled_known && !memcmp(s->latch.signalled.ip, from->ip, 16);
    int same_port = same_host && s->latch.signalled.port == from->port;
    int same_ssrc = ssrc && s->signalled_ssrc == ssrc;
    if (same_port && s->latch.policy <= LATCH_LEARN) return same_ssrc ? 12 : !s->source_known ? 11 : s->source.ssrc == ssrc ? 10 : 9;
    if (s->source_known && now_ns - s->source.last_ns < 3000000000) return 0; /* it is heard from elsewhere */
    if (same_host && s->latch.policy >= LATCH_HOST) return (same_ssrc ? 6 : s->signalled_ssrc ? 1 : 4) + !s->source_known;
    if (s->latch.policy >= LATCH_LEARN && !s->source_known) return same_ssrc ? 3 : 1;
    return 0;
}

static uint32_t search(struct plane *p, uint32_t local, const struct latch_address *from, uint32_t ssrc, int64_t now_ns) {
    struct plane_port *port = &p->ports[local];
    uint32_t best = PLANE_NONE;
    int best_fit = 0;
    for (uint32_t i = 0, left = port->streams; i < p->stream_count && left; i++) {
        struct plane_stream *s = &p->streams[i];
        if (s->state != 1 || s->port != local) continue;
        left--;
        int fit = fits(s, from, ssrc, now_ns);
        if (fit > best_fit) best = i, best_fit = fit;
    }
    return best;
}

static uint32_t shared_stream(struct plane *p, uint32_t local, const struct latch_address *from, uint32_t ssrc, int64_t now_ns) {
    struct plane_key *k = key_find(p, key_hash(p, local, from, ssrc));
    if (!k || k->stream == SEVERAL) k = key_find(p, key_hash(p, local, from, 0));
    if (k && k->stream != SEVERAL) return k->stream;
    struct plane_port *port = &p->ports[local];
    /* A search costs a look at each stream: strangers may cause a thousand of them a second. */
    if (now_ns - port->search_ns > 1000000000) port->search_ns = now_ns, port->searches = 0;
    if (port->searches >= 1000 + 2 * port->streams) return PLANE_NONE;
    port->searches++;
    return search(p, local, from, ssrc, now_ns);
}

/* ---- one packet ---- */

/* Who is known may send three times of what was agreed. Strangers, and other SSRCs, share an allowance of their own: they cannot use up that of the call. */
static int may_pass(struct plane_stream *s, int stranger, int64_t now_ns) {
    struct plane_allowance *a = &s->allowances[stranger];
    a->tokens += (now_ns - a->since_ns) / 1000 * (stranger ? 1 : 3) * s->packets_per_s / 1000;
    a->since_ns = now_ns;
    int64_t most = stranger || s->packets_per_s < 2560 ? BURST_TOKENS : (int64_t)s->packets_per_s * TOKENS_A_PACKET / 10;
    if (a->tokens > most) a->tokens = most;
    if (a->tokens < TOKENS_A_PACKET) return 0;
    a->tokens -= TOKENS_A_PACKET;
    return 1;
}

static int is_known(const struct plane_stream *s, const struct latch_address *from) {
    const struct latch_address *known = s->latch.latched ? &s->latch.current : &s->latch.signalled;
    return known->port == from->port && !memcmp(known->ip, from->ip, 16);
}

static void drop_waiting(struct plane *p, struct plane_stream *s) {
    while (s->waiting_count) p->free_packets[p->free_count++] = s->waiting[--s->waiting_count];
}

void plane_drop_held(struct plane *p, struct plane_stream *s) {
    drop_waiting(p, s);
    if (!s->source_known) return;
    for (uint32_t slot; (slot = jitter_drain(&s->jitter)) != JITTER_NO_HANDLE;) p->free_packets[p->free_count++] = slot;
}

static void deliver_slot(struct plane *p, struct plane_stream *s, uint32_t slot, int64_t now_ns) {
    struct rtp_packet packet;
    if (!rtp_packet_read(plane_packet(p, slot), p->lengths[slot], &packet)) plane_deliver(p, s, &packet, p->arrivals_ns[slot], now_ns);
    p->free_packets[p->free_count++] = slot;
}

void plane_release_due(struct plane *p, struct plane_stream *s, int64_t due_ns, int64_t now_ns) {
    if (!s->source_known) return;
    struct jitter_out out;
    for (int found; (found = jitter_take(&s->jitter, due_ns, &out)) != JITTER_NOTHING;) {
        if (found == JITTER_LOST) {
            s->lost_before += out.lost;
            s->counts.lost += out.lost;
        } else {
            deliver_slot(p, s, out.handle, now_ns);
        }
    }
}

static uint32_t clock_of(const struct plane_stream *s, uint8_t payload_type) {
    return s->formats[s->payload_index[payload_type]].clock_rate_hz;
}

static void note_format(struct plane_stream *s, uint8_t payload_type) {
    s->last_payload_type = payload_type;
    s->last_format = s->formats[s->payload_index[payload_type]];
}

/* The rest of what was heard comes before what is heard next. */
static void finish_source(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    plane_release_due(p, s, INT64_MAX, now_ns);
    for (uint32_t slot; (slot = jitter_drain(&s->jitter)) != JITTER_NO_HANDLE;) p->free_packets[p->free_count++] = slot;
}

/* Its next one is put among the keys with its first packet. */
static void forget_source(struct plane *p, struct plane_stream *s) {
    if (!s->keyed) return;
    struct plane_key *k = key_find(p, key_hash(p, s->port, &s->latch.current, s->source.ssrc));
    if (k && k->stream == plane_index(p, s) && s->source.ssrc != s->signalled_ssrc) key_out(p, (uint32_t)(k - p->keys));
    s->keyed = 0;
}

static void begin_source(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, int64_t arrival_ns, int64_t now_ns) {
    struct jitter_settings settings = s->jitter.settings;
    uint32_t clock = clock_of(s, packet->payload_type), before = s->source.ssrc;
    int known = s->source_known;
    forget_source(p, s);
    if (known) {
        finish_source(p, s, now_ns);
        s->expected_before += rtp_source_expected(&s->source);
    }
    rtp_source_start(&s->source, packet->ssrc, clock);
    settings.clock_rate_hz = clock;
    jitter_start(&s->jitter, &settings, s->side->slots);
    s->source_known = 1;
    s->candidate_run = 0;
    note_format(s, packet->payload_type);
    s->lost_before = 0;
    if (known) {
        plane_event_of(p, PLANE_SSRC_CHANGED, s, packet->ssrc, before, now_ns);
    } else {
        s->counts.first_ns = arrival_ns;
        plane_event_of(p, PLANE_STARTED, s, packet->ssrc, packet->payload_type, now_ns);
    }
}

enum source_verdict { SOURCE_OTHER = 0, SOURCE_KNOWN = 1, SOURCE_WAITS = 2, SOURCE_NEW = 3 };

/* Whether a packet belongs to the source that is heard. Another SSRC has to prove that it is a stream before it takes over: a flood of them does not. What
   proves it waits, so that nothing of it is lost. */
static int source_of(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, int64_t arrival_ns, int64_t now_ns) {
    if (s->source_known && packet->ssrc == s->source.ssrc) return SOURCE_KNOWN;
    if (!s->source_known) {
        begin_source(p, s, packet, arrival_ns, now_ns);
        return SOURCE_KNOWN;
    }
    int goes_on = s->candidate_run && packet->ssrc == s->candidate_ssrc && packet->sequence == s->candidate_next;
    if (!goes_on) drop_waiting(p, s);
    s->candidate_run = goes_on ? s->candidate_run + 1 : 1;
    s->candidate_ssrc = packet->ssrc;
    s->candidate_next = (uint16_t)(packet->sequence + 1);
    int needed = arrival_ns - s->source.last_ns > SSRC_QUIET_NS ? 1 : PLANE_SSRC_RUN;
    if (s->candidate_run >= needed) {
        begin_source(p, s, packet, arrival_ns, now_ns);
        return SOURCE_NEW;
    }
    s->counts.foreign_ssrc++;
    return s->waiting_count < PLANE_SSRC_RUN ? SOURCE_WAITS : SOURCE_OTHER;
}

static void change_clock(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, int64_t now_ns) {
    uint32_t clock = clock_of(s, packet->payload_type);
    note_format(s, packet->payload_type);
    if (clock == s->source.clock_rate_hz || s->formats[s->payload_index[packet->payload_type]].kind != PLANE_AUDIO) return;
    plane_release_due(p, s, now_ns, now_ns);
    rtp_source_clock(&s->source, clock);
    s->jitter.settings.clock_rate_hz = clock;
}

/* Brings a packet with its place in the run into order. Returns 1 when its slot is kept. */
static int put_in_order(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, uint64_t extended, uint32_t slot, int64_t now_ns) {
    if (jitter_is_next(&s->jitter, extended)) {
        jitter_pass(&s->jitter, extended);
        plane_deliver(p, s, packet, p->arrivals_ns[slot], now_ns);
        return 0;
    }
    int kept = jitter_put(&s->jitter, extended, packet->timestamp, packet->marker, p->arrivals_ns[slot], slot);
    s->counts.late += kept == JITTER_LATE;
    s->counts.duplicate += kept == JITTER_DUPLICATE;
    if (kept == JITTER_KEPT || kept == JITTER_FULL) plane_release_due(p, s, now_ns, now_ns);
    if (kept == JITTER_FULL) kept = jitter_put(&s->jitter, extended, packet->timestamp, packet->marker, p->arrivals_ns[slot], slot);
    return kept == JITTER_KEPT;
}

/* What waited for proof belongs to the source now, right before a packet whose place is `extended`. */
static void take_waiting(struct plane *p, struct plane_stream *s, uint64_t extended, int64_t now_ns) {
    uint8_t count = s->waiting_count;
    s->waiting_count = 0;
    for (uint8_t i = 0; i < count; i++) {
        uint32_t slot = s->waiting[i];
        struct rtp_packet packet;
        if (rtp_packet_read(plane_packet(p, slot), p->lengths[slot], &packet) || !put_in_order(p, s, &packet, extended - count + i, slot, now_ns))
            p->free_packets[p->free_count++] = slot;
    }
}

/* A packet of the source. Returns 1 when its slot is kept. */
static int take_numbered(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, uint32_t slot, int64_t now_ns) {
    uint64_t extended;
    int verdict = rtp_source_take(&s->source, packet->sequence, packet->timestamp, packet->payload_length, p->arrivals_ns[slot], &extended);
    if (verdict == RTP_SOURCE_STRAY) {
        s->counts.strays++;
        drop_waiting(p, s);
        s->waiting[s->waiting_count++] = slot;
        return 1;
    }
    if (verdict == RTP_SOURCE_RESTART) {
        struct jitter_settings settings = s->jitter.settings;
        finish_source(p, s, now_ns);
        jitter_start(&s->jitter, &settings, s->side->slots);
        timeline_renew(&s->timeline);
        take_waiting(p, s, extended, now_ns);
    } else if (s->waiting_count) {
        drop_waiting(p, s); /* a stray that nothing followed */
    }
    return put_in_order(p, s, packet, extended, slot, now_ns);
}

/* A packet that may come in, from whom it may come. Returns 1 when its slot is kept. */
static int take_packet(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, uint32_t slot, int64_t now_ns) {
    int whose = source_of(p, s, packet, p->arrivals_ns[slot], now_ns);
    if (whose == SOURCE_WAITS) s->waiting[s->waiting_count++] = slot;
    if (whose == SOURCE_WAITS || whose == SOURCE_OTHER) return whose == SOURCE_WAITS;
    s->counts.last_ns = p->arrivals_ns[slot];
    if (s->told_timeout) {
        s->told_timeout = 0;
        plane_event_of(p, PLANE_RESUMED, s, 0, 0, now_ns);
    }
    if (whose == SOURCE_NEW) { /* in the order in which they came */
        uint8_t count = s->waiting_count;
        s->waiting_count = 0;
        for (uint8_t i = 0; i < count; i++) {
            struct rtp_packet earlier;
            uint32_t kept = s->waiting[i];
            if (rtp_packet_read(plane_packet(p, kept), p->lengths[kept], &earlier) || !take_numbered(p, s, &earlier, kept, now_ns))
                p->free_packets[p->free_count++] = kept;
        }
    }
    if (packet->payload_type != s->last_payload_type) change_clock(p, s, packet, now_ns);
    return take_numbered(p, s, packet, slot, now_ns);
}

/* ---- datagrams of one call ---- */

struct heard {
    struct plane_stream *stream;
    struct rtp_packet packet;
    uint32_t slot, length;
    int kind, truncated;
    int64_t arrival_ns;
};

static void take_control(struct plane *p, struct plane_stream *s, uint8_t *bytes, uint32_t length, const struct latch_address *from, int64_t now_ns) {
    int known_host = (s->latch.latched && !memcmp(s->latch.current.ip, from->ip, 16)) || (s->latch.signalled_known && !memcmp(s->latch.signalled.ip, from->ip, 16));
    if (!known_host && s->latch.policy != LATCH_ANY) {
        s->counts.wrong_source++;
        return;
    }
    if (s->receive_srtp) {
        struct srtp_span span = {.context = s->receive_srtp, .bytes = bytes, .length = length, .room = PLANE_PACKET_BYTES, .status = 0};
        if (!p->srtp || !p->srtp->unprotect_control(&span, 1)) {
            s->counts.unauthentic++;
            return;
        }
        length = span.length;
    }
    s->counts.control_received++;
    int news = rtcp_session_take(&s->session, bytes, length, s->ssrc, s->source_known ? &s->source : NULL, now_ns);
    if (news < 0) {
        s->counts.control_malformed++;
        return;
    }
    if (news & RTCP_NEWS_BYE) plane_event_of(p, PLANE_SAID_BYE, s, s->source.ssrc, 0, now_ns);
    if (news & RTCP_NEWS_REPORT) {
        struct plane_event *e = plane_tell(p, PLANE_REPORT, plane_index(p, s), now_ns);
        if (!e) return;
        e->a = s->session.their_fraction;
        e->b = s->session.their_jitter;
        e->c = (uint32_t)s->session.their_lost;
        e->position = s->session.rtt_ms < 0 ? -1 : (int64_t)(s->session.rtt_ms * 1000);
        plane_told(p);
    }
}

static uint32_t word_at(const uint8_t *bytes) { return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3]; }

static struct plane_stream *stream_of(struct plane *p, uint32_t local, const struct latch_address *from, uint32_t ssrc, int64_t now_ns) {
    struct plane_port *port = &p->ports[local];
    uint32_t index = port->shared ? shared_stream(p, local, from, ssrc, now_ns) : port->stream;
    if (index < p->stream_count) return &p->streams[index];
    port->unknown++;
    return NULL;
}

/* Has what a packet of a stream will need brought into the cache, while others of the batch are looked at. */
static void fetch(const struct plane_stream *s) {
    const char *at = (const char *)s, *end = (const char *)s + PLANE_HOT_END;
    for (; at < end; at += 64) __builtin_prefetch(at, 1, 2);
}

/* Where the samples of a packet will go. */
static void fetch_room(const uint8_t *room) {
    for (uint32_t at = 0; at < 320; at += 64) __builtin_prefetch(room + at, 1, 2);
}

/* Whose a datagram is; NULL: nobody's, and it is counted. */
static struct plane_stream *find(struct plane *p, uint32_t local, int control, struct heard *h, const struct latch_address *from, int64_t now_ns) {
    const uint8_t *bytes = plane_packet(p, h->slot);
    h->kind = h->length >= 12 ? rtp_packet_kind(bytes, h->length) : h->length >= 8 && control ? RTP_PACKET_RTCP : RTP_PACKET_OTHER;
    if (h->kind == RTP_PACKET_RTCP) {
        struct latch_address of_rtp = *from;
        if (control && p->ports[local].shared) of_rtp.port--;
        return stream_of(p, local, &of_rtp, word_at(bytes + 4), now_ns);
    }
    return control ? NULL : stream_of(p, local, from, h->length >= 12 ? word_at(bytes + 8) : 0, now_ns);
}

/* First look at a datagram of a stream: may it come in at all? */
static int look_at(struct plane *p, struct heard *h, const struct sockaddr_storage *from, const struct latch_address *address, int64_t now_ns) {
    struct plane_stream *s = h->stream;
    uint8_t *bytes = plane_packet(p, h->slot);
    if (s->state != 1) return 0;
    if (h->kind == RTP_PACKET_RTCP) {
        if (!may_pass(s, memcmp(s->latch.latched ? s->latch.current.ip : s->latch.signalled.ip, address->ip, 16) != 0, now_ns)) s->counts.flooded++;
        else take_control(p, s, bytes, h->length, address, now_ns);
        return 0;
    }
    if (h->length < 12) return s->counts.malformed++, 0;
    s->counts.received++;
    s->counts.received_bytes += h->length;
    int stranger = !is_known(s, address) || (s->source_known && word_at(bytes + 8) != s->source.ssrc);
    if (!may_pass(s, stranger, now_ns)) return s->counts.flooded++, 0;
    if (h->truncated) return s->counts.oversized++, 0;
    if (h->kind != RTP_PACKET_RTP || rtp_packet_read(bytes, h->length, &h->packet)) return s->counts.malformed++, 0;
    if (s->capture.kind && s->port != PLANE_NONE) plane_capture(p, s, from, &p->ports[s->port].local, bytes, h->length, now_ns);
    if (h->packet.payload_type != s->last_payload_type && s->payload_index[h->packet.payload_type] == 255) return s->counts.wrong_type++, 0;
    if (s->track.block) fetch_room(s->track.block->bytes + s->track.block->used);
    fetch_room((const uint8_t *)(s->plc.history + s->plc.oldest));
    return 1;
}

/* Takes a span that the newest keys did not open to the ones before, where there are such. */
static int opened_by_old_keys(struct plane *p, const struct plane_stream *s, struct srtp_span *span) {
    if (!s->old_receive_srtp || span->status != SRTP_BAD_TAG) return 0;
    span->context = s->old_receive_srtp;
    return p->srtp->unprotect(span, 1) == 1;
}

static void decrypt(struct plane *p, struct heard *heard, uint32_t count) {
    struct srtp_span spans[PLANE_BATCH];
    uint32_t of[PLANE_BATCH], wanted = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct plane_stream *s = heard[i].stream;
        if (!s || !s->receive_srtp) continue;
        spans[wanted] = (struct srtp_span){.context = s->receive_srtp, .bytes = plane_packet(p, heard[i].slot), .length = heard[i].length, .room = PLANE_PACKET_BYTES,
                                           .status = SRTP_CRYPTO};
        of[wanted++] = i;
    }
    if (!wanted) return;
    if (p->srtp) p->srtp->unprotect(spans, wanted);
    for (uint32_t k = 0; k < wanted; k++) {
        struct heard *h = &heard[of[k]];
        int opened = spans[k].status == SRTP_OK || opened_by_old_keys(p, h->stream, &spans[k]);
        if (opened && !rtp_packet_read(spans[k].bytes, spans[k].length, &h->packet)) {
            h->length = spans[k].length;
            continue;
        }
        if (spans[k].status == SRTP_REPLAYED || spans[k].status == SRTP_TOO_OLD) h->stream->counts.replayed++;
        else h->stream->counts.unauthentic++;
        h->stream = NULL;
    }
}

/* A packet that nobody listens to: its source is known to go on. */
static void count_only(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, int64_t arrival_ns, int64_t now_ns) {
    int whose = source_of(p, s, packet, arrival_ns, now_ns);
    uint64_t extended;
    if (whose != SOURCE_KNOWN && whose != SOURCE_NEW) return;
    s->counts.last_ns = arrival_ns;
    if (rtp_source_take(&s->source, packet->sequence, packet->timestamp, packet->payload_length, arrival_ns, &extended) == RTP_SOURCE_STRAY) return;
    finish_source(p, s, now_ns);
    jitter_pass(&s->jitter, extended);
}

/* Several streams of one address may begin in one batch: the first packet of it took the stream that was free for all of them. */
static struct plane_stream *found_again(struct plane *p, struct plane_stream *s, const struct heard *h, const struct latch_address *address, int64_t now_ns) {
    if (!p->ports[s->port].shared || !s->source_known || s->source.ssrc == h->packet.ssrc) return s;
    struct plane_stream *other = stream_of(p, s->port, address, h->packet.ssrc, now_ns);
    return other && other->state == 1 && other->receive_srtp == s->receive_srtp ? other : s;
}

static int take_heard(struct plane *p, struct heard *h, const struct sockaddr_storage *from, const struct latch_address *address, int64_t now_ns) {
    struct plane_stream *s = found_again(p, h->stream, h, address, now_ns);
    /* By the moments of arrival: who proves to be there does so as well where this thread stood still, and all is read at once. */
    int verdict = latch_judge(&s->latch, address, h->packet.ssrc, h->packet.sequence, s->receive_srtp != NULL, h->arrival_ns);
    if (h->arrival_ns < s->opened_ns) h->arrival_ns = s->opened_ns; /* it waited for its stream: what is heard begins with that */
    if (verdict == LATCH_DROP) {
        s->counts.wrong_source++;
        return 0;
    }
    if (verdict == LATCH_MOVED) {
        send_to(s, from);
        plane_event_of(p, PLANE_MOVED, s, 0, 0, now_ns);
    }
    p->lengths[h->slot] = (uint16_t)h->length;
    p->arrivals_ns[h->slot] = h->arrival_ns;
    if (!s->receives && s->relay == PLANE_NONE) { /* on hold */
        count_only(p, s, &h->packet, h->arrival_ns, now_ns);
        return 0;
    }
    if (s->relay != PLANE_NONE) {
        struct plane_stream *to = &p->streams[s->relay];
        if (to->state == 1) {
            plane_relay(p, to, &h->packet, plane_packet(p, h->slot), h->length, now_ns);
            s->counts.relayed++;
        }
        if (!s->track.kind && !s->listen_samples && s->mix == PLANE_NONE) { /* nobody listens: only counted */
            count_only(p, s, &h->packet, h->arrival_ns, now_ns);
            return 0;
        }
    }
    int kept = take_packet(p, s, &h->packet, h->slot, now_ns);
    if (kept && p->free_count < PLANE_BATCH) { /* there is no room to wait for anything */
        s->counts.no_slot++;
        drop_waiting(p, s);
        finish_source(p, s, now_ns);
    }
    /* Only what was taken makes a key: a flood of SSRCs does not fill the table. */
    if (!s->keyed && p->ports[s->port].shared && s->source_known && s->source.ssrc == h->packet.ssrc) {
        key_put(p, key_hash(p, s->port, address, h->packet.ssrc), plane_index(p, s));
        s->keyed = 1;
    }
    return kept;
}

static int fill_slots(struct plane *p, uint32_t *held) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < PLANE_BATCH; i++) {
        if (p->receive_slots[i] == PLANE_NONE && p->free_count) p->receive_slots[i] = p->free_packets[--p->free_count];
        if (p->receive_slots[i] != PLANE_NONE) held[at++] = i;
    }
    return (int)at;
}

/* On a port of one stream there is mostly one datagram. */
static int wanted_of(const struct plane_port *port, int room) {
    int most = port->shared ? PLANE_BATCH : port->busy ? PORT_BATCH : 1;
    return room < most ? room : most;
}

union stamp { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(struct timespec))]; };

/* When a datagram came, by the kernel's stamp: it may have waited to be read. Without one, now. */
static int64_t arrival_of(const struct plane *p, struct msghdr *message, int64_t now_ns) {
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (!p->stamps_known || p->now_ns || !header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_TIMESTAMPNS ||
        header->cmsg_len < CMSG_LEN(sizeof(struct timespec)))
        return now_ns;
    struct timespec wall;
    memcpy(&wall, CMSG_DATA(header), sizeof wall);
    int64_t arrival_ns = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec + p->stamp_offset_ns;
    return arrival_ns > now_ns ? now_ns : arrival_ns;
}

void plane_receive(struct plane *p, struct plane_port *port, int control) {
    struct mmsghdr messages[PLANE_BATCH];
    struct iovec spans[PLANE_BATCH];
    struct sockaddr_storage from[PLANE_BATCH];
    struct latch_address addresses[PLANE_BATCH];
    struct heard heard[PLANE_BATCH];
    union stamp stamps[PLANE_BATCH];
    uint32_t held[PLANE_BATCH], local = (uint32_t)(port - p->ports);
    for (int batch = 0; batch < (port->shared ? BATCHES_A_ROUND : 1); batch++) {
        int room = fill_slots(p, held);
        int wanted = wanted_of(port, room);
        for (int i = 0; i < wanted; i++) {
            spans[i] = (struct iovec){plane_packet(p, p->receive_slots[held[i]]), PLANE_PACKET_BYTES};
            memset(&messages[i].msg_hdr, 0, sizeof messages[i].msg_hdr);
            messages[i].msg_hdr.msg_iov = &spans[i];
            messages[i].msg_hdr.msg_iovlen = 1;
            messages[i].msg_hdr.msg_name = &from[i];
            messages[i].msg_hdr.msg_namelen = sizeof from[i];
            messages[i].msg_hdr.msg_control = &stamps[i];
            messages[i].msg_hdr.msg_controllen = sizeof stamps[i];
        }
        int count = wanted ? recvmmsg(control ? port->control_fd : port->fd, messages, (unsigned)wanted, MSG_DONTWAIT, NULL) : 0;
        p->receive_calls++;
        if (count <= 0) {
            port->busy = 0;
            return;
        }
        int64_t now_ns = plane_clock_ns(p);
        plane_obey(p, now_ns); /* whoever sent this may have had our answer already: what was agreed in it is known by now */
        if (port->state != 1) return;
        p->datagrams += (uint32_t)count;
        port->datagrams += (uint32_t)count;
        for (int i = 0; i < count; i++) {
            struct heard *h = &heard[i];
            h->slot = p->receive_slots[held[i]];
            h->length = messages[i].msg_len;
            h->truncated = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
            h->arrival_ns = arrival_of(p, &messages[i].msg_hdr, now_ns);
            address_of(&from[i], &addresses[i]);
            h->stream = find(p, local, control, h, &addresses[i], now_ns);
            if (h->stream) fetch(h->stream);
        }
        for (int i = 0; i < count; i++)
            if (heard[i].stream && !look_at(p, &heard[i], &from[i], &addresses[i], now_ns)) heard[i].stream = NULL;
        decrypt(p, heard, (uint32_t)count);
        for (int i = 0; i < count; i++) {
            if (!heard[i].stream || heard[i].stream->state != 1) continue;
            if (take_heard(p, &heard[i], &from[i], &addresses[i], now_ns)) p->receive_slots[held[i]] = PLANE_NONE;
        }
        port->busy = count == wanted;
        p->unread |= count == wanted && wanted > 1;
        if (count < wanted) return;
    }
}

/* RTP packets to streams: headers, classes, the index, probation (RFC 3550 §5.1, A.1; RFC 7983 §7). */
#include "rtp_stream.h"

/* RFC 5761 §4: second bytes 192..223 are RTCP packet types, so
   payload types 64..95 with a marker are given up. */
TL_INLINE int is_rtcp_type(uint8_t second) { return second >= 192 && second <= 223; }

/* T.38 §9: sequence number, length of the primary IFP, the IFP, then 0x00 (redundancy) or 0x80 (FEC). The
   first byte range of the caller leaves sequence numbers below 0x1400 or above 0xBFFF; a stream passes there
   soon. */
static int looks_like_udptl(const uint8_t *payload, uint32_t count) {
    if (count < 6) return 0;
    const uint32_t primary = payload[2];
    if (primary == 0 || primary > 127 || 3 + primary + 2 > count) return 0;
    const uint8_t recovery = payload[3 + primary];
    const uint8_t type = payload[3] >> 6; /* data field present, then choice t30-indicator / t30-data */
    if (recovery != 0x00 && recovery != 0x80) return 0;
    if (primary == 1) return !(type & 2);
    return (type & 2) != 0;
}

int rtp_classify(const uint8_t *payload, uint32_t count) {
    if (count < 2) return RTP_CLASS_OTHER;
    const uint8_t first = payload[0];
    if (first >= 128 && first <= 191) {
        if (is_rtcp_type(payload[1])) {
            return count >= 8 && ((uint32_t)load16(payload + 2) + 1) * 4 <= count ? RTP_CLASS_RTCP
                                                                                  : RTP_CLASS_OTHER;
        }
        struct rtp_header header;
        return rtp_parse(payload, count, count, &header) == 0 ? RTP_CLASS_RTP : RTP_CLASS_OTHER;
    }
    if (first <= 3 && count >= 20 && load32(payload + 4) == 0x2112A442) return RTP_CLASS_STUN;
    if (first >= 20 && first <= 63 && count >= 13 && (payload[1] == 0xFE || payload[1] == 0x01))
        return RTP_CLASS_DTLS;
    if (first >= 64 && first <= 79 && count >= 4 && (uint32_t)load16(payload + 2) + 4 <= count)
        return RTP_CLASS_TURN_CHANNEL;
    return looks_like_udptl(payload, count) ? RTP_CLASS_UDPTL : RTP_CLASS_OTHER;
}

int rtp_parse(const uint8_t *payload, uint32_t count, uint32_t wire, struct rtp_header *h) {
    if (count < RTP_HEADER_LENGTH || payload[0] >> 6 != 2 || is_rtcp_type(payload[1]))
        return STATUS_MALFORMED;
    if (wire < count) wire = count;
    uint32_t offset = RTP_HEADER_LENGTH + (payload[0] & 15u) * 4;
    h->extension_profile = 0;
    h->padding = 0;
    if (TL_UNLIKELY(payload[0] & 0x10)) {
        if (offset + 4 > count) return STATUS_MALFORMED;
        h->extension_profile = load16(payload + offset);
        offset += 4 + (uint32_t)load16(payload + offset + 2) * 4;
    }
    if (offset > count) return STATUS_MALFORMED;
    h->payload_length = wire - offset;
    if (TL_UNLIKELY((payload[0] & 0x20) != 0) && count == wire) { /* its count, the last byte, is there */
        const uint8_t padding = payload[count - 1];
        if (padding == 0 || padding > h->payload_length) return STATUS_MALFORMED;
        h->padding = padding;
        h->payload_length -= padding;
    }
    h->payload_offset = offset;
    h->csrc_count = payload[0] & 15;
    h->marker = payload[1] >> 7;
    h->payload_type = payload[1] & 127;
    h->sequence = load16(payload + 2);
    h->timestamp = load32(payload + 4);
    h->ssrc = load32(payload + 8);
    return 0;
}

/* ---- index ---- */

TL_INLINE uint64_t fold(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t x = a ^ b * 0x9E3779B97F4A7C15ull;
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93ull;
    return x ^ x >> 32;
#endif
}
TL_INLINE uint64_t hosts(const uint64_t ip[2], uint64_t salt) {
    return fold(ip[0] ^ salt, ip[1] ^ 0x9E3779B97F4A7C15ull);
}

TL_INLINE uint64_t key_hash(const struct rtp_table *t, enum rtp_key key, const struct rtp_lookup *l) {
    const uint64_t seed = t->seed ^ ((uint64_t)key + 1) * 0xA0761D6478BD642Full;
    uint64_t target = hosts(l->target_ip, seed), rest = l->flow_tag;
    if (key == RTP_KEY_STREAM || key == RTP_KEY_TUPLE || key == RTP_KEY_PAIR)
        target = fold(target ^ 0xE7037ED1A0B428DBull, hosts(l->source_ip, seed ^ 0x8EBC6AF09C88C6E3ull));
    if (key != RTP_KEY_TUPLE && key != RTP_KEY_TARGET) rest ^= (uint64_t)l->ssrc << 32;
    if (key == RTP_KEY_STREAM || key == RTP_KEY_TUPLE) rest ^= (uint64_t)l->source_port << 16;
    if (key != RTP_KEY_PAIR) rest ^= l->target_port;
    return fold(target ^ seed, rest ^ 0x589965CC75374CC3ull);
}

TL_INLINE int same_host(const uint64_t a[2], const uint64_t b[2]) {
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
}

TL_INLINE int key_equal(const struct rtp_stream *s, enum rtp_key key, const struct rtp_lookup *l) {
    if (s->flow_tag != l->flow_tag || !same_host(s->target_ip, l->target_ip)) return 0;
    if (key != RTP_KEY_PAIR && s->target_port != l->target_port) return 0;
    if (key != RTP_KEY_TUPLE && key != RTP_KEY_TARGET && s->ssrc != l->ssrc) return 0;
    if (key == RTP_KEY_SOURCE || key == RTP_KEY_TARGET) return 1;
    if (!same_host(s->source_ip, l->source_ip)) return 0;
    return key == RTP_KEY_PAIR || s->source_port == l->source_port;
}

/* Slots hold row * 8 + key + 1; another key's slot is passed over without a look at its stream. */
TL_INLINE uint32_t *index_slot(const struct rtp_table *t, enum rtp_key key, const struct rtp_lookup *l) {
    const uint32_t mask = t->bucket_count - 1;
    const uint64_t hash = key_hash(t, key, l);
    for (uint32_t place = (uint32_t)(hash ^ hash >> 32) & mask;; place = (place + 1) & mask) {
        const uint32_t slot = t->buckets[place];
        if (slot == 0) return &t->buckets[place];
        if ((slot & 7) == (uint32_t)key + 1 && key_equal(&t->streams[slot >> 3], key, l))
            return &t->buckets[place];
    }
}

uint32_t index_find(const struct rtp_table *t, enum rtp_key key, const struct rtp_lookup *l) {
    if (!t->count || !t->bucket_count) return RTP_NO_STREAM;
    const uint32_t slot = *index_slot(t, key, l);
    return slot ? slot >> 3 : RTP_NO_STREAM;
}

/* Returns the row that had the key before. */
static uint32_t index_put(struct rtp_table *t, enum rtp_key key, const struct rtp_lookup *l, uint32_t row) {
    uint32_t *slot = index_slot(t, key, l);
    const uint32_t before = *slot ? *slot >> 3 : RTP_NO_STREAM;
    *slot = row << 3 | ((uint32_t)key + 1);
    return before;
}

static void lookup_of_stream(struct rtp_lookup *l, const struct rtp_stream *s) {
    memcpy(l->source_ip, s->source_ip, 16);
    memcpy(l->target_ip, s->target_ip, 16);
    l->flow_tag = s->flow_tag;
    l->ssrc = s->ssrc;
    l->source_port = s->source_port;
    l->target_port = s->target_port;
}

int rtp_table_full(const struct rtp_table *t) {
    return t->count >= t->capacity || ((uint64_t)t->count + 1) * 8 > t->bucket_count;
}

void rtp_rehash(struct rtp_table *t, uint32_t *buckets, uint32_t bucket_count) {
    t->buckets = buckets;
    while (bucket_count & (bucket_count - 1)) bucket_count &= bucket_count - 1; /* the power of two in it */
    t->bucket_count = bucket_count;
    for (uint32_t row = 0; row < t->count; row++) {
        struct rtp_lookup l;
        lookup_of_stream(&l, &t->streams[row]);
        for (int key = RTP_KEY_STREAM; key <= RTP_KEY_PAIR; key++) index_put(t, (enum rtp_key)key, &l, row);
    }
}

/* ---- streams ---- */

static uint32_t stream_create(struct rtp_table *t, const struct rtp_lookup *l, int expected) {
    const uint32_t row = t->count++;
    struct rtp_stream *s = &t->streams[row];
    memset(s, 0, sizeof *s);
    memcpy(s->source_ip, l->source_ip, 16);
    memcpy(s->target_ip, l->target_ip, 16);
    s->flow_tag = l->flow_tag;
    s->ssrc = l->ssrc;
    s->source_port = l->source_port;
    s->target_port = l->target_port;
    s->flags = expected ? RTP_ANNOUNCED : 0;
    index_put(t, RTP_KEY_STREAM, l, row);
    s->previous_on_tuple = index_put(t, RTP_KEY_TUPLE, l, row);
    s->previous_source = index_put(t, RTP_KEY_SOURCE, l, row);
    s->previous_on_target = index_put(t, RTP_KEY_TARGET, l, row);
    index_put(t, RTP_KEY_PAIR, l, row);
    s->reverse = RTP_NO_STREAM;
    t->created = 1;
    return row;
}

/* The first packet of a flow nobody announced waits for the
   next in sequence. Two places a hash, the older goes. */
static struct rtp_candidate *candidate_find(struct rtp_table *t, uint64_t hash) {
    const uint32_t place = (uint32_t)(hash >> 17) & (t->candidate_count - 1) & ~1u;
    struct rtp_candidate *pair = &t->candidates[place];
    if (t->candidate_count < 2) return pair;
    if (pair[0].used && pair[0].hash == hash) return &pair[0];
    if (pair[1].used && pair[1].hash == hash) return &pair[1];
    if (!pair[0].used) return &pair[0];
    if (!pair[1].used) return &pair[1];
    return pair[0].time_ns <= pair[1].time_ns ? &pair[0] : &pair[1];
}

static void candidate_keep(struct rtp_candidate *c, uint64_t hash, const struct packet *p,
                           const struct rtp_header *h) {
    c->hash = hash;
    c->time_ns = p->time_ns;
    c->file_offset = p->file_offset;
    c->header = *h;
    c->number = p->number;
    c->dscp = p->dscp;
    c->ttl = p->ttl;
    const uint32_t here = p->payload_length - h->payload_offset;
    const uint32_t kept = here < sizeof c->head ? here : sizeof c->head;
    memset(c->head, 0, sizeof c->head);
    if (kept) memcpy(c->head, p->payload + h->payload_offset, kept);
    c->used = 1;
}

static void stream_open(struct rtp_stream *s, const struct packet *p, const struct rtp_header *h) {
    s->first_number = p->number;
    s->file_offset = p->file_offset;
    s->first_dscp = s->dscp = p->dscp;
    s->first_ttl = s->ttl = p->ttl;
    stream_begin(s, p->time_ns, h);
}

static int32_t take_unknown(struct rtp_table *t, const struct packet *p, const struct rtp_header *h,
                            const struct rtp_lookup *l, int expected) {
    if (p->flags & PACKET_DUPLICATE) return STATUS_INCOMPLETE;
    struct rtp_candidate *c = NULL;
    const uint64_t hash = key_hash(t, RTP_KEY_STREAM, l);
    if (!expected) {
        if (!t->candidates || !t->candidate_count) return STATUS_TOO_SMALL;
        c = candidate_find(t, hash);
        if (!c->used || c->hash != hash || c->header.ssrc != h->ssrc ||
            (uint16_t)(c->header.sequence + 1) != h->sequence) {
            candidate_keep(c, hash, p, h);
            return STATUS_INCOMPLETE;
        }
    }
    if (rtp_table_full(t)) return STATUS_TOO_SMALL;
    const uint32_t row = stream_create(t, l, expected);
    struct rtp_stream *s = &t->streams[row];
    if (c) {
        struct packet first = *p;
        first.time_ns = c->time_ns;
        first.file_offset = c->file_offset;
        first.number = c->number;
        first.dscp = c->dscp;
        first.ttl = c->ttl;
        stream_open(s, &first, &c->header);
        const uint32_t length = c->header.payload_length;
        stream_take(s, &first, &c->header, c->head, length < sizeof c->head ? length : sizeof c->head);
        c->used = 0;
        t->packets++;
    } else {
        stream_open(s, p, h);
    }
    return (int32_t)row;
}

int32_t rtp_push(struct rtp_table *t, const struct packet *p, int expected) {
    struct rtp_header h;
    t->created = 0;
    if (rtp_parse(p->payload, p->payload_length, p->wire_length, &h)) return STATUS_MALFORMED;
    struct rtp_lookup l;
    lookup_of_packet(&l, p, h.ssrc);
    uint32_t row = RTP_NO_STREAM;
    for (int k = 0; k < 2; k++) {
        const uint32_t known = t->last[k];
        if (known && t->last_ssrc[k] == h.ssrc && key_equal(&t->streams[known - 1], RTP_KEY_STREAM, &l)) {
            row = known - 1;
            break;
        }
    }
    if (row == RTP_NO_STREAM) {
        row = index_find(t, RTP_KEY_STREAM, &l);
        if (row == RTP_NO_STREAM) {
            const int32_t opened = take_unknown(t, p, &h, &l, expected);
            if (opened < 0) return opened;
            row = (uint32_t)opened;
        }
        t->last[1] = t->last[0];
        t->last_ssrc[1] = t->last_ssrc[0];
        t->last[0] = row + 1;
        t->last_ssrc[0] = h.ssrc;
    }
    struct rtp_stream *s = &t->streams[row];
    if (TL_UNLIKELY(s->flags & RTP_FINISHED)) return STATUS_END;
    t->packets++;
    const uint32_t here = p->payload_length - h.payload_offset;
    stream_take(s, p, &h, p->payload + h.payload_offset, here < h.payload_length ? here : h.payload_length);
    return (int32_t)row;
}

uint32_t rtp_find(const struct rtp_table *t, const struct packet *p, uint32_t ssrc) {
    struct rtp_lookup l;
    lookup_of_packet(&l, p, ssrc);
    return index_find(t, RTP_KEY_STREAM, &l);
}

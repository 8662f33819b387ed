/* IP reassembly (RFC 791 §3.2, RFC 8200 §4.5) in lent memory: a fixed number of datagrams, the oldest
   gives way. The first copy of every byte wins, so later fragments cannot rewrite what was seen (RFC 5722
   would discard). */
#include "layers.h"

#define DATAGRAM_BYTES 65536u
#define DATAGRAM_UNITS (DATAGRAM_BYTES / 8)
#define LIFETIME_NS 30000000000ll
#define CHAIN_LIMIT 32
#define NONE_ROW UINT32_MAX

struct datagram {
    struct packet first;       /* the fragment at offset 0, or the first seen */
    uint64_t hash;
    int64_t opened_ns;
    uint32_t units_seen, total; /* `total` bytes, 0 while the last fragment is missing */
    uint32_t next_in_bucket;
    uint32_t older, newer;     /* by arrival; `newer` also chains the free rows */
    uint8_t has_first, used;
    uint64_t seen[DATAGRAM_UNITS / 64];
    uint8_t bytes[DATAGRAM_BYTES];
};

struct fragments {
    uint64_t seed;
    uint32_t capacity, bucket_mask;
    uint32_t free_head, free_tail, oldest, newest;
    uint32_t *buckets;
    struct datagram *datagrams;
};

static uint32_t bucket_count(uint32_t datagrams) {
    uint32_t count = 16;
    while (count < datagrams && count < 1u << 30) count *= 2;
    return count;
}

static size_t rounded(size_t size) { return (size + 63) & ~(size_t)63; }

size_t fragments_size(uint32_t datagrams) {
    if (datagrams == 0) datagrams = 1;
    return 64 + rounded(sizeof(struct fragments)) + rounded(bucket_count(datagrams) * sizeof(uint32_t)) +
           (size_t)datagrams * sizeof(struct datagram);
}

static void release(struct fragments *f, uint32_t row) {
    struct datagram *d = f->datagrams + row;
    d->used = 0;
    d->newer = NONE_ROW;
    if (f->free_tail == NONE_ROW) f->free_head = row;
    else f->datagrams[f->free_tail].newer = row;
    f->free_tail = row;
}

struct fragments *fragments_init(void *memory, size_t size, uint32_t datagrams) {
    if (datagrams == 0) datagrams = 1;
    if (size < fragments_size(datagrams)) return NULL;
    uint8_t *at = (uint8_t *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    struct fragments *f = (struct fragments *)at;
    f->capacity = datagrams;
    f->bucket_mask = bucket_count(datagrams) - 1;
    at += rounded(sizeof *f);
    f->buckets = (uint32_t *)at;
    memset(f->buckets, 0xff, (f->bucket_mask + 1u) * sizeof(uint32_t));
    f->datagrams = (struct datagram *)(at + rounded((f->bucket_mask + 1u) * sizeof(uint32_t)));
    f->free_head = f->free_tail = f->oldest = f->newest = NONE_ROW;
    f->seed = (uint64_t)(uintptr_t)memory * 0x9e3779b97f4a7c15ull; /* places of rows, never results */
    for (uint32_t row = 0; row < datagrams; row++) release(f, row);
    return f;
}

/* ---- finding ---- */

static uint64_t mixed(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0xd6e8feb86659fd93ull;
    return h ^ h >> 32;
}

/* RFC 791 identifies a datagram by its protocol too, RFC 8200 §4.5 does not: there the first fragment's
   counts. */
static uint8_t key_protocol(const struct packet *p) { return p->source.family == 4 ? p->protocol : 0; }

static uint64_t key_hash(const struct fragments *f, const struct packet *p) {
    uint64_t words[4], h = f->seed;
    memcpy(words, p->source.ip, 16);
    memcpy(words + 2, p->target.ip, 16);
    for (int i = 0; i < 4; i++) h = mixed(h, words[i]);
    h = mixed(h, p->flow_tag);
    return mixed(h, (uint64_t)p->fragment_id << 16 | (uint64_t)key_protocol(p) << 8 | p->source.family);
}

/* The tag keeps equal addresses of different VLANs and tunnels apart. */
static int same_datagram(const struct datagram *d, const struct packet *p, uint64_t hash) {
    const struct packet *q = &d->first;
    return d->hash == hash && q->fragment_id == p->fragment_id && q->flow_tag == p->flow_tag &&
           key_protocol(q) == key_protocol(p) && q->source.family == p->source.family &&
           !memcmp(q->source.ip, p->source.ip, 16) && !memcmp(q->target.ip, p->target.ip, 16);
}

static void unlink_row(struct fragments *f, uint32_t row) {
    struct datagram *d = f->datagrams + row;
    uint32_t *link = f->buckets + (d->hash & f->bucket_mask);
    while (*link != row) link = &f->datagrams[*link].next_in_bucket;
    *link = d->next_in_bucket;
    if (d->older == NONE_ROW) f->oldest = d->newer;
    else f->datagrams[d->older].newer = d->newer;
    if (d->newer == NONE_ROW) f->newest = d->older;
    else f->datagrams[d->newer].older = d->older;
    release(f, row);
}

static void drop(struct fragments *f, uint32_t row, enum problem why, struct problems *problems) {
    problem_note(problems, why, f->datagrams[row].first.file_offset);
    unlink_row(f, row);
}

static struct datagram *open_datagram(struct fragments *f, const struct packet *p, uint64_t hash) {
    const uint32_t row = f->free_head;
    struct datagram *d = f->datagrams + row;
    f->free_head = d->newer;
    if (f->free_head == NONE_ROW) f->free_tail = NONE_ROW;
    memset(d, 0, offsetof(struct datagram, bytes));
    d->first = *p;
    d->hash = hash;
    d->opened_ns = p->time_ns;
    d->used = 1;
    d->next_in_bucket = f->buckets[hash & f->bucket_mask];
    f->buckets[hash & f->bucket_mask] = row;
    d->newer = NONE_ROW;
    d->older = f->newest;
    if (f->newest == NONE_ROW) f->oldest = row;
    else f->datagrams[f->newest].newer = row;
    f->newest = row;
    return d;
}

static struct datagram *find(struct fragments *f, const struct packet *p, struct problems *problems) {
    const uint64_t hash = key_hash(f, p);
    uint32_t row = f->buckets[hash & f->bucket_mask], last = NONE_ROW;
    for (int steps = 0; row != NONE_ROW; row = f->datagrams[row].next_in_bucket) {
        if (same_datagram(f->datagrams + row, p, hash)) return f->datagrams + row;
        last = row;
        if (++steps == CHAIN_LIMIT) { /* a flood aimed at one bucket costs its own rows */
            drop(f, last, PROBLEM_FRAGMENT_OVERFLOW, problems);
            break;
        }
    }
    if (f->free_head == NONE_ROW) drop(f, f->oldest, PROBLEM_FRAGMENT_OVERFLOW, problems);
    return open_datagram(f, p, hash);
}

static void expire(struct fragments *f, int64_t now_ns, struct problems *problems) {
    if (now_ns < INT64_MIN + LIFETIME_NS) return;
    while (f->oldest != NONE_ROW && f->datagrams[f->oldest].opened_ns < now_ns - LIFETIME_NS)
        drop(f, f->oldest, PROBLEM_FRAGMENT_INCOMPLETE, problems);
}

/* ---- filling ---- */

static int unit_seen(const struct datagram *d, uint32_t unit) {
    return (int)(d->seen[unit >> 6] >> (unit & 63) & 1);
}

/* Copies the units that are new; the last unit of a datagram may be short. */
static void store(struct datagram *d, uint32_t offset, const uint8_t *bytes, uint32_t length,
                  struct problems *problems, uint64_t file_offset) {
    uint32_t fresh = 0, old = 0, differ = 0;
    for (uint32_t at = 0; at < length; at += 8) {
        const uint32_t unit = (offset + at) / 8, size = length - at < 8 ? length - at : 8;
        if (unit_seen(d, unit)) {
            old++;
            differ |= memcmp(d->bytes + offset + at, bytes + at, size) != 0;
            continue;
        }
        memmove(d->bytes + offset + at, bytes + at, size); /* a fragment inside a datagram just given out */
        d->seen[unit >> 6] |= 1ull << (unit & 63);
        fresh++;
    }
    d->units_seen += fresh;
    /* The same fragment twice is a mirror's doing; anything else that meets is an overlap. */
    if (old && (fresh || differ)) problem_note(problems, PROBLEM_FRAGMENT_OVERLAP, file_offset);
}

/* Takes the fragment in. Returns 0 when it contradicts itself or what is there. */
static int accept(struct datagram *d, const struct packet *p, struct problems *problems) {
    const uint32_t offset = p->fragment_offset * 8u, end = offset + p->wire_length;
    if (!p->more_fragments) {
        if (d->total && d->total != end) {
            problem_note(problems, PROBLEM_FRAGMENT_OVERLAP, p->file_offset);
            return 0;
        }
        if (!d->total) d->total = end;
    } else if (d->total && end > d->total) {
        problem_note(problems, PROBLEM_FRAGMENT_OVERLAP, p->file_offset);
        return 0;
    }
    /* Of a fragment the capture cut, only whole units count: the datagram stays incomplete. */
    uint32_t length = p->payload_length;
    if (length < p->wire_length) length &= ~7u;
    store(d, offset, p->payload, length, problems, p->file_offset);
    if (offset == 0 && !d->has_first) {
        const int64_t opened = d->first.time_ns;
        d->first = *p;
        d->opened_ns = opened;
        d->has_first = 1;
    }
    return 1;
}

static int fragment_valid(const struct packet *p) {
    const uint32_t offset = p->fragment_offset * 8u;
    if (p->wire_length == 0 || offset > DATAGRAM_BYTES || p->wire_length > DATAGRAM_BYTES - offset) return 0;
    return !p->more_fragments || p->wire_length % 8 == 0;
}

static int give(const struct datagram *d, uint32_t length, const struct packet *last, struct packet *whole,
                struct problems *problems) {
    *whole = d->first;
    whole->time_ns = last->time_ns;
    whole->number = last->number;
    whole->file_offset = last->file_offset;
    whole->flags = (uint16_t)((whole->flags & ~PACKET_FRAGMENT) | PACKET_REASSEMBLED);
    whole->fragment_offset = 0;
    whole->more_fragments = 0;
    return link_decode_transport(whole->protocol, d->bytes, length, whole, problems) == 0;
}

int fragments_push(struct fragments *f, const struct packet *p, struct packet *whole,
                   struct problems *problems) {
    expire(f, p->time_ns, problems);
    if (!fragment_valid(p)) {
        problem_note(problems, PROBLEM_NETWORK_HEADER, p->file_offset);
        return 0;
    }
    struct datagram *d = find(f, p, problems);
    if (!accept(d, p, problems)) return 0;
    if (!d->total || !d->has_first || d->units_seen * 8 < d->total) return 0;
    /* The count alone does not prove it: a fragment that came before the end was known may lie beyond it. */
    const uint32_t units = (d->total + 7) / 8;
    for (uint32_t unit = 0; unit < units; unit += 64) {
        const uint64_t want = units - unit >= 64 ? UINT64_MAX : (1ull << (units - unit)) - 1;
        if ((d->seen[unit >> 6] & want) != want) return 0;
    }
    const int given = give(d, d->total, p, whole, problems);
    unlink_row(f, (uint32_t)(d - f->datagrams));
    return given;
}

/* Bytes that are there from the beginning on without a hole. */
static uint32_t leading_bytes(const struct datagram *d) {
    uint32_t units = 0;
    while (units < DATAGRAM_UNITS && unit_seen(d, units)) units++;
    return d->total && units * 8 > d->total ? d->total : units * 8;
}

int fragments_drain(struct fragments *f, int64_t before_ns, struct packet *whole, struct problems *problems) {
    while (f->oldest != NONE_ROW && f->datagrams[f->oldest].opened_ns < before_ns) {
        const uint32_t row = f->oldest;
        struct datagram *d = f->datagrams + row;
        const struct packet first = d->first;
        drop(f, row, PROBLEM_FRAGMENT_INCOMPLETE, problems);
        if (!d->has_first) continue;
        struct problems quiet; /* the cut is known and counted once */
        memset(&quiet, 0, sizeof quiet);
        if (!give(d, leading_bytes(d), &first, whole, &quiet)) continue;
        whole->flags |= PACKET_SNAPPED;
        return 1;
    }
    return 0;
}

void fragments_finish(struct fragments *f, struct problems *problems) {
    while (f->oldest != NONE_ROW) drop(f, f->oldest, PROBLEM_FRAGMENT_INCOMPLETE, problems);
}

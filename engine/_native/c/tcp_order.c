/* Bytes of one TCP direction in sequence order (RFC 9293 §3.4), in a bounded window of lent memory. In-
   order segments go to framing as they are; only what waits for more is copied. The first copy of a byte
   wins. */
#include "tcp_flow.h"

#define FAR_AWAY (1 << 24)    /* no window is wider: another connection on the same ports */
#define ASTRAY_SEGMENTS 3
#define ACKNOWLEDGED_SEGMENTS 3
#define ACKNOWLEDGED_NS 1000000000ull

/* ---- lent buffers ---- */

static void buffer_unlink(struct tcp *t, uint32_t row) {
    struct buffer *b = t->buffers + row;
    if (b->older == NONE_ROW) t->oldest_buffer = b->newer;
    else t->buffers[b->older].newer = b->newer;
    if (b->newer == NONE_ROW) t->newest_buffer = b->older;
    else t->buffers[b->newer].older = b->older;
}

static void buffer_link(struct tcp *t, uint32_t row) {
    struct buffer *b = t->buffers + row;
    b->newer = NONE_ROW;
    b->older = t->newest_buffer;
    if (t->newest_buffer == NONE_ROW) t->oldest_buffer = row;
    else t->buffers[t->newest_buffer].newer = row;
    t->newest_buffer = row;
}

void buffer_release(struct tcp *t, uint32_t row) {
    buffer_unlink(t, row);
    t->buffers[row].newer = t->free_buffer;
    t->free_buffer = row;
}

static uint32_t flow_owner(const struct flow *w) {
    return (uint32_t)(w->c - w->t->connections) * 2 + (uint32_t)(w->d - w->c->directions);
}

/* Takes a buffer from the direction that used its own longest ago; its stream is cut there. */
static void buffer_evict(struct flow *w, uint32_t row) {
    struct tcp *t = w->t;
    struct buffer *b = t->buffers + row;
    struct flow other = flow_beside(w, t->connections + b->owner / 2, b->owner & 1);
    flow_note(&other, PROBLEM_TCP_OVERFLOW);
    if (other.d->joined == row) {
        other.d->joined = NONE_ROW;
        other.d->joining = 2;
    } else {
        stream_abandon(&other, b->bytes + b->start, b->end - b->start, 0);
        other.d->buffer = NONE_ROW;
    }
    buffer_release(t, row);
}

struct buffer *buffer_lend(struct flow *w) {
    struct tcp *t = w->t;
    if (t->free_buffer == NONE_ROW) {
        const uint32_t self = flow_owner(w);
        uint32_t row = t->oldest_buffer;
        for (int own = 0; own < 2 && row != NONE_ROW && t->buffers[row].owner == self; own++)
            row = t->buffers[row].newer;
        if (row == NONE_ROW || t->buffers[row].owner == self) return NULL;
        buffer_evict(w, row);
    }
    const uint32_t row = t->free_buffer;
    struct buffer *b = t->buffers + row;
    t->free_buffer = b->newer;
    b->owner = flow_owner(w);
    b->start = b->end = b->range_count = b->waiting = 0;
    buffer_link(t, row);
    return b;
}

static struct buffer *held(const struct flow *w) {
    return w->d->buffer == NONE_ROW ? NULL : w->t->buffers + w->d->buffer;
}

static struct buffer *hold(struct flow *w) {
    struct buffer *b = held(w);
    if (!b && (b = buffer_lend(w)) != NULL) w->d->buffer = (uint32_t)(b - w->t->buffers);
    return b;
}

static void let_go_if_empty(struct flow *w, struct buffer *b) {
    if (b->start != b->end || b->range_count) return;
    w->d->buffer = NONE_ROW;
    buffer_release(w->t, (uint32_t)(b - w->t->buffers));
}

/* Makes room for bytes up to `top` by moving everything to the front. */
static void make_room(struct buffer *b, uint64_t top) {
    const uint32_t moved = b->start;
    if (top <= BUFFER_BYTES || moved == 0) return;
    const uint32_t used = b->range_count ? b->ranges[b->range_count - 1].end : b->end;
    memmove(b->bytes, b->bytes + moved, used - moved);
    b->start = 0;
    b->end -= moved;
    for (uint32_t i = 0; i < b->range_count; i++) {
        b->ranges[i].start -= moved;
        b->ranges[i].end -= moved;
    }
}

/* ---- islands ---- */

/* Copies [start, end) into the holes between the islands and joins what now touches. Returns 0 when there
   is no row for another island. */
static int island_add(struct flow *w, struct buffer *b, uint32_t start, uint32_t end, const uint8_t *bytes) {
    uint32_t first = 0, last, at = start;
    int differ = 0;
    while (first < b->range_count && b->ranges[first].end < start) first++;
    for (last = first; last < b->range_count && b->ranges[last].start <= end; last++) {}
    if (first == last && b->range_count == RANGES) return 0;
    struct range joined = {start, end, w->base.number, w->base.time_ns, w->base.file_offset};
    for (uint32_t i = first; i < last; i++) {
        const struct range r = b->ranges[i];
        if (r.start > at) memcpy(b->bytes + at, bytes + (at - start), r.start - at);
        const uint32_t from = r.start > start ? r.start : start, to = r.end < end ? r.end : end;
        if (to > from) differ |= memcmp(b->bytes + from, bytes + (from - start), to - from) != 0;
        if (r.end > at) at = r.end;
        if (r.start < joined.start) joined.start = r.start;
        if (r.end > joined.end) joined.end = r.end;
    }
    if (at < end) memcpy(b->bytes + at, bytes + (at - start), end - at);
    if (differ) flow_note(w, PROBLEM_TCP_CONFLICT);
    if (first == last) {
        memmove(b->ranges + first + 1, b->ranges + first, (b->range_count - first) * sizeof *b->ranges);
        b->range_count++;
    } else if (last - first > 1) {
        memmove(b->ranges + first + 1, b->ranges + last, (b->range_count - last) * sizeof *b->ranges);
        b->range_count -= last - first - 1;
    }
    b->ranges[first] = joined;
    return 1;
}

static void island_drop_first(struct buffer *b) {
    b->range_count--;
    memmove(b->ranges, b->ranges + 1, b->range_count * sizeof *b->ranges);
    if (b->range_count == 0) b->waiting = 0;
}

/* Islands the ordered bytes have reached become part of them. */
static void absorb(struct flow *w, struct buffer *b) {
    while (b->range_count && b->ranges[0].start <= b->end) {
        if (b->ranges[0].end > b->end) {
            w->d->next += b->ranges[0].end - b->end;
            b->end = b->ranges[0].end;
        }
        island_drop_first(b);
    }
}

/* ---- bytes in order ---- */

static void feed_held(struct flow *w, struct buffer *b) {
    b->start += (uint32_t)stream_feed(w, b->bytes + b->start, b->end - b->start);
    if (b->end - b->start == BUFFER_BYTES) { /* what stands in front is larger than any message may be */
        flow_note(w, PROBLEM_MESSAGE_OVERSIZE);
        stream_abandon(w, b->bytes, BUFFER_BYTES, 0);
        b->start = b->end;
    }
    let_go_if_empty(w, b);
}

/* Adds to the held bytes; returns how many were taken. */
static size_t take_held(struct flow *w, struct buffer *b, const uint8_t *bytes, size_t count) {
    const struct framing *f = &w->d->framing;
    const uint32_t have = b->end - b->start;
    /* Only as much as ends the message: what follows it need not be copied. */
    if (!b->range_count && f->total > have && count > f->total - have) count = f->total - have;
    make_room(b, (uint64_t)b->end + count);
    if (count > BUFFER_BYTES - b->end) count = BUFFER_BYTES - b->end;
    if (b->range_count && b->end + count >= b->ranges[0].start) {
        island_add(w, b, b->end, b->end + (uint32_t)count, bytes); /* joins the first one: takes no row */
        absorb(w, b);
    } else {
        memcpy(b->bytes + b->end, bytes, count);
        b->end += (uint32_t)count;
        w->d->next += (uint32_t)count;
    }
    feed_held(w, b);
    return count;
}

static void take_ordered(struct flow *w, const uint8_t *bytes, size_t count) {
    while (count) {
        struct buffer *b = held(w);
        size_t taken;
        if (b) {
            taken = take_held(w, b, bytes, count);
        } else {
            taken = stream_feed(w, bytes, count);
            if (taken < count && (b = hold(w)) == NULL) {
                flow_note(w, PROBLEM_TCP_OVERFLOW);
                stream_abandon(w, bytes + taken, count - taken, 0);
                taken = count;
            } else if (taken < count) {
                const size_t rest = count - taken < BUFFER_BYTES ? count - taken : BUFFER_BYTES;
                memcpy(b->bytes, bytes + taken, rest);
                b->end = (uint32_t)rest;
                taken += rest;
            }
            w->d->next += (uint32_t)taken;
            if (b && b->end == BUFFER_BYTES) feed_held(w, b);
        }
        bytes += taken;
        count -= taken;
    }
}

/* ---- holes ---- */

/* The first hole stays one: what stands before it is handed out as far as it is of use, and reading goes on
   behind it, attributed to the segments that lie there. */
static void give_up_hole(struct flow *w) {
    struct buffer *b = held(w);
    const struct range r = b->ranges[0];
    const uint32_t missing = r.start - b->end;
    const struct packet base = w->base;
    flow_note(w, PROBLEM_TCP_GAP);
    stream_abandon(w, b->bytes + b->start, b->end - b->start, missing);
    b->start = r.start;
    b->end = r.end;
    w->d->next += missing + (r.end - r.start);
    island_drop_first(b);
    w->base.time_ns = r.time_ns;
    w->base.number = r.number;
    w->base.file_offset = r.file_offset;
    feed_held(w, b);
    w->base = base;
}

static int hole_is_final(const struct flow *w, const struct buffer *b) {
    if (b->waiting > WAITING_SEGMENTS) return 1;
    if (!w->d->acknowledgement_seen) return 0;
    const uint32_t hole_end = w->d->next + (b->ranges[0].start - b->end);
    if ((int32_t)(w->d->acknowledged - hole_end) < 0) return 0;
    /* The receiver has the bytes, the capture does not; but a mirror may show the two sides out of step. */
    if (b->waiting >= ACKNOWLEDGED_SEGMENTS) return 1;
    const int64_t since = b->ranges[0].time_ns;
    return w->t->last_ns > since && (uint64_t)w->t->last_ns - (uint64_t)since > ACKNOWLEDGED_NS;
}

void order_acknowledged(struct flow *w) {
    struct buffer *b;
    while ((b = held(w)) != NULL && b->range_count && hole_is_final(w, b)) give_up_hole(w);
}

/* Starts anew at `sequence`: whatever is held belongs to a past that cannot be joined to it. */
static void jump(struct flow *w, uint32_t sequence) {
    flow_note(w, PROBLEM_TCP_GAP);
    order_flush(w);
    stream_abandon(w, w->base.payload, 0, FAR_AWAY);
    w->d->next = sequence;
    w->d->astray = 0;
}

static void push_early(struct flow *w, uint32_t ahead, const uint8_t *bytes, size_t count) {
    struct buffer *b;
    for (;;) { /* each turn closes a hole; with none left the bytes are in order or far beyond */
        if ((b = hold(w)) == NULL) {
            flow_note(w, PROBLEM_TCP_OVERFLOW);
            return;
        }
        make_room(b, (uint64_t)b->end + ahead + count);
        const uint64_t start = (uint64_t)b->end + ahead;
        if (start + count <= BUFFER_BYTES &&
            island_add(w, b, (uint32_t)start, (uint32_t)(start + count), bytes)) break;
        if (!b->range_count) {
            const uint32_t sequence = w->d->next + ahead;
            jump(w, sequence);
            take_ordered(w, bytes, count);
            return;
        }
        const uint32_t before = w->d->next;
        give_up_hole(w);
        const uint32_t moved = w->d->next - before;
        if (moved >= ahead) {
            const uint32_t old = moved - ahead;
            if (old < count) order_push(w, w->d->next, bytes + old, count - old);
            return;
        }
        ahead -= moved;
    }
    b->waiting++;
    order_acknowledged(w);
}

/* ---- segments ---- */

static uint64_t content_hash(const uint8_t *p, size_t count) {
    uint64_t h = count * 0x9e3779b97f4a7c15ull, word;
    for (; count >= 8; p += 8, count -= 8) {
        memcpy(&word, p, 8);
        h = (h ^ word) * 0xd6e8feb86659fd93ull;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, p, count);
    h = (h ^ word) * 0xd6e8feb86659fd93ull;
    return h ^ h >> 32;
}

static void remember(struct direction *d, uint32_t sequence, const uint8_t *bytes, size_t count) {
    struct seen_segment *s = d->seen + d->seen_next++ % SEEN_SEGMENTS;
    s->sequence = sequence;
    s->length = (uint32_t)count;
    s->hash = content_hash(bytes, count);
}

/* Bytes that came before: compared where a copy or its hash is still there. */
static void compare_old(struct flow *w, uint32_t sequence, const uint8_t *bytes, size_t count,
                        size_t segment) {
    const struct buffer *b = held(w);
    const uint32_t behind = w->d->next - sequence;
    if (b && behind <= b->end - b->start) {
        if (memcmp(b->bytes + b->end - behind, bytes, count)) flow_note(w, PROBLEM_TCP_CONFLICT);
        return;
    }
    for (int i = 0; i < SEEN_SEGMENTS; i++) {
        const struct seen_segment *s = w->d->seen + i;
        if (s->sequence != sequence || s->length != segment || !s->length) continue;
        if (s->hash != content_hash(bytes, segment)) flow_note(w, PROBLEM_TCP_CONFLICT);
        return;
    }
}

void order_push(struct flow *w, uint32_t sequence, const uint8_t *bytes, size_t count) {
    struct direction *d = w->d;
    if (!d->synchronised) {
        d->synchronised = 1;
        d->next = sequence;
    }
    int32_t ahead = (int32_t)(sequence - d->next);
    if (ahead > FAR_AWAY || ahead < -FAR_AWAY) {
        /* Several that lie close together are a new beginning; a single one may be forged. */
        const int32_t apart = (int32_t)(sequence - d->astray_sequence);
        if (apart > FAR_AWAY || apart < -FAR_AWAY) d->astray = 0;
        d->astray_sequence = sequence;
        if (++d->astray < ASTRAY_SEGMENTS) return;
        jump(w, sequence);
        ahead = 0;
    } else d->astray = 0;
    if (ahead < 0) {
        const size_t old = (size_t)-(int64_t)ahead < count ? (size_t)-(int64_t)ahead : count;
        const int keepalive = count == 1 && ahead == -1; /* its byte is not data (RFC 9293 §3.8.4) */
        if (!keepalive) compare_old(w, sequence, bytes, old, count);
        if (old == count) return;
        sequence += (uint32_t)old;
        bytes += old;
        count -= old;
        ahead = 0;
    }
    if (ahead > 0) {
        push_early(w, (uint32_t)ahead, bytes, count);
        return;
    }
    remember(d, sequence, bytes, count);
    take_ordered(w, bytes, count);
    if (d->buffer != NONE_ROW) {
        buffer_unlink(w->t, d->buffer);
        buffer_link(w->t, d->buffer);
    }
}

void order_flush(struct flow *w) {
    struct buffer *b;
    while ((b = held(w)) != NULL && b->range_count) give_up_hole(w);
    if ((b = held(w)) != NULL) {
        stream_abandon(w, b->bytes + b->start, b->end - b->start, 0);
        w->d->buffer = NONE_ROW;
        buffer_release(w->t, (uint32_t)(b - w->t->buffers));
    }
    if (w->d->joined != NONE_ROW) {
        buffer_release(w->t, w->d->joined);
        w->d->joined = NONE_ROW;
        w->d->joining = 0;
    }
}

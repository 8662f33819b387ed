/* What a TCP stream carries: SIP framed by Content-Length (RFC 3261 §18.3), SIP in WebSocket frames (RFC
   7118), HEP packets, TLS, or something else. Looks at every byte once, however the stream is cut into
   segments. */
#include "tcp_flow.h"

#define LINE_LIMIT 8192         /* longest start line */
#define FIRST_LINE_LIMIT 2048   /* bytes without a line end after which a stream is no text protocol */
#define HUNT_LIMIT 65536        /* bytes of a stream joined late that may pass before it is given up */
#define SKIP_LIMIT (16u << 20)  /* a longer message is a wrong length, not a long message */
#define FEED_MORE SIZE_MAX      /* a step that needs bytes which are not there yet */

/* ---- lines ---- */

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 32 : c; }

static int matches_folded(const uint8_t *p, size_t count, const char *name, size_t length) {
    if (count < length) return 0;
    for (size_t i = 0; i < length; i++)
        if (lower(p[i]) != (uint8_t)name[i]) return 0;
    return 1;
}

/* Characters of a method (RFC 3261 §25.1 token). */
static int token_character(uint8_t c) {
    if ((c | 32) >= 'a' && (c | 32) <= 'z') return 1;
    return (c >= '0' && c <= '9') || (c && strchr("-.!%*_+`'~", c));
}

/* A version at the end of a request line: " SIP/2.0". Looks at the last bytes only. */
static int ends_in_version(const uint8_t *line, size_t length, const char *name) {
    while (length && (line[length - 1] == ' ' || line[length - 1] == '\t')) length--;
    const size_t from = length > 16 ? length - 16 : 0;
    for (size_t at = length; at-- > from;)
        if (line[at] == ' ') return matches_folded(line + at + 1, length - at - 1, name, 4);
    return 0;
}

static int is_request(const uint8_t *line, size_t length, const char *version) {
    size_t at = 0;
    while (at < length && at < 32 && token_character(line[at])) at++;
    return at && at < length && line[at] == ' ' && ends_in_version(line + at, length - at, version);
}

/* A request line or a status line (§7.1, §7.2). `length` is without the line end. */
static int is_start_line(const uint8_t *line, size_t length) {
    if (length && line[length - 1] == '\r') length--;
    if (matches_folded(line, length, "sip/", 4)) {
        const uint8_t *space = memchr(line, ' ', length < 16 ? length : 16);
        return space && space + 1 < line + length && space[1] >= '0' && space[1] <= '9';
    }
    return is_request(line, length, "sip/");
}

/* Where in a line a start line begins, SIZE_MAX when it holds none: a body that does not end in a line end
   has the next message's start line right behind it. */
static size_t start_in_line(const uint8_t *line, size_t length) {
    if (is_start_line(line, length)) return 0;
    size_t at = length;
    int spaces = 0;
    if (ends_in_version(line, length && line[length - 1] == '\r' ? length - 1 : length, "sip/")) {
        while (at && spaces < 2) spaces += line[--at] == ' '; /* before the version, before the URI */
        const size_t end = at;
        while (at && end - at < 16 && line[at - 1] >= 'A' && line[at - 1] <= 'Z') at--;
        if (spaces == 2 && end - at >= 3) return at;
    }
    for (const uint8_t *p = line; (p = memchr(p, 'S', length - (size_t)(p - line))) != NULL; p++) {
        const size_t left = length - (size_t)(p - line);
        if (left < 11) break;
        if (!memcmp(p, "SIP/2.0 ", 8) && p[8] >= '1' && p[8] <= '6') return (size_t)(p - line);
    }
    return SIZE_MAX;
}

static int is_http_line(const uint8_t *line, size_t length) {
    if (length && line[length - 1] == '\r') length--;
    return matches_folded(line, length, "http/1.", 7) || is_request(line, length, "http");
}

static const uint8_t *line_end(struct framing *f, const uint8_t *p, size_t count) {
    const uint8_t *end = f->searched < count ? memchr(p + f->searched, '\n', count - f->searched) : NULL;
    f->searched = end ? (uint32_t)(end - p) + 1 : (uint32_t)count;
    return end;
}

static void framing_reset(struct framing *f) {
    memset(f, 0, sizeof *f);
    f->content_length = -1;
}

/* The capture has the stream from the middle on, where anything may stand. */
static int joined_late(const struct direction *d) { return d->late || !d->syn_seen; }

/* ---- SIP ---- */

static void read_length(struct framing *f, const uint8_t *p, size_t count) {
    size_t at = 0;
    while (at < count && (p[at] == ' ' || p[at] == '\t' || p[at] == '\r')) at++;
    f->length_open = at == count; /* the value may be folded onto the next line */
    if (f->length_open) return;
    int64_t value = 0;
    const size_t first = at;
    for (; at < count && p[at] >= '0' && p[at] <= '9'; at++)
        if (value <= UINT32_MAX) value = value * 10 + (p[at] - '0');
    if (at > first) f->content_length = value;
}

static void read_header_line(struct framing *f, const uint8_t *line, size_t count) {
    if (f->length_open) {
        f->length_open = 0;
        if (line[0] == ' ' || line[0] == '\t') read_length(f, line, count);
        f->length_open = 0;
        return;
    }
    size_t at;
    if (f->length_seen) return;
    if (matches_folded(line, count, "content-length", 14)) at = 14;
    else if (lower(line[0]) == 'l') at = 1;
    else return;
    while (at < count && (line[at] == ' ' || line[at] == '\t')) at++;
    if (at == count || line[at] != ':') return;
    f->length_seen = 1;
    read_length(f, line + at + 1, count - at - 1);
}

/* Goes on reading the message at `p`. Returns 1 when its length is known, 0 when more is needed,
   STATUS_MALFORMED when it is no SIP. */
static int frame_headers(struct framing *f, const uint8_t *p, size_t count) {
    if (f->total) return 1;
    for (;;) {
        const uint8_t *end = line_end(f, p, count);
        if (!end) {
            if (!f->started && count > LINE_LIMIT) return STATUS_MALFORMED;
            return 0;
        }
        const uint8_t *line = p + f->line;
        const size_t length = (size_t)(end - line);
        f->line = f->searched;
        if (!f->started) {
            if (length > LINE_LIMIT || !is_start_line(line, length)) return STATUS_MALFORMED;
            f->started = 1;
        } else if (length == 0 || (length == 1 && line[0] == '\r')) {
            const int64_t total = f->searched + (f->content_length > 0 ? f->content_length : 0);
            f->total = total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
            return 1;
        } else read_header_line(f, line, length);
    }
}

static void emit(struct flow *w, const uint8_t *bytes, size_t count, size_t wire, uint8_t transport) {
    struct packet p = w->base;
    p.payload = bytes;
    p.payload_length = (uint32_t)count;
    p.wire_length = wire > UINT32_MAX ? UINT32_MAX : (uint32_t)wire;
    if (count < wire) p.flags |= PACKET_SNAPPED;
    w->sink(w->context, TCP_MESSAGE, &p, transport);
}

/* CRLFs between messages are keep-alives (RFC 5626 §3.5.1): two a ping, one a pong. */
static size_t feed_keepalive(struct flow *w, const uint8_t *p, size_t count) {
    if (p[0] == '\r' && count == 1) return FEED_MORE;
    if (p[0] != '\r' || p[1] != '\n') return 1;
    if (count >= 4 && p[2] == '\r' && p[3] == '\n') {
        flow_event(w, TCP_KEEPALIVE_PING);
        return 4;
    }
    if (count == 3 && p[2] == '\r') return FEED_MORE;
    flow_event(w, TCP_KEEPALIVE_PONG);
    return 2;
}

static void lose_framing(struct flow *w) {
    flow_note(w, PROBLEM_TCP_FRAMING);
    w->d->mode = STREAM_RESYNC;
    framing_reset(&w->d->framing);
}

static size_t feed_sip(struct flow *w, const uint8_t *p, size_t count) {
    struct direction *d = w->d;
    struct framing *f = &d->framing;
    if (p[0] == '\r' || p[0] == '\n') return feed_keepalive(w, p, count);
    const int status = frame_headers(f, p, count);
    if (status < 0) {
        lose_framing(w);
        return 0;
    }
    if (!status) return FEED_MORE;
    const uint32_t total = f->total;
    if (total <= count && total <= BUFFER_BYTES) {
        framing_reset(f);
        emit(w, p, total, total, w->c->transport);
        return total;
    }
    if (total <= BUFFER_BYTES) return FEED_MORE;
    /* Longer than is kept: what is here is worth having; the rest is passed over if that is credible. */
    flow_note(w, PROBLEM_MESSAGE_OVERSIZE);
    const int credible = total <= SKIP_LIMIT;
    const size_t useful = credible ? count : f->searched;
    framing_reset(f);
    if (credible) d->skip = total - useful;
    else d->mode = STREAM_RESYNC;
    emit(w, p, useful, total, w->c->transport);
    return useful;
}

/* Passes over lines until one is a start line. */
static size_t feed_resync(struct flow *w, const uint8_t *p, size_t count) {
    struct direction *d = w->d;
    struct framing *f = &d->framing;
    for (;;) {
        const uint8_t *end = line_end(f, p, count);
        if (!end) break;
        const size_t start = start_in_line(p + f->line, (size_t)(end - p) - f->line);
        if (start != SIZE_MAX) {
            const size_t at = f->line + start;
            framing_reset(f);
            d->mode = STREAM_SIP;
            d->hunted = 0;
            return at;
        }
        f->line = f->searched;
    }
    size_t passed = f->line;
    if (count - passed > FIRST_LINE_LIMIT) passed = count - FIRST_LINE_LIMIT / 4; /* room for a start line */
    f->line = 0;
    f->searched = (uint32_t)(count - passed);
    d->hunted += (uint32_t)passed;
    if (d->hunted > HUNT_LIMIT && joined_late(d) && !w->c->announced) {
        w->c->announced = 1;
        flow_event(w, TCP_OTHER);
        d->mode = STREAM_OTHER;
        return count;
    }
    return passed ? passed : FEED_MORE;
}

/* ---- WebSocket ---- */

/* Hands out the content of one WebSocket message: RFC 7118 §5 puts one SIP message into it. */
static void emit_websocket(struct flow *w, const uint8_t *p, size_t count) {
    while (count && (p[0] == '\r' || p[0] == '\n')) {
        const size_t step = feed_keepalive(w, p, count);
        if (step == FEED_MORE || step > count) return;
        p += step;
        count -= step;
    }
    const size_t limit = count < LINE_LIMIT ? count : LINE_LIMIT;
    const uint8_t *end = limit ? memchr(p, '\n', limit) : NULL;
    if (!end || !is_start_line(p, (size_t)(end - p))) return; /* another protocol's message */
    emit(w, p, count, count, SIP_WS);
}

static void drop_joined(struct flow *w, uint8_t joining) {
    if (w->d->joined != NONE_ROW) buffer_release(w->t, w->d->joined);
    w->d->joined = NONE_ROW;
    w->d->joining = joining;
}

/* A frame of a message in pieces (RFC 6455 §5.4), unmasked behind the ones before. */
static void join_piece(struct flow *w, const uint8_t *p, const struct websocket_frame *frame) {
    struct direction *d = w->d;
    if (frame->opcode) drop_joined(w, 1);
    if (!d->joining) return; /* a continuation of nothing: its beginning is not in the capture */
    if (d->joining == 1 && d->joined == NONE_ROW) {
        struct buffer *b = buffer_lend(w);
        if (b) d->joined = (uint32_t)(b - w->t->buffers);
        else flow_note(w, PROBLEM_TCP_OVERFLOW);
        d->joining = b ? 1 : 2;
    }
    if (d->joining == 1) {
        struct buffer *b = w->t->buffers + d->joined;
        if (frame->length > BUFFER_BYTES - b->end) {
            flow_note(w, PROBLEM_MESSAGE_OVERSIZE);
            drop_joined(w, 2);
        } else {
            const size_t length = (size_t)frame->length;
            if (frame->masked) websocket_unmask(p, length, frame->mask, 0, b->bytes + b->end);
            else memcpy(b->bytes + b->end, p, length);
            b->end += (uint32_t)length;
            if (frame->final) emit_websocket(w, b->bytes, b->end);
        }
    }
    if (frame->final) drop_joined(w, 0);
}

static void take_frame(struct flow *w, const uint8_t *p, const struct websocket_frame *frame) {
    if (frame->opcode >= 8) return; /* close, ping, pong: the connection's own */
    if (frame->opcode == 0 || !frame->final) {
        join_piece(w, p, frame);
        return;
    }
    drop_joined(w, 0);
    const size_t length = (size_t)frame->length;
    if (!frame->masked) {
        emit_websocket(w, p, length);
        return;
    }
    websocket_unmask(p, length, frame->mask, 0, w->t->unmasked);
    emit_websocket(w, w->t->unmasked, length);
}

static size_t feed_websocket(struct flow *w, const uint8_t *p, size_t count) {
    struct websocket_frame frame;
    struct direction *d = w->d;
    const ptrdiff_t header = websocket_header(p, count, &frame);
    if (header == STATUS_INCOMPLETE) return FEED_MORE;
    if (header < 0) {
        drop_joined(w, 0);
        if (p[0] == 'G' || p[0] == 'H') { /* the upgrade was refused and is tried again: GET, HTTP/1.1 */
            d->mode = STREAM_HTTP;
            return 0;
        }
        flow_note(w, PROBLEM_WEBSOCKET_FRAME);
        d->mode = STREAM_HUNT;
        return 0;
    }
    const uint64_t total = (uint64_t)header + frame.length;
    /* Reserved bits belong to extensions: with permessage-deflate (RFC 7692) the bytes are no text. */
    if (frame.reserved || total > BUFFER_BYTES) {
        flow_note(w, frame.reserved ? PROBLEM_WEBSOCKET_FRAME : PROBLEM_MESSAGE_OVERSIZE);
        if (frame.opcode < 8) drop_joined(w, frame.final ? 0 : 2);
        if (total > SKIP_LIMIT) d->mode = STREAM_HUNT;
        else d->skip = total;
        return total > SKIP_LIMIT ? count : 0;
    }
    if (total > count) return FEED_MORE;
    take_frame(w, p + header, &frame);
    return (size_t)total;
}

/* Is this a data frame whose payload begins as SIP does? 1, 0, or -1 when more bytes are needed. */
static int websocket_with_sip(const uint8_t *p, size_t count) {
    struct websocket_frame frame;
    uint8_t text[12];
    if ((p[0] & 0xf0) != 0x80 && p[0] != 1 && p[0] != 2) return 0;
    const ptrdiff_t header = websocket_header(p, count, &frame);
    if (header == STATUS_INCOMPLETE) return -1;
    if (header < 0 || frame.opcode == 0 || frame.opcode > 2 || frame.length < sizeof text) return 0;
    if (count - (size_t)header < sizeof text) return -1;
    if (frame.masked) websocket_unmask(p + header, sizeof text, frame.mask, 0, text);
    else memcpy(text, p + header, sizeof text);
    if (matches_folded(text, sizeof text, "sip/", 4)) return 1;
    size_t at = 0;
    while (at < sizeof text && text[at] >= 'A' && text[at] <= 'Z') at++;
    return at >= 3 && at < sizeof text - 1 && text[at] == ' ';
}

/* The place in a WebSocket stream is lost: the next segment that begins with a frame of SIP has it. */
static size_t feed_hunt(struct flow *w, const uint8_t *p, size_t count) {
    const int found = websocket_with_sip(p, count);
    if (found < 0) return FEED_MORE;
    if (!found) return count;
    w->d->mode = STREAM_WEBSOCKET;
    return 0;
}

/* ---- HTTP: of interest only for what it turns into (RFC 6455 §4) ---- */

static int asks_upgrade(const uint8_t *line, size_t count) {
    if (!matches_folded(line, count, "upgrade", 7)) return 0;
    for (size_t at = 7; at + 9 <= count; at++)
        if (matches_folded(line + at, count - at, "websocket", 9)) return 1;
    return 0;
}

static size_t feed_http(struct flow *w, const uint8_t *p, size_t count) {
    struct direction *d = w->d;
    struct framing *f = &d->framing;
    for (;;) {
        const uint8_t *end = line_end(f, p, count);
        if (!end) return FEED_MORE;
        const uint8_t *line = p + f->line;
        const size_t length = (size_t)(end - line);
        f->line = f->searched;
        if (asks_upgrade(line, length)) f->length_seen = 1;
        if (length > 1 || (length == 1 && line[0] != '\r')) continue;
        const uint32_t total = f->searched;
        const int upgraded = f->length_seen;
        framing_reset(f);
        d->mode = upgraded ? STREAM_WEBSOCKET : STREAM_OTHER;
        if (upgraded) w->c->transport = SIP_WS;
        return total;
    }
}

/* ---- HEP over TCP: packets one behind the other ---- */

static uint8_t hep_transport(uint8_t protocol) {
    switch (protocol) {
    case IP_UDP: return SIP_UDP;
    case IP_TCP: return SIP_TCP;
    case IP_SCTP: return SIP_SCTP;
    default: return SIP_TRANSPORT_NONE;
    }
}

static int hep_prefix(const uint8_t *p, size_t count) {
    const size_t seen = count < 4 ? count : 4;
    return !memcmp(p, "HEP3", seen) || !memcmp(p, "EEP1", seen);
}

static size_t feed_hep(struct flow *w, const uint8_t *p, size_t count) {
    if (!hep_prefix(p, count)) { /* lost: both magics have a P in third place */
        size_t at = 1;
        for (; at < count && !hep_prefix(p + at, count - at); at++) {
            const uint8_t *third = count - at > 2 ? memchr(p + at + 2, 'P', count - at - 2) : NULL;
            const size_t next = third ? (size_t)(third - p) - 2 : count > 3 ? count - 3 : count;
            if (next > at) at = next - 1;
        }
        if (!w->d->hunted) flow_note(w, PROBLEM_HEP_CHUNK);
        w->d->hunted = 1;
        return at;
    }
    if (count < 6) return FEED_MORE;
    const uint16_t total = load_be16(p + 4);
    if (total < 6) {
        flow_note(w, PROBLEM_HEP_CHUNK);
        return 1;
    }
    if (total > count) return FEED_MORE;
    struct packet inner = w->base;
    w->d->hunted = 0;
    inner.flow_tag = 0;
    inner.vlan = 0;
    inner.tcp_flags = 0;
    if (hep_decode(p, total, &inner, w->problems) > 0 && inner.hep_protocol == 1 && inner.payload_length)
        w->sink(w->context, TCP_MESSAGE, &inner, hep_transport(inner.protocol));
    return total;
}

/* ---- what is it? ---- */

/* enum stream_mode of first bytes, STREAM_OTHER when none of them, STREAM_UNKNOWN when more are needed. */
static int classify(struct framing *f, const uint8_t *p, size_t count) {
    if (p[0] >= 0x14 && p[0] <= 0x17) { /* a TLS record (RFC 8446 §5.1) */
        if (count < 3) return STREAM_UNKNOWN;
        return p[1] == 3 && p[2] <= 4 ? STREAM_TLS : STREAM_OTHER;
    }
    if (hep_prefix(p, count)) return count < 4 ? STREAM_UNKNOWN : STREAM_HEP;
    const int framed = websocket_with_sip(p, count);
    if (framed) return framed < 0 ? STREAM_UNKNOWN : STREAM_WEBSOCKET;
    const size_t limit = count < FIRST_LINE_LIMIT ? count : FIRST_LINE_LIMIT;
    const uint32_t from = f->searched;
    const uint8_t *end = line_end(f, p, limit);
    for (size_t at = from; at < f->searched; at++)
        if (p[at] < ' ' && p[at] != '\t' && p[at] != '\r' && p[at] != '\n') return STREAM_OTHER;
    if (!end) return count < FIRST_LINE_LIMIT ? STREAM_UNKNOWN : STREAM_OTHER;
    if (is_start_line(p, (size_t)(end - p))) return STREAM_SIP;
    if (matches_folded(p, count, "proxy tcp", 9)) return STREAM_RESYNC; /* a load balancer's line first */
    return is_http_line(p, (size_t)(end - p)) ? STREAM_HTTP : STREAM_OTHER;
}

static void announce(struct flow *w, enum tcp_event event) {
    if (w->c->announced) return;
    w->c->announced = 1;
    flow_event(w, event);
}

static size_t feed_unknown(struct flow *w, const uint8_t *p, size_t count) {
    struct direction *d = w->d;
    if (p[0] == '\r' || p[0] == '\n') return feed_keepalive(w, p, count);
    const int mode = classify(&d->framing, p, count);
    if (mode == STREAM_UNKNOWN) return FEED_MORE;
    framing_reset(&d->framing);
    d->mode = (uint8_t)mode;
    if (mode == STREAM_TLS) {
        w->c->transport = SIP_TLS;
        announce(w, TCP_TLS);
    } else if (mode == STREAM_WEBSOCKET) w->c->transport = SIP_WS;
    else if (mode == STREAM_OTHER && joined_late(d)) d->mode = STREAM_RESYNC;
    else if (mode == STREAM_OTHER) announce(w, TCP_OTHER);
    return 0;
}

size_t stream_feed(struct flow *w, const uint8_t *bytes, size_t count) {
    struct direction *d = w->d;
    size_t at = 0;
    while (at < count) {
        const uint8_t *p = bytes + at;
        const size_t left = count - at;
        size_t step;
        if (d->skip) {
            step = d->skip < left ? (size_t)d->skip : left;
            d->skip -= step;
            at += step;
            continue;
        }
        switch (d->mode) {
        case STREAM_UNKNOWN: step = feed_unknown(w, p, left); break;
        case STREAM_SIP: step = feed_sip(w, p, left); break;
        case STREAM_RESYNC: step = feed_resync(w, p, left); break;
        case STREAM_HTTP: step = feed_http(w, p, left); break;
        case STREAM_WEBSOCKET: step = feed_websocket(w, p, left); break;
        case STREAM_HUNT: step = feed_hunt(w, p, left); break;
        case STREAM_HEP: step = feed_hep(w, p, left); break;
        default: return count; /* TLS and what is not read */
        }
        if (step == FEED_MORE) break;
        at += step;
    }
    return at;
}

/* ---- bytes that never become whole ---- */

/* Bytes of the unit in front that lie beyond the `count` that are there; 0 when its length is not known. */
static uint64_t still_to_come(const struct direction *d, const uint8_t *p, size_t count) {
    struct websocket_frame frame;
    if (d->mode == STREAM_SIP) return d->framing.total > count ? d->framing.total - count : 0;
    if (d->mode == STREAM_WEBSOCKET && count) {
        const ptrdiff_t header = websocket_header(p, count, &frame);
        if (header > 0 && header + frame.length > count) return header + frame.length - count;
    }
    if (d->mode == STREAM_HEP && count >= 6 && load_be16(p + 4) > count) return load_be16(p + 4) - count;
    return 0;
}

void stream_abandon(struct flow *w, const uint8_t *bytes, size_t count, uint64_t missing) {
    struct direction *d = w->d;
    if (d->mode == STREAM_TLS || d->mode == STREAM_OTHER) return;
    const int passing = d->skip != 0;
    const uint64_t rest = passing ? d->skip : still_to_come(d, bytes, count);
    if (!passing && d->mode == STREAM_SIP && d->framing.started && count)
        emit(w, bytes, count, d->framing.total ? d->framing.total : count + 1, w->c->transport);
    framing_reset(&d->framing);
    if (d->mode == STREAM_WEBSOCKET) drop_joined(w, 2);
    d->skip = 0;
    /* The hole ends inside what was being read: its end is where reading goes on. */
    if (rest && missing <= rest && d->mode != STREAM_UNKNOWN) {
        d->skip = rest - missing;
        return;
    }
    if (d->mode == STREAM_SIP) d->mode = STREAM_RESYNC;
    else if (d->mode == STREAM_WEBSOCKET) d->mode = STREAM_HUNT;
    else if (d->mode == STREAM_HTTP) d->mode = STREAM_UNKNOWN;
    d->late = 1;
}

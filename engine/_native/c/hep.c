/* HEP (also EEP), versions 1 to 3: packets that agents send to a collector. */
#include "hep.h"
#include "octets.h"

#define HEP_CHUNKS 128
#define SECONDS_2000 946684800u
#define SECONDS_2100 4102444800u

enum hep_chunk {
    HEP_FAMILY = 0x01, HEP_PROTOCOL = 0x02, HEP_V4_SOURCE = 0x03, HEP_V4_TARGET = 0x04, HEP_V6_SOURCE = 0x05,
    HEP_V6_TARGET = 0x06, HEP_SOURCE_PORT = 0x07, HEP_TARGET_PORT = 0x08, HEP_SECONDS = 0x09,
    HEP_MICROSECONDS = 0x0a, HEP_KIND = 0x0b, HEP_PAYLOAD = 0x0f, HEP_COMPRESSED = 0x10,
    HEP_CORRELATION = 0x11, HEP_VLAN = 0x12, HEP_TCP_FLAGS = 0x17, HEP_TOS = 0x18
};

static void set_address(struct address *a, const uint8_t *octets, uint8_t family) {
    if (family == 4) {
        memset(a->ip, 0, 10);
        a->ip[10] = a->ip[11] = 0xff;
        memcpy(a->ip + 12, octets, 4);
    } else memcpy(a->ip, octets, 16);
    a->family = family;
    a->kind = address_classify(a->ip, family);
}

/* ---- version 3 ---- */

/* What the chunks said; pointers into the packet, NULL where a chunk is absent. */
struct hep_fields {
    const uint8_t *v4[2], *v6[2], *payload, *correlation;
    uint32_t payload_length, correlation_length, seconds, microseconds;
    uint16_t port[2], vlan;
    uint8_t family, protocol, kind, tcp_flags, tos, has_tos, compressed;
};

/* Bytes a chunk of fixed size must have, 0 where any size goes. */
static uint16_t chunk_size(uint16_t type) {
    switch (type) {
    case HEP_FAMILY: case HEP_PROTOCOL: case HEP_KIND: case HEP_TCP_FLAGS: case HEP_TOS: return 1;
    case HEP_SOURCE_PORT: case HEP_TARGET_PORT: case HEP_VLAN: return 2;
    case HEP_V4_SOURCE: case HEP_V4_TARGET: case HEP_SECONDS: case HEP_MICROSECONDS: return 4;
    case HEP_V6_SOURCE: case HEP_V6_TARGET: return 16;
    default: return 0;
    }
}

static void take_chunk(struct hep_fields *f, uint16_t type, const uint8_t *body, uint16_t length) {
    switch (type) {
    case HEP_FAMILY: f->family = body[0]; break;
    case HEP_PROTOCOL: f->protocol = body[0]; break;
    case HEP_V4_SOURCE: case HEP_V4_TARGET: f->v4[type - HEP_V4_SOURCE] = body; break;
    case HEP_V6_SOURCE: case HEP_V6_TARGET: f->v6[type - HEP_V6_SOURCE] = body; break;
    case HEP_SOURCE_PORT: case HEP_TARGET_PORT: f->port[type - HEP_SOURCE_PORT] = load_be16(body); break;
    case HEP_SECONDS: f->seconds = load_be32(body); break;
    case HEP_MICROSECONDS: f->microseconds = load_be32(body); break;
    case HEP_KIND: f->kind = body[0]; break;
    case HEP_PAYLOAD:
        if (f->payload) break; /* the first one stands */
        f->payload = body;
        f->payload_length = length;
        break;
    case HEP_COMPRESSED: f->compressed = 1; break;
    case HEP_CORRELATION: f->correlation = body; f->correlation_length = length; break;
    case HEP_VLAN: f->vlan = load_be16(body) & 0x0fff; break;
    case HEP_TCP_FLAGS: f->tcp_flags = body[0]; break;
    case HEP_TOS: f->tos = body[0]; f->has_tos = 1; break;
    default: break;
    }
}

/* Returns 0, or STATUS_MALFORMED when the chunks do not add up. */
static int read_chunks(const uint8_t *source, size_t total, struct hep_fields *f, uint64_t offset,
                       struct problems *problems) {
    size_t at = 6;
    for (int chunks = 0; at < total; chunks++) {
        if (chunks == HEP_CHUNKS || total - at < 6) return STATUS_MALFORMED;
        const uint16_t vendor = load_be16(source + at), type = load_be16(source + at + 2);
        const uint16_t length = load_be16(source + at + 4);
        if (length < 6 || length > total - at) return STATUS_MALFORMED;
        if (vendor == 0) {
            const uint16_t body = (uint16_t)(length - 6), size = chunk_size(type);
            if (size && size != body) problem_note(problems, PROBLEM_HEP_CHUNK, offset);
            else take_chunk(f, type, source + at + 6, body);
        }
        at += length;
    }
    return 0;
}

static void fill(struct packet *p, const struct hep_fields *f, const uint8_t *source,
                 struct problems *problems) {
    /* The addresses decide; the family number only where both kinds are there (some agents send their
       system's own number for IPv6). */
    const int has_v4 = f->v4[0] || f->v4[1], has_v6 = f->v6[0] || f->v6[1];
    const int v4 = has_v4 && (!has_v6 || f->family == 2);
    memset(&p->source, 0, sizeof p->source);
    memset(&p->target, 0, sizeof p->target);
    const uint8_t *const *pair = v4 ? f->v4 : f->v6;
    if (pair[0]) set_address(&p->source, pair[0], v4 ? 4 : 6);
    if (pair[1]) set_address(&p->target, pair[1], v4 ? 4 : 6);
    p->source.port = f->port[0];
    p->target.port = f->port[1];
    p->protocol = f->protocol;
    p->hep_protocol = f->kind;
    p->tcp_flags = f->tcp_flags;
    if (f->has_tos) p->dscp = f->tos >> 2;
    if (f->vlan) p->vlan = f->vlan;
    uint32_t microseconds = f->microseconds;
    if (microseconds >= 1000000) {
        problem_note(problems, PROBLEM_HEP_CHUNK, p->file_offset);
        microseconds = 0;
    }
    if (f->seconds) p->time_ns = (int64_t)f->seconds * 1000000000 + (int64_t)microseconds * 1000;
    p->hep_correlation = f->correlation;
    p->hep_correlation_length = f->correlation_length;
    p->payload = f->payload ? f->payload : source;
    p->payload_length = p->wire_length = f->payload ? f->payload_length : 0;
    p->flags |= PACKET_HEP;
    p->tunnels |= TUNNEL_HEP;
}

static ptrdiff_t decode_3(const uint8_t *source, size_t count, struct packet *p, struct problems *problems) {
    struct hep_fields f;
    if (count < 6) return STATUS_INCOMPLETE;
    const uint16_t total = load_be16(source + 4);
    if (total >= 6 && total > count) return STATUS_INCOMPLETE;
    memset(&f, 0, sizeof f);
    if (total < 6 || read_chunks(source, total, &f, p->file_offset, problems) < 0) {
        problem_note(problems, PROBLEM_HEP_CHUNK, p->file_offset);
        return STATUS_MALFORMED;
    }
    fill(p, &f, source, problems);
    if (f.compressed && !f.payload) problem_note(problems, PROBLEM_HEP_COMPRESSED, p->file_offset);
    return total;
}

int64_t hep_time(const uint8_t *source, size_t count, int64_t fallback) {
    uint32_t seconds = 0, microseconds = 0;
    size_t at = 6;
    for (int chunks = 0; chunks < HEP_CHUNKS && count >= 6 && at + 10 <= count; chunks++) {
        const uint16_t length = load_be16(source + at + 4);
        if (length < 6) break;
        const uint32_t chunk = length == 10 ? load_be32(source + at) : 0; /* vendor 0 and the type */
        if (chunk == HEP_SECONDS) seconds = load_be32(source + at + 6);
        if (chunk == HEP_MICROSECONDS) microseconds = load_be32(source + at + 6);
        if (seconds && microseconds) break;
        at += length;
    }
    if (!seconds) return fallback;
    return (int64_t)seconds * 1000000000 + (microseconds < 1000000 ? (int64_t)microseconds * 1000 : 0);
}

/* ---- versions 1 and 2 ---- */

/* Does a SIP message start here? Decides where a version 2 header ends. */
static int text_begins(const uint8_t *p, size_t count) {
    if (count < 4) return 0;
    for (int i = 0; i < 4; i++)
        if (p[i] < 'A' || p[i] > 'z') return i == 3 && (p[3] == '/' || p[3] == ' '); /* SIP/, ACK, BYE */
    return 1;
}

/* The time block of version 2. Writers send it in their own byte order, some padded to twelve bytes. */
static size_t time_block(const uint8_t *block, size_t count, struct packet *p) {
    uint32_t seconds = load_le32(block), microseconds = load_le32(block + 4);
    if (seconds < SECONDS_2000 || seconds > SECONDS_2100 || microseconds >= 1000000) {
        const uint32_t swapped = load_be32(block);
        if (swapped >= SECONDS_2000 && swapped <= SECONDS_2100) {
            seconds = swapped;
            microseconds = load_be32(block + 4);
        }
    }
    if (microseconds >= 1000000) microseconds = 0;
    if (seconds) p->time_ns = (int64_t)seconds * 1000000000 + microseconds * 1000ll;
    if (count < 12 || text_begins(block + 10, count - 10)) return 10;
    return text_begins(block + 12, count - 12) ? 12 : 10;
}

static ptrdiff_t decode_old(const uint8_t *source, size_t count, struct packet *p,
                            struct problems *problems) {
    if (count < 8) return STATUS_INCOMPLETE;
    const int v4 = source[2] == 2;
    size_t at = v4 ? 16 : 40;
    /* The length byte does not count the time block. */
    if (source[1] != at || (!v4 && source[2] != 10 && source[2] != 28 && source[2] != 30)) {
        problem_note(problems, PROBLEM_HEP_CHUNK, p->file_offset);
        return STATUS_MALFORMED;
    }
    if (count < at + (source[0] == 2 ? 10u : 0u)) return STATUS_INCOMPLETE;
    memset(&p->source, 0, sizeof p->source);
    memset(&p->target, 0, sizeof p->target);
    set_address(&p->source, source + 8, v4 ? 4 : 6);
    set_address(&p->target, source + (v4 ? 12 : 24), v4 ? 4 : 6);
    p->source.port = load_be16(source + 4);
    p->target.port = load_be16(source + 6);
    p->protocol = source[3];
    if (source[0] == 2) at += time_block(source + at, count - at, p);
    p->hep_protocol = 1; /* these versions carry SIP only */
    p->payload = source + at;
    p->payload_length = p->wire_length = (uint32_t)(count - at);
    p->flags |= PACKET_HEP;
    p->tunnels |= TUNNEL_HEP;
    return (ptrdiff_t)count;
}

ptrdiff_t hep_decode(const uint8_t *source, size_t count, struct packet *packet, struct problems *problems) {
    if (count == 0) return STATUS_INCOMPLETE;
    if (source[0] == 1 || source[0] == 2) return decode_old(source, count, packet, problems);
    const size_t seen = count < 4 ? count : 4;
    if (!memcmp(source, "HEP3", seen) || !memcmp(source, "EEP1", seen))
        return decode_3(source, count, packet, problems);
    problem_note(problems, PROBLEM_HEP_CHUNK, packet->file_offset);
    return STATUS_MALFORMED;
}

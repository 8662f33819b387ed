/* RTP packets: read and written (RFC 3550 §5.1, 5.3.1; RFC 8285). */
#include "rtp_packet.h"

#include <string.h>

#define VERSION 2
#define DATAGRAM_MAX 65535
#define STUN_HEADER_BYTES 20
#define STUN_COOKIE 0x2112A442u
#define DTLS_RECORD_HEADER_BYTES 13
#define FETCH_AHEAD 8 /* packets: hides a line from memory behind the work on those before it */

#define PROFILE_ONE_BYTE 0xBEDE
#define PROFILE_TWO_BYTE 0x1000
#define PROFILE_TWO_BYTE_MASK 0xFFF0 /* the rest are application bits */

/* Written out: compilers make one load and a byte swap of each. */
TL_INLINE uint16_t load16(const uint8_t *b) { return (uint16_t)(b[0] << 8 | b[1]); }
TL_INLINE uint32_t load32(const uint8_t *b) { return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]; }

TL_INLINE void store16(uint8_t *b, uint32_t value) {
    b[0] = (uint8_t)(value >> 8);
    b[1] = (uint8_t)value;
}

TL_INLINE void store32(uint8_t *b, uint32_t value) {
    store16(b, value >> 16);
    store16(b + 2, value);
}

int rtp_packet_kind(const uint8_t *bytes, uint32_t length) {
    if (length < 4) return RTP_PACKET_OTHER;
    const uint8_t first = bytes[0];
    if (first >= 128 && first <= 191) {
        if (bytes[1] >= 192 && bytes[1] <= 223) return RTP_PACKET_RTCP;
        return length >= RTP_PACKET_HEADER_BYTES ? RTP_PACKET_RTP : RTP_PACKET_OTHER;
    }
    if (first <= 3 && length >= STUN_HEADER_BYTES && load32(bytes + 4) == STUN_COOKIE) return RTP_PACKET_STUN;
    if (first >= 20 && first <= 63 && length >= DTLS_RECORD_HEADER_BYTES) return RTP_PACKET_DTLS;
    return RTP_PACKET_OTHER;
}

/* What is not just 12 bytes and a payload: CSRCs, extension, padding. */
static __attribute__((noinline)) int read_rest(const uint8_t *bytes, uint32_t length, struct rtp_packet *p) {
    const uint8_t first = bytes[0];
    const uint32_t csrc_count = first & 15u;
    uint32_t offset = RTP_PACKET_HEADER_BYTES + csrc_count * 4, padding = 0, extension_length = 0;
    uint16_t profile = 0;
    const uint8_t *extension = NULL;
    if (first >> 6 != VERSION || length > DATAGRAM_MAX || offset > length) return STATUS_MALFORMED;
    if (first & 0x10) {
        if (length - offset < 4) return STATUS_MALFORMED;
        const uint32_t words = load16(bytes + offset + 2);
        profile = load16(bytes + offset);
        offset += 4;
        if (words > RTP_PACKET_EXTENSION_WORDS_MAX || words * 4 > length - offset) return STATUS_MALFORMED;
        extension = bytes + offset;
        extension_length = words * 4;
        offset += extension_length;
    }
    if (first & 0x20) {
        padding = length > offset ? bytes[length - 1] : 0;
        if (padding == 0 || padding > length - offset) return STATUS_MALFORMED;
    }
    p->payload = bytes + offset;
    p->payload_length = (uint16_t)(length - offset - padding);
    p->extension = extension;
    p->extension_profile = profile;
    p->extension_length = (uint16_t)extension_length;
    p->csrc_count = (uint8_t)csrc_count;
    p->padding = (uint8_t)padding;
    return 0;
}

TL_INLINE int read_one(const uint8_t *bytes, uint32_t length, struct rtp_packet *p) {
    if (TL_UNLIKELY(length < RTP_PACKET_HEADER_BYTES)) return STATUS_MALFORMED;
    if (TL_LIKELY(bytes[0] == VERSION << 6 && length <= DATAGRAM_MAX)) {
        p->payload = bytes + RTP_PACKET_HEADER_BYTES;
        p->payload_length = (uint16_t)(length - RTP_PACKET_HEADER_BYTES);
        p->extension = NULL;
        p->extension_profile = p->extension_length = 0;
        p->csrc_count = p->padding = 0;
    } else if (read_rest(bytes, length, p)) {
        return STATUS_MALFORMED;
    }
    p->marker = bytes[1] >> 7;
    p->payload_type = bytes[1] & 0x7f;
    p->sequence = load16(bytes + 2);
    p->timestamp = load32(bytes + 4);
    p->ssrc = load32(bytes + 8);
    return 0;
}

int rtp_packet_read(const uint8_t *bytes, uint32_t length, struct rtp_packet *packet) { return read_one(bytes, length, packet); }

uint32_t rtp_packet_read_batch(const uint8_t *const *bytes, const uint32_t *lengths, uint32_t count, struct rtp_packet *packets, int8_t *status) {
    uint32_t good = 0;
    for (uint32_t i = 0; i < count && i < FETCH_AHEAD; i++) __builtin_prefetch(bytes[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (i + FETCH_AHEAD < count) __builtin_prefetch(bytes[i + FETCH_AHEAD]);
        const int found = read_one(bytes[i], lengths[i], &packets[i]);
        status[i] = (int8_t)found;
        good += found == 0;
    }
    return good;
}

/* ---- header extensions ---- */

/* RFC 8285 §4.2: four bits of id, four of length less one. Id 0 is a byte of padding and has no length; 15 ends the extension. */
static const uint8_t *find_one_byte(const uint8_t *at, const uint8_t *end, uint8_t id, uint32_t *length) {
    while (at < end) {
        const uint32_t head = *at++, found = head >> 4, size = (head & 15) + 1;
        if (head == 0) continue;
        if (found == 0 || found == 15 || size > (size_t)(end - at)) return NULL;
        if (found == id) {
            *length = size;
            return at;
        }
        at += size;
    }
    return NULL;
}

/* RFC 8285 §4.3: a byte of id, a byte of length. Id 0 is a byte of padding without a length. */
static const uint8_t *find_two_byte(const uint8_t *at, const uint8_t *end, uint8_t id, uint32_t *length) {
    while (at < end) {
        const uint32_t found = *at++;
        if (found == 0) continue;
        if (at == end) return NULL;
        const uint32_t size = *at++;
        if (size > (size_t)(end - at)) return NULL;
        if (found == id) {
            *length = size;
            return at;
        }
        at += size;
    }
    return NULL;
}

const uint8_t *rtp_packet_extension(const struct rtp_packet *packet, uint8_t id, uint32_t *length) {
    *length = 0;
    if (!packet->extension || id == 0) return NULL;
    const uint8_t *begin = packet->extension, *end = begin + packet->extension_length;
    if (packet->extension_profile == PROFILE_ONE_BYTE) return id < 15 ? find_one_byte(begin, end, id, length) : NULL;
    if ((packet->extension_profile & PROFILE_TWO_BYTE_MASK) == PROFILE_TWO_BYTE) return find_two_byte(begin, end, id, length);
    return NULL;
}

/* ---- writing ---- */

int rtp_packet_write(const struct rtp_packet *p, const uint32_t *csrc, uint8_t *bytes, uint32_t room) {
    const uint32_t extension_length = p->extension ? p->extension_length : 0;
    if (p->csrc_count > RTP_PACKET_CSRC_MAX || p->payload_type > 127 || p->marker > 1) return STATUS_MALFORMED;
    if (extension_length % 4 || extension_length > RTP_PACKET_EXTENSION_WORDS_MAX * 4) return STATUS_MALFORMED;
    if ((p->csrc_count && !csrc) || (p->payload_length && !p->payload)) return STATUS_MALFORMED;
    const uint32_t head = RTP_PACKET_HEADER_BYTES + p->csrc_count * 4u + (p->extension ? 4 + extension_length : 0);
    const uint32_t total = head + p->payload_length + p->padding;
    if (total > DATAGRAM_MAX) return STATUS_MALFORMED;
    if (total > room) return STATUS_TOO_SMALL;
    if (p->payload_length) memmove(bytes + head, p->payload, p->payload_length); /* first, in case it lies where the head will be */
    rtp_packet_head(bytes, p->payload_type, p->marker, p->sequence, p->timestamp, p->ssrc);
    bytes[0] |= (uint8_t)((p->padding ? 0x20 : 0) | (p->extension ? 0x10 : 0) | p->csrc_count);
    uint8_t *at = bytes + RTP_PACKET_HEADER_BYTES;
    for (uint32_t i = 0; i < p->csrc_count; i++, at += 4) store32(at, csrc[i]);
    if (p->extension) {
        store16(at, p->extension_profile);
        store16(at + 2, extension_length / 4);
        if (extension_length) memcpy(at + 4, p->extension, extension_length);
    }
    if (p->padding) {
        memset(bytes + head + p->payload_length, 0, p->padding);
        bytes[total - 1] = p->padding;
    }
    return (int)total;
}

void rtp_packet_head_batch(uint8_t *const *bytes, uint32_t count, uint8_t payload_type, uint16_t sequence, uint32_t timestamp, uint32_t step, uint32_t ssrc) {
    for (uint32_t i = 0; i < count; i++) {
        if (i + FETCH_AHEAD < count) __builtin_prefetch(bytes[i + FETCH_AHEAD], 1);
        rtp_packet_head(bytes[i], payload_type, 0, (uint16_t)(sequence + i), timestamp + i * step, ssrc);
    }
}

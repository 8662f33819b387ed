/* RTP packets on the wire (RFC 3550 §5.1, 5.3.1; extensions RFC 8285), one by one and in batches. Nothing is copied: a
   packet that was read points into the caller's bytes. */
#ifndef TRUNKLINE_RTP_PACKET_H
#define TRUNKLINE_RTP_PACKET_H

#include "status.h"

#define RTP_PACKET_HEADER_BYTES 12
#define RTP_PACKET_CSRC_MAX 15
#define RTP_PACKET_EXTENSION_WORDS_MAX 256

struct rtp_packet {
    const uint8_t *payload;
    const uint8_t *extension;      /* behind its 4-byte head; NULL: none */
    uint32_t timestamp, ssrc;
    uint16_t sequence;
    uint16_t payload_length;       /* without padding */
    uint16_t extension_profile, extension_length;
    uint8_t payload_type, marker, csrc_count, padding;
};

/* What the first bytes of a datagram on an RTP port are (RFC 7983 §7, RFC 5761 §4). RTP and RTCP by the first two bytes and their least length (12 and 4),
   STUN with its magic cookie (RFC 8489 §5), DTLS with a whole record header. What is RTP by this may still be refused by rtp_packet_read. */
enum rtp_packet_kind { RTP_PACKET_OTHER = 0, RTP_PACKET_RTP, RTP_PACKET_RTCP, RTP_PACKET_STUN, RTP_PACKET_DTLS };
int rtp_packet_kind(const uint8_t *bytes, uint32_t length);

/* 0, or STATUS_MALFORMED: too short or longer than a datagram, another version, CSRCs, extension or padding that do not fit, more extension words
   than RTP_PACKET_EXTENSION_WORDS_MAX. `packet` is written only when it is 0. */
int rtp_packet_read(const uint8_t *bytes, uint32_t length, struct rtp_packet *packet);

/* Reads `count` datagrams; status[i] is what rtp_packet_read says of each. Returns how many are packets. Bytes of packets ahead are fetched early. */
uint32_t rtp_packet_read_batch(const uint8_t *const *bytes, const uint32_t *lengths, uint32_t count, struct rtp_packet *packets, int8_t *status);

/* One element of a header extension by its id (RFC 8285 §4.2: 1..14; §4.3: 1..255); NULL with *length 0 where there is none. An element of the two-byte form
   may be there with no bytes: then it is not NULL. Malformed elements end the search, as do id 15 and padding with a length in the one-byte form. */
const uint8_t *rtp_packet_extension(const struct rtp_packet *packet, uint8_t id, uint32_t *length);

/* Writes the 12 bytes of a header without CSRC and extension. `bytes` has room for them. */
TL_INLINE void rtp_packet_head(uint8_t *bytes, uint8_t payload_type, int marker, uint16_t sequence, uint32_t timestamp, uint32_t ssrc) {
    bytes[0] = 0x80;
    bytes[1] = (uint8_t)((marker ? 0x80 : 0) | (payload_type & 0x7f));
    bytes[2] = (uint8_t)(sequence >> 8);
    bytes[3] = (uint8_t)sequence;
    for (int i = 0; i < 4; i++) {
        bytes[4 + i] = (uint8_t)(timestamp >> (24 - 8 * i));
        bytes[8 + i] = (uint8_t)(ssrc >> (24 - 8 * i));
    }
}

/* Writes a whole packet with CSRCs (in `packet->csrc_count` words of `csrc`), extension and padding as `packet` says. Returns its length,
   or STATUS_TOO_SMALL, or STATUS_MALFORMED for numbers that no packet can have. The payload may lie in `bytes` already, in its place or elsewhere;
   the extension may not. */
int rtp_packet_write(const struct rtp_packet *packet, const uint32_t *csrc, uint8_t *bytes, uint32_t room);

/* Writes the heads of `count` packets of one batch, each into its own bytes: sequence and timestamp go on by 1 and `step`. */
void rtp_packet_head_batch(uint8_t *const *bytes, uint32_t count, uint8_t payload_type, uint16_t sequence, uint32_t timestamp, uint32_t step, uint32_t ssrc);

#endif

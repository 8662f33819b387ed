/* WebSocket frames (RFC 6455 §5.2). */
#include "octets.h"
#include "packet.h"

ptrdiff_t websocket_header(const uint8_t *source, size_t count, struct websocket_frame *frame) {
    memset(frame, 0, sizeof *frame);
    if (count < 2) return STATUS_INCOMPLETE;
    frame->final = source[0] >> 7;
    frame->reserved = source[0] >> 4 & 7;
    frame->opcode = source[0] & 15;
    frame->masked = source[1] >> 7;
    frame->length = source[1] & 127;
    if (frame->opcode > 10 || (frame->opcode > 2 && frame->opcode < 8)) return STATUS_MALFORMED;
    /* §5.5: a control frame is never in pieces and has at most 125 bytes. */
    if (frame->opcode >= 8 && (!frame->final || frame->length > 125)) return STATUS_MALFORMED;
    size_t at = 2;
    if (frame->length == 126) {
        if (count < 4) return STATUS_INCOMPLETE;
        frame->length = load_be16(source + 2);
        at = 4;
    } else if (frame->length == 127) {
        if (count < 10) return STATUS_INCOMPLETE;
        frame->length = load_u64(source + 2, 1);
        if (frame->length >> 63) return STATUS_MALFORMED;
        at = 10;
    }
    if (frame->masked) {
        if (count < at + 4) return STATUS_INCOMPLETE;
        memcpy(frame->mask, source + at, 4);
        at += 4;
    }
    frame->header_length = (uint32_t)at;
    return (ptrdiff_t)at;
}

void websocket_unmask(const uint8_t *source, size_t count, const uint8_t mask[4], uint64_t position,
                      uint8_t *target) {
    uint8_t turned[8];
    for (unsigned i = 0; i < 8; i++) turned[i] = mask[(position + i) & 3];
    uint64_t wide;
    memcpy(&wide, turned, 8);
    size_t at = 0;
    for (; count - at >= 8; at += 8) { /* target may be source */
        uint64_t word;
        memcpy(&word, source + at, 8);
        word ^= wide;
        memcpy(target + at, &word, 8);
    }
    for (; at < count; at++) target[at] = source[at] ^ turned[at & 7];
}

/* Packets of a stream, as they are on the wire, as frames of a capture file. Addresses of Ethernet are made up; the checksum of UDP is left out over IPv4, where it may
   be (RFC 768), and counted over IPv6, where it must be there (RFC 8200 §8.1). */
#include <string.h>

#include "plane.h"

#define ETHERNET 14
#define UDP 8

static void put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t sum16(const uint8_t *bytes, uint32_t length, uint32_t sum) {
    for (; length > 1; bytes += 2, length -= 2) sum += (uint32_t)bytes[0] << 8 | bytes[1];
    if (length) sum += (uint32_t)bytes[0] << 8;
    return sum;
}

static uint32_t folded(uint32_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static void head_of_four(uint8_t *ip, const struct sockaddr_in *from, const struct sockaddr_in *to, uint32_t udp_length) {
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, 20 + udp_length);
    ip[6] = 0x40; /* not to be fragmented */
    ip[8] = 64;
    ip[9] = 17;
    memcpy(ip + 12, &from->sin_addr, 4);
    memcpy(ip + 16, &to->sin_addr, 4);
    put16(ip + 10, folded(sum16(ip, 20, 0)));
}

static void head_of_six(uint8_t *ip, const struct sockaddr_in6 *from, const struct sockaddr_in6 *to, uint32_t udp_length) {
    memset(ip, 0, 8);
    ip[0] = 0x60;
    put16(ip + 4, udp_length);
    ip[6] = 17;
    ip[7] = 64;
    memcpy(ip + 8, &from->sin6_addr, 16);
    memcpy(ip + 24, &to->sin6_addr, 16);
}

static struct writer_block *room_for(struct plane *p, struct plane_stream *s, uint32_t size, int64_t now_ns) {
    struct plane_track *t = &s->capture;
    if (t->block && t->block->used + size > WRITER_BLOCK_BYTES) plane_flush_block(p, t);
    if (t->block) return t->block;
    struct writer_block *b = p->writer ? writer_take(p->writer) : NULL;
    if (!b) {
        t->missed_samples++; /* packets, of a capture */
        return NULL;
    }
    b->recording = t->recording;
    b->generation = t->generation;
    b->track = t->track;
    b->kind = WRITER_PACKETS;
    b->used = 0;
    b->samples = 0;
    b->position = 0;
    t->block_since_ns = now_ns;
    return t->block = b;
}

void plane_capture(struct plane *p, struct plane_stream *s, const struct sockaddr_storage *from, const struct sockaddr_storage *to, const uint8_t *bytes,
                   uint32_t length, int64_t now_ns) {
    int six = from->ss_family == AF_INET6;
    if (from->ss_family != to->ss_family || (!six && from->ss_family != AF_INET)) return;
    uint32_t ip_head = six ? 40 : 20, frame = ETHERNET + ip_head + UDP + length, size = 8 + 2 + 1 + frame;
    if (size > WRITER_BLOCK_BYTES) return;
    struct writer_block *b = room_for(p, s, size, now_ns);
    if (!b) return;
    uint8_t *at = b->bytes + b->used;
    int64_t wall_ns = now_ns + p->wall_offset_ns;
    uint16_t frame_length = (uint16_t)frame;
    memcpy(at, &wall_ns, 8);
    memcpy(at + 8, &frame_length, 2);
    at[10] = 0;
    uint8_t *ethernet = at + 11, *ip = ethernet + ETHERNET, *udp = ip + ip_head;
    memset(ethernet, 0, 12);
    ethernet[0] = ethernet[6] = 0x02; /* of this place's own (IEEE 802 local) */
    put16(ethernet + 12, six ? 0x86dd : 0x0800);
    if (six) head_of_six(ip, (const struct sockaddr_in6 *)from, (const struct sockaddr_in6 *)to, UDP + length);
    else head_of_four(ip, (const struct sockaddr_in *)from, (const struct sockaddr_in *)to, UDP + length);
    memcpy(udp, six ? (const void *)&((const struct sockaddr_in6 *)from)->sin6_port : (const void *)&((const struct sockaddr_in *)from)->sin_port, 2);
    memcpy(udp + 2, six ? (const void *)&((const struct sockaddr_in6 *)to)->sin6_port : (const void *)&((const struct sockaddr_in *)to)->sin_port, 2);
    put16(udp + 4, UDP + length);
    put16(udp + 6, 0);
    memcpy(udp + UDP, bytes, length);
    if (six) {
        uint32_t sum = folded(sum16(udp, UDP + length, sum16(ip + 8, 32, UDP + length + 17)));
        put16(udp + 6, sum ? sum : 0xffff);
    }
    b->used += (uint16_t)size;
    s->capture.written_samples++;
}

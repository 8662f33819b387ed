/* The walk through a packet's layers: a cursor, and what a layer's reader answers. */
#ifndef TRUNKLINE_LAYERS_H
#define TRUNKLINE_LAYERS_H

#include "octets.h"
#include "packet.h"

#define LAYER_MORE 1          /* a layer was taken off: `kind` says what comes next */
#define LAYER_DEPTH 12        /* tags, label stacks and tunnels one packet may nest */
#define LAYER_EXTENSIONS 32   /* IPv6 extension headers one packet may chain */

enum layer_kind { LAYER_ETHERNET, LAYER_ETHERTYPE, LAYER_IP, LAYER_PPP, LAYER_TRANSPORT, LAYER_MPLS,
                  LAYER_HEP };

struct layer {
    const uint8_t *at;
    size_t left;              /* bytes that are there */
    size_t wire;              /* bytes the packet had, >= left */
    struct packet *packet;
    struct problems *problems;
    uint16_t type;            /* Ethertype or IP protocol, for LAYER_ETHERTYPE and LAYER_TRANSPORT */
    uint8_t kind;             /* enum layer_kind */
    uint8_t depth, extensions;
    uint8_t quoted;           /* inside an ICMP error: cut on purpose */
};

TL_INLINE void layer_skip(struct layer *l, size_t count) {
    l->at += count;
    l->left -= count;
    l->wire -= count;
}

/* Keeps `wire` bytes of what follows: the rest is padding or a trailer. */
TL_INLINE void layer_clip(struct layer *l, size_t wire) {
    if (wire < l->wire) l->wire = wire;
    if (l->left > l->wire) l->left = l->wire;
}

TL_INLINE int layer_next(struct layer *l, enum layer_kind kind, uint16_t type) {
    l->kind = (uint8_t)kind;
    l->type = type;
    return LAYER_MORE;
}

/* The header does not fit: cut by the snap length, or impossible. */
int layer_short(struct layer *l, size_t need, enum problem problem);
/* One more encapsulation: LAYER_MORE, or STATUS_MALFORMED when there are too many. */
int layer_deeper(struct layer *l, unsigned tunnel);
/* What is left is the transport payload. */
int layer_finish(struct layer *l);
/* Takes layers off until the transport payload is reached. */
int layer_walk(struct layer *l);

/* Mixes an id that is the same in both directions (VLAN, VNI, VSID, PPPoE session) into the packet's tag.
   Labels, TEIDs and L2TP sessions differ by direction and would part the two halves of a dialog. */
TL_INLINE void layer_tag(struct layer *l, unsigned tunnel, uint32_t id) {
    uint64_t tag = l->packet->flow_tag ^ ((uint64_t)tunnel << 32 | id);
    tag *= 0x9e3779b97f4a7c15ull;
    l->packet->flow_tag = tag ^ tag >> 29;
}

/* Readers of link_tunnels.c. */
int layer_gre(struct layer *l);
int layer_mpls(struct layer *l);
int layer_ppp(struct layer *l);
int layer_pppoe(struct layer *l);
int layer_nsh(struct layer *l);
/* LAYER_MORE when the datagram to `target` is a tunnel's, 0 when it is a plain payload. */
int layer_udp_tunnel(struct layer *l, uint16_t source_port, uint16_t target_port);

/* Decodes what follows an IP header that was read earlier (a reassembled datagram). */
int link_decode_transport(uint8_t protocol, const uint8_t *source, size_t count, struct packet *packet,
                          struct problems *problems);

#endif

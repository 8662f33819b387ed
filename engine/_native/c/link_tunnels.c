/* Tunnels: GRE and ERSPAN, MPLS, PPP, NSH, and what runs over UDP. A UDP tunnel is believed only when its
   header reads as one, because media and SIP may use any of these ports. */
#include "layers.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define MPLS_LABELS 64

/* ---- PPP ---- */

int layer_ppp(struct layer *l) {
    if (l->left >= 2 && l->at[0] == 0xff && l->at[1] == 0x03) layer_skip(l, 2); /* address and control */
    if (l->left < 2) return layer_short(l, 2, PROBLEM_NETWORK_HEADER);
    /* RFC 1661 §6.5: an odd first byte is a compressed protocol field. */
    const int compressed = l->at[0] & 1;
    const uint16_t protocol = compressed ? l->at[0] : load_be16(l->at);
    layer_skip(l, compressed ? 1 : 2);
    switch (protocol) {
    case 0x0021: case 0x0057: return layer_next(l, LAYER_IP, 0);
    case 0x0281: case 0x0283: return layer_next(l, LAYER_MPLS, 0);
    default: return STATUS_UNSUPPORTED;
    }
}

int layer_pppoe(struct layer *l) {
    if (l->left < 6) return layer_short(l, 6, PROBLEM_NETWORK_HEADER);
    if (layer_deeper(l, TUNNEL_PPPOE) < 0) return STATUS_MALFORMED;
    if (l->at[0] != 0x11 || l->at[1] != 0) return STATUS_UNSUPPORTED; /* discovery (RFC 2516 §5) */
    const uint16_t length = load_be16(l->at + 4);
    layer_tag(l, TUNNEL_PPPOE, load_be16(l->at + 2));
    layer_skip(l, 6);
    layer_clip(l, length);
    return layer_next(l, LAYER_PPP, 0);
}

/* ---- MPLS ---- */

static int frame_type_known(const struct layer *l, size_t skip) {
    if (l->left < skip + 14) return 0;
    switch (load_be16(l->at + skip + 12)) {
    case ETHERTYPE_IPV4: case ETHERTYPE_IPV6: case 0x8100: case 0x88a8: case 0x9100: case 0x8847: case 0x8864:
    case 0x0806: return 1;
    default: return 0;
    }
}

static int ipv4_believable(const struct layer *l) {
    if (l->left < 20 || (l->at[0] & 15) < 5) return 0;
    return load_be16(l->at + 2) >= 20 && load_be16(l->at + 2) <= l->wire;
}

/* The label stack does not say what it carries: the first nibble does (RFC 4385 §3, RFC 4928), unless a frame
   without control word begins with a MAC address that looks like it. */
int layer_mpls(struct layer *l) {
    int last = 0;
    if (layer_deeper(l, TUNNEL_MPLS) < 0) return STATUS_MALFORMED;
    for (int labels = 0; !last; labels++) {
        if (labels == MPLS_LABELS) {
            problem_note(l->problems, PROBLEM_ENCAPSULATION_DEPTH, l->packet->file_offset);
            return STATUS_MALFORMED;
        }
        if (l->left < 4) return layer_short(l, 4, PROBLEM_NETWORK_HEADER);
        last = l->at[2] & 1;
        layer_skip(l, 4);
    }
    if (l->left < 1) return layer_short(l, 20, PROBLEM_NETWORK_HEADER);
    const uint8_t nibble = l->at[0] >> 4;
    if (nibble == 4 && (ipv4_believable(l) || !frame_type_known(l, 0))) return layer_next(l, LAYER_IP, 0);
    if (nibble == 6 && !(l->left >= 40 && load_be16(l->at + 4) + 40u > l->wire && frame_type_known(l, 0)))
        return layer_next(l, LAYER_IP, 0);
    if (nibble == 0 && frame_type_known(l, 4) && !frame_type_known(l, 0)) layer_skip(l, 4); /* control word */
    else if (nibble == 1 && !frame_type_known(l, 0)) return STATUS_UNSUPPORTED;              /* RFC 4385 §5 */
    return layer_next(l, LAYER_ETHERNET, 0);
}

/* ---- GRE ---- */

/* ERSPAN II and III headers in front of the mirrored frame; type I has none. */
static int erspan(struct layer *l, uint16_t protocol, int sequenced) {
    size_t size = 0;
    int bare_ip = 0;
    if (protocol == 0x88be && sequenced) size = 8;
    if (protocol == 0x22eb) {
        if (l->left < 12) return layer_short(l, 12, PROBLEM_NETWORK_HEADER);
        const uint16_t tail = load_be16(l->at + 10);
        size = tail & 1 ? 20 : 12; /* O: a platform's subheader */
        bare_ip = (tail >> 10 & 31) == 2;
    }
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    l->packet->tunnels |= TUNNEL_ERSPAN;
    layer_skip(l, size);
    return bare_ip ? layer_next(l, LAYER_IP, 0) : layer_next(l, LAYER_ETHERNET, 0);
}

/* RFC 2784 with RFC 2890's key and sequence, and version 1 as PPTP uses it (RFC 2637 §4.1). */
int layer_gre(struct layer *l) {
    if (l->left < 4) return layer_short(l, 4, PROBLEM_NETWORK_HEADER);
    if (layer_deeper(l, TUNNEL_GRE) < 0) return STATUS_MALFORMED;
    const uint16_t flags = load_be16(l->at), protocol = load_be16(l->at + 2);
    const int version = flags & 7, keyed = flags >> 13 & 1, sequenced = flags >> 12 & 1;
    if (version > 1 || (flags & 0x4000)) return STATUS_UNSUPPORTED; /* source routing: RFC 1701 only */
    const size_t before_key = 4u + (flags & 0x8000 ? 4u : 0u);
    const size_t size = before_key + (keyed ? 4u : 0u) + (sequenced ? 4u : 0u) +
                        (version == 1 && (flags & 0x80) ? 4u : 0u);
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    if (protocol == 0x6558 && keyed) layer_tag(l, TUNNEL_GRE, load_be32(l->at + before_key) >> 8); /* VSID */
    layer_skip(l, size);
    if (protocol == 0x88be || protocol == 0x22eb) return erspan(l, protocol, sequenced);
    if (version == 1 && l->left == 0) return STATUS_UNSUPPORTED; /* an acknowledgement alone */
    return layer_next(l, LAYER_ETHERTYPE, protocol);
}

/* ---- over UDP ---- */

/* RFC 8300: the service path is of no interest, only what follows. */
int layer_nsh(struct layer *l) {
    if (l->left < 8) return layer_short(l, 8, PROBLEM_NETWORK_HEADER);
    const size_t size = (l->at[1] & 0x3f) * 4u;
    const uint8_t next = l->at[3];
    if (size < 8) {
        problem_note(l->problems, PROBLEM_NETWORK_HEADER, l->packet->file_offset);
        return STATUS_MALFORMED;
    }
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    if (layer_deeper(l, TUNNEL_VXLAN) < 0) return STATUS_MALFORMED;
    layer_skip(l, size);
    if (next == 1 || next == 2) return layer_next(l, LAYER_IP, 0);
    if (next == 3) return layer_next(l, LAYER_ETHERNET, 0);
    return next == 5 ? layer_next(l, LAYER_MPLS, 0) : STATUS_UNSUPPORTED;
}

/* RFC 7348, with the policy bit of VXLAN-GBP allowed. */
static int vxlan(struct layer *l) {
    const uint8_t *h = l->at;
    if (l->left < 8 + 14 || (h[0] & 0x7f) != 0x08 || h[7]) return 0;
    if (layer_deeper(l, TUNNEL_VXLAN) < 0) return STATUS_MALFORMED;
    layer_tag(l, TUNNEL_VXLAN, load_be32(h + 4) >> 8);
    layer_skip(l, 8);
    return layer_next(l, LAYER_ETHERNET, 0);
}

static int vxlan_gpe(struct layer *l) {
    const uint8_t *h = l->at;
    if (l->left < 8 || (h[0] & 0xcc) != 0x0c || h[3] < 1 || h[3] > 4) return vxlan(l);
    if (layer_deeper(l, TUNNEL_VXLAN) < 0) return STATUS_MALFORMED;
    layer_tag(l, TUNNEL_VXLAN, load_be32(h + 4) >> 8);
    layer_skip(l, 8);
    if (h[3] == 3) return layer_next(l, LAYER_ETHERNET, 0);
    return h[3] == 4 ? layer_nsh(l) : layer_next(l, LAYER_IP, 0);
}

/* RFC 8926 §3.4. */
static int geneve(struct layer *l) {
    const uint8_t *h = l->at;
    if (l->left < 8 || (h[0] & 0xc0) || (h[1] & 0x3f) || h[7]) return 0;
    const size_t size = 8 + (h[0] & 0x3f) * 4u;
    const uint16_t protocol = load_be16(h + 2);
    if (protocol != 0x6558 && protocol != ETHERTYPE_IPV4 && protocol != ETHERTYPE_IPV6) return 0;
    if (layer_deeper(l, TUNNEL_GENEVE) < 0) return STATUS_MALFORMED;
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    layer_tag(l, TUNNEL_GENEVE, load_be32(h + 4) >> 8);
    layer_skip(l, size);
    return layer_next(l, LAYER_ETHERTYPE, protocol);
}

/* GTP-U (3GPP TS 29.281 §5): G-PDUs carry a user's IP packet. Any of the flags E, S, PN adds the same four
   bytes; with E a chain of extension headers follows, each with its length in words and the next one's
   type last. */
static int gtp(struct layer *l) {
    const uint8_t *h = l->at;
    if (l->left < 8 || (h[0] & 0xf0) != 0x30 || h[1] != 255) return 0;
    const uint16_t length = load_be16(h + 2);
    if (layer_deeper(l, TUNNEL_GTP) < 0) return STATUS_MALFORMED;
    layer_skip(l, 8);
    layer_clip(l, length);
    if (h[0] & 7) {
        if (l->left < 4) return layer_short(l, 4, PROBLEM_NETWORK_HEADER);
        uint8_t next = h[0] & 4 ? l->at[3] : 0;
        layer_skip(l, 4);
        while (next) { /* each step takes at least four bytes */
            if (l->left < 4) return layer_short(l, 4, PROBLEM_NETWORK_HEADER);
            const size_t size = l->at[0] * 4u;
            if (size == 0) {
                problem_note(l->problems, PROBLEM_NETWORK_HEADER, l->packet->file_offset);
                return STATUS_MALFORMED;
            }
            if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
            next = l->at[size - 1];
            layer_skip(l, size);
        }
    }
    if (l->left && l->at[0] >> 4 != 4 && l->at[0] >> 4 != 6) return STATUS_UNSUPPORTED; /* non-IP user data */
    return layer_next(l, LAYER_IP, 0);
}

/* TZSP: four bytes, then tags up to the end tag (1); padding (0) has no length. */
static int tzsp(struct layer *l) {
    const uint8_t *h = l->at;
    if (l->left < 5 || h[0] != 1 || h[1] > 1 || load_be16(h + 2) != 1) return 0; /* Ethernet packets only */
    size_t at = 4;
    while (at < l->left && h[at] != 1) at += h[at] == 0 ? 1 : at + 1 < l->left ? 2u + h[at + 1] : 2u;
    if (at >= l->left) return 0;
    if (layer_deeper(l, TUNNEL_TZSP) < 0) return STATUS_MALFORMED;
    layer_skip(l, at + 1);
    return layer_next(l, LAYER_ETHERNET, 0);
}

/* L2TP data messages (RFC 2661 §3.1): length, sequence numbers and offset are optional. */
static int l2tp(struct layer *l) {
    const uint8_t *h = l->at;
    if (l->left < 6 || (h[0] & 0xb4) || h[1] != 2) return 0;
    size_t size = 6u + (h[0] & 0x40 ? 2u : 0u) + (h[0] & 0x08 ? 4u : 0u);
    if (h[0] & 0x02) {
        if (l->left < size + 2) return layer_short(l, size + 2, PROBLEM_NETWORK_HEADER);
        size += 2u + load_be16(h + size);
    }
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    if (layer_deeper(l, TUNNEL_L2TP) < 0) return STATUS_MALFORMED;
    if ((h[0] & 0x40) && load_be16(h + 2) >= size) layer_clip(l, load_be16(h + 2));
    layer_skip(l, size);
    return layer_next(l, LAYER_PPP, 0);
}

/* HEP 3 by its magic on any port, HEP 1 and 2 by version, header length and family on HEP's port. */
static int hep_begins(const struct layer *l, int on_port) {
    const uint8_t *h = l->at;
    if (l->left < 6) return 0;
    if (!memcmp(h, "HEP3", 4) || !memcmp(h, "EEP1", 4)) return 1;
    return on_port && (h[0] == 1 || h[0] == 2) && ((h[1] == 16 && h[2] == 2) || (h[1] == 40 && h[2] != 2));
}

int layer_udp_tunnel(struct layer *l, uint16_t source_port, uint16_t target_port) {
    if (hep_begins(l, source_port == 9060 || target_port == 9060)) return layer_next(l, LAYER_HEP, 0);
    switch (target_port) {
    case 4789: case 8472: return vxlan(l);
    case 4790: return vxlan_gpe(l);
    case 6081: return geneve(l);
    case 37008: return tzsp(l);
    default: break;
    }
    if (target_port == 2152 || source_port == 2152) return gtp(l);
    if (target_port == 1701 || source_port == 1701) return l2tp(l);
    return 0;
}

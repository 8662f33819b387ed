/* A captured frame down to its transport payload: links, IP, transport (tunnels: link_tunnels.c). */
#include "layers.h"

#define LINK_HEP 65535
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd

/* ---- addresses ---- */

/* Class by first octet where it alone decides; 0 asks address_classify. */
static const uint8_t first_octet[256] = {
    [1 ... 9] = ADDRESS_PUBLIC, [10] = ADDRESS_PRIVATE, [11 ... 99] = ADDRESS_PUBLIC,
    [101 ... 126] = ADDRESS_PUBLIC, [127] = ADDRESS_LOOPBACK, [128 ... 168] = ADDRESS_PUBLIC,
    [170 ... 171] = ADDRESS_PUBLIC, [173 ... 191] = ADDRESS_PUBLIC, [193 ... 223] = ADDRESS_PUBLIC,
    [224 ... 239] = ADDRESS_MULTICAST};

TL_INLINE void address_v4(struct address *a, const uint8_t *octets, uint16_t port) {
    memset(a->ip, 0, 8);
    memcpy(a->ip + 8, "\0\0\377\377", 4);
    memcpy(a->ip + 12, octets, 4);
    a->port = port;
    a->family = 4;
    uint8_t kind = first_octet[octets[0]];
    if (TL_UNLIKELY(!kind)) {
        if (octets[0] == 192) kind = octets[1] == 168 ? ADDRESS_PRIVATE : ADDRESS_PUBLIC;
        else if (octets[0] == 172) kind = (octets[1] & 0xf0) == 16 ? ADDRESS_PRIVATE : ADDRESS_PUBLIC;
        else kind = address_classify(a->ip, 4);
    }
    a->kind = kind;
}

static void address_v6(struct address *a, const uint8_t *octets) {
    memcpy(a->ip, octets, 16);
    a->port = 0;
    a->family = 6;
    a->kind = address_classify(octets, 6);
}

/* ---- the cursor ---- */

int layer_short(struct layer *l, size_t need, enum problem problem) {
    if (!l->quoted) {
        if (l->wire >= need) l->packet->flags |= PACKET_SNAPPED;
        problem_note(l->problems, l->wire >= need ? PROBLEM_SNAPPED : problem, l->packet->file_offset);
    }
    return STATUS_MALFORMED;
}

static int layer_impossible(struct layer *l, enum problem problem) {
    problem_note(l->problems, problem, l->packet->file_offset);
    return STATUS_MALFORMED;
}

int layer_deeper(struct layer *l, unsigned tunnel) {
    l->packet->tunnels |= (uint16_t)tunnel;
    if (tunnel & (TUNNEL_VLAN | TUNNEL_QINQ)) l->packet->flags |= PACKET_VLAN;
    else if (tunnel & TUNNEL_MPLS) l->packet->flags |= PACKET_MPLS;
    else if (!(tunnel & (TUNNEL_VNTAG | TUNNEL_HEP))) l->packet->flags |= PACKET_TUNNEL;
    if (++l->depth <= LAYER_DEPTH) return LAYER_MORE;
    return layer_impossible(l, PROBLEM_ENCAPSULATION_DEPTH);
}

int layer_finish(struct layer *l) {
    struct packet *p = l->packet;
    p->payload = l->at;
    p->payload_length = (uint32_t)l->left;
    p->wire_length = (uint32_t)l->wire;
    if (l->left < l->wire && !l->quoted) {
        p->flags |= PACKET_SNAPPED;
        problem_note(l->problems, PROBLEM_SNAPPED, p->file_offset);
    }
    return 0;
}

/* ---- links ---- */

static int ethernet(struct layer *l) {
    if (l->left < 14) return layer_short(l, 14, PROBLEM_NETWORK_HEADER);
    const uint16_t type = load_be16(l->at + 12);
    layer_skip(l, 14);
    return layer_next(l, LAYER_ETHERTYPE, type);
}

/* 802.1Q and 802.1ad: a tag, then the next type. */
static int vlan_tag(struct layer *l) {
    if (l->left < 4) return layer_short(l, 4, PROBLEM_NETWORK_HEADER);
    const uint16_t vid = load_be16(l->at) & 0x0fff, type = load_be16(l->at + 2);
    const int stacked = l->type != 0x8100 || (l->packet->flags & PACKET_VLAN);
    if (layer_deeper(l, TUNNEL_VLAN | (stacked ? TUNNEL_QINQ : 0u)) < 0) return STATUS_MALFORMED;
    if (vid) layer_tag(l, TUNNEL_VLAN, vid); /* 0 is a priority, no VLAN */
    if (vid) l->packet->vlan = vid;
    layer_skip(l, 4);
    return layer_next(l, LAYER_ETHERTYPE, type);
}

/* Steps over a header of known size to the type in its last two bytes, or to an Ethernet frame. */
static int switch_header(struct layer *l, size_t size, unsigned tunnel, int frame_follows) {
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    if (layer_deeper(l, tunnel) < 0) return STATUS_MALFORMED;
    const uint16_t type = load_be16(l->at + size - 2);
    layer_skip(l, size);
    return frame_follows ? layer_next(l, LAYER_ETHERNET, 0) : layer_next(l, LAYER_ETHERTYPE, type);
}

/* 802.3 with a length where the type would be: only LLC/SNAP of Ethertypes is read. */
static int logical_link(struct layer *l) {
    layer_clip(l, l->type);
    if (l->left < 8 || memcmp(l->at, "\xaa\xaa\x03\0\0\0", 6)) return STATUS_UNSUPPORTED;
    const uint16_t type = load_be16(l->at + 6);
    if (type <= 1500) return STATUS_UNSUPPORTED;
    layer_skip(l, 8);
    return layer_next(l, LAYER_ETHERTYPE, type);
}

static int ethertype(struct layer *l) {
    switch (l->type) {
    case ETHERTYPE_IPV4: case ETHERTYPE_IPV6: return layer_next(l, LAYER_IP, 0);
    case 0x8100: case 0x88a8: case 0x9100: case 0x9200: case 0x9300: return vlan_tag(l);
    case 0x8847: case 0x8848: return layer_next(l, LAYER_MPLS, 0);
    case 0x8864: return layer_pppoe(l);
    case 0x880b: return layer_next(l, LAYER_PPP, 0);
    case 0x8926: return switch_header(l, 6, TUNNEL_VNTAG, 0);
    case 0x8903: return switch_header(l, 2, TUNNEL_VNTAG, 1);  /* FabricPath */
    case 0x88e7: return switch_header(l, 4, TUNNEL_QINQ, 1);   /* 802.1ah I-TAG */
    case 0x6558: return layer_next(l, LAYER_ETHERNET, 0);
    case 0x894f: return layer_nsh(l);
    default: return l->type <= 1500 ? logical_link(l) : STATUS_UNSUPPORTED;
    }
}

/* NFLOG: attributes in the order of the machine that captured; the payload attribute is an IP packet. */
static int nflog(struct layer *l) {
    if (l->left < 4) return layer_short(l, 4, PROBLEM_NETWORK_HEADER);
    layer_skip(l, 4);
    while (l->left >= 4) {
        uint16_t length = load_le16(l->at), type = load_le16(l->at + 2);
        if ((type & 0xff) == 0 && type) { /* attribute types are below 256: the other order */
            length = load_be16(l->at);
            type = load_be16(l->at + 2);
        }
        if (length < 4) return layer_impossible(l, PROBLEM_NETWORK_HEADER);
        if ((type & 0x7fff) == 9) {
            layer_skip(l, 4);
            layer_clip(l, length - 4u);
            return layer_next(l, LAYER_IP, 0);
        }
        const size_t step = (length + 3u) & ~3u;
        if (step > l->left) break;
        layer_skip(l, step);
    }
    return STATUS_UNSUPPORTED;
}

/* A header of `size` bytes with an Ethertype at `place`. */
static int cooked(struct layer *l, size_t size, size_t place) {
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    const uint16_t type = load_be16(l->at + place);
    layer_skip(l, size);
    return layer_next(l, LAYER_ETHERTYPE, type);
}

/* BSD loopback and ENC: an address family whose number depends on the system, so the IP version decides. */
static int loopback(struct layer *l, size_t size) {
    if (l->left < size + 1) return layer_short(l, size + 1, PROBLEM_NETWORK_HEADER);
    layer_skip(l, size);
    const uint8_t version = l->at[0] >> 4;
    return version == 4 || version == 6 ? layer_next(l, LAYER_IP, 0) : STATUS_UNSUPPORTED;
}

static int link_begin(struct layer *l, uint16_t link_type) {
    switch (link_type) {
    case 1: return layer_next(l, LAYER_ETHERNET, 0);
    case 113: return cooked(l, 16, 14);                     /* LINUX_SLL */
    case 276: return cooked(l, 20, 0);                      /* LINUX_SLL2 */
    case 104: return cooked(l, 4, 2);                       /* C_HDLC */
    case 0: case 108: return loopback(l, 4);                /* NULL, LOOP */
    case 109: return loopback(l, 12);                       /* ENC */
    case 12: case 14: case 101: case 228: case 229: return layer_next(l, LAYER_IP, 0);
    case 9: case 50: return layer_next(l, LAYER_PPP, 0);
    case 51: return layer_pppoe(l);
    case 239: return nflog(l);
    case LINK_HEP: return layer_next(l, LAYER_HEP, 0);
    default:
        problem_note(l->problems, PROBLEM_LINK_UNSUPPORTED, l->packet->file_offset);
        return STATUS_UNSUPPORTED;
    }
}

/* ---- network ---- */

static int fragment_found(struct layer *l, uint8_t protocol, uint32_t id, uint16_t offset, uint8_t more) {
    struct packet *p = l->packet;
    p->flags |= PACKET_FRAGMENT;
    p->protocol = protocol;
    p->fragment_id = id;
    p->fragment_offset = offset;
    p->more_fragments = more;
    if (!l->quoted) return layer_finish(l);
    if (offset) return STATUS_UNSUPPORTED; /* an ICMP error quotes a piece without ports */
    p->flags &= (uint16_t)~PACKET_FRAGMENT;
    return layer_next(l, LAYER_TRANSPORT, protocol);
}

static int ipv4(struct layer *l) {
    const uint8_t *h = l->at;
    struct packet *p = l->packet;
    if (l->left < 20) return layer_short(l, 20, PROBLEM_NETWORK_HEADER);
    const size_t header = (h[0] & 15u) * 4;
    size_t total = load_be16(h + 2);
    if (total == 0) total = l->wire; /* left to the network card (segmentation offload) */
    if (header < 20 || total < header) return layer_impossible(l, PROBLEM_NETWORK_HEADER);
    if (l->left < header) return layer_short(l, header, PROBLEM_NETWORK_HEADER);
    if (total > l->wire) {
        if (!l->quoted) problem_note(l->problems, PROBLEM_NETWORK_HEADER, p->file_offset);
        l->wire = total;
    }
    layer_clip(l, total);
    address_v4(&p->source, h + 12, 0);
    address_v4(&p->target, h + 16, 0);
    p->dscp = h[1] >> 2;
    p->ttl = h[8];
    p->fragment_id = load_be16(h + 4);
    layer_skip(l, header);
    const uint16_t fragment = load_be16(h + 6);
    if (TL_UNLIKELY(fragment & 0x3fff))
        return fragment_found(l, h[9], load_be16(h + 4), fragment & 0x1fff, fragment >> 13 & 1);
    return layer_next(l, LAYER_TRANSPORT, h[9]);
}

static int ipv6(struct layer *l) {
    const uint8_t *h = l->at;
    struct packet *p = l->packet;
    if (l->left < 40) return layer_short(l, 40, PROBLEM_NETWORK_HEADER);
    size_t total = 40u + load_be16(h + 4);
    if (total == 40) total = l->wire; /* a jumbogram (RFC 2675), or left to the network card */
    if (total > l->wire) {
        if (!l->quoted) problem_note(l->problems, PROBLEM_NETWORK_HEADER, p->file_offset);
        l->wire = total;
    }
    layer_clip(l, total);
    address_v6(&p->source, h + 8);
    address_v6(&p->target, h + 24);
    p->dscp = (uint8_t)((load_be16(h) >> 6) & 0x3f);
    p->ttl = h[7];
    p->fragment_id = 0;
    layer_skip(l, 40);
    return layer_next(l, LAYER_TRANSPORT, h[6]);
}

static int ip(struct layer *l) {
    if (l->left < 1) return layer_short(l, 20, PROBLEM_NETWORK_HEADER);
    const uint8_t version = l->at[0] >> 4;
    if (TL_LIKELY(version == 4)) return ipv4(l);
    if (version == 6) return ipv6(l);
    return layer_impossible(l, PROBLEM_NETWORK_HEADER);
}

/* IPv6 extension headers (RFC 8200 §4) and AH (RFC 4302), which say their own length. */
static int extension(struct layer *l) {
    if (l->left < 8) return layer_short(l, 8, PROBLEM_NETWORK_HEADER);
    if (++l->extensions > LAYER_EXTENSIONS) return layer_impossible(l, PROBLEM_ENCAPSULATION_DEPTH);
    const uint8_t *h = l->at;
    size_t size = (h[1] + 1u) * 8;
    if (l->type == 51) size = (h[1] + 2u) * 4;
    if (l->type == 44) {
        const uint16_t place = load_be16(h + 2);
        layer_skip(l, 8);
        if (place & 0xfff9) return fragment_found(l, h[0], load_be32(h + 4), place >> 3, place & 1);
        return layer_next(l, LAYER_TRANSPORT, h[0]); /* an atomic fragment (RFC 6946) */
    }
    if (l->left < size) return layer_short(l, size, PROBLEM_NETWORK_HEADER);
    layer_skip(l, size);
    return layer_next(l, LAYER_TRANSPORT, h[0]);
}

/* ---- transport ---- */

static int udp(struct layer *l) {
    if (l->left < 8) return layer_short(l, 8, PROBLEM_TRANSPORT_HEADER);
    const uint8_t *h = l->at;
    const size_t length = load_be16(h + 4);
    l->packet->source.port = load_be16(h);
    l->packet->target.port = load_be16(h + 2);
    if (length && length < 8) return layer_impossible(l, PROBLEM_TRANSPORT_HEADER);
    if (length > l->wire && !l->quoted)
        problem_note(l->problems, PROBLEM_TRANSPORT_HEADER, l->packet->file_offset);
    layer_skip(l, 8);
    if (length) layer_clip(l, length - 8);
    if (!l->quoted) {
        const int status = layer_udp_tunnel(l, l->packet->source.port, l->packet->target.port);
        if (status) return status;
    }
    return layer_finish(l);
}

static int tcp(struct layer *l) {
    struct packet *p = l->packet;
    const uint8_t *h = l->at;
    if (l->left < (l->quoted ? 8u : 20u)) return layer_short(l, 20, PROBLEM_TRANSPORT_HEADER);
    p->source.port = load_be16(h);
    p->target.port = load_be16(h + 2);
    p->tcp_sequence = load_be32(h + 4);
    if (l->left < 20) { /* an ICMP error need not quote more than eight bytes (RFC 792) */
        layer_skip(l, l->left);
        return layer_finish(l);
    }
    const size_t header = (h[12] >> 4) * 4u;
    p->tcp_acknowledgement = load_be32(h + 8);
    p->tcp_flags = h[13];
    if (header < 20) return layer_impossible(l, PROBLEM_TRANSPORT_HEADER);
    if (l->left < header) return layer_short(l, header, PROBLEM_TRANSPORT_HEADER);
    layer_skip(l, header);
    return layer_finish(l);
}

static int sctp(struct layer *l) {
    if (l->left < 12 && !(l->quoted && l->left >= 4)) return layer_short(l, 12, PROBLEM_TRANSPORT_HEADER);
    l->packet->source.port = load_be16(l->at);
    l->packet->target.port = load_be16(l->at + 2);
    layer_skip(l, l->left < 12 ? l->left : 12);
    return layer_finish(l);
}

/* An ICMP error (RFC 792, 4443) quotes the packet that caused it: that packet is what comes out. */
static int icmp(struct layer *l, int version) {
    if (l->left < 8) return layer_short(l, 8, PROBLEM_TRANSPORT_HEADER);
    const uint8_t *h = l->at;
    struct packet *p = l->packet;
    const int error = version == 6 ? h[0] >= 1 && h[0] <= 4
                                   : h[0] == 3 || h[0] == 4 || h[0] == 5 || h[0] == 11 || h[0] == 12;
    p->protocol = (uint8_t)l->type;
    p->icmp_type = h[0];
    p->icmp_code = h[1];
    if (!error || l->quoted) return STATUS_UNSUPPORTED;
    const size_t quote = version == 6 ? h[4] * 8u : h[5] * 4u; /* RFC 4884: extensions may follow it */
    layer_skip(l, 8);
    if (quote) layer_clip(l, quote);
    p->flags |= PACKET_ICMP_QUOTE;
    l->quoted = 1;
    l->extensions = 0;
    return layer_next(l, LAYER_IP, 0);
}

static int transport(struct layer *l) {
    l->packet->protocol = (uint8_t)l->type;
    switch (l->type) {
    case IP_UDP: return udp(l);
    case IP_TCP: return tcp(l);
    case IP_SCTP: return sctp(l);
    case IP_ICMP: return icmp(l, 4);
    case IP_ICMPV6: return icmp(l, 6);
    case 0: case 43: case 44: case 51: case 60: case 135: case 139: case 140: return extension(l);
    default: break;
    }
    if (l->quoted) return STATUS_UNSUPPORTED;
    switch (l->type) {
    case 4: case 41:
        if (layer_deeper(l, TUNNEL_IPIP) < 0) return STATUS_MALFORMED;
        l->extensions = 0;
        return layer_next(l, LAYER_IP, 0);
    case 47: return layer_gre(l);
    case 97: return switch_header(l, 2, TUNNEL_IPIP, 1);    /* EtherIP (RFC 3378) */
    case 137: return layer_next(l, LAYER_MPLS, 0);          /* RFC 4023 */
    default: return STATUS_UNSUPPORTED;
    }
}

/* A HEP packet: addresses, time and payload are the ones it reports. */
static int hep(struct layer *l) {
    struct packet *p = l->packet;
    if (layer_deeper(l, TUNNEL_HEP) < 0) return STATUS_MALFORMED;
    p->flow_tag = 0; /* the collector's network is not the one reported */
    p->vlan = 0;
    p->tcp_flags = 0;
    p->fragment_id = 0;
    const ptrdiff_t used = hep_decode(l->at, l->left, p, l->problems);
    if (used >= 0) return 0;
    if (used == STATUS_INCOMPLETE) return layer_short(l, l->left + 1, PROBLEM_HEP_CHUNK);
    return STATUS_MALFORMED;
}

int layer_walk(struct layer *l) {
    for (;;) {
        int status;
        switch (l->kind) {
        case LAYER_ETHERNET: status = ethernet(l); break;
        case LAYER_ETHERTYPE: status = ethertype(l); break;
        case LAYER_IP: status = ip(l); break;
        case LAYER_PPP: status = layer_ppp(l); break;
        case LAYER_MPLS: status = layer_mpls(l); break;
        case LAYER_HEP: status = hep(l); break;
        default: status = transport(l); break;
        }
        if (status != LAYER_MORE) return status;
    }
}

/* ---- entries ---- */

/* Ports behind which a tunnel may stand, by a hash that few others share. */
#define PORT_PLACE(port) (((port) ^ (port) >> 8) & 255)
static const uint8_t tunnel_port[256] = {
    [PORT_PLACE(4789)] = 1, [PORT_PLACE(4790)] = 1, [PORT_PLACE(8472)] = 1, [PORT_PLACE(6081)] = 1,
    [PORT_PLACE(2152)] = 1, [PORT_PLACE(37008)] = 1, [PORT_PLACE(1701)] = 1, [PORT_PLACE(9060)] = 1};

/* In pieces a compiler turns into plain stores: one string store would cost more than the decoding. */
TL_INLINE void packet_clear(struct packet *p) {
    _Static_assert(sizeof *p == 128, "two pieces of 64 bytes");
    memset(p, 0, 64);
    memset((uint8_t *)p + 64, 0, 64);
}

/* Plain Ethernet, IPv4 without options or fragments, whole UDP: nearly every packet. Returns 1 for one. */
TL_INLINE int decode_plain(const struct capture_record *r, struct packet *p) {
    const uint8_t *b = r->bytes;
    if (r->link_type != 1 || r->captured < 46) return 0;
    if ((b[12] ^ 0x08) | b[13] | (b[14] ^ 0x45) | (b[23] ^ IP_UDP)) return 0;
    const uint32_t total = load_be16(b + 16), length = load_be16(b + 38);
    const uint16_t source_port = load_be16(b + 34), target_port = load_be16(b + 36);
    if ((load_be16(b + 20) & 0x3fff) || total + 14 > r->captured) return 0;
    if (length < 8 || length + 20 > total) return 0;
    const uint32_t magic = load_be32(b + 42);
    if ((tunnel_port[PORT_PLACE(source_port)] | tunnel_port[PORT_PLACE(target_port)]) ||
        magic == 0x48455033u || magic == 0x45455031u) return 0;
    address_v4(&p->source, b + 26, source_port);
    address_v4(&p->target, b + 30, target_port);
    p->payload = b + 42;
    p->payload_length = p->wire_length = length - 8;
    p->fragment_id = load_be16(b + 18);
    p->protocol = IP_UDP;
    p->dscp = b[15] >> 2;
    p->ttl = b[22];
    return 1;
}

int link_decode(const struct capture_record *record, struct packet *packet, struct problems *problems) {
    packet_clear(packet);
    packet->time_ns = record->time_ns;
    packet->file_offset = record->offset;
    packet->number = record->number;
    if (TL_LIKELY(decode_plain(record, packet))) return 0;
    struct layer l = {.at = record->bytes, .left = record->captured, .wire = record->original,
                      .packet = packet, .problems = problems};
    if (l.wire < l.left) l.wire = l.left;
    const int status = link_begin(&l, record->link_type);
    return status == LAYER_MORE ? layer_walk(&l) : status;
}

int link_decode_ip(const uint8_t *source, size_t count, struct packet *packet, struct problems *problems) {
    memset(packet, 0, sizeof *packet);
    struct layer l = {.at = source, .left = count, .wire = count, .packet = packet, .problems = problems,
                      .kind = LAYER_IP};
    return layer_walk(&l);
}

int link_decode_transport(uint8_t protocol, const uint8_t *source, size_t count, struct packet *packet,
                          struct problems *problems) {
    struct layer l = {.at = source, .left = count, .wire = count, .packet = packet, .problems = problems,
                      .kind = LAYER_TRANSPORT, .type = protocol};
    return layer_walk(&l);
}

/* ---- names ---- */

const char *problem_text(int kind) {
    static const char *const texts[PROBLEM_COUNT] = {
#define X(symbol, text) text,
        PROBLEMS(X)
#undef X
    };
    return kind >= 0 && kind < PROBLEM_COUNT ? texts[kind] : "";
}

const char *problem_name(int kind) {
    static const char *const names[PROBLEM_COUNT] = {
#define X(symbol, text) #symbol,
        PROBLEMS(X)
#undef X
    };
    return kind >= 0 && kind < PROBLEM_COUNT ? names[kind] : "";
}

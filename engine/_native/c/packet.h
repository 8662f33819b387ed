/* From a capture file's bytes to transport payloads: records, decapsulation, reassembly.
   Everything borrows the mapped file; what had to be put together lies in memory the caller lent. */
#ifndef TRUNKLINE_PACKET_H
#define TRUNKLINE_PACKET_H

#include "address.h"
#include "sip.h"
#include "status.h"

/* ---- what could not be read: counted by kind, the first place kept ---- */
#define PROBLEMS(X) \
    X(RECORD_TRUNCATED, "the file ends inside a record") \
    X(RECORD_LENGTH, "a record's length is impossible; resynchronised behind it") \
    X(TRAILING_BYTES, "bytes behind the last record that are no record") \
    X(BLOCK_LENGTH, "a pcapng block length is impossible") \
    X(BLOCK_UNKNOWN, "pcapng blocks of unknown type skipped") \
    X(INTERFACE_UNKNOWN, "packets of an interface that was never described") \
    X(OPTION_LENGTH, "a pcapng option runs past its block") \
    X(LINK_UNSUPPORTED, "packets of a link type that is not read") \
    X(SNAPPED, "packets cut short by the capture's snap length") \
    X(NETWORK_HEADER, "packets with an impossible network header") \
    X(TRANSPORT_HEADER, "packets with an impossible transport header") \
    X(ENCAPSULATION_DEPTH, "packets with too many encapsulations") \
    X(FRAGMENT_OVERLAP, "IP fragments that overlap; the first copy was kept") \
    X(FRAGMENT_INCOMPLETE, "IP datagrams whose fragments never all came") \
    X(FRAGMENT_OVERFLOW, "IP fragments dropped: too many datagrams open at once") \
    X(TCP_CONFLICT, "TCP segments that overlap with different bytes; the first copy was kept") \
    X(TCP_GAP, "TCP bytes missing from the capture") \
    X(TCP_OVERFLOW, "TCP streams dropped: too many open at once") \
    X(TCP_FRAMING, "TCP bytes between messages that are no SIP") \
    X(MESSAGE_OVERSIZE, "SIP messages larger than the limit") \
    X(WEBSOCKET_FRAME, "WebSocket frames with an impossible header") \
    X(HEP_CHUNK, "HEP packets with an impossible chunk") \
    X(HEP_COMPRESSED, "HEP packets with a compressed payload that could not be read") \
    X(MESSAGE_MALFORMED, "messages that look like SIP and have no valid start line") \
    X(TIME_BACKWARDS, "records older than the one before by more than a second") \
    X(ENCRYPTED, "packets of TLS or DTLS without keys") \
    X(BINARY, "stretches of bytes that are no message and no log line") \
    X(COMPRESSION, "compressed data that ends early or does not decompress") \
    X(ROWS_OMITTED, "rows left out because a table reached its limit")

enum problem {
#define X(symbol, text) PROBLEM_##symbol,
    PROBLEMS(X)
#undef X
    PROBLEM_COUNT
};

struct problems {
    uint64_t count[PROBLEM_COUNT];
    uint64_t first_offset[PROBLEM_COUNT]; /* in the file; valid where count > 0 */
};

TL_INLINE void problem_note(struct problems *p, enum problem kind, uint64_t offset) {
    if (p->count[kind]++ == 0) p->first_offset[kind] = offset;
}

/* ---- one packet, decapsulated down to its transport payload ---- */
enum packet_flag {
    PACKET_SNAPPED = 1,      /* the capture cut it: payload is shorter than the wire's */
    PACKET_FRAGMENT = 2,     /* an IP fragment, not yet a whole datagram */
    PACKET_REASSEMBLED = 4,  /* was put together from fragments */
    PACKET_ICMP_QUOTE = 8,   /* the packet quoted inside an ICMP error; `icmp` says which */
    PACKET_VLAN = 16, PACKET_MPLS = 32, PACKET_TUNNEL = 64, /* GRE VXLAN GTP ... see `tunnels` */
    PACKET_HEP = 128,        /* addresses and time come from a HEP header */
    PACKET_DUPLICATE = 256   /* same layer-3 bytes as a packet just before (mirror port) */
};
enum packet_tunnel { TUNNEL_GRE = 1, TUNNEL_ERSPAN = 2, TUNNEL_VXLAN = 4, TUNNEL_GENEVE = 8, TUNNEL_GTP = 16,
                     TUNNEL_IPIP = 32, TUNNEL_TZSP = 64, TUNNEL_L2TP = 128, TUNNEL_PPPOE = 256,
                     TUNNEL_QINQ = 512, TUNNEL_MPLS = 1024, TUNNEL_VLAN = 2048, TUNNEL_VNTAG = 4096,
                     TUNNEL_HEP = 8192 };
enum ip_protocol { IP_ICMP = 1, IP_TCP = 6, IP_UDP = 17, IP_ICMPV6 = 58, IP_SCTP = 132 };

struct packet {
    int64_t time_ns;          /* since 1970, UTC */
    uint64_t file_offset;     /* of the record */
    const uint8_t *payload;   /* of the transport */
    uint32_t payload_length;  /* bytes that are there */
    uint32_t wire_length;     /* transport payload bytes on the wire, >= payload_length */
    uint32_t number;          /* of the record in its file, from 1 */
    struct address source, target; /* ports filled in for UDP, TCP, SCTP */
    uint32_t tcp_sequence, tcp_acknowledgement;
    uint32_t fragment_id;     /* IP identification */
    uint16_t fragment_offset; /* bytes / 8 */
    uint16_t flags;           /* enum packet_flag */
    uint16_t tunnels;         /* enum packet_tunnel */
    uint8_t more_fragments;
    uint8_t protocol;         /* enum ip_protocol */
    uint8_t tcp_flags;        /* FIN 1 SYN 2 RST 4 PSH 8 ACK 16 */
    uint8_t icmp_type, icmp_code;
    uint8_t dscp, ttl;
    uint8_t hep_protocol;     /* HEP protocol type (1 SIP, 5 RTCP JSON, 100 log), 0 otherwise */
    uint16_t vlan;
    uint64_t flow_tag;        /* hash of VLANs and tunnel ids: keeps overlapping address plans apart */
    const uint8_t *hep_correlation; /* HEP chunk 0x11, or NULL */
    uint32_t hep_correlation_length;
};

/* ---- capture files ---- */
enum capture_format { CAPTURE_UNKNOWN = 0, CAPTURE_PCAP, CAPTURE_PCAPNG, CAPTURE_HEP };
#define CAPTURE_INTERFACES 256

struct capture_interface { uint32_t snap_length; uint16_t link_type; uint8_t fcs_length, spare;
                           uint64_t ticks_per_second; int64_t offset_s; uint64_t drops; };

struct capture {
    uint64_t position;        /* of the next record */
    uint32_t number;          /* records given out */
    uint8_t format, swapped;  /* `swapped`: its fields are big-endian */
    uint8_t record_header;    /* bytes of a pcap record header */
    uint8_t old_lengths;      /* pcap before 2.4: the two lengths of a record may be exchanged */
    uint32_t interface_count; /* of the current section */
    uint64_t secrets_offset, secrets_length; /* first TLS key-log block, 0 when none */
    uint64_t comment_count;
    int64_t last_time_ns;
    struct capture_interface interfaces[CAPTURE_INTERFACES];
};

struct capture_record { int64_t time_ns; uint64_t offset; const uint8_t *bytes; uint32_t captured, original;
                        uint32_t number; uint16_t link_type; uint16_t interface; };

/* Reads the file header. Returns 0, or STATUS_UNSUPPORTED when the magic is none of ours. */
int capture_open(struct capture *capture, const uint8_t *source, size_t count);
/* Next packet record; 0, or STATUS_END. Broken records are noted in `problems` and stepped over. */
int capture_next(struct capture *capture, const uint8_t *source, size_t count,
                 struct capture_record *record, struct problems *problems);
/* First record boundary found at or behind `from` (at least 8 plausible chained records, or the end), for
   splitting one file over workers. `capture` is opened on the same file. Returns an offset <= count. A worker
   reads until a record's offset is at or behind the next part's boundary and leaves that one out; if it lies
   behind, the boundary was none and the next part is to be read again from that offset. A pcapng part needs a
   copy of a `capture` that has read its section's interfaces, that is, a record. */
uint64_t capture_boundary(const struct capture *capture, const uint8_t *source, size_t count, uint64_t from);

/* Decapsulates a record to its transport. Returns 0, or STATUS_UNSUPPORTED (ARP and the like, no problem),
   STATUS_MALFORMED (noted). A fragment comes back with PACKET_FRAGMENT and its layer-3 payload. */
int link_decode(const struct capture_record *record, struct packet *packet, struct problems *problems);
/* Decodes a raw IP datagram (v4 or v6) the same way: the inner half of link_decode. */
int link_decode_ip(const uint8_t *source, size_t count, struct packet *packet, struct problems *problems);

/* ---- IP fragments: bounded memory, first copy wins, 30 s of capture time ---- */
struct fragments; /* lives in memory the caller lends */
size_t fragments_size(uint32_t datagrams);
struct fragments *fragments_init(void *memory, size_t size, uint32_t datagrams);
/* Takes a PACKET_FRAGMENT. Returns 1 with `whole` filled (transport header decoded; its payload is valid
   until the next call), 0 when more is needed. */
int fragments_push(struct fragments *f, const struct packet *fragment, struct packet *whole,
                   struct problems *problems);
/* Gives out what there is of a datagram opened before `before_ns` whose fragments never all came (a capture
   filter by port keeps only first fragments): 1 with the leading bytes in `whole` and PACKET_SNAPPED set,
   valid until the next call; 0 when there is none. Counts each it closes. Call before fragments_finish. */
int fragments_drain(struct fragments *f, int64_t before_ns, struct packet *whole, struct problems *problems);
void fragments_finish(struct fragments *f, struct problems *problems);

/* ---- TCP: per direction ordering, SIP framing by Content-Length, WebSocket frames inside ---- */
enum tcp_event { TCP_MESSAGE = 1,   /* one whole SIP message */
                 TCP_OPENED, TCP_CLOSED, TCP_RESET, TCP_REFUSED /* RST or nothing to a SYN */,
                 TCP_KEEPALIVE_PING /* CRLFCRLF */, TCP_KEEPALIVE_PONG /* CRLF */,
                 TCP_TLS /* first bytes are TLS */, TCP_OTHER /* first bytes are no SIP, TLS or HTTP */ };
/* `packet` holds time, addresses and number of the segment that completed the event; its payload is the
   message. `transport` is SIP_TCP, SIP_WS or SIP_TLS. */
typedef void (*tcp_sink)(void *context, enum tcp_event event, const struct packet *packet, uint8_t transport);
struct tcp;
size_t tcp_size(uint32_t connections, uint32_t buffers);
struct tcp *tcp_init(void *memory, size_t size, uint32_t connections, uint32_t buffers);
void tcp_push(struct tcp *t, const struct packet *segment, tcp_sink sink, void *context,
              struct problems *problems);
/* Hands out what is still buffered (message at the end of the capture) and counts what is missing. */
void tcp_finish(struct tcp *t, tcp_sink sink, void *context, struct problems *problems);

/* ---- HEP (EEP) versions 1, 2 and 3: one packet at the start of `source` ---- */
/* Fills `packet` (addresses, time, payload, hep_protocol, correlation id, PACKET_HEP). Returns bytes consumed,
   STATUS_INCOMPLETE, or STATUS_MALFORMED. Compressed payloads are noted as a problem and skipped. */
ptrdiff_t hep_decode(const uint8_t *source, size_t count, struct packet *packet, struct problems *problems);

/* ---- WebSocket frames (RFC 6455 §5): unmasks into `target` ---- */
struct websocket_frame { uint8_t opcode, final, masked, reserved; uint64_t length; uint32_t header_length; uint8_t mask[4]; };
/* Bytes of the frame header, STATUS_INCOMPLETE or STATUS_MALFORMED. */
ptrdiff_t websocket_header(const uint8_t *source, size_t count, struct websocket_frame *frame);
void websocket_unmask(const uint8_t *source, size_t count, const uint8_t mask[4], uint64_t position, uint8_t *target);

const char *problem_text(int kind);
const char *problem_name(int kind); /* its symbol: RECORD_TRUNCATED and so on */

#endif

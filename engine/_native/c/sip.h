/* SIP tokenizer: one structural pass over a message, spans out (RFC 3261 §7, §25).
   No allocation, no copy, no globals that change. Every offset counts from `source`. */
#ifndef TRUNKLINE_SIP_H
#define TRUNKLINE_SIP_H

#include "address.h"
#include "status.h"

/* X(symbol, "Canonical-Name", compact letter or 0) — the IANA "SIP Header Fields" table and the
   vendor headers that correlation needs. Order is free; OTHER is 0. */
#include "sip_header_table.h"

enum sip_header_id {
    SIP_HEADER_OTHER = 0,
#define X(symbol, name, compact) SIP_HEADER_##symbol,
    SIP_HEADER_TABLE(X)
#undef X
    SIP_HEADER_COUNT
};
#define SIP_HEADER_WORDS 4
_Static_assert(SIP_HEADER_COUNT <= SIP_HEADER_WORDS * 64, "one presence bit a header id");

enum sip_method {
    SIP_METHOD_OTHER = 0, SIP_METHOD_INVITE, SIP_METHOD_ACK, SIP_METHOD_BYE, SIP_METHOD_CANCEL,
    SIP_METHOD_OPTIONS, SIP_METHOD_REGISTER, SIP_METHOD_PRACK, SIP_METHOD_UPDATE, SIP_METHOD_INFO,
    SIP_METHOD_SUBSCRIBE, SIP_METHOD_NOTIFY, SIP_METHOD_REFER, SIP_METHOD_MESSAGE,
    SIP_METHOD_PUBLISH, SIP_METHOD_COUNT
};

struct sip_span { uint32_t offset, length; };

enum sip_header_flag {
    SIP_HEADER_FOLDED = 1,        /* value continues over line folding */
    SIP_HEADER_COMPACT = 2,       /* written with its one-letter name */
    SIP_HEADER_SPACED = 4,        /* white space between name and colon */
    SIP_HEADER_EMPTY = 8,         /* no value */
    SIP_HEADER_BAD_NAME = 16,     /* a byte that is no token character, or no colon at all */
    SIP_HEADER_CONTROL = 32       /* a control byte (not HT, not fold) in the value */
};

struct sip_header {
    uint32_t name_offset, value_offset, value_length; /* value without outer white space; a folded
                                                          value keeps its folds */
    uint16_t name_length; /* clipped to 65535 */
    uint8_t id;           /* enum sip_header_id */
    uint8_t flags;        /* enum sip_header_flag */
};

/* Defects found by the one pass; bit set means seen. `fault_offset` is the first one's place. */
enum sip_flag {
    SIP_BARE_LF = 1 << 0,              /* a line ends in LF alone */
    SIP_BARE_CR = 1 << 1,              /* CR not followed by LF */
    SIP_FOLDED = 1 << 2,               /* at least one folded header */
    SIP_COMPACT = 1 << 3,              /* at least one compact name */
    SIP_LONG = 1 << 4,                 /* at least one long name of a header that has a compact form */
    SIP_NO_BLANK_LINE = 1 << 5,        /* headers run to the end of the bytes */
    SIP_BAD_HEADER_LINE = 1 << 6,      /* a header line without colon or with an invalid name */
    SIP_SPACE_BEFORE_COLON = 1 << 7,
    SIP_CONTROL_BYTE = 1 << 8,         /* NUL or other control byte before the body */
    SIP_NON_UTF8 = 1 << 9,             /* invalid UTF-8 in the start line or a header (checked only
                                          where a byte >= 0x80 stands) */
    SIP_LENGTH_INVALID = 1 << 10,      /* Content-Length is no decimal, negative, or overflows */
    SIP_LENGTH_CONFLICT = 1 << 11,     /* two Content-Length values that differ */
    SIP_LENGTH_REPEATED = 1 << 12,     /* two or more Content-Length headers */
    SIP_LENGTH_MISSING = 1 << 13,
    SIP_BODY_SHORT = 1 << 14,          /* fewer body bytes than Content-Length */
    SIP_BODY_LONG = 1 << 15,           /* more bytes in the datagram than Content-Length */
    SIP_TOO_MANY_HEADERS = 1 << 16,    /* rows beyond `capacity` were counted, not kept */
    SIP_START_LINE_SPACES = 1 << 17,   /* more than one SP, leading or trailing SP in the start line */
    SIP_URI_SPACES = 1 << 18,          /* white space inside the Request-URI */
    SIP_VERSION_BAD = 1 << 19,         /* SIP-Version is not SIP/2.0 */
    SIP_STATUS_RANGE = 1 << 20,        /* status code below 100 or above 699 */
    SIP_STATUS_BAD = 1 << 21,          /* status code is not three digits */
    SIP_METHOD_BAD = 1 << 22,          /* method has a byte that is no token character */
    SIP_LEADING_CRLF = 1 << 23,        /* empty lines before the start line */
    SIP_REASON_MISSING = 1 << 24,      /* no SP after the status code */
    SIP_QUOTE_UNBALANCED = 1 << 25     /* a quoted string in a From/To/Contact/Via/... never closes */
};

struct sip_message {
    uint8_t is_response;
    uint8_t method;              /* enum sip_method; of the request line (0 for responses) */
    uint16_t status;             /* 0 for requests; clipped to 65535 */
    struct sip_span method_name; /* requests */
    struct sip_span request_uri; /* requests */
    struct sip_span version;
    struct sip_span reason;      /* responses */
    uint32_t start_offset;       /* of the start line, behind leading CRLFs */
    uint32_t header_count;       /* rows written */
    uint32_t header_total;       /* rows seen, >= header_count */
    uint32_t body_offset, body_length;
    int64_t content_length;      /* first value; -1 absent, -2 invalid */
    uint32_t flags;              /* enum sip_flag */
    uint32_t fault_offset;       /* of the first flagged defect, or UINT32_MAX */
    uint64_t present[SIP_HEADER_WORDS];      /* bit a header id */
    uint16_t first[SIP_HEADER_COUNT];        /* row of the first header of an id; valid where present */
    uint16_t repeats[SIP_HEADER_COUNT];      /* rows of that id; valid where present */
};

TL_INLINE int sip_has(const struct sip_message *m, int id) {
    return (int)(m->present[id >> 6] >> (id & 63) & 1);
}

enum sip_framing {
    SIP_DATAGRAM = 0, /* the message ends where the bytes end */
    SIP_STREAM = 1    /* the message ends after Content-Length bytes; more may follow */
};

/* Fast test on the first bytes (leading CRLF skipped): could a SIP message start here?
   True for `SIP/2.` and for token SP ... with " SIP/" before the first LF: a lone CR ends no line. */
int sip_sniff(const uint8_t *source, size_t count);

/* Scans one message. Returns the bytes of the message (>= 1), STATUS_MALFORMED when there is no SIP
   start line, or, with SIP_STREAM, STATUS_INCOMPLETE. Lenient: everything else is a flag.
   With SIP_STREAM and no usable Content-Length the body is empty. */
ptrdiff_t sip_scan(const uint8_t *source, size_t count, int framing, struct sip_message *message,
                   struct sip_header *headers, size_t capacity);

/* enum sip_header_id of a name (any case, long or compact); SIP_HEADER_OTHER when unknown. */
uint8_t sip_header_id(const uint8_t *name, size_t length);
const char *sip_header_name(int id); /* canonical; "" for OTHER */
/* enum sip_method; methods are case sensitive (RFC 3261 §7.1). */
uint8_t sip_method_id(const uint8_t *name, size_t length);
const char *sip_method_name(int method);

/* ---- typed access: each takes a value span's bytes and returns spans inside it ---- */

struct sip_uri {
    struct sip_span scheme, user, password, host, parameters, headers;
    uint16_t port;      /* 0 when absent, 65535 with SIP_URI_PORT_BAD when out of range */
    uint16_t flags;     /* enum sip_uri_flag */
    struct address address; /* of `host`, parsed */
    uint8_t scheme_id;  /* enum sip_scheme */
    uint8_t transport;  /* enum sip_transport of ;transport= , 0 when absent */
};
enum sip_scheme { SIP_SCHEME_OTHER = 0, SIP_SCHEME_SIP, SIP_SCHEME_SIPS, SIP_SCHEME_TEL, SIP_SCHEME_URN };
enum sip_transport { SIP_TRANSPORT_NONE = 0, SIP_UDP, SIP_TCP, SIP_TLS, SIP_SCTP, SIP_WS, SIP_WSS,
                     SIP_TRANSPORT_OTHER };
enum sip_uri_flag {
    SIP_URI_LR = 1, SIP_URI_USER_PHONE = 2, SIP_URI_OB = 4, SIP_URI_PORT_BAD = 8,
    SIP_URI_BAD_ESCAPE = 16,   /* % without two hex digits */
    SIP_URI_UNBRACKETED_V6 = 32,
    SIP_URI_BAD_CHARACTER = 64, /* unescaped space, quote, <, > inside */
    SIP_URI_EMPTY_HOST = 128, SIP_URI_GR = 256, SIP_URI_PHONE_CONTEXT = 512
};

struct sip_address {       /* name-addr or addr-spec with header parameters */
    struct sip_span display; /* without quotes */
    struct sip_span uri;     /* the addr-spec */
    struct sip_span parameters; /* from the first header `;` on, without it */
    struct sip_span tag;     /* value of ;tag= */
    struct sip_uri parsed;   /* spans relative to the same base as `uri` */
    uint8_t flags;           /* enum sip_address_flag */
};
enum sip_address_flag {
    SIP_ADDRESS_BRACKETS = 1, SIP_ADDRESS_QUOTED = 2,
    SIP_ADDRESS_UNBALANCED = 4,     /* quote or < never closes */
    SIP_ADDRESS_DISPLAY_UNQUOTED = 8, /* display has a byte that needs quotes */
    SIP_ADDRESS_HAS_TAG = 16, SIP_ADDRESS_STAR = 32, /* Contact: * */
    SIP_ADDRESS_BARE_QUERY = 64     /* ?headers or ,; in an addr-spec without brackets */
};

struct sip_via {
    struct sip_span protocol_version, transport_name, host, branch, received, parameters;
    struct address sent_by;     /* port 0 when absent */
    struct address received_from; /* of ;received= */
    uint16_t rport;             /* value, 0 when absent or without value */
    uint8_t transport;          /* enum sip_transport */
    uint8_t flags;              /* enum sip_via_flag */
};
enum sip_via_flag {
    SIP_VIA_RPORT = 1,       /* ;rport present */
    SIP_VIA_RECEIVED = 2, SIP_VIA_COOKIE = 4, /* branch starts z9hG4bK */
    SIP_VIA_BRANCH = 8, SIP_VIA_MALFORMED = 16, SIP_VIA_PORT_BAD = 32, SIP_VIA_ALIAS = 64,
    SIP_VIA_UNBRACKETED_V6 = 128
};

/* All of these work on base + span: `base` is the message, `value` a span inside it; spans that come
   out count from `base` too. They never fail: what is missing is a zero-length span and a flag. */
void sip_uri_parse(const uint8_t *base, struct sip_span value, struct sip_uri *target);
void sip_address_parse(const uint8_t *base, struct sip_span value, struct sip_address *target);
void sip_via_parse(const uint8_t *base, struct sip_span value, struct sip_via *target);

/* Steps through a comma-joined value (quotes and <> respected). `*cursor` starts at 0. Returns 1 and
   the element (trimmed, may be empty), or 0 at the end. */
int sip_list_next(const uint8_t *base, struct sip_span value, uint32_t *cursor, struct sip_span *element);

/* Finds ;name or ;name=value in a parameter span (case-insensitive, quotes respected, also with ','
   as separator for digest and Warning-like lists when separator is ','). Returns 1 when present; the
   value is without quotes, zero length when there is none. */
int sip_param_find(const uint8_t *base, struct sip_span parameters, char separator, const char *name,
                   struct sip_span *value);

/* Unsigned decimal at the start of a span (white space skipped). Returns digits read, 0 when none;
   `*target` saturates at INT64_MAX. */
size_t sip_number(const uint8_t *base, struct sip_span value, int64_t *target);

/* CSeq: number (saturating) and method; 0 when malformed. */
int sip_cseq_parse(const uint8_t *base, struct sip_span value, int64_t *number, struct sip_span *method);

/* 64-bit hash of bytes, and its ASCII-case-folding twin, for interning and matching. */
uint64_t sip_hash(const uint8_t *source, size_t count, uint64_t seed);
uint64_t sip_hash_folded(const uint8_t *source, size_t count, uint64_t seed);

/* Which scan implementation runs: "scalar", "avx2", "avx512", "neon". `sip_force` picks one by name for tests
   and returns 0, or -1 when this machine cannot run it. Called before threads start. */
const char *sip_implementation(void);
int sip_force(const char *name);

#endif

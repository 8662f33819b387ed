/* The tables of a trace, as columns. One list a table: struct, allocation and the Python view all come
   from it, so a new column is one line here and the code that fills it. */
#ifndef TRUNKLINE_TABLES_H
#define TRUNKLINE_TABLES_H

#include "conditions.h"
#include "status.h"

#define NONE UINT32_MAX /* "no row" in every uint32_t column that names a row */

/* X(C type, name) */

/* One row a SIP message, in order of arrival. `*_hash` columns are 0 when the value is absent. */
#define MESSAGE_COLUMNS(X) \
    X(int64_t, time_ns)          /* since 1970 UTC; the row number where the input has no time */ \
    X(uint64_t, text_offset)     /* of the first byte, in the store */ \
    X(uint32_t, text_length) \
    X(uint32_t, body_offset)     /* from text_offset */ \
    X(uint32_t, frame_number)    /* packet or text frame in its file, from 1 */ \
    X(uint32_t, call)            /* row in calls */ \
    X(uint32_t, transaction)     /* row in transactions, NONE for a stray */ \
    X(uint32_t, source)          /* row in endpoints */ \
    X(uint32_t, target)          /* row in endpoints */ \
    X(uint32_t, cseq)            /* saturates at 2^32-1 */ \
    X(uint32_t, from_tag_hash) \
    X(uint32_t, to_tag_hash) \
    X(uint32_t, branch_hash)     /* of the top Via */ \
    X(uint32_t, from_user_hash) \
    X(uint32_t, to_user_hash) \
    X(uint32_t, request_uri_hash) \
    X(uint32_t, contact_hash)    /* of the first Contact's URI */ \
    X(uint32_t, user_agent)      /* row in strings: User-Agent or Server; NONE */ \
    X(uint32_t, media_line)      /* first row in media_lines, NONE without SDP */ \
    X(uint32_t, retransmission_of) /* row of the first copy, NONE for a first copy */ \
    X(uint32_t, defects)         /* enum sip_flag */ \
    X(uint32_t, flags)           /* enum message_flag */ \
    X(int32_t, expires_s)        /* Expires; -1 absent */ \
    X(int32_t, session_expires_s) /* -1 absent */ \
    X(int32_t, min_se_s)         /* -1 absent */ \
    X(int32_t, retry_after_s)    /* -1 absent */ \
    X(int32_t, rseq)             /* RSeq, or the RSeq of RAck in a PRACK; -1 absent */ \
    X(uint16_t, status)          /* 0 for requests */ \
    X(uint16_t, store)           /* where the text lies: 0 the arena, else input number */ \
    X(uint16_t, file)            /* input number, from 1 */ \
    X(int16_t, max_forwards)     /* -1 absent, clipped to 32767 */ \
    X(int16_t, q850_cause)       /* of Reason; -1 absent */ \
    X(uint16_t, warning_code)    /* 0 absent */ \
    X(uint16_t, ip_id)           /* IP identification of its (last) datagram, 0 unknown */ \
    X(uint8_t, method)           /* enum sip_method; of the CSeq in responses */ \
    X(uint8_t, cseq_method)      /* enum sip_method of the CSeq */ \
    X(uint8_t, transport)        /* enum sip_transport */ \
    X(uint8_t, direction)        /* 0 unknown, 1 incoming, 2 outgoing, seen from the logging node */ \
    X(uint8_t, dscp)             /* 255 unknown */ \
    X(uint8_t, ttl)              /* 0 unknown */ \
    X(uint8_t, via_count)        /* values, clipped to 255 */ \
    X(uint8_t, route_count) \
    X(uint8_t, record_route_count) \
    X(uint8_t, contact_count) \
    X(uint8_t, content_kind)     /* enum content_kind of the SDP-bearing or only part */ \
    X(uint8_t, media_count)      /* rows in media_lines */ \
    X(uint8_t, via_kind)         /* enum address_class of the top Via's sent-by */ \
    X(uint8_t, contact_kind)     /* of the first Contact's host */ \
    X(uint8_t, request_uri_kind) /* of the Request-URI's host */ \
    X(uint8_t, refresher)        /* of Session-Expires: 0 none, 1 uac, 2 uas */

enum message_flag {
    MESSAGE_RETRANSMISSION = 1, MESSAGE_MIRRORED = 2 /* same packet seen twice (mirror port) */,
    MESSAGE_IN_DIALOG = 4 /* To tag present */, MESSAGE_SDP = 8, MESSAGE_CREDENTIALS = 16 /* Authorization or
    Proxy-Authorization */, MESSAGE_RPORT = 32, MESSAGE_RECEIVED = 64, MESSAGE_REQUIRE_100REL = 128,
    MESSAGE_SUPPORTS_100REL = 256, MESSAGE_SUPPORTS_TIMER = 512, MESSAGE_REQUIRE_TIMER = 1024,
    MESSAGE_SNAPPED = 2048, MESSAGE_REASSEMBLED = 4096, MESSAGE_ADDRESS_INFERRED = 8192,
    MESSAGE_NO_TIME = 16384, MESSAGE_COOKIE = 32768 /* branch starts z9hG4bK */,
    MESSAGE_STALE = 65536 /* challenge says stale=true */, MESSAGE_REPLACES = 1 << 17,
    MESSAGE_SUPPORTS_REPLACES = 1 << 18, MESSAGE_CONTACT_STAR = 1 << 19, MESSAGE_TUNNELLED = 1 << 20,
    MESSAGE_VIA_MATCHES_SOURCE = 1 << 21 /* request: top Via sent-by is the packet's source address */,
    MESSAGE_LONG = 1 << 22 /* over UDP and above 1300 bytes */, MESSAGE_IDENTITY = 1 << 23,
    MESSAGE_LOGGED_RETRANSMISSION = 1 << 24 /* the log itself says so */,
    MESSAGE_ASSERTED = 1 << 25 /* P-Asserted-Identity present */
};

/* One row a client transaction seen at one hop (RFC 3261 §17): key is Call-ID, branch, CSeq, method. */
#define TRANSACTION_COLUMNS(X) \
    X(uint32_t, call) \
    X(uint32_t, first)           /* message row of the first request sent; NONE when only responses were seen */ \
    X(uint32_t, last)            /* of the last copy of the request */ \
    X(uint32_t, provisional)     /* of the first 1xx, NONE */ \
    X(uint32_t, ringing)         /* of the first 18x (101..199 but 100), NONE */ \
    X(uint32_t, final)           /* of the first final response, NONE */ \
    X(uint32_t, last_final)      /* of the last copy of a final response, NONE */ \
    X(uint32_t, ack)             /* INVITE: of the first ACK that answers it, NONE */ \
    X(uint32_t, cancel)          /* INVITE: of the first CANCEL, NONE */ \
    X(uint32_t, cseq) \
    X(uint32_t, source)          /* endpoint of the client side of the hop */ \
    X(uint32_t, target)          /* endpoint of the server side */ \
    X(uint16_t, requests)        /* sends of the request, mirror copies not counted */ \
    X(uint16_t, provisionals)    /* 1xx responses */ \
    X(uint16_t, finals)          /* sends of the final response */ \
    X(uint16_t, acks) \
    X(uint16_t, status)          /* final status, 0 none */ \
    X(uint8_t, method)           /* enum sip_method */ \
    X(uint8_t, flags)            /* enum transaction_flag */ \
    X(uint32_t, retry_of)        /* transaction this one repeats with credentials or after 422/423, NONE */

enum transaction_flag { TRANSACTION_IN_DIALOG = 1, TRANSACTION_CREDENTIALS = 2, TRANSACTION_CHALLENGED = 4,
                        TRANSACTION_OFFER = 8 /* request carried SDP */, TRANSACTION_FORKED = 16 /* finals or
                        provisionals with several To tags */, TRANSACTION_NO_REQUEST = 32,
                        TRANSACTION_RELIABLE = 64 /* over TCP, TLS, WS */ };

/* One row a Call-ID. `*_row` columns name message rows. Times are -1 when not established. */
#define CALL_COLUMNS(X) \
    X(uint64_t, call_id_hash) \
    X(uint64_t, call_id_offset) \
    X(uint32_t, call_id_length) \
    X(uint16_t, call_id_store) \
    X(uint8_t, kind)             /* enum call_kind */ \
    X(uint8_t, outcome)          /* enum call_outcome */ \
    X(uint32_t, first_message)   /* into call_messages */ \
    X(uint32_t, message_count) \
    X(uint32_t, first_transaction) /* rows of one call are contiguous in transactions */ \
    X(uint32_t, transaction_count) \
    X(uint32_t, invite_row)      /* first initial INVITE */ \
    X(uint32_t, progress_row)    /* first 101..199 */ \
    X(uint32_t, answer_row)      /* first 2xx to the initial INVITE */ \
    X(uint32_t, final_row)       /* final response that decided the outcome */ \
    X(uint32_t, ack_row)         /* first ACK of the 2xx */ \
    X(uint32_t, bye_row)         /* first BYE */ \
    X(uint32_t, cancel_row) \
    X(uint32_t, caller)          /* endpoint that sent the first INVITE or request at its first hop */ \
    X(uint32_t, callee)          /* endpoint that answered it at the first hop */ \
    X(uint32_t, group)           /* row of the first call of the legs correlated with this one; itself alone */ \
    X(uint8_t, group_reason)     /* enum group_reason: why it was put there */ \
    X(uint8_t, released_by)      /* 0 unknown, 1 caller, 2 callee */ \
    X(uint16_t, final_status) \
    X(int64_t, start_ns) \
    X(int64_t, end_ns)           /* of the last message */ \
    X(int64_t, invite_ns) \
    X(int64_t, answer_ns) \
    X(int64_t, release_ns)       /* BYE */ \
    X(int32_t, pdd_ms)           /* INVITE to first non-100 response (RFC 6076 SRD) */ \
    X(int32_t, trying_ms)        /* INVITE to first response */ \
    X(int32_t, setup_ms)         /* INVITE to 2xx */ \
    X(int32_t, ring_ms)          /* first 18x to final */ \
    X(int32_t, ack_ms)           /* 2xx to ACK */ \
    X(int64_t, talk_ms)          /* 2xx to BYE, or to the last RTP packet when no BYE was seen and flagged */ \
    X(uint32_t, from_user_hash) \
    X(uint32_t, to_user_hash) \
    X(uint32_t, user_agent)      /* of the caller, row in strings, NONE */ \
    X(uint32_t, server)          /* of the callee, row in strings, NONE */ \
    X(uint32_t, offer_line)      /* media_lines row of the last agreed offer's first audio line, NONE */ \
    X(uint32_t, answer_line)     /* media_lines row of its answer, NONE */ \
    X(uint8_t, codec)            /* enum sdp_codec agreed last, 0 none */ \
    X(uint8_t, early_tags)       /* distinct To tags in 1xx */ \
    X(uint8_t, answer_tags)      /* distinct To tags in 2xx */ \
    X(uint8_t, hops)             /* distinct (source host, target host) pairs the INVITE was seen on */ \
    X(int16_t, q850_cause)       /* of the release or final response, -1 */ \
    X(uint16_t, retransmissions) \
    X(uint32_t, first_stream)    /* into call_streams */ \
    X(uint32_t, stream_count) \
    X(uint32_t, flags)           /* enum call_flag */ \
    X(uint32_t, correlation_hash) /* of Session-ID, Cisco-Guid, icid, X-Call-ID..., 0 */

enum call_kind { CALL_OTHER = 0, CALL_INVITE, CALL_REGISTER, CALL_OPTIONS, CALL_SUBSCRIBE, CALL_MESSAGE,
                 CALL_PUBLISH, CALL_STRAY /* responses or in-dialog requests only */ };
enum call_outcome { OUTCOME_UNKNOWN = 0, OUTCOME_ANSWERED, OUTCOME_BUSY, OUTCOME_CANCELLED, OUTCOME_REJECTED,
                    OUTCOME_FAILED, OUTCOME_REDIRECTED, OUTCOME_CHALLENGED, OUTCOME_NO_RESPONSE,
                    OUTCOME_PENDING, OUTCOME_NO_ANSWER, OUTCOME_DONE /* not a call: final 2xx */ };
enum group_reason { GROUP_ALONE = 0, GROUP_HEADER, GROUP_CALL_ID_SUFFIX, GROUP_LOG, GROUP_MEDIA, GROUP_NUMBERS };
enum call_flag {
    CALL_PARTIAL_START = 1,   /* the capture does not hold its beginning */
    CALL_PARTIAL_END = 2,     /* the capture ends within 32 s of its last message, and it was not over */
    CALL_ONE_SIDED = 4,       /* one direction of its first hop is never seen */
    CALL_NO_TIME = 8,         /* the input has no clock: no timing rule may fire */
    CALL_SNAPPED = 16, CALL_MIRRORED = 32, CALL_HAS_RTP = 64, CALL_FORKED = 128, CALL_TRANSFERRED = 256,
    CALL_HELD = 512, CALL_ENCRYPTED_MEDIA = 1024, CALL_T38 = 2048, CALL_RELEASE_GUESSED = 4096,
    CALL_CONFIRMED = 8192 /* 2xx and ACK */, CALL_EMERGENCY = 16384, CALL_SIPREC = 32768,
    CALL_OVERSIZE = 65536 /* more than 65,535 messages; the rules saw the first of them */
};

/* One row an m-line, in order of arrival. */
#define MEDIA_LINE_COLUMNS(X) \
    X(uint32_t, message) \
    X(uint32_t, call) \
    X(uint32_t, counterpart)     /* the answer's row for an offer, the offer's for an answer; NONE */ \
    X(uint32_t, endpoint)        /* address and port where media is wanted, row in endpoints */ \
    X(uint32_t, section_offset)  /* of m=, from the message's text_offset */ \
    X(uint32_t, section_length) \
    X(uint64_t, codecs)          /* bit an enum sdp_codec */ \
    X(uint64_t, formats_hash)    /* payload types, codecs and clocks in order */ \
    X(uint64_t, body_hash)       /* of the whole description but its o= line */ \
    X(uint32_t, origin_hash)     /* of o= without its version */ \
    X(uint32_t, origin_version)  /* low 32 bits */ \
    X(uint32_t, crypto_key_hash) \
    X(uint32_t, fingerprint_hash) \
    X(uint32_t, defects)         /* enum sdp_flag */ \
    X(uint32_t, bandwidth_kbps) \
    X(uint16_t, traits)          /* enum sdp_trait */ \
    X(uint16_t, port) \
    X(uint16_t, ptime_ms)        /* 0 absent */ \
    X(uint16_t, maxptime_ms) \
    X(uint16_t, rtcp_port) \
    X(uint16_t, crypto_suites)   /* bit an enum sdp_crypto_suite */ \
    X(uint16_t, candidate_count) \
    X(uint16_t, format_total) \
    X(uint8_t, role)             /* 0 unknown, 1 offer, 2 answer */ \
    X(uint8_t, line)             /* position in its description, from 0 */ \
    X(uint8_t, line_count)       /* of the description */ \
    X(uint8_t, media)            /* enum sdp_media_type */ \
    X(uint8_t, proto)            /* enum sdp_proto */ \
    X(uint8_t, direction)        /* enum sdp_direction */ \
    X(uint8_t, setup)            /* enum sdp_setup */ \
    X(uint8_t, address_kind)     /* enum address_class of c= */ \
    X(uint8_t, origin_kind)      /* enum address_class of o= */ \
    X(uint8_t, family)           /* of c=: 4, 6, 0 */ \
    X(uint8_t, candidates)       /* enum sdp_candidate */ \
    X(uint8_t, crypto_count) \
    X(uint8_t, codec)            /* first real codec (no telephone-event, CN, RED) */ \
    X(uint8_t, payload_type)     /* of that codec; 255 none */ \
    X(uint8_t, telephone_event)  /* payload type, 255 none */ \
    X(uint8_t, comfort_noise)    /* payload type, 255 none */ \
    X(uint32_t, clock_rate_hz)   /* of that codec */ \
    X(uint32_t, event_clock_hz)  /* of telephone-event, 0 */ \
    X(uint64_t, payload_types_low)  /* bit a payload type 0..63 */ \
    X(uint64_t, payload_types_high) /* 64..127 */

/* One row an address and port (port 0: the host itself). */
#define ENDPOINT_COLUMNS(X) \
    X(uint64_t, ip_high)         /* the 16 bytes as two big-endian halves; v4 as ::ffff:a.b.c.d */ \
    X(uint64_t, ip_low) \
    X(uint32_t, host)            /* row of the same address with port 0 */ \
    X(uint32_t, name)            /* row in strings when it is a name, else NONE */ \
    X(uint32_t, messages_sent) \
    X(uint32_t, messages_received) \
    X(uint32_t, user_agent)      /* row in strings: last User-Agent or Server it sent, NONE */ \
    X(uint32_t, announced)       /* last media_lines row that names it, NONE */ \
    X(uint16_t, port) \
    X(uint8_t, family)           /* 4, 6, 0 name */ \
    X(uint8_t, kind)             /* enum address_class */ \
    X(uint32_t, flags)           /* enum endpoint_flag */
enum endpoint_flag { ENDPOINT_SIP = 1, ENDPOINT_TLS = 2, ENDPOINT_STUN = 4, ENDPOINT_DTLS = 8, ENDPOINT_OTHER = 16 };

/* One row a text that recurs: product tokens, realms, host names. */
#define STRING_COLUMNS(X) \
    X(uint64_t, offset)          /* in the arena */ \
    X(uint32_t, length) \
    X(uint32_t, count)           /* times interned */ \
    X(uint64_t, hash) \
    X(uint8_t, verdict)          /* scanner list: 0 not looked at, 1 clean, 2 + place in the list */

/* One row a sighting: the native pass saw a condition. `row` is a message unless the rule says otherwise. */
#define SIGHTING_COLUMNS(X) \
    X(uint32_t, call)            /* NONE when there is none */ \
    X(uint32_t, row) \
    X(uint32_t, other)           /* a second row, NONE */ \
    X(uint16_t, condition)       /* enum condition */ \
    X(uint16_t, code)            /* a small number: status, cause, payload type, reason */ \
    X(int64_t, value)            /* the number the detail names: ms, bytes, count */

/* One row an event beside the messages that rules need: TCP and TLS life, ICMP errors, keep-alives, STUN. */
#define EVENT_COLUMNS(X) \
    X(int64_t, time_ns) \
    X(uint32_t, source) \
    X(uint32_t, target) \
    X(uint32_t, frame_number) \
    X(uint32_t, value)           /* ICMP type<<8|code; TLS, DTLS content type<<8|message; STUN error<<16|type; bytes */ \
    X(uint32_t, bytes_length)    /* handshake bytes kept for it, 0 none */ \
    X(uint64_t, bytes_offset)    /* in the arena */ \
    X(uint16_t, file) \
    X(uint8_t, kind)             /* enum event_kind */ \
    X(uint8_t, transport)
enum event_kind { EVENT_NONE = 0, EVENT_TCP_OPENED, EVENT_TCP_CLOSED, EVENT_TCP_RESET, EVENT_TCP_REFUSED,
                  EVENT_PING, EVENT_PONG, EVENT_ICMP, EVENT_TLS, EVENT_STUN, EVENT_DTLS, EVENT_OTHER,
                  EVENT_TLS_HANDSHAKE /* first flight of one direction; bytes kept */, EVENT_TLS_ALERT,
                  EVENT_UDPTL, EVENT_KIND_COUNT };

#include "stream_columns.h"

#define TABLES(X) \
    X(messages, MESSAGE_COLUMNS) X(transactions, TRANSACTION_COLUMNS) X(calls, CALL_COLUMNS) \
    X(media_lines, MEDIA_LINE_COLUMNS) X(endpoints, ENDPOINT_COLUMNS) X(strings, STRING_COLUMNS) \
    X(sightings, SIGHTING_COLUMNS) X(events, EVENT_COLUMNS) X(streams, STREAM_COLUMNS)

/* Each table is a struct of its columns' pointers behind a count and a capacity. */
struct table { uint32_t count, capacity; void *block; };
#define COLUMN_POINTER(type, name) type *name;
#define X(table_name, COLUMNS) struct table_name##_table { struct table head; COLUMNS(COLUMN_POINTER) };
TABLES(X)
#undef X

enum table_id {
#define X(table_name, COLUMNS) TABLE_##table_name,
    TABLES(X)
#undef X
    TABLE_COUNT
};

struct column { const char *name; char kind; uint8_t size; }; /* kind: 'u' 'i' 'f' as numpy writes it */

/* The memory behind the tables: the caller lends it. `lend` returns zeroed bytes or NULL. */
struct lender { void *(*lend)(size_t bytes); void (*take_back)(void *block); };

/* Columns of a table, in the order of its pointers behind `struct table`. Returns how many. */
size_t table_columns(int table, const struct column **columns);
/* Makes room for `extra` more rows, moving the columns when needed. 0, or STATUS_TOO_SMALL. */
int table_reserve(const struct lender *lender, int table, struct table *head, uint32_t extra);
void table_release(const struct lender *lender, struct table *head);
const char *condition_id(int condition);

#endif

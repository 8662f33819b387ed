"""The trace kernel's C interface, as far as Python needs it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "absorb.h" nogil:
    ctypedef struct sip_span "struct sip_span":
        uint32_t offset
        uint32_t length
    ctypedef struct address "struct address":
        uint8_t ip[16]
        uint16_t port
        uint8_t family
        uint8_t kind
    void address_parse(const uint8_t *source, size_t count, address *target)
    ptrdiff_t address_format(const address *source, uint8_t *target, size_t capacity)

    ctypedef struct problems_counts "struct problems":
        uint64_t *count
        uint64_t *first_offset
    enum: PROBLEM_COUNT
    const char *problem_text(int kind)
    const char *problem_name(int kind)

    ctypedef struct capture_state "struct capture":
        uint64_t position
        uint32_t number
        uint8_t format
        uint64_t secrets_length
    int capture_open(capture_state *capture, const uint8_t *source, size_t count)

    ctypedef struct table_head "struct table":
        uint32_t count
        uint32_t capacity
        void *block
    ctypedef struct column "struct column":
        const char *name
        char kind
        uint8_t size
    ctypedef struct lender "struct lender":
        void *(*lend)(size_t bytes) noexcept nogil
        void (*take_back)(void *block) noexcept nogil
    size_t table_columns(int table, const column **columns)
    const char *condition_id(int condition)
    enum: CONDITION_COUNT
    enum: CONDITION_WORDS

    ctypedef struct messages_table "struct messages_table":
        table_head head
        uint32_t *text_length
        uint32_t *source
        uint32_t *target
        uint16_t *status
        uint8_t *method
    ctypedef struct calls_table "struct calls_table":
        table_head head
        uint64_t *call_id_offset
        uint32_t *call_id_length
        uint16_t *call_id_store
    ctypedef struct endpoints_table "struct endpoints_table":
        table_head head
        uint64_t *ip_high
        uint64_t *ip_low
        uint32_t *name
        uint32_t *host
        uint16_t *port
        uint8_t *family
    ctypedef struct strings_table "struct strings_table":
        table_head head
        uint64_t *offset
        uint32_t *length
    ctypedef struct sightings_table "struct sightings_table":
        table_head head
        uint32_t *call
        uint32_t *row
        uint32_t *other
        uint16_t *condition
        uint16_t *code
        int64_t *value
    ctypedef struct any_table "struct transactions_table":
        table_head head
    ctypedef struct trace_state "struct trace":
        messages_table messages
        any_table transactions
        calls_table calls
        table_head media_lines
        endpoints_table endpoints
        strings_table strings
        sightings_table sightings
        table_head events
        table_head streams
        uint32_t *call_messages
        uint32_t *call_streams
        uint64_t *call_conditions
        uint64_t condition_count[1]
        uint8_t *arena
        uint64_t arena_length
        const uint8_t **stores
        uint32_t store_capacity
        problems_counts problems
        uint64_t packets, bytes, rtp_packets, rtcp_packets, sip_packets, other_packets, mirrored_packets
        uint64_t tunnel_packets[16]
        int64_t first_time_ns, last_time_ns
        uint8_t no_time, failed
        uint16_t file
        const uint8_t *text
        uint64_t text_count
    ctypedef struct framed "struct framed":
        const uint8_t *text
        size_t length
        int64_t time_ns
        uint32_t number
        uint64_t offset
        address source
        address target
        const uint8_t *source_name
        const uint8_t *target_name
        uint32_t source_name_length
        uint32_t target_name_length
        uint64_t correlation_hash
        uint8_t transport, direction, dscp, ttl, in_store, has_time
        uint16_t ip_id
        uint32_t message_flags
    enum: MESSAGE_LOGGED_RETRANSMISSION

    int trace_init(trace_state *t, const lender *lender, uint64_t seed, uint64_t expected_bytes)
    void trace_release(trace_state *t)
    ptrdiff_t trace_capture(trace_state *t, capture_state *capture, const uint8_t *source, size_t count, uint64_t packets)
    void trace_capture_end(trace_state *t)
    int64_t trace_message(trace_state *t, const framed *framed)
    int trace_packet_bytes(trace_state *t, const uint8_t *source, size_t count, int64_t time_ns, uint16_t link_type,
                           uint64_t offset)
    int trace_finish(trace_state *t)
    int part_init(trace_state *t)
    int part_read(trace_state *t, const capture_state *scout, const uint8_t *source, size_t count, uint64_t first,
                  uint64_t until)
    int split_open(capture_state *capture, capture_state *scout, const uint8_t *source, size_t count)
    int trace_read_until(trace_state *whole, capture_state *capture, const uint8_t *source, size_t count, uint64_t until)
    int trace_absorb(trace_state *whole, capture_state *capture, const capture_state *scout, trace_state *part)
    void trace_play(const trace_state *whole, const trace_state *part, uint32_t share, uint32_t shares)
    enum: STATUS_UNSUPPORTED
    const uint8_t *trace_text(const trace_state *t, uint32_t row, uint32_t *length)
    uint64_t sip_hash(const uint8_t *source, size_t count, uint64_t seed)
    const char *sip_method_name(int method)
    const char *sdp_codec_name(int codec)
    enum: SIP_METHOD_COUNT
    enum: SDP_CODEC_COUNT

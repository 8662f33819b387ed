"""Python's door to the RTP kernels: packets in, one row a stream out as numpy columns; the E-model."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

cdef extern from "status.h" nogil:
    enum: STATUS_MALFORMED, STATUS_INCOMPLETE, STATUS_TOO_SMALL, STATUS_END

cdef extern from "packet.h" nogil:
    cdef struct address:
        uint8_t ip[16]
        uint16_t port
        uint8_t family
    cdef struct packet:
        int64_t time_ns
        uint64_t file_offset
        const uint8_t *payload
        uint32_t payload_length
        uint32_t wire_length
        uint32_t number
        address source
        address target
        uint16_t flags
        uint8_t protocol
        uint8_t dscp
        uint8_t ttl
        uint64_t flow_tag
    enum: PACKET_SNAPPED, PACKET_DUPLICATE

cdef extern from "rtp.h" nogil:
    enum: RTP_CANDIDATES, RTP_BUCKETS_PER_STREAM
    cdef struct rtp_header:
        uint32_t timestamp
        uint32_t ssrc
        uint32_t payload_offset
        uint32_t payload_length
        uint16_t sequence
        uint8_t payload_type
        uint8_t marker
        uint16_t extension_profile
        uint8_t csrc_count
        uint8_t padding
    cdef struct rtp_stream:
        pass
    cdef struct rtp_candidate:
        pass
    cdef struct rtp_table:
        rtp_stream *streams
        uint32_t count
        uint32_t capacity
        uint32_t *buckets
        rtp_candidate *candidates
        uint32_t candidate_count
        uint64_t seed
        uint8_t created
        uint64_t packets
        uint64_t rtcp_packets
        uint64_t rtcp_malformed
        uint64_t rtcp_unmatched
    int rtp_classify(const uint8_t *payload, uint32_t count)
    int rtp_parse(const uint8_t *payload, uint32_t count, uint32_t wire, rtp_header *header)
    int rtp_table_full(const rtp_table *t)
    void rtp_rehash(rtp_table *t, uint32_t *buckets, uint32_t bucket_count)
    int32_t rtp_push(rtp_table *t, const packet *p, int expected)
    void rtp_describe(rtp_stream *s, uint8_t payload_type, uint8_t codec, uint32_t clock_rate_hz)
    int rtcp_push(rtp_table *t, const packet *p)
    void rtp_finish(rtp_table *t)
    void rtp_merge(rtp_stream *first, rtp_stream *second)
    cdef struct stream_columns:
        pass
    void rtp_export(const rtp_stream *s, const stream_columns *c, uint32_t row)

cdef extern from "emodel.h" nogil:
    cdef struct emodel_codec:
        float ie
        float bpl
        float look_ahead_ms
        uint8_t band
        uint8_t source
    int emodel_of_codec(int codec, emodel_codec *target)
    double emodel_ie_effective(const emodel_codec *codec, double loss_percent, double burst_ratio)
    double emodel_delay_impairment(double delay_ms)
    double emodel_rating(const emodel_codec *codec, double loss_percent, double burst_ratio, double delay_ms)
    double emodel_mos(double rating)
    double emodel_mos_simple(double one_way_ms, double jitter_ms, double loss_percent)

cdef extern from *:
    """
    #include "sdp.h"
    #include "stream_columns.h"
    #define STREAM_DTYPE_uint8_t "u1"
    #define STREAM_DTYPE_uint16_t "u2"
    #define STREAM_DTYPE_uint32_t "u4"
    #define STREAM_DTYPE_uint64_t "u8"
    #define STREAM_DTYPE_int32_t "i4"
    #define STREAM_DTYPE_int64_t "i8"
    #define STREAM_DTYPE_float "f4"
    #define STREAM_DTYPE_double "f8"
    #define STREAM_NAME(type, name) {#name, STREAM_DTYPE_##type},
    static const struct { const char *name, *dtype; } stream_column_names[] = {STREAM_COLUMNS(STREAM_NAME)};
    enum { STREAM_COLUMN_COUNT = sizeof stream_column_names / sizeof *stream_column_names };
    static const char *const stream_codec_names[] = {
        "",
    #define STREAM_CODEC(symbol, name, clock, payload_type) name,
        SDP_CODECS(STREAM_CODEC)
    };
    """
    enum: STREAM_COLUMN_COUNT, SDP_CODEC_COUNT
    struct stream_column_name "":
        const char *name
        const char *dtype
    stream_column_name stream_column_names[]
    const char *stream_codec_names[]

MALFORMED = STATUS_MALFORMED
ON_PROBATION = STATUS_INCOMPLETE
FINISHED = STATUS_END
SNAPPED = PACKET_SNAPPED
MIRRORED = PACKET_DUPLICATE
CLASSES = ("other", "rtp", "rtcp", "stun", "dtls", "udptl", "turn_channel")
CODECS = tuple(stream_codec_names[number].decode() for number in range(SDP_CODEC_COUNT))


def classify(payload):
    cdef const uint8_t[::1] view = payload
    return CLASSES[rtp_classify(&view[0] if len(view) else NULL, <uint32_t>len(view))]


def parse(payload, wire_length=0):
    cdef const uint8_t[::1] view = payload
    cdef rtp_header h
    memset(&h, 0, sizeof(h))
    if not len(view) or rtp_parse(&view[0], <uint32_t>len(view), <uint32_t>wire_length, &h) != 0:
        return None
    return {
        "payload_type": h.payload_type, "marker": bool(h.marker), "sequence": h.sequence,
        "timestamp": h.timestamp, "ssrc": h.ssrc, "csrc_count": h.csrc_count,
        "extension_profile": h.extension_profile, "padding": h.padding,
        "payload_offset": h.payload_offset, "payload_length": h.payload_length,
    }


cdef emodel_codec _codec(codec) except *:
    cdef emodel_codec value
    cdef int number = codec
    emodel_of_codec(number, &value)
    return value


def codec_impairment(codec):
    cdef emodel_codec value = _codec(codec)
    return value.ie, value.bpl, value.look_ahead_ms, value.band, value.source


def ie_effective(codec, double loss_percent, double burst_ratio=1.0):
    cdef emodel_codec value = _codec(codec)
    return emodel_ie_effective(&value, loss_percent, burst_ratio)


def delay_impairment(double delay_ms):
    return emodel_delay_impairment(delay_ms)


def rating(codec, double loss_percent, double burst_ratio=1.0, double delay_ms=0.0):
    cdef emodel_codec value = _codec(codec)
    return emodel_rating(&value, loss_percent, burst_ratio, delay_ms)


def mos(double rating):
    return emodel_mos(rating)


def mos_simple(double one_way_ms, double jitter_ms, double loss_percent):
    return emodel_mos_simple(one_way_ms, jitter_ms, loss_percent)


cdef class StreamTable:
    """Streams of one capture."""

    cdef rtp_table table
    cdef bint finished

    def __cinit__(self, uint64_t seed=0x9E3779B97F4A7C15):
        memset(&self.table, 0, sizeof(self.table))
        self.table.seed = seed
        self.table.candidates = <rtp_candidate *>calloc(RTP_CANDIDATES, sizeof(rtp_candidate))
        if self.table.candidates == NULL:
            raise MemoryError("no memory for streams")
        self.table.candidate_count = RTP_CANDIDATES

    def __dealloc__(self):
        free(self.table.streams)
        free(self.table.buckets)
        free(self.table.candidates)

    cdef int _grow(self) except -1:
        cdef rtp_table *t = &self.table
        cdef uint32_t capacity = t.capacity * 2 if t.capacity else 16
        cdef rtp_stream *streams = <rtp_stream *>calloc(capacity, sizeof(rtp_stream))
        cdef uint32_t *buckets = <uint32_t *>calloc(capacity * RTP_BUCKETS_PER_STREAM, sizeof(uint32_t))
        if streams == NULL or buckets == NULL:
            free(streams)
            free(buckets)
            raise MemoryError("no memory for more streams")
        if t.streams != NULL:
            memcpy(streams, t.streams, t.count * sizeof(rtp_stream))
        free(t.streams)
        free(t.buckets)
        t.streams = streams
        t.capacity = capacity
        rtp_rehash(t, buckets, capacity * RTP_BUCKETS_PER_STREAM)
        return 0

    def push(self, payload, int64_t time_ns, source, target, *, bint expected=False, bint rtcp=False, dscp=0,
             ttl=64, uint64_t flow_tag=0, flags=0, wire_length=0, number=0, uint64_t file_offset=0):
        cdef const uint8_t[::1] view = payload
        cdef packet p
        memset(&p, 0, sizeof(p))
        _address(&p.source, source)
        _address(&p.target, target)
        p.time_ns = time_ns
        p.file_offset = file_offset
        p.payload = &view[0] if len(view) else NULL
        p.payload_length = <uint32_t>len(view)
        p.wire_length = max(<uint32_t>wire_length, p.payload_length)
        p.number = number
        p.flags = flags
        p.protocol = 17
        p.dscp = dscp
        p.ttl = ttl
        p.flow_tag = flow_tag
        if rtcp:
            return rtcp_push(&self.table, &p)
        if rtp_table_full(&self.table):
            self._grow()
        return rtp_push(&self.table, &p, expected)

    def describe(self, uint32_t row, uint8_t payload_type, uint8_t codec, uint32_t clock_rate_hz):
        if row >= self.table.count:
            raise IndexError(f"stream {row} of {self.table.count}")
        rtp_describe(&self.table.streams[row], payload_type, codec, clock_rate_hz)

    def merge(self, uint32_t row, StreamTable other, uint32_t other_row):
        if row >= self.table.count or other_row >= other.table.count:
            raise IndexError("no such stream")
        if self.finished or other.finished:
            raise ValueError("only streams that are not finished can be merged")
        rtp_merge(&self.table.streams[row], &other.table.streams[other_row])

    def finish(self):
        rtp_finish(&self.table)
        self.finished = True

    def columns(self):
        cdef void *pointers[STREAM_COLUMN_COUNT]
        cdef size_t place
        cdef uint32_t row
        if not self.finished:
            raise ValueError("finish the streams first")
        result = {}
        for k in range(STREAM_COLUMN_COUNT):
            array = np.zeros(self.table.count, dtype=stream_column_names[k].dtype.decode())
            result[stream_column_names[k].name.decode()] = array
            place = array.ctypes.data
            pointers[k] = <void *>place
        for row in range(self.table.count):
            rtp_export(&self.table.streams[row], <const stream_columns *>pointers, row)
        return result

    def __len__(self):
        return self.table.count

    @property
    def created(self):
        return bool(self.table.created)

    @property
    def packets(self):
        return self.table.packets

    @property
    def rtcp_packets(self):
        return self.table.rtcp_packets

    @property
    def rtcp_malformed(self):
        return self.table.rtcp_malformed

    @property
    def rtcp_unmatched(self):
        return self.table.rtcp_unmatched


cdef int _address(address *target, source) except -1:
    ip, port = source
    cdef const uint8_t[::1] view = ip
    if len(view) != 16:
        raise ValueError("an address is 16 bytes; IPv4 as ::ffff:a.b.c.d")
    memcpy(target.ip, &view[0], 16)
    target.port = port
    target.family = 4 if bytes(view[:12]) == b"\0" * 10 + b"\xff\xff" else 6
    return 0

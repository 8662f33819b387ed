"""Thin door to the SDP and MIME kernels: one object a description, one a media line; nothing is copied before it is read."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from engine._native import sip as native_sip


cdef extern from "sdp.h" nogil:
    struct sip_span:
        uint32_t offset
        uint32_t length
    struct address:
        uint8_t ip[16]
        uint16_t port
        uint8_t family
        uint8_t kind
    struct sdp_format:
        uint8_t payload_type
        uint8_t codec
        uint8_t channels
        uint8_t flags
        uint32_t clock_rate_hz
        sip_span fmtp
        sip_span name
    struct sdp_media:
        sip_span section
        address connection
        sip_span connection_host
        uint16_t port_count
        uint8_t media
        uint8_t proto
        uint8_t direction
        uint8_t setup
        uint16_t ptime_ms
        uint16_t maxptime_ms
        uint16_t rtcp_port
        uint8_t format_count
        uint16_t format_total
        uint8_t crypto_count
        uint16_t crypto_suites
        uint16_t candidate_count
        uint8_t candidates
        uint16_t traits
        uint64_t codecs
        uint32_t bandwidth_kbps
        sip_span label
        sip_span mid
        uint32_t flags
        sdp_format formats[32]
    struct sdp_session:
        sip_span origin
        sip_span session_id
        sip_span session_version
        int64_t version
        address origin_address
        address connection
        sip_span session_name
        uint32_t flags
        uint16_t media_count
        uint16_t media_total
        uint16_t line_count
        uint64_t body_hash
    ptrdiff_t sdp_scan(const uint8_t *base, sip_span body, sdp_session *session, sdp_media *media, size_t capacity)
    const char *sdp_codec_name(int codec)
    uint32_t sdp_codec_clock_hz(int codec)
    enum: SDP_CODEC_COUNT

cdef extern from "mime.h" nogil:
    struct mime_part:
        sip_span headers
        sip_span content_type
        sip_span body
        uint8_t kind
    uint8_t mime_kind(const uint8_t *base, sip_span content_type)
    ptrdiff_t mime_split(const uint8_t *base, sip_span content_type, sip_span body, mime_part *parts, size_t capacity,
                         uint32_t *flags)


cdef enum:
    ROWS_MAX = 64
    PARTS_MAX = 64

MEDIA_TYPES = ("other", "audio", "video", "image", "application", "text", "message")
PROTOS = ("other", "RTP/AVP", "RTP/SAVP", "RTP/AVPF", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "udptl", "udp",
          "TCP", "TCP/MSRP", "UDP/DTLS/SCTP", "UDP/TLS/UDPTL")
DIRECTIONS = ("", "sendrecv", "sendonly", "recvonly", "inactive")
SETUPS = ("", "active", "passive", "actpass", "holdconn")


def codec_name(int codec):
    return sdp_codec_name(codec).decode()


def codec_clock_hz(int codec):
    return sdp_codec_clock_hz(codec)


cdef bytes _text(const uint8_t *base, sip_span span):
    return PyBytes_FromStringAndSize(<const char *>base + span.offset, span.length)


class Format:
    __slots__ = ("payload_type", "codec", "name", "clock_rate_hz", "channels", "fmtp", "flags")

    def __init__(self, payload_type, codec, name, clock_rate_hz, channels, fmtp, flags):
        self.payload_type = payload_type
        self.codec = codec
        self.name = name
        self.clock_rate_hz = clock_rate_hz
        self.channels = channels
        self.fmtp = fmtp
        self.flags = flags

    def __repr__(self):
        return f"Format({self.payload_type}, {self.name}/{self.clock_rate_hz}, fmtp={self.fmtp!r})"


class Media:
    __slots__ = ("address", "address_kind", "bandwidth_kbps", "candidate_count", "candidates", "codecs", "crypto_count",
                 "crypto_suites", "direction", "family", "flags", "format_total", "formats", "label", "maxptime_ms", "media",
                 "mid", "port", "port_count", "proto", "ptime_ms", "rtcp_port", "section", "setup", "traits")

    def codec_names(self):
        """Encoding names in order, as written or as RFC 3551 assigns them."""
        return [entry.name for entry in self.formats]


class Description:
    __slots__ = ("address", "address_kind", "body_hash", "flags", "line_count", "media", "media_total", "origin",
                 "origin_address", "session_id", "session_name", "version")


cdef str _address(const uint8_t *base, sip_span host):
    return _text(base, host).decode("utf-8", "replace")


cdef object _media(const uint8_t *base, sdp_media *m):
    row = Media()
    row.section = _text(base, m.section)
    row.address = _address(base, m.connection_host)
    row.address_kind = m.connection.kind
    row.family = m.connection.family
    row.port = m.connection.port
    row.port_count = m.port_count
    row.media = MEDIA_TYPES[m.media]
    row.proto = PROTOS[m.proto]
    row.direction = DIRECTIONS[m.direction]
    row.setup = SETUPS[m.setup]
    row.ptime_ms = m.ptime_ms
    row.maxptime_ms = m.maxptime_ms
    row.rtcp_port = m.rtcp_port
    row.format_total = m.format_total
    row.crypto_count = m.crypto_count
    row.crypto_suites = m.crypto_suites
    row.candidate_count = m.candidate_count
    row.candidates = m.candidates
    row.traits = m.traits
    row.codecs = m.codecs
    row.bandwidth_kbps = m.bandwidth_kbps
    row.label = _text(base, m.label)
    row.mid = _text(base, m.mid)
    row.flags = m.flags
    row.formats = []
    for i in range(m.format_count):
        name = _text(base, m.formats[i].name).decode("utf-8", "replace") or sdp_codec_name(m.formats[i].codec).decode()
        row.formats.append(Format(m.formats[i].payload_type, m.formats[i].codec, name, m.formats[i].clock_rate_hz,
                                  m.formats[i].channels, _text(base, m.formats[i].fmtp), m.formats[i].flags))
    return row


def scan(const uint8_t[::1] body):
    """The description in `body`, or None when it holds no SDP line."""
    cdef sdp_session session
    cdef sdp_media *media
    cdef sip_span whole
    cdef const uint8_t *base
    if body.shape[0] == 0:
        return None
    base = &body[0]
    whole.offset = 0
    whole.length = body.shape[0]
    media = <sdp_media *>malloc(ROWS_MAX * sizeof(sdp_media))
    if media == NULL:
        raise MemoryError("no memory for the media lines of a description")
    try:
        if sdp_scan(base, whole, &session, media, ROWS_MAX) < 0:
            return None
        d = Description()
        d.origin = _text(base, session.origin)
        d.session_id = _text(base, session.session_id)
        d.version = session.version
        d.origin_address = session.origin_address.kind
        d.address_kind = session.connection.kind
        d.session_name = _text(base, session.session_name)
        d.flags = session.flags
        d.media_total = session.media_total
        d.line_count = session.line_count
        d.body_hash = session.body_hash
        d.media = [_media(base, &media[i]) for i in range(session.media_count)]
        d.address = d.media[0].address if d.media else ""
        return d
    finally:
        free(media)


def of_message(text):
    """The description that a SIP message carries, alone or as a part of a multipart body; None when there is none."""
    message = native_sip.scan(text)
    types = message.header("Content-Type")
    body = message.body
    if not body:
        return None
    if types and types[0].lower().startswith(b"multipart/"):
        for part_type, part_body in split_multipart(types[0], body)[0]:
            if part_type.lower().startswith(b"application/sdp"):
                return scan(part_body)
        return None
    if types and not types[0].lower().startswith(b"application/sdp"):
        return None
    return scan(body) if body.startswith(b"v=") or types else None


def split_multipart(bytes content_type, bytes body):
    """([(content type, body)], flags) of a multipart body; flags are enum mime_flag."""
    cdef bytes joined = content_type + body
    cdef const uint8_t *base = joined
    cdef sip_span type_span, body_span
    cdef mime_part parts[PARTS_MAX]
    cdef uint32_t flags = 0
    type_span.offset = 0
    type_span.length = len(content_type)
    body_span.offset = len(content_type)
    body_span.length = len(body)
    count = mime_split(base, type_span, body_span, parts, PARTS_MAX, &flags)
    return [(_text(base, parts[i].content_type), _text(base, parts[i].body)) for i in range(count)], flags


def content_kind(bytes content_type):
    """enum content_kind of a Content-Type value."""
    cdef const uint8_t *base = content_type
    cdef sip_span span
    span.offset = 0
    span.length = len(content_type)
    return mime_kind(base, span)

"""SDP and MIME kernels: the Python face of c/sdp.h and c/mime.h."""

from collections import namedtuple
from enum import IntEnum, IntFlag

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from engine._native import sip as native_sip


cdef extern from "sdp.h" nogil:
    enum: SDP_CODEC_COUNT, SDP_FORMATS_MAX
    ctypedef struct sip_span "struct sip_span":
        uint32_t offset, length
    ctypedef struct address_t "struct address":
        uint8_t ip[16]
        uint16_t port
        uint8_t family, kind
    ctypedef struct sdp_format "struct sdp_format":
        uint8_t payload_type, codec, channels, flags
        uint32_t clock_rate_hz
        sip_span fmtp, name
    ctypedef struct sdp_media "struct sdp_media":
        sip_span section
        address_t connection
        sip_span connection_host
        uint16_t port_count
        uint8_t media, proto, direction, setup
        uint16_t ptime_ms, maxptime_ms, rtcp_port
        uint8_t format_count
        uint16_t format_total
        uint8_t crypto_count
        uint16_t crypto_suites, candidate_count
        uint8_t candidates
        uint16_t traits
        uint64_t codecs, codecs_hash
        uint32_t bandwidth_kbps
        uint64_t crypto_key_hash, fingerprint_hash
        sip_span label, mid
        uint32_t flags
        sdp_format formats[1]
    ctypedef struct sdp_session "struct sdp_session":
        sip_span origin, session_id, session_version
        uint64_t origin_hash
        int64_t version
        address_t origin_address, connection
        sip_span session_name
        uint32_t flags
        uint16_t media_count, media_total, line_count
        uint64_t body_hash
    ptrdiff_t sdp_scan(const uint8_t *base, sip_span body, sdp_session *session, sdp_media *media, size_t capacity)
    const char *sdp_codec_name(int codec)
    uint32_t sdp_codec_clock_hz(int codec)
    ptrdiff_t address_format(const address_t *source, uint8_t *target, size_t capacity)

cdef extern from "mime.h" nogil:
    ctypedef struct mime_part "struct mime_part":
        sip_span headers, content_type, body
        uint8_t kind
    uint8_t mime_kind(const uint8_t *base, sip_span content_type)
    ptrdiff_t mime_split(const uint8_t *base, sip_span content_type, sip_span body, mime_part *parts, size_t capacity,
                         uint32_t *flags)


# ---- names of bits and numbers, in the order of the C enums ----

def _bits(kind, names):
    return IntFlag(kind, {name: 1 << bit for bit, name in enumerate(names.split())}, module=__name__)


def _numbers(kind, names):
    return IntEnum(kind, {name: number for number, name in enumerate(names.split())}, module=__name__)


Flag = _bits("Flag", """BAD_LINE NO_VERSION NO_ORIGIN NO_SESSION_NAME NO_TIME WRONG_ORDER BAD_MEDIA BAD_CONNECTION
    NO_CONNECTION PORT_BAD PT_RANGE PT_UNMAPPED RTPMAP_BAD FMTP_BAD PTIME_BAD DIRECTION_REPEATED PTIME_REPEATED
    STATIC_REDEFINED EMPTY_SESSION_NAME BARE_LF BAD_ORIGIN CANDIDATE_BAD CRYPTO_BAD TOO_MANY PT_REPEATED""")
FormatFlag = _bits("FormatFlag", "RTPMAP CLOCK_BAD")
CryptoSuite = _bits("CryptoSuite", """AES_CM_128_SHA1_80 AES_CM_128_SHA1_32 F8_128_SHA1_80 AES_192_CM_SHA1_80
    AES_192_CM_SHA1_32 AES_256_CM_SHA1_80 AES_256_CM_SHA1_32 AEAD_AES_128_GCM AEAD_AES_256_GCM NULL_SHA1_80 UNKNOWN
    UNENCRYPTED""")
Candidate = _bits("Candidate", "HOST SRFLX PRFLX RELAY HOST_PUBLIC PRIVATE MDNS")
Trait = _bits("Trait", """RTCP_MUX RTCP_MUX_ONLY RTCP ICE ICE_LITE ICE_MISMATCH FINGERPRINT BUNDLED MID RECORD LABEL
    SESSION_DIRECTION SESSION_CONNECTION RTCP_RSIZE ALTC""")
MimeFlag = _bits("MimeFlag", "NO_BOUNDARY UNTERMINATED PART_WITHOUT_TYPE NO_PARTS TOO_MANY BOUNDARY_BAD")
MediaType = _numbers("MediaType", "OTHER AUDIO VIDEO IMAGE APPLICATION TEXT MESSAGE")
Proto = _numbers("Proto", """OTHER RTP_AVP RTP_SAVP RTP_AVPF RTP_SAVPF UDP_TLS_RTP_SAVP UDP_TLS_RTP_SAVPF UDPTL UDP TCP
    TCP_MSRP DTLS_SCTP TLS_UDPTL""")
Direction = _numbers("Direction", "NONE SENDRECV SENDONLY RECVONLY INACTIVE")
Setup = _numbers("Setup", "NONE ACTIVE PASSIVE ACTPASS HOLDCONN")
ContentKind = _numbers("ContentKind", """NONE SDP MULTIPART SIPFRAG DTMF_RELAY DTMF RS_METADATA PIDF ISUP VQ_RTCPXR TEXT
    XML JSON OTHER""")

Format = namedtuple("Format", "payload_type codec name clock_rate_hz channels fmtp flags", module=__name__)
_Media = namedtuple("_Media", """section connection connection_host port_count media proto direction setup ptime_ms
    maxptime_ms rtcp_port format_count format_total crypto_count crypto_suites candidate_count candidates traits codecs
    codecs_hash bandwidth_kbps crypto_key_hash fingerprint_hash label mid flags formats""", module=__name__)
Description = namedtuple("Description", """origin session_id session_version origin_hash version origin_address connection
    session_name flags media_count media_total line_count body_hash media""", module=__name__)
Part = namedtuple("Part", "headers content_type body kind", module=__name__)


class Media(_Media):
    """One media line with what the session level says folded in. Times are in ms, bandwidth in kbit/s."""

    __slots__ = ()

    def codec_names(self):
        """Encoding names in order, as written or as RFC 3551 assigns them."""
        return [entry.name for entry in self.formats]


CODECS = tuple(sdp_codec_name(number).decode("ascii") for number in range(SDP_CODEC_COUNT))
FORMATS_MAX = SDP_FORMATS_MAX
cdef enum: FEW = 4


def codec_name(int codec):
    """Encoding name of a codec number, as its RFC writes it; empty for 0 and unknown numbers."""
    return sdp_codec_name(codec).decode("ascii")


def codec_clock_hz(int codec):
    """The only legal RTP clock of a codec, 0 when there are several."""
    return sdp_codec_clock_hz(codec)


# ---- descriptions ----

cdef bytes _cut(const uint8_t *base, sip_span span):
    return PyBytes_FromStringAndSize(<const char *>base + span.offset, span.length)


cdef object _literal(const address_t *a, bytes host):
    cdef uint8_t text[48]
    cdef ptrdiff_t length = address_format(a, text, sizeof(text))
    name = (<const char *>text)[:length].decode("ascii") if length > 0 else host.decode("utf-8", "replace")
    return native_sip.Literal(name, a.family, native_sip.AddressClass(a.kind), a.port, (<const char *>a.ip)[:16])


cdef object _format(const uint8_t *base, const sdp_format *f):
    name = _cut(base, f.name).decode("utf-8", "replace") or CODECS[f.codec]
    return Format(f.payload_type, f.codec, name, f.clock_rate_hz, f.channels, _cut(base, f.fmtp), FormatFlag(f.flags))


cdef object _media(const uint8_t *base, const sdp_media *m):
    cdef bytes host = _cut(base, m.connection_host)
    cdef int i
    return Media(
        _cut(base, m.section), _literal(&m.connection, host), host, m.port_count, MediaType(m.media), Proto(m.proto),
        Direction(m.direction), Setup(m.setup), m.ptime_ms, m.maxptime_ms, m.rtcp_port, m.format_count, m.format_total,
        m.crypto_count, CryptoSuite(m.crypto_suites), m.candidate_count, Candidate(m.candidates), Trait(m.traits),
        m.codecs, m.codecs_hash, m.bandwidth_kbps, m.crypto_key_hash, m.fingerprint_hash, _cut(base, m.label),
        _cut(base, m.mid), Flag(m.flags), [_format(base, &m.formats[i]) for i in range(m.format_count)])


cdef object _description(const uint8_t *base, const sdp_session *s, const sdp_media *rows):
    cdef int i
    return Description(
        _cut(base, s.origin), _cut(base, s.session_id), _cut(base, s.session_version), s.origin_hash, s.version,
        _literal(&s.origin_address, b""), _literal(&s.connection, b""), _cut(base, s.session_name), Flag(s.flags),
        s.media_count, s.media_total, s.line_count, s.body_hash,
        [_media(base, &rows[i]) for i in range(s.media_count)])


def scan(buffer, int capacity=1024):
    """Reads a description (RFC 8866): session fields and one `media` row an m= line.

    At most `capacity` rows are kept; more sets Flag.TOO_MANY. None when there is no single SDP line.
    """
    cdef Py_buffer view
    cdef sdp_session session
    cdef sdp_media few[FEW]
    cdef sdp_media *rows = few
    cdef sip_span body
    cdef size_t room
    if capacity < 0:
        raise ValueError("capacity is negative")
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    cdef const uint8_t *base = <const uint8_t *>view.buf
    try:
        if view.len > 0xffffffff:
            raise ValueError("a description of more than 4 GiB")
        body.offset = 0
        body.length = <uint32_t>view.len
        room = FEW if capacity > FEW else capacity
        with nogil:
            found = sdp_scan(base, body, &session, few, room)
        if found < 0:
            return None
        if session.media_total > room and <size_t>capacity > room:
            room = session.media_total if session.media_total < capacity else capacity
            rows = <sdp_media *>malloc(room * sizeof(sdp_media))
            if rows == NULL:
                raise MemoryError
            with nogil:
                sdp_scan(base, body, &session, rows, room)
        return _description(base, &session, rows)
    finally:
        if rows != few:
            free(rows)
        PyBuffer_Release(&view)


def of_message(text):
    """The description a SIP message carries, alone or as a part of a multipart body; None when there is none."""
    content = _description_in(text)
    return None if content is None else scan(content)


cdef bytes _description_in(text):
    try:
        message = native_sip.scan(text)
    except native_sip.Malformed:
        return None
    cdef bytes body = message.body
    types = message.header("Content-Type")
    if not types:
        return body if body.startswith(b"v=0") else None # a log may have lost the header
    kind = content_kind(types[0])
    if kind == ContentKind.MULTIPART:
        for part in split_multipart(types[0], body)[0]:
            if part.kind == ContentKind.SDP:
                return part.body
    return body if kind == ContentKind.SDP else None


def formats_of(text):
    """[(encoding name, payload type)] of the first m-line of a SIP message; None where it describes no media.

    The same as `of_message(text).media[0].formats` tells, for the price of two fields.
    """
    cdef Py_buffer view
    cdef sdp_session session
    cdef sdp_media media
    cdef sip_span body
    cdef ptrdiff_t found
    cdef int i
    content = _description_in(text)
    if content is None:
        return None
    PyObject_GetBuffer(content, &view, PyBUF_SIMPLE)
    try:
        body.offset = 0
        body.length = <uint32_t>view.len
        with nogil:
            found = sdp_scan(<const uint8_t *>view.buf, body, &session, &media, 1)
        if found < 1:
            return None
        return [(_cut(<const uint8_t *>view.buf, media.formats[i].name).decode("utf-8", "replace")
                 or CODECS[media.formats[i].codec], media.formats[i].payload_type) for i in range(media.format_count)]
    finally:
        PyBuffer_Release(&view)


# ---- MIME ----

def content_kind(bytes content_type not None):
    """What a Content-Type value names; parameters are passed over."""
    cdef sip_span span
    span.offset = 0
    span.length = <uint32_t>len(content_type)
    return ContentKind(mime_kind(<const uint8_t *><const char *>content_type, span))


def split_multipart(bytes content_type not None, bytes body not None, int capacity=256):
    """(parts, flags) of a multipart body (RFC 2046 §5.1); nested multiparts stay whole. At most `capacity` parts."""
    cdef bytes joined = content_type + body
    cdef const uint8_t *base = <const uint8_t *><const char *>joined
    cdef sip_span type_span, body_span
    cdef uint32_t flags = 0
    cdef ptrdiff_t count, i
    if capacity < 0 or len(joined) > 0xfffffffe:
        raise ValueError("capacity is negative, or a body of more than 4 GiB")
    cdef mime_part *parts = <mime_part *>malloc((capacity or 1) * sizeof(mime_part))
    if parts == NULL:
        raise MemoryError
    type_span.offset = 0
    type_span.length = <uint32_t>len(content_type)
    body_span.offset = type_span.length
    body_span.length = <uint32_t>len(body)
    try:
        with nogil:
            count = mime_split(base, type_span, body_span, parts, capacity, &flags)
        return [
            Part(_cut(base, parts[i].headers), _cut(base, parts[i].content_type), _cut(base, parts[i].body),
                 ContentKind(parts[i].kind))
            for i in range(count)
        ], MimeFlag(flags)
    finally:
        free(parts)

"""SIP tokenizer and typed header values: the Python face of c/sip.h and c/address.h."""

import re
from collections import namedtuple
from enum import IntEnum, IntFlag
from time import perf_counter

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc


cdef extern from "address.h" nogil:
    enum: ADDRESS_NONE, ADDRESS_NAME, ADDRESS_PUBLIC, ADDRESS_PRIVATE, ADDRESS_CGNAT, ADDRESS_LINK_LOCAL
    enum: ADDRESS_LOOPBACK, ADDRESS_UNSPECIFIED, ADDRESS_MULTICAST, ADDRESS_BROADCAST, ADDRESS_INVALID
    ctypedef struct address_t "struct address":
        uint8_t ip[16]
        uint16_t port
        uint8_t family, kind
    void address_parse(const uint8_t *source, size_t count, address_t *target)
    ptrdiff_t address_format(const address_t *source, uint8_t *target, size_t capacity)

cdef extern from "status.h" nogil:
    enum: STATUS_MALFORMED, STATUS_INCOMPLETE

cdef extern from "sip.h" nogil:
    enum: SIP_HEADER_COUNT, SIP_METHOD_COUNT, SIP_DATAGRAM, SIP_STREAM, SIP_HEADER_FOLDED
    enum: SIP_HEADER_OTHER, SIP_NON_UTF8, SIP_FOLDED, SIP_TOO_MANY_HEADERS
    enum: SIP_LENGTH_INVALID, SIP_LENGTH_CONFLICT, SIP_BODY_SHORT, SIP_NO_BLANK_LINE, SIP_URI_SPACES, SIP_METHOD_BAD
    enum: SIP_START_LINE_SPACES, SIP_STATUS_BAD, SIP_STATUS_RANGE, SIP_QUOTE_UNBALANCED, SIP_VERSION_BAD
    enum: SIP_VIA_RPORT, SIP_VIA_MALFORMED, SIP_ADDRESS_UNBALANCED, SIP_URI_BAD_CHARACTER
    ctypedef struct sip_span "struct sip_span":
        uint32_t offset, length
    ctypedef struct sip_header "struct sip_header":
        uint32_t name_offset, value_offset, value_length
        uint16_t name_length
        uint8_t id, flags
    ctypedef struct sip_message "struct sip_message":
        uint8_t is_response, method
        uint16_t status
        sip_span method_name, request_uri, version, reason
        uint32_t start_offset, header_count, header_total, body_offset, body_length
        int64_t content_length
        uint32_t flags, fault_offset
        uint16_t first[1]
        uint16_t repeats[1]
    int sip_has(const sip_message *m, int id)
    int sip_sniff(const uint8_t *source, size_t count)
    ptrdiff_t sip_scan(const uint8_t *source, size_t count, int framing, sip_message *message,
                       sip_header *headers, size_t capacity)
    uint8_t sip_header_id(const uint8_t *name, size_t length)
    const char *sip_header_name(int id)
    uint8_t sip_method_id(const uint8_t *name, size_t length)
    const char *sip_method_name(int method)
    ctypedef struct sip_uri "struct sip_uri":
        sip_span scheme, user, password, host, parameters, headers
        uint16_t port, flags
        address_t address
        uint8_t scheme_id, transport
    ctypedef struct sip_address "struct sip_address":
        sip_span display, uri, parameters, tag
        sip_uri parsed
        uint8_t flags
    ctypedef struct sip_via "struct sip_via":
        sip_span protocol_version, transport_name, host, branch, received, parameters
        address_t sent_by, received_from
        uint16_t rport
        uint8_t transport, flags
    void sip_uri_parse(const uint8_t *base, sip_span value, sip_uri *target)
    void sip_address_parse(const uint8_t *base, sip_span value, sip_address *target)
    void sip_via_parse(const uint8_t *base, sip_span value, sip_via *target)
    int sip_list_next(const uint8_t *base, sip_span value, uint32_t *cursor, sip_span *element)
    int sip_param_find(const uint8_t *base, sip_span parameters, char separator, const char *name,
                       sip_span *value)
    size_t sip_number(const uint8_t *base, sip_span value, int64_t *target)
    int sip_cseq_parse(const uint8_t *base, sip_span value, int64_t *number, sip_span *method)
    uint64_t sip_hash(const uint8_t *source, size_t count, uint64_t seed)
    uint64_t sip_hash_folded(const uint8_t *source, size_t count, uint64_t seed)
    const char *sip_implementation()
    int sip_force(const char *name)

# ---- names of bits and classes, in the order of the C enums ----

def _bits(kind, names):
    return IntFlag(kind, {name: 1 << bit for bit, name in enumerate(names.split())}, module=__name__)


def _numbers(kind, names):
    return IntEnum(kind, {name: number for number, name in enumerate(names.split())}, module=__name__)


Flag = _bits("Flag", """BARE_LF BARE_CR FOLDED COMPACT LONG NO_BLANK_LINE BAD_HEADER_LINE SPACE_BEFORE_COLON
    CONTROL_BYTE NON_UTF8 LENGTH_INVALID LENGTH_CONFLICT LENGTH_REPEATED LENGTH_MISSING BODY_SHORT BODY_LONG
    TOO_MANY_HEADERS START_LINE_SPACES URI_SPACES VERSION_BAD STATUS_RANGE STATUS_BAD METHOD_BAD LEADING_CRLF
    REASON_MISSING QUOTE_UNBALANCED""")
HeaderFlag = _bits("HeaderFlag", "FOLDED COMPACT SPACED EMPTY BAD_NAME CONTROL")
UriFlag = _bits("UriFlag", """LR USER_PHONE OB PORT_BAD BAD_ESCAPE UNBRACKETED_V6 BAD_CHARACTER EMPTY_HOST GR
    PHONE_CONTEXT""")
AddressFlag = _bits("AddressFlag", "BRACKETS QUOTED UNBALANCED DISPLAY_UNQUOTED HAS_TAG STAR BARE_QUERY")
ViaFlag = _bits("ViaFlag", "RPORT RECEIVED COOKIE BRANCH MALFORMED PORT_BAD ALIAS UNBRACKETED_V6")
Scheme = _numbers("Scheme", "OTHER SIP SIPS TEL URN")
Transport = _numbers("Transport", "NONE UDP TCP TLS SCTP WS WSS OTHER")
AddressClass = _numbers("AddressClass", """NONE NAME PUBLIC PRIVATE CGNAT LINK_LOCAL LOOPBACK UNSPECIFIED
    MULTICAST BROADCAST INVALID""")

Essentials = namedtuple("Essentials", """via branch sent_by port rport call_id number method from_tag to_tag""", module=__name__)
Literal = namedtuple("Literal", "text family kind port ip", module=__name__)
Uri = namedtuple("Uri", "scheme user password host port parameters headers flags scheme_id transport address",
                 module=__name__)
Via = namedtuple("Via", """version transport_name transport host port branch received rport parameters flags
    sent_by received_from""", module=__name__)
_Address = namedtuple("_Address", "display uri parameters tag flags parsed", module=__name__)


class Address(_Address):
    """A name-addr or addr-spec with its header parameters (RFC 3261 §20.10)."""

    __slots__ = ()

    @property
    def user(self):
        """User part of the URI."""
        return self.parsed.user

    @property
    def host(self):
        """Host of the URI."""
        return self.parsed.host


class Malformed(ValueError):
    """The bytes hold no SIP start line."""


_FOLD = re.compile(rb"[ \t]*\r*\n[ \t]+")


# ---- bytes in, spans out ----

@cython.auto_pickle(False)
cdef class _Span:
    """A buffer held while C looks at it."""

    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, object source):
        PyObject_GetBuffer(source, &self.view, PyBUF_SIMPLE)
        self.held = True
        if self.view.len > 0x7fffffff:
            raise OverflowError("a message or value of 2 GiB or more")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef const uint8_t *base(self) noexcept:
        return <const uint8_t *>self.view.buf

    cdef sip_span whole(self) noexcept:
        cdef sip_span span
        span.offset = 0
        span.length = <uint32_t>self.view.len
        return span

    cdef bytes cut(self, sip_span span):
        return PyBytes_FromStringAndSize(<const char *>self.view.buf + span.offset, span.length)


cdef _Span _NOTHING = _Span(b"")


cdef sip_span _span(uint32_t offset, uint32_t length) noexcept:
    cdef sip_span span
    span.offset = offset
    span.length = length
    return span


@cython.final
@cython.auto_pickle(False)
cdef class Message:
    """One tokenized message. Holds the buffer it was scanned from; texts are copied out on access."""

    cdef _Span span
    cdef sip_message m
    cdef sip_header *rows
    cdef readonly Py_ssize_t length
    cdef readonly bint is_response

    def __cinit__(self):
        self.span = _NOTHING

    def __init__(self, *args, **kwargs):
        raise TypeError("use scan()")

    def __dealloc__(self):
        free(self.rows)

    @property
    def method(self):
        """Method of a request as written; empty for a response."""
        return self.span.cut(self.m.method_name)

    @property
    def method_id(self):
        """Number of a known method, see METHODS; 0 for others and for responses."""
        return self.m.method

    @property
    def status(self):
        """Status code; 0 for requests."""
        return self.m.status

    @property
    def request_uri(self):
        """Request-URI; empty for a response."""
        return self.span.cut(self.m.request_uri)

    @property
    def version(self):
        """SIP-Version as written."""
        return self.span.cut(self.m.version)

    @property
    def reason(self):
        """Reason-Phrase; empty for a request."""
        return self.span.cut(self.m.reason)

    @property
    def start_offset(self):
        """Offset of the start line, behind leading empty lines."""
        return self.m.start_offset

    @property
    def header_count(self):
        """Header rows; equal to len(headers)."""
        return self.m.header_count

    @property
    def header_total(self):
        """Header rows seen, also those beyond the 65,535 that are kept."""
        return self.m.header_total

    @property
    def body_offset(self):
        """Offset of the body."""
        return self.m.body_offset

    @property
    def body(self):
        """The body, at most Content-Length bytes."""
        return self.span.cut(_span(self.m.body_offset, self.m.body_length))

    @property
    def content_length(self):
        """First Content-Length; -1 absent, -2 invalid."""
        return self.m.content_length

    @property
    def flags(self):
        """What the pass saw."""
        return _flags.of(self.m.flags)

    @property
    def source(self):
        """The bytes it was scanned from: those themselves where they were bytes, else a copy."""
        if isinstance(<object>self.span.view.obj, bytes):
            return <object>self.span.view.obj
        return (<const char *>self.span.view.buf)[:self.span.view.len]

    @property
    def fault_offset(self):
        """Offset of the first defect, or None."""
        return None if self.m.fault_offset == 0xffffffff else self.m.fault_offset

    @property
    def headers(self):
        """Every row as (name, value, id, flags); a folded value keeps its folds."""
        cdef uint32_t i
        return [self._row(i) for i in range(self.m.header_count)]

    @property
    def spans(self):
        """Every row as (name_offset, name_length, value_offset, value_length)."""
        cdef uint32_t i
        return [(self.rows[i].name_offset, self.rows[i].name_length, self.rows[i].value_offset,
                 self.rows[i].value_length) for i in range(self.m.header_count)]

    cdef tuple _row(self, uint32_t i):
        cdef sip_header *row = &self.rows[i]
        return (self.span.cut(_span(row.name_offset, row.name_length)),
                self.span.cut(_span(row.value_offset, row.value_length)), row.id, _header_flags.of(row.flags))

    def has(self, str name not None):
        """Does a header of this name (any case, long or compact) stand in the message?"""
        return bool(self._rows_of(name))

    def first(self, int id):
        """Row number of the first header of an id, or None."""
        if not 0 <= id < SIP_HEADER_COUNT:
            raise IndexError("no such header id")
        return self.m.first[id] if sip_has(&self.m, id) else None

    def repeats(self, int id):
        """Rows of an id."""
        if not 0 <= id < SIP_HEADER_COUNT:
            raise IndexError("no such header id")
        return self.m.repeats[id] if sip_has(&self.m, id) else 0

    cdef list _rows_of(self, str name):
        cdef bytes raw = name.encode("utf-8", "surrogateescape"), folded = raw.lower()
        cdef uint8_t id = sip_header_id(<const uint8_t *><const char *>raw, len(raw))
        cdef uint32_t i
        cdef list found = []
        if not sip_has(&self.m, id):
            return found
        for i in range(self.m.first[id], self.m.header_count):
            if self.rows[i].id == id and (
                id != SIP_HEADER_OTHER
                or self.span.cut(_span(self.rows[i].name_offset, self.rows[i].name_length)).lower() == folded
            ):
                found.append(i)
        return found

    def header(self, str name not None, bint unfold=True):
        """Values of all headers of a name (any case, long or compact), in order. Folds become one SP unless
        `unfold` is false (RFC 3261 §7.3.1)."""
        cdef list values = []
        cdef bytes value
        cdef uint32_t i
        for i in self._rows_of(name):
            value = self.span.cut(_span(self.rows[i].value_offset, self.rows[i].value_length))
            if unfold and self.rows[i].flags & SIP_HEADER_FOLDED:
                value = _FOLD.sub(b" ", value)
            values.append(value)
        return values

    cdef bint _value(self, int id, sip_span *value) noexcept:
        """The value of the first header of an id."""
        cdef sip_header *row
        if not sip_has(&self.m, id) or self.m.first[id] >= self.m.header_count:
            return False
        row = &self.rows[self.m.first[id]]
        value[0] = _span(row.value_offset, row.value_length)
        return True

    cdef str _ascii(self, sip_span span):
        return (<const char *>self.span.base())[span.offset:span.offset + span.length].decode("utf-8", "surrogateescape")

    def essentials(self):
        """What transactions and dialogs are found by, in one go; None where a look at each header must decide: one of them is missing,
        twice or malformed, folded or not UTF-8, or the message cannot be worked with (RFC 3261 8.1.1, 17.1.3, 17.2.3)."""
        cdef sip_span via, sender, recipient, call_id, cseq, element, method
        cdef sip_via v
        cdef sip_address from_, to
        cdef int64_t number
        cdef uint32_t cursor = 0, i
        cdef const uint8_t *base = self.span.base()
        if self.m.flags & _SLOW or self.m.header_count == 0:
            return None
        if not (self._value(_VIA, &via) and self._value(_FROM, &sender) and self._value(_TO, &recipient)
                and self._value(_CALL_ID, &call_id) and self._value(_CSEQ, &cseq)):
            return None
        if (self.m.repeats[_FROM] > 1 or self.m.repeats[_TO] > 1 or self.m.repeats[_CALL_ID] > 1 or self.m.repeats[_CSEQ] > 1
                or call_id.length == 0):
            return None
        if not sip_cseq_parse(base, cseq, &number, &method) or number < 0 or number > 0x7fffffff:
            return None
        for i in range(via.length):  # a parameter without a name
            if base[via.offset + i] == c";" and i + 1 < via.length and base[via.offset + i + 1] == c";":
                return None
        if not sip_list_next(base, via, &cursor, &element) or element.length == 0:
            return None
        sip_via_parse(base, element, &v)
        if v.host.length == 0 or v.flags & SIP_VIA_MALFORMED:
            return None
        sip_address_parse(base, sender, &from_)
        sip_address_parse(base, recipient, &to)
        if (from_.flags | to.flags) & SIP_ADDRESS_UNBALANCED or (from_.parsed.flags | to.parsed.flags) & SIP_URI_BAD_CHARACTER:
            return None
        cdef str name = self._ascii(method)
        if not self.m.is_response:
            if self.m.method_name.length != method.length or self.m.request_uri.length == 0 or base[self.m.request_uri.offset] == c"<":
                return None
            for i in range(method.length):
                if base[self.m.method_name.offset + i] != base[method.offset + i]:
                    return None
        return _new_tuple(Essentials, (
            self._ascii(element), self._ascii(v.branch), self._ascii(v.host), v.sent_by.port, bool(v.flags & SIP_VIA_RPORT),
            self._ascii(call_id), number, name, self._ascii(from_.tag), self._ascii(to.tag)))

    def answer_head(self, bytes start not None, bytes via not None, bytes to_tag not None, bint record_route, bint timestamp):
        """The head of an answer to this request up to CSeq (RFC 3261 8.2.6): start line, its Vias, the topmost replaced by `via` where that is
        not empty, its Record-Routes where they are asked for, From, To with the tag, Call-ID, CSeq, and Timestamp where that is asked
        for. None where headers are folded or missing."""
        cdef list parts = [start]
        cdef sip_header *row
        cdef sip_span value, element
        cdef sip_address to
        cdef uint32_t i, at, cursor
        cdef bint first = True
        cdef const uint8_t *base = self.span.base()
        if self.m.flags & (SIP_FOLDED | SIP_TOO_MANY_HEADERS) or self.m.header_count == 0:
            return None
        if not sip_has(&self.m, _VIA):
            return None
        for i in range(self.m.first[_VIA], self.m.header_count):
            row = &self.rows[i]
            if row.id == _VIA:
                value = _span(row.value_offset, row.value_length)
                parts.append(b"\r\nVia: ")
                if first and via:
                    cursor = 0
                    parts.append(via)
                    if sip_list_next(base, value, &cursor, &element):
                        at = element.offset + element.length
                        while at < value.offset + value.length and base[at] != c",":
                            at += 1
                        value = _span(at, value.offset + value.length - at)
                    else:
                        value = _span(0, 0)
                first = False
                parts.append(self.span.cut(value))
        if record_route and sip_has(&self.m, _RECORD_ROUTE):
            for i in range(self.m.first[_RECORD_ROUTE], self.m.header_count):
                row = &self.rows[i]
                if row.id == _RECORD_ROUTE:
                    parts.append(b"\r\nRecord-Route: ")
                    parts.append(self.span.cut(_span(row.value_offset, row.value_length)))
        if not self._value(_FROM, &value):
            return None
        parts.append(b"\r\nFrom: ")
        parts.append(self.span.cut(value))
        if not self._value(_TO, &value):
            return None
        parts.append(b"\r\nTo: ")
        parts.append(self.span.cut(value))
        if to_tag:
            sip_address_parse(base, value, &to)
            if to.tag.length == 0:
                parts.append(b";tag=")
                parts.append(to_tag)
        if not self._value(_CALL_ID, &value):
            return None
        parts.append(b"\r\nCall-ID: ")
        parts.append(self.span.cut(value))
        if not self._value(_CSEQ, &value):
            return None
        parts.append(b"\r\nCSeq: ")
        parts.append(self.span.cut(value))
        if timestamp and self._value(_TIMESTAMP, &value) and value.length:
            parts.append(b"\r\nTimestamp: ")
            parts.append(self.span.cut(value))
        return b"".join(parts)

    def __repr__(self):
        what = self.reason if self.m.is_response else self.request_uri
        return f"<Message {self.m.status or self.method} {what} {self.m.header_count} headers>"


def scan(buffer, bint stream=False):
    """Tokenizes the first message of a buffer.

    Raises Malformed when there is no SIP start line. With `stream` the message ends after Content-Length
    bytes and None is returned when bytes are missing; otherwise it ends where the buffer ends.
    """
    cdef Message message = Message.__new__(Message)
    cdef sip_header few[64]
    cdef sip_header *rows = few
    cdef size_t capacity = 64, i
    cdef ptrdiff_t result
    cdef _Span span = _Span(buffer)
    cdef const uint8_t *base = span.base()
    cdef size_t count = span.view.len
    cdef int framing = SIP_STREAM if stream else SIP_DATAGRAM
    message.span = span
    with nogil:
        result = sip_scan(base, count, framing, &message.m, rows, capacity)
    if result == STATUS_INCOMPLETE:
        return None
    if result < 0:
        raise Malformed("no SIP start line")
    capacity = message.m.header_total if message.m.header_total < 65535 else 65535
    message.rows = <sip_header *>malloc((capacity or 1) * sizeof(sip_header))
    if message.rows == NULL:
        raise MemoryError
    if capacity <= 64:
        for i in range(capacity):
            message.rows[i] = few[i]
    else:
        with nogil:
            result = sip_scan(base, count, framing, &message.m, message.rows, capacity)
    message.length = result
    message.is_response = message.m.is_response
    return message


def sniff(buffer):
    """Could a SIP message start here?"""
    cdef _Span span = _Span(buffer)
    return bool(sip_sniff(span.base(), span.view.len))


# ---- names ----

def header_id(name):
    """Id of a header name (str or bytes, any case, long or compact); 0 when unknown."""
    cdef bytes raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else bytes(name)
    return sip_header_id(<const uint8_t *><const char *>raw, len(raw))


def header_name(int id):
    """Canonical name of a header id; empty for 0 and unknown ids."""
    return sip_header_name(id).decode("ascii")


def method_id(name):
    """Number of a method (case sensitive, RFC 3261 §7.1); 0 when unknown."""
    cdef bytes raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else bytes(name)
    return sip_method_id(<const uint8_t *><const char *>raw, len(raw))


cdef int _VIA = header_id("Via"), _FROM = header_id("From"), _TO = header_id("To"), _CALL_ID = header_id("Call-ID")
cdef int _CSEQ = header_id("CSeq"), _RECORD_ROUTE = header_id("Record-Route"), _TIMESTAMP = header_id("Timestamp")
# A message with one of these is looked at header by header.
cdef uint32_t _SLOW = (SIP_NON_UTF8 | SIP_FOLDED | SIP_TOO_MANY_HEADERS | SIP_LENGTH_INVALID | SIP_LENGTH_CONFLICT | SIP_BODY_SHORT
                       | SIP_NO_BLANK_LINE | SIP_URI_SPACES | SIP_METHOD_BAD | SIP_START_LINE_SPACES | SIP_STATUS_BAD
                       | SIP_STATUS_RANGE | SIP_QUOTE_UNBALANCED | SIP_VERSION_BAD)


HEADERS = tuple(header_name(number) for number in range(SIP_HEADER_COUNT))
METHODS = tuple(sip_method_name(number).decode("ascii") for number in range(SIP_METHOD_COUNT))


# ---- values ----

cdef object _new_tuple = tuple.__new__


cdef class _Members:
    """Members of an enum by their number: making one anew costs more than all that it describes."""
    cdef object kind
    cdef dict kept

    def __cinit__(self, kind):
        self.kind = kind
        self.kept = {}

    cdef object of(self, unsigned long number):
        member = self.kept.get(number)
        if member is None:
            member = self.kind(number)
            if len(self.kept) < 4096:
                self.kept[number] = member
        return member


cdef _Members _flags = _Members(Flag)
cdef _Members _header_flags = _Members(HeaderFlag)
cdef _Members _uri_flags = _Members(UriFlag)
cdef _Members _address_flags = _Members(AddressFlag)
cdef _Members _via_flags = _Members(ViaFlag)
cdef _Members _schemes = _Members(Scheme)
cdef _Members _transports = _Members(Transport)
cdef _Members _classes = _Members(AddressClass)


cdef object _literal(const uint8_t *source, size_t count, const address_t *a):
    cdef uint8_t text[48]
    cdef ptrdiff_t length = address_format(a, text, sizeof(text))
    name = (<const char *>text)[:length].decode("ascii") if length else (<const char *>source)[:count].decode(
        "utf-8", "replace")
    return _new_tuple(Literal, (name, a.family, _classes.of(a.kind), a.port, (<const char *>a.ip)[:16]))


cdef object _uri(_Span span, const sip_uri *u):
    return _new_tuple(Uri, (
        span.cut(u.scheme), span.cut(u.user), span.cut(u.password), span.cut(u.host), u.port, span.cut(u.parameters),
        span.cut(u.headers), _uri_flags.of(u.flags), _schemes.of(u.scheme_id), _transports.of(u.transport),
        _literal(span.base() + u.host.offset, u.host.length, &u.address)))


def parse_uri(value):
    """Parts of a URI (RFC 3261 §19.1, RFC 3966)."""
    cdef _Span span = _Span(value)
    cdef sip_uri u
    sip_uri_parse(span.base(), span.whole(), &u)
    return _uri(span, &u)


def parse_address(value):
    """Parts of one From, To, Contact, Route, ... element."""
    cdef _Span span = _Span(value)
    cdef sip_address a
    sip_address_parse(span.base(), span.whole(), &a)
    return _new_tuple(Address, (
        span.cut(a.display), span.cut(a.uri), span.cut(a.parameters), span.cut(a.tag), _address_flags.of(a.flags),
        _uri(span, &a.parsed)))


def user_of(value):
    """The user part of one From, To, Contact, Route, ... element; empty where there is none."""
    cdef _Span span = _Span(value)
    cdef sip_address a
    sip_address_parse(span.base(), span.whole(), &a)
    return span.cut(a.parsed.user)


def parse_via(value):
    """Parts of one Via element (RFC 3261 §20.42)."""
    cdef _Span span = _Span(value)
    cdef sip_via v
    sip_via_parse(span.base(), span.whole(), &v)
    return _new_tuple(Via, (
        span.cut(v.protocol_version), span.cut(v.transport_name), _transports.of(v.transport), span.cut(v.host),
        v.sent_by.port, span.cut(v.branch), span.cut(v.received), v.rport, span.cut(v.parameters), _via_flags.of(v.flags),
        _literal(span.base() + v.host.offset, v.host.length, &v.sent_by),
        _literal(span.base() + v.received.offset, v.received.length, &v.received_from)))


def parse_address_literal(value):
    """A host as (text, family, kind, port, ip): canonical text of an IP literal, or the name itself."""
    cdef _Span span = _Span(value.encode() if isinstance(value, str) else value)
    cdef address_t a
    address_parse(span.base(), span.view.len, &a)
    return _literal(span.base(), span.view.len, &a)


def parse_cseq(value):
    """(number, method) of a CSeq value, or None when malformed. The number saturates at 2**63 - 1."""
    cdef _Span span = _Span(value)
    cdef int64_t number
    cdef sip_span method
    if not sip_cseq_parse(span.base(), span.whole(), &number, &method):
        return None
    return number, span.cut(method)


def parse_number(value):
    """(number, digits) at the start of a value; the number saturates at 2**63 - 1."""
    cdef _Span span = _Span(value)
    cdef int64_t number
    cdef size_t digits = sip_number(span.base(), span.whole(), &number)
    return number, digits


def parameter(value, bytes name not None, bytes separator=b";"):
    """Value of a parameter, without quotes; None when it is not there."""
    cdef _Span span = _Span(value)
    cdef sip_span found
    if len(separator) != 1 or not name:
        raise ValueError("one separator byte and a name are needed")
    if not sip_param_find(span.base(), span.whole(), separator[0], name, &found):
        return None
    return span.cut(found)


def split_list(value):
    """Elements of a comma-joined value, trimmed; quotes and <> are respected."""
    cdef _Span span = _Span(value)
    cdef uint32_t cursor = 0
    cdef sip_span element
    cdef list elements = []
    while sip_list_next(span.base(), span.whole(), &cursor, &element):
        elements.append(span.cut(element))
    return elements


def hash_bytes(value, uint64_t seed=0, bint folded=False):
    """64-bit hash; `folded` takes ASCII letters of either case as one."""
    cdef _Span span = _Span(value)
    if folded:
        return sip_hash_folded(span.base(), span.view.len, seed)
    return sip_hash(span.base(), span.view.len, seed)


# ---- implementations ----

def implementation():
    """Name of the scan that runs: "scalar", "avx2", "avx512"."""
    return sip_implementation().decode("ascii")


def force_implementation(str name not None):
    """Makes one scan run, for tests. Raises ValueError when this machine cannot."""
    if sip_force(name.encode("ascii", "replace")) != 0:
        raise ValueError(f"this machine cannot run {name!r}")


@cython.boundscheck(False)
@cython.wraparound(False)
def bench_scan(buffer, const uint64_t[::1] offsets not None, const uint64_t[::1] lengths not None,
               int repeat=1):
    """Seconds to tokenize the messages at `offsets` of a buffer `repeat` times, without the GIL."""
    cdef _Span span = _Span(buffer)
    cdef const uint8_t *base = span.base()
    cdef sip_message message
    cdef sip_header rows[128]
    cdef Py_ssize_t i, count = offsets.shape[0]
    cdef int round
    if lengths.shape[0] != count:
        raise ValueError("offsets and lengths differ in number")
    for i in range(count):
        if offsets[i] > <uint64_t>span.view.len or lengths[i] > <uint64_t>span.view.len - offsets[i]:
            raise ValueError("a message reaches beyond the buffer")
    begin = perf_counter()
    with nogil:
        for round in range(repeat):
            for i in range(count):
                sip_scan(base + offsets[i], lengths[i], SIP_DATAGRAM, &message, rows, 128)
    return perf_counter() - begin

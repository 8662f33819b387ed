"""Plain-Python twin of the SIP tokenizer: the same answers from a slow and obvious reading of the bytes.

`scan` returns a Reading, None where more bytes are needed, or raises ValueError where there is no start line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from engine._native import sip

F = sip.Flag
H = sip.HeaderFlag
WHITE = b" \t\r\n"
TOKEN = re.compile(rb"[0-9A-Za-z\-.!%*_+`'~]+")
INT64_MAX = (1 << 63) - 1
NAMES = {name.lower().encode(): number for number, name in enumerate(sip.HEADERS) if name}
COMPACT = dict(zip(
    b"abcdefijklmnorstuvxy",
    (NAMES[name] for name in (
        b"accept-contact", b"referred-by", b"content-type", b"request-disposition", b"content-encoding", b"from",
        b"call-id", b"reject-contact", b"supported", b"content-length", b"contact", b"identity-info", b"event",
        b"refer-to", b"subject", b"to", b"allow-events", b"via", b"session-expires", b"identity",
    )),
    strict=True,
))  # fmt: skip
QUOTED_NAMES = b"""
    from to contact via route record-route diversion p-asserted-identity p-preferred-identity remote-party-id
    history-info refer-to referred-by reply-to path service-route p-associated-uri p-called-party-id p-served-user
    authorization proxy-authorization www-authenticate proxy-authenticate authentication-info warning reason
    alert-info call-info error-info geolocation accept-contact reject-contact content-type content-disposition
    identity feature-caps security-client security-server security-verify p-access-network-info p-charging-vector
    p-charge-info"""
QUOTED = {NAMES[name] for name in QUOTED_NAMES.split()}


@dataclass
class Reading:
    """What a scan gives; spans are (offset, length)."""

    data: bytes
    is_response: bool = False
    method: tuple[int, int] = (0, 0)
    uri: tuple[int, int] = (0, 0)
    version: tuple[int, int] = (0, 0)
    reason: tuple[int, int] = (0, 0)
    status: int = 0
    start: int = 0
    rows: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)  # name, value, id, flags
    total: int = 0
    body: tuple[int, int] = (0, 0)
    content_length: int = -1
    flags: int = 0
    faults: list[int] = field(default_factory=list)
    length: int = 0

    def defect(self, flag: int, offset: int) -> None:
        self.flags |= flag
        self.faults.append(offset)

    def text(self, span: tuple[int, int]) -> bytes:
        return self.data[span[0] : span[0] + span[1]]


def header_id(name: bytes) -> int:
    if len(name) == 1:
        return COMPACT.get(name.lower()[0], 0)
    return NAMES.get(name.lower(), 0)


def trim(data: bytes, start: int, end: int, white: bytes = WHITE) -> tuple[int, int]:
    """The span without outer white space, as (start, end)."""
    while start < end and data[start] in white:
        start += 1
    while end > start and data[end - 1] in white:
        end -= 1
    return start, end


# ---- start line ----


def gap(r: Reading, start: int, end: int) -> None:
    """White space that should be one SP."""
    if end - start > 1:
        r.defect(F.START_LINE_SPACES, start + 1)
    elif end > start and r.data[start] != 0x20:
        r.defect(F.START_LINE_SPACES, start)


def version_check(r: Reading, start: int, end: int) -> None:
    r.version = (start, end - start)
    if r.data[start:end].upper() != b"SIP/2.0":
        r.defect(F.VERSION_BAD, start)


def status_line(r: Reading, start: int, end: int) -> None:
    match = re.compile(rb"([^ \t]+)([ \t]*)([^ \t]*)([ \t]*)", re.S).match(r.data, start, end)
    assert match
    r.is_response = True
    version_check(r, *match.span(1))
    gap(r, *match.span(2))
    code = match[3]
    if not re.fullmatch(rb"[0-9]{3}", code):
        if r.flags & F.VERSION_BAD:
            raise ValueError("no SIP start line")
        r.defect(F.STATUS_BAD, match.start(3))
    if re.fullmatch(rb"[0-9]+", code):
        r.status = min(int(code), 65535)
        if not 100 <= int(code) <= 699:
            r.defect(F.STATUS_RANGE, match.start(3))
    if match.end(3) == end:
        r.defect(F.REASON_MISSING, end)
    gap(r, *match.span(4))
    reason_start = match.end(4)
    while end > reason_start and r.data[end - 1] in WHITE:
        end -= 1
    r.reason = (reason_start, end - reason_start)


def request_line(r: Reading, start: int, end: int) -> None:
    data = r.data
    trimmed = trim(data, start, end)[1] if end > start else end
    versions = [m.start() + 1 for m in re.finditer(rb"(?i)[ \t](?=sip/)", data[start:trimmed])]
    if not versions:
        raise ValueError("no SIP start line")
    version = start + versions[-1]
    if trimmed < end and data[trimmed] in b" \t":
        r.defect(F.START_LINE_SPACES, trimmed)
    at = next(i for i in range(start, version) if data[i] in b" \t")
    r.method = (start, at - start)
    if not TOKEN.fullmatch(data, start, at):
        r.defect(F.METHOD_BAD, start)
    uri = at
    while uri < version and data[uri] in b" \t":
        uri += 1
    gap(r, at, uri)
    uri_end = version
    while uri_end > uri and data[uri_end - 1] in b" \t":
        uri_end -= 1
    if uri_end > uri:
        gap(r, uri_end, version)
    r.uri = (uri, uri_end - uri)
    spaces = [i for i in range(uri, uri_end) if data[i] in b" \t"]
    if spaces:
        r.defect(F.URI_SPACES, spaces[0])
    version_check(r, version, trimmed)


def start_line(r: Reading, start: int, end: int) -> None:
    while end > start and r.data[end - 1] == 0x0D:
        end -= 1
    at = start
    while at < end and r.data[at] in b" \t":
        at += 1
    if at > start:
        r.defect(F.START_LINE_SPACES, start)
    if r.data[at : min(at + 4, end)].upper() == b"SIP/":
        status_line(r, at, end)
    else:
        request_line(r, at, end)


# ---- headers ----


def unclosed(value: bytes) -> bool:
    """Does a quoted-string never close?"""
    rest = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", value, flags=re.S)
    return b'"' in rest


def header(
    r: Reading, start: int, end: int, folded: bool, capacity: int, lengths: list[tuple[int, int]]
) -> bool:
    """Takes the line [start, end). False where it ends the headers instead."""
    data = r.data
    colon = data.find(b":", start, end)
    flags = H.FOLDED if folded else H(0)
    name, name_end, number = start, start, 0
    if colon < 0:
        if not data[start:end].strip(b"\r"):
            r.body = (min(end + 1, len(data)), 0)
            return False
        if data[start:end].rstrip(b"\r") == b"v=0":
            r.body = (start, 0)
            r.defect(F.NO_BLANK_LINE, start)
            return False
    while (colon < 0 or name < colon) and name < end and data[name] == 0x0D:
        name += 1
    name_end = name
    if colon >= 0:
        name_end = trim(data, name, colon)[1] if trim(data, name, colon)[0] < colon else name
        if name_end < colon:
            flags |= H.SPACED
            r.defect(F.SPACE_BEFORE_COLON, name_end)
    if colon >= 0 and TOKEN.fullmatch(data, name, name_end):
        number = header_id(data[name:name_end])
    else:
        flags |= H.BAD_NAME
        r.defect(F.BAD_HEADER_LINE, name)
    value, value_end = trim(data, colon + 1 if colon >= 0 else name, end)
    if value == value_end:
        flags |= H.EMPTY
    if folded:
        r.flags |= F.FOLDED
    if number and name_end - name == 1:
        flags |= H.COMPACT
        r.flags |= F.COMPACT
    elif number in COMPACT.values():
        r.flags |= F.LONG
    if number in QUOTED and unclosed(data[value:value_end]):
        r.defect(F.QUOTE_UNBALANCED, value)
    if number == NAMES[b"content-length"]:
        lengths.append((value, value_end))
    r.total += 1
    if len(r.rows) < capacity:
        body = data[value:value_end]
        if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)", body):
            flags |= H.CONTROL
        r.rows.append((name, min(name_end - name, 65535), value, value_end - value, number, int(flags)))
    else:
        r.defect(F.TOO_MANY_HEADERS, start)
    return True


def content_length(r: Reading, lengths: list[tuple[int, int]]) -> None:
    for count, (start, end) in enumerate(lengths):
        text = r.data[start:end]
        # more digits than Python would turn into a number are too many anyway
        digits = text.lstrip(b"0")[:20] or b"0"
        value = int(digits) if re.fullmatch(rb"[0-9]+", text) and int(digits) <= INT64_MAX else -2
        if value < 0:
            r.defect(F.LENGTH_INVALID, start)
        if not count:
            r.content_length = value
            continue
        r.defect(F.LENGTH_REPEATED, start)
        if value != r.content_length:
            r.defect(F.LENGTH_CONFLICT, start)


def bytes_check(r: Reading, end: int) -> None:
    """Line ends, control bytes and UTF-8 of start line and headers."""
    data = r.data
    for match in re.finditer(rb"(?<!\r)\n", data[r.start : end]):
        r.defect(F.BARE_LF, r.start + match.start())
    for i in range(r.start, end):
        if data[i] == 0x0D and data[i + 1 : i + 2] != b"\n":
            r.defect(F.BARE_CR, i)
        elif (data[i] < 0x20 and data[i] not in b"\t\r\n") or data[i] == 0x7F:
            r.defect(F.CONTROL_BYTE, i)
    try:
        data[r.start : end].decode("utf-8")
    except UnicodeDecodeError as error:
        r.defect(F.NON_UTF8, r.start + error.start)


def scan(data: bytes, stream: bool = False, capacity: int = 65535) -> Reading | None:
    r = Reading(data)
    r.start = len(data) - len(data.lstrip(b"\r\n"))
    if r.start:
        r.flags |= F.LEADING_CRLF
    feed = data.find(b"\n", r.start)
    if r.start == len(data) or feed < 0:
        if stream:
            rest = TOKEN.sub(b"", data[r.start :], count=1) if TOKEN.match(data, r.start) else data[r.start :]
            if rest and rest[0] not in WHITE + b"/":
                raise ValueError("no SIP start line")
            return None
        if r.start == len(data):
            raise ValueError("no SIP start line")
        feed = len(data)
    start_line(r, r.start, feed)
    lengths: list[tuple[int, int]] = []
    at, ended = min(feed + 1, len(data)), False
    while at < len(data):
        blank = re.compile(rb"\r?\n").match(data, at)
        if blank:
            r.body, ended = (blank.end(), 0), True
            break
        end, folded = data.find(b"\n", at), False
        while end >= 0 and data[end + 1 : end + 2] in (b" ", b"\t"):
            end, folded = data.find(b"\n", end + 1), True
        if end < 0 and stream:
            break
        end = len(data) if end < 0 else end
        if not header(r, at, end, folded, capacity, lengths):
            ended = True
            break
        at = min(end + 1, len(data))
    if not ended:
        if stream:
            return None
        r.body = (len(data), 0)
        r.defect(F.NO_BLANK_LINE, len(data))
    return framed(r, lengths, stream)


def framed(r: Reading, lengths: list[tuple[int, int]], stream: bool) -> Reading | None:
    content_length(r, lengths)
    start = r.body[0]
    bytes_check(r, start)
    available, promised = len(r.data) - start, r.content_length
    if promised == -1:
        r.flags |= F.LENGTH_MISSING
    if stream:
        if promised == -1:
            r.faults.append(start)
        if promised > available:
            return None
        r.body = (start, max(promised, 0))
        r.length = start + r.body[1]
        return r
    r.body = (start, available if promised < 0 else min(promised, available))
    if promised > available:
        r.defect(F.BODY_SHORT, start)
    if r.body[1] < available:
        r.defect(F.BODY_LONG, start + r.body[1])
    r.length = len(r.data)
    return r


def compare(data: bytes, stream: bool = False) -> None:
    """Asserts that the kernel and this twin read `data` alike."""
    try:
        twin = scan(data, stream)
    except ValueError:
        try:
            found = sip.scan(data, stream)
        except sip.Malformed:
            return
        raise AssertionError(f"kernel accepts what the twin refuses: {data!r} {found!r}") from None
    kernel = sip.scan(data, stream)
    if twin is None or kernel is None:
        assert twin is kernel, (data, twin, kernel)
        return
    assert facts_of_kernel(kernel) == facts_of_twin(twin), data[:2000]


def facts_of_kernel(m: sip.Message) -> dict[str, object]:
    return {
        "start line": (m.is_response, m.method, m.request_uri, m.version, m.reason, m.status, m.start_offset),
        "rows": [
            (*span, number, int(flags))
            for span, (_, _, number, flags) in zip(m.spans, m.headers, strict=True)
        ],
        "total": m.header_total,
        "first": {number: (m.first(number), m.repeats(number)) for number in {row[2] for row in m.headers}},
        "absent": [number for number in range(len(sip.HEADERS)) if m.first(number) is not None],
        "body": (m.body_offset, m.body, m.content_length, m.length),
        "flags": m.flags,
        "fault": m.fault_offset,
    }


def facts_of_twin(r: Reading) -> dict[str, object]:
    ids = [row[4] for row in r.rows]
    method = r.text(r.method)
    return {
        "start line": (
            r.is_response,
            method,
            r.text(r.uri),
            r.text(r.version),
            r.text(r.reason),
            r.status,
            r.start,
        ),
        "rows": r.rows,
        "total": r.total,
        "first": {number: (ids.index(number), ids.count(number)) for number in set(ids)},
        "absent": sorted(set(ids)),
        "body": (r.body[0], r.text(r.body), r.content_length, r.length),
        "flags": F(r.flags),
        "fault": min(r.faults, default=None),
    }

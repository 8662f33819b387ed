"""What a trace format is, and how any input is read as the formats it holds.

A line format is a few marks: patterns of the lines that stand before (or close) a message. `scan` runs the marks of
all formats over one input and cuts messages out of the regions between them, so mixed files need nothing more.
Structured formats (JSON, PDML, tables) have a reader of their own.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from heapq import merge
from ipaddress import IPv6Address
from operator import itemgetter
from typing import TypeAlias

import msgspec
from msgspec import structs

from engine import registry
from engine.trace import framing
from engine.trace.stamps import Clock


class Frame(msgspec.Struct, gc=False):
    """One framed message.

    `text` has the line ends of the wire. `time_ns` is since 1970 UTC, None where the format has no time; `date_known`
    is False where it had a time of day only. `source` and `target` are "ip:port", "[v6]:port" or a name. `direction`
    is seen from the logging node: 0 unknown, 1 incoming, 2 outgoing. `offset` is the frame's in the input. Frames of
    one `correlation` (channel, GUID, session) are legs of one call.
    """

    text: bytes
    time_ns: int | None
    source: str | None
    target: str | None
    transport: str | None
    direction: int
    offset: int
    correlation: str | None = None
    retransmission: bool = False
    date_known: bool = True


class PacketFrame(msgspec.Struct, gc=False):
    """One captured packet out of a hex dump; `link_type` as in pcap (1 Ethernet, 101 raw IP, 113 and 276 cooked)."""

    packet: bytes
    time_ns: int | None
    link_type: int
    offset: int


AnyFrame: TypeAlias = "Frame | PacketFrame"


def _unnoticed(kind: str, offset: int) -> None:
    """Takes a problem nobody asked about."""


class Options(msgspec.Struct):
    """How text is read: the zone of stamps without one, when the file was written, limits, and who hears of problems.

    `note(kind, offset)` kinds: "oversize", "truncated", "abridged", "blank-line-lost", "line-between-headers",
    "unreadable-row", "not-sip".
    """

    tz_offset_s: int = 0
    mtime: float | None = None
    max_message_bytes: int = 65536
    note: framing.Note = _unnoticed

    def clock(self) -> Clock:
        """A clock for one input."""
        return Clock(self.tz_offset_s, self.mtime)

    def note_at(self, offset: int) -> framing.Note:
        """A note that names `offset` whatever it is called with: for text that was put together anew."""
        return lambda kind, _: self.note(kind, offset)


class Region(msgspec.Struct):
    """A frame line and what follows it up to the next one: content[start:end], the match ending at `begin`.

    `line` is where the frame line starts; what stands before the match on it is the log's own prefix. `before` is the
    beginning of the region this one takes the place of.
    """

    content: bytes
    line: int
    match: re.Match[bytes]
    begin: int
    end: int
    clock: Clock
    options: Options
    before: bytes = b""

    @property
    def prefix(self) -> bytes:
        return self.content[self.line : self.match.start()]

    @property
    def text(self) -> bytes:
        """What follows the frame line, no more of it than a message can need."""
        return self.content[self.begin : min(self.end, self.begin + 4 * self.options.max_message_bytes)]


class Mark(msgspec.Struct, frozen=True):
    """A frame line. `literal` occurs in every match: it is sought first, and the pattern begins with it or with a newline.

    Named groups of `pattern`, all optional: time (any stamp), source, target, peer (the other side, by direction),
    local, transport, way (a direction word), key (correlation), again (a retransmission). Unless given, the time and
    the key come from the line's prefix. `head` refines what the groups gave. `rebuild` restores a region's text before
    messages are cut out of it; `whole` reads the region itself. `ends` marks close a region. A `replaces` mark
    gives better what the `summary` mark right before it gave of the same packet.
    """

    literal: bytes
    pattern: re.Pattern[bytes]
    way: int = 0
    transport: str | None = None
    head: Callable[[Region, Frame], None] | None = None
    rebuild: Callable[[Region], bytes] | None = None
    whole: Callable[[Region], Iterator[AnyFrame]] | None = None
    ends: bool = False
    summary: bool = False
    replaces: bool = False
    weight: float = 0.9


class Format(msgspec.Struct, frozen=True):
    """One trace format.

    `sniff` takes the first 64 KiB and returns a confidence from 0 to 1; without it the marks are sought. `frames` reads
    one input of this format; where it is `structured`, nothing else is looked for in it. Line formats have `marks`, which
    work in any input. Binary formats name their `native` reader.
    """

    name: str
    suffixes: tuple[str, ...]
    title: str
    sniff: Callable[[bytes], float]
    frames: Callable[[bytes, Options], Iterator[AnyFrame]] | None = None
    native: str | None = None
    marks: tuple[Mark, ...] = ()
    structured: bool = False


def by_marks(*marks: Mark) -> Callable[[bytes], float]:
    """A sniff that is as sure as the surest mark found."""

    def sniff(head: bytes) -> float:
        head = b"\n" + head
        return max(
            (m.weight for m in marks if not m.ends and m.literal in head and m.pattern.search(head)),
            default=0.0,
        )

    return sniff


def line_format(name: str, title: str, *marks: Mark, suffixes: tuple[str, ...] = (".log", ".txt")) -> Format:
    """A format that is nothing but marks."""
    return Format(
        name, suffixes, title, by_marks(*marks), lambda data, options: scan(data, options, marks), None, marks
    )


@cache
def members() -> Mapping[str, Format]:
    """Every format by name, in the order of their files."""
    return registry.load("engine.trace.sources", "FORMAT", Format)


@cache
def _all_marks() -> tuple[Mark, ...]:
    return tuple(mark for member in members().values() for mark in member.marks)


# Files that are no trace, or are one only after a conversion; (magic, where, what to say).
_UNREADABLE = (
    (b"GMBU", 0, "a Microsoft Network Monitor capture: convert it with `editcap -F pcap`"),
    (b"RTSS", 0, "a Microsoft Network Monitor capture: convert it with `editcap -F pcap`"),
    (b"snoop\0\0\0", 0, "a Solaris snoop capture: convert it with `editcap -F pcap`"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7-Zip archive: unpack it first"),
    (b"Rar!\x1a\x07", 0, "a RAR archive: unpack it first"),
    (b"%PDF-", 0, "a PDF document: paste its text instead"),
    (b"\x89PNG\r\n", 0, "a picture: paste the text or the capture it shows"),
    (b"\xff\xd8\xff", 0, "a picture: paste the text or the capture it shows"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "an Office document: paste its text instead"),
    (b"RIFF", 0, "an audio file: give the capture it was taken from"),
    (b"\x7fELF", 0, "a program"),
    (b"MZ\x90\0", 0, "a program"),
    (b"SQLite format 3\0", 0, "a database: export the table as CSV or JSON"),
)


def unreadable(head: bytes) -> str | None:
    """A sentence's end for an input that only looks like a trace ("a picture: ..."), None for everything else."""
    for magic, where, what in _UNREADABLE:
        if head.startswith(magic, where):
            return what
    return None


@lru_cache(maxsize=4)
def detect(head: bytes) -> Format:
    """The format the first 64 KiB speak for most; plain messages when none does."""
    if framing.begins_with_message(head):
        return members()["plain"]
    if _is_wide(head):
        head = decode(head)
    best, most = members()["plain"], 0.0
    for part in (head[:4096], head) if len(head) > 4096 else (head,):
        for member in members().values():
            sure = member.sniff(part)
            if sure > most:
                best, most = member, sure
        if most >= 0.5:
            break
    return best


def frames(data: bytes, options: Options) -> Iterator[AnyFrame]:
    """Every message of a text input, in the order they stand there. Never raises for what the input holds."""
    if b"X-Siptrace-Fromip" in data:
        return map(_mirrored, _frames(data, options))
    return _frames(data, options)


def _frames(data: bytes, options: Options) -> Iterator[AnyFrame]:
    limit = options.max_message_bytes
    done = 0
    for text, begin, done in framing.pasted(data, limit):  # noqa: B007
        yield Frame(text, None, None, None, None, 0, begin)
    if done < len(data):
        yield from _mixed(data, done, options)


_MIRRORED = re.compile(rb"(?i)\nX-Siptrace-(From|To)ip[ \t]*:[ \t]*(?:([a-z]{2,4}):)?(\S{3,80})")


def _mirrored(frame: AnyFrame) -> AnyFrame:
    """Kamailio's siptrace says in headers of the copy where the message came from and went to."""
    if isinstance(frame, Frame) and frame.source is None and frame.target is None:
        for side, carrier, where in _MIRRORED.findall(frame.text[:8192]):
            if side.lower() == b"from":
                frame.source = place(where)
            else:
                frame.target = place(where)
            frame.transport = frame.transport or transport(carrier)
    return frame


def _mixed(data: bytes, done: int, options: Options) -> Iterator[AnyFrame]:
    rest = data[done:] if done else data
    if done:
        told = options.note
        options = structs.replace(options, note=lambda kind, at: told(kind, at + done))
    head = rest[:65536]
    member = detect(head)
    if member.structured and member.frames is not None:
        empty = True
        for frame in member.frames(rest, options):
            empty = False
            frame.offset += done
            yield frame
        if not empty:
            return
    for frame in scan(rest, options, _all_marks()):
        frame.offset += done
        yield frame


def scan(data: bytes, options: Options, marks: Sequence[Mark]) -> Iterator[AnyFrame]:
    """Messages of a text input framed by any of `marks`, or by nothing."""
    content, origin = normalize(data)
    content = b"\n" + content
    present = [mark for mark in marks if _occurs(mark.literal, content)]
    clock = options.clock()
    events: Iterator[tuple[int, int, Mark, re.Match[bytes]]] = merge(
        *(_matches(content, mark, order) for order, mark in enumerate(present)), key=itemgetter(0, 1)
    )
    told = options.note
    noting = structs.replace(options, note=lambda kind, at: told(kind, origin(max(0, at - 1))))
    reading = _Reading(content, clock, noting)
    for frame in _regions(reading, events):
        frame.offset = origin(max(0, frame.offset - 1))
        yield frame


def _occurs(literal: bytes, content: bytes) -> bool:
    size = len(content)
    if size <= 1 << 24:
        return literal in content
    middle = size // 2
    return any(content.find(literal, at, at + (1 << 20)) >= 0 for at in (0, middle, size - (1 << 20)))


def _matches(content: bytes, mark: Mark, order: int) -> Iterator[tuple[int, int, Mark, re.Match[bytes]]]:
    for found in mark.pattern.finditer(content):
        yield found.start(), order, mark, found


class _Reading(msgspec.Struct):
    content: bytes
    clock: Clock
    options: Options


def _regions(
    reading: _Reading, events: Iterator[tuple[int, int, Mark, re.Match[bytes]]]
) -> Iterator[AnyFrame]:
    content = reading.content
    current: tuple[Mark, re.Match[bytes], int] | None = None
    begin = 0
    before = b""
    for _, _, mark, found in events:
        if found.start() < begin:
            continue
        line = found.start() + 1 if content.startswith(b"\n", found.start()) else -1
        if line < 0:
            line = content.rfind(b"\n", begin, found.start()) + 1 or begin
        if mark.replaces and current is not None and current[0].summary and current[0] is not mark:
            before += content[current[2] : min(line, current[2] + 4096)]
        else:
            yield from _region(reading, current, begin, line, before)
            before = b""
        current = (mark, found, line)
        begin = found.end()
    yield from _region(reading, current, begin, len(content), before)


def _region(
    reading: _Reading, current: tuple[Mark, re.Match[bytes], int] | None, begin: int, end: int, before: bytes
) -> Iterator[AnyFrame]:
    content, clock, options = reading.content, reading.clock, reading.options
    limit = options.max_message_bytes
    if current is None or current[0].ends:
        for piece in framing.pieces(content, begin, end, limit, options.note):
            yield _unframed(content, piece, clock)
        return
    mark, found, line = current
    region = Region(content, line, found, begin, end, clock, options, before)
    if mark.whole is not None:
        yield from mark.whole(region)
        return
    yield from framed(region, mark)


def framed(region: Region, mark: Mark) -> Iterator[Frame]:
    """The messages of a region, the first with what its frame line says."""
    options = region.options
    content, begin, end, note = region.content, region.begin, region.end, options.note
    if mark.rebuild is not None:
        content = mark.rebuild(region)
        begin, end, note = 0, len(content), options.note_at(region.line)
    head: Frame | None = None
    follows = True
    for piece in framing.pieces(content, begin, end, options.max_message_bytes, note):
        if head is None:
            head = heading(region, mark)
        offset = region.line if mark.rebuild is not None else piece.begin
        if follows:
            yield Frame(
                piece.text, head.time_ns, head.source, head.target, head.transport, head.direction, offset,
                head.correlation, head.retransmission, head.date_known,
            )  # fmt: skip
        else:
            yield _unframed(content, piece, region.clock)
        follows = piece.clean


def _unframed(content: bytes, piece: framing.Piece, clock: Clock) -> Frame:
    line = content.rfind(b"\n", max(0, piece.begin - 512), piece.begin) + 1
    if line == piece.begin or not line:
        return Frame(piece.text, None, None, None, None, 0, piece.begin)
    prefix = content[line : piece.begin]
    moment, known = clock.find(prefix)
    return Frame(piece.text, moment, None, None, None, 0, piece.begin, correlation(prefix), False, known)


_OUT = frozenset(
    {
        b"transmitting",
        b"retransmitting",
        b"send",
        b"sent",
        b"sending",
        b"tx",
        b"out",
        b"outgoing",
        b"to",
        b"snd",
        b"s",
    }
)
_CHANNEL = re.compile(
    rb"\[(C-[0-9a-f]{8})\]|\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b|\[SID=([^\]\s]+)\]"
    rb"|\b[gG][cC][iI][dD][:=](0x[0-9a-fA-F]+|\w+)"
)


def heading(region: Region, mark: Mark) -> Frame:
    """A frame without its text, from the groups of a frame line and the log prefix before it."""
    part = region.match.groupdict()
    prefix = region.prefix
    stamp = part.get("time")
    moment, known = region.clock.find(stamp if stamp is not None else prefix)
    if moment is None and stamp is None:
        # The writer's own line break stands before the frame line: its prefix is on the line above.
        prefix = _above(region)
        moment, known = region.clock.find(prefix)
    if not known and stamp is not None and prefix:
        dated, has_date = region.clock.find(prefix)
        if dated is not None and has_date:
            moment, known = dated, True
    word = part.get("way")
    way = mark.way or ((2 if word.lower() in _OUT else 1) if word is not None else 0)
    source, target = place(part.get("source")), place(part.get("target"))
    if (peer := place(part.get("peer"))) is not None:
        source, target = (source, peer) if way == 2 else (peer, target)
    if (local := place(part.get("local"))) is not None:
        source, target = (local, target) if way == 2 else (source, local)
    given = part.get("transport")
    key = part.get("key")
    frame = Frame(
        b"", moment, source, target, transport(given) if given else mark.transport, way, region.line,
        printable(key) if key else (correlation(prefix) if prefix else None), part.get("again") is not None, known,
    )  # fmt: skip
    if mark.head is not None:
        mark.head(region, frame)
    return frame


def _above(region: Region) -> bytes:
    content, line = region.content, region.line
    begin = content.rfind(b"\n", max(0, line - 400), line - 1) + 1
    above = content[begin : line - 1] if begin else b""
    return above if framing.is_stamped(above) else b""


def correlation(prefix: bytes) -> str | None:
    """The channel, session or call key in a log prefix."""
    found = _CHANNEL.search(prefix[:512])
    return printable(found[found.lastindex or 0]) if found else None


def printable(text: bytes) -> str:
    """Bytes of a log as text that encodes again."""
    return text.decode("utf-8", "replace")


def transport(word: bytes) -> str | None:
    """ "UDP", "TCP", "TLS", "WS", "WSS" or "SCTP" for the ways logs write them (udp, UDP6, tls/ssl), else None."""
    upper = word.upper().rstrip(b"46 ").rstrip(b"-_ ")
    if upper in (b"UDP", b"TCP", b"TLS", b"WS", b"WSS", b"SCTP"):
        return upper.decode()
    if upper in (b"SSL", b"SIPS", b"TCP/TLS", b"TLS/TCP", b"DTLS"):
        return "TLS"
    return None


_IN_BRACKETS = re.compile(r"\[([^\]/%]+)(?:[/%][^\]]*)?\](?:/\w+)?((?::\d+)?)\Z")


@lru_cache(maxsize=1024)
def place(text: bytes | None) -> str | None:
    """An address as frames carry it: "ip:port", "[v6]:port" or the name as it was. None for nothing."""
    if not text:
        return None
    name = printable(text).strip().partition(";")[0].rstrip(",.")
    if name.endswith(":") and not name.endswith("::"):
        name = name[:-1]
    if not name or name in ("-", "unknown", "[unknown]"):
        return None
    if name[0] == "[":
        inner = _IN_BRACKETS.match(name)
        if inner is None:
            return name
        return inner[1] + inner[2] if ":" not in inner[1] else f"[{inner[1]}]{inner[2]}"
    if name.count(":") > 1:
        host, _, port = name.rpartition(":")
        host = host.partition("%")[0].partition("/")[0]
        if port.isdigit() and is_v6(host) and (not is_v6(name) or host.count(":") == 7 or len(port) > 4):
            return f"[{host}]:{port}"
        return f"[{name}]" if is_v6(name) else name
    return name


def is_v6(host: str) -> bool:
    """Whether `host` is an IPv6 address without brackets."""
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def join(host: str | bytes | None, port: str | bytes | int | None) -> str | None:
    """ "ip:port" or "[v6]:port" of an address and a port given apart."""
    if isinstance(host, bytes):
        host = printable(host)
    if isinstance(port, bytes):
        port = printable(port)
    if not host:
        return None
    host = host.strip().strip("[]")
    if ":" in host:
        host = f"[{host}]"
    return f"{host}:{port}" if port not in (None, "", "0", 0) else host


def start_line(text: bytes) -> int:
    """Where the first start line in `text` begins, -1 where there is none."""
    for _, start in framing.starts(text, 0, len(text)):
        return start
    return -1


# ---- What a log, a terminal or a mail program did to the whole text ----

_ANSI = re.compile(rb"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\n]*\x07|[()][A-Z0-9])")
_OCTAL = ((b"#015#012", b"\n"), (b"#012", b"\n"), (b"#015", b""), (b"#011", b"\t"))
_LITERAL = re.compile(rb'\\(?:r\\n|[nrt"/])')
_ENTITY = re.compile(rb"&(?:lt|gt|amp|quot|#39|#13|#10|nbsp);")
_CARET = re.compile(rb"\^M(?=\r?\n|\Z)")
_DOUBLED = re.compile(rb"\r+\r\n")
_LONE_CR = re.compile(rb"\r(?!\n)")
_QUOTED = re.compile(rb"(?m)^(?:> ?)+")
_REPLACEMENTS = {
    b"\\r\\n": b"\n", b"\\n": b"\n", b"\\r": b"", b"\\t": b"\t",
    b'\\"': b'"', b"\\/": b"/", b"&lt;": b"<", b"&gt;": b">", b"&amp;": b"&", b"&quot;": b'"', b"&#39;": b"'",
    b"&#13;": b"", b"&#10;": b"\n", b"&nbsp;": b" ",
}  # fmt: skip
Origin: TypeAlias = Callable[[int], int]


def _is_wide(data: bytes) -> bool:
    return data[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        len(data) > 3 and data[:4].count(0) == 2 and 0 in data[:2]
    )


def decode(data: bytes) -> bytes:
    """UTF-16 as UTF-8, and without a byte order mark."""
    if data[:2] == b"\xff\xfe" or (data[1:2] == b"\0" and data[3:4] == b"\0"):
        return data.decode("utf-16-le", "replace").lstrip("\ufeff").encode("utf-8", "replace")
    return data.decode("utf-16-be", "replace").lstrip("\ufeff").encode("utf-8", "replace")


def normalize(data: bytes) -> tuple[bytes, Origin]:
    """The text as its writer meant it, and where an offset in it lies in the input."""
    steps: list[Origin] = []
    if _is_wide(data):
        size = len(data)
        data = decode(data)
        scale = size / max(1, len(data))
        steps.append(lambda at: min(size, int(at * scale)) & ~1)
    elif data[:3] == b"\xef\xbb\xbf":
        data = data[3:]
        steps.append(lambda at: at + 3)
    if b"#012" in data:
        for escape, meant in _OCTAL:
            if escape in data:
                data, step = _replace(escape, meant, data)
                steps.append(step)
    for pattern, wanted in (
        (_ANSI, b"\x1b" in data),
        (_LITERAL, _escaped(data)),
        (_ENTITY, b"&lt;sip" in data),
        (_CARET, b"^M" in data),
        (_DOUBLED, b"\r\r\n" in data),
    ):
        if wanted:
            data, step = _substitute(pattern, data)
            steps.append(step)
    returns = data.count(b"\r")
    if returns and returns > 2 * data.count(b"\r\n") and returns > data.count(b"\n"):
        data = _LONE_CR.sub(b"\n", data)
    if data.lstrip(_WHITE)[:1] == b">" and data.count(b"\n>") * 10 >= (data.count(b"\n") - 1) * 9:
        data, step = _substitute(_QUOTED, data)
        steps.append(step)
    if not steps:
        return data, int
    return data, lambda at: _back(at, steps)


_WHITE = b" \t\r\n"


def _escaped(data: bytes) -> bool:
    return b"SIP/2.0\\r\\n" in data or b"\\r\\nVia:" in data or b"\\nVia:" in data or b"\\r\\nv:" in data


def _back(at: int, steps: list[Origin]) -> int:
    for step in reversed(steps):
        at = step(at)
    return at


def _replace(escape: bytes, meant: bytes, data: bytes) -> tuple[bytes, Origin]:
    """`data` with every `escape` replaced by what it stands for, and the way back for offsets."""
    less = len(escape) - len(meant)
    found = re.finditer(re.escape(escape), data)
    edits = array("q", [match.start() - number * less for number, match in enumerate(found)])
    return data.replace(escape, meant), lambda at: at + less * bisect_right(edits, at)


def _substitute(pattern: re.Pattern[bytes], data: bytes) -> tuple[bytes, Origin]:
    """`data` with every match replaced by what it stands for, and the way back for offsets."""
    edits = array("q")
    gone = array("q")
    total = 0

    def replace(found: re.Match[bytes]) -> bytes:
        nonlocal total
        meant = _REPLACEMENTS.get(found[0])
        if meant is None:
            meant = b"\r\n" if pattern is _DOUBLED else b""
        edits.append(found.start() - total)
        total += found.end() - found.start() - len(meant)
        gone.append(total)
        return meant

    changed = pattern.sub(replace, data)

    def back(at: int) -> int:
        index = bisect_right(edits, at)
        return at + (gone[index - 1] if index else 0)

    return changed, back

"""Where SIP messages begin and end in text, and what they were before a log or a mail program handled them.

A start line is found anywhere a line ends in one; what stands before it on the line is the writer's prefix. Every
function is linear in its input: line starts are never sought twice over the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

Note = Callable[[str, int], None]

# A request line ends in the version, a status line begins with it (RFC 3261 §7.1, §7.2).
START = re.compile(rb"SIP/[0-9]\.[0-9](?:(?P<code> +[0-9]{3,10})(?=[ \t\r\n]|\Z)|[ \t]*(?=\r?\n|\r|\Z))")
METHOD = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]+")
URI = re.compile(rb"<?[A-Za-z][A-Za-z0-9+.\-]*:\S")
_GLUED = re.compile(rb"""[A-Z]{3,20}\Z""")
_HEADER_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9\-]*[ \t]*:[ \t]*\Z")
_BEGINNING = re.compile(rb"(?:SIP/2\.0 [0-9]{3} |[A-Z]+ [a-z]+:\S+ SIP/2\.0\r?\n)")
_LENGTH = re.compile(rb"\n(?:[Cc]ontent-[Ll]ength|l)[ \t]*:[ \t]*([0-9]{1,9})[ \t]*\r?\n")
_ANY_LENGTH = re.compile(rb"(?i)(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,9})[ \t]*\Z")
_ANY_TYPE = re.compile(rb"(?i)(?:content-type|c)[ \t]*:[ \t]*([^\s;]+)")
_ODD_LINE = re.compile(rb"\n[^A-Za-z \t\r]")
_HEADER = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]+[ \t]*:")
_STAMPED = re.compile(
    rb"(?:<\d{1,3}>)?(?:\[?\d{4}[-/.]\d\d[-/.]\d\d[ T]|\[?\d\d:\d\d:\d\d|\[?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct"
    rb"|Nov|Dec) [ \d]\d )"
)
_RULE = re.compile(rb"[ \t]*(?:[-=_*#~+.|<>]{3,}|#+ ?\d+)[ \t]*\Z")
_ELLIPSIS = re.compile(rb"[ \t]*(?:\[?\.{3,}\]?|\[?\xe2\x80\xa6\]?|<snip>|\[snip\])[ \t]*\Z")
_SDP_LINES = re.compile(rb"(?:[a-z]=[^\n]*(?:\n|\Z))+")
_SDP_LINE = re.compile(rb"\s*[a-z]=")
_SMALL_STRUCTURE = re.compile(rb"[A-Za-z0-9]+|\s+|[^A-Za-z0-9\s]")
_THREAD = re.compile(rb"\[\d+[\d.:]*\]")
_BETWEEN = re.compile(rb"[ \t\r\n\x0b\-=_*#~]*")
_BLANK = b" \t\r\n\x0b"
_SEPARATORS = b" \t\r\n\x0b-=_*#~"


class Piece(msgspec.Struct, gc=False):
    """One message cut out: its text, where it begins, where it ends, and whether only blanks follow it there.

    `claimed` is its Content-Length where such a body may hold messages.
    """

    text: bytes
    begin: int
    end: int
    clean: bool
    claimed: int = 0


def is_stamped(row: bytes) -> bool:
    """Whether `row` begins as log lines do, with a date or a time."""
    return _STAMPED.match(row) is not None


def begins_with_message(content: bytes) -> bool:
    """Whether the first thing in `content`, blanks aside, is a start line."""
    first = _first(content)
    return first >= 0 and _BEGINNING.match(content, first) is not None


def _first(content: bytes) -> int:
    """Where the text begins after blanks and rules, -1 where that is not at the start of a line."""
    if content[:1] not in _SEPARATORS or not content:
        return 0
    first = _BETWEEN.match(content).end()  # type: ignore[union-attr]
    return first if content[first - 1] == 10 else -1


def pasted(content: bytes, limit: int) -> Iterator[tuple[bytes, int, int]]:
    """(text, begin, end) of messages that stand in good order from the first byte on; stops at the first that does not.

    Nothing but blanks and rules may stand between them. The caller goes on from the last `end`.
    """
    begin, total = _first(content), len(content)
    beginning, between = _BEGINNING.match, _BETWEEN.match
    if begin < 0 or not beginning(content, begin):
        return
    while begin < total:
        text, stop = _orderly(content, begin, total, limit)
        if not stop:
            return
        end = between(content, stop).end()  # type: ignore[union-attr]
        if end < total and not beginning(content, end):
            return
        yield text, begin, end
        begin = end


def _orderly(content: bytes, begin: int, end: int, limit: int) -> tuple[bytes, int]:
    """(text, end) of the message that begins at `begin` if it is in good order, else (nothing, 0).

    Order means: one kind of line end, header lines that begin with a letter, a blank line, a Content-Length that fits.
    Only the message's own head is searched.
    """
    newline = content.find(b"\n", begin, end)
    if newline < 1:
        return b"", 0
    if content[newline - 1] == 13:
        body = content.find(b"\r\n\r\n", begin, begin + limit) + 4
        crlf, size = True, 4
    else:
        body = content.find(b"\n\n", begin, begin + limit) + 2
        crlf, size = False, 2
    if body < size or body > end or _ODD_LINE.search(content, begin, body - size):
        return b"", 0
    at = content.find(b"\nContent-Length: ", begin, body)
    found = _LENGTH.match(content, at) if at > 0 else _LENGTH.search(content, begin, body)
    if found is None:
        return b"", 0
    length = int(found[1])
    stop = body + length
    if crlf:
        if content.count(b"\n", begin, body) != content.count(b"\r\n", begin, body):
            return b"", 0
    elif content.find(b"\r", begin, body) >= 0:
        return b"", 0
    elif length:
        # The length counts the carriage returns that were lost.
        stop -= content[body:stop].replace(b"\n", b"\r\n").count(b"\n", 0, length)
        if content[stop - 1 : stop] != b"\n":
            return b"", 0
    if stop > end or stop - begin > limit:
        return b"", 0
    text = content[begin:stop]
    return text if crlf else text.replace(b"\n", b"\r\n"), stop


def in_order(content: bytes, begin: int, end: int, limit: int) -> tuple[bytes, int, int] | None:
    """(text, begin, end with the blanks behind it) of a message in good order in content[begin:end], else None."""
    first = _BETWEEN.match(content, begin, end).end()  # type: ignore[union-attr]
    if content[first - 1] != 10 or not _BEGINNING.match(content, first, end):
        return None
    text, stop = _orderly(content, first, end, limit)
    if not stop:
        return None
    behind = _BETWEEN.match(content, stop, end).end()  # type: ignore[union-attr]
    return (text, first, behind) if behind == end or content[behind - 1] == 10 else None


def starts(content: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """(start of the line, start of the start line on it) of every start line in content[begin:end]."""
    floor = begin
    first = True
    for found in START.finditer(content, begin, end):
        at = found.start()
        line = content.rfind(b"\n", floor, at) + 1
        floor = found.end()
        if not line:
            if not first:
                continue
            line = begin
        first = False
        if at - line > 4096:
            continue
        start = _start_on_line(content, line, at, found["code"] is not None)
        if start >= 0:
            yield line, start


def _start_on_line(content: bytes, line: int, at: int, is_status: bool) -> int:
    before = content[line:at]
    if is_status:
        return at if not before or (not _HEADER_NAME.match(before) and before[-1:] not in b"/=") else -1
    words = before.split()
    if len(words) < 2 or before[-1:] not in b" \t":
        return -1
    if len(words) > 2:
        if URI.match(words[-1]) and (glued := _GLUED.search(words[-2])):
            head = before.rstrip()[: -len(words[-1])].rstrip()
            start = line + len(head) - len(glued[0])
            prefix = content[line:start]
            return -1 if _HEADER_NAME.match(prefix) or prefix[-1:] == b"=" else start
        # A request URI with blanks in it is wrong, and is what somebody wants explained.
        return line if before[:1].isupper() and _GLUED.match(words[0]) and URI.match(words[1]) else -1
    if not URI.match(words[1]):
        return -1
    head = before[: before.rfind(words[1])].rstrip()
    if METHOD.fullmatch(words[0]):
        return line + len(head) - len(words[0])
    glued = _GLUED.search(words[0])
    return (
        line + len(head) - len(glued[0])
        if glued and head[-len(glued[0]) - 1 : -len(glued[0])] != b"="
        else -1
    )


def pieces(content: bytes, begin: int, end: int, limit: int, note: Note) -> Iterator[Piece]:
    """Messages in content[begin:end], one region of text between two frame lines."""
    while True:
        first = _BETWEEN.match(content, begin, end).end()  # type: ignore[union-attr]
        if (first > begin and content[first - 1] != 10) or not _BEGINNING.match(content, first, end):
            break
        text, stop = _orderly(content, first, end, limit)
        if not stop:
            break
        following = _BETWEEN.match(content, stop, end).end()  # type: ignore[union-attr]
        clean = following == end or _BEGINNING.match(content, following, end) is not None
        if not clean and (content[stop - 1] != 10 or _SDP_LINE.match(content, stop, end)):
            break
        yield Piece(text, first, stop, clean)
        begin = following if clean else stop
        if begin >= end:
            return
    sought = starts(content, begin, end)
    patience = 1 << 23
    upcoming, later = next(sought, None), next(sought, None)
    while upcoming is not None:
        line, start = upcoming
        upcoming, later = later, next(sought, None)
        stop = upcoming[0] if upcoming is not None else end
        piece = _piece(content, line, start, min(stop, start + 2 * limit + 4096), limit, note)
        if piece is not None and upcoming is not None and piece.claimed and patience > 0:
            # The next start line may lie in this message's body: a fragment (RFC 3420) or a quoted message.
            third = later[0] if later is not None else end
            whole = _around(content, line, start, upcoming[0], third, end, limit, note)
            if whole is None:
                # Long bodies that are not there cost a look each: an input full of them gets no more looks.
                patience -= max(0, piece.claimed - 1024)
            else:
                piece = whole
                while upcoming is not None and upcoming[0] < whole.end:
                    upcoming, later = later, next(sought, None)
        if piece is not None:
            yield piece


def _piece(content: bytes, line: int, start: int, stop: int, limit: int, note: Note) -> Piece | None:
    prefix = content[line:start]
    block = content[start:stop]
    if prefix:
        block = without_prefix(prefix, block)
    text, used, claimed = tidy(block, start, note, bare=not prefix)
    if not text:
        return None
    if len(text) > limit:
        note("oversize", start)
        text = text[:limit]
    if prefix:
        return Piece(text, start, stop, False, claimed)
    rest = content[start + used : stop]
    end = stop if not rest.strip(_BLANK) else start + used
    return Piece(text, start, end, not rest.strip(_SEPARATORS), claimed)


def _around(
    content: bytes, line: int, start: int, following: int, third: int, end: int, limit: int, note: Note
) -> Piece | None:
    """The message at `start` with the start line at `following` in its body, None when that is a message itself.

    `third` is where the start line after that stands, or the region's end.
    """
    prefix = content[line:start]
    head = content[start:following]
    if prefix:
        head = without_prefix(prefix, head)
    length = kind = None
    for row in head.split(b"\n"):
        row = row.rstrip(b"\r")
        if found := _ANY_LENGTH.match(row):
            length = int(found[1])
        elif found := _ANY_TYPE.match(row):
            kind = found[1].lower()
    if not length or length > limit:
        return None
    fragment = kind is not None and kind.startswith(b"message/sip")
    if prefix:
        # Every line carries the writer's prefix: the body's bytes are counted after it is taken away.
        if not fragment:
            return None
        block = without_prefix(prefix, content[start : min(third, following + 2 * limit)])
        text, _, _ = tidy(block, start, note, bare=False)
        return Piece(text[:limit], start, following + 1, False)
    newline = content.find(b"\n", start)
    crlf = content[newline - 1 : newline] == b"\r"
    blank = b"\r\n\r\n" if crlf else b"\n\n"
    body = content.find(blank, start, following + 1)
    if body < 0:
        return None
    body += len(blank)
    stop = body + length
    if not crlf:
        stop = body + length - content.count(b"\n", body, stop)
        stop = body + length - content.count(b"\n", body, stop)
    if stop <= following or stop > end + 2:
        return None
    rest = content[stop : stop + 256].lstrip(_SEPARATORS)
    if stop < end and rest and not _BEGINNING.match(rest):
        if not fragment or content[body:following].strip(_BLANK):
            return None
        # The fragment's own first line is there, whatever became of what follows it.
        stop = min(stop, third)
    text, used, _ = tidy(content[start : min(stop + 2, end)], start, note, bare=True)
    return Piece(text[:limit], start, max(start + used, following + 1), True)


def without_prefix(prefix: bytes, block: bytes) -> bytes:
    """`block`, whose first line had `prefix` before it, with the like of it taken from the lines after.

    Where only the first line has one, the message ends at the next line that has. Lines of another thread go.
    """
    first = block.find(b"\n") + 1
    if not first:
        return block
    second = block.find(b"\n", first) + 1 or len(block)
    if not prefix.strip(b" \t"):
        if not block.startswith(prefix, first):
            return block
        size = len(prefix)
        rows = block.split(b"\n")
        return b"\n".join(
            [rows[0], *(row[size:] if row.startswith(prefix) else row.lstrip(b" \t") for row in rows[1:])]
        )
    shape = _Shape(prefix)
    if (
        shape.end(block[first:second]) < 0
        and shape.end(block[second : block.find(b"\n", second) + 1 or len(block)]) < 0
    ):
        # Log lines of one writer begin with the same few bytes: a month, a year, a bracket.
        lead = b"\n" + prefix[:3]
        at = block.find(lead)
        while at >= 0 and shape.end(block[at + 1 : at + 65 + len(prefix)]) < 0:
            at = block.find(lead, at + 1)
        return block if at < 0 else block[:at]
    rows = block.split(b"\n")
    kept = [rows[0]]
    strange = 0
    for row in rows[1:]:
        size = shape.end(row)
        if size >= 0:
            kept.append(row[size:])
            strange = 0
        elif size == -1:
            strange += 1
            if strange > 8:
                break
            if not row.strip(_BLANK):
                kept.append(b"")
    return b"\n".join(kept)


class _Shape:
    """What stays the same of a writer's prefix from line to line: words may differ, punctuation and thread may not."""

    __slots__ = ("classes", "prefix", "thread")

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self.classes = [_class(found) for found in _SMALL_STRUCTURE.findall(prefix)]
        thread = _THREAD.search(prefix)
        self.thread = thread[0] if thread else None

    def end(self, row: bytes) -> int:
        """Length of the prefix on `row`; -1 when it has none, -2 when it is another thread's."""
        if row.startswith(self.prefix):
            return len(self.prefix)
        classes = self.classes
        index = 0
        last = len(classes) - 1
        for found in _SMALL_STRUCTURE.finditer(row, 0, len(self.prefix) + 32):
            given = _class(found[0])
            if given != classes[index]:
                if index != last or classes[index][:1] not in b" \t":
                    return -1
                # A folded header's own blanks follow the prefix's last one.
                if not found[0].startswith(classes[index]):
                    return -1
                return self._own(row, found.start() + len(classes[index]))
            if index == last:
                return self._own(row, found.end())
            index += 1
        # An empty line whose last blanks were trimmed.
        return self._own(row, len(row)) if index == last and classes[index][:1] in b" \t" else -1

    def _own(self, row: bytes, size: int) -> int:
        return -2 if self.thread is not None and self.thread not in row[:size] else size


def _class(piece: bytes) -> bytes:
    return b"a" if piece[:1].isalnum() else piece


def tidy(block: bytes, offset: int, note: Note, *, bare: bool) -> tuple[bytes, int, int]:
    """(the message `block` begins with, with its line ends as on the wire; bytes of `block` that are it; its length).

    The length is Content-Length where such a body may hold messages, else 0.

    `bare` says that the start line stood at a line's start, where a start line alone is a message; elsewhere a header
    has to follow. Empty when there is none.
    """
    newline = block.find(b"\n")
    if newline < 0:
        alone = block.rstrip(_BLANK)
        return (alone + b"\r\n\r\n", len(block), 0) if bare and alone else (b"", 0, 0)
    crlf = block[newline - 1 : newline] == b"\r"
    rows, used, has_body = _head(block, offset, note)
    if len(rows) < 2 and not bare:
        return b"", 0, 0
    length: int | None = None
    kind = b""
    for row in rows:
        first = row[:1]
        if first in b"CcLl" and first:
            if found := _ANY_LENGTH.match(row):
                length = int(found[1])
            elif found := _ANY_TYPE.match(row):
                kind = found[1].lower()
    claimed = 0 if length is None or b"sdp" in kind else length
    head = b"\r\n".join(rows) + b"\r\n\r\n"
    if b"\xe2\x80" in head and b'"' not in head:
        head = head.replace(b"\xe2\x80\x9c", b'"').replace(b"\xe2\x80\x9d", b'"')
    if not has_body:
        return head, used, claimed
    body, taken = body_of(block[used:], length, kind, crlf)
    return head + body, used + taken, claimed


def _head(block: bytes, offset: int, note: Note) -> tuple[list[bytes], int, bool]:
    """(start line and headers, bytes they took with the blank line, whether a body may follow)."""
    rows: list[bytes] = []
    held: list[bytes] = []
    position = 0
    size = len(block)
    while position < size:
        newline = block.find(b"\n", position)
        following = newline + 1 if newline >= 0 else size
        row = block[position:following].rstrip(b"\r\n")
        if not rows:
            rows.append(row.rstrip())
        elif not row.strip(b" \t"):
            return rows, following, True
        elif _HEADER.match(row) and not _STAMPED.match(row):
            rows += held
            held.clear()
            rows.append(row)
        elif row[:1] in b" \t":
            rows.append(row)
        elif row.startswith(b"v=0"):
            note("blank-line-lost", offset + position)
            return rows, position, True
        elif _ELLIPSIS.match(row):
            note("abridged", offset + position)
        elif _RULE.match(row):
            return rows, position, False
        elif not _STAMPED.match(row) and len(held) < 4:
            # Neither a header nor anybody's log line: part of the message only if headers follow it.
            held.append(row)
        elif len(held) >= 4:
            return rows, position, False
        else:
            note("line-between-headers", offset + position)
        position = following
    return rows, size, False


def body_of(raw: bytes, length: int | None, kind: bytes, crlf: bool) -> tuple[bytes, int]:
    """(the body as on the wire, bytes of `raw` it took), `raw` being all up to the end of the frame.

    `length` is Content-Length, which counts the CRLFs of the wire where the log may have lost them.
    """
    if length == 0 and not _SDP_LINE.match(raw):
        return b"", 0
    if length is None and not kind and not raw.startswith(b"v="):
        return b"", 0
    wire = raw if crlf else raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if length:
        if len(wire) >= length:
            if _ends_body(wire, length):
                return wire[:length], length - (0 if crlf else wire.count(b"\r\n", 0, length))
            if not crlf and _ends_body(raw, length):
                return raw[:length], length
        else:
            ended = wire.rstrip(b"\r\n")
            if len(ended) + 2 == length:
                return ended + b"\r\n", len(raw)
    if b"sdp" in kind or raw.startswith(b"v="):
        found = _SDP_LINES.match(raw)
        lines = found[0] if found else b""
        taken = len(lines)
    else:
        lines = raw.rstrip(_SEPARATORS)
        taken = len(raw)
        if lines:
            lines += b"\n"
    if not crlf:
        lines = lines.replace(b"\n", b"\r\n")
    elif lines[-1:] == b"\n" and lines[-2:] != b"\r\n":
        lines = lines[:-1] + b"\r\n"
    return lines, taken


def _ends_body(wire: bytes, length: int) -> bool:
    rest = wire[length : length + 512]
    if not rest.strip(_BLANK):
        return True
    if wire[length - 1 : length] != b"\n" and rest[:1] not in b"\r\n":
        return False
    return not _SDP_LINE.match(rest)

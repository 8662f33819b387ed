"""A short text that is in order from its first byte to its last, read without looking for anything else in it.

In order means: one format's frame line, one whole message, and so on to the end. Most pastes are. What is not is
left to `engine.trace.sources.base.frames`, which looks for every format everywhere and costs ten times as much.
"""

from __future__ import annotations

from functools import cache

from engine.trace import framing
from engine.trace.sources import base as sources

SIZE_MAX_BYTES = 1 << 20
# What only a log, a terminal or a mail program writes: such texts are restored first (`sources.normalize`). A look
# for the single byte each of them needs is many times cheaper than one for the whole.
_HANDLED = (
    (b"\x1b", b""),
    (b"\0", b""),
    (b"#", b"#01"),
    (b"^", b"^M"),
    (b"&", b"&lt;"),
    (b"\\", b"\\n"),
    (b"\\", b"\\r"),
)
_ODD = (b"\r\r", b"X-Siptrace-")


@cache
def _plain_marks() -> tuple[tuple[sources.Format, sources.Mark], ...]:
    """Frame lines that stand right before their message and say everything themselves."""
    return tuple(
        (format, mark)
        for format in sources.members().values()
        for mark in format.marks
        if mark.pattern.pattern.startswith(b"\\n")
        and not (mark.ends or mark.summary or mark.replaces or mark.whole or mark.rebuild)
    )


def frames(data: bytes, options: sources.Options) -> tuple[sources.Format, list[sources.Frame]] | None:
    """The format and every message of a text in order; None where any byte of it is not."""
    if len(data) > SIZE_MAX_BYTES or data[:1] == b"\xef" or _is_handled(data):
        return None
    if framing.begins_with_message(data):
        return _bare(data, options.max_message_bytes)
    content = b"\n" + data.lstrip(b" \t\r\n")
    for format, mark in _plain_marks():
        if mark.pattern.match(content):
            made = _framed(content, len(data) + 1 - len(content), mark, options)
            return None if made is None else (format, made)
    return None


def _is_handled(data: bytes) -> bool:
    for byte, whole in _HANDLED:
        if byte in data and whole in data:
            return True
    return any(sign in data for sign in _ODD)


def _bare(data: bytes, limit: int) -> tuple[sources.Format, list[sources.Frame]] | None:
    made, end = [], 0
    for text, begin, end in framing.pasted(data, limit):  # noqa: B007
        made.append(sources.Frame(text, None, None, None, None, 0, begin))
    return (sources.members()["plain"], made) if end == len(data) else None


def _framed(
    content: bytes, ahead: int, mark: sources.Mark, options: sources.Options
) -> list[sources.Frame] | None:
    """`content` is the text behind a newline; `ahead` is how much of the input was left out in front of it."""
    limit, total = options.max_message_bytes, len(content)
    clock = options.clock()
    made: list[sources.Frame] = []
    at = 0
    while at < total:
        found = mark.pattern.match(content, at)
        if found is None:
            return None
        cut = framing.in_order(content, found.end(), total, limit)
        if cut is None:
            return None
        text, begin, end = cut
        region = sources.Region(content, at + 1, found, found.end(), end, clock, options)
        frame = sources.heading(region, mark)
        frame.text, frame.offset = text, begin + ahead - 1
        made.append(frame)
        # the next frame line's pattern begins with the newline in front of it
        at = end if end == total else end - 1
    return made


__all__ = ["frames"]

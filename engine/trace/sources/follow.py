"""tshark `-z follow,udp|tcp|tls,ascii,N`: exact byte counts, both nodes, no times."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.framing import pieces
from engine.trace.sources.base import Frame, Mark, Region, line_format, place, transport

_CHUNK = re.compile(rb"(\t?)(\d{1,9})\r?\n")


def _read(region: Region) -> Iterator[Frame]:
    content, end = region.content, region.end
    nodes = (place(region.match["node0"]), place(region.match["node1"]))
    carrier = transport(region.match["transport"])
    position = region.begin + 1
    options = region.options
    # A stream's message may run over several chunks of one node: they are joined before they are cut.
    joined = bytearray()
    owner, first = 0, position
    while position < end:
        found = _CHUNK.match(content, position, end)
        if found is None:
            break
        node = 1 if found[1] else 0
        if node != owner or carrier == "UDP":
            yield from _cut(bytes(joined), nodes, owner, carrier, first, options.max_message_bytes, region)
            joined.clear()
            owner, first = node, position
        begin = found.end()
        count = int(found[2])
        stop = min(begin + count, end)
        if not content.startswith(b"\n", begin + count):
            # Line ends were changed on the way: the chunk ends where the next count stands after a line end.
            stop = _next_chunk(content, begin, min(end, begin + count + 1))
        joined += content[begin:stop]
        position = stop
        while content[position : position + 1] in (b"\r", b"\n") and position < end:
            position += 1
    yield from _cut(bytes(joined), nodes, owner, carrier, first, options.max_message_bytes, region)


_NEXT = re.compile(rb"\n(?=\t?\d{1,9}\r?\n|={20})")


def _next_chunk(content: bytes, begin: int, end: int) -> int:
    found = _NEXT.search(content, begin, end)
    return found.start() if found else end


def _cut(
    text: bytes,
    nodes: tuple[str | None, str | None],
    owner: int,
    carrier: str | None,
    offset: int,
    limit: int,
    region: Region,
) -> Iterator[Frame]:
    for piece in pieces(text, 0, len(text), limit, region.options.note_at(offset)):
        yield Frame(piece.text, None, nodes[owner], nodes[1 - owner], carrier, 0, offset + piece.begin)


FORMAT = line_format(
    "follow",
    "tshark follow, ASCII",
    Mark(
        b"\nFollow: ",
        re.compile(
            rb"\nFollow: (?P<transport>[a-z]{2,9}),ascii[ \t]*\r?\nFilter: [^\n]{0,200}\nNode 0: (?P<node0>[^\r\n]{1,255})\r?\n"
            rb"Node 1: (?P<node1>[^\r\n]{1,255})(?=\r?\n|\Z)"
        ),
        whole=_read,
    ),
    suffixes=(".txt",),
)

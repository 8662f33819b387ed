"""HOMER rows as JSON: `protocol_header` with both sockets and the time in two parts, the message in `raw`."""

from __future__ import annotations

from collections.abc import Iterator

from engine.trace import rows
from engine.trace.sources.base import Format, Frame, Options


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    clock = options.clock()
    for offset, value in rows.objects(data, options):
        for row in rows.holders(value):
            yield from rows.frames_of(rows.flat(row), offset, clock, options)


def _sniff(head: bytes) -> float:
    return 0.95 if head.lstrip()[:1] in (b"{", b"[") and b'"protocol_header"' in head else 0.0


FORMAT = Format("homer_json", (".json",), "HOMER JSON", _sniff, _frames, structured=True)

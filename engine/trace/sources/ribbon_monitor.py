"""Ribbon SBC monitor feed: two bytes of length, then text that names both sockets and holds the message."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.framing import pieces
from engine.trace.sources.base import Format, Frame, Options, place

_SOURCE = re.compile(rb"srcip: ?(\S{3,64})")
_TARGET = re.compile(rb"dstip: ?(\S{3,64})")


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 2 < len(data):
        size = int.from_bytes(data[position : position + 2], "big")
        if not size:
            return
        yield position, data[position + 2 : position + 2 + size]
        position += 2 + size


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    clock = options.clock()
    for offset, record in _records(data):
        source, target = _SOURCE.search(record), _TARGET.search(record)
        for piece in pieces(record, 0, len(record), options.max_message_bytes, options.note_at(offset)):
            moment, known = clock.find(record[: piece.begin])
            yield Frame(
                piece.text, moment, place(source[1]) if source else None, place(target[1]) if target else None, None, 0,
                offset, date_known=known,
            )  # fmt: skip


def _sniff(head: bytes) -> float:
    if b"srcip:" not in head[:512]:
        return 0.0
    records = [record for _, record in zip(range(3), (r for _, r in _records(head)), strict=False)]
    return (
        0.9
        if records
        and all(_SOURCE.search(record) and _TARGET.search(record) for record in records[:-1] or records)
        else 0.0
    )


FORMAT = Format("ribbon_monitor", (".bin",), "Ribbon monitor feed", _sniff, _frames, structured=True)

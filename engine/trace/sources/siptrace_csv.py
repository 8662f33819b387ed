"""Kamailio and OpenSIPS `sip_trace` tables, and any other table with a message column, as CSV or TSV with a header row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from engine.trace import rows
from engine.trace.sources.base import Format, Frame, Options

_HEADER = re.compile(
    rb'\A(?:\xef\xbb\xbf)?[ \t\r\n]*"?[A-Za-z_]\w{0,40}"?(?:[,;\t]"?[A-Za-z_][\w ]{0,40}"?){2,60}\r?\n'
)
_COLUMNS = re.compile(rb"(?i)\b(?:msg|raw|message|sip_message|payload)\b")


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    position = len(data) - len(data.lstrip(b"\xef\xbb\xbf \t\r\n"))
    row_offset = position

    def lines() -> Iterator[str]:
        nonlocal position
        while position < len(data):
            newline = data.find(b"\n", position)
            end = newline + 1 if newline >= 0 else len(data)
            line = data[position:end].decode("latin-1").replace("\0", " ")
            position = end
            yield line

    first = data[position : position + 4096].partition(b"\n")[0]
    delimiter = max(",;\t", key=lambda mark: first.count(mark.encode()))
    backslash = rb"\"" in data[:65536]
    csv.field_size_limit(1 << 24)
    table = csv.reader(
        lines(), delimiter=delimiter, doublequote=True, escapechar="\\" if backslash else None, strict=False
    )
    clock = options.clock()
    names: list[str] = []
    while True:
        row_offset = position
        try:
            row = next(table, None)
        except csv.Error:
            options.note("unreadable-row", row_offset)
            continue
        if row is None:
            return
        if not names:
            names = [name.strip().lower() for name in row]
        elif row:
            yield from rows.frames_of(dict(zip(names, row, strict=False)), row_offset, clock, options)


def _sniff(head: bytes) -> float:
    found = _HEADER.match(head)
    return 0.9 if found and _COLUMNS.search(found[0]) and b"SIP/2.0" in head else 0.0


FORMAT = Format("siptrace_csv", (".csv", ".tsv"), "SIP trace table, CSV", _sniff, _frames, structured=True)

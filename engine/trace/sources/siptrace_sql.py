"""`sip_trace` tables as an SQL dump: the rows of INSERT statements."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace import rows
from engine.trace.sources.base import Format, Frame, Options

_INSERT = re.compile(
    rb"INSERT (?:IGNORE )?INTO [`\"]?(?:\w{1,64}[`\"]?\.[`\"]?)?(?P<table>\w{1,64})[`\"]?\s*"
    rb"(?:\((?P<columns>[^()]{1,4096})\)\s*)?VALUES\s*",
    re.IGNORECASE,
)
_CREATE = re.compile(
    rb"CREATE TABLE (?:IF NOT EXISTS )?[`\"]?(?P<table>\w{1,64})[`\"]?\s*\((?P<columns>[^;]{1,16384})",
    re.IGNORECASE,
)
_COLUMN = re.compile(rb"(?m)^\s*[`\"](\w{1,64})[`\"] ")
_VALUE = re.compile(rb"\s*(?:E?'((?:[^'\\]++|\\.|'')*+)'|([^\s,()']{1,64}))\s*([,)])", re.DOTALL)
_NEXT_ROW = re.compile(rb"\s*,?\s*\(")
_ESCAPE = re.compile(rb"\\(.)|''", re.DOTALL)
_MEANT = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0"}
# The table as the modules create it, for dumps that name no columns.
_KAMAILIO = (
    "id", "time_stamp", "time_us", "callid", "traced_user", "msg", "method", "status", "fromip", "toip", "fromtag",
    "totag", "direction",
)  # fmt: skip


def _unescaped(text: bytes) -> str:
    def meant(found: re.Match[bytes]) -> bytes:
        return _MEANT.get(found[1], found[1]) if found[1] is not None else b"'"

    return _ESCAPE.sub(meant, text).decode("latin-1")


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    tables = {
        found["table"]: tuple(name.decode().lower() for name in _COLUMN.findall(found["columns"]))
        for found in _CREATE.finditer(data[: 1 << 20])
    }
    clock = options.clock()
    position = 0
    while (insert := _INSERT.search(data, position)) is not None:
        position = insert.end()
        if insert["columns"]:
            names = tuple(
                part.strip(b' `"\r\n').decode("latin-1").lower() for part in insert["columns"].split(b",")
            )
        else:
            names = tables.get(insert["table"]) or _KAMAILIO
        while (row := _NEXT_ROW.match(data, position)) is not None:
            offset = row.end() - 1
            values, position = _row(data, row.end())
            if values is None:
                options.note("unreadable-row", offset)
                break
            yield from rows.frames_of(dict(zip(names, values, strict=False)), offset, clock, options)


def _row(data: bytes, position: int) -> tuple[list[str] | None, int]:
    values: list[str] = []
    while (found := _VALUE.match(data, position)) is not None and len(values) < 256:
        position = found.end()
        values.append(_unescaped(found[1]) if found[1] is not None else found[2].decode("latin-1"))
        if found[3] == b")":
            return values, position
    return None, position


def _sniff(head: bytes) -> float:
    return 0.9 if b"SIP/2.0" in head and _INSERT.search(head) else 0.0


FORMAT = Format("siptrace_sql", (".sql",), "SIP trace table, SQL dump", _sniff, _frames, structured=True)

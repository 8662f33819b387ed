"""HOMER rows as JSON: `protocol_header` with both sockets and the time in two parts, the message in `raw`."""

from __future__ import annotations

from engine.trace import rows
from engine.trace.sources.base import Format


def _sniff(head: bytes) -> float:
    return 0.95 if head.lstrip()[:1] in (b"{", b"[") and b'"protocol_header"' in head else 0.0


FORMAT = Format("homer_json", (".json",), "HOMER JSON", _sniff, rows.read_json, structured=True)

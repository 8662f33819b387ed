"""Any JSON whose objects hold whole messages: siptrace tables, NDJSON logs, platform exports."""

from __future__ import annotations

from engine.trace import rows
from engine.trace.sources.base import Format


def _sniff(head: bytes) -> float:
    if head.lstrip()[:1] not in (b"{", b"["):
        return 0.0
    return 0.6 if b"SIP/2.0" in head and b'":' in head else 0.0


FORMAT = Format(
    "json_rows",
    (".json", ".ndjson", ".jsonl"),
    "JSON rows with messages",
    _sniff,
    rows.read_json,
    structured=True,
)

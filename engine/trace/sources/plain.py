"""Messages pasted one after another, with nothing or anything between them."""

from __future__ import annotations

from engine.trace.framing import START
from engine.trace.sources.base import Format, scan


def _sniff(head: bytes) -> float:
    return 0.2 if START.search(head) else 0.0


FORMAT = Format(
    "plain",
    (".txt", ".sip", ".log"),
    "pasted SIP messages",
    _sniff,
    lambda data, options: scan(data, options, ()),
)

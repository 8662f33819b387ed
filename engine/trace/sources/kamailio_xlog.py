"""Kamailio and OpenSIPS `xlog("$mb")`: the message behind a syslog prefix, on its first line or on all."""

from __future__ import annotations

import re

from engine.trace.sources.base import Format, scan

_LINE = re.compile(
    rb"(?:kamailio|opensips|openser|ser)\[\d{1,10}\]: [^\n]{0,512}?(?: |:|\")(?:[A-Z]{3,20} [a-z]{2,8}:\S{1,512} SIP/2\.0"
    rb"|SIP/2\.0 \d{3})"
)


def _sniff(head: bytes) -> float:
    return 0.85 if b"SIP/2.0" in head and _LINE.search(head) else 0.0


FORMAT = Format(
    "kamailio_xlog",
    (".log",),
    "Kamailio or OpenSIPS xlog",
    _sniff,
    lambda data, options: scan(data, options, ()),
)

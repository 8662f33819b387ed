"""Any log that writes SIP behind a prefix of its own: phones, proxies, syslog collectors without a format here."""

from __future__ import annotations

import re

from engine.trace.sources.base import Format, scan

_LINE = re.compile(
    rb"(?:\d\d:\d\d:\d\d|\|)[^\n]{0,512}?(?: |\||\"|\t)(?:[A-Z]{3,20} [a-z]{2,8}:\S{1,512} SIP/2\.0|SIP/2\.0 \d{3} )"
)


def _sniff(head: bytes) -> float:
    return 0.4 if b"SIP/2.0" in head and _LINE.search(head) else 0.0


FORMAT = Format(
    "syslog",
    (".log", ".txt"),
    "log lines that hold SIP",
    _sniff,
    lambda data, options: scan(data, options, ()),
)

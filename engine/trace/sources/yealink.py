"""Yealink syslog: every SIP line a log line of its own behind `sua [pid:tid]: MOD <6+info> [000]`."""

from __future__ import annotations

import re

from engine.trace.sources.base import Format, scan

_LINE = re.compile(
    rb"\bsua {1,3}\[\d{1,10}[.:\d]{0,12}\]: ?[A-Z]{2,6} {1,3}<\d\+\w{3,8} {0,4}>[^\n]{0,80}SIP/2\.0"
)


def _sniff(head: bytes) -> float:
    return 0.85 if b"sua" in head and _LINE.search(head) else 0.0


FORMAT = Format(
    "yealink", (".log", ".txt"), "Yealink syslog", _sniff, lambda data, options: scan(data, options, ())
)

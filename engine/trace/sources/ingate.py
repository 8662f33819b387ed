"""Ingate firewall log: each SIP line is a row of its own, indented or behind the syslog prefix."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

_TAIL = rb"(?P<peer>\S{1,255}) via (?:[A-Za-z][\w.\-]{0,30}:)?(?P<local>\S{1,255}) (?P<transport>UDP|TCP|TLS) connection[^\n]{0,80}"

FORMAT = line_format(
    "ingate",
    "Ingate log",
    Mark(b"recv from ", re.compile(rb"recv from " + _TAIL), way=1),
    Mark(b"send sf (", re.compile(rb"send sf \(0x[0-9a-fA-F]{1,16}\) to " + _TAIL), way=2),
)

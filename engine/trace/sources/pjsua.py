"""PJSUA and other applications on pjsip at log level 4 and up; time of day only."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

_TAIL = rb" (?P<transport>[A-Za-z0-9]{2,8}) (?P<peer>\S{1,255}?):?[ \t]*(?=\r?\n|\Z)"

FORMAT = line_format(
    "pjsua",
    "PJSUA log",
    Mark(b"TX ", re.compile(rb"TX \d{1,9} bytes (?:Request|Response) msg [^\n]{1,512}? to" + _TAIL), way=2),
    Mark(b"RX ", re.compile(rb"RX \d{1,9} bytes (?:Request|Response) msg [^\n]{1,512}? from" + _TAIL), way=1),
    Mark(b"--end msg--", re.compile(rb"--end msg--"), ends=True),
)

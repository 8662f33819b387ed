"""Genesys SIP Server log (`SIPTR`)."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

_HOW = rb" {1,4}\[(?:\d{1,6},)?(?P<transport>[A-Za-z]{2,4})\] \d{1,9} bytes "
_TAIL = rb"(?P<peer>\S{1,255})[^\n]{0,40}"

FORMAT = line_format(
    "genesys",
    "Genesys SIP Server log",
    Mark(b"Received ", re.compile(rb"Received" + _HOW + rb"from " + _TAIL), way=1),
    Mark(b"Sending ", re.compile(rb"Sending" + _HOW + rb"to " + _TAIL), way=2),
)

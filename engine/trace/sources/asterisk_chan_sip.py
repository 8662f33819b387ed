"""Asterisk `sip set debug on` (chan_sip): four frame lines, two end lines, an explicit retransmission counter."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

_TAIL = rb"\) to (?P<peer>\S{1,255}?):?[ \t]*(?:--->)?[ \t]*(?=\r?\n|\Z)"

FORMAT = line_format(
    "asterisk_chan_sip",
    "Asterisk chan_sip debug",
    Mark(
        b"<--- SIP read from ",
        re.compile(rb"<--- SIP read from (?:(?P<transport>[A-Za-z0-9]{2,8}):)?(?P<peer>\S{1,255}) --->"),
        way=1,
    ),
    Mark(b"Transmitting (", re.compile(rb"Transmitting \((?:no )?NAT[^)\n]{0,40}" + _TAIL), way=2),
    Mark(
        b"Retransmitting #",
        re.compile(rb"Retransmitting #(?P<again>\d{1,9}) \((?:no )?NAT[^)\n]{0,40}" + _TAIL),
        way=2,
    ),
    Mark(b"\n<-----", re.compile(rb"\n<-{8,}>[ \t]*(?=\r?\n|\Z)"), ends=True),
    Mark(b"\n---", re.compile(rb"\n---[ \t]*(?=\r?\n|\Z)"), ends=True),
)

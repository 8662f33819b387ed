"""Asterisk `pjsip set logger on`: the peer and the transport, never the local address; no end mark."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

FORMAT = line_format(
    "asterisk_pjsip",
    "Asterisk PJSIP logger",
    Mark(
        b"<--- ",
        re.compile(
            rb"<--- (?P<way>Transmitting|Received) SIP (?:request|response) \(\d{1,9} bytes\) (?:to|from) "
            rb"(?P<transport>[A-Za-z0-9]{2,8}):(?P<peer>\S{1,255}) --->"
        ),
    ),
)

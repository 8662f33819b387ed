"""Oracle (Acme Packet) `sipmsg.log` and `log.sipd`: both sockets on one line, no year, no zone, LF only.

A line of 40 dashes closes a record; MBCD and H.248 records between have no frame line and are passed over.
"""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

FORMAT = line_format(
    "oracle_sipmsg",
    "Oracle SBC sipmsg.log",
    Mark(
        b" On ",
        re.compile(
            rb"\n(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,6})?) On (?:\[\d{1,4}:\d{1,4}\])?"
            rb"(?P<local>\S{1,255}) (?P<way>received|sent) (?:from|to) (?:\[\d{1,4}:\d{1,4}\])?(?P<peer>\S{1,255})"
        ),
    ),
    Mark(b"\n----------------------------------------", re.compile(rb"\n-{40}[ \t]*(?=\r?\n|\Z)"), ends=True),
)

"""BroadWorks XSLog: a record line with time and call half, a UUID line, a blank, then transport, direction, peer."""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, line_format, printable

_CALL_HALF = re.compile(rb"callhalf-\d{1,20}")


def _call_half(region: Region, frame: Frame) -> None:
    if found := _CALL_HALF.search(region.match["rest"]):
        frame.correlation = printable(found[0])


FORMAT = line_format(
    "broadworks",
    "BroadWorks XSLog",
    Mark(
        b" SIP Bytes ",
        re.compile(
            rb"\n(?P<time>\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d:\d{3} [A-Z]{2,5}) *\|(?P<rest>[^\n]{0,400})\n"
            rb"(?:[^\n]{0,200}\n){0,4}?[ \t]+(?P<transport>udp|tcp|tls) \d{1,9} SIP Bytes (?P<way>IN|OUT) (?:from|to) "
            rb"(?P<peer>\S{1,255})[^\n]{0,80}"
        ),
        head=_call_half,
    ),
)

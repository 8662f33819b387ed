"""Yate with SIP messages printed: `<sip:INFO>` lines, messages between rules."""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, line_format, transport

_LISTENER = re.compile(rb"'(udp|tcp|tls)[:'][^\n']{0,80}'?")


def _listener(region: Region, frame: Frame) -> None:
    if found := _LISTENER.search(region.prefix):
        frame.transport = transport(found[1])


FORMAT = line_format(
    "yate",
    "Yate log",
    Mark(
        b" bytes SIP message from ",
        re.compile(rb" bytes SIP message from (?P<peer>\S{1,255})[^\n]{0,80}"),
        way=1,
        head=_listener,
    ),
    Mark(
        b" sending ",
        re.compile(
            rb" sending (?:'[A-Z]{1,20}'|code \d{3}) (?:0x)?[0-9a-fA-F]{1,16} to (?P<peer>\S{1,255})[^\n]{0,80}"
        ),
        way=2,
        head=_listener,
    ),
)

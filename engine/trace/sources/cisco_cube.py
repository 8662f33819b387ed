"""Cisco IOS and CUBE `debug ccsip messages`: direction and GUID, no addresses.

The GUID is one for both legs of a call; before it is assigned twelve x stand in its place.
"""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, line_format, printable


def _guid(region: Region, frame: Frame) -> None:
    guid = region.match["guid"]
    frame.correlation = printable(guid) if guid.strip(b"xX0") else None


FORMAT = line_format(
    "cisco_cube",
    "Cisco CUBE debug ccsip",
    Mark(
        b"/SIP/Msg/ccsipDisplayMsg",
        re.compile(
            rb"//-?\w{1,20}/(?P<guid>\w{12})/SIP/Msg/ccsipDisplayMsg:[ \t]*(?:\r?\n)?[ \t]*(?P<way>Sent|Received):"
            rb"[ \t]*(?=\r?\n|\Z)"
        ),
        head=_guid,
    ),
    Mark(b"/SIP/", re.compile(rb"//-?\w{1,20}/\w{12}/SIP/(?!Msg/ccsipDisplayMsg)[^\n]{0,120}"), ends=True),
)

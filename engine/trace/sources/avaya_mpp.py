"""Avaya Voice Portal / Experience Portal MPP session log: messages in angle brackets, CR shown as ^M."""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, line_format, transport

_CARRIER = re.compile(rb"SIP(UDP|TCP|TLS)\Z")


def _carrier(region: Region, frame: Frame) -> None:
    if found := _CARRIER.search(region.prefix):
        frame.transport = transport(found[1])


FORMAT = line_format(
    "avaya_mpp",
    "Avaya MPP session log",
    Mark(
        b"SendToNetwork: ", re.compile(rb"SendToNetwork: To (?P<peer>[^\s\[<]{1,255})[^\n<]{0,255}<"), way=2
    ),
    Mark(b"::ProcessRead: ", re.compile(rb"::ProcessRead: [^\n<]{0,120}<"), way=1, head=_carrier),
)

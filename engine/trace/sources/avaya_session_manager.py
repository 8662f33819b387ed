"""Avaya Session Manager trace: `SIPMSGT` records with `L<ip>:<port>/R<ip>:<port>/<transport>/`, ingress or egress."""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, line_format

_EGRESS = re.compile(rb"(?i)\begress\b")
_INGRESS = re.compile(rb"(?i)\bingress\b")
_SOCKET = rb"(?:\[[0-9A-Fa-f:.]{2,64}\]|[0-9A-Za-z.\-]{1,255}):\d{1,5}"


def _side(region: Region, frame: Frame) -> None:
    words = region.match["rest"] + region.text.partition(b"\n")[0][:512]
    local, remote = frame.source, frame.target
    if _EGRESS.search(words):
        frame.direction = 2
    elif _INGRESS.search(words):
        frame.direction, frame.source, frame.target = 1, remote, local


FORMAT = line_format(
    "avaya_session_manager",
    "Avaya Session Manager trace",
    Mark(
        b"SIPMSGT",
        re.compile(
            rb"SIPMSGT(?P<rest>[^\n]{0,256}?)\bL(?P<source>" + _SOCKET + rb")/R(?P<target>" + _SOCKET + rb")/"
            rb"(?P<transport>UDP|TCP|TLS|WSS|WS)/?"
        ),
        head=_side,
    ),
)

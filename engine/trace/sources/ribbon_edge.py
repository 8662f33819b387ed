"""Ribbon SBC Edge (SWe Lite, formerly NET UX) log: both sockets in brackets."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

_SOCKET = rb"\[[^\]\n]{1,64}\]:\d{1,5}"

FORMAT = line_format(
    "ribbon_edge",
    "Ribbon SBC Edge log",
    Mark(
        b"Incoming message on [",
        re.compile(
            rb"Incoming message on (?P<local>" + _SOCKET + rb") from (?P<peer>" + _SOCKET + rb")[^\n]{0,120}"
        ),
        way=1,
    ),
    Mark(
        b"ending from [",
        re.compile(rb"ending from (?P<local>" + _SOCKET + rb") to (?P<peer>" + _SOCKET + rb")[^\n]{0,120}"),
        way=2,
    ),
)

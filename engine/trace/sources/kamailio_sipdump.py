"""Kamailio sipdump `.data`: a block of named fields, the raw message, a line of bars."""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, join, line_format, transport
from engine.trace.stamps import epoch_ns


def _fields(region: Region, frame: Frame) -> None:
    fields = {
        name.strip(): value.strip()
        for name, _, value in (row.partition(b":") for row in region.match["fields"].split(b"\n"))
    }
    frame.time_ns = epoch_ns(fields.get(b"time", b""))
    frame.source = join(fields.get(b"srcip"), fields.get(b"srcport"))
    frame.target = join(fields.get(b"dstip"), fields.get(b"dstport"))
    frame.transport = transport((fields.get(b"proto") or b" ").split(b" ")[0])
    frame.direction = {b"rcv": 1, b"snd": 2}.get(fields.get(b"tag", b""), 0)


FORMAT = line_format(
    "kamailio_sipdump",
    "Kamailio sipdump",
    Mark(
        b"\n====================\n",
        re.compile(rb"\n={20}\r?\n(?P<fields>(?:[a-z]{2,12}: ?[^\n]{0,300}\n){4,20})~{20}[ \t]*(?=\r?\n|\Z)"),
        head=_fields,
    ),
    Mark(b"\n||||||||||||||||||||", re.compile(rb"\n\|{20}[ \t]*(?=\r?\n|\Z)"), ends=True),
    suffixes=(".data",),
)

"""Ribbon (Sonus) core SBC trace (TRC): both sockets, GCID, `RAW PDU:`; long entries come in parts of one sequence."""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, join, line_format, printable

_PEER = re.compile(rb"(?<!Local )(?:from|to) IP/port: ?(\S{2,64}?)/(\d{1,5})\b")
_LOCAL = re.compile(rb"Local IP/port: ?(\S{2,64}?)/(\d{1,5})\b")
_GCID = re.compile(rb"(?i)\bgcid[:=] ?(0x[0-9a-f]{1,16}|\d{1,16})")
_ENTRY = re.compile(
    rb"(?P<month>\d\d)(?P<day>\d\d)(?P<year>\d{4}) (?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)\.(?P<fraction>\d{6}):"
    rb"[\d.]{1,32}"
)
_PART = re.compile(
    rb"\n(?:<\d{1,3}> ?)?\d{1,6} (?P<entry>\d{8} \d{6}\.\d{6}:[\d.]{1,32})\w{0,8} {0,4}\.SIPSG: ?"
)


def _joined(region: Region) -> bytes:
    own = _ENTRY.search(region.prefix)
    if own is None:
        return region.text
    sequence = _sequence(own[0])

    def rejoin(found: re.Match[bytes]) -> bytes:
        return b"" if _sequence(found["entry"]) == sequence else found[0]

    return _PART.sub(rejoin, region.text)


def _sequence(entry: bytes) -> tuple[bytes, bytes]:
    stamp, _, numbers = entry.partition(b":")
    return stamp, b".".join(numbers.split(b".")[:4])


def _entry(region: Region, frame: Frame) -> None:
    prefix, rest = region.prefix, region.match["rest"]
    frame.direction = 2 if prefix.rstrip().endswith(b"sent") else 1
    peer = _PEER.search(rest)
    local = _LOCAL.search(rest)
    other = join(peer[1], peer[2]) if peer else None
    own = join(local[1], local[2]) if local else None
    frame.source, frame.target = (own, other) if frame.direction == 2 else (other, own)
    if found := _ENTRY.search(prefix):
        frame.time_ns, frame.date_known = region.clock.read(found), True
    if key := _GCID.search(rest) or _GCID.search(prefix):
        frame.correlation = printable(key[1])


FORMAT = line_format(
    "ribbon_trc",
    "Ribbon SBC trace",
    Mark(
        b" msg for CallId:",
        re.compile(rb" msg for CallId:(?P<rest>[^\n]{0,1024})(?:\n[ \t]*RAW PDU:[ \t]*)?"),
        head=_entry,
        rebuild=_joined,
    ),
    suffixes=(".TRC", ".trc", ".log"),
)

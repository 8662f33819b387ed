"""Microsoft OCS, Lync and Skype for Business stack traces: records of fields around start line, headers and body."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.framing import tidy
from engine.trace.sources.base import Frame, Mark, Region, line_format, place, printable, transport

_STAMP = re.compile(
    rb"(?P<month>\d\d)/(?P<day>\d\d)/(?P<year>\d{4})-(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{3}))?"
)
_FIELD = re.compile(rb"(?m)^[ \t]*([A-Z][A-Za-z\-]{2,30}): ?([^\r\n]*)")
_VIA = re.compile(rb"(?im)^(?:via|v)[ \t]*:[ \t]*SIP/2\.0/([A-Za-z]{2,4})")


def _read(region: Region) -> Iterator[Frame]:
    text = region.text
    stop = text.find(b"$$end_record")
    if stop < 0:
        region.options.note("truncated", region.line)
    else:
        text = text[:stop]
    at = text.find(b"Start-Line:")
    if at < 0:
        return
    fields = {name.lower(): value.strip() for name, value in _FIELD.findall(text[:at])}
    message = text[at + 11 :].lstrip(b" \t")
    head, label, body = message.partition(b"\nMessage-Body:")
    if label:
        body = body.removeprefix(b" ").lstrip(b"\r\n") if body[:2] != b" \r" else body[3:]
        newline = b"\r\n" if b"\r\n" in head else b"\n"
        message = head.rstrip(b"\r\n") + newline + newline + body
    cut, _, _ = tidy(message, region.line, region.options.note, bare=True)
    if not cut:
        return
    stamp = _STAMP.search(region.prefix)
    moment = region.clock.read(stamp) if stamp else None
    direction, _, _ = fields.get(b"direction", b"").partition(b";")
    way = {b"incoming": 1, b"outgoing": 2}.get(direction.strip().lower(), 0)
    peer = place(fields.get(b"peer"))
    via = _VIA.search(cut)
    key = fields.get(b"trace-correlation-id")
    yield Frame(
        cut[: region.options.max_message_bytes], moment, peer if way == 1 else None, peer if way == 2 else None,
        transport(via[1]) if via else None, way, region.line, printable(key) if key else None,
    )  # fmt: skip


FORMAT = line_format(
    "lync",
    "Microsoft Lync / Skype for Business trace",
    Mark(b"$$begin_record", re.compile(rb"\$\$begin_record[ \t]*"), whole=_read),
)

"""tshark's default lines: who sent what when, without headers; enough for a ladder."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.sources.base import Frame, Mark, Region, line_format, place
from engine.trace.stamps import epoch_ns

_ARROW = rb"(?: (?:\xe2\x86\x92|->) | {1,24})"
_WHAT = re.compile(rb"(?P<kind>Request|Status): (?P<line>[^|\n]{3,2048}?) *(?:\||,|\Z|\()")


def _read(region: Region) -> Iterator[Frame]:
    found = _WHAT.search(region.match["what"])
    if found is None:
        return
    line = found["line"].strip()
    if found["kind"] == b"Status":
        text = b"SIP/2.0 " + line
    elif b" " in line:
        text = line.removesuffix(b" SIP/2.0") + b" SIP/2.0"
    else:
        return
    moment, known = region.clock.find(region.match["time"])
    if moment is None:
        # Seconds since 1970, or since the first packet, which have no date.
        moment = epoch_ns(region.match["time"])
        known = moment is None or moment > 10**17
    region.options.note("abridged", region.line)
    yield Frame(
        text + b"\r\n\r\n", moment, place(region.match["source"]), place(region.match["target"]), None, 0,
        region.line, date_known=known,
    )  # fmt: skip


FORMAT = line_format(
    "tshark_summary",
    "tshark packet list",
    Mark(
        b"SIP",
        re.compile(
            rb"\n *\d{1,12} +(?P<time>(?:\d{4}-\d\d-\d\d )?[\d:.]{4,32}) +(?P<source>[\w\[:]\S{1,255})"
            + _ARROW
            + rb"(?P<target>[\w\[:]\S{1,255}) {1,24}"
            rb"(?:[A-Z0-9]{2,10} <)?SIP(?:/[A-Za-z0-9\-]{2,16})*>? +\d{1,9} +(?P<what>[^\n]{5,4096})"
        ),
        whole=_read,
        summary=True,
        weight=0.8,
    ),
    suffixes=(".txt",),
)

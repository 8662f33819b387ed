"""ngrep, plain or `-W byline`, and sipgrep, which prints the same in colour.

A carriage return is shown as a dot, so every line ends in one; without byline CRLF is two dots in one long line.
"""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, line_format
from engine.trace.stamps import epoch_ns

_DOT = re.compile(rb"\.[ \t]*(?=\n|\Z)")
_DOTTED = re.compile(rb"SIP/2\.0\.[ \t]*\n|SIP/2\.0 \d{3} [^\n]{0,255}\.[ \t]*\n[^\n]{0,4096}\.[ \t]*\n")
_FOLDED = re.compile(rb"\n {2}")
_PROGRESS = re.compile(rb"\n#+[ \t]*(?=\n|\Z)")


def _undot(region: Region) -> bytes:
    text = _PROGRESS.sub(b"", region.text)
    if b"SIP/2.0.." in text and b"SIP/2.0.\n" not in text:
        return _FOLDED.sub(b"", b"\n" + text.lstrip(b"\r\n")).lstrip(b" \t").replace(b"..", b"\r\n")
    return _DOT.sub(b"\r", text) if _DOTTED.search(text) else text


_RELATIVE = re.compile(rb"\+\d{1,9}\.\d{6}\Z")


def _since_start(region: Region, frame: Frame) -> None:
    """`-T` prints what passed since the packet before: times that have no date, and begin at nothing."""
    stamp = region.match["time"]
    if stamp is not None and _RELATIVE.match(stamp):
        region.clock.elapsed_ns += epoch_ns(stamp[1:]) or 0
        frame.time_ns, frame.date_known = region.clock.elapsed_ns, False
    protocol = region.match["protocol"]
    frame.transport = "TCP" if protocol == b"T" else "UDP"


FORMAT = line_format(
    "ngrep",
    "ngrep or sipgrep output",
    Mark(
        b" -> ",
        re.compile(
            rb"\n#*(?P<protocol>[UT])(?:\(\d{1,3}\))? (?:(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}|\+\d{1,9}\.\d{6}) )?"
            rb"(?P<source>\S{3,255}) -> (?P<target>\S{3,255})(?: \[[A-Z]{1,8}\])?(?: #\d{1,12})?[ \t]*(?=\r?\n|\Z)"
        ),
        head=_since_start,
        rebuild=_undot,
    ),
)

"""SIPp `-trace_shortmsg`: one line a message with its Call-ID, CSeq and first line; no other headers, no addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.sources.base import Frame, Mark, Region, line_format


def _read(region: Region) -> Iterator[Frame]:
    part = region.match.groupdict()
    moment, known = region.clock.find(part["time"])
    region.options.note("abridged", region.line)
    text = b"%s\r\nCall-ID: %s\r\nCSeq: %s\r\n\r\n" % (
        part["first"].strip(), part["call_id"].strip(), part["cseq"].strip(),
    )  # fmt: skip
    yield Frame(
        text, moment, None, None, None, 2 if part["way"] == b"S" else 1, region.line, date_known=known
    )


FORMAT = line_format(
    "sipp_short",
    "SIPp short message trace",
    Mark(
        b"\tCSeq:",
        re.compile(
            rb"\n(?P<time>[^\t\n]{8,40}(?:\t[^\t\n]{8,40}){0,2})\t(?P<way>[SR])\t(?P<call_id>[^\t\n]{1,512})\t"
            rb"CSeq:(?P<cseq>[^\t\n]{0,80})\t(?P<first>[^\n]{5,4096})"
        ),
        whole=_read,
    ),
    suffixes=(".csv", ".log"),
)

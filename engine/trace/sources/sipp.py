"""SIPp `-trace_msg`: a rule with the time, a line with transport and direction, the message; no addresses."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

FORMAT = line_format(
    "sipp",
    "SIPp message trace",
    Mark(
        b" message ",
        re.compile(
            rb"\n-{30,80}[ \t](?P<time>[^\n]{0,80})\n[^\n]{0,40}?(?P<transport>UDP|TCP|TLS|SCTP|WSS|WS) "
            rb"(?:control )?message (?:(?P<way>sent|received)\b)?[^\n]{0,120}(?=\n|\Z)"
        ),
    ),
)

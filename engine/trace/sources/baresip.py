"""baresip `-s`: time of day, then transport and both peers on a line, in colour."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

FORMAT = line_format(
    "baresip",
    "baresip SIP trace",
    Mark(
        b" -> ",
        re.compile(
            rb"\n(?:[^\n]{0,16}?(?P<time>\d\d:\d\d:\d\d\.\d{3})#[ \t]*\r?\n)?(?P<transport>UDP|TCP|TLS|WSS|WS|SCTP) "
            rb"(?P<source>\S{1,255}) -> (?P<target>\S{1,255})[ \t]*(?=\r?\n|\Z)"
        ),
    ),
)

"""sngrep's text save (F2) and `-T`: local time, both peers; grouped by dialog, not by time."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

FORMAT = line_format(
    "sngrep",
    "sngrep text export",
    Mark(
        b" -> ",
        re.compile(
            rb"\n(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}) (?P<source>\S{1,255}) -> (?P<target>\S{1,255})"
            rb"[ \t]*(?=\r?\n|\Z)"
        ),
    ),
)

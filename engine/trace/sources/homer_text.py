"""HOMER's text export: `proto:UDP <RFC 3339 time>  src ---> dst`, blank, message."""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

FORMAT = line_format(
    "homer_text",
    "HOMER text export",
    Mark(
        b" ---> ",
        re.compile(
            rb"\nproto:(?P<transport>\S{1,16}) (?P<time>\S{8,40}) {1,3}(?P<source>\S{1,255}) ---> (?P<target>\S{1,255})"
        ),
    ),
)

"""FreeSWITCH `sofia global siptrace on`, drachtio and all of sofia-sip, and its TPORT_DUMP file.

The stamp has no date; through mod_logfile a dated prefix and the channel's UUID stand before it.
"""

from __future__ import annotations

import re

from engine.trace.sources.base import Mark, line_format

_TAIL = (
    rb"(?P<transport>udp|tcp|tls|wss|ws|sctp)/(?P<peer>\S{1,255}?):?(?: at (?P<time>\d\d:\d\d:\d\d\.\d{3,6}):?)?"
    rb"[ \t]*(?=\r?\n|\Z)"
)

FORMAT = line_format(
    "freeswitch",
    "FreeSWITCH siptrace",
    Mark(b" bytes from ", re.compile(rb" bytes from " + _TAIL), way=1),
    Mark(b" bytes to ", re.compile(rb" bytes to " + _TAIL), way=2),
)

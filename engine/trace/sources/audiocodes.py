"""AudioCodes Mediant syslog: frame text between dashes, one message over several datagrams, local side by name.

`[SID=...]` is one for both legs of a call; `[Time:DD-MM@HH:MM:SS.mmm]` at the end is the device's own clock.
"""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, line_format
from engine.trace.stamps import Clock

_CONTINUES = re.compile(
    rb"\n[^\n]{0,200}?\[S=\d{1,12}\] ?(?:\[(?:SID|BID)=[^\]\n]{1,80}\] ?)?(?:\(N {0,3}\d{1,12}\) ?)?(?:\(#\d{1,9}\))?"
)
_TRAILER = re.compile(
    rb"[ \t]*\[Time: ?(?P<day>\d\d)-(?P<month>\d\d)@(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?\]"
)


def _whole(region: Region) -> bytes:
    return _CONTINUES.sub(b"", _TRAILER.sub(b"", region.text))


def _own_time(region: Region, frame: Frame) -> None:
    found = _TRAILER.search(region.text)
    if found is not None and (frame.time_ns is None or not frame.date_known):
        clock: Clock = region.clock
        frame.time_ns, frame.date_known = clock.read(found), True


FORMAT = line_format(
    "audiocodes",
    "AudioCodes syslog",
    Mark(
        b" SIP Message ",
        re.compile(
            rb"---- (?P<way>Incoming|Outgoing) SIP Message (?:from|to) (?P<peer>\S{1,255}) (?:to|from) SIPInterface"
            rb"(?: #\d{1,5})?(?: ?\((?P<local>[^)\n]{1,64})\))?(?: (?P<transport>UDP|TCP|TLS|SCTP|WSS|WS)\b)?"
            rb"[^\n]{0,120}?----[ \t]*"
        ),
        head=_own_time,
        rebuild=_whole,
    ),
)

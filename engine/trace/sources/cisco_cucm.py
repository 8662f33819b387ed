"""Cisco CUCM SDL and SDI traces: a record that names peer and transport, `[id,NET]`, the message.

Copies taken from web pages have a whole record on one line, blanks where line ends were.
"""

from __future__ import annotations

import re

from engine.trace.sources.base import Frame, Mark, Region, join, line_format

_HEADERS = (
    rb"Via|From|To|Call-ID|CSeq|Contact|Max-Forwards|Content-Type|Content-Length|User-Agent|Server|Date|Allow|Supported|"
    rb"Require|Expires|Route|Record-Route|Session-Expires|Min-SE|Cisco-Guid|P-Asserted-Identity|Remote-Party-ID|Reason|"
    rb"Warning|Event|Subscription-State|Authorization|WWW-Authenticate|Proxy-Authenticate|Proxy-Authorization|"
    rb"Allow-Events|Call-Info|Diversion|Timestamp|Privacy|Accept|RSeq|RAck|Refer-To|Referred-By|Replaces|Session-ID|"
    rb"Content-Disposition|Recv-Info|Retry-After|Unsupported|Session|Supported|X-[\w-]+|P-[\w-]+"
)
_FOLD = re.compile(rb" +(?=(?:" + _HEADERS + rb") ?: )")
_SDP_FOLD = re.compile(rb" +(?=[vosiuepcbtrzkam]=)")
_START = re.compile(rb"SIP/2\.0 +(?:\d{3} +[^\n]{0,80}? +)?(?:" + _HEADERS + rb") ?: ")


def _unfold(region: Region) -> bytes:
    text = region.text
    first = text.strip().partition(b"\n")[0]
    if _START.search(first) is None:
        return text
    rows = _FOLD.sub(b"\r\n", first)
    head, body, sdp = rows.partition(b" v=0 ")
    if body:
        rows = head.rstrip() + b"\r\n\r\nv=0\r\n" + _SDP_FOLD.sub(b"\r\n", sdp.strip()) + b"\r\n"
    else:
        rows = rows.rstrip() + b"\r\n\r\n"
    return rows


def _peer(region: Region, frame: Frame) -> None:
    other = join(region.match["host"], region.match["port"])
    if frame.direction == 2:
        frame.target = other
    else:
        frame.source = other


_TAIL = (
    rb" SIP (?P<transport>[A-Z]{2,4}) message %s (?P<host>\S{1,64}) on port (?P<port>\d{1,5})(?: index \d{1,9})?"
    rb"(?: with \d{1,9} bytes)?:?[ \t]*(?:\r?\n)?[ \t]*(?:\[\d{1,12},[A-Z]{1,8}\])?"
)

FORMAT = line_format(
    "cisco_cucm",
    "Cisco CUCM SDL trace",
    Mark(b"Incoming SIP ", re.compile(rb"Incoming" + _TAIL % b"from"), way=1, head=_peer, rebuild=_unfold),
    Mark(b"Outgoing SIP ", re.compile(rb"Outgoing" + _TAIL % b"to"), way=2, head=_peer, rebuild=_unfold),
)

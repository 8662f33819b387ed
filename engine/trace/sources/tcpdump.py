"""tcpdump text: `-A` (packet bytes as characters) and `-v` (message lines behind a TAB). Hex is `hexdump`'s.

Ports are the last dotted label. `-A` shows the IP and UDP headers as dots before the start line and drops the CRs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.framing import pieces
from engine.trace.sources.base import Frame, Mark, Region, heading, join, line_format

_START = re.compile(
    rb"(?:INVITE|ACK|BYE|CANCEL|OPTIONS|REGISTER|PRACK|SUBSCRIBE|NOTIFY|PUBLISH|INFO|REFER|MESSAGE|UPDATE) {1,4}"
    rb"[A-Za-z][A-Za-z0-9+.\-]{0,30}:[^\s]{1,2048} {1,4}SIP/2\.0|SIP/2\.0 [0-9]{3} "
)
_SUMMARY = re.compile(rb"\bSIP: ([^\r\n]{5,2048})")


def _socket(text: bytes) -> str | None:
    host, dot, port = text.rpartition(b".")
    if (
        not dot
        or not (port.isdigit() or port in (b"sip", b"sips"))
        or (host.count(b".") != 3 and b":" not in host)
    ):
        return text.decode("utf-8", "replace")
    return join(host, {b"sip": b"5060", b"sips": b"5061"}.get(port, port))


def _read(region: Region) -> Iterator[Frame]:
    rest = region.match["rest"]
    head = heading(region, MARK)
    head.source, head.target = _socket(region.match["source"]), _socket(region.match["target"])
    head.transport = "TCP" if rest.startswith(b"Flags") else "UDP"
    text = region.text
    found = _START.search(text)
    if found is not None:
        begin = found.start()
        line = text.rfind(b"\n", 0, begin) + 1
        # A TAB is -v's; anything else before the start line is the packet's headers as characters.
        text = text[line:] if not text[line:begin].strip(b" \t") else text[begin:]
    elif summary := _SUMMARY.search(rest):
        text = summary[1]
    options = region.options
    for piece in pieces(text, 0, len(text), options.max_message_bytes, options.note_at(region.line)):
        yield Frame(
            piece.text, head.time_ns, head.source, head.target, head.transport, 0, region.line, None, False,
            head.date_known,
        )  # fmt: skip


MARK = Mark(
    b" > ",
    re.compile(
        rb"\n(?P<time>(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{6,9}|\d{9,10}\.\d{6}) (?:[\w.\-]{1,16} +(?:In|Out|B|M|P) +)?"
        rb"IP6? (?:\([^\n]{0,400}\)\s{0,8})?(?P<source>\S{3,255}) > (?P<target>\S{3,255}): (?P<rest>[^\n]{0,4096})"
    ),
    whole=_read,
    summary=True,
)

FORMAT = line_format("tcpdump", "tcpdump text", MARK)

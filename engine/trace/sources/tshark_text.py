"""tshark `-V` and `-O sip`, and Wireshark's dissections exported as plain text.

The message is put together again from the lines at header depth; deeper lines and bracketed ones are annotations. SDP
comes back from its decoded lines, which keep every field's letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from engine.trace.sources.base import Frame, Mark, Region, join, line_format, transport
from engine.trace.stamps import epoch_ns

_EPOCH = re.compile(rb"\n {4}(?:\[?)Epoch (?:Arrival )?Time: (\d{1,10}\.\d{1,9})")
_ARRIVAL = re.compile(rb"\n {4}(?:UTC )?Arrival Time: ([^\n]{10,80})")
_IP = re.compile(rb"\nInternet Protocol Version [46], Src: (\S{2,255})(?: \([^)\n]*\))?, Dst: (\S{2,255})")
_PORTS = re.compile(
    rb"\n(User Datagram Protocol|Transmission Control Protocol|Stream Control Transmission Protocol), Src Port: "
    rb"(?:[\w\-]{1,32} \()?(\d{1,5})\)?[^\n]{0,40}?, Dst Port: (?:[\w\-]{1,32} \()?(\d{1,5})"
)
_PROTOCOL = re.compile(rb"\nSession Initiation Protocol[^\n]*")
_START = re.compile(rb"(?:Request|Status)-Line: ")
_FIELD = re.compile(rb"[^\n(]{1,80}\(([a-z])\): ?")
_CARRIERS = {b"U": b"UDP", b"T": b"TCP", b"S": b"SCTP"}


def _messages(block: bytes) -> Iterator[bytes]:
    """The messages of one dissected SIP layer, line by line of its indentation."""
    rows: list[bytes] = []
    body: list[bytes] = []
    in_head = in_body = False
    for row in block.split(b"\n"):
        row = row.rstrip(b"\r")
        depth = len(row) - len(row.lstrip(b" "))
        text = row[depth:]
        if depth == 4 and (found := _START.match(text)):
            rows = [text[found.end() :].removesuffix(b"\\r\\n")]
        elif depth == 4:
            in_body = text.startswith(b"Message Body")
            in_head = text.startswith(b"Message Header")
        elif not rows or text[:1] == b"[" or not text:
            continue
        elif depth == 8 and in_head:
            rows.append(text.removesuffix(b"\\r\\n"))
        elif depth == 12 and in_body and (found := _FIELD.match(text)):
            body.append(found[1] + b"=" + text[found.end() :])
    if rows:
        yield b"\r\n".join([*rows, b"", *body, b""])


def _read(region: Region) -> Iterator[Frame]:
    text = region.text
    places = _IP.findall(text)
    ports = _PORTS.findall(text)
    source = target = carrier = None
    if places:
        addresses = places[-1]
        ends = ports[-1][1:] if ports else (None, None)
        source, target = join(addresses[0], ends[0]), join(addresses[1], ends[1])
    if ports:
        carrier = transport(_CARRIERS[ports[-1][0][:1]])
    if found := _EPOCH.search(text):
        moment = epoch_ns(found[1])
    elif found := _ARRIVAL.search(text):
        moment, _ = region.clock.find(found[1])
    else:
        moment = None
    layers = [found.start() for found in _PROTOCOL.finditer(text)]
    for begin, end in pairwise([*layers, len(text)]):
        for message in _messages(text[begin + 1 : end]):
            yield Frame(message, moment, source, target, carrier, 0, region.line)


FORMAT = line_format(
    "tshark_text",
    "tshark -V / Wireshark plain text",
    Mark(
        b" bytes on wire (",
        re.compile(rb"\nFrame \d{1,12}: \d{1,9} bytes on wire \([^\n]{0,200}"),
        whole=_read,
        summary=True,
        replaces=True,
    ),
    suffixes=(".txt",),
)

"""PDML (`tshark -T pdml`, Wireshark's XML export): the hex of the SIP fields; bodies from their shown text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from engine.trace.framing import pieces
from engine.trace.sources.base import Format, Frame, Options, join, transport
from engine.trace.stamps import epoch_ns

_PACKET = re.compile(rb"<packet\b")
_SIP = re.compile(rb'<proto name="sip"')
_TIME = re.compile(
    rb'<field name="(?:timestamp"[^>]{0,512}? value|frame\.time_epoch"[^>]{0,512}? show)="(\d{1,10}\.\d{1,9})'
)
_ENDS = {
    name: re.compile(rb'<field name="' + name + rb'"[^>]{0,512}? show="([^"]{1,64})"')
    for name in (b"ip.src", b"ip.dst", b"ipv6.src", b"ipv6.dst")
}
_PORT = re.compile(rb'<field name="(udp|tcp|sctp)\.(src|dst)port"[^>]{0,512}? show="(\d{1,5})"')
_FIELD = re.compile(rb'<field name="sip\.(Request-Line|Status-Line|msg_hdr|msg_body)"([^<>]*+)>')
_SHOW = re.compile(rb'(?:\A|\s)show="([^"]*)"')
_VALUE = re.compile(rb'(?:\A|\s)value="([0-9a-fA-F]*)"')
_ENTITY = re.compile(rb"&(lt|gt|amp|quot|apos|#x?[0-9a-fA-F]{1,6});")
_NAMED = {b"lt": b"<", b"gt": b">", b"amp": b"&", b"quot": b'"', b"apos": b"'"}


def _plain(text: bytes) -> bytes:
    def meant(found: re.Match[bytes]) -> bytes:
        name = found[1]
        if name in _NAMED:
            return _NAMED[name]
        try:
            return chr(int(name[2:], 16) if name[1:2] == b"x" else int(name[1:])).encode("utf-8", "replace")
        except (ValueError, OverflowError):
            return found[0]

    return _ENTITY.sub(meant, text)


def _hex(attributes: bytes) -> bytes:
    found = _VALUE.search(attributes)
    try:
        return bytes.fromhex(found[1].decode()) if found else b""
    except ValueError:
        return b""


def _show(attributes: bytes) -> bytes:
    found = _SHOW.search(attributes)
    return _plain(found[1]) if found else b""


def _messages(packet: bytes) -> Iterator[bytes]:
    layers = [found.start() for found in _SIP.finditer(packet)]
    for begin, end in pairwise([*layers, len(packet)]):
        first = headers = body = shown = b""
        for found in _FIELD.finditer(packet, begin, end):
            name, attributes = found[1], found[2]
            if name in (b"Request-Line", b"Status-Line"):
                first = first or _hex(attributes) or _show(attributes)
            elif name == b"msg_hdr":
                headers, shown = _hex(attributes), _show(attributes)
            else:
                body = _hex(attributes)
        if not first:
            continue
        text = first.rstrip(b"\r\n") + b"\r\n" + headers
        if not headers:
            text = first.rstrip(b"\r\n") + b"\r\n" + shown.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        elif not body:
            # Some versions put the body into the text shown of the headers and leave its own value empty.
            _, blank, rest = shown.replace(b"\r\n", b"\n").partition(b"\n\n")
            body = rest.replace(b"\n", b"\r\n") if blank else b""
        if headers and not text.endswith(b"\r\n\r\n"):
            text = text.rstrip(b"\r\n") + b"\r\n\r\n"
        yield text + body


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    starts = _PACKET.finditer(data)
    following = next(starts, None)
    while following is not None:
        begin = following.start()
        following = next(starts, None)
        packet = data[begin : following.start() if following is not None else len(data)]
        if b'<proto name="sip"' not in packet:
            continue
        yield from _packet(packet, begin, options)


def _packet(packet: bytes, offset: int, options: Options) -> Iterator[Frame]:
    time = _TIME.search(packet)
    moment = epoch_ns(time[1]) if time else None
    hosts: list[bytes | None] = []
    for side in (b"src", b"dst"):
        found = _ENDS[b"ip." + side].findall(packet) or _ENDS[b"ipv6." + side].findall(packet)
        hosts.append(found[-1] if found else None)
    ports: dict[bytes, bytes] = {}
    carrier = None
    for name, side, number in _PORT.findall(packet):
        carrier = transport(name)
        ports[side] = number
    source, target = join(hosts[0], ports.get(b"src")), join(hosts[1], ports.get(b"dst"))
    for text in _messages(packet):
        for piece in pieces(text, 0, len(text), options.max_message_bytes, options.note_at(offset)):
            yield Frame(piece.text, moment, source, target, carrier, 0, offset)


def _sniff(head: bytes) -> float:
    return 0.95 if b"<pdml" in head or (b"<packet>" in head and b"<proto name=" in head) else 0.0


FORMAT = Format("pdml", (".pdml", ".xml"), "PDML", _sniff, _frames, structured=True)

"""tshark `-z follow,...,yaml`: exact bytes in base64, with times."""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Iterator

from engine.trace.framing import pieces
from engine.trace.sources.base import Format, Frame, Options, join
from engine.trace.stamps import epoch_ns

_PEER = re.compile(rb"\n {2,4}- peer: (\d{1,4})\r?\n +host: ([^\r\n]{1,255})\r?\n +port: (\d{1,5})")
_PACKET = re.compile(
    rb"- packet: \d{1,12}\r?\n +peer: (?P<peer>\d{1,4})\r?\n(?: +index: \d+\r?\n)?"
    rb" +timestamp: (?P<time>[\d.]{1,24})\r?\n +data: !!binary \|\r?\n(?P<data>(?: +[A-Za-z0-9+/=]+[ \t]*(?:\r?\n|\Z))+)"
)


def _frames(data: bytes, options: Options) -> Iterator[Frame]:
    peers = {number: join(host, port) for number, host, port in _PEER.findall(data[:65536])}
    for found in _PACKET.finditer(data):
        encoded = b"".join(found["data"].split())
        try:
            # A cut file ends within a quantum: what is whole of it still reads.
            text = a2b_base64(encoded[: len(encoded) // 4 * 4])
        except Error:
            options.note("unreadable-row", found.start())
            continue
        source = peers.get(found["peer"])
        other = next((place for number, place in peers.items() if number != found["peer"]), None)
        moment = epoch_ns(found["time"])
        for piece in pieces(text, 0, len(text), options.max_message_bytes, options.note_at(found.start())):
            yield Frame(piece.text, moment, source, other, None, 0, found.start())


def _sniff(head: bytes) -> float:
    return 0.95 if b"peers:" in head and b"!!binary" in head and _PEER.search(head) else 0.0


FORMAT = Format("follow_yaml", (".yaml", ".yml"), "tshark follow, YAML", _sniff, _frames, structured=True)

"""Messages of a call as a capture again, and as tables again: for what was kept without its packets.

A capture made here holds one UDP datagram a message, whatever carried it before: readers of captures then show every message
whole, without TCP connections that nobody recorded. Endpoints known by name only get addresses of 192.0.2.0/24 (RFC 5737).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator

import msgspec

from engine._native import trace as native
from engine.trace.tables import Tables

LINK_RAW = 101  # LINKTYPE_RAW: the record begins with the IP header
SNAP_BYTES = 262_144
UDP, HOP_LIMIT = 17, 64
PAYLOAD_MAX_BYTES = 65_507


class KeptMessage(msgspec.Struct, gc=False):
    """A message as it is kept. `time_ns` since 1970 UTC, None without a clock; ends are "ip:port", "[v6]:port", a name or None."""

    time_ns: int | None
    source: str | None
    target: str | None
    transport: str | None
    text: bytes
    direction: int = 0


def tables_of(messages: Iterable[KeptMessage]) -> Tables:
    """The tables of kept messages, which ladders and rules read."""
    trace = native.Trace()
    trace.open_input(b"")
    for number, kept in enumerate(messages, 1):
        trace.add_message(
            kept.text, kept.time_ns, kept.source, kept.target, kept.transport, kept.direction, 0, number, None, False, False
        )
    trace.finish()
    return Tables(trace)


def pcap_of(messages: Iterable[KeptMessage]) -> Iterator[bytes]:
    """A pcap file with nanosecond times, piece by piece."""
    yield struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, SNAP_BYTES, LINK_RAW)
    names: dict[str, str] = {}
    for number, kept in enumerate(messages):
        moment = number if kept.time_ns is None else kept.time_ns
        packet = _packet(kept, names)
        yield struct.pack("<IIII", moment // 1_000_000_000 & 0xFFFFFFFF, moment % 1_000_000_000, len(packet), len(packet))
        yield packet


def _packet(kept: KeptMessage, names: dict[str, str]) -> bytes:
    source, source_port = _place(kept.source, names)
    target, target_port = _place(kept.target, names)
    if source.version != target.version:
        source, target = _mapped(source), _mapped(target)
    payload = kept.text[:PAYLOAD_MAX_BYTES]
    size = 8 + len(payload)
    if source.version == 6:
        pseudo = source.packed + target.packed + struct.pack(">II", size, UDP)
        head = struct.pack(">IHBB", 6 << 28, size, UDP, HOP_LIMIT) + source.packed + target.packed
    else:
        pseudo = source.packed + target.packed + struct.pack(">BBH", 0, UDP, size)
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + size, 0, 0x4000, HOP_LIMIT, UDP, 0, source.packed, target.packed)
        head = head[:10] + struct.pack(">H", _checksum(head)) + head[12:]
    udp = struct.pack(">HHHH", source_port, target_port, size, 0)
    checksum = _checksum(pseudo + udp + payload) or 0xFFFF
    return head + udp[:6] + struct.pack(">H", checksum) + payload


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return address if address.version == 6 else ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def _place(end: str | None, names: dict[str, str]) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    host, port = (end or "unknown"), 0
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = _port(rest.lstrip(":"))
    elif host.count(":") == 1:
        host, _, rest = host.partition(":")
        port = _port(rest)
    try:
        return ipaddress.ip_address(host), port or 5060
    except ValueError:
        given = names.setdefault(host, f"192.0.2.{len(names) % 254 + 1}")
        return ipaddress.ip_address(given), port or 5060


def _port(text: str) -> int:
    return int(text) if text.isdecimal() and int(text) < 65_536 else 0


__all__ = ["KeptMessage", "pcap_of", "tables_of"]

"""Capture files and plain packets in straightforward Python, written from the formats' descriptions and not from the
kernel: slices and dictionaries, no fast path. Tests hold the kernel's records and packets against it.

Undamaged pcap and pcapng files, and Ethernet with VLAN tags around IPv4 or IPv6 around UDP or TCP: for anything else
`decode` answers None.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import NamedTuple


class Record(NamedTuple):
    """One packet of a file: time in ns since 1970, bytes, bytes on the wire, link type."""

    time_ns: int
    octets: bytes
    original: int
    link_type: int


class Datagram(NamedTuple):
    """Addresses and payload of one packet; `sequence` is TCP's, None for UDP."""

    source: str
    source_port: int
    target: str
    target_port: int
    payload: bytes
    wire_length: int
    vlans: tuple[int, ...]
    dscp: int
    hops: int
    sequence: int | None


def records(file: bytes) -> Iterator[Record]:
    """Records of a pcap or pcapng file."""
    return _blocks(file) if file[:4] == b"\x0a\x0d\x0d\x0a" else _pcap(file)


def _pcap(file: bytes) -> Iterator[Record]:
    magics = {0xA1B2C3D4: (1000, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (1000, 24)}
    order = next(o for o in "<>" if struct.unpack(o + "I", file[:4])[0] in magics)
    tick, header = magics[struct.unpack(order + "I", file[:4])[0]]
    link_type = struct.unpack(order + "I", file[20:24])[0] & 0xFFFF
    at = 24
    while at + header <= len(file):
        seconds, fraction, captured, original = struct.unpack(order + "4I", file[at : at + 16])
        yield Record(
            seconds * 10**9 + fraction * tick, file[at + header : at + header + captured], original, link_type
        )
        at += header + captured


def _options(body: bytes, order: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(body) >= 4:
        code, length = struct.unpack(order + "HH", body[:4])
        if code == 0:
            break
        found[code] = body[4 : 4 + length]
        body = body[4 + (length + 3) // 4 * 4 :]
    return found


def _blocks(file: bytes) -> Iterator[Record]:
    order, at, last_ns = "<", 0, 0
    interfaces: list[tuple[int, int, int, int]] = []
    while at < len(file):
        if file[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = ">" if file[at + 8 : at + 12] == b"\x1a\x2b\x3c\x4d" else "<"
            interfaces = []
        kind, length = struct.unpack(order + "II", file[at : at + 8])
        body = file[at + 8 : at + length - 4]
        at += length
        if kind == 1:
            link_type, _, snap = struct.unpack(order + "HHI", body[:8])
            options = _options(body[8:], order)
            code = options.get(9, b"\x06")[0]
            rate = 2 ** (code & 0x7F) if code & 0x80 else 10**code
            offset = struct.unpack(order + "q", options[14])[0] if 14 in options else 0
            interfaces.append((link_type, rate, offset, snap))
        elif kind == 6:
            row, high, low, captured, original = struct.unpack(order + "5I", body[:20])
            link_type, rate, offset, _ = interfaces[row]
            last_ns = (high << 32 | low) * 10**9 // rate + offset * 10**9
            yield Record(last_ns, body[20 : 20 + captured], original, link_type)
        elif kind == 3:
            original = struct.unpack(order + "I", body[:4])[0]
            link_type, _, _, snap = interfaces[0]
            yield Record(last_ns, body[4 : 4 + min(original, snap or original)], original, link_type)


def decode(frame: bytes) -> Datagram | None:
    """An Ethernet frame's datagram; None when it is not whole, or of a kind this twin does not read."""
    kind, at = int.from_bytes(frame[12:14]), 14
    vlans: list[int] = []
    while kind in (0x8100, 0x88A8, 0x9100):
        if len(vlans) == 12:
            return None
        vlans.append(int.from_bytes(frame[at : at + 2]) & 0xFFF)
        kind = int.from_bytes(frame[at + 2 : at + 4])
        at += 4
    if kind == 0x0800:
        return _ipv4(frame[at:], tuple(vlans))
    return _ipv6(frame[at:], tuple(vlans)) if kind == 0x86DD else None


def _ipv4(octets: bytes, vlans: tuple[int, ...]) -> Datagram | None:
    if len(octets) < 20 or octets[0] >> 4 != 4:
        return None
    header, total = (octets[0] & 15) * 4, int.from_bytes(octets[2:4])
    if header < 20 or total < header or total > len(octets) or int.from_bytes(octets[6:8]) & 0x3FFF:
        return None
    addresses = str(ipaddress.IPv4Address(octets[12:16])), str(ipaddress.IPv4Address(octets[16:20]))
    return _transport(octets[9], octets[header:total], addresses, vlans, octets[1] >> 2, octets[8])


def _ipv6(octets: bytes, vlans: tuple[int, ...]) -> Datagram | None:
    if len(octets) < 40 or octets[0] >> 4 != 6:
        return None
    length = int.from_bytes(octets[4:6])
    if length == 0 or 40 + length > len(octets):
        return None
    addresses = octets[8:24].hex(":", 2), octets[24:40].hex(":", 2)
    dscp = (int.from_bytes(octets[:2]) >> 6) & 0x3F
    return _transport(octets[6], octets[40 : 40 + length], addresses, vlans, dscp, octets[7])


def _transport(
    protocol: int, octets: bytes, addresses: tuple[str, str], vlans: tuple[int, ...], dscp: int, hops: int
) -> Datagram | None:
    ports = int.from_bytes(octets[0:2]), int.from_bytes(octets[2:4])
    sequence = None
    if protocol == 17 and len(octets) >= 8:
        length = int.from_bytes(octets[4:6])
        if length < 8 or length > len(octets) or _may_be_tunnel(ports, octets[8:12]):
            return None
        payload = octets[8:length]
    elif protocol == 6 and len(octets) >= 20:
        header = (octets[12] >> 4) * 4
        if header < 20 or header > len(octets):
            return None
        payload, sequence = octets[header:], int.from_bytes(octets[4:8])
    else:
        return None
    return Datagram(
        addresses[0], ports[0], addresses[1], ports[1], payload, len(payload), vlans, dscp, hops, sequence
    )


def _may_be_tunnel(ports: tuple[int, int], magic: bytes) -> bool:
    return bool({4789, 4790, 8472, 6081, 2152, 37008, 1701, 9060} & set(ports)) or magic in (b"HEP3", b"EEP1")

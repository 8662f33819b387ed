"""RTP packets in plain Python, from RFC 3550 §5.1 and RFC 8285 and not from the kernel: slices and struct."""

from __future__ import annotations

import struct

Fields = tuple[int, int, int, int, bytes, bool, tuple[int, ...], int, bytes | None, int]
COOKIE = b"\x21\x12\xa4\x42"


def kind(data: bytes) -> str:
    """RFC 7983 §7 with RFC 5761 §4, RFC 8489 §5."""
    if len(data) >= 4 and 128 <= data[0] <= 191:
        if data[1] in range(192, 224):
            return "rtcp"
        return "rtp" if len(data) >= 12 else "other"
    if len(data) >= 20 and data[0] < 4 and data[4:8] == COOKIE:
        return "stun"
    return "dtls" if len(data) >= 13 and 20 <= data[0] <= 63 else "other"


def read(data: bytes) -> Fields | None:
    """Fields as engine._native.jitter.read gives them; None: no packet."""
    if not 12 <= len(data) <= 65535 or data[0] >> 6 != 2:
        return None
    sequence, timestamp, ssrc = struct.unpack_from(">HII", data, 2)
    count, rest, profile, extension, padding = data[0] % 16, data[12:], 0, None, 0
    if len(rest) < 4 * count:
        return None
    csrc, rest = struct.unpack(f">{count}I", rest[: 4 * count]), rest[4 * count :]
    if data[0] & 16:
        if len(rest) < 4:
            return None
        profile, words = struct.unpack(">HH", rest[:4])
        extension, rest = rest[4 : 4 + 4 * words], rest[4 + 4 * words :]
        if words > 256 or len(extension) < 4 * words:
            return None
    if data[0] & 32:
        padding = rest[-1] if rest else 0
        if not 1 <= padding <= len(rest):
            return None
        rest = rest[: len(rest) - padding]
    return data[1] % 128, sequence, timestamp, ssrc, rest, data[1] > 127, csrc, profile, extension, padding


def write(fields: Fields) -> bytes:
    """The bytes of a packet with these fields."""
    payload_type, sequence, timestamp, ssrc, payload, marker, csrc, profile, extension, padding = fields
    first = 128 + 32 * bool(padding) + 16 * (extension is not None) + len(csrc)
    head = struct.pack(f">BBHII{len(csrc)}I", first, 128 * marker + payload_type, sequence, timestamp, ssrc, *csrc)
    if extension is not None:
        head += struct.pack(">HH", profile, len(extension) // 4) + extension
    return head + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


def elements(profile: int, extension: bytes) -> dict[int, bytes]:
    """The elements of a header extension by id, the first where one is there twice (RFC 8285 §4.2, 4.3)."""
    found: dict[int, bytes] = {}
    rest = extension
    while rest:
        if rest[0] == 0:
            rest = rest[1:]
            continue
        if profile == 0xBEDE:
            identity, size, rest = rest[0] >> 4, rest[0] % 16 + 1, rest[1:]
            if identity in (0, 15):
                break
        elif profile >> 4 == 0x100:
            if len(rest) < 2:
                break
            identity, size, rest = rest[0], rest[1], rest[2:]
        else:
            break
        if size > len(rest):
            break
        found.setdefault(identity, rest[:size])
        rest = rest[size:]
    return found

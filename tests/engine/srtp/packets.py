"""Packets and keys for the SRTP tests, and single packets and batches through a context."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

from engine.srtp import SUITES, TRAILER_MAX, SrtpContext, SrtpError, SrtpKey, Status

SSRC = 0xDECAFBAD
NAMES = tuple(SUITES)
COUNTER_MODE = tuple(name for name in NAMES if "GCM" not in name)


def key(suite: str = "AES_CM_128_HMAC_SHA1_80", seed: int = 0, *, lifetime: int = 0, mki: int = 0, mki_bytes: int = 0) -> SrtpKey:
    """A key of bytes that differ by seed."""
    length = SUITES[suite].key_bytes + SUITES[suite].salt_bytes
    return SrtpKey(suite=suite, key=bytes((seed * 31 + at * 7) & 255 for at in range(length)), lifetime=lifetime, mki=mki, mki_bytes=mki_bytes)


def rtp(sequence: int, payload: bytes = bytes(160), *, ssrc: int = SSRC, csrcs: int = 0, extension: bytes | None = None) -> bytes:
    """An RTP packet; `extension` is a multiple of four bytes."""
    first = 0x80 | csrcs | (0x10 if extension is not None else 0)
    head = struct.pack("!BBHII", first, 0, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc) + b"".join(struct.pack("!I", at) for at in range(csrcs))
    if extension is not None:
        head += struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
    return head + payload


def report(ssrc: int = SSRC, words: int = 5, fill: int = 0x5A) -> bytes:
    """A sender report of any length."""
    return struct.pack("!BBHI", 0x80, 200, 1 + words, ssrc) + bytes([fill]) * (4 * words)


def _through(context: SrtpContext, operation: str, packet: bytes) -> bytes:
    room = TRAILER_MAX if operation.startswith("protect") else 0
    buffer = bytearray(packet) + bytearray(room)
    length = getattr(context, operation)(buffer, len(packet))
    return bytes(buffer[:length])


def protect(context: SrtpContext, packet: bytes) -> bytes:
    return _through(context, "protect", packet)


def unprotect(context: SrtpContext, packet: bytes) -> bytes:
    return _through(context, "unprotect", packet)


def protect_control(context: SrtpContext, packet: bytes) -> bytes:
    return _through(context, "protect_control", packet)


def unprotect_control(context: SrtpContext, packet: bytes) -> bytes:
    return _through(context, "unprotect_control", packet)


def refusal(context: SrtpContext, packet: bytes, operation: str = "unprotect") -> Status:
    """What a packet is refused with; OK when it was not."""
    try:
        _through(context, operation, packet)
    except SrtpError as error:
        return error.status
    return Status.OK


def batch(context: SrtpContext, operation: str, packets: Sequence[bytes]) -> list[tuple[Status, bytes]]:
    """A whole batch through one call; what each packet became."""
    stride = max(map(len, packets)) + TRAILER_MAX
    buffer = bytearray(stride * len(packets))
    for at, packet in enumerate(packets):
        buffer[at * stride : at * stride + len(packet)] = packet
    lengths, statuses = array("I", map(len, packets)), array("i", [99] * len(packets))
    well = getattr(context, f"{operation}_batch")(buffer, stride, lengths, statuses)
    assert well == statuses.count(0)
    return [(Status(statuses[at]), bytes(buffer[at * stride : at * stride + lengths[at]])) for at in range(len(packets))]

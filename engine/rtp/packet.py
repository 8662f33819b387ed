"""RTP packets as values: read from a datagram's bytes and written to them (RFC 3550 §5.1; header extensions RFC 8285)."""

from __future__ import annotations

import msgspec
from typing_extensions import Buffer

from engine._native import jitter as _native
from engine.errors import EngineError


class PacketError(EngineError):
    """Bytes that are no RTP packet, or numbers that no RTP packet can have."""

    code = "rtp.malformed"


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One RTP packet. `payload` is without padding; `padding` counts the bytes behind it (0: none). `extension` is what stands behind the
    four-byte head of a header extension, a multiple of four bytes; None where the packet has none."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrc: tuple[int, ...] = ()
    extension_profile: int = 0
    extension: bytes | None = None
    padding: int = 0

    @classmethod
    def read(cls, data: Buffer) -> Packet:
        """The packet that a datagram holds. Raises PacketError."""
        fields = _native.read(data)
        if fields is None:
            raise PacketError(f"{len(memoryview(data))} bytes that are no RTP packet")
        payload_type, sequence, timestamp, ssrc, payload, marker, csrc, profile, extension, padding = fields
        return cls(
            payload_type=payload_type,
            sequence=sequence,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=payload,
            marker=marker,
            csrc=csrc,
            extension_profile=profile,
            extension=extension,
            padding=padding,
        )

    def write(self) -> bytes:
        """The packet's bytes. Raises PacketError."""
        try:
            return _native.write(
                self.payload_type,
                self.sequence,
                self.timestamp,
                self.ssrc,
                self.payload,
                marker=self.marker,
                csrc=self.csrc,
                extension_profile=self.extension_profile,
                extension=self.extension,
                padding=self.padding,
            )
        except (ValueError, OverflowError) as error:
            raise PacketError(str(error)) from error

    def element(self, identity: int) -> bytes | None:
        """One element of the header extension by its id, 1..14 in the one-byte form and 1..255 in the two-byte form (RFC 8285 §4.2, 4.3);
        None where there is none. Raises PacketError as `write` does."""
        return _native.extension(self.write(), identity)


__all__ = ["Packet", "PacketError"]

"""Messages of a call as they lie in the store: msgpack arrays of MessageRow, compressed with zstd.

A call is one row, not one a message: its messages are written together, read together (a ladder, a capture, a list) and deleted
together, and nothing is searched inside of them. Headers of one call repeat, so a part shrinks to a fifth or less, and ten
thousand calls are ten thousand inserts. A long call is several parts, so that reading and writing never need it whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import zstandard

from engine.store.rows import MessageRow

PART_BYTES: Final = 4 << 20
PART_MESSAGES: Final = 4096
LEVEL: Final = 3

_DECODER: Final = msgspec.msgpack.Decoder(list[MessageRow])


class Packer:
    """Packs messages. Not for several threads at once."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._encoder = msgspec.msgpack.Encoder()

    def pack(self, messages: Iterable[MessageRow]) -> tuple[bytes, ...]:
        """The parts; none without messages."""
        parts: list[bytes] = []
        waiting: list[MessageRow] = []
        size_bytes = 0
        for message in messages:
            if waiting and (len(waiting) >= PART_MESSAGES or size_bytes + len(message.text) > PART_BYTES):
                parts.append(self._packed(waiting))
                waiting, size_bytes = [], 0
            waiting.append(message)
            size_bytes += len(message.text)
        if waiting:
            parts.append(self._packed(waiting))
        return tuple(parts)

    def _packed(self, messages: list[MessageRow]) -> bytes:
        return self._compressor.compress(self._encoder.encode(messages))


def unpack(part: bytes) -> list[MessageRow]:
    """The messages of a part. Raises ValueError when it is none."""
    try:
        return _DECODER.decode(zstandard.decompress(part))
    except zstandard.ZstdError as error:
        raise ValueError("these are no packed messages") from error


__all__ = ["PART_BYTES", "PART_MESSAGES", "Packer", "unpack"]

"""The wire of the Unix-socket bus: four bytes of length, big-endian, then one msgpack array with its kind first.

Payloads travel as msgpack binary inside a frame, so that a hub forwards them without reading them. The number in
`Ask`, `Answer`, `Fail` and `Decline` pairs an answer with its request; it is the requester's own between it and the
hub, and the hub's between the hub and the target. `Ask.peer` is the target on the way to the hub and the source after it.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import msgspec

from engine.bus.errors import BadFrame

PROTOCOL = 1
_LENGTH = struct.Struct(">I")


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """First frame of a connection: who it is."""

    name: str
    protocol: int


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The hub's answer to `Hello`."""

    protocol: int


class Refuse(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The hub's last frame on a connection that it does not want."""

    code: str
    text: str


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A request."""

    number: int
    peer: str
    subject: str
    body: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """What the handler returned."""

    number: int
    body: bytes


class Fail(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """What the handler raised."""

    number: int
    code: str
    text: str


class Decline(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """No handler finished the request; the code says why."""

    number: int
    code: str
    text: str


class Forget(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Nobody waits for the answer any more."""

    number: int


class Publish(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """An event, to the hub."""

    topic: str
    body: bytes


class Event(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """An event, to a subscriber."""

    source: str
    topic: str
    body: bytes


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """How many events the hub has dropped on this connection since it was made."""

    total: int


class Subscribe(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Asks for events; the hub answers with `Subscribed`."""

    pattern: str


class Unsubscribe(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Ends a subscription."""

    pattern: str


class Subscribed(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """From here on the events of `pattern` arrive."""

    pattern: str


Frame: TypeAlias = (
    Hello | Welcome | Refuse | Ask | Answer | Fail | Decline | Forget | Publish | Event | Dropped
    | Subscribe | Unsubscribe | Subscribed
)  # fmt: skip
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """The frame as it goes over the wire."""
    wire = bytearray(_LENGTH.size)
    _encoder.encode_into(frame, wire, _LENGTH.size)
    _LENGTH.pack_into(wire, 0, len(wire) - _LENGTH.size)
    return bytes(wire)


def decode(body: bytes | bytearray | memoryview) -> Frame:
    """The frame behind the length. Raises BadFrame for anything else."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"a frame of {len(body)} bytes cannot be read: {error}") from None


def encode_payload(payload: Any) -> bytes:
    """A payload as msgpack: builtin types, msgspec Structs, dataclasses. Raises TypeError for what has no form there."""
    return _encoder.encode(payload)


class FrameReader:
    """Cuts a stream of bytes into frames, however they arrive."""

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises BadFrame; the stream cannot be read on after that."""
        held = self._held
        held += data
        frames: list[Frame] = []
        start = 0
        while len(held) - start >= _LENGTH.size:
            (size_bytes,) = _LENGTH.unpack_from(held, start)
            if size_bytes > self._frame_bytes:
                raise BadFrame(f"a frame of {size_bytes} bytes passes the limit of {self._frame_bytes}")
            end = start + _LENGTH.size + size_bytes
            if len(held) < end:
                break
            frames.append(decode(bytes(memoryview(held)[start + _LENGTH.size : end])))
            start = end
        del held[:start]
        return frames


__all__ = [
    "PROTOCOL", "Answer", "Ask", "Decline", "Dropped", "Event", "Fail", "Forget", "Frame", "FrameReader", "Hello", "Publish",
    "Refuse", "Subscribe", "Subscribed", "Unsubscribe", "Welcome", "decode", "encode", "encode_payload",
]  # fmt: skip

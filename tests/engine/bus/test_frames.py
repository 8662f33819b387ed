"""Frames survive any cut of the stream, and bytes that are none are refused with one kind of error."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bus.errors import BadFrame
from engine.bus.frames import Answer, Ask, Dropped, Event, Frame, FrameReader, Hello, decode, encode

LIMIT = 1 << 20
FRAMES: list[Frame] = [
    Hello("worker.0", 1),
    Ask(1, "worker.1", "worker.status", b""),
    Answer(1 << 40, bytes(range(256)) * 300),
    Event("worker.0", "call.started", b"\xc0"),
    Dropped(7),
]


def wire(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@given(st.lists(st.sampled_from(FRAMES), max_size=6), st.data())
def test_a_stream_is_read_however_it_is_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader, read = FrameReader(LIMIT), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read += reader.feed(stream[start:end])
    assert read == frames


def test_byte_by_byte_is_no_different() -> None:
    reader, read = FrameReader(LIMIT), []
    for byte in b"".join(map(encode, FRAMES)):
        read += reader.feed(bytes([byte]))
    assert read == FRAMES


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    with pytest.raises(BadFrame, match="1048577 bytes passes the limit of 1048576"):
        FrameReader(LIMIT).feed(struct.pack(">I", LIMIT + 1))
    assert FrameReader(LIMIT).feed(struct.pack(">I", LIMIT)) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x93\x63\xa1a\x01",  # a kind that does not exist
        b"\x92\x01\xa1a",  # Hello without its protocol
        b"\x93\x01\x01\x01",  # a number for a name
        b"\x93\x01\xa2\xff\xfe\x01",  # no UTF-8
        b"\x95\x04\x01\xa1a\xa1b\xc6\xff\xff\xff\xff",  # a payload that claims 4 GB
        encode(FRAMES[0])[4:] + b"\x00",
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameReader(LIMIT).feed(wire(body))


def test_damaged_frames_are_read_or_refused_and_nothing_else() -> None:
    chance = random.Random(20_240_517)
    refused = 0
    for _ in range(20_000):
        body = bytearray(encode(chance.choice(FRAMES[:2] + FRAMES[3:]))[4:])
        for _ in range(chance.randint(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        try:
            decode(bytes(body[: chance.randint(0, len(body))]))
        except BadFrame:
            refused += 1
    assert refused > 10_000

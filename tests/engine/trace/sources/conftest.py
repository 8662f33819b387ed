"""What every format's test needs: the samples of one call, and a reader that fixes the clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.trace.sources import base

SAMPLES = Path(__file__).parents[3] / "data" / "traces"
WRITTEN_AT = 1_714_990_000.0  # 2024-05-06 10:06:40 UTC, hours after the samples' call


class Read:
    """Reads bytes with a fixed time of writing; remembers what was noted."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int]] = []

    def __call__(self, data: bytes, **options: object) -> list[base.AnyFrame]:
        self.notes = []
        chosen: dict[str, object] = {"mtime": WRITTEN_AT, **options}
        return list(
            base.frames(data, base.Options(note=lambda kind, at: self.notes.append((kind, at)), **chosen))  # type: ignore[arg-type]
        )


@pytest.fixture
def read() -> Read:
    return Read()


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    return lambda name: (SAMPLES / name).read_bytes()


@pytest.fixture
def call() -> list[bytes]:
    """The messages of the sampled call as they were on the wire: INVITE with SDP, 200 with SDP, ACK, BYE."""
    texts: list[bytes] = []
    content = (SAMPLES / "call.sip").read_bytes()
    marks = [
        content.index(start)
        for start in (b"INVITE sip:bob", b"SIP/2.0 200 OK\r\n", b"ACK sip:bob", b"BYE sip:bob")
    ]
    for begin, end in zip(marks, [*marks[1:], len(content)], strict=True):
        texts.append(content[begin:end])
    return texts


@pytest.fixture
def whole(read, sample, call) -> Callable[..., list[base.Frame]]:
    """Reads a sample of the call and checks what holds for every format that keeps whole messages."""

    def check(name: str, format_name: str) -> list[base.Frame]:
        content = sample(name)
        assert base.detect(content[:65536]).name == format_name
        frames = read(content)
        assert [frame.text for frame in frames] == call
        offsets = [frame.offset for frame in frames]
        assert offsets == sorted(set(offsets))
        assert offsets[-1] < len(content)
        return frames

    return check

"""Reads WAV: RIFF (RFC 2361, Microsoft multimedia programming reference) and RF64/BW64 (EBU Tech 3306, ITU-R BS.2088), as 16-bit samples.

Whoever wrote the file, what it costs to open it is bounded: some chunk headers are read, nothing else. Samples are read where they are
asked for, by position and not through a mapping: a file that is overwritten while it plays gives other samples, never a fault.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine._native import audio
from engine.media.errors import UnreadableAudio

Samples = npt.NDArray[np.int16]
CHUNKS_MAX: Final = 256
CHANNELS_MAX: Final = 64
RATE_MAX_HZ: Final = 768_000
EXTENSIBLE: Final = 0xFFFE
SUBFORMAT_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")  # of the GUID that carries a format tag
UNKNOWN: Final = 0xFFFFFFFF


def _of_24(raw: bytes) -> Samples:
    """The upper 16 of 24 bits."""
    wide = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int16)
    return (wide[:, 2] << 8 | wide[:, 1]).astype(np.int16)


def _of_float(raw: bytes) -> Samples:
    """Full scale is 1.0; what is above is cut, and no number is silence."""
    samples: Samples = np.rint(np.clip(np.nan_to_num(np.frombuffer(raw, np.float32), nan=0.0), -1.0, 1.0) * 32767.0).astype(np.int16)
    return samples


ULAW: Final = audio.decode(audio.ULAW, bytes(range(256)))  # the sample of each code
ALAW: Final = audio.decode(audio.ALAW, bytes(range(256)))
# (format tag, bits of a sample): what it is called, and how it becomes 16 bits.
KINDS: Final[dict[tuple[int, int], tuple[str, Callable[[bytes], Samples]]]] = {
    (1, 8): ("pcm8", lambda raw: ((np.frombuffer(raw, np.uint8).astype(np.int16) - 128) * 256).astype(np.int16)),
    (1, 16): ("pcm16", lambda raw: np.frombuffer(raw, "<i2").astype(np.int16, copy=False)),
    (1, 24): ("pcm24", _of_24),
    (3, 32): ("float32", _of_float),
    (6, 8): ("alaw", lambda raw: ALAW[np.frombuffer(raw, np.uint8)]),
    (7, 8): ("ulaw", lambda raw: ULAW[np.frombuffer(raw, np.uint8)]),
}


@dataclass(frozen=True)
class Layout:
    """Where the samples are and what they look like. `truncated`: the header promises more than the file has."""

    kind: str
    tag: int
    bits: int
    rate_hz: int
    channels: int
    frames: int
    data_offset: int
    truncated: bool

    @property
    def frame_bytes(self) -> int:
        """Of one sample of each channel."""
        return self.channels * self.bits // 8

    @property
    def duration_s(self) -> float:
        """Seconds that it plays."""
        return self.frames / self.rate_hz


def _format(body: bytes) -> tuple[int, int, int, int]:
    """Tag, channels, rate and bits of a format chunk."""
    if len(body) < 16:
        raise UnreadableAudio(f"its format chunk has {len(body)} bytes, not 16")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == EXTENSIBLE:
        if len(body) < 40 or body[26:40] != SUBFORMAT_TAIL:
            raise UnreadableAudio("its extensible format names no format tag")
        tag = struct.unpack("<H", body[24:26])[0]
    if (tag, bits) not in KINDS:
        raise UnreadableAudio(f"samples of format {tag} with {bits} bits are not read")
    if not 1 <= channels <= CHANNELS_MAX or not 1 <= rate_hz <= RATE_MAX_HZ:
        raise UnreadableAudio(f"{channels} channels at {rate_hz} Hz are not read")
    if frame_bytes != channels * bits // 8:
        raise UnreadableAudio(f"frames of {frame_bytes} bytes cannot hold {channels} channels of {bits} bits")
    return tag, channels, rate_hz, bits


def layout_of(fd: int) -> Layout:
    """What an open file says of itself. Raises UnreadableAudio, OSError."""
    total = os.fstat(fd).st_size
    head = os.pread(fd, 12, 0)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        raise UnreadableAudio("it does not begin as a WAV file does")
    is_large, large_data, found, offset = head[:4] != b"RIFF", UNKNOWN, None, 12
    for _ in range(CHUNKS_MAX):
        chunk = os.pread(fd, 8, offset)
        if len(chunk) < 8:
            raise UnreadableAudio("it has no samples")
        name, size = chunk[:4], int(struct.unpack("<I", chunk[4:])[0])
        if name == b"data":
            break
        if name == b"ds64" and is_large:
            large = os.pread(fd, 24, offset + 8)
            if size < 28 or len(large) < 24:
                raise UnreadableAudio("its 64-bit sizes are cut off")
            large_data = int(struct.unpack("<Q", large[8:16])[0])
        elif name == b"fmt ":
            if found:
                raise UnreadableAudio("it has two format chunks")
            found = _format(os.pread(fd, min(size, 40), offset + 8))
        offset += 8 + size + size % 2
    else:
        raise UnreadableAudio(f"there are no samples in its first {CHUNKS_MAX} chunks")
    if not found:
        raise UnreadableAudio("it has samples before it says of what format")
    tag, channels, rate_hz, bits = found
    offset += 8
    there = max(total - offset, 0)
    if size == UNKNOWN:  # given by ds64, or by whoever could not know it: up to the file's end
        size = large_data if is_large else there
    frames = min(size, there) // (channels * bits // 8)
    return Layout(KINDS[tag, bits][0], tag, bits, rate_hz, channels, frames, offset, truncated=size > there)


class WavFile:
    """A WAV file that is open for reading. Raises UnreadableAudio for what is none, OSError for what cannot be opened."""

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self.layout = layout_of(self._fd)
        except BaseException:
            os.close(self._fd)
            raise
        self._convert = KINDS[self.layout.tag, self.layout.bits][1]

    def read(self, first: int, count: int) -> Samples:
        """Up to `count` frames from frame `first` on, as int16 of shape (frames, channels); fewer at the end."""
        if first < 0 or count < 0:
            raise ValueError("frames are counted from 0")
        layout = self.layout
        count = max(min(count, layout.frames - first), 0)
        wanted, offset = count * layout.frame_bytes, layout.data_offset + first * layout.frame_bytes
        raw = os.pread(self._fd, wanted, offset)
        while len(raw) < wanted and (more := os.pread(self._fd, wanted - len(raw), offset + len(raw))):
            raw += more  # a system call moves at most 2 GiB
        whole = len(raw) - len(raw) % layout.frame_bytes
        return self._convert(raw[:whole]).reshape(-1, layout.channels)

    def close(self) -> None:
        """Closes the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> WavFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Any:
        self.close()

"""Silence where something was said that must not be heard: in these stretches of these channels, and not a bit elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.compliance import opus
from engine.compliance.errors import NotRedactable
from engine.media.manifest import Interval
from engine.media.wav import Layout, layout_of
from engine.recordings.replacing import replacing

PIECE_BYTES: Final = 1 << 20
# One sample of silence: of companded codes as the recorder writes them, of unsigned PCM the middle.
_SILENCE: Final = {"ulaw": b"\xff", "alaw": b"\xd5", "pcm8": b"\x80"}


class Silenced(msgspec.Struct, frozen=True):
    """What was made: SHA-256 and size of the file, and how many samples of single channels are silence now."""

    sha256: str
    bytes: int
    samples: int


def silence(source: Path, target: Path, intervals: Iterable[Interval], *, tracks: Sequence[int] = ()) -> Silenced:
    """Makes `target` of the WAV file `source`, or of one leg's Opus packets in Ogg: as long, silent in the intervals on the channels of their tracks, all else
    bit by bit the same.

    `tracks` says whose sound each channel is; channel k is track k without it. What is silenced is never written. `target` is whole when it has its name,
    and may be `source` itself, whose own samples are overwritten then. Raises NotRedactable for other kinds of files, UnreadableAudio, OSError.
    """
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        kind = os.pread(fd, 4, 0)
        if kind == b"OggS":
            return _silence_opus(fd, target, [each for each in intervals if not each.tracks or set(each.tracks) & set(tracks or (0,))])
        if kind not in (b"RIFF", b"RF64", b"BW64"):
            raise NotRedactable(f"{source.name} is neither WAV nor Opus: parts of it cannot be silenced")
        layout = layout_of(fd)
        stretches = _stretches(intervals, layout, tracks)
        with replacing(target) as file:
            _copy(fd, file.fileno(), layout, stretches)
            made = Silenced(_sha256(file.fileno()), os.fstat(file.fileno()).st_size, sum(len(channels) * (last - first) for channels, first, last in stretches))
        if os.fstat(fd).st_nlink == 0:  # replaced by the target: its blocks are free, and what was said is still in them
            _overwrite(fd, layout, stretches)
    finally:
        os.close(fd)
    return made


def _silence_opus(fd: int, target: Path, intervals: Iterable[Interval]) -> Silenced:
    stretches = [(max(each.start_ms, 0) * opus.RATE_HZ // 1000, each.end_ms * opus.RATE_HZ // 1000) for each in intervals if each.start_ms < each.end_ms]
    samples = 0
    with replacing(target) as file:
        for page, hidden in opus.silenced(fd, stretches):
            file.write(page)
            samples += hidden
        made = Silenced(_sha256(file.fileno()), os.fstat(file.fileno()).st_size, samples)
    if os.fstat(fd).st_nlink == 0:
        _erase(fd)
    return made


def _erase(fd: int) -> None:
    """Overwrites a file that has no name any more."""
    with open(f"/proc/self/fd/{fd}", "r+b", buffering=0) as file:
        size = os.fstat(fd).st_size
        for at in range(0, size, PIECE_BYTES):
            file.write(bytes(min(PIECE_BYTES, size - at)))
        os.fsync(file.fileno())


def _stretches(intervals: Iterable[Interval], layout: Layout, tracks: Sequence[int]) -> list[tuple[list[int], int, int]]:
    """Channels, first frame and frame behind the last, of what is to be silent."""
    of_channel = list(tracks) if len(tracks) == layout.channels else list(range(layout.channels))
    found = []
    for interval in intervals:
        channels = [channel for channel, track in enumerate(of_channel) if not interval.tracks or track in interval.tracks]
        first = min(max(interval.start_ms, 0) * layout.rate_hz // 1000, layout.frames)
        last = min(-(-max(interval.end_ms, 0) * layout.rate_hz // 1000), layout.frames)
        if channels and first < last:
            found.append((channels, first, last))
    return sorted(found, key=lambda each: each[1])


def _silent(raw: bytearray, begin: int, layout: Layout, stretches: Sequence[tuple[list[int], int, int]]) -> None:
    """Silences whole frames, the first of which is number `begin`."""
    width = layout.bits // 8
    frames: npt.NDArray[np.uint8] = np.frombuffer(raw, np.uint8).reshape(-1, layout.channels, width)
    quiet = np.frombuffer(_SILENCE.get(layout.kind, bytes(1)), np.uint8)
    for channels, first, last in stretches:
        if first < begin + len(frames) and last > begin:
            frames[max(first - begin, 0) : last - begin, channels] = quiet


def _copy(source: int, target: int, layout: Layout, stretches: Sequence[tuple[list[int], int, int]]) -> None:
    size = os.fstat(source).st_size
    data_end = layout.data_offset + layout.frames * layout.frame_bytes
    step = max(PIECE_BYTES // layout.frame_bytes, 1) * layout.frame_bytes
    at = 0
    while at < size:
        inside = layout.data_offset <= at < data_end
        until = min(at + step, data_end if inside else layout.data_offset if at < layout.data_offset else size)
        piece = bytearray(_read(source, at, until - at))
        if inside:
            _silent(piece, (at - layout.data_offset) // layout.frame_bytes, layout, stretches)
        _write(target, piece, at)
        at = until


def _overwrite(fd: int, layout: Layout, stretches: Sequence[tuple[list[int], int, int]]) -> None:
    writable = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        for _, first, last in stretches:
            for frame in range(first, last, PIECE_BYTES // layout.frame_bytes):
                count = min(last - frame, PIECE_BYTES // layout.frame_bytes)
                os.pwrite(writable, bytes(count * layout.frame_bytes), layout.data_offset + frame * layout.frame_bytes)
        os.fsync(writable)
    finally:
        os.close(writable)


def _read(fd: int, at: int, size: int) -> bytes:
    read = os.pread(fd, size, at)
    while len(read) < size:
        more = os.pread(fd, size - len(read), at + len(read))
        if not more:
            raise OSError("the file became shorter while it was read")
        read += more
    return read


def _write(fd: int, content: bytearray, at: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(fd, rest, at)
        rest, at = rest[written:], at + written


def _sha256(fd: int) -> str:
    with open(os.dup(fd), "rb", buffering=0) as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["Silenced", "silence"]

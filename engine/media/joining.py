"""WAV files that are still staged: how much is in them, of one length, and one made of several legs."""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from engine._native import writer as native
from engine.media.staging import Folder, StagedFile

WAV_FORMATS: Final = {"pcm16": native.WAV_PCM16, "ulaw": native.WAV_ULAW, "alaw": native.WAV_ALAW}
SILENCE: Final = {"pcm16": 0, "ulaw": 0xFF, "alaw": 0xD5}


def _header(file: StagedFile, frames: int) -> bytes:
    return native.wav_header(WAV_FORMATS[file.codec], file.channels, file.rate_hz, frames)


def _frame_bytes(file: StagedFile) -> int:
    return file.channels * (2 if file.codec == "pcm16" else 1)


def frames_in(fd: int, file: StagedFile) -> int:
    """Whole frames that lie behind the header, whatever that says."""
    return max(os.fstat(fd).st_size - len(_header(file, 0)), 0) // _frame_bytes(file)


def pad(fd: int, file: StagedFile, frames: int) -> None:
    """Silence up to `frames`, nothing behind them, and the header that says so."""
    offset, there = len(_header(file, 0)), frames_in(fd, file)
    silence, piece = SILENCE[file.codec], 1 << 20
    end = offset + there * _frame_bytes(file)
    wanted = offset + frames * _frame_bytes(file)
    os.ftruncate(fd, end)
    if silence:
        for at in range(end, wanted, piece):
            os.pwrite(fd, bytes([silence]) * min(piece, wanted - at), at)
    os.ftruncate(fd, wanted + wanted % 2)
    os.pwrite(fd, _header(file, frames), 0)


def _write(fd: int, content: memoryview, offset: int) -> None:
    """All of it: a disk that fills up takes a part without a word. Raises OSError."""
    while content:
        written = os.pwrite(fd, content, offset)
        content, offset = content[written:], offset + written


def merge(folder: Folder, merged: StagedFile, legs: dict[int, StagedFile], fd: int, frames: int) -> None:
    """The merged file anew, out of its legs."""
    kind = np.int16 if merged.codec == "pcm16" else np.uint8
    offset, target, piece = len(_header(legs[merged.tracks[0]], 0)), len(_header(merged, 0)), 1 << 18
    sources = [folder.open(legs[track].staged) for track in merged.tracks]
    try:
        for first in range(0, frames, piece):
            count = min(piece, frames - first)
            together = np.full((count, len(sources)), SILENCE[merged.codec], kind)
            for channel, each in enumerate(sources):
                raw = os.pread(each, count * together.itemsize, offset + first * together.itemsize)  # may be less, where the disk refused some
                samples = np.frombuffer(raw, kind, len(raw) // together.itemsize)
                together[: len(samples), channel] = samples
            _write(fd, together.data.cast("B"), target + first * _frame_bytes(merged))
    finally:
        for each in sources:
            os.close(each)


__all__ = ["SILENCE", "WAV_FORMATS", "frames_in", "merge", "pad"]

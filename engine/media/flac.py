"""FLAC (RFC 9639) of WAV, through libsndfile: made when a recording is over, and believed only once it was decoded and compared."""

from __future__ import annotations

import os
from typing import Final

import numpy as np
import soundfile

from engine.media.errors import NotLossless

CHANNELS_MAX: Final = 8
PIECE_FRAMES: Final = 1 << 16


def compress(source: int, target: int) -> None:
    """Writes the FLAC of a 16-bit WAV file into an empty file, both open. Raises NotLossless unless it decodes to the same samples, OSError."""
    try:
        with soundfile.SoundFile(_again(source), closefd=True) as wav:
            if wav.subtype != "PCM_16" or wav.channels > CHANNELS_MAX:
                raise NotLossless(f"{wav.channels} channels of {wav.subtype} are not made into FLAC")
            with soundfile.SoundFile(_again(target), "w", wav.samplerate, wav.channels, "PCM_16", format="FLAC", closefd=True) as file:
                for piece in wav.blocks(PIECE_FRAMES, dtype="int16", always_2d=True):
                    file.write(piece)
            wav.seek(0)
            with soundfile.SoundFile(_again(target), closefd=True) as file:
                _compare(wav, file)
    except soundfile.LibsndfileError as error:
        raise NotLossless(f"libsndfile: {error}") from error


def _again(fd: int) -> int:
    """Another descriptor of the file, from its beginning; whoever gets it closes it."""
    os.lseek(fd, 0, os.SEEK_SET)
    return os.dup(fd)


def _compare(wav: soundfile.SoundFile, file: soundfile.SoundFile) -> None:
    if (wav.frames, wav.channels, wav.samplerate) != (file.frames, file.channels, file.samplerate):
        raise NotLossless(f"{file.frames} frames in FLAC, {wav.frames} in WAV")
    for piece in wav.blocks(PIECE_FRAMES, dtype="int16", always_2d=True):
        if not np.array_equal(piece, file.read(len(piece), dtype="int16", always_2d=True)):
            raise NotLossless("the FLAC file decodes to other samples")

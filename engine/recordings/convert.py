"""Other forms of finished recordings, through libsndfile: MP3, Opus (RFC 6716, 7845), Vorbis, FLAC (RFC 9639).

A file is made of a WAV file piece by piece, with memory for a few pieces, and is believed only once it was decoded again: it has as many samples as the recording,
and the same ones where the form is lossless. Otherwise nothing of it is left. The WAV file is never touched.

A channel is a party. Of three channels and more, Opus and Vorbis make loudspeakers of a room: players change their order, and one of six loses all but its lowest
tones. So those two hold one or two here, as MP3 does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import soundfile

from engine._native.audio import Resampler
from engine.errors import EngineError
from engine.media.errors import UnreadableAudio
from engine.media.sealing import sha256_of
from engine.media.wav import Samples, WavFile
from engine.recordings.replacing import replacing

Format = Literal["mp3", "opus", "ogg", "flac"]
PIECE_FRAMES: Final = 1 << 14
OPUS_RATE_HZ: Final = 48_000
OPUS_KBPS: Final = (6, 256)  # a channel
OPUS_SPEECH_KBPS: Final = 12  # a channel: less is hard to understand


class ConvertError(EngineError):
    """Base of what goes wrong when a recording is given another form."""

    code = "convert.error"


class NotConvertible(ConvertError):
    """The form cannot hold this recording: its channels, its rate, or that it is empty."""

    code = "convert.not_possible"


class ConvertFailed(ConvertError):
    """What was made is not what it should be: the disk is full, or the library failed. Nothing of it is left."""

    code = "convert.failed"


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was made. `frames` is how many samples a channel has, at `rate_hz`; `padding_frames` how many more a decoder gives, at the end."""

    codec: str
    rate_hz: int
    channels: int
    bytes: int
    sha256: str
    frames: int
    padding_frames: int = 0


class _Form(msgspec.Struct, frozen=True):
    """What libsndfile calls it, and what it can hold."""

    container: str
    subtype: str
    codec: str
    channels_max: int
    rates_hz: frozenset[int] | None
    rate_max_hz: int


FORMS: Final[dict[Format, _Form]] = {
    "mp3": _Form("MP3", "MPEG_LAYER_III", "mp3", 2, frozenset((8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)), 48_000),
    "opus": _Form("OGG", "OPUS", "opus", 2, frozenset((8000, 12000, 16000, 24000, 48000)), 48_000),
    "ogg": _Form("OGG", "VORBIS", "vorbis", 2, None, 192_000),
    "flac": _Form("FLAC", "PCM_16", "flac", 8, None, 655_350),
}


def convert(source: Path, target: Path, format: Format, *, bit_rate_kbps: int = 64, quality: int = 5) -> Converted:
    """Makes another form of a WAV file (linear or G.711, RIFF or RF64). What was at `target` is replaced.

    `bit_rate_kbps` is of all channels together, for MP3 and Opus, and becomes the nearest that there is; `quality`, 1 to 10, is Vorbis's. Opus of a rate that it
    does not have is made at 48 kHz. Raises UnreadableAudio, NotConvertible, ConvertFailed, OSError.
    """
    form = FORMS[format]
    with WavFile(source) as wav:
        rate_hz = _rate_of(wav, format, form)
        with replacing(target) as file:
            try:
                with soundfile.SoundFile(
                    os.dup(file.fileno()), "w", rate_hz, wav.layout.channels, form.subtype, format=form.container, closefd=True,
                    **_effort(format, rate_hz, wav.layout.channels, bit_rate_kbps, quality),
                ) as made:  # fmt: skip
                    for piece in _pieces(wav, rate_hz):
                        made.write(_given(piece, format))
                frames, padding = _checked(file, wav, rate_hz, lossless=format == "flac")
            except (soundfile.SoundFileError, AssertionError) as error:  # it asserts that all samples were taken
                raise ConvertFailed(f"{target.name}: libsndfile: {error}") from error
            return Converted(
                codec=form.codec, rate_hz=rate_hz, channels=wav.layout.channels, bytes=os.fstat(file.fileno()).st_size, sha256=sha256_of(file.fileno()),
                frames=frames, padding_frames=padding,
            )  # fmt: skip


def _rate_of(wav: WavFile, format: Format, form: _Form) -> int:
    """The rate of what is made. Raises NotConvertible."""
    layout = wav.layout
    if not layout.frames:
        raise NotConvertible("the recording has no samples")
    if layout.channels > form.channels_max:
        raise NotConvertible(f"{format} holds {form.channels_max} channels, the recording has {layout.channels}")
    if layout.rate_hz > form.rate_max_hz:
        raise NotConvertible(f"{format} holds up to {form.rate_max_hz} Hz, the recording has {layout.rate_hz}")
    if form.rates_hz is None or layout.rate_hz in form.rates_hz:
        return layout.rate_hz
    try:
        Resampler(layout.rate_hz, OPUS_RATE_HZ)
    except ValueError:
        raise NotConvertible(f"{format} does not hold {layout.rate_hz} Hz") from None
    return OPUS_RATE_HZ


def _effort(format: Format, rate_hz: int, channels: int, bit_rate_kbps: int, quality: int) -> dict[str, Any]:
    """What libsndfile takes for a bit rate or a quality: 0 is the most bits there are, 1 the fewest."""
    if format == "mp3":  # of MPEG-1, MPEG-2 and MPEG-2.5
        least, most = (32, 320) if rate_hz >= 32_000 else (8, 160) if rate_hz >= 16_000 else (8, 64)
        return {"bitrate_mode": "CONSTANT", "compression_level": _share(bit_rate_kbps, least, most)}
    if format == "opus":
        return {"compression_level": _share(max(bit_rate_kbps / channels, min(bit_rate_kbps, OPUS_SPEECH_KBPS)), *OPUS_KBPS)}
    if format == "ogg":
        return {"compression_level": 1 - min(max(quality, 1), 10) / 10}
    return {}


def _share(wanted: float, least: int, most: int) -> float:
    return min(max((most - wanted) / (most - least), 0.0), 0.99)  # of 1 itself LAME finds no rate


def _given(piece: Samples, format: Format) -> np.ndarray[Any, Any]:
    """Samples as libsndfile gets them. Its MP3 writer loses half of what two channels of 16-bit samples have, so they go as floats."""
    return piece if format == "flac" else np.ascontiguousarray(piece, np.float32) / np.float32(32768)


def _pieces(wav: WavFile, rate_hz: int) -> Iterator[Samples]:
    """All samples at a rate, shape (frames, channels)."""
    layout = wav.layout
    if rate_hz == layout.rate_hz:
        for first in range(0, layout.frames, PIECE_FRAMES):
            yield _read(wav, first)
        return
    filters = [Resampler(layout.rate_hz, rate_hz) for _ in range(layout.channels)]
    late, left = filters[0].delay, _frames(wav, rate_hz)
    end = -(-(late + 1) * layout.rate_hz // rate_hz) + layout.rate_hz // 100  # of silence, which moves the last samples out of the filters
    for first in range(0, layout.frames + end, PIECE_FRAMES):
        piece = _read(wav, first) if first < layout.frames else np.zeros((0, layout.channels), np.int16)
        silence = min(PIECE_FRAMES, layout.frames + end - first) - len(piece)
        piece = np.concatenate((piece, np.zeros((silence, layout.channels), np.int16)))
        moved = np.stack([each.run(np.ascontiguousarray(piece[:, channel])) for channel, each in enumerate(filters)], axis=1)
        moved, late = moved[late:][:left], max(late - len(moved), 0)
        left -= len(moved)
        yield moved


def _read(wav: WavFile, first: int) -> Samples:
    piece = wav.read(first, PIECE_FRAMES)
    if len(piece) != min(PIECE_FRAMES, wav.layout.frames - first):
        raise UnreadableAudio("the file became shorter while it was read")
    return piece


def _frames(wav: WavFile, rate_hz: int) -> int:
    """How many there are at a rate."""
    return -(-wav.layout.frames * rate_hz // wav.layout.rate_hz)


def _checked(file: FileIO, wav: WavFile, rate_hz: int, *, lossless: bool) -> tuple[int, int]:
    """Decodes all that was made: its frames, and how many are padding. Raises ConvertFailed."""
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    wanted, found = _frames(wav, rate_hz), 0
    with soundfile.SoundFile(os.dup(file.fileno()), closefd=True) as made:
        if (made.samplerate, made.channels) != (rate_hz, wav.layout.channels):
            raise ConvertFailed(f"{made.channels} channels at {made.samplerate} Hz were made of {wav.layout.channels} at {rate_hz}")
        for piece in made.blocks(PIECE_FRAMES, dtype="int16", always_2d=True):
            if lossless and not np.array_equal(piece, wav.read(found, len(piece))):
                raise ConvertFailed("what was made decodes to other samples")
            found += len(piece)
    if found < wanted:
        raise ConvertFailed(f"{found} samples of {wanted} were made")
    return wanted, found - wanted


__all__ = ["ConvertError", "ConvertFailed", "Converted", "Format", "NotConvertible", "convert"]

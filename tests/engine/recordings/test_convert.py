"""Other forms of recordings: the same sound, as long, each party in its own channel, in the eyes of another decoder too."""

from __future__ import annotations

import gc
import hashlib
import os
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from engine._native import audio
from engine._native import writer as native
from engine.media.errors import UnreadableAudio
from engine.media.wav import WavFile
from engine.recordings import convert as convert_module
from engine.recordings.convert import Converted, ConvertFailed, Format, NotConvertible, convert

FORMATS: tuple[Format, ...] = ("mp3", "opus", "ogg", "flac")
LOSSY = FORMATS[:3]
CODECS = {"mp3": "mp3", "opus": "opus", "ogg": "vorbis", "flac": "flac"}
WAV = {"pcm16": native.WAV_PCM16, "ulaw": native.WAV_ULAW, "alaw": native.WAV_ALAW}


def voices(rate_hz: int, channels: int, seconds: float = 2.0) -> Any:
    """Buzzes of different pitch that swell and fade, one a channel: int16, shape (frames, channels)."""
    at = np.arange(int(rate_hz * seconds)) / rate_hz
    made = []
    for channel in range(channels):
        pitch = 140 + 37 * channel
        tones = sum(np.sin(2 * np.pi * pitch * number * at + number) / number for number in range(1, 12) if pitch * number < rate_hz / 2 - 800)
        made.append(tones * (0.6 + 0.4 * np.sin(2 * np.pi * (2 + channel) * at)) * 4000)
    return np.stack(made, axis=1).astype(np.int16)


def wav_of(path: Path, samples: Any, rate_hz: int, kind: str = "pcm16", promised: int | None = None) -> Path:
    """A file as the recorder writes it."""
    frames, channels = samples.shape
    if kind == "pcm16":
        body = samples.astype("<i2").tobytes()
    else:
        body = audio.encode(audio.ULAW if kind == "ulaw" else audio.ALAW, np.ascontiguousarray(samples.reshape(-1)))
    path.write_bytes(native.wav_header(WAV[kind], channels, rate_hz, frames if promised is None else promised) + body)
    return path


def samples_of(path: Path) -> Any:
    with WavFile(path) as wav:
        return wav.read(0, 2**40)


def decoded(path: Path) -> tuple[Any, int]:
    """Samples by FFmpeg's decoders, as floats of shape (frames, channels), and their rate."""
    with av.open(os.fspath(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp")
        pieces = [made.to_ndarray() for frame in container.decode(stream) for made in resampler.resample(frame)]
        return np.concatenate(pieces, axis=1).T, stream.rate


def likeness(one: Any, other: Any) -> float:
    """Correlation of two tracks, where they lie best over each other within 10 ms or so."""
    count = min(len(one), len(other)) - 200
    best = 0.0
    for shift in range(-100, 101, 4):
        left, right = one[100 : 100 + count], other[100 + shift : 100 + shift + count]
        best = max(best, float(np.corrcoef(left[: len(right)], right)[0, 1]))
    return best


@pytest.mark.parametrize("kind", WAV)
@pytest.mark.parametrize("format", FORMATS)
def test_two_parties_stay_in_their_channels(tmp_path: Path, format: Format, kind: str) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 2), 8000, kind)
    wanted = samples_of(source)
    before = source.read_bytes()
    target = tmp_path / f"a.{format}"
    made = convert(source, target, format)
    assert made == Converted(
        codec=CODECS[format], rate_hz=8000, channels=2, bytes=target.stat().st_size, sha256=hashlib.sha256(target.read_bytes()).hexdigest(), frames=len(wanted)
    )
    assert source.read_bytes() == before
    heard, rate_hz = decoded(target)
    assert heard.shape == (len(wanted) * rate_hz // 8000, 2)
    ours = heard[:: rate_hz // 8000]
    for channel in (0, 1):
        assert likeness(wanted[:, channel], ours[:, channel]) > 0.98
        assert likeness(wanted[:, channel], ours[:, 1 - channel]) < 0.5
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", target.name}


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("format", FORMATS)
def test_every_rate_of_a_call_is_kept(tmp_path: Path, format: Format, rate_hz: int) -> None:
    source = wav_of(tmp_path / "a.wav", voices(rate_hz, 1), rate_hz)
    made = convert(source, tmp_path / "b", format)
    assert (made.rate_hz, made.frames, made.padding_frames) == (rate_hz, 2 * rate_hz, 0)
    again, told = soundfile.read(tmp_path / "b", dtype="int16", always_2d=True)
    assert (told, again.shape) == (rate_hz, (2 * rate_hz, 1))
    assert likeness(samples_of(source)[:, 0], again[:, 0]) > 0.98


@pytest.mark.parametrize("frames", [1, 2, 159, 160, 961, 1152, 16_384, 16_385, 40_001])
@pytest.mark.parametrize("format", FORMATS)
def test_no_sample_is_lost_or_added(tmp_path: Path, format: Format, frames: int) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 2, 6)[:frames], 8000)
    made = convert(source, tmp_path / "b", format)
    assert (made.frames, made.padding_frames) == (frames, 0)
    assert soundfile.info(tmp_path / "b").frames == frames


@pytest.mark.parametrize("frames", [1, 100, 16_384, 16_385, 64_000, 64_001])
def test_opus_of_a_rate_that_it_does_not_have(tmp_path: Path, frames: int) -> None:
    source = wav_of(tmp_path / "a.wav", voices(32_000, 2, 3)[:frames], 32_000)
    made = convert(source, tmp_path / "b", "opus")
    assert (made.rate_hz, made.frames, made.padding_frames) == (48_000, -(-frames * 3 // 2), 0)
    if frames < 1000:
        return
    again = soundfile.read(tmp_path / "b", always_2d=True)[0]
    at = np.arange(len(again)) * 2 / 3
    wanted = samples_of(source)
    for channel in (0, 1):
        moved = np.interp(at, np.arange(frames), wanted[:, channel])
        assert np.corrcoef(moved[1000:-1000], again[1000:-1000, channel])[0, 1] > 0.97  # and not a sample late


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 8])
def test_flac_has_the_very_samples_of_up_to_eight_parties(tmp_path: Path, channels: int) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, channels), 8000)
    convert(source, tmp_path / "b.flac", "flac")
    heard, _ = decoded(tmp_path / "b.flac") if channels < 8 else soundfile.read(tmp_path / "b.flac")
    assert np.array_equal(np.rint(heard * 32768).astype(np.int16), samples_of(source))


@pytest.mark.parametrize(
    ("format", "channels", "rate_hz", "why"),
    [
        ("mp3", 3, 8000, "mp3 holds 2 channels, the recording has 3"), ("opus", 3, 8000, "opus holds 2 channels"), ("ogg", 6, 8000, "ogg holds 2 channels"),
        ("flac", 9, 8000, "flac holds 8 channels"), ("opus", 1, 44_100, "opus does not hold 44100 Hz"), ("mp3", 1, 96_000, "mp3 holds up to 48000 Hz"),
        ("mp3", 1, 7000, "mp3 does not hold 7000 Hz"),
    ],
)  # fmt: skip
def test_what_a_form_cannot_hold_is_refused_and_nothing_is_left(tmp_path: Path, format: Format, channels: int, rate_hz: int, why: str) -> None:
    source = wav_of(tmp_path / "a.wav", np.zeros((1000, channels), np.int16), rate_hz)
    with pytest.raises(NotConvertible, match=why) as told:
        convert(source, tmp_path / "b", format)
    assert told.value.code == "convert.not_possible"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("format", FORMATS)
def test_silence_a_full_scale_square_and_nothing(tmp_path: Path, format: Format) -> None:
    square = np.where(np.arange(8000) // 10 % 2, 32767, -32768).astype(np.int16)[:, None]
    for samples in (np.zeros((8000, 2), np.int16), square):
        made = convert(wav_of(tmp_path / "a.wav", samples, 8000), tmp_path / "b", format)
        assert (made.frames, made.padding_frames) == (8000, 0)
    with pytest.raises(NotConvertible, match="no samples"):
        convert(wav_of(tmp_path / "a.wav", np.zeros((0, 2), np.int16), 8000), tmp_path / "b", format)


@pytest.mark.parametrize("format", FORMATS)
def test_rf64_and_a_file_that_was_cut_by_a_crash(tmp_path: Path, format: Format) -> None:
    samples = voices(8000, 2)
    source = wav_of(tmp_path / "a.wav", samples, 8000, promised=2**33)
    assert source.read_bytes().startswith(b"RF64")
    made = convert(source, tmp_path / "b", format)
    assert made.frames == len(samples)


def test_what_is_no_wav_is_told_so(tmp_path: Path) -> None:
    for content in (b"", b"RIFF", b"x" * 1000):
        (tmp_path / "a.wav").write_bytes(content)
        with pytest.raises(UnreadableAudio):
            convert(tmp_path / "a.wav", tmp_path / "b.mp3", "mp3")
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "none.wav", tmp_path / "b.mp3", "mp3")
    assert not (tmp_path / "b.mp3").exists()


@pytest.mark.parametrize(("format", "asked", "least", "most"), [("mp3", 8, 7, 10), ("mp3", 32, 30, 35), ("mp3", 128, 60, 68), ("opus", 24, 20, 28), ("opus", 64, 58, 70), ("opus", 6, 3, 9)])
def test_the_bit_rate_is_about_the_one_that_was_asked_for(tmp_path: Path, format: Format, asked: int, least: int, most: int) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 1, 10), 8000)
    made = convert(source, tmp_path / "b", format, bit_rate_kbps=asked)
    assert least <= made.bytes * 8 / 10_000 <= most


def test_two_channels_of_opus_share_the_bit_rate_but_stay_intelligible(tmp_path: Path) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 2, 10), 8000)
    sizes = [convert(source, tmp_path / "b", "opus", bit_rate_kbps=rate).bytes * 8 / 10_000 for rate in (64, 16)]
    assert 58 <= sizes[0] <= 70
    assert 20 <= sizes[1] <= 28


def test_more_quality_takes_more_bytes_of_vorbis(tmp_path: Path) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 2, 5), 8000)
    sizes = [convert(source, tmp_path / "b.ogg", "ogg", quality=quality).bytes for quality in (0, 1, 5, 10, 99)]
    assert sizes == sorted(sizes)
    assert sizes[1] < sizes[2] < sizes[3]


@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path, format: Format) -> None:
    source = wav_of(tmp_path / "a.wav", np.random.default_rng(1).integers(-9000, 9000, (80_000, 2)).astype(np.int16), 8000)
    (tmp_path / "b").write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises((ConvertFailed, OSError)):
            convert(source, tmp_path / "b", format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "b").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b"]


@pytest.mark.parametrize("format", FORMATS)
def test_what_the_library_made_is_not_believed_unread(tmp_path: Path, format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 2), 8000)
    write = soundfile.SoundFile.write
    monkeypatch.setattr(soundfile.SoundFile, "write", lambda file, samples: write(file, samples[:-3000]))
    with pytest.raises(ConvertFailed) as told:
        convert(source, tmp_path / "b", format)
    assert told.value.code == "convert.failed"
    assert not (tmp_path / "b").exists()


def test_samples_that_flac_changed_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 2), 8000)
    write = soundfile.SoundFile.write
    monkeypatch.setattr(soundfile.SoundFile, "write", lambda file, samples: write(file, samples ^ 1))
    with pytest.raises(ConvertFailed, match="other samples"):
        convert(source, tmp_path / "b.flac", "flac")


def test_a_source_that_becomes_shorter_meanwhile_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = wav_of(tmp_path / "a.wav", voices(8000, 2, 5), 8000)
    effort = convert_module._effort

    def cutting(*given: Any) -> Any:
        os.truncate(source, 10_000)
        return effort(*given)

    monkeypatch.setattr(convert_module, "_effort", cutting)
    with pytest.raises(UnreadableAudio, match="shorter"):
        convert(source, tmp_path / "b.flac", "flac")
    assert not (tmp_path / "b.flac").exists()


def test_memory_is_the_same_for_any_length(tmp_path: Path) -> None:
    def most(seconds: int) -> int:
        source = wav_of(tmp_path / "a.wav", np.zeros((8000 * seconds, 2), np.int16), 8000)
        gc.collect()
        tracemalloc.start()
        try:
            convert(source, tmp_path / "b.flac", "flac")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(1)
    assert abs(most(600) - most(60)) < 200_000

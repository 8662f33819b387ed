"""FLAC of WAV: the same samples, or none at all."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from engine.media import flac
from engine.media.errors import NotLossless
from tests.descriptors import open_in


def wav(path: Path, channels: int, frames: int, subtype: str = "PCM_16") -> Any:
    noise = np.frombuffer(Random(channels).randbytes(2 * channels * frames), np.int16).reshape(-1, channels)
    soundfile.write(path, noise, 8000, subtype=subtype, format="WAV")
    return noise


def compress(folder: Path) -> None:
    source, target = os.open(folder / "a.wav", os.O_RDONLY), os.open(folder / "a.flac", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    before = open_in(folder)
    try:
        flac.compress(source, target)
    finally:
        assert open_in(folder) == before
        os.close(source)
        os.close(target)


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
@pytest.mark.parametrize("frames", [1, 4096, 70_001])
def test_it_decodes_to_the_same_samples(tmp_path: Path, channels: int, frames: int) -> None:
    noise = wav(tmp_path / "a.wav", channels, frames)
    compress(tmp_path)
    assert (tmp_path / "a.flac").read_bytes()[:4] == b"fLaC"
    decoded, rate_hz = soundfile.read(tmp_path / "a.flac", dtype="int16", always_2d=True)
    assert rate_hz == 8000 and np.array_equal(decoded, noise)


def test_silence_and_speech_like_sound_become_smaller(tmp_path: Path) -> None:
    tone = (8000 * np.sin(np.arange(80_000) / 5)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", tone, 8000, subtype="PCM_16")
    compress(tmp_path)
    assert os.path.getsize(tmp_path / "a.flac") < os.path.getsize(tmp_path / "a.wav") * 0.7


@pytest.mark.parametrize(("channels", "subtype"), [(9, "PCM_16"), (1, "ULAW"), (1, "PCM_24")])
def test_what_flac_would_not_keep_as_it_is_is_refused(tmp_path: Path, channels: int, subtype: str) -> None:
    wav(tmp_path / "a.wav", channels, 10, subtype)
    with pytest.raises(NotLossless):
        compress(tmp_path)


def test_what_is_no_wav_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFFnothing")
    with pytest.raises(NotLossless):
        compress(tmp_path)


@pytest.mark.parametrize("fault", ["samples", "length"])
def test_a_copy_that_decodes_to_something_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    wav(tmp_path / "a.wav", 1, 1000)
    write = soundfile.SoundFile.write

    def wrong(self: Any, data: Any) -> None:
        write(self, data[:-1] if fault == "length" else data ^ (np.arange(len(data)) == 500)[:, None])

    monkeypatch.setattr(soundfile.SoundFile, "write", wrong)
    with pytest.raises(NotLossless):
        compress(tmp_path)

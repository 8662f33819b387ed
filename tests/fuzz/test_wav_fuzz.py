"""Hostile WAV headers: whatever comes is refused or read within the file, and costs no more than the file is long."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine._native import writer as native
from engine.media.errors import UnreadableAudio
from engine.media.wav import WavFile


def check(path: Path, content: bytes) -> bool:
    """Whether it was read; then, what it says must be true."""
    path.write_bytes(content)
    try:
        file = WavFile(path)
    except UnreadableAudio:
        return False
    with file:
        layout = file.layout
        assert layout.data_offset + layout.frames * layout.frame_bytes <= len(content)
        assert file.read(0, 2**40).shape == (layout.frames, layout.channels)
        assert file.read(layout.frames, 1).shape == (0, layout.channels)
        assert file.read(0, 3).dtype == np.int16
    return True


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_behind_the_first_twelve(tmp_path: Path, tail: bytes) -> None:
    check(tmp_path / "x.wav", b"RIFF\0\0\0\0WAVE" + tail)
    check(tmp_path / "x.wav", b"RF64\xff\xff\xff\xffWAVEds64" + tail)


@pytest.mark.parametrize("seed", range(4))
def test_true_files_with_flipped_bytes_and_cut_ends(tmp_path: Path, seed: int) -> None:
    random, read = Random(seed), 0
    for _ in range(400):
        form = random.choice([native.WAV_PCM16, native.WAV_ULAW, native.WAV_ALAW])
        channels, frames = random.choice([1, 2, 5]), random.choice([0, 1, 37, 2**33])
        content = bytearray(native.wav_header(form, channels, 8000, frames) + random.randbytes(60))
        for _ in range(random.choice([0, 1, 3])):
            content[random.randrange(len(content))] = random.choice([0, 1, 255, random.randrange(256)])
        read += check(tmp_path / "x.wav", bytes(content[: random.randrange(len(content) + 1)] if random.random() < 0.3 else content))
    assert 50 < read < 1600


def test_every_cut_of_a_true_file(tmp_path: Path) -> None:
    whole = native.wav_header(native.WAV_PCM16, 3, 48000, 4) + os.urandom(24)
    read = [check(tmp_path / "x.wav", whole[:cut]) for cut in range(len(whole) + 1)]
    assert read == [cut >= len(whole) - 24 for cut in range(len(whole) + 1)]

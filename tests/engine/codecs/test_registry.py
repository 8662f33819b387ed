"""The registry: every file is a codec, and what it says is what the kernel does."""

from __future__ import annotations

import numpy as np
import pytest

from engine._native import codec as native
from engine.codecs import CODECS, Codec, codec_of


def test_files_and_kernels_are_the_same_codecs() -> None:
    assert sorted(codec.name for codec in CODECS) == sorted(native.CODECS)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_what_a_file_says_is_what_its_kernel_says(codec: Codec) -> None:
    clock_rate_hz, sample_rate_hz, payload_type, channels_max, is_by_sample = native.facts(codec.name)
    assert codec.clock_rate_hz == clock_rate_hz
    assert (codec.sample_rates_hz[0] if codec.sample_rates_hz else 0) == sample_rate_hz
    assert codec.payload_type == (None if payload_type == 255 else payload_type)
    assert codec.channels_max == channels_max
    assert 1 <= codec.channels <= codec.channels_max
    assert is_by_sample or not codec.is_lossless


@pytest.mark.parametrize(("name", "payload_type", "clock_rate_hz"), [("PCMU", 0, 8000), ("PCMA", 8, 8000), ("G722", 9, 8000), ("opus", None, 48000), ("L16", None, 0)])
def test_names_numbers_and_clocks_are_those_of_rfc_3551_and_7587(name: str, payload_type: int | None, clock_rate_hz: int) -> None:
    codec = codec_of(name)
    assert (codec.name, codec.payload_type, codec.clock_rate_hz) == (name, payload_type, clock_rate_hz)


@pytest.mark.parametrize("name", ["pcmu", "PCMA", "g722", "OPUS", "l16"])
def test_names_have_no_case(name: str) -> None:
    assert codec_of(name).name.lower() == name.lower()
    assert native.facts(name) == native.facts(codec_of(name).name)


@pytest.mark.parametrize("name", ["", "G7221", "G72", "PCM", "PCMUU", "ópus", "opus\0", "x" * 5000])
def test_a_name_that_is_none_is_told(name: str) -> None:
    with pytest.raises(LookupError, match="no codec is named"):
        codec_of(name)
    with pytest.raises(ValueError, match="no codec is named"):
        native.facts(name)
    with pytest.raises(ValueError, match="no codec is named"):
        native.Decoder(name)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_frame_goes_there_and_back_at_every_rate(codec: Codec) -> None:
    for rate_hz in codec.sample_rates_hz or (8000, 16000, 44100):
        for channels in range(1, codec.channels_max + 1):
            samples = rate_hz * codec.ptime_ms // 1000
            times = np.arange(10 * samples)
            tone = (8000 * np.sin(2 * np.pi * 440 * times / rate_hz)).astype(np.int16)
            pcm = np.repeat(tone[:, None], channels, 1) if channels > 1 else tone
            encoder, decoder = codec.encoder(rate_hz, channels, rate_hz), codec.decoder(rate_hz, channels, rate_hz)
            payloads = [encoder.encode(pcm[k : k + samples]) for k in range(0, len(pcm), samples)]
            heard = np.concatenate([decoder.decode(payload) for payload in payloads])
            assert heard.shape == pcm.shape
            assert all(decoder.samples(payload) == samples for payload in payloads)
            assert 0.7 < np.std(heard[len(heard) // 2 :].astype(float)) / np.std(tone.astype(float)) < 1.3

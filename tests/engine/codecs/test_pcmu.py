"""PCMU: its facts, payloads of any length both ways, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from engine._native import codec as native
from engine.codecs import codec_of
from engine.codecs.pcmu import CODEC
from engine.sdp.codecs import PCMU
from tests.oracle import audio_twin as twin

EVERY = np.arange(-32768, 32768).astype(np.int16)


def test_its_facts_are_those_of_the_kernel_and_of_our_offers() -> None:
    assert codec_of("pcmu") is CODEC
    assert native.facts("PCMU") == (8000, 8000, 0, 1, True)
    assert (CODEC.clock_rate_hz, CODEC.sample_rates_hz, CODEC.payload_type, CODEC.channels_max) == (8000, (8000,), 0, 1)
    assert (PCMU.name, PCMU.clock_rate_hz, PCMU.payload_type) == (CODEC.name, CODEC.clock_rate_hz, CODEC.payload_type)
    assert not CODEC.is_lossless


def test_a_frame_is_a_byte_a_sample_both_ways() -> None:
    encoder, decoder = CODEC.encoder(), CODEC.decoder()
    assert (encoder.sample_rate_hz, decoder.sample_rate_hz) == (8000, 8000)
    assert encoder.encode(np.zeros(160, np.int16)) == b"\xff" * 160
    payload = encoder.encode(EVERY)
    assert payload == bytes(twin.ulaw_encode(int(sample)) for sample in EVERY)
    assert decoder.samples(payload) == len(EVERY)
    assert decoder.decode(payload).tolist() == [twin.ulaw_decode(code) for code in payload]


@pytest.mark.parametrize("length", [1, 7, 80, 159, 160, 161, 240, 5760])
def test_any_length_is_a_frame(length: int) -> None:
    pcm = EVERY[20_000 : 20_000 + length]
    payload = CODEC.encoder().encode(pcm)
    assert len(payload) == length
    assert len(CODEC.decoder().decode(payload)) == length


def test_no_bytes_and_no_samples_are_no_frame() -> None:
    assert CODEC.decoder().samples(b"") == native.MALFORMED
    assert CODEC.decoder().decode_into(b"", np.zeros(8, np.int16)) == native.MALFORMED
    assert CODEC.encoder().encode_into(np.zeros(0, np.int16), bytearray(8)) == native.UNSUPPORTED


def test_a_target_that_is_too_small_stays_as_it_was() -> None:
    pcm = np.full(159, 7, np.int16)
    assert CODEC.decoder().decode_into(bytes(160), pcm) == native.TOO_SMALL
    assert set(pcm.tolist()) == {7}
    payload = bytearray(b"\x07" * 159)
    assert CODEC.encoder().encode_into(np.zeros(160, np.int16), payload) == native.TOO_SMALL
    assert set(payload) == {7}


def test_loss_is_left_to_others() -> None:
    assert CODEC.decoder().conceal(160) is None


@pytest.mark.parametrize(("sample_rate_hz", "channels"), [(16000, 1), (8000, 2), (48000, 1), (8000, 0)])
def test_other_rates_and_channels_are_refused(sample_rate_hz: int, channels: int) -> None:
    with pytest.raises(ValueError):
        CODEC.decoder(sample_rate_hz, channels)
    with pytest.raises(ValueError):
        CODEC.encoder(sample_rate_hz, channels)

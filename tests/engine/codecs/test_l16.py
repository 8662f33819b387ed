"""L16: words in network byte order at any rate, one channel or two, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from engine._native import codec as native
from engine.codecs import codec_of
from engine.codecs.l16 import CODEC

EVERY = np.arange(-32768, 32768).astype(np.int16)


def test_its_facts_are_those_of_the_kernel() -> None:
    assert codec_of("l16") is CODEC
    assert native.facts("L16") == (0, 0, 255, 2, True)
    assert (CODEC.clock_rate_hz, CODEC.sample_rates_hz, CODEC.payload_type, CODEC.channels_max) == (0, (), None, 2)
    assert CODEC.is_lossless


def test_every_sample_is_two_bytes_the_higher_first() -> None:
    encoder, decoder = CODEC.encoder(16000), CODEC.decoder(16000)
    assert encoder.encode(np.array([1, -2, 0x1234], np.int16)) == b"\x00\x01\xff\xfe\x12\x34"
    payload = encoder.encode(EVERY)
    assert payload == EVERY.astype(">i2").tobytes()
    assert decoder.samples(payload) == len(EVERY)
    assert decoder.decode(payload).tolist() == EVERY.tolist()


@pytest.mark.parametrize("length", range(1, 70))
def test_any_length_at_any_offset(length: int) -> None:
    pcm = EVERY[30_000 : 30_000 + length]
    held = b"\xaa" * (length % 3) + CODEC.encoder(8000).encode(pcm)
    assert CODEC.decoder(8000).decode(memoryview(held)[length % 3 :]).tolist() == pcm.tolist()


def test_two_channels_are_interleaved() -> None:
    pcm = np.array([[1, 2], [3, 4], [5, -6]], np.int16)
    payload = CODEC.encoder(44100, 2).encode(pcm)
    assert payload == bytes.fromhex("0001 0002 0003 0004 0005 fffa")
    decoder = CODEC.decoder(44100, 2)
    assert decoder.samples(payload) == 3
    assert decoder.decode(payload).tolist() == pcm.tolist()


@pytest.mark.parametrize(("channels", "length"), [(1, 0), (1, 1), (1, 319), (2, 0), (2, 2), (2, 3), (2, 322)])
def test_bytes_that_make_no_whole_samples_are_malformed(channels: int, length: int) -> None:
    decoder, pcm = CODEC.decoder(8000, channels), np.full(400, 7, np.int16)
    assert decoder.samples(bytes(length)) == native.MALFORMED
    assert decoder.decode_into(bytes(length), pcm) == native.MALFORMED
    with pytest.raises(ValueError):
        decoder.decode(bytes(length))
    assert set(pcm.tolist()) == {7}


@pytest.mark.parametrize("channels", [1, 2])
def test_a_target_that_is_too_small_stays_as_it_was(channels: int) -> None:
    pcm = np.full(159 * channels, 7, np.int16)
    assert CODEC.decoder(8000, channels).decode_into(bytes(320 * channels), pcm) == native.TOO_SMALL
    assert set(pcm.tolist()) == {7}
    payload = bytearray(b"\x07" * (320 * channels - 1))
    assert CODEC.encoder(8000, channels).encode_into(np.zeros(160 * channels, np.int16), payload) == native.TOO_SMALL
    assert set(payload) == {7}
    assert CODEC.encoder(8000, channels).encode_into(np.zeros(0, np.int16), payload) == native.UNSUPPORTED


def test_the_rate_is_rtpmaps() -> None:
    assert CODEC.decoder(clock_rate_hz=44100).sample_rate_hz == 44100
    with pytest.raises(ValueError):
        CODEC.decoder()
    for channels in (0, 3):
        with pytest.raises(ValueError):
            CODEC.encoder(8000, channels)


def test_loss_is_left_to_others() -> None:
    assert CODEC.decoder(8000).conceal(160) is None

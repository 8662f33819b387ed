"""Hostile media: whatever payloads, holes, levels and lengths come, every sample is counted and none is out of place (rows P03, P05, P11, P15)."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._native import codec as native
from engine._native import tones
from engine.codecs import CODECS, Codec
from tests.data.fenced import Fence
from tests.oracle.g722_twin import Coder

RATES = (8000, 16000, 24000, 48000)
SOURCE, TARGET = Fence(), Fence(4)


def mutated(random: Random, payload: bytes) -> bytes:
    data = bytearray(payload)
    for _ in range(random.randrange(4)):
        if data:
            data[random.randrange(len(data))] = random.choice((0, 255, 127, 128, random.randrange(256)))
    return bytes(data[: random.randrange(len(data) + 1)]) if random.random() < 0.4 else bytes(data)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@pytest.mark.parametrize("seed", range(4))
def test_any_stream_of_payloads_and_holes_keeps_its_counts(codec: Codec, seed: int) -> None:
    random = Random(seed)
    rate_hz = random.choice(codec.sample_rates_hz or RATES)
    channels = random.randint(1, codec.channels_max)
    decoder, encoder = codec.decoder(rate_hz, channels, rate_hz), codec.encoder(rate_hz, channels, rate_hz)
    pcm = np.random.default_rng(seed).integers(-32768, 32768, (rate_hz // 50, channels)).astype(np.int16)
    last = b""
    for _ in range(400):
        payload = mutated(random, random.choice((encoder.encode(pcm if channels > 1 else pcm[:, 0]), random.randbytes(random.randrange(1500)))))
        if random.random() < 0.2:
            samples = random.choice((rate_hz // 50, rate_hz // 100, random.randrange(6000)))
            made = decoder.conceal(samples, random.choice((None, payload, last)))
            assert made is None or len(made) == samples
        told, fenced = decoder.samples(payload), SOURCE.put(payload, random.random() < 0.5)
        room = TARGET.room(min(max(0, told) * channels, 8000), random.random() < 0.5)
        result = decoder.decode_into(fenced, room)
        assert result == told or result in (native.MALFORMED, native.TOO_SMALL)
        last = payload


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=120), st.lists(st.integers(-32768, 32767), min_size=2, max_size=120))
def test_g722_is_its_twin_on_anything(octets: bytes, samples: list[int]) -> None:
    assert native.Decoder("G722").decode(octets).tolist() == Coder().decode(octets)
    even = samples[: len(samples) // 2 * 2]
    assert native.Encoder("G722").encode(np.array(even, np.int16)) == Coder().encode(even)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((8000, 11025, 16000, 48000, 1, 2**31)))
def test_any_order_of_good_and_lost_keeps_its_counts(seed: int, rate_hz: int) -> None:
    random = Random(seed)
    concealer, numbers = tones.Concealer(rate_hz), np.random.default_rng(seed)
    for _ in range(20):
        samples = random.choice((0, 1, 7, 160, 960, 3000, 5760))
        if random.random() < 0.5:
            assert len(concealer.lost(samples)) == samples
        else:
            pcm = numbers.integers(-32768, 32768, samples).astype(np.int16) // random.choice((1, 10, 32767))
            assert len(concealer.good(pcm)) == samples


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 2000)), min_size=1, max_size=6), st.integers(0, 2**64 - 1))
def test_any_sid_payloads_make_noise(items: list[tuple[bytes, int]], seed: int) -> None:
    noise = tones.ComfortNoise(seed)
    for payload, samples in items:
        noise.take(SOURCE.put(payload))
        made = noise.make(samples)
        assert len(made) == samples
        measured = tones.measure_noise(made)
        assert 1 <= len(measured) <= 13 and measured[0] <= 127
        noise.take(measured)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((8000, 16000, 24000, 32000, 48000)))
def test_any_audio_keeps_digits_in_order(seed: int, rate_hz: int) -> None:
    """A beginning, then its end, then the next: also for tones cut anywhere, on top of one another, at any level."""
    random = Random(seed)
    reader, dtx = tones.DtmfReader(rate_hz), tones.Dtx(rate_hz)
    active, at = "", 0
    for _ in range(30):
        pcm = np.zeros(random.randrange(1, rate_hz // 10), np.int16)
        for _ in range(random.randrange(3)):
            tones.Tone.digit(rate_hz, random.choice("0123456789ABCD*#"), random.uniform(-70, 6), random.randrange(200)).add(pcm[random.randrange(len(pcm)) :])
        if random.random() < 0.2:
            pcm = np.random.default_rng(seed).integers(-32768, 32768, len(pcm)).astype(np.int16)
        assert dtx.decide(pcm) in (tones.SEND_NOTHING, tones.SEND_AUDIO, tones.SEND_SID)
        at += len(pcm)
        for digit, is_end, duration_ms, position in reader.take(pcm):
            assert (digit == active) if is_end else (not active)
            assert position <= at and (duration_ms >= 25) == is_end
            active = "" if is_end else digit

"""Any samples, cut into any blocks, at any place: every way gives the same, and what the twin gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._native import audio as native
from tests.oracle import audio_twin as twin

RATES = st.sampled_from((8000, 16000, 24000, 32000, 48000))
LAWS = st.sampled_from((native.ULAW, native.ALAW))
SAMPLES = st.lists(st.one_of(st.integers(-32768, 32767), st.sampled_from((-32768, 32767, 0, -1))), max_size=300)
GAINS = st.integers(0, 65535)


def int16(values: Sequence[int]) -> npt.NDArray[np.int16]:
    return np.array(values, np.int16)


def by_every_way(call: Callable[[], Any]) -> Any:
    """What a call gives; by all ways the same."""
    before, found = native.way(), []
    for each in native.ways():
        native.choose_way(each)
        found.append(call())
    native.choose_way(before)
    assert all(one == found[0] for one in found)
    return found[0]


@settings(max_examples=300, deadline=None)
@given(LAWS, st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_are_decoded(law: int, payload: bytes, skipped: int) -> None:
    decode = twin.ulaw_decode if law == native.ULAW else twin.alaw_decode
    cut = payload[skipped:]
    pcm = by_every_way(lambda: native.decode(law, memoryview(payload)[skipped:]).tolist())
    assert pcm == [decode(code) for code in cut]
    assert by_every_way(lambda: native.decode_float(law, cut).tolist()) == [sample / 32768 for sample in pcm]


@settings(max_examples=300, deadline=None)
@given(LAWS, SAMPLES)
def test_any_samples_are_encoded(law: int, samples: list[int]) -> None:
    encode = twin.ulaw_encode if law == native.ULAW else twin.alaw_encode
    assert by_every_way(lambda: native.encode(law, int16(samples))) == bytes(map(encode, samples))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6).flatmap(lambda legs: st.lists(st.tuples(*[st.integers(-32768, 32767)] * legs), max_size=80)))
def test_any_legs_are_mixed(rows: list[tuple[int, ...]]) -> None:
    if not rows:
        return
    pcm = np.array(list(zip(*rows, strict=True)), np.int16)
    assert by_every_way(lambda: native.mix(pcm).tolist()) == twin.mixed(pcm.tolist())
    heard = by_every_way(lambda: native.mix_others(pcm).tolist())
    assert heard == [twin.mixed(pcm.tolist(), leg) for leg in range(len(pcm))]


@settings(max_examples=200, deadline=None)
@given(SAMPLES, GAINS, GAINS)
def test_any_gain_and_fade(samples: list[int], start: int, end: int) -> None:
    def gained() -> Any:
        pcm = int16(samples)
        native.gain(pcm, start / 4096)
        return pcm.tolist()

    def faded() -> Any:
        pcm = int16(samples)
        native.fade(pcm, start / 4096, end / 4096)
        return pcm.tolist()

    assert by_every_way(gained) == twin.gained(samples, start)
    found = by_every_way(faded)
    if samples:
        exact = twin.faded(samples, start, end)
        assert all(abs(one - two) <= abs(sample) / 4096 + 1 for one, two, sample in zip(found, exact, samples, strict=True))


@settings(max_examples=200, deadline=None)
@given(SAMPLES)
def test_any_level(samples: list[int]) -> None:
    found = by_every_way(lambda: native.level(int16(samples)))
    assert found.squares == sum(sample * sample for sample in samples)
    assert found.peak == max((abs(sample) for sample in samples), default=0)
    assert found.dbov == twin.dbov(samples)


@settings(max_examples=100, deadline=None)
@given(RATES, RATES, SAMPLES, st.lists(st.integers(0, 400), max_size=12))
def test_any_stream_cut_anywhere_changes_its_rate(from_hz: int, to_hz: int, samples: list[int], cuts: list[int]) -> None:
    pcm = int16(samples)

    def run() -> list[int]:
        resampler, found = native.Resampler(from_hz, to_hz), []
        places = [0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]
        for begin, end in pairwise(places):
            room = resampler.room(end - begin)
            made = resampler.run(pcm[begin:end])
            assert len(made) == room
            found += made.tolist()
        return found

    expected = samples if from_hz == to_hz else twin.resampled(samples, from_hz, to_hz)
    assert by_every_way(run) == expected

"""The E-model against values of G.107 and against its own monotony."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine._native import rtp as native
from engine.rtp import quality

CODEC = {name: number for number, name in enumerate(native.CODECS)}
AUDIO = [number for number in range(len(native.CODECS)) if native.codec_impairment(number)[4]]


@pytest.mark.parametrize(("rating", "mos"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_the_bands_of_g107_have_their_mos(rating: float, mos: float) -> None:
    assert native.mos(rating) == pytest.approx(mos, abs=0.01)


def test_mos_ends_at_one_and_four_and_a_half() -> None:
    assert (native.mos(-5), native.mos(0), native.mos(3), native.mos(100), native.mos(150)) == (
        1,
        1,
        1,
        4.5,
        4.5,
    )


def test_perfect_g711_rates_93_2() -> None:
    assert native.rating(CODEC["PCMU"], 0) == pytest.approx(93.2)
    assert native.mos(93.2) == pytest.approx(4.41, abs=0.005)


def test_equipment_impairment_follows_its_equation() -> None:
    assert native.ie_effective(CODEC["PCMA"], 5) == pytest.approx(95 * 5 / (5 + 25.1), rel=1e-6)
    assert native.ie_effective(CODEC["PCMA"], 5, 2) == pytest.approx(95 * 5 / (2.5 + 25.1), rel=1e-6)
    assert native.ie_effective(CODEC["G729"], 2) == pytest.approx(11 + 84 * 2 / (2 + 19), rel=1e-6)


def test_delay_impairs_beyond_100_ms() -> None:
    assert native.delay_impairment(0) == native.delay_impairment(100) == 0
    assert native.delay_impairment(400) == pytest.approx(24, abs=1)


def test_wide_and_full_band_are_brought_to_the_same_scale() -> None:
    assert native.rating(CODEC["G722"], 0) == pytest.approx((129 - 13) / 1.29)
    assert native.rating(CODEC["opus"], 0) == pytest.approx((148 - 10.2) / 1.48)


@pytest.mark.parametrize("name", ["H264", "VP8", "telephone-event", "CN", "t38"])
def test_what_is_no_speech_is_not_rated(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        quality.rate(name)


@given(st.sampled_from(AUDIO), st.floats(0, 100), st.floats(0, 100), st.floats(0, 2000))
def test_more_loss_or_delay_never_rates_better(codec: int, one: float, other: float, delay_ms: float) -> None:
    low, high = sorted((one, other))
    assert native.rating(codec, high, 1, delay_ms) <= native.rating(codec, low, 1, delay_ms) + 1e-9
    assert native.rating(codec, low, 1, delay_ms) <= native.rating(codec, low) + 1e-9
    assert 1 <= native.mos(native.rating(codec, high, 1, delay_ms)) <= 4.5


def test_the_facade_rates_a_call() -> None:
    good = quality.rate("PCMU")
    assert (good.mos_listening, good.mos_conversation, good.stand_in) == (
        pytest.approx(4.41, abs=0.01),
        None,
        False,
    )
    bad = quality.rate("pcmu", loss_percent=10, burst_ratio=1.5, one_way_delay_ms=300)
    assert bad.mos_conversation is not None
    assert bad.mos_conversation < bad.mos_listening < good.mos_listening
    assert bad.equipment_impairment == pytest.approx(95 * 10 / (10 / 1.5 + 25.1), rel=1e-6)
    assert bad.delay_impairment > 10


def test_an_unknown_codec_is_rated_with_a_stand_in() -> None:
    assert quality.rate("nobody-knows").stand_in


@pytest.mark.parametrize(
    "wrong", [{"loss_percent": -1}, {"loss_percent": 101}, {"burst_ratio": 0.5}, {"one_way_delay_ms": -1}]
)
def test_impossible_values_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        quality.rate("PCMU", **wrong)


def test_the_simple_formula_is_near_the_model_without_loss() -> None:
    assert native.mos_simple(20, 1, 0) == pytest.approx(4.4, abs=0.05)
    assert native.mos_simple(20, 1, 10) < 3.9

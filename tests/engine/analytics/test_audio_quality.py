"""How calls are heard."""

from __future__ import annotations

import pytest

from engine.analytics.audio_quality import LEGS_MAX, AudioQuality, mos_of
from engine.rtp.quality import rate
from engine.siprec.events import LegQuality
from engine.siprec.facts import ChannelFacts


def leg(mos: float | None, index: int = 0, loss: float = 0.0, packets: int = 100, jitter_ms: float | None = 5.0) -> LegQuality:
    return LegQuality(index=index, packets=packets, loss_percent=loss, jitter_ms=jitter_ms, mos=mos)


def test_mos_of_a_report_without_one_is_that_of_its_loss_and_codec() -> None:
    assert mos_of(leg(None, loss=10), "G722") == rate("G722", loss_percent=10).mos_listening
    assert mos_of(leg(None, loss=0), "") == rate("PCMU").mos_listening
    clear, bad = mos_of(leg(None), "PCMU"), mos_of(leg(None, loss=30), "PCMU")
    assert clear is not None and bad is not None and bad < 2.5 < 4 < clear


@pytest.mark.parametrize("told", [leg(0.0), leg(7.0), leg(None, loss=101), leg(None, loss=-1), leg(float("nan")), leg(None, loss=float("nan"))])
def test_what_cannot_be_is_no_quality(told: LegQuality) -> None:
    quality = AudioQuality()
    assert not quality.hear(told, None) and quality.mos is None and quality.document() == {}


def test_a_leg_that_gets_bad_is_told_once_until_it_is_good_again() -> None:
    quality = AudioQuality()
    told = [quality.hear(leg(mos), None) for mos in (4.0, 2.4, 2.0, 2.6, 2.4, 2.9, 1.5, 3.0, 2.4)]
    assert told == [False, True, False, False, False, False, False, False, True]


def test_legs_are_told_apart() -> None:
    quality = AudioQuality()
    assert quality.hear(leg(2.0, 0), None) and quality.hear(leg(2.0, 1), None)
    assert not quality.hear(leg(2.0, 1), None)


def test_the_calls_mos_is_that_of_its_worst_leg_over_all_packets() -> None:
    quality = AudioQuality()
    for told in (leg(4.0, 0, packets=100), leg(2.0, 0, packets=300), leg(4.4, 1)):
        quality.hear(told, ChannelFacts(index=told.index, codec="PCMU"))
    assert quality.mos == 2.5
    document = quality.document()
    assert document["mos"] == 2.5 and document["jitter_ms"] == 5.0
    assert [each["mos"] for each in document["legs"]] == [2.0, 4.4]


def test_only_what_changes_noticeably_is_news() -> None:
    quality = AudioQuality()
    news = []
    for mos in (4.2, 4.21, 4.15, 3.9, 3.95, 4.2):
        quality.hear(leg(mos), None)
        news.append(quality.is_news())
    assert news == [True, False, False, True, False, True]
    assert not AudioQuality().is_news()


def test_a_report_without_packets_says_nothing_and_legs_are_bounded() -> None:
    quality = AudioQuality()
    quality.hear(leg(2.0, packets=0), None)
    assert quality.legs == {}
    for index in range(100):
        quality.hear(leg(4.0, index), None)
    assert len(quality.legs) == LEGS_MAX

"""Who talked for how long, where nobody did, and who cut in."""

from __future__ import annotations

import math
import random

import pytest

from engine.analytics.agent_metrics import SPEAKERS_MAX, WAITING_MAX, TalkTimes, figures


def times(*utterances: tuple[float, float, str | None]) -> TalkTimes:
    talk = TalkTimes()
    for begin, end, speaker in utterances:
        talk.add(begin, end, speaker)
    return talk


def test_talk_ratio_is_the_agents_share() -> None:
    told = figures(times((0, 6, "a"), (6, 8, "c"), (8, 10, "a")).now(), frozenset("a"))
    assert (told.talk_ratio, told.talk_s, told.agent_talk_s) == (0.8, 10, 8)


def test_gaps_of_more_than_two_seconds_are_dead_air() -> None:
    assert times((0, 1, "a"), (3, 4, "c"), (6.5, 7, "a")).now().dead_air_s == 2.5


def test_dead_air_is_where_nobody_talks() -> None:
    assert times((0, 10, "a"), (1, 2, "c"), (11, 12, "c")).now().dead_air_s == 0


def test_what_is_paused_or_held_is_no_dead_air() -> None:
    assert times((0, 1, "a"), (1.5, 58, None), (59, 60, "c")).now().dead_air_s == 0


def test_utterances_may_come_late() -> None:
    orderly = times((0, 5, "a"), (1, 2, "c"), (6, 7, "c"), (9.5, 10, "a"))
    late = times((1, 2, "c"), (6, 7, "c"), (9.5, 10, "a"), (0, 5, "a"))
    assert orderly.now() == late.now()


def test_who_begins_while_another_goes_on_interrupts() -> None:
    talks = times((0, 5, "c"), (3, 6, "a"), (5.8, 8, "c"), (20, 22, "a"), (21, 25, "c")).now().talks
    assert (talks["a"].interruptions, talks["c"].interruptions) == (1, 1)


def test_a_short_overlap_is_none() -> None:
    talks = times((0, 5, "c"), (4.6, 6, "a"), (8, 12, "c"), (9, 9.4, "a")).now().talks
    assert talks["a"].interruptions == 0


def test_a_monologue_lasts_until_another_talks() -> None:
    talks = times((0, 5, "a"), (6, 20, "a"), (20, 21, "c"), (21, 30, "a")).now().talks
    assert (talks["a"].longest_s, talks["c"].longest_s) == (20, 1)


def test_overlapping_texts_of_one_voice_count_once() -> None:
    assert times((0, 4, "a"), (2, 6, "a")).now().talks["a"].seconds == 6


@pytest.mark.parametrize("begin_end", [(math.nan, 1), (0, math.inf), (-1, 1), (3, 3), (5, 4), (0, 1e9)])
def test_what_is_no_time_is_left_out(begin_end: tuple[float, float]) -> None:
    assert times((*begin_end, "a")).now().talks == {}


def test_figures_of_a_call_without_a_word() -> None:
    told = figures(TalkTimes().now(), frozenset("a"))
    assert (told.talk_ratio, told.silence_ratio, told.longest_monologue_s) == (0, 0, 0)


def test_memory_is_bounded_and_figures_are_those_of_all() -> None:
    talk = TalkTimes()
    for number in range(3000):
        talk.add(number * 4.0, number * 4.0 + 1.5, "a" if number % 2 else "c")
    assert len(talk._waiting) <= WAITING_MAX
    told = figures(talk.now(), frozenset("a"))
    assert told.talk_s == pytest.approx(4500) and told.dead_air_s == pytest.approx(2.5 * 2999)
    for number in range(100):
        talk.add(20_000.0 + number, 20_000.5 + number, f"speaker {number}")
    assert len(talk.now().talks) == SPEAKERS_MAX


def test_what_was_told_meanwhile_changes_nothing() -> None:
    chance = random.Random(3)
    asked, silent = TalkTimes(), TalkTimes()
    begin = 0.0
    for _ in range(400):
        begin += chance.random() * 3
        utterance = (max(0.0, begin - chance.random() * 4), begin + 0.1 + chance.random() * 4, chance.choice(["a", "c", "b", None]))
        asked.add(*utterance)
        asked.now()
        silent.add(*utterance)
    assert asked.now() == silent.now()


def test_one_who_turns_out_to_be_another() -> None:
    before = times(*((number * 10.0, number * 10.0 + 1, "x" if number < 20 else "a") for number in range(40)))
    before.rename("x", "a")
    after = times(*((number * 10.0, number * 10.0 + 1, "a") for number in range(40)))
    assert before.now().talks["a"].seconds == after.now().talks["a"].seconds == 40
    assert before.now().dead_air_s == after.now().dead_air_s
    assert set(before.now().talks) == {"a"}

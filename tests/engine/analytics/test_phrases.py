"""Phrases among words, beside a search for each of them."""

from __future__ import annotations

import random

from engine.analytics.phrases import WORDS_MAX, Match, Phrases


def test_phrases_are_found_wherever_they_stand() -> None:
    phrases = Phrases(["credit card", "card number", "credit", "the credit card number"])
    found, _ = phrases.find(["give", "me", "the", "credit", "card", "number", "please"])
    assert found == [Match(2, 3, 4), Match(0, 3, 5), Match(3, 2, 6), Match(1, 4, 6)]


def test_a_phrase_is_no_part_of_another_word() -> None:
    found, _ = Phrases(["hack", "record"]).find(["the", "hackney", "carriage", "recorded"])
    assert found == []


def test_a_phrase_goes_on_in_what_is_said_next() -> None:
    phrases = Phrases(["may be recorded"])
    found, state = phrases.find(["this", "call", "may"])
    assert found == [] and state
    found, state = phrases.find(["be", "recorded", "today"], state)
    assert found == [Match(0, -1, 2)] and state == 0
    found, _ = phrases.find(["be", "recorded"], phrases.find(["may", "not"])[1])
    assert found == []


def test_a_phrase_of_no_word_is_never_found() -> None:
    phrases = Phrases(["", "!!!", "ok"])
    assert phrases.find(["ok", ""])[0] == [Match(2, 0, 1)]


def test_of_a_long_phrase_the_first_words_count() -> None:
    words = [f"w{number}" for number in range(WORDS_MAX + 5)]
    assert Phrases([" ".join(words)]).find(words)[0] == [Match(0, 0, WORDS_MAX)]


def test_the_automaton_finds_what_a_search_for_each_phrase_finds() -> None:
    chance = random.Random(7)
    for _ in range(200):
        letters = "abc"
        texts = [" ".join(chance.choices(letters, k=chance.randint(1, 5))) for _ in range(chance.randint(1, 12))]
        words = chance.choices(letters + "x", k=chance.randint(0, 40))
        cut = chance.randint(0, len(words))
        phrases = Phrases(texts)
        first, state = phrases.find(words[:cut])
        second, _ = phrases.find(words[cut:], state)
        found = {*first, *(Match(match.phrase, match.begin + cut, match.end + cut) for match in second)}
        wanted = {
            Match(number, at, at + len(parts))
            for number, text in enumerate(texts)
            for parts in [text.split()]
            for at in range(len(words) - len(parts) + 1)
            if words[at : at + len(parts)] == parts
        }
        assert found == wanted
        assert len(first) + len(second) == len(wanted)

"""How somebody feels, by their words."""

from __future__ import annotations

import pytest

from engine.analytics.languages import LANGUAGES, language_of
from engine.analytics.languages.base import make
from engine.analytics.sentiment import RECENT, UNKNOWN, Mood, Sentiment, label_of, sentiment
from engine.analytics.tokens import tokens


def score(text: str, language: str = "en") -> float:
    return sentiment(tokens(text), language_of(language)).score


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("That is bad, really bad.", "negative"),
        ("bad,", "negative"),
        ("I am very satisfied, thank you so much!", "positive"),
        ("I'm not happy with this", "negative"),
        ("That's not bad at all", "positive"),
        ("No problem at all", "positive"),
        ("No, I love it", "positive"),
        ("I am fed up with it", "negative"),
        ("It was good, but the support is terrible", "negative"),
        ("The start was terrible, but now it is excellent, excellent!", "positive"),
        ("Good morning, what is your number?", "neutral"),
        ("It looks like Tuesday to me", "neutral"),
        ("It isn't working very well", "negative"),
        ("Could you spell that?", "neutral"),
    ],
)
def test_what_is_felt_in_english(text: str, label: str) -> None:
    assert sentiment(tokens(text), LANGUAGES["en"]).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Das ist wirklich schlecht!", "negative"),
        ("Das gefällt mir nicht.", "negative"),
        ("Vielen Dank, das ist super", "positive"),
        ("nicht schlecht", "positive"),
        ("Guten Tag, mein Name ist Müller", "neutral"),
        ("Das ist eine UNVERSCHÄMTHEIT", "negative"),
        ("Das ist doch scheiße", "negative"),
        ("Ich bin nicht zufrieden", "negative"),
    ],
)
def test_what_is_felt_in_german(text: str, label: str) -> None:
    assert sentiment(tokens(text), language_of("de-AT")).label == label


def test_words_before_make_it_stronger_and_weaker() -> None:
    assert score("slightly bad") > score("bad") > score("really bad") > score("absolutely terrible")
    assert score("very good") > score("good") > score("somewhat good") > 0


def test_a_strong_word_is_a_strong_negative_and_a_mild_one_is_not() -> None:
    assert score("that is terrible") < -0.5 < score("there is a problem") < 0


def test_a_negation_reaches_no_further_than_its_window() -> None:
    assert score("not here and over there it is good") > 0 > score("not so very good")


def test_all_figures_are_in_their_bounds() -> None:
    for text in ("terrible " * 500, "love " * 500, "good bad " * 300, "not " * 300, "very " * 300 + "good", "but " * 50):
        found = sentiment(tokens(text), LANGUAGES["en"])
        assert -1 <= found.score <= 1
        assert all(0 <= part <= 1 for part in (found.magnitude, found.subjectivity, found.confidence))
        assert found.label == label_of(found.score)


def test_mixed_feelings_are_strong_and_unsure() -> None:
    mixed, clear = (sentiment(tokens(text), LANGUAGES["en"]) for text in ("it is good and bad", "it is good and great"))
    assert abs(mixed.score) < 0.2 < mixed.magnitude
    assert mixed.confidence < clear.confidence


def test_nothing_is_said_of_a_language_that_is_not_known() -> None:
    assert language_of("fr-FR") is None
    assert sentiment(["terrible"], None) is UNKNOWN
    assert language_of("") is LANGUAGES["en"] and language_of("DE_de") is LANGUAGES["de"]


def test_languages_are_files() -> None:
    assert list(LANGUAGES) == ["de", "en"]
    for language in LANGUAGES.values():
        assert len([sign for sign in language.signs.values() if sign.weight]) >= 250
        assert all(tokens(word) == [word] for word in (*language.signs, *language.stop))


def test_a_word_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'good' is named twice"):
        make("xx", {0.5: "good", 0.7: "Good"}, {}, {}, {}, "", "")


def said(score: float) -> Sentiment:
    return Sentiment(label_of(score), score, abs(score), 0.5, 0.8, 1)


def test_a_mood_is_that_of_the_last_utterances() -> None:
    mood = Mood()
    assert mood.now() is UNKNOWN
    for _ in range(10):
        mood.add(said(-0.9))
    assert mood.now().label == "negative" and mood.now().signs == RECENT
    mood.add(said(0.9))
    assert -0.9 < mood.now().score < 0
    for _ in range(RECENT - 1):
        mood.add(said(0.9))
    assert mood.now().score == pytest.approx(0.9)


def test_moods_of_one_speaker_become_one() -> None:
    first, second = Mood(), Mood()
    for each in (-0.9, -0.9, -0.9, -0.9):
        first.add(said(each))
    second.add(said(0.9))
    second.take(first)
    whole = Mood()
    for each in (-0.9, -0.9, -0.9, -0.9, 0.9):
        whole.add(said(each))
    assert second.now() == whole.now()

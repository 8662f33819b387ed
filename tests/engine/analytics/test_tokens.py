"""Words of what was said."""

from __future__ import annotations

import pytest

from engine.analytics.tokens import tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("That is bad, really bad.", ["that", "is", "bad", "really", "bad"]),
        ("...", []),
        ("", []),
        ("I don't, can't and won't!", ["i", "do", "not", "can", "not", "and", "will", "not"]),
        ("Don\u2019t you?", ["do", "not", "you"]),
        ("the customer's bill; we're sure, I'm sure, they'll pay, he'd know, I've paid", ["the", "customer", "bill", "we", "are", "sure", "i", "am", "sure",
         "they", "will", "pay", "he", "know", "i", "have", "paid"]),
        ("five o'clock 'quoted'", ["five", "o'clock", "quoted"]),
        ("attorney-client snake_case a/b", ["attorney", "client", "snake", "case", "a", "b"]),
        ("STRASSE Straße ÄRGER", ["strasse", "strasse", "ärger"]),
        ("cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("密码 ok", ["密", "码", "ok"]),
        ("Пароль, ПАРОЛЬ", ["пароль", "пароль"]),
        ("4,500.00 €", ["4", "500", "00"]),
    ],
)
def test_words_are_folded_and_without_punctuation(text: str, words: list[str]) -> None:
    assert tokens(text) == words


def test_a_word_is_the_same_whatever_stands_around_it() -> None:
    for around in ("bad", "bad,", "(bad)", "“bad”", "BAD!", "bad…", "bad;"):
        assert tokens(f"so {around} it is") == ["so", "bad", "it", "is"]

"""What is known of a language: which of its words tell a feeling, turn it around, or make it stronger or weaker, and which say nothing by themselves."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.analytics.tokens import tokens


class Sign(msgspec.Struct, frozen=True):
    """What a word does. `weight` is its own feeling, -1 to 1; `behind` what it and the word before it tell together ("fed up", "good
    morning"). `factor` is for the feelings of the next words, `reach` the number of words that it turns around. A word of `contrast` puts what follows it above
    what came before."""

    weight: float = 0.0
    behind: Mapping[str, float] = {}
    factor: float = 1.0
    reach: int = 0
    contrast: bool = False


class Language(msgspec.Struct, frozen=True):
    """One language. `signs` are by word; `back` is how many words before it a negation turns around too; `stop` are words that are in everything said."""

    name: str
    signs: Mapping[str, Sign]
    stop: frozenset[str]
    back: int = 0


def _folded(word: str) -> str:
    return tokens(word)[0]


def make(
    name: str,
    feelings: Mapping[float, str],
    pairs: Mapping[str, float],
    factors: Mapping[float, str],
    negations: Mapping[int, str],
    contrasts: str,
    stop: str,
    back: int = 0,
) -> Language:
    """A language from its words: by weight, pairs of words with theirs, factors, and negations by their reach; words are apart by spaces. Raises ValueError for a word
    that is named twice."""
    signs: dict[str, Sign] = {}

    def put(word: str, **changes: float | bool) -> None:
        word = _folded(word)
        if word in signs:
            raise ValueError(f"{name}: {word!r} is named twice")
        signs[word] = Sign(**changes)  # type: ignore[arg-type]

    for weight, words in feelings.items():
        for word in words.split():
            put(word, weight=weight)
    for factor, words in factors.items():
        for word in words.split():
            put(word, factor=factor)
    for reach, words in negations.items():
        for word in words.split():
            put(word, reach=reach)
    for word in contrasts.split():
        put(word, contrast=True)
    for pair, weight in pairs.items():
        before, word = map(_folded, pair.split())
        old = signs.get(word, Sign())
        signs[word] = msgspec.structs.replace(old, behind={**old.behind, before: weight})
    return Language(name, signs, frozenset(_folded(word) for word in stop.split()), back)


__all__ = ["Language", "Sign", "make"]

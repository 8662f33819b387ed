"""How somebody feels, by the words they use: weights of words, turned around by negations, made stronger and weaker by the words before them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from engine.analytics.languages import Language, Sign

Label = Literal["positive", "negative", "neutral"]

LABEL_AT: Final = 0.2
NEGATED: Final = -0.7  # "not good" is less bad than "bad"
FACTOR_REACH: Final = 2  # words
BEFORE_CONTRAST, AFTER_CONTRAST = 0.6, 1.2
RECENT: Final = 5  # utterances
FADING: Final = 0.7  # what an utterance weighs beside the one after it


class Sentiment(msgspec.Struct, frozen=True):
    """`score` is -1 to 1, `magnitude` how much feeling there is whatever its sign, `subjectivity` how much of what was said tells feelings, `confidence` how
    sure the label is; those are 0 to 1. `signs` counts the words of feeling."""

    label: Label = "neutral"
    score: float = 0.0
    magnitude: float = 0.0
    subjectivity: float = 0.0
    confidence: float = 0.0
    signs: int = 0


UNKNOWN: Final = Sentiment()


def label_of(score: float) -> Label:
    """The label of a score."""
    return "positive" if score >= LABEL_AT else "negative" if score <= -LABEL_AT else "neutral"


def _values(words: Sequence[str], language: Language) -> list[float]:
    """The feelings that were told, in their order."""
    values: list[float] = []
    places: list[int] = []
    factor, factor_until = 1.0, -1
    negated_until = -1
    weight_of_all = 1.0
    signs = language.signs
    for place, word in enumerate(words):
        sign: Sign | None = signs.get(word)
        if sign is None:
            continue
        if sign.contrast:
            values = [value * BEFORE_CONTRAST for value in values]
            weight_of_all, negated_until = AFTER_CONTRAST, -1
        elif sign.factor != 1.0:
            factor = sign.factor if place > factor_until else factor * sign.factor
            factor_until = place + FACTOR_REACH
        elif sign.reach:
            negated_until = place + sign.reach
            if places and place - places[-1] <= language.back and values:
                values[-1] *= NEGATED
        else:
            value = sign.weight
            if place and words[place - 1] in sign.behind:
                value = sign.behind[words[place - 1]]
                if places and places[-1] == place - 1:
                    del places[-1], values[-1]
            if not value:
                continue
            if place <= factor_until:
                value *= factor
            if place <= negated_until:
                value *= NEGATED
                negated_until = -1
            values.append(value * weight_of_all)
            places.append(place)
    return values


def sentiment(words: Sequence[str], language: Language | None) -> Sentiment:
    """The sentiment of an utterance, by its words (`tokens`); UNKNOWN for a language that we do not have."""
    if language is None or not words:
        return UNKNOWN
    if language.signs.keys().isdisjoint(words):
        return Sentiment(confidence=len(words) / (len(words) + 3))
    values = _values(words, language)
    if not values:
        return Sentiment(confidence=len(words) / (len(words) + 3))
    total, strength = math.fsum(values), math.fsum(map(abs, values))
    score = math.tanh(total)
    saying = sum(word not in language.stop for word in words)
    agreement = abs(total) / strength if strength else 0.0
    return Sentiment(
        label_of(score), score, math.tanh(strength), min(1.0, len(values) / max(1, saying)), (0.5 + agreement / 2) * (1 - 0.5 ** (len(values) + 1)), len(values)
    )  # fmt: skip


class Mood:
    """The last utterances of one speaker, and what they come to; the newest weigh most."""

    def __init__(self) -> None:
        self._recent: deque[Sentiment] = deque(maxlen=RECENT)
        self._now = UNKNOWN

    def add(self, said: Sentiment) -> None:
        """One more utterance."""
        self._recent.append(said)
        self._now = self._mean()

    def take(self, other: Mood) -> None:
        """What was said by somebody who turned out to be the same speaker, before."""
        self._recent = deque([*other._recent, *self._recent], maxlen=RECENT)
        self._now = self._mean()

    def now(self) -> Sentiment:
        """The mean of the window; what tells no feeling thins the score, and does not turn it."""
        return self._now

    def _mean(self) -> Sentiment:
        whole = score = magnitude = subjectivity = confidence = 0.0
        signs = 0
        weight = 1.0
        for said in reversed(self._recent):
            whole += weight
            score += weight * said.score
            magnitude += weight * said.magnitude
            subjectivity += weight * said.subjectivity
            confidence += weight * said.confidence
            signs += said.signs
            weight *= FADING
        if not whole:
            return UNKNOWN
        score /= whole
        return Sentiment(label_of(score), score, magnitude / whole, subjectivity / whole, confidence / whole, signs)


__all__ = ["LABEL_AT", "RECENT", "UNKNOWN", "Label", "Mood", "Sentiment", "label_of", "sentiment"]

"""Finds phrases among words: an automaton over words instead of letters (Aho and Corasick, Communications of the ACM 18, 1975).

What it costs grows with the words that are looked at and with what is found, not with the number of phrases.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from engine.analytics.tokens import tokens

WORDS_MAX: Final = 16  # of a phrase


class Match(NamedTuple):
    """Which phrase, and its words: `begin` to `end` without the last; `begin` is below 0 where it began in what was said before."""

    phrase: int
    begin: int
    end: int


class Phrases:
    """Phrases by their number in what it is made of. Those without a word in them are never found; of long ones the first WORDS_MAX words count."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._ends: list[tuple[tuple[int, int], ...]] = [()]
        for number, text in enumerate(texts):
            words = tokens(text)[:WORDS_MAX]
            if words:
                self._add(number, words)
        self._words = frozenset(word for state in self._next for word in state)
        self._fallback = self._fallbacks()

    def _add(self, number: int, words: Sequence[str]) -> None:
        state = 0
        for word in words:
            state = self._next[state].setdefault(word, len(self._next))
            if state == len(self._next):
                self._next.append({})
                self._ends.append(())
        self._ends[state] += ((number, len(words)),)

    def _fallbacks(self) -> list[int]:
        """For each state, that of the longest other beginning of a phrase that its words end with."""
        fallback = [0] * len(self._next)
        waiting = deque(self._next[0].values())
        while waiting:
            state = waiting.popleft()
            for word, after in self._next[state].items():
                shorter = fallback[state]
                while shorter and word not in self._next[shorter]:
                    shorter = fallback[shorter]
                fallback[after] = self._next[shorter].get(word, 0)
                self._ends[after] += self._ends[fallback[after]]
                waiting.append(after)
        return fallback

    def find(self, words: Sequence[str], state: int = 0) -> tuple[list[Match], int]:
        """What is found, in the order in which it ends, and the state to go on with when more is said; 0 is the beginning."""
        if self._words.isdisjoint(words):
            return [], (state if not words else 0)
        found = []
        for place, word in enumerate(words):
            if word not in self._words:
                state = 0
                continue
            while state and word not in self._next[state]:
                state = self._fallback[state]
            state = self._next[state].get(word, 0)
            for number, length in self._ends[state]:
                found.append(Match(number, place + 1 - length, place + 1))
        return found, state


__all__ = ["WORDS_MAX", "Match", "Phrases"]

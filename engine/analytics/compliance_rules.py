"""What has to be said in a call, and what must not be: a rule's `contains` by the end of the call, each of its `missing` never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from engine.analytics.phrases import Phrases
from engine.config.document import ComplianceRule


class Violation(msgspec.Struct, frozen=True):
    """A rule that was broken: `said` what must not be, or left `unsaid` what must be. `at` is seconds since 1970."""

    rule: ComplianceRule
    kind: Literal["said", "unsaid"]
    at: float

    def document(self, at: str) -> dict[str, Any]:
        """As it goes out; `at` is its time as text."""
        return {"rule_id": self.rule.id, "severity": self.rule.severity, "description": self.rule.description, "timestamp": at}


class Rules:
    """All rules of a configuration."""

    def __init__(self, rules: Sequence[ComplianceRule]) -> None:
        self.rules = tuple(rules)
        self._phrases: list[tuple[int, bool]] = []  # which rule, and whether it forbids that
        texts: list[str] = []
        self.wanted: list[frozenset[int]] = []  # by rule: phrases that have to be said
        for number, rule in enumerate(self.rules):
            begin = len(texts)
            texts += rule.contains
            self.wanted.append(frozenset(range(begin, len(texts))))
            texts += rule.missing
            self._phrases += [(number, False)] * len(rule.contains) + [(number, True)] * len(rule.missing)
        self._automaton = Phrases(texts)

    def said(self, words: Sequence[str], state: int) -> tuple[set[int], set[int], int]:
        """Phrases with what had to be said, rules that were broken by what was said, and the state for what the same speaker says next."""
        matches, state = self._automaton.find(words, state)
        wanted, broken = set(), set()
        for match in matches:
            rule, forbids = self._phrases[match.phrase]
            if forbids:
                broken.add(rule)
            else:
                wanted.add(match.phrase)
        return wanted, broken, state


class Adherence:
    """How one call keeps to the rules. Each rule is told once as broken by what was said, and once as unfulfilled at the end."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._said: set[int] = set()
        self.violations: list[Violation] = []
        self._heard = False

    def hear(self, words: Sequence[str], state: int, now: float) -> tuple[list[Violation], int]:
        """What an utterance breaks, and the state for what the same speaker says next."""
        self._heard = self._heard or bool(words)
        wanted, broken, state = self._rules.said(words, state)
        self._said |= wanted
        known = {violation.rule.id for violation in self.violations}
        fresh = [Violation(self._rules.rules[rule], "said", now) for rule in sorted(broken) if self._rules.rules[rule].id not in known]
        self.violations += fresh
        return fresh, state

    def end(self, now: float) -> list[Violation]:
        """What was not said by the end; nothing where nothing at all was heard, since nobody knows then."""
        if not self._heard:
            return []
        fresh = [
            Violation(rule, "unsaid", now) for rule, wanted in zip(self._rules.rules, self._rules.wanted, strict=True) if not wanted <= self._said
        ]
        self.violations += fresh
        return fresh


__all__ = ["Adherence", "Rules", "Violation"]

"""What calls are about: words and phrases that are listened for, by category, and the words that are said most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from engine.analytics.phrases import Match, Phrases
from engine.config.document import Keyword as CustomKeyword

Severity = Literal["low", "medium", "high", "critical"]

# Category, severity, and what is said; the first of a group is its name.
_BUILT_IN: Final[tuple[tuple[str, Severity, tuple[str, ...]], ...]] = (
    ("financial", "high", ("credit card", "credit cards", "credit card number", "Kreditkarte", "Kreditkartennummer")),
    ("financial", "high", ("debit card", "debit cards")),
    ("financial", "critical", ("SSN", "SSNs", "S S N", "social security number", "social security", "Sozialversicherungsnummer")),
    ("financial", "high", ("bank account", "bank accounts", "Bankkonto")),
    ("financial", "high", ("account number", "account numbers", "Kontonummer", "IBAN")),
    ("financial", "high", ("routing number", "sort code", "Bankleitzahl")),
    ("healthcare", "high", ("HIPAA", "H I P A A")),
    ("healthcare", "high", ("PHI", "P H I", "protected health information")),
    ("healthcare", "high", ("medical record", "medical records", "medical history", "Krankenakte", "Patientenakte")),
    ("healthcare", "medium", ("patient ID", "patient IDs", "patient number", "patient identifier", "Patientennummer")),
    ("legal", "medium", ("confidential", "confidentially", "confidentiality", "vertraulich")),
    ("legal", "high", ("attorney-client", "attorney client privilege", "Anwaltsgeheimnis")),
    ("legal", "high", ("litigation", "lawsuit", "lawsuits", "Rechtsstreit")),
    ("security", "high", ("password", "passwords", "passcode", "Passwort", "Kennwort")),
    ("security", "high", ("hack", "hacks", "hacked", "hacker", "hackers", "hacking", "gehackt")),
    ("security", "critical", ("breach", "breaches", "breached", "data breach", "Datenleck")),
    ("security", "critical", ("malware", "ransomware", "Schadsoftware")),
    ("security", "high", ("phishing", "phished", "phishing email")),
)
FOUND_MAX: Final = 20  # of one utterance
WORDS_MAX, LEADERS_MAX, LETTERS_MIN = 256, 10, 3


class Keyword(msgspec.Struct, frozen=True):
    """Something that is listened for."""

    text: str
    category: str
    severity: Severity


class Said(msgspec.Struct, frozen=True):
    """A keyword that was said: words `begin` to `end` of the utterance, without the last."""

    keyword: Keyword
    begin: int
    end: int


class Keywords:
    """All keywords of a configuration."""

    def __init__(self, custom: Mapping[str, Sequence[CustomKeyword]]) -> None:
        phrases: list[str] = []
        self._of_phrase: list[Keyword] = []
        for category, severity, texts in _BUILT_IN:
            phrases += texts
            self._of_phrase += [Keyword(texts[0].lower() if not texts[0].isupper() else texts[0], category, severity)] * len(texts)
        for category, keywords in custom.items():
            phrases += [keyword.pattern for keyword in keywords]
            self._of_phrase += [Keyword(keyword.pattern, category, keyword.severity) for keyword in keywords]
        self._phrases = Phrases(phrases)

    def said(self, words: Sequence[str], state: int = 0) -> tuple[list[Said], int]:
        """What was said of them in an utterance, in order, and the state for what the same speaker says next; FOUND_MAX at most."""
        matches, state = self._phrases.find(words, state)
        found: dict[str, Said] = {}
        for match in matches:
            self._keep(found, match)
        return sorted(found.values(), key=lambda said: (said.begin, said.end))[:FOUND_MAX], state

    def _keep(self, found: dict[str, Said], match: Match) -> None:
        """One of each keyword: the first, as long as it was said."""
        keyword = self._of_phrase[match.phrase]
        before = found.get(keyword.text)
        if before is None or (match.begin <= before.begin and match.end > before.end):
            found[keyword.text] = Said(keyword, match.begin, match.end)


class WordCounts:
    """Which words are said most, by their count and then by when they were first said. Remembers WORDS_MAX words: where
    more are said, those that were said least go."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._leaders: list[str] = []

    def add(self, words: Sequence[str], stop: frozenset[str]) -> None:
        """The words of an utterance: those of LETTERS_MIN letters and more that are not in everything said."""
        counts, leaders = self._counts, self._leaders
        for word in words:
            if len(word) < LETTERS_MIN or word in stop or not word.isalpha():
                continue
            count = counts[word] = counts.get(word, 0) + 1
            if word in leaders:
                continue
            if len(leaders) < LEADERS_MAX:
                leaders.append(word)
            else:
                least = min(reversed(leaders), key=counts.__getitem__)
                if counts[least] < count:
                    leaders[leaders.index(least)] = word
            if len(counts) > WORDS_MAX:
                self._forget()

    def _forget(self) -> None:
        counts = self._counts
        kept = {*sorted(counts, key=lambda word: -counts[word])[: WORDS_MAX // 2], *self._leaders}
        for word in [word for word in counts if word not in kept]:
            del counts[word]

    def leaders(self) -> list[str]:
        """The words that are said most, the most frequent first."""
        return sorted(self._leaders, key=lambda word: -self._counts[word])


__all__ = ["FOUND_MAX", "LEADERS_MAX", "Keyword", "Keywords", "Said", "Severity", "WordCounts"]

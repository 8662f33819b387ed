"""Digits in a text, as they are written and as they are spoken: "4111 1111", "four one one one", "double four", "forty-one eleven".

`runs` puts those together that may be one number: between two there is little punctuation and no word but a filler. Dates, times, addresses of
networks and amounts belong to none. All of it takes time that grows with the text and nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple

_WORD: Final = re.compile(r"\d+|[^\W\d_]+")
_GAP: Final = re.compile(r"[\s\-\u2010-\u2015.,/()\u2026+?!]{0,6}")
_FILLERS: Final = frozenset(
    ["ah", "and", "area", "code", "comma", "dash", "dot", "eh", "er", "erm", "figure", "figures", "hm", "hmm", "hyphen", "mm", "ok", "okay", "parentheses", "period", "plus", "right", "slash", "space", "star", "stop", "then", "uh", "uhm", "um", "yeah", "yep", "yes", "y", "e", "et", "und", "ja", "si", "oui"]
)
FILLERS_MAX: Final = 4
PLUS: Final = frozenset({"plus"})
UNITS: Final = {
    "": "zero one two three four five six seven eight nine", "de": "null eins zwei drei vier fünf sechs sieben acht neun",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve", "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "it": "zero uno due tre quattro cinque sei sette otto nove", "nl": "nul een twee drie vier vijf zes zeven acht negen",
    "pt": "zero um dois três quatro cinco seis sete oito nove",
}  # fmt: skip
_MORE_UNITS: Final = {
    "": {"oh": "0", "o": "0", "nought": "0", "naught": "0", "nil": "0", "niner": "9"}, "de": {"zwo": "2", "ein": "1"}, "fr": {"zero": "0", "une": "1"},
    "nl": {"één": "1"}, "pt": {"tres": "3", "meia": "6"},
}  # fmt: skip
_TEENS: Final = {
    word: str(number)
    for number, word in enumerate(["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"], 10)
}
_TENS: Final = {word: str(number) for number, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)} | {"fourty": "4"}
_TIMES: Final = {
    "double": 2, "triple": 3, "treble": 3, "quadruple": 4, "doppel": 2, "doppelt": 2, "doble": 2, "dobles": 2, "doppio": 2, "dubbel": 2, "duplo": 2,
}  # fmt: skip
_MANY: Final = {"hundred": "00", "thousand": "000"}
# What looks like a number and is none of a person: dates, times, IPv4 addresses, amounts.
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_OTHERS: Final = re.compile(
    rf"(?<![0-9])(?<![0-9][-./,:])(?:"
    rf"{_OCTET}(?:\.{_OCTET}){{3}}(?![.]?[0-9])"
    rf"|(?:19|20)[0-9]{{2}}([-./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])(?![-./]?[0-9])"
    rf"|(?:0?[1-9]|[12][0-9]|3[01])([-./])(?:0?[1-9]|[12][0-9]|3[01])\2(?:(?:19|20)[0-9]{{2}}|[0-9]{{2}})(?![-./]?[0-9])"
    rf"|[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{{1,9}})?)?(?![:0-9])"
    rf"|[1-9][0-9]{{0,2}}(?:,[0-9]{{3}}){{1,3}}(?:\.[0-9]{{1,2}})?(?![,.]?[0-9])"
    rf")"
)


class Digits(NamedTuple):
    """Some digits at one place of a text. `bare` is false where letters stand right before them, as in "A12"."""

    digits: str
    start: int
    end: int
    spoken: bool
    bare: bool


class Run(NamedTuple):
    """Digits that may be one number. `gaps[i]` is what stands between i and i + 1, fillers left out; `plus`: a plus stands before it."""

    parts: tuple[Digits, ...]
    gaps: tuple[str, ...]
    plus: bool

    @property
    def digits(self) -> str:
        """All of them."""
        return "".join(part.digits for part in self.parts)

    @property
    def start(self) -> int:
        """Where it begins in the text."""
        return self.parts[0].start

    @property
    def end(self) -> int:
        """Behind its last digit."""
        return self.parts[-1].end

    @property
    def is_spoken(self) -> bool:
        """Whether it was told in words, or digit by digit."""
        return any(part.spoken for part in self.parts) or (len(self.parts) > 4 and all(len(part.digits) == 1 for part in self.parts))


def _words_of(language: str) -> dict[str, str]:
    short = language[:2].lower()
    known = short if short in UNITS else ""
    words = {word: str(digit) for digit, word in enumerate(UNITS[known].split())} | _MORE_UNITS.get(known, {})
    if not known:
        words |= _TEENS | {word: f"{ten}0" for word, ten in _TENS.items()}
    return words


_TABLES: Final = {language: _words_of(language) for language in UNITS}


def _table(language: str) -> dict[str, str]:
    return _TABLES.get(language[:2].lower(), _TABLES[""])


def _plain(digits: str) -> str:
    """Decimal digits of any script as those of ASCII."""
    return digits if digits.isascii() else "".join(str(unicodedata.decimal(each)) for each in digits)


class _Reader:
    """One pass over a text: makes digits of words, and runs of digits."""

    def __init__(self, text: str, language: str) -> None:
        self.text, self.words = text, _table(language)
        self._others = [found.span() for found in _OTHERS.finditer(text)]
        self._other = 0
        self._parts: list[Digits] = []
        self._gaps: list[str] = []
        self._plus = False
        self._next_plus = False
        self._gap = ""
        self._fillers = 0
        self._end = 0  # behind the last word or digits that were looked at
        self._times: tuple[int, int] | None = None  # "double": how often, and where it stands

    def runs(self) -> Iterator[Run]:
        begins = self.words.keys() | _TIMES.keys() | PLUS
        for found in _WORD.finditer(self.text):
            start, end = found.span()
            if not self._parts and self._times is None and not found[0][0].isdecimal() and found[0].lower() not in begins:
                self._end, self._gap, self._next_plus, self._fillers = end, "", False, 0  # most words are no digits
                continue
            between = self.text[self._end : start]
            broken = self._is_other(start) or not _GAP.fullmatch(between)
            if broken or "+" in between:
                yield from self._finished()
                self._next_plus = between.endswith(("+", "+ ", "+("))
            self._gap += between
            self._end = end
            word = found[0]
            if self._is_other(start):
                yield from self._finished()
            elif word[0].isdecimal():
                yield from self._written(word, start, end)
            else:
                yield from self._said(word.lower(), start, end)
        yield from self._finished()

    def _is_other(self, at: int) -> bool:
        while self._other < len(self._others) and self._others[self._other][1] <= at:
            self._other += 1
        return self._other < len(self._others) and self._others[self._other][0] <= at

    def _written(self, word: str, start: int, end: int) -> Iterator[Run]:
        before = self.text[start - 1 : start]
        if self.text[end : end + 1].isalpha() or self.text[end : end + 1] == "_" or before == "_":
            yield from self._finished()  # 16GB, 3rd, part of a hash
            return
        bare = not before.isalpha()
        if not bare:
            yield from self._finished()
        self._add(Digits(self._repeated(_plain(word)), self._start(start), end, self._times is not None, bare))

    def _said(self, word: str, start: int, end: int) -> Iterator[Run]:
        glued = self.text[start - 1 : start].isdecimal() or self.text[end : end + 1].isdecimal() or self.text[end : end + 1] in ("'", "\u2019")
        digits = None if glued else self.words.get(word)
        if digits is not None:
            self._spoken(digits, start, end)
        elif word in _MANY and self._parts and self._parts[-1].spoken and len(self._parts[-1].digits) < 3:
            last = self._parts[-1]
            self._parts[-1] = last._replace(digits=last.digits + _MANY[word], end=end)
            self._gap = ""
        elif word in _TIMES and not glued:
            self._times = (_TIMES[word], start)
        elif word in _FILLERS and not glued and self._fillers < FILLERS_MAX:
            if word in PLUS:
                yield from self._finished()
                self._next_plus = True
            self._fillers += 1
        else:
            yield from self._finished()

    def _spoken(self, digits: str, start: int, end: int) -> None:
        last = self._parts[-1] if self._parts else None
        if last and last.spoken and self._times is None and len(digits) == 1 and digits != "0" and self._joins(last):
            self._parts[-1] = last._replace(digits=last.digits[0] + digits, end=end)  # forty + one
            self._gap = ""
            return
        self._add(Digits(self._repeated(digits), self._start(start), end, True, True))

    def _joins(self, last: Digits) -> bool:
        """Whether a unit belongs to the tens right before it."""
        return not self._fillers and self._gap in (" ", "-") and self.text[last.start : last.end].lower() in _TENS

    def _repeated(self, digits: str) -> str:
        return digits[0] * self._times[0] + digits[1:] if self._times else digits

    def _start(self, start: int) -> int:
        return self._times[1] if self._times else start

    def _add(self, digits: Digits) -> None:
        if self._parts:
            self._gaps.append(self._gap)
        else:
            self._plus = self._next_plus
        self._parts.append(digits)
        self._next_plus, self._gap, self._fillers, self._times = False, "", 0, None

    def _finished(self) -> Iterator[Run]:
        if self._parts:
            yield Run(tuple(self._parts), tuple(self._gaps), self._plus)
        self._parts, self._gaps, self._gap, self._fillers, self._times, self._plus = [], [], "", 0, None, False
        self._next_plus = False


def runs(text: str, language: str = "") -> Iterator[Run]:
    """The numbers of a text, in order. `language` (BCP 47) says whose words for digits are meant; English ones where it is not known."""
    return _Reader(text, language).runs()


def count(text: str, language: str = "") -> int:
    """About how many digits a text has, never fewer than there are in its longest run: what a text without numbers is told by, at a fraction of the cost."""
    table, found = _table(language), 0
    for word in _WORD.findall(text.lower()):
        if word in table:
            found += 2
        elif word in _TIMES or word in _MANY:
            found += 4
        elif word[0].isdecimal():
            found += len(word)
    return found


def is_open(text: str, run: Run) -> bool:
    """Whether a text ends with this run, so that what is said next may belong to it."""
    rest = text[run.end :]
    words = _WORD.findall(rest)
    return len(words) <= FILLERS_MAX and all(word.lower() in _FILLERS or word.lower() in _TIMES for word in words)


__all__ = ["Digits", "Run", "count", "is_open", "runs"]

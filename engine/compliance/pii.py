"""Personal data in texts: card numbers, social security numbers, telephone numbers, addresses of mail. Found, and made unreadable.

Written and spoken digits alike (`spoken.py`). What is found is told by place and type: a `Finding` never holds the text. A card is told by its
issuer's range (ISO/IEC 7812-1) and its check digit (Luhn); numbers that only look like one of the others need a word beside them that says so.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from engine.compliance.spoken import Digits, Run, count, is_open, runs

Kind: TypeAlias = Literal["ssn", "credit_card", "phone", "email"]
Found: TypeAlias = Literal["ssn", "credit_card", "card_code", "phone", "email", "digits"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
LAST: Final = 4  # digits that may stay readable
RUN_MIN: Final = 3  # digits of anything that is looked for
CARD_MIN, CARD_MAX = 13, 19
TRAILING_MAX: Final = 8  # digits right behind a card number: when it expires, its verification value
CONTEXT_MIN: Final = 40  # characters before a number that are looked at, whatever is configured

# First and last prefix, and lengths. Ranges as issuers publish them.
_ISSUERS: Final[tuple[tuple[str, str, tuple[int, ...]], ...]] = (
    ("2200", "2204", (16, 17, 18, 19)), ("2221", "2720", (16,)), ("300", "305", (14, 16)), ("3095", "3095", (14, 16)), ("34", "34", (15,)),
    ("3528", "3589", (16, 17, 18, 19)), ("36", "36", (14, 16)), ("37", "37", (15,)), ("38", "39", (14, 16)), ("4", "4", (13, 16, 19)),
    ("5018", "5018", (13, 14, 15, 16, 17, 18, 19)), ("5020", "5020", (13, 14, 15, 16, 17, 18, 19)), ("5038", "5038", (13, 14, 15, 16, 17, 18, 19)),
    ("508", "508", (16,)), ("51", "55", (16,)), ("56", "58", (13, 14, 15, 16, 17, 18, 19)), ("60", "60", (16, 17, 18, 19)),
    ("62", "62", (16, 17, 18, 19)), ("6304", "6304", (16, 17, 18, 19)), ("637", "639", (16,)), ("644", "649", (16, 17, 18, 19)), ("65", "65", (16, 17, 18, 19)),
    ("67", "67", (13, 14, 15, 16, 17, 18, 19)), ("81", "82", (16, 17, 18, 19)), ("9792", "9792", (16,)),
)  # fmt: skip
_LOWS: Final = [low.ljust(6, "0") for low, _, _ in _ISSUERS]
_HIGHS: Final = [high.ljust(6, "9") for _, high, _ in _ISSUERS]
_GROUPS: Final = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 4, 4, 3), (6, 10), (6, 13), (4, 4, 4, 3)}

_CARD_WORDS: Final = re.compile(r"\b(?:card|visa|master ?card|amex|american express|maestro|discover|credit|debit|kreditkarte|karte|carte|tarjeta|carta)\b", re.I)
_CODE_WORDS: Final = re.compile(
    r"\b(?:cvv2?|cvc2?|csc|cid|c ?v ?[vc]|security code|verification (?:code|value|number)|card code|pr[uü]fnummer|cryptogramme)\b", re.I
)
_SSN_WORDS: Final = re.compile(r"\b(?:ssn|social(?: security)?|security number|s s n)\b", re.I)
_PHONE_WORDS: Final = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell(?:phone)?|fax|call(?:ed|ing)?|call ?back|reach|dial|whatsapp|text me|handy|telefon|telefono|teléfono|téléphone|rufnummer"
    r"|anrufen|ring|landline|extension)\b", re.I,
)  # fmt: skip
_OTHER_WORDS: Final = re.compile(
    r"\b(?:order|invoice|ticket|case|reference|ref|account|tracking|serial|booking|confirmation|policy|part|item|model|version|article|sku|isbn|po|rechnung|bestellung"
    r"|auftrag|commande|facture|pedido|factura)\b", re.I,
)  # fmt: skip
_WORDS: Final = re.compile(r"[^\W_]+")
# One word at least of each of the first four above.
_ASKING: Final = frozenset(
    ["card", "visa", "master", "mastercard", "amex", "american", "maestro", "discover", "credit", "debit", "kreditkarte", "karte", "carte", "tarjeta", "carta", "cvv", "cvv2", "cvc", "cvc2", "csc", "cid", "v", "security", "verification", "prüfnummer", "prufnummer", "cryptogramme", "ssn", "social", "s", "phone", "telephone", "tel", "mobile", "cell", "cellphone", "fax", "call", "called", "calling", "callback", "reach", "dial", "whatsapp", "text", "handy", "telefon", "telefono", "teléfono", "téléphone", "rufnummer", "anrufen", "ring", "landline", "extension", "c"]
)
_LOCAL_MAX, _DOMAIN_MAX = 64, 255
_LOCAL: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]")
_DOMAIN: Final = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_SPOKEN_MAIL: Final = re.compile(
    r"\b[\w-]{1,64}(?: (?:dot|underscore|dash|hyphen|punkt|point|punto) [\w-]{1,64}){0,3} (?:at|arroba|arobase) (?:[\w-]{1,63} (?:dot|punkt|point|punto) ){1,4}[a-z]{2,12}\b", re.I
)  # fmt: skip


class Finding(msgspec.Struct, frozen=True, order=True):
    """Something of a text that is somebody's: from `start` up to `end`, in characters. `confidence` is from 0 to 1. "card_code" is what goes with a card,
    "digits" what may yet become a number."""

    start: int
    end: int
    type: Found
    confidence: float


def luhn(digits: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1 annex B)."""
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(_DOUBLED[int(each)] for each in even)) % 10 == 0


_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def card_lengths(digits: str) -> tuple[int, ...]:
    """How long a card number is that begins with these six digits; none where no issuer has them."""
    prefix = digits[:6].ljust(6, "0")
    at = bisect_right(_LOWS, prefix) - 1
    return _ISSUERS[at][2] if at >= 0 and prefix <= _HIGHS[at] else ()


def may_become_card(digits: str) -> bool:
    """Whether some issuer's numbers begin with these digits."""
    low, high = digits[:6].ljust(6, "0"), digits[:6].ljust(6, "9")
    return len(digits) < CARD_MAX and any(first <= high and low <= last for first, last in zip(_LOWS, _HIGHS, strict=True))


def is_ssn(digits: str) -> bool:
    """Whether the Social Security Administration may have given it: no area 000, 666 or 9xx, no group 00, no serial 0000."""
    return len(digits) == 9 and digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def is_nanp(digits: str) -> bool:
    """Whether it is a number of the North American plan, with or without its 1."""
    ten = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
    return len(ten) == 10 and ten[0] in "23456789" and ten[3] in "23456789" and ten[1:3] != "11" and ten[4:6] != "11"


class Finder:
    """Looks for these types of personal data. `context_length` is in characters: words so far before a number tell what it is."""

    def __init__(self, types: Iterable[str] = ("ssn", "credit_card"), *, context_length: int = 20) -> None:
        """Raises ValueError for a type that is none."""
        self.types = frozenset(types)
        if strange := sorted(self.types - set(KINDS)):
            raise ValueError(f"no such type of personal data: {', '.join(strange)}; there are {', '.join(KINDS)}")
        self._context = max(context_length, CONTEXT_MIN)

    def find(self, text: str, language: str = "") -> list[Finding]:
        """What is in a text, in order, none within another. `language` is whose words for digits are meant. Time grows with the text alone."""
        return self.look(text, language)[0]

    def look(self, text: str, language: str = "", least: int = RUN_MIN) -> tuple[list[Finding], Run | None]:
        """The same, and the digits that the text ends with, at least so many, which what is said next may go on."""
        found: list[Finding] = []
        last = None
        if count(text, language) >= least:
            for last in runs(text, language):
                if len(last.digits) >= RUN_MIN and self.types - {"email"}:
                    found += self._in_run(text, last)
        if "email" in self.types:
            found += _mails(text)
        return _apart(found), last if last is not None and len(last.digits) >= least and is_open(text, last) else None

    def asks(self, text: str) -> bool:
        """Whether somebody speaks of a number that is looked for, so that digits come next."""
        if _ASKING.isdisjoint(_WORDS.findall(text.lower())):
            return False
        words = [("credit_card", _CARD_WORDS), ("credit_card", _CODE_WORDS), ("ssn", _SSN_WORDS), ("phone", _PHONE_WORDS)]
        return any(kind in self.types and pattern.search(text) for kind, pattern in words)

    def may_become(self, run: Run, *, asked: bool) -> bool:
        """Whether digits at the end of a text look like the beginning of something that is looked for."""
        digits = run.digits
        if asked:
            return len(digits) >= 3
        if "credit_card" in self.types and len(digits) >= 4 and may_become_card(digits):
            return run.is_spoken or len(run.parts) > 1 or len(digits) > 4 or (digits[0] in "456" and not digits.endswith("00"))
        return len(digits) >= 5 and run.is_spoken and bool(self.types & {"ssn", "phone"})

    # ---- numbers ----

    def _in_run(self, text: str, run: Run) -> Iterator[Finding]:
        before = text[max(0, run.start - self._context) : run.start]
        taken = 0
        if "credit_card" in self.types:
            cards = list(_cards(run, before))
            yield from cards
            taken = len(cards)
            if not cards and 3 <= len(run.digits) <= 4 and _CODE_WORDS.search(before):
                yield Finding(run.start, run.end, "card_code", 0.9)
                return
        if taken or not run.parts[0].bare:
            return
        other = bool(_OTHER_WORDS.search(before))
        if "ssn" in self.types:
            numbers = list(_ssns(run, before, other))
            yield from numbers
            taken = len(numbers)
        if "phone" in self.types and not taken:
            for finding in _phones(run, before, other):
                opened = finding.start
                while opened and text[opened - 1] in "(+":
                    opened -= 1
                yield msgspec.structs.replace(finding, start=opened)


def _cards(run: Run, before: str) -> Iterator[Finding]:
    """Card numbers, each from where some digits begin to where some end."""
    digits = run.digits
    ends = list(accumulate(len(part.digits) for part in run.parts))
    place = {end: number for number, end in enumerate(ends)}
    if len(digits) < CARD_MIN:
        return
    # Sums of all digits up to each place, once with those at even places doubled, once the others: a check digit costs the same however long it is.
    sums = [list(accumulate(((_DOUBLED[int(each)] if at % 2 == parity else int(each)) for at, each in enumerate(digits)), initial=0)) for parity in (0, 1)]
    begin, past = 0, 0
    for number, part in enumerate(run.parts):
        begin = ends[number] - len(part.digits)
        if begin < past:
            continue
        best = 0
        for length in card_lengths(digits[begin : begin + 6]):
            end = begin + length
            if end in place and (sums[end % 2][end] - sums[end % 2][begin]) % 10 == 0 and _is_shaped(run, number, place[end], length == len(digits)):
                best = end
        if best:
            last = place[best]
            yield Finding(part.start, run.parts[last].end, "credit_card", _card_confidence(run, number, last, before))
            past = best
            if last + 1 < len(run.parts) and ends[-1] - best <= TRAILING_MAX:
                yield Finding(run.parts[last + 1].start, run.end, "card_code", 0.8)
                return
        elif len(part.digits) > CARD_MAX and _CARD_WORDS.search(before) and any(luhn(part.digits[:each]) for each in card_lengths(part.digits)):
            yield Finding(part.start, part.end, "credit_card", 0.6)  # with what follows written right behind it
            past = ends[number]


def _is_shaped(run: Run, first: int, last: int, whole: bool) -> bool:
    """Whether these parts may be one card: not the end of one written number and the beginning of another."""
    gaps = run.gaps[first:last]
    if any("/" in gap or "(" in gap for gap in gaps):
        return False
    if run.is_spoken or first == last:
        return True
    marks = {gap.strip() for gap in gaps}
    if len(marks) > 1 and marks & {"-", "."} and not whole:
        return False
    groups = tuple(len(part.digits) for part in run.parts[first : last + 1])
    return groups in _GROUPS or whole or max(groups) <= 4


def _card_confidence(run: Run, first: int, last: int, before: str) -> float:
    groups = tuple(len(part.digits) for part in run.parts[first : last + 1])
    base = 0.95 if len(groups) == 1 or groups in _GROUPS else 0.85
    return min(base + 0.04 * bool(_CARD_WORDS.search(before)), 0.99)


def _ssns(run: Run, before: str, other: bool) -> Iterator[Finding]:
    told = bool(_SSN_WORDS.search(before))
    parts = run.parts
    if told and is_ssn(run.digits):
        yield Finding(run.start, run.end, "ssn", 0.95)
        return
    if other and not told:
        return
    if run.is_spoken:
        if is_ssn(run.digits) and all(len(part.digits) <= 4 for part in parts):
            yield Finding(run.start, run.end, "ssn", 0.6)
        return
    for at in range(len(parts) - 2):
        three = parts[at : at + 3]
        if [len(part.digits) for part in three] != [3, 2, 4] or run.gaps[at] != run.gaps[at + 1] or run.gaps[at] not in ("-", " ", ".", "\u2011", "\u2013"):
            continue
        beside = {run.gaps[near] for near in (at - 1, at + 2) if 0 <= near < len(run.gaps)}
        if run.gaps[at] not in beside and is_ssn("".join(part.digits for part in three)):
            yield Finding(three[0].start, three[2].end, "ssn", 0.9 if run.gaps[at] == "-" or told else 0.7)


def _phones(run: Run, before: str, other: bool) -> Iterator[Finding]:
    told = bool(_PHONE_WORDS.search(before))
    if run.is_spoken:
        if _is_phone(run.digits, run.plus, told) and (told or not other):
            yield Finding(run.start, run.end, "phone", 0.9 if told else 0.6)
        return
    begin = 0
    for at in range(1, len(run.parts) + 1):
        if at == len(run.parts) or any(mark in run.gaps[at - 1] for mark in ",;?!\u2026") or len(run.gaps[at - 1]) > 3:
            yield from _written_phone(run, begin, at, told, other)
            begin = at


def _written_phone(run: Run, begin: int, end: int, told: bool, other: bool) -> Iterator[Finding]:
    """A telephone number of these parts: all of them, or those of the shape 3-3-4 among them."""
    parts = run.parts[begin:end]
    digits = "".join(part.digits for part in parts)
    plus = run.plus and begin == 0
    groups = [len(part.digits) for part in parts]
    if plus or told:
        if _is_phone(digits, plus, told):
            yield Finding(parts[0].start, parts[-1].end, "phone", 0.95)
            return
    elif other:
        return
    elif digits[0] == "0" and len(parts) > 1 and _is_european(digits) and min(groups[1:]) >= 2:
        yield Finding(parts[0].start, parts[-1].end, "phone", 0.7)
        return
    at = 0
    while at < len(parts) - 2:
        if groups[at : at + 3] == [3, 3, 4] and is_nanp("".join(part.digits for part in parts[at : at + 3])):
            first = at - 1 if at and parts[at - 1].digits == "1" else at
            yield Finding(parts[first].start, parts[at + 2].end, "phone", 0.8)
            at += 3
        else:
            at += 1


def _is_european(digits: str) -> bool:
    """Whether it begins as numbers do in Europe: 0 and the area, or 00 and the country."""
    return 10 <= len(digits) <= 15 if digits[:2] == "00" else 9 <= len(digits) <= 12


def _is_phone(digits: str, plus: bool, told: bool) -> bool:
    """Whether digits may be a telephone number (E.164: 15 at most)."""
    if plus:
        return 8 <= len(digits) <= 15 and digits[0] != "0"
    if told:
        return 7 <= len(digits) <= 15
    return is_nanp(digits) or (digits[0] == "0" and _is_european(digits))


# ---- mail ----


def _mails(text: str) -> Iterator[Finding]:
    """Addresses (RFC 5321 4.1.2, as far as they are in use), and as they are spoken."""
    at = text.find("@")
    past = 0
    while at >= 0:
        start = at
        while start > max(past, at - _LOCAL_MAX) and _LOCAL.match(text[start - 1]):
            start -= 1
        while start < at and text[start] in ".'`*=?!{|}":
            start += 1
        domain = _DOMAIN.match(text, at + 1, at + 1 + _DOMAIN_MAX)
        if domain and start < at and not domain[0].rpartition(".")[2].isdecimal():
            yield Finding(start, domain.end(), "email", 0.98)
            past = domain.end()
        at = text.find("@", max(at + 1, past))
    if " at " in text.lower() or "arroba" in text.lower() or "arobase" in text.lower():
        yield from (Finding(*found.span(), "email", 0.6) for found in _SPOKEN_MAIL.finditer(text))


def _apart(found: Sequence[Finding]) -> list[Finding]:
    """In order, where two overlap the surer one of both, as long as both together."""
    kept: list[Finding] = []
    for each in sorted(found):
        if kept and each.start < kept[-1].end:
            last = kept[-1]
            surer = each if each.confidence > last.confidence else last
            kept[-1] = msgspec.structs.replace(surer, start=last.start, end=max(last.end, each.end))
        else:
            kept.append(each)
    return kept


# ---- taking it out ----


def redact(text: str, findings: Iterable[Finding], *, char: str = "*", preserve_format: bool = True, language: str = "") -> str:
    """The text without what was found. Each becomes its type in brackets, or, where the format is preserved, `char` for every digit and letter; separators
    stay then, and the last four digits of numbers."""
    pieces, at = [], 0
    for finding in _apart(list(findings)):
        start, end = max(finding.start, at), min(finding.end, len(text))
        if start >= end:
            continue
        told = text[start:end]
        pieces += [text[at:start], masked(told, finding.type, char, language) if preserve_format else label(finding.type)]
        at = end
    return "".join(pieces) + text[at:]


def label(type: Found) -> str:
    """What stands in the place of a finding."""
    return f"[{type.upper()}]"


def masked(told: str, type: Found, char: str = "*", language: str = "", keep: int | None = None) -> str:
    """A finding's text with `char` for what is in it. `keep` digits at its end stay; without it, four of a number that has more than twice as many."""
    if type == "email":
        return "".join(char if each.isalnum() or each == "_" else each for each in told)
    parts = [part for run in runs(told, language) for part in run.parts]
    if keep is None:
        keep = LAST if type in ("ssn", "credit_card", "phone") and sum(len(part.digits) for part in parts) > 2 * LAST - 2 else 0
    pieces: list[str] = []
    end = len(told)
    for part in reversed(parts):
        pieces += [told[part.end : end], _masked_part(told, part, char, keep)]
        keep = max(keep - len(part.digits), 0)
        end = part.start
    if not parts:  # only a part of a number, such as the "double" of what comes next
        return _WORDS.sub(char, told)
    return "".join([*pieces, told[:end]][::-1])


def _masked_part(told: str, part: Digits, char: str, keep: int) -> str:
    """Digits at one place, `keep` of them readable: those that were spoken in one word only together."""
    if len(part.digits) <= keep:
        return told[part.start : part.end]
    if part.spoken:
        return char * len(part.digits)
    return char * (len(part.digits) - keep) + told[part.end - keep : part.end]


__all__ = ["KINDS", "Finder", "Finding", "Found", "Kind", "is_nanp", "is_ssn", "label", "luhn", "masked", "redact"]

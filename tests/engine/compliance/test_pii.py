"""Personal data in texts: what is found, what is not, and what stays readable."""

from __future__ import annotations

import itertools
import logging
import pickle
import random
import sys
from io import StringIO

import msgspec
import pytest

from engine.compliance.pii import KINDS, Finder, is_nanp, is_ssn, luhn, redact
from engine.compliance.spoken import count, is_open, runs

ALL = Finder(KINDS)


def kinds(text: str, language: str = "") -> list[str]:
    return [finding.type for finding in ALL.find(text, language)]


def shown(text: str, language: str = "") -> str:
    return redact(text, ALL.find(text, language), language=language)


# Numbers that card issuers publish for tests.
CARDS = [
    "4111111111111111", "4012888888881881", "4222222222222", "5555555555554444", "5105105105105100", "2223003122003222", "378282246310005",
    "371449635398431", "6011111111111117", "3530111333300000", "30569309025904", "38520000023237", "6759649826438453", "6304000000000000", "2201382000000013",
]  # fmt: skip


@pytest.mark.parametrize("card", [card for card in CARDS if luhn(card)])
def test_card_numbers_of_all_issuers(card: str) -> None:
    assert kinds(f"it is {card}, thanks") == ["credit_card"]
    assert kinds(f"it is {' '.join(card)}, thanks") == ["credit_card"]


def test_most_of_the_published_numbers_have_a_check_digit() -> None:
    assert sum(map(luhn, CARDS)) >= 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card 4111 1111 1111 1111.", "card **** **** **** 1111."),
        ("4111-1111-1111-1111", "****-****-****-1111"),
        ("3782 822463 10005", "**** ****** *0005"),
        ("VISA4111111111111111", "VISA************1111"),
        ("４１１１１１１１１１１１１１１１", "************１１１１"),
        ("٤١١١١١١١١١١١١١١١", "************١١١١"),
        ("four one one one, one one one one. one one one one uh one one one one", "* * * *, * * * *. * * * * uh one one one one"),
        ("double four one one one one one one one one one one one one one one", "double four one one one one one one one one one one one one one one"),
        ("four triple one double one, one one one one one one one one double one", "* *** **, * * * * * * one one double one"),
        ("forty-one eleven eleven eleven eleven eleven eleven eleven", "** ** ** ** ** ** eleven eleven"),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "* * * * * * * * * * * * 1 1 1 1"),
    ],
)
def test_cards_keep_separators_and_their_last_digits(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_verification_values_are_never_shown() -> None:
    assert shown("my CVV is 123") == "my CVV is ***"
    assert shown("the security code is one two three") == "the security code is * * *"
    assert shown("4111 1111 1111 1111, 03 26, 123") == "**** **** **** 1111, ** **, ***"
    assert kinds("room 123") == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("vier eins eins eins eins eins eins eins eins eins eins eins eins eins eins eins", "de-DE"),
        ("cuatro uno uno uno uno uno uno uno uno uno uno uno uno uno uno uno", "es"),
        ("quatre un un un un un un un un un un un un un un un", "fr-CA"),
    ],
)
def test_digits_of_other_languages(text: str, language: str) -> None:
    assert kinds(text, language) == ["credit_card"]


def test_social_security_numbers_and_their_ranges() -> None:
    assert shown("ssn 123-45-6789") == "ssn ***-**-6789"
    assert kinds("123 45 6789") == ["ssn"]
    assert kinds("my social security number is 123456789") == ["ssn"]
    assert kinds("one two three, four five, six seven eight nine") == ["ssn"]
    for wrong in ("000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000"):
        assert kinds(wrong) == []
        assert not is_ssn(wrong.replace("-", ""))


@pytest.mark.parametrize(
    "text",
    [
        "+1 415 555 2671", "+44 20 7946 0958", "+49 (0)30 1234567", "(415) 555-2671", "415-555-2671", "1-415-555-2671", "415.555.2671", "020 7946 0958", "01 23 45 67 89",
        "089/1234567", "0151 12345678", "0049 30 1234567", "call me: 4155552671", "plus four nine three zero one two three four five six seven",
        "my mobile is 612 345 678",
    ],
)  # fmt: skip
def test_telephone_numbers(text: str) -> None:
    assert kinds(text) == ["phone"]


def test_numbering_plan() -> None:
    assert is_nanp("4155552671") and is_nanp("14155552671")
    assert not is_nanp("1155552671") and not is_nanp("4151552671") and not is_nanp("4115552671")


@pytest.mark.parametrize("text", ["a.b+c@example.co.uk", "<anna@example.com>", "john dot smith at example dot com", "müller@beispiel.de"])
def test_mail(text: str) -> None:
    assert kinds(text) == ["email"]


@pytest.mark.parametrize(
    "text",
    [
        "order 123456789", "order number 415-555-2671", "invoice INV-2024-000123", "Invoice no. 2024001234", "2024-01-02 12:30:45.123456", "12/31/2024 at 11:59:59 PM",
        "on 31.12.2024 10:20", "192.168.1.100", "10.0.0.1:5060", "1,234,567.89 dollars", "550e8400-e29b-41d4-a716-446655440000", "ticket 4155552671", "version 1.2.3.4",
        "card 4111 1111 1111 1112", "4012888888881882", "page 12 of 345", "I have one or two, maybe three", "tracking 1Z999AA10123456784", "16GB and 32GB",
        "sha 9f86d081884c7d659a2feaa0c55ad015", "in 2019, 2020, 2021 and 2022", "@home", "a@b", "meet at noon", "twenty twenty four", "ratio 3:1", "20240102123045",
        "room 5, floor 12, at 10:30 on 01/02/2024", "ISBN 978-3-16-148410-0", "30-01-2024 30-05-2024",
    ],
)  # fmt: skip
def test_what_is_no_personal_number(text: str) -> None:
    assert kinds(text) == []


def test_only_the_types_that_are_wanted() -> None:
    text = "4111 1111 1111 1111 and 123-45-6789 and a@example.com"
    assert {finding.type for finding in Finder(("ssn",)).find(text)} == {"ssn"}
    assert {finding.type for finding in Finder(("email",)).find(text)} == {"email"}
    with pytest.raises(ValueError, match="passport"):
        Finder(("passport",))


def test_without_the_format_types_are_told_and_no_digit_is() -> None:
    text = "card 4111 1111 1111 1111 and mail a@example.com"
    told = redact(text, ALL.find(text), preserve_format=False)
    assert told == "card [CREDIT_CARD] and mail [EMAIL]"
    assert redact("ssn 123-45-6789", ALL.find("ssn 123-45-6789"), char="#") == "ssn ###-##-6789"


def test_what_was_redacted_is_found_no_more() -> None:
    for text in ("card 4111 1111 1111 1111", "123-45-6789", "+49 30 1234567", "a@example.com"):
        assert ALL.find(shown(text)) == []


def test_findings_hold_no_text() -> None:
    secret = "4111 1111 1111 1111"
    found = ALL.find(f"card {secret}")
    told = StringIO()
    handler = logging.StreamHandler(told)
    logger = logging.getLogger("test.pii")
    logger.addHandler(handler)
    logger.warning("%s %r", found, found)
    said = [repr(found), str(found), msgspec.json.encode(found).decode(), pickle.dumps(found).decode("latin-1"), told.getvalue()]
    assert all("1111" not in each for each in said)


def test_digits_at_the_end() -> None:
    run = ALL.look("my number is four one one one, uh")[1]
    assert run is not None and run.digits == "4111"
    assert ALL.look("four one one one is all")[1] is None
    assert ALL.look("")[1] is None
    assert ALL.look("four one", least=3)[1] is None and ALL.look("four one", least=1)[1] is not None
    (only,) = runs("+49 30")
    assert only.plus and is_open("+49 30 ", only)


def test_a_text_without_numbers_is_told_at_once_and_never_wrongly() -> None:
    chance = random.Random(5)
    vocabulary = ["four", "double", "Triple", "one", "twenty", "hundred", "thousand", "12", "4111", "\u0664\u0664", "and", "word", "-", "a1", "x"]
    for _ in range(2000):
        text = " ".join(chance.choice(vocabulary) for _ in range(chance.randrange(10)))
        assert count(text) >= max((len(run.digits) for run in runs(text)), default=0), text


def test_who_asks_for_a_number() -> None:
    for text in ("could I have your card number", "the C V V please", "and your social", "what's your phone number", "Kreditkarte bitte", "security code?"):
        assert ALL.asks(text), text
    assert not ALL.asks("how are you") and not Finder(("ssn",)).asks("your card")


def operations(text: str) -> int:
    """How many lines run: what a clock would tell, without one."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        ALL.find(text)
    finally:
        sys.settrace(before)
    return count


HOSTILE = ["4 ", "4111 ", "@", "a@", "a.", "1-", "a at b dot ", "four ", "1,111", "+", "(415) ", "1.1.", "12:", "double ", "0", "4", "a1", "415-555-2671 ", "e\u0301 ", "\u0664"]


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_the_text_alone(unit: str) -> None:
    small, large = operations(unit * 150), operations(unit * 1200)
    assert large <= 10 * small + 2000


def test_any_text_gives_findings_within_it() -> None:
    chance = random.Random(7)
    alphabet = "0123456789 -.+()/,@abcdefx\u0664\uff11\n" + "é"
    words = ["four", "double", "one", "plus", "at", "dot", "4111", "1111", "cvv", "+49", "social", "oh", "hundred"]
    for _ in range(1500):
        text = "".join(chance.choice((chance.choice(alphabet), chance.choice(words) + " ")) for _ in range(chance.randrange(60)))
        found = ALL.find(text)
        assert all(0 <= each.start < each.end <= len(text) and 0 < each.confidence <= 1 for each in found)
        assert all(one.end <= other.start for one, other in itertools.pairwise(found))
        for preserve in (True, False):
            told = redact(text, found, preserve_format=preserve)
            assert found or told == text

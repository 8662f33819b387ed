"""Words and phrases that are listened for, and those that are said most."""

from __future__ import annotations

import pytest

from engine.analytics.keywords import FOUND_MAX, LEADERS_MAX, WORDS_MAX, Keyword, Keywords, WordCounts
from engine.analytics.languages import LANGUAGES
from engine.analytics.tokens import tokens
from engine.config.document import Keyword as CustomKeyword

STOP = LANGUAGES["en"].stop


def found(text: str, keywords: Keywords | None = None) -> list[tuple[str, str, str]]:
    said, _ = (keywords or Keywords({})).said(tokens(text))
    return [(each.keyword.text, each.keyword.category, each.keyword.severity) for each in said]


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("my credit card, please", ("credit card", "financial", "high")),
        ("Is that your SSN?", ("SSN", "financial", "critical")),
        ("your social security number", ("SSN", "financial", "critical")),
        ("the bank account.", ("bank account", "financial", "high")),
        ("that's a HIPAA matter", ("HIPAA", "healthcare", "high")),
        ("PHI", ("PHI", "healthcare", "high")),
        ("his medical records", ("medical record", "healthcare", "high")),
        ("the patient-ID is", ("patient id", "healthcare", "medium")),
        ("this is Confidential!", ("confidential", "legal", "medium")),
        ("attorney client privilege", ("attorney-client", "legal", "high")),
        ("there will be litigation", ("litigation", "legal", "high")),
        ("I forgot my password", ("password", "security", "high")),
        ("we were hacked", ("hack", "security", "high")),
        ("a data breach", ("breach", "security", "critical")),
        ("some malware", ("malware", "security", "critical")),
        ("a phishing email", ("phishing", "security", "high")),
        ("meine Kreditkarte", ("credit card", "financial", "high")),
    ],
)
def test_categories_are_listened_for(text: str, keyword: tuple[str, str, str]) -> None:
    assert found(text) == [keyword]


def test_a_word_inside_of_another_is_none() -> None:
    assert found("the hackathon was passwordless and philharmonic") == []


def test_ours_are_beside_those_of_the_configuration() -> None:
    keywords = Keywords({"churn": [CustomKeyword(pattern="cancel my contract", severity="critical"), CustomKeyword(pattern="leave you")], "vip": [CustomKeyword(pattern="CEO")]})
    assert found("I'll leave you, cancel my contract! Says the C.E.O., no: the CEO with a password.", keywords) == [
        ("leave you", "churn", "medium"), ("cancel my contract", "churn", "critical"), ("CEO", "vip", "medium"), ("password", "security", "high"),
    ]  # fmt: skip


def test_each_keyword_is_told_once_of_an_utterance_in_the_order_of_saying() -> None:
    said, _ = Keywords({}).said(tokens("password, breach, password, credit card number, credit card"))
    assert [(each.keyword.text, each.begin, each.end) for each in said] == [("password", 0, 1), ("breach", 1, 2), ("credit card", 3, 6)]


def test_an_utterance_tells_no_more_than_a_bound() -> None:
    custom = {"c": [CustomKeyword(pattern=f"word{number}") for number in range(100)]}
    assert len(found(" ".join(f"word{number}" for number in range(100)), Keywords(custom))) == FOUND_MAX


def test_a_keyword_goes_on_in_what_is_said_next() -> None:
    keywords = Keywords({})
    none, state = keywords.said(tokens("my credit"))
    said, _ = keywords.said(tokens("card is gone"), state)
    assert none == [] and said[0].keyword == Keyword("credit card", "financial", "high") and said[0].begin == -1


def test_the_words_that_are_said_most_lead_in_a_stable_order() -> None:
    counts = WordCounts()
    counts.add(tokens("I want a refund, a refund under your policy, and a router"), STOP)
    assert counts.leaders() == ["refund", "policy", "router"]
    counts.add(tokens("router, router"), STOP)
    assert counts.leaders() == ["router", "refund", "policy"]


def test_short_words_numbers_and_words_of_everything_do_not_count() -> None:
    counts = WordCounts()
    counts.add(tokens("it is the an 4111 x1 ab and would be really"), STOP)
    assert counts.leaders() == []


def test_a_frequent_word_takes_the_place_of_a_rare_one() -> None:
    counts = WordCounts()
    counts.add([f"word{chr(97 + number)}" for number in range(LEADERS_MAX)], frozenset())
    counts.add(["late", "late"], frozenset())
    assert counts.leaders()[0] == "late" and len(counts.leaders()) == LEADERS_MAX
    assert f"word{chr(97 + LEADERS_MAX - 1)}" not in counts.leaders()


def test_memory_of_words_is_bounded_and_keeps_the_frequent_ones() -> None:
    counts = WordCounts()
    for number in range(5000):
        letters = "".join(chr(97 + int(digit)) for digit in f"{number:04}")
        counts.add([f"rare{letters}", "refund"], frozenset())
    assert counts.leaders()[0] == "refund"
    assert len(counts._counts) <= WORDS_MAX + 1

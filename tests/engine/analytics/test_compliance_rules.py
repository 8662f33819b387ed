"""What has to be said, and what must not be."""

from __future__ import annotations

from engine.analytics.compliance_rules import Adherence, Rules
from engine.analytics.tokens import tokens
from engine.config.document import Analytics, ComplianceRule

DISCLOSE = ComplianceRule(id="disclose", description="d", severity="high", contains=["recorded", "thank you"])
PROMISE = ComplianceRule(id="promise", description="p", severity="critical", missing=["guaranteed profit", "no risk"])


def heard(adherence: Adherence, *texts: str) -> list[tuple[str, str]]:
    state = 0
    told: list[tuple[str, str]] = []
    for text in texts:
        violations, state = adherence.hear(tokens(text), state, 5.0)
        told += [(violation.rule.id, violation.kind) for violation in violations]
    return told


def test_what_has_to_be_said_is_missed_at_the_end_and_not_before() -> None:
    adherence = Adherence(Rules([DISCLOSE]))
    assert heard(adherence, "this call is recorded.") == []
    assert [(violation.rule.id, violation.kind, violation.at) for violation in adherence.end(9.0)] == [("disclose", "unsaid", 9.0)]


def test_all_of_it_has_to_be_said_by_anybody_at_any_time() -> None:
    adherence = Adherence(Rules([DISCLOSE]))
    assert heard(adherence, "Thank you!", "hello", "this call is being RECORDED, sir") == []
    assert adherence.end(9.0) == []


def test_what_must_not_be_said_is_told_at_once_and_once() -> None:
    adherence = Adherence(Rules([PROMISE]))
    assert heard(adherence, "there is no risk,", "no risk at all!", "guaranteed profit") == [("promise", "said")]
    assert adherence.end(9.0) == []
    assert len(adherence.violations) == 1


def test_a_phrase_goes_on_in_what_is_said_next() -> None:
    assert heard(Adherence(Rules([PROMISE])), "it is guaranteed", "profit for you") == [("promise", "said")]


def test_of_a_call_in_which_nothing_was_heard_nothing_is_known() -> None:
    adherence = Adherence(Rules([DISCLOSE]))
    assert heard(adherence, "", "...") == [] and adherence.end(9.0) == []


def test_the_rule_that_is_shipped_wants_to_hear_of_the_recording() -> None:
    (rule,) = Analytics().compliance_rules
    assert (rule.id, rule.severity) == ("recording_disclosure", "high")
    adherence = Adherence(Rules([rule]))
    heard(adherence, "hello")
    (violation,) = adherence.end(1.0)
    assert violation.document("T") == {"rule_id": "recording_disclosure", "severity": "high", "description": rule.description, "timestamp": "T"}

"""The category as a whole: every condition has its rule and both cases, and a good call is left in peace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.trace.analysis import rules
from engine.trace.finding import SEVERITIES
from tests.data.scene import Scene
from tests.engine.trace.rules import (
    test_signaling_connections,
    test_signaling_dialogs,
    test_signaling_offers,
    test_signaling_responses,
    test_signaling_transactions,
)

CASES = {
    **test_signaling_transactions.CASES,
    **test_signaling_offers.CASES,
    **test_signaling_dialogs.CASES,
    **test_signaling_responses.CASES,
    **test_signaling_connections.CASES,
}
CONTRACT = Path(__file__).parents[4] / "engine" / "_native" / "c" / "conditions.h"


def conditions() -> list[str]:
    """Ids of the category's conditions as the native contract lists them."""
    section = CONTRACT.read_text().split("/* signaling */", 1)[1].split("/* media */", 1)[0]
    return re.findall(r'X\(\w+, "([^"]+)"\)', section)


def test_every_condition_has_a_rule_and_both_cases() -> None:
    stated = {rule.id for rule in rules() if rule.category == "signaling"}
    assert set(conditions()) == stated == set(CASES)
    assert len(stated) == 80


@pytest.mark.parametrize(
    "rule", [rule for rule in rules() if rule.category == "signaling"], ids=lambda rule: rule.id
)
def test_every_rule_says_what_to_do_and_where_it_is_written(rule) -> None:  # type: ignore[no-untyped-def]
    assert rule.severity in SEVERITIES
    assert rule.title and rule.rfc
    assert len(rule.recommendation) > 30


@pytest.mark.parametrize("transport", ["UDP", "TCP", "WS"])
def test_a_good_call_has_no_signaling_finding_above_info(transport: str) -> None:
    scene = Scene()
    scene.call(transport=transport).basic(10)
    found = [
        f for f in scene.wait(100).report().findings if f.category == "signaling" and f.severity != "info"
    ]
    assert found == []


def test_a_good_call_over_ipv6_has_no_signaling_finding_above_info() -> None:
    scene = Scene()
    scene.call("[2001:db8::10]:5060", "[2001:db8::20]:5060").basic(10)
    found = [
        f for f in scene.wait(100).report().findings if f.category == "signaling" and f.severity != "info"
    ]
    assert found == []


def test_a_good_call_through_a_proxy_has_no_signaling_finding_above_info() -> None:
    """Caller, record-routing proxy, callee; the same messages at two hops."""
    scene = Scene()
    proxy = "203.0.113.5:5060"
    call = scene.call(target_proxy := "198.51.100.10:5060", "203.0.113.20:5060")
    assert target_proxy == call.caller
    route = f"sip:{proxy};lr"

    def out(at: float) -> None:
        scene.forward(
            call.sent, at, proxy, call.callee, record_route=route if b"INVITE" in call.sent[:6] else None
        )

    call.invite(0, target=proxy)
    out(0.005)
    call.trying(0.01, source=proxy)
    call.ringing(0.5, source=proxy, headers={"Record-Route": f"<{route}>"})
    call.ok(2, source=proxy, headers={"Record-Route": f"<{route}>"})
    call.ack(2.02, target=proxy, headers={"Route": f"<{route}>"})
    out(2.025)
    call.bye(12, target=proxy, headers={"Route": f"<{route}>"})
    out(12.005)
    call.ok(12.02, source=proxy)
    found = {f.rule for f in scene.report().findings if f.category == "signaling" and f.severity != "info"}
    assert found == set()


def test_a_trace_without_a_clock_has_no_finding_about_time() -> None:
    from engine.trace import analyze

    call = Scene().call().invite(0).trying().ringing(9).ok(100)
    texts = b"\r\n".join(request.text for request in call.requests)
    found = {f.rule for f in analyze(texts).findings}
    assert not found & {"slow-pdd", "no-100-trying", "missing-ack", "invite-timeout", "long-ring"}

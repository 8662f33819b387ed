"""Signaling rules of single transactions and of a call's own times: each fires, and each near miss stays
silent."""

from __future__ import annotations

import pytest

from tests.data.scene import Call, Scene


def scene_of(*play: object, until: float | None = None) -> Scene:
    """The scene of calls that were played; `until` lets the capture go on."""
    scene = next(step.scene for step in play if isinstance(step, Call))
    return scene if until is None else scene.wait(until)


def begun() -> Call:
    """An INVITE that is ringing."""
    return Scene().call().invite(0).trying().ringing(0.5)


def up() -> Call:
    """A call that was answered after 2 s."""
    return Scene().call().answered()


def lone(method: str, **options: object) -> Call:
    """One request outside a dialog."""
    return Scene().call().request(method, at=0, in_dialog=False, **options)  # type: ignore[arg-type]


def forked(*tags: str) -> Call:
    """Rings at several endpoints."""
    call = Scene().call().invite(0).trying()
    for tag in tags:
        call.ringing(to_tag=tag)
    return call


# rule -> (fires, stays silent, words of the detail, severity)
CASES = {
    "invite-timeout": (
        lambda: scene_of(Scene().call().invite(0).retransmit(0, 6), until=70),
        lambda: scene_of(Scene().call().invite(0).retransmit(0, 2), until=5),
        "7 times",
        "critical",
    ),
    "non-invite-timeout": (
        lambda: scene_of(lone("REGISTER").retransmit(0, 10), until=60),
        lambda: scene_of(lone("REGISTER").retransmit(0, 2).ok(3.0), until=60),
        "REGISTER 11 times",
        "high",
    ),
    "bye-unanswered": (
        lambda: scene_of(up().bye(10).retransmit(10, 10), until=60),
        lambda: scene_of(up().bye(10).retransmit(10, 3).ok(15), until=60),
        "BYE 11 times",
        "medium",
    ),
    "invite-retransmitted": (
        lambda: scene_of(Scene().call().invite(0).retransmit(0, 1).trying(0.9).ringing().ok().ack()),
        lambda: scene_of(Scene().call().invite(0).repeat(0.001).trying(0.1).ringing().ok().ack()),
        "2 times",
        "medium",
    ),
    "response-retransmitted": (
        lambda: scene_of(begun().response(486, at=2, repeats=(2.5, 3.5)).ack(4)),
        lambda: scene_of(begun().response(486, at=2, repeats=(2.5,)).ack(3)),
        "3 times",
        "medium",
    ),
    "no-100-trying": (
        lambda: scene_of(Scene().call().invite(0).ringing(0.4).ok().ack()),
        lambda: scene_of(Scene().call().invite(0).ringing(0.15).ok().ack()),
        "400 ms",
        "low",
    ),
    "slow-trying": (
        lambda: scene_of(Scene().call().invite(0).trying(1.4).ringing().ok().ack()),
        lambda: scene_of(Scene().call().invite(0).trying(0.9).ringing().ok().ack()),
        "1.4 s",
        "low",
    ),
    "no-final-response": (
        lambda: scene_of(begun(), until=400),
        lambda: scene_of(begun(), until=100),
        "180 Ringing",
        "high",
    ),
    "expires-elapsed": (
        lambda: scene_of(Scene().call(headers={"Expires": "20"}).invite(0).trying().ringing().ok(40).ack()),
        lambda: scene_of(Scene().call(headers={"Expires": "20"}).invite(0).trying().ringing().ok(15).ack()),
        "Expires 20 s",
        "low",
    ),
    "cancel-no-487": (
        lambda: scene_of(begun().cancel(3).ok(), until=60),
        lambda: scene_of(begun().cancel(3).ok().response(487, to="INVITE").ack(), until=60),
        "200",
        "medium",
    ),
    "cancel-race-2xx": (
        lambda: scene_of(begun().cancel(3).ok(3.05, to="INVITE").ok(3.1, to="CANCEL").ack()),
        lambda: scene_of(begun().ok(3).cancel(3.05).ok(3.1).ack(invite=None)),
        "50 ms after the CANCEL",
        "info",
    ),
    "cancel-before-1xx": (
        lambda: scene_of(
            Scene().call().invite(0).cancel(0.2).ok(0.3).response(487, at=0.32, to="INVITE").ack(0.4)
        ),
        lambda: scene_of(
            Scene()
            .call()
            .invite(0)
            .trying(0.1)
            .cancel(0.2)
            .ok(0.3)
            .response(487, at=0.32, to="INVITE")
            .ack(0.4)
        ),
        "200 ms after the INVITE",
        "low",
    ),
    "early-dialogs-many": (
        lambda: scene_of(forked("one", "two", "three", "four").ok(5, to_tag="two").ack(to_tag="two")),
        lambda: scene_of(forked("one", "two", "three").ok(5, to_tag="two").ack(to_tag="two")),
        "4 different To tags",
        "info",
    ),
    "forking-multi-2xx": (
        lambda: scene_of(
            forked("one", "two").ok(3, to_tag="one").ok(3.2, to="INVITE", to_tag="two").ack(3.3, to_tag="one")
        ),
        lambda: scene_of(forked("one", "two").ok(3, to_tag="one", repeats=(3.5,)).ack(3.6, to_tag="one")),
        "2 endpoints",
        "medium",
    ),
    "slow-pdd": (
        lambda: scene_of(Scene().call().invite(0).trying().ringing(5).ok(7).ack()),
        lambda: scene_of(Scene().call().invite(0).trying().ringing(3).ok(7).ack()),
        "5.0 s",
        "medium",
    ),
    "slow-answer-processing": (
        lambda: scene_of(begun().ok(3).ack(6)),
        lambda: scene_of(begun().ok(3).ack(4)),
        "3.0 s",
        "low",
    ),
    "long-ring": (
        lambda: scene_of(begun().ok(70).ack()),
        lambda: scene_of(begun().ok(50).ack()),
        "69.5 s",
        "info",
    ),
    "short-call": (
        lambda: scene_of(Scene().call().basic(3, rtp=False)),
        lambda: scene_of(Scene().call().basic(8, rtp=False)),
        "3.0 s of talk",
        "low",
    ),
    "zero-duration-answer": (
        lambda: scene_of(Scene().call().basic(0.5, rtp=False)),
        lambda: scene_of(Scene().call().basic(3, rtp=False)),
        "520 ms later",
        "medium",
    ),
    "unknown-method": (
        lambda: scene_of(lone("PING").response(501)),
        lambda: scene_of(lone("MESSAGE").response(501)),
        "answered 501",
        "medium",
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_the_rule_fires_with_the_values_it_saw(rule: str) -> None:
    fires, _, words, severity = CASES[rule]
    finding = fires().findings().get(rule)
    assert finding is not None, f"{rule} did not fire"
    assert finding.severity == severity
    assert words in finding.detail
    assert finding.evidence


@pytest.mark.parametrize("rule", CASES)
def test_the_rule_stays_silent_on_a_near_miss(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_an_invite_sent_four_times_before_the_first_response_is_high() -> None:
    call = Scene().call().invite(0).retransmit(0, 3).trying(4).ringing().ok().ack()
    assert call.scene.findings()["invite-retransmitted"].severity == "high"


def test_a_post_dial_delay_above_eight_seconds_is_high() -> None:
    call = Scene().call().invite(0).trying().ringing(9).ok(10).ack()
    assert call.scene.findings()["slow-pdd"].severity == "high"


def test_short_calls_that_are_many_for_a_peer_are_raised() -> None:
    scene = Scene()
    for n in range(6):
        scene.call(at=n * 20).basic(3 if n < 2 else 12, rtp=False)
    finding = scene.findings()["short-call"]
    assert finding.severity == "medium"
    assert "2 of 6 answered calls" in finding.detail


def test_one_unrepeated_invite_proves_no_timeout_because_the_answer_may_not_have_been_captured() -> None:
    scene = Scene().call().invite(0).scene.wait(100)
    assert "invite-timeout" not in scene.findings()


def test_an_unanswered_invite_over_tcp_is_a_timeout_though_it_is_sent_once() -> None:
    scene = Scene().call(transport="TCP").invite(0).scene.wait(100)
    assert "invite-timeout" in scene.findings()

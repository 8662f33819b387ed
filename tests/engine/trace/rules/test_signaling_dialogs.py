"""Signaling rules of dialogs, session timers, transfers and subscriptions: each fires, each near miss is
silent."""

from __future__ import annotations

import pytest

from tests.data.scene import Call, Scene

AGAIN = (2.5, 3.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5, 33.5)
TIMER = {"Session-Expires": "180;refresher=uac", "Require": "timer"}
FRAGMENT = {"body": "SIP/2.0 {}\r\n", "content_type": "message/sipfrag;version=2.0"}


def new() -> Call:
    return Scene().call()


def up(**options: object) -> Call:
    """A call answered at 2 s."""
    return new().invite(0, **options).trying().ringing(0.5).ok(2).ack()  # type: ignore[arg-type]


def unacknowledged() -> Call:
    return new().invite(0).trying().ringing(0.5).ok(2, repeats=AGAIN)


def timed(headers: dict[str, str] | None = None) -> Call:
    """A call answered at 2 s with a session timer."""
    return new().invite(0).trying().ringing(0.5).ok(2, headers=TIMER if headers is None else headers).ack()


def short_interval(retry: str | None) -> Scene:
    call = new().invite(0, headers={"Session-Expires": "120"}).response(422, headers={"Min-SE": "1800"}).ack()
    if retry:
        call.invite(1, headers={"Session-Expires": retry, "Min-SE": "1800"}).trying().ringing().ok().ack()
    return call.scene.wait(30)


def calls_of(lengths: list[float]) -> Scene:
    scene = Scene()
    for n, length in enumerate(lengths):
        scene.call(at=n * 0.7).basic(length, rtp=False)
    return scene


def media_until(caller_s: float, bye_s: float) -> Scene:
    """Caller's RTP stops after `caller_s` of talk, the callee's goes on until it says BYE."""
    call = up()
    call.rtp(2.1, caller_s).rtp(2.1, bye_s - 2.3, from_caller=False, ptime_ms=60)
    return call.bye(bye_s, from_caller=False).ok().scene


def referred(status: int, fragment: str | None = None, **options: str) -> Call:
    """A REFER by the caller, its answer, and the NOTIFY of the outcome."""
    headers = {"Refer-To": "<sip:3003@203.0.113.20>", **options}
    call = up().request("REFER", at=5, headers=headers)
    call.response(status)
    if fragment:
        call.request(
            "NOTIFY", at=6, from_caller=False, body=FRAGMENT["body"].format(fragment),
            content_type=FRAGMENT["content_type"],
            headers={"Event": "refer", "Subscription-State": "terminated;reason=noresource"},
        ).ok()  # fmt: skip
    return call


def replacing(status: int) -> Scene:
    headers = {"Replaces": "abc@198.51.100.10;to-tag=1;from-tag=2"}
    return new().invite(0, headers=headers).trying().response(status).ack().scene


def subscribed(status: int, notify: int | None = None) -> Call:
    call = new().request("SUBSCRIBE", at=0, in_dialog=False, headers={"Event": "dialog", "Expires": "600"})
    call.response(status, headers={"Expires": "600"})
    if notify:
        headers = {"Event": "dialog", "Subscription-State": "active;expires=600"}
        call.request("NOTIFY", at=5, from_caller=False, headers=headers).response(notify)
    return call


# rule -> (fires, stays silent, words of the detail, severity)
CASES = {
    "missing-ack": (
        lambda: unacknowledged().scene.wait(60),
        lambda: unacknowledged().ack(33.6).scene.wait(60),
        "11 times",
        "critical",
    ),
    "ack-misrouted": (
        lambda: new().invite(0).trying().ringing(0.5).ok(2, repeats=(2.5, 3.5)).ack(3.6, cseq=77).scene,
        lambda: up().scene,
        "The ACK has CSeq 77, but the INVITE that was answered had 102",
        "high",
    ),
    "drop-at-32s": (
        lambda: unacknowledged().bye(34, from_caller=False).ok().scene,
        lambda: up().bye(34, from_caller=False).ok().scene,
        "32.0 s",
        "critical",
    ),
    "drop-fixed-interval": (
        lambda: calls_of([300.2] * 10 + [20.0 + n * 7 for n in range(14)]),
        lambda: calls_of([300.2] * 5 + [20.0 + n * 7 for n in range(19)]),
        "10 of 24 released calls end within 1 s of 300 s",
        "high",
    ),
    "drop-30s-rtp-timeout": (
        lambda: media_until(4, 36.1),
        lambda: media_until(4, 24),
        "caller to callee",
        "high",
    ),
    "drop-at-session-timer": (
        lambda: timed().bye(175, from_caller=False).ok().scene,
        lambda: timed().reinvite(90).ok(headers=TIMER).ack().bye(190, from_caller=False).ok().scene,
        "came 173 s after",
        "high",
    ),
    "session-timer-422": (
        lambda: short_interval(None),
        lambda: short_interval("1800"),
        "Min-SE 1800",
        "high",
    ),
    "session-timer-refresh-missing": (
        lambda: timed().bye(130).ok().scene,
        lambda: timed().request("UPDATE", at=90, headers=TIMER).ok(headers=TIMER).bye(130).ok().scene,
        "caller (uac) was to refresh",
        "medium",
    ),
    "session-expires-too-small": (
        lambda: up(headers={"Session-Expires": "60"}).scene,
        lambda: up(headers={"Session-Expires": "90"}).scene,
        "Session-Expires is 60 s",
        "low",
    ),
    "session-refresher-conflict": (
        lambda: timed({"Session-Expires": "1800"}).scene,
        lambda: timed({"Session-Expires": "1800;refresher=uas"}).scene,
        "without saying who refreshes",
        "low",
    ),
    "bye-481": (
        lambda: up().bye(9).response(481).scene,
        lambda: up().bye(9).bye(9.01, from_caller=False).response(481).response(481, to=103).scene,
        "481 Call/Transaction Does Not Exist",
        "medium",
    ),
    "in-dialog-481": (
        lambda: up().reinvite(5).response(481).ack().scene,
        lambda: up().bye(5).ok().request("INFO", at=5.2, from_caller=False).response(481).scene,
        "inside the running call",
        "high",
    ),
    "glare-491": (
        lambda: up().reinvite(5).response(491).ack().reinvite(7.5).ok().ack().bye(9).ok().scene,
        lambda: up().reinvite(5).ok().ack().bye(9).ok().scene,
        '1 times "SIP/2.0 491 Request Pending"',
        "low",
    ),
    "reinvite-500-pending": (
        lambda: up().reinvite(5).response(500, headers={"Retry-After": "5"}).ack().bye(9).ok().scene,
        lambda: up().reinvite(5).response(500).ack().bye(9).ok().scene,
        "Retry-After 5",
        "low",
    ),
    "cseq-regression": (
        lambda: up().request("INFO", at=5, cseq=90).ok().bye(9).ok().scene,
        lambda: up().request("INFO", at=5).ok().bye(9).ok().scene,
        "CSeq 90 INFO after 102 INVITE",
        "high",
    ),
    "cseq-gap": (
        lambda: up().request("INFO", at=5, cseq=150).ok().scene,
        lambda: up().request("INFO", at=5, cseq=103).ok().scene,
        'by 48, from "102 INVITE" to "150 INFO"',
        "info",
    ),
    "cseq-method-mismatch": (
        lambda: new().request("OPTIONS", in_dialog=False, cseq_method="INVITE").ok().scene,
        lambda: new().request("PING", in_dialog=False).ok().scene,
        "102 INVITE",
        "high",
    ),
    "to-tag-missing": (
        lambda: new().invite(0).trying().response(486, to_tag="").ack().scene,
        lambda: new().invite(0).trying().response(486).ack().scene,
        "486 Busy Here",
        "high",
    ),
    "tag-changed": (
        lambda: up().bye(9, to_tag="stranger").ok().scene,
        lambda: up().bye(9, from_caller=False).ok().scene,
        "stranger",
        "high",
    ),
    "cancel-no-match-481": (
        lambda: new().invite(0).trying().ringing().cancel(3).response(481).scene,
        lambda: (
            new().invite(0).trying().response(486, at=2.9).cancel(3).response(481, to="CANCEL").ack().scene
        ),
        "481",
        "low",
    ),
    "ext-required-421": (
        lambda: new().invite(0).response(421, headers={"Require": "100rel"}).ack().scene,
        lambda: new().invite(0).response(420, headers={"Unsupported": "100rel"}).ack().scene,
        "insists on 100rel; the request supports replaces, timer",
        "medium",
    ),
    "refer-failed": (
        lambda: referred(202, "486 Busy Here").bye(9).ok().scene,
        lambda: referred(202, "200 OK").bye(9).ok().scene,
        "failed with 486 Busy Here",
        "medium",
    ),
    "refer-no-notify": (
        lambda: referred(202).bye(9).ok().scene.wait(60),
        lambda: referred(202, **{"Refer-Sub": "false"}).bye(9).ok().scene.wait(60),
        "sent no NOTIFY",
        "medium",
    ),
    "refer-no-bye": (
        lambda: referred(202, "200 OK").scene.wait(60),
        lambda: referred(202, "200 OK").bye(9).ok().scene.wait(60),
        "no BYE followed",
        "low",
    ),
    "replaces-481": (lambda: replacing(481), lambda: replacing(486), "abc@198.51.100.10", "medium"),
    "subscribe-489": (
        lambda: subscribed(489).scene,
        lambda: subscribed(403).scene,
        'Event "dialog"',
        "low",
    ),
    "subscription-lost": (
        lambda: subscribed(200, 481).scene,
        lambda: subscribed(200, 200).scene,
        "answered 481",
        "medium",
    ),
    "zombie-dialog": (
        lambda: up().scene.wait(5 * 3600),
        lambda: up().scene.wait(2 * 3600),
        "no message and no RTP",
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


def test_an_ack_with_a_foreign_tag_is_named_with_both_tags() -> None:
    call = new().invite(0).trying().ringing(0.5).ok(2, repeats=(2.5, 3.5)).ack(3.6, to_tag="stranger")
    assert "another tag is another dialog" in call.scene.findings()["ack-misrouted"].detail


def test_an_ack_to_another_host_counts_only_when_the_answer_keeps_coming() -> None:
    astray = (
        new().invite(0).trying().ringing(0.5).ok(2, repeats=(2.5, 3.5)).ack(2.1, target="203.0.113.99:5060")
    )
    assert "203.0.113.99:5060" in astray.scene.findings()["ack-misrouted"].detail
    direct = new().invite(0).trying().ringing(0.5).ok(2).ack(2.1, target="203.0.113.99:5060")
    assert "ack-misrouted" not in direct.scene.findings()


def test_a_missing_ack_is_not_claimed_when_the_capture_ends_too_soon() -> None:
    scene = new().invite(0).trying().ringing(0.5).ok(2, repeats=(2.5, 3.5)).scene.wait(6)
    assert "missing-ack" not in scene.findings()


def test_a_bye_that_says_rtp_timeout_is_taken_at_its_word() -> None:
    scene = up().bye(20, headers={"Reason": 'SIP;cause=200;text="RTP Timeout"'}).ok().scene
    finding = scene.findings()["drop-30s-rtp-timeout"]
    assert "RTP Timeout" in finding.detail
    assert finding.confidence == 0.95


def test_refreshes_from_both_ends_conflict() -> None:
    call = timed().request("UPDATE", at=60, headers=TIMER).ok(headers=TIMER)
    call.request("UPDATE", at=70, from_caller=False, headers=TIMER).ok(headers=TIMER).bye(80).ok()
    assert "Both" in call.scene.findings()["session-refresher-conflict"].detail


def test_a_cseq_jump_beyond_a_thousand_is_medium() -> None:
    call = up().request("INFO", at=5, cseq=5000).ok().bye(9, cseq=5001).ok()
    assert call.scene.findings()["cseq-gap"].severity == "medium"


def test_repeated_requests_are_no_cseq_regression() -> None:
    call = up().request("INFO", at=5).repeat(5.5).repeat(6.5).ok(6.6).bye(9).ok()
    assert "cseq-regression" not in call.scene.findings()


def test_an_answer_tag_that_no_early_dialog_had_is_only_a_suspicion() -> None:
    call = new().invite(0).trying().ringing(0.5, to_tag="early").ok(2, to_tag="other").ack(to_tag="other")
    finding = call.scene.findings()["tag-changed"]
    assert (finding.severity, finding.confidence) == ("medium", 0.5)


def test_a_subscription_that_runs_out_is_lost_unless_it_was_terminated() -> None:
    assert "600 s" in subscribed(200, 200).scene.wait(900).findings()["subscription-lost"].detail
    call = subscribed(200, 200)
    ended = {"Event": "dialog", "Subscription-State": "terminated;reason=timeout"}
    call.request("NOTIFY", at=8, from_caller=False, headers=ended).ok().scene.wait(900)
    assert "subscription-lost" not in call.scene.findings()


def test_three_glares_in_a_dialog_are_medium() -> None:
    call = up()
    for n in range(3):
        call.reinvite(5 + n * 2).response(491).ack()
    call.reinvite(11).ok().ack().bye(15).ok()
    assert call.scene.findings()["glare-491"].severity == "medium"


def test_a_422_that_led_to_a_call_all_the_same_is_less() -> None:
    call = new().invite(0, headers={"Session-Expires": "120"}).response(422, headers={"Min-SE": "1800"}).ack()
    call.invite(1, headers={"Session-Expires": "120"}).trying().ringing().ok().ack().scene.wait(30)
    assert call.scene.findings()["session-timer-422"].severity == "medium"


def test_a_refused_refer_names_its_target() -> None:
    scene = referred(603).bye(9).ok().scene
    assert "<sip:3003@203.0.113.20>" in scene.findings()["refer-failed"].detail

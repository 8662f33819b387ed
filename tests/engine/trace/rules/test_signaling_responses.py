"""Signaling rules of failure codes, causes, overload and redirection: each fires, each near miss is
silent."""

from __future__ import annotations

import pytest

from engine.trace.rules.code_tables import (
    CAUSES,
    NORMAL_CAUSES,
    RESPONSE_CODES,
    cause,
    interval_suspects,
    response_code,
)
from tests.data.scene import Call, Scene


def failed(status: int, at: float = 0.0, scene: Scene | None = None, **options: object) -> Call:
    """A call that fails at once."""
    call = (scene or Scene()).call(at=at).invite(at).trying()
    return call.response(status, **options).ack()  # type: ignore[arg-type]


def unavailable(count: int, every: float = 2.0) -> Scene:
    scene = Scene()
    for n in range(count):
        failed(503, n * every, scene)
    return scene


def backed_off(pause_s: float) -> Scene:
    scene = failed(503, headers={"Retry-After": "30"}).scene
    failed(486, pause_s, scene)
    return scene


def released(reason: str) -> Scene:
    return Scene().call().answered().bye(9, headers={"Reason": reason}).ok().scene


def redirected(times: int, contact: str = "<sip:{}@203.0.113.20:5060>") -> Scene:
    call = Scene().call()
    for n in range(times):
        call.invite(n, uri=f"sip:{3000 + n}@203.0.113.20:5060").response(
            302, headers={"Contact": contact.format(3001 + n)}
        ).ack()
    return call.scene


# rule -> (fires, stays silent, words of the detail, severity)
CASES = {
    "response-4xx": (
        lambda: failed(404).scene,
        lambda: (
            Scene().call().invite(0).trying().ringing().cancel(2).ok().response(487, to="INVITE").ack().scene
        ),
        "the user does not exist",
        "medium",
    ),
    "response-5xx": (
        lambda: failed(500).scene,
        lambda: Scene().call().request("OPTIONS", in_dialog=False).response(500).scene,
        "500 Server Internal Error",
        "high",
    ),
    "response-6xx": (lambda: failed(603).scene, lambda: failed(486).scene, "603 Decline", "medium"),
    "overload-503": (
        lambda: unavailable(5),
        lambda: unavailable(4),
        "503 at least 5 times within 60 s",
        "critical",
    ),
    "retry-ignored": (
        lambda: backed_off(10),
        lambda: backed_off(40),
        "Retry-After 30 s",
        "medium",
    ),
    "redirect": (lambda: redirected(1), lambda: failed(404).scene, "sip:3001@203.0.113.20:5060", "info"),
    "q850-abnormal": (
        lambda: released("Q.850;cause=38"),
        lambda: released("Q.850;cause=16"),
        "cause 38, network out of order",
        "high",
    ),
    "warning-header": (
        lambda: failed(488, headers={"Warning": '305 203.0.113.20 "Incompatible media format"'}).scene,
        lambda: failed(488, headers={"Warning": '199 203.0.113.20 "Other"'}).scene,
        "Incompatible media format",
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


def test_a_retry_after_makes_one_503_an_overload() -> None:
    finding = failed(503, headers={"Retry-After": "30"}).scene.findings()["overload-503"]
    assert "Retry-After 30" in finding.detail


def test_five_503_in_ten_minutes_are_no_overload() -> None:
    assert "overload-503" not in unavailable(5, every=120).findings()


def test_server_failures_of_a_fifth_of_a_peers_calls_are_critical() -> None:
    scene = Scene()
    for n in range(6):
        if n < 2:
            failed(500, n * 30, scene)
        else:
            scene.call(at=n * 30).basic(8, rtp=False)
    finding = scene.findings()["response-5xx"]
    assert finding.severity == "critical"
    assert "2 of 6 INVITEs" in finding.detail


def test_redirection_that_goes_on_is_low_and_one_in_a_circle_is_high() -> None:
    assert redirected(4).findings()["redirect"].severity == "low"
    assert redirected(1, "<sip:3000@203.0.113.20:5060>").findings()["redirect"].severity == "high"


def test_different_codes_between_two_hosts_are_counted_in_one_finding_with_the_worst_severity() -> None:
    scene = failed(404).scene
    failed(404, 10, scene)
    failed(403, 20, scene)
    finding = scene.findings()["response-4xx"]
    assert "404 x 2, 403 x 1" in finding.detail
    assert finding.severity == "high"


def test_challenges_and_registrations_are_left_to_the_rules_of_authentication() -> None:
    challenge = {"WWW-Authenticate": 'Digest realm="a", nonce="b", algorithm=SHA-256, qop="auth"'}
    assert "response-4xx" not in failed(401, headers=challenge).scene.findings()
    register = Scene().call().request("REGISTER", in_dialog=False).response(403)
    assert "response-4xx" not in register.scene.findings()


def test_an_unlisted_code_is_taken_as_its_class() -> None:
    assert response_code(499).severity == "medium"
    assert response_code(599).severity == "high"
    assert 499 not in RESPONSE_CODES


@pytest.mark.parametrize(
    ("status", "value"), [(404, 1), (486, 17), (480, 18), (503, 41), (484, 28), (604, 1), (600, 17)]
)
def test_the_mapping_of_rfc_3398_is_in_the_table(status: int, value: int) -> None:
    assert response_code(status).q850 == value


def test_every_cause_of_normal_release_is_an_info() -> None:
    assert {CAUSES[value].severity for value in NORMAL_CAUSES} == {"info"}
    assert cause(34).severity == "high"
    assert cause(120).meaning == "unlisted cause of class interworking"


@pytest.mark.parametrize(
    ("seconds", "suspect"), [(32, "ACK"), (1800, "Session-Expires"), (30.4, "RTP timeout"), (45, "")]
)
def test_a_fixed_call_length_names_its_first_suspects(seconds: float, suspect: str) -> None:
    found = interval_suspects(seconds)
    assert suspect in found
    assert bool(found) == bool(suspect)


@pytest.mark.parametrize("status", [302, 408, 421, 422, 481, 488, 489, 491, 500, 503, 603])
@pytest.mark.parametrize(
    "method", ["INVITE", "BYE", "CANCEL", "UPDATE", "REFER", "NOTIFY", "SUBSCRIBE", "PRACK"]
)
def test_a_response_whose_request_was_never_captured_is_read_and_claims_no_timeout(
    method: str, status: int
) -> None:
    unseen = Scene().call()
    unseen.request(method, in_dialog=method != "INVITE").response(status)
    scene = Scene().sip(1, unseen.callee, unseen.caller, unseen.sent).wait(100)
    report = scene.report()
    assert report.summary.messages == 1
    assert not {f.rule for f in report.findings} & {"invite-timeout", "non-invite-timeout", "missing-ack"}


def test_a_call_of_thousands_of_refused_changes_is_read_and_told() -> None:
    call = Scene().call().answered()
    for n in range(600):
        call.reinvite(5 + n, sdp=True).response((488, 491, 481, 500, 422)[n % 5]).ack()
    findings = call.scene.findings()
    assert {"reinvite-rejected", "glare-491", "in-dialog-481"} <= set(findings)

"""Signaling rules of offers, answers, reliable provisionals and hold: each fires, and each near miss stays
silent."""

from __future__ import annotations

import pytest

from tests.data.scene import Call, Scene

RELIABLE = {"Require": "100rel", "RSeq": "1"}
VIDEO = ("m=video {port} RTP/AVP 102", "a=rtpmap:102 H264/90000")


def new() -> Call:
    return Scene().call()


def up() -> Call:
    return new().answered()


def with_video(answer_port: int | None) -> Scene:
    """Audio and video are offered; video is left out of the answer (None) or answered with a port."""
    call = new()
    offer = call.sdp(True, more_media=[line.format(port=22000) for line in VIDEO])
    lines = [] if answer_port is None else [line.format(port=answer_port) for line in VIDEO]
    return call.invite(0, sdp=offer).trying().ringing().ok(sdp=call.sdp(False, more_media=lines)).ack().scene


def early_then_final(early: tuple[str, ...], final: tuple[str, ...]) -> Scene:
    call = new().invite(0).trying()
    call.progress(sdp=call.sdp(False, early, version=1)).ok(2, sdp=call.sdp(False, final, version=1)).ack()
    return call.scene


def reliable(rack: int | None, second: int | None = None, repeats: tuple[float, ...] = ()) -> Scene:
    """A reliable 180 with RSeq 1, its PRACK with this RAck, and perhaps another 183 with this RSeq."""
    call = (
        new()
        .invite(0, headers={"Supported": "100rel"})
        .trying()
        .ringing(0.5, headers=RELIABLE, repeats=repeats)
    )
    if rack is not None:
        call.prack(0.6, rseq=rack).ok()
    if second is not None:
        call.response(183, at=1.0, to="INVITE", headers={"Require": "100rel", "RSeq": str(second)})
        call.prack(1.1, rseq=second).ok()
    return call.ok(9, to="INVITE").ack().scene.wait(60)


def held(direction: str, answer: str = "recvonly", **sdp: object) -> Call:
    """A call whose caller sends a re-INVITE with a direction, and the answer's direction."""
    call = up()
    call.reinvite(5, sdp=call.sdp(True, direction=direction, **sdp))
    return call.ok(sdp=call.sdp(False, direction=answer)).ack()


def refused(direction: str) -> Scene:
    call = up()
    return call.reinvite(5, sdp=call.sdp(True, direction=direction)).response(488).ack().bye(8).ok().scene


def changes(count: int, every: float) -> Scene:
    """re-INVITEs that change the codec order to and fro."""
    call = up()
    for n in range(count):
        codecs = ("PCMU", "PCMA") if n % 2 else ("PCMA", "PCMU")
        call.reinvite(5 + n * every, sdp=call.sdp(True, codecs)).ok().ack()
    return call.bye(call.now + 1).ok().scene


def update_refused(allow: str) -> Scene:
    call = new().invite(0).trying().ringing().ok(2, headers={"Allow": allow}).ack()
    return call.request("UPDATE", at=5).response(405).bye(9).ok().scene


# rule -> (fires, stays silent, words of the detail, severity)
CASES = {
    "late-offer-no-answer": (
        lambda: new().invite(0, sdp=None).trying().ringing().ok(sdp=True).ack().scene,
        lambda: new().invite(0, sdp=None).trying().ringing().ok(sdp=True).ack(sdp=True).scene,
        "the ACK of 198.51.100.10:5060 has no SDP",
        "critical",
    ),
    "answer-missing": (
        lambda: new().invite(0).trying().ringing().ok(sdp=False).ack().scene,
        lambda: (
            new().invite(0).trying().progress(headers=RELIABLE).prack().ok(to="PRACK").ok(to="INVITE",
            sdp=False)
            .ack().scene
        ),
        "has no SDP",
        "critical",
    ),
    "answer-mline-count": (
        lambda: with_video(None),
        lambda: with_video(0),
        "the offer has 2 m-lines, the answer 1",
        "high",
    ),
    "offer-in-answer-slot": (
        lambda: new().invite(0).trying().ringing().ok().ack(sdp=True).scene,
        lambda: new().invite(0, sdp=None).trying().ringing().ok(sdp=True).ack(sdp=True).scene,
        "carries SDP as well",
        "high",
    ),
    "prack-missing": (
        lambda: reliable(None, repeats=(1.0, 2.0)),
        lambda: reliable(1, repeats=(0.55,)),
        "2 more times",
        "high",
    ),
    "prack-rack-mismatch": (lambda: reliable(7), lambda: reliable(1), '"7 102 INVITE"', "medium"),
    "rel1xx-out-of-order": (lambda: reliable(1, second=5), lambda: reliable(1, second=2), "from 1 to 5",
    "low"),
    "early-media-no-sdp": (
        lambda: new().invite(0).trying().progress(sdp=None).ok(3).ack().scene,
        lambda: new().invite(0).trying().progress(sdp=None).ringing().ok(3).ack().scene,
        "183 Session Progress",
        "medium",
    ),
    "ringback-conflict": (
        lambda: new().invite(0).trying().progress().ringing().ok(3).ack().scene,
        lambda: new().invite(0).trying().ringing().progress().ok(3).ack().scene,
        "180 Ringing",
        "low",
    ),
    "sdp-differs-18x-2xx": (
        lambda: early_then_final(("PCMA",), ("PCMU",)),
        lambda: early_then_final(("PCMU",), ("PCMU",)),
        "RTP/AVP 8",
        "medium",
    ),
    "late-offer": (
        lambda: new().invite(0, sdp=None).trying().response(488).ack().scene,
        lambda: new().invite(0).trying().response(488).ack().scene,
        "answered 488",
        "medium",
    ),
    "reinvite-rejected": (
        lambda: up().reinvite(5).response(488).ack().bye(8).ok().scene,
        lambda: up().reinvite(5).response(491).ack().reinvite(7).ok().ack().bye(9).ok().scene,
        "488 Not Acceptable Here",
        "high",
    ),
    "reinvite-loop": (lambda: changes(8, 2.0), lambda: changes(8, 10.0), "7 re-INVITE", "high"),
    "hold-rejected": (lambda: refused("sendonly"), lambda: refused("sendrecv"), "to hold (a=sendonly)",
    "medium"),
    "hold-wrong-answer": (
        lambda: held("sendonly", "sendonly").bye(9).ok().scene,
        lambda: held("sendonly", "recvonly").bye(9).ok().scene,
        "offered sendonly and answered sendonly",
        "medium",
    ),
    "hold-not-resumed": (
        lambda: held("sendonly").bye(30).ok().scene,
        lambda: held("sendonly").reinvite(12).ok().ack().bye(30).ok().scene,
        "25.0 s until the BYE",
        "info",
    ),
    "hold-rfc2543": (
        lambda: held("sendrecv", "sendrecv", address="0.0.0.0", origin="198.51.100.10").bye(9).ok().scene,
        lambda: held("sendonly").bye(9).ok().scene,
        "0.0.0.0",
        "low",
    ),
    "update-not-supported": (
        lambda: update_refused("INVITE, ACK, BYE, UPDATE"),
        lambda: update_refused("INVITE, ACK, BYE"),
        "405 Method Not Allowed",
        "low",
    ),
}  # fmt: skip


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


def test_a_session_described_only_by_an_unreliable_183_is_less_than_critical() -> None:
    scene = new().invite(0).trying().progress().ok(3, sdp=False).ack().scene
    assert scene.findings()["answer-missing"].severity == "high"


def test_an_answer_that_sorts_the_media_types_is_told_by_line() -> None:
    call = new()
    offer = call.sdp(True, more_media=[line.format(port=22000) for line in VIDEO])
    answer = call.sdp(False, ("102 H264/90000",), media="video", more_media=("m=audio 30000 RTP/AVP 0",))
    scene = call.invite(0, sdp=offer).trying().ringing().ok(sdp=answer).ack().scene
    assert "m-line 1 of the answer is of another media type" in scene.findings()["answer-mline-count"].detail


def test_a_prack_without_rack_and_one_answered_481_are_told_apart() -> None:
    call = new().invite(0).trying().ringing(headers=RELIABLE)
    call.request("PRACK", at=0.9).ok().ok(3, to="INVITE").ack()
    assert "has no RAck" in call.scene.findings()["prack-rack-mismatch"].detail
    call = new().invite(0).trying().ringing(headers=RELIABLE).prack().response(481).ok(3, to="INVITE").ack()
    assert "was answered 481" in call.scene.findings()["prack-rack-mismatch"].detail


def test_a_rack_with_the_number_of_another_invite_is_named() -> None:
    call = new().invite(0).trying().ringing(headers=RELIABLE)
    call.prack(0.9, headers={"RAck": "1 77 INVITE"}).ok().ok(3, to="INVITE").ack()
    assert "CSeq 102 INVITE" in call.scene.findings()["prack-rack-mismatch"].detail


def test_a_hold_of_more_than_five_minutes_until_the_end_is_low() -> None:
    scene = held("sendonly").bye(400).ok().scene
    assert scene.findings()["hold-not-resumed"].severity == "low"


def test_a_refused_reinvite_names_the_media_address_it_wanted() -> None:
    call = up()
    call.reinvite(5, sdp=call.sdp(True, address="198.51.100.77")).response(488).ack().bye(8).ok()
    detail = call.scene.findings()["reinvite-rejected"].detail
    assert "from 198.51.100.10:20000 to 198.51.100.77:20000" in detail

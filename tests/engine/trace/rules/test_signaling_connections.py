"""Signaling rules of peers and connections: each fires, and each near miss stays silent."""

from __future__ import annotations

import pytest

from tests.data.scene import CALLEE, CALLER, Scene

CLIENT = "198.51.100.10:40000"


def pinged(answers: str, every: float = 60.0) -> Scene:
    """OPTIONS by OPTIONS: "+" answered 200, "-" not at all, "5" answered 503."""
    scene = Scene()
    for n, answer in enumerate(answers):
        call = scene.call(at=n * every).request("OPTIONS", at=n * every, in_dialog=False)
        if answer == "-":
            call.retransmit(n * every, 3)
        else:
            call.response(200 if answer == "+" else 503)
    return scene.wait(len(answers) * every + 60)


def over_tcp() -> Scene:
    scene = Scene()
    scene.call(transport="TCP").answered()
    return scene


def with_ping(answer: bytes | None) -> Scene:
    """OPTIONS over TCP, then a CRLF ping."""
    scene = Scene()
    scene.call(transport="TCP").request("OPTIONS", at=0, in_dialog=False).ok()
    scene.tcp_data(5, CALLER, CALLEE, b"\r\n\r\n")
    if answer:
        scene.tcp_data(5.1, CALLEE, CALLER, answer)
    return scene.wait(40)


# rule -> (fires, stays silent, words of the detail, severity)
CASES = {
    "options-down": (lambda: pinged("+---"), lambda: pinged("+--+-"), "3 OPTIONS in a row", "high"),
    "options-flap": (
        lambda: pinged("+-+-+-"),
        lambda: pinged("+++-+++"),
        "times by OPTIONS within an hour",
        "medium",
    ),
    "tcp-closed-mid-dialog": (
        lambda: over_tcp().tcp_close(10, CALLER, CALLEE, reset=True).wait(60),
        lambda: over_tcp().tcp_close(10, CALLER, CALLEE, reset=True).tcp_open(12, CLIENT, CALLEE).wait(60),
        "reset",
        "high",
    ),
    "tcp-refused": (
        lambda: Scene().tcp_refused(0, CLIENT, CALLEE).wait(60),
        lambda: Scene().tcp_refused(0, CLIENT, "203.0.113.20:8080").wait(60),
        "could not open a TCP connection to 203.0.113.20:5060",
        "high",
    ),
    "icmp-unreachable": (
        lambda: Scene().icmp(1, "203.0.113.20:0", CALLER, CALLEE, b"OPTIONS sip:a@b SIP/2.0\r\n"),
        lambda: Scene().icmp(1, "203.0.113.20:0", CLIENT, "203.0.113.20:53", b"\x12\x34\x01\x00"),
        "port unreachable",
        "high",
    ),
    "keepalive-no-pong": (lambda: with_ping(None), lambda: with_ping(b"\r\n"), "no pong", "medium"),
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


def test_503_to_options_means_down_as_silence_does() -> None:
    assert "the first was answered 503" in pinged("555").findings()["options-down"].detail


def test_icmp_for_rtp_counts_while_the_call_is_up_and_not_when_it_was_released() -> None:
    call = Scene().call().answered()
    call.scene.icmp(5, "203.0.113.20:0", call.caller_media, call.callee_media, b"\x80\x00" + bytes(170))
    assert "RTP of a running call" in call.scene.findings()["icmp-unreachable"].detail
    late = Scene().call().answered().bye(9).ok()
    late.scene.icmp(9.5, "203.0.113.20:0", late.caller_media, late.callee_media, b"\x80\x00" + bytes(170))
    assert "icmp-unreachable" not in late.scene.findings()

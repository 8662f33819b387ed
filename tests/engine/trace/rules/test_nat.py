"""NAT rules: each fires, and each near miss stays silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.trace.analysis import rules
from tests.data import scene_packets as wire
from tests.data.scene import Call, Scene
from tests.data.scene_call import sdp

Play = Callable[[], Scene]
PRIVATE = "<sip:1001@10.0.0.5:5060>"
HOST = "a=candidate:1 1 UDP 2130706431 10.0.0.5 20000 typ host"
SRFLX = "a=candidate:2 1 UDP 1694498815 198.51.100.10 20000 typ srflx raddr 10.0.0.5 rport 20000"
RELAY = "a=candidate:3 1 UDP 16777215 192.0.2.9 20000 typ relay raddr 0.0.0.0 rport 0"
UFRAG = ["a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx"]


def good() -> Scene:
    """A good call with media."""
    return Scene().call().basic(3).scene


def invite(**options: Any) -> Scene:
    """One INVITE from a public address."""
    return Scene().call().invite(0, **options).scene


def described(address: str = "198.51.100.10", **options: Any) -> Scene:
    """An INVITE with a description of its own."""
    return invite(sdp=sdp(address, 20000, **options))


def via(host: str, rport: bool = True) -> Scene:
    """An INVITE with a Via of its own, ringing."""
    suffix = ";rport" if rport else ""
    call = Scene().call().invite(0, headers={"Via": f"SIP/2.0/UDP {host};branch=z9hG4bKx1{suffix}"})
    return call.scene


def replied(via_back: str, target: str | None = None) -> Scene:
    """An INVITE from behind NAT and a response whose Via is given."""
    call = Scene().call().invite(0, headers={"Via": "SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKx1;rport"})
    return call.ringing(headers={"Via": via_back}, target=target).scene


def agreed(offer: list[str], answer: list[str], *, mline: str = "RTP/AVP", session: list[str] | None = None, back: list[str] | None = None) -> Scene:
    """An answered call whose descriptions carry the given lines."""
    first = sdp("198.51.100.10", 20000, extra=offer, proto=mline, session_extra=session or [])
    second = sdp("203.0.113.20", 30000, extra=answer, proto=mline, session_extra=back or [])
    return Scene().call().invite(0, sdp=first).trying().ok(sdp=second).ack().scene


def register(call: Call, at: float, source: str | None = None, contact: str = PRIVATE) -> Call:
    """A registration from behind NAT and its 200."""
    account = "<sip:1001@203.0.113.20>"
    call.request(
        "REGISTER", at=at, in_dialog=False, source=source, uri="sip:203.0.113.20",
        headers={"To": account, "From": f"{account};tag=r1", "Contact": contact, "Expires": "3600"},
    )
    return call.response(200, contact=False, headers={"Contact": f"{contact};expires=3600"})  # fmt: skip


def expired(after: float) -> Scene:
    """An inbound call that is lost some time after the registration, and the registration that mends it."""
    scene = Scene()
    account = register(scene.call(), 0)
    inbound = scene.call(caller="203.0.113.20:5060", callee="198.51.100.10:5060", at=after).invite(after)
    inbound.retransmit(after, 4)
    register(account, after + 40)
    return scene


def quiet(gap: float) -> Scene:
    """A NATed client that says nothing between two registrations."""
    scene = Scene()
    account = register(scene.call(), 0)
    register(account, gap)
    return scene


def moved(port: int) -> Scene:
    """A client that registers again from a port."""
    scene = Scene()
    account = register(scene.call(), 0)
    register(account, 20, source=f"198.51.100.10:{port}")
    return scene


def behind_one_nat(public: bool) -> Scene:
    """Two descriptions that name one public host."""
    host = "198.51.100.10" if public else "203.0.113.20"
    call = Scene().call().invite(0, sdp=sdp("198.51.100.10", 20000), headers={"Contact": PRIVATE})
    return call.trying().ok(sdp=sdp(host, 30000)).ack().scene


def pinhole(late: float) -> Scene:
    """Media of a caller behind NAT: what comes in begins when what goes out has begun."""
    call = Scene().call().invite(0, headers={"Contact": PRIVATE}).trying().ringing(0.5).ok(1).ack()
    call.rtp(1 + late, 3).rtp(1 + late + 0.1, 3, from_caller=False)
    return call.bye(8 + late).ok().scene


def rtcp(both: bool) -> Scene:
    """RTP both ways and RTCP one way or both."""
    call = Scene().call().answered()
    begin = call.now
    call.rtp(begin + 0.01, 17, ptime_ms=60).rtp(begin + 0.02, 17, from_caller=False, ptime_ms=60)
    for n in range(3):
        call.rtcp(begin + 5 * n + 1, sent=5 * n + 1)
        if both:
            call.rtcp(begin + 5 * n + 1.1, from_caller=False, sent=5 * n + 1)
    return call.bye(begin + 18).ok().scene


def rewritten(mark: str) -> Scene:
    """What a SIP ALG leaves behind."""
    headers: dict[str, str] = {"Contact": PRIVATE}
    if mark == "sdp":
        headers["Via"] = "SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKx1;rport"
        return invite(headers=headers, sdp=sdp("198.51.100.10", 20000, origin="10.0.0.5"))
    if mark == "none":
        headers["Via"] = "SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKx1;rport"
        return invite(headers=headers, sdp=sdp("10.0.0.5", 20000))
    return invite(headers=headers, sdp=sdp("10.0.0.5", 20000))


def stun(answered: bool, kind: int = 1, error: int = 0, times: int = 8) -> Scene:
    """STUN requests to the announced media address, answered or not."""
    call = Scene().call()
    call.invite(0, sdp=call.sdp(True, extra=[*UFRAG, SRFLX])).trying().ok(sdp=call.sdp(False, extra=[*UFRAG, SRFLX])).ack()
    for n in range(times):
        call.scene.stun(2 + n, call.caller_media, call.callee_media, kind)
        if answered:
            call.scene.stun(2.01 + n, call.callee_media, call.caller_media, 0x0101)
        elif error:
            call.scene.stun(2.01 + n, call.callee_media, call.caller_media, kind | 0x0110, [error_code(error)])
    return call.scene.wait(30)


def error_code(number: int) -> bytes:
    """ERROR-CODE attribute (RFC 8489 §14.8)."""
    return wire.stun_attribute(0x0009, bytes((0, 0, number // 100, number % 100)) + b"oops")


def websocket(host: str) -> Scene:
    """A client with a Contact of its own over WebSocket."""
    return Scene().call(transport="WS", caller_contact=f"sip:1001@{host};transport=ws").invite(0).scene


CASES: dict[str, tuple[Play, Play, str]] = {
    "nat-sdp-private": (lambda: described("192.168.1.100"), good, "192.168.1.100"),
    "nat-contact-private": (lambda: invite(headers={"Contact": PRIVATE}), good, "10.0.0.5"),
    "nat-via-mismatch": (lambda: via("10.0.0.5:5060", rport=False), lambda: via("198.51.100.10:5060"), "10.0.0.5"),
    "nat-received-missing": (
        lambda: replied("SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKx1;rport"),
        lambda: replied("SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKx1;rport=5060;received=198.51.100.10"), "10.0.0.5"),
    "nat-response-misrouted": (
        lambda: replied("SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKx1;rport", target="198.51.100.10:5999"), good, "5999"),
    "nat-double": (
        lambda: invite(headers={"Contact": PRIVATE, "Via": "SIP/2.0/UDP 100.64.0.9:5060;branch=z9hG4bKx1;rport"}), good, "3 different"),
    "nat-binding-expired": (lambda: expired(90), lambda: expired(5), "90 s"),
    "nat-keepalive-absent": (lambda: quiet(300), lambda: quiet(50), "300 s"),
    "nat-port-change": (lambda: moved(6001), lambda: moved(5060), "5060"),
    "nat-hairpin": (lambda: behind_one_nat(True), lambda: behind_one_nat(False), "same public host"),
    "nat-media-pinhole": (lambda: pinhole(3), lambda: pinhole(0), "after the answer"),
    "nat-rtcp-blocked": (lambda: rtcp(False), lambda: rtcp(True), "no RTCP"),
    "sip-alg-detected": (lambda: rewritten("sdp"), lambda: rewritten("none"), "rewritten"),
    "sip-alg-split-rewrite": (lambda: rewritten("via"), lambda: rewritten("none"), "mixes"),
    "cgnat-address": (lambda: described("100.64.1.1"), good, "100.64"),
    "link-local-address": (lambda: described("169.254.3.4"), good, "169.254.3.4"),
    "loopback-in-sdp": (lambda: described("127.0.0.1"), good, "127.0.0.1"),
    "hostname-in-sdp": (lambda: edited_host(), good, "media.example.com"),
    "ipv6-in-ipv4-peer": (lambda: described("2001:db8::10"), good, "IPv6"),
    "ice-missing-peer": (lambda: agreed([*UFRAG, SRFLX], []), lambda: agreed([*UFRAG, SRFLX], [*UFRAG, SRFLX]), "1 candidates"),
    "ice-failed": (lambda: stun(False), lambda: stun(True), "none was answered"),
    "ice-relay-only": (lambda: described(extra=[*UFRAG, RELAY]), lambda: described(extra=[*UFRAG, RELAY, SRFLX]), "relayed"),
    "ice-no-srflx": (lambda: described(extra=[*UFRAG, HOST]), lambda: described(extra=[*UFRAG, HOST, SRFLX]), "1 candidates"),
    "ice-role-conflict": (lambda: stun(False, error=487), lambda: stun(True), "487"),
    "ice-lite-both": (
        lambda: agreed([], [], session=["a=ice-lite"], back=["a=ice-lite"]), lambda: agreed([], [], session=["a=ice-lite"]), "ice-lite"),
    "turn-auth-fail": (lambda: stun(False, kind=3, error=401), lambda: stun(True), "TURN"),
    "stun-blocked": (lambda: stun(False), lambda: stun(True), "8 STUN requests"),
    "rtcp-mux-mismatch": (lambda: agreed(["a=rtcp-mux"], []), lambda: agreed(["a=rtcp-mux"], ["a=rtcp-mux"]), "rtcp-mux"),
    "bundle-mismatch": (
        lambda: agreed(["a=mid:0"], [], session=["a=group:BUNDLE 0"], back=["a=group:BUNDLE 0"]),
        lambda: agreed(["a=mid:0"], ["a=mid:0"], session=["a=group:BUNDLE 0"], back=["a=group:BUNDLE 0"]), "does not follow"),
    "ws-origin-address": (lambda: websocket("df7jal23ls0d.invalid"), lambda: websocket("198.51.100.10"), ".invalid"),
}  # fmt: skip


def edited_host() -> Scene:
    """An INVITE whose c= is a name."""
    return invite(sdp=sdp("198.51.100.10", 20000).replace("c=IN IP4 198.51.100.10", "c=IN IP4 media.example.com"))


@pytest.mark.parametrize("rule", CASES)
def test_fires_with_the_values_of_the_trace(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "nat"


@pytest.mark.parametrize("rule", CASES)
def test_stays_silent_without_the_fault(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "nat"}


def test_a_good_call_breaks_no_rule() -> None:
    assert [f for f in good().report().findings if f.category == "nat"] == []


def test_a_private_address_with_audio_both_ways_is_one_step_lower() -> None:
    call = Scene().call().invite(0, sdp=sdp("10.0.0.5", 20000)).trying().ok().ack()
    call.media(4)
    assert call.scene.findings()["nat-sdp-private"].severity in ("high", "critical")

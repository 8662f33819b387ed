"""Routing rules: loops, route sets, refusals and ratios; each fires, and each near miss stays silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.trace.analysis import rules
from tests.data.scene import Call, Scene

Play = Callable[[], Scene]
PROXY, FAR = "203.0.113.20:5060", "192.0.2.30:5060"
RECORDED = ["<sip:192.0.2.2;lr>", "<sip:192.0.2.1;lr>"]


def good() -> Scene:
    """A good call without media."""
    return Scene().call().basic(5, rtp=False).scene


def invite(**options: Any) -> Scene:
    """One INVITE."""
    return Scene().call().invite(0, **options).scene


def refused(status: int, reason: str | None = None, **options: Any) -> Scene:
    """A call that is refused."""
    return Scene().call().invite(0).trying().response(status, reason, to="INVITE", **options).ack().scene


def cause(number: int) -> dict[str, str]:
    """A Reason header with a Q.850 cause."""
    return {"Reason": f"Q.850;cause={number}"}


def looped(uri: str | None) -> Scene:
    """An INVITE that comes back to the hop it passed, with the same or another Request-URI."""
    call = Scene().call().invite(0)
    onward = call.scene.forward(call.sent, 0.01, PROXY, FAR)
    if uri:
        onward = onward.replace(onward.split(b" ", 2)[1], uri.encode(), 1)
    call.scene.forward(onward, 0.02, FAR, PROXY)
    return call.scene


def proxied(record_route: str | None, *, bye_through_proxy: bool, counted: bool = True) -> Scene:
    """A call through a proxy; the BYE goes the same way or past it."""
    call = Scene().call(callee=PROXY).invite(0)
    onward = call.scene.forward(call.sent, 0.01, PROXY, FAR, record_route=record_route)
    if not counted:
        call.scene.frames.pop()
        call.scene.sip(0.01, PROXY, FAR, onward.replace(b"Max-Forwards: 69", b"Max-Forwards: 70"))
    call.trying().ok(1).ack()
    call.bye(10, target=PROXY if bye_through_proxy else FAR)
    call.ok(source=PROXY if bye_through_proxy else FAR)
    return call.scene


def routed(used: list[str]) -> Scene:
    """A call whose 2xx records two proxies, and an ACK with a Route list."""
    call = Scene().call().invite(0).trying().ok(headers={"Record-Route": RECORDED})
    return call.ack(headers={"Route": used}).scene


def in_dialog(status: int, target: str) -> Scene:
    """An INFO inside the call that another host answers."""
    call = Scene().call().answered().request("INFO", at=5, target=target)
    return call.response(status, source=target).scene


def tried(count: int, last_status: int = 503) -> Scene:
    """One INVITE tried at several gateways one after the other."""
    call = Scene().call()
    for n in range(count):
        gateway = f"203.0.113.{30 + n}:5060"
        call.invite(n * 1.0, target=gateway, cseq=101).response(last_status, at=n + 0.2, to="INVITE", source=gateway)
    return call.scene


def many(statuses: list[int]) -> Scene:
    """Calls with the given final statuses."""
    scene = Scene()
    for n, status in enumerate(statuses):
        call = scene.call(at=n * 5.0).invite(n * 5.0).trying(n * 5 + 0.1)
        if status == 200:
            call.ok(n * 5 + 0.5).ack(n * 5 + 0.6).bye(n * 5 + 2).ok(n * 5 + 2.1)
        else:
            call.response(status, at=n * 5 + 0.5, to="INVITE").ack(n * 5 + 0.6)
    return scene.wait(len(statuses) * 5 + 60)


def redirected(contact: str) -> Scene:
    """A 302 to a Contact."""
    call = Scene().call().invite(0, uri="sip:2002@203.0.113.20").trying()
    return call.response(302, to="INVITE", headers={"Contact": f"<{contact}>"}, contact=False).ack().scene


def dialled(plus: int, national: int) -> Scene:
    """One number in +E.164 and one in national form to one peer, with their statuses."""
    scene = Scene()
    for n, (user, status) in enumerate((("+4930123456", plus), ("030123456", national))):
        call = scene.call(at=n * 10.0, to_user=user).invite(n * 10.0).trying()
        if status == 200:
            call.ok().ack()
        else:
            call.response(status, to="INVITE").ack()
    return scene


def refused_at_port(port: int) -> Scene:
    """A port that answers with ICMP while the host speaks SIP on 5060 or elsewhere."""
    scene = Scene()
    scene.call(callee="203.0.113.20:5070").basic(3, rtp=False)
    return scene.icmp(5, "203.0.113.20", "198.51.100.10:5060", f"203.0.113.20:{port}", b"OPTIONS sip:a SIP/2.0\r\n\r\n")


def switched(transport: str) -> Call:
    """A BYE that names another transport than the Contact it follows."""
    return Scene().call(callee_contact="sip:2002@203.0.113.20:5060;transport=udp").answered().bye(
        5, uri=f"sip:2002@203.0.113.20:5060;transport={transport}")  # fmt: skip


CASES: dict[str, tuple[Play, Play, str]] = {
    "max-forwards-exceeded": (lambda: refused(483), lambda: refused(486), "Max-Forwards ran out"),
    "max-forwards-low": (lambda: invite(headers={"Max-Forwards": "3"}), lambda: invite(headers={"Max-Forwards": "6"}), "3"),
    "loop-detected": (lambda: looped(None), good, "same request"),
    "spiral": (lambda: looped("sip:other@203.0.113.20"), lambda: looped(None), "another Request-URI"),
    "merged-request-482": (lambda: refused(482), lambda: refused(481), "same request twice"),
    "record-route-missing": (
        lambda: proxied(None, bye_through_proxy=False), lambda: proxied("sip:203.0.113.20;lr", bye_through_proxy=True), "without Record-Route"),
    "record-route-order": (lambda: routed(RECORDED), lambda: routed(RECORDED[::-1]), "without reversing"),
    "record-route-private": (
        lambda: invite(headers={"Record-Route": "<sip:10.1.1.1;lr>"}), lambda: invite(headers={"Record-Route": "<sip:192.0.2.1;lr>"}), "10.1.1.1"),
    "route-not-loose": (
        lambda: invite(headers={"Route": "<sip:192.0.2.1>"}), lambda: invite(headers={"Route": "<sip:192.0.2.1;lr>"}), "192.0.2.1"),
    "route-set-changed": (lambda: routed(["<sip:192.0.2.9;lr>"]), lambda: routed(RECORDED[::-1]), "192.0.2.9"),
    "preloaded-route-rejected": (
        lambda: Scene().call().invite(0, headers={"Route": "<sip:192.0.2.1;lr>"}).trying().response(403, to="INVITE").ack().scene,
        lambda: refused(403), "preloaded Route"),
    "in-dialog-wrong-node": (lambda: in_dialog(481, "203.0.113.21:5060"), lambda: in_dialog(481, "203.0.113.20:5060"), "481"),
    "request-uri-not-contact": (
        lambda: Scene().call().invite(0).trying().ok().ack(uri="sip:2002@203.0.113.99:5060").scene, good, "203.0.113.99"),
    "transport-switch": (lambda: switched("tcp").scene, lambda: switched("udp").scene, "TCP"),
    "dns-failover": (lambda: tried(2), lambda: tried(1), "after 503"),
    "route-retry-storm": (lambda: tried(7), lambda: tried(4), "7 hosts"),
    "cause-not-mapped": (
        lambda: refused(503, headers=cause(1)), lambda: refused(503, headers=cause(34)), "cause 1"),
    "unallocated-number": (lambda: refused(404), lambda: refused(486), "2002"),
    "no-route": (lambda: refused(404, headers=cause(3)), lambda: refused(404, headers=cause(1)), "nothing routes"),
    "congestion": (lambda: refused(503, headers=cause(34)), lambda: refused(503), "no circuit"),
    "call-rejected": (lambda: refused(603), lambda: refused(486), "603"),
    "busy-burst": (lambda: many([486] * 25 + [200] * 27), lambda: many([486] * 10 + [200] * 42), "486 Busy"),
    "asr-low": (lambda: many([404] * 40 + [200] * 12), lambda: many([404] * 10 + [200] * 42), "23.1 %"),
    "ner-low": (lambda: many([500] * 10 + [200] * 42), lambda: many([486] * 10 + [200] * 42), "80.8 %"),
    "peer-asymmetry": (
        lambda: Scene().call().invite(0).trying(source="203.0.113.44:5060").scene, good, "203.0.113.20"),
    "dialled-format-rejected": (lambda: dialled(200, 404), lambda: dialled(200, 200), "+E.164 numbers"),
    "early-reject-by-hop": (
        lambda: _by_hop(), lambda: refused(500), "over 2 hops"),
    "redirect-loop": (lambda: redirected("sip:2002@203.0.113.20"), lambda: redirected("sip:2002@192.0.2.77"), "sent before"),
    "privacy-route-433": (lambda: refused(433, "Anonymity Disallowed"), lambda: refused(403), "anonymous"),
    "domain-mismatch": (lambda: refused(403, "Relaying denied"), lambda: refused(403), "domain"),
    "srv-wrong-port": (lambda: refused_at_port(5060), lambda: refused_at_port(5080), "5070"),
}  # fmt: skip


def _by_hop() -> Scene:
    call = Scene().call(callee=PROXY).invite(0)
    call.scene.forward(call.sent, 0.01, PROXY, FAR)
    return call.response(500, to="INVITE", at=0.5).ack().scene


@pytest.mark.parametrize("rule", CASES)
def test_fires_with_the_values_of_the_trace(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "routing"


@pytest.mark.parametrize("rule", CASES)
def test_stays_silent_without_the_fault(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "routing"}


def test_a_good_call_breaks_no_rule() -> None:
    assert [f for f in good().report().findings if f.category == "routing"] == []


def test_max_forwards_that_is_not_counted_down_is_medium() -> None:
    scene = proxied("sip:203.0.113.20;lr", bye_through_proxy=True, counted=False)
    assert scene.findings()["max-forwards-low"].severity == "medium"

"""General rules: facts of a trace, each told when there is something to tell and silent otherwise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.trace.analysis import rules
from tests.data import scene_packets as wire
from tests.data.scene import Scene

Play = Callable[[], Scene]
PLAIN = {"User-Agent": None, "Server": None}


def good(**options: object) -> Scene:
    """A good call without media."""
    return Scene(**options).call().basic(5, rtp=False).scene  # type: ignore[arg-type]


def options_only() -> Scene:
    """A trace without any call."""
    return Scene().call().request("OPTIONS", at=0, in_dialog=False).ok().scene


def large(octets: int) -> Scene:
    """An INVITE with a long header."""
    return Scene(mtu=1500).call().invite(0, headers={"X-Filler": "x" * octets}).scene


def junk_on_a_connection() -> Scene:
    """Bytes between two messages of a TCP connection that are no SIP."""
    call = Scene().call(transport="TCP").invite(0)
    call.scene.tcp_data(0.05, call.caller, call.callee, b"this is no message at all\r\n" * 4)
    return call.trying().ringing().ok().ack().scene


def doubled(apart: float) -> Scene:
    """One INVITE that the capture holds twice."""
    call = Scene().call().invite(0)
    call.repeat(apart)
    return call.scene


def repeating(every: int) -> Scene:
    """Calls whose INVITE is sent again in one of `every`."""
    scene = Scene()
    for n in range(24):
        call = scene.call(at=n * 10).invite(n * 10)
        if n % every == 0:
            call.repeat(n * 10 + 0.5)
        call.trying(n * 10 + 0.6).ok(n * 10 + 1).ack(n * 10 + 1.1).bye(n * 10 + 3).ok(n * 10 + 3.1)
    return scene


def failures(bunch: int, spread: int) -> Scene:
    """Calls that fail with 503, some at one time and some over an hour."""
    scene = Scene()
    for n in range(bunch):
        scene.call(at=1000 + n).invite(1000 + n).trying(1000.1 + n).response(503, to="INVITE", at=1000.2 + n).ack(1000.3 + n)
    for n in range(spread):
        at = n * 360.0
        scene.call(at=at).invite(at).trying(at + 0.1).response(503, to="INVITE", at=at + 0.2).ack(at + 0.3)
    return scene.wait(3700)


def peers(transports: tuple[str, ...]) -> Scene:
    """Calls to one peer over several transports."""
    scene = Scene()
    for n in range(6):
        scene.call(at=n * 10, transport=transports[n % len(transports)]).basic(2, rtp=False)
    return scene


def truncated() -> bytes:
    """A capture that ends inside a record."""
    return good().pcap()[:-30]


class Raw(Scene):
    """A scene whose capture is given as bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def pcap(self) -> bytes:
        return self.content


def tunnelled(through: bool) -> Scene:
    """A call, and a packet in an 802.1Q frame when asked."""
    scene = good()
    if through:
        _, _, frame = scene.frames[0]
        scene.packet(0.5, frame[:12] + b"\x81\x00\x00\x0a" + frame[12:])
    return scene


def backwards(step: float) -> Scene:
    """A capture whose last packet is older than the one before."""
    scene = good()
    content = wire.pcap_file([(scene.start + at, frame) for at, _, frame in sorted(scene.frames)] + [(scene.start - step, scene.frames[0][2])], 65535)
    return Raw(content)


def gap() -> Scene:
    """A TCP connection of which a segment is missing."""
    scene = Scene()
    call = scene.call(transport="TCP")
    call.invite(0).trying().ringing().ok().ack().bye(5).ok()
    data = [n for n, (_, _, frame) in enumerate(scene.frames) if b"180 Ringing" in frame]
    del scene.frames[data[0]]
    return scene


CASES: dict[str, tuple[Play, Play, str]] = {
    "call-summary": (good, options_only, "1001 -> 2002"),
    "call-duration": (good, options_only, "talked for 5.0 s"),
    "endpoint-id": (good, lambda: Scene().call().request("OPTIONS", at=0, in_dialog=False, headers=PLAIN).scene, "Desk Phone/1.0"),
    "peer-table": (lambda: failures(3, 0), good, "3 attempts"),
    "udp-fragmented": (lambda: large(2500), lambda: large(100), "IP fragments"),
    "udp-large": (lambda: large(1000), lambda: large(100), "1,300"),
    "message-too-large": (
        lambda: Scene().call().invite(0).trying().response(513, to="INVITE").ack().scene, good, "too large"),
    "capture-truncated": (lambda: Raw(truncated()), good, "ends inside a record"),
    "capture-one-sided": (lambda: Scene().call().invite(0).bye(4).scene, good, "one direction"),
    "capture-duplicates": (lambda: doubled(0.001), lambda: doubled(0.5), "1 of 2"),
    "capture-loss": (gap, lambda: Scene().call(transport="TCP").basic(5, rtp=False).scene, "TCP bytes missing"),
    "capture-clock": (lambda: backwards(100), lambda: backwards(-10), "older"),
    "parse-errors": (
        junk_on_a_connection, good, "no SIP"),
    "encrypted-signalling": (
        lambda: Scene().tls_handshake(0, "198.51.100.10:40000", "203.0.113.20:5061"), good, "TLS"),
    "orphan-rtp": (
        lambda: _with_rtp(Scene(), "198.51.100.77:4000"), lambda: Scene().call().basic(5).scene, "no session description"),
    "non-sip-on-port": (
        lambda: good().stun(1, "198.51.100.10:5060", "203.0.113.20:5060"), good, "STUN"),
    "tunnel-seen": (lambda: tunnelled(True), lambda: tunnelled(False), "802.1Q"),
    "ladder-available": (good, options_only, "1 call(s)"),
    "no-calls": (options_only, good, "options dialog"),
    "retransmission-ratio": (lambda: repeating(2), lambda: repeating(24), "retransmissions"),
    "rtt-table": (good, lambda: Scene().call().invite(0).scene, "p95"),
    "time-of-failure-cluster": (lambda: failures(15, 5), lambda: failures(0, 10), "503"),
    "config-inconsistent": (lambda: peers(("UDP", "TCP")), lambda: peers(("UDP",)), "several ways"),
}  # fmt: skip


def _with_rtp(scene: Scene, source: str) -> Scene:
    scene.rtp(0, source, "203.0.113.77:5000", 2)
    return scene


@pytest.mark.parametrize("rule", CASES)
def test_tells_the_fact(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "general"


@pytest.mark.parametrize("rule", CASES)
def test_says_nothing_where_there_is_nothing(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "general"}

"""Seeded damage to whole captures: no exception but a refusal, and a good call beside the rubbish is still found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.errors import TraceError
from engine.trace import analyze
from tests.data import scene_packets as wire
from tests.data.scene import Scene

SEEDS = range(60)
TORTURE = sorted((Path(__file__).parents[1] / "rfc" / "rfc4475").glob("*.dat"))
TORTURE = [path for path in TORTURE if path.stem != "test"]  # no SIP-Version: nothing says that it is SIP


def busy() -> Scene:
    """A capture with something of everything."""
    scene = Scene(mtu=1500)
    scene.call().basic(2)
    scene.call(at=3, transport="TCP").basic(2, rtp=False)
    scene.call(at=6, transport="WS").basic(2, rtp=False)
    scene.call(at=9).invite(9, headers={"X-Filler": "x" * 2500}).trying().response(486, to="INVITE").ack()
    scene.tls_handshake(12, "198.51.100.10:40000", "203.0.113.20:5061")
    scene.stun(13, "198.51.100.10:20000", "203.0.113.20:30000")
    return scene


CAPTURE = busy().pcap()


def damaged(seed: int) -> bytes:
    """The capture with bytes flipped, cut out, repeated or put in."""
    chance = random.Random(seed)
    content = bytearray(CAPTURE)
    for _ in range(chance.randrange(1, 30)):
        at = chance.randrange(24, len(content))
        kind = chance.randrange(4)
        if kind == 0:
            content[at] = chance.randrange(256)
        elif kind == 1:
            del content[at : at + chance.randrange(1, 40)]
        elif kind == 2:
            content[at:at] = content[at : at + chance.randrange(1, 200)]
        else:
            content[at:at] = chance.randbytes(chance.randrange(1, 40))
    return bytes(content)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_capture_is_read_as_far_as_it_goes(seed: int) -> None:
    try:
        report = analyze(damaged(seed))
    except TraceError:
        return
    assert report.summary.messages >= 0


@pytest.mark.parametrize("seed", range(20))
def test_a_good_call_beside_rubbish_is_found(seed: int) -> None:
    chance = random.Random(seed)
    scene = Scene()
    call = scene.call().basic(5, rtp=False)
    for n in range(200):
        rubbish = chance.choice((chance.randbytes(chance.randrange(1, 300)), call.sent[: chance.randrange(1, len(call.sent))]))
        scene.udp(n / 40, "192.0.2.99:5060", "203.0.113.20:5060", rubbish)
    answered = [f for f in scene.report().findings if f.rule == "call-summary" and "answered (200)" in f.detail]
    assert any("1001 -> 2002" in finding.detail for finding in answered)


@pytest.mark.parametrize("path", TORTURE, ids=lambda path: path.stem)
def test_a_torture_message_goes_through_every_rule(path: Path) -> None:
    content = path.read_bytes()
    for transport in ("UDP", "TCP"):
        scene = Scene()
        scene.sip(0, "198.51.100.10:5060", "203.0.113.20:5060", content, transport)
        scene.call(at=5).basic(2, rtp=False)
        assert scene.report().summary.calls >= 1
    assert analyze(content).summary.messages >= 1


def test_every_cut_of_a_short_capture_is_read() -> None:
    scene = Scene()
    scene.call().invite(0).trying().ok().ack()
    content = scene.pcap()
    for length in range(24, len(content), 13):
        assert analyze(content[:length]).summary.messages <= 4


def test_one_call_of_many_messages_stays_one_call() -> None:
    scene = Scene()
    call = scene.call()
    for n in range(3000):
        call.request("OPTIONS", at=n * 0.1, in_dialog=False)
    report = scene.report()
    assert report.summary.messages == 3000


def test_streams_without_number_are_bounded_by_what_was_sent() -> None:
    scene = Scene()
    for n in range(800):
        packet = wire.rtp_packet(0, n, n * 160, 1000 + n, bytes(160))
        scene.udp(n / 100, "192.0.2.1:4000", "203.0.113.20:30000", packet)
    assert scene.report().summary.streams <= 800

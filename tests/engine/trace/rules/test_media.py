"""Media rules: each fires, and each near miss stays silent."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from engine.trace.analysis import rules
from tests.data import scene_packets as wire
from tests.data.scene import Call, Scene
from tests.data.scene_call import sdp

Play = Callable[[], Scene]
T38 = ["a=T38FaxVersion:0", "a=T38FaxRateManagement:transferredTCF", "a=T38FaxUdpEC:t38UDPRedundancy"]


def up(**options: Any) -> Call:
    """An answered call."""
    return Scene().call(**options).answered()


def talk(seconds: float = 4, **options: Any) -> Call:
    """An answered call with media both ways."""
    return up().media(seconds, **options)


def ended(call: Call, after: float) -> Scene:
    """The call released some seconds after its answer."""
    return call.bye(max(call.now, 2.0) + after).ok().scene


def streams(seconds: float, caller: dict[str, Any] | None, callee: dict[str, Any] | None = None, **options: Any) -> Scene:
    """A call with RTP of each side; None leaves a side out."""
    call = up(**options)
    begin = call.now
    if caller is not None:
        call.rtp(begin + 0.01, seconds - 0.02, **caller)
    if callee is not None:
        call.rtp(begin + 0.02, seconds - 0.04, from_caller=False, **callee)
    return call.bye(begin + seconds).ok().scene


def both(seconds: float = 4, **options: Any) -> Scene:
    """The same options both ways."""
    return streams(seconds, options, options)


def good() -> Scene:
    """A good call."""
    return Scene().call().basic(6).scene


def agreed(offer: dict[str, Any], answer: dict[str, Any]) -> Call:
    """An answered call with the given descriptions."""
    call = Scene().call()
    return call.invite(0, sdp=call.sdp(True, **offer)).trying().ok(1, sdp=call.sdp(False, **answer)).ack()


def silent(first: float, second: float | None = None) -> Scene:
    """A stream with a pause."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 2).rtp(begin + 2 + first, 2)
    call.rtp(begin + 0.02, 4 + first, from_caller=False)
    return call.bye(begin + 4 + first).ok().scene


def from_elsewhere(source: str) -> Scene:
    """RTP of the caller that comes from an address of its own."""
    call = up()
    call.rtp(call.now + 0.01, 2, source=source).rtp(call.now + 0.02, 2, from_caller=False)
    return call.bye(call.now + 3).ok().scene


def rebound() -> Scene:
    """RTP of the caller whose source changes."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 2).rtp(begin + 2.01, 2, source="198.51.100.10:29999").rtp(begin + 0.02, 4, from_caller=False)
    return call.bye(begin + 4.5).ok().scene


def to_elsewhere(target: str) -> Scene:
    """RTP of the caller that goes to an address of its own."""
    call = up()
    call.rtp(call.now + 0.01, 2, target=target).rtp(call.now + 0.02, 2, from_caller=False)
    return call.bye(call.now + 3).ok().scene


def reported(loss: int, times: int = 3, heard: float = 0.0) -> Scene:
    """RTCP reports with a fraction lost."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 8, loss=heard).rtp(begin + 0.02, 8, from_caller=False)
    for n in range(times):
        call.rtcp(begin + 2 * n + 1, sent=2 * n + 1.0).rtcp(begin + 2 * n + 1.1, from_caller=False, sent=2 * n + 1.0, fraction_lost=loss)
    return call.bye(begin + 8.5).ok().scene


def unreported(block: bool) -> Scene:
    """RTCP of the callee with or without a block about the caller's stream."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 20, ptime_ms=60).rtp(begin + 0.02, 20, from_caller=False, ptime_ms=60)
    for n in range(4):
        call.rtcp(begin + 5 * n + 1, sent=5 * n + 1.0).rtcp(begin + 5 * n + 1.1, from_caller=False, sent=5 * n + 1.0, block=block)
    return call.bye(begin + 20).ok().scene


def long_call(rtcp: str) -> Scene:
    """35 s of media; RTCP of nobody, one side or both."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 35, ptime_ms=60).rtp(begin + 0.02, 35, from_caller=False, ptime_ms=60)
    for n in range(6):
        if rtcp in ("one", "both"):
            call.rtcp(begin + 5 * n + 1, sent=5 * n + 1.0)
        if rtcp == "both":
            call.rtcp(begin + 5 * n + 1.1, from_caller=False, sent=5 * n + 1.0)
    return call.bye(begin + 35.5).ok().scene


def late(round_trip_s: float) -> Scene:
    """Reports whose round trip is long: the answer to a sender report comes late."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 6).rtp(begin + 0.02, 6, from_caller=False)
    flow, far = call._flow(True), call._flow(False)
    for n in range(2):
        at = begin + 1 + 2 * n
        seconds, fraction = wire.ntp_time(call.scene.start + at)
        stamp = (seconds & 0xFFFF) << 16 | fraction >> 16
        report = wire.rtcp_report(flow.ssrc, [], sender=(call.scene.start + at, 1000, 50, 8000))
        call.scene.udp(at, "198.51.100.10:20001", "203.0.113.20:30001", report)
        block = wire.report_block(flow.ssrc, fraction_lost=0, lost=0, highest=100, jitter=8, last_sr=stamp, delay_since_sr=0)
        answer = wire.rtcp_report(far.ssrc, [block], sender=(call.scene.start + at + round_trip_s, 1000, 50, 8000))
        call.scene.udp(at + round_trip_s, "203.0.113.20:30001", "198.51.100.10:20001", answer)
    return call.bye(begin + 7).ok().scene


def switched(ssrc: int | None) -> Scene:
    """A stream that goes on under another SSRC, or the same."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 2).rtp(begin + 0.02, 5, from_caller=False)
    call.rtp(begin + 2.1, 2, **({"ssrc": ssrc, "start_seq": 9} if ssrc else {}))
    return call.bye(begin + 5.5).ok().scene


def collided(same: bool) -> Scene:
    """Two sources that send to one port at once."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 3, ssrc=77).rtp(begin + 0.02, 3, from_caller=False)
    call.scene.rtp(begin + 0.5, "198.51.100.99:4000", call.callee_media, 2, ssrc=77 if same else 78, start_seq=500)
    return call.bye(begin + 4).ok().scene


def restarted(seq: int | None, timestamp: int | None) -> Scene:
    """A stream whose numbers jump in the middle."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 2).rtp(begin + 0.02, 4, from_caller=False)
    flow = call._flow(True)
    options: dict[str, Any] = {"ssrc": flow.ssrc}
    if seq is not None:
        options["start_seq"] = flow.seq + seq
    if timestamp is not None:
        options["start_timestamp"] = flow.timestamp + timestamp
    call.rtp(begin + 2.01, 2, **options)
    return call.bye(begin + 5).ok().scene


def drifting(ppm: float) -> Scene:
    """70 s of a clock that is off."""
    pace = 60 * (1 + ppm / 1e6)
    return streams(70, {"ptime_ms": 60, "pace_ms": pace}, {"ptime_ms": 60})


def digits(payload_type: int | None = None, info: bool = False, offer: bool = True) -> Scene:
    """A call with key presses, as events or in INFO."""
    codecs = ("PCMU", "telephone-event") if offer else ("PCMU",)
    call = agreed({"codecs": codecs}, {"codecs": codecs})
    begin = call.now
    call.rtp(begin + 0.01, 2).rtp(begin + 0.02, 4, from_caller=False)
    if payload_type is not None:
        call.dtmf(begin + 2.2, "12", payload_type=payload_type)
    if info:
        call.request("INFO", at=begin + 3, body="Signal=1\r\nDuration=160\r\n", content_type="application/dtmf-relay").ok()
    return call.bye(begin + 5).ok().scene


def clipped_event(end: bool) -> Scene:
    """An event that ends as it should, or never."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 2).rtp(begin + 0.02, 4, from_caller=False)
    if end:
        call.dtmf(begin + 2.2, "1")
    else:
        flow = call._flow(True)
        for n in range(8):
            event = wire.telephone_event(1, 160 * (n + 1), end=False)
            packet = wire.rtp_packet(101, flow.seq + n, flow.timestamp, flow.ssrc, event, marker=n == 0)
            call.scene.udp(begin + 2.2 + n * 0.02, call.caller_media, call.callee_media, packet, dscp=46)
        flow.seq += 8
        flow.timestamp += 1600
        call.rtp(begin + 2.6, 1)
    return call.bye(begin + 5).ok().scene


def image(call: Call, of_caller: bool, lines: list[str]) -> str:
    """A T.38 description of one end."""
    return call.sdp(of_caller, codecs=["t38"], media="image", proto="udptl", ptime=None, direction=None, extra=lines)


def fax(status: int = 200, *, answer: list[str] | None = None, packets: range | None = range(100), lost: frozenset[int] = frozenset(), codec: str = "PCMU") -> Scene:
    """A call that switches to T.38, with UDPTL packets behind it."""
    call = agreed({"codecs": [codec]}, {"codecs": [codec]})
    begin = call.now
    call.rtp(begin + 0.01, 1).rtp(begin + 0.02, 1, from_caller=False)
    call.reinvite(3, from_caller=False, sdp=image(call, False, T38))
    if status != 200:
        return call.response(status, to="INVITE").ack().bye(20).ok().scene
    call.ok(sdp=image(call, True, T38 if answer is None else answer)).ack()
    for n in packets or ():
        if n not in lost:
            call.scene.udp(4 + n * 0.02, call.caller_media, call.callee_media, struct.pack("!HB", n, 3) + b"\x01\x02\x03\x00\x00")
    return call.bye(25).ok().scene.wait(40)


def fax_loop(twice: bool) -> Scene:
    """Both ends ask for T.38, or one."""
    call = agreed({"codecs": ["PCMU"]}, {"codecs": ["PCMU"]})
    call.reinvite(3, from_caller=False, sdp=image(call, False, T38)).ok(sdp=image(call, True, T38)).ack()
    if twice:
        call.reinvite(6, sdp=image(call, True, T38)).ok(sdp=image(call, False, T38)).ack()
    return call.bye(20).ok().scene


def noisy(listed: bool) -> Scene:
    """Comfort noise packets, negotiated or not."""
    codecs = ["PCMU", "CN"] if listed else ["PCMU"]
    call = agreed({"codecs": codecs}, {"codecs": codecs})
    begin = call.now
    call.rtp(begin + 0.01, 2).rtp(begin + 0.02, 4, from_caller=False)
    call.rtp(begin + 2.1, 1, payload_type=13, payload=b"\x40")
    return call.bye(begin + 4.5).ok().scene


def lips(skew_s: float) -> Scene:
    """Audio and video whose sender reports put them apart."""
    call = Scene().call()
    video = ["m=video 20010 RTP/AVP 102", "a=rtpmap:102 H264/90000"]
    back = ["m=video 30010 RTP/AVP 102", "a=rtpmap:102 H264/90000"]
    call.invite(0, sdp=call.sdp(True, more_media=video)).trying().ok(1, sdp=call.sdp(False, more_media=back)).ack()
    begin, scene = call.now, call.scene
    scene.rtp(begin + 0.1, call.caller_media, call.callee_media, 3, ssrc=1)
    scene.rtp(begin + 0.1, "198.51.100.10:20010", "203.0.113.20:30010", 3, ssrc=2, payload_type=102, clock=90000)
    for ssrc, port, off in ((1, 20001, 0.0), (2, 20011, skew_s)):
        report = wire.rtcp_report(ssrc, [], sender=(scene.start + begin + 1 - off, 8000, 50, 8000))
        scene.udp(begin + 1, f"198.51.100.10:{port}", f"203.0.113.20:{port + 10000}", report)
    return call.bye(begin + 4).ok().scene


def recorded(loss: float) -> Scene:
    """A call with media, and the SIPREC leg that records it with a loss of its own."""
    scene = Scene()
    same = {"Cisco-Guid": "1-2-3-4"}
    call = scene.call()
    call.invite(0, headers=same).trying().ok(1).ack()
    call.rtp(1.2, 4).rtp(1.2, 4, from_caller=False)
    leg = scene.call(callee="203.0.113.99:5060", at=1.1)
    metadata = (
        b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + sdp("198.51.100.10", 40000, direction="sendonly").encode()
        + b"\r\n--b1\r\nContent-Type: application/rs-metadata+xml\r\n\r\n<recording/>\r\n--b1--\r\n"
    )
    leg.invite(1.1, sdp=None, body=metadata, content_type="multipart/mixed;boundary=b1", headers=same).trying()
    leg.ok(1.3, sdp=sdp("203.0.113.99", 41000, direction="recvonly")).ack()
    scene.rtp(1.5, "198.51.100.10:40000", "203.0.113.99:41000", 4, loss=loss)
    return scene


def marked(dscp: int) -> Scene:
    """RTP with a DSCP."""
    return both(dscp=dscp)


LOUD, QUIET = {"payload": b"\x00\x80" * 80}, {"payload": b"\xfe\x7e" * 80}

CASES: dict[str, tuple[Play, Play, str]] = {
    "no-rtp": (
        lambda: _no_media(), good, "no RTP flowed"),
    "one-way-audio": (lambda: streams(5, {}), good, "only the caller sent RTP"),
    "one-way-by-sdp": (
        lambda: agreed({}, {"direction": "sendonly"}).scene, lambda: agreed({}, {}).scene, "sendonly"),
    "one-way-silence": (lambda: streams(4, {"payload": b"\xff" * 160}, {}), good, "digital silence"),
    "rtp-gap": (lambda: silent(1.5), lambda: silent(0.0), "pauses"),
    "rtp-stops-early": (lambda: ended(talk(3), 12), lambda: ended(talk(3), 4), "before the BYE"),
    "rtp-late-start": (lambda: _started(2.0), lambda: _started(0.2), "after the answer"),
    "rtp-after-bye": (lambda: _outlasting(4.0), lambda: _outlasting(0.5), "after the BYE"),
    "rtp-source-mismatch": (lambda: from_elsewhere("192.0.2.50:20000"), good, "another host"),
    "rtp-asymmetric-port": (lambda: from_elsewhere("198.51.100.10:21000"), good, "another port"),
    "rtp-source-changed": (rebound, good, "29999"),
    "rtp-wrong-destination": (lambda: to_elsewhere("203.0.113.77:30000"), good, "203.0.113.77:30000"),
    "rtp-to-private": (lambda: to_elsewhere("10.0.0.9:30000"), good, "private address"),
    "loss": (lambda: both(loss=0.08), lambda: both(loss=0.0), "lost"),
    "loss-burst": (
        lambda: both(loss=[*range(20, 27), *range(70, 77), *range(120, 127), *range(160, 167)]), lambda: both(loss=[20, 90]), "in a row"),
    "loss-remote": (lambda: reported(30), lambda: reported(5), "reports up to"),
    "loss-capture": (lambda: reported(0, heard=0.1), lambda: reported(30, heard=0.1), "missing here"),
    "jitter": (lambda: both(5, jitter_ms=90.0), lambda: both(5, jitter_ms=4.0), "of jitter"),
    "jitter-burst": (
        lambda: both(5, jitter_ms=lambda n: max(0.0, 90.0 - 20 * (n % 10))), lambda: both(5, jitter_ms=5.0), "three packet times"),
    "out-of-order": (lambda: both(swapped=range(10, 190, 20)), lambda: both(swapped=[50]), "behind a later packet"),
    "duplicate-rtp": (lambda: both(duplicates=range(10, 190, 10)), lambda: both(duplicates=[50]), "came twice"),
    "mos-low": (lambda: both(6, loss=0.25), lambda: both(6), "MOS"),
    "delay-high": (lambda: late(0.5), lambda: late(0.02), "One-way delay"),
    "rtcp-missing": (lambda: long_call("none"), lambda: long_call("both"), "without RTCP"),
    "rtcp-one-way": (lambda: long_call("one"), lambda: long_call("both"), "one side"),
    "rtcp-rr-zero-received": (lambda: unreported(False), lambda: unreported(True), "no report"),
    "rtcp-interval": (lambda: _rushed(), lambda: long_call("both"), "every"),
    "ssrc-change": (lambda: switched(4242), lambda: switched(None), "new SSRC"),
    "ssrc-collision": (lambda: collided(True), lambda: collided(False), "two sources"),
    "seq-jump": (lambda: restarted(500, None), lambda: restarted(0, None), "jump"),
    "timestamp-jump": (lambda: restarted(None, 80_000), lambda: restarted(None, 0), "Timestamps"),
    "clock-drift": (lambda: drifting(600), lambda: drifting(0), "ppm"),
    "marker-flood": (lambda: both(markers=range(200)), good, "marker bit"),
    "ptime-mismatch": (lambda: both(ptime_ms=40), lambda: both(ptime_ms=20), "40 ms"),
    "ptime-asymmetric": (lambda: streams(4, {"ptime_ms": 20}, {"ptime_ms": 40}), good, "other direction"),
    "ptime-nonstandard": (
        lambda: agreed({"ptime": 25}, {}).scene, lambda: agreed({"ptime": 30}, {}).scene, "25 ms"),
    "packet-size-variable": (
        lambda: both(payload=lambda n: bytes([0x55 ^ n & 15] * (80 + 20 * (n % 5)))), good, "payload sizes"),
    "dscp-unmarked": (lambda: marked(0), lambda: marked(46), "DSCP"),
    "dtmf-not-negotiated": (
        lambda: digits(offer=False), lambda: digits(), "telephone-event"),
    "dtmf-mode-mismatch": (lambda: digits(info=True), lambda: digits(101), "INFO"),
    "dtmf-pt-differs": (
        lambda: agreed({"codecs": ["PCMU", "101 telephone-event/8000"]}, {"codecs": ["PCMU", "96 telephone-event/8000"]}).scene, good, "96"),
    "dtmf-clock-mismatch": (
        lambda: agreed({"codecs": ["opus", "telephone-event"]}, {"codecs": ["opus", "telephone-event"]}).scene, good, "8000 Hz"),
    "dtmf-malformed": (lambda: clipped_event(False), lambda: clipped_event(True), "end packet"),
    "t38-rejected": (lambda: fax(488), fax, "488"),
    "t38-loop": (lambda: fax_loop(True), lambda: fax_loop(False), "2 times"),
    "t38-no-udptl": (lambda: fax(packets=None), fax, "no UDPTL"),
    "t38-params": (
        lambda: fax(answer=[*T38[:2], "a=T38FaxUdpEC:t38UDPFEC"]), fax, "T38FaxUdpEC"),
    "t38-loss": (lambda: fax(lost=frozenset(range(10, 90, 10))), fax, "UDPTL"),
    "fax-over-compressed": (lambda: fax(488, codec="G729"), lambda: fax(488), "compressed codec"),
    "cn-unnegotiated": (lambda: noisy(False), lambda: noisy(True), "comfort noise"),
    "cn-clock-mismatch": (
        lambda: agreed({"codecs": ["AMR-WB", "CN"]}, {"codecs": ["AMR-WB"]}).scene, lambda: agreed({"codecs": ["PCMU", "CN"]}, {}).scene, "CN"),
    "video-audio-skew": (lambda: lips(0.6), lambda: lips(0.0), "off the audio"),
    "level-clipping": (lambda: both(12, **LOUD), good, "full scale"),
    "level-low": (lambda: both(12, **QUIET), good, "mean level"),
    "recording-leg-gap": (lambda: recorded(0.1), lambda: recorded(0.0), "recorded stream"),
}  # fmt: skip


def _no_media() -> Scene:
    """A call without media beside one with."""
    scene = Scene()
    scene.call().basic(4)
    call = scene.call(at=20).answered(20)
    return call.bye(30).ok().scene


def _started(late_s: float) -> Scene:
    call = up()
    begin = call.now
    call.rtp(begin + late_s, 3).rtp(begin + late_s, 3, from_caller=False)
    return call.bye(begin + late_s + 3.5).ok().scene


def _outlasting(after_s: float) -> Scene:
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 3 + after_s).rtp(begin + 0.02, 3, from_caller=False)
    return call.bye(begin + 3).ok().scene


def _rushed() -> Scene:
    """RTCP every 200 ms."""
    call = up()
    begin = call.now
    call.rtp(begin + 0.01, 4).rtp(begin + 0.02, 4, from_caller=False)
    for n in range(10):
        call.rtcp(begin + 1 + n * 0.2, sent=1 + n * 0.2)
    return call.bye(begin + 5).ok().scene


@pytest.mark.parametrize("rule", CASES)
def test_fires_with_the_values_of_the_trace(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "media"


@pytest.mark.parametrize("rule", CASES)
def test_stays_silent_without_the_fault(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "media"}


def test_a_good_call_breaks_no_rule() -> None:
    assert [f for f in good().report().findings if f.category == "media" and f.severity != "info"] == []

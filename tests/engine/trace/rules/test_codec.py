"""Codec rules: each fires, and each near miss stays silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engine.trace.analysis import rules
from tests.data.scene import Scene
from tests.data.scene_call import sdp

Play = Callable[[], Scene]


def good() -> Scene:
    """A good call with media."""
    return Scene().call().basic(3).scene


def described(codecs: Sequence[str] = ("PCMU", "telephone-event"), **options: Any) -> Scene:
    """An INVITE with a description of its own."""
    return Scene().call().invite(0, sdp=sdp("198.51.100.10", 20000, codecs=codecs, **options)).scene


def agreed(offer: Sequence[str], answer: Sequence[str], extra: Sequence[str] = (), back: Sequence[str] = (), **options: Any) -> Scene:
    """An answered call with the given codecs."""
    call = Scene().call()
    call.invite(0, sdp=call.sdp(True, codecs=offer, extra=extra)).trying()
    return call.ok(sdp=call.sdp(False, codecs=answer, extra=back, **options)).ack().scene


def refused(known: Sequence[str] | None, offer: Sequence[str] = ("PCMU",)) -> Scene:
    """A 488, from a peer whose codecs another call shows."""
    scene = Scene()
    if known:
        other = scene.call()
        other.invite(0, sdp=other.sdp(True, codecs=known)).trying().ok(sdp=other.sdp(False, codecs=known)).ack().bye(5).ok()
    call = scene.call(at=20)
    call.invite(20, sdp=call.sdp(True, codecs=offer)).trying().response(488, to="INVITE").ack()
    return scene


def changes(*codecs: str) -> Scene:
    """A call whose answers name one codec after the other."""
    call = Scene().call()
    call.invite(0, sdp=call.sdp(True)).trying().ok(sdp=call.sdp(False, codecs=[codecs[0]])).ack()
    for n, codec in enumerate(codecs[1:]):
        call.reinvite(5.0 * (n + 1), sdp=call.sdp(True)).ok(sdp=call.sdp(False, codecs=[codec])).ack()
    return call.scene


def sent(caller: int, callee: int) -> Scene:
    """A PCMU call with RTP of the given payload types."""
    call = Scene().call().answered()
    begin = call.now
    call.rtp(begin + 0.01, 2, payload_type=caller).rtp(begin + 0.02, 2, from_caller=False, payload_type=callee)
    return call.bye(begin + 3).ok().scene


def refused_line(media: str, port: int) -> Scene:
    """A call whose answer refuses a line, or not."""
    call = Scene().call()
    offer = call.sdp(True, more_media=["m=video 20010 RTP/AVP 102", "a=rtpmap:102 H264/90000"])
    answer = call.sdp(False, codecs=["PCMU"], more_media=[f"m=video {port if media == 'video' else 30010} RTP/AVP 102", "a=rtpmap:102 H264/90000"])
    if media == "audio":
        answer = answer.replace("m=audio 30000", f"m=audio {port}")
    return call.invite(0, sdp=offer).trying().ok(sdp=answer).ack().scene


def legs(first: str, second: str) -> Scene:
    """Two legs of one call with a codec each."""
    scene = Scene()
    same = {"Cisco-Guid": "1-2-3-4"}
    for n, (codec, callee) in enumerate(((first, "203.0.113.20:5060"), (second, "203.0.113.40:5060"))):
        call = scene.call(callee=callee, at=n * 0.5)
        call.invite(n * 0.5, sdp=call.sdp(True, codecs=[codec]), headers=same).trying().ok(sdp=call.sdp(False, codecs=[codec])).ack()
    return scene


def remapped(codec: str) -> Scene:
    """A re-INVITE that gives a dynamic payload type another codec."""
    call = Scene().call()
    call.invite(0, sdp=call.sdp(True, codecs=["97 iLBC/8000"])).trying().ok(sdp=call.sdp(False, codecs=["97 iLBC/8000"])).ack()
    return call.reinvite(5, sdp=call.sdp(True, codecs=[codec])).ok(sdp=call.sdp(False, codecs=[codec])).ack().scene


CASES: dict[str, tuple[Play, Play, str]] = {
    "no-common-codec": (lambda: refused(["G729"]), lambda: refused(["PCMU"]), "G729"),
    "codec-rejected-488": (lambda: refused(["PCMU"]), lambda: refused(["G729"]), "488"),
    "media-rejected": (lambda: refused_line("audio", 0), lambda: refused_line("audio", 30000), "port 0"),
    "codec-list": (good, lambda: described(), "PCMU"),
    "codec-changed-mid-call": (lambda: changes("PCMU", "PCMA"), lambda: changes("PCMU", "PCMU"), "from PCMU to PCMA"),
    "codec-not-negotiated": (lambda: sent(8, 0), lambda: sent(0, 0), "payload type 8"),
    "codec-asymmetric": (lambda: sent(0, 8), lambda: sent(0, 0), "PCMA"),
    "codec-multiple-in-answer": (
        lambda: agreed(["PCMU", "PCMA"], ["PCMU", "PCMA"]), lambda: agreed(["PCMU", "PCMA"], ["PCMU", "telephone-event"]), "PCMA"),
    "codec-order-ignored": (lambda: agreed(["PCMU", "PCMA"], ["PCMA"]), lambda: agreed(["PCMU", "PCMA"], ["PCMU"]), "Agreed PCMA"),
    "transcode-risk": (lambda: legs("PCMU", "G729"), lambda: legs("PCMU", "PCMU"), "G729"),
    "transcode-chain": (lambda: legs("G729", "opus"), lambda: legs("PCMU", "G729"), "opus"),
    "codec-deprecated": (lambda: agreed(["G723"], ["G723"]), lambda: agreed(["PCMU"], ["PCMU"]), "G723"),
    "codec-wideband-lost": (
        lambda: agreed(["PCMU", "G722"], ["PCMU", "G722"]), lambda: agreed(["PCMU", "G722"], ["PCMU"]), "G722"),
    "codec-bandwidth": (lambda: described(extra=["b=AS:30"]), lambda: described(extra=["b=AS:80"]), "30 kbit/s"),
    "pt-static-conflict": (lambda: described(["0 PCMA/8000"]), lambda: described(["0 PCMU/8000"]), "static payload type"),
    "pt-dynamic-conflict": (lambda: remapped("97 speex/8000"), lambda: remapped("97 iLBC/8000"), "another codec"),
    "pt-missing-rtpmap": (lambda: described(["0", "96"]), lambda: described(["0", "96 opus/48000/2"]), "without rtpmap"),
    "pt-out-of-range": (lambda: described(["0", "200"]), lambda: described(["0", "18"]), "may not be used"),
    "rtpmap-clock-wrong": (lambda: described(["9 G722/16000"]), lambda: described(["9 G722/8000"]), "16000"),
    "opus-fmtp": (
        lambda: described(["111 opus/48000/2"], extra=["a=fmtp:111 maxaveragebitrate=5000"]),
        lambda: described(["111 opus/48000/2"], extra=["a=fmtp:111 maxaveragebitrate=6000"]), "maxaveragebitrate"),
    "amr-fmtp-mismatch": (
        lambda: agreed(["AMR"], ["AMR"], ["a=fmtp:98 octet-align=1"], ["a=fmtp:98 octet-align=0"]),
        lambda: agreed(["AMR"], ["AMR"], ["a=fmtp:98 octet-align=1"], ["a=fmtp:98 octet-align=1"]), "octet-align"),
    "g729-annexb": (
        lambda: agreed(["G729"], ["G729"], ["a=fmtp:18 annexb=no"]),
        lambda: agreed(["G729"], ["G729"], ["a=fmtp:18 annexb=no"], ["a=fmtp:18 annexb=no"]), "annexb"),
    "g7231-annexa": (
        lambda: agreed(["G723"], ["G723"], ["a=fmtp:4 annexa=no"]),
        lambda: agreed(["G723"], ["G723"], ["a=fmtp:4 annexa=no"], ["a=fmtp:4 annexa=no"]), "annexa"),
    "ilbc-mode": (
        lambda: agreed(["iLBC"], ["iLBC"], ["a=fmtp:97 mode=30"], ["a=fmtp:97 mode=20"]),
        lambda: agreed(["iLBC"], ["iLBC"], ["a=fmtp:97 mode=20"], ["a=fmtp:97 mode=20"]), "mode"),
    "g726-packing": (
        lambda: agreed(["104 G726-32/8000", "105 AAL2-G726-32/8000"], ["104 G726-32/8000"]),
        lambda: agreed(["104 G726-32/8000"], ["104 G726-32/8000"]), "AAL2"),
    "telephone-event-events": (
        lambda: described(["0 PCMU/8000", "96 telephone-event/8000"], extra=["a=fmtp:96 0-15"]), lambda: described(["PCMU", "telephone-event"]), "0-16"),
    "sdp-size": (lambda: described([str(n) for n in range(35)]), lambda: described(), "35 formats"),
    "video-reject": (lambda: refused_line("video", 0), lambda: refused_line("video", 30010), "video"),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_fires_with_the_values_of_the_trace(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "codec"


@pytest.mark.parametrize("rule", CASES)
def test_stays_silent_without_the_fault(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "codec"}


def test_a_good_call_breaks_no_rule() -> None:
    assert [f for f in good().report().findings if f.category == "codec" and f.severity != "info"] == []

"""Compliance rules: each fires on the fault it names, and stays silent on the nearest message without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.trace.analysis import rules
from tests.data.scene import Call, Scene
from tests.data.scene_call import sdp

Play = Callable[[], Scene]


def invite(**options: Any) -> Scene:
    """One INVITE."""
    return Scene().call().invite(0, **options).scene


def good() -> Scene:
    """A good call without media."""
    return Scene().call().basic(5, rtp=False).scene


def reply(status: int, **options: Any) -> Scene:
    """An INVITE and its final answer."""
    return Scene().call().invite(0).trying().response(status, to="INVITE", **options).ack().scene


def lone(method: str, **options: Any) -> Scene:
    """One request outside a dialog."""
    return Scene().call().request(method, at=0, in_dialog=False, **options).scene


def edited(change: Callable[[bytes], bytes], transport: str = "UDP") -> Scene:
    """An INVITE with its bytes changed."""
    call = Scene().call().invite(0)
    text = change(call.sent)
    scene = Scene()
    return scene.sip(0.0, call.caller, call.callee, text, transport)


def described(**options: Any) -> Scene:
    """An INVITE with a description of its own."""
    return invite(sdp=sdp("198.51.100.10", 20000, **options))


def offers(first: str, second: str) -> Scene:
    """An answered call whose caller describes itself twice."""
    return Scene().call().invite(0, sdp=first).trying().ok().ack().reinvite(5, sdp=second).ok().ack().scene


def trunk(asserted: int, plain: int) -> Scene:
    """Calls of one trunk with and without P-Asserted-Identity."""
    scene = Scene()
    for n in range(asserted + plain):
        given = {"P-Asserted-Identity": "<sip:+15550100@198.51.100.10>"} if n < asserted else {}
        scene.call(at=n * 30).invite(n * 30, headers=given).trying().response(486, to="INVITE").ack()
    return scene


def body(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Replaces bytes and puts Content-Length right."""

    def change(text: bytes) -> bytes:
        head, _, rest = text.replace(old, new).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(rest)]) + b"\r\n\r\n" + rest

    return change


def multipart(closing: bytes) -> Scene:
    """An INVITE with a multipart body that ends in `closing`."""
    text = b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + sdp("198.51.100.10", 20000).encode() + b"\r\n" + closing
    return invite(sdp=None, body=text, content_type="multipart/mixed;boundary=b1")


def siprec(record: bool) -> Scene:
    """A call, and the SIPREC leg that records it."""
    extra = ["a=record:on"] if record else []
    scene = Scene()
    same = {"Cisco-Guid": "1-2-3-4"}
    call = scene.call()
    call.invite(0, sdp=call.sdp(True, extra=extra), headers=same).trying().ok(1).ack()
    metadata = (
        b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + sdp("198.51.100.10", 40000, direction="sendonly").encode()
        + b"\r\n--b1\r\nContent-Type: application/rs-metadata+xml\r\n\r\n<recording/>\r\n--b1--\r\n"
    )
    leg = scene.call(callee="203.0.113.99:5060", to_user="recorder", at=1.5)
    leg.invite(1.5, sdp=None, body=metadata, content_type="multipart/mixed;boundary=b1", headers=same).trying().ok(sdp=True).ack()
    return scene


def two_hops(headers: dict[str, str] | None = None) -> Scene:
    """An INVITE that a proxy forwards."""
    call = Scene().call(callee="203.0.113.20:5060").invite(0, headers=headers)
    call.scene.forward(call.sent, 0.01, "203.0.113.20:5060", "192.0.2.30:5060")
    return call.scene


def required(supported: str | None) -> Scene:
    """A response that requires 100rel."""
    call = Scene().call().invite(0, headers={"Supported": supported}).trying()
    return call.ringing(headers={"Require": "100rel", "RSeq": "1"}).scene


# rule -> (fires, stays silent, words of the detail)
CASES: dict[str, tuple[Play, Play, str]] = {
    "missing-mandatory-header": (lambda: invite(drop={"Via"}), good, "no Via"),
    "missing-contact": (lambda: invite(drop={"Contact"}), good, "no Contact"),
    "from-tag-missing": (lambda: invite(from_tag=""), good, "From without tag"),
    "branch-cookie-missing": (lambda: invite(branch="abc123"), good, "z9hG4bK"),
    "branch-empty": (lambda: invite(branch="z9hG4bK"), good, "nothing behind"),
    "branch-reused": (
        lambda: Scene().call().answered().bye(5, branch="z9hG4bKsame").ok()
        .request("OPTIONS", at=7, branch="z9hG4bKsame").ok().scene, good, "branch of an earlier"),
    "duplicate-single-header": (
        lambda: edited(lambda text: text.replace(b"Max-Forwards: 70", b"Max-Forwards: 70\r\nMax-Forwards: 69")), good, "2 Max-Forwards"),
    "content-length-mismatch": (lambda: edited(lambda text: text[:-20]), good, "missing"),
    "content-length-missing-tcp": (
        lambda: Scene().call(transport="TCP").request("OPTIONS", at=0, in_dialog=False, drop={"Content-Length"}).scene,
        lambda: lone("OPTIONS", drop={"Content-Length"}), "without Content-Length"),
    "content-type-missing": (lambda: invite(drop={"Content-Type"}), good, "no Content-Type"),
    "bare-lf": (lambda: edited(lambda text: text.replace(b"\r\n", b"\n")), good, "LF"),
    "header-folding": (lambda: edited(lambda text: text.replace(b"User-Agent: Desk", b"User-Agent: My\r\n Desk")), good, "folds"),
    "compact-mixed": (
        lambda: edited(lambda text: text.replace(b"\r\nFrom:", b"\r\nf:")), good, "one-letter"),
    "uri-invalid": (lambda: invite(headers={"Contact": "<sip:a%zz@198.51.100.10>"}), good, "%"),
    "display-name-unquoted": (
        lambda: edited(lambda text: text.replace(b"From: <", b"From: Bell, Alexander <")), good, "From"),
    "cseq-out-of-range": (lambda: edited(lambda text: text.replace(b"CSeq: 102", b"CSeq: 4294967300")), good, "4294967300"),
    "max-forwards-range": (lambda: invite(headers={"Max-Forwards": "200"}), lambda: invite(headers={"Max-Forwards": "100"}), "200"),
    "version-not-2": (lambda: edited(lambda text: text.replace(b" SIP/2.0\r\n", b" SIP/7.0\r\n", 1)), good, "SIP/7.0"),
    "status-code-range": (lambda: reply(799), lambda: reply(699), "799"),
    "reason-phrase-encoding": (
        lambda: edited(lambda text: text.replace(b"User-Agent: Desk", b"User-Agent: D\xe9sk")), good, "UTF-8"),
    "date-invalid": (
        lambda: invite(headers={"Date": "Fri, 20 Nov 2026 10:00:00 EST"}),
        lambda: invite(headers={"Date": "Fri, 20 Nov 2026 10:00:00 GMT"}), "EST"),
    "allow-missing-405": (lambda: reply(405), lambda: reply(405, headers={"Allow": "INVITE"}), "405"),
    "unsupported-missing-420": (lambda: reply(420), lambda: reply(420, headers={"Unsupported": "foo"}), "420"),
    "challenge-missing": (
        lambda: reply(401), lambda: reply(401, headers={"WWW-Authenticate": 'Digest realm="a", nonce="b"'}), "WWW-Authenticate"),
    "supported-required-conflict": (lambda: required("timer"), lambda: required("timer, 100rel"), "100rel"),
    "ack-with-require": (
        lambda: Scene().call().invite(0).trying().ok().ack(headers={"Require": "timer"}).scene, good, "timer"),
    "event-missing": (lambda: lone("SUBSCRIBE"), lambda: lone("SUBSCRIBE", headers={"Event": "presence"}), "Event"),
    "rseq-without-require": (
        lambda: Scene().call().invite(0).trying().ringing(headers={"RSeq": "1"}).scene, lambda: required("100rel"), "RSeq"),
    "sdp-syntax": (lambda: edited(body(b"\r\ns=call", b"")), good, "no s= line"),
    "sdp-origin-version": (
        lambda: offers(sdp("198.51.100.10", 20000), sdp("198.51.100.10", 20002)),
        lambda: offers(sdp("198.51.100.10", 20000), sdp("198.51.100.10", 20002, version=2)), "version stayed"),
    "sdp-session-name-empty": (lambda: edited(body(b"s=call", b"s=")), good, "s= line"),
    "sdp-duplicate-attr": (lambda: described(extra=["a=sendonly"]), lambda: described(extra=["a=sendrecv"]), "twice"),
    "sdp-ipv6-ipv4-mix": (lambda: invite(sdp=sdp("2001:db8::10", 20000)), good, "IPv6"),
    "multipart-broken": (lambda: multipart(b""), lambda: multipart(b"--b1--\r\n"), "closing boundary"),
    "e164-format": (
        lambda: invite(uri="sip:4930123456@203.0.113.20;user=phone"), lambda: invite(uri="sip:+4930123456@203.0.113.20;user=phone"), "user=phone"),
    "tel-no-context": (
        lambda: invite(uri="tel:2002"), lambda: invite(uri="tel:2002;phone-context=example.com"), "phone-context"),
    "pai-missing": (lambda: trunk(4, 1), lambda: trunk(4, 0), "P-Asserted-Identity"),
    "pai-invalid": (
        lambda: invite(headers={"P-Asserted-Identity": ["<sip:a@x.example>", "<sip:b@x.example>"]}),
        lambda: invite(headers={"P-Asserted-Identity": ["<sip:a@x.example>", "<tel:+15550100>"]}), "2 identities"),
    "privacy-violation": (
        lambda: invite(headers={"Privacy": "id", "P-Asserted-Identity": "<sip:a@198.51.100.10>"}),
        lambda: invite(headers={"P-Asserted-Identity": "<sip:a@198.51.100.10>"}), "Privacy"),
    "anonymous-no-pai": (
        lambda: invite(headers={"From": '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'}), good, "anonymous"),
    "diversion-missing": (
        lambda: invite(uri="sip:2002@203.0.113.20;cause=302"),
        lambda: invite(uri="sip:2002@203.0.113.20;cause=302", headers={"Diversion": "<sip:3003@198.51.100.10>"}), "Diversion"),
    "emergency-no-location": (
        lambda: invite(uri="sip:112@203.0.113.20"),
        lambda: invite(uri="sip:112@203.0.113.20", headers={"Geolocation": "<cid:a@b>"}), "Geolocation"),
    "emergency-failed": (
        lambda: Scene().call().invite(0, uri="sip:112@203.0.113.20").trying().response(503, to="INVITE").ack().scene,
        lambda: Scene().call().invite(0, uri="sip:112@203.0.113.20").trying().ok().ack().scene, "503"),
    "retention-pii": (good, lambda: lone("OPTIONS"), "personal data"),
    "call-recording-unannounced": (lambda: siprec(False), lambda: siprec(True), "a=record"),
    "session-id-missing": (two_hops, lambda: two_hops({"Session-ID": "ab30317f1a784dc48ff824d0d3715d86"}), "2 hops"),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_fires_with_the_values_of_the_trace(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "compliance" and finding.evidence


@pytest.mark.parametrize("rule", CASES)
def test_stays_silent_without_the_fault(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "compliance"}


def test_a_good_call_breaks_no_rule() -> None:
    call: Call = Scene().call().basic(8)
    found = [f for f in call.scene.report().findings if f.category == "compliance" and f.severity != "info"]
    assert found == []

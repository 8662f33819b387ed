"""Security rules: each fires, and each near miss stays silent. Certificates and tokens are made here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engine.trace.analysis import rules
from tests.data import scene_packets as wire
from tests.data.scene import Scene
from tests.data.scene_call import sdp

Play = Callable[[], Scene]
START = datetime.fromtimestamp(1_700_000_000, UTC)
KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
SOURCE, SERVER = "198.51.100.10:40000", "203.0.113.20:5061"


@cache
def certificate(days: int = 365, name: str = "sip.example.com", issuer: str = "Test Authority") -> bytes:
    """A DER certificate that is valid until `days` after the scene's start."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by = subject if issuer == "self" else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    built = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key()).serial_number(1)
        .not_valid_before(START - timedelta(days=700)).not_valid_after(START + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    return built.public_bytes(serialization.Encoding.DER)


def tls(chain: bytes | None = None, **options: Any) -> Scene:
    """A TLS handshake with a SIP server."""
    options.setdefault("server_name", "sip.example.com")
    return Scene().tls_handshake(0, SOURCE, SERVER, chain=[chain or certificate()], **options)


def good() -> Scene:
    """A good call with media between private hosts."""
    return Scene().call(caller="10.0.0.10:5060", callee="10.0.0.20:5060").basic(3).scene


def invite(**options: Any) -> Scene:
    """One INVITE."""
    return Scene().call().invite(0, **options).scene


def agreed(offer: dict[str, Any], answer: dict[str, Any], **options: Any) -> Scene:
    """An answered call with the given descriptions."""
    call = Scene().call(**options)
    call.invite(0, sdp=call.sdp(True, **offer)).trying().ok(sdp=call.sdp(False, **answer)).ack()
    return call.scene


def secure(line: str = CRYPTO) -> dict[str, Any]:
    """Options of an SRTP description."""
    return {"proto": "RTP/SAVP", "extra": [line]}


def dtls(setup: str, fingerprint: str | None = FINGERPRINT) -> dict[str, Any]:
    """Options of a DTLS-SRTP description."""
    return {"proto": "UDP/TLS/RTP/SAVPF", "extra": [f"a=setup:{setup}", *([fingerprint] if fingerprint else [])]}


def two_calls(first: str, second: str) -> Scene:
    """Two calls with their own keys."""
    scene = Scene()
    for n, key in enumerate((first, second)):
        call = scene.call(at=n * 30.0)
        call.invite(n * 30.0, sdp=call.sdp(True, **secure(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}")))
    return scene


def digest(nonce: str = "n1", nc: str = "00000001", algorithm: str = "MD5") -> dict[str, str]:
    """Credentials."""
    return {"Authorization": f'Digest username="1001", realm="r", nonce="{nonce}", uri="sip:a", response="{"0" * 32}", algorithm={algorithm}, qop=auth, nc={nc}, cnonce="c1"'}


def challenged(algorithms: list[str]) -> Scene:
    """A REGISTER and its challenge."""
    values = [f'Digest realm="r", nonce="n", algorithm={name}' for name in algorithms]
    return Scene().call().request("REGISTER", at=0, in_dialog=False).response(401, headers={"WWW-Authenticate": values}).scene


def replayed(nc: str) -> Scene:
    """Two requests with one nonce, both accepted."""
    scene = Scene()
    scene.call().request("REGISTER", at=0, in_dialog=False, headers=digest()).ok()
    scene.call(at=5).request("REGISTER", at=5, in_dialog=False, headers=digest(nc=nc)).ok()
    return scene


def registered(challenge: bool) -> Scene:
    """A registration from a public address, challenged or not."""
    call = Scene().call().request("REGISTER", at=0, in_dialog=False)
    if challenge:
        call.response(401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n"'}).request("REGISTER", at=1, in_dialog=False, headers=digest())
    return call.ok().scene


def probing(users: int, status: int = 404) -> Scene:
    """One source that tries users."""
    scene = Scene()
    for n in range(users):
        scene.call(at=n * 0.5, to_user=f"{100 + n}").invite(n * 0.5).response(status, to="INVITE").ack()
    return scene


def guessing(times: int, success: bool = False) -> Scene:
    """Failed attempts with credentials, and a success behind them."""
    scene = Scene()
    for n in range(times):
        scene.call(at=n * 1.0).request("REGISTER", at=n * 1.0, in_dialog=False, headers=digest(nonce=f"n{n}")).response(403)
    if success:
        scene.call(at=times + 1.0).request("REGISTER", at=times + 1.0, in_dialog=False, headers=digest(nonce="last")).ok()
    return scene


def flood(count: int) -> Scene:
    """Requests within one second."""
    scene = Scene()
    for n in range(count):
        scene.call(at=n * 0.01).request("OPTIONS", at=n * 0.009, in_dialog=False)
    return scene


def dialled(number: str, answered: bool = True) -> Scene:
    """A call to a number."""
    call = Scene().call(to_user=number).invite(0).trying()
    return (call.ok().ack() if answered else call.response(486, to="INVITE").ack()).scene


def rings(count: int, seconds: float) -> Scene:
    """Calls that ring and are cancelled."""
    scene = Scene()
    for n in range(count):
        call = scene.call(at=n * 10.0, to_user=f"{200 + n}").invite(n * 10.0).trying().ringing(n * 10 + 1.0)
        call.cancel(n * 10 + 1 + seconds).ok(to="CANCEL").response(487, to="INVITE").ack()
    return scene


def transfer(target: str) -> Scene:
    """A REFER that is accepted."""
    return Scene().call().answered().request("REFER", at=5, headers={"Refer-To": f"<sip:{target}@203.0.113.20>"}).response(202).scene


def spoofed(domain: str) -> Scene:
    """An INVITE whose From names a domain, refused."""
    call = Scene().call().invite(0, uri="sip:2002@example.com", headers={"From": f"<sip:1001@{domain}>;tag=1"})
    return call.response(403, to="INVITE").ack().scene


def injected(strangers: bool, answered: bool = False) -> Scene:
    """RTP from a stranger to a port in use, and media back to it."""
    call = Scene().call().answered()
    call.media(4)
    if strangers:
        call.scene.rtp(call.now + 1, "192.0.2.66:6666", call.callee_media, 1.0)
    if answered:
        call.scene.rtp(call.now + 1.2, call.callee_media, "192.0.2.66:6666", 1.0)
    return call.bye(9).ok().scene


def fuzzed(count: int) -> Scene:
    """Broken messages of one source."""
    scene = Scene()
    for n in range(count):
        scene.call(at=n * 1.0).request("OPTIONS", at=n * 1.0, in_dialog=False, version="SIP/9.9")
    return scene


def encoded(value: dict[str, Any]) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def identity(age: int = 0, orig: str = "15550100", dest: str = "15550199", attest: str = "A", alg: str = "ES256") -> str:
    """An Identity header."""
    header = {"alg": alg, "ppt": "shaken", "typ": "passport", "x5u": "https://cert.example/a.pem"}
    claims = {"attest": attest, "dest": {"tn": [dest]}, "iat": 1_700_000_000 - age, "orig": {"tn": orig}, "origid": "abc"}
    return f"{encoded(header)}.{encoded(claims)}.c2lnbmF0dXJl;info=<https://cert.example/a.pem>;alg=ES256;ppt=shaken"


def signed(**options: Any) -> Scene:
    """A signed INVITE."""
    call = Scene().call(from_user="+15550100", to_user="+15550199")
    return call.invite(0, headers={"Identity": identity(**options)}).scene


def refused(status: int, reason: str, **options: Any) -> Scene:
    """A call that a verifier refuses."""
    return Scene().call().invite(0, headers=options).trying().response(status, reason, to="INVITE").ack().scene


def dtls_call(shake: bool, stated: str = FINGERPRINT) -> Scene:
    """A call with DTLS-SRTP, with a handshake or without."""
    call = Scene().call()
    call.invite(0, sdp=call.sdp(True, **dtls("actpass", stated))).trying().ok(sdp=call.sdp(False, **dtls("passive", stated))).ack()
    if shake:
        handshake(call.scene, 3, call.caller_media, call.callee_media)
    call.scene.stun(2, call.caller_media, call.callee_media)
    return call.scene.wait(40)


def handshake(scene: Scene, at: float, client: str, server: str, der: bytes = b"") -> None:
    """A DTLS handshake of whole messages."""
    chain = len(der).to_bytes(3, "big") + der if der else b""
    certificates = len(chain).to_bytes(3, "big") + chain
    server_flight = [wire.dtls_record(22, dtls_message(2, b"\xfe\xfd" + bytes(32) + b"\x00\xc0\x2b\x00"))]
    server_flight.append(wire.dtls_record(22, dtls_message(11, certificates)))
    scene.dtls(at, client, server, wire.dtls_record(22, dtls_message(1, b"\xfe\xfd" + bytes(32) + b"\x00\x00\x00\x02\xc0\x2b\x01\x00")))
    scene.dtls(at + 0.01, server, client, *server_flight)
    scene.dtls(at + 0.02, client, server, wire.dtls_record(20, b"\x01"), wire.dtls_record(22, bytes(40)))
    scene.dtls(at + 0.03, server, client, wire.dtls_record(20, b"\x01"), wire.dtls_record(22, bytes(40)))


def dtls_message(kind: int, body: bytes) -> bytes:
    """One unfragmented DTLS handshake message."""
    size = len(body).to_bytes(3, "big")
    return bytes([kind]) + size + b"\x00\x00" + b"\x00\x00\x00" + size + body


def fingerprinted(matching: bool) -> Scene:
    """A DTLS certificate, and a description that names it or another."""
    der = certificate()
    digest_text = x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256()).hex(":").upper()
    line = f"a=fingerprint:sha-256 {digest_text}" if matching else FINGERPRINT
    call = Scene().call()
    call.invite(0, sdp=call.sdp(True, **dtls("actpass"))).trying().ok(sdp=call.sdp(False, **dtls("passive", line))).ack()
    handshake(call.scene, 3, call.caller_media, call.callee_media, der)
    return call.scene


def plain_on_tls() -> Scene:
    """Clear SIP over TCP to port 5061."""
    return Scene().call(transport="TCP", callee="203.0.113.20:5061").request("OPTIONS", at=0, in_dialog=False).scene


PAI = {"P-Asserted-Identity": "<sip:a@198.51.100.10>"}
PLAIN: dict[str, Any] = {}

CASES: dict[str, tuple[Play, Play, str]] = {
    "srtp-not-used": (lambda: agreed(PLAIN, PLAIN), lambda: agreed(secure(), secure()), "RTP/AVP"),
    "srtp-downgrade": (lambda: agreed(secure(), PLAIN), lambda: agreed(secure(), secure()), "SRTP"),
    "srtp-crypto-in-clear": (lambda: agreed(secure(), PLAIN), lambda: agreed(PLAIN, PLAIN), "over UDP"),
    "srtp-suite-weak": (
        lambda: agreed(secure(CRYPTO.replace("_80", "_32")), PLAIN), lambda: agreed(secure(), PLAIN), "short tag"),
    "srtp-key-reuse": (lambda: two_calls(KEY, KEY), lambda: two_calls(KEY, KEY[::-1]), "two different calls"),
    "dtls-fingerprint-missing": (lambda: agreed(dtls("actpass", None), PLAIN), lambda: agreed(dtls("actpass"), PLAIN), "a=fingerprint"),
    "dtls-setup-conflict": (
        lambda: agreed(dtls("active"), dtls("active")), lambda: agreed(dtls("actpass"), dtls("active")), "a=setup"),
    "dtls-no-handshake": (lambda: dtls_call(False), lambda: dtls_call(True), "no ClientHello"),
    "dtls-fingerprint-mismatch": (lambda: fingerprinted(False), lambda: fingerprinted(True), "announces"),
    "tls-cert-expired": (lambda: tls(certificate(-10)), tls, "valid from"),
    "tls-cert-soon": (lambda: tls(certificate(5)), tls, "valid from"),
    "tls-cert-name": (lambda: tls(certificate(name="other.example.net")), tls, "other.example.net"),
    "tls-cert-selfsigned": (lambda: tls(certificate(issuer="self")), tls, "self-signed"),
    "tls-old-version": (lambda: tls(version=0x0301), tls, "TLS 1.0"),
    "tls-weak-cipher": (lambda: tls(cipher=0x0005), tls, "0x0005"),
    "tls-handshake-failed": (lambda: tls(alert=40), tls, "handshake_failure"),
    "tls-plain-on-tls-port": (plain_on_tls, good, "clear SIP"),
    "tls-mutual-required": (lambda: tls(request_certificate=True), tls, "client certificate"),
    "sips-broken": (lambda: invite(uri="sips:2002@203.0.113.20"), good, "sips:"),
    "signaling-cleartext": (invite, good, "in clear"),
    "auth-digest-md5": (lambda: challenged(["MD5"]), lambda: challenged(["SHA-256", "MD5"]), "MD5 only"),
    "auth-cleartext-basic": (lambda: invite(headers={"Authorization": "Basic dXNlcjpwYXNz"}), good, "Basic"),
    "auth-nonce-reuse": (lambda: replayed("00000001"), lambda: replayed("00000002"), "earlier request"),
    "auth-no-challenge": (lambda: registered(False), lambda: registered(True), "without authentication"),
    "scanner-ua": (lambda: invite(headers={"User-Agent": "friendly-scanner"}), good, "friendly-scanner"),
    "scanner-pattern": (lambda: probing(14), lambda: probing(5), "users"),
    "brute-force": (lambda: guessing(12), lambda: guessing(6), "12 times"),
    "account-compromised": (lambda: guessing(6, True), lambda: guessing(2, True), "6 failed"),
    "invite-flood": (lambda: flood(80), lambda: flood(30), "in one second"),
    "toll-fraud-pattern": (lambda: dialled("00881612345678"), lambda: dialled("0049301234567"), "high-risk"),
    "wangiri-pattern": (lambda: rings(12, 1), lambda: rings(12, 8), "within three seconds"),
    "refer-fraud": (lambda: transfer("00881612345678"), lambda: transfer("2003"), "international"),
    "spoofed-invite": (lambda: spoofed("example.com"), lambda: spoofed("elsewhere.example"), "example.com"),
    "rtp-injection": (lambda: injected(True), lambda: injected(False), "192.0.2.66:6666"),
    "rtp-bleed": (lambda: injected(True, True), lambda: injected(True), "192.0.2.66:6666"),
    "internal-address-leak": (lambda: invite(headers={"Contact": "<sip:1001@10.0.0.5>"}), good, "10.0.0.5"),
    "sensitive-header-leak": (lambda: invite(headers={**PAI, "Privacy": "id"}), lambda: invite(headers=PAI), "Privacy"),
    "ua-vulnerable": (lambda: invite(headers={"User-Agent": "Asterisk PBX 13.18.3"}), good, "13.18.3"),
    "malformed-fuzz": (lambda: fuzzed(6), lambda: fuzzed(3), "break the grammar"),
    "stir-identity-missing": (lambda: refused(428, "Use Identity Header"), lambda: refused(486, "Busy Here"), "428"),
    "stir-stale": (lambda: signed(age=300), signed, "300 s"),
    "stir-tn-mismatch": (lambda: signed(orig="15559999"), signed, "15559999"),
    "stir-attest": (signed, invite, "attestation A"),
    "stir-bad-passport": (lambda: signed(alg="HS256"), signed, "ES256"),
    "stir-signature-invalid": (lambda: refused(438, "Invalid Identity Header"), lambda: refused(403, "Forbidden"), "438"),
    "stir-cert": (lambda: refused(437, "Unsupported Credential"), lambda: refused(403, "Forbidden"), "437"),
    "verstat-untrusted": (
        lambda: invite(headers={"P-Asserted-Identity": "<sip:+15550100;verstat=TN-Validation-Passed@198.51.100.10>"}), good, "verstat"),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_fires_with_the_values_of_the_trace(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "security"


@pytest.mark.parametrize("rule", CASES)
def test_stays_silent_without_the_fault(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "security"}


@pytest.mark.parametrize("rule", ["srtp-crypto-in-clear", "srtp-suite-weak", "srtp-key-reuse", "srtp-downgrade", "auth-cleartext-basic"])
def test_no_finding_repeats_a_key_or_password(rule: str) -> None:
    for finding in CASES[rule][0]().report().findings:
        said = f"{finding.detail} {[item.value for item in finding.evidence]}"
        assert KEY not in said and "dXNlcjpwYXNz" not in said


def test_a_call_between_private_hosts_shows_only_that_media_is_in_clear() -> None:
    found = {f.rule for f in good().report().findings if f.category == "security" and f.severity != "info"}
    assert found == {"srtp-not-used"}


def test_the_description_of_a_test_call_is_well_formed() -> None:
    assert sdp("10.0.0.1", 4000).startswith("v=0\r\n")

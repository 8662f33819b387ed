"""Authentication and registration rules: each fires, and each near miss stays silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.trace.analysis import rules
from tests.data.scene import Call, Scene

Play = Callable[[], Scene]
SECRET = "0123456789abcdef0123456789abcdef"
CONTACT = "<sip:1001@198.51.100.10:5060>"


def challenge(realm: str = "example.com", nonce: str = "n1", **more: str) -> dict[str, str]:
    """WWW-Authenticate."""
    given = {"qop": '"auth"', "algorithm": "MD5", **more}
    return {"WWW-Authenticate": f'Digest realm="{realm}", nonce="{nonce}", ' + ", ".join(f"{k}={v}" for k, v in given.items() if v)}


def credentials(realm: str = "example.com", nonce: str = "n1", uri: str = "sip:203.0.113.20", nc: str = "00000001", algorithm: str = "MD5") -> dict[str, str]:
    """Authorization."""
    return {
        "Authorization": f'Digest username="1001", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{SECRET}", '
        f'algorithm={algorithm}, qop=auth, nc={nc}, cnonce="c1"'
    }


def register(at: float = 0.0, call: Call | None = None, **options: Any) -> Call:
    """REGISTER."""
    call = call or Scene().call()
    options.setdefault("uri", "sip:203.0.113.20")
    options.setdefault("headers", {})
    account = "<sip:1001@203.0.113.20>"
    options["headers"] = {"To": account, "From": f"{account};tag=r1", "Contact": CONTACT, "Expires": "3600", **options["headers"]}
    return call.request("REGISTER", at=at, in_dialog=False, **options)


def granted(call: Call, contact: str = f"{CONTACT};expires=3600", **options: Any) -> Call:
    """200 to REGISTER."""
    options["headers"] = {"Contact": contact, **options.get("headers", {})}
    return call.response(200, contact=False, **options)


def challenged(retry: dict[str, str] | None, final: int = 200, asked: dict[str, str] | None = None, status: int = 401, **options: Any) -> Scene:
    """REGISTER, challenge, and (unless None) a retry with its final answer."""
    call = register().response(status, headers=asked or challenge())
    if retry is not None:
        register(0.5, call, headers=retry, **options)
        if final == 200:
            granted(call)
        else:
            call.response(final, headers=challenge(nonce="n2") if final == 401 else {})
    return call.scene.wait(60)


def looped(rounds: int, stale: bool = False) -> Scene:
    """Challenges that never end."""
    call = register().response(401, headers=challenge(nonce="n0"))
    for n in range(rounds):
        register(n + 1.0, call, headers=credentials(nonce=f"n{n}"))
        call.response(401, headers=challenge(nonce=f"n{n + 1}", **({"stale": "true"} if stale else {})))
    return call.scene.wait(60)


def in_dialog(method: str, retried: bool) -> Scene:
    """A request inside a call that is challenged."""
    call = Scene().call().answered().request(method, at=5)
    call.response(401, headers=challenge())
    if retried:
        call.request(method, at=6, headers=credentials()).ok()
    return call.scene


def sources(*outcomes: tuple[str, int]) -> Scene:
    """Calls of one source: (user, final status)."""
    scene = Scene()
    for n, (user, status) in enumerate(outcomes):
        call = scene.call(at=n * 10.0, from_user=user).invite(n * 10.0).trying()
        if status == 200:
            call.ok().ack().bye(n * 10 + 5).ok()
        else:
            call.response(status, to="INVITE").ack()
    return scene


def bindings(contact: str, **options: Any) -> Scene:
    """A registration and the Contact list of its 200."""
    return granted(register(**options), contact).scene


def renewed(apart: float, expires: int = 60) -> Scene:
    """Two registrations of one account."""
    call = granted(register(headers={"Expires": str(expires)}), f"{CONTACT};expires={expires}")
    return granted(register(apart, call, headers={"Expires": str(expires)}), f"{CONTACT};expires={expires}").scene.wait(apart + 60)


def flapping(cycles: int) -> Scene:
    """An account that comes and goes."""
    call = Scene().call()
    for n in range(cycles):
        granted(register(n * 60.0, call))
        register(n * 60.0 + 30, call, headers={"Expires": "0"}).response(200, contact=False)
    return call.scene


def storm(burst: int) -> Scene:
    """Registrations over a minute, and a burst."""
    scene = Scene()
    for n in range(60):
        granted(register(float(n), scene.call(from_user=f"2{n:03}")))
    for n in range(burst):
        granted(register(30.0 + n / 1000, scene.call(from_user=f"3{n:03}")))
    return scene


def service_route(used: bool) -> Scene:
    """A registration that states a Service-Route, and a call after it."""
    call = granted(register(), headers={"Service-Route": "<sip:192.0.2.1;lr>"})
    later = call.scene.call(at=5)
    later.invite(5, headers={"Route": "<sip:192.0.2.1;lr>"} if used else {})
    return call.scene


PATH = {"Path": "<sip:192.0.2.1;lr>", "Supported": "path"}
NATED = "<sip:1001@10.0.0.5:5060>"

CASES: dict[str, tuple[Play, Play, str]] = {
    "auth-loop": (lambda: looped(4), lambda: looped(1), "challenged"),
    "auth-no-credentials": (lambda: challenged(None), lambda: challenged(credentials()), "no request with credentials"),
    "auth-wrong-credentials": (lambda: challenged(credentials(), 403), lambda: challenged(credentials()), "403"),
    "auth-stale-loop": (lambda: looped(4, stale=True), lambda: looped(4), "stale=true"),
    "auth-realm-mismatch": (
        lambda: challenged(credentials(realm="other.example"), 403), lambda: challenged(credentials(), 403), "other.example"),
    "auth-uri-mismatch": (
        lambda: challenged(credentials(uri="sip:other.example"), 403), lambda: challenged(credentials(uri="sip:other.example")), "sip:other.example"),
    "auth-qop-missing": (
        lambda: challenged(credentials(), asked=challenge(qop="")), lambda: challenged(credentials()), "no qop"),
    "auth-algorithm-unsupported": (
        lambda: challenged(credentials(), 403, asked=challenge(algorithm="SHA-256")),
        lambda: challenged(credentials(algorithm="SHA-256"), asked=challenge(algorithm="SHA-256")), "MD5"),
    "auth-header-wrong-type": (
        lambda: challenged({"Proxy-Authorization": credentials()["Authorization"]}, 403), lambda: challenged(credentials()), "other header"),
    "auth-cseq-not-incremented": (
        lambda: challenged(credentials(), cseq=102), lambda: challenged(credentials()), "same CSeq"),
    "auth-ack-bye-challenged": (lambda: in_dialog("BYE", False), lambda: in_dialog("BYE", True), "BYE"),
    "auth-username-unknown": (lambda: challenged(credentials(), 404), lambda: challenged(credentials()), "404"),
    "endpoint-not-identified": (
        lambda: sources(("1001", 200), ("9999", 403)), lambda: sources(("1001", 200), ("9999", 200)), "another identity"),
    "ip-auth-failed": (
        lambda: sources(*[("1001", 200)] * 4, ("1001", 403)), lambda: sources(("1001", 200), ("1001", 403)), "4 calls"),
    "register-failed": (lambda: register().response(403).scene, lambda: granted(register()).scene, "403"),
    "register-timeout": (
        lambda: register().retransmit(0, 5).scene.wait(60), lambda: granted(register()).scene.wait(60), "never answered"),
    "register-423": (
        lambda: register(headers={"Expires": "30"}).response(423, headers={"Min-Expires": "600"}).scene.wait(60),
        lambda: granted(register(1, register(headers={"Expires": "30"}).response(423, headers={"Min-Expires": "600"}))).scene.wait(60), "Expires 30"),
    "register-expires-short": (lambda: bindings(f"{CONTACT};expires=20"), lambda: bindings(f"{CONTACT};expires=60"), "20 s"),
    "register-expires-long-nat": (
        lambda: bindings(f"{NATED};expires=7200", headers={"Contact": NATED}), lambda: bindings(f"{NATED};expires=3600", headers={"Contact": NATED}), "7200 s"),
    "register-not-refreshed": (lambda: renewed(200), lambda: renewed(50), "expired"),
    "register-flap": (lambda: flapping(7), lambda: flapping(3), "unregistered"),
    "register-storm": (lambda: storm(40), lambda: storm(5), "REGISTERs"),
    "register-multi-contact": (
        lambda: bindings(f"{CONTACT};expires=600, <sip:1001@198.51.100.11>;expires=600"), lambda: bindings(f"{CONTACT};expires=600"), "2 bindings"),
    "register-contact-mismatch": (
        lambda: bindings("<sip:other@198.51.100.10>;expires=600"), lambda: bindings(f"{CONTACT};expires=600"), "other@"),
    "register-third-party": (
        lambda: register(headers={"From": "<sip:admin@203.0.113.20>;tag=1"}).scene, lambda: register().scene, "another identity"),
    "register-wildcard-error": (
        lambda: register(headers={"Contact": "*"}).scene, lambda: register(headers={"Contact": "*", "Expires": "0"}).scene, "Contact: *"),
    "path-lost": (
        lambda: granted(register(headers=PATH)).scene, lambda: granted(register(headers=PATH), headers={"Path": PATH["Path"]}).scene, "Path"),
    "service-route-ignored": (lambda: service_route(False), lambda: service_route(True), "no Route"),
    "outbound-421/439": (lambda: register().response(439, "First Hop Lacks Outbound Support").scene, lambda: granted(register()).scene, "439"),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_fires_with_the_values_of_the_trace(rule: str) -> None:
    finding = CASES[rule][0]().findings()[rule]
    assert CASES[rule][2] in finding.detail
    assert finding.category == "auth"


@pytest.mark.parametrize("rule", CASES)
def test_stays_silent_without_the_fault(rule: str) -> None:
    assert rule not in CASES[rule][1]().findings()


def test_every_rule_of_the_category_has_both_cases() -> None:
    assert set(CASES) == {rule.id for rule in rules() if rule.category == "auth"}


def test_a_good_registration_breaks_no_rule() -> None:
    found = [f for f in challenged(credentials()).report().findings if f.category == "auth" and f.severity not in ("info", "low")]
    assert found == []


@pytest.mark.parametrize("rule", CASES)
def test_no_finding_repeats_the_digest_response(rule: str) -> None:
    for finding in CASES[rule][0]().report().findings:
        said = f"{finding.detail} {[item.value for item in finding.evidence]}"
        assert SECRET not in said


def test_a_loop_that_never_succeeds_is_critical() -> None:
    assert looped(4).findings()["auth-loop"].severity == "critical"

"""The registrar: each step of RFC 3261 10.3, flows and paths, limits; our own client and SIPp against it on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop

from engine._native.sip import parse_uri
from engine.sip import auth, compose
from engine.sip.auth import Server, chosen, secret_of
from engine.sip.flow import Flow
from engine.sip.message import Message, parse
from engine.sip.registrar import Answer, Registrar, RegistrarSettings, aor_of, same_uri
from engine.sip.registration import Account, Registration, State
from engine.sip.transaction import InviteServer, NonInviteServer, OnEnd, OnMessage
from engine.sip.transaction_layer import TransactionLayer, new_branch
from engine.sip.transport import Udp
from tests.engine.sip.fake_clock import FakeClock
from tests.engine.sip.station import Station, station
from tests.engine.sip.test_transport import run_sipp, until

SIPP = Path(__file__).parents[2] / "data" / "sipp"
ALICE = "sip:alice@example.com"
HOME, PHONE = "sip:alice@192.0.2.1:5060", "sip:alice@192.0.2.2"


class FakeFlow:
    reliable = False
    transport = "UDP"
    local = ("192.0.2.100", 5060)

    def __init__(self, peer: tuple[str, int] = ("203.0.113.7", 41000)) -> None:
        self.peer = peer
        self.alive = True

    def send(self, data: bytes) -> None:
        raise AssertionError("a registrar sends nothing")

    def close(self) -> None:
        raise AssertionError("a registrar closes nothing")


class Bench:
    """A registrar and a client that counts its CSeq."""

    def __init__(self, server: bool = False, **more: Any) -> None:
        self.clock = FakeClock()
        self.clock.now = 1000.0
        self.auth = Server("example.com", self.secret, self.clock.time, algorithms=["SHA-256"]) if server else None
        self.registrar = Registrar(RegistrarSettings(domains=("example.com", "Example.net."), **more), self.auth, self.clock)
        self.flow = FakeFlow()
        self.cseq = 0

    @staticmethod
    def secret(username: str, algorithm: str) -> str | None:
        return secret_of(username, "example.com", "s3cret", algorithm) if username in ("alice", "bob@example.com") else None

    def request(
        self, *headers: tuple[str, str], to: str = ALICE, uri: str = "sip:example.com", method: str = "REGISTER", call: str = "c1", cseq: int = 0, vias: int = 1
    ) -> Message:
        self.cseq = cseq or self.cseq + 1
        via = [("Via", f"SIP/2.0/UDP 192.0.2.{at};branch=z9hG4bK{self.cseq}") for at in range(1, vias + 1)]
        made = [*via, ("From", f"<{to}>;tag=1"), ("To", f"<{to}>"), ("Call-ID", call), ("CSeq", f"{self.cseq} {method}"), *headers]
        return parse(compose.request(method, uri, made))

    def send(self, *headers: tuple[str, str], flow: FakeFlow | None = None, **more: Any) -> Answer:
        return self.registrar.receive(self.request(*headers, **more), flow or self.flow)

    def register(self, contact: str, expires: int | None = None, *headers: tuple[str, str], **more: Any) -> Answer:
        told = [("Contact", contact)] + ([("Expires", str(expires))] if expires is not None else [])
        return self.send(*told, *headers, **more)

    def found(self, aor: str = ALICE) -> list[str]:
        return [binding.contact for binding in self.registrar.lookup(aor)]


def values(answer: Answer, name: str) -> list[str]:
    return [value for given, value in answer.headers if given == name]


# ---- 10.3, step by step ----


def test_steps_1_and_5_another_domain_is_not_ours() -> None:
    bench = Bench()
    for uri in ("sip:example.org", "sip:sub.example.com", "tel:+123"):
        assert bench.register(f"<{HOME}>", uri=uri).status == 404
    for to in ("sip:alice@example.org", "sip:example.com", "tel:+123", "mailto:alice@example.com"):
        assert bench.register(f"<{HOME}>", to=to).status == 404
    assert bench.register(f"<{HOME}>", uri="sip:EXAMPLE.com:5070;transport=tcp").status == 200
    assert bench.register(f"<{HOME}>", uri="sip:example.net", to="sip:alice@example.NET").status == 200
    assert bench.send(method="OPTIONS").status == 405
    assert len(bench.registrar) == 2


def test_step_2_extensions_that_are_required_and_unknown() -> None:
    bench = Bench()
    told = bench.register(f"<{HOME}>", None, ("Require", "path, gruu"), ("Require", "Other"))
    assert (told.status, values(told, "Unsupported")) == (420, ["gruu, other"])
    assert bench.found() == []
    assert bench.register(f"<{HOME}>", None, ("Require", "path, Outbound")).status == 200


def answered(bench: Bench, username: str = "alice", password: str = "s3cret", **more: Any) -> Answer:
    challenge = chosen(values(bench.register(f"<{HOME}>", 600, **more), "WWW-Authenticate"))
    assert challenge is not None
    client = auth.Client(username, password)
    client.take(challenge)
    return bench.register(f"<{HOME}>", 600, ("Authorization", client.answer("REGISTER", "sip:example.com")), **more)


def test_steps_3_and_4_who_asks_and_what_is_theirs() -> None:
    bench = Bench(server=True)
    first = bench.register(f"<{HOME}>")
    assert (first.status, first.verdict, first.username) == (401, "none", "")
    assert len(values(first, "WWW-Authenticate")) == 1
    assert bench.found() == []
    good = answered(bench)
    assert (good.status, good.verdict, good.username) == (200, "good", "alice")
    assert bench.found() == [HOME]
    bad = answered(bench, password="guess")
    assert (bad.status, bad.verdict) == (401, "bad")
    assert answered(bench, username="nobody").verdict == "bad"
    others = answered(bench, to="sip:bob@example.com")
    assert (others.status, others.verdict, others.username) == (403, "good", "alice")
    assert answered(bench, username="bob@example.com", to="sip:bob@example.com").status == 200
    assert answered(bench, username="bob@example.com", to="sip:bob@example.net").status == 403
    assert bench.send(("Authorization", "Digest nonsense")).status == 400
    bench.clock.run(1)
    challenge = chosen(values(first, "WWW-Authenticate"))
    assert challenge is not None
    client = auth.Client("alice", "s3cret")
    client.take(challenge)
    bench.clock.run(auth.NONCE_S)
    stale = bench.send(("Authorization", client.answer("REGISTER", "sip:example.com")))
    assert (stale.status, stale.verdict) == (401, "stale")
    assert "stale=true" in values(stale, "WWW-Authenticate")[0]


def test_a_user_may_be_given_more() -> None:
    bench = Bench(server=True)
    bench.registrar = Registrar(RegistrarSettings(domains=("example.com",)), bench.auth, bench.clock, may=lambda user, aor: (user, aor) == ("alice", "sip:desk@example.com"))
    assert answered(bench, to="sip:desk@example.com").status == 200
    assert answered(bench).status == 403


@pytest.mark.parametrize(
    ("written", "aor"),
    [("sip:alice@example.com", ALICE), ("SIP:%61lic%65@EXAMPLE.COM;user=phone;x=y", ALICE), ("sip:alice:secret@example.com:5060?Subject=x", ALICE),
     ("sip:Alice@example.com.", "sip:Alice@example.com"), ("sips:alice@example.com", "sips:alice@example.com"), ("sip:a%20b@example.com", "sip:a b@example.com"),
     ("sip:example.com", ""), ("tel:+123", ""), ("sip:alice@", ""), ("", "")],
)  # fmt: skip
def test_step_5_the_canonical_form(written: str, aor: str) -> None:
    assert aor_of(parse_uri(written.encode())) == aor


def test_step_5_all_forms_are_one_address_of_record() -> None:
    bench = Bench()
    bench.register(f"<{HOME}>", to="sip:%61lice@EXAMPLE.com;user=ip")
    assert bench.found("SIP:alice@example.com:5060") == [HOME]
    assert bench.found("sip:Alice@example.com") == bench.found("sips:alice@example.com") == bench.found("nonsense") == []


def test_step_6_no_contact_is_a_question_and_a_star_an_end() -> None:
    bench = Bench()
    bench.register(f"<{HOME}>, <{PHONE}>", 600)
    told = bench.send()
    assert values(told, "Contact") == [f"<{HOME}>;expires=600", f"<{PHONE}>;expires=600"]
    for wrong in ((("Contact", "*"),), (("Contact", "*"), ("Expires", "600")), (("Contact", f"*, <{HOME}>"), ("Expires", "0")),
                  (("Contact", "*"), ("Contact", "*"), ("Expires", "0"))):  # fmt: skip
        assert bench.send(*wrong).status == 400
    assert len(bench.found()) == 2
    told = bench.send(("Contact", "*"), ("Expires", "0"))
    assert (told.status, values(told, "Contact"), bench.found(), len(bench.registrar)) == (200, [], [], 0)
    assert bench.clock.waiting == 0


def test_step_6_a_star_that_was_overtaken_ends_nothing() -> None:
    bench = Bench()
    bench.register(f"<{HOME}>", 600, cseq=5)
    bench.register(f"<{PHONE}>", 600, call="other", cseq=900)
    assert bench.send(("Contact", "*"), ("Expires", "0"), cseq=5).status == 500
    assert len(bench.found()) == 2
    assert bench.send(("Contact", "*"), ("Expires", "0"), cseq=6).status == 200
    assert bench.found() == []


@pytest.mark.parametrize(
    ("contact", "expires", "granted"),
    [("", None, 3600), ("", "600", 600), (";expires=120", "600", 120), ("", "99999", 7200), ("", "9999999999", 7200), (";expires=7200", None, 7200),
     (";expires=99999999999999999999", None, 3600), ("", "soon", 3600), (";expires=1e3", "600", 3600), ("", "60", 60), (";expires=-5", None, 3600)],
)  # fmt: skip
def test_step_7_the_interval(contact: str, expires: str | None, granted: int) -> None:
    bench = Bench()
    told = bench.send(("Contact", f"<{HOME}>{contact}"), *([("Expires", expires)] if expires is not None else []))
    assert values(told, "Contact") == [f"<{HOME}>;expires={granted}"]
    bench.clock.run(granted - 1)
    assert bench.found() == [HOME]
    assert values(bench.send(), "Contact") == [f"<{HOME}>;expires=1"]
    bench.clock.run(1)
    assert (bench.found(), len(bench.registrar), bench.clock.waiting) == ([], 0, 0)


def test_step_7_an_interval_that_is_too_brief() -> None:
    bench = Bench(expires_min_s=300)
    told = bench.register(f"<{PHONE}>;expires=600, <{HOME}>;expires=299")
    assert (told.status, values(told, "Min-Expires"), bench.found()) == (423, ["300"], [])
    assert bench.register(f"<{HOME}>;expires=0").status == 200
    assert bench.register(f"<{HOME}>;expires=300").status == 200
    bench = Bench(expires_min_s=7200, expires_default_s=7200)
    assert bench.register(f"<{HOME}>", 3599).status == 423
    assert bench.register(f"<{HOME}>", 3600).status == 200  # an hour is never too brief


def test_step_7_bindings_are_added_updated_and_removed() -> None:
    bench = Bench()
    bench.register(f"<{HOME}>;q=0.5", 600)
    bench.register(f"<{PHONE}>", 600)
    assert bench.found() == [PHONE, HOME]
    bench.clock.run(500)
    told = bench.register("<sip:%61lice@192.0.2.1:5060>;q=1.0", 600)
    assert sorted(values(told, "Contact")) == ["<sip:%61lice@192.0.2.1:5060>;expires=600;q=1.0", f"<{PHONE}>;expires=100"]
    bench.clock.run(100)
    assert bench.found() == ["sip:%61lice@192.0.2.1:5060"]
    assert bench.register(f"<{HOME}>;expires=0", 600).status == 200
    assert (bench.found(), len(bench.registrar)) == ([], 0)
    assert bench.register(f"<{HOME}>", 0).status == 200  # there is none to remove
    assert len(bench.registrar) == 0


def test_step_7_what_was_overtaken_changes_nothing() -> None:
    bench = Bench()
    bench.register(f"<{HOME}>", 600, cseq=10)
    for cseq in (10, 9):
        assert bench.register(f"<{HOME}>", 60, cseq=cseq).status == 500
        assert bench.register(f"<{HOME}>", 0, cseq=cseq).status == 500
        assert bench.register(f"<{PHONE}>, <{HOME}>", 700, cseq=cseq).status == 500  # all of it or nothing
    assert values(bench.send(), "Contact") == [f"<{HOME}>;expires=600"]
    assert bench.register(f"<{HOME}>", 60, call="restarted", cseq=1).status == 200
    assert bench.register(f"<{HOME}>", 0, call="c1", cseq=1).status == 200
    assert bench.found() == []


def test_step_8_what_is_told() -> None:
    bench = Bench(service_route=("sip:p1.example.com;lr", "sip:p2.example.com;lr"))
    bench.registrar._date = lambda: 1_289_617_440.0
    told = bench.register(f'"A" <{HOME}>;q=0.3;x=y;+sip.instance="<urn:uuid:1>"', 600)
    assert told.headers == (
        ("Contact", f'<{HOME}>;expires=600;q=0.3;+sip.instance="<urn:uuid:1>"'), ("Service-Route", "<sip:p1.example.com;lr>"),
        ("Service-Route", "<sip:p2.example.com;lr>"), ("Date", "Sat, 13 Nov 2010 03:04:00 GMT"),
    )  # fmt: skip
    assert parse(compose.response(bench.request(), told.status, told.reason, headers=told.headers)).status == 200


# ---- order, flows, paths ----


def test_bindings_are_found_by_preference_and_the_newest_first() -> None:
    bench = Bench()
    for number, q in enumerate((";q=0.1", "", ";q=0.9", ";q=1", ";q=7", ";q=.5", ";q=0.9")):
        bench.register(f"<sip:alice@192.0.2.{number}>{q}", 600)
    assert [contact[-1] for contact in bench.found()] == ["3", "1", "6", "2", "0", "5", "4"]
    assert [binding.q for binding in bench.registrar.lookup(ALICE)] == [1.0, 1.0, 0.9, 0.9, 0.1, 0.0, 0.0]


def test_the_flow_behind_a_nat_is_kept_and_follows_it() -> None:
    bench = Bench()
    bench.register("<sip:alice@10.0.0.5:5060>", 600)
    [binding] = bench.registrar.lookup(ALICE)
    assert (binding.flow, binding.received) == (bench.flow, ("203.0.113.7", 41000))
    moved = FakeFlow(("203.0.113.7", 52000))
    bench.register("<sip:alice@10.0.0.5:5060>", 600, flow=moved)
    [binding] = bench.registrar.lookup(ALICE)
    assert (binding.flow, binding.received) == (moved, ("203.0.113.7", 52000))
    assert bench.registrar.remove(binding)
    assert not bench.registrar.remove(binding)
    assert (bench.found(), len(bench.registrar), bench.clock.waiting) == ([], 0, 0)


def test_a_path_is_kept_and_told_to_who_knows_it() -> None:
    """RFC 3327 5.3"""
    bench = Bench()
    paths = (("Path", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>"), ("Path", "<sip:p3.example.com;lr>"))
    told = bench.register(f"<{HOME}>", 600, *paths, ("Supported", "path"))
    assert values(told, "Path") == ["<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>", "<sip:p3.example.com;lr>"]
    [binding] = bench.registrar.lookup(ALICE)
    assert list(binding.path) == values(told, "Path")
    assert values(bench.register(f"<{HOME}>", 600, *paths), "Path") == []
    bench.register(f"<{HOME}>", 600, ("Supported", "path"))
    assert bench.registrar.lookup(ALICE)[0].path == ()
    for wrong in ("sip:p1.example.com", "<http://x>", "<sip:x\x01y>", "<sip:" + "x" * 3000 + ">", ", ".join(["<sip:p;lr>"] * 33)):
        assert bench.register(f"<{HOME}>", 600, ("Path", wrong)).status == 400


def test_flows_of_one_instance_stand_beside_each_other_and_replace_themselves() -> None:
    """RFC 5626 6"""
    bench = Bench()
    supported = ("Supported", "outbound, path")

    def flow_of(number: int, host: str, expires: int = 600, instance: str = "1", **more: Any) -> Answer:
        return bench.register(f'<sip:alice@{host}>;reg-id={number};+sip.instance="<urn:uuid:{instance}>"', expires, supported, **more)

    told = flow_of(1, "10.0.0.1")
    assert values(told, "Require") == ["outbound"]
    assert values(told, "Contact") == ['<sip:alice@10.0.0.1>;expires=600;+sip.instance="<urn:uuid:1>";reg-id=1']
    flow_of(2, "10.0.0.1")
    flow_of(1, "10.0.0.1", instance="2")
    assert len(bench.registrar) == 3
    again = FakeFlow()
    flow_of(1, "10.9.9.9", flow=again, call="after a restart", cseq=1)  # another address and another Call-ID, yet the same flow
    assert bench.found() == ["sip:alice@10.9.9.9", "sip:alice@10.0.0.1", "sip:alice@10.0.0.1"]
    assert flow_of(1, "10.9.9.9", call="after a restart", cseq=1).status == 500
    again.alive = False
    assert bench.found() == ["sip:alice@10.0.0.1"] * 2
    flow_of(2, "10.7.7.7", 0, cseq=50)
    assert [(binding.instance, binding.reg_id) for binding in bench.registrar.lookup(ALICE)] == [("<urn:uuid:2>", 1)]
    two = f'<{HOME}>;reg-id=1;+sip.instance="<urn:uuid:5>", <{PHONE}>;reg-id=2;+sip.instance="<urn:uuid:5>"'
    assert bench.register(two, 600, supported).status == 400
    assert bench.register(two, 0, supported).status == 200  # two may end at once
    bench.register("<sip:alice@10.0.0.1>", 600)  # an address alone is no flow, be it the same
    assert [(binding.contact, binding.reg_id) for binding in bench.registrar.lookup(ALICE)] == [("sip:alice@10.0.0.1", 0), ("sip:alice@10.0.0.1", 1)]


def test_a_number_without_an_instance_or_the_extension_is_of_no_meaning() -> None:
    bench = Bench()
    bench.register(f"<{HOME}>;reg-id=1", 600, ("Supported", "outbound"))
    bench.register(f'<{HOME}>;reg-id=1;+sip.instance="<urn:uuid:1>"', 600)
    told = bench.register(f'<{HOME}>;reg-id=x;+sip.instance="<urn:uuid:1>"', 600, ("Supported", "outbound"))
    assert (values(told, "Require"), len(bench.registrar)) == ([], 1)


def test_the_proxy_next_to_the_client_must_keep_flows() -> None:
    bench = Bench()
    contact = f'<{HOME}>;reg-id=1;+sip.instance="<urn:uuid:1>"'
    told = [
        bench.register(contact, 600, ("Supported", "outbound"), *path, vias=2).status
        for path in ((), (("Path", "<sip:core;lr;ob>, <sip:edge;lr>"),), (("Path", "<sip:core;lr>, <sip:edge;lr;ob>"),))
    ]
    assert told == [439, 439, 200]


# ---- limits and hostile requests ----


def test_contacts_and_bindings_are_limited() -> None:
    bench = Bench(contacts_max=3, bindings_max=5)
    contacts = [f"<sip:alice@192.0.2.{at}>" for at in range(5)]
    assert bench.register(", ".join(contacts[:4]), 600).status == 400
    assert bench.register(", ".join(contacts[:3]), 600).status == 200
    assert bench.register(contacts[3], 600).status == 403
    assert bench.register(f"{contacts[0]};expires=0, {contacts[3]}", 600).status == 200
    assert bench.register(contacts[0], 600, to="sip:bob@example.com").status == 200
    assert bench.register(contacts[0], 600, to="sip:carol@example.com").status == 200
    told = bench.register(contacts[0], 600, to="sip:dave@example.com")
    assert (told.status, values(told, "Retry-After")) == (503, ["60"])
    assert bench.register(contacts[0], 700, to="sip:carol@example.com").status == 200  # it had one
    assert (len(bench.registrar), bench.clock.waiting) == (5, 3)
    bench.clock.run(600)
    assert bench.register(contacts[0], 600, to="sip:dave@example.com").status == 200
    bench.registrar.close()
    assert (len(bench.registrar), bench.clock.waiting) == (0, 0)


@pytest.mark.parametrize(
    "contact",
    ["<tel:+123>", "<mailto:a@b>", "<>", "<sip:>", "<sip:@>", '"x <sip:a@b>', "<sip:a@b> , <sip:a@B>", "<sip:a@" + "b" * 3000 + ">", "sip:a@b>",
     '<sip:a@b>;+sip.instance="' + "u" * 3000 + '"', "<sip:a@b\x01>", "nonsense"],
)  # fmt: skip
def test_contacts_that_cannot_be_kept(contact: str) -> None:
    bench = Bench()
    assert bench.register(contact, 600).status == 400
    assert len(bench.registrar) == 0


@pytest.mark.parametrize("wrong", [{"domains": ()}, {"contacts_max": 0}, {"expires_min_s": 0}, {"expires_default_s": 9999}, {"bindings_max": 0}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"registrar|expires"):
        RegistrarSettings(**({"domains": ("x",)} | wrong))


def test_any_request_is_answered(seed: int = 9) -> None:
    """Seeded mutations: no exception, every answer can be sent, the count is true, and nothing outlives its time."""
    random = Random(seed)
    bench = Bench(contacts_max=4, bindings_max=20)
    statuses: dict[int, int] = {}
    for at in range(6000):
        contact = f'"A" <sip:alice@192.0.2.{random.randrange(5)}:5060;transport=tcp>;q=0.5;expires=600;+sip.instance="<urn:uuid:1>";reg-id=1'
        good = bytearray(bytes(
            f"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <{ALICE}>;tag=1\r\nTo: <sip:alice{random.randrange(9)}@example.com>\r\n"
            f"Call-ID: c\r\nCSeq: {at + 1} REGISTER\r\nContact: {contact}, <sip:b@192.0.2.77>\r\nPath: <sip:p;lr;ob>\r\nSupported: path, outbound\r\nExpires: 60\r\n\r\n", "ascii",
        ))  # fmt: skip
        for _ in range(random.randrange(4)):
            place = random.randrange(len(good))
            good[place : place + random.randrange(3)] = random.choice([b"", b'"', b"<", b">", b",", b";", b"*", b"%", b"\0", b"\x01", b"\xff", b"=", b"9", b"\r"])
        try:
            message = parse(bytes(good))
        except ValueError:
            continue
        told = bench.registrar.receive(message, bench.flow)
        statuses[told.status] = statuses.get(told.status, 0) + 1
        compose.response(message, told.status, told.reason, to_tag="r", headers=told.headers)
        if random.random() < 0.01:
            bench.clock.run(60)
        assert len(bench.registrar) == sum(len(kept) for kept in bench.registrar._bindings.values()) <= 20
    assert statuses[200] > 1000
    assert {400, 404, 403, 503} <= statuses.keys()
    bench.clock.run(10_000)
    assert (len(bench.registrar), bench.clock.waiting) == (0, 0)


# ---- equal URIs ----


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp", True), ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", True),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5", True),
        ("sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", True),
        ("sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", True),
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", False), ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", False),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", False), ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", False),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", False), ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", False),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", False), ("sip:a@b", "sips:a@b", False), ("sip:a:x@b", "sip:a@b", False),
        ("sip:a@b;user=phone", "sip:a@b", False), ("sip:a@b;maddr=1.2.3.4", "sip:a@b", False),
    ],
)  # fmt: skip
def test_uris_are_equal_as_rfc_3261_says(one: str, other: str, equal: bool) -> None:
    """The examples of 19.1.4."""
    ours, theirs = parse_uri(one.encode()), parse_uri(other.encode())
    assert same_uri(ours, theirs) is same_uri(theirs, ours) is equal


# ---- on real sockets ----


def play(scenario: Callable[[Station, Registrar, list[Answer]], Awaitable[None]], realm: str, domain: str, algorithms: list[str]) -> None:
    """A station whose REGISTERs go to a registrar that challenges; alice's password is s3cret."""

    async def run() -> None:
        async with station() as made, asyncio.timeout(60):
            loop = asyncio.get_running_loop()
            server = Server(realm, lambda user, algorithm: secret_of(user, realm, "s3cret", algorithm) if user == "alice" else None, loop.time, algorithms=algorithms)
            registrar = Registrar(RegistrarSettings(domains=(domain,), expires_min_s=30, service_route=(f"sip:{domain};lr",)), server, loop)
            answers: list[Answer] = []

            def on_request(transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
                told = registrar.receive(transaction.request, flow)
                answers.append(told)
                made.layer.respond(transaction, told.status, told.reason, to_tag="r", headers=list(told.headers))

            made.on_request = on_request  # type: ignore[method-assign]
            await scenario(made, registrar, answers)
            registrar.close()

    uvloop.run(run())


def test_our_own_client_registers_refreshes_and_goes() -> None:
    async def scenario(made: Station, registrar: Registrar, answers: list[Answer]) -> None:
        loop = asyncio.get_running_loop()
        layer = TransactionLayer(made, loop)
        us = await Udp.listen("127.0.0.1", 0, layer.received)
        assert made.udp is not None
        flow = us.flow(made.udp.address)
        host, port = us.address
        account = Account(
            registrar="sip:example.com", address_of_record=ALICE, contact=f"sip:alice@10.1.1.1:{port}", username="alice", password="s3cret",
            expires_s=10, instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>",
        )  # fmt: skip

        def send(data: bytes, *, on_response: OnMessage, on_timeout: OnEnd, on_failure: Callable[[Exception], None]) -> None:
            layer.request(data, flow, on_response=on_response, on_timeout=on_timeout, on_failure=on_failure)

        def registration(told: Account) -> Registration:
            return Registration(told, send, loop, lambda: f"SIP/2.0/UDP {host}:{port};branch={new_branch()};rport")

        ours = registration(account)
        ours.start()
        await until(lambda: ours.state is State.REGISTERED)
        assert [answer.status for answer in answers] == [401, 423, 200]
        assert (ours.granted_s, ours.service_route) == (30, ("<sip:example.com;lr>",))
        [binding] = registrar.lookup(ALICE)
        assert (binding.contact, binding.received, binding.instance) == (account.contact, us.address, account.instance)
        ours.again()
        await until(lambda: len(answers) == 4)
        await until(lambda: ours.state is State.REGISTERED)
        assert [binding.cseq for binding in registrar.lookup(ALICE)] == [4]
        ours.stop()
        await until(lambda: ours.state is State.IDLE)
        assert [answer.status for answer in answers[3:]] == [200, 200]
        assert len(registrar) == 0
        for refused, status in (
            (Account(registrar="sip:example.com", address_of_record=ALICE, contact="sip:a@b", username="alice", password="guess"), 401),
            (Account(registrar="sip:example.com", address_of_record="sip:bob@example.com", contact="sip:a@b", username="alice", password="s3cret"), 403),
            (Account(registrar="sip:other.example", address_of_record=ALICE, contact="sip:a@b", username="alice", password="s3cret"), 404),
        ):
            theirs = registration(refused)
            theirs.start()
            await until(lambda theirs=theirs: theirs.state is State.WAITING)  # type: ignore[misc]
            assert answers[-1].status == status
            theirs.stop()
        assert len(registrar) == 0
        layer.close()
        us.close()

    play(scenario, "example.com", "example.com", ["SHA-256", "MD5"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["u1", "t1"])
def test_sipp_registers_over_each_transport(tmp_path: Path, kind: str) -> None:
    """With MD5: SIPp knows no other. All of its calls register one contact, each with a Call-ID of its own."""

    async def scenario(made: Station, registrar: Registrar, answers: list[Answer]) -> None:
        assert made.udp is not None
        host, port = made.udp.address if kind == "u1" else made.tcp.address
        await run_sipp(
            tmp_path, f"{host}:{port}", "-sf", str(SIPP / "register.xml"), "-m", "50", "-r", "50", "-i", "127.0.0.1", "-t", kind, "-nostdin",
            "-timeout", "30", "-timeout_error",
        )  # fmt: skip
        statuses = [answer.status for answer in answers]
        assert (statuses.count(200), statuses.count(401)) == (50, 50)
        [binding] = registrar.lookup("sip:alice@127.0.0.1")
        assert binding.contact.startswith("sip:alice@127.0.0.1:")
        assert binding.flow.transport == ("UDP" if kind == "u1" else "TCP")

    play(scenario, "trunkline", "127.0.0.1", ["MD5"])

"""Registrations: granted times, challenges, back-off and the end, on a clock that is told; and against a registrar on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from engine.sip import auth, compose
from engine.sip.auth import Server, secret_of
from engine.sip.flow import Flow
from engine.sip.message import Message, parse
from engine.sip.registration import Account, Registration, State
from engine.sip.transaction import InviteServer, NonInviteServer
from engine.sip.transaction_layer import TransactionLayer, new_branch
from engine.sip.transport import Udp
from tests.engine.sip.fake_clock import FakeClock
from tests.engine.sip.station import Station
from tests.engine.sip.test_transport import play, until

ACCOUNT = Account(
    registrar="sip:example.com", address_of_record="sip:alice@example.com", contact="sip:alice@192.0.2.1:5060", username="alice",
    password="s3cret", expires_s=600,
)  # fmt: skip


class Bench:
    """A registration and the registrar's side of its transactions."""

    def __init__(self, account: Account = ACCOUNT, chance: float = 0.0) -> None:
        self.clock = FakeClock()
        self.sent: list[tuple[float, Message]] = []
        self.states: list[State] = []
        self.pending: dict[str, Any] = {}
        self.registration = Registration(
            account, self.send, self.clock, lambda: f"SIP/2.0/UDP 192.0.2.1;branch={new_branch()}",
            on_change=lambda registration: self.states.append(registration.state), chance=lambda: chance,
        )  # fmt: skip

    def send(self, data: bytes, *, on_response: Any, on_timeout: Any, on_failure: Any) -> None:
        self.sent.append((round(self.clock.now, 1), parse(data)))
        self.pending = {"response": on_response, "timeout": on_timeout, "failure": on_failure}

    @property
    def last(self) -> Message:
        return self.sent[-1][1]

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.sent]

    def answer(self, status: int, *headers: tuple[str, str]) -> None:
        self.pending["response"](parse(compose.response(self.last, status, to_tag="r", headers=headers)))

    def granted(self, seconds: int, *headers: tuple[str, str]) -> None:
        self.answer(200, ("Contact", f"<sip:alice@192.0.2.1:5060>;expires={seconds}"), *headers)


def test_a_registration_is_refreshed_before_its_time_is_over() -> None:
    bench = Bench()
    bench.registration.start()
    first = bench.last
    assert first.tokens.request_uri == b"sip:example.com"
    assert first.value("Contact") == "<sip:alice@192.0.2.1:5060>;expires=600"
    bench.answer(100)
    bench.granted(600)
    bench.clock.run(509)
    assert len(bench.sent) == 1
    bench.clock.run(2)
    second = bench.last
    assert (second.call_id, second.sender and second.sender.tag) == (first.call_id, first.sender and first.sender.tag)
    assert second.cseq == (2, "REGISTER")
    assert bench.states == [State.REGISTERING, State.REGISTERED, State.REGISTERING]
    bench.granted(60)
    bench.clock.run(31)
    assert bench.times == [0, 510, 541]  # 30 s behind the answer, which came at 511


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        ([("Contact", "<sip:other@192.0.2.9>;expires=7200, <sip:alice@192.0.2.1:5060>;expires=100")], 100),
        ([("Contact", '"A, B" <sip:ALICE@192.0.2.9>;expires=9'), ("Contact", "<sip:alice@192.0.2.1:5060>;q=1;expires=90")], 90),
        ([("Contact", "<sip:alice@192.0.2.1:5060>"), ("Expires", "300")], 300), ([("Contact", "<sip:alice@192.0.2.1:5060>")], 600),
        ([("Contact", "<sip:alice@192.0.2.1:5060>;expires=99999999999999")], 600), ([("Contact", "<sip:other@192.0.2.9>;expires=7200")], 0),
        ([], 0), ([("Contact", "*")], 0), ([("Contact", "<sip:alice@192.0.2.1:5060>;expires=0")], 0),
    ],
)  # fmt: skip
def test_what_was_granted_is_that_of_our_own_contact(headers: list[tuple[str, str]], granted: int) -> None:
    bench = Bench()
    bench.registration.start()
    bench.answer(200, *headers)
    assert bench.registration.granted_s == granted
    assert bench.registration.state is (State.REGISTERED if granted else State.WAITING)


def challenge(nonce: str, *, stale: bool = False, name: str = "WWW-Authenticate") -> tuple[str, str]:
    return name, f'Digest realm="example.com", nonce="{nonce}", algorithm=SHA-256, qop="auth"' + (", stale=true" if stale else "")


@pytest.mark.parametrize(("status", "name", "header"), [(401, "WWW-Authenticate", "Authorization"), (407, "Proxy-Authenticate", "Proxy-Authorization")])
def test_a_challenge_is_answered_once_and_the_next_request_answers_ahead(status: int, name: str, header: str) -> None:
    bench = Bench()
    bench.registration.start()
    bench.answer(status, challenge("n1", name=name))
    told = auth.credentials_of(bench.last.value(header))
    assert (told.nonce, told.nc, bench.last.cseq) == ("n1", 1, (2, "REGISTER"))
    bench.granted(600, ("Authentication-Info", 'nextnonce="n2", qop=auth'))
    bench.clock.run(520)
    assert auth.credentials_of(bench.last.value(header)).nonce == "n2"
    bench.answer(status, challenge("n3", name=name))  # used up, and not even called stale
    assert auth.credentials_of(bench.last.value(header)).nonce == "n3"
    bench.answer(status, challenge("n4", name=name))
    assert (bench.registration.state, bench.registration.why) == (State.WAITING, "the registrar refuses the password")
    count = len(bench.sent)
    bench.clock.run(299)
    assert len(bench.sent) == count
    bench.clock.run(2)
    assert len(bench.sent) == count + 1


def test_what_cannot_be_answered_is_not_tried_again_soon() -> None:
    for account, headers in (
        (ACCOUNT, [("WWW-Authenticate", 'Basic realm="x"')]), (ACCOUNT, []),
        (Account(registrar="sip:x", address_of_record="sip:a@x", contact="sip:a@192.0.2.1"), [challenge("n")]),
    ):  # fmt: skip
        bench = Bench(account)
        bench.registration.start()
        bench.answer(401, *headers)
        bench.clock.run(299)
        assert len(bench.sent) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_not_hammered(status: int) -> None:
    bench = Bench()
    bench.registration.start()
    bench.answer(status)
    bench.clock.run(301)
    assert bench.times == [0, 300]


def test_failures_back_off_up_to_half_an_hour() -> None:
    """RFC 5626 4.5: 50 to 100 % of min(1800, 30 * 2^n)."""
    fail: list[Callable[[Bench], None]] = [
        lambda bench: bench.answer(500), lambda bench: bench.pending["timeout"](), lambda bench: bench.pending["failure"](OSError("no route")),
    ]  # fmt: skip
    for chance, share in ((0.0, 0.5), (1.0, 1.0)):
        bench = Bench(chance=chance)
        bench.registration.start()
        waits = []
        for number in range(9):
            before = bench.clock.now
            fail[number % 3](bench)
            count = len(bench.sent)
            while len(bench.sent) == count:
                bench.clock.run(1)
            waits.append(bench.times[-1] - before)
        assert waits == [share * min(1800, 30 * 2**number) for number in range(9)]
        bench.granted(600)
        before = bench.clock.now
        bench.registration.again()
        bench.answer(503, ("Retry-After", "77 (maintenance);duration=5"))
        bench.clock.run(78)
        assert bench.times[-1] == round(before + 77, 1)


def test_an_interval_that_is_too_brief_is_raised() -> None:
    bench = Bench()
    bench.registration.start()
    bench.answer(423, ("Min-Expires", "1800"))
    assert bench.last.value("Contact").endswith(";expires=1800")
    bench.answer(423, ("Min-Expires", "7200"))
    assert bench.last.value("Contact").endswith(";expires=7200")
    bench.answer(423, ("Min-Expires", "9000"))
    assert bench.registration.state is State.WAITING
    for least in ("", "5", "99999999999"):
        bench = Bench()
        bench.registration.start()
        bench.answer(423, *([("Min-Expires", least)] if least else []))
        assert bench.registration.state is State.WAITING


def test_stopping_takes_the_binding_away() -> None:
    bench = Bench()
    bench.registration.start()
    bench.granted(600, ("Service-Route", "<sip:p1;lr>, <sip:p2;lr>"))
    assert bench.registration.service_route == ("<sip:p1;lr>", "<sip:p2;lr>")
    bench.registration.stop()
    assert bench.last.value("Contact").endswith(";expires=0")
    bench.answer(200)
    assert bench.registration.state is State.IDLE
    bench.clock.run(5000)
    assert (len(bench.sent), bench.clock.waiting) == (2, 0)
    bench.registration.again()
    assert len(bench.sent) == 2
    waiting = Bench()
    waiting.registration.start()
    waiting.answer(500)
    waiting.registration.stop()
    waiting.clock.run(5000)
    assert (len(waiting.sent), waiting.registration.state) == (1, State.IDLE)


def test_answers_to_an_older_attempt_are_of_no_interest() -> None:
    bench = Bench()
    bench.registration.start()
    old = bench.pending
    bench.registration.again()
    old["timeout"]()
    old["response"](parse(compose.response(bench.last, 403)))
    assert bench.registration.state is State.REGISTERING
    bench.granted(600)
    assert bench.registration.state is State.REGISTERED


def test_over_a_real_socket_with_a_registrar_that_challenges() -> None:
    async def scenario(made: Station) -> None:
        loop = asyncio.get_running_loop()
        server = Server("example.com", lambda user, algorithm: secret_of(user, "example.com", "s3cret", algorithm), loop.time)
        seen: list[tuple[str, str]] = []

        def on_request(transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
            request = transaction.request
            verdict, _ = server.check(request) if request.values("Authorization") else ("none", "")
            seen.append((verdict, request.value("Contact").rpartition("=")[2]))
            if verdict == "good":
                made.layer.respond(transaction, 200, to_tag="r", headers=[("Contact", request.value("Contact"))])
            else:
                made.layer.respond(transaction, 401, to_tag="r", headers=[("WWW-Authenticate", value) for value in server.challenges()])

        made.on_request = on_request  # type: ignore[method-assign]
        layer = TransactionLayer(made, loop)
        us = await Udp.listen("127.0.0.1", 0, layer.received)
        assert made.udp is not None
        flow = us.flow(made.udp.address)
        host, port = us.address
        registration = Registration(
            ACCOUNT, lambda data, **told: layer.request(data, flow, **told) and None, loop,  # type: ignore[func-returns-value]
            lambda: f"SIP/2.0/UDP {host}:{port};branch={new_branch()};rport",
        )  # fmt: skip
        registration.start()
        await until(lambda: registration.state is State.REGISTERED)
        registration.stop()
        await until(lambda: registration.state is State.IDLE)
        assert seen == [("none", "600"), ("good", "600"), ("good", "0")]
        layer.close()
        us.close()

    play(scenario)

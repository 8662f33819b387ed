"""The four machines of RFC 3261 17 and RFC 6026: every arrow of the figures, every timer at its time, over both kinds of transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.sip import compose
from engine.sip.message import Message, parse
from engine.sip.timers import Timers
from engine.sip.transaction import (
    InviteClient,
    InviteServer,
    NonInviteClient,
    NonInviteServer,
    ServerTransaction,
)
from tests.engine.sip.fake_clock import FakeClock

TIMERS = Timers()


def request(method: str = "INVITE") -> Message:
    headers = [
        ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77"), ("Max-Forwards", "70"), ("From", "<sip:a@example.com>;tag=1"),
        ("To", "<sip:b@example.com>"), ("Call-ID", "c1"), ("CSeq", f"5 {method}"), ("Route", "<sip:proxy.example.com;lr>"),
    ]  # fmt: skip
    return parse(compose.request(method, "sip:b@example.com", headers))


def answer(to: Message, status: int) -> Message:
    return parse(compose.response(to, status, to_tag="2"))


class Bench:
    """A machine with its clock and what it did: (time, what)."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sent: list[tuple[float, bytes]] = []
        self.told: list[Any] = []
        self.broken = False

    def send(self, data: bytes) -> None:
        if self.broken:
            raise ConnectionRefusedError("nobody listens")
        self.sent.append((self.clock.now, data))

    def times(self) -> list[float]:
        return [round(at, 3) for at, _ in self.sent]

    def client(self, kind: type[InviteClient | NonInviteClient], method: str, reliable: bool) -> Any:
        message = request(method)
        made = kind(
            message, b"REQUEST", self.send, self.clock, TIMERS, reliable=reliable, on_end=lambda: self.told.append("end"),
            on_response=lambda response: self.told.append(response.status), on_timeout=lambda: self.told.append("timeout"),
            on_failure=lambda error: self.told.append(type(error)),
        )  # fmt: skip
        made.start()
        return made

    def invite_server(self, reliable: bool = False) -> InviteServer:
        return InviteServer(request(), self, self.clock, TIMERS, reliable=reliable)

    def server(self, reliable: bool = False) -> NonInviteServer:
        return NonInviteServer(request("OPTIONS"), self, self.clock, TIMERS, reliable=reliable)

    def transmit(self, transaction: ServerTransaction, data: bytes) -> None:
        self.send(data)

    def ended(self, transaction: ServerTransaction) -> None:
        self.told.append("end")

    def trying(self, invite: InviteServer) -> bytes:
        return b"TRYING"

    def acknowledged(self, invite: InviteServer, ack: Message) -> None:
        self.told.append("ack")

    def not_acknowledged(self, invite: InviteServer) -> None:
        self.told.append("no ack")


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---- INVITE, client (figure 5) ----


def test_an_unanswered_invite_is_sent_seven_times_and_times_out(bench: Bench) -> None:
    """Timers A and B."""
    invite = bench.client(InviteClient, "INVITE", reliable=False)
    bench.clock.run(100)
    assert bench.times() == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert bench.told == ["end", "timeout"]
    assert invite.terminated
    assert bench.clock.waiting == 0


def test_over_a_reliable_transport_it_is_sent_once(bench: Bench) -> None:
    bench.client(InviteClient, "INVITE", reliable=True)
    bench.clock.run(31.9)
    assert bench.times() == [0]
    assert bench.told == []
    bench.clock.run(0.2)
    assert bench.told == ["end", "timeout"]


def test_a_provisional_answer_ends_the_repeats_and_the_timeout(bench: Bench) -> None:
    invite = bench.client(InviteClient, "INVITE", reliable=False)
    bench.clock.run(0.6)
    for status in (100, 180, 180):
        invite.received(answer(invite.request, status))
    bench.clock.run(500)
    assert (invite.state, bench.told, bench.times()) == ("Proceeding", [100, 180, 180], [0, 0.5])


@pytest.mark.parametrize("ringing", [False, True])
def test_a_2xx_is_the_users_and_so_is_every_other_for_64_t1(bench: Bench, ringing: bool) -> None:
    """RFC 6026: Accepted, timer M; forks and repeats reach the user, who acknowledges each."""
    invite = bench.client(InviteClient, "INVITE", reliable=False)
    if ringing:
        invite.received(answer(invite.request, 180))
    for _ in range(3):
        invite.received(answer(invite.request, 200))
    invite.received(answer(invite.request, 486))
    invite.received(answer(invite.request, 183))
    assert invite.state == "Accepted"
    bench.clock.run(31.9)
    assert bench.told[-3:] == [200, 200, 200]
    bench.clock.run(0.2)
    assert bench.told[-1] == "end"
    assert bench.times() == [0]


@pytest.mark.parametrize("reliable", [False, True])
def test_a_refusal_is_acknowledged_here_each_time_it_comes(bench: Bench, reliable: bool) -> None:
    """17.1.1.3 and timer D: same Via, CSeq number and Route, To of the answer."""
    invite = bench.client(InviteClient, "INVITE", reliable=reliable)
    refusal = answer(invite.request, 486)
    for _ in range(3):
        invite.received(refusal)
    acks = [parse(data) for _, data in bench.sent[1:]]
    assert len(acks) == (1 if reliable else 3)
    for ack in acks:
        assert (ack.method, ack.cseq, ack.value("Via")) == ("ACK", (5, "ACK"), invite.request.value("Via"))
        assert (ack.value("To"), ack.value("Route")) == (refusal.value("To"), invite.request.value("Route"))
        assert ack.tokens.request_uri == b"sip:b@example.com"
    bench.clock.run(31.9)
    assert bench.told == ([486, "end"] if reliable else [486])
    bench.clock.run(0.2)
    assert bench.told == [486, "end"]


# ---- other requests, client (figure 6) ----


def test_an_unanswered_request_is_repeated_up_to_t2_and_times_out(bench: Bench) -> None:
    """Timers E and F."""
    bench.client(NonInviteClient, "OPTIONS", reliable=False)
    bench.clock.run(100)
    assert bench.times() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert bench.told == ["end", "timeout"]


def test_a_provisional_answer_slows_the_repeats_and_keeps_the_timeout(bench: Bench) -> None:
    options = bench.client(NonInviteClient, "OPTIONS", reliable=False)
    bench.clock.run(0.1)
    options.received(answer(options.request, 100))
    bench.clock.run(100)
    assert bench.times() == [0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert bench.told == [100, "end", "timeout"]


@pytest.mark.parametrize(("reliable", "lasts_s"), [(False, 5.0), (True, 0.0)])
def test_a_final_answer_is_told_once_and_its_repeats_absorbed(bench: Bench, reliable: bool, lasts_s: float) -> None:
    """Timer K."""
    options = bench.client(NonInviteClient, "OPTIONS", reliable=reliable)
    for _ in range(3):
        options.received(answer(options.request, 200))
    assert bench.told == [200, "end"] if reliable else [200]
    bench.clock.run(lasts_s + 0.01)
    assert bench.told == [200, "end"]
    assert bench.times() == [0]


@pytest.mark.parametrize("kind", [InviteClient, NonInviteClient])
def test_a_transport_that_fails_is_told_instead_of_an_answer(bench: Bench, kind: Any) -> None:
    """17.1.4, at once and at a repeat."""
    method = "INVITE" if kind is InviteClient else "BYE"
    bench.broken = True
    assert bench.client(kind, method, reliable=False).terminated
    assert bench.told == ["end", ConnectionRefusedError]
    bench.broken, bench.told[:] = False, []
    bench.client(kind, method, reliable=False)
    bench.broken = True
    bench.clock.run(1)
    assert bench.told == ["end", ConnectionRefusedError]
    assert bench.clock.waiting == 0


# ---- INVITE, server (figure 7) ----


def test_a_user_that_thinks_is_covered_by_a_100(bench: Bench) -> None:
    invite = bench.invite_server()
    invite.received_again()
    bench.clock.run(0.19)
    assert bench.sent == []
    bench.clock.run(0.02)
    invite.received_again()
    assert [data for _, data in bench.sent] == [b"TRYING"] * 2


def test_what_was_said_last_is_said_again(bench: Bench) -> None:
    invite = bench.invite_server()
    invite.respond(180, b"180")
    invite.received_again()
    invite.respond(183, b"183")
    invite.received_again()
    bench.clock.run(10)
    assert [data for _, data in bench.sent] == [b"180", b"180", b"183", b"183"]


def test_a_2xx_is_repeated_by_the_user_and_the_invite_absorbed(bench: Bench) -> None:
    """RFC 6026: Accepted, timer L."""
    invite = bench.invite_server()
    invite.respond(200, b"200")
    invite.received_again()
    invite.respond(200, b"200")
    invite.received_ack(request("ACK"))
    with pytest.raises(RuntimeError):
        invite.respond(486, b"486")
    assert [data for _, data in bench.sent] == [b"200", b"200"]
    bench.clock.run(31.9)
    assert bench.told == ["ack"]
    bench.clock.run(0.2)
    assert bench.told == ["ack", "end"]


def test_a_refusal_is_repeated_until_its_ack(bench: Bench) -> None:
    """Timers G and I."""
    invite = bench.invite_server()
    invite.respond(486, b"486")
    bench.clock.run(5)
    assert bench.times() == [0, 0.5, 1.5, 3.5]
    invite.received_again()
    assert len(bench.sent) == 5
    invite.received_ack(request("ACK"))
    assert invite.state == "Confirmed"
    invite.received_again()
    invite.received_ack(request("ACK"))
    bench.clock.run(4.9)
    assert (len(bench.sent), bench.told) == (5, [])
    bench.clock.run(0.2)
    assert bench.told == ["end"]
    assert bench.clock.waiting == 0


def test_a_refusal_that_nobody_acknowledges_is_told(bench: Bench) -> None:
    """Timer H; the interval grows up to T2."""
    bench.invite_server().respond(486, b"486")
    bench.clock.run(100)
    assert bench.times() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert bench.told == ["end", "no ack"]


def test_over_a_reliable_transport_a_refusal_is_sent_once(bench: Bench) -> None:
    invite = bench.invite_server(reliable=True)
    invite.respond(486, b"486")
    bench.clock.run(20)
    assert bench.times() == [0]
    invite.received_ack(request("ACK"))
    assert bench.told == ["end"]


# ---- other requests, server (figure 8) ----


@pytest.mark.parametrize(("reliable", "lasts_s"), [(False, 32.0), (True, 0.0)])
def test_an_answer_is_sent_again_for_each_repeat(bench: Bench, reliable: bool, lasts_s: float) -> None:
    """Timer J."""
    options = bench.server(reliable)
    options.received_again()
    assert bench.sent == []
    options.respond(100, b"100")
    options.received_again()
    options.respond(200, b"200")
    options.received_again()
    assert [data for _, data in bench.sent] == [b"100", b"100", b"200", b"200"]
    with pytest.raises(RuntimeError):
        options.respond(500, b"500")
    bench.clock.run(lasts_s + 0.01)
    assert bench.told == ["end"]
    assert bench.clock.waiting == 0


@pytest.mark.parametrize("make", [Bench.invite_server, Bench.server])
def test_a_server_whose_transport_fails_is_over(bench: Bench, make: Callable[[Bench], Any]) -> None:
    """17.2.4"""
    transaction = make(bench)
    bench.broken = True
    transaction.respond(486, b"486")
    assert transaction.terminated
    assert bench.told == ["end"]
    assert bench.clock.waiting == 0


def test_abandoning_says_nothing(bench: Bench) -> None:
    invite = bench.client(InviteClient, "INVITE", reliable=False)
    invite.abandon()
    invite.abandon()
    bench.clock.run(100)
    assert (bench.told, bench.times()) == (["end"], [0])

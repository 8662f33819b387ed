"""Matching messages to transactions (RFC 3261 17.1.3, 17.2.3), repeats told from their bytes, CANCEL, ACK, strays and floods."""

from __future__ import annotations

from typing import Any

import pytest

from engine.sip import compose
from engine.sip.flow import Flow
from engine.sip.message import Message, parse
from engine.sip.transaction import InviteServer, NonInviteServer
from engine.sip.transaction_layer import TransactionLayer, new_branch
from tests.engine.sip.fake_clock import FakeClock


class FakeFlow:
    def __init__(self, peer: tuple[str, int] = ("192.0.2.1", 5060), transport: str = "UDP") -> None:
        self.peer, self.transport = peer, transport
        self.sent: list[bytes] = []
        self.broken = False

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"

    def send(self, data: bytes) -> None:
        if self.broken:
            raise OSError("gone")
        self.sent.append(data)

    @property
    def answers(self) -> list[Message]:
        return [parse(data) for data in self.sent]


class Bench:
    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.layer = TransactionLayer(self, self.clock, **options)
        self.requests: list[InviteServer | NonInviteServer] = []
        self.told: list[tuple[str, Any]] = []

    def on_request(self, transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
        self.requests.append(transaction)

    def on_ack(self, ack: Message, flow: Flow) -> None:
        self.told.append(("ack", ack.cseq))

    def on_cancel(self, invite: InviteServer) -> None:
        self.told.append(("cancel", invite.request.call_id))
        self.layer.respond(invite, 487, to_tag="us")

    def on_stray_response(self, response: Message, flow: Flow) -> None:
        self.told.append(("stray", response.status))

    def on_no_ack(self, invite: InviteServer) -> None:
        self.told.append(("no ack", invite.request.call_id))


def text(
    method: str = "INVITE", *, branch: str = "z9hG4bK1", call: str = "c1", cseq: int = 1, via: str = "192.0.2.1:5060", more: str = "",
    uri: str = "sip:b@example.com", tag: str = "1",
) -> bytes:  # fmt: skip
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch={branch}\r\nMax-Forwards: 70\r\nFrom: <sip:a@x>;tag={tag}\r\n"
        f"To: <sip:b@x>\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: 0\r\n\r\n"
    ).encode()


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---- servers ----


def test_a_repeat_is_answered_and_not_told_again(bench: Bench) -> None:
    flow = FakeFlow()
    bench.layer.received(text("OPTIONS"), flow)
    bench.layer.respond(bench.requests[0], 200, to_tag="us")
    for _ in range(3):
        bench.layer.received(text("OPTIONS"), flow)
    assert len(bench.requests) == 1
    assert [answer.status for answer in flow.answers] == [200] * 4
    assert bench.layer.counters.repeats == 3
    bench.clock.run(33)
    assert bench.layer.counters.transactions == 0
    bench.layer.received(text("OPTIONS"), flow)
    assert len(bench.requests) == 2


def test_a_repeat_with_other_bytes_is_matched_by_branch_sent_by_and_method(bench: Bench) -> None:
    """17.2.3: a proxy may have changed what does not matter."""
    flow = FakeFlow()
    bench.layer.received(text("OPTIONS"), flow)
    bench.layer.received(text("OPTIONS", more="X-New: 1\r\n"), flow)
    assert len(bench.requests) == 1
    for other in (text("OPTIONS", branch="z9hG4bK2"), text("OPTIONS", via="192.0.2.9:5060"), text("OPTIONS", via="192.0.2.1:5070"), text("INFO")):
        bench.layer.received(other, flow)
    assert len(bench.requests) == 5


def test_without_the_cookie_rfc_2543_matches(bench: Bench) -> None:
    flow = FakeFlow()
    bench.layer.received(text("OPTIONS", branch="1"), flow)
    bench.layer.received(text("OPTIONS", branch="1", more="X-New: 1\r\n"), flow)
    assert len(bench.requests) == 1
    for other in ({"call": "c2"}, {"cseq": 2}, {"uri": "sip:c@x"}, {"tag": "9"}, {"branch": "2"}):
        bench.layer.received(text("OPTIONS", **{"branch": "1", **other}), flow)
    assert len(bench.requests) == 6


def test_an_invite_is_answered_with_100_and_refusals_are_acknowledged_in_the_layer(bench: Bench) -> None:
    flow = FakeFlow()
    bench.layer.received(text(), flow)
    bench.clock.run(0.25)
    bench.layer.respond(bench.requests[0], 486, to_tag="us")
    bench.layer.received(text("ACK").replace(b"1 ACK", b"1 ACK"), flow)
    assert [answer.status for answer in flow.answers] == [100, 486]
    assert bench.told == []
    bench.clock.run(10)
    assert bench.layer.counters.transactions == 0


def test_the_ack_of_a_2xx_is_the_users_whatever_its_branch(bench: Bench) -> None:
    flow = FakeFlow()
    bench.layer.received(text(), flow)
    bench.layer.respond(bench.requests[0], 200, to_tag="us")
    bench.layer.received(text("ACK", branch="z9hG4bKother"), flow)
    bench.layer.received(text("ACK"), flow)
    assert bench.told == [("ack", (1, "ACK"))] * 2


def test_a_cancel_is_answered_and_ends_its_invite(bench: Bench) -> None:
    """9.2: 200 to the CANCEL, 487 to the INVITE; none when it is answered already, 481 for a stranger's."""
    flow = FakeFlow()
    bench.layer.received(text(), flow)
    bench.layer.received(text("CANCEL"), flow)
    bench.layer.received(text("CANCEL"), flow)
    assert [(answer.status, answer.method) for answer in flow.answers] == [(200, "CANCEL"), (487, "INVITE"), (200, "CANCEL")]
    assert bench.told == [("cancel", "c1")]
    late = FakeFlow()
    bench.layer.received(text(branch="z9hG4bK5", call="c5"), late)
    bench.layer.respond(bench.requests[-1], 200, to_tag="us")
    bench.layer.received(text("CANCEL", branch="z9hG4bK5", call="c5"), late)
    bench.layer.received(text("CANCEL", branch="z9hG4bK6"), late)
    assert [(answer.status, answer.method) for answer in late.answers] == [(200, "INVITE"), (200, "CANCEL"), (481, "CANCEL")]
    assert bench.told == [("cancel", "c1")]


def test_answers_say_where_the_request_came_from(bench: Bench) -> None:
    """18.2.1 and RFC 3581 4."""
    for via, peer, told in (
        ("192.0.2.1:5060", ("192.0.2.1", 5060), ""),
        ("10.0.0.1:5060", ("192.0.2.7", 5060), ";received=192.0.2.7"),
        ("10.0.0.1:5060;rport", ("192.0.2.7", 4711), ";received=192.0.2.7;rport=4711"),
        ("192.0.2.1;rport;received=6.6.6.6", ("192.0.2.1", 5060), ";received=192.0.2.1;rport=5060"),
        ("[2001:db8::1]:5060", ("2001:db8::1", 5060), ""),
    ):
        flow = FakeFlow(peer)
        bench.layer.received(text("OPTIONS", via=via, branch=new_branch()), flow)
        bench.layer.respond(bench.requests[-1], 200)
        parameters = flow.answers[0].value("Via").partition(";")[2]
        assert ";".join(["", *(part for part in parameters.split(";") if not part.startswith("branch"))]) == told


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (text("OPTIONS").replace(b"Call-ID: c1\r\n", b""), None), (text("OPTIONS").replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INFO"), 400),
        (text("OPTIONS").replace(b"CSeq: 1 ", b"CSeq: 4294967296 "), 400), (text("OPTIONS").replace(b"CSeq: 1 ", b"CSeq: x "), 400),
        (text("OPTIONS", more="Call-ID: c2\r\n"), 400), (text("OPTIONS", more="From: <sip:z@x>\r\n"), 400),
        (text("OPTIONS").replace(b"Length: 0", b"Length: 99"), 400), (text("OPTIONS").replace(b"Length: 0", b"Length: -1"), 400),
        (text("OPTIONS", more="Content-Length: 7\r\n"), 400), (text("OPTIONS").replace(b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia"), 505),
        (text("ACK").replace(b"CSeq: 1 ", b"CSeq: x "), None), (b"\r\n\r\n", None), (b"", None), (b"\0" * 100, None),
        (text("OPTIONS").replace(b"Via: SIP/2.0/UDP 192.0.2.1:5060", b"Via: nonsense"), 400),
    ],
)  # fmt: skip
def test_what_cannot_be_worked_with_is_refused_without_a_transaction(bench: Bench, broken: bytes, status: int | None) -> None:
    flow = FakeFlow()
    bench.layer.received(broken, flow)
    assert [answer.status for answer in flow.answers] == ([] if status is None else [status])
    assert bench.requests == []
    assert bench.layer.counters.transactions == 0


def test_a_full_layer_answers_503_and_good_calls_go_on() -> None:
    bench, flow = Bench(transactions_max=3), FakeFlow()
    for at in range(10):
        bench.layer.received(text("OPTIONS", branch=f"z9hG4bK{at}"), flow)
    assert [answer.status for answer in flow.answers] == [503] * 7
    assert flow.answers[0].value("Retry-After") == "5"
    for transaction in bench.requests:
        bench.layer.respond(transaction, 200)
    bench.clock.run(33)
    bench.layer.received(text("OPTIONS", branch="z9hG4bKlate"), flow)
    assert len(bench.requests) == 4


def test_a_flow_that_breaks_ends_its_transaction_alone(bench: Bench) -> None:
    good, bad = FakeFlow(), FakeFlow()
    bench.layer.received(text(), bad)
    bench.layer.received(text("OPTIONS", branch="z9hG4bK2"), good)
    bad.broken = True
    bench.clock.run(0.25)  # the 100 cannot be sent
    assert bench.layer.counters.transactions == 1
    with pytest.raises(RuntimeError):
        bench.layer.respond(bench.requests[0], 200)
    bench.layer.respond(bench.requests[1], 200)
    assert good.answers[0].status == 200


# ---- clients ----


def test_answers_find_their_request_by_branch_and_method(bench: Bench) -> None:
    """17.1.3: a CANCEL has the branch of its INVITE and is a transaction of its own."""
    flow, seen = FakeFlow(), []
    data = text(branch=new_branch())
    invite = bench.layer.request(
        data, flow, on_response=lambda response: seen.append(("INVITE", response.status)), on_timeout=list, on_failure=print
    )
    bench.layer.received(compose.response(parse(data), 180, to_tag="b"), flow)
    cancel = compose.cancel(invite.request)
    bench.layer.request(cancel, flow, on_response=lambda response: seen.append(("CANCEL", response.status)), on_timeout=list, on_failure=print)
    bench.layer.received(compose.response(parse(cancel), 200, to_tag="b"), flow)
    bench.layer.received(compose.response(parse(data), 487, to_tag="b"), flow)
    assert seen == [("INVITE", 180), ("CANCEL", 200), ("INVITE", 487)]
    assert [message.method for message in flow.answers] == ["INVITE", "CANCEL", "ACK"]
    bench.clock.run(40)
    assert bench.layer.counters.transactions == 0


def test_answers_to_nothing_are_told_as_strays(bench: Bench) -> None:
    flow = FakeFlow()
    bench.layer.received(compose.response(parse(text(branch="z9hG4bKnone")), 200, to_tag="b"), flow)
    bench.layer.received(compose.response(parse(text()), 200, to_tag="b").replace(b"1 INVITE", b"x"), flow)
    assert bench.told == [("stray", 200)]
    assert (bench.layer.counters.stray_responses, bench.layer.counters.malformed) == (1, 1)


def test_a_request_needs_a_branch_of_its_own(bench: Bench) -> None:
    for data in (text(branch="1"), text("ACK")):
        with pytest.raises(ValueError, match="branch"):
            bench.layer.request(data, FakeFlow(), on_response=print, on_timeout=print, on_failure=print)
    assert len({new_branch() for _ in range(1000)}) == 1000


def test_closing_leaves_nothing(bench: Bench) -> None:
    flow = FakeFlow()
    for at in range(20):
        bench.layer.received(text("INVITE" if at % 2 else "OPTIONS", branch=f"z9hG4bK{at}"), flow)
        bench.layer.request(text(branch=new_branch()), flow, on_response=print, on_timeout=print, on_failure=print)
    bench.layer.close()
    assert bench.layer.counters.transactions == 0
    assert bench.clock.waiting == 0

"""The short way to what a transaction needs says what the long way, header by header, says; or nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from engine.sip import compose
from engine.sip.message import Message, parse
from engine.sip.transaction_layer import defect_by_header, defect_of
from tests.fuzz.test_protos import messages as malformed_invites
from tests.rfc import torture

TORTURE = [(name, title) for name in ("rfc4475", "rfc5118") for title in torture.sections(name)]
GOOD = (
    b"INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb\r\n"
    b'v: SIP/2.0/TLS c.example;branch=z9hG4bKc\r\nf: "A \\"quoted, A\\"" <sip:a@a.example;x=1>;tag=ta;y=z\r\nTo: sip:bob@b.example;tag=tb\r\n'
    b"i: call@a.example\r\nCSeq: 7 INVITE\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\nTimestamp: 54 \r\nl: 0\r\n\r\n"
)


def parsed(data: bytes) -> Message | None:
    try:
        return parse(data)
    except ValueError:
        return None


def mutants(seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    alphabet = [bytes([byte]) for byte in b' \t\r\n;,:"<>[]@=\\%\0\xff09aZ'] + [b"\r\n ", b";;", b"tag=", b"branch=", b"\r\nVia: x", b"\r\nCSeq: 1 BYE"]
    for _ in range(count):
        data = bytearray(GOOD)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            kind = chance.random()
            if kind < 0.4:
                data[at : at + 1] = chance.choice(alphabet)
            elif kind < 0.7:
                data[at:at] = chance.choice(alphabet)
            else:
                del data[at : at + chance.randint(1, 12)]
        yield bytes(data)


def agree(data: bytes) -> bool:
    """Asserts that both ways agree; whether the short one was taken."""
    message = parsed(data)
    if message is None:
        return False
    short = message.tokens.essentials()
    assert defect_of(message) == defect_by_header(message), data
    if short is not None:
        assert short == message.essentials_by_header(), data
        if message.is_request:
            for status, tag, via in ((200, "us", ""), (180, "us", "SIP/2.0/UDP new;branch=1"), (100, "us", ""), (404, "", "SIP/2.0/UDP new")):
                by_header = compose.answer_head_by_header(message, status, tag, via)
                wanted = "\r\n".join((f"SIP/2.0 {status} {compose.REASONS[status]}", *by_header, "X: y", "Content-Length: 1", "", "")) + "b"
                made = compose.response(message, status, to_tag=tag, via=via, headers=[("X", "y")], body=b"b")
                assert made == wanted.encode("utf-8", "surrogateescape"), data
    return short is not None


def test_a_good_message_takes_the_short_way() -> None:
    assert agree(GOOD)
    short = parse(GOOD).tokens.essentials()
    assert short is not None
    assert short.via == "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport"
    assert (short.branch, short.sent_by, short.port, short.rport) == ("z9hG4bKa", "192.0.2.1", 5060, True)
    assert (short.call_id, short.number, short.method, short.from_tag, short.to_tag) == ("call@a.example", 7, "INVITE", "ta", "tb")


@pytest.mark.parametrize(("name", "title"), TORTURE)
def test_torture_messages_agree(name: str, title: str) -> None:
    agree(torture.wire(name, title))


def test_the_systematic_set_agrees() -> None:
    taken = sum(agree(data) for data in malformed_invites())
    assert taken > 500


@pytest.mark.parametrize("seed", range(4))
def test_mutants_agree(seed: int) -> None:
    taken = sum(agree(data) for data in mutants(seed, 1500))
    assert taken > 300


def test_every_truncation_agrees() -> None:
    for length in range(len(GOOD)):
        agree(GOOD[:length])

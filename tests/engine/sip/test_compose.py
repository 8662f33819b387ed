"""Messages to bytes: what RFC 3261 says an answer, an ACK and a CANCEL take from their request, and nothing smuggled in."""

from __future__ import annotations

import pytest

from engine.sip import compose
from engine.sip.message import parse

BYTES = (
    b"INVITE sip:b@example.com SIP/2.0\r\n"
    b'Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;x="a,b", SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK2\r\n'
    b"v: SIP/2.0/UDP 192.0.2.3;branch=z9hG4bK3\r\nRecord-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n"
    b'From: "A \xc3\xa9" <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n'
    b"Timestamp: 54\r\nRoute: <sip:r1;lr>\r\nRoute: <sip:r2;lr>\r\nContent-Length: 0\r\n\r\n"
)
INVITE = parse(BYTES)


def test_an_answer_takes_what_rfc_3261_says() -> None:
    """8.2.6"""
    told = parse(compose.response(INVITE, 183, to_tag="t", headers=[("Contact", "<sip:me>")], body=b"v=0\r\n"))
    assert (told.status, told.reason) == (183, "Session Progress")
    assert [via.branch for via in told.vias] == [b"z9hG4bK1", b"z9hG4bK2", b"z9hG4bK3"]
    assert told.values("Record-Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert told.value("From") == INVITE.value("From")
    assert told.value("To") == "<sip:b@example.com>;tag=t"
    assert (told.call_id, told.cseq, told.body) == ("c1", (7, "INVITE"), b"v=0\r\n")
    assert told.defects == []


def test_the_topmost_via_is_replaced_alone() -> None:
    told = parse(compose.response(INVITE, 200, via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=198.51.100.1"))
    assert [via.received for via in told.vias] == [b"198.51.100.1", b"", b""]
    assert [via.branch for via in told.vias] == [b"z9hG4bK1", b"z9hG4bK2", b"z9hG4bK3"]


def test_a_100_has_no_tag_and_the_timestamp() -> None:
    """8.2.6.1, 8.2.6.2"""
    told = parse(compose.response(INVITE, 100, to_tag="t"))
    assert told.value("To") == "<sip:b@example.com>"
    assert told.value("Timestamp") == "54"
    assert told.values("Record-Route") == []


def test_a_refusal_has_no_record_route_and_a_tag_that_is_there_stays() -> None:
    again = parse(BYTES.replace(b"To: <sip:b@example.com>", b"To: <sip:b@example.com>;tag=old"))
    told = parse(compose.response(again, 486, to_tag="new"))
    assert told.value("To") == "<sip:b@example.com>;tag=old"
    assert told.values("Record-Route") == []


def test_an_ack_and_a_cancel_belong_to_their_invite() -> None:
    """17.1.1.3, 9.1"""
    final = parse(compose.response(INVITE, 486, to_tag="t"))
    ack, cancel = parse(compose.ack(INVITE, final)), parse(compose.cancel(INVITE))
    for told, method, to in ((ack, "ACK", "<sip:b@example.com>;tag=t"), (cancel, "CANCEL", "<sip:b@example.com>")):
        assert (told.method, told.cseq, told.value("To")) == (method, (7, method), to)
        assert [via.branch for via in told.vias] == [b"z9hG4bK1"]
        assert told.values("Route") == ["<sip:r1;lr>", "<sip:r2;lr>"]
        assert told.tokens.request_uri == b"sip:b@example.com"


@pytest.mark.parametrize(
    ("name", "value"), [("Subject", "a\r\nVia: x"), ("Subject", "a\nb"), ("Subject", "a\rb"), ("Subject", "\0"), ("A b", "x"), ("", "x"), ("A:", "x")]
)
def test_nothing_is_smuggled_in(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        compose.request("OPTIONS", "sip:a@b", [(name, value)])
    with pytest.raises(ValueError, match="header"):
        compose.response(INVITE, 200, headers=[(name, value)])
    for method, uri in (("A B", "sip:x"), ("INVITE", "sip:x y"), ("INVITE", "sip:x\r\nVia: y")):
        with pytest.raises(ValueError, match="request line"):
            compose.request(method, uri, [])
    for status in (0, 99, 700):
        with pytest.raises(ValueError, match="status"):
            compose.response(INVITE, status)
    with pytest.raises(ValueError, match="reason"):
        compose.response(INVITE, 200, "OK\r\nX: y")


def test_every_status_of_the_registry_has_its_phrase() -> None:
    assert all(parse(compose.response(INVITE, status)).status == status for status in range(100, 700))
    assert parse(compose.response(INVITE, 499)).reason == "Bad Request"

"""A message as text and parsed values."""

from __future__ import annotations

import pytest

from engine._native.sip import AddressClass, Flag, Malformed, Transport
from engine.sip import Message, parse, split_stream
from engine.sip.message import DEFECTS, FORMS

INVITE = (
    "INVITE sip:bob@example.com;transport=tcp SIP/2.0\r\n"
    "Via: SIP/2.0/TCP 10.0.0.1:5060;branch=z9hG4bK1;rport, SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK0\r\n"
    "v: SIP/2.0/UDP 10.0.0.3;branch=z9hG4bKa\r\n"
    'From: "Ann, Lee" <sip:ann@10.0.0.1>;tag=77\r\nTo: <sip:bob@example.com>\r\n'
    "Call-ID: c1@10.0.0.1\r\nCSeq: 314 INVITE\r\nContact: <sip:ann@10.0.0.1:5060;transport=tcp>\r\n"
    "Subject: one\r\n  two\r\nSession-Expires: 1800;refresher=uac\r\n"
    "Content-Type: Application/SDP; charset=x\r\nContent-Length: 5\r\n\r\nv=0\r\n"
)


def test_a_request_answers_what_a_reader_asks() -> None:
    message = parse(INVITE)
    assert message.is_request
    assert (message.method, message.status, message.call_id, message.cseq) == (
        "INVITE",
        0,
        "c1@10.0.0.1",
        (314, "INVITE"),
    )
    assert message.start == "INVITE sip:bob@example.com;transport=tcp SIP/2.0"
    assert message.request_uri is not None
    assert message.request_uri.transport == Transport.TCP
    assert message.value("subject") == "one two"
    assert message.values("Via")[1].startswith("SIP/2.0/UDP 10.0.0.3")
    assert (message.content_type, message.body) == ("application/sdp", b"v=0\r\n")
    assert message.number("Session-Expires") == 1800
    assert message.number("Subject") is None
    assert message.number("Expires") is None


def test_addresses_and_vias_come_parsed_and_in_order() -> None:
    message = parse(INVITE)
    assert message.sender is not None
    assert message.recipient is not None
    assert (message.sender.display, message.sender.user, message.sender.tag) == (b"Ann, Lee", b"ann", b"77")
    assert message.recipient.tag == b""
    assert [via.branch for via in message.vias] == [b"z9hG4bK1", b"z9hG4bK0", b"z9hG4bKa"]
    assert [via.sent_by.kind for via in message.vias] == [AddressClass.PRIVATE] * 3
    assert [contact.parsed.port for contact in message.contacts] == [5060]
    assert message.addresses("Route") == []


def test_a_response_has_the_method_of_its_transaction() -> None:
    message = parse("SIP/2.0 200 OK\r\nCSeq: 5 BYE\r\n\r\n")
    assert (message.is_request, message.method, message.status, message.reason) == (False, "BYE", 200, "OK")
    assert message.request_uri is None
    assert message.start == "SIP/2.0 200 OK"
    assert message.sender is None
    assert parse("SIP/2.0 200 OK\r\n\r\n").method == ""


def test_bytes_that_are_no_utf8_come_back_as_they_were() -> None:
    message = parse(b"SIP/2.0 200 OK\r\nServer: \xff\xfe\r\n\r\n")
    assert message.value("Server").encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert parse(message.value("Server").join(["SIP/2.0 200 OK\r\nServer: ", "\r\n\r\n"])).value(
        "server"
    ) == message.value("server")


def test_defects_are_sentences_and_allowed_forms_are_none() -> None:
    assert parse(INVITE).defects == []
    broken = parse("INVITE  sip:a SIP/2.0\nTo : x\nl: 9\n\n")
    assert broken.defects == [
        DEFECTS[flag] for flag in Flag if flag in broken.tokens.flags and flag not in FORMS
    ]
    assert len(broken.defects) == 4


def test_every_flag_is_a_defect_or_an_allowed_form() -> None:
    assert set(DEFECTS) | {flag for flag in Flag if flag in FORMS} == set(Flag)
    assert not set(DEFECTS) & {flag for flag in Flag if flag in FORMS}


def test_a_stream_splits_into_messages_and_what_is_still_open() -> None:
    data = INVITE.encode()
    messages, rest = split_stream(data + b"\r\n\r\n" + data + data[:100])
    assert [message.call_id for message in messages] == ["c1@10.0.0.1"] * 2
    assert rest == data[:100]
    assert split_stream(data + b"\r\n\r\n")[1] == b""
    assert split_stream(b"") == ([], b"")


def test_text_without_a_start_line_is_refused() -> None:
    with pytest.raises(Malformed):
        parse("hello")
    with pytest.raises(ValueError, match="start line"):
        split_stream(INVITE.encode() + b"\x16\x03\x01")
    assert isinstance(parse(INVITE.encode()), Message)

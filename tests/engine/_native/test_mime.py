"""MIME kernel: kinds of bodies, and multiparts whole, broken and hostile."""

from __future__ import annotations

from email import message_from_bytes
from random import Random

import pytest

from engine._native import sdp
from engine._native.sdp import ContentKind, MimeFlag

MIXED = b"multipart/mixed;boundary=b"
TWO = b"preamble\r\n--b\r\nContent-Type: application/sdp\r\nX: y\r\n\r\nv=0\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--\r\nend"


def bodies(content_type: bytes, body: bytes) -> list[bytes]:
    return [part.body for part in sdp.split_multipart(content_type, body)[0]]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b"application/sdp", "SDP"), (b"APPLICATION/Sdp ;a=b", "SDP"), (b"application/sdpx", "OTHER"), (b"multipart/mixed", "MULTIPART"),
     (b"multipart/x;boundary=y", "MULTIPART"), (b"message/sipfrag;version=2.0", "SIPFRAG"), (b"application/dtmf-relay", "DTMF_RELAY"),
     (b"application/dtmf", "DTMF"), (b"application/rs-metadata+xml", "RS_METADATA"), (b"application/pidf+xml", "PIDF"),
     (b"application/ISUP;version=ansi88", "ISUP"), (b"application/vq-rtcpxr", "VQ_RTCPXR"), (b"text/plain", "TEXT"),
     (b"text/xml", "XML"), (b"application/reginfo+xml", "XML"), (b"application/json", "JSON"), (b"application/ld+json", "JSON"),
     (b"", "NONE"), (b"   ", "NONE")],
)  # fmt: skip
def test_a_content_type_is_known_in_any_case_and_with_parameters(value: bytes, kind: str) -> None:
    assert sdp.content_kind(value) == ContentKind[kind]


@pytest.mark.parametrize("value", [b"application", b"multipart", b"application/", b"multipart;boundary=b", b"/sdp", b"sdp" * 9999])
def test_a_type_without_subtype_is_another_one(value: bytes) -> None:
    """S29: Content-Type without subtype."""
    assert sdp.content_kind(value) == ContentKind.OTHER


def test_parts_have_headers_type_and_body() -> None:
    parts, flags = sdp.split_multipart(MIXED, TWO)
    assert flags == 0
    assert parts[0] == (b"Content-Type: application/sdp\r\nX: y\r\n", b"application/sdp", b"v=0\r\n", ContentKind.SDP)
    assert parts[1] == (b"Content-Type: text/plain\r\n", b"text/plain", b"hi", ContentKind.TEXT)


def test_lf_alone_splits_too() -> None:
    parts, flags = sdp.split_multipart(MIXED, TWO.replace(b"\r\n", b"\n"))
    assert flags == 0 and [part.body for part in parts] == [b"v=0\n", b"hi"]


@pytest.mark.parametrize(
    "value",
    [b'multipart/mixed; boundary="b"', b"multipart/mixed;charset=x;BOUNDARY=b;y=z", b"multipart/mixed ; boundary = b",
     b'multipart/related;start="a;boundary=c";boundary=b'],
)  # fmt: skip
def test_the_boundary_is_found_quoted_or_not(value: bytes) -> None:
    assert sdp.split_multipart(value, TWO) == sdp.split_multipart(MIXED, TWO)


def test_three_hundred_parameters_hide_no_boundary() -> None:
    """S29: 300 parameters."""
    value = b"multipart/mixed;" + b"".join(b"p%d=v;" % n for n in range(300)) + b"boundary=b"
    assert sdp.split_multipart(value, TWO) == sdp.split_multipart(MIXED, TWO)


@pytest.mark.parametrize("value", [b"multipart/mixed", b"multipart/mixed;", b"multipart/mixed;boundary", b"multipart/mixed;boundary=",
                                   b'multipart/mixed;boundary=""', b"multipart/mixed;xboundary=b"])  # fmt: skip
def test_without_a_boundary_nothing_is_split(value: bytes) -> None:
    """S29: boundary missing, boundary empty."""
    parts, flags = sdp.split_multipart(value, TWO)
    assert parts == [] and MimeFlag.NO_BOUNDARY in flags


def test_a_boundary_of_70_is_the_longest() -> None:
    """S29: boundary of more than 70 characters is flagged, and still splits."""
    for length, flags in ((1, 0), (70, 0), (71, MimeFlag.BOUNDARY_BAD), (5000, MimeFlag.BOUNDARY_BAD)):
        mark = b"x" * length
        body = b"--" + mark + b"\r\nContent-Type: a/b\r\n\r\n1\r\n--" + mark + b"--\r\n"
        parts, found = sdp.split_multipart(b"multipart/mixed;boundary=" + mark, body)
        assert [part.body for part in parts] == [b"1"] and found == flags


@pytest.mark.parametrize("value", [b'"b\r\n"', b'"b\r\n c"', b'"b', b'"', b"b\xff", b'"b "', b"b\0"])
def test_a_boundary_with_crlf_or_wrong_quotes_is_flagged(value: bytes) -> None:
    """S29: boundary with CRLF, quoted wrongly."""
    assert MimeFlag.BOUNDARY_BAD in sdp.split_multipart(b"multipart/mixed;boundary=" + value, TWO)[1]


@pytest.mark.parametrize(
    ("body", "flags", "parts"),
    [(b"", MimeFlag.UNTERMINATED | MimeFlag.NO_PARTS, 0), (b"nothing here", MimeFlag.UNTERMINATED | MimeFlag.NO_PARTS, 0),
     (b"--b", MimeFlag.UNTERMINATED | MimeFlag.NO_PARTS, 0), (b"--b\r\n", MimeFlag.UNTERMINATED | MimeFlag.NO_PARTS, 0),
     (b"--b--\r\n--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--", MimeFlag.NO_PARTS, 0), (b"--b--", MimeFlag.NO_PARTS, 0),
     (b"--b\r\n--b--", MimeFlag.PART_WITHOUT_TYPE, 1), (b"--b\r\n\r\n--b--", MimeFlag.PART_WITHOUT_TYPE, 1),
     (b"--b\r\n\r\nx", MimeFlag.PART_WITHOUT_TYPE | MimeFlag.UNTERMINATED, 1), (b"--b\r\nC", MimeFlag(6), 1),
     (b"--bb\r\n--B\r\n --b\r\n--b-\r\n-- b", MimeFlag.UNTERMINATED | MimeFlag.NO_PARTS, 0)],
)  # fmt: skip
def test_broken_multiparts_are_flagged_and_counted(body: bytes, flags: MimeFlag, parts: int) -> None:
    found, seen = sdp.split_multipart(MIXED, body)
    assert (len(found), seen) == (parts, flags)
    assert all(len(part.body) + len(part.headers) <= len(body) for part in found)


def test_delimiters_may_be_padded_and_the_rest_is_epilogue() -> None:
    assert bodies(MIXED, b"--b \t\r\n\r\n1\r\n--b-- \r\n\r\n--b\r\n\r\n2") == [b"1"]


def test_a_boundary_of_hyphens_is_a_boundary() -> None:
    assert bodies(b"multipart/mixed;boundary=--", b"----\r\n\r\n1\r\n------\r\n") == [b"1"]


def test_a_part_without_type_is_text() -> None:
    parts, flags = sdp.split_multipart(MIXED, b"--b\r\nX: y\r\n\r\nv=0\r\n--b--\r\n")
    assert (parts[0].content_type, parts[0].kind, flags) == (b"", ContentKind.TEXT, MimeFlag.PART_WITHOUT_TYPE)


@pytest.mark.parametrize(
    ("headers", "value"),
    [(b"content-type:application/sdp", b"application/sdp"), (b"c: application/sdp", b"application/sdp"),
     (b"Content-Type : application/sdp \t", b"application/sdp"), (b"Content-Type: a/b;\r\n x=y\r\n\tz=1\r\nX: 1", b"a/b;\r\n x=y\r\n\tz=1"),
     (b"Content-Types: a/b\r\nContent-Type: c/d\r\nContent-Type: e/f", b"c/d"), (b"Content-Type:", b"")],
)  # fmt: skip
def test_the_type_of_a_part_is_found_among_its_headers(headers: bytes, value: bytes) -> None:
    parts, _ = sdp.split_multipart(MIXED, b"--b\r\n" + headers + b"\r\n\r\nbody\r\n--b--\r\n")
    assert parts[0].content_type == value and parts[0].body == b"body"


def test_a_nested_multipart_stays_whole() -> None:
    inner = b"--c\r\n\r\n1\r\n--c--\r\n"
    parts, _ = sdp.split_multipart(MIXED, b"--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n" + inner + b"\r\n--b--\r\n")
    assert [(part.kind, part.body) for part in parts] == [(ContentKind.MULTIPART, inner)]


def test_no_more_parts_than_the_capacity() -> None:
    body = b"".join(b"--b\r\n\r\n%d\r\n" % n for n in range(10_000)) + b"--b--\r\n"
    for capacity in (0, 1, 16, 9_999):
        parts, flags = sdp.split_multipart(MIXED, body, capacity)
        assert len(parts) == capacity and MimeFlag.TOO_MANY in flags
    parts, flags = sdp.split_multipart(MIXED, body, 10_000)
    assert len(parts) == 10_000 and flags == MimeFlag.PART_WITHOUT_TYPE and parts[-1].body == b"9999"


def test_sound_multiparts_split_as_the_standard_library_does() -> None:
    random = Random(2046)
    for _ in range(200):
        mark = bytes(random.choices(b"abc'()+_,-./:=?019", k=random.randint(1, 70)))
        texts = [b"\r\n".join(random.choices([b"x", b"", b"--", b"--" + mark[1:] + b"q", b"y: z"], k=4)) for _ in range(random.randint(1, 5))]
        body = b"".join(b"--" + mark + b"\r\nContent-Type: text/plain\r\n\r\n" + text + b"\r\n" for text in texts) + b"--" + mark + b"--\r\n"
        value = b'multipart/mixed; boundary="' + mark + b'"'
        message = message_from_bytes(b"Content-Type: " + value + b"\r\n\r\n" + body)
        expected = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
        assert bodies(value, body) == expected == texts

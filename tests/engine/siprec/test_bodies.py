"""Bodies of recording sessions: multiparts in every form that clients send, and what is neither."""

from __future__ import annotations

import base64

import pytest

from engine.siprec.bodies import DEPTH_MAX, PARTS_IN_ALL, PARTS_MAX, parts_of
from tests.engine.siprec import shaped

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
XML = b'<?xml version="1.0"?><recording xmlns="urn:ietf:params:xml:ns:recording:1"/>'


def part(media_type: str, content: bytes, *headers: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"Content-Type: {media_type}", *headers)).encode() + b"\r\n" + content


DESCRIPTION = part("application/sdp", SDP)
METADATA = part("application/rs-metadata+xml", XML, "Content-Disposition: recording-session")


def joined(*parts: bytes, boundary: str = "b", close: bool = True) -> bytes:
    line = f"--{boundary}".encode()
    return b"".join(line + b"\r\n" + one + b"\r\n" for one in parts) + (line + b"--\r\n" if close else b"")


def words(warnings: tuple[str, ...]) -> list[str]:
    return [text.partition(":")[0] for text in warnings]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("name", shaped.NAMES)
def test_every_shape_comes_apart_with_either_line_end(name: str, line_end: bytes) -> None:
    found = shaped.parts(name, line_end)
    update, empty = "update" in name, "bib" in name
    assert found.sdp.startswith(b"v=0") is not (update or empty)
    assert found.metadata.startswith(b"<?xml") is (name not in shaped.WITHOUT_METADATA)
    assert found.warnings == ()
    assert [media_type for media_type, _ in found.others] == (["application/gtd"] if name == "cisco_cube" else [])


@pytest.mark.parametrize("media_type", ["application/rs-metadata", "application/rs-metadata+xml", "Application/RS-Metadata+XML; charset=utf-8"])
def test_both_types_of_metadata_in_any_order_and_alone(media_type: str) -> None:
    """RFC 9806 settled on the one with +xml; the other one is met as often."""
    metadata = part(media_type, XML)
    for body in (joined(DESCRIPTION, metadata), joined(metadata, DESCRIPTION), joined(part("text/plain", b"hi"), metadata, DESCRIPTION)):
        found = parts_of(b"multipart/mixed;boundary=b", body)
        assert (found.sdp, found.metadata, found.warnings) == (SDP, XML, ())
        assert found.metadata_type == media_type.partition(";")[0].lower()
    alone = parts_of(media_type.encode(), XML)
    assert (alone.sdp, alone.metadata, alone.metadata_type) == (b"", XML, media_type.partition(";")[0].lower())


def test_a_description_alone() -> None:
    found = parts_of(b"application/sdp", SDP)
    assert (found.sdp, found.metadata, found.others, found.warnings) == (SDP, b"", (), ())


@pytest.mark.parametrize("content_type", [
    b"multipart/mixed;boundary=b", b'multipart/mixed; boundary="b"', b'Multipart/Mixed; charset=x ;BOUNDARY = "b"', b"multipart/related;boundary=b;type=x",
    b"multipart/alternative;\r\n boundary=b",
])  # fmt: skip
def test_boundaries_quoted_bare_and_folded(content_type: bytes) -> None:
    found = parts_of(content_type, b"preamble\r\n" + joined(DESCRIPTION, METADATA) + b"epilogue")
    assert (found.sdp, found.metadata, found.warnings) == (SDP, XML, ())


@pytest.mark.parametrize(("content_type", "word"), [
    (b"multipart/mixed", "boundary_recovered"), (b"multipart/mixed;boundary=other", "boundary_recovered"), (b'multipart/mixed;boundary=""', "boundary_recovered"),
    (b"multipart/mixed;boundary=--b", "boundary_recovered"), (b"", "untyped"), (b"application/octet-stream", "untyped"), (b"text/plain", "untyped"),
])  # fmt: skip
def test_a_wrong_or_missing_boundary_is_taken_from_the_body(content_type: bytes, word: str) -> None:
    found = parts_of(content_type, joined(DESCRIPTION, METADATA))
    assert (found.sdp, found.metadata) == (SDP, XML)
    assert word in words(found.warnings)


def test_a_missing_last_boundary_is_told() -> None:
    found = parts_of(b"multipart/mixed;boundary=b", joined(DESCRIPTION, METADATA, close=False))
    assert (found.sdp, found.metadata, words(found.warnings)) == (SDP, XML + b"\r\n", ["unterminated"])
    short = parts_of(b"multipart/mixed;boundary=b", joined(DESCRIPTION, METADATA)[:-60])
    assert (short.sdp, XML.startswith(short.metadata), words(short.warnings)) == (SDP, True, ["unterminated"])


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r\n\r\n", b" "])
def test_only_the_line_end_of_the_boundary_is_taken_off(end: bytes) -> None:
    """What is kept of a body is what was sent."""
    found = parts_of(b"multipart/mixed;boundary=b", joined(DESCRIPTION + end, METADATA + end))
    assert (found.sdp, found.metadata) == (SDP + end, XML + end)
    assert parts_of(b"application/rs-metadata", b"\r\n" + XML + end).metadata == b"\r\n" + XML + end


def test_nested_multiparts_are_opened() -> None:
    inner = part("multipart/mixed; boundary=in", joined(METADATA, part("application/gtd", b"IAM,"), boundary="in"))
    found = parts_of(b"multipart/mixed;boundary=b", joined(inner, DESCRIPTION))
    assert (found.sdp, found.metadata, found.others, found.warnings) == (SDP, XML, (("application/gtd", b"IAM,"),), ())


def test_depth_and_number_of_parts_have_limits() -> None:
    nest = joined(METADATA, boundary="n0")
    for level in range(1, DEPTH_MAX + 2):
        nest = joined(part(f"multipart/mixed;boundary=n{level - 1}", nest), boundary=f"n{level}")
    deep = parts_of(f"multipart/mixed;boundary=n{DEPTH_MAX + 1}".encode(), nest)
    assert (deep.metadata, words(deep.warnings)) == (b"", ["nested"])
    wide = parts_of(b"multipart/mixed;boundary=b", joined(*[part("text/plain", b"x")] * (PARTS_MAX + 9), DESCRIPTION))
    assert (len(wide.others), words(wide.warnings)) == (PARTS_MAX, ["too_many_parts"])
    block = part("multipart/mixed;boundary=i", joined(*[part("text/plain", b"x")] * (PARTS_MAX - 1), boundary="i"))
    both = parts_of(b"multipart/mixed;boundary=b", joined(*[block] * (PARTS_MAX - 1)))
    assert len(both.others) <= PARTS_IN_ALL and words(both.warnings) == ["too_many_parts"]


@pytest.mark.parametrize(("encoding", "content", "word"), [
    ("base64", base64.encodebytes(XML), ""), ("BASE64", base64.b64encode(XML), ""), ("binary", XML, ""), ("8bit", XML, ""),
    ("quoted-printable", XML.replace(b"=", b"=3D"), ""), ("x-gzip", XML, "unknown_encoding"),
])  # fmt: skip
def test_transfer_encodings(encoding: str, content: bytes, word: str) -> None:
    body = joined(part("application/rs-metadata+xml", content, f"content-transfer-encoding:{encoding}", "Content-ID: <x>", "Content-Length: 3"), DESCRIPTION)
    found = parts_of(b"multipart/mixed;boundary=b", body)
    assert (found.metadata, words(found.warnings)) == (XML, [word] if word else [])


def test_bad_base64_is_left_as_it_is() -> None:
    found = parts_of(b"multipart/mixed;boundary=b", joined(part("application/rs-metadata", b"A" * 5, "Content-Transfer-Encoding: base64")))
    assert (found.metadata, words(found.warnings)) == (b"AAAAA", ["bad_base64"])


@pytest.mark.parametrize("media_type", ["application/xml", "text/xml", "text/plain", "application/octet-stream", ""])
def test_metadata_under_another_type_is_known_by_its_look(media_type: str) -> None:
    metadata = b"Content-Disposition: recording-session\r\n\r\n" + XML if not media_type else part(media_type, XML)
    found = parts_of(b"multipart/mixed;boundary=b", joined(DESCRIPTION, metadata))
    assert (found.metadata, words(found.warnings)) == (XML, ["untyped"])
    assert parts_of(media_type.encode(), XML).metadata == XML


def test_a_second_description_does_not_replace_the_first() -> None:
    found = parts_of(b"multipart/mixed;boundary=b", joined(DESCRIPTION, METADATA, part("application/sdp", b"v=0\r\ns=early"), part("application/rs-metadata", b"<recording/>")))
    assert (found.sdp, found.metadata, words(found.warnings)) == (SDP, XML, ["repeated", "repeated"])
    assert [media_type for media_type, _ in found.others] == ["application/sdp", "application/rs-metadata"]


def test_parts_that_must_be_handled_are_noted_only() -> None:
    """Content-Disposition: signal;handling=required would be a 415 by the letter of RFC 5621; a recording is worth more."""
    found = parts_of(b"multipart/mixed;boundary=b", joined(DESCRIPTION, part("application/x-q931", b"\x00\x01", "Content-Disposition: signal;handling=required"), METADATA))
    assert (found.sdp, found.metadata, found.others) == (SDP, XML, (("application/x-q931", b"\x00\x01"),))


@pytest.mark.parametrize("content_type", [b"", b"application/sdp", b"multipart/mixed;boundary=b", b"x"])
@pytest.mark.parametrize("body", [b"", b"\r\n\r\n"])
def test_nothing_is_nothing(content_type: bytes, body: bytes) -> None:
    assert parts_of(content_type, body) == parts_of(b"", b"")


@pytest.mark.parametrize("body", [b"--", b"----", b"--\r\n--\r\n", b"no boundary at all", b"--b--", b"\0" * 99, b"--b\r\n", b"-" * 5000])
def test_a_multipart_that_is_none_leaves_no_part(body: bytes) -> None:
    found = parts_of(b"multipart/mixed", body)
    assert (found.sdp, found.metadata) == (b"", b"") and found.warnings


def test_types_of_strangers_are_cut_and_on_one_line() -> None:
    ((media_type, _),) = parts_of(b"application/evil\x00\x1b[2J\r\n x" + b"y" * 500, b"data").others
    assert media_type.isprintable() and len(media_type) <= 128

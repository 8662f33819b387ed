"""The SIP tokenizer and typed values. Marks such as (S03) name the row of the hostile-input catalogue a test covers."""

from __future__ import annotations

import gc
import ipaddress
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine._native import sip
from engine._native.sip import (
    AddressClass,
    AddressFlag,
    Flag,
    HeaderFlag,
    Scheme,
    Transport,
    UriFlag,
    ViaFlag,
)
from tests.oracle import sip_slots, sip_twin

KERNEL = Path(sip_slots.NATIVE)
FORMS = Flag.LONG | Flag.COMPACT | Flag.FOLDED | Flag.LENGTH_MISSING


def runs(name: str) -> bool:
    current = sip.implementation()
    try:
        sip.force_implementation(name)
    except ValueError:
        return False
    finally:
        sip.force_implementation(current)
    return True


@pytest.fixture(autouse=True, params=[name for name in ("scalar", "avx2", "avx512") if runs(name)])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    before = sip.implementation()
    sip.force_implementation(request.param)
    yield request.param
    sip.force_implementation(before)


def request(*lines: bytes, body: bytes = b"", start: bytes = b"INVITE sip:bob@example.com SIP/2.0") -> bytes:
    return b"\r\n".join([start, *lines, b"", body])


def read(data: bytes, stream: bool = False) -> sip.Message:
    """Scans, having checked that the twin reads the same."""
    sip_twin.compare(data, stream)
    message = sip.scan(data, stream)
    assert message is not None
    return message


# ---- names ----


def test_every_header_name_is_known_in_any_case_and_gives_its_canonical_form_back() -> None:
    for number, name in enumerate(sip.HEADERS):
        if name:
            assert {sip.header_id(form) for form in (name, name.lower(), name.upper())} == {number}
            assert sip.header_name(number) == name


def test_the_slot_header_file_is_what_the_table_gives() -> None:
    assert (KERNEL / "sip_header_slots.h").read_text() == sip_slots.render()


def test_every_compact_letter_is_its_header_and_no_other_letter_is_any() -> None:
    """(S16)"""
    letters = {letter: name for _, name, letter in sip_slots.table() if letter}
    for code in range(256):
        name = sip.header_name(sip.header_id(bytes([code])))
        assert name == letters.get(chr(code).lower() if code < 128 else "", "")


@given(st.sampled_from([name for name in sip.HEADERS if name]), st.integers(0, 40), st.integers(0, 255))
def test_a_name_with_one_byte_changed_is_another_header_or_none(name: str, place: int, byte: int) -> None:
    raw = bytearray(name.encode())
    raw[place % len(raw)] = byte
    assert sip.header_id(bytes(raw)) == sip_twin.header_id(bytes(raw))
    assert sip.header_id(name.encode() + bytes([byte])) == sip_twin.header_id(name.encode() + bytes([byte]))


def test_a_cr_in_a_name_does_not_read_as_a_hyphen() -> None:
    """CR and '-' differ in one bit that a careless fold to lower case would drop."""
    assert sip.header_id(b"Call\rID") == 0
    message = read(request(b"Call\rID: x"))
    assert not message.has("Call-ID")
    assert message.flags & Flag.BAD_HEADER_LINE


def test_methods_are_case_sensitive_and_whole() -> None:
    for number, name in enumerate(sip.METHODS):
        if name:
            assert sip.method_id(name) == number
            assert sip.method_id(name.lower()) == sip.method_id(name + "X") == sip.method_id(name[:-1]) == 0
    assert sip.method_id(b"INVITE\0") == 0
    assert len(sip.METHODS) == 15


# ---- what a message gives ----


def test_a_request_gives_start_line_rows_and_body() -> None:
    message = read(
        b"INVITE sip:+1@[2001:db8::1]:5060;transport=tcp SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx\r\n"
        b'From: "A \\" B" <sip:a@b>;tag=1\r\nMax-Forwards:70\r\nX-Own: 1\r\n'
        b"Content-Length: 5\r\n\r\nv=0\r\n"
    )
    assert (message.method, message.status, message.is_response) == (b"INVITE", 0, False)
    assert message.request_uri == b"sip:+1@[2001:db8::1]:5060;transport=tcp"
    assert [(name, value) for name, value, _, _ in message.headers][2:4] == [
        (b"Max-Forwards", b"70"),
        (b"X-Own", b"1"),
    ]
    assert [sip.header_name(number) for _, _, number, _ in message.headers][3:] == ["", "Content-Length"]
    assert message.body == b"v=0\r\n"
    assert message.flags == Flag.LONG
    assert message.fault_offset is None


def test_a_response_gives_status_and_reason() -> None:
    message = read(b"SIP/2.0 486 Busy Here\r\nl: 0\r\n\r\n")
    assert (message.is_response, message.status, message.reason, message.version) == (
        True,
        486,
        b"Busy Here",
        b"SIP/2.0",
    )
    assert (message.method, message.method_id) == (b"", 0)


def test_a_header_is_found_by_long_and_compact_name_and_unfolded_on_request() -> None:
    """(S16: compact and long form of one header in one message)"""
    message = read(request(b"i: first", b"Call-ID: second", b"s: a\r\n  b\r\n\tc", b"X-a: 1", b"x-A: 2"))
    assert message.header("call-id") == message.header("I") == [b"first", b"second"]
    assert message.header("Subject") == [b"a b c"]
    assert message.header("Subject", unfold=False) == [b"a\r\n  b\r\n\tc"]
    assert message.header("X-A") == [b"1", b"2"]
    assert message.header("X-B") == []
    assert message.flags & (Flag.COMPACT | Flag.LONG | Flag.FOLDED) == Flag.COMPACT | Flag.LONG | Flag.FOLDED
    assert (message.first(sip.header_id("i")), message.repeats(sip.header_id("i"))) == (0, 2)


def test_line_ends_of_lf_alone_read_the_same_and_are_flagged() -> None:
    """(S14)"""
    wire = request(b"Via: SIP/2.0/UDP a", b"Subject: x\r\n y", b"Content-Length: 4", body=b"v=0\r")
    plain = wire.replace(b"\r\n", b"\n")
    one, other = read(wire), read(plain)
    assert [(name, other_id) for name, _, other_id, _ in one.headers] == [
        (n, i) for n, _, i, _ in other.headers
    ]
    assert one.header("Subject") == other.header("Subject") == [b"x y"]
    assert one.body == other.body
    assert other.flags == one.flags | Flag.BARE_LF
    assert other.fault_offset == plain.index(b"\n")


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\n\r", b"\r\r\n", b"\r"])
def test_any_line_end_is_survived_and_named(ends: bytes) -> None:
    """(S14)"""
    data = ends.join([b"OPTIONS sip:a SIP/2.0", b"Via: x", b"To: y", b"", b"body"])
    message = read(data)
    if ends != b"\r":
        assert message.header("Via") == [b"x"]
        assert message.header("To") == [b"y"]
    assert bool(message.flags & Flag.BARE_CR) == (ends in (b"\n\r", b"\r\r\n", b"\r"))


def test_only_empty_lines_are_no_message_and_a_stream_waits() -> None:
    """(S14: keep-alive)"""
    for data in (b"", b"\r\n", b"\r\n\r\n", b"\n\n\n" * 50):
        sip_twin.compare(data)
        with pytest.raises(sip.Malformed):
            sip.scan(data)
        assert sip.scan(data, True) is None
        assert not sip.sniff(data)
    message = read(b"\r\n\r\n" + request(b"To: x"))
    assert (message.start_offset, bool(message.flags & Flag.LEADING_CRLF)) == (4, True)


def test_a_lost_blank_line_in_front_of_a_session_description_starts_the_body() -> None:
    for end in (b"\r\n", b"\n"):
        data = end.join([b"INVITE sip:a SIP/2.0", b"Via: x", b"v=0", b"o=- 1 1 IN IP4 1.2.3.4", b""])
        message = read(data)
        assert message.header_count == 1
        assert message.body.startswith(b"v=0")
        assert message.flags & Flag.NO_BLANK_LINE
    assert read(request(b"v=0: x")).header_count == 1  # a colon makes it a (bad) header line


def test_headers_up_to_the_end_of_the_bytes_are_kept_and_flagged() -> None:
    for data in (
        b"BYE sip:a SIP/2.0\r\nVia: x\r\nCSeq: 2 BYE\r\n",
        b"BYE sip:a SIP/2.0\r\nVia: x\r\nCSeq: 2 BYE",
    ):
        message = read(data)
        assert message.header("CSeq") == [b"2 BYE"]
        assert message.flags & Flag.NO_BLANK_LINE
        assert (message.body, message.length) == (b"", len(data))
        assert sip.scan(data, True) is None


# ---- start line ----


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        (b"INVITE  sip:a SIP/2.0", Flag.START_LINE_SPACES),
        (b"INVITE sip:a  SIP/2.0", Flag.START_LINE_SPACES),
        (b" INVITE sip:a SIP/2.0", Flag.START_LINE_SPACES),
        (b"INVITE sip:a SIP/2.0  ", Flag.START_LINE_SPACES),
        (b"INVITE\tsip:a SIP/2.0", Flag.START_LINE_SPACES),
        (b"INVITE sip:a; lr SIP/2.0", Flag.URI_SPACES),
        (b"INVITE sip:a SIP/3.0", Flag.VERSION_BAD),
        (b"INVITE sip:a sip/2.0", Flag(0)),
        (b"INVITE sip:a SIP/2.0 SIP/2.0", Flag.URI_SPACES),
        (b"INVITE SIP/2.0", Flag(0)),
        (b"IN<>TE sip:a SIP/2.0", Flag.METHOD_BAD),
        (b"!interesting-M0_*+`.%~' sip:a SIP/2.0", Flag(0)),
        (b"SIP/2.0 200", Flag.REASON_MISSING),
        (b"SIP/2.0 200 ", Flag(0)),
        (b"SIP/2.0  200 OK", Flag.START_LINE_SPACES),
        (b"SIP/2.0 99 Low", Flag.STATUS_BAD | Flag.STATUS_RANGE),
        (b"SIP/2.0 099 Low", Flag.STATUS_RANGE),
        (b"SIP/2.0 700 High", Flag.STATUS_RANGE),
        (b"SIP/2.0 699 Edge", Flag(0)),
        (b"SIP/2.0 4294967296 Big", Flag.STATUS_BAD | Flag.STATUS_RANGE),
        (b"SIP/2.0 2x0 OK", Flag.STATUS_BAD),
        (b"SIP/2.1 200 OK", Flag.VERSION_BAD),
    ],
)
def test_a_start_line_out_of_shape_is_read_and_named(line: bytes, flags: Flag) -> None:
    """(S20: status 99, 700 and beyond 32 bits)"""
    message = read(line + b"\r\nTo: x\r\n\r\n")
    assert message.flags & ~FORMS == flags
    assert message.header("To") == [b"x"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"hello\r\n",
        b"\0\0\0\0",
        b"v=0\r\n",
        b"INVITE sip:a\r\n",
        b"SIP/x y\r\n",
        b" \r\n",
    ],
)
def test_what_has_no_sip_start_line_is_refused(data: bytes) -> None:
    sip_twin.compare(data)
    with pytest.raises(sip.Malformed):
        sip.scan(data)


def test_sniff_sees_messages_and_nothing_else() -> None:
    for data in (b"SIP/2.0 200 OK", b"\r\n\r\nINVITE sip:a SIP/2.0\r\n", b"X-Y sip:a SIP/9", b"INVITE sip:\r@b SIP/2.0\r\n"):
        assert sip.sniff(data)
    for data in (
        b"",
        b"SIP/",
        b"GET / HTTP/1.1\r\n SIP/2.0",
        b"INVITE sip:a",
        b" INVITE sip:a SIP/2.0",
        b"\x80 a SIP/2.0",
    ):
        assert not sip.sniff(data)


@pytest.mark.parametrize("size", [255, 256, 1024, 8192, 65_000, 1 << 20])
def test_long_start_lines_names_and_values_are_kept_whole(size: int) -> None:
    """(S01, S07, S20, S21, S25)"""
    long = b"a" * size
    uri = read(request(b"To: x", start=b"INVITE sip:" + long + b" SIP/2.0"))
    assert uri.request_uri == b"sip:" + long
    method = read(request(b"To: x", start=long + b" sip:a SIP/2.0"))
    assert (method.method, method.method_id) == (long, 0)
    assert read(b"SIP/2.0 200 " + long + b"\r\n\r\n").reason == long
    message = read(
        request(
            b"Call-ID: " + long, b"X-Call-ID: " + long, b"CSeq: " + b"1" * size + b" " + long, b"From: <sip:a>;tag=" + long,
            b"Via: SIP/2.0/UDP a;branch=" + long, b"Identity: " + long, long + b": v",
        )
    )  # fmt: skip
    assert message.header("i") == message.header("x-call-id") == message.header("identity") == [long]
    assert sip.parse_cseq(message.header("CSeq")[0]) == (
        int("1" * min(size, 19)) if size < 19 else 2**63 - 1,
        long,
    )
    assert sip.parse_address(message.header("From")[0]).tag == long
    assert sip.parse_via(message.header("Via")[0]).branch == long
    assert message.headers[-1][0] == long[:65535]


# ---- header lines ----


def test_white_space_before_the_colon_is_read_over_and_flagged() -> None:
    """(S12)"""
    data = request(b"Via : a", b"To\t\t: b", b"Content-Length \t: 0")
    message = read(data)
    assert [message.header(name) for name in ("Via", "To", "Content-Length")] == [[b"a"], [b"b"], [b"0"]]
    assert all(flags & HeaderFlag.SPACED for _, _, _, flags in message.headers)
    assert message.flags & Flag.SPACE_BEFORE_COLON
    assert message.fault_offset == data.index(b" :")
    assert message.content_length == 0


@pytest.mark.parametrize(
    "line", [b"Via\0: a", b"\0Via: a", b"V(a: a", b": a", b"no colon", b" Via: a", "Vía: a".encode()]
)
def test_a_line_without_a_valid_name_is_a_row_without_id(line: bytes) -> None:
    """(S12, S13: fold before the first header)"""
    message = read(request(line, b"To: x"))
    _, _, number, flags = message.headers[0]
    assert (number, bool(flags & HeaderFlag.BAD_NAME)) == (0, True)
    assert message.flags & Flag.BAD_HEADER_LINE
    assert not message.has("Via")
    assert message.header("To") == [b"x"]


def test_values_are_trimmed_and_empty_ones_flagged() -> None:
    message = read(request(b"Subject:", b"Subject:   ", b"Subject: \t a b \t", b"Subject:x"))
    assert message.header("Subject") == [b"", b"", b"a b", b"x"]
    assert [bool(flags & HeaderFlag.EMPTY) for _, _, _, flags in message.headers] == [
        True,
        True,
        False,
        False,
    ]


def test_a_fold_at_every_byte_of_a_value_changes_nothing_but_the_fold() -> None:
    """(S13)"""
    value = b'"a,\\"b" <sip:x@y;z>;tag=1'
    for place in range(1, len(value)):
        if value[place - 1 : place] == b"\\":
            continue  # the backslash would escape the CR instead of the quote
        message = read(request(b"From: " + value[:place] + b"\r\n " + value[place:], b"To: q"))
        assert message.headers[0][3] & HeaderFlag.FOLDED
        (unfolded,) = message.header("From")
        assert unfolded.replace(b" ", b"") == value.replace(b" ", b"")
        assert message.header("To") == [b"q"]
        assert not message.flags & Flag.QUOTE_UNBALANCED


def test_folds_of_white_space_alone_and_folds_of_64_kib_hold() -> None:
    """(S13)"""
    assert read(request(b"Subject: a\r\n \r\n\t", b"To: x")).header("Subject") == [b"a"]
    message = read(request(b"Subject:" + b"\r\n " * 32_768 + b"end", b"Content-Length: 0"))
    assert message.header("Subject") == [b"end"]
    assert message.header_count == 2
    message = read(request(b"Subject: " + b"\r\n x" * 16_384, b"Content-Length: 0"))
    assert message.header("Subject") == [b" ".join([b"x"] * 16_384)]


@pytest.mark.parametrize("count", [31, 32, 33, 63, 64, 65, 127, 128, 1000])
def test_values_across_block_borders_are_found(count: int) -> None:
    data = request(b"X: " + b"y" * count, b"Via: " + b"z" * count, b"To: t", b"Content-Length: 0")
    message = read(data)
    assert [value for _, value, _, _ in message.headers] == [b"y" * count, b"z" * count, b"t", b"0"]


def test_header_floods_are_counted_and_kept_up_to_the_row_limit() -> None:
    """(S05: 100,000 one-byte headers, 10,000 Via, 10,000 unknown, many Accept)"""
    message = read(request(*[b"a:"] * 100_000, b"l: 7"))
    assert (message.header_count, message.header_total) == (65_535, 100_001)
    assert message.flags & Flag.TOO_MANY_HEADERS
    assert message.content_length == 7  # found behind the kept rows: framing does not change with a flood
    message = read(
        request(
            *[b"Via: SIP/2.0/UDP h"] * 10_000, *[b"X-%d: y" % i for i in range(10_000)], *[b"Accept: a"] * 60
        )
    )
    assert (message.header_count, message.repeats(sip.header_id("v"))) == (20_060, 10_000)
    assert message.first(sip.header_id("Accept")) == 20_000


def test_repeated_single_headers_are_all_there_in_order() -> None:
    """(S06)"""
    message = read(
        request(
            b"To: a;tag=1",
            b"To: b;tag=",
            b"From: c",
            b"From: d;tag=" + b"x" * 999,
            b"CSeq: 1 BYE",
            b"CSeq: 2 BYE",
        )
    )
    assert len(message.header("To")) == len(message.header("From")) == len(message.header("CSeq")) == 2
    assert AddressFlag.HAS_TAG in sip.parse_address(message.header("To")[1]).flags


# ---- bytes ----


def test_control_bytes_are_flagged_where_they_stand() -> None:
    """(S15)"""
    for code in [*range(32), 0x7F]:
        data = request(b"User-Agent: a" + bytes([code]) + b"b", b"To: x", body=bytes([code]))
        message = read(data)
        usual = code in (9, 10)
        assert bool(message.flags & (Flag.CONTROL_BYTE | Flag.BARE_CR)) == (not usual)
        if not usual:
            assert message.headers[0][3] & HeaderFlag.CONTROL
            assert message.fault_offset == data.index(b"a" + bytes([code]) + b"b") + 1
            assert message.header("User-Agent") == [b"a" + bytes([code]) + b"b"]
    assert read(request(b"To: x", start=b"INV\x01TE sip:a SIP/2.0")).flags & Flag.CONTROL_BYTE


@pytest.mark.parametrize(
    ("raw", "valid"),
    [
        ("é".encode(), True), ("\u202e\ufeff".encode(), True), ("\U0001f600".encode(), True),
        (b"\x80", False), (b"\xc3", False), (b"\xc0\xaf", False), (b"\xe0\x80\x80", False), (b"\xed\xa0\x80", False),
        (b"\xf4\x90\x80\x80", False), (b"\xf5\x80\x80\x80", False), (b"\xff", False), (b"\xe2\x82", False),
    ],
)  # fmt: skip
def test_invalid_utf8_is_flagged_and_valid_is_not(raw: bytes, valid: bool) -> None:
    """(S15: overlong, surrogate, beyond U+10FFFF, BOM, U+202E)"""
    data = request(b"From: " + raw + b" <sip:a@b>", b"To: x", body=b"\xff")
    message = read(data)
    assert bool(message.flags & Flag.NON_UTF8) == (not valid)
    assert message.fault_offset == (None if valid else data.index(raw))
    assert bool(read(request(b"Reason: " + raw)).flags & Flag.NON_UTF8) == (not valid)


def test_a_byte_order_mark_before_the_start_line_makes_the_method_bad() -> None:
    """(S15)"""
    assert read(b"\xef\xbb\xbf" + request(b"To: x")).flags & Flag.METHOD_BAD


@pytest.mark.parametrize(
    ("line", "open_"),
    [
        (b'From: "Bob <sip:b>', True), (b'From: "Bob" <sip:b>', False), (b'To: "a\\" <sip:b>', True),
        (b'To: "a\\\\" <sip:b>', False), (b'Via: SIP/2.0/UDP a;x="', True), (b'From: a="T\\', True),
        (b'Warning: 399 h "a" , 399 h "', True), (b'Contact: "" <sip:a>, "x" <sip:b>', False),
        (b'Subject: "', False), (b'Call-ID: a"b', False), (b'X-Own: "', False), (b'f : "', True),
        (b'Authorization: Digest a="b\0\\"', True), (b'Reason: SIP;text="' + b"x" * 5000, True),
        (b'Reason: SIP;text="' + b"\\" * 5000 + b'"', False), (b'Reason: SIP;text="' + b"\\" * 5001 + b'"', True),
    ],
)  # fmt: skip
def test_a_quoted_string_that_never_closes_is_flagged_where_the_grammar_has_one(
    line: bytes, open_: bool
) -> None:
    """(S09, S11)"""
    message = read(request(b'Subject: "odd', line, b"Content-Length: 0"))
    assert bool(message.flags & Flag.QUOTE_UNBALANCED) == open_


# ---- framing ----


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0), (b"3", 3), (b"\r\n 3", 3), (b"003", 3), (b"4294967328", 4294967328),
        (b"9223372036854775807", 2**63 - 1), (b"9223372036854775808", -2), (b"18446744073709551615", -2),
        (b"99999999999999999999", -2), (b"-1", -2), (b"+1", -2), (b"1e3", -2), (b"0x10", -2), (b"10 20", -2),
        (b"3,3", -2), (b"", -2), (b"three", -2), (b"3\0", -2), ("３".encode(), -2),
    ],
)  # fmt: skip
def test_content_length_is_a_decimal_or_invalid(text: bytes, value: int) -> None:
    """(S03)"""
    message = read(request(b"Content-Length: " + text, body=b"abc"))
    assert message.content_length == value
    assert bool(message.flags & Flag.LENGTH_INVALID) == (value < 0)
    assert bool(message.flags & Flag.BODY_SHORT) == (value > 3)
    assert message.body == (b"" if value == 0 else b"abc")
    assert message.length == len(request(b"Content-Length: " + text, body=b"abc"))
    streamed = sip.scan(request(b"Content-Length: " + text, body=b"abc"), True)
    if value > 3:
        assert streamed is None
    else:
        assert streamed is not None
        assert streamed.body == b"abc"[: max(value, 0)]


def test_a_content_length_at_the_very_end_is_read() -> None:
    """(S03: ends at buffer end)"""
    for text, value in ((b"12", 12), (b"", -2), (b" ", -2)):
        message = read(b"BYE sip:a SIP/2.0\r\nContent-Length:" + text)
        assert message.content_length == value


@pytest.mark.parametrize(
    ("lines", "flags"),
    [
        ([b"Content-Length: 3", b"Content-Length: 3"], Flag.LENGTH_REPEATED),
        ([b"Content-Length: 3", b"l: 2"], Flag.LENGTH_REPEATED | Flag.LENGTH_CONFLICT),
        ([b"l: 3", b"l: x"], Flag.LENGTH_REPEATED | Flag.LENGTH_CONFLICT | Flag.LENGTH_INVALID),
        ([b"l : 3", b"Content-Length: 003"], Flag.LENGTH_REPEATED | Flag.SPACE_BEFORE_COLON),
    ],
)
def test_repeated_content_lengths_are_told_apart_from_conflicting_ones(
    lines: list[bytes], flags: Flag
) -> None:
    """(S04)"""
    message = read(request(*lines, body=b"abc"))
    assert message.flags & ~FORMS == flags
    assert message.content_length == 3


def test_missing_and_surplus_body_bytes_are_flagged_in_a_datagram() -> None:
    """(S24)"""
    short, long = read(request(b"l: 9", body=b"abc")), read(request(b"l: 2", body=b"abc"))
    assert (short.body, bool(short.flags & Flag.BODY_SHORT)) == (b"abc", True)
    assert (long.body, bool(long.flags & Flag.BODY_LONG)) == (b"ab", True)
    assert long.fault_offset == len(request(b"l: 2", body=b"abc")) - 1
    assert read(request(b"To: x", body=b"abc")).body == b"abc"


def test_a_stream_gives_one_message_after_the_other_at_any_cut() -> None:
    """(S24)"""
    messages = [
        request(b"l: 3", body=b"abc"),
        b"\r\n" + request(b"Content-Length: 0"),
        request(b"To: no length"),
    ]
    data = b"".join(messages)
    for cut in range(len(data) + 1):
        piece, found = data[:cut], 0
        while (message := sip.scan(piece, True)) is not None:
            assert message.length == len(messages[found])
            piece, found = piece[message.length :], found + 1
        assert found == sum(cut >= len(b"".join(messages[: n + 1])) for n in range(3))


def test_a_stream_that_cannot_become_a_message_is_refused_at_once() -> None:
    for data in (b"\x16\x03\x01", b"{", b"\0"):
        with pytest.raises(sip.Malformed):
            sip.scan(data, True)
    for data in (b"I", b"INVITE", b"INVITE sip:a", b"SIP/2.0 2"):
        assert sip.scan(data, True) is None


# ---- lists, parameters, numbers ----


def test_lists_split_at_commas_outside_quotes_and_brackets() -> None:
    """(S17)"""
    assert sip.split_list(b'"a,b" <sip:x,y>, c,, d') == [b'"a,b" <sip:x,y>', b"c", b"", b"d"]
    assert sip.split_list(b"") == []
    assert sip.split_list(b"a,") == [b"a", b""]
    assert sip.split_list(b'"never, closes') == [b'"never, closes']
    assert sip.split_list(b"<never, closes") == [b"<never, closes"]
    assert sip.split_list(b"," * 65_536) == [b""] * 65_537
    via = b"SIP/2.0/UDP h;branch=z9hG4bK1"
    assert sip.split_list(b", ".join([via] * 20_000)) == [via] * 20_000


def test_parameters_are_found_in_any_case_and_past_quotes() -> None:
    """(S11, S29)"""
    assert sip.parameter(b'a;TAG = "x;tag=y" ;b=1', b"tag") == b"x;tag=y"
    assert sip.parameter(b"lr;x", b"lr") == b""
    assert sip.parameter(b"lrx;xlr;=1", b"lr") is None
    digest = b'Digest realm="x, y", nonce=a ,stale=TRUE, qop="auth,auth-int"'
    assert [sip.parameter(digest, name, b",") for name in (b"realm", b"nonce", b"stale", b"qop", b"Digest")] == [
        b"x, y", b"a", b"TRUE", b"auth,auth-int", None,
    ]  # fmt: skip
    assert sip.parameter(b'a a="",real', b"a", b",") == b""
    assert sip.parameter(b'x="a\0b', b"x") == b"a\0b"
    assert sip.parameter(b'x="a\\', b"x") == b"a\\"
    assert sip.parameter(b";".join(b"p%d=%d" % (i, i) for i in range(500)), b"p499") == b"499"
    assert sip.parameter(b"multipart/mixed;boundary=", b"boundary") == b""
    assert sip.parameter(b"t\0g=1", b"tag") is None


def test_numbers_saturate_and_say_how_many_digits_they_had() -> None:
    """(S02, S19, S22, S23)"""
    assert sip.parse_number(b" 70") == (70, 2)
    assert sip.parse_number(b"-1")[1] == sip.parse_number(b"")[1] == sip.parse_number(b"abc")[1] == 0
    assert sip.parse_number(b"4294967296 x") == (4294967296, 10)
    assert sip.parse_number(b"9" * 500) == (2**63 - 1, 500)
    assert sip.parse_number(b"\r\n 5") == (5, 1)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"1 INVITE", (1, b"INVITE")), (b"  4711 \r\n  ACK ", (4711, b"ACK")), (b"0009 BYE", (9, b"BYE")),
        (b"2147483648 BYE", (2**31, b"BYE")), (b"4294967296 BYE", (2**32, b"BYE")), (b"9" * 99 + b" X", (2**63 - 1, b"X")),
        (b"-1 BYE", None), (b"0x10 BYE", None), (b"", None), (b"1", None), (b"1BYE", None), (b"BYE", None),
        (b"1 B Y", None), (b"1 B\0", None), (b"1 ", None),
    ],
)  # fmt: skip
def test_cseq_gives_number_and_method_or_nothing(value: bytes, parts: tuple[int, bytes] | None) -> None:
    """(S02)"""
    assert sip.parse_cseq(value) == parts


# ---- URI, address, Via ----


def test_a_sip_uri_comes_apart() -> None:
    uri = sip.parse_uri(b"SIPS:alice:pw@Example.COM:5071;transport=TLS;lr;gr=x;ob;user=phone?Subject=a&x=b")
    assert (uri.scheme_id, uri.user, uri.password, uri.host, uri.port) == (
        Scheme.SIPS,
        b"alice",
        b"pw",
        b"Example.COM",
        5071,
    )
    assert (uri.parameters, uri.headers) == (b"transport=TLS;lr;gr=x;ob;user=phone", b"Subject=a&x=b")
    assert uri.flags == UriFlag.LR | UriFlag.GR | UriFlag.OB | UriFlag.USER_PHONE
    assert uri.transport == Transport.TLS
    assert uri.address.kind == AddressClass.NAME


@pytest.mark.parametrize(
    ("value", "user", "host", "port", "flags"),
    [
        (b"sip:10.0.0.1", b"", b"10.0.0.1", 0, UriFlag(0)),
        (b"sip:a@[::1]:5060", b"a", b"[::1]", 5060, UriFlag(0)),
        (b"sip:a@2001:db8::9", b"a", b"2001:db8::9", 0, UriFlag.UNBRACKETED_V6),
        (b"sip:user;par=u@h", b"user;par=u", b"h", 0, UriFlag(0)),
        (b"sip:+1;phone-context=+44@h", b"+1;phone-context=+44", b"h", 0, UriFlag.PHONE_CONTEXT),
        (b"sip:a@b@c", b"a@b", b"c", 0, UriFlag(0)),
        (b"sip:a@b;x=c@d", b"a", b"b", 0, UriFlag(0)),
        (b"sip:a%@h", b"a%", b"h", 0, UriFlag.BAD_ESCAPE),
        (b"sip:h%", b"", b"h%", 0, UriFlag.BAD_ESCAPE),
        (b"sip:a%0", b"", b"a%0", 0, UriFlag.BAD_ESCAPE),
        (b"sip:%00%4a@h", b"%00%4a", b"h", 0, UriFlag(0)),
        (b"sip:%GG@h", b"%GG", b"h", 0, UriFlag.BAD_ESCAPE),
        (b"sip:%2525@h", b"%2525", b"h", 0, UriFlag(0)),
        (b"sip:a b@h", b"a b", b"h", 0, UriFlag.BAD_CHARACTER),
        (b"sip:h:0", b"", b"h", 65535, UriFlag.PORT_BAD),
        (b"sip:h:65535", b"", b"h", 65535, UriFlag(0)),
        (b"sip:h:65536", b"", b"h", 65535, UriFlag.PORT_BAD),
        (b"sip:h:-1", b"", b"h", 65535, UriFlag.PORT_BAD),
        (b"sip:h:", b"", b"h", 65535, UriFlag.PORT_BAD),
        (b"sip:[::1", b"", b"[::1", 0, UriFlag(0)),
        (b"sip:", b"", b"", 0, UriFlag.EMPTY_HOST),
        (b"/", b"", b"/", 0, UriFlag(0)),
        (b"", b"", b"", 0, UriFlag.EMPTY_HOST),
        (b"tel:+44123;phone-context=x", b"+44123", b"", 0, UriFlag.PHONE_CONTEXT),
        (b"urn:service:sos", b"service:sos", b"", 0, UriFlag(0)),
    ],
)
def test_uris_of_every_shape_are_read(
    value: bytes, user: bytes, host: bytes, port: int, flags: UriFlag
) -> None:
    """(S08, S10, S26)"""
    uri = sip.parse_uri(value)
    assert (uri.user, uri.host, uri.port, uri.flags) == (user, host, port, flags)


@pytest.mark.parametrize(
    ("value", "display", "uri", "tag", "flags"),
    [
        (b'"A \\" <x>" <sip:a@b>;tag=1', b'A \\" <x>', b"sip:a@b", b"1", AddressFlag.QUOTED | AddressFlag.BRACKETS | AddressFlag.HAS_TAG),
        (b"Bob Builder <sip:b>", b"Bob Builder", b"sip:b", b"", AddressFlag.BRACKETS),
        (b"sip:a@b;tag=x", b"", b"sip:a@b", b"x", AddressFlag.HAS_TAG),
        (b"<sip:a@b;tag=no>", b"", b"sip:a@b;tag=no", b"", AddressFlag.BRACKETS),
        (b"*", b"", b"", b"", AddressFlag.STAR),
        (b"", b"", b"", b"", AddressFlag(0)),
        (b'"Bob <sip:b>;tag=2', b"Bob", b"sip:b", b"2", AddressFlag.QUOTED | AddressFlag.UNBALANCED | AddressFlag.BRACKETS | AddressFlag.HAS_TAG),
        (b"<sip:a@b", b"", b"sip:a@b", b"", AddressFlag.BRACKETS | AddressFlag.UNBALANCED),
        (b"a.b@c <sip:x>", b"a.b@c", b"sip:x", b"", AddressFlag.BRACKETS | AddressFlag.DISPLAY_UNQUOTED),
        (b"sip:a@b?x=y", b"", b"sip:a@b?x=y", b"", AddressFlag.BARE_QUERY),
        (b"sip:a@b;lr;tag=1", b"", b"sip:a@b", b"1", AddressFlag.BARE_QUERY | AddressFlag.HAS_TAG),
        (b'sip:a@b;+sip.instance="<urn:uuid:1>"', b"", b"sip:a@b", b"", AddressFlag(0)),
        (b"<sip:a>;tag=", b"", b"sip:a", b"", AddressFlag.BRACKETS | AddressFlag.HAS_TAG),
        (b'"', b"", b"", b"", AddressFlag.QUOTED | AddressFlag.UNBALANCED),
        (b"</>", b"", b"/", b"", AddressFlag.BRACKETS),
    ],
)  # fmt: skip
def test_addresses_of_every_shape_are_read(
    value: bytes, display: bytes, uri: bytes, tag: bytes, flags: AddressFlag
) -> None:
    """(S06, S09, S10, S18)"""
    address = sip.parse_address(value)
    assert (address.display, address.uri, address.tag, address.flags) == (display, uri, tag, flags)


def test_an_address_gives_its_user_and_host() -> None:
    address = sip.parse_address(b"<sip:alice@10.1.2.3>;q=1.0000000001")
    assert (address.user, address.host, address.parameters) == (b"alice", b"10.1.2.3", b"q=1.0000000001")


def test_a_via_comes_apart() -> None:
    via = sip.parse_via(
        b"SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bKabc;received=10.0.0.9;rport=4444;alias"
    )
    assert (via.version, via.transport, via.host, via.port) == (b"2.0", Transport.TLS, b"[2001:db8::1]", 5061)
    assert (via.branch, via.rport, via.received) == (b"z9hG4bKabc", 4444, b"10.0.0.9")
    assert via.received_from.kind == AddressClass.PRIVATE
    wanted = ViaFlag.BRANCH | ViaFlag.COOKIE | ViaFlag.RECEIVED | ViaFlag.RPORT | ViaFlag.ALIAS
    assert via.flags == wanted
    spaced = sip.parse_via(b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5060 ; branch = 390skdjuw")
    assert (spaced.transport, spaced.host, spaced.port, spaced.branch) == (
        Transport.UDP,
        b"192.0.2.2",
        5060,
        b"390skdjuw",
    )
    assert spaced.flags == ViaFlag.BRANCH


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (b"", ViaFlag.MALFORMED), (b"SIP/2.0/UDP", ViaFlag.MALFORMED), (b"SIP/2.0/UDP :]", ViaFlag.MALFORMED | ViaFlag.PORT_BAD),
        (b"SIP/3.0/UDP h", ViaFlag.MALFORMED), (b"HTTP/2.0/UDP h", ViaFlag.MALFORMED), (b"SIP/2.0/UDP h:0", ViaFlag.PORT_BAD),
        (b"SIP/2.0/UDP h:65536", ViaFlag.PORT_BAD), (b"SIP/2.0/UDP h:-1", ViaFlag.PORT_BAD),
        (b"SIP/2.0/UDP [::1", ViaFlag.MALFORMED), (b"SIP/2.0/UDP 2001:db8::1", ViaFlag.UNBRACKETED_V6),
        (b"SIP/2.0/UDP h;rport=70000", ViaFlag.RPORT | ViaFlag.PORT_BAD), (b"SIP/2.0/UDP h;\x01branch=x", ViaFlag(0)),
        (b"SIP/2.0/UDP h;branch=", ViaFlag.BRANCH), (b"SIP/2.0/UDPh", ViaFlag.MALFORMED),
        (b"SIP/2.0/WS df7jal23ls0d.invalid", ViaFlag(0)), (b"SIP/2.0/WSS X.INVALID:80", ViaFlag(0)),
    ],
)  # fmt: skip
def test_broken_vias_are_named(value: bytes, flags: ViaFlag) -> None:
    """(S08)"""
    assert sip.parse_via(value).flags == flags


# ---- addresses ----


@pytest.mark.parametrize(
    ("text", "kind", "canonical"),
    [
        ("8.8.8.8", AddressClass.PUBLIC, "8.8.8.8"), ("10.255.0.1", AddressClass.PRIVATE, "10.255.0.1"),
        ("172.15.0.1", AddressClass.PUBLIC, "172.15.0.1"), ("172.16.0.1", AddressClass.PRIVATE, "172.16.0.1"),
        ("172.31.255.255", AddressClass.PRIVATE, "172.31.255.255"), ("172.32.0.1", AddressClass.PUBLIC, "172.32.0.1"),
        ("192.168.1.1", AddressClass.PRIVATE, "192.168.1.1"), ("100.64.0.1", AddressClass.CGNAT, "100.64.0.1"),
        ("100.128.0.1", AddressClass.PUBLIC, "100.128.0.1"), ("169.254.1.1", AddressClass.LINK_LOCAL, "169.254.1.1"),
        ("127.9.9.9", AddressClass.LOOPBACK, "127.9.9.9"), ("0.0.0.0", AddressClass.UNSPECIFIED, "0.0.0.0"),
        ("239.1.2.3", AddressClass.MULTICAST, "239.1.2.3"), ("255.255.255.255", AddressClass.BROADCAST, "255.255.255.255"),
        ("010.001.002.003", AddressClass.PRIVATE, "10.1.2.3"),
        ("[::1]", AddressClass.LOOPBACK, "::1"), ("::", AddressClass.UNSPECIFIED, "::"),
        ("fe80::1%eth0", AddressClass.LINK_LOCAL, "fe80::1"), ("FC00::ABCD", AddressClass.PRIVATE, "fc00::abcd"),
        ("ff02::1", AddressClass.MULTICAST, "ff02::1"), ("2001:DB8::1", AddressClass.PUBLIC, "2001:db8::1"),
        ("::ffff:10.0.0.1", AddressClass.PRIVATE, "::ffff:10.0.0.1"),
        ("2001:db8:::192.0.2.1", AddressClass.PUBLIC, "2001:db8::c000:201"),
        ("example.com", AddressClass.NAME, "example.com"), ("ex_a-b.com.", AddressClass.NAME, "ex_a-b.com."),
        ("abc.invalid", AddressClass.INVALID, "abc.invalid"), ("INVALID.", AddressClass.INVALID, "INVALID."),
        ("notinvalid", AddressClass.NAME, "notinvalid"), ("", AddressClass.NONE, ""),
        ("1.2.3", AddressClass.INVALID, "1.2.3"), ("1.2.3.256", AddressClass.INVALID, "1.2.3.256"),
        ("1.2.3.4.5", AddressClass.INVALID, "1.2.3.4.5"), ("1..2.3", AddressClass.INVALID, "1..2.3"),
        ("[::1", AddressClass.INVALID, "[::1"), ("[]", AddressClass.INVALID, "[]"), ("1::2::3", AddressClass.INVALID, "1::2::3"),
        ("12345::", AddressClass.INVALID, "12345::"), (":1", AddressClass.INVALID, ":1"), ("1:", AddressClass.INVALID, "1:"),
        ("a b", AddressClass.INVALID, "a b"), ("[1.2.3.4]", AddressClass.INVALID, "[1.2.3.4]"),
    ],
)  # fmt: skip
def test_hosts_are_told_apart(text: str, kind: AddressClass, canonical: str) -> None:
    literal = sip.parse_address_literal(text)
    assert (literal.kind, literal.text) == (kind, canonical)


@given(
    st.binary(min_size=16, max_size=16) | st.lists(st.sampled_from([0, 1, 0xFFFF]), min_size=8, max_size=8)
)
def test_every_ipv6_address_goes_through_its_rfc_5952_text_and_back(value: bytes | list[int]) -> None:
    ip = value if isinstance(value, bytes) else b"".join(group.to_bytes(2, "big") for group in value)
    address = ipaddress.IPv6Address(ip)
    literal = sip.parse_address_literal(address.exploded)
    assert (literal.ip, literal.family) == (ip, 6)
    mapped = address.ipv4_mapped
    assert literal.text == (f"::ffff:{mapped}" if mapped else address.compressed)
    assert sip.parse_address_literal(f"[{literal.text}]").ip == ip


@given(st.text(alphabet="0123456789abcf:.%[]", max_size=30))
def test_ipv6_texts_are_accepted_as_the_standard_library_does(text: str) -> None:
    try:
        wanted: bytes | None = (
            ipaddress.IPv6Address(text.partition("%")[0]).packed if "[" not in text else None
        )
    except ValueError:
        wanted = None
    literal = sip.parse_address_literal(text)
    if wanted is not None:
        assert (literal.family, literal.ip) == (6, wanted)
    elif ":::" not in text and "[" not in text and "]" not in text:
        assert literal.family != 6


# ---- hashes ----


@given(st.binary(max_size=100), st.integers(0, 2**64 - 1))
def test_the_folded_hash_takes_ascii_letters_of_either_case_as_one(value: bytes, seed: int) -> None:
    assert sip.hash_bytes(value.upper(), seed, True) == sip.hash_bytes(value.lower(), seed, True)
    assert sip.hash_bytes(value.lower(), seed, True) == sip.hash_bytes(value.lower(), seed)


def test_the_hash_spreads_and_sees_length_and_seed() -> None:
    values = (
        [b"a" * n for n in range(70)]
        + [b"\0" * n for n in range(1, 70)]
        + [b"call-%d@host" % n for n in range(50_000)]
    )
    found = np.array([sip.hash_bytes(value) for value in values], dtype=np.uint64)
    assert len(np.unique(found)) == len(values)
    buckets = np.bincount((found[-50_000:] & np.uint64(255)).astype(int), minlength=256)
    assert buckets.min() > 120
    assert buckets.max() < 290
    assert sip.hash_bytes(b"x", 1) != sip.hash_bytes(b"x", 2)


# ---- the native side ----


def test_a_buffer_stays_exported_while_its_message_lives() -> None:
    """(N03)"""
    buffer = bytearray(request(b"To: x"))
    message = sip.scan(buffer)
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    buffer[buffer.index(b"x\r\n")] = ord("y")
    assert message.header("To") == [b"y"]
    del message
    buffer.extend(b"more")


def test_objects_and_references_stay_level_over_many_scans_and_refusals() -> None:
    """(N04)"""
    good, bad, partial = request(b"To: x"), b"no message", b"INVITE sip:a SIP/2.0\r\nTo: x\r\n"
    gc.collect()
    before = [sys.getrefcount(data) for data in (good, bad, partial)], len(gc.get_objects())
    for _ in range(3000):
        sip.scan(good).header("To")
        assert sip.scan(partial, True) is None
        with pytest.raises(sip.Malformed):
            sip.scan(bad)
    gc.collect()
    after = [sys.getrefcount(data) for data in (good, bad, partial)], len(gc.get_objects())
    assert after[0] == before[0]
    assert abs(after[1] - before[1]) < 50


def test_threads_scan_at_once_and_agree() -> None:
    """(N06)"""
    data = request(*[b"X-%d: y" % n for n in range(2000)], b"Content-Length: 0")
    wanted = sip.scan(data).headers
    with ThreadPoolExecutor(4) as pool:
        assert all(found == wanted for found in pool.map(lambda _: sip.scan(data).headers, range(24)))


def test_other_buffers_and_strange_starts_in_memory_read_the_same() -> None:
    """(N01: misaligned)"""
    data = request(b"Via: SIP/2.0/UDP a", b"To: x", b"Content-Length: 3", body=b"abc")
    wanted = sip_twin.facts_of_kernel(sip.scan(data))
    for shift in range(1, 66):
        assert sip_twin.facts_of_kernel(sip.scan(memoryview(b"\n" * shift + data)[shift:])) == wanted
    assert sip_twin.facts_of_kernel(sip.scan(np.frombuffer(data, np.uint8))) == wanted


@pytest.mark.parametrize(
    "shape",
    [b",", b"\r\n ", b'"', b";", b"<", b"\r\n", b"7", b"%", b"\\", b":", b"\r", b"\n", b"a:\n", b" ", b"\0", b"\xff",
     b'"\\', b"@", b"[", b"=", b"v=0", b"l:1\r\n", b"To:\"\r\n"],
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_once(shape: bytes) -> None:
    """(N07) A quadratic walk would not come back from these."""
    flood = shape * ((1 << 20) // len(shape))
    for data in (request(b"From: " + flood), request(flood), b"INVITE " + flood + b" SIP/2.0\r\n\r\n", flood):
        try:
            message = sip.scan(data)
        except sip.Malformed:
            continue
        assert message.header_count <= message.header_total
        assert message.length == len(data)
    assert sum(map(len, sip.split_list(flood))) <= len(flood)
    sip.parameter(flood, b"x")
    sip.parse_uri(flood)
    sip.parse_address(flood)
    sip.parse_via(flood)


def test_the_bench_loop_takes_only_messages_inside_the_buffer() -> None:
    data = request(b"To: x")
    numbers = np.array([0], np.uint64), np.array([len(data)], np.uint64)
    assert sip.bench_scan(data, *numbers, repeat=2) >= 0
    with pytest.raises(ValueError, match="beyond"):
        sip.bench_scan(data, numbers[0], numbers[1] + np.uint64(1))
    with pytest.raises(ValueError, match="beyond"):
        sip.bench_scan(data, numbers[1] + np.uint64(1), numbers[0])


def test_a_message_comes_from_scan_alone_and_an_empty_shell_is_harmless() -> None:
    with pytest.raises(TypeError):
        sip.Message()
    shell = sip.Message.__new__(sip.Message)
    assert (shell.method, shell.headers, shell.body, shell.header("Via")) == (b"", [], b"", [])


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot run"):
        sip.force_implementation("abacus")

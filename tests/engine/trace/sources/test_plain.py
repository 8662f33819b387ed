"""Pasted messages: what people paste, and what mail, web pages and editors make of it."""

from __future__ import annotations

import pytest

from engine.trace.sources import base

OK = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nCall-ID: a\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
BODY = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def invite(body: bytes = BODY, *more: bytes, length: int | None = None) -> bytes:
    head = [
        b"INVITE sip:bob@example.net SIP/2.0",
        b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2",
        b"Call-ID: a",
        b"CSeq: 1 INVITE",
        *more,
    ]
    if body and not any(row.lower().startswith(b"content-type") for row in more):
        head.append(b"Content-Type: application/sdp")
    if length != -1:
        head.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def texts(frames: list[base.AnyFrame]) -> list[bytes]:
    assert all(isinstance(frame, base.Frame) for frame in frames)
    return [frame.text for frame in frames if isinstance(frame, base.Frame)]


def test_messages_back_to_back_are_what_was_on_the_wire(read, sample, call):
    frames = read(sample("call.sip"))
    assert texts(frames) == call
    assert [frame.time_ns for frame in frames] == [None] * 4
    assert [sample("call.sip")[frame.offset : frame.offset + 3] for frame in frames] == [
        b"INV",
        b"SIP",
        b"ACK",
        b"BYE",
    ]


def test_lost_carriage_returns_come_back(read, sample, call):
    assert texts(read(sample("plain.txt"))) == call


@pytest.mark.parametrize(
    "between", [b"", b"\n", b"\n\n\n", b"-----\n", b"\n=====\n\n", b"#2\n", b"A -> B\n", b"10:00:01\n"]
)
def test_whatever_people_put_between_messages_is_no_part_of_them(read, between):
    pasted = between.join([invite(), OK, invite()])
    assert texts(read(pasted)) == [invite(), OK, invite()]
    assert texts(read(pasted.replace(b"\r\n", b"\n"))) == [invite(), OK, invite()]


def test_the_slow_way_and_the_fast_way_agree(read, sample):
    content = sample("call.sip")
    assert list(base.scan(content, base.Options(), ())) == list(base.frames(content, base.Options()))


def test_a_final_message_without_its_blank_line_is_whole(read):
    assert texts(read(OK + OK[:-2])) == [OK, OK]
    assert texts(read(OK + OK[:-4])) == [OK, OK]


def test_a_start_line_alone_is_a_message(read):
    assert texts(read(b"OPTIONS sip:a@example.net SIP/2.0")) == [b"OPTIONS sip:a@example.net SIP/2.0\r\n\r\n"]


def test_a_lost_blank_line_before_the_body_comes_back(read):
    whole = invite()
    assert texts(read(whole.replace(b"\r\n\r\nv=0", b"\r\nv=0") + OK)) == [whole, OK]
    assert read.notes[0][0] == "blank-line-lost"


def test_a_body_without_content_length_ends_with_its_last_sdp_line(read):
    whole = invite(length=-1)
    assert texts(read(whole + b"\r\nJul  1 log line\r\n" + OK)) == [whole, OK]


def test_a_content_length_that_counted_bare_newlines_is_kept(read):
    body = BODY.replace(b"\r\n", b"\n")
    pasted = invite(body).replace(b"\r\n", b"\n")
    (text,) = texts(read(pasted + b"\n"))
    assert text.endswith(b"\r\n\r\n" + body)


def test_a_content_length_that_is_too_small_does_not_cut_the_sdp(read):
    assert texts(read(invite(length=20) + OK)) == [invite(length=20), OK]


def test_a_content_length_that_is_too_large_does_not_eat_the_next_message(read):
    assert texts(read(invite(length=400) + OK + OK)) == [invite(length=400), OK, OK]


def test_a_message_whose_body_was_left_out_leaves_the_next_alone(read):
    assert texts(read(invite(b"", b"Content-Type: application/sdp", length=131) + OK)) == [
        invite(b"", b"Content-Type: application/sdp", length=131),
        OK,
    ]


def test_a_fragment_in_a_notify_is_its_body(read):
    notify = invite(b"SIP/2.0 100 Trying\r\n", b"Content-Type: message/sipfrag;version=2.0")
    assert texts(read(notify + OK)) == [notify, OK]
    assert texts(read((notify + OK).replace(b"\r\n", b"\n"))) == [notify, OK]


def test_a_message_quoted_in_a_message_is_its_body(read):
    outer = invite(OK + invite(b""), b"Content-Type: text/plain")
    assert texts(read(outer + OK)) == [outer, OK]
    assert texts(read((outer + OK).replace(b"\r\n", b"\n"))) == [outer, OK]


def test_folded_headers_stay_with_their_message(read):
    folded = OK.replace(b"Via: SIP/2.0/UDP h;", b"Via: SIP/2.0/UDP h\r\n ;").replace(
        b"CSeq: 1", b"CSeq:\r\n\t1"
    )
    assert texts(read(folded + OK)) == [folded, OK]


def test_ellipses_are_left_out_and_told(read):
    assert texts(read(OK.replace(b"Call-ID", b"...\r\nCall-ID") + b"\xe2\x80\xa6\n")) == [OK]
    assert ("abridged", 16 + 36) in [(kind, at) for kind, at in read.notes if kind == "abridged"]


def test_typographic_quotes_become_straight_ones(read):
    plain = OK.replace(b"Call-ID", b'From: "Al" <sip:a@h>\r\nCall-ID')
    assert texts(read(plain.replace(b'"Al"', "“Al”".encode()).replace(b"Call-ID", b"...\r\nCall-ID"))) == [
        plain
    ]


def test_mail_quoting_is_taken_away(read):
    pasted = (invite() + OK).replace(b"\r\n", b"\n")
    quoted = b"".join(b"> " + row + b"\n" for row in pasted.split(b"\n"))
    assert texts(read(quoted)) == [invite(), OK]
    assert texts(read(b"He wrote:\n" + quoted)) == [invite(), OK]
    assert texts(read(b"".join(b"> > " + row + b"\n" for row in pasted.split(b"\n")))) == [invite(), OK]


@pytest.mark.parametrize("mark", [b"| ", b"   ", b"\t", b"    | "])
def test_a_common_prefix_is_taken_away(read, mark):
    pasted = (invite() + OK).replace(b"\r\n", b"\n")
    assert texts(read(b"".join(mark + row + b"\n" for row in pasted.split(b"\n")))) == [invite(), OK]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_other_encodings_are_read(read, encoding):
    pasted = (invite() + OK).decode()
    data = pasted.encode(encoding)
    frames = read(data)
    assert texts(frames) == [invite(), OK]
    assert base.detect(data).name == "plain"
    assert (
        data[frames[1].offset :]
        .decode("utf-16-be" if encoding == "utf-16-be" else encoding.removesuffix("-sig"))
        .lstrip("\ufeff")
        .startswith("SIP/2.0 200")
        or encoding == "utf-16"
    )


def test_bare_carriage_returns_are_line_ends_when_nothing_else_is(read):
    assert texts(read((invite() + OK).replace(b"\r\n", b"\r"))) == [invite(), OK]


def test_doubled_carriage_returns_are_one(read):
    assert texts(read((invite() + OK).replace(b"\r\n", b"\r\r\n"))) == [invite(), OK]


def test_escaped_line_ends_are_line_ends(read):
    escaped = b'{"a":1 got "' + (invite() + OK).replace(b"\r\n", b"\\r\\n") + b'"'
    assert texts(read(escaped)) == [invite(), OK]


def test_html_entities_are_characters(read):
    message = OK.replace(b"Call-ID", b"To: <sip:bob@example.net>\r\nCall-ID")
    assert texts(read(b"<pre>\n" + message.replace(b"<", b"&lt;").replace(b">", b"&gt;"))) == [message]


def test_bytes_that_are_no_utf_8_stay(read):
    message = OK.replace(b"Call-ID: a", b"Call-ID: \xff\xfe\xe9")
    assert texts(read(message + b"x\n" + message)) == [message, message]


def test_an_oversize_message_is_cut_and_told(read):
    (frame,) = read(invite(b"x" * 5000, b"Content-Type: text/plain"), max_message_bytes=1000)
    assert len(frame.text) == 1000
    assert read.notes == [("oversize", 0)] or read.notes[0][0] == "oversize"


def test_methods_nobody_registered_and_strange_uris_are_messages(read):
    message = b"NEWTHING soap.beep://192.0.2.103:3002 SIP/2.0\r\nCall-ID: z\r\nContent-Length: 0\r\n\r\n"
    odd = b"INVITE <sip:user@example.com> SIP/2.0\r\nCall-ID: z\r\nContent-Length: 0\r\n\r\n"
    blank = b"INVITE sip:user@example.com; lr SIP/2.0\r\nCall-ID: z\r\nContent-Length: 0\r\n\r\n"
    seven = b"OPTIONS sip:t@example.org SIP/7.0\r\nCall-ID: z\r\nContent-Length: 0\r\n\r\n"
    assert texts(read(message + odd + blank + seven)) == [message, odd, blank, seven]


def test_a_header_that_holds_a_start_line_starts_nothing(read):
    message = OK.replace(b"Call-ID", b"Subject: INVITE sip:a@b SIP/2.0\r\nCall-ID")
    assert texts(read(message + OK)) == [message, OK]


def test_a_log_line_between_headers_is_left_out(read):
    broken = OK.replace(b"Call-ID", b"2024-05-06 07:08:09 NOTICE other thread\r\nCall-ID")
    assert texts(read(broken)) == [OK]
    assert [kind for kind, _ in read.notes] == ["line-between-headers"]


def test_a_mirrored_copy_says_where_it_came_from(read):
    headers = b"X-Siptrace-Fromip: tls:192.0.2.1:5061\r\nX-Siptrace-Toip: tls:[2001:db8::1]:5061\r\n"
    (frame,) = read(OK.replace(b"Call-ID", headers + b"Call-ID"))
    assert (frame.source, frame.target, frame.transport) == ("192.0.2.1:5061", "[2001:db8::1]:5061", "TLS")

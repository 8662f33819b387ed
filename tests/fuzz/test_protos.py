"""A systematic set of malformed INVITEs in the manner of PROTOS c07-sip: every field of one message gets every anomaly in turn.

Row S30 of the hostile-input catalogue. Fields and kinds of anomaly follow the published test groups (overlong values, format
strings, escapes, broken UTF-8, numbers at the edges, repeated separators, addresses and URIs that are none); the messages are made
here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import msgspec
import pytest

from engine._native import sdp, sip
from engine.trace import read, report
from engine.trace.report_text import harmless_json, printable
from tests.data.scene import Scene
from tests.fuzz.test_sip_fuzz import values
from tests.oracle import sip_twin

WHOLE = (
    b"INVITE sip:<user>@<host>:<port><uri-parameters> <version>\r\n"
    b"Via: <via-version>/UDP <via-host>:<via-port>;branch=<branch>\r\n"
    b'From: "<display>" <sip:<from-user>@<from-host>>;tag=<from-tag>\r\n'
    b"To: <to-display> <sip:receiver@example.org><to-parameters>\r\n"
    b"Call-ID: <call-id>@192.0.2.1\r\n"
    b"CSeq: <cseq> <cseq-method>\r\n"
    b"Contact: <contact>\r\n"
    b"Expires: <expires>\r\n"
    b"Max-Forwards: <max-forwards>\r\n"
    b"Content-Type: <content-type>\r\n"
    b"Content-Length: <content-length>\r\n"
    b"<header-name>: <header-value>\r\n"
    b"\r\n"
    b"v=<sdp-version>\r\no=<origin> 1 1 IN IP4 <origin-host>\r\ns=<session>\r\nc=IN <address-type> <address>\r\n"
    b"t=<start> <stop>\r\nm=<media> <media-port> <proto> <format>\r\na=<attribute>:<attribute-value>\r\n"
)
GOOD = {
    b"user": b"receiver", b"host": b"example.org", b"port": b"5060", b"uri-parameters": b";transport=udp", b"version": b"SIP/2.0",
    b"via-version": b"SIP/2.0", b"via-host": b"192.0.2.1", b"via-port": b"5060", b"branch": b"z9hG4bK00000000",
    b"display": b"caller", b"from-user": b"caller", b"from-host": b"192.0.2.1", b"from-tag": b"abc", b"to-display": b"Receiver",
    b"to-parameters": b"", b"call-id": b"0", b"cseq": b"1", b"cseq-method": b"INVITE", b"contact": b"<sip:caller@192.0.2.1>",
    b"expires": b"1200", b"max-forwards": b"70", b"content-type": b"application/sdp", b"content-length": b"131",
    b"header-name": b"X-Test", b"header-value": b"x", b"sdp-version": b"0", b"origin": b"-", b"origin-host": b"192.0.2.1",
    b"session": b"-", b"address-type": b"IP4", b"address": b"192.0.2.1", b"start": b"0", b"stop": b"0", b"media": b"audio",
    b"media-port": b"9876", b"proto": b"RTP/AVP", b"format": b"0", b"attribute": b"rtpmap", b"attribute-value": b"0 PCMU/8000",
}  # fmt: skip
SIZES = (1, 2, 17, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 32768, 49152)
ANOMALIES = [
    b"", b" ", b"\t", b"\0", b"\0" * 256, b"%", b"%s" * 40, b"%n" * 40, b"%.999d%x%n", b"%00", b"%0", b"%GG", b"%25%30%30",
    b"\xff\xfe", b"\xc0\x80", b"\xe0\x80\xaf", b"\xf8\x88\x80\x80\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\x80" * 128,
    b"\x1b[2J", b"\x1b]0;owned\x07", b"\x7f" * 8, bytes(range(1, 32)), b"-1", b"0", b"00", b"255", b"256", b"65535", b"65536",
    b"2147483647", b"2147483648", b"4294967295", b"4294967296", b"18446744073709551616", b"9" * 1000, b"-" * 64, b"0x41", b"1e9",
    b"1 2", b"+1", b".5", b"::", b":" * 300, b";" * 300, b"," * 300, b"=" * 300, b"@" * 300, b"<" * 300, b">" * 300, b'"' * 301,
    b"\\" * 301, b"(" * 300, b"[" * 300, b"]" * 300, b"/" * 300, b"?" * 300, b"&" * 300, b"\r\n" * 50, b"\r\n " * 50, b"\n" * 50,
    b"\r" * 50, b"\r\n\r\n", b"\r\nVia: x\r\n", b"\r\nContent-Length: 5\r\n", b"sip:", b"sip:@", b"sip:a@[", b"sip:[::1", b"sip:a:b:c@d",
    b"sips:a@b;x" * 60, b"tel:+1;phone-context=", b"sip:%41@b?%3d=%26", b"1.2.3", b"1.2.3.4.5", b"256.256.256.256", b"0.0.0.0",
    b"[::ffff:1.2.3.4]", b"[1:2:3:4:5:6:7:8:9]", b"SIP/2.0", b"SIP/" + b"9" * 200, b"SIP/2.0/UDP", b"IN IP6 ::1", b"a=b" * 200,
    b"multipart/mixed;boundary=" + b"b" * 80, b"*", b"..", b"../" * 60, b"' OR 1=1 --", b"<script>", b"${jndi:ldap://x}",
]  # fmt: skip


def messages() -> Iterator[bytes]:
    """Every field with every anomaly and every overlong value; one field at a time."""
    parts = re.split(rb"<([a-z-]+)>", WHOLE.replace(b"<sip:", b"\1sip:"))

    def made(field: bytes, value: bytes) -> bytes:
        filled = b"".join((value if part == field else GOOD[part]) if at % 2 else part for at, part in enumerate(parts))
        return filled.replace(b"\1sip:", b"<sip:")

    for field in GOOD:
        for anomaly in ANOMALIES:
            yield made(field, anomaly)
        for size in SIZES:
            yield made(field, b"a" * size)
            yield made(field, b"1" * size)


def test_the_set_is_as_large_as_the_published_one() -> None:
    assert sum(1 for _ in messages()) >= 4527


@pytest.mark.slow
def test_every_message_is_read_as_the_twin_reads_it() -> None:
    """S30: the tokenizer, of a datagram and of a stream, flags and all, and every typed reading of every value."""
    for data in messages():
        sip_twin.compare(data)
        sip_twin.compare(data, True)
        try:
            message = sip.scan(data)
        except sip.Malformed:
            continue
        values(message)
        sdp.of_message(data)


@pytest.mark.slow
def test_every_message_of_the_set_ends_in_the_tables_and_the_good_call_beside_it_is_untouched() -> None:
    """S30: one capture with the whole set and one good call: whatever the tokenizer accepts is a row, octet for octet."""
    scene = Scene()
    scene.call(call_id="good@x").basic(talk_s=1.0)
    accepted = []
    for at, data in enumerate(messages()):
        scene.udp(10 + at * 0.001, "192.0.2.66:5060", "192.0.2.77:5060", data)
        with contextlib.suppress(sip.Malformed):
            sip.scan(data)
            accepted.append(data)
    assert len(accepted) > 4527
    tables = read(scene.pcap())
    texts = [tables.trace.text(row) for row in range(len(tables.messages))]
    assert [text for text in texts if b"good@x" not in text] == accepted
    calls = {tables.call_id(call): call for call in range(len(tables.calls))}
    assert int(tables.calls.final_status[calls["good@x"]]) == 200
    made = report(tables)
    assert {"malformed-fuzz", "uri-invalid", "sdp-syntax"} <= {finding.rule for finding in made.findings}
    for row in range(len(tables.messages)):
        tables.summary(row)
    told = harmless_json(msgspec.json.encode(made)).decode()
    assert not re.search("[\0-\x1f\x7f-\x9f\u202a-\u202e]", told)
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", "".join(printable(f.detail) for f in made.findings))

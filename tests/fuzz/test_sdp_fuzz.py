"""Hostile session descriptions and multiparts: the kernel says what the plain-Python reading says, and reads no byte
beyond its input, in front of it or behind it."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from engine._native import sdp
from tests.oracle import sdp_twin

OFFER = b"\r\n".join((
    b"v=0", b"o=alice 2890844526 2890844526 IN IP4 192.0.2.10", b"s=-", b"c=IN IP4 192.0.2.10", b"t=0 0", b"a=sendonly",
    b"a=group:BUNDLE a0 v1", b"a=ice-lite", b"a=fingerprint:sha-256 AB:CD:EF", b"m=audio 49170/2 RTP/AVP 0 8 101 96 97 110 2",
    b"b=AS:64", b"b=TIAS:64000", b"a=rtpmap:0 PCMU/8000", b"a=rtpmap:8 PCMA/8000", b"a=rtpmap:101 telephone-event/8000",
    b"a=fmtp:101 0-16", b"a=rtpmap:96 opus/48000/2", b"a=rtpmap:97 AAL2-G726-24/8000", b"a=rtpmap:110 G722/16000",
    b"a=rtpmap:2 G726-32/8000", b"a=ptime:20", b"a=maxptime:40", b"a=mid:a0", b"a=label:1", b"a=setup:actpass",
    b"a=rtcp:49171 IN IP4 192.0.2.10", b"a=rtcp-mux", b"a=candidate:1 1 UDP 2130706431 10.0.0.1 49170 typ host",
    b"a=candidate:2 1 udp 2130706431 x.local 9 typ srflx raddr 0.0.0.0 rport 0",
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 UNENCRYPTED_SRTP",
    b"a=record:on", b"m=image 0 udptl t38", b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel", b"c=IN IP6 2001:db8::1",
    b"a=inactive", b"m=audio 5 TCP/RTP/AVP 9", b"c=IN IP4 224.2.1.1/127/3", b"",
))  # fmt: skip
PIECES = (
    b"0", b"-1", b"65536", b"4294967296", b" ", b"\t", b"/", b":", b"|", b"=", b"\n", b"\r", b"\0", b"a=", b"m=", b"audio", b"RTP/AVP",
    b"99999999999999999999", b"127", b"128", b"c=IN IP4 224.2.1.1/127/3", b"\r\n", b"\r\na=sendrecv\r\n", b"\r\na=ptime:30\r\n",
    b"\r\na=rtpmap:96 AMR/8000\r\n", b"\r\na=rtpmap:0 opus/48000/2\r\n", b"\r\nc=IN IP4 10.1.1.1\r\n", b"\r\nb=TIAS:500\r\n", b";",
    b"2^49", b"G729", b"x" * 70, b"\x1c", b"\xff",
)  # fmt: skip
MULTIPART = b'multipart/mixed; boundary="b"'
PARTS = b"--b\r\nContent-Type: application/sdp;\r\n x=y\r\n\r\n" + OFFER[:200] + b"\r\n--b\r\n\r\nhi\r\n--b--\r\nend"


def mutated(random: Random, text: bytes) -> bytes:
    """The text with one to six changes: pieces put in, bytes cut or changed, lines moved or doubled, ends cut off."""
    for _ in range(random.randint(1, 6)):
        at, kind = random.randrange(len(text) + 1), random.random()
        if kind < 0.35:
            text = text[:at] + random.choice(PIECES) + text[at:]
        elif kind < 0.6:
            text = text[:at] + text[at + random.randint(1, 8) :]
        elif kind < 0.75:
            text = text[:at] + bytes([random.randrange(256)]) + text[at + 1 :]
        elif kind < 0.95:
            lines = text.split(b"\r\n")
            lines.insert(random.randrange(len(lines) + 1), lines.pop(random.randrange(len(lines))))
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
            text = b"\r\n".join(lines)
        else:
            text = text[:at]
    return text


@pytest.mark.parametrize("seed", range(6))
def test_mutations_read_as_the_twin_reads_them(seed: int) -> None:
    random = Random(seed)
    for _ in range(400):
        text = mutated(random, OFFER)
        assert sdp.scan(text) == sdp_twin.scan(text), text


def test_every_truncation_reads_as_the_twin_reads_it() -> None:
    for cut in range(len(OFFER) + 1):
        assert sdp.scan(OFFER[:cut]) == sdp_twin.scan(OFFER[:cut])


def test_every_tail_reads_as_the_twin_reads_it() -> None:
    for cut in range(len(OFFER) + 1):
        assert sdp.scan(OFFER[cut:]) == sdp_twin.scan(OFFER[cut:])


@pytest.mark.parametrize("seed", range(3))
def test_bytes_of_any_kind_read_as_the_twin_reads_them(seed: int) -> None:
    random = Random(seed)
    for _ in range(300):
        letters = b"vosctmabr=\r\n 0/:" if seed else bytes(range(256))
        text = bytes(random.choices(letters, k=random.randrange(200)))
        assert sdp.scan(text) == sdp_twin.scan(text), text


# ---- guard pages ----


@contextmanager
def guarded() -> Iterator[Callable[[bytes, bool], memoryview]]:
    """Two readable pages between two that are not. The function given puts bytes at their end, or at their start."""
    page, libc = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True)
    block = mmap.mmap(-1, 4 * page)
    whole = (ctypes.c_char * (4 * page)).from_buffer(block)
    start = ctypes.addressof(whole)
    for fence in (start, start + 3 * page):
        assert libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0) == 0

    def place(text: bytes, at_end: bool) -> memoryview:
        offset = 3 * page - len(text) if at_end else page
        ctypes.memmove(start + offset, text, len(text))
        return memoryview(whole).cast("B")[offset : offset + len(text)]

    try:
        yield place
    finally:
        for fence in (start, start + 3 * page):
            libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), mmap.PROT_READ | mmap.PROT_WRITE)


def test_no_read_leaves_a_description_at_either_side() -> None:
    with guarded() as place:
        for cut in range(len(OFFER) + 1):
            for text in (OFFER[:cut], OFFER[cut:]):
                expected = sdp.scan(text)
                for at_end in (True, False):
                    assert sdp.scan(place(text, at_end)) == expected


def test_no_read_leaves_a_mutated_description() -> None:
    random = Random(99)
    with guarded() as place:
        for _ in range(600):
            text = mutated(random, OFFER)[: 2 * mmap.PAGESIZE]
            expected = sdp.scan(text)
            for at_end in (True, False):
                assert sdp.scan(place(text, at_end)) == expected


# ---- multiparts ----


def test_every_truncation_of_a_multipart_stays_inside_it() -> None:
    for cut in range(len(PARTS) + 1):
        parts, _ = sdp.split_multipart(MULTIPART, PARTS[:cut])
        assert all(PARTS[:cut].find(piece) >= 0 for part in parts for piece in part[:3])


def test_mutated_multiparts_give_parts_in_order_that_lie_inside() -> None:
    random = Random(5621)
    for _ in range(1500):
        value, body = MULTIPART, mutated(random, PARTS)
        if random.random() < 0.4:
            value = mutated(random, MULTIPART)
        parts, flags = sdp.split_multipart(value, body, 4)
        at = 0
        for part in parts:
            for piece in (part.headers, part.body):
                found = body.find(piece, at)
                assert found >= at
                at = found + len(piece)
        assert len(parts) <= 4 and bool(flags & (sdp.MimeFlag.NO_PARTS | sdp.MimeFlag.NO_BOUNDARY)) is (not parts)

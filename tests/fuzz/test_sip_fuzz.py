"""Hostile SIP: kernel and plain-Python twin read mutated messages alike, and no read leaves the bytes given.

Covers rows S01 to S30 by mutation of messages that hold their triggers, and N01 (page end, every truncation) and N09
(differential oracle) of the hostile-input catalogue.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from random import Random

import pytest

from engine._native import sip
from tests.oracle import sip_twin

SEEDS = [
    b"INVITE sip:+15551234@gw.example.net:5060;user=phone SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bK77ef;rport;received=192.0.2.9\r\n"
    b"Via: SIP / 2.0 / TCP [2001:db8::7]:5061;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    b'From: "A. \\"Ann\\" Lee" <sip:ann@example.com>;tag=9fxced76sl\r\n'
    b"To: <sip:+15551234@gw.example.net>\r\nCall-ID: 3848276298220188511@example.com\r\n"
    b"CSeq: 2147483648 INVITE\r\nContact: <sip:ann@10.1.2.3;transport=tcp>;expires=60, sip:b@c;q=0.7\r\n"
    b"Supported: 100rel,\r\n timer,\r\n\treplaces\r\nX-Own-Header: some value\r\n"
    b"Content-Type: application/sdp\r\nContent-Length: 57\r\n\r\n"
    b"v=0\r\no=- 1 1 IN IP4 10.1.2.3\r\ns=-\r\nc=IN IP4 10.1.2.3\r\nt=0 0",
    b"SIP/2.0 183 Session Progress\r\nv: SIP/2.0/TLS h.example.com;branch=z9hG4bK2\r\nf: sip:a@b;tag=1\r\n"
    b"t: sip:c@d;tag=2\r\ni: a84b4c76e66710\r\nCSeq: 9 INVITE\r\nm: <sip:c@d>\r\nk: timer\r\nl: 0\r\n\r\n",
    b"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@b>;tag=x\r\nTo: <sip:a@b>\r\n"
    b"Call-ID: r1\r\nCSeq: 1 REGISTER\r\nContact: *\r\nExpires: 0\r\n"
    b'Authorization: Digest username="a",realm="b \\" c",nonce="",uri="sip:b",response="0",orphan\r\n'
    b'Warning: 399 h "what, now"\r\nReason: Q.850;cause=16;text="ok"\r\n\r\n',
    b"\r\n\r\nSIP/2.0 200 OK\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bK3\nContent-Length : 3\nServer: \xc3\xa9\n\nabc",
    b"BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nContent-Length: 0\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\r\n", b"\r\n ", b"\n\t", b" ", b"\t", b":", b" :", b'"', b"\\", b'\\"',
    b"v=0\r\n", b"\r\nv=0\r\n", b"\0", b"\x01", b"\x7f", b"\x80", b"\xc3\xa9", b"\xe0\x80\x80", b"\xef\xbb\xbf", b"l: 3\r\n",
    b"\r\nContent-Length: 99999999999999999999\r\n", b"\r\nContent-Length: 10 20\r\n", b"Via", b"SIP/2.0", b" SIP/2.0", b"SIP/",
    b"X" * 70, b"P-Charging-Function-Addresses: x\r\n", b",", b"<", b">", b";", b"%", b"=", b"@", b"[", b"]", b"-1", b"4294967296",
]  # fmt: skip
IMPLEMENTATIONS = ("scalar", "avx2", "avx512")


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    before = sip.implementation()
    try:
        sip.force_implementation(request.param)
    except ValueError:
        pytest.skip("not on this machine")
    yield
    sip.force_implementation(before)


def mutated(random: Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 5, 8, 13))):
        at, kind = random.randrange(len(found) + 1), random.randrange(7)
        if kind <= 1:
            found[at:at] = random.choice(PIECES)
        elif kind == 2 and at < len(found):
            found[at] = random.randrange(256)
        elif kind == 3:
            del found[at : at + random.randrange(1, 40)]
        elif kind == 4:
            other = random.randrange(len(found) + 1)
            found[at:at] = found[other : other + random.randrange(1, 120)]
        elif kind == 5:
            found = found[:at] if random.random() < 0.2 else found
        else:
            found = found.replace(random.choice((b"\r\n", b" ", b":", b";", b'"')), random.choice(PIECES), 2)
    return bytes(found[:6000])


def values(message: sip.Message) -> None:
    """Every typed reading of every value: whatever comes out lies inside what went in."""
    for _, value, _, _ in message.headers:
        uri, address, via = sip.parse_uri(value), sip.parse_address(value), sip.parse_via(value)
        for part in (
            uri.user,
            uri.host,
            uri.parameters,
            uri.headers,
            address.display,
            address.uri,
            address.tag,
        ):
            assert part in value
        for part in (via.host, via.branch, via.received, via.parameters, *sip.split_list(value)):
            assert part in value
        sip.parse_cseq(value)
        sip.parse_number(value)
        for name in (b"tag", b"stale", b"transport"):
            assert (sip.parameter(value, name) or b"") in value
            assert (sip.parameter(value, name, b",") or b"") in value


@pytest.mark.parametrize("seed", range(6))
def test_mutated_messages_are_read_as_the_twin_reads_them(seed: int) -> None:
    """(N09)"""
    random = Random(seed)
    for _ in range(150):
        data = mutated(random, random.choice(SEEDS))
        sip_twin.compare(data)
        sip_twin.compare(data, stream=True)
        try:
            values(sip.scan(data))
        except sip.Malformed:
            continue


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_many_more_mutated_messages_are_read_as_the_twin_reads_them(seed: int) -> None:
    """(N09)"""
    random = Random(seed)
    for _ in range(2000):
        data = mutated(random, mutated(random, random.choice(SEEDS)))
        sip_twin.compare(data, stream=random.random() < 0.3)


@pytest.mark.parametrize("data", SEEDS)
def test_every_truncation_is_read_as_the_twin_reads_it(data: bytes) -> None:
    """(N01)"""
    for end in range(len(data)):
        sip_twin.compare(data[:end])
        sip_twin.compare(data[:end], stream=True)


class Fence:
    """Two pages of memory, the second of which nobody may touch."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory)) + mmap.PAGESIZE
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0

    def put(self, data: bytes) -> memoryview:
        """The bytes so that the last one is the last readable one."""
        start = mmap.PAGESIZE - len(data)
        self.memory[start : mmap.PAGESIZE] = data
        return memoryview(self.memory)[start : mmap.PAGESIZE]


def test_no_read_goes_beyond_the_last_byte() -> None:
    """(N01) A read of one byte too many ends the process."""
    fence, random = Fence(), Random(1)
    for value in (
        b"<sip:a",
        b'"x" <sip:a ',
        b'"',
        b"\\",
        b'"\\',
        b"sip:a%",
        b"sip:a%4",
        b"[::1",
        b"a;b=",
        b"SIP/2.0/UDP",
    ):
        for reading in (sip.parse_uri, sip.parse_address, sip.parse_via, sip.split_list):
            reading(fence.put(value))
    for seed in SEEDS:
        for end in range(len(seed) + 1):
            view = fence.put(seed[:end])
            for stream in (False, True):
                try:
                    found = sip.scan(view, stream)
                except sip.Malformed:
                    continue
                assert found is None or found.length <= end
        for _ in range(100):
            data = mutated(random, seed)[: mmap.PAGESIZE]
            for reading in (sip.parse_uri, sip.parse_address, sip.parse_via, sip.split_list, sip.parse_cseq, sip.sniff,
                            sip.parse_number, sip.hash_bytes, sip.parse_address_literal):  # fmt: skip
                reading(fence.put(data[-random.randrange(1, 60) :]))
            sip.parameter(fence.put(data), b"tag")

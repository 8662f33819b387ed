"""HEP 1, 2 and 3: what they report, and packets that lie about their lengths."""

from __future__ import annotations

import random
import struct

import pytest

from engine._native.packet import hep
from tests.data import capture_builder as build

MALFORMED, INCOMPLETE = -1, -2
HEP = 128
SIP = b"INVITE sip:bob@biloxi.com SIP/2.0\r\nCall-ID: a\r\n\r\n"
TIME_NS = 1_700_000_123_456_789_000


def ends(packet: object) -> tuple[tuple[str, int], tuple[str, int]]:
    assert isinstance(packet, dict)
    return packet["source"][:2], packet["target"][:2]


@pytest.mark.parametrize("magic", [b"HEP3", b"EEP1"])
def test_version_3_reports_addresses_time_and_payload(magic: bytes) -> None:
    octets = build.hep3(SIP, "10.1.2.3", "8.8.8.8", 5062, 5060, time_ns=TIME_NS, correlation=b"corr", magic=magic)
    used, packet, problems = hep(octets + b"next packet")
    assert (used, problems) == (len(octets), {})
    assert ends(packet) == (("10.1.2.3", 5062), ("8.8.8.8", 5060))
    assert (packet["source"][2], packet["target"][2]) == (3, 2)
    assert (packet["payload"], packet["time_ns"], packet["protocol"]) == (SIP, TIME_NS, 17)
    assert (packet["hep_protocol"], packet["hep_correlation"], packet["flags"]) == (1, b"corr", HEP)


def test_version_3_reports_ipv6_tcp_flags_tos_vlan_and_other_payload_kinds() -> None:
    extra = build.hep_chunk(0x12, b"\0\x1e") + build.hep_chunk(0x17, b"\x18") + build.hep_chunk(0x18, b"\xb8")
    octets = build.hep3(b"{}", "2001:db8::1", "2001:db8::2", protocol=6, kind=5, extra=extra)
    used, packet, problems = hep(octets)
    assert (used, problems) == (len(octets), {})
    assert packet["source"][0] == "2001:0db8:0000:0000:0000:0000:0000:0001"
    assert (packet["vlan"], packet["tcp_flags"], packet["dscp"]) == (30, 24, 46)
    assert (packet["protocol"], packet["hep_protocol"], packet["hep_correlation"]) == (6, 5, None)


@pytest.mark.parametrize("family", [2, 10, 28, 30, 0])
def test_the_addresses_that_are_there_decide_and_not_the_family_number(family: int) -> None:
    """H02: some agents send their operating system's own number."""
    octets = build.hep3(SIP, "2001:db8::1", "2001:db8::2").replace(
        build.hep_chunk(1, b"\x0a"), build.hep_chunk(1, bytes([family]))
    )
    assert hep(octets)[1]["source"][0].startswith("2001:0db8")


def test_two_families_are_told_apart_by_the_family_number() -> None:
    """H02: two conflicting IP families."""
    both = build.hep_chunk(5, bytes(15) + b"\1") + build.hep_chunk(6, bytes(15) + b"\2")
    octets = build.hep3(SIP, extra=both)
    assert hep(octets)[1]["source"][0] == "10.0.0.1"
    octets = octets.replace(build.hep_chunk(1, b"\2"), build.hep_chunk(1, b"\x0a"))
    assert hep(octets)[1]["source"][0].endswith(":0001")


def packet_of(chunks: bytes, total: int | None = None) -> bytes:
    return b"HEP3" + struct.pack("!H", 6 + len(chunks) if total is None else total) + chunks


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", INCOMPLETE),
        (b"H", INCOMPLETE),
        (b"HEP3", INCOMPLETE),
        *((packet_of(b"", total), MALFORMED) for total in range(6)),
        (packet_of(b""), 6),
        (build.hep3(SIP, total_length=65_535), INCOMPLETE),
        (packet_of(build.hep_chunk(15, SIP)[:-1]), MALFORMED),
        *((packet_of(build.hep_chunk(15, SIP, length=n)), MALFORMED) for n in range(6)),
        (packet_of(build.hep_chunk(15, SIP, length=60_000)), MALFORMED),
        (packet_of(b"\0\0\0"), MALFORMED),
        (packet_of(build.hep_chunk(99, b"", 7) * 200), MALFORMED),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(octets: bytes, expected: int) -> None:
    """H01: magic only; total length 0-5, above the real one, 65,535; chunk length 0, 1-5, beyond the rest."""
    used, _, problems = hep(octets)
    assert used == expected
    assert list(problems) == (["HEP_CHUNK"] if expected == MALFORMED else [])


def test_a_total_length_below_the_real_one_ends_the_packet_there() -> None:
    """H01: total length < real."""
    chunks = build.hep_chunk(11, b"\1") + build.hep_chunk(15, SIP)
    octets = packet_of(chunks)
    used, packet, problems = hep(octets + build.hep_chunk(15, b"beyond"))
    assert (used, packet["payload"], problems) == (len(octets), SIP, {})


@pytest.mark.parametrize("chunk", [(7, b"\1"), (5, b"\1\2\3\4"), (9, b"\1"), (3, bytes(16)), (11, b""), (2, b"\0\x11")])
def test_a_body_of_the_wrong_size_is_counted_and_passed_over(chunk: tuple[int, bytes]) -> None:
    """H01: port of one byte, IPv6 address of four."""
    used, packet, problems = hep(packet_of(build.hep_chunk(*chunk) + build.hep_chunk(15, SIP)))
    assert used > 0
    assert (packet["payload"], packet["source"], packet["target"]) == (SIP, ("", 0, 0), ("", 0, 0))
    assert problems == {"HEP_CHUNK": (1, 0)}


def test_a_missing_payload_is_empty_and_the_first_of_two_stands() -> None:
    """H02: payload missing; two payloads; unknown vendor; protocol 255."""
    assert hep(packet_of(build.hep_chunk(11, b"\1")))[1]["payload"] == b""
    twice = build.hep_chunk(15, SIP) + build.hep_chunk(15, b"second") + build.hep_chunk(15, b"vendor", vendor=7)
    _, packet, problems = hep(packet_of(build.hep_chunk(2, b"\xff") + twice))
    assert (packet["payload"], packet["protocol"], problems) == (SIP, 255, {})


def test_time_zero_leaves_the_capture_time_and_a_million_microseconds_are_counted() -> None:
    """H02: timestamp 0, microseconds >= 10^6."""
    assert hep(build.hep3(SIP, time_ns=0))[1]["time_ns"] == 0
    chunks = build.hep_chunk(9, struct.pack("!I", 5)) + build.hep_chunk(10, struct.pack("!I", 10**6))
    _, packet, problems = hep(packet_of(chunks))
    assert packet["time_ns"] == 5 * 10**9
    assert list(problems) == ["HEP_CHUNK"]


def test_a_compressed_payload_is_counted_and_never_expanded() -> None:
    """H04: the kernel inflates nothing, so there is nothing to bomb."""
    used, packet, problems = hep(packet_of(build.hep_chunk(16, b"\x1f\x8b" + bytes(4000))))
    assert used > 0
    assert packet["payload"] == b""
    assert list(problems) == ["HEP_COMPRESSED"]


@pytest.mark.parametrize("source", ["10.0.0.1", "2001:db8::1"])
def test_version_1_reports_addresses_and_payload(source: str) -> None:
    target = "2001:db8::2" if ":" in source else "10.0.0.2"
    octets = build.hep1(SIP, source, target, 5062, 5061)
    used, packet, problems = hep(octets)
    assert (used, problems) == (len(octets), {})
    assert (packet["source"][1], packet["target"][1], packet["payload"]) == (5062, 5061, SIP)
    assert packet["hep_protocol"] == 1


@pytest.mark.parametrize("payload", [SIP, b"SIP/2.0 200 OK\r\n\r\n", b"ACK sip:a SIP/2.0\r\n\r\n", b"BYE sip:a SIP/2.0\r\n\r\n"])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_version_2_is_read_in_either_byte_order_and_padding(payload: bytes, big_endian: bool, padded: bool) -> None:
    octets = build.hep2(payload, time_ns=TIME_NS, big_endian=big_endian, padded=padded)
    used, packet, problems = hep(octets)
    assert (used, problems) == (len(octets), {})
    assert (packet["payload"], packet["time_ns"]) == (payload, TIME_NS)


@pytest.mark.parametrize("octets", [build.hep1(SIP), build.hep2(SIP), build.hep1(SIP, "::1", "::2"), build.hep2(SIP, "::1", "::2")])
def test_old_versions_cut_inside_their_header_are_incomplete(octets: bytes) -> None:
    """H03: shorter than the family needs."""
    header = octets.index(b"INVITE")
    assert {hep(octets[:size])[0] for size in range(header)} == {INCOMPLETE}


@pytest.mark.parametrize("family", [0, 1, 3, 255])
def test_old_versions_of_an_unknown_family_or_length_are_refused(family: int) -> None:
    """H03: family not 2 or 10, length byte that fits no family."""
    octets = bytearray(build.hep1(SIP))
    octets[2] = family
    assert hep(bytes(octets))[0] == MALFORMED
    octets[2], octets[1] = 2, 17
    assert hep(bytes(octets))[0] == MALFORMED


def test_random_damage_never_reads_beyond_the_packet() -> None:
    dice, packet = random.Random(8), build.hep3(SIP, correlation=b"x" * 20)
    for _ in range(4000):
        octets = bytearray(packet[: dice.randrange(len(packet) + 1)])
        for _ in range(dice.randrange(4)):
            if octets:
                octets[dice.randrange(len(octets))] = dice.randrange(256)
        used, found, _ = hep(bytes(octets))
        assert used in (MALFORMED, INCOMPLETE) or 0 <= used <= len(octets)
        assert used < 0 or found["payload"] in bytes(octets)

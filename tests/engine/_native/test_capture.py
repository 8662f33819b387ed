"""Capture files: every format and byte order, damage, and splitting a file over workers."""

from __future__ import annotations

import random
import struct

import pytest

from engine._native.packet import Capture, problem_sentences
from tests.data import capture_builder as build
from tests.oracle import capture_twin

START_NS = 1_700_000_000_123_456_789
FRAME = build.ethernet(build.ipv4(build.udp(b"OPTIONS sip:a SIP/2.0\r\n\r\n")))


def kept(file: bytes) -> list[tuple[int, bytes, int, int]]:
    """(time, bytes, original length, link type) of what the kernel reads."""
    return [(r[0], r[2], r[3], r[5]) for r in Capture(file)]


def timed(count: int, seed: int = 1) -> list[build.Timed]:
    """Packets of many sizes at rising times with whole microseconds."""
    dice = random.Random(seed)
    rows: list[build.Timed] = []
    time_ns = START_NS // 1000 * 1000
    for _ in range(count):
        time_ns += dice.randrange(1, 5000) * 1000
        payload = dice.randbytes(dice.choice((0, 1, 12, 172, 600)))
        rows.append((time_ns, build.ethernet(build.ipv4(build.udp(payload, 4000, 4002)))))
    return rows


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("kind", ["micro", "nano", "modified"])
def test_pcap_of_either_byte_order_and_every_magic_reads_like_the_twin(kind: str, big_endian: bool) -> None:
    """C01: the nanosecond, the modified and the byte-swapped magic."""
    file = build.pcap(
        timed(50), nanosecond=kind == "nano", modified=kind == "modified", big_endian=big_endian, link_type=101
    )
    assert kept(file) == [tuple(record) for record in capture_twin.records(file)]
    assert len(kept(file)) == 50


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("resolution", [0, 3, 6, 9, 12, 0x80 | 10, 0x80 | 30])
def test_pcapng_reads_like_the_twin_at_every_time_resolution(resolution: int, big_endian: bool) -> None:
    file = build.pcapng(timed(20), big_endian=big_endian, resolution=resolution)
    assert kept(file) == [tuple(record) for record in capture_twin.records(file)]
    assert len(kept(file)) == 20


def test_a_record_knows_its_number_and_its_place_in_the_file() -> None:
    file = build.pcap([FRAME] * 3)
    rows = list(Capture(file))
    assert [row[4] for row in rows] == [1, 2, 3]
    assert [row[1] for row in rows] == [24, 24 + 16 + len(FRAME), 24 + 2 * (16 + len(FRAME))]


def test_fcs_bits_of_the_network_field_take_the_check_sequence_off() -> None:
    """C01: FCS bits set in the link type field."""
    file = bytearray(build.pcap([FRAME + b"\xde\xad\xbe\xef"]))
    file[20:24] = struct.pack("<I", 1 | 0x04000000 | 2 << 28)
    assert kept(bytes(file))[0][1:] == (FRAME, len(FRAME), 1)


def test_the_check_sequence_option_of_an_interface_takes_it_off() -> None:
    option = build.pcapng_option(13, b"\x04")
    file = build.pcapng_section() + build.pcapng_interface(options=option) + build.pcapng_enhanced(FRAME + b"FCS!", 1)
    assert kept(file)[0][1] == FRAME


@pytest.mark.parametrize("snap", [0, 1, 2**31, 2**32 - 1])
def test_an_absurd_snap_length_does_not_stop_reading(snap: int) -> None:
    """C01: snaplen 0, 2^31, -1; and a captured length above it."""
    assert len(kept(build.pcap([FRAME] * 3, snap_length=snap))) == 3


def test_a_captured_length_above_the_original_is_kept_as_captured() -> None:
    """C01: caplen > len."""
    capture = Capture(build.pcap([(START_NS, FRAME, len(FRAME) - 10)]))
    assert [(r[2], r[3]) for r in capture] == [(FRAME, len(FRAME))]


def test_lengths_of_version_2_3_may_be_exchanged() -> None:
    """C01: version 2.3."""
    file = bytearray(build.pcap([(START_NS, FRAME, 1500)], version=(2, 3)))
    file[32:40] = struct.pack("<II", 1500, len(FRAME))
    assert kept(bytes(file)) == [(START_NS // 1000 * 1000, FRAME, 1500, 1)]


def test_empty_records_are_records() -> None:
    """C01: caplen 0, len 0."""
    capture = Capture(build.pcap([(START_NS, b""), (START_NS, FRAME), (START_NS, b"", 60)]))
    assert [(r[2], r[3]) for r in capture] == [(b"", 0), (FRAME, len(FRAME)), (b"", 60)]
    assert capture.problems == {}


@pytest.mark.parametrize("captured", [262_145, 2**31, 2**32 - 1])
def test_an_impossible_length_is_stepped_over_and_reading_resumes(captured: int) -> None:
    """C01: caplen 2^32-1."""
    packets = timed(40)
    file = bytearray(build.pcap(packets))
    broken = sum(16 + len(packet[1]) for packet in packets[:5]) + 24
    struct.pack_into("<I", file, broken + 8, captured)
    capture = Capture(bytes(file))
    assert [r[2] for r in capture] == [packet[1] for packet in packets[:5] + packets[6:]]
    assert capture.problems == {"RECORD_LENGTH": (1, broken)}


def test_a_length_damaged_to_swallow_its_neighbours_loses_only_its_own_record() -> None:
    packets = timed(60)
    file = bytearray(build.pcap(packets))
    broken = sum(16 + len(packet[1]) for packet in packets[:5]) + 24
    struct.pack_into("<I", file, broken + 8, len(packets[5][1]) + 700)
    capture = Capture(bytes(file))
    found = [r[2] for r in capture]
    assert [packet[1] for packet in packets[:5] + packets[6:]] == found
    assert list(capture.problems) == ["RECORD_LENGTH"]


@pytest.mark.parametrize("size", range(24))
def test_a_file_shorter_than_its_header_gives_no_record(size: int) -> None:
    """C02: file of 0-23 bytes."""
    file = build.pcap([FRAME])[:size]
    if size < 4:
        with pytest.raises(ValueError, match="no capture format"):
            Capture(file)
    else:
        capture = Capture(file)
        assert list(capture) == []
        assert capture.problems == {"RECORD_TRUNCATED": (1, 0)}


def test_a_header_alone_is_an_empty_capture_without_problems() -> None:
    """C02: header only."""
    capture = Capture(build.pcap([]))
    assert list(capture) == []
    assert capture.problems == {}


@pytest.mark.parametrize("cut", [1, 5, 15, 16, 17, 40])
def test_a_cut_last_record_is_counted_and_the_ones_before_are_kept(cut: int) -> None:
    """C02: truncated record header and truncated data."""
    whole = build.pcap([FRAME] * 4)
    last = 24 + 3 * (16 + len(FRAME))
    capture = Capture(whole[: last + cut])
    assert len(list(capture)) == 3
    assert capture.problems == {"RECORD_TRUNCATED": (1, last)}


@pytest.mark.parametrize("size", [7, 16, 1000, 100_000])
def test_zeros_behind_the_last_record_are_trailing_bytes(size: int) -> None:
    """C02: sparse file, trailing garbage."""
    file = build.pcap([FRAME] * 2)
    capture = Capture(file + b"\0" * size)
    assert len(list(capture)) == 2
    assert capture.problems == {"TRAILING_BYTES": (1, len(file))}


def test_two_files_one_behind_the_other_are_both_read() -> None:
    """C02: two files concatenated, the second of the other byte order and link type."""
    first, second = build.pcap([FRAME] * 2), build.pcap([FRAME] * 3, big_endian=True, nanosecond=True, link_type=113)
    assert kept(first + second) == kept(first) + kept(second)


def test_times_from_1970_to_2106_are_read_and_going_back_is_noted() -> None:
    """C06: timestamps 0 and in 2106, fractions of a second and more, backwards."""
    file = bytearray(build.pcap([(0, FRAME), ((2**32 - 1) * 10**9, FRAME), (START_NS, FRAME)]))
    struct.pack_into("<I", file, 28, 10**6 + 5)
    capture = Capture(bytes(file))
    assert [r[0] for r in capture] == [(10**6 + 5) * 1000, (2**32 - 1) * 10**9, START_NS // 1000 * 1000]
    assert capture.problems == {"TIME_BACKWARDS": (1, 24 + 2 * (16 + len(FRAME)))}


def test_a_second_back_is_tolerated() -> None:
    capture = Capture(build.pcap([(START_NS, FRAME), (START_NS - 10**9 + 1000, FRAME)]))
    assert len(list(capture)) == 2
    assert capture.problems == {}


@pytest.mark.parametrize(
    "head",
    [
        b"GMBU\0\0\0\0",
        b"snoop\0\0\0\0\0\0\2",
        b"\x00\x00\x00\x00\x20\x00\x10\x00",
        b"INVITE sip:a SIP/2.0",
        b"<html>",
        b"MZ\x90\0",
    ],
)
def test_other_formats_are_refused(head: bytes) -> None:
    """C11: NetMon, snoop, ERF, text, HTML and PE files."""
    with pytest.raises(ValueError, match="no capture format"):
        Capture(head + b"\0" * 100)


def test_every_problem_has_a_sentence() -> None:
    sentences = problem_sentences()
    assert sentences["RECORD_TRUNCATED"] == "the file ends inside a record"
    assert all(sentences.values())


# ---- pcapng ----


def test_interfaces_of_several_sections_and_byte_orders_keep_their_own_settings() -> None:
    """C03: a second section header with the other byte order; several interfaces with their own link types."""
    first = build.pcapng_section() + build.pcapng_interface(1) + build.pcapng_interface(
        113, options=build.pcapng_option(9, b"\x09") + build.pcapng_option(14, struct.pack("<q", -3600))
    )
    first += build.pcapng_enhanced(FRAME, 5_000_000) + build.pcapng_enhanced(b"cooked", 4000 * 10**9, interface=1)
    second = build.pcapng_section(True) + build.pcapng_interface(101, big_endian=True)
    second += build.pcapng_enhanced(b"raw", 7_000_000, big_endian=True)
    capture = Capture(first + second)
    assert [(r[0], r[2], r[5], r[6]) for r in capture] == [
        (5 * 10**9, FRAME, 1, 0),
        (400 * 10**9, b"cooked", 113, 1),
        (7 * 10**9, b"raw", 101, 0),
    ]
    assert capture.problems == {"TIME_BACKWARDS": (1, len(first) + 28 + 20)}


def test_simple_and_obsolete_packet_blocks_are_read() -> None:
    """C04: the simple block's padding is no data, its snap length cuts."""
    file = build.pcapng_section() + build.pcapng_interface(1, snap_length=20)
    file += build.pcapng_old_packet(b"old", 3_000_000) + build.pcapng_simple(b"abcde")
    file += build.pcapng_simple(b"x" * 20, original=1500)
    assert [(r[0], r[2], r[3]) for r in Capture(file)] == [
        (3 * 10**9, b"old", 3),
        (3 * 10**9, b"abcde", 5),
        (3 * 10**9, b"x" * 20, 1500),
    ]


def test_comments_drops_secrets_names_and_custom_blocks_are_taken_or_passed_over() -> None:
    """C05: an unterminated name-resolution record is never read."""
    comment = build.pcapng_option(1, b"odd length") + build.pcapng_option(0, b"")
    file = build.pcapng_section(options=build.pcapng_option(1, b"section")) + build.pcapng_interface(options=comment)
    file += build.pcapng_secrets(b"CLIENT_RANDOM aa bb\n") + build.pcapng_secrets(b"second")
    file += build.pcapng_block(4, struct.pack("<HH", 1, 9) + b"\x0a\0\0\1nameless")
    file += build.pcapng_block(5, struct.pack("<III", 0, 0, 0) + build.pcapng_option(5, struct.pack("<Q", 17)))
    file += build.pcapng_block(0xBAD, b"custom") + build.pcapng_block(0x7777, b"what is this")
    file += build.pcapng_enhanced(FRAME, 1, options=build.pcapng_option(1, b"packet"))
    capture = Capture(file)
    assert len(list(capture)) == 1
    assert capture.secrets == b"CLIENT_RANDOM aa bb\n"
    assert capture.comment_count == 3
    assert capture.interfaces[0][5] == 17
    assert list(capture.problems) == ["BLOCK_UNKNOWN"]


@pytest.mark.parametrize("length", [0, 4, 8, 11, 13, 2**31, 2**32 - 4, 2**32 - 1])
def test_an_impossible_block_length_is_stepped_over(length: int) -> None:
    """C03: block length 0, 4, 8, 11, not a multiple of four, beyond the file, above 2 GiB."""
    before = build.pcapng_section() + build.pcapng_interface() + build.pcapng_enhanced(FRAME, 1)
    broken = bytearray(build.pcapng_enhanced(b"broken", 2))
    struct.pack_into("<I", broken, 4, length)
    capture = Capture(before + bytes(broken) + build.pcapng_enhanced(FRAME, 3) * 10)
    assert [r[2] for r in capture] == [FRAME] * 11
    assert capture.problems == {"BLOCK_LENGTH": (1, len(before))}


def test_a_trailing_length_that_differs_is_noted_and_the_leading_one_believed() -> None:
    """C03: trailing length differs."""
    block = build.pcapng_enhanced(FRAME, 1)
    file = build.pcapng_section() + build.pcapng_interface() + block[:-4] + b"\x11\0\0\0" + block
    capture = Capture(file)
    assert len(list(capture)) == 2
    assert list(capture.problems) == ["BLOCK_LENGTH"]


@pytest.mark.parametrize("length", [12, 16, 24, 0xFFFFFFFF])
def test_a_section_header_of_an_impossible_length_gives_nothing_and_ends(length: int) -> None:
    """C03: SHB shorter than its fixed part, SHB of length 0xFFFFFFFF."""
    file = bytearray(build.pcapng_section())
    struct.pack_into("<I", file, 4, length)
    capture = Capture(bytes(file))
    assert list(capture) == []
    assert sum(count for count, _ in capture.problems.values()) == 1


def test_a_wrong_byte_order_magic_is_refused() -> None:
    """C03: wrong byte-order magic."""
    file = bytearray(build.pcapng_section())
    file[8:12] = b"\1\2\3\4"
    with pytest.raises(ValueError, match="no capture format"):
        Capture(bytes(file))


def test_packets_without_a_described_interface_are_counted() -> None:
    """C04: interface id out of range, no interface described, captured length above the block."""
    file = build.pcapng_section() + build.pcapng_enhanced(FRAME, 1) + build.pcapng_interface()
    file += build.pcapng_enhanced(FRAME, 1, interface=1)
    oversized = bytearray(build.pcapng_enhanced(b"four", 1))
    struct.pack_into("<I", oversized, 20, 5000)
    capture = Capture(file + bytes(oversized) + build.pcapng_enhanced(FRAME, 1))
    assert len(list(capture)) == 1
    assert {kind: count for kind, (count, _) in capture.problems.items()} == {
        "INTERFACE_UNKNOWN": 2,
        "BLOCK_LENGTH": 1,
    }


def test_a_hundred_thousand_interfaces_cost_no_memory() -> None:
    """C04: 100,000 IDBs; only the first 256 can have packets."""
    file = build.pcapng_section() + build.pcapng_interface() * 100_000
    file += build.pcapng_enhanced(FRAME, 1, interface=255) + build.pcapng_enhanced(FRAME, 1, interface=256)
    capture = Capture(file)
    assert len(list(capture)) == 1
    assert list(capture.problems) == ["INTERFACE_UNKNOWN"]


@pytest.mark.parametrize("code", [20, 0x7F, 0x80 | 64, 255])
def test_an_impossible_time_resolution_falls_back_to_microseconds(code: int) -> None:
    """C05: if_tsresol 255, 20 and 2^64."""
    file = build.pcapng_section() + build.pcapng_interface(options=build.pcapng_option(9, bytes([code])))
    capture = Capture(file + build.pcapng_enhanced(FRAME, 1_500_000))
    assert [r[0] for r in capture] == [1_500_000_000]
    assert list(capture.problems) == ["OPTION_LENGTH"]


@pytest.mark.parametrize("offset", [-(2**63), 2**63 - 1, -1])
@pytest.mark.parametrize("ticks", [0, 2**63, 2**64 - 1])
@pytest.mark.parametrize("code", [0, 6, 0x80 | 63])
def test_times_beyond_64_bits_are_held_at_the_limits(code: int, ticks: int, offset: int) -> None:
    """C05, C06: if_tsoffset negative, if_tsresol 0x80+63, timestamps 2^63."""
    options = build.pcapng_option(9, bytes([code])) + build.pcapng_option(14, struct.pack("<q", offset))
    file = build.pcapng_section() + build.pcapng_interface(options=options) + build.pcapng_enhanced(FRAME, ticks)
    rate = 2 ** (code & 0x7F) if code & 0x80 else 10**code
    exact = ticks * 10**9 // rate + offset * 10**9
    assert [r[0] for r in Capture(file)] == [max(-(2**63), min(2**63 - 1, exact))]


def test_options_that_run_past_their_block_end_there() -> None:
    """C05: option length beyond the block, no end marker."""
    runaway = struct.pack("<HH", 9, 400)
    file = build.pcapng_section() + build.pcapng_interface(options=runaway) + build.pcapng_enhanced(FRAME, 2_000_000)
    capture = Capture(file)
    assert [r[0] for r in capture] == [2 * 10**9]
    assert list(capture.problems) == ["OPTION_LENGTH"]


# ---- HEP streams ----


def test_hep_packets_saved_one_behind_the_other_are_records_with_the_reported_time() -> None:
    file = build.hep_file(build.hep3(b"x" * n, time_ns=START_NS // 1000 * 1000 + n * 10**6) for n in range(5))
    capture = Capture(file)
    assert [(r[0], r[5]) for r in capture] == [(START_NS // 1000 * 1000 + n * 10**6, 65535) for n in range(5)]
    assert [p["payload"] for _, p in Capture(file).packets()] == [b"x" * n for n in range(5)]


def test_a_broken_hep_packet_in_a_stream_is_stepped_over() -> None:
    """H01, H06: total length below the header, reading resumes at the next magic."""
    good = build.hep3(b"INVITE sip:a SIP/2.0\r\n\r\n")
    capture = Capture(good + build.hep3(b"bad", total_length=3) + good * 9)
    assert [r[2] for r in capture] == [good] * 10
    assert list(capture.problems) == ["RECORD_LENGTH"]


# ---- splitting ----


def part(file: bytes, start: int | None, stop: int) -> list[tuple[int, int, bytes]]:
    """(offset, time, bytes) of the records a worker reads from `start` up to the one at or behind `stop`."""
    capture, rows = Capture(file), []
    if start is not None:
        capture.position = start
    while (row := next(capture, None)) is not None and row[1] < stop:
        rows.append((row[1], row[0], row[2]))
    return rows


def damaged(file: bytes, seed: int) -> bytes:
    dice, damage = random.Random(seed), bytearray(file)
    for _ in range(6):
        at = dice.randrange(24, len(damage))
        damage[at] ^= 1 << dice.randrange(8)
    return bytes(damage)


TRAFFIC = [(1_700_000_000_000_000_000 + n * 20_000_000, FRAME + bytes(n % 40)) for n in range(60)]
SPLIT_FILES = {
    "few records": build.pcap(TRAFFIC[:3]),
    "one record": build.pcap(TRAFFIC[:1]),
    "no record": build.pcap([]),
    "many records": build.pcap(timed(70)),
    "big-endian nanoseconds": build.pcap(timed(40), big_endian=True, nanosecond=True),
    "modified": build.pcap(timed(40), modified=True),
    "raw packets": build.pcap(TRAFFIC, link_type=101),
    "cut": build.pcap(TRAFFIC)[:-9],
    "with zeros behind": build.pcap(TRAFFIC) + b"\0" * 100,
    "a capture inside a packet": build.pcap(
        [*TRAFFIC[:20], (TRAFFIC[20][0], build.ethernet(build.ipv4(build.udp(build.pcap(TRAFFIC[:12]))))), *TRAFFIC[21:]]
    ),
    "empty records": build.pcap([(t, b"") for t, _ in TRAFFIC[:20]] + TRAFFIC[20:]),
    **{f"damaged {seed}": damaged(build.pcap(TRAFFIC), seed) for seed in range(6)},
}


@pytest.mark.parametrize("name", SPLIT_FILES)
def test_two_halves_of_a_file_split_anywhere_hold_exactly_its_records(name: str) -> None:
    file = SPLIT_FILES[name]
    serial = part(file, None, len(file))
    splitter = Capture(file)
    boundaries = {splitter.boundary(at) for at in range(len(file) + 1)}
    assert max(boundaries) == len(file)
    for boundary in sorted(boundaries):
        assert part(file, None, boundary) + part(file, boundary, len(file)) == serial, boundary


def test_a_whole_file_has_a_boundary_at_nearly_every_record() -> None:
    file = SPLIT_FILES["many records"]
    splitter = Capture(file)
    starts = [row[1] for row in Capture(file)]
    assert [splitter.boundary(start) for start in starts] == starts


def test_boundaries_of_pcapng_and_hep_files_are_block_and_packet_starts() -> None:
    for file in (build.pcapng(timed(30)), build.hep_file([build.hep3(b"payload")] * 30)):
        starts = {row[1] for row in Capture(file)} | {len(file)}
        splitter = Capture(file)
        assert {splitter.boundary(at) for at in range(min(starts), len(file) + 1)} == starts

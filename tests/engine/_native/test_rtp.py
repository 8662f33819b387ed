"""Streams from RTP packets: what each column says, case by case, and against the twin on random streams."""

from __future__ import annotations

from math import log10
from random import Random
from typing import Any

import pytest

from engine._native import rtp as native
from tests.data import rtp_builder as build
from tests.data.rtp_builder import MS, SECOND, START_NS, Datagram, StreamShape
from tests.oracle.rtp_twin import Twin

NONE = 2**32 - 1
CODEC = {name: number for number, name in enumerate(native.CODECS)}
SSRC_CHANGED, MULTIPLEXED, SOURCE_CHANGED, COLLISION, SECOND_SOURCE, SRTP_LIKELY, CLOCK_ESTIMATED = (
    2,
    4,
    8,
    16,
    32,
    64,
    128,
)
SEQUENCE_CONTINUED, TAP_COPY = 1 << 13, 1 << 15


def columns(
    datagrams: list[Datagram], *, described: dict[int, tuple[str, int]] | None = None
) -> dict[str, Any]:
    """Columns of the streams in these datagrams; mappings are given when the first stream begins."""
    table = native.StreamTable()
    build.feed(table, datagrams[:1])
    for payload_type, (codec, clock) in (described or {}).items():
        table.describe(0, payload_type, CODEC[codec], clock)
    build.feed(table, datagrams[1:])
    table.finish()
    return table.columns()


def one(datagrams: list[Datagram], **options: Any) -> dict[str, Any]:
    """The only stream's row."""
    result = columns(datagrams, **options)
    assert len(result["ssrc"]) == 1
    return {name: values[0] for name, values in result.items()}


def clean(**shape: Any) -> list[Datagram]:
    return build.stream(StreamShape(**shape), Random(1))


# ---- headers and classes ----


def test_a_header_with_csrc_extension_and_padding_is_read_to_its_payload() -> None:
    packet = build.rtp(7, 8, b"abcd", csrc=(1, 2), extension=(0xBEDE, bytes(8)), padding=4, marker=True)
    header = native.parse(packet)
    assert header is not None
    assert (header["payload_offset"], header["payload_length"]) == (12 + 8 + 12, 4)
    assert (header["csrc_count"], header["extension_profile"], header["padding"]) == (2, 0xBEDE, 4)
    assert (header["sequence"], header["timestamp"], header["marker"]) == (7, 8, True)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(12),
        b"\x80" + bytes(10),
        b"\x8f" + bytes(11),  # 15 CSRCs that are not there
        b"\x90" + bytes(14),  # extension header cut
        b"\x90" + bytes(13) + b"\xff\xff",  # extension longer than the packet
        b"\xa0" + bytes(15),  # padding count 0
        b"\xa0" + bytes(14) + b"\x05",  # more padding than payload
        b"\x80\xc8" + bytes(30),  # RTCP
    ],
)
def test_what_is_no_rtp_is_refused(payload: bytes) -> None:
    assert native.parse(payload) is None
    table = native.StreamTable()
    assert build.feed(table, [Datagram(payload, START_NS)]) == [native.MALFORMED]
    assert len(table) == 0


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (build.rtp(1, 2, bytes(160)), "rtp"),
        (build.receiver_report(5), "rtcp"),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), "stun"),
        (b"\x16\xfe\xfd" + bytes(20), "dtls"),
        (b"\x40\x00\x00\x04abcd", "turn_channel"),
        (b"\x00\x05\x01\x06\x00\x00\x00", "udptl"),
        (b"INVITE sip:a@b SIP/2.0\r\n", "other"),
        (b"", "other"),
        (b"\x80", "other"),
    ],
)
def test_first_bytes_tell_protocols_on_one_port_apart(payload: bytes, kind: str) -> None:
    assert native.classify(payload) == kind


def test_a_snapped_packet_keeps_its_length_on_the_wire() -> None:
    packet = build.rtp(1, 2, bytes(160))
    table = native.StreamTable()
    build.feed(table, [Datagram(packet[:40], START_NS, flags=native.SNAPPED, wire_length=len(packet))])
    table.finish()
    assert table.columns()["payload_bytes"][0] == 160


# ---- when a stream begins ----


def test_a_flow_nobody_announced_begins_with_its_second_packet_and_keeps_the_first() -> None:
    table = native.StreamTable()
    results = build.feed(table, clean(packets=4), expected=False)
    assert results == [native.ON_PROBATION, 0, 0, 0]
    table.finish()
    row = table.columns()
    assert (row["packets"][0], row["first_time_ns"][0], row["first_frame"][0]) == (4, START_NS, 1)


def test_a_flow_nobody_announced_without_sequence_never_becomes_a_stream() -> None:
    table = native.StreamTable()
    packets = [Datagram(build.rtp(k * 7, k, b"x"), START_NS + k) for k in range(50)]
    assert set(build.feed(table, packets, expected=False)) == {native.ON_PROBATION}
    assert len(table) == 0


def test_an_announced_flow_begins_with_one_packet() -> None:
    table = native.StreamTable()
    assert build.feed(table, clean(packets=1)) == [0]
    assert table.created


def test_streams_differ_by_tag_address_port_and_ssrc() -> None:
    packet = build.rtp(1, 2, bytes(160))
    table = native.StreamTable()
    rows = build.feed(
        table,
        [
            Datagram(packet, START_NS),
            Datagram(packet, START_NS, flow_tag=9),
            Datagram(packet, START_NS, source="10.0.0.2:20000"),
            Datagram(packet, START_NS, source="10.0.0.1:20002"),
            Datagram(packet, START_NS, target="192.0.2.9:30002"),
            Datagram(packet, START_NS, source="[2001:db8::1]:20000", target="[2001:db8::2]:3000"),
            Datagram(build.rtp(1, 2, bytes(160), ssrc=9), START_NS),
            Datagram(packet, START_NS + 1),
        ],
    )
    assert rows == [0, 1, 2, 3, 4, 5, 6, 0]


def test_thousands_of_streams_keep_apart_while_the_table_grows() -> None:
    table = native.StreamTable()
    streams = [
        build.stream(
            StreamShape(packets=3, ssrc=k * 2654435761 % 2**32, source=f"10.1.{k >> 8}.{k & 255}:4000"),
            Random(k),
        )
        for k in range(1500)
    ]
    rows = build.feed(table, [one_stream[k] for k in range(3) for one_stream in streams])
    assert rows == [*range(1500)] * 3
    table.finish()
    assert set(table.columns()["packets"]) == {3}


def test_a_finished_stream_takes_no_more() -> None:
    table = native.StreamTable()
    packets = clean(packets=3)
    build.feed(table, packets[:2])
    table.finish()
    assert build.feed(table, packets[2:]) == [native.FINISHED]


# ---- sequence numbers ----


def test_a_clean_stream_has_no_flaw() -> None:
    row = one(clean(packets=500))
    assert (row["packets"], row["expected"], row["lost"], row["duplicates"], row["reordered"]) == (
        500,
        500,
        0,
        0,
        0,
    )
    assert (row["jitter_max_ms"], row["ptime_ms"], row["ptime_off_percent"]) == (0, 20, 0)
    assert (row["codec"], row["clock_rate_hz"], row["payload_type"]) == (CODEC["PCMU"], 8000, 0)
    assert row["duration_s"] == pytest.approx(499 * 0.02)
    assert row["delta_mean_ms"] == pytest.approx(20)
    assert row["bit_rate_kbps"] == pytest.approx(64 * 500 / 499)
    assert row["mos_lq"] == pytest.approx(4.41, abs=0.01)
    assert row["mos_known"] == 1
    assert row["call"] == row["media_line"] == row["reverse_stream"] == row["previous_stream"] == NONE


def test_sequence_numbers_wrap_without_loss() -> None:
    row = one(clean(packets=300, sequence=65400, timestamp=2**32 - 8000))
    assert (row["lost"], row["restarts"], row["timestamp_jumps"], row["jitter_max_ms"]) == (0, 0, 0, 0)


def test_losses_are_counted_by_runs_and_bursts() -> None:
    gone = [100, 200, 201, 202, 203, 204, 210, 400]
    row = one(build.lose(clean(packets=500), gone))
    assert (row["expected"], row["lost"], row["loss_runs"], row["loss_run_max"]) == (500, 8, 4, 5)
    assert row["loss_runs_long"] == 1
    assert row["bursts"] == 1
    assert row["burst_length_packets"] == 11
    assert row["burst_density_percent"] == pytest.approx(100 * 6 / 11)
    assert row["burst_duration_ms"] == pytest.approx(220)
    assert row["gap_density_percent"] == pytest.approx(100 * 2 / 489)
    assert row["loss_percent"] == pytest.approx(1.6)


def test_duplicates_and_late_packets_are_no_loss() -> None:
    row = one(build.swap(build.duplicate(clean(packets=300), [20, 150]), [60, 250]))
    assert (row["packets"], row["expected"], row["lost"]) == (302, 300, 0)
    assert (row["duplicates"], row["reordered"]) == (2, 2)


def test_a_packet_older_than_the_first_extends_the_stream_backwards() -> None:
    row = one(build.swap(clean(packets=50), [0]))
    assert (row["expected"], row["lost"], row["reordered"]) == (50, 0, 1)


def test_a_copy_of_the_mirror_port_is_in_no_other_count() -> None:
    packets = clean(packets=10)
    row = one([*packets, Datagram(packets[-1].payload, packets[-1].time_ns, flags=native.MIRRORED)])
    assert (row["packets"], row["mirrored"], row["duplicates"]) == (10, 1, 0)


def test_a_restart_needs_two_in_sequence_and_loses_nothing() -> None:
    first, second = (
        clean(packets=200),
        clean(packets=200, sequence=30_000, timestamp=5, start_ns=START_NS + 4 * SECOND),
    )
    row = one(first + second)
    assert (row["restarts"], row["jumps_forward"], row["strays"]) == (1, 1, 0)
    assert (row["expected"], row["lost"]) == (400, 0)
    assert row["jitter_max_ms"] == 0


def test_a_single_far_off_packet_is_a_stray() -> None:
    packets = clean(packets=100)
    stray = Datagram(build.rtp(40_000, 1, bytes(160)), packets[50].time_ns + 1)
    row = one([*packets[:51], stray, *packets[51:]])
    assert (row["strays"], row["restarts"], row["lost"], row["expected"]) == (1, 0, 0, 100)


def test_a_jump_back_is_counted_as_such() -> None:
    first, second = (
        clean(packets=300, sequence=5000),
        clean(packets=50, sequence=3000, start_ns=START_NS + 6 * SECOND),
    )
    row = one(first + second)
    assert (row["jumps_back"], row["jumps_forward"], row["restarts"]) == (1, 0, 1)


def test_a_jump_within_the_dropout_limit_is_loss_and_a_jump() -> None:
    packets = clean(packets=600)
    row = one(packets[:100] + packets[400:])
    assert (row["jumps_forward"], row["lost"], row["loss_run_max"], row["restarts"]) == (1, 300, 300, 0)


# ---- time ----


def test_jitter_follows_the_formula() -> None:
    packets = clean(packets=4)
    packets[2] = packets[2].at(packets[2].time_ns + 16 * MS)
    row = one(packets)
    first, second = 16 / 16, 1 + (16 - 1) / 16
    assert row["jitter_ms"] == pytest.approx(second)
    assert row["jitter_mean_ms"] == pytest.approx((0 + first + second) / 3)


def test_events_and_comfort_noise_stay_out_of_the_steady_jitter() -> None:
    packets = clean(packets=100)
    at = packets[-1].time_ns
    packets += build.digit(5, 1100, 70_000 + 100 * 160, at + 20 * MS)
    packets += build.stream(
        StreamShape(packets=50, sequence=1108, timestamp=70_000 + 108 * 160, start_ns=at + 9 * 20 * MS),
        Random(2),
    )
    row = one(packets, described={101: ("telephone-event", 8000)})
    assert row["lost"] == 0
    assert row["jitter_max_ms"] > 5
    assert row["steady_jitter_max_ms"] == 0
    assert (row["events"], row["digit_count"], row["digits_low"], row["event_flaws"]) == (1, 1, 5, 0)


def test_a_gap_is_told_from_silence_suppression() -> None:
    packets = clean(packets=100)
    later = clean(packets=50, sequence=1100, timestamp=70_000 + 100 * 160, start_ns=START_NS + 5 * SECOND)
    row = one(packets + later)
    assert (row["gaps"], row["pauses"], row["gap_start_ns"]) == (1, 0, packets[-1].time_ns)
    assert row["gap_max_ms"] == pytest.approx(5000 - 99 * 20)
    paused = clean(packets=50, sequence=1100, timestamp=70_000 + 5 * 8000, start_ns=START_NS + 5 * SECOND)
    row = one(packets + paused)
    assert (row["gaps"], row["pauses"], row["timestamp_jumps"]) == (0, 1, 0)


def test_a_timestamp_jump_needs_no_marker_and_no_loss() -> None:
    packets = clean(packets=100)
    odd = [
        Datagram(build.rtp(1100 + k, 9_000_000 + k * 160, bytes(160)), START_NS + (100 + k) * 20 * MS)
        for k in range(50)
    ]
    row = one(packets + odd)
    assert (row["timestamp_jumps"], row["lost"]) == (1, 0)
    assert row["steady_jitter_max_ms"] == 0
    assert abs(row["skew_max_ms"]) < 0.01


def test_late_arrivals_count_against_the_packet_time() -> None:
    packets = clean(packets=200)
    for k in (50, 120):
        packets[k] = packets[k].at(packets[k].time_ns + 19 * MS)
    packets[150:] = [d.at(d.time_ns + 100 * MS) for d in packets[150:]]
    row = one(packets)
    assert (row["late_deltas"], row["deltas"]) == (1, 199)
    assert row["delta_max_ms"] == pytest.approx(120)


@pytest.mark.parametrize("ppm", [-400.0, 0.0, 250.0])
def test_clock_drift_is_the_slope_of_the_lower_envelope(ppm: float) -> None:
    packets = build.jitter(clean(packets=4000, drift_ppm=ppm), Random(3), 8)
    row = one(packets)
    assert row["drift_ppm"] == pytest.approx(ppm, abs=12)
    assert row["drift_span_s"] == pytest.approx(79, abs=1)


def test_the_packet_time_is_the_mode_of_the_timestamp_steps() -> None:
    packets = clean(packets=100, step_ms=30, payload_bytes=240)
    packets += clean(packets=20, sequence=1100, timestamp=70_000 + 100 * 240, start_ns=START_NS + 3 * SECOND)[
        1:
    ]
    row = one(packets)
    assert (row["ptime_ms"], row["timestamp_step"]) == (30, 240)
    assert row["ptime_off_percent"] == pytest.approx(100 * 18 / (99 + 18))


# ---- clocks ----


def test_a_dynamic_type_described_late_is_measured_from_then_on() -> None:
    packets = clean(packets=20, payload_type=111, clock_hz=48_000)
    table = native.StreamTable()
    build.feed(table, packets[:10])
    table.describe(0, 111, CODEC["opus"], 48_000)
    build.feed(table, packets[10:])
    table.finish()
    row = table.columns()
    assert (row["jitter_max_ms"][0], row["ptime_ms"][0], row["codec"][0]) == (0, 20, CODEC["opus"])
    assert not row["flags"][0] & CLOCK_ESTIMATED


@pytest.mark.parametrize("clock", [8000, 16_000, 24_000, 32_000, 48_000, 90_000])
def test_the_clock_of_an_unknown_type_is_estimated(clock: int) -> None:
    packets = build.jitter(clean(packets=300, payload_type=96, clock_hz=clock), Random(4), 4)
    row = one(packets)
    assert row["clock_rate_hz"] == clock
    assert row["flags"] & CLOCK_ESTIMATED
    assert 0 < row["jitter_mean_ms"] < 4


def test_payload_types_are_counted_in_order_of_sight() -> None:
    packets = clean(packets=60)
    packets[20:40] = [Datagram(bytes([d.payload[0], 8]) + d.payload[2:], d.time_ns) for d in packets[20:40]]
    row = one(packets)
    assert (row["payload_type_1"], row["payload_type_2"], row["payload_type_3"]) == (0, 8, 255)
    assert (row["payload_type_1_packets"], row["payload_type_2_packets"]) == (40, 20)
    assert (row["payload_type_changes"], row["payload_type_count"]) == (2, 2)
    assert (row["payload_types_low"], row["payload_types_high"]) == (0b1_0000_0001, 0)


def test_more_payload_types_than_places_are_still_seen() -> None:
    packets = [
        Datagram(build.rtp(k, k * 160, bytes(20), payload_type=96 + k % 12), START_NS + k * 20 * MS)
        for k in range(120)
    ]
    row = one(packets)
    assert row["payload_type_count"] == 12
    assert row["payload_types_high"] == 0xFFF << 32
    assert row["payload_type_1_packets"] == 10


# ---- telephone-event ----


def keys(text: str, **options: Any) -> list[Datagram]:
    packets: list[Datagram] = []
    for k, key in enumerate(text):
        packets += build.digit(
            build.DIGITS.index(key), 10 + len(packets), 1000 + k * 4000, START_NS + k * 500 * MS, **options
        )
    return packets


def digits(row: dict[str, Any]) -> str:
    nibbles = [int(row["digits_low"]) >> 4 * k & 15 for k in range(16)]
    nibbles += [int(row["digits_high"]) >> 4 * k & 15 for k in range(16)]
    return "".join(build.DIGITS[nibble] for nibble in nibbles[: row["digit_count"]])


def test_digits_are_decoded_without_a_description() -> None:
    row = one(keys("0123456789*#ABCD42"))
    assert digits(row) == "0123456789*#ABCD42"
    assert (row["events"], row["event_packets"], row["event_flaws"]) == (18, 18 * 8, 0)
    assert row["event_payload_type"] == 101


def test_only_the_first_thirty_two_digits_are_kept() -> None:
    row = one(keys("12345678" * 5))
    assert (digits(row), row["events"]) == ("12345678" * 4, 40)


@pytest.mark.parametrize(
    ("options", "flaw"),
    [
        ({"ends": 0}, "event_no_end"),
        ({"ends": 2}, "event_few_ends"),
        ({"durations": (160, 480, 320, 640)}, "event_shrinking"),
        ({"durations": (0, 0)}, "event_zero"),
        ({"durations": (80, 160)}, "event_short"),
    ],
)
def test_each_flaw_of_an_event_is_counted_apart(options: dict[str, Any], flaw: str) -> None:
    row = one(keys("12", **options))
    assert {
        name: row[name]
        for name in row
        if name.startswith("event_") and row[name] and name != "event_payload_type"
    } == {flaw: 2, "event_flaws": 2, "event_packets": row["event_packets"]}


def test_a_new_timestamp_inside_an_event_is_a_flaw_and_no_new_digit() -> None:
    packets = build.digit(7, 10, 1000, START_NS, ends=0)
    packets += [
        Datagram(
            build.rtp(15 + k, 1160, build.event_payload(7, 800, end=True), payload_type=101),
            START_NS + (5 + k) * 20 * MS,
        )
        for k in range(3)
    ]
    row = one(packets)
    assert (digits(row), row["event_split"], row["event_flaws"]) == ("7", 1, 1)


def test_segments_of_a_long_event_are_one_event() -> None:
    def part(sequence: int, timestamp: int, duration: int, end: bool = False) -> Datagram:
        payload = build.event_payload(1, duration, end=end)
        return Datagram(
            build.rtp(sequence, timestamp, payload, payload_type=101, marker=sequence == 1),
            START_NS + sequence * MS,
        )

    packets = [
        part(1, 0, 0xF000),
        part(2, 0, 0xFFFF),
        part(3, 0xFFFF, 160),
        *(part(k, 0xFFFF, 400, True) for k in (4, 5, 6)),
    ]
    row = one(packets)
    assert (row["events"], digits(row), row["event_flaws"]) == (1, "1", 0)


# ---- what is in the packets ----


@pytest.mark.parametrize(("payload_type", "fill"), [(0, 0xFF), (0, 0x7F), (8, 0xD5), (8, 0x55)])
def test_digital_silence_is_seen(payload_type: int, fill: int) -> None:
    packets = build.stream(
        StreamShape(packets=100, payload_type=payload_type), Random(1), content=lambda k: bytes([fill] * 160)
    )
    row = one(packets)
    assert (row["inspected_packets"], row["silent_percent"], row["level_samples"]) == (100, 100, 0)
    assert row["level_mean_dbov"] == -127


def test_speech_is_not_silent() -> None:
    row = one(clean(packets=64))
    assert (row["silent_packets"], row["level_samples"]) == (0, 8 * 160)
    assert -20 < row["level_mean_dbov"] < -5


@pytest.mark.parametrize(
    ("payload_type", "loud", "amplitude"),
    [(0, b"\x80\x00", 32124), (8, b"\xaa\x2a", 32256), (0, b"\xbf\x3f", 1980)],
)
def test_levels_are_those_of_the_decoded_samples(payload_type: int, loud: bytes, amplitude: int) -> None:
    packets = build.stream(
        StreamShape(packets=8, payload_type=payload_type), Random(1), content=lambda k: loud * 80
    )
    row = one(packets)
    assert row["level_mean_dbov"] == pytest.approx(20 * log10(amplitude / 32768), abs=0.01)
    assert row["level_peak_dbov"] == pytest.approx(20 * log10(amplitude / 32768), abs=0.01)
    assert row["clipped_percent"] == (100 if amplitude > 32000 else 0)


def test_payload_sizes_are_counted() -> None:
    packets = [
        Datagram(build.rtp(k, k * 160, bytes(20 + (k % 10 == 9) * 10)), START_NS + k * 20 * MS)
        for k in range(100)
    ]
    row = one(packets)
    assert (
        row["payload_size_min"],
        row["payload_size_max"],
        row["payload_size_mode"],
        row["payload_sizes"],
    ) == (20, 30, 20, 2)


@pytest.mark.parametrize("tag", [4, 10, 16])
def test_an_srtp_tag_is_suspected_from_the_size(tag: int) -> None:
    assert one(clean(packets=50, payload_bytes=160 + tag))["flags"] & SRTP_LIKELY
    assert one(clean(packets=50, payload_type=18, payload_bytes=20 + tag))["flags"] & SRTP_LIKELY


def test_plain_payload_sizes_are_not_suspected() -> None:
    assert not one(clean(packets=50))["flags"] & SRTP_LIKELY


def test_marks_of_the_network_are_followed() -> None:
    packets = clean(packets=10)
    packets[5:] = [Datagram(d.payload, d.time_ns, dscp=0, ttl=63) for d in packets[5:]]
    row = one(packets)
    assert (row["first_dscp"], row["last_dscp"], row["dscp_changes"]) == (46, 0, 1)
    assert (row["first_ttl"], row["last_ttl"], row["ttl_changes"]) == (64, 63, 1)


# ---- streams against each other ----


def test_a_new_ssrc_on_the_same_addresses_is_a_change() -> None:
    first, second = clean(packets=50), clean(packets=50, ssrc=77, start_ns=START_NS + 2 * SECOND)
    row = columns(first + second)
    assert row["flags"][1] & SSRC_CHANGED
    assert (row["previous_ssrc_stream"][1], list(row["ssrc_changes"])) == (0, [0, 1])


def test_two_ssrcs_at_one_time_are_multiplexed() -> None:
    packets = sorted(
        clean(packets=50) + clean(packets=50, ssrc=77, start_ns=START_NS + 5 * MS), key=lambda d: d.time_ns
    )
    row = columns(packets)
    assert all(flags & MULTIPLEXED for flags in row["flags"])
    assert not any(flags & SSRC_CHANGED for flags in row["flags"])


def test_a_source_that_moves_is_followed() -> None:
    packets = clean(packets=200)
    packets[100:] = [Datagram(d.payload, d.time_ns, source="10.0.0.1:20777") for d in packets[100:]]
    row = columns(packets)
    assert (row["previous_stream"][1], row["flags"][1] & (SOURCE_CHANGED | SEQUENCE_CONTINUED)) == (
        0,
        SOURCE_CHANGED | SEQUENCE_CONTINUED,
    )


def test_one_ssrc_from_two_sources_at_a_time_collides() -> None:
    other = clean(packets=200, sequence=9000, source="10.0.0.5:20000", start_ns=START_NS + 5 * MS)
    row = columns(sorted(clean(packets=200) + other, key=lambda d: d.time_ns))
    assert all(flags & COLLISION for flags in row["flags"])


def test_both_sides_of_a_nat_are_one_stream_seen_twice() -> None:
    packets = clean(packets=200)
    outside = [Datagram(d.payload, d.time_ns + 50_000, source="203.0.113.7:1024") for d in packets]
    row = columns(sorted(packets + outside, key=lambda d: d.time_ns))
    assert row["flags"][1] & TAP_COPY
    assert not any(flags & COLLISION for flags in row["flags"])


def test_a_second_source_at_one_target_is_seen() -> None:
    other = clean(packets=200, ssrc=99, source="10.0.0.5:20000", start_ns=START_NS + 5 * MS)
    row = columns(sorted(clean(packets=200) + other, key=lambda d: d.time_ns))
    assert all(flags & SECOND_SOURCE for flags in row["flags"])
    assert row["previous_target_stream"][1] == 0


def test_the_other_direction_is_found() -> None:
    back = clean(packets=50, ssrc=5, source=build.CALLEE, target=build.CALLER, start_ns=START_NS + 5 * MS)
    row = columns(sorted(clean(packets=50) + back, key=lambda d: d.time_ns))
    assert list(row["reverse_stream"]) == [1, 0]


# ---- quality ----


def test_a_buffer_discards_what_comes_too_late() -> None:
    packets = clean(packets=1000)
    for k in range(100, 1000, 50):
        packets[k] = packets[k].at(packets[k].time_ns + 100 * MS)
    row = one(sorted(packets, key=lambda d: d.time_ns))
    assert (row["discarded_fixed_50"], row["discarded_fixed_200"], row["lost"]) == (18, 0, 0)
    assert row["mos_fixed_50"] < row["mos_fixed_200"] == pytest.approx(4.41, abs=0.01)


def test_a_steady_delay_is_no_discard() -> None:
    packets = clean(packets=500)
    packets[100:] = [d.at(d.time_ns + 300 * MS) for d in packets[100:]]
    row = one(packets)
    assert row["discarded_fixed_50"] == row["discarded_fixed_200"] == 10
    assert row["discarded_adaptive"] <= 10


def test_the_worst_ten_seconds_are_found() -> None:
    packets = build.lose(clean(packets=2000), range(1100, 1400, 3))
    row = one(packets)
    assert row["worst_10s_start_ns"] == START_NS + 20 * SECOND
    assert row["worst_10s_loss_percent"] == pytest.approx(20, abs=0.5)
    assert row["mos_worst_10s"] < row["mos_lq"] < 4.4


def test_video_has_no_mos() -> None:
    packets = clean(packets=100, payload_type=97, clock_hz=90_000)
    row = one(packets, described={97: ("H264", 90_000)})
    assert (row["mos_known"], row["mos_lq"], row["r_lq"]) == (0, 0, 0)


# ---- against the twin ----


def spoiled(seed: int) -> list[Datagram]:
    """A stream with everything a network does to it, drawn from a seed."""
    random = Random(seed)
    shape = StreamShape(
        packets=random.randrange(2, 900),
        payload_type=random.choice([0, 8, 9, 18, 3]),
        sequence=random.randrange(65536),
        timestamp=random.randrange(2**32),
        payload_bytes=random.choice([20, 33, 160]),
        step_ms=random.choice([10, 20, 30]),
        drift_ppm=random.choice([0, 0, 100, -300]),
    )
    packets = build.stream(shape, random)
    loss = random.choice([0, 0, 0.01, 0.1, 0.4])
    packets = (
        build.lose(packets, [k for k in range(1, len(packets)) if random.random() < loss])
        if loss
        else packets
    )
    if random.random() < 0.3 and len(packets) > 300:
        start = random.randrange(100, len(packets) - 100)
        del packets[start : start + random.randrange(1, 90)]
    packets = build.duplicate(packets, [k for k in range(len(packets)) if random.random() < 0.02])
    packets = build.jitter(packets, random, random.choice([0, 2, 15, 70]))
    if random.random() < 0.3:
        other = StreamShape(
            packets=random.randrange(1, 300),
            payload_type=shape.payload_type,
            sequence=random.randrange(65536),
            timestamp=random.randrange(2**32),
            start_ns=packets[-1].time_ns + 20 * MS,
            payload_bytes=shape.payload_bytes,
        )
        packets += build.stream(other, random)
    return packets


EXACT = [
    "packets",
    "payload_bytes",
    "expected",
    "lost",
    "duplicates",
    "reordered",
    "strays",
    "restarts",
    "jumps_forward",
    "jumps_back",
    "loss_runs",
    "loss_run_max",
    "loss_runs_long",
    "bursts",
    "markers",
    "comfort_noise_packets",
    "payload_size_min",
    "payload_size_max",
    "payload_sizes",
]
CLOSE = [
    "loss_percent",
    "burst_density_percent",
    "burst_length_packets",
    "gap_density_percent",
    "gap_length_packets",
    "burst_ratio",
    "jitter_ms",
    "jitter_max_ms",
    "jitter_mean_ms",
    "steady_jitter_ms",
    "steady_jitter_max_ms",
    "steady_jitter_mean_ms",
    "delta_max_ms",
    "skew_min_ms",
    "skew_max_ms",
    "drift_ppm",
]


@pytest.mark.parametrize("seed", range(120))
def test_the_kernel_agrees_with_the_twin(seed: int) -> None:
    packets = spoiled(seed)
    row, twin = one(packets), Twin(packets).run()
    assert {name: int(row[name]) for name in EXACT} == {name: twin[name] for name in EXACT}
    if row["timestamp_jumps"]:
        return  # the twin does not judge jumps
    for name in CLOSE:
        if name in twin:
            assert float(row[name]) == pytest.approx(twin[name], rel=2e-4, abs=2e-3), name
    if "timestamp_step" in twin:
        assert row["timestamp_step"] == twin["timestamp_step"]


@pytest.mark.parametrize("seed", range(60))
def test_two_halves_merged_are_the_whole(seed: int) -> None:
    random = Random(seed)
    packets = build.stream(
        StreamShape(packets=random.randrange(60, 700), sequence=random.randrange(65536)), random
    )
    packets = build.lose(packets, [k for k in range(1, len(packets)) if random.random() < 0.05])
    packets = [d.at(d.time_ns + random.randrange(8 * MS)) for d in packets]
    cut = random.randrange(2, len(packets) - 2)
    first, second = native.StreamTable(), native.StreamTable()
    build.feed(first, packets[:cut])
    build.feed(second, packets[cut:])
    first.merge(0, second, 0)
    first.finish()
    merged, whole = first.columns(), one(packets)
    for name in [*EXACT, "deltas", "timestamp_step", "duration_s", "last_time_ns", "payload_type_1_packets"]:
        if name not in ("bursts", "deltas"):
            assert merged[name][0] == whole[name], name
    for name in (
        "jitter_ms",
        "jitter_mean_ms",
        "steady_jitter_mean_ms",
        "loss_percent",
        "skew_min_ms",
        "skew_max_ms",
    ):
        assert float(merged[name][0]) == pytest.approx(float(whole[name]), rel=1e-4, abs=1e-3), name


def test_digits_on_both_sides_of_a_cut_are_joined() -> None:
    packets = keys("123456")
    for cut in range(1, len(packets)):
        first, second = native.StreamTable(), native.StreamTable()
        build.feed(first, packets[:cut])
        build.feed(second, packets[cut:])
        first.merge(0, second, 0)
        first.finish()
        row = {name: values[0] for name, values in first.columns().items()}
        assert (digits(row), row["events"]) == ("123456", 6), cut

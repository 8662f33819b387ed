"""RTCP credited to streams: senders' reports, receivers' reports about them, extended ones, round trips."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from engine._native import rtp as native
from tests.data import rtp_builder as build
from tests.data.rtp_builder import CALLEE, CALLER, MS, SECOND, START_NS, Datagram, StreamShape

CALLER_SSRC, CALLEE_SSRC = 0x11, 0x22
BYE_SEEN, MUX_SEEN, REDUCED = 1 << 8, 1 << 12, 1 << 14


def both_ways(packets: int = 100) -> list[Datagram]:
    """A call's two streams: row 0 from the caller, row 1 from the callee."""
    there = build.stream(StreamShape(packets=packets, ssrc=CALLER_SSRC), Random(1))
    back = build.stream(
        StreamShape(
            packets=packets, ssrc=CALLEE_SSRC, source=CALLEE, target=CALLER, start_ns=START_NS + 5 * MS
        ),
        Random(2),
    )
    return there + back


def answer(payload: bytes, time_ns: int, **options: Any) -> Datagram:
    """RTCP from the callee."""
    return build.rtcp(payload, time_ns, source=CALLEE, target=CALLER, **options)


def columns(reports: list[Datagram]) -> dict[str, Any]:
    table = native.StreamTable()
    build.feed(table, [d for d in both_ways() if d.time_ns <= START_NS + 5 * MS])
    later = [d for d in both_ways() if d.time_ns > START_NS + 5 * MS]
    build.feed(table, sorted(later + reports, key=lambda d: d.time_ns))
    table.finish()
    return table.columns()


def at(seconds: float) -> int:
    return START_NS + round(seconds * SECOND)


def test_sender_reports_are_credited_to_the_sender() -> None:
    compound = [
        build.sender_report(CALLER_SSRC, at(k), 70_000 + 8000 * k, 50 * k, 8000 * k) for k in (1, 2, 4)
    ]
    row = columns(
        [
            build.rtcp(packet + build.source_description(CALLER_SSRC), at(k))
            for packet, k in zip(compound, (1, 2, 4), strict=False)
        ]
    )
    assert list(row["sr_count"]) == [3, 0]
    assert list(row["rtcp_packets"]) == [3, 0]
    assert (row["sr_packet_count"][0], row["sr_octet_count"][0], row["sr_rtp_timestamp"][0]) == (
        200,
        32_000,
        102_000,
    )
    assert row["sr_ntp"][0] == build.ntp(at(4))
    assert (row["rtcp_first_ns"][0], row["rtcp_last_ns"][0], row["sr_time_ns"][0]) == (at(1), at(4), at(4))
    assert row["rtcp_interval_s"][0] == pytest.approx(1.5)
    assert not row["flags"][0] & MUX_SEEN


def test_rtcp_on_the_rtp_port_is_known_as_multiplexed() -> None:
    row = columns([build.rtcp(build.sender_report(CALLER_SSRC, at(1), 0, 0, 0), at(1), mux=True)])
    assert (row["sr_count"][0], bool(row["flags"][0] & MUX_SEEN)) == (1, True)


def test_rtcp_on_ports_of_its_own_is_matched_by_hosts_and_ssrc() -> None:
    report = Datagram(
        build.receiver_report(CALLEE_SSRC), at(1), "192.0.2.9:50001", "10.0.0.1:60001", rtcp=True
    )
    assert list(columns([report])["rr_count"]) == [0, 1]


def test_reports_are_credited_to_the_stream_they_are_about() -> None:
    fractions = [0, 20, 30, 5, 14, 14, 14, 0]
    reports = [
        answer(
            build.receiver_report(
                CALLEE_SSRC, [build.report_block(CALLER_SSRC, fraction=f, lost=k - 3, jitter=80 * k)]
            ),
            at(0.5 + k),
        )
        for k, f in enumerate(fractions)
    ]
    row = columns(reports)
    assert list(row["reports"]) == [8, 0]
    assert list(row["rr_count"]) == [0, 8]
    assert row["report_loss_percent"][0] == 0
    assert row["report_loss_max_percent"][0] == pytest.approx(100 * 30 / 256)
    assert row["report_lossy_run_max"][0] == 3
    assert row["report_lost"][0] == 4
    assert row["report_jitter_ms"][0] == pytest.approx(70)
    assert (row["report_first_ns"][0], row["report_last_ns"][0]) == (at(0.5), at(7.5))


def test_a_negative_cumulative_loss_keeps_its_sign() -> None:
    row = columns(
        [answer(build.receiver_report(CALLEE_SSRC, [build.report_block(CALLER_SSRC, lost=-5)]), at(1))]
    )
    assert row["report_lost"][0] == -5


def test_the_round_trip_joins_both_sides_of_the_capture_point() -> None:
    first = build.rtcp(build.sender_report(CALLER_SSRC, at(0.9), 0, 0, 0), at(1))
    block = build.report_block(CALLER_SSRC, lsr=build.ntp_middle(at(0.9)), dlsr=65536 // 2)
    second = answer(build.sender_report(CALLEE_SSRC, at(1.3), 0, 0, 0, [block]), at(1.56))
    block = build.report_block(CALLEE_SSRC, lsr=build.ntp_middle(at(1.3)), dlsr=65536)
    third = build.rtcp(build.receiver_report(CALLER_SSRC, [block]), at(2.58))
    row = columns([first, second])
    assert (row["rtt_sides"][0], row["rtt_ms"][0]) == (1, pytest.approx(60, abs=0.1))
    row = columns([first, second, third])
    assert list(row["rtt_sides"]) == [2, 2]
    assert row["rtt_ms"][0] == row["rtt_ms"][1] == pytest.approx(80, abs=0.1)
    assert 0 < row["mos_cq"][0] <= row["mos_lq"][0]


def test_a_report_of_an_older_sender_report_still_measures() -> None:
    reports = [build.rtcp(build.sender_report(CALLER_SSRC, at(k), 0, 0, 0), at(k)) for k in (1, 1.5)]
    block = build.report_block(CALLER_SSRC, lsr=build.ntp_middle(at(1)), dlsr=0)
    row = columns([*reports, answer(build.receiver_report(CALLEE_SSRC, [block]), at(1.7))])
    assert row["rtt_ms"][0] == pytest.approx(700, abs=0.1)


def test_without_a_round_trip_no_conversational_quality_is_claimed() -> None:
    row = columns([])
    assert (row["mos_cq"][0], row["rtt_sides"][0]) == (0, 0)


def test_voip_metrics_are_read() -> None:
    block = build.voip_metrics(
        CALLER_SSRC, loss=26, discard=13, rtt_ms=120, end_system_ms=60, r=82, mos_lq=41, mos_cq=39
    )
    row = columns(
        [answer(build.receiver_report(CALLEE_SSRC) + build.extended_report(CALLEE_SSRC, block), at(1))]
    )
    assert (row["xr_seen"][0], list(row["xr_count"])) == (1, [0, 1])
    assert (row["xr_r_factor"][0], row["xr_rtt_ms"][0], row["xr_end_system_ms"][0]) == (82, 120, 60)
    assert row["xr_mos_lq"][0] == pytest.approx(4.1)
    assert row["xr_mos_cq"][0] == pytest.approx(3.9)
    assert row["xr_loss_percent"][0] == pytest.approx(100 * 26 / 256)
    assert row["rtcp_packets"][1] == 1


def test_unavailable_voip_metrics_read_zero() -> None:
    row = columns([answer(build.extended_report(CALLEE_SSRC, build.voip_metrics(CALLER_SSRC)), at(1))])
    assert (row["xr_seen"][0], row["xr_r_factor"][0], row["xr_mos_lq"][0]) == (1, 0, 0)


def test_a_round_trip_comes_from_extended_reports_too() -> None:
    asked = build.rtcp(build.extended_report(CALLER_SSRC, build.reference_time(at(1))), at(1))
    block = build.last_reference((CALLER_SSRC, build.ntp_middle(at(1)), 65536 // 10))
    row = columns([asked, answer(build.extended_report(CALLEE_SSRC, block), at(1.15))])
    assert row["rtt_ms"][0] == pytest.approx(50, abs=0.1)


def test_bye_marks_its_streams() -> None:
    row = columns([build.rtcp(build.receiver_report(CALLER_SSRC) + build.bye(CALLER_SSRC, 99), at(2))])
    assert [bool(flags & BYE_SEEN) for flags in row["flags"]] == [True, False]


def test_reduced_size_packets_are_known() -> None:
    feedback = b"\x81\xce\x00\x02" + CALLER_SSRC.to_bytes(4, "big") + CALLEE_SSRC.to_bytes(4, "big")
    row = columns([build.rtcp(feedback, at(1))])
    assert (bool(row["flags"][0] & REDUCED), row["rtcp_packets"][0]) == (True, 1)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80\xc8\x00\x06",
        b"\x80\xc8\x00\x40" + bytes(24),
        b"\x40\xc8\x00\x01" + bytes(4),
        b"\x80\x60\x00\x01" + bytes(4),
        b"\xa0\xc9\x00\x01" + bytes(4),  # padding of 0
    ],
)
def test_what_is_no_rtcp_is_refused(payload: bytes) -> None:
    table = native.StreamTable()
    assert build.feed(table, [Datagram(payload, START_NS, rtcp=True)]) == [native.MALFORMED]


def test_an_encrypted_compound_counts_for_its_sender_and_reports_nothing() -> None:
    block = build.report_block(CALLER_SSRC, fraction=200)
    clear = build.receiver_report(CALLEE_SSRC, [block])
    encrypted = clear + b"\x5a" * 9 + b"\x80\x00\x00\x01" + bytes(10)
    row = columns([answer(encrypted, at(1))])
    assert (row["rtcp_packets"][1], row["rr_count"][1], row["reports"][0]) == (1, 0, 0)


def test_reports_of_unknown_streams_are_counted_as_such() -> None:
    table = native.StreamTable()
    build.feed(table, [build.rtcp(build.receiver_report(7, [build.report_block(8)]), START_NS)])
    assert (table.rtcp_packets, table.rtcp_unmatched) == (1, 1)

"""RTCP of a session: what is written and when (RFC 3550 §6, RFC 3611), what is taken of what comes, and what is refused."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from math import e
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import pytest

from engine._native import rtp_session as native
from engine.rtp import rtcp
from tests.oracle.rtcp_session_twin import NS, SourceTwin, ntp_of
from tests.running import ENVIRONMENT

MS = 1_000_000
WALL_NS = 1_700_000_000 * NS + 123_456_789
OURS, THEIRS, STRANGER = 0x11111111, 0x22222222, 0x33333333
CNAME = b"trunk@example.com"
SENT = (OURS, 50, 8000, 7840, 0, 8000)
QUALITY = (3, 1, 88, 41, 40, 90, 40, 120)
SILENT = (OURS, 0, 0, 0, 0, 8000)


def session(*, seed: int = 1, **options: Any) -> native.RtcpSession:
    return native.RtcpSession(CNAME, 0, seed, **options)


def heard(count: int = 50, *, ssrc: int = THEIRS, lost: tuple[int, ...] = ()) -> native.Source:
    """A sender of whom packets 0 to `count` came, without those lost."""
    made = native.Source(ssrc, 8000)
    for k in range(count):
        if k not in lost:
            made.take(k, 160 * k, 160, 20 * MS * k)
    return made


def report(made: native.RtcpSession, *, sent: tuple[int, int, int, int, int, int] = SENT, remote: native.Source | None = None,
           quality: tuple[int, int, int, int, int, int, int, int] | None = None, now_ns: int = NS) -> tuple[rtcp.Packet, ...]:  # fmt: skip
    return rtcp.read(made.report(sent, remote, quality, now_ns, WALL_NS + now_ns))


def blocks(made: native.RtcpSession, **options: Any) -> tuple[rtcp.ReportBlock, ...]:
    """Those of the report that is due."""
    first = report(made, **options)[0]
    assert isinstance(first, rtcp.SenderReport | rtcp.ReceiverReport)
    return first.blocks


def extended(made: native.RtcpSession, **options: Any) -> tuple[rtcp.ExtendedBlock, ...]:
    """The blocks of the XR that ends the report that is due."""
    last = report(made, **options)[-1]
    assert isinstance(last, rtcp.ExtendedReport)
    assert last.ssrc == OURS
    return last.blocks


def timestamp_of(sent: tuple[int, int, int, int, int, int]) -> int:
    """In the report of a new session after a second."""
    first = report(session(), sent=sent, now_ns=NS)[0]
    assert isinstance(first, rtcp.SenderReport)
    return first.timestamp


def sender_report(ssrc: int = THEIRS, *, ntp: int = ntp_of(WALL_NS), blocks: tuple[rtcp.ReportBlock, ...] = ()) -> rtcp.SenderReport:
    return rtcp.SenderReport(ssrc=ssrc, ntp=ntp, timestamp=160_000, packets=900, octets=144_000, blocks=blocks)


def named(ssrc: int = THEIRS) -> rtcp.SourceDescription:
    return rtcp.SourceDescription(chunks=(rtcp.Chunk(ssrc=ssrc, items=((rtcp.CNAME, b"b@example.net"),)),))


def take(made: native.RtcpSession, *packets: rtcp.Packet, remote: native.Source | None = None, now_ns: int = NS) -> int:
    return made.take(rtcp.write(packets), OURS, remote, now_ns)


def changed(before: dict[str, float], made: native.RtcpSession) -> dict[str, float]:
    """What is another than before."""
    return {name: value for name, value in made.facts().items() if value != before[name]}


# ---- written ----


def test_who_sent_reports_as_a_sender_with_its_clock_moved_on() -> None:
    made = session()
    first, description = report(made, now_ns=3 * NS + 125_000)
    assert first == rtcp.SenderReport(
        ssrc=OURS, ntp=ntp_of(WALL_NS + 3 * NS + 125_000), timestamp=7840 + 3 * 8000 + 1, packets=50, octets=8000
    )
    assert description == rtcp.SourceDescription(chunks=(rtcp.Chunk(ssrc=OURS, items=((1, CNAME),)),))


def test_the_ntp_time_is_that_of_the_wall_clock() -> None:
    packet = session().report(SENT, None, None, 0, 1_000_000_000 * NS + NS // 2)
    assert struct.unpack_from(">II", packet, 8) == (3_208_988_800, 2**31)


def test_the_timestamp_wraps_and_may_lie_before_the_last_packet() -> None:
    late = (OURS, 50, 8000, 2**32 - 100, 0, 8000)
    early = (OURS, 50, 8000, 100, 2 * NS, 8000)
    assert timestamp_of(late) == 7900
    assert timestamp_of(early) == 2**32 - 7900


def test_a_sender_is_one_until_two_reports_after_its_last_packet() -> None:
    made = session()
    kinds = []
    for packets in (0, 10, 20, 20, 20, 20, 21):
        (first, *_) = report(made, sent=(OURS, packets, 160 * packets, 0, 0, 8000))
        kinds.append(type(first))
    sr, rr = rtcp.SenderReport, rtcp.ReceiverReport
    assert kinds == [rr, sr, sr, sr, rr, rr, sr]


def test_a_report_block_says_what_came_since_the_last_one() -> None:
    made, remote = session(), heard(100, lost=tuple(range(40, 65)))
    (block,) = blocks(made, remote=remote)
    assert block == rtcp.ReportBlock(ssrc=THEIRS, fraction_lost=64, lost=25, highest_sequence=99)
    for k in range(100, 200):
        remote.take(k, 160 * k, 160, 20 * MS * k + (k % 2) * 8 * MS)
    (block,) = blocks(made, remote=remote)
    assert (block.fraction_lost, block.lost, block.highest_sequence) == (0, 25, 199)
    assert block.jitter == int(remote.facts()["jitter"]) > 50


def test_there_is_no_block_about_who_sent_nothing_since() -> None:
    made, remote = session(), heard()
    assert blocks(made, remote=remote)
    assert blocks(made, remote=remote) == ()
    assert blocks(made, remote=native.Source(THEIRS, 8000)) == ()
    remote.take(50, 8000, 160, 0)
    assert blocks(made, remote=remote)


def test_the_cycles_of_the_highest_number_count_from_zero() -> None:
    remote = heard(1)
    for k in range(1, 30):
        remote.take(2500 * k & 0xFFFF, 0, 160, 0)
    (block,) = blocks(session(), remote=remote)
    assert block.highest_sequence == 2500 * 29


def test_a_lone_packet_after_a_great_loss_is_a_fraction_below_one() -> None:
    made, remote = session(), heard(1)
    report(made, remote=remote)
    remote.take(2999, 0, 160, 0)
    (block,) = blocks(made, remote=remote)
    assert (block.fraction_lost, block.lost) == (255, 2998)


def test_negative_loss_is_written_with_its_sign() -> None:
    remote = heard(3)
    for _ in range(10):
        remote.take(2, 320, 160, 0)
    (block,) = blocks(session(), remote=remote)
    assert (block.fraction_lost, block.lost) == (0, -10)


def test_loss_stops_where_24_bits_end() -> None:
    remote = heard(1)
    for k in range(1, 5700):
        remote.take(2999 * k & 0xFFFF, 0, 160, 0)
    assert remote.facts()["lost"] > 2 * 0x7FFFFF
    (block,) = blocks(session(), remote=remote)
    assert block.lost == 0x7FFFFF


def test_the_last_sr_is_answered_with_its_delay() -> None:
    made, remote = session(), heard()
    take(made, sender_report(ntp=0x0123_4567_89AB_CDEF), remote=remote, now_ns=NS)
    (block,) = blocks(made, remote=remote, now_ns=3 * NS + NS // 2)
    assert (block.last_sr, block.delay_since_last_sr) == (0x4567_89AB, 2 * 65536 + 32768)
    remote.take(50, 0, 160, 0)
    (block,) = blocks(made, remote=remote, now_ns=70_000 * NS)
    assert block.delay_since_last_sr == 2**32 - 1
    remote.take(51, 0, 160, 0)
    assert blocks(made, remote=remote, now_ns=NS - 1)[0].delay_since_last_sr == 0
    other = heard(ssrc=STRANGER)
    (block,) = blocks(made, remote=other, now_ns=4 * NS)
    assert (block.last_sr, block.delay_since_last_sr) == (0, 0)


@pytest.mark.parametrize("length", range(66))
def test_every_cname_ends_on_a_word_behind_a_zero(length: int) -> None:
    cname = bytes(97 + k % 26 for k in range(length))
    packet = native.RtcpSession(cname, 0, 1).report(SENT, None, None, NS, WALL_NS)
    description = packet[28:]
    words = struct.unpack_from(">H", description, 2)[0]
    assert len(description) == 4 * words + 4
    kept = min(length, 64)
    assert description[8:10] == bytes([1, kept])
    assert description[10 : 10 + kept] == cname[:kept]
    assert set(description[10 + kept :]) == {0}
    assert 1 <= len(description) - 10 - kept <= 4


def test_metrics_have_what_they_were_given_and_say_what_is_not_known() -> None:
    made, remote = session(voip_metrics=True), heard()
    told = extended(made, remote=remote, quality=QUALITY, now_ns=2 * NS)
    expected = rtcp.VoipMetrics(
        ssrc=THEIRS, loss=3, discard=1, gap_density=4, gap_ms=2000, end_system_ms=90, r_factor=88, mos_lq=41, mos_cq=40,
        jitter_ms=40, jitter_max_ms=120, jitter_absolute_max_ms=120,
    )  # fmt: skip
    assert told == (expected,)
    assert len(report(made, remote=remote)) == 2
    assert len(report(session(voip_metrics=True), quality=QUALITY)) == 2
    assert len(report(session(), remote=remote, quality=QUALITY)) == 2


def test_metrics_tell_the_round_trip_and_stop_at_their_ends() -> None:
    made, remote = session(voip_metrics=True), heard()
    (ours, *_) = report(made, now_ns=NS)
    assert isinstance(ours, rtcp.SenderReport)
    block = rtcp.ReportBlock(ssrc=OURS, last_sr=ours.ntp >> 16 & 0xFFFFFFFF, delay_since_last_sr=65536)
    take(made, rtcp.ReceiverReport(ssrc=THEIRS, blocks=(block,)), remote=remote, now_ns=2 * NS + 250 * MS)
    (metrics,) = extended(made, remote=remote, quality=(200, 200, *QUALITY[2:]), now_ns=500 * NS)
    assert isinstance(metrics, rtcp.VoipMetrics)
    assert (metrics.round_trip_ms, metrics.gap_density, metrics.gap_ms) == (250, 255, 65535)


def test_receivers_ask_for_their_round_trip_and_who_asks_is_answered_once() -> None:
    made = session()
    assert take(made, rtcp.ReceiverReport(ssrc=STRANGER), rtcp.ExtendedReport(ssrc=STRANGER, blocks=(rtcp.ReferenceTime(ntp=0xABCD_EF01_2345_6789),))) == native.NEWS_XR  # fmt: skip
    assert extended(made, sent=SILENT, now_ns=NS + NS // 4) == (
        rtcp.ReferenceTime(ntp=ntp_of(WALL_NS + NS + NS // 4)),
        rtcp.LastReference(answers=((STRANGER, 0xEF01_2345, 16384),)),
    )
    assert extended(made, sent=SILENT, now_ns=2 * NS) == (rtcp.ReferenceTime(ntp=ntp_of(WALL_NS + 2 * NS)),)
    assert len(report(made, sent=SENT)) == 2


def test_a_packet_is_written_whole_or_not_at_all() -> None:
    remote = heard(100, lost=(5,))
    made = session(voip_metrics=True)
    take(made, rtcp.ReceiverReport(ssrc=THEIRS), rtcp.ExtendedReport(ssrc=THEIRS, blocks=(rtcp.ReferenceTime(ntp=77 << 32),)), remote=remote)
    before, heard_before = made.facts(), remote.facts()
    whole = native.RtcpSession(CNAME, 0, 1, voip_metrics=True)
    take(whole, rtcp.ReceiverReport(ssrc=THEIRS), rtcp.ExtendedReport(ssrc=THEIRS, blocks=(rtcp.ReferenceTime(ntp=77 << 32),)), remote=remote)
    length = len(whole.report(SENT, heard(100, lost=(5,)), QUALITY, NS, WALL_NS))
    for room in range(length):
        with pytest.raises(ValueError, match="room"):
            made.report(SENT, remote, QUALITY, NS, WALL_NS, room)
        with pytest.raises(ValueError, match="room"):
            made.bye(SENT, remote, NS, WALL_NS, b"x" * 200, room)
    assert (made.facts(), remote.facts()) == (before, heard_before)
    assert len(made.report(SENT, remote, QUALITY, NS, WALL_NS, length)) == length
    assert len(whole.bye(SENT, heard(), NS, WALL_NS, b"r" * 300)) <= native.PACKET_MAX


# ---- when ----


def test_intervals_are_five_seconds_spread_and_the_first_is_half() -> None:
    first, later = [], []
    for seed in range(3000):
        made = session(seed=seed * 0x9E3779B97F4A7C15 % 2**64)
        facts = made.facts()
        assert facts["next_ns"] == facts["interval_ns"]
        first.append(facts["interval_ns"] / NS)
        made.report(SENT, None, None, 10 * NS, WALL_NS)
        facts = made.facts()
        assert facts["next_ns"] == 10 * NS + facts["interval_ns"]
        later.append(facts["interval_ns"] / NS)
    for values, least in ((first, 2.5), (later, 5.0)):
        assert least * 0.5 / (e - 1.5) <= min(values) < least * 0.51 / (e - 1.5)
        assert least * 1.49 / (e - 1.5) < max(values) <= least * 1.5 / (e - 1.5)
        assert mean(values) == pytest.approx(least / (e - 1.5), rel=0.02)


def test_seeds_tell_sessions_apart_and_one_seed_gives_one_schedule() -> None:
    schedules = []
    for seed in (1, 1, 2):
        made = session(seed=seed)
        for k in range(5):
            made.report(SENT, None, None, k * NS, WALL_NS)
        schedules.append(made.facts()["next_ns"])
    assert schedules[0] == schedules[1] != schedules[2]


# ---- BYE ----


def test_a_bye_ends_a_compound_and_the_session() -> None:
    made, remote = session(), heard()
    first, description, bye = rtcp.read(made.bye(SENT, remote, NS, WALL_NS))
    assert isinstance(first, rtcp.SenderReport)
    assert first.blocks
    assert description == rtcp.SourceDescription(chunks=(rtcp.Chunk(ssrc=OURS, items=((1, CNAME),)),))
    assert bye == rtcp.Bye(ssrcs=(OURS,))
    assert made.bye(SENT, remote, NS, WALL_NS) == b""
    assert made.report(SENT, remote, None, NS, WALL_NS) == b""
    assert (made.facts()["said_bye"], made.facts()["next_ns"]) == (1, 2**63 - 1)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 253, 254, 255, 256, 1000])
def test_a_reason_is_padded_to_a_word_and_cut_where_its_length_ends(length: int) -> None:
    packet = session().bye(SENT, None, NS, WALL_NS, b"x" * length)
    *_, bye = rtcp.read(packet)
    assert bye == rtcp.Bye(ssrcs=(OURS,), reason=b"x" * min(length, 255))
    assert len(packet) % 4 == 0


def test_who_never_spoke_says_no_goodbye() -> None:
    made = session()
    assert made.bye(SILENT, heard(), NS, WALL_NS) == b""
    assert made.facts()["said_bye"] == 0
    report(made, sent=SILENT)
    (first, *_, bye) = rtcp.read(made.bye(SILENT, None, NS, WALL_NS))
    assert isinstance(first, rtcp.ReceiverReport)
    assert bye == rtcp.Bye(ssrcs=(OURS,))


# ---- taken ----


def test_a_sender_report_of_the_other_end_is_kept() -> None:
    made, before = session(), session().facts()
    assert take(made, sender_report(), named(), remote=heard()) == native.NEWS_SR
    assert changed(before, made) == {
        "sr_ntp": ntp_of(WALL_NS), "sr_timestamp": 160_000, "sr_packets": 900, "sr_octets": 144_000, "sr_ssrc": THEIRS,
        "sr_arrival_ns": NS, "heard": 1, "last_heard_ns": NS,
    }  # fmt: skip


def test_a_block_about_us_is_kept_whoever_sends_it() -> None:
    block = rtcp.ReportBlock(ssrc=OURS, fraction_lost=64, lost=-3, highest_sequence=0x1_0005, jitter=77)
    for remote in (None, heard()):
        made, before = session(), session().facts()
        about = rtcp.ReceiverReport(ssrc=STRANGER, blocks=(rtcp.ReportBlock(ssrc=1, jitter=5), block, rtcp.ReportBlock(ssrc=2, jitter=6)))
        assert take(made, about, remote=remote) == native.NEWS_REPORT
        assert changed(before, made) == {
            "their_fraction": 64, "their_lost": -3, "their_highest": 0x1_0005, "their_jitter": 77, "their_report_ns": NS,
            "heard": 1, "last_heard_ns": NS,
        }  # fmt: skip


@pytest.mark.parametrize(("lost", "kept"), [(0x7FFFFF, 0x7FFFFF), (-0x800000, -0x800000), (-1, -1)])
def test_loss_of_24_bits_keeps_its_sign(lost: int, kept: int) -> None:
    made = session()
    take(made, rtcp.ReceiverReport(ssrc=THEIRS, blocks=(rtcp.ReportBlock(ssrc=OURS, lost=lost),)))
    assert made.facts()["their_lost"] == kept


def test_metrics_about_us_are_kept() -> None:
    made = session()
    metrics = rtcp.VoipMetrics(ssrc=OURS, loss=12, discard=7, r_factor=80, mos_lq=39, mos_cq=38)
    packet = rtcp.ExtendedReport(ssrc=THEIRS, blocks=(rtcp.OtherBlock(kind=1, specific=3, body=bytes(20)), metrics))
    assert take(made, rtcp.ReceiverReport(ssrc=THEIRS), packet) == native.NEWS_XR
    facts = made.facts()
    assert [facts[f"xr_{name}"] for name in ("loss", "discard", "r_factor", "mos_lq", "mos_cq", "seen")] == [12, 7, 80, 39, 38, 1]


def test_what_is_about_others_is_only_counted() -> None:
    made, before = session(), session().facts()
    block = rtcp.ReportBlock(ssrc=STRANGER, last_sr=1)
    blocks = (rtcp.VoipMetrics(ssrc=STRANGER), rtcp.ReferenceTime(ntp=5), rtcp.LastReference(answers=((STRANGER, 1, 1),)))
    compound = (sender_report(STRANGER, blocks=(block,)), named(STRANGER), rtcp.ExtendedReport(ssrc=STRANGER, blocks=blocks), rtcp.Bye(ssrcs=(STRANGER,)))
    assert take(made, *compound, remote=heard()) == 0
    assert changed(before, made) == {"foreign": 1}


def test_while_no_sender_is_known_anybody_is_alive_and_nobody_is_the_sender() -> None:
    made, before = session(), session().facts()
    assert take(made, sender_report(), named(), rtcp.Bye(ssrcs=(THEIRS,))) == 0
    assert changed(before, made) == {"heard": 1, "last_heard_ns": NS}


def test_a_bye_is_told_and_nothing_stops() -> None:
    made, remote = session(), heard()
    report(made, remote=remote)
    before = made.facts()
    assert take(made, rtcp.ReceiverReport(ssrc=THEIRS), rtcp.Bye(ssrcs=(STRANGER, THEIRS), reason=b"bye"), remote=remote) == native.NEWS_BYE
    assert changed(before, made) == {"heard_bye": 1, "heard": 1, "last_heard_ns": NS}
    assert take(made, sender_report(), remote=remote, now_ns=2 * NS) == native.NEWS_SR
    assert report(made, remote=remote, now_ns=3 * NS)


def test_a_bye_of_another_in_a_packet_of_another_is_not_the_senders() -> None:
    made = session()
    assert take(made, rtcp.ReceiverReport(ssrc=STRANGER), rtcp.Bye(ssrcs=(STRANGER,)), remote=heard()) == 0
    assert made.facts()["heard_bye"] == 0


@pytest.mark.parametrize(
    "packets",
    [
        (sender_report(OURS, blocks=(rtcp.ReportBlock(ssrc=OURS, jitter=9),)),),
        (rtcp.ReceiverReport(ssrc=OURS),),
        (rtcp.ReceiverReport(ssrc=STRANGER), named(OURS)),
        (rtcp.ReceiverReport(ssrc=STRANGER), rtcp.Bye(ssrcs=(OURS,))),
        (rtcp.ReceiverReport(ssrc=STRANGER), rtcp.ExtendedReport(ssrc=OURS, blocks=(rtcp.VoipMetrics(ssrc=OURS),))),
        (rtcp.ReceiverReport(ssrc=STRANGER), rtcp.Feedback(kind=206, format=1, ssrc=OURS, media_ssrc=THEIRS)),
        (rtcp.ReceiverReport(ssrc=STRANGER), rtcp.Application(ssrc=OURS, name=b"loop")),
    ],
)
def test_another_one_under_our_ssrc_is_told_and_not_believed(packets: tuple[rtcp.Packet, ...]) -> None:
    made, before = session(), session().facts()
    assert take(made, *packets, remote=heard()) == native.NEWS_COLLISION
    assert changed(before, made) == {"collisions": 1}


def test_a_reduced_packet_needs_leave() -> None:
    feedback = rtcp.write([rtcp.Feedback(kind=206, format=1, ssrc=THEIRS, media_ssrc=OURS)])
    made, before = session(), session().facts()
    assert made.take(feedback, OURS, heard(), NS) == native.MALFORMED
    assert changed(before, made) == {"malformed": 1}
    made = session(reduced=True)
    assert made.take(feedback, OURS, heard(), NS) == 0
    assert (made.facts()["heard"], made.facts()["last_heard_ns"]) == (1, NS)
    assert take(made, rtcp.Bye(ssrcs=(THEIRS,)), remote=heard()) == native.NEWS_BYE


# ---- round trip ----


def answered(delay: int, now_ns: int, *, middle: int | None = None) -> native.RtcpSession:
    """A session whose SR of time 1 s was answered."""
    made = session()
    (ours, *_) = report(made, now_ns=NS)
    assert isinstance(ours, rtcp.SenderReport)
    block = rtcp.ReportBlock(ssrc=OURS, last_sr=ours.ntp >> 16 & 0xFFFFFFFF if middle is None else middle, delay_since_last_sr=delay)
    assert take(made, rtcp.ReceiverReport(ssrc=THEIRS, blocks=(block,)), now_ns=now_ns) == native.NEWS_REPORT
    return made


def test_the_round_trip_of_the_rfc() -> None:
    """§6.4.1, figure 2: sent at 46853.125 s, held for 5.250 s, back at 46864.500 s: 6.125 s."""
    made, sent_ns = session(), 46_853_125 * MS
    packet = made.report(SENT, None, None, sent_ns, (2**32 - 2_208_988_800) * NS + sent_ns)
    assert packet[10:14].hex() == "b7052000"
    block = rtcp.ReportBlock(ssrc=OURS, last_sr=0xB705_2000, delay_since_last_sr=0x0005_4000)
    take(made, rtcp.ReceiverReport(ssrc=THEIRS, blocks=(block,)), now_ns=46_864_500 * MS)
    assert made.facts()["rtt_ms"] == pytest.approx(6125)


@pytest.mark.parametrize(
    ("delay", "now_ns", "rtt_ms"),
    [
        (0, NS, 0),
        (65536, 2 * NS + 30 * MS, 30),
        (1, NS + 15_259, 0),
        (65536, 2 * NS - MS, None),  # held longer than it was away
        (2**32 - 1, 2 * NS, None),
        (0, 61 * NS, 60_000),
        (0, 61 * NS + MS, None),
        (0, 0, None),
    ],
)
def test_round_trips_that_cannot_be_are_passed_over(delay: int, now_ns: int, rtt_ms: float | None) -> None:
    facts = answered(delay, now_ns).facts()
    expected = -1 if rtt_ms is None else pytest.approx(rtt_ms, abs=0.001)
    assert (facts["rtt_ms"], facts["rtt_max_ms"]) == (expected, expected)


@pytest.mark.parametrize("middle", [0, 1, 0xFFFFFFFF])
def test_an_answer_to_what_we_never_sent_says_nothing(middle: int) -> None:
    assert answered(0, 2 * NS, middle=middle).facts()["rtt_ms"] == -1


def test_the_greatest_round_trip_stays() -> None:
    made, middles = session(), []
    for k in range(native.MARKS + 2):
        (ours, *_) = report(made, sent=(OURS, k + 1, 0, 0, 0, 8000), now_ns=k * NS)
        assert isinstance(ours, rtcp.SenderReport)
        middles.append(ours.ntp >> 16 & 0xFFFFFFFF)
    told = []
    for k in (9, 8, 5, 2, 1, 0):
        block = rtcp.ReportBlock(ssrc=OURS, last_sr=middles[k])
        take(made, rtcp.ReceiverReport(ssrc=THEIRS, blocks=(block,)), now_ns=10 * NS)
        told += [round(made.facts()["rtt_ms"]), round(made.facts()["rtt_max_ms"])]
    assert told == [1000, 1000, 2000, 2000, 5000, 5000, 8000, 8000, 8000, 8000, 8000, 8000]


def test_a_receiver_measures_by_its_reference_time() -> None:
    made = session()
    (asked,) = extended(made, sent=SILENT, now_ns=NS)
    assert isinstance(asked, rtcp.ReferenceTime)
    middle = asked.ntp >> 16 & 0xFFFFFFFF
    answer = rtcp.LastReference(answers=((STRANGER, middle, 9), (OURS, middle, 32768)))
    packet = rtcp.ExtendedReport(ssrc=THEIRS, blocks=(answer,))
    assert take(made, rtcp.ReceiverReport(ssrc=THEIRS), packet, now_ns=NS + 540 * MS) == native.NEWS_XR
    assert made.facts()["rtt_ms"] == pytest.approx(40)


def test_two_sessions_hear_each_other_and_agree() -> None:
    """Both ends of a call with 30 ms each way, all losses and round trips as they are."""
    one, two = native.RtcpSession(b"one", 0, 1), native.RtcpSession(b"two", 0, 2)
    here, there = heard(500, lost=(7, 8, 9)), heard(400, ssrc=OURS, lost=(99,))
    sent_one, sent_two = (OURS, 399, 63_840, 63_680, 0, 8000), (THEIRS, 497, 79_520, 79_840, 0, 8000)
    first = one.report(sent_one, here, None, NS, WALL_NS)
    assert two.take(first, THEIRS, there, NS + 30 * MS) == native.NEWS_SR | native.NEWS_REPORT
    answer = two.report(sent_two, there, None, 4 * NS, WALL_NS + 3 * NS)
    assert one.take(answer, OURS, here, 4 * NS + 30 * MS) == native.NEWS_SR | native.NEWS_REPORT
    assert one.facts()["rtt_ms"] == pytest.approx(60, abs=0.02)
    assert (one.facts()["their_lost"], two.facts()["their_lost"]) == (1, 3)
    assert (one.facts()["sr_packets"], two.facts()["sr_packets"]) == (497, 399)


# ---- alignment ----


def test_the_wall_time_of_timestamps_joins_legs() -> None:
    made, remote = session(), heard()
    assert made.wall_ns(0, 8000) is None
    take(made, sender_report(ntp=ntp_of(WALL_NS)), remote=remote)
    assert made.wall_ns(160_000, 0) is None
    for timestamp, offset_ns in ((160_000, 0), (168_000, NS), (159_840, -20 * MS), (160_001, 125_000)):
        found = made.wall_ns(timestamp, 8000)
        assert found is not None
        assert abs(found - WALL_NS - offset_ns) <= 1


def test_the_wall_time_goes_over_the_wrap_both_ways() -> None:
    made, remote = session(), heard()
    take(made, rtcp.SenderReport(ssrc=THEIRS, ntp=ntp_of(WALL_NS), timestamp=100, packets=1, octets=1), remote=remote)
    before, after = made.wall_ns(2**32 - 900, 8000), made.wall_ns(1100, 8000)
    assert before is not None
    assert after is not None
    assert after - before == 250 * MS


@pytest.mark.parametrize("wall_ns", [NS, 2_085_978_495 * NS, 2_085_978_497 * NS, 4_000_000_000 * NS])
def test_the_wall_time_goes_over_2036(wall_ns: int) -> None:
    made, other = session(), native.RtcpSession(b"x", 0, 3)
    made.take(other.report((THEIRS, 1, 1, 160, 0, 8000), None, None, 0, wall_ns), OURS, heard(), NS)
    found = made.wall_ns(160, 8000)
    assert found is not None
    assert abs(found - wall_ns) <= 1


def test_a_sender_without_a_time_has_no_wall_time() -> None:
    made = session()
    take(made, sender_report(ntp=0), remote=heard())
    assert made.wall_ns(0, 8000) is None


# ---- refused ----

RR = struct.pack(">BBHI", 0x80, 201, 1, THEIRS)


def part(first: int, kind: int, body: bytes, *, words: int | None = None) -> bytes:
    """A packet with whatever length it claims."""
    return struct.pack(">BBH", first, kind, len(body) // 4 if words is None else words) + body


def block_of(kind: int, body: bytes, *, words: int | None = None) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body) // 4 if words is None else words) + body


ID = struct.pack(">I", THEIRS)
SENDER = struct.pack(">IQIII", THEIRS, 1, 2, 3, 4)

# What a length, a count or a size says, beside the nearest that fits.
BOUNDS: list[tuple[str, bytes, bytes]] = [
    ("empty", b"", RR),
    ("four bytes", part(0x80, 201, b""), RR),
    ("seven bytes", RR[:7], RR),
    ("one byte more", RR + b"\0", RR),
    ("three bytes more", RR + bytes(3), RR),
    ("length past the end", part(0x80, 201, ID, words=2), part(0x80, 201, ID + ID, words=2)),
    ("length 65535", part(0x80, 201, ID, words=65535), RR),
    ("length 0", part(0x80, 201, ID, words=0), RR),
    ("lengths sum past the end", RR + part(0x80, 203, ID, words=2), RR + part(0x81, 203, ID, words=1)),
    ("version 1", b"\x40" + RR[1:], RR),
    ("version 0", b"\0" + RR[1:], RR),
    ("type 191", RR + part(0x80, 191, b""), RR + part(0x80, 192, b"")),
    ("type 224", RR + part(0x80, 224, b""), RR + part(0x80, 223, b"")),
    ("first is no report", part(0x81, 203, ID), RR + part(0x81, 203, ID)),
    ("SR of 27 bytes", part(0x80, 200, SENDER[:-4]), part(0x80, 200, SENDER)),
    ("SR without its block", part(0x81, 200, SENDER + bytes(20)), part(0x81, 200, SENDER + bytes(24))),
    ("RR of 31 blocks in 4 bytes", part(0x9F, 201, ID), part(0x9F, 201, ID + bytes(24 * 31))),
    ("RR of 31 blocks less a word", part(0x9F, 201, ID + bytes(24 * 31 - 4)), part(0x9F, 201, ID + bytes(24 * 31))),
    ("RR without SSRC", RR + part(0x80, 201, b""), RR + RR),
    ("padding 0", b"\xa0" + RR[1:] + b"", RR),
    ("padding of nothing", RR + part(0xA0, 203, bytes(4)), RR + part(0xA0, 203, bytes(3) + b"\x04")),
    ("padding 3", RR + part(0xA1, 203, ID + b"\0\0\0\x03"), RR + part(0xA1, 203, ID + b"\0\0\0\x04")),
    ("padding past the head", RR + part(0xA0, 203, ID + b"\0\0\0\x0c"), RR + part(0xA0, 203, ID + b"\0\0\0\x08")),
    ("padding eats the SSRC", RR + part(0xA1, 203, bytes(3) + b"\x04"), RR + part(0xA1, 203, ID + bytes(3) + b"\x04")),
    ("padding not in the last", part(0xA0, 201, ID + bytes(3) + b"\x04") + RR, RR + part(0xA0, 201, ID + bytes(3) + b"\x04")),
    ("SDES without its chunk", RR + part(0x81, 202, b""), RR + part(0x80, 202, b"")),
    ("SDES chunk without an end", RR + part(0x81, 202, ID), RR + part(0x81, 202, ID + bytes(4))),
    ("SDES item longer than its packet", RR + part(0x81, 202, ID + b"\x01\x03ab"), RR + part(0x81, 202, ID + b"\x01\x01a\0")),
    ("SDES item up to the end", RR + part(0x81, 202, ID + b"\x01\x02ab"), RR + part(0x81, 202, ID + b"\x01\x02ab" + bytes(4))),
    ("SDES item of one byte", RR + part(0x81, 202, ID + b"\x01\x01a\x01"), RR + part(0x81, 202, ID + b"\x01\x01a\0")),
    ("SDES item of 255", RR + part(0x81, 202, ID + b"\x01\xff" + bytes(254)), RR + part(0x81, 202, ID + b"\x01\xff" + bytes(258))),
    ("SDES of 31 chunks", RR + part(0x9F, 202, (ID + bytes(4)) * 30), RR + part(0x9F, 202, (ID + bytes(4)) * 31)),
    ("BYE of 31 sources", RR + part(0x9F, 203, ID * 30), RR + part(0x9F, 203, ID * 31)),
    ("BYE without its source", RR + part(0x81, 203, b""), RR + part(0x80, 203, b"")),
    ("BYE reason longer than the rest", RR + part(0x81, 203, ID + b"\x04abc"), RR + part(0x81, 203, ID + b"\x03abc")),
    ("BYE reason 255", RR + part(0x81, 203, ID + b"\xff" + bytes(251)), RR + part(0x81, 203, ID + b"\xff" + bytes(255))),
    ("APP without a name", RR + part(0x80, 204, ID), RR + part(0x80, 204, ID + b"name")),
    ("feedback without media", RR + part(0x81, 206, ID), RR + part(0x81, 206, ID + ID)),
    ("NACK without its word", RR + part(0x81, 205, ID + ID), RR + part(0x81, 205, ID + ID + bytes(4))),
    ("RPSI without its word", RR + part(0x83, 206, ID + ID), RR + part(0x83, 206, ID + ID + bytes(4))),
    ("RPSI padding", RR + part(0x83, 206, ID + ID + b"\x11\0\0\0"), RR + part(0x83, 206, ID + ID + b"\x10\0\0\0")),
    ("RPSI padding 255", RR + part(0x83, 206, ID + ID + b"\xff" + bytes(31)), RR + part(0x83, 206, ID + ID + b"\xf0" + bytes(31))),
    ("XR without SSRC", RR + part(0x80, 207, b""), RR + part(0x80, 207, ID)),
    ("XR block past the end", RR + part(0x80, 207, ID + block_of(1, bytes(4), words=2)), RR + part(0x80, 207, ID + block_of(1, bytes(4)))),
    ("XR block 65535", RR + part(0x80, 207, ID + block_of(9, bytes(8), words=65535)), RR + part(0x80, 207, ID + block_of(9, bytes(8)))),
    ("XR second block", RR + part(0x80, 207, ID + block_of(9, b"") + block_of(9, b"", words=1)), RR + part(0x80, 207, ID + block_of(9, b"") * 2)),
    ("XR metrics less a word", RR + part(0x80, 207, ID + block_of(7, bytes(28))), RR + part(0x80, 207, ID + block_of(7, bytes(32)))),
    ("XR metrics and a word", RR + part(0x80, 207, ID + block_of(7, bytes(36))), RR + part(0x80, 207, ID + block_of(7, bytes(32)))),
    ("XR RRTR of a word", RR + part(0x80, 207, ID + block_of(4, bytes(4))), RR + part(0x80, 207, ID + block_of(4, bytes(8)))),
    ("XR DLRR of 8 bytes", RR + part(0x80, 207, ID + block_of(5, bytes(8))), RR + part(0x80, 207, ID + block_of(5, bytes(12)))),
    ("XR DLRR of 16 bytes", RR + part(0x80, 207, ID + block_of(5, bytes(16))), RR + part(0x80, 207, ID + block_of(5, bytes(24)))),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "good"), [case[1:] for case in BOUNDS], ids=[case[0] for case in BOUNDS])
def test_what_does_not_fit_changes_nothing_and_what_just_fits_is_taken(bad: bytes, good: bytes) -> None:
    made, remote = session(), heard()
    report(made, remote=remote)
    before = made.facts()
    assert made.take(bad, OURS, remote, 2 * NS) == native.MALFORMED
    assert changed(before, made) == {"malformed": 1}
    with pytest.raises(rtcp.MalformedRtcp):
        rtcp.read(bad)
    assert made.take(good, OURS, remote, 2 * NS) >= 0
    assert rtcp.read(good)


def test_an_end_that_does_not_fit_takes_back_what_came_before_it() -> None:
    made, before = session(), session().facts()
    block = rtcp.ReportBlock(ssrc=OURS, jitter=9)
    good = rtcp.write([sender_report(blocks=(block,)), named(), rtcp.Bye(ssrcs=(THEIRS,))])
    assert made.take(good + part(0x81, 203, b""), OURS, heard(), NS) == native.MALFORMED
    assert changed(before, made) == {"malformed": 1}


def test_more_zeros_behind_the_last_chunk_than_it_needs_are_borne() -> None:
    """aiortc ends its chunks with two zeros and more, where one may be enough for the word."""
    packet = RR + part(0x81, 202, ID + b"\x01\x01a\0" + bytes(4))
    assert session().take(packet, OURS, heard(), NS) == 0
    assert rtcp.read(packet)[1] == rtcp.SourceDescription(chunks=(rtcp.Chunk(ssrc=THEIRS, items=((1, b"a"),)),))


def test_packets_cut_anywhere_else_than_between_packets_are_refused() -> None:
    parts: list[rtcp.Packet] = [
        sender_report(blocks=(rtcp.ReportBlock(ssrc=OURS), rtcp.ReportBlock(ssrc=STRANGER))),
        named(),
        rtcp.ExtendedReport(ssrc=THEIRS, blocks=(rtcp.VoipMetrics(ssrc=OURS), rtcp.ReferenceTime(ntp=1), rtcp.LastReference(answers=((OURS, 1, 2),)))),
        rtcp.Bye(ssrcs=(THEIRS,), reason=b"over"),
    ]  # fmt: skip
    whole = rtcp.write(parts)
    ends = {len(rtcp.write(parts[:count])) for count in range(1, 5)}
    for length in range(len(whole) + 1):
        taken = session().take(whole[:length], OURS, heard(), NS)
        assert (taken >= 0) == (length in ends), length


# ---- read by another program ----

FIELDS = (
    "rtcp.pt", "rtcp.senderssrc", "rtcp.timestamp.ntp.msw", "rtcp.timestamp.ntp.lsw", "rtcp.timestamp.rtp", "rtcp.sender.packetcount",
    "rtcp.sender.octetcount", "rtcp.ssrc.identifier", "rtcp.ssrc.fraction", "rtcp.ssrc.cum_nr", "rtcp.ssrc.high_cycles",
    "rtcp.ssrc.high_seq", "rtcp.ssrc.jitter", "rtcp.ssrc.lsr", "rtcp.ssrc.dlsr", "rtcp.sdes.type", "rtcp.sdes.text", "rtcp.xr.bt",
    "rtcp.ssrc.discarded", "rtcp.xr.voipmetrics.burstdensity", "rtcp.xr.voipmetrics.gapdensity", "rtcp.xr.voipmetrics.gapduration",
    "rtcp.xr.voipmetrics.rtdelay", "rtcp.xr.voipmetrics.esdelay", "rtcp.xr.voipmetrics.gmin", "rtcp.xr.voipmetrics.rfactor",
    "rtcp.xr.voipmetrics.moslq", "rtcp.xr.voipmetrics.moscq", "rtcp.xr.voipmetrics.jbnominal", "rtcp.xr.voipmetrics.jbmax",
    "rtcp.xr.voipmetrics.jbabsmax", "rtcp.xr.lrr", "rtcp.xr.dlrr", "rtcp.bye_reason_not_padded", "rtcp.length_check", "_ws.malformed",
)  # fmt: skip


def dissected(packet: bytes, folder: Path) -> dict[str, list[int | str]]:
    """Each field's values, in order, as tshark reads them."""
    text, capture = folder / "packet.txt", folder / "packet.pcap"
    text.write_text("0000 " + " ".join(f"{byte:02x}" for byte in packet) + "\n")
    options: dict[str, Any] = {"check": True, "capture_output": True, "env": ENVIRONMENT}
    subprocess.run(["text2pcap", "-q", "-u", "5005,5005", text, capture], **options)
    fields = [word for name in FIELDS for word in ("-e", name)]
    command = [tshark(), "-n", "-r", str(capture), "-d", "udp.port==5005,rtcp", "-T", "fields", "-E", "separator=|", "-E", "aggregator=;", *fields]
    told = subprocess.run(command, **options).stdout.decode().rstrip("\n")
    cells = (cell.split(";") if cell else [] for cell in told.split("|"))
    return {name: [int(value, 0) if re.fullmatch("0x[0-9a-f]+|-?[0-9]+", value) else value for value in values] for name, values in zip(FIELDS, cells, strict=True)}


def tshark() -> str:
    """tshark, which ci/sip_setup.sh installs."""
    found = shutil.which("tshark")
    assert found and shutil.which("text2pcap"), "tshark is missing: ci/sip_setup.sh installs it"
    return found


def told_by_tshark(packet: bytes, folder: Path) -> dict[str, list[int | str]]:
    """The fields that are there, without those that are the same in every packet of ours."""
    fields = {name: values for name, values in dissected(packet, folder).items() if values}
    assert fields.pop("rtcp.length_check") == [1]
    assert fields.pop("rtcp.sdes.type")[0] == 1
    return fields


def test_tshark_reads_a_senders_compound(tmp_path: Path) -> None:
    made, remote = session(voip_metrics=True), heard(300, lost=(7, 70, 71))
    for k in range(300, 330):
        remote.take(k, 160 * k, 160, 20 * MS * k + (k % 3) * 9 * MS)
    asked = rtcp.ExtendedReport(ssrc=THEIRS, blocks=(rtcp.ReferenceTime(ntp=ntp_of(WALL_NS)),))
    take(made, sender_report(), named(), asked, remote=remote)
    packet = made.report(SENT, remote, QUALITY, 4 * NS, WALL_NS + 4 * NS)
    ntp, middle = ntp_of(WALL_NS + 4 * NS), ntp_of(WALL_NS) >> 16 & 0xFFFFFFFF
    assert told_by_tshark(packet, tmp_path) == {
        "rtcp.pt": [200, 202, 207], "rtcp.sdes.text": [CNAME.decode()], "rtcp.senderssrc": [OURS, OURS], "rtcp.timestamp.ntp.msw": [ntp >> 32],
        "rtcp.timestamp.ntp.lsw": [ntp & 0xFFFFFFFF], "rtcp.timestamp.rtp": [7840 + 32_000], "rtcp.sender.packetcount": [50],
        "rtcp.sender.octetcount": [8000], "rtcp.ssrc.identifier": [THEIRS, OURS, THEIRS, THEIRS],
        "rtcp.ssrc.fraction": [3 * 256 // 330, QUALITY[0]], "rtcp.ssrc.cum_nr": [3], "rtcp.ssrc.high_cycles": [0], "rtcp.ssrc.high_seq": [329],
        "rtcp.ssrc.jitter": [int(remote.facts()["jitter"])], "rtcp.ssrc.lsr": [middle], "rtcp.ssrc.dlsr": [3 * 65536], "rtcp.xr.bt": [5, 7],
        "rtcp.ssrc.discarded": [1], "rtcp.xr.voipmetrics.burstdensity": [0], "rtcp.xr.voipmetrics.gapdensity": [4],
        "rtcp.xr.voipmetrics.gapduration": [4000], "rtcp.xr.voipmetrics.rtdelay": [0], "rtcp.xr.voipmetrics.esdelay": [90],
        "rtcp.xr.voipmetrics.gmin": [16], "rtcp.xr.voipmetrics.rfactor": [88], "rtcp.xr.voipmetrics.moslq": ["4.1"],
        "rtcp.xr.voipmetrics.moscq": [4], "rtcp.xr.voipmetrics.jbnominal": [40], "rtcp.xr.voipmetrics.jbmax": [120],
        "rtcp.xr.voipmetrics.jbabsmax": [120], "rtcp.xr.lrr": [middle], "rtcp.xr.dlrr": [3 * 65536],
    }  # fmt: skip


def test_tshark_reads_a_receivers_compound(tmp_path: Path) -> None:
    remote = heard(2)
    for k in range(1, 30):
        remote.take(2500 * k & 0xFFFF, 0, 160, 0)
    for _ in range(80_000):
        remote.take(2500 * 29 & 0xFFFF, 0, 160, 0)
    packet = session().report(SILENT, remote, None, NS, WALL_NS)
    fields = told_by_tshark(packet, tmp_path)
    assert fields.pop("rtcp.ssrc.jitter") == [int(remote.facts()["jitter"])]
    assert fields == {
        "rtcp.pt": [201, 202, 207], "rtcp.sdes.text": [CNAME.decode()], "rtcp.senderssrc": [OURS, OURS], "rtcp.ssrc.identifier": [THEIRS, OURS], "rtcp.ssrc.fraction": [0],
        "rtcp.ssrc.cum_nr": [2500 * 29 + 1 - 2 - 29 - 80_000], "rtcp.ssrc.high_cycles": [1], "rtcp.ssrc.high_seq": [2500 * 29 - 65536],
        "rtcp.ssrc.lsr": [0], "rtcp.ssrc.dlsr": [0], "rtcp.xr.bt": [4],
    }  # fmt: skip


def test_tshark_reads_a_goodbye(tmp_path: Path) -> None:
    fields = told_by_tshark(session().bye(SENT, heard(), NS, WALL_NS, b"session over"), tmp_path)
    assert fields["rtcp.pt"] == [200, 202, 203]
    assert fields["rtcp.sdes.text"] == [CNAME.decode(), "session over"]
    assert fields["rtcp.ssrc.identifier"] == [THEIRS, OURS, OURS]
    assert not {"rtcp.bye_reason_not_padded", "_ws.malformed"} & set(fields)


# ---- beside the twin ----


def test_the_twin_of_a_source_writes_the_same_block() -> None:
    random, remote, twin = Random(5), native.Source(THEIRS, 8000), SourceTwin(THEIRS, 8000)
    for k in range(2000):
        if random.random() < 0.9:
            at = 20 * MS * k + random.randrange(6 * MS)
            assert remote.take(k & 0xFFFF, 160 * k, 160, at) == twin.take(k & 0xFFFF, 160 * k, 160, at)
    (block,) = blocks(session(), remote=remote)
    assert (block.lost, block.jitter, block.highest_sequence) == (twin.expected - twin.received, int(twin.jitter), twin.highest - 65536)
    assert block.lost > 100

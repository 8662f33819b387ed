"""RTCP as values: what other code wrote is read, and what is read is written as it was."""

from __future__ import annotations

import struct
from random import Random

import pytest

from engine.rtp import rtcp
from tests.data import rtp_builder as build

TIME_NS = 1_700_000_000 * 10**9
CNAME = (rtcp.Chunk(ssrc=5, items=((rtcp.CNAME, b"a@example"),)),)
# A BYE as the figure of RFC 3550 §6.6 draws it, an SDES as §6.5.
BYE = bytes.fromhex("82cb0004 00000011 00000022 06 656e6f756768 00")
SDES = bytes.fromhex("82ca0006 00000011 0103614062 02024a44 000000 00000022 00000000 81cb0001 00000011")


def test_a_compound_of_each_kind_is_read() -> None:
    block = build.report_block(2, fraction=9)
    compound = (
        build.sender_report(1, TIME_NS, 5, 6, 7, [block])
        + build.receiver_report(3)
        + build.source_description(5)
        + build.extended_report(1, build.voip_metrics(2, loss=4, r=90, rtt_ms=77), build.reference_time(TIME_NS), build.last_reference((2, 3, 4)))
        + build.bye(1, 6)
    )
    ssrc, loss, highest, jitter, last_sr, delay = struct.unpack(">6I", block)
    kept = rtcp.ReportBlock(
        ssrc=ssrc, fraction_lost=9, lost=loss & 0xFFFFFF, highest_sequence=highest, jitter=jitter, last_sr=last_sr, delay_since_last_sr=delay
    )
    metrics = rtcp.VoipMetrics(ssrc=2, loss=4, r_factor=90, round_trip_ms=77, jitter_ms=40, jitter_max_ms=80, jitter_absolute_max_ms=200)
    packets = rtcp.read(compound)
    assert packets == (
        rtcp.SenderReport(ssrc=1, ntp=build.ntp(TIME_NS), timestamp=5, packets=6, octets=7, blocks=(kept,)),
        rtcp.ReceiverReport(ssrc=3),
        rtcp.SourceDescription(chunks=CNAME),
        rtcp.ExtendedReport(
            ssrc=1, blocks=(metrics, rtcp.ReferenceTime(ntp=build.ntp(TIME_NS)), rtcp.LastReference(answers=((2, 3, 4),)))
        ),
        rtcp.Bye(ssrcs=(1, 6)),
    )
    assert rtcp.write(packets) == compound


def test_a_goodbye_with_a_reason() -> None:
    assert rtcp.read(BYE, reduced=True) == (rtcp.Bye(ssrcs=(0x11, 0x22), reason=b"enough"),)
    assert rtcp.write([rtcp.Bye(ssrcs=(0x11, 0x22), reason=b"enough")]) == BYE


def test_chunks_end_on_a_word_and_have_their_cname() -> None:
    first, second = rtcp.Chunk(ssrc=0x11, items=((1, b"a@b"), (2, b"JD"))), rtcp.Chunk(ssrc=0x22)
    description, bye = rtcp.read(SDES, reduced=True)
    assert description == rtcp.SourceDescription(chunks=(first, second))
    assert (first.cname, second.cname) == (b"a@b", None)
    assert rtcp.write([description, bye]) == SDES


@pytest.mark.parametrize(
    "packet",
    [
        rtcp.ReceiverReport(ssrc=1, extension=b"more"),
        rtcp.SenderReport(ssrc=1, ntp=2**64 - 1, timestamp=2**32 - 1, packets=0, octets=1, extension=bytes(8)),
        rtcp.ReceiverReport(ssrc=1, blocks=tuple(rtcp.ReportBlock(ssrc=k, lost=-k, fraction_lost=255 - k) for k in range(31))),
        rtcp.ReceiverReport(ssrc=1, blocks=(rtcp.ReportBlock(ssrc=1, lost=-(2**23)), rtcp.ReportBlock(ssrc=1, lost=2**23 - 1))),
        rtcp.Application(ssrc=1, name=b"test", subtype=31, data=b"12345678"),
        rtcp.Feedback(kind=205, format=1, ssrc=1, media_ssrc=2, control=bytes(8)),
        rtcp.Feedback(kind=206, format=1, ssrc=1, media_ssrc=2),
        rtcp.ExtendedReport(ssrc=1),
        rtcp.ExtendedReport(ssrc=1, blocks=(rtcp.OtherBlock(kind=1, specific=200, body=bytes(12)), rtcp.LastReference())),
        rtcp.SourceDescription(),
        rtcp.Bye(),
        rtcp.Bye(ssrcs=tuple(range(31)), reason=bytes(255)),
        rtcp.Bye(ssrcs=(1,), reason=b""),
        rtcp.Other(kind=192, count=31, body=b"what"),
    ],
)
def test_what_is_written_is_read_the_same(packet: rtcp.Packet) -> None:
    report = rtcp.ReceiverReport(ssrc=9)
    for padding in (0, 4, 252):
        assert rtcp.read(rtcp.write([report, packet], padding=padding)) == (report, packet)


def test_padding_is_counted_in_the_last_packet_only() -> None:
    report = rtcp.ReceiverReport(ssrc=9)
    assert rtcp.write([report, report], padding=8).hex() == "80c9000100000009" + "a0c9000300000009" + "0000000000000008"


def test_a_reduced_packet_needs_leave() -> None:
    with pytest.raises(rtcp.MalformedRtcp, match="begins with a report"):
        rtcp.read(BYE)


@pytest.mark.parametrize("count", [32, 255])
def test_more_than_five_bits_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="five bits"):
        rtcp.write([rtcp.Bye(ssrcs=(1,) * count)])


def test_any_bytes_are_read_or_refused() -> None:
    random, read = Random(3), 0
    whole = build.sender_report(1, TIME_NS, 5, 6, 7, [build.report_block(2)]) + SDES + BYE
    for _ in range(5000):
        data = bytearray(whole)
        for _ in range(random.randrange(4)):
            data[random.randrange(len(data))] = random.randrange(256)
        try:
            length = random.choice((len(data), random.randrange(len(data))))
            rtcp.read(bytes(data[:length]), reduced=random.random() < 0.5)
            read += 1
        except rtcp.MalformedRtcp:
            pass
    assert 500 < read < 4500

"""SIPp's short message trace."""

from __future__ import annotations

from engine.trace.sources import base


def test_every_line_is_a_message_with_its_call_and_sequence(read, sample):
    content = sample("sipp_short.csv")
    assert base.detect(content).name == "sipp_short"
    frames = read(content)
    assert [frame.direction for frame in frames] == [2, 1, 2, 2]
    assert frames[1].text == b"SIP/2.0 200 OK\r\nCall-ID: 5a7d-1@192.0.2.10\r\nCSeq: 1 INVITE\r\n\r\n"
    assert frames[0].text.startswith(b"INVITE sip:bob@example.net SIP/2.0\r\n")
    assert frames[3].time_ns == 1_714_979_370_999_999_000

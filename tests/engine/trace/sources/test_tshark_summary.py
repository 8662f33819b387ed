"""tshark's packet list: a ladder without headers."""

from __future__ import annotations

from engine.trace.sources import base


def test_every_line_is_a_start_line_with_its_ends_and_time(read, sample):
    content = sample("tshark_summary.txt")
    assert base.detect(content).name == "tshark_summary"
    frames = read(content)
    assert [frame.text for frame in frames] == [
        b"INVITE sip:bob@example.net SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"ACK sip:bob@198.51.100.20:5080 SIP/2.0\r\n\r\n",
        b"BYE sip:bob@198.51.100.20:5080 SIP/2.0\r\n\r\n",
    ]
    assert [frame.source for frame in frames] == ["192.0.2.10", "198.51.100.20", "192.0.2.10", "192.0.2.10"]
    assert frames[3].time_ns == 1_714_979_370_999_999_000
    assert {kind for kind, _ in read.notes} == {"abridged"}


def test_times_since_the_first_packet_have_no_date(read):
    first, second = read(
        b"  1   0.000000 192.0.2.1 -> 192.0.2.2 SIP 450 Request: OPTIONS sip:a@b\n"
        b"  2   0.020500 192.0.2.2 -> 192.0.2.1 SIP 300 Status: 404 Not Found\n"
    )
    assert second.text == b"SIP/2.0 404 Not Found\r\n\r\n"
    assert second.time_ns - first.time_ns == 20_500_000
    assert not second.date_known


def test_lines_of_other_protocols_are_passed_over(read):
    assert read(b"  1   0.000000 192.0.2.1 -> 192.0.2.2 RTP 214 PT=ITU-T G.711 PCMU, SSRC=0x1\n") == []

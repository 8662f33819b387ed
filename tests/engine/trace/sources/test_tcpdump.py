"""tcpdump's text."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("tcpdump.txt", "tcpdump")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_456_000,
        1_714_979_291_000_250_000,
        1_714_979_291_100_500_000,
        1_714_979_370_999_999_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("198.51.100.20:5080", "192.0.2.10:5060"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
    ]
    assert [frame.direction for frame in frames] == [0] * 4
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_verbose_output_behind_tabs_is_the_same_call(whole):
    frames = whole("tcpdump_verbose.txt", "tcpdump")
    assert frames[0].source == "192.0.2.10:5060"
    assert frames[3].time_ns == 1_714_979_370_999_999_000


def test_a_summary_alone_is_a_start_line(read):
    (frame,) = read(b"07:08:09.000001 IP 192.0.2.1.5060 > 192.0.2.2.sip: SIP: OPTIONS sip:a@b SIP/2.0\n")
    assert frame.text == b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"
    assert (frame.target, frame.date_known) == ("192.0.2.2:5060", False)


def test_version_six_addresses_and_tcp_are_read(read, call):
    text = b"07:08:09.000001 IP6 2001:db8::1.5060 > 2001:db8::2.5061: Flags [P.], seq 1:9, length 8: SIP: ACK sip:a SIP/2.0\n"
    (frame,) = read(text + b"`....@.." + call[2].replace(b"\r\n", b"\n"))
    assert (frame.source, frame.target, frame.transport) == (
        "[2001:db8::1]:5060",
        "[2001:db8::2]:5061",
        "TCP",
    )
    assert frame.text == call[2]

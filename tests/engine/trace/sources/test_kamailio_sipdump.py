"""Kamailio's sipdump."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("kamailio_sipdump.data", "kamailio_sipdump")
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
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_version_six_and_websocket_are_read(read, sample):
    text = (
        sample("kamailio_sipdump.data")
        .replace(b"udp ipv4", b"wss ipv6")
        .replace(b"srcip: 192.0.2.10", b"srcip: 2001:db8::1")
    )
    frame = read(text)[0]
    assert (frame.source, frame.transport) == ("[2001:db8::1]:5060", "WSS")

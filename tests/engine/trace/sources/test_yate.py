"""Yate."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("yate.log", "yate")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_456_000,
        1_714_979_291_000_250_000,
        1_714_979_291_100_500_000,
        1_714_979_370_999_999_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", None),
        (None, "192.0.2.10:5060"),
        ("192.0.2.10:5060", None),
        ("192.0.2.10:5060", None),
    ]
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_a_request_going_out_is_read(read, call):
    text = (
        b"<sip:INFO> 'tls:192.0.2.2:5061' sending 'INVITE' 0x7f10d to 192.0.2.1:5061 [0x7f10c]\n------\n"
        + call[0]
        + b"------\n"
    )
    (frame,) = read(text)
    assert (frame.target, frame.transport, frame.direction, frame.text) == (
        "192.0.2.1:5061",
        "TLS",
        2,
        call[0],
    )

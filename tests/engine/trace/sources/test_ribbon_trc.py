"""Ribbon's trace files."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("ribbon_trc.TRC", "ribbon_trc")
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
    assert {frame.transport for frame in frames} == {None}
    assert {frame.correlation for frame in frames} == {"0x2a41"}
    assert all(frame.date_known is True for frame in frames)


def test_an_entry_in_two_parts_is_one_message(read, call):
    head = b"1900 05062024 070809.123456:1.01.00.10210.Info    .SIPSG: "
    text = (
        head
        + b"sent msg for CallId:a to IP/port:192.0.2.1/5060, Local IP/port:192.0.2.2/5060\nRAW PDU:\n"
        + call[0][:300]
    )
    (frame,) = read(text + b"\n" + head + call[0][300:] + b"\n")
    assert (frame.text, frame.direction, frame.target) == (call[0], 2, "192.0.2.1:5060")

"""SIPp's message trace."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("sipp.log", "sipp")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_456_000,
        1_714_979_291_000_250_000,
        1_714_979_291_100_500_000,
        1_714_979_370_999_999_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [(None, None)] * 4
    assert [frame.direction for frame in frames] == [2, 1, 2, 2]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_error_forms_hold_messages_too(read, call):
    text = b"-" * 47 + b" 2024-05-06\t07:08:09.000001\nUnexpected UDP message received:\n\n" + call[1] + b"\n"
    (frame,) = read(text)
    assert (frame.text, frame.direction, frame.transport) == (call[1], 1, "UDP")

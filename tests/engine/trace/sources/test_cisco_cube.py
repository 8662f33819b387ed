"""Cisco CUBE."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("cisco_cube.log", "cisco_cube")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_100_000_000,
        1_714_979_370_999_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [(None, None)] * 4
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {None}
    assert {frame.correlation for frame in frames} == {"C544D4800002", None}
    assert all(frame.date_known is True for frame in frames)


def test_a_lost_blank_line_comes_back(read, sample, call):
    text = sample("cisco_cube.log").replace(b"\n\nv=0", b"\nv=0")
    assert [frame.text for frame in read(text)] == call


def test_other_debug_lines_end_a_message(read, call):
    text = b"May  6 07:08:09.123: //1/C544D4800002/SIP/Msg/ccsipDisplayMsg:\nSent:\n" + call[2].replace(
        b"Content-Length: 0\r\n\r\n", b""
    )
    (frame,) = read(text + b"May  6 07:08:09.124: //1/C544D4800002/SIP/Info/ccsip: call leg\nfoo: bar\n")
    assert frame.text == call[2].replace(b"Content-Length: 0\r\n", b"")

"""Yealink phones."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("yealink.log", "yealink")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_000_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_000_000_000,
        1_714_979_370_000_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [(None, None)] * 4
    assert [frame.direction for frame in frames] == [0] * 4
    assert {frame.transport for frame in frames} == {None}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_lines_of_other_threads_between_are_left_out(read, sample, call):
    rows = sample("yealink.log").split(b"\n")
    noise = b"<134>May  6 07:08:09 sua [1156.1299]: DLG <6+info  > [000] Subject: noise"
    text = b"\n".join(part for row in rows for part in (row, noise))
    assert [frame.text for frame in read(text)] == call

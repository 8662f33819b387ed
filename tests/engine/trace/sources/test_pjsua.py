"""PJSUA."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("pjsua.log", "pjsua")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_100_000_000,
        1_714_979_370_999_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        (None, "198.51.100.20:5080"),
        ("198.51.100.20:5080", None),
        (None, "198.51.100.20:5080"),
        (None, "198.51.100.20:5080"),
    ]
    assert [frame.direction for frame in frames] == [2, 1, 2, 2]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is False for frame in frames)

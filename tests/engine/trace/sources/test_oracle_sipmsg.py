"""Oracle's sipmsg.log."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("oracle_sipmsg.log", "oracle_sipmsg")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_100_000_000,
        1_714_979_370_999_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("198.51.100.20:5080", "192.0.2.10:5060"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
    ]
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {None}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_a_record_that_is_not_closed_is_kept(read, call):
    (frame,) = read(
        b"May  6 07:08:09.123 On 192.0.2.2:5060 sent to 192.0.2.1:5060\n" + call[0].replace(b"\r\n", b"\n")
    )
    assert (frame.text, frame.source, frame.target) == (call[0], "192.0.2.2:5060", "192.0.2.1:5060")


def test_media_control_dumps_are_passed_over(read):
    assert (
        read(
            b"May  6 07:08:09.123 On 127.0.0.1:2945 sent to 127.0.0.1:2944\n  0000: ac 3e 00 00 01 02 03 04\n"
            + b"-" * 40
            + b"\n"
        )
        == []
    )

"""Log lines that hold SIP behind a prefix of their own."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("syslog.log", "syslog")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_100_000_000,
        1_714_979_370_999_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [(None, None)] * 4
    assert [frame.direction for frame in frames] == [0] * 4
    assert {frame.transport for frame in frames} == {None}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_a_pipe_separated_prefix_is_taken_away(read, call):
    rows = call[0].replace(b"\r\n", b"\n").split(b"\n")
    text = b"".join(b"0506070809.123|sip  |1|00|%s\n" % row for row in rows)
    assert [frame.text for frame in read(text)] == [call[0]]


def test_a_mention_of_a_start_line_is_no_message(read):
    assert (
        read(b"2024-05-06 07:08:09 app: sending INVITE sip:a@b SIP/2.0\n2024-05-06 07:08:10 app: done\n")
        == []
    )

"""Kamailio and OpenSIPS xlog."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("kamailio_xlog.log", "kamailio_xlog")
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


def test_a_prefix_on_the_first_line_only_ends_with_the_next_log_line(read, call):
    prefix = b"May  6 07:08:09 proxy1 opensips[3321]: INFO:script: "
    text = prefix + call[0] + prefix + b"relaying\n" + prefix + call[2] + prefix + b"done\n"
    assert [frame.text for frame in read(text)] == [call[0], call[2]]


def test_a_prefix_on_every_line_goes_from_every_line(read, call):
    rows = call[0].replace(b"\r\n", b"\n").split(b"\n")
    text = b"".join(
        b"May  6 07:08:%02d proxy1 kamailio[3321]: INFO: <script>: %s\n" % (7 + n // 9, row)
        for n, row in enumerate(rows)
    )
    (frame,) = read(text)
    assert frame.text == call[0]

"""tshark follow, ASCII."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("follow.txt", "follow")
    assert [frame.time_ns for frame in frames] == [None] * 4
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("198.51.100.20:5080", "192.0.2.10:5060"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
    ]
    assert [frame.direction for frame in frames] == [0] * 4
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_a_message_over_two_chunks_of_a_stream_is_one(read, call):
    first, rest = call[0][:200], call[0][200:]
    text = b"====================\nFollow: tcp,ascii\nFilter: tcp.stream eq 0\nNode 0: 192.0.2.1:5060\nNode 1: 192.0.2.2:5060\n"
    text += b"%d\n%s\n%d\n%s\n\t%d\n%s\n====================\n" % (
        len(first),
        first,
        len(rest),
        rest,
        len(call[1]),
        call[1],
    )
    request, response = read(text)
    assert (request.text, response.text) == (call[0], call[1])
    assert (request.transport, response.source) == ("TCP", "192.0.2.2:5060")


def test_counts_that_no_longer_fit_do_not_matter(read, sample, call):
    frames = read(sample("follow.txt").replace(b"\r\n", b"\n"))
    assert [frame.text for frame in frames] == call

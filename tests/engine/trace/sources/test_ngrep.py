"""ngrep and sipgrep."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("ngrep.txt", "ngrep")
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
    assert [frame.direction for frame in frames] == [0] * 4
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_tcp_flags_and_time_differences_are_read(read, call):
    dotted = call[2].replace(b"\r\n", b".\n")
    text = b"T +0.500000 192.0.2.1:5060 -> 192.0.2.2:5061 [AP] #4\n" + dotted + b"\n##\n"
    text += b"T +1.250000 192.0.2.2:5061 -> 192.0.2.1:5060 [AP]\n" + dotted
    first, second = read(text)
    assert (first.transport, first.source, first.date_known) == ("TCP", "192.0.2.1:5060", False)
    assert (first.time_ns, second.time_ns) == (500_000_000, 1_750_000_000)
    assert (first.text, second.text) == (call[2], call[2])


def test_one_long_line_without_byline_is_read(read, call):
    text = b"U 192.0.2.1:5060 -> 192.0.2.2:5060\n  " + call[0].replace(b"\r\n", b"..") + b"\n#"
    (frame,) = read(text)
    assert frame.text == call[0]


def test_dots_that_end_a_line_of_their_own_stay(read, call):
    message = call[2].replace(b"Desk Phone 4.2", b"Desk Phone.")
    (frame,) = read(b"U 192.0.2.1:5060 -> 192.0.2.2:5060\n" + message.replace(b"\r\n", b".\n"))
    assert frame.text == message


def test_sipgrep_colours_go(read, call):
    text = b"\x1b[31mU 2024/05/06 07:08:09.000001 192.0.2.1:5060 -> 192.0.2.2:5060\x1b[0m\n" + call[
        2
    ].replace(b"\r\n", b".\n")
    (frame,) = read(text)
    assert (frame.source, frame.text) == ("192.0.2.1:5060", call[2])

"""SIP trace tables as CSV."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("siptrace_csv.csv", "siptrace_csv")
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
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_other_delimiters_and_columns_are_read(read, call):
    text = b"ts;src_ip;src_port;dst_ip;dst_port;proto;raw\n"
    text += b'1714979289.5;192.0.2.1;5060;2001:db8::1;5061;tcp;"' + call[2].replace(b'"', b'""') + b'"\n'
    (frame,) = read(text)
    assert (frame.source, frame.target, frame.transport) == ("192.0.2.1:5060", "[2001:db8::1]:5061", "TCP")
    assert (frame.time_ns, frame.text) == (1_714_979_289_500_000_000, call[2])


def test_escaped_line_ends_in_a_field_are_line_ends(read, call):
    text = b'time,msg,x\n1714979289,"%s",1\n' % call[0].replace(b"\r\n", b"\\r\\n").replace(b'"', b'""')
    assert [frame.text for frame in read(text)] == [call[0]]

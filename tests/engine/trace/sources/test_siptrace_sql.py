"""SIP trace tables as SQL."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("siptrace_sql.sql", "siptrace_sql")
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


def test_the_columns_an_insert_names_are_used(read, call):
    text = b"INSERT INTO public.sip_trace (msg, toip, fromip, time_stamp) VALUES ('%s', 'tls:192.0.2.2:5061', 'tls:[2001:db8::1]:5061', '2024-05-06 07:08:09');\n"
    (frame,) = read(text % call[2].replace(b"'", b"''"))
    assert (frame.source, frame.target, frame.transport) == ("[2001:db8::1]:5061", "192.0.2.2:5061", "TLS")
    assert (frame.time_ns, frame.text) == (1_714_979_289_000_000_000, call[2])


def test_the_columns_of_a_create_statement_are_used(read, call):
    text = b"CREATE TABLE `t` (\n  `raw` text,\n  `src_ip` char(50),\n  PRIMARY KEY (`raw`)\n);\n"
    (frame,) = read(text + b"INSERT INTO `t` VALUES ('%s',NULL),('x','192.0.2.1');\n" % call[2])
    assert frame.text == call[2]

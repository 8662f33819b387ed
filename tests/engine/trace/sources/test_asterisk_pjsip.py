"""Asterisk's PJSIP logger."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("asterisk_pjsip.log", "asterisk_pjsip")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_100_000_000,
        1_714_979_370_999_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", None),
        (None, "192.0.2.10:5060"),
        ("192.0.2.10:5060", None),
        ("192.0.2.10:5060", None),
    ]
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {"C-0000001f"}
    assert all(frame.date_known is True for frame in frames)


def test_the_prefix_may_stand_on_every_line(read, call):
    prefix = (
        b"May  6 07:08:09 pbx asterisk[2211]: VERBOSE[2240][C-00000003]: res_pjsip_logger.c: in pjsip_log: "
    )
    text = prefix + b"<--- Transmitting SIP request (283 bytes) to TLS:[2001:db8::1]:5061 --->\n"
    text += b"".join(prefix + row + b"\n" for row in call[2].replace(b"\r\n", b"\n").split(b"\n"))
    (frame,) = read(text)
    assert frame.text == call[2]
    assert (frame.target, frame.transport, frame.correlation) == ("[2001:db8::1]:5061", "TLS", "C-00000003")


def test_the_console_has_no_prefix_and_no_time(read, call):
    (frame,) = read(
        b"<--- Received SIP request (283 bytes) from TCP6:[2001:db8::1]:5060 --->\n" + call[2] + b"\n"
    )
    assert (frame.time_ns, frame.transport, frame.direction) == (None, "TCP", 1)


def test_what_is_logged_after_a_message_is_no_part_of_it(read, call):
    text = b"<--- Received SIP request (513 bytes) from UDP:192.0.2.1:5060 --->\n" + call[0]
    (frame,) = read(text + b"\n  == Using SIP RTP CoS mark 5\n[2024-05-06 07:08:09] WARNING[1]: x.c: y\n")
    assert frame.text == call[0]

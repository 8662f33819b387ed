"""PDML."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("pdml.xml", "pdml")
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


def test_a_body_in_hex_is_taken_as_it_is(read):
    body = b"v=0\r\n"
    text = b"""<pdml><packet><proto name="sip" size="1" pos="0">
<field name="sip.Request-Line" show="MESSAGE sip:a SIP/2.0" value="%s"/>
<field name="sip.msg_hdr" show="x" value="%s"/><field name="sip.msg_body" show="" value="%s"/></proto></packet></pdml>"""
    head = b"Call-ID: a\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\n"
    (frame,) = read(
        text % (b"MESSAGE sip:a SIP/2.0".hex().encode(), head.hex().encode(), body.hex().encode())
    )
    assert frame.text == b"MESSAGE sip:a SIP/2.0\r\n" + head + body

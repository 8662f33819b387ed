"""tshark -T json and jsonraw."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("tshark_json.json", "tshark_json")
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


def test_raw_bytes_are_taken_as_they_are(whole):
    frames = whole("tshark_jsonraw.json", "tshark_json")
    assert [frame.source for frame in frames] == [
        "192.0.2.10:5060",
        "198.51.100.20:5080",
        "192.0.2.10:5060",
        "192.0.2.10:5060",
    ]


def test_the_inner_of_two_ip_layers_is_the_one(read):
    text = b"""[{"_source": {"layers": {"frame": {"frame.time_epoch": "1.5"},
      "ip": {"ip.src": "10.0.0.1", "ip.dst": "10.0.0.2"}, "ip": {"ip.src": "192.0.2.1", "ip.dst": "192.0.2.2"},
      "udp": {"udp.srcport": "5060", "udp.dstport": "5060"},
      "sip": {"sip.Request-Line": "ACK sip:a SIP/2.0", "sip.msg_hdr": "Call-ID: a\\r\\nCSeq: 1 ACK\\r\\n"}}}}]"""
    (frame,) = read(text)
    assert (frame.source, frame.target, frame.time_ns) == ("192.0.2.1:5060", "192.0.2.2:5060", 1_500_000_000)
    assert frame.text == b"ACK sip:a SIP/2.0\r\nCall-ID: a\r\nCSeq: 1 ACK\r\n\r\n"


def test_layers_that_were_filtered_out_leave_the_message(read):
    text = b"""[{"_source": {"layers": {"frame": {"filtered": "frame"}, "ip": {"filtered": "ip"}, "udp": {"filtered": "udp"},
      "sip": {"sip.Status-Line": "SIP/2.0 200 OK", "sip.msg_hdr": "Call-ID: a\\r\\n"}}}}]"""
    (frame,) = read(text)
    assert (frame.source, frame.time_ns, frame.transport) == (None, None, "UDP")

"""Cisco CUCM."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("cisco_cucm.txt", "cisco_cucm")
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
    assert {frame.transport for frame in frames} == {"TCP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is False for frame in frames)


def test_a_record_folded_to_one_line_is_unfolded(read, call):
    folded = call[0].replace(b"\r\n\r\n", b"  ").replace(b"\r\n", b" ").rstrip()
    text = b"00210.001 |07:08:09.123 |AppInfo  |SIPTcp - wait_SdlSPISignal: Outgoing SIP TCP message to 192.0.2.1 on port 5060 index 12 [80,NET] "
    (frame,) = read(text + folded + b"\n00211.000 |07:08:10.000 |AppInfo |other\n")
    assert frame.text == call[0]
    assert (frame.target, frame.direction) == ("192.0.2.1:5060", 2)

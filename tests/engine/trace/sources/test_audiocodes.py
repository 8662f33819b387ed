"""AudioCodes syslog."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("audiocodes.log", "audiocodes")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_000_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_000_000_000,
        1_714_979_370_000_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", "LAN"),
        ("LAN", "192.0.2.10:5060"),
        ("192.0.2.10:5060", "LAN"),
        ("192.0.2.10:5060", "LAN"),
    ]
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {"0d1e2f:31:7001"}
    assert all(frame.date_known is True for frame in frames)


def test_a_message_over_several_datagrams_is_one(read, call):
    packed = call[0].replace(b"\r\n", b"#012")
    head = b"<133>May  6 07:08:09 192.0.2.9 [S=%d] [SID=0d1e2f:31:7001] (N 40%d)  "
    text = (
        head % (1, 1)
        + b"---- Incoming SIP Message from 192.0.2.1:5060 to SIPInterface #0 (WAN) TLS TO(#1) ----#012"
        + packed[:300]
    )
    text += b" [Time:06-05@07:08:09.123]\n" + head % (2, 2) + packed[300:] + b" [Time:06-05@07:08:09.124]\n"
    (frame,) = read(text.replace(b"(N 402)  ", b"(N 402) "))
    assert (frame.text, frame.target, frame.transport) == (call[0], "WAN", "TLS")


def test_without_a_syslog_stamp_the_device_clock_counts(read, call):
    text = b"[S=1] [SID=a:1:2] (N 1) ---- Outgoing SIP Message to 192.0.2.1:5060 from SIPInterface #1 (WAN) TCP TO(#1) ----\n"
    (frame,) = read(text + call[2] + b" [Time:06-05@07:08:09.123]\n")
    assert (frame.time_ns, frame.text, frame.direction) == (1_714_979_289_123_000_000, call[2], 2)

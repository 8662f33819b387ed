"""Asterisk's chan_sip debug."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("asterisk_chan_sip.log", "asterisk_chan_sip")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_000_000_000,
        1_714_979_291_000_000_000,
        1_714_979_291_000_000_000,
        1_714_979_370_000_000_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", None),
        (None, "192.0.2.10:5060"),
        ("192.0.2.10:5060", None),
        ("192.0.2.10:5060", None),
    ]
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {"UDP", None}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_a_retransmission_says_so(read, call):
    text = b"Retransmitting #3 (NAT) to 192.0.2.1:5060:\n" + call[0] + b"\n---\n"
    text += b"Reliably Transmitting (no NAT) to 192.0.2.1:5060:\n" + call[0] + b"\n---\n"
    again, first = read(text)
    assert (again.retransmission, first.retransmission) == (True, False)
    assert (again.target, first.target, first.direction) == ("192.0.2.1:5060", "192.0.2.1:5060", 2)
    assert again.text == first.text == call[0]


def test_keepalives_are_no_messages(read):
    assert (
        read(
            b"<--- SIP read from UDP:192.0.2.1:5060 --->\n\n\n<------------->\n--- (0 headers 0 lines) Nat keepalive ---\n"
        )
        == []
    )

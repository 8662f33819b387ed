"""tshark -V and Wireshark's plain text."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("tshark_text.txt", "tshark_text")
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


def test_without_the_other_layers_there_is_no_time_and_all_else(read, sample, call):
    kept = [
        row
        for row in sample("tshark_text.txt").split(b"\n")
        if not row.startswith((b"    Epoch", b"    Arrival", b"    UTC Arrival", b"    ["))
    ]
    frames = read(b"\n".join(kept))
    assert [frame.text for frame in frames] == call
    assert {frame.time_ns for frame in frames} == {None}


def test_a_list_line_and_its_dissection_are_one_message(read, sample, call):
    summary = b"    1 0.000000 192.0.2.10 \xe2\x86\x92 198.51.100.20 SIP/SDP 560 Request: INVITE sip:bob@example.net | \n\n"
    assert [frame.text for frame in read(summary + sample("tshark_text.txt"))] == call

"""FreeSWITCH and sofia-sip."""

from __future__ import annotations


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("freeswitch.log", "freeswitch")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_456_000,
        1_714_979_291_000_250_000,
        1_714_979_291_100_500_000,
        1_714_979_370_999_999_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", None),
        (None, "192.0.2.10:5060"),
        ("192.0.2.10:5060", None),
        ("192.0.2.10:5060", None),
    ]
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is False for frame in frames)


def test_a_dated_prefix_and_a_channel_are_taken_from_it(read, call):
    text = b"9c2cf1f6-0b5e-4d2e-8d4a-1f2e3d4c5b6a 2024-05-01 09:00:00.000001 [DEBUG] tport.c:1 "
    text += (
        b"send 283 bytes to tls/[2001:db8::1/7]:5061 at 09:00:00.000000:\n"
        + b"-" * 72
        + b"\n"
        + call[2]
        + b"\n"
    )
    (frame,) = read(text)
    assert frame.correlation == "9c2cf1f6-0b5e-4d2e-8d4a-1f2e3d4c5b6a"
    assert (frame.time_ns, frame.date_known) == (1_714_554_000_000_001_000, True)
    assert (frame.target, frame.transport, frame.text) == ("[2001:db8::1]:5061", "TLS", call[2])


def test_newer_builds_have_no_indentation(read, call):
    text = (
        b"recv 283 bytes from tcp/[192.0.2.1]:5060 at 07:08:09.000001:\n"
        + b"-" * 72
        + b"\n"
        + call[2].replace(b"\r\n", b"\n")
    )
    (frame,) = read(text + b"\n")
    assert (frame.text, frame.source) == (call[2], "192.0.2.1:5060")


def test_a_tport_dump_ends_records_with_a_vertical_tab(read, call):
    record = b"recv 283 bytes from udp/[192.0.2.1]:5060;comp=sigcomp at 07:08:09.000001:\n%s\x0b\n"
    assert [frame.text for frame in read(record % call[0] + record % call[2])] == [call[0], call[2]]


def test_a_missing_port_and_colours_do_not_matter(read, call):
    (frame,) = read(b"\x1b[36mrecv 283 bytes from udp/192.0.2.1 at 07:08:09.000001:\x1b[m\n" + call[2])
    assert (frame.source, frame.text) == ("192.0.2.1", call[2])


def test_times_roll_over_at_midnight(read, call):
    record = b"recv 283 bytes from udp/[192.0.2.1]:5060 at %s:\n%s\n"
    late, early = read(record % (b"23:59:59.900000", call[2]) + record % (b"00:00:00.100000", call[3]))
    assert early.time_ns - late.time_ns == 200_000_000

"""Packets in hex."""

from __future__ import annotations

import pytest

from engine.trace.sources import base
from engine.trace.sources.hexdump import link_type


def rows(packet: bytes, row: str, join: str, size: int = 16, ascii_gap: str = "   ") -> bytes:
    lines = []
    for at in range(0, len(packet), size):
        part = packet[at : at + size]
        lines.append(
            f"{row.format(at)}{join.join(f'{byte:02x}' for byte in part):<{size * 3}}{ascii_gap}................\n"
        )
    return "".join(lines).encode()


def test_tcpdump_hex_gives_the_packets_and_not_the_words_as_well(read, sample, call):
    frames = read(sample("hexdump.txt"))
    assert all(isinstance(frame, base.PacketFrame) for frame in frames)
    assert [frame.packet[28:] for frame in frames] == call
    assert {frame.link_type for frame in frames} == {101}
    assert frames[1].time_ns == 1_714_979_291_000_250_000


@pytest.mark.parametrize(
    "style", [("{:04x}  ", " "), ("{:06x} ", " "), ("{:08x}: ", " "), ("{:07o} ", " "), ("0x{:04x}:  ", " ")]
)
def test_other_dumps_give_the_same_bytes(read, sample, style):
    packets = [frame.packet for frame in read(sample("hexdump.txt"))]
    text = b"\n".join(rows(packet, *style) for packet in packets)
    assert [frame.packet for frame in read(text)] == packets


def test_a_dump_of_a_message_itself_is_a_message(read, call):
    (frame,) = read(rows(call[2], "{:04x}  ", " "))
    assert frame.text == call[2]


def test_a_dump_that_is_no_packet_is_passed_over(read):
    assert read(rows(b"\x01\x02" * 40, "{:04x}  ", " ")) == []


def test_link_layers_are_told_apart():
    v4 = bytes.fromhex("4500001c0001000040110000c0000201c0000202") + bytes(8)
    assert link_type(v4) == 101
    assert link_type(bytes.fromhex("60000000000811400000") + bytes(40)) == 101
    assert link_type(bytes(12) + b"\x08\x00" + v4) == 1
    assert link_type(bytes(14) + b"\x08\x00" + v4) == 113
    assert link_type(b"\x08\x00" + bytes(18) + v4) == 276
    assert link_type(b"\xff" * 60) is None

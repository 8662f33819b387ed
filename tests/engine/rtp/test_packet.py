"""RTP packets as values: bytes to fields and back, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from engine.rtp.packet import Packet, PacketError
from tests.data import rtp_builder as build


def test_a_packet_is_read_field_by_field() -> None:
    data = build.rtp(7, 8, b"abcd", payload_type=111, ssrc=0xDEADBEEF, csrc=(1, 2), extension=(0xBEDE, b"\x21\xaa\xbb\x00"), padding=4, marker=True)
    assert Packet.read(data) == Packet(
        payload_type=111,
        sequence=7,
        timestamp=8,
        ssrc=0xDEADBEEF,
        payload=b"abcd",
        marker=True,
        csrc=(1, 2),
        extension_profile=0xBEDE,
        extension=b"\x21\xaa\xbb\x00",
        padding=4,
    )


@pytest.mark.parametrize("data", [build.rtp(1, 2, b"payload"), build.rtp(65535, 2**32 - 1, b"", csrc=range(15), padding=255, extension=(1, b""))])
def test_what_was_read_is_written_as_it_was(data: bytes) -> None:
    assert Packet.read(data).write() == data
    assert Packet.read(memoryview(bytearray(data))).write() == data


def test_elements_of_the_extension_are_found_by_id() -> None:
    packet = Packet(payload_type=0, sequence=1, timestamp=2, ssrc=3, extension_profile=0xBEDE, extension=b"\x21\xaa\xbb\x00")
    assert packet.element(2) == b"\xaa\xbb"
    assert packet.element(1) is None
    assert Packet(payload_type=0, sequence=1, timestamp=2, ssrc=3).element(2) is None


@pytest.mark.parametrize("data", [b"", b"\x80" * 11, b"\x40" + bytes(20), b"\x8f" + bytes(11)])
def test_bytes_that_are_no_packet_are_refused(data: bytes) -> None:
    with pytest.raises(PacketError, match=f"^{len(data)} bytes"):
        Packet.read(data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"payload_type": 128},
        {"sequence": -1},
        {"timestamp": 2**32},
        {"ssrc": 2**70},
        {"csrc": (1,) * 16},
        {"csrc": (2**32,)},
        {"extension": b"abc"},
        {"padding": 256},
        {"payload": bytes(65536)},
    ],
)
def test_numbers_that_no_packet_can_have_are_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"payload_type": 0, "sequence": 0, "timestamp": 0, "ssrc": 0}
    with pytest.raises(PacketError) as refused:
        Packet(**(right | wrong)).write()
    assert refused.value.code == "rtp.malformed"

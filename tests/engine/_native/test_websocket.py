"""WebSocket frame headers and masks (RFC 6455 §5)."""

from __future__ import annotations

import random

import pytest

from engine._native.packet import unmask, websocket_frame_header
from tests.data import capture_builder as build

MALFORMED, INCOMPLETE = -1, -2
MASK = b"\x37\xfa\x21\x3d"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_header_of_every_length_form_is_read(size: int, mask: bytes | None) -> None:
    frame = build.websocket(b"x" * size, 2, mask=mask)
    used, opcode, final, reserved, found, length = websocket_frame_header(frame)
    assert (opcode, final, reserved, found, length) == (2, True, 0, mask, size)
    assert used == len(frame) - size


def test_the_examples_of_the_rfc_are_read() -> None:
    """RFC 6455 §5.7: "Hello" unmasked, masked, and in two pieces."""
    assert websocket_frame_header(bytes.fromhex("810548656c6c6f")) == (2, 1, True, 0, None, 5)
    masked = bytes.fromhex("818537fa213d7f9f4d5158")
    assert websocket_frame_header(masked) == (6, 1, True, 0, MASK, 5)
    assert unmask(masked[6:], MASK) == b"Hello"
    assert websocket_frame_header(bytes.fromhex("010348656c"))[1:3] == (1, False)
    assert websocket_frame_header(bytes.fromhex("80026c6f"))[1:3] == (0, True)


@pytest.mark.parametrize("size", [5, 126, 65_536])
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_header_cut_anywhere_is_incomplete(size: int, mask: bytes | None) -> None:
    frame = build.websocket(b"x" * size, mask=mask)
    header = websocket_frame_header(frame)[0]
    assert {websocket_frame_header(frame[:cut])[0] for cut in range(header)} == {INCOMPLETE}


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_an_opcode_nobody_defined_is_malformed(opcode: int) -> None:
    assert websocket_frame_header(build.websocket(b"x", opcode))[0] == MALFORMED


@pytest.mark.parametrize("opcode", [8, 9, 10])
def test_a_control_frame_in_pieces_or_too_long_is_malformed(opcode: int) -> None:
    assert websocket_frame_header(build.websocket(b"", opcode, final=False))[0] == MALFORMED
    assert websocket_frame_header(build.websocket(b"x" * 126, opcode))[0] == MALFORMED
    assert websocket_frame_header(build.websocket(b"x" * 125, opcode))[0] == 2


def test_a_length_of_2_to_the_63_is_malformed_and_one_below_is_not() -> None:
    """T06: frame of length 2^63."""
    assert websocket_frame_header(b"\x82\x7f" + (2**63).to_bytes(8))[0] == MALFORMED
    assert websocket_frame_header(b"\x82\x7f" + (2**63 - 1).to_bytes(8)) == (10, 2, True, 0, None, 2**63 - 1)


def test_reserved_bits_are_reported() -> None:
    assert websocket_frame_header(build.websocket(b"x", reserved=4))[3] == 4


def test_unmasking_is_its_own_inverse_at_any_position_and_length() -> None:
    dice = random.Random(9)
    for size in (0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 100, 1001):
        for position in (0, 1, 2, 3, 5, 2**40 + 1):
            clear = dice.randbytes(size)
            expected = bytes(byte ^ MASK[(position + at) & 3] for at, byte in enumerate(clear))
            assert unmask(clear, MASK, position) == expected
            assert unmask(expected, MASK, position) == clear

"""RTP packets read and written: what each shape says, what is refused, and header extensions in both forms."""

from __future__ import annotations

from typing import Any

import pytest

from engine._native import jitter as native
from tests.data import rtp_builder as build
from tests.oracle import rtp_packet_twin as twin

HEAD = b"\x80\x00\x12\x34\x00\x00\x03\x20\xde\xad\xbe\xef"


def test_a_plain_packet_is_read_field_by_field() -> None:
    assert native.read(HEAD + b"abcd") == (0, 0x1234, 800, 0xDEADBEEF, b"abcd", False, (), 0, None, 0)


def test_a_packet_with_all_parts_is_read_field_by_field() -> None:
    packet = b"\xb2\xe5\xff\xff\xff\xff\xff\xff\x00\x00\x00\x01" + b"\x00\x00\x00\x07\xf0\x00\x00\x08" + b"\xbe\xde\x00\x01\x10\xaa\x00\x00" + b"xyz\x00\x00\x03"
    assert native.read(packet) == (101, 65535, 2**32 - 1, 1, b"xyz", True, (7, 0xF0000008), 0xBEDE, b"\x10\xaa\x00\x00", 3)


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        *((HEAD[:length], f"{length} bytes") for length in range(12)),
        *((bytes([version << 6]) + HEAD[1:] + b"abcd", f"version {version}") for version in (0, 1, 3)),
        (b"\x8f" + HEAD[1:], "15 CSRCs that are not there"),
        (b"\x8f" + HEAD[1:] + bytes(59), "the last CSRC is short of a byte"),
        (b"\x90" + HEAD[1:], "no extension behind the X bit"),
        (b"\x90" + HEAD[1:] + b"\xbe\xde\x00", "an extension head of 3 bytes"),
        (b"\x90" + HEAD[1:] + b"\xbe\xde\x00\x01abc", "an extension short of a byte"),
        (b"\x90" + HEAD[1:] + b"\xbe\xde\xff\xff" + bytes(100), "an extension of 65,535 words"),
        (b"\x90" + HEAD[1:] + b"\xbe\xde\x01\x01" + bytes(4 * 257), "an extension of 257 words"),
        (b"\x91" + HEAD[1:] + b"\xbe\xde\x00\x00", "a CSRC where the extension should be"),
        (b"\xa0" + HEAD[1:], "padding of an empty packet"),
        (b"\xa0" + HEAD[1:] + b"abc\x00", "padding of 0"),
        (b"\xa0" + HEAD[1:] + b"abc\x05", "padding longer than the payload"),
        (b"\xa0" + HEAD[1:] + b"abc\x10", "padding as long as the packet"),
        (b"\xb0" + HEAD[1:] + b"\xbe\xde\x00\x01abc\x05", "padding inside the extension"),
        (HEAD + bytes(65524), "more bytes than a datagram has"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_malformed_is_refused_alone_and_in_a_batch(packet: bytes, why: str) -> None:
    assert native.read(packet) is None
    good = HEAD + b"good"
    assert native.read_batch([good, packet, good]) == [twin.read(good), None, twin.read(good)]


def test_the_edges_of_what_fits_are_read() -> None:
    for packet in (
        HEAD,
        b"\x8f" + HEAD[1:] + bytes(60),
        b"\x90" + HEAD[1:] + b"\xbe\xde\x00\x00",
        b"\x90" + HEAD[1:] + b"\xbe\xde\x01\x00" + bytes(4 * 256),
        b"\xa0" + HEAD[1:] + b"abc\x04",
        b"\xa0" + HEAD[1:] + bytes(254) + b"\xff",
        HEAD + bytes(65523),
    ):
        assert native.read(packet) == twin.read(packet) is not None


def test_a_batch_says_of_each_what_reading_it_alone_says() -> None:
    packets = [build.rtp(k, 160 * k, bytes(k), payload_type=k % 128, marker=k % 3 == 0)[: 400 - k] for k in range(300)]
    packets[7::31] = [b"\x00" * 40] * len(packets[7::31])
    assert native.read_batch(packets) == [twin.read(packet) for packet in packets]
    assert native.read_batch([]) == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (HEAD, "rtp"),
        (HEAD[:11], "other"),
        (b"\x80\xc8\x00\x06" + bytes(24), "rtcp"),
        (b"\x80\xbf" + HEAD[2:], "rtp"),
        (b"\x80\xc0\x00\x00", "rtcp"),
        (b"\x81\xdf\x00\x00", "rtcp"),
        (b"\x80\xe0" + HEAD[2:], "rtp"),
        (b"\x80\x48" + HEAD[2:], "rtp"),  # payload type 72 without marker is not in RTCP's range
        (b"\xbf\xc9\x00\x01" + bytes(4), "rtcp"),
        (b"\x80\xc8\x00", "other"),
        (b"\x7f" + HEAD[1:], "other"),
        (b"\xc0" + HEAD[1:], "other"),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), "stun"),
        (b"\x03\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), "stun"),
        (b"\x04\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), "other"),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(11), "other"),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x43" + bytes(12), "other"),
        (b"\x14" + bytes(12), "dtls"),
        (b"\x3f" + bytes(12), "dtls"),
        (b"\x13" + bytes(12), "other"),
        (b"\x40" + bytes(12), "other"),
        (b"\x16" + bytes(11), "other"),
        (b"", "other"),
    ],
)
def test_first_bytes_tell_what_a_datagram_is(data: bytes, kind: str) -> None:
    assert native.kind(data) == kind == twin.kind(data)


# ---- header extensions ----


def with_extension(profile: int, extension: bytes) -> bytes:
    return build.rtp(1, 2, b"x", extension=(profile, extension))


@pytest.mark.parametrize(
    ("extension", "found"),
    [
        (b"\x10\xaa\x00\x00", {1: b"\xaa"}),
        (b"\x10\xaa\x21\xbb\xbc\x00\x00\x33\x01\x02\x03\x04", {1: b"\xaa", 2: b"\xbb\xbc", 3: b"\x01\x02\x03\x04"}),  # RFC 8285 §4.2's example
        (b"\x00\x00\xe0\xaa", {14: b"\xaa"}),
        (b"\x2f" + bytes(range(16)) + b"\x00\x00\x00", {2: bytes(range(16))}),
        (b"\x13\xaa\xbb\xcc", {}),  # runs over the end
        (b"\x10\xaa\x23\xbb", {1: b"\xaa"}),
        (b"\xf0\xaa\x10\xbb", {}),  # id 15 ends it, whatever its length
        (b"\x10\xaa\xf0\x00\x20\xcc\x00\x00", {1: b"\xaa"}),
        (b"\x01\xaa\xbb\x10\xcc\x00\x00\x00", {}),  # id 0 with a length ends it
        (b"\x10\xaa\x10\xbb", {1: b"\xaa"}),
        (b"\x00\x00\x00\x00", {}),
        (b"", {}),
    ],
)
def test_elements_of_the_one_byte_form(extension: bytes, found: dict[int, bytes]) -> None:
    packet = with_extension(0xBEDE, extension)
    assert {identity: value for identity in range(256) if (value := native.extension(packet, identity)) is not None} == found
    assert twin.elements(0xBEDE, extension) == found


@pytest.mark.parametrize("application_bits", [0, 5, 15])
@pytest.mark.parametrize(
    ("extension", "found"),
    [
        (b"\x01\x00\x02\x01\xbb\x00\x03\x04\x01\x02\x03\x04", {1: b"", 2: b"\xbb", 3: b"\x01\x02\x03\x04"}),  # RFC 8285 §4.3's example
        (b"\x0f\x01\xaa\x00", {15: b"\xaa"}),
        (b"\xff\x02\xaa\xbb", {255: b"\xaa\xbb"}),
        (b"\x00\x00\x00\x09", {}),  # an id without its length
        (b"\x00\x00\x09\x00", {9: b""}),
        (b"\x09\x03\xaa\xbb", {}),
        (b"\x07\x00\x09\xff", {7: b""}),
        (b"\x07\xff" + bytes(range(255)) + b"\x00\x00\x00", {7: bytes(range(255))}),
    ],
)
def test_elements_of_the_two_byte_form(extension: bytes, found: dict[int, bytes], application_bits: int) -> None:
    profile = 0x1000 + application_bits
    packet = with_extension(profile, extension)
    assert {identity: value for identity in range(256) if (value := native.extension(packet, identity)) is not None} == found
    assert twin.elements(profile, extension) == found


@pytest.mark.parametrize("profile", [0, 0xBEDF, 0x0FFF, 0x1010, 0xFFFF])
def test_an_extension_of_another_profile_has_no_elements(profile: int) -> None:
    assert native.extension(with_extension(profile, b"\x10\xaa\x00\x00"), 1) is None


def test_a_packet_without_extension_has_no_elements() -> None:
    assert native.extension(HEAD, 1) is None
    with pytest.raises(ValueError):
        native.extension(HEAD[:11], 1)


# ---- writing ----


@pytest.mark.parametrize(
    "fields",
    [
        (0, 0, 0, 0, b"", False, (), 0, None, 0),
        (127, 65535, 2**32 - 1, 2**32 - 1, b"payload", True, tuple(range(15)), 0xBEDE, bytes(4 * 256), 255),
        (8, 1, 2, 3, b"x", False, (9,), 7, b"", 1),
        (8, 1, 2, 3, b"x" * 65523, False, (), 0, None, 0),
        (8, 1, 2, 3, b"", False, (), 0, None, 4),
    ],
)
def test_a_packet_is_written_as_the_twin_writes_it_and_read_back(fields: Any) -> None:
    payload_type, sequence, timestamp, ssrc, payload, marker, csrc, profile, extension, padding = fields
    options = {"marker": marker, "csrc": csrc, "extension_profile": profile, "extension": extension, "padding": padding}
    written = native.write(payload_type, sequence, timestamp, ssrc, payload, **options)
    assert written == twin.write(fields)
    assert native.read(written) == fields
    assert native.write(payload_type, sequence, timestamp, ssrc, payload, room=len(written), **options) == written
    for room in {0, 11, 12, len(written) - 1} - {len(written)}:
        with pytest.raises(BufferError):
            native.write(payload_type, sequence, timestamp, ssrc, payload, room=room, **options)


@pytest.mark.parametrize(
    "wrong",
    [
        {"payload_type": 128},
        {"payload_type": -1},
        {"sequence": 65536},
        {"timestamp": 2**32},
        {"ssrc": -1},
        {"csrc": range(16)},
        {"extension": b"abc"},
        {"extension": bytes(4 * 257)},
        {"padding": 256},
        {"payload": bytes(65524)},
        {"payload": bytes(65500), "padding": 24},
    ],
)
def test_numbers_that_no_packet_can_have_are_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"payload_type": 0, "sequence": 0, "timestamp": 0, "ssrc": 0, "payload": b""}
    with pytest.raises(ValueError):
        native.write(**(right | wrong))


def test_heads_of_a_batch_go_on_over_both_wraps_and_leave_the_payload_alone() -> None:
    packets = [bytearray(b"\xaa" * (12 + k % 5)) for k in range(40)]
    native.head_batch(packets, 0x88, 65530, 2**32 - 480, 160, 0xDEADBEEF)
    for k, packet in enumerate(packets):
        expected = twin.write((8, (65530 + k) % 65536, (2**32 - 480 + 160 * k) % 2**32, 0xDEADBEEF, b"\xaa" * (k % 5), False, (), 0, None, 0))
        assert bytes(packet) == expected
    with pytest.raises(ValueError):
        native.head_batch([bytearray(12), bytearray(11)], 0, 0, 0, 0, 0)
    with pytest.raises(BufferError):
        native.head_batch([b"x" * 12], 0, 0, 0, 0, 0)  # type: ignore[list-item]

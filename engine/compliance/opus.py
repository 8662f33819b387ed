"""Silence in Ogg files of Opus (RFC 7845): packets of what must not be heard become packets of silence that are as long; all other pages stay bit by bit.

The packet behind a stretch goes too: it may carry the one before it once more, as forward error correction (RFC 6716 2.1.7).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from engine.compliance.errors import NotRedactable

RATE_HZ: Final = 48_000
PAGE: Final = struct.Struct("<4sBBqIIIB")
PAGE_MAX_BYTES: Final = 27 + 255 + 255 * 255
CONTINUED: Final = 1
FRAMES_MAX: Final = 48
# By the configuration of a packet (RFC 6716 table 2): samples of a frame at 48 kHz.
_SILK, _HYBRID, _CELT = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)
FRAME_SAMPLES: Final = (*_SILK * 3, *_HYBRID * 2, *_CELT * 4)
# Full-band CELT with the silence symbol, for each length of a frame that it has.
SILENT_CONFIGURATIONS: Final = ((960, 31), (480, 30), (240, 29), (120, 28))
SILENT_FRAME: Final = b"\xff\xfe"
_CRC: Final = [0] * 256
for _byte in range(256):
    _value = _byte << 24
    for _ in range(8):
        _value = (_value << 1 ^ (0x04C11DB7 if _value & 0x80000000 else 0)) & 0xFFFFFFFF
    _CRC[_byte] = _value


def checksum(page: bytes) -> int:
    """Of a page whose own is zero (RFC 3533 6)."""
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
    return crc


def samples_of(packet: bytes) -> int:
    """How long a packet is, at 48 kHz (RFC 6716 3.1, 3.2); 0 for what is none."""
    if not packet:
        return 0
    code = packet[0] & 3
    frames = 1 if code == 0 else 2 if code < 3 else packet[1] & 63 if len(packet) > 1 else 0
    return min(frames, FRAMES_MAX) * FRAME_SAMPLES[packet[0] >> 3]


def silent(packet: bytes) -> bytes:
    """A packet of silence as long as this one."""
    samples = samples_of(packet)
    for length, configuration in SILENT_CONFIGURATIONS:
        if samples and samples % length == 0 and samples // length <= FRAMES_MAX:
            frames = samples // length
            head = configuration << 3 | (packet[0] & 4)
            return bytes([head]) + SILENT_FRAME if frames == 1 else bytes([head | 3, frames]) + SILENT_FRAME * frames
    raise NotRedactable("a packet of Opus has no length")


def pages(fd: int) -> Iterator[tuple[bytes, int]]:
    """Each page of a file, and its granule position. Raises NotRedactable."""
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        page = os.pread(fd, PAGE_MAX_BYTES, at)
        if len(page) < 27 or page[:5] != b"OggS\0" or len(page) < 27 + page[26]:
            raise NotRedactable(f"at byte {at} begins no page of Ogg")
        length = 27 + page[26] + sum(page[27 : 27 + page[26]])
        if length > len(page):
            raise NotRedactable(f"the page at byte {at} is cut off")
        yield page[:length], int(PAGE.unpack_from(page)[3])
        at += length


def packets_of(page: bytes) -> list[bytes]:
    """The packets of a page, of which none may begin or end elsewhere. Raises NotRedactable."""
    lacing, at = page[27 : 27 + page[26]], 27 + page[26]
    if page[5] & CONTINUED or (lacing and lacing[-1] == 255):
        raise NotRedactable("a packet lies on two pages")
    found, begin = [], at
    for length in lacing:
        at += length
        if length < 255:
            found.append(page[begin:at])
            begin = at
    return found


def page_of(page: bytes, packets: Sequence[bytes]) -> bytes:
    """The page with other packets."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    made = page[:22] + bytes(4) + bytes([len(lacing)]) + lacing + b"".join(packets)
    return made[:22] + struct.pack("<I", checksum(made)) + made[26:]


def silenced(fd: int, stretches: Sequence[tuple[int, int]]) -> Iterator[tuple[bytes, int]]:
    """The pages of a file with silence from the first to behind the last of these samples at 48 kHz, and how many of each page's samples are silence now.
    Raises NotRedactable for what is not one stream of Opus."""
    serial, number, is_behind = -1, 0, False
    for page, granule in pages(fd):
        if number == 0:
            serial = PAGE.unpack_from(page)[4]
            if page[27 + page[26] :][:8] != b"OpusHead":
                raise NotRedactable("it is no file of Opus")
            (skip,) = struct.unpack_from("<H", page, 27 + page[26] + 10)
        elif PAGE.unpack_from(page)[4] != serial:
            raise NotRedactable("it has several streams")
        number += 1
        if number <= 2:
            yield page, 0
            continue
        packets = packets_of(page)
        lengths = [samples_of(packet) for packet in packets]
        begin = granule - skip - sum(lengths)
        hidden = 0
        for place, length in enumerate(lengths):
            inside = any(first < begin + length and begin < last for first, last in stretches)
            if inside or is_behind:
                packets[place] = silent(packets[place])
                hidden += length
            is_behind = inside
            begin += length
        yield (page_of(page, packets), hidden) if hidden else (page, 0)


__all__ = ["RATE_HZ", "checksum", "packets_of", "page_of", "pages", "samples_of", "silenced", "silent"]

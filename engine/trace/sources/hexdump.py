"""Packets as hex: tcpdump -X/-xx, Wireshark's bytes pane and `tshark -x`, text2pcap's input, od."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.sources.base import AnyFrame, Frame, Mark, PacketFrame, Region, line_format
from engine.trace.stamps import epoch_ns

_ROW = re.compile(
    rb"[ \t]{0,8}(?:0x)?(?P<at>[0-9a-fA-F]{4,8}):?[ \t]{1,2}"
    rb"(?P<bytes>[0-9a-fA-F]{4}(?: [0-9a-fA-F]{4}){0,15}(?: [0-9a-fA-F]{2})?"
    rb"|[0-9a-fA-F]{2}(?: {1,2}[0-9a-fA-F]{2}){0,31})(?=[ \t\r\n]|\Z)"
)


def _rows(region: Region) -> bytes:
    """The bytes of one dump: rows whose offsets follow one another."""
    content, end = region.content, region.end
    position = region.line
    packet = bytearray()
    while position < end:
        newline = content.find(b"\n", position, end)
        following = newline + 1 if newline >= 0 else end
        found = _ROW.match(content, position, following)
        if found is None:
            break
        at = int(found["at"], 16)
        if at != len(packet):
            if at < len(packet) and len(packet) - at < 16:
                del packet[at:]  # the character column had been taken for bytes
            elif not _is_od(found["at"], len(packet)):
                break
        packet += bytes.fromhex(found["bytes"].decode().replace(" ", ""))
        position = following
        if len(packet) > 1 << 18:
            break
    return bytes(packet)


def _is_od(offset: bytes, count: int) -> bool:
    """Whether `offset` is `count` the way od writes it: in octal, or in decimal (`-A d`)."""
    return offset.isdigit() and (
        int(offset) == count or (not offset.strip(b"01234567") and int(offset, 8) == count)
    )


def link_type(packet: bytes) -> int | None:
    """How a packet without a file header begins: 101 raw IP, 1 Ethernet, 113 or 276 Linux cooked; None for none."""
    is_v4 = (
        len(packet) >= 20
        and packet[0] >> 4 == 4
        and packet[0] & 15 >= 5
        and packet[9] in (4, 6, 17, 41, 47, 132)
    )
    if is_v4 and int.from_bytes(packet[2:4], "big") >= 20:
        return 101
    if len(packet) >= 40 and packet[0] >> 4 == 6 and packet[6] in (0, 6, 17, 43, 44, 60, 132):
        return 101
    if packet[12:14] in (b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x88\x64", b"\x88\x47"):
        return 1
    if packet[14:16] in (b"\x08\x00", b"\x86\xdd"):
        return 113
    if packet[:2] in (b"\x08\x00", b"\x86\xdd") and len(packet) >= 40:
        return 276
    return None


_EPOCH = re.compile(rb"\n {4}\[?Epoch (?:Arrival )?Time: (\d{1,10}\.\d{1,9})")
_DERIVED = re.compile(rb"\n(?:Reassembled|De-chunked|Uncompressed)[^\n]{0,80}:[ \t]*\r?\n\Z")


def _time(region: Region, above: bytes) -> tuple[int | None, bool]:
    """From the dissection this dump belongs to, else from one of the two lines above it."""
    if found := _EPOCH.search(region.before):
        return epoch_ns(found[1]), True
    if region.before:
        return region.clock.find(region.before.partition(b"\n")[0])
    for line in reversed(above.rsplit(b"\n", 3)[-3:]):
        if not _ROW.match(line):
            moment, known = region.clock.find(line)
            if moment is not None:
                return moment, known
    return None, True


def _read(region: Region) -> Iterator[AnyFrame]:
    packet = _rows(region)
    above = region.content[max(0, region.line - 600) : region.line]
    if _DERIVED.search(above):
        return
    moment, known = _time(region, above)
    if packet.startswith(b"SIP/2.0 ") or (packet[:3].isalpha() and b" SIP/2.0\r\n" in packet[:2048]):
        text = packet[: region.options.max_message_bytes]
        yield Frame(text, moment, None, None, None, 0, region.line, date_known=known)
        return
    link = link_type(packet)
    if link is not None and len(packet) >= 28:
        yield PacketFrame(packet, moment, link, region.line)


FORMAT = line_format(
    "hexdump",
    "packets in hex",
    Mark(
        b"0000",
        re.compile(
            rb"\n[ \t]{0,8}(?:0x)?0{4,8}:?[ \t]{1,2}(?:[0-9a-fA-F]{2} |[0-9a-fA-F]{4} )[0-9a-fA-F]{2}"
        ),
        whole=_read,
        replaces=True,
        weight=0.6,
    ),
    suffixes=(".hex", ".txt"),
)

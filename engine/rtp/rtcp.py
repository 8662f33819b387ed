"""RTCP packets as values: a compound read and written whole (RFC 3550 §6, 3611, 4585, 5506).

For tests and tools. The engine's own sessions are in `engine._native.rtp_session`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
GOODBYE: Final = 203
APPLICATION: Final = 204
TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206
EXTENDED_REPORT: Final = 207
CNAME: Final = 1
_REFERENCE_TIME, _LAST_REFERENCE, _VOIP_METRICS = 4, 5, 7
_VOIP = struct.Struct(">I4B4H4B4BBx3H")


class MalformedRtcp(ValueError):
    """Bytes that are no RTCP compound."""


class ReportBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What was received from `ssrc` (§6.4.1). `fraction_lost` of 256, `jitter` in clock units, `last_sr` the middle 32 bits of an NTP time,
    `delay_since_last_sr` in 1/65536 s."""

    ssrc: int
    fraction_lost: int = 0
    lost: int = 0
    highest_sequence: int = 0
    jitter: int = 0
    last_sr: int = 0
    delay_since_last_sr: int = 0


class SenderReport(msgspec.Struct, frozen=True, kw_only=True):
    """SR (§6.4.1). `ntp` is the 64-bit time; `extension` what a profile adds behind the blocks."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()
    extension: bytes = b""


class ReceiverReport(msgspec.Struct, frozen=True, kw_only=True):
    """RR (§6.4.2)."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()
    extension: bytes = b""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Items (type, text) of one source in an SDES."""

    ssrc: int
    items: tuple[tuple[int, bytes], ...] = ()

    @property
    def cname(self) -> bytes | None:
        """Its canonical name."""
        return next((text for kind, text in self.items if kind == CNAME), None)


class SourceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """SDES (§6.5)."""

    chunks: tuple[Chunk, ...] = ()


class Bye(msgspec.Struct, frozen=True, kw_only=True):
    """BYE (§6.6). `reason` is None where there is none."""

    ssrcs: tuple[int, ...] = ()
    reason: bytes | None = None


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """APP (§6.7)."""

    ssrc: int
    name: bytes
    subtype: int = 0
    data: bytes = b""


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """RTPFB or PSFB by `kind` (RFC 4585 §6.1). `control` is the feedback control information."""

    kind: int
    format: int
    ssrc: int
    media_ssrc: int
    control: bytes = b""


class VoipMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 3611 §4.7, in its units: rates and densities of 256, times in ms, levels in dBm0, 127 where a figure is not known."""

    ssrc: int
    loss: int = 0
    discard: int = 0
    burst_density: int = 0
    gap_density: int = 0
    burst_ms: int = 0
    gap_ms: int = 0
    round_trip_ms: int = 0
    end_system_ms: int = 0
    signal_level: int = 127
    noise_level: int = 127
    echo_return_loss: int = 127
    g_min: int = 16
    r_factor: int = 127
    external_r_factor: int = 127
    mos_lq: int = 127
    mos_cq: int = 127
    receiver: int = 0
    jitter_ms: int = 0
    jitter_max_ms: int = 0
    jitter_absolute_max_ms: int = 0


class ReferenceTime(msgspec.Struct, frozen=True, kw_only=True):
    """RRTR (RFC 3611 §4.4)."""

    ntp: int


class LastReference(msgspec.Struct, frozen=True, kw_only=True):
    """DLRR (RFC 3611 §4.5): (SSRC, last RRTR's middle 32 bits, delay since in 1/65536 s) of each receiver."""

    answers: tuple[tuple[int, int, int], ...] = ()


class OtherBlock(msgspec.Struct, frozen=True, kw_only=True):
    """An XR block of another kind."""

    kind: int
    specific: int
    body: bytes = b""


ExtendedBlock = VoipMetrics | ReferenceTime | LastReference | OtherBlock


class ExtendedReport(msgspec.Struct, frozen=True, kw_only=True):
    """XR (RFC 3611)."""

    ssrc: int
    blocks: tuple[ExtendedBlock, ...] = ()


class Other(msgspec.Struct, frozen=True, kw_only=True):
    """A packet of another type between 192 and 223, unread behind its first word."""

    kind: int
    count: int
    body: bytes = b""


Packet = SenderReport | ReceiverReport | SourceDescription | Bye | Application | Feedback | ExtendedReport | Other


# ---- read ----


def _unpack(layout: str, body: bytes, offset: int = 0) -> tuple[int, ...]:
    if len(body) - offset < struct.calcsize(layout):
        raise MalformedRtcp(f"{len(body)} bytes are too few")
    return struct.unpack_from(layout, body, offset)


def _block(body: bytes, offset: int) -> ReportBlock:
    ssrc, loss, highest, jitter, last_sr, delay = _unpack(">6I", body, offset)
    lost = loss & 0xFFFFFF
    return ReportBlock(
        ssrc=ssrc, fraction_lost=loss >> 24, lost=lost - (1 << 24) if lost >> 23 else lost, highest_sequence=highest, jitter=jitter,
        last_sr=last_sr, delay_since_last_sr=delay,
    )  # fmt: skip


def _sender_report(count: int, body: bytes) -> SenderReport:
    ssrc, ntp, timestamp, packets, octets = _unpack(">IQ3I", body)
    blocks = tuple(_block(body, 24 + 24 * k) for k in range(count))
    extension = body[24 + 24 * count :]
    return SenderReport(ssrc=ssrc, ntp=ntp, timestamp=timestamp, packets=packets, octets=octets, blocks=blocks, extension=extension)


def _receiver_report(count: int, body: bytes) -> ReceiverReport:
    blocks = tuple(_block(body, 4 + 24 * k) for k in range(count))
    return ReceiverReport(ssrc=_unpack(">I", body)[0], blocks=blocks, extension=body[4 + 24 * count :])


def _source_description(count: int, body: bytes) -> SourceDescription:
    chunks, at = [], 0
    for _ in range(count):
        (ssrc,) = _unpack(">I", body, at)
        at, items = at + 4, []
        while _unpack(">B", body, at)[0]:
            kind, length = _unpack(">BB", body, at)
            text = body[at + 2 : at + 2 + length]
            if len(text) < length:
                raise MalformedRtcp("an SDES item is longer than its packet")
            items.append((kind, text))
            at += 2 + length
        at += 4 - at % 4
        chunks.append(Chunk(ssrc=ssrc, items=tuple(items)))
    return SourceDescription(chunks=tuple(chunks))


def _bye(count: int, body: bytes) -> Bye:
    ssrcs, rest = _unpack(f">{count}I", body), body[4 * count :]
    if rest and len(rest) - 1 < rest[0]:
        raise MalformedRtcp("the reason of a BYE is longer than its packet")
    return Bye(ssrcs=ssrcs, reason=rest[1 : 1 + rest[0]] if rest else None)


def _application(count: int, body: bytes) -> Application:
    (ssrc, _) = _unpack(">II", body)
    return Application(ssrc=ssrc, name=body[4:8], subtype=count, data=body[8:])


def _feedback(kind: int) -> Callable[[int, bytes], Feedback]:
    def read_one(count: int, body: bytes) -> Feedback:
        ssrc, media_ssrc = _unpack(">II", body)
        control = body[8:]
        nack, reference = (kind, count) == (TRANSPORT_FEEDBACK, 1), (kind, count) == (PAYLOAD_FEEDBACK, 3)
        if (nack or reference) and not control:
            raise MalformedRtcp("feedback without its control information")
        if reference and control[0] > 8 * (len(control) - 2):
            raise MalformedRtcp("more padding bits than there are")
        return Feedback(kind=kind, format=count, ssrc=ssrc, media_ssrc=media_ssrc, control=control)

    return read_one


def _extended_block(kind: int, specific: int, body: bytes) -> ExtendedBlock:
    if kind == _VOIP_METRICS:
        if len(body) != _VOIP.size:
            raise MalformedRtcp("VoIP metrics of a wrong length")
        return VoipMetrics(**dict(zip(VoipMetrics.__struct_fields__, _VOIP.unpack(body), strict=True)))
    if kind == _REFERENCE_TIME:
        if len(body) != 8:
            raise MalformedRtcp("a reference time of a wrong length")
        return ReferenceTime(ntp=_unpack(">Q", body)[0])
    if kind == _LAST_REFERENCE:
        if len(body) % 12:
            raise MalformedRtcp("last references of a wrong length")
        return LastReference(answers=tuple(struct.iter_unpack(">3I", body)))
    return OtherBlock(kind=kind, specific=specific, body=body)


def _extended_report(_count: int, body: bytes) -> ExtendedReport:
    (ssrc,) = _unpack(">I", body)
    blocks, at = [], 4
    while at < len(body):
        kind, specific, words = _unpack(">BBH", body, at)
        content = body[at + 4 : at + 4 + 4 * words]
        if len(content) < 4 * words:
            raise MalformedRtcp("an XR block is longer than its packet")
        blocks.append(_extended_block(kind, specific, content))
        at += 4 + 4 * words
    return ExtendedReport(ssrc=ssrc, blocks=tuple(blocks))


_READERS: Final[dict[int, Callable[[int, bytes], Packet]]] = {
    SENDER_REPORT: _sender_report,
    RECEIVER_REPORT: _receiver_report,
    SOURCE_DESCRIPTION: _source_description,
    GOODBYE: _bye,
    APPLICATION: _application,
    TRANSPORT_FEEDBACK: _feedback(TRANSPORT_FEEDBACK),
    PAYLOAD_FEEDBACK: _feedback(PAYLOAD_FEEDBACK),
    EXTENDED_REPORT: _extended_report,
}


def read(data: bytes, *, reduced: bool = False) -> tuple[Packet, ...]:
    """The packets of a compound, in order, padding left out.

    Raises MalformedRtcp where a version, type, length, count, item or block does not fit, and, unless `reduced` (RFC 5506), where the first
    packet is neither SR nor RR (RFC 3550 A.2).
    """
    if len(data) < 8 or (not reduced and data[1] not in (SENDER_REPORT, RECEIVER_REPORT)):
        raise MalformedRtcp("a compound begins with a report")
    packets: list[Packet] = []
    rest = data
    while rest:
        first, kind, words = _unpack(">BBH", rest)
        size = 4 + 4 * words
        if first >> 6 != 2 or not 192 <= kind <= 223 or size > len(rest):
            raise MalformedRtcp("no RTCP header, or a length past the end")
        body, rest = rest[4:size], rest[size:]
        if first & 0x20:
            padding = body[-1] if body else 0
            if rest or not padding or padding % 4 or padding > len(body):
                raise MalformedRtcp("padding that does not fit")
            body = body[:-padding]
        reader = _READERS.get(kind)
        packets.append(reader(first & 31, body) if reader else Other(kind=kind, count=first & 31, body=body))
    return tuple(packets)


# ---- written ----


def _words(body: bytes) -> bytes:
    return body + bytes(-len(body) % 4)


def _blocks(blocks: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        struct.pack(">6I", b.ssrc, b.fraction_lost << 24 | b.lost & 0xFFFFFF, b.highest_sequence, b.jitter, b.last_sr, b.delay_since_last_sr)
        for b in blocks
    )


def _chunk(chunk: Chunk) -> bytes:
    items = b"".join(bytes([kind, len(text)]) + text for kind, text in chunk.items)
    return struct.pack(">I", chunk.ssrc) + _words(items + b"\0")


def _extended(block: ExtendedBlock) -> bytes:
    if isinstance(block, VoipMetrics):
        kind, specific, body = _VOIP_METRICS, 0, _VOIP.pack(*msgspec.structs.astuple(block))
    elif isinstance(block, ReferenceTime):
        kind, specific, body = _REFERENCE_TIME, 0, struct.pack(">Q", block.ntp)
    elif isinstance(block, LastReference):
        kind, specific, body = _LAST_REFERENCE, 0, b"".join(struct.pack(">3I", *answer) for answer in block.answers)
    else:
        kind, specific, body = block.kind, block.specific, _words(block.body)
    return struct.pack(">BBH", kind, specific, len(body) // 4) + body


def _content(packet: Packet) -> tuple[int, int, bytes]:
    """Type, count and what follows the first word."""
    if isinstance(packet, SenderReport):
        body = struct.pack(">IQ3I", packet.ssrc, packet.ntp, packet.timestamp, packet.packets, packet.octets)
        return SENDER_REPORT, len(packet.blocks), body + _blocks(packet.blocks) + packet.extension
    if isinstance(packet, ReceiverReport):
        return RECEIVER_REPORT, len(packet.blocks), struct.pack(">I", packet.ssrc) + _blocks(packet.blocks) + packet.extension
    if isinstance(packet, SourceDescription):
        return SOURCE_DESCRIPTION, len(packet.chunks), b"".join(map(_chunk, packet.chunks))
    if isinstance(packet, Bye):
        reason = b"" if packet.reason is None else bytes([len(packet.reason)]) + packet.reason
        return GOODBYE, len(packet.ssrcs), struct.pack(f">{len(packet.ssrcs)}I", *packet.ssrcs) + reason
    if isinstance(packet, Application):
        return APPLICATION, packet.subtype, struct.pack(">I4s", packet.ssrc, packet.name) + packet.data
    if isinstance(packet, Feedback):
        return packet.kind, packet.format, struct.pack(">II", packet.ssrc, packet.media_ssrc) + packet.control
    if isinstance(packet, ExtendedReport):
        return EXTENDED_REPORT, 0, struct.pack(">I", packet.ssrc) + b"".join(map(_extended, packet.blocks))
    return packet.kind, packet.count, packet.body


def write(packets: Iterable[Packet], *, padding: int = 0) -> bytes:
    """The compound of these packets. `padding` bytes, a multiple of four below 256, are put behind the last one. Raises struct.error or
    ValueError for numbers that have no place in their fields."""
    written = []
    contents = [_content(packet) for packet in packets]
    for place, (kind, count, body) in enumerate(contents):
        if not 0 <= count <= 31:
            raise ValueError(f"{count} does not fit into five bits")
        content, first = _words(body), 0x80 | count
        if padding and place == len(contents) - 1:
            content, first = content + bytes(padding - 1) + bytes([padding]), first | 0x20
        written.append(struct.pack(">BBH", first, kind, len(content) // 4) + content)
    return b"".join(written)


__all__ = [
    "Application",
    "Bye",
    "Chunk",
    "ExtendedReport",
    "Feedback",
    "LastReference",
    "MalformedRtcp",
    "Other",
    "OtherBlock",
    "ReceiverReport",
    "ReferenceTime",
    "ReportBlock",
    "SenderReport",
    "SourceDescription",
    "VoipMetrics",
    "read",
    "write",
]

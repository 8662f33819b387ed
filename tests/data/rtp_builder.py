"""RTP, RTCP and telephone-event packets as bytes, and whole streams with loss, jitter, reordering and duplicates
as lists of datagrams. Pure functions: values in, bytes out; what is random takes its `Random`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from random import Random
from typing import Any

MS = 1_000_000
SECOND = 1_000_000_000
START_NS = 1_700_000_000 * SECOND
CALLER, CALLEE = "10.0.0.1:20000", "192.0.2.9:30000"
DIGITS = "0123456789*#ABCD"


@dataclass(frozen=True)
class Datagram:
    """One UDP payload as a capture shows it. `dropped` marks what the network lost: builders leave it out."""

    payload: bytes
    time_ns: int
    source: str = CALLER
    target: str = CALLEE
    dscp: int = 46
    ttl: int = 64
    flow_tag: int = 0
    flags: int = 0
    rtcp: bool = False
    wire_length: int = 0

    def at(self, time_ns: int) -> Datagram:
        """The same payload at another time."""
        return replace(self, time_ns=time_ns)


def endpoint(text: str) -> tuple[bytes, int]:
    """16 address bytes (IPv4 as ::ffff:a.b.c.d) and the port of "a.b.c.d:port" or "[v6]:port"."""
    host, _, port = text.rpartition(":")
    address = ip_address(host.strip("[]"))
    packed = address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed
    return packed, int(port)


def feed(table: Any, datagrams: Iterable[Datagram], *, expected: bool = True) -> list[int]:
    """Pushes datagrams into a StreamTable; the result of each push."""
    return [
        table.push(
            d.payload,
            d.time_ns,
            endpoint(d.source),
            endpoint(d.target),
            expected=expected,
            rtcp=d.rtcp,
            dscp=d.dscp,
            ttl=d.ttl,
            flow_tag=d.flow_tag,
            flags=d.flags,
            wire_length=d.wire_length,
            number=number,
        )
        for number, d in enumerate(datagrams, 1)
    ]


# ---- RTP (RFC 3550 §5.1) ----


def rtp(
    sequence: int,
    timestamp: int,
    payload: bytes,
    *,
    payload_type: int = 0,
    ssrc: int = 0x1234ABCD,
    marker: bool = False,
    csrc: Sequence[int] = (),
    extension: tuple[int, bytes] | None = None,
    padding: int = 0,
) -> bytes:
    """One RTP packet. `extension` is its profile and content (a multiple of four bytes); `padding` counts its last
    byte."""
    first = 0x80 | (0x20 if padding else 0) | (0x10 if extension else 0) | len(csrc)
    second = payload_type & 127 | (128 if marker else 0)
    head = struct.pack(">BBHII", first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    head += b"".join(struct.pack(">I", source) for source in csrc)
    if extension:
        head += struct.pack(">HH", extension[0], len(extension[1]) // 4) + extension[1]
    return head + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


@dataclass(frozen=True)
class StreamShape:
    """A media stream of `packets` packets, every `step_ms`, before the network does anything to it."""

    packets: int = 500
    payload_type: int = 0
    clock_hz: int = 8000
    step_ms: int = 20
    payload_bytes: int = 160
    ssrc: int = 0x1234ABCD
    sequence: int = 1000
    timestamp: int = 70_000
    start_ns: int = START_NS
    source: str = CALLER
    target: str = CALLEE
    drift_ppm: float = 0.0
    dscp: int = 46
    ttl: int = 64


def speech(random: Random, count: int) -> bytes:
    """Bytes that are not all alike."""
    return bytes([random.randrange(256) for _ in range(count - 1)] + [1]) if count > 1 else bytes([7] * count)


def stream(
    shape: StreamShape, random: Random, *, content: Callable[[int], bytes] | None = None
) -> list[Datagram]:
    """The packets as sent; `content(k)` gives payload k (random bytes without it). `drift_ppm` > 0 sends slower."""
    step_ticks = shape.clock_hz * shape.step_ms // 1000
    step_ns = round(shape.step_ms * MS * (1 + shape.drift_ppm * 1e-6))
    block = speech(random, shape.payload_bytes + 64)
    sent = []
    for k in range(shape.packets):
        offset = random.randrange(64)
        body = content(k) if content else block[offset : offset + shape.payload_bytes]
        packet = rtp(
            shape.sequence + k,
            shape.timestamp + k * step_ticks,
            body,
            payload_type=shape.payload_type,
            ssrc=shape.ssrc,
            marker=k == 0,
        )
        sent.append(
            Datagram(packet, shape.start_ns + k * step_ns, shape.source, shape.target, shape.dscp, shape.ttl)
        )
    return sent


def lose(datagrams: Sequence[Datagram], places: Iterable[int]) -> list[Datagram]:
    """Without the datagrams at these places."""
    gone = set(places)
    return [d for k, d in enumerate(datagrams) if k not in gone]


def jitter(datagrams: Sequence[Datagram], random: Random, spread_ms: float) -> list[Datagram]:
    """Each delayed by 0..spread_ms, in order of arrival."""
    late = [d.at(d.time_ns + int(random.random() * spread_ms * MS)) for d in datagrams]
    return sorted(late, key=lambda d: d.time_ns)


def duplicate(
    datagrams: Sequence[Datagram], places: Iterable[int], delay_ns: int = 100_000
) -> list[Datagram]:
    """The datagrams at these places come twice."""
    twice = set(places)
    copies = [d.at(d.time_ns + delay_ns) for k, d in enumerate(datagrams) if k in twice]
    return sorted([*datagrams, *copies], key=lambda d: d.time_ns)


def swap(datagrams: Sequence[Datagram], places: Iterable[int]) -> list[Datagram]:
    """The datagram at each place comes behind its successor: they change their times."""
    result = list(datagrams)
    for k in places:
        result[k], result[k + 1] = result[k + 1].at(result[k].time_ns), result[k].at(result[k + 1].time_ns)
    return result


# ---- telephone-event (RFC 4733 §2.3) ----


def event_payload(event: int, duration: int, *, end: bool = False, volume: int = 10) -> bytes:
    """Four bytes: event, E bit and volume, duration in ticks."""
    return struct.pack(">BBH", event, (0x80 if end else 0) | volume, duration)


def digit(
    event: int,
    sequence: int,
    timestamp: int,
    time_ns: int,
    *,
    payload_type: int = 101,
    ssrc: int = 0x1234ABCD,
    durations: Sequence[int] = (160, 320, 480, 640, 800),
    ends: int = 3,
    source: str = CALLER,
    target: str = CALLEE,
) -> list[Datagram]:
    """One key press: an update every 20 ms, then the end packet `ends` times."""
    steps = [(duration, False) for duration in durations] + [(durations[-1], True)] * ends
    return [
        Datagram(
            rtp(
                sequence + k,
                timestamp,
                event_payload(event, duration, end=end),
                payload_type=payload_type,
                ssrc=ssrc,
                marker=k == 0,
            ),
            time_ns + k * 20 * MS,
            source,
            target,
        )
        for k, (duration, end) in enumerate(steps)
    ]


# ---- RTCP (RFC 3550 §6, RFC 3611) ----


def ntp(time_ns: int) -> int:
    """64-bit NTP time of nanoseconds since 1970."""
    return ((time_ns // SECOND + 2_208_988_800) << 32) | (time_ns % SECOND << 32) // SECOND


def ntp_middle(time_ns: int) -> int:
    """The middle 32 bits: what LSR and LRR carry."""
    return ntp(time_ns) >> 16 & 0xFFFFFFFF


def report_block(
    ssrc: int,
    *,
    fraction: int = 0,
    lost: int = 0,
    highest: int = 0,
    jitter: int = 0,
    lsr: int = 0,
    dlsr: int = 0,
) -> bytes:
    """One report block; `dlsr` in 1/65536 s, `lost` signed."""
    word = fraction << 24 | lost & 0xFFFFFF
    return struct.pack(">IIIIII", ssrc, word, highest, jitter, lsr, dlsr)


def _rtcp(packet_type: int, count: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0x80 | count, packet_type, len(body) // 4) + body


def sender_report(
    ssrc: int, time_ns: int, timestamp: int, packets: int, octets: int, blocks: Sequence[bytes] = ()
) -> bytes:
    """SR with its report blocks."""
    body = struct.pack(">IQIII", ssrc, ntp(time_ns), timestamp & 0xFFFFFFFF, packets, octets) + b"".join(
        blocks
    )
    return _rtcp(200, len(blocks), body)


def receiver_report(ssrc: int, blocks: Sequence[bytes] = ()) -> bytes:
    """RR with its report blocks."""
    return _rtcp(201, len(blocks), struct.pack(">I", ssrc) + b"".join(blocks))


def source_description(ssrc: int, name: bytes = b"a@example") -> bytes:
    """SDES with a CNAME, padded."""
    item = struct.pack(">I", ssrc) + bytes([1, len(name)]) + name
    return _rtcp(202, 1, item + bytes(4 - len(item) % 4))


def bye(*ssrcs: int) -> bytes:
    """BYE of these sources."""
    return _rtcp(203, len(ssrcs), b"".join(struct.pack(">I", ssrc) for ssrc in ssrcs))


def voip_metrics(
    ssrc: int,
    *,
    loss: int = 0,
    discard: int = 0,
    rtt_ms: int = 0,
    end_system_ms: int = 0,
    r: int = 127,
    mos_lq: int = 127,
    mos_cq: int = 127,
) -> bytes:
    """XR block 7 (RFC 3611 §4.7); 127 is "unavailable", MOS in tenths."""
    return struct.pack(
        ">BBHIBBBBHHHHBBBBBBBBBBHHH",
        7,
        0,
        8,
        ssrc,
        loss,
        discard,
        0,
        0,
        0,
        0,
        rtt_ms,
        end_system_ms,
        127,
        127,
        127,
        16,
        r,
        127,
        mos_lq,
        mos_cq,
        0,
        0,
        40,
        80,
        200,
    )


def reference_time(time_ns: int) -> bytes:
    """XR block 4, RRTR (RFC 3611 §4.4)."""
    return struct.pack(">BBHQ", 4, 0, 2, ntp(time_ns))


def last_reference(*entries: tuple[int, int, int]) -> bytes:
    """XR block 5, DLRR (RFC 3611 §4.5): (ssrc, LRR, DLRR) each."""
    return struct.pack(">BBH", 5, 0, 3 * len(entries)) + b"".join(
        struct.pack(">III", *entry) for entry in entries
    )


def extended_report(ssrc: int, *blocks: bytes) -> bytes:
    """XR packet of blocks."""
    return _rtcp(207, 0, struct.pack(">I", ssrc) + b"".join(blocks))


def rtcp(
    payload: bytes, time_ns: int, *, source: str = CALLER, target: str = CALLEE, mux: bool = False
) -> Datagram:
    """An RTCP datagram between two RTP endpoints: on the ports above, or on their own with `mux` (RFC 5761)."""
    if not mux:
        source, target = (
            f"{host}:{int(port) + 1}" for host, _, port in (text.rpartition(":") for text in (source, target))
        )
    return Datagram(payload, time_ns, source, target, rtcp=True)

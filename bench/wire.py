"""Packets of a made-up capture as bytes: pcap records of Ethernet, IPv4, UDP, TCP and RTP.

Signalling is built packet by packet; RTP is built a stream at a time as a numpy array of fixed-size records.
UDP checksums are zero, which IPv4 allows (RFC 768); IP and TCP checksums are right.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
RECORD = struct.Struct("<IIII")
IP_HEADER = struct.Struct(">BBHHHBBH4s4s")
UDP_HEADER = struct.Struct(">HHHH")
TCP_HEADER = struct.Struct(">HHIIBBHHH")
ETHERNET = bytes.fromhex("020000000002020000000001") + b"\x08\x00"
PROTOCOL_TCP, PROTOCOL_UDP = 6, 17
SYN, PUSH, ACK, FIN = 2, 8, 16, 1
MTU_BYTES = 1500
G711_BYTES = 160
MICROSECONDS = 1_000_000


class Endpoint(NamedTuple):
    """An IPv4 address and port; `packed` is the address in network order, `text` what stands in SIP."""

    text: bytes
    packed: bytes
    port: int


def endpoint(address: str, port: int = 5060) -> Endpoint:
    """Endpoint of a dotted address."""
    return Endpoint(address.encode(), IPv4Address(address).packed, port)


def ones_sum(payload: bytes) -> int:
    """Folded one's complement sum of big-endian 16-bit words (RFC 1071); odd lengths are padded with zero."""
    if len(payload) & 1:
        payload += b"\0"
    total: int = sum(struct.unpack(f">{len(payload) >> 1}H", payload))
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def record(time_us: int, frame: bytes) -> bytes:
    """A pcap record: microseconds since 1970, then the frame."""
    seconds, rest = divmod(time_us, MICROSECONDS)
    return RECORD.pack(seconds, rest, len(frame), len(frame)) + frame


def ip_packet(
    source: Endpoint, target: Endpoint, protocol: int, identification: int, payload: bytes, fragment: int = 0
) -> bytes:
    """Ethernet and IPv4 around a payload; `fragment` is the flags-and-offset field (RFC 791 section 3.1)."""
    fields = (0x45, 0, 20 + len(payload), identification & 0xFFFF, fragment, 64, protocol)
    bare = IP_HEADER.pack(*fields, 0, source.packed, target.packed)
    return (
        ETHERNET + IP_HEADER.pack(*fields, ~ones_sum(bare) & 0xFFFF, source.packed, target.packed) + payload
    )


def udp_records(
    time_us: int, source: Endpoint, target: Endpoint, identification: int, payload: bytes
) -> list[bytes]:
    """One record, or one per IP fragment when the datagram does not fit the MTU."""
    datagram = UDP_HEADER.pack(source.port, target.port, 8 + len(payload), 0) + payload
    room = MTU_BYTES - 20
    if len(datagram) <= room:
        return [record(time_us, ip_packet(source, target, PROTOCOL_UDP, identification, datagram))]
    step = room & ~7
    records = []
    for start in range(0, len(datagram), step):
        more = 0x2000 if start + step < len(datagram) else 0
        part = datagram[start : start + step]
        frame = ip_packet(source, target, PROTOCOL_UDP, identification, part, more | start >> 3)
        records.append(record(time_us, frame))
    return records


def tcp_record(
    time_us: int,
    ends: tuple[Endpoint, Endpoint],
    identification: int,
    numbers: tuple[int, int],
    flags: int,
    payload: bytes,
) -> bytes:
    """A TCP segment; `numbers` are the sequence and acknowledgement numbers (RFC 9293 section 3.1)."""
    source, target = ends
    sequence, acknowledged = numbers[0] & 0xFFFFFFFF, numbers[1] & 0xFFFFFFFF
    fields = (source.port, target.port, sequence, acknowledged, 5 << 4, flags, 64240)
    pseudo = source.packed + target.packed + struct.pack(">HH", PROTOCOL_TCP, 20 + len(payload))
    total = ones_sum(pseudo + TCP_HEADER.pack(*fields, 0, 0) + payload)
    segment = TCP_HEADER.pack(*fields, ~total & 0xFFFF, 0) + payload
    return record(time_us, ip_packet(source, target, PROTOCOL_TCP, identification, segment))


RTP_RECORD = np.dtype(
    [
        ("seconds", "<u4"), ("microseconds", "<u4"), ("kept", "<u4"), ("length", "<u4"),
        ("ethernet", "u1", 14),
        ("version", "u1"), ("service", "u1"), ("total", ">u2"), ("identification", ">u2"), ("fragment", ">u2"),
        ("ttl", "u1"), ("protocol", "u1"), ("checksum", ">u2"), ("source", "u1", 4), ("target", "u1", 4),
        ("source_port", ">u2"), ("target_port", ">u2"), ("udp_length", ">u2"), ("udp_checksum", ">u2"),
        ("rtp", "u1"), ("payload_type", "u1"), ("sequence_number", ">u2"), ("timestamp", ">u4"), ("ssrc", ">u4"),
        ("payload", "u1", G711_BYTES),
    ]
)  # fmt: skip


class Stream(NamedTuple):
    """What one RTP stream is made of; times in microseconds since 1970."""

    source: Endpoint
    target: Endpoint
    ssrc: int
    payload_type: int
    first_sequence_number: int
    first_timestamp: int


def rtp_records(
    stream: Stream, numbers: npt.NDArray[np.int64], arrival_us: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """Records of a G.711 stream of 20 ms packets: `numbers` the packets kept (from 0), `arrival_us` their times."""
    count = len(numbers)
    rows = np.zeros(count, RTP_RECORD)
    frame_bytes = RTP_RECORD.itemsize - RECORD.size
    rows["seconds"], rows["microseconds"] = arrival_us // MICROSECONDS, arrival_us % MICROSECONDS
    rows["kept"] = rows["length"] = frame_bytes
    rows["ethernet"] = np.frombuffer(ETHERNET, np.uint8)
    rows["version"], rows["ttl"], rows["protocol"] = 0x45, 64, PROTOCOL_UDP
    rows["total"] = frame_bytes - 14
    identification = (numbers * 3 + stream.ssrc) & 0xFFFF
    rows["identification"] = identification
    rows["source"] = np.frombuffer(stream.source.packed, np.uint8)
    rows["target"] = np.frombuffer(stream.target.packed, np.uint8)
    fixed = (0x45, 0, frame_bytes - 14, 0, 0, 64, PROTOCOL_UDP, 0, stream.source.packed, stream.target.packed)
    total = ones_sum(IP_HEADER.pack(*fixed)) + identification
    rows["checksum"] = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    rows["source_port"], rows["target_port"] = stream.source.port, stream.target.port
    rows["udp_length"] = frame_bytes - 34
    rows["rtp"] = 0x80
    rows["payload_type"] = stream.payload_type
    rows["payload_type"][:1] |= 0x80  # the marker bit of a talkspurt's first packet (RFC 3551 section 4.1)
    rows["sequence_number"] = (numbers + stream.first_sequence_number) & 0xFFFF
    rows["timestamp"] = (numbers * G711_BYTES + stream.first_timestamp) & 0xFFFFFFFF
    rows["ssrc"] = stream.ssrc
    wave = np.frombuffer(np.random.default_rng(stream.ssrc).bytes(G711_BYTES * 64), np.uint8)
    rows["payload"] = wave.reshape(64, G711_BYTES)[numbers & 63]
    return rows

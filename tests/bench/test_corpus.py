"""The generator of large captures: repeatable, well formed, and holding what it says it planted."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from bench import corpus, wire


class Packet(NamedTuple):
    """One record of a capture, taken apart the simple way."""

    time_us: int
    protocol: int
    fragment: int
    ports: tuple[int, int]
    payload: bytes
    ip: bytes


def packets(path: Path) -> list[Packet]:
    octets = path.read_bytes()
    assert octets[:24] == wire.PCAP_HEADER
    at, found = 24, []
    while at < len(octets):
        seconds, rest, kept, length = wire.RECORD.unpack_from(octets, at)
        assert kept == length
        ip = octets[at + 30 : at + 16 + length]
        assert struct.unpack_from(">H", ip, 2)[0] == len(ip)
        head = 8 if ip[9] == wire.PROTOCOL_UDP else 20
        ports = struct.unpack_from(">HH", ip, 20)
        fragment = struct.unpack_from(">H", ip, 6)[0]
        found.append(Packet(seconds * 10**6 + rest, ip[9], fragment, ports, ip[20 + head :], ip))
        at += 16 + length
    return found


@pytest.mark.parametrize("kind", ["signalling", "rtp", "mixed", "flow"])
def test_same_seed_gives_same_octets_and_another_seed_others(kind: str, tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for path, seed in ((first, 3), (again, 3), (other, 4)):
        corpus.write(path, kind, 60, seed, 1)
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


@pytest.mark.parametrize(("kind", "calls"), [("signalling", 1200), ("rtp", 60), ("mixed", 1000)])
def test_counts_are_those_of_the_capture(kind: str, calls: int, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    facts = corpus.write(path, kind, calls, 5, 2)
    assert json.loads(path.with_name("capture.json").read_text()) == facts
    read = packets(path)
    media = [packet for packet in read if packet.protocol == wire.PROTOCOL_UDP and len(packet.ip) == 200]
    media = [packet for packet in media if packet.payload[0] == 0x80 and 5060 not in packet.ports]
    assert facts["packets"] == len(read)
    assert facts.get("rtp_packets", 0) == len(media)
    streams = {packet.payload[8:12] for packet in media}
    assert len(streams) == facts.get("streams", 0)
    assert facts["fragments"] == sum(bool(packet.fragment & 0x3FFF) for packet in read)
    assert facts.get("tcp_segments", 0) == sum(packet.protocol == wire.PROTOCOL_TCP for packet in read)


def test_signalling_holds_what_was_planted(tmp_path: Path) -> None:
    facts = corpus.write(tmp_path / "capture", "signalling", 2000, 7, 0)
    texts = [packet.payload for packet in packets(tmp_path / "capture")]
    statuses = Counter(text[8:11] for text in texts if text.startswith(b"SIP/2.0 "))
    assert statuses[b"486"] == facts["defects"]["busy-486"] == 100
    assert statuses[b"488"] == facts["defects"]["no-common-codec-488"] == 20
    assert statuses[b"487"] == facts["defects"]["cancelled-487"] == 50
    assert statuses[b"503"] == facts["defects"]["unavailable-503"] == corpus.BURST_CALLS
    assert statuses[b"401"] == 6 * facts["defects"]["authentication-loop"]
    private = {text for text in texts if b"\r\nc=IN IP4 192.168." in text}
    assert len(private) == facts["defects"]["private-media-address"] == 40


@pytest.mark.parametrize("kind", ["signalling", "rtp", "mixed"])
def test_times_never_go_back_and_checksums_are_right(kind: str, tmp_path: Path) -> None:
    corpus.write(tmp_path / "capture", kind, 120, 9, 1)
    read = packets(tmp_path / "capture")
    times = [packet.time_us for packet in read]
    assert times == sorted(times)
    assert {wire.ones_sum(packet.ip[:20]) for packet in read} == {0xFFFF}
    segments = [packet.ip for packet in read if packet.protocol == wire.PROTOCOL_TCP]
    for ip in segments:
        pseudo = ip[12:20] + struct.pack(">HH", wire.PROTOCOL_TCP, len(ip) - 20)
        assert wire.ones_sum(pseudo + ip[20:]) == 0xFFFF


def test_media_damage_is_of_the_size_it_says(tmp_path: Path) -> None:
    facts = corpus.write(tmp_path / "capture", "rtp", 100, 11, 10)
    assert facts["defects"] == {"jitter": 6, "loss-8-percent": 6, "one-way-audio": 4}
    assert facts["streams"] == 2 * 100 - 4
    numbers: dict[bytes, list[int]] = {}
    for packet in packets(tmp_path / "capture"):
        if len(packet.payload) == 172:
            numbers.setdefault(packet.payload[8:12], []).append(
                struct.unpack_from(">H", packet.payload, 2)[0]
            )
    spans = [(1 + (kept[-1] - kept[0] & 0xFFFF), len(kept)) for kept in numbers.values()]
    lost = [1 - kept / span for span, kept in spans if kept < span]
    assert len(lost) == 6
    assert all(0.07 < share < 0.09 for share in lost)
    assert len({span for span, _ in spans}) > 10

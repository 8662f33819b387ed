"""RTP source statistics a packet, and RTCP compounds taken and written, on one core beside aiortc's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench import limits
from bench.measure import Row, agree
from bench.peers.program import SETUP
from bench.peers.sip_doctor import PROGRAM
from engine._native import rtp_session as native
from engine.rtp import rtcp

NAME = "aiortc"
PYTHON = PROGRAM.with_name("python")
OURS, THEIRS = 0x11111111, 0x22222222
WALL_NS = 1_700_000_000 * 10**9
CNAME = b"line@example.com"  # a length for which both end the chunk with the same zeros
SENT = (OURS, 500, 80_000, 79_840, 0, 8000)
CACHED_BYTES = 256 << 10
# Reads and writes the compound in argv, and counts packets.
SCRIPT = """
import json, sys, time
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtcpPacket, RtpPacket
compound, repeats = bytes.fromhex(sys.argv[1]), int(sys.argv[2])

def timed(work):
    best = 1e9
    for _ in range(3):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best / repeats

packets = RtcpPacket.parse(compound)
headers = [RtpPacket(sequence_number=k & 65535, timestamp=160 * k) for k in range(repeats)]
report, names = packets
block = report.reports[0]
print(json.dumps({
    "fields": [report.ssrc, report.sender_info.ntp_timestamp, report.sender_info.rtp_timestamp, report.sender_info.packet_count,
               report.sender_info.octet_count, block.ssrc, block.fraction_lost, block.packets_lost, block.highest_sequence, block.jitter,
               block.lsr, block.dlsr, names.chunks[0].items[0][1].decode()],
    "same": b"".join(map(bytes, packets)) == compound,
    "take": timed(lambda: [RtcpPacket.parse(compound) for _ in range(repeats)]),
    "report": timed(lambda: [b"".join(map(bytes, packets)) for _ in range(repeats)]),
    "source": timed(lambda: [*map(StreamStatistics(8000).add, headers)]),
}))
"""


def peer(compound: bytes, repeats: int) -> dict[str, Any]:
    """What aiortc reads in the compound, and its seconds a compound and a packet."""
    if subprocess.run([PYTHON, "-c", "import aiortc"], check=False, capture_output=True).returncode:
        subprocess.run(["bash", SETUP], check=True)
    told: dict[str, Any] = json.loads(subprocess.run([PYTHON, "-c", SCRIPT, compound.hex(), str(repeats)], check=True, capture_output=True).stdout)
    return told


def heard() -> native.Source:
    """A sender with some loss and jitter."""
    source = native.Source(THEIRS, 8000)
    for k in range(1000):
        if k % 50:
            source.take(k, 160 * k, 160, 20_000_000 * k + k * 40_503 % 8_000_000)
    return source


def cache_read() -> float:
    """Bytes a second read by one core out of its own cache."""
    return limits.rate("limit_read", np.ones(CACHED_BYTES, np.uint8))


def rows(quick: bool) -> Iterator[Row]:
    """Nanoseconds each. The limit of RTCP is reading the session's state and the compound out of the cache once; that of a source, whose state
    stays in registers here, is not known: 4 ns are the latency of its few operations on the jitter, one behind the other."""
    count = 200_000 if quick else 2_000_000
    session, source = native.RtcpSession(CNAME, 0, 1), heard()
    compound = session.report(SENT, source, None, 10**9, WALL_NS)
    theirs = peer(compound, 2_000 if quick else 20_000)
    report, _ = rtcp.read(compound)
    assert isinstance(report, rtcp.SenderReport)
    block = report.blocks[0]
    fields = [
        report.ssrc, report.ntp, report.timestamp, report.packets, report.octets, block.ssrc, block.fraction_lost, block.lost,
        block.highest_sequence, block.jitter, block.last_sr, block.delay_since_last_sr, CNAME.decode(),
    ]  # fmt: skip
    check, passed = agree({"values": (fields, theirs["fields"]), "written the same": (True, theirs["same"])})
    check = f"{len(fields)} values and {len(compound)} bytes the same" if passed else check
    limit = "cache read", (native.SESSION_BYTES + len(compound)) / cache_read() * 1e9

    ours = min(native.Source(THEIRS, 8000).bench_take(count) for _ in range(5)) / count * 1e9
    yield Row("rtp-source-take", "ns", ours, NAME, theirs["source"] * 1e9, higher_is_better=False)
    receiver, sender = native.RtcpSession(CNAME, 0, 2), native.Source(OURS, 8000)
    taken = min(receiver.bench_take(compound, THEIRS, sender, count) for _ in range(5)) / count * 1e9
    yield Row("rtcp-take", "ns", taken, NAME, theirs["take"] * 1e9, *limit, check, passed, higher_is_better=False)
    quality = (0, 0, 90, 42, 41, 60, 40, 80)
    written = min(session.bench_report(SENT, source, quality, WALL_NS, count) for _ in range(5)) / count * 1e9
    yield Row("rtcp-report", "ns", written, NAME, theirs["report"] * 1e9, *limit, check, passed, higher_is_better=False)

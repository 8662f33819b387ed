"""aiortc: RTP packets and a jitter buffer in Python, in the peers' own environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.peers.libre import Told
from bench.peers.program import SETUP
from bench.peers.sip_doctor import PROGRAM

NAME = "aiortc"
PYTHON = PROGRAM.with_name("python")
SCRIPT = """
import struct, sys, time
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
path, what, streams = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = open(path, "rb").read()
done = sequences = timestamps = 0
if what == "jitter":
    events = list(struct.iter_unpack("<qQII", data))
    packets = []
    for _, extended, timestamp, _ in events:
        packets.append(RtpPacket(payload_type=0, sequence_number=extended % 65536, timestamp=timestamp))
        packets[-1]._data = b""
    buffers = [JitterBuffer(capacity=16, prefetch=4) for _ in range(streams)]
    last = [-1] * streams
    begin = time.perf_counter()
    for (_, _, _, stream), packet in zip(events, packets):
        frame = buffers[stream].add(packet)[1]
        if frame is not None:
            done += 1
            sequences |= frame.timestamp <= last[stream]
            last[stream] = frame.timestamp
else:
    pieces = [data[at : at + 172] for at in range(0, len(data), 192)]
    begin = time.perf_counter()
    if what == "read":
        for piece in pieces:
            packet = RtpPacket.parse(piece)
            done += 1
            sequences += packet.sequence_number
            timestamps += packet.timestamp
    else:
        packet = RtpPacket(payload_type=8, payload=bytes(160), ssrc=0xDEADBEEF)
        for k in range(len(pieces)):
            packet.sequence_number = k & 0xFFFF
            packet.timestamp = 160 * k
            done += len(packet.serialize()) == 172
print(done, int(sequences), timestamps, time.perf_counter() - begin)
"""


def run(path: Path, what: str, streams: int = 0) -> Told:
    """One pass: `what` is "read" or "write" of packets 192 bytes apart, or "jitter" of events."""
    if subprocess.run([PYTHON, "-c", "import aiortc"], check=False, capture_output=True).returncode:
        subprocess.run(["bash", SETUP], check=True)
    told = subprocess.run([PYTHON, "-c", SCRIPT, path, what, str(streams)], check=True, capture_output=True).stdout.split()
    packets, sequences, timestamps = map(int, told[:3])
    return Told(packets, sequences, timestamps, float(told[3]))

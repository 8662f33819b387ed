"""dpkt: the usual Python packet parser, down to RTP headers, in the peers' own environment."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.peers.program import SETUP
from bench.peers.sip_doctor import PROGRAM

NAME = "dpkt"
PYTHON = PROGRAM.with_name("python")
SCRIPT = """
import sys, time
import dpkt
begin = time.perf_counter()
records = packets = sequences = timestamps = 0
with open(sys.argv[1], "rb") as source:
    for _, frame in dpkt.pcap.Reader(source):
        records += 1
        udp = dpkt.ethernet.Ethernet(frame).data.data
        if isinstance(udp, dpkt.udp.UDP) and 5060 not in (udp.sport, udp.dport):
            rtp = dpkt.rtp.RTP(udp.data)
            packets += 1
            sequences += rtp.seq
            timestamps += rtp.ts
print(records, packets, sequences, timestamps, time.perf_counter() - begin)
"""


class Read(NamedTuple):
    """Records, RTP packets, sums of sequence numbers and of timestamps, seconds."""

    records: int
    packets: int
    sequences: int
    timestamps: int
    seconds: float


def install() -> None:
    """From the package index."""
    if subprocess.run([PYTHON, "-c", "import dpkt"], check=False, capture_output=True).returncode:
        subprocess.run(["bash", SETUP], check=True)


def run(path: Path) -> Read:
    """One pass over a capture."""
    install()
    told = subprocess.run([PYTHON, "-c", SCRIPT, path], check=True, capture_output=True).stdout.split()
    records, packets, sequences, timestamps = map(int, told[:4])
    return Read(records, packets, sequences, timestamps, float(told[4]))

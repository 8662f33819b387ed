"""libre (Debian's libre-dev): RTP headers and a jitter buffer in C, through a small program of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.measure import BUILD, compiled
from bench.peers.program import SETUP

NAME = "libre"
SOURCE = Path(__file__).with_name("re_rtp.c")
HEADER = Path("/usr/include/re/re.h")


class Told(NamedTuple):
    """Packets; sums of sequence numbers and of timestamps (of the jitter buffer: 1 where an order was wrong, 0); seconds of the fastest pass."""

    packets: int
    sequences: int
    timestamps: int
    seconds: float


def run(path: Path, what: str, repeats: int, streams: int = 0) -> Told:
    """`what` is "read" or "write" of packets 192 bytes apart, or "jitter" of events."""
    if not HEADER.exists():
        subprocess.run(["bash", SETUP], check=True)
    program = compiled(SOURCE, BUILD / "re_rtp", "-I/usr/include/re", "-lre")
    told = subprocess.run([program, path, str(repeats), what, str(streams)], check=True, capture_output=True).stdout
    packets, sequences, timestamps, nanoseconds = map(int, told.split())
    return Told(packets, sequences, timestamps, nanoseconds / 1e9)

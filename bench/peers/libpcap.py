"""libpcap's reader, through a small C program: records out of the file, nothing decoded."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.measure import BUILD, compiled
from bench.peers.program import need

NAME = "libpcap"
SOURCE = Path(__file__).with_name("pcap_walk.c")


def install() -> None:
    """The library comes with tshark."""
    need("tshark")
    compiled(SOURCE, BUILD / "pcap_walk", "-l:libpcap.so.0.8")


def run(path: Path, repeats: int) -> tuple[int, float]:
    """Records, and seconds of the fastest pass, each in a fresh process."""
    install()
    runs = [
        subprocess.run([BUILD / "pcap_walk", path], check=True, capture_output=True) for _ in range(repeats)
    ]
    told = [tuple(map(int, run.stdout.split())) for run in runs]
    return told[0][0], min(nanoseconds for *_, nanoseconds in told) / 1e9

"""Wireshark's tshark: SIP statistics and RTP streams in one pass."""

from __future__ import annotations

import re
from pathlib import Path

from bench.measure import run_often
from bench.peers.program import Outcome, need

NAME = "tshark"
FINDINGS = False


def install() -> None:
    """From Debian."""
    need("tshark")


def run(path: Path, repeats: int = 1) -> Outcome:
    """`-z sip,stat -z rtp,streams`, name resolution off."""
    process = run_often(["tshark", "-n", "-q", "-z", "sip,stat", "-z", "rtp,streams", "-r", path], repeats)
    text = process.output.decode("utf-8", "replace")
    messages = re.search(r"Number of SIP messages:\s*(\d+)", text)
    streams = re.findall(r"\s0x[0-9A-F]{8}\s", text)
    return Outcome(process, int(messages[1]) if messages else None, None, len(streams))

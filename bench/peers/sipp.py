"""SIPp: the load of SIP benchmarks, and with its own UAS scenario the peer of ours."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bench.peers.program import need

PROGRAM = "sipp"
NAME = "SIPp UAS"


def install() -> None:
    """Installs SIPp when it is missing."""
    need(PROGRAM)


def uas(port: int) -> list[str]:
    """The command of its UAS."""
    return [PROGRAM, "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]


def call(port: int, rate: int, calls: int, folder: Path) -> tuple[int, int, int]:
    """(good, failed, repeated messages) of `calls` calls at `rate` a second: INVITE, 180, 200, ACK, BYE, 200."""
    command = [PROGRAM, f"127.0.0.1:{port}", "-sn", "uac", "-r", str(rate), "-m", str(calls), "-d", "0", "-i", "127.0.0.1", "-nostdin",
               "-timeout", str(calls // rate + 40), "-max_socket", "1000"]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=calls / rate + 60)
    good = re.findall(r"Successful call\s*\|[^|]*\|\s*(\d+)", done.stdout)
    failed = re.findall(r"Failed call\s*\|[^|]*\|\s*(\d+)", done.stdout)
    if not good or not failed:
        raise RuntimeError(f"SIPp told nothing: {done.stdout[-500:]}{done.stderr[-500:]}")
    repeated = sum(int(count) for count in re.findall(r"(?m)^\s+(?:INVITE|BYE) -+>\s+\d+\s+(\d+)", done.stdout))
    return int(good[-1]), int(failed[-1]), repeated

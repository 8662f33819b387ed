"""Calls through our SIP transactions over UDP, beside SIPp's own UAS: the same load, and what it costs the answering side.

Both answer 180 and 200 to INVITE and 200 to BYE. Compared is processor time, so that the load generator on the other core is not the
limit: calls a second of one core are calls over processor seconds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, agree
from bench.peers import sipp

MESSAGES_A_CALL = 6
SETTLE_S = 1.5


def _port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _served(command: list[str], port: int, rate: int, calls: int, folder: Path) -> tuple[float, float, tuple[int, int, int]]:
    """(processor seconds, peak MiB, what SIPp says) of a server under that load."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=None if "-m" in command else folder)
    try:
        time.sleep(SETTLE_S)
        before = _cpu_s(process.pid)
        told = sipp.call(port, rate, calls, folder)
        spent = _cpu_s(process.pid) - before
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        return spent, peak, told
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def rows(quick: bool) -> Iterator[Row]:
    """Calls a second of one core, and processor time a message."""
    rate, calls = (500, 2_000) if quick else (1_500, 15_000)
    sipp.install()
    with tempfile.TemporaryDirectory() as folder:
        port = _port()
        ours, peak, told = _served([sys.executable, "-m", "bench.uas", str(port)], port, rate, calls, Path(folder))
        port = _port()
        theirs, their_peak, their_told = _served(sipp.uas(port), port, rate, calls, Path(folder))
    check, passed = agree({"calls": (told[0], calls), "failed": (told[1], 0), "its calls": (their_told[0], calls)})
    check += f"; repeats {told[2]}, its {their_told[2]}; at {rate} calls/s"
    yield Row("sip-calls-a-core", "call/s", calls / ours, sipp.NAME, calls / theirs, check=check, passed=passed)
    yield Row(
        "sip-cpu-a-message", "us", ours / calls / MESSAGES_A_CALL * 1e6, sipp.NAME, theirs / calls / MESSAGES_A_CALL * 1e6,
        check="INVITE, 180, 200, ACK, BYE, 200", higher_is_better=False, passed=passed,
    )  # fmt: skip
    yield Row("sip-memory", "MiB", peak, sipp.NAME, their_peak, check="peak of the process, 32 s of transactions in it", higher_is_better=False)

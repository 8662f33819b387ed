"""Calls to our endpoint over UDP, beside SIPp's own UAS and a Kamailio that keeps nothing: the same load, and what it costs who answers.

All answer 180 and 200 to INVITE and 200 to BYE. Compared is processor time, so that the load generator on the other core is not the
limit: calls a second of one core are calls over processor seconds. The time to the first answer is as the generator sees it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.measure import Row, agree
from bench.peers import kamailio, sipp
from bench.uas import Told

MESSAGES_A_CALL = 6
SETTLE_S = 1.5
LINGER_S = 33.0  # 64 T1, and a little
AIM_MIB = 300.0


def _port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _cpu_s(pid: int) -> float:
    """Processor seconds of a process and its children."""
    total = 0.0
    pids = [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for one in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


class Served(NamedTuple):
    """Processor seconds, peak MiB, and what SIPp says."""

    cpu_s: float
    peak_mib: float
    load: sipp.Load


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, cwd=None if "-m" in command[:3] else folder
    )
    try:
        time.sleep(SETTLE_S)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _served(command: list[str], port: int, rate: int, calls: int, folder: Path) -> Served:
    """A server under that load."""
    with _running(command, folder) as process:
        before = _cpu_s(process.pid)
        load = sipp.call(port, rate, calls, folder)
        spent = _cpu_s(process.pid) - before
        status = Path(f"/proc/{process.pid}/status").read_text()
        return Served(spent, int(status.partition("VmHWM:")[2].split()[0]) / 1024, load)


def _asked(process: subprocess.Popen[str]) -> Told:
    assert process.stdout is not None
    process.send_signal(signal.SIGUSR1)
    return msgspec.json.decode(process.stdout.readline(), type=Told)


def rows(quick: bool) -> Iterator[Row]:
    """Calls a second of one core, processor time a message, memory, time to the first answer, and idle dialogs."""
    rate, calls = (500, 2_000) if quick else (1_500, 15_000)
    sipp.install()
    kamailio.install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = _port()
        ours = _served([sys.executable, "-m", "bench.uas", str(port)], port, rate, calls, folder)
        port = _port()
        theirs = _served(sipp.uas(port), port, rate, calls, folder)
        port = _port()
        bare = _served(kamailio.uas(port, folder), port, rate, calls, folder)
        half = max(100, round(calls / ours.cpu_s / 2))
        port = _port()
        waited = _served([sys.executable, "-m", "bench.uas", str(port)], port, half, half * (3 if quick else 8), folder)
        yield from _idle(folder, quick)
    check, passed = agree(
        {"calls": (ours.load.good, calls), "failed": (ours.load.failed, 0), "SIPp's calls": (theirs.load.good, calls), "Kamailio's": (bare.load.good, calls)}
    )
    check += f"; repeats {ours.load.repeated}, SIPp's {theirs.load.repeated}, Kamailio's {bare.load.repeated}; at {rate} calls/s"
    yield Row("sip-calls-a-core", "call/s", calls / ours.cpu_s, sipp.NAME, calls / theirs.cpu_s, check=check, passed=passed)
    yield Row("sip-calls-a-core-stateless", "call/s", calls / ours.cpu_s, kamailio.NAME, calls / bare.cpu_s, check=check, passed=passed)
    yield Row(
        "sip-cpu-a-message", "us", ours.cpu_s / calls / MESSAGES_A_CALL * 1e6, sipp.NAME, theirs.cpu_s / calls / MESSAGES_A_CALL * 1e6,
        check="INVITE, 180, 200, ACK, BYE, 200", higher_is_better=False, passed=passed,
    )  # fmt: skip
    yield Row(
        "sip-memory", "MiB", ours.peak_mib, sipp.NAME, theirs.peak_mib, check="peak of the process, 32 s of transactions in it", higher_is_better=False
    )
    times_ms = sorted(waited.load.first_answers_ms)
    check, passed = agree({"failed": (waited.load.failed, 0), "times noted": (len(times_ms) > 0, True)})
    yield Row(
        "sip-first-answer-p99", "ms", times_ms[int(len(times_ms) * 0.99)] if times_ms else 0.0, "aim", 5.0,
        check=f"{check}; {len(times_ms)} of INVITE to its first answer at {half} calls/s, half of what a core does; repeats {waited.load.repeated}",
        higher_is_better=False, passed=passed,
    )  # fmt: skip


def _idle(folder: Path, quick: bool) -> Iterator[Row]:
    """Memory of calls that stand and say nothing, when their transactions are over."""
    rate, calls = (500, 2_000) if quick else (1_500, 50_000)
    port = _port()
    with _running([sys.executable, "-m", "bench.uas", str(port)], folder) as process:
        empty = _asked(process)
        load = sipp.call(port, rate, calls, folder, ends=False)
        time.sleep(LINGER_S)
        told = _asked(process)
    check, passed = agree({"dialogs": (told.dialogs, calls), "transactions": (told.transactions, 0), "failed": (load.failed, 0)})
    yield Row(
        "sip-idle-dialogs", "MiB", told.rss_bytes / 2**20, "aim for 50,000", AIM_MIB,
        check=f"{check}; {(told.rss_bytes - empty.rss_bytes) / calls:.0f} bytes a dialog", higher_is_better=False, passed=passed,
    )  # fmt: skip

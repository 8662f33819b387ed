"""50,000 calls by SIPp to one endpoint, some of them repeated and some abandoned: when they are over, every counter is where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bench.peers import sipp
from bench.uas import Told
from tests.ports import free_ports
from tests.running import ROOT

pytestmark = pytest.mark.slow

CALLS = 50_000
WARM = 5_000
RATE = 1_500
LINGER_S = 33.0  # 64 T1, and a little
# What a leak of one small object a call would come to is three times as much.
GROWTH_MAX_BYTES = 4 << 20


def told(process: subprocess.Popen[str]) -> Told:
    assert process.stdout is not None
    process.send_signal(signal.SIGUSR1)
    return msgspec.json.decode(process.stdout.readline(), type=Told)


def settled(process: subprocess.Popen[str]) -> Told:
    """What it has when the last transaction is over."""
    deadline = time.monotonic() + 3 * LINGER_S
    while (found := told(process)).transactions:
        assert time.monotonic() < deadline, f"transactions are left: {found}"
        time.sleep(0.5)
    return found


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_soak_ends_with_every_counter_at_its_baseline(tmp_path: Path) -> None:
    port = free_ports()
    with subprocess.Popen([sys.executable, "-m", "bench.uas", str(port)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            time.sleep(1.0)
            files = open_files(process.pid)
            warm = sipp.call(port, RATE, WARM, tmp_path)
            assert (warm.good, warm.failed) == (WARM, 0)
            before = settled(process)
            load = sipp.call(port, RATE, CALLS, tmp_path)
            assert load.good >= 0.9999 * CALLS, load[:3]
            after = settled(process)
            assert after.answered >= WARM + CALLS
            assert (after.calls, after.dialogs, after.transactions) == (0, 0, 0)
            assert open_files(process.pid) == files
            # the most that was alive at once was alive in the soak: another 5,000 calls find room in what was freed
            sipp.call(port, RATE, WARM, tmp_path)
            again = settled(process)
            assert again.rss_bytes - after.rss_bytes < GROWTH_MAX_BYTES, (before, after, again)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)

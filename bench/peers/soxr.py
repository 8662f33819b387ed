"""soxr, as python-soxr binds it, on one long block: without a call a frame, so at its best."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.peers.program import SETUP
from bench.peers.sip_doctor import PROGRAM

NAME = "soxr MQ"
PYTHON = PROGRAM.with_name("python")
SCRIPT = """
import sys, time
import numpy as np
import soxr
path, from_hz, to_hz, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
pcm = np.fromfile(path, np.int16)
best = 1e9
for _ in range(rounds):
    begin = time.thread_time()
    out = soxr.resample(pcm, from_hz, to_hz, quality="MQ")
    best = min(best, time.thread_time() - begin)
out.tofile(path)
print(best)
"""


def install() -> None:
    """From the package index."""
    if subprocess.run([PYTHON, "-c", "import soxr"], check=False, capture_output=True).returncode:
        subprocess.run(["bash", SETUP], check=True)


def run(pcm: npt.NDArray[np.int16], from_hz: int, to_hz: int, rounds: int, folder: Path) -> tuple[float, npt.NDArray[np.int16]]:
    """Seconds of the fastest pass over all samples, and what came of them."""
    install()
    path = folder / "pcm"
    pcm.tofile(path)
    command = [PYTHON, "-c", SCRIPT, path, str(from_hz), str(to_hz), str(rounds)]
    told = subprocess.run(command, check=True, capture_output=True).stdout
    return float(told), np.fromfile(path, np.int16)

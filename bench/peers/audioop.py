"""audioop: G.711 of Python's own library (audioop-lts from the package index since 3.13), a call a frame."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench.peers.program import SETUP
from bench.peers.sip_doctor import PROGRAM

NAME = "audioop"
PYTHON = PROGRAM.with_name("python")
SCRIPT = """
import sys, time, warnings
warnings.simplefilter("ignore")
import audioop
from pathlib import Path
payloads, samples, rounds = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
frames = [payloads[at : at + samples] for at in range(0, len(payloads), samples)]
best = 1e9
for _ in range(rounds):
    begin = time.thread_time()
    again = [audioop.lin2ulaw(audioop.ulaw2lin(frame, 2), 2) for frame in frames]
    best = min(best, time.thread_time() - begin)
Path(sys.argv[1]).write_bytes(b"".join(again))
print(best)
"""


def install() -> None:
    """Comes with Python up to 3.12."""
    if subprocess.run([PYTHON, "-W", "ignore", "-c", "import audioop"], check=False, capture_output=True).returncode:
        subprocess.run(["bash", SETUP], check=True)


def run(payloads: bytes, samples: int, rounds: int, folder: Path) -> tuple[float, bytes]:
    """Seconds to decode and encode all frames of `samples` once, and the bytes that came of it."""
    install()
    path = folder / "payloads"
    path.write_bytes(payloads)
    told = subprocess.run([PYTHON, "-c", SCRIPT, path, str(samples), str(rounds)], check=True, capture_output=True)
    return float(json.loads(told.stdout)), path.read_bytes()

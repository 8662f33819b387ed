"""The resampler of speexdsp, which most telephony programs have, through a small C program linked with Debian's library."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.measure import BUILD, compiled
from bench.peers.program import SETUP

QUALITY = 5
NAME = f"speexdsp q{QUALITY}"
SOURCE = Path(__file__).with_name("speex_resample.c")
HEADER = Path("/usr/include/speex/speex_resampler.h")


def install() -> None:
    """Debian's development package, and our program."""
    if not HEADER.exists():
        subprocess.run(["bash", SETUP], check=True)
    compiled(SOURCE, BUILD / "speex_resample", "-lspeexdsp")


def run(
    pcm: npt.NDArray[np.int16], from_hz: int, to_hz: int, rounds: int, folder: Path, *, quality: int = QUALITY
) -> tuple[float, npt.NDArray[np.int16]]:
    """Seconds of the fastest round. Of (streams, samples) each row is a frame of its own stream; of one row what came of it is given back too."""
    install()
    path = folder / "pcm"
    pcm.tofile(path)
    samples = pcm.shape[1] if pcm.ndim > 1 else 0
    command = [BUILD / "speex_resample", path, *map(str, (from_hz, to_hz, quality, samples, rounds))]
    told = subprocess.run(command, check=True, capture_output=True).stdout
    return int(told) / 1e9, np.fromfile(path, np.int16)

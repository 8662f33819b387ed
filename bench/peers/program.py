"""What a peer program did with a capture."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.measure import Process

SETUP = Path(__file__).parents[2] / "ci" / "bench_setup.sh"


class Outcome(NamedTuple):
    """Counts that the peer itself reports (None: it does not say) and its cost."""

    process: Process
    messages: int | None = None
    calls: int | None = None
    streams: int | None = None


def need(program: str | Path) -> None:
    """Installs the peers when this one is missing; raises FileNotFoundError when that did not help."""
    if not shutil.which(str(program)):
        subprocess.run(["bash", SETUP], check=True)
    if not shutil.which(str(program)):
        raise FileNotFoundError(f"{program} is not installed; see {SETUP.name}")

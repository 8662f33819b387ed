"""sngrep without its screen: reads a capture into dialogs (1.6 does not measure RTP streams)."""

from __future__ import annotations

import re
from pathlib import Path

from bench.measure import run_often
from bench.peers.program import Outcome, need

NAME = "sngrep"
FINDINGS = False
DIALOGS = 2_000_000


def install() -> None:
    """From Debian."""
    need("sngrep")


def run(path: Path, repeats: int = 1) -> Outcome:
    """Room for every dialog, since the default of 20,000 would drop some."""
    process = run_often(["sngrep", "-N", "-l", str(DIALOGS), "-I", path], repeats)
    counts = re.findall(rb"Dialog count: (\d+)", process.output)
    return Outcome(process, None, int(counts[-1]) if counts else None, None)

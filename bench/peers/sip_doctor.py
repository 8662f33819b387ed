"""sip-doctor: the open program closest to ours in what it answers (findings with a fix)."""

from __future__ import annotations

import json
from pathlib import Path

from bench.measure import run_often
from bench.peers.program import Outcome, need

NAME = "sip-doctor"
FINDINGS = True
PROGRAM = Path(__file__).parents[1] / "data" / ".peers" / "bin" / "sip-doctor"


def install() -> None:
    """From the package index, in an environment of its own."""
    need(PROGRAM)


def run(path: Path, repeats: int = 1) -> Outcome:
    """Everything it can say, as JSON."""
    process = run_often([PROGRAM, "read", "--json", path], repeats)
    told = json.loads(process.output)
    streams = sum(len(dialog.get("media", ())) for dialog in told["dialogs"]) + len(told["unmatched_rtp"])
    return Outcome(process, told["stats"]["sip_messages"], len(told["dialogs"]), streams)

"""How long the command takes to start, and to explain one small trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from bench import captures
from bench.measure import Row, agree, run_often
from bench.peers import sip_doctor

COMMAND = (sys.executable, "-m", "api")


def rows(quick: bool) -> Iterator[Row]:
    """Milliseconds of whole processes; the bound is the interpreter that does nothing."""
    repeats = 3 if quick else 11
    sip_doctor.install()
    bare = run_often([sys.executable, "-c", "pass"], repeats).wall_s * 1000
    version = run_often([*COMMAND, "--version"], repeats)
    theirs = run_often([sip_doctor.PROGRAM, "--version"], repeats).wall_s * 1000
    check, passed = agree(
        {"exit code": (version.status, 0), "names itself": (b"trunkline" in version.output, True)}
    )
    yield Row(
        "start-version", "ms", version.wall_s * 1000, sip_doctor.NAME, theirs, "bare interpreter", bare, check, passed,
        higher_is_better=False,
    )  # fmt: skip
    corpus = captures.paste()
    analysed = run_often([*COMMAND, "analyze", "--format", "json", "--quiet", corpus.path], repeats)
    told = json.loads(analysed.output)["summary"]["messages"]
    check, passed = agree({"messages": (told, corpus.facts["messages"])})
    yield Row(
        "start-analyze", "ms", analysed.wall_s * 1000, limit="bare interpreter", limit_value=bare, check=check,
        passed=passed, higher_is_better=False,
    )  # fmt: skip

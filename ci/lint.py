"""Checks style and types: ruff, mypy (strict) on `engine` and `api`, and each native stub against its module.

Every step runs, whatever the ones before it said; the exit code is 1 when any failed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def steps() -> list[list[str]]:
    """The commands, each run by this interpreter with -m."""
    stubs = sorted(f"engine._native.{path.stem}" for path in (ROOT / "engine" / "_native").glob("*.pyi"))
    checks = [["ruff", "check", "."], ["mypy", "-p", "engine", "-p", "api"]]
    stubtest = ["mypy.stubtest", "--concise", "--ignore-disjoint-bases", "--ignore-unused-allowlist"]
    allowed = ["--allowlist", str(ROOT / "ci" / "stubtest_allowlist.txt")]
    return [*checks, [*stubtest, *allowed, *stubs]] if stubs else checks


def main() -> int:
    """Runs the steps and names those that failed."""
    failed = []
    for step in steps():
        command = [sys.executable, "-m", *step]
        print("+", " ".join(command), flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(step[0])
    print(f"failed: {', '.join(failed)}" if failed else "all clean")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

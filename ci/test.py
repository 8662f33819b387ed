"""Runs the tests: `python ci/test.py quick` (on every save) or `full` (on every change). Passes on pytest's
exit code; pytest's closing line, with its counts, is the last thing printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIERS = {
    "quick": ["-m", "not slow", "-q", "-x", "-n", "2", "--dist", "worksteal"],
    "full": ["-q", "-n", "2", "--dist", "worksteal"],
}


def main() -> int:
    """Command line: a tier, then whatever pytest takes (paths, -k, ...)."""
    if len(sys.argv) < 2 or sys.argv[1] not in TIERS:
        print(f"usage: {Path(sys.argv[0]).name} {'|'.join(TIERS)} [pytest arguments]", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "pytest", *TIERS[sys.argv[1]], *sys.argv[2:]]
    print("+", " ".join(command), flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

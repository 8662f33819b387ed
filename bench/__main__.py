"""Runs the benchmarks and prints one row each; the exit code is 1 when any check failed.

    python -m bench [--only PATTERN] [--quick] [--json]

Columns: name, unit, value, peer, peer_value, ratio (times ahead of the peer), limit, limit_value, fraction (of
the limit), check (what was compared). Modules are `bench/kernels/bench_*.py` and `bench/flow/bench_*.py`; each
gives rows by `rows(quick)`. `--only` is matched against module names.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import os
import platform
import sys
import traceback
from pathlib import Path

from bench.measure import Row

HEADINGS = (
    "name",
    "unit",
    "value",
    "peer",
    "peer_value",
    "ratio",
    "limit",
    "limit_value",
    "fraction",
    "check",
)
WIDTHS = (30, 6, 12, 22, 12, 7, 14, 12, 8)


def figure(value: float) -> str:
    """Four significant digits, with thousands marked; a dash for none."""
    if not value:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def line(row: Row) -> str:
    """A row of the table."""
    cells = (
        row.name, row.unit, figure(row.value), row.peer or "-", figure(row.peer_value), figure(row.ratio),
        row.limit or "-", figure(row.limit_value), figure(row.fraction),
    )  # fmt: skip
    text = " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{text} {'' if row.passed else 'FAILED: '}{row.check}"


def machine() -> str:
    """Processor, kernel and Python, in one line."""
    models = [
        text.split(":", 1)[1].strip()
        for text in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in text
    ]
    return f"# {models[0] if models else platform.machine()} x{os.cpu_count()}, {platform.release()}, Python {platform.python_version()}"


def modules(pattern: str) -> list[str]:
    """Names of the benchmark modules that match, kernels first."""
    here = Path(__file__).parent
    names = [
        f"bench.{folder}.{path.stem}"
        for folder in ("kernels", "flow")
        for path in sorted((here / folder).glob("bench_*.py"))
    ]
    return [name for name in names if fnmatch.fnmatch(name, f"*{pattern}*")]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="PATTERN")
    parser.add_argument("--quick", action="store_true", help="small corpora, fewer repeats")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: list[Row] = []
    errors = 0
    if not given.json:
        print(machine())
        print(" ".join(text.ljust(width) for text, width in zip(HEADINGS, (*WIDTHS, 0), strict=True)))
    for name in modules(given.only):
        try:
            for row in importlib.import_module(name).rows(given.quick):
                found.append(row)
                if not given.json:
                    print(line(row), flush=True)
        except Exception:
            # One broken benchmark must not hide the others; the run still fails.
            errors += 1
            print(f"{name}: broken", file=sys.stderr)
            traceback.print_exc()
    failed = sum(not row.passed for row in found) + errors
    if given.json:
        print(
            json.dumps(
                {"machine": machine(), "rows": [row.to_builtins() for row in found], "failed": failed},
                indent=1,
            )
        )
    else:
        print(f"# {len(found)} rows, {failed} failed")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())

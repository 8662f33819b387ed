"""Rows of the result table, and how a function or a program is timed."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE / "data" / ".build"


def compiled(source: Path, target: Path, *flags: str) -> Path:
    """Compiles a C file when its result is missing or older; returns the result."""
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.{os.getpid()}")  # another process may want it just now
        subprocess.run(["cc", "-O3", "-o", fresh, source, *flags], check=True)
        fresh.rename(target)
    return target


@dataclass
class Row:
    """One benchmark beside one peer. `value`, `peer_value` and `limit_value` are in `unit`.

    `higher_is_better` says which way `ratio` (ours over the peer's, above 1 when we are ahead) and `fraction`
    (of the limit) are formed. `check` says what was compared before timing; `passed` whether it was equal.
    """

    name: str
    unit: str
    value: float
    peer: str = ""
    peer_value: float = 0.0
    limit: str = ""
    limit_value: float = 0.0
    check: str = ""
    passed: bool = True
    higher_is_better: bool = True

    @property
    def ratio(self) -> float:
        """How many times ahead of the peer; 0 without a peer."""
        if not self.peer_value or not self.value:
            return 0.0
        return self.value / self.peer_value if self.higher_is_better else self.peer_value / self.value

    @property
    def fraction(self) -> float:
        """Share of the physical limit reached; 0 without one."""
        if not self.limit_value or not self.value:
            return 0.0
        return self.value / self.limit_value if self.higher_is_better else self.limit_value / self.value

    def to_builtins(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "ratio": self.ratio, "fraction": self.fraction}


@dataclass
class Process:
    """One finished program: seconds by the clock and by its processors, peak memory, what it printed."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: bytes
    status: int


def run_process(arguments: Sequence[str | Path], timeout_s: int = 900) -> Process:
    """Runs a program to its end; standard output is kept, errors are dropped. Raises FileNotFoundError when there
    is no such program, subprocess.TimeoutExpired when it was stopped.

    Output goes through a file, so that a slow reader here never holds the program up.
    """
    launcher = compiled(HERE / "launch.c", BUILD / "launch")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        result = Path(folder) / "result"
        command = [launcher, result, str(timeout_s), *arguments]
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL
        )
        wall_ns, cpu_ns, peak_kib, status = map(int, result.read_text().split())
        code = os.waitstatus_to_exitcode(status)
        if code == 127:
            raise FileNotFoundError(arguments[0])
        if code == -signal.SIGKILL and wall_ns >= timeout_s * 1e9:
            raise subprocess.TimeoutExpired([str(part) for part in arguments], timeout_s)
        output.seek(0)
        return Process(wall_ns / 1e9, cpu_ns / 1e9, peak_kib / 1024, output.read(), code)


def run_often(arguments: Sequence[str | Path], repeats: int) -> Process:
    """The run with the median wall time, in fresh processes."""
    runs = sorted((run_process(arguments) for _ in range(repeats)), key=lambda run: run.wall_s)
    return runs[len(runs) // 2]


def median_s(function: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after one call that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def agree(pairs: dict[str, tuple[object, object]]) -> tuple[str, bool]:
    """The check column: `what=ours` for each pair, with `!=theirs` where they differ."""
    texts = [
        f"{what}={ours}" if ours == theirs else f"{what}={ours}!={theirs}"
        for what, (ours, theirs) in pairs.items()
    ]
    return ", ".join(texts), all(ours == theirs for ours, theirs in pairs.values())

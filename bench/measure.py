"""Rows of the result table, and how a function or a program is timed."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


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


def run_process(arguments: Sequence[str | Path], timeout_s: float = 900.0) -> Process:
    """Runs a program to its end; standard output is kept, errors are dropped. The figures are its own and its
    waited-for children's. Raises subprocess.TimeoutExpired.

    Output goes through a file, so that a slow reader here never holds the program up.
    """
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        child = subprocess.Popen([str(part) for part in arguments], stdout=output, stderr=subprocess.DEVNULL)
        pid, status, usage = 0, 0, None
        while not pid:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if not pid:
                if time.perf_counter() - begin > timeout_s:
                    child.kill()
                    child.wait()
                    raise subprocess.TimeoutExpired(child.args, timeout_s)
                time.sleep(0.0005)
        wall_s = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        assert usage is not None
        output.seek(0)
        cpu_s = usage.ru_utime + usage.ru_stime
        return Process(wall_s, cpu_s, usage.ru_maxrss / 1024, output.read(), child.returncode)


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

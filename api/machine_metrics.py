"""What this server and its machine are at, for Prometheus: memory, processors, open files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.supervisor import rss_bytes

if TYPE_CHECKING:
    from prometheus_client.core import Metric

STAT: Final = Path("/proc/stat")
PERCENT: Final = 100.0


def processor_times(text: str) -> tuple[int, int]:
    """(ticks of all processors, those of them that were idle) since the machine began, by /proc/stat (proc(5))."""
    ticks = [int(word) for word in text.partition("\n")[0].split()[1:9]]
    return sum(ticks), sum(ticks[3:5])


class Processors:
    """How busy all processors of the machine are."""

    def __init__(self, read: Callable[[], str] = STAT.read_text) -> None:
        self._read = read
        self._before = (0, 0)
        self._percent = 0.0

    def percent(self) -> float:
        """Of all of them together, since it was last asked for; since the machine began at first."""
        now = processor_times(self._read())
        passed, idle = now[0] - self._before[0], now[1] - self._before[1]
        if passed > 0:
            self._percent = PERCENT * min(max(1 - idle / passed, 0.0), 1.0)
            self._before = now
        return self._percent


def open_files(pid: int) -> int:
    """File descriptors of a process; 0 where nobody can tell."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


class MachineMetrics:
    """A part of what is measured (`engine.metrics.Part`). `pids` are the processes of this server on this machine."""

    def __init__(self, pids: Sequence[int], processors_percent: float, tasks: int) -> None:
        self._pids = pids
        self._processors_percent = processors_percent
        self._tasks = tasks

    def collect(self) -> Iterator[Metric]:
        """All families."""
        from prometheus_client.core import GaugeMetricFamily

        memory = sum(rss_bytes(pid) or 0 for pid in self._pids)
        yield GaugeMetricFamily("siprec_system_memory_usage_bytes", "Resident memory of all processes of this server", memory)
        yield GaugeMetricFamily("siprec_system_cpu_usage_percent", "Of all processors of the machine, since the last time", self._processors_percent)
        yield GaugeMetricFamily("siprec_system_file_descriptors", "Open files of all processes of this server", sum(map(open_files, self._pids)))
        yield GaugeMetricFamily("siprec_system_goroutines", "Tasks of the process that answers", self._tasks)


__all__ = ["MachineMetrics", "Processors", "processor_times"]

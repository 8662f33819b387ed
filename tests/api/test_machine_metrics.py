"""How busy the machine is, by what its kernel says."""

from __future__ import annotations

import os
from pathlib import Path

from api.machine_metrics import MachineMetrics, Processors, processor_times
from engine.metrics import simple


def stat(user: int, idle: int, waits: int) -> str:
    return f"cpu  {user} 0 0 {idle} {waits} 0 0 0 0 0\ncpu0 9 9 9 9\n"


def test_times_of_all_processors() -> None:
    assert processor_times(stat(30, 60, 10)) == (100, 70)
    total, idle = processor_times(Path("/proc/stat").read_text())
    assert 0 < idle < total


def test_percent_is_of_the_time_since_it_was_asked_for() -> None:
    told = [stat(50, 50, 0), stat(150, 50, 0), stat(150, 50, 0), stat(150, 140, 10), stat(0, 0, 0)]
    processors = Processors(lambda: told.pop(0))
    assert [processors.percent() for _ in range(5)] == [50.0, 100.0, 100.0, 0.0, 0.0]


def test_figures_are_of_all_processes_and_those_that_are_gone_have_none() -> None:
    told = simple([MachineMetrics([os.getpid(), 1 << 22], 12.5, 3)])
    assert told["siprec_system_memory_usage_bytes"] > 1 << 20
    assert told["siprec_system_file_descriptors"] >= 3
    assert (told["siprec_system_cpu_usage_percent"], told["siprec_system_goroutines"]) == (12.5, 3)

"""Metrics: summed over processes, in the Prometheus format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from engine.metrics import DIRECTORY, Metrics, exposition, forget_dead, simple
from tests.running import ROOT

COUNTING = """
from types import SimpleNamespace
from engine.metrics import Metrics
metrics = Metrics()
for _ in range(3):
    metrics.request("/v1/analyze", "POST", 200, 0.002)
metrics.analysed(SimpleNamespace(bytes=100, messages=10, packets=0), {"critical": 1, "high": 0, "medium": 2, "low": 0, "info": 5})
metrics.refused("rate.limited")
"""


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counts_of_several_processes_are_summed(tmp_path: Path) -> None:
    environment = {**os.environ, DIRECTORY: str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", COUNTING], env=environment, cwd=ROOT, check=True)
    show = "import sys; from engine.metrics import Metrics, exposition; sys.stdout.buffer.write(exposition([Metrics()])[0])"
    done = subprocess.run([sys.executable, "-c", show], env=environment, cwd=ROOT, check=True, capture_output=True)
    told = samples(done.stdout)
    labels = (("method", "POST"), ("route", "/v1/analyze"), ("status", "200"))
    assert told["trunkline_http_requests_total", labels] == 6
    assert told["trunkline_http_request_seconds_count", (("route", "/v1/analyze"),)] == 6
    assert told["trunkline_analysed_messages_total", ()] == 20
    assert told["trunkline_findings_total", (("severity", "medium"),)] == 4
    assert told["trunkline_refusals_total", (("code", "rate.limited"),)] == 2


def test_one_process_alone_tells_its_own() -> None:
    metrics = Metrics()
    metrics.request("/health", "GET", 200, 0.1)
    metrics.analysed(SimpleNamespace(bytes=5, messages=1, packets=2), {"info": 1})
    told = simple([metrics])
    assert told["trunkline_http_requests_total"] == 1
    assert told["trunkline_analysed_packets_total"] == 2
    assert not any(name.endswith("_bucket") for name in told)


def test_open_metrics_are_told_to_who_wants_them() -> None:
    metrics = Metrics()
    metrics.request("/health", "GET", 200, 0.1)
    text, kind = exposition([metrics], open_metrics=True)
    assert kind.startswith("application/openmetrics-text")
    families = {family.name: family for family in open_families(text.decode())}  # raises for what is none of it
    assert families["trunkline_http_requests"].samples[0].value == 1
    assert text.endswith(b"# EOF\n")


def test_what_is_only_true_of_the_living_goes_with_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        for name in (f"gauge_livesum_{pid}.db", f"counter_{pid}.db"):
            (tmp_path / name).write_bytes(b"")
    forget_dead()
    assert {path.name for path in tmp_path.iterdir()} == {f"counter_{dead.pid}.db", f"counter_{os.getpid()}.db", f"gauge_livesum_{os.getpid()}.db"}

"""What is measured, for Prometheus: counters and histograms shared by all processes of one machine.

prometheus-client keeps them in files that every process maps (PROMETHEUS_MULTIPROC_DIR), so any of them can tell the sums.
Only what is really measured is here; names of the recorder's metrics come with the parts that measure them.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
LATENCY_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def prepare(directory: Path) -> None:
    """Empties the directory of the counters, as the first process of a run, and names it to those that follow."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    os.environ[DIRECTORY] = str(directory)


def forget_dead() -> None:
    """Takes away what is only true of a living process, of those that have died."""
    directory = os.environ.get(DIRECTORY)
    for path in Path(directory).glob("gauge_live*_*.db") if directory else ():
        if not os.path.exists(f"/proc/{path.stem.rpartition('_')[2]}"):
            path.unlink(missing_ok=True)


class Metrics:
    """All metrics of a process. The directory must be named in the environment before the first one is made."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "trunkline_http_requests", "HTTP requests", ["route", "method", "status"], registry=registry
        )
        self.latency = Histogram(
            "trunkline_http_request_seconds", "Time to answer", ["route"], buckets=LATENCY_S, registry=registry
        )
        self.analyses = Counter("trunkline_analyses", "Traces analysed", registry=registry)
        self.analysed_bytes = Counter("trunkline_analysed_bytes", "Bytes of traces analysed", registry=registry)
        self.analysed_messages = Counter("trunkline_analysed_messages", "SIP messages analysed", registry=registry)
        self.analysed_packets = Counter("trunkline_analysed_packets", "Packets analysed", registry=registry)
        self.findings = Counter("trunkline_findings", "Findings told", ["severity"], registry=registry)
        self.refusals = Counter("trunkline_refusals", "Requests refused", ["code"], registry=registry)
        self.uptime = Gauge(
            "trunkline_started_time_seconds", "When the first process of this run started", registry=registry, multiprocess_mode="min"
        )
        self.request_child = lru_cache(maxsize=4096)(
            lambda route, method, status: (self.requests.labels(route, method, str(status)), self.latency.labels(route))
        )
        self._severity = {
            name: self.findings.labels(name) for name in ("critical", "high", "medium", "low", "info")
        }

    def request(self, route: str, method: str, status: int, elapsed_s: float) -> None:
        """Counts one answered request. `route` is the template, never the path."""
        count, latency = self.request_child(route, method, status)
        count.inc()
        latency.observe(elapsed_s)

    def analysed(self, summary: Any, severity_counts: dict[str, int]) -> None:
        """Counts one analysis by its summary and findings."""
        self.analyses.inc()
        self.analysed_bytes.inc(summary.bytes)
        self.analysed_messages.inc(summary.messages)
        self.analysed_packets.inc(summary.packets)
        for severity, count in severity_counts.items():
            if count:
                self._severity[severity].inc(count)

    def refused(self, code: str) -> None:
        """Counts a refusal by its stable code."""
        self.refusals.labels(code).inc()

    def collected(self) -> Any:
        """A registry with the sums of all processes, or this process's own where they share nothing."""
        if not os.environ.get(DIRECTORY):
            return self.registry
        from prometheus_client import CollectorRegistry, multiprocess

        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def exposition(self) -> tuple[bytes, str]:
        """(text, content type) of the Prometheus format."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.collected()), CONTENT_TYPE_LATEST

    def simple(self) -> dict[str, float]:
        """Every metric without labels or summed over them, by name."""
        told: dict[str, float] = {}
        for family in self.collected().collect():
            for sample in family.samples:
                if not sample.name.endswith(("_bucket", "_created")):
                    told[sample.name] = told.get(sample.name, 0.0) + sample.value
        return told


__all__ = ["Metrics", "prepare"]

"""What is measured, for Prometheus: counters and histograms shared by all processes of one machine.

prometheus-client keeps them in files that every process maps (PROMETHEUS_MULTIPROC_DIR), so any of them can tell the sums.
Only what is really measured is here. What other processes count is told by parts of its own, which are made when somebody asks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prometheus_client.core import Metric

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

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self.collected().collect()


class Part(Protocol):
    """Something that has metrics."""

    def collect(self) -> Iterable[Metric]: ...


class _Whole:
    """Several parts as one registry."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = list(parts)

    def collect(self) -> Iterator[Metric]:
        for part in self._parts:
            yield from part.collect()


def exposition(parts: Iterable[Part], *, open_metrics: bool = False) -> tuple[bytes, str]:
    """(text, content type) in the text format of Prometheus, or in that of OpenMetrics."""
    whole: Any = _Whole(parts)
    if open_metrics:
        from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
        from prometheus_client.openmetrics.exposition import generate_latest as generate_open

        return generate_open(whole), CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    from prometheus_client import generate_latest

    return generate_latest(whole), "text/plain; version=0.0.4; charset=utf-8"


def simple(parts: Iterable[Part]) -> dict[str, float]:
    """Every metric without labels or summed over them, by name."""
    told: dict[str, float] = {}
    for family in _Whole(parts).collect():
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_created")):
                told[sample.name] = told.get(sample.name, 0.0) + sample.value
    return told


__all__ = ["Metrics", "Part", "exposition", "prepare", "simple"]

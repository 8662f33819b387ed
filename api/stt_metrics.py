"""Figures of transcription jobs for Prometheus: of all together, and by who recognises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from engine.store.jobs import Figures

if TYPE_CHECKING:
    from prometheus_client.core import Metric

GROUP: Final = "provider"
AMOUNTS: Final = (("payload", "estimated_cost"), ("result", "actual_cost"))  # of `Jobs.figures`, in the order in which they are read here
STATES: Final = {"queued": "queued", "running": "processing", "done": "completed", "failed": "failed"}


def _ratio(amount: float, count: int) -> float:
    return round(amount / count, 3) if count else 0.0


def totals(found: Iterable[Figures]) -> dict[str, float]:
    """Of all jobs, by the names of their metrics."""
    told = list(found)

    def count(state: str) -> int:
        return sum(one.count for one in told if one.state == state)

    return {
        "stt_jobs_enqueued_total": sum(one.count for one in told), "stt_jobs_processed_total": count("done"), "stt_jobs_failed_total": count("failed"),
        "stt_jobs_retried_total": sum(max(one.attempts - one.begun, 0) for one in told), "stt_queue_size": count("queued"),
        "stt_active_workers": count("running"), "stt_average_process_time_seconds": _ratio(sum(one.worked_s for one in told), sum(one.ended for one in told)),
    }  # fmt: skip


class SttMetrics:
    """A part of what is measured (`engine.metrics.Part`). Costs are in whatever money `stt.cost_per_minute` is."""

    def __init__(self, found: Iterable[Figures]) -> None:
        self._found = list(found)

    def collect(self) -> Iterator[Metric]:
        """All families."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, value in totals(self._found).items():
            if name.endswith("_total"):
                yield CounterMetricFamily(name.removesuffix("_total"), "Transcription jobs", value)
            else:
                yield GaugeMetricFamily(name, "Transcription jobs", value)
        jobs = GaugeMetricFamily("stt_provider_jobs", "Jobs that are kept", labels=["provider", "state"])
        waited = GaugeMetricFamily("stt_provider_average_wait_time_seconds", "From the submission of a job to its beginning", labels=["provider"])
        worked = GaugeMetricFamily("stt_provider_average_process_time_seconds", "From the beginning of a job to its end", labels=["provider"])
        estimated = CounterMetricFamily("stt_provider_estimated_cost", "What jobs were to cost when they were submitted", labels=["provider"])
        actual = CounterMetricFamily("stt_provider_cost", "What jobs that are done cost, where the provider says so", labels=["provider"])
        for provider in sorted({one.group for one in self._found}):
            own = [one for one in self._found if one.group == provider]
            for one in own:
                jobs.add_metric([provider, STATES.get(one.state, one.state)], one.count)
            waited.add_metric([provider], _ratio(sum(one.waited_s for one in own), sum(one.begun for one in own)))
            worked.add_metric([provider], _ratio(sum(one.worked_s for one in own), sum(one.ended for one in own)))
            for family, place in ((estimated, 0), (actual, 1)):
                family.add_metric([provider], round(sum(one.amounts[place] for one in own if one.amounts), 4))
        yield from (jobs, waited, worked, estimated, actual)


__all__ = ["AMOUNTS", "GROUP", "SttMetrics", "totals"]

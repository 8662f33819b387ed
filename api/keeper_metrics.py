"""What the keeper counts of analytics and of what goes to RabbitMQ, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ANALYTICS_SUBJECT: Final = "analytics.stats"
REALTIME_SUBJECT: Final = "realtime.stats"


class AnalyticsFigures(msgspec.Struct, frozen=True):
    """What is wanted here of `engine.analytics.service.AnalyticsStats`."""

    calls: int
    told: dict[str, int]
    lost: int


class RealtimeFigures(msgspec.Struct, frozen=True):
    """What is wanted here of `engine.realtime.publisher.Stats`."""

    published: int
    failed: int
    queued: int
    dropped: int
    retry_attempts: int
    average_latency_ms: float
    connected: bool


class KeeperMetrics:
    """A part of what is measured (`engine.metrics.Part`). What nobody told is left out."""

    def __init__(self, analytics: AnalyticsFigures | None, realtime: RealtimeFigures | None, queue: str) -> None:
        """`queue` is where messages go, or the exchange."""
        self._analytics = analytics
        self._realtime = realtime
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        """All families."""
        if self._analytics is not None:
            yield from _analytics(self._analytics)
        if self._realtime is not None:
            yield from _realtime(self._realtime, self._queue)


def _analytics(told: AnalyticsFigures) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield GaugeMetricFamily("siprec_analytics_calls", "Calls that are followed", told.calls)
    messages = CounterMetricFamily("siprec_analytics_messages", "Messages of transcripts and analytics, by what they tell", labels=["type"])
    for kind, count in sorted(told.told.items()):
        messages.add_metric([kind], count)
    yield messages
    yield CounterMetricFamily("siprec_analytics_messages_lost", "Messages that found no room", told.lost)


def _realtime(told: RealtimeFigures, queue: str) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield GaugeMetricFamily("siprec_amqp_connection_status", "1 while the broker takes messages", float(told.connected))
    published = CounterMetricFamily("siprec_amqp_published_messages", "Messages for the broker, by what became of them", labels=["queue", "status"])
    for status, count in (("published", told.published), ("failed", told.failed), ("dropped", told.dropped)):
        published.add_metric([queue, status], count)
    yield published
    yield GaugeMetricFamily("siprec_amqp_queue_length", "Messages that wait for the broker", told.queued)
    yield CounterMetricFamily("siprec_amqp_retry_attempts", "Messages that were sent again", told.retry_attempts)
    yield GaugeMetricFamily("siprec_amqp_average_latency_ms", "From a message to its confirmation", told.average_latency_ms)


__all__ = ["ANALYTICS_SUBJECT", "REALTIME_SUBJECT", "AnalyticsFigures", "KeeperMetrics", "RealtimeFigures"]

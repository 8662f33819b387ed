"""What the engine workers count of recording sessions, for Prometheus, under the names that dashboards of recording servers look for.

The workers count; whoever is asked for metrics asks them. A counter begins anew when its worker does, as Prometheus expects of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from api.engines import Figures

# (name, what it is, the worker's count)
GAUGES: Final = (
    ("siprec_sip_sessions_active", "Recording sessions that go on", "active"),
    ("siprec_paused_sessions", "Recording sessions of which anything is paused", "paused"),
    ("siprec_muted_sessions", "Recording sessions of which a leg is muted", "muted"),
    ("siprec_rtp_streams_active", "RTP streams that are received", "streams"),
    ("siprec_ports_in_use", "RTP ports in use", "ports_used"),
    ("siprec_ports_total", "RTP ports that there are", "ports_total"),
)
COUNTERS: Final = (
    ("siprec_sessions_created", "Recording sessions that were answered", "sessions_created_total"),
    ("siprec_sessions_terminated", "Recording sessions that are over", "sessions_ended_total"),
    ("siprec_sessions_refused", "Recording sessions that were refused", "sessions_refused_total"),
    ("siprec_session_failures", "Recording sessions of which something could not be kept", "sessions_failed_total"),
    ("siprec_sessions_paused", "Pauses", "pauses_total"),
    ("siprec_sessions_resumed", "Ends of pauses", "resumes_total"),
    ("siprec_recordings_started", "Recordings that were begun", "recordings_started_total"),
    ("siprec_recordings_completed", "Recordings that were sealed", "recordings_completed_total"),
    ("siprec_recording_errors", "Faults of recordings", "recording_errors_total"),
    ("siprec_rtp_packets_received", "RTP packets of recording sessions that are over", "packets_total"),
    ("siprec_rtp_bytes_received", "RTP payload of recording sessions that are over", "bytes_total"),
)
DROPPED: Final = (("lost", "lost_total"), ("late", "late_total"), ("duplicate", "duplicate_total"))
VENDOR: Final = "vendor."


class SessionMetrics:
    """A part of what is measured (`engine.metrics.Part`). Only what a worker counts is told."""

    def __init__(self, figures: Figures | None, version: str, uptime_s: float) -> None:
        self._figures = figures
        self._version = version
        self._uptime_s = uptime_s

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        yield GaugeMetricFamily("siprec_uptime_seconds", "Seconds since this server was started", self._uptime_s)
        build = GaugeMetricFamily("siprec_build_info", "The version that runs", labels=["version"])
        build.add_metric([self._version], 1.0)
        yield build
        if self._figures is None:
            return
        counts = self._figures.counts
        yield GaugeMetricFamily("siprec_active_calls", "Calls that are up", self._figures.calls)
        for name, told, count in GAUGES:
            if count in counts:
                yield GaugeMetricFamily(name, told, counts[count])
        for name, told, count in COUNTERS:
            if count in counts:
                yield CounterMetricFamily(name, told, counts[count])
        dropped = CounterMetricFamily("siprec_rtp_dropped_packets", "RTP packets that are missing in recordings that are over", labels=["reason"])
        for reason, count in DROPPED:
            if count in counts:
                dropped.add_metric([reason], counts[count])
        yield dropped
        vendors = GaugeMetricFamily("siprec_vendor_sessions_active", "Recording sessions by who sends them", labels=["vendor_type"])
        for name in sorted(counts):
            if name.startswith(VENDOR):
                vendors.add_metric([name.removeprefix(VENDOR)], counts[name])
        yield vendors


__all__ = ["COUNTERS", "GAUGES", "SessionMetrics"]

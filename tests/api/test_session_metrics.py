"""Figures of the engine workers as metrics and as health: names, values, and what is said where nobody answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api import checks
from api.engines import Engines, Figures
from api.session_metrics import COUNTERS, GAUGES, SessionMetrics
from engine.config import Config
from engine.config.document import Resources, Sip, Siprec, Stt
from engine.health import Result
from engine.metrics import exposition, simple
from engine.siprec.service import COUNTS
from engine.store.jobs import Figures as JobFigures

LISTENING = Config(sip=Sip(port=5060), resources=Resources(max_concurrent_calls=10))


def figures(silent: int = 0, workers: int = 2, **counts: int) -> Figures:
    return Figures({"has_room": workers - silent, **counts}, 3, workers, [f"worker.{number}" for number in range(silent)])


# ---- metrics ----


def test_what_is_counted_is_told_under_its_name() -> None:
    counted = figures(active=2, ports_used=8, pauses_total=5, lost_total=7, late_total=1, **{"vendor.oracle": 2, "vendor.cisco": 1})
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition([SessionMetrics(counted, "1.2.3", 60.0)])[0].decode()) for sample in family.samples
    }
    assert samples == {
        ("siprec_uptime_seconds",): 60.0, ("siprec_build_info", "1.2.3"): 1.0, ("siprec_active_calls",): 3.0, ("siprec_sip_sessions_active",): 2.0,
        ("siprec_ports_in_use",): 8.0, ("siprec_sessions_paused_total",): 5.0, ("siprec_rtp_dropped_packets_total", "lost"): 7.0,
        ("siprec_rtp_dropped_packets_total", "late"): 1.0, ("siprec_vendor_sessions_active", "oracle"): 2.0, ("siprec_vendor_sessions_active", "cisco"): 1.0,
    }
    sums = simple([SessionMetrics(counted, "1.2.3", 60.0)])
    assert sums["siprec_rtp_dropped_packets_total"] == 8.0
    assert sums["siprec_vendor_sessions_active"] == 3.0


def test_without_workers_the_server_tells_of_itself() -> None:
    alone = SessionMetrics(None, "1", 1.0)
    assert set(simple([alone])) == {"siprec_uptime_seconds", "siprec_build_info"}
    assert b"siprec_uptime_seconds 1.0" in exposition([alone])[0]


def test_names_are_used_once_and_what_they_count_is_counted() -> None:
    names = [name for name, _, _ in (*GAUGES, *COUNTERS)]
    assert len({*names, *(f"{name}_total" for name in names)}) == 2 * len(names)
    assert {count for _, _, count in (*GAUGES, *COUNTERS)} <= set(COUNTS)


# ---- health ----


@pytest.mark.parametrize(
    ("told", "status"),
    [(figures(), "healthy"), (figures(silent=1), "degraded"), (figures(silent=2), "unhealthy"), (None, "unhealthy")],
)
def test_sip_is_there_while_a_worker_answers(told: Figures | None, status: str) -> None:
    assert checks.sip(LISTENING, told).status == status
    assert checks.sip(Config(sip=Sip(port=0)), told).status == "not_configured"


@pytest.mark.parametrize(
    ("told", "status", "text"),
    [
        (figures(active=3), "healthy", "3 of 10"), (figures(active=10), "degraded", "max_concurrent_calls"), (figures(active=1, has_room=1), "degraded", "disk"),
        (figures(silent=1, active=1), "healthy", "1 of 10"), (None, "unhealthy", "no engine worker"),
    ],
)  # fmt: skip
def test_sessions_are_taken_while_there_is_room(told: Figures | None, status: str, text: str) -> None:
    result = checks.sessions(LISTENING, told)
    assert (result.status, text in result.message) == (status, True)


def test_sessions_that_are_not_taken_are_no_fault() -> None:
    for config in (Config(sip=Sip(port=0)), Config(siprec=Siprec(enabled=False))):
        assert checks.sessions(config, figures()) == Result("not_configured")


@pytest.mark.parametrize(("used", "status"), [(0, "healthy"), (89, "healthy"), (91, "degraded"), (100, "unhealthy"), (101, "unhealthy")])
def test_ports_run_low_before_they_run_out(used: int, status: str) -> None:
    assert checks.rtp_ports(figures(ports_total=100, ports_used=used)).status == status


def test_without_media_there_are_no_ports() -> None:
    for told in (None, figures(), figures(ports_total=0)):
        assert checks.rtp_ports(told) == Result("not_configured")


@pytest.mark.parametrize(
    ("counts", "status"),
    [({}, "healthy"), ({"queued": 1000, "done": 1}, "healthy"), ({"queued": 1001}, "degraded"), ({"done": 5, "failed": 5}, "healthy"), ({"done": 5, "failed": 6}, "degraded")],
)  # fmt: skip
def test_jobs_that_pile_up_or_fail_are_told(counts: dict[str, int], status: str) -> None:
    jobs = [JobFigures(state, count, 0, 0, 0.0, 0, 0.0, 0.0) for state, count in counts.items()]
    told = checks.transcription(Config(), jobs)
    assert told["stt_queue"].status == status
    assert {name for name in told if name != "stt_queue"} == {"stt_google", "stt_openai"}
    assert checks.transcription(Config(stt=Stt(async_enabled=False)), jobs) == {"stt_queue": Result("not_configured")}


# ---- asking ----


def test_figures_are_asked_for_once_for_all_who_want_them_within_a_moment() -> None:
    async def scenario() -> None:
        asked = []

        async def processes() -> Any:
            asked.append(1)
            await asyncio.sleep(0)
            return None

        engines = Engines(lambda: object(), processes)  # type: ignore[arg-type, return-value]
        assert await asyncio.gather(*(engines.latest() for _ in range(5))) == [None] * 5
        assert len(asked) == 1
        assert await engines.latest() is None
        assert len(asked) == 1

    asyncio.run(scenario())

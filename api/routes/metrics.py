"""/metrics for Prometheus, /metrics/simple as one JSON object."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from litestar import Request, Response, get

from api.auth import Principal
from api.errors import NotFound
from api.keeper_metrics import (
    ANALYTICS_SUBJECT,
    REALTIME_SUBJECT,
    AnalyticsFigures,
    KeeperMetrics,
    RealtimeFigures,
)
from api.machine_metrics import MachineMetrics
from api.scopes import PUBLIC
from api.session_metrics import SessionMetrics
from api.stt_metrics import AMOUNTS, GROUP, SttMetrics
from engine.errors import EngineError
from engine.metrics import Part, exposition
from engine.metrics import simple as sums
from engine.speech.jobs import KIND

if TYPE_CHECKING:
    from api.services import Services

ASK_S: Final = 1.0
Answer = TypeVar("Answer")


async def _admit(request: Request[Any, Any, Any]) -> None:
    """Metrics are public unless the configuration says otherwise; then they take the scope metrics.read."""
    services = request.app.state.services
    if services.config.http.metrics_public or services.authenticator is None:
        return
    principal: Principal = await services.authenticator.identify(request.scope["headers"], request.scope["query_string"])
    principal.demand(frozenset({"metrics.read"}))


async def _told(ask: Awaitable[Answer]) -> Answer | None:
    """What somebody tells; None where that is away: the rest is told all the same."""
    try:
        async with asyncio.timeout(ASK_S):
            return await ask
    except (EngineError, TimeoutError):
        return None


async def _parts(services: Services) -> list[Part]:
    """All that is measured, from whoever measures it."""
    config, engines = services.config, services.engines
    figures, analytics, realtime, jobs, family = await asyncio.gather(
        services.figures(),
        _told(engines.ask_keeper(ANALYTICS_SUBJECT, None, AnalyticsFigures)),
        _told(engines.ask_keeper(REALTIME_SUBJECT, None, RealtimeFigures)),
        _told(services.store.jobs.figures(KIND, GROUP, AMOUNTS)),
        services.processes(),
    )
    pids = [os.getpid()] if family is None else [family.pid, *(child.pid for child in family.children if child.pid is not None)]
    parts: list[Part] = [
        services.metrics,
        SessionMetrics(figures, services.version, services.clock() - services.started_at),
        KeeperMetrics(analytics, realtime if config.realtime.enabled else None, config.realtime.exchange or config.realtime.queue),
        MachineMetrics(pids, services.processors.percent(), len(asyncio.all_tasks())),
    ]
    return parts if jobs is None or not config.stt.async_enabled else [*parts, SttMetrics(jobs)]


def _wants_open_metrics(request: Request[Any, Any, Any]) -> bool:
    kinds = (each.partition(";")[0].strip().lower() for each in request.headers.get("accept", "").split(","))
    return "application/openmetrics-text" in kinds


@get(
    "/metrics",
    opt={
        "scopes": PUBLIC, "errors": (401, 403, 404),
        "answer": {"text/plain": {"schema": {"type": "string"}}, "application/openmetrics-text": {"schema": {"type": "string"}}},
    },
    tags=["metrics"],
)  # fmt: skip
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """All metrics in the text format of Prometheus, or that of OpenMetrics for who accepts it; of this machine. Not there where http.enable_metrics is off."""
    await _admit(request)
    services = request.app.state.services
    if not services.config.http.enable_metrics:
        raise NotFound("There is nothing at /metrics: http.enable_metrics is off")
    text, kind = await asyncio.to_thread(exposition, await _parts(services), open_metrics=_wants_open_metrics(request))
    # the framework adds the charset of texts
    return Response(text, media_type=kind.removesuffix("; charset=utf-8") if kind.startswith("text/") else kind, headers={"Vary": "Accept"})


@get("/metrics/simple", opt={"scopes": PUBLIC, "errors": (401, 403)}, tags=["metrics"])
async def simple(request: Request[Any, Any, Any]) -> dict[str, float]:
    """Every metric by name, summed over its labels."""
    await _admit(request)
    told: dict[str, float] = await asyncio.to_thread(sums, await _parts(request.app.state.services))
    return told


__all__ = ["metrics", "simple"]

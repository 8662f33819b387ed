"""/health, /health/live, /health/ready, /status: whether the server works, in the words of both contracts."""

from __future__ import annotations

import asyncio
import platform
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Request, Response, get

from api.scopes import PUBLIC, requires
from engine.clock import iso
from engine.health import system
from engine.supervisor import ChildStatus

if TYPE_CHECKING:
    from api.engines import Figures

BUILD: Final = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
SESSIONS: Final = ("active", "paused", "muted", "stored", "streams")


class CheckView(msgspec.Struct):
    """What one check says."""

    status: str
    message: str


class HealthView(msgspec.Struct):
    """The aggregated report. `uptime` is written as 72h32m10s."""

    status: str
    timestamp: str
    uptime: str
    version: str
    checks: dict[str, CheckView]
    system: dict[str, Any]


class Processes(msgspec.Struct):
    """The supervisor and its children."""

    pid: int
    ready: bool
    draining: bool
    children: list[ChildStatus]


class StatusView(msgspec.Struct):
    """Uptime, version and process figures. `sessions` are recording sessions, by what they do; null where no engine worker could be asked."""

    status: str
    uptime: str
    uptime_seconds: float
    version: str
    started_at: str
    build: dict[str, str]
    sip_registered: bool
    active_calls: int
    calls: list[dict[str, Any]]
    sessions: dict[str, int] | None
    system: dict[str, Any]
    processes: Processes | None


def uptime(seconds: float) -> str:
    """ "72h32m10s", "5m2s", "7s"."""
    whole = max(0, int(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _system(figures: Figures | None) -> dict[str, Any]:
    calls, ports = (figures.calls, figures.counts.get("ports_used", 0)) if figures is not None else (0, 0)
    return {**system(), "goroutines": len(asyncio.all_tasks()), "active_calls": calls, "ports_in_use": ports}


@get("/health", opt={"scopes": PUBLIC, "errors": (503,), "told_too": (503,)}, tags=["health"])
async def health(request: Request[Any, Any, Any]) -> Response[HealthView]:
    """Aggregated health with a check a subsystem; 503 only when the server does not work."""
    services = request.app.state.services
    results = await services.health.results()
    status = await services.health.status()
    word = services.config.http.health_status_word if status == "healthy" else status
    now = services.clock()
    told = HealthView(
        word, iso(now), uptime(now - services.started_at), services.version,
        {name: CheckView(result.status, result.message) for name, result in results.items()}, _system(await services.figures()),
    )  # fmt: skip
    return Response(told, status_code=503 if status == "unhealthy" else 200)


TEXT_ANSWER = {"text/plain": {"schema": {"type": "string"}}}


@get("/health/live", opt={"scopes": PUBLIC, "answer": TEXT_ANSWER}, tags=["health"], sync_to_thread=False)
def live() -> Response[str]:
    """200 while the process runs."""
    return Response("ok", media_type="text/plain")


@get("/health/ready", opt={"scopes": PUBLIC, "answer": TEXT_ANSWER, "errors": (503,), "told_too": (503,)}, tags=["health"])
async def ready(request: Request[Any, Any, Any]) -> Response[str]:
    """200 when requests can be answered, 503 when a critical dependency is out of reach."""
    works = await request.app.state.services.health.status() != "unhealthy"
    return Response("ready" if works else "not ready", media_type="text/plain", status_code=200 if works else 503)


@get("/status", opt={"scopes": requires("status.read")}, tags=["health"])
async def status(request: Request[Any, Any, Any]) -> StatusView:
    """Uptime, version, processes."""
    services = request.app.state.services
    now = services.clock()
    told, figures = await asyncio.gather(services.processes(), services.figures())
    processes = Processes(told.pid, told.ready, told.draining, told.children) if told is not None else None
    return StatusView(
        status="ok", uptime=uptime(now - services.started_at), uptime_seconds=round(now - services.started_at, 3),
        version=services.version, started_at=iso(services.started_at), build={"version": services.version, **BUILD},
        sip_registered=figures is not None and figures.counts.get("registered", 0) > 0, active_calls=figures.calls if figures is not None else 0, calls=[],
        sessions={name: figures.counts.get(name, 0) for name in SESSIONS} if figures is not None else None, system=_system(figures), processes=processes,
    )  # fmt: skip


__all__ = ["health", "live", "ready", "status", "uptime"]

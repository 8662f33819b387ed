"""/metrics for Prometheus, /metrics/simple as one JSON object."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get

from api.auth import Principal
from api.errors import NotFound
from api.scopes import PUBLIC
from api.session_metrics import exposition, simple_figures


async def _admit(request: Request[Any, Any, Any]) -> None:
    """Metrics are public unless the configuration says otherwise; then they take the scope metrics.read."""
    services = request.app.state.services
    if services.config.http.metrics_public or services.authenticator is None:
        return
    principal: Principal = await services.authenticator.identify(request.scope["headers"], request.scope["query_string"])
    principal.demand(frozenset({"metrics.read"}))


@get(
    "/metrics",
    opt={"scopes": PUBLIC, "errors": (401, 403, 404), "answer": {"text/plain": {"schema": {"type": "string"}}}},
    tags=["metrics"],
)
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """All metrics in the Prometheus text format, summed over the processes of this machine; not there where http.enable_metrics is off."""
    await _admit(request)
    services = request.app.state.services
    if not services.config.http.enable_metrics:
        raise NotFound("There is nothing at /metrics: http.enable_metrics is off")
    figures = await services.figures()
    text, kind = await asyncio.to_thread(services.metrics.exposition)
    return Response(text + exposition(figures, services.version, services.clock() - services.started_at), media_type=kind)


@get("/metrics/simple", opt={"scopes": PUBLIC, "errors": (401, 403)}, tags=["metrics"])
async def simple(request: Request[Any, Any, Any]) -> dict[str, float]:
    """Every metric by name, summed over its labels."""
    await _admit(request)
    services = request.app.state.services
    figures = await services.figures()
    told: dict[str, float] = await asyncio.to_thread(services.metrics.simple)
    return told | simple_figures(figures, services.version, services.clock() - services.started_at)


__all__ = ["metrics", "simple"]

"""The HTTP application: routes, and around them identification, audit, limits and the request log."""

from __future__ import annotations

from typing import Any

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders, State
from litestar.openapi.config import OpenAPIConfig
from litestar.types import ASGIApp, Message, Scope

from api import plans
from api.audit import Audit
from api.auth import ANONYMOUS, LOOPBACK_HOSTS, Identify, Principal, local_principal
from api.errors import HANDLERS, ApiError
from api.request_log import RequestLog
from api.routes import calls, compliance, config, docs, keys, metrics, recordings, sessions, stt
from api.routes import live as live_calls
from api.routes.analyze import analyze
from api.routes.audit import list_audit
from api.routes.health import health, live, ready, status
from api.scopes import undeclared
from api.services import Services
from api.sockets import ROUTES as SOCKETS
from engine.errors import EngineError

DESCRIPTION = (
    "Explains SIP and RTP traces and keeps the calls found in them: findings, ladders, media quality. Keys go into "
    "Authorization: Bearer or X-API-Key."
)
BODY_MAX_BYTES = 1 << 20  # of everything but uploads, which say their own limit


async def _limit_headers(message: Message, scope: Scope) -> None:
    """The caller's budget on every response to somebody who is known, errors included."""
    if message["type"] != "http.response.start":
        return
    told: Any = scope
    principal: Principal | None = told.get("principal")
    if principal is None:  # no route took the request, or nobody was let in
        principal = await told["litestar_app"].state.identify.whoever(told) if "route_handler" not in told else ANONYMOUS
    if principal.kind == "anonymous":
        return
    headers = MutableScopeHeaders.from_message(message)
    if "X-RateLimit-Limit" in headers:
        return
    try:
        usage = await told["litestar_app"].state.services.budget.usage(principal)
    except (ApiError, EngineError):
        return  # a plan that is gone, a store that does not answer: the answer itself says so
    for name, value in plans.headers(usage).items():
        headers[name] = value


def _in_brackets(host: str) -> str:
    """A host as the Host header has it."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def application(services: Services) -> Litestar:
    """The routes alone. Raises ValueError when one of them does not say who may call it."""
    http = services.config.http
    identify = Identify(
        services.authenticator,
        admit=lambda principal: services.plans.admit(principal),
        local=local_principal(services.config.default_plan),
        hosts=LOOPBACK_HOSTS | frozenset(host.lower() for host in (*http.hosts, _in_brackets(http.host)) if host),
        proxies=http.trusted_proxies,
    )

    def warm() -> None:
        from engine.trace.analysis import rules

        rules()

    app = Litestar(
        route_handlers=[
            analyze, keys.list_keys, keys.generate_key, keys.revoke_key, *calls.ROUTES, *live_calls.ROUTES, *config.ROUTES, list_audit,
            health, live, ready, status, metrics.metrics, metrics.simple, docs.openapi, docs.docs, *SOCKETS,
            *sessions.ROUTES, *compliance.ROUTES, *recordings.ROUTES, *stt.ROUTES,
        ],
        state=State({"services": services, "identify": identify}),
        exception_handlers=HANDLERS,
        middleware=[Audit(services.store.audit.add, services.clock), identify],
        before_send=[_limit_headers],
        on_startup=[warm],
        request_max_body_size=http.upload_max_bytes,
        multipart_form_part_limit=32,
        logging_config=None,
        openapi_config=OpenAPIConfig("Trunkline", services.version, description=DESCRIPTION, use_handler_docstrings=True),
    )  # fmt: skip
    if silent := [route for route in undeclared(app) if not route.endswith("/schema") and "/schema/" not in route]:
        raise ValueError(f"routes that do not say who may call them: {', '.join(silent)}")
    return app


def create(services: Services) -> ASGIApp:
    """The application as it is served."""
    return RequestLog(
        application(services),
        services.metrics,
        version=services.version,
        header_max_bytes=lambda: services.config.http.header_max_bytes,
        telemetry=services.telemetry,
    )


__all__ = ["application", "create"]

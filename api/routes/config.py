"""/api/config: the configuration in force without its secrets, validation of a candidate, reload."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from api.errors import InvalidParameter, TooLarge
from api.scopes import requires
from api.services import ReloadEvent
from engine.clock import iso
from engine.config import Config, ConfigError, Problem, check, redacted
from engine.config.loading import PROBLEMS_MAX, merged, parse_noted

DOCUMENT_MAX_BYTES = 1 << 20


class ConfigView(msgspec.Struct):
    """The configuration in force."""

    config: dict[str, Any]
    sources: dict[str, str]
    timestamp: str
    message: str


class Fault(msgspec.Struct):
    """One thing that is wrong with a candidate."""

    field: str
    message: str
    value: str = ""
    rule: str = ""


class Advice(msgspec.Struct):
    """One thing to think about."""

    field: str
    message: str
    value: str = ""
    suggestion: str = ""


class Validation(msgspec.Struct):
    """The answer to a validation."""

    valid: bool
    errors: list[Fault]
    warnings: list[Advice]
    summary: str
    timestamp: str


class ReloadView(msgspec.Struct):
    """A reload as it is told."""

    timestamp: str
    config_path: str
    success: bool
    changes: list[dict[str, Any]]
    errors: list[str]
    warnings: list[str]
    reload_time: float
    trigger_type: str


class Reloaded(msgspec.Struct):
    """The answer to a reload."""

    success: bool
    event: ReloadView
    message: str
    timestamp: str


class ReloadStatus(msgspec.Struct):
    """Whether reloads are possible, and the last one."""

    enabled: bool
    last_reload: ReloadView | None
    current_config_path: str
    message: str


def _event(event: ReloadEvent) -> ReloadView:
    return ReloadView(
        iso(event.timestamp), event.config_path, event.success, event.changes, event.errors, event.warnings,
        event.reload_time, event.trigger_type,
    )  # fmt: skip


@get("/api/config", opt={"scopes": requires("config.read")}, tags=["config"])
async def get_config(request: Request[Any, Any, Any]) -> ConfigView:
    """The configuration in force. Secrets are shown as ***."""
    services = request.app.state.services
    return ConfigView(
        redacted(services.config), services.loaded.sources, iso(services.clock()), "Secrets are not shown"
    )


@post(
    "/api/config/validate",
    status_code=200,
    opt={
        "scopes": requires("config.write"), "errors": (400, 413), "told_too": (400,), "audit": "config.validate",
        "body": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}, "application/toml": {"schema": {"type": "string"}}, "application/yaml": {"schema": {"type": "string"}}}},
    },
    tags=["config"],
)  # fmt: skip
async def validate_config(request: Request[Any, Any, Any]) -> Response[Validation]:
    """Checks a candidate document, JSON or TOML, or YAML where its content type says so, and changes nothing. 400 when it could not be used."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > DOCUMENT_MAX_BYTES:
            raise TooLarge("A configuration document has at most 1 MiB")
    if not body.strip():
        raise InvalidParameter("The request body is empty: send the document to validate")
    errors: list[Problem] = []
    warnings: list[Problem] = []
    try:
        is_yaml = "yaml" in request.headers.get("content-type", "").lower()
        document, strange = await asyncio.to_thread(parse_noted, bytes(body), "document.yaml" if is_yaml else "the document")
        config: Config = merged(document)
        errors, warnings = check(config)
        warnings = [*strange[:PROBLEMS_MAX], *warnings]
    except ConfigError as error:
        errors = error.problems
    told = Validation(
        valid=not errors,
        errors=[Fault(problem.path, problem.text) for problem in errors],
        warnings=[Advice(problem.path, problem.text) for problem in warnings],
        summary=f"{len(errors)} error(s), {len(warnings)} warning(s)",
        timestamp=iso(request.app.state.services.clock()),
    )
    return Response(told, status_code=400 if errors else 200)


@post(
    "/api/config/reload", status_code=200,
    opt={"scopes": requires("config.write"), "audit": "config.reload", "errors": (400,), "told_too": (400,)}, tags=["config"],
)  # fmt: skip
async def reload_config(request: Request[Any, Any, Any]) -> Response[Reloaded]:
    """Reads the configuration again, in every process. What takes a restart is named; a faulty document changes nothing."""
    services = request.app.state.services
    event: ReloadEvent = services.reload("api")
    if event.success:
        await services.announce_reload()
    request.state.audit = ("config", {"success": event.success, "fields": [change["field"] for change in event.changes]})
    told = Reloaded(
        event.success, _event(event),
        "Configuration reloaded" if event.success else "The configuration is faulty; the one before it stays in force",
        iso(services.clock()),
    )  # fmt: skip
    return Response(told, status_code=200 if event.success else 400)


@get("/api/config/reload/status", opt={"scopes": requires("config.read")}, tags=["config"])
async def reload_status(request: Request[Any, Any, Any]) -> ReloadStatus:
    """Whether reloads are possible, and what the last one did."""
    services = request.app.state.services
    last = services.last_reload
    return ReloadStatus(
        True, _event(last) if last is not None else None, str(services.loaded.path or ""),
        "No reload yet" if last is None else "Last reload succeeded" if last.success else "Last reload failed",
    )  # fmt: skip


ROUTES = [get_config, validate_config, reload_config, reload_status]

__all__ = ["ROUTES"]

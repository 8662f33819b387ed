"""What goes wrong over HTTP, always as JSON: {"error": text, "code": stable code}."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from engine.errors import EngineError
from engine.store import BadCursor
from engine.trace.report_text import printable

log = logging.getLogger("trunkline.api")

CODES = {
    400: "request.invalid",
    401: "auth.required",
    403: "auth.forbidden",
    404: "route.not_found",
    405: "route.method_not_allowed",
    413: "request.too_large",
    415: "request.media_type",
    429: "rate.limited",
    500: "server.error",
    503: "service.unavailable",
}


class ApiError(Exception):
    """An answer that is an error. `headers` are added to it."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "request.invalid"

    def __init__(self, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.headers = headers or {}


class MissingParameter(ApiError):
    """A required field is not there."""

    code = "request.missing_parameter"


class InvalidParameter(ApiError):
    """A field is there, and is not what it must be."""

    code = "request.invalid_parameter"


class NotFound(ApiError):
    """What was asked for is not there, or not the caller's."""

    status = 404
    code = "request.not_found"


class UnreadableTrace(ApiError):
    """The trace holds nothing that can be read."""

    code = "trace.unreadable"


class TooLarge(ApiError):
    """The trace or the upload passes its limit."""

    status = 413
    code = "request.too_large"


class WrongMediaType(ApiError):
    """A body of a kind that the route does not take."""

    status = 415
    code = "request.media_type"


class QuotaSpent(ApiError):
    """No analysis is left today."""

    status = 429
    code = "rate.limited"


class Busy(ApiError):
    """More analyses wait than the server takes on, or one did not fit into memory."""

    status = 503
    code = "service.unavailable"


def answer(status: int, text: str, code: str, headers: dict[str, str] | None = None) -> Response[dict[str, str]]:
    """The JSON body of an error."""
    return Response({"error": printable(text), "code": code}, status_code=status, headers=headers, media_type="application/json")


def on_api_error(request: Request[Any, Any, Any], error: ApiError) -> Response[dict[str, str]]:
    """Errors raised on purpose."""
    if (services := request.app.state.get("services")) is not None:
        services.metrics.refused(error.code)
    return answer(error.status, str(error), error.code, error.headers)


def on_bad_cursor(request: Request[Any, Any, Any], error: BadCursor) -> Response[dict[str, str]]:
    """A page was asked for behind a cursor of somebody else's."""
    return on_api_error(request, InvalidParameter("cursor: not one of this server's cursors"))


# Engine errors that a caller can do something about, by the start of their code; all others are the server's own fault.
ENGINE_STATUSES = (
    ("trace.", 400), ("config.", 400), ("store.conflict", 409), ("store.", 503), ("bus.", 503),
    ("engine.capacity", 503), ("siprec.unknown_session", 404), ("siprec.pausing_off", 404), ("siprec.per_session_off", 404), ("siprec.not_asked", 409),
    ("recording.unknown", 404), ("recording.unreadable", 500), ("recording.no_file", 404), ("recording.erased", 410), ("recording.held", 409), ("recording.bad_hold", 400),
    ("recording.", 503), ("storage.", 503), ("keys.", 503),
)  # fmt: skip


def on_engine_error(request: Request[Any, Any, Any], error: EngineError) -> Response[dict[str, str]]:
    """Errors of the engine that no route foresaw: the table above says what they mean over HTTP."""
    status = next((status for start, status in ENGINE_STATUSES if error.code.startswith(start)), 500)
    if status >= 500:
        log.error("%s %s: %s", request.scope["method"], request.scope["path"], error)
    if status == 500:
        return answer(500, "The server failed to answer this request", CODES[500])
    headers = {"Retry-After": "1"} if status == 503 else None
    return answer(status, str(error) if status < 500 else "A part of the server is not available", error.code, headers)


def _fault(fault: dict[str, Any]) -> str:
    """A fault as the framework tells it: the body of a route is called `data` there, and one that is missing only its name."""
    key, text = str(fault.get("key", "body")), str(fault.get("message", ""))
    if key == "data" and text == "'data'":
        return "The request body is missing"
    return f"{'body' if key == 'data' else key}: {text}"


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    """Errors of the framework: no such route, wrong method, body over the limit."""
    status = error.status_code
    path, method = request.scope["path"], request.scope["method"]
    if status == 400 and isinstance(error.extra, list) and error.extra:
        faults = (_fault(fault) for fault in error.extra if isinstance(fault, dict))
        return answer(400, "; ".join(faults) or error.detail, "request.invalid_parameter")
    text = {
        404: f"There is nothing at {path}",
        405: f"{method} is not possible at {path}",
        413: "The request body exceeds the limit of this server",
    }.get(status, error.detail or "The request failed")
    if status >= 500:
        log.error("%s %s: %s", method, path, error.detail)
    return answer(status, text, CODES.get(status, "request.failed"), dict(error.headers or {}))


def on_any_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    """What nobody foresaw: logged with its traceback, told without it."""
    log.error("%s %s failed", request.scope["method"], request.scope["path"], exc_info=error)
    return answer(500, "The server failed to answer this request", CODES[500])


HANDLERS: Final[ExceptionHandlersMap] = {
    ApiError: on_api_error, HTTPException: on_http_error, BadCursor: on_bad_cursor, EngineError: on_engine_error, Exception: on_any_error,
}  # fmt: skip

__all__ = [
    "HANDLERS", "ApiError", "Busy", "InvalidParameter", "MissingParameter", "NotFound", "QuotaSpent", "TooLarge", "UnreadableTrace",
    "WrongMediaType", "answer", "on_api_error",
]  # fmt: skip

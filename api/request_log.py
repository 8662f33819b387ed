"""Around every request: its id, its line in the log, its count, the headers of every answer, the limit on its own headers."""

from __future__ import annotations

import itertools
import logging
import os
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from engine.metrics import Metrics
from engine.telemetry import Telemetry

log = logging.getLogger("trunkline.access")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
UNMATCHED = "unmatched"


class RequestLog:
    """Pure ASGI, around the whole application: errors of the framework pass through it too."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        version: str,
        header_max_bytes: Callable[[], int],
        telemetry: Telemetry | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._header_max_bytes = header_max_bytes
        self._telemetry = telemetry
        self._clock = clock
        # unique among all processes that ever ran: a random stem and a count
        self._stem = os.urandom(8).hex()
        self._numbers = itertools.count(1)
        self._fixed = [
            # the first word is the one that clients of recording servers look for (RFC 9110 10.2.4)
            (b"server", f"siprec/{version} trunkline/{version}".encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one WebSocket, or the life of the application."""
        told: Any = scope
        if told["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock()
        request_id = b""
        size = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                request_id = value
        if not request_id:
            request_id = f"{self._stem}-{next(self._numbers):x}".encode()
        told["request_id"] = request_id.decode()
        structlog.contextvars.bind_contextvars(request_id=told["request_id"])
        answered = [500, 0]
        span = None
        if self._telemetry is not None:
            span = self._telemetry.begin(told["method"], told["path"], told["headers"], told["request_id"])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered[0] = message["status"]
                headers = [pair for pair in message["headers"] if pair[0] != b"server"]
                headers += self._fixed
                headers.append((b"x-request-id", request_id))
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            elif message["type"] == "http.response.body":
                answered[1] += len(message.get("body", b""))
            await send(message)

        try:
            if size > self._header_max_bytes():
                await _refuse(sending)
            else:
                await self._app(scope, receive, sending)
        finally:
            route = self._note(told, answered, self._clock() - began)
            if self._telemetry is not None:
                self._telemetry.end(span, told["method"], "" if route is UNMATCHED else route, answered[0])

    def _note(self, scope: Any, answered: list[int], elapsed_s: float) -> str:
        template = scope.get("path_template")
        route = template if isinstance(template, str) and template else UNMATCHED
        status, size = answered
        self._metrics.request(route, scope["method"], status, elapsed_s)
        if log.isEnabledFor(logging.INFO if status >= 500 else logging.DEBUG):
            principal = scope.get("principal")
            log.log(
                logging.INFO if status >= 500 else logging.DEBUG,
                "%s %s %d", scope["method"], scope["path"], status,
                extra={
                    "route": route, "elapsed_ms": round(elapsed_s * 1000, 3), "bytes": size,
                    "owner": getattr(principal, "owner", ""),
                },
            )  # fmt: skip
        return route


async def _refuse(send: Send) -> None:
    body = msgspec.json.encode({"error": "The request headers are too large", "code": "request.headers_too_large"})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start: Any = {"type": "http.response.start", "status": 431, "headers": headers}
    rest: Any = {"type": "http.response.body", "body": body, "more_body": False}
    await send(start)
    await send(rest)


__all__ = ["RequestLog"]

"""/openapi.json and /docs: what can be asked, for programs and for people."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get

from api.errors import NotFound
from api.openapi import document, page
from api.scopes import PUBLIC

CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _document(request: Request[Any, Any, Any]) -> dict[str, Any]:
    services = request.app.state.services
    if not services.config.http.docs:
        raise NotFound("The documentation is switched off")
    state = request.app.state
    if "openapi" not in state:
        state.openapi = document(request.app, services.version)
    told: dict[str, Any] = state.openapi
    return told


@get("/openapi.json", opt={"scopes": PUBLIC, "errors": (404,)}, include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The OpenAPI document."""
    return Response(msgspec.json.encode(_document(request)), media_type="application/json")


@get("/docs", opt={"scopes": PUBLIC, "errors": (404,)}, include_in_schema=False, sync_to_thread=False)
def docs(request: Request[Any, Any, Any]) -> Response[str]:
    """The same as a page; nothing is fetched from elsewhere and nothing runs in it."""
    return Response(page(_document(request)), media_type="text/html", headers={"Content-Security-Policy": CSP})


__all__ = ["docs", "openapi"]

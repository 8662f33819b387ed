"""The OpenAPI document: what Litestar knows of the routes, and what only we know: scopes, errors, headers, bodies read by hand.

`/openapi.json` serves it, `/docs` shows it as one page without scripts and without anything fetched from elsewhere.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.scopes import PUBLIC, SCOPES, needed_by

ERROR = {"$ref": "#/components/schemas/Error"}
ERRORS = {
    400: ("The request is malformed or misses a parameter", "trace is required", "request.missing_parameter"),
    401: ("The key or token is missing, invalid, expired or revoked", "The API key is not valid", "auth.invalid"),
    403: ("The caller may not do this, or the plan has no API", "This needs the scope calls.read", "auth.forbidden"),
    404: ("There is no such thing", "There is no such call", "request.not_found"),
    409: ("It cannot be done as things are", "The recorded side cannot be asked now", "siprec.not_asked"),
    410: ("It was there, and was erased", "The recording was erased", "recording.erased"),
    413: ("The body exceeds its limit", "trace exceeds the limit of 500 KB", "request.too_large"),
    415: ("A body of this media type is not taken", "Send JSON", "request.media_type"),
    416: ("The range of bytes is behind the end", "", "request.range"),
    429: ("The daily budget is spent, or too many attempts failed", "Rate limit of 100 requests a day exceeded", "rate.limited"),
    431: ("The headers exceed their limit", "The request headers are too large", "request.headers_too_large"),
    500: ("The server failed", "The server failed to answer this request", "server.error"),
    503: ("Too busy or not ready; retry with backoff", "Too many analyses are waiting", "service.unavailable"),
}
LIMIT_HEADERS = {
    "X-RateLimit-Limit": "Analyses a day",
    "X-RateLimit-Remaining": "Analyses left today, of the user or the team, whichever is less",
    "X-RateLimit-Reset": "The next midnight UTC, in seconds since 1970",
}
PROTECTED_ERRORS = (401, 403, 429, 431, 500, 503)
OPEN_ERRORS = (431, 500, 503)


def document(app: Litestar, version: str) -> dict[str, Any]:
    """The whole document, as plain dicts and lists."""
    told = app.openapi_schema.to_schema()
    schemas = told.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = {
        "type": "object",
        "required": ["error", "code"],
        "properties": {
            "error": {"type": "string", "description": "What went wrong, in a sentence"},
            "code": {"type": "string", "description": "The same for every occurrence of this error"},
            "request_id": {"type": "string", "description": "Names the request in the server's log"},
        },
    }
    told["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key (sips_...) or a JSON Web Token"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    told["info"]["version"] = version
    for path, method, handler in _operations(app):
        operation = told["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            _complete(operation, handler)
    return told


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods:
                    yield route.path_format, str(method), handler


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    needed = needed_by(handler) or PUBLIC
    responses = operation.setdefault("responses", {})
    responses.pop("400", None)
    statuses: Iterable[int] = (*handler.opt.get("errors", ()), *(PROTECTED_ERRORS if needed else OPEN_ERRORS))
    if operation.get("parameters") or operation.get("requestBody") or handler.opt.get("body"):
        statuses = {400, *statuses}
    if operation.get("requestBody") or handler.opt.get("body"):
        statuses = {413, 415, *statuses}
    for status in sorted(set(statuses)):
        responses.setdefault(str(status), _error(status))
    if needed:
        operation["security"] = [{"bearer": []}, {"header": []}]
        operation["x-scopes"] = sorted(needed)
        for name in responses:
            responses[name].setdefault("headers", {}).update(_headers(LIMIT_HEADERS) if name.startswith("2") else {})
    else:
        operation["security"] = []
    if "body" in handler.opt:
        operation["requestBody"] = handler.opt["body"]
    for status in handler.opt.get("told_too", ()):  # the answer of a success, with what went wrong in it
        content = responses[str(status)]["content"]
        for kind, told in handler.opt.get("answer", responses["200"].get("content", {})).items():
            content[kind] = {"schema": {"anyOf": [told["schema"], ERROR]}} if kind in content else told
    if "answer" in handler.opt:
        responses["200"]["content"] = handler.opt["answer"]


def _headers(told: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "integer"}} for name, text in told.items()}


def _error(status: int) -> dict[str, Any]:
    text, example, code = ERRORS[status]
    return {
        "description": text,
        "content": {"application/json": {"schema": ERROR, "example": {"error": example, "code": code}}},
    }


# ---- the page ----

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:62rem;padding:1rem 1.5rem;color:#1b1f24}"
    "h1{font-size:1.6rem}h2{margin-top:2.2rem;border-bottom:1px solid #d0d7de;font-size:1.2rem}"
    "details{margin:.5rem 0;border:1px solid #d0d7de;border-radius:6px;padding:.4rem .8rem}summary{cursor:pointer}"
    "code,pre{font:13px/1.45 ui-monospace,monospace;background:#f6f8fa;border-radius:4px}code{padding:.1rem .3rem}"
    "pre{padding:.6rem;overflow:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem;"
    "border-bottom:1px solid #eaeef2;vertical-align:top}.m{display:inline-block;min-width:4.5rem;font-weight:600}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}code,pre{background:#161b22}"
    "h2,details,td,th{border-color:#30363d}}"
)


def page(told: dict[str, Any]) -> str:
    """The document as one HTML page."""
    groups: dict[str, list[str]] = {}
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(method.upper(), path, operation, told))
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{_text(told['info']['title'])}</title><style>{STYLE}</style>",
        f"<h1>{_text(told['info']['title'])} {_text(told['info']['version'])}</h1>",
        f"<p>{_text(told['info'].get('description', ''))}</p>",
        "<p>The same as a document: <a href=/openapi.json>openapi.json</a></p>",
    ]
    for tag in sorted(groups):
        parts += [f"<h2>{_text(tag)}</h2>", *groups[tag]]
    parts += ["<h2>scopes</h2><table>", *(f"<tr><td><code>{_text(n)}</code><td>{_text(t)}" for n, t in SCOPES.items()), "</table>"]
    return "".join(parts)


def _text(value: Any) -> str:
    return html.escape(str(value))


def _operation(method: str, path: str, operation: dict[str, Any], told: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{_text(p['name'])}</code> {_text(p['in'])}<td>{_text(p.get('description') or p['schema'].get('type', ''))}"
        for p in operation.get("parameters", [])
    ]
    answers = [
        f"<tr><td>{_text(status)}<td>{_text(answer.get('description', ''))}"
        for status, answer in sorted(operation.get("responses", {}).items())
    ]
    scopes = ", ".join(operation.get("x-scopes", [])) or "none: open to everybody"
    bodies = ", ".join(operation.get("requestBody", {}).get("content", {}))
    return (
        f"<details><summary><span class=m>{_text(method)}</span><code>{_text(path)}</code> "
        f"{_text(operation.get('summary', ''))}</summary><p>{_text(operation.get('description', ''))}</p>"
        f"<p>Scopes: {_text(scopes)}</p>"
        + (f"<table>{''.join(rows)}</table>" if rows else "")
        + (f"<p>Body: <code>{_text(bodies)}</code></p>" if bodies else "")
        + f"<table>{''.join(answers)}</table></details>"
    )


__all__ = ["ERRORS", "document", "page"]

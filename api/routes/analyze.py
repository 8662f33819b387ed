"""POST /v1/analyze: a trace in, findings out.

Three ways to hand a trace over: the documented JSON, `{"trace": text, "context": {"issue", "endpoints"}}`, at most
500 KB of text; the file itself as the body (application/octet-stream, application/vnd.tcpdump.pcap or another type of
BINARY); or a multipart form with a file in it. Files take `issue` and `endpoints` from the query string or the form.
With `store` (in the JSON, the query string or the form) the trace is kept: its calls get numbers and can be read under
/api/v1/calls.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec
from litestar import Request, post
from litestar.datastructures import UploadFile
from litestar.response.base import ASGIResponse

from api.auth import Forbidden, Principal, principal_of
from api.errors import Busy, InvalidParameter, MissingParameter, TooLarge, UnreadableTrace, WrongMediaType
from api.plans import Usage, headers
from api.scopes import requires
from engine.clock import iso
from engine.errors import CapacityError, TraceError
from engine.trace.report_text import harmless_json

if TYPE_CHECKING:
    from api.services import Services
    from engine.trace.finding import Report
    from engine.trace.tables import Tables

TRACE_MAX_BYTES = 500 * 1024
JSON_MAX_BYTES = 6 * TRACE_MAX_BYTES + 65_536  # every byte of the trace may be written as \u00XX
ISSUE_MAX, LABEL_MAX, LABELS_MAX = 1_000, 200, 100
WAITING_PER_THREAD = 16
KEPT_TOPIC = "trace.kept"
EVENT_CALLS_MAX = 100  # named in the event that tells of a kept trace
INLINE_MAX_BYTES = 16_384  # analysed in less time than a thread needs to take it over
BINARY = frozenset(
    {
        "application/octet-stream", "application/vnd.tcpdump.pcap", "application/x-pcap", "application/pcap",
        "application/x-pcapng", "application/gzip", "application/x-gzip", "application/zstd",
    }
)  # fmt: skip
JSON = frozenset({"application/json", "", "application/x-www-form-urlencoded"})  # what clients say who say nothing
Result = TypeVar("Result")


_EXAMPLE = {
    "trace": "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776\n...",
    "context": {"issue": "one-way-audio", "endpoints": ["Softphone", "Carrier"]},
}
_FILE = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["trace"],
                "properties": {
                    "trace": {"type": "string", "minLength": 1, "description": "The trace as text, at most 500 KB"},
                    "context": {
                        "type": ["object", "null"],
                        "properties": {
                            "issue": {"type": ["string", "null"], "maxLength": ISSUE_MAX, "description": "The symptom"},
                            "endpoints": {
                                "type": ["array", "null"],
                                "maxItems": LABELS_MAX,
                                "items": {"type": "string", "maxLength": LABEL_MAX},
                                "description": "Labels of the hosts, in order of appearance",
                            },
                        },
                    },
                    "store": {"type": "boolean", "default": False, "description": "Keep the trace and number its calls"},
                },
            },
            "example": _EXAMPLE,
        },
        "application/octet-stream": _FILE,
        "application/vnd.tcpdump.pcap": _FILE,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "issue": {"type": "string"},
                    "endpoints": {"type": "string"},
                    "store": {"type": "string", "enum": ["true", "false"]},
                },
            }
        },
    },
}
_COUNTS = {name: {"type": "integer"} for name in ("critical", "high", "medium", "low", "info")}
ANSWER = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["findings", "severity_counts", "recommendations", "meta", "summary"],
            "properties": {
                "findings": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["severity", "category", "title", "detail", "recommendation"],
                        "properties": {
                            "severity": {"type": "string", "enum": list(_COUNTS)},
                            "category": {"type": "string"},
                            "title": {"type": "string"},
                            "detail": {"type": "string"},
                            "recommendation": {"type": "string"},
                        },
                    },
                },
                "severity_counts": {"type": "object", "required": list(_COUNTS), "properties": _COUNTS},
                "recommendations": {"type": "array", "items": {"type": "string"}},
                "meta": {
                    "type": "object",
                    "required": ["analyzed_at", "elapsed_ms", "plan", "calls_today", "calls_remaining", "calls_limit"],
                    "properties": {
                        "analyzed_at": {"type": "string", "format": "date-time"},
                        "elapsed_ms": {"type": "number"},
                        "plan": {"type": "string"},
                        "calls_today": {"type": "integer"},
                        "calls_remaining": {"type": "integer"},
                        "calls_limit": {"type": "integer"},
                    },
                },
                "summary": {"type": "object"},
                "stored": {"type": "object"},
            },
        }
    }
}


class Context(msgspec.Struct):
    """What the sender says about a trace, and whether it is to be kept."""

    issue: str = ""
    endpoints: Sequence[str] = ()
    store: bool = False


class Analyses:
    """Threads that analyse, so that the loop stays free; a bounded number may wait for one."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="analysis")
        self._capacity = threads * (1 + WAITING_PER_THREAD)
        self._running = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """The work's result. Raises Busy when too many wait."""
        if self._running >= self._capacity:
            raise Busy("Too many analyses are waiting; retry in a moment", {"Retry-After": "1"})
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._running -= 1

    def close(self) -> None:
        """Lets running analyses end and drops waiting ones."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@post(
    "/v1/analyze",
    status_code=200,
    tags=["analyze"],
    opt={"scopes": requires("traces.analyze"), "errors": (400, 413), "body": BODY, "answer": ANSWER},
)
async def analyze(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Explains a SIP trace: findings ranked by severity, recommendations, call quality, and the account's figures.

    Takes the documented JSON, the file itself, or a form with a file. Traces over 500 KB go as files.
    """
    kind = request.content_type[0]
    if kind in BINARY:
        return await _analyze_body(request)
    if kind == "multipart/form-data":
        return await _analyze_form(request)
    if kind == "text/plain":
        text = await _whole(request, TRACE_MAX_BYTES, _too_long)
        return await _answer(request, text, _query_context(request))
    if kind not in JSON:
        raise WrongMediaType(f"A body of type {kind} is not taken; send JSON, or the file as application/octet-stream")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise WrongMediaType("A body with a Content-Encoding is not taken; send compressed captures as files")
    trace, context = parse(await _whole(request, JSON_MAX_BYTES, _too_long))
    return await _answer(request, trace, context)


# ---- the JSON request ----


def parse(body: bytes) -> tuple[bytes, Context]:
    """The trace as UTF-8 and its context. Raises the error that says what is missing or wrong."""
    if not body.strip():
        raise MissingParameter("The request body is empty: send JSON with the field trace")
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"The request body is no valid JSON: {error}") from error
    if not isinstance(told, dict):
        raise InvalidParameter("The request body must be a JSON object")
    if told.get("trace") is None:
        raise MissingParameter("trace is required")
    if not isinstance(told["trace"], str):
        raise InvalidParameter("trace must be a string")
    trace = told["trace"].encode("utf-8", "surrogatepass")
    if not trace.strip():
        raise MissingParameter("trace is empty")
    if len(trace) > TRACE_MAX_BYTES:
        raise _too_long()
    context, store = _context(told.get("context")), told.get("store", False)
    if not isinstance(store, bool):
        raise InvalidParameter("store must be true or false")
    context.store = store
    return trace, context


def _too_long() -> TooLarge:
    return TooLarge(
        f"trace exceeds the limit of 500 KB ({TRACE_MAX_BYTES:,} bytes of UTF-8); send larger traces as a file "
        "(application/octet-stream)"
    )


def _context(told: Any) -> Context:
    if told is None:
        return Context()
    if not isinstance(told, dict):
        raise InvalidParameter("context must be an object")
    issue, endpoints = told.get("issue"), told.get("endpoints")
    if issue is not None and not isinstance(issue, str):
        raise InvalidParameter("context.issue must be a string")
    if endpoints is not None and not (
        isinstance(endpoints, list) and all(isinstance(label, str) for label in endpoints)
    ):
        raise InvalidParameter("context.endpoints must be an array of strings")
    return _checked(issue or "", endpoints or [])


def _checked(issue: str, endpoints: Sequence[str]) -> Context:
    if len(issue) > ISSUE_MAX:
        raise InvalidParameter(f"context.issue must have at most {ISSUE_MAX:,} characters")
    if len(endpoints) > LABELS_MAX or any(len(label) > LABEL_MAX for label in endpoints):
        raise InvalidParameter(f"context.endpoints takes at most {LABELS_MAX} labels of {LABEL_MAX} characters")
    return Context(issue, endpoints)


def _query_context(request: Request[Any, Any, Any]) -> Context:
    labels = ",".join(request.query_params.getall("endpoints", []))
    context = _checked(request.query_params.get("issue", ""), _labels(labels))
    context.store = _truth(request.query_params.get("store", ""))
    return context


def _truth(told: str) -> bool:
    if told.lower() not in ("", "true", "false", "1", "0"):
        raise InvalidParameter("store must be true or false")
    return told.lower() in ("true", "1")


def _labels(told: str) -> list[str]:
    return [label.strip() for label in told.split(",") if label.strip()]


async def _whole(request: Request[Any, Any, Any], limit: int, error: Callable[[], TooLarge]) -> bytes:
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise error()  # not a byte of it is waited for
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise error()
    return bytes(body)


# ---- files ----


async def _analyze_body(request: Request[Any, Any, Any]) -> ASGIResponse:
    context = _query_context(request)
    with tempfile.NamedTemporaryFile(prefix="trunkline-") as file:
        loop = asyncio.get_running_loop()
        size = 0
        async for piece in request.stream():
            size += len(piece)
            await loop.run_in_executor(None, file.write, piece)
        file.flush()
        if not size:
            raise MissingParameter("The request body is empty: send the trace in it")
        return await _answer(request, file.name, context, shown="upload")


async def _analyze_form(request: Request[Any, Any, Any]) -> ASGIResponse:
    form = await request.form()
    fields = [(name, value) for name, value in form.multi_items()]
    texts = {name: value for name, value in fields if isinstance(value, str)}
    context = _checked(texts.get("issue", ""), _labels(texts.get("endpoints", "")))
    context.store = _truth(texts.get("store", ""))
    uploads = [value for _, value in fields if isinstance(value, UploadFile)]
    try:
        if not uploads:
            if not texts.get("trace"):
                raise MissingParameter("The form holds no file")
            trace = texts["trace"].encode()
            if len(trace) > TRACE_MAX_BYTES:
                raise _too_long()
            return await _answer(request, trace, context)
        with tempfile.NamedTemporaryFile(prefix="trunkline-") as file:
            await asyncio.get_running_loop().run_in_executor(None, _copy, uploads[0].file, file)
            return await _answer(request, file.name, context, shown=uploads[0].filename or "upload")
    finally:
        for upload in uploads:
            await upload.close()


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    while piece := source.read(1 << 20):
        target.write(piece)
    target.flush()


# ---- the answer ----


async def _answer(
    request: Request[Any, Any, Any], source: bytes | str, context: Context, shown: str = "trace"
) -> ASGIResponse:
    services: Services = request.app.state.services
    principal = principal_of(request)
    if context.store and not principal.may("calls.write"):
        raise Forbidden("Keeping a trace needs the scope calls.write")
    async with services.budget.spend(principal) as usage:
        began = time.perf_counter()
        try:
            tables, report = await _explained(services.analyses, source, context)
        except TraceError as error:
            raise UnreadableTrace(_renamed(str(error), source, shown)) from error
        except (MemoryError, CapacityError) as error:
            raise Busy("The analysis did not fit into memory; send a smaller trace or retry later") from error
        for problem in report.summary.problems:
            problem.file = _renamed(problem.file, source, shown)
        told = body_of(report, usage, began)
        if context.store:
            told["stored"] = await _keep(services, principal, tables, report, source, shown)
    services.metrics.analysed(report.summary, report.severity_counts)
    body = harmless_json(msgspec.json.encode(told))
    return ASGIResponse(body=body, media_type="application/json", headers=headers(usage))


async def _explained(analyses: Analyses, source: bytes | str, context: Context) -> tuple[Tables, Report]:
    if isinstance(source, bytes) and len(source) <= INLINE_MAX_BYTES:
        return _explain(source, context)
    return await analyses.run(lambda: _explain(source, context))


def _explain(source: bytes | str, context: Context) -> tuple[Tables, Report]:
    from engine.trace import read, report

    began = time.perf_counter()
    tables: Tables = read(source)
    return tables, report(tables, issue=context.issue, endpoints=context.endpoints, began=began)


async def _keep(
    services: Services, principal: Principal, tables: Tables, report: Report, source: bytes | str, shown: str
) -> dict[str, Any]:
    """Puts the trace into the archive; what it is called there."""
    from engine.store.archive import rows_of

    def rows() -> Any:
        return rows_of(tables, report, name=os.path.basename(shown)[:200], owner=principal.owner, team=principal.team,
                       source="upload" if isinstance(source, str) else "paste", at=services.clock())  # fmt: skip

    kept = await services.store.calls.keep(await services.analyses.run(rows))
    told: dict[str, Any] = {
        "trace_id": kept.trace_id,
        "calls": [{"number": call.number, "uuid": call.uuid, "call_ids": call.call_ids} for call in kept.calls],
    }
    event = {"trace_id": kept.trace_id, "calls": told["calls"][:EVENT_CALLS_MAX], "call_count": len(kept.calls)}
    await services.announce(KEPT_TOPIC, {**event, "owner": principal.owner, "team": principal.team})
    return told


def _renamed(text: str, source: bytes | str, shown: str) -> str:
    """Where the server keeps an upload is nobody's business: the sender's name for it stands there instead."""
    if isinstance(source, bytes):
        return text.replace("input: ", "trace: ", 1)
    return text.replace(source, os.path.basename(shown)[:200])


def body_of(report: Report, usage: Usage, began: float) -> dict[str, Any]:
    """The documented response, and behind it the trace's own figures."""
    return {
        "findings": report.findings,
        "severity_counts": report.severity_counts,
        "recommendations": report.recommendations,
        "meta": {
            "analyzed_at": iso(time.time()),
            "elapsed_ms": round((time.perf_counter() - began) * 1000, 1),
            "plan": usage.plan,
            "calls_today": usage.used,
            "calls_remaining": usage.remaining,
            "calls_limit": usage.limit,
        },
        "summary": report.summary,
    }


__all__ = ["Analyses", "Context", "analyze", "body_of", "parse"]

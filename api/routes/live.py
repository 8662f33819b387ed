"""/api/v1/live/calls: calls that are up, and those that ended a short while ago, as the engine workers have them.

A live call is named by its SIP Call-ID. It has no owner as yet, so it is shown to those who may see every call. The workers hand over
messages alone; findings and ladders are made here, where no call waits for them. Credentials and media keys in texts are masked unless
the caller holds traces.raw.read: where they are shown, for the rules judge messages as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import Parameter

from api.auth import principal_of, visible_to
from api.errors import Busy, NotFound
from api.routes.calls import LADDER, TEXT, MessageList, MessageView, masked
from api.scopes import requires
from engine.clock import iso
from engine.trace.finding import Finding

if TYPE_CHECKING:
    from api.services import Services
    from engine.trace.live import LiveCall, LiveTrace
    from engine.trace.tables import Tables

CALL_ID_MAX_CHARS = 512
PAGE_MAX, PAGE = 500, 50
WORKER_KIND = "engine"  # of the supervisor's children
NO_BUS = "The engine workers cannot be asked now; retry in a moment"


class LiveCallView(msgspec.Struct):
    """A live call. `state` is up, ended, lost (its worker died) or other (no call: a registration, or what was refused). `omitted` messages
    were there and are not kept."""

    call_id: str
    state: str
    began_at: str
    message_count: int
    omitted: int


class LiveCallList(msgspec.Struct):
    """The newest live calls, and how many there are in each state. `silent_workers` did not answer."""

    calls: list[LiveCallView]
    counts: dict[str, int]
    silent_workers: int


class LiveFindingList(msgspec.Struct):
    """What is wrong with a call up to `until`, worst first."""

    findings: list[Finding]
    severity_counts: dict[str, int]
    recommendations: list[str]
    until: str


def _view(call: LiveCall) -> LiveCallView:
    return LiveCallView(call.call_id, call.state, iso(call.began_ns / 1e9), call.messages, call.omitted)


async def _workers(services: Services) -> list[str]:
    """Names of the engine workers on the bus. Raises Busy when nobody can say."""
    status = await services.processes()
    if status is None:
        raise Busy(NO_BUS, {"Retry-After": "1"})
    return [child.name for child in status.children if child.kind == WORKER_KIND]


async def _trace(request: Request[Any, Any, Any], call_id: str) -> LiveTrace:
    """A call's messages as they were. Raises NotFound, Busy and bus errors."""
    from engine.trace.live import LiveTrace, UnknownCall
    from engine.trace.live_service import MESSAGES_SUBJECT, CallWanted, ask

    services: Services = request.app.state.services
    if visible_to(request) is not None or len(call_id) > CALL_ID_MAX_CHARS:
        raise NotFound("There is no such live call")
    workers = await _workers(services)
    if services.bus is None:
        raise Busy(NO_BUS, {"Retry-After": "1"})
    try:
        return await ask(services.bus, workers, MESSAGES_SUBJECT, CallWanted(call_id), LiveTrace)
    except UnknownCall as error:
        raise NotFound("There is no such live call") from error


def _as_is(text: bytes) -> bytes:
    return text


def _shown(request: Request[Any, Any, Any]) -> Callable[[bytes], bytes]:
    """What a text is shown through."""
    return _as_is if principal_of(request).may("traces.raw.read") else masked


ONE = {"scopes": requires("calls.read"), "errors": (404, 503)}


@get("/api/v1/live/calls", opt={"scopes": requires("calls.read"), "errors": (400, 503)}, tags=["live"])
async def list_live_calls(
    request: Request[Any, Any, Any],
    which: Annotated[
        Literal["up", "ended", "lost", "other"], Parameter(description="up, ended, lost with its worker, or other: no call at all.")
    ] = "up",
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE,
) -> LiveCallList:
    """Live calls, the newest first."""
    from engine.trace.live_service import CallsWanted, ask_calls

    services: Services = request.app.state.services
    if visible_to(request) is not None:
        return LiveCallList([], {}, 0)
    workers = await _workers(services)
    if services.bus is None:
        raise Busy(NO_BUS, {"Retry-After": "1"})
    found = await ask_calls(services.bus, workers, CallsWanted((which,), limit))
    return LiveCallList([_view(call) for call in found.calls], found.counts, found.silent)


@get("/api/v1/live/calls/{call_id:str}", opt=ONE, tags=["live"])
async def get_live_call(request: Request[Any, Any, Any], call_id: str) -> LiveCallView:
    """One live call."""
    return _view((await _trace(request, call_id)).call)


@get("/api/v1/live/calls/{call_id:str}/findings", opt=ONE, tags=["live"])
async def get_live_findings(request: Request[Any, Any, Any], call_id: str) -> LiveFindingList:
    """What is wrong with a live call up to now, worst first."""
    from engine.trace.analysis import report
    from engine.trace.live import tables_of

    trace = await _trace(request, call_id)
    told = await request.app.state.services.analyses.run(lambda: report(tables_of(trace)))
    return LiveFindingList(told.findings, told.severity_counts, told.recommendations, iso(trace.until_ns / 1e9))


@get("/api/v1/live/calls/{call_id:str}/messages", opt=ONE, tags=["live"])
async def get_live_messages(request: Request[Any, Any, Any], call_id: str) -> MessageList:
    """The SIP messages of a live call. Credentials and keys are masked without the scope traces.raw.read."""
    from engine.trace.live import tables_of

    trace, shown = await _trace(request, call_id), _shown(request)
    views: list[MessageView] = await request.app.state.services.analyses.run(lambda: _messages(tables_of(trace), shown))
    return MessageList(views)


def _messages(tables: Tables, shown: Callable[[bytes], bytes]) -> list[MessageView]:
    from engine.trace.ladder import MESSAGE_SDP
    from engine.trace.rules.base import NONE
    from engine.trace.tables import TRANSPORTS

    m = tables.messages
    views = []
    for row in range(len(m)):
        ends = [None if end == NONE else tables.address(int(end)) for end in (m.source[row], m.target[row])]
        repeat_of = int(m.retransmission_of[row])
        views.append(
            MessageView(
                number=row + 1, time=iso(int(m.time_ns[row]) / 1e9), source=ends[0], target=ends[1],
                transport=TRANSPORTS[int(m.transport[row])], method=tables.method(row), status=int(m.status[row]) or None,
                sdp=bool(int(m.flags[row]) & MESSAGE_SDP) or bool(m.media_count[row]),
                repeat_of=None if repeat_of == NONE else repeat_of + 1, text=shown(tables.text(row)).decode("utf-8", "replace"),
            )
        )  # fmt: skip
    return views


@get(
    "/api/v1/live/calls/{call_id:str}/ladder",
    opt={"scopes": requires("calls.read"), "errors": (400, 404, 503), "answer": LADDER},
    tags=["live"],
)
async def get_live_ladder(
    request: Request[Any, Any, Any],
    call_id: str,
    format: Annotated[
        Literal["json", "text", "svg", "mermaid"], Parameter(description="json: the documented document; text; svg; mermaid.")
    ] = "json",
) -> Response[Any]:
    """The SIP ladder of a live call up to now."""
    from engine.trace.live_service import drawn

    trace, shown = await _trace(request, call_id), _shown(request)
    told = await request.app.state.services.analyses.run(lambda: drawn(trace, format, shown))
    if told is None:
        raise NotFound("No message of this call can be read")
    if format == "svg":
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(told, media_type="image/svg+xml", headers=headers)
    return Response(told, media_type="application/json" if format == "json" else TEXT)


ROUTES = [list_live_calls, get_live_call, get_live_findings, get_live_messages, get_live_ladder]

__all__ = ["ROUTES"]

"""/api/v1/calls: the archive of kept calls. Every route takes a call's number, its UUID or one of its SIP Call-IDs.

The ladder is the documented one, field by field. Credentials and media keys in its texts are masked unless the caller holds
traces.raw.read.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from litestar import Request, Response, delete, get
from litestar.params import Parameter
from litestar.response import Stream

from api.auth import principal_of, visible_to
from api.errors import NotFound
from api.scopes import requires
from engine.clock import iso, iso_or_none
from engine.store import CallFilter, CallRow, FindingRow, MessageRow, StreamRow
from engine.trace.finding import SEVERITIES

PAGE_MAX, PAGE = 500, 50
TEXT = "text/plain"
# What must not leave without traces.raw.read: digest answers, tokens (RFC 3261 22.4, RFC 8898) and SDES keys (RFC 4568).
_SECRETS = re.compile(
    rb'(?im)(\b(?:response|nextnonce|cnonce)\s*=\s*"?)[^",\s]+|(^(?:proxy-)?authorization\s*:\s*(?:bearer|basic)\s+)\S+|(\binline:)[^\s|]+'
)


class CallView(msgspec.Struct):
    """A call of the archive. Times are ISO 8601 UTC, durations milliseconds; null is not known."""

    number: int
    uuid: str
    call_ids: list[str]
    kind: str
    state: str
    outcome: str
    status: int | None
    caller: str
    callee: str
    started_at: str | None
    answered_at: str | None
    ended_at: str | None
    duration_ms: int | None
    pdd_ms: int | None
    released_by: str
    codec: str
    source: str
    trace_id: str | None
    severity_counts: dict[str, int]
    message_count: int
    stream_count: int
    worst_mos: float | None
    loss_percent: float | None
    created_at: str


class CallList(msgspec.Struct):
    """One page; `next_cursor` leads to the following one, null at the end."""

    calls: list[CallView]
    next_cursor: str | None


class MessageView(msgspec.Struct):
    """A message of a call; `repeat_of` is the number of the message that it sends again."""

    number: int
    time: str | None
    source: str | None
    target: str | None
    transport: str
    method: str
    status: int | None
    sdp: bool
    repeat_of: int | None
    text: str


class MessageList(msgspec.Struct):
    """The messages of a call in order."""

    messages: list[MessageView]


class FindingList(msgspec.Struct):
    """What is wrong with a call, worst first."""

    findings: list[FindingRow]
    severity_counts: dict[str, int]


class StreamList(msgspec.Struct):
    """The RTP streams of a call and their quality."""

    streams: list[StreamRow]


class Deleted(msgspec.Struct):
    """The answer to a deletion."""

    number: int
    deleted: bool


def masked(text: bytes) -> bytes:
    """A message without what would let somebody in or decrypt its media."""
    return _SECRETS.sub(lambda found: next(part for part in found.groups() if part is not None) + b"***", text)


def view(row: CallRow) -> CallView:
    """What is shown of a row."""
    return CallView(
        number=row.number, uuid=row.uuid, call_ids=list(row.call_ids), kind=row.kind, state=row.state, outcome=row.outcome,
        status=row.status, caller=_party(row.from_user, row.from_host), callee=_party(row.to_user, row.to_host),
        started_at=iso_or_none(row.started_at), answered_at=iso_or_none(row.answered_at), ended_at=iso_or_none(row.ended_at),
        duration_ms=row.duration_ms, pdd_ms=row.pdd_ms, released_by=row.released_by, codec=row.codec, source=row.source,
        trace_id=row.trace_id, severity_counts=row.severity_counts, message_count=row.message_count,
        stream_count=row.stream_count, worst_mos=row.worst_mos, loss_percent=row.loss_percent, created_at=iso(row.created_at),
    )  # fmt: skip


def _party(user: str, host: str) -> str:
    return f"{user}@{host}" if user and host else user or host


async def _call(request: Request[Any, Any, Any], call_id: str) -> CallRow:
    row: CallRow | None = await request.app.state.services.store.calls.get(call_id[:512], visible_to=visible_to(request))
    if row is None:
        raise NotFound("There is no such call")
    return row


async def _messages(request: Request[Any, Any, Any], row: CallRow, raw: bool) -> list[MessageRow]:
    messages: list[MessageRow] = await request.app.state.services.store.calls.messages(row.number)
    if raw:
        return messages
    return [msgspec.structs.replace(message, text=masked(message.text)) for message in messages]


def _raw(request: Request[Any, Any, Any]) -> bool:
    principal = principal_of(request)
    return principal.may("traces.raw.read")


READ = {"scopes": requires("calls.read")}
ONE = {"scopes": requires("calls.read"), "errors": (400, 404)}


@get("/api/v1/calls", opt={**READ, "errors": (400,)}, tags=["calls"])
async def list_calls(
    request: Request[Any, Any, Any],
    since: Annotated[float | None, Parameter(description="Started at this time or later, in seconds since 1970.")] = None,
    until: Annotated[float | None, Parameter(description="Started before this time, in seconds since 1970.")] = None,
    call_id: Annotated[str | None, Parameter(description="One of its SIP Call-IDs.")] = None,
    caller: Annotated[str | None, Parameter(description="Part of the user or host of From.")] = None,
    callee: Annotated[str | None, Parameter(description="Part of the user or host of To.")] = None,
    outcome: Annotated[str | None, Parameter(description="answered, busy, cancelled, failed, ...")] = None,
    min_severity: Annotated[
        Literal["critical", "high", "medium", "low", "info"] | None, Parameter(description="With a finding at least this severe.")
    ] = None,
    min_duration_ms: Annotated[int | None, Parameter(ge=0, le=2**53)] = None,
    max_duration_ms: Annotated[int | None, Parameter(ge=0, le=2**53)] = None,
    source: Annotated[str | None, Parameter(description="upload, paste, ...")] = None,
    trace_id: Annotated[str | None, Parameter(description="Calls of one kept trace.")] = None,
    cursor: Annotated[str | None, Parameter(description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE,
) -> CallList:
    """Calls of the archive, the newest first, page by page."""
    wanted = CallFilter(
        since=since, until=until, call_id=call_id, caller=caller, callee=callee, outcome=outcome, min_severity=min_severity,
        min_duration_ms=min_duration_ms, max_duration_ms=max_duration_ms, source=source, trace_id=trace_id,
    )  # fmt: skip
    rows, following = await request.app.state.services.store.calls.list(
        wanted, cursor=cursor, limit=limit, visible_to=visible_to(request)
    )
    return CallList([view(row) for row in rows], following)


@get("/api/v1/calls/{call_id:str}", opt=ONE, tags=["calls"])
async def get_call(request: Request[Any, Any, Any], call_id: str) -> CallView:
    """One call: number, UUID, Call-IDs, outcome, times, quality."""
    return view(await _call(request, call_id))


@get("/api/v1/calls/{call_id:str}/messages", opt=ONE, tags=["calls"])
async def get_messages(request: Request[Any, Any, Any], call_id: str) -> MessageList:
    """The SIP messages of a call. Credentials and keys are masked without the scope traces.raw.read."""
    row = await _call(request, call_id)
    return MessageList(
        [
            MessageView(
                number=m.number, time=None if m.at_ns is None else iso(m.at_ns / 1e9), source=m.source, target=m.target,
                transport=m.transport, method=m.method, status=m.status or None, sdp=m.sdp, repeat_of=m.repeat_of or None,
                text=m.text.decode("utf-8", "replace"),
            )
            for m in await _messages(request, row, _raw(request))
        ]
    )  # fmt: skip


@get("/api/v1/calls/{call_id:str}/findings", opt=ONE, tags=["calls"])
async def get_findings(request: Request[Any, Any, Any], call_id: str) -> FindingList:
    """What is wrong with a call, worst first."""
    row = await _call(request, call_id)
    found: list[FindingRow] = await request.app.state.services.store.calls.findings(row.number)
    return FindingList(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)), row.severity_counts)


@get("/api/v1/calls/{call_id:str}/streams", opt=ONE, tags=["calls"])
async def get_streams(request: Request[Any, Any, Any], call_id: str) -> StreamList:
    """The RTP streams of a call: loss, jitter, MOS."""
    row = await _call(request, call_id)
    return StreamList(await request.app.state.services.store.calls.streams(row.number))


def _kept(messages: list[MessageRow]) -> Any:
    from engine.trace.export import KeptMessage

    return [KeptMessage(m.at_ns, m.source, m.target, m.transport, m.text, m.direction) for m in messages]


LADDER = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["diagnosticInfo", "nodes", "messages"],
            "properties": {
                "diagnosticInfo": {"type": "object", "properties": {"gid": {"type": "string"}}},
                "nodes": {"type": "array", "items": {"type": "object", "required": ["displayName"]}},
                "messages": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
    "text/plain": {"schema": {"type": "string"}},
    "image/svg+xml": {"schema": {"type": "string"}},
}


@get("/api/v1/calls/{call_id:str}/sipLadder", opt={**ONE, "answer": LADDER}, tags=["calls"])
async def get_ladder(
    request: Request[Any, Any, Any],
    call_id: str,
    shape: Annotated[
        Literal["json", "text", "svg"], Parameter(query="format", description="json: the documented document; text; svg.")
    ] = "json",
) -> Response[Any]:
    """The SIP ladder of a call: nodes and messages in order."""
    from engine.trace.export import tables_of
    from engine.trace.ladder import as_json, ladder

    row = await _call(request, call_id)
    messages = await _messages(request, row, _raw(request))

    def drawn() -> Any:
        tables = tables_of(_kept(messages))
        if not len(tables.calls):
            return None
        made = ladder(tables, 0, everything=True)
        if shape == "json":
            return as_json(made)
        if shape == "svg":
            from engine.trace.ladder_svg import ladder_svg

            return "\n".join(ladder_svg(made))
        from engine.trace.ladder_text import ladder_text

        return "\n".join(ladder_text(made)) + "\n"

    told = await request.app.state.services.analyses.run(drawn)
    if told is None:
        raise NotFound("No message of this call was kept")
    if shape == "json":
        return Response(told, media_type="application/json")
    if shape == "svg":
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(told, media_type="image/svg+xml", headers=headers)
    return Response(told, media_type=TEXT)


@get(
    "/api/v1/calls/{call_id:str}/export.pcap",
    opt={"scopes": requires("calls.read", "traces.raw.read"), "errors": (400, 404),
         "answer": {"application/vnd.tcpdump.pcap": {"schema": {"type": "string", "format": "binary"}}}},
    tags=["calls"],
)  # fmt: skip
async def export_call(request: Request[Any, Any, Any], call_id: str) -> Stream:
    """The messages of a call as a capture: one UDP datagram a message, whatever carried it."""
    from engine.trace.export import pcap_of

    row = await _call(request, call_id)
    messages = await _messages(request, row, raw=True)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in pcap_of(_kept(messages)):
            yield piece

    name = quote(f"call-{row.number}.pcap")
    return Stream(
        pieces(), media_type="application/vnd.tcpdump.pcap", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@delete(
    "/api/v1/calls/{call_id:str}",
    status_code=200,
    opt={"scopes": requires("calls.delete"), "audit": "calls.delete", "errors": (400, 404)},
    tags=["calls"],
)
async def delete_call(request: Request[Any, Any, Any], call_id: str) -> Deleted:
    """Deletes a call with everything that belongs to it."""
    row = await _call(request, call_id)
    await request.app.state.services.store.calls.delete(row.number)
    request.state.audit = (row.uuid, {"number": row.number})
    return Deleted(row.number, True)


ROUTES = [list_calls, get_call, get_messages, get_findings, get_streams, get_ladder, export_call, delete_call]

__all__ = ["ROUTES", "masked", "view"]

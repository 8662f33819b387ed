"""/api/sessions: recording sessions that go on, their figures, and what is done to them: pause, resume, mute, unmute, end, ask for a snapshot.

A session is named by its Call-ID, as it stands in an address, or by the id of its recording. Pauses and mutes have a door of their own (`api/pause_key.py`), and
reach the worker that has the session before anything else is done. The audit log has no Call-ID, which would outlive the erasure of a call there.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from litestar import Request, delete, get, post
from litestar.params import Parameter

from api.auth import principal_of
from api.errors import ApiError, InvalidParameter, TooLarge
from api.pause_key import READ, WRITE
from api.routes.session_views import (
    Analytics,
    Done,
    MuteView,
    Paused,
    PauseView,
    PortsView,
    SessionList,
    SessionView,
    StatsView,
    mute_view,
    pause_view,
    session_view,
)
from api.scopes import PUBLIC, requires
from engine.bus import BusError
from engine.clock import iso
from engine.compliance.audit_log import reference_of
from engine.siprec.facts import MuteStatus, PauseStatus, SessionFacts
from engine.siprec.service import (
    ARM_SUBJECT,
    MUTE_STATUS_SUBJECT,
    MUTE_SUBJECT,
    PAUSE_STATUS_SUBJECT,
    PAUSE_SUBJECT,
    RESUME_SUBJECT,
    SESSION_SUBJECT,
    SNAPSHOT_SUBJECT,
    TERMINATE_SUBJECT,
    UNMUTE_SUBJECT,
    MuteStatuses,
    MuteWanted,
    PauseWanted,
    SessionWanted,
    Statuses,
    Told,
    UnknownSession,
)

if TYPE_CHECKING:
    from api.engines import Engines

ID_MAX_CHARS = 512
BODY_MAX_BYTES = 1 << 16
SUMMARY_SUBJECT = "analytics.summary"
Body = TypeVar("Body", bound=msgspec.Struct)


async def _analytics(engines: Engines, sessions: list[SessionFacts]) -> dict[str, Analytics]:
    """What the keeper says of sessions; of those that it says nothing of, how well they are heard."""
    told: dict[str, Analytics] | None = {}
    with contextlib.suppress(BusError):  # a keeper that is slow or away holds nobody up
        told = await engines.ask_keeper(SUMMARY_SUBJECT, {"call_ids": [facts.call_id for facts in sessions]}, dict[str, Analytics])
    found = {}
    for facts in sessions:
        said = (told or {}).get(facts.call_id, Analytics())
        heard = min((channel.mos for channel in facts.channels if channel.mos is not None), default=None)
        found[facts.call_id] = Analytics(said.sentiment, said.mos if said.mos is not None else heard)
    return found


# ---- what is asked for ----


class PauseWish(msgspec.Struct, forbid_unknown_fields=True):
    """What to pause; what is not said is as the configuration has it. With `arm`, a session that is yet to come begins paused."""

    pause_recording: bool | None = None
    pause_transcription: bool | None = None
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""
    arm: bool = False


class ResumeWish(msgspec.Struct, forbid_unknown_fields=True):
    """What to resume: both, unless one is named. It may be named as in the pause that it ends: `pause_recording` true resumes the recording."""

    resume_recording: bool | None = None
    resume_transcription: bool | None = None
    pause_recording: bool | None = None
    pause_transcription: bool | None = None
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def __post_init__(self) -> None:
        for resumed, paused in (("resume_recording", self.pause_recording), ("resume_transcription", self.pause_transcription)):
            if paused is not None:
                if getattr(self, resumed) not in (None, paused):
                    raise ValueError(f"{resumed} and its name as a pause say two different things")
                setattr(self, resumed, paused)


class MuteWish(msgspec.Struct, forbid_unknown_fields=True):
    """What to mute: both sides, unless one is named."""

    mute_inbound: bool | None = None
    mute_outbound: bool | None = None


class UnmuteWish(msgspec.Struct, forbid_unknown_fields=True):
    """What to unmute: both sides, unless one is named."""

    unmute_inbound: bool | None = None
    unmute_outbound: bool | None = None


class PartlyDone(ApiError):
    """Some workers did what was asked, others did not answer: nobody knows of their sessions."""

    status = 503
    code = "siprec.partly_done"


def _engines(request: Request[Any, Any, Any]) -> Engines:
    engines: Engines = request.app.state.services.engines
    return engines


def _known(call_id: str) -> str:
    if not 0 < len(call_id) <= ID_MAX_CHARS:
        raise UnknownSession("there is no such recording session")
    return call_id


async def _body(request: Request[Any, Any, Any], shape: type[Body]) -> Body:
    """The body as JSON, whatever it says it is; none is a wish without words. Raises InvalidParameter, TooLarge."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > BODY_MAX_BYTES:
            raise TooLarge(f"The body of this request has at most {BODY_MAX_BYTES:,} bytes")
    if not content.strip():
        return shape()
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"The body is not what it must be: {error}") from None


async def _admit(request: Request[Any, Any, Any], scope: str) -> str:
    """The name of who may pause, or see what is paused. Raises what `PauseKey.admit` does."""
    principal = await request.app.state.services.pause_key.admit(request, scope)
    return str(principal.owner)


def _wish(shape: type) -> dict[str, Any]:
    """A body for the OpenAPI document: it may be left out."""
    fields = msgspec.json.schema(shape)["$defs"][shape.__name__]
    return {"required": False, "content": {"application/json": {"schema": {name: fields[name] for name in ("type", "properties", "additionalProperties")}}}}


PAUSING = {"scopes": PUBLIC, "errors": (401, 403, 404, 429, 503)}
SEEN = {"scopes": requires(READ)}


# ---- sessions ----


@get("/api/sessions", opt={**SEEN, "errors": (404, 503), "answer": {"application/json": {"schema": {"type": "object"}}}}, tags=["sessions"])
async def list_sessions(
    request: Request[Any, Any, Any],
    id: Annotated[str | None, Parameter(description="The Call-ID of one session, or its recording's id: that session alone.")] = None,
) -> SessionList | SessionView:
    """Recording sessions that go on, or the one that is named."""
    if id is not None:
        return await _session(request, id)
    engines = _engines(request)
    sessions, silent = await engines.sessions()
    analytics = await _analytics(engines, sessions)
    return SessionList(len(sessions), [session_view(facts, analytics[facts.call_id]) for facts in sessions], len(silent))


async def _session(request: Request[Any, Any, Any], call_id: str) -> SessionView:
    engines = _engines(request)
    facts = await engines.ask(SESSION_SUBJECT, SessionWanted(id=_known(call_id)), SessionFacts)
    return session_view(facts, (await _analytics(engines, [facts]))[facts.call_id])


@get("/api/sessions/{call_id:str}", opt={**SEEN, "errors": (404, 503)}, tags=["sessions"])
async def get_session(request: Request[Any, Any, Any], call_id: str) -> SessionView:
    """One recording session."""
    return await _session(request, call_id)


@get("/api/sessions/stats", opt={**SEEN, "errors": (503,)}, tags=["sessions"])
async def get_stats(request: Request[Any, Any, Any]) -> StatsView:
    """Figures of all sessions together."""
    services = request.app.state.services
    figures = await _engines(request).figures()
    counts = figures.counts

    def by(kind: str) -> dict[str, int]:
        return {name.removeprefix(kind): count for name, count in sorted(counts.items()) if name.startswith(kind) and count}

    active, total, used = counts.get("active", 0), counts.get("ports_total", 0), counts.get("ports_used", 0)
    return StatsView(
        active_calls=active, paused_calls=counts.get("paused", 0), muted_calls=counts.get("muted", 0), recording_sessions=active, connected_sessions=active,
        stored_sessions=counts.get("stored", 0), refused_sessions=counts.get("sessions_refused_total", 0), streams=counts.get("streams", 0),
        rtp_ports=PortsView(max(0, total - used), total, used), providers=by("provider."), vendors=by("vendor."), metrics_available=True,
        silent_workers=len(figures.silent), timestamp=iso(services.clock()),
    )  # fmt: skip


@delete(
    "/api/sessions/{call_id:str}", status_code=200, opt={"scopes": requires(WRITE), "audit": "sessions.end", "errors": (404, 503)}, tags=["sessions"]
)
async def end_session(request: Request[Any, Any, Any], call_id: str) -> Done:
    """Ends a session: BYE goes to whoever sends it, and what was recorded is sealed."""
    wanted = SessionWanted(id=_known(call_id), reason=f"ended by {principal_of(request).owner}")
    told = await _engines(request).ask(TERMINATE_SUBJECT, wanted, Told)
    request.state.audit = (reference_of(told.call_id), {})
    return Done(told.call_id, "terminated", "The session is ended")


@post(
    "/api/sessions/{call_id:str}/snapshot", status_code=202,
    opt={"scopes": requires(WRITE), "audit": "sessions.snapshot", "errors": (404, 409, 503)}, tags=["sessions"],
)  # fmt: skip
async def ask_snapshot(request: Request[Any, Any, Any], call_id: str) -> Done:
    """Asks whoever sends a session for its complete metadata (RFC 7866 8.3); what comes is seen in the session."""
    told = await _engines(request).ask(SNAPSHOT_SUBJECT, SessionWanted(id=_known(call_id)), Told)
    request.state.audit = (reference_of(told.call_id), {})
    return Done(told.call_id, "requested", "Complete metadata was asked for")


# ---- pauses ----


def _all_answered(silent: list[str], done: int, verb: str) -> None:
    if silent:
        raise PartlyDone(f"{done} sessions were {verb}; {', '.join(silent)} did not answer, so their sessions may not be", {"Retry-After": "1"})


def _changed(request: Request[Any, Any, Any], status: PauseStatus) -> PauseView:
    request.state.audit = (reference_of(status.session_id), {"recording": status.recording_paused, "transcription": status.transcription_paused})
    return pause_view(status)


@post(
    "/api/sessions/{call_id:str}/pause", status_code=200,
    opt={**PAUSING, "audit": "sessions.pause", "errors": (*PAUSING["errors"], 413), "body": _wish(PauseWish)}, tags=["sessions"],
)  # fmt: skip
async def pause_session(request: Request[Any, Any, Any], call_id: str) -> PauseView:
    """Pauses a session: from now on silence is written."""
    actor = await _admit(request, WRITE)
    wish = await _body(request, PauseWish)
    wanted = PauseWanted(id=_known(call_id), recording=wish.pause_recording, transcription=wish.pause_transcription, actor=actor, reason=wish.reason)
    engines = _engines(request)
    try:
        status = await engines.ask(PAUSE_SUBJECT, wanted, PauseStatus)
    except UnknownSession:
        if not wish.arm:
            raise
        status = await engines.ask(ARM_SUBJECT, wanted, PauseStatus)
        with contextlib.suppress(UnknownSession):  # it may have begun between the two questions
            status = await engines.ask(PAUSE_SUBJECT, wanted, PauseStatus)
    return _changed(request, status)


@post(
    "/api/sessions/{call_id:str}/resume", status_code=200,
    opt={**PAUSING, "audit": "sessions.resume", "errors": (*PAUSING["errors"], 413), "body": _wish(ResumeWish)}, tags=["sessions"],
)  # fmt: skip
async def resume_session(request: Request[Any, Any, Any], call_id: str) -> PauseView:
    """Resumes a session, or no longer awaits one that was to begin paused."""
    actor = await _admit(request, WRITE)
    wish = await _body(request, ResumeWish)
    wanted = PauseWanted(id=_known(call_id), recording=wish.resume_recording, transcription=wish.resume_transcription, actor=actor, reason=wish.reason)
    status = await _engines(request).ask(RESUME_SUBJECT, wanted, PauseStatus)
    return _changed(request, status)


@get("/api/sessions/{call_id:str}/pause-status", opt=PAUSING, tags=["sessions"])
async def get_pause_status(request: Request[Any, Any, Any], call_id: str) -> PauseView:
    """What of a session is paused."""
    await _admit(request, READ)
    return pause_view(await _engines(request).ask(PAUSE_STATUS_SUBJECT, SessionWanted(id=_known(call_id)), PauseStatus))


async def _of_all(request: Request[Any, Any, Any], subject: str, wanted: PauseWanted | SessionWanted, verb: str) -> dict[str, PauseView]:
    answers, silent = await _engines(request).ask_all(subject, wanted, Statuses)
    statuses = {call_id: pause_view(status) for answer in answers for call_id, status in answer.statuses.items()}
    _all_answered(silent, len(statuses), verb)
    return statuses


async def _change_all(request: Request[Any, Any, Any], subject: str, wanted: PauseWanted, verb: str) -> Paused:
    statuses = await _of_all(request, subject, wanted, verb)
    request.state.audit = ("", {"sessions": len(statuses)})
    return Paused(f"{len(statuses)} sessions {verb}", statuses)


@post(
    "/api/sessions/pause-all", status_code=200,
    opt={**PAUSING, "audit": "sessions.pause_all", "errors": (*PAUSING["errors"], 413), "body": _wish(PauseWish)}, tags=["sessions"],
)  # fmt: skip
async def pause_all(request: Request[Any, Any, Any]) -> Paused:
    """Pauses all sessions that go on."""
    actor = await _admit(request, WRITE)
    wish = await _body(request, PauseWish)
    wanted = PauseWanted(recording=wish.pause_recording, transcription=wish.pause_transcription, actor=actor, reason=wish.reason)
    return await _change_all(request, PAUSE_SUBJECT, wanted, "paused")


@post(
    "/api/sessions/resume-all", status_code=200,
    opt={**PAUSING, "audit": "sessions.resume_all", "errors": (*PAUSING["errors"], 413), "body": _wish(ResumeWish)}, tags=["sessions"],
)  # fmt: skip
async def resume_all(request: Request[Any, Any, Any]) -> Paused:
    """Resumes all sessions that go on."""
    actor = await _admit(request, WRITE)
    wish = await _body(request, ResumeWish)
    wanted = PauseWanted(recording=wish.resume_recording, transcription=wish.resume_transcription, actor=actor, reason=wish.reason)
    return await _change_all(request, RESUME_SUBJECT, wanted, "resumed")


@get(["/api/sessions/pause-status", "/api/sessions/all-status"], opt=PAUSING, tags=["sessions"])
async def get_all_pause_statuses(request: Request[Any, Any, Any]) -> dict[str, PauseView]:
    """What is paused in every session, by Call-ID."""
    await _admit(request, READ)
    return await _of_all(request, PAUSE_STATUS_SUBJECT, SessionWanted(), "asked")


# ---- mutes ----


@post(
    "/api/sessions/{call_id:str}/mute", status_code=200,
    opt={**PAUSING, "audit": "sessions.mute", "errors": (*PAUSING["errors"], 413), "body": _wish(MuteWish)}, tags=["sessions"],
)  # fmt: skip
async def mute_session(request: Request[Any, Any, Any], call_id: str) -> MuteView:
    """Mutes sides of a session: silence is written in their channels."""
    actor = await _admit(request, WRITE)
    wish = await _body(request, MuteWish)
    wanted = MuteWanted(id=_known(call_id), inbound=wish.mute_inbound, outbound=wish.mute_outbound, actor=actor)
    return await _muted(request, MUTE_SUBJECT, wanted)


@post(
    "/api/sessions/{call_id:str}/unmute", status_code=200,
    opt={**PAUSING, "audit": "sessions.unmute", "errors": (*PAUSING["errors"], 413), "body": _wish(UnmuteWish)}, tags=["sessions"],
)  # fmt: skip
async def unmute_session(request: Request[Any, Any, Any], call_id: str) -> MuteView:
    """Lets sides of a session be heard again."""
    actor = await _admit(request, WRITE)
    wish = await _body(request, UnmuteWish)
    wanted = MuteWanted(id=_known(call_id), inbound=wish.unmute_inbound, outbound=wish.unmute_outbound, actor=actor)
    return await _muted(request, UNMUTE_SUBJECT, wanted)


async def _muted(request: Request[Any, Any, Any], subject: str, wanted: MuteWanted) -> MuteView:
    status = await _engines(request).ask(subject, wanted, MuteStatus)
    request.state.audit = (reference_of(status.session_id), {"inbound": status.inbound_muted, "outbound": status.outbound_muted})
    return mute_view(status)


@get("/api/sessions/{call_id:str}/mute-status", opt=PAUSING, tags=["sessions"])
async def get_mute_status(request: Request[Any, Any, Any], call_id: str) -> MuteView:
    """Which sides of a session are muted."""
    await _admit(request, READ)
    return mute_view(await _engines(request).ask(MUTE_STATUS_SUBJECT, SessionWanted(id=_known(call_id)), MuteStatus))


@get("/api/sessions/mute-status", opt=PAUSING, tags=["sessions"])
async def get_all_mute_statuses(request: Request[Any, Any, Any]) -> dict[str, MuteView]:
    """What is muted in every session, by Call-ID."""
    await _admit(request, READ)
    answers, silent = await _engines(request).ask_all(MUTE_STATUS_SUBJECT, SessionWanted(), MuteStatuses)
    statuses = {call_id: mute_view(status) for answer in answers for call_id, status in answer.statuses.items()}
    _all_answered(silent, len(statuses), "asked")
    return statuses


ROUTES = [
    list_sessions, get_stats, pause_all, resume_all, get_all_pause_statuses, get_all_mute_statuses, get_session, end_session, pause_session, resume_session,
    get_pause_status, mute_session, unmute_session, get_mute_status, ask_snapshot,
]  # fmt: skip

__all__ = ["ROUTES"]

"""/api/stt: transcription jobs for recordings that are there. They wait in the store until a recogniser takes them, whatever process ends meanwhile."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import Parameter

from api.auth import principal_of, visible_to
from api.errors import ApiError, InvalidParameter, MissingParameter, NotFound
from api.scopes import requires
from api.stt_metrics import AMOUNTS, GROUP, SttMetrics, totals
from engine.clock import iso, iso_or_none
from engine.compliance.audit_log import reference_of
from engine.metrics import exposition
from engine.speech.jobs import (
    CANCELLED,
    KIND,
    PRIORITIES,
    RETRIES_MAX,
    NoAudio,
    Status,
    Wanted,
    confined,
    row_of,
    seconds_of,
    status_of,
)
from engine.store.jobs import Figures
from engine.store.rows import JobRow

if TYPE_CHECKING:
    from api.services import Services

TEXT_MAX_CHARS: Final = 512
METADATA_MAX_BYTES: Final = 16_384
# What may be asked for, and which rows those are. Jobs that failed before and wait again are among those that wait, those that somebody cancelled among the failed.
STATES: Final[dict[str, dict[str, Any]]] = {
    "queued": {"state": "queued"}, "pending": {"state": "queued"}, "retrying": {"state": "queued", "tried": True}, "running": {"state": "running"},
    "processing": {"state": "running"}, "completed": {"state": "done"}, "failed": {"state": "failed"}, "cancelled": {"state": "failed", "error": CANCELLED},
}  # fmt: skip
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}\Z")


class SpeechOff(ApiError):
    """Transcription jobs are switched off, or their purge has no token."""

    status = 503
    code = "stt.unavailable"


class WrongToken(ApiError):
    """The purge was asked for without its token."""

    status = 403
    code = "stt.forbidden"


class Submission(msgspec.Struct):
    """What is to be transcribed."""

    audio_path: str = ""
    call_uuid: str = ""
    session_id: str = ""
    provider: str = ""
    language: str = "en-US"
    priority: int = 2
    metadata: dict[str, Any] = {}


class Submitted(msgspec.Struct):
    """A job that waits now."""

    job_id: str
    status: str
    estimated_cost: float
    message: str


class JobView(msgspec.Struct):
    """A job. Times are ISO 8601, `processing_time` in seconds."""

    id: str
    call_uuid: str
    session_id: str
    audio_path: str
    provider: str
    language: str
    priority: int
    status: Status
    created_at: str
    started_at: str | None
    completed_at: str | None
    failed_at: str | None
    retry_count: int
    max_retries: int
    result: dict[str, Any] | None
    error: str
    metadata: dict[str, Any]
    processing_time: float | None
    estimated_cost: float
    actual_cost: float | None


class JobList(msgspec.Struct):
    """A page of jobs, the newest first."""

    count: int
    jobs: list[JobView]
    next_cursor: str | None


class OneJob(msgspec.Struct):
    job: JobView
    message: str


class QueueStats(msgspec.Struct):
    """Figures of all jobs that are kept."""

    total_jobs: int
    pending_jobs: int
    processing_jobs: int
    completed_jobs: int
    failed_jobs: int
    average_wait_time_seconds: float
    jobs_per_hour: float
    error_rate_percent: float


class SttStats(msgspec.Struct):
    """`metrics` have the names of /api/stt/metrics."""

    queue_stats: QueueStats
    metrics: dict[str, float]
    timestamp: str


class Purge(msgspec.Struct):
    """Whether it is meant, and why."""

    confirm: bool = False
    reason: str = ""
    dry_run: bool = False
    requested_by: str = ""


class Purged(msgspec.Struct):
    """What became of it."""

    status: Literal["purged", "dry_run"]
    message: str
    jobs_removed: int
    stats_before: QueueStats
    stats_after: QueueStats


def _services(request: Request[Any, Any, Any]) -> Services:
    services: Services = request.app.state.services
    if not services.config.stt.async_enabled:
        raise SpeechOff("Transcription jobs are switched off: stt.async_enabled")
    return services


def _view(row: JobRow) -> JobView:
    wanted = msgspec.convert(row.payload, Wanted)
    status, result = status_of(row), row.result
    taken = row.finished_at - row.started_at if row.finished_at is not None and row.started_at is not None else None
    ended = iso_or_none(row.finished_at)
    cost = result.get("actual_cost") if result is not None else None
    return JobView(
        id=row.id, call_uuid=wanted.call_uuid, session_id=wanted.session_id, audio_path=wanted.audio_path, provider=wanted.provider, language=wanted.language,
        priority=wanted.priority, status=status, created_at=iso(row.created_at), started_at=iso_or_none(row.started_at),
        completed_at=ended if status == "completed" else None, failed_at=ended if status in ("failed", "cancelled") else None,
        retry_count=max(row.attempts - 1, 0), max_retries=RETRIES_MAX, result=result, error=row.error, metadata=wanted.metadata, processing_time=taken,
        estimated_cost=wanted.estimated_cost, actual_cost=cost if isinstance(cost, float) else None,
    )  # fmt: skip


def _stats(found: list[Figures]) -> QueueStats:
    by_state = {one.state: one for one in found}

    def count(state: str) -> int:
        return by_state[state].count if state in by_state else 0

    begun, waited = sum(one.begun for one in found), sum(one.waited_s for one in found)
    done, failed = count("done"), count("failed")
    span_h = max((one.span_s for one in found if one.state == "done"), default=0.0) / 3600
    return QueueStats(
        total_jobs=sum(one.count for one in found), pending_jobs=count("queued"), processing_jobs=count("running"), completed_jobs=done, failed_jobs=failed,
        average_wait_time_seconds=round(waited / begun, 3) if begun else 0.0, jobs_per_hour=round(done / span_h, 3) if span_h else 0.0,
        error_rate_percent=round(100 * failed / (done + failed), 3) if done + failed else 0.0,
    )  # fmt: skip


@post(
    "/api/stt/submit", opt={"scopes": requires("stt.submit"), "audit": "stt.submit", "errors": (400, 503)}, status_code=201, tags=["speech"],
)  # fmt: skip
async def submit(request: Request[Any, Any, Any], data: Submission) -> Submitted:
    """Has a recording transcribed. `audio_path` is a file among the recordings; priority 1 is high, 2 normal, 3 low."""
    services = _services(request)
    stt, principal = services.config.stt, principal_of(request)
    request.state.audit = (reference_of(data.call_uuid) if data.call_uuid else "stt", {"priority": data.priority})
    if not data.audio_path:
        raise MissingParameter("audio_path: the file is missing")
    provider = data.provider or stt.default_vendor
    if provider not in {*stt.supported_vendors, stt.default_vendor}:
        raise InvalidParameter(f"provider: one of {', '.join(stt.supported_vendors)}")
    if data.priority not in PRIORITIES or not _LANGUAGE.match(data.language):
        raise InvalidParameter("priority is 1, 2 or 3, and language a tag such as en-US")
    if max(len(data.call_uuid), len(data.session_id)) > TEXT_MAX_CHARS or len(msgspec.json.encode(data.metadata)) > METADATA_MAX_BYTES:
        raise InvalidParameter(f"call_uuid and session_id have up to {TEXT_MAX_CHARS} characters, metadata {METADATA_MAX_BYTES} bytes")
    try:
        path = await asyncio.to_thread(confined, services.loaded.data_dir / services.config.recording.directory, data.audio_path)
    except NoAudio as error:
        raise InvalidParameter(str(error)) from None
    seconds = await asyncio.to_thread(seconds_of, path)
    cost = round(stt.cost_per_minute.get(provider, 0.0) * seconds / 60, 4)
    wanted = Wanted(
        audio_path=str(path), call_uuid=data.call_uuid, session_id=data.session_id, provider=provider, language=data.language, priority=data.priority,
        duration_s=seconds, estimated_cost=cost, metadata=data.metadata,
    )  # fmt: skip
    row = row_of(f"job_{secrets.token_hex(13)}", wanted, owner=principal.owner or "local", team=principal.team, now=services.clock())
    await services.store.jobs.add(row)
    return Submitted(row.id, "queued", cost, "Job submitted successfully")


@get("/api/stt/jobs", opt={"scopes": requires("stt.read"), "errors": (400, 503)}, tags=["speech"])
async def list_jobs(
    request: Request[Any, Any, Any],
    status: Annotated[str | None, Parameter(description="queued, running (or processing), completed, failed")] = None,
    call_uuid: Annotated[str | None, Parameter(description="Only jobs of this call.")] = None,
    cursor: Annotated[str | None, Parameter(description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Parameter(ge=1, le=500)] = 50,
) -> JobList:
    """Transcription jobs, the newest first."""
    if status is not None and status not in STATES:
        raise InvalidParameter(f"status: one of {', '.join(STATES)}")
    about = ("call_uuid", call_uuid) if call_uuid else None
    rows, following = await _services(request).store.jobs.list(
        cursor, limit=limit, kind=KIND, about=about, visible_to=visible_to(request), **(STATES[status] if status else {})
    )
    views = [_view(row) for row in rows]
    return JobList(len(views), views, following)


@get("/api/stt/jobs/{job_id:str}", opt={"scopes": requires("stt.read"), "errors": (404, 503)}, tags=["speech"])
async def get_job(request: Request[Any, Any, Any], job_id: str) -> OneJob:
    """One transcription job."""
    row = await _services(request).store.jobs.get(job_id, visible_to(request))
    if row is None or row.kind != KIND:
        raise NotFound("There is no such job")
    return OneJob(_view(row), "Job found")


@get("/api/stt/stats", opt={"scopes": requires("stt.read"), "errors": (503,)}, tags=["speech"])
async def stt_stats(request: Request[Any, Any, Any]) -> SttStats:
    """Depth of the queue, how long jobs wait, how many fail."""
    services = _services(request)
    found = await services.store.jobs.figures(KIND)
    return SttStats(_stats(found), totals(found), iso(services.clock()))


@get(
    "/api/stt/metrics", opt={"scopes": requires("stt.read"), "errors": (503,), "answer": {"text/plain": {"schema": {"type": "string"}}}}, tags=["speech"],
)  # fmt: skip
async def stt_metrics(request: Request[Any, Any, Any]) -> Response[str]:
    """The same for Prometheus, and by provider how long jobs take and what they cost."""
    text, _ = exposition([SttMetrics(await _services(request).store.jobs.figures(KIND, GROUP, AMOUNTS))])
    return Response(text.decode(), media_type="text/plain; version=0.0.4")


@post(
    "/api/stt/queue/purge", opt={"scopes": requires("stt.purge"), "audit": "stt.purge", "errors": (400, 403, 503)}, status_code=200, tags=["speech"],
)  # fmt: skip
async def purge(request: Request[Any, Any, Any], data: Purge) -> Purged:
    """Empties the queue: jobs that wait go. Takes the token of stt.queue_purge_token in X-STT-Queue-Token besides the scope."""
    services = _services(request)
    request.state.audit = ("stt", {"dry_run": data.dry_run, "reason": data.reason[:TEXT_MAX_CHARS]})
    token = services.config.stt.queue_purge_token
    if not token:
        raise SpeechOff("The queue cannot be purged: stt.queue_purge_token is not set")
    given = request.headers.get("X-STT-Queue-Token") or request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise WrongToken("The token of the queue is wrong")
    if not data.confirm or not data.reason.strip():
        raise MissingParameter("confirm must be true, and a reason given")
    before = await services.store.jobs.figures(KIND)
    stats = _stats(before)
    if data.dry_run:
        return Purged("dry_run", f"{stats.pending_jobs} jobs would go", 0, stats, stats)
    removed = await services.store.jobs.purge(KIND)
    return Purged("purged", f"{removed} jobs are gone", removed, stats, _stats(await services.store.jobs.figures(KIND)))


ROUTES = [submit, list_jobs, get_job, stt_stats, stt_metrics, purge]

__all__ = ["ROUTES"]

"""/api/compliance: which rules are kept to, exports and erasures of a call's personal data, whether the audit logs are whole; and recordings as vCons.

Exports and erasures are made by the keeper of this machine. What is done is written into the audit log by a hash of the Call-ID, since that log is never changed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import HttpMethod, Request, Response, get, post, route
from litestar.params import Parameter

from api.auth import principal_of
from api.errors import ApiError, InvalidParameter, MissingParameter, NotFound, TooLarge
from api.scopes import requires
from engine.bus import BusError, RemoteError
from engine.compliance.audit_log import reference_of
from engine.compliance.requests import (
    CALL_ID_MAX_CHARS,
    ERASE_SUBJECT,
    EXPORT_SUBJECT,
    STATUS_SUBJECT,
    VERIFY_SUBJECT,
    AuditVerified,
    CallWanted,
    ComplianceStatus,
    Exported,
    Receipt,
    status_of,
)
from engine.keeping import KEEPER

if TYPE_CHECKING:
    from api.services import Services

BODY_MAX_BYTES: Final = 1 << 16
REASON_MAX_CHARS: Final = 1000
ASK_S: Final = 5.0
LONG_S: Final = 3600.0  # to read a whole call, or to search everything that is kept
OFF: Final = "Export and erasure of personal data are not available: compliance.gdpr_enabled is off"


class GdprUnavailable(ApiError):
    """Switched on, and something that it needs is away."""

    status = 503
    code = "compliance.unavailable"


class Held(ApiError):
    """A legal hold keeps it, or the call still goes on."""

    status = 409
    code = "compliance.held"


class UnknownCall(ApiError):
    """Nothing is kept of such a call."""

    status = 404
    code = "compliance.unknown_call"


class ExportFailed(ApiError):
    """Nothing was exported."""

    status = 500
    code = "compliance.export_failed"


_ERRORS: Final = {error.code: error for error in (GdprUnavailable, Held, UnknownCall, ExportFailed)}


class Wanted(msgspec.Struct):
    """Whose data; `reason` is kept with the receipt of an erasure."""

    call_id: str = ""
    reason: str = ""


class ExportedView(msgspec.Struct):
    """Where the export lies on the server: its document, and the archive with the sound; with SHA-256 of both."""

    call_id: str
    path: str
    status: str
    archive: str
    sha256: str
    archive_sha256: str
    recordings: int


class ErasedView(msgspec.Struct):
    """What became of an erasure: "erased", or "incomplete" while something is left, which is tried again."""

    call_id: str
    status: str
    receipt: Receipt


class AuditLogs(msgspec.Struct):
    """Both audit logs: that of calls, and that of what was done over HTTP. `first_problem` is the number of the first row that is not as it was written."""

    valid: bool
    calls: AuditVerified
    requests: dict[str, int | bool | None]


def _services(request: Request[Any, Any, Any]) -> Services:
    services: Services = request.app.state.services
    return services


async def _ask(request: Request[Any, Any, Any], subject: str, payload: Any, shape: Any, timeout_s: float) -> Any:
    """What the keeper answers. Raises the errors above, and Busy where it cannot be asked."""
    bus = _services(request).bus
    if bus is None:
        raise GdprUnavailable("The keeper of this machine cannot be asked now", {"Retry-After": "1"})
    try:
        return await bus.request(KEEPER, subject, payload, timeout_s, shape=shape)
    except RemoteError as error:
        if (known := _ERRORS.get(error.code)) is not None:
            raise known(str(error)) from error
        raise
    except BusError as error:
        raise GdprUnavailable("The keeper of this machine does not answer", {"Retry-After": "1"}) from error


async def _wanted(request: Request[Any, Any, Any], call_id: str = "") -> CallWanted:
    """The call of a request, by its body or its query. Raises NotFound where export and erasure are switched off, MissingParameter, InvalidParameter, TooLarge."""
    if not _services(request).config.compliance.gdpr_enabled:
        raise NotFound(OFF)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX_BYTES:
            raise TooLarge(f"The body takes up to {BODY_MAX_BYTES} bytes")
    try:
        told = msgspec.json.decode(body, type=Wanted) if body.strip() else Wanted()
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"body: {error}") from None
    wanted = told.call_id or call_id
    if not wanted.strip():
        raise MissingParameter("call_id: the Call-ID is missing")
    if len(wanted) > CALL_ID_MAX_CHARS or len(told.reason) > REASON_MAX_CHARS:
        raise InvalidParameter(f"call_id has up to {CALL_ID_MAX_CHARS} characters, reason {REASON_MAX_CHARS}")
    request.state.audit = (reference_of(wanted), {})
    return CallWanted(wanted, principal_of(request).owner or "local", told.reason)


@get("/api/compliance/status", opt={"scopes": requires("compliance.read")}, tags=["compliance"])
async def compliance_status(request: Request[Any, Any, Any]) -> ComplianceStatus:
    """Which rules of law are kept to."""
    try:
        found: ComplianceStatus = await _ask(request, STATUS_SUBJECT, None, ComplianceStatus, ASK_S)
        return found
    except (ApiError, BusError):
        return status_of(_services(request).config)


@post(
    "/api/compliance/gdpr/export", status_code=200,
    opt={"scopes": requires("compliance.export"), "audit": "gdpr.export", "errors": (400, 404, 413, 503)}, tags=["compliance"],
)  # fmt: skip
async def gdpr_export(request: Request[Any, Any, Any]) -> ExportedView:
    """Exports everything that is kept of a call into the folder of exports. Body: {"call_id": "..."}."""
    wanted = await _wanted(request)
    told: Exported = await _ask(request, EXPORT_SUBJECT, wanted, Exported, LONG_S)
    request.state.audit = (reference_of(wanted.call_id), {"sha256": told.sha256})
    return ExportedView(wanted.call_id, told.path, "exported", told.archive, told.sha256, told.archive_sha256, told.recordings)


@route(
    "/api/compliance/gdpr/erase", http_method=[HttpMethod.POST, HttpMethod.DELETE], status_code=200,
    opt={"scopes": requires("compliance.erase"), "audit": "gdpr.erase", "errors": (400, 404, 409, 413, 503)}, tags=["compliance"],
)  # fmt: skip
async def gdpr_erase(
    request: Request[Any, Any, Any],
    call_id: Annotated[str, Parameter(description="The Call-ID, where it is not in the body.")] = "",
) -> Response[ErasedView]:
    """Erases everything that is kept of a call, for good. Body: {"call_id": "...", "reason": "..."}; 202 while something is left."""
    wanted = await _wanted(request, call_id)
    receipt: Receipt = await _ask(request, ERASE_SUBJECT, wanted, Receipt, LONG_S)
    request.state.audit = (receipt.reference, {"recordings": len(receipt.recordings), "residue": len(receipt.residue)})
    return Response(ErasedView(wanted.call_id, receipt.status, receipt), status_code=200 if receipt.status == "erased" else 202)


@get("/api/compliance/audit/verify", opt={"scopes": requires("audit.read"), "errors": (503,)}, tags=["compliance"])
async def verify_audit(request: Request[Any, Any, Any]) -> AuditLogs:
    """Whether both audit logs are as they were written. Reads all of them."""
    calls: AuditVerified = await _ask(request, VERIFY_SUBJECT, None, AuditVerified, LONG_S)
    first = await _services(request).store.audit.verify()
    return AuditLogs(not calls.problems and first is None, calls, {"valid": first is None, "first_problem": first})


@get(
    "/api/v1/recordings/{recording_id:str}/vcon",
    opt={"scopes": requires("recordings.read"), "errors": (400, 404, 410), "audit": "recordings.vcon"},
    tags=["recordings"],
)
async def get_vcon(
    request: Request[Any, Any, Any],
    recording_id: str,
    inline: Annotated[bool, Parameter(description="With the sound in the document; else by URL.")] = False,
) -> Response[bytes]:
    """A recording as a vCon (draft-ietf-vcon-vcon-core)."""
    from api.routes import recordings
    from engine.recordings.vcon import vcon_of

    request.state.audit = (recordings.reference_of(recording_id), {"inline": inline})
    record, catalogue = await recordings._record(request, recording_id), recordings._catalogue(request)
    base, at = f"{request.base_url}api/v1/recordings/{recording_id}/audio", _services(request).clock()

    def url_of(file: Any) -> str:
        return f"{base}?leg={file.tracks[0]}" if file.role == "leg" and file.tracks else base

    told = await asyncio.to_thread(vcon_of, catalogue, record, at=at, url_of=None if inline else url_of)
    headers = {"Content-Disposition": f'attachment; filename="{recording_id}.vcon.json"', "Cache-Control": "private, no-store"}
    return Response(msgspec.json.encode(told), media_type="application/vcon+json", headers=headers)


ROUTES = [compliance_status, gdpr_export, gdpr_erase, verify_audit, get_vcon]

__all__ = ["ROUTES"]

"""/api/v1/recordings: what was recorded: found by the store, read from the disk of this machine, changed by its keeper.

A recording is named by its id. Lists are of all machines that share a store; everything else is of this one. What is played or taken away is written
into the audit log by a reference, since the log is never changed and an id holds some of its Call-ID.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Request, delete, get, post, put
from litestar.params import Parameter
from litestar.response import Stream

from api.auth import principal_of
from api.errors import ApiError, Busy, InvalidParameter, NotFound
from api.routes.calls import masked
from api.scopes import ADMIN, requires
from engine.clock import iso, iso_or_none
from engine.keeping import KEEPER
from engine.recordings.record import Hold, KeptFile, Record
from engine.recordings.requests import (
    ERASE_SUBJECT,
    HOLD_SUBJECT,
    HOLDS_SUBJECT,
    RELEASE_SUBJECT,
    REWRAP_SUBJECT,
    SWEEP_SUBJECT,
    VERIFY_SUBJECT,
    Erased,
    EraseWanted,
    HoldWanted,
    ReleaseWanted,
    SweepWanted,
    Verified,
    VerifyWanted,
)
from engine.store import RecordedFilter, RecordedRow

if TYPE_CHECKING:
    from api.services import Services
    from engine.recordings.catalogue import Catalogue

PAGE_MAX, PAGE = 500, 50
ASK_S: Final = 10.0
LONG_S: Final = 120.0  # to read all of a recording, or to take it away elsewhere
MEDIA_TYPES: Final = {
    "wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg", "ogg": "audio/ogg", "flac": "audio/flac", "pcap": "application/vnd.tcpdump.pcap",
    "json": "application/json",
}  # fmt: skip
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class BadRange(ApiError):
    """A range of bytes that begins behind the end."""

    status = 416
    code = "request.range"


class RecordingView(msgspec.Struct):
    """A recording of the list. Times are ISO 8601 UTC; `call` is the number of its call; null is not known, or never."""

    id: str
    call: int
    machine: str
    session: str
    state: str
    stage: str
    vendor: str
    started_at: str
    duration_ms: int
    policy: str
    expires_at: str | None
    holds: int
    duplicate_of: str
    channels: list[dict[str, Any]]
    warnings: list[str]


class RecordingList(msgspec.Struct):
    """One page; `next_cursor` leads to the following one, null at the end."""

    recordings: list[RecordingView]
    next_cursor: str | None


class RecordingDetail(msgspec.Struct):
    """All that is known of a recording: what became of its files, how it was made, and its session; null where that is gone."""

    record: dict[str, Any]
    manifest: dict[str, Any] | None
    session: dict[str, Any] | None


class Verification(msgspec.Struct):
    """Whether a recording is as it was when it was sealed; `problems` where it is not."""

    id: str
    whole: bool
    problems: list[str]


class HoldWish(msgspec.Struct, forbid_unknown_fields=True):
    """Why a recording is held."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class HoldView(msgspec.Struct):
    """A legal hold."""

    id: str
    by: str
    at: str
    reason: str


class Holds(msgspec.Struct):
    """The holds of a recording."""

    id: str
    holds: list[HoldView]


class HeldView(msgspec.Struct):
    """A hold and the recording that it holds."""

    recording_id: str
    call_id: str
    hold: HoldView


class HeldList(msgspec.Struct):
    """All holds on this machine."""

    holds: list[HeldView]


class ErasedView(msgspec.Struct):
    """What came of a deletion: `left` could not be taken away yet, and is tried until it can."""

    id: str
    erased: bool
    left: list[str]


class SweptView(msgspec.Struct):
    """What a sweep took away, or would take away; `left` by recording."""

    dry_run: bool
    expired: list[str]
    erased: list[str]
    left: dict[str, list[str]]
    more: bool


class RewrappedView(msgspec.Struct):
    """How many recordings have a key wrapped anew."""

    rewrapped: int


def reference_of(id: str) -> str:
    """What names a recording where its id must not stay."""
    return "recording:" + hashlib.blake2b(id.encode(), digest_size=16).hexdigest()


def _row(row: RecordedRow) -> RecordingView:
    return RecordingView(
        id=row.id, call=row.call, machine=row.machine, session=row.session, state=row.state, stage=row.stage, vendor=row.vendor, started_at=iso(row.started_at),
        duration_ms=row.duration_ms, policy=row.policy, expires_at=iso_or_none(row.expires_at), holds=row.holds,
        duplicate_of=row.duplicate_of, channels=row.channels, warnings=list(row.warnings),
    )  # fmt: skip


def _hold(hold: Hold) -> HoldView:
    return HoldView(hold.id, hold.by, iso(hold.at), hold.reason)


def _catalogue(request: Request[Any, Any, Any]) -> Catalogue:
    """The recordings of this machine, opened when they are wanted first."""
    state = request.app.state
    if (made := state.get("recordings")) is None:
        from engine.recordings.catalogue import Catalogue
        from engine.recordings.places import Places

        services: Services = state.services
        loaded = services.loaded
        places = Places(lambda: services.config, loaded.data_dir)
        made = Catalogue(loaded.data_dir / loaded.config.recording.directory, storage=places.storage_for, vault=places.vault)
        state["recordings"] = made
    found: Catalogue = made
    return found


async def _record(request: Request[Any, Any, Any], id: str) -> Record:
    """The record of a recording that is there. Raises NoSuchRecording, RecordingErased."""
    from engine.recordings.errors import RecordingErased

    record: Record = await asyncio.to_thread(_catalogue(request).of_recording, id)
    if record.stage == "erased":
        raise RecordingErased("The recording was erased")
    return record


async def _ask(request: Request[Any, Any, Any], subject: str, payload: Any, shape: Any, timeout_s: float = ASK_S) -> Any:
    """What the keeper answers. Raises bus errors, and those of the keeper by their codes."""
    bus = request.app.state.services.bus
    if bus is None:
        raise Busy("The keeper of recordings cannot be asked now; retry in a moment", {"Retry-After": "1"})
    return await bus.request(KEEPER, subject, payload, timeout_s, shape=shape)


READ = {"scopes": requires("recordings.read")}
ONE = {**READ, "errors": (404, 410)}


@get("/api/v1/recordings", opt={**READ, "errors": (400,)}, tags=["recordings"])
async def list_recordings(
    request: Request[Any, Any, Any],
    since: Annotated[float | None, Parameter(description="Began at this time or later, in seconds since 1970.")] = None,
    until: Annotated[float | None, Parameter(description="Began before this time, in seconds since 1970.")] = None,
    call_id: Annotated[str | None, Parameter(description="A Call-ID: of the recording session, or of the call.")] = None,
    call: Annotated[int | None, Parameter(description="The number of its call.", ge=0)] = None,
    correlation: Annotated[str | None, Parameter(description="A key of another system: ucid, session id, ...; its value, or kind:value.")] = None,
    participant: Annotated[str | None, Parameter(description="Part of the address or name of somebody who took part.")] = None,
    stage: Annotated[str | None, Parameter(description="How far its files are: sealed, ..., done.")] = None,
    held: Annotated[bool | None, Parameter(description="Whether a legal hold keeps it.")] = None,
    cursor: Annotated[str | None, Parameter(description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE,
) -> RecordingList:
    """Recordings, the newest first, page by page."""
    wanted = RecordedFilter(
        since=since, until=until, call_id=call_id, call=call, correlation=correlation, participant=participant, stage=stage, held=held
    )
    try:
        rows, following = await request.app.state.services.store.recorded.list(wanted, cursor=cursor, limit=limit)
    except ValueError as error:
        raise InvalidParameter(str(error)) from error
    return RecordingList([_row(row) for row in rows], following)


@get("/api/v1/recordings/holds", opt=READ, tags=["recordings"])
async def list_holds(request: Request[Any, Any, Any]) -> HeldList:
    """All legal holds on this machine."""
    from engine.recordings.holds import HeldRecording

    found: list[HeldRecording] = await _ask(request, HOLDS_SUBJECT, None, list[HeldRecording])
    return HeldList([HeldView(each.recording_id, each.call_id, _hold(each.hold)) for each in found])


@get("/api/v1/recordings/{recording_id:str}", opt=ONE, tags=["recordings"])
async def get_recording(request: Request[Any, Any, Any], recording_id: str) -> RecordingDetail:
    """A recording: its record, its manifest and its session. Bodies of its signalling are there with the scope traces.raw.read."""
    from engine.recordings.errors import NotRecorded

    record, catalogue = await _record(request, recording_id), _catalogue(request)

    def read() -> RecordingDetail:
        try:
            manifest = msgspec.to_builtins(catalogue.manifest(record))
        except NotRecorded:
            manifest = None
        document = catalogue.document(record)
        session = None if document is None else msgspec.to_builtins(document)
        if session is not None and not principal_of(request).may("traces.raw.read"):
            session.pop("bodies", None)
            session["headers"] = [[name, masked(value.encode("utf-8", "replace")).decode()] for name, value in session.get("headers", ())]
        told = msgspec.to_builtins(record)
        for file in told.get("files", ()):
            if sealed := file.get("sealed"):
                del sealed["wrapped_key"]
        return RecordingDetail(told, manifest, session)

    return await asyncio.to_thread(read)


AUDIO = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("audio/wav", "audio/mpeg", "audio/ogg", "audio/flac")}


@get(
    "/api/v1/recordings/{recording_id:str}/audio",
    opt={**READ, "errors": (400, 404, 410, 416), "answer": AUDIO, "audit": "recordings.play"},
    tags=["recordings"],
)
async def get_audio(
    request: Request[Any, Any, Any],
    recording_id: str,
    leg: Annotated[int | None, Parameter(description="One party's channel alone; all of them together without.", ge=0, le=255)] = None,
) -> Stream:
    """The sound of a recording, decrypted, as a whole or the range of bytes that is asked for."""
    from engine.recordings.catalogue import chosen

    catalogue = _catalogue(request)
    request.state.audit = (reference_of(recording_id), {} if leg is None else {"leg": leg})
    record = await _record(request, recording_id)
    file = chosen(record, leg)
    if file.path and not (catalogue.folder.path / file.path).exists():  # the keeper was just at it
        record = await _record(request, recording_id)
        file = chosen(record, leg)
    tag = f'"{file.sha256}"'
    name = f"{recording_id}{'' if leg is None else f'-leg{leg}'}.{file.format}"
    headers = {
        "Accept-Ranges": "bytes", "ETag": tag, "Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    wanted = request.headers.get("range", "") if request.headers.get("if-range", tag) == tag else ""
    span = range_of(wanted, file.bytes)
    if span is None:
        raise BadRange(f"The recording has {file.bytes} bytes", {"Content-Range": f"bytes */{file.bytes}"})
    first, last, status = span
    if status == 206:
        headers["Content-Range"] = f"bytes {first}-{last}/{file.bytes}"
    headers["Content-Length"] = str(last + 1 - first)
    pieces = await _opened(catalogue, record, file, first)
    return Stream(_cut(pieces, last + 1 - first), status_code=status, media_type=MEDIA_TYPES.get(file.format, "application/octet-stream"), headers=headers)


def range_of(text: str, size: int) -> tuple[int, int, int] | None:
    """First byte, last byte and status of the answer to a Range (RFC 9110 14.2); None where there is nothing in it. Several ranges, and what is none, get the whole."""
    whole = 0, size - 1, 200
    found = _RANGE.fullmatch(text.strip())
    if not found or found[1] == found[2] == "":
        return whole
    if not found[1]:
        count = min(int(found[2]), size)
        return (size - count, size - 1, 206) if count else None
    first, last = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
    if found[2] and int(found[2]) < first:
        return whole
    return (first, last, 206) if first < size else None


async def _opened(catalogue: Catalogue, record: Record, file: KeptFile, first: int) -> Iterator[bytes]:
    """The pieces of a file, the first of them read already: what cannot be read is told before an answer is begun."""

    def begun() -> Iterator[bytes]:
        pieces = catalogue.read_audio(record, file, first)
        head = next(pieces, b"")
        return _chained(head, pieces)

    try:
        return await asyncio.to_thread(begun)
    except FileNotFoundError as error:
        raise NotFound("The file is not on this machine any more") from error


def _chained(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


async def _cut(pieces: Iterator[bytes], count: int) -> AsyncIterator[bytes]:
    """So many bytes; what is read waits in a thread."""
    left = count
    while left and (piece := await asyncio.to_thread(next, pieces, b"")):
        yield piece[:left]
        left -= min(len(piece), left)


@get("/api/v1/recordings/{recording_id:str}/verify", opt=ONE, tags=["recordings"])
async def verify_recording(request: Request[Any, Any, Any], recording_id: str) -> Verification:
    """Reads all of a recording, here or elsewhere, and says whether it is as it was."""
    told: Verified = await _ask(request, VERIFY_SUBJECT, VerifyWanted(recording_id), Verified, LONG_S)
    return Verification(recording_id, not told.problems, list(told.problems))


HOLDING = {"scopes": requires("recordings.delete"), "errors": (400, 404, 409, 410)}


@put("/api/v1/recordings/{recording_id:str}/holds/{hold_id:str}", status_code=200, opt={**HOLDING, "audit": "recordings.hold"}, tags=["recordings"])
async def set_hold(request: Request[Any, Any, Any], recording_id: str, hold_id: str, data: HoldWish) -> Holds:
    """Puts a legal hold on a recording: nothing of it goes while there is one."""
    request.state.audit = (reference_of(recording_id), {"hold": hold_id[:120]})
    by = principal_of(request).owner
    hold = Hold(id=hold_id, by=by, at=request.app.state.services.clock(), reason=data.reason)
    record: Record = await _ask(request, HOLD_SUBJECT, HoldWanted(recording_id, hold), Record)
    return Holds(recording_id, [_hold(each) for each in record.holds])


@delete("/api/v1/recordings/{recording_id:str}/holds/{hold_id:str}", status_code=200, opt={**HOLDING, "audit": "recordings.release"}, tags=["recordings"])
async def release_hold(request: Request[Any, Any, Any], recording_id: str, hold_id: str) -> Holds:
    """Takes a legal hold away."""
    request.state.audit = (reference_of(recording_id), {"hold": hold_id[:120]})
    record: Record = await _ask(request, RELEASE_SUBJECT, ReleaseWanted(recording_id, hold_id, principal_of(request).owner), Record)
    return Holds(recording_id, [_hold(each) for each in record.holds])


@delete("/api/v1/recordings/{recording_id:str}", status_code=200, opt={**HOLDING, "audit": "recordings.delete"}, tags=["recordings"])
async def delete_recording(request: Request[Any, Any, Any], recording_id: str) -> ErasedView:
    """Erases a recording for good, here, elsewhere and in the store; says what could not be taken away yet."""
    request.state.audit = (reference_of(recording_id), {})
    told: Erased = await _ask(request, ERASE_SUBJECT, EraseWanted(recording_id, principal_of(request).owner), Erased, LONG_S)
    request.state.audit = (reference_of(recording_id), {"left": len(told.left)})
    return ErasedView(recording_id, not told.left, list(told.left))


@post("/api/v1/recordings/sweep", status_code=200, opt={"scopes": requires("recordings.delete"), "audit": "recordings.sweep"}, tags=["recordings"])
async def sweep(
    request: Request[Any, Any, Any],
    dry_run: Annotated[bool, Parameter(description="Only tells what would go.")] = False,
) -> SweptView:
    """Erases recordings that were kept for as long as they were to be."""
    from engine.recordings.retention import Swept

    told: Swept = await _ask(request, SWEEP_SUBJECT, SweepWanted(dry_run, principal_of(request).owner), Swept, LONG_S)
    request.state.audit = ("", {"dry_run": dry_run, "erased": len(told.erased)})
    return SweptView(told.dry_run, list(told.expired), list(told.erased), {id: list(left) for id, left in told.left.items()}, told.more)


@post("/api/v1/recordings/rewrap", status_code=200, opt={"scopes": requires(ADMIN), "audit": "recordings.rewrap"}, tags=["recordings"])
async def rewrap(request: Request[Any, Any, Any]) -> RewrappedView:
    """Wraps the keys of all encrypted recordings by the master key of now, so that older ones are not needed for them."""
    told: int = await _ask(request, REWRAP_SUBJECT, None, int, LONG_S)
    request.state.audit = ("", {"rewrapped": told})
    return RewrappedView(told)


ROUTES = [
    list_recordings, list_holds, get_recording, get_audio, verify_recording, set_hold, release_hold, delete_recording, sweep, rewrap,
]  # fmt: skip

__all__ = ["ROUTES", "range_of", "reference_of"]

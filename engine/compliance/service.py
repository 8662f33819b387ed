"""Compliance in the keeper: the audit log of calls, exports and erasures, and what must not be heard in recordings.

    compliance.status   -             ComplianceStatus
    compliance.verify   -             AuditVerified
    gdpr.export         CallWanted    Exported
    gdpr.erase          CallWanted    Receipt
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from engine.compliance import audio, audit_log
from engine.compliance.audit_log import AuditEvent, AuditLog, Outcome, reference_of
from engine.compliance.errors import CallHeld, GdprDisabled, UnknownCall
from engine.compliance.gdpr import FOLDER, Gdpr
from engine.compliance.requests import (
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
from engine.compliance.transcripts import PiiFilter
from engine.errors import EngineError
from engine.health import Result
from engine.recordings.errors import NotRecorded
from engine.siprec.events import (
    SESSION_TOPIC,
    SIGNALLING_TOPIC,
    TRANSCRIPT_TOPIC,
    SessionEvent,
    SignallingEvent,
    Transcript,
)

if TYPE_CHECKING:
    from engine.bus import Message
    from engine.keeping import Keeping
    from engine.media.manifest import Interval
    from engine.recordings.record import KeptFile, Record

SYNC_S: Final = 1.0
RESUME_FIRST_S, RESUME_S = 0.5, 60.0
SETTLE_S: Final = 10.0  # after the end of a recording speech recognition has said all
QUIET_S: Final = 5.0
SWEEP_AFTER_S: Final = 7 * 86_400.0
LOG_FILE: Final = "audit.log"
CALLS_MAX: Final = 100_000
_TOLD: Final = {
    "started": "recording.started", "ended": "recording.stopped", "paused": "recording.paused", "resumed": "recording.resumed", "muted": "recording.muted",
    "unmuted": "recording.unmuted",
}  # fmt: skip

log = logging.getLogger("trunkline.compliance")


class ComplianceService:
    """Made with its `Keeping` alone; starts and ends in the keeper's loop."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self.pii = PiiFilter(keeping.config.pii, keeping.data_dir / FOLDER / "pii")
        self.audit: AuditLog | None = None
        self._audit_problem = ""
        self._gdpr: Gdpr | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._recordings: dict[str, str] = {}  # Call-ID -> the recording that it writes now
        self._resume_at = -math.inf
        self._heard: dict[str, float] = {}  # when something was heard last
        keeping.redactor = self

    async def start(self) -> None:
        """Opens the audit log, serves its subjects, listens, and goes on with erasures that were not finished."""
        await asyncio.to_thread(self._open_audit)
        self._gdpr = Gdpr(self._keeping, pii=self.pii, audit=self.audit)
        self._keeping.audit = self.note
        bus = self._keeping.bus
        bus.serve(STATUS_SUBJECT, self._status)
        bus.serve(VERIFY_SUBJECT, self._verify)
        bus.serve(EXPORT_SUBJECT, self._export)
        bus.serve(ERASE_SUBJECT, self._erase)
        await bus.subscribe(SESSION_TOPIC, self._session)
        await bus.subscribe(SIGNALLING_TOPIC, self._signalling)
        await bus.subscribe(TRANSCRIPT_TOPIC, self._transcript)
        self._tasks = [asyncio.create_task(self._repeat(SYNC_S, self._sync)), asyncio.create_task(self._repeat(RESUME_FIRST_S, self._resume))]

    async def close(self) -> None:
        """Puts the audit log on the disk. Erasures go on at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.audit is not None:
            await asyncio.to_thread(self.audit.close)

    def checks(self) -> dict[str, Result]:
        """The audit log and erasures."""
        found = {}
        if self._audit_path is not None:
            found["audit_log"] = Result("unhealthy", self._audit_problem) if self._audit_problem else Result("healthy")
        if self._keeping.config.compliance.gdpr_enabled:
            left = len(self._gdpr.unfinished) if self._gdpr is not None else 0
            found["gdpr"] = Result("degraded", f"{left} erasures are not finished, and are tried again") if left else Result("healthy")
        return found

    # ---- the audit log ----

    @property
    def _audit_path(self) -> Path | None:
        """Where the audit log is; None where none is wanted."""
        compliance = self._keeping.config.compliance
        if compliance.audit_log_path:
            return self._keeping.data_dir / compliance.audit_log_path
        return self._keeping.data_dir / FOLDER / LOG_FILE if compliance.audit_tamper_proof else None

    def _open_audit(self) -> None:
        path = self._audit_path
        if path is None:
            return
        try:
            self.audit = AuditLog(path, tamper_proof=self._keeping.config.compliance.audit_tamper_proof, clock=self._keeping.clock)
            self._audit_problem = ""
        except (OSError, EngineError) as error:
            self._audit_problem = str(error)
            log.error("there is no audit log: %s", error)

    def note(self, event: AuditEvent) -> None:
        """Tells the audit log. Does not raise: what happened has happened."""
        if self.audit is None:
            return
        try:
            self.audit.add(event)
            self._audit_problem = ""
        except (OSError, TypeError, msgspec.MsgspecError) as error:
            self._audit_problem = f"it does not take lines: {error}"
            log.error("the audit log did not take %s: %s", event.event, error)

    async def _sync(self) -> None:
        if self.audit is None:
            if self._audit_problem:
                await asyncio.to_thread(self._open_audit)
                if self.audit is not None and self._gdpr is not None:
                    self._gdpr.audit = self.audit
            return
        try:
            await asyncio.to_thread(self.audit.sync)
        except OSError as error:
            self._audit_problem = f"it cannot be put on the disk: {error.strerror}"

    async def _session(self, message: Message) -> None:
        event = message.read(SessionEvent)
        session = event.session
        if event.kind == "recorded":
            self._recordings.pop(session.call_id, None)
        elif session.recording_id:
            self._recordings[session.call_id] = session.recording_id
            if len(self._recordings) > CALLS_MAX:  # of workers that died
                del self._recordings[next(iter(self._recordings))]
        if event.kind not in _TOLD:
            return
        detail: dict[str, Any] = {"recording_id": session.recording_id, "participants": [party.aor or party.name for party in session.participants]}
        if event.reason:
            detail["reason"] = event.reason
        session_id = session.session_ids[0] if session.session_ids else session.recording_id
        self.note(AuditEvent(event=_TOLD[event.kind], at=event.at, actor=event.actor, call_id=session.call_id, session_id=session_id, detail=detail))

    async def _signalling(self, message: Message) -> None:
        told = message.read(SignallingEvent)
        outcome: Outcome = "failure" if told.event.endswith(".failure") else "success"
        detail = {name: value for name, value in (("status", told.status), ("reason", told.reason)) if value}
        self.note(AuditEvent(event=told.event, at=told.at, outcome=outcome, call_id=told.call_id, headers=told.headers, detail=detail))

    # ---- what must not be heard ----

    async def _transcript(self, message: Message) -> None:
        pii = self._keeping.config.pii
        if not pii.enabled or not pii.apply_to_recordings:
            return
        heard = message.read(Transcript)
        self.pii.settings = pii
        name = self._recordings.get(heard.call_id, heard.call_id)
        self._heard[name] = self._keeping.clock()
        self.pii.apply(msgspec.structs.replace(heard, call_id=name))

    async def intervals(self, record: Record) -> Sequence[Interval] | None:
        """What is silenced in a recording; None while more may be heard of it."""
        pii = self._keeping.config.pii
        if not pii.enabled or not pii.apply_to_recordings:
            return ()
        names = {record.recording_id, record.call_id}
        with contextlib.suppress(NotRecorded):
            names.add((await asyncio.to_thread(self._keeping.catalogue.manifest, record)).recording_id)
        now = self._keeping.clock()
        if now < record.started_at + record.duration_ms / 1000 + SETTLE_S or any(now < self._heard.get(name, 0.0) + QUIET_S for name in names):
            return None
        for name in names:
            self._heard.pop(name, None)
        found = [each for name in names for of_channel in self.pii.intervals(name).values() for each in of_channel]
        return sorted(found, key=lambda each: (each.start_ms, each.tracks))

    def silence(self, source: Path, target: Path, file: KeptFile, intervals: Sequence[Interval]) -> None:
        """Makes `target` of `source`, silent in these stretches. Raises NotRedactable, UnreadableAudio, OSError."""
        audio.silence(source, target, intervals, tracks=file.tracks)

    # ---- the subjects ----

    @property
    def _is_available(self) -> bool:
        return self._gdpr is not None and self._keeping.config.compliance.gdpr_enabled and self._keeping.store() is not None

    def _ready(self) -> Gdpr:
        if self._gdpr is None or not self._is_available:
            raise GdprDisabled("Export and erasure are not available: they are not switched on, or the database is not there")
        return self._gdpr

    async def _status(self, message: Message) -> ComplianceStatus:
        head = msgspec.to_builtins(self.audit.head()) if self.audit is not None and self.audit.tamper_proof else None
        return status_of(
            self._keeping.config, service_available=self._is_available, unfinished=len(self._gdpr.unfinished) if self._gdpr is not None else 0, head=head
        )

    async def _verify(self, message: Message) -> AuditVerified:
        path = self._audit_path
        if path is None or not self._keeping.config.compliance.audit_tamper_proof:
            return AuditVerified(False, 0, ())
        if self.audit is None:
            return AuditVerified(True, 0, (self._audit_problem or "it is not open",))
        head = self.audit.head()
        return AuditVerified(True, head.number, tuple(await asyncio.to_thread(audit_log.verify, path)))

    async def _export(self, message: Message) -> Exported:
        wanted, at = message.read(CallWanted), self._keeping.clock()
        try:
            exported = await self._ready().export(wanted.call_id, by=wanted.by)
        except EngineError as error:
            self._note_gdpr("gdpr.export", wanted, at, "failure", {"code": error.code})
            raise
        self._note_gdpr("gdpr.export", wanted, at, "success", {"sha256": exported.sha256, "recordings": exported.recordings})
        return exported

    async def _erase(self, message: Message) -> Receipt:
        wanted, at = message.read(CallWanted), self._keeping.clock()
        gdpr = self._ready()
        try:
            receipt = await gdpr.erase(wanted.call_id, by=wanted.by, reason=wanted.reason)
        except EngineError as error:
            self._note_gdpr("gdpr.erase", wanted, at, "refused" if isinstance(error, CallHeld) else "failure", {"code": error.code, "text": str(error)})
            raise
        detail = {"reference": receipt.reference, "residue": len(receipt.residue), "recordings": len(receipt.recordings)}
        outcome: Outcome = "failure" if receipt.residue else "success"
        self._note_gdpr("gdpr.erase", msgspec.structs.replace(wanted, call_id=receipt.reference, reason=""), at, outcome, detail)
        for name in list(self._recordings):
            if reference_of(name) == receipt.reference:
                del self._recordings[name]
        return receipt

    def _note_gdpr(self, event: str, wanted: CallWanted, at: float, outcome: Outcome, detail: dict[str, Any]) -> None:
        if detail.get("code") == UnknownCall.code:  # nothing is kept of it, and this does not change that
            wanted = msgspec.structs.replace(wanted, call_id=reference_of(wanted.call_id), reason="")
        if wanted.reason:
            detail["reason"] = wanted.reason
        self.note(AuditEvent(event=event, at=at, outcome=outcome, actor=wanted.by, call_id=wanted.call_id, detail=detail))

    # ---- time ----

    async def _resume(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._is_available or self._gdpr is None or now < self._resume_at:
            return
        self._resume_at = now + RESUME_S
        await self._gdpr.resume()
        before = self._keeping.clock() - SWEEP_AFTER_S
        self._heard = {name: at for name, at in self._heard.items() if at > before}
        await asyncio.to_thread(self.pii.sweep, before)

    async def _repeat(self, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except Exception:
                log.exception("compliance: a periodic task failed")


__all__ = ["ComplianceService"]

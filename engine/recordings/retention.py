"""How long recordings are kept, and what takes them away when that is over.

What the session itself asked for comes first (a header or its metadata), then the first rule that fits, then `recording.cleanup_days`. 0 days are for ever.
Time runs from the end of the recording. A legal hold stops all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import hashlib
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from engine.errors import EngineError
from engine.recordings.catalogue import Catalogue
from engine.recordings.errors import NoSuchRecording, RecordingErased, RecordingHeld
from engine.recordings.record import Record

if TYPE_CHECKING:
    from engine.config.document import Recording, RetentionRule
    from engine.keeping import Keeping

DAY_S: Final = 86_400.0
SWEEP_S: Final = 600.0
BATCH: Final = 200
TOLD_MAX: Final = 1000
DAYS_MAX: Final = 36_500  # of what strangers ask for
DEFAULT: Final = "cleanup_days"
log = logging.getLogger("trunkline.retention")


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep did, or would do: ids of recordings whose time is over, and what was left of those that could not go. `more`: there are others."""

    dry_run: bool
    expired: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    left: dict[str, tuple[str, ...]] = {}
    more: bool = False


def _fits(pattern: str, texts: tuple[str, ...]) -> bool:
    return not pattern or any(fnmatch.fnmatchcase(text.lower(), pattern.lower()) for text in texts)


def _applies(rule: RetentionRule, record: Record) -> bool:
    return _fits(rule.group, record.group_ids) and _fits(rule.participant, record.participants) and _fits(rule.vendor, (record.vendor,))


def policy_of(record: Record, wanted: Recording) -> tuple[str, float | None]:
    """The name of what decides, and when the recording goes (seconds since 1970), None for never."""
    if record.retention_days is not None and record.retention_days >= 0:
        name, days = record.retention_source or "session", min(record.retention_days, DAYS_MAX)
    else:
        rule = next((rule for rule in wanted.retention if _applies(rule, record)), None)
        name, days = (rule.name, rule.days) if rule is not None else (DEFAULT, wanted.cleanup_days)
    return name, record.started_at + record.duration_ms / 1000 + days * DAY_S if days else None


def digest_of(wanted: Recording) -> str:
    """What changes when the rules do."""
    return hashlib.sha256(msgspec.json.encode([wanted.retention, wanted.cleanup_days])).hexdigest()


def apply(catalogue: Catalogue, wanted: Recording) -> int:
    """Has every record say what the rules say now; how many were changed. Does nothing where they are the same as the last time."""
    digest, changed = digest_of(wanted), 0
    if catalogue.lookup.setting("retention") == digest:
        return 0
    for record in catalogue.entries():
        if record.stage == "erased" or (record.policy, record.expires_at) == policy_of(record, wanted):
            continue

        def judged(now: Record) -> Record:
            policy, expires_at = policy_of(now, wanted)
            return msgspec.structs.replace(now, policy=policy, expires_at=expires_at, indexed=False)

        with contextlib.suppress(NoSuchRecording, RecordingErased):
            catalogue.update(record.recording_id, judged)
            changed += 1
    catalogue.lookup.set("retention", digest)
    return changed


class Sweeper:
    """Erases what has expired, every few minutes."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._catalogue: Catalogue = keeping.catalogue
        self._one = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.problem = ""

    async def start(self) -> None:
        """Begins to sweep."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Ends; what is being erased goes on at the next start."""
        self._closed = True  # a cancellation that comes as the database answers can be lost on its way
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while not self._closed:
            try:
                while (await self.sweep()).more and not self._closed:
                    pass
                self.problem = ""
            except Exception as error:
                self.problem = f"expired recordings stay: {type(error).__name__}"
                log.exception("expired recordings stay")
            if not self._closed:
                await asyncio.sleep(SWEEP_S)

    async def sweep(self, *, dry_run: bool = False) -> Swept:
        """Erases what has expired by the rules of now; with `dry_run` only tells what would go."""
        async with self._one:
            wanted, now = self._keeping.config.recording, self._keeping.clock()
            if not dry_run:
                await asyncio.to_thread(apply, self._catalogue, wanted)
            expired = await asyncio.to_thread(self._expired, wanted, now)
            if dry_run:
                return Swept(dry_run=True, expired=tuple(expired[:TOLD_MAX]), more=len(expired) > TOLD_MAX)
            erased, left = [], {}
            for id in expired[:BATCH]:
                try:
                    record = await asyncio.to_thread(self._catalogue.of_recording, id)
                except (NoSuchRecording, OSError):
                    continue
                try:
                    if not _is_over(record, wanted, now):
                        continue
                    remains = await self._catalogue.erase(record, by=f"retention: {record.policy}")
                except (NoSuchRecording, RecordingErased, RecordingHeld):
                    continue
                except (EngineError, OSError) as error:
                    remains = (str(error),)
                self._keeping.tell(
                    "recording.erased", call_id=record.call_id, actor=f"retention: {record.policy}", success=not remains, detail={"left": len(remains)}
                )
                if remains:
                    left[id] = remains
                else:
                    erased.append(id)
            if erased:
                log.info("%d recordings were kept for as long as they were to be, and erased", len(erased))
            # what could not go is tried by the pipeline, not here again and again
            return Swept(dry_run=False, expired=tuple(expired[:BATCH]), erased=tuple(erased), left=left, more=len(expired) > BATCH and bool(erased))

    def _expired(self, wanted: Recording, now: float) -> list[str]:
        """By the table where that has the rules of now, else by looking at every record."""
        if self._catalogue.lookup.setting("retention") == digest_of(wanted):
            return self._catalogue.lookup.expired(now, TOLD_MAX + 1)
        return [record.recording_id for record in self._catalogue.entries() if _is_over(record, wanted, now)]


def _is_over(record: Record, wanted: Recording, now: float) -> bool:
    expires_at = policy_of(record, wanted)[1]
    return not record.holds and expires_at is not None and expires_at <= now


__all__ = ["DEFAULT", "Sweeper", "Swept", "apply", "digest_of", "policy_of"]

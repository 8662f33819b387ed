"""Finished recordings in the keeper: their way from sealed to done, their rows in the store, their end, and what is asked about them over the bus."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from engine.bus.messages import Message
from engine.errors import EngineError
from engine.health import Result
from engine.recordings import holds, retention
from engine.recordings.errors import NoSuchRecording, RecordingErased
from engine.recordings.index import Indexer
from engine.recordings.pipeline import TEXT_MAX, Pipeline
from engine.recordings.places import Places
from engine.recordings.record import Record
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
from engine.siprec.events import SESSION_TOPIC, SessionEvent
from engine.siprec.facts import SessionFacts

if TYPE_CHECKING:
    from engine.keeping import Keeping
    from engine.recordings.catalogue import Catalogue
    from engine.recordings.vault import Vault

CHECK_S = 60.0
VERIFIED_AT_ONCE = 2
ASKING_MAX = 1000  # sessions whose signalling is asked for
log = logging.getLogger("trunkline.recordings")


class RecordingsService:
    """One a keeper. `places` are those of the keeping's configuration."""

    def __init__(self, keeping: Keeping, places: Places) -> None:
        self._keeping, self._places = keeping, places
        self._catalogue = keeping.catalogue
        self.indexer = Indexer(keeping)
        self.pipeline = Pipeline(keeping, storage=places.storage, vault=places.vault, on_change=self.indexer.add)
        self.sweeper = retention.Sweeper(keeping)
        self._catalogue.forgetters.append(self.indexer.forget)
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Semaphore(VERIFIED_AT_ONCE)
        self._storage = self._encryption = Result("not_configured")

    async def start(self) -> None:
        """Serves its subjects, hears of recordings, and takes up what is unfinished."""
        bus = self._keeping.bus
        serves = {
            HOLD_SUBJECT: self._hold, RELEASE_SUBJECT: self._release, HOLDS_SUBJECT: self._holds, ERASE_SUBJECT: self._erase, VERIFY_SUBJECT: self._verify,
            SWEEP_SUBJECT: self._sweep, REWRAP_SUBJECT: self._rewrap,
        }  # fmt: skip
        for subject, handler in serves.items():
            bus.serve(subject, handler)
        await self.indexer.start()
        await self.pipeline.start()
        await self.sweeper.start()
        self._tasks.append(asyncio.get_running_loop().create_task(self._watch()))
        await bus.subscribe(SESSION_TOPIC, self._heard)

    async def close(self) -> None:
        """Leaves what is unfinished for the next start."""
        tasks = [*self._tasks, *self._asking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.sweeper.close()
        await self.pipeline.close()
        await self.indexer.close()
        await asyncio.to_thread(self._places.close)

    def checks(self) -> dict[str, Result]:
        """Recordings, their rows in the store, what expires, storage elsewhere, and the keys of what is encrypted."""
        told = {**self.pipeline.checks(), **self.indexer.checks(), "recordings_storage": self._storage, "encryption": self._encryption}
        if self.sweeper.problem:
            told["retention"] = Result("degraded", self.sweeper.problem)
        return told

    # ---- bus ----

    async def _heard(self, message: Message) -> None:
        event = message.read(SessionEvent)
        if event.kind != "recorded" or not event.manifest:
            return
        # what is not here is another machine's; what cannot be read is found by the next look at the folder
        with contextlib.suppress(NoSuchRecording, OSError):
            await self.pipeline.adopt(event.manifest)
            if event.session.worker and len(self._asking) < ASKING_MAX:
                self._begin(self._fetch(event.manifest.removesuffix(".json"), event.session))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _fetch(self, id: str, session: SessionFacts) -> None:
        if await self.indexer.traces.fetch(id, session.worker, session.call_id):
            with contextlib.suppress(EngineError, OSError):
                record = await asyncio.to_thread(self._catalogue.update, id, lambda now: msgspec.structs.replace(now, indexed=False))
                self.indexer.add(record)

    async def _changed(self, record: Record) -> Record:
        self.indexer.add(record)
        return record

    async def _hold(self, message: Message) -> Record:
        wanted = message.read(HoldWanted)
        record = await asyncio.to_thread(holds.set_hold, self._catalogue, wanted.id, wanted.hold)
        self._keeping.tell("recording.held", call_id=record.call_id, actor=wanted.hold.by, detail={"hold": wanted.hold.id})
        return await self._changed(record)

    async def _release(self, message: Message) -> Record:
        wanted = message.read(ReleaseWanted)
        record = await asyncio.to_thread(holds.release, self._catalogue, wanted.id, wanted.hold_id)
        self._keeping.tell("recording.released", call_id=record.call_id, actor=wanted.by, detail={"hold": wanted.hold_id})
        return await self._changed(record)

    async def _holds(self, message: Message) -> list[holds.HeldRecording]:
        return await asyncio.to_thread(holds.listed, self._catalogue)

    async def _erase(self, message: Message) -> Erased:
        wanted = message.read(EraseWanted)
        record = await asyncio.to_thread(self._catalogue.of_recording, wanted.id)
        if record.recording_id != wanted.id:
            raise RecordingErased("The recording was erased already")
        left = await self._catalogue.erase(record, by=wanted.by)
        if left:
            await self.pipeline.add([wanted.id], CHECK_S)
        self._told_erased(record, wanted.by, left)
        return Erased(left)

    def _told_erased(self, record: Record, by: str, left: Sequence[str]) -> None:
        self._keeping.tell("recording.erased", call_id=record.call_id, actor=by, success=not left, detail={"left": len(left)})

    async def _verify(self, message: Message) -> Verified:
        wanted = message.read(VerifyWanted)
        record = await asyncio.to_thread(self._catalogue.of_recording, wanted.id)
        if record.stage == "erased":
            raise RecordingErased("The recording was erased")
        async with self._reading:
            return Verified(tuple(await asyncio.to_thread(self._catalogue.verify, record)))

    async def _sweep(self, message: Message) -> retention.Swept:
        return await self.sweeper.sweep(dry_run=message.read(SweepWanted).dry_run)

    async def _rewrap(self, message: Message) -> int:
        return await asyncio.to_thread(rewrap, self._catalogue, self._places.vault())

    # ---- storage ----

    async def _watch(self) -> None:
        while True:
            self._encryption = await asyncio.to_thread(self._check_keys)
            self._storage = await asyncio.to_thread(self._check_storage)
            await asyncio.sleep(CHECK_S)

    def _check_keys(self) -> Result:
        wanted = self._keeping.config.encryption
        if not (wanted.enable_recording_encryption or wanted.enable_metadata_encryption):
            return Result("not_configured")
        try:
            problems = self._places.vault().problems()
        except (EngineError, OSError) as error:
            return Result("degraded", str(error))
        return Result("degraded", "; ".join(problems)[:TEXT_MAX]) if problems else Result("healthy", wanted.algorithm)

    def _check_storage(self) -> Result:
        try:
            storage = self._places.storage()
            if storage is None:
                return Result("not_configured")
            storage.check()
        except (EngineError, OSError) as error:
            return Result("degraded", str(error))
        except Exception as error:
            log.exception("storage could not be checked")
            return Result("degraded", type(error).__name__)
        return Result("healthy", storage.name)


def rewrap(catalogue: Catalogue, vault: Vault) -> int:
    """Has the keys of all encrypted files that are done be wrapped by the master key of now; how many records were changed. Files are not touched."""
    changed = 0

    def rewrapped(now: Record) -> Record:
        files = tuple(file if file.sealed is None else msgspec.structs.replace(file, sealed=vault.rewrap(file.sealed)) for file in now.files)
        return msgspec.structs.replace(now, files=files)

    for record in catalogue.entries():
        if record.stage == "done" and any(file.sealed is not None for file in record.files):
            with contextlib.suppress(NoSuchRecording, RecordingErased):
                changed += catalogue.update(record.recording_id, rewrapped) != record
    return changed


__all__ = ["RecordingsService", "rewrap"]

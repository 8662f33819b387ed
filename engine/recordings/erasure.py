"""A recording is taken away: every file and copy of it, its rows, and its name wherever others have it; what stays is a tombstone with a hash.

That it is to go is written into its record first, and the record goes last. So whoever is killed meanwhile, the next one goes on, and what could not be
taken away is still known.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from engine.errors import EngineError
from engine.media.manifest import ChainHead
from engine.media.staging import HEAD
from engine.recordings.errors import NoSuchRecording, RecordingErased, RecordingHeld
from engine.recordings.names import COMBINED, LOCATIONS_SUFFIX, RECORD_SUFFIX, tombstone_of
from engine.recordings.record import REFCI, Location, Record
from engine.siprec.document import PART_SUFFIX

if TYPE_CHECKING:
    from engine.recordings.catalogue import Catalogue

NEAR_S: Final = 2 * 86_400.0
NAMED_MAX: Final = 1000


class Erasure:
    """Of the recordings of one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def erase(self, record: Record, by: str) -> tuple[str, ...]:
        """As `Catalogue.erase`."""
        ids = sorted([record.recording_id, *(other.recording_id for other in await asyncio.to_thread(self._with_its_sound, record))])
        async with contextlib.AsyncExitStack() as others:
            for id in ids:
                await others.enter_async_context(self._catalogue.working(id))
            for other in await asyncio.to_thread(self._with_its_sound, record):
                if other.holds:
                    raise RecordingHeld(f"A legal hold keeps {other.recording_id}, which has its sound too")
            return await self._erase(record.recording_id, by)

    async def erase_call(self, call_id: str, by: str) -> tuple[str, ...]:
        """As `Catalogue.erase_call`."""
        await asyncio.to_thread(self._catalogue.scan)
        records = await asyncio.to_thread(self._catalogue.of_call, call_id)
        if held := [record.recording_id for record in records if record.holds]:
            raise RecordingHeld(f"A legal hold keeps {', '.join(held)}")
        left = [each for record in records for each in await self.erase(record, by)]
        return (*left, *await asyncio.to_thread(self._erase_staged, call_id))

    def _with_its_sound(self, record: Record) -> list[Record]:
        """Other recordings that have a file with its sound in it: the other direction of a built-in bridge."""
        keys = {key for key in record.correlation if key.startswith(REFCI)}
        return [
            other for other in self._catalogue.records(record.linked)
            if keys.intersection(other.correlation) and any(file.name.endswith(COMBINED) for file in other.files)
        ]  # fmt: skip

    async def _erase(self, id: str, by: str) -> tuple[str, ...]:
        try:
            record = await asyncio.to_thread(self._catalogue.update, id, lambda now: _begun(now, by))
        except RecordingErased:
            return ()
        left = await asyncio.to_thread(self._erase_files, record)
        for forget in self._catalogue.forgetters:
            left += await forget(record)
        if left:
            told = tuple(left)
            await asyncio.to_thread(self._catalogue.update, id, lambda now: msgspec.structs.replace(now, problems=told, attempts=now.attempts + 1))
            return told
        await asyncio.to_thread(self._bury, record)
        return ()

    def _erase_files(self, record: Record) -> list[str]:
        left = [text for other in self._with_its_sound(record) for text in self._erase_combined(other)]
        return [*left, *self._erase_elsewhere(record, self._catalogue.locations(record)), *self._erase_here(record)]

    def _erase_combined(self, other: Record) -> list[str]:
        """The file of both directions, in the recording that it lies beside."""
        if other.holds:
            return [f"{other.recording_id}: a legal hold keeps the file of both directions"]
        gone = [file for file in other.files if file.name.endswith(COMBINED)]
        if left := self._erase_elsewhere(other, [location.url for file in gone for location in file.locations]):
            return left
        for name in self._catalogue.files_of(other):
            if name.lstrip(".").startswith(other.recording_id + COMBINED):
                self._catalogue.folder.unlink(name)
        other = self._catalogue.update(
            other.recording_id,
            lambda now: msgspec.structs.replace(now, files=tuple(file for file in now.files if file not in gone), indexed=False),
        )
        if any(file.locations for file in (*gone, *other.files)):
            self._catalogue.write_locations(other)
        return []

    def _erase_elsewhere(self, record: Record, urls: Iterable[str]) -> list[str]:
        left: list[str] = []
        told = {location.url: location for file in record.files for location in file.locations}
        for url in urls:
            location = told.get(url) or Location(url=url, bytes=0, sha256="")
            try:
                if (storage := self._catalogue.storage_for(url)) is None:
                    left.append(f"{url}: no such storage is set up")
                    continue
                storage.delete(location)
                if storage.exists(location):
                    left.append(f"{url}: is still there")
            except (EngineError, OSError, ValueError) as error:
                left.append(f"{url}: {error}")
        return left

    def _erase_here(self, record: Record) -> list[str]:
        """All its files but the record, and the list of copies while some are left."""
        left = []
        for name in self._catalogue.files_of(record):
            if name == record.recording_id + RECORD_SUFFIX or name.endswith(LOCATIONS_SUFFIX):
                continue
            try:
                self._catalogue.folder.unlink(name)
            except OSError as error:
                left.append(f"{name}: {error.strerror}")
        self._catalogue.folder.sync()
        return left

    def _bury(self, record: Record) -> None:
        """Nothing of it is left but the tombstone, the last to be written and the first to be found."""
        tombstone = Record(
            recording_id=tombstone_of(record.recording_id), call_id="", manifest="", manifest_sha256=record.manifest_sha256, stage="erased", started_at=0.0,
            duration_ms=0, erased_at=self._catalogue.clock(), erased_by=record.erased_by, indexed=True,
        )  # fmt: skip
        self._behead(record)
        self._unlink(record)
        self._catalogue.replace(tombstone.recording_id + RECORD_SUFFIX, msgspec.json.encode(tombstone))
        for name in self._catalogue.files_of(record):
            self._catalogue.folder.unlink(name)
        self._catalogue.folder.sync()
        self._catalogue.lookup.forget(record.recording_id)
        self._catalogue.known.discard(record.recording_id)

    def _unlink(self, record: Record) -> None:
        """No other recording names it any more."""
        id = record.recording_id
        near = self._catalogue.lookup.near(record.correlation, record.started_at, NEAR_S, NAMED_MAX)

        def unlinked(now: Record) -> Record:
            linked = tuple(other for other in now.linked if other != id)
            duplicate_of = "" if now.duplicate_of == id else now.duplicate_of
            if (linked, duplicate_of) == (now.linked, now.duplicate_of):
                return now
            return msgspec.structs.replace(now, linked=linked, duplicate_of=duplicate_of, indexed=False)

        for other in sorted({*record.linked, *near} - {id}):
            with contextlib.suppress(NoSuchRecording, RecordingErased):
                self._catalogue.update(other, unlinked)

    def _behead(self, record: Record) -> None:
        """Where its manifest is the last of the chain, the chain goes on from its hash without its name."""
        try:
            fd = self._catalogue.folder.open(HEAD, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with contextlib.suppress(msgspec.MsgspecError, ValueError):
                head = msgspec.json.decode(os.pread(fd, 1 << 16, 0), type=ChainHead)
                if head.name == record.manifest:
                    content = msgspec.json.encode(ChainHead(before=head.sha256, name="", sha256=""))
                    os.pwrite(fd, content, 0)
                    os.ftruncate(fd, len(content))
                    os.fsync(fd)
        finally:
            os.close(fd)

    def _erase_staged(self, call_id: str) -> list[str]:
        left = []
        for staged, runs in self._catalogue.staged(call_id):
            if runs:
                left.append(f"{staged.recording_id}: is still being recorded")
                continue
            for file in staged.files:
                self._catalogue.folder.unlink(file.staged)
            for name in (f".{staged.recording_id}{PART_SUFFIX}", staged.manifest_name, staged.plan_name):
                self._catalogue.folder.unlink(name)
        self._catalogue.folder.sync()
        return left


def _begun(record: Record, by: str) -> Record:
    if record.holds:
        raise RecordingHeld("A legal hold keeps the recording")
    return record if record.stage == "erased" else msgspec.structs.replace(record, stage="erased", erased_by=by, problems=())


__all__ = ["Erasure"]

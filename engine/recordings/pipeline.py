"""What is done with a finished recording, step by step: sealed, redacted, converted, encrypted, uploaded, done.

Each step makes new files under names of their own, then replaces the record, which says from there on what is true, and only then takes away what the record
does not name any more. A process that is killed anywhere leaves a record whose files are there, and whoever comes next does that step again. What fails is
tried again for as long as it takes; a step that fails for one recording after the other is tried by one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from engine.errors import EngineError
from engine.health import Result
from engine.media.errors import UnreadableAudio
from engine.recordings import retention, stitch
from engine.recordings.catalogue import Catalogue
from engine.recordings.errors import Changed, NoSuchRecording, NotErased
from engine.recordings.record import KeptFile, Record, Stage

if TYPE_CHECKING:
    from engine.config.document import Recording
    from engine.keeping import Keeping
    from engine.recordings.storage import Backend
    from engine.recordings.vault import Vault

WORKERS: Final = 2
SCAN_S: Final = 60.0
RETRY_FIRST_S, RETRY_LAST_S = 1.0, 300.0
WAIT_S: Final = 5.0
FAILURES: Final = 3  # so many recordings that a step failed for, one after the other: then one at a time tries it
TEXT_MAX: Final = 300
OURS: Final = ("stage", "files", "redactions", "warnings", "obsolete")
T = TypeVar("T")
log = logging.getLogger("trunkline.recordings")


class Waits(Exception):
    """A recording cannot go on for some seconds, and nothing is wrong with it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Failed(Exception):
    """A step that could not be done, of which stage, and why."""

    def __init__(self, stage: Stage, error: Exception) -> None:
        super().__init__(stage)
        self.stage, self.error = stage, error


def text_of(error: BaseException) -> str:
    """An error for people, in one bounded line."""
    told = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error) or type(error).__name__
    return " ".join(told.split())[:TEXT_MAX]


def sha256_of(path: Path) -> tuple[str, int]:
    """SHA-256 and length of a file. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


class Step:
    """How one step fares over all recordings."""

    def __init__(self) -> None:
        self.failed: set[str] = set()  # the first that did since the last one that did not
        self.failures = 0
        self.until = 0.0

    def delay_s(self) -> float:
        """How long the next one waits, behind the failures so far."""
        return min(RETRY_FIRST_S * 2.0 ** min(self.failures, 20), RETRY_LAST_S)


class Pipeline:
    """Works on the recordings of a catalogue. `storage` and `vault` give what the configuration has now; `on_change` hears of each record that was replaced."""

    def __init__(
        self, keeping: Keeping, *, storage: Callable[[], Backend | None], vault: Callable[[], Vault], on_change: Callable[[Record], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic, workers: int = WORKERS,
    ) -> None:  # fmt: skip
        self._keeping, self._storage, self._vault = keeping, storage, vault
        self._on_change, self._monotonic = on_change, monotonic
        self._catalogue: Catalogue = keeping.catalogue
        self._workers = workers
        self._due: list[tuple[float, str]] = []
        self._queued: set[str] = set()
        self._woken = asyncio.Condition()
        self._failures: dict[str, int] = {}
        self._problems: dict[str, str] = {}
        self._steps: dict[Stage, Step] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pool = ThreadPoolExecutor(workers, "recordings")
        self._scan_problem = ""
        self._closed = False
        self.finished = 0

    # ---- coming and going ----

    async def start(self) -> None:
        """Takes up what is unfinished, and goes on until `close`."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._look())]
        self._tasks += [loop.create_task(self._work()) for _ in range(self._workers)]

    async def close(self) -> None:
        """Leaves everything as it is; a step that is being made is finished, or is made again."""
        self._closed = True  # a cancellation that comes as the database answers can be lost on its way
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def adopt(self, manifest_name: str) -> None:
        """A recording was sealed. Raises NoSuchRecording where it was not here."""
        record = await asyncio.to_thread(self._catalogue.adopt, manifest_name)
        self._on_change(record)
        await self.add([record.recording_id])

    async def add(self, ids: Iterable[str], delay_s: float = 0.0) -> None:
        """Recordings to work on, in some seconds."""
        async with self._woken:
            for id in ids:
                if id not in self._queued:
                    self._queued.add(id)
                    heapq.heappush(self._due, (self._monotonic() + delay_s, id))
            self._woken.notify(self._workers)

    async def _look(self) -> None:
        """Looks for recordings that nobody told of: at the beginning, and every minute."""
        begun = False
        while True:
            try:
                if not begun:
                    await asyncio.to_thread(self._catalogue.tidy)
                for id in await asyncio.to_thread(self._catalogue.scan):
                    with contextlib.suppress(NoSuchRecording):
                        self._on_change(await asyncio.to_thread(self._catalogue.of_recording, id))
                pending = await asyncio.to_thread(self._catalogue.lookup.pending)
                await self.add(id for id in pending if id not in self._queued)
                begun, self._scan_problem = True, ""
            except (OSError, EngineError) as error:
                self._scan_problem = f"the folder of recordings cannot be read: {text_of(error)}"
                log.error("%s", self._scan_problem)
            except Exception:
                self._scan_problem = "the folder of recordings cannot be looked through"
                log.exception("%s", self._scan_problem)
            await asyncio.sleep(SCAN_S)

    async def _next(self) -> str:
        async with self._woken:
            while True:
                wait_s = self._due[0][0] - self._monotonic() if self._due else None
                if wait_s is not None and wait_s <= 0:
                    return heapq.heappop(self._due)[1]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._woken.wait()

    async def _work(self) -> None:
        while not self._closed:
            id = await self._next()
            again_s: float | None = RETRY_LAST_S
            try:
                again_s = await self._process(id)
            except Exception:
                log.exception("recording %s could not be worked on", id)
            finally:
                self._queued.discard(id)
            if again_s is not None:
                await self.add([id], again_s)

    # ---- one recording ----

    async def _process(self, id: str) -> float | None:
        """Takes a recording as far as it goes; seconds until it is to be tried again, None where it is done."""
        try:
            async with self._catalogue.working(id):
                record = await asyncio.to_thread(self._catalogue.of_recording, id)
                if record.recording_id == id:
                    if record.obsolete:
                        record = await asyncio.to_thread(self._clear, record)
                    if record.stage == "done":  # a process was killed before the table had it
                        await asyncio.to_thread(self._catalogue.lookup.put, record)
                        self._on_change(record)
                    record = await self._advance(record)
            if record.stage == "erased" and record.recording_id == id and (left := await self._catalogue.erase(record, by=record.erased_by)):
                raise Failed("erased", NotErased("; ".join(left)))
            self.finished += 1
        except NoSuchRecording:
            pass
        except Waits as waits:
            return waits.seconds
        except Failed as failed:
            return await self._failed(id, failed.stage, failed.error)
        except (EngineError, OSError) as error:
            return await self._failed(id, "sealed", error)
        self._over(id)
        return None

    async def _advance(self, record: Record) -> Record:
        """Does all steps that are left; the record as it is then on the disk, where steps that changed nothing cost nothing. Raises Waits, Failed."""
        steps: dict[Stage, Callable[[Record], Awaitable[Record]]] = {
            "sealed": self._redact, "redacted": self._convert, "converted": self._encrypt, "encrypted": self._upload, "uploaded": self._leave,
        }  # fmt: skip
        made = record
        try:
            while (step := steps.get(made.stage)) is not None:
                before = made
                if (held_s := self._gate(made.stage)) > 0:
                    raise Waits(held_s)
                try:
                    made = await step(made)
                except (EngineError, OSError) as error:
                    raise Failed(before.stage, error) from error
                if made.stage != before.stage:
                    self._steps.pop(before.stage, None)
                if made.files != before.files or made.obsolete:
                    made = record = await self._committed(made)
        finally:
            if made is not record:
                made = await self._committed(made)
        return made

    async def _committed(self, made: Record) -> Record:
        record = await asyncio.to_thread(self._commit, made)
        self._on_change(record)
        return record

    def _over(self, id: str) -> None:
        self._failures.pop(id, None)
        self._problems.pop(id, None)

    def _gate(self, stage: Stage) -> float:
        """Seconds that a step is not to be tried, because it failed for others; one that passes holds the ones behind it."""
        step = self._steps.get(stage)
        if step is None or len(step.failed) < FAILURES:
            return 0.0
        now = self._monotonic()
        if now < step.until:
            return step.until - now
        step.until = now + step.delay_s()
        return 0.0

    async def _failed(self, id: str, stage: Stage, error: Exception) -> float:
        text = text_of(error)
        if not isinstance(error, Changed):  # which says nothing of other recordings
            step = self._steps.setdefault(stage, Step())
            step.failures += 1
            if len(step.failed) < FAILURES:
                step.failed.add(id)
            step.until = self._monotonic() + step.delay_s()
        failures = self._failures[id] = self._failures.get(id, 0) + 1
        if self._problems.get(id) != text:
            log.warning("recording %s stays %s: %s", id, stage, text)
            self._problems[id] = text
            with contextlib.suppress(OSError, EngineError):
                await asyncio.to_thread(self._note, id, text)
        return min(RETRY_FIRST_S * 2.0 ** min(failures - 1, 20), RETRY_LAST_S)

    def _note(self, id: str, text: str) -> None:
        def noted(record: Record) -> Record:
            problems = record.problems if record.stage == "erased" else (text,)
            return msgspec.structs.replace(record, problems=problems, attempts=record.attempts + 1)

        self._catalogue.update(id, noted)

    def _commit(self, made: Record) -> Record:
        """Replaces the record, then takes away what it does not name any more."""
        ours = {name: getattr(made, name) for name in OURS}
        record = self._catalogue.update(
            made.recording_id, lambda now: msgspec.structs.replace(now, **ours, problems=(), attempts=0, indexed=False)
        )
        return self._clear(record) if record.obsolete else record

    def _clear(self, record: Record) -> Record:
        named = {file.path for file in record.files}
        for name in record.obsolete:
            if name not in named:
                self._catalogue.folder.unlink(name)
        self._catalogue.folder.sync()
        return self._catalogue.update(record.recording_id, lambda now: msgspec.structs.replace(now, obsolete=()))

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _path(self, name: str) -> Path:
        return self._catalogue.folder.path / name

    def _check(self, file: KeptFile) -> None:
        """Raises Changed where a plain file is not what the record says, OSError."""
        if sha256_of(self._path(file.path)) != (file.sha256, file.bytes):
            raise Changed(f"{file.name} is not what it was when it was sealed")

    # ---- the steps ----

    async def _redact(self, record: Record) -> Record:
        """First of all what was heard is written, and how long it is kept; two that are one call find each other; then goes what must not be heard."""
        record = await self._begin(record)
        record = await self._combined(record)
        redactor = self._keeping.redactor
        intervals = () if redactor is None else await redactor.intervals(record)
        if intervals is None:
            raise Waits(WAIT_S)
        files, obsolete = list(record.files), list(record.obsolete)
        if intervals and redactor is not None:
            for at, file in enumerate(files):
                if file.role in ("leg", "merged"):
                    files[at] = await self._in_thread(self._silenced, redactor.silence, file, intervals)
                    obsolete.append(file.path)
            # packets cannot be silenced
            obsolete += [file.path for file in files if file.role == "capture"]
            files = [file for file in files if file.role != "capture"]
        return msgspec.structs.replace(
            record, stage="redacted", files=tuple(files), obsolete=tuple(obsolete), redactions=(*record.redactions, *intervals)
        )

    async def _begin(self, record: Record) -> Record:
        policy, expires_at = retention.policy_of(record, self._keeping.config.recording)
        if (policy, expires_at) != (record.policy, record.expires_at):
            record = await asyncio.to_thread(
                self._catalogue.update, record.recording_id, lambda now: msgspec.structs.replace(now, policy=policy, expires_at=expires_at)
            )
        for changed in await asyncio.to_thread(stitch.link, self._catalogue, record):
            self._on_change(changed)
        transcripts = self._keeping.transcripts
        if transcripts is None or any(file.role == "transcript" for file in record.files):
            return record
        name = await transcripts.finished(record.recording_id, record.manifest)
        if not name:
            return record
        digest, size = await self._in_thread(sha256_of, self._path(name))
        file = KeptFile(name=name, role="transcript", path=name, format="json", bytes=size, sha256=digest)
        return msgspec.structs.replace(record, files=(*record.files, file))

    async def _combined(self, record: Record) -> Record:
        """Two recordings that are the two directions of one call become one file, beside the legs of the one that began first."""
        partner = await asyncio.to_thread(stitch.other_direction, self._catalogue, record)
        if partner is None:
            if stitch.is_awaited(record, self._keeping.clock()):
                raise Waits(WAIT_S)
            return record
        if not stitch.is_first(record, partner):
            if stitch.is_awaited_by(partner, record):
                raise Waits(WAIT_S)
            return record
        if any(file.name == stitch.combined_name(record) for file in record.files):
            return record
        made = await self._in_thread(stitch.combine, self._catalogue, record, partner)
        return record if made is None else msgspec.structs.replace(record, files=(*record.files, made))

    def _silenced(self, silence: Callable[..., None], file: KeptFile, intervals: object) -> KeptFile:
        self._check(file)
        stem, dot, extension = file.path.rpartition(".")
        name = f"{stem}.redacted{dot}{extension}"
        self._catalogue.folder.unlink(name)
        silence(self._path(file.path), self._path(name), file, intervals)
        self._synced(name)
        digest, size = sha256_of(self._path(name))
        return msgspec.structs.replace(file, path=name, bytes=size, sha256=digest)

    async def _convert(self, record: Record) -> Record:
        wanted = self._keeping.config.recording
        files, obsolete, warnings = list(record.files), list(record.obsolete), list(record.warnings)
        if wanted.format != "wav":
            for at, file in enumerate(files):
                if file.format == "wav" and file.role in ("leg", "merged"):
                    made = await self._in_thread(self._converted, file, wanted)
                    if isinstance(made, str):
                        warnings.append(made)
                        continue
                    obsolete.append(file.path)
                    files[at] = made
        return msgspec.structs.replace(record, stage="converted", files=tuple(files), obsolete=tuple(obsolete), warnings=tuple(dict.fromkeys(warnings)))

    def _converted(self, file: KeptFile, wanted: Recording) -> KeptFile | str:
        """The file in another format; why it stays as it is where it cannot be that. Raises OSError, Changed, ConvertFailed."""
        from engine.recordings.convert import NotConvertible, convert

        self._check(file)
        name = f"{file.path.removesuffix('.wav')}.{wanted.format}"
        bit_rate_kbps = wanted.mp3_bitrate if wanted.format == "mp3" else wanted.opus_bitrate
        try:
            made = convert(self._path(file.path), self._path(name), wanted.format, bit_rate_kbps=bit_rate_kbps, quality=wanted.quality)  # type: ignore[arg-type]
        except (NotConvertible, UnreadableAudio) as error:
            return f"{file.name}: stays WAV: {text_of(error)}"
        return msgspec.structs.replace(file, path=name, format=wanted.format, codec=made.codec, rate_hz=made.rate_hz, bytes=made.bytes, sha256=made.sha256)

    async def _encrypt(self, record: Record) -> Record:
        wanted = self._keeping.config.encryption
        roles = {"leg", "merged", "capture", "converted"} if wanted.enable_recording_encryption else set()
        roles |= {"signalling", "transcript", "vcon"} if wanted.enable_metadata_encryption else set()
        files, obsolete = list(record.files), list(record.obsolete)
        for at, file in enumerate(files):
            if file.role in roles and file.path and file.sealed is None:
                files[at] = await self._in_thread(self._encrypted, file)
                obsolete.append(file.path)
        return msgspec.structs.replace(record, stage="encrypted", files=tuple(files), obsolete=tuple(obsolete))

    def _encrypted(self, file: KeptFile) -> KeptFile:
        """The file encrypted, and read again before the plain one may go."""
        vault, name = self._vault(), f"{file.path}.enc"
        sealed = vault.seal(self._path(file.path), self._path(name))
        if vault.plain_sha256(self._path(name), sealed) != file.sha256:
            raise Changed(f"{file.name} is not what it was when it was sealed")
        return msgspec.structs.replace(file, path=name, sealed=sealed)

    async def _upload(self, record: Record) -> Record:
        storage = self._storage()
        files = list(record.files)
        if storage is not None:
            at = next((at for at, file in enumerate(files) if file.path and not file.locations), None)
            if at is not None:
                day = time.strftime("%Y/%m/%d", time.gmtime(record.started_at))
                files[at] = await self._in_thread(self._uploaded, storage, files[at], f"{day}/{record.recording_id}")
                record = msgspec.structs.replace(record, files=tuple(files))
                await self._in_thread(self._catalogue.write_locations, record)
                self._keeping.tell("storage.upload", call_id=record.call_id, actor="keeper", detail={"file": record.files[at].role, "bytes": record.files[at].bytes})
                return record
        return msgspec.structs.replace(record, stage="uploaded", files=tuple(files))

    def _uploaded(self, storage: Backend, file: KeptFile, folder: str) -> KeptFile:
        from engine.recordings.storage import key_of

        key = key_of(*folder.split("/"), file.path)
        location = storage.put(self._path(file.path), key, sha256=file.sealed.sha256 if file.sealed is not None else file.sha256)
        return msgspec.structs.replace(file, locations=(location,))

    async def _leave(self, record: Record) -> Record:
        """The copy here goes where one elsewhere was verified and none is wanted here; what is said of the recording stays."""
        wanted = self._keeping.config.recording.storage
        files, obsolete = list(record.files), list(record.obsolete)
        if wanted.enabled and not wanted.keep_local:
            for at, file in enumerate(files):
                here = file.sealed.sha256 if file.sealed is not None else file.sha256
                if file.role in ("leg", "merged", "capture", "converted") and file.path and any(place.sha256 == here for place in file.locations):
                    obsolete.append(file.path)
                    files[at] = msgspec.structs.replace(file, path="")
        return msgspec.structs.replace(record, stage="done", files=tuple(files), obsolete=tuple(obsolete))

    def _synced(self, name: str) -> None:
        fd = self._catalogue.folder.open(name)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._catalogue.folder.sync()

    # ---- health ----

    def checks(self) -> dict[str, Result]:
        """How many wait, how many fail, and of what."""
        told = [f"{len(self._queued)} wait" if self._queued else ""]
        if self._problems:
            told.append(f"{len(self._problems)} fail: {next(reversed(self._problems.values()))}")
        if self._catalogue.unreadable:
            name, why = next(iter(self._catalogue.unreadable.items()))
            told.append(f"{len(self._catalogue.unreadable)} cannot be read: {name}: {why}"[:TEXT_MAX])
        told.append(self._scan_problem)
        bad = bool(self._problems or self._catalogue.unreadable or self._scan_problem)
        return {"recordings": Result("degraded" if bad else "healthy", "; ".join(filter(None, told)))}


__all__ = ["TEXT_MAX", "Failed", "Pipeline", "Waits", "sha256_of", "text_of"]

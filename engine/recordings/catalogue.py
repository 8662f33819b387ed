"""Everything that belongs to a recording or a call on this machine, and the one place where any of it is changed or taken away.

A recording is known by the name of its manifest without `.json`: its id. Its record is replaced as a whole and is on the disk before anything that
it does not name any more goes, so that whatever moment a process is killed at, what the record names is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from engine.errors import EngineError
from engine.media.manifest import Manifest, RecordedFile
from engine.media.staging import PLAN_SUFFIX, Folder, Staged
from engine.recordings.erasure import Erasure
from engine.recordings.errors import NoSuchRecording, NotRecorded, RecordingErased, UnreadableRecord
from engine.recordings.lookup import CALL, Lookup
from engine.recordings.names import (
    COMBINED,
    FETCHED,
    ID,
    LOCATIONS_SUFFIX,
    RECORD_SUFFIX,
    TOMBSTONE,
    tombstone_of,
)
from engine.recordings.record import KeptFile, Record, Role
from engine.siprec.document import PART_SUFFIX, SUFFIX, SessionDocument

if TYPE_CHECKING:
    from engine.recordings.storage import Backend
    from engine.recordings.vault import Vault

PIECE_BYTES: Final = 1 << 18
DOCUMENT_MAX_BYTES: Final = 1 << 26
LOCATIONS_MAX: Final = 1000
UNREADABLE_MAX: Final = 1000
STRIPES: Final = 64
SETTLED_NS: Final = 2_000_000_000
ABANDONED_NS: Final = 3600 * 1_000_000_000  # no worker was started for so long that would have finished a document


class Artefacts(msgspec.Struct, frozen=True):
    """What holds anything of a call: files on this machine, copies elsewhere, and ids of recordings that still run."""

    paths: tuple[Path, ...] = ()
    urls: tuple[str, ...] = ()
    running: tuple[str, ...] = ()


def kept(file: RecordedFile, id: str) -> KeptFile:
    """A file of a manifest as it begins in a record."""
    role: Role = "capture" if file.format == "pcap" else "merged" if file.path.partition(".")[0] == id else "leg"
    return KeptFile(
        name=file.path, role=role, path=file.path, format=file.format, bytes=file.bytes, sha256=file.sha256, tracks=file.tracks, codec=file.codec,
        rate_hz=file.rate_hz,
    )  # fmt: skip


def chosen(record: Record, leg: int | None) -> KeptFile:
    """The file to play: of one leg, else of all together, else of the first. Raises NotRecorded."""
    sound = [file for file in record.files if file.role in ("leg", "merged")]
    if leg is None:
        sound.sort(key=lambda file: (file.role != "merged", -len(file.tracks)))
    else:
        sound = [file for file in sound if file.role == "leg" and file.tracks == (leg,)]
    if not sound:
        raise NotRecorded("The recording has no such leg" if leg is not None else "The recording has no sound")
    return sound[0]


class Catalogue:
    """One folder of recordings. Methods that wait for the disk may be called in any thread; those that are `async` belong to one event loop.

    `forgetters` take away what others hold of a recording that is erased, such as the store; each returns what it could not. `storage` gives what reads and takes away the copy of a URL, and `vault` what opens encrypted files; None where nothing is set up.
    """

    def __init__(
        self, folder: Path, *, storage: Callable[[str], Backend | None] = lambda _: None, vault: Callable[[], Vault | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.folder = Folder(folder)
        self.unreadable: dict[str, str] = {}
        self.forgetters: list[Callable[[Record], Awaitable[Sequence[str]]]] = []
        self.storage_for, self._vault, self.clock = storage, vault, clock
        self._table: Lookup | None = None
        self._opening = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(STRIPES)]
        self._at_work: dict[str, tuple[asyncio.Lock, int]] = {}
        self.known: set[str] = set()
        self._scanned_ns = -1

    @property
    def lookup(self) -> Lookup:
        """The table of the folder, opened when it is wanted first: whoever only reads recordings that it can name needs none."""
        with self._opening:
            if self._table is None:
                self._table = Lookup(self.folder.path)
            return self._table

    def close(self) -> None:
        """Lets the folder go."""
        if self._table is not None:
            self._table.close()
        self.folder.close()

    # ---- reading ----

    def of_recording(self, id: str) -> Record:
        """The record of a recording; that of its tombstone where it was erased. Raises NoSuchRecording, OSError."""
        for name in (id, tombstone_of(id)):
            if not ID.fullmatch(name):
                break
            try:
                return _checked(msgspec.json.decode(self.folder.read(name + RECORD_SUFFIX), type=Record), name)
            except FileNotFoundError:
                continue
            except (msgspec.MsgspecError, ValueError) as error:
                raise UnreadableRecord(f"the record of {name} cannot be read: {error}") from None
        raise NoSuchRecording("There is no such recording here")

    def of_call(self, call_id: str) -> list[Record]:
        """Records of a recording session's Call-ID, or of a call that the session was made for, by when they began."""
        ids = self.lookup.found([CALL + call_id, f"call-id:{call_id}"])
        return sorted(self.records(ids), key=lambda record: record.started_at)

    def with_keys(self, keys: Iterable[str]) -> list[Record]:
        """Records that have one of these keys (`kind:value`) in their correlation."""
        return self.records(self.lookup.found(keys))

    def entries(self) -> Iterator[Record]:
        """All records, some at a time."""
        after = ""
        while ids := self.lookup.page(after, 200):
            yield from self.records(ids)
            after = ids[-1]

    def records(self, ids: Iterable[str]) -> list[Record]:
        found = []
        for id in ids:
            with contextlib.suppress(NoSuchRecording):  # erased meanwhile
                record = self.of_recording(id)
                if record.recording_id == id:
                    found.append(record)
        return found

    def manifest(self, record: Record) -> Manifest:
        """Its manifest. Raises NotRecorded where it is gone or no manifest."""
        try:
            return msgspec.json.decode(self.folder.read(record.manifest), type=Manifest)
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise NotRecorded(f"its manifest cannot be read: {error}") from None

    def document(self, record: Record) -> SessionDocument | None:
        """What is kept of its session; None where there is nothing that can be read."""
        sealed = next((file for file in record.files if file.role == "signalling"), None)
        try:
            raw = b"".join(self.read_audio(record, sealed)) if sealed is not None else self.folder.read(record.recording_id + SUFFIX, DOCUMENT_MAX_BYTES)
            return msgspec.json.decode(raw, type=SessionDocument)
        except (OSError, EngineError, msgspec.MsgspecError, ValueError):
            return None

    def read_audio(self, record: Record, file: KeptFile, first: int = 0) -> Iterator[bytes]:
        """A file as it was recorded, from byte `first` on, whether it lies here or elsewhere, encrypted or not. Raises NotRecorded, RecordingErased, OSError
        and errors of storage and encryption, also while it is read."""
        if record.stage == "erased":
            raise RecordingErased("The recording was erased")
        if file.path and file.sealed is None:
            return self._pieces(self.folder.open(file.path), first)
        if file.path:
            return self._opened(self.folder.path / file.path, file, first)
        if not file.locations:
            raise NotRecorded(f"{file.name} is nowhere any more")
        return self._fetched(file, first)

    @staticmethod
    def _pieces(fd: int, first: int) -> Iterator[bytes]:
        with open(fd, "rb", buffering=0) as source:
            source.seek(first)
            while piece := source.read(PIECE_BYTES):
                yield piece

    def _opened(self, path: Path, file: KeptFile, first: int) -> Iterator[bytes]:
        vault = self._vault()
        if vault is None or file.sealed is None:
            raise NotRecorded(f"{file.name} is encrypted, and there are no keys")
        return vault.open(path, file.sealed, first)

    def _fetched(self, file: KeptFile, first: int) -> Iterator[bytes]:
        storage = self.storage_for(file.locations[0].url)
        if storage is None:
            raise NotRecorded(f"{file.name} lies elsewhere, and no such storage is set up")
        if file.sealed is None:
            yield from _from(storage.get(file.locations[0]), first)
            return
        with tempfile.NamedTemporaryFile(dir=self.folder.path, prefix=FETCHED) as fetched:  # as encrypted as it is there
            for piece in storage.get(file.locations[0]):
                fetched.write(piece)
            fetched.flush()
            yield from self._opened(Path(fetched.name), file, first)

    # ---- writing ----

    def save(self, record: Record) -> None:
        """Replaces the record, on the disk when this returns. Raises OSError."""
        name = record.recording_id + RECORD_SUFFIX
        self.lookup.doubt(record.recording_id)  # where we are killed between the two, somebody looks at the record
        self.replace(name, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
        self.lookup.put(record)

    def replace(self, name: str, content: bytes) -> None:
        """Writes a file as a whole: it is the old or the new one, whatever happens, and on the disk when this returns."""
        self.folder.replace(name, content, staged=f".{name}.part")
        self.folder.sync()

    def update(self, id: str, change: Callable[[Record], Record]) -> Record:
        """Changes a record by what it is now. Raises NoSuchRecording, RecordingErased, OSError, and what `change` does."""
        with self._stripes[hash(id) % STRIPES]:
            record = self.of_recording(id)
            if record.recording_id != id:
                raise RecordingErased("The recording was erased")
            changed = change(record)
            if changed != record:
                self.save(changed)
            return changed

    @contextlib.asynccontextmanager
    async def working(self, id: str) -> AsyncIterator[None]:
        """Nobody else of this process works on the files of a recording meanwhile."""
        lock, waiting = self._at_work.get(id, (asyncio.Lock(), 0))
        self._at_work[id] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._at_work.pop(id)
            if waiting > 1:
                self._at_work[id] = lock, waiting - 1

    def adopt(self, manifest_name: str) -> Record:
        """The record of a manifest, made where there is none yet. Raises NoSuchRecording for what is no manifest, OSError."""
        id, _, rest = manifest_name.partition(".")
        if rest != "json" or not ID.fullmatch(id):
            raise NoSuchRecording(f"{manifest_name[:80]!r} is no name of a manifest")
        with self._stripes[hash(id) % STRIPES]:
            try:
                record = self.of_recording(id)
                if record.recording_id == id:
                    self.lookup.put(record)
                return record
            except UnreadableRecord:
                raise
            except NoSuchRecording:
                pass
            try:
                content = self.folder.read(manifest_name)
                record = self._begun(id, manifest_name, content, msgspec.json.decode(content, type=Manifest))
            except FileNotFoundError:
                raise NoSuchRecording("There is no such recording here") from None
            except (msgspec.MsgspecError, ValueError) as error:
                raise NoSuchRecording(f"{manifest_name} is no manifest: {error}") from None
            self.save(record)
        return record

    def _begun(self, id: str, name: str, content: bytes, manifest: Manifest) -> Record:
        files = [kept(file, id) for file in manifest.files]
        if any(Path(file.path).name != file.path or file.path.startswith(".") for file in files):
            raise ValueError("it names files that are not beside it")
        record = Record(
            recording_id=id, call_id=manifest.call_id, manifest=name, manifest_sha256=hashlib.sha256(content).hexdigest(), stage="sealed",
            started_at=datetime.fromisoformat(manifest.start).timestamp(), duration_ms=manifest.duration_ms, files=tuple(files),
        )  # fmt: skip
        document = self.document(record)
        if document is None:
            return record
        session = document.session
        with open(self.folder.open(id + SUFFIX), "rb", buffering=0) as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        files.append(KeptFile(name=id + SUFFIX, role="signalling", path=id + SUFFIX, format="json", bytes=size, sha256=digest))
        return msgspec.structs.replace(
            record, call_id=manifest.call_id or session.call_id, files=tuple(files), correlation=session.correlation, group_ids=session.group_ids,
            vendor=session.vendor.type, participants=tuple(dict.fromkeys(party.aor or party.name or party.participant_id for party in session.participants)),
            retention_days=document.retention_days, retention_source=document.policy_source if document.retention_days is not None else "",
        )  # fmt: skip

    # ---- scanning ----

    def scan(self) -> list[str]:
        """Makes records for manifests that have none, and finds records that the table does not know; their ids. Costs one look at the folder where
        nothing came or went since the last time. Raises OSError."""
        now_ns = os.stat(self.folder.fd).st_mtime_ns
        if now_ns == self._scanned_ns:
            return []
        found = []
        if not self.known:
            self.known.update(id for id in self._all_ids())
        for name in self.names():
            id, _, rest = name.partition(".")
            if rest not in ("json", "record") or id in self.known or not ID.fullmatch(id) or TOMBSTONE.fullmatch(id):
                continue
            if rest == "json" and self._is_being_finished(id):
                now_ns = -1
            elif self._taken_in(id, rest):
                found.append(id)
        # a name that came after we looked may have the same time, which has the steps of the kernel's clock
        self._scanned_ns = now_ns if now_ns >= 0 and time.time_ns() - now_ns > SETTLED_NS else -1
        return found

    def names(self) -> Iterator[str]:
        """All names in the folder. Each look is one of its own: of one open folder two threads would each see a part."""
        with os.scandir(self.folder.path) as entries:
            for entry in entries:
                yield entry.name

    def _all_ids(self) -> Iterator[str]:
        after = ""
        while ids := self.lookup.page(after, 1000):
            yield from ids
            after = ids[-1]

    def _is_being_finished(self, id: str) -> bool:
        """Whether the document of its session may still come: that has its name a moment after the manifest."""
        try:
            age_ns = time.time_ns() - os.stat(f"{id}.json", dir_fd=self.folder.fd, follow_symlinks=False).st_mtime_ns
        except FileNotFoundError:
            return False
        names = (f"{id}{SUFFIX}", f"{id}{RECORD_SUFFIX}", f".{id}{PART_SUFFIX}")
        done, known, begun = (os.access(name, os.F_OK, dir_fd=self.folder.fd, follow_symlinks=False) for name in names)
        return not done and not known and age_ns < (ABANDONED_NS if begun else SETTLED_NS)

    def _taken_in(self, id: str, rest: str) -> bool:
        name = f"{id}.{rest}"
        try:
            if rest == "json":
                record = self.adopt(name)
            else:
                record = self.of_recording(id)
                self.lookup.put(record)
        except (EngineError, OSError) as error:
            if len(self.unreadable) < UNREADABLE_MAX:
                self.unreadable[name] = str(error)
            return False
        self.unreadable.pop(name, None)
        if record.recording_id == id:
            self.known.add(id)
        return record.recording_id == id

    def tidy(self) -> None:
        """Takes away what processes that died left half fetched."""
        for name in list(self.names()):
            if name.startswith(FETCHED):
                self.folder.unlink(name)

    # ---- what belongs to it ----

    def locations(self, record: Record) -> list[str]:
        """URLs of all copies elsewhere: those of the record, and those of `.locations` files beside it, which older recordings have."""
        urls = [location.url for file in record.files for location in file.locations]
        names = [record.recording_id, *(file.name for file in record.files)]
        for name in names:
            with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError):
                urls += msgspec.json.decode(self.folder.read(name + LOCATIONS_SUFFIX), type=list[str])[:LOCATIONS_MAX]
        return list(dict.fromkeys(urls))

    def write_locations(self, record: Record) -> None:
        """The `.locations` file: a JSON array of URLs."""
        urls = [location.url for file in record.files for location in file.locations]
        self.replace(record.recording_id + LOCATIONS_SUFFIX, msgspec.json.encode(urls))

    def _bases(self, record: Record) -> set[str]:
        """What names of its files begin with, up to the first dot."""
        names = [record.recording_id, *(file.name for file in record.files), *(file.path for file in record.files), *record.obsolete]
        with contextlib.suppress(NotRecorded):
            names += [file.path for file in self.manifest(record).files]
        return {name.lstrip(".").partition(".")[0] for name in names if name}

    def files_of(self, record: Record) -> list[str]:
        """Names of all files that belong to it, dot files among them. Looks through the whole folder."""
        bases = self._bases(record)
        return sorted(name for name in self.names() if name.lstrip(".").partition(".")[0] in bases)

    def staged(self, call_id: str) -> Iterator[tuple[Staged, bool]]:
        """Recordings of a call that are not sealed, and whether they still run."""
        for name in [name for name in self.names() if name.startswith(".") and name.endswith(PLAN_SUFFIX)]:
            with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError):
                staged = msgspec.json.decode(self.folder.read(name, 1 << 20), type=Staged)
                if staged.call_id == call_id:
                    yield staged, self._runs(name)

    def _runs(self, plan: str) -> bool:
        try:
            fd = self.folder.open(plan, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def artefacts(self, call_id: str) -> Artefacts:
        """Every file and copy that holds anything of a call. Looks through the whole folder."""
        self.scan()
        bases, begun, urls, running = set[str](), set[str](), list[str](), list[str]()
        for record in self.of_call(call_id):
            bases |= self._bases(record)
            urls += self.locations(record)
        for staged, runs in self.staged(call_id):
            begun |= {staged.recording_id, *(file.name.partition(".")[0] for file in staged.files)}
            if runs:
                running.append(staged.recording_id)
        paths = []
        for name in self.names():
            base = name.lstrip(".").partition(".")[0]
            if base in bases or (name.startswith(".") and base in begun):
                paths.append(self.folder.path / name)
        return Artefacts(tuple(sorted(paths)), tuple(dict.fromkeys(urls)), tuple(running))

    # ---- erasing ----

    async def erase(self, record: Record, *, by: str) -> tuple[str, ...]:
        """Takes away everything of a recording, here and elsewhere, and leaves a tombstone with a hash; what could not be taken away, nothing where all
        is gone. Doing it again goes on where it stood; what is left is tried for ever. Raises RecordingHeld."""
        return await Erasure(self).erase(record, by)

    async def erase_call(self, call_id: str, *, by: str) -> tuple[str, ...]:
        """The same for all recordings of a call and for what processes that died left of them. Raises RecordingHeld, before anything is gone."""
        return await Erasure(self).erase_call(call_id, by)

    # ---- checking ----

    def verify(self, record: Record) -> list[str]:
        """What is not as its record and its manifest say; empty where all is. Reads every file, here or elsewhere."""
        found = list(record.warnings)
        try:
            content = self.folder.read(record.manifest)
            if hashlib.sha256(content).hexdigest() != record.manifest_sha256:
                found.append(f"{record.manifest}: was changed")
        except OSError as error:
            found.append(f"{record.manifest}: {error.strerror}")
        for file in record.files:
            digest, size = hashlib.sha256(), 0
            try:
                for piece in self.read_audio(record, file):
                    digest.update(piece)
                    size += len(piece)
            except (OSError, EngineError) as error:
                found.append(f"{file.name}: {error}")
                continue
            if (size, digest.hexdigest()) != (file.bytes, file.sha256):
                found.append(f"{file.name}: its content was changed")
        return found


def _checked(record: Record, id: str) -> Record:
    """The record. Raises ValueError for one that is another's, or that names files which are not beside it."""
    names = [record.manifest or "-", *(file.name for file in record.files), *(file.path or "-" for file in record.files), *record.obsolete]
    if record.recording_id != id or any("/" in name or "\0" in name or name in ("", ".", "..") for name in names):
        raise ValueError("it is not the record of this recording")
    return record


def _from(pieces: Iterable[bytes], first: int) -> Iterator[bytes]:
    """The pieces without their first bytes."""
    for piece in pieces:
        if first < len(piece):
            yield piece[first:]
            first = 0
        else:
            first -= len(piece)


__all__ = [
    "COMBINED", "FETCHED", "ID", "LOCATIONS_SUFFIX", "RECORD_SUFFIX", "Artefacts", "Catalogue", "chosen", "kept", "tombstone_of",
]  # fmt: skip

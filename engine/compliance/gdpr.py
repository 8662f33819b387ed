"""A call's personal data: handed out, and taken away for good.

An erasure is written down before anything goes and until nothing is left, so that one that was cut short by a crash, a bucket or a database that is away
goes on by itself. At its end every file of this machine is searched for what names the call. What stays is a receipt with hashes and no name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from engine.bus import BusError
from engine.clock import iso
from engine.compliance import bundle, proof
from engine.compliance.audit_log import reference_of
from engine.compliance.bundle import Stored, exports_of, stored_of
from engine.compliance.errors import CallHeld, UnknownCall
from engine.compliance.requests import ErasedFile, ErasedRecording, Exported, Receipt
from engine.errors import EngineError
from engine.recordings.catalogue import tombstone_of
from engine.recordings.errors import RecordingHeld
from engine.recordings.replacing import remove, replacing
from engine.siprec.pauses import Pauses
from engine.supervisor import STATUS_SUBJECT, Status
from engine.trace.live_service import CallWanted

if TYPE_CHECKING:
    from engine.compliance.audit_log import AuditLog
    from engine.compliance.transcripts import PiiFilter
    from engine.keeping import Keeping
    from engine.recordings.record import Record
    from engine.store import RecordedRow

FOLDER: Final = "compliance"
LIVE_FORGET_SUBJECT: Final = "live.forget"
ASK_S: Final = 10.0
LOCK_WAIT_S: Final = 10.0
INDEX_LOOKS, INDEX_LOOK_S = 25, 0.2
RESIDUE_MAX: Final = 200
NEEDLES_MAX: Final = 100
SHORT: Final = 5  # texts of fewer characters are found everywhere

log = logging.getLogger("trunkline.compliance")


class Erasing(msgspec.Struct, frozen=True):
    """An erasure that is under way: what names the call (`call_ids`, `own` texts of nobody else), and what others may share."""

    call_id: str
    by: str
    reason: str
    began: float
    call_ids: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    recordings: tuple[ErasedRecording, ...] = ()
    rows: dict[str, int] = {}
    exports: int = 0
    live_messages: int = 0
    audit_lines: int = 0
    attempts: int = 0


class Gdpr:
    """Exports and erases calls of one machine. Belongs to the event loop."""

    def __init__(self, keeping: Keeping, *, pii: PiiFilter, audit: AuditLog | None, machine: str = "") -> None:
        """`machine` is the name of this one in the store."""
        self._keeping = keeping
        self._machine = machine or socket.gethostname()
        self._pii, self.audit = pii, audit
        self._folder = keeping.data_dir / FOLDER
        self._turn = asyncio.Lock()
        self.unfinished: dict[str, tuple[str, ...]] = {}  # reference -> residue

    @property
    def export_dir(self) -> Path:
        """Where exports go."""
        return self._keeping.data_dir / self._keeping.config.compliance.gdpr_export_dir

    # ---- export ----

    async def export(self, call_id: str, *, by: str) -> Exported:
        """Writes everything that is kept of a call into the folder of exports. Raises UnknownCall, ExportFailed, StoreError."""
        catalogue, at = self._keeping.catalogue, self._keeping.clock()
        records = await asyncio.to_thread(self._records, call_id)
        stored = await stored_of(self._keeping.store(), call_id)
        if not records and not stored.calls:
            raise UnknownCall("Nothing is kept of such a call")

        def write() -> Exported:
            document = bundle.bundle_of(catalogue, call_id, records, stored, at=at, by=by)
            return bundle.write(catalogue, self.export_dir, document, records, at=at)

        return await asyncio.to_thread(write)

    def _records(self, call_id: str) -> list[Record]:
        self._keeping.catalogue.scan()
        return [record for record in self._keeping.catalogue.of_call(call_id) if record.stage != "erased"]

    # ---- erasing ----

    async def erase(self, call_id: str, *, by: str, reason: str = "") -> Receipt:
        """Takes away everything that is kept of a call, here and elsewhere; the receipt, that of the first time where nothing is left. Raises CallHeld, before
        anything is gone, UnknownCall and OSError."""
        async with self._turn:
            erasing = self._begun(call_id)
            if erasing is None:
                await self._check(call_id)
                erasing = await self._begin(call_id, by, reason)
            if erasing is None:
                receipt = self._receipt(call_id)
                if receipt is None:
                    raise UnknownCall("Nothing is kept of such a call")
                return receipt
            return await self._go_on(erasing)

    async def resume(self) -> None:
        """Goes on with all erasures that are not finished."""
        for path in sorted((self._folder / "erasing").glob("*.json")) if self._folder.is_dir() else []:
            async with self._turn:
                try:
                    erasing = msgspec.json.decode(path.read_bytes(), type=Erasing)
                    await self._go_on(erasing)
                except (OSError, EngineError, msgspec.MsgspecError) as error:
                    log.error("an erasure cannot go on: %s", error)
                    self.unfinished[path.stem] = (str(error),)

    async def _check(self, call_id: str) -> None:
        found = await asyncio.to_thread(self._keeping.catalogue.artefacts, call_id)
        if found.running:
            raise CallHeld("The call is still being recorded: end it first")
        held = [record for record in await asyncio.to_thread(self._records, call_id) if record.holds]
        if held:
            reasons = "; ".join(f"{hold.id} of {hold.by}: {hold.reason or 'no reason given'}" for record in held for hold in record.holds)
            raise CallHeld(f"A legal hold keeps the call: {reasons}"[:1000])
        if machines := sorted({row.machine for row in await self._elsewhere(call_id) if row.holds}):
            raise CallHeld(f"A legal hold keeps the call on {', '.join(machines)}")

    async def _elsewhere(self, call_id: str) -> list[RecordedRow]:
        """Recordings of the call that other machines have; none while the store is away."""
        from engine.store import RecordedFilter

        store = self._keeping.store()
        if store is None:
            return []
        with contextlib.suppress(EngineError):
            rows, _ = await store.recorded.list(RecordedFilter(call_id=call_id), limit=bundle.CALLS_MAX)
            return [row for row in rows if row.machine != self._machine]
        return []

    async def _begin(self, call_id: str, by: str, reason: str) -> Erasing | None:
        """Writes down what is to be erased; None where there is nothing."""
        catalogue = self._keeping.catalogue
        records = await asyncio.to_thread(self._records, call_id)
        paths = (await asyncio.to_thread(catalogue.artefacts, call_id)).paths
        stored = Stored()
        with contextlib.suppress(EngineError):  # away: erased once it is back
            stored = await stored_of(self._keeping.store(), call_id)
        exports = await asyncio.to_thread(exports_of, self.export_dir, frozenset({call_id}))
        is_told = self.audit is not None and await asyncio.to_thread(self.audit.names, call_id)
        if not (records or paths or stored.calls or exports or is_told or self._pii.intervals(call_id)):
            return None
        call_ids = dict.fromkeys((call_id, *(record.call_id for record in records), *_recorded_calls(records), *stored.call_ids))
        documents = [document for record in records if (document := await asyncio.to_thread(catalogue.document, record)) is not None]
        own = [*call_ids, *(record.recording_id for record in records)]
        shared = [each for document in documents for each in document.session.session_ids]
        shared += [text for document in documents for party in document.session.participants for text in (party.aor, _user(party.aor), party.name)]
        shared += [text for call in stored.calls for text in (call["from_user"], call["to_user"])] + [each for record in records for each in record.group_ids]
        erasing = Erasing(
            call_id, by, reason, self._keeping.clock(), tuple(name for name in call_ids if name), _needles(own, SHORT),
            tuple(text for text in _needles(shared, SHORT) if text not in own),
            tuple(_erased(record, len(catalogue.locations(record))) for record in records), _rows(stored),
        )  # fmt: skip
        await asyncio.to_thread(self._write, self._erasing_path(call_id), erasing)
        return erasing

    async def _go_on(self, erasing: Erasing) -> Receipt:
        """Erases what is there, looks what is left, and writes the receipt."""
        names = frozenset(erasing.call_ids)
        residue: list[str] = []
        try:
            for call_id in sorted(names):
                residue += await self._keeping.catalogue.erase_call(call_id, by=erasing.by)
        except RecordingHeld as error:  # held meanwhile
            await asyncio.to_thread(remove, self._erasing_path(erasing.call_id))
            self.unfinished.pop(_stem(erasing.call_id), None)
            raise CallHeld(str(error)) from error
        live, left = await self._erase_live(names)
        residue += left
        exports = await asyncio.to_thread(self._erase_beside, names)
        for name in {*names, *erasing.own}:
            self._pii.forget(name)
        for eraser in self._keeping.erasers:
            try:
                residue += await eraser(names)
            except (OSError, EngineError) as error:
                residue.append(f"{getattr(eraser, '__qualname__', 'a service')}: {error}")
        lines = await asyncio.to_thread(self.audit.erase, names) if self.audit is not None else 0
        notes, left = await self._erase_rows(erasing)
        residue += left
        erasing = msgspec.structs.replace(
            erasing, exports=erasing.exports + exports, live_messages=erasing.live_messages + live, audit_lines=erasing.audit_lines + lines,
            attempts=erasing.attempts + 1,
        )  # fmt: skip
        return await self._prove(erasing, residue, notes)

    async def _prove(self, erasing: Erasing, residue: list[str], notes: list[str]) -> Receipt:
        path = self._erasing_path(erasing.call_id)
        await asyncio.to_thread(self._write, path, erasing)
        mentions = 0
        searched = proof.Searched((), 0, 0)
        try:
            await self._indexed()
            searched = await self._search(erasing)
            if any(hit.path.startswith(str(self._database)) for hit in searched.hits) and self._database is not None:
                await asyncio.to_thread(_vacuum, self._database)
                searched = await self._search(erasing)
            own = len(erasing.own)
            residue += [f"{hit.path}: still names the call" for hit in searched.hits if hit.needle < own]
            residue += [f"{each}: was not searched" for each in searched.unread]
            mentions = len({hit.path for hit in searched.hits if hit.needle >= own})
        except (OSError, TimeoutError, sqlite3.Error) as error:
            residue.append(f"it was not looked whether anything is left: {error}")
        residue = list(dict.fromkeys(residue))[:RESIDUE_MAX]
        receipt = Receipt(
            reference=reference_of(erasing.call_id), status="incomplete" if residue else "erased", erased_at=iso(self._keeping.clock()), erased_by=erasing.by,
            reason=erasing.reason, recordings=erasing.recordings, rows=erasing.rows, exports=erasing.exports, live_messages=erasing.live_messages,
            audit_lines=erasing.audit_lines, searched_files=searched.files, searched_bytes=searched.bytes, residue=tuple(residue), mentions=mentions,
            notes=tuple(notes), attempts=erasing.attempts,
        )  # fmt: skip
        await asyncio.to_thread(self._write, self._receipt_path(erasing.call_id), receipt)
        if residue:
            self.unfinished[_stem(erasing.call_id)] = tuple(residue)
        else:
            await asyncio.to_thread(remove, path)
            self.unfinished.pop(_stem(erasing.call_id), None)
        return receipt

    async def _indexed(self) -> None:
        """Recordings that were linked to the erased ones are named anew in the store: waits a little for that."""
        for _ in range(INDEX_LOOKS):
            if not await asyncio.to_thread(self._keeping.catalogue.lookup.unindexed):
                return
            await asyncio.sleep(INDEX_LOOK_S)

    async def _search(self, erasing: Erasing) -> proof.Searched:
        folders = [self._keeping.data_dir, self._keeping.recordings, self.export_dir]
        log_path = self._keeping.config.compliance.audit_log_path
        if log_path:
            folders.append((self._keeping.data_dir / log_path).parent)
        wanted = proof.Wanted(
            tuple(dict.fromkeys(str(folder) for folder in folders)), (*erasing.own, *erasing.shared),
            (str(self._folder / "erasing"), str(self._receipt_path(erasing.call_id))),
        )  # fmt: skip
        return await proof.searched(wanted)

    # ---- what is where ----

    async def _erase_live(self, names: Iterable[str]) -> tuple[int, list[str]]:
        """Messages that engine workers still have."""
        try:
            status = await self._keeping.bus.request("supervisor", STATUS_SUBJECT, timeout_s=ASK_S, shape=Status)
            workers = [child.name for child in status.children if child.kind == "engine"]
        except BusError as error:
            if error.code == "bus.unknown_target":  # this process runs alone
                return 0, []
            return 0, [f"live traces: {error}"]
        count, left = 0, []
        for worker in workers:
            for name in names:
                try:
                    count += await self._keeping.bus.request(worker, LIVE_FORGET_SUBJECT, CallWanted(name), ASK_S, shape=int)
                except BusError as error:
                    left.append(f"live traces of {worker}: {error}")
        return count, left

    def _erase_beside(self, names: frozenset[str]) -> int:
        """Exports and pauses; how many files of exports."""
        exports = exports_of(self.export_dir, names)
        for path in exports:
            remove(path)
        folder = self._keeping.data_dir / "siprec" / "pauses"
        pauses = Pauses(folder, self._keeping.clock) if folder.is_dir() else None
        for name in names:
            if pauses is not None and (found := pauses.find(name)) is not None:
                pauses.drop(name, superseded=found.superseded)
                pauses.disarm(name)
        return len(exports)

    @property
    def _database(self) -> Path | None:
        """The store's file; None where it is no SQLite."""
        url = self._keeping.config.store.url
        if not url:
            return self._keeping.data_dir / "trunkline.db"
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None

    async def _erase_rows(self, erasing: Erasing) -> tuple[list[str], list[str]]:
        """What is to be noted, and what is left."""
        store = self._keeping.store()
        if store is None:
            return [], ["the store is not open"]
        from engine.store import CallFilter

        left: list[str] = []
        try:
            for name in erasing.call_ids:
                if others := await self._elsewhere(name):
                    left += [f"{row.machine} has a recording of the call: it is erased there" for row in others]
                    continue
                await store.jobs.forget("call_uuid", name)
                while (stored := await stored_of(store, name)).numbers:
                    for number in stored.numbers:
                        await store.calls.delete(number)
                    for trace in stored.trace_ids:
                        rows, _ = await store.calls.list(CallFilter(trace_id=trace), limit=1)
                        if not rows:
                            await store.traces.delete(trace)
            if self._database is None:
                return ["PostgreSQL keeps deleted rows until it vacuums, and its own log and backups for as long as they are set to"], left
            await asyncio.to_thread(_checkpoint, self._database)
        except (EngineError, sqlite3.Error) as error:
            return [], [*left, f"the store: {error}"]
        return [], left

    # ---- files ----

    def _erasing_path(self, call_id: str) -> Path:
        return self._folder / "erasing" / f"{_stem(call_id)}.json"

    def _receipt_path(self, call_id: str) -> Path:
        return self._folder / "receipts" / f"{_stem(call_id)}.json"

    def _write(self, path: Path, value: Any) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")

    def _begun(self, call_id: str) -> Erasing | None:
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode(self._erasing_path(call_id).read_bytes(), type=Erasing)
        return None

    def _receipt(self, call_id: str) -> Receipt | None:
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode(self._receipt_path(call_id).read_bytes(), type=Receipt)
        return None


def _stem(call_id: str) -> str:
    return reference_of(call_id).removeprefix("call:")


def _user(aor: str) -> str:
    """The number or name in an address."""
    return aor.partition(":")[2].partition("@")[0].partition(";")[0] if ":" in aor else aor.partition("@")[0]


def _needles(texts: Iterable[str], least: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if len(text) >= least))[:NEEDLES_MAX]


def _recorded_calls(records: Sequence[Record]) -> list[str]:
    """Call-IDs of the calls that were recorded, where the metadata told them."""
    return [key.partition(":")[2] for record in records for key in record.correlation if key.startswith("call-id:")]


def _erased(record: Record, copies: int) -> ErasedRecording:
    return ErasedRecording(
        tombstone_of(record.recording_id), record.manifest_sha256, tuple(ErasedFile(file.role, file.bytes, file.sha256) for file in record.files), copies
    )


def _rows(stored: Stored) -> dict[str, int]:
    tables = ("messages", "findings", "streams", "recordings", "transcripts", "summaries")
    return {"calls": len(stored.calls)} | {name: sum(len(call[name]) for call in stored.calls) for name in tables}


def _checkpoint(path: Path) -> None:
    """Nothing stays in the write-ahead log. Raises sqlite3.Error, also where readers keep it."""
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as database:
        busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise sqlite3.OperationalError("its write-ahead log is in use")


def _vacuum(path: Path) -> None:
    """Writes the database anew, without its free pages. Raises sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as database:
        database.execute("PRAGMA secure_delete=ON")
        database.execute("VACUUM")
    _checkpoint(path)


__all__ = ["FOLDER", "Erasing", "Gdpr"]

"""Recordings in the store, so that they are found: their call, its parties and what correlates it, their files and how each stream came.

The records are what is true; the store follows them. A database that is away for a while is caught up with when it is back, and what was kept before is
replaced, so a recording is there once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from engine.errors import EngineError
from engine.health import Result
from engine.media.manifest import Channel, Manifest
from engine.recordings.addresses import address_of
from engine.recordings.catalogue import Catalogue
from engine.recordings.errors import NoSuchRecording, NotRecorded, RecordingErased
from engine.recordings.record import KeptFile, Record
from engine.recordings.traces import Traces
from engine.siprec.document import SessionDocument
from engine.siprec.facts import ChannelFacts, Party
from engine.store import (
    CallRow,
    KeptRecording,
    PartyRow,
    RecordedRow,
    RecordingRow,
    StoreError,
    StreamRow,
    TranscriptRow,
)

if TYPE_CHECKING:
    from engine.keeping import Keeping

LOOK_S: Final = 60.0
RETRY_FIRST_S, RETRY_LAST_S = 0.5, 30.0
OWNER: Final = "admin"  # of recorded calls, whom nobody placed through this server
SOURCE: Final = "recording"  # as engine/store/recorded.py has it
IDS: Final = uuid.UUID("5b8f2c4e-0f3a-5d41-9f6b-6c2d0a7e31aa")
SEVERITIES: Final = ("critical", "high", "medium", "low", "info")
log = logging.getLogger("trunkline.recordings")


def _id(*names: str) -> str:
    return str(uuid.uuid5(IDS, "/".join(names)))


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _caller_and_callee(document: SessionDocument | None) -> tuple[tuple[str, str], tuple[str, str]]:
    """Whoever the metadata calls the caller, else who is heard in the first channel; and the first other."""
    if document is None:
        return ("", ""), ("", "")
    parties = {party.place: party for party in document.session.participants}
    heard = [place for channel in document.session.channels for place in channel.parties if place in parties]
    order = list(dict.fromkeys([*(party.place for party in parties.values() if party.role in ("caller", "customer")), *heard, *parties]))
    told = [address_of(parties[place].aor or parties[place].name) for place in order[:2]]
    told += [("", "")] * (2 - len(told))
    return told[0], told[1]


def channel_map(manifest: Manifest | None, document: SessionDocument | None) -> list[dict[str, Any]]:
    """Whose voices are in which channel."""
    session = document.session if document is not None else None
    parties = {party.place: party for party in session.participants} if session is not None else {}
    facts = {channel.index: channel for channel in session.channels} if session is not None else {}
    heard = {channel.index: channel for channel in manifest.channels} if manifest is not None else {}
    return [_channel(index, heard.get(index), facts.get(index), parties) for index in sorted({*facts, *heard})]


def _channel(index: int, heard: Channel | None, facts: ChannelFacts | None, parties: dict[int, Party]) -> dict[str, Any]:
    places = facts.parties if facts is not None else ()
    return {
        "index": index,
        "label": facts.label if facts is not None else heard.label if heard is not None else "",
        "name": heard.name if heard is not None else "",
        "parties": [{"aor": parties[at].aor, "name": parties[at].name, "role": parties[at].role} for at in places if at in parties],
    }


def _streams(manifest: Manifest | None, document: SessionDocument | None) -> list[StreamRow]:
    facts = {channel.index: channel for channel in document.session.channels} if document is not None else {}
    return [_stream(channel, facts.get(channel.index), manifest.duration_ms) for channel in manifest.channels] if manifest is not None else []


def _stream(channel: Channel, facts: ChannelFacts | None, duration_ms: int) -> StreamRow:
    begin, end = _time(channel.first_rtp), _time(channel.last_rtp)
    packets = facts.packets if facts is not None else 0
    expected = packets + channel.lost
    return StreamRow(
        number=channel.index + 1, source=channel.name or channel.label, target="", direction=facts.direction if facts is not None else "",
        ssrc=channel.ssrc[0] if channel.ssrc else 0, codec=facts.codec if facts is not None else "", payload_type=None, started_at=begin,
        duration_ms=round((end - begin) * 1000) if begin is not None and end is not None else duration_ms, packets=packets, lost=channel.lost,
        loss_percent=round(100 * channel.lost / expected, 2) if expected else 0.0, jitter_ms=channel.jitter_ms or 0.0, jitter_max_ms=0.0, delta_max_ms=0.0,
        mos=channel.mos, mos_worst_10s=None, rtt_ms=None, encrypted=False,
    )  # fmt: skip


def _file(record: Record, file: KeptFile) -> RecordingRow:
    state = "remote" if not file.path else "encrypted" if file.sealed is not None else "stored"
    return RecordingRow(
        id=_id(record.recording_id, file.name), call=0, kind=file.role, format=file.format, path=file.path or (file.locations[0].url if file.locations else ""),
        state=state, created_at=record.started_at, duration_ms=record.duration_ms if file.tracks else None, size_bytes=file.bytes, sha256=file.sha256,
    )  # fmt: skip


def _correlation(record: Record, document: SessionDocument | None) -> tuple[tuple[str, str], ...]:
    keys = [*record.correlation, *(f"group-id:{id}" for id in record.group_ids)]
    if document is not None:
        keys += [f"rs-session-id:{id}" for id in document.session.session_ids]
    pairs = [(kind, value) if colon else ("", kind) for kind, colon, value in (key.partition(":") for key in keys)]
    return tuple(dict.fromkeys(pairs))


def rows_of(record: Record, manifest: Manifest | None, document: SessionDocument | None, transcript: bytes, *, machine: str, now: float) -> KeptRecording:
    """What the store keeps of a recording. `transcript` is the content of its file, empty where there is none."""
    caller, callee = _caller_and_callee(document)
    codecs = [channel.codec for channel in document.session.channels] if document is not None else [file.codec for file in record.files]
    streams = _streams(manifest, document)
    call_ids = [record.call_id, *(key.partition(":")[2] for key in record.correlation if key.startswith("call-id:"))]
    call = CallRow(
        number=0, uuid=_id(machine, record.recording_id), call_ids=tuple(dict.fromkeys(filter(None, call_ids))), kind="siprec" if document is not None else "recorded",
        state="ended", outcome="answered", from_user=caller[0], from_host=caller[1], to_user=callee[0], to_host=callee[1], started_at=record.started_at,
        answered_at=record.started_at, ended_at=record.started_at + record.duration_ms / 1000, duration_ms=record.duration_ms, pdd_ms=None, status=200, released_by="",
        codec=next(filter(None, codecs), ""), source=SOURCE, trace_id=None, severity_counts=dict.fromkeys(SEVERITIES, 0), worst_severity=None, message_count=0,
        stream_count=len(streams), worst_mos=min((stream.mos for stream in streams if stream.mos is not None), default=None),
        loss_percent=max((stream.loss_percent for stream in streams), default=None), owner=OWNER, team=None, created_at=now,
    )  # fmt: skip
    recording = RecordedRow(
        id=record.recording_id, call=0, machine=machine, session=record.call_id, state=manifest.state if manifest is not None else "", stage=record.stage,
        vendor=record.vendor, started_at=record.started_at, duration_ms=record.duration_ms, policy=record.policy, expires_at=record.expires_at,
        holds=len(record.holds), duplicate_of=record.duplicate_of, channels=channel_map(manifest, document),
        warnings=(*(manifest.warnings if manifest is not None else ()), *record.warnings),
    )  # fmt: skip
    parties = document.session.participants if document is not None else ()
    return KeptRecording(
        call=call, recording=recording, files=tuple(_file(record, file) for file in record.files if file.role != "signalling"),
        parties=tuple(PartyRow(p.place, p.participant_id, p.aor, p.name, p.role, p.joined, p.left) for p in {p.place: p for p in parties}.values()),
        correlation=_correlation(record, document), streams=tuple(streams), transcripts=tuple(_transcripts(record, transcript)),
    )  # fmt: skip


class _Transcript(msgspec.Struct):
    """What of a transcript's document goes into the store."""

    text: str = ""
    segments: list[dict[str, Any]] = []
    language: str = ""
    duration_ms: int | None = None


def _transcripts(record: Record, content: bytes) -> Iterable[TranscriptRow]:
    file = next((file for file in record.files if file.role == "transcript"), None)
    if file is None or not content:
        return
    try:
        told = msgspec.json.decode(content, type=_Transcript)
    except (msgspec.MsgspecError, ValueError):
        return
    text = told.text or "\n".join(str(segment.get("text", "")) for segment in told.segments)
    yield TranscriptRow(
        id=_id(record.recording_id, file.name), call=0, kind="transcript", format="json", state="done", created_at=record.started_at, text=text,
        segments=told.segments, language=told.language, duration_ms=told.duration_ms, sha256=file.sha256,
    )  # fmt: skip


class Indexer:
    """Keeps the store at what the records of a catalogue say."""

    def __init__(self, keeping: Keeping, *, machine: str = "") -> None:
        self._keeping = keeping
        self._catalogue: Catalogue = keeping.catalogue
        self._machine = machine or socket.gethostname()
        self.traces = Traces(keeping.bus, keeping.catalogue)
        self._wanted: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.problem = ""
        self.kept = 0

    async def start(self) -> None:
        """Begins with what the store does not have, and goes on until `close`."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._look()), loop.create_task(self._run())]

    async def close(self) -> None:
        """Ends; what is missing is caught up with at the next start."""
        self._closed = True  # a cancellation that comes as the database answers can be lost on its way
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, record: Record) -> None:
        """A record was changed. One that is being worked on is kept when that is done, or by the next look where it takes long."""
        if not record.indexed and record.stage == "done":
            self._wanted[record.recording_id] = None
            self._woken.set()

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(OSError, EngineError):
                for id in await asyncio.to_thread(self._catalogue.lookup.unindexed):
                    self._wanted.setdefault(id)
                self._woken.set()
            await asyncio.sleep(LOOK_S)

    async def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        while not self._closed:
            while not self._wanted:
                self._woken.clear()
                await self._woken.wait()
            id = next(iter(self._wanted))
            del self._wanted[id]
            try:
                await self._index(id)
                pause_s, self.problem = RETRY_FIRST_S, ""
                continue
            except (NoSuchRecording, RecordingErased):
                continue
            except StoreError as error:
                self._tell(str(error))
            except Exception as error:
                self._tell(f"{id}: {type(error).__name__}")
                log.exception("recording %s could not be kept in the store", id)
            self._wanted.setdefault(id)  # behind the others, of which one may be the one that cannot be kept
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_LAST_S)

    def _tell(self, text: str) -> None:
        if text != self.problem:
            log.warning("recordings wait for the store: %s", text)
        self.problem = text

    async def _index(self, id: str) -> None:
        store = self._keeping.store()
        if store is None:
            raise StoreError("it was not opened yet")
        async with self._catalogue.working(id):
            record = await asyncio.to_thread(self._catalogue.of_recording, id)
            if record.recording_id != id or record.stage == "erased" or record.indexed:
                return
            kept = await asyncio.to_thread(self._rows, record)
            number = await store.recorded.keep(kept)
            signalling = await asyncio.to_thread(self.traces.rows, id, OWNER, self._keeping.clock())
            if signalling is not None:
                await store.recorded.add_signalling(number, signalling)
                await asyncio.to_thread(self.traces.done, id)

            def noted(now: Record) -> Record:
                return msgspec.structs.replace(now, call=number, indexed=now == record)

            after = await asyncio.to_thread(self._catalogue.update, id, noted)
        self.kept += 1
        if not after.indexed and after.stage != "erased":
            self._wanted.setdefault(id)

    def _rows(self, record: Record) -> KeptRecording:
        try:
            manifest: Manifest | None = self._catalogue.manifest(record)
        except NotRecorded:
            manifest = None
        transcript = next((file for file in record.files if file.role == "transcript"), None)
        content = b""
        if transcript is not None:
            with contextlib.suppress(OSError, EngineError):
                content = b"".join(self._catalogue.read_audio(record, transcript))
        document = self._catalogue.document(record)
        return rows_of(record, manifest, document, content, machine=self._machine, now=self._keeping.clock())

    async def forget(self, record: Record) -> Sequence[str]:
        """Takes a recording out of the store; what could not be."""
        self._wanted.pop(record.recording_id, None)
        store = self._keeping.store()
        if store is None:
            return ["the store: it was not opened yet"]
        try:
            await store.recorded.forget(record.recording_id)
        except StoreError as error:
            return [f"the store: {error}"]
        return []

    def checks(self) -> dict[str, Result]:
        """Whether the store follows."""
        waiting = f"{len(self._wanted)} recordings wait for the store" if self._wanted else ""
        if self.problem:
            return {"recordings_index": Result("degraded", f"{waiting}: {self.problem}")}
        return {"recordings_index": Result("healthy", waiting)}


__all__ = ["Indexer", "channel_map", "rows_of"]

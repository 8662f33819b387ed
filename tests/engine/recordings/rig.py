"""Recordings as calls leave them: made by the recorder, with the document of their session beside them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np

from engine._native import writer as native
from engine.bus import Bus
from engine.clock import iso
from engine.config import Config
from engine.keeping import Keeping
from engine.media.manifest import Channel, Interval
from engine.media.recorder import Leg, Plan, Recorder
from engine.recordings.catalogue import Catalogue
from engine.recordings.pipeline import Pipeline
from engine.recordings.places import Places
from engine.recordings.record import Record
from engine.siprec.document import SUFFIX, Body, SessionDocument
from engine.siprec.facts import ChannelFacts, Party, SessionFacts, Vendor
from engine.store import Store
from tests.engine.media.rig import speech

WAIT_S = 20.0
BEGAN = 1_767_323_045.5
ALICE = Party(place=0, participant_id="p1", aor="sip:alice@example.com", name="Alice", role="caller", joined="2026-01-02T03:04:05Z")
BOB = Party(place=1, participant_id="p2", aor="sip:bob@example.net;user=phone", name="Bob", role="agent")


def facts(id: str, call_id: str, *, legs: int = 2, **more: Any) -> SessionFacts:
    """What is known of a session of so many legs."""
    channels = tuple(
        ChannelFacts(index=index, label=str(index + 1), stream_id=f"s{index}", parties=(index,), codec="PCMU", packets=50, lost=index) for index in range(legs)
    )
    told: dict[str, Any] = {
        "participants": (ALICE, BOB)[:legs], "channels": channels, "vendor": Vendor(type="oracle"), "session_ids": ("rs-1",), "correlation": ("ucid:00fa",), **more,
    }  # fmt: skip
    return SessionFacts(call_id=call_id, recording_id=id, state="ended", **told)


def record(
    folder: Path, id: str = "r1", call_id: str = "call-1@host", *, legs: int = 2, seconds: float = 0.25, began: float = BEGAN, document: SessionDocument | bool = True,
    capture: bool = False, rate_hz: int = 8000, kind: Any = "pcm16", sound: Sequence[Any] = (), intervals: Sequence[Interval] = (), **session: Any,
) -> str:  # fmt: skip
    """Makes a recording; the name of its manifest."""

    async def made() -> None:
        writer = native.Writer(512, 8)
        writer.start()
        recorder = Recorder(folder, writer, clock=lambda: began)
        try:
            plan = Plan(legs=tuple(Leg(str(leg + 1)) for leg in range(legs)), call_id=call_id, rate_hz=rate_hz, kind=kind, capture=capture)
            recording = await recorder.start(id, plan)
            for track in range(legs):
                samples = sound[track] if sound else speech(round(seconds * rate_hz), track + 1, rate_hz)
                for at in range(0, len(samples), 4000):
                    writer.append(recording.number, track, at, np.ascontiguousarray(samples[at : at + 4000], np.int16))
            writer.end(recording.number)
            heard = [Channel(index, str(index + 1), ssrc=(7 + index,), first_rtp=iso(began), last_rtp=iso(began + seconds), lost=index, mos=4.2) for index in range(legs)]
            await recording.finish(channels=heard, intervals=intervals)
        finally:
            await recorder.close()
            writer.stop()

    asyncio.run(made())
    if document is True:
        body = Body(at=began, direction="in", method="INVITE", content_type="application/rs-metadata+xml", content="<recording/>")
        document = SessionDocument(session=facts(id, call_id, legs=legs, **session), bodies=(body,))
    if isinstance(document, SessionDocument):
        (folder / f"{id}{SUFFIX}").write_bytes(msgspec.json.encode(document))
    os.utime(folder / f"{id}.json", (began, began))  # long since finished
    return f"{id}.json"


class Silence:
    """A bus that hears everything and says nothing."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    async def announce(self, topic: str, payload: Any) -> None:
        self.told.append((topic, payload))


class Rig:
    """A catalogue and a pipeline over a folder, whose clocks tests move."""

    def __init__(self, data_dir: Path, changes: dict[str, Any] | None = None, store: Store | None = None) -> None:
        self.config = msgspec.convert(changes or {}, Config)
        self.now_s = BEGAN + 10_000.0
        self.folder = data_dir / "recordings"
        if self.config.recording.storage.folder:
            (data_dir / self.config.recording.storage.folder).mkdir(exist_ok=True)
        self.places = Places(lambda: self.keeping.config, data_dir, lambda: self.now_s)
        self.catalogue = Catalogue(self.folder, storage=self.places.storage_for, vault=self.places.vault, clock=lambda: self.now_s)
        quiet = Silence()
        self.store = store
        self.keeping = Keeping(
            self.config, data_dir, cast(Bus, SimpleNamespace(name="keeper")), lambda: self.store, lambda: self.now_s, self.catalogue, quiet.announce
        )

    def pipeline(self, **more: Any) -> Pipeline:
        return Pipeline(self.keeping, storage=self.places.storage, vault=self.places.vault, **more)

    def work(self, until: Callable[[], bool] | None = None, **more: Any) -> None:
        """Runs a pipeline until everything is done."""

        async def whole() -> None:
            pipeline = self.pipeline(**more)
            await pipeline.start()
            try:
                await met(until or self.is_done)
            finally:
                await pipeline.close()

        asyncio.run(whole())

    def is_done(self) -> bool:
        """Whether no manifest is without a record, and no record is unfinished."""
        manifests = [path for path in self.folder.glob("*.json") if "." not in path.stem]
        if not all(path.with_suffix(".record").exists() and self.of(path.stem).stage == "done" for path in manifests):
            return False
        return not self.catalogue.lookup.pending()

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if path.name not in (".catalogue", ".catalogue-journal", ".manifests")}

    def of(self, id: str = "r1") -> Record:
        return self.catalogue.of_recording(id)

    def content(self, id: str, name: str) -> bytes:
        record = self.of(id)
        file = next(file for file in record.files if file.name == name)
        return b"".join(self.catalogue.read_audio(record, file))

    def close(self) -> None:
        self.catalogue.close()


@contextmanager
def rig(data_dir: Path, changes: dict[str, Any] | None = None) -> Iterator[Rig]:
    made = Rig(data_dir, changes)
    try:
        yield made
    finally:
        made.close()


async def met(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.01)

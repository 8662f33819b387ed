"""The keeper as a process: what it answers, what it does without a store, and what a kill leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import uvloop

from engine import keeper as keepers
from engine.bus import Bus, Hub, Message, open_bus
from engine.bus.presence import Beat
from engine.config import load
from engine.health import Result
from engine.keeping import HEALTH_SUBJECT, KEEPER, Keeping
from engine.recordings.catalogue import Catalogue
from engine.recordings.record import Record
from engine.siprec.events import SESSION_TOPIC, SessionEvent
from engine.store import Store
from engine.worker import WorkerStatus
from tests.engine.bus.stations import QUICK, until
from tests.engine.recordings.rig import Rig, facts, record
from tests.engine.supervised import ROOT

WAIT_S = 30.0
WISHES = {
    "TRUNKLINE_RECORDING_FORMAT": "flac", "TRUNKLINE_RECORDING_STORAGE_ENABLED": "true", "TRUNKLINE_RECORDING_STORAGE_FOLDER": "elsewhere",
    "TRUNKLINE_RECORDING_STORAGE_KEEP_LOCAL": "false", "TRUNKLINE_ENCRYPTION_ENABLE_RECORDING_ENCRYPTION": "true", "TRUNKLINE_RECORDING_CLEANUP_DAYS": "0",
}  # fmt: skip


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory whose path leaves room for a socket's name."""
    made = Path(tempfile.mkdtemp(prefix="tl-"))
    (made / "elsewhere").mkdir()
    yield made
    shutil.rmtree(made)


Scenario = Callable[[Hub, Bus], Awaitable[None]]


def play(data: Path, scenario: Scenario) -> None:
    async def at_hub() -> None:
        hub = Hub(data / "bus.sock", QUICK)
        await hub.start()
        try:
            async with asyncio.timeout(6 * WAIT_S), await open_bus(hub.url, "test", QUICK) as bus:
                await scenario(hub, bus)
        finally:
            await hub.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(at_hub())


@contextlib.asynccontextmanager
async def process(hub: Hub, data: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    with (data / "keeper.log").open("ab") as log:
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.keeper", "--bus", hub.url, "--name", KEEPER, "--beat-s", "0.05",
            cwd=ROOT, env={**inherited, "TRUNKLINE_DATA_DIR": str(data), **environment}, stderr=log, stdout=log,
        )  # fmt: skip
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.kill()
        await made.wait()


async def status_of(bus: Bus) -> WorkerStatus:
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(Exception):
                return await bus.request(KEEPER, "worker.status", shape=WorkerStatus)
            await asyncio.sleep(0.02)


async def health_of(bus: Bus) -> dict[str, Result]:
    await status_of(bus)
    return await bus.request(KEEPER, HEALTH_SUBJECT, shape=dict[str, Result])


def of(data: Path, id: str) -> Record | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((data / "recordings" / f"{id}.record").read_bytes(), type=Record)
    return None


def is_done(data: Path, id: str = "r1", *, indexed: bool = True) -> bool:
    found = of(data, id)
    return found is not None and found.stage == "done" and not found.obsolete and (found.indexed or not indexed)


@pytest.mark.slow
def test_a_keeper_beats_answers_hears_of_recordings_and_drains(data: Path) -> None:
    (data / "t.toml").write_text('[recording]\nformat = "wav"\ncleanup_days = 0\n')

    async def scenario(hub: Hub, bus: Bus) -> None:
        beats: list[Beat] = []

        async def hear(message: Message) -> None:
            beats.append(message.read(Beat))

        await bus.subscribe("process.beat", hear)
        await (await Store.open(f"sqlite:///{data}/trunkline.db")).close()
        async with process(hub, data, TRUNKLINE_CONFIG=str(data / "t.toml")) as keeper:
            status = await status_of(bus)
            assert (status.name, status.pid, status.state, status.reloads) == (KEEPER, keeper.pid, "ready", 0)
            await until(lambda: any(beat.ready for beat in beats))
            assert {(beat.child, beat.pid) for beat in beats} == {(KEEPER, keeper.pid)}
            async with asyncio.timeout(WAIT_S):
                while "degraded" in {check.status for check in (await health_of(bus)).values()}:
                    await asyncio.sleep(0.05)
            assert {"keeper_store", "recordings", "recordings_index", "recordings_storage"} <= (await health_of(bus)).keys()
            manifest = await asyncio.to_thread(record, data / "recordings")
            told = SessionEvent(kind="recorded", at=time.time(), session=facts("r1", "call-1@host"), manifest=manifest)
            await bus.publish(SESSION_TOPIC, told)
            await bus.publish(SESSION_TOPIC, msgspec.structs.replace(told, manifest="../../etc/passwd"))
            await bus.publish(SESSION_TOPIC, msgspec.structs.replace(told, manifest="elsewhere.json"))
            await until(lambda: is_done(data))
            (data / "t.toml").write_text('[recording]\nformat = "flac"\ncleanup_days = 0\n')
            await bus.publish("config.reload")
            async with asyncio.timeout(WAIT_S):
                while (await status_of(bus)).reloads == 0:
                    await asyncio.sleep(0.02)
            manifest = await asyncio.to_thread(record, data / "recordings", "r2", "call-2@host")
            await bus.publish(SESSION_TOPIC, SessionEvent(kind="recorded", at=time.time(), session=facts("r2", "call-2@host"), manifest=manifest))
            await until(lambda: is_done(data, "r2"))
            assert (data / "recordings" / "r2.flac").exists() and (data / "recordings" / "r1.wav").exists()
            keeper.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(keeper.wait(), WAIT_S) == 0

    play(data, scenario)


@pytest.mark.slow
def test_a_keeper_without_a_store_works_and_catches_up(data: Path) -> None:
    async def scenario(hub: Hub, bus: Bus) -> None:
        await asyncio.to_thread(record, data / "recordings")
        async with process(hub, data) as keeper:
            async with asyncio.timeout(WAIT_S):
                while "there is no store at" not in (await health_of(bus))["keeper_store"].message:
                    await asyncio.sleep(0.02)
            assert (await health_of(bus))["keeper_store"].status == "degraded"
            await until(lambda: is_done(data, indexed=False))
            store = await Store.open(f"sqlite:///{data}/trunkline.db")
            await until(lambda: is_done(data))
            assert [row.id for row in (await store.recorded.list())[0]] == ["r1"]
            await store.close()
            assert (await health_of(bus))["keeper_store"].status == "healthy"
            keeper.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(keeper.wait(), WAIT_S) == 0

    play(data, scenario)


@pytest.mark.slow
def test_a_keeper_that_is_killed_again_and_again_loses_nothing(data: Path) -> None:
    ids = [f"r{number}" for number in range(6)]

    async def scenario(hub: Hub, bus: Bus) -> None:
        await (await Store.open(f"sqlite:///{data}/trunkline.db")).close()
        for number, id in enumerate(ids):
            await asyncio.to_thread(record, data / "recordings", id, f"call-{number}@host", seconds=20.0, correlation=())
        seen: set[str] = set()
        for stage in ("sealed", "converted", "encrypted", "uploaded", "done"):
            async with process(hub, data, **WISHES) as keeper:
                async with asyncio.timeout(WAIT_S):
                    stages: set[str] = set()
                    while stage not in stages and stages != {"done"}:
                        stages = {found.stage for id in ids if (found := of(data, id)) is not None}
                        seen |= stages
                        await asyncio.sleep(0.001)
                keeper.send_signal(signal.SIGKILL)
                await keeper.wait()
        assert {"sealed", "converted", "encrypted", "done"} <= seen
        async with process(hub, data, **WISHES) as keeper:
            await status_of(bus)
            await until(lambda: all(is_done(data, id) for id in ids))
            keeper.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(keeper.wait(), WAIT_S) == 0

    play(data, scenario)
    made = Rig(data, {"recording": {"storage": {"enabled": True, "folder": "elsewhere"}}})
    try:
        for id in ids:
            assert made.catalogue.verify(made.of(id)) == []
        assert {name.partition(".")[2] for name in made.names()} == {"json", "record", "locations", "siprec.json"}
        stored = [path for path in (data / "elsewhere").rglob("*") if path.is_file()]
        assert len(stored) == 4 * len(ids)
    finally:
        made.close()

    async def rows() -> None:
        store = await Store.open(f"sqlite:///{data}/trunkline.db")
        assert sorted(row.id for row in (await store.recorded.list())[0]) == ids
        assert len((await store.calls.list())[0]) == len(ids)
        await store.close()

    asyncio.run(rows())


class Broken:
    """A service that cannot be made."""

    def __init__(self, keeping: Keeping) -> None:
        raise RuntimeError("its settings make no sense")


class Stubborn:
    """A service that fails at everything but being made."""

    def __init__(self, keeping: Keeping) -> None:
        self.keeping = keeping

    async def start(self) -> None:
        raise OSError(5, "Input/output error")

    async def close(self) -> None:
        raise RuntimeError("no")

    def checks(self) -> dict[str, Result]:
        raise RuntimeError("no")


def test_a_service_that_cannot_be_leaves_the_others_at_work(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_up", SimpleNamespace(Broken=Broken, Stubborn=Stubborn))
    monkeypatch.setattr(keepers, "SERVICES", [("made_up", "Broken"), ("made_up", "Stubborn"), ("engine.not_there", "Missing")])

    async def scenario(hub: Hub, bus: Bus) -> None:
        await asyncio.to_thread(record, data / "recordings")
        loaded = load(None, {"TRUNKLINE_DATA_DIR": str(data), "TRUNKLINE_RECORDING_CLEANUP_DAYS": "0"})
        await (await Store.open(loaded.store_url)).close()
        async with await open_bus(hub.url, KEEPER, QUICK) as own:
            keeper = keepers.Keeper(loaded, own)
            run = asyncio.create_task(keeper.run(beat_s=0.02, grace_s=WAIT_S))
            await until(lambda: is_done(data))
            told = await health_of(bus)
            assert told["Broken"] == Result("degraded", "cannot be started: RuntimeError: its settings make no sense")
            assert told["Stubborn"].status == told["Missing"].status == "degraded"
            assert told["recordings"].status == "healthy"
            keeper.stop()
            await run

    play(data, scenario)


def test_every_service_can_be_imported() -> None:
    import importlib

    for module, name in keepers.SERVICES:
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("url", ["unix:///nowhere/at/all.sock", "carrier-pigeon://"])
def test_a_keeper_without_a_bus_says_so(url: str, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRUNKLINE_DATA_DIR", str(data))
    assert keepers.main(["--bus", url, "--connect-s", "0.05"]) == 1
    assert "keeper ends:" in capfd.readouterr().err


def test_a_catalogue_is_closed_with_its_keeper(data: Path) -> None:
    catalogue = Catalogue(data / "recordings")
    fd = catalogue.folder.fd
    assert catalogue.lookup.count() == 0
    catalogue.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


__all__: list[Any] = []

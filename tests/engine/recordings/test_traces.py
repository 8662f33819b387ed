"""The signalling of a recorded session comes from its worker into the store, however long that is away."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine import keeper as keepers
from engine.bus import Bus
from engine.config import load
from engine.siprec.events import SESSION_TOPIC, SessionEvent
from engine.store import Store
from engine.store.archive import kept_messages
from engine.trace.export import tables_of
from engine.trace.ladder import ladder
from engine.trace.live_service import LiveService
from tests.engine.bus.stations import HubStation
from tests.engine.recordings.rig import facts, met, record
from tests.engine.trace.live_calls import Clock, answered, note, traces

Scenario = Callable[[keepers.Keeper, Bus, Path], Awaitable[None]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Scenario], None]]:
    """Runs a scenario with a keeper and a worker that knows the call "live@x"; there is no store yet."""
    monkeypatch.setattr(keepers, "SERVICES", ())
    monkeypatch.setattr(keepers, "STORE_LAST_S", 0.1)
    monkeypatch.setattr("engine.recordings.index.RETRY_LAST_S", 0.1)
    folder = Path(tempfile.mkdtemp(prefix="tl-"))

    async def with_both(scenario: Scenario) -> None:
        station = HubStation(folder)
        await station.start()
        live = traces(folder / "live", Clock(1_700_000_020_000_000_000))
        note(live, answered())
        LiveService(live).serve(await station.open("worker.0"))
        keeper = keepers.Keeper(load(None, {"TRUNKLINE_DATA_DIR": str(folder), "TRUNKLINE_RECORDING_CLEANUP_DAYS": "0"}), await station.open("keeper"))
        run = asyncio.create_task(keeper.run())
        bus = await station.open("test")
        try:
            async with asyncio.timeout(60):
                while not await answers(bus):
                    await asyncio.sleep(0.01)
                await scenario(keeper, bus, folder)
        finally:
            keeper.stop()
            await run
            await station.close()

    yield lambda scenario: asyncio.run(with_both(scenario))
    shutil.rmtree(folder)


async def answers(bus: Bus) -> bool:
    try:
        await bus.request("keeper", "recordings.holds")
        return True
    except Exception:
        return False


async def recorded(bus: Bus, folder: Path, id: str, call_id: str, worker: str) -> None:
    name = await asyncio.to_thread(record, folder / "recordings", id, call_id)
    await bus.publish(SESSION_TOPIC, SessionEvent(kind="recorded", at=time.time(), session=facts(id, call_id, worker=worker), manifest=name))


def test_a_recorded_call_has_its_ladder_and_its_findings(play: Callable[[Scenario], None]) -> None:
    async def scenario(keeper: keepers.Keeper, bus: Bus, folder: Path) -> None:
        await recorded(bus, folder, "r1", "live@x", "worker.0")
        await recorded(bus, folder, "r2", "unknown@x", "worker.0")
        await recorded(bus, folder, "r3", "nobody@x", "worker.7")
        waiting = folder / "recordings" / ".r1.trace"
        await met(waiting.exists)
        store = await Store.open(f"sqlite:///{folder}/trunkline.db")
        catalogue = keeper.keeping.catalogue
        await met(lambda: not waiting.exists() and all(catalogue.of_recording(id).indexed for id in ("r1", "r2", "r3")))
        call = await store.calls.get("live@x")
        assert call is not None and call.number == catalogue.of_recording("r1").call
        assert (call.kind, call.source, call.from_user) == ("siprec", "recording", "alice")
        messages = await store.calls.messages(call.number)
        assert len(messages) == call.message_count == 7
        assert len(ladder(tables_of(kept_messages(messages)), 0).messages) == 7
        findings = await store.calls.findings(call.number)
        assert len(findings) == sum(call.severity_counts.values()) > 0
        for call_id in ("unknown@x", "nobody@x"):
            other = await store.calls.get(call_id)
            assert other is not None and await store.calls.messages(other.number) == []
        # kept again, it stays what it is
        keeper.recordings.indexer.add(catalogue.update("r1", lambda now: msgspec.structs.replace(now, indexed=False)))
        await met(lambda: catalogue.of_recording("r1").indexed)
        assert len(await store.calls.messages(call.number)) == 7
        assert await catalogue.erase(catalogue.of_recording("r1"), by="ada") == ()
        assert await store.calls.messages(call.number) == []
        await store.close()

    play(scenario)


def test_what_waits_is_erased_with_its_recording(play: Callable[[Scenario], None]) -> None:
    async def scenario(keeper: keepers.Keeper, bus: Bus, folder: Path) -> None:
        await recorded(bus, folder, "r1", "live@x", "worker.0")
        waiting = folder / "recordings" / ".r1.trace"
        await met(waiting.exists)
        catalogue = keeper.keeping.catalogue
        await met(lambda: catalogue.of_recording("r1").stage == "done")
        left = await catalogue.erase(catalogue.of_recording("r1"), by="ada")
        assert left == ("the store: it was not opened yet",) and not waiting.exists()

    play(scenario)

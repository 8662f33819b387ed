"""A whole keeper in this process, over a real bus, store and folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.bus import Bus, Hub, open_bus
from engine.config import load_environment
from engine.keeper import Keeper
from engine.keeping import KEEPER
from engine.recordings.errors import NoSuchRecording
from engine.store import Store

WAIT_S = 30.0
ON = {
    "TRUNKLINE_COMPLIANCE_GDPR_ENABLED": "true", "TRUNKLINE_COMPLIANCE_AUDIT_TAMPER_PROOF": "true", "TRUNKLINE_COMPLIANCE_AUDIT_LOG_PATH": "audit/calls.log",
}  # fmt: skip


class Running:
    """The keeper, its store, and a bus to ask it with."""

    def __init__(self, keeper: Keeper, store: Store, bus: Bus, data_dir: Path) -> None:
        self.keeper, self.store, self.bus, self.data_dir = keeper, store, bus, data_dir
        self.folder = keeper.keeping.recordings

    async def ask(self, subject: str, payload: Any = None, shape: Any = Any) -> Any:
        return await self.bus.request(KEEPER, subject, payload, 60.0, shape=shape)

    async def done(self, *ids: str) -> None:
        """Waits until these recordings are finished and in the store."""
        catalogue = self.keeper.keeping.catalogue

        def is_done() -> bool:
            try:
                return all((found := catalogue.of_recording(id)).stage == "done" and found.indexed for id in ids)
            except NoSuchRecording:  # not looked at yet
                return False

        await until(is_done)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(data_dir: Path, **environment: str) -> AsyncIterator[Running]:
    """A keeper with GDPR and a tamper-proof audit log; keyword arguments are environment variables."""
    loaded = load_environment({"TRUNKLINE_DATA_DIR": str(data_dir), **ON, **environment})
    data_dir.mkdir(exist_ok=True)
    store = await Store.open(loaded.store_url, create=True)
    hub = Hub(data_dir / "bus" / "hub")
    await hub.start()
    buses = [await open_bus(hub.url, name) for name in (KEEPER, "asker")]
    keeper = Keeper(loaded, buses[0])
    work = asyncio.create_task(keeper.run())
    try:
        await until(lambda: keeper.store.get() is not None and keeper.services["ComplianceService"]._gdpr is not None)  # type: ignore[attr-defined]
        yield Running(keeper, store, buses[1], data_dir)
    finally:
        keeper.stop()
        await work
        for bus in buses:
            await bus.close()
        await hub.close()
        await store.close()


__all__ = ["ON", "Running", "running", "until"]

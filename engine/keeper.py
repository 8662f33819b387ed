"""The keeper: one process a machine that looks after what calls leave behind, and tells what they say. `python -m engine.keeper --bus URL --name keeper`.

It holds no call. Recordings, analytics, compliance and what is published while calls go on are services of their own; one that cannot be made leaves
the others at work. A store that is away holds nothing up: what waits for it is caught up with.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import uvloop

from engine import log as process_log
from engine.bus import Bus, BusError, Limits, Message, open_bus
from engine.bus.machines import announce, machines_of
from engine.bus.presence import BEAT_S, HUB_GONE_S, keep_beating
from engine.child import GRACE_S, STATUS_SUBJECT, WorkerStatus, collect_seldom, parser_of, stopped_by_signals
from engine.config import ConfigError, Loaded, load_environment
from engine.errors import EngineError
from engine.health import Result
from engine.keeping import HEALTH_SUBJECT, KEEPER, Keeping, Service
from engine.recordings.catalogue import Catalogue
from engine.recordings.places import Places
from engine.recordings.service import RecordingsService
from engine.store import Store, StoreError
from engine.supervisor import RELOAD_TOPIC, rss_bytes

STORE_FIRST_S, STORE_LAST_S = 0.5, 30.0
# Texts of thousands of calls come in bursts.
QUEUE_MESSAGES, QUEUE_BYTES = 65_536, 64 << 20
# Module and class of each service beside the recordings' own, in the order in which they are made.
SERVICES = (
    ("engine.realtime.service", "RealtimeService"),
    ("engine.analytics.service", "AnalyticsService"),
    ("engine.compliance.service", "ComplianceService"),
)
log = logging.getLogger("trunkline.keeper")


class OpenedStore:
    """The store, opened in the background for as long as that takes."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._store: Store | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem = "it was not opened yet"

    def get(self) -> Store | None:
        """The store, None until it could be opened."""
        return self._store

    def start(self) -> None:
        """Begins to open it."""
        self._task = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        pause_s = STORE_FIRST_S
        while True:
            try:
                self._store = await Store.open(self._loaded.store_url, synchronous=self._loaded.config.store.synchronous, create=False)
                self.problem = ""
                return
            except StoreError as error:
                if str(error) != self.problem:
                    log.warning("the store cannot be opened: %s", error)
                self.problem = str(error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, STORE_LAST_S)

    async def close(self) -> None:
        """Closes it, opened or not."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._store is not None:
            await self._store.close()


class Keeper:
    """Everything of one keeper on an open bus."""

    def __init__(self, loaded: Loaded, bus: Bus, *, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._monotonic = bus, monotonic
        self._started_at = monotonic()
        self._stop = asyncio.Event()
        self._reloads = 0
        self.store = OpenedStore(loaded)
        self._machines = machines_of(loaded.config.bus.url, bus.name)
        places = Places(lambda: self.keeping.config, loaded.data_dir, clock)
        catalogue = Catalogue(loaded.data_dir / loaded.config.recording.directory, storage=places.storage_for, vault=places.vault, clock=clock)
        self.keeping = Keeping(loaded.config, loaded.data_dir, bus, self.store.get, clock, catalogue, partial(announce, bus, self._machines))
        self.services: dict[str, Service] = {}
        self._failed: dict[str, str] = {}
        for module, name in SERVICES:
            self._make(module, name)
        self.recordings = RecordingsService(self.keeping, places)

    def _make(self, module: str, name: str) -> None:
        try:
            self.services[name] = getattr(importlib.import_module(module), name)(self.keeping)
        except Exception as error:
            self._failed[name] = f"{type(error).__name__}: {error}"[:300]
            log.exception("%s cannot be made", name)

    async def run(self, *, beat_s: float = BEAT_S, hub_gone_s: float = HUB_GONE_S, grace_s: float = GRACE_S) -> None:
        """Works until `stop`. Raises Disconnected when the bus stays out of reach for `hub_gone_s`."""
        self._bus.serve(STATUS_SUBJECT, self._status)
        self._bus.serve(HEALTH_SUBJECT, self._health)
        await self._bus.subscribe(RELOAD_TOPIC, self._reload)
        self.store.start()
        if self._machines is not None:
            self._machines.start()
        ready = False
        beats = asyncio.create_task(
            keep_beating(self._bus, lambda: ready and not self._stop.is_set(), interval_s=beat_s, hub_gone_s=hub_gone_s)
        )
        stopped = asyncio.create_task(self._stop.wait())
        try:
            for name, service in list(self.services.items()):
                await self._start(name, service)
            await self.recordings.start()
            ready = True
            await asyncio.wait({beats, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if beats.done():
                beats.result()
            if not await self._bus.drain(grace_s):
                log.warning("%s ends with requests unfinished", self._bus.name)
        finally:
            for task in (beats, stopped):
                task.cancel()
            await asyncio.gather(beats, stopped, return_exceptions=True)
            await self._close(grace_s)

    async def _start(self, name: str, service: Service) -> None:
        try:
            await service.start()
        except Exception as error:
            self._failed[name] = f"{type(error).__name__}: {error}"[:300]
            log.exception("%s cannot be started", name)

    async def _close(self, grace_s: float) -> None:
        """Services in the order that lets each still be told by those before it, each within the time there is."""
        is_over = True
        for name, service in [("recordings", self.recordings), *reversed(self.services.items())]:
            try:
                async with asyncio.timeout(grace_s):
                    await service.close()
            except TimeoutError:
                is_over = False  # a file is still being worked on: that is done again at the next start
                log.warning("%s is not finished and is left", name)
            except Exception:
                log.exception("%s did not end as it should", name)
        if self._machines is not None:
            await self._machines.close()
        await self.store.close()
        if is_over:
            self.keeping.catalogue.close()

    def stop(self) -> None:
        """Begins the drain."""
        self._stop.set()

    # ---- bus ----

    async def _status(self, message: Message) -> WorkerStatus:
        return WorkerStatus(
            name=self._bus.name, pid=os.getpid(), state="draining" if self._stop.is_set() else "ready", calls=0, uptime_s=self._monotonic() - self._started_at,
            rss_bytes=rss_bytes(os.getpid()), reloads=self._reloads,
        )  # fmt: skip

    async def _health(self, message: Message) -> dict[str, Result]:
        return self.checks()

    def checks(self) -> dict[str, Result]:
        """What every service says of itself, and what could not be made."""
        told = {"keeper_store": Result("degraded", self.store.problem) if self.store.problem else Result("healthy")}
        told |= {name: Result("degraded", f"cannot be started: {why}") for name, why in self._failed.items()}
        for name, service in [("recordings", self.recordings), *self.services.items()]:
            try:
                told |= service.checks()
            except Exception:
                log.exception("%s could not be checked", name)
                told[name] = Result("degraded", "it could not be checked")
        return told

    async def _reload(self, message: Message) -> None:
        try:
            self.keeping.config = load_environment(os.environ).config
        except (ConfigError, ValueError) as error:
            log.error("the configuration of the keeper stays as it was: %s", error)
            return
        process_log.set_level(self.keeping.config.log.level)
        self._reloads += 1
        log.info("%s reloaded its configuration", self._bus.name)


async def _work(arguments: argparse.Namespace) -> int:
    limits = Limits(connect_s=arguments.connect_s, queue_messages=QUEUE_MESSAGES, queue_bytes=QUEUE_BYTES)
    try:
        loaded = load_environment(os.environ)
        process_log.configure(loaded.config.log.level, loaded.config.log.format)
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(await open_bus(arguments.bus, arguments.name, limits))
            keeper = Keeper(loaded, bus)
            collect_seldom()
            with stopped_by_signals(keeper.stop):
                await keeper.run(beat_s=arguments.beat_s, hub_gone_s=arguments.hub_gone_s, grace_s=arguments.grace_s)
    except (BusError, EngineError, OSError, ValueError) as error:
        log.error("%s ends: %s", arguments.name, error)
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 after a drain, 1 when there is no bus or no configuration."""
    parser = parser_of("engine.keeper", "The keeper of what calls leave behind.")
    parser.add_argument("--name", default=KEEPER, help="name on the bus")
    options = parser.parse_args(arguments)
    return uvloop.run(_work(options))


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["Keeper", "main"]

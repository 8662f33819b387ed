"""An engine worker: one process, one event loop, one core. `python -m engine.worker --bus URL --name worker.0`.

It holds its place on the bus, says that it is alive, answers `worker.status`, takes `config.reload` and drains on
SIGTERM. With `--of N` it also takes SIP on the ports of the configuration, as one of N workers that share them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import uvloop

from engine.bus import Bus, BusError, Limits, Message, open_bus
from engine.bus.presence import BEAT_S, HUB_GONE_S, HUB_VARIABLE, keep_beating
from engine.child import GRACE_S, STATUS_SUBJECT, WorkerStatus, collect_seldom, parser_of, stopped_by_signals
from engine.config import ConfigError, load_environment
from engine.errors import EngineError
from engine.sip_worker import SipWorker, folder_of
from engine.siprec.service import SessionService
from engine.supervisor import RELOAD_TOPIC, rss_bytes
from engine.trace.live_service import LiveService

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

log = logging.getLogger("trunkline.worker")


class Worker:
    """One worker on an open bus. `reload_hooks` run, in order, on every `config.reload`.

    `hub` is the bus of the supervisor, when that is another one than the bus of the calls.
    """

    def __init__(
        self, bus: Bus, hub: Bus | None = None, *, clock: Callable[[], float] = time.monotonic, sip: SipWorker | None = None
    ) -> None:
        self.sip = sip
        self.reload_hooks: list[Callable[[], Awaitable[None]]] = []
        self._bus = bus
        self._hub = hub or bus
        self._clock = clock
        self._started_at = clock()
        self._reloads = 0
        self._stop = asyncio.Event()

    async def run(self, *, beat_s: float = BEAT_S, hub_gone_s: float = HUB_GONE_S, grace_s: float = GRACE_S) -> None:
        """Works until `stop`, then finishes what it has begun within `grace_s`.

        Raises Disconnected when the bus stays out of reach for `hub_gone_s`.
        """
        for bus in {self._bus, self._hub}:
            bus.serve(STATUS_SUBJECT, self._status)
            if self.sip is not None and self.sip.live is not None:
                LiveService(self.sip.live).serve(bus)
            if self.sip is not None and self.sip.recordings is not None:
                SessionService(self.sip.recordings, time.time).serve(bus)
        if self.sip is not None and self.sip.recordings is not None:
            self.sip.recordings.publish = self._hub.publish
        await self._hub.subscribe(RELOAD_TOPIC, self._reload)
        beats = asyncio.create_task(
            keep_beating(self._hub, lambda: not self._stop.is_set(), interval_s=beat_s, hub_gone_s=hub_gone_s)
        )
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({beats, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if beats.done():
                beats.result()
            if self.sip is not None and (left := await self.sip.close(grace_s)):
                log.warning("%s ends with %d calls unanswered", self._bus.name, left)
            if not await self._bus.drain(grace_s):
                log.warning("%s ends with requests unfinished", self._bus.name)
        finally:
            for task in (beats, stopped):
                task.cancel()
            await asyncio.gather(beats, stopped, return_exceptions=True)

    def stop(self) -> None:
        """Begins the drain."""
        self._stop.set()

    async def _status(self, message: Message) -> WorkerStatus:
        return WorkerStatus(
            name=self._bus.name,
            pid=os.getpid(),
            state="draining" if self._stop.is_set() else "ready",
            calls=self.sip.endpoint.agent.calls if self.sip is not None else 0,
            uptime_s=self._clock() - self._started_at,
            rss_bytes=rss_bytes(os.getpid()),
            reloads=self._reloads,
            sip=self.sip.numbers() if self.sip is not None else {},
        )

    async def _reload(self, message: Message) -> None:
        for hook in self.reload_hooks:
            await hook()
        self._reloads += 1
        log.info("%s reloaded its configuration", self._bus.name)


async def _sip(arguments: argparse.Namespace) -> SipWorker | None:
    """The SIP side, listening; None where there is none. Raises ValueError, OSError and ConfigError."""
    if not arguments.of:
        return None
    loaded = load_environment(os.environ)
    index = int(arguments.name.rpartition(".")[2])
    sip = SipWorker(loaded.config, index, arguments.of, folder_of(loaded.data_dir), loaded.data_dir / loaded.config.recording.directory)
    try:
        await sip.open()
    except BaseException:
        await sip.close(0.0)  # what is open already would keep the process
        raise
    return sip


async def _reload_sip(sip: SipWorker) -> None:
    try:
        sip.reload(load_environment(os.environ).config)
    except (ConfigError, ValueError) as error:
        log.error("the configuration of SIP stays as it was: %s", error)


async def _work(arguments: argparse.Namespace) -> int:
    limits = Limits(connect_s=arguments.connect_s)
    hub_url = os.environ.get(HUB_VARIABLE, arguments.bus)
    try:
        async with AsyncExitStack() as open_buses:
            bus = await open_buses.enter_async_context(await open_bus(arguments.bus, arguments.name, limits))
            hub = None
            if hub_url != arguments.bus:
                hub = await open_buses.enter_async_context(await open_bus(hub_url, arguments.name, limits))
            sip = await _sip(arguments)
            worker = Worker(bus, hub, sip=sip)
            if sip is not None:
                worker.reload_hooks.append(partial(_reload_sip, sip))
                collect_seldom()
            with stopped_by_signals(worker.stop):
                await worker.run(
                    beat_s=arguments.beat_s, hub_gone_s=arguments.hub_gone_s, grace_s=arguments.grace_s
                )
    except (BusError, EngineError, OSError, ValueError) as error:
        log.error("%s ends: %s", arguments.name, error)
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 after a drain, 1 when there is no bus."""
    parser = parser_of("engine.worker", "An engine worker.")
    parser.add_argument("--name", required=True, help="name on the bus, such as worker.0")
    parser.add_argument("--of", type=int, default=0, help="take SIP, as one of so many workers that share the ports")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    options = parser.parse_args(arguments)
    logging.basicConfig(level=options.log_level, format=LOG_FORMAT)
    return uvloop.run(_work(options))


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["Worker", "main"]

"""An API worker: one process, one event loop, one listening socket. `python -m api.worker --bus URL --name api.0`.

Granian serves HTTP inside the loop that also holds the process's place on the bus. Several workers listen on one port
(SO_REUSEPORT), so one that ends takes nobody along.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from api.app import create
from api.services import Services
from engine import log as process_log
from engine.bus import BusError, open_bus
from engine.bus.presence import HUB_GONE_S, keep_beating
from engine.config import ConfigError, load_environment
from engine.errors import EngineError
from engine.supervisor import RELOAD_TOPIC

FLUSH_S = 5.0
LISTEN_STEP_S = 0.005
# Requests leave few cycles behind; Python's own first threshold (700) would look for some several times in each.
COLLECT_AT = (20_000, 20, 50)
log = logging.getLogger("trunkline.api.worker")


async def _repeat(every_s: float, work: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            result = work()
            if asyncio.iscoroutine(result):
                await result
        except Exception:
            log.exception("a periodic task failed")


def listens(port: int) -> bool:
    """Whether a socket of this very process listens on a TCP port; others may share it (proc(5), net/tcp)."""
    inodes = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}") in inodes:
                return True
    return False


async def _until_listening(port: int) -> None:
    while not listens(port):
        await asyncio.sleep(LISTEN_STEP_S)


async def _serve(arguments: argparse.Namespace) -> int:
    loaded = load_environment(os.environ)
    config = loaded.config
    process_log.configure(config.log.level, config.log.format)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        bus = None
        if arguments.bus:
            bus = await stack.enter_async_context(await open_bus(arguments.bus, arguments.name))
        services = await Services.open(loaded, bus)
        stack.push_async_callback(services.close)
        app = create(services)
        server = Server(
            app,
            address=config.http.host,
            port=config.http.port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=config.http.header_timeout_ms),
            backlog=1024,
            backpressure=config.http.connections_max,
            log_level=LogLevels.error,
        )
        ready = False
        if bus is not None:

            async def reload(_: object) -> None:
                services.reload("signal")

            await bus.subscribe(RELOAD_TOPIC, reload)
        serving = asyncio.create_task(server.serve())
        tasks = [serving, asyncio.create_task(_repeat(FLUSH_S, services.flush))]
        tasks.append(asyncio.create_task(services.health.watch()))
        if bus is not None:
            tasks.append(asyncio.create_task(keep_beating(bus, lambda: ready, hub_gone_s=HUB_GONE_S)))
        # what was loaded so far lives as long as the process: the collector need not look at it again and again
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AT)
        stopped = asyncio.create_task(stop.wait())
        listening = asyncio.create_task(_until_listening(config.http.port))
        try:
            await asyncio.wait({*tasks, stopped, listening}, return_when=asyncio.FIRST_COMPLETED)
            ready = listening.done()
            done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            await services.sockets.close()  # open ones would hold up the drain
            server.stop()  # type: ignore[no-untyped-call]
            with contextlib.suppress(Exception):
                await asyncio.wait_for(serving, config.http.drain_s)
            for task in (*tasks, stopped, listening):
                task.cancel()
            await asyncio.gather(*tasks, stopped, listening, return_exceptions=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 after a drain, 1 when it cannot serve."""
    parser = argparse.ArgumentParser(prog="python -m api.worker", description="An API worker.")
    parser.add_argument("--bus", default="", help="url of the hub that watches this process; none: it runs alone")
    parser.add_argument("--name", default="api.0", help="name on the bus")
    options = parser.parse_args(arguments)
    try:
        return uvloop.run(_serve(options))
    except (BusError, ConfigError, EngineError, ValueError, OSError) as error:
        print(f"trunkline: {options.name} ends: {error}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["main"]

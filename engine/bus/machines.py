"""The bus between machines, joined in the background: a broker that is away holds nothing up.

Events told while there is no connection are dropped and counted; whoever must not miss anything reads the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from engine.bus import Bus, BusError, open_bus

PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 30.0
log = logging.getLogger("trunkline.bus")


def place_of(host: str, pid: int, name: str) -> str:
    """The name of a process among those of all machines."""
    machine = re.sub(r"[^A-Za-z0-9_-]+", "-", host)[:60] or "machine"
    return f"{machine}.{pid}.{name}"


class Machines:
    """A process's place on the bus between machines. Belongs to the event loop that `start` was called in."""

    def __init__(
        self, url: str, name: str, dial: Callable[[str, str], Awaitable[Bus]] = open_bus, pause_s: float = PAUSE_S
    ) -> None:
        """`url` is RabbitMQ's, as `open_bus` takes it."""
        self._url = url
        self._name = name
        self._dial = dial
        self._pause_s = pause_s
        self._bus: Bus | None = None
        self._joining: asyncio.Task[None] | None = None
        self._why = "the broker was not reached yet"
        self.dropped = 0

    def start(self) -> None:
        """Begins to look for the broker, and goes on until it is there."""
        self._joining = asyncio.get_running_loop().create_task(self._join())

    async def _join(self) -> None:
        pause_s = self._pause_s
        while True:
            try:
                self._bus = await self._dial(self._url, self._name)
                log.info("%s is on the bus between machines", self._name)
                return
            except (BusError, OSError) as error:
                if str(error) != self._why:
                    log.warning("the bus between machines is out of reach: %s", error)
                self._why = str(error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    @property
    def connected(self) -> bool:
        """Whether events reach the broker now. A bus that was joined once makes its connection again by itself."""
        return self._bus is not None and self._bus.connected

    @property
    def bus(self) -> Bus | None:
        """The bus itself, once the broker was reached."""
        return self._bus

    @property
    def why(self) -> str:
        """Why the broker was not reached, the last time."""
        return self._why

    async def publish(self, topic: str, payload: Any = None) -> bool:
        """Tells all machines; False, and one more in `dropped`, when the broker did not take it."""
        if self._bus is not None:
            try:
                await self._bus.publish(topic, payload)
                return True
            except BusError as error:
                log.warning("%s was not told to other machines: %s", topic, error)
        self.dropped += 1
        return False

    async def close(self) -> None:
        """Leaves the bus."""
        if self._joining is not None:
            self._joining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._joining
        if self._bus is not None:
            await self._bus.close()


def machines_of(url: str, name: str) -> Machines | None:
    """The place of this process between machines, not yet sought; None where there is no `url`, and so no bus between them. `name` is its name on this machine."""
    return Machines(url, place_of(socket.gethostname(), os.getpid(), name)) if url else None


async def announce(bus: Bus | None, machines: Machines | None, topic: str, payload: Any) -> None:
    """Tells the processes of this machine, and of the others where there is a bus between them. A bus that is away is logged."""
    if bus is not None:
        try:
            await bus.publish(topic, payload)
        except BusError as error:
            log.warning("%s was not told: %s", topic, error)
    if machines is not None:
        await machines.publish(topic, payload)


__all__ = ["Machines", "announce", "machines_of", "place_of"]

"""Places where buses meet, for the contract tests: a hub on a socket, or a broker behind a relay that can break."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from engine.bus import Bus, Hub, Limits, open_bus

WAIT_S = 30.0
QUICK = Limits(connect_s=WAIT_S, retry_first_s=0.01, retry_last_s=0.1, probe_s=0.1)


class Station(Protocol):
    """A bus's other side, which can go away and come back."""

    async def open(self, name: str, **limits: Any) -> Bus: ...
    async def break_off(self) -> None: ...
    async def mend(self) -> None: ...
    async def close(self) -> None: ...


class HubStation:
    """The embedded bus."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "bus.sock"
        self.hub = Hub(self._path)
        self._opened: list[Bus] = []

    async def start(self, **limits: Any) -> None:
        self.hub = Hub(self._path, msgspec.structs.replace(QUICK, **limits))
        await self.hub.start()

    async def open(self, name: str, **limits: Any) -> Bus:
        bus = await open_bus(self.hub.url, name, msgspec.structs.replace(QUICK, **limits))
        self._opened.append(bus)
        return bus

    async def break_off(self) -> None:
        await self.hub.close()

    async def mend(self) -> None:
        await self.start()

    async def close(self) -> None:
        for bus in self._opened:
            await bus.close()
        await self.hub.close()


class BrokerStation:
    """RabbitMQ. Names are kept apart from those of other tests by a prefix."""

    def __init__(self, url: str, prefix: str) -> None:
        self._broker = urlsplit(url)
        self._prefix = prefix
        self._server: asyncio.Server | None = None
        self._port = 0
        self._relays: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._opened: list[Bus] = []

    async def start(self) -> None:
        await self.mend()

    async def open(self, name: str, *, query: str = "", **limits: Any) -> Bus:
        url = f"amqp://guest:guest@127.0.0.1:{self._port}/?prefix={self._prefix}{query}"
        bus = await open_bus(url, name, msgspec.structs.replace(QUICK, **limits))
        self._opened.append(bus)
        return bus

    async def break_off(self) -> None:
        assert self._server is not None
        self._server.close()
        for relay in tuple(self._relays):
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def hang(self) -> None:
        """Connections stay and carry nothing."""
        self._flowing.clear()

    def go_on(self) -> None:
        """Connections carry again."""
        self._flowing.set()

    async def close(self) -> None:
        for bus in self._opened:
            await bus.close()
        await self.break_off()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        far_reader, far_writer = await asyncio.open_connection(self._broker.hostname, self._broker.port)
        ways = [asyncio.create_task(_pour(reader, far_writer, self._flowing)), asyncio.create_task(_pour(far_reader, writer, self._flowing))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, far_writer):
                end.transport.abort()
            self._relays.discard(task)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            await flowing.wait()
            writer.write(data)
            await writer.drain()


async def until(condition: Any) -> None:
    """Returns when `condition()` holds; fails the test when it never does."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


__all__ = ["QUICK", "WAIT_S", "BrokerStation", "HubStation", "Station", "until"]

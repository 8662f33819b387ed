"""A real API worker behind a hub of the bus that the test holds: it can say what a keeper says, and see what the worker does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from api.keys import new_key
from engine.bus import Bus, Hub, Message, open_bus
from engine.siprec.events import ANALYTICS_TOPIC, TRANSCRIPTION_TOPIC, LiveMessage
from engine.store import Store
from tests.ports import free_ports
from tests.running import ROOT

WAIT_S = 30.0


class Rig:
    """A worker that is ready. `keeper` is the test's place on the bus, under the keeper's name."""

    def __init__(self, folder: Path, port: int, process: asyncio.subprocess.Process, keeper: Bus) -> None:
        self.folder = folder
        self.port = port
        self.process = process
        self.keeper = keeper

    @property
    def pid(self) -> int:
        return self.process.pid

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path: str, **options: Any) -> connect:
        """A client that gives up by itself, never waits for a proxy, and sends no pings of its own."""
        return connect(self.url(path), proxy=None, open_timeout=WAIT_S, **{"ping_interval": None, **options})

    async def transcription(self, call_id: str, **document: Any) -> None:
        """What the keeper tells of what was said."""
        told = {"call_id": call_id, "event_type": "final_transcript", **document}
        await self.keeper.publish(TRANSCRIPTION_TOPIC, LiveMessage(call_id=call_id, document=told))

    async def analytics(self, call_id: str, kind: str, **data: Any) -> None:
        """What the keeper tells of how a call goes."""
        told = {"type": kind, "call_id": call_id, "timestamp": "2026-01-01T00:00:00.000Z", "data": data}
        await self.keeper.publish(ANALYTICS_TOPIC, LiveMessage(call_id=call_id, document=told))

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}", timeout=WAIT_S)

    async def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics, 0 where it is not there."""
        from prometheus_client.parser import text_string_to_metric_families

        for family in text_string_to_metric_families((await self.get("/metrics")).text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0

    async def key(self, *scopes: str) -> tuple[str, str]:
        """A key that holds these scopes, and its id."""
        store = await Store.open(f"sqlite:///{self.folder / 'data' / 'trunkline.db'}", create=False)
        try:
            text, row = new_key(name="test", owner="tess", plan="", scopes=scopes, now=0.0)
            await store.keys.add(row)
            return text, row.id
        finally:
            await store.close()

    async def revoke(self, key_id: str) -> None:
        store = await Store.open(f"sqlite:///{self.folder / 'data' / 'trunkline.db'}", create=False)
        try:
            assert await store.keys.revoke(key_id, 1.0)
        finally:
            await store.close()


async def read(client: ClientConnection) -> Any:
    """The next message, without the server's pings."""
    async with asyncio.timeout(WAIT_S):
        while True:
            told = json.loads(await client.recv())
            if told.get("type") != "ping":
                return told


async def until(condition: Callable[[], Any]) -> None:
    """Returns when `condition()` holds, or what it gives to wait for does."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def rig(**environment: str) -> AsyncIterator[Rig]:
    """Starts a worker and ends it. Keyword arguments are environment variables."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        (folder / "data").mkdir()
        store = await Store.open(f"sqlite:///{folder / 'data' / 'trunkline.db'}", create=True)
        await store.close()
        hub = Hub(folder / "hub")
        await hub.start()
        stack.push_async_callback(hub.close)
        keeper = await stack.enter_async_context(await open_bus(hub.url, "keeper"))
        (folder / "metrics").mkdir()
        port = free_ports()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        settings = {
            "TRUNKLINE_HTTP_PORT": str(port), "TRUNKLINE_DATA_DIR": str(folder / "data"), "TRUNKLINE_ANALYTICS_ENABLED": "true",
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"), **environment,
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api.worker", "--bus", hub.url, "--name", "api.0", cwd=ROOT, env={**inherited, **settings}
        )
        try:
            running = Rig(folder, port, process, keeper)

            async def answers() -> bool:
                assert process.returncode is None, "the worker ended"
                with contextlib.suppress(httpx.TransportError):
                    return (await running.get("/health/live")).status_code == 200
                return False

            await until(answers)
            yield running
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(WAIT_S):
                await process.wait()


__all__ = ["WAIT_S", "Message", "Rig", "read", "rig", "until"]

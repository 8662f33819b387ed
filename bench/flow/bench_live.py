"""A live message to a hundred WebSocket clients: our API worker (keys off, the bus in front) beside `websockets`' own broadcast and bare writes.

The clients count bytes and nothing more. Compared is processor time of who serves, all its threads, so that feeder and readers on the other core are
not the limit: messages a second of one core are messages over processor seconds. A message here is one that one client gets.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from bench.measure import Row, agree
from bench.peers import bare_fan_out, websockets_broadcast
from engine.bus import Hub, open_bus
from engine.siprec.events import TRANSCRIPTION_TOPIC, LiveMessage
from engine.store import Store

CLIENTS = 100
OUTSTANDING = 64  # well below what one client may have waiting
START_S = 30.0
CALL = "B2B.160.1762863004.937031301"

Feed = Callable[[int], Awaitable[None]]


class Served(NamedTuple):
    """Processor seconds of the server, and bytes that the clients got."""

    cpu_s: float
    bytes: int


def document(number: int) -> dict[str, object]:
    """A final transcript; all are equally long."""
    return {
        "message_id": f"{number:032x}", "timestamp": "2026-01-01T00:00:00.000Z", "event_type": "final_transcript", "session_id": CALL, "call_id": CALL,
        "call_uuid": CALL, "text": "I would like to ask about the refund that you promised me last week.", "is_final": True, "confidence": 0.93,
        "start_time": 12.34, "end_time": 16.78, "language": "en-US", "speaker_id": "1", "speaker_label": "customer", "speaker_count": 2,
        "stream_label": "1", "participant_name": "Ada", "participant_role": "customer", "sentiment": {"label": "negative", "score": 0.4},
        "keywords": [{"text": "refund", "category": "billing", "confidence": 0.93}], "metadata": {"event_source": "siprec-realtime", "provider": "x"},
    }  # fmt: skip


TEXT_BYTES = len(msgspec.json.encode(document(0)))
FRAME_BYTES = len(websockets_broadcast.frame_of(bytes(TEXT_BYTES)))


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Reader(asyncio.Protocol):
    """A client behind its handshake: counts."""

    total = 0

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self._opened: asyncio.Future[None] | None = opened
        self._head = b""

    def data_received(self, data: bytes) -> None:
        if self._opened is None:
            _Reader.total += len(data)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            assert head.startswith(b"HTTP/1.1 101"), head
            _Reader.total += len(rest)
            self._opened.set_result(None)
            self._opened = None


async def _client(port: int, path: str) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    opened = loop.create_future()
    transport, _ = await loop.create_connection(lambda: _Reader(opened), "127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    transport.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await opened
    return transport


async def _measured(pid: int, port: int, path: str, feed: Feed, messages: int) -> Served:
    """`messages` to every client, as fast as they are taken."""
    clients = await asyncio.gather(*(_client(port, path) for _ in range(CLIENTS)))
    each = FRAME_BYTES * CLIENTS

    async def pass_on(first: int, count: int) -> None:
        for number in range(first, first + count):
            while number - first - (_Reader.total - before) // each >= OUTSTANDING:
                await asyncio.sleep(0.0002)
            await feed(number)
        deadline = time.monotonic() + START_S
        while _Reader.total - before < count * each and time.monotonic() < deadline:
            await asyncio.sleep(0.001)

    before = _Reader.total
    await pass_on(0, messages // 10)  # warm
    before, began_s = _Reader.total, _cpu_s(pid)
    await pass_on(messages, messages)
    found = Served(_cpu_s(pid) - began_s, _Reader.total - before)
    for client in clients:
        client.abort()
    return found


@contextlib.asynccontextmanager
async def _process(port: int, *arguments: str, **environment: str) -> AsyncIterator[int]:
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


async def _ours(messages: int, folder: Path) -> Served:
    store = await Store.open(f"sqlite:///{folder / 'trunkline.db'}", create=True)
    await store.close()
    hub = Hub(folder / "hub")
    await hub.start()
    port = _port()
    settings = {"TRUNKLINE_HTTP_PORT": str(port), "TRUNKLINE_DATA_DIR": str(folder), "TRUNKLINE_AUTH_ENABLED": "off"}
    try:
        async with (
            await open_bus(hub.url, "keeper") as bus,
            _process(port, "api.worker", "--bus", hub.url, "--name", "api.0", **settings) as pid,
        ):

            async def feed(number: int) -> None:
                await bus.publish(TRANSCRIPTION_TOPIC, LiveMessage(call_id=CALL, document=document(number)))

            return await _measured(pid, port, f"/ws/transcriptions?call_id={CALL}", feed, messages)
    finally:
        await hub.close()


async def _theirs(module: str, messages: int) -> Served:
    port = _port()
    async with _process(port, module, str(port)) as pid:
        feeder = await _client(port, "/feed")
        masked = module.endswith("broadcast")

        async def feed(number: int) -> None:
            text = msgspec.json.encode(document(number)) + b"\n"
            if masked:  # a frame of a client, with a mask of zeros
                text = b"\x81\xfe" + len(text).to_bytes(2) + bytes(4) + text
            feeder.write(text)

        return await _measured(pid, port, "/", feed, messages)


def rows(quick: bool) -> Iterator[Row]:
    """Messages of one core to a hundred clients."""
    messages = 300 if quick else 2000
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        ours = uvloop.run(_ours(messages, Path(folder)))
    theirs = uvloop.run(_theirs("bench.peers.websockets_broadcast", messages))
    least = uvloop.run(_theirs("bench.peers.bare_fan_out", messages))
    wanted = messages * CLIENTS * FRAME_BYTES
    check, passed = agree({"bytes": (ours.bytes, wanted), "peer bytes": (theirs.bytes, wanted), "limit bytes": (least.bytes, wanted)})
    count = messages * CLIENTS
    yield Row(
        "live-fan-out-100-clients", "msg/s", count / ours.cpu_s, websockets_broadcast.NAME, count / theirs.cpu_s, bare_fan_out.NAME, count / least.cpu_s,
        check=check, passed=passed,
    )  # fmt: skip

"""Slow readers, floods, frames that are none, and a great many clients: the others do not notice, and nothing stays behind."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.api.sockets.conftest import Play
from tests.api.sockets.rig import WAIT_S, Rig, read, rig, until

pytestmark = pytest.mark.slow

BIG = "x" * 30_000
MIB = 1 << 20


def fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def numbers(client: ClientConnection, first: int, last: int) -> None:
    for n in range(first, last):
        assert (await read(client))["n"] == n


def test_slow_readers_are_let_go_and_the_others_get_everything(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        async with contextlib.AsyncExitStack() as stack:
            slow = [await running.connect("/ws/transcriptions", max_queue=1) for _ in range(3)]
            quick = [await stack.enter_async_context(running.connect("/ws/transcriptions?call_id=a")) for _ in range(5)]
            for client in slow:
                client.transport.pause_reading()
            dropped = 0.0
            sent = 0
            while dropped < 3:
                for n in range(sent, sent + 40):
                    await running.transcription("a", n=n, text=BIG)
                await asyncio.gather(*(numbers(client, sent, sent + 40) for client in quick))
                sent += 40
                assert sent < 20_000, "nobody was let go"
                dropped = await running.metric("trunkline_socket_clients_dropped_total", reason="slow")
            # those that read again are told why
            for client in slow:
                client.transport.resume_reading()
                with pytest.raises(ConnectionClosed):
                    while True:
                        told = await read(client)
                assert told["code"] == "client.slow"
            await running.transcription("a", n=sent)
            await asyncio.gather(*(numbers(client, sent, sent + 1) for client in quick))

    play(scenario)


def test_a_flood_of_one_client_delays_no_other(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect("/ws/transcriptions") as quiet:
            flooding = await running.connect("/ws/transcriptions?call_id=none", max_queue=1)

            async def flood() -> None:
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await flooding.send('{"type": "ping"}')
                        await asyncio.sleep(0)

            task = asyncio.create_task(flood())
            for n in range(300):
                await running.transcription("a", n=n)
                await numbers(quiet, n, n + 1)
            task.cancel()
            flooding.transport.abort()
            await asyncio.gather(task, return_exceptions=True)

    play(scenario)


def upgrade(port: int) -> socket.socket:
    """A connection behind its handshake, on which anything may be sent."""
    end = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    key = base64.b64encode(os.urandom(16)).decode()
    end.sendall(
        f"GET /ws/transcriptions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert end.recv(4096).startswith(b"HTTP/1.1 101")
    return end


def hostile(chance: random.Random) -> Iterator[bytes]:
    mask = b"\x01\x02\x03\x04"
    yield b"\x81\x02{}"  # not masked
    yield b"\xf1\x80" + mask  # reserved bits
    yield b"\x83\x80" + mask  # an opcode that is none
    yield b"\x80\x80" + mask  # goes on with nothing
    yield b"\x81\xfe\x00\x04" + mask + b"\xfe\xfd\xfc\xfb"  # not UTF-8
    yield b"\x89\xfe\x01\x00" + mask + bytes(256)  # a ping that is too long
    yield b"\x09\x80" + mask  # a ping in pieces
    yield b"\x88\x81" + mask + b"\x00"  # half a close code
    yield b"\x88\x82" + mask + b"\x02\x05"  # 999
    yield b"\x81\xff" + struct.pack(">Q", 1 << 63) + mask
    yield b"\x81\xff" + struct.pack(">Q", 1 << 40) + mask
    yield b"\x01\x80" + mask + b"\x00\x80" + mask * 2
    yield b"\x89\x80" + mask + b"\x8a\x80" + mask
    for _ in range(60):
        yield chance.randbytes(chance.randrange(1, 200))


def test_frames_that_are_none_end_their_own_connection_at_most(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect("/ws/transcriptions") as other:
            before = fds(running.pid)
            ends = []
            for frame in hostile(random.Random(7)):
                end = await asyncio.to_thread(upgrade, running.port)
                with contextlib.suppress(OSError):
                    end.sendall(frame)
                ends.append(end)
            for n in range(20):
                await running.transcription("a", n=n)
            await numbers(other, 0, 20)
            for end in ends:
                end.close()
            await until(lambda: fds(running.pid) <= before)
            assert running.process.returncode is None

    play(scenario)


def test_a_message_in_endless_pieces_is_bounded(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        before = rss_bytes(running.pid)
        end = await asyncio.to_thread(upgrade, running.port)

        def pour() -> None:
            piece = b"\xff" + struct.pack(">Q", 4 * MIB) + b"\0\0\0\0" + b"x" * (4 * MIB)
            with contextlib.suppress(OSError):
                end.sendall(b"\x01" + piece)
                for _ in range(64):
                    end.sendall(b"\x00" + piece)

        await asyncio.to_thread(pour)
        end.close()
        assert rss_bytes(running.pid) - before < 160 * MIB
        async with running.connect("/ws/transcriptions") as client:
            await running.transcription("a", n=1)
            await numbers(client, 1, 2)

    play(scenario)


def test_ten_thousand_clients_leave_nothing_behind() -> None:
    async def scenario(running: Rig) -> None:
        slots = asyncio.Semaphore(50)

        async def one(n: int) -> ClientConnection:
            async with slots:
                path = ("/ws/transcriptions", "/ws/analytics")[n % 2]
                return await running.connect(path + ("" if n % 10 == 0 else f"?call_id=call-{n}"), compression=None)

        async def turn(number: int) -> None:
            clients = await asyncio.gather(*(one(n) for n in range(1000)))
            assert fds(running.pid) >= 1000
            for n in range(0, 1000, 50):
                await running.transcription(f"call-{n}", n=n)
            if number % 3:
                for client in clients:
                    client.transport.abort()
            else:
                await asyncio.gather(*(client.close() for client in clients))
            await until(lambda: fds(running.pid) <= at_rest)

        at_rest = fds(running.pid) + 4  # connections of the store, which come and go
        for number in range(5):
            await turn(number)
        warm, busy = rss_bytes(running.pid), threads(running.pid)
        sizes = []
        for number in range(5, 12):
            await turn(number)
            sizes.append(rss_bytes(running.pid))
        assert threads(running.pid) <= busy + 2  # of pools that were not needed before
        # connections that end as new ones begin stand beside one another: the size goes up and down by some of them, 150 KB each
        assert min(sizes[-4:]) - warm < 64 * MIB, [size // MIB for size in sizes]
        assert await running.metric("trunkline_socket_clients_dropped_total", reason="stalled") == 0

    async def whole() -> None:
        # one arena, given back early: what is left is what is held, not what the allocator keeps
        async with rig(MALLOC_ARENA_MAX="1", MALLOC_TRIM_THRESHOLD_="65536", MALLOC_MMAP_THRESHOLD_="32768") as running:
            await scenario(running)

    asyncio.run(whole())

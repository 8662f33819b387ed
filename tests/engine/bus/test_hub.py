"""The hub: its socket, peers that break the rules, and peers that do not read."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from engine.bus import Busy, Hub, Limits, Message, SocketRefused, open_bus
from engine.bus.frames import (
    Answer,
    Ask,
    Decline,
    Event,
    Frame,
    FrameReader,
    Hello,
    Publish,
    Refuse,
    Subscribe,
    Welcome,
    encode,
)
from engine.bus.hub import check_socket_path, listen
from engine.bus.outbox import WRITE_BUFFER_BYTES
from tests.engine.bus.stations import QUICK, WAIT_S, HubStation, until

Scenario = Callable[[HubStation], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def at_hub(request: pytest.FixtureRequest, short_directory: Path) -> Callable[[Scenario], None]:
    """Runs a scenario at a hub."""

    def run(scenario: Scenario, **limits: Any) -> None:
        async def at_station() -> None:
            station = HubStation(short_directory)
            await station.start(**limits)
            try:
                async with asyncio.timeout(4 * WAIT_S):
                    await scenario(station)
            finally:
                await station.close()

        loop = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(at_station())

    return run


class Peer:
    """A process that speaks the protocol by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = FrameReader(64 << 20)
        self._read: list[Frame] = []

    @classmethod
    async def connect(cls, station: HubStation, name: str | None = None) -> Peer:
        peer = cls(*await asyncio.open_unix_connection(str(station.hub.path)))
        if name is not None:
            await peer.send(Hello(name, 1))
            assert isinstance(await peer.next(), Welcome)
        return peer

    async def send(self, *frames: Frame) -> None:
        await self.send_bytes(b"".join(map(encode, frames)))

    async def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def next(self) -> Frame | None:
        while not self._read:
            data = await self.reader.read(1 << 16)
            if not data:
                return None
            self._read += self._frames.feed(data)
        return self._read.pop(0)

    async def rest(self) -> list[Frame]:
        frames = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
        self.close()
        return frames

    def close(self) -> None:
        self.writer.transport.abort()


async def echo(message: Message) -> Any:
    return message.read()


async def still_serves(station: HubStation) -> None:
    async with await station.open("left.over") as asker, await station.open("right.over") as target:
        target.serve("echo", echo)
        assert await asker.request("right.over", "echo", 42, WAIT_S) == 42


# ---- the socket ----


def test_the_socket_is_for_its_user_alone(short_directory: Path) -> None:
    path = short_directory / "run" / "bus.sock"
    with listen(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_directory_that_others_may_enter_is_refused(short_directory: Path) -> None:
    (short_directory / "open").mkdir()
    (short_directory / "open").chmod(0o755)
    with pytest.raises(SocketRefused, match="must belong to this user alone"):
        listen(short_directory / "open" / "bus.sock")


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(short_directory: Path) -> None:
    path = short_directory / "bus.sock"
    listen(path).close()
    assert path.exists()
    with listen(path), pytest.raises(SocketRefused, match="another hub listens"):
        listen(path)


def test_a_file_that_is_no_socket_is_left_alone(short_directory: Path) -> None:
    path = short_directory / "bus.sock"
    path.write_text("precious")
    with pytest.raises(SocketRefused, match="is no socket"):
        listen(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_named_with_its_length(tmp_path: Path) -> None:
    longest = Path("/" + "x" * 106)
    assert check_socket_path(longest) == longest
    with pytest.raises(SocketRefused, match="has 108 bytes and the system takes 107"):
        check_socket_path(Path("/" + "x" * 107))
    with pytest.raises(SocketRefused, match="shorter path"):
        listen(tmp_path / ("y" * 100) / "bus.sock")
    url = Hub(tmp_path / ("z" * 120)).url
    with pytest.raises(SocketRefused, match="shorter path"):
        asyncio.run(open_bus(url, "api.0", msgspec.structs.replace(QUICK, connect_s=0.1)))


def test_a_directory_with_odd_characters_is_reached_by_its_url(short_directory: Path) -> None:
    async def scenario() -> None:
        hub = Hub(short_directory / "a b%20#?ü" / "bus.sock")
        await hub.start()
        async with await open_bus(hub.url, "api.0") as bus:
            assert bus.connected
        await hub.close()
        assert not hub.path.exists()

    asyncio.run(scenario())


def test_closing_leaves_the_socket_of_a_successor(short_directory: Path) -> None:
    async def scenario() -> None:
        first, second = Hub(short_directory / "bus.sock"), Hub(short_directory / "bus.sock")
        await first.start()
        os.unlink(first.path)
        await second.start()
        await first.close()
        async with await open_bus(second.url, "api.0"):
            pass
        await second.close()

    asyncio.run(scenario())


# ---- peers that break the rules ----

GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack(">I", 0xFFFFFFFF),
    struct.pack(">I", 3) + b"\xff\xff\xff",
    struct.pack(">I", 100_000) + b"\x91" * 100_000,
    encode(Welcome(1)),
    encode(Ask(1, "worker.0", "echo", b"")),
    encode(Hello("bad name", 1)),
    encode(Hello("worker.7", 99)),
    encode(Hello("worker.0", 1)),
]
NAMED_GARBAGE = [
    struct.pack(">I", 1 << 30),
    encode(Hello("twice", 1)),
    encode(Ask(1, "worker.0", "no\nsubject", b"")),
    encode(Ask(1, "worker.0", "wait", b"")) * 2,
    encode(Publish("*", b"")),
    encode(Subscribe("**")),
    encode(Publish("large", bytes(3000))),
    encode(Event("api.0", "forged", b"")),
]


def test_garbage_ends_its_own_connection_and_no_other(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        asker, target = await station.open("api.0"), await station.open("worker.0")
        target.serve("echo", echo)

        async def wait(message: Message) -> None:
            await asyncio.sleep(WAIT_S)

        target.serve("wait", wait)
        for garbage in GARBAGE:
            peer = await Peer.connect(station)
            await peer.send_bytes(garbage)
            (refusal,) = await peer.rest()
            assert isinstance(refusal, Refuse), garbage
            assert await asker.request("worker.0", "echo", 1, WAIT_S) == 1
        for garbage in NAMED_GARBAGE:
            peer = await Peer.connect(station, "intruder")
            await peer.send_bytes(garbage)
            assert isinstance((await peer.rest())[-1], Refuse), garbage
            assert await asker.request("worker.0", "echo", 1, WAIT_S) == 1
            await until(lambda: "intruder" not in station.hub.by_name)
        assert asker.connected
        assert set(station.hub.by_name) == {"api.0", "worker.0"}

    at_hub(scenario, payload_bytes=2000)


def test_a_peer_that_does_not_name_itself_is_let_go(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        peer = await Peer.connect(station)
        await peer.send_bytes(b"\x00\x00")
        assert await peer.rest() == []

    at_hub(scenario, handshake_s=0.05)


def test_answers_to_what_nobody_asked_are_ignored(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        asker = await station.open("api.0")
        honest, liar = await Peer.connect(station, "honest"), await Peer.connect(station, "liar")
        answer = asyncio.create_task(asker.request("honest", "x", None, WAIT_S))
        question = await honest.next()
        assert isinstance(question, Ask)
        assert question.peer == "api.0"
        await liar.send(*(Answer(number, b"\x01") for number in range(question.number + 5)))
        await liar.send(Ask(9, "liar", "self", b""))
        assert await liar.next()
        await honest.send(Answer(question.number, b"\x02"), Answer(question.number, b"\x03"))
        assert await answer == 2
        liar.close()
        honest.close()

    at_hub(scenario)


def test_damaged_streams_never_harm_the_hub(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        chance = random.Random(7)
        target = await station.open("worker.0")
        target.serve("echo", echo)
        frames: list[Frame] = [
            Hello("fuzz", 1), Subscribe("#"), Publish("a.b", b"\x01"), Ask(1, "worker.0", "echo", b"\x01"),
            Answer(1, b"\x01"), Decline(2, "bus.busy", "no"),
        ]  # fmt: skip
        for _ in range(400):
            stream = bytearray(encode(frames[0]) if chance.random() < 0.9 else b"")
            for _ in range(chance.randint(1, 8)):
                stream += encode(chance.choice(frames[1:]))
            for _ in range(chance.randint(0, 5)):
                stream[chance.randrange(len(stream))] = chance.randrange(256)
            peer = await Peer.connect(station)
            await peer.send_bytes(bytes(stream))
            if chance.random() < 0.5:
                peer.close()
            else:
                peer.writer.write_eof()
                await peer.rest()
                peer.close()
        await still_serves(station)
        await until(lambda: set(station.hub.by_name) == {"worker.0"} and station.hub.routes == 0)
        assert len(station.hub.connections) == 1

    at_hub(scenario)


# ---- peers that do not read ----


def test_a_stalled_subscriber_costs_bounded_memory_and_delays_nobody(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        stalled = await Peer.connect(station, "stalled")
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stalled.send(Subscribe("tick"))
        await until(lambda: station.hub.by_name["stalled"].patterns == {"tick"})
        heard: list[int] = []

        async def listen(message: Message) -> None:
            heard.append(message.read()[0])

        publisher, other = await station.open("worker.0"), await station.open("api.0")
        await other.subscribe("tick", listen)
        padding = bytes(20_000)
        for number in range(500):
            await publisher.publish("tick", (number, padding))
        await until(lambda: len(heard) == 500)
        outbox = station.hub.by_name["stalled"].outbox
        assert outbox.waiting <= 50
        assert outbox.waiting_bytes <= 400_000
        assert station.hub.dropped("stalled") > 300
        assert outbox._transport.get_write_buffer_size() <= WRITE_BUFFER_BYTES + 30_000
        stalled.writer.transport.resume_reading()  # type: ignore[attr-defined]
        numbers: list[int] = []
        while not numbers or numbers[-1] != 499:
            frame = await stalled.next()
            if isinstance(frame, Event):
                numbers.append(msgspec.msgpack.decode(frame.body)[0])
        assert len(numbers) == 500 - station.hub.dropped("stalled")
        assert numbers == sorted(numbers)
        stalled.close()

    at_hub(scenario, queue_messages=50, queue_bytes=400_000)


def test_what_the_hub_dropped_is_counted_by_the_subscriber(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        publisher, slow = await station.open("worker.0"), await station.open("api.0", queue_messages=10_000)
        heard: list[int] = []

        async def listen(message: Message) -> None:
            heard.append(message.read()[0])

        await slow.subscribe("tick", listen)
        transport: Any = slow._link._transport  # type: ignore[union-attr]
        transport.pause_reading()
        padding = bytes(20_000)
        for number in range(500):
            await publisher.publish("tick", (number, padding))
        await until(lambda: station.hub.dropped("api.0") > 300)
        transport.resume_reading()
        await until(lambda: heard and heard[-1] == 499)
        assert len(heard) + slow.dropped == 500
        assert slow.dropped == station.hub.dropped("api.0")

    at_hub(scenario, queue_messages=50)


def test_requests_to_a_stalled_target_are_refused(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        stalled = await Peer.connect(station, "stalled")
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        asker = await station.open("api.0")
        waiting = [
            asyncio.create_task(asker.request("stalled", "x", bytes(100_000), 10 * WAIT_S)) for _ in range(60)
        ]
        await until(lambda: sum(task.done() for task in waiting) + station.hub.routes == 60)
        refused = [task for task in waiting if task.done()]
        assert refused
        assert all(isinstance(task.exception(), Busy) for task in refused)
        stalled.close()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(end).__name__ for end in ends} == {"Busy", "TargetGone"}
        await until(lambda: station.hub.routes == 0)
        await still_serves(station)

    at_hub(scenario, queue_messages=20)


def test_a_peer_that_asks_and_never_reads_is_let_go(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        greedy = await Peer.connect(station, "greedy")
        greedy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        number = 0
        with pytest.raises(OSError):
            while True:
                number += 1
                await greedy.send(Ask(number, "nobody", "x", b""))
                await asyncio.sleep(0)
        await until(lambda: "greedy" not in station.hub.by_name)
        await still_serves(station)

    at_hub(scenario, queue_messages=4)


def test_a_forgotten_request_leaves_no_route(at_hub: Callable[..., None]) -> None:
    async def scenario(station: HubStation) -> None:
        silent = await Peer.connect(station, "silent")
        asker = await station.open("api.0")
        for _ in range(5):
            with pytest.raises(Exception, match="did not answer"):
                await asker.request("silent", "x", None, 0.01)
        await until(lambda: station.hub.routes == 0)
        silent.close()

    at_hub(scenario)


def test_a_process_that_is_killed_is_noticed(short_directory: Path) -> None:
    async def scenario() -> None:
        hub = Hub(short_directory / "bus.sock", Limits())
        await hub.start()
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, str(hub.path))
        client.send(encode(Hello("worker.0", 1)))
        await until(lambda: "worker.0" in hub.by_name)
        client.close()
        await until(lambda: "worker.0" not in hub.by_name)
        await hub.close()

    asyncio.run(scenario())

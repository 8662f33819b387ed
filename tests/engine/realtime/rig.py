"""What publishing is tested with: a way to the broker that can break, a reader of the queue, and events that say which they are."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika

from engine.config.document import Realtime
from engine.realtime.messages import Event, event_of
from engine.realtime.publisher import Publisher
from engine.realtime.spool import Spool
from tests.engine.bus.stations import BrokerStation

WAIT_S = 60.0
MIB = 1 << 20
QUICK = (0.02, 0.2)


class Relay(BrokerStation):
    """RabbitMQ behind a relay that breaks, hangs and mends."""

    def __init__(self, broker_url: str) -> None:
        super().__init__(broker_url, "unused")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}/"


@asynccontextmanager
async def relay(broker_url: str) -> AsyncIterator[Relay]:
    """A relay that is whole."""
    made = Relay(broker_url)
    await made.start()
    try:
        yield made
    finally:
        made.go_on()
        await made.close()


def settings(**changes: Any) -> Realtime:
    """Settings with a queue of their own."""
    told: dict[str, Any] = {"enabled": True, "queue": f"q-{secrets.token_hex(6)}", "batch_timeout_s": 0.02, "confirm_timeout_s": 5.0, **changes}
    return Realtime(**told)


def publisher(folder: Path, chosen: Realtime, url: str, size: int = 64 * MIB, **options: Any) -> Publisher:
    """A publisher whose pauses are short."""
    made: dict[str, Any] = {"new_id": lambda: secrets.token_hex(16), "random": random.Random(1).random, "pause_s": QUICK, **options}
    return Publisher(Spool(folder, size), chosen, url, **made)


def event(n: int, calls: int = 5, at: float = 0.0, size: int = 0) -> Event:
    """The n-th event: of call n modulo `calls`."""
    call_id = f"call-{n % calls}"
    payload = {"message_id": f"m-{n}", "call_id": call_id, "event_type": "final_transcript", "n": n, "text": "x" * size}
    return event_of(payload, at, lambda: "unused")


class Reader:
    """Everything that comes out of a queue, one document after the other, and the messages they came in."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.messages: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        told = json.loads(message.body)
        self.messages.append(message)
        if message.type == "batch":
            assert told["message_count"] == len(told["messages"])
            self.documents += told["messages"]
        else:
            self.documents.append(told)
        await message.ack()

    @property
    def ids(self) -> set[str]:
        return {document["message_id"] for document in self.documents}

    def first_times(self) -> list[dict[str, Any]]:
        """Without what came again."""
        seen: dict[str, dict[str, Any]] = {}
        for document in self.documents:
            seen.setdefault(document["message_id"], document)
        return list(seen.values())

    def check(self, numbers: Iterable[int]) -> None:
        """All of these came, and those of each call in their order; what came again is what it was."""
        expected = sorted(numbers)
        firsts = self.first_times()
        assert sorted(document["n"] for document in firsts) == expected
        by_call: dict[str, list[int]] = {}
        for document in firsts:
            by_call.setdefault(document["call_id"], []).append(document["n"])
        for call_id, found in by_call.items():
            assert found == sorted(found), call_id
        same = {document["message_id"]: document for document in firsts}
        assert all(document == same[document["message_id"]] for document in self.documents)


@asynccontextmanager
async def reading(broker_url: str, queue: str, arguments: dict[str, Any] | None = None) -> AsyncIterator[Reader]:
    """A reader of a queue, which is there once a publisher or `arguments` made it."""
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=200)
        where = await channel.declare_queue(queue, durable=True, passive=arguments is None, arguments=arguments)
        reader = Reader()
        await where.consume(reader.take)
        yield reader


async def until(condition: Callable[[], Any], what: Callable[[], Any] = lambda: "") -> None:
    """Returns when `condition()` holds; fails the test when it never does."""
    try:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it never came to that: {what()}") from None


def played(scenario: Callable[[], Awaitable[None]]) -> None:
    """Runs a scenario within its time."""

    async def within() -> None:
        async with asyncio.timeout(3 * WAIT_S):
            await scenario()

    asyncio.run(within())


__all__ = ["MIB", "QUICK", "WAIT_S", "Reader", "Relay", "event", "played", "publisher", "reading", "relay", "settings", "until"]

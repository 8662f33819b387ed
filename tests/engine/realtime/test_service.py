"""The service in a keeper: what it takes, what it says of itself, and what a reload, an erasure and its end do."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aio_pika
import msgspec
import pytest

from engine.bus import Hub, open_bus
from engine.config import Config
from engine.config.document import Realtime
from engine.keeping import Keeping
from engine.realtime.publisher import Stats
from engine.realtime.service import STATS_SUBJECT, RealtimeService
from engine.siprec.events import ANALYTICS_TOPIC, TRANSCRIPTION_TOPIC, LiveMessage
from tests.engine.realtime.rig import Relay, played, reading, relay, settings, until

pytestmark = pytest.mark.slow


def document(n: int, call_id: str = "call", kind: str = "final_transcript") -> dict[str, Any]:
    return {"message_id": f"m-{n}", "call_id": call_id, "event_type": kind, "n": n}


class Rig:
    """A keeper's things, with nothing in them but this service."""

    def __init__(self, keeping: Keeping) -> None:
        self.keeping = keeping
        self.service = RealtimeService(keeping, look_s=0.01)

    def reload(self, chosen: Realtime) -> None:
        self.keeping.config = msgspec.structs.replace(self.keeping.config, realtime=chosen)

    @property
    def status(self) -> str:
        told = self.service.checks().get("amqp")
        return told.status if told is not None else ""

    async def connected(self) -> None:
        await until(lambda: self.status == "healthy", self.service.checks)


@asynccontextmanager
async def rig(folder: Path, chosen: Realtime) -> AsyncIterator[Rig]:
    place = Path(tempfile.mkdtemp(prefix="tl-"))
    hub = Hub(place / "hub")
    await hub.start()
    try:
        async with await open_bus(hub.url, "keeper") as bus:

            async def announce(topic: str, payload: Any) -> None:
                await bus.publish(topic, payload)

            config = msgspec.structs.replace(Config(), realtime=chosen)
            made = Rig(Keeping(config, folder, bus, lambda: None, time.time, cast("Any", None), announce))
            await made.service.start()
            try:
                yield made
            finally:
                await made.service.close()
    finally:
        await hub.close()
        shutil.rmtree(place)


async def queue_made(url: str, name: str) -> None:
    """Waits for a publisher to have made its queue."""

    async def there() -> bool:
        async with await aio_pika.connect(url) as connection:
            try:
                await (await connection.channel()).declare_queue(name, passive=True)
            except aio_pika.exceptions.ChannelClosed:
                return False
            return True

    while not await there():
        await asyncio.sleep(0.02)


def test_what_the_keeper_tells_is_published_as_it_was_said(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(url=broker_url, batch_size=1, partial_transcripts=False)
        async with rig(tmp_path, chosen) as made:
            await made.connected()
            async with reading(broker_url, chosen.queue) as reader:
                snapshot = {"type": "snapshot", "call_id": "call", "timestamp": "2026-01-01T00:00:00.000Z", "data": {"keywords": ["refund"]}}
                for listener in made.keeping.listeners:
                    listener(TRANSCRIPTION_TOPIC, LiveMessage(call_id="call", document=document(1)))
                    listener(TRANSCRIPTION_TOPIC, LiveMessage(call_id="call", document=document(2, kind="partial_transcript")))
                    listener(ANALYTICS_TOPIC, LiveMessage(call_id="call", document=snapshot))
                snapshot["data"]["keywords"].append("changed")  # type: ignore[index]
                await until(lambda: len(reader.documents) == 2)
                assert reader.documents[0] == document(1)
                message_id = reader.documents[1].pop("message_id")
                assert len(message_id) == 32
                assert reader.messages[1].message_id == message_id
                assert reader.documents[1]["data"] == {"keywords": ["refund"]}
                # flags are those in force
                made.reload(msgspec.structs.replace(chosen, partial_transcripts=True, final_transcripts=False))
                made.service.offer(document(3))
                made.service.offer(document(4, kind="partial_transcript"))
                await until(lambda: len(reader.documents) == 3)
                assert reader.documents[2]["n"] == 4
            await until(lambda: made.service.stats().queued == 0)
            told = await made.keeping.bus.request("keeper", STATS_SUBJECT, shape=Stats)
            assert (told.total, told.published, told.dropped, told.last_error) == (3, 3, 0, "")
            assert told.last_publish_time is not None

    played(scenario)


def test_it_never_raises_whatever_it_is_offered(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(url=broker_url, batch_size=1)
        async with rig(tmp_path, chosen) as made:
            await made.connected()
            strange: list[dict[str, Any]] = [{"a": object()}, {"text": "x" * (2 << 20)}, {"call_id": 7, "event_type": None}, {}, {"text": "\ud800"}]
            for payload in strange:
                made.service.offer(payload)
            made.service.offer(document(1))
            async with reading(broker_url, chosen.queue) as reader:
                await until(lambda: any(told.get("n") == 1 for told in reader.documents))
            assert made.service.stats().dropped == 3
            assert made.status == "degraded"

    played(scenario)


def test_health_tells_how_much_waits_and_whether_some_was_lost(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            await way.break_off()
            chosen = settings(url=way.url, spool_max_bytes=1 << 16)
            async with rig(tmp_path, chosen) as made:
                for n in range(20):
                    made.service.offer(document(n))
                await until(lambda: made.status == "degraded" and "127.0.0.1" in made.service.checks()["amqp"].message)
                assert "20 messages wait" in made.service.checks()["amqp"].message
                for n in range(20, 5000):
                    made.service.offer(document(n))
                assert made.status == "unhealthy"
                lost = made.service.stats().dropped
                assert f"{lost} were dropped" in made.service.checks()["amqp"].message
                await way.mend()
                await until(lambda: made.service.stats().queued == 0, made.service.stats)
                assert made.service.stats().published + lost == 5000
                assert made.status == "degraded"

    played(scenario)


def test_switched_off_it_takes_nothing_and_keeps_what_waits(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            chosen = settings(url=way.url)
            off = msgspec.structs.replace(chosen, enabled=False)
            async with rig(tmp_path, off) as made:
                made.service.offer(document(0))
                assert made.service.checks() == {}
                await way.break_off()
                made.reload(chosen)
                await until(lambda: made.status != "" and "not begun" not in made.service.checks()["amqp"].message)
                for n in range(1, 11):
                    made.service.offer(document(n, call_id=f"call-{n % 2}"))
                made.reload(off)
                await until(lambda: made.service._publisher is None)
                made.service.offer(document(99))
                assert await made.keeping.erasers[0](frozenset({"call-1"})) == ()
                await way.mend()
                made.reload(chosen)
                await made.connected()
                async with reading(broker_url, chosen.queue) as reader:
                    await until(lambda: len(reader.documents) == 5)
                    reader.check([2, 4, 6, 8, 10])

    played(scenario)


def test_a_new_queue_of_a_reload_loses_nothing_on_the_way(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = settings(url=broker_url), settings(url=broker_url)
        async with rig(tmp_path, first) as made:
            await made.connected()
            stop = asyncio.Event()
            sent = 0

            async def talk() -> None:
                nonlocal sent
                while not stop.is_set():
                    made.service.offer(document(sent))
                    sent += 1
                    await asyncio.sleep(0)

            talking = asyncio.create_task(talk())
            await until(lambda: sent > 200)
            made.reload(second)
            await queue_made(broker_url, second.queue)
            await until(lambda: made.service.stats().published > 300)
            stop.set()
            await talking
            await until(lambda: made.service.stats().queued == 0)
            async with reading(broker_url, first.queue) as one, reading(broker_url, second.queue) as two:
                await until(lambda: one.ids | two.ids == {f"m-{n}" for n in range(sent)})
                one.documents += two.documents
                one.check(range(sent))
            assert made.service.stats().dropped == 0

    played(scenario)


def test_an_erasure_takes_what_waits_of_a_call(broker_url: str, tmp_path: Path) -> None:
    async def scenario(way: Relay) -> None:
        await way.break_off()
        chosen = settings(url=way.url)
        async with rig(tmp_path, chosen) as made:
            for n in range(100):
                made.service.offer(document(n, call_id=f"secret-{n % 4}"))
            assert await made.keeping.erasers[0](frozenset({"secret-1", "secret-2"})) == ()
            content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
            assert b"secret-1" not in content
            assert b"secret-2" not in content
            assert b"secret-3" in content
            await way.mend()
            await made.connected()
            async with reading(broker_url, chosen.queue) as reader:
                await until(lambda: len(reader.ids) == 50)
                reader.check(n for n in range(100) if n % 4 in (0, 3))

    async def whole() -> None:
        async with relay(broker_url) as way:
            await scenario(way)

    played(whole)


def test_two_keepers_do_not_share_a_spool(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(url=broker_url)
        async with rig(tmp_path, chosen) as first:
            await first.connected()
            async with rig(tmp_path, chosen) as second:
                assert second.status == "unhealthy"
                assert "another process" in second.service.checks()["amqp"].message
                second.service.offer(document(1))
                assert second.service.stats().dropped == 1
                await first.service.close()
                await until(lambda: second.service.checks()["amqp"].message == "0 messages wait, 1 were dropped")

    played(scenario)

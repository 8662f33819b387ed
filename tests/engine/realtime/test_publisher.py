"""Publishing to a real RabbitMQ: what arrives, in which order, and what becomes of it while the broker is away."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import msgspec
import pytest
from aio_pika.abc import DeliveryMode

from tests.engine.realtime.rig import MIB, WAIT_S, event, played, publisher, reading, relay, settings, until
from tests.running import ROOT

pytestmark = pytest.mark.slow


def documents_in(body: bytes) -> list[object]:
    found: list[object] = json.loads(body)["messages"]
    return found


def test_each_event_is_a_message_with_its_own_id_where_they_are_not_batched(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(batch_size=1)
        made = publisher(tmp_path, chosen, broker_url)
        made.start()
        await until(lambda: not made.away, lambda: made.away)
        async with reading(broker_url, chosen.queue) as reader:
            for n in range(500):
                assert made.offer(event(n, at=1_700_000_000.0 + n))
            await until(lambda: len(reader.documents) == 500)
            reader.check(range(500))
            await until(lambda: made.waiting == 0)
            for message, document in zip(reader.messages, reader.documents, strict=True):
                assert message.message_id == document["message_id"]
                assert message.content_type == "application/json"
                assert message.delivery_mode == DeliveryMode.PERSISTENT
                assert message.timestamp == datetime.fromtimestamp(1_700_000_000 + document["n"], UTC)
                assert message.type == "final_transcript"
                assert message.headers["x-call-uuid"] == document["call_id"]
        assert (made.stats.total, made.stats.published, made.stats.failed, made.stats.dropped, made.waiting) == (500, 500, 0, 0, 0)
        await made.close(0)

    played(scenario)


def test_batches_are_full_or_late_and_hold_each_document_once(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(batch_size=10, batch_timeout_s=0.05)
        made = publisher(tmp_path, chosen, broker_url, clock=time.time)
        made.start()
        await until(lambda: not made.away, lambda: made.away)
        async with reading(broker_url, chosen.queue) as reader:
            for n in range(1003):
                made.offer(event(n, calls=40, at=time.time()))
            await until(lambda: len(reader.documents) >= 1003)
            reader.check(range(1003))
            assert len(reader.documents) == 1003
            await until(lambda: made.waiting == 0)
            sizes = [len(documents_in(message.body)) for message in reader.messages]
            assert max(sizes) == 10
            assert len({message.message_id for message in reader.messages}) == len(reader.messages) == made.stats.batches_sent
            assert all(message.type == "batch" for message in reader.messages)
        await made.close(0)

    played(scenario)


def test_what_readers_reject_is_kept_as_dead_letters(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(batch_size=1)
        made = publisher(tmp_path, chosen, broker_url)
        made.start()
        made.offer(event(1))
        await until(lambda: made.stats.published == 1)
        async with await aio_pika.connect(broker_url) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(chosen.queue)
            message = await queue.get(timeout=WAIT_S)
            assert message is not None
            await message.reject(requeue=False)
        async with reading(broker_url, f"{chosen.queue}.dead_letter") as dead:
            await until(lambda: bool(dead.documents))
            assert dead.documents[0]["message_id"] == "m-1"
            assert dead.messages[0].headers["x-call-uuid"] == "call-1"
            assert dead.messages[0].headers["x-first-death-reason"] == "rejected"
        await made.close(0)

    played(scenario)


def test_an_exchange_of_the_settings_is_used(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(exchange=f"e-{secrets.token_hex(4)}", routing_key="siprec.realtime")
        made = publisher(tmp_path, chosen, broker_url)
        made.start()
        for n in range(30):
            made.offer(event(n))
        await until(lambda: made.stats.published == 30, lambda: made.away)
        async with reading(broker_url, chosen.queue) as reader:
            await until(lambda: len(reader.documents) == 30)
            reader.check(range(30))
            assert {(message.exchange, message.routing_key) for message in reader.messages} == {(chosen.exchange, "siprec.realtime")}
        await made.close(0)

    played(scenario)


def test_a_queue_that_is_there_with_other_properties_is_used_as_it_is(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings()
        async with reading(broker_url, chosen.queue, {"x-max-length": 100_000}) as reader:
            made = publisher(tmp_path, chosen, broker_url)
            made.start()
            for n in range(30):
                made.offer(event(n))
            await until(lambda: len(reader.documents) == 30, lambda: made.away)
            reader.check(range(30))
            await made.close(0)

    played(scenario)


def test_a_queue_that_is_full_holds_events_back_and_loses_none(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = settings(batch_size=1)
        full = {"x-max-length": 5, "x-overflow": "reject-publish"}
        async with await aio_pika.connect(broker_url) as connection:
            await (await connection.channel()).declare_queue(chosen.queue, durable=True, arguments=full)
        made = publisher(tmp_path, chosen, broker_url)
        made.start()
        for n in range(200):
            made.offer(event(n, calls=7))
        await until(lambda: made.stats.failed > 20, lambda: made.away)
        assert not made.away
        assert made.waiting >= 190
        async with reading(broker_url, chosen.queue, full) as reader:
            await until(lambda: made.waiting == 0, lambda: made.stats)
            await until(lambda: len(reader.ids) == 200)
            reader.check(range(200))
        assert made.stats.retry_attempts > 0
        await made.close(0)

    played(scenario)


def test_an_outage_costs_nothing_but_time(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            chosen = settings(batch_size=10)
            made = publisher(tmp_path, chosen, way.url)
            made.start()
            await until(lambda: not made.away, lambda: made.away)
            async with reading(broker_url, chosen.queue) as reader:
                for n in range(300):
                    made.offer(event(n, calls=23))
                    if n == 150:
                        await way.break_off()
                    await asyncio.sleep(0)
                # more than the window in memory holds
                for n in range(300, 6000):
                    made.offer(event(n, calls=23))
                await until(lambda: bool(made.away))
                assert made.waiting > 5000
                await way.mend()
                await until(lambda: made.waiting == 0, lambda: (made.stats, made.away))
                await until(lambda: len(reader.ids) == 6000)
                reader.check(range(6000))
            assert made.stats.dropped == 0
            assert not list(tmp_path.glob("*.spool")) or made._spool.bytes < MIB
            await made.close(0)
            assert not list(tmp_path.glob("*.spool"))

    played(scenario)


def test_twenty_outages_while_events_come_lose_nothing_and_leave_nothing_stuck(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            chosen = settings(batch_size=5, confirm_timeout_s=0.3)
            made = publisher(tmp_path, chosen, way.url)
            made.start()
            await until(lambda: not made.away, lambda: made.away)
            sent = 0
            stop = asyncio.Event()

            async def talk() -> None:
                nonlocal sent
                while not stop.is_set():
                    made.offer(event(sent, calls=11))
                    sent += 1
                    await asyncio.sleep(0.001)

            talking = asyncio.create_task(talk())
            async with reading(broker_url, chosen.queue) as reader:
                tasks = descriptors = 0
                for turn in range(20):
                    published = made.stats.published
                    await until(lambda: made.stats.published > published + 20, lambda: (made.stats, made.away))  # noqa: B023
                    if turn % 4 == 3:
                        way.hang()  # a broker that says nothing more
                        await until(lambda: bool(made.away))
                        way.go_on()
                    else:
                        await way.break_off()
                        await until(lambda: bool(made.away))
                        await way.mend()
                    if turn == 4:
                        tasks, descriptors = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
                stop.set()
                await talking
                await until(lambda: made.waiting == 0, lambda: (made.stats, made.away))
                await until(lambda: len(reader.ids) == sent)
                reader.check(range(sent))
                assert made.stats.dropped == 0
                assert len(asyncio.all_tasks()) <= tasks + 10
                assert len(os.listdir("/proc/self/fd")) <= descriptors + 6
            await made.close(0)

    played(scenario)


TALKER = """
import asyncio, sys
from pathlib import Path
import msgspec
from engine.config.document import Realtime
from tests.engine.realtime.rig import event, publisher

async def main():
    chosen = msgspec.json.decode(sys.argv[3], type=Realtime)
    made = publisher(Path(sys.argv[1]), chosen, sys.argv[2])
    made.start()
    n = int(sys.argv[4])
    while True:
        assert made.offer(event(n, calls=13))
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()
        n += 1
        await asyncio.sleep(0.0005)

asyncio.run(main())
"""


def test_what_was_accepted_outlasts_a_process_killed_in_the_outage(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            chosen = settings(batch_size=10)
            accepted = 0
            for turn in range(3):
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", TALKER, str(tmp_path), way.url, msgspec.json.encode(chosen).decode(), str(accepted), cwd=ROOT,
                    stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
                assert process.stdout is not None
                first = accepted
                while accepted < first + 400:
                    accepted = int(await process.stdout.readline()) + 1
                    if accepted == first + 200:
                        await way.break_off()
                process.send_signal(signal.SIGKILL)
                rest = [line for line in (await process.stdout.read()).split(b"\n")[:-1] if line]
                await process.wait()
                accepted = int(rest[-1]) + 1 if rest else accepted
                await way.mend()
                assert turn < 3
            made = publisher(tmp_path, chosen, way.url)
            assert made.waiting > 0
            made.start()
            await until(lambda: not made.away, lambda: made.away)
            async with reading(broker_url, chosen.queue) as reader:
                await until(lambda: set(range(accepted)) <= {document["n"] for document in reader.documents}, lambda: (made.stats, made.away))
                await until(lambda: made.waiting == 0)
                # the process may have taken one more than it could say
                reader.check({document["n"] for document in reader.documents} | set(range(accepted)))
                assert max(document["n"] for document in reader.documents) <= accepted
            await made.close(0)

    played(scenario)


def test_a_spool_that_is_full_drops_the_oldest_and_says_how_many(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            chosen = settings(batch_size=10)
            await way.break_off()
            made = publisher(tmp_path, chosen, way.url, size=512 << 10)
            made.start()
            count = 6000
            for n in range(count):
                made.offer(event(n, calls=9, size=300))
                if n % 100 == 0:
                    await asyncio.sleep(0)
                assert made._spool.bytes <= 512 << 10
            assert made.stats.dropped > 0
            await way.mend()
            await until(lambda: not made.away, lambda: made.away)
            async with reading(broker_url, chosen.queue) as reader:
                await until(lambda: made.waiting == 0, lambda: made.stats)
                await until(lambda: len(reader.ids) == made.stats.published)
                found = {document["n"] for document in reader.documents}
                reader.check(found)
                assert len(found) + made.stats.dropped == count
                assert found >= set(range(count - 500, count))
            await made.close(0)

    played(scenario)


def test_events_of_a_call_that_is_forgotten_are_not_published(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            chosen = settings(batch_size=10)
            await way.break_off()
            made = publisher(tmp_path, chosen, way.url)
            made.start()
            for n in range(5000):
                made.offer(event(n, calls=10))
            assert await made.forget(frozenset({"call-3", "call-4", "unknown"})) == 1000
            for path in tmp_path.iterdir():
                assert b"call-3" not in path.read_bytes(), path
            await way.mend()
            await until(lambda: not made.away, lambda: made.away)
            async with reading(broker_url, chosen.queue) as reader:
                await until(lambda: made.waiting == 0, lambda: made.stats)
                await until(lambda: len(reader.ids) == 4000)
                reader.check(n for n in range(5000) if n % 10 not in (3, 4))
                for n in range(5000, 5010):
                    made.offer(event(n, calls=10))
                await until(lambda: len(reader.ids) == 4010)
            await made.close(0)

    played(scenario)


def test_closing_publishes_what_waits_for_its_batch_and_keeps_the_rest(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with relay(broker_url) as way:
            chosen = settings(batch_size=1000, batch_timeout_s=60)
            made = publisher(tmp_path, chosen, way.url, clock=lambda: 0.0)
            made.start()
            await until(lambda: not made.away, lambda: made.away)
            for n in range(50):
                made.offer(event(n))
            await made.close(WAIT_S)
            assert made.stats.published == 50
            async with reading(broker_url, chosen.queue) as reader:
                await until(lambda: len(reader.documents) == 50)
                await way.break_off()
                away = publisher(tmp_path, chosen, way.url)
                away.start()
                for n in range(50, 100):
                    away.offer(event(n))
                await away.close(WAIT_S)
                await way.mend()
                again = publisher(tmp_path, chosen, way.url)
                assert again.waiting == 50
                again.start()
                await until(lambda: not again.away, lambda: again.away)
                await again.close(WAIT_S)
                await until(lambda: len(reader.documents) == 100)
                reader.check(range(100))

    played(scenario)


def test_a_password_is_in_no_error(broker_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        for url in (broker_url.replace("guest:guest", "guest:hidden"), "amqp://guest:hidden@[::", "amqp://guest:hidden@127.0.0.1:1/", "http://hidden", ""):
            made = publisher(tmp_path, settings(), url)
            made.start()
            await until(lambda: made.stats.last_error != "")  # noqa: B023
            assert "hidden" not in made.stats.last_error
            assert made.offer(event(1))
            await made.close(0)

    played(scenario)


def test_a_disk_that_takes_nothing_does_not_stop_what_the_broker_takes(broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chosen = settings(batch_size=1)
        made = publisher(tmp_path, chosen, broker_url)
        made.start()
        await until(lambda: not made.away, lambda: made.away)

        def full(content: bytes) -> int:
            raise OSError(28, "No space left on device")

        async with reading(broker_url, chosen.queue) as reader:
            made.offer(event(0))
            monkeypatch.setattr(made._spool, "append", full)
            for n in range(1, 100):
                made.offer(event(n))
            assert made.disk_problem == "No space left on device"
            await until(lambda: len(reader.ids) == 100, lambda: made.stats)
            monkeypatch.undo()
            made.offer(event(100))
            assert made.disk_problem == ""
            await until(lambda: len(reader.ids) == 101)
            reader.check(range(101))
            await until(lambda: made.waiting == 0)
        await made.close(0)

    played(scenario)


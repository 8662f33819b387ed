"""What only a broker can do to the bus."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import msgspec
import pytest

from engine.bus import Busy, Disconnected, Message, RequestTimeout, UnknownTarget, open_bus
from tests.engine.bus.stations import QUICK, WAIT_S, BrokerStation, until

pytestmark = pytest.mark.slow


async def echo(message: Message) -> Any:
    return message.read()


def prefixed(url: str, more: str = "") -> str:
    return f"{url}?prefix=t{secrets.token_hex(6)}{more}"


def test_a_wrong_password_is_an_error_that_does_not_tell_it(broker_url: str) -> None:
    port = urlsplit(broker_url).port
    with pytest.raises(Disconnected, match=f"127.0.0.1:{port}") as error:
        asyncio.run(open_bus(f"amqp://guest:hidden@127.0.0.1:{port}/", "api.0", msgspec.structs.replace(QUICK, connect_s=0.1)))
    assert "hidden" not in str(error.value)


def test_a_prefix_that_is_no_name_is_refused(broker_url: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        asyncio.run(open_bus(f"{broker_url}?prefix=a%20b", "api.0", QUICK))


def test_installations_with_different_prefixes_do_not_meet(broker_url: str) -> None:
    async def scenario() -> None:
        heard: list[int] = []

        async def listen(message: Message) -> None:
            heard.append(message.read())

        one, other = prefixed(broker_url), prefixed(broker_url)
        async with (
            await open_bus(one, "api.0", QUICK) as here,
            await open_bus(other, "api.0", QUICK) as there,
            await open_bus(other, "worker.0", QUICK) as target,
        ):
            target.serve("echo", echo)
            await target.subscribe("#", listen)
            with pytest.raises(UnknownTarget):
                await here.request("worker.0", "echo", 1)
            await here.publish("tick", 1)
            await there.publish("tick", 2)
            assert await there.request("worker.0", "echo", 3, WAIT_S) == 3
            await until(lambda: heard == [2])

    asyncio.run(scenario())


def test_messages_of_strangers_do_no_harm(broker_url: str) -> None:
    async def scenario() -> None:
        url = prefixed(broker_url)
        prefix = url.partition("prefix=")[2]
        async with await open_bus(url, "worker.0", QUICK) as target, await open_bus(url, "api.0", QUICK) as asker:
            target.serve("echo", echo)
            replies = asker._link._replies.name  # type: ignore[union-attr]
            async with await aio_pika.connect(broker_url) as connection:
                channel = await connection.channel()
                for queue in (f"{prefix}.inbox.worker.0", replies):
                    for message in (
                        aio_pika.Message(b""),
                        aio_pika.Message(b"\xff", type="ask"),
                        aio_pika.Message(b"\xff", type="ask", reply_to="nobody", headers={"subject": 5}),
                        aio_pika.Message(b"\xff", type="ask", reply_to="nobody", headers={"subject": "echo"}),
                        aio_pika.Message(b"\xff", type="probe", reply_to=replies),
                        aio_pika.Message(b"\xff", type="answer", correlation_id="ä"),
                        aio_pika.Message(b"\xff", type="fail", correlation_id="9" * 50, headers={"code": 7}),
                    ):
                        await channel.default_exchange.publish(message, queue)
            answers = await asyncio.gather(*(asker.request("worker.0", "echo", n, WAIT_S) for n in range(50)))
            assert answers == list(range(50))
            assert target.connected
            assert asker.connected

    asyncio.run(scenario())


def test_a_connection_that_hangs_is_given_up_and_made_again(broker_url: str) -> None:
    async def scenario() -> None:
        station = BrokerStation(broker_url, f"t{secrets.token_hex(6)}")
        await station.start()
        bus = await station.open("api.0", query="&heartbeat=1", confirm_s=0.2)
        bus.serve("echo", echo)
        assert await bus.request("api.0", "echo", 1, WAIT_S) == 1
        station.hang()
        with pytest.raises(RequestTimeout, match=r"api\.0 did not answer echo within 0\.1 s"):
            await bus.request("api.0", "echo", 1, 0.1)
        with pytest.raises(RequestTimeout, match="did not confirm"):
            await bus.publish("tick")
        await until(lambda: not bus.connected)
        station.go_on()
        await until(lambda: bus.connected)
        assert await bus.request("api.0", "echo", 2, WAIT_S) == 2
        await station.close()

    asyncio.run(scenario())


def test_a_broker_queue_that_is_full_refuses_requests(broker_url: str) -> None:
    async def scenario() -> None:
        url = prefixed(broker_url)
        limits = msgspec.structs.replace(QUICK, handlers=1, queue_messages=2)
        async with await open_bus(url, "worker.0", limits) as target, await open_bus(url, "api.0", QUICK) as asker:
            gate = asyncio.Event()

            async def wait(message: Message) -> Any:
                await gate.wait()
                return message.read()

            target.serve("wait", wait)
            waiting = [asyncio.create_task(asker.request("worker.0", "wait", n, WAIT_S)) for n in range(20)]
            await until(lambda: any(task.done() for task in waiting))
            with pytest.raises(Busy, match=r"the queue of worker\.0 is full"):
                while True:
                    await asker.request("worker.0", "wait", None, 1.0)
            gate.set()
            ends = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(end == number or isinstance(end, Busy) for number, end in enumerate(ends))
            assert sum(not isinstance(end, Busy) for end in ends) >= 3

    asyncio.run(scenario())

"""A connection to RabbitMQ that publishes, and what it publishes to.

    <queue>              durable; what its readers reject goes to siprec.dlx with the key "failed"
    siprec.dlx           direct exchange
    <queue>.dead_letter  durable; keeps what was rejected for a day
    <exchange>           direct and durable, bound to the queue by the routing key, where the settings name one

What is there already with other properties is used as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError, DeliveryError, PublishError
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from yarl import URL

from engine.config.document import Realtime
from engine.realtime.errors import BrokerAway, Refused

DEAD_LETTERS: Final = "siprec.dlx"
DEAD_LETTER_KEY: Final = "failed"
DEAD_LETTER_MS: Final = 86_400_000
HEARTBEAT_S: Final = 10
HANDSHAKE_S: Final = 10.0
CLOSE_S: Final = 2.0
BROKEN: Final = (AMQPError, ChannelInvalidStateError, ConnectionError, RuntimeError, OSError, TimeoutError)
Declare = Callable[[AbstractChannel], Awaitable[Any]]

log = logging.getLogger("trunkline.realtime")


def _declarations(settings: Realtime) -> list[tuple[str, Declare]]:
    """What has to be there, in this order, each by itself."""
    dead, queue = f"{settings.queue}.dead_letter", settings.queue

    async def bind(channel: AbstractChannel, name: str, exchange: str, key: str) -> None:
        await (await channel.get_queue(name, ensure=False)).bind(exchange, key)

    steps: list[tuple[str, Declare]] = [
        (DEAD_LETTERS, lambda channel: channel.declare_exchange(DEAD_LETTERS, aio_pika.ExchangeType.DIRECT, durable=True)),
        (dead, lambda channel: channel.declare_queue(dead, durable=True, arguments={"x-message-ttl": DEAD_LETTER_MS})),
        (dead, lambda channel: bind(channel, dead, DEAD_LETTERS, DEAD_LETTER_KEY)),
        (
            queue,
            lambda channel: channel.declare_queue(
                queue, durable=True, arguments={"x-dead-letter-exchange": DEAD_LETTERS, "x-dead-letter-routing-key": DEAD_LETTER_KEY}
            ),
        ),
    ]
    if settings.exchange:
        steps += [
            (settings.exchange, lambda channel: channel.declare_exchange(settings.exchange, aio_pika.ExchangeType.DIRECT, durable=True)),
            (settings.exchange, lambda channel: bind(channel, queue, settings.exchange, settings.routing_key)),
        ]
    return steps


class Link:
    """One connection. `ended` gets the reason, as text, when it broke or was closed."""

    def __init__(self, connection: AbstractConnection, settings: Realtime) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._settings = settings
        self._exchange: AbstractExchange
        connection.close_callbacks.add(self._on_close)

    async def set_up(self) -> None:
        """Declares, and opens the channel that publishes."""
        channel = await self._connection.channel(publisher_confirms=False)
        for what, declare in _declarations(self._settings):
            try:
                await declare(channel)
            except (ChannelPreconditionFailed, ChannelAccessRefused, ChannelNotFoundEntity) as error:
                log.info("%s is used as it is: %s", what, error)
                channel = await self._connection.channel(publisher_confirms=False)
        await channel.close()
        out = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        out.close_callbacks.add(self._on_close)
        name = self._settings.exchange
        self._exchange = await out.get_exchange(name, ensure=False) if name else out.default_exchange

    async def publish(self, body: bytes, message_id: str, kind: str, at: float, headers: dict[str, Any]) -> None:
        """Returns when the broker has it. Raises Refused where it does not take it now, BrokerAway where nothing can be published any more."""
        if self.ended.done():
            raise BrokerAway(self.ended.result())
        settings = self._settings
        message = aio_pika.Message(
            body, headers=headers, content_type="application/json", content_encoding="utf-8", delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=message_id, timestamp=datetime.fromtimestamp(at, UTC), type=kind, app_id="trunkline",
        )  # fmt: skip
        try:
            async with asyncio.timeout(settings.confirm_timeout_s):
                await self._exchange.publish(message, settings.routing_key if settings.exchange else settings.queue, mandatory=True)
        except PublishError:
            raise BrokerAway(self.end(f"no queue takes what goes to {settings.exchange or settings.queue}")) from None
        except DeliveryError:
            raise Refused(f"{settings.queue} takes nothing now") from None
        except TimeoutError:
            raise BrokerAway(self.end(f"the broker did not confirm within {settings.confirm_timeout_s:g} s")) from None
        except BROKEN as error:
            raise BrokerAway(self.end(f"the broker is out of reach: {error or type(error).__name__}")) from None

    def end(self, why: str) -> str:
        """Nothing more is published here; the reason that counts, which is the first."""
        if not self.ended.done():
            self.ended.set_result(why)
        return self.ended.result()

    def _on_close(self, _: Any, error: BaseException | None = None) -> None:
        self.end(f"the broker closed the connection: {error or 'no reason given'}")

    async def close(self) -> None:
        """Ends the connection."""
        self.end("it was closed")
        with suppress(*BROKEN):
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()


async def connect(url: str, settings: Realtime) -> Link:
    """A connection that can publish. `prefix` in the url's query is the bus's, and left out. Raises BrokerAway."""
    try:
        address = URL(url)
        query = {key: text for key, text in address.query.items() if key != "prefix"}
        address = address.with_query({"heartbeat": str(HEARTBEAT_S), **query})
    except ValueError:
        raise BrokerAway("the url of the broker cannot be read") from None
    if address.scheme not in ("amqp", "amqps"):
        raise BrokerAway("there is no url of a broker: realtime.url or bus.url names one")
    where = f"{address.host}:{address.port}"
    try:
        connection = await aio_pika.connect(address, timeout=HANDSHAKE_S, client_properties={"connection_name": "trunkline realtime"})
    except BROKEN as error:
        raise BrokerAway(f"no broker answers at {where}: {error or type(error).__name__}") from None
    link = Link(connection, settings)
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            await link.set_up()
    except BROKEN as error:
        await link.close()
        raise BrokerAway(f"the broker at {where} cannot be used: {error or type(error).__name__}") from None
    except BaseException:
        await link.close()
        raise
    return link


__all__ = ["Link", "connect"]

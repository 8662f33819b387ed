"""The bus between machines: a link through RabbitMQ.

Every process has an exclusive queue for requests, one for answers and one for its events, all of which end with its
connection. Requests go through the default exchange, mandatory and confirmed: one that comes back names nobody, one
that is refused found a full queue. Events go through one topic exchange. A broker does not tell that a consumer died,
so whoever awaits an answer asks the target from time to time whether it still holds the request.

The connection is not one that aio-pika repairs by itself: the bus makes a new one, since only then do requests under
way fail at once, and publishing never waits for a connection that may not come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
import msgspec
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aio_pika.exceptions import AMQPError, DeliveryError, PublishError
from aiormq.exceptions import ChannelInvalidStateError, ChannelLockedResource
from yarl import URL

from engine.bus.errors import Busy, Disconnected, NameTaken, RequestTimeout, TargetGone, UnknownTarget
from engine.bus.frames import encode_payload
from engine.bus.limits import Limits
from engine.bus.messages import Message, Outcome, Receiver
from engine.bus.topics import check_name

DEFAULT_PREFIX = "trunkline"
HEARTBEAT_S = 10
MAX_PREFETCH = 65535
BROKEN = (AMQPError, ChannelInvalidStateError, ConnectionError, RuntimeError)

log = logging.getLogger("trunkline.bus.amqp")


async def dial(url: str, name: str, limits: Limits, receiver: Receiver) -> AmqpLink:
    """A link through the broker at `url`. Raises Disconnected, NameTaken; ValueError for a prefix that is no name."""
    address = URL(url)
    prefix = check_name(address.query.get("prefix", DEFAULT_PREFIX))
    query = {key: text for key, text in address.query.items() if key != "prefix"}
    address = address.with_query({"heartbeat": str(HEARTBEAT_S), **query})
    try:
        connection = await aio_pika.connect(
            address, timeout=limits.handshake_s, client_properties={"connection_name": name}
        )
    except (*BROKEN, OSError, TimeoutError) as error:
        where = f"{address.host}:{address.port}"
        raise Disconnected(f"no broker answers at {where}: {error or type(error).__name__}") from None
    link = AmqpLink(connection, prefix, name, limits, receiver)
    try:
        async with asyncio.timeout(limits.handshake_s):
            await link.set_up()
    except ChannelLockedResource:
        await link.close()
        raise NameTaken(f"{name} is on the bus already") from None
    except (*BROKEN, TimeoutError) as error:
        await link.close()
        raise Disconnected(f"the broker does not let {name} in: {error or type(error).__name__}") from None
    except BaseException:
        await link.close()
        raise
    return link


class AmqpLink:
    """One connection to a broker, with two channels: one that publishes, one that consumes."""

    def __init__(
        self, connection: AbstractConnection, prefix: str, name: str, limits: Limits, receiver: Receiver
    ) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._prefix = prefix
        self._name = name
        self._limits = limits
        self._receiver = receiver
        self._out: AbstractChannel
        self._exchange: AbstractExchange
        self._replies: AbstractQueue
        self._events: AbstractQueue
        self._topics: AbstractExchange
        self._asked: dict[int, str] = {}
        self._held: set[tuple[str, str]] = set()
        self._probing: asyncio.Task[None] | None = None

    async def set_up(self) -> None:
        """Declares and consumes. Raises ChannelLockedResource when the name is taken."""
        limits = self._limits
        bounds = {"x-max-length": limits.queue_messages, "x-max-length-bytes": limits.queue_bytes}
        self._connection.close_callbacks.add(self._on_close)
        self._out = self._connection.channel(publisher_confirms=True, on_return_raises=True)
        await self._out.initialize()
        incoming = self._connection.channel(publisher_confirms=False)
        await incoming.initialize()
        for channel in (self._out, incoming):
            channel.close_callbacks.add(self._on_close)
        await incoming.set_qos(prefetch_count=min(limits.handlers, MAX_PREFETCH))
        inbox = await incoming.declare_queue(
            self._inbox(self._name), exclusive=True, arguments={**bounds, "x-overflow": "reject-publish"}
        )
        self._replies = await incoming.declare_queue(exclusive=True)
        self._events = await incoming.declare_queue(exclusive=True, arguments={**bounds, "x-overflow": "drop-head"})
        self._exchange = self._out.default_exchange
        self._topics = await self._out.declare_exchange(
            f"{self._prefix}.events", aio_pika.ExchangeType.TOPIC, durable=True
        )
        await self._replies.consume(self._on_reply, no_ack=True)
        await self._events.consume(self._on_event, no_ack=True)
        await inbox.consume(self._on_inbox)
        self._probing = asyncio.get_running_loop().create_task(self._probe())

    # ---- Link ----

    async def ask(self, number: int, target: str, subject: str, body: bytes) -> None:
        """Sends a request. Raises UnknownTarget, Busy, RequestTimeout, Disconnected."""
        message = self._message("ask", number, body, {"subject": subject}, reply_to=self._replies.name)
        self._asked[number] = target
        async with self._publishing():
            try:
                await self._exchange.publish(message, self._inbox(target), mandatory=True)
            except PublishError:
                raise UnknownTarget(f"nobody named {target} is on the bus") from None
            except DeliveryError:
                raise Busy(f"the queue of {target} is full") from None

    def forget(self, number: int) -> None:
        """The answer may come and is not looked at."""
        self._asked.pop(number, None)

    async def publish(self, topic: str, body: bytes) -> None:
        """Sends an event; returns when the broker has it. Raises Busy, RequestTimeout, Disconnected."""
        async with self._publishing():
            try:
                await self._topics.publish(self._message("event", 0, body), topic, mandatory=False)
            except DeliveryError:
                raise Busy(f"the broker does not take {topic}") from None

    async def subscribe(self, pattern: str) -> None:
        """Returns when the broker has it."""
        async with self._publishing():
            await self._events.bind(self._topics, pattern)

    async def unsubscribe(self, pattern: str) -> None:
        """Ends a subscription."""
        async with self._publishing():
            await self._events.unbind(self._topics, pattern)

    async def close(self) -> None:
        """Ends the connection."""
        self._end("it was closed")
        with suppress(*BROKEN, OSError, TimeoutError):
            async with asyncio.timeout(self._limits.handshake_s):
                await self._connection.close()

    # ---- what arrives ----

    async def _on_inbox(self, message: AbstractIncomingMessage) -> None:
        caller, number = message.reply_to or "", message.correlation_id or ""
        if message.type == "probe":
            await self._on_probe(caller, message)
            return
        subject = message.headers.get("subject")
        if message.type != "ask" or not caller or not isinstance(subject, str):
            log.warning("a message from %s is no request and was dropped", message.app_id)
            await message.ack()
            return
        self._held.add((caller, number))

        async def reply(outcome: Outcome) -> None:
            body = outcome.body if outcome.kind == "answer" else outcome.text.encode()
            answer = self._message(outcome.kind, number, body, {"code": outcome.code})
            async with self._publishing():
                try:
                    await self._exchange.publish(answer, caller, mandatory=False)
                finally:
                    self._held.discard((caller, number))
                await message.ack()

        self._receiver.arrived(Message(message.app_id or "", subject, message.body), reply)

    async def _on_probe(self, caller: str, message: AbstractIncomingMessage) -> None:
        with suppress(msgspec.MsgspecError, Disconnected, RequestTimeout):
            numbers = msgspec.msgpack.decode(message.body, type=list[int])
            text = f"{self._name} left the bus before it answered".encode()
            async with self._publishing():
                await message.ack()
                for number in numbers:
                    if (caller, str(number)) not in self._held:
                        lost = self._message("decline", number, text, {"code": TargetGone.code})
                        await self._exchange.publish(lost, caller, mandatory=False)

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        kind, code, number = message.type, message.headers.get("code", ""), message.correlation_id or ""
        if not number.isdecimal():
            return
        self._asked.pop(int(number), None)
        if kind == "answer":
            self._receiver.resolved(int(number), Outcome("answer", body=message.body))
        elif kind == "fail" or kind == "decline":
            text = message.body.decode(errors="replace")
            self._receiver.resolved(int(number), Outcome("fail" if kind == "fail" else "decline", code=str(code), text=text))

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        self._receiver.heard(Message(message.app_id or "", message.routing_key or "", message.body))

    # ---- inside ----

    def _inbox(self, name: str) -> str:
        return f"{self._prefix}.inbox.{name}"

    def _message(
        self, kind: str, number: int | str, body: bytes, headers: dict[str, Any] | None = None, reply_to: str | None = None
    ) -> aio_pika.Message:
        return aio_pika.Message(
            body, headers=headers, type=kind, correlation_id=str(number), reply_to=reply_to, app_id=self._name
        )

    @asynccontextmanager
    async def _publishing(self) -> AsyncIterator[None]:
        """Bounds the time that a broker may take, and names what is wrong."""
        if self.ended.done():
            raise Disconnected(self.ended.result())
        try:
            async with asyncio.timeout(self._limits.confirm_s) as within:
                yield
        except TimeoutError:
            if not within.expired():
                raise
            raise RequestTimeout(f"the broker did not confirm within {self._limits.confirm_s:g} s") from None
        except BROKEN as error:
            raise Disconnected(f"the broker is out of reach: {error or type(error).__name__}") from None

    async def _probe(self) -> None:
        """Finds requests whose target died: those that were under way a round before and are held by nobody now."""
        before: set[int] = set()
        while True:
            await asyncio.sleep(self._limits.probe_s)
            by_target: dict[str, list[int]] = {}
            for number in before & self._asked.keys():
                by_target.setdefault(self._asked[number], []).append(number)
            for target, numbers in by_target.items():
                with suppress(Busy, RequestTimeout, Disconnected):
                    await self._probe_target(target, numbers)
            before = set(self._asked)

    async def _probe_target(self, target: str, numbers: list[int]) -> None:
        message = self._message("probe", 0, encode_payload(numbers), reply_to=self._replies.name)
        async with self._publishing():
            try:
                await self._exchange.publish(message, self._inbox(target), mandatory=True)
            except PublishError:
                gone = Outcome("decline", code=TargetGone.code, text=f"{target} left the bus before it answered")
                for number in numbers:
                    self._asked.pop(number, None)
                    self._receiver.resolved(number, gone)
            except DeliveryError:
                # Its queue is full: it lives, or its end shows in a later round.
                pass

    def _on_close(self, _: Any, error: BaseException | None = None) -> None:
        self._end(f"the broker closed the connection: {error or 'no reason given'}")

    def _end(self, why: str) -> None:
        if self._probing is not None:
            self._probing.cancel()
        if not self.ended.done():
            self.ended.set_result(why)


__all__ = ["AmqpLink", "dial"]

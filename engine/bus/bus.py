"""The bus as a process sees it: requests with answers, events with subscribers; the same over every transport."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from engine.bus.errors import (
    HANDLER_FAILED,
    BadPayload,
    BusError,
    Busy,
    Disconnected,
    RemoteError,
    RequestTimeout,
    TooLarge,
    UnknownSubject,
    undelivered,
)
from engine.bus.frames import encode_payload
from engine.bus.limits import MAX_ERROR_CHARACTERS, Limits
from engine.bus.messages import Dial, Handler, Link, Listener, Message, Outcome, Reply, read_payload
from engine.bus.subscription import Subscription
from engine.bus.topics import check_name, check_pattern, matches
from engine.errors import EngineError

T = TypeVar("T")

CANCEL_S = 1.0

log = logging.getLogger("trunkline.bus")


class Bus:
    """A named place on the bus. Belongs to the event loop that opened it.

    A broken connection is made again, with growing pauses, until `close`; subscriptions are renewed, and requests that
    were under way fail at once with Disconnected, for nobody can say whether they were done.
    """

    def __init__(
        self, name: str, dial: Dial, limits: Limits | None = None, chance: Callable[[], float] = random.random
    ) -> None:
        self.name = check_name(name)
        self.limits = limits or Limits()
        self._dial = dial
        self._chance = chance
        self._link: Link | None = None
        self._lost_at: float | None = None
        self._lost_why = "it was not opened"
        self._stay: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Outcome]] = {}
        self._places = asyncio.Semaphore(self.limits.requests)
        self._handlers: dict[str, Handler] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []
        self._draining = False
        self._dropped = 0

    async def __aenter__(self) -> Bus:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- connection ----

    async def open(self) -> None:
        """Connects. Raises the last error, a BusError, when that fails for `limits.connect_s`."""
        loop = asyncio.get_running_loop()
        link = await self._dial_until(loop.time() + self.limits.connect_s)
        self._adopt(link)
        self._stay = loop.create_task(self._stay_connected(link))

    async def close(self) -> None:
        """Leaves the bus: handlers are cancelled, requests under way fail."""
        self._draining = True
        tasks = self._working | ({self._stay} if self._stay else set())
        tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        for task in tasks:
            task.cancel()
        for subscription in self._subscriptions:
            self._dropped += subscription.dropped
            subscription.stop()
        self._subscriptions.clear()
        link = self._link
        self._part("it was closed")
        if link is not None:
            await link.close()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_S)

    async def drain(self, grace_s: float) -> bool:
        """Refuses new requests and waits for the handlers at work. False when some are after `grace_s`."""
        self._draining = True
        tasks = self._working - {asyncio.current_task()}
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        return not late

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link is not None

    @property
    def lost_for_s(self) -> float:
        """Seconds since the connection broke; 0 while there is one."""
        return 0.0 if self._lost_at is None else asyncio.get_running_loop().time() - self._lost_at

    @property
    def dropped(self) -> int:
        """Events that subscribers of this process lost because they were too slow."""
        return self._dropped + sum(subscription.dropped for subscription in self._subscriptions)

    # ---- requests ----

    def serve(self, subject: str, handler: Handler) -> None:
        """Answers requests for `subject` with what `handler` returns.

        Handlers run at the same time, each in its own task, and are not cancelled when the requester stops waiting.
        Raises ValueError when the subject has a handler.
        """
        if self._handlers.setdefault(check_name(subject), handler) is not handler:
            raise ValueError(f"{subject} is served already")

    @overload
    async def request(
        self, target: str, subject: str, payload: Any = None, timeout_s: float = 5.0
    ) -> Any: ...
    @overload
    async def request(
        self, target: str, subject: str, payload: Any = None, timeout_s: float = 5.0, *, shape: type[T]
    ) -> T: ...
    async def request(
        self, target: str, subject: str, payload: Any = None, timeout_s: float = 5.0, *, shape: Any = Any
    ) -> Any:
        """The answer of the process `target`, as `shape`.

        Raises UnknownTarget, UnknownSubject and Busy for a request that was not begun; TargetGone, RequestTimeout and
        Disconnected when nobody knows how far it came; RemoteError with the code of the handler's error; TooLarge;
        BadPayload.
        """
        check_name(target)
        body = self._encode(payload, check_name(subject))
        number = next(self._numbers)
        sent = False
        try:
            async with asyncio.timeout(timeout_s) as within, self._places:
                sent = True
                outcome = await self._ask(number, target, subject, body)
        except TimeoutError:
            if not within.expired():
                raise
            if not sent:
                raise Busy(f"{self.name} awaits {self.limits.requests} answers already") from None
            raise RequestTimeout(f"{target} did not answer {subject} within {timeout_s:g} s") from None
        if outcome.kind == "answer":
            return read_payload(outcome.body, shape, f"the answer to {subject}")
        if outcome.kind == "fail":
            raise RemoteError(outcome.code, outcome.text)
        raise undelivered(outcome.code, outcome.text)

    async def _ask(self, number: int, target: str, subject: str, body: bytes) -> Outcome:
        link = self._connected_link()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            await link.ask(number, target, subject, body)
            return await future
        finally:
            del self._pending[number]
            if not future.done() or future.cancelled():
                link.forget(number)

    # ---- events ----

    async def publish(self, topic: str, payload: Any = None) -> None:
        """Hands an event to the hub or broker, which hands it to whoever subscribed; nobody need have.

        Raises Disconnected, TooLarge, BadPayload; Busy when a broker does not take it.
        """
        body = self._encode(payload, check_name(topic))
        await self._connected_link().publish(topic, body)

    async def subscribe(self, pattern: str, handler: Listener) -> Subscription:
        """Calls `handler` with every event of `pattern` that is published after this returns.

        Without a connection it takes effect when there is one again.
        """
        check_pattern(pattern)
        known = any(subscription.pattern == pattern for subscription in self._subscriptions)
        subscription = Subscription(pattern, handler, self.limits, self._unsubscribe)
        self._subscriptions.append(subscription)
        if self._link is not None and not known:
            with contextlib.suppress(Disconnected):
                await self._link.subscribe(pattern)
        return subscription

    async def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        self._dropped += subscription.dropped
        shared = any(other.pattern == subscription.pattern for other in self._subscriptions)
        if self._link is not None and not shared:
            with contextlib.suppress(Disconnected):
                await self._link.unsubscribe(subscription.pattern)

    # ---- called by the link ----

    def arrived(self, message: Message, reply: Reply) -> None:
        """A request: refused at once, or given to its handler."""
        handler = self._handlers.get(message.subject)
        if self._draining:
            refusal = Outcome("decline", code=Busy.code, text=f"{self.name} is shutting down")
        elif handler is None:
            text = f"{self.name} does not serve {message.subject}"
            refusal = Outcome("decline", code=UnknownSubject.code, text=text)
        elif len(self._working) >= self.limits.handlers:
            text = f"{self.name} works on {len(self._working)} requests already"
            refusal = Outcome("decline", code=Busy.code, text=text)
        else:
            self._start(self._handle(handler, message, reply))
            return
        self._start(self._reply(reply, refusal))

    def resolved(self, number: int, outcome: Outcome) -> None:
        """The end of a request; too late for one that is not awaited any more."""
        future = self._pending.get(number)
        if future is not None and not future.done():
            future.set_result(outcome)

    def heard(self, message: Message) -> None:
        """An event, for every subscription that selects it."""
        for subscription in self._subscriptions:
            if matches(subscription.pattern, message.subject):
                subscription.take(message)

    def missed(self, count: int) -> None:
        """Events that the hub dropped because this process read too slowly."""
        self._dropped += count

    # ---- inside ----

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _handle(self, handler: Handler, message: Message, reply: Reply) -> None:
        try:
            outcome = Outcome("answer", body=self._encode(await handler(message), message.subject))
        except EngineError as error:
            outcome = Outcome("fail", code=error.code, text=str(error)[:MAX_ERROR_CHARACTERS])
        except Exception as error:
            log.exception("the handler of %s failed", message.subject)
            text = f"{message.subject} failed at {self.name}: {type(error).__name__}"
            outcome = Outcome("fail", code=HANDLER_FAILED, text=text)
        await self._reply(reply, outcome)

    async def _reply(self, reply: Reply, outcome: Outcome) -> None:
        try:
            await reply(outcome)
        except BusError as error:
            log.info("an answer did not leave %s: %s", self.name, error)

    def _encode(self, payload: Any, what: str) -> bytes:
        try:
            body = encode_payload(payload)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadPayload(f"the payload of {what} cannot be sent: {error}") from None
        if len(body) > self.limits.payload_bytes:
            raise TooLarge(
                f"the payload of {what} has {len(body)} bytes; the bus carries {self.limits.payload_bytes}"
            )
        return body

    def _connected_link(self) -> Link:
        if self._link is None:
            raise Disconnected(f"{self.name} is not connected to the bus: {self._lost_why}")
        return self._link

    async def _stay_connected(self, link: Link) -> None:
        while True:
            why = await link.ended
            log.warning("%s lost the bus: %s", self.name, why)
            self._part(why)
            link = await self._dial_until(None)
            self._adopt(link)
            log.info("%s is on the bus again", self.name)

    async def _dial_until(self, deadline: float | None) -> Link:
        loop = asyncio.get_running_loop()
        pause_s = self.limits.retry_first_s
        while True:
            try:
                return await self._dial_once()
            except Exception as error:
                known = isinstance(error, BusError)
                if deadline is not None and (not known or loop.time() + pause_s > deadline):
                    raise
                if not known:
                    log.exception("%s could not connect again; it keeps trying", self.name)
                self._lost_why = str(error)
            await asyncio.sleep(pause_s * (1 - self._chance() / 2))
            pause_s = min(2 * pause_s, self.limits.retry_last_s)

    async def _dial_once(self) -> Link:
        link = await self._dial(self)
        try:
            renewed: set[str] = set()
            while missing := {subscription.pattern for subscription in self._subscriptions} - renewed:
                pattern = missing.pop()
                await link.subscribe(pattern)
                renewed.add(pattern)
        except BaseException:
            await link.close()
            raise
        return link

    def _adopt(self, link: Link) -> None:
        self._link = link
        self._lost_at = None

    def _part(self, why: str) -> None:
        self._link = None
        self._lost_why = why
        self._lost_at = asyncio.get_running_loop().time()
        for future in self._pending.values():
            if not future.done():
                future.set_result(Outcome("decline", code=Disconnected.code, text=f"{self.name} lost the bus: {why}"))


__all__ = ["Bus"]

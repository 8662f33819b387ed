"""Events to the broker, at least once, those of each call in their order.

An event is in the spool before anything else happens to it, so that an outage, however long, costs disk and not events. From there they come back in
their order into a window in memory, where every call has a lane of its own. A message holds events of lanes that have nothing under way: several
messages are on their way at a time, and never two with events of one call, so nothing overtakes anything when one of them has to be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from engine.config.document import Realtime
from engine.realtime.broker import Link, connect
from engine.realtime.errors import BrokerAway, Refused
from engine.realtime.messages import Event, wrapped
from engine.realtime.spool import Spool

WINDOW_EVENTS: Final = 2000
WINDOW_BYTES: Final = 16 << 20
MESSAGES_UNDER_WAY: Final = 64
MESSAGE_MAX_BYTES: Final = 1 << 20  # of several events; one may be as long by itself
PAUSE_FIRST_S, PAUSE_LAST_S = 0.5, 30.0
SYNC_S: Final = 0.25

log = logging.getLogger("trunkline.realtime")
_decoder = msgspec.msgpack.Decoder(Event)


class Stats(msgspec.Struct):
    """What became of the events of this run. `connected`: the broker takes them. `queued` wait, on disk or under way; `dropped` were lost to the bound of the spool or could not be kept;
    `failed` are attempts that the broker did not confirm. `last_publish_time` is in seconds since 1970."""

    total: int = 0
    published: int = 0
    failed: int = 0
    queued: int = 0
    dropped: int = 0
    batches_sent: int = 0
    retry_attempts: int = 0
    average_latency_ms: float = 0.0
    last_publish_time: float | None = None
    last_error: str = ""
    connected: bool = False


class Parcel(msgspec.Struct, eq=False):
    """Events that go in one message. `id` stays the same however often it is sent. `bare`: one event without the wrapper."""

    id: str
    events: list[tuple[int, Event]]
    calls: frozenset[str]
    bare: bool


def event_in(content: bytes) -> Event | None:
    """The event of a record; None for what is none."""
    try:
        return _decoder.decode(content)
    except (msgspec.MsgspecError, ValueError):
        return None


class Publisher:
    """Takes events at once, and publishes them in a task of its own. Belongs to the event loop in which `start` was called; owns the spool."""

    def __init__(
        self,
        spool: Spool,
        settings: Realtime,
        url: str,
        *,
        new_id: Callable[[], str],
        random: Callable[[], float],
        clock: Callable[[], float] = time.time,
        dial: Callable[[str, Realtime], Awaitable[Link]] = connect,
        pause_s: tuple[float, float] = (PAUSE_FIRST_S, PAUSE_LAST_S),
    ) -> None:
        """`clock` is wall time in seconds. Pauses between attempts double from the first of `pause_s` to the second, each shortened by up to half."""
        self.settings = settings
        self.stats = Stats()
        self.away = "the broker was not reached yet"  # why, "" while there is a connection
        self.disk_problem = ""
        self._spool = spool
        self._url = url
        self._new_id, self._random, self._clock, self._dial, self._pause_s = new_id, random, clock, dial, pause_s
        self._window: OrderedDict[int, Event] = OrderedDict()  # all that is loaded and not confirmed
        self._window_bytes = 0
        self._loaded = spool.done
        self._behind = spool.count_after(spool.done) > 0  # there is more in the spool than in the window
        self._lanes: dict[str, deque[tuple[int, Event]]] = {}
        self._ready: OrderedDict[str, None] = OrderedDict()  # calls with something in their lane and nothing under way
        self._ready_events = 0
        self._under_way: dict[asyncio.Task[None], Parcel] = {}
        self._busy: set[str] = set()  # calls with something under way
        self._changed = asyncio.Event()
        self._unsynced = asyncio.Event()
        self._draining = False
        self._latency_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to look for the broker, and goes on until `close`."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()), loop.create_task(self._sync_now_and_then())]

    async def close(self, drain_s: float) -> None:
        """Publishes what waits, for as long as the broker takes it and `drain_s` allows; the rest is on the disk when it returns."""
        self._draining = True
        self._changed.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while not self.away and (self._window or self._behind):
                    await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._spool.close)

    @property
    def waiting(self) -> int:
        """Events that are not confirmed."""
        return len(self._window) + self._spool.count_after(self._loaded)

    # ---- taking ----

    def offer(self, event: Event) -> bool:
        """Takes an event. It outlasts this process from now on, and within SYNC_S the machine. False where it could not be kept."""
        self.stats.total += 1
        content = msgspec.msgpack.encode(event)
        try:
            done = self._spool.done
            if lost := self._spool.make_room(len(content)):
                self._lost(lost, done)
            sequence = self._spool.append(content)
            self.disk_problem = ""
        except OSError as error:
            if not self.disk_problem:
                log.error("the spool takes nothing: %s", error)
            self.disk_problem = str(error.strerror or error)
            if self._behind or not self._has_room:
                self.stats.dropped += 1
                return False
            sequence = self._spool.pass_over()  # it may still reach the broker from memory
        if not self._behind and self._has_room:
            self._spool.skip_to_end()
            self._load(sequence, event)
        else:
            self._behind = True
        self._unsynced.set()
        return True

    def _lost(self, count: int, before: int) -> None:
        """Records behind `before` went with the oldest file; those of them that are in the window are published all the same."""
        saved = sum(before < sequence <= self._spool.done for sequence in self._window)
        self.stats.dropped += max(0, count - saved)
        self._loaded = max(self._loaded, self._spool.done)

    @property
    def _has_room(self) -> bool:
        return len(self._window) < WINDOW_EVENTS and self._window_bytes < WINDOW_BYTES

    def _load(self, sequence: int, event: Event) -> None:
        self._loaded = sequence
        self._window[sequence] = event
        self._window_bytes += len(event.body)
        lane = self._lanes.setdefault(event.call_id, deque())
        lane.append((sequence, event))
        if event.call_id not in self._busy:
            self._ready[event.call_id] = None
            self._ready_events += 1
            if self._ready_events == 1 or self._ready_events >= self.settings.batch_size:
                self._changed.set()

    def _refill(self) -> None:
        """Loads what waits in the spool, as far as there is room."""
        while self._behind and self._has_room:
            try:
                found = self._spool.read()
            except OSError as error:
                self.disk_problem = str(error.strerror or error)
                log.error("the spool cannot be read: %s", error)
                return
            self._behind = bool(found)
            for sequence, content in found:
                event = event_in(content)
                if event is not None and sequence > self._loaded:
                    self._load(sequence, event)
        if not self._behind and not self._window:
            self._spool.release(self._spool.last)

    # ---- publishing ----

    async def _run(self) -> None:
        pause_s = self._pause_s[0]
        while True:
            published = self.stats.published
            try:
                link = await self._dial(self._url, self.settings)
                self.away = ""
                log.info("events are published")
                try:
                    await self._publish(link)
                finally:
                    self.away = link.end("it was closed")
                    await self._take_back(link)
            except BrokerAway as error:
                self.away = str(error)
            except Exception as error:
                log.exception("publishing failed; it is begun again")
                self.away = type(error).__name__
            if self.away != self.stats.last_error:
                log.warning("events wait on disk: %s", self.away)
            self.stats.last_error = self.away
            if self.stats.published > published:
                pause_s = self._pause_s[0]
            await asyncio.sleep(pause_s * (1 - self._random() / 2))
            pause_s = min(2 * pause_s, self._pause_s[1])

    async def _publish(self, link: Link) -> None:
        """Until the connection ends."""
        loop = asyncio.get_running_loop()
        link.ended.add_done_callback(lambda _: self._changed.set())
        while not link.ended.done():
            self._changed.clear()
            self._refill()
            while len(self._under_way) < MESSAGES_UNDER_WAY and self._is_due():
                task = loop.create_task(self._send(link, parcel := self._next_parcel()))
                self._under_way[task] = parcel
                self._busy |= parcel.calls
                task.add_done_callback(self._sent)
            wait_s = self._due_in_s() if len(self._under_way) < MESSAGES_UNDER_WAY else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def _is_due(self) -> bool:
        """Whether a message can go: a full one, or one that has waited long enough."""
        due_s = self._due_in_s()
        return due_s is not None and due_s <= 0

    def _due_in_s(self) -> float | None:
        """When the next message can go, as far as what is here now says; None where there is nothing for one."""
        if not self._ready_events:
            return None
        if self._ready_events >= self.settings.batch_size or self._draining:
            return 0.0
        age_s = self._clock() - self._lanes[next(iter(self._ready))][0][1].at
        return self.settings.batch_timeout_s - age_s if age_s >= 0 else 0.0  # a clock that was set back

    def _next_parcel(self) -> Parcel:
        events: list[tuple[int, Event]] = []
        calls = set()
        size = 0
        while self._ready and len(events) < self.settings.batch_size and size < MESSAGE_MAX_BYTES:
            call_id, _ = self._ready.popitem(last=False)
            lane = self._lanes[call_id]
            self._ready_events -= len(lane)
            calls.add(call_id)
            while lane and len(events) < self.settings.batch_size and (not events or size + len(lane[0][1].body) <= MESSAGE_MAX_BYTES):
                events.append(lane.popleft())
                size += len(events[-1][1].body)
            if lane:
                break
        return Parcel(self._new_id(), events, frozenset(calls), self.settings.batch_size == 1)

    async def _send(self, link: Link, parcel: Parcel) -> None:
        """Until it is confirmed, or the connection ended."""
        pause_s = self._pause_s[0]
        while parcel.events:
            try:
                await self._send_once(link, parcel)
                return
            except Refused as error:
                self.stats.failed += len(parcel.events)
                self.stats.last_error = str(error)
            except BrokerAway:
                self.stats.failed += len(parcel.events)
                return
            await asyncio.sleep(pause_s * (1 - self._random() / 2))
            pause_s = min(2 * pause_s, self._pause_s[1])
            self.stats.retry_attempts += 1
        self._confirmed(parcel)

    async def _send_once(self, link: Link, parcel: Parcel) -> None:
        if parcel.bare:
            _, event = parcel.events[0]
            await link.publish(event.body, event.message_id, event.event_type, event.at, {"x-call-uuid": event.call_id})
        else:
            now = self._clock()
            body = wrapped(parcel.id, [event for _, event in parcel.events], now)
            await link.publish(body, parcel.id, "batch", now, {})
            self.stats.batches_sent += 1
        now = self._clock()
        self._latency_s += sum(max(0.0, now - event.at) for _, event in parcel.events)
        self.stats.published += len(parcel.events)
        self.stats.average_latency_ms = 1000 * self._latency_s / self.stats.published
        self.stats.last_publish_time = now
        self._confirmed(parcel)

    def _confirmed(self, parcel: Parcel) -> None:
        for sequence, event in parcel.events:
            if self._window.pop(sequence, None) is not None:
                self._window_bytes -= len(event.body)
        parcel.events = []
        self._spool.release(next(iter(self._window)) - 1 if self._window else self._loaded)

    def _sent(self, task: asyncio.Task[None]) -> None:
        """A message is confirmed, or goes back: its calls may have another under way."""
        parcel = self._under_way.pop(task)
        self._busy -= parcel.calls
        by_call: dict[str, list[tuple[int, Event]]] = {}
        for sequence, event in parcel.events:
            if sequence in self._window:
                by_call.setdefault(event.call_id, []).append((sequence, event))
        for call_id in parcel.calls:
            lane = self._lanes.get(call_id, deque())
            lane.extendleft(reversed(by_call.get(call_id, [])))
            if lane:
                self._lanes[call_id] = lane
                self._ready[call_id] = None
                self._ready_events += len(lane)
            else:
                self._lanes.pop(call_id, None)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message could not be sent", exc_info=error)

    async def _take_back(self, link: Link) -> None:
        """Nothing is under way on a connection that ended; what was and is not confirmed goes first on the next."""
        tasks = tuple(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.stats.retry_attempts += len(tasks)
        await link.close()

    # ---- disk ----

    async def _sync_now_and_then(self) -> None:
        """Has the disk take what the broker did not confirm at once."""
        while True:
            await self._unsynced.wait()
            self._unsynced.clear()
            await asyncio.sleep(SYNC_S)
            if not self._spool.is_synced:
                try:
                    last, fds = self._spool.unsynced()
                    await asyncio.to_thread(self._spool.flush, fds)
                    self._spool.synced(last)
                except OSError as error:
                    self.disk_problem = str(error.strerror or error)
                    log.error("the spool cannot be synced: %s", error)
                    self._unsynced.set()

    async def forget(self, call_ids: frozenset[str]) -> int:
        """Takes away all events of these calls that were not published, in memory and on the disk; how many records. Raises OSError."""
        self._forget_here(call_ids)

        def is_theirs(content: bytes) -> bool:
            event = event_in(content)
            return event is not None and event.call_id in call_ids

        count = await asyncio.to_thread(self._spool.forget, is_theirs)
        self._forget_here(call_ids)  # what was loaded meanwhile
        self._changed.set()
        return count

    def _forget_here(self, call_ids: frozenset[str]) -> None:
        for parcel in self._under_way.values():  # one that is not confirmed goes without them the next time
            parcel.events = [pair for pair in parcel.events if pair[1].call_id not in call_ids]
        for sequence in [sequence for sequence, event in self._window.items() if event.call_id in call_ids]:
            self._window_bytes -= len(self._window.pop(sequence).body)
        for call_id in call_ids:
            lane = self._lanes.pop(call_id, None)
            if lane and call_id in self._ready:
                del self._ready[call_id]
                self._ready_events -= len(lane)


__all__ = ["Publisher", "Stats", "event_in"]

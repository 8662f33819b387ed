"""The part of the keeper that mirrors live messages into RabbitMQ, while `realtime.enabled`.

    realtime.stats   nothing -> Stats

Whoever has something to publish calls `offer`, which takes it or leaves it at once. The spool lies in `<data>/realtime`; what is in it when publishing
is switched off goes out when it is switched on again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from engine.config.document import Realtime
from engine.health import Result
from engine.realtime.broker import Link, connect
from engine.realtime.errors import SpoolTaken
from engine.realtime.messages import Event, event_of, event_type_of, is_wanted
from engine.realtime.publisher import Publisher, Stats, event_in
from engine.realtime.spool import Spool

if TYPE_CHECKING:
    from engine.bus import Message
    from engine.keeping import Keeping
    from engine.siprec.events import LiveMessage

FOLDER: Final = "realtime"
STATS_SUBJECT: Final = "realtime.stats"
LOOK_S: Final = 1.0
DRAIN_S: Final = 5.0
HELD_MAX: Final = 10_000
# What a reload may change without a new connection.
FLAGS: Final = frozenset({"partial_transcripts", "final_transcripts", "sentiment_updates", "keyword_detections", "speaker_changes"})

log = logging.getLogger("trunkline.realtime")


def fresh_id() -> str:
    """A message's id: 128 bits that nobody can guess."""
    return secrets.token_hex(16)


class RealtimeService:
    """One a keeper. Belongs to the event loop in which `start` is called."""

    def __init__(
        self,
        keeping: Keeping,
        *,
        dial: Callable[[str, Realtime], Awaitable[Link]] = connect,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], str] = fresh_id,
        look_s: float = LOOK_S,
    ) -> None:
        """`look_s` is how often it looks whether the configuration changed."""
        self._keeping = keeping
        self._dial, self._chance, self._new_id, self._look_s = dial, chance, new_id, look_s
        self._folder = keeping.data_dir / FOLDER
        self._publisher: Publisher | None = None
        self._made_of: tuple[str, Realtime] | None = None
        self._before = Stats()  # of publishers that a reload replaced
        self._problem = ""
        self._held: list[Event] | None = None  # what comes while one publisher follows another
        self._looking: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()  # of whose the spool is
        keeping.listeners.append(self.take)
        keeping.erasers.append(self.erase)

    # ---- life ----

    async def start(self) -> None:
        """Begins to publish, where that is wanted."""
        self._keeping.bus.serve(STATS_SUBJECT, self._stats)
        await self._follow_configuration()
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        """Publishes what waits, for as long as DRAIN_S; the rest stays on the disk for the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        async with self._changing:
            await self._end(DRAIN_S)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            try:
                await self._follow_configuration()
            except Exception:
                log.exception("the configuration could not be followed")

    def _wanted(self) -> tuple[str, Realtime] | None:
        """What a publisher is made of, flags left out; None where there is to be none."""
        config = self._keeping.config
        settings = config.realtime
        if not settings.enabled:
            return None
        plain = msgspec.structs.replace(settings, **dict.fromkeys(FLAGS, True))
        return settings.url or config.bus.url, plain

    async def _follow_configuration(self) -> None:
        wanted = self._wanted()
        if wanted != self._made_of or (wanted is None) != (self._publisher is None):
            async with self._changing:
                await self._change(wanted)

    async def _change(self, wanted: tuple[str, Realtime] | None) -> None:
        self._held = None if wanted is None or self._publisher is None else []
        await self._end(0.0 if wanted is not None else DRAIN_S)  # the next one goes on with what is in the spool
        if wanted is not None:
            await self._begin(*wanted)
        held, self._held = self._held, None
        for event in held or ():
            if self._publisher is None or not self._publisher.offer(event):
                self._before.dropped += 1

    async def _begin(self, url: str, settings: Realtime) -> None:
        try:
            spool = await asyncio.to_thread(Spool, self._folder, settings.spool_max_bytes)
        except (OSError, SpoolTaken) as error:
            if str(error) != self._problem:
                log.error("live messages are not published: %s", error)
            self._problem = str(error)
            return
        self._problem = ""
        self._publisher = Publisher(spool, settings, url, new_id=self._new_id, random=self._chance, clock=self._keeping.clock, dial=self._dial)
        self._made_of = (url, settings)
        self._publisher.start()

    async def _end(self, drain_s: float) -> None:
        publisher, self._publisher, self._made_of = self._publisher, None, None
        if publisher is not None:
            try:
                await publisher.close(drain_s)
            except OSError as error:
                log.error("the spool could not be closed as it should: %s", error)
            finally:
                self._before = _sum(self._before, publisher.stats)

    # ---- what it takes ----

    def take(self, topic: str, message: LiveMessage) -> None:
        """A message for those who follow calls, as the keeper's parts tell it to one another."""
        self.offer(message.document)

    def offer(self, payload: dict[str, Any]) -> None:
        """Takes a payload as it is now. Neither waits for the broker or a sync of the disk, nor raises."""
        publisher, held, settings = self._publisher, self._held, self._keeping.config.realtime
        if not settings.enabled or not is_wanted(event_type_of(payload), settings):
            return
        try:
            event = event_of(payload, self._keeping.clock(), self._new_id)
            if publisher is not None:
                publisher.offer(event)
            elif held is not None and len(held) < HELD_MAX:
                held.append(event)
            else:
                self._before.dropped += 1
        except Exception as error:
            self._before.dropped += 1
            self._before.last_error = f"{type(error).__name__}: {error}"[:300]
            log.error("a live message cannot be published: %s", type(error).__name__)

    async def erase(self, call_ids: frozenset[str]) -> Sequence[str]:
        """Takes away what waits of these calls, in memory and on the disk. What the broker has is its readers'. Returns what could not be taken away."""
        try:
            async with self._changing:
                if self._publisher is not None:
                    await self._publisher.forget(call_ids)
                elif self._folder.exists():
                    await asyncio.to_thread(self._erase_at_rest, call_ids)
        except (OSError, SpoolTaken) as error:
            return (f"messages that wait for RabbitMQ: {error}",)
        return ()

    def _erase_at_rest(self, call_ids: frozenset[str]) -> None:
        def is_theirs(content: bytes) -> bool:
            event = event_in(content)
            return event is not None and event.call_id in call_ids

        spool = Spool(self._folder, self._keeping.config.realtime.spool_max_bytes)
        try:
            spool.forget(is_theirs)
        finally:
            spool.close()

    # ---- how it is ----

    def stats(self) -> Stats:
        """What became of everything that was offered to this process."""
        publisher = self._publisher
        if publisher is None:
            return self._before
        return msgspec.structs.replace(_sum(self._before, publisher.stats), queued=publisher.waiting, connected=not publisher.away)

    async def _stats(self, message: Message) -> Stats:
        return self.stats()

    def checks(self) -> dict[str, Result]:
        """`amqp`: degraded while the broker is away and messages wait, unhealthy when some are lost."""
        if not self._keeping.config.realtime.enabled:
            return {}
        publisher = self._publisher
        if publisher is None:
            return {"amqp": Result("unhealthy", self._problem or "publishing has not begun yet")}
        stats = self.stats()
        told = f"{stats.queued} messages wait"
        if stats.dropped:
            told += f", {stats.dropped} were dropped"
        if publisher.disk_problem:
            return {"amqp": Result("unhealthy", f"the disk does not take them: {publisher.disk_problem}; {told}")}
        if publisher.away:
            return {"amqp": Result("unhealthy" if stats.dropped else "degraded", f"{publisher.away}; {told}")}
        return {"amqp": Result("degraded" if stats.dropped else "healthy", told)}


def _sum(before: Stats, now: Stats) -> Stats:
    """Figures of publishers one after the other."""
    published = before.published + now.published
    latency = before.average_latency_ms * before.published + now.average_latency_ms * now.published
    return Stats(
        total=before.total + now.total, published=published, failed=before.failed + now.failed, dropped=before.dropped + now.dropped,
        batches_sent=before.batches_sent + now.batches_sent, retry_attempts=before.retry_attempts + now.retry_attempts,
        average_latency_ms=latency / published if published else 0.0, last_publish_time=now.last_publish_time or before.last_publish_time,
        last_error=now.last_error or before.last_error,
    )  # fmt: skip


__all__ = ["STATS_SUBJECT", "RealtimeService", "Stats"]

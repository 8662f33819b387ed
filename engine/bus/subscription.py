"""One subscription: a bounded queue before a handler that takes its events one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from engine.bus.limits import Limits
from engine.bus.messages import Listener, Message

log = logging.getLogger("trunkline.bus")


class Subscription:
    """Events of `pattern` for one handler, in the order in which each publisher sent them.

    When the handler is slower than the events, the oldest are dropped; `dropped` counts them. An exception of the
    handler is logged, and the next event follows.
    """

    def __init__(
        self, pattern: str, handler: Listener, limits: Limits, on_close: Callable[[Subscription], Awaitable[None]]
    ) -> None:
        self.pattern = pattern
        self.dropped = 0
        self._handler = handler
        self._limits = limits
        self._on_close = on_close
        self._queue: deque[Message] = deque()
        self._queue_bytes = 0
        self._filled = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def waiting(self) -> int:
        """Events that wait for the handler."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Payload bytes of the events that wait for the handler."""
        return self._queue_bytes

    def take(self, message: Message) -> None:
        """Queues an event; the oldest ones make room for it."""
        limits = self._limits
        self._queue.append(message)
        self._queue_bytes += len(message.body)
        while len(self._queue) > 1 and (
            len(self._queue) > limits.queue_messages or self._queue_bytes > limits.queue_bytes
        ):
            self._queue_bytes -= len(self._queue.popleft().body)
            self.dropped += 1
        self._filled.set()

    async def close(self) -> None:
        """No further event reaches the handler; one that it is busy with is cancelled."""
        self.stop()
        await self._on_close(self)

    def stop(self) -> None:
        """Ends the handler without telling the bus."""
        self._queue.clear()
        self._queue_bytes = 0
        if self._task is not asyncio.current_task():
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                message = self._queue.popleft()
                self._queue_bytes -= len(message.body)
                try:
                    await self._handler(message)
                except Exception:
                    log.exception("the listener of %s failed on %s", self.pattern, message.subject)


__all__ = ["Subscription"]

"""The timers of RFC 3261 17 (table 4) and RFC 6026, in one struct, and the clock that runs them.

Nothing in the state machines reads the time or sleeps: they ask a `Clock` to call them later, which is an event loop in a worker and a
fake in tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec


class Handle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """It will not be made."""
        ...


class Clock(Protocol):
    """What runs timers: `asyncio.AbstractEventLoop` is one."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Calls back after `delay` seconds."""
        ...

    def time(self) -> float:
        """Seconds on a clock that never goes back."""
        ...


class Timers(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds. The letters are those of the RFCs; D, I, J, K are 0 over reliable transports."""

    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    d_s: float = 32.0
    trying_s: float = 0.2  # until a server answers an INVITE with 100 for a user that has not (17.2.1)

    @property
    def delays_s(self) -> tuple[float, ...]:
        """Those that a transaction of any kind begins with, over and over."""
        return self.trying_s, self.t1_s, self.t4_s, self.d_s, self.timeout_s

    @property
    def timeout_s(self) -> float:
        """B, F, H, J, L and M: 64 T1."""
        return 64 * self.t1_s


class Due:
    """One call in a queue."""

    __slots__ = ("_queue", "args", "at", "callback")

    def __init__(self, queue: DelayQueue, at: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._queue = queue
        self.at = at
        self.callback: Callable[..., Any] | None = callback
        self.args = args

    def cancel(self) -> None:
        """It will not be made; what it held is let go at once."""
        if self.callback is not None:
            self.callback = None
            self.args = ()
            self._queue.cancelled()


class DelayQueue:
    """Calls that are all due after the same delay, so that they are due in the order they came: one timer serves them all.

    Most are cancelled before they are due; those lie in the queue until there are as many of them as of others. Calls behind the first
    may come late by `SLACK` of the delay, but never more than `SLACK_S`, so that some are made at one waking and nobody waits for many.
    """

    SLACK: Final = 1 / 256
    SLACK_S: Final = 0.005
    DEAD_KEPT: Final = 64

    __slots__ = ("_clock", "_dead", "_delay_s", "_due", "_timer")

    def __init__(self, clock: Clock, delay_s: float) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._due: deque[Due] = deque()
        self._dead = 0
        self._timer: Handle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> Due:
        """Calls back after the delay."""
        due = Due(self, self._clock.time() + self._delay_s, callback, args)
        self._due.append(due)
        if self._timer is None:
            self._timer = self._clock.call_later(self._delay_s, self._fire)
        return due

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.time()
        while self._due and (self._due[0].callback is None or self._due[0].at <= now + 1e-6):
            due = self._due.popleft()
            if due.callback is None:
                self._dead -= 1
                continue
            callback, due.callback = due.callback, None
            callback(*due.args)
        if self._due and self._timer is None:
            self._timer = self._clock.call_later(max(self._due[0].at - self._clock.time(), min(self._delay_s * self.SLACK, self.SLACK_S)), self._fire)

    def cancelled(self) -> None:
        """Told by a call that will not be made."""
        self._dead += 1
        if self._dead == len(self._due):
            self.close()
        elif self._dead > self.DEAD_KEPT and 2 * self._dead > len(self._due):
            self._due = deque(due for due in self._due if due.callback is not None)
            self._dead = 0

    def close(self) -> None:
        """Makes no call any more."""
        self._due.clear()
        self._dead = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class QueuedClock:
    """A clock for many who wait for few different times: each of those has a queue. Others go to the clock underneath."""

    __slots__ = ("_clock", "_queues", "time")

    def __init__(self, clock: Clock, delays_s: Iterable[float]) -> None:
        self._clock = clock
        self._queues = {delay_s: DelayQueue(clock, delay_s) for delay_s in delays_s}
        self.time = clock.time

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Calls back after `delay` seconds."""
        queue = self._queues.get(delay)
        return self._clock.call_later(delay, callback, *args) if queue is None else queue.add(callback, args)

    def also(self, delays_s: Iterable[float]) -> None:
        """Makes queues for further delays."""
        for delay_s in delays_s:
            self._queues.setdefault(delay_s, DelayQueue(self._clock, delay_s))

    def close(self) -> None:
        """Makes none of the calls of its queues any more."""
        for queue in self._queues.values():
            queue.close()


__all__ = ["Clock", "DelayQueue", "Handle", "QueuedClock", "Timers"]

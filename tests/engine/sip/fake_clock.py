"""A clock that stands still until it is told to go on, and then makes every call that is due, in order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Due:
    def __init__(self, at: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.at, self.callback, self.args, self.cancelled = at, callback, args, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Due]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Due:
        due = Due(self.now + delay, callback, args)
        heapq.heappush(self._due, (due.at, next(self._count), due))
        return due

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until + 1e-9:
            at, _, due = heapq.heappop(self._due)
            self.now = max(self.now, at)
            if not due.cancelled:
                due.callback(*due.args)
        self.now = until

    @property
    def waiting(self) -> int:
        """Calls that are still to be made."""
        return sum(not due.cancelled for _, _, due in self._due)

"""The ports of a range: which one is next, and which rest because they were just in use."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator


class PortRange:
    """Even ports of `first` to `last` (without it), for RTP; the next one of each is for RTCP. A port that was given back rests for `quarantine_s`: what is still on its
    way to the stream that had it goes to nobody else. Each step takes the same time, however many there are."""

    def __init__(self, first: int, last: int, *, quarantine_s: float, clock: Callable[[], float], choice: random.Random) -> None:
        """`choice` makes the next port a secret."""
        self._free = list(range(first + first % 2, last - 1, 2))
        self._resting: deque[tuple[float, int]] = deque()
        self._quarantine_s = quarantine_s
        self._clock = clock
        self._choice = choice

    @property
    def free(self) -> int:
        """Ports that nobody has."""
        return len(self._free) + len(self._resting)

    def take(self) -> Iterator[int]:
        """Ports to try, at random, those that rest last. Each is the taker's until it gives it back."""
        now = self._clock()
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])
        for _ in range(len(self._free)):
            at = self._choice.randrange(len(self._free))
            self._free[at], self._free[-1] = self._free[-1], self._free[at]
            yield self._free.pop()
        for _ in range(len(self._resting)):
            yield self._resting.popleft()[1]

    def give_back(self, port: int) -> None:
        """A port that was in use, or that somebody else has."""
        self._resting.append((self._clock() + self._quarantine_s, port))


__all__ = ["PortRange"]

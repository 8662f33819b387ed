"""Analyses a day: counted in memory, per process, from midnight to midnight UTC."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.errors import QuotaSpent

DAY_S = 86_400


class Quota:
    """A daily count with a limit. Not shared between worker processes."""

    def __init__(self, limit: int, *, plan: str = "self-hosted", clock: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self.plan = plan
        self._clock = clock
        self._day = self._today()
        self._used = 0

    def _today(self) -> int:
        return int(self._clock()) // DAY_S

    @property
    def used(self) -> int:
        """Analyses since midnight UTC."""
        today = self._today()
        if today != self._day:
            self._day, self._used = today, 0
        return self._used

    @property
    def remaining(self) -> int:
        """Analyses left until midnight UTC."""
        return max(0, self.limit - self.used)

    @property
    def resets_at(self) -> int:
        """The next midnight UTC, in seconds since 1970."""
        return (self._today() + 1) * DAY_S

    def take(self) -> None:
        """Counts one analysis. Raises QuotaSpent when none is left."""
        if not self.remaining:
            wait = self.resets_at - int(self._clock())
            raise QuotaSpent(f"Rate limit of {self.limit:,} requests a day exceeded", {"Retry-After": str(wait)})
        self._used += 1

    def headers(self) -> dict[str, str]:
        """The X-RateLimit headers of every response."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.resets_at),
        }


__all__ = ["Quota"]

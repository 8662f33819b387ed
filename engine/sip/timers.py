"""The timers of RFC 3261 17 (table 4) and RFC 6026, in one struct, and the clock that runs them.

Nothing in the state machines reads the time or sleeps: they ask a `Clock` to call them later, which is an event loop in a worker and a
fake in tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

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
    def timeout_s(self) -> float:
        """B, F, H, J, L and M: 64 T1."""
        return 64 * self.t1_s


__all__ = ["Clock", "Handle", "Timers"]

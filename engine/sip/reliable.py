"""Provisional answers that are acknowledged (RFC 3262): numbered and repeated until their PRACK on one side, taken in order on the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from engine.sip.message import Message
from engine.sip.timers import Clock, Handle, Timers

RSEQ_MAX: Final = 2**31 - 1  # of the first one (3); each further is one more
WAITING_MAX: Final = 16


def rack_of(request: Message) -> tuple[int, int, str] | None:
    """The RAck of a PRACK: (RSeq, CSeq number, method); None when it is missing or malformed (7.2)."""
    parts = request.value("RAck").split()
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts[:2]):
        return None
    return int(parts[0]), int(parts[1]), parts[2]


def rseq_of(response: Message) -> int | None:
    """The RSeq of an answer that is to be acknowledged: one that requires 100rel (4); None for others."""
    requires = any(element.strip().lower() == b"100rel" for element in response.elements("Require"))
    number = response.number("RSeq")
    return number if requires and number is not None and 0 < number < 2**32 else None


class Repeating:
    """Sends something again with growing distance until it is acknowledged or 64 T1 are over: a reliable 1xx, or a 2xx (13.3.1.4)."""

    __slots__ = ("_clock", "_give_up", "_handle", "_interval_s", "_left_s", "_longest_s", "_send")

    def __init__(self, clock: Clock, timers: Timers, send: Callable[[], None], give_up: Callable[[], None], *, longest_s: float = 0.0) -> None:
        """The first repeat comes after T1; `longest_s` is the most between two, 0 for no such bound (3 of RFC 3262 has none)."""
        self._clock = clock
        self._send = send
        self._give_up = give_up
        self._interval_s = timers.t1_s
        self._left_s = timers.timeout_s
        self._longest_s = longest_s
        self._handle: Handle | None = clock.call_later(self._interval_s, self._fire)

    def _fire(self) -> None:
        self._left_s -= self._interval_s
        if self._left_s <= 0:
            self._handle = None
            self._give_up()
            return
        self._send()
        doubled = 2 * self._interval_s
        self._interval_s = min(doubled, self._left_s, self._longest_s or doubled)
        self._handle = self._clock.call_later(self._interval_s, self._fire)

    def stop(self) -> None:
        """It was acknowledged, or does not matter any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class ReliableAnswers:
    """The reliable provisional answers to one INVITE: one is on its way at a time (3), further ones wait for its PRACK."""

    __slots__ = ("_clock", "_cseq", "_give_up", "_repeating", "_rseq", "_timers", "_waiting")

    def __init__(self, clock: Clock, timers: Timers, cseq: int, give_up: Callable[[], None], *, first: int) -> None:
        """`first` is the number of the first one, 1 to RSEQ_MAX, at random; `give_up` tells that one was never acknowledged."""
        if not 0 < first <= RSEQ_MAX:
            raise ValueError(f"{first} is no number for the first reliable answer")
        self._clock = clock
        self._timers = timers
        self._cseq = cseq
        self._give_up = give_up
        self._rseq = first - 1
        self._repeating: Repeating | None = None
        self._waiting: deque[Callable[[int], Callable[[], None]]] = deque()

    @property
    def outstanding(self) -> bool:
        """Whether one waits for its PRACK."""
        return self._repeating is not None

    def send(self, transmit: Callable[[int], Callable[[], None]]) -> None:
        """Sends one, now or behind the one that waits. `transmit(rseq)` sends it and gives what repeats it. One too many is left out:
        they say only how far the call is."""
        if self._repeating is not None:
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append(transmit)
            return
        self._rseq += 1
        again = transmit(self._rseq)
        self._repeating = Repeating(self._clock, self._timers, again, self._never)

    def _never(self) -> None:
        self._repeating = None
        self._waiting.clear()
        self._give_up()

    def acknowledged(self, rack: tuple[int, int, str]) -> bool:
        """A PRACK came; whether it is for the one that waits. Its repeats end, and the next one goes out."""
        if self._repeating is None or rack != (self._rseq, self._cseq, "INVITE"):
            return False
        self._repeating.stop()
        self._repeating = None
        if self._waiting:
            self.send(self._waiting.popleft())
        return True

    def no_more(self) -> None:
        """What waits behind the one that is on its way is not worth sending any more."""
        self._waiting.clear()

    def stop(self) -> None:
        """The INVITE was answered finally (3): what is not acknowledged is not repeated."""
        self._waiting.clear()
        if self._repeating is not None:
            self._repeating.stop()
            self._repeating = None


__all__ = ["RSEQ_MAX", "ReliableAnswers", "Repeating", "rack_of", "rseq_of"]

"""A relay that only receives and sends: recvmmsg and sendmmsg in C, two sockets a call under epoll. Nothing with sockets of its own for each leg can do with less.

It rests for half a millisecond where little has come, as our plane does; `at_once` does not, which costs more and is sooner.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import media_limits
from bench.rtp_load import Subject

NAME = "bare C relay"


def install() -> None:
    """Compiles it."""
    media_limits.program()


def start(legs: Sequence[int]) -> tuple[Subject, list[int]]:
    """A relay of calls: legs 2n and 2n + 1 are one. `legs` are the ports the two ends listen on, what is returned where they send."""
    return media_limits.relaying(legs)


def at_once(legs: Sequence[int]) -> tuple[Subject, list[int]]:
    """The same without a rest."""
    return media_limits.relaying(legs, 0)


__all__ = ["NAME", "at_once", "install", "start"]

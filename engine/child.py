"""What the children of the supervisor that do not serve HTTP have in common: their command line, the signals that end them, what they say of themselves."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from engine.bus.presence import BEAT_S, HUB_GONE_S

STATUS_SUBJECT: Final = "worker.status"
GRACE_S: Final = 8.0
# Calls leave no cycles behind. The young are looked through often, since each look delays whoever calls just then: 2,000 take well under a
# millisecond, 20,000 took eight. All that lives is looked through every 40 million objects.
COLLECT_AT: Final = (2_000, 20_000, 100)


class WorkerStatus(msgspec.Struct, frozen=True):
    """A child, for those who ask."""

    name: str
    pid: int
    state: str
    calls: int
    uptime_s: float
    rss_bytes: int | None
    reloads: int
    sip: dict[str, int] = {}


def parser_of(module: str, description: str) -> argparse.ArgumentParser:
    """A parser of what every child is told: where its bus is, and how patient it is."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--bus", required=True, help="url of the bus: unix:///... or amqp://...")
    parser.add_argument("--connect-s", type=float, default=10.0, help="seconds to find the bus at the start")
    parser.add_argument("--beat-s", type=float, default=BEAT_S, help="seconds between signs of life")
    parser.add_argument("--hub-gone-s", type=float, default=HUB_GONE_S, help="seconds without a bus before it gives up")
    parser.add_argument("--grace-s", type=float, default=GRACE_S, help="seconds to finish what was begun")
    return parser


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` in the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def collect_seldom() -> None:
    """What was loaded so far lives as long as the process: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)


__all__ = ["GRACE_S", "STATUS_SUBJECT", "WorkerStatus", "collect_seldom", "parser_of", "stopped_by_signals"]

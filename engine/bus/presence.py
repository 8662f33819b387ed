"""How a process tells its supervisor that it is there: one event a beat, with its place and whether it is ready.

The supervisor gives every child its name in TRUNKLINE_CHILD and its own hub in TRUNKLINE_HUB: signs of life go through
that one, also where the bus for everything else is a broker. A child of several processes beats from each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping

import msgspec

from engine.bus.bus import Bus
from engine.bus.errors import BusError, Disconnected

CHILD_VARIABLE = "TRUNKLINE_CHILD"
HUB_VARIABLE = "TRUNKLINE_HUB"
BEAT_TOPIC = "process.beat"
BEAT_S = 0.5
HUB_GONE_S = 10.0


class Beat(msgspec.Struct, frozen=True):
    """One sign of life."""

    child: str
    pid: int
    ready: bool


async def keep_beating(
    bus: Bus,
    ready: Callable[[], bool],
    *,
    interval_s: float = BEAT_S,
    hub_gone_s: float = HUB_GONE_S,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Beats until it is cancelled. Raises Disconnected when the bus has been out of reach for `hub_gone_s`.

    A process that nobody supervises beats under its own name, which is heard by nobody.
    """
    child = environment.get(CHILD_VARIABLE, bus.name)
    while True:
        if bus.lost_for_s > hub_gone_s:
            raise Disconnected(f"{bus.name} has been without a bus for {bus.lost_for_s:.0f} s")
        with contextlib.suppress(BusError):
            await bus.publish(BEAT_TOPIC, Beat(child, os.getpid(), ready()))
        await asyncio.sleep(interval_s)


__all__ = ["BEAT_S", "BEAT_TOPIC", "CHILD_VARIABLE", "HUB_GONE_S", "HUB_VARIABLE", "Beat", "keep_beating"]

"""Asking several processes for what one of them has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from engine.bus import Bus, BusError
from engine.bus.errors import UnknownSubject
from engine.errors import EngineError

Answer = TypeVar("Answer")


async def ask_first(bus: Bus, names: Sequence[str], subject: str, wanted: Any, shape: type[Answer], unknown: EngineError, *, timeout_s: float) -> Answer:
    """What the process says that has it; all are asked at once, and the first that has it is heard. Raises `unknown` when none has it, which each says with the same
    code; what it failed with where one has it and failed, which is an error of the same part of the engine; and the BusError of one that could not be asked, and might
    have it."""
    part = unknown.code.partition(".")[0] + "."
    asked = [asyncio.ensure_future(bus.request(name, subject, wanted, timeout_s, shape=shape)) for name in names]
    failed: BusError | None = None
    try:
        for done in asyncio.as_completed(asked):
            try:
                return await done
            except BusError as error:
                if error.code in (unknown.code, UnknownSubject.code):
                    continue
                if error.code.startswith(part):
                    raise
                failed = error
    finally:
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    raise failed or unknown


__all__ = ["ask_first"]

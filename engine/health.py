"""Health: one check a subsystem, run together, each within its time, answers kept for a moment."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

Status = Literal["healthy", "degraded", "unhealthy", "not_configured"]
WORSE: tuple[Status, ...] = ("not_configured", "healthy", "degraded", "unhealthy")
FRESH_S = 1.0
TIMEOUT_S = 2.0
DISK_LOW_BYTES, DISK_OUT_BYTES = 1 << 30, 64 << 20
LAG_STEP_S, LAG_HIGH_S = 0.25, 0.5


class Result(msgspec.Struct, frozen=True):
    """What a check found."""

    status: Status
    message: str = ""


class Check(msgspec.Struct, frozen=True):
    """A subsystem's check. Without a `critical` one the server does not work; the others only make it degraded."""

    name: str
    run: Callable[[], Awaitable[Result]]
    critical: bool = False
    timeout_s: float = TIMEOUT_S


def worse(one: Result, other: Result) -> Result:
    """The worse of two answers to the same question."""
    return max(one, other, key=lambda result: WORSE.index(result.status))


class Health:
    """All checks of a process."""

    def __init__(self, checks: Sequence[Check], clock: Callable[[], float] = time.monotonic) -> None:
        self._checks = list(checks)
        self._clock = clock
        self._groups: list[tuple[str, Callable[[], Awaitable[Mapping[str, Result]]]]] = []
        self._results: dict[str, Result] = {}
        self._read_at = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self.lag_s = 0.0

    async def results(self) -> dict[str, Result]:
        """What every check says, at most FRESH_S old; one run at a time, whoever waits for it."""
        if self._clock() - self._read_at > FRESH_S:
            if self._running is None or self._running.done():
                self._running = asyncio.get_running_loop().create_task(self._run())
            await asyncio.shield(self._running)
        return self._results

    async def _run(self) -> None:
        found, groups = await asyncio.gather(
            asyncio.gather(*(self._one(check) for check in self._checks)), asyncio.gather(*(self._group(name, run) for name, run in self._groups))
        )
        results = dict(zip((check.name for check in self._checks), found, strict=True))
        for group in groups:
            for name, result in group.items():
                results[name] = worse(results[name], result) if name in results else result
        self._results = results
        self._read_at = self._clock()

    async def _group(self, name: str, run: Callable[[], Awaitable[Mapping[str, Result]]]) -> dict[str, Result]:
        """What another process says of itself; nothing of it is critical here."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                told = await run()
        except TimeoutError:
            return {name: Result("degraded", f"no answer within {TIMEOUT_S:g} s")}
        except Exception as error:
            return {name: Result("degraded", f"{type(error).__name__}")}
        return {each: Result("degraded", result.message) if result.status == "unhealthy" else result for each, result in told.items()}

    async def _one(self, check: Check) -> Result:
        try:
            async with asyncio.timeout(check.timeout_s):
                result = await check.run()
        except TimeoutError:
            result = Result("unhealthy", f"no answer within {check.timeout_s:g} s")
        except Exception as error:
            result = Result("unhealthy", f"{type(error).__name__}")
        if result.status == "unhealthy" and not check.critical:
            return Result("degraded", result.message)
        return result

    async def status(self) -> Status:
        """The worst of all: unhealthy only through a critical check."""
        told = {result.status for result in (await self.results()).values()}
        return "unhealthy" if "unhealthy" in told else "degraded" if "degraded" in told else "healthy"

    async def watch(self) -> None:
        """Measures how late the event loop is, until it is cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(LAG_STEP_S)
            self.lag_s = max(0.0, self._clock() - before - LAG_STEP_S)

    async def loop_check(self) -> Result:
        """How late the event loop is."""
        text = f"the event loop is {self.lag_s * 1000:.0f} ms late"
        return Result("degraded" if self.lag_s > LAG_HIGH_S else "healthy", text)

    def add(self, check: Check) -> None:
        """One more check."""
        self._checks.append(check)

    def add_group(self, name: str, run: Callable[[], Awaitable[Mapping[str, Result]]]) -> None:
        """Checks of another process, by name; of one that is here too, the worse answer is told. `name` is that of the one that fails when nobody answers."""
        self._groups.append((name, run))


def disk_check(directory: Path) -> Callable[[], Awaitable[Result]]:
    """Room on the disk of the data directory."""

    async def run() -> Result:
        free = shutil.disk_usage(directory).free
        status: Status = "unhealthy" if free < DISK_OUT_BYTES else "degraded" if free < DISK_LOW_BYTES else "healthy"
        return Result(status, f"{free // (1 << 20):,} MiB free")

    return run


def system() -> dict[str, Any]:
    """Figures of the process and the machine. The recording contract has whole MiB, as many of its readers do."""
    with open("/proc/self/statm", "rb") as file:
        rss = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"memory_mb": round(rss / (1 << 20)), "cpu_count": os.cpu_count() or 1, "pid": os.getpid()}


__all__ = ["Check", "Health", "Result", "Status", "disk_check", "system", "worse"]

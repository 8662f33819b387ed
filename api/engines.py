"""The engine workers and the keeper, as the routes ask them over the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from api.errors import Busy
from engine.bus import Bus, BusError
from engine.keeping import KEEPER
from engine.siprec.facts import SessionFacts
from engine.siprec.service import BULK_S, STATS_SUBJECT, ask, ask_all, ask_sessions

WORKER_KIND: Final = "engine"  # of the supervisor's children
WORKER_STATUS_SUBJECT: Final = "worker.status"
NO_BUS: Final = "The engine workers cannot be asked now; retry in a moment"
KEEPER_S: Final = 0.3
FIGURES_S: Final = 1.0
FRESH_S: Final = 0.5
KEEPERS_OWN: Final = frozenset({"bus.unknown_target", "bus.unknown_subject"})  # errors that say that there is none

Answer = TypeVar("Answer")


class WorkerFigures(msgspec.Struct, frozen=True):
    """What is wanted here of a worker's status (`engine.worker`)."""

    calls: int
    sip: dict[str, int] = {}


class Child(Protocol):
    """A process, as the supervisor tells of it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...


class Family(Protocol):
    """All processes."""

    @property
    def children(self) -> Any: ...


class Figures:
    """What all workers counted, together; `calls` are all calls that they have, recorded ones too. `silent` workers did not say."""

    def __init__(self, counts: dict[str, int], calls: int, workers: int, silent: list[str]) -> None:
        self.counts = counts
        self.calls = calls
        self.workers = workers
        self.silent = silent


def _sums(told: Iterable[dict[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for figures in told:
        for name, count in figures.items():
            sums[name] = sums.get(name, 0) + count
    return sums


class Engines:
    """Whom to ask. The workers of a run have their names from its beginning to its end, so nobody is asked for them twice: a pause is one way to a worker and back."""

    def __init__(self, bus: Callable[[], Bus | None], processes: Callable[[], Awaitable[Family | None]]) -> None:
        self._bus = bus
        self._processes = processes
        self._names: list[str] = []
        self._latest: Figures | None = None
        self._latest_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def _ways(self) -> tuple[Bus, list[str]]:
        """The bus, and the names of the engine workers on it. Raises Busy."""
        bus = self._bus()
        if bus is not None and not self._names:
            family = await self._processes()
            self._names = [child.name for child in family.children if child.kind == WORKER_KIND] if family is not None else []
        if bus is None or not self._names:
            raise Busy(NO_BUS, {"Retry-After": "1"})
        return bus, self._names

    async def ask(self, subject: str, wanted: Any, shape: type[Answer]) -> Answer:
        """What the worker says that has the session. Raises Busy, UnknownSession and bus errors."""
        bus, names = await self._ways()
        return await ask(bus, names, subject, wanted, shape)

    async def ask_all(self, subject: str, wanted: Any, shape: type[Answer]) -> tuple[list[Answer], list[str]]:
        """(what each worker says, names of those that did not). Raises Busy and bus errors."""
        bus, names = await self._ways()
        return await ask_all(bus, names, subject, wanted, shape, timeout_s=BULK_S)

    async def sessions(self) -> tuple[list[SessionFacts], list[str]]:
        """(all recording sessions, names of workers that did not answer). Raises Busy."""
        bus, names = await self._ways()
        return await ask_sessions(bus, names)

    async def figures(self, timeout_s: float = FIGURES_S) -> Figures:
        """What all workers counted. Raises Busy and bus errors."""
        bus, names = await self._ways()
        (told, silent), (statuses, mute) = await asyncio.gather(
            ask_all(bus, names, STATS_SUBJECT, None, dict[str, int], timeout_s=timeout_s),
            ask_all(bus, names, WORKER_STATUS_SUBJECT, None, WorkerFigures, timeout_s=timeout_s),
        )
        counts = {**_sums(status.sip for status in statuses), **_sums(told)}  # what both say of is counted by both
        return Figures(counts, sum(status.calls for status in statuses), len(names), sorted({*silent, *mute}))

    async def latest(self) -> Figures | None:
        """The same, at most FRESH_S old, however many ask; None where nobody can be asked."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._latest_at > FRESH_S:
            if self._asking is None or self._asking.done():
                self._asking = loop.create_task(self._ask_figures())
            await asyncio.shield(self._asking)
        return self._latest

    async def _ask_figures(self) -> None:
        try:
            self._latest = await self.figures()
        except (Busy, BusError):
            self._latest = None
        self._latest_at = asyncio.get_running_loop().time()

    async def ask_keeper(self, subject: str, wanted: Any, shape: type[Answer], timeout_s: float = KEEPER_S) -> Answer | None:
        """What the keeper says; None where there is no keeper, or it does not say it. Raises bus errors where it should have and did not."""
        bus = self._bus()
        if bus is None:
            return None
        try:
            return await bus.request(KEEPER, subject, wanted, timeout_s, shape=shape)
        except BusError as error:
            if error.code in KEEPERS_OWN:
                return None
            raise


__all__ = ["WORKER_KIND", "Engines", "Figures"]

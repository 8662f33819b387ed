"""How much was taken of the daily quotas: exact under any number of processes and threads.

A wish takes from the owner and from the team or from neither. Each half is one statement that only adds where the sum stays within
the limit; both run in one transaction, the owner's always first, so that two never wait for each other.

With SQLite the counts live in a file of their own beside the store's ("trunkline.db" has "trunkline-quotas.db"), because every
request writes there: SQLite has one writer a file, and a request must not wait until a long trace is stored. The statements run in
the caller's thread, since handing them to another would take longer than they do. That file is synchronous=NORMAL: a power cut may
give back the last wishes, a killed process gives back nothing. A file that others hold is tried again from the event loop, which
never blocks for it, and the write-ahead log is folded into the file by another thread, which needs no lock that writers wait for.

Days are counted from 1970 and named by the caller. With its first wish of a day a process deletes what is DAYS_KEPT behind that
day and its clock, whichever is earlier: a clock that jumps ahead for a while, or back, finds today's counts as they were.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store.database import Database, told
from engine.store.errors import Busy
from engine.store.models import short
from engine.store.rows import Taken

log = logging.getLogger("trunkline.store")
Result = TypeVar("Result")

DAY_S: Final = 86_400
DAYS_KEPT: Final = 32
AMOUNT_MAX: Final = 2**31
COUNT_MAX: Final = 2**62
DAY_MAX: Final = 2**31
WAIT_S: Final = 5.0
STEP_S: Final = 0.0005
STEP_MAX_S: Final = 0.02
FOLD_EVERY: Final = 512

# The same text for both databases; :name is a parameter in either.
_TAKE: Final = """
INSERT INTO quotas (day, kind, name, used)
SELECT CAST(:day AS BIGINT), CAST(:kind AS VARCHAR(5)), CAST(:name AS VARCHAR(255)), CAST(:amount AS BIGINT)
WHERE CAST(:amount AS BIGINT) <= CAST(:most AS BIGINT)
ON CONFLICT (day, kind, name) DO UPDATE SET used = quotas.used + excluded.used
WHERE quotas.used + excluded.used <= CAST(:most AS BIGINT)
RETURNING used
"""
_USED: Final = "SELECT used FROM quotas WHERE day = :day AND kind = :kind AND name = :name"
_GIVE_BACK: Final = """
UPDATE quotas SET used = CASE WHEN used > :amount THEN used - :amount ELSE 0 END
WHERE day = :day AND kind = :kind AND name = :name
"""
_FORGET: Final = "DELETE FROM quotas WHERE day < :day"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS quotas (
    day INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (day, kind, name)
) WITHOUT ROWID
"""


class Quotas(Protocol):
    """The counts of owners and teams. `day` is days since 1970, UTC."""

    async def take(
        self, day: int, owner: str, owner_limit: int, team: str | None, team_limit: int | None, amount: int = 1
    ) -> Taken:
        """Takes `amount` where it stays within the owner's limit and the team's; a team without a limit is only counted.

        Raises ValueError for an amount below 1 or beyond AMOUNT_MAX, Busy and Unavailable.
        """
        ...

    async def used(self, day: int, owner: str, team: str | None) -> tuple[int, int]:
        """What an owner and a team took that day; 0 for no team."""
        ...

    async def give_back(self, day: int, owner: str, team: str | None, amount: int = 1) -> None:
        """Undoes a wish that was granted; counts stay above 0."""
        ...

    async def close(self) -> None:
        """Ends the connection that is used here."""
        ...


def _place(day: int, kind: str, name: str) -> dict[str, object]:
    if not 0 <= day <= DAY_MAX:
        raise ValueError(f"a day is 0 to {DAY_MAX}")
    return {"day": day, "kind": kind, "name": short(name)}


def _places(day: int, owner: str, team: str | None) -> list[dict[str, object]]:
    """Parameters of the owner's row and the team's, in the order that they are locked in."""
    owners = _place(day, "owner", owner)
    return [owners] if team is None else [owners, _place(day, "team", team)]


def _pools(
    day: int, owner: str, owner_limit: int, team: str | None, team_limit: int | None, amount: int
) -> list[dict[str, object]]:
    limits = (owner_limit, COUNT_MAX if team_limit is None else team_limit)
    places = zip(_places(day, owner, team), limits, strict=False)
    return [
        {**place, "amount": _checked(amount), "most": max(-1, min(limit, COUNT_MAX))} for place, limit in places
    ]


def _checked(amount: int) -> int:
    if not 1 <= amount <= AMOUNT_MAX:
        raise ValueError(f"an amount is 1 to {AMOUNT_MAX}")
    return amount


def _oldest(day: int, now: float) -> dict[str, object]:
    """The first day that is kept."""
    return {"day": min(day, int(now // DAY_S)) - DAYS_KEPT}


def _taken(granted: bool, counts: list[int]) -> Taken:
    return Taken(granted, counts[0], counts[1] if len(counts) > 1 else 0)


class SqliteQuotas:
    """Counts in a SQLite file of their own. One connection, which one thread at a time uses; not to be taken into a fork."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Makes the file where it is missing. Raises Busy, Unavailable."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._newest_day = -1
        self._until_fold = FOLD_EVERY
        self._folding: asyncio.Future[None] | None = None
        with told():
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._connection = self._opened()
            self._connection.execute(_TABLE)
            self._connection.execute("PRAGMA busy_timeout=0")

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            for setting in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"):
                connection.execute(f"PRAGMA {setting}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    async def take(
        self, day: int, owner: str, owner_limit: int, team: str | None, team_limit: int | None, amount: int = 1
    ) -> Taken:
        """As Quotas says."""
        pools = _pools(day, owner, owner_limit, team, team_limit, amount)
        taken = await self._tried(lambda: self._take(pools))
        if day > self._newest_day:
            self._newest_day = day
            await self._tried(lambda: self._run(_FORGET, _oldest(day, self._clock())))
        self._until_fold -= 1
        if self._until_fold <= 0 and self._folding is None:
            self._folding = asyncio.get_running_loop().run_in_executor(None, self._fold)
            self._folding.add_done_callback(self._folded)
        return taken

    def _take(self, pools: list[dict[str, object]]) -> Taken:
        if len(pools) == 1:
            used = self._run(_TAKE, pools[0])
            return _taken(used is not None, [used if used is not None else self._run(_USED, pools[0]) or 0])
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            counts = [used for pool in pools if (used := self._run(_TAKE, pool)) is not None]
            granted = len(counts) == len(pools)
            self._connection.execute("COMMIT" if granted else "ROLLBACK")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        return _taken(granted, counts if granted else [self._run(_USED, pool) or 0 for pool in pools])

    async def used(self, day: int, owner: str, team: str | None) -> tuple[int, int]:
        """As Quotas says."""
        places = _places(day, owner, team)
        counts = await self._tried(lambda: [self._run(_USED, place) or 0 for place in places])
        return counts[0], counts[1] if team is not None else 0

    async def give_back(self, day: int, owner: str, team: str | None, amount: int = 1) -> None:
        """As Quotas says."""
        rows = [{**place, "amount": _checked(amount)} for place in _places(day, owner, team)]
        await self._tried(lambda: self._give_back(rows))

    def _give_back(self, rows: list[dict[str, object]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                self._run(_GIVE_BACK, row)
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _run(self, statement: str, values: Mapping[str, object]) -> int | None:
        rows = self._connection.execute(statement, values).fetchall()
        return int(rows[0][0]) if rows else None

    async def _tried(self, work: Callable[[], Result]) -> Result:
        """Does the work, again and again while another process holds the file."""
        give_up_at = time.monotonic() + WAIT_S
        step_s = STEP_S
        while True:
            try:
                with told(), self._lock:
                    return work()
            except Busy:
                if time.monotonic() > give_up_at:
                    raise
            # at random, so that those who wait do not meet again
            await asyncio.sleep(random.uniform(0, step_s))
            step_s = min(2 * step_s, STEP_MAX_S)

    def _fold(self) -> None:
        connection = self._opened()
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()

    def _folded(self, folding: asyncio.Future[None]) -> None:
        self._folding = None
        self._until_fold = FOLD_EVERY
        if not folding.cancelled() and (error := folding.exception()) is not None:
            log.warning("the log of the quotas could not be folded: %s", error)

    async def close(self) -> None:
        """Waits for what runs beside, and closes the file."""
        if self._folding is not None:
            await asyncio.wait([self._folding])
        with self._lock:
            self._connection.close()


class PostgresqlQuotas:
    """Counts in a table of the store's own database."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._newest_day = -1

    async def take(
        self, day: int, owner: str, owner_limit: int, team: str | None, team_limit: int | None, amount: int = 1
    ) -> Taken:
        """As Quotas says."""
        pools = _pools(day, owner, owner_limit, team, team_limit, amount)
        if len(pools) == 1:
            async with self._database.single() as connection:
                used = await _run(connection, _TAKE, pools[0])
                counts = [used if used is not None else await _run(connection, _USED, pools[0]) or 0]
                taken = _taken(used is not None, counts)
        else:
            taken = await self._take_both(*pools)
        if day > self._newest_day:
            self._newest_day = day
            async with self._database.single() as connection:
                await _run(connection, _FORGET, _oldest(day, self._clock()))
        return taken

    async def _take_both(self, owner: dict[str, object], team: dict[str, object]) -> Taken:
        async with self._database.writing() as connection:
            owner_used = await _run(connection, _TAKE, owner)
            if owner_used is not None:
                team_used = await _run(connection, _TAKE, team)
                if team_used is not None:
                    return _taken(True, [owner_used, team_used])
                # the owner's row is locked since it was taken from, so nobody saw that
                await _run(connection, _GIVE_BACK, owner)
            return _taken(False, [await _run(connection, _USED, pool) or 0 for pool in (owner, team)])

    async def used(self, day: int, owner: str, team: str | None) -> tuple[int, int]:
        """As Quotas says."""
        async with self._database.single() as connection:
            counts = [await _run(connection, _USED, place) or 0 for place in _places(day, owner, team)]
        return counts[0], counts[1] if team is not None else 0

    async def give_back(self, day: int, owner: str, team: str | None, amount: int = 1) -> None:
        """As Quotas says."""
        rows = [{**place, "amount": _checked(amount)} for place in _places(day, owner, team)]
        async with self._database.writing() as connection:
            for row in rows:
                await _run(connection, _GIVE_BACK, row)

    async def close(self) -> None:
        """Nothing: the connections are the store's."""


async def _run(connection: AsyncConnection, statement: str, values: Mapping[str, object]) -> int | None:
    # other statements may have more parameters at hand than this one names
    result = await connection.execute(_TEXTS[statement], {name: values[name] for name in _NAMES[statement]})
    found = result.scalars().first() if result.returns_rows else None
    return None if found is None else int(found)


_TEXTS: Final = {statement: sa.text(statement) for statement in (_TAKE, _USED, _GIVE_BACK, _FORGET)}
_NAMES: Final = {statement: tuple(text.compile().params) for statement, text in _TEXTS.items()}


__all__ = ["AMOUNT_MAX", "DAYS_KEPT", "PostgresqlQuotas", "Quotas", "SqliteQuotas"]

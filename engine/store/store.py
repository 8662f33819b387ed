"""The door to the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from engine.store import models
from engine.store.audit import Audit
from engine.store.calls import Calls
from engine.store.database import Database, told
from engine.store.errors import WrongRevision
from engine.store.jobs import Jobs
from engine.store.keys import Keys
from engine.store.migrations import HEAD, VERSION_TABLE, upgrade
from engine.store.of_call import OfCall
from engine.store.quotas import PostgresqlQuotas, Quotas, SqliteQuotas
from engine.store.recorded import Recorded
from engine.store.rows import RecordingRow, SummaryRow, TranscriptRow
from engine.store.traces import Traces
from engine.store.webhooks import Webhooks


class Store:
    """An open store: one attribute a subject. Belongs to the event loop it was opened in; any number of processes may have it open."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        """Use `Store.open`."""
        self._database = database
        self.keys = Keys(database)
        self.quotas = quotas
        self.audit = Audit(database)
        self.calls = Calls(database)
        self.traces = Traces(database)
        self.webhooks = Webhooks(database)
        self.jobs = Jobs(database)
        self.recorded = Recorded(database)
        self.recordings = OfCall(database, models.recordings, RecordingRow)
        self.transcripts = OfCall(database, models.transcripts, TranscriptRow)
        self.summaries = OfCall(database, models.summaries, SummaryRow)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        synchronous: str = "full",
        create: bool = True,
        check: bool = True,
        make_file: bool = False,
    ) -> Store:
        """Opens "sqlite:///path" or "postgresql://user@host/name".

        `create` makes what is missing and brings the tables up to date; without it, `check` demands that they are, and `make_file`
        makes SQLite's file alone. `synchronous`
        ("full" or "normal") is SQLite's, see engine/store/database.py; `clock` tells the time by which old quotas are forgotten.
        Raises ValueError for a url that makes no sense, Damaged, Unavailable, Busy and WrongRevision.
        """
        database = Database(url, synchronous=synchronous)
        try:
            if create or make_file:
                database.make_file()
            database.check_file()
            if create:
                await _upgrade(database)
            elif check and (found := await _revision(database)) != HEAD:
                raise WrongRevision(
                    f"the store has revision {found or 'none'}, and this program needs {HEAD}: run trunkline db upgrade"
                )
            quotas = PostgresqlQuotas(database, clock) if database.path is None else SqliteQuotas(quota_path(database.path), clock)
        except BaseException:
            await database.close()
            raise
        return cls(database, quotas)

    async def upgrade(self) -> tuple[str | None, str]:
        """Brings the tables up to date; the revisions before (None when there were no tables) and after. Raises WrongRevision when
        they are newer than this program."""
        return await _upgrade(self._database)

    async def revision(self) -> str | None:
        """The revision of the tables, None when there are none."""
        return await _revision(self._database)

    async def ping(self) -> None:
        """Raises an error of the store when it cannot be read now."""
        self._database.check_file()
        if await _revision(self._database) is None:
            raise WrongRevision("the store has no tables")

    async def close(self) -> None:
        """Closes every connection."""
        await self.quotas.close()
        await self._database.close()


def quota_path(path: Path) -> Path:
    """Where the quotas of a SQLite store are counted."""
    return path.with_name(f"{path.stem}-quotas{path.suffix}")


async def _upgrade(database: Database) -> tuple[str | None, str]:
    before = await _revision(database)
    if before != HEAD:
        with told():
            async with database.writing() as connection:
                await connection.run_sync(upgrade)
    return before, HEAD


async def _revision(database: Database) -> str | None:
    async with database.reading() as connection:
        if not await connection.run_sync(lambda direct: sa.inspect(direct).has_table(VERSION_TABLE)):
            return None
        return (await connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))).scalar_one_or_none()


__all__ = ["Store", "quota_path"]

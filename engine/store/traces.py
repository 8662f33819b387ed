"""Traces that were kept: what they were called, what the report said of them as a whole, and their end."""

from __future__ import annotations

import sqlalchemy as sa

from engine.store import models
from engine.store.calls import found_in
from engine.store.database import Database
from engine.store.paging import checked_limit, time_of, timed_cursor_of
from engine.store.rows import FindingRow, Owner, StreamRow, TraceRow
from engine.store.visibility import visible

_TRACES = models.traces.c
_LIST = "traces"


class Traces:
    """The traces of all owners. They come into the store with their calls, by `Calls.keep`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, id: str, visible_to: Owner | None = None) -> TraceRow | None:
        """The trace of this id, when the one who asks may see it."""
        statement = models.traces.select().where(_TRACES.id == id, visible(models.traces, visible_to))
        async with self._database.reading() as connection:
            found = (await connection.execute(statement)).mappings().first()
        return TraceRow(**found) if found else None

    async def findings(self, id: str) -> list[FindingRow]:
        """What was found of the trace as a whole; findings of its calls are with them."""
        table = models.findings
        return await found_in(self._database, table, FindingRow, sa.and_(table.c.trace_id == id, table.c.call.is_(None)))

    async def streams(self, id: str) -> list[StreamRow]:
        """RTP streams of the trace that belong to no call."""
        table = models.streams
        return await found_in(self._database, table, StreamRow, sa.and_(table.c.trace_id == id, table.c.call.is_(None)))

    async def delete(self, id: str) -> bool:
        """Deletes a trace with all its calls; whether it was there."""
        async with self._database.writing() as connection:
            return (await connection.execute(models.traces.delete().where(_TRACES.id == id))).rowcount == 1

    async def list(
        self, cursor: str | None = None, *, limit: int = 50, visible_to: Owner | None = None
    ) -> tuple[list[TraceRow], str | None]:
        """A page of traces, newest first, and the cursor of the next one. Raises BadCursor; ValueError for a limit out of range."""
        conditions = [visible(models.traces, visible_to)]
        if cursor is not None:
            at, id = time_of(_LIST, cursor)
            conditions.append(sa.tuple_(_TRACES.stored_at, _TRACES.id) < sa.tuple_(sa.literal(at), sa.literal(id)))
        statement = models.traces.select().where(*conditions).order_by(_TRACES.stored_at.desc(), _TRACES.id.desc())
        async with self._database.reading() as connection:
            found = (await connection.execute(statement.limit(checked_limit(limit) + 1))).mappings().all()
        rows = [TraceRow(**told) for told in found[:limit]]
        return rows, timed_cursor_of(_LIST, rows[-1].stored_at, rows[-1].id) if len(found) > limit else None


__all__ = ["Traces"]

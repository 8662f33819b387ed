"""What belongs to a call and comes later: recordings, transcripts and summaries. All three are kept alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from engine.store import models
from engine.store.database import Database
from engine.store.rows import Owner, RecordingRow, SummaryRow, TranscriptRow
from engine.store.visibility import visible

Row = TypeVar("Row", bound=RecordingRow | TranscriptRow | SummaryRow)
FIXED = frozenset({"id", "call", "created_at"})


class OfCall(Generic[Row]):
    """Rows of one kind. They are deleted with their call, and seen by those who see it."""

    def __init__(self, database: Database, table: sa.Table, row_type: type[Row]) -> None:
        self._database = database
        self._table = table
        self._row_type = row_type

    async def add(self, row: Row) -> None:
        """Raises Conflict when the id is there already, or the call is not."""
        async with self._database.writing() as connection:
            await connection.execute(self._table.insert(), msgspec.structs.asdict(row))

    async def get(self, id: str, visible_to: Owner | None = None) -> Row | None:
        """The row of this id, when the one who asks may see it."""
        found = await self._found(self._table.c.id == id, visible_to)
        return found[0] if found else None

    async def of_call(self, call: int, visible_to: Owner | None = None) -> list[Row]:
        """A call's rows, the oldest first."""
        if not 0 < call <= models.INTEGER_MAX:
            return []
        return await self._found(self._table.c.call == call, visible_to)

    async def update(self, id: str, changes: Mapping[str, Any]) -> bool:
        """Changes fields; whether the row is there. Raises ValueError for one that stays as it is or is none."""
        if other := changes.keys() - (set(self._row_type.__struct_fields__) - FIXED):
            raise ValueError(f"{min(other)} cannot be changed")
        if not changes:
            return await self.get(id) is not None
        async with self._database.writing() as connection:
            statement = self._table.update().where(self._table.c.id == id).values(**changes)
            return (await connection.execute(statement)).rowcount == 1

    async def delete(self, id: str) -> bool:
        """Whether there was such a row."""
        async with self._database.writing() as connection:
            return (await connection.execute(self._table.delete().where(self._table.c.id == id))).rowcount == 1

    async def _found(self, condition: sa.ColumnElement[bool], visible_to: Owner | None) -> list[Row]:
        calls = models.calls
        statement = self._table.select().where(condition).order_by(self._table.c.created_at, self._table.c.id)
        if visible_to is not None:
            statement = statement.join(calls, calls.c.number == self._table.c.call).where(visible(calls, visible_to))
        async with self._database.reading() as connection:
            return [self._row_type(**row) for row in (await connection.execute(statement)).mappings()]


__all__ = ["OfCall"]

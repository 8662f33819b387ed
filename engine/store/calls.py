"""Calls and what is known of them. A call is found by its number, its UUID or any of its Call-IDs."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store import models
from engine.store.database import Database
from engine.store.models import INTEGER_MAX, NAME_MAX_CHARS, clean, digest_of
from engine.store.packing import unpack
from engine.store.paging import checked_limit, cursor_of, number_of
from engine.store.rows import (
    CallFilter,
    CallNames,
    CallRow,
    FindingRow,
    Kept,
    KeptCall,
    KeptTrace,
    MessageRow,
    Owner,
    StreamRow,
)  # fmt: skip
from engine.store.visibility import visible
from engine.trace.finding import SEVERITIES

_CALLS = models.calls.c
_IDS = models.call_ids.c
_LIST: Final = "calls"
# Small enough that preparing a batch keeps nobody else waiting for the event loop.
BATCH_CALLS: Final = 200
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NEXT_SQLITE: Final = sa.text("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'calls'), 0) + 1")
_NEXT_POSTGRESQL: Final = sa.text(
    "SELECT nextval(pg_get_serial_sequence('calls', 'number')) FROM generate_series(1, CAST(:count AS BIGINT))"
)


class Calls:
    """The calls of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, kept: KeptTrace) -> Kept:
        """Keeps a trace with all its calls, or nothing of it; the names they got. Raises Conflict for one that is kept already."""
        names: list[CallNames] = []
        async with self._database.writing() as connection:
            await connection.execute(models.traces.insert(), msgspec.structs.asdict(kept.trace))
            await _insert_parts(connection, None, kept.trace.id, kept.findings, kept.streams)
            for begin in range(0, len(kept.calls), BATCH_CALLS):
                names += await self._keep_batch(connection, kept.calls[begin : begin + BATCH_CALLS])
        return Kept(kept.trace.id, tuple(names))

    async def _keep_batch(self, connection: AsyncConnection, batch: Sequence[KeptCall]) -> list[CallNames]:
        numbers = await self.numbers(connection, len(batch))
        numbered = list(zip(numbers, batch, strict=True))
        rows = [values_of(kept.call) | {"number": number} for number, kept in numbered]
        await insert(connection, models.calls, rows)
        ids = [
            {"call": number, "place": place, "digest": digest_of(call_id), "call_id": call_id}
            for number, kept in numbered
            for place, call_id in enumerate(kept.call.call_ids)
        ]
        await insert(connection, models.call_ids, ids)
        parts = [
            {"call": number, "part": part, "packed": packed}
            for number, kept in numbered
            for part, packed in enumerate(kept.messages)
        ]
        await insert(connection, models.messages, parts)
        findings = [
            _told(finding, number, kept.call.trace_id) for number, kept in numbered for finding in kept.findings
        ]
        await insert(connection, models.findings, findings)
        streams = [_told(stream, number, kept.call.trace_id) for number, kept in numbered for stream in kept.streams]
        await insert(connection, models.streams, streams)
        return [CallNames(number, kept.call.uuid, kept.call.call_ids) for number, kept in numbered]

    async def numbers(self, connection: AsyncConnection, count: int) -> list[int]:
        """Numbers that no call has had: asked for ahead, so that everything can be inserted in batches."""
        if self._database.is_sqlite:  # the transaction is the only writer
            first = int((await connection.execute(_NEXT_SQLITE)).scalar_one())
            return list(range(first, first + count))
        return [int(number) for number in (await connection.execute(_NEXT_POSTGRESQL, {"count": count})).scalars()]

    async def get(self, any_id: str | int, visible_to: Owner | None = None) -> CallRow | None:
        """The call of this number, UUID or Call-ID, in that order, when the one who asks may see it.

        Of several calls with one Call-ID, the trace having been kept again, it is the newest.
        """
        text = str(any_id)
        conditions: list[sa.ColumnElement[bool]] = []
        if _NUMBER.fullmatch(text) and int(text) <= INTEGER_MAX:
            conditions.append(_CALLS.number == int(text))
        if _UUID.fullmatch(text):
            conditions.append(_CALLS.uuid == text.lower())
        if not isinstance(any_id, int):
            conditions.append(has_call_id(text))
        async with self._database.reading() as connection:
            for condition in conditions:
                statement = models.calls.select().where(condition, visible(models.calls, visible_to))
                found = (await connection.execute(statement.order_by(_CALLS.number.desc()).limit(1))).mappings().all()
                if found:
                    return (await _rows(connection, found))[0]
        return None

    async def messages(self, number: int) -> list[MessageRow]:
        """A call's messages in order of time; none for a call that is not there."""
        return [message async for part in self.message_parts(number) for message in part]

    async def message_parts(self, number: int) -> AsyncIterator[list[MessageRow]]:
        """The same, piece by piece, for calls that are long."""
        if not 0 < number <= INTEGER_MAX:
            return
        table, part = models.messages, 0
        while True:
            statement = sa.select(table.c.packed).where(table.c.call == number, table.c.part == part)
            async with self._database.reading() as connection:
                packed = (await connection.execute(statement)).scalar_one_or_none()
            if packed is None:
                return
            yield unpack(packed)
            part += 1

    async def findings(self, number: int) -> list[FindingRow]:
        """What was found in a call, in the order of the report."""
        return await of_number(self._database, models.findings, FindingRow, number)

    async def streams(self, number: int) -> list[StreamRow]:
        """A call's RTP streams."""
        return await of_number(self._database, models.streams, StreamRow, number)

    async def delete(self, number: int) -> bool:
        """Deletes a call and everything that belongs to it; whether it was there. Its number is not given again."""
        if not 0 < number <= INTEGER_MAX:
            return False
        async with self._database.writing() as connection:
            return (await connection.execute(models.calls.delete().where(_CALLS.number == number))).rowcount == 1

    async def list(
        self,
        wanted: CallFilter | None = None,
        cursor: str | None = None,
        limit: int = 50,
        *,
        visible_to: Owner | None = None,
    ) -> tuple[list[CallRow], str | None]:
        """A page of calls, the newest number first, and the cursor of the next page, None behind the last.

        Raises BadCursor; ValueError for a limit out of range, a severity that is none and times that are no numbers.
        """
        conditions = [visible(models.calls, visible_to), *_conditions(wanted or CallFilter())]
        if cursor is not None:
            conditions.append(_CALLS.number < number_of(_LIST, cursor))
        statement = models.calls.select().where(*conditions).order_by(_CALLS.number.desc())
        async with self._database.reading() as connection:
            found = (await connection.execute(statement.limit(checked_limit(limit) + 1))).mappings().all()
            rows = await _rows(connection, found[:limit])
        return rows, cursor_of(_LIST, rows[-1].number) if len(found) > limit else None


# ---- writing ----


async def insert(connection: AsyncConnection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Puts rows into a table; none is none."""
    if rows:
        await connection.execute(table.insert(), rows)


async def _insert_parts(
    connection: AsyncConnection,
    call: int | None,
    trace_id: str,
    findings: Sequence[FindingRow],
    streams: Sequence[StreamRow],
) -> None:
    for table, rows in ((models.findings, findings), (models.streams, streams)):
        for begin in range(0, len(rows), BATCH_CALLS):
            told = [_told(row, call, trace_id) for row in rows[begin : begin + BATCH_CALLS]]
            await insert(connection, table, told)


def _told(row: FindingRow | StreamRow, call: int | None, trace_id: str | None) -> dict[str, Any]:
    return msgspec.structs.asdict(row) | {"call": call, "trace_id": trace_id}


def values_of(call: CallRow) -> dict[str, Any]:
    """A call as its table has it."""
    values = msgspec.structs.asdict(call)
    del values["call_ids"]
    worst = values.pop("worst_severity")
    return values | {"severity_rank": None if worst is None else SEVERITIES.index(worst)}


# ---- reading ----


async def _rows(connection: AsyncConnection, found: Sequence[sa.RowMapping]) -> list[CallRow]:
    if not found:
        return []
    statement = sa.select(_IDS.call, _IDS.call_id).where(_IDS.call.in_([told["number"] for told in found]))
    ids: dict[int, list[str]] = {}
    for number, call_id in await connection.execute(statement.order_by(_IDS.call, _IDS.place)):
        ids.setdefault(number, []).append(call_id)
    return [_row(told, tuple(ids.get(told["number"], ()))) for told in found]


def _row(told: sa.RowMapping, call_ids: tuple[str, ...]) -> CallRow:
    values = dict(told)
    rank = values.pop("severity_rank")
    return CallRow(call_ids=call_ids, worst_severity=None if rank is None else SEVERITIES[rank], **values)


async def of_number(database: Database, table: sa.Table, row_type: type[Any], number: int) -> list[Any]:
    """Rows of a call in a table of findings or streams."""
    if not 0 < number <= INTEGER_MAX:
        return []
    return await found_in(database, table, row_type, table.c.call == number)


async def found_in(database: Database, table: sa.Table, row_type: type[Any], condition: sa.ColumnElement[bool]) -> list[Any]:
    """Rows of findings or streams that meet a condition, in the order they were kept in."""
    columns = [table.c[name] for name in row_type.__struct_fields__]
    async with database.reading() as connection:
        found = await connection.execute(sa.select(*columns).where(condition).order_by(table.c.id))
        return [row_type(**told) for told in found.mappings()]


# ---- filters ----


def has_call_id(call_id: str) -> sa.ColumnElement[bool]:
    """Whether it is one of a call's Call-IDs."""
    named = sa.select(_IDS.call).where(_IDS.digest == digest_of(call_id), _IDS.call_id == call_id)
    return _CALLS.number.in_(named)


def contains(text: str, *columns: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether the text is part of one of the columns, ASCII letters of either case alike."""
    text = clean(text)
    if len(text) > NAME_MAX_CHARS:
        return sa.false()
    pattern = re.sub(r"([\\%_])", r"\\\1", text)
    literal = sa.func.lower(sa.literal(f"%{pattern}%", sa.Text))
    return sa.or_(*(sa.func.lower(column, type_=sa.Text).like(literal, escape="\\") for column in columns))


def _bounds(column: sa.ColumnElement[Any], low: float | None, high: float | None, *, open_end: bool) -> Iterator[sa.ColumnElement[bool]]:
    for bound in (low, high):
        if bound is not None and math.isnan(bound):
            raise ValueError("a bound must be a number")
    if low is not None:
        yield column >= low
    if high is not None:
        yield column < high if open_end else column <= high


def _within(number: int | None) -> int | None:
    return None if number is None else max(-INTEGER_MAX, min(number, INTEGER_MAX))


def _conditions(wanted: CallFilter) -> Iterator[sa.ColumnElement[bool]]:
    yield from _bounds(_CALLS.started_at, wanted.since, wanted.until, open_end=True)
    yield from _bounds(
        _CALLS.duration_ms, _within(wanted.min_duration_ms), _within(wanted.max_duration_ms), open_end=False
    )
    if wanted.call_id is not None:
        yield has_call_id(wanted.call_id)
    if wanted.caller is not None:
        yield contains(wanted.caller, _CALLS.from_user, _CALLS.from_host)
    if wanted.callee is not None:
        yield contains(wanted.callee, _CALLS.to_user, _CALLS.to_host)
    if wanted.min_severity is not None:
        if wanted.min_severity not in SEVERITIES:
            raise ValueError(f"a severity is one of {', '.join(SEVERITIES)}")
        yield _CALLS.severity_rank <= SEVERITIES.index(wanted.min_severity)
    for column in (_CALLS.outcome, _CALLS.source, _CALLS.kind, _CALLS.trace_id):
        value = getattr(wanted, column.name)
        if value is not None:
            yield column == value


__all__ = ["BATCH_CALLS", "Calls", "contains", "found_in", "has_call_id", "insert", "of_number", "values_of"]

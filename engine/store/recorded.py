"""Recorded sessions: their calls, files, parties, and what correlates them.

A recording is kept as often as anybody likes and is there once: what was kept of it before is replaced. Several recordings may be of one call, found by the
Call-ID of their session.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store import models
from engine.store.calls import Calls, contains, has_call_id, insert, values_of
from engine.store.database import Database
from engine.store.models import INTEGER_MAX, clean, digest_of, short
from engine.store.paging import checked_limit, time_of, timed_cursor_of
from engine.store.rows import (
    KeptCall,
    KeptRecording,
    PartyRow,
    RecordedFilter,
    RecordedRow,
    RecordingRow,
)  # fmt: skip

SOURCE: Final = "recording"
SAME_CALL_S: Final = 86_400.0  # a Call-ID that comes back after a day is another call
_LIST: Final = "recorded"
_RECORDED = models.recorded.c
_CALLS = models.calls.c
_IDS = models.call_ids.c
_OF_RECORDING: Final = (models.recordings, models.streams, models.transcripts, models.parties, models.correlations)


class Recorded:
    """The recordings of all machines."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls = Calls(database)

    async def keep(self, kept: KeptRecording) -> int:
        """Keeps a recording as it is now; the number of its call. Raises Conflict where another process keeps one of the same call at the same moment: it can be tried
        again."""
        id = kept.recording.id
        async with self._database.writing() as connection:
            known = sa.select(_RECORDED.call).where(_RECORDED.id == id)
            number = (await connection.execute(known)).scalar_one_or_none()
            if number is not None:
                await self._drop(connection, id)
            else:
                number = await self._of_session(connection, kept)
            is_new = number is None
            if number is None:
                (number,) = await self._calls.numbers(connection, 1)
                await connection.execute(models.calls.insert(), values_of(kept.call) | {"number": number})
            await connection.execute(models.recorded.insert(), msgspec.structs.asdict(kept.recording) | {"call": number})
            of_it = {"call": number, "recording": id}
            await insert(connection, models.recordings, [msgspec.structs.asdict(row) | of_it for row in kept.files])
            await insert(connection, models.transcripts, [msgspec.structs.asdict(row) | of_it for row in kept.transcripts])
            await insert(connection, models.streams, [msgspec.structs.asdict(row) | of_it | {"trace_id": None} for row in kept.streams])
            await insert(connection, models.parties, [msgspec.structs.asdict(row) | of_it for row in kept.parties])
            pairs = [{"place": place, "kind": kind, "value": value} | of_it for place, (kind, value) in enumerate(kept.correlation)]
            await insert(connection, models.correlations, pairs)
            await self._add_call_ids(connection, number, kept.call.call_ids, is_new)
            if not is_new:
                await self._sum_up(connection, number)
        return int(number)

    async def _of_session(self, connection: AsyncConnection, kept: KeptRecording) -> int | None:
        """The number of the call that another recording of its session is of."""
        session, at = kept.recording.session, kept.recording.started_at
        same = (
            sa.select(_CALLS.number)
            .join(models.recorded, _RECORDED.call == _CALLS.number)
            .join(models.call_ids, _IDS.call == _CALLS.number)
            .where(_IDS.digest == digest_of(session), _IDS.call_id == session, _CALLS.source == SOURCE, _RECORDED.session == session)
            .where(_RECORDED.started_at.between(at - SAME_CALL_S, at + SAME_CALL_S))
            .order_by(_CALLS.number)
            .limit(1)
        )
        return (await connection.execute(same)).scalar_one_or_none()

    async def _drop(self, connection: AsyncConnection, id: str) -> None:
        for table in _OF_RECORDING:
            await connection.execute(table.delete().where(table.c.recording == id))
        await connection.execute(models.recorded.delete().where(_RECORDED.id == id))

    async def _add_call_ids(self, connection: AsyncConnection, number: int, call_ids: Sequence[str], is_new: bool) -> None:
        there: dict[str, int] = {}
        if not is_new:
            found = await connection.execute(sa.select(_IDS.call_id, _IDS.place).where(_IDS.call == number))
            there = {row.call_id: row.place for row in found}
        begin = max(there.values(), default=-1) + 1
        fresh = [call_id for call_id in dict.fromkeys(map(clean, call_ids)) if call_id not in there]
        rows = [{"call": number, "place": begin + at, "digest": digest_of(call_id), "call_id": call_id} for at, call_id in enumerate(fresh)]
        await insert(connection, models.call_ids, rows)

    async def _sum_up(self, connection: AsyncConnection, number: int) -> None:
        """What its call is, by all its recordings and streams."""
        streams = models.streams.c
        ended = sa.func.max(_RECORDED.started_at + _RECORDED.duration_ms / 1000.0)
        times = sa.select(sa.func.min(_RECORDED.started_at), ended).where(_RECORDED.call == number)
        begin, end = (await connection.execute(times)).one()
        figures = sa.select(sa.func.count(), sa.func.min(streams.mos), sa.func.max(streams.loss_percent)).where(streams.call == number)
        count, mos, loss = (await connection.execute(figures)).one()
        changes = {
            "started_at": begin, "answered_at": begin, "ended_at": end, "duration_ms": round((end - begin) * 1000), "stream_count": count, "worst_mos": mos,
            "loss_percent": loss,
        }  # fmt: skip
        await connection.execute(models.calls.update().where(_CALLS.number == number).values(**changes))

    async def add_signalling(self, number: int, kept: KeptCall) -> None:
        """Messages and findings of a call that is there, in the place of fewer."""
        of_it = {"call": number, "trace_id": None}
        async with self._database.writing() as connection:
            before = (await connection.execute(sa.select(_CALLS.message_count).where(_CALLS.number == number))).scalar_one_or_none()
            if before is None or before > kept.call.message_count:
                return
            for table in (models.messages, models.findings):
                await connection.execute(table.delete().where(table.c.call == number))
            await insert(connection, models.messages, [{"call": number, "part": part, "packed": packed} for part, packed in enumerate(kept.messages)])
            await insert(connection, models.findings, [msgspec.structs.asdict(row) | of_it for row in kept.findings])
            values = values_of(kept.call)
            changes = {name: values[name] for name in ("message_count", "severity_counts", "severity_rank", "released_by", "pdd_ms")}
            await connection.execute(models.calls.update().where(_CALLS.number == number).values(**changes))

    async def forget(self, id: str) -> bool:
        """Deletes all that was kept of a recording, and its call where that has no other; whether there was any."""
        async with self._database.writing() as connection:
            number = (await connection.execute(sa.select(_RECORDED.call).where(_RECORDED.id == id))).scalar_one_or_none()
            if number is None:
                return False
            await self._drop(connection, id)
            others = sa.select(sa.func.count()).where(_RECORDED.call == number)
            if (await connection.execute(others)).scalar_one():
                await self._sum_up(connection, number)
            else:
                await connection.execute(models.calls.delete().where(_CALLS.number == number, _CALLS.source == SOURCE))
        return True

    async def get(self, id: str) -> RecordedRow | None:
        """The recording of this id."""
        found = await self._found(models.recorded.select().where(_RECORDED.id == id))
        return found[0] if found else None

    async def files(self, id: str) -> list[RecordingRow]:
        """The files of a recording."""
        table = models.recordings
        async with self._database.reading() as connection:
            found = await connection.execute(table.select().where(table.c.recording == id).order_by(table.c.path, table.c.id))
            return [RecordingRow(**row) for row in found.mappings()]

    async def parties(self, call: int) -> list[PartyRow]:
        """Who took part in a call, by any of its recordings."""
        table = models.parties
        columns = [table.c[name] for name in PartyRow.__struct_fields__]
        if not 0 < call <= INTEGER_MAX:
            return []
        async with self._database.reading() as connection:
            found = await connection.execute(sa.select(*columns).where(table.c.call == call).order_by(table.c.recording, table.c.place))
            return [PartyRow(**row) for row in found.mappings()]

    async def correlation(self, call: int) -> list[tuple[str, str]]:
        """Kind and value of what correlates a call."""
        table = models.correlations
        if not 0 < call <= INTEGER_MAX:
            return []
        async with self._database.reading() as connection:
            found = await connection.execute(sa.select(table.c.kind, table.c.value).where(table.c.call == call).distinct().order_by(table.c.kind, table.c.value))
            return [(kind, value) for kind, value in found]

    async def _found(self, statement: sa.Select[Any]) -> list[RecordedRow]:
        async with self._database.reading() as connection:
            return [RecordedRow(**row) for row in (await connection.execute(statement)).mappings()]

    async def list(self, wanted: RecordedFilter | None = None, cursor: str | None = None, limit: int = 50) -> tuple[list[RecordedRow], str | None]:
        """A page of recordings, the newest first, and the cursor of the next page, None behind the last. Raises BadCursor, ValueError."""
        conditions = list(_conditions(wanted or RecordedFilter()))
        if cursor is not None:
            at, id = time_of(_LIST, cursor)
            conditions.append(sa.or_(_RECORDED.started_at < at, sa.and_(_RECORDED.started_at == at, _RECORDED.id < id)))
        statement = models.recorded.select().where(*conditions).order_by(_RECORDED.started_at.desc(), _RECORDED.id.desc())
        rows = await self._found(statement.limit(checked_limit(limit) + 1))
        following = timed_cursor_of(_LIST, rows[limit - 1].started_at, rows[limit - 1].id) if len(rows) > limit else None
        return rows[:limit], following


def correlated(text: str) -> sa.ColumnElement[bool]:
    """Whether a row of `correlations` has this value, or this kind and value."""
    table = models.correlations.c
    kind, colon, value = text.partition(":")
    whole = table.value == text
    return sa.or_(whole, sa.and_(table.kind == kind, table.value == value)) if colon else whole


def _conditions(wanted: RecordedFilter) -> Iterator[sa.ColumnElement[bool]]:
    for bound in (wanted.since, wanted.until):
        if bound is not None and math.isnan(bound):
            raise ValueError("a bound must be a number")
    if wanted.since is not None:
        yield _RECORDED.started_at >= wanted.since
    if wanted.until is not None:
        yield _RECORDED.started_at < wanted.until
    if wanted.call_id is not None:
        yield _RECORDED.call.in_(sa.select(_CALLS.number).where(has_call_id(wanted.call_id)))
    if wanted.call is not None:
        yield _RECORDED.call == max(0, min(wanted.call, INTEGER_MAX))
    if wanted.correlation is not None:
        yield _RECORDED.id.in_(sa.select(models.correlations.c.recording).where(correlated(wanted.correlation)))
    if wanted.participant is not None:
        table = models.parties.c
        yield _RECORDED.id.in_(sa.select(table.recording).where(contains(wanted.participant, table.aor, table.name)))
    if wanted.stage is not None:
        yield _RECORDED.stage == short(wanted.stage)
    if wanted.held is not None:
        yield _RECORDED.holds > 0 if wanted.held else _RECORDED.holds == 0


__all__ = ["SOURCE", "Recorded", "correlated"]

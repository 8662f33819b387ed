"""Jobs: a queue that workers of all processes take from, each job by one at a time.

A worker claims a job for the length of a lease and renews it while it works. When it dies, the lease runs out and the next claim
gives the job to another. `attempts` rises with each claim and fences: whoever reports with an older number is told False and must
throw the result away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from engine.store import models
from engine.store.database import Database
from engine.store.paging import checked_limit, time_of, timed_cursor_of
from engine.store.rows import JobRow, Owner
from engine.store.visibility import visible

_JOBS = models.jobs.c
_LIST = "jobs"
ATTEMPTS_MAX = 3
_ATTEMPT_LAST = 2**31 - 1


class Figures(msgspec.Struct, frozen=True):
    """Jobs of one state: how many, their attempts, how many were begun and how long those waited, how many ended and how long those took, and over how long they ended;
    in seconds. `group` and `amounts` are of what was asked for."""

    state: str
    count: int
    attempts: int
    begun: int
    waited_s: float
    ended: int
    worked_s: float
    span_s: float
    group: str = ""
    amounts: tuple[float, ...] = ()


def _has(field: str, text: str) -> sa.ColumnElement[bool]:
    """Whether a payload has this text in a field of its own; as `models.Document` writes it."""
    written = f"{json.dumps(field)}:{json.dumps(text)}"
    payload = sa.cast(_JOBS.payload, sa.Text)
    return sa.func.replace(payload, written, "") != payload  # LIKE is blind to case in one of the databases


def _told(column: sa.ColumnElement[Any], field: str, dialect: str, pattern: str) -> sa.ColumnElement[Any]:
    """A field of a document, as `models.Document` writes it; NULL where it has none. One of the databases reads no JSON that names characters it does not keep, so
    there the text is searched: a quote within a text has a backslash before it, so that the first match is the document's own field."""
    if dialect == "sqlite":
        return sa.func.json_extract(column, f'$."{field}"')
    return sa.func.substring(sa.cast(column, sa.Text), f"{json.dumps(field)}:{pattern}")


class Jobs:
    """The jobs of all kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: JobRow) -> None:
        """Raises Conflict when the id is there already."""
        async with self._database.writing() as connection:
            await connection.execute(models.jobs.insert(), msgspec.structs.asdict(row))

    async def get(self, id: str, visible_to: Owner | None = None) -> JobRow | None:
        """The job of this id, when the one who asks may see it."""
        statement = models.jobs.select().where(_JOBS.id == id, visible(models.jobs, visible_to))
        async with self._database.reading() as connection:
            found = (await connection.execute(statement)).mappings().first()
        return JobRow(**found) if found else None

    async def figures(self, kind: str, group: str = "", amounts: Sequence[tuple[str, str]] = ()) -> list[Figures]:
        """Of a kind: for each state how many there are, and sums to make averages of. With `group` for each text of this field of the payload too; `amounts` are
        numbers to add up, as ("payload" or "result", field)."""
        waited, worked = _JOBS.started_at - _JOBS.created_at, _JOBS.finished_at - _JOBS.started_at
        count, attempts = sa.func.count(), sa.func.coalesce(sa.func.sum(_JOBS.attempts), 0)
        async with self._database.reading() as connection:
            dialect = connection.dialect.name
            named = sa.func.coalesce(_told(_JOBS.payload, group, dialect, '"([^"]*)"'), "") if group else sa.literal("")
            sums = [
                sa.func.coalesce(sa.func.sum(sa.cast(_told(_JOBS[column], field, dialect, r"(-?[0-9.]+(?:[eE][+-]?[0-9]+)?)"), sa.Float)), 0.0)
                for column, field in amounts
            ]
            columns = (
                _JOBS.state, count, attempts, sa.func.count(_JOBS.started_at), sa.func.coalesce(sa.func.sum(waited), 0.0), sa.func.count(worked),
                sa.func.coalesce(sa.func.sum(worked), 0.0), sa.func.coalesce(sa.func.max(_JOBS.finished_at) - sa.func.min(_JOBS.finished_at), 0.0),
                named.label("told"), *sums,
            )  # fmt: skip
            found = await connection.execute(sa.select(*columns).where(_JOBS.kind == kind).group_by(_JOBS.state, sa.text("told")))
            return [Figures(*(*told[:9], tuple(told[9:]))) for told in found]

    async def list(
        self,
        cursor: str | None = None,
        *,
        limit: int = 100,
        state: str | None = None,
        kind: str | None = None,
        call: int | None = None,
        about: tuple[str, str] | None = None,
        error: str | None = None,
        tried: bool = False,
        visible_to: Owner | None = None,
    ) -> tuple[list[JobRow], str | None]:
        """A page of jobs, newest first, and the cursor of the next one. `about` is a field of the payload and its text; `tried` leaves out jobs that were never claimed.
        Raises BadCursor; ValueError for a limit out of range."""
        conditions = [visible(models.jobs, visible_to)]
        if about is not None:
            conditions.append(_has(*about))
        if cursor is not None:
            at, id = time_of(_LIST, cursor)
            conditions.append(sa.tuple_(_JOBS.created_at, _JOBS.id) < sa.tuple_(sa.literal(at), sa.literal(id)))
        if call is not None and not 0 < call <= models.INTEGER_MAX:
            return [], None
        state = None if state is None else models.clean(state)
        if tried:
            conditions.append(_JOBS.attempts > 0)
        for column, wanted in ((_JOBS.state, state), (_JOBS.kind, kind), (_JOBS.call, call), (_JOBS.error, error)):
            if wanted is not None:
                conditions.append(column == wanted)
        statement = models.jobs.select().where(*conditions).order_by(_JOBS.created_at.desc(), _JOBS.id.desc())
        async with self._database.reading() as connection:
            found = (await connection.execute(statement.limit(checked_limit(limit) + 1))).mappings().all()
        rows = [JobRow(**told) for told in found[:limit]]
        return rows, timed_cursor_of(_LIST, rows[-1].created_at, rows[-1].id) if len(found) > limit else None

    async def purge(self, kind: str) -> int:
        """Takes the jobs of a kind away that wait; how many."""
        async with self._database.writing() as connection:
            waiting = sa.and_(_JOBS.kind == kind, _JOBS.state == "queued")
            return (await connection.execute(models.jobs.delete().where(waiting))).rowcount

    async def forget(self, field: str, text: str) -> int:
        """Takes all jobs away whose payload has this text in a field; how many."""
        async with self._database.writing() as connection:
            return (await connection.execute(models.jobs.delete().where(_has(field, text)))).rowcount

    async def claim(
        self, worker: str, now: float, lease_s: float, *, kinds: Sequence[str] = (), attempts_max: int = ATTEMPTS_MAX
    ) -> JobRow | None:
        """The job that waits longest, of these kinds or any; None when none waits. It is the worker's until now + lease_s.

        Jobs whose lease ran out wait again; those that had `attempts_max` by then have failed.
        """
        of_kind = _JOBS.kind.in_(kinds) if kinds else sa.true()
        expired = sa.and_(_JOBS.state == "running", _JOBS.lease_until <= now)
        spent = models.jobs.update().where(expired, of_kind, _JOBS.attempts >= attempts_max)
        waiting = sa.or_(sa.and_(_JOBS.state == "queued", _JOBS.run_at <= now), expired)
        next_one = sa.select(_JOBS.id).where(waiting, of_kind).order_by(_JOBS.run_at, _JOBS.created_at, _JOBS.id).limit(1)
        taken = models.jobs.update().where(_JOBS.id == next_one.with_for_update(skip_locked=True).scalar_subquery())
        async with self._database.writing() as connection:
            await connection.execute(
                spent.values(
                    state="failed", error="the worker did not report back", updated_at=now, finished_at=now, lease_until=None
                )
            )
            values = {
                "state": "running", "worker": worker, "attempts": _JOBS.attempts + 1, "lease_until": now + lease_s,
                "started_at": sa.func.coalesce(_JOBS.started_at, now), "updated_at": now,
            }  # fmt: skip
            found = (await connection.execute(taken.values(**values).returning(*_JOBS))).mappings().first()
        return JobRow(**found) if found else None

    async def renew(self, id: str, attempt: int, now: float, lease_s: float) -> bool:
        """Whether the job is still that attempt's; then it is until now + lease_s."""
        return await self._report(id, attempt, lease_until=now + lease_s, updated_at=now)

    async def done(self, id: str, attempt: int, now: float, result: dict[str, Any]) -> bool:
        """Keeps the result of an attempt; False when the job is no longer its."""
        return await self._report(
            id, attempt, state="done", result=result, error="", updated_at=now, finished_at=now, lease_until=None
        )

    async def failed(self, id: str, attempt: int, now: float, error: str, *, again_at: float | None = None) -> bool:
        """Ends an attempt without a result, to be tried again from `again_at` on, or never; False when the job is no longer its."""
        if again_at is None:
            return await self._report(
                id, attempt, state="failed", error=error, updated_at=now, finished_at=now, lease_until=None
            )
        return await self._report(
            id, attempt, state="queued", error=error, updated_at=now, run_at=again_at, lease_until=None, worker=None
        )

    async def cancel(self, id: str, now: float, reason: str) -> bool:
        """Fails a job that is not finished, running or not; whether it was that."""
        unfinished = _JOBS.state.in_(("queued", "running"))
        return await self._changed(
            sa.and_(_JOBS.id == id, unfinished), state="failed", error=reason, updated_at=now, finished_at=now, lease_until=None
        )

    async def _report(self, id: str, attempt: int, **values: Any) -> bool:
        if not 0 < attempt <= _ATTEMPT_LAST:
            return False
        held = sa.and_(_JOBS.id == id, _JOBS.state == "running", _JOBS.attempts == attempt)
        return await self._changed(held, **values)

    async def _changed(self, condition: sa.ColumnElement[bool], **values: Any) -> bool:
        async with self._database.writing() as connection:
            return (await connection.execute(models.jobs.update().where(condition).values(**values))).rowcount == 1


__all__ = ["ATTEMPTS_MAX", "Figures", "Jobs"]

"""The audit log: rows are added and never changed, and each holds a digest over itself and the one before it.

A row that was changed, taken out or put in later is found by `verify`; only a log that was cut off at its end looks whole, which
is why a digest of its newest row is worth keeping elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import msgspec
import sqlalchemy as sa

from engine.store import models
from engine.store.database import Database
from engine.store.models import clean, short
from engine.store.paging import checked_limit, cursor_of, number_of
from engine.store.rows import AuditRow

_AUDIT = models.audit.c
_LIST = "audit"
# PostgreSQL: one writer of the log at a time. The number is that of no other lock (pg_advisory_xact_lock).
_LOCK = sa.text("SELECT pg_advisory_xact_lock(7235419060621)")
_LAST = sa.select(_AUDIT.number, _AUDIT.digest).order_by(_AUDIT.number.desc()).limit(1)
VERIFY_STEP = 500


def chained(before: bytes, row: AuditRow) -> bytes:
    """The digest of a row behind the one with the digest `before`: SHA-256, 32 bytes."""
    # a time that was told as an integer or as -0.0 is read back as a float above it
    at = float(row.at) + 0.0
    told = (
        row.number, at, short(row.actor), short(row.action), short(row.target), clean(row.outcome), clean(row.request_id),
        clean(row.address), row.detail,
    )  # fmt: skip
    written = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(before + written.encode()).digest()


class Audit:
    """What was done, by whom."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: AuditRow) -> int:
        """Puts a row at the end of the log, whatever its `number`; the number it got. `detail` must be plain JSON values."""
        # as it will be read again: keys become texts, tuples lists
        detail = json.loads(json.dumps(row.detail))
        async with self._database.writing() as connection:
            if not self._database.is_sqlite:
                await connection.execute(_LOCK)
            last = (await connection.execute(_LAST)).first()
            number, before = (last.number + 1, last.digest) if last else (1, b"")
            added = msgspec.structs.replace(row, number=number, detail=detail)
            values = msgspec.structs.asdict(added) | {"digest": chained(before, added)}
            await connection.execute(models.audit.insert(), values)
        return number

    async def list(
        self,
        cursor: str | None = None,
        *,
        limit: int = 100,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> tuple[list[AuditRow], str | None]:
        """A page of the log, newest first, and the cursor of the next one.

        Raises BadCursor; ValueError for a limit out of range and times that are no numbers.
        """
        if any(bound is not None and math.isnan(bound) for bound in (since, until)):
            raise ValueError("a bound must be a number")
        conditions: list[sa.ColumnElement[bool]] = []
        if cursor is not None:
            conditions.append(_AUDIT.number < number_of(_LIST, cursor))
        for column, wanted in ((_AUDIT.actor, actor), (_AUDIT.action, action), (_AUDIT.target, target)):
            if wanted is not None:
                conditions.append(column == wanted)
        if since is not None:
            conditions.append(_AUDIT.at >= since)
        if until is not None:
            conditions.append(_AUDIT.at < until)
        statement = models.audit.select().where(*conditions).order_by(_AUDIT.number.desc())
        async with self._database.reading() as connection:
            found = (await connection.execute(statement.limit(checked_limit(limit) + 1))).mappings().all()
        rows = [_row(told) for told in found[:limit]]
        return rows, cursor_of(_LIST, rows[-1].number) if len(found) > limit else None

    async def verify(self) -> int | None:
        """The number of the first row that is not as it was added or misses the one before it; None when all are."""
        before, number = b"", 0
        async with self._database.reading() as connection:
            while True:
                later = models.audit.select().where(_AUDIT.number > number).order_by(_AUDIT.number).limit(VERIFY_STEP)
                found = (await connection.execute(later)).mappings().all()
                for told in found:
                    if told["number"] != number + 1 or told["digest"] != chained(before, _row(told)):
                        return number + 1
                    before, number = told["digest"], told["number"]
                if len(found) < VERIFY_STEP:
                    return None


def _row(told: Any) -> AuditRow:
    return AuditRow(**{name: told[name] for name in AuditRow.__struct_fields__})


__all__ = ["Audit", "chained"]

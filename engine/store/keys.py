"""API keys: found by their digest, revoked for good."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from engine.store import models
from engine.store.database import Database
from engine.store.rows import KeyRow

_KEYS = models.keys.c
_TOUCH = (
    models.keys.update()
    .where(_KEYS.id == sa.bindparam("key"), sa.or_(_KEYS.last_used_at.is_(None), _KEYS.last_used_at < sa.bindparam("used")))
    .values(last_used_at=sa.bindparam("used"))
)


class Keys:
    """The keys of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: KeyRow) -> None:
        """Raises Conflict when the id or the digest is there already."""
        async with self._database.writing() as connection:
            await connection.execute(models.keys.insert(), msgspec.structs.asdict(row))

    async def by_digest(self, digest: bytes) -> KeyRow | None:
        """The key of this SHA-256 digest, also when it is revoked or expired."""
        found = await self._found(_KEYS.digest == digest)
        return found[0] if found else None

    async def by_id(self, id: str) -> KeyRow | None:
        """The key of this id."""
        found = await self._found(_KEYS.id == id)
        return found[0] if found else None

    async def of_owner(self, owner: str) -> list[KeyRow]:
        """An owner's keys, the oldest first."""
        return await self._found(_KEYS.owner == owner)

    async def all(self) -> list[KeyRow]:
        """Every key, the oldest first."""
        return await self._found(sa.true())

    async def revoke(self, id: str, at: float) -> bool:
        """Whether the key was there and good. A revoked key stays revoked, and keeps the time when it first was."""
        statement = models.keys.update().where(_KEYS.id == id, _KEYS.revoked_at.is_(None)).values(revoked_at=at)
        async with self._database.writing() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def touch(self, used: Mapping[str, float]) -> None:
        """Notes when keys, by id, were used last. Unknown ids and times before what is known change nothing."""
        if used:
            # in one order everywhere, so that two processes never wait for each other
            rows = [{"key": id, "used": at} for id, at in sorted(used.items())]
            async with self._database.writing() as connection:
                await connection.execute(_TOUCH, rows)

    async def count(self) -> int:
        """How many keys there are, revoked ones included."""
        async with self._database.reading() as connection:
            return int((await connection.execute(sa.select(sa.func.count()).select_from(models.keys))).scalar_one())

    async def _found(self, condition: sa.ColumnElement[bool]) -> list[KeyRow]:
        statement = models.keys.select().where(condition).order_by(_KEYS.created_at, _KEYS.id)
        async with self._database.reading() as connection:
            return [KeyRow(**row) for row in (await connection.execute(statement)).mappings()]


__all__ = ["Keys"]

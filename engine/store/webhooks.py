"""Webhooks: where events are sent, and how that went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from engine.store import models
from engine.store.database import Database
from engine.store.rows import Owner, WebhookRow
from engine.store.visibility import visible

_WEBHOOKS = models.webhooks.c
CHANGEABLE = frozenset({"url", "events", "secret", "active"})


class Webhooks:
    """The webhooks of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: WebhookRow) -> None:
        """Raises Conflict when the id is there already."""
        async with self._database.writing() as connection:
            await connection.execute(models.webhooks.insert(), msgspec.structs.asdict(row))

    async def get(self, id: str, visible_to: Owner | None = None) -> WebhookRow | None:
        """The webhook of this id, when the one who asks may see it."""
        found = await self._found(_WEBHOOKS.id == id, visible(models.webhooks, visible_to))
        return found[0] if found else None

    async def update(self, id: str, at: float, changes: Mapping[str, Any]) -> bool:
        """Changes fields of CHANGEABLE; whether the webhook is there. Raises ValueError for another field."""
        if other := changes.keys() - CHANGEABLE:
            raise ValueError(f"a webhook's {min(other)} cannot be changed")
        return await self._changed(id, updated_at=at, **changes)

    async def succeeded(self, id: str, at: float) -> bool:
        """Notes that an event arrived; whether the webhook is there."""
        return await self._changed(id, last_success_at=at, failures=0, last_error="")

    async def failed(self, id: str, at: float, error: str) -> bool:
        """Notes that an event did not arrive; whether the webhook is there."""
        return await self._changed(id, last_failure_at=at, failures=_WEBHOOKS.failures + 1, last_error=error)

    async def delete(self, id: str) -> bool:
        """Whether there was such a webhook."""
        async with self._database.writing() as connection:
            return (await connection.execute(models.webhooks.delete().where(_WEBHOOKS.id == id))).rowcount == 1

    async def _changed(self, id: str, **values: Any) -> bool:
        async with self._database.writing() as connection:
            changed = await connection.execute(models.webhooks.update().where(_WEBHOOKS.id == id).values(**values))
            return changed.rowcount == 1

    async def _found(self, *conditions: sa.ColumnElement[bool]) -> list[WebhookRow]:
        statement = models.webhooks.select().where(*conditions).order_by(_WEBHOOKS.created_at, _WEBHOOKS.id)
        async with self._database.reading() as connection:
            return [WebhookRow(**row) for row in (await connection.execute(statement)).mappings()]

    async def list(self, visible_to: Owner | None = None, *, active: bool | None = None) -> list[WebhookRow]:
        """All webhooks, the oldest first."""
        wanted = sa.true() if active is None else _WEBHOOKS.active.is_(active)
        return await self._found(wanted, visible(models.webhooks, visible_to))


__all__ = ["CHANGEABLE", "Webhooks"]

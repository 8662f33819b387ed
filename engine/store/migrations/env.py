"""Alembic's entry: runs the migrations over the connection in the configuration, in its transaction."""

from __future__ import annotations

from typing import Any

from alembic import context

from engine.store.models import metadata


def concerns(thing: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
    """Whether a table is one of this database's."""
    only = getattr(thing, "info", {}).get("only")
    return only is None or only == context.get_context().dialect.name


context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, include_object=concerns
)
context.run_migrations()


__all__ = ["concerns"]

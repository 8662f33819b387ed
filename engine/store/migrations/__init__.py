"""Migrations of the store's tables, run by Alembic over a connection that is given. Files of `versions/` are never changed, only added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from engine.store.errors import WrongRevision

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"
VERSION_TABLE = "alembic_version"
# pg_advisory_xact_lock: processes that start together migrate one after the other. The number is that of no other lock.
_LOCK = sa.text("SELECT pg_advisory_xact_lock(7235419060622)")


def config_of(connection: sa.Connection) -> Config:
    """What Alembic's commands need to work over this connection, in the transaction that is open there."""
    # Loading Alembic takes longer than starting; most starts find nothing to do.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "engine.store:migrations")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: sa.Connection) -> None:
    """Brings the tables to HEAD. Raises WrongRevision when they are of a revision that is not known here."""
    from alembic import command
    from alembic.util import CommandError

    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)
    try:
        command.upgrade(config_of(connection), HEAD)
    except CommandError as error:
        raise WrongRevision(f"the store is newer than this program: {error}") from error


__all__ = ["HEAD", "VERSION_TABLE", "config_of", "upgrade"]

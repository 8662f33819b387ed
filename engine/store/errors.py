"""What goes wrong in the store. Every error has a stable code; the text is a sentence with the fact in it."""

from __future__ import annotations

from engine.errors import EngineError


class StoreError(EngineError):
    """Base of everything the store raises on purpose."""

    code = "store.error"


class Busy(StoreError):
    """Others write for longer than this write may wait, or too many wait already: nothing was changed, try again later."""

    code = "store.busy"


class Unavailable(StoreError):
    """The database does not answer, cannot be opened or cannot be written. A change that was under way may have been made."""

    code = "store.unavailable"


class Full(Unavailable):
    """There is no room left on the database's disk: nothing was changed."""

    code = "store.full"


class Damaged(Unavailable):
    """The database's file is no database, is broken, or was taken away."""

    code = "store.damaged"


class Conflict(StoreError):
    """A row of that name is there already, or one that it refers to is not: nothing was changed."""

    code = "store.conflict"


class WrongRevision(StoreError):
    """The tables are older than this program and were not to be migrated, or were made by a newer one."""

    code = "store.revision"


class BadCursor(StoreError):
    """A cursor that this store did not give out."""

    code = "store.cursor"


__all__ = ["BadCursor", "Busy", "Conflict", "Damaged", "Full", "StoreError", "Unavailable", "WrongRevision"]

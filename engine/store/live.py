"""A live call into the archive: what a worker noted of it, with what the rules say, under a number like any other call."""

from __future__ import annotations

import asyncio

from engine.store.archive import rows_of
from engine.store.rows import Kept, KeptTrace
from engine.store.store import Store
from engine.trace.analysis import report
from engine.trace.live import LiveTrace, LiveTraces, tables_of

SOURCE = "live"
NAME_MAX_CHARS = 200


def rows_of_live(trace: LiveTrace, *, owner: str, team: str | None = None, at: float) -> KeptTrace:
    """The rows to keep. `at` is now, in seconds since 1970. Takes some milliseconds, in the calling thread."""
    tables = tables_of(trace)
    name = trace.call.call_id[:NAME_MAX_CHARS]
    return rows_of(tables, report(tables), name=name, owner=owner, team=team, source=SOURCE, at=at)


async def keep(
    store: Store, live: LiveTraces, call_id: str, *legs: str, owner: str, team: str | None = None, at: float
) -> Kept:
    """Keeps a call and the other Call-IDs that are legs of it; what it is called there.

    To be called when it is over, for the archive has it as ended; it stays live for its retention. The rules run in a thread. Raises
    UnknownCall, and the errors of the store: nothing is kept then.
    """
    trace = live.trace(call_id, *legs)
    return await store.calls.keep(await asyncio.to_thread(rows_of_live, trace, owner=owner, team=team, at=at))


__all__ = ["SOURCE", "keep", "rows_of_live"]

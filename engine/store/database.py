"""Connections to the database, and what goes wrong there as errors of the store.

SQLite runs in WAL mode, so readers never wait. Writers begin with BEGIN IMMEDIATE: a transaction that turned from reading to
writing could not wait for another, only fail. In one process they queue on a lock, in order; between processes SQLite's busy
handler waits, on the connection's own thread.

`synchronous` decides what a power cut may take. With "full" every commit is on the disk before it is answered. With "normal" the
last commits before the cut may be gone, all of each, and the file is sound. A process that is killed loses nothing that was
answered either way: the pages are the kernel's by then.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from engine.store.errors import Busy, Conflict, Damaged, Full, StoreError, Unavailable

SYNCHRONOUS: Final = ("normal", "full")
WRITE_WAIT_S: Final = 10.0
WRITERS_WAITING_MAX: Final = 1000
CONNECT_S: Final = 10.0
CONNECTIONS: Final = 8

# https://www.sqlite.org/rescode.html, primary result codes
_SQLITE: Final[dict[int, tuple[type[StoreError], str]]] = {
    5: (Busy, "the database is locked by another writer"),
    6: (Busy, "the database is locked by another writer"),
    8: (Unavailable, "the database cannot be written"),
    10: (Unavailable, "the disk of the database reports an error"),
    11: (Damaged, "the database's file is damaged"),
    13: (Full, "the disk of the database is full"),
    14: (Unavailable, "the database's file cannot be opened"),
    26: (Damaged, "the database's file is no SQLite database"),
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html, by code or class
_POSTGRESQL: Final[dict[str, tuple[type[StoreError], str]]] = {
    "40": (Busy, "the transaction collided with another one"),
    "55": (Busy, "what is to be changed is locked"),
    "53": (Unavailable, "the database has no resources left"),
    "53100": (Full, "the disk of the database is full"),
    "08": (Unavailable, "the connection to the database broke"),
    "57": (Unavailable, "the database was stopped or ended the query"),
    "58": (Unavailable, "the machine of the database reports an error"),
    "25006": (Unavailable, "the database only takes reads"),
    "28": (Unavailable, "the database does not let this user in"),
    "3D": (Unavailable, "there is no database of that name"),
    "XX": (Damaged, "the database reports that it is damaged"),
}
_OUT_OF_RANGE: Final = "a value is out of the range that the database keeps"


def parsed(url: str) -> URL:
    """The url with the driver that is used for it. Raises ValueError for one that names no database the store can live in."""
    try:
        made = make_url(url)
    except ArgumentError:
        raise ValueError('the store\'s url must look like "sqlite:///path" or "postgresql://user@host/name"') from None
    kind = made.drivername.partition("+")[0]
    if kind == "sqlite":
        if not made.database or made.database.startswith((":memory:", "file:")) or made.query:
            raise ValueError("a SQLite store is a plain file: several processes open it")
        return made.set(drivername="sqlite+aiosqlite")
    if kind in ("postgresql", "postgres"):
        query = dict(made.query)
        if "sslmode" in query:  # the name that every other client gives it
            query["ssl"] = query.pop("sslmode")
        return made.set(drivername="postgresql+asyncpg", query=query)
    raise ValueError(f"the store lives in sqlite or postgresql, not in {kind}")


def translated(error: Exception) -> Exception:
    """What a driver's error means; itself when it is none that a caller could do something about."""
    if isinstance(error, PoolTimeout):
        return Busy("every connection to the database is in use")
    if isinstance(error, IntegrityError):
        told = re.sub(r"\s+", " ", str(error.orig)).split("DETAIL", 1)[0]
        return Conflict(f"the database refuses the row: {told[-200:].strip()}")
    if isinstance(error, OverflowError):
        return ValueError(_OUT_OF_RANGE)
    if isinstance(error, OSError):  # TimeoutError is one
        return Unavailable(f"the database does not answer: {error.strerror or type(error).__name__}")
    # drivers' errors come as they are from connecting, and wrapped by SQLAlchemy from everything else
    origin: Any = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(origin, "sqlstate", None) or ""
    if state.startswith("22"):  # data exceptions, also those that the driver finds before it sends anything
        return ValueError(_OUT_OF_RANGE)
    known = _SQLITE.get((getattr(origin, "sqlite_errorcode", None) or 0) & 0xFF)
    known = known or _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2])
    if known:
        return known[0](known[1])
    broke = isinstance(error, DBAPIError) and error.connection_invalidated
    return Unavailable("the connection to the database broke") if broke else error


@contextmanager
def told() -> Iterator[None]:
    """Turns drivers' errors into the store's."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        better = translated(error)
        if better is error:
            raise
        raise better from error


class Database:
    """One database, open. Belongs to the event loop it was opened in."""

    def __init__(self, url: str, *, synchronous: str = "full") -> None:
        """Opens nothing yet. Raises ValueError for a url or a `synchronous` that makes no sense."""
        if synchronous not in SYNCHRONOUS:
            raise ValueError(f"synchronous is normal or full, not {synchronous}")
        self.url = parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(self.url.database or "") if self.is_sqlite else None
        self._synchronous = synchronous
        self._engine = self._made()
        self._writing = self._engine.execution_options(writes=True)
        self._turn = asyncio.Lock()
        self._waiting = 0

    def _made(self) -> AsyncEngine:
        if not self.is_sqlite:
            return create_async_engine(
                self.url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_timeout=CONNECT_S, pool_pre_ping=True,
                connect_args={"timeout": CONNECT_S, "server_settings": {"application_name": "trunkline"}},
            )  # fmt: skip
        engine = create_async_engine(
            self.url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_timeout=CONNECT_S,
            connect_args={"timeout": WRITE_WAIT_S},
        )  # fmt: skip
        sa.event.listen(engine.sync_engine, "connect", self._set_up)
        sa.event.listen(engine.sync_engine, "begin", _begin)
        sa.event.listen(engine.sync_engine, "close", _undo)
        return engine

    def _set_up(self, connection: Any, record: object) -> None:
        try:
            # Python's own handling of transactions would leave some statements outside of them
            connection.isolation_level = None
            cursor = connection.cursor()
            # what is deleted is overwritten: it may have been deleted because nobody may have it any more
            for setting in ("journal_mode=WAL", f"synchronous={self._synchronous}", "foreign_keys=ON", "cache_size=-16384", "secure_delete=ON"):
                cursor.execute(f"PRAGMA {setting}")
            cursor.close()
        except BaseException:
            connection.close()  # or its thread would outlive the event loop
            raise

    def make_file(self) -> None:
        """Makes the file, for nobody else to read, and its folder, where they are missing; nothing with PostgreSQL."""
        if self.path is not None and not self.path.exists():
            with told():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))

    def check_file(self) -> None:
        """Raises Damaged or Unavailable when the file is not there or no database; nothing with PostgreSQL."""
        if self.path is None:
            return
        if not self.path.exists():
            raise Damaged(f"there is no store at {self.path}")
        with told(), closing(sqlite3.connect(self.path, timeout=WRITE_WAIT_S)) as connection:
            connection.execute("PRAGMA schema_version").fetchall()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that only reads."""
        with told():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that is committed at the end, or undone when the block fails. Raises Busy when others
        hold the database for too long."""
        with told():
            if not self.is_sqlite:
                async with self._engine.begin() as connection:
                    yield connection
                return
            await self._take_turn()
            try:
                async with self._writing.begin() as connection:
                    yield connection
            finally:
                self._turn.release()

    async def _take_turn(self) -> None:
        if self._waiting >= WRITERS_WAITING_MAX:
            raise Busy(f"{self._waiting} writes are waiting already")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._turn.acquire(), WRITE_WAIT_S)
        except TimeoutError:
            raise Busy("other writes took too long") from None
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def single(self) -> AsyncIterator[AsyncConnection]:
        """PostgreSQL: a connection where each statement is a transaction of its own, without a round trip to begin and end it."""
        with told():
            async with self._engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _undo(connection: Any, record: object) -> None:
    """Ends the transaction of a SQLite connection that is about to be closed.

    Where a task was cancelled in the middle of a statement, the statement lives on in the error's traceback. SQLite closes such a
    connection only in name, and it would hold the lock of writers until the garbage is collected.
    """
    driver = connection.driver_connection
    # aiosqlite has no public way to do this: straight to the connection's thread, ahead of the closing. Nothing here may wait, or
    # another cancellation could end it.
    queue, direct = getattr(driver, "_tx", None), getattr(driver, "_connection", None)
    if queue is not None and direct is not None:
        queue.put_nowait((None, direct.rollback))


__all__ = ["SYNCHRONOUS", "Database", "parsed", "told", "translated"]

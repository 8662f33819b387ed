"""Where in a folder a recording is found by its Call-ID and by what correlates it, and which of them are unfinished or have expired.

A table beside the recordings, of names, times and digests, so that a hundred thousand of them cost neither memory nor a reading of all records at
each start. It holds nothing that the records do not say: one that is lost or damaged is made anew, and whatever it names is read in its record
before anything is done. What is deleted in it is overwritten, so that no name of an erased recording stays behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from engine.recordings.record import Record

FILE: Final = ".catalogue"
CALL: Final = "call:"
KEYS_MAX: Final = 100
_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE entries (id TEXT PRIMARY KEY, started REAL NOT NULL, expires REAL, pending INTEGER NOT NULL, unindexed INTEGER NOT NULL, held INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (digest BLOB NOT NULL, id TEXT NOT NULL, PRIMARY KEY (digest, id)) WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX keys_of ON keys (id);
CREATE INDEX pending ON entries (id) WHERE pending;
CREATE INDEX unindexed ON entries (id) WHERE unindexed;
CREATE INDEX held ON entries (id) WHERE held;
CREATE INDEX expiring ON entries (expires) WHERE expires IS NOT NULL;
"""


def digest_of(key: str) -> bytes:
    """What a key is found by."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keys_of(record: Record) -> set[bytes]:
    """What a recording is found by: its Call-ID, and each key of its correlation."""
    return {digest_of(CALL + record.call_id), *(digest_of(key) for key in record.correlation)}


class Lookup:
    """The table of one folder. One process at a time writes it; all methods may be called in any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._turn = threading.Lock()
        try:
            self._rows = self._opened()
        except sqlite3.DatabaseError:
            for name in (FILE, f"{FILE}-journal"):
                with contextlib.suppress(FileNotFoundError):
                    (folder / name).unlink()
            self._rows = self._opened()

    def _opened(self) -> sqlite3.Connection:
        rows = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            self._path.chmod(0o600)
            rows.execute("PRAGMA journal_mode=TRUNCATE")
            rows.execute("PRAGMA synchronous=OFF")  # it is made of records, which are on the disk
            rows.execute("PRAGMA secure_delete=ON")
            found = rows.execute("PRAGMA user_version").fetchone()[0]
            if found != _VERSION:
                for kind, name in rows.execute("SELECT type, name FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL").fetchall():
                    rows.execute(f'DROP {kind} IF EXISTS "{name}"')
                rows.executescript(_TABLES)
                rows.execute(f"PRAGMA user_version={_VERSION}")
            rows.execute("SELECT count(*) FROM (SELECT id FROM entries LIMIT 1)").fetchone()
        except BaseException:
            rows.close()
            raise
        return rows

    def put(self, record: Record) -> None:
        """A record as it is now."""
        id = record.recording_id
        row = (id, record.started_at, record.expires_at, record.stage != "done" or bool(record.obsolete), not record.indexed, bool(record.holds))
        with self._turn:
            self._rows.execute("BEGIN")
            self._rows.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)
            self._rows.execute("DELETE FROM keys WHERE id = ?", (id,))
            self._rows.executemany("INSERT INTO keys VALUES (?, ?)", [(digest, id) for digest in keys_of(record)])
            self._rows.execute("COMMIT")

    def doubt(self, id: str) -> None:
        """Its record is about to be another: it counts as unfinished until `put`."""
        with self._turn:
            self._rows.execute("UPDATE entries SET pending = 1 WHERE id = ? AND NOT pending", (id,))

    def forget(self, id: str) -> None:
        """Nothing of it stays."""
        with self._turn:
            self._rows.execute("BEGIN")
            self._rows.execute("DELETE FROM entries WHERE id = ?", (id,))
            self._rows.execute("DELETE FROM keys WHERE id = ?", (id,))
            self._rows.execute("COMMIT")

    def found(self, keys: Iterable[str]) -> list[str]:
        """Ids of recordings that have one of these keys."""
        ids: set[str] = set()
        for key in keys:
            ids.update(self._ids("SELECT id FROM keys WHERE digest = ?", digest_of(key)))
        return sorted(ids)

    def near(self, keys: Iterable[str], at: float, within_s: float, limit: int) -> list[str]:
        """Ids of recordings that have one of these keys and began not further from `at`, the nearest first."""
        digests = [digest_of(key) for key in keys][:KEYS_MAX]
        marks = ",".join("?" * len(digests))
        statement = (
            f"SELECT id FROM entries WHERE id IN (SELECT id FROM keys WHERE digest IN ({marks})) AND started BETWEEN ? AND ? ORDER BY abs(started - ?), id LIMIT ?"
        )
        return self._ids(statement, *digests, at - within_s, at + within_s, at, limit)

    def page(self, after: str, limit: int) -> list[str]:
        """Ids behind `after`, in order."""
        return self._ids("SELECT id FROM entries WHERE id > ? ORDER BY id LIMIT ?", after, limit)

    def pending(self) -> list[str]:
        """Ids of recordings that are not done."""
        return self._ids("SELECT id FROM entries WHERE pending")

    def unindexed(self) -> list[str]:
        """Ids of recordings that the store does not have as they are."""
        return self._ids("SELECT id FROM entries WHERE unindexed")

    def held(self) -> list[str]:
        """Ids of recordings under a legal hold."""
        return self._ids("SELECT id FROM entries WHERE held")

    def expired(self, now: float, limit: int) -> list[str]:
        """Ids of recordings whose time is over and that nothing holds, the longest due first."""
        return self._ids("SELECT id FROM entries WHERE expires <= ? AND NOT held ORDER BY expires LIMIT ?", now, limit)

    def setting(self, name: str) -> str:
        """What `set` was told last."""
        with self._turn:
            found = self._rows.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def set(self, name: str, value: str) -> None:
        """Something to remember for as long as the table lasts."""
        with self._turn:
            self._rows.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def count(self) -> int:
        """How many recordings there are."""
        with self._turn:
            return int(self._rows.execute("SELECT count(*) FROM entries").fetchone()[0])

    def _ids(self, statement: str, *values: object) -> list[str]:
        with self._turn:
            return [id for (id,) in self._rows.execute(statement, values)]

    def close(self) -> None:
        """Closes the table."""
        with self._turn:
            self._rows.close()


__all__ = ["CALL", "FILE", "Lookup", "digest_of", "keys_of"]

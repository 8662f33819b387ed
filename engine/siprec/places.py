"""How many recording sessions a machine takes: counted over all its workers, exactly."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from pathlib import Path
from typing import Final

from engine.errors import EngineError

WORKERS_MAX: Final = 1024
_COUNTS: Final = struct.Struct("<II")  # sessions and streams of one worker


class NoPlace(EngineError):
    """There are as many sessions, or streams, as there may be."""

    code = "siprec.full"


class NoDisk(NoPlace):
    """There is too little room left on the disk for another recording."""

    code = "siprec.no_disk"


class Places:
    """The places of one of `count` workers, who share a file. A worker that takes the place of a dead one begins with none of what that one had."""

    def __init__(self, path: Path, index: int, count: int, *, sessions_max: int, streams_max: int) -> None:
        """Raises OSError."""
        self.sessions_max, self.streams_max = sessions_max, streams_max
        self._at, self._all = index * _COUNTS.size, count * _COUNTS.size
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_size < WORKERS_MAX * _COUNTS.size:
                os.ftruncate(self._fd, WORKERS_MAX * _COUNTS.size)
            self._counts = mmap.mmap(self._fd, WORKERS_MAX * _COUNTS.size)
            _COUNTS.pack_into(self._counts, self._at, 0, 0)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def taken(self) -> tuple[int, int]:
        """Sessions and streams of the whole machine."""
        found = list(_COUNTS.iter_unpack(self._counts[: self._all]))
        return sum(one[0] for one in found), sum(one[1] for one in found)

    def take(self, streams: int) -> None:
        """A place for a session with so many streams. Raises NoPlace. It holds a lock for some microseconds, which no other work is done under."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            sessions, all_streams = self.taken
            if sessions >= self.sessions_max:
                raise NoPlace(f"{sessions} recording sessions run already")
            if all_streams + streams > self.streams_max:
                raise NoPlace(f"{all_streams} streams are recorded already, and {streams} more are too many")
            self._add(1, streams)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def give_back(self, streams: int) -> None:
        """A session with so many streams is over."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            self._add(-1, -streams)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def change(self, streams: int) -> None:
        """A session has so many more streams, or fewer; it goes on whatever the limit is."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            self._add(0, streams)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _add(self, sessions: int, streams: int) -> None:
        had = _COUNTS.unpack_from(self._counts, self._at)
        _COUNTS.pack_into(self._counts, self._at, max(had[0] + sessions, 0), max(had[1] + streams, 0))

    def close(self) -> None:
        """Lets the file go."""
        self._counts.close()
        os.close(self._fd)


__all__ = ["NoDisk", "NoPlace", "Places"]

"""What was accepted and is not confirmed yet, on disk: records in files that only grow, and a mark up to which all is done.

    folder/
        lock                       held by the process that has the spool open
        mark                       sequence up to which all is done, and its CRC-32
        <first sequence>.spool     MAGIC, then records: length, CRC-32 of sequence and content, sequence, content

`append` is one write(2): what it took outlasts the process, and after `sync` the machine. A record that was cut off by either's end is found by
its CRC and left out. Beyond `max_bytes` the oldest file goes, and what it held is counted. Records that are to be forgotten are overwritten where
they stand, so that no copy of them is left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.realtime.errors import SpoolTaken

MAGIC: Final = b"TLSPOOL1"
HEAD: Final = struct.Struct("<IIQ")
MARK: Final = struct.Struct("<QI")
SEQUENCE: Final = struct.Struct("<Q")
RECORD_MAX_BYTES: Final = 2 << 20
SEGMENT_BYTES: Final = 4 << 20
SEGMENTS_MIN: Final = 8  # so that the oldest file is a small part of all
NAME: Final = re.compile(r"[0-9a-f]{16}\.spool")
READ_BYTES: Final = 256 << 10
TIDY_BYTES: Final = 64 << 10
CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC

log = logging.getLogger("trunkline.realtime")


class Segment(msgspec.Struct, eq=False):
    """One file. `last` is the sequence of its last record, `first - 1` while it has none; `count` is of its records. `fd` is open until all of it is
    on the disk, -1 then."""

    path: Path
    first: int
    last: int
    size: int
    count: int
    fd: int = -1


def _crc(sequence: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(SEQUENCE.pack(sequence)))


def _record(sequence: int, content: bytes) -> bytes:
    return HEAD.pack(len(content), _crc(sequence, content), sequence) + content


def _one(data: memoryview, offset: int) -> tuple[int, int, bytes | None] | None:
    """(end, sequence, content) of the record there; content None where it does not fit its CRC; None where no record can be."""
    if offset + HEAD.size > len(data):
        return None
    length, crc, sequence = HEAD.unpack_from(data, offset)
    end = offset + HEAD.size + length
    if not 0 < length <= RECORD_MAX_BYTES or end > len(data):
        return None
    content = bytes(data[offset + HEAD.size : end])
    return end, sequence, content if _crc(sequence, content) == crc else None


def _records(data: bytes, offset: int) -> Iterator[tuple[int, int, int, bytes | None]]:
    """(offset, end, sequence, content) of each record from there on. One that is damaged has content None, and is only told where another follows it."""
    view = memoryview(data)
    found = _one(view, offset)
    while found is not None:
        end, sequence, content = found
        after = _one(view, end)
        if content is None and (after is None or after[2] is None):
            return
        yield offset, end, sequence, content
        offset, found = end, after


def _behind(segment: Segment, sequence: int) -> int:
    return min(segment.count, max(0, segment.last - sequence))


def is_void(content: bytes) -> bool:
    """Whether a record was forgotten."""
    return not content.strip(b"\0")


class Spool:
    """Opened by one process, for one thread; `flush` and `forget` may run in another beside it."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Opens it, and finds what was left. Raises SpoolTaken, OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.max_bytes = max_bytes
        self.damaged = 0
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SpoolTaken(f"another process has {folder} open") from None
        self._mark = -1
        try:
            self._open()
        except BaseException:
            self._let_go()
            raise

    def _open(self) -> None:
        self._mark = os.open(self.folder / "mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.done = self._read_mark()
        self._segments = [self._scanned(path) for path in sorted(self.folder.iterdir()) if NAME.fullmatch(path.name)]
        self._active: Segment | None = None  # the one that is written to, the last of them
        self.bytes = sum(segment.size for segment in self._segments)
        self.last = max([self.done, *(segment.last for segment in self._segments)])
        self._synced = self.last
        self._at: tuple[int, int] = (0, len(MAGIC))  # what `read` gives next: first sequence of a file, and an offset
        self.release(self.done)

    def _let_go(self) -> None:
        for fd in (self._mark, self._lock):
            if fd >= 0:
                os.close(fd)

    def count_after(self, sequence: int) -> int:
        """Records behind a sequence, those damaged or forgotten among them."""
        return sum(_behind(segment, sequence) for segment in reversed(self._segments))

    def _read_mark(self) -> int:
        told = os.pread(self._mark, MARK.size, 0)
        if len(told) == MARK.size:
            sequence, crc = MARK.unpack(told)
            if zlib.crc32(SEQUENCE.pack(sequence)) == crc:
                return int(sequence)
        return 0

    def _write_mark(self) -> None:
        os.pwrite(self._mark, MARK.pack(self.done, zlib.crc32(SEQUENCE.pack(self.done))), 0)

    def _scanned(self, path: Path) -> Segment:
        """A file that was left, without what was cut off at its end."""
        first = int(path.name[:16], 16)
        data = path.read_bytes()
        segment = Segment(path, first, first - 1, len(MAGIC), 0)
        if data.startswith(MAGIC):
            for _, end, sequence, content in _records(data, len(MAGIC)):
                segment.last, segment.size, segment.count = sequence, end, segment.count + 1
                self.damaged += content is None
        if segment.size < len(data):
            log.warning("%s: %d bytes at its end are no whole record", path.name, len(data) - segment.size)
            os.truncate(path, segment.size)
        return segment

    # ---- writing ----

    def append(self, content: bytes) -> int:
        """Takes a record; its sequence. Raises OSError, and nothing was taken then; ValueError for an empty one and one that is too long."""
        if not 0 < len(content) <= RECORD_MAX_BYTES:
            raise ValueError(f"a record has 1 to {RECORD_MAX_BYTES} bytes")
        sequence = self.last + 1
        record = _record(sequence, content)
        segment = self._writable(sequence, len(record))
        written = 0
        try:
            while written < len(record):
                written += os.write(segment.fd, record[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(segment.fd, segment.size)
            self._active = None  # behind half a record nothing would be found
            raise
        segment.last, segment.size, segment.count = sequence, segment.size + len(record), segment.count + 1
        self.bytes += len(record)
        self.last = sequence
        return sequence

    def pass_over(self) -> int:
        """A sequence without a record: for what the disk did not take."""
        self.last += 1
        return self.last

    def make_room(self, more: int) -> int:
        """Has the oldest files go until a record of `more` bytes fits; how many records that were not done went with them."""
        lost = 0
        while self._segments and self.bytes + more + HEAD.size > self.max_bytes:
            oldest = self._segments[0]
            lost += _behind(oldest, self.done)
            self._remove(oldest)
            self.done = max(self.done, oldest.last)
        if lost:
            self._write_mark()
        return lost

    def _writable(self, sequence: int, more: int) -> Segment:
        """The file to write to, a new one where the last is full."""
        limit = min(SEGMENT_BYTES, self.max_bytes // SEGMENTS_MIN)
        if self._active is not None and (self._active.size + more <= limit or not self._active.count):
            return self._active
        path = self.folder / f"{sequence:016x}.spool"
        for left in [segment for segment in self._segments if segment.path == path]:  # of which not one record was whole
            self._remove(left)
        fd = os.open(path, CREATE, 0o600)
        try:
            os.write(fd, MAGIC)
        except OSError:
            os.close(fd)
            raise
        self._active = Segment(path, sequence, sequence - 1, len(MAGIC), 0, fd)
        self._segments.append(self._active)
        self.bytes += len(MAGIC)
        return self._active

    def _remove(self, segment: Segment) -> None:
        if segment is self._active:
            self._active = None
        if segment.fd >= 0:
            os.close(segment.fd)
            segment.fd = -1
        self._segments.remove(segment)
        self.bytes -= segment.size
        segment.path.unlink(missing_ok=True)

    # ---- onto the disk ----

    @property
    def is_synced(self) -> bool:
        """Whether all that is not done is on the disk."""
        return max(self._synced, self.done) >= self.last

    def unsynced(self) -> tuple[int, list[int]]:
        """What `flush` wants: the last sequence, and descriptors of the files that may have something in memory only."""
        fds = [os.dup(segment.fd) for segment in self._segments if segment.fd >= 0]
        return self.last, [*fds, os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]

    @staticmethod
    def flush(fds: list[int]) -> None:
        """Syncs and closes the descriptors, in any thread. Raises OSError."""
        try:
            for fd in fds:
                os.fsync(fd)
        finally:
            for fd in fds:
                os.close(fd)

    def synced(self, last: int) -> None:
        """All up to `last` is on the disk."""
        self._synced = max(self._synced, last)
        for segment in self._segments:
            if segment is not self._active and segment.fd >= 0 and segment.last <= last:
                os.close(segment.fd)
                segment.fd = -1

    # ---- reading ----

    def skip_to_end(self) -> None:
        """What was taken so far is not to be read: who reads has it."""
        if self._segments:
            self._at = (self._segments[-1].first, self._segments[-1].size)

    def read(self) -> list[tuple[int, bytes]]:
        """The next records that are not done, in their order; none when all were read. A part of a file at a time. Raises OSError."""
        while True:
            first, offset = self._at
            segment = next((each for each in self._segments if each.first >= first), None)
            if segment is None:
                return []
            if segment.first > first:
                offset = len(MAGIC)
            if offset >= segment.size:
                if segment is self._segments[-1]:
                    return []
                self._at = (segment.first + 1, len(MAGIC))
                continue
            found, end = self._part(segment, offset)
            self._at = (segment.first, end)
            if found:
                return found

    def _part(self, segment: Segment, offset: int) -> tuple[list[tuple[int, bytes]], int]:
        with open(segment.path, "rb", buffering=0) as file:
            # where the usual part holds no whole record, the longest one does
            for limit in (READ_BYTES, RECORD_MAX_BYTES + 2 * HEAD.size):
                data = os.pread(file.fileno(), min(limit, segment.size - offset), offset)
                found = list(_records(data, 0))
                if found:
                    kept = [(sequence, content) for _, _, sequence, content in found if content and sequence > self.done and not is_void(content)]
                    return kept, offset + found[-1][1]
        return [], segment.size

    # ---- what is done ----

    def release(self, done: int) -> None:
        """All records up to `done` are done. Files of which all is done go, the one that is written to once it is worth it."""
        if done > self.done:
            self.done = done
            self._write_mark()
        while self._segments and self._segments[0].last <= self.done and (self._segments[0] is not self._active or self._active.size > TIDY_BYTES):
            self._remove(self._segments[0])

    def forget(self, is_of: Callable[[bytes], bool]) -> int:
        """Overwrites the records that `is_of` tells, done or not; how many. It is on the disk when it returns. In any thread. Raises OSError."""
        return sum(self._forget_in(segment.path, segment.size, is_of) for segment in list(self._segments))

    @staticmethod
    def _forget_in(path: Path, size: int, is_of: Callable[[bytes], bool]) -> int:
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # all of it was done meanwhile
            return 0
        try:
            count = 0
            for offset, _, sequence, content in _records(os.pread(fd, size, 0), len(MAGIC)):
                if content and is_of(content):
                    os.pwrite(fd, _record(sequence, bytes(len(content))), offset)
                    count += 1
            if count:
                os.fsync(fd)
            return count
        finally:
            os.close(fd)

    def close(self) -> None:
        """Syncs what is there, and lets the spool go; files of which all is done go too. Raises OSError."""
        try:
            self.flush(self.unsynced()[1])
            self._active = None
            self.release(self.done)
        finally:
            for segment in self._segments:
                if segment.fd >= 0:
                    os.close(segment.fd)
            self._let_go()


__all__ = ["RECORD_MAX_BYTES", "Segment", "Spool", "is_void"]

"""Messages as they pass, on disk: a row of segment files that one process appends to and its successor can read.

The segment that is written is mapped into memory, so that a record is in the system's hands when `append` returns: a process that is
killed loses nothing, not even the message that killed it. Its blocks are reserved ahead, so that a full disk is an error when a segment is
begun and never a signal when one is written. Only this segment is mapped; the others are read when somebody asks.

    frame  size of the body, CRC-32 of the body, mark        little-endian: u32, u32, u8
    body   time in ns since 1970, whether it was sent, bytes of Call-ID, bytes of ends; then Call-ID, ends, message

The mark is the only byte that changes behind `append`, and lies outside of the checksum. A record is named by its place: the segment's
number and the offset in it. Places grow with time. What is dead in a segment goes with the whole segment, or when `shrink` writes the
segment anew under its own number.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from engine.errors import EngineError

FRAME: Final = struct.Struct("<IIB")
BODY: Final = struct.Struct("<q?HH")
FRAME_BYTES: Final = FRAME.size
BODY_BYTES: Final = BODY.size
MARK_OFFSET: Final = FRAME_BYTES - 1
OFFSET_BITS: Final = 32
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
SEGMENT_MIN_BYTES: Final = 4096
READ_BYTES: Final = 2048  # most records are read at once
LOCK_FILE: Final = "lock"
_NAME: Final = re.compile(r"[0-9]{12}\.spool")

log = logging.getLogger("trunkline.trace")


class SpoolInUse(EngineError):
    """Another process writes into this folder."""

    code = "trace.spool_in_use"


class Record(NamedTuple):
    """One message. `mark` is what its owner made of it; `ends` are whatever the owner wrote."""

    mark: int
    time_ns: int
    sent: bool
    call_id: bytes
    ends: bytes
    text: bytes


Keep = Callable[[int, Record], bool]


class Segment:
    """One file: how many records it holds, and how many of them somebody still wants."""

    __slots__ = ("live", "number", "records", "size_bytes")

    def __init__(self, number: int, size_bytes: int) -> None:
        self.number = number
        self.size_bytes = size_bytes
        self.records = self.live = 0


def _parsed(mark: int, body: bytes) -> Record | None:
    """A body whose checksum is right; None where its lengths are not."""
    if len(body) < BODY_BYTES:
        return None
    time_ns, sent, name_size, ends_size = BODY.unpack_from(body)
    text_at = BODY_BYTES + name_size + ends_size
    if text_at > len(body):
        return None
    return Record(mark, time_ns, sent, body[BODY_BYTES : BODY_BYTES + name_size], body[BODY_BYTES + name_size : text_at], body[text_at:])


def scan(data: bytes) -> Iterator[tuple[int, int, Record]]:
    """(offset, end, record) of the whole records of a segment, up to the first that is torn or none."""
    at = 0
    while at + FRAME_BYTES <= len(data):
        size, checksum, mark = FRAME.unpack_from(data, at)
        end = at + FRAME_BYTES + size
        if end > len(data):
            return
        body = data[at + FRAME_BYTES : end]
        record = _parsed(mark, body) if crc32(body) == checksum else None
        if record is None:
            return
        yield at, end, record
        at = end


def _scrubbed(record: bytes) -> bytes:
    """A record of nothing, as long as this one."""
    size, _, mark = FRAME.unpack_from(record)
    body = bytes(size)
    return FRAME.pack(size, crc32(body), mark) + body


def _frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(offset, end, Call-ID) of the records of a segment. Whether they are whole is seen when they are read."""
    at, size_of, unpack, parts = 0, len(data), FRAME.unpack_from, BODY.unpack_from
    while at + FRAME_BYTES + BODY_BYTES <= size_of:
        size, _, _ = unpack(data, at)
        start = at + FRAME_BYTES
        end = start + size
        if size < BODY_BYTES or end > size_of:
            return
        _, _, name_size, _ = parts(data, start)
        start += BODY_BYTES
        yield at, end, data[start : start + name_size]
        at = end


class Spool:
    """The segments of one folder, which belongs to one process at a time. Not for several threads at once."""

    def __init__(self, folder: Path, *, segment_bytes: int) -> None:
        """Makes the folder and takes it. Raises SpoolInUse, OSError, and ValueError for segments too small."""
        if not SEGMENT_MIN_BYTES <= segment_bytes <= OFFSET_MASK:
            raise ValueError(f"a segment has at least {SEGMENT_MIN_BYTES} bytes")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.size_bytes = 0
        self.segment_bytes = segment_bytes
        self._folder = folder
        self._segments: dict[int, Segment] = {}  # by number, the oldest first
        self._active = Segment(0, 0)
        self._map: mmap.mmap | None = None
        self._at = self._end = 0
        self._base = 0
        self._next = 1
        self._lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise SpoolInUse(f"{folder} is the spool of another process") from error

    # ---- writing ----

    def append(self, mark: int, time_ns: int, sent: bool, call_id: bytes, ends: bytes, text: bytes) -> int:
        """Writes a record into the segment that is open; its place, or -1 where it does not fit: then `begin` another one."""
        body = BODY.pack(time_ns, sent, len(call_id), len(ends)) + call_id + ends + text
        at = self._at
        start = at + FRAME_BYTES
        end = start + len(body)
        mapped = self._map
        if mapped is None or end > self._end:
            return -1
        FRAME.pack_into(mapped, at, len(body), crc32(body), mark)
        mapped[start:end] = body
        self._at = end
        active = self._active
        active.records += 1
        active.live += 1
        return self._base + at

    def begin(self, least_bytes: int = 0) -> None:
        """Closes the segment that is open and begins one that takes a record of `least_bytes`. Raises OSError for a full disk."""
        self._close_active()
        size_bytes = max(self.segment_bytes, least_bytes)
        number = self._next
        file = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size_bytes)
            self._map = mmap.mmap(file, size_bytes)
        except OSError:
            self._path(number).unlink()
            raise
        finally:
            os.close(file)
        self._next += 1
        self._active = self._segments[number] = Segment(number, size_bytes)
        self._at, self._end, self._base = 0, size_bytes, number << OFFSET_BITS
        self.size_bytes += size_bytes

    def _close_active(self) -> None:
        """What was reserved and not used is given back."""
        if self._map is None:
            return
        active = self._active
        self._map.close()
        self._map = None
        if not active.live:
            self._delete(active)
            return
        try:
            os.truncate(self._path(active.number), self._at)
        except OSError as error:
            log.warning("%s: %s", self._path(active.number), error)
            return
        self.size_bytes -= active.size_bytes - self._at
        active.size_bytes = self._at

    def set_mark(self, place: int, mark: int) -> None:
        """Changes the mark of a record. Raises OSError where its file is not to be written."""
        number, offset = place >> OFFSET_BITS, place & OFFSET_MASK
        if self._map is not None and number == self._active.number:
            self._map[offset + MARK_OFFSET] = mark
            return
        file = os.open(self._path(number), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(file, bytes((mark,)), offset + MARK_OFFSET)
        finally:
            os.close(file)

    def scrub(self, call_id: bytes) -> int:
        """Overwrites all records of a Call-ID with zeros, those that nobody wants any more too; how many. Their lengths stay, so that those behind them are found.
        Reads every segment: about a second for a gigabyte. Raises OSError."""
        done = 0
        for number in list(self._segments):
            active = self._map if number == self._active.number else None
            data = active[: self._at] if active is not None else self._path(number).read_bytes()
            found = [(at, end) for at, end, name in _frames(data) if name == call_id]
            if not found:
                continue
            done += len(found)
            with open(self._path(number), "r+b") as file:
                for at, end in found:
                    scrubbed = _scrubbed(data[at:end])
                    if active is not None:
                        active[at:end] = scrubbed
                    else:
                        file.seek(at)
                        file.write(scrubbed)
                file.flush()
                if active is not None:
                    active.flush()
                os.fdatasync(file.fileno())
        return done

    # ---- reading ----

    def read(self, places: Iterable[int]) -> Iterator[Record | None]:
        """The records at these places, each None where it cannot be read."""
        file, opened = -1, 0
        try:
            for place in places:
                number = place >> OFFSET_BITS
                try:
                    if number != opened:
                        if file >= 0:
                            os.close(file)
                            file = -1
                        file, opened = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC), number
                    yield _read_at(file, place & OFFSET_MASK)
                except OSError as error:
                    opened = 0
                    log.warning("%s: %s", self._path(number), error)
                    yield None
        finally:
            if file >= 0:
                os.close(file)

    # ---- what is dead ----

    def release(self, places: Iterable[int]) -> None:
        """Nobody wants these records any more. A segment without others is deleted."""
        for place in places:
            segment = self._segments.get(place >> OFFSET_BITS)
            if segment is None:  # what was damaged on the disk is counted too often here
                continue
            segment.live -= 1
            if segment.live <= 0 and segment is not self._active:
                self._delete(segment)

    def sparsest(self, share: float) -> Segment | None:
        """The closed segment with the least that is live, where that is at most `share` of it."""
        closed = (one for one in self._segments.values() if one is not self._active)
        found = min(closed, key=lambda one: one.live / one.records, default=None)
        return found if found is not None and found.live <= share * found.records else None

    def shrink(self, segment: Segment, keep: Callable[[int, bytes], bool], moved: Callable[[bytes, int, int], None]) -> None:
        """Writes a closed segment anew with those records alone for whose (place, Call-ID) `keep` is true; `moved` is told the Call-ID,
        the old and the new place of each. Takes about 1 us a record. Raises OSError, and nothing has changed then; a file that is lost
        is no error, for waiting does not bring it back."""
        path, base = self._path(segment.number), segment.number << OFFSET_BITS
        try:
            data = path.read_bytes()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EIO):
                raise
            log.warning("%s: %s", path, error)
            data = b""
        left: list[bytes] = []
        places: list[tuple[bytes, int, int]] = []
        size_bytes = 0
        for at, end, call_id in _frames(data):
            if keep(base + at, call_id):
                left.append(data[at:end])
                places.append((call_id, base + at, base + size_bytes))
                size_bytes += end - at
        fresh = path.with_suffix(".new")
        try:
            _write(fresh, b"".join(left))
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        for call_id, old, new in places:
            moved(call_id, old, new)
        self.size_bytes -= segment.size_bytes - size_bytes
        segment.size_bytes = size_bytes
        segment.records = segment.live = len(places)
        if not places:
            self._delete(segment)

    # ---- life ----

    def recover(self, keep: Keep) -> int:
        """Reads what a predecessor left, before the first `begin`: each whole record for whose (place, record) `keep` is true stays.
        How many files end in the middle of a record. Files that cannot be read are passed over and left alone."""
        torn = 0
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".new":
                path.unlink()
            elif _NAME.fullmatch(path.name):
                try:
                    torn += self._recover(int(path.stem), path, keep)
                except OSError as error:
                    log.warning("%s: %s", path, error)
        return torn

    def _recover(self, number: int, path: Path, keep: Keep) -> bool:
        self._next = max(self._next, number + 1)
        data = path.read_bytes()
        segment, used, base = Segment(number, 0), 0, number << OFFSET_BITS
        for at, end, record in scan(data):
            used = end
            segment.records += 1
            segment.live += keep(base + at, record)
        torn = any(data[used : used + FRAME_BYTES])
        self._segments[number] = segment
        if not segment.live:
            self._delete(segment)
            return torn
        os.truncate(path, used)
        segment.size_bytes = used
        self.size_bytes += used
        return torn

    def close(self) -> None:
        """Gives the folder back; what is in it stays for a successor."""
        self._close_active()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def segments(self) -> int:
        """How many files there are."""
        return len(self._segments)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.spool"

    def _delete(self, segment: Segment) -> None:
        del self._segments[segment.number]
        self.size_bytes -= segment.size_bytes
        try:
            self._path(segment.number).unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: %s", self._path(segment.number), error)


def _read_at(file: int, offset: int) -> Record | None:
    data = os.pread(file, READ_BYTES, offset)
    if len(data) < FRAME_BYTES:
        return None
    size, checksum, mark = FRAME.unpack_from(data)
    body = data[FRAME_BYTES : FRAME_BYTES + size]
    if len(body) < size:
        if size > os.fstat(file).st_size:
            return None
        body += os.pread(file, size - len(body), offset + len(data))
    return _parsed(mark, body) if len(body) == size and crc32(body) == checksum else None


def _write(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
    finally:
        os.close(file)


__all__ = ["OFFSET_BITS", "Record", "Segment", "Spool", "SpoolInUse", "scan"]

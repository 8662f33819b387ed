"""What outlives a worker: the BYEs of its confirmed dialogs, in a file that its successor reads.

A dialog whose worker was killed would stay open at its peer. So each worker keeps, for every dialog it has confirmed, the BYE that would
end it (RFC 3261 15.1.1) and where that goes. The file only grows, a line an event, checksum first, until what is over outweighs what is
not; then it is written anew beside itself and takes its own place at once. Lines are written together at the end of a turn of the loop: a
killed process loses what belonged to that turn, a power cut what the system had not written yet.
"""

from __future__ import annotations

import asyncio
import logging
import os
from binascii import crc32
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

log = logging.getLogger("trunkline.sip")
Schedule = Callable[[Callable[[], None]], object]

ENTRIES_MAX: Final = 100_000
LIVE_MAX_BYTES: Final = 256 << 20
LINE_MAX_BYTES: Final = 65_536
SLACK_BYTES: Final = 1 << 20  # a file is not written anew for less
CHECKSUM: Final = b"%08x "
CHECKSUM_BYTES: Final = 9


class Entry(msgspec.Struct, frozen=True):
    """A dialog to end: `bye` is a whole request, and goes to `host` and `port` over `transport`."""

    dialog_id: str
    bye: bytes
    transport: str
    host: str
    port: int


class _Line(msgspec.Struct, omit_defaults=True):
    """An entry in the file; without a BYE, the end of one. The id is bytes because a peer chose parts of it."""

    d: bytes
    b: bytes = b""
    t: str = ""
    h: str = ""
    p: int = 0


_decoder = msgspec.json.Decoder(_Line)
_encode = msgspec.json.Encoder().encode


def _line(told: _Line) -> bytes:
    text = _encode(told)
    return CHECKSUM % crc32(text) + text + b"\n"


def _entry_line(entry: Entry) -> tuple[bytes, bytes]:
    key = entry.dialog_id.encode("utf-8", "surrogateescape")
    return key, _line(_Line(key, entry.bye, entry.transport, entry.host, entry.port))


def _entry(line: _Line) -> Entry:
    return Entry(line.d.decode("utf-8", "surrogateescape"), line.b, line.t, line.h, line.p)


def _read(line: bytes) -> _Line | None:
    """What a line says; None for one that is torn or was never ours."""
    text = line[CHECKSUM_BYTES:]
    if line[:CHECKSUM_BYTES] != CHECKSUM % crc32(text):
        return None
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError:
        return None


def recover(path: Path) -> list[Entry]:
    """The dialogs that a ledger holds, in the order they were recorded; none where there is no file.

    Lines that are torn or no lines of a ledger are passed over. Raises OSError when the file cannot be read.
    """
    found: dict[bytes, _Line] = {}
    bad = 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return []
    with file:
        whole = True  # the line began where this piece of it does
        while piece := file.readline(LINE_MAX_BYTES):
            told = _read(piece[:-1]) if whole and piece.endswith(b"\n") else None
            whole = piece.endswith(b"\n")
            if told is None:
                bad += 1
            elif not told.b:
                found.pop(told.d, None)
            elif len(found) < ENTRIES_MAX:
                found.pop(told.d, None)
                found[told.d] = told
    if bad:
        log.warning("%s: %d lines could not be read", path, bad)
    return [_entry(told) for told in found.values()]


class Ledger:
    """The ledger of one worker. Belongs to one event loop."""

    def __init__(
        self, path: Path, schedule: Schedule | None = None, *, entries_max: int = ENTRIES_MAX, slack_bytes: int = SLACK_BYTES
    ) -> None:  # fmt: skip
        """Goes on with what a predecessor left, which `entries` tells: end those dialogs, and `forget` each one.

        `schedule` has something done at the end of this turn; without it, the running loop does. `slack_bytes` of what is over may
        stand in the file before it is written anew. Raises OSError when the file cannot be read or written.
        """
        self.lost = 0  # lines that could not be written; they are written as soon as something can be
        self.refused = 0
        self._path = path
        self._schedule = schedule or asyncio.get_running_loop().call_soon
        self._max = entries_max
        self._slack_bytes = slack_bytes
        self._live: dict[bytes, bytes] = {}
        self._waiting: list[bytes] = []
        self._size = self._live_size = 0
        self._whole = True  # the file holds what `_live` and `_waiting` hold
        self._file = -1
        for entry in recover(path):
            key, line = _entry_line(entry)
            self._keep(key, line)
        self._rewrite()

    def __len__(self) -> int:
        return len(self._live)

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self._size

    def entries(self) -> list[Entry]:
        """Every dialog in it, in the order they were recorded."""
        return [_entry(_decoder.decode(line[CHECKSUM_BYTES:])) for line in self._live.values()]

    def record(self, dialog_id: str, bye: bytes, transport: str, host: str, port: int) -> bool:
        """Keeps a confirmed dialog, or what has changed of one. False, and counted, when it is too large or there is too much."""
        try:
            key, line = _entry_line(Entry(dialog_id, bye, transport, host, port))
        except UnicodeEncodeError:  # a host that is no text
            key, line = b"", b""
        more = len(self._live) < self._max or key in self._live
        if not more or not bye or not 0 < len(line) <= LINE_MAX_BYTES or self._live_size + len(line) > LIVE_MAX_BYTES:
            self.refused += 1
            return False
        self._keep(key, line)
        self._append(line)
        return True

    def forget(self, dialog_id: str) -> None:
        """The dialog is over. Nothing happens for one that is not there."""
        key = dialog_id.encode("utf-8", "surrogateescape")
        line = self._live.pop(key, None)
        if line is not None:
            self._live_size -= len(line)
            self._append(_line(_Line(key)))

    def _keep(self, key: bytes, line: bytes) -> None:
        self._live_size += len(line) - len(self._live.pop(key, b""))
        self._live[key] = line

    def _append(self, line: bytes) -> None:
        if not self._waiting:
            self._schedule(self.flush)
        self._waiting.append(line)

    # ---- the file ----

    def flush(self) -> None:
        """Writes what waits. A disk that takes nothing is no reason to refuse calls: it is counted, and tried again with the next event."""
        if not self._waiting or self._file < 0:
            return
        lines, self._waiting = self._waiting, []
        data = b"".join(lines)
        try:
            if not self._whole or self._size + len(data) > self._slack_bytes + 2 * self._live_size:
                self._rewrite()
                return
            written = os.write(self._file, data)
            self._size += written
            if written == len(data):
                return
            log.warning("%s took %d of %d bytes", self._path, written, len(data))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)
        self.lost += len(lines)
        self._whole = False

    def _rewrite(self) -> None:
        """Writes what is live into a new file, which takes the place of the old one."""
        fresh = self._path.with_name(self._path.name + ".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            data = memoryview(b"".join(self._live.values()))
            while data:
                data = data[os.write(file, data) :]
            fresh.replace(self._path)
        except OSError:
            os.close(file)
            fresh.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._whole = file, self._live_size, True

    def close(self) -> None:
        """Writes what waits and closes the file."""
        self.flush()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


__all__ = ["Entry", "Ledger", "recover"]

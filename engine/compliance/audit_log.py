"""The audit log of calls: JSON lines that are only added to. Where it is tamper-proof, each holds a hash over itself and the one before it.

    {"number", "timestamp", "payload": {...}, "salt", "prev_hash", "hash"}

What is of a person in a line (everything but the words for what was done, when and by whom) goes into the hash as a salted hash of its own. So it can be
taken out again when a call is erased, and the chain still holds: the line then has `personal_hash` instead. A line that was changed, taken out or put in
is found by `verify`; lines that were cut off at the end are found by the heads, which are worth keeping elsewhere.

A line is one write, and in the system's hands when `add` returns: a process that is killed loses nothing. `sync` puts it on the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from engine.clock import iso
from engine.compliance.errors import AuditLogInUse
from engine.recordings.replacing import replacing
from engine.sip.credentials import redacted

Outcome: TypeAlias = Literal["success", "failure", "refused"]
ROTATE_BYTES: Final = 64 << 20
LINE_MAX_BYTES: Final = 1 << 20
HEAD_EVERY: Final = 1000  # lines
HEADERS_MAX: Final = 200
VALUE_MAX_CHARS: Final = 8192
HEADERS_MAX_CHARS: Final = 65_536
PUBLIC: Final = ("audit", "audit_category", "audit_action", "audit_outcome", "event", "timestamp", "actor")
PROBLEMS_MAX: Final = 100
_ROTATED: Final = re.compile(r"\.[0-9]{6}")

log = logging.getLogger("trunkline.compliance")


def reference_of(call_id: str) -> str:
    """What names a call where its Call-ID must not stay: in receipts, tombstones, and logs that are never changed."""
    return "call:" + hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def shown_headers(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """SIP headers by name, credentials as [REDACTED-<length>]."""
    shown: dict[str, list[str]] = {}
    room = HEADERS_MAX_CHARS
    for number, (name, value) in enumerate(headers):
        if number >= HEADERS_MAX:
            break
        told = redacted(name, value)[:VALUE_MAX_CHARS]
        room -= len(name) + len(told)
        if room < 0:
            break
        shown.setdefault(name[:200], []).append(told)
    return shown


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something to tell: `event` is category and action, as in "sip.bye.received", "recording.paused", "gdpr.erase"; `at` is seconds since 1970. `actor` is
    whose key or which part of the engine did it, never a party of the call."""

    event: str
    at: float
    outcome: Outcome = "success"
    actor: str = ""
    call_id: str = ""
    session_id: str = ""
    tenant: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    detail: dict[str, Any] = {}


class Head(msgspec.Struct, frozen=True):
    """The end of the log at some time: its newest line's number and hash."""

    at: str
    number: int
    hash: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a tamper-proof log."""

    number: int
    timestamp: str
    payload: dict[str, Any]
    prev_hash: str
    hash: str
    salt: str = ""
    personal_hash: str = ""


_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_line: Final = msgspec.json.Decoder(Line)


def _clean(value: Any) -> Any:
    """Texts without lone surrogates, which no JSON has."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(str(name)): _clean(each) for name, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list | tuple) else value


def _sha256(value: Any) -> str:
    return hashlib.sha256(_encode(value)).hexdigest()


def payload_of(event: AuditEvent) -> dict[str, Any]:
    """What is told of an event."""
    category, _, action = event.event.partition(".")
    action = action.removesuffix(".success").removesuffix(".failure").removesuffix(".received")
    told: dict[str, Any] = {
        "audit": True, "audit_category": category, "audit_action": action, "audit_outcome": event.outcome, "event": event.event,
        "call_id": event.call_id, "session_id": event.session_id, "tenant": event.tenant, "timestamp": iso(event.at),
    }  # fmt: skip
    if event.actor:
        told["actor"] = event.actor
    if event.headers:
        told["sip_headers"] = shown_headers(event.headers)
    made: dict[str, Any] = _clean(told | {name: value for name, value in event.detail.items() if name not in told})
    return made


def hash_of(line: Line) -> str:
    """What a line's hash must be."""
    personal = line.personal_hash or _personal_hash(line)
    public = {name: value for name, value in line.payload.items() if name in PUBLIC}
    return _sha256([line.prev_hash, line.number, line.timestamp, public, personal])


def _personal_hash(line: Line) -> str:
    return _sha256([line.salt, {name: value for name, value in line.payload.items() if name not in PUBLIC}])


class AuditLog:
    """The log of one machine, written by one process; methods may be called in any thread. `clock` is seconds since 1970."""

    def __init__(self, path: Path, *, tamper_proof: bool, clock: Callable[[], float], rotate_bytes: int = ROTATE_BYTES) -> None:
        """Takes the log, and sets aside a last line that was cut off. Raises AuditLogInUse, OSError."""
        self.path, self.tamper_proof = path, tamper_proof
        self._clock = clock
        self._rotate_bytes = rotate_bytes
        self._turn = threading.Lock()
        self._dirty = False
        self._number, self._hash, self._head_at = 0, "", 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise AuditLogInUse(f"{path} is written by another process") from error
        try:
            self._fd, torn = self._opened()
        except BaseException:
            os.close(self._lock)
            raise
        if torn:
            self.add(AuditEvent(event="audit.repaired", at=clock(), detail={"set_aside": torn}))

    def add(self, event: AuditEvent) -> None:
        """Adds a line. Raises OSError."""
        payload = payload_of(event)
        with self._turn:
            if self._size() > self._rotate_bytes:
                self._rotate()
            self._write(payload)

    def sync(self) -> None:
        """Puts what was added on the disk, and notes the head where it is due. Raises OSError."""
        with self._turn:
            if self._dirty:
                self._dirty = False
                os.fsync(self._fd)
            if self._number - self._head_at >= HEAD_EVERY:
                self._note_head()

    def head(self) -> Head:
        """The newest line. Kept elsewhere, it tells whether lines were cut off later."""
        with self._turn:
            return Head(iso(self._clock()), self._number, self._hash)

    def erase(self, call_ids: Iterable[str]) -> int:
        """Takes what is personal out of all lines of these calls, in all files; how many there were. Raises OSError."""
        wanted = frozenset(call_ids) - {""}
        changed = 0
        with self._turn:
            for path in files_of(self.path):
                changed += _erase_in(path, wanted)
            os.close(self._fd)
            self._fd = self._appending()
        return changed

    def names(self, call_id: str) -> bool:
        """Whether a line names a call. Reads everything. Raises OSError."""
        needle = _needle(call_id)
        return any(needle in content for path in files_of(self.path) for content in _lines(path))

    def close(self) -> None:
        """Puts everything on the disk, and lets the log go."""
        with self._turn:
            if self._lock < 0:
                return
            os.fsync(self._fd)
            if self._number > self._head_at:
                self._note_head()
            os.close(self._fd)
            os.close(self._lock)
            self._lock = -1

    # ---- inside ----

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def _appending(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _opened(self) -> tuple[int, str]:
        """The file, at the end of its last whole line; the name of the file that what was cut off is set aside in."""
        fd = self._appending()
        torn = ""
        size = os.fstat(fd).st_size
        whole = _end_of_lines(fd, size)
        if whole < size:
            torn = f"{self.path.name}.torn-{int(self._clock())}-{secrets.token_hex(4)}"
            with replacing(self.path.with_name(torn)) as file:
                file.write(os.pread(fd, min(size - whole, LINE_MAX_BYTES), whole))
            os.ftruncate(fd, whole)
            os.fsync(fd)
            log.error("the audit log %s ended in the middle of a line, which is set aside in %s", self.path, torn)
        for path in reversed(files_of(self.path)):
            last = _last_line(path)
            if last is not None:
                self._number, self._hash = last.number, last.hash
                break
        heads = list(heads_of(_heads_path(self.path)))
        self._head_at = heads[-1].number if heads else 0
        return fd, torn

    def _write(self, payload: dict[str, Any]) -> None:
        if not self.tamper_proof:
            self._append(_encode(payload))
            return
        number = self._number + 1
        line = Line(number, payload["timestamp"], payload, self._hash, "", secrets.token_hex(16))
        line = msgspec.structs.replace(line, hash=hash_of(line))
        self._append(_encode(line))
        self._number, self._hash = number, line.hash

    def _append(self, content: bytes) -> None:
        before = self._size()
        try:
            written = os.write(self._fd, content + b"\n")
            if written != len(content) + 1:
                raise OSError("the disk is full")
        except OSError:
            os.ftruncate(self._fd, before)
            raise
        self._dirty = True

    def _rotate(self) -> None:
        rotated = [path for path in files_of(self.path) if path != self.path]
        number = int(rotated[-1].suffix[1:]) + 1 if rotated else 1
        os.fsync(self._fd)
        os.rename(self.path, self.path.with_name(f"{self.path.name}.{number:06d}"))
        os.close(self._fd)
        self._fd = self._appending()
        self._note_head()

    def _note_head(self) -> None:
        if not self.tamper_proof:
            return
        fd = os.open(_heads_path(self.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, _encode(Head(iso(self._clock()), self._number, self._hash)) + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        self._head_at = self._number


def lock_path(path: Path) -> Path:
    """What is locked while a log is written."""
    return path.with_name(path.name + ".lock")


def _heads_path(path: Path) -> Path:
    return path.with_name(path.name + ".heads")


def files_of(path: Path) -> list[Path]:
    """The files of a log, the oldest first; those that were rotated away are numbered."""
    found = [each for each in path.parent.glob(f"{path.name}.*") if _ROTATED.fullmatch(each.name[len(path.name) :])] if path.parent.is_dir() else []
    return sorted(found) + ([path] if path.exists() else [])


def _end_of_lines(fd: int, size: int) -> int:
    """Behind the last line break of a file."""
    at = size
    while at > 0:
        begin = max(at - 65_536, 0)
        found = os.pread(fd, at - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while content := file.readline(LINE_MAX_BYTES + 1):
            yield content


def _last_line(path: Path) -> Line | None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(fd).st_size
        begin = max(size - LINE_MAX_BYTES - 1, 0)
        lines = os.pread(fd, size - begin, begin).splitlines()
    finally:
        os.close(fd)
    for content in reversed(lines):
        try:
            return _line.decode(content)
        except msgspec.MsgspecError:
            continue
    return None


def heads_of(path: Path) -> Iterator[Head]:
    """The heads that were noted, the oldest first; what cannot be read is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for content in lines:
        try:
            yield msgspec.json.decode(content, type=Head)
        except msgspec.MsgspecError:
            continue


def _needle(call_id: str) -> bytes:
    """A Call-ID as a line has it."""
    return _encode(_clean(call_id))


def _erase_in(path: Path, call_ids: frozenset[str]) -> int:
    needles = [_needle(call_id) for call_id in call_ids]
    if not any(needle in content for content in _lines(path) for needle in needles):
        return 0
    changed = 0
    with replacing(path) as file:
        for content in _lines(path):
            if any(needle in content for needle in needles):
                content, done = _without(content, needles)
                changed += done
            file.write(content)
    return changed


def _without(content: bytes, needles: Iterable[bytes]) -> tuple[bytes, bool]:
    """A line without what is personal in it."""
    try:
        line = _line.decode(content)
    except msgspec.MsgspecError:
        try:
            told: Mapping[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.MsgspecError:
            return content, False
        return _encode({name: value for name, value in told.items() if name in PUBLIC} | {"erased": True}) + b"\n", True
    if line.personal_hash:
        return content, False
    public = {name: value for name, value in line.payload.items() if name in PUBLIC}
    return _encode(msgspec.structs.replace(line, payload=public, salt="", personal_hash=_personal_hash(line))) + b"\n", True


def verify(path: Path, heads: Path | None = None) -> list[str]:
    """What is wrong with a tamper-proof log and what it was rotated into; empty where all is as it was written. `heads` is the file of heads, that beside the
    log without one. Reads everything once. Raises OSError."""
    found: list[str] = []
    anchors = {head.number: head.hash for head in heads_of(heads or _heads_path(path))}
    number, before = 0, ""
    for file in files_of(path):
        for content in _lines(file):
            if len(found) >= PROBLEMS_MAX:
                return [*found, "there is more; the rest was not looked at"]
            try:
                line = _line.decode(content)
            except msgspec.MsgspecError:
                found.append(f"{file.name}: behind line {number}: " + ("a line is cut off" if not content.endswith(b"\n") else "a line is none of this log"))
                continue
            if line.number != number + 1:
                what = "what was before it is not here" if not number else f"lines {number + 1} to {line.number - 1} are missing" if line.number > number else "it is out of order"
                found.append(f"{file.name}: line {line.number}: {what}")
            elif line.prev_hash != before:
                found.append(f"{file.name}: line {line.number}: it does not follow the line before it")
            if hash_of(line) != line.hash:
                found.append(f"{file.name}: line {line.number}: it was changed")
            if anchors.pop(line.number, line.hash) != line.hash:
                found.append(f"{file.name}: line {line.number}: it is not the line that was the head once")
            number, before = line.number, line.hash
    if late := sorted(each for each in anchors if each > number):
        found.append(f"the log ends at line {number}, and had line {late[-1]} once")
    return found


__all__ = [
    "PUBLIC", "AuditEvent", "AuditLog", "Head", "Line", "Outcome", "files_of", "heads_of", "lock_path", "payload_of", "reference_of", "shown_headers", "verify",
]  # fmt: skip

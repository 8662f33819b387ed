"""Pauses and mutes on disk, so that a session that takes the place of another begins as paused as that was.

A state is a small file, written anew as a whole, once under each of its keys: the Call-ID, the communication sessions (RFC 7865 6.3) and the groups it belongs to
(6.2). `<folder>/<digest of the key>/<digest of the session>`: no name is anything that came over the wire. All workers of a machine share the folder, without a
lock: each session writes its own files, and who looks for a key reads those of all sessions under it. Files are not synced, for what a power cut ends is no call
any more; a killed process loses none.

What is kept expires: a while after its session ended, or when no session may be as old. What is no state of ours is passed over with a warning.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

log = logging.getLogger("trunkline.siprec")

LIVE_S: Final = 14_400.0
LIVE_MAX_S: Final = 7 * 86_400.0
OVER_S: Final = 900.0
GROUP_OVER_S: Final = 60.0  # all calls of a queue may be one group: who comes later than this has nothing to do with the call that was paused
FILE_MAX_BYTES: Final = 8192
KEYS_MAX: Final = 16  # of one kind
SESSIONS_MAX: Final = 64  # under one key that are read
TEXT_MAX_CHARS: Final = 200
SWEEP_S: Final = 600.0
OWNER: Final = "owner"
ARMED: Final = "armed"
_DIGEST: Final = re.compile(r"[0-9a-f]{32}")
_MODE: Final = 0o700
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Kind = Literal["call", "session", "group"]
Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX_CHARS)]


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((at for at in (one, other) if at is not None), default=None)


class PauseState(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Since when what is paused or muted, None where it is not, and until when it is at most; seconds since 1970. `actor` and `reason` are of the last pause."""

    recording_since: Moment | None = None
    recording_until: Moment | None = None
    transcription_since: Moment | None = None
    transcription_until: Moment | None = None
    inbound_since: Moment | None = None
    outbound_since: Moment | None = None
    actor: Text = ""
    reason: Text = ""

    @property
    def pauses(self) -> bool:
        """Whether anything is paused."""
        return self.recording_since is not None or self.transcription_since is not None

    @property
    def holds(self) -> bool:
        """Whether anything is paused or muted."""
        return self.pauses or self.inbound_since is not None or self.outbound_since is not None

    def joined(self, other: PauseState) -> PauseState:
        """What either of them pauses, for as long as the longer one does."""
        return PauseState(
            recording_since=_earlier(self.recording_since, other.recording_since),
            recording_until=_later(self.recording_since, self.recording_until, other.recording_since, other.recording_until),
            transcription_since=_earlier(self.transcription_since, other.transcription_since),
            transcription_until=_later(self.transcription_since, self.transcription_until, other.transcription_since, other.transcription_until),
            inbound_since=_earlier(self.inbound_since, other.inbound_since), outbound_since=_earlier(self.outbound_since, other.outbound_since),
            actor=other.actor or self.actor, reason=other.reason or self.reason,
        )  # fmt: skip

    def without_mutes(self) -> PauseState:
        """Its pauses alone."""
        return msgspec.structs.replace(self, inbound_since=None, outbound_since=None)


def _later(since: float | None, until: float | None, other_since: float | None, other_until: float | None) -> float | None:
    """The end of two pauses together: one without an end has none."""
    ends = [end for begin, end in ((since, until), (other_since, other_until)) if begin is not None]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


class Found(msgspec.Struct, frozen=True):
    """What earlier sessions left, together, and what somebody asked for before there was one. `superseded` are the states of the same call, which are no more once
    they were taken over."""

    state: PauseState
    armed: PauseState | None = None
    superseded: tuple[str, ...] = ()


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file. `keys` are the folders it is in."""

    keys: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")], ...], msgspec.Meta(min_length=1, max_length=2 * KEYS_MAX + 1)]
    expires_at: Moment
    state: PauseState


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _keys(call_id: str, session_ids: Iterable[str], group_ids: Iterable[str]) -> dict[str, Kind]:
    """The digests of a session's keys; of one that is named twice the nearer kind."""
    found: dict[str, Kind] = {_digest("call", call_id): "call"}
    named: tuple[tuple[Kind, Iterable[str]], ...] = (("session", session_ids), ("group", group_ids))
    for kind, texts in named:
        for text in itertools.islice((text for text in texts if text), KEYS_MAX):
            found.setdefault(_digest(kind, text), kind)
    return found


class Pauses:
    """The states in one folder. None of it raises OSError: a disk that takes nothing is no reason for a call to end, and is told in the log."""

    def __init__(self, folder: Path, now: Callable[[], float], *, live_s: float = LIVE_S, over_s: float = OVER_S) -> None:
        """`now` is in seconds since 1970. A state is kept for `live_s` after it was written, which is how long a session may last, and for `over_s` after its
        session was closed, under its groups for GROUP_OVER_S at most. What has expired goes. Raises OSError for a folder that cannot be made."""
        folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
        self._path = folder
        self._now = now
        self._live_s = min(live_s, LIVE_MAX_S)
        self._over_s = over_s
        self._numbers = itertools.count()
        self._written: dict[str, frozenset[str]] = {}  # the folders that a session of this process is in
        self._warned: set[tuple[str, str]] = set()
        self.failed = 0
        self._swept_at = now()
        self.sweep()

    # ---- writing ----

    def keep(
        self, call_id: str, session_ids: Iterable[str], group_ids: Iterable[str], state: PauseState, *, is_over: bool = False, superseded: Iterable[str] = ()
    ) -> None:
        """Writes a session's state under all its keys. A mute is no matter of a group: nobody else of it begins muted."""
        owner = _digest(OWNER, call_id)
        keys = _keys(call_id, session_ids, group_ids if state.pauses else ())
        places = self._places(owner, superseded)
        self._write(owner, {key: self._kept_s(kind, is_over) for key, kind in keys.items()}, state)
        self._unlink_all(at for at in places if at[1] != owner or at[0] not in keys)
        if is_over:
            self._written.pop(owner, None)
        else:
            self._written[owner] = frozenset(keys)
        if self._now() - self._swept_at > SWEEP_S:
            self.sweep()

    def drop(self, call_id: str, *, superseded: Iterable[str] = ()) -> None:
        """Nothing of a session is paused any more."""
        owner = _digest(OWNER, call_id)
        self._unlink_all(self._places(owner, superseded))
        self._written.pop(owner, None)

    def arm(self, call_id: str, state: PauseState) -> None:
        """The next session of this Call-ID begins paused."""
        self._write(_digest(ARMED, call_id), {_digest("call", call_id): self._live_s}, state)

    def armed(self, call_id: str) -> PauseState | None:
        """How a session of this Call-ID begins that is yet to come."""
        kept = self._read(_digest("call", call_id), _digest(ARMED, call_id))
        return kept.state if kept is not None else None

    def disarm(self, call_id: str) -> None:
        """The next session of this Call-ID begins as any other."""
        self._unlink_all([(_digest("call", call_id), _digest(ARMED, call_id))])

    def _places(self, owner: str, superseded: Iterable[str]) -> set[tuple[str, str]]:
        """The files, as (key, owner), of a session that this process wrote, and of those whose state was taken over."""
        found = {(key, owner) for key in self._written.get(owner, ())}
        for name in superseded:
            key, _, whose = name.partition("/")
            kept = self._read(key, whose)
            found.update((each, whose) for each in (kept.keys if kept is not None else (key,)))
        return found

    def _kept_s(self, kind: Kind, is_over: bool) -> float:
        if not is_over:
            return self._live_s
        return min(self._over_s, GROUP_OVER_S) if kind == "group" else self._over_s

    def _write(self, owner: str, keys: Mapping[str, float], state: PauseState) -> None:
        """A state under its keys, each for so many seconds."""
        clipped = msgspec.structs.replace(state, actor=state.actor[:TEXT_MAX_CHARS], reason=state.reason[:TEXT_MAX_CHARS])
        now = self._now()
        for key, kept_s in keys.items():
            try:
                self._replace(key, owner, msgspec.json.encode(_Kept(tuple(keys), now + kept_s, clipped)))
            except OSError as error:
                self.failed += 1
                log.error("a pause is in force and was not written down: %s", error)

    def _replace(self, key: str, owner: str, content: bytes) -> None:
        """A file that is there as a whole or not at all. Its folder may be taken away, being empty, by another worker meanwhile."""
        fresh = self._path / f".{os.getpid()}-{next(self._numbers)}"
        fd = os.open(fresh, _WRITE, 0o600)
        try:
            try:
                if os.write(fd, content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(fd)
            for last in (False, True):
                try:
                    fresh.replace(self._path / key / owner)
                    return
                except FileNotFoundError:
                    if last:
                        raise
                    (self._path / key).mkdir(mode=_MODE, exist_ok=True)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def _unlink_all(self, places: Iterable[tuple[str, str]]) -> None:
        for key, owner in places:
            self._unlink(key, owner)

    def _unlink(self, key: str, owner: str) -> None:
        try:
            (self._path / key / owner).unlink(missing_ok=True)
        except OSError as error:
            self.failed += 1
            log.error("a pause that ended is still written down: %s", error)
        with contextlib.suppress(OSError):
            (self._path / key).rmdir()

    # ---- reading ----

    def find(self, call_id: str, session_ids: Iterable[str] = (), group_ids: Iterable[str] = ()) -> Found | None:
        """What sessions of this call, of these communication sessions and groups left, all of it together; None where nothing holds."""
        state, armed = PauseState(), None
        with contextlib.suppress(OSError):
            if self._path.stat().st_nlink == 2:  # no folder is in it, and nothing is paused; where they are not counted it is 1
                return None
        superseded: set[str] = set()
        awaited = _digest(ARMED, call_id)
        for key, kind in _keys(call_id, session_ids, group_ids).items():
            for owner, kept in self._under(key):
                if owner == awaited:
                    armed = kept.state
                else:
                    state = state.joined(kept.state.without_mutes() if kind == "group" else kept.state)
                if kind != "group":
                    superseded.add(f"{key}/{owner}")
        return Found(state, armed, tuple(sorted(superseded))) if armed is not None or state.holds else None

    def _under(self, key: str) -> Iterator[tuple[str, _Kept]]:
        """The states under a key that have not expired. There are many under a group that all calls have in common: as they are paused all, some are enough."""
        try:
            with os.scandir(self._path / key) as entries:
                names = [entry.name for entry in itertools.islice(entries, SESSIONS_MAX)]
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(key, "", str(error))
            return
        for name in names:
            kept = self._read(key, name)
            if kept is not None:
                yield name, kept

    def _read(self, key: str, owner: str) -> _Kept | None:
        """A state; None where there is none, where it has expired, and, with a warning, where it is none of ours."""
        if not _DIGEST.fullmatch(owner):
            self._warn(key, owner, "is no name of a state")
            return None
        try:
            content = self._content(key, owner)
            kept = msgspec.json.decode(content, type=_Kept)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            self._warn(key, owner, str(error))
            return None
        if key not in kept.keys or kept.expires_at > self._now() + 2 * LIVE_MAX_S:
            self._warn(key, owner, "was not written here")
            return None
        return kept if kept.expires_at > self._now() else None

    def _content(self, key: str, owner: str) -> bytes:
        folder = os.open(self._path / key, _FOLDER)
        try:
            fd = os.open(owner, _READ, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("is no plain file")
            content = os.read(fd, FILE_MAX_BYTES + 1)
        finally:
            os.close(fd)
        if len(content) > FILE_MAX_BYTES:
            raise ValueError(f"has more than {FILE_MAX_BYTES} bytes")
        return content

    def _warn(self, key: str, owner: str, why: str) -> None:
        """Once a file: whoever looks for its key meets it again and again."""
        if (key, owner) in self._warned:
            return
        if len(self._warned) >= SESSIONS_MAX:
            self._warned.clear()
        self._warned.add((key, owner))
        log.warning("%r below %s is passed over: %s", f"{key}/{owner}"[:100], self._path, why)

    # ---- what is over ----

    def sweep(self) -> int:
        """Takes away what has expired, and what a killed process left half written; how many files."""
        self._swept_at = self._now()
        gone = 0
        try:
            names = os.listdir(self._path)
        except OSError as error:
            log.warning("%s cannot be looked through: %s", self._path, error)
            return 0
        for name in names:
            if name.startswith("."):
                gone += self._sweep_half(name)
            elif _DIGEST.fullmatch(name):
                gone += self._sweep_key(name)
        return gone

    def _sweep_half(self, name: str) -> bool:
        path = self._path / name
        with contextlib.suppress(OSError):
            if not os.path.exists(f"/proc/{name[1:].partition('-')[0]}"):
                path.unlink()
                return True
        return False

    def _sweep_key(self, key: str) -> int:
        gone = 0
        with contextlib.suppress(OSError):
            for owner in os.listdir(self._path / key):
                with contextlib.suppress(OSError, ValueError, RecursionError):
                    kept = msgspec.json.decode(self._content(key, owner), type=_Kept)
                    if kept.expires_at <= self._now():
                        (self._path / key / owner).unlink()
                        gone += 1
            (self._path / key).rmdir()
        return gone


__all__ = ["GROUP_OVER_S", "LIVE_S", "OVER_S", "Found", "PauseState", "Pauses"]

"""Master keys: a folder of AES-256 keys, a file each, by which the keys of files are wrapped (RFC 5649, AES key wrap with padding).

The newest is used to wrap; older ones stay for what was wrapped with them, and whoever takes one away makes all of that unreadable. Several
processes may use a folder at once. Nothing here is ever shown: no key is in a message, a log line or a repr.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from engine.config.document import Encryption
from engine.errors import EngineError
from engine.media.staging import Folder

KEY_BYTES: Final = 32
ID_BYTES: Final = 16
KEY_ID: Final = re.compile(r"[0-9a-f]{32}")
SUFFIX: Final = ".key"
LOCK: Final = ".lock"
FILE_MAX: Final = 4096
VERSION: Final = 1
log = logging.getLogger("trunkline.keys")


class KeysError(EngineError):
    """Base of what goes wrong with master keys."""

    code = "keys.error"


class KeyMissing(KeysError):
    """The folder has no such master key, or has lost all it had."""

    code = "keys.missing"


class KeyDamaged(KeysError):
    """The file of a master key is not as it was written."""

    code = "keys.damaged"


class KeyRefused(KeysError):
    """The wrapped key was not wrapped by this master key, or was changed."""

    code = "keys.refused"


class KeysUnavailable(KeysError):
    """The folder cannot be read or written."""

    code = "keys.unavailable"


class KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A master key as its file has it. `made_at` is in seconds since 1970, `sha256` that of the other fields."""

    version: int
    id: str
    made_at: float
    key: bytes
    sha256: str

    def __repr__(self) -> str:
        return f"KeyFile(id={self.id!r}, made_at={self.made_at!r})"

    def digest(self) -> str:
        """What `sha256` must be."""
        return hashlib.sha256(b"%d %s %r " % (self.version, self.id.encode(), self.made_at) + self.key).hexdigest()


class MasterKeys:
    """The keys of a folder. `rotation_s` is how long a key wraps, 0 is for ever. `now` gives seconds since 1970, `random` so many bytes that nobody can guess.

    The folder (mode 0700) and its first key are made by the first `wrap`; reading makes nothing. All methods may be called by several threads.
    """

    def __init__(self, folder: Path, *, rotation_s: float, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self.folder = folder
        self._rotation_s = rotation_s
        self._now = now
        self._random = random
        self._current: KeyFile | None = None
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"MasterKeys({os.fspath(self.folder)!r})"

    def current(self) -> str:
        """The id of the key that wraps now; a new one is made where the newest is `rotation_s` old. Raises KeyMissing, KeysUnavailable."""
        return self._wrapping().id

    def wrap(self, data_key: bytes) -> tuple[str, bytes]:
        """The id of the master key, and the key wrapped by it. Raises KeyMissing, KeysUnavailable."""
        master = self._wrapping()
        return master.id, aes_key_wrap_with_padding(master.key, data_key)

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        """The key again. Raises KeyMissing, KeyDamaged, KeyRefused, KeysUnavailable."""
        if not KEY_ID.fullmatch(key_id):
            raise KeyMissing("the id of a master key has 32 hexadecimal digits")
        master = self._read(key_id)
        try:
            return aes_key_unwrap_with_padding(master.key, wrapped)
        except (InvalidUnwrap, ValueError):
            raise KeyRefused(f"the wrapped key was not wrapped by master key {key_id}, or was changed") from None

    def ids(self) -> list[str]:
        """Of all keys that the folder has. Raises KeysUnavailable."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unavailable(error) from error
        return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and KEY_ID.fullmatch(name.removesuffix(SUFFIX)))

    def problems(self) -> list[str]:
        """What an operator should look at: keys that are damaged, a folder or keys that others may read. Raises KeysUnavailable."""
        found = []
        for name in (".", *(f"{key_id}{SUFFIX}" for key_id in self.ids())):
            path = self.folder / name
            try:
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    found.append(f"{path}: others than its owner have rights to it")
                if name != ".":
                    self._read(name.removesuffix(SUFFIX))
            except FileNotFoundError:
                continue
            except (KeyMissing, KeyDamaged) as error:
                found.append(str(error))
            except OSError as error:
                raise self._unavailable(error) from error
        return found

    def _wrapping(self) -> KeyFile:
        with self._guard:
            current = self._current
            if current is None or self._is_due(current) or not self._is_there(current):
                current = self._current = self._newest()
            return current

    def _is_due(self, key: KeyFile) -> bool:
        return bool(self._rotation_s) and self._now() - key.made_at >= self._rotation_s

    def _is_there(self, key: KeyFile) -> bool:
        # nothing may be wrapped by a key that is only in memory any more
        return os.path.exists(self.folder / f"{key.id}{SUFFIX}")

    def _newest(self) -> KeyFile:
        """The newest key of the folder, or a fresh one where it is due."""
        if self._current and not self.ids():  # a volume that is not mounted any more, rather than a place for a first key
            raise KeyMissing(f"{self.folder} has lost its master keys: it had some before")
        try:
            with self._locked() as folder:
                keys = list(self._readable())
                now = self._now()
                # a key of tomorrow, made while the clock was wrong, must not stay the newest till then
                newest = max((key for key in keys if key.made_at <= now), key=lambda key: (key.made_at, key.id), default=None)
                if newest is None or self._is_due(newest):
                    newest = self._make(folder, now)
        except OSError as error:
            raise self._unavailable(error) from error
        return newest

    def _readable(self) -> Iterator[KeyFile]:
        for key_id in self.ids():
            try:
                yield self._read(key_id)
            except (KeyDamaged, KeyMissing) as error:
                log.error("%s", error)

    @contextmanager
    def _locked(self) -> Iterator[Folder]:
        """The folder, no other process makes a key in it meanwhile."""
        folder = Folder(self.folder)
        try:
            fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield folder
            finally:
                os.close(fd)
        finally:
            folder.close()

    def _make(self, folder: Folder, now: float) -> KeyFile:
        key = KeyFile(version=VERSION, id=self._random(ID_BYTES).hex(), made_at=now, key=self._random(KEY_BYTES), sha256="")
        key = msgspec.structs.replace(key, sha256=key.digest())
        staged = f".{key.id}.part"
        folder.write(staged, msgspec.json.encode(key) + b"\n")
        try:
            folder.link(staged, f"{key.id}{SUFFIX}")
        finally:
            folder.unlink(staged)
        folder.sync()
        log.info("master key %s was made", key.id)
        return key

    def _read(self, key_id: str) -> KeyFile:
        path = self.folder / f"{key_id}{SUFFIX}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                content = file.read(FILE_MAX)
        except FileNotFoundError:
            raise KeyMissing(f"there is no master key {key_id} in {self.folder}") from None
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            key = msgspec.json.decode(content, type=KeyFile)
        except msgspec.MsgspecError:
            raise KeyDamaged(f"{path} is no master key, or is damaged") from None  # the error could quote what it read
        whole = (key.version, key.id, len(key.key)) == (VERSION, key_id, KEY_BYTES)
        if not whole or not hmac.compare_digest(key.sha256, key.digest()):
            raise KeyDamaged(f"{path} is not as it was written")
        return key

    def _unavailable(self, error: OSError) -> KeysUnavailable:
        return KeysUnavailable(f"{self.folder}: {error.strerror or error}")


def keys_of(encryption: Encryption, data_dir: Path, *, now: Callable[[], float], random: Callable[[int], bytes]) -> MasterKeys:
    """The master keys that the configuration names: `keys` in the data directory where it names none."""
    folder = data_dir / (encryption.master_key_path.strip() or "keys")
    return MasterKeys(folder, rotation_s=encryption.key_rotation_interval_s, now=now, random=random)


__all__ = ["KeyDamaged", "KeyMissing", "KeyRefused", "KeysError", "KeysUnavailable", "MasterKeys", "keys_of"]

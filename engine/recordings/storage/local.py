"""A folder on another volume as a store: a disk, a mounted share.

The folder itself is never made here: where the volume is not mounted it is missing, and nothing is written beside it.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from engine.config.document import RecordingStorage
from engine.recordings.record import Location
from engine.recordings.replacing import remove, replacing, write_all
from engine.recordings.storage.base import (
    PIECE_BYTES,
    BadKey,
    Changed,
    Denied,
    Elsewhere,
    Misconfigured,
    NoBucket,
    NoRoom,
    NotStored,
    StorageError,
    Unreachable,
    WrongContent,
    checked_key,
)

ERRORS: Final[dict[int, type[StorageError]]] = {
    errno.ENOSPC: NoRoom, errno.EDQUOT: NoRoom, errno.EACCES: Denied, errno.EPERM: Denied, errno.EROFS: Denied, errno.ENOENT: NotStored,
    errno.ELOOP: NotStored,
}  # fmt: skip


@contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ERRORS.get(error.errno or 0, Unreachable)(f"{what}: {error.strerror or error}") from error


class LocalBackend:
    """A folder."""

    name = "folder"
    scheme = "file"

    def __init__(self, folder: Path, *, now: Callable[[], float]) -> None:
        """`folder` is absolute."""
        self.folder = folder
        self._now = now

    @classmethod
    def is_chosen(cls, storage: RecordingStorage) -> bool:
        """Whether a folder is named, and no bucket is switched on."""
        return bool(storage.folder) and not storage.s3.enabled

    @classmethod
    def of_config(cls, storage: RecordingStorage, data_dir: Path, now: Callable[[], float]) -> LocalBackend:
        """Of `recording.storage.folder`, beside the data where it is relative. Raises Misconfigured."""
        if not storage.folder:
            raise Misconfigured("recording.storage.folder names no folder")
        return cls((data_dir / storage.folder).absolute(), now=now)

    def owns(self, url: str) -> bool:
        """Whether a url is of a file below the folder."""
        try:
            self._key_of(url)
        except StorageError:
            return False
        return True

    def put(self, path: Path, key: str, *, sha256: str) -> Location:
        """As `Backend.put`."""
        target = self.folder / checked_key(key)
        size = 0
        with open(path, "rb") as source:
            self.check()
            with _telling(str(target)):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with replacing(target) as file:
                    digest = hashlib.sha256()
                    while piece := source.read(PIECE_BYTES):
                        write_all(file, piece)
                        digest.update(piece)
                        size += len(piece)
                    if digest.hexdigest() != sha256:
                        raise Changed(f"{path.name} is not the file that its checksum was made of")
        location = Location(url=f"file://{quote(os.fspath(target))}", bytes=size, sha256=sha256, at=self._now())
        try:
            for _ in self.get(location):
                pass
        except WrongContent:
            with suppress(StorageError):
                self.delete(location)
            raise
        return location

    def get(self, location: Location) -> Iterator[bytes]:
        """As `Backend.get`."""
        path = self._path_of(location)
        digest, done = hashlib.sha256(), 0
        with _telling(location.url):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                while piece := file.read(PIECE_BYTES):
                    digest.update(piece)
                    done += len(piece)
                    yield piece
        if done != location.bytes or digest.hexdigest() != location.sha256:
            raise WrongContent(f"{location.url}: what is there is not what was stored")

    def delete(self, location: Location) -> bool:
        """As `Backend.delete`; folders that are empty then go too."""
        path = self._path_of(location)
        self.check()
        with _telling(location.url):
            was_there = remove(path)
        with suppress(OSError):  # others are in them, or nobody may
            for folder in path.parents:
                if folder == self.folder:
                    break
                folder.rmdir()
        return was_there

    def exists(self, location: Location) -> bool:
        """As `Backend.exists`."""
        path = self._path_of(location)
        self.check()
        with _telling(location.url):
            return path.is_file() and not path.is_symlink()

    def check(self) -> None:
        """As `Backend.check`: whether the folder is there and can be written."""
        if not self.folder.is_dir():
            raise NoBucket(f"{self.folder} is not there: no such folder, or its volume is not mounted")
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise Denied(f"{self.folder} cannot be written")

    def close(self) -> None:
        """Nothing is kept open."""

    def _path_of(self, location: Location) -> Path:
        return self.folder / self._key_of(location.url)

    def _key_of(self, url: str) -> str:
        parts = urlsplit(url)
        ahead = f"{os.fspath(self.folder).rstrip('/')}/"
        path = unquote(parts.path)
        if parts.scheme != self.scheme or parts.netloc or parts.query or not path.startswith(ahead):
            raise Elsewhere(f"{url} is not below {self.folder}")
        try:
            return checked_key(path.removeprefix(ahead))
        except BadKey:
            raise Elsewhere(f"{url} is not below {self.folder}") from None


__all__ = ["LocalBackend"]

"""What a place for recordings elsewhere must be able to do, and how it says that it could not.

A backend is one file with a class that `BACKENDS` (`__init__.py`) names. All calls block; whoever waits for them runs them in a thread. Several threads may use
a backend at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from engine.config.document import RecordingStorage
from engine.errors import EngineError
from engine.recordings.record import Location

KEY_MAX: Final = 900  # bytes; S3 has 1024 for prefix and key
NAME_MAX: Final = 200
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
ILLEGAL: Final = re.compile(r"[^A-Za-z0-9._-]+")
PIECE_BYTES: Final = 256 << 10


class StorageError(EngineError):
    """Base of what goes wrong with storage elsewhere. `temporary`: the same may succeed later, with nothing changed here. No text has a secret in it."""

    code = "storage.error"
    temporary = False


class Unreachable(StorageError):
    """The store does not answer, or the connection broke."""

    code = "storage.unreachable"
    temporary = True


class Overloaded(StorageError):
    """The store answered that it cannot just now."""

    code = "storage.overloaded"
    temporary = True


class Denied(StorageError):
    """The store does not let us: credentials, or what they are allowed. Temporary, because the operator can change that in the store."""

    code = "storage.denied"
    temporary = True


class NoBucket(StorageError):
    """The bucket or folder is not there."""

    code = "storage.no_bucket"
    temporary = True


class NoRoom(StorageError):
    """The store is full."""

    code = "storage.no_room"
    temporary = True


class NotStored(StorageError):
    """There is no such object."""

    code = "storage.not_stored"


class WrongContent(StorageError):
    """What lies in the store, or came from there, is not what was sent. Temporary: it can be sent again."""

    code = "storage.wrong_content"
    temporary = True


class Changed(StorageError):
    """The local file is not the one that its checksum was made of."""

    code = "storage.changed"


class Locked(StorageError):
    """The store keeps the object from being deleted: object lock, retention, a hold."""

    code = "storage.locked"


class Refused(StorageError):
    """The store refused what was asked for, and will again."""

    code = "storage.refused"


class BadKey(StorageError):
    """A name that no object can have here."""

    code = "storage.bad_key"


class Misconfigured(StorageError):
    """Settings of the store that cannot be used."""

    code = "storage.misconfigured"


class Elsewhere(StorageError):
    """The copy lies in a store that the configuration does not name (any more)."""

    code = "storage.elsewhere"


class Backend(Protocol):
    """A store."""

    name: str  # of its kind, for people: "s3"

    def put(self, path: Path, key: str, *, sha256: str) -> Location:
        """Stores a file under a key (`key_of`), replacing what is there. Returns once what lies there was verified to have `sha256` (hexadecimal), which the
        file must have too. Raises StorageError, OSError of the local file."""
        ...

    def get(self, location: Location) -> Iterator[bytes]:
        """The bytes of a copy, in pieces; at their end they were verified, or StorageError is raised."""
        ...

    def delete(self, location: Location) -> bool:
        """Deletes a copy with all its older versions; False where there was none. Raises StorageError where anything of it may be left."""
        ...

    def exists(self, location: Location) -> bool:
        """Whether the copy is there. Raises StorageError where that cannot be known."""
        ...

    def check(self) -> None:
        """Raises StorageError where nothing could be stored now."""
        ...

    def owns(self, url: str) -> bool:
        """Whether a location's url is one of this store, as it is configured."""
        ...

    def close(self) -> None:
        """Lets go of connections that are kept. It can be used again."""
        ...


class BackendKind(Protocol):
    """A class of backends."""

    scheme: str  # of the urls of its locations

    def is_chosen(self, storage: RecordingStorage) -> bool:
        """Whether recordings are to go there."""
        ...

    def of_config(self, storage: RecordingStorage, data_dir: Path, now: Callable[[], float]) -> Backend:
        """The backend of its settings, chosen now or not: what went there once is still to be read and erased. Raises Misconfigured. Connects to nothing."""
        ...


def key_of(*names: str) -> str:
    """A legal key of any names, one a level: other characters than letters, digits, `.`, `_` and `-` become `_`. Different names make different keys."""
    return checked_key("/".join(_legal(name) for name in names))


def _legal(name: str) -> str:
    if len(name) <= NAME_MAX and NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{ILLEGAL.sub('_', name[:NAME_MAX]).lstrip('.-') or '_'}-{digest}"


def checked_key(key: str) -> str:
    """The key. Raises BadKey for one that `key_of` does not make."""
    if len(key) > KEY_MAX or not all(NAME.fullmatch(name) for name in key.split("/")):
        raise BadKey(f"keys have up to {KEY_MAX} letters, digits and . _ - / and no name in them begins with . or -")
    return key


__all__ = [
    "Backend",
    "BackendKind",
    "BadKey",
    "Changed",
    "Denied",
    "Elsewhere",
    "Locked",
    "Misconfigured",
    "NoBucket",
    "NoRoom",
    "NotStored",
    "Overloaded",
    "Refused",
    "StorageError",
    "Unreachable",
    "WrongContent",
    "checked_key",
    "key_of",
]  # fmt: skip

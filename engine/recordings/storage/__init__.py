"""Copies of recordings elsewhere. A kind of store is one file with a class like `Backend`, and its place in `BACKENDS`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from engine.config.document import RecordingStorage
from engine.recordings.storage.base import (
    Backend,
    BackendKind,
    BadKey,
    Changed,
    Denied,
    Elsewhere,
    Locked,
    Misconfigured,
    NoBucket,
    NoRoom,
    NotStored,
    Overloaded,
    Refused,
    StorageError,
    Unreachable,
    WrongContent,
    checked_key,
    key_of,
)
from engine.recordings.storage.local import LocalBackend
from engine.recordings.storage.s3 import S3Backend

BACKENDS: Final[tuple[BackendKind, ...]] = (S3Backend, LocalBackend)  # the first that is chosen gets new recordings


def backend_of(storage: RecordingStorage, data_dir: Path, *, now: Callable[[], float] = time.time) -> Backend | None:
    """Where new recordings go; None where storage is off. Connects to nothing. Raises Misconfigured."""
    if not storage.enabled:
        return None
    for kind in BACKENDS:
        if kind.is_chosen(storage):
            return kind.of_config(storage, data_dir, now)
    raise Misconfigured("recording.storage is enabled, but neither a bucket nor a folder is")


def backend_for(url: str, storage: RecordingStorage, data_dir: Path, *, now: Callable[[], float] = time.time) -> Backend:
    """The store that a location's url is of, also where new recordings go elsewhere by now, or nowhere. Raises Elsewhere where the settings name no such
    store, Misconfigured."""
    scheme = urlsplit(url).scheme
    for kind in BACKENDS:
        if kind.scheme == scheme:
            try:
                backend = kind.of_config(storage, data_dir, now)
            except Misconfigured as error:
                raise Elsewhere(f"{url}: no such store is configured: {error}") from error
            if backend.owns(url):
                return backend
            raise Elsewhere(f"{url} is in a store that is not configured any more")
    raise Elsewhere(f"{url}: stores of its kind are not known; known are {', '.join(kind.scheme for kind in BACKENDS)}")


__all__ = [
    "BACKENDS",
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
    "backend_for",
    "backend_of",
    "checked_key",
    "key_of",
]  # fmt: skip

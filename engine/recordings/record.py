"""The record of a recording: what became of its files after they were sealed.

The manifest says how a recording was made and is never changed: manifests of a folder are a chain. What is done with its files later is in the record beside it,
`<manifest's name without .json>.record`, which is replaced as a whole (write, sync, rename).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.media.manifest import Interval

Role = Literal["merged", "leg", "capture", "signalling", "converted", "transcript", "vcon"]
Stage = Literal["sealed", "redacted", "converted", "encrypted", "uploaded", "done", "erased"]


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is encrypted: with a key of its own, that is wrapped by the master key `key_id` (base64)."""

    algorithm: str
    key_id: str
    wrapped_key: str
    chunk_bytes: int
    sha256: str  # of the encrypted file


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A copy somewhere else, verified at `at` (seconds since 1970). `sha256` is of the bytes that lie there."""

    url: str
    bytes: int
    sha256: str
    etag: str = ""
    version: str = ""
    at: float = 0.0


class KeptFile(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A file as it is now. `path` is beside the record, "" where there is no local copy any more; `bytes` and `sha256` are of its plain content."""

    name: str
    role: Role
    path: str
    format: str
    bytes: int
    sha256: str
    tracks: tuple[int, ...] = ()
    codec: str = ""
    rate_hz: int = 0
    sealed: Sealed | None = None
    locations: tuple[Location, ...] = ()


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold: nothing of it goes while there is one."""

    id: str
    by: str
    at: float
    reason: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Times are seconds since 1970. `expires_at` is None for what is kept for ever; `policy` is the name of the rule that says so. `erased` has when, by whom, and a
    SHA-256 of what was erased: then nothing else is left of it."""

    record_version: int = 1
    recording_id: str
    call_id: str
    manifest: str
    manifest_sha256: str
    stage: Stage
    started_at: float
    duration_ms: int
    files: tuple[KeptFile, ...] = ()
    redactions: tuple[Interval, ...] = ()
    policy: str = ""
    expires_at: float | None = None
    holds: tuple[Hold, ...] = ()
    call: int | None = None  # its number in the store
    correlation: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()
    vendor: str = ""
    participants: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    attempts: int = 0
    erased_at: float | None = None
    erased_by: str = ""


__all__ = ["Hold", "KeptFile", "Location", "Record", "Role", "Sealed", "Stage"]

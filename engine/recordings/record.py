"""The record of a recording: what became of its files after they were sealed.

The manifest says how a recording was made and is never changed: manifests of a folder are a chain. What is done with its files later is in the record beside it,
`<manifest's name without .json>.record`, which is replaced as a whole (write, sync, rename).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from engine.media.manifest import Interval

REFCI: Final = "refci:"  # the kind of key by which the two directions of a built-in bridge name each other
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
    SHA-256 of what was erased: then nothing else is left of it.

    `problems` is why its stage is not done, `warnings` what stays so. `obsolete` are files that go once the record is on the disk. `linked` are other
    recordings of the same call; where `duplicate_of` names one, both hold the same sound. `retention_days` is what the session asked for, in
    `retention_source` (header, metadata). `indexed`: the store has it as it is now."""

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
    warnings: tuple[str, ...] = ()
    obsolete: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    duplicate_of: str = ""
    retention_days: int | None = None
    retention_source: str = ""
    indexed: bool = False


__all__ = ["REFCI", "Hold", "KeptFile", "Location", "Record", "Role", "Sealed", "Stage"]

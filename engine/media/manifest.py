"""What is said of a recording in the file beside it: who is in which channel, checksums, and what is missing.

Manifests of one folder are a chain: each has the SHA-256 of the one before it, so that one that was taken away or changed is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

VERSION = 1
State = Literal["complete", "partial", "recovered"]
IntervalType = Literal["pause", "mute", "hold", "silence", "pii", "gap"]


class RecordedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file; `path` is beside the manifest. `tracks` says whose sound each of its channels is, by `Channel.index`."""

    path: str
    format: str
    codec: str
    rate_hz: int
    channels: int
    bytes: int
    sha256: str
    tracks: tuple[int, ...] = ()


class Channel(msgspec.Struct, frozen=True, omit_defaults=True):
    """One party's sound, and how it came. Times are ISO 8601, UTC."""

    index: int
    label: str = ""
    name: str = ""
    ssrc: tuple[int, ...] = ()
    first_rtp: str = ""
    last_rtp: str = ""
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    jitter_ms: float | None = None
    mos: float | None = None


class Interval(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stretch of the timeline that is not what was said, on these tracks; on all where none are named."""

    type: IntervalType
    start_ms: int
    end_ms: int
    reason: str = ""
    actor: str = ""
    tracks: tuple[int, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A recording. `state`: complete; partial, where `warnings` say what is missing; recovered, where its process died."""

    manifest_version: int = VERSION
    recording_id: str
    call_id: str
    start: str
    end: str
    duration_ms: int
    state: State
    files: tuple[RecordedFile, ...] = ()
    channels: tuple[Channel, ...] = ()
    intervals: tuple[Interval, ...] = ()
    warnings: tuple[str, ...] = ()
    prev_manifest_sha256: str = ""


class ChainHead(msgspec.Struct, frozen=True):
    """The end of a folder's chain: the manifest that was being written, and the one before it should that never have come to be."""

    before: str
    name: str
    sha256: str


def encode(manifest: Manifest) -> bytes:
    """The bytes of its file."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def read(path: Path) -> Manifest:
    """The manifest of a file. Raises OSError, msgspec.ValidationError."""
    return msgspec.json.decode(path.read_bytes(), type=Manifest)


def chain_head(content: bytes, read_file: Callable[[str], bytes]) -> str:
    """SHA-256 of the last manifest of a folder, by what its head says; empty where there is none."""
    try:
        head = msgspec.json.decode(content, type=ChainHead)
    except msgspec.MsgspecError:
        return ""
    with contextlib.suppress(OSError):
        if hashlib.sha256(read_file(head.name)).hexdigest() == head.sha256:
            return head.sha256
    return head.before


def problems(path: Path) -> list[str]:
    """What does not agree with a manifest: files that are missing, or were changed. Empty where all is as it was written."""
    found = []
    try:
        manifest = read(path)
    except (OSError, msgspec.MsgspecError) as error:
        return [f"{path.name}: {error}"]
    for file in manifest.files:
        if Path(file.path).name != file.path:
            found.append(f"{file.path}: is not beside the manifest")
            continue
        try:
            with (path.parent / file.path).open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
                size = content.tell()
        except OSError as error:
            found.append(f"{file.path}: {error.strerror}")
            continue
        if size != file.bytes:
            found.append(f"{file.path}: {size} bytes, not {file.bytes}")
        elif digest != file.sha256:
            found.append(f"{file.path}: its content was changed")
    return found

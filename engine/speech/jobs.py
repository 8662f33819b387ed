"""Transcription jobs: what is asked for, in which order it is done, and which files may be asked for.

They lie in the store's queue (`engine/store/jobs.py`), from which recognisers take them, and outlive every process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from engine.errors import EngineError
from engine.store.jobs import ATTEMPTS_MAX
from engine.store.rows import JobRow

KIND: Final = "stt"
PRIORITIES: Final = (1, 2, 3)  # high, normal, low
_AHEAD_S: Final = 1e9  # a job of a higher priority is due that much sooner: the queue gives out what is due first
CANCELLED: Final = "cancelled"

Status = Literal["queued", "processing", "completed", "failed", "retrying", "cancelled"]
Short = Annotated[str, msgspec.Meta(max_length=512)]


class NoAudio(EngineError):
    """A path that is not a file of the recordings."""

    code = "stt.no_audio"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is about; its payload. `audio_path` is beneath the folder of recordings."""

    audio_path: str
    call_uuid: Short = ""
    session_id: Short = ""
    provider: Short = ""
    language: Short = "en-US"
    priority: int = 2
    duration_s: float = 0.0
    estimated_cost: float = 0.0
    metadata: dict[str, Any] = {}


def confined(recordings: Path, told: str) -> Path:
    """The file that a path names, whole or relative to the folder of recordings, when it lies there and no link leads to it. Raises NoAudio."""
    root = Path(os.path.realpath(recordings))
    try:
        path = Path(os.path.normpath(root / told))
        if not told or "\0" in told or not path.is_relative_to(root) or os.path.realpath(path) != str(path) or not path.is_file():
            raise NoAudio("audio_path: there is no such file among the recordings")
    except (OSError, ValueError):
        raise NoAudio("audio_path: there is no such file among the recordings") from None
    return path


def row_of(id: str, wanted: Wanted, *, owner: str, team: str | None, now: float) -> JobRow:
    """The row of a new job."""
    due = now - _AHEAD_S * (PRIORITIES[-1] - wanted.priority)
    return JobRow(
        id=id, kind=KIND, state="queued", payload=msgspec.to_builtins(wanted), owner=owner, team=team, created_at=now, updated_at=now, run_at=due
    )


def status_of(row: JobRow) -> Status:
    """How far a job is."""
    if row.state == "queued":
        return "retrying" if row.attempts else "queued"
    if row.state == "running":
        return "processing"
    if row.state == "done":
        return "completed"
    return "cancelled" if row.error == CANCELLED else "failed"


def seconds_of(path: Path) -> float:
    """How long a recording is; 0 for what cannot be told."""
    import soundfile

    try:
        return float(soundfile.info(str(path)).duration)
    except (OSError, RuntimeError):
        return 0.0


RETRIES_MAX: Final = ATTEMPTS_MAX

__all__ = ["CANCELLED", "KIND", "PRIORITIES", "RETRIES_MAX", "NoAudio", "Status", "Wanted", "confined", "row_of", "seconds_of", "status_of"]

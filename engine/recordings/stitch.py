"""Recordings of one call find each other by what correlates them.

Those that share a key are linked in their records. Where two recorders, or one at each side of an SBC, took the same call, all but the first are marked as
duplicates of it. A Cisco phone's built-in bridge sends its two directions as two dialogs, which name each other by `refci`: they become one file beside the
legs, each direction a channel, at the wall-clock time it began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine._native import audio
from engine._native import writer as native
from engine.errors import EngineError
from engine.media.wav import WavFile
from engine.recordings.addresses import address_of
from engine.recordings.catalogue import Catalogue
from engine.recordings.errors import NoSuchRecording, RecordingErased
from engine.recordings.names import COMBINED
from engine.recordings.record import REFCI, KeptFile, Record
from engine.recordings.replacing import replacing

LINKS_MAX: Final = 50
NEAR_S: Final = 86_400.0  # recordings that begin further apart than a day are not of one call, whatever they share
# Keys of which each is of one call; others, such as groups, have several calls that may go on at the same time.
OF_ONE_CALL: Final = ("call-id:", "session-id:", "ucid:", "cisco-guid:", "gcid:", "genesys-uuid:", "rs-session-id:")
OVERLAP: Final = 0.5
DIGITS: Final = 7  # of a number that stay the same however a network writes it
AWAITED_S: Final = 30.0
PIECE_FRAMES: Final = 1 << 16


def _end(record: Record) -> float:
    return record.started_at + record.duration_ms / 1000


def _of(record: Record, kinds: str | tuple[str, ...]) -> set[str]:
    return {key for key in record.correlation if key.startswith(kinds)}


def _others(catalogue: Catalogue, record: Record, keys: Iterable[str]) -> list[Record]:
    """Recordings nearest in time that have one of the keys."""
    found = []
    for id in catalogue.lookup.near(keys, record.started_at, NEAR_S, LINKS_MAX + 1):
        if id == record.recording_id:
            continue
        try:
            other = catalogue.of_recording(id)
        except NoSuchRecording:
            continue
        if other.stage != "erased":
            found.append(other)
    return found[:LINKS_MAX]


def _is_same_sound(record: Record, other: Record) -> bool:
    """Whether both heard the same: a key of one call in common, the same people, and most of the longer one at the same time."""
    if _of(record, REFCI) or not _of(record, OF_ONE_CALL) & _of(other, OF_ONE_CALL):
        return False
    people, others = _people(record), _people(other)
    if len(_tracks(record)) != len(_tracks(other)) or (people and others and people != others):
        return False
    shared = min(_end(record), _end(other)) - max(record.started_at, other.started_at)
    return shared > OVERLAP * max(record.duration_ms, other.duration_ms, 1) / 1000


def _people(record: Record) -> set[str]:
    """Who took part, hosts left out, which differ at the two sides of an SBC."""
    users = {address_of(aor)[0].lower().lstrip("+") or aor.lower() for aor in record.participants}
    return {user[-DIGITS:] if user.isdigit() else user for user in users}


def _tracks(record: Record) -> set[int]:
    return {track for file in record.files for track in file.tracks if not file.name.endswith(COMBINED)}


def link(catalogue: Catalogue, record: Record) -> list[Record]:
    """Has a recording and the others of its call name each other; the records that were changed. Doing it again changes nothing."""
    others = _others(catalogue, record, record.correlation)
    same = [other for other in others if is_first(other, record) and _is_same_sound(record, other)]
    first = min(same, key=lambda other: (other.started_at, other.recording_id), default=None)
    duplicate_of = "" if first is None else first.duplicate_of or first.recording_id
    changed = [_linked(catalogue, record, [other.recording_id for other in others], duplicate_of)]
    for other in others:
        is_later = is_first(record, other) and _is_same_sound(other, record) and not _is_of_earlier(catalogue, other, record)
        changed.append(_linked(catalogue, other, [record.recording_id], duplicate_of or record.recording_id if is_later else ""))
    return [each for each in changed if each is not None]


def _is_of_earlier(catalogue: Catalogue, record: Record, other: Record) -> bool:
    """Whether it is the duplicate of one that began before `other`."""
    try:
        first = catalogue.of_recording(record.duplicate_of)
    except NoSuchRecording:
        return False
    return is_first(first, other)


def _linked(catalogue: Catalogue, record: Record, ids: list[str], duplicate_of: str) -> Record | None:
    def named(now: Record) -> Record:
        linked = tuple(sorted({*now.linked, *ids}))[: 4 * LINKS_MAX]
        same = duplicate_of or now.duplicate_of
        if (linked, same) == (now.linked, now.duplicate_of):
            return now
        return msgspec.structs.replace(now, linked=linked, duplicate_of=same, indexed=False)

    try:
        made = catalogue.update(record.recording_id, named)
    except (NoSuchRecording, RecordingErased):
        return None
    return made if (made.linked, made.duplicate_of) != (record.linked, record.duplicate_of) else None


# ---- two directions ----


def is_first(record: Record, other: Record) -> bool:
    """Which of two comes first, always the same."""
    return (record.started_at, record.recording_id) < (other.started_at, other.recording_id)


def other_direction(catalogue: Catalogue, record: Record) -> Record | None:
    """The other dialog of a built-in bridge, where it was sealed."""
    keys = _of(record, REFCI)
    if not keys or len(_tracks(record)) != 1:
        return None
    near = _is_near(catalogue, record)
    found = [
        other for other in _others(catalogue, record, keys)
        if len(_tracks(other)) == 1 and _overlap(record, other) and _of(other, REFCI) & keys and _is_near(catalogue, other) != near
    ]  # fmt: skip
    return min(found, key=lambda other: abs(other.started_at - record.started_at), default=None)


def _overlap(record: Record, other: Record) -> bool:
    return max(record.started_at, other.started_at) <= min(_end(record), _end(other)) + 1.0


def is_awaited(record: Record, now: float) -> bool:
    """Whether the other direction may still come: both dialogs end within moments of each other."""
    return bool(_of(record, REFCI)) and len(_tracks(record)) == 1 and now < _end(record) + AWAITED_S


def is_awaited_by(first: Record, second: Record) -> bool:
    """Whether the one that began first still has to make the file of both."""
    return first.stage == "sealed" and not any(file.name == combined_name(first) for file in first.files)


def combined_name(record: Record) -> str:
    """The file of both directions."""
    return record.recording_id + COMBINED


def _is_near(catalogue: Catalogue, record: Record) -> bool:
    """Whether it is what the phone itself says, as its From tells."""
    document = catalogue.document(record)
    headers = document.headers if document is not None else ()
    return any(name.lower() in ("from", "f") and "x-nearend" in value.lower() for name, value in headers)


def combine(catalogue: Catalogue, record: Record, partner: Record) -> KeptFile | None:
    """Makes the file of two directions, the phone's own first; None where one of them is no WAV file here any more. Raises OSError."""
    near, far = (partner, record) if _is_near(catalogue, partner) else (record, partner)
    name = combined_name(record)
    sources = [next((file for file in each.files if file.role in ("leg", "merged") and file.path.endswith(".wav")), None) for each in (near, far)]
    begin = min(near.started_at, far.started_at)
    try:
        opened = [WavFile(catalogue.folder.path / file.path) for file in sources if file is not None]
    except (EngineError, OSError):
        return None
    try:
        if len(opened) < 2:
            return None
        rate_hz = max(file.layout.rate_hz for file in opened)
        starts = [round((each.started_at - begin) * rate_hz) for each in (near, far)]
        frames = max(start + -(-file.layout.frames * rate_hz // file.layout.rate_hz) for start, file in zip(starts, opened, strict=True))
        _write(catalogue.folder.path / name, [_Channel(file, start, rate_hz) for file, start in zip(opened, starts, strict=True)], rate_hz, frames)
    finally:
        for file in opened:
            file.close()
    path = catalogue.folder.path / name
    with open(path, "rb", buffering=0) as made:
        digest, size = hashlib.file_digest(made, "sha256").hexdigest(), made.tell()
    return KeptFile(name=name, role="merged", path=name, format="wav", bytes=size, sha256=digest, tracks=(0, 1), codec="pcm16", rate_hz=rate_hz)


class _Channel:
    """One direction on the timeline of both: silence until it begins, then its samples at the rate of the file."""

    def __init__(self, file: WavFile, start: int, rate_hz: int) -> None:
        self._file, self._start, self._at = file, start, 0
        self._resampler = audio.Resampler(file.layout.rate_hz, rate_hz) if file.layout.rate_hz != rate_hz else None
        self._skip = self._resampler.delay if self._resampler is not None else 0
        self._ready: Any = np.zeros(0, np.int16)

    def read(self, first: int, count: int) -> Any:
        """Samples `first` to `first + count`, asked for in order."""
        made = np.zeros(count, np.int16)
        begin = max(self._start - first, 0)
        if begin < count:
            got = self._take(count - begin)
            made[begin : begin + len(got)] = got
        return made

    def _take(self, count: int) -> Any:
        while len(self._ready) < count:
            piece = self._file.read(self._at, PIECE_FRAMES)[:, 0]
            self._at += len(piece)
            over = not len(piece)
            if self._resampler is not None:
                # silence behind the end brings out what the filter still holds
                piece = self._resampler.run(np.zeros(PIECE_FRAMES, np.int16) if over else np.ascontiguousarray(piece))
                piece, self._skip = piece[self._skip :], max(self._skip - len(piece), 0)
            elif over:
                break
            self._ready = np.concatenate([self._ready, piece])
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken


def _write(path: Path, channels: list[_Channel], rate_hz: int, frames: int) -> None:
    with replacing(path) as file:
        file.write(native.wav_header(native.WAV_PCM16, len(channels), rate_hz, frames))
        for first in range(0, frames, PIECE_FRAMES):
            count = min(PIECE_FRAMES, frames - first)
            content = memoryview(np.stack([channel.read(first, count) for channel in channels], axis=1).tobytes())
            while content:
                content = content[file.write(content) :]


__all__ = ["combine", "combined_name", "is_awaited", "is_awaited_by", "is_first", "link", "other_direction"]

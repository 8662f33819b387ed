"""Legal holds: as long as a recording has one, nothing of it goes, whoever asks and whatever the rules say."""

from __future__ import annotations

import msgspec

from engine.recordings.catalogue import Catalogue
from engine.recordings.errors import NoSuchRecording, RecordingErased, RecordingError
from engine.recordings.names import ID
from engine.recordings.record import Hold, Record

HOLDS_MAX = 100
REASON_MAX = 1000


class BadHold(RecordingError):
    """A hold that cannot be: its id, or one too many."""

    code = "recording.bad_hold"


class HeldRecording(msgspec.Struct, frozen=True):
    """A hold and what it holds."""

    recording_id: str
    call_id: str
    hold: Hold


def set_hold(catalogue: Catalogue, id: str, hold: Hold) -> Record:
    """Holds a recording, which may have several holds; one of the same id is replaced. It is on the disk when this returns. Raises NoSuchRecording, RecordingErased,
    BadHold, OSError."""
    if not ID.fullmatch(hold.id) or not hold.by or len(hold.reason) > REASON_MAX:
        raise BadHold(f"a hold has an id of letters, digits, - and _, somebody who set it, and a reason of up to {REASON_MAX} characters")

    def held(record: Record) -> Record:
        if record.stage == "erased":
            raise RecordingErased("The recording was erased")
        others = [each for each in record.holds if each.id != hold.id]
        if len(others) >= HOLDS_MAX:
            raise BadHold(f"a recording has up to {HOLDS_MAX} holds")
        return msgspec.structs.replace(record, holds=(*others, hold), indexed=False)

    return catalogue.update(id, held)


def release(catalogue: Catalogue, id: str, hold_id: str) -> Record:
    """Takes a hold away. Raises NoSuchRecording where there is none such, OSError."""

    def released(record: Record) -> Record:
        others = tuple(each for each in record.holds if each.id != hold_id)
        if len(others) == len(record.holds):
            raise NoSuchRecording("The recording has no such hold")
        return msgspec.structs.replace(record, holds=others, indexed=False)

    return catalogue.update(id, released)


def listed(catalogue: Catalogue) -> list[HeldRecording]:
    """All holds there are."""
    found = []
    for id in catalogue.lookup.held():
        try:
            record = catalogue.of_recording(id)
        except NoSuchRecording:
            continue
        found += [HeldRecording(id, record.call_id, hold) for hold in record.holds]
    return found


__all__ = ["BadHold", "HeldRecording", "listed", "release", "set_hold"]

"""What goes wrong with finished recordings. Every error has a stable code; the text is a sentence with the fact in it."""

from __future__ import annotations

from engine.errors import EngineError


class RecordingError(EngineError):
    """Base of everything that is raised on purpose here."""

    code = "recording.error"


class NoSuchRecording(RecordingError):
    """There is no recording of that name on this machine."""

    code = "recording.unknown"


class UnreadableRecord(NoSuchRecording):
    """Its record is damaged. It is left as it is, for it may name the keys of files."""

    code = "recording.unreadable"


class RecordingErased(RecordingError):
    """It was erased, or is about to be."""

    code = "recording.erased"


class NotErased(RecordingError):
    """Something of it could not be taken away, and will be tried again."""

    code = "recording.not_erased"


class RecordingHeld(RecordingError):
    """A legal hold keeps it: nothing of it goes."""

    code = "recording.held"


class NotRecorded(RecordingError):
    """A recording has no such file or leg, or none of it can be had now."""

    code = "recording.no_file"


class Changed(RecordingError):
    """A file is not what it was when it was sealed."""

    code = "recording.changed"


__all__ = ["Changed", "NoSuchRecording", "NotErased", "NotRecorded", "RecordingErased", "RecordingError", "RecordingHeld", "UnreadableRecord"]

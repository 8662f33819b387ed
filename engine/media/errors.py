"""What goes wrong with media. Every error has a stable code; the text is a sentence with the fact in it."""

from __future__ import annotations

from engine.errors import EngineError


class MediaError(EngineError):
    """Base of everything that media raises on purpose."""

    code = "media.error"


class UnreadableAudio(MediaError):
    """A file that is no WAV, is broken, or has samples of a kind that is not read."""

    code = "media.unreadable_audio"


class RecordingRefused(MediaError):
    """A recording that cannot be begun: its name, its plan, or its folder."""

    code = "media.recording_refused"


class RecordingFull(RecordingRefused):
    """As many recordings run as there is room for."""

    code = "media.recording_full"


class NotLossless(MediaError):
    """A compressed copy that does not decode to the samples it was made of; it was thrown away."""

    code = "media.not_lossless"


class NotSealed(MediaError):
    """A recording that is over could not be given its names; its files stay staged, and recovery finds them."""

    code = "media.recording_not_sealed"

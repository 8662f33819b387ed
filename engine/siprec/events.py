"""What is told of recording sessions on the bus, and what is said in them: topics and payloads."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from engine.siprec.facts import SessionFacts

SESSION_TOPIC: Final = "siprec.session"  # SessionEvent, by the worker that has the session
QUALITY_TOPIC: Final = "siprec.quality"  # QualityReport, every few seconds by each worker
SIGNALLING_TOPIC: Final = "siprec.signalling"  # SignallingEvent, by the worker: for the audit log
TRANSCRIPT_TOPIC: Final = "speech.transcript"  # Transcript, as it was heard: only the keeper listens
TRANSCRIPTION_TOPIC: Final = "live.transcription"  # LiveMessage, redacted: for sockets
ANALYTICS_TOPIC: Final = "live.analytics"  # LiveMessage, for sockets

SignallingKind = Literal["sip.invite.success", "sip.invite.failure", "sip.bye.received", "sip.cancel.received"]
SessionEventKind = Literal["started", "updated", "paused", "resumed", "muted", "unmuted", "ended", "recorded"]


class SessionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to a session. "recorded" comes last, when its files and manifest are there: `manifest` is the name of that, "" where nothing could be kept."""

    kind: SessionEventKind
    at: float
    session: SessionFacts
    manifest: str = ""
    actor: str = ""
    reason: str = ""


class LegQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How a leg is heard now. `loss_percent` and `jitter_ms` are of the time since the report before."""

    index: int
    packets: int
    loss_percent: float
    jitter_ms: float | None = None
    mos: float | None = None


class CallQuality(msgspec.Struct, frozen=True, kw_only=True):
    call_id: str
    legs: tuple[LegQuality, ...]


class QualityReport(msgspec.Struct, frozen=True, kw_only=True):
    """All sessions of one worker in which packets came."""

    at: float
    calls: tuple[CallQuality, ...]


class SignallingEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message that began or ended a recording session, or was to. `headers` are those of an INVITE, Authorization left out."""

    event: SignallingKind
    at: float
    call_id: str
    status: int = 0
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """A word with its times, in seconds from the beginning of the recording."""

    text: str
    start: float
    end: float
    confidence: float | None = None


class Transcript(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What speech recognition heard of one channel. Times are seconds from the beginning of the recording; `utterance` is the same for partial texts and the final one
    they become. `speaker` is what diarization says where several talk in one channel."""

    call_id: str
    channel: int = 0
    text: str
    is_final: bool
    start_time: float
    end_time: float
    utterance: str = ""
    confidence: float | None = None
    language: str = ""
    provider: str = ""
    speaker: str = ""
    words: tuple[Word, ...] = ()


class LiveMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message for those who follow calls: `document` goes out as it is."""

    call_id: str
    document: dict[str, Any]


__all__ = [
    "ANALYTICS_TOPIC",
    "QUALITY_TOPIC",
    "SESSION_TOPIC",
    "SIGNALLING_TOPIC",
    "TRANSCRIPTION_TOPIC",
    "TRANSCRIPT_TOPIC",
    "CallQuality",
    "LegQuality",
    "LiveMessage",
    "QualityReport",
    "SessionEvent",
    "SessionEventKind",
    "SignallingEvent",
    "SignallingKind",
    "Transcript",
    "Word",
]  # fmt: skip

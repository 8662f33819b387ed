"""What is told of what is said: the documented payload of /ws/transcriptions, which goes to RabbitMQ as well.

Every payload is a document of its own: who keeps one finds it as it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

from engine.analytics.keywords import Said
from engine.analytics.sentiment import Sentiment
from engine.analytics.snapshot import PLACES, iso, vendor_ids
from engine.analytics.speakers import Speaker
from engine.siprec.events import Transcript
from engine.siprec.facts import SessionFacts

SOURCE: Final = "siprec-realtime"
ID_BYTES: Final = 16
EventType = Literal[
    "partial_transcript", "final_transcript", "speaker_change", "sentiment_update", "keyword_detected", "session_start", "session_end"
]  # fmt: skip


def _ids() -> Iterator[str]:
    """The system is asked for many at once: asking can take longer than all else about a message."""
    while True:
        block = secrets.token_bytes(ID_BYTES * 256)
        yield from (block[at : at + ID_BYTES].hex() for at in range(0, len(block), ID_BYTES))


def ids() -> Callable[[], str]:
    """Gives ids of messages: 128 bits each that nobody can guess."""
    return _ids().__next__


def sentiment_object(sentiment: Sentiment) -> dict[str, Any]:
    """As payloads have it: `score` is 0 to 1, how strongly the label holds; analytics has it with its sign."""
    return {
        "label": sentiment.label, "score": round(abs(sentiment.score), PLACES), "magnitude": round(sentiment.magnitude, PLACES),
        "subjectivity": round(sentiment.subjectivity, PLACES),
    }  # fmt: skip


def _times(said: Said, transcript: Transcript, of_words: Sequence[int]) -> tuple[float, float]:
    """When it was said: by the words' own times, or those of the whole utterance. `of_words` has for each token the word it is of."""
    if not of_words:
        return transcript.start_time, transcript.end_time
    words = transcript.words
    return words[of_words[max(0, said.begin)]].start, words[of_words[said.end - 1]].end


def keyword_objects(found: Sequence[Said], transcript: Transcript, of_words: Sequence[int]) -> list[dict[str, Any]]:
    """`keywords` of a payload. They are as sure as the text in which they are found."""
    objects = []
    for said in found:
        begin, end = _times(said, transcript, of_words)
        objects.append(
            {
                "text": said.keyword.text, "category": said.keyword.category, "confidence": 1.0 if transcript.confidence is None else transcript.confidence,
                "start_time": begin, "end_time": end, "severity": said.keyword.severity,
            }
        )  # fmt: skip
    return objects


class Payloads:
    """Makes the payloads of one call."""

    def __init__(self, call_id: str, new_id: Callable[[], str]) -> None:
        self._call_id = call_id
        self._new_id = new_id
        self._session_id = call_id
        self._vendor: dict[str, str] = {}

    def update(self, facts: SessionFacts) -> None:
        """Takes what is known of the session from now on."""
        self._session_id = facts.session_ids[0] if facts.session_ids else self._call_id
        self._vendor = {f"sip_{name}": value for name, value in vendor_ids(facts.vendor).items()}

    def of_session(self, event_type: EventType, now: float, state: str = "") -> dict[str, Any]:
        """That a session begins or ends."""
        metadata: dict[str, Any] = {"event_source": SOURCE, "server_timestamp": iso(now), **self._vendor}
        if state:
            metadata["state"] = state
        return {
            "message_id": self._new_id(), "timestamp": iso(now), "event_type": event_type, "session_id": self._session_id, "call_id": self._call_id,
            "call_uuid": self._call_id, "metadata": metadata,
        }  # fmt: skip

    def of_speech(
        self,
        event_type: EventType,
        now: float,
        transcript: Transcript,
        speaker: Speaker,
        speakers: int,
        sentiment: Sentiment | None = None,
        keywords: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Something that was said, or that follows from it. `text` and `transcription` are the same, as are `call_id` and `call_uuid`. `sentiment` is null where
        none was looked for."""
        at = iso(now)
        told = {"provider": transcript.provider, "language": transcript.language, "confidence": transcript.confidence, "utterance": transcript.utterance}
        metadata: dict[str, Any] = {
            "event_source": SOURCE, "server_timestamp": at, "is_final": transcript.is_final, "channel": transcript.channel,
            **{name: value for name, value in told.items() if value not in ("", None)}, **self._vendor,
        }  # fmt: skip
        return {
            "message_id": self._new_id(),
            "timestamp": at,
            "event_type": event_type,
            "session_id": self._session_id,
            "call_id": self._call_id,
            "call_uuid": self._call_id,
            "text": transcript.text,
            "transcription": transcript.text,
            "is_final": transcript.is_final,
            "confidence": transcript.confidence,
            "start_time": transcript.start_time,
            "end_time": transcript.end_time,
            "language": transcript.language,
            "speaker_id": speaker.id or transcript.speaker,
            "speaker_label": speaker.label,
            "speaker_count": speakers,
            "stream_label": speaker.stream_label,
            "participant_name": speaker.name,
            "participant_role": speaker.role,
            "sentiment": None if sentiment is None else sentiment_object(sentiment),
            "keywords": [] if keywords is None else keywords,
            "metadata": metadata,
        }


__all__ = ["SOURCE", "EventType", "Payloads", "ids", "keyword_objects", "sentiment_object"]

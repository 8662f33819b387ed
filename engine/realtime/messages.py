"""What goes to RabbitMQ: the same documents as on the sockets, by themselves or several in a wrapper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from engine.clock import iso
from engine.config.document import Realtime

EVENT_MAX_BYTES: Final = 1 << 20
ID_MAX_CHARS: Final = 255  # of a short string of AMQP, which counts bytes; ids of ours are shorter
# Kinds of events that a setting can leave out, and that setting. All others are always published.
SETTINGS: Final = {
    "partial_transcript": "partial_transcripts",
    "final_transcript": "final_transcripts",
    "speaker_change": "speaker_changes",
    "sentiment_update": "sentiment_updates",
    "sentiment_alert": "sentiment_updates",
    "sentiment_positive": "sentiment_updates",
    "keyword_detected": "keyword_detections",
    "keywords_update": "keyword_detections",
}


class Event(msgspec.Struct, frozen=True, array_like=True):
    """A document on its way. `at` is when it was taken, in seconds since 1970; `body` is its JSON, which nothing changes any more."""

    message_id: str
    call_id: str
    event_type: str
    at: float
    body: bytes


def event_type_of(payload: dict[str, Any]) -> str:
    """`event_type`, or what a message of /ws/analytics has as its `type`; "" without either."""
    told = payload.get("event_type") or payload.get("type")
    if told == "transcription":
        return "final_transcript" if payload.get("is_final", True) else "partial_transcript"
    return told if isinstance(told, str) else ""


def is_wanted(event_type: str, settings: Realtime) -> bool:
    """Whether the settings have it published."""
    setting = SETTINGS.get(event_type)
    return setting is None or bool(getattr(settings, setting))


def event_of(payload: dict[str, Any], now: float, new_id: Callable[[], str]) -> Event:
    """A document as it is now: changing the payload later changes nothing. One without a `message_id` gets one. Raises TypeError and ValueError for
    what is no JSON, and ValueError for more than EVENT_MAX_BYTES."""
    message_id = payload.get("message_id")
    if not isinstance(message_id, str) or not 0 < len(message_id) <= ID_MAX_CHARS or not message_id.isascii():
        message_id = new_id()
        payload = {**payload, "message_id": message_id}
    body = msgspec.json.encode(payload)
    if len(body) > EVENT_MAX_BYTES:
        raise ValueError(f"an event has up to {EVENT_MAX_BYTES} bytes, this one has {len(body)}")
    call_id = payload.get("call_id") or payload.get("call_uuid") or ""
    return Event(message_id, str(call_id), event_type_of(payload), now, body)


def wrapped(batch_id: str, events: Sequence[Event], now: float) -> bytes:
    """Several documents in one: `batch_id, timestamp, message_count, messages[]`."""
    return msgspec.json.encode(
        {"batch_id": batch_id, "timestamp": iso(now), "message_count": len(events), "messages": [msgspec.Raw(event.body) for event in events]}
    )


__all__ = ["EVENT_MAX_BYTES", "Event", "event_of", "event_type_of", "is_wanted", "wrapped"]

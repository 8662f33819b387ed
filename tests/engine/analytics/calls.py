"""Calls for the tests of analytics: sessions, what happens to them, and what is said in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from engine.analytics.call import CallAnalytics, Terms, Told
from engine.config.document import Analytics
from engine.siprec.events import (
    ANALYTICS_TOPIC,
    TRANSCRIPTION_TOPIC,
    SessionEvent,
    SessionEventKind,
    Transcript,
)
from engine.siprec.facts import ChannelFacts, Party, SessionFacts, Vendor

BEGAN = 1_700_000_000.0
CALL = "B2B.1.2@sbc"
RECORDING = "rec-1"

CUSTOMER = Party(place=0, participant_id="p-0", aor="sip:alice@example.com", name="Alice", role="customer")
AGENT = Party(place=1, participant_id="p-1", aor="sip:bob@example.com", name="Bob", role="agent")


def session(**changes: Any) -> SessionFacts:
    """A session of a customer in channel 0 and an agent in channel 1."""
    facts = SessionFacts(
        call_id=CALL, recording_id=RECORDING, created_at=BEGAN, session_ids=("s-1",), participants=(CUSTOMER, AGENT),
        channels=(ChannelFacts(index=0, label="11", parties=(0,), codec="PCMU"), ChannelFacts(index=1, label="12", parties=(1,), codec="PCMU")),
        vendor=Vendor(type="oracle", identifiers={"oracle_ucid": "00FA01", "ucid": ""}),
    )  # fmt: skip
    return msgspec.structs.replace(facts, **changes)


def event(kind: SessionEventKind = "started", at_s: float = 0.0, **changes: Any) -> SessionEvent:
    """Something that happens to it so many seconds after its beginning."""
    return SessionEvent(kind=kind, at=BEGAN + at_s, session=session(**changes))


def said(text: str, begin: float = 0.0, end: float | None = None, *, channel: int = 0, **changes: Any) -> Transcript:
    """A final text of the customer, or of who is in another channel."""
    transcript = Transcript(
        call_id=CALL, channel=channel, text=text, is_final=True, start_time=begin, end_time=begin + 1.0 if end is None else end, confidence=0.9,
        language="en-US", provider="test", utterance=f"u-{begin}",
    )  # fmt: skip
    return msgspec.structs.replace(transcript, **changes)


def numbers() -> Callable[[], str]:
    """Ids that can be foretold."""
    count = itertools.count(1)
    return lambda: f"m-{next(count)}"


def begun(config: Analytics | None = None, **changes: Any) -> CallAnalytics:
    """A call whose session has started."""
    call = CallAnalytics(CALL, Terms.of(config or Analytics(enabled=True)), new_id=numbers())
    call.on_session(event(**changes))
    return call


def analytics(told: list[Told], kind: str = "") -> list[dict[str, Any]]:
    """The messages of /ws/analytics, of one type."""
    return [each.document for each in told if each.topic == ANALYTICS_TOPIC and kind in ("", each.document["type"])]


def transcriptions(told: list[Told], kind: str = "") -> list[dict[str, Any]]:
    """The payloads of /ws/transcriptions, of one event type."""
    return [each.document for each in told if each.topic == TRANSCRIPTION_TOPIC and kind in ("", each.document["event_type"])]


__all__ = ["AGENT", "BEGAN", "CALL", "CUSTOMER", "RECORDING", "analytics", "begun", "event", "numbers", "said", "session", "transcriptions"]

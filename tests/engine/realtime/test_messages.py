"""What is published, and as what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.config.document import Realtime
from engine.realtime.messages import EVENT_MAX_BYTES, event_of, event_type_of, is_wanted, wrapped

FLAGS = {
    "partial_transcripts": {"partial_transcript"},
    "final_transcripts": {"final_transcript"},
    "sentiment_updates": {"sentiment_update", "sentiment_alert", "sentiment_positive"},
    "keyword_detections": {"keyword_detected", "keywords_update"},
    "speaker_changes": {"speaker_change"},
}
ALWAYS = {"session_start", "session_end", "error", "snapshot", "quality_alert", "compliance_violation", "call_completed", "of_a_later_version", ""}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_setting_leaves_out_its_own_events_and_no_other(flag: str) -> None:
    settings = Realtime(**{flag: False})
    for other, kinds in FLAGS.items():
        for kind in kinds:
            assert is_wanted(kind, settings) is (other != flag), kind
    assert all(is_wanted(kind, settings) for kind in ALWAYS)
    assert all(is_wanted(kind, Realtime()) for kinds in FLAGS.values() for kind in kinds)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ({"event_type": "final_transcript", "type": "x"}, "final_transcript"), ({"type": "snapshot"}, "snapshot"), ({}, ""), ({"type": 7}, ""),
        ({"type": "transcription", "is_final": False}, "partial_transcript"), ({"type": "transcription", "is_final": True}, "final_transcript"),
    ],
)  # fmt: skip
def test_the_kind_of_an_event(payload: dict[str, Any], kind: str) -> None:
    assert event_type_of(payload) == kind


def test_an_event_is_the_document_as_it_was_when_it_was_taken() -> None:
    payload = {"message_id": "m-1", "call_id": "c", "event_type": "final_transcript", "metadata": {"provider": "x"}, "text": "“ä”\u0000"}
    before = json.dumps(payload)
    event = event_of(payload, 1.5, lambda: "made")
    payload["metadata"]["provider"] = "changed"  # type: ignore[index]
    assert json.loads(event.body) == json.loads(before)
    assert (event.message_id, event.call_id, event.event_type, event.at) == ("m-1", "c", "final_transcript", 1.5)


@pytest.mark.parametrize("told", [None, "", 7, "x" * 300, "ä"])
def test_a_document_without_an_id_gets_one_and_stays_as_it_is_itself(told: Any) -> None:
    payload = {"type": "snapshot", "call_id": "c", "data": {}, "message_id": told}
    event = event_of(payload, 0.0, lambda: "made")
    assert event.message_id == "made"
    assert json.loads(event.body) == {"type": "snapshot", "call_id": "c", "data": {}, "message_id": "made"}
    assert payload["message_id"] == told


def test_what_is_no_document_is_refused() -> None:
    with pytest.raises(TypeError):
        event_of({"call_id": "c", "data": object()}, 0.0, lambda: "made")
    with pytest.raises(ValueError, match="up to"):
        event_of({"call_id": "c", "text": "x" * EVENT_MAX_BYTES}, 0.0, lambda: "made")


def test_a_wrapper_holds_the_documents_byte_for_byte() -> None:
    events = [event_of({"message_id": f"m-{n}", "call_id": "c", "n": n, "score": 0.1}, 0.0, lambda: "made") for n in range(3)]
    body = wrapped("b-1", events, 1_700_000_000.25)
    told = json.loads(body)
    assert list(told) == ["batch_id", "timestamp", "message_count", "messages"]
    assert (told["batch_id"], told["timestamp"], told["message_count"]) == ("b-1", "2023-11-14T22:13:20.250Z", 3)
    assert told["messages"] == [json.loads(event.body) for event in events]
    assert b",".join(event.body for event in events) in body

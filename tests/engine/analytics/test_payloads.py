"""The documented payload of what is said."""

from __future__ import annotations

from engine.analytics.call import CallAnalytics, Terms
from engine.analytics.payloads import ids
from engine.config.document import Analytics
from engine.siprec.events import Word
from tests.engine.analytics.calls import BEGAN, CALL, begun, event, said, transcriptions

AT = BEGAN + 12.3456


def test_a_final_text_has_all_that_is_documented() -> None:
    (payload,) = transcriptions(begun().on_transcript(said("My password was great.", 2.0, 4.5), AT), "final_transcript")
    assert payload == {
        "message_id": "m-2", "timestamp": "2023-11-14T22:13:32.345Z", "event_type": "final_transcript", "session_id": "s-1", "call_id": CALL, "call_uuid": CALL,
        "text": "My password was great.", "transcription": "My password was great.", "is_final": True, "confidence": 0.9, "start_time": 2.0, "end_time": 4.5,
        "language": "en-US", "speaker_id": "p-0", "speaker_label": "customer", "speaker_count": 1, "stream_label": "11", "participant_name": "Alice",
        "participant_role": "customer",
        "sentiment": payload["sentiment"],
        "keywords": [{"text": "password", "category": "security", "confidence": 0.9, "start_time": 2.0, "end_time": 4.5, "severity": "high"}],
        "metadata": {
            "event_source": "siprec-realtime", "server_timestamp": "2023-11-14T22:13:32.345Z", "is_final": True, "channel": 0, "provider": "test",
            "language": "en-US", "confidence": 0.9, "utterance": "u-2.0", "sip_vendor_type": "oracle", "sip_oracle_ucid": "00FA01",
        },
    }  # fmt: skip
    assert payload["sentiment"]["label"] == "positive" and set(payload["sentiment"]) == {"label", "score", "magnitude", "subjectivity"}


def test_scores_of_payloads_have_no_sign() -> None:
    (payload,) = transcriptions(begun().on_transcript(said("terrible"), AT), "final_transcript")
    assert payload["sentiment"]["label"] == "negative" and 0.5 < payload["sentiment"]["score"] <= 1


def test_metadata_has_scalars_alone_and_nobodys_address() -> None:
    for payload in transcriptions(begun().on_transcript(said("My password is terrible", confidence=None, provider=""), AT)):
        assert all(isinstance(value, str | int | float | bool) for value in payload["metadata"].values())
        assert "provider" not in payload["metadata"]
        assert "alice@example.com" not in str(payload)


def test_a_keyword_has_the_times_of_its_words() -> None:
    words = (Word("it's", 0.0, 0.3), Word("my", 0.4, 0.5), Word("credit", 0.6, 1.0), Word("card.", 1.1, 1.5))
    (payload,) = transcriptions(begun().on_transcript(said("it's my credit card.", 0.0, 2.0, words=words), AT), "final_transcript")
    assert [(each["text"], each["start_time"], each["end_time"]) for each in payload["keywords"]] == [("credit card", 0.6, 1.5)]
    other = said("it's my credit card.", 0.0, 2.0, words=words[:2])
    (payload,) = transcriptions(begun().on_transcript(other, AT), "final_transcript")
    assert [(each["start_time"], each["end_time"]) for each in payload["keywords"]] == [(0.0, 2.0)]


def test_a_keyword_that_began_in_the_text_before_has_the_times_of_this_one() -> None:
    call = begun()
    call.on_transcript(said("my credit", 0.0), AT)
    words = (Word("card", 3.0, 3.5), Word("please", 3.6, 4.0))
    (payload,) = transcriptions(call.on_transcript(said("card please", 3.0, 4.0, words=words), AT), "final_transcript")
    assert [(each["start_time"], each["end_time"]) for each in payload["keywords"]] == [(3.0, 3.5)]


def test_events_that_follow_from_what_is_said() -> None:
    call = begun()
    told = call.on_transcript(said("This is terrible, my password!", 0), AT) + call.on_transcript(said("Oh, the password.", 5, channel=1), AT + 5)
    assert [each["event_type"] for each in transcriptions(told)] == ["final_transcript", "sentiment_update", "keyword_detected", "speaker_change", "final_transcript"]
    update, detected, change = (transcriptions(told, kind)[0] for kind in ("sentiment_update", "keyword_detected", "speaker_change"))
    assert update["sentiment"]["label"] == "negative" and update["speaker_label"] == "customer"
    assert [each["text"] for each in detected["keywords"]] == ["password"]
    assert (change["speaker_label"], change["speaker_count"], change["text"]) == ("agent", 2, "")
    assert len({each["message_id"] for each in transcriptions(told)}) == 5


def test_a_session_without_an_id_of_its_own_has_the_calls() -> None:
    call = CallAnalytics(CALL, Terms.of(Analytics(enabled=True)))
    (payload,) = transcriptions(call.on_session(event(session_ids=())), "session_start")
    assert payload["session_id"] == CALL and payload["metadata"]["event_source"] == "siprec-realtime"


def test_ids_cannot_be_guessed() -> None:
    first, second = ids(), ids()
    told = [new_id() for new_id in (first, second) for _ in range(1000)]
    assert len(set(told)) == 2000 and {len(each) for each in told} == {32}

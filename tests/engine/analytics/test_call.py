"""What there is to tell of a call."""

from __future__ import annotations

import copy
import gc
import tracemalloc
from typing import Any

import msgspec
import pytest

from engine.analytics.call import CallAnalytics, Terms, Told
from engine.config.document import Analytics, ComplianceRule, Keyword
from engine.siprec.events import CallQuality, LegQuality, Transcript
from engine.siprec.facts import ChannelFacts, Party
from tests.engine.analytics.calls import (
    BEGAN,
    CALL,
    CUSTOMER,
    analytics,
    begun,
    event,
    numbers,
    said,
    transcriptions,
)

TERRIBLE = "This is terrible, absolutely terrible."
GREAT = "That is excellent, thank you so much!"


def quality(*mos: float) -> CallQuality:
    return CallQuality(call_id=CALL, legs=tuple(LegQuality(index=index, packets=100, loss_percent=1.5, jitter_ms=4.0, mos=each) for index, each in enumerate(mos)))


def hear(call: CallAnalytics, *transcripts: Transcript, every_s: float = 5.0) -> list[Told]:
    told: list[Told] = []
    for number, transcript in enumerate(transcripts):
        told += call.on_transcript(transcript, BEGAN + 100 + number * every_s)
    return told


def kinds(told: list[Told]) -> list[str]:
    return [each.document.get("type") or each.document["event_type"] for each in told]


# ---- the snapshot ----


def test_a_snapshot_has_what_is_documented() -> None:
    call = begun()
    hear(call, said("I want a refund under your policy, this is terrible", 0, 4), said("Wonderful, I am glad to help", 5, 10, channel=1))
    document = call.last_snapshot
    assert document is not None
    assert (document["type"], document["call_id"], document["timestamp"]) == ("snapshot", CALL, "2023-11-14T22:15:05.000Z")
    data = document["data"]
    assert [(row["speaker"], row["label"]) for row in data["sentiment_trend"]] == [("customer", "negative"), ("agent", "positive")]
    assert all(set(row) == {"speaker", "label", "score", "confidence"} for row in data["sentiment_trend"])
    assert data["sentiment_trend"][0]["score"] < 0 < data["sentiment_trend"][1]["score"]
    assert data["keywords"][:2] == ["refund", "policy"]
    assert data["compliance"] == []
    assert data["agent_metrics"]["talk_ratio"] == pytest.approx(5 / 9, abs=0.001) and data["agent_metrics"]["dead_air_seconds"] == 0
    assert data["vendor_type"] == "oracle" and data["oracle_ucid"] == "00FA01" and "ucid" not in data
    assert data["audio"]["voice_seconds"] == 9.0
    msgspec.json.encode(document)


def test_snapshots_are_no_more_than_one_a_second_and_the_last_comes_late() -> None:
    call = begun()
    told: list[Told] = []
    for number in range(10):
        told += call.on_transcript(said("hello there", number * 0.1, number * 0.1 + 0.05), BEGAN + 50 + number * 0.1)
    assert len(analytics(told, "snapshot")) == 1
    assert call.snapshot_due == BEGAN + 51
    assert call.on_time(BEGAN + 50.99) == []
    assert kinds(call.on_time(BEGAN + 51)) == ["snapshot"]
    assert call.snapshot_due is None and call.on_time(BEGAN + 60) == []


def test_a_partial_text_is_told_and_changes_nothing() -> None:
    call = begun()
    told = hear(call, said(TERRIBLE, is_final=False))
    assert kinds(told) == ["partial_transcript", "transcription"]
    assert analytics(told)[0]["data"] == {"text": TERRIBLE, "is_final": False, "speaker": "customer"}
    assert call.heard == 0 and call.last_snapshot is None


def test_messages_stay_as_they_were() -> None:
    call = begun()
    kept: list[tuple[Told, Any]] = []
    for number in range(60):
        text = [TERRIBLE, GREAT, "my credit card and the password", "a breach of policy"][number % 4]
        told = call.on_transcript(said(text, number * 2.0, channel=number % 2), BEGAN + number * 2)
        told += call.on_quality(quality(4.0 - number % 3, 4.0), BEGAN + number * 2 + 1)
        kept += [(each, copy.deepcopy(each.document)) for each in told]
    call.on_session(event("updated", 130.0, participants=(CUSTOMER,)))
    kept += [(each, copy.deepcopy(each.document)) for each in call.finish(BEGAN + 200)]
    assert all(each.document == as_told for each, as_told in kept)
    assert len({id(each.document) for each, _ in kept}) == len(kept)


# ---- alerts ----


def test_a_streak_of_strong_negatives_is_told_once() -> None:
    call = begun()
    told = hear(call, *(said(TERRIBLE, at * 10.0) for at in range(5)))
    (alert,) = analytics(told, "sentiment_alert")
    assert set(alert["data"]) == {"severity", "score", "label", "message", "timestamp", "speaker"}
    assert alert["data"]["label"] == "negative" and alert["data"]["score"] < -0.5 and alert["data"]["speaker"] == "customer"
    assert kinds(told).index("sentiment_alert") > kinds(told).index("snapshot")


def test_one_strong_negative_is_no_streak_and_another_speakers_does_not_count() -> None:
    assert analytics(hear(begun(), said(TERRIBLE), said(TERRIBLE, 5, channel=1)), "sentiment_alert") == []
    assert analytics(hear(begun(), said(TERRIBLE), said(GREAT, 5), said(TERRIBLE, 10)), "sentiment_alert") == []


def test_what_tells_no_feeling_does_not_end_a_streak() -> None:
    assert len(analytics(hear(begun(), said(TERRIBLE), said("It is Tuesday.", 5), said(TERRIBLE, 10)), "sentiment_alert")) == 1


def test_a_streak_is_told_again_after_it_ended() -> None:
    told = hear(begun(), *(said(text, at * 10.0) for at, text in enumerate([TERRIBLE, TERRIBLE, GREAT, TERRIBLE, TERRIBLE])))
    assert len(analytics(told, "sentiment_alert")) == 2


def test_joy_is_told_once() -> None:
    (message,) = analytics(hear(begun(), said(GREAT), said(GREAT, 5), said(GREAT, 10)), "sentiment_positive")
    assert message["data"]["score"] > 0.7 and message["data"]["label"] == "positive"


def test_a_call_that_goes_badly_is_told_once() -> None:
    told = hear(begun(), *(said("I am unhappy.", at * 10.0) for at in range(12)))
    (alert,) = analytics(told, "quality_alert")
    assert 0 < alert["data"]["quality_score"] < 0.5


def test_bad_audio_is_told_once_until_it_is_good_again() -> None:
    call = begun()
    told = [message for number, mos in enumerate((4.2, 2.0, 2.1, 2.4, 4.0, 1.9)) for message in call.on_quality(quality(4.3, mos), BEGAN + number * 5)]
    first, second = analytics(told, "audio_quality_alert")
    assert first["data"] == {"mos": 2.0, "packet_loss": 1.5, "jitter_ms": 4.0, "channel": 1}
    assert second["data"]["mos"] == 1.9


def test_quality_without_news_makes_no_snapshot() -> None:
    call = begun()
    told = [message for number in range(100) for message in call.on_quality(quality(4.3, 4.2), BEGAN + number * 5)]
    assert kinds(told) == ["snapshot"]
    assert call.summary() == {"sentiment": None, "mos": 4.2}


def test_the_agent_who_cuts_in_is_told_once() -> None:
    call = begun()
    talk = [each for at in range(10) for each in (said("so then", at * 10.0, at * 10.0 + 6), said("but no", at * 10.0 + 3, at * 10.0 + 8, channel=1))]
    (alert,) = analytics(hear(call, *talk), "agent_alert")
    assert (alert["data"]["type"], alert["data"]["value"]) == ("interruptions", 6)


def test_much_silence_is_told_once() -> None:
    talk = [said("well", at * 20.0, at * 20.0 + 5) for at in range(10)]
    (alert,) = analytics(hear(begun(), *talk), "agent_alert")
    assert alert["data"]["type"] == "high_silence" and alert["data"]["value"] > 0.3


def test_a_pause_and_a_hold_are_no_silence() -> None:
    for changes in ({"transcription_paused": True}, {"state": "held"}):
        call = begun()
        hear(call, said("one moment", 0, 10, channel=1))
        call.on_session(event("paused", 10.5, **changes))
        call.on_session(event("resumed", 300.0))
        told = hear(call, said("thanks for waiting", 301, 310, channel=1), said("fine", 311, 330))
        assert analytics(told, "agent_alert") == []
        assert call.last_snapshot is not None and call.last_snapshot["data"]["agent_metrics"]["dead_air_seconds"] == 0


# ---- rules and keywords ----


RULES = [
    ComplianceRule(id="disclosure", severity="high", contains=["recorded"]),
    ComplianceRule(id="promise", severity="critical", missing=["guaranteed"]),
    ComplianceRule(id="slang", severity="low", missing=["dude"]),
]


def test_what_must_not_be_said_is_told_at_once_and_never_again() -> None:
    call = begun(Analytics(enabled=True, compliance_rules=RULES))
    told = hear(call, *(said("It's guaranteed, dude!", at * 10.0, channel=1) for at in range(5)))
    (violation,) = analytics(told, "compliance_violation")
    assert (violation["data"]["rule_id"], violation["data"]["severity"]) == ("promise", "critical")
    assert set(violation["data"]) == {"rule_id", "severity", "description", "timestamp"}
    snapshots = analytics(told, "snapshot")
    assert len(snapshots) == 5
    assert all([each["rule_id"] for each in snapshot["data"]["compliance"]] == ["promise", "slang"] for snapshot in snapshots)


def test_what_was_not_said_is_told_at_the_end() -> None:
    call = begun(Analytics(enabled=True, compliance_rules=RULES))
    assert analytics(hear(call, said("Hello")), "compliance_violation") == []
    told = call.finish(BEGAN + 60)
    assert kinds(told) == ["session_end", "compliance_violation", "call_completed", "snapshot"]
    assert analytics(told, "compliance_violation")[0]["data"]["rule_id"] == "disclosure"


def test_a_phrase_may_be_cut_into_two_texts_of_one_speaker() -> None:
    call = begun(Analytics(enabled=True, compliance_rules=[ComplianceRule(id="x", missing=["no risk"])]))
    assert analytics(hear(call, said("there is no"), said("risk", 3, channel=1)), "compliance_violation") == []
    call = begun(Analytics(enabled=True, compliance_rules=[ComplianceRule(id="x", missing=["no risk"])]))
    assert analytics(hear(call, said("there is no"), said("what?", 2, channel=1), said("risk", 3)), "compliance_violation")


def test_many_keywords_are_told_when_they_change() -> None:
    call = begun()
    told = hear(call, said("refund policy router invoice", 0), said("password and my credit card", 5), said("okay", 10), said("breach!", 15))
    first, second = analytics(told, "keywords_update")
    assert first["data"] == {"keywords": ["password", "credit card", "refund", "policy", "router", "invoice", "credit", "card"], "count": 8}
    assert second["data"]["keywords"][:3] == ["password", "credit card", "breach"]
    assert len(second["data"]["keywords"]) <= 10


def test_keywords_are_in_the_same_order_each_time() -> None:
    talk = [said("router invoice refund policy password breach malware", at * 5.0) for at in range(3)]
    first, second = ([each["data"]["keywords"] for each in analytics(hear(begun(), *talk), "snapshot")] for _ in range(2))
    assert first == second and first[0][:3] == ["password", "breach", "malware"]


def test_a_new_configuration_is_looked_for_from_then_on() -> None:
    call = begun()
    hear(call, said("the churn word"))
    call.adopt(Terms.of(Analytics(enabled=True, custom_keywords={"c": [Keyword(pattern="churn word", severity="low")]})))
    told = hear(call, said("the churn word again", 5))
    assert [each["text"] for each in transcriptions(told, "keyword_detected")[0]["keywords"]] == ["churn word"]


# ---- who talks ----


def test_a_stand_in_is_replaced_in_all_that_is_told() -> None:
    stand_in = Party(place=1, participant_id="d", aor="sip:ASBCE@asbce.com")
    call = begun(participants=(CUSTOMER, stand_in))
    hear(call, *(said(TERRIBLE, at * 5.0, channel=1) for at in range(2)), said("I see", 12))
    real = Party(place=2, participant_id="p-2", aor="sip:bob@x", name="Bob", role="agent")
    changed = (ChannelFacts(index=0, label="11", parties=(0,)), ChannelFacts(index=1, label="12", parties=(2,)))
    told = call.on_session(event("updated", 200.0, participants=(CUSTOMER, stand_in, real), channels=changed))
    (snapshot,) = analytics(told, "snapshot")
    assert [(row["speaker"], row["label"]) for row in snapshot["data"]["sentiment_trend"]] == [("customer", "neutral"), ("agent", "negative")]
    assert snapshot["data"]["agent_metrics"]["talk_seconds"] == 2.0
    told = hear(call, said("yes", 210, channel=1))
    assert transcriptions(told, "final_transcript")[0]["participant_name"] == "Bob"
    assert transcriptions(told, "final_transcript")[0]["speaker_count"] == 2


def test_a_session_begins_once_and_ends_once() -> None:
    call = CallAnalytics(CALL, Terms.of(Analytics(enabled=True)), new_id=numbers())
    told = call.on_session(event()) + call.on_session(event("updated", 1.0)) + call.on_session(event("ended", 9.0))
    told += call.finish(BEGAN + 10) + call.finish(BEGAN + 11)
    assert kinds(told) == ["session_start", "session_end", "call_completed", "snapshot"]
    (completed,) = analytics(told, "call_completed")
    assert completed["data"] == {
        "call_id": CALL, "quality_score": None, "talk_time": 0.0, "silence_time": 0.0, "sentiment": 0.0, "keywords": 0, "violations": 0,
    }  # fmt: skip


def test_what_a_call_came_to() -> None:
    call = begun(Analytics(enabled=True, compliance_rules=RULES))
    hear(call, said("my password is gone, terrible", 0, 4), said("that is guaranteed", 8, 10, channel=1))
    (completed,) = analytics(call.finish(BEGAN + 60), "call_completed")
    data = completed["data"]
    assert (data["talk_time"], data["silence_time"], data["violations"]) == (6.0, 4.0, 2)
    assert data["sentiment"] < -0.5 and 0 < data["quality_score"] < 0.5 and data["keywords"] >= 2
    assert call.summary()["sentiment"] == "negative"


def test_without_analytics_only_transcriptions_are_told() -> None:
    call = begun(Analytics(enabled=False))
    told = hear(call, said(TERRIBLE, is_final=False), said(TERRIBLE), said("my password", 5, channel=1))
    told += call.on_quality(quality(1.5), BEGAN + 200) + call.finish(BEGAN + 300)
    assert analytics(told) == []
    assert kinds(told) == ["partial_transcript", "final_transcript", "speaker_change", "final_transcript", "session_end"]
    assert all(each.get("sentiment") is None and not each.get("keywords") for each in transcriptions(told))
    assert call.summary() == {"sentiment": None, "mos": 1.5}


# ---- bounds ----


def test_a_long_call_takes_no_more_memory_than_a_short_one() -> None:
    call = begun()

    def talk(begin_s: int, end_s: int) -> None:
        for at in range(begin_s, end_s, 4):
            call.on_transcript(said(f"{TERRIBLE} {chr(97 + at % 26) * 7} refund {'abcdefgh'[at // 4 % 8:]}", float(at), channel=at // 4 % 2), BEGAN + at)
            call.on_quality(quality(4.0, 4.0), BEGAN + at)

    tracemalloc.start()
    try:
        talk(0, 1600)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        talk(1600, 6400)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 1200 * 20  # utterances; what lists of free objects take is in it
    finally:
        tracemalloc.stop()


def test_speakers_without_end_are_bounded() -> None:
    call = begun(participants=(), channels=())
    for number in range(500):
        call.on_transcript(said("terrible", number * 2.0, channel=number % 200, speaker=f"S{number}"), BEGAN + number * 2)
    assert call.last_snapshot is not None
    assert len(call.last_snapshot["data"]["sentiment_trend"]) <= 64

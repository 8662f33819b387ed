"""Whatever is said, in whatever order: analytics of a call stays within its bounds, and what it tells can be written down."""

from __future__ import annotations

import json
import math
import random

import pytest

from engine.analytics.call import CallAnalytics, Terms
from engine.analytics.service import bounded
from engine.analytics.tokens import tokens
from engine.config.document import Analytics, ComplianceRule, Keyword
from engine.siprec.events import CallQuality, LegQuality, SessionEvent, Transcript, Word
from engine.siprec.facts import ChannelFacts, Party, SessionFacts, Vendor

PIECES = (
    "not", "very", "terrible", "good", "but", "don't", "credit", "card", "no", "risk", "password", "\u0000", "\u202e", "😀", "n't", "''", "'s", "ß", "İ", "e\u0301\u0301",
    "नमस्ते", "密码", "a" * 300, "fed", "up", "4111", "_", "\n", "{}", "%s",
)  # fmt: skip
NUMBERS = (0.0, -1.0, 1.5, 3.0, 1e9, 1e308, math.nan, math.inf, -math.inf)
TERMS = Terms.of(
    Analytics(
        enabled=True,
        custom_keywords={"": [Keyword(pattern="a a a b")], "x": [Keyword(pattern="card card card"), Keyword(pattern="")]},
        compliance_rules=[ComplianceRule(id="r", contains=["card"], missing=["no risk"], severity="critical")],
    )
)


def text(chance: random.Random) -> str:
    return chance.choice(("", " ", "'")).join(chance.choices(PIECES, k=chance.randint(0, 30)))


def number(chance: random.Random) -> float:
    return chance.choice(NUMBERS) if chance.random() < 0.2 else chance.random() * 500


def facts(chance: random.Random) -> SessionFacts:
    parties = tuple(
        Party(place=chance.randint(-3, 9), participant_id=text(chance), aor=text(chance), name=text(chance), role=chance.choice(("", "agent", "caller", "zzz")))
        for _ in range(chance.randint(0, 5))
    )
    channels = tuple(
        ChannelFacts(index=index, label=text(chance), parties=tuple(chance.randint(-3, 9) for _ in range(chance.randint(0, 3))), muted=chance.random() < 0.1)
        for index in range(chance.randint(0, 4))
    )
    return SessionFacts(
        call_id="c", recording_id="r", created_at=1000.0, participants=parties, channels=channels, transcription_paused=chance.random() < 0.2,
        state=chance.choice(("connected", "held", "paused")), vendor=Vendor(type=text(chance), identifiers={text(chance): text(chance), "keywords": "x"}),
    )  # fmt: skip


def said(chance: random.Random) -> Transcript:
    begin = number(chance)
    words = tuple(Word(text(chance), number(chance), number(chance)) for _ in range(chance.randint(0, 6)))
    return Transcript(
        call_id="c", channel=chance.randint(-2, 300), text=text(chance), is_final=chance.random() < 0.8, start_time=begin, end_time=begin + number(chance) / 100,
        words=words, confidence=chance.choice((None, number(chance))), language=chance.choice(("", "en", "de-DE", "xx", "-", "\u0000")), speaker=chance.choice(("", text(chance))),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_a_call_of_anything_is_told(seed: int) -> None:
    chance = random.Random(seed)
    call = CallAnalytics("c", TERMS)
    now, told = 1000.0, []
    for _ in range(150):
        now += chance.random() * 3 - 0.2
        what = chance.random()
        if what < 0.15:
            told += call.on_session(SessionEvent(kind="updated", at=now, session=facts(chance)))
        elif what < 0.3:
            leg = LegQuality(index=chance.randint(0, 5), packets=chance.randint(-5, 500), loss_percent=number(chance), jitter_ms=number(chance), mos=chance.choice((None, number(chance))))
            told += call.on_quality(CallQuality(call_id="c", legs=(leg,)), now)
        elif what < 0.35:
            told += call.on_time(now)
        else:
            transcript = bounded(said(chance))
            shown = call.pauses.shown(transcript) if transcript is not None else None
            told += call.on_transcript(shown, now) if shown is not None else []
    told += call.finish(now)
    for each in told:
        document = each.document
        if document.get("type") != "snapshot":
            continue
        data = document["data"]
        assert all(-1 <= row["score"] <= 1 and 0 <= row["confidence"] <= 1 for row in data["sentiment_trend"])
        assert 0 <= data["agent_metrics"]["talk_ratio"] <= 1 and 0 <= data["agent_metrics"]["dead_air_seconds"] < math.inf
        assert isinstance(data["keywords"], list) and len(data["keywords"]) <= 110
        assert len({violation["rule_id"] for violation in data["compliance"]}) <= 1
    violations = [each.document for each in told if each.document.get("type") == "compliance_violation"]
    assert len(violations) <= 2
    json.dumps([each.document for each in told], allow_nan=False)


@pytest.mark.parametrize(("piece", "words"), [("a", 1), ("'", 0), ("a'", 1), ("\u0301", 1), ("密", 200_000), ("_", 0), ("a_", 200_000), ("İ", 1)])
def test_a_long_text_of_one_sign_is_done_with(piece: str, words: int) -> None:
    assert len(tokens(piece * 200_000)) == words

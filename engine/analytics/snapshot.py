"""What is known of a call at one moment, as it goes out: the data of a `snapshot` message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from engine import clock
from engine.analytics.agent_metrics import AgentFigures
from engine.analytics.audio_quality import AudioQuality
from engine.analytics.compliance_rules import Violation
from engine.analytics.sentiment import Sentiment
from engine.analytics.speakers import Speaker
from engine.siprec.facts import Vendor

PLACES: Final = 3  # of what is rounded: a thousandth of a second, or of a score

iso = lru_cache(maxsize=64)(clock.iso)  # one moment is told in many messages


def trend_of(speaker: Speaker, mood: Sentiment) -> dict[str, Any]:
    """A row of `sentiment_trend`."""
    return {"speaker": speaker.label, "label": mood.label, "score": round(mood.score, PLACES), "confidence": round(mood.confidence, PLACES)}


def metrics_of(agent: AgentFigures) -> dict[str, Any]:
    """`agent_metrics`; times are in seconds."""
    return {
        "talk_ratio": round(agent.talk_ratio, PLACES),
        "dead_air_seconds": round(agent.dead_air_s, PLACES),
        "talk_seconds": round(agent.agent_talk_s, PLACES),
        "interruptions": agent.interruptions,
        "longest_monologue_seconds": round(agent.longest_monologue_s, PLACES),
    }


def audio_of(quality: AudioQuality, agent: AgentFigures) -> dict[str, Any]:
    """`audio`: how the call is heard, and how much of it is voice."""
    return {
        **quality.document(),
        "voice_ratio": round(1 - agent.silence_ratio, PLACES) if agent.talk_s else 0.0,
        "voice_seconds": round(agent.talk_s, PLACES),
        "silence_seconds": round(agent.dead_air_s, PLACES),
    }


def vendor_ids(vendor: Vendor) -> dict[str, str]:
    """What the vendor calls the call, by names in snake case; empty values are left out."""
    return {"vendor_type": vendor.type, **{name: value for name, value in sorted(vendor.identifiers.items()) if value}}


def snapshot(
    moods: Iterable[tuple[Speaker, Sentiment]],
    keywords: Sequence[str],
    violations: Sequence[Violation],
    agent: AgentFigures,
    quality: AudioQuality,
    quality_score: float | None,
    vendor: Vendor,
) -> dict[str, Any]:
    """The whole, a document of its own each time. What the vendor calls the call never takes the place of what is ours."""
    return {
        **vendor_ids(vendor),
        "sentiment_trend": [trend_of(speaker, mood) for speaker, mood in moods],
        "keywords": list(keywords),
        "compliance": [violation.document(iso(violation.at)) for violation in violations],
        "agent_metrics": metrics_of(agent),
        "quality_score": None if quality_score is None else round(quality_score, PLACES),
        "audio": audio_of(quality, agent),
    }


__all__ = ["PLACES", "audio_of", "iso", "metrics_of", "snapshot", "trend_of", "vendor_ids"]

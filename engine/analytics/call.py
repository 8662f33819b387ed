"""What is known of one call from what is said in it and how it is heard, and what there is to tell of it.

The clock is passed in with everything that happens (seconds since 1970), and nothing here grows with the length of a call. Alerts tell that something began: they come
once, and again only after it had ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from engine.analytics.agent_metrics import AgentFigures, TalkTimes, figures
from engine.analytics.audio_quality import AudioQuality
from engine.analytics.compliance_rules import Adherence, Rules, Violation
from engine.analytics.keywords import Keywords, Said, WordCounts
from engine.analytics.languages import language_of
from engine.analytics.pauses import EVERYTHING, Pauses
from engine.analytics.payloads import Payloads, ids, keyword_objects
from engine.analytics.sentiment import Label, Mood, Sentiment, label_of, sentiment
from engine.analytics.snapshot import PLACES, iso, snapshot
from engine.analytics.speakers import Key, Roster, Speaker
from engine.analytics.tokens import tokens
from engine.config.document import Analytics
from engine.siprec.events import ANALYTICS_TOPIC, TRANSCRIPTION_TOPIC, CallQuality, SessionEvent, Transcript
from engine.siprec.facts import SessionFacts, Vendor

SNAPSHOT_S: Final = 1.0  # between two of one call
VOICES_MAX: Final = 64
KEYWORDS_MAX: Final = 100
KEYWORDS_TOLD: Final = 10
KEYWORDS_MANY: Final = 5
STRONG, STREAK = -0.5, 2
JOY, JOY_OVER = 0.7, 0.2
QUALITY_LOW, QUALITY_AGAIN, QUALITY_FROM = 0.5, 0.55, 5  # the last: utterances with a feeling
SILENCE_HIGH, SILENCE_AGAIN, SILENCE_FROM_S = 0.3, 0.25, 30.0
INTERRUPTIONS_MANY: Final = 5


class Told(NamedTuple):
    """A message: TRANSCRIPTION_TOPIC or ANALYTICS_TOPIC, and what goes out as it is."""

    topic: str
    document: dict[str, Any]


class Terms(msgspec.Struct, frozen=True):
    """What calls are looked at for."""

    enabled: bool
    keywords: Keywords
    rules: Rules

    @classmethod
    def of(cls, config: Analytics) -> Terms:
        """Those of a configuration."""
        return cls(config.enabled, Keywords(config.custom_keywords), Rules(config.compliance_rules))


class Voice:
    """One speaker: their mood, and where they are in phrases that go on in what they say next."""

    __slots__ = ("alerted", "joyful", "keywords_state", "label", "mood", "rules_state", "streak")

    def __init__(self) -> None:
        self.mood = Mood()
        self.keywords_state = self.rules_state = 0
        self.label: Label | None = None
        self.streak = 0
        self.alerted = self.joyful = False

    def take(self, other: Voice) -> None:
        """What was said by somebody who turned out to be the same one, before."""
        self.mood.take(other.mood)
        self.streak += other.streak
        self.alerted, self.joyful = self.alerted or other.alerted, self.joyful or other.joyful
        self.label = self.label or other.label


class CallAnalytics:
    """One call. `snapshot_due` is when `on_time` has to be called, None where nothing waits."""

    def __init__(self, call_id: str, terms: Terms, *, new_id: Callable[[], str] | None = None) -> None:
        self.call_id = call_id
        self.roster = Roster()
        self.pauses = Pauses()
        self.snapshot_due: float | None = None
        self.last_snapshot: dict[str, Any] | None = None
        self.heard = 0  # final utterances
        self._terms = terms
        self._payloads = Payloads(call_id, new_id or ids())
        self._voices: dict[Key, Voice] = {}
        self._last_voice: Key | None = None
        self._found: dict[str, None] = {}
        self._words = WordCounts()
        self._keywords_told: list[str] = []
        self._rules = Adherence(terms.rules)
        self._times = TalkTimes()
        self._quality = AudioQuality()
        self._held_since: float | None = None
        self._feelings, self._feelings_sum, self._score = 0, 0.0, 0.5
        self._low_quality = self._silent = self._interrupts = False
        self._told_at = float("-inf")
        self._began = self._ended = False

    def adopt(self, terms: Terms) -> None:
        """Looks for something else from now on; what was found stays."""
        self._terms = terms
        violations = self._rules.violations
        self._rules = Adherence(terms.rules)
        self._rules.violations = violations
        for voice in self._voices.values():
            voice.keywords_state = voice.rules_state = 0

    # ---- what happens ----

    def on_session(self, event: SessionEvent) -> list[Told]:
        """Something happened to the session. Its end is told by `finish`."""
        facts = event.session
        at = max(0.0, event.at - facts.created_at)
        renamed = self.roster.update(facts, at)
        for old, new in renamed:
            self._rename(old, new)
        self._payloads.update(facts)
        for window in self.pauses.update(facts, at):
            if window.channel == EVERYTHING:
                self._times.add(window.begin, window.end, None)
        self._hold(facts, at)
        told: list[Told] = []
        if not self._began and event.kind not in ("ended", "recorded"):
            self._began = True
            told.append(Told(TRANSCRIPTION_TOPIC, self._payloads.of_session("session_start", event.at, facts.state)))
        if renamed and self.heard:
            told += self._changed(event.at)
        return told

    def _hold(self, facts: SessionFacts, at: float) -> None:
        """Nobody is silent while a call is held."""
        if facts.state == "held":
            self._held_since = at if self._held_since is None else self._held_since
        elif self._held_since is not None:
            self._times.add(self._held_since, at, None)
            self._held_since = None

    def _rename(self, old: Key, new: Key) -> None:
        self._times.rename(old, new)
        if self._last_voice == old:
            self._last_voice = new
        voice = self._voices.pop(old, None)
        if voice is not None:
            if new in self._voices:
                self._voices[new].take(voice)
            else:
                self._voices[new] = voice

    def on_quality(self, quality: CallQuality, now: float) -> list[Told]:
        """How the call is heard now."""
        facts = self.roster.facts
        channels = {channel.index: channel for channel in facts.channels} if facts else {}
        told: list[Told] = []
        for leg in quality.legs:
            if self._quality.hear(leg, channels.get(leg.index)) and self._terms.enabled:
                bad = self._quality.legs[leg.index]
                data = {"mos": round(bad.mos, 2), "packet_loss": round(bad.loss_percent, 2), "jitter_ms": round(bad.jitter_ms, 2), "channel": leg.index}
                told.append(self._message("audio_quality_alert", data, now))
        if self._terms.enabled and self._quality.is_news():
            told += self._changed(now)
        return told

    def on_transcript(self, transcript: Transcript, now: float) -> list[Told]:
        """Something was said that may be told: it went through `pauses.shown`, and personal data was taken out."""
        key = self.roster.key_of(transcript)
        speaker = self.roster.named(key)
        if not transcript.is_final:
            told = [Told(TRANSCRIPTION_TOPIC, self._payloads.of_speech("partial_transcript", now, transcript, speaker, max(1, len(self._voices))))]
            return [*told, self._transcription(transcript, speaker, now)] if self._terms.enabled else told
        self.heard += 1
        voice = self._voice(key)
        told = []
        if self._last_voice is not None and key != self._last_voice:
            silent = msgspec.structs.replace(transcript, text="")
            told.append(Told(TRANSCRIPTION_TOPIC, self._payloads.of_speech("speaker_change", now, silent, speaker, len(self._voices))))
        self._last_voice = key
        if not self._terms.enabled:
            return [*told, Told(TRANSCRIPTION_TOPIC, self._payloads.of_speech("final_transcript", now, transcript, speaker, len(self._voices)))]
        return told + self._final(transcript, key, voice, speaker, now)

    def _voice(self, key: Key) -> Voice:
        voice = self._voices.get(key)
        if voice is None:
            voice = Voice()
            if len(self._voices) < VOICES_MAX:
                self._voices[key] = voice
        return voice

    def _final(self, transcript: Transcript, key: Key, voice: Voice, speaker: Speaker, now: float) -> list[Told]:
        """What an utterance tells by itself, then what it changes, then the snapshot."""
        words = tokens(transcript.text)
        language = language_of(transcript.language)
        feeling = sentiment(words, language)
        found, voice.keywords_state = self._terms.keywords.said(words, voice.keywords_state)
        objects = keyword_objects(found, transcript, _words_of(transcript, words) if found else ())
        broken, voice.rules_state = self._rules.hear(words, voice.rules_state, now)
        if language is not None:
            self._words.add(words, language.stop)
        self._times.add(transcript.start_time, transcript.end_time, key)
        voice.mood.add(feeling)
        count = len(self._voices)

        told = [Told(TRANSCRIPTION_TOPIC, self._payloads.of_speech("final_transcript", now, transcript, speaker, count, feeling, objects))]
        mood = voice.mood.now()
        if mood.label != (voice.label or "neutral"):
            told.append(Told(TRANSCRIPTION_TOPIC, self._payloads.of_speech("sentiment_update", now, transcript, speaker, count, mood)))
        voice.label = mood.label
        if fresh := self._fresh(found, objects):
            told.append(Told(TRANSCRIPTION_TOPIC, self._payloads.of_speech("keyword_detected", now, transcript, speaker, count, None, fresh)))
        told.append(self._transcription(transcript, speaker, now))
        told += self._feeling_alerts(voice, feeling, speaker, now)
        told += self._violations(broken, now)
        agent = self._agent()
        told += self._agent_alerts(agent, now)
        return told + self._changed(now, agent)

    def _fresh(self, found: Sequence[Said], objects: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Keywords that were not said before in this call."""
        fresh = []
        for said, each in zip(found, objects, strict=True):
            if said.keyword.text not in self._found and len(self._found) < KEYWORDS_MAX:
                self._found[said.keyword.text] = None
                fresh.append(dict(each))
        return fresh

    def on_time(self, now: float) -> list[Told]:
        """The snapshot that waited, if its time has come."""
        return self._snapshot(now) if self.snapshot_due is not None and now >= self.snapshot_due else []

    def finish(self, now: float, reason: str = "") -> list[Told]:
        """The end of the call: what was not said, what it came to, and the last snapshot. Once; then nothing is to be told any more."""
        if self._ended:
            return []
        self._ended = True
        told = [Told(TRANSCRIPTION_TOPIC, self._payloads.of_session("session_end", now, reason))] if self._began or self.heard else []
        if not self._terms.enabled:
            return told
        told += self._violations(self._rules.end(now), now)
        agent = self._agent()
        data = {
            "call_id": self.call_id,
            "quality_score": round(self._score, PLACES) if self._feelings else None,
            "talk_time": round(agent.talk_s, PLACES),
            "silence_time": round(agent.dead_air_s, PLACES),
            "sentiment": round(self._average(), PLACES),
            "keywords": len(self._keywords()),
            "violations": len(self._rules.violations),
        }
        told.append(self._message("call_completed", data, now))
        return told + self._snapshot(now)

    # ---- alerts ----

    def _feeling_alerts(self, voice: Voice, feeling: Sentiment, speaker: Speaker, now: float) -> list[Told]:
        """Streaks of strong negatives, joy, and a call that goes badly. What tells no feeling neither adds to a streak nor ends it."""
        if not feeling.signs:
            return []
        told = []
        score = feeling.score
        data = {"speaker": speaker.label, "score": round(score, PLACES), "label": feeling.label, "timestamp": iso(now)}
        voice.streak = voice.streak + 1 if score < STRONG else 0
        if voice.streak >= STREAK and not voice.alerted:
            voice.alerted = True
            text = f"{voice.streak} strongly negative utterances in a row"
            told.append(self._message("sentiment_alert", {"severity": "high", **data, "message": text}, now))
        elif label_of(score) != "negative":
            voice.alerted = False
        if score > JOY and not voice.joyful:
            voice.joyful = True
            told.append(self._message("sentiment_positive", {"severity": "info", **data, "message": "a strongly positive utterance"}, now))
        elif score < JOY_OVER:
            voice.joyful = False
        return told + self._quality_alert(score, now)

    def _quality_alert(self, score: float, now: float) -> list[Told]:
        self._feelings += 1
        self._feelings_sum += score
        self._score += ((score + 1) / 2 - self._score) * max(0.1, 1 / self._feelings)
        if self._score >= QUALITY_AGAIN:
            self._low_quality = False
        elif self._score < QUALITY_LOW and not self._low_quality and self._feelings >= QUALITY_FROM:
            self._low_quality = True
            data = {"quality_score": round(self._score, PLACES), "severity": "medium", "message": "most of what is felt in this call is negative", "timestamp": iso(now)}
            return [self._message("quality_alert", data, now)]
        return []

    def _agent_alerts(self, agent: AgentFigures, now: float) -> list[Told]:
        told = []
        if agent.silence_ratio < SILENCE_AGAIN:
            self._silent = False
        elif agent.silence_ratio > SILENCE_HIGH and not self._silent and agent.talk_s + agent.dead_air_s >= SILENCE_FROM_S:
            self._silent = True
            told.append(self._agent_alert("high_silence", round(agent.silence_ratio, PLACES), SILENCE_HIGH, "much of the call is silent", now))
        if agent.interruptions > INTERRUPTIONS_MANY and not self._interrupts:
            self._interrupts = True
            told.append(self._agent_alert("interruptions", agent.interruptions, INTERRUPTIONS_MANY, "the agent often cuts in", now))
        return told

    def _agent_alert(self, kind: str, value: float, threshold: float, text: str, now: float) -> Told:
        data = {"type": kind, "severity": "medium", "value": value, "threshold": threshold, "message": text, "timestamp": iso(now)}
        return self._message("agent_alert", data, now)

    def _violations(self, broken: Sequence[Violation], now: float) -> list[Told]:
        grave = [violation for violation in broken if violation.rule.severity in ("high", "critical")]
        return [self._message("compliance_violation", violation.document(iso(now)), now) for violation in grave]

    # ---- what is told ----

    def _message(self, kind: str, data: dict[str, Any], now: float) -> Told:
        return Told(ANALYTICS_TOPIC, {"type": kind, "call_id": self.call_id, "timestamp": iso(now), "data": data})

    def _transcription(self, transcript: Transcript, speaker: Speaker, now: float) -> Told:
        return self._message("transcription", {"text": transcript.text, "is_final": transcript.is_final, "speaker": speaker.label}, now)

    def _changed(self, now: float, agent: AgentFigures | None = None) -> list[Told]:
        """The snapshot, or a note that one is due when the last is SNAPSHOT_S old."""
        if not self._terms.enabled or self._ended:
            return []
        if now >= self._told_at + SNAPSHOT_S or now < self._told_at:
            return self._snapshot(now, agent)
        if self.snapshot_due is None:
            self.snapshot_due = self._told_at + SNAPSHOT_S
        return []

    def _snapshot(self, now: float, agent: AgentFigures | None = None) -> list[Told]:
        self._told_at, self.snapshot_due = now, None
        keywords = self._keywords()
        told = []
        if len(keywords) > KEYWORDS_MANY and keywords[:KEYWORDS_TOLD] != self._keywords_told:
            self._keywords_told = keywords[:KEYWORDS_TOLD]
            told.append(self._message("keywords_update", {"keywords": list(self._keywords_told), "count": len(keywords)}, now))
        facts = self.roster.facts
        moods = [(self.roster.named(key), voice.mood.now()) for key, voice in self._voices.items()]
        score = self._score if self._feelings else None
        data = snapshot(moods, keywords, self._rules.violations, agent or self._agent(), self._quality, score, facts.vendor if facts else Vendor())
        message = self._message("snapshot", data, now)
        self.last_snapshot = message.document
        return [*told, message]

    def summary(self) -> dict[str, Any]:
        """In two words: how the call feels, and how it sounds; None for what is not known."""
        mos = self._quality.mos
        label = label_of(self._average()) if self._terms.enabled and self.heard else None
        return {"sentiment": label, "mos": None if mos is None else round(mos, 2)}

    def _average(self) -> float:
        return self._feelings_sum / self._feelings if self._feelings else 0.0

    def _keywords(self) -> list[str]:
        """What is listened for, as it was first said, then the words that are said most."""
        return list(dict.fromkeys((*self._found, *self._words.leaders())))

    def _agent(self) -> AgentFigures:
        agents = frozenset(key for key in self._voices if self.roster.named(key).is_agent)
        return figures(self._times.now(), agents)


def _words_of(transcript: Transcript, words: Sequence[str]) -> Sequence[int]:
    """For each token of a text, the word with a time that it is of; empty where the two do not agree."""
    places = [place for place, word in enumerate(transcript.words) for _ in tokens(word.text)]
    return places if len(places) == len(words) else ()


__all__ = ["SNAPSHOT_S", "CallAnalytics", "Terms", "Told"]

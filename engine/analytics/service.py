"""Analytics of all calls of this machine, in the keeper: hears what is said and how, and tells who follows calls.

    analytics.summary   SummaryWanted   {call_id: {"sentiment": label or None, "mos": number or None}}, of the calls that are known
    analytics.snapshot  CallWanted      the last `snapshot` message of a call

A call's messages leave in the order in which they came to be. Nothing here waits for a reader: what a slow bus does not take is dropped, the oldest first, and counted;
what a slow disk does not take waits, up to a bound.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from engine.analytics.asking import session_of
from engine.analytics.call import CallAnalytics, Terms, Told
from engine.analytics.payloads import ids
from engine.analytics.speakers import Key, Speaker
from engine.analytics.transcripts import Line, TranscriptFiles, segment_of
from engine.bus import BusError, Message, Subscription
from engine.compliance.transcripts import PiiFilter
from engine.errors import EngineError
from engine.health import Result
from engine.siprec.events import (
    QUALITY_TOPIC,
    SESSION_TOPIC,
    TRANSCRIPT_TOPIC,
    LiveMessage,
    QualityReport,
    SessionEvent,
    Transcript,
    Word,
)
from engine.siprec.facts import SessionFacts

if TYPE_CHECKING:
    from engine.keeping import Keeping

SUMMARY_SUBJECT: Final = "analytics.summary"
SNAPSHOT_SUBJECT: Final = "analytics.snapshot"
STATS_SUBJECT: Final = "analytics.stats"  # nothing -> AnalyticsStats

CALLS_MAX: Final = 5000
CLOSED_MAX: Final = 5000
OUTGOING_MAX: Final = 20_000
HELD_MAX, HELD_CALLS_MAX = 64, 1000  # transcripts of a call that is asked about, and such calls
ASKED_MAX: Final = 10_000  # calls of one summary
KEYS_MAX: Final = 256  # voices of one call that the record names
TEXT_MAX_CHARS, WORDS_MAX, WORD_MAX_CHARS, NAME_MAX_CHARS, CALL_ID_MAX_CHARS, CHANNEL_MAX = 16_384, 4096, 256, 64, 1024, 255
TICK_S: Final = 0.25
LOST_FOR_S: Final = 60.0  # how long /health tells of a loss
LATE_S: Final = 3.0  # what speech recognition still says of a call that is over

log = logging.getLogger("trunkline.analytics")


class UnknownCall(EngineError):
    """Nothing is known of this call."""

    code = "analytics.unknown_call"


class SummaryWanted(msgspec.Struct, frozen=True):
    """Which calls; ASKED_MAX at most."""

    call_ids: list[str]


class CallWanted(msgspec.Struct, frozen=True):
    """One call, by its Call-ID."""

    call_id: str


class AnalyticsStats(msgspec.Struct, frozen=True):
    """Calls that are followed, messages that were told since the start, by what they are, and messages that were lost."""

    calls: int
    told: dict[str, int]
    lost: int


class _Call:
    """A call that goes on, or ended a moment ago (`ends_at`). `keys` are the voices that its transcript names."""

    __slots__ = ("analytics", "ends_at", "keys", "reason", "recording_id")

    def __init__(self, analytics: CallAnalytics) -> None:
        self.analytics = analytics
        self.recording_id = ""
        self.keys: set[Key] = set()
        self.ends_at: float | None = None
        self.reason = ""


class _Closed(msgspec.Struct, frozen=True):
    """What stays known of a call that is over."""

    recording_id: str
    summary: dict[str, Any]
    snapshot: dict[str, Any] | None
    names: dict[Key, Speaker]


def _is_word(word: Word) -> bool:
    return math.isfinite(word.start) and math.isfinite(word.end) and word.start >= 0 and word.end >= 0 and len(word.text) <= WORD_MAX_CHARS


def bounded(transcript: Transcript) -> Transcript | None:
    """The transcript within bounds, with times that are times, and words only where all are; None for what names no call or channel that could be."""
    if not 0 < len(transcript.call_id) <= CALL_ID_MAX_CHARS or not 0 <= transcript.channel <= CHANNEL_MAX:
        return None
    begin, end = (time if math.isfinite(time) and time >= 0 else 0.0 for time in (transcript.start_time, transcript.end_time))
    confidence = transcript.confidence
    if confidence is not None and not 0 <= confidence <= 1:
        confidence = None
    words = transcript.words if len(transcript.words) <= WORDS_MAX and all(map(_is_word, transcript.words)) else ()
    return msgspec.structs.replace(
        transcript, text=transcript.text[:TEXT_MAX_CHARS], words=words, start_time=begin, end_time=max(begin, end), confidence=confidence,
        speaker=transcript.speaker[:NAME_MAX_CHARS], utterance=transcript.utterance[:NAME_MAX_CHARS], language=transcript.language[:NAME_MAX_CHARS],
        provider=transcript.provider[:NAME_MAX_CHARS],
    )  # fmt: skip


class AnalyticsService:
    """All calls; a service of the keeper (`engine.keeping.Service`), and its `Transcripts`."""

    def __init__(self, keeping: Keeping, *, new_id: Callable[[], str] | None = None, calls_max: int = CALLS_MAX, late_s: float = LATE_S) -> None:
        self._keeping = keeping
        self._new_id = new_id or ids()
        self._calls_max, self._late_s = calls_max, late_s
        self._config = keeping.config
        self._terms = Terms.of(keeping.config.analytics)
        self._pii = PiiFilter(keeping.config.pii)
        self._files = TranscriptFiles(keeping.recordings)
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._closed: OrderedDict[str, _Closed] = OrderedDict()
        self._ended = asyncio.Event()  # set and made anew when calls end
        self._held: dict[str, deque[Transcript]] = {}
        self._arrived: deque[Transcript] = deque()
        self._outgoing: deque[tuple[str, LiveMessage]] = deque()
        self._to_send = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []
        self.hidden = self.late = self.dropped = self.refused = 0
        self._told: Counter[str] = Counter()
        self._lost, self._lost_at = 0, 0.0
        keeping.transcripts = self
        keeping.erasers.append(self.erase)

    # ---- a service of the keeper ----

    async def start(self) -> None:
        """Listens, and serves its subjects."""
        bus = self._keeping.bus
        bus.serve(SUMMARY_SUBJECT, self._summary)
        bus.serve(SNAPSHOT_SUBJECT, self._snapshot)
        bus.serve(STATS_SUBJECT, self._stats)
        for topic, listener in ((SESSION_TOPIC, self._on_session), (QUALITY_TOPIC, self._on_quality), (TRANSCRIPT_TOPIC, self._on_transcript)):
            self._subscriptions.append(await bus.subscribe(topic, listener))
        self._start(self._send())
        self._start(self._tick())

    async def close(self) -> None:
        """Ends. Calls that go on leave what was said in their files, where the next start goes on."""
        for subscription in self._subscriptions:
            await subscription.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._files.close()

    def checks(self) -> dict[str, Result]:
        """Whether anything was lost lately, and whether transcripts reach the disk."""
        if self._files.problem:
            return {"analytics": Result("degraded", f"transcripts cannot be written: {self._files.problem}")}
        lost = self._messages_lost()
        now = self._keeping.clock()
        if lost > self._lost:
            self._lost, self._lost_at = lost, now
        is_fresh = lost > 0 and now - self._lost_at < LOST_FOR_S
        return {"analytics": Result("degraded" if is_fresh else "healthy", f"{len(self._calls)} calls; {lost} messages lost since the start")}

    def _messages_lost(self) -> int:
        return self._files.lost + self.dropped + sum(subscription.dropped for subscription in self._subscriptions)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- what is asked ----

    async def _summary(self, message: Message) -> dict[str, dict[str, Any]]:
        told = {}
        for call_id in message.read(SummaryWanted).call_ids[:ASKED_MAX]:
            if (call := self._calls.get(call_id)) is not None:
                told[call_id] = call.analytics.summary()
            elif (closed := self._closed.get(call_id)) is not None:
                told[call_id] = closed.summary
        return told

    async def _stats(self, message: Message) -> AnalyticsStats:
        return AnalyticsStats(len(self._calls), dict(self._told), self._messages_lost())

    async def _snapshot(self, message: Message) -> dict[str, Any]:
        call_id = message.read(CallWanted).call_id
        call, closed = self._calls.get(call_id), self._closed.get(call_id)
        document = call.analytics.last_snapshot if call is not None else closed.snapshot if closed is not None else None
        if document is None:
            raise UnknownCall("there is no snapshot of this call")
        return document

    async def finished(self, recording_id: str, manifest: str) -> str:
        """The name of a recording's transcript, whole and on the disk; "" where nothing was heard. Waits for what is still said. Raises OSError, and
        RecordingRefused for what is no name."""
        for call in self._calls.values():
            if call.recording_id == recording_id and call.ends_at is None:
                self._end(call, "recorded")
        while any(call.recording_id == recording_id for call in self._calls.values()):
            await self._ended.wait()
        closed = next((each for each in reversed(self._closed.values()) if each.recording_id == recording_id), None)
        names, snapshot = (closed.names, closed.snapshot) if closed is not None else ({}, None)
        return await self._files.finish(recording_id, manifest, names, None if snapshot is None else snapshot["data"])

    async def erase(self, call_ids: frozenset[str]) -> Sequence[str]:
        """Takes away what is known of these calls, here and on the disk; the names of files that stay."""
        for call_id in call_ids:
            self._calls.pop(call_id, None)
            self._closed.pop(call_id, None)
            self._held.pop(call_id, None)
            self._pii.forget(call_id)
        self._arrived = deque(each for each in self._arrived if each.call_id not in call_ids)
        self._outgoing = deque(each for each in self._outgoing if each[1].call_id not in call_ids)
        self._tell_ended()
        return await self._files.erase(call_ids)

    # ---- what is heard ----

    async def _on_session(self, message: Message) -> None:
        event = message.read(SessionEvent)
        facts = event.session
        call = self._calls.get(facts.call_id)
        is_known = event.kind == "started"
        if call is not None and call.recording_id and call.recording_id != facts.recording_id:
            if event.kind in ("ended", "recorded"):  # of the recording before this one
                return
            self._finish(facts.call_id, call)
            is_known = is_known or not call.analytics.pauses.holds
            call = None
        if call is None:
            if event.kind == "recorded" or (event.kind == "ended" and facts.call_id in self._closed):
                return
            call = self._begin(facts.call_id, hidden_until=0.0 if is_known else event.at - facts.created_at)
        call.recording_id = facts.recording_id
        self._tell(facts.call_id, call.analytics.on_session(event))
        if event.kind in ("ended", "recorded") and call.ends_at is None:
            self._end(call, event.reason)

    async def _on_quality(self, message: Message) -> None:
        report = message.read(QualityReport)
        for quality in report.calls:
            call = self._calls.get(quality.call_id)
            if call is not None and call.ends_at is None:
                self._tell(quality.call_id, call.analytics.on_quality(quality, report.at))

    async def _on_transcript(self, message: Message) -> None:
        # What happened to sessions before this was said is heard first, though it comes by another subscription.
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._take)
        self._arrived.append(message.read(Transcript))

    def _take(self) -> None:
        while self._arrived:
            transcript = bounded(self._arrived.popleft())
            if transcript is None:
                self.refused += 1
                continue
            try:
                self._said(transcript)
            except Exception:
                log.exception("an utterance could not be looked at")

    def _said(self, transcript: Transcript) -> None:
        call_id = transcript.call_id
        if call_id in self._held:
            if len(self._held[call_id]) == HELD_MAX:
                self.dropped += 1
            self._held[call_id].append(transcript)
            return
        call = self._calls.get(call_id)
        if call is None and call_id in self._closed:
            self.late += 1
        elif call is None and len(self._held) < HELD_CALLS_MAX:
            self._held[call_id] = deque([transcript], maxlen=HELD_MAX)
            self._start(self._ask(call_id))
        elif call is None:
            self.dropped += 1
        else:
            self._hear(call, transcript)

    async def _ask(self, call_id: str) -> None:
        """Finds out about a call that was not heard of, so that nothing goes out that a pause hides."""
        try:
            facts = await session_of(self._keeping.bus, call_id)
        except BusError as error:
            log.warning("what is said in a call is dropped, since nobody says whether it is paused: %s", error)
            self.dropped += len(self._held.pop(call_id, ()))
            return
        held = self._held.pop(call_id, ())
        call = self._calls.get(call_id)
        if call is None and held:
            call = self._known(call_id, facts)
        for transcript in held:
            assert call is not None
            self._hear(call, transcript)

    def _known(self, call_id: str, facts: SessionFacts | None) -> _Call:
        """The call of which somebody told, or nobody."""
        if facts is None:
            return self._begin(call_id)
        now = self._keeping.clock()
        call = self._begin(call_id, hidden_until=now - facts.created_at)
        call.recording_id = facts.recording_id
        self._tell(call_id, call.analytics.on_session(SessionEvent(kind="updated", at=now, session=facts)))
        return call

    def _begin(self, call_id: str, *, hidden_until: float = 0.0) -> _Call:
        """A call that is new here. Of its pauses before now nothing is known."""
        self._closed.pop(call_id, None)
        while len(self._calls) >= self._calls_max:
            log.warning("%d calls are looked at; the one that was silent longest is not any more", len(self._calls))
            self._calls.popitem(last=False)
            self._tell_ended()
        call = self._calls[call_id] = _Call(CallAnalytics(call_id, self._terms, new_id=self._new_id))
        if hidden_until > 0:
            call.analytics.pauses.hide_until(hidden_until)
        return call

    def _hear(self, call: _Call, transcript: Transcript) -> None:
        self._calls.move_to_end(transcript.call_id)
        self._reconfigure()
        shown = call.analytics.pauses.shown(transcript)
        if shown is None:
            self.hidden += 1
            return
        clean = self._pii.apply(shown)
        self._tell(transcript.call_id, call.analytics.on_transcript(clean, self._keeping.clock()))
        if clean.is_final and call.recording_id:
            key = call.analytics.roster.key_of(clean)
            if len(call.keys) < KEYS_MAX:
                call.keys.add(key)
            self._files.keep(clean.call_id, call.recording_id, Line(key=key, segment=segment_of(clean, call.analytics.roster.named(key))))

    def _reconfigure(self) -> None:
        config = self._keeping.config
        if config is self._config:
            return
        if config.analytics != self._config.analytics:
            self._terms = Terms.of(config.analytics)
            for call in self._calls.values():
                call.analytics.adopt(self._terms)
        self._pii.settings = config.pii
        self._config = config

    # ---- how calls end ----

    def _end(self, call: _Call, reason: str) -> None:
        """Has a call finished when nothing can be said of it any more: soon where nothing was."""
        call.reason = reason
        call.ends_at = self._keeping.clock() + (self._late_s if call.analytics.heard else 0.0)

    def _finish(self, call_id: str, call: _Call) -> None:
        self._tell(call_id, call.analytics.finish(self._keeping.clock(), call.reason))
        del self._calls[call_id]
        self._pii.forget(call_id)
        analytics = call.analytics
        names = {key: analytics.roster.named(key) for key in call.keys}
        self._closed[call_id] = _Closed(call.recording_id, analytics.summary(), analytics.last_snapshot, names)
        while len(self._closed) > CLOSED_MAX:
            self._closed.popitem(last=False)
        self._tell_ended()

    def _tell_ended(self) -> None:
        self._ended.set()
        self._ended = asyncio.Event()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._keeping.clock()
            self._reconfigure()
            for call_id, call in list(self._calls.items()):
                if call.ends_at is not None and now >= call.ends_at:
                    self._finish(call_id, call)
                elif call.analytics.snapshot_due is not None:
                    self._tell(call_id, call.analytics.on_time(now))
            self._files.flush()

    # ---- what is told ----

    def _tell(self, call_id: str, told: Iterable[Told]) -> None:
        for topic, document in told:
            message = LiveMessage(call_id=call_id, document=document)
            self._told[document.get("event_type") or document["type"]] += 1
            for listener in self._keeping.listeners:
                try:
                    listener(topic, message)
                except Exception:
                    log.exception("a listener failed on a message of %s", topic)
            if len(self._outgoing) >= OUTGOING_MAX:
                self._outgoing.popleft()
                self.dropped += 1
            self._outgoing.append((topic, message))
            self._to_send.set()

    async def _send(self) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._outgoing:
                topic, message = self._outgoing.popleft()
                await self._keeping.announce(topic, message)


__all__ = [
    "SNAPSHOT_SUBJECT", "STATS_SUBJECT", "SUMMARY_SUBJECT", "AnalyticsService", "AnalyticsStats", "CallWanted", "SummaryWanted", "UnknownCall", "bounded",
]  # fmt: skip

"""Recording sessions over the bus: a worker answers for the sessions it has, and whoever asks finds the one that has a session.

    siprec.sessions      SessionsWanted    SessionPage
    siprec.session       SessionWanted     SessionFacts
    siprec.stats         nothing           dict of counts
    siprec.pause         PauseWanted       PauseStatus, or Statuses without an id
    siprec.resume        PauseWanted       PauseStatus, or Statuses without an id
    siprec.pause_status  SessionWanted     PauseStatus, or Statuses without an id
    siprec.arm           PauseWanted       PauseStatus: the session is yet to come
    siprec.mute          MuteWanted        MuteStatus
    siprec.unmute        MuteWanted        MuteStatus
    siprec.mute_status   SessionWanted     MuteStatus, or MuteStatuses without an id
    siprec.terminate     SessionWanted     Told
    siprec.snapshot      SessionWanted     Told

A session is named by its Call-ID, or by its recording's id, which has no letter that an address could not hold. A worker that does not have it fails with
`siprec.unknown_session`. All workers are asked at once and the first that has it is heard: a pause waits for nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from engine.bus import Bus, BusError, Message
from engine.bus.asking import ask_first
from engine.errors import EngineError
from engine.siprec.control import Control, PauseSettings, pause_status
from engine.siprec.facts import MuteStatus, PauseStatus, SessionFacts
from engine.siprec.pauses import Pauses, PauseState

SESSIONS_SUBJECT: Final = "siprec.sessions"
SESSION_SUBJECT: Final = "siprec.session"
STATS_SUBJECT: Final = "siprec.stats"
PAUSE_SUBJECT: Final = "siprec.pause"
RESUME_SUBJECT: Final = "siprec.resume"
PAUSE_STATUS_SUBJECT: Final = "siprec.pause_status"
ARM_SUBJECT: Final = "siprec.arm"
MUTE_SUBJECT: Final = "siprec.mute"
UNMUTE_SUBJECT: Final = "siprec.unmute"
MUTE_STATUS_SUBJECT: Final = "siprec.mute_status"
TERMINATE_SUBJECT: Final = "siprec.terminate"
SNAPSHOT_SUBJECT: Final = "siprec.snapshot"

ASK_S: Final = 5.0
BULK_S: Final = 30.0  # all sessions are paused at once; the answer comes when that is written down
PAGE_MAX: Final = 500
PAGE_MAX_BYTES: Final = 4 << 20
AT_ONCE: Final = 50  # what is done in one turn of the loop, where calls wait meanwhile
SETTLED_AT_ONCE: Final = 4  # of what takes files and events
TEXT_MAX_CHARS: Final = 200

Answer = TypeVar("Answer")


class UnknownSession(EngineError):
    """There is no such recording session here."""

    code = "siprec.unknown_session"


class PerSessionOff(EngineError):
    """Only all sessions together are paused and resumed, by the configuration."""

    code = "siprec.per_session_off"


class PausingOff(EngineError):
    """Sessions are not paused over the bus, by the configuration."""

    code = "siprec.pausing_off"


class NotAsked(EngineError):
    """The recorded side was not asked: the session is ending, or has a request under way."""

    code = "siprec.not_asked"


KNOWS_NONE: Final = frozenset({UnknownSession.code, "bus.unknown_subject"})  # of a worker without this session, and of one without any


class RecordingSession(Protocol):
    """A session that goes on."""

    call_id: str
    recording_id: str
    control: Control

    def facts(self) -> SessionFacts: ...

    def terminate(self, reason: str) -> None:
        """Says BYE and seals the recording."""

    def ask_snapshot(self) -> bool:
        """Asks the recorded side for complete metadata (RFC 7866 8.3); False where that cannot be asked now."""


class Sessions(Protocol):
    """The sessions of one worker."""

    pauses: Pauses | None
    pause_settings: PauseSettings

    def __iter__(self) -> Iterator[RecordingSession]: ...

    def get(self, call_id: str) -> RecordingSession | None: ...

    def of_call(self, call_id: str) -> Sequence[RecordingSession]:
        """All of a Call-ID, which two dialogs may share (RFC 3261 12); the one that `get` gives is the last."""

    def counts(self) -> dict[str, int]:
        """Figures of this worker: see COUNTS."""


# What a worker counts. Those that end in _total only grow. `vendor.<type>` are sessions that go on, by who sent them.
COUNTS: Final = (
    "active", "paused", "muted", "stored", "streams", "ports_total", "ports_used", "sessions_created_total", "sessions_ended_total", "sessions_refused_total",
    "sessions_failed_total", "recordings_started_total", "recordings_completed_total", "recording_errors_total", "pauses_total", "resumes_total",
    "packets_total", "bytes_total", "lost_total", "late_total", "duplicate_total",
)  # fmt: skip


class SessionsWanted(msgspec.Struct, frozen=True):
    """A part of a worker's sessions, in the order they began: at most `limit` after the first `skip`."""

    skip: int = 0
    limit: int = PAGE_MAX


class SessionPage(msgspec.Struct, frozen=True):
    """`more` says whether others follow those."""

    sessions: list[SessionFacts]
    more: bool = False


class SessionWanted(msgspec.Struct, frozen=True, kw_only=True):
    """One session, by its Call-ID or its recording's id; all where a subject says so and the id is empty."""

    id: str = ""
    reason: str = ""


class PauseWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to pause or resume; None is as `Control.pause` and `Control.resume` have it."""

    id: str = ""
    recording: bool | None = None
    transcription: bool | None = None
    actor: str = ""
    reason: str = ""


class MuteWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which sides to mute or unmute; None is as `Control.mute` has it."""

    id: str
    inbound: bool | None = None
    outbound: bool | None = None
    actor: str = ""


class Statuses(msgspec.Struct, frozen=True):
    """Of all sessions, by Call-ID."""

    statuses: dict[str, PauseStatus]


class MuteStatuses(msgspec.Struct, frozen=True):
    """Of all sessions, by Call-ID."""

    statuses: dict[str, MuteStatus]


class Told(msgspec.Struct, frozen=True):
    """It was done, to the session of this Call-ID."""

    call_id: str


# ---- the worker's side ----


class SessionService:
    """Answers for the sessions of one worker."""

    def __init__(self, sessions: Sessions, now: Callable[[], float]) -> None:
        """`now` is in seconds since 1970."""
        self._sessions = sessions
        self._now = now

    def serve(self, bus: Bus) -> None:
        """Registers the subjects. Raises ValueError when one is served already."""
        bus.serve(SESSIONS_SUBJECT, self.sessions)
        bus.serve(SESSION_SUBJECT, self.session)
        bus.serve(STATS_SUBJECT, self.stats)
        bus.serve(PAUSE_SUBJECT, self.pause)
        bus.serve(RESUME_SUBJECT, self.resume)
        bus.serve(PAUSE_STATUS_SUBJECT, self.pause_status)
        bus.serve(ARM_SUBJECT, self.arm)
        bus.serve(MUTE_SUBJECT, self.mute)
        bus.serve(UNMUTE_SUBJECT, self.unmute)
        bus.serve(MUTE_STATUS_SUBJECT, self.mute_status)
        bus.serve(TERMINATE_SUBJECT, self.terminate)
        bus.serve(SNAPSHOT_SUBJECT, self.snapshot)

    def _of(self, id: str) -> Sequence[RecordingSession]:
        """Those that a name is of: what is asked of one of them is asked of all."""
        found = self._sessions.of_call(id) if id else ()
        if not found and id:
            found = [session for session in self._sessions if session.recording_id == id]
        if not found:
            raise UnknownSession("there is no such recording session")
        return found

    def _one(self, id: str) -> RecordingSession:
        return self._of(id)[-1]

    # ---- what there is ----

    async def sessions(self, message: Message) -> SessionPage:
        """Sessions, as many as one answer carries."""
        wanted = message.read(SessionsWanted)
        chosen = list(self._sessions)[max(0, wanted.skip) :]
        limit = max(1, min(wanted.limit, PAGE_MAX))
        told: list[SessionFacts] = []
        size = 0
        for at, session in enumerate(chosen):
            facts = session.facts()
            size += len(msgspec.msgpack.encode(facts))
            if told and (len(told) >= limit or size > PAGE_MAX_BYTES):
                return SessionPage(told, more=True)
            told.append(facts)
            if at % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        return SessionPage(told)

    async def session(self, message: Message) -> SessionFacts:
        """One session. Raises UnknownSession."""
        return self._one(message.read(SessionWanted).id).facts()

    async def stats(self, message: Message) -> dict[str, int]:
        """Figures."""
        return self._sessions.counts()

    # ---- pauses ----

    def _allowed(self, id: str) -> None:
        settings = self._sessions.pause_settings
        if not settings.enabled:
            raise PausingOff("pausing sessions is not enabled (pause_resume.enabled)")
        if id and not settings.per_session:
            raise PerSessionOff("only all sessions together are paused and resumed (pause_resume.per_session)")

    async def pause(self, message: Message) -> PauseStatus | Statuses:
        """Pauses one session, or all. Raises UnknownSession, PausingOff and PerSessionOff."""
        wanted = message.read(PauseWanted)
        self._allowed(wanted.id)
        actor, reason = wanted.actor[:TEXT_MAX_CHARS], wanted.reason[:TEXT_MAX_CHARS]
        if wanted.id:
            sessions = self._of(wanted.id)
            statuses = [session.control.pause(wanted.recording, wanted.transcription, actor, reason) for session in sessions]
            if self._sessions.pauses is not None:
                self._sessions.pauses.disarm(sessions[-1].call_id)  # it came just when it was being awaited
            return statuses[-1]
        # every one is paused in this turn; what takes time, to write it down and to tell it, comes after
        return await self._settled(lambda control: control.pause(wanted.recording, wanted.transcription, actor, reason, settle=False))

    async def resume(self, message: Message) -> PauseStatus | Statuses:
        """Resumes one session, or all; one that was to begin paused will not. Raises UnknownSession, PausingOff and PerSessionOff."""
        wanted = message.read(PauseWanted)
        self._allowed(wanted.id)
        actor, reason = wanted.actor[:TEXT_MAX_CHARS], wanted.reason[:TEXT_MAX_CHARS]
        if wanted.id:
            if self._armed(wanted.id) is not None and self._sessions.pauses is not None:
                self._sessions.pauses.disarm(wanted.id)
                return pause_status(wanted.id, PauseState(), self._now())
            return [session.control.resume(wanted.recording, wanted.transcription, actor, reason) for session in self._of(wanted.id)][-1]
        return await self._settled(lambda control: control.resume(wanted.recording, wanted.transcription, actor, reason, settle=False))

    async def _settled(self, change: Callable[[Control], PauseStatus]) -> Statuses:
        """Changes all sessions at once, and then settles one after the other."""
        controls = [session.control for session in self._sessions]
        statuses = {control.call_id: change(control) for control in controls}
        for at, control in enumerate(controls):
            control.settle()
            if at % SETTLED_AT_ONCE == SETTLED_AT_ONCE - 1:
                await asyncio.sleep(0)
        return Statuses(statuses)

    async def pause_status(self, message: Message) -> PauseStatus | Statuses:
        """What is paused in one session, or in all; of one that is yet to come, what will be. Raises UnknownSession."""
        wanted = message.read(SessionWanted)
        if wanted.id:
            if (armed := self._armed(wanted.id)) is not None:
                return pause_status(wanted.id, armed, self._now())
            return self._one(wanted.id).control.status()
        return Statuses({session.control.call_id: session.control.status() for session in self._sessions})

    def _armed(self, id: str) -> PauseState | None:
        """How a session begins that is awaited; None for one that there is, and for one that nobody awaits."""
        if self._sessions.get(id) is not None or self._sessions.pauses is None:
            return None
        return self._sessions.pauses.armed(id)

    async def arm(self, message: Message) -> PauseStatus:
        """The next session of a Call-ID begins paused. Raises PausingOff and PerSessionOff, and UnknownSession where that cannot be kept."""
        wanted = message.read(PauseWanted)
        self._allowed(wanted.id)
        pauses, settings, now = self._sessions.pauses, self._sessions.pause_settings, self._now()
        if pauses is None or not wanted.id:
            raise UnknownSession("no session can be awaited")
        recording, transcription = settings.wanted(wanted.recording, wanted.transcription)
        state = PauseState(
            recording_since=now if recording else None, transcription_since=now if transcription else None,
            actor=wanted.actor[:TEXT_MAX_CHARS], reason=wanted.reason[:TEXT_MAX_CHARS],
        )  # fmt: skip
        if state.holds:
            pauses.arm(wanted.id, state)
        return pause_status(wanted.id, state, now)

    # ---- mutes ----

    async def mute(self, message: Message) -> MuteStatus:
        """Mutes sides of a session. Raises UnknownSession, PausingOff and PerSessionOff."""
        wanted = message.read(MuteWanted)
        self._allowed(wanted.id)
        return [session.control.mute(wanted.inbound, wanted.outbound, wanted.actor[:TEXT_MAX_CHARS]) for session in self._of(wanted.id)][-1]

    async def unmute(self, message: Message) -> MuteStatus:
        """Lets sides of a session be heard. Raises UnknownSession, PausingOff and PerSessionOff."""
        wanted = message.read(MuteWanted)
        self._allowed(wanted.id)
        return [session.control.unmute(wanted.inbound, wanted.outbound, wanted.actor[:TEXT_MAX_CHARS]) for session in self._of(wanted.id)][-1]

    async def mute_status(self, message: Message) -> MuteStatus | MuteStatuses:
        """What is muted in one session, or in all. Raises UnknownSession."""
        wanted = message.read(SessionWanted)
        if wanted.id:
            return self._one(wanted.id).control.mute_status()
        return MuteStatuses({session.control.call_id: session.control.mute_status() for session in self._sessions})

    # ---- the rest ----

    async def terminate(self, message: Message) -> Told:
        """Ends a session. Raises UnknownSession."""
        wanted = message.read(SessionWanted)
        sessions = self._of(wanted.id)
        for session in sessions:
            session.terminate(wanted.reason[:TEXT_MAX_CHARS])
        return Told(sessions[-1].call_id)

    async def snapshot(self, message: Message) -> Told:
        """Asks the recorded side for complete metadata. Raises UnknownSession and NotAsked."""
        session = self._one(message.read(SessionWanted).id)
        if not session.ask_snapshot():
            raise NotAsked("the recorded side cannot be asked now")
        return Told(session.call_id)


# ---- the asker's side ----


async def ask(bus: Bus, workers: Sequence[str], subject: str, wanted: Any, shape: type[Answer], *, timeout_s: float = ASK_S) -> Answer:
    """What the worker says that has the session; all are asked at once, and the first that has it is heard. Raises UnknownSession when none has it, what it failed
    with where it failed, and the BusError of a worker that could not be asked, and might have it."""
    return await ask_first(bus, workers, subject, wanted, shape, UnknownSession("there is no such recording session"), timeout_s=timeout_s)


async def ask_all(bus: Bus, workers: Sequence[str], subject: str, wanted: Any, shape: type[Answer], *, timeout_s: float = ASK_S) -> tuple[list[Answer], list[str]]:
    """(what each worker says that takes sessions, names of those that did not answer). Raises what a worker refused with."""
    asked = (bus.request(name, subject, wanted, timeout_s, shape=shape) for name in workers)
    answers: list[Answer] = []
    silent: list[str] = []
    for name, told in zip(workers, await asyncio.gather(*asked, return_exceptions=True), strict=True):
        if not isinstance(told, BaseException):
            answers.append(told)
        elif not isinstance(told, BusError) or told.code.startswith("siprec."):
            raise told
        elif told.code not in KNOWS_NONE:
            silent.append(name)
    return answers, silent


async def ask_sessions(bus: Bus, workers: Sequence[str], *, timeout_s: float = ASK_S) -> tuple[list[SessionFacts], list[str]]:
    """(all sessions, in the order they began; names of workers that did not answer)."""
    found: dict[str, SessionFacts] = {}
    silent: list[str] = []

    async def of_one(name: str) -> None:
        at, more = 0, True
        try:
            while more:
                page = await bus.request(name, SESSIONS_SUBJECT, SessionsWanted(at), timeout_s, shape=SessionPage)
                found.update((facts.call_id, facts) for facts in page.sessions)
                at, more = at + len(page.sessions), page.more
        except BusError as error:
            if error.code not in KNOWS_NONE:
                silent.append(name)

    await asyncio.gather(*(of_one(name) for name in workers))
    return sorted(found.values(), key=lambda facts: (facts.created_at, facts.call_id)), silent


__all__ = [
    "ARM_SUBJECT", "BULK_S", "COUNTS", "MUTE_STATUS_SUBJECT", "MUTE_SUBJECT", "PAUSE_STATUS_SUBJECT", "PAUSE_SUBJECT", "RESUME_SUBJECT", "SESSIONS_SUBJECT",
    "SESSION_SUBJECT", "SNAPSHOT_SUBJECT", "STATS_SUBJECT", "TERMINATE_SUBJECT", "UNMUTE_SUBJECT", "MuteStatuses", "MuteWanted", "NotAsked", "PauseWanted",
    "PausingOff", "PerSessionOff", "RecordingSession", "SessionPage", "SessionService", "SessionWanted", "Sessions", "SessionsWanted", "Statuses", "Told",
    "UnknownSession", "ask", "ask_all", "ask_sessions",
]  # fmt: skip

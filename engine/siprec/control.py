"""What of a session is recorded right now: pauses of its recording and its transcription, mutes of its legs.

Nothing here waits or knows of sockets: the clock, timers and what is opened and shut (`Gate`) are passed in. A pause takes effect before anything is
written down or told of it; what ends one is told last. So that card numbers stay out (PCI DSS 3.2), doubt means paused: what is paused twice is paused once,
a session that takes the place of a paused one begins paused, and only a resume or the limit of its pause ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import msgspec

from engine.config.document import PauseResume
from engine.siprec.facts import MuteStatus, PauseStatus
from engine.siprec.pauses import Found, Pauses, PauseState

INBOUND_CHANNEL = 0
LEGS = 2
LIMIT_REASON = "limit"
LIMIT_ACTOR = "timer"

ChangeKind = Literal["paused", "resumed", "muted", "unmuted"]


class Gate(Protocol):
    """What a session does about it. Each is told only what changes, and raises nothing."""

    def recording(self, paused: bool, reason: str, actor: str) -> None:
        """From this very sample on silence is written, or what is heard again."""

    def transcription(self, paused: bool) -> None:
        """Nothing more is transcribed, or all again."""

    def leg(self, channel: int, muted: bool) -> None:
        """A channel is silent, or heard again."""


class Timer(Protocol):
    """What `call_later` gives, as event loops do."""

    def cancel(self) -> object: ...


class PauseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a pause is where a request does not say. A pause ends by itself after `max_pause_s`, where `auto_resume` says so and it is not 0."""

    enabled: bool = True
    pause_recording: bool = True
    pause_transcription: bool = True
    max_pause_s: float = 0.0
    auto_resume: bool = False
    per_session: bool = True

    @classmethod
    def of(cls, section: PauseResume) -> PauseSettings:
        """Of the configuration."""
        return cls(
            enabled=section.enabled, pause_recording=section.pause_recording, pause_transcription=section.pause_transcription,
            max_pause_s=section.max_pause_s, auto_resume=section.auto_resume, per_session=section.per_session,
        )  # fmt: skip

    def wanted(self, recording: bool | None, transcription: bool | None) -> tuple[bool, bool]:
        """What a request pauses that leaves out one or both."""
        return self.pause_recording if recording is None else recording, self.pause_transcription if transcription is None else transcription

    @property
    def limit_s(self) -> float | None:
        """How long a pause holds at most; None: until it is ended."""
        return self.max_pause_s if self.auto_resume and self.max_pause_s > 0 else None


def either(first: bool | None, second: bool | None) -> tuple[bool, bool]:
    """Which of two is meant: those that are named, both where none is."""
    return (True, True) if first is None and second is None else (bool(first), bool(second))


def pause_status(session_id: str, state: PauseState, now: float) -> PauseStatus:
    """A state as it is shown."""
    since = [at for at in (state.recording_since, state.transcription_since) if at is not None]
    until = [at for at in (state.recording_until, state.transcription_until) if at is not None]
    return PauseStatus(
        session_id=session_id, is_paused=bool(since), recording_paused=state.recording_since is not None,
        transcription_paused=state.transcription_since is not None, paused_at=min(since, default=None),
        pause_duration=max(0.0, now - min(since)) if since else 0.0, auto_resume_at=min(until, default=None),
    )  # fmt: skip


class Control:
    """The pauses and mutes of one session. `settings` may be replaced while it runs; a pause that holds keeps the limit it began with."""

    def __init__(
        self,
        call_id: str,
        settings: PauseSettings,
        gate: Gate,
        *,
        now: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Timer],
        on_change: Callable[[ChangeKind, str, str], None],
        journal: Pauses | None = None,
    ) -> None:
        """`now` is in seconds since 1970, `call_later` takes seconds; `on_change` gets what happened, by whom and why."""
        self.call_id = call_id
        self.settings = settings
        self._gate = gate
        self._now = now
        self._call_later = call_later
        self._on_change = on_change
        self._journal = journal
        self._state = PauseState()
        self._session_ids: tuple[str, ...] = ()
        self._group_ids: tuple[str, ...] = ()
        self._inherited: tuple[str, ...] = ()
        self._chosen = False  # somebody paused or resumed this very session
        self._untold: list[tuple[ChangeKind, str, str]] = []
        self._unsaved = False
        self._legs = LEGS
        self._timer: Timer | None = None
        self._closed = False

    # ---- pauses ----

    @property
    def recording_paused(self) -> bool:
        """Whether the recording is paused."""
        return self._state.recording_since is not None

    @property
    def transcription_paused(self) -> bool:
        """Whether transcription is paused."""
        return self._state.transcription_since is not None

    def pause(
        self, recording: bool | None = None, transcription: bool | None = None, actor: str = "", reason: str = "", *, limited: bool = True, settle: bool = True
    ) -> PauseStatus:
        """Pauses what is True; None is as the settings have it, False leaves it as it is. What is paused already stays as it is, its time too.

        A pause that is not `limited` holds until it is ended. Without `settle` it is in force, and neither written down nor told before `settle()`.
        """
        wanted = self.settings.wanted(recording, transcription)
        self._pause(wanted, actor, reason, self.settings.limit_s if limited else None)
        if settle:
            self.settle()
        return self.status()

    def _pause(self, wanted: tuple[bool, bool], actor: str, reason: str, limit_s: float | None) -> None:
        begins_recording = wanted[0] and not self.recording_paused
        begins_transcription = wanted[1] and not self.transcription_paused
        if self._closed or not (begins_recording or begins_transcription):
            return
        now = self._now()
        until = None if limit_s is None else now + limit_s
        if begins_recording:
            self._gate.recording(True, reason, actor)
            self._state = msgspec.structs.replace(self._state, recording_since=now, recording_until=until)
        if begins_transcription:
            self._gate.transcription(True)
            self._state = msgspec.structs.replace(self._state, transcription_since=now, transcription_until=until)
        self._state = msgspec.structs.replace(self._state, actor=actor, reason=reason)
        self._chosen = True
        self._set_timer()
        self._changed("paused", actor, reason)

    def resume(
        self, recording: bool | None = None, transcription: bool | None = None, actor: str = "", reason: str = "", *, settle: bool = True
    ) -> PauseStatus:
        """Ends the pauses that are named, both where none is."""
        self._resume(either(recording, transcription), actor, reason)
        if settle:
            self.settle()
        return self.status()

    def _resume(self, wanted: tuple[bool, bool], actor: str, reason: str) -> None:
        ends_recording = wanted[0] and self.recording_paused
        ends_transcription = wanted[1] and self.transcription_paused
        if self._closed or not (ends_recording or ends_transcription):
            return
        if ends_recording:
            self._state = msgspec.structs.replace(self._state, recording_since=None, recording_until=None)
            self._gate.recording(False, reason, actor)
        if ends_transcription:
            self._state = msgspec.structs.replace(self._state, transcription_since=None, transcription_until=None)
            self._gate.transcription(False)
        self._chosen = True
        self._set_timer()
        self._changed("resumed", actor, reason)

    def status(self) -> PauseStatus:
        """What is paused, and since when."""
        return pause_status(self.call_id, self._state, self._now())

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = min((at for at in (self._state.recording_until, self._state.transcription_until) if at is not None), default=None)
        if due is not None:
            self._timer = self._call_later(max(0.0, due - self._now()), lambda: self._limit(due))

    def _limit(self, due: float) -> None:
        """Ends the pauses whose limit was `due`. The clock is not asked: it may have been set back since, and the timer knows how long it was."""
        self._timer = None
        ends = [until is not None and until <= due for until in (self._state.recording_until, self._state.transcription_until)]
        self._resume((ends[0], ends[1]), LIMIT_ACTOR, LIMIT_REASON)
        self.settle()

    # ---- mutes ----

    def is_muted(self, channel: int) -> bool:
        """Whether a channel is silent by a mute."""
        since = self._state.inbound_since if channel == INBOUND_CHANNEL else self._state.outbound_since
        return since is not None

    def mute(self, inbound: bool | None = None, outbound: bool | None = None, actor: str = "") -> MuteStatus:
        """Silences the sides that are named, both where none is."""
        return self._mute(either(inbound, outbound), True, actor)

    def unmute(self, inbound: bool | None = None, outbound: bool | None = None, actor: str = "") -> MuteStatus:
        """Lets the sides be heard that are named, both where none is."""
        return self._mute(either(inbound, outbound), False, actor)

    def _mute(self, wanted: tuple[bool, bool], muted: bool, actor: str) -> MuteStatus:
        turned_inbound = wanted[0] and (self._state.inbound_since is None) == muted
        turned_outbound = wanted[1] and (self._state.outbound_since is None) == muted
        if not self._closed and (turned_inbound or turned_outbound):
            since = self._now() if muted else None
            if turned_inbound:
                self._state = msgspec.structs.replace(self._state, inbound_since=since)
            if turned_outbound:
                self._state = msgspec.structs.replace(self._state, outbound_since=since)
            for channel in range(self._legs):
                if turned_inbound if channel == INBOUND_CHANNEL else turned_outbound:
                    self._gate.leg(channel, muted)
            self._changed("muted" if muted else "unmuted", actor, "")
            self.settle()
        return self.mute_status()

    def mute_status(self) -> MuteStatus:
        """Which sides are muted, and since when."""
        since = [at for at in (self._state.inbound_since, self._state.outbound_since) if at is not None]
        return MuteStatus(
            session_id=self.call_id, is_muted=bool(since), inbound_muted=self._state.inbound_since is not None,
            outbound_muted=self._state.outbound_since is not None, muted_at=min(since, default=None),
            mute_duration=max(0.0, self._now() - min(since)) if since else 0.0,
        )  # fmt: skip

    def has_legs(self, count: int) -> None:
        """So many channels there are now, two until something else is said: new ones are silent where their side is muted."""
        for channel in range(self._legs, count):
            if self.is_muted(channel):
                self._gate.leg(channel, True)
        self._legs = max(self._legs, count)

    # ---- from one session to the next ----

    def known_as(self, session_ids: Iterable[str], group_ids: Iterable[str]) -> None:
        """Under what else its state is kept. Told first when the session begins, before anything is heard, and whenever metadata says more: what the session before
        it left is taken over, unless this one was paused or resumed meanwhile."""
        names = tuple(session_ids), tuple(group_ids)
        is_new = names != (self._session_ids, self._group_ids)
        self._session_ids, self._group_ids = names
        if self._journal is None or self._closed:
            return
        if not self._chosen:
            found = self._journal.find(self.call_id, *names)
            if found is not None:
                self.restore(found)
                return
        if is_new and self._state.holds:
            self._unsaved = True
            self.settle()

    def restore(self, found: Found) -> None:
        """Begins as what was found has it. A pause whose limit has passed meanwhile ends at once, as a change of its own; the limit of one that was asked for before
        there was a session counts from now."""
        if self._closed:
            return
        self._inherited = found.superseded
        had, mutes, state = self._state, self._legs_muted(), found.state
        self._state = had.joined(state)
        begins_recording = self.recording_paused and had.recording_since is None
        begins_transcription = self.transcription_paused and had.transcription_since is None
        if begins_recording:
            self._gate.recording(True, state.reason, state.actor)
        if begins_transcription:
            self._gate.transcription(True)
        for channel in sorted(self._legs_muted() - mutes):
            self._gate.leg(channel, True)
        self._set_timer()
        self._unsaved = True
        if begins_recording or begins_transcription:
            self._changed("paused", state.actor, state.reason)
        if (armed := found.armed) is not None:
            wanted = armed.recording_since is not None, armed.transcription_since is not None
            self._pause(wanted, armed.actor, armed.reason, self.settings.limit_s)
        self.settle()

    def _legs_muted(self) -> set[int]:
        return {channel for channel in range(self._legs) if self.is_muted(channel)}

    def _changed(self, kind: ChangeKind, actor: str, reason: str) -> None:
        self._unsaved = True
        self._untold.append((kind, actor, reason))

    def settle(self) -> None:
        """Writes the state where the next session finds it, and tells what has changed. Nothing happens where nothing has."""
        if self._unsaved and self._journal is not None:
            if self._state.holds:
                self._journal.keep(self.call_id, self._session_ids, self._group_ids, self._state, superseded=self._inherited)
            else:
                self._journal.drop(self.call_id, superseded=self._inherited)
            self._inherited = ()
        self._unsaved = False
        while self._untold:
            self._on_change(*self._untold.pop(0))

    def close(self) -> None:
        """The session is over. What held is kept for a while, for the session that may take its place."""
        if self._closed:
            return
        self.settle()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._journal is not None and self._state.holds:
            self._journal.keep(self.call_id, self._session_ids, self._group_ids, self._state, is_over=True)


__all__ = ["ChangeKind", "Control", "Gate", "PauseSettings", "Timer", "either", "pause_status"]

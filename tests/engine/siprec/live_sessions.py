"""Recording sessions that keep what is done to them, for tests of whoever controls them: real pauses and mutes, without a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.siprec.control import ChangeKind, Control, PauseSettings
from engine.siprec.facts import ChannelFacts, Party, SessionFacts, Vendor
from engine.siprec.pauses import Pauses

NOW = 1_762_863_355.0
CALL_ID = "B2B.160.1762863004.937031301"


class Time:
    """A clock that is set, and timers that run when it passes them."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.timers: list[Timer] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, work: Callable[[], None]) -> Timer:
        timer = Timer(self, self.now + delay, work)
        self.timers.append(timer)
        return timer

    def pass_s(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer.due <= until]:
            first = min(due, key=lambda timer: timer.due)
            self.timers.remove(first)
            self.now = max(self.now, first.due)
            first.work()
        self.now = until


class Timer:
    """One of them."""

    def __init__(self, time: Time, due: float, work: Callable[[], None]) -> None:
        self.time = time
        self.due = due
        self.work = work

    def cancel(self) -> None:
        if self in self.time.timers:
            self.time.timers.remove(self)


class Gates:
    """A gate that notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def recording(self, paused: bool, reason: str, actor: str) -> None:
        self.told.append(("recording", paused, reason, actor))

    def transcription(self, paused: bool) -> None:
        self.told.append(("transcription", paused))

    def leg(self, channel: int, muted: bool) -> None:
        self.told.append(("leg", channel, muted))


class LiveSession:
    """A session of two legs."""

    def __init__(
        self, call_id: str, time: Time, *, settings: PauseSettings | None = None, pauses: Pauses | None = None, created_at: float = NOW - 60.0
    ) -> None:
        self.call_id = call_id
        self.recording_id = f"rec-{abs(hash(call_id)) % 10**8:08d}"
        self.created_at = created_at
        self.gate = Gates()
        self.changes: list[tuple[ChangeKind, str, str]] = []
        self.control = Control(
            call_id, settings or PauseSettings(), self.gate, now=time, call_later=time.call_later, on_change=lambda *told: self.changes.append(told),
            journal=pauses,
        )  # fmt: skip
        self.ended: list[str] = []
        self.asked = 0
        self.may_be_asked = True

    def facts(self) -> SessionFacts:
        control = self.control
        return SessionFacts(
            call_id=self.call_id, recording_id=self.recording_id, worker="worker.0", state="paused" if control.recording_paused else "connected",
            created_at=self.created_at, last_activity=self.created_at + 30.0, local_tag="us", remote_tag="them", local_uri="sip:srs@10.0.0.1",
            remote_uri="sip:src@10.0.0.2", remote_addr="10.0.0.2:5060", transport="UDP", session_ids=("s-1",), group_ids=("g-1",),
            participants=(
                Party(place=0, participant_id="p-1", aor="sip:agent@pbx", name="Agent", role="agent", joined="2025-11-11T12:10:04.493Z"),
                Party(place=1, participant_id="p-2", aor="sip:customer@example.com", role="customer"),
                Party(place=2, participant_id="p-3", aor="sip:gone@example.com", left="2025-11-11T12:11:00.000Z"),
            ),
            channels=(
                ChannelFacts(index=0, label="1", codec="PCMU", parties=(0,), muted=control.is_muted(0), packets=100, mos=4.2),
                ChannelFacts(index=1, label="2", codec="PCMA", parties=(1,), muted=control.is_muted(1), packets=90, lost=10, mos=3.1),
            ),
            vendor=Vendor(type="oracle", user_agent="OCSBC", identifiers={"oracle_ucid": "00FA08", "ucid": "00FA08"}),
            recording_path=f"/var/lib/siprec/{self.recording_id}.wav", leg_paths=(f"/var/lib/siprec/{self.recording_id}-leg0.wav",),
            recording_paused=control.recording_paused, transcription_paused=control.transcription_paused,
        )  # fmt: skip

    def terminate(self, reason: str) -> None:
        self.ended.append(reason)

    def ask_snapshot(self) -> bool:
        self.asked += 1
        return self.may_be_asked


class LiveSessions:
    """The sessions of one worker."""

    def __init__(self, time: Time, folder: Path, settings: PauseSettings | None = None) -> None:
        self.time = time
        self.pause_settings = settings or PauseSettings()
        self.pauses: Pauses | None = Pauses(folder, time)
        self.sessions: dict[str, LiveSession] = {}
        self.figures: dict[str, int] = {"sessions_refused_total": 1}

    def begin(self, call_id: str, *, session_ids: tuple[str, ...] = (), group_ids: tuple[str, ...] = (), created_at: float = NOW - 60.0) -> LiveSession:
        session = self.sessions[call_id] = LiveSession(call_id, self.time, settings=self.pause_settings, pauses=self.pauses, created_at=created_at)
        session.control.known_as(session_ids, group_ids)
        return session

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self.sessions.values()))

    def get(self, call_id: str) -> LiveSession | None:
        return self.sessions.get(call_id)

    def of_call(self, call_id: str) -> Sequence[LiveSession]:
        return [self.sessions[call_id]] if call_id in self.sessions else []

    def counts(self) -> dict[str, int]:
        paused = sum(one.control.recording_paused for one in self)
        return {"active": len(self.sessions), "paused": paused, "ports_total": 100, "ports_used": 4, "vendor.oracle": len(self.sessions), **self.figures}

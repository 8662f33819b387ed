"""The recording server of one worker: which calls are recording sessions, how many there may be, and what is told of them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from engine.config.document import Config
from engine.errors import EngineError
from engine.media.manifest import Manifest
from engine.media_worker import MediaWorker, name_of
from engine.sdp.codecs import G722, OPUS, PCMA, PCMU, CodecCapability
from engine.sdp.terms import Terms
from engine.sip.flow import Flow
from engine.sip.incoming import IncomingCall
from engine.sip.message import Message
from engine.sip.session_timer import LEAST_S
from engine.siprec.bodies import RecordingParts, parts_of
from engine.siprec.classify import OPTION, Peers, is_recording
from engine.siprec.compose import METADATA
from engine.siprec.control import ChangeKind, PauseSettings
from engine.siprec.events import (
    QUALITY_TOPIC,
    SESSION_TOPIC,
    SIGNALLING_TOPIC,
    CallQuality,
    QualityReport,
    SessionEvent,
    SessionEventKind,
    SignallingEvent,
)
from engine.siprec.facts import SessionFacts
from engine.siprec.pauses import Pauses
from engine.siprec.places import NoDisk, Places
from engine.siprec.service import COUNTS
from engine.siprec.session import RecordingSession
from engine.siprec.signalling import finish_left

CODECS: Final[dict[str, tuple[CodecCapability, ...]]] = {
    "pcmu": (PCMU,),
    "pcma": (PCMA,),
    "g722": (G722,),
    "opus": (OPUS,),
    "l16": (CodecCapability(name="L16", clock_rate_hz=8000), CodecCapability(name="L16", clock_rate_hz=16_000)),
}
SUITES: Final = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM")
MEDIA_TYPES: Final = (METADATA, "application/rs-metadata")
COUNTED_AS: Final = {
    "received": "packets_total", "received_bytes": "bytes_total", "lost": "lost_total", "late": "late_total", "duplicate": "duplicate_total",
}  # fmt: skip
QUALITY_S: Final = 5.0
STEPS: Final = 10  # in which a round of QUALITY_S goes through all sessions
WAITING_MAX: Final = 65_536  # events that the bus has not taken yet
FREE_FRESH_S: Final = 1.0
log = logging.getLogger("trunkline.siprec")


class Host(Protocol):
    """What the server needs of the worker that it is part of."""

    @property
    def advertised(self) -> str: ...
    def write_down(self, call: IncomingCall) -> None: ...
    def strike_out(self, call: IncomingCall) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...
    def host_toward(self, flow: Flow) -> str: ...
    def masks(self, call_id: str, masked: bool) -> None: ...


def check(config: Config) -> None:
    """Raises ValueError for settings that cannot be used."""
    Peers(config.siprec.peers)
    if unknown := [name for name in config.siprec.codecs if name.lower() not in CODECS]:
        raise ValueError(f"siprec.codecs: {unknown[0]!r} is none of {', '.join(CODECS)}")
    if not config.siprec.codecs:
        raise ValueError("siprec.codecs: there is none")


class RecordingServer:
    """The recording sessions of one worker: a collection of those that go on, in the order they began."""

    def __init__(self, config: Config, host: Host, media: MediaWorker, folder: Path, index: int, count: int, *, now: Callable[[], float] = time.time) -> None:
        """`folder` is what the workers of a machine share. Raises ValueError, OSError."""
        check(config)
        self.loop = asyncio.get_running_loop()
        self.media = media
        self.name = f"worker.{index}"
        self.now = now
        self.config = config
        self.pause_settings = PauseSettings.of(config.pause_resume)
        self.places = Places(
            folder / "places", index, count, sessions_max=config.resources.max_concurrent_calls, streams_max=config.resources.max_rtp_streams
        )
        self.pauses: Pauses | None = Pauses(folder.parent / "siprec" / "pauses", now, live_s=config.recording.max_duration_s)
        self.publish: Callable[[str, Any], Awaitable[None]] | None = None
        self._host = host
        self._peers = Peers(config.siprec.peers)
        self._sessions: dict[RecordingSession, None] = {}
        self._by_call: dict[str, list[RecordingSession]] = {}  # by Call-ID, which two dialogs may share
        self._ending: set[RecordingSession] = set()
        self._counts = dict.fromkeys(COUNTS, 0)
        self._events: deque[tuple[str, Any]] = deque(maxlen=WAITING_MAX)
        self._publishing: asyncio.Task[None] | None = None
        self._step: asyncio.TimerHandle | None = None
        self._turn = 0
        self._free: tuple[float, int] = (-1.0, 0)

    # ---- life ----

    def open(self) -> None:
        """Begins to watch sessions; the documents that a dead process left get their names. The media are open already."""
        finish_left(self.media.recorder.folder)
        self._step = self.loop.call_later(QUALITY_S / STEPS, self._watch)

    def configure(self, config: Config) -> None:
        """Takes over what can change. Raises ValueError, and changes nothing then."""
        check(config)
        self._peers = Peers(config.siprec.peers)
        self.config = config
        self.pause_settings = PauseSettings.of(config.pause_resume)
        self.places.sessions_max, self.places.streams_max = config.resources.max_concurrent_calls, config.resources.max_rtp_streams
        for session in self:
            session.control.settings = self.pause_settings

    async def close(self) -> None:
        """Waits for what is being sealed. The calls are over."""
        if self._step is not None:
            self._step.cancel()
        await asyncio.gather(*(session.finished() for session in list(self._ending)), return_exceptions=True)
        if self._publishing is not None:
            await asyncio.wait([self._publishing], timeout=1.0)
        self.places.close()

    # ---- calls ----

    def take(self, call: IncomingCall) -> bool:
        """Takes a call that is a recording session; whether it is one."""
        request, flow = call.request, call.flow
        assert request is not None and flow is not None
        parts = self.parts_of_recording(request, flow)
        if parts is None:
            return False
        session = RecordingSession(self, call, parts)
        if call.replaces is None and request.values("Replaces"):
            session.warn("the session that it takes the place of is not here")
        call.user = session
        call.is_heard = lambda: self._is_heard(session)
        self._host.spawn(session.begin())
        return True

    def _is_heard(self, session: RecordingSession) -> bool:
        """Whether a packet of a session came within the time after which a silent client counts as gone. Some clients answer no refresh, nor any other request of ours."""
        at = self.wall(session.legs.last_heard_ns())
        return at > 0 and self.now() - at < max(self.config.sip.session_expires_s, LEAST_S)

    def parts_of_recording(self, request: Message, flow: Flow) -> RecordingParts | None:
        """The parts of an INVITE that begins a recording session; None where it begins another call."""
        parts = parts_of(request.value("Content-Type").encode("utf-8", "surrogateescape"), request.body)
        known = flow.peer[0] in self._peers
        return parts if is_recording(request, parts, strict=self.config.siprec.strict and not known, known=known) else None

    def must_have_room(self) -> None:
        """Raises NoDisk."""
        if self.media.recorder.is_behind:
            raise NoDisk("the disk takes less than is recorded already")
        at, free = self._free
        if self.loop.time() - at > FREE_FRESH_S or at < 0:
            found = os.statvfs(self.media.folder)
            free = found.f_bavail * found.f_frsize
            self._free = self.loop.time(), free
        if free < self.config.recording.free_bytes_min:
            raise NoDisk(f"{free >> 20} MiB are free, less than recording.free_bytes_min")

    @property
    def has_room(self) -> bool:
        """Whether another recording would be begun."""
        try:
            self.must_have_room()
        except (NoDisk, OSError):
            return False
        return True

    def terms(self, host: str) -> Terms:
        """What a recording session agrees to."""
        siprec, network = self.config.siprec, self.config.network
        codecs = tuple(one for name in siprec.codecs for one in CODECS[name.lower()])
        return Terms(
            host=host, codecs=codecs, direction="recvonly", streams_max=siprec.streams_max, streams=1, comfort_noise=True, suites=SUITES,
            srtp="required" if network.require_srtp else "optional", best_effort=True, rtcp_mux=True,
        )  # fmt: skip

    @property
    def advertised(self) -> str:
        """The address that others are told; "" for the one that they reach us by."""
        return self._host.advertised

    def host_toward(self, flow: Flow) -> str:
        """Our address, as the other end of a flow reaches it."""
        return self._host.host_toward(flow)

    @staticmethod
    def new_recording_id(call_id: str) -> str:
        """A name for a recording."""
        return name_of(call_id)

    def wall(self, at_ns: int) -> float:
        """A time of CLOCK_MONOTONIC in seconds since 1970; 0 for none."""
        return self.now() - (time.monotonic_ns() - at_ns) / 1e9 if at_ns else 0.0

    # ---- what sessions tell ----

    def began(self, session: RecordingSession) -> None:
        """It was answered."""
        self._sessions[session] = None
        self._by_call.setdefault(session.call_id, []).append(session)
        self._counts["sessions_created_total"] += 1
        self._counts["recordings_started_total"] += 1

    def connected(self, session: RecordingSession) -> None:
        """Its ACK came."""
        self._host.write_down(session.call)

    def over(self, session: RecordingSession) -> None:
        """Its call is over."""
        if session in self._sessions:
            del self._sessions[session]
            self._by_call[session.call_id].remove(session)
            if not self._by_call[session.call_id]:
                del self._by_call[session.call_id]
            self._ending.add(session)
            self._counts["sessions_ended_total"] += 1
        self._host.strike_out(session.call)

    def refused(self, status: int, why: str) -> None:
        """A session was not taken."""
        self._counts["sessions_refused_total"] += 1
        log.warning("a recording session was refused with %d: %s", status, why)

    def failed(self, recording_id: str, error: Exception) -> None:
        """Something of a recording could not be kept."""
        self._counts["sessions_failed_total"] += 1
        self._counts["recording_errors_total"] += 1
        self.media.failed += 1
        log.error("the recording %s: %s", recording_id, error)

    def sealed(self, manifest: Manifest | None) -> None:
        """The files of a recording have their names."""
        if manifest is not None:
            self._counts["recordings_completed_total"] += 1
            self.media.recorded += 1

    def recorded(self, session: RecordingSession) -> None:
        """A session that was over is done with."""
        self._ending.discard(session)
        session.legs.quality()
        for name, value in session.legs.totals.items():
            self._counts[COUNTED_AS[name]] += value

    def counted(self, kind: ChangeKind) -> None:
        """A pause, a resume, or a mute."""
        if kind in ("paused", "resumed"):
            self._counts["pauses_total" if kind == "paused" else "resumes_total"] += 1

    def masks(self, call_id: str, masked: bool) -> None:
        """Digits in messages of a call are not kept from now on, or are again."""
        self._host.masks(call_id, masked)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs what is waited for at the end of the worker."""
        return self._host.spawn(work)

    def tell(self, kind: SessionEventKind, facts: SessionFacts, *, manifest: str = "", actor: str = "", reason: str = "") -> None:
        """Tells the bus what happened, in order."""
        self._publish(SESSION_TOPIC, SessionEvent(kind=kind, at=self.now(), session=facts, manifest=manifest, actor=actor, reason=reason))

    def audit(self, event: SignallingEvent) -> None:
        """Tells whoever keeps the audit log."""
        self._publish(SIGNALLING_TOPIC, event)

    def _publish(self, topic: str, payload: Any) -> None:
        if self.publish is None:
            return
        self._events.append((topic, payload))
        if self._publishing is None or self._publishing.done():
            self._publishing = self.loop.create_task(self._publish_all(self.publish))

    async def _publish_all(self, publish: Callable[[str, Any], Awaitable[None]]) -> None:
        while self._events:
            topic, payload = self._events.popleft()
            try:
                await publish(topic, payload)
            except EngineError as error:  # the keeper finds what was recorded on the disk
                log.warning("%s was not told: %s", topic, error)

    # ---- the watch ----

    def _watch(self) -> None:
        """A part of all sessions: how they are heard, and whether anything is heard of them at all."""
        self._step = self.loop.call_later(QUALITY_S / STEPS, self._watch)
        self._turn = (self._turn + 1) % STEPS
        chosen = list(self._sessions)[self._turn :: STEPS]
        found = tuple(CallQuality(call_id=session.call_id, legs=legs) for session in chosen if (legs := session.legs.quality()))
        if found:
            self._publish(QUALITY_TOPIC, QualityReport(at=self.now(), calls=found))
        for session in chosen:
            timeout_s, heard_ns = session.idle_since()
            if timeout_s is not None and self.now() - max(session.last_sip_at, self.wall(heard_ns)) > timeout_s:
                session.warn(f"nothing was heard for {timeout_s:g} seconds")
                session.terminate("nothing is heard")

    # ---- for the bus ----

    def __iter__(self) -> Iterator[RecordingSession]:
        return iter(list(self._sessions))

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, call_id: str) -> RecordingSession | None:
        """The session of a Call-ID: the latest, where there are several."""
        return self._by_call[call_id][-1] if call_id in self._by_call else None

    def of_call(self, call_id: str) -> Sequence[RecordingSession]:
        """All sessions of a Call-ID, the latest last."""
        return tuple(self._by_call.get(call_id, ()))

    def counts(self) -> dict[str, int]:
        """Figures of this worker."""
        told = dict(self._counts)
        used, total = self.media.plane.ports
        sessions = list(self._sessions)
        for one in (*sessions, *self._ending):
            for name, value in one.legs.totals.items():
                told[COUNTED_AS[name]] += value
        told |= {
            "active": len(sessions), "paused": sum(one.control.recording_paused or one.control.transcription_paused for one in sessions),
            "muted": sum(one.control.mute_status().is_muted for one in sessions), "stored": len(self._ending),
            "streams": self.media.plane.numbers()["streams"], "ports_used": used, "ports_total": total,
        }  # fmt: skip
        for one in sessions:
            name = f"vendor.{one.vendor_type}"
            told[name] = told.get(name, 0) + 1
        return told


__all__ = ["MEDIA_TYPES", "OPTION", "Host", "RecordingServer", "check"]

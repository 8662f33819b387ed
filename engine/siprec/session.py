"""One recording session (RFC 7866): its call, its metadata, its legs, and what is told of it.

Files are there before the answer leaves, so that the first packet is recorded. Whatever the metadata lacks or gets wrong, the session is recorded, and the fault is a warning:
only what cannot be described, has no place or is not allowed is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from engine.errors import EngineError
from engine.media.errors import MediaError
from engine.media.manifest import Manifest
from engine.media.plane import MediaFull
from engine.media.recorder import Leg
from engine.media.sealing import Beside
from engine.media.staging import Staged
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.remote import RemoteDescription
from engine.sip import bodies as sip_bodies
from engine.sip.call import Call, CallError, CallUser, Ending, State, status_of
from engine.sip.compose import Header
from engine.sip.credentials import redacted
from engine.sip.incoming import IncomingCall
from engine.sip.message import Message
from engine.siprec import compose, vendor, view
from engine.siprec.bodies import RecordingParts, parts_of
from engine.siprec.control import ChangeKind, Control
from engine.siprec.document import SessionDocument
from engine.siprec.events import SessionEventKind, SignallingEvent, SignallingKind
from engine.siprec.facts import Party, SessionFacts, Vendor
from engine.siprec.facts import State as SessionState
from engine.siprec.legs import Legs, is_held
from engine.siprec.metadata import Metadata, MetadataError, parse
from engine.siprec.negotiation import RecordingNegotiation
from engine.siprec.places import NoPlace
from engine.siprec.signalling import Bodies, Journal

if TYPE_CHECKING:
    from engine.siprec.server import RecordingServer

TAIL_S: Final = 0.2  # what was on its way when the BYE left
WARNINGS_MAX: Final = 200
HEADERS_MAX: Final = 100
VALUE_MAX_CHARS: Final = 1000
RETRY_AFTER: Final[Header] = ("Retry-After", "30")
_CNAME: Final = re.compile(rb"^a=ssrc:\d+ +cname:([^\r\n]{1,255})", re.MULTILINE)
log = logging.getLogger("trunkline.siprec")


def offered_lines(description: bytes, media: Sequence[Labelled] | None = None) -> tuple[view.OfferedLine, ...]:
    """The m= lines of a description: place, label and the CNAME of its source. `media` are the lines where they have been read already. Raises NegotiationError for what
    is no description."""
    names: list[str] = []
    if b" cname:" in description:
        sections = re.split(rb"^(?=m=)", description, flags=re.MULTILINE)[1:]
        names = [found[1].decode("utf-8", "replace").strip() if (found := _CNAME.search(section)) else "" for section in sections]
    lines = RemoteDescription(description).media if media is None else media
    return tuple(view.OfferedLine(index=index, label=one.label, cname=names[index] if index < len(names) else "") for index, one in enumerate(lines))


def headers_of(message: Message) -> tuple[tuple[str, str], ...]:
    """All headers of a message, credentials left out."""
    told = []
    for name, value, *_ in message.tokens.headers[:HEADERS_MAX]:
        word = name.decode("latin-1")
        told.append((word[:VALUE_MAX_CHARS], redacted(word, value.decode("utf-8", "replace"))[:VALUE_MAX_CHARS]))
    return tuple(told)


class Labelled(Protocol):
    """An m= line."""

    @property
    def label(self) -> str: ...


class RecordingSession(CallUser):
    """A session from its INVITE to its manifest. It is its call's user, and the gate of its own pauses."""

    __slots__ = (
        "_accepts_requests", "_began_at", "_bodies", "_channels", "_correlation", "_ended_at", "_facts", "_headers", "_is_begun", "_is_paused_there",
        "_journal", "_last_sip_at", "_limit", "_lines", "_loop", "_over", "_participants", "_paths", "_places", "_policy", "_read", "_remote",
        "_rotating", "_sequence", "_server", "_sessions", "_snapshot", "_transport", "_vendor", "_view", "call", "call_id", "control", "legs",
        "negotiation", "recording_id", "warnings",
    )  # fmt: skip

    def __init__(self, server: RecordingServer, call: IncomingCall, parts: RecordingParts) -> None:
        request = call.request
        assert request is not None and call.flow is not None
        self.call = call
        self.call_id = call.call_id
        self.recording_id = server.new_recording_id(self.call_id)
        self.warnings: list[str] = []
        self._server = server
        self._loop = server.loop
        self._view = view.View()
        self._bodies = Bodies()
        self._read: tuple[Message, RecordingParts] | None = (request, parts)  # the message that is looked at
        self._lines: tuple[view.OfferedLine, ...] = ()
        self._channels: tuple[view.ChannelParties, ...] = ()
        self._participants: tuple[Party, ...] = ()
        self._vendor = Vendor()
        self._correlation: tuple[str, ...] = ()
        self._headers = vendor.headers_of(request)
        self._policy = vendor.CallPolicy()
        self._accepts_requests = compose.SNAPSHOT in request.value("Accept").lower()
        self._snapshot: str | None = None
        self._sequence = 0
        self._began_at = self._last_sip_at = server.now()
        self._ended_at: float | None = None
        self._remote = call.flow.peer
        self._transport = call.flow.transport
        host = server.host_toward(call.flow)
        self.legs = Legs(server.media.plane, server.media.recorder, host=server.media.bound_to(host), advertised=server.advertised, on_fault=self.warn)
        self.negotiation = RecordingNegotiation(server.terms(host), self.legs.media.transport, random=secrets.token_bytes)
        self.control = Control(
            self.call_id, server.pause_settings, self, now=server.now, call_later=self._loop.call_later, on_change=self._changed, journal=server.pauses
        )
        self._journal: Journal | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._places = 0  # streams that are counted against the machine's limit
        self._is_begun = False  # "started" was told
        self._facts: SessionFacts | None = None  # as they were told last
        self._paths: tuple[Staged, str, tuple[str, ...]] | None = None
        self._is_paused_there = False
        self._sessions: tuple[str, ...] = ()  # communication sessions that are recorded now
        self._rotating: asyncio.Task[None] | None = None
        self._over: asyncio.Task[None] | None = None
        call.session = self.negotiation
        call.contact_parameters = ";+sip.srs"

    # ---- beginning ----

    async def begin(self) -> None:
        """Answers the INVITE, or refuses it."""
        try:
            await self._begin()
        except (NoPlace, MediaError, MediaFull, OSError) as error:
            self._refuse(getattr(error, "status", 503), error, [RETRY_AFTER])
        except EngineError as error:
            self._refuse(status_of(error), error)
        except Exception as error:
            log.exception("the recording of %r could not be begun", self.call_id[:100])
            self._refuse(500, error)
        if not self._is_begun:
            await self._discard()

    async def _begin(self) -> None:
        assert self._read is not None
        request, parts = self._read
        self._server.must_have_room()
        offer = parts.sdp
        self._bodies_of("INVITE", request, parts)
        lines: tuple[NegotiatedMedia, ...] = ()
        if offer:
            lines = self.negotiation.receive_offer(offer)
            self._lines = offered_lines(offer, lines)
        self._take_places(sum(line.accepted for line in lines) or 1)
        document = self._document_of(request, parts)
        self._policy = vendor.policy_of(request, document)
        self._vendor = vendor.vendor_of(request, document, self._server.config.siprec.identifiers)
        self._learn(request, parts, document)
        order = view.order_of(self._view, self._channels)
        options = self._server.config.recording
        await self.legs.begin(
            self.recording_id, self.call_id, lines, order, self._leg_of, untouched=options.g711 == "untouched", merged=options.combine_legs
        )
        self._journal = self._journal_of(self.recording_id)
        if self.call.state is State.SETUP:  # not cancelled meanwhile
            self._restore_pauses()
            if lines:  # who sends at once is heard at once, and not when this turn is over
                self.legs.agreed(lines, self._leg_of)
                self._server.media.plane.publish()
            self._journal.changed()
            self.call.answer()
            self._answered()

    def _answered(self) -> None:
        if self.call.state is State.CONNECTED:
            self._server.began(self)
            self._tell("started")
            self._audit("sip.invite.success", 200)
            self._limit = self._loop.call_later(self._policy.max_duration_s or self._server.config.recording.max_duration_s, self._too_long)

    def _take_places(self, streams: int) -> None:
        self._server.places.take(streams)
        self._places = streams

    def _restore_pauses(self) -> None:
        """What holds already: an earlier session of the same call, what was asked for before it began, or all sessions begin so."""
        self.control.known_as(self._view.session_ids, self._view.group_ids)
        self.control.has_legs(self.legs.count)
        if self._server.config.siprec.begin_paused and not self.control.recording_paused:
            self.control.pause(True, True, actor="configuration", reason="sessions begin paused", limited=False)

    def _refuse(self, status: int, error: Exception, headers: list[Header] | None = None) -> None:
        self._server.refused(status, str(error))
        self._audit("sip.invite.failure", status, str(error))
        if self.call.state is State.SETUP:
            about = sip_bodies.warning_of(error) if isinstance(error, EngineError) else []
            with contextlib.suppress(CallError):
                self.call.refuse(status, headers=[*about, *(headers or [])])

    async def _discard(self) -> None:
        """It never stood: nothing of it stays."""
        if self._over is not None:
            return
        self.control.close()
        self.legs.stop()
        if self.legs.recording is not None:
            await self.legs.recording.recording.discard()
        if self._journal is not None:
            await self._journal.forget()
        self._give_places_back()

    def _give_places_back(self) -> None:
        if self._places:
            self._server.places.give_back(self._places)
            self._places = 0

    # ---- metadata ----

    def _document_of(self, request: Message, parts: RecordingParts) -> Metadata | None:
        """What a message says of who takes part: its metadata, or its headers where it has none."""
        if not parts.metadata:
            return vendor.document_of(request)
        most = self._server.config.siprec.metadata_max_bytes
        if len(parts.metadata) > most:
            self.warn(f"metadata of {len(parts.metadata)} bytes is not read")
            return None
        try:
            return parse(parts.metadata, max_bytes=most)
        except MetadataError as error:
            self.warn(str(error))
            return None

    def _learn(self, request: Message, parts: RecordingParts, document: Metadata | None) -> None:
        """Takes over what a message says of the participants and their streams."""
        for warning in parts.warnings:
            self.warn(warning)
        if document is not None:
            before = self.facts() if self._sessions else None
            changes = self._view.apply(document, self._server.now())
            for warning in (*document.warnings, *changes.warnings):
                self.warn(warning)
            self._follow(document, before)
        self._channels = view.channels(self._view, self._lines)
        self._participants = self._view.participants
        if document is not None:
            for warning in view.check(self._view, self._lines):
                self.warn(warning)
        if document is not None or not self._correlation:
            self._correlate(request, document)
        if document is None and not self._participants:
            self.warn("nobody says who takes part: there is no metadata")

    def _follow(self, document: Metadata, before: SessionFacts | None) -> None:
        """A recording session may outlive the calls it records: each set of new communication sessions has files of its own (RFC 7866 6.2). `before` are the facts as
        they were before the document was read."""
        were, now = self._sessions, self._view.sessions_now
        if now:
            self._sessions = now
        if before is None or not now or set(were) & set(now) or self.legs.recording is None or self._rotating is not None:
            return
        self._view = view.View()
        self._view.apply(document, self._server.now())
        self._rotating = self._server.spawn(self._rotate(before))

    async def _rotate(self, ended: SessionFacts) -> None:
        """Seals what was recorded so far, while the next files are written already."""
        journal, recording_id = self._journal, self.recording_id
        fresh_id = self._server.new_recording_id(self.call_id)
        try:
            before = await self.legs.rotate(fresh_id, self.call_id)
        except (EngineError, OSError) as error:
            self.warn(f"another communication session is recorded into the same files: {error}")
            return
        finally:
            self._rotating = None
        if before is None or journal is None:
            return
        at = self._server.now()
        self.recording_id = fresh_id
        self._journal = self._journal_of(fresh_id)
        ended = msgspec.structs.replace(ended, state="ended", ended_at=at)
        journal.freeze(msgspec.structs.replace(self._document(), session=ended))
        self._tell("updated")
        notes, self.warnings = self.warnings, []
        await self._seal(recording_id, before.finish(notes, await journal.finish()), ended)

    def _journal_of(self, recording_id: str) -> Journal:
        recorder = self._server.media.recorder
        return Journal(recorder.folder, recording_id, self._document, recorder.in_thread)

    def _correlate(self, request: Message, document: Metadata | None) -> None:
        keys = vendor.correlation_of(request, document, self._vendor)
        self._correlation = tuple(dict.fromkeys((*self._correlation, *keys)))

    def _leg_of(self, line: NegotiatedMedia) -> Leg:
        """Who is on an m= line, as it stands in the manifest."""
        parties = self._parties_of(line.index)
        there = {one.place: one for one in self._participants}
        names = [there[place].name or there[place].aor for place in parties if place in there]
        return Leg(line.label, ", ".join(name for name in names if name))

    def _parties_of(self, index: int) -> tuple[int, ...]:
        return next((one.parties or one.former for one in self._channels if one.index == index), ())

    def warn(self, warning: str) -> None:
        """Notes what is wrong, once."""
        if warning not in self.warnings and len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(warning)

    def _bodies_of(self, method: str, message: Message, parts: RecordingParts) -> None:
        at = self._server.now()
        for kind, content in ((sip_bodies.SDP, parts.sdp), (parts.metadata_type or compose.METADATA, parts.metadata), *parts.others):
            if content:
                self._bodies.add(at, "in", method, kind, content)

    # ---- the call's user ----

    def parts(self, message: Message) -> RecordingParts:
        """The parts of a message's body."""
        if self._read is None or self._read[0] is not message:
            kind = message.value("Content-Type").encode("utf-8", "surrogateescape")
            self._read = (message, parts_of(kind, message.body))
        return self._read[1]

    def description_of(self, message: Message) -> bytes:
        """Its description, wherever in the body it stands."""
        return self.parts(message).sdp if message.body else b""

    def on_body(self, call: Call, message: Message) -> None:
        """A change inside the session: metadata, a description, or both."""
        parts = self.parts(message)
        self._last_sip_at = self._server.now()
        self._bodies_of(message.method, message, parts)
        if parts.sdp:
            with contextlib.suppress(EngineError):  # what is wrong with it is said when it is answered
                self._lines = offered_lines(parts.sdp)
        self._learn(message, parts, self._document_of(message, parts))
        self._rename()
        self.control.known_as(self._view.session_ids, self._view.group_ids)
        if parts.metadata and self._rotating is None:  # else all is said with the next files
            self._tell("updated")

    def _rename(self) -> None:
        recording = self.legs.recording
        for line in self.negotiation.media:
            track = self.legs.track_of(line)
            if recording is not None and track is not None and (leg := self._leg_of(line)).name:
                recording.rename(track, leg)

    def describe(self, call: Call, description: bytes, request: Message | None) -> tuple[str, bytes]:
        """A description of ours by itself, which every client reads; with our metadata where the configuration says so, or a request for theirs."""
        at, method = self._server.now(), request.method if request is not None else "INVITE"
        self._bodies.add(at, "out", method, sip_bodies.SDP, description, 200 if request is not None else 0)
        if request is not None and self._server.config.siprec.multipart_response:
            self._sequence += 1
            return compose.answer_body(description, self._view, recording_session_id=self.recording_id, sequence=self._sequence)
        if request is None and self._snapshot is not None:
            reason, self._snapshot = self._snapshot, None
            return compose.offer_with_request(description, reason)
        return sip_bodies.SDP, description

    def on_media(self, call: Call) -> None:
        """An offer was answered."""
        lines = self.negotiation.media
        try:
            self.legs.agreed(lines, self._leg_of)
        except EngineError as error:
            self.warn(f"a stream could not be taken: {error}")
            log.error("the media of %r: %s", self.call_id[:100], error)
            return
        if not self._lines:  # their answer to an offer of ours
            self._lines = tuple(view.OfferedLine(index=line.index, label=line.label) for line in lines if line.accepted)
            self._channels = view.channels(self._view, self._lines)
        self._rename()
        self.control.has_legs(self.legs.count)
        accepted = sum(line.accepted for line in lines)
        if accepted > self._places:
            self._server.places.change(accepted - self._places)
            self._places = accepted
        if self._is_begun:
            self._tell("updated")

    def on_connected(self, call: Call) -> None:
        """The ACK came."""
        self._read = None
        self._last_sip_at = self._server.now()
        self._server.connected(self)

    def on_info(self, call: Call, request: Message) -> int:
        """A digit, perhaps: nothing is done with it, nor kept."""
        self._last_sip_at = self._server.now()
        return 200

    def on_offer_refused(self, call: Call, status: int) -> None:
        """They do not change the session as we asked: what holds goes on, and a pause is ours alone."""
        self.warn(f"an offer of ours was refused with {status}")

    def on_ended(self, call: Call, ending: Ending) -> None:
        """It is over, or never began."""
        self._server.over(self)
        if not self._is_begun:
            if ending.by == "them":
                self._audit("sip.cancel.received", ending.status)
            return
        if ending.by == "them":
            self._audit("sip.bye.received", reason=ending.reason)
        if ending.by == "nobody":
            self.warn(f"the recorded side did not answer: {ending.reason or ending.status}")
        self._ended_at = self._server.now()
        self._tell("ended")
        if self._limit is not None:
            self._limit.cancel()
        self._over = self._server.spawn(self._finish())

    # ---- the end ----

    def terminate(self, reason: str) -> None:
        """Says BYE and seals the recording."""
        words = "".join(character for character in reason if character.isalnum() or character in " .,:-")[:100]
        self.call.hang_up(reason=f'SIP;cause=200;text="{words or "ended here"}"')

    def _too_long(self) -> None:
        self.warn("the longest duration of a recording was reached")
        self.terminate("the longest duration was reached")

    def idle_since(self) -> tuple[float | None, int]:
        """After how many seconds without anything the session is to end, and when a packet came last (CLOCK_MONOTONIC, ns)."""
        return self._policy.timeout_s, self.legs.last_heard_ns()

    @property
    def vendor_type(self) -> str:
        """Who sent it, by kind."""
        return self._vendor.type

    @property
    def last_sip_at(self) -> float:
        """When a message of the session came last, in seconds since 1970."""
        return self._last_sip_at

    async def _finish(self) -> None:
        await asyncio.sleep(TAIL_S)
        self.control.close()
        if self._rotating is not None:
            await self._rotating
        await self._seal(self.recording_id, self.legs.finish(self.warnings, self._beside), None)
        self._give_places_back()
        self._server.recorded(self)

    async def _beside(self) -> Beside:
        self._facts = self.facts()  # the streams are closed: they stay so
        return await self._journal.finish() if self._journal is not None else Beside()

    async def _seal(self, recording_id: str, finishing: Awaitable[Manifest | None], facts: SessionFacts | None) -> None:
        manifest: Manifest | None = None
        try:
            manifest = await finishing
        except (EngineError, OSError) as error:
            self.warn(str(error))
            self._server.failed(recording_id, error)
        if manifest is None:  # recovery finds its draft beside what it finishes
            self._facts = self.facts()
        self._server.sealed(manifest)
        self._server.tell("recorded", facts or self._facts or self.facts(), manifest=f"{recording_id}.json" if manifest is not None else "")

    async def finished(self) -> None:
        """Until its files are sealed, once it has ended."""
        if self._over is not None:
            await self._over

    # ---- pauses ----

    def recording(self, paused: bool, reason: str, actor: str) -> None:
        """The gate of its control."""
        recording = self.legs.recording
        if recording is None:
            return
        if paused:
            recording.pause(reason=reason, actor=actor)
        else:
            recording.resume()
        self._server.masks(self.call_id, paused)
        if self._server.config.siprec.pause_offers:
            self._offer_pause(paused)

    def transcription(self, paused: bool) -> None:
        """Those who transcribe hear of it by the event."""

    def leg(self, channel: int, muted: bool) -> None:
        """A channel is silent, or heard again."""
        recording = self.legs.recording
        if recording is None:
            return
        if muted:
            recording.pause(channel, cause="mute")
        else:
            recording.resume(channel, cause="mute")

    def _offer_pause(self, paused: bool) -> None:
        """Asks them to stop sending (RFC 7866 7.1.1.2); what they make of it, our own gate is shut."""
        if self.call.state is not State.CONNECTED or paused == self._is_paused_there:
            return
        self._is_paused_there = paused
        with contextlib.suppress(CallError):
            self.call.offer(lambda: self.negotiation.directed(inactive=paused))

    def ask_snapshot(self) -> bool:
        """Asks them for complete metadata (RFC 7866 8.1.2): by UPDATE, or with an offer of what holds."""
        if self.call.state is not State.CONNECTED or not self._accepts_requests:
            return False
        self._snapshot = ""
        try:
            self.call.offer(self.negotiation.refresh)
        except CallError:
            self._snapshot = None
            return False
        return True

    def _changed(self, kind: ChangeKind, actor: str, reason: str) -> None:
        self._server.counted(kind)
        self._tell(kind, actor=actor, reason=reason)

    # ---- what is told ----

    def _audit(self, event: SignallingKind, status: int = 0, reason: str = "") -> None:
        """Tells whoever keeps the audit log, where there is one."""
        compliance = self._server.config.compliance
        if compliance.audit_log_path or compliance.audit_tamper_proof:
            headers = headers_of(self._read[0]) if event.startswith("sip.invite") and self._read is not None else ()
            self._server.audit(SignallingEvent(event=event, at=self._server.now(), call_id=self.call_id, status=status, reason=reason[:200], headers=headers))

    def _tell(self, kind: SessionEventKind, *, actor: str = "", reason: str = "") -> None:
        self._is_begun = self._is_begun or kind == "started"
        if self._is_begun:
            self._facts = self.facts()
            self._server.tell(kind, self._facts, actor=actor, reason=reason)
        if self._journal is not None and kind != "ended":  # which it is told of when its files are sealed
            self._journal.changed()

    def facts(self) -> SessionFacts:
        """What is known of it now."""
        call, control = self.call, self.control
        dialog = call.dialog
        stream_ids = {one.index: (one.stream_id, one.parties or one.former) for one in self._channels}
        merged, legs = self._files()
        return SessionFacts(
            call_id=self.call_id, recording_id=self.recording_id, worker=self._server.name, state=self._state(), created_at=self.legs.created_at or self._began_at,
            last_activity=max(self._last_sip_at, self._server.wall(self.legs.last_heard_ns())), ended_at=self._ended_at,
            local_tag=dialog.local_tag if dialog is not None else "", remote_tag=dialog.remote_tag if dialog is not None else "",
            local_uri=call.local_uri, remote_uri=call.remote_uri, remote_addr=f"{self._remote[0]}:{self._remote[1]}", transport=self._transport,
            session_ids=self._view.session_ids, group_ids=self._view.group_ids, participants=self._participants,
            channels=self.legs.facts(stream_ids, control.is_muted), vendor=self._vendor, correlation=self._correlation, warnings=tuple(self.warnings),
            recording_path=merged or (legs or ("",))[0], leg_paths=legs,
            recording_paused=control.recording_paused, transcription_paused=control.transcription_paused,
        )  # fmt: skip

    def _files(self) -> tuple[str, tuple[str, ...]]:
        """Where the merged file will be, and those of the legs."""
        recording = self.legs.recording
        if recording is None:
            return "", ()
        staged = recording.recording.staged
        if self._paths is None or self._paths[0] is not staged:
            folder = str(self._server.media.folder)
            stems = {file.name.rpartition(".")[0]: file for file in staged.files if file.channels}
            merged = stems.pop(staged.recording_id, None)
            legs = tuple(f"{folder}/{file.name}" for file in stems.values() if file.channels == 1)
            self._paths = staged, f"{folder}/{merged.name}" if merged is not None else "", legs
        return self._paths[1:]

    def _state(self) -> SessionState:
        if self._ended_at is not None:
            return "ended"
        if self.control.recording_paused:
            return "paused"
        lines = [line for line in self.legs.lines if line.accepted]
        return "held" if lines and all(is_held(line) for line in lines) else "connected"

    def _document(self) -> SessionDocument:
        return SessionDocument(
            session=self._facts or self.facts(), bodies=self._bodies.all(), headers=self._headers, retention_days=self._policy.retention_days, policy_source=self._policy.source,
        )  # fmt: skip


__all__ = ["RecordingSession", "offered_lines"]

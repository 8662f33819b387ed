"""An endpoint of ours that takes and makes calls with real media, and records what it hears: all of the engine that the sound of a call goes through."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import uvloop

from engine._native.writer import Writer
from engine.media.call_recording import CallRecording
from engine.media.manifest import Manifest
from engine.media.path import CallMedia, PathPolicy
from engine.media.plane import Address, MediaPlane, MediaStream, Pcm, StreamListener
from engine.media.recorder import Leg, Plan, Recorder
from engine.media.settings import PlaneSettings
from engine.sdp.codecs import PCMU, CodecCapability
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.offer_answer import Negotiation
from engine.sdp.terms import Opener, Terms
from engine.sip.call import Call, CallUser, Ending, Session
from engine.sip.endpoint import Endpoint, Listener, Tls
from engine.sip.incoming import IncomingCall
from engine.sip.outgoing import Identity, OutgoingCall
from engine.sip.user_agent import Application
from tests.flow import media_sources as sources
from tests.flow.audio_quality import place_of
from tests.flow.certificates import Certificates
from tests.flow.program import bracketed
from tests.oracle import capture_twin

WAIT_S: Final = 20.0
THREADS: Final = 32  # of senders and waiters at once
Name = Literal["UDP", "TCP", "TLS"]
# A machine that is busy with other tests makes nothing late, and no sender silent.
PATIENT: Final = PathPolicy(delay_max_ms=600, idle_slack_ms=1500)


def plan(**changed: Any) -> Plan:
    """What is recorded of a call: one leg, as samples at 8 kHz where nothing else is said."""
    return Plan(**{"legs": (Leg(),), "merged": False, **changed})


class Told(msgspec.Struct, frozen=True):
    """One thing that a stream told."""

    what: str
    about: tuple[Any, ...] = ()


class Ear(StreamListener):
    """Writes down what the streams of a call tell."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def _note(self, what: str, *about: Any) -> None:
        self.told.append(Told(what, about))

    def of(self, what: str) -> list[tuple[Any, ...]]:
        """What was told of one kind, in order."""
        return [one.about for one in self.told if one.what == what]

    @property
    def digits(self) -> str:
        """Those that began."""
        return "".join(digit for digit, _ in self.of("digit"))

    def on_started(self, stream: MediaStream, ssrc: int, payload_type: int, source: Address | None) -> None:
        self._note("started", ssrc, payload_type)

    def on_digit(self, stream: MediaStream, digit: str, *, in_band: bool) -> None:
        self._note("digit", digit, in_band)

    def on_digit_end(self, stream: MediaStream, digit: str, duration_ms: int, *, in_band: bool) -> None:
        self._note("digit end", digit, duration_ms)

    def on_ssrc_changed(self, stream: MediaStream, ssrc: int, before: int) -> None:
        self._note("ssrc", ssrc, before)

    def on_moved(self, stream: MediaStream, source: Address | None) -> None:
        self._note("moved", source)

    def on_timeout(self, stream: MediaStream, *, ever: bool) -> None:
        self._note("timeout", ever)

    def on_bye(self, stream: MediaStream) -> None:
        self._note("bye")

    def on_report(self, stream: MediaStream, fraction_lost: float, jitter_ms: float, rtt_ms: float | None) -> None:
        self._note("report", fraction_lost, jitter_ms, rtt_ms)

    def on_played(self, stream: MediaStream, clip: int, *, flushed: bool) -> None:
        self._note("played", clip, flushed)

    def on_record_behind(self, stream: MediaStream, samples: int) -> None:
        self._note("behind", samples)


class Voice(Session):
    """The session of a call: what is negotiated, the stream that comes of it, and its recording. `name` is who was called."""

    def __init__(self, agent: MediaAgent, name: str, recording: CallRecording) -> None:
        self.agent = agent
        self.name = name
        self.recording = recording
        self.ear = Ear()
        self.media = CallMedia(agent.plane, agent.policies.get(name, PATIENT), advertised=agent.advertised, listener_of=lambda index: self.ear)
        opener: Opener = self.media.transport
        if name in agent.openers:
            opener = agent.openers[name](opener)
        self.negotiation = Negotiation(msgspec.structs.replace(agent.terms, **agent.special.get(name, {})), opener, random=os.urandom)
        self.port = 0  # ours, of RTP
        self.final: dict[str, Any] = {}
        self.manifest: Manifest

    @property
    def stream(self) -> MediaStream:
        return self.media.streams[0]

    @property
    def agreed(self) -> NegotiatedMedia:
        return self.negotiation.media[0]

    @property
    def file(self) -> Path:
        """The recording's file, once the call is over."""
        (found,) = (one.path for one in self.manifest.files if one.tracks)
        return self.agent.folder / found

    @property
    def capture(self) -> Path:
        """The file with its packets."""
        (found,) = (one.path for one in self.manifest.files if not one.tracks)
        return self.agent.folder / found

    # ---- what came of it, once the call is over ----

    def heard(self) -> Pcm:
        """What is in the file, at the rate of the plan."""
        pcm, rate_hz = sources.read_wav(self.file)
        assert rate_hz == self.agent.plan_of(self.name).rate_hz
        return pcm

    def is_in_its_place(self, at: int) -> bool:
        """Whether the first sound, which begins with sample `at` of the file, lies at the moment at which its packet came."""
        moment: int = (self.final["first_ns"] - self.recording.origin_ns) * self.agent.plan_of(self.name).rate_hz // 1_000_000_000
        return -1 <= at - moment <= 1

    def place_of(self, expected: Pcm) -> int:
        """Where the expected samples are in the file, each of them, with nothing but silence around."""
        pcm = self.heard()
        at = place_of(expected, pcm)
        assert at >= 0, "the sound is not in the recording as it was sent"
        assert not pcm[:at].any() and not pcm[at + expected.size :].any()
        return at

    def has_lost_nothing(self, packets: int | None = None) -> bool:
        """Whether all packets that came, so many, were taken for what they were."""
        counts = self.final
        packets = counts["received"] if packets is None else packets
        gone = ("lost", "late", "duplicate", "strays", "foreign_ssrc", "wrong_source", "wrong_type", "concealed_samples", "missed_samples", "not_sent")
        taken = {counts["received"], counts["delivered"], counts["expected"]} == {packets}
        return taken and all(counts[name] == 0 for name in gone)

    def packets(self, *, ours: bool = False) -> list[bytes]:
        """The RTP packets of the capture as they were on the wire, theirs or ours."""
        port = self.port
        found = [capture_twin.decode(record.octets) for record in capture_twin.records(self.capture.read_bytes())]
        return [one.payload for one in found if one is not None and (one.source_port == port) == ours]

    # ---- Session ----

    def local_offer(self) -> bytes:
        return self.negotiation.local_offer()

    def remote_answer(self, body: bytes) -> None:
        self.negotiation.remote_answer(body)
        self._agreed()

    def remote_offer(self, body: bytes) -> bytes:
        answer = self.negotiation.remote_offer(body)
        self._agreed()
        return answer

    def rollback(self) -> None:
        self.negotiation.rollback()

    def fork(self) -> Session:
        return self

    def _agreed(self) -> None:
        for stream in self.media.apply(self.negotiation.media):
            self.port = stream.port.port
            self.recording.add(0, stream)
            sound = self.agent.plays.get(self.name)
            if sound is not None:
                stream.play(sound)

    async def close(self) -> None:
        """Ends the stream, then the recording behind it."""
        streams = list(self.media.streams.values())
        self.media.close()
        for stream in streams:
            await asyncio.wait_for(stream.closed, WAIT_S)
            self.final = stream.counts()
        self.manifest = await asyncio.wait_for(self.recording.finish(), WAIT_S)


class MediaAgent(Application, CallUser):
    """Answers every call, and makes some. Calls go by the name of who was called."""

    def __init__(
        self, folder: Path, plane: MediaPlane, recorder: Recorder, *, terms: Terms, policies: Mapping[str, PathPolicy], special: Mapping[str, Mapping[str, Any]], plans: Mapping[str, Plan],
        plays: Mapping[str, Pcm],
        made: Certificates | None, host: str, advertised: str, openers: Mapping[str, Callable[[Opener], Opener]],
    ) -> None:  # fmt: skip
        self.folder = folder
        self.plane = plane
        self.recorder = recorder
        self.terms = terms
        self.policies = policies
        self.special = special
        self.plans = plans
        self.plays = plays
        self.host = host
        self.advertised = advertised
        self.openers = openers
        self.told: list[str] = []
        self.faults: list[str] = []
        self.calls: dict[str, Call] = {}
        self.voices: dict[str, Voice] = {}
        self.addresses: dict[str, tuple[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        tls = Tls(server=made.server_context(), client=made.client_context()) if made is not None else Tls()
        self.endpoint = Endpoint(self, tls=tls)

    # ---- SIP ----

    async def listen(self, *names: Name) -> None:
        for name in names:
            self.addresses[name] = await self.endpoint.listen(Listener(transport=name, host=self.host, port=0))

    def address(self, name: Name = "UDP") -> str:
        host, port = self.addresses[name]
        return f"{bracketed(host)}:{port}"

    def uri(self, user: str = "engine", name: Name = "UDP") -> str:
        return f"sip:{user}@{self.address(name)}{'' if name == 'UDP' else f';transport={name.lower()}'}"

    def plan_of(self, name: str) -> Plan:
        return self.plans.get(name) or plan()

    async def _voice(self, name: str) -> Voice:
        recording = await CallRecording.begin(self.recorder, self.plane, name, self.plan_of(name))
        self.voices[name] = Voice(self, name, recording)
        return self.voices[name]

    async def dial(self, uri: str) -> OutgoingCall:
        """Calls somebody."""
        name = uri.removeprefix("sip:").partition("@")[0]
        call = self.endpoint.agent.call(uri, Identity(uri=f"sip:engine@{bracketed(self.host)}"), session=await self._voice(name), user=self)
        self.calls[name] = call
        return call

    def on_call(self, call: IncomingCall) -> None:
        async def answer(name: str) -> None:
            call.session = await self._voice(name)
            self.calls[name] = call
            call.answer()

        assert call.request is not None and call.request.request_uri is not None
        call.user = self
        task = asyncio.create_task(answer(call.request.request_uri.user.decode()))
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.faults.append(f"a call could not be answered: {error!r}")

    def on_connected(self, call: Call) -> None:
        self.told.append("connected")

    def on_media(self, call: Call) -> None:
        self.told.append("media")

    def on_offer_refused(self, call: Call, status: int) -> None:
        self.told.append(f"refused {status}")

    def on_ended(self, call: Call, ending: Ending) -> None:
        self.told.append("ended")

    # ---- waiting ----

    async def until(self, true: Callable[[], bool], within_s: float = WAIT_S) -> None:
        """Until something holds. Raises AssertionError when it does not in time."""
        try:
            async with asyncio.timeout(within_s):
                while not true():
                    assert not self.faults, self.faults
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError("it never came to that") from None

    async def heard(self, what: str, times: int = 1) -> None:
        await self.until(lambda: self.told.count(what) >= times)

    async def finished(self) -> dict[str, Voice]:
        """Ends what is left of all calls, so that their files can be read."""
        for call in list(self.endpoint.agent):
            call.hang_up()
        await self.until(lambda: self.endpoint.agent.calls == 0)
        for voice in self.voices.values():
            await voice.close()
        assert not self.faults, self.faults
        return self.voices

    def state(self) -> str:
        """For the note of a test that failed."""
        streams = {name: [stream.counts() for stream in voice.media.streams.values()] or voice.final for name, voice in self.voices.items()}
        counts = {name: [{key: value for key, value in one.items() if value} for one in (found if isinstance(found, list) else [found])] for name, found in streams.items()}
        return f"the agent was told {self.told}, its streams { {name: voice.ear.told for name, voice in self.voices.items()} }, and counted {counts}"


@asynccontextmanager
async def media_agent(
    folder: Path, *names: Name, codecs: Sequence[CodecCapability] = (PCMU,), policies: Mapping[str, PathPolicy] | None = None,
    special: Mapping[str, Mapping[str, Any]] | None = None, plans: Mapping[str, Plan] | None = None,
    plays: Mapping[str, Pcm] | None = None, made: Certificates | None = None, host: str = "127.0.0.1", advertised: str = "",
    openers: Mapping[str, Callable[[Opener], Opener]] | None = None, **terms: Any,
) -> AsyncIterator[MediaAgent]:  # fmt: skip
    """An agent that listens, with a plane, a writer and a recorder of its own. By the name of who is called: `policies` say how streams are treated (`PATIENT` where they do not), `special`
    terms what is agreed to, `plans` what is recorded, `plays` what the other end hears, at its codec's rate. `openers` may stand between a negotiation and the ports of the plane. `terms` are further ones of `Terms`."""
    writer = Writer(4096, 64)
    writer.start()
    recorder = Recorder(folder, writer, on_fault=lambda recording, text: agent.faults.append(text))
    plane = MediaPlane(PlaneSettings(host=host, streams=64), writer=writer)
    plane.open()
    sounds = {name: np.ascontiguousarray(sound, np.int16) for name, sound in (plays or {}).items()}
    agent = MediaAgent(
        folder, plane, recorder, terms=Terms(host=host, codecs=tuple(codecs), **terms), policies=policies or {}, special=special or {}, plans=plans or {}, plays=sounds, made=made, host=host,
        advertised=advertised, openers=openers or {},
    )  # fmt: skip
    try:
        await agent.listen(*(names or ("UDP",)))
        yield agent
    except BaseException as error:
        error.add_note(agent.state())
        raise
    finally:
        await agent.endpoint.close()
        await plane.close()
        await recorder.close()
        writer.stop()


class Offer(Session):
    """The other end of a call whose media a test sends by itself: media lines as they are given, and what is answered to them."""

    def __init__(self, lines: str, host: str) -> None:
        self.lines = lines
        self.host = host
        self.answer = b""
        self.answers = 0
        self._version = 0

    @property
    def to(self) -> tuple[str, int]:
        """Where media is to be sent."""
        return self.host, int(self.answer.partition(b"m=audio ")[2].split()[0])

    def local_offer(self) -> bytes:
        self._version += 1
        address = f"IN IP{6 if ':' in self.host else 4} {self.host}"
        return "\r\n".join(["v=0", f"o=far 7 {self._version} {address}", "s=-", f"c={address}", "t=0 0", *self.lines.split("\n"), ""]).encode()

    def remote_answer(self, body: bytes) -> None:
        self.answer = body
        self.answers += 1

    def remote_offer(self, body: bytes) -> bytes:
        raise NotImplementedError

    def rollback(self) -> None:
        raise NotImplementedError

    def fork(self) -> Session:
        return self


class FarEnd(Application, CallUser):
    """Calls the agent with offers of a test's own."""

    def __init__(self, agent: MediaAgent) -> None:
        self.agent = agent
        self.endpoint = Endpoint(self)

    async def call(self, name: str, lines: str) -> tuple[Call, Offer]:
        """A call to a name that stands when this returns, with its offer."""
        offer = Offer(lines, self.agent.host)
        made = self.endpoint.agent.call(self.agent.uri(name), Identity(uri=f"sip:far@{bracketed(self.agent.host)}"), session=offer, user=self)
        await self.agent.until(lambda: bool(offer.answer) or made.ending is not None)
        assert offer.answer, made.ending
        return made, offer

    async def offer(self, call: Call, offer: Offer, lines: str) -> None:
        """Another offer in a call, answered when this returns."""
        offer.lines, before = lines, offer.answers
        call.offer()
        await self.agent.until(lambda: offer.answers > before)


@asynccontextmanager
async def far_end(agent: MediaAgent) -> AsyncIterator[FarEnd]:
    """One on a port of its own, which ends in the end what calls it still has."""
    made = FarEnd(agent)
    try:
        await made.endpoint.listen(Listener(transport="UDP", host=agent.host, port=0))
        yield made
        for call in list(made.endpoint.agent):
            call.hang_up()
        await agent.until(lambda: made.endpoint.agent.calls == 0)
    finally:
        await made.endpoint.close()


def play(scenario: Callable[[], Awaitable[None]], within_s: float = 60.0) -> None:
    """Runs the scenario of a test in a loop of its own."""

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        async with asyncio.timeout(within_s):
            await scenario()

    uvloop.run(run())


__all__ = ["PATIENT", "Ear", "FarEnd", "MediaAgent", "Offer", "Told", "Voice", "far_end", "media_agent", "plan", "play"]

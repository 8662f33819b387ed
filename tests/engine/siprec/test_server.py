"""The recording server of a worker: what ends a session and what does not, and that nothing stays of those that are over or were refused."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.config.document import PauseResume, Recording, Resources, Siprec
from engine.media.manifest import problems, read
from engine.media.wav import WavFile
from engine.sip.call import State
from engine.siprec.facts import PauseStatus
from engine.siprec.server import STEPS
from engine.siprec.service import PauseWanted, SessionService, SessionWanted
from engine.siprec.session import RecordingSession
from tests.engine.siprec.source import (
    Leg,
    Message,
    Server,
    Session,
    metadata,
    multipart,
    recording_server,
    run,
    source,
    voice,
)
from tests.flow.audio_quality import place_of

HOUR_S = 3600.0
NO_CODEC = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 x-unknown/8000\r\na=sendonly\r\n"
PCMU_ALONE = NO_CODEC.replace(b"RTP/AVP 96", b"RTP/AVP 0")
VIDEO = NO_CODEC.replace(b"m=audio", b"m=video")
PROTOCOL = NO_CODEC.replace(b"RTP/AVP 96", b"UDP/TLS/RTP/SAVPF 0")


class Wall:
    """The time that a server goes by, which a test moves on: what came before a move came that much longer ago."""

    def __init__(self, server: Server) -> None:
        self._moves: list[tuple[int, float]] = []
        server.recordings.now = lambda: time.time() + sum(by_s for _, by_s in self._moves)
        server.recordings.wall = self._of

    def _of(self, at_ns: int) -> float:
        """Of a packet that came at `at_ns` of CLOCK_MONOTONIC; 0 where none came."""
        ago_s = (time.monotonic_ns() - at_ns) / 1e9
        return time.time() - ago_s + sum(by_s for moved_ns, by_s in self._moves if moved_ns <= at_ns) if at_ns else 0.0

    def move(self, by_s: float) -> None:
        self._moves.append((time.monotonic_ns(), by_s))


def look(server: Server) -> None:
    """A whole round of the server's watch over its sessions."""
    for _ in range(STEPS):
        server.recordings._step.cancel()
        server.recordings._watch()


def goes_on(server: Server, session: Session) -> bool:
    """Whether a session does, once all were looked at."""
    look(server)
    return server.recordings.get(session.call_id).call.state is State.CONNECTED


async def nothing_is_left(server: Server) -> None:
    """No place, port, stream or staged file of any session."""
    plane = server.recordings.media.plane
    await server.until(lambda: server.recordings.places.taken == (0, 0) and not len(server.recordings))
    await server.until(lambda: plane.ports[0] == 0 and plane.numbers()["streams"] == 0)
    assert not [name for name in os.listdir(server.folder) if name.endswith((".part", ".recording", ".new"))]


Legs = Callable[[], list[Leg]]


@pytest.fixture
def legs() -> Iterator[Legs]:
    """Makes two legs of a session, which are closed at the end."""
    made: list[Leg] = []

    def two() -> list[Leg]:
        made.extend((Leg("1"), Leg("2")))
        return made[-2:]

    yield two
    for leg in made:
        leg.close()


# ---- what ends a session ----


def test_hours_without_a_message_or_a_packet_end_nothing(tmp_path: Path, legs: Legs) -> None:
    """A call of four hours may be quiet on the wire, in signalling and in media; what is said then is recorded."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session, wall = Session(client, legs()), Wall(server)
            await session.invite(metadata())
            await session.say({0: voice(1, 10)})
            for _ in range(4):
                wall.move(HOUR_S)
                assert goes_on(server, session)
            await session.say({0: voice(2, 10)})
            assert (await session.bye()).status == 200
            (event,) = await server.recorded()
            assert event.session.channels[0].packets == 20 and not event.session.warnings
            await nothing_is_left(server)

    run(work)


def test_a_session_that_says_so_ends_when_neither_media_nor_messages_come(tmp_path: Path, legs: Legs) -> None:
    """Either of them counts (X-Recording-Timeout). The end is told of, and what was recorded stays."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session, wall = Session(client, legs()), Wall(server)
            await session.invite(metadata(), headers="X-Recording-Timeout: 120s\r\n")

            wall.move(100)
            assert goes_on(server, session)
            await session.update("application/rs-metadata+xml", metadata())
            wall.move(100)
            assert goes_on(server, session)  # a message came
            packets = 10
            await session.say({1: voice(1, packets)})
            await server.until(lambda: server.recordings.get(session.call_id).facts().channels[1].packets == packets)
            wall.move(100)
            assert goes_on(server, session)  # packets came
            wall.move(21)
            look(server)
            bye = await asyncio.wait_for(client.requests.get(), 10)
            assert bye.method == "BYE"
            (event,) = await server.recorded()
            assert any("nothing was heard" in warning for warning in event.session.warnings)
            assert event.session.channels[1].packets == packets and event.manifest
            await nothing_is_left(server)

    run(work)


def test_a_session_ends_at_the_longest_duration_that_it_asks_for(tmp_path: Path, legs: Legs) -> None:
    """Though everybody talks. What was said up to then is whole."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, legs())
            await session.invite(metadata(), headers="X-Recording-Max-Duration: 1s\r\n")
            with Talking(session.legs):
                bye = await asyncio.wait_for(client.requests.get(), 10)
                assert bye.method == "BYE"
                (event,) = await server.recorded()
            assert any("longest duration" in warning for warning in event.session.warnings)
            manifest = read(server.folder / event.manifest)
            assert manifest.state == "complete" and manifest.duration_ms >= 1000
            await nothing_is_left(server)

    run(work)


def test_a_client_that_answers_no_request_is_there_while_its_media_come(tmp_path: Path, legs: Legs) -> None:
    """Some answer no refresh: only where nothing was heard for as long as a refresh may take, one without an answer ends the session."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session, wall = Session(client, legs()), Wall(server)
            await session.invite(metadata())
            is_heard = server.recordings.get(session.call_id).call.is_heard
            assert not is_heard()
            await session.say({0: voice(1, 5)})
            await server.until(is_heard)
            wall.move(server.recordings.config.sip.session_expires_s - 60)
            assert is_heard()
            wall.move(61)
            assert not is_heard()
            await session.say({1: voice(1, 5)})
            await server.until(is_heard)
            await session.bye()
            await server.recorded()

    run(work)


@pytest.mark.parametrize("first", ["theirs", "ours", "at once"])
def test_ends_that_meet_are_one_end(tmp_path: Path, legs: Legs, first: str) -> None:
    """Their BYE, a request to end it, its longest duration and its timeout all come together. It ends once, is sealed once, and gives back what it had once."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            bystander = Session(client, legs())
            await bystander.invite(metadata())
            for number in range(3):
                session = Session(client, legs())
                await session.invite(metadata(), headers="X-Recording-Timeout: 1s\r\n")
                await session.say({0: voice(number, 3)})
                mine = server.recordings.get(session.call_id)
                if first == "theirs":
                    session.request("BYE")
                    await server.until(lambda mine=mine: mine.facts().state == "ended")
                mine.terminate("asked for")
                mine._too_long()
                mine.terminate("asked for again")
                if first != "theirs":
                    if first == "ours":
                        await asyncio.wait_for(client.requests.get(), 10)
                    session.request("BYE")
                look(server)
                answer = await session.final()
                assert answer.status in (200, 481)
                await server.recorded(number + 1)
            await server.until(lambda: server.recordings.places.taken == (1, 2))
            assert (await bystander.bye()).status == 200
            await server.recorded(4)
            await nothing_is_left(server)
            for kind in ("started", "ended", "recorded"):
                told = [event.session.recording_id for event in server.told(kind)]
                assert len(told) == len(set(told)) == 4, kind
            counts = server.recordings.counts()
            assert (counts["sessions_created_total"], counts["sessions_ended_total"], counts["recordings_completed_total"], counts["sessions_failed_total"]) == (4, 4, 4, 0)

    run(work)


class Talking:
    """Legs that send without a pause, and whoever hears them, until they are told to stop."""

    def __init__(self, spoken: list[Leg]) -> None:
        self._legs, self._over = spoken, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        said = voice(1, 1)
        while not self._over.wait(0.005):
            for leg in self._legs:
                if leg.to is not None:
                    leg.send(said)

    def __enter__(self) -> Talking:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.slow
def test_calls_that_all_end_while_everybody_talks_are_written_no_more(tmp_path: Path, legs: Legs) -> None:
    """Packets come before, at and behind each BYE. Behind a manifest no byte is written, and ports that were given back carry nothing into another call."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            sessions = [Session(client, legs()) for _ in range(16)]
            for session in sessions:
                assert (await session.invite(metadata())).status == 200
            with Talking([leg for session in sessions for leg in session.legs]):
                await server.until(lambda: all(one.facts().channels[1].packets > 10 for one in server.recordings))
                for session in sessions:
                    session.request("BYE")
                assert {(await session.final()).status for session in sessions} == {200}
                events = await server.recorded(len(sessions))
                sealed = {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in server.folder.iterdir() if path.suffix in (".wav", ".json")}
                another = Session(client, legs())
                assert (await another.invite(metadata())).status == 200
                await asyncio.sleep(0.5)
                assert [channel.packets for channel in server.recordings.get(another.call_id).facts().channels] == [0, 0]
                await another.bye()
            await server.recorded(len(sessions) + 1)
            for event in events:
                path = server.folder / event.manifest
                assert problems(path) == [] and read(path).state == "complete" and len(read(path).files) == 3
            assert all((path.stat().st_size, path.stat().st_mtime_ns) == before for path, before in sealed.items()) and len(sealed) == 16 * 5
            await nothing_is_left(server)

    run(work)


# ---- what is refused ----


async def answers_to(session: Session) -> list[Message]:
    """Answers to what a session sent last, up to the final one. Those to others, of which a refusal is repeated for a while, are passed over."""
    answers: list[Message] = []
    async with asyncio.timeout(10):
        while not answers or answers[-1].status < 200:
            came = await session.source.came.get()
            if came.value("call-id") == session.call_id:
                answers.append(came)
    return answers


async def refused(server: Server, description: bytes | None = None) -> int:
    """The status of a session that is begun by a client of its own."""
    async with source(server) as client:
        return (await Session(client, []).invite(metadata(), description=description if description is not None else PCMU_ALONE)).status


@pytest.mark.parametrize("description", [NO_CODEC, VIDEO, PROTOCOL, b"v=0\r\nnothing of ours\r\n"], ids=["codec", "video", "protocol", "broken"])
def test_what_cannot_be_recorded_is_refused_at_once_and_leaves_nothing(tmp_path: Path, legs: Legs, description: bytes) -> None:
    """Nothing rings before it is known whether there will be a session; any number of refusals have taken no port, place or file."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            for _ in range(25):
                session = Session(client, [])
                session.request("INVITE", *multipart(description, metadata()))
                answers = await answers_to(session)
                assert answers[-1].status in (400, 488) and {one.status for one in answers[:-1]} <= {100}
                session.acknowledge()
            await nothing_is_left(server)
            assert not [name for name in os.listdir(server.folder) if not name.startswith(".")]
            assert not server.told("started") and server.recordings.counts()["sessions_refused_total"] == 25
            last = Session(client, legs())
            assert (await last.invite(metadata())).status == 200
            await last.bye()

    run(work)




# ---- what takes the place of another ----


@pytest.mark.parametrize("is_here", [True, False])
def test_a_session_takes_the_place_of_another_wherever_that_was(tmp_path: Path, legs: Legs, is_here: bool) -> None:
    """A client that fails over names the session it had (RFC 3891). One of ours ends then, and one of another server is nobody's: the call is recorded in any case, and
    what was recorded here is of the same call."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            before, after = Session(client, legs()), Session(client, legs())
            name = f"{before.call_id};to-tag=of-another-server;from-tag={before.tag}"
            if is_here:
                await before.invite(metadata())
                name = f"{before.call_id};to-tag={before.to_tag};from-tag={before.tag}"
            answer = await after.invite(metadata(), headers=f"Replaces: {name}\r\n")
            assert (answer.status, len(answer.ports)) == (200, 2)
            said = voice(1, 10)
            await after.say({0: said})
            if is_here:
                bye = await asyncio.wait_for(client.requests.get(), 10)
                assert (bye.method, bye.value("call-id")) == ("BYE", before.call_id)
            assert (await after.bye()).status == 200
            events = {event.session.call_id: event.session for event in await server.recorded(1 + is_here)}
            facts = events[after.call_id]
            assert facts.channels[0].packets == 10
            assert [warning for warning in facts.warnings if "takes the place" in warning] == ([] if is_here else ["the session that it takes the place of is not here"])
            if is_here:
                assert set(events[before.call_id].correlation) & set(facts.correlation)
            await nothing_is_left(server)

    run(work)


def test_another_call_that_replaces_nobody_is_refused(tmp_path: Path) -> None:
    """As it always was (RFC 3891 3)."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, [], source_tag="", require="")
            session.request("INVITE", "application/sdp", VIDEO, headers="Replaces: nobody;to-tag=a;from-tag=b\r\n")
            assert (await session.final()).status == 481
            session.acknowledge()

    run(work)


class Asked:
    """A request of the bus."""

    def __init__(self, wanted: object) -> None:
        self._wanted = wanted

    def read(self, shape: object) -> object:
        return self._wanted


def test_two_dialogs_of_one_call_id_are_two_sessions_and_a_pause_is_of_both(tmp_path: Path, legs: Legs) -> None:
    """Tags tell dialogs apart (RFC 3261 12): whoever calls with the Call-ID of another session takes it out of nobody's hands."""

    async def work() -> None:
        pausing = PauseResume(enabled=True, require_auth=False)
        async with recording_server(tmp_path, pause_resume=pausing) as server, source(server) as client, source(server) as stranger:
            first, second = Session(client, legs(), call_id="shared"), Session(stranger, legs(), call_id="shared")
            for session in (first, second):
                assert (await session.invite(metadata())).status == 200
            assert [session.call_id for session in server.recordings] == ["shared"] * 2
            service = SessionService(server.recordings, time.time)
            before, secret = voice(1, 15), voice(2, 15)
            await first.say({0: before})
            status = await service.pause(Asked(PauseWanted(id="shared")))  # type: ignore[arg-type]
            assert isinstance(status, PauseStatus) and status.recording_paused
            for session in (first, second):
                await session.say({0: secret})
            assert [one.control.recording_paused for one in server.recordings] == [True, True]
            assert (await second.bye()).status == 200
            await server.until(lambda: len(server.recordings) == 1)
            assert server.recordings.get("shared") is next(iter(server.recordings))
            assert not (await service.resume(Asked(PauseWanted(id="shared")))).recording_paused  # type: ignore[arg-type,union-attr]
            await service.terminate(Asked(SessionWanted(id="shared")))  # type: ignore[arg-type]
            events = await server.recorded(2)
            assert len({event.session.recording_id for event in events}) == 2
            for event in events:
                with WavFile(server.folder / f"{event.session.recording_id}.wav") as file:
                    assert place_of(secret[:320], np.ascontiguousarray(file.read(0, 10**9)[:, 0])) < 0
            await nothing_is_left(server)
            counts = server.recordings.counts()
            assert (counts["sessions_created_total"], counts["sessions_ended_total"]) == (2, 2)

    run(work)


# ---- settings that change, and memory ----


def test_settings_that_change_hold_from_the_next_session_on(tmp_path: Path, legs: Legs) -> None:
    """What runs goes on as it is, whatever is changed while it does; settings that cannot be change nothing."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            first = Session(client, legs())
            await first.invite(metadata())
            before = server.recordings.config
            with pytest.raises(ValueError, match=r"siprec\.codecs"):
                server.recordings.configure(msgspec.structs.replace(before, siprec=Siprec(codecs=["morse"], strict=True), resources=Resources(max_concurrent_calls=1)))
            assert server.recordings.config is before and server.recordings.places.sessions_max == before.resources.max_concurrent_calls
            talking = asyncio.create_task(first.say({0: voice(1, 30)}))
            for turn in range(20):
                server.recordings.configure(msgspec.structs.replace(before, siprec=Siprec(codecs=["PCMA"]), recording=Recording(max_duration_s=60.0 + turn)))
                await asyncio.sleep(0)
            assert before.siprec.codecs != ["PCMA"]
            assert await refused(server) == 488  # another codec is offered
            server.recordings.configure(msgspec.structs.replace(before, resources=Resources(max_concurrent_calls=1)))
            assert await refused(server) == 503
            await talking
            assert (await first.bye()).status == 200
            (event,) = await server.recorded()
            assert event.session.channels[0].packets == 30
            server.recordings.configure(before)
            second = Session(client, legs())
            assert (await second.invite(metadata())).status == 200
            await second.bye()
            await server.recorded(2)
            await nothing_is_left(server)

    run(work)


def footprint() -> tuple[int, int, int]:
    """Descriptors, threads, and sessions that are in memory."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), sum(isinstance(one, RecordingSession) for one in gc.get_objects())


@pytest.mark.slow
def test_nothing_of_a_session_outlives_it(tmp_path: Path, legs: Legs) -> None:
    """Of many that went their way, some of them refused or changed: no descriptor, thread, task or object."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            spoken, done = legs(), 0

            async def some(count: int) -> None:
                nonlocal done
                for number in range(count):
                    if number % 5 == 4:
                        assert await refused(server, NO_CODEC) == 488
                        continue
                    session = Session(client, spoken)
                    await session.invite(metadata())
                    if number % 5 == 3:
                        session.version += 1
                        await session.update(*multipart(session.offer(), metadata("partial")))
                    for leg in spoken:
                        leg.send(voice(1, 1))
                    await session.bye()
                    done += 1
                await server.recorded(done)
                server.events.clear()
                done = 0
                await nothing_is_left(server)

            await some(10)  # so that what is made once is there
            await server.until(lambda: len(asyncio.all_tasks()) <= 3)
            descriptors, threads, _ = footprint()
            await some(60)
            await server.until(lambda: footprint()[2] == 0)
            assert footprint()[0] <= descriptors and footprint()[1] <= threads

    run(work)

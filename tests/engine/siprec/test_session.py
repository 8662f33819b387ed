"""Recording sessions over real sockets: what is answered, what is recorded, what is told, and what is left when they are over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import media_worker
from engine._native.writer import Disk, Writer
from engine.config.document import Compliance, PauseResume, Recording, Resources, Siprec
from engine.media.manifest import Manifest, problems, read
from engine.media.wav import WavFile
from tests.engine.siprec.source import (
    METADATA,
    Leg,
    Server,
    Session,
    metadata,
    multipart,
    recording_server,
    run,
    source,
    voice,
)

PAUSING = PauseResume(enabled=True, require_auth=False)


def manifest_of(folder: Path, recording_id: str) -> Manifest:
    path = folder / f"{recording_id}.json"
    assert problems(path) == []
    return read(path)


def samples(path: Path) -> np.ndarray:
    """Frames by channels."""
    with WavFile(path) as file:
        return np.asarray(file.read(0, 10**9))


def place_of(said: np.ndarray, heard: np.ndarray) -> int:
    """Where in a channel something begins, to the sample; -1 where it is not there whole."""
    first = said[:400]
    for at in np.flatnonzero(heard[: len(heard) - len(said) + 1] == first[0]):
        if np.array_equal(heard[at : at + len(said)], said):
            return int(at)
    return -1


@contextlib.contextmanager
def legs(*labels: str, **more: Any) -> Any:
    made = [Leg(label, **more) for label in labels]
    try:
        yield made
    finally:
        for leg in made:
            leg.close()


@contextlib.asynccontextmanager
async def recording(tmp_path: Path, *labels: str, **sections: Any) -> AsyncIterator[tuple[Server, Session]]:
    """A server, and a client's session of these legs, which is not begun yet; `sections` are of the server's configuration."""
    async with recording_server(tmp_path, **sections) as server, source(server) as client:
        with legs(*labels) as all_legs:
            yield server, Session(client, all_legs)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def play(*given: Any, **named: Any) -> None:
        run(lambda: test(*given, **named))

    return play


@in_loop
async def test_two_legs_are_recorded_to_the_sample(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2") as (server, session):
        answer = await session.invite(metadata())
        assert answer.status == 200 and "+sip.srs" in answer.value("contact") and answer.value("content-type") == "application/sdp"
        assert "siprec" in answer.value("supported")
        head, *lines = answer.sections()
        assert len(lines) == 2 and "o=src" not in "".join(head)
        assert [("a=recvonly" in one, f"a=label:{label}" in one) for label, one in zip("12", lines, strict=True)] == [(True, True)] * 2
        alice, bob = voice(1, 40), voice(2, 30)
        await session.say({0: alice, 1: bob})
        assert (await session.bye()).status == 200
        (event,) = await server.recorded()
        facts = event.session
        manifest = manifest_of(server.folder, facts.recording_id)
        assert event.manifest == f"{facts.recording_id}.json" and manifest.state == "complete" and not manifest.warnings
        both_channels = samples(server.folder / f"{facts.recording_id}.wav")
        assert both_channels.shape[1] == 2 and facts.recording_path.endswith(f"{facts.recording_id}.wav")
        begins = place_of(alice, both_channels[:, 0]), place_of(bob, both_channels[:, 1])
        assert min(begins) >= 0 and abs(begins[0] - begins[1]) < 160
        assert np.array_equal(samples(server.folder / f"{facts.recording_id}-leg1.wav")[:, 0], both_channels[:, 1])
        assert [(one.label, one.name) for one in manifest.channels] == [("1", "Alice"), ("2", "Bob")]
        assert [(one.aor, one.name) for one in facts.participants] == [("sip:alice@example.com", "Alice"), ("sip:bob@example.com", "Bob")]
        assert [(one.label, one.parties, one.codec, one.packets) for one in facts.channels] == [("1", (0,), "PCMU", 40), ("2", (1,), "PCMU", 30)]
        document = server.document(facts.recording_id)
        kinds = [(one.direction, one.method, one.content_type) for one in document.bodies]
        assert kinds[:3] == [("in", "INVITE", "application/sdp"), ("in", "INVITE", "application/rs-metadata+xml"), ("out", "INVITE", "application/sdp")]
        assert document.bodies[1].content.encode("latin-1") == metadata() and document.bodies[0].content.encode() == session.offer()
        assert [one.kind for one in (payload for _, payload in server.events) if hasattr(one, "kind")] == ["started", "ended", "recorded"]
        assert facts.group_ids == ("Z3JvdXAtMQ==",) and facts.session_ids == ("c2Vzc2lvbi0x",)
        assert server.recordings.places.taken == (0, 0) and not len(server.recordings)


@in_loop
async def test_who_comes_later_is_silent_before(tmp_path: Path) -> None:
    """A leg that begins half a second late has exactly that silence in front, and what one never says is as long as the other."""
    async with recording(tmp_path, "a", "b", "c") as (server, session):
        await session.invite(metadata(labels=("a", "b")))
        alice, bob = voice(1, 50), voice(2, 25)
        await session.say({0: alice[: 25 * 160]})
        await session.say({0: alice[25 * 160 :], 1: bob})
        await session.bye()
        (event,) = await server.recorded()
        heard = samples(server.folder / f"{event.session.recording_id}.wav")
        first, second = place_of(alice, heard[:, 0]), place_of(bob, heard[:, 1])
        assert abs(second - first - 4000) <= 160 and not heard[: second - 1, 1].any()
        assert not heard[:, 2].any()
        assert any(warning.startswith("unclaimed_label") for warning in event.session.warnings)


@in_loop
async def test_a_hold_keeps_the_timeline(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2") as (server, session):
        first = await session.invite(metadata())
        before, after = voice(1, 20), voice(3, 20)
        await session.say({0: before})
        for leg in session.legs:
            leg.direction = "inactive"
        session.version += 1
        held = await session.invite()
        assert [("a=inactive" in one) for one in held.sections()[1:]] == [True, True] and held.ports == first.ports
        assert server.recordings.get(session.call_id).facts().state == "held"
        await asyncio.sleep(0.4)
        for leg in session.legs:
            leg.direction = "sendonly"
            leg.ssrc += 1
        session.version += 1
        assert (await session.invite()).ports == first.ports
        await session.say({0: after})
        await session.bye()
        (event,) = await server.recorded()
        manifest = manifest_of(server.folder, event.session.recording_id)
        heard = samples(server.folder / f"{event.session.recording_id}.wav")[:, 0]
        gap = place_of(after, heard) - place_of(before, heard) - len(before)
        assert 0.35 * 8000 < gap < 0.6 * 8000 and not heard[place_of(after, heard) - 2000 : place_of(after, heard)].any()
        assert [one.type for one in manifest.intervals] == ["hold", "hold"] and len(event.session.participants) == 2


@in_loop
async def test_a_pause_is_silence_and_nothing_else(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2", pause_resume=PAUSING) as (server, session):
        await session.invite(metadata())
        pieces = [voice(number, 20) for number in range(3)]
        await session.say({0: pieces[0]})
        control = server.recordings.get(session.call_id).control
        assert control.pause(True, None, "agent", "card").is_paused
        await session.say({0: pieces[1]})
        assert not control.resume().is_paused
        await session.say({0: pieces[2]})
        await session.bye()
        (event,) = await server.recorded()
        heard = samples(server.folder / f"{event.session.recording_id}.wav")[:, 0]
        begin, end = place_of(pieces[0][:2400], heard), place_of(pieces[2][320:], heard)
        assert begin >= 0 and end - begin == 2 * 3200 + 320
        assert not heard[begin + 3200 + 160 : end - 320 - 160].any()
        (pause,) = manifest_of(server.folder, event.session.recording_id).intervals
        assert (pause.type, pause.reason, pause.actor, pause.tracks) == ("pause", "card", "agent", ())
        assert [one.actor for one in server.told("paused")] == ["agent"] and server.told("paused")[0].session.recording_paused


@in_loop
async def test_a_leg_that_joins_has_a_channel_of_its_own(tmp_path: Path) -> None:
    async with recording_server(tmp_path) as server, source(server) as client:
        with legs("1", "2", "3") as three:
            session = Session(client, three[:2])
            await session.invite(metadata())
            alice, carol = voice(1, 40), voice(3, 20)
            await session.say({0: alice[: 20 * 160]})
            session.legs = three
            session.version += 1
            answer = await session.invite()
            assert len(answer.ports) == 3 and answer.ports[2]
            await server.until(lambda: len(server.recordings.get(session.call_id).facts().channels) == 3)
            await session.say({0: alice[20 * 160 :], 2: carol})
            await session.bye()
            (event,) = await server.recorded()
            heard = samples(server.folder / f"{event.session.recording_id}.wav")
            assert heard.shape[1] == 3
            first, third = place_of(alice, heard[:, 0]), place_of(carol, heard[:, 2])
            assert first >= 0 and third - first >= 20 * 160 - 160
            assert np.array_equal(samples(server.folder / f"{event.session.recording_id}-leg2.wav")[:, 0], heard[:, 2])
            assert server.recordings.places.taken == (0, 0)


@in_loop
async def test_metadata_alone_changes_no_media(tmp_path: Path) -> None:
    """By UPDATE, and by a re-INVITE without an offer, whose ACK has no answer."""
    async with recording(tmp_path, "1", "2") as (server, session):
        first = await session.invite(metadata())
        renamed = metadata("partial").replace(b">Bob<", b">Robert<")
        updated = await session.update("application/rs-metadata", renamed)
        assert (updated.status, updated.body) == (200, b"")
        facts = server.recordings.get(session.call_id).facts()
        assert [one.name for one in facts.participants] == ["Alice", "Robert"]
        session.request("INVITE", "application/rs-metadata+xml", renamed.replace(b">Robert<", b">Rob<"))
        offered = await session.final()
        assert offered.status == 200 and offered.body == first.body
        session.acknowledge()
        alice = voice(1, 20)
        await session.say({0: alice})
        assert (await session.bye()).status == 200
        (event,) = await server.recorded()
        assert place_of(alice, samples(server.folder / f"{event.session.recording_id}.wav")[:, 0]) >= 0
        assert [one.name for one in manifest_of(server.folder, event.session.recording_id).channels] == ["Alice", "Rob"]


@in_loop
async def test_an_update_is_answered_as_an_invite_is(tmp_path: Path) -> None:
    """An m= line each, the same ports, labels and directions."""
    async with recording(tmp_path, "1", "2") as (_, session):
        first = await session.invite(metadata())
        session.version += 1
        updated = await session.update("application/sdp", session.offer())
        assert updated.sections()[1:] == first.sections()[1:] and "+sip.srs" in updated.value("contact")
        await session.bye()


@pytest.mark.parametrize("document", [b"", b"<recording", b"<!DOCTYPE x [<!ENTITY y 'z'>]><recording>&y;</recording>", METADATA.encode()[:700]])
@in_loop
async def test_a_session_without_readable_metadata_is_recorded(tmp_path: Path, document: bytes) -> None:
    async with recording(tmp_path, "", "") as (server, session):
        assert (await session.invite(document)).status == 200
        said = voice(1, 15)
        await session.say({1: said})
        await session.bye()
        (event,) = await server.recorded()
        assert event.session.warnings
        assert place_of(said, samples(server.folder / f"{event.session.recording_id}.wav")[:, 1]) >= 0
        if document:
            assert document in [one.content.encode("latin-1") for one in server.document(event.session.recording_id).bodies]


@in_loop
async def test_no_more_sessions_than_there_may_be(tmp_path: Path) -> None:
    async with recording_server(tmp_path, resources=Resources(max_concurrent_calls=3, max_rtp_streams=100)) as server, source(server) as client:
        with legs("1", "2") as both:
            sessions = [Session(client, both) for _ in range(8)]
            for session in sessions:
                session.request("INVITE", *multipart(session.offer(), metadata()))
            answers = [await session.final() for session in sessions]
            refused = [one for one in answers if one.status == 503]
            assert sorted(one.status for one in answers) == [200] * 3 + [503] * 5 and all(int(one.value("retry-after")) > 0 for one in refused)
            assert server.recordings.places.taken == (3, 6)
            by_call = {one.value("call-id"): one for one in answers}
            for session in sessions:
                session.taken(by_call[session.call_id])
                session.acknowledge()
                if session.answered:
                    await session.bye()
            await server.recorded(3)
            again = Session(client, both)
            assert (await again.invite(metadata())).status == 200
            await again.bye()


@in_loop
async def test_a_cancelled_session_leaves_nothing(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2") as (server, session):
        server.recordings.media.recorder.in_thread = _slowly(server.recordings.media.recorder.in_thread)
        session.request("INVITE", *multipart(session.offer(), metadata()))
        text = await _cancel(session)
        assert text.status == 487
        session.acknowledge()
        await server.until(lambda: server.recordings.places.taken == (0, 0))
        await server.until(lambda: server.recordings.media.plane.ports[0] == 0)
        assert [name for name in os.listdir(server.folder) if session.call_id in name] == [] and not server.told("started")


def _slowly(in_thread: Any) -> Any:
    async def slow(function: Any) -> Any:
        await asyncio.sleep(0.3)
        return await in_thread(function)

    return slow


async def _cancel(session: Session) -> Any:
    await asyncio.sleep(0.05)
    session.source.transport.sendto(session.cancel, session.source.to)
    while (answer := await session.final()).value("cseq").endswith("CANCEL"):
        pass
    return answer


@in_loop
async def test_a_full_disk_takes_no_new_session(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2", recording=Recording(free_bytes_min=1 << 60)) as (server, session):
        answer = await session.invite(metadata())
        assert answer.status == 503 and answer.value("retry-after")
        assert not server.recordings.has_room and server.recordings.places.taken == (0, 0)


@in_loop
async def test_strict_wants_what_the_standard_says(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2", siprec=Siprec(strict=True)) as (_, session):
        assert (await Session(session.source, session.legs, require="").invite(metadata())).status == 480  # a call like any other, which nobody answers
        assert (await Session(session.source, session.legs, source_tag="").invite(metadata())).status == 480
        assert (await session.invite(metadata())).status == 200
        await session.bye()


@in_loop
async def test_siprec_that_is_off_is_an_unknown_extension(tmp_path: Path) -> None:
    from engine.config.document import Config, Network, Sip
    from engine.sip_worker import SipWorker, folder_of

    folder = folder_of(tmp_path)
    folder.mkdir(parents=True)
    worker = SipWorker(Config(sip=Sip(host="127.0.0.1", port=0), network=Network(), siprec=Siprec(enabled=False)), 0, 1, folder)
    assert worker.media is None and worker.endpoint.agent.accepted == "application/sdp, multipart/mixed, application/dtmf-relay"
    await worker.close(0)


@in_loop
async def test_a_multipart_answer_by_setting(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2", siprec=Siprec(multipart_response=True)) as (_, session):
        answer = await session.invite(metadata())
        assert answer.value("content-type").startswith("multipart/mixed") and b"rs-metadata+xml" in answer.body and b"a=label:2" in answer.body
        await session.bye()


@in_loop
async def test_a_snapshot_is_asked_for(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2") as (server, session):
        client = session.source
        first = await session.invite(metadata())
        client.on_request = lambda request: client.answer(request, body=session.offer(), headers=f"Contact: <sip:src@127.0.0.1:{client.port}>\r\nContent-Type: application/sdp\r\n")
        assert server.recordings.get(session.call_id).ask_snapshot()
        request = await asyncio.wait_for(client.requests.get(), 5)
        assert request.method == "INVITE" and b"application/rs-metadata-request" in request.body and b"requestsnapshot" in request.body
        assert [line for line in first.body.split(b"\r\n") if line.startswith(b"m=")] == [line for line in request.body.split(b"\r\n") if line.startswith(b"m=")]
        client.on_request = client.answer
        await session.bye()


@in_loop
async def test_a_pause_may_be_offered(tmp_path: Path) -> None:
    """The other side is asked to stop sending, and asked to send again; where it refuses, the gate is shut all the same."""
    async with recording(tmp_path, "1", "2", pause_resume=PAUSING, siprec=Siprec(pause_offers=True)) as (server, session):
        client = session.source
        await session.invite(metadata())
        for leg in session.legs:
            leg.direction = "inactive"
        answered = f"Contact: <sip:src@127.0.0.1:{client.port}>\r\nContent-Type: application/sdp\r\n"
        client.on_request = lambda request: client.answer(request, body=session.offer(), headers=answered)
        control = server.recordings.get(session.call_id).control
        control.pause(True, True)
        request = await asyncio.wait_for(client.requests.get(), 5)
        assert request.body.count(b"a=inactive") == 2
        await server.until(lambda: server.recordings.get(session.call_id).legs.lines[0].direction == "inactive")
        client.on_request = lambda request: client.answer(request, "488 Not Acceptable Here")
        control.resume()
        request = await asyncio.wait_for(client.requests.get(), 5)
        assert request.body.count(b"a=recvonly") == 2
        client.on_request = client.answer
        await server.until(lambda: any("488" in one for one in server.recordings.get(session.call_id).warnings))
        await session.bye()


@in_loop
async def test_a_session_that_outlives_its_calls_has_files_for_each(tmp_path: Path) -> None:
    """The next communication session is recorded into files of its own, from one packet to the next, and a pause that holds goes on."""
    async with recording(tmp_path, "1", "2", pause_resume=PAUSING) as (server, session):
        await session.invite(metadata())
        said = voice(1, 60)
        await session.say({0: said[: 30 * 160]})
        await asyncio.sleep(0.1)  # what follows is late: its timestamps go on where the last packet ended, before the next files are asked for
        following = metadata().replace(b"c2Vzc2lvbi0x", b"c2Vzc2lvbi0y").replace(b">Bob<", b">Carol<")
        talking = asyncio.create_task(session.say({0: said[30 * 160 :]}))
        await session.update("application/rs-metadata+xml", following)
        await talking
        server.recordings.get(session.call_id).control.pause(True, True)
        first = (await server.recorded())[0]
        await session.update("application/rs-metadata+xml", following.replace(b"c2Vzc2lvbi0y", b"c2Vzc2lvbi0z"))
        await server.recorded(2)
        await session.say({0: voice(5, 20)})
        await session.bye()
        events = await server.recorded(3)
        assert len({one.session.recording_id for one in events}) == 3 and {one.session.call_id for one in events} == {session.call_id}
        heard = [samples(server.folder / f"{one.session.recording_id}.wav")[:, 0] for one in events]
        begin = place_of(said[: 30 * 160], heard[0])
        in_first = len(heard[0]) - begin
        assert begin >= 0 and np.array_equal(heard[0][begin:], said[:in_first])
        rest = said[in_first:]
        assert len(rest) > 20 * 160 and place_of(rest[: 20 * 160], heard[1]) >= 0 and place_of(rest[-10 * 160 :], heard[1]) >= 0
        assert not heard[2].any() and len(heard[2]) >= 15 * 160
        assert first.session.state == "ended" and first.session.session_ids == ("c2Vzc2lvbi0x",)
        intervals = [manifest_of(server.folder, one.session.recording_id).intervals for one in events]
        assert [[one.type for one in each] for each in intervals] == [[], ["pause"], ["pause"]]
        packets = [manifest_of(server.folder, one.session.recording_id).channels[0] for one in events]
        assert [one.lost for one in packets] == [0, 0, 0]
        assert [server.document(one.session.recording_id).session.recording_id for one in events] == [one.session.recording_id for one in events]


@in_loop
async def test_a_bridge_that_asks_for_an_offer(tmp_path: Path) -> None:
    """A phone's built-in bridge sends an INVITE without an offer, and answers ours in its ACK."""
    async with recording_server(tmp_path) as server, source(server) as client:
        with legs("") as one:
            session = Session(client, one, source_tag="", require="")
            session.request("INVITE", headers="")
            assert (await session.final()).status == 480  # nothing says that it is a recording
            session.acknowledge()
        with legs("") as one:
            session = Session(client, one, source_tag="", require="siprec")
            session.request("INVITE")
            answer = await session.final()
            assert answer.status == 200 and answer.ports and b"a=recvonly" in answer.body
            session.taken(answer)
            session.acknowledge(session.offer())
            said = voice(1, 20)
            await server.until(lambda: len(server.recordings.get(session.call_id).facts().channels) == 1)
            await session.say({0: said})
            await session.bye()
            (event,) = await server.recorded()
            heard = samples(server.folder / f"{event.session.recording_id}.wav")
            assert heard.shape[1] == 1 and place_of(said, heard[:, 0]) >= 0


@in_loop
async def test_two_lines_of_one_label_are_both_recorded(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "1") as (server, session):
        await session.invite(metadata())
        said = [voice(1, 20), voice(2, 20)]
        await session.say(dict(enumerate(said)))
        await session.bye()
        (event,) = await server.recorded()
        heard = samples(server.folder / f"{event.session.recording_id}.wav")
        assert sorted(place_of(one, heard[:, track]) >= 0 for one in said for track in (0, 1)) == [False, False, True, True]
        assert any(warning.startswith("duplicate_label") for warning in event.session.warnings)
        assert manifest_of(server.folder, event.session.recording_id).state == "complete"


@in_loop
async def test_an_audit_log_hears_of_calls_where_there_is_one(tmp_path: Path) -> None:
    """With the headers of their INVITE, credentials left out; nobody is told where nobody keeps one."""
    for kept in (False, True):
        compliance = Compliance(audit_tamper_proof=kept)
        async with recording(tmp_path / str(kept), "1", "2", compliance=compliance) as (server, session):
            await session.invite(metadata(), headers='Authorization: Digest username="me", response="123"\r\nX-Other: 1\r\n')
            await session.bye()
            refused = Session(session.source, session.legs)
            await refused.invite(metadata(), description=b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 4000 RTP/AVP 96\r\nc=IN IP4 127.0.0.1\r\n")
            await server.recorded()
            told = [payload for topic, payload in server.events if topic == "siprec.signalling"]
            assert [one.event for one in told] == (["sip.invite.success", "sip.bye.received", "sip.invite.failure"] if kept else [])
            if kept:
                headers = dict(told[0].headers)
                assert headers["Authorization"].startswith("[REDACTED-") and headers["X-Other"] == "1" and told[2].status == 488


@in_loop
async def test_what_finds_no_room_on_its_way_to_the_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stands still: its place is silent, the manifest says so, and nobody new is taken meanwhile."""
    disk = Disk()
    monkeypatch.setattr(media_worker, "Writer", lambda blocks, recordings: Writer(12, recordings, disk))
    gate, key = os.pipe()
    async with recording(tmp_path, "1", "2") as (server, session):
        await session.invite(metadata())
        first, lost = voice(1, 20), voice(2, 180)
        await session.say({0: first})
        await asyncio.sleep(0.4)  # it is on the disk
        disk.be(gate=gate)
        try:
            await session.say({0: lost, 1: lost})
            await server.until(lambda: server.recordings.media.recorder.is_behind)
            refused = await Session(session.source, session.legs).invite(metadata())
            assert refused.status == 503 and refused.value("retry-after") and not server.recordings.has_room
        finally:
            disk.be()
            os.write(key, bytes(4096))
        await session.bye()
        (event,) = await server.recorded()
        manifest = manifest_of(server.folder, event.session.recording_id)
        assert manifest.state == "partial" and [one for one in manifest.warnings if "found no room" in one]
        assert {one.type for one in manifest.intervals} == {"gap"} and {one.tracks for one in manifest.intervals} <= {(0,), (1,)}
        heard = samples(server.folder / f"{event.session.recording_id}.wav")[:, 0]
        begin = place_of(first[:2400], heard)
        silent = np.flatnonzero(heard[begin + len(first) :] == 0)
        told_ms = sum(one.end_ms - one.start_ms for one in manifest.intervals if one.tracks == (0,))
        assert begin >= 0 and len(silent) > 1000 and told_ms * 8 > 0.5 * len(silent)
    os.close(gate)
    os.close(key)


@in_loop
async def test_who_speaks_before_the_ack_is_recorded(tmp_path: Path) -> None:
    async with recording(tmp_path, "1", "2") as (server, session):
        session.request("INVITE", *multipart(session.offer(), metadata()))
        answer = await session.final()
        session.taken(answer)
        said = voice(1, 20)
        await session.say({0: said, 1: said})
        session.acknowledge()
        await session.bye()
        (event,) = await server.recorded()
        heard = samples(server.folder / f"{event.session.recording_id}.wav")
        assert place_of(said, heard[:, 0]) >= 0 and place_of(said, heard[:, 1]) >= 0

"""What a recording session agrees to: encrypted streams beside plain ones, offers that change what they should not, extensions that ask for nothing of ours, and that
each of our descriptions has the labels of theirs."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine._native import audio
from engine.config.document import Network, PauseResume, Siprec
from engine.media.manifest import problems
from engine.media.wav import WavFile
from engine.siprec.server import SUITES
from engine.srtp import SUITES as KEYS
from engine.srtp import SrtpContext, SrtpKey
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
from tests.engine.srtp.packets import protect, rtp
from tests.flow.audio_quality import place_of

SUITE = "AES_CM_128_HMAC_SHA1_80"


class Secured(Leg):
    """A leg whose packets are encrypted. `parameters` stand behind the key: a lifetime, an MKI. Without `has_key` it says that it is encrypted, and not by what."""

    def __init__(self, label: str, suite: str = SUITE, *, parameters: str = "", mki: int = 0, mki_bytes: int = 0, transport: str = "RTP/SAVP", has_key: bool = True) -> None:
        super().__init__(label)
        self.suite, self.transport, self._has_key = suite, transport, has_key
        self._parameters, self._mki, self._mki_bytes = parameters, mki, mki_bytes
        self.new_key()

    def new_key(self) -> None:
        self.key = secrets.token_bytes(KEYS[self.suite].key_bytes + KEYS[self.suite].salt_bytes)
        self._context = SrtpContext(SrtpKey(suite=self.suite, key=self.key, mki=self._mki, mki_bytes=self._mki_bytes))

    @property
    def inline(self) -> str:
        return base64.b64encode(self.key).decode()

    def lines(self) -> str:
        crypto = f"a=crypto:1 {self.suite} inline:{self.inline}{self._parameters}\r\n" if self._has_key else ""
        return f"m=audio {0 if self.disabled else self.port} {self.transport} 0\r\n{crypto}a=sendonly\r\na=label:{self.label}\r\n"

    def send(self, pcm: np.ndarray) -> None:
        assert self.to is not None
        plain = rtp(self.sequence, bytes(audio.encode(audio.ULAW, pcm.astype(np.int16))), ssrc=self.ssrc)
        self.socket.sendto(protect(self._context, plain), self.to)
        self.skip(len(pcm))


Kept = Callable[..., list[Leg]]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Keeps legs, and closes them at the end."""
    legs: list[Leg] = []

    def keep(*made: Leg) -> list[Leg]:
        legs.extend(made)
        return list(made)

    yield keep
    for leg in legs:
        leg.close()


def heard(server: Server, recording_id: str) -> np.ndarray:
    assert problems(server.folder / f"{recording_id}.json") == []
    with WavFile(server.folder / f"{recording_id}.wav") as file:
        return np.asarray(file.read(0, 10**9))


def attributes(answer: Message, name: str) -> list[list[str]]:
    """Values of an attribute, line by line."""
    return [[text.partition(":")[2] for text in section if text.startswith(f"a={name}:")] for section in answer.sections()[1:]]


async def is_recorded(server: Server, session: Session, seed: int = 1) -> None:
    """Each leg that is answered says something, and all of it is there when the call is over."""
    said = {index: voice(seed + index, 15) for index, leg in enumerate(session.legs) if leg.to is not None and leg.to[1]}
    assert said
    await session.say(said)
    assert (await session.bye()).status == 200
    (event,) = await server.recorded()
    sound = heard(server, event.session.recording_id)
    channels = {channel.label: channel.index for channel in event.session.channels}
    for index, pcm in said.items():
        assert place_of(pcm, np.ascontiguousarray(sound[:, channels[session.legs[index].label]])) >= 0, session.legs[index].label
    text = (server.folder / f"{event.session.recording_id}.siprec.json").read_text()
    assert not any(leg.inline in text for leg in session.legs if isinstance(leg, Secured))


# ---- encrypted streams ----


@pytest.mark.parametrize("suite", SUITES)
def test_streams_of_each_suite_are_recorded(tmp_path: Path, kept: Kept, suite: str) -> None:
    """Each with a key of its own; ours is another one (RFC 4568)."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(Secured("1", suite), Secured("2", suite)))
            answer = await session.invite(metadata())
            assert answer.status == 200 and [line[0].split()[2] for line in answer.sections()[1:]] == ["RTP/SAVP"] * 2
            ours = [text for (text,) in attributes(answer, "crypto")]
            assert [text.split()[:2] for text in ours] == [["1", suite]] * 2
            assert len({text.partition("inline:")[2] for text in ours}) == 2 and not any(leg.inline in answer.body.decode() for leg in session.legs)
            await is_recorded(server, session)

    run(work)


@pytest.mark.parametrize(
    "leg",
    [
        lambda: Secured("1", parameters="|2^31"), lambda: Secured("1", parameters="|1048576"), lambda: Secured("1", parameters="|2^20|3:4", mki=3, mki_bytes=4),
        lambda: Secured("1", parameters="|1:1", mki=1, mki_bytes=1), lambda: Secured("1", transport="RTP/SAVPF"), lambda: Secured("1", transport="RTP/AVP"),
    ],
    ids=["lifetime", "lifetime in packets", "lifetime and MKI", "MKI", "feedback", "best effort"],
)  # fmt: skip
def test_keys_in_every_form_are_read(tmp_path: Path, kept: Kept, leg: Callable[[], Secured]) -> None:
    """Beside a plain line, which stays one."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(leg(), Leg("2")))
            answer = await session.invite(metadata())
            assert [len(found) for found in attributes(answer, "crypto")] == [1, 0]
            assert all(answer.ports)
            await is_recorded(server, session)

    run(work)


def test_an_encrypted_line_without_a_key_is_refused_and_the_other_recorded(tmp_path: Path, kept: Kept) -> None:
    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(Secured("1", has_key=False), Leg("2")))
            answer = await session.invite(metadata())
            assert answer.status == 200 and answer.ports[0] == 0 and answer.ports[1]
            session.legs[0].to = None
            await is_recorded(server, session)

    run(work)


def test_a_new_key_holds_from_its_offer_on(tmp_path: Path, kept: Kept) -> None:
    """A re-INVITE with other keys: what is said behind it is heard too, in the same channel."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            (leg,) = kept(Secured("1"))
            session = Session(client, [leg])
            await session.invite(metadata())
            before = voice(5, 15)
            await session.say({0: before})
            leg.new_key()
            session.version += 1
            assert (await session.invite()).status == 200
            after = voice(6, 15)
            await session.say({0: after})
            await session.bye()
            (event,) = await server.recorded()
            sound = np.ascontiguousarray(heard(server, event.session.recording_id)[:, 0])
            assert 0 <= place_of(before, sound) < place_of(after, sound)

    run(work)


def test_where_all_has_to_be_encrypted_plain_lines_are_not_taken(tmp_path: Path, kept: Kept) -> None:
    """Where there is no other the call is refused, and told why: a client goes on to its next server then."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            server.recordings.configure(msgspec.structs.replace(server.recordings.config, network=Network(require_srtp=True)))
            plain = await Session(client, kept(Leg("1"), Leg("2"))).invite(metadata())
            assert plain.status == 488 and plain.value("warning").startswith("302 ")
            session = Session(client, kept(Secured("1"), Leg("2")))
            answer = await session.invite(metadata())
            assert answer.status == 200 and answer.ports[0] and not answer.ports[1]
            session.legs[1].to = None
            await is_recorded(server, session)

    run(work)


# ---- offers that change ----


def test_a_port_that_changes_is_followed_whatever_the_version_says(tmp_path: Path, kept: Kept) -> None:
    """With the next version, and with the one of before, which says that nothing did change (RFC 3264 8)."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(Leg("1")))
            first = await session.invite(metadata())
            said = [voice(seed, 15) for seed in range(3)]
            await session.say({0: said[0]})
            for turn, version in ((1, 2), (2, 2)):
                (moved,) = kept(Leg("1"))
                moved.ssrc, moved.sequence, moved.timestamp = session.legs[0].ssrc, session.legs[0].sequence, session.legs[0].timestamp
                session.legs, session.version = [moved], version
                answer = await session.invite()
                assert answer.status == 200 and answer.ports == first.ports
                await session.say({0: said[turn]})
            await session.bye()
            (event,) = await server.recorded()
            sound = np.ascontiguousarray(heard(server, event.session.recording_id)[:, 0])
            places = [place_of(pcm, sound) for pcm in said]
            assert places[0] >= 0 and places == sorted(places)

    run(work)


@pytest.mark.parametrize(
    ("session_level", "media_level", "answered"),
    [
        ("", "", "recvonly"), ("", "sendrecv", "recvonly"), ("", "sendonly", "recvonly"), ("", "inactive", "inactive"), ("", "recvonly", "inactive"),
        ("sendonly", "", "recvonly"), ("inactive", "", "inactive"), ("inactive", "sendonly", "recvonly"), ("sendrecv", "inactive", "inactive"),
    ],
)  # fmt: skip
def test_each_direction_has_its_answer(tmp_path: Path, kept: Kept, session_level: str, media_level: str, answered: str) -> None:
    """Received only, or not at all; what a line does not say, the session says for it. Nothing is ever sent to them."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(Leg("1", direction=media_level), Leg("2", direction=media_level)))
            offer = session.offer().replace(b"t=0 0\r\n", b"t=0 0\r\n" + (f"a={session_level}\r\n".encode() if session_level else b""))
            answer = await session.invite(metadata(), description=offer)
            head, *lines = answer.sections()
            said = [next((text for text in (*line, *head) if text in ("a=recvonly", "a=inactive", "a=sendonly", "a=sendrecv")), "a=sendrecv") for line in lines]
            assert said == [f"a={answered}"] * 2
            await session.bye()
            await server.recorded()

    run(work)


# ---- labels, in every way to change something ----


def test_every_description_of_ours_has_their_labels(tmp_path: Path, kept: Kept) -> None:
    """Some clients send nothing to a line without its label: in answers to an INVITE, a re-INVITE and an UPDATE, with metadata or without, and in offers of ours."""
    labels = [["a_leg"], ["16777227"]]

    async def work() -> None:
        settings = {"pause_resume": PauseResume(enabled=True, require_auth=False), "siprec": Siprec(pause_offers=True)}
        async with recording_server(tmp_path, **settings) as server, source(server) as client:
            session = Session(client, kept(Leg("a_leg"), Leg("16777227")))
            document = metadata(labels=("a_leg", "16777227"))
            first = await session.invite(document)
            answers = [first]
            for version in (1, 2):  # the same again, and a change
                session.version = version
                answers.append(await session.invite())
                answers.append(await session.invite(document))
                answers.append(await session.update("application/sdp", session.offer()))
                answers.append(await session.update(*multipart(session.offer(), document)))
            session.request("INVITE")  # without an offer
            answers.append(await session.final())
            session.acknowledge()
            for answer in answers:
                assert answer.status == 200 and answer.ports == first.ports and attributes(answer, "label") == labels
            headers = f"Contact: <sip:src@127.0.0.1:{client.port}>\r\nContent-Type: application/sdp\r\n"
            client.on_request = lambda request: client.answer(request, body=session.offer(), headers=headers)
            for leg in session.legs:
                leg.direction = "inactive"
            mine = server.recordings.get(session.call_id)
            mine.control.pause(True, True)
            assert attributes(await asyncio.wait_for(client.requests.get(), 10), "label") == labels
            await server.until(lambda: mine.legs.lines[0].direction == "inactive")
            await server.until(mine.ask_snapshot)
            assert attributes(await asyncio.wait_for(client.requests.get(), 10), "label") == labels
            client.on_request = client.answer
            await session.bye()
            await server.recorded()

    run(work)


def test_an_update_changes_participants_and_media_at_once(tmp_path: Path, kept: Kept) -> None:
    """Metadata beside a description: somebody comes with a line of his own, and one who was there has another name."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(Leg("1"), Leg("2")))
            first = await session.invite(metadata())
            session.legs, session.version = [*session.legs, *kept(Leg("3"))], 2
            carol = b'<participant participant_id="Y2Fyb2w="><nameID aor="sip:carol@example.com"><name>Carol</name></nameID></participant>'
            stream = b'<stream stream_id="c3RyZWFtLTM=" session_id="c2Vzc2lvbi0x"><label>3</label></stream>'
            sends = b'<participantstreamassoc participant_id="Y2Fyb2w="><send>c3RyZWFtLTM=</send></participantstreamassoc>'
            document = metadata("partial").replace(b">Bob<", b">Robert<").replace(b"</recording>", carol + stream + sends + b"</recording>")
            answer = await session.update(*multipart(session.offer(), document))
            session.taken(answer)
            assert answer.ports[:2] == first.ports and len(answer.ports) == 3 and answer.ports[2]
            await server.until(lambda: len(server.recordings.get(session.call_id).facts().channels) == 3)
            facts = server.recordings.get(session.call_id).facts()
            assert [party.name for party in facts.participants] == ["Alice", "Robert", "Carol"]
            assert {channel.label: channel.parties for channel in facts.channels} == {"1": (0,), "2": (1,), "3": (2,)}
            await is_recorded(server, session)

    run(work)


# ---- what else clients say ----


def test_a_host_name_in_a_description_is_recorded_like_an_address(tmp_path: Path, kept: Kept) -> None:
    """What is only received needs no address of theirs (RFC 8866 5.7 allows a name): the source is learnt from what comes."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(Leg("1")))
            named = session.offer().replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 src.example.com")
            assert (await session.invite(metadata(), description=named)).status == 200
            said = voice(1, 30)
            await session.say({0: said})
            assert (await session.invite(description=named.replace(b"o=src 1 1", b"o=src 1 2"))).status == 200
            await session.bye()
            (event,) = await server.recorded()
            sound = np.ascontiguousarray(heard(server, event.session.recording_id)[:, 0])
            assert place_of(said[10 * 160 :], sound) >= 0

    run(work)


def test_extensions_that_ask_for_nothing_of_ours_keep_no_call_away(tmp_path: Path, kept: Kept) -> None:
    """Timers of half an hour, reliable answers, preconditions that are only offered, and a privacy that is a proxy's to provide."""
    headers = (
        "Supported: 100rel,timer,precondition,replaces\r\nProxy-Require: privacy\r\nPrivacy: id\r\nSession-Expires: 1800;refresher=uac\r\nMin-SE: 1800\r\n"
        "Recv-Info:\r\nExpires: 180\r\n"
    )
    states = b"a=curr:qos local none\r\na=curr:qos remote none\r\na=des:qos optional local sendrecv\r\na=des:qos none remote sendrecv\r\n"

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            session = Session(client, kept(Leg("1"), Leg("2")), require="100rel,siprec,timer")
            answer = await session.invite(metadata(), description=session.offer() + states, headers=headers)
            assert answer.status == 200 and len(answer.ports) == 2
            assert answer.value("session-expires").split(";")[0] == "1800"
            await is_recorded(server, session)

    run(work)


def test_the_number_of_an_answer_with_metadata_rises(tmp_path: Path, kept: Kept) -> None:
    """By one for each, whatever it answers."""

    async def work() -> None:
        async with recording_server(tmp_path, siprec=Siprec(multipart_response=True)) as server, source(server) as client:
            session = Session(client, kept(Leg("1"), Leg("2")))
            answers = [await session.invite(metadata())]
            session.version += 1
            answers.append(await session.update("application/sdp", session.offer()))
            answers.append(await session.invite())
            numbers = [re.search(rb'sequence="(\d+)"', answer.body) for answer in answers]
            assert [int(found[1]) for found in numbers if found is not None] == [1, 2, 3]
            await session.bye()
            await server.recorded()

    run(work)


def test_many_lines_and_their_metadata_fit_into_an_answer_over_udp(tmp_path: Path, kept: Kept) -> None:
    """The largest that is answered, in one datagram that IP carries."""

    async def work() -> None:
        async with recording_server(tmp_path, siprec=Siprec(multipart_response=True)) as server, source(server) as client:
            session = Session(client, kept(*(Leg(f"{number}-{'x' * 60}") for number in range(8))))
            answer = await session.invite(metadata(labels=tuple(leg.label for leg in session.legs[:2])))  # type: ignore[arg-type]
            assert answer.status == 200 and len([section for section in answer.sections() if section and section[0].startswith("m=")]) == 8
            assert 2000 < len(answer.body) < 16_384
            await session.bye()
            await server.recorded()

    run(work)

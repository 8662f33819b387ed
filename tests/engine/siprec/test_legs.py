"""The legs of a session: each codec that is agreed is heard, legs of different codecs lie where they were said, and no voice gets into another's channel."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from engine._native.codec import Encoder
from engine.codecs import codec_of
from engine.media.manifest import problems, read
from engine.media.wav import WavFile
from engine.siprec.events import SessionEvent
from tests.engine.siprec.source import Leg, Server, Session, metadata, recording_server, run, source, voice
from tests.flow.audio_quality import Pcm, aligned, lag_of, place_of, snr_db

PACKET_MS = 20
PACKETS = 75


class Coded(Leg):
    """A leg of any codec. `name` is as in rtpmap, `clock_rate_hz` that of its timestamps, `rate_hz` that of what is said."""

    def __init__(self, label: str, name: str, payload_type: int, clock_rate_hz: int, rate_hz: int, channels: str = "") -> None:
        super().__init__(label)
        self.name, self.payload_type, self.rate_hz = name, payload_type, rate_hz
        self.clock_rate_hz = clock_rate_hz
        self.rtpmap = f"{name}/{clock_rate_hz}{channels}"
        self._encoder = self._fresh_encoder()

    def _fresh_encoder(self) -> Encoder:
        return codec_of(self.name).encoder(self.rate_hz, 1, self.clock_rate_hz)

    def decoded(self, pcm: Pcm) -> Pcm:
        """What somebody hears who has all of it."""
        encoder, decoder = self._fresh_encoder(), codec_of(self.name).decoder(self.rate_hz, 1, self.clock_rate_hz)
        return np.concatenate([decoder.decode(bytes(encoder.encode(np.ascontiguousarray(block)))) for block in pcm.reshape(PACKETS, -1)])

    def lines(self) -> str:
        return f"m=audio {self.port} RTP/AVP {self.payload_type}\r\na=rtpmap:{self.payload_type} {self.rtpmap}\r\na=sendonly\r\na=label:{self.label}\r\n"

    def send(self, pcm: np.ndarray) -> None:
        assert self.to is not None
        head = struct.pack(">BBHII", 0x80, self.payload_type, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc)
        self.socket.sendto(head + bytes(self._encoder.encode(np.ascontiguousarray(pcm, np.int16))), self.to)
        self.skip(self.clock_rate_hz * PACKET_MS // 1000)


def speech(seed: int, rate_hz: int) -> Pcm:
    """A signal that no two places of are alike, of frequencies that every codec has."""
    random = np.random.default_rng(seed)
    time_s = np.arange(PACKETS * PACKET_MS * rate_hz // 1000) / rate_hz
    tone = sum(np.sin(2 * np.pi * (base + 80 * np.sin(2 * np.pi * slow * time_s + seed)) * time_s + phase) for base, slow, phase in zip((300, 700, 1500), random.uniform(0.4, 1.4, 3), random.uniform(0, 6, 3), strict=True))
    return np.asarray(tone * 3000).astype(np.int16)


async def say(legs: Sequence[Coded], said: Sequence[Pcm]) -> None:
    """All at once, in real time."""
    began = time.monotonic()
    for number in range(PACKETS):
        for leg, pcm in zip(legs, said, strict=True):
            size = leg.rate_hz * PACKET_MS // 1000
            leg.send(pcm[number * size : (number + 1) * size])
        await asyncio.sleep(max(began + (number + 1) * PACKET_MS / 1000 - time.monotonic(), 0))


async def recorded(tmp_path: Path, legs: Sequence[Coded], said: Sequence[Pcm]) -> tuple[SessionEvent, int, Pcm]:
    """A call in which that is said: what is told of it, and the rate and the channels of its merged file."""
    async with recording_server(tmp_path) as server, source(server) as client:
        session = Session(client, list(legs))
        answer = await session.invite(metadata())
        assert answer.status == 200 and [line[0].split()[3] for line in answer.sections()[1:]] == [str(leg.payload_type) for leg in legs]
        await say(legs, said)
        await session.bye()
        (event,) = await server.recorded()
        return event, *sound_of(server, event)


def sound_of(server: Server, event: SessionEvent) -> tuple[int, Pcm]:
    path = server.folder / event.manifest
    assert problems(path) == []
    manifest = read(path)
    assert manifest.state == "complete" and [(one.lost, one.late) for one in manifest.channels] == [(0, 0)] * len(manifest.channels)
    with WavFile(server.folder / f"{event.session.recording_id}.wav") as file:
        return file.layout.rate_hz, np.asarray(file.read(0, 10**9))


def at_rate(pcm: Pcm, rate_hz: int, wanted_hz: int) -> Pcm:
    """What was said at another rate, by way of its spectrum."""
    spectrum, size = np.fft.rfft(pcm.astype(np.float64)), pcm.size * wanted_hz // rate_hz
    return np.asarray(np.fft.irfft(spectrum[: size // 2 + 1], size) * size / pcm.size).clip(-32768, 32767).astype(np.int16)


CODECS = {
    "PCMU": ("PCMU", 0, 8000, 8000), "PCMA": ("PCMA", 8, 8000, 8000), "G722": ("G722", 9, 8000, 16_000), "opus": ("opus", 111, 48_000, 48_000, "/2"),
    "L16-8000": ("L16", 96, 8000, 8000), "L16-16000": ("L16", 97, 16_000, 16_000),
}  # fmt: skip
Made = Callable[..., list[Coded]]


@pytest.fixture
def made() -> Iterator[Made]:
    """Makes legs, each of a label and a codec, which are closed at the end."""
    all_legs: list[Coded] = []

    def make(*wanted: tuple[str, str]) -> list[Coded]:
        all_legs.extend(Coded(label, *CODECS[name]) for label, name in wanted)  # type: ignore[arg-type]
        return all_legs

    yield make
    for leg in all_legs:
        leg.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", CODECS)
def test_every_codec_that_is_agreed_is_heard(tmp_path: Path, made: Made, name: str) -> None:
    """As its decoder has it, to the sample, and beside a leg of PCMU in one merged file: both are where they were said, whatever rates they have."""
    legs = made(("1", name), ("2", "PCMU"))
    said = [speech(1, legs[0].rate_hz), speech(2, 8000)]

    async def work() -> None:
        event, rate_hz, heard = await recorded(tmp_path, legs, said)
        assert [channel.codec.lower() for channel in event.session.channels] == [legs[0].name.lower(), "pcmu"]
        assert rate_hz == legs[0].rate_hz and heard.shape[1] == 2
        first = place_of(legs[0].decoded(said[0]), heard[:, 0])
        assert first >= 0
        other = at_rate(legs[1].decoded(said[1]), 8000, rate_hz)
        second = lag_of(other, heard[:, 1])
        assert abs(second - first) <= rate_hz * PACKET_MS // 1000
        inside = slice(rate_hz // 5, -rate_hz // 5)
        assert snr_db(*(one[inside] for one in aligned(other, heard[:, 1]))) > 15.0

    run(work)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["G722", "opus"])
def test_decoders_of_legs_know_nothing_of_one_another(tmp_path: Path, made: Made, name: str) -> None:
    """Codecs whose packets depend on those before: four legs at once, each of which is as if it were alone."""
    legs = made(*((str(number), name) for number in range(4)))
    said = [speech(number, legs[0].rate_hz) for number in range(4)]

    async def work() -> None:
        event, _, heard = await recorded(tmp_path, legs, said)
        channels = {channel.label: channel.index for channel in event.session.channels}
        for leg, pcm in zip(legs, said, strict=True):
            assert place_of(leg.decoded(pcm), heard[:, channels[leg.label]]) >= 0, leg.label

    run(work)


@pytest.mark.slow
def test_who_sends_hears_how_it_is_received(tmp_path: Path) -> None:
    """Receiver reports (RFC 3550 6.4.2) go to the port beside that of each line, also of one on which nothing came: clients take them for a sign of life."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            with contextlib.ExitStack() as open_sockets:
                legs, control = [], []
                for label in ("1", "2"):
                    leg, beside = pair(label)
                    legs.append(leg)
                    control.append(beside)
                    open_sockets.callback(leg.close)
                    open_sockets.callback(beside.close)
                session = Session(client, legs)
                answer = await session.invite(metadata())
                talking = asyncio.create_task(session.say({0: np.zeros(160 * 500, np.int16)}))
                try:
                    reports = [await reported(beside, wanted) for beside, wanted in zip(control, (legs[0].ssrc, None), strict=True)]
                finally:
                    talking.cancel()
                assert [port for port, _ in reports] == [port + 1 for port in answer.ports]
                assert [count for _, count in reports] == [1, 0]
                await session.bye()

    run(work)


def pair(label: str) -> tuple[Leg, socket.socket]:
    """A leg, and a socket at the port behind its own."""
    while True:
        leg, beside = Leg(label), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            beside.bind(("127.0.0.1", leg.port + 1))
            beside.setblocking(False)
            return leg, beside
        leg.close()
        beside.close()


async def reported(control: socket.socket, ssrc: int | None) -> tuple[int, int]:
    """The port that a receiver report came from, and how many sources it is of: the first that is of `ssrc`, or of nobody."""
    async with asyncio.timeout(30):
        while True:
            try:
                data, sender = control.recvfrom(2048)
            except BlockingIOError:
                await asyncio.sleep(0.02)
                continue
            first, kind = data[:2]
            found = struct.unpack_from(">I", data, 8)[0] if first & 31 else None
            if kind == 201 and found == ssrc:
                return sender[1], first & 31


# ---- lines that come and go ----


def said_by(seed: int) -> Pcm:
    return voice(seed, 15)


@pytest.mark.parametrize("at_first", ["no lines", "lines without ports"])
def test_a_session_may_begin_without_anything_to_hear(tmp_path: Path, pairs: Callable[[], list[Leg]], at_first: str) -> None:
    """One that stands before there is a call: lines that come later are recorded, each in a channel of its own."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            legs = pairs()
            session = Session(client, legs if at_first == "lines without ports" else [])
            for leg in legs:
                leg.disabled = True
            assert (await session.invite(metadata())).status == 200
            session.legs, session.version = legs, 2
            for leg in legs:
                leg.disabled = False
            answer = await session.invite(metadata())
            assert answer.status == 200 and all(answer.ports)
            await server.until(lambda: len(server.recordings.get(session.call_id).facts().channels) == 2)
            await session.say({0: said_by(1), 1: said_by(2)})
            await session.bye()
            (event,) = await server.recorded()
            _, heard = sound_of(server, event)
            assert [(channel.label, channel.parties) for channel in event.session.channels] == [("1", (0,)), ("2", (1,))]
            assert [place_of(said_by(channel + 1), np.ascontiguousarray(heard[:, channel])) >= 0 for channel in range(2)] == [True, True]
            assert server.recordings.places.taken == (0, 0)

    run(work)


def test_a_line_that_ended_and_is_used_again_is_nobody_elses_channel(tmp_path: Path, pairs: Callable[[], list[Leg]]) -> None:
    """Its place with another label is another channel (RFC 3264 8.1); with the label of before it is the one of before."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            first, second, third, fourth = (*pairs(), *pairs())
            third.label = "3"
            session = Session(client, [first, second])
            await session.invite(metadata())
            await session.say({1: said_by(1)})

            async def then(leg: Leg) -> None:
                session.legs, session.version = [first, leg], session.version + 1
                assert (await session.invite()).status == 200

            second.disabled = True
            await then(second)
            await then(third)
            await server.until(lambda: server.recordings.get(session.call_id).legs.count == 3)
            await session.say({1: said_by(2)})
            third.disabled = True
            await then(third)
            await then(fourth)
            await session.say({1: said_by(3)})
            await session.bye()
            (event,) = await server.recorded()
            _, heard = sound_of(server, event)
            assert heard.shape[1] == 3
            places = {seed: [place_of(said_by(seed), np.ascontiguousarray(heard[:, channel])) >= 0 for channel in range(3)] for seed in (1, 2, 3)}
            assert places == {1: [False, True, False], 2: [False, False, True], 3: [False, True, False]}
            assert [channel.label for channel in read(server.folder / event.manifest).channels] == ["1", "2", "3"]

    run(work)


def test_a_channel_whose_line_another_took_is_still_told_of(tmp_path: Path, pairs: Callable[[], list[Leg]]) -> None:
    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            first, second, third, _ = (*pairs(), *pairs())
            third.label = "3"
            session = Session(client, [first, second])
            await session.invite(metadata())
            await session.say({1: said_by(1)})
            second.disabled, session.version = True, 2
            assert (await session.invite()).status == 200
            session.legs, session.version = [first, third], 3
            assert (await session.invite()).status == 200
            await server.until(lambda: server.recordings.get(session.call_id).legs.count == 3)
            await session.say({1: said_by(2)})
            await session.bye()
            (event,) = await server.recorded()
            assert [(channel.index, channel.label) for channel in event.session.channels] == [(0, "1"), (1, "2"), (2, "3")]
            ended = event.session.channels[1]
            assert (ended.parties, ended.direction, ended.packets) == ((1,), "ended", 15)

    run(work)


# ---- what is told of streams ----


def test_counts_are_of_this_call_and_not_of_the_one_before(tmp_path: Path, pairs: Callable[[], list[Leg]]) -> None:
    """Streams have numbers in the media plane, which are used again."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            legs = pairs()
            for number, packets in enumerate((40, 10)):
                session = Session(client, legs)
                await session.invite(metadata())
                assert [channel.packets for channel in server.recordings.get(session.call_id).facts().channels] == [0, 0], number
                said = voice(number, packets)
                await session.say({0: said, 1: said[: len(said) // 2]})
                legs[0].skip(160)  # one is lost
                await session.say({0: voice(9, 2)})
                await session.bye()
                event = (await server.recorded(number + 1))[number]
                assert [channel.packets for channel in event.session.channels] == [packets + 2, packets // 2], number
                channels = read(server.folder / event.manifest).channels
                assert [channel.lost for channel in channels] == [1, 0], number
                assert all(channel.ssrc and channel.first_rtp and channel.last_rtp and channel.mos is not None for channel in channels), number
            counts = server.recordings.counts()
            assert (counts["packets_total"], counts["lost_total"]) == (40 + 2 + 20 + 10 + 2 + 5, 2)

    run(work)


def test_a_packet_leaves_the_port_that_media_are_to_come_to(tmp_path: Path, pairs: Callable[[], list[Leg]]) -> None:
    """Symmetric RTP (RFC 4961): who is behind NAT, or waits for a packet of ours, hears one as soon as it was answered."""

    async def work() -> None:
        async with recording_server(tmp_path) as server, source(server) as client:
            leg, _ = pairs()
            session = Session(client, [leg])
            answer = await session.invite(metadata())
            leg.socket.setblocking(False)
            found: list[tuple[bytes, tuple[str, int]]] = []

            def came() -> bool:
                with contextlib.suppress(BlockingIOError):
                    found.append(leg.socket.recvfrom(2048))
                return bool(found)

            await server.until(came)
            data, sender = found[0]
            assert sender[1] == answer.ports[0]
            assert (len(data), data[0], data[1]) == (12, 0x80, 127)  # a payload type that nobody knows, and no payload (RFC 6263 4.6)
            await session.bye()

    run(work)


@pytest.fixture
def pairs() -> Iterator[Callable[[], list[Leg]]]:
    """Makes two legs of PCMU, which are closed at the end."""
    legs: list[Leg] = []

    def two() -> list[Leg]:
        legs.extend((Leg("1"), Leg("2")))
        return legs[-2:]

    yield two
    for leg in legs:
        leg.close()

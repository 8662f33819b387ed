"""The media plane as the event loop sees it: ports, streams, listeners, players and recordings, with its real thread."""

from __future__ import annotations

import asyncio
import socket
import struct
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from engine._native.writer import Writer
from engine.media.call_recording import CallRecording, plan_of
from engine.media.path import CallMedia, PathError, PathPolicy, format_of, settings_of
from engine.media.plane import MediaFull, MediaPlane, MediaStream, Pcm, StreamListener
from engine.media.player import Player
from engine.media.recorder import Leg, Recorder
from engine.media.settings import Format, PlaneSettings, StreamSettings
from engine.sdp.codecs import PayloadFormat
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.terms import Transport

PCMU = Format(payload_type=0, codec="PCMU")
WAIT_S = 10.0


class Heard(StreamListener):
    def __init__(self) -> None:
        self.what: list[str] = []
        self.clips: list[tuple[int, bool]] = []

    def on_started(self, stream: MediaStream, ssrc: int, payload_type: int, source: object) -> None:
        self.what.append("started")

    def on_digit(self, stream: MediaStream, digit: str, *, in_band: bool) -> None:
        self.what.append(digit)

    def on_event(self, stream: MediaStream, event: int) -> None:
        self.what.append(f"event {event}")

    def on_pcm(self, stream: MediaStream, pcm: Pcm, position: int, rate_hz: int) -> None:
        raise RuntimeError("a listener that fails")

    def on_played(self, stream: MediaStream, clip: int, *, flushed: bool) -> None:
        self.clips.append((clip, flushed))

    def on_closed(self, stream: MediaStream) -> None:
        self.what.append("closed")


@asynccontextmanager
async def a_plane(writer: Writer | None = None, **settings: object) -> AsyncIterator[MediaPlane]:
    plane = MediaPlane(PlaneSettings(streams=4, mixes=1, packets=256, pcm_blocks=16, **settings), writer=writer)  # type: ignore[arg-type]
    plane.open()
    try:
        yield plane
    finally:
        await plane.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await work()

    asyncio.run(bounded())


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.01)


def sending(peer: socket.socket, **more: object) -> StreamSettings:
    given = {"formats": (PCMU,), "sends": True, "send": PCMU, "remote_host": "127.0.0.1", "remote_port": peer.getsockname()[1], "rtcp": False, **more}
    return StreamSettings(**given)  # type: ignore[arg-type]


@pytest.fixture
def peer() -> socket.socket:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        yield made


def test_ports_are_of_the_range_and_rest_after_use() -> None:
    async def work() -> None:
        async with a_plane(ports=(31000, 31006)) as plane:
            ports = [plane.open_port() for _ in range(3)]
            assert sorted(port.port for port in ports) == [31000, 31002, 31004]
            assert all(port.control_port == port.port + 1 for port in ports)
            with pytest.raises(MediaFull, match="no media port"):
                plane.open_port()
            first = ports.pop(1)
            first.close()
            await until(lambda: first.index not in plane._ports)
            second = ports.pop(0)
            second.close()
            await until(lambda: second.index not in plane._ports)
            # Both rest; they are taken again only because there is no other.
            assert {plane.open_port().port, plane.open_port().port} == {first.port, second.port}

    run(work)


def test_as_many_streams_as_there_is_room_for(peer: socket.socket) -> None:
    async def work() -> None:
        async with a_plane() as plane:
            port = plane.open_port(shared=True)
            streams = [plane.open_stream(port, sending(peer, remote_ssrc=number + 1)) for number in range(4)]
            with pytest.raises(MediaFull, match="streams"):
                plane.open_stream(port, sending(peer))
            streams[0].close()
            await streams[0].closed
            again = plane.open_stream(port, sending(peer))
            assert again.is_open and again.counts()["sent"] >= 0
            mix = plane.open_mix(8000)
            with pytest.raises(MediaFull, match="mixes"):
                plane.open_mix(8000)
            mix.close()
            plane.open_mix(16000)
        assert all(stream.closed.done() for stream in [*streams, again])

    run(work)


def test_a_stream_that_cannot_be_costs_nothing(peer: socket.socket) -> None:
    async def work() -> None:
        async with a_plane() as plane:
            port = plane.open_port()
            for _ in range(10):
                with pytest.raises(ValueError, match="codec"):
                    plane.open_stream(port, StreamSettings(formats=(Format(payload_type=3, codec="GSM"),)))
            stream = plane.open_stream(port, sending(peer))
            with pytest.raises(ValueError, match="codec"):
                stream.apply(StreamSettings(formats=(Format(payload_type=3, codec="GSM"),)))
            with pytest.raises(ValueError, match="telephone-event"):
                stream.send_digits("1")
            stream.apply(sending(peer, send_event=Format(payload_type=101, kind="event")))
            with pytest.raises(ValueError, match="digits"):
                stream.send_digits("1x")
            stream.send_digits("1a#")

    run(work)


def test_a_listener_that_fails_keeps_no_other_from_hearing(peer: socket.socket) -> None:
    async def work() -> None:
        heard = Heard()
        async with a_plane() as plane:
            port = plane.open_port()
            stream = plane.open_stream(port, sending(peer, formats=(PCMU, Format(payload_type=101, kind="event"))), heard)
            stream.hear(20)
            stream.play(np.zeros(320, np.int16))
            for number in range(4):
                peer.sendto(struct.pack("!BBHII", 0x80, 0, number, number * 160, 5) + bytes(160), (port.host, port.port))
            for number, event in enumerate((5, 5, 5, 40, 40, 40)):
                peer.sendto(struct.pack("!BBHIIBBH", 0x80, 101, 4 + number, 640 + 800 * (event == 40), 5, event, 10, 160 * (1 + number)), (port.host, port.port))
            await until(lambda: "event 40" in heard.what and heard.clips)
            assert heard.what[0] == "started" and "5" in heard.what
            assert heard.clips == [(1, False)]
            stream.close()
            await stream.closed
        assert heard.what[-1] == "closed"

    run(work)


def wav(path: Path, pcm: np.ndarray, rate_hz: int, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as made:
        made.setnchannels(channels)
        made.setsampwidth(2)
        made.setframerate(rate_hz)
        made.writeframes(pcm.astype("<i2").tobytes())
    return path


class Playing(Heard):
    player: Player | None = None

    def on_played(self, stream: MediaStream, clip: int, *, flushed: bool) -> None:
        assert self.player is not None and self.player.played(clip, flushed=flushed)


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (16000, 1), (48000, 2)])
def test_a_file_is_played_at_the_rate_of_the_stream(peer: socket.socket, tmp_path: Path, rate_hz: int, channels: int) -> None:
    tone = (np.sin(2 * np.pi * 500 * np.arange(rate_hz // 2) / rate_hz) * 8000).astype(np.int16)
    path = wav(tmp_path / "tone.wav", np.repeat(tone, channels), rate_hz, channels)

    async def work() -> None:
        heard, ends = Playing(), []
        async with a_plane() as plane:
            stream = plane.open_stream(plane.open_port(), sending(peer, idle_sends=False), heard)
            heard.player = Player(stream, path, on_end=ends.append)
            assert heard.player.duration_s == 0.5
            heard.player.start()
            await until(lambda: ends)
            assert ends == [True]
        packets = []
        while True:
            try:
                packets.append(peer.recv(2000))
            except BlockingIOError:
                break
        assert 24 <= len(packets) <= 26
        assert {len(packet) for packet in packets} == {172}

    run(work)


def test_a_file_can_be_stopped(peer: socket.socket, tmp_path: Path) -> None:
    path = wav(tmp_path / "long.wav", np.ones(80000), 8000)

    async def work() -> None:
        heard, ends = Playing(), []
        async with a_plane() as plane:
            stream = plane.open_stream(plane.open_port(), sending(peer), heard)
            heard.player = Player(stream, path, on_end=ends.append)
            heard.player.start()
            await asyncio.sleep(0.1)
            heard.player.stop()
            heard.player.stop()
            assert ends == [False]
            await until(lambda: not heard.player._waiting)  # type: ignore[union-attr]

    run(work)


def test_a_recording_knows_its_pauses_and_its_channels(peer: socket.socket, tmp_path: Path) -> None:
    async def work() -> None:
        writer = Writer(256, 4)
        writer.start()
        try:
            async with a_plane(writer) as plane:
                recorder = Recorder(tmp_path, writer)
                port = plane.open_port()
                stream = plane.open_stream(port, sending(peer))
                plan = plan_of([Leg("1", "caller"), Leg("2", "callee")], ["PCMU", "PCMU"], rate_hz=8000, call_id="x@y")
                recording = await CallRecording.begin(recorder, plane, "one", plan)
                recording.add(0, stream)
                for number in range(30):
                    if number == 10:
                        recording.pause(0, reason="card", actor="agent")
                    if number == 20:
                        recording.resume(0)
                    peer.sendto(struct.pack("!BBHII", 0x80, 0, number, number * 160, 5) + bytes([number]) * 160, (port.host, port.port))
                    await asyncio.sleep(0.01)
                stream.close()
                await stream.closed
                manifest = await recording.finish()
                await recorder.close()
            assert [(one.type, one.reason, one.actor) for one in manifest.intervals] == [("pause", "card", "agent")]
            assert [one.label for one in manifest.channels] == ["1", "2"]
            assert manifest.channels[0].ssrc == (5,) and manifest.channels[0].mos is not None and manifest.channels[1].ssrc == ()
            with wave.open(str(tmp_path / "one.wav")) as both:
                assert both.getnchannels() == 2
                sound = np.frombuffer(both.readframes(both.getnframes()), "<i2").reshape(-1, 2)
            assert sound[:, 0].any() and not sound[:, 1].any()
        finally:
            writer.stop()

    run(work)


@pytest.mark.parametrize(("codecs", "untouched", "kind"), [
    (["PCMU", "PCMU"], True, "ulaw"), (["PCMA"], True, "alaw"), (["opus"], True, "opus"), (["PCMU", "PCMA"], True, "pcm16"), (["PCMU"], False, "pcm16"),
])  # fmt: skip
def test_plans_follow_the_codecs(codecs: list[str], untouched: bool, kind: str) -> None:
    assert plan_of([Leg()] * len(codecs), codecs, rate_hz=16000, untouched=untouched).kind == kind


# ---- what a negotiation means ----


def agreed(**more: object) -> NegotiatedMedia:
    pcmu = PayloadFormat(payload_type=0, name="pcmu", clock_rate_hz=8000)
    given: dict[str, object] = {
        "index": 0, "kind": "audio", "accepted": True, "direction": "sendrecv", "send": (pcmu,), "receive": (pcmu,), "ptime_ms": 20, "receive_ptime_ms": 20,
        "local": Transport(host="127.0.0.1", port=4000, rtcp_port=4001), "remote_host": "127.0.0.1", "remote_port": 5000, "remote_rtcp_host": "127.0.0.1",
        "remote_rtcp_port": 5001,
    }  # fmt: skip
    return NegotiatedMedia(**{**given, **more})  # type: ignore[arg-type]


def meaning(media: NegotiatedMedia, **policy: object) -> StreamSettings:
    return settings_of(media, PathPolicy(**policy), ssrc=1, first_sequence=2, first_timestamp=3, seed=4)  # type: ignore[arg-type]


def test_what_was_agreed_becomes_a_stream() -> None:
    found = meaning(agreed(receive=(
        PayloadFormat(payload_type=101, name="telephone-event", clock_rate_hz=8000), PayloadFormat(payload_type=18, name="g729", clock_rate_hz=8000),
        PayloadFormat(payload_type=0, name="pcmu", clock_rate_hz=8000), PayloadFormat(payload_type=13, name="CN", clock_rate_hz=8000),
    )))  # fmt: skip
    assert [(one.kind, one.payload_type) for one in found.formats] == [("audio", 0), ("event", 101), ("noise", 13)]
    assert found.receives and found.sends and found.remote_port == 5000 and found.remote_control_port == 5001
    assert not meaning(agreed(direction="recvonly")).sends
    assert not meaning(agreed(direction="sendonly")).receives
    assert not meaning(agreed(remote_host="0.0.0.0")).sends, "the old way to say hold"
    assert not meaning(agreed(), sends=False).sends
    assert meaning(agreed(receive_ptime_ms=10)).packets_per_s >= 100


def test_opus_and_g722_have_the_rates_of_their_rfcs() -> None:
    opus = format_of(PayloadFormat(payload_type=107, name="opus", clock_rate_hz=48000, channels=2, fmtp="sprop-stereo=0; stereo=1"), PathPolicy(opus_rate_hz=16000))
    assert opus is not None and (opus.clock_rate_hz, opus.sample_rate_hz, opus.channels) == (48000, 16000, 2)
    wide = format_of(PayloadFormat(payload_type=9, name="g722", clock_rate_hz=8000), PathPolicy())
    assert wide is not None and (wide.clock_rate_hz, wide.sample_rate_hz) == (8000, 16000)


def test_codecs_that_nobody_decodes_are_refused() -> None:
    with pytest.raises(PathError, match="g729") as caught:
        meaning(agreed(receive=(PayloadFormat(payload_type=18, name="g729", clock_rate_hz=8000),)))
    assert caught.value.status == 488


def test_streams_follow_the_agreements_of_a_call() -> None:
    async def work() -> None:
        async with a_plane() as plane:
            media = CallMedia(plane, advertised="203.0.113.7")
            transport = media.transport(0, 4)
            assert transport is not None and transport.host == "203.0.113.7" and media.transport(0, 4) == transport
            assert media.transport(1, 4) is not None
            (stream,) = media.apply([agreed()])
            assert not media.apply([agreed(remote_port=5002)]) and stream.settings.remote_port == 5002
            assert stream.settings.ssrc == media.streams[0].settings.ssrc
            assert len(media.apply([agreed(), agreed(index=1, remote_port=5010)])) == 1
            media.apply([agreed(accepted=False), agreed(index=1, remote_port=5010)])
            await stream.closed
            assert sorted(media.streams) == [1]
            media.close()
            await until(lambda: not plane._ports)

    run(work)

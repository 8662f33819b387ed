"""A worker that answers calls itself: it records them, or says back what it hears. Both ends run the real media plane."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import signal
import socket
import time
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from engine._native import audio
from engine._native.writer import Writer
from engine.config.document import Config, Network, Sip
from engine.media.manifest import Manifest, problems, read
from engine.media.path import CallMedia, PathPolicy
from engine.media.plane import MediaPlane, MediaStream, Pcm, StreamListener
from engine.media.player import Player
from engine.media.settings import PlaneSettings
from engine.media.wav import WavFile
from engine.media_worker import host_of, name_of, ports_of
from engine.sdp.codecs import G722, PCMA, PCMU, CodecCapability
from engine.sdp.offer_answer import Negotiation
from engine.sdp.terms import Terms
from engine.sip.call import Call, CallUser, Ending
from engine.sip.endpoint import Endpoint, Listener
from engine.sip.outgoing import Identity
from engine.sip.user_agent import Application
from engine.sip_worker import SipWorker, folder_of
from tests.running import server

WAIT_S = 20.0
ME = Identity(uri="sip:me@127.0.0.1")


def speech(samples: int, rate_hz: int = 8000) -> Pcm:
    random = np.random.default_rng(7)
    time_s = np.arange(samples) / rate_hz
    return (np.sin(2 * np.pi * (220 + 70 * np.sin(5 * time_s)) * time_s) * 7000 + random.normal(0, 700, samples)).astype(np.int16)


class Caller(CallUser, StreamListener):
    """The other end: it plays, and keeps what it hears."""

    def __init__(self, plane: MediaPlane, codecs: tuple[CodecCapability, ...], *, srtp: str = "off") -> None:
        self.media = CallMedia(plane, PathPolicy(idle_sends=False), listener_of=lambda index: self)
        self.session = Negotiation(
            Terms(host="127.0.0.1", codecs=codecs, srtp=srtp, answered_codecs=3), self.media.transport, random=secrets.token_bytes  # type: ignore[arg-type]
        )
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()
        self.closed = asyncio.Event()
        self.started = asyncio.Event()
        self.played = asyncio.Event()
        self.player: Player | None = None
        self.blocks: list[Pcm] = []

    @property
    def stream(self) -> MediaStream:
        return self.media.streams[0]

    def on_media(self, call: Call) -> None:
        for stream in self.media.apply(self.session.media):
            stream.hear(20)

    def on_connected(self, call: Call) -> None:
        self.connected.set()

    def on_ended(self, call: Call, ending: Ending) -> None:
        self.media.close()
        self.ended.set()

    def on_closed(self, stream: MediaStream) -> None:
        self.closed.set()

    def on_started(self, stream: MediaStream, ssrc: int, payload_type: int, source: object) -> None:
        self.started.set()

    def on_pcm(self, stream: MediaStream, pcm: Pcm, position: int, rate_hz: int) -> None:
        self.blocks.append(pcm)

    def on_played(self, stream: MediaStream, clip: int, *, flushed: bool) -> None:
        if self.player is None or self.player.played(clip, flushed=flushed):
            return

    def play(self, path: Path) -> None:
        self.player = Player(self.stream, path, on_end=lambda whole: self.played.set())
        self.player.start()


def wav(path: Path, pcm: Pcm, rate_hz: int = 8000) -> Path:
    with wave.open(str(path), "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(rate_hz)
        made.writeframes(pcm.astype("<i2").tobytes())
    return path


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as opened:
        return np.frombuffer(opened.readframes(opened.getnframes()), "<i2").reshape(-1, opened.getnchannels())


async def with_worker(tmp_path: Path, mode: str, work: Callable[[SipWorker, Endpoint, MediaPlane, int], Awaitable[None]]) -> None:
    folder = folder_of(tmp_path)
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Config(sip=Sip(host="127.0.0.1", listen=[f"udp://127.0.0.1:{port}"], answer=mode), network=Network(rtp_port_min=30000, rtp_port_max=31000))  # type: ignore[arg-type]
    worker = SipWorker(config, 0, 1, folder, tmp_path / "recordings")
    plane = MediaPlane(PlaneSettings(streams=8), writer=Writer(8, 1))
    endpoint = Endpoint(Application())
    try:
        await worker.open()
        plane.open()
        await endpoint.listen(Listener(host="127.0.0.1", port=0))
        await work(worker, endpoint, plane, port)
    finally:
        await endpoint.close()
        await worker.close(2.0)
        await plane.close()


def manifests(tmp_path: Path) -> list[Manifest]:
    return [read(path) for path in sorted((tmp_path / "recordings").glob("*.json"))]


async def converse(endpoint: Endpoint, port: int, caller: Caller, source: Path) -> None:
    async with asyncio.timeout(WAIT_S):
        call = endpoint.agent.call(f"sip:who@127.0.0.1:{port}", ME, session=caller.session, user=caller)
        await caller.connected.wait()
        caller.play(source)
        await caller.played.wait()
        await asyncio.sleep(0.1)
        call.hang_up()
        await caller.ended.wait()
        await caller.closed.wait()


@pytest.mark.parametrize(("codec", "law", "srtp"), [(PCMU, audio.ULAW, "off"), (PCMA, audio.ALAW, "off"), (PCMU, audio.ULAW, "required")])
def test_a_call_is_recorded_sample_by_sample(tmp_path: Path, codec: CodecCapability, law: int, srtp: str) -> None:
    source = speech(8000)

    async def work(worker: SipWorker, endpoint: Endpoint, plane: MediaPlane, port: int) -> None:
        caller = Caller(plane, (codec,), srtp=srtp)
        await converse(endpoint, port, caller, wav(tmp_path / "source.wav", source))
        assert worker.media is not None
        async with asyncio.timeout(WAIT_S):
            while not worker.media.recorded:
                await asyncio.sleep(0.02)
        assert worker.numbers()["recorded"] == 1 and worker.numbers()["streams"] == 0

    asyncio.run(with_worker(tmp_path, "record", work))
    (manifest,) = manifests(tmp_path)
    assert manifest.state == "complete" and not manifest.warnings
    assert [one.ssrc != () and one.lost == 0 for one in manifest.channels] == [True]
    assert not problems(next((tmp_path / "recordings").glob("*.json")))
    leg = next(one for one in manifest.files if one.path.endswith("leg0.wav"))
    got = samples(tmp_path / "recordings" / leg.path)[:, 0]
    want = np.asarray(audio.decode(law, audio.encode(law, source)))
    first = int(np.argmax(np.lib.stride_tricks.sliding_window_view(got, 80).dot(np.ones(80)) == want[:80].sum()))
    found = [at for at in range(len(got) - len(want) + 1) if got[at] == want[0] and np.array_equal(got[at : at + len(want)], want)]
    assert found, first
    silent = np.concatenate([got[: found[0]], got[found[0] + len(want) :]])
    assert not np.any(np.abs(silent.astype(int)) > 8)


def test_a_wide_call_is_recorded_at_its_rate(tmp_path: Path) -> None:
    source = speech(16000, 16000)

    async def work(worker: SipWorker, endpoint: Endpoint, plane: MediaPlane, port: int) -> None:
        await converse(endpoint, port, Caller(plane, (G722,)), wav(tmp_path / "source.wav", source, 16000))

    asyncio.run(with_worker(tmp_path, "record", work))
    (manifest,) = manifests(tmp_path)
    assert {one.rate_hz for one in manifest.files} == {16000}
    got = samples(tmp_path / "recordings" / manifest.files[0].path)[:, 0].astype(float)
    spread = np.correlate(got, source[4000:8000].astype(float), "valid")
    at = int(np.argmax(spread)) - 4000
    aligned = got[at + 2000 : at + 14000]
    error = aligned - source[2000:14000]
    assert 10 * np.log10((source[2000:14000].astype(float) ** 2).mean() / (error**2).mean()) > 12


def test_an_echo_says_back_what_it_hears(tmp_path: Path) -> None:
    source = speech(8000)
    heard: list[np.ndarray] = []

    async def work(worker: SipWorker, endpoint: Endpoint, plane: MediaPlane, port: int) -> None:
        caller = Caller(plane, (PCMU,))
        await converse(endpoint, port, caller, wav(tmp_path / "source.wav", source))
        heard.append(np.concatenate(caller.blocks))

    asyncio.run(with_worker(tmp_path, "echo", work))
    want = np.asarray(audio.decode(audio.ULAW, audio.encode(audio.ULAW, source)))
    (got,) = heard
    assert any(np.array_equal(got[at : at + len(want)], want) for at in range(len(got) - len(want) + 1))
    assert not manifests(tmp_path)


def test_calls_that_run_are_sealed_when_the_worker_ends(tmp_path: Path) -> None:
    async def work(worker: SipWorker, endpoint: Endpoint, plane: MediaPlane, port: int) -> None:
        callers = [Caller(plane, (PCMU,)) for _ in range(3)]
        for caller in callers:
            endpoint.agent.call(f"sip:who@127.0.0.1:{port}", ME, session=caller.session, user=caller)
        async with asyncio.timeout(WAIT_S):
            for caller in callers:
                await caller.connected.wait()
                caller.play(wav(tmp_path / "source.wav", speech(2400)))
            for caller in callers:
                await caller.played.wait()

    asyncio.run(with_worker(tmp_path, "record", work))
    assert [one.state for one in manifests(tmp_path)] == ["complete"] * 3
    assert not list((tmp_path / "recordings").glob(".*.part"))


def test_ports_are_shared_out_and_names_are_safe() -> None:
    config = Config(network=Network(rtp_port_min=10000, rtp_port_max=20000))
    shares = [ports_of(config, index, 3) for index in range(3)]
    assert shares[0][0] == 10000 and all(before[1] == after[0] for before, after in itertools.pairwise(shares))
    assert host_of(config) == config.sip.host
    name = name_of("../../etc/passwd\x00@" + "a" * 500)
    assert "/" not in name and "." not in name and len(name) < 80
    assert name_of("") != name_of("")
    assert time.strftime("%Y") in name


CALLS_KILLED = 10
LOST_MAX_S = 0.25


def frames_on_disk(path: Path) -> int:
    """As the header says it."""
    with WavFile(path) as found:
        return found.layout.frames


@pytest.mark.slow
def test_a_killed_worker_loses_a_quarter_of_a_second_at_most(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "data" / "recordings"

    async def work() -> None:
        plane = MediaPlane(PlaneSettings(streams=CALLS_KILLED))
        endpoint = Endpoint(Application())
        plane.open()
        try:
            await endpoint.listen(Listener(host="127.0.0.1", port=0))
            callers = [Caller(plane, (PCMU,)) for _ in range(CALLS_KILLED)]
            async with asyncio.timeout(WAIT_S):
                for caller in callers:
                    endpoint.agent.call(f"sip:who@127.0.0.1:{port}", ME, session=caller.session, user=caller)
                for caller in callers:
                    await caller.connected.wait()
                    caller.stream.play(speech(8000), loops=True)
            await asyncio.sleep(2.0)
            with running.client() as admin:
                pid = next(child["pid"] for child in admin.get("/status").json()["processes"]["children"] if child["name"] == "worker.0")
            sent = [caller.stream.counts()["sent"] for caller in callers]
            os.kill(pid, signal.SIGKILL)
            staged = [frames_on_disk(path) for path in folder.glob(".*-leg0.wav.part")]
            assert len(staged) == CALLS_KILLED
            # Packets sent while the numbers were read make files longer, never shorter.
            assert min(staged) >= min(sent) * 160 - LOST_MAX_S * 8000, (sorted(staged), sorted(sent))
            async with asyncio.timeout(WAIT_S):
                while len(list(folder.glob("*.json"))) < CALLS_KILLED:
                    await asyncio.sleep(0.1)
        finally:
            await endpoint.close()
            await plane.close()

    with server(TRUNKLINE_SIP_HOST="127.0.0.1", TRUNKLINE_SIP_PORT=str(port), TRUNKLINE_SIP_ANSWER="record", data=tmp_path / "data") as running:
        asyncio.run(work())
    found = [read(path) for path in folder.glob("*.json")]
    assert {one.state for one in found} == {"recovered"}
    for one in found:
        assert not problems(folder / f"{one.recording_id}.json")
        legs = [file for file in one.files if file.path.endswith("-leg0.wav")]
        assert len(samples(folder / legs[0].path)) >= 8000

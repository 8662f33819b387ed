"""A paused window of a real call: no sample, no digit and no body of it is in any file, from the answer to the request on and within 100 ms of it.

Everything that the window has is unique: noise whose every packet is found again by its bytes, digits in telephone-events with durations of their own, and INFO
bodies with words of their own. The same kinds of things from before and after the window must be found, or the search would prove nothing.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np
import pytest

from engine._native import audio
from engine.media.wav import WavFile
from tests.engine.siprec.source import Leg, Session, Source, metadata, run
from tests.flow.siprec.calls import Recorder, recorder

pytestmark = pytest.mark.slow

PACKET_S: Final = 0.02
WITHIN_S: Final = 0.1
ROUNDS: Final = 5
PIECE: Final = 24  # bytes of mu-law noise: nothing else has the same
EVENT: Final = 101
ON: Final = {"PAUSE_RESUME_ENABLED": "true", "TRUNKLINE_PAUSE_RESUME_REQUIRE_AUTH": "false", "TRUNKLINE_LOG_LEVEL": "debug"}


class Sent(msgspec.Struct):
    """A packet of speech: when, and its bytes."""

    at: float
    payload: bytes


class Talk:
    """Two people who do not stop talking: a packet of noise of its own from each, every 20 ms."""

    def __init__(self, legs: list[Leg]) -> None:
        self.legs = legs
        self.sent: list[list[Sent]] = [[] for _ in legs]
        self._noise = np.random.default_rng(5)
        self._going = asyncio.create_task(self._go())

    async def _go(self) -> None:
        began = time.monotonic()
        for number in range(100_000):
            for leg, sent in zip(self.legs, self.sent, strict=True):
                pcm = self._noise.normal(0, 6000, 160).clip(-32000, 32000).astype(np.int16)
                payload = bytes(audio.encode(audio.ULAW, pcm))
                sent.append(Sent(time.monotonic(), payload))
                leg.send(pcm)
            await asyncio.sleep(max(began + (number + 1) * PACKET_S - time.monotonic(), 0))

    async def for_packets(self, count: int) -> None:
        """Returns when so many more were sent."""
        until = len(self.sent[0]) + count
        while len(self.sent[0]) < until:
            await asyncio.sleep(PACKET_S / 2)

    async def over(self) -> None:
        self._going.cancel()
        await asyncio.gather(self._going, return_exceptions=True)


def press(leg: Leg, digit: int, duration: int) -> None:
    """A key, as telephone-events (RFC 4733): while it is down, and three times that it is up."""
    assert leg.to is not None
    for turn in range(6):
        head = struct.pack(">BBHII", 0x80, EVENT | (0x80 if not turn else 0), leg.sequence & 0xFFFF, leg.timestamp & 0xFFFFFFFF, leg.ssrc)
        leg.sequence += 1
        leg.socket.sendto(head + struct.pack(">BBH", digit, 0x8A if turn > 2 else 0x0A, duration), leg.to)


async def told(session: Session, word: str) -> None:
    """A digit in INFO, with a word of its own, in both shapes that are about."""
    for kind, body in (("application/dtmf-relay", f"Signal=7\r\nDuration=160\r\nX-Mark={word}\r\n"), ("application/dtmf", f"7 {word}")):
        session.request("INFO", kind, body.encode())
        assert (await session.final()).status < 500


class Window(msgspec.Struct):
    """A pause: when it was asked for and answered, and when its end was asked for. Of the monotonic clock."""

    asked: float
    answered: float
    ended: float = 0.0


def spellings(payload: bytes) -> tuple[bytes, ...]:
    """A packet as a file may have it: as it came, and as 16-bit samples."""
    pcm = np.asarray(audio.decode(audio.ULAW, payload)).astype("<i2").tobytes()
    return payload[64 : 64 + PIECE], pcm[128 : 128 + 2 * PIECE]


def channels_of(path: Path) -> list[bytes]:
    """The samples of each channel of a WAV file, one after the other."""
    with WavFile(path) as file:
        sound = file.read(0, 10**9)
    return [np.ascontiguousarray(sound[:, channel]).astype("<i2").tobytes() for channel in range(sound.shape[1])]


def everything(data: Path) -> list[tuple[str, bytes]]:
    """Every file, and every channel of every recording, whose samples lie between those of the others."""
    found = []
    for path in sorted(data.rglob("*")):
        if path.is_file():
            found.append((str(path.relative_to(data)), path.read_bytes()))
            if path.suffix == ".wav":
                found += [(f"{path.name}, channel {number}", sound) for number, sound in enumerate(channels_of(path))]
    return found


def where(texts: Iterable[bytes], contents: list[tuple[str, bytes]]) -> list[str]:
    """Names of what has one of these."""
    wanted = list(texts)
    return [name for name, content in contents if any(text in content for text in wanted)]


async def paused(client: httpx.AsyncClient, call_id: str, what: str) -> float:
    """Pauses or resumes; when that was answered."""
    answer = await client.post(f"/api/sessions/{call_id}/{what}", json={})
    at = time.monotonic()
    assert answer.status_code == 200, answer.text
    assert answer.json()["recording_paused"] is (what == "pause")
    return at


async def call(made: Recorder, rounds: int, words: dict[str, list[str]]) -> tuple[Talk, list[Window]]:
    """A call with so many paused windows; what was said, and when it was paused."""
    loop = asyncio.get_running_loop()
    transport, source = await loop.create_datagram_endpoint(lambda: Source(made.port), local_addr=("127.0.0.1", 0))
    legs = [Leg("1"), Leg("2")]
    session, windows = Session(source, legs), []
    headers = {"Authorization": f"Bearer {made.running.key}"}
    async with httpx.AsyncClient(base_url=made.running.url, headers=headers, timeout=30) as client:
        assert (await session.invite(metadata())).status == 200
        talk = Talk(legs)
        await talk.for_packets(25)
        await paused(client, session.call_id, "resume")  # the way there is warm
        for number in range(rounds):
            for when in ("before", "in", "after"):
                words[when].append(f"mark-{when}-{number}-{session.call_id}")
            press(legs[0], 1, 1111)
            await told(session, words["before"][-1])
            await talk.for_packets(15)
            asked = time.monotonic()
            windows.append(Window(asked, await paused(client, session.call_id, "pause")))
            await talk.for_packets(5)
            for digit in (4, 9, 2, 9):
                press(legs[1], digit, 2222)
            await told(session, words["in"][-1])
            await talk.for_packets(15)
            press(legs[0], 5, 2222)
            await told(session, words["in"][-1])
            windows[-1].ended = time.monotonic()
            await paused(client, session.call_id, "resume")
            await talk.for_packets(10)
            press(legs[0], 3, 3333)
            await told(session, words["after"][-1])
        await talk.for_packets(25)
        await talk.over()
        assert (await session.bye()).status == 200
        deadline = time.monotonic() + 20
        while not list(made.recordings.glob("*.record")):
            assert time.monotonic() < deadline, "the recording was not sealed"
            await asyncio.sleep(0.05)
    for leg in legs:
        leg.close()
    transport.close()
    return talk, windows


def is_in(at: float, windows: list[Window]) -> bool:
    """Whether what was sent then was sent in a window: behind the answer, and before its end was asked for."""
    return any(window.answered < at < window.ended for window in windows)


def check_sound(data: Path, talk: Talk, windows: list[Window]) -> list[float]:
    """Nothing of the windows is there, all around them is; how long after each request the last packet was sent that is there."""
    contents = everything(data)
    late = [0.0] * len(windows)
    for sent in talk.sent:
        for packet in sent:
            found = where(spellings(packet.payload), contents)
            if is_in(packet.at, windows):
                assert not found, f"{packet.at - windows[0].asked:.3f} s after the pause: {found}"
            elif found:
                for number, window in enumerate(windows):
                    if window.asked < packet.at < window.ended:
                        late[number] = max(late[number], packet.at - window.asked)
        outside = [packet for packet in sent[10:-15] if not any(window.asked - 0.1 < packet.at < window.ended + 0.25 for window in windows)]
        missing = [packet for packet in outside if not where(spellings(packet.payload), contents)]
        assert len(outside) > 20 and len(missing) <= len(outside) // 10, "the search does not find what was recorded"
    return late


def check_timeline(data: Path, talk: Talk, windows: list[Window]) -> None:
    """The window is silence in all channels, as long as it was, and what came later is where it belongs."""
    (merged,) = [path for path in (data / "recordings").glob("*.wav") if "-leg" not in path.name]
    for sound, sent in zip(channels_of(merged), talk.sent, strict=True):
        place = {}
        for number, packet in enumerate(sent):
            at = sound.find(spellings(packet.payload)[1])
            if at >= 0:
                place[number] = (at // 2 - 64) / 8000
        first, last = min(place), max(place)
        assert abs((place[last] - place[first]) - (last - first) * PACKET_S) < 0.005
        for window in windows:
            inside = [number for number, packet in enumerate(sent) if window.answered < packet.at < window.ended]
            begin = place[first] + (inside[0] - first) * PACKET_S
            end = place[first] + (inside[-1] + 1 - first) * PACKET_S
            samples = np.frombuffer(sound, "<i2")
            assert not samples[round(begin * 8000) + 160 : round(end * 8000) - 160].any()


def test_nothing_of_a_paused_window_is_kept_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    words: dict[str, list[str]] = {"before": [], "in": [], "after": []}
    heard: list[Any] = []

    with recorder(data, **ON) as made:

        async def work() -> None:
            heard.extend(await call(made, ROUNDS, words))

        run(work)
        talk, windows = heard
        while_it_runs = everything(data)
        assert not where((word.encode() for word in words["in"]), while_it_runs)
        for word in (*words["before"], *words["after"]):
            assert where([word.encode()], while_it_runs), "the live trace has what was said outside of the window"
    late = check_sound(data, talk, windows)
    check_timeline(data, talk, windows)
    contents = everything(data)
    assert not where((word.encode() for word in words["in"]), contents)
    assert not where([struct.pack(">BBH", digit, flags, 2222) for digit in (4, 9, 2, 5) for flags in (0x0A, 0x8A)], contents)
    logged = capfd.readouterr()
    for text in (logged.err, logged.out):
        assert not any(word in text for word in words["in"])
    assert sorted(late)[ROUNDS // 2] <= WITHIN_S, late
    (manifest,) = [path for path in (data / "recordings").glob("*.json") if ".siprec" not in path.name]
    pauses = [interval for interval in msgspec.json.decode(manifest.read_bytes())["intervals"] if interval["type"] == "pause"]
    assert len(pauses) == ROUNDS
    with capfd.disabled():
        print(f"\npaused after {', '.join(f'{1000 * each:.0f}' for each in late)} ms; answered after {', '.join(f'{1000 * (w.answered - w.asked):.0f}' for w in windows)} ms")


def test_a_call_that_begins_paused_leaves_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    result: list[Any] = []

    with recorder(data, **ON, TRUNKLINE_SIPREC_BEGIN_PAUSED="true") as made:

        async def work() -> None:
            loop = asyncio.get_running_loop()
            transport, source = await loop.create_datagram_endpoint(lambda: Source(made.port), local_addr=("127.0.0.1", 0))
            legs = [Leg("1"), Leg("2")]
            session = Session(source, legs)
            async with httpx.AsyncClient(base_url=made.running.url, headers={"Authorization": f"Bearer {made.running.key}"}, timeout=30) as client:
                assert (await session.invite(metadata())).status == 200
                talk = Talk(legs)
                await told(session, f"mark-in-{session.call_id}")
                press(legs[0], 9, 2222)
                await talk.for_packets(30)
                ended = time.monotonic()
                await paused(client, session.call_id, "resume")
                await talk.for_packets(60)
                await talk.over()
                assert (await session.bye()).status == 200
                deadline = time.monotonic() + 20
                while not list(made.recordings.glob("*.record")):
                    assert time.monotonic() < deadline, "the recording was not sealed"
                    await asyncio.sleep(0.05)
            transport.close()
            for leg in legs:
                leg.close()
            result.extend((talk, [Window(0.0, 0.0, ended)], session.call_id))

        run(work)
    talk, windows, call_id = result
    check_sound(data, talk, windows)
    assert not where([f"mark-in-{call_id}".encode()], everything(data))

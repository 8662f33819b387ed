"""Calls of baresip with sound, both ways: G.711 sample for sample, G.722 and Opus as other decoders have it and as near to what was said as those codecs come,
keys, holds, and reports. All calls run at once; the tests look at what came of each."""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import opuslib
import pytest

from engine.sdp.codecs import G722, OPUS, PCMA, PCMU
from tests.flow import media_sources as sources
from tests.flow.audio_quality import Pcm, aligned, lag_of, pesq, place_of, segmental_snr_db, snr_db
from tests.flow.baresip import Baresip, baresip
from tests.flow.media_agent import PATIENT, MediaAgent, Voice, media_agent, plan, play
from tests.flow.program import path_of

pytestmark = pytest.mark.slow
SECONDS: Final = 3
THEIR_KEYS: Final = "19*#"
OUR_KEYS: Final = "0582#*AD"
# libre decodes the code of 0 to 2: what it is to hear sample for sample has none of it.
CODES: Final = {seed: sources.codes(8000 * (SECONDS + 6), seed=seed, but=(0x7F, 0xFF)) for seed in (40, 41, 42, 43)}


def talk(rate_hz: int, seed: int) -> Pcm:
    """Enough to say for a call, the same again and again."""
    return np.tile(sources.speech(2.0, rate_hz, seed), 5)


class Case:
    """One telephone, what it says and what it is to hear."""

    def __init__(self, codec: str, module: str, rate_hz: int, says: Pcm, hears: Pcm, *settings: str) -> None:
        self.codec = codec
        self.module = module
        self.rate_hz = rate_hz
        self.says = says
        self.hears = hears[: rate_hz * (SECONDS - 1)]
        self.settings = settings


CASES: Final = {
    "pcmu": Case("PCMU/8000/1", "g711", 8000, sources.of_ulaw(CODES[40]), sources.of_ulaw(CODES[41])),
    "pcma": Case("PCMA/8000/1", "g711", 8000, sources.of_alaw(CODES[42]), sources.of_alaw(CODES[43])),
    "g722": Case("G722/16000/1", "g722", 16_000, talk(16_000, 44), talk(16_000, 45)),
    "opus": Case("opus/48000/2", "opus", 48_000, talk(48_000, 46), talk(48_000, 47), "opus_bitrate 64000", "opus_stereo no", "opus_sprop_stereo no"),
    "keys": Case("PCMU/8000/1", "g711", 8000, sources.of_ulaw(CODES[40]), sources.of_ulaw(CODES[41])),
    "held": Case("PCMU/8000/1", "g711", 8000, sources.of_ulaw(CODES[40]), sources.of_ulaw(CODES[41])),
    "holds": Case("PCMU/8000/1", "g711", 8000, sources.of_ulaw(CODES[41]), sources.of_ulaw(CODES[40])),
}  # fmt: skip


class Outcome:
    """What came of all calls."""

    def __init__(self) -> None:
        self.voices: dict[str, Voice] = {}
        self.heard: dict[str, Pcm] = {}
        self.told: dict[str, list[str]] = {}
        self.log: dict[str, str] = {}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("calls")
    outcome = Outcome()

    async def during(agent: MediaAgent, phones: dict[str, Baresip]) -> None:
        """What happens while they speak."""
        call, voice = agent.calls["held"], agent.voices["held"]
        await asyncio.sleep(1)
        voice.stream.flush()
        call.offer(voice.negotiation.hold)
        await asyncio.to_thread(phones["holds"].hold)
        for digit in THEIR_KEYS:
            await asyncio.to_thread(phones["keys"].send_dtmf, digit)
            await asyncio.sleep(0.25)
        agent.voices["keys"].stream.send_digits(OUR_KEYS, duration_ms=80, pause_ms=60)
        call.offer(voice.negotiation.resume)
        await asyncio.to_thread(phones["holds"].resume)
        await asyncio.sleep(SECONDS - 1.8)

    async def run() -> None:
        plans = {name: plan(rate_hz=case.rate_hz, capture=True) for name, case in CASES.items()}
        plays = {name: case.hears for name, case in CASES.items()}
        special = {name: {"codecs": (codec,)} for name, codec in (("pcma", PCMA), ("g722", G722), ("opus", OPUS))}
        policies = {"opus": msgspec.structs.replace(PATIENT, bit_rate=64_000)}
        async with media_agent(folder, codecs=(PCMU,), policies=policies, special=special, plans=plans, plays=plays) as agent:
            with ExitStack() as stack:
                phones = {}
                for name, case in CASES.items():
                    microphone = sources.write_wav(folder / f"{name}-says.wav", case.says, case.rate_hz)
                    phones[name] = stack.enter_context(
                        baresip(
                            folder, name, answer="auto", microphone=microphone, modules=[case.module], settings=case.settings,
                            account=[f"audio_codecs={case.codec}", "dtmfmode=rtpevent"],
                        )
                    )  # fmt: skip
                for name, phone in phones.items():
                    if name in ("pcmu", "opus", "holds"):
                        await asyncio.to_thread(phone.dial, agent.uri(name))
                    else:
                        await agent.dial(phone.uri())
                await agent.heard("connected", len(CASES))
                await during(agent, phones)
                for phone in phones.values():
                    await asyncio.to_thread(phone.hangup)
                for name, phone in phones.items():
                    await asyncio.to_thread(phone.wait_for, "CALL_CLOSED")
                    outcome.told[name] = [event.param for event in phone.events if event.type == "CALL_DTMF_START"]
            for name, phone in phones.items():
                outcome.log[name] = phone.told()
                (file,) = phone.heard
                outcome.heard[name], rate_hz = sources.read_wav(file)
                assert rate_hz == CASES[name].rate_hz
            outcome.voices.update(await agent.finished())

    play(run)
    return outcome


def said(voice: Voice) -> Pcm:
    """The samples of whole packets that came."""
    return CASES[voice.name].says[: voice.final["delivered"] * CASES[voice.name].rate_hz // 50]


@pytest.mark.parametrize("name", ["pcmu", "pcma"])
def test_g711_of_baresip_is_recorded_sample_for_sample(calls: Outcome, name: str) -> None:
    """Called by it, and calling it, where it speaks as soon as it answers."""
    voice = calls.voices[name]
    assert voice.has_lost_nothing() and voice.final["delivered"] > 50 * (SECONDS - 1)
    assert voice.is_in_its_place(voice.place_of(said(voice)))


@pytest.mark.parametrize("name", ["pcmu", "pcma"])
def test_baresip_hears_g711_of_ours_sample_for_sample(calls: Outcome, name: str) -> None:
    hears, heard = CASES[name].hears, calls.heard[name]
    assert heard.size > hears.size
    at = lag_of(hears, heard)
    assert np.array_equal(heard[at : at + hears.size], hears)
    assert calls.voices[name].ear.of("played") and not any(flushed for _, flushed in calls.voices[name].ear.of("played"))


def quality_of(rate_hz: int, said: Pcm, heard: Pcm) -> tuple[float, float]:
    """Segmental SNR in dB and PESQ, of what was heard without the codec's own delay."""
    said, heard = aligned(said, heard)
    step = rate_hz // 16_000
    return segmental_snr_db(said, heard, rate_hz), pesq(np.ascontiguousarray(said[::step]), np.ascontiguousarray(heard[::step]), 16_000)


def reference_of(codec: str, rate_hz: int, said: Pcm, application: str = "audio") -> tuple[float, float]:
    """The same of FFmpeg's encoder and decoder."""
    parts = sources.coded("libopus" if codec == "opus" else codec, said, rate_hz, application=application)
    return quality_of(rate_hz, said, sources.decoded(codec, parts, rate_hz))


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_other_codecs_of_baresip_are_recorded_as_another_decoder_has_them(calls: Outcome, codec: str) -> None:
    voice, rate_hz = calls.voices[codec], CASES[codec].rate_hz
    payloads = [packet[12:] for packet in voice.packets()]
    assert voice.has_lost_nothing(len(payloads)) and len(payloads) > 50 * (SECONDS - 1)
    theirs, pcm = sources.decoded(codec, payloads, rate_hz), voice.heard()
    assert theirs.size == len(payloads) * rate_hz // 50
    if codec == "g722":  # its decoder is defined to the bit
        at = voice.place_of(theirs)
    else:
        at = lag_of(theirs, pcm)
        assert snr_db(theirs, pcm[at : at + theirs.size]) > 90
        assert not pcm[:at].any() and not pcm[at + theirs.size :].any()
    assert voice.is_in_its_place(at)
    says = said(voice)
    quality, reference = quality_of(rate_hz, says, pcm[at : at + theirs.size]), reference_of(codec, rate_hz, says)
    assert quality[0] > reference[0] - 4.0 and quality[1] > reference[1] - 0.1, (quality, reference)


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_baresip_hears_other_codecs_of_ours_as_another_decoder_does(calls: Outcome, codec: str) -> None:
    """Both use libopus; G.722 is another's."""
    case, heard = CASES[codec], calls.heard[codec]
    payloads = [packet[12:] for packet in calls.voices[codec].packets(ours=True)]
    if codec == "g722":
        theirs = sources.decoded(codec, payloads, case.rate_hz)
    else:
        decoder = opuslib.Decoder(case.rate_hz, 1)
        theirs = np.frombuffer(b"".join(decoder.decode(one, case.rate_hz // 50) for one in payloads), np.int16)
    assert np.array_equal(heard, theirs[: heard.size]) and heard.size > case.hears.size
    quality, reference = quality_of(case.rate_hz, case.hears, heard), reference_of(codec, case.rate_hz, case.hears, "voip")
    assert quality[0] > reference[0] - 4.0 and quality[1] > reference[1] - 0.25, (quality, reference)


def test_keys_are_heard_both_ways(calls: Outcome) -> None:
    voice = calls.voices["keys"]
    assert voice.ear.of("digit") == [(digit, False) for digit in THEIR_KEYS]
    assert [digit for digit, _ in voice.ear.of("digit end")] == list(THEIR_KEYS)
    assert calls.told["keys"] == list(OUR_KEYS)


def numbers_of(packet: bytes) -> tuple[int, int]:
    """Sequence number and timestamp."""
    sequence, timestamp = struct.unpack_from("!HI", packet, 2)
    return sequence, timestamp


def test_a_hold_of_baresip_is_as_long_as_its_timestamps_say(calls: Outcome) -> None:
    """It sends nothing while it holds; every packet before and behind is in its place."""
    voice = calls.voices["holds"]
    packets, pcm = voice.packets(), voice.heard()
    _, begin = numbers_of(packets[0])
    places = [numbers_of(packet)[1] - begin for packet in packets]
    assert max(b - a for a, b in itertools.pairwise(places)) > 160 * 40, "it was no hold"
    expected = np.zeros(places[-1] + 160, np.int16)
    for place, packet in zip(places, packets, strict=True):
        expected[place : place + 160] = sources.of_ulaw(packet[12:])
    assert voice.is_in_its_place(voice.place_of(expected))
    assert voice.has_lost_nothing(len(packets)) and pcm.size >= expected.size


def test_a_hold_of_ours_lasts_as_long_as_it_did(calls: Outcome) -> None:
    """What comes while we do not want it is not recorded; what was said before and is said behind it is, and neither is torn."""
    voice = calls.voices["held"]
    packets, pcm = voice.packets(), voice.heard()
    (gap,) = [at for at, (a, b) in enumerate(itertools.pairwise(packets), 1) if numbers_of(b)[1] - numbers_of(a)[1] > 160 * 40]
    others = len(packets) - voice.final["delivered"]  # on their way when the hold began or ended
    assert 0 <= others < 10
    places = []
    for early in range(others + 1):
        before, behind = packets[: gap - early], packets[gap + others - early :]
        at, then = (place_of(sources.of_ulaw(b"".join(packet[12:] for packet in part)), pcm) for part in (before, behind))
        if at >= 0 and then >= 0:
            places.append((at, at + 160 * len(before), then, numbers_of(behind[0])[1] - numbers_of(packets[0])[1]))
    assert len(places) == 1, voice.final
    ((at, end, then, apart),) = places
    assert voice.is_in_its_place(at)
    assert then - at >= apart - 800  # its timestamps may leave a part of the hold out
    assert not pcm[at:][end - at : then - at].any()


@pytest.mark.parametrize("name", ["pcmu", "g722", "opus", "keys"])
def test_tshark_finds_both_streams_in_our_capture(calls: Outcome, name: str) -> None:
    """With as many packets as came and were sent, none lost, none malformed."""
    voice = calls.voices[name]
    read = [path_of("tshark"), "-n", "-r", str(voice.capture), "-d", f"udp.port=={voice.port},rtp", "-T", "fields", "-e", "rtp.version", "-e", "_ws.malformed"]
    told = subprocess.run([*read, "-z", "rtp,streams"], capture_output=True, text=True, check=True).stdout.splitlines()
    # ... source, its port, destination, its port, SSRC, payload types, packets, lost (percent) ...
    found = {int(fields[0].split()[-3]): fields[1] for line in told if len(fields := line.split(" 0x")) == 2}
    assert len(found) == 2
    for port, about in found.items():
        ssrc, packets, lost = re.fullmatch(r"([0-9A-F]{8}) .*? (\d+) +(-?\d+) \(.*", about).groups()  # type: ignore[union-attr]
        ours = port == voice.port
        assert (int(ssrc, 16), int(packets), int(lost)) == (voice.final["ssrc" if ours else "remote_ssrc"], voice.final["sent" if ours else "received"], 0)
        assert int(packets) == len(voice.packets(ours=ours))
    assert told[: voice.final["sent"] + voice.final["received"]] == ["2\t"] * (voice.final["sent"] + voice.final["received"])


def test_reports_of_baresip_and_ours(tmp_path: Path) -> None:
    """libre reports every five seconds, the second time about a report of ours; then it sums up what it knows from ours."""

    async def run() -> None:
        async with media_agent(tmp_path) as agent:
            microphone = sources.write_wav(tmp_path / "says.wav", sources.noise(40.0), 8000)
            with baresip(tmp_path, "bob", answer="auto", microphone=microphone, modules=["rtcpsummary"], account=["audio_codecs=PCMU/8000/1"]) as bob:
                await agent.dial(bob.uri())
                await agent.heard("connected")
                ear = agent.voices["bob"].ear
                await agent.until(lambda: any(rtt_ms is not None for _, _, rtt_ms in ear.of("report")), within_s=30.0)
                sent = agent.voices["bob"].stream.counts()["control_sent"]
                await agent.until(lambda: agent.voices["bob"].stream.counts()["control_sent"] > sent)
                await asyncio.to_thread(bob.hangup)
                await asyncio.to_thread(bob.wait_for, "CALL_CLOSED")
                summed_up = re.search(r"EX=BareSip;.*PR=(\d+);PS=(\d+);PL=(\d+),(\d+);.*DL=([0-9.]+)", bob.told())
            voice = (await agent.finished())["bob"]
            assert all(fraction == 0.0 and jitter_ms < 1000 for fraction, jitter_ms, _ in ear.of("report"))
            assert 0 <= ear.of("report")[-1][2] == pytest.approx(voice.final["rtt_ms"], abs=0.01)
            assert summed_up is not None
            heard, said, lost_there, lost_here, _ = summed_up.groups()
            assert (lost_there, lost_here) == ("0", "0") and 0 < int(heard) <= voice.final["sent"] and 0 < int(said) <= voice.final["received"]

    play(run)

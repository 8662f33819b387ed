"""Calls of SIPp with sound: what it sends comes out of the recorder sample for sample, what we send comes back, keys are heard, and what happens in the
middle of a call (hold, another codec, another source) moves nothing. All calls run at once; the tests look at what came of each."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from engine.media.path import PathPolicy
from engine.sdp.codecs import PCMA, PCMU
from tests.data.rtp_builder import event_payload, rtp
from tests.flow import media_sources as sources
from tests.flow.audio_quality import Pcm, place_of
from tests.flow.media_agent import Voice, media_agent, plan, play
from tests.flow.sipp import STREAM_PORT, does, media, offers, sipp, speaking, waits

PCMU_LINE: Final = "0 PCMU/8000"
PCMA_LINE: Final = "8 PCMA/8000"
EVENT_LINE: Final = "96 telephone-event/8000"  # the number that its play_dtmf has
LAWS: Final = {"ulaw": (0, PCMU_LINE, sources.of_ulaw, 7, 0xFF), "alaw": (8, PCMA_LINE, sources.of_alaw, 6, 0xD5)}
KEYS: Final = "0123456789*#ABCD"
TONES: Final = "159D*0#7"
HELD_MS: Final = 700
PLAYED: Final = sources.of_ulaw(sources.codes(160 * 80, seed=20))
WHOLE: Final = {name: sources.codes(160 * 100, seed=number) for number, name in enumerate(f"{law}-{kind}" for law in LAWS for kind in ("stream", "capture", "bytes"))}
BETWEEN: Final = sources.payloads(sources.codes(160 * (2 * len(KEYS) + 1), seed=21))
HALVES: Final = (sources.codes(160 * 50, seed=30), sources.codes(160 * 50, seed=31))


def keys_between_sounds(payload_type: int) -> tuple[list[tuple[float, bytes]], int]:
    """Packets with their times: two of sound, then a key of 80 ms for each digit, some packets of which are lost; and how many those are."""
    timed: list[tuple[float, bytes]] = []
    sequence, timestamp, lost = 500, 4_294_960_000, 0  # the timestamp soon begins anew
    for number, digit in enumerate(KEYS):
        for payload in BETWEEN[2 * number : 2 * number + 2]:
            timed.append((20.0 * len(timed), sources.packets([payload], sequence=sequence, timestamp=timestamp)[0]))
            sequence, timestamp = sequence + 1, timestamp + 160
        event = "0123456789*#ABCD".index(digit)
        steps = [(160, False), (320, False), (480, False), (640, False), *[(640, True)] * 3]
        missing = [(), (0, 1), (5, 6), (0, 1, 3, 4, 5, 6)][number % 4]
        for step, (duration, end) in enumerate(steps):
            packet = rtp(sequence, timestamp, event_payload(event, duration, end=end), payload_type=payload_type, ssrc=0x5EED0001, marker=step == 0)
            timed.append((20.0 * len(timed), b"" if step in missing else packet))
            sequence += 1
        lost += len(missing)
        timestamp += 160 * len(steps)
    timed.append((20.0 * len(timed), sources.packets([BETWEEN[-1]], sequence=sequence, timestamp=timestamp)[0]))
    return [one for one in timed if one[1]], lost


def second_halves() -> dict[str, list[bytes]]:
    """What follows HALVES[0], by what happens in between."""
    parts = sources.payloads(HALVES[1])
    return {
        "law": sources.packets(parts, payload_type=8, sequence=1050, timestamp=70_000 + 8000),
        "hold": sources.packets(parts, sequence=1050, timestamp=70_000 + 8000 + HELD_MS * 8),
        "still": sources.packets(parts, sequence=1050, timestamp=70_000 + 8000),
        "source": sources.packets(parts, ssrc=0xBEE, sequence=40_000, timestamp=3_000_000_000),
        "numbers": sources.packets(parts, sequence=30_000, timestamp=3_000_000_000),
    }


def captured(folder: Path, name: str, packets: Sequence[bytes]) -> str:
    """Has SIPp send packets, one each 20 ms."""
    sources.write_pcap(folder / f"{name}.pcap", [(20 * at, one) for at, one in enumerate(packets)])
    return does(f'play_pcap_audio="{name}.pcap"')


def scenarios(folder: Path) -> dict[str, tuple[str, int]]:
    """By the name of the call: what SIPp does, and how long it then stays."""
    made = {
        "echo": (speaking(), 2000),
        "keys": (speaking(does('play_dtmf="19*#"'), lines=media(PCMU_LINE, EVENT_LINE)), 2800),
        "tones": (speaking(does('rtp_stream="tones.raw,1,0"'), lines=media(PCMU_LINE, port=STREAM_PORT)), 2300),
        "between": (speaking(captured(folder, "between", [one for _, one in keys_between_sounds(96)[0]]), lines=media(PCMU_LINE, EVENT_LINE)), 3200),
    }
    tones = sources.dtmf(TONES, pause_ms=80)
    (folder / "tones.raw").write_bytes(sources.ulaw(np.append(tones, np.zeros(-tones.size % 160, np.int16))))
    sources.write_pcap(folder / "between.pcap", keys_between_sounds(96)[0])
    for name, data in WHOLE.items():
        number, line, *_ = LAWS[name[:4]]
        if name.endswith("capture"):
            made[name] = (speaking(captured(folder, name, sources.packets(sources.payloads(data), payload_type=number)), lines=media(line)), 2200)
        else:
            (folder / f"{name}.raw").write_bytes(data)
            made[name] = (speaking(does(f'rtp_stream="{name}.raw,1,{number}"'), lines=media(line, port=STREAM_PORT)), 2200)
    before = sources.packets(sources.payloads(HALVES[0]))
    for name, packets in second_halves().items():
        steps = {
            "law": [offers(media(PCMA_LINE))],
            "hold": [offers(media(PCMU_LINE, direction="inactive"), 2), waits(HELD_MS), offers(media(PCMU_LINE), 3)],
            "still": [offers(media(PCMU_LINE, direction="inactive"), 2), waits(HELD_MS), offers(media(PCMU_LINE), 3)],
        }.get(name, [])
        made[name] = (speaking(captured(folder, f"{name}-1", before), waits(1040), *steps, captured(folder, f"{name}-2", packets), lines=media(PCMU_LINE)), 1200)
    return made


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Voice]:
    """All calls, over and recorded."""
    folder = tmp_path_factory.mktemp("calls")
    found: dict[str, Voice] = {}

    async def run() -> None:
        plans = {f"{law}-bytes": plan(kind=law) for law in LAWS}
        policies = {name: PathPolicy(inband_dtmf=True, idle_slack_ms=1500) for name in ("keys", "tones", "between")}
        async with media_agent(folder, codecs=(PCMU, PCMA), plans=plans, policies=policies, plays={"echo": PLAYED}) as agent:
            with ExitStack() as stack:
                sides = []
                for name, (scenario, stays_ms) in scenarios(folder).items():
                    arguments = ["-rtp_echo"] if name == "echo" else []
                    side = stack.enter_context(sipp(scenario, folder, target=agent.address(), user=name, name=name, pause_ms=stays_ms, arguments=arguments))
                    sides.append(side)
                    await asyncio.to_thread(side.wait_for_media)
                for side in sides:
                    outcome = await asyncio.to_thread(side.finish)
                    assert (outcome.successful, outcome.failed, outcome.unexpected, outcome.exit_status) == (1, 0, 0, 0), outcome
            found.update(await agent.finished())

    play(run)
    return found


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.endswith("bytes")])
def test_g711_of_sipp_is_recorded_sample_for_sample(calls: dict[str, Voice], name: str) -> None:
    """Both laws, from both of its generators."""
    assert calls[name].is_in_its_place(calls[name].place_of(LAWS[name[:4]][2](WHOLE[name])))
    assert calls[name].has_lost_nothing(100)


@pytest.mark.parametrize("law", LAWS)
def test_g711_of_sipp_is_recorded_as_bytes_that_nobody_touched(calls: dict[str, Voice], law: str) -> None:
    _, _, _, tag, silence = LAWS[law]
    voice, data = calls[f"{law}-bytes"], WHOLE[f"{law}-bytes"]
    chunks = sources.read_riff(voice.file)
    assert struct.unpack("<HHIIHH", chunks["fmt "][:16]) == (tag, 1, 8000, 8000, 1, 8)
    stored = chunks["data"]
    at = stored.index(data)
    assert voice.is_in_its_place(at)
    assert set(stored[:at] + stored[at + len(data) :]) <= {silence}
    assert voice.has_lost_nothing(100)


def test_what_we_play_comes_back_from_sipp(calls: dict[str, Voice]) -> None:
    """It echoes what it gets (-rtp_echo): what we record is what we played, as both ends have it."""
    voice = calls["echo"]
    voice.place_of(PLAYED)
    assert voice.ear.of("played") == [(1, False)]
    assert voice.final["not_sent"] == voice.final["lost"] == 0
    assert voice.final["received"] == voice.final["delivered"] > 80


@pytest.mark.parametrize(("name", "expected", "in_band"), [("keys", "19*#", False), ("between", KEYS, False), ("tones", TONES, True)])
def test_keys_of_sipp_are_heard_once_each(calls: dict[str, Voice], name: str, expected: str, in_band: bool) -> None:
    """Telephone events as SIPp makes them (its play_dtmf); between sounds, where packets of keys are lost; and tones in the sound itself."""
    ear = calls[name].ear
    assert ear.of("digit") == [(digit, in_band) for digit in expected]
    assert [digit for digit, _ in ear.of("digit end")] == list(expected)
    assert calls[name].final["digits"] == len(expected)


def test_how_long_keys_were_pressed(calls: dict[str, Voice]) -> None:
    assert {duration_ms for _, duration_ms in calls["tones"].ear.of("digit end")} <= {95, 100, 105}  # it looks at the sound in steps
    # What was told last of a key's length counts: where its end is lost, that is the last update that came.
    assert [duration_ms for _, duration_ms in calls["between"].ear.of("digit end")] == [60 if number % 4 == 3 else 80 for number in range(len(KEYS))]


def test_sounds_between_keys_stay_in_their_places(calls: dict[str, Voice]) -> None:
    voice = calls["between"]
    assert (voice.final["lost"], voice.final["delivered"]) == (keys_between_sounds(96)[1], len(BETWEEN))
    pcm = voice.heard()
    first = place_of(sources.of_ulaw(BETWEEN[0] + BETWEEN[1]), pcm)
    assert voice.is_in_its_place(first)
    joint = 80  # where packets are lost in front of it, the begin of a sound is joined to what was made up
    for number in range(len(KEYS)):
        part = sources.of_ulaw(BETWEEN[2 * number] + BETWEEN[2 * number + 1])[joint:]
        at = first + number * 9 * 160 + joint
        assert np.array_equal(pcm[at : at + part.size], part)


def halves_of(voice: Voice, second: Pcm) -> int:
    """How far apart both halves of a call are, in samples; each is there whole, and nothing else."""
    first = sources.of_ulaw(HALVES[0])
    pcm = voice.heard()
    at, then = place_of(first, pcm), place_of(second, pcm)
    assert at >= 0, f"the first half is not there as it was sent: {voice.final}"
    assert then >= 0, f"the second half is not there as it was sent: {voice.final}"
    assert voice.is_in_its_place(at)
    assert not pcm[:at].any() and not pcm[at + first.size : then].any() and not pcm[then + second.size :].any()
    return then - at - first.size


def test_another_codec_in_the_middle_moves_nothing(calls: dict[str, Voice]) -> None:
    assert halves_of(calls["law"], sources.of_alaw(HALVES[1])) == 0
    assert calls["law"].has_lost_nothing(100)


@pytest.mark.parametrize("name", ["hold", "still"])
def test_a_hold_is_as_long_as_it_was(calls: dict[str, Voice], name: str) -> None:
    """Whether timestamps went on meanwhile or stood still. SIPp may take longer than it is told, but not less; of where its first packets come it may be late."""
    assert halves_of(calls[name], sources.of_ulaw(HALVES[1])) >= (HELD_MS - 100) * 8
    assert calls[name].has_lost_nothing(100)


def test_another_source_in_the_middle_loses_nothing(calls: dict[str, Voice]) -> None:
    """A sender that starts anew: another SSRC, other numbers."""
    voice = calls["source"]
    assert halves_of(voice, sources.of_ulaw(HALVES[1])) >= 0
    assert voice.ear.of("ssrc") == [(0xBEE, 0x5EED0001)]
    assert (voice.final["delivered"], voice.final["lost"], voice.final["late"]) == (100, 0, 0), voice.final


def test_other_numbers_of_the_same_source_lose_nothing(calls: dict[str, Voice]) -> None:
    """Some begin anew with their numbers and keep their SSRC."""
    voice = calls["numbers"]
    assert halves_of(voice, sources.of_ulaw(HALVES[1])) >= 0
    assert voice.final["restarts"] == 1
    assert (voice.final["delivered"], voice.final["lost"], voice.final["late"]) == (100, 0, 0), voice.final

"""Networks that lose, repeat, reorder and delay packets, by plan: what came is in its place sample for sample, counters say what was planted, and what was made up
for the rest is heard less than a gap. All calls run at once; the tests look at what came of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Final

import av
import msgspec
import numpy as np
import pytest

from engine.media.path import PathPolicy
from engine.sdp.codecs import G722, OPUS, PCMU
from engine.sdp.terms import Opener, Transport
from engine.sip.call import Call
from tests.data import voices
from tests.flow import media_sources as sources
from tests.flow.audio_quality import Pcm, aligned, lag_of, pesq, place_of, segmental_snr_db, snr_db
from tests.flow.impairment import (
    LOSE,
    PASS,
    Fate,
    Sender,
    fates,
    forwarder,
    planted,
    runs_of,
    scheduled,
    sender,
)
from tests.flow.media_agent import PATIENT, FarEnd, Offer, Voice, far_end, media_agent, plan, play
from tests.flow.sipp import STREAM_PORT, does, media, sipp, speaking

pytestmark = pytest.mark.slow
PACKETS: Final = 200
JOINT: Final = 80  # the most samples behind a loss that are joined to what was made up
NETWORKS: Final[dict[str, list[Fate]]] = {
    "good": [PASS] * PACKETS,
    "lossy": fates(PACKETS, 1, loss=0.05),
    "bursts": [LOSE if at in {*range(20, 23), *range(60, 65), *range(100, 109), *range(150, 162)} else PASS for at in range(PACKETS)],
    "disorderly": fates(PACKETS, 2, reorder=0.3),
    "uneven": fates(PACKETS, 3, jitter_ms=60.0),
    "repeating": fates(PACKETS, 4, repeat=0.1),
    "bad": fates(PACKETS, 5, loss=0.05, repeat=0.05, reorder=0.2, jitter_ms=60.0),
}
# By the name of the call: its network and how its stream is treated.
CALLS: Final = {
    **{name: (name, PATIENT) for name in NETWORKS},
    "held-back": ("bad", PathPolicy(jitter="fixed", delay_min_ms=400, delay_max_ms=600, idle_slack_ms=1500)),
    "adaptive": ("bad", PathPolicy(jitter="adaptive", delay_min_ms=400, delay_max_ms=600, idle_slack_ms=1500)),
    "forwarded": ("bad", msgspec.structs.replace(PATIENT, source="host")),  # by SIPp, through a network that stands in front of our port
}
OTHERS: Final = {"g722": (G722, 9, "9 G722/8000", 16_000, 160), "opus": (OPUS, 107, "107 opus/48000/2", 48_000, 960)}
# One call that goes through codecs, a second each: payload type, m= line, clock and rate of the samples.
CHANGES: Final = (("pcmu", 0, "0 PCMU/8000", 8000, 8000), ("g722", 9, "9 G722/8000", 8000, 16_000), ("opus", 107, "107 opus/48000/2", 48_000, 48_000), ("pcmu", 0, "0 PCMU/8000", 8000, 8000))
SPEECH: Final = sources.ulaw(sources.speech(PACKETS / 50, seed=80))
CODES: Final = sources.codes(160 * PACKETS, seed=81)


def says(name: str) -> bytes:
    """Speech where it matters how it sounds; else bytes of which no place is like another."""
    return SPEECH if name in ("lossy", "bursts", "good") else CODES


def talk(codec: str) -> Pcm:
    return sources.speech(PACKETS / 50, OTHERS[codec][3], seed=82)


@cache
def payloads_of(codec: str) -> list[bytes]:
    return sources.coded("libopus" if codec == "opus" else codec, talk(codec), OTHERS[codec][3])


@cache
def parts_of(number: int) -> list[bytes]:
    """What is said in one second of the call that changes codecs."""
    codec, _, _, _, rate_hz = CHANGES[number]
    sound = sources.noise(1.0, rate_hz, seed=83 + number) if codec == "pcmu" else sources.speech(1.0, rate_hz, seed=83 + number)
    return sources.payloads(sources.ulaw(sound)) if codec == "pcmu" else sources.coded("libopus" if codec == "opus" else codec, sound, rate_hz)


async def change(far: FarEnd, here: Sender, call: Call, offer: Offer) -> None:
    """Goes through the codecs by re-INVITEs; numbers and timestamps go on."""
    sequence, timestamp, sent = 7000, 4_294_900_000, 0
    for number, (_, payload_type, line, clock_rate_hz, _) in enumerate(CHANGES):
        if number:
            await far.offer(call, offer, media(line, port=str(here.address[1])).replace("\n    ", "\n"))
        step = clock_rate_hz // 50
        packets = sources.packets(parts_of(number), payload_type=payload_type, sequence=sequence, timestamp=timestamp, step=step)
        await asyncio.to_thread(here.send, [(20.0 * at, packet) for at, packet in enumerate(packets)], offer.to)
        sent += len(packets)
        await far.agent.until(lambda: far.agent.voices["changing"].stream.counts()["received"] == sent)  # noqa: B023 - it is called before the next round
        sequence, timestamp = sequence + len(packets), timestamp + step * len(packets)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Voice]:
    """All calls, over and recorded."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "forwarded.raw").write_bytes(says("forwarded"))
    found: dict[str, Voice] = {}
    for codec in OTHERS:
        payloads_of(codec)  # not while the calls run
    for number in range(len(CHANGES)):
        parts_of(number)

    async def send(stack: ExitStack, far: FarEnd, name: str) -> tuple[Sender, list[tuple[float, bytes]], tuple[str, int]]:
        """A call that stands, and what is to be sent where in it."""
        here = stack.enter_context(sender())
        codec = "opus" if name == "kept" else name
        if codec in OTHERS:
            _, number, line, _, step = OTHERS[codec]
            parts, network = payloads_of(codec), NETWORKS["lossy" if name in OTHERS else "good"]
        else:
            number, line, step, parts, network = 0, "0 PCMU/8000", 160, sources.payloads(says(name)), NETWORKS[CALLS[name][0]]
        _, offer = await far.call(name, media(line, port=str(here.address[1])).replace("\n    ", "\n"))
        timed = [(20.0 * at, packet) for at, packet in enumerate(sources.packets(parts, payload_type=number, step=step))]
        return here, scheduled(timed, network), offer.to

    async def run() -> None:
        policies = {name: policy for name, (_, policy) in CALLS.items()}
        plans = {codec: plan(rate_hz=facts[3], capture=True) for codec, facts in OTHERS.items()}
        plans["kept"] = plan(kind="opus", rate_hz=48_000)
        special: dict[str, dict[str, Any]] = {codec: {"codecs": (facts[0],)} for codec, facts in OTHERS.items()}
        special |= {"changing": {"codecs": (PCMU, G722, OPUS)}, "kept": {"codecs": (OPUS,)}}
        async with AsyncExitStack() as ends:
            network = await ends.enter_async_context(forwarder("127.0.0.1", NETWORKS["bad"]))

            def in_front(inner: Opener) -> Opener:
                def opened(index: int, family: int) -> Transport | None:
                    real = inner(index, family)
                    assert real is not None
                    network.to = (real.host, real.port)
                    return msgspec.structs.replace(real, port=network.address[1])

                return opened

            agent = await ends.enter_async_context(
                media_agent(folder, codecs=(PCMU,), policies=policies, plans=plans, special=special, openers={"forwarded": in_front})
            )
            far = await ends.enter_async_context(far_end(agent))
            with ExitStack() as stack:
                scenario = speaking(does('rtp_stream="forwarded.raw,1,0"'), lines=media("0 PCMU/8000", port=STREAM_PORT))
                calling = stack.enter_context(sipp(scenario, folder, target=agent.address(), user="forwarded", pause_ms=20 * PACKETS + 1200))
                ready = [await send(stack, far, name) for name in (*CALLS, *OTHERS, "kept") if name != "forwarded"]
                here = stack.enter_context(sender())
                changing = change(far, here, *await far.call("changing", media(CHANGES[0][2], port=str(here.address[1])).replace("\n    ", "\n")))
                await asyncio.gather(*(asyncio.to_thread(one.send, timed, to) for one, timed, to in ready), asyncio.to_thread(calling.finish), changing)
            assert network.taken == PACKETS
            found.update(await agent.finished())

    play(run)
    return found


def heard_by(name: str) -> Pcm:
    return sources.of_ulaw(says(name))


@pytest.mark.parametrize("name", CALLS)
def test_what_came_is_in_its_place(calls: dict[str, Voice], name: str) -> None:
    voice, plan = calls[name], planted(NETWORKS[CALLS[name][0]])
    counts, expected, pcm = voice.final, heard_by(name), voice.heard()
    at = int(np.flatnonzero(pcm)[0]) - int(np.flatnonzero(expected)[0])
    if CALLS[name][1].jitter == "none":
        assert voice.is_in_its_place(at)  # else as much later as packets are held back
    assert at >= 0
    there = [np.array_equal(pcm[at + JOINT :][slice(n * 160, n * 160 + 160 - JOINT)], expected[JOINT:][slice(n * 160, n * 160 + 160 - JOINT)]) for n in range(PACKETS)]
    missing = {number for number in range(PACKETS) if not there[number]} | set(plan.lost)
    # No packet is behind its time but where the machine stood still for longer than the stream waits.
    late = len(missing) - len(plan.lost)
    assert counts["lost"] == len(missing) and counts["delivered"] == PACKETS - len(missing) and counts["expected"] == PACKETS, counts
    assert counts["duplicate"] + counts["late"] == plan.repeated + late and late <= PACKETS // 20, counts
    assert counts["late"] >= late if late else counts["late"] == 0, counts
    for first, count in runs_of(set(range(PACKETS)) - missing):
        begin, end = first * 160 + (JOINT if first else 0), (first + count) * 160
        assert np.array_equal(pcm[at + begin : at + end], expected[begin:end]), (first, count)
    assert pcm.size >= at + expected.size and not pcm[at + expected.size :].any()


@pytest.mark.parametrize("name", CALLS)
def test_the_manifest_tells_what_was_lost(calls: dict[str, Voice], name: str) -> None:
    voice, counts = calls[name], calls[name].final
    (channel,) = voice.manifest.channels
    assert (channel.lost, channel.late, channel.duplicate) == (counts["lost"], counts["late"], counts["duplicate"])
    assert channel.ssrc == (counts["remote_ssrc"],)
    assert (voice.manifest.state, voice.manifest.warnings) == ("complete", ())
    assert abs(voice.manifest.duration_ms - voice.heard().size / 8) <= 1


def with_gaps(pcm: Pcm, lost: Iterable[int]) -> Pcm:
    """With silence instead of lost packets."""
    holed, step = pcm.copy(), pcm.size // PACKETS
    for at in lost:
        holed[at * step : (at + 1) * step] = 0
    return holed


def without(codec: str, lost: Sequence[int]) -> Pcm:
    """What FFmpeg's decoder makes of the packets that came, with silence where the others were."""
    rate_hz = OTHERS[codec][3]
    came = [payload for at, payload in enumerate(payloads_of(codec)) if at not in lost]
    step, heard = rate_hz // 50, sources.decoded(codec, came, rate_hz)
    return np.concatenate([np.zeros(step, np.int16) if at in lost else heard[(at - sum(one < at for one in lost)) * step :][:step] for at in range(PACKETS)])


def test_g722_that_came_is_in_its_place(calls: dict[str, Voice]) -> None:
    """To the bit what a decoder makes of it that knows of no loss."""
    voice, lost = calls["g722"], planted(NETWORKS["lossy"]).lost
    expected, pcm = without("g722", lost), voice.heard()
    first = expected[: lost[0] * 320]
    at = place_of(first, pcm)
    assert voice.is_in_its_place(at)
    for begin, count in runs_of(set(range(PACKETS)) - set(lost)):
        part = slice(begin * 320 + (2 * JOINT if begin else 0), (begin + count) * 320)
        assert np.array_equal(pcm[at:][part], expected[part]), (begin, count)
    assert not pcm[at + expected.size :].any() and pcm.size >= at + expected.size


@pytest.mark.parametrize(("name", "snr_min_db", "pesq_min"), [("good", 35.0, 4.5), ("lossy", 32.0, 3.1), ("bursts", 28.0, 1.5), ("g722", 26.0, 1.9), ("opus", 29.0, 3.5)])
def test_what_is_made_up_is_heard_less_than_a_gap(calls: dict[str, Voice], name: str, snr_min_db: float, pesq_min: float) -> None:
    """Five packets in a hundred are lost, or in bursts one in seven. Least measures are some way below what is reached: with G.711 33.1 dB and 3.36, in bursts 29.0 and
    1.73; with G.722 27.5 and 2.13, with Opus 30.9 and 3.84 against what the same decoder makes of all packets."""
    rate_hz = OTHERS[name][3] if name in OTHERS else 8000
    expected = sources.decoded(name, payloads_of(name), rate_hz) if name in OTHERS else heard_by(name)
    lost = planted(NETWORKS["lossy" if name in OTHERS else name]).lost
    said, heard = aligned(expected, calls[name].heard())
    assert calls[name].final["lost"] == len(lost) and said.size == expected.size
    gaps = without("g722", lost) if name == "g722" else with_gaps(said, lost)
    step, wide = max(rate_hz // 16_000, 1), min(rate_hz, 16_000)
    reached, of_gaps = (segmental_snr_db(said, heard, rate_hz), pesq(said[::step], heard[::step], wide)), pesq(said[::step], gaps[::step], wide)
    assert reached[0] >= snr_min_db and reached[1] >= pesq_min, reached
    assert not lost or reached[1] > of_gaps


def test_codecs_change_and_nothing_moves(calls: dict[str, Voice]) -> None:
    """PCMU, G.722, Opus and PCMU again in one recording at 8 kHz: what has other rates is resampled, what is PCMU is there sample for sample."""
    voice = calls["changing"]
    assert voice.has_lost_nothing(200), voice.final
    pcm = voice.heard()
    first, last = (sources.of_ulaw(b"".join(parts_of(number))) for number in (0, 3))
    at, then = place_of(first, pcm), place_of(last, pcm)
    late = then - at - 24_000  # an offer that takes a tenth of a second on a slow machine is a pause, where the clock changes with it: to Opus, or back
    assert voice.is_in_its_place(at) and 0 <= late < 4000
    for number in (1, 2):
        codec, _, _, _, rate_hz = CHANGES[number]
        said = sources.decoded(codec, parts_of(number), rate_hz)
        begins = {at + 8000 * number, at + 8000 * number + (late if number == 2 else 0)}
        found = [signal_at(pcm[begin : begin + 8000], rate_hz) for begin in sorted(begins)]
        (heard,) = [one for one in found if 0 <= lag_of(said, one) * 1000 / rate_hz <= 5.0]  # a filter's delay
        assert snr_db(*aligned(said, heard)) > 25  # what is above 4 kHz is not there any more


def signal_at(pcm: Pcm, rate_hz: int) -> Pcm:
    """At a higher rate, by its spectrum."""
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    wide = np.zeros(pcm.size * (rate_hz // 8000) // 2 + 1, np.complex128)
    wide[: spectrum.size] = spectrum
    return voices.pcm(np.fft.irfft(wide) * (rate_hz // 8000))


def test_opus_is_kept_as_it_came(calls: dict[str, Voice]) -> None:
    """The packets of the file are those that were sent, at their times."""
    with av.open(str(calls["kept"].file)) as file:
        packets = [(packet.pts, bytes(packet)) for packet in file.demux(audio=0) if packet.size]
    sent = payloads_of("opus")
    first = next(number for number, (_, data) in enumerate(packets) if data == sent[0])
    assert [data for _, data in packets[first : first + PACKETS]] == sent
    times = [at or 0 for at, _ in packets[first : first + PACKETS]]
    assert times == [times[0] + 960 * number for number in range(PACKETS)]
    voice = calls["kept"]
    moment = (int(voice.final["first_ns"]) - voice.recording.origin_ns) * 48_000 // 1_000_000_000
    assert abs(times[0] - moment) <= 120, "silence in front is made of packets of 2.5 ms at least"


def test_over_ipv6(tmp_path: Path) -> None:
    async def run() -> None:
        async with media_agent(tmp_path, host="::1") as agent, far_end(agent) as far:
            with sender("::1") as here:
                _, offer = await far.call("six", media("0 PCMU/8000", port=str(here.address[1])).replace("\n    ", "\n"))
                packets = sources.packets(sources.payloads(CODES[: 160 * 50]))
                await asyncio.to_thread(here.send, [(20.0 * at, packet) for at, packet in enumerate(packets)], offer.to)
                await agent.until(lambda: agent.voices["six"].stream.counts()["received"] == 50)
                assert len(here.received()) > 40
            voice = (await agent.finished())["six"]
            assert voice.has_lost_nothing(50)
            assert voice.is_in_its_place(voice.place_of(sources.of_ulaw(CODES[: 160 * 50])))

    play(run)


# ---- what these tests measure with ----


def test_what_is_moved_by_a_sample_or_has_one_wrong_is_found() -> None:
    sound = sources.noise(1.0)
    wrong = sound.copy()
    wrong[4000] += 1
    around = np.concatenate([np.zeros(123, np.int16), sound, np.zeros(50, np.int16)])
    assert place_of(sound, around) == 123
    assert place_of(wrong, around) == -1
    assert place_of(sound, np.delete(around, 4000)) == place_of(sound, np.insert(around, 4000, 0)) == -1
    assert lag_of(sound, around) == 123 and lag_of(around, sound) == -123


def test_noise_is_measured_as_loud_as_it_is() -> None:
    sound = sources.noise(2.0, seed=2).astype(np.int32)
    noise = sources.noise(2.0, seed=3).astype(np.int32) // 10
    noisy = np.clip(sound + noise, -32768, 32767).astype(np.int16)
    assert snr_db(sound.astype(np.int16), noisy) == pytest.approx(20.0, abs=0.1)
    assert segmental_snr_db(sound.astype(np.int16), noisy, 8000) == pytest.approx(20.0, abs=0.1)
    talk = sources.speech(4.0, seed=4)
    assert pesq(talk, talk, 8000) > 4.5 > 4.0 > pesq(talk, np.clip(talk + sources.noise(4.0, seed=5) // 20, -32768, 32767).astype(np.int16), 8000)


def test_a_network_does_what_it_is_told() -> None:
    made = fates(1000, 9, loss=0.05, repeat=0.1, reorder=0.2, jitter_ms=60.0)
    assert made == fates(1000, 9, loss=0.05, repeat=0.1, reorder=0.2, jitter_ms=60.0) != fates(1000, 10, loss=0.05, repeat=0.1, reorder=0.2, jitter_ms=60.0)
    plan = planted(made)
    assert len(plan.lost) == 50 and 60 < plan.repeated < 140
    timed = [(20.0 * number, number.to_bytes(2)) for number in range(1000)]
    left = [int.from_bytes(data) for _, data in scheduled(timed, made)]
    assert sorted(left) == sorted([number for number in range(1000) if number not in plan.lost for _ in range(made[number].copies)])
    first = {number: at for at, number in reversed(list(enumerate(left)))}
    behind = [number for number in first if any(first.get(other, -1) >= 0 and first[other] < first[number] for other in range(number + 1, min(number + 4, 1000)))]
    assert len(behind) > 100 and max(at_ms for at_ms, _ in scheduled(timed, made)) < 20.0 * 1000 + 61
    assert runs_of([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 1), (9, 2)]

"""Calls with sound among enemies: junk by the ten thousand, packets that are too short, too long or of no kind that was agreed, floods of sources, replays, sound from
third parties, forged SRTP, and RTCP that lies. What was said is recorded sample for sample all the while, and every packet of theirs is counted for what it is.
All calls run at once; the tests look at what came of each."""

from __future__ import annotations

import asyncio
import base64
import random
import struct
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Final

import msgspec
import pylibsrtp
import pytest

from engine.rtp import rtcp
from engine.sdp.codecs import PCMU
from tests.data.rtp_builder import (
    bye,
    ntp_middle,
    receiver_report,
    report_block,
    rtp,
    sender_report,
    source_description,
)
from tests.flow import media_sources as sources
from tests.flow.audio_quality import place_of
from tests.flow.impairment import Sender, sender, senders
from tests.flow.media_agent import PATIENT, Voice, far_end, media_agent, play
from tests.flow.sipp import media

PACKETS: Final = 150
PCMU_LINE: Final = "0 PCMU/8000"
ELSEWHERE: Final = "127.0.0.2"
FLOOD: Final = 25_000  # 10,000 a second
SSRC: Final = 0x5EED0001
SAYS: Final = sources.codes(160 * PACKETS, seed=90)
GOOD: Final = sources.packets(sources.payloads(SAYS))
END_MS: Final = 20.0 * PACKETS
KEY: Final = bytes(range(30))
Timed = list[tuple[float, bytes]]


def spread(packets: list[bytes], a_burst: int = 1) -> Timed:
    """Packets from the first to the last of the good ones, so many at a time."""
    bursts = -(-len(packets) // a_burst)
    return [(20.0 + (END_MS - 60.0) * (at // a_burst) / bursts, packet) for at, packet in enumerate(packets)]


def forged(number: int, choice: random.Random, ssrc: int = SSRC) -> bytes:
    """A packet as the good source could send it next."""
    return rtp(1000 + number % PACKETS + choice.randint(-2, 5), 70_000 + number * 160, choice.randbytes(160), ssrc=ssrc)


def short(choice: random.Random) -> list[bytes]:
    """Packets that end before they may, or claim to have more than they do."""
    head = struct.pack("!BBHII", 0x80, 0, 5000, 70_000, SSRC)
    cut = [head[:length] for length in range(1, 12)]
    claims = [
        struct.pack("!BBHII", 0x8F, 0, 5000, 70_000, SSRC) + bytes(59),  # 15 sources of which there are 14
        struct.pack("!BBHII", 0x90, 0, 5000, 70_000, SSRC) + bytes(3),  # an extension without its header
        struct.pack("!BBHII", 0x90, 0, 5000, 70_000, SSRC) + struct.pack("!HH", 0xBEDE, 9) + bytes(35),  # one that is cut off
        struct.pack("!BBHII", 0xA0, 0, 5000, 70_000, SSRC) + bytes(10) + b"\x0c",  # more padding than there is
        struct.pack("!BBHII", 0xA0, 0, 5000, 70_000, SSRC) + bytes(10) + b"\x00",  # padding of nothing
        *(struct.pack("!BBHII", version << 6, 0, 5000, 70_000, SSRC) + bytes(160) for version in (0, 1, 3)),
    ]
    return [*cut, *claims] * 3


def long(choice: random.Random) -> list[bytes]:
    return [rtp(5000, 70_000, choice.randbytes(size)) for size in (2037, 2100, 4000, 9000, 60_000) for _ in range(6)]


def of_no_type(choice: random.Random) -> list[bytes]:
    return [rtp(1000 + number, 70_000 + number * 160, choice.randbytes(160), payload_type=number) for number in range(1, 128) if not 64 <= number <= 95]


def of_many_sources(choice: random.Random) -> list[bytes]:
    return [rtp(choice.randrange(65536), choice.getrandbits(32), choice.randbytes(160), ssrc=choice.getrandbits(32) | 1) for _ in range(300)]


def junk(choice: random.Random) -> list[bytes]:
    whole = choice.randbytes(4096)
    return [whole[start : start + size] for start, size in ((choice.randrange(2500), choice.randrange(1, 1400)) for _ in range(FLOOD))]


def injected(choice: random.Random) -> list[bytes]:
    return [forged(number, choice) for number in range(3000)]


def flood(choice: random.Random) -> list[bytes]:
    return [forged(number, choice) for number in range(FLOOD)]


def some(choice: random.Random) -> list[bytes]:
    return [forged(number, choice) + choice.randbytes(10) for number in range(300)]


def again(choice: random.Random) -> list[bytes]:
    """Good ones that were heard already, soon or long behind."""
    return [GOOD[choice.randrange(at)] for at in range(1, PACKETS)]


SECURE: Final = ("forged", "replayed", "forged-flood")
# What else packets of an attack may be counted as: what comes too fast is not looked at.
ALSO: Final = {
    "injected": ("flooded",), "neighbour": ("flooded",), "learnt": ("flooded",), "junk": ("flooded", "wrong_type", "wrong_source", "control"), "again": ("late", "strays"),
    "forged": ("replayed",), "forged-flood": ("flooded", "wrong_source", "replayed"),
}  # fmt: skip
# By the name of the call: what is sent, from where ("here" is where the good ones come from), how many at a time, and how it is counted.
Attack = tuple[Callable[[random.Random], list[bytes]], str, int, str]
ATTACKS: Final[dict[str, Attack]] = {
    "short": (short, "here", 1, "malformed"),
    "long": (long, "here", 1, "oversized"),
    "no-type": (of_no_type, "here", 1, "wrong_type"),
    "sources": (of_many_sources, "here", 1, "foreign_ssrc"),
    "injected": (injected, ELSEWHERE, 4, "wrong_source"),
    "neighbour": (injected, "127.0.0.1", 4, "wrong_source"),
    "learnt": (injected, ELSEWHERE, 4, "wrong_source"),
    "junk": (junk, ELSEWHERE, 20, "malformed"),
    "again": (again, "here", 1, "duplicate"),
    "forged": (some, "here", 1, "unauthentic"),
    "replayed": (again, "here", 1, "replayed"),
    "forged-flood": (flood, ELSEWHERE, 20, "unauthentic"),
}  # fmt: skip


LOST: Final = (10, 20, 21, 50)
received: dict[str, list[Any]] = {}  # of RTCP


def report(control: Sender, to: tuple[str, int]) -> None:
    """The far end of a call as far as RTCP goes: it reports, answers the first report of ours, and says BYE long before it stops; so do others in its name."""
    there = to[0], to[1] + 1
    control.socket.settimeout(5.0)
    first = control.socket.recv(2048)
    now = time.time_ns()
    received.update(first=[first], middle=[ntp_middle(now)])
    (ours, *_) = rtcp.read(first)
    assert isinstance(ours, rtcp.SenderReport)
    block = report_block(ours.ssrc, fraction=64, lost=7, highest=5, jitter=80, lsr=ours.ntp >> 16 & 0xFFFFFFFF, dlsr=0)
    control.send([(0, sender_report(SSRC, now, 70_000, 50, 8000, [block]) + source_description(SSRC))], there)
    with sender(ELSEWHERE) as third:
        lies = receiver_report(SSRC, [report_block(ours.ssrc, fraction=255, lost=1000)]) + source_description(SSRC) + bye(SSRC)
        third.send([(0, lies), (1, lies)], there)
        third.send([(0, lies)], to)
    control.send([(100, receiver_report(SSRC) + source_description(SSRC) + bye(SSRC))], there)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Voice]:
    """All calls, over and recorded."""
    folder = tmp_path_factory.mktemp("calls")
    found: dict[str, Voice] = {}
    attacks = {name: make(random.Random(name)) for name, (make, *_) in ATTACKS.items()}

    async def run() -> None:
        policies = {"learnt": msgspec.structs.replace(PATIENT, source="learn")}
        special = {name: {"srtp": "required"} for name in SECURE}
        async with AsyncExitStack() as ends:
            agent = await ends.enter_async_context(media_agent(folder, codecs=(PCMU,), policies=policies, special=special))
            far = await ends.enter_async_context(far_end(agent))
            with ExitStack() as stack:
                under_way = []
                for name, (_, where, a_burst, _) in ATTACKS.items():
                    here = stack.enter_context(sender())
                    lines = media(PCMU_LINE, port=str(here.address[1])).replace("\n    ", "\n")
                    good, bad = [(20.0 * at, packet) for at, packet in enumerate(GOOD)], spread(attacks[name], a_burst)
                    if name in SECURE:
                        lines = lines.replace("RTP/AVP", "RTP/SAVP") + f"\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(KEY).decode()}"
                        protect = pylibsrtp.Session(pylibsrtp.Policy(KEY, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND)).protect
                        protected = {packet: protect(packet) for packet in GOOD}
                        good, bad = [(at_ms, protected[packet]) for at_ms, packet in good], [(at_ms, protected.get(packet, packet)) for at_ms, packet in bad]
                    _, offer = await far.call(name, lines)
                    if where == "here":
                        under_way.append((here, sorted(good + bad, key=lambda one: one[0]), offer.to))
                    else:
                        under_way += [(here, good, offer.to), (stack.enter_context(sender(where)), bad, offer.to)]
                voice, control = stack.enter_context(senders())
                _, offer = await far.call("reports", media(PCMU_LINE, port=str(voice.address[1])).replace("\n    ", "\n"))
                timed = [(20.0 * at, packet) for at, packet in enumerate(GOOD) if at not in LOST]
                under_way.append((voice, timed, offer.to))
                reports = asyncio.to_thread(report, control, offer.to)
                await asyncio.gather(*(asyncio.to_thread(one.send, timed, to) for one, timed, to in under_way), reports)
                await asyncio.sleep(0.2)
                found.update(await agent.finished())
                received["control"] = control.received()

    play(run)
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_what_was_said_is_recorded_sample_for_sample(calls: dict[str, Voice], name: str) -> None:
    voice = calls[name]
    assert (voice.final["delivered"], voice.final["lost"]) == (PACKETS, 0), voice.final
    assert voice.is_in_its_place(voice.place_of(sources.of_ulaw(SAYS)))


@pytest.mark.parametrize("name", ATTACKS)
def test_what_they_sent_is_counted_for_what_it_is(calls: dict[str, Voice], name: str) -> None:
    """Of a flood, not all may have come so far."""
    make, _, _, counter = ATTACKS[name]
    counts, count = calls[name].final, len(make(random.Random(name)))
    found = counts[counter] + sum(counts.get(other, 0) for other in ALSO.get(name, ()))
    if count == FLOOD:
        assert counts[counter] > 0 and counts["flooded"] > counts[counter] and 0 <= count - found < count / 10, counts
    else:
        assert found == count and counts[counter] > 0 and counts["delivered"] == PACKETS, counts


def test_our_reports_say_what_came(calls: dict[str, Voice]) -> None:
    counts = calls["reports"].final
    first, last = received["first"][0], received["control"][-1]
    ours, names = rtcp.read(first)[:2]
    assert isinstance(ours, rtcp.SenderReport) and isinstance(names, rtcp.SourceDescription)
    assert ours.ssrc == counts["ssrc"] and names.chunks[0].cname == b"trunkline" and ours.octets == 160 * ours.packets
    (block,) = ours.blocks
    expected = block.highest_sequence - 1000 + 1
    assert (block.ssrc, block.lost, block.fraction_lost) == (SSRC, len(LOST), 256 * len(LOST) // expected) and max(LOST) < expected <= PACKETS
    final, _, end = rtcp.read(last)
    assert isinstance(final, rtcp.SenderReport) and isinstance(end, rtcp.Bye) and end.ssrcs == (counts["ssrc"],)
    # Where nothing came since the report before, there is no block (RFC 3550 6.4): the newest that there is tells of all that came.
    told = [one[0] for each in (first, *received["control"]) if isinstance((one := rtcp.read(each))[0], rtcp.SenderReport)]
    newest = next(one for one in reversed(told) if one.blocks)
    (block,) = newest.blocks
    assert (block.lost, block.highest_sequence, final.packets) == (len(LOST), 1000 + PACKETS - 1, counts["sent"])
    if newest is not told[0]:  # which they had not answered yet
        assert (block.last_sr, block.delay_since_last_sr > 0) == (received["middle"][0], True)
    assert counts["control_sent"] == 1 + len(received["control"])


def test_reports_and_byes_of_theirs(calls: dict[str, Voice]) -> None:
    """A report is heard, a BYE is told and ends nothing, and both from somebody else are neither."""
    voice = calls["reports"]
    ((fraction, jitter_ms, rtt_ms),) = voice.ear.of("report")
    assert (fraction, jitter_ms) == (0.25, 10.0) and 0 <= rtt_ms < 5000
    assert voice.ear.of("bye") == [()]
    counts = voice.final
    assert (counts["control_received"], counts["control_malformed"], counts["wrong_source"]) == (2, 0, 3)
    assert (counts["delivered"], counts["lost"]) == (PACKETS - len(LOST), len(LOST))
    whole = sources.of_ulaw(SAYS)
    assert place_of(whole[(max(LOST) + 1) * 160 + 80 :], voice.heard()) > 0, "what follows the BYE"

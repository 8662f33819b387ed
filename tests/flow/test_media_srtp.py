"""Calls with SRTP (RFC 3711, keys by RFC 4568): baresip, which has libsrtp's suites, both ways and sample for sample; keys that change in a call, and keys that are wrong.
All calls run at once; the tests look at what came of each."""

from __future__ import annotations

import asyncio
import base64
from contextlib import ExitStack
from typing import Final

import numpy as np
import pylibsrtp
import pytest

from engine.sdp.codecs import PCMU
from tests.flow import media_sources as sources
from tests.flow.audio_quality import Pcm, lag_of, place_of
from tests.flow.baresip import baresip
from tests.flow.certificates import certificates
from tests.flow.impairment import sender
from tests.flow.media_agent import MediaAgent, Voice, far_end, media_agent, plan, play
from tests.flow.sipp import media

pytestmark = pytest.mark.slow
SECONDS: Final = 3
SUITES: Final = {
    "sha1-80": "AES_CM_128_HMAC_SHA1_80", "sha1-32": "AES_CM_128_HMAC_SHA1_32", "gcm-128": "AEAD_AES_128_GCM", "gcm-256": "AEAD_AES_256_GCM",
}  # fmt: skip
SAYS: Final = {name: sources.of_ulaw(sources.codes(8000 * (SECONDS + 6), seed=60 + number)) for number, name in enumerate((*SUITES, "tls"))}
HEARS: Final = {name: sources.of_ulaw(sources.codes(8000 * (SECONDS - 1), seed=70 + number, but=(0x7F, 0xFF))) for number, name in enumerate(SAYS)}


FIRST_KEY: Final = bytes(range(30))
SECOND_KEY: Final = bytes(range(60, 90))
SECRET: Final = sources.codes(160 * 101, seed=59)
PACKETS: Final = sources.packets(sources.payloads(SECRET))


def secured(port: int, key: bytes) -> str:
    """Media lines with a key of ours (RFC 4568)."""
    lines = media("0 PCMU/8000", port=str(port)).replace("\n    ", "\n").replace("RTP/AVP", "RTP/SAVP")
    return f"{lines}\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(key).decode()}"


def outgoing(key: bytes) -> pylibsrtp.Session:
    return pylibsrtp.Session(pylibsrtp.Policy(key, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND))


class Outcome:
    """What came of all calls."""

    def __init__(self) -> None:
        self.voices: dict[str, Voice] = {}
        self.heard: dict[str, Pcm] = {}
        self.theirs: list[bytes] = []  # what the far end of ours got


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("calls")
    made = certificates(tmp_path_factory.mktemp("tls"))
    outcome = Outcome()

    async def keys_that_change(agent: MediaAgent) -> None:
        """A call of a far end of ours: two seconds, each with keys of its own, and packets in the clear in between."""
        async with far_end(agent) as far:
            with sender() as here:
                call, offer = await far.call("keys", secured(here.address[1], FIRST_KEY))
                for number, key in enumerate((FIRST_KEY, SECOND_KEY)):
                    if number:
                        await far.offer(call, offer, secured(here.address[1], SECOND_KEY))
                    protect = outgoing(key).protect
                    part = PACKETS[50 * number : 50 * number + 50]
                    timed = [(20.0 * at, protect(packet)) for at, packet in enumerate(part)] + [(20.0 * at + 5, packet) for at, packet in enumerate(part[10:20])]
                    await asyncio.to_thread(here.send, sorted(timed), offer.to)
                await asyncio.to_thread(here.send, [(20, outgoing(FIRST_KEY).protect(PACKETS[100]))], offer.to)
                await asyncio.sleep(0.1)
                outcome.theirs = here.received()

    async def run() -> None:
        special = {name: {"suites": (suite,)} for name, suite in SUITES.items()}
        plans = {name: plan(capture=True) for name in SAYS}
        async with media_agent(folder, "UDP", "TLS", codecs=(PCMU,), special=special, plans=plans, plays=HEARS, made=made, srtp="required") as agent:
            with ExitStack() as stack:
                phones = {
                    name: stack.enter_context(
                        baresip(
                            folder, name, answer="auto", microphone=sources.write_wav(folder / f"{name}-says.wav", sound, 8000), modules=["srtp"],
                            account=["audio_codecs=PCMU/8000/1", "mediaenc=srtp-mand"], certificates=made,
                        )
                    )
                    for name, sound in SAYS.items()
                }  # fmt: skip
                for name, phone in phones.items():
                    if name == "tls":
                        await asyncio.to_thread(phone.dial, agent.uri(name, "TLS"))
                    else:
                        await agent.dial(phone.uri())
                await agent.heard("connected", len(phones))
                await asyncio.gather(asyncio.sleep(SECONDS), keys_that_change(agent))
                for phone in phones.values():
                    await asyncio.to_thread(phone.hangup)
                for phone in phones.values():
                    await asyncio.to_thread(phone.wait_for, "CALL_CLOSED")
            for name, phone in phones.items():
                (file,) = phone.heard
                outcome.heard[name], _ = sources.read_wav(file)
            outcome.voices.update(await agent.finished())

    play(run)
    return outcome


@pytest.mark.parametrize("name", SAYS)
def test_baresip_is_recorded_sample_for_sample(calls: Outcome, name: str) -> None:
    voice = calls.voices[name]
    assert voice.agreed.receive_crypto is not None and voice.agreed.receive_crypto.suite == SUITES.get(name, "AES_CM_128_HMAC_SHA1_80")
    assert voice.has_lost_nothing() and voice.final["delivered"] > 50 * (SECONDS - 1)
    assert voice.final["replayed"] == 0
    assert voice.is_in_its_place(voice.place_of(SAYS[name][: voice.final["delivered"] * 160]))


@pytest.mark.parametrize("name", SAYS)
def test_baresip_hears_ours_sample_for_sample(calls: Outcome, name: str) -> None:
    hears, heard = HEARS[name], calls.heard[name]
    at = lag_of(hears, heard)
    assert np.array_equal(heard[at : at + hears.size], hears)


@pytest.mark.parametrize("name", SAYS)
def test_nothing_is_in_the_clear_on_the_wire(calls: Outcome, name: str) -> None:
    said = {sources.payloads(sources.ulaw(SAYS[name][:160]))[0], sources.payloads(sources.ulaw(HEARS[name][:160]))[0]}
    packets = [*calls.voices[name].packets(), *calls.voices[name].packets(ours=True)]
    assert len(packets) > 100
    assert not any(part in packet for packet in packets for part in said)
    tag_bytes = {"sha1-32": 4, "gcm-128": 16, "gcm-256": 16}.get(name, 10)
    assert {len(packet) for packet in packets} == {12 + 160 + tag_bytes}


def test_keys_may_change_in_a_call(calls: Outcome) -> None:
    """A re-INVITE with another key (RFC 4568 7.1.4): numbers and timestamps go on, nothing is lost, nor what was on its way under the old key. What is
    in the clear is not heard."""
    voice = calls.voices["keys"]
    said = sources.of_ulaw(SECRET)
    pcm = voice.heard()
    first, second = said[:8000], said[8000:]  # the packet under the old key is the last
    assert voice.is_in_its_place(place_of(first, pcm)) and place_of(second, pcm) == place_of(first, pcm) + 8000
    assert (voice.final["delivered"], voice.final["lost"], voice.final["unauthentic"], voice.final["replayed"]) == (101, 0, 20, 0), voice.final


def test_our_key_changes_with_theirs(calls: Outcome) -> None:
    """What we send behind the re-INVITE is read with the key of our second answer."""
    crypto = calls.voices["keys"].agreed.send_crypto
    assert crypto is not None
    incoming = pylibsrtp.Session(pylibsrtp.Policy(crypto.key, ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND))
    read = 0
    for packet in calls.theirs[-40:]:
        read += incoming.unprotect(packet)[12:] == b"\xff" * 160
    assert read == 40

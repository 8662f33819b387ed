"""The media plane, round by round: what goes in over a socket, what comes out of it, and what is told."""

from __future__ import annotations

import importlib.util
import itertools
import struct
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from engine._native import audio
from engine._native import writer as files
from engine._native.plane import NO_STREAM, Plane, bind_opus
from engine.codecs import opus
from engine.media.settings import Format, StreamSettings
from engine.media.wav import WavFile
from engine.srtp import SrtpContext, SrtpKey, functions_address

_spec = importlib.util.spec_from_file_location("media_rig", Path(__file__).parents[1] / "media" / "rig.py")
assert _spec is not None and _spec.loader is not None
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)
Rig, Files, packet, speech, ulaw, heard, fields = rig.Rig, rig.Files, rig.packet, rig.speech, rig.ulaw, rig.heard, rig.fields
PCMU, PCMA, EVENT, NOISE = rig.PCMU, rig.PCMA, rig.EVENT, rig.NOISE
KEY = SrtpKey(suite="AES_CM_128_HMAC_SHA1_80", key=bytes(range(30)))
OTHER_KEY = SrtpKey(suite="AES_CM_128_HMAC_SHA1_80", key=bytes(range(30, 60)))


# ---- receiving ----


def test_what_comes_is_handed_over_sample_by_sample() -> None:
    with Rig() as plane:
        peer = plane.open()
        plane.plane.hear(0, 100)
        source = speech(160 * 50)
        plane.speak(peer, source, sequence=65530, timestamp=2**32 - 800)
        plane.plane.close_stream(0)
        plane.round()
        assert np.array_equal(plane.pcm(), heard(source))
        assert plane.told("started")[0][2:4] == (0x1234, 0)
        assert [event[0] for event in plane.events][-1] == "stream-closed"


@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], [0, 2, 1, 4, 3], [0, 3, 2, 1, 4], [0, 0, 1, 1, 2, 3, 3, 4]])
def test_order_and_repeats_do_not_matter(order: list[int]) -> None:
    source = speech(160 * 6)
    with Rig() as plane:
        peer = plane.open()
        plane.plane.hear(0, 20)
        plane.send(peer, packet(99, 160 * 99, ulaw(source[:160])))
        plane.round()
        plane.pass_ms(20)
        for number in order:
            plane.send(peer, packet(100 + number, 160 * (100 + number), ulaw(source[160 * (number + 1) :][:160])))
            plane.round()
            plane.pass_ms(5)
        plane.plane.close_stream(0)
        plane.round()
        assert np.array_equal(plane.pcm()[:960], heard(source))
        assert plane.counts()["duplicate"] + plane.counts()["late"] == len(order) - 5


def test_what_is_lost_keeps_its_place() -> None:
    source = speech(160 * 60)
    lost = frozenset({7, 20, 21, 22, 40})
    with Rig() as plane:
        peer = plane.open()
        plane.plane.hear(0, 20)
        plane.speak(peer, source, lost=lost)
        plane.pass_ms(300)
        plane.plane.close_stream(0)
        plane.round()
        got, want = plane.pcm(), heard(source)
        for number in set(range(60)) - lost:
            assert np.array_equal(got[160 * number :][:160], want[160 * number :][:160]), number
        assert plane.counts()["lost"] == len(lost)
        assert plane.counts()["concealed_samples"] == 160 * len(lost)
        assert np.abs(got[160 * 7 : 160 * 8].astype(int)).max() > 500  # made up, and not silent


def test_silence_takes_the_place_of_what_is_not_sent() -> None:
    with Rig() as plane:
        peer = plane.open(idle_slack_ms=200)
        plane.plane.hear(0, 20)
        source = speech(160 * 20)
        plane.speak(peer, source)
        for _ in range(50):
            plane.round()
            plane.pass_ms(20)
        plane.speak(peer, source, sequence=20, timestamp=160 * 70)
        plane.plane.close_stream(0)
        plane.round()
        got = plane.pcm()
        assert np.array_equal(got[:3200], heard(source))
        assert not got[3200 : 160 * 70].any()
        assert np.array_equal(got[160 * 70 : 160 * 90], heard(source))


def test_only_the_signalled_source_is_heard() -> None:
    with Rig() as plane:
        peer = plane.open()
        stranger = plane.peer()
        plane.plane.hear(0, 20)
        source = speech(160 * 10)
        for number in range(10):
            plane.send(stranger, packet(number, number * 160, bytes(160)))
            plane.send(peer, packet(number, number * 160, ulaw(source[number * 160 :][:160])))
            plane.round()
            plane.pass_ms(20)
        assert np.array_equal(plane.pcm()[:1600], heard(source))
        assert plane.counts()["wrong_source"] == 10


def test_a_moved_source_is_learnt_and_sent_to() -> None:
    with Rig() as plane:
        plane.open(sends=True, policy="learn", remote_port=9)
        real = plane.peer()
        for number in range(8):
            plane.send(real, packet(number, number * 160, bytes(160)))
            plane.round()
            plane.pass_ms(20)
        assert plane.told("moved")[0][-1] == real.getsockname()
        assert plane.received(real)


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"\x80\x00" + bytes(9), "malformed"),  # too short to be anything
        (b"\x00" * 40, "malformed"),
        (b"\x8f\x00" + bytes(10), "malformed"),  # CSRCs that are not there
        (b"\xb0\x00" + bytes(10) + b"\xff\xff\xff\xff", "malformed"),
        (packet(1, 160, bytes(160), payload_type=77), "wrong_type"),
        (packet(1, 160, bytes(160), payload_type=34), "wrong_type"),
        (packet(1, 160, bytes(2100)), "oversized"),
        (packet(1, 160, b""), "bad_payload"),
        (bytes([22]) + bytes(60), "malformed"),  # DTLS
        (bytes([0, 1]) + bytes(60), "malformed"),  # STUN
    ],
)
def test_junk_is_counted_and_changes_nothing(data: bytes, counter: str) -> None:
    with Rig() as plane:
        peer = plane.open()
        plane.plane.hear(0, 20)
        source = speech(160 * 8)
        for number in range(8):
            plane.send(peer, packet(10 + number, number * 160, ulaw(source[number * 160 :][:160])))
            if number == 3:
                plane.send(peer, data)
            plane.round()
            plane.pass_ms(20)
        assert np.array_equal(plane.pcm()[:1280], heard(source))
        assert plane.counts()[counter] + plane.counts()["strays"] + plane.counts()["late"] >= 1


def test_a_flood_is_cut_and_the_call_goes_on() -> None:
    with Rig() as plane:
        peer = plane.open(packets_per_s=50)
        plane.plane.hear(0, 20)
        source, chance = speech(160 * 40), np.random.default_rng(3)
        for number in range(40):
            plane.send(peer, packet(number, number * 160, ulaw(source[number * 160 :][:160])))
            if number > 10:
                for _ in range(20):  # a thousand a second, each with an SSRC of its own
                    plane.send(peer, packet(number, 5, bytes(160), ssrc=int(chance.integers(1, 2**32))))
            plane.round()
            plane.pass_ms(20)
        counts = plane.counts()
        assert counts["flooded"] > 100
        assert counts["foreign_ssrc"] > 0
        assert not plane.told("ssrc-changed")
        assert np.array_equal(plane.pcm()[: 160 * 40], heard(source))


def test_another_ssrc_takes_over_when_it_has_proved_itself() -> None:
    with Rig() as plane:
        peer = plane.open()
        plane.plane.hear(0, 20)
        first, second = speech(160 * 20), speech(160 * 20, seed=2)
        plane.speak(peer, first)
        plane.speak(peer, second, sequence=4000, timestamp=99, ssrc=0x9999)
        plane.pass_ms(300)
        assert plane.told("ssrc-changed")[0][2:4] == (0x9999, 0x1234)
        got = plane.pcm()
        assert np.array_equal(got[:3200], heard(first))
        # Two packets were its proof, and waited for the third: nothing of it is lost.
        at = next(at for at in range(3200, 3200 + 640) if np.array_equal(got[at : at + 3200], heard(second)))
        assert at == 3200


def test_numbers_that_begin_anew_lose_nothing() -> None:
    with Rig() as plane:
        peer = plane.open()
        plane.plane.hear(0, 20)
        first, second = speech(160 * 20), speech(160 * 20, seed=2)
        plane.speak(peer, first)
        plane.speak(peer, second, sequence=30_000, timestamp=77)
        plane.pass_ms(300)
        got = plane.pcm()
        assert np.array_equal(got[:3200], heard(first))
        assert any(np.array_equal(got[at : at + 3200], heard(second)) for at in range(3200, 3200 + 481))
        assert plane.counts()["restarts"] == 1
        assert plane.plane.numbers()["held_packets"] == 0


@pytest.mark.parametrize("steps", [35, 30_000], ids=["700 ms", "ten minutes"])
def test_a_hold_is_as_long_as_it_was(steps: int) -> None:
    with Rig() as plane:
        peer = plane.open(idle_slack_ms=100)
        plane.plane.hear(0, 20)
        source = speech(160 * 20)
        plane.speak(peer, source)
        plane.open(peer=peer, idle_slack_ms=100, receives=False)
        for _ in range(steps):
            plane.pass_ms(20)
        plane.open(peer=peer, idle_slack_ms=100)
        plane.speak(peer, source, sequence=20, timestamp=3200)  # its clock stood still meanwhile
        plane.pass_ms(200)
        got = plane.pcm()
        assert np.array_equal(got[:3200], heard(source))
        assert not got[3200 : 3200 + steps * 160].any()
        assert np.array_equal(got[3200 + steps * 160 :][:3200], heard(source))


def test_what_is_not_wanted_is_not_heard() -> None:
    with Rig() as plane:
        peer = plane.open(receives=False)
        plane.plane.hear(0, 20)
        plane.speak(peer, speech(1600))
        assert not plane.told("pcm")
        assert plane.counts()["delivered"] == plane.counts()["lost"] == 0


def test_timeouts_are_told_once_and_so_is_what_comes_again() -> None:
    with Rig() as plane:
        peer = plane.open(timeout_first_ms=3000, timeout_ms=1000)
        for _ in range(400):
            plane.pass_ms(10)
        assert [event[2] for event in plane.told("timed-out")] == [1]
        plane.speak(peer, speech(1600))
        assert len(plane.told("resumed")) == 1
        for _ in range(200):
            plane.pass_ms(10)
        assert [event[2] for event in plane.told("timed-out")] == [1, 0]


def test_a_shared_port_tells_streams_apart() -> None:
    with Rig(ports=1, shared=True) as plane:
        peers = [plane.open(index, port=0) for index in range(3)]
        both = plane.peer()
        plane.open(3, port=0, peer=both, remote_ssrc=0x31)
        plane.open(4, port=0, peer=both, remote_ssrc=0x41)
        for index in range(5):
            plane.plane.hear(index, 20)
        sources = [speech(160 * 12, seed=10 + index) for index in range(5)]
        for number in range(12):
            for index in range(5):
                data = packet(number, number * 160, ulaw(sources[index][number * 160 :][:160]), ssrc={3: 0x31, 4: 0x41}.get(index, 7))
                plane.send(peers[index] if index < 3 else both, data)
            plane.round()
            plane.pass_ms(20)
        stranger = plane.peer()
        plane.send(stranger, packet(0, 0, bytes(160)))
        plane.round()
        for index in range(5):
            assert np.array_equal(plane.pcm(index)[:1920], heard(sources[index])), index
        assert plane.plane.port_counts(0)["unknown"] == 1
        plane.plane.close_stream(1)
        plane.round()
        plane.send(peers[1], packet(50, 50 * 160, bytes(160), ssrc=7))
        plane.round()
        assert plane.plane.port_counts(0)["unknown"] == 2


def test_a_shared_port_knows_streams_by_what_was_signalled() -> None:
    with Rig(ports=1, shared=True) as plane:
        alone, both, nobody = plane.peer(), plane.peer(), plane.peer()
        plane.open(0, port=0, peer=alone)
        plane.open(1, port=0, peer=both)
        plane.open(2, port=0, peer=both)
        for index in range(3):
            plane.plane.hear(index, 20)
        for at in range(8):
            plane.send(alone, packet(at, at * 160, bytes([at]) * 160, ssrc=1 if at < 4 else 2))
            plane.send(both, packet(at, at * 160, bytes([at]) * 160, ssrc=7))
            plane.send(both, packet(at, at * 160, bytes([at]) * 160, ssrc=8))
            plane.round()
            plane.pass_ms(20)
        assert [plane.counts(index)["delivered"] for index in range(3)] == [8, 8, 8]
        assert plane.counts(1)["remote_ssrc"] != plane.counts(2)["remote_ssrc"]
        plane.open(0, port=0, peer=nobody)  # another offer: it comes from elsewhere now
        plane.send(nobody, packet(8, 8 * 160, bytes(160), ssrc=2))
        plane.send(alone, packet(9, 9 * 160, bytes(160), ssrc=2))
        plane.round()
        assert plane.counts(0)["delivered"] == 9
        assert plane.plane.port_counts(0)["unknown"] == 1


def test_a_codec_may_change_in_between() -> None:
    with Rig() as plane:
        peer = plane.open(formats=(PCMU, PCMA, Format(payload_type=9, codec="G722", sample_rate_hz=16000)))
        plane.plane.hear(0, 20)
        from engine.codecs import codec_of

        source = speech(160 * 30)
        alaw, g722 = codec_of("PCMA").encoder(), codec_of("G722").encoder()
        wide = speech(320 * 10, rate_hz=16000)
        for number in range(30):
            piece = source[number * 160 :][:160]
            if number < 10:
                data = packet(number, number * 160, ulaw(piece))
            elif number < 20:
                data = packet(number, number * 160, bytes(alaw.encode(piece)), payload_type=8)
            else:
                data = packet(number, number * 160, bytes(g722.encode(wide[(number - 20) * 320 :][:320])), payload_type=9)
            plane.send(peer, data)
            plane.round()
            plane.pass_ms(20)
        got = plane.pcm()
        assert len(got) >= 160 * 30
        assert np.array_equal(got[:1600], heard(source)[:1600])
        assert np.corrcoef(got[1600:3200], source[1600:3200])[0, 1] > 0.99
        assert np.abs(got[3400:4800].astype(int)).max() > 2000


def test_noise_fills_pauses_that_were_announced() -> None:
    with Rig() as plane:
        peer = plane.open(formats=(PCMU, NOISE), idle_slack_ms=100)
        plane.plane.hear(0, 20)
        plane.speak(peer, speech(160 * 10))
        plane.send(peer, packet(10, 1600, bytes([50]), payload_type=13))
        for _ in range(20):
            plane.round()
            plane.pass_ms(20)
        plane.speak(peer, speech(160 * 5), sequence=11, timestamp=160 * 40)
        noise = plane.pcm()[160 * 12 : 160 * 38].astype(float)
        level_db = 10 * np.log10((noise**2).mean() / 32768**2)
        assert -56 < level_db < -44
        assert plane.counts()["noise_samples"] > 0


# ---- digits ----


def event_payload(event: int, duration: int, *, end: bool = False) -> bytes:
    return struct.pack("!BBH", event, end << 7 | 10, duration)


def test_digits_are_told_once_and_do_not_move_the_timeline() -> None:
    with Rig() as plane:
        peer = plane.open(formats=(PCMU, EVENT))
        plane.plane.hear(0, 20)
        source = speech(160 * 10)
        plane.speak(peer, source)
        for number in range(8):
            end = number >= 5
            plane.send(peer, packet(10 + number, 1600, event_payload(5, 160 * min(number + 1, 6), end=end), payload_type=101, marker=number == 0))
            plane.round()
            plane.pass_ms(20)
        plane.speak(peer, source, sequence=18, timestamp=1600 + 8 * 160)
        plane.plane.close_stream(0)
        plane.round()
        assert [event[2] for event in plane.told("digit-begun")] == [5]
        assert [event[2:4] for event in plane.told("digit-ended")] == [(5, 120)]
        got = plane.pcm()
        assert np.array_equal(got[:1600], heard(source))
        assert not got[1600 : 1600 + 8 * 160].any()
        assert np.array_equal(got[1600 + 8 * 160 :][:1600], heard(source))


def test_digits_go_out_instead_of_speech() -> None:
    with Rig() as plane:
        peer = plane.open(sends=True, send_event=EVENT)
        plane.plane.digit(0, 7, duration_ms=100, pause_ms=60)
        plane.plane.digit(0, 11, duration_ms=100, pause_ms=60)
        for _ in range(30):
            plane.round()
            plane.pass_ms(20)
        sent = [fields(data) for data in plane.received(peer)]
        assert [one[2] for one in sent] == list(range(sent[0][2], sent[0][2] + len(sent)))
        events = [one for one in sent if one[0] == 101]
        assert {one[5][0] for one in events} == {7, 11}
        for digit in (7, 11):
            of_it = [one for one in events if one[5][0] == digit]
            assert len({one[3] for one in of_it}) == 1 and [one[1] for one in of_it] == [1] + [0] * (len(of_it) - 1)
            assert sum(one[5][1] >> 7 for one in of_it) == 3
            assert max(struct.unpack("!H", one[5][2:])[0] for one in of_it) == 800
        speech_times = [one[3] for one in sent if one[0] == 0]
        assert all((later - earlier) % 160 == 0 for earlier, later in itertools.pairwise(speech_times))


def test_tones_are_found_where_no_events_come() -> None:
    with Rig() as plane:
        peer = plane.open(inband_dtmf=True)
        time_s = np.arange(160 * 10) / 8000
        tone = (np.sin(2 * np.pi * 770 * time_s) * 8000 + np.sin(2 * np.pi * 1336 * time_s) * 8000).astype(np.int16)
        plane.speak(peer, np.concatenate([np.zeros(1600, np.int16), tone, np.zeros(1600, np.int16)]))
        assert [event[2:5] for event in plane.told("digit-begun")] == [(5, 0, 1)]
        assert len(plane.told("digit-ended")) == 1


# ---- sending ----


def test_what_is_played_arrives_sample_by_sample() -> None:
    with Rig() as plane:
        peer = plane.open(sends=True, idle_sends=False, first_sequence=65533, first_timestamp=2**32 - 320)
        first, second = speech(1000), speech(680, seed=3)
        plane.plane.play(0, first, 1)
        plane.plane.play(0, second, 2)
        for _ in range(20):
            plane.round()
            plane.pass_ms(20)
        sent = [fields(data) for data in plane.received(peer)]
        assert b"".join(one[5] for one in sent)[:1680] == ulaw(np.concatenate([first, second]))
        assert [one[2] for one in sent] == [(65533 + at) % 65536 for at in range(len(sent))]
        assert [one[3] for one in sent] == [(2**32 - 320 + 160 * at) % 2**32 for at in range(len(sent))]
        assert [one[1] for one in sent] == [1] + [0] * (len(sent) - 1)
        assert [event[2:4] for event in plane.told("clip")] == [(1, 0), (2, 0)]
        assert len(plane.told("played-out")) == 1
        assert len(sent) == 11  # and nothing more once there is nothing to say


def test_a_flush_ends_within_a_packet_and_fades() -> None:
    with Rig() as plane:
        peer = plane.open(sends=True)
        loud = np.full(8000, 12000, np.int16)
        plane.plane.play(0, loud, 1)
        plane.plane.play(0, loud, 2)
        for _ in range(5):
            plane.round()
            plane.pass_ms(20)
        plane.plane.flush(0)
        plane.plane.play(0, np.full(160, -9000, np.int16), 3)
        for _ in range(4):
            plane.round()
            plane.pass_ms(20)
        got = np.concatenate([rig.of_ulaw(fields(data)[5]) for data in plane.received(peer)]).astype(int)
        end = int(np.nonzero(got < 0)[0][0])
        assert end == 5 * 160 + 40
        assert np.all(np.diff(got[5 * 160 : end]) <= 0) and abs(got[end - 1]) < 600
        assert sorted(event[2:4] for event in plane.told("clip")) == [(1, 1), (2, 1), (3, 0)]


def test_a_clip_may_go_round() -> None:
    with Rig() as plane:
        peer = plane.open(sends=True)
        source = speech(500)
        plane.plane.play(0, source, 9, loops=True)
        for _ in range(20):
            plane.round()
            plane.pass_ms(20)
        got = b"".join(fields(data)[5] for data in plane.received(peer))
        assert got == (ulaw(source) * 7)[: len(got)]
        plane.plane.close_stream(0)
        plane.round()
        assert [event[2:4] for event in plane.told("clip")] == [(9, 1)]


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_packet_times(ptime_ms: int) -> None:
    with Rig() as plane:
        peer = plane.open(sends=True, ptime_ms=ptime_ms)
        plane.plane.play(0, speech(8000), 1)
        for _ in range(60):
            plane.pass_ms(10)
        sent = [fields(data) for data in plane.received(peer)]
        assert {len(one[5]) for one in sent} == {8 * ptime_ms}
        assert abs(len(sent) - 600 // ptime_ms) <= 1


def test_time_that_stood_still_is_caught_up_with() -> None:
    with Rig() as plane:
        peer = plane.open(sends=True)
        plane.plane.play(0, speech(8000), 1)
        plane.pass_ms(100)
        assert 4 <= len(plane.received(peer)) <= 5
        plane.pass_ms(500)
        sent = [fields(data) for data in plane.received(peer)]
        # A pause that no jitter buffer bears is not made up for: what would come too late is not sent, and the timestamps know of it.
        assert 1 <= len(sent) <= 6
        assert sent[-1][3] == 160 * (600 // 20 - 1)
        assert sum(one[1] for one in sent) == 1


def test_dtx_says_what_silence_is_like_and_then_nothing() -> None:
    with Rig() as plane:
        peer = plane.open(sends=True, send_noise=NOISE)
        quiet = np.random.default_rng(1).normal(0, 20, 16000).astype(np.int16)
        plane.plane.play(0, np.concatenate([speech(3200), quiet]), 1)
        for _ in range(110):
            plane.round()
            plane.pass_ms(20)
        sent = [fields(data) for data in plane.received(peer)]
        assert any(one[0] == 13 for one in sent)
        assert len(sent) < 80
        assert [one[2] for one in sent] == list(range(len(sent)))


# ---- recording ----


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as opened:
        return np.frombuffer(opened.readframes(opened.getnframes()), np.int16).reshape(-1, opened.getnchannels())


def test_a_recording_has_every_sample_in_its_place(tmp_path: Path) -> None:
    with Rig() as plane:
        recorder = Files(plane)
        peer = plane.open()
        other = plane.open(1)
        number = recorder.open(tmp_path / "both.wav", files.WAV_PCM16, (0, 1))
        plane.plane.record(0, number, 0, "pcm", 8000, plane.now_ns)
        plane.plane.record(1, number, 1, "pcm", 8000, plane.now_ns)
        source, second = speech(160 * 100), speech(160 * 60, seed=5)
        for at in range(100):
            plane.send(peer, packet(at, at * 160, ulaw(source[at * 160 :][:160])))
            if at >= 40:
                plane.send(other, packet(at, at * 160, ulaw(second[(at - 40) * 160 :][:160])), 1)
            plane.round()
            plane.pass_ms(20)
            recorder.writer.round(plane.now_ns)
        plane.plane.close_stream(0)
        plane.plane.close_stream(1)
        (result,) = recorder.finish(number)
        got = read(tmp_path / "both.wav")
        assert result.lost == result.late == 0
        assert np.array_equal(got[:16000, 0], heard(source))
        assert not got[: 160 * 40, 1].any()
        assert np.array_equal(got[160 * 40 : 16000, 1], heard(second))


def test_the_way_is_opened_by_packets_that_say_nothing() -> None:
    with Rig() as plane:
        peer = plane.open(opens=True, rtcp=True)
        plane.pass_ms(100)
        plane.pass_ms(500)
        opened = [fields(data) for data in plane.received(peer)]
        assert [(payload_type, sequence, ssrc, payload) for payload_type, _, sequence, _, ssrc, payload in opened] == [(127, 0, 0x77, b"")]
        for _ in range(20):
            plane.pass_ms(100)
        assert len(plane.received(peer)) == 2  # one a second, as long as nothing came
        plane.send(peer, packet(1, 160, bytes(160)))
        for _ in range(200):
            plane.pass_ms(100)
        assert len(plane.received(peer)) in (1, 2)  # and then one in fifteen
        assert plane.counts()["received"] == 1


def test_payload_is_recorded_untouched(tmp_path: Path) -> None:
    with Rig() as plane:
        recorder = Files(plane)
        peer = plane.open()
        number = recorder.open(tmp_path / "law.wav", files.WAV_ULAW)
        plane.plane.record(0, number, 0, "payload", 8000, plane.now_ns)
        payload = np.random.default_rng(4).integers(0, 256, 160 * 20, np.uint8).tobytes()
        for at in range(20):
            if at != 12:
                plane.send(peer, packet(at, at * 160, payload[at * 160 :][:160]))
            plane.round()
            plane.pass_ms(20)
        plane.pass_ms(300)
        plane.plane.close_stream(0)
        recorder.finish(number)
        data = (tmp_path / "law.wav").read_bytes()
        body = data[data.index(b"data") + 8 :]
        assert body[: 12 * 160] == payload[: 12 * 160]
        assert body[12 * 160 : 13 * 160] == b"\xff" * 160
        assert body[13 * 160 : 20 * 160] == payload[13 * 160 :]


def test_a_pause_is_silent_and_as_long_as_it_was(tmp_path: Path) -> None:
    with Rig() as plane:
        recorder = Files(plane)
        peer = plane.open()
        number = recorder.open(tmp_path / "pause.wav", files.WAV_PCM16)
        plane.plane.record(0, number, 0, "pcm", 8000, plane.now_ns)
        source = speech(160 * 30)
        for at in range(30):
            if at in (10, 20):
                plane.plane.pause(0, at == 10)
                plane.round()
            plane.send(peer, packet(at, at * 160, ulaw(source[at * 160 :][:160])))
            plane.round()
            plane.pass_ms(20)
        plane.plane.close_stream(0)
        recorder.finish(number)
        got = read(tmp_path / "pause.wav")[:, 0]
        assert np.array_equal(got[:1600], heard(source)[:1600])
        assert not got[1600:3200].any()
        assert np.array_equal(got[3200:4800], heard(source)[3200:])


def test_what_is_read_behind_a_pause_but_came_in_it_is_silent(tmp_path: Path) -> None:
    with Rig(real_time=True) as plane:
        recorder = Files(plane)
        peer = plane.open()
        number = recorder.open(tmp_path / "pause.wav", files.WAV_PCM16)
        plane.plane.record(0, number, 0, "pcm", 8000, plane.now_ns)
        source = speech(160 * 8)

        def say(first: int, last: int) -> None:
            for at in range(first, last):
                plane.send(peer, packet(at, at * 160, ulaw(source[at * 160 :][:160])))

        say(0, 3)
        plane.round()
        plane.plane.pause(0, True)
        plane.round()
        say(3, 4)
        plane.round()
        say(4, 5)  # waits in the socket while the pause ends
        plane.plane.pause(0, False)
        say(6, 8)  # and number 5 is lost: nothing stands in for it that was made of the pause
        plane.round()
        plane.plane.close_stream(0)
        plane.round()
        recorder.finish(number)
        got = read(tmp_path / "pause.wav")[:, 0]
        begin = len(got) - 8 * 160  # the recording began before the stream
        assert np.array_equal(got[begin:][: 3 * 160], heard(source)[: 3 * 160])
        assert not got[begin + 3 * 160 :][: 3 * 160].any()
        assert np.array_equal(got[begin + 6 * 160 :], heard(source)[6 * 160 :])


def test_a_packet_came_when_the_kernel_had_it() -> None:
    with Rig(real_time=True) as plane:
        peer = plane.open(policy="learn")
        begun_ns = time.monotonic_ns()
        for number in range(12):
            while time.monotonic_ns() < begun_ns + number * 20_000_000:
                time.sleep(0.001)
            plane.send(peer, packet(number, (time.monotonic_ns() - begun_ns) // 125_000, bytes(160)))  # a timestamp of its own moment, at 8,000 Hz
        plane.round()  # reads all of them at once, by which the jitter would be over 9 ms
        counts = plane.counts()
        assert counts["received"] == 12 and counts["wrong_source"] == 0  # the source was there for long enough to prove itself
        assert counts["jitter_ms"] < 5
        assert counts["last_ns"] - counts["first_ns"] > 150_000_000


def test_what_waited_for_its_stream_begins_with_it() -> None:
    with Rig(real_time=True) as plane:
        peer = plane.peer()
        plane.send(peer, packet(0, 0, bytes(160)))
        time.sleep(0.02)  # so that it came before, whatever the clocks' steps
        before_ns = time.monotonic_ns()
        plane.open(peer=peer)
        plane.round()
        counts = plane.counts()
        assert counts["received"] == 1
        assert before_ns <= counts["first_ns"] <= time.monotonic_ns()


def test_a_resampled_recording_lies_where_it_was_said(tmp_path: Path) -> None:
    form = Format(payload_type=96, codec="L16", clock_rate_hz=16000, sample_rate_hz=16000)
    source = speech(320 * 30, rate_hz=16000)
    with Rig() as plane:
        recorder = Files(plane)
        peer = plane.open(formats=(form,))
        number = recorder.open(tmp_path / "narrow.wav", files.WAV_PCM16)
        plane.plane.record(0, number, 0, "pcm", 8000, plane.now_ns)
        for at in range(30):
            plane.send(peer, packet(at, at * 320, source[at * 320 :][:320].astype(">i2").tobytes(), payload_type=96))
            plane.round()
            plane.pass_ms(20)
        plane.plane.close_stream(0)
        recorder.finish(number)
        resampler = audio.Resampler(16000, 8000)
        want = np.asarray(resampler.run(np.concatenate([source, np.zeros(1000, np.int16)])))[resampler.delay :][:4800]
        assert np.array_equal(read(tmp_path / "narrow.wav")[:4800, 0], want)


def test_a_disk_that_is_behind_costs_samples_and_not_the_call(tmp_path: Path) -> None:
    with Rig() as plane:
        recorder = Files(plane, blocks=4)
        peer = plane.open()
        plane.plane.hear(0, 20)
        number = recorder.open(tmp_path / "slow.wav", files.WAV_PCM16)
        plane.plane.record(0, number, 0, "pcm", 8000, plane.now_ns)
        source = speech(160 * 200)
        for at in range(200):
            plane.send(peer, packet(at, at * 160, ulaw(source[at * 160 :][:160])))
            plane.round()
            plane.pass_ms(20)
            if at > 150:
                recorder.writer.round(plane.now_ns)
        assert np.array_equal(plane.pcm()[:32000], heard(source))
        assert len(plane.told("record-behind")) == 1
        missed = plane.counts()["missed_samples"]
        assert missed > 0
        plane.plane.close_stream(0)
        recorder.finish(number)
        got = read(tmp_path / "slow.wav")[:, 0]
        assert np.array_equal(got[-160 * 20 :], heard(source)[-160 * 20 :])
        assert 0 < (got[: len(source)] != heard(source)[: len(got)]).sum() <= missed


def test_while_the_disk_stands_still_blocks_go_full(tmp_path: Path) -> None:
    """G.711 as it came: 504 ms in a block, of which 130 wait at most where blocks are plenty."""
    with Rig() as plane:
        recorder = Files(plane, blocks=8)
        peer = plane.open()
        number = recorder.open(tmp_path / "still.wav", files.WAV_ULAW)
        plane.plane.record(0, number, 0, "payload", 8000, plane.now_ns)
        for at in range(120):
            plane.send(peer, packet(at, at * 160, ulaw(speech(160, at))))
            plane.round()
            plane.pass_ms(20)
        assert plane.counts()["missed_samples"] == 0  # in 2.4 s: 8 blocks of 150 ms would be 1.2
        recorder.writer.round(plane.now_ns)
        plane.plane.close_stream(0)
        recorder.finish(number)
        with WavFile(tmp_path / "still.wav") as made:
            assert made.layout.frames == 120 * 160


def test_packets_are_captured_as_they_are_on_the_wire(tmp_path: Path) -> None:
    with Rig() as plane:
        recorder = Files(plane)
        peer = plane.open(sends=True)
        number = recorder.open(tmp_path / "call.pcap", files.PCAP, ())
        plane.plane.capture(0, number, 0)
        plane.plane.play(0, speech(1600), 1)
        plane.speak(peer, speech(1600))
        out = plane.received(peer)
        plane.plane.stop_capture(0)
        recorder.finish(number)
        from engine.trace import read as read_trace

        streams = read_trace(tmp_path / "call.pcap").streams
        assert sorted(int(count) for count in streams.packets) == [10, len(out)]
        data = (tmp_path / "call.pcap").read_bytes()
        assert all(one in data for one in out)


# ---- SRTP ----


def secure(plane: Rig, index: int = 0, **more: object) -> tuple[SrtpContext, SrtpContext, object]:
    """A stream with keys; the contexts of its other end, for what that receives and what it sends."""
    plane.plane.use_srtp(functions_address())
    ours = SrtpContext(KEY), SrtpContext(OTHER_KEY)
    peer = plane.open(index, sends=True, send_srtp=ours[0].address, receive_srtp=ours[1].address, **more)
    plane.kept = [*getattr(plane, "kept", []), ours]
    return SrtpContext(KEY), SrtpContext(OTHER_KEY), peer


def protected(context: SrtpContext, data: bytes) -> bytes:
    room = bytearray(data + bytes(64))
    return bytes(room[: context.protect(room, len(data))])


def test_srtp_both_ways() -> None:
    with Rig() as plane:
        theirs_in, theirs_out, peer = secure(plane)
        plane.plane.hear(0, 20)
        source = speech(160 * 20)
        plane.plane.play(0, source, 1)
        for at in range(20):
            plane.send(peer, protected(theirs_out, packet(at, at * 160, ulaw(source[at * 160 :][:160]))))
            plane.round()
            plane.pass_ms(20)
        assert np.array_equal(plane.pcm()[:3200], heard(source))
        got = b""
        for data in plane.received(peer):
            room = bytearray(data)
            got += bytes(room[12 : theirs_in.unprotect(room, len(data))])
        assert got[:3000] == ulaw(source)[:3000]


def test_what_is_not_authentic_is_dropped_and_the_call_goes_on() -> None:
    with Rig(packets=2048) as plane:
        _, theirs_out, peer = secure(plane, packets_per_s=100_000)
        plane.plane.hear(0, 20)
        source = speech(160 * 20)
        first = b""
        for at in range(20):
            data = protected(theirs_out, packet(at, at * 160, ulaw(source[at * 160 :][:160])))
            first = first or data
            for _ in range(20 if at >= 10 else 0):
                plane.send(peer, first)  # again
                plane.send(peer, data[:-1] + bytes([data[-1] ^ 1]))
                plane.send(peer, packet(at, at * 160, bytes(160)))  # in the clear
            plane.send(peer, data)
            plane.round()
            plane.pass_ms(20)
        assert np.array_equal(plane.pcm()[:3200], heard(source))
        counts = plane.counts()
        assert counts["replayed"] == 200
        assert counts["unauthentic"] == 400


def test_new_keys_do_not_cost_what_is_on_its_way() -> None:
    with Rig() as plane:
        _, old_out, peer = secure(plane)
        plane.plane.hear(0, 20)
        source = speech(160 * 20)
        packets = [packet(at, at * 160, ulaw(source[at * 160 :][:160])) for at in range(20)]
        for data in packets[:9]:
            plane.send(peer, protected(old_out, data))
            plane.round()
            plane.pass_ms(20)
        late = protected(old_out, packets[9])
        ours_before = plane.kept[0][1]
        ours = SrtpContext(KEY), SrtpContext(KEY)
        plane.kept.append(ours)
        again = {"peer": peer, "sends": True, "send_srtp": ours[0].address, "receive_srtp": ours[1].address}
        plane.open(old_receive_srtp=ours_before.address, **again)
        new_out = SrtpContext(KEY)
        plane.send(peer, late)
        for data in packets[10:]:
            plane.send(peer, protected(new_out, data))
            plane.round()
            plane.pass_ms(20)
        assert np.array_equal(plane.pcm()[:3200], heard(source))
        plane.open(**again)
        plane.send(peer, protected(old_out, packet(20, 3200, bytes(160))))
        plane.round()
        assert plane.counts()["unauthentic"] == 1


def test_a_refresh_goes_on_with_the_states_of_its_codecs() -> None:
    from engine.codecs import codec_of

    form = Format(payload_type=9, codec="G722", sample_rate_hz=16000)
    wide = speech(320 * 40, rate_hz=16000)
    encoder = codec_of("G722").encoder()
    packets = [bytes(encoder.encode(wide[at * 320 :][:320])) for at in range(40)]
    decoder = codec_of("G722").decoder()
    want = np.concatenate([decoder.decode(payload) for payload in packets])
    with Rig() as plane:
        peer = plane.open(formats=(form,))
        plane.plane.hear(0, 20)
        for at, payload in enumerate(packets):
            if at % 10 == 5:
                plane.open(peer=peer, formats=(form,))
            plane.send(peer, packet(at, at * 160, payload, payload_type=9))
            plane.round()
            plane.pass_ms(20)
        assert np.array_equal(plane.pcm()[: len(want)], want)


# ---- RTCP ----


def test_reports_go_both_ways() -> None:
    from engine.rtp import rtcp

    with Rig() as plane:
        control = plane.peer()
        peer = plane.open(sends=True, rtcp=True, remote_control_port=control.getsockname()[1], cname="us@here")
        source = speech(160 * 600)
        plane.plane.play(0, source, 1)
        plane.speak(peer, source, lost=frozenset({100, 101}))
        reports = plane.received(control)
        assert reports
        text = repr([rtcp.read(one) for one in reports])
        assert "us@here" in text
        ours = 0x77
        block = struct.pack("!IIIIII", ours, 64 << 24 | 9, 500, 80, 0, 0)
        plane.send(control, struct.pack("!BBHI", 0x81, 201, 7, 0x1234) + block + struct.pack("!BBHIBB", 0x81, 202, 3, 0x1234, 1, 4) + b"peer\0\0", control=True)
        plane.round()
        assert plane.told("report")[-1][2:4] == (64, 80)
        plane.send(control, struct.pack("!BBHI", 0x80, 201, 1, 0x1234) + struct.pack("!BBHI", 0x81, 203, 1, 0x1234), control=True)
        plane.round()
        assert plane.told("said-bye")
        plane.speak(peer, source[:1600], sequence=600, timestamp=600 * 160)
        assert plane.counts()["delivered"] == 600 - 2 + 10  # BYE ends nothing


def test_a_bye_goes_out_at_the_end() -> None:
    with Rig() as plane:
        control = plane.peer()
        plane.open(sends=True, rtcp=True, remote_control_port=control.getsockname()[1])
        plane.round()
        plane.pass_ms(20)
        plane.plane.close_stream(0)
        plane.round()
        assert any(b"\x81\xcb" in data for data in plane.received(control))


# ---- relay and mix ----


def test_a_relay_sends_on_what_comes() -> None:
    with Rig() as plane:
        left = plane.open(0, sends=True, idle_sends=False)
        right = plane.open(1, sends=True, idle_sends=False, formats=(PCMU, Format(payload_type=97, kind="event")))
        plane.plane.relay(0, 1)
        plane.plane.relay(1, 0)
        plane.round()
        for at in range(5):
            plane.send(left, packet(at, at * 160, bytes([at]) * 160, ssrc=5))
            plane.send(right, packet(at, at * 160, bytes([at + 50]) * 160, ssrc=6), 1)
            plane.round()
            plane.pass_ms(20)
        assert plane.received(right) == [packet(at, at * 160, bytes([at]) * 160, ssrc=5) for at in range(5)]
        assert plane.received(left) == [packet(at, at * 160, bytes([at + 50]) * 160, ssrc=6) for at in range(5)]
        assert plane.counts(0)["relayed"] == 5
        plane.plane.relay(0, NO_STREAM)
        plane.round()
        plane.send(left, packet(6, 960, bytes(160), ssrc=5))
        plane.round()
        plane.pass_ms(20)
        assert not plane.received(right)


def test_a_relay_renumbers_payload_types() -> None:
    with Rig() as plane:
        left = plane.open(0, sends=True, idle_sends=False, formats=(PCMU, EVENT))
        right = plane.open(1, sends=True, idle_sends=False, formats=(PCMU, Format(payload_type=97, kind="event")))
        plane.plane.relay(0, 1)
        plane.round()
        plane.send(left, packet(0, 0, event_payload(3, 160), payload_type=101, marker=True))
        plane.round()
        plane.pass_ms(20)
        (sent,) = plane.received(right)
        assert fields(sent)[:2] == (97, 1)


def test_legs_of_a_mix_hear_the_others() -> None:
    with Rig(ports=3) as plane:
        peers = [plane.open(index, sends=True, jitter="fixed", delay_min_ms=40, delay_max_ms=200) for index in range(3)]
        for index in range(3):
            plane.plane.join(index, 0, 8000)
        plane.round()
        tones = [np.sin(2 * np.pi * hz * np.arange(160 * 60) / 8000) * 5000 for hz in (400, 1000, 1800)]
        for at in range(60):
            for index in range(3):
                piece = tones[index][at * 160 :][:160].astype(np.int16)
                plane.send(peers[index], packet(at, at * 160, ulaw(piece), ssrc=index + 1), index)
            plane.round()
            plane.pass_ms(20)
        for index in range(3):
            got = np.concatenate([rig.of_ulaw(fields(data)[5]) for data in plane.received(peers[index])]).astype(float)
            got = got[1600:8000]
            spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got))))
            bins = [round(hz * len(got) / 8000) for hz in (400, 1000, 1800)]
            strength = [spectrum[at - 3 : at + 4].max() for at in bins]
            others = [strength[other] for other in range(3) if other != index]
            assert strength[index] < 0.02 * min(others), index
            assert max(others) < 1.2 * min(others)


@pytest.mark.parametrize("ptime_ms", [10, 40])
def test_legs_of_a_mix_send_its_steps(ptime_ms: int) -> None:
    with Rig() as plane:
        peers = [plane.open(index, sends=True, ptime_ms=ptime_ms) for index in range(2)]
        for index in range(2):
            plane.plane.join(index, 0, 16000)
        plane.plane.join(0, 1, 96000)  # faster than a mix can be: it leaves, and is in none
        plane.plane.join(0, 0, 16000)
        for _ in range(20):
            plane.pass_ms(10)
        for peer in peers:
            sent = [fields(data) for data in plane.received(peer)]
            assert len(sent) >= 9 and {len(one[5]) for one in sent[1:]} == {160}
            times = [one[3] for one in sent[1:]]
            assert times == list(range(times[0], times[0] + 160 * len(times), 160))


def test_leaving_a_mix() -> None:
    with Rig(ports=3) as plane:
        for index in range(3):
            plane.open(index, sends=True)
            plane.plane.join(index, 1, 8000)
        plane.plane.join(1, NO_STREAM, 0)
        plane.plane.close_stream(0)
        plane.plane.close_stream(2)
        plane.plane.close_stream(1)
        plane.round()
        plane.pass_ms(40)
        assert len(plane.told("stream-closed")) == 3
        assert plane.plane.numbers()["streams"] == 0


# ---- opening, changing, ending ----


def test_a_new_agreement_changes_the_other_end_and_the_codec() -> None:
    with Rig() as plane:
        before = plane.open(sends=True)
        plane.pass_ms(40)
        after = plane.peer()
        plane.open(peer=after, sends=True, formats=(PCMA,))
        plane.received(before)
        plane.pass_ms(60)
        assert not plane.received(before)
        sent = [fields(data) for data in plane.received(after)]
        assert {one[0] for one in sent} == {8}
        plane.plane.hear(0, 20)
        plane.send(after, packet(0, 0, b"\xd5" * 160, payload_type=8))
        plane.round()
        plane.pass_ms(20)
        assert plane.told("pcm")


def test_what_is_held_is_decoded_by_the_decoder_of_now() -> None:
    """The states of a format that was agreed anew are others; the ones before are gone."""
    bind_opus(opus.addresses())
    stereo, mono = (Format(payload_type=107, codec="opus", clock_rate_hz=48000, sample_rate_hz=48000, channels=channels) for channels in (2, 1))
    from engine.codecs import codec_of

    encoder = codec_of("opus").encoder(48000)
    payloads = [bytes(encoder.encode(speech(960, seed=at, rate_hz=48000))) for at in range(8)]
    with Rig() as plane:
        peer = plane.open(formats=(stereo,))
        plane.plane.hear(0, 20)
        for at in (0, 1, 3, 4, 5):  # the third is missing, so that what follows it waits
            plane.send(peer, packet(at, at * 960, payloads[at], payload_type=107))
            plane.round()
            plane.pass_ms(20)
        plane.open(peer=peer, formats=(mono,))
        for _ in range(20):
            plane.pass_ms(20)
        assert plane.counts()["delivered"] == 5 and plane.counts()["bad_payload"] == 0
        decoders = codec_of("opus").decoder(48000)
        assert len(decoders.decode(payloads[0])) == 960


def test_everything_is_given_back() -> None:
    with Rig(streams=4) as plane:
        for turn in range(3):
            peer = plane.open(jitter="fixed", delay_min_ms=200, delay_max_ms=400)
            plane.plane.hear(0, 20)
            for at in range(9):
                plane.send(peer, packet(at + 1, at * 160, bytes(160), ssrc=turn + 9))
            plane.round()
            plane.pass_ms(20)
            plane.plane.close_stream(0)
            plane.round()
            plane.round()
        numbers = plane.plane.numbers()
        assert numbers["held_packets"] == 0
        assert numbers["free_pcm_blocks"] == 64
        assert numbers["streams"] == 0
        assert len(plane.told("stream-closed")) == 3


def test_without_room_nothing_waits_and_all_go_on() -> None:
    with Rig(ports=4, packets=128 + 20) as plane:
        peers = [plane.open(index) for index in range(4)]
        for index in range(4):
            plane.plane.hear(index, 20)
        for number in range(40):
            for index, peer in enumerate(peers):
                plane.send(peer, packet(2 * number, 2 * number * 160, bytes([number]) * 160), index)  # every other one is missing
            plane.round()
            plane.pass_ms(20)
        for _ in range(20):
            plane.pass_ms(20)
        for index in range(4):
            assert plane.counts(index)["delivered"] == 40
        assert sum(plane.counts(index)["no_slot"] for index in range(4)) > 0


def test_a_full_ring_of_events_loses_no_end() -> None:
    with Rig(events=4) as plane:
        plane.open(0)
        plane.open(1)
        peer = plane.open(0)
        for at in range(20):
            plane.send(peer, packet(at, 0, bytes(160), ssrc=at))
        plane.plane.hear(0, 20)
        for _ in range(20):  # nobody drains
            plane.now_ns += 100_000_000
            plane.plane.set_clock(plane.now_ns)
            plane.plane.round()
        plane.plane.close_stream(0)
        plane.plane.close_stream(1)
        for _ in range(6):
            plane.plane.round()
            plane.events += plane.plane.drain()
        assert sorted(event[1] for event in plane.told("stream-closed")) == [0, 1]


def test_a_number_is_free_when_its_end_was_told() -> None:
    with Rig() as plane:
        peer = plane.open()
        plane.plane.close_stream(0)
        settings = StreamSettings(formats=(PCMU,), remote_host="127.0.0.1", remote_port=peer.getsockname()[1])
        with pytest.raises(RuntimeError, match="being closed"):
            plane.plane.set_up(0, 0, settings)
        plane.round()
        plane.plane.set_up(0, 0, settings)
        plane.plane.close_stream(3)  # there is none
        plane.plane.set_up(3, 1, settings)
        plane.round()
        assert plane.plane.numbers()["streams"] == 2


def test_settings_that_cannot_be() -> None:
    with Rig() as plane:
        for wrong in (
            StreamSettings(formats=()),
            StreamSettings(formats=(EVENT,)),
            StreamSettings(formats=(Format(payload_type=0, codec="nothing"),)),
            StreamSettings(formats=(PCMU,), remote_host="a.name", remote_port=5),
            StreamSettings(formats=(Format(payload_type=9, codec="G722", sample_rate_hz=44100),)),
        ):
            with pytest.raises(ValueError, match=r"."):
                plane.plane.set_up(0, 0, wrong)
        assert plane.plane.numbers()["streams"] == 0
    with pytest.raises(ValueError, match="sizes"):
        Plane(packets=1)


def test_opus_both_ways() -> None:
    bind_opus(opus.addresses())
    form = Format(payload_type=107, codec="opus", clock_rate_hz=48000, sample_rate_hz=48000)
    with Rig() as plane:
        peer = plane.open(sends=True, formats=(form,))
        plane.plane.hear(0, 20)
        tone = (np.sin(2 * np.pi * 440 * np.arange(48000) / 48000) * 9000).astype(np.int16)
        plane.plane.play(0, tone, 1)
        for _ in range(30):
            plane.round()
            plane.pass_ms(20)
            for data in plane.received(peer):
                plane.send(peer, data)
        got = plane.pcm().astype(float)[9600:]
        spectrum = np.abs(np.fft.rfft(got))
        assert abs(np.argmax(spectrum) * 48000 / len(got) - 440) < 5
        assert got.std() > 4000


def test_version_six() -> None:
    with Rig(host="::1") as plane:
        peer = plane.open(sends=True)
        plane.plane.hear(0, 20)
        source = speech(1600)
        plane.plane.play(0, source, 1)
        plane.speak(peer, source)
        assert np.array_equal(plane.pcm()[:1600], heard(source))
        assert b"".join(fields(data)[5] for data in plane.received(peer))[:1440] == ulaw(source)[:1440]
        assert plane.told("started")[0][-1][0] == "::1"

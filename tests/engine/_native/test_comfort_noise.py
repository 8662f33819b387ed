"""Comfort noise: the level and colour of a SID payload, payloads of noise, and the decision when to send them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine._native import tones
from engine._native.tones import ComfortNoise, Dtx
from tests.data import voices

Pcm = npt.NDArray[np.int16]


def made(payload: bytes, samples: int = 40000, seed: int = 1) -> Pcm:
    noise = ComfortNoise(seed)
    noise.take(payload)
    return noise.make(samples)


def octet(reflection: float) -> int:
    return round(reflection * 32768 / 258) + 127


def reflections_of(pcm: Pcm, order: int) -> list[float]:
    """By Levinson and Durbin, in plain Python."""
    signal = pcm.astype(np.float64)
    r = [float(signal[: len(signal) - lag] @ signal[lag:]) for lag in range(order + 1)]
    a: list[float] = []
    error, result = r[0], []
    for m in range(order):
        k = -(r[m + 1] + sum(a[i] * r[m - i] for i in range(m))) / error
        a = [a[i] + k * a[m - 1 - i] for i in range(m)] + [k]
        error *= 1 - k * k
        result.append(k)
    return result


@pytest.mark.parametrize("level", [10, 20, 30, 40, 50, 60, 70, 80, 90])
@pytest.mark.parametrize("order", [0, 1, 4, 10, 12])
def test_noise_has_the_level_of_its_payload(level: int, order: int) -> None:
    random = np.random.default_rng(level + order)
    payload = bytes([level, *(octet(k) for k in random.uniform(-0.6, 0.6, order))])
    assert abs(voices.dbov(made(payload)) + level) < 1


@pytest.mark.parametrize("extreme", [[0], [254], [255], [0] * 12, [255] * 12, [0, 255] * 6, [255, 0] * 6, [127] * 40, [200] * 1500])
def test_any_coefficients_make_noise_that_stays_within_bounds(extreme: list[int]) -> None:
    pcm = made(bytes([40, *extreme]), 400_000)
    assert -52 < voices.dbov(pcm[200_000:]) < -28
    assert np.abs(pcm.astype(int)).max() < 32767


def test_noise_has_the_colour_of_its_payload() -> None:
    wanted = [-0.8, 0.4, -0.2, 0.1]
    for sign in (1, -1):
        coloured = [sign * k if n % 2 == 0 else k for n, k in enumerate(wanted)]
        pcm = made(bytes([30, *map(octet, coloured)]), 200_000)
        assert reflections_of(pcm, 4) == pytest.approx(coloured, abs=0.03)
    low, high = (np.abs(np.fft.rfft(made(bytes([30, octet(k)])).astype(float))) ** 2 for k in (-0.9, 0.9))
    half = len(low) // 2
    assert low[:half].sum() > 20 * low[half:].sum()  # a negative first coefficient: low frequencies
    assert high[half:].sum() > 20 * high[:half].sum()


def test_white_noise_is_white_and_normal() -> None:
    pcm = made(b"\x1e", 200_000).astype(np.float64)
    assert max(map(abs, reflections_of(pcm.astype(np.int16), 12))) < 0.01
    assert abs(pcm.mean()) < 0.02 * pcm.std()
    assert 2.5 < np.mean(pcm**4) / np.mean(pcm**2) ** 2 < 3.1  # 3 for a normal distribution


def test_more_than_twelve_coefficients_are_passed_over() -> None:
    payload = bytes([30, *range(90, 164)])
    np.testing.assert_array_equal(made(payload), made(payload[:13]))


def test_noise_comes_from_its_seed_alone_however_it_is_cut() -> None:
    payload = bytes([30, 100, 140])
    np.testing.assert_array_equal(made(payload, 1000), made(payload, 1000))
    assert not np.array_equal(made(payload, 1000), made(payload, 1000, seed=2))
    parts = ComfortNoise(1)
    parts.take(payload)
    np.testing.assert_array_equal(np.concatenate([parts.make(n) for n in (0, 1, 2, 160, 837)]), made(payload, 1000))


def test_silence_before_the_first_payload_and_after_one_that_says_so() -> None:
    noise = ComfortNoise(5)
    assert not noise.make(1000).any()
    noise.take(b"\x20")
    assert noise.make(1000).any()
    noise.take(b"\x7f")
    noise.make(4000)
    assert not noise.make(1000).any()
    noise.take(b"\xa0")  # the first bit is not part of the level
    noise.make(4000)
    assert abs(voices.dbov(noise.make(20000)) + 32) < 1


def test_a_new_level_comes_without_a_click() -> None:
    noise = ComfortNoise(5)
    noise.take(bytes([50]))
    quiet = noise.make(8000)
    noise.take(bytes([20]))
    first, later = noise.make(40), noise.make(8000)[4000:]
    assert voices.dbov(quiet) < voices.dbov(first) - 3 < voices.dbov(later) - 6
    assert abs(voices.dbov(later) + 20) < 1


def test_an_empty_payload_is_refused() -> None:
    with pytest.raises(ValueError, match="empty payload"):
        ComfortNoise().take(b"")


@pytest.mark.parametrize("level", [-15, -30, -45, -60, -75])
@pytest.mark.parametrize("tilt", [0.0, 0.5, 0.9, -0.8])
def test_noise_measured_and_made_again_is_the_same_noise(level: int, tilt: float) -> None:
    pcm = voices.noise(np.random.default_rng(7), 4000, level, tilt)
    payload = tones.measure_noise(pcm)
    assert len(payload) == 13
    assert abs(payload[0] + level) <= 1
    told = [258 * (number - 127) / 32768 for number in payload[1:]]
    assert told == pytest.approx(reflections_of(pcm, 12), abs=0.02)
    again = made(payload, 200_000)
    assert abs(voices.dbov(again) - voices.dbov(pcm)) < 1
    assert reflections_of(again, 3) == pytest.approx(reflections_of(pcm, 3), abs=0.05)


def test_silence_and_tones_and_short_blocks_are_measured() -> None:
    assert tones.measure_noise(np.zeros(160, np.int16)) == b"\x7f"
    assert tones.measure_noise(np.zeros(0, np.int16)) == b"\x7f"
    assert tones.measure_noise(np.full(160, -32768, np.int16))[0] == 0
    assert tones.measure_noise(np.array([1000, -1000], np.int16)) == bytes([30])
    sine = voices.pcm(1000 * np.sin(np.arange(160) * 0.6))
    payload = tones.measure_noise(sine)
    assert payload[0] == 33 and len(payload) == 13
    assert -45 < voices.dbov(made(payload)) < -30
    for room in range(1, 14):
        assert tones.measure_noise(sine, room) == payload[:room]
    with pytest.raises(ValueError, match="one byte"):
        tones.measure_noise(sine, 0)


def decisions(pcm: Pcm, rate_hz: int = 8000) -> list[int]:
    dtx, size = Dtx(rate_hz), rate_hz // 50
    return [dtx.decide(pcm[k : k + size]) for k in range(0, len(pcm) - size + 1, size)]


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_speech_is_sent_and_pauses_are_not(rate_hz: int) -> None:
    random, second = np.random.default_rng(3), rate_hz
    pcm = voices.noise(random, 12 * second, -62).astype(int)
    voice = np.concatenate([voices.speech(random, 3, rate_hz), np.zeros(3 * second, np.int16)] * 2)
    told = decisions(np.clip(pcm + voice, -32768, 32767).astype(np.int16), rate_hz)
    for begin in (0, 6):  # seconds
        talk, pause = told[begin * 50 : begin * 50 + 150], told[begin * 50 + 150 : begin * 50 + 300]
        assert talk.count(tones.SEND_AUDIO) > 120
        assert pause.index(tones.SEND_SID) <= 25  # 200 ms, and what the floor takes
        assert pause[30:].count(tones.SEND_AUDIO) == 0
        assert pause[30:].count(tones.SEND_NOTHING) > 110


def test_a_pause_begins_with_one_sid_and_has_more_only_while_the_level_moves() -> None:
    random = np.random.default_rng(4)
    steady = decisions(voices.noise(random, 8000 * 20, -60))
    assert steady[:10] == [tones.SEND_AUDIO] * 10
    assert tones.SEND_SID in steady[:20]
    assert steady.count(tones.SEND_SID) < 12
    falling = voices.noise(random, 8000 * 10, -50).astype(float) * 10 ** (-np.arange(80000) / 80000)
    told = decisions(voices.pcm(falling))
    sids = [k for k, what in enumerate(told) if what == tones.SEND_SID]
    assert len(sids) >= 5 and min(np.diff(sids)) >= 20  # 400 ms


def test_digital_silence_is_one_sid() -> None:
    told = decisions(np.zeros(8000 * 10, np.int16))
    assert told.count(tones.SEND_SID) == 1 and told.count(tones.SEND_AUDIO) == 10


def test_loud_noise_is_always_sent() -> None:
    """Above -35 dBov plus the 9 dB of speech nothing is taken for silence, however long it lasts."""
    assert set(decisions(voices.noise(np.random.default_rng(5), 8000 * 30, -20))) == {tones.SEND_AUDIO}


def test_the_floor_follows_the_noise() -> None:
    dtx, random = Dtx(8000), np.random.default_rng(6)
    for level, seconds in ((-70, 2), (-50, 5), (-65, 1)):
        for block in voices.noise(random, 8000 * seconds, level).reshape(-1, 160):
            dtx.decide(block)
        assert abs(dtx.noise_floor_dbov - level) < 3

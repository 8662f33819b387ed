"""Lost packets: the samples of the twin, exact counts, no clicks, and better than silence and than repetition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from engine._native.tones import Concealer
from tests.data import voices
from tests.oracle.plc_twin import Twin

Pcm = npt.NDArray[np.int16]
Fates = npt.NDArray[np.bool_]
FULL_MS, SILENT_MS = 10, 60


def concealed(pcm: Pcm, lost: Fates, samples: int, rate_hz: int) -> Pcm:
    made = Concealer(rate_hz)
    return np.concatenate([made.lost(samples) if lost[k] else made.good(pcm[k * samples : (k + 1) * samples]) for k in range(len(lost))])


def silenced(pcm: Pcm, lost: Fates, samples: int, rate_hz: int) -> Pcm:
    return np.where(np.repeat(lost, samples), 0, pcm[: len(lost) * samples]).astype(np.int16)


def repeated(pcm: Pcm, lost: Fates, samples: int, rate_hz: int) -> Pcm:
    frames = pcm[: len(lost) * samples].reshape(-1, samples)
    source = np.maximum.accumulate(np.where(lost, 0, np.arange(len(lost))))
    return frames[source].reshape(-1)


def spoken(pcm: Pcm, lost: Fates, samples: int) -> list[int]:
    """Numbers of lost frames that are not silence."""
    return [int(k) for k in np.flatnonzero(lost) if voices.dbov(pcm[k * samples : (k + 1) * samples]) > -50]


def segmental_snr_db(wanted: Pcm, heard: Pcm, frames: list[int], samples: int) -> float:
    values = []
    for k in frames:
        clean, error = wanted[k * samples : (k + 1) * samples].astype(float), heard[k * samples : (k + 1) * samples].astype(float)
        values.append(10 * np.log10(np.sum(clean**2) / max(np.sum((clean - error) ** 2), 1e-3)))
    return float(np.mean(np.clip(values, -10, 35)))


def spectral_distance_db(wanted: Pcm, heard: Pcm, frames: list[int], samples: int, rate_hz: int) -> float:
    """Log-spectral distance in bands of 250 Hz."""
    width = max(1, 250 * samples // rate_hz)
    window, values = np.hanning(samples), []
    for k in frames:
        part = slice(k * samples, (k + 1) * samples)
        powers = [np.abs(np.fft.rfft(signal[part] * window)) ** 2 + 100 * samples for signal in (wanted, heard)]
        bands = [power[: len(power) // width * width].reshape(-1, width).sum(1) for power in powers]
        values.append(np.sqrt(np.mean((10 * np.log10(bands[0] / bands[1])) ** 2)))
    return float(np.mean(values))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_five_percent_of_loss_sounds_better_than_silence_and_than_the_last_packet_again(rate_hz: int) -> None:
    random, samples = np.random.default_rng(5), rate_hz // 50
    pcm = np.concatenate([voices.speech(random, 15, rate_hz) for _ in range(4)])
    lost = random.random(len(pcm) // samples) < 0.05
    lost[:10] = False
    frames = spoken(pcm, lost, samples)
    ways: list[Callable[[Pcm, Fates, int, int], Pcm]] = [concealed, silenced, repeated]
    heard = [way(pcm, lost, samples, rate_hz) for way in ways]
    ours, silence, repetition = (segmental_snr_db(pcm, way, frames, samples) for way in heard)
    assert len(frames) > 60
    assert ours > silence + 0.5 and ours > repetition + 3
    ours, silence, repetition = (spectral_distance_db(pcm, way, frames, samples, rate_hz) for way in heard)
    assert ours < silence - 8 and ours < repetition - 0.3


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("seed", range(3))
def test_samples_are_those_of_the_twin(rate_hz: int, seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    pcm = [voices.speech, voices.music][seed % 2](random, 2, rate_hz)
    ours, twin, at = Concealer(rate_hz), Twin(rate_hz), 0
    while at < len(pcm):
        samples = int(random.integers(1, rate_hz // 20))
        if random.random() < 0.3:
            heard = ours.lost(samples)
            wanted = twin.lost(samples, ours.period)
        else:
            wanted, heard = twin.good(pcm[at : at + samples]), ours.good(pcm[at : at + samples])
            twin.past[-len(heard) :] = heard
        at += samples
        assert np.max(np.abs(heard - wanted)) <= 3, at


@pytest.mark.parametrize("hz", [70, 100, 133, 180, 400])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_a_steady_voice_goes_on_as_it_was(hz: int, rate_hz: int) -> None:
    times = np.arange(rate_hz // 2) / rate_hz
    pcm = voices.pcm(sum(6000 / harmonic * np.sin(2 * np.pi * hz * harmonic * times) for harmonic in range(1, 6)) + np.zeros(len(times)))
    made = Concealer(rate_hz)
    made.good(pcm[: rate_hz // 4])
    heard = made.lost(rate_hz // 100)
    expected = pcm[rate_hz // 4 : rate_hz // 4 + rate_hz // 100].astype(float)
    periods = made.period * hz / rate_hz
    assert abs(periods - round(periods)) < 0.04 * round(periods)
    assert 10 * np.log10(np.mean(expected**2) / max(1.0, float(np.mean((expected - heard) ** 2)))) > 6


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_ten_milliseconds_are_full_and_after_sixty_there_is_silence(rate_hz: int) -> None:
    made, times = Concealer(rate_hz), np.arange(rate_hz)
    made.good(voices.pcm(10000 * np.sin(2 * np.pi * 100 * times / rate_hz)))
    heard = made.lost(rate_hz // 5)
    assert len(heard) == rate_hz // 5
    step = rate_hz // 100
    peaks = [int(np.abs(heard[k * step : (k + 1) * step]).max()) for k in range(20)]
    assert 9900 <= peaks[0] <= 10100
    assert max(np.diff(peaks[:7])) < 0
    assert peaks[5] < 2100 and set(peaks[6:]) == {0}


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
@pytest.mark.parametrize("lost_ms", [5, 10, 20, 40, 60, 200])
def test_there_is_no_click_at_either_end(rate_hz: int, lost_ms: int) -> None:
    """No step from sample to sample is larger than twice the largest of the signal itself, though the pitch has moved on."""
    times = np.arange(rate_hz) / rate_hz
    pcm = voices.pcm(12000 * np.sin(2 * np.pi * (150 + 10 * times) * times))
    made, cut, hole = Concealer(rate_hz), rate_hz // 3, rate_hz * lost_ms // 1000
    heard = np.concatenate([made.good(pcm[:cut]), made.lost(hole), made.good(pcm[cut + hole :])])
    assert len(heard) == len(pcm)
    own = np.abs(np.diff(pcm.astype(int))).max()
    assert np.abs(np.diff(heard.astype(int))).max() <= 2 * own + 8


def test_how_a_loss_is_cut_changes_nothing() -> None:
    pcm = voices.speech(np.random.default_rng(8), 2, 16000)
    whole, parts = Concealer(16000), Concealer(16000)
    whole.good(pcm)
    parts.good(pcm)
    expected = whole.lost(1600)
    sizes = [1, 2, 3, 50, 7, 200, 320, 17, 1000]
    np.testing.assert_array_equal(np.concatenate([parts.lost(size) for size in sizes]), expected)


def test_good_samples_are_left_alone_but_for_the_joint() -> None:
    pcm = voices.speech(np.random.default_rng(9), 1, 8000)
    made = Concealer(8000)
    np.testing.assert_array_equal(made.good(pcm[:4000]), pcm[:4000])
    made.lost(160)
    heard = made.good(pcm[4160:])
    np.testing.assert_array_equal(heard[80:], pcm[4240:])  # 10 ms at most
    np.testing.assert_array_equal(made.good(pcm), pcm)


@pytest.mark.parametrize("rate_hz", [0, 1, 50, 999, 7999, 8000, 96000, 192000, 2**32 - 1])
def test_any_rate_gives_as_many_samples_as_asked_for(rate_hz: int) -> None:
    random, made = np.random.default_rng(1), Concealer(rate_hz)
    for samples in (0, 1, 160, 0, 2879, 2880, 2881, 5760, 20000, 1):
        assert len(made.lost(samples)) == samples
        pcm = random.integers(-32768, 32768, samples).astype(np.int16)
        assert len(made.good(pcm)) == samples


def test_nothing_is_made_of_nothing() -> None:
    made = Concealer(8000)
    assert not made.lost(1000).any()
    made.good(np.zeros(800, np.int16))
    assert not made.lost(1000).any()


@pytest.mark.parametrize("level", [32767, -32768])
def test_full_scale_does_not_wrap(level: int) -> None:
    made = Concealer(8000)
    made.good(np.where(np.arange(800) // 31 % 2, level, -level - 1).astype(np.int16))
    heard = np.concatenate([made.lost(480), made.good(np.full(160, level, np.int16))]).astype(int)
    assert np.abs(np.diff(heard)).max() <= 65535 and heard.min() >= -32768 and heard.max() <= 32767
    assert np.abs(heard[:40]).min() > 32000

"""Signals that are like speech and like music, made from a seed: no recording is kept here.

Speech is a sum of harmonics of a wandering pitch under three wandering formants, with consonants of noise between vowels and pauses between words. Music
is chords of notes with harmonics that die away. Levels are in dBov, of the RMS of the whole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]
FULL_SCALE = 32768.0


def pcm(signal: Floats) -> Pcm:
    """Rounded and saturated."""
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)


def at_level(signal: Floats, level_dbov: float) -> Pcm:
    """As PCM of that RMS."""
    return pcm(signal * (FULL_SCALE * 10 ** (level_dbov / 20) / max(rms(signal), 1e-9)))


def rms(signal: npt.NDArray[np.generic]) -> float:
    return float(np.sqrt(np.mean(np.square(signal.astype(np.float64)))))


def dbov(signal: npt.NDArray[np.generic]) -> float:
    return float(20 * np.log10(max(rms(signal), 1e-9) / FULL_SCALE))


def _wander(random: np.random.Generator, steps: int, samples: int, low: float, high: float) -> Floats:
    """A smooth walk between two bounds: `steps` points, joined by straight lines."""
    points = random.uniform(low, high, steps + 1)
    return np.interp(np.arange(samples), np.linspace(0, samples, steps + 1), points)


def speech(random: np.random.Generator, seconds: float, rate_hz: int = 8000, level_dbov: float = -26.0, pitch_hz: tuple[float, float] = (90, 240)) -> Pcm:
    """Something like a talker, of about four syllables a second and a pause after some of them."""
    samples, syllables = int(seconds * rate_hz), max(1, int(seconds * 4))
    base_hz = random.uniform(*pitch_hz)  # of the talker; melody moves around it
    pitch = np.clip(base_hz * _wander(random, max(1, int(seconds * 3)), samples, 0.8, 1.25), *pitch_hz)
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    formants = [_wander(random, syllables, samples, low, high) for low, high in ((300, 800), (900, 2200), (2300, 3200))]
    widths, weights = (90.0, 120.0, 160.0), (1.0, 0.5, 0.25)
    voice = np.zeros(samples)
    for harmonic in range(1, int(min(3600, rate_hz / 2 - 200) / pitch_hz[0])):
        frequency = harmonic * pitch
        envelope = sum(weight / (1 + ((frequency - formant) / width) ** 2) for formant, width, weight in zip(formants, widths, weights, strict=True))
        voice += np.where(frequency < min(3600, rate_hz / 2 - 200), envelope, 0) * np.sin(harmonic * phase)
    noise = random.normal(0, 0.06, samples)
    hiss = np.append(0, np.diff(noise))
    voiced, spoken = np.zeros(samples), np.zeros(samples)
    length = samples // syllables
    for k in range(syllables):
        part = slice(k * length, (k + 1) * length)
        consonant = int(length * random.uniform(0.1, 0.3))
        shape = np.hanning(length) ** 0.5 * random.uniform(0.4, 1.0)
        spoken[part] = 0 if random.random() < 0.2 else shape
        voiced[part] = np.clip((np.arange(length) - consonant) / (0.02 * rate_hz), 0, 1)
    return at_level(spoken * (voiced * voice + (1 - voiced) * hiss), level_dbov)


def music(random: np.random.Generator, seconds: float, rate_hz: int = 8000, level_dbov: float = -20.0) -> Pcm:
    """Chords of three to five notes, two a second, each with harmonics that die away."""
    samples, chords = int(seconds * rate_hz), max(1, int(seconds * 2))
    length, total = samples // chords, np.zeros(samples)
    times = np.arange(length) / rate_hz
    for k in range(chords):
        for note in random.integers(45, 90, random.integers(3, 6)):
            base_hz = 440 * 2 ** ((note - 69) / 12)
            for harmonic in range(1, 6):
                if harmonic * base_hz < rate_hz / 2 - 100:
                    decay = np.exp(-times * random.uniform(1, 6))
                    total[k * length : (k + 1) * length] += decay / harmonic * np.sin(2 * np.pi * harmonic * base_hz * times + random.uniform(0, 6))
    return at_level(total, level_dbov)


def noise(random: np.random.Generator, samples: int, level_dbov: float, tilt: float = 0.0) -> Pcm:
    """White noise, or with `tilt` of 0..1 more and more of its low frequencies, -1..0 of its high ones."""
    white = random.normal(0, 1, samples + 64)
    weights = tilt ** np.arange(64.0) if tilt > 0 else np.array([1.0, tilt])
    return at_level(np.convolve(white, weights)[64 : 64 + samples], level_dbov)

"""Packet loss concealment by pitch in plain numpy: whole-signal arithmetic in double precision, without chunks or shifting histories."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pcm = npt.NDArray[np.int16]


def _score(end: Floats, window: int, lag: int) -> float:
    now, before = end[-window:], end[-window - lag : -lag]
    alike, energy = float(now @ before), float(before @ before)
    return alike / energy**0.5 if alike > 0 and energy > 0 else 0.0


def period(history: Floats, rate_hz: int) -> int:
    """The pitch period at the end of a signal: 5 to 15 ms."""
    factor = max(1, min(rate_hz, 48000) // 8000)
    coarse = history[-280 * factor :].reshape(280, factor).sum(1)
    scores = {lag: _score(coarse, 160, lag) for lag in range(40, 121)}
    lag = max(scores, key=lambda key: scores[key])
    own = float(coarse[-160:] @ coarse[-160:]) ** 0.5
    if own == 0 or scores[lag] / own < 0.4:
        return 120 * factor
    if factor == 1:
        return lag
    fine = {near: _score(history, 160 * factor, near) for near in range((lag - 1) * factor, (lag + 1) * factor + 1)}
    return max(fine, key=lambda key: fine[key])


class Twin:
    """One stream at one rate."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.past: Floats = np.zeros(5760)  # before fading
        self.lost_samples = self.period = 0
        self.jump = 0.0

    def _repeated(self, count: int) -> Floats:
        return np.resize(self.past[-self.period :], count)

    def _continued(self, count: int) -> Floats:
        eighth = self.period // 8
        left = np.maximum(0, eighth - self.lost_samples - np.arange(count))
        return self._repeated(count) + self.jump * left / max(1, eighth)

    def _gain(self, count: int) -> Floats:
        ms = (self.lost_samples + np.arange(count)) * 1000 / self.rate_hz
        return np.clip((60 - ms) / 50, 0, 1)

    def lost(self, samples: int, chosen: int) -> Floats:
        """Samples made up, not yet rounded, with the period that the kernel has chosen: the best one, or as good as it."""
        if self.lost_samples == 0:
            best = period(self.past, self.rate_hz)
            window = 160 * max(1, min(self.rate_hz, 48000) // 8000)
            assert chosen == best or abs(_score(self.past, window, chosen) / max(_score(self.past, window, best), 1e-9) - 1) < 0.02, (chosen, best)
            self.period = chosen
            self.jump = float(self.past[-1] - self.past[-1 - chosen])
            quarter = chosen // 4
            weight = np.arange(1, quarter + 1) / (quarter + 1)
            tail = self.past[-quarter:] * (1 - weight) + self.past[-quarter - chosen : -chosen] * weight
            self.past = np.concatenate([self.past[:-quarter], np.trunc(tail + np.copysign(0.5, tail))])
        made = self._repeated(samples)
        heard = self._continued(samples) * self._gain(samples)
        kept = min(samples, self.rate_hz * 60 // 1000 - self.lost_samples)  # silence is not remembered
        self.past = np.concatenate([self.past, made[:kept]])[-5760:]
        self.lost_samples += kept
        return heard

    def good(self, pcm: Pcm) -> Floats:
        """Samples that came, joined to those made up, not yet rounded."""
        heard = pcm.astype(np.float64)
        if self.lost_samples:
            join_ms = min(10, 3 + self.lost_samples * 1000 // self.rate_hz * 2 // 10)
            count = min(len(pcm), self.rate_hz * join_ms // 1000)
            weight = np.arange(1, count + 1) / (count + 1)
            heard[:count] = heard[:count] * weight + self._continued(count) * self._gain(count) * (1 - weight)
            self.lost_samples = 0
        self.past = np.concatenate([self.past, np.rint(heard)])[-5760:]
        return heard

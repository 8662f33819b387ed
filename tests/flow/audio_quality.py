"""How near what was heard is to what was said: sample for sample where nothing may be lost, by measures of hearing where a codec or the network may.

Segmental SNR is the mean of the SNRs of frames in which something is said, each held between -10 and 35 dB (as it is common for speech coding). PESQ is
ITU-T P.862, of 4.5 where nothing is to be heard.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pesq as itu_pesq  # type: ignore[import-untyped]

Pcm = npt.NDArray[np.int16]
FRAME_MS: Final = 20
SILENT_DB: Final = 40.0  # frames so far below the whole say nothing
FRAME_MIN_DB: Final = -10.0
FRAME_MAX_DB: Final = 35.0


def _power(signal: npt.NDArray[np.generic]) -> float:
    return float(np.mean(np.square(signal.astype(np.float64)))) if signal.size else 0.0


def place_of(part: Pcm, whole: Pcm) -> int:
    """Where the samples of `part` lie in `whole`, sample for sample; -1 where they do not."""
    if part.size == 0 or part.size > whole.size:
        return -1
    rare = int(np.argmax(np.abs(part.astype(np.int32))))  # a loud sample is met less often than silence
    for at in np.flatnonzero(whole[rare : whole.size - part.size + rare + 1] == part[rare]):
        if np.array_equal(whole[at : at + part.size], part):
            return int(at)
    return -1


def lag_of(reference: Pcm, heard: Pcm) -> int:
    """By how many samples `heard` is behind `reference`, where both are most alike (cross-correlation)."""
    size = 1 << (reference.size + heard.size - 1).bit_length()
    spectrum = np.fft.rfft(heard.astype(np.float64), size) * np.conj(np.fft.rfft(reference.astype(np.float64), size))
    found = int(np.argmax(np.fft.irfft(spectrum, size)))
    return found if found < heard.size else found - size


def aligned(reference: Pcm, heard: Pcm, lag: int | None = None) -> tuple[Pcm, Pcm]:
    """What both have in common, with the lag taken out."""
    lag = lag_of(reference, heard) if lag is None else lag
    first, second = reference[max(0, -lag) :], heard[max(0, lag) :]
    size = min(first.size, second.size)
    return first[:size], second[:size]


def snr_db(reference: Pcm, heard: Pcm) -> float:
    """Signal to difference, of the whole. Infinite where there is none."""
    difference = _power(reference.astype(np.int32) - heard.astype(np.int32))
    return float("inf") if difference == 0 else 10 * float(np.log10(max(_power(reference), 1e-9) / difference))


def segmental_snr_db(reference: Pcm, heard: Pcm, rate_hz: int) -> float:
    """Mean SNR of the frames in which something is said."""
    step = rate_hz * FRAME_MS // 1000
    floor = _power(reference) / 10 ** (SILENT_DB / 10)
    frames = [slice(at, at + step) for at in range(0, reference.size - step + 1, step)]
    spoken = [frame for frame in frames if _power(reference[frame]) > floor]
    assert spoken, "nothing is said"
    return float(np.mean([min(max(snr_db(reference[frame], heard[frame]), FRAME_MIN_DB), FRAME_MAX_DB) for frame in spoken]))


def pesq(reference: Pcm, heard: Pcm, rate_hz: int) -> float:
    """PESQ of ITU-T P.862: narrow band at 8 kHz, wide band (P.862.2) at 16 kHz."""
    return float(itu_pesq.pesq(rate_hz, np.ascontiguousarray(reference), np.ascontiguousarray(heard), "nb" if rate_hz == 8000 else "wb"))


__all__ = ["Pcm", "aligned", "lag_of", "pesq", "place_of", "segmental_snr_db", "snr_db"]

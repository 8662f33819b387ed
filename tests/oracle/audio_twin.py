"""G.711, sums, levels and rates in plain Python, from the standards' definitions: tables of intervals, whole numbers, a filter run over every
sample that both rates have in common. Tests hold the kernels against them."""

from __future__ import annotations

import runpy
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import log10
from pathlib import Path
from typing import Any

FILTERS: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parents[2] / "engine" / "_native" / "c" / "resample_filters.py")
)

# ITU-T G.711, tables 2a and 1a: where intervals begin, in 1/8159 and 1/4096 of the load point. Those of u-law are one of width 1, 15 of 2 and
# 16 each of 4 to 256; those of A-law 32 of 2 and 16 each of 4 to 128.
ULAW_EDGES = [0, *accumulate([1] + [2] * 15 + [width for width in (4, 8, 16, 32, 64, 128, 256) for _ in range(16)])]
ALAW_EDGES = [0, *accumulate([2] * 32 + [width for width in (4, 8, 16, 32, 64, 128) for _ in range(16)])]
assert ULAW_EDGES[-1] == 8159 and ALAW_EDGES[-1] == 4096 and len(ULAW_EDGES) == len(ALAW_EDGES) == 129


def ulaw_decode(byte: int) -> int:
    """A sample of 16 bits: the middle of an interval, and 0 for the one at 0."""
    number = ~byte & 0x7F
    value = (ULAW_EDGES[number] + ULAW_EDGES[number + 1]) // 2 * 4 if number else 0
    return value if byte & 0x80 else -value


def alaw_decode(byte: int) -> int:
    """A sample of 16 bits: the middle of an interval."""
    number = byte & 0x7F ^ 0x55
    value = (ALAW_EDGES[number] + ALAW_EDGES[number + 1]) // 2 * 8
    return value if byte & 0x80 else -value


def ulaw_encode(sample: int) -> int:
    """The interval of a sample of which two bits are cut off, downwards."""
    number = bisect_right(ULAW_EDGES, min(abs(sample >> 2), 8158)) - 1
    return number ^ (0xFF if sample >= 0 else 0x7F)


def alaw_encode(sample: int) -> int:
    """The interval of a sample of which three bits are cut off, downwards. The negative ones begin at -1."""
    magnitude = sample >> 3
    number = bisect_right(ALAW_EDGES, magnitude if magnitude >= 0 else -magnitude - 1) - 1
    return number ^ (0xD5 if sample >= 0 else 0x55)


def saturated(value: int) -> int:
    """The nearest number of 16 bits."""
    return max(-32768, min(32767, value))


def mixed(legs: Sequence[Sequence[int]], without: int = -1) -> list[int]:
    """The sum of all legs but one."""
    heard = [leg for number, leg in enumerate(legs) if number != without]
    return [saturated(sum(samples)) for samples in zip(*heard, strict=True)] if heard else [0] * len(legs[0])


def gained(samples: Sequence[int], gain_4096: int) -> list[int]:
    """Products to the nearest, halves up."""
    return [saturated((sample * gain_4096 * 2 + 4096) // 8192) for sample in samples]


def faded(samples: Sequence[int], from_4096: int, to_4096: int) -> list[float]:
    """Products with the exact gain of each sample."""
    step = (to_4096 - from_4096) / len(samples)
    return [max(-32768, min(32767, sample * (from_4096 + at * step) / 4096)) for at, sample in enumerate(samples)]


def dbov(samples: Sequence[int]) -> int:
    """RFC 6464, appendix A: the root of the mean square beside 32767, in -dB, 0 to 127."""
    squares = sum(sample * sample for sample in samples)
    if not squares:
        return 127
    return max(0, min(127, int(-20 * log10((squares / len(samples)) ** 0.5 / 32767) + 0.5)))


def resampled(samples: Sequence[int], from_hz: int, to_hz: int) -> list[int]:
    """Zeros between the samples, the filter over all of it, and every so many of what comes out: `len(samples) // down * up` of them."""
    up, down = next((up, down) for up, down in FILTERS["RATIOS"] if from_hz * up == to_hz * down)
    taps = FILTERS["prototype"](up, down)
    whole = [0] * len(taps)
    for phase in range(up):
        whole[phase::up] = FILTERS["phase_of"](taps, up, phase)
    found = []
    for number in range(len(samples) // down * up):
        at = number * down
        total = sum(
            whole[at - place * up] * samples[place]
            for place in range(max(0, -(-(at - len(whole) + 1) // up)), at // up + 1)
        )
        found.append(saturated((total + FILTERS["ONE"] // 2) // FILTERS["ONE"]))
    return found

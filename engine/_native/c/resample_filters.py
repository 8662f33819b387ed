"""Writes resample_filters.h, the filters of resample.c: python engine/_native/c/resample_filters.py > engine/_native/c/resample_filters.h

A rate is changed by up/down: `up - 1` zeros behind each sample, a low-pass filter, every `down`-th sample of what comes out. The filter is a sinc in
a Kaiser window, linear in phase. Below 0.85 of half the lower rate nothing is lost (0.01 dB); what would be folded to below 0.99 of it (down) or
0.98 (up) is 100 dB down.
"""

from __future__ import annotations

from math import ceil, pi, sin, sqrt

RATIOS = ((2, 1), (3, 1), (4, 1), (6, 1), (1, 2), (1, 3), (1, 4), (1, 6), (3, 2), (2, 3), (4, 3), (3, 4))
DELAY = {2: 39, 3: 40, 4: 39, 6: 39}  # samples at the lower rate, so that the delay is a whole number of samples at either
CUT_UP, CUT_DOWN = 0.938, 0.925  # -6 dB, of half the lower rate: a fold is worse than an image
BETA = 9.9
ONE = 1 << 22
LOW_BITS = 8  # a coefficient is high * 2**8 + low, each in 16 bits: no product leaves 32 bits, and no sum of them


def bessel(x: float) -> float:
    """Modified Bessel function of the first kind, order 0."""
    total = term = 1.0
    k = 1
    while term > total * 1e-17:
        term *= (x / (2 * k)) ** 2
        total += term
        k += 1
    return total


def prototype(up: int, down: int) -> list[float]:
    """The filter at the rate that both rates divide; `phase_of` sees to its gain."""
    larger, cut = max(up, down), CUT_UP if up > down else CUT_DOWN
    delay = DELAY[larger] * larger
    taps = []
    for j in range(-delay, delay + 1):
        x = pi * cut * j / larger
        window = bessel(BETA * sqrt(1 - (j / (delay + 1)) ** 2)) / bessel(BETA)
        taps.append((sin(x) / x if j else 1.0) * window)
    return taps


def phase_of(taps: list[float], up: int, phase: int) -> list[int]:
    """Every `up`-th tap from `phase` on, in 1/2**22, with a sum of exactly 1: what is constant stays as it is."""
    wanted = taps[phase::up]
    total = sum(wanted)
    found = [round(tap / total * ONE) for tap in wanted]
    largest = max(range(len(found)), key=lambda at: abs(found[at]))
    found[largest] += ONE - sum(found)
    return found


def width(up: int, down: int) -> int:
    """Taps on each of the `down` streams that the input is dealt out to, an even number."""
    length = 2 * DELAY[max(up, down)] * max(up, down) + 1
    longest = 0
    for output in range(up):
        first, phase = divmod(output * down, up)
        taps = len(range(phase, length, up))
        longest = max(longest, ceil((taps - 1 - first) / down) + 1)
    return longest + longest % 2


def rows(up: int, down: int) -> list[list[int]]:
    """For each output of a group and each stream in it: the taps for a stream's samples, oldest first."""
    taps, wide = prototype(up, down), width(up, down)
    found = []
    for output in range(up):
        first, phase = divmod(output * down, up)
        coefficients = phase_of(taps, up, phase)
        for stream in range(down):
            row = []
            for place in range(wide):
                t = first - stream + down * (wide - 1 - place)
                row.append(coefficients[t] if 0 <= t < len(coefficients) else 0)
            found.append(row)
        halves = [half for row in found[-down:] for half in split(row)]
        highs, lows = (sum(abs(half) for at, half in enumerate(halves) if at % 4 // 2 == which) for which in (0, 1))
        if (highs + (lows >> LOW_BITS) + 2) * 32768 >= 1 << 31 or lows * 32768 >= 1 << 31:
            raise AssertionError(f"sums of {up}/{down} leave 32 bits")
    return found


def split(row: list[int]) -> list[int]:
    """Two taps at a time: both high halves, both low halves."""
    found: list[int] = []
    for at in range(0, len(row), 2):
        high = [(tap + (1 << LOW_BITS - 1)) >> LOW_BITS for tap in row[at : at + 2]]
        found += [*high, *(tap - (part << LOW_BITS) for tap, part in zip(row[at : at + 2], high, strict=True))]
    return found


def lines(numbers: list[int]) -> list[str]:
    """Numbers in lines of at most 150 characters."""
    found, line = [], ""
    for number in numbers:
        if len(line) + len(f"{number},") > 146:
            found.append(line)
            line = ""
        line += f"{number},"
    return [*found, line]


def text() -> str:
    """The header."""
    history = max(down * (width(up, down) - 1) + down - 1 for up, down in RATIOS)
    parts = [
        "/* Written by resample_filters.py, which says what it is. Not to be edited. */",
        "/* clang-format off */",
        f"#define RESAMPLE_LOW_BITS {LOW_BITS}",
        f"#define RESAMPLE_WIDTH_MAX {max(width(up, down) for up, down in RATIOS)}",
        f"#define RESAMPLE_HISTORY_NEEDED {history}",
    ]
    for up, down in RATIOS:
        parts.append(f"static const int16_t filter_{up}_{down}[] __attribute__((aligned(64))) = {{")
        parts += lines([number for row in rows(up, down) for number in split(row)])
        parts.append("};")
    parts.append("static const struct resample_filter FILTERS[] = {")
    for up, down in RATIOS:
        delay = DELAY[max(up, down)] * max(up, down) // down
        parts.append(f"    {{{up}, {down}, {width(up, down)}, {delay}, filter_{up}_{down}}},")
    parts += ["};", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    print(text(), end="")

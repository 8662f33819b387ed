"""G.722 at 64 kbit/s in plain Python, block by block as ITU-T G.722 clause 6.2 has them, with saturation after each addition."""

from __future__ import annotations

from collections.abc import Sequence

QMF = (3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11)
Q6 = (0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195,
      2557, 2919)  # fmt: skip
QM2 = (-7408, -1616, 7408, 1616)
QM4 = (0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0)
_QM6_UPPER = (24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
              2400, 2032, 1688, 1360, 1040, 728)  # fmt: skip
QM6 = (-136, -136, -136, -136, *(-value for value in _QM6_UPPER), *_QM6_UPPER, 432, 136, -432, -136)
WL = (-60, -30, 58, 172, 334, 538, 1198, 3042)
RL42 = (0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0)
WH = (0, -214, 798)
RH2 = (2, 1, 2, 1)
ILB = tuple(int(2048 * 2 ** (k / 32) + 0.5) for k in range(32))


def sat(value: int) -> int:
    return max(-32768, min(32767, value))


def mult(first: int, second: int) -> int:
    return first * second >> 15


class Band:
    """One band's predictor and scale."""

    def __init__(self, det: int) -> None:
        self.b, self.d = [0] * 7, [0] * 7  # [1] .. [6]
        self.a, self.r, self.p = [0, 0, 0], [0, 0, 0], [0, 0, 0]  # [1], [2]; [0] is the newest
        self.s = self.sz = self.nb = 0
        self.det = det

    def rescale(self, step: int, most: int, octaves: int) -> None:
        """LOGSCL or LOGSCH, then SCALEL or SCALEH."""
        self.nb = max(0, min(most, mult(self.nb, 32512) + step))
        shift = octaves - (self.nb >> 11)
        value = ILB[self.nb >> 6 & 31]
        self.det = (value << -shift if shift < 0 else value >> shift) << 2

    def predict(self, difference: int) -> None:
        """BLOCK 4."""
        self.d[0] = difference
        self.r[0] = sat(self.s + difference)
        self.p[0] = sat(self.sz + difference)
        signs = [value < 0 for value in self.p]
        second = sat(self.a[1] * 4)  # UPPOL2
        second = sat(-second) if signs[0] == signs[1] else second
        second = sat((second >> 7) + (128 if signs[0] == signs[2] else -128))
        second = max(-12288, min(12288, sat(second + mult(self.a[2], 32512))))
        first = sat(mult(self.a[1], 32640) + (192 if signs[0] == signs[1] else -192))  # UPPOL1
        limit = sat(15360 - second)
        self.a = [0, max(-limit, min(limit, first)), second]
        for k in range(1, 7):  # UPZERO
            step = 0 if difference == 0 else 128
            step = step if (self.d[k] < 0) == (difference < 0) else -step
            self.b[k] = sat(step + mult(self.b[k], 32640))
        self.d = [0, *self.d[:6]]
        self.r = [0, *self.r[:2]]
        self.p = [0, *self.p[:2]]
        poles = sat(mult(self.a[1], sat(2 * self.r[1])) + mult(self.a[2], sat(2 * self.r[2])))
        self.sz = 0
        for k in range(6, 0, -1):
            self.sz = sat(self.sz + mult(self.b[k], sat(2 * self.d[k])))
        self.s = sat(poles + self.sz)


class Coder:
    """Both bands and the filter's memory; one object either decodes or encodes."""

    def __init__(self) -> None:
        self.low, self.high = Band(32), Band(8)
        self.line = [0] * 24  # even places are one phase, odd ones the other; oldest first

    def _adapt(self, code: int) -> None:
        four, two = code >> 2 & 15, code >> 6
        low, high = mult(self.low.det, QM4[four]), mult(self.high.det, QM2[two])
        self.low.rescale(WL[RL42[four]], 18432, 8)
        self.high.rescale(WH[RH2[two]], 22528, 10)
        self.low.predict(low)
        self.high.predict(high)

    def _filter(self, first: int, second: int) -> tuple[int, int]:
        self.line = [*self.line[2:], first, second]
        return sum(QMF[k] * self.line[2 * k] for k in range(12)), sum(QMF[11 - k] * self.line[2 * k + 1] for k in range(12))

    def decode(self, octets: bytes) -> list[int]:
        """Samples at 16 kHz."""
        result = []
        for code in octets:
            low = max(-16384, min(16383, self.low.s + mult(self.low.det, QM6[code & 63])))
            high = max(-16384, min(16383, self.high.s + mult(self.high.det, QM2[code >> 6])))
            self._adapt(code)
            plain, mirrored = self._filter(low + high, low - high)
            result += [sat(mirrored >> 11), sat(plain >> 11)]
        return result

    def encode(self, samples: Sequence[int]) -> bytes:
        """Octets."""
        result = bytearray()
        for k in range(0, len(samples), 2):
            plain, mirrored = self._filter(samples[k], samples[k + 1])
            low = max(-16384, min(16383, mirrored + plain >> 14))
            high = max(-16384, min(16383, mirrored - plain >> 14))
            code = self._quantize_high(high) << 6 | self._quantize_low(low)
            result.append(code)
            self._adapt(code)
        return bytes(result)

    def _quantize_low(self, sample: int) -> int:
        error = sat(sample - self.low.s)
        size = error if error >= 0 else -(error + 1)
        place = next((k for k in range(1, 30) if size < Q6[k] * self.low.det >> 12), 30)
        return 62 - place if error >= 0 else (64 - place if place < 3 else 34 - place)

    def _quantize_high(self, sample: int) -> int:
        error = sat(sample - self.high.s)
        is_outer = (error if error >= 0 else -(error + 1)) >= 564 * self.high.det >> 12
        return (3 if error >= 0 else 1) - is_outer

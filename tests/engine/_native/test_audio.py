"""PCM kernels: every code and every sample of both laws, sums, gains, levels and rates, by every way this processor has."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from math import cos, log10, pi, sqrt
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine._native import audio as native
from tests.oracle import audio_twin as twin

Samples = npt.NDArray[np.int16]
LAWS = {native.ULAW: (twin.ulaw_encode, twin.ulaw_decode), native.ALAW: (twin.alaw_encode, twin.alaw_decode)}
EVERY = np.arange(-32768, 32768).astype(np.int16)
RATES = (8000, 16000, 24000, 32000, 48000)
PAIRS = [(first, second) for first in RATES for second in RATES if first != second]
PAGE = mmap.PAGESIZE


@pytest.fixture(params=native.ways())
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each way once; the best again behind it."""
    before = native.way()
    native.choose_way(request.param)
    yield request.param
    native.choose_way(before)


def noise(count: int, seed: int = 1) -> Samples:
    return np.random.default_rng(seed).integers(-32768, 32768, count).astype(np.int16)


class Fenced:
    """A page between two that cannot be touched: what reads or writes past either end of it ends the process."""

    def __init__(self) -> None:
        self.pages = mmap.mmap(-1, 3 * PAGE)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (0, 2):
            if libc.mprotect(ctypes.c_void_p(self.base + page * PAGE), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno())

    def first(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy whose first byte is the page's."""
        return self._placed(values, PAGE)

    def last(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy whose last byte is the page's."""
        return self._placed(values, 2 * PAGE - values.nbytes)

    def _placed(self, values: npt.NDArray[Any], offset: int) -> npt.NDArray[Any]:
        target = np.ndarray(values.shape, values.dtype, buffer=self.pages, offset=offset)
        target[...] = values
        return target


# ---- G.711 ----


@pytest.mark.parametrize("law", LAWS)
def test_every_code_and_every_sample_are_as_the_standard_has_them(way: str, law: int) -> None:
    encode, decode = LAWS[law]
    codes = bytes(range(256))
    assert native.decode(law, codes).tolist() == [decode(code) for code in codes]
    assert native.encode(law, EVERY) == bytes(encode(int(sample)) for sample in EVERY)


@pytest.mark.parametrize("law", LAWS)
def test_every_code_and_every_sample_are_as_pythons_own(way: str, law: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="audioop left Python with 3.13")
    name = "ulaw" if law == native.ULAW else "alaw"
    codes = bytes(range(256))
    assert native.decode(law, codes).tobytes() == getattr(audioop, f"{name}2lin")(codes, 2)
    assert native.encode(law, EVERY) == getattr(audioop, f"lin2{name}")(EVERY.tobytes(), 2)


def test_known_codes() -> None:
    """The ends and the middle of both laws, and -0 of u-law, which comes back as +0."""
    assert native.decode(native.ULAW, b"\x80\x00\xff\x7f").tolist() == [32124, -32124, 0, 0]
    assert native.decode(native.ALAW, b"\xaa\x2a\xd5\x55").tolist() == [32256, -32256, 8, -8]
    assert native.encode(native.ULAW, np.array([0], np.int16)) == bytes([native.ULAW_SILENCE])
    assert native.encode(native.ALAW, np.array([0], np.int16)) == bytes([native.ALAW_SILENCE])
    for law in LAWS:
        again = native.encode(law, native.decode(law, bytes(range(256))))
        assert again == bytes(0xFF if law == native.ULAW and code == 0x7F else code for code in range(256))


@pytest.mark.parametrize("law", LAWS)
def test_every_length_at_every_offset_touches_its_own_samples_only(way: str, law: int) -> None:
    _, decode = LAWS[law]
    pcm, fence = noise(200), Fenced()
    codes = np.frombuffer(native.encode(law, pcm), np.uint8)
    decoded = np.array([decode(int(code)) for code in codes], np.int16)
    for count in range(200):
        for place in (fence.first, fence.last):
            assert native.decode(law, place(codes[:count])).tolist() == decoded[:count].tolist()
            assert native.decode_float(law, place(codes[:count])).tolist() == (decoded[:count] / 32768).tolist()
            assert native.encode(law, place(pcm[:count])) == codes[:count].tobytes()
    held = bytes(3) + codes.tobytes()
    for offset in range(64):
        assert native.decode(law, memoryview(held)[offset:])[3:].tolist() == decoded[offset:].tolist()


@pytest.mark.parametrize("law", LAWS)
def test_long_and_read_only_buffers_of_any_kind_are_taken(way: str, law: int) -> None:
    pcm = noise(100_003)
    codes = native.encode(law, pcm)
    expected = native.decode(law, codes[:4000]).tolist() + native.decode(law, codes[4000:]).tolist()
    for payload in (codes, bytearray(codes), memoryview(codes), np.frombuffer(codes, np.uint8)):
        assert native.decode(law, payload).tolist() == expected
    assert native.decode_float(law, codes).tolist() == (np.array(expected) / 32768).tolist()
    pcm.flags.writeable = False
    assert native.encode(law, pcm) == codes


@pytest.mark.parametrize("law", LAWS)
def test_blocks_larger_than_caches_are_as_small_ones(way: str, law: int) -> None:
    """From 2**24 samples on what comes out is stored past the caches, from an aligned address on."""
    count = (1 << 24) + 77
    payload = np.resize(np.random.default_rng(11).integers(0, 256, 100_003).astype(np.uint8), count)
    table = native.decode(law, bytes(range(256)))
    pcm = native.decode(law, payload)
    assert np.array_equal(pcm, table[payload])
    again = np.frombuffer(native.encode(law, pcm), np.uint8)
    assert np.array_equal(again, np.where(payload == 0x7F, 0xFF, payload) if law == native.ULAW else payload)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("frames", "samples"), [(1, 160), (3, 1), (64, 80), (65, 160), (200, 33), (0, 160), (5, 0)])
def test_frames_in_a_batch_are_as_one_by_one_wherever_they_lie(way: str, law: int, frames: int, samples: int) -> None:
    whole = noise(frames * (samples + 7), 2).reshape(frames, samples + 7)
    pcm = whole[::-1, 5 : 5 + samples]
    codes = native.encode_frames(law, pcm)
    assert codes.shape == pcm.shape and codes.dtype == np.uint8
    assert codes.tobytes() == b"".join(native.encode(law, row) for row in pcm)
    apart = np.zeros((frames, samples + 3), np.uint8)
    apart[:, :samples] = codes
    decoded = native.decode_frames(law, apart[:, :samples])
    assert decoded.shape == pcm.shape and decoded.dtype == np.int16
    assert decoded.tobytes() == native.decode(law, codes.tobytes()).tobytes()


def test_what_is_no_row_of_samples_is_refused() -> None:
    pcm = noise(32)
    odd = np.frombuffer(bytes(33), np.uint8)[1:].view(np.int16)
    for refused in (pcm[::2], odd, pcm.astype(np.int32), pcm.reshape(4, 8), np.zeros(4)):
        with pytest.raises(ValueError):
            native.encode(native.ULAW, refused)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            native.Resampler(8000, 16000).run(refused)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            native.level(refused)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        native.encode_frames(native.ULAW, pcm.reshape(4, 8)[:, ::2])
    with pytest.raises(ValueError):
        native.decode_frames(native.ULAW, np.zeros((4, 8), np.uint8)[:, ::2])
    with pytest.raises(ValueError):
        native.mix(pcm.reshape(4, 8)[:, ::2])
    with pytest.raises(ValueError):
        native.gain(np.frombuffer(bytes(4), np.int16), 1.0)  # cannot be written
    for law in (2, -1, "ulaw", None):
        with pytest.raises(ValueError):
            native.decode(law, b"\xff")  # type: ignore[arg-type]


# ---- sums, gains, levels ----


@pytest.mark.parametrize("legs", [1, 2, 3, 40])
def test_a_leg_hears_all_of_the_others_saturated(way: str, legs: int) -> None:
    pcm = noise(legs * 173, 3).reshape(legs, 173)
    pcm[:, :4] = [32767, -32768, 0, 1]
    assert native.mix(pcm).tolist() == twin.mixed(pcm.tolist())
    heard = native.mix_others(pcm)
    for leg in range(legs):
        assert heard[leg].tolist() == twin.mixed(pcm.tolist(), leg)


def test_no_legs_and_no_samples_make_silence() -> None:
    assert native.mix(np.zeros((0, 3), np.int16)).tolist() == [0, 0, 0]
    assert native.mix_others(np.zeros((0, 3), np.int16)).shape == (0, 3)
    assert native.mix_others(np.zeros((2, 0), np.int16)).shape == (2, 0)


@pytest.mark.parametrize("gain_4096", [0, 1, 2048, 4095, 4096, 4097, 8192, 65535])
def test_gain_is_to_the_nearest_and_saturated_for_every_sample(way: str, gain_4096: int) -> None:
    pcm = EVERY.copy()
    native.gain(pcm, gain_4096 / 4096)
    assert pcm.tolist() == twin.gained(EVERY.tolist(), gain_4096)
    short = EVERY[:7].copy()
    native.gain(short, gain_4096 / 4096)
    assert short.tolist() == pcm[:7].tolist()


@pytest.mark.parametrize(("start", "end"), [(0, 4096), (4096, 0), (4096, 4096), (65535, 0), (0, 65535), (1000, 1003)])
@pytest.mark.parametrize("count", [1, 2, 160, 257, 20_000])
def test_a_fade_goes_evenly_from_one_gain_to_the_other(way: str, start: int, end: int, count: int) -> None:
    before = noise(count, 4)
    pcm = before.copy()
    native.fade(pcm, start / 4096, end / 4096)
    exact = np.array(twin.faded(before.tolist(), start, end))
    assert np.all(np.abs(pcm - exact) <= np.abs(before) / 4096 + 1)
    level = np.full(count, 4096, np.int16)
    native.fade(level, start / 4096, min(end, 32767) / 4096)
    steps = np.diff(level.astype(int))
    assert np.all(steps >= 0) if end >= start else np.all(steps <= 0)
    assert level[0] == min(start, 32767)


def test_a_fade_is_the_same_by_every_way() -> None:
    made, before = set(), native.way()
    for each in native.ways():
        native.choose_way(each)
        pcm = noise(5000, 5)
        native.fade(pcm, 0.3, 9.7)
        made.add(pcm.tobytes())
    native.choose_way(before)
    assert len(made) == 1


@pytest.mark.parametrize("factor", [-0.01, 16.0, float("nan"), float("inf")])
def test_a_gain_out_of_range_is_refused(factor: float) -> None:
    pcm = noise(10)
    with pytest.raises(ValueError):
        native.gain(pcm, factor)
    for start, end in ((1.0, factor), (factor, 1.0)):
        with pytest.raises(ValueError):
            native.fade(pcm, start, end)
    assert pcm.tolist() == noise(10).tolist()


@pytest.mark.parametrize("count", [1, 15, 160, 1000, 32768, 100_001])
def test_levels_are_sums_over_all_samples(way: str, count: int) -> None:
    pcm = noise(count, 6)
    pcm[:: max(1, count // 3)] = -32768
    pcm[count // 2] = 32767
    found, values = native.level(pcm), pcm.tolist()
    assert found.squares == sum(value * value for value in values)
    assert found.peak == max(abs(value) for value in values)
    assert found.clipped == sum(value in (32767, -32768) for value in values)
    assert found.dbov == twin.dbov(values)


def test_levels_that_are_known() -> None:
    """RFC 6464 4: 0 is a square wave of full scale; of u-law one of 8031 in 14 bits."""

    def dbov(samples: list[int]) -> int:
        return native.level(np.array(samples, np.int16)).dbov

    assert dbov([32767, -32767] * 80) == dbov([-32768, 32767] * 80) == dbov([32124, -32124] * 80) == 0
    assert dbov([round(32767 * cos(2 * pi * at / 32)) for at in range(320)]) == 3
    assert dbov([0] * 160) == dbov([]) == 127
    assert dbov([1] + [0] * 10**6) == 127  # less than -127 dB
    assert dbov([1, -1] * 50) == 90
    for wanted in range(0, 91):
        value = round(32767 / 10 ** (wanted / 20))
        assert dbov([value, -value] * 20) == int(-20 * log10(value / 32767) + 0.5)


def test_the_loudest_samples_do_not_leave_the_sums(way: str) -> None:
    found = native.level(np.full(200_000, -32768, np.int16))
    assert found == (0, 32768, 200_000, 200_000 * 32768**2)


# ---- rates ----


def tone(hz: float, rate_hz: int, count: int, amplitude: float = 29_000) -> Samples:
    turns = 2 * np.pi * hz / rate_hz * np.arange(count)
    return np.array(np.round(amplitude * np.sin(turns)), np.int16)


def snr_db(pcm: Samples, hz: float, rate_hz: int) -> tuple[float, float]:
    """Amplitude of the best fitting tone, and what else there is beside it, in dB."""
    middle = pcm[1500:-1500].astype(float)
    turns = 2 * np.pi * hz / rate_hz * np.arange(len(middle))
    basis = np.stack([np.cos(turns), np.sin(turns)], 1)
    parts = np.linalg.lstsq(basis, middle, rcond=None)[0]
    rest = middle - basis @ parts
    amplitude = float(np.hypot(*parts))
    return amplitude, 20 * log10(amplitude / sqrt(2) / float(np.sqrt(np.mean(rest**2))))


def test_the_filters_are_what_the_script_makes() -> None:
    header = Path("engine/_native/c/resample_filters.h")
    assert (Path(__file__).parents[3] / header).read_text() == twin.FILTERS["text"]()


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_rates_are_changed_as_by_the_filter_over_every_sample(way: str, from_hz: int, to_hz: int) -> None:
    pcm = noise(900, 7)
    turns = np.arange(500) * pi * 0.5 * min(from_hz, to_hz) / from_hz
    pcm[300:800] = 32767 * np.sign(np.sin(turns + 0.1))  # its first harmonic, which is what passes, leaves 16 bits
    expected = twin.resampled(pcm.tolist(), from_hz, to_hz)
    assert native.Resampler(from_hz, to_hz).run(pcm).tolist() == expected
    assert 32767 in expected and -32768 in expected


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_blocks_of_any_size_give_the_same_as_one(way: str, from_hz: int, to_hz: int) -> None:
    random, pcm = Random(8), noise(12_000, 8)
    whole = native.Resampler(from_hz, to_hz)
    expected = whole.run(pcm)
    assert len(expected) == len(pcm) * to_hz // from_hz
    for largest in (1, 7, 160, 4000):
        resampler, at, found = native.Resampler(from_hz, to_hz), 0, []
        while at < (len(pcm) if largest > 7 else 500):
            block = pcm[at : at + random.randint(0 if largest > 1 else 1, largest)].copy()
            room = resampler.room(len(block))
            found.append(resampler.run(block))
            assert len(found[-1]) == room
            at += len(block)
        joined = np.concatenate(found)
        assert joined.tobytes() == expected[: len(joined)].tobytes()
        assert len(joined) == at // (from_hz // np.gcd(from_hz, to_hz)) * (to_hz // np.gcd(from_hz, to_hz))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_long_stream_of_frames_keeps_the_exact_count(from_hz: int, to_hz: int) -> None:
    resampler = native.Resampler(from_hz, to_hz)
    frame = noise(from_hz // 50, 9)
    assert sum(len(resampler.run(frame)) for _ in range(5000)) == 100 * to_hz


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_tones_below_the_edge_pass_clean_and_whole(from_hz: int, to_hz: int) -> None:
    """Rounding to 16 bits leaves some 97 dB; speexdsp's quality 5 and soxr's MQ leave 91 to 97."""
    edge = min(from_hz, to_hz) / 2
    for part in (0.03, 0.2, 0.5, 0.7, 0.85):
        pcm = native.Resampler(from_hz, to_hz).run(tone(part * edge + 1.3, from_hz, 4 * from_hz))
        amplitude, clean = snr_db(pcm, part * edge + 1.3, to_hz)
        assert abs(20 * log10(amplitude / 29_000)) < 0.01, part
        assert clean > 94, part


@pytest.mark.parametrize(("from_hz", "to_hz"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_tones_above_the_edge_are_gone(from_hz: int, to_hz: int) -> None:
    """From half the lower rate on, 90 dB and more; there the ear's 16 bits end."""
    for part in (1.01, 1.02, 1.05, 1.1, 1.3, 1.7, 2.5, 5.5):
        hz = part * to_hz / 2
        if hz < from_hz / 2 * 0.99:
            pcm = native.Resampler(from_hz, to_hz).run(tone(hz, from_hz, 2 * from_hz))[1500:-1500].astype(float)
            assert np.sqrt(np.mean(pcm**2)) * sqrt(2) < 29_000 * 10 ** (-90 / 20), part


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_what_is_constant_stays_and_a_pulse_comes_when_said(from_hz: int, to_hz: int) -> None:
    resampler = native.Resampler(from_hz, to_hz)
    for value in (1, -3, 12_345, -32_768, 32_767):
        assert set(resampler.run(np.full(from_hz, value, np.int16))[1000:].tolist()) == {value}
    pulse = np.zeros(1200, np.int16)
    pulse[240] = 20_000
    resampler = native.Resampler(from_hz, to_hz)
    assert int(np.argmax(resampler.run(pulse))) == 240 * to_hz // from_hz + resampler.delay
    assert resampler.delay / to_hz <= 0.0051


@pytest.mark.parametrize("rate_hz", RATES)
def test_equal_rates_copy(rate_hz: int) -> None:
    resampler, pcm = native.Resampler(rate_hz, rate_hz), noise(333)
    assert resampler.run(pcm).tolist() == pcm.tolist()
    assert resampler.run(pcm[:0]).tolist() == []
    assert (resampler.delay, resampler.room(5), resampler.from_hz, resampler.to_hz) == (0, 5, rate_hz, rate_hz)


@pytest.mark.parametrize("pair", [(8000, 44100), (44100, 44100), (0, 8000), (8000, 0), (11025, 8000), (2**31, 8000), (8001, 8001)])
def test_rates_that_are_not_known_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        native.Resampler(*pair)


def test_a_state_is_small() -> None:
    assert native.STATE_BYTES <= 1536


def test_a_filter_reads_no_further_than_its_block(way: str) -> None:
    fence, pcm = Fenced(), noise(1000)
    for from_hz, to_hz in PAIRS:
        for place in (fence.first, fence.last):
            near, far = native.Resampler(from_hz, to_hz), native.Resampler(from_hz, to_hz)
            for count in (1, 2, 5, 33, 160, 257, 700):
                assert far.run(place(pcm[:count])).tolist() == near.run(pcm[:count]).tolist()


# ---- ways ----


def test_ways_are_named_and_chosen() -> None:
    assert native.ways()[0] == "scalar"
    before = native.way()
    for each in native.ways():
        native.choose_way(each)
        assert native.way() == each
    native.choose_way(before)
    with pytest.raises(ValueError):
        native.choose_way("mmx")


@pytest.mark.parametrize("wanted", ["scalar", "mmx"])
def test_the_environment_chooses_a_way_and_is_passed_over_where_it_names_none(wanted: str) -> None:
    code = "from engine._native import audio; print(audio.way())"
    environment = {**os.environ, "TRUNKLINE_AUDIO_WAY": wanted}
    told = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
    assert told.strip() == (wanted if wanted in native.ways() else native.ways()[-1])

"""DTMF heard within the limits of ITU-T Q.24 and not outside them, nor in speech and music; tones made as asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine._native.tones import DtmfReader, Tone
from tests.data import voices

Pcm = npt.NDArray[np.int16]
DIGITS = "123A456B789C*0#D"
ROWS_HZ, COLUMNS_HZ = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
DBM0_OF_0_DBOV = 6.15  # a sine of full scale has -3.01 dBov and 3.14 dBm0 (ITU-T G.711)
RATES = (8000, 16000, 24000, 32000, 48000)


def dialled(
    digit: str, ms: float, *, dbm0: float = -10, rate_hz: int = 8000, row: float = 1.0, column: float = 1.0, twist_db: float = 0.0,
    snr_db: float | None = None, lead_ms: float = 40, tail_ms: float = 80, gap_ms: tuple[float, float] | None = None, seed: int = 0,
) -> Pcm:  # fmt: skip
    """A digit of `dbm0` for its row tone, `twist_db` more for its column tone; both times their factors; between silences; with noise all over."""
    random, place = np.random.default_rng(seed), DIGITS.index(digit)
    times = np.arange(int(ms * rate_hz / 1000)) / rate_hz
    peak = voices.FULL_SCALE * 2**0.5 * 10 ** ((dbm0 - DBM0_OF_0_DBOV) / 20)
    first, second = random.uniform(0, 2 * np.pi, 2)
    tone = peak * np.sin(2 * np.pi * ROWS_HZ[place // 4] * row * times + first)
    tone += peak * 10 ** (twist_db / 20) * np.sin(2 * np.pi * COLUMNS_HZ[place % 4] * column * times + second)
    if gap_ms:
        tone[int(gap_ms[0] * rate_hz / 1000) : int((gap_ms[0] + gap_ms[1]) * rate_hz / 1000)] = 0
    ends = (np.zeros(int(length * rate_hz / 1000) + int(random.integers(0, 40))) for length in (lead_ms, tail_ms))
    whole = np.concatenate([next(ends), tone, next(ends)])
    if snr_db is not None:
        power = peak**2 / 2 * (1 + 10 ** (twist_db / 10))
        whole += random.normal(0, (power / 10 ** (snr_db / 10)) ** 0.5, len(whole))
    return voices.pcm(whole)


def heard(pcm: Pcm, rate_hz: int = 8000) -> str:
    """The digits that began; each has to end, too."""
    found = DtmfReader(rate_hz).take(np.concatenate([pcm, np.zeros(rate_hz // 10, np.int16)]))
    began, ended = ([digit for digit, is_end, _, _ in found if is_end == wanted] for wanted in (False, True))
    assert began == ended
    return "".join(began)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("dbm0", range(-36, -2, 3))
def test_every_digit_at_every_level_is_heard_after_40_ms_with_noise_at_15_db(dbm0: int, rate_hz: int) -> None:
    """At other rates the noise spreads over a wider band, so that less of it is where the tones are; at 8 kHz it is all there."""
    for digit in DIGITS:
        assert heard(dialled(digit, 40, dbm0=dbm0, rate_hz=rate_hz, seed=dbm0 + 99), rate_hz) == digit
        assert heard(dialled(digit, 40, dbm0=dbm0, rate_hz=rate_hz, snr_db=15, seed=dbm0 + 199), rate_hz) == digit


@pytest.mark.parametrize("rate_hz", RATES)
def test_less_than_23_ms_is_no_digit(rate_hz: int) -> None:
    for seed, digit in enumerate(DIGITS * 5):
        assert heard(dialled(digit, 22.9, rate_hz=rate_hz, seed=seed), rate_hz) == ""
        assert heard(dialled(digit, 22.9, rate_hz=rate_hz, snr_db=20, seed=seed), rate_hz) == ""


@pytest.mark.parametrize("twist_db", [-8, -4, 2, 4])
@pytest.mark.parametrize("factor", [0.985, 0.9925, 1.0, 1.0075, 1.015])
def test_twist_and_frequency_within_the_limits_are_heard_together(twist_db: float, factor: float) -> None:
    for seed, digit in enumerate(DIGITS):
        assert heard(dialled(digit, 50, twist_db=twist_db, row=factor, column=factor, dbm0=-20, seed=seed)) == digit
        assert heard(dialled(digit, 50, twist_db=twist_db, row=factor, column=2 - factor, dbm0=-20, snr_db=20, seed=seed)) == digit


@pytest.mark.parametrize("factor", [0.95, 0.965, 1.035, 1.05])
@pytest.mark.parametrize("which", ["row", "column", "both"])
def test_a_frequency_that_is_3_5_percent_off_is_no_digit(factor: float, which: str) -> None:
    row, column = (1.0 if which == "column" else factor), (1.0 if which == "row" else factor)
    for seed, digit in enumerate(DIGITS * 2):
        assert heard(dialled(digit, 100, row=row, column=column, seed=seed, snr_db=30)) == ""


@pytest.mark.parametrize("twist_db", [-20, -12.5, 8.5, 16])
def test_more_twist_than_that_is_no_digit(twist_db: float) -> None:
    for seed, digit in enumerate(DIGITS):
        assert heard(dialled(digit, 100, twist_db=twist_db, seed=seed, dbm0=-20)) == ""


def test_what_is_too_quiet_is_no_digit() -> None:
    for seed, digit in enumerate(DIGITS):
        assert heard(dialled(digit, 100, dbm0=-45, seed=seed)) == ""


@pytest.mark.parametrize("break_ms", [2, 5, 10])
def test_a_short_break_is_bridged(break_ms: float) -> None:
    """Q.24: the interruption of a digit by 10 ms is none."""
    for seed, digit in enumerate(DIGITS):
        assert heard(dialled(digit, 120, gap_ms=(50, break_ms), seed=seed)) == digit


@pytest.mark.parametrize("pause_ms", [40, 45, 60])
def test_a_pause_of_40_ms_makes_two_digits(pause_ms: float) -> None:
    for seed, digit in enumerate(DIGITS):
        assert heard(dialled(digit, 80 + pause_ms, gap_ms=(40, pause_ms), seed=seed)) == digit * 2


def test_a_number_is_heard_in_its_order_at_full_speed() -> None:
    number = "0123456789*#ABCD" * 3
    pcm = np.concatenate([dialled(digit, 45, lead_ms=20, tail_ms=20, seed=k) for k, digit in enumerate(number)])
    assert heard(pcm) == number


def test_digits_without_a_pause_follow_one_another() -> None:
    pcm = np.concatenate([dialled(digit, 80, lead_ms=0, tail_ms=0, seed=0) for digit in "159D"])
    assert heard(pcm) == "159D"


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("ms", [40, 60, 100, 250, 1000, 5000])
def test_where_a_digit_began_and_how_long_it_was(rate_hz: int, ms: int) -> None:
    for seed in range(8):
        pcm = dialled("7", ms, rate_hz=rate_hz, lead_ms=100, seed=seed)
        begin = int(np.flatnonzero(pcm)[0])
        reader = DtmfReader(rate_hz)
        (digit, is_end, duration_ms, position), (last, was_end, told_ms, end) = reader.take(pcm)
        assert (digit, is_end, duration_ms, last, was_end) == ("7", False, 0, "7", True)
        assert abs(position - begin) <= 0.008 * rate_hz
        assert abs(told_ms - ms) <= 11
        assert end - position == pytest.approx(told_ms * rate_hz / 1000, abs=rate_hz / 1000)


def test_how_audio_is_cut_changes_nothing() -> None:
    pcm = np.concatenate([dialled(digit, 60, seed=k) for k, digit in enumerate("14*7D")])
    whole = DtmfReader(8000).take(pcm)
    for size in (1, 7, 39, 40, 41, 160, 1000):
        reader = DtmfReader(8000)
        assert [found for k in range(0, len(pcm), size) for found in reader.take(pcm[k : k + size])] == whole
    assert len(whole) == 10


def test_what_there_is_no_room_for_is_dropped_and_the_reader_goes_on() -> None:
    pcm = np.concatenate([dialled(digit, 60, seed=k) for k, digit in enumerate("147")])
    whole = DtmfReader(8000).take(pcm)
    for room in range(7):
        assert DtmfReader(8000).take(pcm, room) == whole[:room]
    reader = DtmfReader(8000)
    reader.take(pcm, 0)
    assert reader.take(dialled("9", 60))[0][0] == "9"


@pytest.mark.parametrize("seed", range(5))
def test_two_minutes_of_speech_and_music_hold_no_digit(seed: int) -> None:
    """Ten minutes in all: talkers of low and high voice, music, and both together."""
    random = np.random.default_rng(1000 + seed)
    low, high = voices.speech(random, 40, pitch_hz=(80, 160)), voices.speech(random, 40, pitch_hz=(150, 300))
    music = voices.music(random, 40)
    for pcm in (low, high, voices.pcm(music + 0.3 * low)):
        assert heard(pcm) == ""


def test_single_tones_noise_and_square_waves_are_no_digits() -> None:
    random, times = np.random.default_rng(2), np.arange(4000) / 8000
    for hz in (*ROWS_HZ, *COLUMNS_HZ, 350, 440, 480, 620, 1100, 2100):
        assert heard(voices.pcm(8000 * np.sin(2 * np.pi * hz * times))) == ""
        assert heard(voices.pcm(8000 * np.sign(np.sin(2 * np.pi * hz * times)))) == ""
    for first, second in ((350, 440), (440, 480), (480, 620), (697, 770), (1209, 1336), (852, 941)):
        assert heard(voices.pcm(8000 * (np.sin(2 * np.pi * first * times) + np.sin(2 * np.pi * second * times)))) == ""
    for level in (-10, -30):
        assert heard(voices.noise(random, 80000, level)) == ""
    assert heard(np.full(4000, 32767, np.int16)) == ""


def test_a_digit_under_a_third_tone_is_refused() -> None:
    times = np.arange(800) / 8000
    third = 0.5 * voices.FULL_SCALE * 10 ** (-13 / 20) * np.sin(2 * np.pi * 2500 * times)
    tone = dialled("5", 100, lead_ms=0, tail_ms=0, dbm0=-10)[:800]
    assert heard(tone) == "5"
    assert heard(voices.pcm(tone + 4 * third)) == ""


@pytest.mark.parametrize("rate_hz", [0, 1, 7999, 11025, 44100, 96000])
def test_other_rates_are_refused(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="digits are not looked for"):
        DtmfReader(rate_hz)


# ---- tones made ----


def rendered(tone: Tone, samples: int, size: int = 160) -> Pcm:
    pcm = np.zeros(samples, np.int16)
    for k in range(0, samples, size):
        tone.add(pcm[k : k + size])
    return pcm


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("level", [-6, -10, -30])
def test_a_tone_has_its_frequencies_level_and_length(rate_hz: int, level: int) -> None:
    pcm = rendered(Tone(rate_hz, 440, 1000, level, 500), rate_hz)
    middle = pcm[rate_hz // 10 : rate_hz // 10 * 4].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    power, width = spectrum.sum(), 4
    for hz in (440, 1000):
        place = round(hz * len(middle) / rate_hz)
        assert spectrum[place - width : place + width + 1].sum() / power == pytest.approx(0.5, abs=0.01)
    if level <= -10:
        assert voices.dbov(middle) == pytest.approx(level + 3.01, abs=0.1)
    assert not pcm[rate_hz // 2 :].any() and pcm[rate_hz // 2 - rate_hz // 100 : rate_hz // 2].any()


def test_a_tone_begins_and_ends_softly() -> None:
    pcm = rendered(Tone(8000, 1000, 0, -10, 100), 800).astype(int)
    peak = np.abs(pcm).max()
    assert np.abs(pcm[:4]).max() < 0.15 * peak and np.abs(pcm[-4:]).max() < 0.15 * peak
    assert np.abs(pcm[16:32]).max() > 0.95 * peak


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("rate_hz", RATES)
def test_a_digit_made_is_the_digit_heard(digit: str, rate_hz: int) -> None:
    pcm = rendered(Tone.digit(rate_hz, digit, -15, 60), rate_hz // 4)
    assert heard(pcm, rate_hz) == digit
    if digit in "ABCD":
        np.testing.assert_array_equal(rendered(Tone.digit(rate_hz, digit.lower(), -15, 60), rate_hz // 4), pcm)


@pytest.mark.parametrize("digit", ["", "E", "11", "\0", "é", "٣", " "])
def test_what_is_no_digit_is_refused(digit: str) -> None:
    with pytest.raises(ValueError, match="no digit"):
        Tone.digit(8000, digit, -10, 50)


def test_a_tone_is_added_and_saturates() -> None:
    pcm = np.full(800, 30000, np.int16)
    alone = rendered(Tone(8000, 500, 0, -6, 100), 800).astype(int)
    Tone(8000, 500, 0, -6, 100).add(pcm)
    np.testing.assert_array_equal(pcm, np.clip(30000 + alone, -32768, 32767))
    assert pcm.max() == 32767


def test_how_a_tone_is_cut_changes_next_to_nothing() -> None:
    """The oscillator is set anew at each call: an error of rounding may be left."""
    whole = rendered(Tone(8000, 697, 1209, -10, 1000), 9000, 9000).astype(int)
    for size in (1, 7, 159, 160, 161, 1000):
        tone = Tone(8000, 697, 1209, -10, 1000)
        assert np.abs(rendered(tone, 9000, size) - whole).max() <= 1
        assert tone.left == 0


def test_add_tells_how_much_was_left() -> None:
    tone, pcm = Tone(8000, 440, 0, -20, 25), np.zeros(160, np.int16)
    assert [tone.add(pcm), tone.left, tone.add(pcm), tone.left, tone.add(pcm)] == [160, 40, 40, 0, 0]


@pytest.mark.parametrize(
    ("rate_hz", "first", "second", "ms"), [(0, 440, 0, 100), (8000, 0, 0, 100), (8000, 4000, 1e9, 100), (8000, -5, float("nan"), 100), (8000, 440, 0, 0)]
)
def test_what_makes_no_tone_is_silence(rate_hz: int, first: float, second: float, ms: int) -> None:
    assert not rendered(Tone(rate_hz, first, second, -10, ms), 800).any()


def test_very_short_and_very_long_tones() -> None:
    for ms in (1, 2, 3):
        pcm = rendered(Tone(8000, 1000, 0, -10, ms), 160)
        assert pcm.any() and not pcm[8 * ms :].any()
    assert Tone(48000, 440, 0, -10, 2**32 - 1).left == 2**32 - 1

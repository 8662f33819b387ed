"""G.722, Opus, concealment, comfort noise and DTMF on one core. All times are of the processor, ours and the peers'."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from bench.kernels import audio_driver, codec_driver
from bench.kernels.codec_driver import Frames
from bench.measure import Row, agree
from bench.peers import opus_ctypes, pyav, spandsp
from engine._native import tones
from engine.codecs.g722 import CODEC as G722
from engine.codecs.opus import CODEC as OPUS
from engine.codecs.opus import USUAL_BIT_RATE, USUAL_COMPLEXITY

Pcm = npt.NDArray[np.int16]
RATE_HZ, OPUS_RATE_HZ = 16000, 48000
DIGITS = "159D*0#A2468B37C"
GOERTZEL = 16  # multiply-adds of a sample: two for each of eight frequencies


def rows(quick: bool) -> Iterator[Row]:
    """Frames of 20 ms beside spandsp and PyAV; Opus beside opuslib and beside libopus itself, from C and from Python; lost frames, noise and digits."""
    yield from _g722(quick)
    yield from _opus(quick)
    yield _conceal(quick)
    yield _noise(quick)
    yield _digits(quick)


def voice(seconds: int, rate_hz: int) -> Pcm:
    """Frames of 20 ms (count, samples) that are like a vowel whose pitch and loudness move."""
    times = np.arange(seconds * rate_hz) / rate_hz
    turns = 2 * np.pi * (120 * times + 8 * np.sin(2 * times))
    sound = sum(np.sin(k * turns) / k * np.cos(k * 0.4 + times) for k in range(1, 24))
    loud = 5000 * np.clip(np.sin(2.2 * times) + 0.6, 0.01, 1)
    hiss = np.random.default_rng(1).normal(0, 60, len(times))
    return np.asarray(np.rint(sound * loud + hiss), np.int16).reshape(-1, rate_hz // 50)


def best(function: Callable[[], float], repeats: int) -> float:
    """The fastest of some runs."""
    return min(function() for _ in range(repeats))


def timed(call: Callable[[], object]) -> float:
    """Seconds of the processor."""
    begin = time.thread_time()
    call()
    return time.thread_time() - begin


def best_two(one: Callable[[], float], other: Callable[[], float], repeats: int) -> tuple[float, float]:
    """The fastest of both, run in turn: for figures that lie close together."""
    runs = [(one(), other()) for _ in range(repeats)]
    return min(run[0] for run in runs), min(run[1] for run in runs)


def _g722(quick: bool) -> Iterator[Row]:
    pcm, repeats = voice(10, RATE_HZ), 10 if quick else 60
    count, encoder = len(pcm), G722.encoder()
    payloads = [encoder.encode(block) for block in pcm]
    frames, theirs = Frames(pcm.copy(), payloads), Frames(pcm.copy(), payloads)

    seconds, spent = best_two(partial(codec_driver.ours, "G722", RATE_HZ, frames, encodes=False), partial(spandsp.g722, theirs, encodes=False), repeats)
    slow, samples = pyav.decode_g722(payloads)
    check, passed = agree({"samples equal to PyAV's": (bool(np.array_equal(frames.pcm.reshape(-1), samples)), True)})
    yield Row("g722-decode", "frm/s", count / seconds, spandsp.NAME, count / spent, check=f"{check}, spandsp's differ where it does not saturate", passed=passed)
    yield Row("g722-decode", "frm/s", count / seconds, pyav.NAME, count / min(slow, pyav.decode_g722(payloads)[0]), check="a call a frame", passed=passed)

    frames, theirs = Frames(pcm.copy(), payloads), Frames(pcm.copy(), payloads)
    seconds, spent = best_two(partial(codec_driver.ours, "G722", RATE_HZ, frames, encodes=True), partial(spandsp.g722, theirs, encodes=True), repeats)
    slow, octets = pyav.encode_g722(pcm)
    check, passed = agree({"octets equal to both": (b"".join(frames.told()) == b"".join(theirs.told()) == octets, True)})
    yield Row("g722-encode", "frm/s", count / seconds, spandsp.NAME, count / spent, check=check, passed=passed)
    yield Row("g722-encode", "frm/s", count / seconds, pyav.NAME, count / min(slow, pyav.encode_g722(pcm)[0]), check="a call a frame", passed=passed)


def _by_door_decoded(payloads: Sequence[bytes], samples: int) -> Pcm:
    decoder, made = OPUS.decoder(OPUS_RATE_HZ), np.empty((len(payloads), samples), np.int16)
    for payload, target in zip(payloads, made, strict=True):
        decoder.decode_into(payload, target)
    return made


def _by_door_encoded(pcm: Pcm) -> list[bytes]:
    encoder = OPUS.encoder(OPUS_RATE_HZ)
    return [encoder.encode(block) for block in pcm]


def _opus(quick: bool) -> Iterator[Row]:
    pcm, repeats = voice(10, OPUS_RATE_HZ), 8 if quick else 40
    count, samples = pcm.shape
    payloads = _by_door_encoded(pcm)
    for encodes in (False, True):
        frames, alone = Frames(pcm.copy(), payloads), Frames(pcm.copy(), payloads)
        seconds, bare = best_two(
            partial(codec_driver.ours, "opus", OPUS_RATE_HZ, frames, encodes=encodes), partial(codec_driver.libopus, OPUS_RATE_HZ, alone, encodes=encodes), repeats
        )
        if encodes:
            spent, told = opus_ctypes.encode(pcm, OPUS_RATE_HZ, USUAL_BIT_RATE, USUAL_COMPLEXITY)
            equal = frames.told() == alone.told() == told == payloads
            again, door = best_two(
                lambda: opus_ctypes.encode(pcm, OPUS_RATE_HZ, USUAL_BIT_RATE, USUAL_COMPLEXITY)[0], partial(timed, partial(_by_door_encoded, pcm)), repeats // 2
            )
        else:
            spent, sound = opus_ctypes.decode(payloads, OPUS_RATE_HZ, samples)
            equal = frames.pcm.tobytes() == alone.pcm.tobytes() == sound == _by_door_decoded(payloads, samples).tobytes()
            again, door = best_two(
                lambda: opus_ctypes.decode(payloads, OPUS_RATE_HZ, samples)[0], partial(timed, partial(_by_door_decoded, payloads, samples)), repeats // 2
            )
        spent, name = min(spent, again), "opus-encode" if encodes else "opus-decode"
        check, passed = agree({"all equal": (equal, True)})
        yield Row(name, "frm/s", count / seconds, opus_ctypes.NAME, count / spent, "libopus in C", count / bare, check, passed)
        yield Row(f"{name}-python", "frm/s", count / door, opus_ctypes.NAME, count / spent, "libopus in C", count / bare, f"{check}; a call a frame", passed)


def _conceal(quick: bool) -> Row:
    """Frames at 8 kHz, every other one lost: a search for the pitch in each."""
    pcm, repeats = voice(20, 8000), 10 if quick else 60
    ours, theirs = pcm.copy(), pcm.copy()
    seconds, spent = best_two(lambda: codec_driver.conceal(ours, 8000), lambda: spandsp.conceal(theirs), repeats)
    fresh = [pcm.copy(), pcm.copy()]
    codec_driver.conceal(fresh[0], 8000)
    spandsp.conceal(fresh[1])
    errors = [float(np.mean((made[1::2].astype(float) - pcm[1::2]) ** 2)) for made in fresh]
    snr = [10 * np.log10(float(np.mean(pcm[1::2].astype(float) ** 2)) / error) for error in errors]
    check = f"SNR of what is made up {snr[0]:.1f} dB, theirs {snr[1]:.1f}"
    return Row("conceal-every-other", "frm/s", len(pcm) / seconds, spandsp.NAME, len(pcm) / spent, check=check, passed=snr[0] >= snr[1] - 1)


def _noise(quick: bool) -> Row:
    """Samples of noise with twelve coefficients, beside numpy's generator alone, which gives white noise."""
    count, samples, repeats = 500, 160, 10 if quick else 60
    payload = tones.measure_noise(np.cumsum(np.random.default_rng(3).normal(0, 30, 4000)).astype(np.int16))
    random = np.random.default_rng(4)
    seconds = best(partial(codec_driver.noise, payload, count, samples), repeats)
    spent = best(partial(timed, lambda: [random.standard_normal(samples, np.float32) for _ in range(count)]), repeats)
    bound = audio_driver.multiply_adds() / 12
    check = "twelve coefficients; numpy gives white noise"
    return Row("comfort-noise", "smp/s", count * samples / seconds, "numpy", count * samples / spent, "multiply-adds", bound, check)


def _digits(quick: bool) -> Row:
    """Samples at 8 kHz of digits and of voice, in frames of 20 ms."""
    repeats = 10 if quick else 60
    pcm = np.concatenate([np.zeros((50, 160), np.int16), voice(10, 8000)])
    flat = np.ascontiguousarray(pcm).reshape(-1)
    for place, digit in enumerate(DIGITS):
        tones.Tone.digit(8000, digit, -20, 50).add(flat[place * 480 + 100 : place * 480 + 600])
    pcm = flat.reshape(-1, 160)
    (seconds, found), (spent, theirs) = codec_driver.digits(pcm, 8000), spandsp.digits(pcm)
    fastest = best_two(lambda: codec_driver.digits(pcm, 8000)[0], lambda: spandsp.digits(pcm)[0], repeats)
    seconds, spent = min(seconds, fastest[0]), min(spent, fastest[1])
    check, passed = agree({"digits": (found, DIGITS), "theirs": (theirs, DIGITS)})
    return Row("dtmf", "smp/s", pcm.size / seconds, spandsp.NAME, pcm.size / spent, "multiply-adds", audio_driver.multiply_adds() / GOERTZEL, check, passed)

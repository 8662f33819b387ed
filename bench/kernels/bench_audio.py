"""G.711, mixing and sample rates on one core. All times are of the processor, ours and the peers', so that what else runs does not count."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import log10, sqrt
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from bench.kernels import audio_driver
from bench.measure import Row, agree
from bench.peers import audioop, soxr, speexdsp
from engine._native import audio

STREAMS, FRAME = 1000, 160  # 20 ms at 8 kHz
LEGS = 40
EDGE_PARTS = (0.1, 0.3, 0.5, 0.7, 0.85)
Samples = npt.NDArray[np.int16]


def rows(quick: bool) -> Iterator[Row]:
    """Frames of 1,000 streams beside Python's audioop, C tables and numpy; a long payload beside memcpy; 40 legs beside numpy; rates beside
    speexdsp and soxr, with what each leaves of tones."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _g711_frames(quick, Path(folder))
        yield _g711_memory(quick)
        yield _mix(quick)
        yield from _resample(quick, Path(folder))


def _best(function: Callable[[], float], repeats: int) -> float:
    return min(function() for _ in range(repeats))


def _g711_frames(quick: bool, folder: Path) -> Iterator[Row]:
    """Both ways, samples a second. In cache: 160 kB of bytes and 320 kB of samples."""
    repeats, rounds = (20, 5) if quick else (100, 5)
    payloads = np.random.default_rng(1).integers(0, 256, (STREAMS, FRAME)).astype(np.uint8)
    _, ours = audio_driver.frames("g711", payloads, 1)
    count = payloads.size
    copied = max(audio_driver.copy_rate(np.ones(count * 3 // 2, np.uint8), np.ones(count * 3 // 2, np.uint8), FRAME * 3 // 2, rounds) for _ in range(repeats))
    bound = copied / 6  # 3 bytes a sample each way

    seconds = _best(lambda: audio_driver.frames("g711", payloads, rounds)[0], repeats)
    spent, theirs = audioop.run(payloads.tobytes(), FRAME, repeats, folder)
    check, passed = agree({"bytes equal": (ours.tobytes() == theirs, True)})
    yield Row("g711-frames", "smp/s", count / seconds, audioop.NAME, count / spent, "memcpy in cache", bound, f"{check}; audioop a call a frame", passed)

    spent = _best(lambda: audio_driver.frames("tables", payloads, rounds)[0], repeats)
    check, passed = agree({"bytes equal": (ours.tobytes() == audio_driver.frames("tables", payloads, 1)[1].tobytes(), True)})
    yield Row("g711-frames-c", "smp/s", count / seconds, "C tables", count / spent, "memcpy in cache", bound, check, passed)

    decoded = audio.decode(audio.ULAW, bytes(range(256)))
    encoded = np.frombuffer(audio.encode(audio.ULAW, np.arange(65536).astype(np.uint16).view(np.int16)), np.uint8)

    def by_table() -> npt.NDArray[np.uint8]:
        return encoded.take(decoded.take(payloads).view(np.uint16))

    def by_door() -> npt.NDArray[np.uint8]:
        return audio.encode_frames(audio.ULAW, audio.decode_frames(audio.ULAW, payloads))

    check, passed = agree({"bytes equal": (by_door().tobytes() == by_table().tobytes(), True)})
    seconds, spent = (_best(partial(_timed, call), 2 * repeats) for call in (by_door, by_table))
    yield Row("g711-arrays", "smp/s", count / seconds, "numpy take", count / spent, "memcpy in cache", bound, f"{check}; both from Python, one call", passed)


def _timed(call: Callable[[], object]) -> float:
    begin = time.thread_time()
    call()
    return time.thread_time() - begin


def _g711_memory(quick: bool) -> Row:
    """A payload that no cache holds, beside what memcpy moves of as much memory."""
    count, repeats = (64 << 20, 3) if quick else (512 << 20, 5)
    payload, pcm, again = np.full(count, 0x55, np.uint8), np.ones(count, np.int16), np.ones(count, np.uint8)
    moved = max(audio_driver.copy_rate(pcm[: count // 2], pcm[count // 2 :], count, 1) for _ in range(repeats))
    runs = [audio_driver.long(payload, pcm, again) for _ in range(repeats)]
    decoding, encoding = min(run[0] for run in runs), min(run[1] for run in runs)
    check, passed = agree({"bytes equal": (bool((payload == again).all()), True)})
    bound = moved / 3 / 2
    return Row(
        "g711-memory", "smp/s", count / (decoding + encoding), limit="memcpy of memory", limit_value=bound,
        check=f"{check}; decoding {count / decoding / bound / 2:.2f} of its bound, encoding {count / encoding / bound / 2:.2f}", passed=passed,
    )  # fmt: skip


def _mix(quick: bool) -> Row:
    """Samples a second that legs heard."""
    repeats, rounds = (20, 50) if quick else (100, 50)
    legs = np.random.default_rng(2).integers(-3000, 3000, (LEGS, FRAME)).astype(np.int16)
    seconds = _best(lambda: audio_driver.mix(legs, rounds)[0], repeats)

    def by_numpy() -> Samples:
        return np.clip(legs.sum(axis=0, dtype=np.int32) - legs, -32768, 32767).astype(np.int16)

    spent = _best(lambda: _timed(by_numpy), 2 * repeats)
    check, passed = agree({"samples equal": (audio_driver.mix(legs, 1)[1].tobytes() == by_numpy().tobytes(), True)})
    # A sample and its sum of 4 bytes are read twice, the sum and what is heard written once.
    copied = max(audio_driver.copy_rate(legs, np.zeros_like(legs), 2 * FRAME, rounds) for _ in range(repeats))
    return Row("mix-40-legs", "smp/s", legs.size / seconds, "numpy", legs.size / spent, "memcpy in cache", copied / 18, f"{check}; frames of 20 ms", passed)


# ---- rates ----


def tones(from_hz: int, to_hz: int) -> Iterator[tuple[float, Samples]]:
    """One at a time: frequency, and 2 s of it at -1 dB."""
    for part in EDGE_PARTS:
        hz = part * min(from_hz, to_hz) / 2 + 1.3
        yield hz, np.array(np.round(29_000 * np.sin(2 * np.pi * hz / from_hz * np.arange(2 * from_hz))), np.int16)


def snr_db(pcm: Samples, hz: float, rate_hz: int) -> float:
    """What the best fitting tone leaves, in dB below it."""
    middle = pcm[1500:-1500].astype(float)
    turns = 2 * np.pi * hz / rate_hz * np.arange(len(middle))
    basis = np.stack([np.cos(turns), np.sin(turns)], 1)
    parts = np.linalg.lstsq(basis, middle, rcond=None)[0]
    return 20 * log10(float(np.hypot(*parts)) / sqrt(2) / float(np.sqrt(np.mean((middle - basis @ parts) ** 2))))


def _by_peer(peer: ModuleType, folder: Path, pcm: Samples, from_hz: int, to_hz: int) -> Samples:
    made: Samples = peer.run(pcm, from_hz, to_hz, 1, folder)[1]
    return made


def quality(from_hz: int, to_hz: int, run: Callable[[Samples, int, int], Samples]) -> tuple[float, float]:
    """The least SNR of the tones, and how far a tone of 1.05 times half the lower rate is down (0 where there is none), in dB."""
    least = min(snr_db(run(pcm, from_hz, to_hz), hz, to_hz) for hz, pcm in tones(from_hz, to_hz))
    if from_hz < to_hz:
        return least, 0.0
    turns = 2 * np.pi * 1.05 * to_hz / 2 / from_hz * np.arange(2 * from_hz)
    left = run(np.array(np.round(29_000 * np.sin(turns)), np.int16), from_hz, to_hz)[1500:-1500].astype(float)
    return least, -20 * log10(max(float(np.sqrt(np.mean(left**2))) * sqrt(2) / 29_000, 1e-6))


def _resample(quick: bool, folder: Path) -> Iterator[Row]:
    """Samples a second that come out. Ours and speexdsp's: a frame of each of 1,000 streams in turn; soxr's: all of it as one stream."""
    repeats = 20 if quick else 100
    for from_hz, to_hz in ((8000, 16000), (16000, 8000), (8000, 48000), (48000, 8000)):
        pcm = np.random.default_rng(3).integers(-8000, 8000, (STREAMS, from_hz // 50)).astype(np.int16)
        made = pcm.size * to_hz // from_hz
        seconds = _best(partial(audio_driver.resample, pcm, from_hz, to_hz, 1), repeats)
        ours = quality(from_hz, to_hz, lambda tone, from_hz, to_hz: audio.Resampler(from_hz, to_hz).run(tone))
        taps = 78 * max(1, from_hz // to_hz) + 1
        for peer in (speexdsp, soxr):
            given = pcm if peer is speexdsp else pcm.reshape(-1)
            spent, _ = peer.run(given, from_hz, to_hz, repeats // 2, folder)
            theirs = quality(from_hz, to_hz, partial(_by_peer, peer, folder))
            check = f"SNR {ours[0]:.1f} dB, theirs {theirs[0]:.1f}; {taps} taps"
            if from_hz > to_hz:
                check += f"; alias -{ours[1]:.0f} dB, theirs -{theirs[1]:.0f}"
            passed = ours[0] >= theirs[0] - 0.5 and (from_hz < to_hz or ours[1] >= min(theirs[1], 96) - 0.5)
            name = f"resample-{from_hz // 1000}-{to_hz // 1000}"
            yield Row(name, "smp/s", made / seconds, peer.NAME, made / spent, "multiply-adds", audio_driver.multiply_adds() / taps, check, passed)

"""The audio kernels behind plain loops, and the bounds they are measured against."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.kernels.kernel_library import build

STEMS = ("g711", "mix", "resample")
Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.int16]


@functools.cache
def library() -> ctypes.CDLL:
    """The driver."""
    loaded = build(Path(__file__).with_suffix(".c"), STEMS)
    for name in ("g711", "tables", "g711_long", "copy", "mix", "resample", "fma"):
        getattr(loaded, f"drive_{name}").restype = ctypes.c_uint64
    return loaded


def place(values: npt.NDArray[Any]) -> ctypes.c_void_p:
    """Where an array is."""
    return ctypes.c_void_p(values.ctypes.data)


def frames(name: str, payloads: Bytes, rounds: int) -> tuple[float, Bytes]:
    """Seconds of one round of decoding and encoding (frames, samples) by "g711" or by "tables", and the bytes that came of it."""
    pcm, again = np.empty(payloads.shape, np.int16), np.empty_like(payloads)
    drive = getattr(library(), f"drive_{name}")
    taken = drive(place(payloads), place(pcm), place(again), *map(ctypes.c_uint32, (*payloads.shape, rounds)))
    return taken / 1e9 / rounds, again


def long(payload: Bytes, pcm: Samples, again: Bytes) -> tuple[float, float]:
    """Seconds to decode one long payload, and to encode it again."""
    told = (ctypes.c_uint64 * 2)()
    library().drive_g711_long(place(payload), place(pcm), place(again), ctypes.c_uint64(payload.nbytes), told)
    return told[0] / 1e9, told[1] / 1e9


def copy_rate(source: npt.NDArray[Any], target: npt.NDArray[Any], block: int, rounds: int) -> float:
    """Bytes a second that memcpy moves, each read and each written one counted."""
    blocks = min(source.nbytes, target.nbytes) // block
    taken = library().drive_copy(place(source), place(target), ctypes.c_uint64(block), ctypes.c_uint64(blocks), rounds)
    return 2 * blocks * block * rounds / (taken / 1e9)


def mix(legs: Samples, rounds: int) -> tuple[float, Samples]:
    """Seconds until every one of (legs, samples) heard all of the others, and what they heard."""
    heard = np.empty_like(legs)
    taken = library().drive_mix(place(legs), place(heard), *map(ctypes.c_uint32, (*legs.shape, rounds)))
    return taken / 1e9 / rounds, heard


def resample(pcm: Samples, from_hz: int, to_hz: int, rounds: int) -> float:
    """Seconds to change the rate of one frame of each of (streams, samples)."""
    streams, samples = pcm.shape
    out = np.empty((streams, samples * to_hz // from_hz), np.int16)
    numbers = map(ctypes.c_uint32, (from_hz, to_hz, streams, samples, rounds))
    return library().drive_resample(place(pcm), place(out), *numbers) / 1e9 / rounds


@functools.cache
def multiply_adds() -> float:
    """Multiply-adds of 32-bit floats a second of one core, in registers."""
    lanes, rounds = ctypes.c_uint32(), 20_000
    taken = min(library().drive_fma(ctypes.c_uint64(rounds), ctypes.byref(lanes)) for _ in range(200))
    return float(rounds * 64 * lanes.value) / (taken / 1e9)

"""The voice kernels behind plain loops, and other libraries' functions, given by address, behind the same loops."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.kernels.kernel_library import build
from engine._native import codec
from engine.codecs import opus

STEMS = ("codecs", "codec_*", "g711*", "g722", "plc", "comfort_noise", "tones", "dtmf_reader")
ROOM, STATE_BYTES, ALIGN = 1500, 1 << 16, 64
Pcm = npt.NDArray[np.int16]


class _Frames(ctypes.Structure):
    _fields_ = (
        ("payloads", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("pcm", ctypes.c_void_p),
        ("count", ctypes.c_uint32),
        ("samples", ctypes.c_uint32),
        ("room", ctypes.c_uint32),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """The driver, with libopus bound."""
    loaded = build(Path(__file__).with_suffix(".c"), STEMS)
    for name in ("decode", "encode", "opus_decode", "opus_encode", "foreign", "conceal", "foreign_conceal", "digits", "foreign_digits", "noise"):
        getattr(loaded, f"drive_{name}").restype = ctypes.c_uint64
    addresses = opus.addresses()
    if loaded.codec_opus_bind((ctypes.c_void_p * len(addresses))(*addresses)):
        raise RuntimeError("this libopus cannot be bound")
    return loaded


def place(values: npt.NDArray[Any]) -> ctypes.c_void_p:
    """Where an array is."""
    return ctypes.c_void_p(values.ctypes.data)


def state_memory() -> npt.NDArray[np.uint8]:
    """Room for any state, aligned."""
    memory = np.zeros(STATE_BYTES + ALIGN, np.uint8)
    return memory[-memory.ctypes.data % ALIGN :][:STATE_BYTES]


class Frames:
    """Frames of PCM (count, samples) and their payloads, one behind another."""

    def __init__(self, pcm: Pcm, payloads: Sequence[bytes] = ()) -> None:
        self.pcm = np.ascontiguousarray(pcm)
        self.lengths = np.array([len(payload) for payload in payloads] or [0] * len(pcm), np.uint32)
        self.payloads = np.zeros(len(pcm) * ROOM, np.uint8)
        joined = b"".join(payloads)
        self.payloads[: len(joined)] = np.frombuffer(joined, np.uint8)
        self.view = _Frames(place(self.payloads), place(self.lengths), place(self.pcm), len(pcm), pcm.shape[1], ROOM)

    def told(self) -> list[bytes]:
        """The payloads that are there now."""
        ends = np.cumsum(self.lengths)
        return [self.payloads[end - length : end].tobytes() for end, length in zip(ends, self.lengths, strict=True)]


def ours(name: str, rate_hz: int, frames: Frames, *, encodes: bool) -> float:
    """Seconds for all frames through `struct codec`, with a fresh state."""
    number, state, memory = codec.CODECS.index(name), state_memory(), library()
    if memory.drive_start(number, place(state), rate_hz, int(encodes)):
        raise ValueError(f"{name} at {rate_hz} Hz did not start")
    taken = (memory.drive_encode if encodes else memory.drive_decode)(number, place(state), ctypes.byref(frames.view))
    if not taken:
        raise RuntimeError(f"{name} did not take every frame")
    return float(taken) / 1e9


def libopus(rate_hz: int, frames: Frames, *, encodes: bool) -> float:
    """Seconds for all frames by libopus's own functions, from C, with a state started as ours is."""
    state = state_memory()
    library().drive_start(codec.CODECS.index("opus"), place(state), rate_hz, int(encodes))
    inner = ctypes.c_void_p(state.ctypes.data + ALIGN)
    function = ctypes.c_void_p(opus.addresses()[5 if encodes else 2])
    drive = library().drive_opus_encode if encodes else library().drive_opus_decode
    return float(drive(function, inner, ctypes.byref(frames.view))) / 1e9


def conceal(pcm: Pcm, rate_hz: int) -> float:
    """Seconds for frames (count, samples) of which every other one is lost; in place."""
    return float(library().drive_conceal(place(pcm), *map(ctypes.c_uint32, (*pcm.shape, rate_hz)))) / 1e9


def digits(pcm: Pcm, rate_hz: int) -> tuple[float, str]:
    """Seconds to look for digits in frames (count, samples), and those that began."""
    found = ctypes.create_string_buffer(1 << 16)
    taken = library().drive_digits(place(pcm), *map(ctypes.c_uint32, (*pcm.shape, rate_hz)), found, ctypes.c_uint32(len(found)))
    return taken / 1e9, found.value.decode()


def noise(payload: bytes, count: int, samples: int) -> float:
    """Seconds to make `count` frames of comfort noise."""
    pcm = np.zeros(samples, np.int16)
    return float(library().drive_noise(payload, len(payload), place(pcm), count, samples)) / 1e9

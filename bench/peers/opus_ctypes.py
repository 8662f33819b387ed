"""opuslib: libopus by ctypes, a call a frame."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import opuslib

NAME = "opuslib"
Pcm = npt.NDArray[np.int16]


def decode(payloads: Sequence[bytes], rate_hz: int, samples: int) -> tuple[float, bytes]:
    """Seconds of the processor, and the samples as bytes."""
    decoder = opuslib.Decoder(rate_hz, 1)
    begin = time.thread_time()
    made = [decoder.decode(payload, samples) for payload in payloads]
    return time.thread_time() - begin, b"".join(made)


def encode(pcm: Pcm, rate_hz: int, bit_rate: int, complexity: int) -> tuple[float, list[bytes]]:
    """Seconds of the processor for frames (count, samples), and the payloads."""
    encoder = opuslib.Encoder(rate_hz, 1, opuslib.APPLICATION_VOIP)
    encoder.bitrate, encoder.complexity, encoder.signal = bit_rate, complexity, opuslib.SIGNAL_VOICE
    frames = [block.tobytes() for block in pcm]
    begin = time.thread_time()
    made = [encoder.encode(frame, pcm.shape[1]) for frame in frames]
    return time.thread_time() - begin, made

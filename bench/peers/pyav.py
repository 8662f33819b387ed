"""PyAV: ffmpeg's codecs, a call a frame, as Python programs use them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import av
import numpy as np
import numpy.typing as npt

NAME = "PyAV"
RATE_HZ = 16000
Pcm = npt.NDArray[np.int16]


def decode_g722(payloads: Sequence[bytes]) -> tuple[float, Pcm]:
    """Seconds of the processor, and the samples."""
    context = av.AudioCodecContext.create("g722", "r")
    context.sample_rate, context.layout = RATE_HZ, "mono"
    packets = [av.Packet(payload) for payload in payloads]
    begin = time.thread_time()
    frames = [frame.to_ndarray() for packet in packets for frame in context.decode(packet)]
    taken = time.thread_time() - begin
    return taken, np.concatenate([frame.reshape(-1) for frame in frames])


def encode_g722(pcm: Pcm) -> tuple[float, bytes]:
    """Seconds of the processor for frames (count, samples), and the octets."""
    context = av.AudioCodecContext.create("g722", "w")
    context.sample_rate, context.layout, context.format = RATE_HZ, "mono", "s16"
    context.open()
    frames = []
    for number, block in enumerate(pcm):
        frame = av.AudioFrame.from_ndarray(block[None, :], "s16", "mono")
        frame.sample_rate, frame.pts = RATE_HZ, number * pcm.shape[1]
        frames.append(frame)
    begin = time.thread_time()
    packets = [packet for frame in (*frames, None) for packet in context.encode(frame)]
    taken = time.thread_time() - begin
    return taken, b"".join(bytes(packet) for packet in packets)

"""The packet and RTP kernels behind plain loops, one call a capture."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.kernels.kernel_library import build

STEMS = ("capture*", "link*", "rtp*", "rtcp*", "emodel", "address", "hep")
Bytes = npt.NDArray[np.uint8]


@functools.cache
def library() -> ctypes.CDLL:
    """The driver."""
    loaded = build(Path(__file__).with_suffix(".c"), STEMS)
    for name in ("drive_walk", "drive_collect", "drive_headers", "drive_streams"):
        getattr(loaded, name).restype = ctypes.c_uint64
    loaded.drive_packet_size.restype = ctypes.c_size_t
    return loaded


def walk(source: Bytes) -> tuple[float, tuple[int, ...]]:
    """Seconds, and (records, packets decoded, payload bytes)."""
    told = (ctypes.c_uint64 * 3)()
    taken = library().drive_walk(ctypes.c_void_p(source.ctypes.data), ctypes.c_size_t(source.nbytes), told)
    return taken / 1e9, tuple(told)


def collect(source: Bytes, capacity: int) -> tuple[Bytes, int]:
    """RTP packets of a capture as an opaque array that borrows `source`, and their number."""
    packets = np.zeros(capacity * library().drive_packet_size(), np.uint8)
    place = ctypes.c_void_p(packets.ctypes.data)
    address, length = ctypes.c_void_p(source.ctypes.data), ctypes.c_size_t(source.nbytes)
    return packets, library().drive_collect(address, length, place, ctypes.c_uint64(capacity))


def headers(packets: Bytes, count: int) -> tuple[float, tuple[int, ...]]:
    """Seconds, and (packets, sum of sequence numbers, sum of timestamps)."""
    told = (ctypes.c_uint64 * 3)()
    taken = library().drive_headers(ctypes.c_void_p(packets.ctypes.data), ctypes.c_uint64(count), told)
    return taken / 1e9, tuple(told)


def streams(packets: Bytes, count: int, capacity: int) -> tuple[float, tuple[int, ...]]:
    """Seconds, and (streams, packets in them)."""
    told = (ctypes.c_uint64 * 2)()
    place = ctypes.c_void_p(packets.ctypes.data)
    taken = library().drive_streams(place, ctypes.c_uint64(count), ctypes.c_uint32(capacity), told)
    return taken / 1e9, tuple(told)

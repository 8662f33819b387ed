"""What this machine allows one core: bytes a second read from memory, masked for line ends, read from a file."""

from __future__ import annotations

import ctypes
import functools
import platform
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.measure import BUILD, HERE, compiled, median_s

CHUNK_BYTES = 1 << 20


@functools.cache
def library() -> ctypes.CDLL:
    """The probes, compiled for this processor."""
    flags = (
        ("-mavx2",) if platform.machine() == "x86_64" and "avx2" in Path("/proc/cpuinfo").read_text() else ()
    )
    probes = ctypes.CDLL(str(compiled(HERE / "limits.c", BUILD / "limits.so", "-shared", "-fPIC", *flags)))
    for name in ("limit_read", "limit_newlines"):
        probe = getattr(probes, name)
        probe.argtypes, probe.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_uint64
    return probes


def rate(name: str, buffer: npt.NDArray[np.uint8]) -> float:
    """Bytes a second of a probe over the whole buffer."""
    probe, address, count = getattr(library(), name), buffer.ctypes.data, buffer.nbytes
    return count / median_s(lambda: probe(address, count), 5)


@functools.cache
def memory_read() -> float:
    """Bytes a second read from memory, past the caches."""
    return rate("limit_read", np.ones(256 << 20, np.uint8))


@functools.cache
def newline_mask(path: Path) -> float:
    """Bytes a second of the line-end mask over a file's bytes in memory. Checked against numpy's count."""
    buffer = np.fromfile(path, np.uint8)
    found = library().limit_newlines(buffer.ctypes.data, buffer.nbytes)
    if found != int((buffer == 10).sum()):
        raise AssertionError(f"line-end probe found {found}")
    return rate("limit_newlines", buffer)


@functools.cache
def file_read(path: Path) -> float:
    """Bytes a second of reading a file that is in the page cache, in chunks that stay in the processor's cache."""
    chunk = bytearray(CHUNK_BYTES)

    def read() -> None:
        with path.open("rb", buffering=0) as source:
            while source.readinto(chunk):
                pass

    return path.stat().st_size / median_s(read, 5)

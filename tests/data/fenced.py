"""Memory between two pages that nobody may touch: a read or write one byte too far ends the process."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import numpy.typing as npt

PAGE = mmap.PAGESIZE


class Fence:
    """Room of `pages` pages; what is put there ends at the last byte or begins at the first."""

    def __init__(self, pages: int = 1) -> None:
        self.size = pages * PAGE
        self.memory = mmap.mmap(-1, self.size + 2 * PAGE)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        libc = ctypes.CDLL(None, use_errno=True)
        for place in (self.base, self.base + PAGE + self.size):
            assert libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(PAGE), 0) == 0

    def put(self, data: bytes, at_begin: bool = False) -> memoryview:
        """These bytes, beside the fence."""
        start = PAGE if at_begin else PAGE + self.size - len(data)
        self.memory[start : start + len(data)] = data
        return memoryview(self.memory)[start : start + len(data)]

    def room(self, samples: int, at_begin: bool = False) -> npt.NDArray[np.int16]:
        """An array of int16, beside the fence."""
        return np.frombuffer(self.put(bytes(2 * samples), at_begin), np.int16)

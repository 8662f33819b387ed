"""spandsp (Debian's libspandsp2): G.722, packet loss concealment and DTMF, its functions called from the same C loops as ours."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import subprocess

from bench.kernels.codec_driver import Frames, Pcm, library, place
from bench.peers.program import SETUP

NAME = "spandsp"


@functools.cache
def spandsp() -> ctypes.CDLL:
    """The library."""
    found = ctypes.util.find_library("spandsp")
    if found is None:
        subprocess.run(["bash", SETUP], check=True)
        found = ctypes.util.find_library("spandsp")
    loaded = ctypes.CDLL(found)
    for name in ("g722_decode_init", "g722_encode_init", "plc_init", "dtmf_rx_init"):
        getattr(loaded, name).restype = ctypes.c_void_p
    return loaded


def _function(name: str) -> ctypes.c_void_p:
    return ctypes.cast(getattr(spandsp(), name), ctypes.c_void_p)


def g722(frames: Frames, *, encodes: bool) -> float:
    """Seconds for all frames at 64 kbit/s."""
    name = "g722_encode" if encodes else "g722_decode"
    state = ctypes.c_void_p(getattr(spandsp(), f"{name}_init")(None, 64000, 0))
    taken = library().drive_foreign(_function(name), state, ctypes.byref(frames.view), int(encodes))
    getattr(spandsp(), f"{name}_free")(state)
    return float(taken) / 1e9


def conceal(pcm: Pcm) -> float:
    """Seconds for frames (count, samples) of which every other one is lost; in place. It knows no rates: all is as at 8 kHz."""
    state = ctypes.c_void_p(spandsp().plc_init(None))
    taken = library().drive_foreign_conceal(_function("plc_rx"), _function("plc_fillin"), state, place(pcm), *map(ctypes.c_uint32, pcm.shape))
    spandsp().plc_free(state)
    return float(taken) / 1e9


def digits(pcm: Pcm) -> tuple[float, str]:
    """Seconds to look for digits in frames (count, samples) at 8 kHz, and those it has room to keep (128)."""
    state = ctypes.c_void_p(spandsp().dtmf_rx_init(None, None, None))
    taken = library().drive_foreign_digits(_function("dtmf_rx"), state, place(pcm), *map(ctypes.c_uint32, pcm.shape))
    found = ctypes.create_string_buffer(200)
    spandsp().dtmf_rx_get(state, found, 199)
    spandsp().dtmf_rx_free(state)
    return taken / 1e9, found.value.decode()



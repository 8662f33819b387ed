"""libsrtp, in C, in the loop that ours is timed in: Debian's, whose ciphers are NSS's, and the one inside pylibsrtp, whose ciphers are OpenSSL's."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pylibsrtp  # type: ignore[import-untyped,unused-ignore]
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found,import-untyped,unused-ignore]

from bench.kernels.srtp_driver import LOOP, Told, fastest, told
from bench.measure import BUILD, compiled
from bench.peers.program import SETUP

NAME = "libsrtp (OpenSSL)"
DEBIAN_NAME = "libsrtp2 of Debian (NSS)"
HERE = Path(__file__).parent
HEADER = Path("/usr/include/srtp2/srtp.h")
PROFILES = {"cm": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, "gcm": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM}
KEY_BYTES = {"cm": 30, "gcm": 28}


def run_debian(kind: str, contexts: int, packet_bytes: int, batches: int, repeats: int) -> Told:
    """Debian's package; arguments as of `srtp_driver.run`."""
    if not HEADER.exists():
        subprocess.run(["bash", SETUP], check=True)
    program = compiled(HERE / "srtp_libsrtp.c", BUILD / "srtp_libsrtp", f"-I{LOOP.parent}", "-lsrtp2")
    command = [program, kind, str(contexts), str(packet_bytes), str(batches)]
    return fastest([told(subprocess.run(command, check=True, capture_output=True).stdout, 64 * batches) for _ in range(repeats)])


class _Result(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("protect_ns", "unprotect_ns", "well", "equal"))


def _address(pointer: object) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def _sessions(kind: str, contexts: int, ssrc_type: int) -> list[pylibsrtp.Session]:
    made = []
    for number in range(contexts):
        key = bytes([number & 255, number >> 8]) + bytes(KEY_BYTES[kind] - 2)
        policy = pylibsrtp.Policy(key=key, ssrc_type=ssrc_type, srtp_profile=PROFILES[kind])
        policy.window_size = 128
        made.append(pylibsrtp.Session(policy))
    return made


def run(kind: str, contexts: int, packet_bytes: int, batches: int, repeats: int) -> Told:
    """pylibsrtp's own copy of the library, called from C; arguments as of `srtp_driver.run`."""
    calls = ctypes.CDLL(str(compiled(HERE / "srtp_calls.c", BUILD / "srtp_calls.so", "-shared", "-fPIC", f"-I{LOOP.parent}")))
    calls.run_calls.restype = _Result
    functions = [ctypes.c_void_p(_address(ffi.addressof(lib, name))) for name in ("srtp_protect", "srtp_unprotect")]
    runs = []
    for _ in range(repeats):
        sides = [_sessions(kind, contexts, which) for which in (pylibsrtp.Policy.SSRC_ANY_OUTBOUND, pylibsrtp.Policy.SSRC_ANY_INBOUND)]
        pointers = [(ctypes.c_void_p * contexts)(*(_address(session._srtp[0]) for session in side)) for side in sides]
        result = calls.run_calls(*functions, *pointers, contexts, packet_bytes, batches)
        runs.append(Told(result.protect_ns / batches / 64, result.unprotect_ns / batches / 64, result.well, result.equal))
    return fastest(runs)

"""Our SRTP in the benchmark's loop (`srtp_loop.h`), compiled with the engine's kernels and flags."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.kernels.kernel_library import FLAGS, KERNELS
from bench.measure import BUILD, compiled

HERE = Path(__file__).parent
LOOP = HERE / "srtp_loop.h"


class Told(NamedTuple):
    """Nanoseconds a packet of protecting and of unprotecting; operations that went well; packets that came out as they went in."""

    protect_ns: float
    unprotect_ns: float
    well: int
    equal: int


def told(output: bytes, packets: int) -> Told:
    """What a driver printed."""
    protect_ns, unprotect_ns, well, equal = map(int, output.split())
    return Told(protect_ns / packets, unprotect_ns / packets, well, equal)


def fastest(runs: list[Told]) -> Told:
    """The least time of each direction."""
    return runs[0]._replace(protect_ns=min(run.protect_ns for run in runs), unprotect_ns=min(run.unprotect_ns for run in runs))


def program() -> Path:
    """The driver; built again when any of its sources changed."""
    target, driver = BUILD / "srtp_driver", HERE / "srtp_driver.c"
    sources = sorted(KERNELS.glob("srtp*.c"))
    newest = max(path.stat().st_mtime for path in (driver, LOOP, *KERNELS.glob("srtp*"), KERNELS / "status.h"))
    if target.exists() and target.stat().st_mtime < newest:
        target.unlink()
    flags = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC")]
    return compiled(driver, target, *map(str, sources), *flags, f"-I{HERE}", "-lcrypto")


def run(kind: str, contexts: int, packet_bytes: int, batches: int, repeats: int) -> Told:
    """`kind` is "cm" (AES_CM_128_HMAC_SHA1_80) or "gcm" (AEAD_AES_128_GCM); batches are of 64."""
    command = [program(), kind, str(contexts), str(packet_bytes), str(batches)]
    return fastest([told(subprocess.run(command, check=True, capture_output=True).stdout, 64 * batches) for _ in range(repeats)])

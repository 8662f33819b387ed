"""Compiles the engine's own C kernels, with its own flags, behind a benchmark's loop."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from bench.measure import BUILD, compiled

KERNELS = Path(__file__).parents[2] / "engine" / "_native" / "c"
FLAGS = ("-std=gnu11", "-shared", "-fPIC", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", f"-I{KERNELS}")


def build(driver: Path, stems: Sequence[str]) -> ctypes.CDLL:
    """The driver, linked with the kernels whose names match; built again when any kernel changed."""
    sources = sorted({str(path) for stem in stems for path in KERNELS.glob(f"{stem}.c")})
    target = BUILD / f"{driver.stem}.so"
    newest = max(path.stat().st_mtime for path in (driver, *KERNELS.iterdir()))
    if target.exists() and target.stat().st_mtime < newest:
        target.unlink()
    return ctypes.CDLL(str(compiled(driver, target, *sources, *FLAGS, "-lm")))

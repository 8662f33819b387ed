"""The recorder's files: 2,000 tracks of 8 kHz in blocks of 200 ms, as legs alone and with merged files, on one core.

The limit is one bare pwrite(2) a piece of the same bytes to the same files: no header, no merge, no rings. The peer, libsndfile, writes its header
when a file is closed, so its files are nothing before that; ours play at every moment.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import soundfile  # type: ignore[import-untyped]

from bench.kernels.kernel_library import build
from bench.measure import BUILD, Row, agree

RECORDINGS = 1000
SAMPLES = 1600
PEER = "libsndfile"
PCM = np.frombuffer(Random(1).randbytes(8 * SAMPLES), np.uint8)


@functools.cache
def library() -> ctypes.CDLL:
    """The driver."""
    loaded = build(Path(__file__).with_name("writer_driver.c"), ("writer*",))
    loaded.drive_pwrite.restype = loaded.drive_copy.restype = ctypes.c_uint64
    return loaded


def names(folder: Path, merged: bool) -> list[Path]:
    """Files of all recordings, in order: leg, leg, merged."""
    return [folder / f"{number}-{part}.wav" for number in range(RECORDINGS) for part in ("a", "b", "m")[: 3 if merged else 2]]


def opened(paths: list[Path]) -> ctypes.Array[ctypes.c_int32]:
    """Fresh files."""
    return (ctypes.c_int32 * len(paths))(*(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for path in paths))


def ours(paths: list[Path], steps: int, merged: bool) -> list[int]:
    """ns of the producer, ns and CPU ns of the writer, writes, bytes."""
    fds, told = opened(paths), (ctypes.c_uint64 * 5)()
    failed = library().drive_writer(fds, RECORDINGS, steps, int(merged), PCM.ctypes.data_as(ctypes.c_void_p), told)
    for fd in fds:
        os.close(fd)
    if failed:
        raise OSError("the files could not be written")
    return list(told)


def bare(paths: list[Path], steps: int, merged: bool) -> float:
    """Seconds of the same bytes by pwrite."""
    fds = opened(paths)
    taken = library().drive_pwrite(fds, RECORDINGS, steps, int(merged), PCM.ctypes.data_as(ctypes.c_void_p))
    for fd in fds:
        os.close(fd)
    return float(taken) / 1e9


def theirs(paths: list[Path], steps: int, merged: bool) -> float:
    """Seconds of libsndfile for the same samples; the merged ones are interleaved for it beforehand."""
    legs = [PCM[2 * SAMPLES * track :][: 2 * SAMPLES].tobytes() for track in range(2)]
    both = np.stack([np.frombuffer(leg, np.int16) for leg in legs], axis=1).tobytes()
    pieces = [*legs, both][: 3 if merged else 2]
    files = [soundfile.SoundFile(path, "w", 8000, 2 if path.stem.endswith("m") else 1, "PCM_16") for path in paths]
    begin = time.perf_counter()
    for _ in range(steps):
        for number, file in enumerate(files):
            file.buffer_write(pieces[number % len(pieces)], "int16")
    for file in files:
        file.close()
    return time.perf_counter() - begin


def check(paths: list[Path], steps: int, merged: bool) -> tuple[str, bool]:
    """What the files of the last recording are, read by another library."""
    legs = [np.tile(PCM[2 * SAMPLES * track :][: 2 * SAMPLES].view(np.int16), steps) for track in range(2)]
    wanted = [*legs, np.stack(legs, axis=1)][: 3 if merged else 2]
    same = [np.array_equal(soundfile.read(path, dtype="int16")[0], samples) for path, samples in zip(paths[-len(wanted) :], wanted, strict=True)]
    return agree({"frames": (soundfile.info(paths[0]).frames, steps * SAMPLES), "files alike": (sum(same), len(wanted))})


def rows(quick: bool) -> Iterator[Row]:
    """Blocks a second of the writer's rounds beside libsndfile and bare writes, and what a leg costs."""
    steps, repeats = (5, 2) if quick else (25, 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * RECORDINGS)), hard))
    for merged in (False, True):
        blocks = 2 * RECORDINGS * steps
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            paths = names(Path(folder), merged)
            peer = min(theirs(paths, steps, merged) for _ in range(repeats))
            limit = min(bare(paths, steps, merged) for _ in range(repeats))
            told = min((ours(paths, steps, merged) for _ in range(repeats)), key=lambda each: each[1])
            text, passed = check(paths, steps, merged)
        seconds, heard_s = told[1] / 1e9, steps * SAMPLES / 8000
        cost = told[2] / 1e9 / heard_s / (2 * RECORDINGS)
        text += f"; {told[4] / seconds / 1e6:.0f} MB/s in {told[3]} writes, {cost * 1e6:.1f} us CPU a second and leg"
        yield Row(
            f"writer-2000-tracks{'-merged' if merged else ''}", "block/s", blocks / seconds, PEER, blocks / peer, "bare pwrite", blocks / limit, text, passed
        )
        if not merged:
            room = np.zeros(2 * RECORDINGS * 4064, np.uint8)  # as much as the blocks of a step
            pointers = room.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(room.nbytes), ctypes.c_uint64(blocks), PCM.ctypes.data_as(ctypes.c_void_p)
            copied = min(library().drive_copy(*pointers) for _ in range(repeats)) / 1e9
            value = blocks / (told[0] / 1e9)
            yield Row("writer-producer", "block/s", value, limit="memcpy", limit_value=blocks / copied, check=f"{told[0] / blocks:.0f} ns a block of 200 ms")

"""The receive path on one core: RTP heads read and written in batches, and the jitter buffers of a thousand streams with loss and reordering."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.kernels.kernel_library import build
from bench.measure import BUILD, Row, agree
from bench.peers import aiortc, libre

STRIDE, LENGTH = 192, 172
STREAMS = 1000
IN_CACHE = 64 * 100
EVENT = np.dtype([("arrival_ns", "<i8"), ("extended", "<u8"), ("timestamp", "<u4"), ("stream", "<u4")])
NONE, FIXED, ADAPTIVE = 0, 1, 2
Bytes = npt.NDArray[np.uint8]


@functools.cache
def library() -> ctypes.CDLL:
    """The driver."""
    loaded = build(Path(__file__).with_name("jitter_driver.c"), ("rtp_packet", "jitter"))
    for name in ("drive_read", "drive_heads", "drive_touch", "drive_jitter", "drive_lines"):
        getattr(loaded, name).restype = ctypes.c_uint64
    return loaded


def drive(name: str, data: npt.NDArray[np.generic], *numbers: int, told: int = 0, repeats: int = 3) -> tuple[float, tuple[int, ...]]:
    """The fastest pass's seconds, and what it told."""
    words = (ctypes.c_uint64 * max(told, 1))()
    arguments: list[object] = [ctypes.c_void_p(data.ctypes.data), ctypes.c_uint64(numbers[0]), *(ctypes.c_uint32(n) for n in numbers[1:])]
    if told:
        arguments.append(words)
    function = getattr(library(), name)
    return min(function(*arguments) for _ in range(repeats)) / 1e9, tuple(words)


def packets(count: int) -> Bytes:
    """PCMU packets of 20 ms, as they lie in receive buffers."""
    made = np.zeros((count, STRIDE), np.uint8)
    numbers = np.arange(count, dtype=np.uint32)
    made[:, 0] = 0x80
    made[:, 2:4] = numbers.astype(">u2").view(np.uint8).reshape(count, 2)
    made[:, 4:8] = (numbers * 160).astype(">u4").view(np.uint8).reshape(count, 4)
    made[:, 8:12] = (0xDE, 0xAD, 0xBE, 0xEF)
    return made


def events(streams: int, each: int) -> npt.NDArray[np.void]:
    """What comes of `streams` senders: 5 % is lost, the rest is up to 15 ms late, and every fiftieth 25 to 35 ms: behind the one after it."""
    random = np.random.default_rng(1)
    made = np.zeros((streams, each), EVENT)
    number = np.arange(each)
    made["stream"] = np.arange(streams)[:, None]
    made["extended"] = 65536 + number
    made["timestamp"] = 160 * number
    late = random.integers(0, 15_000_000, made.shape)
    late = np.where(random.random(made.shape) < 0.02, random.integers(25_000_000, 35_000_000, made.shape), late)
    late[:, 0] = 0
    made["arrival_ns"] = random.integers(0, 20_000_000, (streams, 1)) + 20_000_000 * number + late
    kept = random.random(made.shape) >= 0.05
    kept[:, 0] = True
    flat = made[kept]
    return flat[np.argsort(flat["arrival_ns"], kind="stable")]


def rows(quick: bool) -> Iterator[Row]:
    """Heads and jitter buffers beside libre's and aiortc's, and beside touching the same lines of memory."""
    yield from heads(quick)
    yield from buffers(quick)


def heads(quick: bool) -> Iterator[Row]:
    """Packets that were just received, and lie in the processor's cache; then as many as come from memory."""
    yield from heads_of(IN_CACHE, 50 if quick else 300, "")
    yield from heads_of(64 * (2_000 if quick else 10_000), 3 if quick else 9, "-cold")


def heads_of(count: int, repeats: int, suffix: str) -> Iterator[Row]:
    data = packets(count)
    path = BUILD / "heads.packets"
    data.tofile(path)
    for name, what, write in (("rtp-read", "read", 0), ("rtp-write", "write", 1)):
        theirs = libre.run(path, what, repeats)
        bound, _ = drive("drive_touch", data, count, STRIDE, write, told=1, repeats=repeats)
        if write:
            seconds, _ = drive("drive_heads", data, count, STRIDE, repeats=repeats)
            check, passed = agree({"packets": (count if written(data) else 0, theirs.packets)})
        else:
            seconds, told = drive("drive_read", data, count, STRIDE, LENGTH, told=3, repeats=repeats)
            check, passed = agree({"packets, sums": (told, theirs[:3])})
        check += f"; {seconds / count * 1e9:.1f} ns a packet"
        line = "touch a line", count / bound
        yield Row(name + suffix, "pkt/s", count / seconds, libre.NAME, theirs.packets / theirs.seconds, *line, check, passed)
        if not suffix:
            slow = aiortc.run(path, what)
            yield Row(f"{name}-python", "pkt/s", count / seconds, aiortc.NAME, slow.packets / slow.seconds, *line, check, passed)
    path.unlink()


def written(data: Bytes) -> bool:
    """Whether the heads are those that drive_heads has to write."""
    wanted = packets(len(data))
    wanted[:, 1] = 8
    return bool((data[:, :12] == wanted[:, :12]).all())


def buffers(quick: bool) -> Iterator[Row]:
    made = events(STREAMS, 200 if quick else 1000)
    few = made[made["stream"] < 50]
    path, short = BUILD / "jitter.events", BUILD / "jitter.few.events"
    made.tofile(path)
    few.tofile(short)
    repeats = 5 if quick else 15
    theirs, slow = libre.run(path, "jitter", repeats, STREAMS), aiortc.run(short, "jitter", STREAMS)
    path.unlink()
    short.unlink()
    bound, _ = drive("drive_lines", made, len(made), STREAMS, told=1, repeats=repeats)
    last = np.zeros(STREAMS, np.int64)
    np.maximum.at(last, made["stream"], made["extended"].astype(np.int64) - 65535)
    lost = int(last.sum()) - len(made)
    for name, mode, delays in (("fixed", FIXED, (60, 60)), ("adaptive", ADAPTIVE, (40, 120)), ("order", NONE, (0, 60))):
        seconds, told = drive("drive_jitter", made, len(made), STREAMS, mode, *delays, told=4, repeats=repeats)
        check, passed = agree({"released": (told[0], len(made)), "lost": (told[1], lost), "refused": (told[2], 0), "disorder": (told[3], 0)})
        rate = len(made) / seconds
        line = "touch two lines", len(made) / bound
        check += f"; {seconds / len(made) * 1e9:.1f} ns a packet"
        if mode != FIXED:
            yield Row(f"jitter-{name}", "pkt/s", rate, limit=line[0], limit_value=line[1], check=check, passed=passed)
            continue
        for peer, one, of in ((libre.NAME, theirs, len(made)), (aiortc.NAME, slow, len(few))):
            says = f"{check}; {peer} released {one.packets} of {of}{' in disorder' if one.sequences else ''}"
            yield Row(f"jitter-{name}" + "-python" * (peer == aiortc.NAME), "pkt/s", rate, peer, of / one.seconds, *line, says, passed)

"""Inputs to tables: files, folders, standard input or bytes, each sniffed by content and given to its reader."""

from __future__ import annotations

import mmap
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec

from engine._native import trace as native
from engine.errors import TraceError
from engine.trace import compressed, orderly
from engine.trace.finding import Problem
from engine.trace.sources import base as sources
from engine.trace.tables import Tables

Source: TypeAlias = "str | bytes | bytearray | memoryview | os.PathLike[str]"
Progress: TypeAlias = Callable[[int, int, str], None]


SPLIT_BYTES = 4 << 20  # a smaller capture is read before a second thread has begun
PART_BYTES = 4 << 20  # of a capture that several threads read; small enough to stay near the processor


class Options(msgspec.Struct, frozen=True):
    """How inputs are read. `tz_offset_s` is used where a log names no zone; limits are per input."""

    tz_offset_s: int = 0
    max_message_bytes: int = 65536
    max_expanded_bytes: int = 64 << 30
    file_format: str | None = None


class Opened(msgspec.Struct):
    """One input opened for reading: its bytes (mapped where it is a file) and what it is called.

    `broken_at` is how many bytes came out of compressed data that then broke off, None when all is well.
    """

    name: str
    content: bytes | bytearray | memoryview | mmap.mmap
    mtime: float | None = None
    broken_at: int | None = None


def expand(paths: Iterable[Source]) -> Iterator[Source]:
    """Folders become the files in them, in name order; everything else stays."""
    for path in paths:
        if isinstance(path, (str, os.PathLike)) and path != "-" and Path(path).is_dir():
            yield from sorted(p for p in Path(path).rglob("*") if p.is_file() and not p.name.startswith("."))
        else:
            yield path


def open_input(source: Source, options: Options) -> Opened:
    """Maps a file, reads standard input, or takes bytes as they are; expands compression.

    Raises TraceError naming the input when it cannot be read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return compressed.expand(Opened("input", source), options.max_expanded_bytes)
    name = os.fspath(source)
    try:
        if name == "-":
            opened = Opened("standard input", sys.stdin.buffer.read())
        else:
            with open(name, "rb") as file:
                opened = Opened(name, _map(file), os.fstat(file.fileno()).st_mtime)
    except OSError as error:
        raise TraceError(f"{name}: {error.strerror or error}") from error
    return compressed.expand(opened, options.max_expanded_bytes)


def _map(file: BinaryIO) -> bytes | mmap.mmap:
    size = os.fstat(file.fileno()).st_size
    if size < 1 << 16:  # also what cannot be mapped: pipes, /proc
        return file.read()
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_SEQUENTIAL)
    return mapped


def read(
    paths: Source | Sequence[Source],
    *,
    progress: Progress | None = None,
    options: Options | None = None,
    workers: int = 1,
) -> Tables:
    """Reads inputs into one set of tables.

    `progress(done_bytes, total_bytes, name)` is called between steps of at most 400,000 packets. `workers` threads
    open and expand inputs ahead of the one that is read, and read a large capture in parts; the tables are the same
    with any number of them. Raises TraceError for an input that cannot be read; what is unreadable inside one is
    counted in `Tables.problems` instead.
    """
    options = options or Options()
    try:
        return _read(paths, progress, options, workers, split=workers > 1)
    except native.PartConflict:
        return _read(paths, progress, options, workers, split=False)


def _read(
    paths: Source | Sequence[Source], progress: Progress | None, options: Options, workers: int, *, split: bool
) -> Tables:
    chosen = [paths] if isinstance(paths, (str, bytes, bytearray, memoryview, os.PathLike)) else list(paths)
    inputs = list(expand(chosen))
    if not inputs:
        raise TraceError("no files to read")
    total = sum(_size(source) for source in inputs)
    trace = native.Trace(total)
    problems: list[Problem] = []
    formats: list[str] = []
    done = 0
    for source, opened in zip(inputs, _opened(inputs, options, workers), strict=True):
        before = {kind: count for kind, _, count, _ in trace.problems()}
        step = _stepper(progress, done, total, opened.name)
        formats.append(_read_one(trace, opened, options, step, workers if split else 1))
        done += _size(source)
        if opened.broken_at is not None:
            text = "compressed data that ends early or does not decompress"
            problems.append(Problem("compression", text, 1, opened.broken_at, opened.name))
        problems += [
            Problem(kind, text, count - before.get(kind, 0), offset, opened.name)
            for kind, text, count, offset in trace.problems()
            if count > before.get(kind, 0)
        ]
    trace.finish()
    tables = Tables(trace)
    tables.problems = problems
    tables.formats = formats
    return tables


def _opened(inputs: Sequence[Source], options: Options, workers: int) -> Iterator[Opened]:
    """The inputs in their order, up to `workers` of them opened and expanded ahead."""
    if workers < 2 or len(inputs) < 2:
        yield from (open_input(source, options) for source in inputs)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Opened]] = deque()
        for source in inputs:
            ahead.append(pool.submit(open_input, source, options))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _size(source: Source) -> int:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return len(source)
    try:
        return 0 if source == "-" else os.stat(source).st_size
    except OSError:
        return 0


def _stepper(progress: Progress | None, done: int, total: int, name: str) -> Callable[[int], None] | None:
    if progress is None:
        return None
    call = progress
    return lambda position: call(done + position, max(total, done + position), name)


def _read_one(
    trace: native.Trace, opened: Opened, options: Options, step: Callable[[int], None] | None, workers: int
) -> str:
    content = opened.content
    head = bytes(content[:65536])
    named = sources.unreadable(head)
    if named:
        raise TraceError(f"{opened.name}: {named}")
    reading = sources.Options(
        mtime=opened.mtime, tz_offset_s=options.tz_offset_s, max_message_bytes=options.max_message_bytes
    )
    if len(content) <= orderly.SIZE_MAX_BYTES and (told := orderly.frames(bytes(content), reading)) is not None:
        trace.open_input(content)
        trace.add_bytes(len(content))
        _add_frames(trace, told[1], step)
        return told[0].name
    format = sources.detect(head)
    trace.open_input(content)
    if format.native is not None:
        in_parts = workers > 1 and len(content) >= SPLIT_BYTES
        if in_parts and read_in_parts(trace, len(content), workers, step=step):
            return format.name
        if not trace.read_capture(step):
            raise TraceError(f"{opened.name}: looks like {format.title} and has no readable header")
        return format.name
    text = bytes(content)
    trace.add_bytes(len(text))
    _add_frames(trace, sources.frames(text, reading), step)
    return format.name


def read_in_parts(
    trace: native.Trace,
    size: int,
    workers: int,
    *,
    part_bytes: int = PART_BYTES,
    step: Callable[[int], None] | None = None,
) -> bool:
    """Reads the open input of `size` bytes in parts of `part_bytes`, by `workers` threads; False where its format cannot be
    split. What comes of it is what `Trace.read_capture` makes; raises PartConflict where that cannot be.

    The threads read ahead of this one, which absorbs their parts in the order of the file.
    """
    if not trace.open_split():
        return False
    shares = max(1, workers // 2)
    waiting = deque((first, min(first + part_bytes, size)) for first in range(part_bytes, size, part_bytes))
    ahead: deque[tuple[int, native.Part, Future[None]]] = deque()
    spare: list[native.Part] = []
    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(shares) as players:

        def read_ahead() -> None:
            while waiting and len(ahead) < 2 * workers:
                first, until = waiting.popleft()
                part = spare.pop() if spare else native.Part(trace, part_bytes)
                ahead.append((until, part, readers.submit(part.read, first, until)))

        read_ahead()
        trace.read_until(min(part_bytes, size))
        while ahead:
            until, part, reading = ahead.popleft()
            reading.result()
            if trace.absorb(part):
                playing = [players.submit(trace.play, part, share, shares) for share in range(1, shares)]
                trace.play(part, 0, shares)
                for played in playing:
                    played.result()
            else:
                trace.read_until(until)
            spare.append(part)
            read_ahead()
            if step is not None:
                step(until)
    trace.close_split()
    return True


def _add_frames(
    trace: native.Trace, frames: Iterable[sources.AnyFrame], step: Callable[[int], None] | None
) -> None:
    number = 0
    for frame in frames:
        number += 1
        if isinstance(frame, sources.PacketFrame):
            trace.add_packet(frame.packet, frame.time_ns or 0, frame.link_type, frame.offset)
            continue
        trace.add_message(
            frame.text, frame.time_ns, frame.source, frame.target, frame.transport, frame.direction, frame.offset,
            number, frame.correlation, frame.retransmission, False,
        )  # fmt: skip
        if step is not None and number % 4096 == 0:
            step(frame.offset)

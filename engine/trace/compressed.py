"""Compressed inputs: gzip, zstandard, xz, lz4 and bzip2, recognised by their first bytes.

What is expanded goes to an unnamed temporary file that is mapped, so that a large archive costs page cache and not
memory; a small one stays in memory. A limit and a ratio bound what a hostile input can cost.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import mmap
import tempfile
import zlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import msgspec

from engine.errors import TraceError

if TYPE_CHECKING:
    from engine.trace.reading import Opened

IN_MEMORY_BYTES = 32 << 20
RATIO_MAX = 400  # above what SIP text or silence in RTP reach, below the 1,000 of a bomb; small inputs get 64 MiB
STEP_BYTES = 1 << 17
NESTING_MAX = 2


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    import zstandard

    reader: IO[bytes] = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return reader


def _lz4(stream: IO[bytes]) -> IO[bytes]:
    import lz4.frame

    opened: IO[bytes] = lz4.frame.open(stream, "rb")
    return opened


READERS: tuple[tuple[bytes, str, Callable[[Any], Any]], ...] = (
    (b"\x1f\x8b", "gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    (b"\x28\xb5\x2f\xfd", "zstandard", _zstd),
    (b"\xfd7zXZ", "xz", lzma.LZMAFile),
    (b"\x04\x22\x4d\x18", "lz4", _lz4),
    (b"BZh", "bzip2", bz2.BZ2File),
)


def expand(opened: Opened, limit_bytes: int) -> Opened:
    """The input itself when it is not compressed, else its expanded content (also when nested once).

    A stream that breaks off keeps what was expanded before. Raises TraceError when nothing could be expanded, or
    when the content passes `limit_bytes` or grows more than RATIO_MAX-fold.
    """
    for _ in range(NESTING_MAX):
        head = bytes(opened.content[:6])
        found = next(((name, reader) for magic, name, reader in READERS if head.startswith(magic)), None)
        if found is None:
            return opened
        opened = _expand_once(opened, *found, limit_bytes)
    if any(bytes(opened.content[:6]).startswith(magic) for magic, _, _ in READERS):
        raise TraceError(f"{opened.name}: compressed more than {NESTING_MAX} times over")
    return opened


def _expand_once(opened: Opened, name: str, reader: Callable[[Any], Any], limit_bytes: int) -> Opened:
    packed = len(opened.content)
    size = 0
    allowed = min(limit_bytes, max(packed * RATIO_MAX, 64 << 20))
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as target:
        try:
            with reader(io.BytesIO(opened.content) if packed < IN_MEMORY_BYTES else _View(opened.content)) as stream:
                # read1: what was expanded before a break must not be lost with it
                while piece := stream.read1(STEP_BYTES):
                    size += len(piece)
                    if size > allowed:
                        raise TraceError(f"{opened.name}: expands to more than {allowed:,} bytes; refused")
                    target.write(piece)
        except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, RuntimeError, _zstd_error()) as error:
            if size == 0:
                raise TraceError(f"{opened.name}: {name} data that does not expand ({error})") from error
            opened = msgspec.structs.replace(opened, broken_at=size)
        target.seek(0)
        content: bytes | mmap.mmap
        if size <= IN_MEMORY_BYTES:
            content = target.read()
        else:
            target.rollover()
            target.flush()
            content = mmap.mmap(target.fileno(), 0, access=mmap.ACCESS_READ)
    return msgspec.structs.replace(opened, content=content)


def _zstd_error() -> type[Exception]:
    import zstandard

    error: type[Exception] = zstandard.ZstdError
    return error


class _View(io.RawIOBase):
    """A mapped input read as a stream, without a copy of the whole."""

    def __init__(self, content: bytes | bytearray | memoryview | mmap.mmap) -> None:
        self.content = memoryview(content)
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self.content[self.position : self.position + len(target)]
        target[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

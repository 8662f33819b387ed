"""Looks for texts in every file of some folders: the proof that nothing of an erased call is left.

It runs as a process of its own, `python -m engine.compliance.proof`, which reads a `Wanted` as JSON and answers with `Searched`: a process that has a
SQLite database open must not open and close the database's files beside it, for that lets go of all its locks (https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

PIECE_BYTES: Final = 1 << 20
FOUND_MAX: Final = 1000
# Of these the names are looked at, and nothing else: sound has no text, for none is written into it here, and what is encrypted shows none.
SOUND: Final = (".wav", ".flac", ".mp3", ".opus", ".ogg", ".enc")
SEARCH_S: Final = 3600.0


class Wanted(msgspec.Struct, frozen=True):
    """Where to look and for what. Paths that begin with one of `leave_out` are passed over."""

    folders: tuple[str, ...]
    needles: tuple[str, ...]
    leave_out: tuple[str, ...] = ()


class Hit(msgspec.Struct, frozen=True, order=True):
    """A text that was found: which one, by its place in `needles`, and where. `in_name`: the file's name has it."""

    path: str
    needle: int
    in_name: bool = False


class Searched(msgspec.Struct, frozen=True):
    """What was found, and how much was looked at. `unread` could not be read."""

    hits: tuple[Hit, ...]
    files: int
    bytes: int
    unread: tuple[str, ...] = ()


def spellings(needle: str) -> tuple[bytes, ...]:
    """A text as it stands in files: as it is, and as JSON writes it."""
    plain = needle.encode("utf-8", "surrogatepass")
    quoted = msgspec.json.encode(needle.encode("utf-8", "replace").decode())[1:-1].decode()
    escaped = "".join(each if each.isascii() else "".join(f"\\u{int.from_bytes(pair):04x}" for pair in _pairs(each)) for each in quoted)
    return tuple(dict.fromkeys((plain, quoted.encode(), escaped.encode())))


def _pairs(character: str) -> Iterator[bytes]:
    units = character.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(units), 2):
        yield units[at : at + 2]


def search(wanted: Wanted) -> Searched:
    """Looks through all plain files of the folders, and at all names."""
    spelled = [spellings(needle) for needle in wanted.needles]
    longest = max((len(each) for several in spelled for each in several), default=1)
    hits: set[Hit] = set()
    unread: list[str] = []
    count = size = 0
    for path in _files(wanted.folders, wanted.leave_out):
        name = os.fsencode(path)
        for number, several in enumerate(spelled):
            if any(each in name for each in several):
                hits.add(Hit(path, number, in_name=True))
        if path.endswith(SOUND):
            continue
        try:
            found, read = _search_file(path, spelled, longest)
        except FileNotFoundError:
            continue
        except OSError as error:
            unread.append(f"{path}: {error.strerror}")
            continue
        count, size = count + 1, size + read
        hits.update(Hit(path, number) for number in found)
    return Searched(tuple(sorted(hits)[:FOUND_MAX]), count, size, tuple(unread[:FOUND_MAX]))


def _files(folders: Sequence[str], leave_out: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(root, name)
                if path in seen or path.startswith(tuple(leave_out)):
                    continue
                seen.add(path)
                yield path


def _search_file(path: str, spelled: Sequence[Sequence[bytes]], longest: int) -> tuple[set[int], int]:
    found: set[int] = set()
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return found, 0
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before, at = b"", 0
        while piece := os.pread(fd, PIECE_BYTES, at):
            at += len(piece)
            text = before + piece
            found.update(number for number, several in enumerate(spelled) if number not in found and any(each in text for each in several))
            before = text[-(longest - 1) :] if longest > 1 else b""
    finally:
        os.close(fd)
    return found, at


async def searched(wanted: Wanted, *, timeout_s: float = SEARCH_S) -> Searched:
    """`search` in a process of its own. Raises OSError where that fails, TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine.compliance.proof", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(msgspec.json.encode(wanted)), timeout_s)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise OSError(f"the search ended with {process.returncode}")
    return msgspec.json.decode(told, type=Searched)


def main() -> int:
    """The command."""
    sys.stdout.buffer.write(msgspec.json.encode(search(msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted))))
    return 0


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["Hit", "Searched", "Wanted", "search", "searched", "spellings"]

"""Files that are there whole or not at all: written under a dot name beside their place, synced, renamed.

The dot file is locked while it is written. What a process that died left is taken over by the next one that writes the same target.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Final

NAME_MAX: Final = 255  # bytes


def staged_name(name: str) -> str:
    """The dot name of a target until it is whole."""
    staged = f".{name}.part"
    return staged if len(os.fsencode(staged)) <= NAME_MAX else f".{hashlib.sha256(os.fsencode(name)).hexdigest()}.part"


@contextmanager
def replacing(target: Path) -> Iterator[FileIO]:
    """A file for writing and reading that becomes `target`, mode 0600, when the block ends without an error; else nothing is left of it.

    The folder must be there. Raises OSError; BlockingIOError where another process or thread writes the same target now.
    """
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        staged = staged_name(target.name)
        fd = _locked(folder, staged)
        try:
            with open(fd, "w+b", buffering=0, closefd=False) as file:
                yield file
            os.fsync(fd)
            os.rename(staged, target.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except BaseException:
            _forget(folder, staged, fd)
            raise
        finally:
            os.close(fd)
    finally:
        os.close(folder)


def _locked(folder: int, name: str) -> int:
    """The empty dot file, ours alone."""
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is(folder, name, fd):  # it was renamed between our open and our lock
            raise BlockingIOError(errno.EAGAIN, "it is being written by another", name)
        os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is(folder: int, name: str, fd: int) -> bool:
    try:
        there, ours = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _forget(folder: int, name: str, fd: int) -> None:
    if _is(folder, name, fd):
        os.unlink(name, dir_fd=folder)


def write_all(file: FileIO, content: bytes) -> None:
    """Writes all of it: a system call may take less. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def remove(path: Path) -> bool:
    """Takes a file away, and its name from the disk; whether it was there. Raises OSError."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        os.unlink(path.name, dir_fd=folder)
        os.fsync(folder)
    except FileNotFoundError:
        return False
    finally:
        os.close(folder)
    return True


__all__ = ["remove", "replacing", "staged_name", "write_all"]

"""Files of a recording while it runs.

Each is a dot file in the folder where it will be, beside a plan that says what they are. The plan is locked: as long as the lock is held, its process lives, and no other
touches the files. How they get their names is in `sealing.py`, what becomes of those of a process that died in `recovery.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine._native import folder as native
from engine.media.errors import RecordingRefused
from engine.media.manifest import Channel

RECORDING_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
PLAN_SUFFIX: Final = ".recording"
HEAD: Final = ".manifests"
SPARE: Final = ".spare-"
SPARES_MIN: Final = 4  # whoever put one away may have it open still
_syncfs: Final = ctypes.CDLL(None, use_errno=True).syncfs
CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def check_id(recording_id: str) -> str:
    """The id, which becomes a name of files. Raises RecordingRefused for anything but letters, digits, - and _."""
    if not RECORDING_ID.fullmatch(recording_id):
        raise RecordingRefused("a recording's id has 1 to 100 letters, digits, - and _, and begins with a letter or a digit")
    return recording_id


class StagedFile(msgspec.Struct, frozen=True):
    """`name` is the final one where nothing has it yet, `staged` the one until then."""

    staged: str
    name: str
    format: str
    codec: str
    rate_hz: int
    channels: int
    tracks: tuple[int, ...] = ()


class Staged(msgspec.Struct, frozen=True):
    """The plan beside the files: all that is needed to finish them without whoever began them. Times are ISO 8601, UTC. `dropped` are staged files that others take the
    place of."""

    recording_id: str
    call_id: str
    start: str
    rate_hz: int
    files: tuple[StagedFile, ...]
    channels: tuple[Channel, ...]
    compress: bool = False
    keep_wav: bool = True
    dropped: tuple[str, ...] = ()

    @property
    def plan_name(self) -> str:
        """Of its file."""
        return f".{self.recording_id}{PLAN_SUFFIX}"

    @property
    def manifest_name(self) -> str:
        """Of the manifest until it is whole."""
        return f".{self.recording_id}.json.part"


class Folder:
    """A folder, held open: names are looked up in it and nowhere else, and no symbolic link is followed. At most `spares_max` empty files are kept for the next ones."""

    def __init__(self, path: Path, *, spares_max: int = 0) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._spares_max = spares_max
        self._spares: deque[str] = deque()
        self._numbers = itertools.count()
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def create(self, name: str) -> int:
        """A new file, open for reading and writing. Raises FileExistsError."""
        return os.open(name, CREATE, 0o600, dir_fd=self.fd)

    def spare(self) -> str:
        """The name of an empty file that a new one may be made of, whose name goes; "" for none."""
        if len(self._spares) > SPARES_MIN:
            with contextlib.suppress(IndexError):
                return self._spares.popleft()
        return ""

    def put_away(self, name: str) -> None:
        """Takes a name away, and keeps its file, empty, for another. File systems are slow to find a number for a new file where many were deleted a short while ago."""
        if len(self._spares) >= self._spares_max:
            self.unlink(name)
            return
        spare = f"{SPARE}{os.getpid()}-{next(self._numbers)}"
        with contextlib.suppress(FileNotFoundError):
            native.put_away(self.fd, name, spare)
            self._spares.append(spare)

    def append(self, name: str, content: bytes, *, is_new: bool = False) -> None:
        """Puts bytes at the end of a file, in one write; where it `is_new`, it is made."""
        native.append(self.fd, name, content, is_new=is_new, spare=self.spare() if is_new else "")

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """An existing one."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.fd)

    def link(self, staged: str, name: str) -> None:
        """Another name of a file. Raises FileExistsError unless that is its name already."""
        try:
            os.link(staged, name, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except FileExistsError:
            ours, other = (os.stat(each, dir_fd=self.fd, follow_symlinks=False) for each in (staged, name))
            if (ours.st_dev, ours.st_ino) != (other.st_dev, other.st_ino):
                raise

    def rename(self, name: str, other: str) -> None:
        """Another name, in the place of what had it."""
        os.rename(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Takes a name away, which may be gone already."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def write(self, name: str, content: bytes, *, sync: bool = True) -> None:
        """A new file of this content, on the disk where `sync` says so."""
        fd = self.create(name)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(content)
            if sync:
                os.fsync(fd)
        except BaseException:
            self.unlink(name)
            raise
        finally:
            os.close(fd)

    def replace(self, name: str, content: bytes, *, staged: str, sync: bool = True) -> None:
        """A file of this content in the place of what had its name: the old or the new one, whatever happens. It is written by the name `staged`, which a process that
        died may have left."""
        self.unlink(staged)
        self.write(staged, content, sync=sync)
        self.rename(staged, name)

    def read(self, name: str, most: int = 1 << 24) -> bytes:
        """What a file has, up to so many bytes."""
        with open(self.open(name), "rb") as file:
            return file.read(most)

    def sync(self) -> None:
        """Names are on the disk."""
        os.fsync(self.fd)

    def sync_volume(self) -> None:
        """All that was written to the volume that the folder is on lies on its disk. Raises OSError."""
        if _syncfs(self.fd):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def close(self) -> None:
        """Lets the folder go."""
        while self._spares:
            self.unlink(self._spares.popleft())
        os.close(self.fd)


def stage(folder: Folder, staged: Staged, files: Sequence[StagedFile]) -> tuple[int, list[int]]:
    """Makes the plan, locked, and those of its files that are written meanwhile: their descriptors. Raises RecordingRefused where such a recording runs already, OSError."""
    name = staged.plan_name
    try:
        plan_fd, *fds = native.stage(folder.fd, folder.spare(), f"{name}.new", name, msgspec.json.encode(staged), [file.staged for file in files])
    except FileExistsError as error:
        if error.filename != name:
            raise
        raise RecordingRefused(f"{staged.recording_id} is being recorded already, or waits to be recovered") from None
    return plan_fd, fds


def restage(plan_fd: int, staged: Staged) -> None:
    """Another plan in the place of one that is shorter; its lock stays."""
    os.pwrite(plan_fd, msgspec.json.encode(staged), 0)
    os.fsync(plan_fd)


def unstage(folder: Folder, staged: Staged) -> None:
    """Takes the dot files away; the plan last, which would find them again."""
    for file in staged.files:
        folder.unlink(file.staged)
        if staged.compress:
            folder.unlink(f"{file.staged}.flac")
    for name in (*staged.dropped, staged.manifest_name):
        folder.unlink(name)
    folder.put_away(staged.plan_name)

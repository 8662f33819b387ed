"""Files of a recording from their beginning to their final names.

While it runs, each is a dot file in the folder where it will be, beside a plan that says what they are. The plan is locked: as long as the
lock is held, its process lives, and no other touches the files. At the end each file is synced, linked to its name without writing over
another, and the folder is synced; then the manifest; then the dot files go. Whatever the moment, nothing is lost: what is linked stays, what
is not is found by its plan (`recovery.py`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.media import flac
from engine.media.errors import NotLossless, NotSealed, RecordingRefused
from engine.media.manifest import ChainHead, Channel, Manifest, RecordedFile, chain_head, encode

RECORDING_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
PLAN_SUFFIX: Final = ".recording"
NAMES_MAX: Final = 1000
HEAD: Final = ".manifests"
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
    """A folder, held open: names are looked up in it and nowhere else, and no symbolic link is followed."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def create(self, name: str) -> int:
        """A new file, open for reading and writing. Raises FileExistsError."""
        return os.open(name, CREATE, 0o600, dir_fd=self.fd)

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

    def unlink(self, name: str) -> None:
        """Takes a name away, which may be gone already."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def write(self, name: str, content: bytes) -> None:
        """A new file of this content, synced."""
        fd = self.create(name)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(fd)
        except BaseException:
            self.unlink(name)
            raise
        finally:
            os.close(fd)

    def read(self, name: str, most: int = 1 << 24) -> bytes:
        """What a file has, up to so many bytes."""
        with open(self.open(name), "rb") as file:
            return file.read(most)

    def sync(self) -> None:
        """Names are on the disk."""
        os.fsync(self.fd)

    def close(self) -> None:
        """Lets the folder go."""
        os.close(self.fd)


def stage(folder: Folder, staged: Staged) -> tuple[int, list[int]]:
    """Makes the plan, locked, and the empty files: their descriptors. Raises RecordingRefused where such a recording runs already, OSError."""
    fresh = f"{staged.plan_name}.new"
    folder.unlink(fresh)  # of a process that ended right here
    plan_fd, fds = folder.create(fresh), []
    try:
        fcntl.flock(plan_fd, fcntl.LOCK_EX)  # before it has the name that others look for
        os.write(plan_fd, msgspec.json.encode(staged))
        os.fsync(plan_fd)
        try:
            folder.link(fresh, staged.plan_name)
        except FileExistsError:
            raise RecordingRefused(f"{staged.recording_id} is being recorded already, or waits to be recovered") from None
    except BaseException:
        os.close(plan_fd)
        raise
    finally:
        folder.unlink(fresh)
    try:
        for file in staged.files:
            fds.append(folder.create(file.staged))
        folder.sync()
    except BaseException:
        unstage(folder, staged)
        for fd in (plan_fd, *fds):
            os.close(fd)
        raise
    return plan_fd, fds


def restage(plan_fd: int, staged: Staged) -> None:
    """Another plan in the place of one that is shorter; its lock stays."""
    os.pwrite(plan_fd, msgspec.json.encode(staged), 0)
    os.fsync(plan_fd)


def unstage(folder: Folder, staged: Staged) -> None:
    """Takes the dot files away; the plan last, which would find them again."""
    for file in staged.files:
        folder.unlink(file.staged)
        folder.unlink(f"{file.staged}.flac")
    for name in (*staged.dropped, staged.manifest_name, staged.plan_name):
        folder.unlink(name)


def sha256_of(fd: int) -> str:
    """Of a whole file; other threads run meanwhile."""
    with open(os.dup(fd), "rb", buffering=0) as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _described(fd: int, file: StagedFile) -> RecordedFile:
    """A file as the manifest has it, by its final name."""
    return RecordedFile(
        path=file.name, format=file.format, codec=file.codec, rate_hz=file.rate_hz, channels=file.channels, bytes=os.fstat(fd).st_size,
        sha256=sha256_of(fd), tracks=file.tracks,
    )  # fmt: skip


def _compressed(folder: Folder, file: StagedFile) -> StagedFile:
    """A FLAC file of a WAV file, checked and synced. Raises NotLossless, OSError."""
    made = msgspec.structs.replace(file, staged=f"{file.staged}.flac", name=f"{file.name.removesuffix('.wav')}.flac", format="flac", codec="flac")
    folder.unlink(made.staged)
    source, target = folder.open(file.staged), folder.create(made.staged)
    try:
        flac.compress(source, target)
        os.fsync(target)
    finally:
        os.close(source)
        os.close(target)
    return made


def _all_files(folder: Folder, staged: Staged, warnings: list[str]) -> Iterator[StagedFile]:
    """The files that will be kept."""
    for file in staged.files:
        if os.stat(file.staged, dir_fd=folder.fd, follow_symlinks=False).st_size == 0:
            warnings.append(f"{file.name}: nothing could be written to it")
            continue
        if not staged.compress or file.codec != "pcm16" or file.channels > flac.CHANNELS_MAX:
            yield file
            continue
        try:
            yield _compressed(folder, file)
        except (NotLossless, OSError) as error:
            warnings.append(f"{file.name}: stays uncompressed: {error}")
            yield file
            continue
        if staged.keep_wav:
            yield file


def _synced(folder: Folder, file: StagedFile, warnings: list[str]) -> RecordedFile:
    """A file that is on the disk, or said to be damaged: after a failed fsync the kernel may have dropped what it could not write."""
    fd = folder.open(file.staged)
    try:
        try:
            os.fsync(fd)
        except OSError as error:
            warnings.append(f"{file.name}: damaged, the disk could not keep it: {os.strerror(error.errno or errno.EIO)}")
        return _described(fd, file)
    finally:
        os.close(fd)


def _suffixed(name: str, turn: int) -> str:
    stem, dot, extension = name.rpartition(".")
    return name if turn == 1 else f"{stem}-{turn}{dot}{extension}"


def _link_all(folder: Folder, files: Sequence[StagedFile], manifest_name: str) -> int:
    """Gives all files their names, with one suffix for all where one is taken; which one."""
    for turn in range(1, NAMES_MAX):
        linked: list[str] = []
        try:
            if os.access(_suffixed(manifest_name, turn), os.F_OK, dir_fd=folder.fd, follow_symlinks=False):
                continue
            for file in files:
                name = _suffixed(file.name, turn)
                folder.link(file.staged, name)
                linked.append(name)
            return turn
        except FileExistsError:
            for name in linked:
                folder.unlink(name)
        except BaseException:
            for name in linked:
                folder.unlink(name)
            raise
    raise NotSealed(f"{NAMES_MAX} recordings have the name {manifest_name} already")


def _publish(folder: Folder, manifest: Manifest, staged: str, name: str) -> Manifest:
    """Writes the manifest, chained to the one before it in this folder."""
    head_fd = os.open(HEAD, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
    try:
        fcntl.flock(head_fd, fcntl.LOCK_EX)
        manifest = msgspec.structs.replace(manifest, prev_manifest_sha256=chain_head(os.pread(head_fd, 1 << 16, 0), folder.read))
        content = encode(manifest)
        folder.unlink(staged)
        folder.write(staged, content)
        head = msgspec.json.encode(ChainHead(before=manifest.prev_manifest_sha256, name=name, sha256=hashlib.sha256(content).hexdigest()))
        os.pwrite(head_fd, head, 0)
        os.ftruncate(head_fd, len(head))
        os.fsync(head_fd)
        folder.link(staged, name)
        folder.sync()
    finally:
        os.close(head_fd)
    return manifest


def seal(folder: Folder, staged: Staged, manifest: Manifest) -> Manifest:
    """Gives the files of a recording that is over their names, and the manifest beside them, which it returns. Raises NotSealed; then all is
    where it was, and can be sealed later."""
    warnings = list(manifest.warnings)
    try:
        files = list(_all_files(folder, staged, warnings))
        described = [_synced(folder, file, warnings) for file in files]
        turn = _link_all(folder, files, f"{staged.recording_id}.json")
        state = "partial" if len(warnings) > len(manifest.warnings) and manifest.state == "complete" else manifest.state
        described = [msgspec.structs.replace(each, path=_suffixed(each.path, turn)) for each in described]
        manifest = msgspec.structs.replace(manifest, files=tuple(described), warnings=tuple(warnings), state=state)
        manifest = _publish(folder, manifest, staged.manifest_name, _suffixed(f"{staged.recording_id}.json", turn))
    except OSError as error:
        raise NotSealed(f"{staged.recording_id} stays staged: {error.strerror or error}") from error
    unstage(folder, staged)
    return manifest

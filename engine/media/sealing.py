"""The end of recordings: their files get their names, and a manifest, which is chained to the one before it.

Each file is synced before it is linked to its name, without writing over another; names are synced before the staged ones go. Whatever the moment a process or a
machine dies, what is linked stays, and what is not is found by its plan (`recovery.py`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from engine.media import flac
from engine.media.errors import NotLossless, NotSealed
from engine.media.manifest import ChainHead, Manifest, RecordedFile, chain_head, encode
from engine.media.staging import HEAD, Folder, Staged, StagedFile, unstage

NAMES_MAX: Final = 1000
FSYNCS_MAX: Final = 8  # files that are synced one by one


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


def _kept(folder: Folder, file: StagedFile, warnings: list[str], *, sync: bool) -> RecordedFile:
    """A file as it is; with `sync` it is on the disk, or said to be damaged: after a failed fsync the kernel may have dropped what it could not write."""
    fd = folder.open(file.staged)
    try:
        try:
            if sync:
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


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """Other files of a recording. `files`: what comes behind its id in their names, and what is in them; `drafts` are names of files that these take the place of."""

    files: dict[str, bytes] = {}
    drafts: tuple[str, ...] = ()


class Sealing(msgspec.Struct, kw_only=True):
    """A recording that is to be sealed, with what will be `beside` it."""

    staged: Staged
    manifest: Manifest
    beside: Beside = Beside()


class _Work:
    """A sealing on its way."""

    def __init__(self, sealing: Sealing) -> None:
        self.staged, self.manifest, self.beside, self.drafts = sealing.staged, sealing.manifest, sealing.beside.files, sealing.beside.drafts
        self.files: list[StagedFile] = []
        self.name = ""
        self.content = b""
        self.error: NotSealed | None = None

    def failed(self, error: OSError) -> None:
        """It stays as it is."""
        self.error = NotSealed(f"{self.staged.recording_id} stays staged: {error.strerror or error}")

    def part_of(self, suffix: str) -> str:
        """The name of a file beside until it has its own."""
        return f".{self.staged.recording_id}{suffix}.part"


def _describe(folder: Folder, work: _Work, *, sync: bool) -> None:
    """Checksums of the files, which lie on the disk then where `sync` says so."""
    warnings = list(work.manifest.warnings)
    work.files = list(_all_files(folder, work.staged, warnings))
    described = [_kept(folder, file, warnings, sync=sync) for file in work.files]
    state = "partial" if len(warnings) > len(work.manifest.warnings) and work.manifest.state == "complete" else work.manifest.state
    work.manifest = msgspec.structs.replace(work.manifest, files=tuple(described), warnings=tuple(warnings), state=state)


def _name(folder: Folder, work: _Work) -> None:
    """Gives the files their names, and writes what will be beside them."""
    turn = _link_all(folder, work.files, f"{work.staged.recording_id}.json")
    work.name = _suffixed(f"{work.staged.recording_id}.json", turn)
    work.manifest = msgspec.structs.replace(
        work.manifest, files=tuple(msgspec.structs.replace(each, path=_suffixed(each.path, turn)) for each in work.manifest.files)
    )
    for suffix, content in work.beside.items():
        folder.unlink(work.part_of(suffix))
        folder.write(work.part_of(suffix), content, sync=False)


def _publish(folder: Folder, works: Sequence[_Work]) -> None:
    """Writes the manifests, each chained to the one before it in this folder; then they get their names."""
    head_fd = os.open(HEAD, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
    try:
        fcntl.flock(head_fd, fcntl.LOCK_EX)
        before = chain_head(os.pread(head_fd, 1 << 16, 0), folder.read)
        for work in works:
            work.manifest = msgspec.structs.replace(work.manifest, prev_manifest_sha256=before)
            work.content = encode(work.manifest)
            before = hashlib.sha256(work.content).hexdigest()
            folder.unlink(work.staged.manifest_name)
            folder.write(work.staged.manifest_name, work.content, sync=False)
        _sync(folder, [name for work in works for name in (work.staged.manifest_name, *map(work.part_of, work.beside))])
        for work in works:
            digest = hashlib.sha256(work.content).hexdigest()
            head = msgspec.json.encode(ChainHead(before=work.manifest.prev_manifest_sha256, name=work.name, sha256=digest))
            os.pwrite(head_fd, head, 0)
            os.ftruncate(head_fd, len(head))
            for suffix in work.beside:
                folder.rename(work.part_of(suffix), f"{work.name.removesuffix('.json')}{suffix}")
            folder.link(work.staged.manifest_name, work.name)
        os.fsync(head_fd)
        folder.sync()
    finally:
        os.close(head_fd)


def _sync(folder: Folder, names: Sequence[str]) -> None:
    """These files lie on the disk. Many at once are one request to it: the volume's, as each file by itself would be a commit of its journal. Raises OSError."""
    if len(names) > FSYNCS_MAX:
        with contextlib.suppress(OSError):  # which file it was is only told for each
            folder.sync_volume()
            return
    for name in names:
        fd = folder.open(name)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def seal_all(folder: Folder, sealings: Sequence[Sealing]) -> list[Manifest | NotSealed]:
    """Gives the files of recordings that are over their names, and each a manifest beside them: that, or why it is not sealed. Then all of it is where it was, and can
    be sealed later. What several recordings wait for the disk for, they wait for together."""
    works = [_Work(sealing) for sealing in sealings]
    together = sum(len(work.staged.files) for work in works) > FSYNCS_MAX
    if together:
        try:
            folder.sync_volume()
        except OSError:
            together = False  # which of the files it was, each of them tells
    for work in works:
        try:
            _describe(folder, work, sync=not together)
            _name(folder, work)
        except OSError as error:
            work.failed(error)
        except NotSealed as error:
            work.error = error
    standing = [work for work in works if work.error is None]
    try:
        if standing:
            _publish(folder, standing)
    except OSError as error:
        for work in standing:
            work.failed(error)
    for work in works:
        if work.error is None:
            unstage(folder, work.staged)
            for name in work.drafts:
                folder.put_away(name)
    return [work.error or work.manifest for work in works]


def seal(folder: Folder, staged: Staged, manifest: Manifest) -> Manifest:
    """The same for one. Raises NotSealed."""
    (done,) = seal_all(folder, [Sealing(staged=staged, manifest=manifest)])
    if isinstance(done, NotSealed):
        raise done
    return done


__all__ = ["Beside", "Sealing", "seal", "seal_all", "sha256_of"]

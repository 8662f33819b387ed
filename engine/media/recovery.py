"""Finishes recordings of processes that died: true headers, one length, missing merged files, names, and a manifest that says so.

Only files that a plan of ours names are touched, and only while nobody holds the plan's lock. Doing it again changes nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from engine.clock import iso
from engine.errors import EngineError
from engine.media.joining import frames_in, merge, pad
from engine.media.manifest import Manifest, problems
from engine.media.sealing import seal
from engine.media.staging import PLAN_SUFFIX, SPARE, Folder, Staged, unstage

PLAN_MAX_BYTES: Final = 1 << 20
DIED: Final = "the process that recorded this died; up to 250 ms of each leg may be missing at the end"


@dataclass(frozen=True)
class Recovered:
    """One plan that was found: what it became, or why nothing was done."""

    plan: str
    manifest: Manifest | None
    problem: str = ""


# ---- Ogg and pcap ----


def _crc(page: bytes | bytearray) -> int:
    """RFC 3533 section 6."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _sealed_page(page: bytes | bytearray) -> bytes:
    """The page with its checksum."""
    return bytes(page[:22]) + struct.pack("<I", _crc(page[:22] + bytes(4) + page[26:])) + bytes(page[26:])


def _whole_pages(fd: int) -> list[tuple[int, int]]:
    """Where each page of a file begins and how long it is; up to the first that is cut. The last one is sound."""
    pages: list[tuple[int, int]] = []
    at, size = 0, os.fstat(fd).st_size
    while len(head := os.pread(fd, 27 + 255, at)) >= 27 and head[:5] == b"OggS\0" and len(head) >= 27 + head[26]:
        length = 27 + head[26] + sum(head[27 : 27 + head[26]])
        if at + length > size:
            break
        pages.append((at, length))
        at += length
    while pages and _sealed_page(page := os.pread(fd, pages[-1][1], pages[-1][0])) != page:
        pages.pop()
    return pages


def _end_ogg(fd: int) -> int:
    """Cuts what is no whole page at the end, and marks the last one; samples at 48 kHz up to there."""
    pages = _whole_pages(fd)
    if len(pages) < 2:  # not even both headers: there is nothing to play
        os.ftruncate(fd, 0)
        return 0
    begin, length = pages[-1]
    os.ftruncate(fd, begin + length)
    page = bytearray(os.pread(fd, length, begin))
    samples = max(int(struct.unpack("<q", page[6:14])[0]), 0)
    if len(pages) == 2:  # players want a packet: the shortest of silence
        begin += length
        page = bytearray(b"OggS\0\0" + struct.pack("<qIII", 120, int.from_bytes(page[14:18], "little"), 2, 0) + b"\1\3\xe0\xff\xfe")
    page[5] |= 4
    os.pwrite(fd, _sealed_page(page), begin)
    return samples


def _end_pcap(fd: int) -> None:
    """Cuts what is no whole record at the end."""
    at, size = 24, os.fstat(fd).st_size
    while len(head := os.pread(fd, 16, at)) == 16 and at + 16 + (length := int(struct.unpack("<I", head[8:12])[0])) <= size:
        at += 16 + length
    os.ftruncate(fd, at if size >= 24 else 0)


# ---- a recording ----


def _repair_wavs(folder: Folder, staged: Staged, opened: dict[str, int], samples: int) -> int:
    """All WAV files of one length, the merged one made anew where it has less than its legs; that length."""
    wavs = [file for file in staged.files if file.format == "wav"]
    legs = {file.tracks[0]: file for file in wavs if file.channels == 1 and file.name != f"{staged.recording_id}.wav"}
    longest = max([samples, *(frames_in(opened[file.staged], file) for file in wavs)])
    for file in sorted(wavs, key=lambda each: each not in legs.values()):  # legs first
        if file not in legs.values() and frames_in(opened[file.staged], file) < longest and all(track in legs for track in file.tracks):
            merge(folder, file, legs, opened[file.staged], longest)
        pad(opened[file.staged], file, longest)
    return longest


def repair(folder: Folder, staged: Staged) -> int:
    """Makes the files of a plan true; the recording's length in samples. Raises OSError."""
    opened: dict[str, int] = {}
    try:
        for file in staged.files:
            try:
                opened[file.staged] = folder.open(file.staged, os.O_RDWR)
            except FileNotFoundError:
                opened[file.staged] = folder.create(file.staged)
        times = {name: os.fstat(fd) for name, fd in opened.items()}
        samples = 0
        for file in staged.files:
            if file.format == "ogg":
                samples = max(samples, _end_ogg(opened[file.staged]) * staged.rate_hz // 48_000)
            elif file.format == "pcap":
                _end_pcap(opened[file.staged])
        samples = _repair_wavs(folder, staged, opened, samples)
        for name, fd in opened.items():
            os.utime(fd, ns=(times[name].st_atime_ns, times[name].st_mtime_ns))
        return samples
    finally:
        for fd in opened.values():
            os.close(fd)


def _is_sealed(folder: Folder, names: list[str], staged: Staged) -> bool:
    """Whether its manifest was written: only the dot files were left over."""
    ours = re.compile(re.escape(staged.recording_id) + r"(-\d+)?\.json")
    for name in names:
        if ours.fullmatch(name):
            try:
                manifest = msgspec.json.decode(folder.read(name), type=Manifest)
            except (OSError, msgspec.MsgspecError):
                continue
            if (manifest.recording_id, manifest.start) == (staged.recording_id, staged.start):
                return not problems(folder.path / name)
    return False


def _is_named(folder: Folder, name: str, fd: int) -> bool:
    """Whether a file still has its name: it may be gone, or be another's by now."""
    try:
        there = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (os.fstat(fd).st_dev, os.fstat(fd).st_ino)


def _tidy(folder: Folder, names: list[str]) -> None:
    """Takes the spare files of dead processes away."""
    for name in names:
        if name.startswith(SPARE) and not os.path.exists(f"/proc/{name[len(SPARE):].partition('-')[0]}"):
            folder.unlink(name)


def _recover(folder: Folder, names_there: list[str], plan: str, plan_fd: int) -> Recovered:
    staged = msgspec.json.decode(os.pread(plan_fd, PLAN_MAX_BYTES, 0), type=Staged)
    names = [staged.plan_name, *staged.dropped, *(each for file in staged.files for each in (file.staged, file.name))]
    if plan != staged.plan_name or any(os.path.basename(name) != name for name in names):
        return Recovered(plan, None, "its names are not those of this folder")
    if _is_sealed(folder, names_there, staged):
        unstage(folder, staged)
        return Recovered(plan, None, "it was sealed already")
    samples = repair(folder, staged)
    duration_ms = round(samples * 1000 / staged.rate_hz)
    end = iso(datetime.fromisoformat(staged.start).timestamp() + duration_ms / 1000)
    manifest = Manifest(
        recording_id=staged.recording_id, call_id=staged.call_id, start=staged.start, end=end, duration_ms=duration_ms, state="recovered",
        channels=staged.channels, warnings=(DIED,),
    )  # fmt: skip
    return Recovered(plan, seal(folder, staged, manifest))


def recover(folder: Folder, on_found: Callable[[Recovered], None] = lambda _: None) -> list[Recovered]:
    """Finishes every recording in a folder whose process is dead. One that cannot be does not keep the others; it is tried again the next time."""
    done, names = [], os.listdir(folder.fd)
    _tidy(folder, names)
    for plan in sorted(name for name in names if name.startswith(".") and name.endswith(PLAN_SUFFIX)):
        try:
            plan_fd = folder.open(plan, os.O_RDWR)
        except OSError:
            continue
        try:
            try:
                fcntl.flock(plan_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its process lives
            if not _is_named(folder, plan, plan_fd):
                continue  # sealed meanwhile
            try:
                found = _recover(folder, names, plan, plan_fd)
            except (OSError, EngineError, msgspec.MsgspecError, ValueError, KeyError) as error:
                found = Recovered(plan, None, str(error))
        finally:
            os.close(plan_fd)
        done.append(found)
        on_found(found)
    return done

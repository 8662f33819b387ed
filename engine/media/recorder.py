"""Recordings of calls: files are made here and given to the native writer; what comes back when they are over is sealed, with a manifest.

Nothing here happens per packet. What waits for the disk runs in a small pool of threads; the event loop hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from engine._native import writer as native
from engine.clock import iso
from engine.media.disk_threads import DiskThreads
from engine.media.errors import NotSealed, RecordingFull, RecordingRefused
from engine.media.joining import WAV_FORMATS, merge, pad
from engine.media.manifest import Channel, Interval, Manifest, State
from engine.media.sealing import Beside, Sealing, seal_all
from engine.media.staging import Folder, Staged, StagedFile, check_id, restage, stage, unstage

Kind = Literal["pcm16", "ulaw", "alaw", "opus"]
FULL: Final = {errno.ENOSPC, errno.EDQUOT}
THREADS: Final = 2
SEALED_AT_ONCE: Final = 64
SEALS_APART_S: Final = 0.1  # so that those which end in between share what the disk is waited for
SPARES_MAX: Final = 256
BEHIND_S: Final = 3.0  # it is told once a second
T = TypeVar("T")
log = logging.getLogger("trunkline.recorder")


class Leg(msgspec.Struct, frozen=True):
    """A party: its track is its place in the plan."""

    label: str = ""
    name: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to record. `kind` is what the media plane gives of every leg: samples, G.711 bytes as they came, or Opus packets as they came (each leg
    a file, none merged). `flac` makes FLAC of 16-bit WAV at the end, and takes the WAV away unless `keep_wav`."""

    legs: tuple[Leg, ...]
    call_id: str = ""
    rate_hz: int = 8000
    kind: Kind = "pcm16"
    per_leg: bool = True
    merged: bool = True
    capture: bool = False
    flac: bool = False
    keep_wav: bool = False


def files_of(recording_id: str, plan: Plan) -> list[StagedFile]:
    """The files of a plan: each leg, all of them together, the capture. Raises RecordingRefused."""
    tracks = tuple(range(len(plan.legs)))
    if len(tracks) > native.TRACKS_MAX or not 1 <= plan.rate_hz <= 384_000:
        raise RecordingRefused(f"{len(tracks)} legs at {plan.rate_hz} Hz; {native.TRACKS_MAX} are the most, and 384,000 Hz")
    if plan.kind == "opus" and plan.merged:
        raise RecordingRefused("Opus packets of several legs do not make one file")
    container, extension = ("ogg", "opus") if plan.kind == "opus" else ("wav", "wav")
    rate_hz = 48_000 if plan.kind == "opus" else plan.rate_hz
    named: list[tuple[str, tuple[int, ...]]] = []
    if plan.per_leg:
        named += [(f"{recording_id}-leg{track}.{extension}", (track,)) for track in tracks]
    if plan.merged and tracks:
        named.append((f"{recording_id}.{extension}", tracks))
    files = [StagedFile(f".{name}.part", name, container, plan.kind, rate_hz, len(of), of) for name, of in named]
    if plan.capture:
        files.append(StagedFile(f".{recording_id}.pcap.part", f"{recording_id}.pcap", "pcap", "ethernet", 0, 0))
    if not files:
        raise RecordingRefused("there is nothing to record")
    return files


def extended(staged: Staged, leg: Leg) -> Staged:
    """The plan with another leg. A merged file of WAV legs becomes one of all legs, under another name until it is made. Raises RecordingRefused."""
    track = len(staged.channels)
    model = next((file for file in staged.files if file.channels == 1 and file.tracks == (0,)), None)
    if model is None or track >= native.TRACKS_MAX:
        raise RecordingRefused(f"a recording of {track} legs without files of their own, or as many as there may be, takes no other")
    extension = model.name.rpartition(".")[2]
    name = f"{staged.recording_id}-leg{track}.{extension}"
    files = [file for file in staged.files if file.channels <= 1]
    files.append(msgspec.structs.replace(model, staged=f".{name}.part", name=name, tracks=(track,)))
    dropped = list(staged.dropped)
    for merged in [file for file in staged.files if file.name == f"{staged.recording_id}.{extension}"]:
        if merged in files:
            files.remove(merged)
        dropped.append(merged.staged)
        files.append(msgspec.structs.replace(merged, staged=f".{staged.recording_id}.of{track + 1}.part", channels=track + 1, tracks=tuple(range(track + 1))))
    channels = (*staged.channels, Channel(track, leg.label, leg.name))
    return msgspec.structs.replace(staged, files=tuple(files), channels=channels, dropped=tuple(dropped))


def output_of(file: StagedFile, fd: int) -> native.Output:
    """A file as the writer wants it."""
    if file.format == "pcap":
        return native.Output(fd, native.PCAP)
    if file.format == "ogg":
        return native.Output(fd, native.OGG_OPUS, file.tracks, serial=secrets.randbits(32))
    return native.Output(fd, WAV_FORMATS[file.codec], file.tracks)


def made_late(staged: Staged) -> StagedFile | None:
    """The file of all legs where each leg has one too: it is made of them in the end, instead of writing all that is said twice while it is said."""
    legs = [file for file in staged.files if file.format == "wav" and file.name != f"{staged.recording_id}.wav"]
    return next((file for file in staged.files if file.format == "wav" and file not in legs), None) if legs else None


class Recording:
    """A recording that runs. `number` is what the media plane writes to; track k is leg k of the plan."""

    def __init__(self, recorder: Recorder, staged: Staged, plan_fd: int, outputs: Sequence[StagedFile], fds: list[int], number: int, start_s: float) -> None:
        self.staged, self.number, self.start_s = staged, number, start_s
        self._recorder, self._plan_fd, self._fds = recorder, plan_fd, fds
        self._outputs = list(outputs)  # of the writer, by their numbers
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._sealed: asyncio.Task[Manifest] | None = None
        self._intervals: list[Interval] = []
        self._warnings: list[str] = []
        self._failed: dict[int, tuple[int, int]] = {}  # file -> (since ms, errno)

    def close(self) -> None:
        """Ends it, after what was given until now, where the media plane does not."""
        self._recorder.writer.close(self.number)

    async def extend(self, leg: Leg) -> int:
        """A leg that joins while it runs: its track, silent until now. The merged file is made anew of all legs in the end. Raises RecordingRefused where there is no room
        for another, OSError."""
        staged = extended(self.staged, leg)
        file = next(each for each in staged.files if each not in self.staged.files and each.channels == 1)
        fd = await self._recorder.in_thread(lambda: self._recorder.folder.create(file.staged))
        self._fds.append(fd)
        self._recorder.writer.add(self.number, output_of(file, fd))
        self._outputs.append(file)
        self.staged = staged
        await self._recorder.in_thread(lambda: restage(self._plan_fd, staged))
        return len(staged.channels) - 1

    async def finish(
        self, *, channels: Iterable[Channel] | None = None, intervals: Iterable[Interval] = (), warnings: Iterable[str] = (), notes: Iterable[str] = (),
        beside: Beside | None = None,
    ) -> Manifest:
        """Waits until its end is written, gives the files their names and writes the manifest. `channels` replaces what the plan says of them, by
        what was heard. `warnings` say what is missing; `notes` are warnings of a recording that is whole; `beside` what is sealed with it. Raises
        NotSealed. Asked again, it answers the same."""
        if self._sealed is None:
            self._sealed = asyncio.create_task(self._seal(channels, list(intervals), list(warnings), tuple(notes), beside or Beside()))
        return await asyncio.shield(self._sealed)

    async def discard(self) -> None:
        """It is not wanted after all: nothing of it stays."""
        self.close()
        await self._over
        self._recorder.writer.release(self.number)
        await self._recorder.in_thread(lambda: unstage(self._recorder.folder, self.staged))
        self._let_go()

    def _let_go(self) -> None:
        self._recorder.forget(self)
        for fd in (*self._fds, self._plan_fd):  # the lock goes with the plan: what could not be sealed may be recovered
            os.close(fd)

    async def _seal(self, channels: Iterable[Channel] | None, intervals: list[Interval], warnings: list[str], notes: tuple[str, ...], beside: Beside) -> Manifest:
        samples = await self._over
        results = self._recorder.writer.results(self.number)
        self._recorder.writer.release(self.number)
        duration_ms = round(samples * 1000 / self.staged.rate_hz)
        for output, (since_ms, error) in self._failed.items():
            self._gap(output, since_ms, max(duration_ms, since_ms), error)
        warnings += self._warnings + [text for file, result in zip(self._outputs, results, strict=False) for text in missing(file, result)]
        state: State = "partial" if warnings or not samples else "complete"
        if not samples:
            warnings.append("no sound came")
        manifest = Manifest(
            recording_id=self.staged.recording_id, call_id=self.staged.call_id, start=iso(self.start_s), end=iso(self.start_s + duration_ms / 1000),
            duration_ms=duration_ms, state=state, channels=self.staged.channels if channels is None else tuple(channels),
            intervals=tuple(sorted([*intervals, *self._intervals], key=lambda each: (each.start_ms, each.end_ms))), warnings=(*warnings, *notes),
        )  # fmt: skip
        try:
            return await self._recorder.seal(Sealing(staged=self.staged, manifest=manifest, beside=beside), lambda sealing: self._merge_late(sealing, samples))
        finally:
            self._let_go()

    def _merge_late(self, sealing: Sealing, frames: int) -> None:
        """The file of all legs. Where the disk does not take it, the legs are what there is."""
        folder, merged = self._recorder.folder, made_late(self.staged)
        if merged is None:
            return
        legs = {file.tracks[0]: file for file in self.staged.files if file.channels == 1 and file is not merged}
        try:
            folder.unlink(merged.staged)  # of a seal that failed
            fd = folder.create(merged.staged)
            try:
                merge(folder, merged, legs, fd, frames)
                pad(fd, merged, frames)
            finally:
                os.close(fd)
        except OSError as error:
            files = tuple(file for file in self.staged.files if file is not merged)
            warning = f"{merged.name}: could not be made of the legs: {os.strerror(error.errno or errno.EIO)}"
            self.staged = sealing.staged = msgspec.structs.replace(self.staged, files=files, dropped=(*self.staged.dropped, merged.staged))
            sealing.manifest = msgspec.structs.replace(sealing.manifest, state="partial", warnings=(*sealing.manifest.warnings, warning))

    def told(self, event: native.Event, now_s: float) -> str:
        """Takes note of an event; what there is to say of it, or nothing."""
        now_ms = max(round((now_s - self.start_s) * 1000), 0)
        if event.kind == native.FINISHED:
            if not self._over.done():
                self._over.set_result(event.value)
            return ""
        if event.kind == native.FAILED:
            self._failed[event.output] = now_ms, event.error
            what = "the disk is full" if event.error in FULL else os.strerror(event.error)
            return f"{self._outputs[event.output].name} cannot be written: {what}"
        since_ms, error = self._failed.pop(event.output, (now_ms, event.error))
        self._gap(event.output, since_ms, now_ms, error)
        return f"{self._outputs[event.output].name} is written again after {now_ms - since_ms} ms"

    def _gap(self, output: int, start_ms: int, end_ms: int, error: int) -> None:
        reason = f"{self._outputs[output].name}: {os.strerror(error)}"
        self._intervals.append(Interval(type="gap", start_ms=start_ms, end_ms=end_ms, reason=reason, actor="disk"))


def missing(file: StagedFile, result: native.Result) -> list[str]:
    """What a file lacks."""
    rate_hz = file.rate_hz
    found = []
    if result.failures:
        lost = f"{result.lost} packets" if not rate_hz else f"{round(result.lost * 1000 / rate_hz)} ms"
        found.append(f"{file.name}: {lost} lost, the disk said {os.strerror(result.error)}")
    if result.late and rate_hz:
        found.append(f"{file.name}: {round(result.late * 1000 / rate_hz)} ms came too late")
    return found


_Waiting = tuple[Sealing, Callable[[Sealing], None], "asyncio.Future[Manifest | NotSealed]"]


def _seal_batch(folder: Folder, batch: Sequence[_Waiting]) -> list[Manifest | NotSealed]:
    for sealing, prepare, _ in batch:
        prepare(sealing)
    return seal_all(folder, [sealing for sealing, _, _ in batch])


class Recorder:
    """Recordings of one worker, in one folder. `on_fault` hears, in the event loop, what goes wrong with one of them (None: with all); `clock` is
    wall time in seconds. Made and closed in a running event loop."""

    def __init__(
        self, folder: Path, writer: native.Writer, *, clock: Callable[[], float] = time.time, on_fault: Callable[[Recording | None, str], None] | None = None
    ) -> None:
        self.writer, self.folder = writer, Folder(folder, spares_max=SPARES_MAX)
        self._clock, self._on_fault = clock, on_fault
        self._running: dict[int, Recording] = {}
        self._behind_at = self._sealed_at = float("-inf")
        self._waiting: list[_Waiting] = []
        self._sealer: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._threads = DiskThreads(THREADS, "recorder")
        self._loop.add_reader(writer.event_fd, self._told)

    def behind(self) -> None:
        """Something found no room on its way to the disk."""
        self._behind_at = self._loop.time()

    @property
    def is_behind(self) -> bool:
        """Whether the disk takes less than what is given, or did a moment ago."""
        return self._loop.time() - self._behind_at < BEHIND_S

    @property
    def running(self) -> int:
        """Recordings that are not sealed yet."""
        return len(self._running)

    async def start(self, recording_id: str, plan: Plan) -> Recording:
        """Begins a recording: its files are there when this returns. Raises RecordingRefused, RecordingFull, OSError."""
        files, start_s = files_of(check_id(recording_id), plan), self._clock()
        channels = tuple(Channel(index, leg.label, leg.name) for index, leg in enumerate(plan.legs))
        staged = Staged(recording_id, plan.call_id, iso(start_s), plan.rate_hz, tuple(files), channels, plan.flac, plan.keep_wav)
        late = made_late(staged)
        outputs = [file for file in files if file is not late]
        plan_fd, fds = await self.in_thread(lambda: stage(self.folder, staged, outputs))
        try:
            number = self.writer.open(plan.rate_hz, [output_of(file, fd) for file, fd in zip(outputs, fds, strict=True)])
        except BaseException as error:
            await self.in_thread(lambda: unstage(self.folder, staged))
            for fd in (*fds, plan_fd):
                os.close(fd)
            if isinstance(error, BlockingIOError):
                raise RecordingFull(f"{self.running} recordings run, more are not possible") from error
            raise
        recording = Recording(self, staged, plan_fd, outputs, fds, number, start_s)
        self._running[number] = recording
        return recording

    def _told(self) -> None:
        now_s = self._clock()
        for event in self.writer.events():
            if event.kind == native.BEHIND:
                self.behind()
                self._fault(None, f"the disk is behind: {event.value} pieces found no room so far")
            elif (recording := self._running.get(event.recording)) and (text := recording.told(event, now_s)):
                self._fault(recording, text)

    def _fault(self, recording: Recording | None, text: str) -> None:
        log.warning("%s", text)
        if self._on_fault:
            self._on_fault(recording, text)

    async def seal(self, sealing: Sealing, prepare: Callable[[Sealing], None]) -> Manifest:
        """Seals a recording, with all others that wait for it. `prepare` comes before, where the disk may be waited for; it raises nothing. Raises NotSealed."""
        done: asyncio.Future[Manifest | NotSealed] = self._loop.create_future()
        self._waiting.append((sealing, prepare, done))
        if self._sealer is None or self._sealer.done():
            self._sealer = self._loop.create_task(self._seal_waiting())
        sealed = await done
        if isinstance(sealed, NotSealed):
            raise sealed
        return sealed

    async def _seal_waiting(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._sealed_at + SEALS_APART_S - self._loop.time())  # one that comes alone does not wait
            self._sealed_at = self._loop.time()
            batch, self._waiting = self._waiting[:SEALED_AT_ONCE], self._waiting[SEALED_AT_ONCE:]
            try:
                found = await self.in_thread(lambda batch=batch: _seal_batch(self.folder, batch))  # type: ignore[misc]
            except BaseException as error:
                for _, _, done in batch:
                    done.set_exception(error)
                raise
            for (_, _, done), sealed in zip(batch, found, strict=True):
                done.set_result(sealed)

    def forget(self, recording: Recording) -> None:
        """It is sealed, or cannot be."""
        self._running.pop(recording.number, None)

    def in_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Runs what waits for the disk."""
        return self._threads.run(function)

    async def close(self) -> None:
        """Ends and seals every recording that runs, and lets the folder go. The writer's thread must still run."""
        running = list(self._running.values())
        for recording in running:
            with contextlib.suppress(OSError):  # over already
                recording.close()
        await asyncio.gather(*(each.finish(warnings=["the engine was stopped while it recorded"]) for each in running), return_exceptions=True)
        self._loop.remove_reader(self.writer.event_fd)
        self._threads.close()
        self.folder.close()

"""What was said in a recorded call, kept for its record.

While a call goes on its final texts are lines of JSON in `.<recording_id>.transcript.part`, beside the recording: no memory grows with the length of a call, and a process
that dies leaves what was said. At the end they become `<name of the manifest>.transcript.json`, as a whole. A thread of its own writes: a slow disk delays nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from engine.analytics.speakers import Key, Speaker
from engine.media.errors import RecordingRefused
from engine.media.staging import check_id
from engine.recordings.replacing import remove, replacing
from engine.siprec.events import Transcript, Word

SUFFIX: Final = ".transcript.json"
PART_SUFFIX: Final = ".transcript.part"
WAITING_MAX_BYTES: Final = 64 << 20
PART_MAX_BYTES: Final = 64 << 20
HEAD_MAX_BYTES: Final = 1 << 16

log = logging.getLogger("trunkline.analytics")


class Segment(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One utterance. Times are seconds from the beginning of the recording; `speaker` is as in everything that was told of the call."""

    start: float
    end: float
    channel: int
    speaker: str
    text: str
    participant_id: str = ""
    name: str = ""
    role: str = ""
    confidence: float | None = None
    language: str = ""
    provider: str = ""
    words: tuple[Word, ...] = ()


class TranscriptDocument(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The document. `language` is that of most of it, `providers` are who recognised it; `analytics` is the last snapshot, None where there was none."""

    transcript_version: int = 1
    call_id: str
    recording_id: str
    language: str = ""
    providers: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    analytics: dict[str, Any] | None = None

    @property
    def duration_ms(self) -> int:
        """Until the last word."""
        return round(1000 * max((segment.end for segment in self.segments), default=0.0))


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """An utterance as it is kept meanwhile: with whose voice it was, since names may come later."""

    key: Key
    segment: Segment


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    call_id: str
    recording_id: str


_LINE: Final = msgspec.json.Decoder(Line)
_HEAD: Final = msgspec.json.Decoder(Head)


def part_name(recording_id: str) -> str:
    """Of the file while the call goes on. Raises RecordingRefused for an id that is no name."""
    return f".{check_id(recording_id)}{PART_SUFFIX}"


def text_of(document: TranscriptDocument) -> str:
    """All that was said, a line an utterance."""
    return "\n".join(f"{segment.speaker}: {segment.text}" for segment in document.segments)


def segment_of(transcript: Transcript, speaker: Speaker) -> Segment:
    """An utterance of somebody."""
    return Segment(
        start=transcript.start_time, end=transcript.end_time, channel=transcript.channel, speaker=speaker.label, text=transcript.text,
        participant_id=speaker.id, name=speaker.name, role=speaker.role, confidence=transcript.confidence, language=transcript.language,
        provider=transcript.provider, words=transcript.words,
    )  # fmt: skip


def _renamed(line: Line, names: Mapping[Key, Speaker]) -> Segment:
    speaker = names.get(line.key)
    if speaker is None:
        return line.segment
    return msgspec.structs.replace(line.segment, speaker=speaker.label, participant_id=speaker.id, name=speaker.name, role=speaker.role)


def _write_all(fd: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]


def _most_frequent(values: list[str]) -> str:
    return max(sorted(set(values)), key=values.count, default="")


class TranscriptFiles:
    """The files of one folder. Belongs to an event loop, but for the methods with an underscore, which run in its thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lost = 0
        self.problem = ""
        self._waiting: dict[Head, list[bytes]] = {}
        self._waiting_bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transcripts")
        self._writing: asyncio.Future[None] | None = None

    def keep(self, call_id: str, recording_id: str, line: Line) -> None:
        """One more utterance. It is lost, and counted, where more than WAITING_MAX_BYTES wait for the disk."""
        content = msgspec.json.encode(line) + b"\n"
        if self._waiting_bytes + len(content) > WAITING_MAX_BYTES:
            self.lost += 1
            return
        self._waiting.setdefault(Head(call_id=call_id, recording_id=recording_id), []).append(content)
        self._waiting_bytes += len(content)

    def flush(self) -> asyncio.Future[None]:
        """Has what waits written, after what is being written; done when it is on its way to the disk, or waits again because that failed."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._flush())
        return self._writing

    async def _flush(self) -> None:
        while self._waiting:
            lines, self._waiting, self._waiting_bytes = self._waiting, {}, 0
            left = await self._in_thread(self._write, lines)
            if left:
                for head, content in left.items():
                    self._waiting[head] = content + self._waiting.get(head, [])
                self._waiting_bytes = sum(len(line) for content in self._waiting.values() for line in content)
                return

    async def finish(self, recording_id: str, manifest: str, names: Mapping[Key, Speaker], analytics: dict[str, Any] | None) -> str:
        """Makes the file of a recording that is over; its name, "" where nothing was heard. Raises OSError, and RecordingRefused for what is no name."""
        part, name = part_name(recording_id), f"{check_id(manifest.removesuffix('.json'))}{SUFFIX}"
        await self.flush()
        if any(head.recording_id == recording_id for head in self._waiting):
            raise OSError(f"the transcript cannot be written: {self.problem}")
        made: str = await self._in_thread(self._finish, part, name, dict(names), analytics)
        return made

    async def erase(self, call_ids: Collection[str]) -> list[str]:
        """Takes away what is kept of these calls; the names of files that stay."""
        await self.flush()
        for head in [head for head in self._waiting if head.call_id in call_ids]:
            self._waiting_bytes -= sum(map(len, self._waiting.pop(head)))
        left: list[str] = await self._in_thread(self._erase, frozenset(call_ids))
        return left

    async def close(self) -> None:
        """Writes what waits, and ends the thread."""
        await self.flush()
        await asyncio.to_thread(self._thread.shutdown)

    async def _in_thread(self, work: Any, *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    # ---- in the thread ----

    def _write(self, lines: dict[Head, list[bytes]]) -> dict[Head, list[bytes]]:
        """Puts lines into their files; those that could not be written."""
        left: dict[Head, list[bytes]] = {}
        for head, content in lines.items():
            try:
                self._append(head, b"".join(content))
            except RecordingRefused:
                self.lost += len(content)
            except OSError as error:
                left[head] = content
                self._trouble(error.strerror or str(error))
        if not left:
            self.problem = ""
        return left

    def _trouble(self, text: str) -> None:
        if not self.problem:
            log.warning("transcripts cannot be written: %s", text)
        self.problem = text

    def _append(self, head: Head, content: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self.folder / part_name(head.recording_id), flags, 0o600), "r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size + len(content) > PART_MAX_BYTES:
                self.lost += content.count(b"\n")
                return
            try:
                # an empty line ends one that the end of a process cut short
                _write_all(file.fileno(), (b"\n" if size else msgspec.json.encode(head) + b"\n") + content)
            except OSError:
                os.ftruncate(file.fileno(), size)  # it will be written again, as a whole
                raise

    def _opened(self, part: str) -> BinaryIO:
        return open(os.open(self.folder / part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")

    def _lines(self, part: str) -> tuple[Head | None, list[Line]]:
        """What a part has; lines that were cut are left out."""
        head, lines = None, []
        with self._opened(part) as file:
            for content in file:
                with contextlib.suppress(msgspec.MsgspecError):
                    if head is None:
                        head = _HEAD.decode(content)
                    else:
                        lines.append(_LINE.decode(content))
        return head, lines

    def _finish(self, part: str, name: str, names: dict[Key, Speaker], analytics: dict[str, Any] | None) -> str:
        try:
            head, lines = self._lines(part)
        except FileNotFoundError:
            return name if (self.folder / name).exists() else ""
        if head is None or not lines:
            remove(self.folder / part)
            return ""
        segments = sorted((_renamed(line, names) for line in lines), key=lambda segment: (segment.start, segment.end, segment.channel))
        document = TranscriptDocument(
            call_id=head.call_id,
            recording_id=head.recording_id,
            language=_most_frequent([segment.language for segment in segments if segment.language]),
            providers=tuple(sorted({segment.provider for segment in segments if segment.provider})),
            segments=tuple(segments),
            analytics=analytics,
        )
        with replacing(self.folder / name) as file:
            _write_all(file.fileno(), msgspec.json.encode(document))
        remove(self.folder / part)
        return name

    def _erase(self, call_ids: frozenset[str]) -> list[str]:
        left = []
        for path in self.folder.glob(f".*{PART_SUFFIX}"):
            try:
                with self._opened(path.name) as file:
                    head = _HEAD.decode(file.readline(HEAD_MAX_BYTES))
                if head.call_id in call_ids:
                    remove(path)
            except (FileNotFoundError, msgspec.MsgspecError):
                continue
            except OSError:
                left.append(path.name)
        return left


__all__ = ["PART_SUFFIX", "SUFFIX", "Line", "Segment", "TranscriptDocument", "TranscriptFiles", "part_name", "segment_of", "text_of"]

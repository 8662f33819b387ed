"""The document beside a recording: kept up while the session goes on, so that it survives the process, and given its name at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from engine.media.sealing import Beside
from engine.media.staging import Folder
from engine.siprec.document import PART_SUFFIX, SUFFIX, Body, SessionDocument

BODIES_MAX: Final = 512
BYTES_MAX: Final = 8 << 20
DRAFTS_MAX: Final = 16  # in one file, before it is begun anew
_INLINE_KEY: Final = re.compile(rb"(inline:)[^\s|;]+")  # RFC 4568 6.1
log = logging.getLogger("trunkline.siprec")


class Bodies:
    """Every body that came or went, as it was; of too many the first and the latest."""

    def __init__(self) -> None:
        self._kept: list[Body] = []
        self._bytes = 0
        self.dropped = 0

    def add(self, at: float, direction: Literal["in", "out"], method: str, content_type: str, content: bytes, status: int = 0) -> None:
        """Keeps one; keys of media are left out, since with them the media could be read."""
        if b"inline:" in content:
            content = _INLINE_KEY.sub(rb"\1[REDACTED]", content)
        while self._kept and (len(self._kept) >= BODIES_MAX or self._bytes + len(content) > BYTES_MAX):
            gone = self._kept.pop(min(1, len(self._kept) - 1))
            self._bytes -= len(gone.content)
            self.dropped += 1
        self._kept.append(Body(at=at, direction=direction, method=method, content_type=content_type, content=content.decode("latin-1"), status=status))
        self._bytes += len(content)

    def all(self) -> tuple[Body, ...]:
        """In the order in which they came."""
        return tuple(self._kept)


def _draft(folder: Folder, recording_id: str, content: bytes, number: int) -> None:
    """The document of a session that goes on: a line behind the ones before, of which the last whole one holds. Raises OSError."""
    name = f".{recording_id}{PART_SUFFIX}"
    if number and number % DRAFTS_MAX == 0:
        folder.replace(name, content + b"\n", staged=f"{name}.new", sync=False)
        return
    folder.append(name, content + b"\n", is_new=not number)


def read_draft(content: bytes) -> SessionDocument:
    """The last whole document of a draft. Raises msgspec.MsgspecError where there is none."""
    lines = content.split(b"\n")
    for line in reversed(lines[1:]):
        try:
            return msgspec.json.decode(line, type=SessionDocument)
        except msgspec.MsgspecError:
            continue
    return msgspec.json.decode(lines[0], type=SessionDocument)


class Journal:
    """The document of one session. What changes is written soon, in a thread; a hundred changes at once are one write."""

    def __init__(self, folder: Folder, recording_id: str, make: Callable[[], SessionDocument], in_thread: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self._folder, self._recording_id, self._make, self._in_thread = folder, recording_id, make, in_thread
        self._writing: asyncio.Task[None] | None = None
        self._drafts = 0
        self._is_dirty = False
        self._is_over = False

    def freeze(self, document: SessionDocument) -> None:
        """It stays as it is now."""
        self._make = lambda: document

    def changed(self) -> None:
        """Something is different."""
        self._is_dirty = True
        if not self._is_over and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._is_dirty and not self._is_over:
            self._is_dirty = False
            content, number = msgspec.json.encode(self._make()), self._drafts
            try:
                await self._in_thread(lambda content=content, number=number: _draft(self._folder, self._recording_id, content, number))  # type: ignore[misc]
                self._drafts += 1
            except OSError as error:
                log.warning("the document of %s could not be written: %s", self._recording_id, error.strerror)

    async def finish(self) -> Beside:
        """The document as it stays, which takes the place of its draft; no more is drafted."""
        self._is_over = True
        if self._writing is not None:
            await self._writing
        drafts = (f".{self._recording_id}{PART_SUFFIX}",) if self._drafts else ()
        return Beside(files={SUFFIX: msgspec.json.encode(self._make())}, drafts=drafts)

    async def forget(self) -> None:
        """The draft goes: nobody wants the document."""
        self._is_over = True
        if self._writing is not None:
            await self._writing
        if self._drafts:
            await self._in_thread(lambda: self._folder.put_away(f".{self._recording_id}{PART_SUFFIX}"))


def finish_left(folder: Folder) -> list[str]:
    """Gives the documents their names that a process left that died, where their recording has been recovered or sealed; which. Those of no recording go."""
    done = []
    there = set(os.listdir(folder.fd))
    for name in sorted(there):
        if not (name.startswith(".") and name.endswith(PART_SUFFIX)):
            continue
        recording_id = name[1 : -len(PART_SUFFIX)]
        plan, manifest = f".{recording_id}.recording", f"{recording_id}.json"
        exists = {each for each in (plan, manifest) if os.access(each, os.F_OK, dir_fd=folder.fd, follow_symlinks=False)}
        if plan in exists:
            continue  # it runs, or waits to be recovered
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if manifest in exists and f"{recording_id}{SUFFIX}" not in there:
                content = msgspec.json.encode(_ended(read_draft(folder.read(name))))
                folder.replace(f"{recording_id}{SUFFIX}", content, staged=f"{name}.new")
                done.append(recording_id)
            folder.unlink(name)
    return done


def _ended(document: SessionDocument) -> SessionDocument:
    return msgspec.structs.replace(document, session=msgspec.structs.replace(document.session, state="ended"))


__all__ = ["Bodies", "Journal", "finish_left", "read_draft"]

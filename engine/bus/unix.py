"""The embedded bus: a link over the hub's Unix socket."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

from engine.bus.errors import BusError, Disconnected, undelivered
from engine.bus.frames import (
    PROTOCOL,
    Answer,
    Ask,
    Decline,
    Dropped,
    Event,
    Fail,
    Forget,
    Frame,
    FrameReader,
    Hello,
    Publish,
    Refuse,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Welcome,
    encode,
)
from engine.bus.hub import check_socket_path
from engine.bus.limits import Limits
from engine.bus.messages import Message, Outcome, Receiver


async def dial(path: Path, name: str, limits: Limits, receiver: Receiver) -> UnixLink:
    """A link to the hub at `path`. Raises Disconnected, NameTaken, SocketRefused for a path that is too long."""
    check_socket_path(path)
    loop = asyncio.get_running_loop()
    try:
        _, link = await loop.create_unix_connection(lambda: UnixLink(path, limits, receiver), os.fspath(path))
    except OSError as error:
        raise Disconnected(f"no hub answers at {path}: {error.strerror or error}") from None
    try:
        async with asyncio.timeout(limits.handshake_s):
            await link.greet(name)
    except TimeoutError:
        await link.close()
        raise Disconnected(f"the hub at {path} does not answer") from None
    except BaseException:
        await link.close()
        raise
    return link


class UnixLink(asyncio.Protocol):
    """One connection to a hub."""

    def __init__(self, path: Path, limits: Limits, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._path = path
        self._receiver = receiver
        self._reader = FrameReader(limits.frame_bytes)
        self._transport: asyncio.Transport
        self._writable = asyncio.Event()
        self._writable.set()
        self._welcome: asyncio.Future[BusError | None] = loop.create_future()
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}
        self._dropped = 0

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The hub took the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Frames of the hub."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except BusError as error:
            self._end(str(error))
            self._transport.abort()

    def pause_writing(self) -> None:
        """The hub reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The hub caught up."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """The hub is gone."""
        self._end(f"the hub at {self._path} closed the connection" + (f": {error}" if error else ""))

    # ---- Link ----

    async def greet(self, name: str) -> None:
        """Names this process. Raises NameTaken, Disconnected."""
        await self._write(Hello(name, PROTOCOL))
        refusal = await self._welcome
        if refusal is not None:
            raise refusal

    async def ask(self, number: int, target: str, subject: str, body: bytes) -> None:
        """Sends a request."""
        await self._write(Ask(number, target, subject, body))

    def forget(self, number: int) -> None:
        """The hub drops the route."""
        if not self._transport.is_closing():
            self._transport.write(encode(Forget(number)))

    async def publish(self, topic: str, body: bytes) -> None:
        """Sends an event."""
        await self._write(Publish(topic, body))

    async def subscribe(self, pattern: str) -> None:
        """Returns when the hub has it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(pattern, []).append(done)
        await self._write(Subscribe(pattern))
        await done
        if self.ended.done():
            raise Disconnected(self.ended.result())

    async def unsubscribe(self, pattern: str) -> None:
        """Ends a subscription."""
        await self._write(Unsubscribe(pattern))

    async def close(self) -> None:
        """Ends the connection when what was written has left."""
        if not self._transport.is_closing():
            self._transport.close()
        await asyncio.wait({self.ended}, timeout=1)
        self._transport.abort()

    # ---- inside ----

    async def _write(self, frame: Frame) -> None:
        while not self._writable.is_set():
            await self._writable.wait()
        if self._transport.is_closing():
            why = self.ended.result() if self.ended.done() else "the connection is being closed"
            raise Disconnected(why)
        self._transport.write(encode(frame))

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Event):
            self._receiver.heard(Message(frame.source, frame.topic, frame.body))
        elif isinstance(frame, Ask):
            self._arrived(frame)
        elif isinstance(frame, Answer):
            self._receiver.resolved(frame.number, Outcome("answer", body=frame.body))
        elif isinstance(frame, Fail):
            self._receiver.resolved(frame.number, Outcome("fail", code=frame.code, text=frame.text))
        elif isinstance(frame, Decline):
            self._receiver.resolved(frame.number, Outcome("decline", code=frame.code, text=frame.text))
        elif isinstance(frame, Dropped):
            self._receiver.missed(frame.total - self._dropped)
            self._dropped = frame.total
        elif isinstance(frame, Subscribed):
            for done in self._awaited.pop(frame.pattern, []):
                if not done.done():
                    done.set_result(None)
        elif isinstance(frame, (Welcome, Refuse)):
            self._greeted(frame)

    def _greeted(self, frame: Welcome | Refuse) -> None:
        refusal = None if isinstance(frame, Welcome) else undelivered(frame.code, frame.text)
        if not self._welcome.done():
            self._welcome.set_result(refusal)
        elif refusal is not None:
            self._end(f"the hub refused this connection: {refusal}")

    def _arrived(self, frame: Ask) -> None:
        number = frame.number

        async def reply(outcome: Outcome) -> None:
            if outcome.kind == "answer":
                await self._write(Answer(number, outcome.body))
            else:
                kind = Fail if outcome.kind == "fail" else Decline
                await self._write(kind(number, outcome.code, outcome.text))

        self._receiver.arrived(Message(frame.peer, frame.subject, frame.body), reply)

    def _end(self, why: str) -> None:
        if self.ended.done():
            return
        self.ended.set_result(why)
        if not self._welcome.done():
            self._welcome.set_result(Disconnected(why))
        for waiting in self._awaited.values():
            for done in waiting:
                if not done.done():
                    done.set_result(None)
        self._awaited.clear()
        self._writable.set()


__all__ = ["UnixLink", "dial"]

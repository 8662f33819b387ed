"""The hub of the embedded bus: one Unix socket that every process of a machine connects to.

It knows connections by name, carries requests and answers between them and hands events to their subscribers. It
reads no payload, keeps nothing on disk and never waits for a slow peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from pathlib import Path
from typing import cast
from urllib.parse import quote

from engine.bus.errors import (
    BadFrame,
    BusError,
    Busy,
    NameTaken,
    SocketRefused,
    TargetGone,
    TooLarge,
    UnknownTarget,
)
from engine.bus.frames import (
    PROTOCOL,
    Answer,
    Ask,
    Decline,
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
from engine.bus.limits import MAX_ERROR_CHARACTERS, Limits
from engine.bus.outbox import Outbox
from engine.bus.topics import check_name, check_pattern, matches

MAX_SOCKET_PATH_BYTES = 107
MAX_PATTERNS = 10_000
BACKLOG = 256

log = logging.getLogger("trunkline.bus.hub")


def check_socket_path(path: Path) -> Path:
    """`path`, when a Unix socket may have it. Raises SocketRefused beyond the kernel's 107 bytes (unix(7))."""
    size_bytes = len(os.fsencode(path))
    if size_bytes > MAX_SOCKET_PATH_BYTES:
        raise SocketRefused(
            f"the socket path {path} has {size_bytes} bytes and the system takes {MAX_SOCKET_PATH_BYTES}; "
            "use a data directory with a shorter path"
        )
    return path


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, for this user only, in place of a stale one.

    Makes the directory when it is missing. Raises SocketRefused for a directory that others may enter, for a path
    that is taken by a living hub or by something else than a socket.
    """
    check_socket_path(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = path.parent.stat()
    if directory.st_uid != os.geteuid() or stat.S_IMODE(directory.st_mode) & 0o077:
        raise SocketRefused(f"{path.parent} must belong to this user alone (mode 0700): the bus asks for no password")
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise SocketRefused(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketRefused(f"{path} exists and is no socket; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            pass
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise SocketRefused(f"another hub listens on {path}")


class Hub:
    """One hub at one path. `start` it in a running loop; `close` it there."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path = path
        self.limits = limits or Limits()
        self.by_name: dict[str, Connection] = {}
        self.connections: set[Connection] = set()
        self._routes: dict[int, tuple[Connection, int, Connection]] = {}
        self._next_route = 0
        self._server: asyncio.Server | None = None
        self._inode = 0

    @property
    def url(self) -> str:
        """What `open_bus` takes."""
        return f"unix://{quote(os.fspath(self.path.absolute()))}"

    @property
    def routes(self) -> int:
        """Requests that are on their way or being worked on."""
        return len(self._routes)

    async def start(self) -> None:
        """Listens. Raises SocketRefused."""
        listener = listen(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(self), sock=listener, backlog=BACKLOG
        )

    async def close(self) -> None:
        """Ends every connection and removes the socket, unless another hub has replaced it by now."""
        if self._server is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self._server.close()
        for connection in tuple(self.connections):
            connection.abort()
        while self.connections:
            # Aborted transports report their end in the next turns of the loop.
            await asyncio.sleep(0)
        self._server = None

    def dropped(self, name: str) -> int:
        """Events dropped on the present connection of `name`."""
        connection = self.by_name.get(name)
        return connection.outbox.dropped if connection else 0

    # ---- called by connections ----

    def ask(self, source: Connection, frame: Ask) -> None:
        """Carries a request to its target, or says at once why that is not possible."""
        check_name(frame.subject)
        self.check_body(frame.body)
        if frame.number in source.asked:
            raise BadFrame(f"request {frame.number} is still under way")
        target = self.by_name.get(frame.peer)
        if target is None:
            source.decline(frame.number, UnknownTarget.code, f"nobody named {frame.peer} is on the bus")
            return
        if len(source.asked) >= self.limits.requests:
            source.decline(frame.number, Busy.code, f"{source.name} awaits too many answers already")
            return
        self._next_route += 1
        route = self._next_route
        wire = encode(Ask(route, source.name, frame.subject, frame.body))
        if not target.outbox.offer(wire):
            source.decline(frame.number, Busy.code, f"the queue of {frame.peer} is full")
            return
        self._routes[route] = (source, frame.number, target)
        source.asked[frame.number] = route
        target.held.add(route)

    def answer(self, target: Connection, frame: Answer | Fail | Decline) -> None:
        """Carries an answer back, when its requester is still waiting."""
        if frame.number not in target.held:
            return
        if isinstance(frame, Answer):
            self.check_body(frame.body)
        source, number = self._end_route(frame.number)
        if isinstance(frame, Answer):
            wire = encode(Answer(number, frame.body))
            if not source.outbox.offer(wire):
                source.decline(number, Busy.code, f"{source.name} reads its answers too slowly; one was dropped")
        elif isinstance(frame, Fail):
            source.force(Fail(number, frame.code[:100], frame.text[:MAX_ERROR_CHARACTERS]))
        else:
            source.decline(number, frame.code[:100], frame.text[:MAX_ERROR_CHARACTERS])

    def forget(self, source: Connection, number: int) -> None:
        """Drops the route of a request that nobody awaits any more."""
        route = source.asked.get(number)
        if route is not None:
            self._end_route(route)

    def publish(self, source: Connection, frame: Publish) -> None:
        """Hands an event to every connection that has a pattern for it."""
        check_name(frame.topic)
        self.check_body(frame.body)
        wire = encode(Event(source.name, frame.topic, frame.body))
        for connection in self.by_name.values():
            if any(matches(pattern, frame.topic) for pattern in connection.patterns):
                connection.outbox.event(wire)

    def leave(self, connection: Connection) -> None:
        """Forgets a connection that ended; whoever awaits an answer from it is told so."""
        self.connections.discard(connection)
        if self.by_name.get(connection.name) is connection:
            del self.by_name[connection.name]
        for route in tuple(connection.asked.values()):
            self._end_route(route)
        for route in tuple(connection.held):
            source, number = self._end_route(route)
            source.decline(number, TargetGone.code, f"{connection.name} left the bus before it answered")

    def check_body(self, body: bytes) -> None:
        """Raises BadFrame for a payload that its receiver would not take."""
        if len(body) > self.limits.payload_bytes:
            raise BadFrame(f"a payload of {len(body)} bytes passes the limit of {self.limits.payload_bytes}")

    def _end_route(self, route: int) -> tuple[Connection, int]:
        source, number, target = self._routes.pop(route)
        source.asked.pop(number, None)
        target.held.discard(route)
        return source, number


class Connection(asyncio.Protocol):
    """One process, as the hub sees it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._reader = FrameReader(hub.limits.frame_bytes)
        self._transport: asyncio.Transport
        self._handshake: asyncio.TimerHandle | None = None
        self.outbox: Outbox
        self.name = ""
        self.patterns: set[str] = set()
        self.asked: dict[int, int] = {}
        self.held: set[int] = set()

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A process connected; it has to name itself in time."""
        self._transport = cast(asyncio.Transport, transport)
        self.outbox = Outbox(self._transport, self._hub.limits)
        self._hub.connections.add(self)
        self._handshake = asyncio.get_running_loop().call_later(self._hub.limits.handshake_s, self.abort)

    def data_received(self, data: bytes) -> None:
        """Frames, or garbage: that ends this connection and no other."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except (BusError, ValueError) as error:
            log.warning("connection of %s closed: %s", self.name or "an unnamed process", error)
            self.refuse(error.code if isinstance(error, BusError) else BadFrame.code, str(error))

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self.outbox.pause()

    def resume_writing(self) -> None:
        """The peer caught up."""
        self.outbox.resume()

    def connection_lost(self, error: Exception | None) -> None:
        """The process left, by its will or not."""
        if self._handshake:
            self._handshake.cancel()
        self._hub.leave(self)

    # ---- called by the hub ----

    def decline(self, number: int, code: str, text: str) -> None:
        """Tells this process that a request of its own has no answer."""
        self.force(Decline(number, code, text))

    def force(self, frame: Frame) -> None:
        """Writes a small frame that must not be lost; a peer that reads nothing at all is let go."""
        if not self.outbox.force(encode(frame)):
            log.warning("connection of %s closed: it does not read its answers", self.name)
            self.abort()

    def refuse(self, code: str, text: str) -> None:
        """Says why, and ends the connection."""
        if not self._transport.is_closing():
            self._transport.write(encode(Refuse(code, text[:MAX_ERROR_CHARACTERS])))
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    # ---- frames of the peer ----

    def _take(self, frame: Frame) -> None:
        if self._transport.is_closing():
            return
        if not self.name:
            self._greet(frame)
        elif isinstance(frame, Ask):
            self._hub.ask(self, frame)
        elif isinstance(frame, (Answer, Fail, Decline)):
            self._hub.answer(self, frame)
        elif isinstance(frame, Publish):
            self._hub.publish(self, frame)
        elif isinstance(frame, Forget):
            self._hub.forget(self, frame.number)
        elif isinstance(frame, Subscribe):
            self._subscribe(frame.pattern)
        elif isinstance(frame, Unsubscribe):
            self.patterns.discard(frame.pattern)
        else:
            raise BadFrame(f"{type(frame).__name__} is not for a hub")

    def _subscribe(self, pattern: str) -> None:
        if len(self.patterns) >= MAX_PATTERNS:
            raise TooLarge(f"{self.name} has {MAX_PATTERNS} subscriptions; it may have no more")
        self.patterns.add(check_pattern(pattern))
        self.force(Subscribed(pattern))

    def _greet(self, frame: Frame) -> None:
        if not isinstance(frame, Hello):
            raise BadFrame(f"the first frame is {type(frame).__name__}, not Hello")
        if frame.protocol != PROTOCOL:
            raise BadFrame(f"protocol {frame.protocol} is not spoken here, {PROTOCOL} is")
        check_name(frame.name)
        if frame.name in self._hub.by_name:
            raise NameTaken(f"{frame.name} is on the bus already")
        if self._handshake:
            self._handshake.cancel()
        self.name = frame.name
        self._hub.by_name[frame.name] = self
        self.force(Welcome(PROTOCOL))


__all__ = ["MAX_SOCKET_PATH_BYTES", "Connection", "Hub", "check_socket_path", "listen"]

"""Which worker a message belongs to, and how it gets there: all workers share the ports, each call has one worker.

The kernel gives a datagram or a connection to any worker that bound the port with SO_REUSEPORT. Whoever has a message reads no more of
it than its Call-ID, whose keyed hash names the owner, and hands the bytes over to that one. Workers talk through Unix stream sockets in
a folder that only their user may enter: a stream has no longest message, carries many in one system call, and tells at once when the
other side has died. A worker connects to a sibling when it first has something for it; the same connection carries back what the owner
sends to peers on connections of the worker that handed their messages over.

    owner            worker that has the socket
    deliver  <------ DATAGRAM listener, peer, bytes             answered from the owner's own socket on the same port
    deliver  <------ MESSAGE  number, transport, peer, bytes    `number` is one connection; it becomes a RemoteFlow
    RemoteFlow.send  BYTES    number, bytes ------> Connection.send
    RemoteFlow.close END      number -------------> Connection.close
             <------ GONE     number                            the connection is closed; also the answer to BYTES for none

What does not reach its owner because that one is dead is an orphan: the worker that has it says so to the peer. What was written to a
worker and not read before its end is lost, as in any network; over UDP its sender repeats it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import secrets
import socket
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine._native.sip_route import call_id_owner, hash_of
from engine.sip.flow import Flow
from engine.sip.transport import BODY_MAX_BYTES, HEAD_MAX_BYTES

log = logging.getLogger("trunkline.sip")
OnMessage = Callable[[bytes, Flow], None]
UdpFlowOf = Callable[[int, tuple[str, int]], Flow]

# Bytes behind the first field; version, kind, listener, ports of the peer and of ours, bytes of `where`, connection; then come `where`,
# which is the peer's host or, for a connection, transport, peer's host and ours with spaces between, and the message.
FRAME: Final = struct.Struct("<IBBHHHHQ")
Head = tuple[int, int, int, int, int, int, int, int]
LENGTH_BYTES: Final = 4
VERSION: Final = 1
DATAGRAM, MESSAGE, BYTES, GONE, END = 1, 2, 3, 4, 5
FRAME_MAX_BYTES: Final = HEAD_MAX_BYTES + BODY_MAX_BYTES + 1024
READ_BYTES: Final = 65_536  # in one wake-up, some hundred messages: others want the loop, too
QUEUE_BYTES: Final = 2 * FRAME_MAX_BYTES
SEND_BUFFER_BYTES: Final = 1 << 20
FRAMES_A_CALL: Final = 64
ORPHANS_A_TURN: Final = 64
ACCEPTS_A_TURN: Final = 16
ACCEPT_AGAIN_S: Final = 1.0


def own_call_id(key: bytes, index: int, count: int, random: Callable[[], str] = lambda: secrets.token_hex(16)) -> str:
    """A new Call-ID (RFC 3261 8.1.1.4) whose messages belong to worker `index` of `count`; `random` gives its unguessable part."""
    stem = random()
    if count == 1:
        return stem
    tries = (f"{stem}{at:x}" for at in itertools.count())
    return next(made for made in tries if hash_of(made.encode(), key) % count == index)


class Counters:
    """What went by. `dropped` found a full queue, `orphans` a dead owner; `failed` made a callback raise."""

    __slots__ = ("dropped", "failed", "handed", "kept", "orphans", "taken")

    def __init__(self) -> None:
        self.kept = self.handed = self.taken = self.orphans = self.dropped = self.failed = 0


def _frame(
    kind: int, number: int = 0, where: str = "", data: bytes = b"", *, listener: int = 0, port: int = 0, local_port: int = 0
) -> bytes:  # fmt: skip
    place = where.encode()
    length = FRAME.size - LENGTH_BYTES + len(place) + len(data)
    return FRAME.pack(length, VERSION, kind, listener, port, local_port, len(place), number) + place + data


# ---- links ----


class RemoteFlow:
    """A connection that a sibling holds; there is one of these for each while both are open. It is a flow."""

    __slots__ = ("_link", "_number", "local", "peer", "transport")
    reliable = True

    def __init__(self, link: _Link, number: int, transport: str, peer: tuple[str, int], local: tuple[str, int]) -> None:
        self._link: _Link | None = link
        self._number = number
        self.transport = transport
        self.peer, self.local = peer, local

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as its holder has told."""
        return self._link is not None

    def send(self, data: bytes) -> None:
        """Has the holder write a message. Raises OSError when the connection or its holder is gone, or too much waits for that one."""
        if self._link is None:
            raise ConnectionAbortedError("the connection is closed")
        if not self._link.put(_frame(BYTES, self._number, data=data)):
            raise OSError(errno.ENOBUFS, "the worker that holds the connection does not read")

    def close(self) -> None:
        """Has the holder close the connection, behind what was sent."""
        if self._link is not None:
            self._link.put(_frame(END, self._number), always=True)
            self.end()

    def end(self) -> None:
        """Called by the router: there is nothing to send over any more."""
        self._link = None


class _Link:
    """One socket between two workers, whoever opened it."""

    def __init__(self, router: Router, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.flows: dict[int, RemoteFlow] = {}  # connections that the other side told us of
        self.lent: set[int] = set()  # numbers of ours that it was told of
        self._router = router
        self._socket: socket.socket | None = sock
        self._loop = loop
        self._frames: deque[bytes] = deque()
        self._queued = 0  # bytes of them
        self._sent = 0  # bytes of the first one
        self._flushing = False  # a flush is on its way: in this turn of the loop, or when the socket takes more
        self._writing = False
        self._half = bytearray()  # a frame that is not whole yet
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        loop.add_reader(sock, self._readable)

    # -- out --

    def put(self, frame: bytes, *, always: bool = False) -> bool:
        """Sends a frame at the end of this turn of the loop, with all others of it. False, and counted, when too much waits already."""
        crowded = self._queued and self._queued + len(frame) > self._router.queue_bytes and not always
        if crowded or self._socket is None or len(frame) > FRAME_MAX_BYTES:
            self._router.counters.dropped += 1
            return False
        self._frames.append(frame)
        self._queued += len(frame)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)
        return True

    def flush(self) -> None:
        """Writes what waits, as far as the socket takes it."""
        frames = self._frames
        while frames and self._socket is not None:
            few: list[bytes | memoryview] = list(itertools.islice(frames, FRAMES_A_CALL))
            if self._sent:
                few[0] = memoryview(frames[0])[self._sent :]
            try:
                self._sent += self._socket.sendmsg(few)
            except (BlockingIOError, InterruptedError):
                if not self._writing:
                    self._writing = True
                    self._loop.add_writer(self._socket, self.flush)
                return
            except OSError:
                self.end()
                return
            while frames and self._sent >= len(frames[0]):
                gone = len(frames.popleft())
                self._sent -= gone
                self._queued -= gone
        self._flushing = False
        if self._writing and self._socket is not None:
            self._writing = False
            self._loop.remove_writer(self._socket)

    # -- in --

    def _readable(self) -> None:
        assert self._socket is not None
        read = self._router.buffer
        try:
            size = self._socket.recv_into(read)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            size = 0
        if not size:
            self.end()
            return
        half = self._half
        with memoryview(read) as view:
            if not half:
                half += view[self._take(view[:size]) : size]
                return
            half += view[:size]
        with memoryview(half) as view:
            used = self._take(view)
        del half[:used]

    def _take(self, view: memoryview) -> int:
        """Passes whole frames on; how many bytes they had."""
        at, size, head = 0, len(view), FRAME.size
        while size - at >= head and self._socket is not None:
            told: Head = FRAME.unpack_from(view, at)
            length, version, where_size = told[0], told[1], told[6]
            if version != VERSION or not head - LENGTH_BYTES + where_size <= length <= FRAME_MAX_BYTES:
                log.error("a worker speaks another version of this protocol")
                self.end()
                return size
            behind = at + LENGTH_BYTES + length
            if behind > size:
                break
            message = at + head + where_size
            try:
                self._router.arrived(self, told, bytes(view[at + head : message]), bytes(view[message:behind]))
            except Exception:  # one message that cannot be worked with is no reason to leave the others undone
                self._router.counters.failed += 1
                log.exception("a message was not taken")
            at = behind
        return at

    def end(self) -> None:
        """Closes it and gives back to the router what was not sent."""
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None
        for flow in self.flows.values():
            flow.end()
        self.flows.clear()
        self.lent.clear()
        unsent, self._frames = self._frames, deque()
        self._router.ended(self, unsent)


# ---- the router ----


class Router:
    """The router of one worker. Belongs to one event loop."""

    def __init__(
        self, index: int, count: int, key: bytes, folder: Path, deliver: OnMessage, *, udp_flow: UdpFlowOf, on_orphan: OnMessage,
        on_overload: OnMessage | None = None, queue_bytes: int = QUEUE_BYTES,
    ) -> None:  # fmt: skip
        """Worker `index` of `count`, both fixed while a server runs. With one worker there is nothing to do, and nothing is done.

        key: 16 random bytes that the workers of a server share, new with each start of the server: who does not know them cannot aim
            calls at one worker. folder: where the workers' sockets are. deliver: takes our own messages, wherever they came in.
        udp_flow: our own flow, on datagram socket number `listener`, to a peer. on_orphan: answers a request whose owner is dead.
        on_overload: answers a request of a connection for whose owner, which lives, too much waits; on_orphan where it is not given.
            Neither is called with ACKs.
        queue_bytes: how much may wait for each sibling. Raises ValueError for an index or a key that is none.
        """
        if not 0 <= index < count:
            raise ValueError(f"there is no worker {index} of {count}")
        hash_of(b"", key)
        self.counters = Counters()
        self.queue_bytes = queue_bytes
        self.buffer = bytearray(READ_BYTES if count > 1 else 0)
        self.index, self.count = index, count
        self._key = key
        self._folder = folder
        self._deliver = deliver
        self._udp_flow = udp_flow
        self._on_orphan, self._on_overload = on_orphan, on_overload or on_orphan
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: socket.socket | None = None
        self._inode = 0
        self._siblings: dict[int, _Link] = {}  # opened by us
        self._callers: set[_Link] = set()  # opened by them
        self._numbers: dict[Flow, int] = {}
        self._held: dict[int, Flow] = {}
        self._last_number = 0
        self.received: OnMessage = self.receiver()

    def receiver(self, listener: int = 0) -> OnMessage:
        """What a transport calls with each message: `received` for listening socket number `listener` of this worker.

        The number means the same socket in every worker.
        """
        deliver = self._deliver
        if self.count == 1:
            return deliver
        key, index, count, counters = self._key, self.index, self.count, self.counters

        def received(data: bytes, flow: Flow) -> None:
            owner = call_id_owner(data, key, count)
            if owner == index or owner < 0:
                counters.kept += 1
                deliver(data, flow)
            else:
                self._hand_over(owner, data, flow, listener)

        return received

    def new_call_id(self) -> str:
        """A Call-ID for a call that begins here: its answers and requests come back here."""
        return own_call_id(self._key, self.index, self.count)

    def path(self, index: int) -> Path:
        """The socket of a worker."""
        return self._folder / f"worker-{index}.sip"

    def open(self) -> None:
        """Begins to listen to the siblings. Raises OSError when that cannot be, PermissionError for a folder that others may enter."""
        if self.count == 1:
            return
        self._loop = asyncio.get_running_loop()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = self._folder.stat()
        if told.st_uid != os.geteuid() or told.st_mode & 0o077:
            raise PermissionError(f"{self._folder} must belong to this user and be closed to others")
        path = self.path(self.index)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(str(fresh))
            sock.listen(128)
            sock.setblocking(False)
            self._inode = fresh.stat().st_ino
            fresh.rename(path)  # over that of a predecessor, at once: whoever looks finds one or the other
        except OSError:
            sock.close()
            fresh.unlink(missing_ok=True)
            raise
        self._listening = sock
        self._listen()

    def close(self) -> None:
        """Ends every link. The socket's name is left alone when a successor has taken it."""
        if self._listening is not None and self._loop is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None
            path = self.path(self.index)
            if path.exists() and path.stat().st_ino == self._inode:
                path.unlink()
        for link in [*self._siblings.values(), *self._callers]:
            link.flush()
            link.end()

    def closed(self, flow: Flow) -> None:
        """Called when a connection of this worker is closed: those who were told of it are told of that."""
        number = self._numbers.pop(flow, 0)
        if not number:
            return
        del self._held[number]
        for link in self._siblings.values():
            if number in link.lent:
                link.lent.discard(number)
                link.put(_frame(GONE, number), always=True)

    # ---- to the owner ----

    def _hand_over(self, owner: int, data: bytes, flow: Flow, listener: int) -> None:
        try:
            link = self._siblings.get(owner) or self._connect(owner)
        except (FileNotFoundError, ConnectionRefusedError):
            self._orphan(data, flow)
            return
        except OSError as error:  # it lives and cannot be reached now: no descriptors are left, or it is behind with its callers
            log.debug("worker %d cannot be reached: %s", owner, error)
            self.counters.dropped += 1
            self._crowded(data, flow)
            return
        if flow.reliable:
            number = self._number(flow)
            link.lent.add(number)
            (host, port), (local, local_port) = flow.peer, flow.local
            frame = _frame(MESSAGE, number, f"{flow.transport} {host} {local}", data, port=port, local_port=local_port)
        else:
            host, port = flow.peer
            frame = _frame(DATAGRAM, 0, host, data, listener=listener, port=port)
        if link.put(frame):
            self.counters.handed += 1
        else:
            self._crowded(data, flow)

    def _number(self, flow: Flow) -> int:
        number = self._numbers.get(flow)
        if number is None:
            number = self._last_number = self._last_number + 1
            self._numbers[flow] = number
            self._held[number] = flow
        return number

    def _connect(self, owner: int) -> _Link:
        """The link to a sibling. It is looked for with each message, so that its successor is found."""
        assert self._loop is not None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(str(self.path(owner)))
        except OSError:
            sock.close()
            raise
        link = self._siblings[owner] = _Link(self, sock, self._loop)
        return link

    def _orphan(self, data: bytes, flow: Flow) -> None:
        self.counters.orphans += 1
        self._refuse(self._on_orphan, data, flow)

    def _crowded(self, data: bytes, flow: Flow) -> None:
        if flow.reliable:  # nobody will repeat it
            self._refuse(self._on_overload, data, flow)

    def _refuse(self, answer: OnMessage, data: bytes, flow: Flow) -> None:
        if data.lstrip(b"\r\n")[:4].upper() in (b"ACK ", b"SIP/"):
            return  # these are never answered
        try:
            answer(data, flow)
        except Exception:
            self.counters.failed += 1
            log.exception("a request of %s was not refused", flow.peer[0])

    # ---- from siblings ----

    def _listen(self) -> None:
        if self._listening is not None and self._loop is not None:
            self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        assert self._listening is not None and self._loop is not None
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # no descriptors are left: asking again at once would be all that this loop does
                log.error("a worker cannot be answered: %s", error)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(ACCEPT_AGAIN_S, self._listen)
                return
            self._callers.add(_Link(self, sock, self._loop))

    def arrived(self, link: _Link, head: Head, where: bytes, data: bytes) -> None:
        """Called by a link with each frame."""
        _, _, kind, listener, port, local_port, _, number = head
        if kind == DATAGRAM:
            self.counters.taken += 1
            self._deliver(data, self._udp_flow(listener, (where.decode(), port)))
        elif kind == MESSAGE:
            self.counters.taken += 1
            remote = link.flows.get(number)
            if remote is None:
                transport, host, local = where.decode().split(" ")
                remote = link.flows[number] = RemoteFlow(link, number, transport, (host, port), (local, local_port))
            self._deliver(data, remote)
        elif kind == BYTES:
            self._write(link, number, data)
        elif kind == END and (flow := self._held.get(number)) is not None:
            flow.close()
        elif kind == GONE and (ended := link.flows.pop(number, None)) is not None:
            ended.end()

    def _write(self, link: _Link, number: int, data: bytes) -> None:
        flow = self._held.get(number)
        if flow is None:
            link.put(_frame(GONE, number), always=True)
            return
        try:
            flow.send(data)
        except OSError:
            self.closed(flow)

    def ended(self, link: _Link, unsent: deque[bytes]) -> None:
        """Called by a link that is closed."""
        self._callers.discard(link)
        for owner in [owner for owner, known in self._siblings.items() if known is link]:
            del self._siblings[owner]
        self._mourn(unsent)

    def _mourn(self, unsent: deque[bytes]) -> None:
        """Messages that were not handed over are orphans; of many, some in each turn of the loop."""
        for _ in range(min(ORPHANS_A_TURN, len(unsent))):
            frame = unsent.popleft()
            _, _, kind, listener, port, _, where_size, number = FRAME.unpack_from(frame)
            where, data = frame[FRAME.size : FRAME.size + where_size], frame[FRAME.size + where_size :]
            if kind == DATAGRAM:
                self._orphan(data, self._udp_flow(listener, (where.decode(), port)))
            elif kind == MESSAGE and (flow := self._held.get(number)) is not None:
                self._orphan(data, flow)
            elif kind == BYTES:
                self.counters.dropped += 1
        if unsent and self._loop is not None:
            self._loop.call_soon(self._mourn, unsent)


__all__ = ["Counters", "RemoteFlow", "Router", "own_call_id"]

"""SIP over UDP, TCP and TLS (RFC 3261 18): sockets to whole messages, and flows to answer over.

A transport knows nothing of transactions: it hands each message, as bytes, with its flow to `on_message`. What is no message of a stream
(half of one for too long, one too large, bytes that are no SIP) ends that connection and no other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar, cast

from engine._native.sip import Flag, Malformed, scan
from engine._native.udp import Datagrams
from engine.sip.flow import Flow

log = logging.getLogger("trunkline.sip")
OnMessage = Callable[[bytes, Flow], None]
HEAD_MAX_BYTES: Final = 65_536
BODY_MAX_BYTES: Final = 1 << 20
UNSENT_MAX_BYTES: Final = 1 << 20
WAITING_MAX: Final = 16_384  # datagrams for which the kernel has no room
FLOWS_KEPT: Final = 16_384
HALF_MESSAGE_S: Final = 32.0
IDLE_S: Final = 900.0
CONNECTIONS_MAX: Final = 4096
UNTOLD_LENGTH: Final = Flag.LENGTH_INVALID | Flag.LENGTH_CONFLICT
PING_S: Final = 120.0  # at most, and no less than 80 % of it (RFC 5626 4.4.1)
PONG_S: Final = 10.0
PING, PONG = b"\r\n\r\n", b"\r\n"  # RFC 5626 4.4.1


class Counters:
    """What went by on a transport; `connections` are those that are open now."""

    __slots__ = ("blanks", "broken", "bytes_in", "bytes_out", "connections", "messages", "refused")

    def __init__(self) -> None:
        self.messages = self.bytes_in = self.bytes_out = self.blanks = self.broken = self.connections = self.refused = 0


# ---- datagrams ----


class UdpFlow:
    """A peer on our datagram socket."""

    __slots__ = ("_udp", "peer")
    reliable = False
    transport = "UDP"

    def __init__(self, udp: Udp, peer: tuple[str, int]) -> None:
        self._udp = udp
        self.peer = peer

    @property
    def local(self) -> tuple[str, int]:
        """What the socket is bound to."""
        return self._udp.address

    @property
    def alive(self) -> bool:
        """Whether the socket is open."""
        return self._udp.alive

    def close(self) -> None:
        """A datagram socket has others to serve."""

    def send(self, data: bytes) -> None:
        """Hands a datagram to the kernel; while a batch is being read, at its end. Raises OSError behind the end of the socket, and,
        outside of batches, for a datagram that cannot be sent."""
        self._udp.send(data, self.peer)


class Udp:
    """One bound datagram socket, read and written in batches: what a batch of requests is answered with goes out in one call."""

    def __init__(self, bound: socket.socket, on_message: OnMessage) -> None:
        self.socket = bound
        host, port, *_ = bound.getsockname()
        self.address: tuple[str, int] = (host, port)
        self.alive = True
        self.counters = Counters()
        self._on_message = on_message
        self._datagrams = Datagrams(bound.fileno(), bound.family == socket.AF_INET6)
        self._loop = asyncio.get_running_loop()
        self._flows: dict[tuple[str, int], UdpFlow] = {}
        self._waiting: list[tuple[bytes, tuple[str, int]]] = []
        self._in_batch = False
        self._full = False  # the kernel had no room
        self._loop.add_reader(bound.fileno(), self._readable)

    @classmethod
    async def listen(cls, host: str, port: int, on_message: OnMessage, *, reuse_port: bool = False) -> Udp:
        """Binds. Raises OSError when it cannot; a port of 0 takes a free one."""
        loop = asyncio.get_running_loop()
        family, kind, proto, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
        bound = socket.socket(family, kind | socket.SOCK_NONBLOCK, proto)
        try:
            if reuse_port:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind(address)
            return cls(bound, on_message)
        except OSError:
            bound.close()
            raise

    def flow(self, peer: tuple[str, int]) -> UdpFlow:
        """The flow to a peer's address; the same one each time while it is in use."""
        found = self._flows.get(peer)
        if found is None:
            if len(self._flows) >= FLOWS_KEPT:
                self._flows.clear()  # they hold nothing: the next datagram makes one again
            found = self._flows[peer] = UdpFlow(self, peer)
        return found

    def _readable(self) -> None:
        """Called by the loop. What is left behind a batch has it called again, and others are served before."""
        try:
            found = self._datagrams.receive()
        except OSError as error:  # an ICMP error of some peer: which one is not told, so timers find it out
            log.debug("a datagram came back: %s", error)
            return
        counters = self.counters
        self._in_batch = True
        try:
            for data, peer in found:
                counters.bytes_in += len(data)
                if len(data) < 16 or not data.strip(b"\r\n\0"):  # keep-alives of all kinds; no SIP message is as short
                    counters.blanks += 1
                    continue
                counters.messages += 1
                try:
                    self._on_message(data, self.flow(peer))
                except Exception:  # the rest of the batch is others'
                    log.exception("a message of %s could not be worked with", peer[0])
                if not self.alive:
                    return
        finally:
            self._in_batch = False
        if self._waiting and not self._full:
            self._flush()

    def send(self, data: bytes, peer: tuple[str, int]) -> None:
        """Used by flows."""
        if not self.alive:
            raise ConnectionAbortedError("the socket is closed")
        self.counters.bytes_out += len(data)
        if self._in_batch or self._full:
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append((data, peer))
            else:
                self.counters.refused += 1  # as if lost on the way
            return
        self._waiting.append((data, peer))
        if self._flush():
            raise OSError("the datagram cannot be sent")

    def _flush(self) -> int:
        """Hands over what waits; how many could not be sent."""
        done, failed = self._datagrams.send(self._waiting)
        del self._waiting[:done]
        self.counters.broken += failed
        if bool(self._waiting) != self._full:
            self._full = bool(self._waiting)
            if self._full:
                self._loop.add_writer(self.socket.fileno(), self._flush)
            else:
                self._loop.remove_writer(self.socket.fileno())
        return failed

    def close(self) -> None:
        """Closes the socket, behind what the kernel takes at once."""
        if not self.alive:
            return
        if self._waiting:
            self._datagrams.send(self._waiting)
        self.alive = False
        self._loop.remove_reader(self.socket.fileno())
        if self._full:
            self._loop.remove_writer(self.socket.fileno())
        self._waiting.clear()
        self.socket.close()


# ---- streams ----


class Connection(asyncio.Protocol):
    """One TCP or TLS connection, whoever opened it. It is a flow."""

    reliable = True

    def __init__(self, owner: Streams, name: str, *, came_in: bool = True) -> None:
        self._owner = owner
        self.came_in = came_in
        self.stayed = False  # it came in, and was counted by whoever may refuse that
        self.transport = name
        self.peer: tuple[str, int] = ("", 0)
        self.local: tuple[str, int] = ("", 0)
        self._io: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._searched = 0  # of the buffer, for the end of a head
        self._needed = 0  # bytes of the message whose head is there, 0 while it is not
        self._half: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ping: asyncio.TimerHandle | None = None
        self._pong: asyncio.TimerHandle | None = None
        self._pongs = 0

    # -- called by the loop --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._io = cast("asyncio.Transport", transport)
        told = self._io.get_extra_info("peername") or ("", 0)
        self.peer = (told[0], told[1])
        ours = self._io.get_extra_info("sockname") or ("", 0)
        self.local = (ours[0], ours[1])
        if not self._owner.opened(self):
            self.close()
        self._io.set_write_buffer_limits(high=UNSENT_MAX_BYTES)
        self._rest()
        if not self.came_in and self._owner.ping_s:
            self._ping_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        for handle in (self._half, self._idle, self._ping, self._pong):
            if handle is not None:
                handle.cancel()
        self._buffer.clear()
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop, some bytes each time."""
        counters = self._owner.counters
        counters.bytes_in += len(data)
        if self._pong is not None:
            self._pong.cancel()
            self._pong = None
        self._buffer += data
        while self._buffer and self._io is not None and not self._io.is_closing():
            if not self._needed and not self._find_head():
                break
            if len(self._buffer) < self._needed:
                break
            message = bytes(self._buffer[: self._needed])
            del self._buffer[: self._needed]
            self._searched = self._needed = 0
            counters.messages += 1
            self._owner.on_message(message, self)
        self._watch()

    # -- framing (18.3) --

    def _find_head(self) -> bool:
        """Whether the head of a message is whole; then `_needed` is the message's length. Each byte is looked at once."""
        buffer = self._buffer
        if buffer[0] in b"\r\n" and not self._skip_blanks():
            return False
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > HEAD_MAX_BYTES:
                self._break("a head without an end")
            return False
        head = bytes(buffer[: end + 4])
        try:
            told = scan(head)
        except Malformed:
            self._break("bytes that are no SIP message")
            return False
        length = told.content_length
        if told.flags & UNTOLD_LENGTH or not 0 <= length <= BODY_MAX_BYTES or len(head) > HEAD_MAX_BYTES:
            # without a length nobody knows where the next message begins (RFC 3261 20.14, RFC 4475 3.1.2.2)
            self._owner.on_message(head, self)
            self._break("a message whose length cannot be told")
            return False
        self._needed = len(head) + length
        return True

    def _skip_blanks(self) -> bool:
        """Takes line ends between messages away, answering pings; whether something else follows."""
        buffer = self._buffer
        blanks = len(buffer) - len(buffer.lstrip(b"\r\n"))
        if not self.came_in and blanks % len(PING) == len(PONG):  # the answer to a ping of ours
            self._pongs += 1
            del buffer[: len(PONG)]
            blanks -= len(PONG)
        for _ in range(bytes(buffer[:blanks]).count(PING)):
            self._owner.counters.blanks += 1
            self.send(PONG)
        rest = buffer[:blanks].rpartition(PING)[2] if blanks == len(buffer) else b""
        del buffer[:blanks]
        if not buffer and rest:
            buffer += rest  # half a ping
            return False
        return bool(buffer)

    def _break(self, why: str) -> None:
        self._owner.counters.broken += 1
        log.info("a connection of %s ends: %s", self.peer[0], why)
        self.close()

    # -- time --

    def _ping_later(self) -> None:
        delay_s = self._owner.ping_s * (0.8 + 0.2 * self._owner.chance())
        self._ping = asyncio.get_running_loop().call_later(delay_s, self._say_ping)

    def _say_ping(self) -> None:
        """Keeps a connection of ours open. Who has ever answered one is taken for dead when it answers no more; others need not know
        what it means."""
        self._ping_later()
        try:
            self.send(PING)
        except OSError:
            return
        if self._pongs and self._pong is None:
            self._pong = asyncio.get_running_loop().call_later(PONG_S, self._break, "no pong")

    def _watch(self) -> None:
        """A message that began must end soon; a connection that says nothing for long is closed."""
        if self._buffer and self._buffer[0] not in b"\r\n":
            if self._half is None:
                self._half = asyncio.get_running_loop().call_later(HALF_MESSAGE_S, self._break, "half a message")
        elif self._half is not None:
            self._half.cancel()
            self._half = None
        self._rest()

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    # -- flow --

    @property
    def alive(self) -> bool:
        """Whether the connection is open."""
        return self._io is not None and not self._io.is_closing()

    def send(self, data: bytes) -> None:
        """Writes a message. Raises OSError when the connection is gone or its peer does not read."""
        if self._io is None or self._io.is_closing():
            raise ConnectionAbortedError("the connection is closed")
        if self._io.get_write_buffer_size() > UNSENT_MAX_BYTES:
            self._break("its peer does not read")
            self._io.abort()  # to close it would wait for that peer
            raise ConnectionAbortedError("the peer does not read")
        self._owner.counters.bytes_out += len(data)
        self._io.write(data)

    def close(self) -> None:
        """Ends it, behind what was written."""
        if self._io is not None:
            self._io.close()


class Stays(Flow, Protocol):
    """A connection, to those who keep it."""

    came_in: bool
    stayed: bool


Kept = TypeVar("Kept", bound=Stays)


class Connections(Generic[Kept]):
    """The connections of one listening socket and those opened from here, whatever is spoken over them."""

    def __init__(
        self, on_message: OnMessage, *, tls: ssl.SSLContext | None, connections_max: int, may_stay: Callable[[Flow], bool] | None,
        on_closed: Callable[[Flow, bool], None] | None,
    ) -> None:  # fmt: skip
        """`may_stay` is asked about each that comes in, `on_closed` is told of the end of each, and whether it was one that came in and was
        let stay."""
        self.on_message = on_message
        self.counters = Counters()
        self._tls = tls
        self._max = connections_max
        self._may_stay = may_stay
        self._on_closed = on_closed
        self._server: asyncio.Server | None = None
        self._connections: set[Kept] = set()

    def __iter__(self) -> Iterator[Kept]:
        """Those that are open, as they were when it was asked."""
        return iter(list(self._connections))

    @property
    def is_listening(self) -> bool:
        """Whether it takes connections, and does not only open some."""
        return self._server is not None

    @property
    def address(self) -> tuple[str, int]:
        """What it listens on."""
        assert self._server is not None
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    def opened(self, connection: Kept) -> bool:
        """Called by a connection; whether it may stay."""
        stays = len(self._connections) < self._max
        if connection.came_in:
            stays = connection.stayed = stays and (self._may_stay is None or self._may_stay(connection))
        if not stays:
            self.counters.refused += 1
        self._connections.add(connection)
        self.counters.connections = len(self._connections)
        return stays

    def closed(self, connection: Kept) -> None:
        """Called by a connection."""
        self._connections.discard(connection)
        self.counters.connections = len(self._connections)
        if self._on_closed is not None:
            self._on_closed(connection, connection.stayed)

    def close(self) -> None:
        """Closes the listening socket and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in self:
            connection.close()


class Streams(Connections[Connection]):
    """The TCP or TLS connections of one listening socket, and those opened from here."""

    def __init__(
        self, on_message: OnMessage, *, tls: ssl.SSLContext | None = None, connections_max: int = CONNECTIONS_MAX,
        ping_s: float = PING_S, chance: Callable[[], float] = random.random, may_stay: Callable[[Flow], bool] | None = None, on_closed: Callable[[Flow, bool], None] | None = None,
    ) -> None:  # fmt: skip
        """`ping_s` is how long a connection of ours may be silent, 0 for ever; `chance` gives numbers from 0 to 1.

        With `tls` connections that come in are TLS, as its context says; otherwise TCP. The others are those of `Connections`."""
        super().__init__(on_message, tls=tls, connections_max=connections_max, may_stay=may_stay, on_closed=on_closed)
        self.ping_s = ping_s
        self.chance = chance

    @property
    def name(self) -> str:
        """The transport's name in a Via."""
        return "TLS" if self._tls is not None else "TCP"

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Binds. Raises OSError when it cannot; a port of 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self, self.name), host, port, ssl=self._tls, reuse_port=reuse_port or None, backlog=1024
        )

    async def connect(self, host: str, port: int, *, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> Connection:
        """Opens a connection. Raises OSError and ssl.SSLError when that fails."""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: Connection(self, "TLS" if tls is not None else "TCP", came_in=False), host, port, ssl=tls, server_hostname=server_name if tls else None
        )
        return made


__all__ = ["Connection", "Connections", "Counters", "Streams", "Udp", "UdpFlow"]

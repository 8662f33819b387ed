"""SIP over WebSocket (RFC 7118), as who is connected to and as who connects: one SIP message in one WebSocket message.

The protocol itself, its handshake and frames, is the `websockets` library's, which never touches a socket; what is here makes a connection
a flow, and sees to it that nobody can make it wait or grow without end. Compression is never agreed: SIP messages are small, and what a
few bytes unpack to is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, ProtocolError
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from engine.sip.flow import Flow
from engine.sip.transport import (
    BODY_MAX_BYTES,
    CONNECTIONS_MAX,
    HEAD_MAX_BYTES,
    UNSENT_MAX_BYTES,
    Counters,
    OnMessage,
)

log = logging.getLogger("trunkline.sip.websocket")
SIP: Final = Subprotocol("sip")  # RFC 7118 4.1
MESSAGE_MAX_BYTES: Final = HEAD_MAX_BYTES + BODY_MAX_BYTES
HANDSHAKE_S: Final = 10.0
PING_S: Final = 50.0  # what is between keeps a silent connection for a minute
PONG_S: Final = 20.0
CLOSE_S: Final = 5.0  # for the other side to answer our close
FRAGMENTS_MAX: Final = 4096
_SILENT: Final = logging.getLogger("trunkline.sip.websocket.frames")
_SILENT.setLevel(logging.CRITICAL)  # a malformed frame is counted, not told for each


class WebSocketConnection(asyncio.Protocol):
    """One connection, whoever opened it. It is a flow."""

    reliable = True

    def __init__(self, owner: WebSockets, name: str, protocol: ServerProtocol | ClientProtocol) -> None:
        self._owner = owner
        self._protocol = protocol
        self.transport = name
        self.peer: tuple[str, int] = ("", 0)
        self.local: tuple[str, int] = ("", 0)
        self.came_in = isinstance(protocol, ServerProtocol)
        self.stayed = False  # it came in, and was counted by whoever may refuse that
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._io: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._due: asyncio.TimerHandle | None = None  # the handshake's end, the next ping, its pong, or the end of the close
        self._broken = False

    # -- called by the loop --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._io = cast("asyncio.Transport", transport)
        self._io.set_write_buffer_limits(high=UNSENT_MAX_BYTES)
        told, ours = self._io.get_extra_info("peername") or ("", 0), self._io.get_extra_info("sockname") or ("", 0)
        self.peer, self.local = (told[0], told[1]), (ours[0], ours[1])
        if not self._owner.opened(self):
            self._io.abort()
            return
        self._after(HANDSHAKE_S, self._break, "no handshake")
        if isinstance(self._protocol, ClientProtocol):
            request = self._protocol.connect()
            self._protocol.send_request(request)
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._due is not None:
            self._due.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionRefusedError(f"no WebSocket came about with {self.peer[0]}"))
            self.ready.exception()  # nobody need look at it
        self._parts.clear()
        self._io = None
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop, some bytes each time."""
        self._owner.counters.bytes_in += len(data)
        if self._io is None or self._broken:
            return
        self._protocol.receive_data(data)
        self._events()

    def eof_received(self) -> bool:
        """Called by the loop: the other side sends nothing more."""
        if not self._broken:
            self._protocol.receive_eof()
            self._events()
        return False

    # -- what came --

    def _events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._asked(event)
            elif isinstance(event, Response):
                self._accepted(event)
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._part(bytes(event.data), event.fin)
            elif event.opcode is Opcode.PONG:
                self._after(self._owner.ping_s, self._ping)
            if self._broken:
                return
        self._flush()
        fault = self._protocol.parser_exc or self._protocol.handshake_exc
        if fault is not None:  # the other side was told, as far as there are words for it
            self._owner.counters.broken += not isinstance(fault, EOFError)
            self._refuse_strangers(fault)
            self._end()
        elif self._protocol.state is State.CLOSED:
            self._end()
        elif self._protocol.state is State.CLOSING and self._protocol.close_expected():
            self._after(CLOSE_S, self._end)

    def _refuse_strangers(self, fault: Exception) -> None:
        """Who began with something else than a handshake is told so in HTTP."""
        began = isinstance(self._protocol, ClientProtocol) or self._protocol.state is not State.CONNECTING
        if not began and self._io is not None and not isinstance(fault, EOFError):
            self._io.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    def _asked(self, request: Request) -> None:
        """A handshake: whoever does not offer SIP is told what is spoken here (RFC 7118 5.1)."""
        assert isinstance(self._protocol, ServerProtocol)
        response = self._protocol.accept(request)
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and self._protocol.subprotocol != SIP:
            response = self._protocol.reject(http.HTTPStatus.BAD_REQUEST, "Only the subprotocol sip is spoken here.\n")
            response.headers["Sec-WebSocket-Protocol"] = SIP
        self._protocol.send_response(response)
        self._flush()
        if self._protocol.state is State.OPEN:
            self._opened()
        else:
            self._owner.counters.refused += 1
            self._end()

    def _accepted(self, response: Response) -> None:
        """The answer to our handshake."""
        if self._protocol.state is State.OPEN and self._protocol.subprotocol == SIP:
            self._opened()
            return
        fault = self._protocol.handshake_exc if isinstance(self._protocol, ClientProtocol) else None
        why = f"status {fault.response.status_code}" if isinstance(fault, InvalidStatus) else str(fault or "the subprotocol sip was not chosen")
        if not self.ready.done():
            self.ready.set_exception(ConnectionRefusedError(f"{self.peer[0]} refuses a WebSocket: {why}"))
        self._end()

    def _opened(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        self._after(self._owner.ping_s, self._ping)

    def _part(self, data: bytes, last: bool) -> None:
        """A message, or a fragment of one; its size is bounded by the library, its number here."""
        self._after(self._owner.ping_s, self._ping)
        if not last or self._parts:
            self._parts.append(data)
            if len(self._parts) > FRAGMENTS_MAX:
                self._break("a message in too many fragments")
                return
            if not last:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        counters = self._owner.counters
        if not data.strip(b"\r\n"):  # keep-alives of RFC 5626; WebSocket has its own (6)
            counters.blanks += 1
            return
        counters.messages += 1
        self._owner.on_message(data, self)

    # -- time --

    def _after(self, delay_s: float, call: Callable[..., None], *arguments: object) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(delay_s, call, *arguments)

    def _ping(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()
            self._after(PONG_S, self._break, "no pong")

    # -- flow --

    @property
    def alive(self) -> bool:
        """Whether messages can be sent."""
        return self._io is not None and not self._broken and self._protocol.state is State.OPEN

    def send(self, data: bytes) -> None:
        """Writes a message, as text where it is text. Raises OSError when the connection is gone or its peer does not read."""
        if not self.alive or self._io is None:
            raise ConnectionAbortedError("the connection is closed")
        if self._io.get_write_buffer_size() > UNSENT_MAX_BYTES:
            self._break("its peer does not read")
            raise ConnectionAbortedError("the peer does not read")
        try:
            data.decode()
        except UnicodeDecodeError:
            self._protocol.send_binary(data)
        else:
            self._protocol.send_text(data)
        self._flush()

    def close(self) -> None:
        """Says goodbye and ends it, behind what was written."""
        if self._io is None or self._broken:
            return
        if self._protocol.state is State.OPEN:
            with contextlib.suppress(ProtocolError):
                self._protocol.send_close(1001)
            self._flush()
            self._after(CLOSE_S, self._end)
        elif self._protocol.state is not State.CLOSING:
            self._end()

    def _flush(self) -> None:
        if self._io is None:
            return
        for piece in self._protocol.data_to_send():
            if piece:
                self._owner.counters.bytes_out += len(piece)
                self._io.write(piece)

    def _break(self, why: str) -> None:
        self._owner.counters.broken += 1
        log.info("a WebSocket of %s ends: %s", self.peer[0], why)
        self._end()

    def _end(self) -> None:
        self._broken = True
        if self._io is not None:
            self._io.close()


class WebSockets:
    """The WebSocket connections of one listening socket, and those opened from here."""

    def __init__(
        self, on_message: OnMessage, *, tls: ssl.SSLContext | None = None, connections_max: int = CONNECTIONS_MAX, ping_s: float = PING_S,
        origins: Sequence[str] = (), may_stay: Callable[[Flow], bool] | None = None, on_closed: Callable[[Flow, bool], None] | None = None,
    ) -> None:  # fmt: skip
        """With `tls` those that come in are secure. `ping_s` is how long one may be silent. `origins`, where there are any, are the only
        pages whose browsers may connect. `may_stay` and `on_closed` are those of `Streams`."""
        self.on_message = on_message
        self.counters = Counters()
        self.ping_s = ping_s
        self._tls = tls
        self._max = connections_max
        self._origins = [Origin(origin) for origin in origins] or None
        self._may_stay = may_stay
        self._on_closed = on_closed
        self._server: asyncio.Server | None = None
        self._connections: set[WebSocketConnection] = set()

    @property
    def name(self) -> str:
        """The transport's name in a Via."""
        return "WSS" if self._tls is not None else "WS"

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

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Binds. Raises OSError when it cannot; a port of 0 takes a free one."""
        loop = asyncio.get_running_loop()

        def made() -> WebSocketConnection:
            protocol = ServerProtocol(origins=self._origins, subprotocols=[SIP], select_subprotocol=_chosen, max_size=MESSAGE_MAX_BYTES, logger=_SILENT)
            return WebSocketConnection(self, self.name, protocol)

        self._server = await loop.create_server(made, host, port, ssl=self._tls, reuse_port=reuse_port or None, backlog=1024)

    async def connect(
        self, host: str, port: int, *, path: str = "/", tls: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> WebSocketConnection:
        """Opens a connection, and waits for its handshake. Raises OSError and ssl.SSLError when that fails."""
        loop = asyncio.get_running_loop()
        shown = server_name or host
        shown = f"[{shown}]" if ":" in shown else shown
        uri = parse_uri(f"{'wss' if tls is not None else 'ws'}://{shown}:{port}{path}")

        def made() -> WebSocketConnection:
            protocol = ClientProtocol(uri, subprotocols=[SIP], max_size=MESSAGE_MAX_BYTES, logger=_SILENT)
            return WebSocketConnection(self, "WSS" if tls is not None else "WS", protocol)

        _, connection = await loop.create_connection(made, host, port, ssl=tls, server_hostname=(server_name or host) if tls else None)
        await connection.ready
        return connection

    def opened(self, connection: WebSocketConnection) -> bool:
        """Called by a connection; whether it may stay."""
        stays = len(self._connections) < self._max
        if stays and connection.came_in and self._may_stay is not None:
            stays = connection.stayed = self._may_stay(connection)
        if not stays:
            self.counters.refused += 1
        self._connections.add(connection)
        self.counters.connections = len(self._connections)
        return stays

    def closed(self, connection: WebSocketConnection) -> None:
        """Called by a connection."""
        self._connections.discard(connection)
        self.counters.connections = len(self._connections)
        if self._on_closed is not None:
            self._on_closed(connection, connection.stayed)

    def close(self) -> None:
        """Closes the listening socket and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()


def _chosen(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """SIP where it is offered; whoever does not is answered in words."""
    return SIP if SIP in offered else None


__all__ = ["MESSAGE_MAX_BYTES", "SIP", "WebSocketConnection", "WebSockets"]

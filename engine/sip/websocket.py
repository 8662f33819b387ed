"""SIP over WebSocket (RFC 7118), as who is connected to and as who connects: one SIP message in one WebSocket message.

The protocol itself, its handshake and frames, is the `websockets` library's, which never touches a socket; what is here makes a connection
a flow, and sees to it that nobody can make it wait or grow without end. Compression is never agreed: SIP messages are small, and what a
few bytes unpack to is not.
"""

from __future__ import annotations

import asyncio
import http
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeader, InvalidMessage, InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from engine.sip.flow import Flow
from engine.sip.transport import (
    BODY_MAX_BYTES,
    CONNECTIONS_MAX,
    HALF_MESSAGE_S,
    HEAD_MAX_BYTES,
    IDLE_S,
    PING,
    PONG,
    UNSENT_MAX_BYTES,
    Connections,
    OnMessage,
)

log = logging.getLogger("trunkline.sip.websocket")
SIP: Final = Subprotocol("sip")  # RFC 7118 4.1
MESSAGE_MAX_BYTES: Final = HEAD_MAX_BYTES + BODY_MAX_BYTES
HANDSHAKE_S: Final = 10.0
HANDSHAKE_MAX_BYTES: Final = 16_384  # browsers send cookies, and little else
PING_S: Final = 50.0  # what is between keeps a silent connection for a minute
PONG_S: Final = 20.0
CLOSE_S: Final = 5.0  # for the other side to answer our close, and then to read what is left
FRAGMENTS_MAX: Final = 4096
NO_HANDSHAKE: Final = "This is a WebSocket for SIP."
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
        self._head = bytearray()  # of a handshake that comes in
        self._parts: list[bytes] = []
        self._is_text = False  # the message whose fragments come
        self._half: asyncio.TimerHandle | None = None
        self._half_closed = False
        self._due: asyncio.TimerHandle | None = None  # the handshake's end, the next ping, its pong, or the end of the close
        self._closing = False  # our close is out
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
        self._after(HANDSHAKE_S, self._no_handshake)
        if isinstance(self._protocol, ClientProtocol):
            request = self._protocol.connect()
            self._protocol.send_request(request)
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        for handle in (self._due, self._half):
            if handle is not None:
                handle.cancel()
        self._fail(f"no WebSocket came about with {self.peer[0]}")
        self._head.clear()
        self._parts.clear()
        self._io = None
        self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop, some bytes each time."""
        self._owner.counters.bytes_in += len(data)
        if self._broken:
            return
        if self.came_in and self._protocol.state is State.CONNECTING:
            data = self._handshake(data)
        if data and not self._broken:
            self._protocol.receive_data(data)
            self._events()

    def eof_received(self) -> bool:
        """Called by the loop: the other side sends nothing more."""
        self._half_closed = True
        if not self._broken:
            self._protocol.receive_eof()
            self._events()
        return False

    # -- the handshake --

    def _handshake(self, data: bytes) -> bytes:
        """Reads on in a handshake; what stands behind it. Frames there are read once it is answered, or answers to them would come first."""
        head = self._head
        before = len(head)
        head += data
        end = head.find(b"\r\n\r\n", max(0, before - 3))
        whole = end >= 0
        end = end + 4 if whole else len(head)
        if end > HANDSHAKE_MAX_BYTES:
            self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A handshake has no more than {HANDSHAKE_MAX_BYTES} bytes here.")
            return b""
        if not head[:1].isalpha():  # TLS, say, which waits for an answer as long as we for a line
            self._refuse(http.HTTPStatus.BAD_REQUEST, NO_HANDSHAKE)
            return b""
        if whole:
            head.clear()
        self._protocol.receive_data(data[: end - before])
        self._events()
        return data[end - before :]

    def _no_handshake(self) -> None:
        if self.came_in:
            self._refuse(http.HTTPStatus.REQUEST_TIMEOUT, "The handshake took too long.")
        else:
            self._break("no handshake")

    def _refuse(self, status: http.HTTPStatus, why: str, **headers: str) -> None:
        """Answers what is no handshake, or none that can be agreed to, in HTTP."""
        assert isinstance(self._protocol, ServerProtocol)
        response = self._protocol.reject(status, f"{why}\n")
        for name, value in headers.items():
            response.headers[name.replace("_", "-")] = value
        self._owner.counters.refused += 1
        self._write(response.serialize())
        self._end()

    def _asked(self, request: Request) -> None:
        """A handshake: whoever does not offer SIP is told what is spoken here (RFC 7118 4.1, RFC 6455 4.2.2)."""
        protocol = self._protocol
        assert isinstance(protocol, ServerProtocol)
        if len(request.headers.get_all("Host")) != 1:  # RFC 9112 3.2
            self._refuse(http.HTTPStatus.BAD_REQUEST, "A request has one Host.")
            return
        response = protocol.accept(request)
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            if protocol.subprotocol == SIP:
                protocol.send_response(response)
                self._flush()
                self._opened()
                return
            self._refuse(http.HTTPStatus.BAD_REQUEST, "Only the subprotocol sip is spoken here.", Sec_WebSocket_Protocol=SIP)
            return
        fault = protocol.handshake_exc
        if isinstance(fault, InvalidHeader) and fault.name == "Sec-WebSocket-Version":  # RFC 6455 4.4
            self._refuse(
                http.HTTPStatus.UPGRADE_REQUIRED, "Only version 13 of WebSocket is spoken here.", Upgrade="websocket", Sec_WebSocket_Version="13"
            )
            return
        self._owner.counters.refused += 1
        self._write(response.serialize())
        self._end()

    def _accepted(self, response: Response) -> None:
        """The answer to our handshake."""
        if self._protocol.state is State.OPEN and self._protocol.subprotocol == SIP:
            self._opened()
            return
        fault = self._protocol.handshake_exc
        why = f"status {response.status_code}" if isinstance(fault, InvalidStatus) else str(fault or "the subprotocol sip was not chosen")
        self._fail(f"{self.peer[0]} refuses a WebSocket: {why}")
        self._end()

    def _opened(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        self._heard()

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionRefusedError(why))
            self.ready.exception()  # nobody need look at it

    # -- what came --

    def _events(self) -> None:
        protocol = self._protocol
        for event in protocol.events_received():
            if isinstance(event, Request):
                self._asked(event)
            elif isinstance(event, Response):
                self._accepted(event)
            elif event.opcode is Opcode.TEXT or event.opcode is Opcode.BINARY:
                self._is_text = event.opcode is Opcode.TEXT
                self._part(bytes(event.data), event.fin)
            elif event.opcode is Opcode.CONT:
                self._part(bytes(event.data), event.fin)
            elif event.opcode is Opcode.PONG:
                self._heard()
            if self._broken:
                return
        fault = protocol.parser_exc or protocol.handshake_exc
        if isinstance(fault, InvalidMessage) and self.came_in and not self._half_closed:  # who speaks something else is told so in HTTP
            self._refuse(http.HTTPStatus.BAD_REQUEST, NO_HANDSHAKE)
            return
        self._flush()
        if fault is not None:  # the other side was told, as far as there are words for it
            self._owner.counters.broken += not self._half_closed
            self._end()
        elif self._broken:
            return
        elif protocol.state is State.CLOSING:
            self._await_close()
        elif self.unsent_bytes > UNSENT_MAX_BYTES + MESSAGE_MAX_BYTES:
            self._give_up("its peer does not read")  # pongs are asked for by the other side, which need not read them

    def _part(self, data: bytes, last: bool) -> None:
        """A message, or a fragment of one; its size is bounded by the library, its number and its time here."""
        self._heard()
        if not last or self._parts:
            self._parts.append(data)
            if len(self._parts) > FRAGMENTS_MAX:
                self._break("a message in too many fragments", CloseCode.POLICY_VIOLATION)
                return
            if not last:
                if self._half is None:
                    self._half = asyncio.get_running_loop().call_later(HALF_MESSAGE_S, self._break, "half a message", CloseCode.POLICY_VIOLATION)
                return
            data = b"".join(self._parts)
            self._parts.clear()
            if self._half is not None:
                self._half.cancel()
                self._half = None
        if self._is_text and not _is_utf8(data):
            self._break("a text that is none", CloseCode.INVALID_DATA)  # RFC 6455 8.1
            return
        counters = self._owner.counters
        if not data.strip(b"\r\n"):
            counters.blanks += 1
            if data == PING and self.alive:  # RFC 7118 6: this keep-alive may be used beside WebSocket's own
                self.send(PONG)
            return
        counters.messages += 1
        self._owner.on_message(data, self)

    # -- time --

    def _after(self, delay_s: float, call: Callable[..., None], *arguments: object) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(delay_s, call, *arguments)

    def _heard(self) -> None:
        """The other side lives. It is asked whether it still does when it says nothing for long; without pings, it is closed then."""
        if self._protocol.state is State.OPEN and not self._broken:
            if self._owner.ping_s:
                self._after(self._owner.ping_s, self._ping)
            else:
                self._after(IDLE_S, self.close)

    def _ping(self) -> None:
        self._protocol.send_ping(b"")
        self._after(PONG_S, self._give_up, "no pong")
        self._flush()

    def _await_close(self) -> None:
        """Once: what else comes makes it no longer."""
        if not self._closing:
            self._closing = True
            self._after(CLOSE_S, self._end)

    # -- flow --

    @property
    def alive(self) -> bool:
        """Whether messages can be sent."""
        return self._io is not None and not self._broken and self._protocol.state is State.OPEN

    @property
    def unsent_bytes(self) -> int:
        """What waits until its peer reads."""
        return self._io.get_write_buffer_size() if self._io is not None else 0

    def send(self, data: bytes) -> None:
        """Writes a message, as text where it is text. Raises OSError when the connection is gone or its peer does not read."""
        if not self.alive:
            raise ConnectionAbortedError("the connection is closed")
        if self.unsent_bytes > UNSENT_MAX_BYTES:
            self._give_up("its peer does not read")
            raise ConnectionAbortedError("the peer does not read")
        if _is_utf8(data):
            self._protocol.send_text(data)
        else:
            self._protocol.send_binary(data)
        self._flush()

    def close(self) -> None:
        """Says goodbye and ends it, behind what was written."""
        if self._io is None or self._broken:
            return
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.GOING_AWAY)
            self._flush()
            self._await_close()
        elif self._protocol.state is State.CONNECTING:
            self._end()

    def abort(self) -> None:
        """Ends it at once, without a word."""
        self._broken = True
        if self._io is not None:
            self._io.abort()

    def _write(self, data: bytes) -> None:
        if self._io is not None and not self._io.is_closing():
            self._owner.counters.bytes_out += len(data)
            self._io.write(data)

    def _flush(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._write(piece)
            else:  # a server is the one who ends the stream (RFC 6455 7.1.1)
                self._end()

    def _break(self, why: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        """Ends it for what came."""
        self._owner.counters.broken += 1
        log.info("a WebSocket of %s ends: %s", self.peer[0], why)
        if self._protocol.state is State.OPEN:
            self._protocol.fail(code, why)
            self._flush()
        self._end()

    def _give_up(self, why: str) -> None:
        """Ends it for what did not come; there is nobody to tell."""
        self._owner.counters.broken += 1
        log.info("a WebSocket of %s ends: %s", self.peer[0], why)
        self.abort()

    def _end(self) -> None:
        """Ends the stream behind what was written; who does not read that has only so long."""
        self._broken = True
        if self._io is not None and not self._io.is_closing():
            self._io.close()
            self._after(CLOSE_S, self._io.abort)


class WebSockets(Connections[WebSocketConnection]):
    """The WebSocket connections of one listening socket, and those opened from here."""

    def __init__(
        self, on_message: OnMessage, *, tls: ssl.SSLContext | None = None, connections_max: int = CONNECTIONS_MAX, ping_s: float = PING_S,
        origins: Sequence[str] = (), may_stay: Callable[[Flow], bool] | None = None, on_closed: Callable[[Flow, bool], None] | None = None,
    ) -> None:  # fmt: skip
        """With `tls` those that come in are secure. `ping_s` is how long one may be silent, 0 for no pings. `origins`, where there are any, are the only
        pages whose browsers may connect. The others are those of `Connections`."""
        super().__init__(on_message, tls=tls, connections_max=connections_max, may_stay=may_stay, on_closed=on_closed)
        self.ping_s = ping_s
        self._origins = [Origin(origin) for origin in origins] or None

    @property
    def name(self) -> str:
        """The transport's name in a Via."""
        return "WSS" if self._tls is not None else "WS"

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
        try:
            uri = parse_uri(f"{'wss' if tls is not None else 'ws'}://{shown}:{port}{path}")
        except (InvalidURI, ValueError) as fault:  # hosts come from other people's messages
            raise OSError(f"{shown[:80]!r} is no host") from fault

        def made() -> WebSocketConnection:
            protocol = ClientProtocol(uri, subprotocols=[SIP], max_size=MESSAGE_MAX_BYTES, logger=_SILENT)
            return WebSocketConnection(self, "WSS" if tls is not None else "WS", protocol)

        _, connection = await loop.create_connection(made, host, port, ssl=tls, server_hostname=(server_name or host) if tls else None)
        try:
            await connection.ready
        except BaseException:  # who no longer waits for it will not close it either
            connection.abort()
            raise
        return connection


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _chosen(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """SIP where it is offered; whoever does not is answered in words."""
    return SIP if SIP in offered else None


__all__ = ["MESSAGE_MAX_BYTES", "SIP", "WebSocketConnection", "WebSockets"]

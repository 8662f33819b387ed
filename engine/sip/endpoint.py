"""A SIP endpoint: the sockets of one process, the ways to others, and the user agent on top of them.

It listens where it is told, gives the user agent flows to where requests go (RFC 3263), keeps connections for those who come next, and
says in Via and Contact how it is reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, Literal

import msgspec

from engine._native.sip import Scheme, parameter, parse_uri
from engine.errors import EngineError
from engine.sip.flow import Flow
from engine.sip.resolver import PORTS, SECURE, Resolver, Target
from engine.sip.timers import Timers
from engine.sip.transaction_layer import Judge, OnWire
from engine.sip.transport import OnMessage, Streams, Udp
from engine.sip.user_agent import Application, Settings, UserAgent
from engine.sip.websocket import WebSockets

log = logging.getLogger("trunkline.sip")
Name = Literal["UDP", "TCP", "TLS", "WS", "WSS"]
CONNECT_S: Final = 5.0
LOCAL_MAX: Final = 4096
RECEIVE_BUFFER_BYTES: Final = 4 << 20


class Unreachable(EngineError):
    """There is no way to a URI: its scheme, its transport or its host is none that can be used."""

    code = "sip.unreachable"


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen. `advertised` is the host that Via and Contact name instead of the socket's own, for those behind a translator."""

    transport: Name = "UDP"
    host: str = "0.0.0.0"
    port: int = 5060
    advertised: str = ""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Contexts of TLS and WSS: `server` for those who come, `client` for where we go; without the first there is no listening."""

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None


class Destination(msgspec.Struct, frozen=True):
    """What a URI says of where it leads, before any name is looked up. `transport` "" is not told; `host` is an address or a name."""

    host: str
    port: int
    transport: str
    is_address: bool

    @property
    def target(self) -> Target:
        """Where that is, for an address: by UDP and the transport's own port where nothing else is told (RFC 3263 4.1, 4.2)."""
        transport = self.transport or "UDP"
        return Target(transport, self.host, self.port or PORTS[transport], self.host)


def destination_of(uri: str) -> Destination:
    """Reads a URI. Raises Unreachable."""
    raw = uri.encode("utf-8", "surrogateescape")
    parsed = parse_uri(raw)
    if int(parsed.scheme_id) not in (Scheme.SIP, Scheme.SIPS) or not parsed.host:
        raise Unreachable(f"{uri[:120]!r} is no SIP URI that leads anywhere")
    host = (parameter(b";" + parsed.parameters, b"maddr") or parsed.host).decode("latin-1").strip("[]")
    told = (parameter(b";" + parsed.parameters, b"transport") or b"").decode("latin-1").upper()
    secure = int(parsed.scheme_id) == Scheme.SIPS
    if told not in ("", *PORTS):
        raise Unreachable(f"{uri[:120]!r} wants a transport that there is none of here: {told[:20]}")
    if secure and told in ("", "TCP"):
        told = "TLS"
    elif secure and told == "WS":
        told = "WSS"
    elif secure and told == "UDP":
        raise Unreachable(f"{uri[:120]!r} wants security over a transport that has none")
    try:
        host = str(ipaddress.ip_address(host))
        is_address = True
    except ValueError:
        is_address = False
    return Destination(host, max(parsed.port, 0), told, is_address)


class Endpoint:
    """The sockets and the user agent of one process. Belongs to one event loop."""

    def __init__(
        self, application: Application, *, settings: Settings | None = None, timers: Timers | None = None, tls: Tls | None = None,
        resolver: Resolver | None = None, admit: Callable[[bytes, Flow], bool] | None = None, on_wire: OnWire | None = None,
        judge: Judge | None = None, on_malformed: Callable[[Flow], None] | None = None, methods: tuple[str, ...] = (),
        new_call_id: Callable[[], str] | None = None, receiver: Callable[[int], OnMessage] | None = None,
        may_stay: Callable[[Flow], bool] | None = None, on_closed: Callable[[Flow, bool], None] | None = None,
        may_answer: Callable[[bytes, Flow], bool] | None = None,
    ) -> None:  # fmt: skip
        """`admit` sees every message before it is read; `on_wire` those that are, and all that are sent. `receiver` gives what takes the
        messages of a listening socket, by its number, instead of the user agent; `may_stay` and `on_closed` are those of `Streams`."""
        more: dict[str, Any] = {} if new_call_id is None else {"new_call_id": new_call_id}
        self._loop = asyncio.get_running_loop()
        self.agent = UserAgent(
            self, self._loop, application, settings, timers, judge=judge, methods=methods, on_wire=on_wire, may_answer=may_answer, on_malformed=on_malformed,
            **more,
        )  # fmt: skip
        self.deliver = self.agent.layer.received  # what takes a message that is this process's own
        self._tls = tls or Tls()
        self._resolver = resolver
        self._admit = admit
        self._receiver = receiver
        self._may_stay = may_stay
        self._on_closed = on_closed
        self._numbered: list[Udp | None] = []  # by number of the listening socket
        self._udp: list[Udp] = []
        self._streams: dict[str, list[Streams | WebSockets]] = {}
        self._advertised: dict[tuple[str, int], str] = {}
        self._opened: dict[tuple[str, str, int], Flow] = {}  # connections of ours, by where they lead
        self._opening: dict[tuple[str, str, int], asyncio.Future[Flow]] = {}
        self._local: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def transports(self) -> list[str]:
        """Those that requests can go out over, our favourite first."""
        names = ["UDP"] if self._udp else []
        names.append("TCP")
        if self._tls.client is not None:
            names.append("TLS")
        names.append("WS")
        if self._tls.client is not None:
            names.append("WSS")
        return names

    # ---- listening ----

    async def listen(self, listener: Listener, *, reuse_port: bool = False) -> tuple[str, int]:
        """Binds; where it is bound. Raises OSError, and ValueError for TLS without a certificate."""
        name, host, port = listener.transport, listener.host, listener.port
        number = len(self._numbered)
        if name == "UDP":
            udp = await Udp.listen(host, port, self._taking(number), reuse_port=reuse_port)
            udp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self._udp.append(udp)
            self._numbered.append(udp)
            address = udp.address
        else:
            context = self._tls.server if name in SECURE else None
            if name in SECURE and context is None:
                raise ValueError(f"listening for {name} needs a certificate")
            kind = WebSockets if name in ("WS", "WSS") else Streams
            streams = kind(self._taking(number), tls=context, may_stay=self._may_stay, on_closed=self._on_closed)
            await streams.listen(host, port, reuse_port=reuse_port)
            self._numbered.append(None)
            self._streams.setdefault(name, []).append(streams)
            address = streams.address
        if listener.advertised:
            self._advertised[address] = listener.advertised
        return address

    def _taking(self, number: int) -> OnMessage:
        """What takes the messages of a listening socket."""
        deliver = self.deliver if self._receiver is None else self._receiver(number)
        admit = self._admit
        if admit is None:
            return deliver

        def taken(data: bytes, flow: Flow) -> None:
            if admit(data, flow):
                deliver(data, flow)
            elif flow.reliable:
                flow.close()

        return taken

    def datagram_flow(self, number: int, peer: tuple[str, int]) -> Flow:
        """The flow to a datagram peer from our listening socket of a number. Raises LookupError where that is none for datagrams."""
        udp = self._numbered[number]
        if udp is None:
            raise LookupError(f"listening socket {number} has no datagrams")
        return udp.flow(peer)

    async def reach(self, transport: str, host: str, port: int) -> Flow:
        """The flow to an address, opened where there is none. Raises OSError and Unreachable."""
        if transport != "UDP":
            return await self._connected(transport, host, port, host)
        found = self._datagrams(host, port)
        if found is None:
            raise Unreachable(f"no socket here leads to {host}")
        return found

    @property
    def datagram_sockets(self) -> list[socket.socket]:
        """The sockets of UDP, for their options."""
        return [udp.socket for udp in self._udp]

    @property
    def sockets(self) -> int:
        """Connections that are open, of both directions."""
        return sum(streams.counters.connections for group in self._streams.values() for streams in group)

    # ---- how we are reached ----

    def _listening(self, flow: Flow) -> tuple[str, int]:
        """Where those listen who would come over a flow's transport, "" and 0 where nobody does."""
        if flow.transport == "UDP":
            return flow.local
        wanted = ":" in flow.local[0]
        found = [streams.address for streams in self._streams.get(flow.transport, ()) if streams.is_listening]
        return next((address for address in found if (":" in address[0]) == wanted), ("", 0))

    def _reached_at(self, flow: Flow) -> tuple[str, int]:
        host, port = self._listening(flow)
        if not port:
            host, port = flow.local
        advertised = self._advertised.get((host, port))
        if advertised:
            return advertised, port
        if host in ("0.0.0.0", "::", ""):
            host = flow.local[0] if flow.reliable else self._toward(flow.peer[0])
        return host, port

    def _toward(self, peer: str) -> str:
        """The address of ours that datagrams to a peer leave from."""
        found = self._local.get(peer)
        if found is None:
            if len(self._local) >= LOCAL_MAX:
                self._local.clear()
            family = socket.AF_INET6 if ":" in peer else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect((peer, 9))  # nothing is sent
                    found = probe.getsockname()[0]
                except OSError:
                    found = "::1" if ":" in peer else "127.0.0.1"
            self._local[peer] = found
        return found

    def host_toward(self, flow: Flow) -> str:
        """The address of ours that a peer reaches us at: media may be had there, too."""
        return self._reached_at(flow)[0]

    def via(self, flow: Flow) -> str:
        """Our Via value over a flow, without a branch."""
        host, port = self._reached_at(flow)
        return f"SIP/2.0/{flow.transport} {_bracketed(host)}:{port}"

    def contact(self, flow: Flow) -> str:
        """Our Contact value for those who come back over that transport."""
        host, port = self._reached_at(flow)
        # a URI has one word for both kinds of WebSocket (RFC 7118 5.2), and TLS is what it is for want of another (RFC 3261 26.2.2)
        word = {"UDP": "", "WSS": "ws"}.get(flow.transport, flow.transport.lower())
        more = f";transport={word}" if word else ""
        return f"<sip:{_bracketed(host)}:{port}{more}>"

    # ---- where requests go ----

    def at_once(self, uri: str, *, large: bool = False) -> Flow | None:
        """The flow to a URI, where nothing must be waited for."""
        try:
            there = destination_of(uri)
        except Unreachable:
            return None
        if not there.is_address:
            return None
        target = there.target
        if target.transport == "UDP" and not large:
            return self._datagrams(target.host, target.port)
        return self._open_to("TCP" if target.transport == "UDP" else target.transport, target.host, target.port)

    def _datagrams(self, host: str, port: int) -> Flow | None:
        wanted = ":" in host
        return next((udp.flow((host, port)) for udp in self._udp if (":" in udp.address[0]) == wanted), None)

    def _open_to(self, transport: str, host: str, port: int) -> Flow | None:
        found = self._opened.get((transport, host, port))
        if found is None and transport == "WS":  # a Record-Route that says ws may mean the secure one
            found = self._opened.get(("WSS", host, port))
        return found if found is not None and found.alive else None

    async def each(self, uri: str, *, large: bool = False) -> AsyncIterator[Flow]:
        """Flows to the targets of a URI in order, opened when they are asked for."""
        there = destination_of(uri)
        fault: Exception | None = None
        for target in await self._targets(uri, there):
            transport, host, port = target.transport, target.host, target.port
            try:
                if transport == "UDP" and not large:
                    flow = self._datagrams(host, port)
                    if flow is None:
                        fault = Unreachable(f"no socket here leads to {host}")
                        continue
                    yield flow
                else:
                    yield await self._connected("TCP" if transport == "UDP" else transport, host, port, target.server_name)
            except (OSError, EngineError) as error:
                fault = error
                self._avoid(transport, host, port, 0.0)
        if fault is not None:
            raise Unreachable(f"{uri[:120]} cannot be reached: {fault}") from fault

    async def _targets(self, uri: str, there: Destination) -> list[Target]:
        if there.is_address:
            return [there.target]
        if self._resolver is None:
            raise Unreachable(f"{uri[:120]} needs a resolver, and there is none")
        return await self._resolver.targets(uri, transports=self.transports)

    async def _connected(self, transport: str, host: str, port: int, server_name: str) -> Flow:
        """A connection, one for all who want it at once. Raises OSError."""
        key = (transport, host, port)
        found = self._open_to(*key)
        if found is not None:
            return found
        if self._closed:
            raise ConnectionAbortedError("the endpoint is closed")
        waiting = self._opening.get(key)
        if waiting is None:
            waiting = self._opening[key] = asyncio.ensure_future(self._connect(transport, host, port, server_name))
            waiting.add_done_callback(lambda done: self._opening.pop(key, None))
        return await asyncio.shield(waiting)

    async def _connect(self, transport: str, host: str, port: int, server_name: str) -> Flow:
        context = self._tls.client if transport in SECURE else None
        if transport in SECURE and context is None:
            raise Unreachable(f"{transport} needs a context, and there is none")
        if transport not in self._streams:
            kind = WebSockets if transport in ("WS", "WSS") else Streams
            self._streams[transport] = [kind(self._taking(0), on_closed=self._on_closed)]
        streams = self._streams[transport][0]
        async with asyncio.timeout(CONNECT_S):
            flow: Flow = await streams.connect(host, port, tls=context, server_name=server_name or None)
        self._opened = {key: kept for key, kept in self._opened.items() if kept.alive}
        self._opened[transport, host, port] = flow
        return flow

    def avoid(self, flow: Flow, retry_after_s: float) -> None:
        """A target did not answer or is overloaded."""
        self._avoid(flow.transport, flow.peer[0], flow.peer[1], retry_after_s)

    def _avoid(self, transport: str, host: str, port: int, retry_after_s: float) -> None:
        if self._resolver is not None:
            self._resolver.avoid(transport, host, port, retry_after_s)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something that waits, until the endpoint is closed."""
        if self._closed:
            work.close()
            return
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a request could not be sent", exc_info=error)

    # ---- the end ----

    async def drain(self, grace_s: float) -> int:
        """Ends every call, and waits for the answers; calls that are left."""
        for call in self.agent:
            with contextlib.suppress(EngineError):
                call.hang_up()
        until = self._loop.time() + grace_s
        while self.agent.calls and self._loop.time() < until:
            await asyncio.sleep(0.02)
        return self.agent.calls

    async def close(self) -> None:
        """Closes everything at once."""
        self._closed = True
        self.agent.close()
        for task in list(self._tasks):
            task.cancel()
        for waiting in list(self._opening.values()):
            waiting.cancel()
        await asyncio.gather(*self._tasks, *self._opening.values(), return_exceptions=True)
        for udp in self._udp:
            udp.close()
        for group in self._streams.values():
            for streams in group:
                streams.close()
        await asyncio.sleep(0)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


__all__ = ["PORTS", "Destination", "Endpoint", "Listener", "Tls", "Unreachable", "destination_of"]

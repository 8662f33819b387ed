"""One request of ours until its final answer: over the targets of RFC 3263 one by one, over TCP where it is large, and again with
credentials where it is challenged. Each attempt is a transaction with a branch of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Protocol

from engine.errors import EngineError
from engine.sip import auth
from engine.sip.compose import Header
from engine.sip.flow import Flow
from engine.sip.message import Message
from engine.sip.transaction import ClientTransaction
from engine.sip.transaction_layer import TransactionLayer, branched

LARGE_BYTES: Final = 1300  # RFC 3261 18.1.1: a request beyond it goes over a transport that knows congestion
TRIES_MAX: Final = 6
Authorize = Callable[[str, str, bytes], list[Header]]
Write = Callable[[str, Flow, Authorize], bytes]


class Network(Protocol):
    """Where requests can go: the sockets of a worker, or of a test."""

    def via(self, flow: Flow) -> str:
        """Our Via value over a flow, without a branch: SIP/2.0/UDP 192.0.2.1:5060."""
        ...

    def contact(self, flow: Flow) -> str:
        """Our Contact value for requests that are to come back over that transport."""
        ...

    def at_once(self, uri: str, *, large: bool = False) -> Flow | None:
        """The flow to a URI, where nothing must be waited for: an address over UDP, a connection that is open. `large` leaves UDP out."""
        ...

    def each(self, uri: str, *, large: bool = False) -> AsyncIterator[Flow]:
        """Flows to the targets of a URI in order (RFC 3263 4), opened when they are asked for; those that cannot be are left out.

        Raises EngineError or OSError where there is none.
        """
        ...

    def avoid(self, flow: Flow, retry_after_s: float) -> None:
        """A target did not answer or is overloaded: others come first for a while (RFC 3263 4.3)."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something that waits, until the network is closed."""
        ...


class Credentials:
    """Who we are to those who challenge one call: an answer a realm, and a nonce count a nonce."""

    __slots__ = ("_clients", "_password", "_username")

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self._clients: dict[tuple[str, str], auth.Client] = {}  # (realm, header of the answer)

    def take(self, response: Message) -> bool:
        """Takes the challenges of a 401 or 407 over; whether it is worth to ask again."""
        if not self._username:
            return False
        worth = False
        for name, header in (("WWW-Authenticate", "Authorization"), ("Proxy-Authenticate", "Proxy-Authorization")):
            realms: dict[str, list[str]] = {}
            for value in response.values(name):
                try:
                    realms.setdefault(auth.challenge_of(value).realm, []).append(value)
                except auth.BadAuthorization:
                    continue
            for realm, values in realms.items():
                challenge = auth.chosen(values)
                if challenge is None:
                    continue
                client = self._clients.get((realm, header))
                if client is None:
                    client = self._clients[realm, header] = auth.Client(self._username, self._password)
                if not client.take(challenge):
                    return False
                worth = True
        return worth

    def accepted(self, response: Message) -> None:
        """The answers that were given were good."""
        for client in self._clients.values():
            client.accepted(auth.next_nonce(response.value("Authentication-Info")))

    def authorize(self, method: str, uri: str, body: bytes) -> list[Header]:
        """The headers for a request, one for each realm that has asked."""
        return [(header, client.answer(method, uri, body)) for (_, header), client in self._clients.items()]


def no_authorization(method: str, uri: str, body: bytes) -> list[Header]:
    """For those who have no credentials."""
    return []


class ClientRequest:
    """A request and what comes of it. `on_response` gets every answer but challenges that are answered and a 503 that another target
    may make good; `on_failure` stands for a final answer where none came: 408, or 503 for no target (RFC 3261 8.1.3.1)."""

    __slots__ = (
        "_abandoned", "_credentials", "_flow", "_flows", "_heard", "_layer", "_network", "_on_failure", "_on_response", "_tries", "_uri",
        "_write", "transaction",
    )  # fmt: skip

    def __init__(
        self, layer: TransactionLayer, network: Network, uri: str, write: Write, *, on_response: Callable[[Message], None],
        on_failure: Callable[[int, str], None], flow: Flow | None = None, credentials: Credentials | None = None,
    ) -> None:  # fmt: skip
        """`write(via, flow, authorize)` makes the message, once an attempt. `flow` is where it goes without being looked for."""
        self._layer = layer
        self._network = network
        self._uri = uri
        self._write = write
        self._on_response = on_response
        self._on_failure = on_failure
        self._flow = flow
        self._credentials = credentials
        self._flows: AsyncIterator[Flow] | None = None
        self._heard = False
        self._abandoned = False
        self._tries = 0
        self.transaction: ClientTransaction | None = None

    @property
    def flow(self) -> Flow | None:
        """What the attempt that counts went over."""
        return self._flow

    @property
    def heard(self) -> bool:
        """Whether any answer came: only then may an INVITE be cancelled (9.1)."""
        return self._heard

    def start(self) -> None:
        """Sends it, now or when a way there is found."""
        flow = self._flow or self._network.at_once(self._uri)
        if flow is not None:
            self._attempt(flow)
        else:
            self._flows = self._network.each(self._uri)
            self._network.spawn(self._next(408, "no target answered"))

    def abandon(self) -> None:
        """Nothing more is sent, and nothing is told."""
        self._abandoned = True
        if self.transaction is not None:
            self.transaction.abandon()

    async def _next(self, status: int, why: str) -> None:
        assert self._flows is not None
        try:
            flow = await anext(self._flows, None)
        except (EngineError, OSError) as error:
            flow, status, why = None, 503, str(error)
        if self._abandoned:
            return
        if flow is None:
            self._on_failure(status, why)
        else:
            self._attempt(flow)

    def _attempt(self, flow: Flow) -> None:
        self._flow = flow
        self._tries += 1
        authorize = self._credentials.authorize if self._credentials is not None else no_authorization
        data = self._write(branched(self._network.via(flow)), flow, authorize)
        if len(data) > LARGE_BYTES and not flow.reliable and self._flows is None:
            self._network.spawn(self._over_a_stream(flow, data))
            return
        self._transmit(flow, data)

    async def _over_a_stream(self, flow: Flow, data: bytes) -> None:
        """A large request: over a connection where there can be one, else over UDP all the same (18.1.1)."""
        found = None
        with suppress(EngineError, OSError):
            found = self._network.at_once(self._uri, large=True) or await anext(self._network.each(self._uri, large=True), None)
        if self._abandoned:
            return
        if found is None or not found.reliable:
            self._transmit(flow, data)
        else:
            self._tries -= 1
            self._attempt(found)

    def _transmit(self, flow: Flow, data: bytes) -> None:
        self.transaction = self._layer.request(
            data, flow, on_response=self._answered, on_timeout=self._timed_out, on_failure=self._failed
        )

    def _answered(self, response: Message) -> None:
        if self._abandoned:
            return
        self._heard = True
        status = response.status
        if status in (401, 407) and self._credentials is not None and self._tries < TRIES_MAX and self._credentials.take(response):
            assert self._flow is not None
            self._heard = False
            self._attempt(self._flow)
            return
        if status == 503 and self._flow is not None:
            self._network.avoid(self._flow, float(min(response.number("Retry-After") or 0, 3600)))
            if self._flows is not None and self._tries < TRIES_MAX:
                self._heard = False
                self._network.spawn(self._or_else(response))
                return
        if 200 <= status < 300 and self._credentials is not None:
            self._credentials.accepted(response)
        self._on_response(response)

    async def _or_else(self, response: Message) -> None:
        """The next target, or this answer where there is none."""
        assert self._flows is not None
        try:
            flow = await anext(self._flows, None)
        except (EngineError, OSError):
            flow = None
        if self._abandoned:
            return
        if flow is None:
            self._heard = True
            self._on_response(response)
        else:
            self._attempt(flow)

    def _timed_out(self) -> None:
        self._lost(408, "no answer came")

    def _failed(self, error: Exception) -> None:
        self._lost(503, str(error))

    def _lost(self, status: int, why: str) -> None:
        if self._abandoned:
            return
        if self._flow is not None:
            self._network.avoid(self._flow, 0.0)
        if self._flows is not None and self._tries < TRIES_MAX:
            self._network.spawn(self._next(status, why))
        else:
            self._on_failure(status, why)


__all__ = ["Authorize", "ClientRequest", "Credentials", "Network", "Write", "no_authorization"]

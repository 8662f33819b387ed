"""The four transaction machines of RFC 3261 17, with the Accepted state of RFC 6026.

States and timers have the names of the RFC's figures. Time comes from a `Clock`, bytes leave through `send`, and what the user of a
transaction must know goes to its callbacks, so that every path is run in tests without a socket and without waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.sip import compose
from engine.sip.flow import Flow
from engine.sip.message import Message, parse
from engine.sip.timers import Clock, Handle, Timers

Send = Callable[[bytes], None]
OnMessage = Callable[[Message], None]
OnEnd = Callable[[], None]


class Transaction:
    """What the machines share: one state, named timers, and an end that is told once."""

    __slots__ = ("_clock", "_handles", "_reliable", "_request", "_state", "_timers")

    def __init__(self, request: Message, clock: Clock, timers: Timers, *, reliable: bool) -> None:
        self._request: Message | bytes = request
        self._clock = clock
        self._timers = timers
        self._reliable = reliable
        self._handles: dict[str, Handle] = {}
        self._state = "Trying"

    @property
    def request(self) -> Message:
        """What it is a transaction of. While it only waits for stragglers, this is read anew from its bytes."""
        request = self._request
        return parse(request) if isinstance(request, bytes) else request

    @property
    def source(self) -> bytes:
        """The bytes of the request."""
        request = self._request
        return request if isinstance(request, bytes) else request.tokens.source

    @property
    def reliable(self) -> bool:
        """Whether its transport repeats by itself what was lost."""
        return self._reliable

    def _lighten(self) -> None:
        """Keeps only the bytes of the request: it was answered, and most of the time nobody asks for it again."""
        self._request = self.source

    @property
    def state(self) -> str:
        """Name of the state, as the RFC writes it."""
        return self._state

    @property
    def terminated(self) -> bool:
        """Whether it is over: nothing of it will be sent or called any more."""
        return self._state == "Terminated"

    def _start(self, timer: str, delay_s: float, fire: Callable[..., None], *arguments: object) -> None:
        self._stop(timer)
        if self._state != "Terminated":
            self._handles[timer] = self._clock.call_later(delay_s, fire, *arguments)

    def _transmit(self, data: bytes) -> None:
        try:
            self._emit(data)
        except OSError as error:
            self.failed(error)

    def _emit(self, data: bytes) -> None:
        """Hands bytes to the transport. Raises OSError."""
        raise NotImplementedError

    def _ended(self) -> None:
        """It is over."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """The transport could not send."""
        raise NotImplementedError

    def _stop(self, *timers: str) -> None:
        for timer in timers:
            handle = self._handles.pop(timer, None)
            if handle is not None:
                handle.cancel()

    def _terminate(self) -> None:
        if self._state != "Terminated":
            self._state = "Terminated"
            self._stop(*tuple(self._handles))
            self._ended()

    def _linger(self, timer: str, delay_s: float) -> None:
        """Waits for stragglers in the state it is in, then terminates; at once where none can come."""
        if delay_s > 0:
            self._start(timer, delay_s, self._terminate)
        else:
            self._terminate()

    def abandon(self) -> None:
        """Ends it without a word to anybody: its worker ends."""
        self._terminate()


class ClientTransaction(Transaction):
    """A request of ours. `on_response` gets each answer the user has not seen, `on_timeout` and `on_failure` replace a final one."""

    __slots__ = ("_data", "_on_end", "_on_failure", "_on_response", "_on_timeout", "_send")

    def __init__(
        self, request: Message, data: bytes, send: Send, clock: Clock, timers: Timers, *, reliable: bool, on_end: OnEnd,
        on_response: OnMessage, on_timeout: OnEnd, on_failure: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        super().__init__(request, clock, timers, reliable=reliable)
        self._send = send
        self._on_end = on_end
        self._data = data
        self._on_response = on_response
        self._on_timeout = on_timeout
        self._on_failure = on_failure

    def _emit(self, data: bytes) -> None:
        self._send(data)

    def _ended(self) -> None:
        self._on_end()

    def _timed_out(self) -> None:
        self._terminate()
        self._on_timeout()

    def failed(self, error: Exception) -> None:
        """The transport could not send (17.1.4): the user is told, and it is over. Nothing happens where a final answer is in."""
        if self._state in ("Calling", "Trying", "Proceeding"):
            self._terminate()
            self._on_failure(error)


class InviteClient(ClientTransaction):
    """INVITE, client (17.1.1, figure 5; RFC 6026 7.2). A 2xx is acknowledged by the user, any other final answer here."""

    __slots__ = ("_ack", "_interval_s")

    def start(self) -> None:
        """Sends the INVITE."""
        self._state = "Calling"
        self._ack = b""
        self._interval_s = self._timers.t1_s
        self._start("B", self._timers.timeout_s, self._timed_out)
        if not self._reliable:
            self._start("A", self._interval_s, self._timer_a)
        self._transmit(self._data)

    def _timer_a(self) -> None:
        self._interval_s *= 2
        self._start("A", self._interval_s, self._timer_a)
        self._transmit(self._data)

    def received(self, response: Message) -> None:
        """An answer that matches."""
        status = response.status
        if self._state in ("Calling", "Proceeding"):
            if status < 200:
                self._stop("A", "B")
                self._state = "Proceeding"
                self._on_response(response)
            elif status < 300:
                self._stop("A", "B")
                self._state = "Accepted"
                self._start("M", self._timers.timeout_s, self._terminate)
                self._on_response(response)
                self._lighten()
            else:
                self._stop("A", "B")
                self._state = "Completed"
                self._ack = compose.ack(self.request, response)
                self._transmit(self._ack)
                self._on_response(response)
                self._lighten()
                self._linger("D", 0.0 if self._reliable else self._timers.d_s)
        elif self._state == "Accepted":
            if 200 <= status < 300:  # another fork's, or the same again because our ACK was lost (13.2.2.4)
                self._on_response(response)
        elif self._state == "Completed" and status >= 300:
            self._transmit(self._ack)


class NonInviteClient(ClientTransaction):
    """Any other request, client (17.1.2, figure 6)."""

    __slots__ = ("_interval_s",)

    def start(self) -> None:
        """Sends the request."""
        self._state = "Trying"
        self._interval_s = self._timers.t1_s
        self._start("F", self._timers.timeout_s, self._timed_out)
        if not self._reliable:
            self._start("E", self._interval_s, self._timer_e)
        self._transmit(self._data)

    def _timer_e(self) -> None:
        proceeding = self._state == "Proceeding"
        self._interval_s = self._timers.t2_s if proceeding else min(2 * self._interval_s, self._timers.t2_s)
        self._start("E", self._interval_s, self._timer_e)
        self._transmit(self._data)

    def received(self, response: Message) -> None:
        """An answer that matches."""
        if self._state not in ("Trying", "Proceeding"):
            return
        if response.status < 200:
            self._state = "Proceeding"
            self._on_response(response)
            return
        self._stop("E", "F")
        self._state = "Completed"
        self._on_response(response)
        self._lighten()
        self._linger("K", 0.0 if self._reliable else self._timers.t4_s)


class Owner(Protocol):
    """Who has the server transactions, for all of them: `TransactionLayer`, or a test."""

    def transmit(self, transaction: ServerTransaction, data: bytes) -> None:
        """Sends an answer. Raises OSError."""
        ...

    def ended(self, transaction: ServerTransaction) -> None:
        """It is over."""
        ...

    def trying(self, invite: InviteServer) -> bytes:
        """The 100 of an INVITE whose user says nothing for 200 ms."""
        ...

    def acknowledged(self, invite: InviteServer, ack: Message) -> None:
        """The ACK of a 2xx came with the INVITE's own branch."""
        ...

    def not_acknowledged(self, invite: InviteServer) -> None:
        """A refusal was never acknowledged."""
        ...


class ServerTransaction(Transaction):
    """A request to us. `respond` sends an answer; what was sent last is sent again for a request that comes again."""

    __slots__ = ("_last", "_owner", "begun", "flow", "key", "via")

    def __init__(
        self, request: Message, owner: Owner, clock: Clock, timers: Timers, *, reliable: bool, flow: Flow | None = None,
        key: tuple[str, ...] = (), begun: tuple[str, ...] | None = None,
    ) -> None:  # fmt: skip
        """`flow` is what the request came over. `key` and `begun` are what the owner finds it by. `via` is the topmost Via of every
        answer, once somebody has worked it out."""
        super().__init__(request, clock, timers, reliable=reliable)
        self._owner = owner
        self._last = b""
        self.flow = flow
        self.key = key
        self.begun = begun
        self.via = ""

    @property
    def answered(self) -> bool:
        """Whether a final answer was given."""
        return self._state not in ("Trying", "Proceeding")

    def failed(self, error: Exception) -> None:
        """The transport could not send (17.2.4): it is over."""
        self._terminate()

    def _emit(self, data: bytes) -> None:
        self._owner.transmit(self, data)

    def _ended(self) -> None:
        self._owner.ended(self)


class InviteServer(ServerTransaction):
    """INVITE, server (17.2.1, figure 7; RFC 6026 7.1). The user sends its 2xx again itself, until the ACK that the owner is told of."""

    __slots__ = ("_interval_s",)

    def __init__(
        self, request: Message, owner: Owner, clock: Clock, timers: Timers, *, reliable: bool, flow: Flow | None = None,
        key: tuple[str, ...] = (), begun: tuple[str, ...] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(request, owner, clock, timers, reliable=reliable, flow=flow, key=key, begun=begun)
        self._interval_s = timers.t1_s
        self._state = "Proceeding"
        self._start("100", timers.trying_s, self._say_trying)

    def _say_trying(self) -> None:
        if self._state == "Proceeding" and not self._last:
            self._last = self._owner.trying(self)
            self._transmit(self._last)

    def respond(self, status: int, data: bytes) -> None:
        """Sends an answer of the user. Raises RuntimeError behind a final one, except for a 2xx that is sent again."""
        if self._state == "Accepted" and 200 <= status < 300:
            self._transmit(data)
            return
        if self._state != "Proceeding":
            raise RuntimeError(f"the INVITE was answered already, it is {self._state}")
        self._stop("100")
        if status < 200:
            self._last = data
        elif status < 300:
            self._state = "Accepted"
            self._start("L", self._timers.timeout_s, self._terminate)
            self._lighten()
        else:
            self._last = data
            self._state = "Completed"
            self._start("H", self._timers.timeout_s, self._timer_h)
            if not self._reliable:
                self._start("G", self._interval_s, self._timer_g)
        self._transmit(data)

    def _timer_g(self) -> None:
        self._interval_s = min(2 * self._interval_s, self._timers.t2_s)
        self._start("G", self._interval_s, self._timer_g)
        self._transmit(self._last)

    def _timer_h(self) -> None:
        self._terminate()
        self._owner.not_acknowledged(self)

    def received_again(self) -> None:
        """The same INVITE came again."""
        if self._state in ("Proceeding", "Completed") and self._last:
            self._transmit(self._last)

    def received_ack(self, ack: Message) -> None:
        """An ACK that matches: of a refusal it ends here, of a 2xx it is the user's."""
        if self._state == "Completed":
            self._stop("G", "H")
            self._state = "Confirmed"
            self._linger("I", 0.0 if self._reliable else self._timers.t4_s)
        elif self._state == "Accepted":
            self._owner.acknowledged(self, ack)


class NonInviteServer(ServerTransaction):
    """Any other request, server (17.2.2, figure 8)."""

    __slots__ = ()

    def respond(self, status: int, data: bytes) -> None:
        """Sends an answer of the user. Raises RuntimeError behind a final one."""
        if self._state not in ("Trying", "Proceeding"):
            raise RuntimeError(f"the request was answered already, it is {self._state}")
        self._last = data
        if status < 200:
            self._state = "Proceeding"
            self._transmit(data)
            return
        self._state = "Completed"
        self._lighten()
        self._transmit(data)
        self._linger("J", 0.0 if self._reliable else self._timers.timeout_s)

    def received_again(self) -> None:
        """The same request came again."""
        if self._last:
            self._transmit(self._last)


__all__ = [
    "ClientTransaction", "InviteClient", "InviteServer", "NonInviteClient", "NonInviteServer", "OnEnd", "OnMessage", "Owner", "Send",
    "ServerTransaction", "Transaction",
]  # fmt: skip

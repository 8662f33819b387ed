"""From datagrams to transactions and back: matching (RFC 3261 17.1.3, 17.2.3), repeats, ACK and CANCEL, and strays.

The layer knows no sockets. Bytes come in with the `Flow` they came over and leave through one; what is new is given to the user: requests
that begin a transaction, ACKs of a 2xx, and answers that belong to nothing. A request that comes again byte for byte is told from its
bytes alone and answered without being read again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, Protocol

from engine._native.sip import AddressFlag, Flag, UriFlag, ViaFlag
from engine.sip import compose
from engine.sip.flow import Flow
from engine.sip.message import DEFECTS, Message, parse
from engine.sip.timers import Clock, QueuedClock, Timers
from engine.sip.transaction import (
    ClientTransaction,
    InviteClient,
    InviteServer,
    NonInviteClient,
    NonInviteServer,
    OnEnd,
    OnMessage,
    ServerTransaction,
)

Key = tuple[str, ...]
# A request that would begin something: None where it may; else the status and headers to refuse it with, 0 to say nothing.
Judge = Callable[[Message, Flow], tuple[int, list[compose.Header]] | None]
OnWire = Callable[[bytes, Flow, bool], None]  # the message, where it came from or went to, whether it was sent
REQUIRED: Final = ("Via", "From", "To", "Call-ID", "CSeq")
TRANSACTIONS_MAX: Final = 200_000
# Where it ends, or what it asks for, cannot be told (RFC 4475 3.1.2).
VERSION_BAD: Final = int(Flag.VERSION_BAD)
COOKIE: Final = compose.MAGIC_COOKIE.lower()
RPORT, VIA_MALFORMED = int(ViaFlag.RPORT), int(ViaFlag.MALFORMED)
UNBALANCED, BAD_CHARACTER = int(AddressFlag.UNBALANCED), int(UriFlag.BAD_CHARACTER)
UNUSABLE: Final = int(
    Flag.LENGTH_INVALID | Flag.LENGTH_CONFLICT | Flag.BODY_SHORT | Flag.NO_BLANK_LINE | Flag.URI_SPACES | Flag.METHOD_BAD
    | Flag.START_LINE_SPACES | Flag.STATUS_BAD | Flag.STATUS_RANGE | Flag.QUOTE_UNBALANCED
)  # fmt: skip


class User(Protocol):
    """Who uses the transactions: the dialogs of a worker, or a test."""

    def on_request(self, transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
        """A new request. It must be answered through the layer's `respond`, now or later."""
        ...

    def on_ack(self, ack: Message, flow: Flow) -> None:
        """An ACK that no transaction took: that of a 2xx (13.3.1.4)."""
        ...

    def on_cancel(self, invite: InviteServer) -> None:
        """The INVITE was cancelled; the CANCEL is answered already (9.2)."""
        ...

    def on_stray_response(self, response: Message, flow: Flow) -> None:
        """An answer that no transaction waits for: a 2xx behind the end of its INVITE (13.2.2.4), or a stranger's."""
        ...

    def on_no_ack(self, invite: InviteServer) -> None:
        """A refusal was never acknowledged."""
        ...


class Counters:
    """What went by. `transactions` are those that live now."""

    __slots__ = ("malformed", "overload", "received", "repeats", "sent", "stray_responses", "transactions")

    def __init__(self) -> None:
        self.received = self.sent = self.repeats = self.malformed = self.overload = 0
        self.stray_responses = self.transactions = 0


def via_of_request(request: Message, peer: tuple[str, int]) -> str:
    """The topmost Via with what the receiver adds: received where the address differs (18.2.1), rport where it was asked for (RFC
    3581 4, which then wants received as well)."""
    told = request.plain_essentials
    if told is not None:
        element, sent_by, asked = told.via, told.sent_by, told.rport
    else:  # what is refused may lack anything but its Via
        element, top = request.elements("Via")[0].decode("utf-8", "surrogateescape"), request.vias[0]
        sent_by, asked = top.host.decode("latin-1"), bool(int(top.flags) & RPORT)
    host, port = peer
    sent_by = sent_by.strip("[]").lower()
    if not asked and sent_by == host and "received" not in element:
        return element
    parts = [part for part in element.split(";") if not part.strip().lower().startswith(("received=", "rport"))]
    if asked or sent_by != host.lower():
        parts.append(f"received={host}")
    if asked:
        parts.append(f"rport={port}")
    return ";".join(parts)


def defect_of(message: Message) -> str:
    """Why a message cannot be worked with, "" when it can: a header that every message has is missing, twice or unreadable."""
    return "" if message.plain_essentials is not None else defect_by_header(message)


def defect_by_header(message: Message) -> str:
    """The same, looked up header by header."""
    for name in REQUIRED:
        values = message.tokens.header(name)
        if not values:
            return f"{name} is missing"
        if name != "Via" and len(values) > 1:
            return f"{name} stands more than once"
    if message.cseq is None or not 0 <= message.cseq[0] < 2**31:
        return "CSeq is malformed"
    if message.is_request and message.cseq[1] != message.method:
        return "the method in CSeq is another one"
    if not message.vias or not message.vias[0].host or int(message.vias[0].flags) & VIA_MALFORMED:
        return "Via is malformed"
    if not message.call_id:
        return "Call-ID is empty"
    if b";;" in message.tokens.header("Via")[0]:
        return "Via has a parameter without a name"
    if message.is_request and message.tokens.request_uri.startswith(b"<"):
        return "the Request-URI stands in angle brackets"
    for name, address in (("From", message.sender), ("To", message.recipient)):
        if address is not None and (int(address.flags) & UNBALANCED or int(address.parsed.flags) & BAD_CHARACTER):
            return f"{name} is malformed"
    # plain numbers: operators of flags are slow, and this is done for every message
    unusable = int(message.tokens.flags) & UNUSABLE
    return next((DEFECTS[flag] for flag in DEFECTS if int(flag) & unusable), "") if unusable else ""


def server_key(request: Message, method: str) -> Key:
    """What a request's transaction is found by (17.2.3): branch and sent-by with the magic cookie, else what RFC 2543 has."""
    told = request.essentials
    sent_by = f"{told.sent_by.lower()}:{told.port}"
    branch = told.branch
    if len(branch) > 7 and branch[:7].lower() == COOKIE:
        return branch, sent_by, method
    return request.tokens.request_uri.decode("latin-1"), told.from_tag, told.call_id, str(told.number), branch, sent_by, method


class TransactionLayer:
    """The transactions of one worker. Belongs to one event loop."""

    def __init__(
        self, user: User, clock: Clock, timers: Timers | None = None, *, transactions_max: int = TRANSACTIONS_MAX,
        on_wire: OnWire | None = None, may_answer: Callable[[bytes, Flow], bool] | None = None,
        judge: Judge | None = None, on_malformed: Callable[[Flow], None] | None = None,
    ) -> None:  # fmt: skip
        """`on_wire` sees every message that comes and goes, as it was on the wire. `may_answer` is asked before an answer goes out over
        a datagram socket, whose peer may be a forged address; what it refuses is as if lost on the way. `judge` sees each request that
        no transaction knows, before there is one; `on_malformed` is told whose messages cannot be worked with."""
        self._judge = judge
        self._on_malformed = on_malformed
        self._may_answer = may_answer
        self._user = user
        self._timers = timers or Timers()
        self.clock = QueuedClock(clock, self._timers.delays_s)
        self._max = transactions_max
        self._on_wire = on_wire
        self._begun: dict[Key, Key] = {}  # requests outside of dialogs by Call-ID, From tag and CSeq, to tell what came on two ways
        self._servers: dict[Key, InviteServer | NonInviteServer] = {}
        self._by_bytes: dict[bytes, InviteServer | NonInviteServer] = {}
        self._clients: dict[Key, InviteClient | NonInviteClient] = {}
        self.counters = Counters()

    # ---- in ----

    def received(self, data: bytes, flow: Flow) -> None:
        """One message as it came off the wire. Never raises for what is in it."""
        self.counters.received += 1
        if self._on_wire is not None:
            self._on_wire(data, flow, False)
        again = self._by_bytes.get(data)
        if again is not None:
            self.counters.repeats += 1
            again.received_again()
            return
        try:
            message = parse(data)
        except ValueError:
            self._malformed(flow)
            return
        if message.is_request:
            self._request(message, data, flow)
        else:
            self._response(message, flow)

    def _response(self, response: Message, flow: Flow) -> None:
        if defect_of(response) or not 100 <= response.status <= 699:
            self._malformed(flow)
            return
        told = response.essentials
        client = self._clients.get((told.branch, told.method))
        if client is None:
            self.counters.stray_responses += 1
            self._user.on_stray_response(response, flow)
            return
        client.received(response)

    def _request(self, request: Message, data: bytes, flow: Flow) -> None:
        method = request.method
        if int(request.tokens.flags) & VERSION_BAD:
            self._malformed(flow)
            self.refuse(request, flow, 505, "")
            return
        if defect := defect_of(request):
            self._malformed(flow)
            self.refuse(request, flow, 400, defect)
            return
        key = server_key(request, "INVITE" if method == "ACK" else method)
        known = self._servers.get(key)
        if known is not None and method != "ACK":
            self.counters.repeats += 1
            known.received_again()
            return
        if self._judge is not None and (known is None or method == "ACK") and (verdict := self._judge(request, flow)) is not None:
            status, headers = verdict
            if status:
                self.refuse(request, flow, status, "", headers)
            return
        if method == "ACK":
            self._ack(request, known, flow)
            return
        if len(self._servers) >= self._max:
            self.counters.overload += 1
            self.refuse(request, flow, 503, "", [("Retry-After", "5")])
            return
        if method == "CANCEL":
            self._cancel(request, data, key, flow)
            return
        told = request.essentials
        begun: Key | None = None
        # 8.2.2.2: one request that came on two ways. An OPTIONS is answered alike on each, and devices repeat its numbers.
        if method != "OPTIONS" and not told.to_tag:
            begun = (told.call_id, told.from_tag, str(told.number), method)
            if begun in self._begun:  # another branch, or the key would have found it
                self.refuse(request, flow, 482, "")
                return
            self._begun[begun] = key
        self._user.on_request(self._serve(request, data, key, flow, begun), flow)

    def refuse(self, request: Message, flow: Flow, status: int, why: str, headers: list[compose.Header] | None = None) -> None:
        """Answers without a transaction, where there is enough to answer to (8.2.6); ACKs are never answered."""
        if request.method == "ACK" or any(not request.tokens.header(name) for name in REQUIRED) or not request.vias:
            return
        reason = f"{compose.REASONS[status]}, {why}" if why else ""
        self.send(flow, compose.response(request, status, reason, to_tag=secrets.token_hex(4), headers=headers or (),
                                          via=via_of_request(request, flow.peer)))  # fmt: skip

    def _malformed(self, flow: Flow) -> None:
        self.counters.malformed += 1
        if self._on_malformed is not None:
            self._on_malformed(flow)

    def _ack(self, ack: Message, invite: InviteServer | NonInviteServer | None, flow: Flow) -> None:
        if isinstance(invite, InviteServer) and invite.state != "Accepted":
            invite.received_ack(ack)
        else:  # of a 2xx: it has a branch of its own (13.2.2.4)
            self._user.on_ack(ack, flow)

    def _cancel(self, cancel: Message, data: bytes, key: Key, flow: Flow) -> None:
        transaction = self._serve(cancel, data, key, flow)
        invite = self._servers.get(server_key(cancel, "INVITE"))
        if not isinstance(invite, InviteServer):
            self.respond(transaction, 481)
            return
        self.respond(transaction, 200)
        if not invite.answered:
            self._user.on_cancel(invite)

    def _serve(self, request: Message, data: bytes, key: Key, flow: Flow, begun: Key | None = None) -> InviteServer | NonInviteServer:
        machine = InviteServer if request.method == "INVITE" else NonInviteServer
        transaction = machine(request, self, self.clock, self._timers, reliable=flow.reliable, flow=flow, key=key, begun=begun)
        self._servers[key] = transaction
        if not flow.reliable:
            self._by_bytes[data] = transaction
        self.counters.transactions += 1
        return transaction

    # ---- from server transactions ----

    def transmit(self, transaction: ServerTransaction, data: bytes) -> None:
        """Sends an answer over the flow of its request."""
        assert transaction.flow is not None
        self.send(transaction.flow, data)

    def ended(self, transaction: ServerTransaction) -> None:
        """Forgets one."""
        if transaction.begun is not None:
            self._begun.pop(transaction.begun, None)
        self._servers.pop(transaction.key, None)
        if not transaction.reliable:
            self._by_bytes.pop(transaction.source, None)
        self.counters.transactions -= 1

    def trying(self, invite: InviteServer) -> bytes:
        """The 100."""
        assert invite.flow is not None
        return compose.response(invite.request, 100, via=via_of_request(invite.request, invite.flow.peer))

    def acknowledged(self, invite: InviteServer, ack: Message) -> None:
        """The ACK of a 2xx."""
        assert invite.flow is not None
        self._user.on_ack(ack, invite.flow)

    def not_acknowledged(self, invite: InviteServer) -> None:
        """A refusal was never acknowledged."""
        self._user.on_no_ack(invite)

    # ---- out ----

    def respond(
        self, transaction: InviteServer | NonInviteServer, status: int, reason: str = "", *, to_tag: str = "",
        headers: list[compose.Header] | None = None, body: bytes = b"",
    ) -> bytes:  # fmt: skip
        """Answers a request; what was sent. Raises RuntimeError when it was answered finally before, ValueError for a bad header."""
        if transaction.flow is None or transaction.terminated:
            raise RuntimeError("the transaction is over")
        if not transaction.via:
            transaction.via = via_of_request(transaction.request, transaction.flow.peer)
        data = compose.response(
            transaction.request, status, reason, to_tag=to_tag, headers=headers or (), body=body, via=transaction.via
        )
        transaction.respond(status, data)
        return data

    def request(
        self, data: bytes, flow: Flow, *, on_response: OnMessage, on_timeout: OnEnd, on_failure: Callable[[Exception], None]
    ) -> ClientTransaction:
        """Begins a client transaction with a whole request; its topmost Via must hold a branch with the magic cookie (8.1.1.7).

        Raises ValueError for one without, and for an ACK, which is no transaction: send that over the flow.
        """
        message = parse(data)
        branch = message.essentials.branch if message.vias else ""
        if not branch.startswith(compose.MAGIC_COOKIE) or message.method == "ACK":
            raise ValueError("a client transaction needs a branch of its own, and ACK is none")
        key = (branch, message.method)

        def ended() -> None:
            self._clients.pop(key, None)
            self.counters.transactions -= 1

        machine = InviteClient if message.method == "INVITE" else NonInviteClient
        transaction = machine(
            message, data, lambda told: self.send(flow, told), self.clock, self._timers, reliable=flow.reliable, on_end=ended,
            on_response=on_response, on_timeout=on_timeout, on_failure=on_failure,
        )  # fmt: skip
        self._clients[key] = transaction
        self.counters.transactions += 1
        transaction.start()
        return transaction

    def send(self, flow: Flow, data: bytes) -> None:
        """Sends a message that is in no transaction or is one's repeat. Raises OSError."""
        if self._may_answer is not None and not flow.reliable and data.startswith(b"SIP/") and not self._may_answer(data, flow):
            return
        self.counters.sent += 1
        flow.send(data)
        if self._on_wire is not None:
            self._on_wire(data, flow, True)

    def close(self) -> None:
        """Ends every transaction without a word."""
        for transaction in [*self._servers.values(), *self._clients.values()]:
            transaction.abandon()
        self.clock.close()


def new_branch() -> str:
    """A branch that nobody else has (8.1.1.7), from 64 random bits."""
    return f"{compose.MAGIC_COOKIE}{secrets.token_hex(8)}"


def branched(via: str) -> str:
    """The Via value of a request of ours: with a branch of its own, and asking where it came from (RFC 3581 3)."""
    return f"{via};rport;branch={new_branch()}"


__all__ = [
    "Counters", "TransactionLayer", "User", "branched", "defect_of", "new_branch", "server_key", "via_of_request",
]  # fmt: skip

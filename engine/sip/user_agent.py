"""The user agent: which request begins a call, which belongs to one, and what is refused before anybody is asked (RFC 3261 8.2, 11, 12.2.2).

It stands on the transactions (`TransactionLayer`) and under an `Application`, which is given new calls. Sockets are a `Network`.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

import msgspec

from engine._native.sip import Scheme, UriFlag
from engine.errors import EngineError
from engine.sip import bodies, compose
from engine.sip.call import NOBODY, Call, CallUser, Ending, Session, State
from engine.sip.client_request import ClientRequest, Credentials, Network
from engine.sip.compose import Header
from engine.sip.dialog import Dialog, DialogError, Dialogs, uri_of
from engine.sip.dialog import State as DialogState
from engine.sip.flow import Flow
from engine.sip.incoming import IncomingCall
from engine.sip.message import Message
from engine.sip.outgoing import Identity, OutgoingCall
from engine.sip.session_timer import TimerSettings
from engine.sip.timers import Clock, Timers
from engine.sip.transaction import InviteServer, NonInviteServer
from engine.sip.transaction_layer import Judge, OnWire, TransactionLayer, branched
from engine.sip.transfer import Target, replaced_by

log = logging.getLogger("trunkline.sip")
METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "PRACK", "REFER", "NOTIFY")
KNOWN_METHODS: Final = frozenset(METHODS) | {"REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"}
EXTENSIONS: Final = ("100rel", "timer", "replaces", "norefersub")
UNBRACKETED_V6: Final = int(UriFlag.UNBRACKETED_V6)
SCHEMES: Final = frozenset({int(Scheme.SIP), int(Scheme.SIPS), int(Scheme.TEL)})


class OverloadedError(EngineError):
    """There are as many calls as there may be."""

    code = "sip.overloaded"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a user agent behaves. `reliable`: provisional answers are reliable wherever the caller knows that (RFC 3262). `extensions` and `media_types` are what the
    application knows beside the user agent's own: option tags, and types of bodies."""

    product: str = "Trunkline"
    timer: TimerSettings = TimerSettings()
    reliable: bool = False
    calls_max: int = 100_000
    ring_s: float = 180.0
    extensions: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()


class Application:
    """Who is called. Each method may be left as it is."""

    def on_call(self, call: IncomingCall) -> None:
        """A new call: give it a session and a user, then ring, answer or refuse, now or later. `call.replaces` is the call it replaces."""
        call.refuse(480)

    def takes_without_replaced(self, request: Message, flow: Flow) -> bool:
        """Whether an INVITE begins a call although the one that it is to replace is not here; else it is refused (RFC 3891 3)."""
        return False

    def on_options(self, request: Message) -> tuple[int, bytes]:
        """An OPTIONS outside of calls: what an INVITE would be answered with now, and a description of what could be agreed (11.2)."""
        return 200, b""

    def on_request(self, transaction: NonInviteServer, flow: Flow) -> bool:
        """Another request outside of calls, such as REGISTER or MESSAGE; whether it is taken, and then answered by whoever took it."""
        return False


class Counters:
    """What went by, in calls."""

    __slots__ = ("answered", "calls_in", "calls_out", "options", "refused", "stray_acks", "stray_requests")

    def __init__(self) -> None:
        self.calls_in = self.calls_out = self.answered = self.refused = self.options = self.stray_acks = self.stray_requests = 0


class UserAgent:
    """The calls of one worker. Belongs to one event loop."""

    def __init__(
        self, network: Network, clock: Clock, application: Application, settings: Settings | None = None, timers: Timers | None = None, *,
        chance: Callable[[], float] = random.random, judge: Judge | None = None,
        new_call_id: Callable[[], str] = lambda: secrets.token_hex(16), methods: tuple[str, ...] = (), on_wire: OnWire | None = None,
        may_answer: Callable[[bytes, Flow], bool] | None = None, on_malformed: Callable[[Flow], None] | None = None,
    ) -> None:  # fmt: skip
        """`methods` are those that the application takes beside the user agent's own; `judge`, `on_wire`, `may_answer` and `on_malformed`
        are the transaction layer's."""
        self.network = network
        self.settings = settings or Settings()
        self.timers = timers or Timers()
        self.chance = chance
        self.application = application
        self.layer = TransactionLayer(self, clock, self.timers, on_wire=on_wire, may_answer=may_answer, judge=judge, on_malformed=on_malformed)
        self.clock = self.layer.clock
        self.clock.also(self.settings.timer.delays_s)
        self.dialogs = Dialogs()
        self.counters = Counters()
        self.allow = ", ".join((*METHODS, *methods))
        product = self.settings.product
        extensions = (*EXTENSIONS, *self.settings.extensions)
        self._requirable = frozenset(extensions)  # in Require of a request: the others are of registrars and proxies
        self.accepted = bodies.accepted(self.settings.media_types)
        self.features: list[Header] = [compose.Block.of([("Allow", self.allow), ("Supported", ", ".join(extensions))])]
        self.server: list[Header] = [compose.Block.of([("Server", product)] if product else [])]
        self.user_agent: list[Header] = [compose.Block.of([("User-Agent", product)] if product else [])]
        self.new_call_id = new_call_id
        self._invites: dict[InviteServer, IncomingCall] = {}
        self._live: set[Call] = set()

    # ---- calls ----

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._live))

    @property
    def calls(self) -> int:
        """Calls that are not over."""
        return len(self._live)

    def call(
        self, target: str, identity: Identity, *, session: Session | None = None, user: CallUser = NOBODY, headers: list[Header] | None = None,
        ring_s: float | None = None,
    ) -> OutgoingCall:  # fmt: skip
        """Calls a URI. What comes of it goes to `user`. Raises OverloadedError, ValueError for what cannot stand in a message, and the
        session's own errors."""
        if len(self._live) >= self.settings.calls_max:
            raise OverloadedError(f"there are {len(self._live)} calls already")
        made = OutgoingCall(self, target, identity, session, user, headers=headers or [], call_id=self.new_call_id())
        self.counters.calls_out += 1
        self._live.add(made)
        try:
            made.start(self.settings.ring_s if ring_s is None else ring_s)
        except Exception:
            self._live.discard(made)
            raise
        return made

    def follow(
        self, call: Call, target: Target, identity: Identity, *, tell: Callable[[int], None], session: Session | None = None,
        user: CallUser | None = None, referred_by: str = "",
    ) -> OutgoingCall:  # fmt: skip
        """Does what a REFER asked: calls its target, in the place of the call it names, and tells how far that is."""
        headers: list[Header] = [("Replaces", target.replaces), ("Require", "replaces")] if target.replaces else []
        if referred_by:
            headers.append(("Referred-By", referred_by))
        return self.call(target.uri, identity, session=session, user=_Telling(user or NOBODY, tell), headers=headers)

    def options(
        self, target: str, identity: Identity, on_answer: Callable[[int, Message | None], None], *, flow: Flow | None = None
    ) -> ClientRequest:
        """Asks a URI what it can (11): a sign of life of a trunk. `on_answer` gets the status, 408 or 503 where there was no answer."""
        call_id, tag = self.new_call_id(), secrets.token_hex(5)
        number = 0
        credentials = Credentials(identity.username, identity.password) if identity.username else None

        def write(via: str, flow: Flow, authorize: Callable[[str, str, bytes], list[Header]]) -> bytes:
            nonlocal number
            number += 1
            headers = [
                ("Via", via), *(("Route", route) for route in identity.routes), ("Max-Forwards", str(compose.MAX_FORWARDS)),
                ("From", f"<{identity.uri}>;tag={tag}"), ("To", f"<{target}>"), ("Call-ID", call_id), ("CSeq", f"{number} OPTIONS"),
                ("Contact", self.network.contact(flow)), ("Accept", self.accepted), *self.user_agent, *authorize("OPTIONS", target, b""),
            ]  # fmt: skip
            return compose.request("OPTIONS", target, headers)

        def answered(response: Message) -> None:
            if response.status >= 200:
                on_answer(response.status, response)

        request = ClientRequest(
            self.layer, self.network, uri_of(identity.routes[0]) if identity.routes else target, write, on_response=answered,
            on_failure=lambda status, why: on_answer(status, None), flow=flow, credentials=credentials,
        )  # fmt: skip
        request.start()
        return request

    # ---- for calls ----

    def remember(self, call: Call, dialog: Dialog) -> None:
        """A call has a dialog. Raises DialogError where another has that id."""
        self.dialogs.add(dialog)
        dialog.usage = call

    def forget(self, call: Call, dialog: Dialog) -> None:
        """It has it no more; a call without any is over."""
        self.dialogs.remove(dialog)
        dialog.usage = None

    def answered(self, call: IncomingCall) -> None:
        """Its INVITE has a final answer."""
        if call.invite is not None and self._invites.pop(call.invite, None) is not None and call.state is State.CONNECTED:
            self.counters.answered += 1

    def over(self, call: Call) -> None:
        """A call is over."""
        self._live.discard(call)

    def allowed_by(self, message: Message) -> frozenset[str]:
        """The methods that Allow names."""
        values = message.tokens.header("Allow")
        return _methods(tuple(values)) if values else frozenset()

    def post(self, dialog: Dialog, flow: Flow | None, write: Callable[[str, Flow], bytes]) -> None:
        """Sends what has no transaction, an ACK, where the dialog's next request would go; `flow` is the way where it is known."""
        found = flow or self.network.at_once(dialog.next_hop)
        if found is not None:
            self._post_over(found, write)
        else:
            self.network.spawn(self._post_later(dialog.next_hop, write))

    def _post_over(self, flow: Flow, write: Callable[[str, Flow], bytes]) -> None:
        data = write(branched(self.network.via(flow)), flow)
        try:
            self.layer.send(flow, data)
        except OSError as error:
            log.info("an ACK could not be sent to %s: %s", flow.peer[0], error)  # the 2xx comes again, and so will the ACK

    async def _post_later(self, uri: str, write: Callable[[str, Flow], bytes]) -> None:
        try:
            flow = await anext(self.network.each(uri), None)
        except (EngineError, OSError) as error:
            log.info("there is no way to send an ACK to %s: %s", uri, error)
            return
        if flow is not None:
            self._post_over(flow, write)

    def cancel(self, invite: Message, flow: Flow) -> None:
        """Cancels an INVITE of ours; its own final answer says what became of it."""
        self.layer.request(
            compose.cancel(invite), flow, on_response=lambda response: None, on_timeout=lambda: None, on_failure=lambda error: None
        )

    # ---- from the transactions ----

    def on_request(self, transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
        """A new request."""
        request = transaction.request
        inside = bool(request.essentials.to_tag)
        if refusal := self._refusal_of(request, inside):
            self.counters.refused += 1
            status, headers = refusal
            self._refuse(transaction, status, headers)
            return
        if inside:
            dialog = self.dialogs.of_request(request)
            if dialog is None or not isinstance(dialog.usage, Call):
                self.counters.stray_requests += 1
                self._refuse(transaction, 481)
            else:
                dialog.usage.receive(dialog, transaction, flow)
        elif isinstance(transaction, InviteServer):
            self._called(transaction, flow)
        elif request.method == "OPTIONS":
            self.counters.options += 1
            status, body = self.application.on_options(request)
            headers = [*self.features, ("Accept", self.accepted), *bodies.content_type(body)]
            self._refuse(transaction, status, headers, body)
        elif not self.application.on_request(transaction, flow):
            known = request.method in METHODS
            self.counters.stray_requests += known
            self._refuse(transaction, 481 if known else 405, [] if known else [("Allow", self.allow)])

    def _refuse(self, transaction: InviteServer | NonInviteServer, status: int, headers: list[Header] | None = None, body: bytes = b"") -> None:
        """Answers finally, whatever that answer is."""
        tag = secrets.token_hex(5)
        self.layer.respond(transaction, status, to_tag=tag, headers=[*(headers or ()), *self.server], body=body)

    def _refusal_of(self, request: Message, inside: bool) -> tuple[int, list[Header]] | None:
        """What is wrong with a request whatever it is about (8.2.1 to 8.2.3); None where nothing is."""
        if request.method not in KNOWN_METHODS:
            return 501, [("Allow", self.allow)]
        uri = request.request_uri
        if not inside and (uri is None or int(uri.scheme_id) not in SCHEMES):
            return 416, []
        if uri is not None and int(uri.flags) & UNBRACKETED_V6:  # where its host ends cannot be told (RFC 5118 4.2)
            return 400, []
        if request.method == "INVITE" and not bodies.accepts_descriptions(request):
            return 406, [("Accept", self.accepted)]
        if request.tokens.header("Require"):
            unknown = [text for element in request.elements("Require") if (text := element.strip().decode("latin-1").lower()) not in self._requirable]
            if unknown and request.method != "REGISTER":
                return 420, [("Unsupported", ", ".join(name for name in unknown if name.isascii() and name.isprintable())[:200] or "unknown")]
        return bodies.refusal_of(request, self.settings.media_types) if request.body else None

    def _called(self, invite: InviteServer, flow: Flow) -> None:
        """An INVITE that begins a call."""
        request = invite.request
        if len(self._live) >= self.settings.calls_max:
            self.counters.refused += 1
            self._refuse(invite, 503, [("Retry-After", "5")])
            return
        try:
            replaced = replaced_by(request)
            dialog = Dialog.as_callee(request, secrets.token_hex(6), over_tls=flow.transport in ("TLS", "WSS"))
        except (ValueError, DialogError) as error:
            self.counters.refused += 1
            self._refuse(invite, 400, [("Warning", f'399 trunkline "{str(error)[:100]}"'.replace("\r", " ").replace("\n", " "))])
            return
        replaces = None
        if replaced is not None:
            found = self.dialogs.find((replaced.call_id, replaced.local_tag, replaced.remote_tag))
            replaces = found.usage if found is not None and isinstance(found.usage, Call) else None
            if (status := _unreplaceable(replaces, early_only=replaced.early_only)) is not None:
                if not self.application.takes_without_replaced(request, flow):
                    self._refuse(invite, status)
                    return
                replaces = None
        dialog.state = DialogState.EARLY
        call = IncomingCall(self, invite, flow, dialog, replaces)
        self.remember(call, dialog)
        self._invites[invite] = call
        self._live.add(call)
        self.counters.calls_in += 1
        try:
            self.application.on_call(call)
        except Exception:
            log.exception("a call of %s could not be taken", call.call_id)
            if not invite.answered:
                call.refuse(500)

    def on_ack(self, ack: Message, flow: Flow) -> None:
        """The ACK of a 2xx."""
        dialog = self.dialogs.of_request(ack)
        if dialog is None or not isinstance(dialog.usage, Call):
            self.counters.stray_acks += 1
        else:
            dialog.usage.on_ack(ack)

    def on_cancel(self, invite: InviteServer) -> None:
        """An INVITE was cancelled."""
        call = self._invites.get(invite)
        if call is not None:
            call.cancelled()
        elif not invite.answered:
            dialog = self.dialogs.of_request(invite.request)
            if dialog is not None and isinstance(dialog.usage, Call):
                self._refuse(invite, 487)

    def on_stray_response(self, response: Message, flow: Flow) -> None:
        """An answer nobody waits for: counted by the layer."""

    def on_no_ack(self, invite: InviteServer) -> None:
        """A refusal was never acknowledged: there is nothing to do about it."""

    def close(self) -> None:
        """Ends every transaction and forgets every call, without a word: say goodbye to the calls first."""
        for call in self:
            call.drop()
        self.layer.close()


@lru_cache(maxsize=256)
def _methods(values: tuple[bytes, ...]) -> frozenset[str]:
    """The methods of Allow; those of one kind of client are the same in each of its calls."""
    return frozenset(part.strip().decode("latin-1") for value in values for part in value.split(b","))


class _Telling(CallUser):
    """Tells a transfer how far the call is that it asked for."""

    def __init__(self, user: CallUser, tell: Callable[[int], None]) -> None:
        self._user = user
        self._tell = tell

    def on_progress(self, call: Call, response: Message) -> None:
        self._tell(response.status)
        self._user.on_progress(call, response)

    def on_connected(self, call: Call) -> None:
        self._tell(200)
        call.user = self._user
        self._user.on_connected(call)

    def on_ended(self, call: Call, ending: Ending) -> None:
        self._tell(ending.status if ending.status >= 300 else 487)
        self._user.on_ended(call, ending)


def _unreplaceable(replaces: Call | None, *, early_only: bool) -> int | None:
    """With what an INVITE is refused that is to replace a call (RFC 3891 3); None where it may."""
    if replaces is None or (replaces.state is State.SETUP and not replaces.is_caller):
        return 481  # none, or one that we are being called in
    if replaces.state in (State.ENDING, State.ENDED):
        return 603
    return 486 if early_only and replaces.state is State.CONNECTED else None


__all__ = ["Application", "Counters", "OverloadedError", "Settings", "UserAgent"]

"""A call: one INVITE session in its dialog (RFC 3261 13 to 15), with what both of its ends can do once it stands.

Offers and answers are made elsewhere: a `Session` has them, and this module sees to it that each goes in a message that may carry it (RFC
3264, 6337) and that there is never a second one under way. What a call tells goes to a `CallUser`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from engine._native.sip import parse_address
from engine.errors import EngineError
from engine.sip import bodies, session_timer
from engine.sip.client_request import ClientRequest, Credentials
from engine.sip.compose import Header
from engine.sip.dialog import REFRESHES_TARGET, Dialog, DialogError, Verdict
from engine.sip.flow import Flow
from engine.sip.message import Message, text
from engine.sip.reliable import Repeating
from engine.sip.session_timer import Agreement, SessionTimer, TooSmall
from engine.sip.timers import Handle
from engine.sip.transaction import InviteServer, NonInviteServer
from engine.sip.transfer import Referral, Referrals, Transfer

if TYPE_CHECKING:
    from engine.sip.user_agent import UserAgent

GLARE_OWNER_S: Final = (2.1, 4.0)  # RFC 3261 14.1: who chose the Call-ID waits longer
GLARE_OTHER_S: Final = (0.0, 2.0)
GLARES_MAX: Final = 8
RETRY_AFTER_MAX_S: Final = 10  # 14.2
_ENDS_NO_CALL: Final = frozenset({"BYE", "NOTIFY", "REFER", "CANCEL"})  # what becomes of these says nothing of the call (RFC 5057 5.1)
_CAUSE: Final = re.compile(r"\s*Q\.850\s*;.*?cause\s*=\s*(\d{1,3})\b", re.IGNORECASE)
By = Literal["us", "them", "nobody"]


class CallError(EngineError):
    """Something was asked of a call that it cannot do where it stands."""

    code = "sip.call_state"


class State(Enum):
    """Where a call stands."""

    SETUP = "setup"
    CONNECTED = "connected"
    ENDING = "ending"
    ENDED = "ended"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended: who ended it, the final status of its INVITE where that was no 2xx (else 0), and the Q.850 cause of a Reason
    header (RFC 3326), 0 where none was told."""

    by: By
    status: int = 0
    reason: str = ""
    cause: int = 0


class Session(Protocol):
    """What is negotiated in a call: offers and answers as bodies (RFC 3264).

    Every method may raise an EngineError; a `status` of the error is the refusal it means, 488 where it has none.
    """

    def local_offer(self) -> bytes:
        """An offer of ours."""
        ...

    def remote_answer(self, body: bytes) -> None:
        """The answer to it."""
        ...

    def remote_offer(self, body: bytes) -> bytes:
        """The answer to an offer of theirs."""
        ...

    def rollback(self) -> None:
        """Our offer was refused: what was agreed before stands."""
        ...

    def fork(self) -> Session:
        """One of its own for another early dialog of the same offer."""
        ...


class CallUser:
    """Who has a call, and is told of it. Each method may be left as it is."""

    def on_progress(self, call: Call, response: Message) -> None:
        """A provisional answer to our INVITE, other than 100."""

    def on_connected(self, call: Call) -> None:
        """Both sides know that the call stands: the 2xx came, or the ACK of ours."""

    def on_media(self, call: Call) -> None:
        """An offer was answered: `call.session` says what holds now."""

    def on_body(self, call: Call, message: Message) -> None:
        """A re-INVITE, an UPDATE, or an ACK of theirs has a body: it is told before what is in it is answered."""

    def describe(self, call: Call, description: bytes, request: Message | None) -> tuple[str, bytes]:
        """How a description of ours goes out, as (Content-Type, body): by itself, or as a part of more. `request` is what it answers, None where it is an offer."""
        return bodies.SDP, description

    def description_of(self, message: Message) -> bytes:
        """The session description of a message; b"" where there is none."""
        return bodies.description_of(message)

    def on_offer_refused(self, call: Call, status: int) -> None:
        """Our offer inside the call was refused; what was agreed before stands."""

    def on_info(self, call: Call, request: Message) -> int:
        """An INFO; the status it is answered with."""
        return 200

    def on_refer(self, call: Call, transfer: Transfer) -> None:
        """They want us to call somebody else: `transfer.accept()` or `transfer.refuse(status)`."""
        transfer.refuse(603)

    def on_transfer(self, call: Call, status: int) -> None:
        """How far the transfer that we asked for is: the status of their call; the last one is 200 or above."""

    def on_replaced(self, call: Call, by: Call) -> None:
        """Another call takes this one's place (RFC 3891); this one ends next."""

    def on_ended(self, call: Call, ending: Ending) -> None:
        """It is over; the last thing that is told."""


NOBODY: Final = CallUser()


def status_of(error: EngineError) -> int:
    """The refusal that an error of a session means."""
    found = getattr(error, "status", 488)
    return found if isinstance(found, int) and 400 <= found <= 699 else 488


def cause_of(message: Message) -> int:
    """The Q.850 cause of a Reason header (RFC 3326), 0 where none is told."""
    for value in message.values("Reason"):
        found = _CAUSE.match(value)
        if found:
            return int(found[1])
    return 0


class Call:
    """One call. Made by the user agent, never directly."""

    __slots__ = (
        "_ack",
        "_bye_wanted",
        "_flow",
        "_glares",
        "_inviting",
        "_offer",
        "_referrals",
        "_repeating",
        "_retry",
        "_server_invite",
        "_timer",
        "_translated",
        "_updating",
        "_wanted",
        "agent",
        "contact_parameters",
        "credentials",
        "dialog",
        "ending",
        "is_heard",
        "peer_allows",
        "session",
        "state",
        "user",
    )  # fmt: skip

    def __init__(self, agent: UserAgent, user: CallUser, session: Session | None, credentials: Credentials | None) -> None:
        self.agent = agent
        self.user = user
        self.session = session
        self.credentials = credentials
        self.contact_parameters = ""  # of our Contact: ";+sip.srs"
        self.is_heard: Callable[[], bool] | None = None  # whether their media still come: then a request without an answer ends no call
        self.dialog: Dialog | None = None
        self.state = State.SETUP
        self.ending: Ending | None = None
        self.peer_allows: frozenset[str] = frozenset()
        self._flow: Flow | None = None
        self._translated = False  # the other side's datagrams come from another address than they say
        self._offer: Literal["", "ours", "theirs"] = ""  # the one that waits for its answer
        self._timer: SessionTimer | None = None
        self._inviting: ClientRequest | None = None  # our INVITE, until its final answer
        self._updating: ClientRequest | None = None
        self._server_invite: InviteServer | None = None  # theirs, until its ACK
        self._repeating: Repeating | None = None  # our 2xx
        self._wanted: Callable[[], None] | None = None  # what is to be offered when nothing else is under way
        self._retry: Handle | None = None  # the end of the wait behind a 491
        self._glares = 0
        self._ack: tuple[int, bytes, Flow] | None = None
        self._bye_wanted = False
        self._referrals: Referrals | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.value} {self.call_id[:40]}>"

    @property
    def call_id(self) -> str:
        """The Call-ID, "" before there is a dialog."""
        return self.dialog.call_id if self.dialog is not None else ""

    @property
    def is_caller(self) -> bool:
        """Whether we sent the INVITE that made it."""
        return False

    @property
    def flow(self) -> Flow | None:
        """What its first messages went over."""
        return self._flow

    # ---- wishes ----

    def hang_up(self, *, reason: str = "") -> None:
        """Ends it, whatever it takes where it stands: CANCEL, a refusal or a BYE. `reason` is a value of a Reason header."""
        raise NotImplementedError

    def offer(self, make: Callable[[], bytes] | None = None) -> None:
        """Offers anew inside the call, by re-INVITE (14.1). `make` gives the offer when it can be sent: behind whatever is under way, and
        again when both sides offered at once. Raises CallError when the call does not stand."""
        self._must_stand()
        if self.session is None and make is None:
            raise CallError("a call without a session has nothing to offer")

        def begin() -> None:
            self._reinvite(make)

        if self._busy():
            self._wanted = begin
        else:
            begin()

    def update(self, make: Callable[[], bytes] | None = None) -> None:
        """The same by UPDATE (RFC 3311), which may be sent before the call stands, when the first offer was answered. Raises CallError where
        the other side does not take UPDATE, or an offer is under way."""
        if self.dialog is None or self.state in (State.ENDING, State.ENDED) or self._offer or self._updating is not None:
            raise CallError("an UPDATE needs a dialog in which no offer is under way")
        if "UPDATE" not in self.peer_allows:
            raise CallError("the other side does not take UPDATE")
        self._update(make)

    def info(self, content_type: str, body: bytes, on_answer: Callable[[int], None] | None = None, headers: list[Header] | None = None) -> None:
        """Sends an INFO (RFC 6086); `on_answer` gets the status."""
        self._must_stand()

        def told(status: int) -> None:
            if on_answer is not None:
                on_answer(status)

        self._request(
            "INFO", headers=[*(headers or []), ("Content-Type", content_type)], body=body, on_response=lambda response: told(response.status),
            on_failure=lambda status, why: told(status),
        )  # fmt: skip

    def refer(self, target: str, *, replaces: Call | None = None) -> Referral:
        """Asks the other side to call `target` (RFC 3515), in the place of one of our other calls when `replaces` names it (RFC 3891,
        5589). What comes of it is told by `on_transfer`. Raises CallError when the call does not stand."""
        self._must_stand()
        assert self.dialog is not None
        if self._referrals is None:
            self._referrals = Referrals(self)
        if self._referrals.full:
            raise CallError("too many transfers are under way")
        return self._referrals.refer(target, replaces.dialog if replaces is not None else None)

    def send_refer(
        self, headers: list[Header], on_response: Callable[[Message], None], on_failure: Callable[[int, str], None],
        on_number: Callable[[int], None],
    ) -> None:  # fmt: skip
        """Used by its referrals."""
        self._request("REFER", headers=headers, on_response=on_response, on_failure=on_failure, on_number=on_number)

    def notify(self, headers: list[Header], body: bytes) -> None:
        """Used by its transfers. Whether it arrives changes nothing for the call."""
        self._request("NOTIFY", headers=headers, body=body, on_response=lambda response: None, on_failure=lambda status, why: None)

    @property
    def local_uri(self) -> str:
        """Our own address in the dialog."""
        return text(parse_address(self.dialog.local.encode("utf-8", "surrogateescape")).uri) if self.dialog is not None else ""

    @property
    def remote_uri(self) -> str:
        """Theirs."""
        return text(parse_address(self.dialog.remote.encode("utf-8", "surrogateescape")).uri) if self.dialog is not None else ""

    def _as_sent(self, description: bytes, request: Message | None = None) -> tuple[list[Header], bytes]:
        """Headers and body that a description of ours goes out with."""
        if not description:
            return [], b""
        kind, body = self.user.describe(self, description, request)
        return [("Content-Type", kind)], body

    def _must_stand(self) -> None:
        if self.state is not State.CONNECTED or self.dialog is None:
            raise CallError(f"the call does not stand, it is {self.state.value}")

    # ---- requests inside the dialog ----

    def way(self, dialog: Dialog) -> Flow | None:
        """What requests inside a dialog go over without its target being looked for: the connection the call came over, which may be
        the only way back (RFC 5626), or the address that datagrams came from where the Contact leads nowhere."""
        flow = self._flow
        if flow is None or dialog.route_set or not flow.alive:
            return None
        return flow if flow.reliable or self._translated else None

    def _request(
        self, method: str, *, headers: list[Header] | None = None, body: bytes = b"", on_response: Callable[[Message], None],
        on_failure: Callable[[int, str], None], dialog: Dialog | None = None, on_number: Callable[[int], None] | None = None,
    ) -> ClientRequest:  # fmt: skip
        """Begins a request inside the dialog. Final answers refresh the target; 408, 481 and none at all end the call (12.2.1.2), all but 481 only where nothing else is heard
        of the other side."""
        dialog = dialog or self.dialog
        assert dialog is not None
        inside = dialog

        def write(via: str, flow: Flow, authorize: Callable[[str, str, bytes], list[Header]]) -> bytes:
            contact = self.agent.network.contact(flow) + self.contact_parameters if method in REFRESHES_TARGET else ""
            credentials = authorize(method, inside.request_uri, body)
            data = inside.request(method, via=via, contact=contact, headers=[*(headers or ()), *self.agent.user_agent, *credentials], body=body)
            if on_number is not None:
                on_number(inside.local_cseq or 0)
            return data

        def answered(response: Message) -> None:
            gone = response.status in (408, 481)
            if response.status >= 200 and not gone:
                inside.answered(method, response)
            on_response(response)
            if gone and method not in _ENDS_NO_CALL:
                self._lost(response.status)

        def failed(status: int, why: str) -> None:
            on_failure(status, why)
            if method not in _ENDS_NO_CALL:
                self._lost(status)

        request = ClientRequest(
            self.agent.layer, self.agent.network, inside.next_hop, write, on_response=answered, on_failure=failed,
            flow=self.way(inside), credentials=self.credentials,
        )  # fmt: skip
        request.start()
        return request

    def _lost(self, status: int) -> None:
        """The other side knows no such call (481), or is perhaps not there any more: then a BYE may still reach it (RFC 5057 5.1)."""
        if self.state is State.CONNECTED:
            if status == 481:
                self._over(Ending(by="nobody", status=481))
            elif not self._is_there():
                self._bye("nobody", status, f"SIP;cause={status}")

    def _is_there(self) -> bool:
        """Whether the other side is, though it answers nothing: some do not know the requests that we make."""
        return self.is_heard is not None and self.is_heard()

    def _busy(self) -> bool:
        return self._inviting is not None or self._updating is not None or self._server_invite is not None or bool(self._offer) or self._retry is not None

    def _made(self, make: Callable[[], bytes] | None) -> bytes | None:
        """An offer of ours, which is under way from now on; b"" without a session, None when there is none to be had, which is told."""
        try:
            body = make() if make is not None else self.session.local_offer() if self.session is not None else b""
        except EngineError as error:
            self.user.on_offer_refused(self, status_of(error))
            return None
        if body:
            self._offer = "ours"
        return body

    def _reinvite(self, make: Callable[[], bytes] | None, *, least_s: int = 0) -> None:
        assert self.dialog is not None
        body = self._made(make)
        if body is None:
            return
        about, body = self._as_sent(body)
        self._inviting = self._request(
            "INVITE", headers=[*self._timer_headers(least_s), *self.agent.features, *about], body=body,
            on_response=lambda response: self._reinvited(make, response), on_failure=self._reinvite_failed,
        )  # fmt: skip

    def _timer_headers(self, least_s: int = 0) -> list[Header]:
        timer = self._timer
        if timer is None or not timer.interval_s:
            return session_timer.asked(self.agent.settings.timer, least_s=least_s)
        return session_timer.asked(self.agent.settings.timer, timer.interval_s, least_s, "uac" if timer.ours else "uas")

    def _reinvited(self, make: Callable[[], bytes] | None, response: Message) -> None:
        status = response.status
        request = self._inviting
        if status < 200:
            return
        if request is None:  # the 2xx again: its ACK was lost
            if 200 <= status < 300:
                self._acknowledge_again(response)
            return
        self._inviting = None
        if status < 300:
            self._glares = 0
            self._acknowledge(request, response)
            self._take_answer(response)
            self._agreed(session_timer.agreed_as_client(response), as_client=True)
        else:
            self._offer_refused(status, response, again=lambda least_s: self._reinvite(make, least_s=least_s))
        self._next()

    def _reinvite_failed(self, status: int, why: str) -> None:
        self._inviting = None
        self._offer_refused(status, None, again=None)

    def _offer_refused(self, status: int, response: Message | None, *, again: Callable[[int], None] | None) -> None:
        """Our offer, or refresh, came to nothing: the session stays as it was (14.1); 491 and 422 are asked again."""
        had_offer, self._offer = self._offer == "ours", ""
        if had_offer and self.session is not None:
            self.session.rollback()
        if response is not None and again is not None and self.state is State.CONNECTED:
            if status == 491 and self._glares < GLARES_MAX:
                self._glares += 1
                low_s, high_s = GLARE_OWNER_S if self.is_caller else GLARE_OTHER_S
                self._retry = self.agent.clock.call_later(low_s + self.agent.chance() * (high_s - low_s), self._again, again)
                return
            least_s = session_timer.min_se(response)
            if status == 422 and least_s > (self._timer.interval_s if self._timer is not None else 0):
                again(least_s)
                return
        if had_offer:
            self.user.on_offer_refused(self, status)

    def _again(self, again: Callable[[int], None]) -> None:
        self._retry = None
        if self.state is State.CONNECTED:
            if self._busy():
                self._wanted = lambda: again(0)
            else:
                again(0)

    def _next(self) -> None:
        """Begins what waited for the end of something else."""
        if self._bye_wanted and self._server_invite is None:
            self._bye_wanted = False
            self._bye("us")
        elif self._wanted is not None and self.state is State.CONNECTED and not self._busy():
            begin, self._wanted = self._wanted, None
            begin()

    def _take_answer(self, message: Message) -> None:
        """The answer to our offer, where one waits."""
        if self._offer != "ours" or self.session is None:
            return
        self._offer = ""
        try:
            self.session.remote_answer(self.user.description_of(message))
        except EngineError as error:
            self.session.rollback()
            self.user.on_offer_refused(self, status_of(error))
            return
        self.user.on_media(self)

    def _update(self, make: Callable[[], bytes] | None, *, refresh: bool = False, least_s: int = 0) -> None:
        body = b"" if refresh else self._made(make)
        if body is None:
            return

        def answered(response: Message) -> None:
            if response.status < 200:
                return
            self._updating = None
            if response.status < 300:
                self._glares = 0
                self._take_answer(response)
                self._agreed(session_timer.agreed_as_client(response), as_client=True)
            else:
                self._offer_refused(response.status, response, again=lambda least: self._update(make, refresh=refresh, least_s=least))
            self._next()

        def failed(status: int, why: str) -> None:
            self._updating = None
            self._offer_refused(status, None, again=None)

        about, body = self._as_sent(body)
        self._updating = self._request(
            "UPDATE", headers=[*self._timer_headers(least_s), *self.agent.features, *about], body=body,
            on_response=answered, on_failure=failed,
        )  # fmt: skip

    # ---- ACK ----

    def _acknowledge(
        self, request: ClientRequest, response: Message, body: bytes = b"", sent: Callable[[bytes, Flow], None] | None = None,
        dialog: Dialog | None = None,
    ) -> None:  # fmt: skip
        """The ACK of a 2xx: with the INVITE's number and credentials, in a transaction of its own (13.2.2.4)."""
        inside = dialog or self.dialog
        assert inside is not None and request.transaction is not None
        invite = request.transaction.request
        number = response.cseq[0] if response.cseq else 0
        headers: list[Header] = [(name, value) for name in ("Authorization", "Proxy-Authorization") for value in invite.values(name)]
        headers += bodies.content_type(body)

        def write(via: str, flow: Flow) -> bytes:
            data = inside.request("ACK", via=via, headers=headers, body=body, cseq=number)
            if sent is not None:
                sent(data, flow)
            else:
                self._ack = (number, data, flow)
            return data

        self.agent.post(inside, self.way(inside), write)

    def _acknowledge_again(self, response: Message) -> None:
        if self._ack is not None and response.cseq is not None and self._ack[0] == response.cseq[0]:
            _, data, flow = self._ack
            with suppress(OSError):  # they will ask again
                self.agent.layer.send(flow, data)

    def on_ack(self, ack: Message) -> None:
        """The ACK of our 2xx: an answer stands in it where the offer was ours (13.2.1)."""
        invite = self._server_invite
        if invite is None or self._repeating is None or ack.cseq is None or invite.request.cseq is None or ack.cseq[0] != invite.request.cseq[0]:
            return
        self._repeating.stop()
        self._repeating = self._server_invite = None
        if ack.body:
            self.user.on_body(self, ack)
        if self._offer == "ours":
            if not self.user.description_of(ack) and not self._stands_without_answer():
                self._offer = ""
                self._bye("us", 0, 'SIP;cause=488;text="no answer in the ACK"')
                return
            self._take_answer(ack)
        self._acknowledged()
        self._next()

    def _stands_without_answer(self) -> bool:
        """An offer of what holds already was not answered; whether it was one, which holds on then."""
        session = self.session
        if session is None or not getattr(session, "offers_what_holds", False):
            return False
        self._offer = ""
        session.rollback()
        return True

    def _acknowledged(self) -> None:
        """Our 2xx has arrived."""

    def _answer_invite(self, invite: InviteServer, *, tag: str, headers: list[Header], body: bytes) -> None:
        """Sends a 2xx, and again until its ACK comes (13.3.1.4)."""
        about, body = self._as_sent(body, invite.request)
        data = self.agent.layer.respond(invite, 200, to_tag=tag, headers=[*headers, *about], body=body)
        self._server_invite = invite

        def again() -> None:
            if not invite.terminated:
                invite.respond(200, data)

        def never() -> None:
            self._repeating = self._server_invite = None
            self._offer = ""
            self._bye("nobody", 0, 'SIP;cause=408;text="ACK missing"')

        self._repeating = Repeating(self.agent.clock, self.agent.timers, again, never, longest_s=self.agent.timers.t2_s)

    # ---- requests from them ----

    def receive(self, dialog: Dialog, transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
        """A request inside one of its dialogs."""
        request = transaction.request
        verdict = dialog.receive(request)
        if verdict is Verdict.OUT_OF_ORDER or verdict is Verdict.NOT_OURS:
            self._respond(transaction, verdict.value)
            return
        method = request.method
        if method == "BYE":
            self._bye_received(transaction)
        elif self.state is State.ENDING:
            self._respond(transaction, 481)
        elif isinstance(transaction, InviteServer):
            self._reinvite_received(transaction)
        elif method == "UPDATE":
            self._update_received(dialog, transaction)
        elif method == "INFO":
            self._respond(transaction, self.user.on_info(self, request))
        elif method == "REFER":
            self.user.on_refer(self, Transfer(self, transaction))
        elif method == "NOTIFY":
            self._notify_received(transaction)
        elif method == "OPTIONS":
            self._respond(transaction, 200, headers=[*self.agent.features, ("Accept", self.agent.accepted)])
        else:
            self._other_received(transaction)

    def _other_received(self, transaction: NonInviteServer) -> None:
        """A method that only some calls take, such as PRACK."""
        self._respond(transaction, 481 if transaction.request.method == "PRACK" else 405, headers=[("Allow", self.agent.allow)])

    def _respond(
        self, transaction: InviteServer | NonInviteServer, status: int, *, headers: list[Header] | None = None, body: bytes = b""
    ) -> None:
        self.agent.layer.respond(transaction, status, headers=[*(headers or ()), *self.agent.server], body=body)

    def _retry_later(self, transaction: InviteServer | NonInviteServer) -> None:
        self._respond(transaction, 500, headers=[("Retry-After", str(int(self.agent.chance() * RETRY_AFTER_MAX_S)))])

    def _bye_received(self, transaction: InviteServer | NonInviteServer) -> None:
        self._respond(transaction, 200)
        request = transaction.request
        waiting = self._server_invite
        if waiting is not None and not waiting.answered:  # a re-INVITE (15.1.2)
            self._respond(waiting, 487)
        self._over(Ending(by="them", reason=request.value("Reason"), cause=cause_of(request)))

    def _reinvite_received(self, transaction: InviteServer) -> None:
        """14.2: refused while one of ours is under way, put off while one of theirs is; else answered at once."""
        request = transaction.request
        if self._server_invite is not None:
            self._retry_later(transaction)
            return
        if self._inviting is not None or self._offer:
            self._respond(transaction, 491)
            return
        self.peer_allows = self.agent.allowed_by(request) or self.peer_allows
        if request.body:
            self.user.on_body(self, request)
        settled = self._settled(transaction, lambda: self._described(request))
        if settled is None:
            return
        agreement, headers, body = settled
        self._answer_invite(transaction, tag="", headers=headers, body=body)
        if body and not self._offer:
            self.user.on_media(self)
        self._agreed(agreement, as_client=False)

    def _settled(
        self, transaction: InviteServer | NonInviteServer, describe: Callable[[], bytes]
    ) -> tuple[Agreement, list[Header], bytes] | None:
        """What a re-INVITE or an UPDATE of theirs comes to: the session timer, and headers and body of the 2xx; None where it was refused."""
        try:
            agreement, headers = session_timer.agreed_as_server(transaction.request, self.agent.settings.timer)
            body = describe()
        except TooSmall as error:
            self._respond(transaction, 422, headers=[("Min-SE", str(error.min_se_s))])
            return None
        except EngineError as error:
            self._respond(transaction, status_of(error), headers=bodies.warning_of(error))
            return None
        assert transaction.flow is not None
        contact = self.agent.network.contact(transaction.flow) + self.contact_parameters
        return agreement, [("Contact", contact), *headers, *self.agent.features], body

    def _described(self, request: Message) -> bytes:
        """Our half for an INVITE of theirs: the answer to its offer, or an offer where it has none."""
        if self.session is None:
            return b""
        offered = self.user.description_of(request)
        if offered:
            return self.session.remote_offer(offered)
        made = self.session.local_offer()
        self._offer = "ours"
        return made

    def _update_received(self, dialog: Dialog, transaction: NonInviteServer) -> None:
        """RFC 3311 5.2."""
        request = transaction.request
        offered = self.user.description_of(request)
        pending = self._offer_in(dialog)
        if self._updating is not None or (offered and pending == "ours"):
            self._respond(transaction, 491)
            return
        if offered and pending == "theirs":
            self._retry_later(transaction)
            return
        session = self._session_of(dialog)
        self.peer_allows = self.agent.allowed_by(request) or self.peer_allows
        if request.body:
            self.user.on_body(self, request)
        settled = self._settled(transaction, lambda: session.remote_offer(offered) if offered and session is not None else b"")
        if settled is None:
            return
        agreement, headers, described = settled
        about, body = self._as_sent(described, request)
        self._respond(transaction, 200, headers=[*headers, *about], body=body)
        if described:
            self.user.on_media(self)
        if self.state is State.CONNECTED:
            self._agreed(agreement, as_client=False)

    def _offer_in(self, dialog: Dialog) -> Literal["", "ours", "theirs"]:
        return self._offer

    def _session_of(self, dialog: Dialog) -> Session | None:
        return self.session

    def _notify_received(self, transaction: NonInviteServer) -> None:
        event = transaction.request.value("Event").partition(";")[0].strip().lower()
        if event != "refer":
            self._respond(transaction, 489, headers=[("Allow-Events", "refer")])
        elif self._referrals is None or not self._referrals.notified(transaction.request):
            self._respond(transaction, 481)
        else:
            self._respond(transaction, 200)

    # ---- session timer ----

    def _agreed(self, agreement: Agreement, *, as_client: bool) -> None:
        if self._timer is None:
            if not agreement.interval_s:
                return
            self._timer = SessionTimer(self.agent.clock, self._refresh, self._expired)
        self._timer.agreed(agreement, as_client=as_client)

    def _refresh(self) -> None:
        """A sign of life that changes nothing: UPDATE where the other side takes it, else a re-INVITE with what was agreed (RFC 4028 7.4)."""
        if self.state is not State.CONNECTED or self._busy():
            return  # what is under way is one
        if "UPDATE" in self.peer_allows:
            self._update(None, refresh=True)
        else:
            # a session that can say the same again does; others offer, which comes to the same when nothing changed
            self._reinvite(getattr(self.session, "refresh", None))

    def _expired(self) -> None:
        if self._timer is not None and self._is_there():
            self._timer.again()
            return
        self._bye("nobody", 0, 'SIP;cause=200;text="session timer expired"')

    # ---- the end ----

    def _bye(self, by: By, status: int = 0, reason: str = "") -> None:
        """Sends a BYE; the dialog is kept until its answer, so that a BYE of theirs that crosses it is answered as they expect."""
        if self.state in (State.ENDING, State.ENDED) or self.dialog is None:
            return
        self.state = State.ENDING
        self._quiet()
        ending = Ending(by=by, status=status, reason=reason)
        try:
            self._request(
                "BYE", headers=[("Reason", reason)] if reason else [], on_response=lambda response: self._over(ending, response.status),
                on_failure=lambda status, why: self._over(ending),
            )  # fmt: skip
        except DialogError:
            self._over(ending)

    def _over(self, ending: Ending, status: int = 200) -> None:
        """It is over: everything is let go, and told once."""
        if self.state is State.ENDED or status < 200:
            return
        self.state = State.ENDED
        self.ending = ending
        self._quiet()
        if self._referrals is not None:
            self._referrals.ended()
        self._inviting = self._updating = None  # their transactions acknowledge what may still come
        self._offer = ""
        self._forget()
        self.agent.over(self)
        self.user.on_ended(self, ending)

    def drop(self) -> None:
        """Lets everything go without a word to anybody: its worker ends."""
        if self.state is not State.ENDED:
            self._over(Ending(by="us", reason="dropped"))

    def _forget(self) -> None:
        if self.dialog is not None:
            self.dialog.terminate()
            self.agent.forget(self, self.dialog)

    def _quiet(self) -> None:
        """No timer of it runs any more."""
        self.is_heard = None
        if self._timer is not None:
            self._timer.stop()
        if self._repeating is not None:
            self._repeating.stop()
            self._repeating = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._wanted = None


__all__ = ["NOBODY", "Call", "CallError", "CallUser", "Ending", "Session", "State", "cause_of", "status_of"]

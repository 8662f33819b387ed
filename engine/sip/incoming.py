"""A call that comes to us: from its INVITE to our final answer and the ACK of it (RFC 3261 13.3, RFC 3262, RFC 3891)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.sip import bodies, session_timer
from engine.sip.call import NOBODY, Call, CallError, Ending, State, status_of
from engine.sip.compose import Header
from engine.sip.dialog import Dialog
from engine.sip.dialog import State as DialogState
from engine.sip.flow import Flow
from engine.sip.message import Message
from engine.sip.reliable import RSEQ_MAX, ReliableAnswers, rack_of
from engine.sip.transaction import InviteServer, NonInviteServer

if TYPE_CHECKING:
    from engine.sip.user_agent import UserAgent


class IncomingCall(Call):
    """One that somebody makes to us. `session` and `user` are given by whoever takes it, before it is answered."""

    __slots__ = ("_answer_wanted", "_body", "_described_reliably", "_invite", "_reliable", "_tag", "replaces", "request")

    def __init__(self, agent: UserAgent, invite: InviteServer, flow: Flow, dialog: Dialog, replaces: Call | None) -> None:
        super().__init__(agent, NOBODY, None, None)
        self.request: Message | None = invite.request  # until the call stands or is over
        self.replaces = replaces
        self.dialog = dialog
        self.peer_allows = agent.allowed_by(invite.request)
        self._invite: InviteServer | None = invite  # until its ACK
        self._flow = flow
        says = invite.request.vias[0].sent_by.text
        self._translated = not flow.reliable and bool(says) and says != flow.peer[0]
        self._tag = dialog.local_tag
        self._body: bytes | None = None  # our half of the first offer and answer, once it is made
        self._reliable: ReliableAnswers | None = None
        self._described_reliably = False
        self._answer_wanted: list[Header] | None = None

    @property
    def offered(self) -> bytes:
        """The offer of the INVITE; b"" where it asks for one of ours, or is answered."""
        return self.user.description_of(self.request) if self.request is not None else b""

    # ---- wishes ----

    def ring(self, status: int = 180, *, describe: bool = False, reliable: bool | None = None, headers: list[Header] | None = None) -> None:
        """A provisional answer. `describe` puts the session description in, for early media; where the INVITE has no offer that is one
        of ours, and only goes out reliably (RFC 3262 5). `reliable`: None is as the settings and the caller have it.

        Raises CallError behind the final answer, and where `reliable` is wanted from a caller that does not know it.
        """
        invite = self._invite
        if invite is None or invite.answered or self.request is None or not 101 <= status <= 199:
            raise CallError("only an INVITE that is not answered has provisional answers, 101 to 199")
        knows = session_timer.supports(self.request, "100rel")
        if reliable and not knows:
            raise CallError("the caller does not know reliable answers")
        requires = any(element.strip().lower() == b"100rel" for element in self.request.elements("Require"))
        reliable = knows and (requires or (self.agent.settings.reliable if reliable is None else reliable))
        body = b""
        if describe and self.session is not None and (reliable or self.offered) and not self._described_reliably:
            made = self._half()
            if made is None:
                return
            body = made
        about, body = self._as_sent(body, self.request)
        headers = [*(headers or ()), *about]
        if not reliable:
            self._provisional(status, headers, body)
            return
        if body:
            self._described_reliably = True
        if self._reliable is None:
            number = self.request.cseq[0] if self.request.cseq else 0
            first = 1 + int(self.agent.chance() * (RSEQ_MAX - 1))
            self._reliable = ReliableAnswers(self.agent.clock, self.agent.timers, number, self._unacknowledged, first=first)
        self._reliable.send(lambda rseq: self._provisional_reliably(status, rseq, headers, body))

    def _contact(self) -> Header:
        assert self._flow is not None
        return ("Contact", self.agent.network.contact(self._flow) + self.contact_parameters)

    def _provisional(self, status: int, headers: list[Header], body: bytes) -> bytes:
        assert self._invite is not None
        return self.agent.layer.respond(
            self._invite, status, to_tag=self._tag, headers=[self._contact(), *self.agent.features, *headers, *self.agent.server], body=body
        )

    def _provisional_reliably(self, status: int, rseq: int, headers: list[Header], body: bytes) -> Callable[[], None]:
        more = [*headers, ("Require", "100rel"), ("RSeq", str(rseq))]
        data = self._provisional(status, more, body)
        invite = self._invite

        def again() -> None:
            if invite is not None and not invite.answered:
                invite.respond(status, data)

        return again

    def _unacknowledged(self) -> None:
        self.refuse(504, "A provisional answer was never acknowledged")  # RFC 3262 3

    def answer(self, headers: list[Header] | None = None) -> None:
        """Takes the call: 200, as soon as what was sent reliably with a description is acknowledged (RFC 3262 3). Raises CallError
        when it was answered before or has no session."""
        if self._invite is None or self._invite.answered or self.request is None:
            raise CallError("the INVITE was answered already")
        if self._reliable is not None and self._reliable.outstanding and self._described_reliably:
            self._reliable.no_more()
            self._answer_wanted = headers or []
            return
        self._answer_now(headers or [])

    def _answer_now(self, headers: list[Header]) -> None:
        assert self.request is not None and self.dialog is not None and self._invite is not None
        try:
            agreement, timer = session_timer.agreed_as_server(self.request, self.agent.settings.timer)
        except session_timer.TooSmall as error:
            self.refuse(422, headers=[("Min-SE", str(error.min_se_s))])
            return
        body = b"" if self._described_reliably else self._half()
        if body is None:
            return
        if self._reliable is not None:
            self._reliable.stop()
            self._reliable = None
        self.state = State.CONNECTED
        self.dialog.state = DialogState.CONFIRMED
        self._answer_invite(
            self._invite, tag=self._tag, headers=[self._contact(), *timer, *self.agent.features, *headers, *self.agent.server], body=body
        )
        answered = bool(body) and self._offer != "ours"
        self._agreed(agreement, as_client=False)
        self.agent.answered(self)
        if answered:
            self.user.on_media(self)

    def _half(self) -> bytes | None:
        """Our half of the first offer and answer; None when theirs could not be worked with, and the call was refused for it."""
        if self._body is None:
            assert self.request is not None
            try:
                self._body = self._described(self.request)
            except EngineError as error:
                self.refuse(status_of(error), headers=bodies.warning_of(error))
                return None
        return self._body

    def refuse(self, status: int = 603, reason: str = "", headers: list[Header] | None = None) -> None:
        """A final answer that is no 2xx: 3xx with Contacts in `headers`, or 4xx to 6xx. Raises CallError behind a final answer."""
        if self._invite is None or self._invite.answered or self.state is not State.SETUP:
            raise CallError("the INVITE was answered already")
        if not 300 <= status <= 699:
            raise CallError(f"{status} refuses nothing")
        if not self._invite.terminated:
            self.agent.layer.respond(self._invite, status, reason, to_tag=self._tag, headers=[*(headers or ()), *self.agent.server])
        self._over(Ending(by="us", status=status, reason=reason))

    def hang_up(self, *, reason: str = "") -> None:
        """Ends it: 603 where it was not answered, else a BYE, which waits for the ACK (15)."""
        if self.state is State.SETUP:
            self.refuse(603, headers=[("Reason", reason)] if reason else None)
        elif self._server_invite is not None and self._repeating is not None and self.state is State.CONNECTED:
            self._bye_wanted = True
        else:
            self._bye("us", 0, reason)

    # ---- what comes ----

    def cancelled(self) -> None:
        """They do not want it any more; the CANCEL is answered (9.2)."""
        if self.state is State.SETUP and self._invite is not None and not self._invite.answered:
            self.agent.layer.respond(self._invite, 487, to_tag=self._tag, headers=list(self.agent.server))
            self._over(Ending(by="them", status=487, reason="cancelled"))

    def _bye_received(self, transaction: InviteServer | NonInviteServer) -> None:
        if self.state is State.SETUP and self._invite is not None and not self._invite.answered:  # the caller may end an early dialog so (15)
            self.agent.layer.respond(self._invite, 487, to_tag=self._tag, headers=list(self.agent.server))
        super()._bye_received(transaction)

    def _acknowledged(self) -> None:
        if self.request is not None:
            self.request = self._invite = self._body = None
            self.user.on_connected(self)
            if self.replaces is not None:
                replaced, self.replaces = self.replaces, None
                if replaced.state is State.CONNECTED:
                    replaced.user.on_replaced(replaced, self)
                    replaced.hang_up(reason='SIP;cause=200;text="Replaced"')

    def _other_received(self, transaction: NonInviteServer) -> None:
        request = transaction.request
        rack = rack_of(request) if request.method == "PRACK" else None
        if request.method != "PRACK":
            super()._other_received(transaction)
            return
        if rack is None:
            self._respond(transaction, 400)
            return
        if self._reliable is None or not self._reliable.acknowledged(rack):
            self._respond(transaction, 481)
            return
        self._pracked(transaction)
        if self._answer_wanted is not None and not self._reliable.outstanding:
            wanted, self._answer_wanted = self._answer_wanted, None
            self._answer_now(wanted)

    def _pracked(self, transaction: NonInviteServer) -> None:
        """What a PRACK may carry: the answer to our offer, or an offer of theirs once the first was answered (RFC 3262 5)."""
        offered = self.user.description_of(transaction.request)
        body = b""
        if offered and self._offer == "ours":
            self._take_answer(transaction.request)
        elif offered and self.session is not None and self._body is not None:
            try:
                body = self.session.remote_offer(offered)
            except EngineError as error:
                self._respond(transaction, status_of(error), headers=bodies.warning_of(error))
                return
        self._respond(transaction, 200, headers=bodies.content_type(body), body=body)
        if body:
            self.user.on_media(self)

    def _forget(self) -> None:
        if self._reliable is not None:
            self._reliable.stop()
            self._reliable = None
        self.agent.answered(self)
        self.request = self.replaces = self._invite = self._body = None
        super()._forget()

    @property
    def invite(self) -> InviteServer | None:
        """Its transaction, until the ACK."""
        return self._invite


__all__ = ["IncomingCall"]

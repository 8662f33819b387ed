"""A call that we make: INVITE, the early dialogs of its forks, and the one of them that becomes the call (RFC 3261 13.2)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from engine.errors import EngineError
from engine.sip import bodies, compose, session_timer
from engine.sip.call import Call, CallUser, Ending, Session, State, cause_of
from engine.sip.client_request import Authorize, ClientRequest, Credentials
from engine.sip.compose import Header
from engine.sip.dialog import Dialog, DialogError, uri_of
from engine.sip.flow import Flow
from engine.sip.message import Message, text
from engine.sip.reliable import rseq_of
from engine.sip.timers import Handle

if TYPE_CHECKING:
    from engine.sip.user_agent import UserAgent

FORKS_MAX: Final = 32
MIN_SE_MAX: Final = 3
CANCEL_HOLDS_S: Final = 32.0  # 9.1: 64 T1 behind a CANCEL nobody waits for the end of the INVITE any more


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who we call as: `uri` and `display` of From, what challenges are answered with, and the Route values that are preloaded, such as an
    outbound proxy's <sip:proxy.example.com;lr> or those of Service-Route (RFC 3608)."""

    uri: str
    display: str = ""
    username: str = ""
    password: str = ""
    routes: tuple[str, ...] = ()


class Fork:
    """One early dialog."""

    __slots__ = ("answered", "dialog", "rseq", "session")

    def __init__(self, dialog: Dialog, session: Session | None) -> None:
        self.dialog = dialog
        self.session = session
        self.answered = False  # whether its session has the answer to our offer, or ours to its
        self.rseq = 0


class OutgoingCall(Call):
    """One that we make."""

    __slots__ = (
        "_acks", "_body", "_call_id", "_cancel_sent", "_cancelling", "_cseq", "_forks", "_headers", "_identity", "_invite", "_least_s", "_tag",
        "_target", "_too_small", "_wait",
    )  # fmt: skip

    def __init__(
        self, agent: UserAgent, target: str, identity: Identity, session: Session | None, user: CallUser, *, headers: list[Header],
        call_id: str,
    ) -> None:  # fmt: skip
        super().__init__(agent, user, session, Credentials(identity.username, identity.password) if identity.username else None)
        self._target = target
        self._identity = identity
        self._headers = headers
        self._call_id = call_id
        self._tag = secrets.token_hex(5)
        self._cseq = 0
        self._body = b""
        self._forks: dict[str, Fork] = {}
        self._invite: ClientRequest | None = None
        self._cancelling = False
        self._wait: Handle | None = None
        self._least_s = 0
        self._too_small = 0
        self._cancel_sent = False
        self._acks: dict[str, tuple[bytes, Flow] | None] = {}  # by the tag of the 2xx; None while there is no way to send it yet

    @property
    def is_caller(self) -> bool:
        return True

    @property
    def call_id(self) -> str:
        return self._call_id

    @property
    def forks(self) -> list[Fork]:
        """Its early dialogs."""
        return list(self._forks.values())

    def early_session(self, response: Message) -> Session | None:
        """The session of the early dialog that a provisional answer belongs to: its media may be played before the call stands."""
        fork = self._forks.get(_tag_of(response))
        return fork.session if fork is not None and fork.answered else None

    # ---- INVITE ----

    def start(self, ring_s: float) -> None:
        """Sends the INVITE; it is cancelled when there is no final answer within `ring_s`. Raises EngineError of the session."""
        if self.session is not None:
            self._body = self.session.local_offer()
            self._offer = "ours"
        self._wait = self.agent.clock.call_later(ring_s, self._rung_out)
        self._send()

    def _send(self) -> None:
        routes = self._identity.routes
        self._invite = self._inviting = ClientRequest(
            self.agent.layer, self.agent.network, uri_of(routes[0]) if routes else self._target, self._write, on_response=self._answered,
            on_failure=self._failed, credentials=self.credentials,
        )  # fmt: skip
        self._invite.start()

    def _write(self, via: str, flow: Flow, authorize: Authorize) -> bytes:
        self._flow = flow
        self._cseq += 1
        identity = self._identity
        display = f'"{identity.display}" ' if identity.display else ""
        headers: list[Header] = [
            ("Via", via), *(("Route", route) for route in identity.routes), ("Max-Forwards", str(compose.MAX_FORWARDS)),
            ("From", f"{display}<{identity.uri}>;tag={self._tag}"), ("To", f"<{self._target}>"), ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} INVITE"), ("Contact", self.agent.network.contact(flow)), *self.agent.features,
            *session_timer.asked(self.agent.settings.timer, least_s=self._least_s), *self.agent.user_agent,
            *authorize("INVITE", self._target, self._body), *self._headers, *bodies.content_type(self._body),
        ]  # fmt: skip
        return compose.request("INVITE", self._target, headers, self._body)

    def _rung_out(self) -> None:
        self._wait = None
        self.hang_up(reason='Q.850;cause=19;text="no answer"')

    # ---- answers ----

    def _answered(self, response: Message) -> None:
        status = response.status
        if self.state is State.ENDED:
            if 200 <= status < 300:
                self._accepted(response)
            return
        if status < 200:
            if self._cancelling:
                self._cancel_now()
            elif status > 100:
                self._progress(response)
        elif status < 300:
            self._accepted(response)
        else:
            self._refused(response)

    def _failed(self, status: int, why: str) -> None:
        self._over(Ending(by="nobody", status=status, reason=why))

    def _fork_of(self, response: Message) -> Fork | None:
        """The early dialog of an answer, made where it is the first with its tag; None where there can be none."""
        tag = _tag_of(response)
        found = self._forks.get(tag)
        if found is not None or not tag:
            return found
        if len(self._forks) >= FORKS_MAX:
            return None
        assert self._invite is not None and self._invite.transaction is not None
        try:
            dialog = Dialog.as_caller(self._invite.transaction.request, response, over_tls=self._over_tls())
        except DialogError:
            return None  # without a Contact it only says how far the call is
        found = self._forks[tag] = Fork(dialog, self.session.fork() if self.session is not None else None)
        self.agent.remember(self, dialog)
        return found

    def _over_tls(self) -> bool:
        return self._flow is not None and self._flow.transport in ("TLS", "WSS")

    def _progress(self, response: Message) -> None:
        self.peer_allows = self.agent.allowed_by(response) or self.peer_allows
        fork = self._fork_of(response)
        rseq = rseq_of(response)
        if fork is not None:
            if rseq is not None:
                if fork.rseq and rseq != fork.rseq + 1:
                    return  # again, or out of order (RFC 3262 4)
                fork.rseq = rseq
            reply = self._early_description(fork, response, reliable=rseq is not None)
            if rseq is not None:
                self._prack(fork, response, rseq, reply)
        self.user.on_progress(self, response)

    def _early_description(self, fork: Fork, response: Message, *, reliable: bool) -> bytes:
        """Takes the first description of a fork as the answer that it is or announces (RFC 3261 13.2.1, 6337 3.1); what a PRACK must
        carry where it is an offer."""
        described = bodies.description_of(response)
        if not described or fork.session is None or fork.answered:
            return b""
        try:
            if self._body:
                fork.session.remote_answer(described)
            elif reliable:
                fork.answered = True
                return fork.session.remote_offer(described)
            else:
                return b""
        except EngineError:
            return b""  # the final answer decides
        fork.answered = True
        return b""

    def _prack(self, fork: Fork, response: Message, rseq: int, body: bytes) -> None:
        number = response.cseq[0] if response.cseq else 0
        self._request(
            "PRACK", headers=[("RAck", f"{rseq} {number} INVITE"), *bodies.content_type(body)], body=body,
            on_response=lambda response: None, on_failure=lambda status, why: None, dialog=fork.dialog,
        )  # fmt: skip

    def _accepted(self, response: Message) -> None:
        """A 2xx: the first makes the call; one of another fork is acknowledged and ended (13.2.2.4); one again is acknowledged again."""
        tag = _tag_of(response)
        if tag in self._acks:
            if (sent := self._acks[tag]) is not None:
                data, flow = sent
                with suppress(OSError):  # they will ask again
                    self.agent.layer.send(flow, data)
            return
        if self.dialog is not None or self._cancelling or self.state is not State.SETUP:
            self._unwanted(response, tag)
            return
        fork = self._fork_of(response)
        if fork is None:
            self._end_setup()
            self._over(Ending(by="us", status=response.status, reason="the answer makes no dialog"))
            return
        invite = self._invite
        assert invite is not None
        self._end_setup()
        fork.dialog.confirm(response)
        self.dialog = fork.dialog
        self.peer_allows = self.agent.allowed_by(response) or self.peer_allows
        for other in self._forks.values():
            if other is not fork:
                self.agent.forget(self, other.dialog)
        self._forks.clear()
        self.state = State.CONNECTED
        described = bodies.description_of(response)
        reply, why = self._settle(fork, described)
        self._acknowledge(invite, response, reply, self._remembering(tag))
        self._wait = self.agent.clock.call_later(self.agent.timers.timeout_s, self._lighten)
        if why:
            self._bye("us", 0, f'SIP;cause=488;text="{why}"')
            return
        self._agreed(session_timer.agreed_as_client(response), as_client=True)
        self.user.on_connected(self)
        if self.session is not None and self.state is State.CONNECTED:
            self.user.on_media(self)
        self._next()

    def _settle(self, fork: Fork, described: bytes) -> tuple[bytes, str]:
        """Ends the first offer and answer in a 2xx: (what the ACK carries, what was wrong)."""
        if self.session is None:
            return b"", ""
        self._offer = ""
        fresh = self.session  # still as our offer left it
        try:
            if self._body:
                if described and not (fork.answered and fork.rseq):
                    fresh.remote_answer(described)  # what a 183 announced without being reliable may differ
                elif fork.answered and fork.session is not None:
                    self.session = fork.session
                else:
                    return b"", "no answer in the 2xx"
                return b"", ""
            if fork.answered and fork.session is not None:
                self.session = fork.session
                return b"", ""
            return (fresh.remote_offer(described), "") if described else (b"", "no offer in the 2xx")
        except EngineError as error:
            return b"", str(error).replace('"', " ").replace("\\", " ")[:120]

    def _remembering(self, tag: str) -> Callable[[bytes, Flow], None]:
        """Keeps the ACK of a 2xx, which goes out again with each repeat of that."""
        self._acks[tag] = None

        def sent(data: bytes, flow: Flow) -> None:
            self._acks[tag] = (data, flow)

        return sent

    def _lighten(self) -> None:
        """No answer to the INVITE can come any more: what they would need is let go."""
        self._wait = None
        self._invite = None
        self._acks.clear()
        self._headers = []
        self._body = b""

    def _unwanted(self, response: Message, tag: str) -> None:
        """A 2xx that came behind our CANCEL, or from a second fork: ACK, then BYE."""
        invite = self._invite
        if invite is None or invite.transaction is None or len(self._acks) >= FORKS_MAX:
            return
        try:
            dialog = Dialog.as_caller(invite.transaction.request, response, over_tls=self._over_tls())
        except DialogError:
            return
        self._acknowledge(invite, response, b"", self._remembering(tag), dialog)
        self._request("BYE", on_response=lambda response: None, on_failure=lambda status, why: None, dialog=dialog)
        if self.state is State.SETUP:
            self._over(Ending(by="us", status=487, reason="cancelled"))

    def _refused(self, response: Message) -> None:
        status = response.status
        least_s = session_timer.min_se(response)
        if status == 422 and not self._cancelling and self._too_small < MIN_SE_MAX and least_s > self._least_s:
            self._too_small += 1
            self._least_s = least_s
            self._drop_forks()
            self._send()
            return
        reason = response.value("Reason") or text(response.tokens.reason)
        self._over(Ending(by="us" if self._cancelling and status == 487 else "them", status=status, reason=reason, cause=cause_of(response)))

    # ---- the end ----

    def hang_up(self, *, reason: str = "") -> None:
        """Ends it: a CANCEL once there was any answer (9.1), or a BYE."""
        if self.state is State.CONNECTED:
            self._bye("us", 0, reason)
        elif self.state is State.SETUP and not self._cancelling and self._invite is not None:
            self._cancelling = True
            if self._invite.transaction is None:
                self._invite.abandon()  # nothing was sent yet
                self._over(Ending(by="us", status=487, reason="cancelled"))
            elif self._invite.heard:
                self._cancel_now()

    def _cancel_now(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
        invite = self._invite
        if invite is None or invite.transaction is None or invite.flow is None or self._cancel_sent:
            return
        self._cancel_sent = True
        self.agent.cancel(invite.transaction.request, invite.flow)
        self._wait = self.agent.clock.call_later(CANCEL_HOLDS_S, self._cancel_held)

    def _cancel_held(self) -> None:
        self._wait = None
        if self._invite is not None:
            self._invite.abandon()
        self._over(Ending(by="us", status=487, reason="cancelled, and never answered"))

    def _end_setup(self) -> None:
        self._inviting = None
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None

    def _drop_forks(self) -> None:
        for fork in self._forks.values():
            fork.dialog.terminate()
            self.agent.forget(self, fork.dialog)
        self._forks.clear()

    def _forget(self) -> None:
        self._end_setup()
        self._drop_forks()
        super()._forget()

    def _session_of(self, dialog: Dialog) -> Session | None:
        fork = self._forks.get(dialog.remote_tag)
        return fork.session if fork is not None and self.dialog is None else self.session

    def _offer_in(self, dialog: Dialog) -> Literal["", "ours", "theirs"]:
        fork = self._forks.get(dialog.remote_tag)
        return "" if fork is not None and fork.answered else self._offer


def _tag_of(response: Message) -> str:
    return text(response.recipient.tag) if response.recipient is not None else ""


__all__ = ["Fork", "Identity", "OutgoingCall"]

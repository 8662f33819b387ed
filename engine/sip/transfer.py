"""Transfers: REFER with the subscription it makes (RFC 3515, 4488, 7647), and one call in the place of another (RFC 3891, 5589)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import msgspec

from engine._native.sip import Scheme, parameter, parse_address, parse_uri
from engine.sip import compose
from engine.sip.compose import Header
from engine.sip.dialog import Dialog
from engine.sip.message import Message, parse, text

if TYPE_CHECKING:
    from engine.sip.call import Call
    from engine.sip.transaction import NonInviteServer

SUBSCRIPTION_S: Final = 180
FRAGMENT: Final = "message/sipfrag;version=2.0"
REFERRALS_MAX: Final = 8


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """The dialog that an INVITE is to replace, with the tags as the receiver of the INVITE sees them (RFC 3891 3)."""

    call_id: str
    local_tag: str
    remote_tag: str
    early_only: bool = False


def replaced_by(request: Message) -> Replaced | None:
    """What a Replaces header names; None where there is none. Raises ValueError where it is malformed or there are two (400)."""
    values = request.values("Replaces")
    if not values:
        return None
    if len(values) > 1:
        raise ValueError("Replaces stands more than once")
    return parse_replaces(values[0])


def parse_replaces(value: str) -> Replaced:
    """Reads a Replaces value. Raises ValueError."""
    call_id, semicolon, rest = value.partition(";")
    parameters = (semicolon + rest).encode("utf-8", "surrogateescape")
    to_tag, from_tag = parameter(parameters, b"to-tag"), parameter(parameters, b"from-tag")
    if not call_id.strip() or not to_tag or not from_tag:
        raise ValueError("Replaces needs a Call-ID, a to-tag and a from-tag")
    return Replaced(
        call_id=call_id.strip(), local_tag=text(to_tag), remote_tag=text(from_tag),
        early_only=parameter(parameters, b"early-only") is not None,
    )  # fmt: skip


def replaces_of(dialog: Dialog) -> str:
    """The value by which another call takes the place of this dialog at its other end: tags as that end sees them."""
    return f"{dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}"


def refer_to(target: str, dialog: Dialog | None) -> str:
    """A Refer-To value; with a dialog, whose Replaces is escaped into the URI (RFC 3261 19.1.1)."""
    if dialog is None:
        return f"<{target}>"
    return f"<{target}{'&' if '?' in target else '?'}Replaces={quote(replaces_of(dialog), safe='')}>"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a REFER names: a URI without headers, and what the new call is to replace ("" for nothing)."""

    uri: str
    replaces: str = ""


def target_of(request: Message) -> Target:
    """Reads Refer-To. Raises ValueError when it is missing, stands twice, or asks for something else than a call (RFC 3515 2.4.1)."""
    values = request.values("Refer-To")
    if len(values) != 1:
        raise ValueError("a REFER has one Refer-To")
    address = parse_address(values[0].encode("utf-8", "surrogateescape"))
    uri = text(address.uri)
    parsed = parse_uri(address.uri)
    if parsed.scheme_id not in (Scheme.SIP, Scheme.SIPS, Scheme.TEL) or not uri:
        raise ValueError("Refer-To is no address that can be called")
    bare, _, headers = uri.partition("?")
    method = parameter(parsed.parameters, b"method")
    if method is not None and method.upper() != b"INVITE":
        raise ValueError("only calls can be referred")
    bare = ";".join(part for part in bare.split(";") if not part.lower().startswith("method="))
    replaces = ""
    for field in headers.split("&") if headers else []:
        name, _, value = field.partition("=")
        if unquote(name).lower() == "replaces":
            replaces = unquote(value)
            parse_replaces(replaces)
    return Target(uri=bare, replaces=replaces)


class Transfer:
    """A REFER that came: it is answered once, and what comes of it is told until it is final."""

    def __init__(self, call: Call, transaction: NonInviteServer) -> None:
        self.call = call
        self._transaction: NonInviteServer | None = transaction
        self._request = transaction.request
        self._told_last = False
        self._silent = self._request.value("Refer-Sub").strip().lower().startswith("false")
        try:
            self.target: Target | None = target_of(self._request)
            self.why = ""
        except ValueError as error:
            self.target, self.why = None, str(error)

    @property
    def referred_by(self) -> str:
        """The Referred-By value (RFC 3892), "" where none is told."""
        return self._request.value("Referred-By")

    def accept(self) -> bool:
        """Answers 202, and begins to tell; 400 where it names nobody. Whether it was accepted."""
        if self._transaction is None:
            return False
        if self.target is None:
            self.refuse(400)
            return False
        transaction, self._transaction = self._transaction, None
        agent = self.call.agent
        assert transaction.flow is not None
        headers = [("Contact", agent.network.contact(transaction.flow))]
        if self._silent:
            headers.append(("Refer-Sub", "false"))
        agent.layer.respond(transaction, 202, headers=[*headers, *agent.server])
        self.tell(100)
        return True

    def refuse(self, status: int) -> None:
        """Answers that it will not be done."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            self.call.agent.layer.respond(transaction, status, headers=list(self.call.agent.server))

    def tell(self, status: int, reason: str = "") -> None:
        """Tells how far the new call is; 200 and above is the last that is told."""
        if self._told_last or self._transaction is not None:
            return
        self._told_last = status >= 200
        if self._silent or self.call.dialog is None or self.call.state.value in ("ending", "ended"):
            return
        number = self._request.cseq[0] if self._request.cseq else 0
        state = "terminated;reason=noresource" if status >= 200 else f"active;expires={SUBSCRIPTION_S}"
        headers: list[Header] = [("Event", f"refer;id={number}"), ("Subscription-State", state), ("Content-Type", FRAGMENT)]
        line = f"SIP/2.0 {status} {reason or compose.REASONS.get(status, 'Unknown')}\r\n"
        self.call.notify(headers, line.encode("utf-8", "surrogateescape"))


class Referral:
    """A REFER of ours, until its subscription ends."""

    __slots__ = ("number", "status")

    def __init__(self) -> None:
        self.number = 0
        self.status = 0


class Referrals:
    """The REFERs of ours in one call."""

    __slots__ = ("_call", "_open")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._open: dict[int, Referral] = {}  # by CSeq number, which is the id of the event

    @property
    def full(self) -> bool:
        """Whether there are as many as may be."""
        return len(self._open) >= REFERRALS_MAX

    def refer(self, target: str, dialog: Dialog | None) -> Referral:
        """Sends one."""
        referral = Referral()
        headers: list[Header] = [("Refer-To", refer_to(target, dialog)), ("Referred-By", f"<{self._call.local_uri}>")]

        def answered(response: Message) -> None:
            if 200 <= response.status < 300:
                if response.value("Refer-Sub").strip().lower().startswith("false"):
                    self._done(referral, response.status)
            elif response.status >= 300:
                self._done(referral, response.status)

        def failed(status: int, why: str) -> None:
            self._done(referral, status)

        def numbered(number: int) -> None:
            self._open.pop(referral.number, None)
            referral.number = number
            self._open[number] = referral

        self._call.send_refer(headers, answered, failed, numbered)
        return referral

    def _done(self, referral: Referral, status: int) -> None:
        if self._open.pop(referral.number, None) is not None or referral.status < 200:
            referral.status = status
            self._call.user.on_transfer(self._call, status)

    def notified(self, request: Message) -> bool:
        """A NOTIFY of the event refer; whether there is such a subscription."""
        value = request.value("Event")
        _, semicolon, rest = value.partition(";")
        identity = parameter((semicolon + rest).encode("utf-8", "surrogateescape"), b"id")
        if identity is not None and identity.isdigit() and len(identity) < 11:
            referral = self._open.get(int(identity))
        else:
            referral = next(iter(self._open.values()), None)  # the first REFER of a dialog may go without an id (RFC 3515 2.4.6)
        if referral is None:
            return False
        status = fragment_status(request.body)
        ended = request.value("Subscription-State").strip().lower().startswith("terminated")
        if status >= 200 or ended:
            self._done(referral, status if status >= 200 else 408)
        elif status:
            referral.status = status
            self._call.user.on_transfer(self._call, status)
        return True

    def ended(self) -> None:
        """The call is over, and with it what was told."""
        self._open.clear()


def fragment_status(body: bytes) -> int:
    """The status in a message/sipfrag body (RFC 3420); 0 where there is none."""
    try:
        return parse(body.rstrip(b"\r\n") + b"\r\n\r\n").status
    except ValueError:
        return 0


__all__ = [
    "Referral", "Referrals", "Replaced", "Target", "Transfer", "fragment_status", "parse_replaces", "refer_to", "replaced_by",
    "replaces_of", "target_of",
]  # fmt: skip

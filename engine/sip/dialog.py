"""Dialogs (RFC 3261 12): what both ends of a call remember, requests inside it, and which of them belong to it.

A dialog knows no transactions and no sockets: it writes requests (`request`), judges those that come (`receive`), and says where to send
(`next_hop`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Final

from engine._native.sip import Scheme, UriFlag, parse_address
from engine.errors import EngineError
from engine.sip import compose
from engine.sip.message import Message, text

REFRESHES_TARGET: Final = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})  # RFC 3261 12.2, 3311, 6665, 3515
FIRST_CSEQ: Final = 1
CSEQ_MAX: Final = 2**31 - 1  # 8.1.1.5
ROUTES_MAX: Final = 64
Id = tuple[str, str, str]
_PARAMETER: Final = re.compile(r';?(?:[^;"]|"(?:[^"\\]|\\.)*"?)+')
_TAG: Final = re.compile(r";?\s*tag\s*(?:=|\Z)", re.IGNORECASE)


class DialogError(EngineError):
    """A message that makes no dialog: a tag or the Contact is missing, or there are too many routes."""

    code = "sip.no_dialog"


class State(Enum):
    """Where a dialog stands (12)."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Verdict(Enum):
    """What a request is to a dialog; the values are the statuses that answer those that are refused."""

    NEW = 0
    ACK = 1
    OUT_OF_ORDER = 500  # 12.2.2
    NOT_OURS = 481


def _tag(value: str) -> str:
    return text(parse_address(value.encode("utf-8", "surrogateescape")).tag)


def _without_tag(value: str, tag: str | None = None) -> str:
    """A From or To value without its tag, everything else as it was. `tag` is that, where it is known."""
    if tag == "" and "tag" not in value.lower():
        return value
    if tag and value.endswith(f">;tag={tag}"):  # as nearly everybody writes it
        return value[: -len(tag) - 5]
    parameters = text(parse_address(value.encode("utf-8", "surrogateescape")).parameters).strip()
    at = value.rfind(parameters) if parameters else len(value)
    kept = [part.strip() for part in _PARAMETER.findall(parameters) if not _TAG.match(part)]
    return "".join([value[:at].rstrip(" \t;"), *(f";{part.lstrip(';').strip()}" for part in kept if part.strip(" \t;"))])


def _contact_uri(message: Message) -> str:
    contacts = message.contacts
    if not contacts or not contacts[0].uri or contacts[0].uri == b"*":
        raise DialogError(f"{message.start[:60]} has no Contact to send requests to")
    return text(contacts[0].uri)


def _routes(message: Message) -> list[str]:
    if not message.tokens.header("Record-Route"):
        return []
    routes = [text(element) for element in message.elements("Record-Route")]
    if len(routes) > ROUTES_MAX:
        raise DialogError(f"{len(routes)} routes are more than {ROUTES_MAX}")
    return routes


def is_loose(route: str) -> bool:
    """Whether the URI of a Route value has lr (19.1.1)."""
    return bool(parse_address(route.encode("utf-8", "surrogateescape")).parsed.flags & UriFlag.LR)


def uri_of(route: str) -> str:
    """The URI of a Route value."""
    return text(parse_address(route.encode("utf-8", "surrogateescape")).uri)


class Dialog:
    """One dialog, seen from our end."""

    __slots__ = (
        "call_id", "is_caller", "local", "local_cseq", "local_tag", "remote", "remote_cseq", "remote_tag", "remote_target", "route_set",
        "secure", "state", "usage",
    )  # fmt: skip

    def __init__(
        self, *, call_id: str, local: str, remote: str, local_tag: str, remote_tag: str, local_cseq: int | None, remote_cseq: int | None,
        remote_target: str, route_set: Sequence[str], secure: bool, state: State, is_caller: bool,
    ) -> None:  # fmt: skip
        """Use `as_callee` and `as_caller`. `local` and `remote` are From and To values without their tags."""
        self.call_id = call_id
        self.local, self.remote = local, remote
        self.local_tag, self.remote_tag = local_tag, remote_tag
        self.local_cseq, self.remote_cseq = local_cseq, remote_cseq
        self.remote_target = remote_target
        self.route_set = tuple(route_set)
        self.secure = secure
        self.state = state
        self.is_caller = is_caller
        self.usage: object | None = None  # what it is a dialog of (RFC 5057 3): set by whoever has it

    @classmethod
    def as_callee(cls, request: Message, local_tag: str, *, state: State = State.CONFIRMED, over_tls: bool = False) -> Dialog:
        """The dialog that our answer to a request makes (12.1.1). Raises DialogError."""
        uri = request.request_uri
        sender = request.value("From")
        told = request.essentials
        if request.tokens.header("Contact") or told.branch.startswith(compose.MAGIC_COOKIE):
            target = _contact_uri(request)
        else:  # who speaks RFC 2543 need not name a Contact, and is reached where it calls from (RFC 4475 3.4.1)
            target = uri_of(sender)
        return cls(
            call_id=told.call_id, local=_without_tag(request.value("To"), told.to_tag), remote=_without_tag(sender, told.from_tag),
            local_tag=local_tag, remote_tag=told.from_tag, local_cseq=None, remote_cseq=told.number,
            remote_target=target, route_set=_routes(request),
            secure=over_tls and uri is not None and uri.scheme_id == Scheme.SIPS, state=state, is_caller=False,
        )  # fmt: skip

    @classmethod
    def as_caller(cls, request: Message, response: Message, *, over_tls: bool = False) -> Dialog:
        """The dialog that an answer to our request makes (12.1.2): early for a 1xx, confirmed for a 2xx. Raises DialogError."""
        recipient = response.value("To")
        remote_tag = _tag(recipient)
        if not remote_tag and response.status < 200:
            raise DialogError("a provisional answer without a tag makes no dialog")
        uri = request.request_uri
        return cls(
            call_id=request.call_id, local=_without_tag(request.value("From")), remote=_without_tag(recipient),
            local_tag=_tag(request.value("From")), remote_tag=remote_tag, local_cseq=request.cseq[0] if request.cseq else FIRST_CSEQ,
            remote_cseq=None, remote_target=_contact_uri(response), route_set=_routes(response)[::-1],
            secure=over_tls and uri is not None and uri.scheme_id == Scheme.SIPS,
            state=State.EARLY if response.status < 200 else State.CONFIRMED, is_caller=True,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Dialog {self.state.value} {self.call_id[:40]} {self.local_tag}/{self.remote_tag}>"

    @property
    def id(self) -> Id:
        """Call-ID, our tag, theirs (12)."""
        return self.call_id, self.local_tag, self.remote_tag

    # ---- in ----

    def receive(self, request: Message) -> Verdict:
        """What a request is to this dialog; when it is new, its CSeq and, for those that may, its Contact are taken over (12.2.2)."""
        if self.state is State.TERMINATED:
            return Verdict.NOT_OURS
        told = request.essentials
        number, method = told.number, told.method
        if method == "ACK":
            return Verdict.ACK
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return Verdict.OUT_OF_ORDER
        self.remote_cseq = number
        if method in REFRESHES_TARGET and request.values("Contact"):
            self._retarget(request)
        return Verdict.NEW

    def confirm(self, response: Message) -> None:
        """A 2xx to the request that made the dialog: the route set is what it says (13.2.2.4), the dialog is confirmed."""
        if self.state is State.EARLY:
            self.route_set = tuple(_routes(response)[::-1])
            self.state = State.CONFIRMED
        self._retarget(response)

    def answered(self, method: str, response: Message) -> None:
        """A final answer to a request of ours inside the dialog: targets are refreshed, and 481 or 408 end it (12.2.1.2)."""
        if 200 <= response.status < 300 and method in REFRESHES_TARGET:
            self._retarget(response)
        elif response.status in (408, 481):
            self.state = State.TERMINATED

    def _retarget(self, message: Message) -> None:
        try:
            self.remote_target = _contact_uri(message)
        except DialogError:
            return  # a target that is not told stays as it is

    # ---- out ----

    def request(
        self, method: str, *, via: str, contact: str = "", headers: Iterable[compose.Header] = (), body: bytes = b"", cseq: int | None = None
    ) -> bytes:
        """A request inside the dialog (12.2.1.1). `via` is our Via value with its branch; `cseq` is that of the INVITE for an ACK, else
        the next number is taken.

        Raises DialogError when the dialog is over or its numbers are used up, ValueError for a header that cannot be.
        """
        if self.state is State.TERMINATED:
            raise DialogError(f"the dialog of {self.call_id[:60]} is over")
        if cseq is None:
            self.local_cseq = (self.local_cseq or FIRST_CSEQ - 1) + 1
            if self.local_cseq > CSEQ_MAX:
                raise DialogError("the dialog has used up its sequence numbers")
            cseq = self.local_cseq
        uri, routes = self._path()
        lines: list[compose.Header] = [("Via", via), *(("Route", route) for route in routes), ("Max-Forwards", str(compose.MAX_FORWARDS))]
        lines += [("From", _tagged(self.local, self.local_tag)), ("To", _tagged(self.remote, self.remote_tag))]
        lines += [("Call-ID", self.call_id), ("CSeq", f"{cseq} {method}")]
        if contact:
            lines.append(("Contact", contact))
        return compose.request(method, uri, [*lines, *headers], body)

    def _path(self) -> tuple[str, tuple[str, ...]]:
        """Request-URI and Route values: by loose routing, or as RFC 2543 had it where the first proxy is strict."""
        if not self.route_set or is_loose(self.route_set[0]):
            return self.remote_target, self.route_set
        # A strict router is named in the Request-URI, without what must not stand there (19.1.1), and the target goes last.
        first = uri_of(self.route_set[0]).partition("?")[0]
        kept = [part for part in first.split(";") if not part.lower().startswith("method=")]
        return ";".join(kept), (*self.route_set[1:], f"<{self.remote_target}>")

    @property
    def request_uri(self) -> str:
        """The Request-URI of the next request, which is what a digest is made over."""
        return self._path()[0]

    @property
    def next_hop(self) -> str:
        """The URI that the next request is sent to (8.1.2)."""
        return uri_of(self.route_set[0]) if self.route_set else self.remote_target

    def terminate(self) -> None:
        """It is over: nothing more is sent or taken inside it."""
        self.state = State.TERMINATED


def _tagged(value: str, tag: str) -> str:
    return f"{value};tag={tag}" if tag else value


class Dialogs:
    """The dialogs of a worker, found by what a request inside one says (12.2.2)."""

    def __init__(self) -> None:
        self._by_id: dict[Id, Dialog] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Dialog]:
        return iter(list(self._by_id.values()))

    def add(self, dialog: Dialog) -> None:
        """Raises DialogError for an id that is there already."""
        if self._by_id.setdefault(dialog.id, dialog) is not dialog:
            raise DialogError("there is a dialog of that id already")

    def remove(self, dialog: Dialog) -> None:
        """Forgets it, if it is there."""
        if self._by_id.get(dialog.id) is dialog:
            del self._by_id[dialog.id]

    def find(self, identity: Id) -> Dialog | None:
        """The dialog of an id: Call-ID, our tag, theirs."""
        return self._by_id.get(identity)

    def of_request(self, request: Message) -> Dialog | None:
        """The dialog that a request says it is inside of."""
        told = request.essentials
        return self._by_id.get((told.call_id, told.to_tag, told.from_tag)) if told.to_tag else None

    def of_response(self, request: Message, response: Message) -> Dialog | None:
        """The dialog of an answer to our request: forks have the same Call-ID and tag of ours, and a tag of their own."""
        sender, to = request.sender, response.recipient
        return self._by_id.get((request.call_id, text(sender.tag) if sender else "", text(to.tag) if to else ""))


__all__ = ["Dialog", "DialogError", "Dialogs", "State", "Verdict", "is_loose", "uri_of"]

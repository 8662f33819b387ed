"""A small registrar (RFC 3261 10.3), for tests and for those who host their own: who can be reached where, and over which flow.

It takes Path (RFC 3327), gives Service-Route (RFC 3608), and replaces a flow by its instance and number (RFC 5626 6). It answers out of
its state alone, and sends nothing: whoever asks sends the answer. Bindings are bounded, by address-of-record and in all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from math import ceil
from typing import Final, Literal, NoReturn
from urllib.parse import unquote_to_bytes

import msgspec

from engine._native.sip import Address, AddressFlag, Scheme, Uri, UriFlag, parameter, parse_uri
from engine.sip import auth, compose
from engine.sip.compose import Header
from engine.sip.flow import Flow
from engine.sip.message import Message, text
from engine.sip.timers import Clock, Handle

Verdict = Literal["none", "good", "stale", "bad", "malformed"]
EXTENSIONS: Final = ("path", "outbound")
AN_HOUR_S: Final = 3600  # what an expiry that cannot be read means (20.10), and where no interval is too brief any more (10.3)
VALUE_MAX_CHARS: Final = 2048
PATHS_MAX: Final = 32
MUST_BE_IN_BOTH: Final = (b"user", b"ttl", b"method", b"maddr", b"transport")  # 19.1.4
PATH: Final = re.compile(r"<sips?:[^<>\"]+>[^<>\"]*", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PREFERENCE: Final = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


class RegistrarSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Domains it is the registrar of (IPv6 addresses in brackets), and limits. `service_route` are the URIs of Service-Route, in order."""

    domains: tuple[str, ...]
    expires_min_s: int = 60
    expires_max_s: int = 7200
    expires_default_s: int = 3600
    contacts_max: int = 10  # of one address-of-record
    bindings_max: int = 100_000
    retry_after_s: int = 60  # when bindings_max is reached
    service_route: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.expires_min_s <= self.expires_default_s <= self.expires_max_s:
            raise ValueError("expires_default_s must lie between expires_min_s and expires_max_s")
        if self.contacts_max < 1 or self.bindings_max < 1 or not self.domains:
            raise ValueError("a registrar needs a domain, and room for a binding")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What to answer with. `verdict` is what the request's credentials were worth, `username` whose they are when they were good."""

    status: int
    reason: str = ""
    headers: tuple[Header, ...] = ()
    verdict: Verdict = "none"
    username: str = ""


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """One contact of an address-of-record. Requests go over `flow` where it is alive, since a NAT may be in between: it leads to
    `received`, the address the registration came from, whatever `contact` says. `path` is their Route."""

    aor: str
    contact: str
    q: float
    expires_at_s: float  # on the registrar's clock
    call_id: str
    cseq: int
    flow: Flow
    received: tuple[str, int]
    path: tuple[str, ...] = ()
    preference: str = ""  # q as it was written
    instance: str = ""
    reg_id: int = 0

    @property
    def outbound(self) -> bool:
        """Whether it stands for a flow (RFC 5626), which nothing else can take the place of."""
        return bool(self.reg_id)


class Refused(Exception):
    """A registration that cannot be; `answer` says why."""

    def __init__(self, status: int, reason: str = "", *headers: Header) -> None:
        super().__init__(status, reason)
        self.answer = Answer(status=status, reason=f"{compose.REASONS[status]}, {reason}" if reason else "", headers=headers)


# ---- addresses ----


def aor_of(uri: Uri) -> str:
    """The canonical form of an address-of-record (10.3 step 5): without parameters, escapes undone; "" for what is none.

    A port is left out too, since the domain is ours at each of them. The user part keeps its case.
    """
    if uri.scheme_id not in (Scheme.SIP, Scheme.SIPS) or not uri.host or not uri.user:
        return ""
    return f"{text(uri.scheme).lower()}:{text(unquote_to_bytes(uri.user))}@{text(uri.host).lower().rstrip('.')}"


def _parts(joined: bytes, separator: bytes) -> dict[bytes, bytes]:
    found = {}
    for part in filter(None, joined.split(separator)):
        name, _, value = part.partition(b"=")
        found[unquote_to_bytes(name).lower()] = unquote_to_bytes(value).lower()
    return found


def same_uri(one: Uri, other: Uri) -> bool:
    """Whether two SIP URIs are equal (19.1.4): a parameter that only one of them has counts when it changes where a request goes."""
    for name in ("scheme", "host"):
        if getattr(one, name).lower() != getattr(other, name).lower():
            return False
    if one.port != other.port or any(unquote_to_bytes(getattr(one, name)) != unquote_to_bytes(getattr(other, name)) for name in ("user", "password")):
        return False
    ours, theirs = _parts(one.parameters, b";"), _parts(other.parameters, b";")
    if any(ours[name] != theirs[name] for name in ours.keys() & theirs.keys()):
        return False
    if any((name in ours) != (name in theirs) for name in MUST_BE_IN_BOTH):
        return False
    return _parts(one.headers, b"&") == _parts(other.headers, b"&")


def is_users_own(username: str, aor: str) -> bool:
    """Whether a user name is that of an address-of-record: its user part, or all of it behind the scheme."""
    address = aor.partition(":")[2]
    return username in (address, address.rpartition("@")[0])


def _seconds(value: str | None, default_s: int) -> int:
    """A number of seconds as Expires has it: an hour where it cannot be read (20.10)."""
    if value is None:
        return default_s
    return int(value) if _NUMBER.fullmatch(value.strip()) else AN_HOUR_S


def _names(request: Message, header: str) -> list[str]:
    return [text(element).lower() for element in request.elements(header)]


# ---- the registrar ----


class Registrar:
    """Bindings by address-of-record. Belongs to one event loop."""

    def __init__(
        self, settings: RegistrarSettings, server: auth.Server | None, clock: Clock, *, may: Callable[[str, str], bool] = is_users_own,
        date: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        """Without a `server` anybody may register anything. `may(username, aor)` says whose bindings a user may change; `date` gives
        seconds since 1970 for the Date header, which is left out without it."""
        self._settings = settings
        self._domains = frozenset(domain.lower().rstrip(".") for domain in settings.domains)
        self._server = server
        self._clock = clock
        self._may = may
        self._date = date
        self._bindings: dict[str, list[Binding]] = {}
        self._due: dict[str, Handle] = {}
        self._count = 0

    def __len__(self) -> int:
        """Bindings of everybody."""
        return self._count

    def lookup(self, aor: str) -> list[Binding]:
        """Where a URI can be reached: the highest q first, then the newest; without flows that are gone. Of several with one `instance`
        only the first that works is to be tried (RFC 5626 7)."""
        now = self._clock.time()
        found = self._bindings.get(aor_of(parse_uri(aor.encode("utf-8", "surrogateescape"))), ())
        alive = [binding for binding in reversed(found) if binding.expires_at_s > now and (not binding.outbound or binding.flow.alive)]
        return sorted(alive, key=lambda binding: -binding.q)

    def remove(self, binding: Binding) -> bool:
        """Takes a binding away whose flow failed (RFC 5626 5.3); whether it was still there."""
        before = self._bindings.get(binding.aor, [])
        after = [other for other in before if other is not binding]
        if len(after) == len(before):
            return False
        self._commit(binding.aor, after)
        return True

    def receive(self, request: Message, flow: Flow) -> Answer:
        """Answers a REGISTER, and keeps what it asks for; all of it or nothing (10.3). Never raises for what is in it.

        A refusal of what the user did wrong is told apart by `Answer.verdict`: "bad" credentials are worth a count at the door.
        """
        verdict: Verdict = "none"
        username = ""
        try:
            self._welcome(request)
            if self._server is not None:
                if request.values("Authorization"):
                    verdict, username = self._server.check(request)
                if verdict != "good":
                    self._challenge(self._server, verdict)
            aor = self._address_of_record(request)
            if self._server is not None and not self._may(username, aor):
                raise Refused(403)
            self._change(request, flow, aor)
        except Refused as refused:
            return msgspec.structs.replace(refused.answer, verdict=verdict, username=username)
        return Answer(status=200, headers=self._told(request, aor), verdict=verdict, username=username)

    # ---- who asks (steps 1 to 5) ----

    def _welcome(self, request: Message) -> None:
        if request.method != "REGISTER":
            raise Refused(405, "", ("Allow", "REGISTER"))
        if not self._is_ours(request.request_uri):
            raise Refused(404)
        if unknown := [name for name in _names(request, "Require") if name not in EXTENSIONS]:
            if any(_CONTROL.search(name) for name in unknown):
                raise Refused(400, "Require is malformed")
            raise Refused(420, "", ("Unsupported", ", ".join(unknown)))

    def _challenge(self, server: auth.Server, verdict: Verdict) -> NoReturn:
        if verdict == "malformed":
            raise Refused(400, "Authorization is malformed")
        raise Refused(401, "", *(("WWW-Authenticate", value) for value in server.challenges(stale=verdict == "stale")))

    def _is_ours(self, uri: Uri | None) -> bool:
        return uri is not None and text(uri.host).lower().rstrip(".") in self._domains

    def _address_of_record(self, request: Message) -> str:
        to = request.recipient
        aor = aor_of(to.parsed) if to is not None and self._is_ours(to.parsed) else ""
        if not aor:
            raise Refused(404)
        return aor

    # ---- what is asked for (steps 6 and 7) ----

    def _change(self, request: Message, flow: Flow, aor: str) -> None:
        settings = self._settings
        elements = request.elements("Contact")
        if not elements:
            return
        if len(elements) > settings.contacts_max:
            raise Refused(400, "too many contacts")
        cseq = request.cseq[0] if request.cseq else 0
        now = self._clock.time()
        after = [binding for binding in self._bindings.get(aor, []) if binding.expires_at_s > now]
        if any(int(contact.flags) & AddressFlag.STAR for contact in request.contacts):
            if len(elements) > 1 or request.value("Expires").strip() != "0":
                raise Refused(400, "a Contact of * stands alone, with an Expires of 0")
            for binding in after:
                self._in_order(binding, request.call_id, cseq)
            self._commit(aor, [])
            return
        asked = [self._asked(request, contact, flow, aor, cseq) for contact in request.contacts]
        if sum(binding.outbound and binding.expires_at_s > now for binding in asked) > 1:
            raise Refused(400, "two contacts for one flow")  # RFC 5626 6
        for at, binding in enumerate(asked):
            if any(self._replaces(binding, other) for other in asked[:at]):
                raise Refused(400, "a contact stands twice")
            same = [other for other in after if self._replaces(binding, other)]
            for other in same:
                self._in_order(other, request.call_id, cseq)
            after = [other for other in after if other not in same]
            if binding.expires_at_s > now:
                after.append(binding)
        if len(after) > settings.contacts_max:
            raise Refused(403, "too many contacts")
        if self._count - len(self._bindings.get(aor, [])) + len(after) > settings.bindings_max:
            raise Refused(503, "", ("Retry-After", str(settings.retry_after_s)))
        self._commit(aor, after)

    def _in_order(self, binding: Binding, call_id: str, cseq: int) -> None:
        """An older request of the same client must not undo a newer one, which overtook it (step 7)."""
        if binding.call_id == call_id and cseq <= binding.cseq:
            raise Refused(500, "a later request was here before")

    def _replaces(self, binding: Binding, other: Binding) -> bool:
        """Whether it is another one's update: of flows by instance and number, else by URI."""
        if binding.outbound or other.outbound:
            return (binding.instance, binding.reg_id) == (other.instance, other.reg_id)
        return same_uri(parse_uri(binding.contact.encode("utf-8", "surrogateescape")), parse_uri(other.contact.encode("utf-8", "surrogateescape")))

    def _asked(self, request: Message, contact: Address, flow: Flow, aor: str, cseq: int) -> Binding:
        uri = contact.parsed
        if uri.scheme_id not in (Scheme.SIP, Scheme.SIPS) or not uri.host or int(uri.flags) & UriFlag.BAD_CHARACTER or int(contact.flags) & AddressFlag.UNBALANCED:
            raise Refused(400, "a Contact is no SIP URI")
        parameters = b";" + contact.parameters
        instance, number = (text(parameter(parameters, name) or b"") for name in (b"+sip.instance", b"reg-id"))
        path = tuple(text(element) for element in request.elements("Path"))
        kept = (text(contact.uri), instance, request.call_id, *path)
        if len(path) > PATHS_MAX or any(len(value) > VALUE_MAX_CHARS or _CONTROL.search(value) for value in kept) or '"' in instance or not all(PATH.fullmatch(value) for value in path):
            raise Refused(400, "Contact, Path or Call-ID cannot be kept")
        reg_id = int(number) if instance and _NUMBER.fullmatch(number) and "outbound" in _names(request, "Supported") else 0
        if reg_id and len(request.vias) > 1 and not (path and self._has_ob(path[-1])):
            raise Refused(439)
        given = parameter(parameters, b"q")
        known = given is not None and _PREFERENCE.fullmatch(given) is not None
        return Binding(
            aor=aor, contact=text(contact.uri), q=float(given) if given and known else float(given is None), expires_at_s=self._expiry(request, parameters),
            call_id=request.call_id, cseq=cseq, flow=flow, received=flow.peer, path=path, preference=text(given) if given and known else "",
            instance=instance, reg_id=reg_id,
        )  # fmt: skip

    def _has_ob(self, path: str) -> bool:
        """Whether the proxy next to the client keeps flows: each one puts its URI before those of the proxies below it."""
        return bool(int(parse_uri(path.partition("<")[2].partition(">")[0].encode("utf-8", "surrogateescape")).flags) & UriFlag.OB)

    def _expiry(self, request: Message, parameters: bytes) -> float:
        settings = self._settings
        own = parameter(parameters, b"expires")
        general = request.value("Expires") if request.values("Expires") else None
        asked_s = _seconds(text(own) if own is not None else general, settings.expires_default_s)
        if 0 < asked_s < min(settings.expires_min_s, AN_HOUR_S):
            raise Refused(423, "", ("Min-Expires", str(settings.expires_min_s)))
        return self._clock.time() + min(asked_s, settings.expires_max_s)

    # ---- what is kept ----

    def _commit(self, aor: str, after: list[Binding]) -> None:
        self._count += len(after) - len(self._bindings.pop(aor, ()))
        due = self._due.pop(aor, None)
        if due is not None:
            due.cancel()
        if after:
            self._bindings[aor] = after
            wait_s = min(binding.expires_at_s for binding in after) - self._clock.time()
            self._due[aor] = self._clock.call_later(max(0.0, wait_s), self._expire, aor)

    def _expire(self, aor: str) -> None:
        now = self._clock.time()
        self._commit(aor, [binding for binding in self._bindings[aor] if binding.expires_at_s > now])

    def close(self) -> None:
        """Forgets everybody."""
        for aor in list(self._bindings):
            self._commit(aor, [])

    # ---- what is told (step 8) ----

    def _told(self, request: Message, aor: str) -> tuple[Header, ...]:
        now = self._clock.time()
        bindings = self._bindings.get(aor, [])
        headers: list[Header] = [("Contact", self._contact(binding, now)) for binding in bindings if binding.expires_at_s > now]
        if "path" in _names(request, "Supported"):
            ours = next((binding for binding in bindings if binding.call_id == request.call_id), None)
            headers += [("Path", value) for value in (ours.path if ours else ())]
        headers += [("Service-Route", f"<{uri}>") for uri in self._settings.service_route]
        if any(binding.outbound and binding.call_id == request.call_id for binding in bindings):
            headers.append(("Require", "outbound"))
        if self._date is not None:
            headers.append(("Date", formatdate(self._date(), usegmt=True)))
        return tuple(headers)

    def _contact(self, binding: Binding, now: float) -> str:
        value = f"<{binding.contact}>;expires={max(1, ceil(binding.expires_at_s - now - 1e-6))}"
        if binding.preference:
            value += f";q={binding.preference}"
        if binding.instance:
            value += f';+sip.instance="{binding.instance}"'
        return value + (f";reg-id={binding.reg_id}" if binding.reg_id else "")


__all__ = ["Answer", "Binding", "Registrar", "RegistrarSettings", "aor_of", "is_users_own", "same_uri"]

"""Registrations of ours at other people's registrars (RFC 3261 10.2, with RFC 3327, 3608, 5626 4.5): kept alive, and never hammering.

A registration sends through a transaction layer it knows only as a function, and asks a clock to be woken. It refreshes before the time
that was granted to its own Contact is over, answers challenges, and backs off as RFC 5626 says: longer after each failure, at random, so
that a registrar that comes back is not met by everybody at once.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

import msgspec

from engine._native.sip import parameter, parse_uri
from engine.sip import auth, compose
from engine.sip.message import Message, text
from engine.sip.timers import Clock, Handle
from engine.sip.transaction import OnEnd, OnMessage

REFUSED_WAIT_S: Final = 300.0  # 403 and 404 mean a wrong configuration: asking again soon only locks the account
BASE_WAIT_S, WAIT_MAX_S = 30.0, 1800.0  # RFC 5626 4.5
REFRESH_SHARE: Final = 0.85
REFRESH_AHEAD_S: Final = 30.0
EXPIRES_MAX_S: Final = 86_400
TOO_BRIEF_MAX: Final = 2


class State(Enum):
    """Where a registration stands."""

    IDLE = "idle"
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"
    ENDING = "ending"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who registers what and where. `registrar` is the Request-URI: the domain alone, such as sip:example.com. `contact` is the URI that
    calls are to come to; `instance` its +sip.instance."""

    registrar: str
    address_of_record: str
    contact: str
    username: str = ""
    password: str = ""
    expires_s: int = 600
    instance: str = ""
    display: str = ""


class Send(Protocol):
    """Begins a transaction with the registrar: `TransactionLayer.request` over the flow that leads there."""

    def __call__(self, data: bytes, *, on_response: OnMessage, on_timeout: OnEnd, on_failure: Callable[[Exception], None]) -> None: ...


class Registration:
    """One binding at one registrar."""

    def __init__(
        self, account: Account, send: Send, clock: Clock, via: Callable[[], str], *, on_change: Callable[[Registration], None] | None = None,
        chance: Callable[[], float] = random.random, call_id: str = "",
    ) -> None:  # fmt: skip
        """`via` gives the Via value of each request, with a branch of its own; `chance` numbers from 0 to 1. `call_id` is the one of all
        its requests (10.2), made here where it is empty."""
        self.account = account
        self.state = State.IDLE
        self.why = ""
        self.service_route: tuple[str, ...] = ()
        self.granted_s = 0
        self._send = send
        self._clock = clock
        self._via = via
        self._on_change = on_change
        self._chance = chance
        self._call_id = call_id or secrets.token_hex(12)
        self._tag = secrets.token_hex(6)
        self._cseq = 0
        self._expires_s = account.expires_s
        self._failures = 0
        self._too_brief = 0
        self._due: Handle | None = None
        self._stopping = False
        self._attempt = 0  # answers to an older one are of no interest
        self._clients: dict[str, auth.Client] = {}  # by realm
        self._realm = ("", "")  # (realm, header) that the last challenge came from

    # ---- wishes ----

    def start(self) -> None:
        """Registers, now."""
        self._stopping = False
        self._register()

    def stop(self) -> None:
        """Takes the binding away where there is one. What comes of it is told by `on_change`."""
        had = self.state
        self._stopping = True
        self._cancel()
        if had in (State.REGISTERED, State.REGISTERING):
            self._register()
        else:
            self._become(State.IDLE, "stopped")

    def again(self) -> None:
        """Registers at once: the address has changed, or the connection to the registrar is gone."""
        if not self._stopping and self.state is not State.IDLE:
            self._register()

    # ---- requests ----

    def _register(self) -> None:
        self._cancel()
        self._become(State.ENDING if self._stopping else State.REGISTERING, self.why)
        self._attempt += 1
        attempt = self._attempt
        self._send(
            self._request(),
            on_response=lambda response: self._answered(attempt, response),
            on_timeout=lambda: self._failed(attempt, "the registrar does not answer"),
            on_failure=lambda error: self._failed(attempt, f"the registrar cannot be reached: {error}"),
        )

    def _request(self) -> bytes:
        account = self.account
        self._cseq += 1
        expires_s = 0 if self._stopping else self._expires_s
        contact = f"<{account.contact}>;expires={expires_s}"
        if account.instance:
            contact += f';+sip.instance="{account.instance}"'
        display = f'"{account.display}" ' if account.display else ""
        headers = [
            ("Via", self._via()), ("Max-Forwards", str(compose.MAX_FORWARDS)),
            ("From", f"{display}<{account.address_of_record}>;tag={self._tag}"), ("To", f"<{account.address_of_record}>"),
            ("Call-ID", self._call_id), ("CSeq", f"{self._cseq} REGISTER"), ("Contact", contact), ("Expires", str(expires_s)),
            ("Supported", "path, gruu, outbound" if account.instance else "path"),
        ]  # fmt: skip
        realm, header = self._realm
        if header:
            headers.append((header, self._clients[realm].answer("REGISTER", account.registrar)))
        return compose.request("REGISTER", account.registrar, headers)

    # ---- answers ----

    def _answered(self, attempt: int, response: Message) -> None:
        status = response.status
        if attempt != self._attempt or status < 200:
            return
        if status < 300:
            self._registered(response)
        elif status in (401, 407):
            self._challenged(response)
        elif status == 423:
            self._brief(response)
        elif status in (403, 404):
            self._wait(max(REFUSED_WAIT_S, self._retry_after(response)), f"{status} {response.reason}")
        else:
            self._back_off(f"{status} {response.reason}", self._retry_after(response))

    def _registered(self, response: Message) -> None:
        self._failures = self._too_brief = 0
        client = self._clients.get(self._realm[0])
        if client is not None:
            client.accepted(auth.next_nonce(response.value("Authentication-Info")))
        if self._stopping:
            self.granted_s = 0
            self._become(State.IDLE, "stopped")
            return
        self.service_route = tuple(text(element) for element in response.elements("Service-Route"))
        self.granted_s = self._granted(response)
        if self.granted_s <= 0:
            self._back_off("the registrar did not keep the contact", 0.0)
            return
        early = min(REFRESH_SHARE * self.granted_s, self.granted_s - REFRESH_AHEAD_S)
        delay_s = max(early, self.granted_s / 2) * (1 - 0.1 * self._chance())
        self._due = self._clock.call_later(delay_s, self._register)
        self._become(State.REGISTERED, "")

    def _granted(self, response: Message) -> int:
        """Seconds that our own Contact was granted; others' bindings stand beside it (10.2.4)."""
        ours = parse_uri(self.account.contact.encode())
        general = response.number("Expires")
        found = 0
        for contact in response.contacts:
            theirs = contact.parsed
            if (theirs.user, theirs.host.lower(), theirs.port) == (ours.user, ours.host.lower(), ours.port):
                own = parameter(b";" + contact.parameters, b"expires")
                told = int(own) if own and own.isdigit() and len(own) < 10 else general
                found = max(found, self._expires_s if told is None else told)
        return min(found, EXPIRES_MAX_S)

    def _challenged(self, response: Message) -> None:
        name, header = ("WWW-Authenticate", "Authorization") if response.status == 401 else ("Proxy-Authenticate", "Proxy-Authorization")
        challenge = auth.chosen(response.values(name))
        if challenge is None or not self.account.username:
            self._wait(REFUSED_WAIT_S, "the registrar asks for what this account cannot answer")
            return
        client = self._clients.setdefault(challenge.realm, auth.Client(self.account.username, self.account.password))
        if not client.take(challenge):
            self._wait(REFUSED_WAIT_S, "the registrar refuses the password")
            return
        self._realm = (challenge.realm, header)
        self._register()

    def _brief(self, response: Message) -> None:
        least = response.number("Min-Expires") or 0
        self._too_brief += 1
        if self._stopping or not self._expires_s < least <= EXPIRES_MAX_S or self._too_brief > TOO_BRIEF_MAX:
            self._back_off("423 without a time that would do", 0.0)
            return
        self._expires_s = least
        self._register()

    def _retry_after(self, response: Message) -> float:
        return float(min(response.number("Retry-After") or 0, EXPIRES_MAX_S))

    # ---- failures ----

    def _failed(self, attempt: int, why: str) -> None:
        if attempt == self._attempt:
            self._back_off(why, 0.0)

    def _back_off(self, why: str, at_least_s: float) -> None:
        longest = min(WAIT_MAX_S, BASE_WAIT_S * 2 ** min(self._failures, 16))
        self._failures += 1
        self._wait(max(at_least_s, longest * (0.5 + 0.5 * self._chance())), why)

    def _wait(self, delay_s: float, why: str) -> None:
        self.granted_s = 0
        if self._stopping:
            self._become(State.IDLE, why)
            return
        self._cancel()
        self._due = self._clock.call_later(delay_s, self._register)
        self._become(State.WAITING, why)

    def _cancel(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _become(self, state: State, why: str) -> None:
        changed = state is not self.state
        self.state, self.why = state, why
        if changed and self._on_change is not None:
            self._on_change(self)


__all__ = ["Account", "Registration", "Send", "State"]

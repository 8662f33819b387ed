"""Session timers (RFC 4028): how long a call may stand without a sign of life, who gives it, and when its absence ends the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from engine._native.sip import parameter
from engine.sip.compose import Header
from engine.sip.message import Message
from engine.sip.timers import Clock, Handle

Refresher = Literal["", "uac", "uas"]
LEAST_S: Final = 90  # 4: no interval may be smaller
LONGEST_S: Final = 86_400
MARGIN_S: Final = 32.0  # 10: the BYE goes out this long before the end, or a third of the interval where that is less


class TimerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What we ask for, in seconds. An `expires_s` of 0 asks for no timer; one that the peer asks for is kept all the same."""

    expires_s: int = 1800
    min_se_s: int = LEAST_S

    @property
    def delays_s(self) -> tuple[float, ...]:
        """What calls wait for when they agree on what we ask for: half of it, and until the BYE."""
        return self.expires_s / 2, _until_bye(self.expires_s)


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What both ends keep to. `interval_s` 0 is no timer; `refresher` is a role in the transaction that agreed it."""

    interval_s: int = 0
    refresher: Refresher = ""


class TooSmall(ValueError):
    """A Session-Expires below our minimum, from a peer that knows the extension: 422 with `min_se_s` (8)."""

    def __init__(self, min_se_s: int) -> None:
        super().__init__(f"an interval of {min_se_s} s is the least")
        self.min_se_s = min_se_s


def _until_bye(interval_s: float) -> float:
    return interval_s - min(MARGIN_S, interval_s / 3)


def _seconds(value: str) -> int | None:
    digits = value.partition(";")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def told(message: Message) -> Agreement:
    """What a message's Session-Expires says; no timer where there is none or it cannot be read."""
    value = message.value("Session-Expires")
    seconds = _seconds(value)
    if not seconds:
        return Agreement()
    _, semicolon, rest = value.partition(";")
    role = (parameter((semicolon + rest).encode("utf-8", "surrogateescape"), b"refresher") or b"").lower()
    return Agreement(interval_s=min(seconds, LONGEST_S), refresher="uac" if role == b"uac" else "uas" if role == b"uas" else "")


def min_se(message: Message) -> int:
    """The Min-SE of a message in seconds, at least the RFC's 90."""
    return max(LEAST_S, min(_seconds(message.value("Min-SE")) or 0, LONGEST_S))


def supports(message: Message, option: str) -> bool:
    """Whether a message names an option tag in Supported or Require."""
    wanted = option.encode()
    return any(element.strip().lower() == wanted for name in ("Supported", "Require") for element in message.elements(name))


def asked(settings: TimerSettings, interval_s: int = 0, least_s: int = 0, refresher: Refresher = "") -> list[Header]:
    """The headers of a request that asks for a timer (7.1); `interval_s` and `refresher` are those of the call when one runs already."""
    interval_s = max(interval_s or settings.expires_s, least_s)
    if not interval_s:
        return []
    role = f";refresher={refresher}" if refresher else ""
    headers: list[Header] = [("Session-Expires", f"{interval_s}{role}")]
    if least_s > LEAST_S:
        headers.append(("Min-SE", str(least_s)))
    return headers


def agreed_as_server(request: Message, settings: TimerSettings) -> tuple[Agreement, list[Header]]:
    """What we agree to in the 2xx of a request, and its headers (9). Raises TooSmall."""
    wish = told(request)
    peer_knows = supports(request, "timer")
    if wish.interval_s and wish.interval_s < settings.min_se_s:
        if peer_knows:
            raise TooSmall(settings.min_se_s)
        wish = Agreement(interval_s=settings.min_se_s)  # a proxy asked for it, the peer cannot raise it
    interval_s = wish.interval_s
    if settings.expires_s and (not interval_s or settings.expires_s < interval_s):
        interval_s = max(settings.expires_s, min_se(request), settings.min_se_s) if peer_knows or not interval_s else interval_s
    if not interval_s:
        return Agreement(), []
    refresher: Refresher = wish.refresher if wish.refresher and peer_knows else "uac" if peer_knows else "uas"
    headers: list[Header] = [("Session-Expires", f"{interval_s};refresher={refresher}")]
    if refresher == "uac":
        headers.append(("Require", "timer"))
    return Agreement(interval_s=interval_s, refresher=refresher), headers


def agreed_as_client(response: Message) -> Agreement:
    """What the 2xx to a request of ours agrees to (7.2): without Session-Expires there is no timer."""
    found = told(response)
    return Agreement(interval_s=found.interval_s, refresher=found.refresher or "uac") if found.interval_s else found


class SessionTimer:
    """The timer of one call. `refresh` is asked to send a sign of life, `expire` to end the call."""

    __slots__ = ("_clock", "_expire", "_handle", "_refresh", "interval_s", "ours")

    def __init__(self, clock: Clock, refresh: Callable[[], None], expire: Callable[[], None]) -> None:
        self._clock = clock
        self._refresh = refresh
        self._expire = expire
        self._handle: Handle | None = None
        self.interval_s = 0
        self.ours = False

    def agreed(self, agreement: Agreement, *, as_client: bool) -> None:
        """Starts again with what was agreed just now; an interval of 0 stops it. `as_client`: we sent the request."""
        self.stop()
        self.interval_s = agreement.interval_s
        if not agreement.interval_s:
            return
        self.ours = (agreement.refresher == "uac") == as_client
        self.again()

    def again(self) -> None:
        """Starts again with what was agreed."""
        self.stop()
        if self.ours:
            self._handle = self._clock.call_later(self.interval_s / 2, self._half)
        else:
            self._handle = self._clock.call_later(_until_bye(self.interval_s), self._over)

    def _half(self) -> None:
        # An answer calls `agreed`, which starts over; without one the call ends like the other side's would.
        self._handle = self._clock.call_later(max(0.0, _until_bye(self.interval_s) - self.interval_s / 2), self._over)
        self._refresh()

    def _over(self) -> None:
        self._handle = None
        self._expire()

    def stop(self) -> None:
        """No more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


__all__ = [
    "LEAST_S", "Agreement", "Refresher", "SessionTimer", "TimerSettings", "TooSmall", "agreed_as_client", "agreed_as_server", "asked",
    "min_se", "supports", "told",
]  # fmt: skip

"""What a negotiation came to: for every m= line what to send, what to expect, and where."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.sdp.codecs import PayloadFormat
from engine.sdp.direction import Direction, receives, sends
from engine.sdp.ice import Ice
from engine.sdp.sdes import Crypto
from engine.sdp.terms import Transport


class Dtls(msgspec.Struct, frozen=True, kw_only=True):
    """DTLS-SRTP (RFC 5763): `role` is ours in the handshake, `fingerprints` theirs, "sha-256 AB:CD..."."""

    role: Literal["active", "passive"]
    fingerprints: tuple[str, ...]


class NegotiatedMedia(msgspec.Struct, frozen=True, kw_only=True):
    """One m= line as both ends have it now. Where it is not `accepted`, only `index`, `kind`, `label`, `mid` and `reason` say anything.

    `send` are the formats that the other end takes, the preferred one first; `receive` those that may come. `ptime_ms` is the packet time to
    send with, `receive_ptime_ms` the one asked for. `direction`, `by_us` and `by_them` are seen from our end. `send_crypto` protects what we
    send. `remote_host` is where to send to, an address or a name; with ICE or behind NAT it is only where to begin. `remote_rtcp_port` is 0
    where RTCP goes nowhere.
    """

    index: int
    kind: str
    accepted: bool
    label: str = ""
    mid: str = ""
    reason: str = ""
    proto: str = ""
    direction: Direction = "inactive"
    by_us: Direction = "inactive"
    by_them: Direction = "inactive"
    send: tuple[PayloadFormat, ...] = ()
    receive: tuple[PayloadFormat, ...] = ()
    ptime_ms: int = 0
    receive_ptime_ms: int = 0
    local: Transport | None = None
    remote_host: str = ""
    remote_port: int = 0
    remote_rtcp_host: str = ""
    remote_rtcp_port: int = 0
    rtcp_mux: bool = False
    send_crypto: Crypto | None = None
    receive_crypto: Crypto | None = None
    dtls: Dtls | None = None
    local_ice: Ice | None = None
    remote_ice: Ice | None = None

    @property
    def sends(self) -> bool:
        return self.accepted and sends(self.direction)

    @property
    def receives(self) -> bool:
        return self.accepted and receives(self.direction)

    @property
    def held_by_them(self) -> bool:
        """We would send, and they do not want it."""
        return self.accepted and sends(self.by_us) and not receives(self.by_them)

    @property
    def held_by_us(self) -> bool:
        """They would send, and we do not want it."""
        return self.accepted and sends(self.by_them) and not receives(self.by_us)

    @property
    def codec(self) -> PayloadFormat | None:
        """What we send speech with; None where there is no stream."""
        return next((one for one in self.send if one.is_speech), None)

    def event_out(self) -> PayloadFormat | None:
        """telephone-event to send digits with: at the clock of the codec, else the first (RFC 4733 2.1)."""
        events = [one for one in self.send if one.is_event]
        codec = self.codec
        same = [one for one in events if codec is not None and one.clock_rate_hz == codec.clock_rate_hz]
        return next(iter(same or events), None)

    def events_in(self) -> tuple[PayloadFormat, ...]:
        """telephone-event as it may come."""
        return tuple(one for one in self.receive if one.is_event)


__all__ = ["Dtls", "NegotiatedMedia"]

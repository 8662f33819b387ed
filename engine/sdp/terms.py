"""What we bring to a negotiation: codecs, addresses, and what is wanted, taken or refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

from engine.sdp.codecs import PCMA, PCMU, CodecCapability
from engine.sdp.direction import Direction
from engine.sdp.sdes import SUITES

CODECS_MAX: Final = 24  # an m= line has room for 32 formats, and events and comfort noise want some
_HOST: Final = re.compile(r"[0-9A-Za-z.:-]{1,255}\Z")
_LABEL: Final = re.compile(r"[!-~]{1,128}\Z")
_FINGERPRINT: Final = re.compile(r"sha-(?:1|224|256|384|512) [0-9A-F]{2}(?::[0-9A-F]{2})+\Z", re.IGNORECASE)


class Transport(msgspec.Struct, frozen=True, kw_only=True):
    """Where one stream is received: an address as the other end reaches it, and ports. Raises ValueError for what no c= or m= can say."""

    host: str
    port: int
    rtcp_port: int

    def __post_init__(self) -> None:
        if not _HOST.match(self.host) or not 1 <= self.port <= 65535 or not 1 <= self.rtcp_port <= 65535:
            raise ValueError(f"{self.host[:255]!r} {self.port} {self.rtcp_port} is no transport")


# Opens, or finds again, the ports of the stream at an index (from 0) towards IPv4 or IPv6 (4, 6); None when there is none to be had. It is
# asked once a stream: behind the end of that (`NegotiatedMedia.accepted` is false) its ports are the opener's again.
Opener: TypeAlias = Callable[[int, int], Transport | None]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What we agree to. Raises ValueError for what cannot be written into a description.

    `host` is the address of the o= line. `order` says whose preference decides in answers, ours or the offerer's; `answered_codecs` how many
    codecs one names. `streams_max` audio lines are taken, `streams` are offered, with `labels` (RFC 4574) as far as there are any.
    `direction` is what we do when nothing is on hold. `ptime_max_ms` bounds the packets that we send.

    `srtp` is "off", "optional" or "required"; offers are SAVP where it is required. `best_effort` takes and offers keys in RTP/AVP, as some do
    for optional encryption. `accepts_mki`: whether packets with an MKI can be read. `fingerprint` ("sha-256 AB:CD...") makes DTLS-SRTP
    possible (RFC 5763); with `keying` "dtls" it is what offers of SRTP have. `ice`: "off", or "lite" (RFC 8445 2.5). `bundle` takes a
    BUNDLE group (RFC 9143), with one stream in it.
    """

    host: str
    codecs: tuple[CodecCapability, ...] = (PCMU, PCMA)
    order: Literal["theirs", "ours"] = "theirs"
    answered_codecs: int = 1
    telephone_event: bool = True
    comfort_noise: bool = False
    direction: Direction = "sendrecv"
    streams_max: int = 1
    streams: int = 1
    labels: tuple[str, ...] = ()
    ptime_max_ms: int = 120
    rtcp_mux: bool = True
    rtcp_mux_offered: bool = False
    srtp: Literal["off", "optional", "required"] = "off"
    best_effort: bool = False
    accepts_mki: bool = True
    suites: tuple[str, ...] = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
    keying: Literal["sdes", "dtls"] = "sdes"
    fingerprint: str = ""
    ice: Literal["off", "lite"] = "off"
    bundle: bool = False

    def __post_init__(self) -> None:
        if not _HOST.match(self.host):
            raise ValueError(f"{self.host[:255]!r} is no address")
        if not 1 <= len(self.codecs) <= CODECS_MAX:
            raise ValueError(f"{len(self.codecs)} codecs are not 1 to {CODECS_MAX}")
        if unknown := [suite for suite in self.suites if suite not in SUITES]:
            raise ValueError(f"{unknown[0][:64]!r} is no crypto suite")
        if not all(_LABEL.match(label) for label in self.labels):
            raise ValueError("a label is no token")
        if self.fingerprint and not _FINGERPRINT.match(self.fingerprint):
            raise ValueError("the fingerprint is no hash name and bytes in hexadecimal")
        if self.keying == "dtls" and not self.fingerprint and self.srtp == "required":
            raise ValueError("DTLS is wanted without a fingerprint")
        if min(self.answered_codecs, self.streams_max) < 1 or self.streams < 0 or self.ptime_max_ms < 1:
            raise ValueError("a number is below what makes sense")


__all__ = ["CODECS_MAX", "Opener", "Terms", "Transport"]

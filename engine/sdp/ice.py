"""ICE in descriptions, for an agent that is lite: what the other end says, and what we answer (RFC 8839, RFC 8445 2.5)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from engine.sdp.sdes import Random

CANDIDATES_MAX: Final = 64
UFRAG_BYTES: Final = 6  # of randomness: RFC 8839 5.4 asks for 24 bits
PWD_BYTES: Final = 18  # and for 128
HOST_PREFERENCE: Final = 126  # RFC 8445 5.1.2.2
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}\Z")
_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}\Z")
_FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{1,32}\Z")
_DISCARD_PORT: Final = 9  # with an unspecified address: candidates come later (RFC 8840 4.1.1)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate (5.1). `component` is 1 for RTP, 2 for RTCP; `kind` is "host", "srflx", "prflx" or "relay"."""

    component: int
    host: str
    port: int
    kind: str = "host"
    transport: str = "UDP"
    foundation: str = "1"
    priority: int = 0

    def value(self) -> str:
        """What stands behind `a=candidate:`."""
        return f"{self.foundation} {self.component} {self.transport} {self.priority} {self.host} {self.port} typ {self.kind}"


class Credentials(msgspec.Struct, frozen=True):
    """User fragment and password of one end, which its peer's checks are made with."""

    ufrag: str
    pwd: str

    def __repr__(self) -> str:
        return f"<Credentials {self.ufrag}>"


class Ice(msgspec.Struct, frozen=True, kw_only=True):
    """ICE of one end of one stream."""

    credentials: Credentials
    candidates: tuple[Candidate, ...] = ()
    is_lite: bool = False


def read_candidate(value: str) -> Candidate | None:
    """The candidate that a value describes; None where it is malformed."""
    words = value.split(maxsplit=8)
    if len(words) < 8 or words[6].lower() != "typ" or not _FOUNDATION.match(words[0]):
        return None
    numbers = words[1], words[3], words[5]
    if not all(number.isascii() and number.isdigit() and len(number) < 11 for number in numbers):
        return None
    component, priority, port = map(int, numbers)
    if not 1 <= component <= 256 or not 1 <= priority <= 2**31 - 1 or not 1 <= port <= 65535 or not words[4].isprintable():
        return None
    return Candidate(
        foundation=words[0], component=component, transport=words[2].upper()[:16], priority=priority, host=words[4][:255], port=port,
        kind=words[7].lower()[:16],
    )  # fmt: skip


def read(ufrag: str, pwd: str, candidates: Iterable[str], *, is_lite: bool) -> Ice | None:
    """ICE of the other end; None where it has none, or credentials that are none."""
    if not _UFRAG.match(ufrag) or not _PWD.match(pwd):
        return None
    found: list[Candidate] = []
    for value in candidates:
        one = read_candidate(value)
        if one is not None and len(found) < CANDIDATES_MAX:
            found.append(one)
    return Ice(credentials=Credentials(ufrag, pwd), candidates=tuple(found), is_lite=is_lite)


def is_mismatched(remote: Ice, defaults: Sequence[tuple[str, int]]) -> bool:
    """Whether a default destination, (host, port) of RTP and of RTCP where that has its own, is none of the candidates (RFC 8839 4.2.5):
    something on the way has rewritten the description without knowing of ICE."""
    known = {(one.host, one.port) for one in remote.candidates}
    for host, port in defaults:
        if port == _DISCARD_PORT and host in ("0.0.0.0", "::"):
            continue
        is_name = ":" not in host and not host.replace(".", "").isdigit()
        if not is_name and (host, port) not in known:
            return True
    return False


def local(random: Random, host: str, port: int, rtcp_port: int = 0, *, before: Credentials | None = None) -> Ice:
    """Our end: one host candidate a component, the second where RTCP has a port of its own. `before` keeps the credentials; without,
    there are new ones, as a restart asks for (RFC 8839 4.4.1.1)."""
    credentials = before or Credentials(b64encode(random(UFRAG_BYTES)).decode(), b64encode(random(PWD_BYTES)).decode())
    ports = [port, rtcp_port] if rtcp_port else [port]
    return Ice(
        credentials=credentials, is_lite=True,
        candidates=tuple(
            Candidate(component=component, host=host, port=at, priority=(HOST_PREFERENCE << 24) + (65535 << 8) + 256 - component)
            for component, at in enumerate(ports, 1)
        ),
    )  # fmt: skip


__all__ = ["CANDIDATES_MAX", "Candidate", "Credentials", "Ice", "is_mismatched", "local", "read", "read_candidate"]

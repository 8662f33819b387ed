"""The other end's description as a negotiation needs it: the kernel's view, and the attributes that it only counts.

Everything is bounded: what is too much is refused, or passed over where it is a list of alternatives.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Final

from engine._native.sdp import Flag, Trait
from engine._native.sip import AddressClass
from engine.sdp import ice
from engine.sdp.description import Codec, Description, MediaLine, parse
from engine.sdp.direction import Direction, direction_of, named, receives, sends
from engine.sdp.errors import NegotiationError

DESCRIPTION_BYTES_MAX: Final = 65_536
MEDIA_MAX: Final = 64
VALUES_MAX: Final = 64  # of one attribute at one level
_READ: Final = frozenset({b"crypto", b"ice-ufrag", b"ice-pwd", b"candidate", b"fingerprint", b"rtcp", b"group", b"ice-lite"})
_M_LINE: Final = re.compile(rb"m=([!-~]{1,32})[ \t]+([0-9]{1,5})(?:/[0-9]{1,5})?[ \t]+([!-~]{1,64})((?:[ \t]+[!-~]{1,64})+)[ \t]*\r?\Z")
_TOKEN: Final = re.compile(r"[!-~]{1,128}\Z")
_FINGERPRINT: Final = re.compile(r"([A-Za-z0-9-]{1,32})[ \t]+([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,127})\Z")
_HOST: Final = re.compile(r"[0-9A-Za-z.:_-]{1,255}\Z")
_RTCP: Final = re.compile(r"([0-9]{1,5})(?:\s+IN\s+IP[46]\s+([0-9A-Za-z.:-]{1,255}))?\s*\Z", re.IGNORECASE)


def _attributes(section: bytes) -> dict[bytes, list[str]]:
    """The values of the attributes that are read here, in order."""
    found: dict[bytes, list[str]] = {}
    for line in section.split(b"\n"):
        if not line.startswith(b"a="):
            continue
        name, _, value = line[2:].partition(b":")
        name = name.strip()
        if name in _READ:
            values = found.setdefault(name, [])
            if len(values) < VALUES_MAX:
                values.append(value.strip().decode("utf-8", "replace"))
    return found


class RemoteMedia:
    """One m= line of theirs. Raises NegotiationError for one that no answer could repeat."""

    def __init__(self, line: MediaLine, session: dict[bytes, list[str]]) -> None:
        self.line = line
        self._session = session
        first = bytes(line.row.section).split(b"\n", 1)[0]
        words = _M_LINE.match(first)
        if words is None:
            raise NegotiationError("an m= line cannot be read", status=400)
        self.kind = words[1].decode()
        self.port = int(words[2])
        self.proto = words[3].decode()
        self.formats = tuple(word.decode() for word in words[4].split())
        if self.port > 65535:
            raise NegotiationError("the port of an m= line is out of range", status=400)

    @cached_property
    def _own(self) -> dict[bytes, list[str]]:
        return _attributes(bytes(self.line.row.section))

    def _first(self, name: bytes) -> str:
        values = self._own.get(name) or self._session.get(name)
        return values[0] if values else ""

    @property
    def is_audio(self) -> bool:
        return self.kind.lower() == "audio"

    @property
    def host(self) -> str:
        """Address or name of the c= line that holds; empty where that is no host."""
        host = self.line.host
        return host if _HOST.match(host) else ""

    @property
    def version(self) -> int:
        """4 or 6; 0 where either will do: for a name, and for the address of a hold."""
        return 0 if self.is_unspecified else self.line.row.connection.family

    @property
    def is_multicast(self) -> bool:
        return self.line.row.connection.kind == AddressClass.MULTICAST

    @property
    def is_unspecified(self) -> bool:
        """0.0.0.0 or ::, which is no place to send to."""
        return self.line.row.connection.kind == AddressClass.UNSPECIFIED

    @property
    def stated(self) -> Direction:
        """The direction attribute that holds."""
        return named(self.line.direction)

    def direction(self, *, with_ice: bool) -> Direction:
        """What they do: the direction attribute, less receiving where the address is the hold of RFC 2543 (RFC 3264 8.4). With ICE the
        address says nothing."""
        old_hold = self.is_unspecified and not with_ice
        return direction_of(send=sends(self.stated), receive=receives(self.stated) and not old_hold)

    @property
    def codecs(self) -> list[Codec]:
        return self.line.codecs

    @property
    def label(self) -> str:
        """a=label; empty where it is none that may be repeated."""
        return self.line.label if _TOKEN.match(self.line.label) else ""

    @property
    def mid(self) -> str:
        return self.line.mid if _TOKEN.match(self.line.mid) else ""

    @property
    def muxes(self) -> bool:
        """RTCP may come on the port of RTP (RFC 5761)."""
        return bool(self.line.row.traits & Trait.RTCP_MUX)

    @property
    def only_muxes(self) -> bool:
        """It must (RFC 8858)."""
        return bool(self.line.row.traits & Trait.RTCP_MUX_ONLY)

    @cached_property
    def rtcp(self) -> tuple[str, int]:
        """Where RTCP goes without multiplexing: a=rtcp (RFC 3605), else the port above (RFC 3550 11). Port 0 is nowhere."""
        found = _RTCP.match(self._own.get(b"rtcp", [""])[0])
        if found is not None and int(found[1]) <= 65535:
            return found[2] or self.host, int(found[1])
        return self.host, self.port + 1 if 0 < self.port < 65535 else 0

    @property
    def crypto(self) -> list[str]:
        """Values of the a=crypto lines, of this line only (RFC 4568 5.1)."""
        return self._own.get(b"crypto", [])

    @cached_property
    def ice(self) -> ice.Ice | None:
        """Their ICE; None where there is none."""
        is_lite = b"ice-lite" in self._session or b"ice-lite" in self._own
        return ice.read(self._first(b"ice-ufrag"), self._first(b"ice-pwd"), self._own.get(b"candidate", []), is_lite=is_lite)

    @property
    def says_mismatch(self) -> bool:
        return bool(self.line.row.traits & Trait.ICE_MISMATCH)

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """Certificate fingerprints, "sha-256 AB:CD..." (RFC 8122 5)."""
        found = (_FINGERPRINT.match(value) for value in self._own.get(b"fingerprint") or self._session.get(b"fingerprint", []))
        return tuple(f"{one[1].lower()} {one[2].upper()}" for one in found if one is not None)


class RemoteDescription:
    """A whole description of theirs. Raises NegotiationError: 400 for what is none, 488 for too many media lines."""

    def __init__(self, body: bytes) -> None:
        if len(body) > DESCRIPTION_BYTES_MAX:
            raise NegotiationError(f"a description of {len(body)} bytes is longer than {DESCRIPTION_BYTES_MAX}", status=400)
        found = parse(body)
        if found is None:
            raise NegotiationError("the body is no session description", status=400)
        if found.row.media_total > MEDIA_MAX:
            raise NegotiationError(f"{found.row.media_total} media lines are more than {MEDIA_MAX}")
        if found.row.flags & Flag.NO_VERSION or not found.row.origin:
            raise NegotiationError("the body has no v=0 or no o= line", status=400)
        self.description: Description = found
        begin = 0 if body.startswith(b"m=") else body.find(b"\nm=")
        session = _attributes(body[:begin] if begin >= 0 else body)
        self.media = [RemoteMedia(line, session) for line in found.media]
        self.bundle = next((value.split()[1:] for value in session.get(b"group", []) if value.upper().startswith("BUNDLE ")), [])


__all__ = ["DESCRIPTION_BYTES_MAX", "MEDIA_MAX", "RemoteDescription", "RemoteMedia"]

"""Session descriptions to bytes, in the order of RFC 8866 9.

What comes from the other end (labels, mids, formats of refused lines) was checked when it was read; the rest is ours and checked in `Terms`.
"""

from __future__ import annotations

import msgspec

from engine.sdp.codecs import PayloadFormat
from engine.sdp.direction import Direction
from engine.sdp.ice import Ice
from engine.sdp.sdes import Crypto
from engine.sdp.terms import Transport


class MediaSection(msgspec.Struct, frozen=True, kw_only=True):
    """One m= line of ours with its attributes. Without `transport` it is refused: port 0, and `formats` as they were offered.
    `rtcp_port` is 0 where nothing need be said of it: it is the one above, or that of RTP."""

    kind: str
    proto: str
    formats: tuple[str, ...] = ()
    transport: Transport | None = None
    payloads: tuple[PayloadFormat, ...] = ()
    direction: Direction = "sendrecv"
    ptime_ms: int = 0
    rtcp_mux: bool = False
    rtcp_port: int = 0
    label: str = ""
    mid: str = ""
    crypto: tuple[Crypto, ...] = ()
    ice: Ice | None = None
    ice_mismatch: bool = False
    fingerprint: str = ""
    setup: str = ""

    def lines(self, session_host: str) -> list[str]:
        """Its lines; `session_host` is the address that holds where it says none."""
        words = [str(one.payload_type) for one in self.payloads] or list(self.formats)
        transport = self.transport
        named = [*([f"a=mid:{self.mid}"] if self.mid else []), *([f"a=label:{self.label}"] if self.label else [])]
        if transport is None:
            return [f"m={self.kind} 0 {self.proto} {' '.join(words)}", *named]
        found = [f"m={self.kind} {transport.port} {self.proto} {' '.join(words)}"]
        if transport.host != session_host:
            found.append(f"c={network(transport.host)}")
        for one in self.payloads:
            channels = f"/{one.channels}" if one.channels > 1 else ""
            found.append(f"a=rtpmap:{one.payload_type} {one.name}/{one.clock_rate_hz}{channels}")
            if one.fmtp:
                found.append(f"a=fmtp:{one.payload_type} {one.fmtp}")
        if self.ptime_ms:
            found.append(f"a=ptime:{self.ptime_ms}")
        found.append(f"a={self.direction}")
        if self.rtcp_mux:
            found.append("a=rtcp-mux")
        if self.rtcp_port:
            found.append(f"a=rtcp:{self.rtcp_port}")
        found += named
        found += [f"a=crypto:{one.value()}" for one in self.crypto]
        if self.fingerprint:
            found += [f"a=fingerprint:{self.fingerprint}", f"a=setup:{self.setup}"]
        if self.ice is not None:
            found += [f"a=ice-ufrag:{self.ice.credentials.ufrag}", f"a=ice-pwd:{self.ice.credentials.pwd}"]
            found += [f"a=candidate:{one.value()}" for one in self.ice.candidates]
        elif self.ice_mismatch:
            found.append("a=ice-mismatch")
        return found


def network(host: str) -> str:
    """The last three words of a c= or o= line."""
    return f"IN IP{6 if ':' in host else 4} {host}"


def content(host: str, sections: tuple[MediaSection, ...], bundle: tuple[str, ...] = ()) -> str:
    """Everything behind the o= line. `host` stands there, and is that of the c= line unless the first stream has another."""
    session_host = next((one.transport.host for one in sections if one.transport is not None), host)
    lines = ["s=-", f"c={network(session_host)}", "t=0 0"]
    if any(one.ice is not None for one in sections):
        lines += ["a=ice-lite", "a=ice-options:ice2"]
    if bundle:
        lines.append(f"a=group:BUNDLE {' '.join(bundle)}")
    for section in sections:
        lines += section.lines(session_host)
    return "".join(f"{line}\r\n" for line in lines)


def description(session_id: int, version: int, host: str, what: str) -> bytes:
    """A whole description with `what` of `content`."""
    return f"v=0\r\no=- {session_id} {version} {network(host)}\r\n{what}".encode("ascii")


__all__ = ["MediaSection", "content", "description", "network"]

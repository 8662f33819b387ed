"""A session description to work with: text where text is meant, names instead of numbers (RFC 8866).

The bytes are read once by the native kernel; everything here is looked up on access and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from typing_extensions import Buffer

from engine._native import sdp
from engine._native.sdp import Candidate, CryptoSuite, Direction, Flag, MediaType, Proto, Setup, Trait

DEFECTS: dict[Flag, str] = {
    Flag.BAD_LINE: "a line is not <type>=<value>, or its type is not known",
    Flag.NO_VERSION: "there is no v=0 line",
    Flag.NO_ORIGIN: "there is no o= line",
    Flag.NO_SESSION_NAME: "there is no s= line",
    Flag.NO_TIME: "there is no t= line",
    Flag.WRONG_ORDER: "a line stands out of order",
    Flag.BAD_MEDIA: "an m= line has fewer than four parts",
    Flag.BAD_CONNECTION: "a c= line is malformed",
    Flag.NO_CONNECTION: "a media line has no c= line at either level",
    Flag.PORT_BAD: "a port, or a number of ports, is no number in range",
    Flag.PT_RANGE: "a payload type is no number up to 127",
    Flag.PT_UNMAPPED: "a payload type is neither static nor named by an rtpmap",
    Flag.RTPMAP_BAD: "an rtpmap is malformed",
    Flag.FMTP_BAD: "an fmtp is malformed or for a payload type that is not listed",
    Flag.PTIME_BAD: "a ptime or maxptime is no time, or maxptime is below ptime",
    Flag.DIRECTION_REPEATED: "one level states two directions",
    Flag.PTIME_REPEATED: "a media line states two packet times",
    Flag.STATIC_REDEFINED: "an rtpmap gives a static payload type another codec",
    Flag.EMPTY_SESSION_NAME: "the s= line is empty",
    Flag.BARE_LF: "a line ends in LF without CR",
    Flag.BAD_ORIGIN: "the o= line is malformed",
    Flag.CANDIDATE_BAD: "an ICE candidate is malformed",
    Flag.CRYPTO_BAD: "a crypto line is malformed, or stands at session level",
    Flag.TOO_MANY: "there are more media lines than are kept",
    Flag.PT_REPEATED: "one payload type is mapped to two codecs",
}
PROTOS: dict[Proto, str] = {
    Proto.RTP_AVP: "RTP/AVP",
    Proto.RTP_SAVP: "RTP/SAVP",
    Proto.RTP_AVPF: "RTP/AVPF",
    Proto.RTP_SAVPF: "RTP/SAVPF",
    Proto.UDP_TLS_RTP_SAVP: "UDP/TLS/RTP/SAVP",
    Proto.UDP_TLS_RTP_SAVPF: "UDP/TLS/RTP/SAVPF",
    Proto.UDPTL: "udptl",
    Proto.UDP: "udp",
    Proto.TCP: "TCP",
    Proto.TCP_MSRP: "TCP/MSRP",
    Proto.DTLS_SCTP: "UDP/DTLS/SCTP",
    Proto.TLS_UDPTL: "UDP/TLS/UDPTL",
}


def text(value: bytes) -> str:
    """Bytes of a description as text; what is not UTF-8 survives as surrogates and encodes back."""
    return value.decode("utf-8", "surrogateescape")


def _names(flags: Sequence[Trait | Candidate | CryptoSuite]) -> tuple[str, ...]:
    return tuple(str(flag.name).lower().replace("_", "-") for flag in flags)


class Codec:
    """One payload type of a media line."""

    def __init__(self, entry: sdp.Format) -> None:
        self.entry = entry

    def __repr__(self) -> str:
        return f"<Codec {self.payload_type} {self.name}/{self.clock_rate_hz}>"

    @property
    def payload_type(self) -> int:
        """0 to 127."""
        return self.entry.payload_type

    @property
    def name(self) -> str:
        """Encoding name as written, or as RFC 3551 assigns it; empty where nothing says."""
        return self.entry.name

    @property
    def clock_rate_hz(self) -> int:
        """RTP clock in Hz, 0 where nothing says."""
        return self.entry.clock_rate_hz

    @property
    def channels(self) -> int:
        return self.entry.channels

    @property
    def clock_is_wrong(self) -> bool:
        """The clock is not the codec's only legal one, as in G722/16000."""
        return bool(self.entry.flags & sdp.FormatFlag.CLOCK_BAD)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The fmtp parameters by name (RFC 8866 §6.15); one that has no value is its own name's value ""."""
        found: dict[str, str] = {}
        for part in text(self.entry.fmtp).split(";"):
            name, _, value = part.strip().partition("=")
            if name:
                found.setdefault(name.rstrip(), value.lstrip())
        return found


class MediaLine:
    """One m= line with what the session level says folded in."""

    def __init__(self, row: sdp.Media) -> None:
        self.row = row

    def __repr__(self) -> str:
        return f"<MediaLine {self.kind} {self.host}:{self.port} {self.direction}>"

    @property
    def kind(self) -> str:
        """"audio", "video", "image", "application", "text", "message" or "other"."""
        return MediaType(self.row.media).name.lower()

    @property
    def proto(self) -> str:
        """The transport in its registered spelling; as written where it is not known."""
        known = PROTOS.get(self.row.proto)
        words = self.text.split("\n", 1)[0].split()
        return known or (words[2] if len(words) > 2 else "")

    @property
    def host(self) -> str:
        """Address or name of the effective c= line; empty when there is none."""
        return self.row.connection.text

    @property
    def port(self) -> int:
        """Port of the m= line; 0 refuses or ends the medium (RFC 3264 §6)."""
        return self.row.connection.port

    @property
    def is_refused(self) -> bool:
        return self.port == 0

    @property
    def direction(self) -> str:
        """"sendrecv", "sendonly", "recvonly" or "inactive" as it holds for this line."""
        return Direction(self.row.direction).name.lower()

    @property
    def is_held(self) -> bool:
        """Nothing is to be sent to the author of this description: sendonly, inactive, or 0.0.0.0 of RFC 2543."""
        silent = self.row.direction in (Direction.SENDONLY, Direction.INACTIVE)
        address_of_old_hold = self.row.connection.kind == self.row.connection.kind.UNSPECIFIED
        return silent or (address_of_old_hold and not self.row.traits & Trait.ICE)

    @property
    def setup(self) -> str:
        """DTLS or TCP role: "active", "passive", "actpass", "holdconn"; empty when not stated."""
        return "" if self.row.setup == Setup.NONE else Setup(self.row.setup).name.lower()

    @cached_property
    def codecs(self) -> list[Codec]:
        """Payload types in order of preference (at most 32)."""
        return [Codec(entry) for entry in self.row.formats]

    @property
    def ptime_ms(self) -> int:
        """Packet time; 0 when not stated."""
        return self.row.ptime_ms

    @property
    def label(self) -> str:
        """a=label (RFC 4574), which recording metadata refers to; empty when there is none."""
        return text(self.row.label)

    @property
    def mid(self) -> str:
        """a=mid (RFC 5888); empty when there is none."""
        return text(self.row.mid)

    @property
    def is_encrypted(self) -> bool:
        """SRTP is offered: keys in the description, or a DTLS fingerprint."""
        return self.row.crypto_count > 0 or bool(self.row.traits & Trait.FINGERPRINT)

    @property
    def crypto_suites(self) -> tuple[str, ...]:
        """Suites of the a=crypto lines, e.g. "aes-cm-128-sha1-80"."""
        return _names([suite for suite in CryptoSuite if self.row.crypto_suites & suite])

    @property
    def candidates(self) -> tuple[str, ...]:
        """What the ICE candidates of RTP over UDP are: "host", "srflx", "private", "mdns" and so on."""
        return _names([kind for kind in Candidate if self.row.candidates & kind])

    @property
    def traits(self) -> tuple[str, ...]:
        """What else is stated: "rtcp-mux", "ice", "bundled", "record" and so on."""
        return _names([trait for trait in Trait if self.row.traits & trait])

    @property
    def defects(self) -> list[str]:
        """What is wrong with this section, in words."""
        return [sentence for flag, sentence in DEFECTS.items() if self.row.flags & flag]

    @property
    def text(self) -> str:
        """The section as written, from m= on."""
        return text(self.row.section)


class Description:
    """One session description. `row` is the kernel's view of it, with flags and hashes."""

    def __init__(self, row: sdp.Description) -> None:
        self.row = row

    def __repr__(self) -> str:
        return f"<Description {self.session_id} version {self.version} {self.media}>"

    @property
    def session_id(self) -> str:
        """The o= line's session id as written."""
        return text(self.row.session_id)

    @property
    def version(self) -> int | None:
        """The o= line's session version, which every change raises (RFC 3264 §8); None when it is no number."""
        return None if self.row.version < 0 else self.row.version

    @property
    def origin_host(self) -> str:
        """Address of the o= line; empty when it is a name or missing."""
        return self.row.origin_address.text

    @property
    def session_name(self) -> str:
        return text(self.row.session_name)

    @cached_property
    def media(self) -> list[MediaLine]:
        """The m= lines in order."""
        return [MediaLine(row) for row in self.row.media]

    @property
    def defects(self) -> list[str]:
        """What is wrong anywhere in it, in words."""
        return [sentence for flag, sentence in DEFECTS.items() if self.row.flags & flag]

    def same_origin(self, other: Description) -> bool:
        """Both are versions of one session: equal o= lines but for the version (RFC 8866 §5.2)."""
        return self.row.origin_hash == other.row.origin_hash

    def same_content(self, other: Description) -> bool:
        """Both say the same but for their o= lines."""
        return self.row.body_hash == other.row.body_hash


def parse(body: Buffer) -> Description | None:
    """Reads a description; None when it holds no SDP line at all. Defects are told, not raised."""
    row = sdp.scan(body)
    return None if row is None else Description(row)

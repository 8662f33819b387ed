"""One m= line of a session: answering an offered one, offering one, and taking the answer to it (RFC 3264 5 to 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from engine.sdp import codecs, formats, ice, protection
from engine.sdp.codecs import CodecCapability, Key, PayloadFormat
from engine.sdp.compose import MediaSection
from engine.sdp.direction import Direction, answer_to, both, seen_from_the_other_end
from engine.sdp.errors import ATTRIBUTE, MEDIA_TYPE, MULTICAST, NegotiationError
from engine.sdp.formats import Formats
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.protection import Protection
from engine.sdp.remote import RemoteMedia
from engine.sdp.sdes import Random
from engine.sdp.terms import Terms, Transport


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line as it stands: our section, what both ends have agreed to, and which numbers have meant what in our sections (8.3.2)."""

    section: MediaSection
    media: NegotiatedMedia
    history: dict[int, Key] = {}


# ---- what does not go ----


def refused(index: int, section: MediaSection, reason: str, history: dict[int, Key] | None = None) -> Line:
    """A line with port 0 (6)."""
    words = section.formats or tuple(str(one.payload_type) for one in section.payloads)
    kept = MediaSection(kind=section.kind, proto=section.proto, formats=words, label=section.label, mid=section.mid)
    media = NegotiatedMedia(index=index, kind=section.kind.lower(), accepted=False, label=section.label, mid=section.mid, reason=reason)
    return Line(section=kept, media=media, history=history or {})


def refused_theirs(index: int, remote: RemoteMedia, reason: str) -> Line:
    """An offered line with port 0: one of its formats stands there, and says nothing (6)."""
    word = remote.formats[0]
    is_rtp = remote.proto.upper().rpartition("/")[2] in ("AVP", "AVPF", "SAVP", "SAVPF")
    if is_rtp and not (word.isdecimal() and int(word) < 128):
        word = "0"
    section = MediaSection(kind=remote.kind, proto=remote.proto, formats=(word,), label=remote.label, mid=remote.mid)
    return refused(index, section, reason)


def _must_be_reachable(remote: RemoteMedia) -> None:
    if not remote.host:
        raise NegotiationError("a media line has no c= line with an address", status=400)
    if remote.is_multicast:
        raise NegotiationError("multicast is not taken", warning=MULTICAST)


# ---- ICE ----


def _ice_of(remote: RemoteMedia, terms: Terms, *, mux: bool) -> tuple[ice.Ice | None, bool]:
    """Their ICE as far as we take part in it, and whether it is mismatched (RFC 8839 4.2.5)."""
    found = remote.ice if terms.ice == "lite" else None
    if found is None:
        return None, False
    rtcp = [] if mux or not remote.rtcp[1] or not remote.line.row.rtcp_port else [remote.rtcp]
    if ice.is_mismatched(found, [(remote.host, remote.port), *rtcp]):
        return None, True
    return found, False


def _own_ice(theirs: ice.Ice | None, standing: NegotiatedMedia | None, transport: Transport, random: Random, *, mux: bool) -> ice.Ice:
    """Our ICE; credentials change when theirs do, which restarts it (RFC 8839 4.4.1.1)."""
    kept = None
    if standing is not None and standing.local_ice is not None and standing.remote_ice is not None:
        same = theirs is None or theirs.credentials == standing.remote_ice.credentials
        kept = standing.local_ice.credentials if same else None
    return ice.local(random, transport.host, transport.port, 0 if mux else transport.rtcp_port, before=kept)


# ---- the three things that happen to a line ----


def answered(
    index: int, remote: RemoteMedia, before: Line | None, terms: Terms, *, wish: Direction, has_room: bool, random: Random,
    open_transport: Callable[[int], Transport],
) -> Line:  # fmt: skip
    """Our half for an offered line. `open_transport` has the IP version they are reached by (0 for a name). Raises NegotiationError for
    one that is refused."""
    if not remote.is_audio:
        raise NegotiationError(f"{remote.kind[:32]} is not taken", warning=MEDIA_TYPE)
    if not has_room:
        raise NegotiationError(f"{terms.streams_max} streams are all that is taken", warning=MEDIA_TYPE)
    standing = before.media if before is not None and before.media.accepted else None
    keys = protection.of_answer(remote, standing, terms, random)
    _must_be_reachable(remote)
    mux = terms.rtcp_mux and remote.muxes
    if remote.only_muxes and not mux:
        raise NegotiationError("RTP and RTCP on one port are not taken", warning=ATTRIBUTE)
    found = formats.of_answer(remote, terms, mux=mux)
    transport = open_transport(remote.version)
    theirs, mismatch = _ice_of(remote, terms, mux=mux)
    by_them = remote.direction(with_ice=theirs is not None)
    asked_ms = remote.line.ptime_ms
    receive_ptime_ms = codecs.packet_time_ms(asked_ms, 0, found.first, terms.ptime_max_ms, frame_ms=found.frame_ms)
    section = MediaSection(
        kind=remote.kind, proto=remote.proto, transport=transport, payloads=found.receive, direction=answer_to(by_them, wish),
        ptime_ms=receive_ptime_ms, rtcp_mux=mux, rtcp_port=0 if mux else _stated_rtcp(transport), label=remote.label, mid=remote.mid,
        crypto=(keys.ours,) if keys.ours is not None else (),
        ice=_own_ice(theirs, standing, transport, random, mux=mux) if theirs is not None else None, ice_mismatch=mismatch,
        fingerprint=terms.fingerprint if keys.dtls is not None else "", setup=keys.dtls.role if keys.dtls is not None else "",
    )  # fmt: skip
    media = _agreed(index, section, remote, found, keys, terms, mux=mux, theirs=theirs, by_us=wish, by_them=by_them)
    history = before.history if before is not None and before.media.accepted else {}
    return Line(section=section, media=media, history=history | {one.payload_type: one.key for one in found.receive})


def offered(
    index: int, before: Line | None, terms: Terms, *, wish: Direction, label: str, random: Random, transport: Transport
) -> Line:
    """A line of an offer. What it has agreed to so far stays as `media` until the answer comes."""
    standing = before if before is not None and before.media.accepted else None
    agreed = standing.media if standing is not None else None
    history = dict(standing.history) if standing is not None else {}
    payloads = formats.of_offer(terms, agreed, history)
    proto = protection.proto_of_offer(agreed, terms)
    crypto, fingerprint = protection.of_offer(proto, agreed, terms, random)
    mux = terms.rtcp_mux_offered or (agreed is not None and agreed.rtcp_mux)
    with_ice = terms.ice == "lite" and (agreed is None or agreed.local_ice is not None)
    section = MediaSection(
        kind="audio", proto=proto, transport=transport, payloads=payloads, direction=wish, ptime_ms=_first_of(payloads, terms).ptime_ms,
        rtcp_mux=mux, rtcp_port=_stated_rtcp(transport), label=agreed.label if agreed is not None else label,
        mid=agreed.mid if agreed is not None else "", crypto=crypto, fingerprint=fingerprint, setup="actpass" if fingerprint else "",
        ice=_own_ice(None, agreed, transport, random, mux=False) if with_ice else None,
    )  # fmt: skip
    media = before.media if before is not None else NegotiatedMedia(index=index, kind="audio", accepted=False)
    return Line(section=section, media=media, history=history | {one.payload_type: one.key for one in payloads})


def _stated_rtcp(transport: Transport) -> int:
    """The port of an a=rtcp line; 0 where RTCP is where it is looked for without one (RFC 3605 2)."""
    return 0 if transport.rtcp_port == transport.port + 1 else transport.rtcp_port


def _first_of(payloads: Sequence[PayloadFormat], terms: Terms) -> CodecCapability:
    return next((one for one in terms.codecs if payloads and one.key == payloads[0].key), terms.codecs[0])


def concluded(index: int, ours: Line, remote: RemoteMedia, before: Line | None, terms: Terms) -> Line:
    """Our line with their answer to it. Raises NegotiationError for an answer that is none to what was offered."""
    section = ours.section
    if remote.kind.lower() != section.kind.lower():
        raise NegotiationError(f"{section.kind[:32]} was offered and {remote.kind[:32]} answered", status=400)
    if section.transport is None or remote.port == 0:
        return refused(index, section, "refused by them" if section.transport is not None else ours.media.reason)
    keys = protection.answered(remote, section, before.media if before is not None else None, terms)
    _must_be_reachable(remote)
    mux = section.rtcp_mux and remote.muxes
    found = formats.answered(remote, section, terms, mux=mux)
    theirs, mismatch = _ice_of(remote, terms, mux=mux) if section.ice is not None else (None, False)
    theirs = None if remote.says_mismatch or mismatch else theirs
    by_them = remote.direction(with_ice=theirs is not None)
    media = _agreed(index, section, remote, found, keys, terms, mux=mux, theirs=theirs, by_us=section.direction, by_them=by_them)
    return Line(section=section, media=media, history=ours.history)


def _agreed(
    index: int, section: MediaSection, remote: RemoteMedia, found: Formats, keys: Protection, terms: Terms, *, mux: bool,
    theirs: ice.Ice | None, by_us: Direction, by_them: Direction,
) -> NegotiatedMedia:  # fmt: skip
    rtcp_host, rtcp_port = (remote.host, remote.port) if mux else remote.rtcp
    ptime_ms = codecs.packet_time_ms(
        remote.line.ptime_ms, remote.line.row.maxptime_ms, found.first, terms.ptime_max_ms, frame_ms=found.frame_ms
    )  # fmt: skip
    return NegotiatedMedia(
        index=index, kind="audio", accepted=True, label=section.label or remote.label, mid=section.mid, proto=section.proto,
        direction=both(by_us, seen_from_the_other_end(by_them)), by_us=by_us, by_them=by_them, send=found.send, receive=found.receive,
        ptime_ms=ptime_ms, receive_ptime_ms=section.ptime_ms, local=section.transport, remote_host=remote.host, remote_port=remote.port,
        remote_rtcp_host=rtcp_host, remote_rtcp_port=rtcp_port, rtcp_mux=mux, send_crypto=keys.ours, receive_crypto=keys.theirs,
        dtls=keys.dtls, local_ice=section.ice if theirs is not None else None, remote_ice=theirs,
    )  # fmt: skip


__all__ = ["Line", "answered", "concluded", "offered", "refused", "refused_theirs"]

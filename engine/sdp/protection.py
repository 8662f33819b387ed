"""How a line is encrypted: keys in the description (RFC 4568), DTLS-SRTP (RFC 5763), or not at all."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from engine.sdp import sdes
from engine.sdp.compose import MediaSection
from engine.sdp.errors import ATTRIBUTE, TRANSPORT_PROTOCOL, NegotiationError
from engine.sdp.negotiated import Dtls, NegotiatedMedia
from engine.sdp.remote import RemoteMedia
from engine.sdp.sdes import Crypto, Random
from engine.sdp.terms import Terms

PLAIN: Final = ("RTP/AVP", "RTP/AVPF")
SECURE: Final = ("RTP/SAVP", "RTP/SAVPF")
DTLS: Final = ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    """How a line is encrypted; nothing of it set where it is not."""

    ours: Crypto | None = None
    theirs: Crypto | None = None
    dtls: Dtls | None = None


def _dtls_role(setup: str, before: NegotiatedMedia | None, fingerprints: tuple[str, ...]) -> Literal["active", "passive"]:
    """Ours in the handshake (RFC 5763 5): what they leave to us, active where they leave both, and no change while it stands."""
    standing = before.dtls if before is not None else None
    if setup in ("active", ""):  # RFC 4145 4: active is what holds where nothing is said
        return "passive"
    if setup == "actpass" and standing is not None and standing.fingerprints == fingerprints:
        return standing.role
    if setup == "holdconn":
        raise NegotiationError("DTLS that is put off is not taken", warning=ATTRIBUTE)
    return "active"


def _own_key(theirs: Crypto, before: NegotiatedMedia | None, random: Random) -> Crypto:
    """Our key for an answer: the one in use, so that a session that is only refreshed stays the same, else a new one."""
    standing = before.send_crypto if before is not None else None
    if standing is not None and standing.suite == theirs.suite and standing.key != theirs.key:
        return msgspec.structs.replace(standing, tag=theirs.tag, written=theirs.written)
    return sdes.fresh(theirs.tag, theirs.suite, random, written=theirs.written)


def of_answer(remote: RemoteMedia, before: NegotiatedMedia | None, terms: Terms, random: Random) -> Protection:
    """How an offered line is encrypted in our answer. Raises NegotiationError (302) where it must or must not be."""
    proto = remote.proto.upper()
    if proto not in (*PLAIN, *SECURE, *DTLS):
        raise NegotiationError(f"the transport {remote.proto[:32]} is not known", warning=TRANSPORT_PROTOCOL)
    if proto in PLAIN:
        theirs = sdes.choose(remote.crypto, terms.suites, with_mki=terms.accepts_mki) if terms.best_effort and terms.srtp != "off" else None
        if theirs is None and terms.srtp == "required":
            raise NegotiationError("media has to be encrypted", warning=TRANSPORT_PROTOCOL)
        return Protection() if theirs is None else Protection(theirs=theirs, ours=_own_key(theirs, before, random))
    if terms.srtp == "off":
        raise NegotiationError("encrypted media is not taken", warning=TRANSPORT_PROTOCOL)
    theirs = None if proto in DTLS else sdes.choose(remote.crypto, terms.suites, with_mki=terms.accepts_mki)
    if theirs is not None:
        return Protection(theirs=theirs, ours=_own_key(theirs, before, random))
    if terms.fingerprint and remote.fingerprints:
        role = _dtls_role(remote.line.setup, before, remote.fingerprints)
        return Protection(dtls=Dtls(role=role, fingerprints=remote.fingerprints))
    if proto in DTLS:
        why = "DTLS-SRTP is not taken" if not terms.fingerprint else "DTLS-SRTP is offered without a fingerprint"
        raise NegotiationError(why, warning=TRANSPORT_PROTOCOL)
    raise NegotiationError("encrypted media is offered without a key that can be used", warning=TRANSPORT_PROTOCOL)


def proto_of_offer(standing: NegotiatedMedia | None, terms: Terms) -> str:
    """The transport of an offer: the one in use unless the terms forbid it by now."""
    if standing is not None:
        proto = standing.proto.upper()
        if standing.dtls is not None and terms.srtp != "off" and terms.fingerprint:
            return proto
        if standing.send_crypto is not None and terms.srtp != "off" and (proto not in PLAIN or terms.best_effort):
            return proto
        if standing.dtls is None and standing.send_crypto is None and terms.srtp != "required":
            return proto
    if terms.srtp != "required":
        return PLAIN[0]
    return DTLS[1] if terms.keying == "dtls" else SECURE[0]


def of_offer(proto: str, standing: NegotiatedMedia | None, terms: Terms, random: Random) -> tuple[tuple[Crypto, ...], str]:
    """The keys, or the fingerprint, of an offered line. What is in use is offered again, and nothing beside it."""
    if standing is not None and proto == standing.proto.upper():
        if standing.dtls is not None:
            return (), terms.fingerprint
        return ((standing.send_crypto,) if standing.send_crypto is not None else ()), ""
    if proto in DTLS:
        return (), terms.fingerprint
    if proto in SECURE or (terms.best_effort and terms.srtp != "off"):
        return tuple(sdes.fresh(tag, suite, random) for tag, suite in enumerate(terms.suites, 1)), ""
    return (), ""


def answered(remote: RemoteMedia, section: MediaSection, before: NegotiatedMedia | None, terms: Terms) -> Protection:
    """What their answer makes of the keys that we offered (RFC 4568 5.1.3). Raises NegotiationError (302)."""
    proto = remote.proto.upper()
    offered = section.proto.upper()
    for value in remote.crypto:
        theirs = sdes.read(value)
        ours = next((one for one in section.crypto if theirs is not None and (one.tag, one.suite) == (theirs.tag, theirs.suite)), None)
        if theirs is None or ours is None or (theirs.mki_bytes and not terms.accepts_mki):
            continue
        if theirs.key == ours.key:  # two ends with one key is the same key stream twice
            raise NegotiationError("the answer has our own key in it", warning=ATTRIBUTE)
        return Protection(theirs=theirs, ours=ours)
    if (proto in PLAIN) != (offered in PLAIN) or proto not in (*PLAIN, *SECURE, *DTLS):
        raise NegotiationError(f"{section.proto} was offered and {remote.proto[:32]} answered", warning=TRANSPORT_PROTOCOL)
    if section.fingerprint:
        if not remote.fingerprints:
            raise NegotiationError("DTLS-SRTP is answered without a fingerprint", warning=TRANSPORT_PROTOCOL)
        return Protection(dtls=Dtls(role=_dtls_role(remote.line.setup, before, remote.fingerprints), fingerprints=remote.fingerprints))
    if offered in PLAIN and terms.srtp != "required":
        return Protection()
    raise NegotiationError("encrypted media is answered without a key that can be used", warning=TRANSPORT_PROTOCOL)


__all__ = ["DTLS", "PLAIN", "SECURE", "Protection", "answered", "of_answer", "of_offer", "proto_of_offer"]

"""Whether a call is a recording session (RFC 7866 6.1.1): by what it says, as far as it says it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from engine.sip.message import Message
from engine.siprec.bodies import RecordingParts

OPTION: Final = "siprec"
_SOURCE_TAGS: Final = ("+sip.src", "src")
_MEDIA_RECORDING: Final = "x-cisco-recording-participant"
_BRIDGE: Final = ("x-nearend", "x-farend")


class Peers:
    """Networks whose calls are recordings, whatever they say."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Raises ValueError for what is no network."""
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(one, strict=False) for one in networks]

    def __contains__(self, host: str) -> bool:
        if not self._networks:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def requires_siprec(message: Message) -> bool:
    """The option tag in Require."""
    return any(element.strip().lower() == OPTION.encode() for element in message.elements("Require"))


def is_source(message: Message) -> bool:
    """The feature tag of a session recording client in Contact; inside the brackets too, where some put it, and by its short name."""
    for value in message.values("Contact"):
        words = {word.partition("=")[0].strip().lower() for word in value.replace(">", ";").replace(",", ";").split(";")[1:]}
        if words.intersection(_SOURCE_TAGS):
            return True
    return False


def is_recording(message: Message, parts: RecordingParts, *, strict: bool, known: bool) -> bool:
    """Whether an INVITE begins a recording session. `strict`: only by option and feature tag both (RFC 7866 6.1.1). Else one of them does, or metadata in the body, or what
    clients without any of them are known by; `known` is a peer whose calls all are."""
    if strict:
        return requires_siprec(message) and is_source(message)
    if known or parts.metadata or requires_siprec(message) or is_source(message) or message.values(_MEDIA_RECORDING):
        return True
    sender = message.value("From").lower()  # of a phone's built-in bridge: two calls, one a direction
    return any(word in sender for word in _BRIDGE) and "x-refci" in sender


__all__ = ["OPTION", "Peers", "is_recording", "is_source", "requires_siprec"]

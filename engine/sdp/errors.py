"""What an offer or an answer is refused with: a SIP status and a warning (RFC 3261 20.43, 21.4.26)."""

from __future__ import annotations

from typing import Final

from engine.errors import EngineError

# RFC 3261 20.43
ADDRESS_FORMAT: Final = 301
TRANSPORT_PROTOCOL: Final = 302
MEDIA_TYPE: Final = 304
MEDIA_FORMAT: Final = 305
ATTRIBUTE: Final = 306
MULTICAST: Final = 330
MISCELLANEOUS: Final = 399


class NegotiationError(EngineError):
    """A description that cannot be agreed to. `status` is the SIP status that says so: 400 for one that cannot be read, 488 for one that
    can, 491 while another offer is under way, 503 where we have no port left. `warning` is the code of the Warning header whose text is
    the message."""

    code = "sdp.not_acceptable"

    def __init__(self, message: str, *, status: int = 488, warning: int = MISCELLANEOUS) -> None:
        super().__init__(message)
        self.status = status
        self.warning = warning


__all__ = ["ADDRESS_FORMAT", "ATTRIBUTE", "MEDIA_FORMAT", "MEDIA_TYPE", "MISCELLANEOUS", "MULTICAST", "TRANSPORT_PROTOCOL", "NegotiationError"]

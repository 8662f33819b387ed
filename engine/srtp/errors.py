"""What packets and keys are refused with. No key is in any text."""

from __future__ import annotations

from enum import IntEnum

from engine._native._srtp import lib
from engine.errors import EngineError


class Status(IntEnum):
    """How a packet came through; the kernel's numbers (`c/srtp.h`)."""

    OK = lib.SRTP_OK
    MALFORMED = lib.SRTP_MALFORMED
    TOO_SMALL = lib.SRTP_TOO_SMALL  # no room behind the packet for what is added
    BAD_TAG = lib.SRTP_BAD_TAG
    REPLAYED = lib.SRTP_REPLAYED
    TOO_OLD = lib.SRTP_TOO_OLD  # older than the replay window
    KEY_EXPIRED = lib.SRTP_KEY_EXPIRED
    UNKNOWN_MKI = lib.SRTP_UNKNOWN_MKI
    NO_ROOM = lib.SRTP_NO_ROOM  # more SSRCs sent from than one key is kept for
    CRYPTO = lib.SRTP_CRYPTO


class SrtpError(EngineError):
    """A packet that was refused, by `status`; nothing of it was changed that could be sent or heard."""

    code = "srtp.refused"

    def __init__(self, status: Status) -> None:
        super().__init__(f"SRTP: {status.name.lower().replace('_', ' ')}")
        self.status = status


class SrtpKeyError(EngineError):
    """A key that cannot be used: an unknown suite, a wrong length, an MKI that does not fit."""

    code = "srtp.key"


__all__ = ["SrtpError", "SrtpKeyError", "Status"]

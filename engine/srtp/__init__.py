"""SRTP and SRTCP (RFC 3711, 6188, 7714): keys, contexts, and the door to the native kernel."""

from engine.srtp.context import (
    SOURCES_MAX,
    TRAILER_MAX,
    WINDOW_DEFAULT,
    SrtpContext,
    SrtpCounts,
    functions_address,
)
from engine.srtp.errors import SrtpError, SrtpKeyError, Status
from engine.srtp.key import LIFETIME_MAX, MKI_BYTES_MAX, SUITES, SrtpKey
from engine.srtp.session import SrtpSession

__all__ = [
    "LIFETIME_MAX",
    "MKI_BYTES_MAX",
    "SOURCES_MAX",
    "SUITES",
    "TRAILER_MAX",
    "WINDOW_DEFAULT",
    "SrtpContext",
    "SrtpCounts",
    "SrtpError",
    "SrtpKey",
    "SrtpKeyError",
    "SrtpSession",
    "Status",
    "functions_address",
]

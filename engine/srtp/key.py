"""Master keys, as a=crypto lines or DTLS give them."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from engine._native._srtp import lib
from engine.srtp.errors import SrtpKeyError


class Suite(NamedTuple):
    """The kernel's number, and the bytes of master key and of master salt."""

    number: int
    key_bytes: int
    salt_bytes: int


# RFC 3711 8.2, RFC 6188 4, RFC 7714 12; the names of a=crypto lines.
SUITES: Final[dict[str, Suite]] = {
    "AES_CM_128_HMAC_SHA1_80": Suite(lib.SRTP_AES_CM_128_HMAC_SHA1_80, 16, 14),
    "AES_CM_128_HMAC_SHA1_32": Suite(lib.SRTP_AES_CM_128_HMAC_SHA1_32, 16, 14),
    "AES_192_CM_HMAC_SHA1_80": Suite(lib.SRTP_AES_192_CM_HMAC_SHA1_80, 24, 14),
    "AES_192_CM_HMAC_SHA1_32": Suite(lib.SRTP_AES_192_CM_HMAC_SHA1_32, 24, 14),
    "AES_256_CM_HMAC_SHA1_80": Suite(lib.SRTP_AES_256_CM_HMAC_SHA1_80, 32, 14),
    "AES_256_CM_HMAC_SHA1_32": Suite(lib.SRTP_AES_256_CM_HMAC_SHA1_32, 32, 14),
    "AEAD_AES_128_GCM": Suite(lib.SRTP_AEAD_AES_128_GCM, 16, 12),
    "AEAD_AES_256_GCM": Suite(lib.SRTP_AEAD_AES_256_GCM, 32, 12),
}
LIFETIME_MAX: Final = 2**48  # packets; RFC 3711 9.2
MKI_BYTES_MAX: Final = lib.SRTP_MKI_MAX


class SrtpKey(msgspec.Struct, frozen=True, kw_only=True):
    """The master key of one direction.

    `suite` is a name of `SUITES`, `key` master key and master salt in one. `lifetime` is in packets, 0 for the most the suite allows. Packets
    carry `mki` in `mki_bytes` bytes, or none where that is 0. Raises SrtpKeyError for what cannot be.
    """

    suite: str
    key: bytes
    lifetime: int = 0
    mki: int = 0
    mki_bytes: int = 0

    def __post_init__(self) -> None:
        if self.suite not in SUITES:
            raise SrtpKeyError(f"unknown SRTP suite {self.suite!r}")
        wanted = SUITES[self.suite].key_bytes + SUITES[self.suite].salt_bytes
        if len(self.key) != wanted:
            raise SrtpKeyError(f"{self.suite} takes {wanted} bytes of key and salt, not {len(self.key)}")
        if not 0 <= self.mki_bytes <= MKI_BYTES_MAX or not 0 <= self.mki < 1 << 8 * self.mki_bytes:
            raise SrtpKeyError(f"an MKI of {self.mki_bytes} bytes cannot hold its value")
        if not 0 <= self.lifetime <= LIFETIME_MAX:
            raise SrtpKeyError(f"a key lasts at most {LIFETIME_MAX} packets")

    def __repr__(self) -> str:
        return f"<SrtpKey {self.suite}>"


__all__ = ["LIFETIME_MAX", "MKI_BYTES_MAX", "SUITES", "SrtpKey"]

"""Keys that a DTLS handshake gives to SRTP (RFC 5764, RFC 7714 14.2). The handshake itself is elsewhere.

Whoever does the handshake exports `exported_bytes(profile)` bytes under EXPORTER_LABEL without a context, and takes the two keys from `split`.
"""

from __future__ import annotations

from typing import Final

from engine.srtp.errors import SrtpKeyError
from engine.srtp.key import SUITES, SrtpKey

EXPORTER_LABEL: Final = "EXTRACTOR-dtls_srtp"
# Values of the use_srtp extension (RFC 5764 4.1.2, RFC 7714 14.2). Those with no encryption are not offered.
PROFILES: Final[dict[int, str]] = {
    0x0001: "AES_CM_128_HMAC_SHA1_80",
    0x0002: "AES_CM_128_HMAC_SHA1_32",
    0x0007: "AEAD_AES_128_GCM",
    0x0008: "AEAD_AES_256_GCM",
}


def exported_bytes(profile: int) -> int:
    """Bytes of keying material for a profile. Raises SrtpKeyError for one that is none of PROFILES."""
    if profile not in PROFILES:
        raise SrtpKeyError(f"unknown SRTP protection profile {profile:#06x}")
    suite = SUITES[PROFILES[profile]]
    return 2 * (suite.key_bytes + suite.salt_bytes)


def split(profile: int, exported: bytes, *, is_client: bool) -> tuple[SrtpKey, SrtpKey]:
    """The key we send with and the one we receive with (RFC 5764 4.2): the material is the client's key, the server's key, the client's salt,
    the server's salt. Raises SrtpKeyError for an unknown profile or other than `exported_bytes` of material."""
    if len(exported) != exported_bytes(profile):
        raise SrtpKeyError(f"profile {profile:#06x} takes {exported_bytes(profile)} bytes of keying material, not {len(exported)}")
    name = PROFILES[profile]
    key, salt = SUITES[name].key_bytes, SUITES[name].salt_bytes
    keys, salts = exported[: 2 * key], exported[2 * key :]
    client = SrtpKey(suite=name, key=keys[:key] + salts[:salt])
    server = SrtpKey(suite=name, key=keys[key:] + salts[salt:])
    return (client, server) if is_client else (server, client)


__all__ = ["EXPORTER_LABEL", "PROFILES", "exported_bytes", "split"]

"""Keys in descriptions: a=crypto lines (RFC 4568, RFC 6188, RFC 7714).

A key is in no repr and in no error text.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

Random = Callable[[int], bytes]  # as many random bytes as asked for
SALT_BYTES_CM: Final = 14
SALT_BYTES_GCM: Final = 12
LIFETIME_MAX: Final = 2**48  # packets; 6.1
MKI_BYTES_MAX: Final = 128
# Bytes of master key and master salt of a suite.
SUITES: Final[dict[str, int]] = {
    "AES_CM_128_HMAC_SHA1_80": 16 + SALT_BYTES_CM,
    "AES_CM_128_HMAC_SHA1_32": 16 + SALT_BYTES_CM,
    "AES_192_CM_HMAC_SHA1_80": 24 + SALT_BYTES_CM,
    "AES_192_CM_HMAC_SHA1_32": 24 + SALT_BYTES_CM,
    "AES_256_CM_HMAC_SHA1_80": 32 + SALT_BYTES_CM,
    "AES_256_CM_HMAC_SHA1_32": 32 + SALT_BYTES_CM,
    "AEAD_AES_128_GCM": 16 + SALT_BYTES_GCM,
    "AEAD_AES_256_GCM": 32 + SALT_BYTES_GCM,
}
_OLD_NAMES: Final = {  # of the drafts before RFC 6188, still written by many
    "AES_CM_256_HMAC_SHA1_80": "AES_256_CM_HMAC_SHA1_80",
    "AES_CM_256_HMAC_SHA1_32": "AES_256_CM_HMAC_SHA1_32",
}
_TAG: Final = re.compile(r"[0-9]{1,9}\Z")
_LIFETIME: Final = re.compile(r"(?:2\^([0-9]{1,2})|([0-9]{1,15}))\Z")
_MKI: Final = re.compile(r"([0-9]{1,40}):([0-9]{1,3})\Z")
_WINDOW_HINT: Final = re.compile(r"WSH=[0-9]{1,9}\Z", re.IGNORECASE)


class Crypto(msgspec.Struct, frozen=True, kw_only=True):
    """One line: how the packets of who wrote it are protected.

    `suite` is a name of `SUITES`, `written` the same as it stood there, `key` master key and salt in one. `lifetime` is in packets, 0 where
    none is told; `mki_bytes` is 0 where packets carry no MKI.
    """

    tag: int
    suite: str
    key: bytes
    written: str = ""
    lifetime: int = 0
    mki: int = 0
    mki_bytes: int = 0

    def __repr__(self) -> str:
        return f"<Crypto {self.tag} {self.suite}>"

    def value(self) -> str:
        """What stands behind `a=crypto:`."""
        more = f"|{self.mki}:{self.mki_bytes}" if self.mki_bytes else ""
        return f"{self.tag} {self.written or self.suite} inline:{b64encode(self.key).decode()}{more}"


def _key_of(text: str, length: int) -> bytes | None:
    """Key and salt of an inline parameter; padding may be left out."""
    text = text.rstrip("=")
    try:
        key = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == length else None


def _lifetime_of(text: str) -> int | None:
    found = _LIFETIME.match(text)
    if found is None:
        return None
    packets = 1 << int(found[1]) if found[1] else int(found[2])
    return packets if 0 < packets <= LIFETIME_MAX else None


def read(value: str) -> Crypto | None:
    """The line whose value this is; None where it cannot be used: malformed, an unknown suite, a key of the wrong length, several keys, or
    a session parameter that changes what it protects (6.3)."""
    words = value.split()
    if len(words) < 3 or not _TAG.match(words[0]):
        return None
    suite = words[1].upper()
    suite = _OLD_NAMES.get(suite, suite)
    method, _, parameters = words[2].partition(":")
    if suite not in SUITES or method.lower() != "inline":
        return None
    text, *parts = parameters.split("|")
    key = _key_of(text, SUITES[suite])
    # A window hint is advice; one with a hyphen may be passed over by who does not know it. Any other would have to be obeyed.
    if key is None or not all(word.startswith("-") or _WINDOW_HINT.match(word) for word in words[3:]):
        return None
    lifetime = mki = mki_bytes = 0
    for at, part in enumerate(parts):
        if (found := _MKI.match(part)) and at == len(parts) - 1:
            mki, mki_bytes = int(found[1]), int(found[2])
            if not 1 <= mki_bytes <= MKI_BYTES_MAX or mki >= 1 << 8 * mki_bytes:
                return None
        elif at == 0 and (packets := _lifetime_of(part)) is not None:
            lifetime = packets
        else:
            return None
    return Crypto(tag=int(words[0]), suite=suite, written=words[1], key=key, lifetime=lifetime, mki=mki, mki_bytes=mki_bytes)


def choose(values: Iterable[str], suites: Collection[str], *, with_mki: bool = True) -> Crypto | None:
    """The first line that can be used and whose suite is among ours (5.1.2)."""
    for value in values:
        found = read(value)
        if found is not None and found.suite in suites and (with_mki or not found.mki_bytes):
            return found
    return None


def fresh(tag: int, suite: str, random: Random, *, written: str = "") -> Crypto:
    """A line of ours with a new key. Raises KeyError for a suite that is none of `SUITES`."""
    return Crypto(tag=tag, suite=suite, written=written or suite, key=random(SUITES[suite]))


__all__ = ["SUITES", "Crypto", "Random", "choose", "fresh", "read"]

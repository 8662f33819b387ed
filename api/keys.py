"""API keys: what they look like, how they are made, and what of them is kept.

A key is `sips_` and 40 hexadecimal digits (160 bits). Only its SHA-256 digest and its first eight digits are kept. A plain hash
is enough: there is nothing to guess in 160 random bits, and a slow one would be paid on every request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Callable, Iterable

from api.scopes import known
from engine.store import KeyRow

PREFIX = "sips_"
SECRET_DIGITS = 40
SHOWN_DIGITS = 8
NAME_MAX_CHARS = 100

# The documented sample has 36 digits; keys of that length, brought along from elsewhere, are taken too.
_WELL_FORMED = re.compile(rb"sips_(?:[0-9a-f]{36}|[0-9a-f]{40})")


def is_well_formed(key: bytes) -> bool:
    """Whether this could be a key at all. What could not is never looked up."""
    return _WELL_FORMED.fullmatch(key) is not None


def digest_of(key: bytes) -> bytes:
    """What is kept of a key: SHA-256, 32 bytes."""
    return hashlib.sha256(key).digest()


def same_digest(one: bytes, other: bytes) -> bool:
    """Whether two digests are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)


def prefix_of(key: str) -> str:
    """The part of a key that may be shown."""
    return key[: len(PREFIX) + SHOWN_DIGITS]


def _checked(what: str, text: str) -> str:
    if not text.strip() or len(text) > NAME_MAX_CHARS or not text.isprintable():
        raise ValueError(f"the {what} must be 1 to {NAME_MAX_CHARS} printable characters")
    return text


def row_of(
    key: str,
    *,
    name: str,
    owner: str,
    plan: str,
    scopes: Iterable[str],
    now: float,
    team: str | None = None,
    expires_at: float | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> KeyRow:
    """What is kept of a key that somebody chose, such as TRUNKLINE_ADMIN_KEY. Times in seconds since 1970, UTC.

    Raises ValueError for a malformed key, a name, owner or team that is empty, too long or not printable, a name that is no
    scope, no scope at all, and an expiry that is not ahead.
    """
    if not key.isascii() or not is_well_formed(key.encode()):
        raise ValueError(f"a key is {PREFIX} and {SECRET_DIGITS} lowercase hexadecimal digits")
    granted = tuple(sorted(known(scopes)))
    if not granted:
        raise ValueError("a key needs at least one scope")
    if expires_at is not None and not now < expires_at < float("inf"):
        raise ValueError("a key must expire in the future")
    return KeyRow(
        id=str(uuid.UUID(bytes=random(16), version=4)),
        name=_checked("name", name),
        prefix=prefix_of(key),
        digest=digest_of(key.encode()),
        owner=_checked("owner", owner),
        team=None if team is None else _checked("team", team),
        plan=plan,
        scopes=granted,
        created_at=now,
        expires_at=expires_at,
        revoked_at=None,
        last_used_at=None,
    )


def new_key(
    *,
    name: str,
    owner: str,
    plan: str,
    scopes: Iterable[str],
    now: float,
    team: str | None = None,
    expires_at: float | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[str, KeyRow]:
    """A new key: its text, to be shown once, and what is kept of it. Raises ValueError as `row_of` does."""
    key = PREFIX + random(SECRET_DIGITS // 2).hex()
    row = row_of(
        key, name=name, owner=owner, plan=plan, scopes=scopes, now=now, team=team, expires_at=expires_at, random=random
    )
    return key, row


__all__ = [
    "NAME_MAX_CHARS", "PREFIX", "SECRET_DIGITS", "digest_of", "is_well_formed", "new_key", "prefix_of", "row_of", "same_digest",
]  # fmt: skip

"""Keys: their form, what is kept of them, and what is refused."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.keys import NAME_MAX_CHARS, digest_of, is_well_formed, new_key, prefix_of, row_of, same_digest

NOW = 1_700_000_000.0
WANTED: dict[str, Any] = {"name": "CI", "owner": "ada", "plan": "pro", "scopes": ["traces.analyze"], "now": NOW}
CHOSEN = "sips_" + "0123456789" * 4


def counting() -> Callable[[int], bytes]:
    """Random bytes that are all different and known."""
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def test_a_key_is_the_prefix_and_forty_digits() -> None:
    key, row = new_key(**WANTED, random=counting())
    assert key == "sips_" + f"{1:040x}"
    assert is_well_formed(key.encode())
    assert row.id == str(uuid.UUID(row.id)) and uuid.UUID(row.id).version == 4


def test_only_the_digest_and_the_prefix_are_kept() -> None:
    key, row = new_key(**WANTED)
    assert row.digest == hashlib.sha256(key.encode()).digest()
    assert row.prefix == key[:13] == prefix_of(key)
    assert key[13:] not in repr(row)


def test_a_row_says_what_was_asked_for() -> None:
    _, row = new_key(**(WANTED | {"scopes": ["keys.read", "calls.read"]}), team="blue", expires_at=NOW + 60)
    assert (row.name, row.owner, row.team, row.plan) == ("CI", "ada", "blue", "pro")
    assert row.scopes == ("calls.read", "keys.read")
    assert (row.created_at, row.expires_at, row.revoked_at, row.last_used_at) == (NOW, NOW + 60, None, None)


def test_keys_and_ids_differ() -> None:
    made = [new_key(**WANTED) for _ in range(200)]
    assert len({key for key, _ in made}) == len({row.id for _, row in made}) == 200


def test_a_chosen_key_is_taken() -> None:
    assert row_of(CHOSEN, **WANTED).digest == digest_of(CHOSEN.encode())


def test_the_documented_sample_is_well_formed() -> None:
    assert is_well_formed(b"sips_a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6")


@pytest.mark.parametrize(
    "key",
    [
        "", "sips_", "sips_" + "0" * 35, "sips_" + "0" * 38, "sips_" + "0" * 41, "sips_" + "A" * 40, "sips_" + "g" * 40,
        "SIPS_" + "0" * 40, "sips-" + "0" * 40, " " + CHOSEN, CHOSEN + "\n", "sips_" + "٣" * 40, "sips_your_api_key_here",
    ],
)  # fmt: skip
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    assert not is_well_formed(key.encode())
    with pytest.raises(ValueError, match="hexadecimal"):
        row_of(key, **WANTED)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "name"), ({"name": "  "}, "name"), ({"name": "a\nb"}, "name"), ({"name": "x" * (NAME_MAX_CHARS + 1)}, "name"),
        ({"owner": ""}, "owner"), ({"owner": "a\0"}, "owner"), ({"team": ""}, "team"), ({"scopes": []}, "at least one scope"),
        ({"scopes": ["traces.analyse"]}, "traces.analyse"), ({"expires_at": NOW}, "future"), ({"expires_at": NOW - 1}, "future"),
        ({"expires_at": float("nan")}, "future"), ({"expires_at": float("inf")}, "future"),
    ],
)  # fmt: skip
def test_what_a_key_may_not_be(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        new_key(**(WANTED | change))


@given(st.binary(max_size=64))
def test_any_bytes_are_judged(key: bytes) -> None:
    digits = key.removeprefix(b"sips_")
    fits = key.startswith(b"sips_") and len(digits) in (36, 40) and set(digits) <= set(b"0123456789abcdef")
    assert is_well_formed(key) == fits


def test_digests_are_compared_whole() -> None:
    digest = digest_of(b"a")
    assert same_digest(digest, bytes(digest))
    assert not same_digest(digest, digest[:-1] + bytes([digest[-1] ^ 1]))
    assert not same_digest(digest, digest[:16])

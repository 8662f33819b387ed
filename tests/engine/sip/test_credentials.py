"""engine.sip.credentials: what proves who one is is not kept."""

from __future__ import annotations

import pytest

from engine.sip.credentials import proves, redacted

SECRETS = (
    "Authorization", "proxy-authorization", "Authentication-Info", "Proxy-Authentication-Info", "COOKIE", "Set-Cookie", "X-Auth-Token", "X-Api-Key", "X-Password",
    "X-Client-Secret",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_what_proves_who_one_is_keeps_its_length_alone(name: str) -> None:
    assert proves(name)
    assert redacted(name, "Digest x") == "[REDACTED-8]"
    assert redacted(name, redacted(name, "Digest x")) == "[REDACTED-8]"


@pytest.mark.parametrize("name", ["From", "P-Asserted-Identity", "X-Agent", "Session-ID", "Identity", "v"])
def test_other_headers_stay(name: str) -> None:
    assert not proves(name)
    assert redacted(name, "<sip:a@b>") == "<sip:a@b>"


def test_nobody_hides_a_secret_behind_our_own_words() -> None:
    """A client that writes what we would have written shows nothing of what follows it."""
    assert redacted("Authorization", "[REDACTED-3] secret") == "[REDACTED-19]"
    assert redacted("Authorization", "[REDACTED-3]\n") == "[REDACTED-13]"

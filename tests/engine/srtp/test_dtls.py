"""Keys out of a DTLS handshake's exported material (RFC 5764 4.2, RFC 7714 14.2)."""

from __future__ import annotations

import pytest

from engine.srtp import SrtpKeyError, SrtpSession
from engine.srtp.dtls import EXPORTER_LABEL, PROFILES, exported_bytes, split
from tests.engine.srtp.packets import protect, rtp, unprotect

PARTS = {1: (16, 14), 2: (16, 14), 7: (16, 12), 8: (32, 12)}


@pytest.mark.parametrize("profile", PROFILES)
def test_material_is_client_key_server_key_client_salt_server_salt(profile: int) -> None:
    key, salt = PARTS[profile]
    material = b"C" * key + b"S" * key + b"c" * salt + b"s" * salt
    assert exported_bytes(profile) == len(material)
    sends, receives = split(profile, material, is_client=True)
    assert sends.key == b"C" * key + b"c" * salt and receives.key == b"S" * key + b"s" * salt
    assert (receives, sends) == split(profile, material, is_client=False)
    assert sends.suite == receives.suite == PROFILES[profile]


@pytest.mark.parametrize("profile", PROFILES)
def test_client_and_server_understand_one_another(profile: int) -> None:
    material = bytes(range(exported_bytes(profile)))
    client_keys, server_keys = split(profile, material, is_client=True), split(profile, material, is_client=False)
    client = SrtpSession(send=client_keys[0], receive=client_keys[1])
    server = SrtpSession(send=server_keys[0], receive=server_keys[1])
    assert unprotect(server.receiver, protect(client.sender, rtp(1))) == rtp(1)
    assert unprotect(client.receiver, protect(server.sender, rtp(1))) == rtp(1)
    assert protect(client.sender, rtp(2)) != protect(server.sender, rtp(2))


def test_other_lengths_and_profiles_are_refused() -> None:
    assert EXPORTER_LABEL == "EXTRACTOR-dtls_srtp"
    for profile in (0, 3, 5, 6, 9):  # 5 and 6 have no encryption
        with pytest.raises(SrtpKeyError):
            split(profile, bytes(60), is_client=True)
    for length in (0, 59, 61):
        with pytest.raises(SrtpKeyError, match="60 bytes"):
            split(1, bytes(length), is_client=True)

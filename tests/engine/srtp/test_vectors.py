"""Published vectors: RFC 3711 appendix B, RFC 6188 7, RFC 7714 16 and 17; and the reference packets that SRTP programs are checked with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.srtp import SUITES, SrtpContext, SrtpKey
from tests.engine.srtp.packets import protect, protect_control, rtp, unprotect, unprotect_control
from tests.oracle import srtp_twin as twin

Inside = Callable[..., str]
PROTECT, UNPROTECT, PROTECT_CONTROL, UNPROTECT_CONTROL = range(4)

# ---- keystream: session keys and the salt are given ----

CM_SALT = "f0f1f2f3f4f5f6f7f8f9fafbfcfd"
FAR = 65279  # of the last three blocks
KEYSTREAMS = {
    "AES_CM_128_HMAC_SHA1_80": (  # RFC 3711 B.2
        "2b7e151628aed2a6abf7158809cf4f3c",
        "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0",
        "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44",
    ),
    "AES_192_CM_HMAC_SHA1_80": (  # RFC 6188 7.3
        "eab234764e517b2d3d160d587d8c86219740f65f99b6bcf7",
        "35096cba4610028dc1b57503804ce37c5de986291dcce161d5165ec4568f5c9a474a40c77894bc17180202272a4c264d",
        "d108d1a31a00bad6367ec23eb044b415c8f57129fdeb970b59f917b257662d4ca5dab625811034e8cebdfeb6dc158dd3",
    ),
    "AES_256_CM_HMAC_SHA1_80": (  # RFC 6188 7.1
        "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
        "92bdd28a93c3f52511c677d08b5515a49da71b2378a854f67050756ded165bac63c4868b7096d88421b563b8c94c9a31",
        "cea518c90fd91ced9cbb18c078a547113dbc4814f4da5f00a08772b63c6a046d6eb246913062a16891433e97dd01a57f",
    ),
}


@pytest.mark.parametrize("suite", KEYSTREAMS)
def test_a_payload_of_zeros_shows_the_keystream(inside: Inside, suite: str) -> None:
    key, near, far = KEYSTREAMS[suite]
    packet = rtp(0, bytes(48), ssrc=0)
    sealed = inside("session", SUITES[suite].number, key, CM_SALT, PROTECT, 0, packet.hex())
    assert sealed[:24] == packet.hex()[:24]
    assert sealed[24:-20] == near
    counter = int(CM_SALT, 16) << 16
    assert twin.keystream(bytes.fromhex(key), counter, 48).hex() == near
    assert twin.keystream(bytes.fromhex(key), counter + FAR, 48).hex() == far


def test_the_last_bytes_of_the_longest_packet_are_those_of_the_twin(inside: Inside) -> None:
    """Longer than the keystream kept for a batch, so made in pieces."""
    key, _, _ = KEYSTREAMS["AES_CM_128_HMAC_SHA1_80"]
    packet = rtp(0, bytes(65535 - 12), ssrc=0)
    sealed = inside("session", 0, key, CM_SALT, PROTECT, 0, packet.hex()[:130000])
    counter = int(CM_SALT, 16) << 16
    assert bytes.fromhex(sealed[24:-20])[-500:] == twin.keystream(bytes.fromhex(key), counter, 65000 - 12)[-500:]


# ---- derivation ----

DERIVED = [
    (  # RFC 3711 B.3
        "e1f97a0d3e018be0d64fa32c06de4139", "0ec675ad498afeebb6960b3aabe6",
        "c61e7a93744f39ee10734afe3ff7a087", "30cbbc08863d8c85d49db34a9ae1", "cebe321f6ff7716b6fd4ab49af256a156d38baa4",
    ),
    (  # RFC 6188 7.4
        "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1", "c8522f3acd4ce86d5add78edbb11",
        "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb", "2372b82d639b6d8503a47adc0a6c", "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb",
    ),
    (  # RFC 6188 7.2
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6", "3b04803de51ee7c96423ab5b78d2",
        "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4", "fa31791685ca444a9e07c6c64e93",
        "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("master", "salt", "cipher", "session_salt", "authentication"), DERIVED, ids=["128", "192", "256"])
def test_session_keys_come_from_the_master_key(master: str, salt: str, cipher: str, session_salt: str, authentication: str) -> None:
    """A packet protected under the master key is the one made, step by step, of the session keys that the RFC prints."""
    key_bytes = len(cipher) // 2
    for label, wanted in ((0, cipher), (1, authentication), (2, session_salt)):
        assert twin.derive(bytes.fromhex(master), bytes.fromhex(salt), label, len(wanted) // 2).hex() == wanted
    suite = {16: "AES_CM_128_HMAC_SHA1_80", 24: "AES_192_CM_HMAC_SHA1_80", 32: "AES_256_CM_HMAC_SHA1_80"}[key_bytes]
    packet = rtp(0x1234, bytes(range(77)), ssrc=0xCAFEBABE)
    counter = int(session_salt, 16) << 16 ^ 0xCAFEBABE << 64 ^ 0x1234 << 16
    text = bytes(one ^ other for one, other in zip(packet[12:], twin.keystream(bytes.fromhex(cipher), counter, 77), strict=True))
    body = packet[:12] + text
    tag = twin.hmac.digest(bytes.fromhex(authentication), body + bytes(4), "sha1")[:10]
    assert protect(SrtpContext(SrtpKey(suite=suite, key=bytes.fromhex(master + salt))), packet) == body + tag


# ---- RFC 7714 ----

GCM_KEYS = {"AEAD_AES_128_GCM": bytes(range(16)).hex(), "AEAD_AES_256_GCM": bytes(range(32)).hex()}
GCM_SALT = b"Quid pro quo".hex()
RTP = "8040f17b8041f8d35501a0b2" + b"Gallia est omnis divisa in partes tres".hex()
RTCP = "81c8000d4d617273" + "4e5450314e545032525450200000042a0000e9304c756e61" + "deadbeef" * 5
SRTP = {  # 16.1.1, 16.2.1
    "AEAD_AES_128_GCM": "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
    "899d7f27beb16a9152cf765ee4390cce",
    "AEAD_AES_256_GCM": "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b"
    "7aa3db36dfffd6b0f9bb7878d7a76c13",
}
SRTCP = {  # 17.1, 17.2
    "AEAD_AES_128_GCM": "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b"
    "c84aa45896cf4d2fc5abf87245d9eade800005d4",
    "AEAD_AES_256_GCM": "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad"
    "1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
}
SRTCP_IN_CLEAR = RTCP + "841dd9683dd78ec92ae58790125f62b3" + "000005d4"  # 17.3
CONTROL_INDEX = 0x5D4


@pytest.mark.parametrize("suite", GCM_KEYS)
def test_gcm_packets(inside: Inside, suite: str) -> None:
    number, key = SUITES[suite].number, GCM_KEYS[suite]
    assert inside("session", number, key, GCM_SALT, PROTECT, 0, RTP) == SRTP[suite]
    assert inside("session", number, key, GCM_SALT, UNPROTECT, 0, SRTP[suite]) == RTP
    assert inside("session", number, key, GCM_SALT, PROTECT_CONTROL, CONTROL_INDEX, RTCP) == SRTCP[suite]
    assert inside("session", number, key, GCM_SALT, UNPROTECT_CONTROL, 0, SRTCP[suite]) == RTCP


def test_srtcp_that_is_only_signed_is_read(inside: Inside) -> None:
    """17.3: the E flag is 0, and all of the packet is associated data."""
    number, key = SUITES["AEAD_AES_128_GCM"].number, GCM_KEYS["AEAD_AES_128_GCM"]
    assert inside("session", number, key, GCM_SALT, UNPROTECT_CONTROL, 0, SRTCP_IN_CLEAR) == RTCP
    assert inside("session", number, key, GCM_SALT, UNPROTECT_CONTROL, 0, SRTCP_IN_CLEAR[:-8] + "800005d4") == "-10"


# ---- reference packets ----

REFERENCE = SrtpKey(suite="AES_CM_128_HMAC_SHA1_80", key=bytes.fromhex(DERIVED[0][0] + DERIVED[0][1]))
REFERENCE_RTP = bytes.fromhex("800f1234decafbadcafebabe" + "ab" * 16)
REFERENCE_SRTP = bytes.fromhex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb")
REFERENCE_RTCP = bytes.fromhex("81c8000bcafebabe" + "ab" * 16)
REFERENCE_SRTCP = bytes.fromhex("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798")


def test_reference_packets_in_counter_mode() -> None:
    """RTP of index 0x1234, RTCP of index 1: the second one sent."""
    sender, receiver = SrtpContext(REFERENCE), SrtpContext(REFERENCE)
    assert protect(sender, REFERENCE_RTP) == REFERENCE_SRTP
    assert unprotect(receiver, REFERENCE_SRTP) == REFERENCE_RTP
    assert unprotect_control(receiver, REFERENCE_SRTCP) == REFERENCE_RTCP
    protect_control(sender, REFERENCE_RTCP)
    assert protect_control(sender, REFERENCE_RTCP) == REFERENCE_SRTCP


def test_an_mki_stands_behind_the_gcm_tag_and_the_extension_in_clear() -> None:
    """RFC 7714 8.2, 3711 3.1: as other implementations write it."""
    key = SrtpKey(suite="AEAD_AES_128_GCM", key=REFERENCE.key[:28], mki=0xE1F97A0D, mki_bytes=4)
    head = "900f1234decafbadcafebabebede000617414273a475262748220000c8308e4655996386b395fb00"
    sealed = protect(SrtpContext(key), bytes.fromhex(head + "ab" * 16))
    assert sealed.hex() == head + "0eca0cf95ee955b26cd3d288b49f6ca9" + "e0eb4eab09af2baef6804f141b9b02b0" + "e1f97a0d"
    assert unprotect(SrtpContext(key), sealed).hex() == head + "ab" * 16

"""Offers as products write them, and what comes of each."""

from __future__ import annotations

import pytest

from engine.sdp.codecs import G722, G729, OPUS, PCMA, PCMU
from engine.sdp.errors import NegotiationError
from engine.sdp.negotiated import NegotiatedMedia

from . import vendors
from .descriptions import lines, negotiation, read

FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
EVERYTHING = {
    "codecs": (OPUS, G722, PCMU, PCMA, G729), "comfort_noise": True, "srtp": "optional", "ice": "lite", "fingerprint": FINGERPRINT, "bundle": True,
    "streams_max": 2,
}  # fmt: skip


def answered(body: bytes, **more: object) -> tuple[bytes, tuple[NegotiatedMedia, ...]]:
    ours = negotiation(**{**EVERYTHING, **more})  # type: ignore[arg-type]
    answer = ours.remote_offer(body)
    read(answer)
    return answer, ours.media


@pytest.mark.parametrize(
    ("name", "m_lines"),
    [
        ("Asterisk", ["m=audio 20000 RTP/AVP 107 101"]),
        ("FreeSWITCH", ["m=audio 20000 RTP/AVP 102 103"]),
        ("FreeSWITCH SRTP", ["m=audio 20000 RTP/SAVP 8 101", "m=audio 20002 RTP/AVP 8 101"]),
        ("CUBE", ["m=audio 20000 RTP/AVP 18 101"]),
        ("CUBE SIPREC", ["m=audio 20000 RTP/AVP 0 19 101", "m=audio 20002 RTP/AVP 0 19 101"]),
        ("AudioCodes SIPREC", ["m=audio 20000 RTP/SAVP 8 96", "m=audio 20002 RTP/SAVP 8 96"]),
        ("Chrome", ["m=audio 20000 UDP/TLS/RTP/SAVPF 111 110", "m=video 0 UDP/TLS/RTP/SAVPF 96", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]),
        ("Linphone", ["m=audio 20000 RTP/AVPF 96 101", "m=video 0 RTP/AVPF 96"]),
        ("baresip", ["m=audio 20000 RTP/AVP 96 101"]),
        ("Metaswitch SIPREC", ["m=audio 20000 RTP/AVP 18"]),
    ],
)
def test_what_is_answered(name: str, m_lines: list[str]) -> None:
    answer, media = answered(vendors.ALL[name])
    assert lines(answer, "m=") == m_lines
    assert [one.accepted for one in media] == [line.split()[1] != "0" for line in m_lines]


def test_a_browser_gets_one_bundled_encrypted_stream() -> None:
    answer, media = answered(vendors.CHROME)
    assert lines(answer, "a=group") == ["a=group:BUNDLE 0"]
    for line in ("a=ice-lite", "a=rtcp-mux", "a=setup:active", f"a=fingerprint:{FINGERPRINT}", "a=mid:2", "a=ptime:20"):
        assert lines(answer, line), line
    assert len(lines(answer, "a=candidate")) == 1
    audio = media[0]
    assert audio.remote_ice is not None
    assert [one.host for one in audio.remote_ice.candidates] == ["198.51.100.24", "198.51.100.24", "7d1c-4f5e.local"]
    assert (audio.dtls is not None, audio.rtcp_mux, audio.send[0].fmtp) == (True, True, "minptime=10;useinbandfec=1")
    with pytest.raises(NegotiationError, match="DTLS-SRTP is not taken"):
        answered(vendors.CHROME, fingerprint="")


def test_recorded_streams_are_received_and_labelled() -> None:
    answer, media = answered(vendors.AUDIOCODES_SIPREC, direction="recvonly")
    assert [(one.label, one.direction, one.remote_rtcp_port) for one in media] == [("1", "recvonly", 6021), ("2", "recvonly", 6031)]
    keys = [one.receive_crypto.key for one in media if one.receive_crypto is not None]
    assert len(set(keys)) == 2
    assert len(set(lines(answer, "a=crypto"))) == 2
    assert [one.receive_crypto.lifetime for one in media if one.receive_crypto is not None] == [2**31] * 2
    answer, media = answered(vendors.METASWITCH_SIPREC, direction="recvonly")  # no direction attribute
    assert (lines(answer, "a=recvonly"), media[0].label) == (["a=recvonly"], "1")


def test_the_key_that_is_known_is_taken() -> None:
    answer, _ = answered(vendors.FREESWITCH_SRTP, streams_max=1)
    assert lines(answer, "a=crypto")[0].startswith("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:")
    answer, media = answered(vendors.FREESWITCH_SRTP, streams_max=1, srtp="off")
    assert lines(answer, "m=") == ["m=audio 0 RTP/SAVP 8", "m=audio 20000 RTP/AVP 8 101"]
    assert media[0].reason == "encrypted media is not taken"


def test_a_fax_that_is_refused_leaves_the_call_as_it_was() -> None:
    ours = negotiation()
    ours.remote_offer(vendors.ASTERISK)
    before = ours.media
    with pytest.raises(NegotiationError, match="image is not taken") as caught:
        ours.remote_offer(vendors.T38)
    assert (caught.value.status, caught.value.warning) == (488, 304)
    assert ours.media == before


@pytest.mark.parametrize("name", [name for name in vendors.ALL if name != "T.38"])
def test_the_same_offer_again_changes_nothing(name: str) -> None:
    """A session refresh: same keys, same passwords, same version."""
    ours = negotiation(**EVERYTHING)  # type: ignore[arg-type]
    first = ours.remote_offer(vendors.ALL[name])
    before = ours.media
    assert ours.remote_offer(vendors.ALL[name]) == first
    assert ours.media == before


@pytest.mark.parametrize("name", [name for name in vendors.ALL if name != "T.38"])
def test_our_own_offer_follows_theirs(name: str) -> None:
    """Lines, transports and labels as they were; numbers keep their meaning; the codec in use comes first."""
    ours = negotiation(**EVERYTHING)  # type: ignore[arg-type]
    answer = read(ours.remote_offer(vendors.ALL[name]))
    offered = read(ours.hold())
    assert [(line.kind, line.proto, line.port > 0, line.label, line.mid) for line in offered.media] == [
        (line.kind, line.proto, line.port > 0, line.label, line.mid) for line in answer.media
    ]
    for before, after in zip(answer.media, offered.media, strict=True):
        meant = {codec.payload_type: codec.name for codec in after.codecs}
        assert all(meant.get(codec.payload_type) == codec.name for codec in before.codecs if before.port)
        assert before.port == 0 or after.codecs[0].payload_type == before.codecs[0].payload_type

"""Both ways with libsrtp, through pylibsrtp: every suite it has, RTP and RTCP."""

from __future__ import annotations

from random import Random

import pylibsrtp  # type: ignore[import-untyped,unused-ignore]
import pytest

from engine.srtp import SrtpContext, Status
from tests.engine.srtp.packets import (
    batch,
    key,
    protect,
    protect_control,
    refusal,
    report,
    rtp,
    unprotect,
    unprotect_control,
)

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
SUITES = pytest.mark.parametrize("suite", PROFILES)


def libsrtp(suite: str, seed: int, *, sends: bool) -> pylibsrtp.Session:
    kind = pylibsrtp.Policy.SSRC_ANY_OUTBOUND if sends else pylibsrtp.Policy.SSRC_ANY_INBOUND
    policy = pylibsrtp.Policy(key=key(suite, seed).key, ssrc_type=kind, srtp_profile=PROFILES[suite])
    policy.window_size = 128
    return pylibsrtp.Session(policy)


@SUITES
def test_rtp_both_ways_over_the_wrap(suite: str) -> None:
    """70,000 packets from 65,000 on: the ROC goes to 1 and to 2, with sizes, CSRCs and extensions of every kind."""
    random = Random(suite)
    sender, receiver = SrtpContext(key(suite, 1)), SrtpContext(key(suite, 1))
    theirs, listening = libsrtp(suite, 1, sends=True), libsrtp(suite, 1, sends=False)
    sequence = 65000
    while sequence < 65000 + 70000:
        packets = [
            rtp(sequence + at, random.randbytes(random.randrange(40)), csrcs=random.randrange(3), extension=random.choice([None, b"", bytes(8)]))
            for at in range(random.randrange(1, 200))
        ]
        packets = packets if sequence < 66000 or sequence > 134000 else packets[:1]  # a stretch with losses, to get there sooner
        sealed = batch(sender, "protect", packets)
        for (status, packet), plain in zip(sealed, packets, strict=True):
            assert status == Status.OK
            assert packet == theirs.protect(plain)
            assert listening.unprotect(packet) == plain
        assert batch(receiver, "unprotect", [packet for _, packet in sealed]) == [(Status.OK, plain) for plain in packets]
        sequence += len(packets) if len(packets) > 1 else 97
    assert sender.roc(0xDECAFBAD) == receiver.roc(0xDECAFBAD) == 2


@SUITES
def test_rtcp_both_ways(suite: str) -> None:
    sender, receiver = SrtpContext(key(suite, 2)), SrtpContext(key(suite, 2))
    theirs, listening = libsrtp(suite, 2, sends=True), libsrtp(suite, 2, sends=False)
    for at in range(300):
        plain = report(words=at % 60, fill=at & 255)
        assert listening.unprotect_rtcp(protect_control(sender, plain)) == plain
        assert unprotect_control(receiver, theirs.protect_rtcp(plain)) == plain


@SUITES
def test_what_is_shuffled_repeated_or_broken_is_taken_by_both_or_by_neither(suite: str) -> None:
    random = Random(suite)
    sender, receiver = SrtpContext(key(suite, 3)), SrtpContext(key(suite, 3))
    listening = libsrtp(suite, 3, sends=False)
    sent = [protect(sender, rtp(65000 + at, random.randbytes(30))) for at in range(1500)]
    order = [0, *sorted(range(1, 1500), key=lambda at: at + random.random() * 180)]
    arriving = [sent[at] for at in order]
    for at in random.sample(range(1, 1500), 200):
        broken = bytearray(arriving[at])
        broken[random.randrange(4, len(broken))] ^= 1 << random.randrange(8)
        arriving[at] = bytes(broken)
    arriving += random.sample(sent, 100)
    for packet in arriving:
        try:
            theirs = listening.unprotect(packet)
        except pylibsrtp.Error:
            theirs = None
        if theirs is None:
            assert refusal(receiver, packet) != Status.OK
        else:
            assert unprotect(receiver, packet) == theirs


def test_a_tag_of_another_length_is_not_taken() -> None:
    """P13: 32 bits against 80, either way."""
    short, long = "AES_CM_128_HMAC_SHA1_32", "AES_CM_128_HMAC_SHA1_80"
    assert refusal(SrtpContext(key(long, 4)), libsrtp(short, 4, sends=True).protect(rtp(1))) == Status.BAD_TAG
    assert refusal(SrtpContext(key(short, 4)), libsrtp(long, 4, sends=True).protect(rtp(1))) == Status.BAD_TAG

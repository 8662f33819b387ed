"""Packets that want to do harm: row P13 of the hostile-input catalogue, and what a packet that is not authentic must never do."""

from __future__ import annotations

from random import Random

import pytest

from engine.srtp import SOURCES_MAX, SrtpContext, Status
from tests.engine.srtp.packets import (
    NAMES,
    SSRC,
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

SUITES = pytest.mark.parametrize("suite", NAMES)
ONE_OF_EACH = pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])


def pair(suite: str, **options: int) -> tuple[SrtpContext, SrtpContext]:
    return SrtpContext(key(suite, 9), **options), SrtpContext(key(suite, 9), **options)


@SUITES
def test_ten_thousand_wrong_tags_change_nothing(suite: str) -> None:
    """CVE-2021-41105: they are counted, and the call goes on."""
    random = Random(suite)
    sender, receiver = pair(suite)
    assert unprotect(receiver, protect(sender, rtp(100))) == rtp(100)
    good = protect(sender, rtp(101))
    wrong = []
    for at in range(10_000):
        broken = bytearray(good)
        broken[-1 - random.randrange(len(good) - 12)] ^= 1 << random.randrange(8)
        broken[2:4] = (101 + at % 3 * 20_000 & 0xFFFF).to_bytes(2, "big")
        wrong.append(bytes(broken))
    results = batch(receiver, "unprotect", wrong)
    assert {status for status, _ in results} <= {Status.BAD_TAG, Status.TOO_OLD}
    assert [packet for _, packet in results] == wrong
    counts = receiver.counts
    assert counts.bad_tag + counts.too_old == 10_000 and counts.unprotected_packets == 1
    assert receiver.roc(SSRC) == 0
    assert unprotect(receiver, good) == rtp(101)


@SUITES
def test_every_bit_of_a_packet_is_covered(suite: str) -> None:
    """Header, payload, tag, and in SRTCP the index: one bit turned and it is refused, as it was."""
    sender, receiver = pair(suite)
    good, control = protect(sender, rtp(7, bytes(20), csrcs=1, extension=bytes(4))), protect_control(sender, report(words=2))
    for packet, operation in ((good, "unprotect"), (control, "unprotect_control")):
        turned = [bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(packet)) for bit in range(8 * len(packet))]
        results = batch(receiver, operation, turned)
        assert all(status != Status.OK for status, _ in results)
        assert [left for _, left in results] == turned
    assert unprotect(receiver, good) and unprotect_control(receiver, control)


@SUITES
def test_a_replayed_window_of_a_thousand_is_refused(suite: str) -> None:
    """CVE-2021-26712: repeats are counted, whole and in any order; those out of the window too."""
    sender, receiver = pair(suite, window=1024)
    sent = [protect(sender, rtp(at)) for at in range(2000)]
    assert all(status == Status.OK for status, _ in batch(receiver, "unprotect", sent))
    again = sent[1000:]
    Random(suite).shuffle(again)
    assert {status for status, _ in batch(receiver, "unprotect", again)} == {Status.REPLAYED}
    assert {status for status, _ in batch(receiver, "unprotect", sent[:900])} == {Status.TOO_OLD}
    counts = receiver.counts
    assert (counts.replayed, counts.too_old, counts.bad_tag, counts.unprotected_packets) == (1000, 900, 0, 2000)
    assert unprotect(receiver, protect(sender, rtp(2000))) == rtp(2000)


@ONE_OF_EACH
@pytest.mark.parametrize("window", [64, 128, 192, 512, 1024])
def test_the_window_is_as_wide_as_told(suite: str, window: int) -> None:
    """The oldest that is still inside is taken, once; the next older is not."""
    sender, receiver = pair(suite, window=window)
    sent = [protect(sender, rtp(at)) for at in range(8000)]
    for newest in range(1100, 8000, window + 21):
        unprotect(receiver, sent[newest])
        oldest = newest - window + 1
        assert refusal(receiver, sent[oldest - 1]) == Status.TOO_OLD
        assert unprotect(receiver, sent[oldest]) == rtp(oldest)
        assert refusal(receiver, sent[oldest]) == Status.REPLAYED


@ONE_OF_EACH
def test_a_jump_of_the_roc_is_followed_only_when_it_is_authentic(suite: str) -> None:
    """A forged sequence number far ahead does not move the ROC; an authentic one does, up and not down."""
    sender, receiver = pair(suite)
    for at in (65_000, 65_530):
        unprotect(receiver, protect(sender, rtp(at)))
    forged = rtp(10) + bytes(16)
    assert refusal(receiver, forged) == Status.BAD_TAG
    assert receiver.roc(SSRC) == 0
    late = protect(sender, rtp(65_535))
    unprotect(receiver, protect(sender, rtp(65_536 + 5)))
    assert receiver.roc(SSRC) == 1
    assert unprotect(receiver, late) == rtp(65_535)
    assert receiver.roc(SSRC) == 1


@ONE_OF_EACH
def test_a_receiver_that_joins_late_needs_the_roc(suite: str) -> None:
    sender, receiver = pair(suite)
    for at in range(65_500, 66_000):
        packet = protect(sender, rtp(at))
    assert refusal(receiver, packet) == Status.BAD_TAG
    receiver.set_roc(SSRC, 1)
    assert unprotect(receiver, packet) == rtp(65_999)
    assert receiver.roc(SSRC) == 1 and receiver.roc(SSRC + 1) is None


@ONE_OF_EACH
def test_unauthentic_packets_never_take_a_place_or_push_one_out(suite: str) -> None:
    """Eight sources that speak, and forgeries of thousands of others: all eight keep ROC and window. One authentic new one takes the place of
    the one longest silent."""
    sender, receiver = pair(suite)
    packets = [protect(sender, rtp(5, ssrc=ssrc)) for ssrc in range(SOURCES_MAX)]
    assert all(status == Status.OK for status, _ in batch(receiver, "unprotect", packets))
    forged = [rtp(5, ssrc=1000 + at) + bytes(16) for at in range(5000)]
    assert {status for status, _ in batch(receiver, "unprotect", forged)} == {Status.BAD_TAG}
    assert {status for status, _ in batch(receiver, "unprotect", packets)} == {Status.REPLAYED}
    assert receiver.roc(1000) is None
    unprotect(receiver, protect(sender, rtp(6, ssrc=0)))  # 1 has now been silent longest
    unprotect(receiver, protect(SrtpContext(key(suite, 9)), rtp(5, ssrc=99)))
    assert [receiver.roc(ssrc) for ssrc in (0, 1, 2, 99)] == [0, None, 0, 0]


@SUITES
def test_an_mki_of_another_value_or_length_is_refused(suite: str) -> None:
    """P13. The length belongs to the key: a packet with more or less of it does not fit."""
    master = key(suite, 9, mki=0x0102, mki_bytes=2)
    sender, receiver = SrtpContext(master), SrtpContext(master)
    packet, control = protect(sender, rtp(1)), protect_control(sender, report())
    for mki, mki_bytes in ((0x0103, 2), (1, 1), (0x77001234, 4), (0, 128)):
        other = SrtpContext(key(suite, 9, mki=mki, mki_bytes=mki_bytes))
        assert refusal(other, packet) == Status.UNKNOWN_MKI
        assert refusal(other, control, "unprotect_control") in (Status.UNKNOWN_MKI, Status.MALFORMED)
        assert refusal(receiver, protect(other, rtp(1))) == Status.UNKNOWN_MKI
    assert refusal(SrtpContext(key(suite, 9)), packet) == Status.BAD_TAG
    assert refusal(receiver, protect(SrtpContext(key(suite, 9)), rtp(1))) == Status.UNKNOWN_MKI
    assert unprotect(receiver, packet) == rtp(1) and unprotect_control(receiver, control) == report()


@SUITES
def test_plain_packets_are_not_taken(suite: str) -> None:
    """P13, 3.4: RTP and RTCP without protection, where it is required."""
    _, receiver = pair(suite)
    assert {status for status, _ in batch(receiver, "unprotect", [rtp(at) for at in range(100)])} == {Status.BAD_TAG}
    assert refusal(receiver, report(), "unprotect_control") == Status.BAD_TAG
    assert refusal(receiver, rtp(1, b"")) == Status.MALFORMED


@SUITES
def test_headers_that_reach_beyond_the_packet_are_refused(suite: str) -> None:
    """P01, CVE-2015-6360: CSRC count and extension length from the packet never move the payload's beginning out of it."""
    sender, receiver = pair(suite)
    tag = 16 if "GCM" in suite else 4 if suite.endswith("32") else 10
    whole = bytes([0x9F]) + rtp(1)[1:12] + bytes(60) + b"\xbe\xde\xff\xff"
    broken = [b"", b"\x80", rtp(1)[:11], b"\x40" + rtp(1)[1:], b"\xc0" + rtp(1)[1:], b"\x8f" + rtp(1)[1:40], b"\x90" + rtp(1)[1:14], whole]
    assert {status for status, _ in batch(sender, "protect", broken)} == {Status.MALFORMED}
    assert {status for status, _ in batch(receiver, "unprotect", [packet + bytes(tag) for packet in broken])} == {Status.MALFORMED}
    assert {status for status, _ in batch(receiver, "unprotect_control", [b"", report()[:7], report()[:8], bytes(40)])} == {Status.MALFORMED}
    assert {status for status, _ in batch(sender, "protect_control", [b"", report()[:7], bytes(40)])} == {Status.MALFORMED}
    assert sender.counts.protected_packets == 0 and sender.counts.malformed == len(broken) + 3


@SUITES
def test_nothing_is_sent_twice_with_one_index(suite: str) -> None:
    """Two contents under one keystream give both away."""
    sender, _ = pair(suite)
    first = protect(sender, rtp(200))
    assert refusal(sender, rtp(200, b"other"), "protect") == Status.REPLAYED
    protect(sender, rtp(400))
    assert refusal(sender, rtp(200, b"other"), "protect") == Status.TOO_OLD
    assert len({protect_control(sender, report()) for _ in range(100)}) == 100
    assert first[:12] == rtp(200)[:12] and first[12:172] != rtp(200)[12:]


@ONE_OF_EACH
def test_work_per_packet_does_not_grow_with_what_came_before(suite: str) -> None:
    """A flood of forgeries among good packets, in batches longer than the kernel's own: all good ones come through."""
    random = Random(suite)
    sender, receiver = pair(suite)
    good = [protect(sender, rtp(at)) for at in range(3000)]
    mixed = [packet for one in good for packet in (*(random.randbytes(182) for _ in range(3)), one)]
    results = batch(receiver, "unprotect", mixed)
    assert [packet for status, packet in results if status == Status.OK] == [rtp(at) for at in range(3000)]

"""New keys during a call: what was sent under the old one is still read until it is forgotten."""

from __future__ import annotations

import pytest

from engine.srtp import SrtpContext, SrtpKey, SrtpSession, Status
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
MKI = pytest.mark.parametrize("mki_bytes", [0, 1, 4])


def keys(suite: str, mki_bytes: int, count: int = 3) -> list[SrtpKey]:
    return [key(suite, seed, mki=seed if mki_bytes else 0, mki_bytes=mki_bytes) for seed in range(1, count + 1)]


@SUITES
@MKI
def test_packets_on_their_way_are_read_until_the_old_key_is_forgotten(suite: str, mki_bytes: int) -> None:
    old, new, _ = keys(suite, mki_bytes)
    sender, receiver = SrtpContext(old), SrtpContext(old)
    before = [protect(sender, rtp(at)) for at in range(100)]
    control = protect_control(sender, report())
    unprotect(receiver, before[0])
    sender.rekey(new)
    receiver.rekey(new)
    after = [protect(sender, rtp(at)) for at in range(100, 200)]
    mixed = [packet for pair in zip(after, before[1:], strict=False) for packet in pair]
    assert all(status == Status.OK for status, _ in batch(receiver, "unprotect", mixed))
    assert {status for status, _ in batch(receiver, "unprotect", mixed)} == {Status.REPLAYED}
    assert unprotect_control(receiver, control) == report()
    receiver.forget()
    assert refusal(receiver, protect(SrtpContext(old), rtp(201))) == (Status.UNKNOWN_MKI if mki_bytes else Status.BAD_TAG)
    assert unprotect(receiver, protect(sender, rtp(200))) == rtp(200)


@SUITES
def test_the_old_key_is_no_longer_sent_with_and_not_read_when_forgotten(suite: str) -> None:
    old, new, _ = keys(suite, 0)
    sender, receiver, listening = SrtpContext(old), SrtpContext(old), SrtpContext(old)
    late = protect(sender, rtp(1))
    sender.rekey(new)
    assert refusal(listening, protect(sender, rtp(2))) == Status.BAD_TAG
    receiver.rekey(new)
    receiver.forget()
    assert refusal(receiver, late) == Status.BAD_TAG


@SUITES
@MKI
def test_roc_and_srtcp_index_go_on_under_a_new_key(suite: str, mki_bytes: int) -> None:
    """RFC 3711 3.3.1, 3.4: neither begins anew."""
    old, new, _ = keys(suite, mki_bytes)
    sender, receiver = SrtpContext(old), SrtpContext(old)
    for at in range(65_500, 65_600):
        unprotect(receiver, protect(sender, rtp(at)))
        unprotect_control(receiver, protect_control(sender, report()))
    sender.rekey(new)
    receiver.rekey(new)
    assert sender.roc(SSRC) == receiver.roc(SSRC) == 1
    assert unprotect(receiver, protect(sender, rtp(65_600))) == rtp(65_600)
    sealed = protect_control(sender, report())
    word_at = len(sealed) - mki_bytes - (4 if "GCM" in suite else 14)
    assert int.from_bytes(sealed[word_at : word_at + 4], "big") == 1 << 31 | 100
    assert unprotect_control(receiver, sealed) == report()


@SUITES
def test_a_sender_that_begins_its_indices_anew_with_its_new_key_is_followed(suite: str) -> None:
    """Against the RFC, but done: a fresh context per key. Only the first packet under the new key may do it; then replays are replays."""
    old, new, _ = keys(suite, 0)
    sender, receiver = SrtpContext(old), SrtpContext(old)
    for at in range(65_500, 65_600):
        unprotect(receiver, protect(sender, rtp(at)))
        unprotect_control(receiver, protect_control(sender, report()))
    receiver.rekey(new)
    anew = SrtpContext(new)
    first = protect(anew, rtp(300))
    assert unprotect(receiver, first) == rtp(300)
    assert receiver.roc(SSRC) == 0
    assert refusal(receiver, first) == Status.REPLAYED
    assert unprotect(receiver, protect(anew, rtp(301))) == rtp(301)
    control = protect_control(anew, report())
    assert unprotect_control(receiver, control) == report()
    assert refusal(receiver, control, "unprotect_control") == Status.REPLAYED


def test_a_new_key_may_be_of_another_suite_and_mki_length() -> None:
    chain = [key(suite, seed, mki=seed % 3, mki_bytes=seed % 3) for seed, suite in enumerate(NAMES)]
    sender, receiver = SrtpContext(chain[0]), SrtpContext(chain[0])
    at = 0
    for master in chain[1:]:
        on_its_way = protect(sender, rtp(at))
        sender.rekey(master)
        receiver.rekey(master)
        fresh = protect(sender, rtp(at + 1))
        assert unprotect(receiver, fresh) == rtp(at + 1)
        assert unprotect(receiver, on_its_way) == rtp(at)
        at += 2


def test_four_keys_are_read_and_the_oldest_goes() -> None:
    chain = keys("AES_CM_128_HMAC_SHA1_80", 1, 5)
    receiver = SrtpContext(chain[0])
    packets = [protect(SrtpContext(master), rtp(at)) for at, master in enumerate(chain)]
    for master in chain[1:]:
        receiver.rekey(master)
    assert [refusal(receiver, packet) for packet in packets] == [Status.UNKNOWN_MKI] + [Status.OK] * 4
    receiver.forget()
    assert [refusal(receiver, packet) for packet in packets] == [Status.UNKNOWN_MKI] * 4 + [Status.REPLAYED]


def test_a_new_key_has_room_for_new_sources() -> None:
    """Those of the key before give way until something is sent from them; the one longest silent first."""
    old, new, _ = keys("AES_CM_128_HMAC_SHA1_80", 0)
    sender = SrtpContext(old)
    for ssrc in range(8):
        protect(sender, rtp(65_535, ssrc=ssrc))
        protect(sender, rtp(65_536, ssrc=ssrc))
    protect(sender, rtp(65_537, ssrc=0))
    assert refusal(sender, rtp(1, ssrc=8), "protect") == Status.NO_ROOM
    sender.rekey(new)
    protect(sender, rtp(1, ssrc=8))
    assert [sender.roc(ssrc) for ssrc in (0, 1, 2, 8)] == [1, None, 1, 0]
    for ssrc in range(9, 16):
        protect(sender, rtp(1, ssrc=ssrc))
    assert refusal(sender, rtp(1, ssrc=16), "protect") == Status.NO_ROOM


def test_forgeries_between_two_keys_change_nothing() -> None:
    old, new, _ = keys("AES_CM_128_HMAC_SHA1_80", 0)
    sender, receiver = SrtpContext(old), SrtpContext(old)
    unprotect(receiver, protect(sender, rtp(10)))
    late = protect(sender, rtp(11))
    sender.rekey(new)
    receiver.rekey(new)
    forged = [rtp(at) + bytes(10) for at in range(1000)]
    assert {status for status, _ in batch(receiver, "unprotect", forged)} <= {Status.BAD_TAG, Status.REPLAYED, Status.TOO_OLD}
    assert receiver.counts.unprotected_packets == 1
    assert unprotect(receiver, late) == rtp(11)
    assert unprotect(receiver, protect(sender, rtp(12))) == rtp(12)


def test_a_session_has_two_directions_with_keys_of_their_own() -> None:
    ours, theirs, newer = keys("AEAD_AES_128_GCM", 0)
    here, there = SrtpSession(send=ours, receive=theirs), SrtpSession(send=theirs, receive=ours)
    assert unprotect(there.receiver, protect(here.sender, rtp(1))) == rtp(1)
    assert unprotect(here.receiver, protect(there.sender, rtp(1))) == rtp(1)
    assert refusal(here.receiver, protect(here.sender, rtp(2))) == Status.BAD_TAG
    here.rekey(send=newer)
    there.rekey(receive=newer)
    assert unprotect(there.receiver, protect(here.sender, rtp(3))) == rtp(3)
    assert unprotect(here.receiver, protect(there.sender, rtp(2))) == rtp(2)
    here.rekey(receive=newer)
    here.forget()
    assert refusal(here.receiver, protect(there.sender, rtp(3))) == Status.BAD_TAG
    here.close()
    with pytest.raises(ValueError, match="closed"):
        protect(here.sender, rtp(4))

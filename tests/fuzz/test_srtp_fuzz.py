"""Hostile SRTP: whatever comes is refused unchanged, nothing that is not authentic moves anything, and plain Python refuses the same."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.srtp import SrtpContext, Status
from tests.engine.srtp.packets import NAMES, SSRC, batch, key, protect, protect_control, report, rtp
from tests.engine.srtp.test_twin import compare, pair

SUITES = st.sampled_from(NAMES)
OPERATIONS = st.sampled_from(["unprotect", "unprotect_control"])


@settings(max_examples=300, deadline=None)
@given(SUITES, OPERATIONS, st.lists(st.binary(max_size=120), min_size=1, max_size=80), st.sampled_from([0, 1, 4, 128]))
def test_any_bytes_are_refused_as_they_were(suite: str, operation: str, packets: list[bytes], mki_bytes: int) -> None:
    context, twin = pair(suite, mki_bytes=mki_bytes)
    results = compare(context, twin, operation, packets)
    assert all(status not in (Status.OK, Status.CRYPTO) for status, _ in results)
    assert context.counts.unprotected_packets == 0


@settings(max_examples=200, deadline=None)
@given(SUITES, st.binary(max_size=60), st.binary(max_size=30), st.booleans(), st.integers(0, 15))
def test_any_header_and_payload_come_back(suite: str, tail: bytes, head: bytes, extended: bool, csrcs: int) -> None:
    """Bytes after the fixed header are CSRCs, extension and payload as the first byte says, or malformed, in both directions alike."""
    packet = bytes([0x80 | (0x10 if extended else 0) | csrcs]) + rtp(9)[1:12] + head + tail
    sender, sending_twin = pair(suite)
    receiver, receiving_twin = pair(suite)
    [(status, sealed)] = compare(sender, sending_twin, "protect", [packet])
    if status == Status.OK:
        assert compare(receiver, receiving_twin, "unprotect", [sealed]) == [(Status.OK, packet)]
    else:
        assert status == Status.MALFORMED


@settings(max_examples=150, deadline=None)
@given(SUITES, st.integers(0, 2**32 - 1))
def test_authentic_packets_with_flips_cuts_and_additions(suite: str, seed: int) -> None:
    random = Random(seed)
    mki_bytes = random.choice([0, 0, 2])
    receiver, receiving_twin = pair(suite, mki_bytes=mki_bytes)
    sender, _ = pair(suite, mki_bytes=mki_bytes)
    control = random.random() < 0.4
    packets = []
    for at in range(random.randrange(1, 100)):
        sealed = protect_control(sender, report(words=random.randrange(9))) if control else protect(sender, rtp(at * random.choice([1, 1, 3]) + 200 * at, bytes(30)))
        match random.randrange(6):
            case 0:
                broken = bytearray(sealed)
                broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
                sealed = bytes(broken)
            case 1:
                sealed = sealed[: random.randrange(len(sealed))]
            case 2:
                sealed += random.randbytes(random.randrange(1, 20))
            case _:
                pass
        packets.append(sealed)
    compare(receiver, receiving_twin, "unprotect_control" if control else "unprotect", packets)


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_a_flood_of_forged_ssrcs_leaves_the_call_alone(suite: str) -> None:
    random = Random(suite)
    sender, receiver = SrtpContext(key(suite)), SrtpContext(key(suite))
    flood = [rtp(random.randrange(65536), random.randbytes(30), ssrc=random.randrange(2**32)) for _ in range(20_000)]
    good = [protect(sender, rtp(at)) for at in range(200)]
    for at, packet in enumerate(good):
        results = batch(receiver, "unprotect", [*flood[at * 100 : at * 100 + 100], packet])
        assert [status for status, _ in results] == [Status.BAD_TAG] * 100 + [Status.OK]
    assert receiver.counts.bad_tag == 20_000 and receiver.roc(SSRC) == 0

"""The kernel against plain Python (`tests/oracle/srtp_twin.py`): the same bytes made, the same packets taken and refused for the same reasons."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from engine.srtp import SrtpContext, Status
from tests.engine.srtp.packets import NAMES, SSRC, batch, key, report, rtp
from tests.oracle.srtp_twin import Refused, Twin


def pair(suite: str, *, seed: int = 1, mki_bytes: int = 0, lifetime: int = 0, window: int = 128) -> tuple[SrtpContext, Twin]:
    """Kernel and twin with one key."""
    mki = seed * 77 % (1 << 8 * mki_bytes) if mki_bytes else 0
    master = key(suite, seed, mki=mki, mki_bytes=mki_bytes, lifetime=lifetime)
    twin = Twin(suite, master.key, mki=mki.to_bytes(mki_bytes, "big"), lifetime=lifetime, window=window)
    return SrtpContext(master, window=window), twin


def expected(operation: Callable[[bytes], bytes], packet: bytes) -> tuple[Status, bytes]:
    """What the twin says."""
    try:
        return Status.OK, operation(packet)
    except Refused as refused:
        return Status[str(refused)], packet


def compare(context: SrtpContext, twin: Twin, operation: str, packets: list[bytes]) -> list[tuple[Status, bytes]]:
    """A batch through both; refused packets have to be unchanged."""
    got = batch(context, operation, packets)
    assert got == [expected(getattr(twin, operation), packet) for packet in packets]
    return got


def random_rtp(random: Random, sequence: int) -> bytes:
    extension = random.randbytes(4 * random.randrange(5)) if random.random() < 0.3 else None
    payload = random.randbytes(random.choice([0, 1, 15, 16, 17, 20, 160, random.randrange(700)]))
    ssrc = SSRC + random.randrange(3)
    return rtp(sequence, payload, ssrc=ssrc, csrcs=random.choice([0, 0, 0, 1, 15]), extension=extension)


@pytest.mark.parametrize("mki_bytes", [0, 1, 4, 128])
@pytest.mark.parametrize("suite", NAMES)
def test_packets_of_every_shape_are_made_alike(suite: str, mki_bytes: int) -> None:
    random = Random(f"{suite} {mki_bytes}")
    context, twin = pair(suite, mki_bytes=mki_bytes)
    sealed = compare(context, twin, "protect", [random_rtp(random, at) for at in range(90)])
    assert all(status == Status.OK for status, _ in sealed)
    controls = [report(SSRC + random.randrange(3), random.randrange(40)) for _ in range(70)]
    assert all(status == Status.OK for status, _ in compare(context, twin, "protect_control", controls))


def wander(random: Random, packets: int) -> list[int]:
    """Sequence numbers that go on, jump, fall back, repeat and wrap."""
    at, sequences = random.choice([0, 3, 65000, 65530]), []
    for _ in range(packets):
        at += random.choices([1, 0, 2, -1, -60, -200, 500, 30000, 32768, -32768], [60, 6, 6, 6, 4, 3, 4, 4, 1, 1])[0]
        sequences.append(at)
    return sequences


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
@pytest.mark.parametrize("seed", range(6))
def test_any_walk_of_sequence_numbers_is_numbered_alike(suite: str, seed: int) -> None:
    """Both send the same, or refuse the same; then both take what one of them sent, shuffled a little, with some of it broken and repeated."""
    random = Random(seed)
    window = random.choice([64, 128, 192, 1024])
    sender, sending_twin = pair(suite, seed=seed, window=window)
    receiver, receiving_twin = pair(suite, seed=seed, window=window)
    for _ in range(6):
        sequences = wander(random, random.choice([1, 30, 64, 150]))
        packets = [rtp(sequence, random.randbytes(20), ssrc=SSRC + random.randrange(2)) for sequence in sequences]
        sent = [packet for status, packet in compare(sender, sending_twin, "protect", packets) if status == Status.OK]
        arriving = sorted(range(len(sent)), key=lambda at: at + random.random() * 30)
        received = [sent[at] for at in arriving]
        received += random.sample(sent, len(sent) // 4)
        for at in random.sample(range(len(received)), len(received) // 5):
            broken = bytearray(received[at])
            broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
            received[at] = bytes(broken)
        if received:
            compare(receiver, receiving_twin, "unprotect", received)


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"])
def test_a_first_batch_that_wraps_is_numbered_in_order(suite: str) -> None:
    """The batch is foreseen with no source known; each packet after the first has to be numbered by those before it."""
    for window in (64, 1024):
        sender, sending_twin = pair(suite, window=window)
        sequences = [65534, 65535, 65536, 65537, 65538 + 20000, 65538 + 50000, 65538 + 80000]
        sealed = compare(sender, sending_twin, "protect", [rtp(sequence) for sequence in sequences])
        receiver, receiving_twin = pair(suite, window=window)
        opened = compare(receiver, receiving_twin, "unprotect", [packet for _, packet in sealed])
        assert all(status == Status.OK for status, _ in opened)


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_sources_come_and_go_alike(suite: str) -> None:
    """More SSRCs than are kept: receiving drops the one longest silent, sending refuses a new one."""
    random = Random(5)
    receiver, receiving_twin = pair(suite)
    _, maker = pair(suite)
    for at in range(40):
        packets = []
        for _ in range(10):
            maker.sources.clear()  # a sender of its own for each
            packets.append(maker.protect(rtp(at * 3 + random.randrange(3), ssrc=random.randrange(12))))
        compare(receiver, receiving_twin, "unprotect", packets)
    sender, sending_twin = pair(suite)
    sent = compare(sender, sending_twin, "protect", [rtp(1, ssrc=ssrc) for ssrc in range(10)])
    assert [status for status, _ in sent] == [Status.OK] * 8 + [Status.NO_ROOM] * 2


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"])
def test_a_key_ends_when_its_packets_are_used_up(suite: str) -> None:
    """RFC 3711 9.2, in both directions, RTP and RTCP apart; packets that were refused do not count."""
    sender, sending_twin = pair(suite, lifetime=100)
    receiver, receiving_twin = pair(suite, lifetime=100)
    sent = compare(sender, sending_twin, "protect", [rtp(max(at, 3)) for at in range(110)])
    assert sum(status == Status.OK for status, _ in sent) == 100
    assert sent[-1][0] == Status.KEY_EXPIRED
    _, maker = pair(suite)
    packets = [maker.protect(rtp(at)) for at in range(120)]
    broken = [packet[:-1] + bytes([packet[-1] ^ 1]) for packet in packets[:50]]
    opened = compare(receiver, receiving_twin, "unprotect", broken + packets)
    assert sum(status == Status.OK for status, _ in opened) == 100
    assert compare(sender, sending_twin, "protect_control", [report()] * 101)[-1][0] == Status.KEY_EXPIRED
    controls = [maker.protect_control(report()) for _ in range(120)]
    assert compare(receiver, receiving_twin, "unprotect_control", controls)[-1][0] == Status.KEY_EXPIRED


@pytest.mark.parametrize("suite", NAMES)
def test_srtcp_in_any_order_is_taken_alike(suite: str) -> None:
    random = Random(suite)
    receiver, receiving_twin = pair(suite, mki_bytes=2)
    _, maker = pair(suite, mki_bytes=2)
    sent = [maker.protect_control(report(SSRC + at % 2, at % 7)) for at in range(400)]
    order = sorted(range(400), key=lambda at: at + random.random() * 250)
    packets = [sent[at] for at in order] + random.sample(sent, 60)
    for at in random.sample(range(len(packets)), 40):
        broken = bytearray(packets[at])
        broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
        packets[at] = bytes(broken)
    opened = compare(receiver, receiving_twin, "unprotect_control", packets)
    assert {Status.OK, Status.REPLAYED, Status.TOO_OLD, Status.BAD_TAG} <= {status for status, _ in opened}

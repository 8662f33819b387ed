"""Hostile RTP packets: the kernel says what the plain-Python reading says, and reads no byte beyond its input, at either side."""

from __future__ import annotations

from random import Random

import pytest

from engine._native import jitter as native
from tests.fuzz.test_sdp_fuzz import guarded
from tests.oracle import rtp_packet_twin as twin

PROFILES = (0xBEDE, 0x1000, 0x100F, 0xBEDF, 0)


def elements(random: Random, profile: int) -> bytes:
    """An extension whose elements are sometimes sound."""
    made = b""
    while random.random() < 0.7 and len(made) < 60:
        identity, size = random.randrange(17), random.randrange(18)
        made += bytes(random.randrange(2))
        head = bytes([(identity << 4 | size & 15) & 255]) if profile == 0xBEDE else bytes([identity, size])
        made += head + random.randbytes(size + (profile == 0xBEDE and random.random() < 0.9))
    return made + bytes(-len(made) % 4)


def packet(random: Random) -> bytes:
    """A sound packet, then most often a few changed bytes or a cut."""
    profile = random.choice(PROFILES)
    extension = elements(random, profile) if random.random() < 0.6 else None
    made = bytearray(
        twin.write(
            (
                random.randrange(128), random.randrange(65536), random.getrandbits(32), random.getrandbits(32), random.randbytes(random.randrange(40)),
                random.random() < 0.5, tuple(random.getrandbits(32) for _ in range(random.choice((0, 0, 1, 3, 15)))), profile if extension is not None else 0,
                extension, random.choice((0, 0, 1, 4, 255)),
            )
        )
    )  # fmt: skip
    for _ in range(random.choice((0, 0, 1, 2, 5))):
        made[random.randrange(min(len(made), random.choice((1, 20, 400))))] = random.randrange(256)
    if random.random() < 0.2 and len(made) > 1:
        made[-1] = random.randrange(256)
    return bytes(made[: random.randrange(len(made) + 1)] if random.random() < 0.3 else made)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_is_read_as_the_twin_reads_it_and_written_back(seed: int) -> None:
    random = Random(seed)
    packets = [packet(random) for _ in range(4000)]
    found = [twin.read(data) for data in packets]
    assert native.read_batch(packets) == found
    assert 500 < sum(fields is not None for fields in found) < 3900
    for data, fields in zip(packets, found, strict=True):
        assert native.kind(data) == twin.kind(data)
        if fields is None:
            continue
        payload_type, sequence, timestamp, ssrc, payload, marker, csrc, profile, extension, padding = fields
        written = native.write(
            payload_type, sequence, timestamp, ssrc, payload, marker=marker, csrc=csrc, extension_profile=profile, extension=extension, padding=padding
        )
        assert written == twin.write(fields)
        assert native.read(written) == fields
        expected = twin.elements(profile, extension or b"")
        for identity in range(17):
            assert native.extension(data, identity) == expected.get(identity)


def test_no_read_leaves_a_packet_at_either_side() -> None:
    random = Random(9)
    with guarded() as place:
        for _ in range(600):
            data = packet(random)
            for cut in {0, 1, 11, 12, 13, len(data) // 2, len(data)}:
                for at_end in (True, False):
                    view = place(data[:cut], at_end)
                    assert native.read(view) == twin.read(data[:cut])
                    assert native.kind(view) == twin.kind(data[:cut])
                    if native.read(view) is not None:
                        for identity in range(1, 16):
                            native.extension(view, identity)
                    del view


def test_every_truncation_at_every_alignment_is_read_as_the_twin_reads_it() -> None:
    whole = twin.write((96, 7, 8, 9, b"payload", True, (1, 2, 3), 0xBEDE, b"\x10\xaa\x21\xbb\xcc\x00\x00\x00", 5))
    buffer = bytearray(len(whole) + 8)
    for cut in range(len(whole) + 1):
        for shift in range(8):
            buffer[shift : shift + cut] = whole[:cut]
            assert native.read(memoryview(buffer)[shift : shift + cut]) == twin.read(whole[:cut])

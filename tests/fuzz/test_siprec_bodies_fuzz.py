"""Hostile bodies of recording sessions: they come apart or do not, but nothing is raised and nothing is made up."""

from __future__ import annotations

from random import Random

import pytest

from engine.siprec.bodies import DEPTH_MAX, PARTS_IN_ALL, WARNINGS_MAX, RecordingParts, parts_of
from tests.engine.siprec import shaped

BODIES = tuple(
    (found.value("Content-Type").encode(), found.body) for found in map(shaped.message, shaped.NAMES) if found.body
)  # fmt: skip
PIECES = (
    b"--", b"--boundary--", b"\r\n", b"\n", b"\r\n\r\n", b"--foobar", b"--foobar\r\n", b"\r\n--foobar--", b"Content-Type: multipart/mixed;boundary=foobar\r\n\r\n",
    b"Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\n", b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"Content-Type: application/sdp\r\n\r\n",
    b"v=0\r\n", b"<recording>", b"\0", b"\xff", b" ", b"=\r\n", b"=3D",
)  # fmt: skip
TYPES = (
    b"", b"multipart/mixed", b"multipart/mixed;boundary=", b'multipart/mixed;boundary="', b"multipart/mixed;boundary=" + b"x" * 300, b"multipart/mixed;boundary=foobar",
    b"application/sdp", b"application/rs-metadata", b"application/rs-metadata+xml;charset=x", b"\xff\0", b"text/plain", b"multipart/mixed;boundary=\xff",
)  # fmt: skip


def mutated(random: Random, body: bytes) -> bytes:
    for _ in range(random.randint(1, 8)):
        at, kind = random.randrange(len(body) + 1), random.random()
        if kind < 0.45:
            body = body[:at] + random.choice(PIECES) + body[at:]
        elif kind < 0.6:
            body = body[:at] + body[at + random.randint(1, 60) :]
        elif kind < 0.75:
            body = body[:at] + bytes([random.randrange(256)]) + body[at + 1 :]
        elif kind < 0.95:
            lines = body.split(b"\n")
            lines.insert(random.randrange(len(lines) + 1), lines.pop(random.randrange(len(lines))))
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
            body = b"\n".join(lines)
        else:
            body = body[:at]
    return body


def sound(found: RecordingParts, body: bytes) -> None:
    """Within its limits; and what was not encoded stands in the body as it is."""
    assert len(found.others) <= PARTS_IN_ALL + DEPTH_MAX and len(found.warnings) <= WARNINGS_MAX
    assert all(text.isprintable() for text in found.warnings) and found.metadata_type.isprintable()
    assert all(media_type.isprintable() and len(media_type) <= 128 for media_type, _ in found.others)
    if b"encoding" not in body.lower():
        assert found.sdp in body and found.metadata in body and all(content in body for _, content in found.others)
    assert sum(map(len, (found.sdp, found.metadata, *(content for _, content in found.others)))) <= len(body)


@pytest.mark.parametrize("seed", range(6))
def test_bodies_come_apart_whatever_they_are(seed: int) -> None:
    random = Random(seed)
    both = 0
    for _ in range(400):
        content_type, body = random.choice(BODIES)
        body = mutated(random, body)
        found = parts_of(random.choice(TYPES) if random.random() < 0.3 else content_type, body)
        sound(found, body)
        both += bool(found.sdp and found.metadata)
    assert both > 100


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_are_nothing_or_one_part(seed: int) -> None:
    random = Random(50 + seed)
    for _ in range(400):
        body = b"".join(random.choice(PIECES) for _ in range(random.randrange(30)))
        sound(parts_of(random.choice(TYPES), body), body)
        noise = random.randbytes(random.randrange(300))
        sound(parts_of(random.choice(TYPES), noise), noise)

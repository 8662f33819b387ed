"""Memory that ends at any moment ends in MemoryError and in nothing worse (row N02 of the hostile-input catalogue)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine._native import trace as native
from tests.data.scene import Scene


@pytest.fixture(autouse=True)
def lending() -> Iterator[None]:
    """Lending works again behind every test."""
    yield
    native.fail_lends_behind(-1)


def content() -> bytes:
    """A capture with something of everything that lends memory."""
    scene = Scene(mtu=1500)
    scene.call().basic(2)
    scene.call(at=3, transport="TCP").basic(2, rtp=False)
    scene.call(at=6).invite(6, headers={"X-Filler": "x" * 2500}).trying().response(486, to="INVITE").ack()
    scene.tls_handshake(9, "198.51.100.10:40000", "203.0.113.20:5061")
    scene.stun(10, "198.51.100.10:20000", "203.0.113.20:30000")
    return scene.pcap()


def read(capture: bytes) -> int:
    """Messages of a capture that is read to its end."""
    trace = native.Trace(len(capture))
    trace.open_input(capture)
    trace.read_capture()
    trace.finish()
    return trace.rows("messages")


def test_every_lend_may_be_the_one_that_fails() -> None:
    capture = content()
    expected = read(capture)
    failures = 0
    for count in range(2000):
        native.fail_lends_behind(count)
        try:
            assert read(capture) == expected
        except MemoryError:
            failures += 1
            continue
        break
    native.fail_lends_behind(-1)
    assert failures > 20
    assert read(capture) == expected

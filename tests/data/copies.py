"""Captures of very many packets: the frames of one scene over and over, copies told apart by numbers in them.

    numbered(scene, 1_000_000, {b"c0000000": np.arange(1_000_000)})
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tests.data.scene import Scene

RECORD_HEAD = 16
FILE_HEAD = 24


def numbered(
    scene: Scene,
    count: int,
    digits: Mapping[bytes, npt.NDArray[np.int64]] | None = None,
    octets: Mapping[bytes, npt.NDArray[np.int64]] | None = None,
    *,
    step_us: int = 7,
) -> memoryview:
    """A pcap of `count` copies of a scene's packets, the copies `step_us` apart.

    Wherever a key of `digits` stands in the packets, its zeros become the decimal number of the copy; wherever a key of
    `octets` stands, it becomes that number in as many octets, big-endian. UDP checksums are taken out of what changes.
    """
    one = scene.pcap()
    begins = []
    at = FILE_HEAD
    while at < len(one):
        begins.append(at - FILE_HEAD)
        at += RECORD_HEAD + int.from_bytes(one[at + 8 : at + 12], "little")
    body = np.frombuffer(one[FILE_HEAD:], np.uint8)
    whole = np.empty(FILE_HEAD + count * len(body), np.uint8)
    whole[:FILE_HEAD] = np.frombuffer(one[:FILE_HEAD], np.uint8)
    copies = whole[FILE_HEAD:].reshape(count, len(body))
    copies[:] = body
    for mark, numbers in (digits or {}).items():
        first, width = mark.index(b"0"), mark.count(b"0")
        for found in places(body.tobytes(), mark):
            for place in range(width):
                copies[:, found + first + width - 1 - place] = 48 + numbers // 10**place % 10
    for mark, numbers in (octets or {}).items():
        for found in places(body.tobytes(), mark):
            for place in range(len(mark)):
                copies[:, found + len(mark) - 1 - place] = numbers >> 8 * place & 255
    for begin in begins:
        seconds = int.from_bytes(body[begin : begin + 4].tobytes(), "little")
        micros = int.from_bytes(body[begin + 4 : begin + 8].tobytes(), "little")
        times = seconds * 1_000_000 + micros + np.arange(count, dtype=np.int64) * step_us
        copies[:, begin : begin + 4] = (times // 1_000_000).astype("<u4").view(np.uint8).reshape(count, 4)
        copies[:, begin + 4 : begin + 8] = (times % 1_000_000).astype("<u4").view(np.uint8).reshape(count, 4)
        if body[begin + RECORD_HEAD + 23] == 17:  # IPv4 over Ethernet, UDP: no checksum instead of a wrong one
            copies[:, begin + RECORD_HEAD + 40 : begin + RECORD_HEAD + 42] = 0
    return memoryview(whole)


def places(text: bytes, mark: bytes) -> list[int]:
    """Where `mark` stands in `text`; that it stands nowhere is a mistake in the test."""
    found = [at for at in range(len(text)) if text.startswith(mark, at)]
    assert found, mark
    return found

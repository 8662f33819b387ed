"""The SDP kernel over every session description of the signalling corpus, in memory, on one core."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench import captures, limits
from bench.kernels.kernel_library import build
from bench.measure import Row, agree
from bench.peers import osip

STEMS = ("sdp*", "sip*", "address", "mime")


def rows(quick: bool) -> Iterator[Row]:
    """Descriptions a second beside oSIP's SDP parser; formats are counted against a plain reading of m= lines."""
    corpus = captures.signalling(quick)
    texts = captures.sip_datagrams(corpus.path)
    payloads = [texts.payload(row) for row in range(len(texts))]
    bodies = [payload.partition(b"\r\n\r\n")[2] for payload in payloads]
    rows_with = [row for row, body in enumerate(bodies) if body]
    lengths = np.array([len(bodies[row]) for row in rows_with], np.uint64)
    offsets = texts.offsets[rows_with] + texts.lengths[rows_with] - lengths
    formats = sum(
        line.count(b" ") - 2 for row in rows_with for line in bodies[row].split(b"\r\n") if line[:2] == b"m="
    )
    repeats = 2 if quick else 4
    peer = osip.run((bodies[row] for row in rows_with), repeats, "sdp")

    drive = build(Path(__file__).with_name("sdp_driver.c"), STEMS).drive_descriptions
    drive.restype = ctypes.c_uint64
    source = np.frombuffer(texts.buffer, np.uint8)
    places = [ctypes.c_void_p(array.ctypes.data) for array in (source, offsets, lengths)]
    told = (ctypes.c_uint64 * 3)()
    seconds = min(drive(*places, ctypes.c_uint64(len(lengths)), told) for _ in range(repeats)) / 1e9
    check, passed = agree(
        {
            "descriptions": (told[0], peer.parsed),
            "media lines": (told[1], peer.hash),
            "formats": (told[2], formats),
        }
    )
    octets = int(lengths.sum())
    bound = limits.newline_mask(corpus.path) * len(lengths) / octets
    yield Row(
        "sdp-scan", "sdp/s", len(lengths) / seconds, osip.NAME, peer.parsed / peer.seconds, "newline mask", bound,
        f"{check}; {octets / seconds / 1e9:.2f} GB/s", passed,
    )  # fmt: skip

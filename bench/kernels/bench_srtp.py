"""SRTP of G.711 packets (172 bytes) in batches of 64, on one core: the kernel beside libsrtp in C, the Python door beside pylibsrtp.

The limit is what `openssl speed` reaches on this machine in the same minute: for counter mode AES-128-CTR of 160 bytes and then HMAC-SHA1 of the 176
that are signed, for GCM AES-128-GCM of 160 bytes. It takes one message after another; a batch may come out above it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from bench.kernels import srtp_driver
from bench.measure import Row, agree
from bench.peers import libsrtp, pylibsrtp
from engine.srtp import TRAILER_MAX, SrtpContext, SrtpKey

PACKET_BYTES: Final = 172
BATCH: Final = 64
SUITES: Final = {"cm": ("AES_CM_128_HMAC_SHA1_80", 30), "gcm": ("AEAD_AES_128_GCM", 28)}


def _speed(message_bytes: int, *algorithm: str) -> float:
    """Bytes a second of `openssl speed`, of messages of one length."""
    command = ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", str(message_bytes), *algorithm]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    [line] = [line for line in told.splitlines() if line.startswith("+F:")]
    return float(line.rsplit(":", 1)[1])


def bound(kind: str) -> float:
    """Packets a second."""
    if kind == "gcm":
        return _speed(160, "-evp", "aes-128-gcm") / 160
    return 1 / (160 / _speed(160, "-evp", "aes-128-ctr") + 176 / _speed(176, "-hmac", "sha1"))


def _kernel(kind: str, contexts: int, batches: int, repeats: int, limit: float) -> Iterator[Row]:
    ours = srtp_driver.run(kind, contexts, PACKET_BYTES, batches, repeats)
    packets = batches * BATCH
    for name, run, share in ((libsrtp.NAME, libsrtp.run, 4), (libsrtp.DEBIAN_NAME, libsrtp.run_debian, 20 if contexts == 1 else 100)):
        fewer = max(batches // share, 2 * contexts // BATCH)
        theirs = run(kind, contexts, PACKET_BYTES, fewer, repeats)
        check, passed = agree(
            {
                "went well": (ours.well / packets, theirs.well / (fewer * BATCH)),
                "came back": (ours.equal / packets, theirs.equal / (fewer * BATCH)),
            }
        )
        for operation, nanoseconds, peer_ns in (
            ("protect", ours.protect_ns, theirs.protect_ns),
            ("unprotect", ours.unprotect_ns, theirs.unprotect_ns),
        ):
            yield Row(
                f"srtp-{operation}-{kind}-{contexts}", "pkt/s", 1e9 / nanoseconds, name, 1e9 / peer_ns, "openssl speed", limit,
                f"{check}; {nanoseconds:.0f} ns", passed,
            )  # fmt: skip


def _door(kind: str, batches: int, limit: float) -> Iterator[Row]:
    suite, key_bytes = SUITES[kind]
    key, stride = bytes(range(key_bytes)), PACKET_BYTES + TRAILER_MAX
    packets = [bytes([0x80, 0, at >> 8 & 255, at & 255]) + bytes(8) + bytes([at & 255]) * 160 for at in range(BATCH * batches)]
    sealed, *peer_s = pylibsrtp.run(kind, key, packets)
    sender, receiver = (SrtpContext(SrtpKey(suite=suite, key=key)) for _ in range(2))
    rows = np.zeros((batches, BATCH, stride), np.uint8)
    rows[:, :, :PACKET_BYTES] = np.frombuffer(b"".join(packets), np.uint8).reshape(batches, BATCH, PACKET_BYTES)
    lengths, statuses = np.full((batches, BATCH), PACKET_BYTES, np.uint32), np.zeros(BATCH, np.int32)
    spent = []
    for operation, expected in ((sender.protect_batch, sealed), (receiver.unprotect_batch, packets)):
        begin = time.thread_time()
        for at in range(batches):
            operation(rows[at], stride, lengths[at], statuses)
        spent.append(time.thread_time() - begin)
        got = rows[:, :, : len(expected[0])].tobytes()
        check, passed = agree({"packets equal": (got == b"".join(expected), True)})
    for name, ours_s, theirs_s in zip(("protect", "unprotect"), spent, peer_s, strict=True):
        rates = len(packets) / ours_s, pylibsrtp.NAME, len(packets) / theirs_s
        yield Row(f"srtp-{name}-{kind}-python", "pkt/s", *rates, "openssl speed", limit, check, passed)


def rows(quick: bool) -> Iterator[Row]:
    """Protecting and unprotecting, over one context and over a thousand; then from Python."""
    batches, repeats = (2000, 3) if quick else (10_000, 5)
    for kind in SUITES:
        limit = bound(kind)
        for contexts in (1, 1000):
            yield from _kernel(kind, contexts, batches, repeats, limit)
        yield from _door(kind, 300 if quick else 800, limit)

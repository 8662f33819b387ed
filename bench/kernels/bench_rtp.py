"""Packets out of a capture in memory, and RTP streams out of packets, on one core."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench import captures, limits
from bench.kernels import packet_driver
from bench.measure import Row, agree
from bench.peers import dpkt, libpcap


def rows(quick: bool) -> Iterator[Row]:
    """Records walked and decapsulated beside libpcap and dpkt; RTP headers beside dpkt; streams beside memory."""
    corpus = captures.media(quick)
    source = np.fromfile(corpus.path, np.uint8)
    facts, repeats = corpus.facts, 3 if quick else 5
    read = dpkt.run(corpus.path)
    seconds, told = min(packet_driver.walk(source) for _ in range(repeats))
    bound = limits.memory_read() * facts["packets"] / source.nbytes
    records, theirs = libpcap.run(corpus.path, repeats)
    for peer, counted, spent in ((libpcap.NAME, records, theirs), (dpkt.NAME, read.records, read.seconds)):
        check, passed = agree({"records": (told[0], counted), "planted": (told[1], facts["packets"])})
        rates = told[0] / seconds, peer, counted / spent
        yield Row("packet-walk", "pkt/s", *rates, "memory read", bound, check, passed)

    packets, count = packet_driver.collect(source, facts["packets"])
    seconds, sums = min(packet_driver.headers(packets, count) for _ in range(repeats))
    check, passed = agree({"packets, sums": (sums, read[1:4]), "planted": (count, facts["rtp_packets"])})
    rates = count / seconds, dpkt.NAME, read.packets / read.seconds
    yield Row("rtp-headers", "pkt/s", *rates, check=f"{check}; dpkt from the file on", passed=passed)

    seconds, made = min(packet_driver.streams(packets, count, 2 * facts["streams"]) for _ in range(repeats))
    check, passed = agree(
        {"streams": (made[0], facts["streams"]), "packets": (made[1], facts["rtp_packets"])}
    )
    # Each packet's description and the first line of its payload have to come from memory.
    touched = packets.nbytes / facts["packets"] + 64
    yield Row(
        "rtp-streams", "pkt/s", count / seconds, limit="memory read", limit_value=limits.memory_read() / touched,
        check=f"{check}; {seconds / count * 1e9:.0f} ns a packet", passed=passed,
    )  # fmt: skip

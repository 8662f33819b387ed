"""Packet capture (pcap): read natively, recognised by its first bytes."""

from __future__ import annotations

from engine.trace.sources.base import Format

MAGICS = (
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\xc3\xd4",
    b"\x4d\x3c\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x34\xcd\xb2\xa1",
    b"\xa1\xb2\xcd\x34",
)


def sniff(head: bytes) -> float:
    """1.0 for the format's magic, else 0."""
    return 1.0 if head.startswith(MAGICS) else 0.0


FORMAT = Format(
    name="pcap",
    suffixes=(
        ".pcap",
        ".cap",
        ".dmp",
    ),
    title="packet capture (pcap)",
    sniff=sniff,
    native="pcap",
)

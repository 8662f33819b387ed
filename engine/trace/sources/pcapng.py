"""Packet capture (pcapng): read natively, recognised by its first bytes."""

from __future__ import annotations

from engine.trace.sources.base import Format

MAGICS = (b"\x0a\x0d\x0d\x0a",)


def sniff(head: bytes) -> float:
    """1.0 for the format's magic, else 0."""
    return 1.0 if head.startswith(MAGICS) else 0.0


FORMAT = Format(
    name="pcapng",
    suffixes=(
        ".pcapng",
        ".ntar",
    ),
    title="packet capture (pcapng)",
    sniff=sniff,
    native="pcapng",
)

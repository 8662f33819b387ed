"""Stream of HEP packets: read natively, recognised by its first bytes."""

from __future__ import annotations

from engine.trace.sources.base import Format

MAGICS = (b"HEP3", b"EEP1")


def sniff(head: bytes) -> float:
    """1.0 for the format's magic, else 0."""
    return 1.0 if head.startswith(MAGICS) else 0.0


FORMAT = Format(name="hep", suffixes=(".hep",), title="stream of HEP packets", sniff=sniff, native="hep")

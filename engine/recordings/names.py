"""Names of the files that belong to a recording."""

from __future__ import annotations

import hashlib
import re
from typing import Final

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,119}")
RECORD_SUFFIX: Final = ".record"
LOCATIONS_SUFFIX: Final = ".locations"
COMBINED: Final = ".combined.wav"  # of both directions of a built-in bridge
FETCHED: Final = ".fetched-"
TOMBSTONE: Final = re.compile(r"erased-[0-9a-f]{32}")


def tombstone_of(id: str) -> str:
    """What an erased recording is called, so that not even its name says whose it was."""
    return f"erased-{hashlib.sha256(id.encode()).hexdigest()[:32]}"


__all__ = ["COMBINED", "FETCHED", "ID", "LOCATIONS_SUFFIX", "RECORD_SUFFIX", "TOMBSTONE", "tombstone_of"]

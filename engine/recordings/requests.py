"""What the keeper is asked of recordings over the bus: subjects, and what goes with them."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.recordings.record import Hold

HOLD_SUBJECT: Final = "recordings.hold"  # HoldWanted -> Record
RELEASE_SUBJECT: Final = "recordings.release"  # ReleaseWanted -> Record
HOLDS_SUBJECT: Final = "recordings.holds"  # -> list[HeldRecording]
ERASE_SUBJECT: Final = "recordings.erase"  # EraseWanted -> Erased
VERIFY_SUBJECT: Final = "recordings.verify"  # VerifyWanted -> Verified
SWEEP_SUBJECT: Final = "recordings.sweep"  # SweepWanted -> Swept
REWRAP_SUBJECT: Final = "recordings.rewrap"  # -> how many records were changed


class HoldWanted(msgspec.Struct, frozen=True):
    """A legal hold for a recording."""

    id: str
    hold: Hold


class ReleaseWanted(msgspec.Struct, frozen=True):
    """A hold is to go."""

    id: str
    hold_id: str
    by: str


class EraseWanted(msgspec.Struct, frozen=True):
    """A recording is to go, for good."""

    id: str
    by: str


class Erased(msgspec.Struct, frozen=True):
    """`left` is what could not be taken away, and is tried again until it can; nothing where all is gone."""

    left: tuple[str, ...] = ()


class VerifyWanted(msgspec.Struct, frozen=True):
    """Is a recording as it was?"""

    id: str


class Verified(msgspec.Struct, frozen=True):
    """What is not as its record and its manifest say; nothing where all is."""

    problems: tuple[str, ...] = ()


class SweepWanted(msgspec.Struct, frozen=True):
    """What has expired is to go; with `dry_run` only to be told."""

    dry_run: bool
    by: str = ""


__all__ = [
    "ERASE_SUBJECT", "HOLDS_SUBJECT", "HOLD_SUBJECT", "RELEASE_SUBJECT", "REWRAP_SUBJECT", "SWEEP_SUBJECT", "VERIFY_SUBJECT", "EraseWanted", "Erased", "HoldWanted", "ReleaseWanted",
    "SweepWanted", "Verified", "VerifyWanted",
]  # fmt: skip

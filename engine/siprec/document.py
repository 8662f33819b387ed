"""What is kept of a session beside its recording: who took part, and every body that came or went, as it was.

`<recording_id>.siprec.json` in the folder of recordings; while the session goes on its drafts are in `.<recording_id>.siprec.part`, a line each (`signalling.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.siprec.facts import SessionFacts

SUFFIX = ".siprec.json"
PART_SUFFIX = ".siprec.part"


class Body(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A body of a message; `content` is its bytes as Latin-1, so that each is what it was. Bodies of one message have one `at` (seconds since 1970)."""

    at: float
    direction: Literal["in", "out"]
    method: str
    content_type: str
    content: str
    status: int = 0


class SessionDocument(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The document. `headers` are those of the first message that say something of the call."""

    session: SessionFacts
    bodies: tuple[Body, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    retention_days: int | None = None
    policy_source: str = ""


__all__ = ["PART_SUFFIX", "SUFFIX", "Body", "SessionDocument"]

"""Headers that prove who one is (RFC 3261 22.4, RFC 8898): what they hold stays in no log and no file."""

from __future__ import annotations

import re
from typing import Final

_PROVES: Final = re.compile("auth|token|secret|api-key|password|cookie", re.IGNORECASE)
_REDACTED: Final = re.compile(r"\[REDACTED-[0-9]+\]")


def proves(name: str) -> bool:
    """Whether a header of this name may prove who one is: one of the RFCs', or one of a vendor's that is called like it."""
    return _PROVES.search(name) is not None


def redacted(name: str, value: str) -> str:
    """A header's value as it may be kept: of one that proves who one is only its length in characters, as [REDACTED-<length>]. Done twice it is the same."""
    return f"[REDACTED-{len(value)}]" if proves(name) and not _REDACTED.fullmatch(value) else value


__all__ = ["proves", "redacted"]

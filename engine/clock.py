"""Times as documents and answers have them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(at: float) -> str:
    """Seconds since 1970 as ISO 8601 with milliseconds, UTC: "2024-07-08T07:19:38.107Z". Raises ValueError, OverflowError and OSError beyond the years 1 to 9999."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(at: float | None) -> str | None:
    """The same; None for a time that is not known."""
    return None if at is None else iso(at)


__all__ = ["iso", "iso_or_none"]

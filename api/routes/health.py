"""GET /health: whether the server answers."""

from __future__ import annotations

from litestar import get


@get("/health", sync_to_thread=False)
def health() -> dict[str, str]:
    """{"status": "healthy"}."""
    return {"status": "healthy"}


__all__ = ["health"]

"""Traces: files or pasted text in, tables of messages, calls and streams out, and findings over them.

`read` fills the tables (one native pass), `analyze` runs the rules over them, `report` does the second half alone.
Sources are one file a format in `sources/`, rules one file a category in `rules/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.trace.analysis import analyze, report
    from engine.trace.reading import read

__all__ = ["analyze", "read", "report"]


def __getattr__(name: str) -> Any:
    # The command answers --version and --help without loading numpy and the kernels.
    if name in ("analyze", "report"):
        from engine.trace import analysis

        return getattr(analysis, name)
    if name == "read":
        from engine.trace.reading import read

        return read
    raise AttributeError(name)
